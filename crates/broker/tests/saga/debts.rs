//! Revocations: nothing holds them up, and none is forgotten.

use keywright_core::audit::{Deed, Stage};
use keywright_sandbox::FaultKind;
use keywright_testkit::World;

use crate::house::{ALWAYS, DELETE, DOWN, House};

/// The audit log takes nothing.
const NO_AUDIT: &str = "INSERT ON audit_entries";

#[tokio::test]
async fn a_key_is_revoked_although_nothing_can_be_put_on_record_and_it_is_recorded_later() {
    let house = House::new().await;
    house.ask(&house.both("KEY")).await;
    let bot = World::agent("bot");
    house.refuse(NO_AUDIT);
    let error = house.world.broker.revoke(&bot, "KEY", "leaked").await.unwrap_err();
    assert!(error.message.contains("not on record yet"), "{error}");
    assert!(house.living().is_empty(), "the deed matters more than its entry");
    house.allow_all();
    house.pass(1).await;
    house.assert_ended("KEY", "revoked").await;
    assert_eq!(house.records("KEY", Deed::KeyRevoke, Stage::Outcome).await.len(), 1);
}

#[tokio::test]
async fn a_debt_is_paid_although_nothing_can_be_put_on_record_and_it_is_recorded_later() {
    let house = House::new().await;
    house.ask(&house.both("KEY")).await;
    house.inject(DELETE, DOWN, ALWAYS);
    house.world.broker.revoke(&World::agent("bot"), "KEY", "leaked").await.unwrap();
    house.heal();
    house.refuse(NO_AUDIT);
    house.pass(3_600).await;
    assert!(house.living().is_empty());
    assert_eq!(house.status("KEY").await, "active", "it is not on record yet");
    house.allow_all();
    house.pass(3_600).await;
    house.assert_ended("KEY", "revoked").await;
}

#[tokio::test]
async fn the_copies_of_a_dead_key_are_gone_before_its_debt_is() {
    let house = House::new().await;
    house.ask(&house.both("KEY")).await;
    let value = house.world.sandbox.secret_of(&house.living()[0].id).unwrap();
    assert!(house.dotenv().contains(&value));
    house.refuse("UPDATE OF done_at ON revocations WHEN NEW.done_at IS NOT NULL");
    house.world.broker.revoke(&World::agent("bot"), "KEY", "leaked").await.unwrap();
    assert!(house.living().is_empty() && !house.dotenv().contains(&value));
    assert_eq!(house.world.broker.health().await.unwrap().revocations_owed, 1);
    house.allow_all();
    house.pass(1).await;
    house.assert_ended("KEY", "revoked").await;
}

#[tokio::test]
async fn a_project_is_torn_down_to_the_last_key_although_nothing_can_be_put_on_record() {
    let house = House::new().await;
    let ana = house.world.ana().await;
    for name in ["ONE", "TWO", "THREE"] {
        house.ask(&house.embedded(name)).await;
    }
    house.refuse(NO_AUDIT);
    let web = "web".parse().unwrap();
    house.world.broker.teardown(&ana.caller(), &web).await.unwrap_err();
    assert!(house.living().is_empty(), "one that fails to be recorded does not spare the others");
    house.allow_all();
    let torn = house.world.broker.teardown(&ana.caller(), &web).await.unwrap();
    assert_eq!((torn.revoked.len(), torn.owed.len()), (3, 0));
    for name in ["ONE", "TWO", "THREE"] {
        house.assert_ended(name, "revoked").await;
    }
}

#[tokio::test]
async fn a_key_that_is_being_made_is_torn_down_with_its_project() {
    let house = House::new().await;
    let ana = house.world.ana().await;
    house.ask(&house.embedded("DONE")).await;
    house.inject(crate::house::VERIFY, DOWN, ALWAYS);
    house.ask(&house.embedded("UNDER_WAY")).await;
    assert_eq!(house.living().len(), 2);
    let web = "web".parse().unwrap();
    let torn = house.world.broker.teardown(&ana.caller(), &web).await.unwrap();
    assert_eq!((torn.revoked.len(), torn.owed.len()), (2, 0));
    assert!(house.living().is_empty(), "what was made on the way is revoked at once");
    for name in ["DONE", "UNDER_WAY"] {
        assert_eq!(house.status(name).await, "revoked");
    }
    house.heal();
    house.pass(400).await;
    assert!(house.living().is_empty(), "and it does not go on");
    house.assert_sound().await;
}

