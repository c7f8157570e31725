//! The store `vercel` before its stand-in.

use keywright_core::name::KeyName;
use keywright_core::store::{Presence, StoreError, VerifyMode};
use keywright_sandbox::vendors::{self, VERCEL_TEAM};
use serde_json::{Value, json};

use crate::support::contract::{Limits, VALUE, origin};
use crate::support::opened::{StandIn, ask, put};
use crate::support::stores::run;
use crate::support::{Fault, Proxy, peer};

static STAND_IN: StandIn = StandIn { kind: "vercel", settings: &[("team", VERCEL_TEAM)], spot: vercel_spot };

fn vercel_spot(verb: &str, place: &str) -> (String, Value) {
    let (of, name) = place.split_once('#').unwrap();
    let (project, target) = of.split_once('@').unwrap();
    let mut body = json!({"project": project, "key": name, "in": target});
    if verb == "put" {
        body["target"] = json!([target]);
        body["type"] = json!("encrypted");
    }
    (verb.to_owned(), body)
}

fn said(status: u16) -> String {
    format!(r#"{{"error":{{"code":"refused","message":"refused with {status}"}}}}"#)
}

#[tokio::test]
async fn vercel_keeps_the_contract() {
    STAND_IN
        .keeps_the_contract(&[], "web@preview#TOKEN_{}", said, &Limits::of("web@preview#", 'A', 256, ""))
        .await;
}

#[tokio::test]
async fn vercel_keeps_the_contract_with_what_nobody_reads() {
    STAND_IN
        .keeps_the_contract(
            &[("type", "sensitive")],
            "web@preview#TOKEN_{}",
            said,
            &Limits::of("web@preview#", 'A', 256, ""),
        )
        .await;
}

#[tokio::test]
async fn vercel_tells_what_somebody_changed() {
    let running = vendors::start(STAND_IN.kind).await.unwrap();
    let base = running.base_url.as_str();
    let store = STAND_IN.with(base, &running.parent, &[STAND_IN.settings[0], ("project", "web")]);
    store.check().await.unwrap();
    let place = "web@production#API_TOKEN";
    assert_eq!(put(store.as_ref(), place, 1, VALUE, Presence::Absent).await, Ok(VerifyMode::ReadBack));
    let present = store.look(&STAND_IN.at(place)).await.unwrap();
    assert!(matches!(&present, Presence::Ours { marker: Some(marker), .. } if *marker == origin(1).marker));
    // The same name for another target is another place.
    assert_eq!(store.look(&STAND_IN.at("web@preview#API_TOKEN")).await.unwrap(), Presence::Absent);
    // Another value under our comment.
    ask(base, "put", json!({"project": "web", "key": "API_TOKEN", "in": "production", "value": "theirs"}))
        .await;
    assert_eq!(store.look(&STAND_IN.at(place)).await.unwrap(), Presence::Foreign);
    store.remove(&origin(1), &STAND_IN.at(place)).await.unwrap();
    assert_eq!(STAND_IN.read(base, place).await.as_deref(), Some("theirs"));
    put(store.as_ref(), place, 2, VALUE, Presence::Foreign).await.unwrap();
    // Spread over more targets: to replace it would change them as well.
    let wider = json!({
        "project": "web", "key": "API_TOKEN", "in": "production", "target": ["production", "preview"],
    });
    ask(base, "put", wider).await;
    let refused = put(store.as_ref(), place, 3, "third", Presence::Foreign).await;
    assert!(matches!(refused, Err(StoreError::Unsafe { .. })), "{refused:?}");
    store.remove(&origin(2), &STAND_IN.at(place)).await.unwrap();
    assert_eq!(STAND_IN.read(base, place).await.as_deref(), Some(VALUE));
}

#[tokio::test]
async fn vercel_believes_no_answer_that_says_less_than_it_seems() {
    let running = vendors::start(STAND_IN.kind).await.unwrap();
    let proxy = Proxy::start(&running.base_url).await;
    let store = STAND_IN.open(&proxy.url, &running.parent);
    let place = "web@production#API_TOKEN";
    let body = json!({"created": [], "failed": [{"error": {"code": "X", "message": VALUE}}]}).to_string();
    proxy.next("POST", "/env", Fault::Answer { status: 201, headers: "", body });
    let error = put(store.as_ref(), place, 1, VALUE, Presence::Absent).await.unwrap_err();
    assert!(
        matches!(&error, StoreError::OutcomeUnknown { .. }) && !error.to_string().contains(VALUE),
        "{error}"
    );
    let body = json!({"envs": [], "pagination": {"next": 17, "count": 20, "prev": null}}).to_string();
    proxy.next("GET", "/env", Fault::Answer { status: 200, headers: "", body });
    let error = store.look(&STAND_IN.at(place)).await.unwrap_err();
    assert!(error.to_string().contains("not whole"), "{error}");
    // Somebody is faster.
    let body = json!({"envs": []}).to_string();
    STAND_IN.put_foreign(&running.base_url, place, "theirs").await;
    proxy.next("GET", "/env", Fault::Answer { status: 200, headers: "", body });
    let refused = put(store.as_ref(), place, 1, VALUE, Presence::Absent).await;
    assert!(matches!(refused, Err(StoreError::Conflict { .. })), "{refused:?}");
    // Without the team, the project is not found; that is no proof that anything is gone.
    let astray = STAND_IN.with(&running.base_url, &running.parent, &[]);
    assert!(astray.remove(&origin(1), &STAND_IN.at(place)).await.is_err());
    let secretive = STAND_IN.with(&running.base_url, &running.parent, &[("type", "sensitive")]);
    let name = KeyName::parse("API_TOKEN").unwrap();
    for place in ["web@development#A", "web#A", "web@staging#A", "web@preview#1A", "a/b@preview#A"] {
        let refused = secretive.accept(STAND_IN.at(place), &name, None).await;
        assert!(matches!(refused, Err(StoreError::Place { .. })), "{place}: {refused:?}");
    }
}

/// The vendor's own client, which checks each answer against the vendor's schema.
const CLIENT: &str = r#"
const { Vercel } = require('@vercel/sdk');
(async () => {
    const { SITE, TOKEN, TEAM } = process.env;
    const vercel = new Vercel({ bearerToken: TOKEN, serverURL: SITE });
    const all = await vercel.projects.filterProjectEnvs({ idOrName: 'web', teamId: TEAM });
    const found = all.envs.find((env) => env.key === 'TOKEN');
    const one = await vercel.projects.getProjectEnv({ idOrName: 'web', id: found.id, teamId: TEAM });
    process.stdout.write(JSON.stringify({ type: found.type, target: found.target, value: one.value }));
})();
"#;

#[tokio::test]
async fn the_vendors_client_reads_what_was_placed() {
    let Some(package) = peer("node_modules/@vercel/sdk") else { return };
    let running = vendors::start(STAND_IN.kind).await.unwrap();
    let store = STAND_IN.with(&running.base_url, &running.parent, STAND_IN.settings);
    put(store.as_ref(), "web@preview#TOKEN", 1, VALUE, Presence::Absent).await.unwrap();
    let mut command = tokio::process::Command::new("node");
    command
        .args(["-e", CLIENT])
        .current_dir(package.ancestors().nth(3).unwrap())
        .env("SITE", &running.base_url)
        .env("TOKEN", &running.parent)
        .env("TEAM", VERCEL_TEAM);
    let output = run(command).await;
    let errors = String::from_utf8_lossy(&output.stderr);
    let told: Value = serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{errors}"));
    assert_eq!(told, json!({"type": "encrypted", "target": ["preview"], "value": VALUE}));
}

#[tokio::test]
async fn what_is_hidden_from_the_token_is_not_gone() {
    let running = vendors::start(STAND_IN.kind).await.unwrap();
    let proxy = Proxy::start(&running.base_url).await;
    let store = STAND_IN.with(&proxy.url, &running.parent, STAND_IN.settings);
    let place = "web@production#TOKEN";
    put(store.as_ref(), place, 1, VALUE, Presence::Absent).await.unwrap();
    let hidden = || {
        let body = json!({"envs": [], "hiddenProductionEnvCount": 1}).to_string();
        Fault::Answer { status: 200, headers: "", body }
    };
    proxy.next("GET", "/env", hidden());
    let looked = store.look(&STAND_IN.at(place)).await;
    assert!(matches!(&looked, Err(error) if error.to_string().contains("hidden")), "{looked:?}");
    proxy.next("GET", "/env", hidden());
    assert!(store.remove(&origin(1), &STAND_IN.at(place)).await.is_err());
    store.remove(&origin(1), &STAND_IN.at(place)).await.unwrap();
    assert_eq!(STAND_IN.read(&running.base_url, place).await, None);
}
