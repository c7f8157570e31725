//! Infisical: the contract against a stand-in written from the vendor's routes, and the vendor's own client as reader.

use keywright_core::store::{Presence, Standing, Store, StoreError, VerifyMode};
use keywright_sandbox::vendors::infisical::{CLIENT_ID, PROJECT};
use keywright_sandbox::vendors::{Running, start};
use serde_json::{Value, json};
use tokio::process::Command;

use crate::support::contract::{Limits, Network, StoreCase, VALUE, keeps_the_stores_contract, origin};
use crate::support::stores::{destination, open, placed, refuses, run, written};
use crate::support::{Fault, Proxy, peer};

#[derive(Clone)]
struct Admin {
    url: String,
    secret: String,
}

impl Admin {
    fn of(infisical: &Running) -> Self {
        Self { url: infisical.base_url.clone(), secret: infisical.parent.clone() }
    }

    async fn call(&self, method: &str, place: &str, mut body: Value) -> Value {
        let client = reqwest::Client::new();
        let login = json!({"clientId": CLIENT_ID, "clientSecret": self.secret});
        let url = format!("{}/api/v1/auth/universal-auth/login", self.url);
        let granted: Value = client.post(url).json(&login).send().await.unwrap().json().await.unwrap();
        let (scope, name) = place.split_once('#').unwrap();
        let (environment, folder) = scope.split_once('/').unwrap_or((scope, ""));
        let target =
            [("projectId", PROJECT), ("environment", environment), ("secretPath", &format!("/{folder}"))];
        for (name, value) in target {
            body[name] = json!(value);
        }
        let url = format!("{}/api/v4/secrets/{name}", self.url);
        let url = url::Url::parse_with_params(&url, target).unwrap();
        let request = client.request(method.parse().unwrap(), url).json(&body);
        request
            .bearer_auth(granted["accessToken"].as_str().unwrap())
            .send()
            .await
            .unwrap()
            .json()
            .await
            .unwrap()
    }

    async fn value(&self, place: &str) -> Option<String> {
        Some(self.call("GET", place, json!({})).await["secret"]["secretValue"].as_str()?.to_owned())
    }
}

fn store(url: &str, infisical: &Running) -> Box<dyn Store> {
    open("infisical", url, &infisical.parent, &[("client_id", CLIENT_ID), ("project_id", PROJECT)])
}

