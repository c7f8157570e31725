//! Operators and their slots.

use std::fs;

use keywright_core::approval::Approval;
use keywright_core::id::{ApprovalId, RequestId, SealedId};
use keywright_core::name::OperatorName;
use keywright_core::secret::Secret;
use keywright_core::span::Span;
use keywright_ledger::seal::{MasterKey, SlotCost};
use keywright_ledger::{Ledger, LedgerError, OperatorKeys};

use crate::support::{Home, INSTANCE};
use crate::things::{add_request, id, plan};

/// Real operators pay more; the cost is stored with the slot.
const CHEAP: SlotCost = SlotCost { memory_kib: 64, passes: 1, lanes: 1 };

fn name(name: &str) -> OperatorName {
    name.parse().unwrap()
}

fn pass(text: &str) -> Secret {
    Secret::new(text.to_owned())
}

async fn add(
    ledger: &Ledger,
    operator: &str,
    passphrase: &str,
    master: &MasterKey,
) -> Result<(), LedgerError> {
    let operator = name(operator);
    let keys = OperatorKeys::seal(&operator, &pass(passphrase), master, None, CHEAP).unwrap();
    let ring = master.keyring(INSTANCE);
    ledger.write(move |tx| tx.add_operator(&operator, &keys, &ring).map(drop)).await
}

async fn unlock(
    ledger: &Ledger,
    operator: &str,
    passphrase: &str,
) -> Result<keywright_ledger::Unlocked, LedgerError> {
    let operator = name(operator);
    ledger.read(move |tx| tx.slot(&operator)).await.unwrap().unlock(&pass(passphrase))
}

#[tokio::test]
async fn each_operator_opens_the_same_master_key_with_their_own_passphrase() {
    let home = Home::new();
    let ledger = home.open();
    let master = MasterKey::generate().unwrap();
    add(&ledger, "ada", "correct horse", &master).await.unwrap();
    add(&ledger, "bob", "battery staple", &master).await.unwrap();
    let sealed = master.keyring(INSTANCE).seal("owner", &pass("s3cret")).unwrap();
    let (ada, bob) =
        (unlock(&ledger, "ada", "correct horse").await, unlock(&ledger, "bob", "battery staple").await);
    let (ada, bob) = (ada.unwrap(), bob.unwrap());
    for unlocked in [&ada, &bob] {
        assert_eq!(
            unlocked.master.keyring(INSTANCE).open("owner", &sealed).unwrap().expose_secret(),
            "s3cret"
        );
    }
    assert_ne!(ada.signing.to_bytes(), bob.signing.to_bytes());
    for (operator, wrong) in
        [("ada", "battery staple"), ("ada", ""), ("ada", "correct horse "), ("bob", "correct horse")]
    {
        match unlock(&ledger, operator, wrong).await.map(drop) {
            Err(LedgerError::WrongPassphrase { operator: Some(named) }) => assert_eq!(named, operator),
            other => panic!("{other:?}"),
        }
    }
    let taken = add(&ledger, "ada", "another", &master).await;
    assert!(matches!(taken, Err(LedgerError::Exists { .. })));
}

#[tokio::test]
async fn a_slot_copied_to_another_operator_does_not_open() {
    let home = Home::new();
    let ledger = home.open();
    let master = MasterKey::generate().unwrap();
    add(&ledger, "ada", "correct horse", &master).await.unwrap();
    add(&ledger, "eve", "eve's own", &master).await.unwrap();
    home.tamper(
        "UPDATE operators SET (master_key_sealed, slot_salt, signing_key_sealed) = \
         (SELECT master_key_sealed, slot_salt, signing_key_sealed FROM operators WHERE name = 'eve') WHERE name = 'ada'",
    );
    assert!(matches!(unlock(&ledger, "ada", "eve's own").await, Err(LedgerError::WrongPassphrase { .. })));
}

#[tokio::test]
async fn a_new_passphrase_keeps_every_value_readable_and_ends_the_old_one() {
    let home = Home::new();
    let ledger = home.open();
    let master = MasterKey::generate().unwrap();
    add(&ledger, "ada", "old", &master).await.unwrap();
    let sealed = master.keyring(INSTANCE).seal("owner", &pass("s3cret")).unwrap();
    ledger.write(move |tx| tx.put_sealed(id!(SealedId, 1u32), "owner", &sealed)).await.unwrap();

    let before = unlock(&ledger, "ada", "old").await.unwrap();
    let keys =
        OperatorKeys::seal(&name("ada"), &pass("new"), &before.master, Some(&before.signing), CHEAP).unwrap();
    let ring = master.keyring(INSTANCE);
    ledger.write(move |tx| tx.rewrap_operator(&name("ada"), &keys, &ring)).await.unwrap();

    assert!(matches!(unlock(&ledger, "ada", "old").await, Err(LedgerError::WrongPassphrase { .. })));
    let after = unlock(&ledger, "ada", "new").await.unwrap();
    let found = ledger.read(|tx| tx.sealed_of("owner")).await.unwrap().unwrap();
    assert_eq!(after.master.keyring(INSTANCE).open("owner", &found).unwrap().expose_secret(), "s3cret");
    let ring = master.keyring(INSTANCE);
    let public = ledger.read(move |tx| tx.operator(&name("ada"), &ring)).await.unwrap().public_key;
    assert_eq!(after.signing.verifying_key(), public, "their signatures still verify");
}

