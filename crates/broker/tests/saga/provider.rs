//! A provider that fails at each step: once, or until the saga gives up.

use keywright_broker::ask::Ask;
use keywright_sandbox::FaultKind;

use crate::house::{ALWAYS, CREATE, DELETE, DOWN, House, LIST, SHOW, VERIFY, ZONES};

const NO_ACCESS: FaultKind = FaultKind::Status { status: 401, retry_after: None };
const ERROR: FaultKind = FaultKind::Status { status: 500, retry_after: None };
/// Without a time: one would keep the connection closed for as long, in real time.
const SLOW_DOWN: FaultKind = FaultKind::Status { status: 429, retry_after: None };
const CUT_BEFORE: FaultKind = FaultKind::ReplyLostBeforeCommit;
const CUT_AFTER: FaultKind = FaultKind::ReplyLostAfterCommit;
const ERROR_AFTER: FaultKind = FaultKind::ServerErrorAfterCommit;
const GARBAGE: FaultKind = FaultKind::Garbage;

/// How often one call is sent when it may be repeated: so many failures are one failed try of a step.
const ONE_TRY: u32 = 3;

/// Each row is one key: where it fails, how, how often, and how the request has to end.
async fn fails(step: (&str, &str), rows: &[(&str, FaultKind, u32, &str)]) {
    let house = House::new().await;
    for (name, fault, times, status) in rows {
        house.inject(step, fault.clone(), *times);
        house.ask(&house.both(name)).await;
        if *times < ALWAYS {
            assert!(house.world.sandbox.faults().iter().all(|f| f.fault.count == 0), "{name}: it hit");
        }
        house.world.settle().await;
        house.heal();
        if *times == ALWAYS {
            // Nobody could look whether what was revoked has ended.
            house.world.settle().await;
        }
        house.assert_ended(name, status).await;
    }
}

#[tokio::test]
async fn a_create_that_fails_ends_with_one_key_or_none() {
    let rows = [
        ("DOWN_ONCE", CUT_BEFORE, 1, "active"),
        ("LOST_ONCE", CUT_AFTER, 1, "active"),
        ("ERROR_ONCE", ERROR, 1, "active"),
        ("ERROR_AFTER_ONCE", ERROR_AFTER, 1, "active"),
        ("GARBAGE_ONCE", GARBAGE, 1, "active"),
        ("THROTTLED_ONCE", SLOW_DOWN, 1, "active"),
        ("NO_ACCESS", NO_ACCESS, 1, "failed"),
        ("SAYS_NO_BUT_MAKES_IT", FaultKind::EchoSecretInError { commit: true }, 1, "active"),
        ("DOWN", CUT_BEFORE, ALWAYS, "failed"),
        ("LOST", CUT_AFTER, ALWAYS, "failed"),
        ("ERROR_AFTER", ERROR_AFTER, ALWAYS, "failed"),
        ("GARBAGE", GARBAGE, ALWAYS, "failed"),
        ("THROTTLED", SLOW_DOWN, ALWAYS, "failed"),
    ];
    fails(CREATE, &rows).await;
}

#[tokio::test]
async fn a_provider_that_can_not_be_reached_right_before_the_deed_is_waited_for() {
    let house = House::new().await;
    let rows = [
        ("DOWN_ONCE", CUT_BEFORE, ONE_TRY, "in_progress", "active"),
        ("ERROR_ONCE", ERROR, ONE_TRY, "in_progress", "active"),
        ("GARBAGE_ONCE", GARBAGE, 1, "in_progress", "active"),
        ("THROTTLED_ONCE", SLOW_DOWN, ONE_TRY, "in_progress", "active"),
        ("NO_ACCESS", NO_ACCESS, 1, "failed", "failed"),
        ("DOWN", CUT_BEFORE, ALWAYS, "in_progress", "failed"),
    ];
    for (name, fault, times, at_first, in_the_end) in rows {
        let before = house.creates();
        // The zone is looked up once when the key is asked for, and once more before it is made.
        house.inject_later(ZONES, fault, 1, times);
        let receipt = house.ask(&house.both(name)).await;
        assert_eq!(receipt.status.as_str(), at_first, "{name}: {receipt:?}");
        assert_eq!(house.creates(), before, "{name}: nothing was sent");
        house.world.settle().await;
        house.heal();
        house.assert_ended(name, in_the_end).await;
        let made = usize::from(in_the_end == "active");
        assert_eq!(house.creates(), before + made, "{name}");
    }
}

#[tokio::test]
async fn a_provider_that_asks_for_a_pause_gets_it_although_the_broker_starts_anew() {
    let house = House::new().await;
    let busy = |seconds| FaultKind::Status { status: 429, retry_after: Some(seconds) };
    house.inject_later(ZONES, busy(800), 1, 1);
    let receipt = house.ask(&house.both("KEY")).await;
    assert_eq!(receipt.status.as_str(), "in_progress", "{receipt:?}");
    // Another broker knows nothing of the pause but what is on record.
    let house = house.restart().await;
    for _ in 0..3 {
        house.pass(200).await;
    }
    assert_eq!((house.status("KEY").await, house.creates()), ("in_progress", 0), "its time has not come");
    house.pass(300).await;
    house.assert_ended("KEY", "active").await;
}

#[tokio::test]
async fn a_pause_that_outlasts_the_request_ends_it() {
    let house = House::new().await;
    // Nobody can take it up for most of a day.
    house.refuse("UPDATE OF owner ON sagas");
    assert_eq!(house.ask(&house.both("KEY")).await.status.as_str(), "in_progress");
    house.world.clock.advance(jiff::SignedDuration::from_mins(23 * 60 + 50));
    house.allow_all();
    house.inject(ZONES, FaultKind::Status { status: 429, retry_after: Some(3_600) }, 1);
    house.pass(1).await;
    assert_eq!(house.creates(), 0);
    house.assert_ended("KEY", "failed").await;
}

