//! The store `kubernetes` before its stand-in.

use keywright_core::name::KeyName;
use keywright_core::store::{Presence, StoreError, VerifyMode};
use keywright_sandbox::vendors;
use serde_json::{Value, json};

use crate::support::contract::{VALUE, origin};
use crate::support::opened::{StandIn, ask, put};
use crate::support::stores::run;
use crate::support::{Fault, Proxy, peer};

pub static STAND_IN: StandIn = StandIn { kind: "kubernetes", settings: &[], spot: kubernetes_spot };

fn kubernetes_spot(verb: &str, place: &str) -> (String, Value) {
    (format!("{verb}/{place}"), json!({}))
}

#[tokio::test]
async fn kubernetes_keeps_the_contract() {
    STAND_IN.keeps_the_contract(&[], "web/dev/TOKEN_{}", ("PATCH", "/secrets/")).await;
}

#[tokio::test]
async fn kubernetes_keeps_the_guard() {
    let running = vendors::start(STAND_IN.kind).await.unwrap();
    let proxy = Proxy::start(&running.base_url).await;
    let base = running.base_url.as_str();
    let store = STAND_IN.with(&proxy.url, &running.parent, &[("namespace", "web")]);
    store.check().await.unwrap();
    let (ours, theirs) = ("web/dev/TOKEN", "web/dev/OTHER");
    assert_eq!(put(store.as_ref(), ours, 1, VALUE, Presence::Absent).await, Ok(VerifyMode::ReadBack));
    STAND_IN.put_foreign(base, theirs, "theirs").await;
    // Another key's change does not make ours another one.
    let present = store.look(&STAND_IN.at(ours)).await.unwrap();
    assert!(matches!(&present, Presence::Ours { marker: Some(marker), .. } if *marker == origin(1).marker));
    put(store.as_ref(), ours, 2, "second", present.clone()).await.unwrap();
    assert_eq!(STAND_IN.read(base, theirs).await.as_deref(), Some("theirs"));
    // Somebody is faster, and owns the key.
    let old = json!({"metadata": {"resourceVersion": "1"}, "data": {}}).to_string();
    STAND_IN.put_foreign(base, "web/dev/NEW", "theirs").await;
    proxy.next("GET", "/secrets/dev", Fault::Answer { status: 200, headers: "", body: old });
    let refused = put(store.as_ref(), "web/dev/NEW", 3, VALUE, Presence::Absent).await;
    assert!(matches!(refused, Err(StoreError::Conflict { .. })), "{refused:?}");
    // Or is seen not at all.
    let absent = json!({"kind": "Status", "message": "secrets \"dev\" not found"}).to_string();
    proxy.next("GET", "/secrets/dev", Fault::Answer { status: 404, headers: "", body: absent });
    let refused = put(store.as_ref(), "web/dev/NEW", 3, VALUE, Presence::Absent).await;
    assert!(matches!(refused, Err(StoreError::Conflict { .. })), "{refused:?}");
    assert_eq!(STAND_IN.read(base, "web/dev/NEW").await.as_deref(), Some("theirs"));
    // Who says so takes it over.
    put(store.as_ref(), "web/dev/NEW", 3, VALUE, Presence::Foreign).await.unwrap();
    assert_eq!(STAND_IN.read(base, "web/dev/NEW").await.as_deref(), Some(VALUE));
    // A value changed under our annotation.
    STAND_IN.put_foreign(base, ours, "mine").await;
    assert_eq!(store.look(&STAND_IN.at(ours)).await.unwrap(), Presence::Foreign);
    store.remove(&origin(2), &STAND_IN.at(ours)).await.unwrap();
    assert_eq!(STAND_IN.read(base, ours).await.as_deref(), Some("mine"));
    // The Secret stays while anything is in it, and goes with our last key.
    store.remove(&origin(3), &STAND_IN.at("web/dev/NEW")).await.unwrap();
    let exists = |name: &'static str| async move { ask(base, name, json!({})).await["exists"].clone() };
    assert_eq!(exists("read/web/dev/x").await, true);
    for (seed, place) in [(4, "web/own/A"), (5, "web/own/B")] {
        put(store.as_ref(), place, seed, VALUE, Presence::Absent).await.unwrap();
    }
    store.remove(&origin(4), &STAND_IN.at("web/own/A")).await.unwrap();
    assert_eq!(STAND_IN.read(base, "web/own/B").await.as_deref(), Some(VALUE));
    store.remove(&origin(5), &STAND_IN.at("web/own/B")).await.unwrap();
    assert_eq!(exists("read/web/own/x").await, false);
}