#[tokio::test]
async fn a_key_that_was_not_made_yet_is_never_made_once_it_is_revoked() {
    let house = House::new().await;
    let busy = FaultKind::Status { status: 429, retry_after: Some(600) };
    house.inject(crate::house::CREATE, busy, ALWAYS);
    let asked = house.ask(&house.embedded("KEY")).await;
    assert_eq!(asked.status.as_str(), "in_progress", "{asked:?}");
    let revoked = house.world.broker.revoke(&World::agent("bot"), "KEY", "wrong zone").await.unwrap();
    assert_eq!(revoked.status.as_str(), "revoked", "{revoked:?}");
    assert!(revoked.reasons.iter().any(|r| r.contains("wrong zone")), "{revoked:?}");
    house.heal();
    house.pass(4_000).await;
    assert_eq!(house.living().len(), 0);
}

#[tokio::test]
async fn a_home_in_which_nothing_can_be_written_still_opens_to_revoke() {
    let house = House::new().await;
    house.ask(&house.embedded("KEY")).await;
    house.inject(crate::house::VERIFY, DOWN, ALWAYS);
    house.ask(&house.embedded("UNDER_WAY")).await;
    house.heal();
    house.refuse("UPDATE ON sagas");
    let house = house.restart().await;
    house.world.broker.revoke(&World::agent("bot"), "KEY", "leaked").await.unwrap();
    assert_eq!(house.status("KEY").await, "revoked");
    house.allow_all();
    house.take_up_again().await;
    house.assert_ended("UNDER_WAY", "active").await;
}

#[tokio::test]
async fn a_request_that_can_not_be_started_holds_up_no_debt_and_no_other_mint() {
    let house = House::new().await;
    house.ask(&house.embedded("OWED")).await;
    house.inject(DELETE, DOWN, ALWAYS);
    house.world.broker.revoke(&World::agent("bot"), "OWED", "leaked").await.unwrap();
    house.heal();
    // Approved by both operators, and then the ledger has no room for its key.
    approved(&house, "STUCK").await;
    house.refuse("INSERT ON keys WHEN NEW.name = 'STUCK'");
    house.world.clock.advance(jiff::SignedDuration::from_secs(3_600));
    let stuck = house.world.broker.tick().await;
    assert!(house.living().is_empty(), "the debt was paid");
    assert!(stuck.is_err(), "and the trouble is told");
    house.allow_all();
    house.pass(1).await;
    house.assert_ended("STUCK", "active").await;
}

/// A request for production that both operators approved while the ledger could not start it.
async fn approved(house: &House, name: &str) {
    use keywright_broker::approve::Less;
    use keywright_broker::ask::Ask;
    use keywright_broker::review::Pending;
    let broker = &house.world.broker;
    let ana = house.world.ana().await;
    let passphrase = || keywright_core::secret::Secret::new("another long passphrase".to_owned());
    broker.add_operator(&ana, &"bo".parse().unwrap(), passphrase()).await.unwrap();
    let bo = broker.operator(Some(&"bo".parse().unwrap()), passphrase()).await.unwrap();
    let ask = Ask { environment: "production".to_owned(), ..house.embedded(name) };
    let pending = house.world.request(&ask).await.unwrap();
    let (id, nothing) = (pending.request.to_string(), Less::default());
    let Pending::Key(review) = broker.review(&id, &nothing).await.unwrap() else {
        panic!("a key was asked for")
    };
    broker.approve(&ana, &id, &review.digest, &nothing, std::time::Duration::ZERO).await.unwrap();
    house.refuse("INSERT ON keys");
    broker.approve(&bo, &id, &review.digest, &nothing, std::time::Duration::ZERO).await.unwrap_err();
    house.allow_all();
}

#[tokio::test]
async fn a_revocation_that_two_pay_at_once_is_recorded_once() {
    let house = House::new().await;
    house.ask(&house.embedded("KEY")).await;
    house.inject(DELETE, DOWN, ALWAYS);
    let bot = World::agent("bot");
    house.world.broker.revoke(&bot, "KEY", "leaked").await.unwrap();
    house.heal();
    house.world.clock.advance(jiff::SignedDuration::from_secs(3_600));
    let (tick, revoke) =
        tokio::join!(house.world.broker.tick(), house.world.broker.revoke(&bot, "KEY", "again"));
    tick.unwrap();
    revoke.unwrap();
    house.assert_ended("KEY", "revoked").await;
    let settled = house.records("KEY", Deed::KeyRevoke, Stage::Outcome).await;
    let went_well = |r: &&keywright_core::audit::Record| {
        r.result.as_ref().is_some_and(|r| *r == keywright_core::audit::Outcome::done())
    };
    assert_eq!(settled.iter().filter(went_well).count(), 1);
}
