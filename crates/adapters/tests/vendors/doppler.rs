//! Doppler: the contract against a stand-in written from the vendor's CLI; what is read is checked against the document.

use keywright_core::plan::Destination;
use keywright_core::secret::Secret;
use keywright_core::store::{Change, Origin, Presence, Standing, Store, StoreError, VerifyMode, Write};
use keywright_sandbox::vendors::{Running, start};
use serde_json::{Value, json};

use crate::support::contract::{Limits, Network, StoreCase, VALUE, keeps_the_stores_contract, origin};
use crate::support::peers::Peer;
use crate::support::stores::{destination, open, placed, refuses, written};
use crate::support::{Fault, Proxy, data};

#[derive(Clone)]
struct Admin {
    url: String,
    token: String,
}

impl Admin {
    fn of(doppler: &Running) -> Self {
        Self { url: doppler.base_url.clone(), token: doppler.parent.clone() }
    }

    async fn call(&self, method: &str, path: &str, body: Value) -> Value {
        let url = format!("{}/v3/{path}", self.url);
        let request = reqwest::Client::new().request(method.parse().unwrap(), url);
        let answer = request.bearer_auth(&self.token).json(&body).send().await.unwrap();
        assert!(answer.status().is_success(), "{path}: {}", answer.status());
        answer.json().await.unwrap()
    }

    async fn secret(&self, place: &str) -> Option<Value> {
        let (scope, name) = place.split_once('#').unwrap();
        let (project, config) = scope.split_once('/').unwrap();
        let path = format!("configs/config/secrets?project={project}&config={config}");
        self.call("GET", &path, json!({})).await.pointer(&format!("/secrets/{name}")).cloned()
    }

    async fn put(&self, place: &str, value: &str) {
        let (scope, name) = place.split_once('#').unwrap();
        let (project, config) = scope.split_once('/').unwrap();
        let path = format!("configs/config/secrets?project={project}&config={config}");
        self.call("POST", &path, json!({"secrets": {name: value}})).await;
    }
}

fn store(url: &str, doppler: &Running, extra: &[(&str, &str)]) -> Box<dyn Store> {
    open("doppler", url, &doppler.parent, extra)
}

