//! A clock that is set ahead or back by a year, while the broker runs and between two runs.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

use std::collections::BTreeSet;
use std::time::Duration;

use jiff::SignedDuration;
use keywright_core::receipt::Status;
use keywright_sandbox::{Fault, FaultKind};
use keywright_testkit::{DNS_EDIT, World, ask};

const YEAR: SignedDuration = SignedDuration::from_hours(365 * 24);

/// A template whose keys are replaced by the schedule, and whose old versions drain.
async fn rotating() -> World {
    let world = World::with_settings(&[("use_lag", "1s")]).await;
    let rotation = "[rotation]\nevery = \"20d\"\nquiet_for = \"2h\"\nmax_overlap = \"5d\"\n";
    let template = format!("{DNS_EDIT}{rotation}");
    world.broker.apply_template(&world.ana().await, &template).await.unwrap();
    world
}

async fn makes(world: &World, name: &str) {
    let receipt = world.request(&ask("example.com", name)).await.unwrap();
    assert_eq!(receipt.status, Status::Active, "{receipt:?}");
}

fn living(world: &World) -> BTreeSet<String> {
    world.sandbox.live_tokens_named_like("kw-").into_iter().map(|token| token.id).collect()
}

async fn ticks(world: &World, times: u32) {
    for _ in 0..times {
        world.broker.tick().await.unwrap();
    }
}

async fn doubts(world: &World) -> bool {
    world.broker.health().await.unwrap().clock.is_some()
}

#[tokio::test]
async fn a_year_ahead_ends_and_replaces_nothing_while_somebody_may_set_it_right() {
    let world = rotating().await;
    for name in ["ONE", "TWO", "THREE"] {
        makes(&world, name).await;
    }
    let wait = Duration::from_secs(20);
    world.broker.rotate(&World::agent("bot"), "ONE", "it is old", wait).await.unwrap();
    ticks(&world, 2).await;
    let before = living(&world);
    assert_eq!(before.len(), 4, "the old version of the first one drains");
    world.clock.set(YEAR);
    for _ in 0..5 {
        ticks(&world, 2).await;
        world.clock.advance(SignedDuration::from_mins(10));
        assert!(doubts(&world).await);
        assert_eq!(living(&world), before, "nothing was ended, and nothing was made");
    }
    // It is set right: all is as if nothing had been.
    world.clock.set(-YEAR);
    ticks(&world, 3).await;
    assert!(!doubts(&world).await);
    assert_eq!(living(&world), before);
    // The drain goes on, and does not wait for what was noted while the clock was ahead.
    for _ in 0..20 {
        world.clock.advance(SignedDuration::from_mins(20));
        ticks(&world, 1).await;
    }
    assert_eq!(living(&world).len(), 3, "the old version was idle for long enough, and is gone");
}

#[tokio::test]
async fn a_time_that_stays_counts_after_an_hour() {
    let world = rotating().await;
    makes(&world, "ONE").await;
    world.clock.set(YEAR);
    ticks(&world, 1).await;
    let before = living(&world);
    assert_eq!(before.len(), 1);
    world.clock.advance(SignedDuration::from_mins(61));
    assert!(!doubts(&world).await);
    ticks(&world, 3).await;
    assert_ne!(living(&world), before, "it is old by a year that is believed");
}

#[tokio::test]
async fn what_waits_is_not_forgotten_when_the_clock_goes_back() {
    let world = World::new().await;
    // The clock was ahead from the beginning.
    world.clock.set(YEAR);
    let world = world.restart().await;
    makes(&world, "OWED").await;
    let fault =
        Fault::on("DELETE", "/accounts/*/tokens/*", FaultKind::Status { status: 503, retry_after: None });
    world.sandbox.inject(fault.times(1_000)).unwrap();
    world.broker.revoke(&World::agent("bot"), "OWED", "done").await.unwrap();
    assert_eq!(world.broker.health().await.unwrap().revocations_owed, 1);
    let lost = Fault::on("POST", "/accounts/*/tokens", FaultKind::ReplyLostBeforeCommit);
    world.sandbox.inject(lost.times(1)).unwrap();
    makes(&world, "AGAIN").await;
    assert_eq!(world.broker.health().await.unwrap().attempts_uncertain, 1);
    world.sandbox.clear_faults();
    world.clock.set(-YEAR);
    ticks(&world, 3).await;
    assert_eq!(world.broker.health().await.unwrap().revocations_owed, 0, "the debt is paid");
    world.settle().await;
    assert_eq!(world.broker.health().await.unwrap().attempts_uncertain, 0, "and it was looked for");
    makes(&world, "LATER").await;
}

