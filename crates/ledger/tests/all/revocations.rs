//! Debts: owed once, never lost, settled once.

use keywright_core::id::RevocationId;
use keywright_core::span::Span;
use keywright_ledger::{Ledger, NewRevocation, Revocation};

use crate::support::Home;
use crate::things::id;

fn debt(n: u32, provider_key_id: &str) -> NewRevocation {
    NewRevocation {
        id: id!(RevocationId, n),
        connection: "cf".parse().unwrap(),
        provider_key_id: provider_key_id.to_owned(),
        key: None,
        version: None,
        attempt: None,
        reason: "asked by ada".to_owned(),
    }
}

async fn owe(ledger: &Ledger, n: u32, provider_key_id: &'static str) {
    ledger.write(move |tx| tx.owe(&debt(n, provider_key_id))).await.unwrap();
}

async fn owed(ledger: &Ledger) -> Vec<Revocation> {
    ledger.read(|tx| tx.revocations_owed()).await.unwrap()
}

#[tokio::test]
async fn a_credential_is_owed_once_and_asking_again_makes_it_due_now() {
    let home = Home::new();
    let ledger = home.open();
    owe(&ledger, 1, "prov-1").await;
    owe(&ledger, 2, "prov-2").await;
    let later = Span::from_seconds(600).after(ledger.now());
    ledger.write(move |tx| tx.postpone_revocation(id!(RevocationId, 1u32), later, "HTTP 500")).await.unwrap();
    assert_eq!(ledger.read(|tx| tx.revocations_due(10, &[])).await.unwrap().len(), 1);
    home.pass(5);
    owe(&ledger, 3, "prov-1").await;
    let all = owed(&ledger).await;
    assert_eq!(
        all.iter().map(|debt| debt.id).collect::<Vec<_>>(),
        [id!(RevocationId, 1u32), id!(RevocationId, 2u32)]
    );
    assert_eq!(ledger.read(|tx| tx.revocations_due(10, &[])).await.unwrap().len(), 2);
    assert_eq!((all[0].tries, all[0].trouble.as_deref()), (1, Some("HTTP 500")), "its history stays");
    assert!(all[0].owed_since < ledger.now());
}

#[tokio::test]
async fn a_debt_outlives_any_number_of_failures_and_restarts() {
    let home = Home::new();
    owe(&home.open(), 1, "prov-1").await;
    for _ in 0..5 {
        let ledger = home.open();
        for _ in 0..50 {
            let due = ledger.read(|tx| tx.revocations_due(10, &[])).await.unwrap();
            assert_eq!(due.len(), 1);
            let later = Span::from_seconds(60).after(ledger.now());
            ledger.write(move |tx| tx.postpone_revocation(due[0].id, later, "no answer")).await.unwrap();
            assert!(ledger.read(|tx| tx.revocations_due(10, &[])).await.unwrap().is_empty());
            home.pass(60);
        }
    }
    assert_eq!(owed(&home.open()).await[0].tries, 250);
}

#[tokio::test]
async fn a_debt_is_settled_once_and_stays_settled() {
    let home = Home::new();
    let ledger = home.open();
    owe(&ledger, 1, "prov-1").await;
    let of = id!(RevocationId, 1u32);
    assert!(ledger.write(move |tx| tx.settle_revocation(of)).await.unwrap());
    let done = || {
        let one = |column: &str| home.values(&format!("SELECT {column} FROM revocations")).remove(0);
        (one("done_at"), one("tries"), one("due_at"))
    };
    let settled = done();
    assert!(!settled.0.is_empty() && settled.2.is_empty());
    home.pass(60);
    assert!(!ledger.write(move |tx| tx.settle_revocation(of)).await.unwrap());
    let later = ledger.now();
    ledger.write(move |tx| tx.postpone_revocation(of, later, "late answer")).await.unwrap();
    owe(&ledger, 2, "prov-1").await;
    assert_eq!(done(), settled);
    assert!(owed(&ledger).await.is_empty());
}

