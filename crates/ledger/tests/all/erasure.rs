//! What is sealed never lies in the clear, and what is erased is gone.

use std::fs;

use keywright_core::id::SealedId;
use keywright_core::secret::Secret;
use keywright_ledger::LedgerError;

use crate::support::Home;
use crate::things::id;

const CANARY: &str = "cf-canary-Zx81-never-on-disk-0123456789";

fn holds(home: &Home, needle: &[u8]) -> Vec<String> {
    let mut found = Vec::new();
    for entry in fs::read_dir(home.dir.path()).unwrap() {
        let path = entry.unwrap().path();
        let bytes = fs::read(&path).unwrap();
        if bytes.windows(needle.len()).any(|window| window == needle) {
            found.push(path.file_name().unwrap().to_str().unwrap().to_owned());
        }
    }
    found
}

#[tokio::test]
async fn an_erased_secret_leaves_nothing_in_the_file() {
    let home = Home::new();
    let ledger = home.open();
    // Long enough for pages of its own as well as short enough to share one.
    for (n, repeat) in [(0u32, 1), (1, 40), (2, 400)] {
        let owner = format!("attempt:{n}");
        let sealed = home.ring.seal(&owner, &Secret::new(CANARY.repeat(repeat))).unwrap();
        let put = owner.clone();
        ledger.write(move |tx| tx.put_sealed(id!(SealedId, n), &put, &sealed)).await.unwrap();
        let row = |sql: &str| home.raw().query_row(sql, [&owner], |row| row.get::<_, Vec<u8>>(0)).unwrap();
        let parts = [
            row("SELECT value_sealed FROM sealed_values WHERE owner = ?1"),
            row("SELECT data_key_sealed FROM sealed_values WHERE owner = ?1"),
        ];
        home.tamper("PRAGMA wal_checkpoint(TRUNCATE)");
        // A long value lies in several pages, so its end is looked for.
        let ends = parts.map(|part| part[part.len() - 32..].to_vec());
        for end in &ends {
            assert_eq!(holds(&home, end), ["ledger.db"], "or the search below would prove nothing");
        }
        let opened = ledger
            .read({
                let owner = owner.clone();
                move |tx| tx.sealed_of(&owner)
            })
            .await
            .unwrap()
            .unwrap();
        assert_eq!(home.ring.open(&owner, &opened).unwrap().expose_secret(), CANARY.repeat(repeat));

        let erase = owner.clone();
        ledger.write(move |tx| tx.erase_sealed(&erase)).await.unwrap();
        assert!(holds(&home, CANARY.as_bytes()).is_empty());
        home.tamper("PRAGMA wal_checkpoint(TRUNCATE)");
        for end in &ends {
            assert!(holds(&home, end).is_empty(), "{repeat}");
        }
        let gone = ledger.read(move |tx| tx.sealed(id!(SealedId, n))).await;
        assert!(matches!(gone, Err(LedgerError::Missing { .. })));
    }
    assert!(holds(&home, CANARY.as_bytes()).is_empty());
    drop(ledger);
    assert!(holds(&home, CANARY.as_bytes()).is_empty());
}

#[tokio::test]
async fn a_sealed_value_that_was_moved_to_another_row_does_not_open() {
    let home = Home::new();
    let ledger = home.open();
    for (n, owner) in [(0u32, "attempt:a"), (1, "attempt:b")] {
        let sealed = home.ring.seal(owner, &Secret::new(format!("{CANARY}{n}"))).unwrap();
        ledger.write(move |tx| tx.put_sealed(id!(SealedId, n), owner, &sealed)).await.unwrap();
    }
    home.tamper(
        "UPDATE sealed_values SET (data_key_sealed, value_sealed) = \
         (SELECT data_key_sealed, value_sealed FROM sealed_values WHERE owner = 'attempt:a') WHERE owner = 'attempt:b'",
    );
    let moved = ledger.read(|tx| tx.sealed_of("attempt:b")).await.unwrap().unwrap();
    assert!(matches!(home.ring.open("attempt:b", &moved), Err(LedgerError::Damaged { .. })));
}
