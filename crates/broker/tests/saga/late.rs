//! Values that land late, or are written over before anybody looked at them.

use std::time::Duration;

use keywright_broker::admin::NewStore;
use keywright_broker::ask::Ask;
use keywright_broker::record::Caller;
use keywright_core::key::PlacementState;
use keywright_core::plan::Principal;
use keywright_core::receipt::Status;
use keywright_core::saga::Phase;
use keywright_core::secret::Secret;
use keywright_sandbox::vendors::{self, Running, VERCEL_TEAM as TEAM};
use keywright_testkit::{DNS_EDIT, World, ask};
use serde_json::{Value, json};

use crate::house::House;

/// A store that can't check what it writes over.
struct Shelf {
    house: House,
    store: Running,
}

impl Shelf {
    async fn new() -> Self {
        let (house, store) = (House::new().await, vendors::start("vercel").await.unwrap());
        let ana = house.world.ana().await;
        let new = NewStore {
            name: "shelf".parse().unwrap(),
            kind: "vercel".parse().unwrap(),
            address: Some(store.base_url.clone()),
            extra: [("team".to_owned(), TEAM.to_owned())].into(),
            credential: Some(Secret::new(store.parent.clone())),
        };
        house.world.broker.add_store(&ana, new).await.unwrap();
        let open = DNS_EDIT.replace("\"dotenv:*\"", "\"dotenv:*\", \"shelf:*\"");
        house.world.broker.apply_template(&ana, &open).await.unwrap();
        Self { house, store }
    }

    async fn mint(&self) {
        let destinations = vec!["shelf:web@production#KEY".to_owned()];
        self.house.ask(&Ask { destinations, ..ask("example.com", "KEY") }).await;
    }

    async fn rotate(&self) -> Status {
        let ana = Caller::plain(Principal::Operator("ana".parse().unwrap()));
        let receipt =
            self.house.world.broker.rotate(&ana, "KEY", "it is time", Duration::ZERO).await.unwrap();
        self.house.rest().await;
        receipt.status
    }

    /// How far the rotation is, and what it waits for.
    async fn rotation(&self) -> (Phase, String) {
        let saga = self.house.world.broker.trace("KEY").await.unwrap().saga.unwrap();
        (saga.phase, saga.trouble.unwrap_or_default())
    }

    async fn call(&self, verb: &str, more: Value) -> Value {
        let mut body = json!({"project": "web", "key": "KEY", "in": "production"});
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        let url = format!("{}/-/{verb}", self.store.base_url);
        let answer = reqwest::Client::new().post(url).json(&body).send().await.unwrap();
        assert!(answer.status().is_success());
        answer.json().await.unwrap()
    }

    /// What a program finds there.
    async fn value(&self) -> String {
        self.call("read", json!({})).await["value"].as_str().unwrap().to_owned()
    }

    /// All that a write left, to be written again later.
    async fn copy(&self) -> Value {
        let url = format!("{}/v10/projects/web/env?teamId={TEAM}", self.store.base_url);
        let listed = reqwest::Client::new().get(url).bearer_auth(&self.store.parent).send().await.unwrap();
        let listed: Value = listed.json().await.unwrap();
        json!({"comment": listed["envs"][0]["comment"], "value": self.value().await})
    }

    async fn placements(&self) -> Vec<PlacementState> {
        let trace = self.house.world.broker.trace("KEY").await.unwrap();
        trace.placements.iter().map(|placement| placement.state).collect()
    }

    /// The values of the key's credentials that live, by age.
    async fn living(&self) -> Vec<String> {
        let versions = self.house.world.broker.trace("KEY").await.unwrap().versions;
        let secret = |id: &str| self.house.world.sandbox.secret_of(id);
        let lives: Vec<_> = self.house.living().into_iter().map(|token| token.id).collect();
        let living = versions.iter().filter(|version| lives.contains(&version.provider_key_id));
        living.map(|version| secret(&version.provider_key_id).unwrap()).collect()
    }
}

