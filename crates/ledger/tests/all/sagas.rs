//! Leases, fences and phases.

use keywright_core::id::{AttemptId, KeyId, RequestId, SagaId};
use keywright_core::saga::{Phase, SagaKind};
use keywright_core::span::Span;
use keywright_ledger::{Besides, LedgerError, NewSaga, Saga};

use crate::support::Home;
use crate::things::{begin_saga, begin_saga_of, id, plan};

fn lease() -> Span {
    Span::from_seconds(30)
}

fn is_conflict<T>(result: &Result<T, LedgerError>) -> bool {
    matches!(result, Err(LedgerError::Conflict { .. }))
}

#[tokio::test]
async fn a_claim_holds_until_the_ledgers_clock_says_that_it_is_over() {
    let home = Home::new();
    let ledger = home.open();
    let saga = ledger.write(|tx| begin_saga(tx, 1)).await.unwrap();
    let claim = |owner: &'static str| ledger.write(move |tx| tx.claim_saga(saga, owner, lease()));
    assert_eq!(ledger.read(|tx| tx.sagas_due(10, &Besides::default())).await.unwrap(), [saga]);
    assert_eq!(claim("a").await.unwrap().unwrap().fence, 1);
    assert!(ledger.read(|tx| tx.sagas_due(10, &Besides::default())).await.unwrap().is_empty());
    home.pass(29);
    assert!(claim("b").await.unwrap().is_none());
    home.pass(1);
    assert_eq!(ledger.read(|tx| tx.sagas_due(10, &Besides::default())).await.unwrap(), [saga]);
    assert_eq!(claim("b").await.unwrap().unwrap().fence, 2);
    assert!(claim("a").await.unwrap().is_none());
}

#[tokio::test]
async fn a_saga_that_was_put_off_is_nobodys_before_its_time() {
    let home = Home::new();
    let ledger = home.open();
    let saga = ledger.write(|tx| begin_saga(tx, 1)).await.unwrap();
    let claim = || ledger.write(move |tx| tx.claim_saga(saga, "a", lease()));
    let mine = claim().await.unwrap().unwrap();
    let until = Span::from_seconds(60).after(ledger.now());
    ledger.write(move |tx| tx.postpone_saga(&mine, until, None, "trouble")).await.unwrap();
    home.pass(59);
    assert!(claim().await.unwrap().is_none());
    home.pass(1);
    assert_eq!(claim().await.unwrap().unwrap().tries, 1);
}

#[tokio::test]
async fn an_owner_that_was_overtaken_writes_nothing() {
    let home = Home::new();
    let ledger = home.open();
    let saga = ledger.write(|tx| begin_saga(tx, 1)).await.unwrap();
    let claim = |owner: &'static str| ledger.write(move |tx| tx.claim_saga(saga, owner, lease()));
    let stale = claim("a").await.unwrap().unwrap();
    home.pass(31);
    let fresh = claim("b").await.unwrap().unwrap();
    let advance =
        |saga: Saga, next| ledger.write(move |tx| tx.advance_saga(&saga, next, saga.attempt, lease(), None));
    let postpone = |saga: Saga| ledger.write(move |tx| tx.postpone_saga(&saga, tx.now(), None, "trouble"));
    let ours = |saga: Saga| ledger.read(move |tx| tx.still_ours(&saga));
    assert!(is_conflict(&advance(stale.clone(), Phase::Sealed).await));
    assert!(is_conflict(&postpone(stale.clone()).await));
    assert!(is_conflict(&ours(stale.clone()).await));
    assert_eq!(ledger.read(move |tx| tx.saga(saga)).await.unwrap(), fresh, "nothing changed");
    ours(fresh.clone()).await.unwrap();
    let sealed = advance(fresh.clone(), Phase::Sealed).await.unwrap();
    // The same owner can't do the same step twice either.
    assert!(is_conflict(&advance(fresh.clone(), Phase::Sealed).await));
    assert!(is_conflict(&postpone(fresh).await));
    postpone(sealed.clone()).await.unwrap();
    let found = ledger.read(move |tx| tx.saga(saga)).await.unwrap();
    assert_eq!((found.tries, found.trouble.as_deref(), found.phase), (1, Some("trouble"), Phase::Sealed));
    assert!(claim("c").await.unwrap().is_some(), "postponing frees it");
}

