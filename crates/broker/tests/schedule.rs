//! The schedule as it runs, without a hand on it: what takes long holds up nothing else.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

use std::sync::Arc;
use std::time::Duration;

use jiff::SignedDuration;
use keywright_core::receipt::Status;
use keywright_core::saga::Phase;
use keywright_sandbox::{Fault, FaultKind};
use keywright_testkit::{DNS_EDIT, World, ask};
use tokio::sync::watch;

/// Longer than a broker waits for a provider.
const TOO_LONG_MS: u64 = 600_000;

/// How far a key's rotation is, how often its step was put off, and how many versions there are.
async fn stands(world: &World, name: &str) -> (Option<(Phase, u64)>, usize) {
    let trace = world.broker.trace(name).await.unwrap();
    (trace.saga.map(|saga| (saga.phase, saga.tries)), trace.versions.len())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rotation_whose_provider_does_not_answer_holds_up_no_other() {
    let world = World::with_settings(&[("use_lag", "1s")]).await;
    let rotation = "[rotation]\nevery = \"20d\"\nquiet_for = \"2h\"\nmax_overlap = \"5d\"\n";
    let template = format!("{DNS_EDIT}{rotation}");
    world.broker.apply_template(&world.ana().await, &template).await.unwrap();
    assert_eq!(world.request(&ask("example.com", "FIRST")).await.unwrap().status, Status::Active);
    // Some days later, so that the second one is due when the first one hangs already.
    for _ in 0..24 * 5 {
        world.clock.advance(SignedDuration::from_hours(1));
        world.broker.tick().await.unwrap();
    }
    assert_eq!(world.request(&ask("example.com", "SECOND")).await.unwrap().status, Status::Active);

    let slow = FaultKind::Slow { delay_ms: TOO_LONG_MS, trickle_ms: 0 };
    world.sandbox.inject(Fault::on("POST", "/accounts/*/tokens", slow)).unwrap();
    let (stop, stopped) = watch::channel(false);
    let schedule = tokio::spawn(Arc::clone(&world.broker).run_schedule(stopped));
    let reaches = async |name: &str, versions: usize, wanted: Option<Phase>| {
        loop {
            let (saga, found) = stands(&world, name).await;
            if found == versions && saga.map(|(phase, _)| phase) == wanted {
                return;
            }
            world.clock.advance(SignedDuration::from_hours(1));
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let limit = Duration::from_secs(300);
    tokio::time::timeout(limit, reaches("FIRST", 1, Some(Phase::Intent))).await.expect("it begins");
    tokio::time::timeout(limit, reaches("SECOND", 2, Some(Phase::Switched))).await.expect("it is replaced");
    let first = stands(&world, "FIRST").await;
    assert_eq!(first, (Some((Phase::Intent, 0)), 1), "its first call is still not answered");

    stop.send(true).unwrap();
    schedule.await.unwrap();
}
