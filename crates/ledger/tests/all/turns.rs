//! Several that write to one database, as brokers on several machines do: in turns, to one log, with what each of them knows of
//! it kept up.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use keywright_core::saga::Phase;
use keywright_core::span::Span;
use keywright_ledger::audit_files::{AuditFiles, verifier_key, verify};
use keywright_ledger::{Besides, Heard, Ledger, LedgerError};

use crate::database::Database;
use crate::support::{Home, INSTANCE, record};
use crate::things::begin_saga;

/// One of those that write, with files of its own.
struct Writer {
    ledger: Arc<Ledger>,
    files: Arc<AuditFiles>,
    dir: tempfile::TempDir,
    heard: Arc<Mutex<Vec<u64>>>,
    misfits: Arc<AtomicU64>,
}

impl Writer {
    async fn new(home: &Home) -> Self {
        let ledger = Arc::new(home.open());
        let dir = tempfile::tempdir().unwrap();
        let files = Arc::new(AuditFiles::open(dir.path(), &home.ring).unwrap());
        let (heard, misfits) = (Arc::new(Mutex::new(Vec::new())), Arc::new(AtomicU64::new(0)));
        let (entries, strange) = (Arc::clone(&heard), Arc::clone(&misfits));
        let from = ledger.read(|tx| tx.audit_size()).await.unwrap();
        ledger.heed(from, move |what| match what {
            Heard::Entry(entry) => entries.lock().unwrap().push(entry.number),
            Heard::Misfit(_) => drop(strange.fetch_add(1, Ordering::SeqCst)),
        });
        files.publish(&ledger).await.unwrap();
        Self { ledger, files, dir, heard, misfits }
    }

    async fn append(&self) -> u64 {
        self.ledger.write(|tx| tx.audit(record(0))).await.map_err(|e: LedgerError| e).unwrap()
    }

    fn head(&self) -> u64 {
        let head = std::fs::read_to_string(self.dir.path().join("head")).unwrap();
        head.lines().nth(1).unwrap().parse().unwrap()
    }

    fn heard(&self) -> Vec<u64> {
        self.heard.lock().unwrap().clone()
    }
}

async fn house() -> Option<Home> {
    let home = Home::on(Some(Database::where_there_is_one()?));
    home.open().write(|tx| tx.set_instance(&INSTANCE)).await.unwrap();
    Some(home)
}

#[tokio::test(flavor = "multi_thread")]
async fn each_hears_of_what_the_others_append_before_it_appends() {
    let Some(home) = house().await else { return };
    let (one, two) = (Writer::new(&home).await, Writer::new(&home).await);
    assert_eq!([one.append().await, one.append().await, two.append().await], [0, 1, 2]);
    assert_eq!((one.heard(), two.heard()), (vec![], vec![0, 1]));
    one.ledger.catch_up().await.unwrap();
    assert_eq!(one.heard(), [2]);
    assert_eq!((one.head(), two.head()), (3, 3), "both know the log to its end");
    // A deed that fails appends nothing, and what was heard before it stays heard.
    two.append().await;
    let failed: Result<(), LedgerError> = one
        .ledger
        .write(|tx| {
            tx.audit(record(9))?;
            Err(LedgerError::Closed)
        })
        .await;
    assert!(failed.is_err());
    assert_eq!(one.append().await, 4);
    assert_eq!((one.heard(), one.head()), (vec![2, 3], 5));
}

