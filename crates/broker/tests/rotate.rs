//! Rotation, end to end: the sandbox over HTTP, the ledger in a file, a consumer that reads the store and calls the provider.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

use std::time::Duration;

use jiff::SignedDuration;
use keywright_broker::Code;
use keywright_broker::ask::Ask;
use keywright_broker::deliver::{Reader, Wanted};
use keywright_broker::record::Caller;
use keywright_broker::trace::Trace;
use keywright_core::key::{KeyState, PlacementState, VersionState};
use keywright_core::plan::Principal;
use keywright_core::receipt::{Receipt, Status};
use keywright_core::saga::Phase;
use keywright_sandbox::{Fault, FaultKind, TokenStatus};
use keywright_testkit::{DNS_EDIT, World, ask};

const WAIT: Duration = Duration::from_secs(20);

/// A world whose template says how keys are rotated.
async fn world(on_unknowable: &str) -> World {
    let world = World::new().await;
    let rotation = format!(
        "[rotation]\nevery = \"20d\"\nquiet_for = \"1h\"\nmax_overlap = \"2d\"\non_unknowable = \"{on_unknowable}\"\n"
    );
    let ana = world.ana().await;
    world.broker.apply_template(&ana, &format!("{DNS_EDIT}{rotation}")).await.unwrap();
    world
}

/// Time passes, for the provider as for the broker.
async fn pass(world: &World, seconds: i64) {
    let by = SignedDuration::from_secs(seconds);
    world.clock.advance(by);
    world.sandbox.advance_clock(by.unsigned_abs());
    world.broker.tick().await.unwrap();
}

async fn rotate(world: &World) -> Receipt {
    let ana = Caller::plain(Principal::Operator("ana".parse().unwrap()));
    world.broker.rotate(&ana, "CF_TOKEN", "it is time", WAIT).await.unwrap()
}

async fn trace(world: &World) -> Trace {
    world.broker.trace("CF_TOKEN").await.unwrap()
}

fn states(trace: &Trace) -> Vec<VersionState> {
    trace.versions.iter().map(|version| version.state).collect()
}

/// What a program reads from the embedded store.
async fn read(world: &World) -> String {
    let ana = world.ana().await;
    let wanted = Wanted { project: Some("web".parse().unwrap()), ..Wanted::default() };
    let delivered = world.broker.deliver(&Reader::Operator(&ana), wanted).await.unwrap();
    assert_eq!(delivered.len(), 1);
    delivered[0].secret.expose_secret().to_owned()
}

/// A call that the key is for; whether the provider let it through.
async fn call(world: &World, secret: &str) -> bool {
    let zone = world.sandbox.zones()[0].id.clone();
    let url = format!("{}/zones/{zone}/dns_records", world.sandbox.base_url());
    let body = serde_json::json!({ "type": "TXT", "name": "example.com", "content": "\"here\"", "ttl": 60 });
    let name = format!("n{}.example.com", world.sandbox.calls().len());
    let mut body = body;
    body["name"] = serde_json::json!(name);
    let sent = reqwest::Client::new().post(url).bearer_auth(secret).json(&body).send().await.unwrap();
    sent.status().is_success()
}

fn live(world: &World) -> usize {
    world.sandbox.live_tokens_named_like("kw-").len()
}

