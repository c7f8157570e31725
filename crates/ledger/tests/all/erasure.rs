//! What is sealed never lies in the clear, and what is erased is gone.

use keywright_core::id::SealedId;
use keywright_core::secret::Secret;
use keywright_ledger::LedgerError;

use crate::support::Home;
use crate::things::id;

const CANARY: &str = "cf-canary-Zx81-never-on-disk-0123456789";

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