#[tokio::test(flavor = "multi_thread")]
async fn of_many_writers_each_entry_has_one_place_and_every_home_proves_the_log() {
    const WRITERS: usize = 3;
    const EACH: u64 = 120;
    let Some(home) = house().await else { return };
    let mut writers = Vec::new();
    for _ in 0..WRITERS {
        writers.push(Arc::new(Writer::new(&home).await));
    }
    let mut tasks = tokio::task::JoinSet::new();
    for writer in &writers {
        for deed in 0..EACH {
            let writer = Arc::clone(writer);
            tasks.spawn(async move {
                let place = writer.append().await;
                if deed % 20 == 7 {
                    writer.files.publish(&writer.ledger).await.unwrap();
                }
                place
            });
        }
    }
    let mut places: Vec<u64> = tasks.join_all().await;
    places.sort_unstable();
    let all = EACH * WRITERS as u64;
    assert_eq!(places, (0..all).collect::<Vec<_>>());
    let mut roots = Vec::new();
    for writer in &writers {
        writer.ledger.catch_up().await.unwrap();
        writer.files.publish(&writer.ledger).await.unwrap();
        assert_eq!(writer.misfits.load(Ordering::SeqCst), 0);
        let heard = writer.heard();
        assert!(heard.len() as u64 == all - EACH && heard.is_sorted(), "{heard:?}");
        let report =
            verify(writer.dir.path(), home.location(), None, Some(&verifier_key(&home.ring).unwrap()))
                .unwrap();
        assert!(report.is_sound() && report.entries == all, "{:?}", report.findings);
        roots.push(report.root);
    }
    assert!(roots.windows(2).all(|pair| pair[0] == pair[1]));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_that_was_cut_or_changed_under_one_is_noticed_by_all() {
    let Some(home) = house().await else { return };
    let (one, two) = (Writer::new(&home).await, Writer::new(&home).await);
    for _ in 0..5 {
        one.append().await;
    }
    two.ledger.catch_up().await.unwrap();
    home.tamper("DELETE FROM audit_entries WHERE number = 4");
    for writer in [&one, &two] {
        writer.ledger.catch_up().await.unwrap();
        assert!(writer.misfits.load(Ordering::SeqCst) > 0, "it is shorter than it was");
    }
    let Some(home) = house().await else { return };
    let (one, two) = (Writer::new(&home).await, Writer::new(&home).await);
    one.append().await;
    two.append().await;
    // As if somebody had written an entry that is not this home's.
    home.tamper(
        "INSERT INTO audit_entries (log, number, leaf, leaf_hash, deed, stage, at, mac) \
         SELECT log, 2, leaf, leaf_hash, deed, stage, at, mac FROM audit_entries WHERE number = 1",
    );
    for writer in [&one, &two] {
        writer.ledger.catch_up().await.unwrap();
        assert!(writer.misfits.load(Ordering::SeqCst) > 0, "it was written by somebody else");
    }
    assert_eq!(one.heard(), [1], "what is not believed is not told");
}

#[tokio::test(flavor = "multi_thread")]
async fn sagas_are_claimed_once_by_the_databases_clock() {
    let Some(home) = house().await else { return };
    let (one, two) = (home.open(), home.open());
    for number in 1..=20 {
        one.write(move |tx| begin_saga(tx, number)).await.unwrap();
    }
    let minute = Span::from_seconds(60);
    let (left, right) = tokio::join!(
        one.write(move |tx| tx.claim_due_sagas("one", minute, 15, &Besides::default())),
        two.write(move |tx| tx.claim_due_sagas("two", minute, 15, &Besides::default()))
    );
    let (left, right): (Vec<_>, Vec<_>) = (left.unwrap(), right.unwrap());
    assert_eq!(left.len() + right.len(), 20);
    assert!(left.iter().all(|saga| right.iter().all(|other| other.id != saga.id)));
    // The ledger's own clock, which a machine may have wrong, ends no lease.
    home.pass_here(3_600);
    assert!(
        two.write(move |tx| tx.claim_due_sagas("two", minute, 15, &Besides::default()))
            .await
            .unwrap()
            .is_empty()
    );
    // Each broker frees its own at a start, and nobody else's.
    assert_eq!(one.write(|tx| tx.release_sagas(Some("one"))).await.unwrap(), left.len() as u64);
    let again =
        two.write(move |tx| tx.claim_due_sagas("two", minute, 50, &Besides::default())).await.unwrap();
    assert_eq!(again.len(), left.len());
    // Whoever was overtaken writes nothing more, and prolongs nothing.
    let stale = left[0].clone();
    let held = [(stale.id, stale.fence)];
    one.write(move |tx| tx.renew_sagas(&held, Span::from_seconds(7_200))).await.unwrap();
    let refused =
        one.write(move |tx| tx.advance_saga(&stale, Phase::Sealed, stale.attempt, minute, None)).await;
    assert!(matches!(refused, Err(LedgerError::Conflict { .. })), "{refused:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn one_leads_until_its_time_is_over_and_then_another() {
    let Some(home) = house().await else { return };
    let (one, two) = (home.open(), home.open());
    let long = Span::from_seconds(600);
    let first = one.write(move |tx| tx.take_lead("upkeep", "one", long)).await.unwrap().unwrap();
    assert_eq!(two.write(move |tx| tx.take_lead("upkeep", "two", long)).await.unwrap(), None);
    assert!(!two.read(move |tx| tx.lead_is_free("upkeep", long)).await.unwrap());
    let lead = first.clone();
    one.write(move |tx| tx.keep_lead(&lead, long).and_then(|()| tx.still_leads(&lead))).await.unwrap();
    // Its time is over by the database's clock.
    home.tamper("UPDATE leads SET expires_at = 1000");
    let second = two.write(move |tx| tx.take_lead("upkeep", "two", long)).await.unwrap().unwrap();
    assert_ne!(first.fence, second.fence);
    let (lead, other) = (first.clone(), first);
    for refused in [
        one.write(move |tx| tx.still_leads(&lead)).await,
        one.write(move |tx| tx.keep_lead(&other, long)).await,
    ] {
        assert!(matches!(refused, Err(LedgerError::Conflict { .. })), "{refused:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_stops_in_the_middle_of_its_turn_is_thrown_out_and_holds_up_nobody() {
    let Some(home) = house().await else { return };
    let (one, two) = (Arc::new(home.open()), home.open());
    let (began, has_begun) = std::sync::mpsc::channel();
    let (go_on, may_go_on) = std::sync::mpsc::channel::<()>();
    let stopped = Arc::clone(&one);
    let stopped = tokio::spawn(async move {
        stopped
            .write(move |tx| {
                tx.audit(record(0))?;
                began.send(()).unwrap();
                // As a process that was stopped: nothing is sent any more, and the connection is there.
                may_go_on.recv_timeout(Duration::from_secs(60)).unwrap();
                tx.audit(record(1))
            })
            .await
    });
    tokio::task::block_in_place(|| has_begun.recv().unwrap());
    let place: Result<u64, LedgerError> = two.write(|tx| tx.audit(record(2))).await;
    assert_eq!(place.unwrap(), 0, "it gets its turn, and nothing of the other is there");
    go_on.send(()).unwrap();
    let lost: Result<u64, LedgerError> = stopped.await.unwrap();
    assert!(matches!(lost, Err(LedgerError::Unreachable(_))), "{lost:?}");
    let place: Result<u64, LedgerError> = one.write(|tx| tx.audit(record(3))).await;
    assert_eq!(place.unwrap(), 1, "and it goes on behind the others");
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_wrote_nothing_for_long_writes_on_when_its_fence_was_forgotten() {
    let Some(home) = house().await else { return };
    let one = home.open();
    let place = async |ledger: &Ledger| ledger.write(|tx| tx.audit(record(0))).await;
    assert_eq!(place(&one).await.map_err(|e: LedgerError| e).unwrap(), 0);
    home.tamper("UPDATE brokers SET seen_at = 0");
    let two = home.open();
    assert_eq!(place(&two).await.map_err(|e: LedgerError| e).unwrap(), 1);
    assert_eq!(place(&one).await.map_err(|e: LedgerError| e).unwrap(), 2, "it only was quiet");
    assert_eq!(place(&one).await.map_err(|e: LedgerError| e).unwrap(), 3);
    // Somebody else's hand on the fence is another thing.
    home.tamper("UPDATE brokers SET fence = fence + 7");
    let refused = place(&one).await;
    assert!(matches!(refused, Err(LedgerError::Taken)), "{refused:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lead_that_lasts_longer_than_anybody_takes_it_for_holds_up_nobody() {
    let Some(home) = house().await else { return };
    let (one, two) = (home.open(), home.open());
    let lease = Span::from_seconds(15);
    let first = one.write(move |tx| tx.take_lead("upkeep", "one", lease)).await.unwrap().unwrap();
    home.tamper("UPDATE leads SET expires_at = expires_at + 31536000000");
    assert!(two.read(move |tx| tx.lead_is_free("upkeep", lease)).await.unwrap());
    let second = two.write(move |tx| tx.take_lead("upkeep", "two", lease)).await.unwrap().unwrap();
    assert_ne!(first.fence, second.fence);
    assert_eq!(one.write(move |tx| tx.take_lead("upkeep", "one", lease)).await.unwrap(), None);
}

#[tokio::test(flavor = "multi_thread")]
async fn one_writes_nothing_any_more_once_a_newer_program_changed_the_tables() {
    let Some(home) = house().await else { return };
    let one = home.open();
    let place = async || one.write(|tx| tx.audit(record(0))).await;
    assert_eq!(place().await.map_err(|e: LedgerError| e).unwrap(), 0);
    home.tamper("INSERT INTO schema_version VALUES (99)");
    for fence in ["fence", "fence + 1000000"] {
        home.tamper(&format!("UPDATE brokers SET fence = {fence}"));
        let refused = place().await.unwrap_err();
        assert!(matches!(refused, LedgerError::TooNew { found: 99, .. }), "{refused:?}");
        assert!(refused.to_string().contains("upgrade it"), "{refused}");
    }
    let size = one.read(|tx| tx.audit_size()).await.map_err(|e: LedgerError| e).unwrap();
    assert_eq!(size, 1, "nothing came of it");
}
