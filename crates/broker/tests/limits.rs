//! The limits of policy, for asks and approvals that come together.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

use std::sync::Arc;
use std::time::Duration;

use keywright_broker::approve::Less;
use keywright_broker::ask::Ask;
use keywright_broker::review::Pending;
use keywright_broker::{BrokerError, Code};
use keywright_core::key::KeyState;
use keywright_core::receipt::{Receipt, Status};
use keywright_sandbox::{Fault, FaultKind, Widening};
use keywright_testkit::{World, ask};

const AT_ONCE: usize = 12;

/// A world whose provider takes many calls a minute, under one policy.
async fn world(policy: &str) -> World {
    let world = World::with_settings(&[("requests_per_minute", "1000000")]).await;
    world.broker.apply_policy(&world.ana().await, policy).await.unwrap();
    world
}

/// Agents may mint while this holds.
fn while_(condition: &str) -> String {
    format!(
        "@id(\"limit\") @reason(\"within the limit\") \
         permit(principal is Keywright::Agent, action == Keywright::Action::\"mint\", resource) when {{ {condition} }};"
    )
}

fn wish(number: usize) -> Ask {
    ask("example.com", &format!("CF_{number}"))
}

/// Asks for so many keys at the same moment.
async fn ask_at_once(world: &World, wait: Duration) -> Vec<Receipt> {
    let asks = (0..AT_ONCE).map(|number| {
        let broker = Arc::clone(&world.broker);
        tokio::spawn(async move { broker.request(&World::agent("bot"), &wish(number), wait).await.unwrap() })
    });
    let mut receipts = Vec::new();
    for asked in asks.collect::<Vec<_>>() {
        receipts.push(asked.await.unwrap());
    }
    receipts
}

fn with(receipts: &[Receipt], status: Status) -> usize {
    receipts.iter().filter(|receipt| receipt.status == status).count()
}

