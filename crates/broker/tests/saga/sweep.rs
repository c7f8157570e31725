//! Orphans, forgeries, look-alikes, and keys that come back.

use keywright_core::audit::{Deed, Stage};
use keywright_core::key::AttemptOutcome;
use keywright_sandbox::FaultKind;

use crate::house::{ALWAYS, CREATE, DELETE, DOWN, House, LAG, LIST, SHOW};

/// Makes a token as somebody with access to the account would, under any name.
async fn by_hand(house: &House, name: &str) -> String {
    let sandbox = &house.world.sandbox;
    let zone = sandbox.zones().into_iter().find(|zone| zone.name == "example.com").unwrap();
    let resource = format!("com.cloudflare.api.account.zone.{}", zone.id);
    let body = serde_json::json!({
        "name": name,
        "policies": [{
            "effect": "allow", "resources": { resource: "*" },
            "permission_groups": [{ "id": "4755a26eedb94da69e1066d98aa820be" }],
        }],
        "expires_on": "2099-01-01T00:00:00Z",
    });
    let url = format!("{}/accounts/{}/tokens", sandbox.base_url(), sandbox.account_id());
    let client = reqwest::Client::new().post(url).bearer_auth(sandbox.parent_token());
    let answer = client.json(&body).send().await.unwrap();
    let text = answer.text().await.unwrap();
    let answer: serde_json::Value = serde_json::from_str(&text).unwrap();
    answer["result"]["id"].as_str().unwrap_or_else(|| panic!("{text}")).to_owned()
}

fn lives(house: &House, id: &str) -> bool {
    house.living().iter().any(|token| token.id == id)
}

async fn outcomes(house: &House, name: &str) -> Vec<AttemptOutcome> {
    house.attempts(name).await.iter().map(|attempt| attempt.outcome).collect()
}

async fn uncertain(house: &House) -> u64 {
    house.world.broker.health().await.unwrap().attempts_uncertain
}

/// A key whose first create was answered by nobody, and made a key that the list does not show yet.
async fn with_a_hidden_orphan(house: &House, name: &str) {
    house.inject(CREATE, FaultKind::ReplyLostAfterCommit, 1);
    house.inject(LIST, LAG, ALWAYS);
    let receipt = house.ask(&house.embedded(name)).await;
    assert_eq!(receipt.status.as_str(), "active", "{receipt:?}");
    assert_eq!(house.living().len(), 2);
    assert_eq!(uncertain(house).await, 1);
}

#[tokio::test]
async fn an_attempt_of_which_nothing_is_known_is_found_later_and_its_key_revoked() {
    let house = House::new().await;
    with_a_hidden_orphan(&house, "KEY").await;
    assert_eq!(outcomes(&house, "KEY").await, [AttemptOutcome::AbsentSoFar, AttemptOutcome::Created]);
    house.pass(31).await;
    assert_eq!(house.living().len(), 2, "still hidden");
    house.heal();
    house.pass(121).await;
    assert_eq!(outcomes(&house, "KEY").await, [AttemptOutcome::Swept, AttemptOutcome::Created]);
    house.assert_ended("KEY", "active").await;
    assert_eq!(uncertain(&house).await, 0);
}

#[tokio::test]
async fn a_list_that_could_not_be_read_says_nothing_about_what_is_absent() {
    let house = House::new().await;
    house.inject(CREATE, FaultKind::ReplyLostAfterCommit, 1);
    house.inject(LIST, DOWN, ALWAYS);
    house.ask(&house.embedded("KEY")).await;
    assert_eq!(outcomes(&house, "KEY").await, [AttemptOutcome::Sent, AttemptOutcome::Created]);
    // For much longer than a create could take to come into effect.
    for _ in 0..10 {
        house.pass(600).await;
    }
    assert_eq!(uncertain(&house).await, 1, "nobody has looked yet");
    house.heal();
    house.pass(600).await;
    house.assert_ended("KEY", "active").await;
}

#[tokio::test]
async fn a_provider_that_goes_away_after_the_first_look_is_asked_again() {
    let house = House::new().await;
    with_a_hidden_orphan(&house, "KEY").await;
    house.pass(31).await;
    house.heal();
    house.inject(LIST, DOWN, ALWAYS);
    for _ in 0..10 {
        house.pass(600).await;
    }
    assert_eq!(uncertain(&house).await, 1, "it was seen absent while that proved nothing, and never since");
    house.heal();
    house.pass(600).await;
    house.assert_ended("KEY", "active").await;
}