#[tokio::test]
async fn a_successor_takes_over_and_the_old_version_ends_only_when_it_is_idle() {
    let world = world("ask").await;
    world.request(&ask("example.com", "CF_TOKEN")).await.unwrap();
    let old = read(&world).await;
    let receipt = rotate(&world).await;
    assert_eq!(receipt.status, Status::Active, "{receipt:?}");
    let new = read(&world).await;
    assert_ne!(old, new);
    assert_eq!(states(&trace(&world).await), [VersionState::Draining, VersionState::Active]);
    assert!(call(&world, &old).await && call(&world, &new).await, "both work while the old one drains");
    // Somebody goes on using the old one: it stays.
    for _ in 0..4 {
        pass(&world, 1_800).await;
        assert!(call(&world, &old).await);
    }
    assert_eq!(live(&world), 2);
    assert_eq!(trace(&world).await.saga.unwrap().phase, Phase::Switched);
    // Nobody does any more: it is switched off, rests, and is revoked.
    for _ in 0..12 {
        pass(&world, 900).await;
    }
    let done = trace(&world).await;
    assert_eq!(states(&done), [VersionState::Revoked, VersionState::Active], "{:?}", done.saga);
    assert!(done.saga.is_none());
    assert_eq!(done.key.state, KeyState::Active);
    assert_eq!(live(&world), 1);
    assert!(!call(&world, &old).await);
    assert!(call(&world, &new).await);
    assert_eq!(read(&world).await, new);
    let because: Vec<String> = done
        .entries
        .iter()
        .filter(|e| e.record().facts.get("phase").and_then(|p| p.as_str()) == Some("drained"))
        .map(|e| e.record().facts["because"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(because.len(), 1);
    assert!(because[0].starts_with("idle: no use is known since"), "{because:?}");
}

#[tokio::test]
async fn a_key_is_rotated_when_it_is_due_and_not_before_and_due_again_afterwards() {
    let world = world("ask").await;
    world.request(&ask("example.com", "CF_TOKEN")).await.unwrap();
    let due = trace(&world).await.rotates_at.unwrap();
    let left = due.as_second() - world.broker.now().as_second();
    assert!((17 * 86_400..=20 * 86_400).contains(&left), "within the last tenth of 20 days: {left}");
    pass(&world, left - 60).await;
    assert_eq!(trace(&world).await.versions.len(), 1);
    pass(&world, 120).await;
    pass(&world, 1).await;
    assert_eq!(states(&trace(&world).await), [VersionState::Draining, VersionState::Active]);
    for _ in 0..8 {
        pass(&world, 1_800).await;
    }
    let done = trace(&world).await;
    assert_eq!(states(&done), [VersionState::Revoked, VersionState::Active]);
    let again = done.rotates_at.unwrap().as_second() - world.broker.now().as_second();
    assert!((16 * 86_400..=20 * 86_400).contains(&again), "{again}");
}

#[tokio::test]
async fn a_file_gets_the_successor_in_the_same_place_and_keeps_it_when_the_old_one_ends() {
    let world = world("ask").await;
    let folder = tempfile::tempdir().unwrap();
    let wish = Ask {
        destinations: vec!["dotenv:./.env#CF_TOKEN".to_owned(), "embedded:web/dev/CF_TOKEN".to_owned()],
        cwd: Some(folder.path().display().to_string()),
        ..ask("example.com", "CF_TOKEN")
    };
    world.request(&wish).await.unwrap();
    let file = || std::fs::read_to_string(folder.path().join(".env")).unwrap();
    let old = read(&world).await;
    assert!(file().contains(&old));
    let receipt = rotate(&world).await;
    assert_eq!(receipt.placements.len(), 2, "{receipt:?}");
    let new = read(&world).await;
    assert!(file().contains(&new) && !file().contains(&old));
    for _ in 0..12 {
        pass(&world, 900).await;
    }
    let done = trace(&world).await;
    assert_eq!(states(&done), [VersionState::Revoked, VersionState::Active]);
    assert!(file().contains(&new), "the old version's end takes nothing of the new one away");
    assert_eq!(read(&world).await, new);
    let of_old: Vec<_> =
        done.placements.iter().filter(|p| p.version == done.versions[0].id).map(|p| p.state).collect();
    assert!(
        of_old.contains(&PlacementState::Replaced) && of_old.contains(&PlacementState::Removed),
        "{of_old:?}"
    );
}

#[tokio::test]
async fn a_successor_that_can_not_be_made_leaves_the_key_as_it_was_and_is_tried_again() {
    let world = world("ask").await;
    world.request(&ask("example.com", "CF_TOKEN")).await.unwrap();
    let old = read(&world).await;
    let fault = Fault::on("POST", "/accounts/*/tokens", FaultKind::Status { status: 403, retry_after: None });
    world.sandbox.inject(fault.times(100)).unwrap();
    let receipt = rotate(&world).await;
    assert_eq!(receipt.status, Status::Failed, "{receipt:?}");
    let now = trace(&world).await;
    assert_eq!((now.key.state, states(&now)), (KeyState::Active, vec![VersionState::Active]));
    assert!(call(&world, &old).await);
    world.sandbox.clear_faults();
    pass(&world, 7 * 3_600).await;
    pass(&world, 1).await;
    assert_eq!(states(&trace(&world).await), [VersionState::Draining, VersionState::Active]);
}

#[tokio::test]
async fn two_who_rotate_one_key_get_one_successor() {
    let world = world("ask").await;
    world.request(&ask("example.com", "CF_TOKEN")).await.unwrap();
    let (one, two) = tokio::join!(rotate(&world), rotate(&world));
    assert_eq!(one.request, two.request);
    assert_eq!(live(&world), 2);
    let again = rotate(&world).await;
    assert_eq!(again.request, one.request, "while the old one drains, that rotation answers");
}

#[tokio::test]
async fn revoking_a_key_that_is_being_rotated_ends_both_versions() {
    let world = world("ask").await;
    world.request(&ask("example.com", "CF_TOKEN")).await.unwrap();
    let receipt = rotate(&world).await;
    let ana = Caller::plain(Principal::Operator("ana".parse().unwrap()));
    world.broker.revoke(&ana, "CF_TOKEN", "enough").await.unwrap();
    pass(&world, 60).await;
    pass(&world, 60).await;
    assert_eq!(live(&world), 0);
    let done = trace(&world).await;
    assert_eq!(done.key.state, KeyState::Revoked);
    assert!(done.saga.is_none(), "{:?}", done.saga);
    let bot = World::agent("bot").principal;
    let now = world.broker.check(&ana.principal, &receipt.request.to_string(), WAIT).await.unwrap();
    assert_eq!(now.status, Status::Revoked);
    assert!(world.broker.keys(&bot, Default::default()).await.unwrap().iter().all(|k| !k.debt));
}

#[tokio::test]
async fn revoking_a_key_whose_successor_is_still_being_made_ends_that_too() {
    let world = World::new().await;
    world.request(&ask("example.com", "CF_TOKEN")).await.unwrap();
    let fault =
        Fault::on("GET", "/accounts/*/tokens/*", FaultKind::Status { status: 503, retry_after: None });
    world.sandbox.inject(fault.times(1_000)).unwrap();
    let ana = Caller::plain(Principal::Operator("ana".parse().unwrap()));
    let begun = world.broker.rotate(&ana, "CF_TOKEN", "now", Duration::from_secs(1)).await.unwrap();
    assert_eq!(begun.status, Status::InProgress, "{begun:?}");
    assert_eq!(live(&world), 2);
    world.broker.revoke(&ana, "CF_TOKEN", "enough").await.unwrap();
    world.sandbox.clear_faults();
    for _ in 0..5 {
        pass(&world, 60).await;
    }
    let done = trace(&world).await;
    assert_eq!((live(&world), done.key.state), (0, KeyState::Revoked), "{:?}", done.saga);
    assert!(done.saga.is_none());
    let ended = world.broker.check(&ana.principal, &begun.request.to_string(), WAIT).await.unwrap();
    assert_eq!(ended.status, Status::Failed);
}

#[tokio::test]
async fn an_operator_ends_the_old_version_and_what_was_known_of_it_is_on_record() {
    let world = world("ask").await;
    world.request(&ask("example.com", "CF_TOKEN")).await.unwrap();
    let ana = world.ana().await;
    let early = world.broker.end_old(&ana, "CF_TOKEN", "nothing to end").await.unwrap_err();
    assert_eq!(early.code, Code::Conflict);
    let old = read(&world).await;
    rotate(&world).await;
    world.broker.end_old(&ana, "CF_TOKEN", "its only program was moved").await.unwrap();
    for _ in 0..3 {
        pass(&world, 1_000).await;
    }
    let done = trace(&world).await;
    assert_eq!(states(&done), [VersionState::Revoked, VersionState::Active], "{:?}", done.saga);
    assert!(!call(&world, &old).await);
    let said = done.entries.iter().any(|entry| {
        let facts = &entry.record().facts;
        facts.get("because").and_then(|b| b.as_str()) == Some("its only program was moved")
            && facts.contains_key("evidence")
    });
    assert!(said);
}

#[tokio::test]
async fn a_version_that_somebody_ended_at_the_provider_does_not_stop_the_rotation() {
    let world = world("ask").await;
    world.request(&ask("example.com", "CF_TOKEN")).await.unwrap();
    rotate(&world).await;
    assert!(world.sandbox.delete_token(&trace(&world).await.versions[0].provider_key_id));
    for _ in 0..4 {
        pass(&world, 600).await;
    }
    let done = trace(&world).await;
    assert_eq!(states(&done), [VersionState::Revoked, VersionState::Active], "{:?}", done.saga);
    assert_eq!(done.key.state, KeyState::Active);
    assert!(done.saga.is_none());
}

#[tokio::test]
async fn a_reply_lost_in_a_rotation_leaves_no_orphan() {
    let world = world("ask").await;
    world.request(&ask("example.com", "CF_TOKEN")).await.unwrap();
    world.sandbox.inject(Fault::on("POST", "/accounts/*/tokens", FaultKind::ReplyLostAfterCommit)).unwrap();
    let receipt = rotate(&world).await;
    assert_eq!(receipt.status, Status::Active, "{receipt:?}");
    world.settle().await;
    assert_eq!(live(&world), 2);
    let unknown = world.sandbox.tokens().into_iter().filter(|t| t.status == TokenStatus::Active).count();
    assert!(unknown >= 2);
}

#[tokio::test]
async fn a_wider_template_does_not_widen_a_key_that_is_rotated() {
    let world = world("ask").await;
    world.request(&ask("example.com", "CF_TOKEN")).await.unwrap();
    let ana = world.ana().await;
    let wider = DNS_EDIT
        .replace("permissions = [\"DNS Write\"]", "permissions = [\"DNS Write\", \"Cache Purge\"]")
        .replace("operations = [\"POST /zones/{zone_id}/dns_records\"]\n", "");
    world.broker.apply_template(&ana, &wider).await.unwrap();
    let receipt = rotate(&world).await;
    assert_eq!(receipt.status, Status::Active, "{receipt:?}");
    let names: Vec<_> = receipt.permissions.iter().map(|p| p.name.as_str()).collect();
    assert_eq!(names, ["DNS Write"]);
    let again = trace(&world).await.plan;
    assert_eq!(again.permissions.len(), 1);
}

#[tokio::test]
async fn a_rotation_that_needs_people_asks_once_and_begins_when_they_have_approved() {
    let world = world("ask").await;
    world.request(&ask("example.com", "CF_TOKEN")).await.unwrap();
    let ana = world.ana().await;
    let strict = r#"
        @id("rotations-need-somebody")
        @reason("a rotation is looked at by a human")
        forbid (principal, action == Keywright::Action::"rotate", resource) when { context.approvals < 1 };
    "#;
    let default = keywright_core::policy::DEFAULT_POLICIES;
    world.broker.apply_policy(&ana, &format!("{default}\n{strict}")).await.unwrap();
    let due = trace(&world).await.rotates_at.unwrap();
    pass(&world, due.as_second() - world.broker.now().as_second() + 60).await;
    for _ in 0..4 {
        pass(&world, 60).await;
    }
    let pending = world.broker.inbox().await.unwrap();
    assert_eq!(pending.len(), 1, "{pending:?}");
    assert_eq!(trace(&world).await.versions.len(), 1);
    let keywright_broker::review::Pending::Key(review) = &pending[0] else { panic!("{pending:?}") };
    assert_eq!(review.plan.rotates, Some(trace(&world).await.key.id));
    let id = review.request.to_string();
    world.broker.approve(&ana, &id, &review.digest, &<_>::default(), WAIT).await.unwrap();
    assert_eq!(states(&trace(&world).await), [VersionState::Draining, VersionState::Active]);
}

#[tokio::test]
async fn a_rotation_that_policy_denies_is_not_tried_every_second() {
    let world = world("ask").await;
    world.request(&ask("example.com", "CF_TOKEN")).await.unwrap();
    let ana = world.ana().await;
    let never = r#"
        @id("no-rotations")
        @reason("nothing is rotated here")
        forbid (principal, action == Keywright::Action::"rotate", resource);
    "#;
    let default = keywright_core::policy::DEFAULT_POLICIES;
    world.broker.apply_policy(&ana, &format!("{default}\n{never}")).await.unwrap();
    let due = trace(&world).await.rotates_at.unwrap();
    pass(&world, due.as_second() - world.broker.now().as_second() + 60).await;
    for _ in 0..5 {
        pass(&world, 1).await;
    }
    let now = trace(&world).await;
    assert_eq!((now.key.state, now.versions.len()), (KeyState::Active, 1));
    assert!(now.rotates_at.unwrap() > world.broker.now());
    let denied = now
        .entries
        .iter()
        .filter(|e| {
            e.record()
                .decision
                .as_ref()
                .is_some_and(|d| d.reasons.iter().any(|r| r.contains("nothing is rotated")))
        })
        .count();
    assert!(denied <= 1, "{denied}");
}

#[tokio::test]
async fn what_is_used_for_too_long_is_said_and_goes_on_working() {
    let world = world("revoke-after-overlap").await;
    world.request(&ask("example.com", "CF_TOKEN")).await.unwrap();
    let old = read(&world).await;
    rotate(&world).await;
    for _ in 0..60 {
        assert!(call(&world, &old).await, "a rotation breaks nobody");
        pass(&world, 3_600).await;
    }
    assert_eq!(world.broker.health().await.unwrap().drains_late, 1);
    let now = trace(&world).await;
    assert_eq!(states(&now), [VersionState::Draining, VersionState::Active]);
    let said = now.entries.iter().filter(|e| e.record().facts.get("phase") == Some(&"late".into())).count();
    assert_eq!(said, 1, "once");
}

#[tokio::test]
async fn a_place_that_somebody_else_took_is_seen_before_a_successor_is_made() {
    let world = world("ask").await;
    let folder = tempfile::tempdir().unwrap();
    let wish = Ask {
        destinations: vec!["dotenv:./.env#CF_TOKEN".to_owned(), "embedded:web/dev/CF_TOKEN".to_owned()],
        cwd: Some(folder.path().display().to_string()),
        ..ask("example.com", "CF_TOKEN")
    };
    world.request(&wish).await.unwrap();
    std::fs::write(folder.path().join(".env"), "CF_TOKEN='by hand'\n").unwrap();
    let ana = Caller::plain(Principal::Operator("ana".parse().unwrap()));
    let error = world.broker.rotate(&ana, "CF_TOKEN", "now", WAIT).await.unwrap_err();
    assert_eq!(error.code, Code::Conflict, "{error}");
    assert_eq!((live(&world), trace(&world).await.versions.len()), (1, 1));
    assert_eq!(std::fs::read_to_string(folder.path().join(".env")).unwrap(), "CF_TOKEN='by hand'\n");
    // A place that holds nothing any more gets the successor.
    std::fs::write(folder.path().join(".env"), "").unwrap();
    assert_eq!(world.broker.rotate(&ana, "CF_TOKEN", "now", WAIT).await.unwrap().status, Status::Active);
    assert!(std::fs::read_to_string(folder.path().join(".env")).unwrap().contains(&read(&world).await));
}

#[tokio::test]
async fn an_agent_rotates_its_own_key_and_nobody_elses() {
    let world = world("ask").await;
    world.request(&ask("example.com", "CF_TOKEN")).await.unwrap();
    let other = world.broker.rotate(&World::agent("eve"), "CF_TOKEN", "please", WAIT).await.unwrap_err();
    assert_eq!(other.code, Code::NotFound);
    let receipt = world.broker.rotate(&World::agent("bot"), "CF_TOKEN", "please", WAIT).await.unwrap();
    assert_eq!(receipt.status, Status::Active);
    assert_eq!(receipt.key, Some(trace(&world).await.key.id));
}

#[tokio::test]
async fn a_key_is_rotated_where_it_was_made_when_a_second_connection_comes() {
    let world = world("ask").await;
    world.request(&ask("example.com", "CF_TOKEN")).await.unwrap();
    let second = keywright_broker::admin::NewConnection {
        name: "second".parse().unwrap(),
        kind: "cloudflare".parse().unwrap(),
        base_url: Some(world.sandbox.base_url()),
        account: Some(world.sandbox.account_id().to_owned()),
        extra: std::collections::BTreeMap::new(),
        credential: keywright_core::secret::Secret::new(world.sandbox.parent_token().to_owned()),
    };
    world.broker.add_connection(&world.ana().await, second).await.unwrap();
    let receipt = rotate(&world).await;
    assert_eq!(receipt.status, Status::Active, "{receipt:?}");
    assert_eq!(states(&trace(&world).await), [VersionState::Draining, VersionState::Active]);
    // A new key has to say which.
    let asked = world.request(&ask("example.com", "OTHER")).await.unwrap_err();
    assert!(asked.message.contains("several connections"), "{asked}");
}

#[tokio::test]
async fn a_rotation_that_can_not_begin_says_why_and_is_tried_until_the_version_expires() {
    let world = world("ask").await;
    world.request(&ask("example.com", "CF_TOKEN")).await.unwrap();
    let fault = Fault::on("GET", "/zones", FaultKind::Status { status: 403, retry_after: None });
    world.sandbox.inject(fault.times(10_000)).unwrap();
    let fault = Fault::on("POST", "/accounts/*/tokens", FaultKind::Status { status: 403, retry_after: None });
    world.sandbox.inject(fault.times(10_000)).unwrap();
    let expires = trace(&world).await.versions[0].expires_at.unwrap();
    let left = || expires.as_second() - world.broker.now().as_second();
    pass(&world, left() - 3_600).await;
    pass(&world, 1).await;
    let mut tried = Vec::new();
    while left() > 60 {
        let trace = trace(&world).await;
        tried.push(trace.rotate_tries);
        let again = trace.rotates_at.unwrap_or(expires).as_second() - world.broker.now().as_second();
        assert!(again < left(), "the next try comes before the version expires: in {again} of {} s", left());
        pass(&world, again.max(1) + 1).await;
    }
    assert!(tried.last() > Some(&5), "{tried:?}");
    let trace = trace(&world).await;
    assert!(trace.rotate_trouble.is_some_and(|why| !why.is_empty()));
    assert_eq!(world.broker.health().await.unwrap().rotations_failing, 1);
}

#[tokio::test]
async fn what_ends_while_a_list_is_on_its_way_is_no_orphan() {
    let world = world("ask").await;
    let key = world.request(&ask("example.com", "CF_TOKEN")).await.unwrap().key.unwrap().to_string();
    let slow = FaultKind::Slow { delay_ms: 1_500, trickle_ms: 0 };
    world.sandbox.inject(Fault::on("GET", "/accounts/*/tokens", slow).times(1)).unwrap();
    let broker = std::sync::Arc::clone(&world.broker);
    let looking = tokio::spawn(async move { broker.reconcile().await.unwrap() });
    tokio::time::sleep(Duration::from_millis(500)).await;
    let ana = Caller::plain(Principal::Operator("ana".parse().unwrap()));
    world.broker.revoke(&ana, &key, "over").await.unwrap();
    let found = looking.await.unwrap();
    assert_eq!(found.orphans, Vec::<String>::new(), "the list is older than the ledger: {found:?}");
}
