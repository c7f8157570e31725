//! How an old version ends where not as usual: kept, missed, leaked.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

use std::time::Duration;

use jiff::SignedDuration;
use keywright_broker::Code;
use keywright_broker::approve::Less;
use keywright_broker::consumers::{NewConsumer, PATIENCE, Way};
use keywright_broker::review::Pending;
use keywright_broker::trace::Trace;
use keywright_core::consumer::Uses;
use keywright_core::key::VersionState;
use keywright_core::plan::Ending;
use keywright_core::receipt::Status;
use keywright_core::saga::Phase;
use keywright_sandbox::{Fault, FaultKind, TokenStatus};
use keywright_testkit::{DNS_EDIT, World, ask};

const WAIT: Duration = Duration::from_secs(20);

async fn world() -> World {
    let world = World::new().await;
    let rotation = "[rotation]\nevery = \"20d\"\nquiet_for = \"1h\"\nmax_overlap = \"2d\"\n";
    let ana = world.ana().await;
    world.broker.apply_template(&ana, &format!("{DNS_EDIT}{rotation}")).await.unwrap();
    world.request(&ask("example.com", "CF_TOKEN")).await.unwrap();
    world
}

async fn pass(world: &World, seconds: i64) {
    let by = SignedDuration::from_secs(seconds);
    world.clock.advance(by);
    world.sandbox.advance_clock(by.unsigned_abs());
    world.broker.tick().await.unwrap();
}

async fn rotate(world: &World, ending: Ending) {
    let ana = world.ana().await;
    let receipt =
        world.broker.rotate_as(&ana, &ana.caller(), "CF_TOKEN", "because", (ending, WAIT)).await.unwrap();
    assert_eq!(receipt.status, Status::Active, "{receipt:?}");
}

async fn trace(world: &World) -> Trace {
    world.broker.trace("CF_TOKEN").await.unwrap()
}

fn old(trace: &Trace) -> VersionState {
    trace.versions[0].state
}

/// What the provider says of the old version.
fn status(world: &World, trace: &Trace) -> TokenStatus {
    let all = world.sandbox.tokens();
    all.into_iter().find(|token| token.id == trace.versions[0].provider_key_id).unwrap().status
}

#[tokio::test]
async fn a_version_that_is_kept_is_switched_off_and_on_again_and_ends_by_a_word_alone() {
    let world = world().await;
    let ana = world.ana().await;
    let none = world.broker.enable_old(&ana, "CF_TOKEN", "missed").await.unwrap_err();
    assert_eq!(none.code, Code::Conflict);
    rotate(&world, Ending::Kept).await;
    assert_eq!(status(&world, &trace(&world).await), TokenStatus::Active);
    for _ in 0..12 {
        pass(&world, 900).await;
    }
    for _ in 0..5 {
        pass(&world, 86_400).await;
    }
    let off = trace(&world).await;
    assert_eq!((off.saga.as_ref().unwrap().phase, old(&off)), (Phase::Disabled, VersionState::Draining));
    assert_eq!(status(&world, &off), TokenStatus::Disabled);
    world.broker.enable_old(&ana, "CF_TOKEN", "the report needs it").await.unwrap();
    let on = trace(&world).await;
    assert_eq!(
        (on.saga.as_ref().unwrap().phase, status(&world, &on)),
        (Phase::Switched, TokenStatus::Active)
    );
    // Its window begins anew, and then it is off again.
    pass(&world, 1_800).await;
    assert_eq!(status(&world, &trace(&world).await), TokenStatus::Active);
    for _ in 0..12 {
        pass(&world, 900).await;
    }
    assert_eq!(status(&world, &trace(&world).await), TokenStatus::Disabled);
    world.broker.end_old(&ana, "CF_TOKEN", "nobody missed it").await.unwrap();
    pass(&world, 60).await;
    let done = trace(&world).await;
    assert_eq!(old(&done), VersionState::Revoked);
    assert!(done.saga.is_none());
    let phases: Vec<&str> =
        done.entries.iter().filter_map(|e| e.record().facts.get("phase").and_then(|p| p.as_str())).collect();
    assert!(phases.contains(&"enabled"), "{phases:?}");
}