#[tokio::test]
async fn a_saga_that_was_leased_and_put_off_in_a_far_future_goes_on() {
    let world = World::new().await;
    world.clock.set(YEAR);
    let world = world.restart().await;
    let fault =
        Fault::on("GET", "/accounts/*/tokens/*", FaultKind::Status { status: 503, retry_after: None });
    world.sandbox.inject(fault.times(40)).unwrap();
    let (bot, wish) = (World::agent("bot"), ask("example.com", "SLOW"));
    let asked = world.broker.request(&bot, &wish, Duration::from_millis(10)).await.unwrap();
    let id = asked.request.to_string();
    while world.broker.health().await.unwrap().sagas_open == 0 {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    world.clock.set(-YEAR);
    world.sandbox.clear_faults();
    for _ in 0..100 {
        ticks(&world, 1).await;
        tokio::time::sleep(Duration::from_millis(50)).await;
        let agent = World::agent("bot").principal;
        let receipt = world.broker.check(&agent, &id, Duration::ZERO).await.unwrap();
        if receipt.status == Status::Active {
            return;
        }
    }
    panic!("it waits for a time that does not come");
}

#[tokio::test]
async fn a_key_that_was_made_while_the_clock_was_ahead_is_replaced_in_time() {
    let world = rotating().await;
    world.clock.set(YEAR);
    let world = world.restart().await;
    makes(&world, "ONE").await;
    let first = living(&world);
    world.clock.set(-YEAR);
    ticks(&world, 2).await;
    for _ in 0..30 {
        ticks(&world, 1).await;
        tokio::time::sleep(Duration::from_millis(100)).await;
        if living(&world).len() == 2 {
            break;
        }
    }
    let now = living(&world);
    assert!(now.len() == 2 && now.is_superset(&first), "a successor was made: {now:?}");
    ticks(&world, 5).await;
    assert_eq!(living(&world), now, "and one only");
}

#[tokio::test]
async fn a_key_that_was_made_while_the_clock_was_ahead_and_can_not_be_replaced_is_not_tried_each_second() {
    let world = rotating().await;
    world.clock.set(YEAR);
    let world = world.restart().await;
    makes(&world, "ONE").await;
    let never = r#"
        @id("no-rotations")
        @reason("nothing is rotated here")
        forbid (principal, action == Keywright::Action::"rotate", resource);
    "#;
    let policy = format!("{}\n{never}", keywright_core::policy::DEFAULT_POLICIES);
    world.broker.apply_policy(&world.ana().await, &policy).await.unwrap();
    world.clock.set(-YEAR);
    ticks(&world, 3).await;
    let before = world.broker.health().await.unwrap().audit_entries;
    ticks(&world, 10).await;
    assert_eq!(world.broker.health().await.unwrap().audit_entries, before);
    assert!(world.broker.trace("ONE").await.unwrap().rotates_at.unwrap() > world.broker.now());
}

#[tokio::test]
async fn what_is_due_together_is_begun_a_part_at_a_time() {
    let world = rotating().await;
    let names: Vec<String> = (0..40).map(|number| format!("KEY_{number}")).collect();
    let bot = World::agent("bot");
    let asking = names.iter().map(|name| {
        let (wish, bot, broker) = (ask("example.com", name), &bot, &world.broker);
        async move { broker.request(bot, &wish, Duration::from_secs(20)).await.unwrap() }
    });
    futures::future::join_all(asking).await;
    while world.broker.health().await.unwrap().sagas_open > 0 {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(living(&world).len(), 40);
    // Nobody was there for long: by then all are due.
    world.clock.advance(SignedDuration::from_hours(21 * 24));
    let world = world.restart().await;
    ticks(&world, 1).await;
    let begun = living(&world).len() - 40;
    assert!((1..=32).contains(&begun), "{begun} of 40 in one tick");
}

#[tokio::test]
async fn a_drain_that_began_while_the_clock_was_ahead_comes_to_its_end() {
    let world = rotating().await;
    world.clock.set(YEAR);
    let world = world.restart().await;
    makes(&world, "ONE").await;
    let wait = Duration::from_secs(20);
    world.broker.rotate(&World::agent("bot"), "ONE", "it is old", wait).await.unwrap();
    ticks(&world, 2).await;
    assert_eq!(living(&world).len(), 2, "the old version drains");
    world.clock.set(-YEAR);
    ticks(&world, 2).await;
    assert_eq!(living(&world).len(), 2, "its window of quiet begins anew");
    for _ in 0..12 {
        world.clock.advance(SignedDuration::from_mins(50));
        ticks(&world, 2).await;
    }
    assert_eq!(living(&world).len(), 1);
}
