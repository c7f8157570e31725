//! A provider that says for a while that it does not know a credential which lives: nothing is ended, nothing is made, and what comes
//! back is nobody's orphan.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

use std::time::Duration;

use jiff::SignedDuration;
use keywright_broker::adopt::Adoption;
use keywright_broker::ask::Ask;
use keywright_broker::deliver::{Reader, Wanted};
use keywright_broker::record::Caller;
use keywright_broker::trace::Trace;
use keywright_core::key::{KeyState, VersionState};
use keywright_core::plan::Principal;
use keywright_core::receipt::Status;
use keywright_sandbox::{Fault, FaultKind};
use keywright_testkit::{DNS_EDIT, World, ask};

const RULES: &str = "[rotation]\nevery = \"20d\"\nquiet_for = \"10m\"\nmax_overlap = \"2d\"\n";

async fn world() -> World {
    let world = World::new().await;
    let ana = world.ana().await;
    world.broker.apply_template(&ana, &format!("{DNS_EDIT}{RULES}")).await.unwrap();
    world.request(&ask("example.com", "CF_TOKEN")).await.unwrap();
    world
}

async fn pass(world: &World, seconds: i64) {
    let by = SignedDuration::from_secs(seconds);
    world.clock.advance(by);
    world.sandbox.advance_clock(by.unsigned_abs());
    world.broker.tick().await.unwrap();
}

/// From now on nothing is found by its id or in a list.
fn lie(world: &World) {
    let unknown = FaultKind::Status { status: 404, retry_after: None };
    world.sandbox.inject(Fault::on("GET", "/accounts/*/tokens/*", unknown).times(100_000)).unwrap();
    let empty = FaultKind::LaggingList { ms: u64::MAX / 4 };
    world.sandbox.inject(Fault::on("GET", "/accounts/*/tokens", empty).times(100_000)).unwrap();
}

async fn rotate(world: &World) {
    let ana = Caller::plain(Principal::Operator("ana".parse().unwrap()));
    let wait = Duration::from_secs(20);
    let receipt = world.broker.rotate(&ana, "CF_TOKEN", "it is time", wait).await.unwrap();
    assert_eq!(receipt.status, Status::Active, "{receipt:?}");
}

async fn trace(world: &World) -> Trace {
    world.broker.trace("CF_TOKEN").await.unwrap()
}

fn states(trace: &Trace) -> Vec<VersionState> {
    trace.versions.iter().map(|version| version.state).collect()
}

fn live(world: &World) -> usize {
    world.sandbox.live_tokens_named_like("kw-").len()
}

#[tokio::test]
async fn wrong_answers_for_a_moment_end_nothing() {
    let world = world().await;
    lie(&world);
    for _ in 0..5 {
        assert_eq!(world.broker.reconcile().await.unwrap().missing.len(), 1);
        pass(&world, 20).await;
    }
    world.sandbox.clear_faults();
    pass(&world, 30).await;
    // A later one stands alone: what was seen in between counts.
    lie(&world);
    world.broker.reconcile().await.unwrap();
    world.sandbox.clear_faults();
    pass(&world, 121).await;
    let after = trace(&world).await;
    assert_eq!((after.key.state, states(&after)), (KeyState::Active, vec![VersionState::Active]));
    assert!(after.revocations.is_empty() && live(&world) == 1);
    let ana = world.ana().await;
    let wanted = Wanted { project: Some("web".parse().unwrap()), ..Wanted::default() };
    assert_eq!(world.broker.deliver(&Reader::Operator(&ana), wanted).await.unwrap().len(), 1);
}

#[tokio::test]
async fn one_in_the_list_is_there_whatever_is_said_of_its_id() {
    let world = world().await;
    let unknown = FaultKind::Status { status: 404, retry_after: None };
    world.sandbox.inject(Fault::on("GET", "/accounts/*/tokens/*", unknown).times(100_000)).unwrap();
    rotate_is_refused_or_done(&world).await;
    for _ in 0..4 {
        world.broker.reconcile().await.unwrap();
        pass(&world, 121).await;
    }
    let after = trace(&world).await;
    assert_eq!(after.key.state, KeyState::Active);
    assert_eq!(states(&after)[0], VersionState::Active, "{:?}", states(&after));
}

/// A successor that can't be read back is not taken into force; the key is as it was.
async fn rotate_is_refused_or_done(world: &World) {
    let ana = Caller::plain(Principal::Operator("ana".parse().unwrap()));
    let receipt = world.broker.rotate(&ana, "CF_TOKEN", "it is time", Duration::from_secs(2)).await.unwrap();
    assert_ne!(receipt.status, Status::Active, "{receipt:?}");
}

