//! The schedule as it runs, without a hand on it: what takes long holds up nothing else.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

use std::sync::Arc;
use std::time::Duration;

use jiff::SignedDuration;
use keywright_broker::admin::NewConnection;
use keywright_broker::ask::Ask;
use keywright_core::receipt::Status;
use keywright_core::saga::Phase;
use keywright_core::secret::Secret;
use keywright_sandbox::{Fault, FaultKind, Sandbox, SandboxConfig};
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

/// A second account at another provider, and what keys are made of there.
async fn another(world: &World) -> (Sandbox, String) {
    let sandbox = Sandbox::start(SandboxConfig::default()).await.unwrap();
    let ana = world.ana().await;
    let new = NewConnection {
        name: "other".parse().unwrap(),
        kind: "cloudflare".parse().unwrap(),
        base_url: Some(sandbox.base_url()),
        account: Some(sandbox.account_id().to_owned()),
        extra: <_>::default(),
        credential: Secret::new(sandbox.parent_token().to_owned()),
    };
    world.broker.add_connection(&ana, new).await.unwrap();
    let of = |text: &str, id: &str, connection: &str| {
        let named = text.replace("cloudflare/dns-edit", id);
        named.replace("[parameters.zone]", &format!("connection = \"{connection}\"\n[parameters.zone]"))
    };
    world.broker.apply_template(&ana, &of(DNS_EDIT, "cloudflare/dns-edit", "cf")).await.unwrap();
    world.broker.apply_template(&ana, &of(DNS_EDIT, "cloudflare/dns-other", "other")).await.unwrap();
    (sandbox, "cloudflare/dns-other".to_owned())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_crowd_of_rotations_whose_provider_does_not_answer_leaves_places_to_others() {
    const CROWD: usize = 60;
    let world = World::with_settings(&[("use_lag", "1s")]).await;
    let (_other, template) = another(&world).await;
    let rotation = "[rotation]\nevery = \"20d\"\nquiet_for = \"2h\"\nmax_overlap = \"5d\"\n";
    let ana = world.ana().await;
    for (id, connection) in [("cloudflare/dns-edit", "cf"), (template.as_str(), "other")] {
        let of = DNS_EDIT.replace("cloudflare/dns-edit", id);
        let of =
            of.replace("[parameters.zone]", &format!("connection = \"{connection}\"\n[parameters.zone]"));
        world.broker.apply_template(&ana, &format!("{of}{rotation}")).await.unwrap();
    }
    for number in 0..CROWD {
        let agent = World::agent(&format!("bot-{}", number / 20));
        let wish = ask("example.com", &format!("HUNG_{number}"));
        let made = world.broker.request(&agent, &wish, Duration::from_secs(60)).await.unwrap();
        assert_eq!(made.status, Status::Active);
    }
    world.clock.advance(SignedDuration::from_hours(24 * 8));
    let wish = Ask { template, ..ask("example.com", "FINE") };
    assert_eq!(world.request(&wish).await.unwrap().status, Status::Active);
    let hangs = Fault::on("POST", "/accounts/*/tokens", FaultKind::Hang { commit: false });
    world.sandbox.inject(hangs.times(1_000)).unwrap();
    // Nobody was there when the crowd came due.
    world.clock.advance(SignedDuration::from_hours(24 * 12 + 12));
    let world = world.restart().await;
    let asked = || world.sandbox.calls().iter().filter(|call| call.faults.contains(&"hang")).count();
    let (stop, stopped) = watch::channel(false);
    let schedule = tokio::spawn(Arc::clone(&world.broker).run_schedule(stopped));
    let limit = Duration::from_secs(300);
    let crowded = async {
        while asked() < 24 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(limit, crowded).await.expect("they are begun");
    let replaced = async {
        while stands(&world, "FINE").await.1 < 2 {
            world.clock.advance(SignedDuration::from_hours(1));
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(limit, replaced).await.expect("it is replaced");
    for number in 0..CROWD {
        let (saga, versions) = stands(&world, &format!("HUNG_{number}")).await;
        assert_eq!(versions, 1);
        assert!(saga.is_none_or(|(_, tries)| tries == 0), "no call of the crowd was answered yet: {saga:?}");
    }
    stop.send(true).unwrap();
    schedule.await.unwrap();
}

/// How often the debts of a key were tried, of those that are still owed.
async fn owed(world: &World, name: &str) -> Vec<u64> {
    let trace = world.broker.trace(name).await.unwrap();
    trace.revocations.iter().filter(|debt| debt.done_at.is_none()).map(|debt| debt.tries).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn debts_to_a_provider_that_does_not_answer_hold_up_none_to_another() {
    let world = World::new().await;
    let (other, template) = another(&world).await;
    let fails =
        || Fault::on("DELETE", "/accounts/*/tokens/*", FaultKind::Status { status: 503, retry_after: None });
    let hangs = Fault::on("DELETE", "/accounts/*/tokens/*", FaultKind::Hang { commit: false });
    let ana = world.ana().await;
    for name in ["HUNG_1", "HUNG_2", "HUNG_3"] {
        assert_eq!(world.request(&ask("example.com", name)).await.unwrap().status, Status::Active);
        world.sandbox.inject(fails().times(100)).unwrap();
        world.broker.revoke(&ana.caller(), name, "a test").await.unwrap();
        assert_eq!(owed(&world, name).await, [1]);
    }
    let wish = Ask { template, ..ask("example.com", "FINE") };
    assert_eq!(world.request(&wish).await.unwrap().status, Status::Active);
    world.sandbox.clear_faults();
    world.sandbox.inject(hangs.times(100)).unwrap();
    world.clock.advance(SignedDuration::from_mins(10));
    let (stop, stopped) = watch::channel(false);
    let schedule = tokio::spawn(Arc::clone(&world.broker).run_schedule(stopped));
    let asked = || world.sandbox.calls().iter().filter(|call| call.method == "DELETE").count();
    let before = asked();
    let limit = Duration::from_secs(300);
    let begins = async {
        while asked() == before {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(limit, begins).await.expect("it is tried");
    // From here on the first call waits for its answer. What comes to be owed elsewhere now is paid all the same.
    other.inject(fails().times(100)).unwrap();
    world.broker.revoke(&ana.caller(), "FINE", "a test").await.unwrap();
    assert_eq!(owed(&world, "FINE").await, [1]);
    other.clear_faults();
    let paid = async {
        while !owed(&world, "FINE").await.is_empty() {
            world.clock.advance(SignedDuration::from_mins(1));
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(limit, paid).await.expect("it is paid");
    for name in ["HUNG_1", "HUNG_2", "HUNG_3"] {
        assert_eq!(owed(&world, name).await, [1], "the call about {name} is still not answered, or not made");
    }
    stop.send(true).unwrap();
    schedule.await.unwrap();
}

#[tokio::test]
async fn an_expired_key_whose_row_was_edited_does_not_spare_others() {
    let world = World::new().await;
    for name in ["FIRST", "SECOND"] {
        assert_eq!(world.request(&ask("example.com", name)).await.unwrap().status, Status::Active);
    }
    let first = world.broker.trace("FIRST").await.unwrap().key.id;
    let ledger = rusqlite::Connection::open(world.home.join("ledger.db")).unwrap();
    let edit = format!("UPDATE keys SET project = 'mine' WHERE id = '{first}'");
    ledger.execute_batch(&edit).unwrap();
    world.clock.advance(SignedDuration::from_hours(24 * 31));
    let world = world.restart().await;
    for _ in 0..2 {
        let _ = world.broker.tick().await;
    }
    let second = world.broker.trace("SECOND").await.unwrap();
    assert_eq!(second.key.state, keywright_core::key::KeyState::Revoked);
}
