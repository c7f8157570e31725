//! The store `github-actions` before the stand-in for GitHub, GitHub's own OpenAPI document and PyNaCl.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::process::{Command, Stdio};

use keywright_adapters::store::{StoreConfig, connect};
use keywright_core::name::KeyName;
use keywright_core::place::Place;
use keywright_core::plan::Destination;
use keywright_core::secret::Secret;
use keywright_core::store::{Presence, Store, StoreError, VerifyMode, Write};
use keywright_sandbox::vendors::{self, Running};
use serde_json::{Value, json};

use crate::support::contract::{Limits, Network, StoreCase, VALUE, keeps_the_stores_contract, origin};
use crate::support::{Fault, Proxy, openapi, peer, peers};

const KIND: &str = "github-actions";
const DOCUMENT: &str = "node_modules/@octokit/openapi/generated/api.github.com.json";

/// A store at this address; the settings come as `name=value`.
fn store(address: &str, token: &str, settings: &[(&str, &str)]) -> Box<dyn Store> {
    let extra: BTreeMap<String, String> =
        settings.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    let config = StoreConfig { name: KIND.parse().unwrap(), address: Some(address.to_owned()), extra };
    connect(KIND, config, Some(Secret::new(token.to_owned()))).unwrap()
}

async fn ask(github: &str, path: &str, body: Value) -> Value {
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let answer = client.post(format!("{github}/-/{path}")).json(&body).send().await.unwrap();
    assert!(answer.status().is_success(), "{path}: {}", answer.status());
    let text = answer.text().await.unwrap();
    serde_json::from_str(&text).unwrap_or_default()
}

/// A place as the stand-in calls it.
fn scoped(place: &str) -> Value {
    let (of, name) = place.split_once('#').unwrap();
    let scope = match (of.split_once('@'), of.contains('/')) {
        (Some((repository, environment)), _) => format!("repos/{repository}/environments/{environment}"),
        (None, true) => format!("repos/{of}/actions"),
        (None, false) => format!("orgs/{of}/actions"),
    };
    json!({"scope": scope, "name": name})
}

async fn read(github: &str, place: &str) -> Value {
    ask(github, "read", scoped(place)).await
}

async fn put_foreign(github: &str, place: &str, value: &str) {
    let mut body = scoped(place);
    body["value"] = json!(value);
    ask(github, "put", body).await;
}

fn at(place: &str) -> Destination {
    Destination { place: Place { store: KIND.parse().unwrap(), place: place.to_owned() }, base: None }
}

async fn put(
    store: &dyn Store,
    place: &str,
    seed: u8,
    value: &str,
    expected: Presence,
) -> Result<VerifyMode, StoreError> {
    let (destination, origin, secret) = (at(place), origin(seed), Secret::new(value.to_owned()));
    let write = Write { destination: &destination, expected, origin: &origin, secret: &secret };
    let written = store.write(&write).await?;
    store.verify(&write, &written).await
}

/// Times have whole seconds: what comes after this is of another one.
async fn next_second() {
    tokio::time::sleep(std::time::Duration::from_millis(1_100)).await;
}

async fn github() -> Running {
    vendors::start(KIND).await.unwrap()
}

#[tokio::test]
async fn it_keeps_the_contract() {
    keeps_the_stores_contract(async || {
        let github = github().await;
        let (reads, writes) = (github.base_url.clone(), github.base_url.clone());
        let parent = github.parent.clone();
        let open = Box::new(move |url: &str| store(url, &parent, &[("timeout", "6s")]));
        let said = |status| {
            format!(
                r#"{{"message":"refused with {status}","documentation_url":"https://docs.github.com/rest"}}"#
            )
        };
        let (store, network) = Network::before(&github.base_url, said, open).await;
        StoreCase {
            store,
            network,
            place: "acme/web#TOKEN_{}".to_owned(),
            read: Box::new(move |place| {
                let github = reads.clone();
                Box::pin(async move { read(&github, &place).await["value"].as_str().map(str::to_owned) })
            }),
            put_foreign: Box::new(move |place, value| {
                let github = writes.clone();
                Box::pin(async move { put_foreign(&github, &place, &value).await })
            }),
            limits: Limits::of("acme/web#", 'A', 200, ""),
            secrets: vec![github.parent.clone()],
            peer: Box::new(github),
        }
    })
    .await;
}

