//! Somebody ends a version at the provider, and not by the broker, while a rotation is under way: what works goes on working, and what
//! is gone is replaced.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

use std::sync::Arc;
use std::time::Duration;

use jiff::SignedDuration;
use keywright_broker::ask::Ask;
use keywright_broker::deliver::{Reader, Wanted};
use keywright_broker::holds::{Holder, new_word};
use keywright_broker::record::Caller;
use keywright_broker::switch_off::Switch;
use keywright_broker::trace::Trace;
use keywright_core::key::{KeyState, VersionState};
use keywright_core::plan::Principal;
use keywright_core::receipt::Status;
use keywright_core::saga::Phase;
use keywright_sandbox::{Fault, FaultKind};
use keywright_testkit::{DNS_EDIT, World, ask};

const WAIT: Duration = Duration::from_secs(20);
const RULES: &str =
    "[rotation]\nevery = \"20d\"\nquiet_for = \"1h\"\nmax_overlap = \"2d\"\non_unknowable = \"ask\"\n";
const TOKENS: &str = "/accounts/*/tokens";
const TOKEN: &str = "/accounts/*/tokens/*";

async fn world(rules: &str) -> World {
    let world = World::new().await;
    let ana = world.ana().await;
    world.broker.apply_template(&ana, &format!("{DNS_EDIT}{rules}")).await.unwrap();
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

fn operator() -> Caller {
    Caller::plain(Principal::Operator("ana".parse().unwrap()))
}

async fn rotate(world: &World) {
    let receipt = world.broker.rotate(&operator(), "CF_TOKEN", "it is time", WAIT).await.unwrap();
    assert_eq!(receipt.status, Status::Active, "{receipt:?}");
}

async fn trace(world: &World) -> Trace {
    world.broker.trace("CF_TOKEN").await.unwrap()
}

fn states(trace: &Trace) -> Vec<VersionState> {
    trace.versions.iter().map(|version| version.state).collect()
}

async fn read(world: &World) -> String {
    let ana = world.ana().await;
    let wanted = Wanted { project: Some("web".parse().unwrap()), ..Wanted::default() };
    let delivered = world.broker.deliver(&Reader::Operator(&ana), wanted).await.unwrap();
    assert_eq!(delivered.len(), 1);
    delivered[0].secret.expose_secret().to_owned()
}

async fn call(world: &World, secret: &str) -> bool {
    let zone = world.sandbox.zones()[0].id.clone();
    let url = format!("{}/zones/{zone}/dns_records", world.sandbox.base_url());
    let name = format!("n{}.example.com", world.sandbox.calls().last().map_or(0, |call| call.number));
    let body = serde_json::json!({ "type": "TXT", "name": name, "content": "\"here\"", "ttl": 60 });
    let sent = reqwest::Client::new().post(url).bearer_auth(secret).json(&body).send().await.unwrap();
    sent.status().is_success()
}

fn live(world: &World) -> usize {
    world.sandbox.live_tokens_named_like("kw-").len()
}

async fn end_at_provider(world: &World, version: usize) {
    assert!(world.sandbox.delete_token(&trace(world).await.versions[version].provider_key_id));
}

/// What is gone is looked for twice, some time apart. Says how many keys had something missing.
async fn notice(world: &World) -> usize {
    let found = world.broker.reconcile().await.unwrap();
    pass(world, 121).await;
    found.missing.len()
}

fn refuse(world: &World, method: &str, path: &str, status: u16) {
    let kind = FaultKind::Status { status, retry_after: None };
    world.sandbox.inject(Fault::on(method, path, kind).times(100_000)).unwrap();
}

fn slow(world: &World, method: &str, path: &str) {
    let kind = FaultKind::Slow { delay_ms: 1_500, trickle_ms: 0 };
    world.sandbox.inject(Fault::on(method, path, kind).times(1)).unwrap();
}

/// What the log says became of versions.
fn said(trace: &Trace, what: &str) -> usize {
    let says = |because: &serde_json::Value| because.as_str().is_some_and(|text| text.contains(what));
    trace.entries.iter().filter(|entry| entry.record().facts.get("because").is_some_and(says)).count()
}

/// Time passes until the key's rotation has come to `phase`.
async fn until(world: &World, phase: Phase) {
    for _ in 0..40 {
        if trace(world).await.saga.is_some_and(|saga| saga.phase == phase) {
            return;
        }
        pass(world, 300).await;
    }
    panic!("it never was {phase}: {:?}", trace(world).await.saga);
}

#[tokio::test]
async fn a_successor_that_somebody_ended_at_the_provider_leaves_the_old_version_in_force_and_is_replaced() {
    for phase in [Phase::Switched, Phase::Disabled] {
        let world = world(RULES).await;
        let old = read(&world).await;
        rotate(&world).await;
        until(&world, phase).await;
        end_at_provider(&world, 1).await;
        assert_eq!(notice(&world).await, 1);
        // Whoever reads the key from here on reads what works, or will in a moment.
        assert_eq!(read(&world).await, old);
        // A mint needs no time to pass, and neither may the successor's.
        world.settle().await;
        let after = trace(&world).await;
        assert_eq!(after.key.state, KeyState::Active, "{phase}");
        assert_eq!(
            states(&after),
            [VersionState::Draining, VersionState::Revoked, VersionState::Active],
            "{phase}: {:?}",
            after.saga
        );
        assert!(call(&world, &old).await, "{phase}: the old version was not ended, and is on");
        let new = read(&world).await;
        assert!(new != old && call(&world, &new).await);
        assert!(after.entries.iter().any(|entry| {
            let because = entry.record().facts.get("because").and_then(|because| because.as_str());
            because.is_some_and(|because| because.contains("this version is in force again"))
        }));
        for _ in 0..16 {
            pass(&world, 900).await;
        }
        let done = trace(&world).await;
        assert_eq!(states(&done), [VersionState::Revoked, VersionState::Revoked, VersionState::Active]);
        assert!(done.saga.is_none() && live(&world) == 1 && call(&world, &new).await);
    }
}

#[tokio::test]
async fn a_key_ends_when_somebody_ended_both_of_its_versions_at_the_provider() {
    for order in [[0, 1], [1, 0]] {
        let world = world(RULES).await;
        rotate(&world).await;
        for version in order {
            end_at_provider(&world, version).await;
        }
        notice(&world).await;
        world.settle().await;
        let over = trace(&world).await;
        assert_eq!(states(&over), [VersionState::Revoked, VersionState::Revoked]);
        assert_eq!(over.key.state, KeyState::Revoked, "{:?}", over.saga);
        assert_eq!(live(&world), 0);
    }
}

#[tokio::test]
async fn a_version_that_somebody_ends_at_the_provider_while_its_successor_is_made_is_replaced() {
    let world = world(RULES).await;
    let slow = FaultKind::Slow { delay_ms: 1_500, trickle_ms: 0 };
    world.sandbox.inject(Fault::on("POST", "/accounts/*/tokens", slow).times(1)).unwrap();
    let broker = std::sync::Arc::clone(&world.broker);
    let ana = Caller::plain(Principal::Operator("ana".parse().unwrap()));
    let rotating =
        tokio::spawn(async move { broker.rotate(&ana, "CF_TOKEN", "it leaked", WAIT).await.unwrap() });
    tokio::time::sleep(Duration::from_millis(500)).await;
    end_at_provider(&world, 0).await;
    world.broker.reconcile().await.unwrap();
    notice(&world).await;
    assert_eq!(rotating.await.unwrap().status, Status::Active);
    assert_eq!(said(&trace(&world).await, "its successor is being made"), 1, "it is on record, once");
    for _ in 0..4 {
        pass(&world, 600).await;
    }
    let done = trace(&world).await;
    assert_eq!(states(&done), [VersionState::Revoked, VersionState::Active], "{:?}", done.saga);
    assert_eq!(done.key.state, KeyState::Active);
}

#[tokio::test]
async fn what_is_gone_is_noticed_before_the_old_version_is_ended() {
    let world = world(&RULES.replace("1h", "10m")).await;
    rotate(&world).await;
    // Each hour it is looked for all that there should be: this is right after that, and right before the old version is idle.
    for _ in 0..31 {
        pass(&world, 120).await;
    }
    end_at_provider(&world, 1).await;
    for _ in 0..8 {
        pass(&world, 120).await;
    }
    let done = trace(&world).await;
    assert_eq!(states(&done)[1..], [VersionState::Revoked, VersionState::Active], "{:?}", done.saga);
    assert_eq!(done.key.state, KeyState::Active);
    assert_eq!(said(&done, "this version is in force again"), 1);
}

#[tokio::test]
async fn a_key_that_an_operator_switched_off_stays_off() {
    let world = world(RULES).await;
    let (ana, old) = (world.ana().await, read(&world).await);
    rotate(&world).await;
    until(&world, Phase::Disabled).await;
    world.broker.switch_key(&ana, "CF_TOKEN", Switch::Off, "it looks odd").await.unwrap();
    end_at_provider(&world, 1).await;
    notice(&world).await;
    world.settle().await;
    assert!(!call(&world, &old).await, "nothing is switched on");
    assert!(trace(&world).await.disabled_at.is_some());
    assert_eq!(trace(&world).await.versions.len(), 2, "and nothing is made");
    world.broker.switch_key(&ana, "CF_TOKEN", Switch::On, "it was nothing").await.unwrap();
    assert!(call(&world, &old).await);
    world.settle().await;
    assert!(call(&world, &read(&world).await).await && trace(&world).await.versions.len() == 3);
}

#[tokio::test]
async fn a_key_is_switched_off_whose_successor_is_gone_already() {
    let world = world(RULES).await;
    let (ana, old) = (world.ana().await, read(&world).await);
    rotate(&world).await;
    end_at_provider(&world, 1).await;
    let doubt = world.broker.switch_key(&ana, "CF_TOKEN", Switch::Off, "it looks odd").await.unwrap_err();
    assert!(doubt.message.contains("does not find version 2"), "{doubt:?}");
    assert!(!call(&world, &old).await, "what is there is off at once");
    world.clock.advance(SignedDuration::from_secs(121));
    world.broker.switch_key(&ana, "CF_TOKEN", Switch::Off, "it looks odd").await.unwrap();
    world.settle().await;
    let off = trace(&world).await;
    assert!(off.disabled_at.is_some() && off.versions.len() == 2, "{:?}", states(&off));
    assert!(!call(&world, &old).await);
}

#[tokio::test]
async fn a_key_that_only_people_rotate_is_replaced_until_that_succeeds() {
    let world = world("").await;
    rotate(&world).await;
    end_at_provider(&world, 1).await;
    refuse(&world, "POST", TOKENS, 403);
    notice(&world).await;
    pass(&world, 60).await;
    pass(&world, 60).await;
    let failing = trace(&world).await;
    assert!(failing.rotate_tries > 0 && failing.rotates_at.is_some(), "{failing:?}");
    world.sandbox.clear_faults();
    for _ in 0..6 {
        pass(&world, 1_800).await;
    }
    let done = trace(&world).await;
    assert_eq!(states(&done).last(), Some(&VersionState::Active));
    assert!(done.versions.len() == 3 && call(&world, &read(&world).await).await);
    assert_eq!((done.rotates_at, done.rotate_tries), (None, 0), "from here on people rotate it");
}

#[tokio::test]
async fn what_happens_while_a_step_is_under_way_is_looked_at_when_it_ends() {
    let world = world(RULES).await;
    rotate(&world).await;
    slow(&world, "GET", TOKEN);
    let broker = Arc::clone(&world.broker);
    world.clock.advance(SignedDuration::from_secs(1_200));
    let ticking = tokio::spawn(async move { broker.tick().await.unwrap() });
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert_eq!(world.sandbox.faults().len(), 1, "it waits for the provider");
    end_at_provider(&world, 1).await;
    notice(&world).await;
    ticking.await.unwrap();
    // No time has to pass.
    for _ in 0..3 {
        world.broker.tick().await.unwrap();
    }
    let done = trace(&world).await;
    assert_eq!(states(&done).last(), Some(&VersionState::Active), "{:?} {:?}", states(&done), done.saga);
    assert_eq!(done.versions.len(), 3);
}

#[tokio::test]
async fn an_operators_word_that_the_old_version_ends_is_kept() {
    let world = world(RULES).await;
    let (ana, old) = (world.ana().await, read(&world).await);
    rotate(&world).await;
    end_at_provider(&world, 1).await;
    notice(&world).await;
    world.broker.end_old(&ana, "CF_TOKEN", "it leaked").await.unwrap();
    world.settle().await;
    let done = trace(&world).await;
    assert_eq!(states(&done), [VersionState::Revoked, VersionState::Revoked, VersionState::Active]);
    assert!(!call(&world, &old).await && call(&world, &read(&world).await).await);
}

#[tokio::test]
async fn a_key_that_ends_meanwhile_is_not_put_in_force_again() {
    let world = world(RULES).await;
    rotate(&world).await;
    until(&world, Phase::Disabled).await;
    end_at_provider(&world, 1).await;
    notice(&world).await;
    slow(&world, "PUT", TOKEN);
    let broker = Arc::clone(&world.broker);
    let ticking = tokio::spawn(async move { broker.tick().await.unwrap() });
    tokio::time::sleep(Duration::from_millis(500)).await;
    world.broker.revoke(&operator(), "CF_TOKEN", "over").await.unwrap();
    ticking.await.unwrap();
    world.settle().await;
    let over = trace(&world).await;
    assert_eq!((over.key.state, states(&over)), (KeyState::Revoked, vec![VersionState::Revoked; 2]));
    assert_eq!(live(&world), 0);
}

#[tokio::test]
async fn a_parent_that_may_switch_nothing_does_not_keep_the_key_from_its_successor() {
    let world = world(RULES).await;
    rotate(&world).await;
    refuse(&world, "PUT", TOKEN, 403);
    until(&world, Phase::Drained).await;
    end_at_provider(&world, 1).await;
    notice(&world).await;
    world.settle().await;
    let done = trace(&world).await;
    assert_eq!(states(&done).last(), Some(&VersionState::Active), "{:?}", done.saga);
    assert!(done.versions.len() == 3 && call(&world, &read(&world).await).await);
}

#[tokio::test]
async fn the_gone_versions_copy_stays_until_the_next_one_is_written_over_it() {
    let world = World::new().await;
    let ana = world.ana().await;
    world.broker.apply_template(&ana, &format!("{DNS_EDIT}{RULES}")).await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    let wish = Ask {
        destinations: vec!["dotenv:./.env#CF_TOKEN".to_owned()],
        cwd: Some(folder.path().display().to_string()),
        ..ask("example.com", "CF_TOKEN")
    };
    world.request(&wish).await.unwrap();
    let file = || std::fs::read_to_string(folder.path().join(".env")).unwrap();
    rotate(&world).await;
    let gone = file();
    end_at_provider(&world, 1).await;
    refuse(&world, "POST", TOKENS, 403);
    notice(&world).await;
    world.settle().await;
    assert_eq!(file(), gone, "nothing is taken from a place that a successor is to be written to");
    world.sandbox.clear_faults();
    for _ in 0..20 {
        pass(&world, 1_800).await;
    }
    let done = trace(&world).await;
    assert_eq!(states(&done).last(), Some(&VersionState::Active), "{:?}", done.saga);
    assert_ne!(file(), gone);
    world.broker.revoke(&operator(), "CF_TOKEN", "over").await.unwrap();
    world.settle().await;
    assert!(!file().contains("CF_TOKEN"), "{}", file());
}

#[tokio::test]
async fn a_gone_copy_is_taken_out_when_its_key_ends() {
    let world = World::new().await;
    let ana = world.ana().await;
    world.broker.apply_template(&ana, &format!("{DNS_EDIT}{RULES}")).await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    let wish = Ask {
        destinations: vec!["dotenv:./.env#CF_TOKEN".to_owned()],
        cwd: Some(folder.path().display().to_string()),
        ..ask("example.com", "CF_TOKEN")
    };
    world.request(&wish).await.unwrap();
    rotate(&world).await;
    end_at_provider(&world, 1).await;
    refuse(&world, "POST", TOKENS, 403);
    notice(&world).await;
    world.settle().await;
    world.broker.revoke(&operator(), "CF_TOKEN", "over").await.unwrap();
    world.settle().await;
    let file = std::fs::read_to_string(folder.path().join(".env")).unwrap();
    assert!(!file.contains("CF_TOKEN"), "{file}");
}

#[tokio::test]
async fn a_program_that_holds_what_is_all_there_is_is_not_told_to_start_anew() {
    let world = world(RULES).await;
    rotate(&world).await;
    until(&world, Phase::Disabled).await;
    refuse(&world, "PUT", TOKEN, 503);
    end_at_provider(&world, 1).await;
    notice(&world).await;
    let word = new_word().unwrap();
    let ana = world.ana().await;
    let holder = Some(Holder { word: word.clone(), process: None });
    let wanted = Wanted { project: Some("web".parse().unwrap()), holder, ..Wanted::default() };
    assert_eq!(world.broker.deliver(&Reader::Operator(&ana), wanted).await.unwrap().len(), 1);
    let standing = world.broker.hear_of(&word, false).await.unwrap();
    assert!(standing.known && standing.stale.is_empty(), "{standing:?}");
}

#[tokio::test]
async fn while_a_version_rests_its_successor_is_looked_for_before_it_ends() {
    // The provider does not find the successor for a while; or it does say something, but not that it is there.
    for is_wrong in [true, false] {
        let world = world(RULES).await;
        rotate(&world).await;
        until(&world, Phase::Disabled).await;
        refuse(&world, "GET", TOKEN, 404);
        let lags = FaultKind::LaggingList { ms: u64::MAX / 4 };
        world.sandbox.inject(Fault::on("GET", TOKENS, lags).times(100_000)).unwrap();
        if !is_wrong {
            world.broker.reconcile().await.unwrap();
            world.sandbox.clear_faults();
            refuse(&world, "GET", TOKEN, 403);
        }
        // The rest is over by far.
        pass(&world, 3_700).await;
        let doubted = trace(&world).await;
        assert_eq!(states(&doubted), [VersionState::Draining, VersionState::Active], "{:?}", doubted.saga);
        assert_eq!((live_or_off(&world), doubted.revocations.len()), (2, 0));
        world.sandbox.clear_faults();
        for _ in 0..4 {
            pass(&world, 300).await;
        }
        let done = trace(&world).await;
        assert_eq!(states(&done), [VersionState::Revoked, VersionState::Active], "{:?}", done.saga);
        assert!(call(&world, &read(&world).await).await);
    }
}

#[tokio::test]
async fn a_version_that_rests_is_in_force_again_when_its_successor_is_gone() {
    let world = world(RULES).await;
    let before = read(&world).await;
    rotate(&world).await;
    until(&world, Phase::Disabled).await;
    end_at_provider(&world, 1).await;
    // Nobody looked meanwhile: it is seen when the rest is over, and once more two minutes later.
    pass(&world, 3_700).await;
    pass(&world, 121).await;
    pass(&world, 1).await;
    let after = trace(&world).await;
    assert_ne!(states(&after)[0], VersionState::Revoked, "{:?}", after.saga);
    assert!(call(&world, &before).await, "it is switched on");
}

/// How many keys there are, switched off or not.
fn live_or_off(world: &World) -> usize {
    world.sandbox.tokens().iter().filter(|token| token.name.starts_with("kw-")).count()
}