#[tokio::test(flavor = "multi_thread")]
async fn it_keeps_the_contract() {
    keeps_the_stores_contract(async || {
        let doppler = start("doppler").await.unwrap();
        let (reader, writer) = (Admin::of(&doppler), Admin::of(&doppler));
        let parent = doppler.parent.clone();
        let open = Box::new(move |url: &str| open("doppler", url, &parent, &[("timeout", "6s")]));
        let said = |status| format!(r#"{{"success":false,"messages":["refused with {status}"]}}"#);
        let (store, network) = Network::before(&doppler.base_url, said, open).await;
        StoreCase {
            store,
            network,
            place: "web/dev#IT_{}".to_owned(),
            read: Box::new(move |place| {
                let admin = reader.clone();
                Box::pin(async move { Some(admin.secret(&place).await?["raw"].as_str()?.to_owned()) })
            }),
            put_foreign: Box::new(move |place, value| {
                let admin = writer.clone();
                Box::pin(async move { admin.put(&place, &value).await })
            }),
            limits: Limits::of("web/dev#", 'A', 200, ""),
            secrets: vec![doppler.parent.clone()],
            peer: Box::new(doppler),
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_guard_is_the_old_value_and_null_for_none() {
    let doppler = start("doppler").await.unwrap();
    let proxy = Proxy::start(&doppler.base_url).await;
    let store = store(&proxy.url, &doppler, &[]);
    let (at, mode) = placed(store.as_ref(), "web/dev", 1).await;
    assert_eq!((at.place.place.as_str(), mode.unwrap()), ("web/dev#IT_TOKEN", VerifyMode::ReadBack));
    let seen = store.look(&at).await.unwrap();
    let next = format!("{VALUE}-next");
    written(store.as_ref(), &at, 2, &next, seen).await.unwrap();
    let changes: Vec<Value> = proxy
        .seen()
        .iter()
        .filter(|call| call.method == "POST" && call.path.contains("/configs/config/secrets?"))
        .map(|call| serde_json::from_slice::<Value>(&call.body).unwrap()["change_requests"][0].clone())
        .collect();
    let [first, second] = changes.as_slice() else { panic!("{changes:?}") };
    assert_eq!((&first["originalName"], &first["originalValue"]), (&Value::Null, &Value::Null));
    assert!(first.as_object().unwrap().contains_key("originalValue"), "a real null");
    assert_eq!((&second["originalValue"], &second["value"]), (&json!(VALUE), &json!(next)));
    // Somebody else is faster: their value is there when ours arrives.
    let admin = Admin::of(&doppler);
    let stale = store.look(&at).await.unwrap();
    admin.put("web/dev#IT_TOKEN", "theirs").await;
    let refused = written(store.as_ref(), &at, 3, VALUE, stale).await;
    assert!(matches!(refused, Err(StoreError::Conflict { .. })), "{refused:?}");
    assert_eq!(store.look(&at).await.unwrap(), Presence::Foreign, "changed by hand, whatever the note says");
    store.remove(&origin(2), &at).await.unwrap();
    assert_eq!(admin.secret("web/dev#IT_TOKEN").await.unwrap()["raw"], "theirs");
}

#[tokio::test(flavor = "multi_thread")]
async fn notes_are_shared_by_configs_and_with_people() {
    let doppler = start("doppler").await.unwrap();
    let admin = Admin::of(&doppler);
    let store = store(&doppler.base_url, &doppler, &[]);
    let (dev, _) = placed(store.as_ref(), "web/dev", 1).await;
    let note = |text: &str| json!({"secret": "IT_TOKEN", "note": text});
    let held = admin.secret("web/dev#IT_TOKEN").await.unwrap()["note"].as_str().unwrap().to_owned();
    admin.call("POST", "projects/project/note?project=web", note(&format!("ask the web team\n{held}"))).await;
    let (prd, mode) = placed(store.as_ref(), "web/prd", 2).await;
    assert_eq!(mode.unwrap(), VerifyMode::ReadBack);
    for at in [&dev, &prd] {
        assert!(matches!(store.look(at).await.unwrap(), Presence::Ours { .. }), "{at:?}");
    }
    store.remove(&origin(1), &dev).await.unwrap();
    let left = admin.secret("web/prd#IT_TOKEN").await.unwrap()["note"].as_str().unwrap().to_owned();
    assert!(left.starts_with("ask the web team\nkeywright prd: plc_") && !left.contains(" dev:"), "{left}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_note_that_cant_be_written_takes_the_value_back() {
    let doppler = start("doppler").await.unwrap();
    let proxy = Proxy::start(&doppler.base_url).await;
    let store = store(&proxy.url, &doppler, &[]);
    let body = r#"{"messages": ["no"], "success": false}"#.to_owned();
    proxy.next("POST", "/note", Fault::Answer { status: 403, headers: "", body });
    let (_, refused) = placed(store.as_ref(), "web/dev", 1).await;
    assert!(matches!(refused, Err(StoreError::Unauthorized { .. })), "{refused:?}");
    assert!(Admin::of(&doppler).secret("web/dev#IT_TOKEN").await.is_none());
    for status in [400, 403, 404] {
        let body = r#"{"messages": ["no"], "success": false}"#.to_owned();
        proxy.next("POST", "/note", Fault::Answer { status, headers: "", body });
        let error = placed(store.as_ref(), "web/dev", 1).await.1.unwrap_err().to_string();
        assert!(error.contains("its note, which says whose value it is, can't be written: "), "{error}");
        assert!(Admin::of(&doppler).secret("web/dev#IT_TOKEN").await.is_none());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_keeps_another_value_is_told_so() {
    let doppler = start("doppler").await.unwrap();
    let proxy = Proxy::start(&doppler.base_url).await;
    let store = store(&proxy.url, &doppler, &[]);
    let secrets = "/configs/config/secrets?";
    let said = |body: Value| Fault::Answer { status: 200, headers: "", body: body.to_string() };
    // It says that all is well, and made something else of it.
    proxy.next("GET", secrets, Fault::Nothing);
    let kept = json!({"raw": "other", "computed": "other", "note": ""});
    proxy.next("GET", secrets, said(json!({"secrets": {"IT_TOKEN": kept}, "success": true})));
    let error = placed(store.as_ref(), "web/dev", 1).await.1.unwrap_err();
    assert_eq!(proxy.unmet(), 0);
    assert!(matches!(error, StoreError::Mismatch { .. }), "{error}");
    // Or left it out.
    proxy.next("POST", secrets, said(json!({"secrets": {}, "success": true})));
    let error = placed(store.as_ref(), "web/prd", 1).await.1.unwrap_err();
    assert!(error.to_string().contains("does not hold what was written"), "{error}");
}

/// People's deeds in the dashboard.
async fn people(doppler: &Running, deed: &str) {
    let url = format!("{}/_standin/{deed}", doppler.base_url);
    assert!(reqwest::Client::new().post(url).send().await.unwrap().status().is_success());
}

/// How many change requests are there.
async fn requests(doppler: &Running) -> usize {
    Admin::of(doppler).call("GET", "workplace/change_requests", json!({})).await.as_array().unwrap().len()
}

fn waiting(outcome: Result<VerifyMode, StoreError>) -> Change {
    match outcome {
        Err(StoreError::PendingApproval { change, .. }) => change,
        other => panic!("{other:?}"),
    }
}

fn again<'a>(at: &'a Destination, origin: &'a Origin, secret: &'a Secret) -> Write<'a> {
    Write { destination: at, expected: Presence::Absent, origin, secret }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_waits_for_approval_is_not_stored_and_is_known_again() {
    let doppler = start("doppler").await.unwrap();
    let store = store(&doppler.base_url, &doppler, &[]);
    let (at, outcome) = placed(store.as_ref(), "web/gated", 1).await;
    let change = waiting(outcome);
    assert_eq!(change.id(), Some("cr_1"));
    assert_eq!(store.look(&at).await.unwrap(), Presence::Absent);
    assert_eq!(store.standing(&at, &change).await.unwrap(), Standing::Open);
    // Whoever sent it died before the answer; another value, and another place, is another change.
    let (first, second) = (origin(1), origin(2));
    let (same, other) = (Secret::new(VALUE.to_owned()), Secret::new("another".to_owned()));
    assert_eq!(store.awaited(&again(&at, &first, &same)).await.unwrap(), Some(change.clone()));
    assert_eq!(store.awaited(&again(&at, &second, &other)).await.unwrap(), None);
    let elsewhere = destination(store.as_ref(), "api/gated").await;
    assert_eq!(store.awaited(&again(&elsewhere, &first, &same)).await.unwrap(), None);
    assert_eq!(store.standing(&elsewhere, &change).await.unwrap(), Standing::Untold);
    people(&doppler, "approve").await;
    assert_eq!(store.standing(&at, &change).await.unwrap(), Standing::Done);
    assert_eq!(store.awaited(&again(&at, &first, &same)).await.unwrap(), None, "it waits no more");
    assert_eq!(written(store.as_ref(), &at, 1, VALUE, Presence::Absent).await.unwrap(), VerifyMode::ReadBack);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_is_withdrawn_unless_somebody_was_faster() {
    for (deed, standing) in [
        (None, Standing::Closed),
        (Some("reject"), Standing::Closed),
        (Some("approve"), Standing::Done),
        (Some("blindfold"), Standing::Untold),
    ] {
        let doppler = start("doppler").await.unwrap();
        let store = store(&doppler.base_url, &doppler, &[]);
        let (at, outcome) = placed(store.as_ref(), "web/gated", 1).await;
        let change = waiting(outcome);
        if let Some(deed) = deed {
            people(&doppler, deed).await;
        }
        assert_eq!(store.withdraw(&at, &change).await.unwrap(), standing, "{deed:?}");
        assert_eq!(store.standing(&at, &change).await.unwrap(), standing, "{deed:?}");
        people(&doppler, "approve").await;
        let lies = [Some("approve"), Some("blindfold")].contains(&deed);
        assert_eq!(Admin::of(&doppler).secret("web/gated#IT_TOKEN").await.is_some(), lies, "{deed:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_people_made_more_of_is_not_closed() {
    let doppler = start("doppler").await.unwrap();
    let proxy = Proxy::start(&doppler.base_url).await;
    let store = store(&proxy.url, &doppler, &[]);
    let (at, outcome) = placed(store.as_ref(), "web/gated", 1).await;
    let change = waiting(outcome);
    let target =
        json!({"project": {"slug": "web", "name": "web"}, "config": {"slug": "gated", "name": "gated"}});
    let update = |name: &str| json!({"name": name});
    let theirs = json!({"id": "cr_1", "status": "open", "units": [
        {"id": "u", "status": "open", "target": target, "updates": [update("IT_TOKEN"), update("THEIRS")]},
    ]});
    let body = json!({"changeRequest": theirs}).to_string();
    proxy.seen();
    proxy.next("GET", "/change_request/cr_1", Fault::Answer { status: 200, headers: "", body });
    assert_eq!(store.withdraw(&at, &change).await.unwrap(), Standing::Untold);
    assert!(proxy.seen().iter().all(|call| call.method == "GET"), "nothing is closed");
    // One that it does not let go is not closed either.
    let body = r#"{"messages": ["no"], "success": false}"#.to_owned();
    proxy.next("POST", "/close", Fault::Answer { status: 403, headers: "", body });
    assert_eq!(store.withdraw(&at, &change).await.unwrap(), Standing::Untold);
    // An answer that is lost is looked up.
    proxy.next("POST", "/close", Fault::LostAfter);
    assert_eq!(store.withdraw(&at, &change).await.unwrap(), Standing::Closed);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_value_that_came_late_is_taken_back_and_nobody_elses_is() {
    let doppler = start("doppler").await.unwrap();
    let (store, admin) = (store(&doppler.base_url, &doppler, &[]), Admin::of(&doppler));
    let (at, outcome) = placed(store.as_ref(), "web/gated", 1).await;
    let change = waiting(outcome);
    people(&doppler, "approve").await;
    assert_eq!(store.look(&at).await.unwrap(), Presence::Foreign, "nothing says whose it is");
    store.remove(&origin(1), &at).await.unwrap();
    assert!(admin.secret("web/gated#IT_TOKEN").await.is_some());
    assert!(store.lies(&origin(1), &at, &change).await.unwrap());
    assert!(!store.lies(&origin(2), &at, &change).await.unwrap());
    // The removal waits as well, and is asked for once.
    let before = requests(&doppler).await;
    let mut removal = Change::default();
    for _ in 0..3 {
        match store.remove_late(&origin(1), &at, &change).await {
            Err(StoreError::PendingApproval { change, .. }) => removal = change,
            other => panic!("{other:?}"),
        }
    }
    assert_eq!((requests(&doppler).await, removal.id()), (before + 1, Some("cr_2")));
    assert!(store.lies(&origin(1), &at, &removal).await.unwrap());
    people(&doppler, "approve").await;
    assert!(!store.lies(&origin(1), &at, &removal).await.unwrap());
    store.remove_late(&origin(1), &at, &removal).await.unwrap();
    admin.put("web/gated#IT_TOKEN", "theirs").await;
    store.remove_late(&origin(1), &at, &change).await.unwrap();
    assert_eq!(admin.secret("web/gated#IT_TOKEN").await.unwrap()["raw"], "theirs");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_names_no_change_request_is_looked_up() {
    let doppler = start("doppler").await.unwrap();
    let proxy = Proxy::start(&doppler.base_url).await;
    let store = store(&proxy.url, &doppler, &[]);
    let body = r#"{"change_request": {}, "success": true}"#.to_owned();
    proxy.next("POST", "/configs/config/secrets", Fault::AnswerAfter { status: 200, headers: "", body });
    let change = waiting(placed(store.as_ref(), "web/gated", 1).await.1);
    assert_eq!(change.id(), Some("cr_1"));
    let values = proxy.seen().into_iter().filter(|call| call.path.contains("reveal=")).count();
    assert_eq!(values, 1, "a value is shown only where it is compared");
}

#[tokio::test(flavor = "multi_thread")]
async fn restricted_values_are_known_by_name_only() {
    let doppler = start("doppler").await.unwrap();
    let store = store(&doppler.base_url, &doppler, &[("visibility", "restricted")]);
    let (at, mode) = placed(store.as_ref(), "web/dev", 1).await;
    assert_eq!(mode.unwrap(), VerifyMode::StatusOnly);
    let seen = store.look(&at).await.unwrap();
    assert!(matches!(seen, Presence::Ours { .. }), "{seen:?}");
    assert_eq!(written(store.as_ref(), &at, 2, "another-value", seen).await.unwrap(), VerifyMode::StatusOnly);
    store.remove(&origin(2), &at).await.unwrap();
    assert_eq!(store.look(&at).await.unwrap(), Presence::Absent);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_error_with_a_json_body_is_not_asked_again() {
    let doppler = start("doppler").await.unwrap();
    let proxy = Proxy::start(&doppler.base_url).await;
    let store = store(&proxy.url, &doppler, &[]);
    let at = destination(store.as_ref(), "web/dev").await;
    for (body, calls) in [(r#"{"messages": ["down"], "success": false}"#, 1), ("<html>bad gateway</html>", 3)]
    {
        for _ in 0..calls {
            proxy.next("GET", "/secrets", Fault::Answer { status: 502, headers: "", body: body.to_owned() });
        }
        proxy.seen();
        assert!(store.look(&at).await.is_err(), "{body}");
        assert_eq!((proxy.seen().len(), proxy.unmet()), (calls, 0), "{body}");
    }
}

#[tokio::test]
async fn places_and_values_that_doppler_would_change_are_refused() {
    let doppler = start("doppler").await.unwrap();
    let store = store(&doppler.base_url, &doppler, &[]);
    for bad in [
        "web",
        "web/dev/x",
        "/dev",
        "web/",
        "web/dev#",
        "web/dev#lower",
        "web/dev#1X",
        "web/dev#DOPPLER_PROJECT",
    ] {
        refuses(store.as_ref(), bad).await;
    }
    let at = destination(store.as_ref(), "web/dev").await;
    let refused = written(store.as_ref(), &at, 1, "a${B}c", Presence::Absent).await;
    assert!(matches!(refused, Err(StoreError::Value { .. })), "{refused:?}");
    // A project that is not there is no free place.
    let nowhere = destination(store.as_ref(), "nowhere/dev").await;
    let missing = store.look(&nowhere).await;
    assert!(matches!(missing, Err(StoreError::Missing { .. })), "{missing:?}");
}

/// This document knows no change requests, so that only what is read is checked, and the stand-in's answers.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_read_satisfies_the_document() {
    let Some(file) = data("doppler-openapi.besteffort.json") else { return };
    let mut document: Value = serde_json::from_slice(&std::fs::read(file).unwrap()).unwrap();
    document["paths"]["/v3/configs/config/secrets"].as_object_mut().unwrap().remove("post");
    let doppler = start("doppler").await.unwrap();
    let Some(prism) = Peer::prism(&document, Some(&doppler.base_url)).await else { return };
    let store = store(&prism.url, &doppler, &[]);
    store.check().await.unwrap();
    let at = destination(store.as_ref(), "web/dev").await;
    assert_eq!(store.look(&at).await.unwrap(), Presence::Absent);
    Admin::of(&doppler).put("web/dev#IT_TOKEN", "theirs").await;
    assert_eq!(store.look(&at).await.unwrap(), Presence::Foreign);
}
