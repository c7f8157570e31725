//! Keys and attempts.

use keywright_core::id::{AttemptId, KeyId};
use keywright_core::key::{AttemptOutcome, KeyState};
use keywright_core::span::Span;
use keywright_ledger::LedgerError;

use crate::support::Home;
use crate::things::{add_request, begin_saga, id, key};

#[tokio::test]
async fn a_name_has_one_living_key_at_most() {
    let home = Home::new();
    let ledger = home.open();
    let add = |n: u32, name: &'static str, environment: &'static str| {
        ledger.write(move |tx| {
            let mut key = key(n, name, tx.now());
            key.environment = environment.parse().unwrap();
            add_request(tx, n)?;
            tx.add_key(&key)
        })
    };
    let move_to = |n: u32, from, to| ledger.write(move |tx| tx.move_key(id!(KeyId, n), from, to));
    add(1, "TOKEN", "dev").await.unwrap();
    assert!(matches!(add(2, "TOKEN", "dev").await, Err(LedgerError::Exists { .. })), "one is being made");
    add(3, "TOKEN", "staging").await.unwrap();
    add(4, "OTHER", "dev").await.unwrap();
    move_to(1, KeyState::Minting, KeyState::Active).await.unwrap();
    assert!(matches!(add(2, "TOKEN", "dev").await, Err(LedgerError::Exists { .. })), "one lives");
    move_to(1, KeyState::Active, KeyState::Revoking).await.unwrap();
    add(2, "TOKEN", "dev").await.unwrap();
    let wrong = move_to(1, KeyState::Active, KeyState::Revoked).await;
    assert!(matches!(wrong, Err(LedgerError::Conflict { .. })), "it is no longer in that state");
    let active = ledger.read(|tx| tx.places_held(&"builder".parse().unwrap(), None)).await.unwrap();
    assert_eq!(active, 3);
}

#[tokio::test]
async fn an_attempt_is_sent_once_and_looked_for_until_it_is_certain() {
    let home = Home::new();
    let ledger = home.open();
    ledger.write(|tx| begin_saga(tx, 1)).await.unwrap();
    let attempt = id!(AttemptId, 1u32);
    ledger.write(move |tx| tx.send_attempt(attempt, None)).await.unwrap();
    let again = ledger.write(move |tx| tx.send_attempt(attempt, None)).await;
    assert!(matches!(again, Err(LedgerError::Conflict { .. })));
    for _ in 0..3 {
        let later = Span::from_seconds(60).after(ledger.now());
        ledger
            .write(move |tx| tx.set_attempt(attempt, AttemptOutcome::AbsentSoFar, None, Some(later)))
            .await
            .unwrap();
        assert!(ledger.read(|tx| tx.attempts_to_sweep()).await.unwrap().is_empty(), "not yet");
        home.pass(60);
        assert_eq!(ledger.read(|tx| tx.attempts_to_sweep()).await.unwrap().len(), 1);
    }
    // Somebody wanted to look and could not: that is no absence.
    let later = Span::from_seconds(60).after(ledger.now());
    ledger.write(move |tx| tx.look_for_attempt_at(attempt, later)).await.unwrap();
    assert!(ledger.read(|tx| tx.attempts_to_sweep()).await.unwrap().is_empty());
    assert_eq!(ledger.read(move |tx| tx.attempt_absences(attempt)).await.unwrap(), 3);
    ledger
        .write(move |tx| tx.set_attempt(attempt, AttemptOutcome::Swept, Some("prov-1"), None))
        .await
        .unwrap();
    assert_eq!(ledger.read(|tx| tx.attempts_uncertain()).await.unwrap(), 0);
    let found = ledger.read(move |tx| tx.attempt(attempt)).await.unwrap();
    assert_eq!((found.outcome, found.provider_key_id.as_deref()), (AttemptOutcome::Swept, Some("prov-1")));
}