#[tokio::test]
async fn one_negative_list_is_not_enough_however_late_it_comes() {
    let house = House::new().await;
    house.inject(CREATE, FaultKind::ReplyLostAfterCommit, 1);
    house.inject(LIST, DOWN, ALWAYS);
    house.ask(&house.embedded("KEY")).await;
    house.heal();
    // A broker that was down for a day looks for the first time, and the provider's list lags.
    house.inject(LIST, LAG, ALWAYS);
    house.pass(24 * 3_600).await;
    assert_eq!(uncertain(&house).await, 1, "two lists, some time apart");
    house.heal();
    house.pass(600).await;
    house.assert_ended("KEY", "active").await;
}

#[tokio::test]
async fn an_attempt_that_made_nothing_is_let_go_after_two_lists() {
    let house = House::new().await;
    house.inject(CREATE, FaultKind::ReplyLostBeforeCommit, 1);
    house.ask(&house.embedded("KEY")).await;
    house.pass(24 * 3_600).await;
    house.pass(600).await;
    assert_eq!(uncertain(&house).await, 0);
    assert_eq!(
        outcomes(&house, "KEY").await,
        [AttemptOutcome::AbsentSoFar, AttemptOutcome::Created],
        "but it is never forgotten"
    );
    house.assert_ended("KEY", "active").await;
}

#[tokio::test]
async fn a_key_that_appears_long_after_anybody_looked_is_found_by_a_reconcile() {
    let house = House::new().await;
    with_a_hidden_orphan(&house, "KEY").await;
    house.world.settle().await;
    assert_eq!((uncertain(&house).await, house.living().len()), (0, 2));
    house.heal();
    let found = house.world.broker.reconcile().await.unwrap();
    assert_eq!((found.owned, found.orphans.len()), (1, 1));
    house.assert_ended("KEY", "active").await;
}

#[tokio::test]
async fn a_key_that_lives_on_after_its_revocation_was_confirmed_is_revoked_again() {
    let house = House::new().await;
    house.ask(&house.embedded("KEY")).await;
    // For so long that nobody can tell it from the truth.
    hide(&house);
    let revoked = house.world.broker.revoke(&keywright_testkit::World::agent("bot"), "KEY", "done").await;
    assert_eq!(revoked.unwrap().status.as_str(), "in_progress");
    house.pass(121).await;
    assert_eq!((house.status("KEY").await, house.living().len()), ("revoked", 1));
    house.heal();
    house.pass(1).await;
    let found = house.world.broker.reconcile().await.unwrap();
    assert_eq!(found.orphans.len(), 1);
    house.assert_ended("KEY", "revoked").await;
}

#[tokio::test]
async fn a_key_that_is_shown_although_its_revocation_was_confirmed_stays_owed() {
    let house = House::new().await;
    house.ask(&house.embedded("KEY")).await;
    house.inject(DELETE, FaultKind::Status { status: 404, retry_after: None }, 1);
    let revoked = house.world.broker.revoke(&keywright_testkit::World::agent("bot"), "KEY", "done").await;
    assert_eq!(revoked.unwrap().status.as_str(), "in_progress");
    house.world.settle().await;
    house.assert_ended("KEY", "revoked").await;
    assert!(house.living().is_empty());
}

#[tokio::test]
async fn an_orphan_that_ended_while_a_list_was_on_its_way_is_not_owed_again() {
    let house = House::new().await;
    house.inject(CREATE, FaultKind::ReplyLostAfterCommit, 1);
    house.inject(DELETE, DOWN, ALWAYS);
    house.ask(&house.embedded("KEY")).await;
    house.heal();
    let slow = FaultKind::Slow { delay_ms: 1_500, trickle_ms: 0 };
    let lists = || house.world.sandbox.calls().iter().filter(|call| call.path.ends_with("/tokens")).count();
    house.inject(LIST, slow, 1);
    let before = lists();
    let other = async {
        while lists() == before {
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        }
        house.world.broker.reconcile().await.unwrap()
    };
    let (late, first) = tokio::join!(house.world.broker.reconcile(), other);
    let (late, first) = (late.unwrap(), first);
    assert_eq!((first.owed, late.orphans.len(), late.owed), (0, 0, 0), "{first:?} {late:?}");
    house.assert_ended("KEY", "active").await;
}

#[tokio::test]
async fn an_orphan_that_lives_on_after_its_revocation_was_confirmed_is_revoked_again() {
    let house = House::new().await;
    house.inject(CREATE, FaultKind::ReplyLostAfterCommit, 1);
    house.inject(DELETE, DOWN, ALWAYS);
    house.ask(&house.embedded("KEY")).await;
    house.world.settle().await;
    house.heal();
    hide(&house);
    for _ in 0..2 {
        house.pass(3_700).await;
    }
    assert_eq!(house.living().len(), 2);
    let owed = house.world.broker.health().await.unwrap().revocations_owed;
    assert_eq!(owed, 0, "it counts as gone");
    house.heal();
    house.pass(1).await;
    assert_eq!(house.world.broker.reconcile().await.unwrap().orphans.len(), 1);
    house.assert_ended("KEY", "active").await;
}

