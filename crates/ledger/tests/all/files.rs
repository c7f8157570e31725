//! What is so because the ledger is a file: what a crash, damage, another process and other users find there.

use std::fs;
use std::sync::Arc;

use keywright_core::id::SealedId;
use keywright_core::secret::Secret;
use keywright_ledger::audit_files::verify;
use keywright_ledger::{AuditFilter, LedgerError};

use crate::support::{Home, record};
use crate::things::id;

const CANARY: &str = "cf-canary-Zx81-never-on-disk-0123456789";

fn entries(limit: u32) -> AuditFilter {
    AuditFilter { limit, ..AuditFilter::default() }
}

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

#[tokio::test(flavor = "multi_thread")]
async fn sixty_four_concurrent_writes_are_all_durable_when_they_return() {
    let home = Home::on(None);
    let ledger = Arc::new(home.open());
    let tasks: Vec<_> = (0..64)
        .map(|number| {
            let ledger = Arc::clone(&ledger);
            tokio::spawn(async move { ledger.write(move |tx| tx.audit(record(number))).await })
        })
        .collect();
    let mut places = Vec::new();
    for task in tasks {
        places.push(task.await.unwrap().unwrap());
    }
    places.sort_unstable();
    assert_eq!(places, (0..64).collect::<Vec<_>>());
    // What the disk would hold if the power went now: the files as they are, nothing closed.
    let crashed = Home::on(None);
    for suffix in ["", "-wal"] {
        let name = format!("ledger.db{suffix}");
        fs::copy(home.dir.path().join(&name), crashed.dir.path().join(&name)).unwrap();
    }
    assert_eq!(crashed.open().read(|tx| tx.audit_size()).await.unwrap(), 64);
    drop(ledger);
    assert!(!home.dir.path().join("ledger.db-wal").exists(), "a closed ledger is one file");
    assert_eq!(home.open().read(|tx| tx.audit_size()).await.unwrap(), 64);
}

#[tokio::test]
async fn a_ledger_that_another_process_writes_to_is_reported_as_locked() {
    let home = Home::on(None);
    let ledger = home.open();
    let other = home.raw();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    let refused = ledger.write(|tx| tx.audit(record(0))).await;
    assert!(matches!(refused, Err(LedgerError::Locked { .. })), "{refused:?}");
    assert_eq!(ledger.read(|tx| tx.audit_size()).await.unwrap(), 0, "reading goes on");
    other.execute_batch("ROLLBACK").unwrap();
    assert_eq!(ledger.write(|tx| tx.audit(record(0))).await.unwrap(), 0);
}

#[tokio::test]
async fn a_damaged_file_is_reported_in_words() {
    let home = Home::on(None);
    let ledger = home.open();
    crate::support::grow(&ledger, 300).await;
    drop(ledger);
    let sound = fs::read(home.database()).unwrap();
    let mut garbled = sound.clone();
    garbled[..100].fill(0x5a);
    for damaged in
        [garbled.as_slice(), b"hello".repeat(2000).as_slice(), &sound[..sound.len() / 3], &sound[..700]]
    {
        fs::write(home.database(), damaged).unwrap();
        match home.try_open().map(drop) {
            Err(error @ LedgerError::Corrupt(_)) => assert!(error.to_string().contains("backup"), "{error}"),
            other => panic!("{} bytes: {other:?}", damaged.len()),
        }
    }
    // Damage further in shows when it is read.
    let mut inner = sound.clone();
    for page in 2..sound.len() / 4096 {
        inner[page * 4096..page * 4096 + 64].fill(0xee);
    }
    fs::write(home.database(), inner).unwrap();
    let refused = match home.try_open() {
        Ok(ledger) => ledger.read(|tx| tx.audit_entries(&entries(1000))).await.map(|_| ()),
        Err(error) => Err(error),
    };
    assert!(matches!(refused, Err(LedgerError::Corrupt(_))), "{refused:?}");
}

#[tokio::test]
async fn nobody_else_may_read_the_files() {
    use std::os::unix::fs::PermissionsExt as _;
    let home = Home::on(None);
    let ledger = home.open();
    ledger.write(|tx| tx.audit(record(0))).await.unwrap();
    for suffix in ["", "-wal", "-shm"] {
        let path = home.dir.path().join(format!("ledger.db{suffix}"));
        assert_eq!(fs::metadata(path).unwrap().permissions().mode() & 0o777, 0o600, "{suffix}");
    }
}

#[tokio::test]
async fn an_erased_secret_leaves_nothing_in_the_file() {
    let home = Home::on(None);
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
async fn a_damaged_database_is_an_error_with_words_and_not_a_panic() {
    let (home, _) = Home::with_log(&[600], 600).await;
    home.tamper("PRAGMA wal_checkpoint(TRUNCATE)");
    let sound = fs::read(home.database()).unwrap();
    let try_verify = || verify(&home.audit(), &home.database(), None, None);
    let mut errors = 0;
    for page in 1..sound.len() / 4096 {
        let mut bytes = sound.clone();
        bytes[page * 4096..page * 4096 + 200].fill(0xee);
        fs::write(home.database(), bytes).unwrap();
        match try_verify() {
            // Pages of other tables are of no concern here.
            Ok(report) if report.is_sound() => assert_eq!(report.entries, 600),
            Ok(report) => assert!(report.first().is_some()),
            Err(LedgerError::Corrupt(_)) => errors += 1,
            Err(other) => panic!("page {page}: {other}"),
        }
    }
    assert!(errors > 0);
    for length in [0, 100, 4096, sound.len() / 2] {
        fs::write(home.database(), &sound[..length]).unwrap();
        let error = try_verify().unwrap_err();
        assert!(matches!(error, LedgerError::Corrupt(_)), "cut to {length}: {error}");
    }
    fs::write(home.database(), b"this is not a database at all".repeat(1000)).unwrap();
    assert!(matches!(try_verify(), Err(LedgerError::Corrupt(_))));
    fs::remove_file(home.database()).unwrap();
    assert!(matches!(try_verify(), Err(LedgerError::Io(_))));
}
