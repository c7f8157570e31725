//! `keywright mcp` as clients start it, and one conversation that every client has with it.
#![allow(dead_code, reason = "each test binary uses its part")]

#[path = "../it/support.rs"]
pub(crate) mod it;

use std::process::Command;

use it::World;
use serde_json::{Value, json};

pub(crate) const TOOLS: [&str; 9] = [
    "find_permissions",
    "list_templates",
    "plan_key",
    "request_key",
    "check_request",
    "list_keys",
    "rotate_key",
    "revoke_key",
    "propose_template",
];

/// What a tool answered.
#[derive(Debug)]
pub(crate) struct Said {
    pub(crate) is_error: bool,
    pub(crate) structured: Value,
    pub(crate) texts: Vec<String>,
}

/// A template whose keys may live so long that somebody has to approve.
const LONG: &str = r#"
id = "cloudflare/dns-long"
title = "Edit the DNS records of one zone, for long"
provider = "cloudflare"
tier = "standard"
permissions = ["DNS Write"]
[parameters.zone]
kind = "cloudflare.zone"
[limits]
ttl_default = "30d"
ttl_max = "180d"
destinations = ["embedded:*", "dotenv:*"]
"#;

/// A home with two templates in force, and an agent.
pub(crate) fn world() -> World {
    let world = World::ready();
    let long = world.file("long.toml", LONG);
    world.ok(&["template", "apply", &long]);
    world.ok(&["agent", "add", "builder"]);
    world
}

/// The server for an agent, as a command line.
pub(crate) fn server(world: &World, agent: &str) -> Command {
    let mut command = world.command(&["mcp", "--agent", agent]);
    for name in ["CLAUDE_CODE_SESSION_ID", "CLAUDECODE", "AI_AGENT"] {
        command.env_remove(name);
    }
    command
}

pub(crate) fn ask(name: &str) -> Value {
    json!({
        "template": "cloudflare/dns-edit", "parameters": { "zone": "example.com" }, "project": "web",
        "environment": "dev", "name": name, "purpose": "update a TXT record",
        "prompt": "please verify our domain", "idempotency_key": format!("key-{name}"),
    })
}

pub(crate) fn with(mut ask: Value, field: &str, value: Value) -> Value {
    ask[field] = value;
    ask
}

/// The conversation: everything that an agent does with its tools, the same for every client. `name` is the variable of
/// the keys that it asks for. Says which request waits for approval in the end.
pub(crate) fn converse(world: &World, name: &str, call: &mut dyn FnMut(&str, Value) -> Said) -> String {
    let mut answer = |tool: &str, given: Value| {
        let said = call(tool, given);
        assert!(!said.is_error, "{tool}: {said:?}");
        assert_eq!(serde_json::from_str::<Value>(&said.texts[0]).unwrap(), said.structured, "{tool}");
        (said.structured, said.texts)
    };
    let (found, _) =
        answer("find_permissions", json!({ "query": "edit dns records", "provider": "cloudflare" }));
    assert!(found["permissions"].as_array().unwrap().iter().any(|p| p["name"] == "DNS Write"), "{found}");
    let (templates, _) = answer("list_templates", json!({ "query": "dns" }));
    let ids: Vec<&str> =
        templates["templates"].as_array().unwrap().iter().filter_map(|t| t["id"].as_str()).collect();
    assert!(ids.contains(&"cloudflare/dns-edit") && ids.contains(&"cloudflare/dns-long"), "{ids:?}");
    let (plan, _) = answer("plan_key", json!({ "operations": ["POST /zones/{zone_id}/dns_records"] }));
    assert_eq!(plan["schema"], "keywright/plan-answer/1");
    let least = |plan: &Value| (plan["status"].clone(), plan["permissions"][0]["name"].clone());
    assert_eq!(least(&plan), (json!("plan"), json!("DNS Write")), "{plan}");
    // The same through words as through operations, proof and all.
    let (said, _) =
        answer("plan_key", json!({ "intent": "add a TXT record to example.com", "provider": "cloudflare" }));
    assert_eq!(said["permissions"], plan["permissions"], "{said}");
    assert_eq!(said["proof"], plan["proof"]);
    assert_eq!(said["templates"][0]["id"], plan["templates"][0]["id"]);
    let dry = json!({ "template": "cloudflare/dns-edit", "parameters": { "zone": "example.com" } });
    assert_eq!(answer("plan_key", dry).0["decision"]["effect"], "allow");
    answer("plan_key", json!({ "intent": "purge the cache" }));

    let keys = world.live_keys();
    let (receipt, _) = answer("request_key", ask(name));
    assert_eq!(receipt["status"], "active", "{receipt}");
    let (again, _) = answer("request_key", ask(name));
    assert_eq!(again["request"], receipt["request"]);
    assert_eq!(world.live_keys(), keys + 1, "one key, however often it is asked for");
    let (checked, _) = answer("check_request", json!({ "request": receipt["request"], "wait_seconds": 1 }));
    assert_eq!(checked["key"], receipt["key"]);
    let (listed, _) = answer("list_keys", json!({ "project": "web", "state": "active" }));
    assert!(listed["keys"].as_array().unwrap().iter().any(|k| k["id"] == receipt["key"]), "{listed}");
    let (revoked, _) = answer("revoke_key", json!({ "key": receipt["key"], "reason": "the job is done" }));
    assert_eq!(revoked["status"], "revoked");
    assert_eq!(world.live_keys(), keys);

    let waits = format!("{name}_LONG");
    let long = with(with(ask(&waits), "template", json!("cloudflare/dns-long")), "ttl", json!("120d"));
    let (pending, texts) = answer("request_key", long);
    assert_eq!(pending["status"], "pending_approval");
    let request = pending["request"].as_str().unwrap().to_owned();
    assert!(texts[1].contains(&format!("keywright review show {request}")), "{texts:?}");
    assert!(texts[1].contains(pending["match_code"].as_str().unwrap()), "{texts:?}");
    let proposal = json!({
        "id": "cloudflare/dns-look", "title": "Read DNS records", "provider": "cloudflare", "tier": "standard",
        "permissions": ["DNS Read"], "parameters": { "zone": { "kind": "cloudflare.zone" } },
        "limits": { "ttl_max": "7d", "destinations": ["embedded:*"] }, "why": "the report needs the records",
    });
    assert_eq!(answer("propose_template", proposal).0["status"], "pending_review");

    let refusals = [
        ("request_key", json!({ "template": 7, "colour": "red" }), "invalid_argument"),
        ("request_key", with(ask("OTHER"), "idempotency_key", json!(format!("key-{name}"))), "conflict"),
        ("request_key", with(ask("OTHER"), "ttl", json!("91d")), "denied"),
        ("check_request", json!({ "request": "req_01a20c30586c7b46a58fcc8e31ad4141" }), "not_found"),
        ("revoke_key", json!({ "key": "NO_SUCH_KEY", "reason": "r" }), "not_found"),
    ];
    for (tool, given, expected) in refusals {
        let said = call(tool, given);
        assert!(said.is_error, "{tool}: {said:?}");
        assert_eq!(said.structured["code"], expected, "{tool}: {}", said.structured);
        assert!(said.structured["reasons"].is_array() && said.structured["alternatives"].is_array());
    }
    request
}
