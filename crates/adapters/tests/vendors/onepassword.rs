//! 1Password: the contract against a stand-in of Connect, and the vendor's own client as reader.

use keywright_core::plan::Destination;
use keywright_core::store::{Presence, Store, StoreError, VerifyMode};
use keywright_sandbox::vendors::onepassword::VAULT;
use keywright_sandbox::vendors::{Running, start};
use serde_json::{Value, json};
use tokio::process::Command;

use crate::support::contract::{Limits, Network, Open, StoreCase, VALUE, keeps_the_stores_contract, origin};
use crate::support::peers::Peer;
use crate::support::stores::{destination, open, placed, refuses, run, written};
use crate::support::{Proxy, peer};

#[derive(Clone)]
pub struct Admin {
    url: String,
    token: String,
}

impl Admin {
    pub fn of(connect: &Running) -> Self {
        Self { url: connect.base_url.clone(), token: connect.parent.clone() }
    }

    async fn call(&self, method: &str, path: &str, body: Value) -> Value {
        let url = format!("{}/v1/vaults/{VAULT}/items{path}", self.url);
        let request = reqwest::Client::new().request(method.parse().unwrap(), url);
        request.bearer_auth(&self.token).json(&body).send().await.unwrap().json().await.unwrap_or_default()
    }

    /// The items of a title.
    pub async fn items(&self, title: &str) -> Vec<Value> {
        let listed = self.call("GET", "", json!({})).await;
        let mut items = Vec::new();
        for item in listed.as_array().unwrap().iter().filter(|item| item["title"] == title) {
            items.push(self.call("GET", &format!("/{}", item["id"].as_str().unwrap()), json!({})).await);
        }
        items
    }

    pub async fn value(&self, place: &str) -> Option<String> {
        let (title, field) = place.split_once('#').unwrap();
        let items = self.items(title).await;
        let fields = items.first()?["fields"].as_array()?;
        let field = fields.iter().find(|known| known["id"] == field)?;
        Some(field["value"].as_str()?.to_owned())
    }

    pub async fn put(&self, place: &str, value: &str) {
        let (title, field) = place.split_once('#').unwrap();
        let field = json!({"id": field, "type": "CONCEALED", "label": field, "value": value});
        let item = json!({
            "vault": {"id": VAULT}, "title": title, "category": "API_CREDENTIAL", "fields": [field],
        });
        assert!(self.call("POST", "", item).await["id"].is_string());
    }
}

fn store(url: &str, connect: &Running) -> Box<dyn Store> {
    open("1password", url, &connect.parent, &[("vault", VAULT)])
}

#[tokio::test(flavor = "multi_thread")]
async fn it_keeps_the_contract() {
    keeps_the_stores_contract(async || {
        let connect = start("1password").await.unwrap();
        let parent = connect.parent.clone();
        let settings = [("vault", VAULT), ("timeout", "6s")];
        case(connect, Box::new(move |url| open("1password", url, &parent, &settings))).await
    })
    .await;
}