#[tokio::test]
async fn only_steps_that_exist_are_taken() {
    let home = Home::new();
    let ledger = home.open();
    for (n, kind) in (1..).zip(SagaKind::ALL.iter().copied()) {
        let saga = ledger.write(move |tx| begin_saga_of(tx, n, kind)).await.unwrap();
        let mut taken = 0;
        for (from, to) in Phase::ALL.iter().flat_map(|from| Phase::ALL.iter().map(move |to| (from, to))) {
            home.tamper(&format!(
                "UPDATE sagas SET phase = '{from}', due_at = 0, lease_until = NULL WHERE id = '{saga}'"
            ));
            let now = ledger.write(move |tx| tx.claim_saga(saga, "a", lease())).await.unwrap().unwrap();
            let attempt = id!(AttemptId, 1u32);
            let step = ledger.write(move |tx| tx.advance_saga(&now, *to, attempt, lease(), None)).await;
            assert_eq!(step.is_ok(), from.may_become(*to, kind), "{kind}: {from} to {to}");
            let found = ledger.read(move |tx| tx.saga(saga)).await.unwrap();
            assert_eq!(found.phase, if step.is_ok() { *to } else { *from });
            if step.is_ok() {
                taken += 1;
                let open = ledger.read(|tx| tx.sagas_open()).await.unwrap();
                assert_eq!(open == 0, to.is_final(), "{from} to {to}: final means that nobody works on it");
            } else {
                assert!(is_conflict(&step));
            }
        }
        assert!(taken > 10);
        home.tamper("UPDATE sagas SET due_at = NULL");
    }
}

#[tokio::test]
async fn a_key_has_one_rotation_at_a_time() {
    let home = Home::new();
    let ledger = home.open();
    ledger.write(|tx| begin_saga_of(tx, 1, SagaKind::Rotate)).await.unwrap();
    let again = |tx: &keywright_ledger::Tx<'_>| {
        tx.add_saga(&NewSaga {
            id: id!(SagaId, 2u32),
            kind: SagaKind::Rotate,
            request: id!(RequestId, 1u32),
            key: id!(KeyId, 1u32),
            attempt: id!(AttemptId, 1u32),
            digest: plan(1, "builder").digest().unwrap(),
        })
    };
    let second = ledger.write(again).await;
    assert!(matches!(second, Err(LedgerError::Exists { .. })), "{second:?}");
    home.tamper("UPDATE sagas SET due_at = NULL");
    ledger.write(again).await.unwrap();
}

#[tokio::test]
async fn after_a_start_a_pause_that_was_asked_for_is_kept_and_all_else_is_due() {
    let home = Home::new();
    let ledger = home.open();
    let [asked, failed, died] = ledger
        .write(|tx| Ok::<_, LedgerError>([begin_saga(tx, 1)?, begin_saga(tx, 2)?, begin_saga(tx, 3)?]))
        .await
        .unwrap();
    for (id, is_asked) in [(asked, true), (failed, false)] {
        let claimed = ledger.write(move |tx| tx.claim_saga(id, "old", lease())).await.unwrap().unwrap();
        ledger
            .write(move |tx| {
                let until = Span::from_seconds(1_800).after(tx.now());
                tx.postpone_saga(&claimed, until, is_asked.then_some(until), "busy")
            })
            .await
            .unwrap();
    }
    ledger.write(move |tx| tx.claim_saga(died, "old", lease())).await.unwrap().unwrap();
    assert_eq!(ledger.read(|tx| tx.sagas_due(10, &Besides::default())).await.unwrap(), []);
    assert_eq!(ledger.write(|tx| tx.release_sagas(None)).await.unwrap(), 2);
    let mut due = ledger.read(|tx| tx.sagas_due(10, &Besides::default())).await.unwrap();
    due.sort_unstable();
    let mut expected = [failed, died];
    expected.sort_unstable();
    assert_eq!(due, expected);
    assert!(ledger.write(move |tx| tx.claim_saga(asked, "new", lease())).await.unwrap().is_none());
}

#[tokio::test]
async fn after_a_start_every_open_saga_is_free_and_done_ones_stay_done() {
    let home = Home::new();
    let ledger = home.open();
    let (open, done) =
        ledger.write(|tx| Ok::<_, LedgerError>((begin_saga(tx, 1)?, begin_saga(tx, 2)?))).await.unwrap();
    let claimed = ledger.write(move |tx| tx.claim_saga(done, "old", lease())).await.unwrap().unwrap();
    ledger
        .write(move |tx| tx.advance_saga(&claimed, Phase::Undone, claimed.attempt, lease(), None))
        .await
        .unwrap();
    let stale = ledger.write(move |tx| tx.claim_saga(open, "old", lease())).await.unwrap().unwrap();
    drop(ledger);
    let ledger = home.open();
    assert_eq!(ledger.write(|tx| tx.release_sagas(None)).await.unwrap(), 1);
    assert_eq!(ledger.read(|tx| tx.sagas_due(10, &Besides::default())).await.unwrap(), [open]);
    let fresh = ledger.write(move |tx| tx.claim_saga(open, "new", lease())).await.unwrap().unwrap();
    assert_eq!(fresh.fence, stale.fence + 1);
    assert!(is_conflict(&ledger.read(move |tx| tx.still_ours(&stale)).await));
}