#[tokio::test]
async fn a_successor_that_is_not_found_for_a_moment_stays_in_force() {
    let world = world().await;
    rotate(&world).await;
    for _ in 0..4 {
        lie(&world);
        pass(&world, 60).await;
        world.sandbox.clear_faults();
        pass(&world, 300).await;
    }
    for _ in 0..10 {
        pass(&world, 900).await;
    }
    let done = trace(&world).await;
    assert_eq!(states(&done), [VersionState::Revoked, VersionState::Active], "{:?}", done.saga);
    assert_eq!((done.key.state, live(&world)), (KeyState::Active, 1));
}

#[tokio::test]
async fn what_comes_back_after_a_long_lie_is_not_ended_without_a_word() {
    let world = world().await;
    lie(&world);
    world.broker.reconcile().await.unwrap();
    pass(&world, 121).await;
    assert_eq!(trace(&world).await.key.state, KeyState::Revoked, "nobody can tell this from the truth");
    world.sandbox.clear_faults();
    for _ in 0..3 {
        let found = world.broker.reconcile().await.unwrap();
        assert_eq!((found.lost.len(), found.orphans.len()), (1, 0), "{found:?}");
        pass(&world, 3_600).await;
    }
    assert_eq!(live(&world), 1, "somebody may use it");
    assert_eq!(world.broker.health().await.unwrap().versions_back, 1);
    let said = trace(&world).await;
    let is_news = |entry: &&keywright_core::audit::Entry| {
        let because = entry.record().facts.get("because").and_then(|because| because.as_str());
        because.is_some_and(|because| because.contains("is there again"))
    };
    assert_eq!(said.entries.iter().filter(is_news).count(), 1, "it is on record, once");
    let ana = world.ana().await;
    let adoption = Adoption {
        connection: "cf".to_owned(),
        provider_key_id: world.sandbox.live_tokens_named_like("kw-")[0].id.clone(),
        ask: Ask {
            project: "web".to_owned(),
            environment: "dev".to_owned(),
            name: "BACK".to_owned(),
            purpose: "it was there".to_owned(),
            ..Ask::default()
        },
    };
    let adopted = world.broker.adopt(&ana, &adoption).await.unwrap();
    assert_eq!(adopted.key.state, KeyState::Active, "an operator says that it is theirs");
    let found = world.broker.reconcile().await.unwrap();
    assert_eq!(
        (found.lost.len(), world.broker.health().await.unwrap().versions_back, live(&world)),
        (0, 0, 1)
    );
}

#[tokio::test]
async fn what_comes_back_ends_where_somebody_says_so() {
    let world = world().await;
    lie(&world);
    world.broker.reconcile().await.unwrap();
    pass(&world, 121).await;
    world.sandbox.clear_faults();
    world.broker.reconcile().await.unwrap();
    let ana = world.ana().await;
    world.broker.revoke_lost(&ana).await.unwrap();
    world.settle().await;
    assert_eq!((live(&world), world.broker.health().await.unwrap().versions_back), (0, 0));
}

#[tokio::test]
async fn what_leaked_and_hides_for_a_while_ends_when_it_is_seen_again() {
    let world = world().await;
    let ana = world.ana().await;
    let caller = Caller::plain(Principal::Operator("ana".parse().unwrap()));
    let leaked = trace(&world).await.versions[0].provider_key_id.clone();
    // Nobody can be told, so the one that leaked lives on for a while.
    let told = keywright_broker::consumers::NewConsumer {
        name: "deploy".parse().unwrap(),
        uses: keywright_core::consumer::Uses {
            project: "web".parse().unwrap(),
            environment: None,
            names: "*".parse().unwrap(),
        },
        way: keywright_broker::consumers::Way::Command(vec!["/bin/false".to_owned()]),
        patience: keywright_broker::consumers::PATIENCE,
    };
    world.broker.add_consumer(&ana, told).await.unwrap();
    let how = (keywright_core::plan::Ending::Leaked, Duration::from_secs(20));
    world.broker.rotate_as(&ana, &caller, "CF_TOKEN", "it leaked", how).await.unwrap();
    lie(&world);
    world.broker.reconcile().await.unwrap();
    pass(&world, 121).await;
    world.sandbox.clear_faults();
    for _ in 0..4 {
        world.broker.reconcile().await.unwrap();
        pass(&world, 900).await;
    }
    let lives = world.sandbox.live_tokens_named_like("kw-").iter().any(|token| token.id == leaked);
    assert!(!lives, "what leaked does not come back");
}