#[tokio::test]
async fn kubernetes_says_what_can_not_be() {
    let running = vendors::start(STAND_IN.kind).await.unwrap();
    let store = STAND_IN.open(&running.base_url, &running.parent);
    let name = KeyName::parse("API_TOKEN").unwrap();
    let project = ("api".parse().unwrap(), "dev".parse().unwrap());
    assert_eq!(store.default_place(&project.0, &project.1, &name), "api/api-dev/API_TOKEN");
    for place in ["web/dev", "web/dev/A/B", "Web/dev/A", "web/-dev/A", "web/dev/-A", "web/dev/a b", "/dev/A"]
    {
        let refused = store.accept(STAND_IN.at(place), &name, None).await;
        assert!(matches!(refused, Err(StoreError::Place { .. })), "{place}: {refused:?}");
    }
    let refused = put(store.as_ref(), "nowhere/dev/A", 1, VALUE, Presence::Absent).await;
    assert!(refused.unwrap_err().to_string().contains("no such namespace"));
    // Before anything is written, where the token may see namespaces.
    let looked = store.look(&STAND_IN.at("nowhere/dev/A")).await;
    assert!(matches!(looked, Err(StoreError::Missing { .. })), "{looked:?}");
    store.remove(&origin(1), &STAND_IN.at("nowhere/dev/A")).await.unwrap();
    let elsewhere = STAND_IN.with(&running.base_url, &running.parent, &[("namespace", "nowhere")]);
    assert!(matches!(elsewhere.check().await, Err(StoreError::Unauthorized { .. })));
    let stranger = STAND_IN.open(&running.base_url, "unknown");
    assert!(matches!(stranger.check().await, Err(StoreError::Unauthorized { .. })));
}

/// The vendor's own Python client reads what was placed, as a program in the cluster would.
const CLIENT: &str = r#"
import base64, os
from kubernetes import client
configuration = client.Configuration()
configuration.host = os.environ["SITE"]
configuration.api_key = {"authorization": "Bearer " + os.environ["TOKEN"]}
secret = client.CoreV1Api(client.ApiClient(configuration)).read_namespaced_secret("dev", "web")
assert secret.kind == "Secret" and secret.metadata.name == "dev" and secret.metadata.namespace == "web", secret.metadata
print(base64.b64decode(secret.data["TOKEN"]).decode(), end="")
"#;

#[tokio::test]
async fn the_vendors_client_reads_what_was_placed() {
    let Some(python) = peer("venv/bin/python") else { return };
    let running = vendors::start(STAND_IN.kind).await.unwrap();
    let store = STAND_IN.with(&running.base_url, &running.parent, &[]);
    let placed = put(store.as_ref(), "web/dev/TOKEN", 1, VALUE, Presence::Absent).await;
    assert_eq!(placed, Ok(VerifyMode::ReadBack));
    let mut command = tokio::process::Command::new(python);
    command.args(["-c", CLIENT]).env("SITE", &running.base_url).env("TOKEN", &running.parent);
    let output = run(command).await;
    assert_eq!(String::from_utf8_lossy(&output.stdout), VALUE, "{}", String::from_utf8_lossy(&output.stderr));
}