#[tokio::test]
async fn a_read_back_that_fails_ends_with_one_key_or_none() {
    let rows = [
        ("DOWN_ONCE", CUT_BEFORE, ONE_TRY, "active"),
        ("ERROR_ONCE", ERROR, ONE_TRY, "active"),
        ("GARBAGE_ONCE", GARBAGE, 1, "active"),
        ("THROTTLED_ONCE", SLOW_DOWN, ONE_TRY, "active"),
        ("NOT_THERE_YET", FaultKind::Status { status: 404, retry_after: None }, 1, "active"),
        ("NO_ACCESS", NO_ACCESS, 1, "failed"),
        ("DOWN", CUT_BEFORE, ALWAYS, "failed"),
        ("GARBAGE", GARBAGE, ALWAYS, "failed"),
        ("NEVER_THERE", FaultKind::Status { status: 404, retry_after: None }, ALWAYS, "failed"),
    ];
    fails(SHOW, &rows).await;
}

#[tokio::test]
async fn a_probe_that_fails_ends_with_one_key_or_none() {
    let rows = [
        ("ERROR_ONCE", ERROR, ONE_TRY, "active"),
        ("GARBAGE_ONCE", GARBAGE, 1, "active"),
        ("NO_ACCESS_ONCE", NO_ACCESS, 1, "active"),
        ("THROTTLED_ONCE", SLOW_DOWN, ONE_TRY, "active"),
        // (A probe waits for a provider that is down; one that asks to slow down is left alone.)
        ("THROTTLED", SLOW_DOWN, ALWAYS, "failed"),
        ("NO_ACCESS", NO_ACCESS, ALWAYS, "failed"),
    ];
    fails(VERIFY, &rows).await;
}

#[tokio::test]
async fn a_key_that_does_not_work_at_once_is_waited_for() {
    let house = House::new().await;
    house.inject(CREATE, FaultKind::LaggingVerify { uses: 2 }, 1);
    house.ask(&house.both("KEY")).await;
    house.assert_ended("KEY", "active").await;
}

#[tokio::test]
async fn whoever_asks_again_and_again_does_not_use_up_the_tries_of_a_mint() {
    let house = House::new().await;
    let ask = Ask { idempotency_key: Some("once".to_owned()), ..house.embedded("KEY") };
    house.inject(VERIFY, DOWN, ALWAYS);
    let first = house.ask(&ask).await;
    // The pause after the fifth try is long enough for all that follows.
    for _ in 0..4 {
        house.pass(400).await;
    }
    for _ in 0..10 {
        let again = house.ask(&ask).await;
        assert_eq!((again.request, again.status.as_str()), (first.request, "in_progress"));
    }
    assert_eq!(house.saga("KEY").await.tries, 5, "the next try has its time");
    house.heal();
    house.pass(400).await;
    house.assert_ended("KEY", "active").await;
}

#[tokio::test]
async fn after_five_creates_without_an_answer_the_request_fails_and_every_key_that_they_made_is_found() {
    let house = House::new().await;
    house.inject(CREATE, CUT_AFTER, ALWAYS);
    // Nothing that was made can be seen while the creates are sent.
    house.inject(LIST, crate::house::LAG, ALWAYS);
    let receipt = house.ask(&house.embedded("KEY")).await;
    assert_eq!(receipt.status.as_str(), "failed", "{receipt:?}");
    assert_eq!((house.creates(), house.living().len()), (5, 5));
    house.heal();
    // The broker looks for them by itself: nobody has to ask for a reconcile.
    house.world.settle().await;
    house.assert_ended("KEY", "failed").await;
}

#[tokio::test]
async fn a_key_that_failed_after_it_was_made_is_gone_when_the_answer_comes() {
    let house = House::new().await;
    for (name, step, fault) in [
        ("WIDER", CREATE, FaultKind::WiderGrant { grant: keywright_sandbox::Widening::OtherZone }),
        ("NO_ACCESS", SHOW, NO_ACCESS),
    ] {
        house.inject(step, fault, 1);
        // A command that works on the home itself ends with the answer: nothing is left to a later one.
        let receipt = house.world.request(&house.both(name)).await.unwrap();
        assert_eq!(receipt.status.as_str(), "failed", "{receipt:?}");
        house.assert_ended(name, "failed").await;
    }
    house.inject(CREATE, CUT_AFTER, 1);
    let receipt = house.world.request(&house.both("LOST")).await.unwrap();
    assert_eq!(receipt.status.as_str(), "active", "{receipt:?}");
    house.assert_ended("LOST", "active").await;
}

#[tokio::test]
async fn undoing_goes_on_although_the_key_can_not_be_revoked_yet() {
    let house = House::new().await;
    house.inject(CREATE, FaultKind::WiderGrant { grant: keywright_sandbox::Widening::NoExpiry }, 1);
    house.inject(DELETE, DOWN, ALWAYS);
    let receipt = house.ask(&house.both("KEY")).await;
    assert_eq!(receipt.status.as_str(), "failed", "{receipt:?}");
    assert_eq!(house.world.broker.health().await.unwrap().revocations_owed, 1);
    house.world.settle().await;
    assert_eq!(house.living().len(), 1);
    house.heal();
    house.world.settle().await;
    house.assert_ended("KEY", "failed").await;
}
