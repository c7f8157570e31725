//! Stores in which people approve and reject changes.

use std::time::Duration;

use keywright_broker::admin::NewStore;
use keywright_broker::ask::Ask;
use keywright_broker::notify::NewChannel;
use keywright_core::audit::{Deed, Stage};
use keywright_core::channel::{ChannelKind, Rules};
use keywright_core::key::{KeyState, PlacementState};
use keywright_core::receipt::{Receipt, Status};
use keywright_core::saga::Phase;
use keywright_core::secret::Secret;
use keywright_sandbox::vendors::infisical::{CLIENT_ID, PROJECT};
use keywright_sandbox::vendors::{self, Running};
use keywright_testkit::{DNS_EDIT, Taker, World, ask};
use serde_json::Value;

use crate::house::House;

const INFISICAL: (&str, &[(&str, &str)], &str) =
    ("infisical", &[("client_id", CLIENT_ID), ("project_id", PROJECT)], "gated#KEY");
const DOPPLER: (&str, &[(&str, &str)], &str) = ("doppler", &[], "web/gated#KEY");

/// A house with a store in which changes wait for somebody's approval, and an ask for a key that goes there.
pub(crate) async fn gated(kind: &str, extra: &[(&str, &str)], place: &str) -> (House, Running, Ask) {
    let (house, running) = (House::new().await, vendors::start(kind).await.unwrap());
    let ana = house.world.ana().await;
    let new = NewStore {
        name: "gate".parse().unwrap(),
        kind: kind.parse().unwrap(),
        address: Some(running.base_url.clone()),
        extra: extra.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect(),
        credential: Some(Secret::new(running.parent.clone())),
    };
    house.world.broker.add_store(&ana, new).await.unwrap();
    let open = DNS_EDIT.replace("\"dotenv:*\"", "\"dotenv:*\", \"gate:*\"");
    house.world.broker.apply_template(&ana, &open).await.unwrap();
    let destinations = vec!["embedded:web/dev/KEY".to_owned(), format!("gate:{place}")];
    (house, running, Ask { destinations, ..ask("example.com", "KEY") })
}

/// What people do in the store, with everything that waits there.
async fn people(running: &Running, deed: &str) -> Value {
    let call = reqwest::Client::new().post(format!("{}/_standin/{deed}", running.base_url)).send();
    let answer = call.await.unwrap();
    assert!(answer.status().is_success(), "{deed}");
    answer.json().await.unwrap_or_default()
}

/// How many changes the store was asked for, and how many of them are open.
async fn changes(running: &Running) -> (usize, usize) {
    let listed = people(running, "list").await;
    let all = listed["approvals"].as_array().unwrap();
    (all.len(), all.iter().filter(|change| change["status"] == "open").count())
}

/// The state of the copy in the gated store.
async fn copy(house: &House) -> PlacementState {
    let placements = house.world.broker.trace("KEY").await.unwrap().placements;
    placements.iter().rfind(|p| p.destination.place.store.as_str() == "gate").unwrap().state
}

/// What the receipt says now, and that `key show` says the same of the copies.
async fn receipt(house: &House) -> Receipt {
    let trace = house.world.broker.trace("KEY").await.unwrap();
    let (bot, request) = (World::agent("bot"), trace.request.id.to_string());
    let receipt = house.world.broker.check(&bot.principal, &request, Duration::ZERO).await.unwrap();
    for said in &trace.open {
        assert!(receipt.reasons.contains(said), "{said}: {receipt:?}");
    }
    receipt
}

fn says(receipt: &Receipt, words: &str) -> bool {
    receipt.reasons.iter().any(|reason| reason.contains(words))
}

async fn placed_in(store: (&str, &[(&str, &str)], &str)) -> (House, Running) {
    let (house, running, ask) = gated(store.0, store.1, store.2).await;
    house.ask(&ask).await;
    people(&running, "approve").await;
    house.pass(400).await;
    house.assert_ended("KEY", "active").await;
    (house, running)
}

async fn revoke(house: &House) -> Receipt {
    house.world.broker.revoke(&World::agent("bot"), "KEY", "done").await.unwrap()
}

/// What a channel told so far: of which matter, in which words.
async fn told(house: &House, taker: &Taker) -> Vec<(String, String)> {
    house.world.broker.tell_channels().await.unwrap();
    let told = taker.taken();
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    told.iter().map(|one| one.json()).map(|body| (text(&body["type"]), text(&body["data"]["line"]))).collect()
}

