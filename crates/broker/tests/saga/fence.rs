//! A saga that somebody else took over: whoever had it before writes nothing any more.

use keywright_core::key::{AttemptOutcome, PlacementState};
use keywright_core::saga::Phase;
use keywright_sandbox::{FaultKind, Widening};

use crate::house::{CREATE, House};

/// What another owner does to a saga whose lease it takes, in the ledger.
fn taken(house: &House, of: &str) -> String {
    let until = (house.world.broker.now().as_second() + 300) * 1_000;
    format!("UPDATE sagas SET owner = 'another', fence = fence + 1, lease_until = {until} WHERE {of}")
}

async fn placements(house: &House, name: &str) -> Vec<PlacementState> {
    let key = house.saga(name).await.key;
    house.read(move |tx| tx.placements(key)).await.into_iter().map(|p| p.state).collect()
}

#[tokio::test]
async fn the_answer_to_a_create_is_not_kept_by_an_owner_that_lost_the_saga() {
    let house = House::new().await;
    let event = "UPDATE OF outcome ON attempts WHEN NEW.outcome = 'sent'";
    house.when(event, "AFTER", &taken(&house, "attempt = NEW.id"));
    house.ask(&house.both("KEY")).await;
    house.allow_all();
    let saga = house.saga("KEY").await;
    assert_eq!((saga.phase, saga.fence), (Phase::Intent, 2), "only the other owner counts");
    assert_eq!(house.attempts("KEY").await[0].outcome, AttemptOutcome::Sent);
    assert!(house.read(move |tx| tx.versions(saga.key)).await.is_empty());
    assert_eq!(house.living().len(), 1, "the create took effect all the same");

    // The other owner never comes back either. A third one makes a key of its own, and the sweep finds the first.
    house.take_up_again().await;
    house.world.settle().await;
    house.assert_ended("KEY", "active").await;
    let outcomes: Vec<_> = house.attempts("KEY").await.iter().map(|a| a.outcome).collect();
    assert_eq!(outcomes, [AttemptOutcome::Swept, AttemptOutcome::Created]);
}

#[tokio::test]
async fn a_write_to_a_store_is_not_noted_by_an_owner_that_lost_the_saga() {
    let house = House::new().await;
    let event = "UPDATE OF state ON placements WHEN NEW.state = 'writing'";
    house.when(event, "AFTER", &taken(&house, "key_id = NEW.key_id"));
    house.ask(&house.both("KEY")).await;
    house.allow_all();
    assert_eq!(house.phase("KEY").await, Phase::Probed);
    let mut states = placements(&house, "KEY").await;
    states.sort();
    assert_eq!(states, [PlacementState::Planned, PlacementState::Writing]);
    house.take_up_again().await;
    house.assert_ended("KEY", "active").await;
}

#[tokio::test]
async fn the_next_phase_is_not_written_by_an_owner_that_lost_the_saga() {
    let house = House::new().await;
    let event = "UPDATE OF state ON placements WHEN NEW.state = 'verified'";
    house.when(event, "AFTER", &taken(&house, "key_id = NEW.key_id"));
    house.ask(&house.embedded("KEY")).await;
    house.allow_all();
    assert_eq!(house.phase("KEY").await, Phase::Placed);
    assert_eq!(house.status("KEY").await, "in_progress");
    house.take_up_again().await;
    house.assert_ended("KEY", "active").await;
}

#[tokio::test]
async fn what_was_taken_back_is_not_noted_by_an_owner_that_lost_the_saga() {
    let house = House::new().await;
    house.refuse("UPDATE OF state ON placements WHEN NEW.state = 'verified'");
    house.ask(&house.both("KEY")).await;
    house.allow_all();
    std::fs::remove_file(house.dir.path().join(".env")).unwrap();
    // The key is not revoked before its copies are taken back, so that they are taken back one by one.
    house.inject(crate::house::DELETE, crate::house::DOWN, crate::house::ALWAYS);
    let event = "UPDATE OF state ON placements WHEN NEW.state = 'removed'";
    house.when(event, "AFTER", &taken(&house, "key_id = NEW.key_id"));
    house.take_up_again().await;
    house.allow_all();
    assert_eq!(house.phase("KEY").await, Phase::Undo);
    let removed = placements(&house, "KEY").await.into_iter().filter(|s| *s == PlacementState::Removed);
    assert_eq!(removed.count(), 1, "the second one was noted without the fence");
    house.heal();
    house.take_up_again().await;
    house.world.settle().await;
    house.assert_ended("KEY", "failed").await;
}

#[tokio::test]
async fn a_saga_whose_lease_runs_is_nobody_elses() {
    let house = House::new().await;
    house.inject(CREATE, FaultKind::WiderGrant { grant: Widening::ExtraGroup }, 1);
    house.refuse("UPDATE OF phase ON sagas WHEN NEW.phase = 'undo'");
    house.ask(&house.embedded("KEY")).await;
    house.allow_all();
    let before = house.saga("KEY").await;
    // Due, but leased to an owner that may still live: not even the same request takes it.
    let until = house.world.broker.now().as_millisecond() + 200_000;
    let lease = format!(
        "UPDATE sagas SET due_at = 0, owner = 'another', lease_until = {until} WHERE id = '{}'",
        before.id
    );
    house.raw.execute_batch(&lease).unwrap();
    house.pass(1).await;
    house.ask(&house.embedded("OTHER")).await;
    assert_eq!(house.saga("KEY").await, before);
    house.take_up_again().await;
    house.assert_ended("KEY", "failed").await;
}
