//! Moving a ledger from one engine to another and back.

use keywright_core::id::{AttemptId, KeyId, VersionId};
use keywright_core::key::{Version, VersionState};
use keywright_core::saga::SagaKind;
use keywright_ledger::audit_files::verify;
use keywright_ledger::{Address, Ledger, LedgerError, Location};

use crate::database::Database;
use crate::support::{Home, INSTANCE, grow};
use crate::things::{begin_saga_of, id};

fn server(database: &Database) -> Location {
    Location::Server(Box::new(database.url().parse::<Address>().unwrap()))
}

/// A home whose ledger is in a file and has rows in many tables.
async fn filled() -> Home {
    let home = Home::on(None);
    let ledger = home.open();
    ledger.write(|tx| tx.set_instance(&INSTANCE)).await.unwrap();
    for n in 0..20 {
        ledger.write(move |tx| begin_saga_of(tx, n, SagaKind::Mint)).await.unwrap();
    }
    let sealed = home.ring.seal("a", &keywright_core::secret::Secret::new("s".to_owned())).unwrap();
    ledger
        .write(move |tx| tx.put_sealed(id!(keywright_core::id::SealedId, 1u32), "a", &sealed))
        .await
        .unwrap();
    let version = Version {
        id: id!(VersionId, 1u32),
        key: id!(KeyId, 1u32),
        attempt: id!(AttemptId, 1u32),
        number: 1,
        provider_key_id: "one".to_owned(),
        expires_at: None,
        state: VersionState::Active,
    };
    let held = ledger.write(move |tx| {
        tx.add_version(&version, None)?;
        tx.add_hold("program", version.id, version.key, None, None)
    });
    held.await.map_err(|error: LedgerError| error).unwrap();
    grow(&ledger, 300).await;
    home.files().publish(&ledger).await.unwrap();
    home
}

async fn open(home: &Home, location: &Location) -> Ledger {
    let ledger = Ledger::open(location, std::sync::Arc::new(jiff::Timestamp::now)).unwrap();
    ledger.unlock(&home.ring);
    let found = ledger.scan(|tx| tx.soundness()).await.unwrap();
    assert!(found.rows >= 60 && found.edited.is_empty(), "{:?}", found.edited);
    ledger
}

#[tokio::test]
async fn a_ledger_goes_to_a_server_and_back_row_by_row() {
    let Some(database) = Database::where_there_is_one() else { return };
    let home = filled().await;
    let before = home.verify_trusted();
    assert!(before.is_sound());
    let moved = open(&home, &home.location()).await.copy_to(&server(&database), Some("here")).await.unwrap();
    assert!(moved.rows > 380 && moved.tables > 20, "{moved:?}");
    let there = open(&home, &server(&database)).await;
    let report = verify(&home.audit(), server(&database), None, None).unwrap();
    assert!(report.is_sound() && report.root == before.root, "{:?}", report.findings);
    let sealed = there.read(|tx| tx.sealed_of("a")).await.unwrap().unwrap();
    assert_eq!(home.ring.open("a", &sealed).unwrap().expose_secret(), "s");
    assert_eq!(database.run("SELECT seen_by FROM holds").trim(), "here", "a name that somebody goes by");
    // It lives on there, and what happened comes back.
    grow(&there, 310).await;
    home.files().publish(&there).await.unwrap();
    let back = home.dir.path().join("back.db");
    let again = there.copy_to(&Location::File(back.clone()), None).await.unwrap();
    assert_eq!(again.rows, moved.rows + 10);
    let back_again = open(&home, &Location::File(back.clone())).await;
    let holds = back_again.read(|tx| tx.hold("program")).await.map_err(|error: LedgerError| error).unwrap();
    assert_eq!(holds[0].seen_by, None, "on a file there is nobody else");
    let report = verify(&home.audit(), &back, None, None).unwrap();
    assert!(report.is_sound() && report.entries == 310, "{:?}", report.findings);
}

#[tokio::test]
async fn nothing_is_copied_over_what_lies_there() {
    let Some(database) = Database::where_there_is_one() else { return };
    let home = filled().await;
    let ledger = home.open();
    ledger.copy_to(&server(&database), None).await.unwrap();
    for target in [server(&database), home.location()] {
        let refused = ledger.copy_to(&target, None).await;
        assert!(matches!(refused, Err(LedgerError::NotEmpty { .. })), "{refused:?}");
    }
    let other = Database::where_there_is_one().unwrap();
    drop(Ledger::open(&server(&other), std::sync::Arc::new(jiff::Timestamp::now)).unwrap());
    other.run("CREATE VIEW extra AS SELECT 1 AS one");
    let refused = ledger.copy_to(&server(&other), None).await;
    assert!(matches!(refused, Err(LedgerError::NotEmpty { .. })), "{refused:?}");
}

#[tokio::test]
async fn what_does_not_fit_is_not_copied_in_part() {
    let Some(database) = Database::where_there_is_one() else { return };
    let home = filled().await;
    // SQLite keeps what it is given.
    home.tamper("UPDATE audit_entries SET leaf = 'text' WHERE number = 200");
    let refused = home.open().copy_to(&server(&database), None).await;
    assert!(matches!(refused, Err(LedgerError::Statement(_))), "{refused:?}");
    assert_eq!(
        database.run("SELECT (SELECT count(*) FROM requests) + (SELECT count(*) FROM audit_entries)").trim(),
        "0"
    );
}