async fn keeps_the_contract(place: &'static str) {
    keeps_the_stores_contract(async || {
        let infisical = start("infisical").await.unwrap();
        let (reader, writer) = (Admin::of(&infisical), Admin::of(&infisical));
        let parent = infisical.parent.clone();
        let settings = [("client_id", CLIENT_ID), ("project_id", PROJECT), ("timeout", "6s")];
        let open = Box::new(move |url: &str| open("infisical", url, &parent, &settings));
        let said = |status| {
            format!(r#"{{"reqId":"req-1","statusCode":{status},"message":"refused with {status}","error":"Refused"}}"#)
        };
        let (store, network) = Network::before(&infisical.base_url, said, open).await;
        StoreCase {
            store,
            network,
            place: place.to_owned(),
            read: Box::new(move |place| {
                let admin = reader.clone();
                Box::pin(async move { admin.value(&place).await })
            }),
            put_foreign: Box::new(move |place, value| {
                let admin = writer.clone();
                Box::pin(async move {
                    admin.call("POST", &place, json!({"secretValue": value})).await;
                })
            }),
            limits: Limits::of(place.trim_end_matches("IT_{}"), 'A', 255, ""),
            secrets: vec![infisical.parent.clone()],
            peer: Box::new(infisical),
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn it_keeps_the_contract() {
    keeps_the_contract("dev#IT_{}").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn it_keeps_the_contract_in_a_folder() {
    keeps_the_contract("prod/web#IT_{}").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn create_and_update_are_different_verbs_and_the_stamp_comes_with_the_value() {
    let infisical = start("infisical").await.unwrap();
    let admin = Admin::of(&infisical);
    let proxy = Proxy::start(&infisical.base_url).await;
    let store = store(&proxy.url, &infisical);
    let (at, mode) = placed(store.as_ref(), "dev", 1).await;
    assert_eq!((at.place.place.as_str(), mode.unwrap()), ("dev#IT_TOKEN", VerifyMode::ReadBack));
    let seen = store.look(&at).await.unwrap();
    // Other people's metadata stays.
    let held = admin.call("GET", "dev#IT_TOKEN", json!({})).await["secret"]["secretMetadata"][0].clone();
    assert_eq!(held["key"], "keywright");
    let both = json!({"secretValue": VALUE, "secretMetadata": [{"key": "owner", "value": "web", "isEncrypted": true}, held]});
    admin.call("PATCH", "dev#IT_TOKEN", both).await;
    assert!(written(store.as_ref(), &at, 2, "next-value", seen).await.is_err(), "the version moved");
    let seen = store.look(&at).await.unwrap();
    assert_eq!(written(store.as_ref(), &at, 2, "next-value", seen).await.unwrap(), VerifyMode::ReadBack);
    let metadata = admin.call("GET", "dev#IT_TOKEN", json!({})).await["secret"]["secretMetadata"].clone();
    assert_eq!((metadata.as_array().unwrap().len(), &metadata[0]["key"]), (2, &json!("owner")));
    assert_eq!(metadata[0]["isEncrypted"], true);
    let verbs: Vec<String> = proxy
        .seen()
        .into_iter()
        .filter(|call| call.path.starts_with("/api/v4/") && call.method != "GET")
        .map(|call| call.method)
        .collect();
    assert_eq!(verbs, ["POST", "PATCH"]);
    // Changed by hand: theirs, although the metadata is still there.
    admin.call("PATCH", "dev#IT_TOKEN", json!({"secretValue": "theirs"})).await;
    assert_eq!(store.look(&at).await.unwrap(), Presence::Foreign);
    store.remove(&origin(2), &at).await.unwrap();
    assert_eq!(admin.value("dev#IT_TOKEN").await.as_deref(), Some("theirs"));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_approval_in_a_200_is_no_secret() {
    let infisical = start("infisical").await.unwrap();
    let store = store(&infisical.base_url, &infisical);
    let (at, outcome) = placed(store.as_ref(), "gated", 1).await;
    let Err(StoreError::PendingApproval { change, .. }) = outcome else { panic!("{outcome:?}") };
    assert_eq!(change.id(), Some("request-1"));
    assert_eq!(store.look(&at).await.unwrap(), Presence::Absent);
    // A machine hears nothing of it.
    people(&infisical, "reject").await;
    assert_eq!(store.standing(&at, &change).await.unwrap(), Standing::Untold);
    assert_eq!(store.withdraw(&at, &change).await.unwrap(), Standing::Untold);
}

/// People's deeds in the dashboard.
async fn people(infisical: &Running, deed: &str) -> Value {
    let url = format!("{}/_standin/{deed}", infisical.base_url);
    let answer = reqwest::Client::new().post(url).send().await.unwrap();
    assert!(answer.status().is_success(), "{deed}");
    answer.json().await.unwrap_or_default()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_removal_that_waits_lies_there_until_somebody_approves_it() {
    let infisical = start("infisical").await.unwrap();
    let proxy = Proxy::start(&infisical.base_url).await;
    let store = store(&proxy.url, &infisical);
    let (at, _) = placed(store.as_ref(), "gated", 1).await;
    people(&infisical, "approve").await;
    // An answer that is lost is no reason for a second request.
    proxy.next("DELETE", "/api/v4/", Fault::LostBefore);
    assert!(matches!(store.remove(&origin(1), &at).await, Err(StoreError::OutcomeUnknown { .. })));
    let removal = store.remove(&origin(1), &at).await;
    let Err(StoreError::PendingApproval { change, .. }) = removal else { panic!("{removal:?}") };
    assert_eq!(people(&infisical, "list").await["approvals"].as_array().unwrap().len(), 2);
    assert!(store.lies(&origin(1), &at, &change).await.unwrap());
    people(&infisical, "approve").await;
    assert!(!store.lies(&origin(1), &at, &change).await.unwrap());
    store.remove(&origin(1), &at).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_folder_or_environment_that_is_not_there_is_no_free_place() {
    let infisical = start("infisical").await.unwrap();
    let store = store(&infisical.base_url, &infisical);
    for place in ["dev/nowhere", "nowhere", "nowhere/web"] {
        let at = destination(store.as_ref(), place).await;
        let looked = store.look(&at).await;
        assert!(matches!(looked, Err(StoreError::Missing { .. })), "{place}: {looked:?}");
        let outcome = placed(store.as_ref(), place, 1).await.1;
        assert!(matches!(outcome, Err(StoreError::Missing { .. })), "{place}: {outcome:?}");
        store.remove(&origin(1), &at).await.unwrap();
    }
    // A secret may be called so.
    let at = destination(store.as_ref(), "dev/web#FOLDER").await;
    assert_eq!(store.look(&at).await.unwrap(), Presence::Absent);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_identity_that_may_not_read_values_knows_the_version() {
    let infisical = start("infisical").await.unwrap();
    let store = store(&infisical.base_url, &infisical);
    let (at, mode) = placed(store.as_ref(), "blind", 1).await;
    assert_eq!(mode.unwrap(), VerifyMode::VersionMoved);
    let seen = store.look(&at).await.unwrap();
    assert_eq!(written(store.as_ref(), &at, 2, "next-value", seen).await.unwrap(), VerifyMode::VersionMoved);
    store.remove(&origin(2), &at).await.unwrap();
    assert_eq!(store.look(&at).await.unwrap(), Presence::Absent);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dead_token_is_replaced_once_and_a_missing_permission_is_not() {
    let infisical = start("infisical").await.unwrap();
    let proxy = Proxy::start(&infisical.base_url).await;
    let store = store(&proxy.url, &infisical);
    let logins = || proxy.seen().iter().filter(|call| call.path.ends_with("/login")).count();
    let at = destination(store.as_ref(), "dev").await;
    store.look(&at).await.unwrap();
    store.look(&at).await.unwrap();
    assert_eq!(logins(), 1);
    let expire = format!("{}/_standin/expire", infisical.base_url);
    reqwest::Client::new().post(expire).send().await.unwrap();
    store.look(&at).await.unwrap();
    assert_eq!(logins(), 1);
    let body =
        r#"{"reqId": "r", "statusCode": 403, "error": "PermissionDenied", "message": "no"}"#.to_owned();
    // With the value, and without.
    for _ in 0..2 {
        proxy.next("GET", "/api/v4/", Fault::Answer { status: 403, headers: "", body: body.clone() });
    }
    let denied = store.look(&at).await;
    assert!(matches!(denied, Err(StoreError::Unauthorized { .. })), "{denied:?}");
    assert_eq!(logins(), 0);
    let stranger = open(
        "infisical",
        &proxy.url,
        "not-the-client-secret",
        &[("client_id", CLIENT_ID), ("project_id", PROJECT)],
    );
    assert!(matches!(stranger.check().await, Err(StoreError::Unauthorized { .. })));
    assert_eq!(logins(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn values_that_would_be_changed_and_places_that_are_none_are_refused() {
    let infisical = start("infisical").await.unwrap();
    let store = store(&infisical.base_url, &infisical);
    let at = destination(store.as_ref(), "dev").await;
    for bad in [" a", "a ", "a\n\n", "a \n", "a${B}"] {
        let refused = written(store.as_ref(), &at, 1, bad, Presence::Absent).await;
        assert!(matches!(refused, Err(StoreError::Value { .. })), "{bad:?}: {refused:?}");
    }
    // One newline at the end is kept by the server.
    assert_eq!(
        written(store.as_ref(), &at, 1, "a\nb\n", Presence::Absent).await.unwrap(),
        VerifyMode::ReadBack
    );
    for bad in ["", "/web", "dev/", "dev//web", "dev#", "dev#A/B", "d v#A", "dev/we b"] {
        if !bad.is_empty() {
            refuses(store.as_ref(), bad).await;
        }
    }
    // A folder that is not there.
    let (_, refused) = placed(store.as_ref(), "dev/nowhere", 2).await;
    assert!(matches!(refused, Err(StoreError::Missing { .. })), "{refused:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_vendors_client_reads_what_was_placed() {
    let Some(package) = peer("node_modules/@infisical/sdk") else { return };
    let infisical = start("infisical").await.unwrap();
    let store = store(&infisical.base_url, &infisical);
    let (_, mode) = placed(store.as_ref(), "prod/web#CF_TOKEN", 1).await;
    assert_eq!(mode.unwrap(), VerifyMode::ReadBack);
    let script = "const { InfisicalSDK } = require('@infisical/sdk');\
        (async () => {\
            const client = new InfisicalSDK({ siteUrl: process.env.SITE });\
            await client.auth().universalAuth.login(\
                { clientId: process.env.CLIENT_ID, clientSecret: process.env.CLIENT_SECRET });\
            const secret = await client.secrets().getSecret({ environment: 'prod', secretPath: '/web',\
                projectId: process.env.PROJECT, secretName: 'CF_TOKEN' });\
            process.stdout.write(secret.secretValue);\
        })();";
    let mut command = Command::new("node");
    command
        .args(["-e", script])
        .current_dir(package.ancestors().nth(3).unwrap())
        .env("SITE", &infisical.base_url)
        .env("CLIENT_ID", CLIENT_ID)
        .env("CLIENT_SECRET", &infisical.parent)
        .env("PROJECT", PROJECT);
    let output = run(command).await;
    assert_eq!(String::from_utf8_lossy(&output.stdout), VALUE, "{}", String::from_utf8_lossy(&output.stderr));
}