fn live(world: &World) -> usize {
    world.sandbox.live_tokens_named_like("kw-").len()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_asks_that_come_together_as_many_pass_as_the_limits_allow() {
    for (condition, passing) in [
        ("context.keys_active < 1", 1),
        ("context.keys_active < 5", 5),
        ("context.requests_last_hour < 4", 4),
        ("context.keys_active < 7 && context.requests_last_hour < 3", 3),
    ] {
        let world = world(&while_(condition)).await;
        let receipts = ask_at_once(&world, Duration::from_secs(60)).await;
        assert_eq!(with(&receipts, Status::Active), passing, "{condition}: {receipts:?}");
        assert_eq!(with(&receipts, Status::Denied), AT_ONCE - passing, "{condition}: {receipts:?}");
        assert_eq!(live(&world), passing, "{condition}");
        let refused = receipts.iter().filter(|receipt| receipt.status == Status::Denied);
        assert!(refused.map(|r| &r.reasons[0]).all(|why| why.contains("no policy allows")), "{receipts:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_requests_that_are_approved_together_as_many_start_as_the_limits_allow() {
    let world = world(&while_("context.keys_active < 3 && context.approvals >= 1")).await;
    let pending = ask_at_once(&world, Duration::ZERO).await;
    assert_eq!(with(&pending, Status::PendingApproval), AT_ONCE, "{pending:?}");
    let mut approvals = Vec::new();
    for receipt in &pending {
        let (broker, ana, id) = (Arc::clone(&world.broker), world.ana().await, receipt.request.to_string());
        let Pending::Key(review) = broker.review(&id, &Less::default()).await.unwrap() else {
            panic!("a key was asked for")
        };
        approvals.push(async move {
            broker.approve(&ana, &id, &review.digest, &Less::default(), Duration::from_secs(60)).await
        });
    }
    let approvals: Vec<_> = approvals.into_iter().map(tokio::spawn).collect();
    let mut answers: Vec<Result<Receipt, BrokerError>> = Vec::new();
    for approval in approvals {
        answers.push(approval.await.unwrap());
    }
    let started = answers.iter().filter(|a| a.as_ref().is_ok_and(|r| r.status == Status::Active)).count();
    let refused = answers.iter().filter(|a| a.as_ref().is_err_and(|e| e.code == Code::Denied)).count();
    assert_eq!((started, refused), (3, AT_ONCE - 3), "{answers:?}");
    assert_eq!(live(&world), 3);
}

const ALWAYS: u32 = 100_000;

fn inject(world: &World, method: &str, path: &str, kind: FaultKind) {
    world.sandbox.inject(Fault::on(method, path, kind).times(ALWAYS)).unwrap();
}

/// Asks for one key: how that went.
async fn status(world: &World, number: usize) -> Status {
    world.request(&wish(number)).await.unwrap().status
}

#[tokio::test]
async fn a_failed_mint_keeps_its_place_while_its_attempts_are_uncertain_and_its_name_is_free() {
    let world = world(&while_("context.keys_active < 1")).await;
    inject(&world, "POST", "/accounts/*/tokens", FaultKind::ReplyLostAfterCommit);
    inject(&world, "GET", "/accounts/*/tokens", FaultKind::LaggingList { ms: 3_600_000 });
    assert_eq!(status(&world, 0).await, Status::Failed);
    assert!(live(&world) > 0, "nobody knows of it");
    world.sandbox.clear_faults();
    assert_eq!(status(&world, 1).await, Status::Denied, "it may live, so it counts");
    world.broker.apply_policy(&world.ana().await, &while_("context.keys_active < 2")).await.unwrap();
    assert_eq!(status(&world, 0).await, Status::Active, "its name is free");
    assert_eq!(status(&world, 1).await, Status::Denied);
    world.settle().await;
    assert_eq!(live(&world), 1, "what was lost was found and revoked");
    assert_eq!(status(&world, 1).await, Status::Active, "its place is free");
    assert_eq!(status(&world, 2).await, Status::Denied);
}

#[tokio::test]
async fn an_attempt_that_made_nothing_gives_its_place_back_once_that_is_known() {
    let world = world(&while_("context.keys_active < 1")).await;
    inject(&world, "POST", "/accounts/*/tokens", FaultKind::ReplyLostBeforeCommit);
    assert_eq!(status(&world, 0).await, Status::Failed);
    world.sandbox.clear_faults();
    assert_eq!(status(&world, 1).await, Status::Denied);
    world.settle().await;
    assert_eq!(status(&world, 1).await, Status::Active);
}

#[tokio::test]
async fn a_key_keeps_its_place_until_the_provider_confirms_that_it_is_gone() {
    let world = world(&while_("context.keys_active < 1")).await;
    inject(
        &world,
        "DELETE",
        "/accounts/*/tokens/*",
        FaultKind::Status { status: 503, retry_after: Some(60) },
    );
    let wider = FaultKind::WiderGrant { grant: Widening::NoExpiry };
    world.sandbox.inject(Fault::on("POST", "/accounts/*/tokens", wider)).unwrap();
    assert_eq!(status(&world, 0).await, Status::Failed);
    assert_eq!((status(&world, 1).await, live(&world)), (Status::Denied, 1));
    world.sandbox.clear_faults();
    // The connection keeps the pause by the machine's clock; another broker has none.
    let world = world.restart().await;
    world.settle().await;
    assert_eq!((status(&world, 1).await, live(&world)), (Status::Active, 1));
}

#[tokio::test]
async fn of_asks_for_one_place_that_come_together_one_is_let_in() {
    let world = World::new().await;
    let asks = (0..8).map(|number| {
        let wish = Ask {
            destinations: vec!["embedded:web/dev/SHARED".to_owned()],
            idempotency_key: Some(format!("key-{number}")),
            ..ask("example.com", &format!("CF_{number}"))
        };
        let broker = std::sync::Arc::clone(&world.broker);
        tokio::spawn(
            async move { broker.request(&World::agent("bot"), &wish, Duration::from_secs(20)).await },
        )
    });
    let mut active = 0;
    for asked in asks.collect::<Vec<_>>() {
        match asked.await.unwrap() {
            Ok(receipt) if receipt.status == Status::Active => active += 1,
            Ok(other) => panic!("{other:?}"),
            Err(error) => assert_eq!(error.code, Code::Conflict, "{error}"),
        }
    }
    assert_eq!((active, world.sandbox.live_tokens_named_like("kw-").len()), (1, 1));
    // The place is free once the key is gone.
    let key = world.broker.keys(&World::agent("bot").principal, <_>::default()).await.unwrap();
    let living = key.iter().find(|key| key.key.state == KeyState::Active).unwrap();
    world.broker.revoke(&World::agent("bot"), &living.key.id.to_string(), "done").await.unwrap();
    let wish =
        Ask { destinations: vec!["embedded:web/dev/SHARED".to_owned()], ..ask("example.com", "CF_NEXT") };
    assert_eq!(world.request(&wish).await.unwrap().status, Status::Active);
}
