//! Moving a ledger from one engine to another and back.

use keywright_core::id::{AttemptId, KeyId, VersionId};
use keywright_core::key::{Version, VersionState};
use keywright_core::saga::SagaKind;
use keywright_ledger::audit_files::verify;
use keywright_ledger::{Address, Clock, Ledger, LedgerError, Location, Marks, Moved, Result};

use crate::database::Database;
use crate::support::{Home, INSTANCE, grow, record};
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

fn now() -> Clock {
    std::sync::Arc::new(jiff::Timestamp::now)
}

/// A copy that is looked at and found good.
async fn arrived(home: &Home, location: &Location) -> Ledger {
    let refused = Ledger::open(location, now()).err();
    assert!(matches!(refused, Some(LedgerError::Arriving)), "{refused:?}");
    Ledger::open_copy(location, now()).unwrap().arrived().await.unwrap();
    open(home, location).await
}

async fn open(home: &Home, location: &Location) -> Ledger {
    let ledger = Ledger::open(location, now()).unwrap();
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
    let there = arrived(&home, &server(&database)).await;
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
    let back_again = arrived(&home, &Location::File(back.clone())).await;
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
    // A copy that nobody used yet is made anew, where it is of the same ledger.
    let another = filled().await;
    another.tamper("UPDATE meta SET value = zeroblob(16) WHERE name = 'instance'");
    let of_another = another.open().copy_to(&server(&database), None).await;
    assert!(matches!(of_another, Err(LedgerError::NotEmpty { .. })), "{of_another:?}");
    grow(&ledger, 305).await;
    let anew = ledger.copy_to(&server(&database), None).await.unwrap();
    assert_eq!(database.run("SELECT count(*) FROM audit_entries").trim(), "305");
    let rows = Ledger::open_copy(&server(&database), now()).unwrap().arrived().await.unwrap();
    assert_eq!(rows, anew.rows);
    for target in [server(&database), home.location()] {
        let refused = ledger.copy_to(&target, None).await;
        assert!(matches!(refused, Err(LedgerError::NotEmpty { .. })), "{refused:?}");
    }
    let other = Database::where_there_is_one().unwrap();
    drop(Ledger::open(&server(&other), now()).unwrap());
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

/// A home on a server.
async fn house() -> Option<Home> {
    let home = Home::on(Some(Database::where_there_is_one()?));
    home.open().write(|tx| tx.set_instance(&INSTANCE)).await.unwrap();
    Some(home)
}

async fn place(ledger: &Ledger) -> Result<u64> {
    ledger.write(|tx| tx.audit(record(0))).await
}

/// Copies a ledger into a file, and gives that.
async fn copied(home: &Home, ledger: &Ledger) -> (Location, Moved) {
    let to = Location::File(home.dir.path().join("copy.db"));
    let moved = ledger.copy_to(&to, None).await.unwrap();
    (to, moved)
}

fn is_moved<T: std::fmt::Debug>(result: &Result<T>) {
    assert!(matches!(result, Err(LedgerError::Moved { note }) if note == "elsewhere"), "{result:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_was_open_and_never_wrote_writes_nothing_once_the_ledger_was_moved() {
    let Some(home) = house().await else { return };
    let mover = home.open();
    mover.claim().await.unwrap();
    let (_, moved) = copied(&home, &mover).await;
    // Opened before the note is there.
    let (other, idle) = (home.open(), home.open());
    mover.retire("elsewhere", &moved).await.unwrap();
    is_moved(&place(&mover).await);
    drop(mover);
    for _ in 0..2 {
        is_moved(&place(&other).await);
    }
    is_moved(&idle.claim().await);
    is_moved(&home.try_open().map(drop));
    assert_eq!(home.values("SELECT count(*) FROM audit_entries"), ["0"], "nothing came of it");
}

#[tokio::test(flavor = "multi_thread")]
async fn one_whose_fence_was_forgotten_writes_nothing_once_the_ledger_was_moved() {
    let Some(home) = house().await else { return };
    let asleep = home.open();
    assert_eq!(place(&asleep).await.unwrap(), 0);
    home.tamper("UPDATE brokers SET seen_at = seen_at - 8 * 86400000");
    let later = home.open();
    assert_eq!(place(&later).await.unwrap(), 1);
    assert_eq!(home.values("SELECT count(*) FROM brokers"), ["1"], "its fence was forgotten");
    let mover = home.open();
    mover.claim().await.unwrap();
    let (_, moved) = copied(&home, &mover).await;
    mover.retire("elsewhere", &moved).await.unwrap();
    drop(mover);
    is_moved(&place(&asleep).await);
    is_moved(&place(&later).await);
    // Also where the fence is as it was left.
    home.tamper("UPDATE brokers SET fence = fence - 1000000");
    is_moved(&place(&later).await);
    assert_eq!(home.values("SELECT count(*) FROM audit_entries"), ["2"], "nothing came of it");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_written_after_the_copy_is_not_left_behind() {
    let Some(home) = house().await else { return };
    let mover = home.open();
    mover.claim().await.unwrap();
    place(&mover).await.unwrap();
    let (to, moved) = copied(&home, &mover).await;
    // The session that kept others out is lost, and another home's broker has its turn.
    home.server.as_ref().unwrap().run(
        "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()",
    );
    let other = home.open();
    place(&other).await.unwrap();
    let refused = mover.retire("elsewhere", &moved).await;
    assert!(matches!(refused, Err(LedgerError::Conflict { .. })), "{refused:?}");
    assert_eq!(Marks::of(&home.location()).unwrap().moved, None);
    for ledger in [&mover, &other] {
        place(ledger).await.unwrap();
    }
    // So is what is in no log.
    let (_, moved) = copied(&home, &mover).await;
    other.write(|_| Ok::<_, LedgerError>(())).await.unwrap();
    let refused = mover.retire("elsewhere", &moved).await;
    assert!(matches!(refused, Err(LedgerError::Conflict { .. })), "{refused:?}");
    // And of two moves the one that began later goes on.
    let (_, first) = copied(&home, &mover).await;
    let (_, second) = copied(&home, &other).await;
    let refused = mover.retire("elsewhere", &first).await;
    assert!(matches!(refused, Err(LedgerError::Conflict { .. })), "{refused:?}");
    let (_, third) = copied(&home, &other).await;
    assert_ne!(second, third);
    other.retire("elsewhere", &third).await.unwrap();
    let marks = Marks::of(&home.location()).unwrap();
    assert!(marks.is_of_one_move(&Marks::of(&to).unwrap()) && marks.moved.is_some(), "{marks:?}");
    let copy = Ledger::open_copy(&to, now()).unwrap();
    copy.arrived().await.unwrap();
    assert_eq!(copy.read(|tx| tx.audit_size()).await.map_err(|e: LedgerError| e).unwrap(), 4);
}
