//! Programs that `run` started hold what they were given: a version does not end under them.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

use std::time::Duration;

use jiff::SignedDuration;
use keywright_broker::deliver::{Reader, Wanted};
use keywright_broker::holds::{Holder, began, new_word};
use keywright_broker::record::Caller;
use keywright_broker::trace::Trace;
use keywright_core::key::VersionState;
use keywright_core::plan::Principal;
use keywright_testkit::{DNS_EDIT, World, ask};

const WAIT: Duration = Duration::from_secs(20);

async fn world() -> World {
    let world = World::new().await;
    let rotation = "[rotation]\nevery = \"20d\"\nquiet_for = \"1h\"\nmax_overlap = \"2d\"\n\
                    on_unknowable = \"revoke-after-overlap\"\n";
    let ana = world.ana().await;
    world.broker.apply_template(&ana, &format!("{DNS_EDIT}{rotation}")).await.unwrap();
    world.request(&ask("example.com", "CF_TOKEN")).await.unwrap();
    world.broker.listens();
    world
}

async fn pass(world: &World, seconds: i64) {
    let by = SignedDuration::from_secs(seconds);
    world.clock.advance(by);
    world.sandbox.advance_clock(by.unsigned_abs());
    world.broker.tick().await.unwrap();
}

async fn rotate(world: &World) {
    let ana = Caller::plain(Principal::Operator("ana".parse().unwrap()));
    world.broker.rotate(&ana, "CF_TOKEN", "it is time", WAIT).await.unwrap();
}

/// A program that is given the key.
async fn given(world: &World, process: Option<(u64, u64)>) -> String {
    let word = new_word().unwrap();
    let holder = Some(Holder { word: word.clone(), process });
    let ana = world.ana().await;
    let wanted = Wanted { project: Some("web".parse().unwrap()), holder, ..Wanted::default() };
    assert_eq!(world.broker.deliver(&Reader::Operator(&ana), wanted).await.unwrap().len(), 1);
    word
}

async fn trace(world: &World) -> Trace {
    world.broker.trace("CF_TOKEN").await.unwrap()
}

fn old(trace: &Trace) -> VersionState {
    trace.versions[0].state
}

#[tokio::test]
async fn a_version_that_a_program_holds_lives_until_a_while_after_the_program() {
    let world = world().await;
    let word = given(&world, None).await;
    assert_eq!(trace(&world).await.holders[0].1, 1);
    assert!(world.broker.hear_of(&word, false).await.unwrap().stale.is_empty());
    rotate(&world).await;
    let standing = world.broker.hear_of(&word, false).await.unwrap();
    assert!(standing.known && standing.stale[0].works, "{standing:?}");
    assert_eq!((standing.stale[0].name.as_str(), standing.stale[0].version), ("CF_TOKEN", 1));
    // The provider sees no use of it for hours; the program lives.
    for _ in 0..300 {
        pass(&world, 50).await;
        world.broker.hear_of(&word, false).await.unwrap();
    }
    let held = trace(&world).await;
    assert_eq!(old(&held), VersionState::Draining);
    assert!(held.saga.unwrap().trouble.unwrap().contains("a program that `keywright run` started holds"));
    world.broker.hear_of(&word, true).await.unwrap();
    assert!(!world.broker.hear_of(&word, false).await.unwrap().known);
    pass(&world, 1_800).await;
    assert_eq!(old(&trace(&world).await), VersionState::Draining, "the window begins when the program ends");
    for _ in 0..12 {
        pass(&world, 900).await;
    }
    assert_eq!(old(&trace(&world).await), VersionState::Revoked);
}

#[tokio::test]
async fn a_program_that_is_silent_is_gone_and_one_whose_process_lives_is_not() {
    let world = world().await;
    let silent = given(&world, None).await;
    rotate(&world).await;
    for _ in 0..16 {
        pass(&world, 900).await;
    }
    assert_eq!(old(&trace(&world).await), VersionState::Revoked);
    assert!(world.broker.hear_of(&silent, false).await.unwrap().stale[0].version == 1);
    let mut program = std::process::Command::new("sleep").arg("600").spawn().unwrap();
    let id = u64::from(program.id());
    let process = began(id).map(|began| (id, began));
    assert!(process.is_some());
    given(&world, process).await;
    rotate(&world).await;
    for _ in 0..16 {
        pass(&world, 900).await;
    }
    assert_eq!(trace(&world).await.versions[1].state, VersionState::Draining);
    program.kill().unwrap();
    program.wait().unwrap();
    for _ in 0..16 {
        pass(&world, 900).await;
    }
    assert_eq!(trace(&world).await.versions[1].state, VersionState::Revoked);
}

#[tokio::test]
async fn a_new_broker_gives_programs_time_to_be_heard_of() {
    let world = world().await;
    let word = given(&world, None).await;
    rotate(&world).await;
    let world = world.restart().await;
    world.clock.advance(SignedDuration::from_secs(7_200));
    world.sandbox.advance_clock(Duration::from_secs(7_200));
    // Nobody listens yet; then somebody does, and the program is heard of.
    for _ in 0..12 {
        pass(&world, 900).await;
    }
    assert_eq!(old(&trace(&world).await), VersionState::Draining);
    world.broker.listens();
    pass(&world, 30).await;
    assert!(world.broker.hear_of(&word, false).await.unwrap().known);
    pass(&world, 45).await;
    assert_eq!(trace(&world).await.holders.len(), 1);
}

#[tokio::test]
async fn a_word_that_nobody_gave_says_nothing() {
    let world = world().await;
    given(&world, None).await;
    let standing = world.broker.hear_of("kwh_guessed", true).await.unwrap();
    assert!(!standing.known && standing.stale.is_empty());
    assert_eq!(trace(&world).await.holders[0].1, 1);
}

#[tokio::test]
async fn an_operators_word_ends_a_version_that_a_program_holds() {
    let world = world().await;
    let word = given(&world, None).await;
    rotate(&world).await;
    let ana = world.ana().await;
    world.broker.end_old(&ana, "CF_TOKEN", "it leaked").await.unwrap();
    pass(&world, 60).await;
    assert_eq!(old(&trace(&world).await), VersionState::Revoked);
    assert!(!world.broker.hear_of(&word, false).await.unwrap().stale[0].works);
}