#[tokio::test]
async fn removing_an_operator_destroys_the_slot_and_voids_unused_approvals() {
    let home = Home::new();
    let ledger = home.open();
    let master = MasterKey::generate().unwrap();
    add(&ledger, "ada", "a", &master).await.unwrap();
    add(&ledger, "bob", "b", &master).await.unwrap();
    for (n, operator) in [(1u32, "ada"), (2, "bob"), (3, "bob")] {
        let signing =
            unlock(&ledger, operator, if operator == "ada" { "a" } else { "b" }).await.unwrap().signing;
        let operator = name(operator);
        ledger
            .write(move |tx| {
                if n < 3 {
                    add_request(tx, n)?;
                }
                // The first two approve request 1 and 2, the third request 1 as well.
                let request = if n == 3 { 1 } else { n };
                let times = (tx.now(), Span::from_seconds(3600).after(tx.now()));
                let digest = plan(request, "builder").digest().unwrap();
                let id = id!(ApprovalId, n);
                let approval = Approval::sign(id, id!(RequestId, request), operator, digest, times, &signing);
                tx.add_approval(&approval)?;
                if n == 2 { tx.use_approvals(id!(RequestId, n)) } else { Ok(()) }
            })
            .await
            .unwrap();
    }
    let slot = |column: &str| -> Vec<u8> {
        let sql = format!("SELECT {column} FROM operators WHERE name = 'bob'");
        home.raw().query_row(&sql, [], |row| row.get(0)).unwrap()
    };
    // What a server's files still hold is out of reach.
    let columns = ["master_key_sealed", "signing_key_sealed"].into_iter().filter(|_| home.server.is_none());
    let sealed: Vec<_> = columns.map(slot).collect();
    let remove = |operator: &'static str| {
        let ring = master.keyring(INSTANCE);
        ledger.write(move |tx| tx.remove_operator(&name(operator), &ring))
    };
    remove("bob").await.unwrap();

    assert!(matches!(ledger.read(|tx| tx.slot(&name("bob"))).await, Err(LedgerError::Missing { .. })));
    let length = "length(master_key_sealed) + length(signing_key_sealed)";
    assert_eq!(home.values(&format!("SELECT {length} FROM operators WHERE name = 'bob'")), ["0"]);
    ledger.fold().await.unwrap();
    for bytes in &sealed {
        let file = fs::read(home.database()).unwrap();
        assert!(!file.windows(bytes.len()).any(|window| window == bytes), "the slot is still in the file");
    }
    let of = |n: u32| ledger.read(move |tx| tx.approvals(id!(RequestId, n)));
    let waiting: Vec<_> = of(1).await.unwrap().into_iter().map(|a| a.operator).collect();
    assert_eq!(waiting, [name("ada")], "bob's unused approval no longer counts");
    assert_eq!(of(2).await.unwrap().len(), 1, "the one that was used stays on record");

    assert!(add(&ledger, "bob", "b", &master).await.is_err(), "the name keeps its meaning");
    let last = remove("ada").await;
    assert!(matches!(last, Err(LedgerError::LastOperator)));
    unlock(&ledger, "ada", "a").await.unwrap();
    let nobody = remove("carl").await;
    assert!(matches!(nobody, Err(LedgerError::Missing { .. })));
}

#[tokio::test]
async fn the_recommended_cost_is_what_a_slot_is_opened_with() {
    let home = Home::new();
    let ledger = home.open();
    let master = MasterKey::generate().unwrap();
    let keys = OperatorKeys::seal(&name("ada"), &pass("p"), &master, None, SlotCost::RECOMMENDED).unwrap();
    let ring = master.keyring(INSTANCE);
    ledger.write(move |tx| tx.add_operator(&name("ada"), &keys, &ring)).await.unwrap();
    unlock(&ledger, "ada", "p").await.unwrap();
    // A weaker cost written into the row leads to other keys, not to an easier guess.
    home.tamper("UPDATE operators SET slot_memory_kib = 64, slot_passes = 1, slot_lanes = 1");
    assert!(matches!(unlock(&ledger, "ada", "p").await, Err(LedgerError::WrongPassphrase { .. })));
}
