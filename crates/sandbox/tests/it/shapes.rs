//! The shapes that a client relies on, field by field.

use keywright_sandbox::{AccountSpec, Sandbox, SandboxConfig, SandboxError, ZoneSpec};
use serde_json::{Value, json};

use super::support::*;

fn assert_fields(value: &Value, required: &[&str]) {
    for field in required {
        assert!(value.get(field).is_some(), "`{field}` is missing in {value}");
    }
}

#[tokio::test]
async fn a_created_token_has_the_documented_fields_and_no_nulls() {
    let bench = Bench::start().await;
    let policies = json!([policy("allow", DNS_READ, all_zones(bench.sandbox.account_id()))]);
    let reply = bench.ask(json!({"name": "shape", "policies": policies})).await;
    assert_fields(&reply.body, &["success", "errors", "messages", "result"]);
    let token = reply.result();
    assert_fields(token, &["id", "name", "status", "issued_on", "modified_on", "policies", "value"]);
    assert!(token.as_object().unwrap().values().all(|field| !field.is_null()), "{token}");
    let policy = &token["policies"][0];
    assert_fields(policy, &["id", "effect", "permission_groups", "resources"]);
    assert_eq!(policy["permission_groups"][0], json!({"id": DNS_READ, "name": "DNS Read"}));
    assert_eq!(policy["resources"], policies[0]["resources"]);
    assert!(
        token["issued_on"].as_str().unwrap().ends_with('Z')
            && token["issued_on"].as_str().unwrap().len() == 20
    );
    assert_eq!(token["id"].as_str().unwrap().len(), 32);

    let verify =
        bench.get(token["value"].as_str().unwrap(), &format!("{}/verify", bench.tokens_path())).await;
    assert_eq!(verify.result(), &json!({"id": token["id"], "status": "active"}));
    assert_eq!(verify.body["messages"][0]["code"], 10_000);
}

#[tokio::test]
async fn zones_accounts_and_records_have_the_required_fields() {
    let bench = Bench::start().await;
    let parent = bench.sandbox.parent_token();
    let zone = bench.zone("example.com");
    let shown = bench.get(parent, &format!("/zones/{zone}")).await.result().clone();
    let required = [
        "id",
        "name",
        "development_mode",
        "owner",
        "account",
        "meta",
        "name_servers",
        "original_name_servers",
        "original_registrar",
        "original_dnshost",
        "created_on",
        "modified_on",
        "activated_on",
        "plan",
    ];
    assert_fields(&shown, &required);
    assert_eq!(shown["account"]["id"], bench.sandbox.account_id());
    let account =
        bench.get(parent, &format!("/accounts/{}", bench.sandbox.account_id())).await.result().clone();
    assert_eq!((&account["name"], &account["type"]), (&json!("Sandbox Inc"), &json!("standard")));
    assert_eq!(bench.get(parent, "/accounts").await.result()[0], account);

    let token = bench.zone_token(DNS_WRITE, "example.com").await.value;
    let made = bench.call(&token, "POST", &format!("/zones/{zone}/dns_records"), record("www")).await;
    let required = [
        "id",
        "name",
        "type",
        "content",
        "data",
        "proxied",
        "proxiable",
        "ttl",
        "settings",
        "comment",
        "tags",
        "meta",
        "created_on",
        "modified_on",
    ];
    assert_fields(made.result(), &required);
    let group =
        bench.get(parent, &format!("{}/permission_groups?name=DNS%20Read", bench.tokens_path())).await;
    let expected =
        json!([{"id": DNS_READ, "name": "DNS Read", "scopes": ["com.cloudflare.api.account.zone"]}]);
    assert_eq!(group.result(), &expected);
}

#[tokio::test]
async fn the_same_seed_gives_the_same_world_with_other_values() {
    let seeded = || SandboxConfig { seed: Some(42), ..SandboxConfig::default() };
    let (one, two) = (Bench::with(seeded()).await, Bench::with(seeded()).await);
    assert_eq!(one.sandbox.account_id(), two.sandbox.account_id());
    assert_eq!(one.sandbox.zones(), two.sandbox.zones());
    let (a, b) =
        (one.zone_token(DNS_READ, "example.com").await, two.zone_token(DNS_READ, "example.com").await);
    assert_eq!(a.id, b.id);
    assert_ne!(a.value, b.value);
    assert_ne!(one.sandbox.parent_token(), two.sandbox.parent_token());
}

#[tokio::test]
async fn a_world_can_be_given_and_a_wrong_one_is_refused() {
    let id = "0123456789abcdef0123456789abcdef";
    let zone = |id: &str, name: &str| ZoneSpec { id: Some(id.to_owned()), name: name.to_owned() };
    let account = |zones: Vec<ZoneSpec>| AccountSpec { zones, ..AccountSpec::new("Mine", &[]) };
    let world = |zones| SandboxConfig { accounts: vec![account(zones)], ..SandboxConfig::default() };
    let parent = "p".repeat(40);
    let config =
        SandboxConfig { parent_token: Some(parent.clone()), ..world(vec![zone(id, "mine.example")]) };
    let bench = Bench::with(config).await;
    assert_eq!(bench.zone("mine.example"), id);
    assert_eq!(bench.sandbox.parent_token(), parent);
    assert_eq!(bench.get(&parent, "/zones").await.result()[0]["id"], id);

    let wrong = [
        world(vec![zone("short", "mine.example")]),
        world(vec![zone(id, "nodots")]),
        world(vec![zone(id, "a.example"), zone(id, "b.example")]),
        SandboxConfig { accounts: vec![], ..SandboxConfig::default() },
        SandboxConfig { parent_token: Some("short".to_owned()), ..SandboxConfig::default() },
    ];
    for config in wrong {
        assert!(matches!(Sandbox::start(config).await, Err(SandboxError::Config(_))));
    }
    let open = SandboxConfig { listen: ([0, 0, 0, 0], 0).into(), ..SandboxConfig::default() };
    assert!(matches!(Sandbox::start(open).await, Err(SandboxError::NotLoopback(_))));
}