#[tokio::test]
async fn people_hear_of_what_waits_for_them_in_a_store() {
    for (kind, extra, place) in [INFISICAL, DOPPLER] {
        let (house, running, ask) = gated(kind, extra, place).await;
        let taker = Taker::always(204);
        let ana = house.world.ana().await;
        let channel = NewChannel {
            name: "ops".parse().unwrap(),
            kind: ChannelKind::Webhook,
            settings: [("url".to_owned(), taker.url("/"))].into(),
            rules: Rules { after: None, remind: None, quiet: None, is_urgent: false, with_purpose: false },
            credential: Some(Secret::new("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw".to_owned())),
        };
        house.world.broker.add_channel(&ana, channel).await.unwrap();
        house.ask(&ask).await;
        house.pass(400).await;
        let (matter, line) = told(&house, &taker).await.pop().unwrap();
        assert_eq!(matter, "write.waiting", "{kind}: {line}");
        assert!(
            line.starts_with("the value of KEY lies in store gate once somebody approves the change"),
            "{line}"
        );
        people(&running, "approve").await;
        house.pass(400).await;
        house.assert_ended("KEY", "active").await;
        revoke(&house).await;
        house.pass(400).await;
        assert_eq!(copy(&house).await, PlacementState::Leaving);
        let (matter, line) = told(&house, &taker).await.pop().unwrap();
        assert_eq!(matter, "removal.waiting", "{kind}: {line}");
        assert!(
            line.starts_with("the value of KEY leaves store gate once somebody approves the change"),
            "{line}"
        );
        people(&running, "approve").await;
        for _ in 0..3 {
            house.pass(4_000).await;
        }
        assert_eq!(told(&house, &taker).await.len(), 2, "{kind}: each is told once");
    }
}

#[tokio::test]
async fn a_change_that_waits_for_approval_is_asked_for_once_and_waited_for() {
    for (kind, extra, place) in [INFISICAL, DOPPLER] {
        let (house, running, ask) = gated(kind, extra, place).await;
        let receipt = house.ask(&ask).await;
        assert_eq!(receipt.status.as_str(), "in_progress", "{kind}: {:?}", receipt.reasons);
        assert!(says(&receipt, "waits for somebody's approval"), "{receipt:?}");
        // Far more often than a store that is down is tried.
        for _ in 0..20 {
            house.pass(400).await;
        }
        assert_eq!((house.phase("KEY").await, house.status("KEY").await), (Phase::Probed, "in_progress"));
        let asked = house.records("KEY", Deed::KeyPlace, Stage::Note).await;
        let waiting: Vec<_> = asked.iter().filter(|record| record.facts["phase"] == "waiting").collect();
        assert_eq!((waiting.len(), changes(&running).await), (1, (1, 1)), "{kind}: it was asked for once");
        assert!(waiting[0].facts.contains_key("change"), "{kind}: which one is on record");
        people(&running, "approve").await;
        house.pass(400).await;
        house.assert_ended("KEY", "active").await;
    }
}

#[tokio::test]
async fn a_store_that_is_down_while_people_take_their_time_ends_nothing() {
    let (house, running, ask) = gated(DOPPLER.0, DOPPLER.1, DOPPLER.2).await;
    house.ask(&ask).await;
    for _ in 0..20 {
        house.pass(400).await;
    }
    drop(running);
    for _ in 0..3 {
        house.pass(400).await;
    }
    assert_eq!((house.phase("KEY").await, house.status("KEY").await), (Phase::Probed, "in_progress"));
}

#[tokio::test]
async fn whoever_asks_is_told_at_once_that_people_have_to_approve_it() {
    let (house, _running, ask) = gated(DOPPLER.0, DOPPLER.1, DOPPLER.2).await;
    let (bot, broker) = (World::agent("bot"), &house.world.broker);
    let long = Duration::from_secs(3_600);
    let soon = Duration::from_secs(60);
    let ask = Ask { idempotency_key: Some("again".to_owned()), ..ask };
    for _ in 0..2 {
        let answer = tokio::time::timeout(soon, broker.request(&bot, &ask, long)).await;
        let receipt = answer.expect("an answer at once").unwrap();
        assert_eq!(receipt.status, Status::InProgress);
        assert!(says(&receipt, "approve the change `cr_1` in `gate`"), "{receipt:?}");
    }
    // Who looks again waits for something new.
    let request = broker.trace("KEY").await.unwrap().request.id.to_string();
    let look = broker.check(&bot.principal, &request, Duration::from_secs(1));
    let started = std::time::Instant::now();
    assert_eq!(look.await.unwrap().status, Status::InProgress);
    assert!(started.elapsed() >= Duration::from_secs(1));
}