#[tokio::test]
async fn every_call_and_every_answer_is_githubs() {
    let Some(path) = peer(DOCUMENT) else { return };
    let whole: Value = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
    let mut paths = vec!["/rate_limit".to_owned(), "/repos/{owner}/{repo}".to_owned()];
    for (scope, variable) in [
        ("/repos/{owner}/{repo}/actions", "{name}"),
        ("/repos/{owner}/{repo}/environments/{environment_name}", "{name}"),
        ("/orgs/{org}/actions", "{name}"),
    ] {
        for rest in ["secrets/public-key", "secrets/{secret_name}", "variables"] {
            paths.push(format!("{scope}/{rest}"));
        }
        paths.push(format!("{scope}/variables/{variable}"));
    }
    paths.push("/orgs/{org}/actions/secrets/{secret_name}/repositories".to_owned());
    let paths: Vec<&str> = paths.iter().map(String::as_str).collect();
    let mut document = openapi::cut(&whole, &paths, &[401, 404, 409, 422]);
    // The stand-in knows of repositories what this store reads.
    for name in ["full-repository", "minimal-repository"] {
        document["components"]["schemas"][name]["required"] = json!(["id"]);
    }
    document["components"]["schemas"]["rate-limit-overview"]["required"] = json!([]);
    document["components"]["schemas"]["rate-limit-overview"]["properties"]["resources"] = json!({});
    document["components"]["schemas"]["rate-limit"] = json!({});
    let github = github().await;
    let Some(prism) = peers::Peer::prism(&document, Some(&github.base_url)).await else { return };
    let settings = [("visibility", "selected"), ("selected_repositories", "web, api")];
    let store = store(&prism.url, &github.parent, &settings);
    store.check().await.unwrap();
    for place in ["acme/web#A", "acme/web@prod#A", "acme#A"] {
        assert_eq!(store.look(&at(place)).await.unwrap(), Presence::Absent, "{place}");
        assert_eq!(
            put(store.as_ref(), place, 1, VALUE, Presence::Absent).await,
            Ok(VerifyMode::VersionMoved)
        );
        assert_eq!(read(&github.base_url, place).await["value"], VALUE);
        let present = store.look(&at(place)).await.unwrap();
        assert!(
            matches!(&present, Presence::Ours { marker: Some(marker), .. } if *marker == origin(1).marker)
        );
        put(store.as_ref(), place, 2, "second", present).await.unwrap();
        assert_eq!(read(&github.base_url, place).await["value"], "second");
        store.remove(&origin(2), &at(place)).await.unwrap();
        assert_eq!(store.look(&at(place)).await.unwrap(), Presence::Absent, "{place}");
    }
}

#[tokio::test]
async fn libsodium_opens_what_was_sealed() {
    let Some(python) = peer("venv/bin/python") else { return };
    let github = github().await;
    let store = store(&github.base_url, &github.parent, &[]);
    let value = "any value: 'quotes', $dollars, an umlaut \u{fc}, and\nlines";
    put(store.as_ref(), "acme/web#A", 1, value, Presence::Absent).await.unwrap();
    let program = "import base64, json, sys\nfrom nacl.public import PrivateKey, SealedBox\n\
                   said = json.load(sys.stdin)\nkey = PrivateKey(base64.b64decode(said['key']))\n\
                   sys.stdout.buffer.write(SealedBox(key).decrypt(base64.b64decode(said['sealed'])))";
    let mut child = Command::new(python)
        .args(["-c", program])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let said = read(&github.base_url, "acme/web#A").await.to_string();
    child.stdin.take().unwrap().write_all(said.as_bytes()).unwrap();
    let opened = child.wait_with_output().unwrap();
    assert!(opened.status.success());
    assert_eq!(String::from_utf8(opened.stdout).unwrap(), value);
}