#[tokio::test]
async fn a_kept_version_that_somebody_ended_at_the_provider_holds_up_no_further_rotation() {
    // Found by `machine`. Somebody ends it while it drains, or once it is switched off and kept.
    for is_off in [false, true] {
        let world = world().await;
        rotate(&world, Ending::Kept).await;
        if is_off {
            for _ in 0..12 {
                pass(&world, 900).await;
            }
            assert_eq!(status(&world, &trace(&world).await), TokenStatus::Disabled);
        }
        let id = trace(&world).await.versions[0].provider_key_id.clone();
        let url = format!("{}/accounts/{}/tokens/{id}", world.sandbox.base_url(), world.sandbox.account_id());
        let parent = world.sandbox.parent_token();
        reqwest::Client::new()
            .delete(url)
            .bearer_auth(parent)
            .send()
            .await
            .unwrap()
            .error_for_status()
            .unwrap();
        pass(&world, 600).await;
        world.broker.reconcile().await.unwrap();
        pass(&world, 600).await;
        pass(&world, 2 * 86_400).await;
        let done = trace(&world).await;
        assert_eq!(old(&done), VersionState::Revoked);
        assert!(done.saga.is_none(), "{is_off}: {:?}", done.saga);
        rotate(&world, Ending::Leaked).await;
        assert_eq!(trace(&world).await.versions.len(), 3, "{is_off}");
    }
}

#[tokio::test]
async fn a_provider_that_does_not_switch_it_on_leaves_it_off_and_kept() {
    let world = world().await;
    let ana = world.ana().await;
    rotate(&world, Ending::Kept).await;
    for _ in 0..12 {
        pass(&world, 900).await;
    }
    let fault =
        Fault::on("PUT", "/accounts/*/tokens/*", FaultKind::Status { status: 403, retry_after: None });
    world.sandbox.inject(fault.times(10)).unwrap();
    world.broker.enable_old(&ana, "CF_TOKEN", "missed").await.unwrap_err();
    world.sandbox.clear_faults();
    for _ in 0..4 {
        pass(&world, 86_400).await;
    }
    let off = trace(&world).await;
    assert_eq!((status(&world, &off), old(&off)), (TokenStatus::Disabled, VersionState::Draining));
}

#[tokio::test]
async fn a_version_that_leaked_ends_as_soon_as_its_successor_is_there_though_it_is_used() {
    let world = world().await;
    rotate(&world, Ending::Leaked).await;
    for _ in 0..3 {
        pass(&world, 10).await;
    }
    let done = trace(&world).await;
    assert_eq!((old(&done), done.saga.is_none()), (VersionState::Revoked, true));
    let drained =
        done.entries.iter().find(|e| e.record().facts.get("phase") == Some(&"drained".into())).unwrap();
    assert_eq!(drained.record().facts["because"], "it leaked, and its successor is in force");
    let intent = done.entries.iter().find(|e| e.record().facts.get("ending") == Some(&"leaked".into()));
    assert!(intent.is_some(), "what it was is on record");
}

#[tokio::test]
async fn a_version_that_leaked_waits_for_consumers_for_ten_minutes_and_no_longer() {
    let world = world().await;
    let ana = world.ana().await;
    let fails = NewConsumer {
        name: "app".parse().unwrap(),
        uses: Uses { project: "web".parse().unwrap(), environment: None, names: "*".parse().unwrap() },
        way: Way::Command(vec!["/bin/false".to_owned()]),
        patience: PATIENCE,
    };
    world.broker.add_consumer(&ana, fails).await.unwrap();
    rotate(&world, Ending::Leaked).await;
    for _ in 0..9 {
        pass(&world, 60).await;
    }
    assert_eq!(old(&trace(&world).await), VersionState::Draining);
    for _ in 0..12 {
        pass(&world, 120).await;
    }
    assert_eq!(old(&trace(&world).await), VersionState::Revoked);
}

#[tokio::test]
async fn a_leak_is_no_word_for_a_session_and_changes_no_rotation_that_is_under_way() {
    let world = world().await;
    let ana = world.ana().await;
    world.broker.rotate(&ana.caller(), "CF_TOKEN", "it is time", WAIT).await.unwrap();
    let late = world.broker.rotate_as(&ana, &ana.caller(), "CF_TOKEN", "oh", (Ending::Leaked, WAIT)).await;
    let late = late.unwrap_err();
    assert_eq!(late.code, Code::Conflict);
    assert!(late.hint.unwrap().contains("--end-old"));
}

#[tokio::test]
async fn a_version_works_as_long_as_a_store_may_hand_it_out_however_idle_it_is() {
    let world = World::with_settings(&[("use_lag", "1s")]).await;
    let ana = world.ana().await;
    let running = keywright_sandbox::vendors::start("vault").await.unwrap();
    let new = keywright_broker::admin::NewStore {
        name: "vault".parse().unwrap(),
        kind: "vault".parse().unwrap(),
        address: Some(running.base_url.clone()),
        extra: <_>::default(),
        credential: Some(keywright_core::secret::Secret::new(running.parent.clone())),
    };
    world.broker.add_store(&ana, new).await.unwrap();
    let rotation = "[rotation]\nevery = \"20d\"\nquiet_for = \"10s\"\nmax_overlap = \"2d\"\n";
    let template = format!("{DNS_EDIT}{rotation}").replace("\"dotenv:*\"", "\"dotenv:*\", \"vault:*\"");
    world.broker.apply_template(&ana, &template).await.unwrap();
    let destinations = vec!["vault:secret/apps/web#CF_TOKEN".to_owned()];
    world
        .request(&keywright_broker::ask::Ask { destinations, ..ask("example.com", "CF_TOKEN") })
        .await
        .unwrap();
    world.broker.rotate(&ana.caller(), "CF_TOKEN", "it is time", WAIT).await.unwrap();
    for _ in 0..3 {
        pass(&world, 90).await;
    }
    let waits = trace(&world).await;
    assert_eq!(old(&waits), VersionState::Draining);
    let why = waits.saga.unwrap().trouble.unwrap();
    assert!(why.contains("a store may hand out the old version until"), "{why}");
    for _ in 0..60 {
        pass(&world, 60).await;
    }
    assert_eq!(old(&trace(&world).await), VersionState::Revoked);
}