#[tokio::test]
async fn a_broker_that_died_while_it_asked_does_not_ask_again() {
    for ends in [false, true] {
        let (house, running, ask) = gated(DOPPLER.0, DOPPLER.1, DOPPLER.2).await;
        house.refuse("UPDATE OF state ON placements WHEN NEW.state = 'waiting'");
        house.ask(&ask).await;
        house.allow_all();
        assert_eq!((copy(&house).await, changes(&running).await), (PlacementState::Writing, (1, 1)));
        if ends {
            revoke(&house).await;
            house.world.settle().await;
            assert_eq!(changes(&running).await, (1, 0), "what nobody wants any more is withdrawn");
            house.assert_ended("KEY", "revoked").await;
        } else {
            house.take_up_again().await;
            assert_eq!((copy(&house).await, changes(&running).await), (PlacementState::Waiting, (1, 1)));
            people(&running, "approve").await;
            house.pass(400).await;
            house.assert_ended("KEY", "active").await;
        }
    }
}

#[tokio::test]
async fn a_rejection_ends_the_request_at_once_and_says_why() {
    let (house, running, ask) = gated(DOPPLER.0, DOPPLER.1, DOPPLER.2).await;
    house.ask(&ask).await;
    people(&running, "reject").await;
    house.pass(400).await;
    house.world.settle().await;
    house.assert_ended("KEY", "failed").await;
    let receipt = receipt(&house).await;
    assert!(says(&receipt, "somebody rejected the change `cr_1` there"), "{receipt:?}");
    assert_eq!((copy(&house).await, changes(&running).await), (PlacementState::Rejected, (1, 0)));
}

#[tokio::test]
async fn a_rotation_that_is_rejected_leaves_the_key_as_it_was() {
    let (house, running) = placed_in_gate_alone().await;
    let before = house.world.broker.trace("KEY").await.unwrap().versions[0].id;
    let ana = house.world.ana().await.caller();
    let rotation = house.world.broker.rotate(&ana, "KEY", "it is time", Duration::from_secs(60));
    let begun = rotation.await.unwrap();
    assert_eq!(begun.status, Status::InProgress);
    assert!(says(&begun, "approve the change `cr_2` in `gate`"), "{begun:?}");
    people(&running, "reject").await;
    house.rest().await;
    house.pass(400).await;
    house.world.settle().await;
    let ended =
        house.world.broker.check(&ana.principal, &begun.request.to_string(), Duration::ZERO).await.unwrap();
    assert_eq!(ended.status, Status::Failed);
    assert!(says(&ended, "somebody rejected the change `cr_2` there"), "{ended:?}");
    let trace = house.world.broker.trace("KEY").await.unwrap();
    assert_eq!(trace.key.state, KeyState::Active);
    assert_eq!(house.living().len(), 1);
    let stays = trace.placements.iter().find(|p| p.state == PlacementState::Verified).unwrap();
    assert_eq!(stays.version, before);
}

async fn placed_in_gate_alone() -> (House, Running) {
    let (house, running, ask) = gated(DOPPLER.0, DOPPLER.1, DOPPLER.2).await;
    let ask = Ask { destinations: ask.destinations[1..].to_vec(), ..ask };
    house.ask(&ask).await;
    people(&running, "approve").await;
    house.pass(400).await;
    house.assert_ended("KEY", "active").await;
    (house, running)
}

#[tokio::test]
async fn a_change_that_nobody_approves_ends_the_mint_after_a_day_and_is_withdrawn() {
    let (house, running, ask) = gated(DOPPLER.0, DOPPLER.1, DOPPLER.2).await;
    house.ask(&ask).await;
    let mut looks = 0;
    while house.phase("KEY").await == Phase::Probed {
        house.pass(400).await;
        looks += 1;
        assert!(looks < 400, "for ever");
    }
    house.world.settle().await;
    house.assert_ended("KEY", "failed").await;
    assert_eq!((copy(&house).await, changes(&running).await), (PlacementState::Removed, (1, 0)));
}

