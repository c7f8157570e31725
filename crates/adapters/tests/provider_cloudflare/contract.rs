//! The adapter through a contract proxy ([`crate::prism`]): every request and every answer fits the provider's own
//! document, and what does not fit it does not get through.

use keywright_core::provider::{Listing, Provider};
use keywright_core::secret::Secret;
use keywright_sandbox::{Fault, FaultKind, Sandbox, SandboxConfig};
use serde_json::{Value, json};

use crate::openapi;
use crate::prism::{Prism, peers};
use crate::world::*;

/// Mints, and runs every other verb on what came out.
async fn every_verb(provider: &dyn Provider, sandbox: &Sandbox, zone: &str) {
    let zone = provider.resolve("cloudflare.zone", zone).await.unwrap();
    let mut wish = Wish::new(&[DNS_WRITE, KV_WRITE], vec![zone]);
    wish.resources = provider.confine(&wish.permissions, wish.resources).unwrap();
    wish.ip_allow = vec!["127.0.0.0/8".to_owned()];
    let plan = wish.authorized();
    let grant = plan.get().grant(jiff::Timestamp::now());
    let marker = keywright_core::marker::Marker::from_ledger("kw-contract".to_owned());
    let minted = provider.mint(&plan, &grant, &marker).await.unwrap();
    let id = minted.provider_key_id.as_str();
    assert_eq!(grant.differences(&provider.read_back(id).await.unwrap()), []);
    provider.probe(&minted.secret, id).await.unwrap();
    assert_eq!(provider.list(Listing::Marked).await.unwrap().len(), 1);
    provider.check().await.unwrap();
    assert!(provider.last_used().unwrap().last_used(id).await.unwrap().is_some());
    provider.disabling().unwrap().disable(id).await.unwrap();
    provider.disabling().unwrap().enable(id).await.unwrap();
    assert_eq!(grant.differences(&provider.read_back(id).await.unwrap()), []);
    provider.revoke(id).await.unwrap();
    provider.revoke(id).await.unwrap();
    assert!(sandbox.live_tokens_named_like("kw-").is_empty());
}

/// What the adapter must never send is not let through, or the rest of the test would prove nothing.
async fn forbidden_requests_are_stopped(http: &reqwest::Client, base: &str, sandbox: &Sandbox) {
    let zone = &sandbox.zones()[0].id;
    let policy = json!({
        "effect": "allow",
        "resources": {format!("com.cloudflare.api.account.zone.{zone}"): "*"},
        "permission_groups": [{"id": DNS_READ.0}],
    });
    let good = json!({
        "name": "kw-raw", "policies": [policy], "expires_on": "2099-01-01T00:00:00Z",
        "condition": {"request_ip": {"in": ["192.0.2.0/24"]}},
    });
    let with = |pointer: &str, key: &str, value: Value| {
        let mut body = good.clone();
        body.pointer_mut(pointer).unwrap()[key] = value;
        body
    };
    let without = |key: &str| {
        let mut body = good.clone();
        body.as_object_mut().unwrap().remove(key);
        body
    };
    let tokens = format!("{base}/accounts/{}/tokens", sandbox.account_id());
    let create = async |body: &Value| {
        let request = http.post(&tokens).bearer_auth(sandbox.parent_token()).body(body.to_string());
        request.header("content-type", "application/json").send().await.unwrap().status().as_u16()
    };
    for (what, body) in [
        ("no policies", without("policies")),
        ("no name", without("name")),
        ("a field that there is not", with("", "expires_at", json!("2099-01-01T00:00:00Z"))),
        ("a condition that there is not", with("/condition", "request.ip", json!({"in": ["192.0.2.0/24"]}))),
        ("a list that there is not", with("/condition/request_ip", "notin", json!(["192.0.2.0/24"]))),
        ("a policy with an id of ours", with("/policies/0", "id", json!("1"))),
        ("a policy with another field", with("/policies/0", "actions", json!(["read"]))),
        ("an effect that there is not", with("/policies/0", "effect", json!("maybe"))),
        ("an expiry that is none", with("", "expires_on", json!("tomorrow"))),
        ("a resource that is neither", with("/policies/0", "resources", json!(["*"]))),
    ] {
        assert_eq!(create(&body).await, 422, "{what}");
    }
    assert!(sandbox.live_tokens_named_like("kw-raw").is_empty());
    assert_eq!(create(&good).await, 200);
    assert_eq!(sandbox.live_tokens_named_like("kw-raw").len(), 1);
}

/// An answer that does not fit is stopped as well: a page, and a list that is text.
async fn wrong_answers_are_stopped(http: &reqwest::Client, base: &str, sandbox: &Sandbox) {
    let zones = format!("{base}/zones");
    let ask = async || {
        let answer = http.get(&zones).bearer_auth(sandbox.parent_token()).send().await.unwrap();
        (answer.status().as_u16(), answer.text().await.unwrap())
    };
    for fault in [FaultKind::Garbage, FaultKind::HugeBody { bytes: 100 }] {
        sandbox.inject(Fault::on("GET", "/zones", fault.clone())).unwrap();
        let (status, text) = ask().await;
        assert!(status == 500 && text.contains("prism/errors#VIOLATIONS"), "{fault:?}: {status} {text}");
    }
    assert_eq!(ask().await.0, 200);
}

#[tokio::test]
async fn every_request_and_answer_fits_the_providers_own_document() {
    let Some((program, document)) = peers("cloudflare-openapi.tokens-subset.json") else { return };
    let sandbox = Sandbox::start(SandboxConfig::default()).await.unwrap();
    let mut document = openapi::read(&document);
    openapi::close_token_bodies(&mut document);
    let prism = Prism::start(&program, &document, &sandbox.base_url()).await;
    let base = prism.url();
    let patient = [("timeout", "30s")];
    let of_account = connect_account(&sandbox, &base, sandbox.parent_token(), &patient);
    every_verb(of_account.as_ref(), &sandbox, "example.com").await;
    let bucket = of_account.resolve("cloudflare.r2_bucket", "assets").await.unwrap();
    let wish = Wish::new(&[BUCKET_READ], vec![bucket]);
    let plan = wish.authorized();
    let grant = plan.get().grant(jiff::Timestamp::now());
    let marker = keywright_core::marker::Marker::from_ledger("kw-bucket".to_owned());
    let minted = of_account.mint(&plan, &grant, &marker).await.unwrap();
    of_account.revoke(&minted.provider_key_id).await.unwrap();

    let extra = [("timeout", "30s"), ("owner", "user")];
    let config = config(&base, Some(sandbox.account_id()), &extra);
    let parent = Secret::new(sandbox.user_parent_token().to_owned());
    let of_user = keywright_adapters::provider::connect("cloudflare", config, parent).unwrap();
    let zone = sandbox.zones().into_iter().find(|zone| zone.name == "example.net").unwrap();
    every_verb(of_user.as_ref(), &sandbox, &zone.id).await;

    let http = reqwest::Client::builder().no_proxy().build().unwrap();
    forbidden_requests_are_stopped(&http, &base, &sandbox).await;
    wrong_answers_are_stopped(&http, &base, &sandbox).await;
}