/// Whoever sends a value and never hears of it does not know when it lands. Where the store takes whatever comes last, the
/// successor's place is looked at only when it can't come any more; the version before it lives until then.
#[tokio::test]
async fn a_write_that_was_never_answered_may_land_after_the_successors() {
    let shelf = Shelf::new().await;
    shelf.house.refuse("UPDATE OF state ON placements WHEN NEW.state = 'written'");
    shelf.mint().await;
    shelf.house.allow_all();
    shelf.house.take_up_again().await;
    shelf.house.assert_ended("KEY", "active").await;
    let old = shelf.copy().await;
    shelf.rotate().await;
    let (phase, why) = shelf.rotation().await;
    assert_eq!(phase, Phase::Placed);
    assert!(why.contains("`shelf:web@production#KEY` was never answered and may still land"), "{why}");
    assert_ne!(shelf.value().await, old["value"], "the successor was written");
    shelf.call("set", old.clone()).await;
    shelf.house.pass(300).await;
    assert_eq!(shelf.rotation().await.0, Phase::Placed, "it is not looked at yet");
    for _ in 0..3 {
        shelf.house.pass(400).await;
    }
    let [before, now] = <[String; 2]>::try_from(shelf.living().await).unwrap();
    assert_eq!((old["value"].as_str().unwrap(), shelf.value().await), (before.as_str(), now));
    assert_eq!(shelf.rotation().await.0, Phase::Switched);
    let replaced = PlacementState::Replaced;
    assert_eq!(shelf.placements().await, [replaced, replaced, PlacementState::Verified]);
}

/// The value before it is gone as soon as a successor is written, so whatever lies there instead is written over, as long as it
/// is called the key's.
#[tokio::test]
async fn a_successor_that_was_written_over_is_written_again() {
    let shelf = Shelf::new().await;
    shelf.mint().await;
    let old = shelf.copy().await;
    shelf.house.refuse("UPDATE OF state ON placements WHEN NEW.state = 'verified'");
    shelf.rotate().await;
    assert_eq!(shelf.rotation().await.0, Phase::Placed);
    shelf.house.allow_all();
    // What a person put there stays, and the rotation says so; the version before lives on meanwhile.
    shelf.call("set", json!({"value": "changed by hand"})).await;
    for _ in 0..3 {
        shelf.house.pass(400).await;
        assert_eq!((shelf.value().await.as_str(), shelf.living().await.len()), ("changed by hand", 2));
    }
    let (phase, why) = shelf.rotation().await;
    assert!(
        phase == Phase::Placed && why.contains("already holds a value that Keywright did not put"),
        "{why}"
    );
    // Nothing of the successor lies anywhere now, and there is no way back all the same.
    assert_eq!(shelf.placements().await.last(), Some(&PlacementState::Planned));
    let shelf = Shelf { house: shelf.house.restart().await, ..shelf };
    shelf.house.pass(400).await;
    assert_eq!((shelf.rotation().await.0, shelf.living().await.len()), (Phase::Placed, 2));
    // A value of ours is written over.
    shelf.call("set", old).await;
    for _ in 0..2 {
        shelf.house.pass(400).await;
    }
    assert_eq!(shelf.rotation().await.0, Phase::Switched);
    let living = shelf.living().await;
    assert_eq!((living.len(), living.last()), (2, Some(&shelf.value().await)));
    shelf.house.world.broker.revoke(&World::agent("bot"), "KEY", "done").await.unwrap();
    shelf.house.pass(400).await;
    assert_eq!(shelf.call("read", json!({})).await["value"], Value::Null, "nothing of it is left");
    assert!(shelf.house.living().is_empty());
}

/// A mint ends what it made when something else lies there: nothing was there before it.
#[tokio::test]
async fn a_new_key_that_was_written_over_is_taken_back() {
    let shelf = Shelf::new().await;
    shelf.house.refuse("UPDATE OF state ON placements WHEN NEW.state = 'verified'");
    shelf.mint().await;
    shelf.call("set", json!({"value": "changed by hand"})).await;
    shelf.house.allow_all();
    for _ in 0..3 {
        shelf.house.pass(400).await;
    }
    assert_eq!(shelf.house.status("KEY").await, "failed");
    assert!(shelf.house.living().is_empty());
}
