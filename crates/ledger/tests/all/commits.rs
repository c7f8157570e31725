//! Commits: shared by what comes together, durable when they return, refused in words when they can't be had.

use std::sync::Arc;
use std::sync::mpsc::channel;

use keywright_ledger::audit_files::Finding;
use keywright_ledger::{AuditFilter, Ledger, LedgerError, Result};

use crate::support::{Home, INSTANCE, record};

fn entries(limit: u32) -> AuditFilter {
    AuditFilter { limit, ..AuditFilter::default() }
}

/// Runs deeds so that they certainly share one commit: the writer is kept busy until all of them wait.
async fn together(ledger: &Arc<Ledger>, size: u64, fails: fn(u64) -> bool) -> Vec<Result<u64>> {
    let (release, held) = channel::<()>();
    let (arrived, is_busy) = channel::<()>();
    let blocker = tokio::spawn({
        let ledger = Arc::clone(ledger);
        async move {
            ledger
                .write(move |_| {
                    arrived.send(()).unwrap();
                    let _ = held.recv();
                    Ok::<_, LedgerError>(())
                })
                .await
        }
    });
    tokio::task::spawn_blocking(move || is_busy.recv().unwrap()).await.unwrap();
    let mut deeds = Vec::new();
    for number in 0..size {
        let mut deed = Box::pin({
            let ledger = Arc::clone(ledger);
            async move {
                ledger
                    .write(move |tx| {
                        let place = tx.audit(record(number))?;
                        if fails(number) {
                            Err(LedgerError::Conflict { what: "the test" })
                        } else {
                            Ok(place)
                        }
                    })
                    .await
            }
        });
        // The first poll hands the deed to the writer.
        let waits =
            std::future::poll_fn(|cx| std::task::Poll::Ready(deed.as_mut().poll(cx).is_pending())).await;
        assert!(waits);
        deeds.push(deed);
    }
    release.send(()).unwrap();
    blocker.await.unwrap().unwrap();
    let mut results = Vec::new();
    for deed in deeds {
        results.push(deed.await);
    }
    results
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failing_deed_rolls_back_only_its_own_part_of_a_shared_commit() {
    let home = Home::new();
    let ledger = Arc::new(home.open());
    ledger.write(|tx| tx.set_instance(&INSTANCE)).await.unwrap();
    home.files().publish(&ledger).await.unwrap();
    let before = *ledger.commits().borrow();
    let results = together(&ledger, 40, |number| number % 4 == 3).await;
    // The count follows the replies.
    let commits = *ledger.commits().wait_for(|count| *count >= before + 2).await.unwrap();
    assert_eq!(commits - before, 2, "one for the blocker, one for all the others");
    for (number, result) in results.iter().enumerate() {
        assert_eq!(result.is_err(), number % 4 == 3, "{number}: {result:?}");
    }
    let rows = ledger.read(|tx| tx.audit_entries(&entries(100))).await.unwrap();
    let purposes: Vec<_> =
        rows.iter().map(|row| row.entry().unwrap().record().subject.request.clone()).collect();
    let expected: Vec<_> = (0..40).filter(|n| n % 4 != 3).map(|n| record(n).subject.request).collect();
    assert_eq!(purposes, expected);
    assert!(rows.iter().zip(0..).all(|(row, place)| row.number == place), "no gap where a deed failed");
    assert_head(&home, 30);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deed_whose_asker_gave_up_is_done_all_the_same() {
    let home = Home::new();
    let ledger = Arc::new(home.open());
    {
        let mut deed = Box::pin(ledger.write(|tx| tx.audit(record(0))));
        let poll = std::future::poll_fn(|cx| std::task::Poll::Ready(deed.as_mut().poll(cx).is_ready()));
        let _ = poll.await;
    }
    ledger.write(|tx| tx.audit(record(1))).await.unwrap();
    assert_eq!(ledger.read(|tx| tx.audit_size()).await.unwrap(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deed_that_panics_fails_alone() {
    let home = Home::new();
    let ledger = Arc::new(home.open());
    let deed = |number: u64, panics: bool| {
        let ledger = Arc::clone(&ledger);
        tokio::spawn(async move {
            ledger
                .write(move |tx| {
                    let place = tx.audit(record(number))?;
                    assert!(!panics, "this deed panics on purpose");
                    Ok::<_, LedgerError>(place)
                })
                .await
        })
    };
    let tasks: Vec<_> = (0..30).map(|number| (number, deed(number, number == 7))).collect();
    for (number, task) in tasks {
        assert_eq!(task.await.unwrap().is_ok(), number != 7, "{number}");
    }
    assert_eq!(ledger.read(|tx| tx.audit_size()).await.unwrap(), 29);
}

#[tokio::test]
async fn a_reading_sees_one_moment() {
    let home = Home::new();
    let ledger = Arc::new(home.open());
    ledger.write(|tx| tx.audit(record(0))).await.unwrap();
    let (seen_one, wait_for_write) = (channel::<()>(), channel::<()>());
    let reading = tokio::spawn({
        let ledger = Arc::clone(&ledger);
        async move {
            ledger
                .scan(move |tx| {
                    let before = tx.audit_size()?;
                    seen_one.0.send(()).unwrap();
                    wait_for_write.1.recv().unwrap();
                    Ok::<_, LedgerError>((before, tx.audit_size()?))
                })
                .await
        }
    });
    tokio::task::spawn_blocking(move || seen_one.1.recv().unwrap()).await.unwrap();
    ledger.write(|tx| tx.audit(record(1))).await.unwrap();
    wait_for_write.0.send(()).unwrap();
    assert_eq!(reading.await.unwrap().unwrap(), (1, 1));
    assert_eq!(ledger.read(|tx| tx.audit_size()).await.unwrap(), 2);
}

/// Where other threads can take over, a deed that finds nobody writing is done on its asker's thread.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn deeds_on_their_askers_threads_and_in_groups_are_all_done_once() {
    for is_followed in [false, true] {
        all_are_done_once(is_followed).await;
    }
}

async fn all_are_done_once(is_followed: bool) {
    let home = Home::new();
    let ledger = Arc::new(home.open());
    ledger.write(|tx| tx.set_instance(&INSTANCE)).await.unwrap();
    let files = home.files();
    if is_followed {
        files.publish(&ledger).await.unwrap();
    }
    for alone in 0..20 {
        ledger.write(move |tx| tx.audit(record(alone))).await.unwrap();
    }
    let refused: Result<()> = ledger
        .write(|tx| {
            tx.audit(record(99))?;
            Err(LedgerError::Closed)
        })
        .await;
    assert!(refused.is_err());
    let panicked: Result<()> = ledger
        .write(|tx| {
            tx.audit(record(99))?;
            panic!("on purpose");
        })
        .await;
    assert!(panicked.is_err());
    assert_eq!(ledger.read(|tx| tx.audit_size()).await.unwrap(), 20);
    let together: Vec<_> = (0..200)
        .map(|number| {
            let ledger = Arc::clone(&ledger);
            tokio::spawn(async move { ledger.write(move |tx| tx.audit(record(number))).await.unwrap() })
        })
        .collect();
    let mut places = Vec::new();
    for one in together {
        places.push(one.await.unwrap());
    }
    places.sort_unstable();
    assert_eq!(places, (20..220).collect::<Vec<u64>>());
    assert_eq!(ledger.read(|tx| tx.audit_size()).await.unwrap(), 220);
    if is_followed {
        // What was rolled back is not in the head either.
        assert_head(&home, 220);
    }
    files.publish(&ledger).await.unwrap();
    assert_head(&home, 220);
}

/// The head is over so many entries, and over those that are there.
fn assert_head(home: &Home, size: u64) {
    let head = std::fs::read_to_string(home.file("head")).unwrap();
    assert_eq!(head.lines().nth(1), Some(format!("{size:020}").as_str()));
    let findings = home.verify().findings;
    let about_head = |finding: &Finding| finding.to_string().contains("head") || finding.span().is_some();
    assert!(!findings.iter().any(about_head), "{findings:?}");
}

#[test]
fn a_ledger_from_before_the_first_release_is_refused_with_words() {
    let home = Home::new();
    drop(home.open());
    home.tamper("UPDATE schema_version SET version = 1");
    match home.try_open() {
        Err(error @ LedgerError::TooOld { found: 1 }) => {
            assert!(error.to_string().contains("make a new home"), "{error}");
        }
        other => panic!("{:?}", other.err()),
    }
}

#[tokio::test]
async fn a_schema_of_a_newer_version_is_left_alone() {
    let home = Home::new();
    drop(home.open());
    home.tamper("INSERT INTO schema_version VALUES (99)");
    let before = home.values("SELECT version FROM schema_version ORDER BY version");
    match home.try_open().map(drop) {
        Err(LedgerError::TooNew { found: 99, known }) => assert!(known < 99),
        other => panic!("{other:?}"),
    }
    assert_eq!(home.values("SELECT version FROM schema_version ORDER BY version"), before);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reading_writes_nothing_and_one_that_panics_is_in_nobodys_way() {
    let home = Home::new();
    let ledger = Arc::new(home.open());
    let written: Result<u64> = ledger.read(|tx| tx.audit(record(0))).await;
    assert!(matches!(written, Err(LedgerError::Statement(_))), "{written:?}");
    let panicking = tokio::spawn({
        let ledger = Arc::clone(&ledger);
        async move { ledger.read(|_| -> Result<()> { panic!("on purpose") }).await }
    });
    assert!(panicking.await.is_err());
    assert_eq!(ledger.write(|tx| tx.audit(record(0))).await.unwrap(), 0);
    assert_eq!(ledger.read(|tx| tx.audit_size()).await.unwrap(), 1);
}
