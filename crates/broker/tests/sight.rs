//! What an agent learns of others' keys from what it is refused: nothing.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

use std::time::Duration;

use keywright_broker::ask::Ask;
use keywright_broker::{BrokerError, Code};
use keywright_testkit::{World, ask};

/// All that an error tells.
fn told(error: &BrokerError) -> String {
    format!("{error} {:?} {:?} {:?}", error.hint, error.reasons, error.alternatives)
}

/// The same ask, with its place elsewhere.
fn at(place: &str, ask: Ask) -> Ask {
    Ask { destinations: vec![place.to_owned()], ..ask }
}

#[tokio::test]
async fn a_name_or_place_of_anothers_key_is_not_free_and_no_more_is_told() {
    let world = World::new().await;
    let receipt = world.request(&ask("example.com", "CF_TOKEN")).await.unwrap();
    let id = receipt.key.unwrap().to_string();
    let (other, wait) = (World::agent("other"), Duration::from_secs(20));
    let elsewhere = at("embedded:web/dev/ELSEWHERE", ask("example.com", "CF_TOKEN"));
    let onto = at("embedded:web/dev/CF_TOKEN", ask("example.com", "MINE"));
    for wish in [ask("example.com", "CF_TOKEN"), elsewhere, onto] {
        let error = world.broker.request(&other, &wish, wait).await.unwrap_err();
        assert_eq!(error.code, Code::Conflict, "{error}");
        for secret in [id.as_str(), "bot", "active", "lives", "revoke", "key_"] {
            assert!(!told(&error).contains(secret), "{secret}: {}", told(&error));
        }
        assert!(error.message.contains("not free") && error.hint.is_some(), "{}", told(&error));
        // The owner, and an operator, are told what it is.
        let error = world.request(&wish).await.unwrap_err();
        assert!(error.message.contains("CF_TOKEN`") && told(&error).contains("revoke"), "{}", told(&error));
    }
}

#[tokio::test]
async fn anothers_key_is_refused_as_one_that_is_not_there() {
    let world = World::new().await;
    let receipt = world.request(&ask("example.com", "CF_TOKEN")).await.unwrap();
    let id = receipt.key.unwrap().to_string();
    let other = World::agent("other");
    let nobodys = "key_01890000-0000-7000-8000-000000000000";
    for (theirs, none) in [("CF_TOKEN", "CF_TAKEN"), ("web/dev/CF_TOKEN", "web/dev/CF_TAKEN"), (&id, nobodys)]
    {
        let mut told_of = Vec::new();
        for key in [theirs, none] {
            let broker = &world.broker;
            let operations = ["GET /zones/{zone_id}/dns_records".to_owned()];
            for error in [
                broker.revoke(&other, key, "x").await.unwrap_err(),
                broker.rotate(&other, key, "x", Duration::from_secs(1)).await.unwrap_err(),
                broker.key(&other.principal, key).await.unwrap_err(),
                broker.denied(&other.principal, key, &operations).await.unwrap_err(),
            ] {
                assert_eq!(error.code, Code::NotFound, "{error}");
                told_of.push(told(&error).replace(key, "KEY"));
            }
        }
        told_of.dedup();
        assert_eq!(told_of.len(), 1, "{told_of:?}");
    }
    // Two of a name: an agent is told of its own only.
    let mut prod = ask("example.com", "CF_TOKEN");
    prod.environment = "staging".to_owned();
    world.broker.request(&other, &prod, Duration::from_secs(20)).await.unwrap();
    let own = world.broker.key(&other.principal, "CF_TOKEN").await.unwrap();
    assert_eq!(own.key.environment.as_str(), "staging");
}
