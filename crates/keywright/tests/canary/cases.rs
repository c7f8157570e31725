//! Good input for every tool, with every field filled in.

use serde_json::{Value, json};

/// The ids that the good inputs are about.
pub(crate) struct About {
    pub(crate) key: String,
    pub(crate) request: String,
}

/// A request that policy allows.
pub(crate) fn short(name: &str) -> Value {
    let mut ask = ask(name);
    ask["environment"] = json!("dev");
    ask["destinations"] = json!([format!("embedded:web/dev/{name}")]);
    ask
}

/// A request that waits for approval: it is recorded as a whole and makes no key.
pub(crate) fn ask(name: &str) -> Value {
    json!({
        "template": "cloudflare/dns-edit", "parameters": { "zone": "example.com" }, "project": "web",
        "environment": "production", "name": name, "destinations": [format!("embedded:web/production/{name}")],
        "ttl": "7d",
        "purpose": "update a TXT record", "prompt": "please verify our domain", "idempotency_key": name,
    })
}

/// The good inputs of a tool; several where it works in several ways.
pub(crate) fn good(tool: &str, about: &About) -> Vec<Value> {
    match tool {
        "find_permissions" => vec![json!({ "query": "edit dns", "provider": "cloudflare", "limit": 5 })],
        "list_templates" => vec![json!({ "query": "dns" })],
        "plan_key" => vec![
            json!({
                "intent": "edit dns", "operations": ["POST /zones/{zone_id}/dns_records"], "provider": "cloudflare",
            }),
            json!({ "intent": "add a TXT record and list the firewall rules of example.com" }),
            json!({ "operations": ["DELETE /zones/{zone_id}/dns_records/{id}"], "key": "LIVE" }),
            json!({
                "intent": "verify our domain", "template": "cloudflare/dns-edit",
                "parameters": { "zone": "example.com" }, "project": "web", "environment": "dev", "name": "PLANNED",
                "destinations": ["embedded:web/dev/PLANNED"], "ttl": "7d",
            }),
        ],
        "request_key" => vec![ask("ASKED")],
        "check_request" => vec![json!({ "request": about.request, "wait_seconds": 0 })],
        "list_keys" => vec![json!({ "project": "web", "environment": "dev", "state": "active" })],
        "rotate_key" | "revoke_key" => vec![json!({ "key": about.key, "reason": "the job is done" })],
        "propose_template" => vec![json!({
            "id": "cloudflare/dns-look", "title": "Read DNS records", "provider": "cloudflare", "tier": "standard",
            "permissions": ["DNS Read"], "operations": ["GET /zones/{zone_id}/dns_records"],
            "parameters": {
                "zone": { "kind": "cloudflare.zone", "allow": ["example.com"], "default": "example.com" },
            },
            "limits": {
                "ttl_default": "1d", "ttl_max": "7d", "destinations": ["embedded:*"], "ip_allow": ["192.0.2.0/24"],
                "budget_usd": 2.5,
            },
            "rotation": { "every": "4d", "quiet_for": "1d", "max_overlap": "2d", "on_unknowable": "ask" },
            "why": "the report needs the records",
        })],
        new => panic!("the tool `{new}` is listed and has no case here"),
    }
}

/// The fields of a tool's schema that none of its good inputs fills in, as paths.
pub(crate) fn forgotten(schema: &Value, good: &[Value]) -> Vec<String> {
    let mut missing = Vec::new();
    let Some(fields) = schema["properties"].as_object() else { return missing };
    for (name, part) in fields {
        let given: Vec<Value> = good.iter().filter_map(|input| input.get(name).cloned()).collect();
        if given.is_empty() {
            missing.push(name.clone());
        }
        let inner = forgotten(part, &given);
        missing.extend(inner.into_iter().map(|path| format!("{name}.{path}")));
    }
    missing
}