/// From now on nothing is there for the provider.
fn hide(house: &House) {
    for call in [DELETE, SHOW] {
        house.inject(call, FaultKind::Status { status: 404, retry_after: None }, ALWAYS);
    }
    house.inject(LIST, LAG, ALWAYS);
}

#[tokio::test]
async fn a_marker_forged_by_hand_is_neither_adopted_nor_revoked() {
    let house = House::new().await;
    house.ask(&house.embedded("KEY")).await;
    let marker = house.attempts("KEY").await[0].marker.to_string();
    // The right shape, the right instance, another attempt; and the right attempt with another seal.
    let last = if marker.ends_with('a') { 'b' } else { 'a' };
    let other_seal = format!("{}{last}", &marker[..marker.len() - 1]);
    let middle = if &marker[20..21] == "a" { "b" } else { "a" };
    let other_attempt = format!("{}{middle}{}", &marker[..20], &marker[21..]);
    let forged = [by_hand(&house, &other_seal).await, by_hand(&house, &other_attempt).await];
    for _ in 0..2 {
        let found = house.world.broker.reconcile().await.unwrap();
        assert_eq!((found.owned, found.forged, found.orphans.len()), (1, 2, 0));
        house.world.settle().await;
    }
    assert!(forged.iter().all(|id| lives(&house, id)));
    assert_eq!(house.living().len(), 3);
    assert_eq!(house.status("KEY").await, "active");
}

#[tokio::test]
async fn a_foreign_key_that_looks_like_ours_is_left_alone() {
    let house = House::new().await;
    house.ask(&house.embedded("KEY")).await;
    let marker = house.attempts("KEY").await[0].marker.to_string();
    let other_home = if marker.starts_with("kw-aaaa") { "bbbb" } else { "aaaa" };
    let foreign = [
        by_hand(&house, "kw-").await,
        by_hand(&house, "kw-staging-server").await,
        by_hand(&house, &format!("kw-{other_home}{}", &marker[7..])).await,
        by_hand(&house, &format!("my copy of {marker}")).await,
    ];
    let found = house.world.broker.reconcile().await.unwrap();
    assert_eq!((found.owned, found.forged, found.orphans.len()), (1, 0, 0));
    house.world.settle().await;
    let all = house.world.sandbox.tokens();
    assert!(foreign.iter().all(|id| all.iter().any(|token| token.id == *id)));
    assert_eq!(house.status("KEY").await, "active");
}

#[tokio::test]
async fn a_second_key_under_a_marker_of_ours_is_revoked_and_the_first_stays_what_it_was() {
    let house = House::new().await;
    // The network may deliver a create twice: two keys of one name, and we know the secret of one.
    house.inject(crate::house::VERIFY, DOWN, ALWAYS);
    house.ask(&house.embedded("KEY")).await;
    house.heal();
    let attempt = house.attempts("KEY").await.remove(0);
    let twin = by_hand(&house, attempt.marker.as_str()).await;
    let found = house.world.broker.reconcile().await.unwrap();
    assert_eq!(found.orphans, [twin.as_str()]);
    assert!(!lives(&house, &twin));
    assert_eq!(house.attempts("KEY").await, [attempt], "what is known of an attempt stays known");
    house.pass(400).await;
    house.assert_ended("KEY", "active").await;
}

#[tokio::test]
async fn a_create_that_is_under_way_is_not_taken_for_an_orphan() {
    let house = House::new().await;
    house.refuse("INSERT ON versions");
    house.ask(&house.embedded("KEY")).await;
    house.allow_all();
    let found = house.world.broker.reconcile().await.unwrap();
    assert_eq!((found.owned, found.orphans.len()), (1, 0), "its owner may be about to write it down");
    house.take_up_again().await;
    house.world.settle().await;
    house.assert_ended("KEY", "active").await;
}

#[tokio::test]
async fn an_orphan_is_on_record_before_it_is_revoked() {
    let house = House::new().await;
    for (name, hidden) in [("SEEN_AT_ONCE", false), ("SEEN_LATER", true)] {
        house.inject(CREATE, FaultKind::ReplyLostAfterCommit, 1);
        if hidden {
            house.inject(LIST, LAG, ALWAYS);
        }
        house.ask(&house.embedded(name)).await;
        house.heal();
        house.world.settle().await;
        house.assert_ended(name, "active").await;
        assert_eq!(house.records(name, Deed::KeySweep, Stage::Intent).await.len(), 1, "{name}");
        assert_eq!(house.records(name, Deed::KeyRevoke, Stage::Outcome).await.len(), 1, "{name}");
    }
}