/// A case whose peer is the stand-in of Connect.
pub async fn case(connect: Running, open: Open) -> StoreCase {
    let (reader, writer) = (Admin::of(&connect), Admin::of(&connect));
    let said = |status| format!(r#"{{"status":{status},"message":"refused with {status}"}}"#);
    let (store, network) = Network::before(&connect.base_url, said, open).await;
    StoreCase {
        store,
        network,
        place: "web-dev-IT_{}#credential".to_owned(),
        read: Box::new(move |place| {
            let admin = reader.clone();
            Box::pin(async move { admin.value(&place).await })
        }),
        put_foreign: Box::new(move |place, value| {
            let admin = writer.clone();
            Box::pin(async move { admin.put(&place, &value).await })
        }),
        limits: Limits::of("", 'a', 200, &format!("#{}", "f".repeat(200))),
        secrets: vec![connect.parent.clone()],
        peer: Box::new(connect),
    }
}

/// Places a value, and the next one in its place: the one item of the title, as it was left.
pub async fn replaces_in_one_item(store: &dyn Store, admin: &Admin) -> (Destination, Value) {
    let (at, mode) = placed(store, "web-dev-CF#token", 1).await;
    assert_eq!(mode.unwrap(), VerifyMode::ReadBack);
    let before = admin.items("web-dev-CF").await;
    assert_eq!((before.len(), &before[0]["category"]), (1, &json!("API_CREDENTIAL")));
    let seen = store.look(&at).await.unwrap();
    assert_eq!(written(store, &at, 2, "next-value", seen).await.unwrap(), VerifyMode::ReadBack);
    assert_eq!(admin.value("web-dev-CF#token").await.as_deref(), Some("next-value"));
    let mut after = admin.items("web-dev-CF").await;
    assert_eq!((after.len(), &after[0]["id"]), (1, &before[0]["id"]));
    assert_eq!(after[0]["category"], before[0]["category"]);
    (at, after.remove(0))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_value_is_replaced_by_whole_fields_and_keeps_its_item() {
    let connect = start("1password").await.unwrap();
    let admin = Admin::of(&connect);
    let proxy = Proxy::start(&connect.base_url).await;
    let store = store(&proxy.url, &connect);
    let (at, after) = replaces_in_one_item(store.as_ref(), &admin).await;
    assert_eq!(after["version"], 2);
    let patches: Vec<Value> = proxy
        .seen()
        .iter()
        .filter(|call| call.method == "PATCH")
        .map(|call| serde_json::from_slice(&call.body).unwrap())
        .collect();
    let [patch] = patches.as_slice() else { panic!("{patches:?}") };
    for (at, id) in [(0, "token"), (1, "keywright")] {
        assert_eq!(
            (&patch[at]["op"], &patch[at]["path"]),
            (&json!("replace"), &json!(format!("/fields/{id}")))
        );
        assert_eq!(patch[at]["value"]["id"], id);
    }
    // Changed by hand.
    let id = after["id"].as_str().unwrap();
    let by_hand = json!({"id": "token", "type": "CONCEALED", "label": "token", "value": "theirs"});
    admin
        .call(
            "PATCH",
            &format!("/{id}"),
            json!([{"op": "replace", "path": "/fields/token", "value": by_hand}]),
        )
        .await;
    assert_eq!(store.look(&at).await.unwrap(), Presence::Foreign);
    store.remove(&origin(2), &at).await.unwrap();
    assert_eq!(admin.value("web-dev-CF#token").await.as_deref(), Some("theirs"));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_person_put_beside_the_value_stays() {
    let connect = start("1password").await.unwrap();
    let admin = Admin::of(&connect);
    let store = store(&connect.base_url, &connect);
    leaves_a_persons_field(store.as_ref(), &admin).await;
}

/// A field that somebody added outlives ours.
pub async fn leaves_a_persons_field(store: &dyn Store, admin: &Admin) {
    let (at, mode) = placed(store, "web-dev-CF#token", 1).await;
    assert_eq!(mode.unwrap(), VerifyMode::ReadBack);
    let id = admin.items("web-dev-CF").await[0]["id"].as_str().unwrap().to_owned();
    let note = json!({"id": "note", "type": "STRING", "label": "note", "value": "precious"});
    admin.call("PATCH", &format!("/{id}"), json!([{"op": "add", "path": "/fields", "value": note}])).await;
    store.remove(&origin(1), &at).await.unwrap();
    assert_eq!(admin.value("web-dev-CF#note").await.as_deref(), Some("precious"));
    assert_eq!(admin.value("web-dev-CF#token").await, None);
    assert_eq!(admin.value("web-dev-CF#keywright").await, None);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_title_that_is_taken_twice_is_nobodys() {
    let connect = start("1password").await.unwrap();
    let admin = Admin::of(&connect);
    let store = store(&connect.base_url, &connect);
    let (at, _) = placed(store.as_ref(), "web-dev-CF", 1).await;
    admin.put("web-dev-CF#credential", "theirs").await;
    assert_eq!(store.look(&at).await.unwrap(), Presence::Foreign);
    let refused = written(store.as_ref(), &at, 2, "next-value", Presence::Absent).await;
    assert!(matches!(refused, Err(StoreError::Conflict { .. })), "{refused:?}");
    // Ours is found and taken back all the same.
    store.remove(&origin(1), &at).await.unwrap();
    assert_eq!(admin.items("web-dev-CF").await.len(), 1);
    assert_eq!(admin.value("web-dev-CF#credential").await.as_deref(), Some("theirs"));
}

#[tokio::test]
async fn places_and_settings_that_are_none_are_refused() {
    let connect = start("1password").await.unwrap();
    let store = store(&connect.base_url, &connect);
    store.check().await.unwrap();
    assert_eq!(destination(store.as_ref(), "CF").await.place.place, "CF#credential");
    for bad in ["a b", "a\"b", "a#", "#b", "a/b", "a#b#c", "a#keywright", "a#Keywright"] {
        refuses(store.as_ref(), bad).await;
    }
    let elsewhere =
        open("1password", &connect.base_url, &connect.parent, &[("vault", "aaaaaaaaaaaaaaaaaaaaaaaaaa")]);
    assert!(matches!(elsewhere.check().await, Err(StoreError::Unauthorized { .. })));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_vendors_client_reads_what_was_placed() {
    let Some(package) = peer("node_modules/@1password/connect") else { return };
    let connect = start("1password").await.unwrap();
    let store = store(&connect.base_url, &connect);
    let (_, mode) = placed(store.as_ref(), "web-dev-CF#token", 1).await;
    assert_eq!(mode.unwrap(), VerifyMode::ReadBack);
    let script = "const { OnePasswordConnect } = require('@1password/connect');\
        (async () => {\
            const client = OnePasswordConnect(\
                { serverURL: process.env.OP_CONNECT_HOST, token: process.env.OP_CONNECT_TOKEN });\
            const item = await client.getItem(process.env.VAULT, 'web-dev-CF');\
            process.stdout.write(item.fields.find(field => field.label === 'token').value);\
        })();";
    let mut command = Command::new("node");
    command
        .args(["-e", script])
        .current_dir(package.ancestors().nth(3).unwrap())
        .env("OP_CONNECT_HOST", &connect.base_url)
        .env("OP_CONNECT_TOKEN", &connect.parent)
        .env("VAULT", VAULT);
    let output = run(command).await;
    assert_eq!(String::from_utf8_lossy(&output.stdout), VALUE, "{}", String::from_utf8_lossy(&output.stderr));
}

/// The vendor's specification before the stand-in: each call and each answer satisfies it.
#[tokio::test(flavor = "multi_thread")]
async fn every_call_satisfies_the_specification() {
    let Some(file) = peer("documents/1password-connect.json") else { return };
    let mut document: Value = serde_json::from_slice(&std::fs::read(file).unwrap()).unwrap();
    // The paths of the document are below `/v1`.
    let paths = document["paths"].as_object().unwrap().iter();
    document["paths"] = paths
        .map(|(path, value)| (format!("/v1{path}"), value.clone()))
        .collect::<serde_json::Map<_, _>>()
        .into();
    document.as_object_mut().unwrap().remove("servers");
    let connect = start("1password").await.unwrap();
    let Some(prism) = Peer::prism(&document, Some(&connect.base_url)).await else { return };
    let store = store(&prism.url, &connect);
    store.check().await.unwrap();
    let (at, mode) = placed(store.as_ref(), "web-dev-CF", 1).await;
    assert_eq!(mode.unwrap(), VerifyMode::ReadBack);
    let seen = store.look(&at).await.unwrap();
    assert_eq!(written(store.as_ref(), &at, 2, "next-value", seen).await.unwrap(), VerifyMode::ReadBack);
    store.remove(&origin(2), &at).await.unwrap();
    assert_eq!(store.look(&at).await.unwrap(), Presence::Absent);
}
