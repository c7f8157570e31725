//! Every verb that the broker's socket knows, with a good call of each.

use std::fmt::Debug;

use keywright_server::call::OperatorCall;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::cases::ask;

/// The verbs of a call, from the words with which the parser refuses another one: a new verb is among them by itself.
pub(crate) fn verbs<T: DeserializeOwned + Debug>() -> Vec<String> {
    let refusal = serde_json::from_value::<T>(json!({ "verb": "?" })).unwrap_err().to_string();
    let names = refusal.split('`').skip(3).step_by(2).map(str::to_owned).collect::<Vec<_>>();
    assert!(names.len() >= 9, "{refusal}");
    names
}

/// A good call of an agent's verb.
pub(crate) fn agents(verb: &str, key: &str, request: &str) -> Value {
    let fields = match verb {
        "find_permissions" => json!({ "query": "dns", "provider": "cloudflare", "limit": 3 }),
        "list_templates" => json!({ "query": "dns" }),
        "plan_key" => json!({
            "intent": "edit dns", "operations": ["POST /zones/{zone_id}/dns_records"], "provider": "cloudflare",
        }),
        "request_key" => json!({ "ask": ask("SOCKET") }),
        "check_request" => json!({ "request": request, "wait_seconds": 0 }),
        "list_keys" => json!({ "project": "web", "environment": "dev", "state": "active" }),
        "rotate_key" | "revoke_key" => json!({ "key": key, "reason": "the job is done" }),
        "propose_template" => json!({
            "source": "id = \"cloudflare/x\"\ntitle = \"T\"\nprovider = \"cloudflare\"\ntier = \"sandbox\"\n\
                permissions = [\"DNS Read\"]\n[limits]\nttl_max = \"30d\"\ndestinations = [\"embedded:*\"]\n",
            "why": "the report needs it",
        }),
        new => panic!("agents can say `{new}`, and there is no case of it here"),
    };
    with_verb(verb, fields)
}

/// A good call of an operator's verb.
pub(crate) fn operators(verb: &str, key: &str, request: &str) -> Value {
    let fields = match verb {
        "login" | "logout" | "provider_list" | "store_list" | "consumer_list" | "template_list"
        | "policy_show" | "operator_list" | "passkey_list" | "agent_list" | "workload_list"
        | "review_list" | "reconcile" | "notify_list" | "ledger_check" | "grant_list" | "audit_accept"
        | "audit_publish" | "stop" => {
            json!({})
        }
        "provider_add" => json!({ "name": "evil", "kind": "cloudflare", "credential": "x" }),
        "store_add" => json!({ "name": "evil", "kind": "dotenv" }),
        "consumer_add" => json!({ "name": "evil", "project": "web", "command": ["/bin/true"] }),
        "consumer_remove" | "consumer_test" => json!({ "name": "app" }),
        "notify_add" => json!({ "name": "evil", "kind": "desktop" }),
        "notify_remove" | "notify_test" => json!({ "name": "ops" }),
        "provider_check" | "provider_remove" => json!({ "name": "cf" }),
        "store_check" | "store_remove" => json!({ "name": "embedded" }),
        "template_show" => json!({ "id": "cloudflare/dns-edit" }),
        "template_apply" => json!({ "source": "" }),
        "catalog_refresh" => json!({ "connection": "cf" }),
        "catalog_import" => json!({ "widening": {
            "provider": "cloudflare", "from": "evil", "sha256": "00",
            "widened": [{ "permission": "x", "name": "y", "operations": 1, "mutating": 1 }],
        } }),
        "accept_restore" | "revoke_lost" => json!({}),
        "provider_rotate_parent" => json!({ "name": "cf" }),
        "provider_replace_parent" => json!({ "name": "cf", "credential": "x".repeat(40) }),
        "policy_apply" => json!({ "source": "permit(principal, action, resource);" }),
        "policy_test" => json!({ "cases": "" }),
        "policy_explain" | "request_check" | "review_show" => json!({ "request": request }),
        "operator_add" => json!({ "name": "evil", "new_passphrase": "more-words-for-eve" }),
        "operator_passphrase" => json!({ "new_passphrase": "more-words-for-eve" }),
        "passkey_invite" => json!({ "label": "evil" }),
        "passkey_keep" | "passkey_remove" => json!({ "passkey": format!("pk_{}", "0".repeat(32)) }),
        "operator_remove" => json!({ "name": "bob" }),
        "agent_add" => json!({ "name": "evil" }),
        "grant_add" => json!({
            "agent": "builder", "template": "cloudflare/dns-edit", "project": "web", "environment": "lab",
            "parameters": { "zone": "example.com" }, "any_parameters": false, "uses": 3, "lasts": "7d",
            "destinations": ["embedded:web/*"], "directory": "/home/ana", "ttl_max": "7d",
        }),
        "grant_remove" => json!({ "grant": format!("grt_{}", "0".repeat(32)) }),
        "agent_remove" | "agent_resume" => json!({ "name": "builder" }),
        "agent_pause" | "agent_revoke_all" => json!({ "name": "builder", "reason": "r" }),
        "workload_add" => json!({ "name": "evil", "project": "web" }),
        "workload_remove" => json!({ "name": "reader" }),
        "key_request" => json!({ "ask": ask("EVIL"), "dry_run": false }),
        "key_list" => json!({ "debt": false }),
        "key_show" => json!({ "key": key }),
        "key_denied" => json!({ "key": key, "operations": ["POST /zones/{zone_id}/dns_records"] }),
        "key_rotate" => json!({ "key": key, "reason": "r", "wait_seconds": 0 }),
        "key_enable" => json!({ "key": key, "reason": "r" }),
        "key_end_old" => json!({ "key": key, "reason": "r" }),
        "spend" => json!({ "by": "key" }),
        "key_unmanaged" => json!({}),
        "key_adopt" => json!({ "connection": "cf", "provider_key_id": "0".repeat(32), "ask": ask("EVIL") }),
        "key_disable" => json!({ "key": key, "reason": "r" }),
        "key_revoke" => json!({ "key": key, "reason": "r" }),
        "project_teardown" => json!({ "project": "web" }),
        "proposal_apply" => json!({ "request": request, "source": "", "version": 1 }),
        "review_approve" => json!({ "request": request, "digest": "0".repeat(64) }),
        "review_reject" => json!({ "request": request, "reason": "r" }),
        "audit_log" => json!({ "from": 0, "limit": 1_000, "newest_first": false }),
        "audit_search" => json!({ "about": key, "limit": 1_000 }),
        "audit_trace" => json!({ "what": key }),
        new => panic!("operators can say `{new}`, and there is no case of it here"),
    };
    let call = with_verb(verb, fields);
    serde_json::from_value::<OperatorCall>(call.clone()).expect("only who asks is wrong with it");
    call
}

fn with_verb(verb: &str, mut fields: Value) -> Value {
    fields["verb"] = json!(verb);
    fields
}