async fn revocations(house: &House) -> usize {
    let filter = keywright_ledger::AuditFilter { limit: 10_000, ..Default::default() };
    let log = house.world.broker.log(filter).await.unwrap();
    log.iter().filter(|entry| entry.record().deed == keywright_core::audit::Deed::KeyRevoke).count()
}

#[tokio::test]
async fn a_change_that_cant_be_withdrawn_is_to_be_rejected_and_what_lands_is_removed() {
    for ((kind, extra, place), is_blind) in [(INFISICAL, false), (DOPPLER, true)] {
        let (house, running, ask) = gated(kind, extra, place).await;
        if is_blind {
            people(&running, "blindfold").await;
        }
        house.ask(&ask).await;
        revoke(&house).await;
        house.world.settle().await;
        house.assert_ended("KEY", "revoked").await;
        assert_eq!(
            (copy(&house).await, changes(&running).await),
            (PlacementState::Unwanted, (1, 1)),
            "{kind}"
        );
        let told = receipt(&house).await;
        assert!(says(&told, "reject the change `") && says(&told, "` in `gate`"), "{told:?}");
        let said = revocations(&house).await;
        for _ in 0..3 {
            house.pass(400).await;
        }
        assert_eq!(revocations(&house).await, said, "{kind}: a look that brings no news is on no record");
        // Somebody approves it all the same: its removal is asked for, once.
        people(&running, "approve").await;
        house.world.settle().await;
        assert_eq!(copy(&house).await, PlacementState::Leaving, "{kind}");
        if kind == "infisical" {
            assert_eq!(changes(&running).await, (2, 1), "{kind}");
        }
        people(&running, "approve").await;
        house.world.settle().await;
        assert_eq!(copy(&house).await, PlacementState::Removed, "{kind}");
        assert!(!says(&receipt(&house).await, "gate"), "{kind}");
    }
}

#[tokio::test]
async fn a_store_goes_although_a_change_waits_there_that_nobody_wants_any_more() {
    let (house, _running, ask) = gated(INFISICAL.0, INFISICAL.1, INFISICAL.2).await;
    house.ask(&ask).await;
    revoke(&house).await;
    assert_eq!(copy(&house).await, PlacementState::Unwanted);
    let ana = house.world.ana().await;
    house.world.broker.remove_store(&ana, &"gate".parse().unwrap()).await.unwrap();
    assert_eq!(copy(&house).await, PlacementState::Removed);
}

#[tokio::test]
async fn a_removal_that_waits_for_approval_is_asked_for_once_and_looked_at_until_it_is_gone() {
    for store in [INFISICAL, DOPPLER] {
        let (house, running) = placed_in(store).await;
        let receipt_at_once = revoke(&house).await;
        assert_eq!(receipt_at_once.status, Status::Revoked, "{store:?}");
        assert!(says(&receipt_at_once, "until somebody approves its removal"), "{receipt_at_once:?}");
        for _ in 0..20 {
            house.pass(400).await;
        }
        assert_eq!(
            (copy(&house).await, changes(&running).await),
            (PlacementState::Leaving, (2, 1)),
            "{store:?}"
        );
        let told = receipt(&house).await;
        assert!(says(&told, "approve the change `") && says(&told, "` in `gate`"), "{told:?}");
        people(&running, "approve").await;
        house.pass(400).await;
        assert_eq!(
            (copy(&house).await, changes(&running).await),
            (PlacementState::Removed, (2, 0)),
            "{store:?}"
        );
        assert!(!says(&receipt(&house).await, "gate"), "{store:?}");
    }
}

#[tokio::test]
async fn a_removal_whose_request_is_not_on_record_is_found_in_the_store() {
    let (house, running) = placed_in(DOPPLER).await;
    house.refuse("UPDATE OF state ON placements WHEN NEW.state = 'leaving'");
    revoke(&house).await;
    house.allow_all();
    assert_eq!(copy(&house).await, PlacementState::Verified);
    house.world.settle().await;
    assert_eq!((copy(&house).await, changes(&running).await), (PlacementState::Leaving, (2, 1)));
}

#[tokio::test]
async fn a_removal_that_is_rejected_leaves_a_dead_value_and_says_so() {
    let (house, running) = placed_in(DOPPLER).await;
    revoke(&house).await;
    people(&running, "reject").await;
    house.world.settle().await;
    assert_eq!((copy(&house).await, changes(&running).await), (PlacementState::Kept, (2, 0)));
    let told = receipt(&house).await;
    assert!(says(&told, "somebody rejected its removal in `gate`"), "{told:?}");
}
