//! The store `cloudflare-workers` before its stand-in, with Cloudflare's own document between.

use keywright_core::name::KeyName;
use keywright_core::store::{Presence, StoreError, VerifyMode};
use keywright_sandbox::vendors::{self, CLOUDFLARE_ACCOUNT};
use serde_json::{Value, json};

use crate::support::contract::{Limits, VALUE, origin};
use crate::support::opened::{StandIn, put};
use crate::support::{data, openapi, peer, peers};

pub static STAND_IN: StandIn =
    StandIn { kind: "cloudflare-workers", settings: &[("account", CLOUDFLARE_ACCOUNT)], spot: workers_spot };

fn workers_spot(verb: &str, place: &str) -> (String, Value) {
    let (script, name) = place.split_once('#').unwrap();
    (verb.to_owned(), json!({"script": script, "name": name}))
}

fn said(status: u16) -> String {
    format!(
        r#"{{"success":false,"errors":[{{"code":10000,"message":"refused with {status}"}}],"messages":[],"result":null}}"#
    )
}

#[tokio::test]
async fn a_worker_keeps_the_contract() {
    STAND_IN.keeps_the_contract(&[], "web#TOKEN_{}", said, &Limits::of("web#", 'A', 200, "")).await;
}

#[tokio::test]
async fn every_call_and_every_answer_of_a_worker_is_cloudflares() {
    let Some(path) = data("cloudflare-openapi.full.json.gz") else { return };
    if peer("node_modules/.bin/prism").is_none() {
        return;
    }
    let unpacked = std::process::Command::new("gzip").arg("-dc").arg(path).output().unwrap().stdout;
    let whole: Value = serde_json::from_slice(&unpacked).unwrap();
    let scripts = "/accounts/{account_id}/workers/scripts";
    let of = |rest: &str| format!("{scripts}/{{script_name}}/{rest}");
    let (secrets, bulk) = (of("secrets"), of("secrets-bulk"));
    let mut document = openapi::cut(&whole, &[&secrets, &bulk], &[]);
    // Which of its kinds a secret is, Prism does not tell by the discriminator: ours is the text. `null` removes, says the
    // document, and its schema forbids it in the same breath.
    let schemas = &mut document["components"]["schemas"];
    let mut value = schemas["workers_binding_kind_secret_text"].clone();
    value["nullable"] = json!(true);
    schemas["workers_secret-patch-request"]["properties"]["secrets"]["additionalProperties"] = value;
    // An answer shows no text.
    let shown = json!({
        "type": "object", "required": ["name", "type"], "additionalProperties": false,
        "properties": {"name": {"type": "string"}, "type": {"type": "string"}},
    });
    for (path, method) in [(&secrets, "get"), (&bulk, "patch")] {
        let result = &mut document["paths"][path][method]["responses"]["200"]["content"]["application/json"]
            ["schema"]["allOf"][1]["properties"]["result"];
        *result = if method == "get" {
            json!({"type": "array", "items": shown})
        } else {
            json!({"type": "object", "additionalProperties": shown})
        };
    }
    let running = vendors::start(STAND_IN.kind).await.unwrap();
    let Some(prism) = peers::Peer::prism(&document, Some(&running.base_url)).await else { return };
    let settings = [STAND_IN.settings[0], ("script", "web")];
    let store = STAND_IN.with(&prism.url, &running.parent, &settings);
    store.check().await.unwrap();
    let place = "web#API_TOKEN";
    assert_eq!(store.look(&STAND_IN.at(place)).await.unwrap(), Presence::Absent);
    assert_eq!(put(store.as_ref(), place, 1, VALUE, Presence::Absent).await, Ok(VerifyMode::StatusOnly));
    let present = store.look(&STAND_IN.at(place)).await.unwrap();
    put(store.as_ref(), place, 2, "second", present).await.unwrap();
    assert_eq!(STAND_IN.read(&running.base_url, place).await.as_deref(), Some("second"));
    store.remove(&origin(2), &STAND_IN.at(place)).await.unwrap();
    assert_eq!(store.look(&STAND_IN.at(place)).await.unwrap(), Presence::Absent);
    // A refusal has the documented body, too.
    let error = store.look(&STAND_IN.at("nowhere#API_TOKEN")).await.unwrap_err();
    assert!(matches!(error, StoreError::Place { .. }), "{error}");
    // What the document does not allow does not get through, or all of this would prove nothing.
    let url = format!("{}/accounts/{CLOUDFLARE_ACCOUNT}/workers/scripts/web/secrets-bulk", prism.url);
    let stranger = reqwest::Client::new().patch(url).bearer_auth(&running.parent);
    let answer = stranger.json(&json!({"secrets": {"A": {"type": "secret_text", "text": 7}}})).send().await;
    assert_eq!(answer.unwrap().status(), 422);
}

#[tokio::test]
async fn a_worker_says_what_can_not_be() {
    let running = vendors::start(STAND_IN.kind).await.unwrap();
    let store = STAND_IN.open(&running.base_url, &running.parent);
    store.check().await.unwrap();
    let name = KeyName::parse("API_TOKEN").unwrap();
    let accepted = store.accept(STAND_IN.at("web"), &name, None).await.unwrap();
    assert_eq!(accepted, STAND_IN.at("web#API_TOKEN"));
    for place in ["#A", "Web#A", "web#A-B", "web#1A", "web#KEYWRIGHT_A", "web/x#A"] {
        let refused = store.accept(STAND_IN.at(place), &name, None).await;
        assert!(matches!(refused, Err(StoreError::Place { .. })), "{place}: {refused:?}");
    }
    let refused = put(store.as_ref(), "web#A", 1, &"x".repeat(6_000), Presence::Absent).await;
    assert!(matches!(refused, Err(StoreError::Value { .. })), "{refused:?}");
    // A Worker that is gone took its secrets along; a token that reaches nothing proves nothing.
    store.remove(&origin(1), &STAND_IN.at("nowhere#A")).await.unwrap();
    let stranger = STAND_IN.open(&running.base_url, "unknown");
    assert!(matches!(stranger.check().await, Err(StoreError::Unauthorized { .. })));
    assert!(stranger.remove(&origin(1), &STAND_IN.at("web#A")).await.is_err());
    // Someone took the secret away, and only our note is left.
    put(store.as_ref(), "web#A", 1, VALUE, Presence::Absent).await.unwrap();
    let url = format!("{}/accounts/{CLOUDFLARE_ACCOUNT}/workers/scripts/web/secrets-bulk", running.base_url);
    let call = reqwest::Client::new().patch(url).bearer_auth(&running.parent);
    call.json(&json!({"secrets": {"A": null}})).send().await.unwrap();
    assert_eq!(store.look(&STAND_IN.at("web#A")).await.unwrap(), Presence::Absent);
    store.remove(&origin(1), &STAND_IN.at("web#A")).await.unwrap();
    let url = format!("{}/accounts/{CLOUDFLARE_ACCOUNT}/workers/scripts/web/secrets", running.base_url);
    let listed = reqwest::Client::new().get(url).bearer_auth(&running.parent).send().await.unwrap();
    assert_eq!(listed.json::<Value>().await.unwrap()["result"], json!([]));
}
