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
    unknown_to(world, "DELETE", 100_000);
    let unknown = FaultKind::Status { status: 404, retry_after: None };
    world.sandbox.inject(Fault::on("GET", "/accounts/*/tokens/*", unknown).times(100_000)).unwrap();
    let empty = FaultKind::LaggingList { ms: u64::MAX / 4 };
    world.sandbox.inject(Fault::on("GET", "/accounts/*/tokens", empty).times(100_000)).unwrap();
}

/// So many calls about one credential hear that it is not there.
fn unknown_to(world: &World, method: &str, times: u32) {
    let unknown = FaultKind::Status { status: 404, retry_after: None };
    world.sandbox.inject(Fault::on(method, "/accounts/*/tokens/*", unknown).times(times)).unwrap();
}

fn ana() -> Caller {
    Caller::plain(Principal::Operator("ana".parse().unwrap()))
}

async fn revoke(world: &World) -> Status {
    world.broker.revoke(&ana(), "CF_TOKEN", "it leaked").await.unwrap().status
}

async fn owed(world: &World) -> u64 {
    world.broker.health().await.unwrap().revocations_owed
}

async fn back(world: &World) -> u64 {
    world.broker.health().await.unwrap().versions_back
}

/// A key that was made elsewhere and is managed as `CF_TOKEN`; the provider's id of it.
async fn adopted() -> (World, String) {
    let world = World::new().await;
    let zone = world.sandbox.zones().into_iter().find(|zone| zone.name == "example.com").unwrap();
    let body = serde_json::json!({
        "name": "prod dns (old laptop)",
        "policies": [{
            "effect": "allow",
            "resources": { format!("com.cloudflare.api.account.zone.{}", zone.id): "*" },
            "permission_groups": [{ "id": "4755a26eedb94da69e1066d98aa820be" }],
        }],
    });
    let url = format!("{}/accounts/{}/tokens", world.sandbox.base_url(), world.sandbox.account_id());
    let call = reqwest::Client::new().post(url).bearer_auth(world.sandbox.parent_token()).json(&body);
    let text = call.send().await.unwrap().text().await.unwrap();
    let answer: serde_json::Value = serde_json::from_str(&text).unwrap();
    let id = answer["result"]["id"].as_str().unwrap().to_owned();
    adopt(&world, &id, "CF_TOKEN").await;
    (world, id)
}

async fn adopt(world: &World, id: &str, name: &str) {
    let ask = Ask {
        project: "web".to_owned(),
        environment: "dev".to_owned(),
        name: name.to_owned(),
        purpose: "it was there".to_owned(),
        ..Ask::default()
    };
    let adoption = Adoption { connection: "cf".to_owned(), provider_key_id: id.to_owned(), ask };
    world.broker.adopt(&world.ana().await, &adoption).await.unwrap();
}

fn lives(world: &World, id: &str) -> bool {
    world.sandbox.live_tokens_named_like("").iter().any(|token| token.id == id)
}