#[tokio::test]
async fn a_credential_that_was_seen_after_its_debt_was_settled_is_owed_again() {
    let home = Home::new();
    let ledger = home.open();
    let reopen = || ledger.write(|tx| tx.reopen_revocation(&"cf".parse().unwrap(), "prov-1"));
    reopen().await.unwrap();
    assert!(owed(&ledger).await.is_empty(), "what was never owed is not owed again");
    owe(&ledger, 1, "prov-1").await;
    let of = id!(RevocationId, 1u32);
    let later = Span::from_seconds(600).after(ledger.now());
    ledger.write(move |tx| tx.postpone_revocation(of, later, "HTTP 500")).await.unwrap();
    reopen().await.unwrap();
    assert!(ledger.read(|tx| tx.revocations_due(10, &[])).await.unwrap().is_empty(), "it is owed anyway");
    ledger.write(move |tx| tx.settle_revocation(of)).await.unwrap();
    reopen().await.unwrap();
    let due = ledger.read(|tx| tx.revocations_due(10, &[])).await.unwrap();
    assert_eq!((due[0].id, due[0].done_at), (of, None));
}

#[tokio::test]
async fn what_is_owed_for_another_version_is_a_debt_of_its_own_and_what_is_owed_again_is_due() {
    let home = Home::new();
    let ledger = home.open();
    owe(&ledger, 1, "prov-1").await;
    let first = id!(RevocationId, 1u32);
    ledger.write(move |tx| tx.settle_revocation(first)).await.unwrap();
    ledger.write(|tx| tx.owe_again(&debt(2, "prov-1"))).await.unwrap();
    assert_eq!(owed(&ledger).await[0].id, first, "the same, once more");
    ledger.write(move |tx| tx.settle_revocation(first)).await.unwrap();
    let version = Some(id!(keywright_core::id::VersionId, 7u32));
    let of_another = move || NewRevocation { version, ..debt(3, "prov-1") };
    ledger.write(move |tx| tx.owe(&of_another())).await.unwrap();
    let open = owed(&ledger).await;
    assert_eq!((open.len(), open[0].id, open[0].version), (1, id!(RevocationId, 3u32), version));
}

#[tokio::test]
async fn a_look_in_vain_counts_from_the_first_one_and_takes_back_that_it_was_sent() {
    let home = Home::new();
    let ledger = home.open();
    owe(&ledger, 1, "prov-1").await;
    let of = id!(RevocationId, 1u32);
    let at = ledger.now();
    assert_eq!(ledger.write(move |tx| tx.send_revocation(of, at)).await.unwrap(), None);
    home.pass(1);
    let later = ledger.now();
    let before = ledger.write(move |tx| tx.send_revocation(of, later)).await.unwrap();
    assert_eq!(before, Some(at), "somebody told the provider before");
    ledger.write(move |tx| tx.unsend_revocation(of, later)).await.unwrap();
    assert_eq!(owed(&ledger).await[0].sent_at, Some(at), "that one was not refused");
    ledger.write(move |tx| tx.unsend_revocation(of, at)).await.unwrap();
    assert_eq!(owed(&ledger).await[0].sent_at, None);
    ledger.write(move |tx| tx.send_revocation(of, at)).await.unwrap();
    assert_eq!(owed(&ledger).await[0].sent_at, Some(at));
    let since = ledger.write(move |tx| tx.miss_revocation(of)).await.unwrap();
    home.pass(60);
    assert_eq!(ledger.write(move |tx| tx.miss_revocation(of)).await.unwrap(), since);
    let missed = owed(&ledger).await.remove(0);
    assert_eq!((missed.sent_at, missed.missing_since), (None, Some(since)));
    ledger.write(move |tx| tx.found_revocation(of)).await.unwrap();
    assert_eq!(owed(&ledger).await[0].missing_since, None);
}