/// A key has one rotation at a time, and dies where its next one waits for a version that somebody kept.
#[tokio::test]
async fn a_version_that_is_kept_goes_when_the_next_rotation_is_due() {
    let world = world().await;
    rotate(&world, Ending::Kept).await;
    // The first version lives for 30 days, and its successor is rotated after 18 to 20.
    for _ in 0..16 {
        pass(&world, 86_400).await;
    }
    let kept = trace(&world).await;
    assert_eq!((kept.versions.len(), old(&kept)), (2, VersionState::Draining));
    assert!(kept.saga.unwrap().trouble.unwrap().contains("when its next rotation is due"));
    for _ in 0..24 {
        pass(&world, 86_400).await;
    }
    let now = trace(&world).await;
    let states: Vec<_> = now.versions.iter().map(|version| version.state).collect();
    assert_eq!(states.last(), Some(&VersionState::Active), "{states:?}");
    assert!(states.len() > 2 && states[0] == VersionState::Revoked, "{states:?}");
    assert_eq!(now.key.state, keywright_core::key::KeyState::Active);
}

/// The first thing to do about a key that leaked is to switch it off; its successor is another credential, which works.
#[tokio::test]
async fn a_key_that_is_switched_off_gets_no_successor_unless_it_leaked() {
    let world = world().await;
    let ana = world.ana().await;
    world
        .broker
        .switch_key(&ana, "CF_TOKEN", keywright_broker::switch_off::Switch::Off, "seen")
        .await
        .unwrap();
    let (caller, wait) = (ana.caller(), (Ending::Kept, WAIT));
    let refused = world.broker.rotate_as(&ana, &caller, "CF_TOKEN", "because", wait).await.unwrap_err();
    assert_eq!(refused.code, Code::Conflict);
    assert!(refused.hint.unwrap().contains("--leaked"));
    rotate(&world, Ending::Leaked).await;
    pass(&world, 10).await;
    let done = trace(&world).await;
    assert_eq!((old(&done), done.versions[1].state), (VersionState::Revoked, VersionState::Active));
    assert!(done.disabled_at.is_none(), "the key is on");
    let status: Vec<_> =
        world.sandbox.live_tokens_named_like("kw-").iter().map(|token| token.status).collect();
    assert_eq!(status, [TokenStatus::Active]);
}

/// An approval does not begin what nobody could ask for now.
#[tokio::test]
async fn a_rotation_that_waited_begins_nothing_of_a_key_that_was_switched_off_or_revoked_meanwhile() {
    let world = world().await;
    let ana = world.ana().await;
    let waits = r#"
        permit (principal, action, resource);
        forbid (principal, action == Keywright::Action::"rotate", resource) unless { context.approvals >= 1 };
    "#;
    world.broker.apply_policy(&ana, waits).await.unwrap();
    let asked = world.broker.rotate(&ana.caller(), "CF_TOKEN", "it is time", WAIT).await.unwrap();
    assert_eq!(asked.status, Status::PendingApproval, "{asked:?}");
    world
        .broker
        .switch_key(&ana, "CF_TOKEN", keywright_broker::switch_off::Switch::Off, "seen")
        .await
        .unwrap();
    let request = asked.request.to_string();
    let shown = match world.broker.review(&request, &Less::default()).await.unwrap() {
        Pending::Key(review) => review.digest,
        Pending::Template(_) => panic!("a key"),
    };
    let refused = world.broker.approve(&ana, &request, &shown, &Less::default(), WAIT).await.unwrap_err();
    assert!(refused.message.contains("is switched off"), "{}", refused.message);
    assert_eq!(trace(&world).await.versions.len(), 1);
    world.broker.revoke(&ana.caller(), "CF_TOKEN", "done").await.unwrap();
    let ended = world.broker.check(&ana.caller().principal, &request, Duration::ZERO).await.unwrap();
    assert_eq!(ended.status, Status::Expired);
    assert!(ended.reasons[0].contains("was revoked"), "{ended:?}");
    assert!(world.broker.inbox().await.unwrap().is_empty());
}