async fn is_unmanaged(world: &World, id: &str) -> bool {
    let inventory = world.broker.inventory(None).await.unwrap();
    inventory.keys.iter().any(|key| key.listed.provider_key_id == id)
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

#[tokio::test]
async fn one_answer_that_a_key_is_not_there_pays_no_debt() {
    // By its id only, or in the list as well.
    for is_listed in [true, false] {
        let world = world().await;
        if is_listed {
            unknown_to(&world, "DELETE", 1);
            unknown_to(&world, "GET", 1);
        } else {
            lie(&world);
        }
        assert_eq!(revoke(&world).await, Status::InProgress, "{is_listed}");
        assert_eq!((live(&world), owed(&world).await), (1, 1), "{is_listed}");
        world.sandbox.clear_faults();
        pass(&world, 121).await;
        assert_eq!((live(&world), owed(&world).await), (0, 0), "{is_listed}");
        assert_eq!(trace(&world).await.key.state, KeyState::Revoked, "{is_listed}");
    }
}

#[tokio::test]
async fn what_somebody_ended_is_taken_for_gone_after_two_looks() {
    let world = world().await;
    assert!(world.sandbox.delete_token(&trace(&world).await.versions[0].provider_key_id));
    assert_eq!(revoke(&world).await, Status::InProgress);
    let deletes = || world.sandbox.calls().iter().filter(|call| call.method == "DELETE").count();
    let before = deletes();
    for _ in 0..5 {
        pass(&world, 20).await;
    }
    assert_eq!((owed(&world).await, deletes()), (1, before), "nobody asks before it is time");
    pass(&world, 21).await;
    assert_eq!((owed(&world).await, trace(&world).await.key.state), (0, KeyState::Revoked));
}

#[tokio::test]
async fn a_revocation_whose_answer_was_lost_is_paid_at_once() {
    // The second answer says that there is no such key; so it is, because of the first one.
    for lost in [1, 4] {
        let world = world().await;
        let kind = FaultKind::ReplyLostAfterCommit;
        world.sandbox.inject(Fault::on("DELETE", "/accounts/*/tokens/*", kind).times(lost)).unwrap();
        let status = revoke(&world).await;
        assert_eq!(status, if lost == 1 { Status::Revoked } else { Status::InProgress });
        pass(&world, 5).await;
        assert_eq!((owed(&world).await, live(&world)), (0, 0), "{lost}");
        assert_eq!(trace(&world).await.key.state, KeyState::Revoked, "{lost}");
    }
}

#[tokio::test]
async fn whoever_comes_while_a_credential_is_being_ended_leaves_it_to_who_began() {
    let world = world().await;
    let slow = FaultKind::Slow { delay_ms: 1_500, trickle_ms: 0 };
    world.sandbox.inject(Fault::on("DELETE", "/accounts/*/tokens/*", slow)).unwrap();
    let deletes = || world.sandbox.calls().iter().filter(|call| call.method == "DELETE").count();
    let others = async {
        while deletes() == 0 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        assert_eq!(owed(&world).await, 1);
        world.broker.reconcile().await.unwrap();
        assert_eq!(revoke(&world).await, Status::Revoked);
    };
    let (status, ()) = tokio::join!(revoke(&world), others);
    assert_eq!((status, owed(&world).await, deletes()), (Status::Revoked, 0, 1));
}

#[tokio::test]
async fn a_revocation_that_was_refused_is_none_whose_answer_was_lost() {
    let world = world().await;
    let refused = FaultKind::Status { status: 403, retry_after: None };
    world.sandbox.inject(Fault::on("DELETE", "/accounts/*/tokens/*", refused)).unwrap();
    assert_eq!(revoke(&world).await, Status::InProgress);
    world.sandbox.clear_faults();
    lie(&world);
    assert_eq!(revoke(&world).await, Status::InProgress, "one answer, and nothing was ended before it");
    world.sandbox.clear_faults();
    assert_eq!((live(&world), owed(&world).await), (1, 1));
    pass(&world, 121).await;
    assert_eq!((live(&world), owed(&world).await), (0, 0));
}

#[tokio::test]
async fn a_key_that_was_in_doubt_when_it_was_revoked_is_looked_for_once_more() {
    let world = world().await;
    lie(&world);
    world.broker.reconcile().await.unwrap();
    world.sandbox.clear_faults();
    // The revocation is taken, and whether that helped is said by whoever was wrong before.
    unknown_to(&world, "GET", 1);
    assert_eq!(revoke(&world).await, Status::InProgress);
    pass(&world, 121).await;
    assert_eq!((owed(&world).await, trace(&world).await.key.state), (0, KeyState::Revoked));
}

#[tokio::test]
async fn one_answer_that_an_adopted_key_is_not_there_pays_no_debt() {
    let (world, id) = adopted().await;
    unknown_to(&world, "DELETE", 1);
    unknown_to(&world, "GET", 1);
    assert_eq!(revoke(&world).await, Status::InProgress);
    assert!(lives(&world, &id));
    pass(&world, 121).await;
    assert_eq!((lives(&world, &id), owed(&world).await), (false, 0));
    assert_eq!(trace(&world).await.key.state, KeyState::Revoked);
}

#[tokio::test]
async fn an_adopted_key_that_hid_from_its_revocation_ends_when_it_is_seen_again() {
    let (world, id) = adopted().await;
    lie(&world);
    revoke(&world).await;
    pass(&world, 121).await;
    assert_eq!(trace(&world).await.key.state, KeyState::Revoked, "nobody can tell this from the truth");
    assert!(lives(&world, &id));
    world.sandbox.clear_faults();
    assert!(is_unmanaged(&world, &id).await, "it is nobody's");
    pass(&world, 1).await;
    let found = world.broker.reconcile().await.unwrap();
    assert_eq!((found.orphans.len(), found.lost.len()), (1, 0), "{found:?}");
    assert!(!lives(&world, &id), "somebody said that it is to end");
    assert!(!is_unmanaged(&world, &id).await);
}

#[tokio::test]
async fn an_adopted_key_that_was_gone_and_is_back_is_said_and_can_be_adopted_anew() {
    let (world, id) = adopted().await;
    lie(&world);
    world.broker.reconcile().await.unwrap();
    pass(&world, 121).await;
    assert_eq!(trace(&world).await.key.state, KeyState::Revoked);
    world.sandbox.clear_faults();
    for _ in 0..2 {
        let found = world.broker.reconcile().await.unwrap();
        assert_eq!((found.lost.len(), found.orphans.len(), back(&world).await), (1, 0, 1), "{found:?}");
        pass(&world, 3_600).await;
    }
    assert!(lives(&world, &id) && is_unmanaged(&world, &id).await, "somebody may use it");
    adopt(&world, &id, "AGAIN").await;
    let found = world.broker.reconcile().await.unwrap();
    assert_eq!((found.lost.len(), back(&world).await), (0, 0));
    assert!(!is_unmanaged(&world, &id).await);
    world.broker.revoke(&ana(), "AGAIN", "done").await.unwrap();
    assert!(!lives(&world, &id));
}

#[tokio::test]
async fn a_key_that_was_revoked_and_adopted_anew_is_revoked_anew() {
    let (world, id) = adopted().await;
    lie(&world);
    revoke(&world).await;
    pass(&world, 121).await;
    world.sandbox.clear_faults();
    adopt(&world, &id, "AGAIN").await;
    let found = world.broker.reconcile().await.unwrap();
    assert!(found.orphans.is_empty() && lives(&world, &id), "it is somebody's: {found:?}");
    let receipt = world.broker.revoke(&ana(), "AGAIN", "done").await.unwrap();
    assert_eq!((receipt.status, lives(&world, &id)), (Status::Revoked, false));
    assert_eq!(owed(&world).await, 0);
}

#[tokio::test]
async fn what_is_said_of_a_key_that_counts_as_gone_is_kept_and_done() {
    // It is said before the key is back, or after.
    for is_back in [false, true] {
        let world = world().await;
        lie(&world);
        world.broker.reconcile().await.unwrap();
        pass(&world, 121).await;
        assert_eq!(trace(&world).await.key.state, KeyState::Revoked);
        if is_back {
            world.sandbox.clear_faults();
            world.broker.reconcile().await.unwrap();
            assert_eq!(back(&world).await, 1);
            revoke(&world).await;
        } else {
            revoke(&world).await;
            assert_eq!(owed(&world).await, 1, "it is on record");
            pass(&world, 121).await;
            assert_eq!(owed(&world).await, 0, "it is not there");
            world.sandbox.clear_faults();
            pass(&world, 1).await;
            assert_eq!(world.broker.reconcile().await.unwrap().orphans.len(), 1);
        }
        assert_eq!((live(&world), back(&world).await, owed(&world).await), (0, 0, 0), "{is_back}");
        let entries = trace(&world).await.entries;
        let words = entries.iter().filter(|entry| entry.record().who.name == "ana").count();
        let again = revoke(&world).await;
        assert_eq!((again, owed(&world).await), (Status::Revoked, 0), "said twice it changes nothing");
        let entries = trace(&world).await.entries;
        assert_eq!(entries.iter().filter(|entry| entry.record().who.name == "ana").count(), words);
    }
}

#[tokio::test]
async fn everything_of_an_agent_takes_in_what_counts_as_gone() {
    for of_project in [false, true] {
        let world = world().await;
        let operator = world.ana().await;
        world.broker.add_agent(&operator, &"bot".parse().unwrap()).await.unwrap();
        lie(&world);
        world.broker.reconcile().await.unwrap();
        pass(&world, 121).await;
        world.sandbox.clear_faults();
        if of_project {
            world.broker.teardown(&ana(), &"web".parse().unwrap()).await.unwrap();
        } else {
            let bot = "bot".parse().unwrap();
            world.broker.revoke_all_of(&ana(), &bot, "it leaked").await.unwrap();
        }
        assert_eq!((live(&world), owed(&world).await), (0, 0), "{of_project}");
    }
}