#[tokio::test]
async fn a_key_pair_that_was_replaced_is_read_again_once() {
    let github = github().await;
    let proxy = Proxy::start(&github.base_url).await;
    let store = store(&proxy.url, &github.parent, &[]);
    put(store.as_ref(), "acme/web#A", 1, VALUE, Presence::Absent).await.unwrap();
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let url = format!("{}/repos/acme/web/actions/secrets/public-key", github.base_url);
    let old = client.get(url).bearer_auth(&github.parent).send().await.unwrap().text().await.unwrap();
    ask(&github.base_url, "rotate-key", json!({})).await;
    let stale = Fault::Answer { status: 200, headers: "Content-Type: application/json\r\n", body: old };
    proxy.next("GET", "/public-key", stale.clone());
    proxy.seen();
    let present = store.look(&at("acme/web#A")).await.unwrap();
    put(store.as_ref(), "acme/web#A", 2, "second", present).await.unwrap();
    assert_eq!(read(&github.base_url, "acme/web#A").await["value"], "second");
    let puts =
        |seen: Vec<crate::support::proxy::Seen>| seen.iter().filter(|call| call.method == "PUT").count();
    assert_eq!(puts(proxy.seen()), 2);
    // A refusal that has nothing to do with the key is not tried again with the same one.
    let refused = Fault::Answer { status: 422, headers: "", body: r#"{"message":"no"}"#.to_owned() };
    proxy.next("PUT", "/secrets/", refused);
    let present = store.look(&at("acme/web#A")).await.unwrap();
    let error = put(store.as_ref(), "acme/web#A", 3, "third", present).await.unwrap_err();
    assert!(matches!(error, StoreError::Refused { .. }), "{error}");
    assert_eq!(puts(proxy.seen()), 1);
    assert_eq!(read(&github.base_url, "acme/web#A").await["value"], "second");
    // What lay there is known still.
    let present = store.look(&at("acme/web#A")).await.unwrap();
    assert!(matches!(&present, Presence::Ours { marker: Some(marker), .. } if *marker == origin(2).marker));
    store.remove(&origin(3), &at("acme/web#A")).await.unwrap();
    assert_eq!(store.look(&at("acme/web#A")).await.unwrap(), present);
}

#[tokio::test]
async fn what_somebody_changed_is_theirs() {
    let github = github().await;
    let store = store(&github.base_url, &github.parent, &[]);
    let place = "acme/web#A";
    put(store.as_ref(), place, 1, VALUE, Presence::Absent).await.unwrap();
    next_second().await;
    put_foreign(&github.base_url, place, "theirs").await;
    assert_eq!(store.look(&at(place)).await.unwrap(), Presence::Foreign);
    let (destination, mine, secret) = (at(place), origin(1), Secret::new(VALUE.to_owned()));
    let write =
        Write { destination: &destination, expected: Presence::Absent, origin: &mine, secret: &secret };
    let said = keywright_core::store::Written { store_version: None };
    assert!(matches!(store.verify(&write, &said).await, Err(StoreError::Mismatch { .. })));
    let refused = put(store.as_ref(), place, 1, VALUE, Presence::Absent).await;
    assert!(matches!(refused, Err(StoreError::Conflict { .. })), "{refused:?}");
    store.remove(&mine, &at(place)).await.unwrap();
    assert_eq!(read(&github.base_url, place).await["value"], "theirs");
    // Only who says so takes it over.
    put(store.as_ref(), place, 2, VALUE, Presence::Foreign).await.unwrap();
    assert_eq!(read(&github.base_url, place).await["value"], VALUE);
}

/// Nothing is remembered between the two but what lies at GitHub.
#[tokio::test]
async fn a_write_whose_answer_was_lost_is_found_by_the_next_process() {
    let github = github().await;
    let proxy = Proxy::start(&github.base_url).await;
    let place = "acme/web#A";
    for _ in 0..5 {
        proxy.next("PUT", "/secrets/", Fault::LostAfter);
    }
    let first = store(&proxy.url, &github.parent, &[]);
    let error = put(first.as_ref(), place, 1, VALUE, Presence::Absent).await.unwrap_err();
    assert!(matches!(error, StoreError::OutcomeUnknown { .. }), "{error}");
    proxy.unmet();
    let second = store(&proxy.url, &github.parent, &[]);
    let present = second.look(&at(place)).await.unwrap();
    assert!(matches!(&present, Presence::Ours { marker: Some(marker), .. } if *marker == origin(1).marker));
    assert_eq!(put(second.as_ref(), place, 1, VALUE, present).await, Ok(VerifyMode::VersionMoved));
    second.remove(&origin(1), &at(place)).await.unwrap();
    assert_eq!(second.look(&at(place)).await.unwrap(), Presence::Absent);
}

#[tokio::test]
async fn an_organisations_secret_keeps_its_readers() {
    let github = github().await;
    let settings = [("visibility", "selected"), ("selected_repositories", "web,api")];
    let store = store(&github.base_url, &github.parent, &settings);
    put(store.as_ref(), "acme#A", 1, VALUE, Presence::Absent).await.unwrap();
    assert_eq!(read(&github.base_url, "acme#A").await["selected"], json!([101, 102]));
    // Somebody let another repository read it; the next write does not take that back.
    let mut body = scoped("acme#A");
    body["value"] = json!("x");
    body["visibility"] = json!("selected");
    body["selected_repository_ids"] = json!([101, 103]);
    next_second().await;
    ask(&github.base_url, "put", body).await;
    put(store.as_ref(), "acme#A", 2, "second", Presence::Foreign).await.unwrap();
    let now = read(&github.base_url, "acme#A").await;
    assert_eq!((&now["value"], &now["selected"]), (&json!("second"), &json!([101, 103])));
    let all = self::store(&github.base_url, &github.parent, &[("visibility", "private")]);
    put(all.as_ref(), "acme#B", 3, VALUE, Presence::Absent).await.unwrap();
    assert_eq!(read(&github.base_url, "acme#B").await["visibility"], "private");
}

#[tokio::test]
async fn what_can_not_be_is_said_before_anything_is_made() {
    let github = github().await;
    let store = store(&github.base_url, &github.parent, &[("repository", "acme/web")]);
    store.check().await.unwrap();
    let name = KeyName::parse("DEPLOY_TOKEN").unwrap();
    let project = ("web".parse().unwrap(), "dev".parse().unwrap());
    assert_eq!(store.default_place(&project.0, &project.1, &name), "acme/web#DEPLOY_TOKEN");
    let accepted = store.accept(at("acme/web"), &name, Some("/home/me")).await.unwrap();
    assert_eq!(accepted, at("acme/web#DEPLOY_TOKEN"));
    for (place, says) in [
        ("acme#X", "visibility"),
        ("acme/web#x", "upper-case"),
        ("acme/web#GITHUB_X", "GITHUB_"),
        ("#X", "OWNER/REPO"),
    ] {
        let error = store.accept(at(place), &name, None).await.unwrap_err().to_string();
        assert!(error.contains(says), "{place}: {error}");
    }
    let error = store.look(&at("acme/nowhere#X")).await.unwrap_err();
    assert!(matches!(&error, StoreError::Unauthorized { .. }), "{error}");
    let long = put(store.as_ref(), "acme/web#X", 1, &"x".repeat(50_000), Presence::Absent).await;
    assert!(matches!(long, Err(StoreError::Value { .. })), "{long:?}");
    let stranger = self::store(&github.base_url, "ghp_unknown", &[]);
    assert!(matches!(stranger.check().await, Err(StoreError::Unauthorized { .. })));
}

#[tokio::test]
async fn a_note_of_somebody_else_is_left_alone() {
    let github = github().await;
    let store = store(&github.base_url, &github.parent, &[]);
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let variables = format!("{}/repos/acme/web/actions/variables", github.base_url);
    let body = json!({"name": "KEYWRIGHT_A", "value": "mine"});
    let made = client.post(variables).bearer_auth(&github.parent).json(&body).send().await.unwrap();
    assert_eq!(made.status(), 201);
    let error = put(store.as_ref(), "acme/web#A", 1, VALUE, Presence::Absent).await.unwrap_err();
    assert!(matches!(&error, StoreError::Unsafe { .. }), "{error}");
    assert_eq!(read(&github.base_url, "acme/web#A").await["value"], Value::Null);
}
