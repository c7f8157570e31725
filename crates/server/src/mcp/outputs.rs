//! The schemas of what the tools answer. Every tool answers with one of its shapes, or with a refusal.
//!
//! They say what is always there. Objects may hold more than is named here.

use rmcp::model::JsonObject;
use serde_json::{Value, json};

/// A receipt, or a refusal.
pub(super) fn receipt() -> JsonObject {
    answers([receipt_shape()])
}

/// A receipt, how a proposal stands, or a refusal.
pub(super) fn standing() -> JsonObject {
    answers([receipt_shape(), proposal_shape()])
}

/// Permissions and templates.
pub(super) fn permissions() -> JsonObject {
    answers([shape(
        "keywright/permissions/1",
        &json!({ "permissions": list(&permission_found()), "templates": list(&template()), "note": text() }),
        &["permissions", "templates"],
    )])
}

/// Templates.
pub(super) fn templates() -> JsonObject {
    answers([shape("keywright/templates/1", &json!({ "templates": list(&template()) }), &["templates"])])
}

/// The exact effect of an ask, or what plain words and operations come to.
pub(super) fn plan() -> JsonObject {
    let decision = object(
        &json!({
            "effect": { "enum": ["allow", "needs_approvals", "deny"] },
            "approvals_needed": count(),
            "reasons": list(&text()),
            "alternative": { "type": ["string", "null"] },
        }),
        &["effect", "approvals_needed", "reasons"],
    );
    let exact = shape(
        "keywright/plan/1",
        &json!({
            "plan": { "type": "object" }, "digest": text(), "decision": decision, "unlocks": count(),
            "mutating": count(), "assumed": { "type": "object", "additionalProperties": text() },
        }),
        &["plan", "digest", "decision", "unlocks", "mutating"],
    );
    let permission = object(
        &json!({ "id": text(), "name": text(), "scope": text(), "access": text() }),
        &["id", "name", "scope", "access"],
    );
    let proof = object(
        &json!({
            "permission": text(), "name": text(), "scope": text(), "forced_by": list(&text()), "unlocks": count(),
            "mutating": count(), "beyond_the_job": count(), "read_needs_write": { "type": "boolean" },
        }),
        &["permission", "forced_by", "unlocks", "mutating", "beyond_the_job"],
    );
    let resource = object(&json!({ "kind": text(), "value": text() }), &["kind", "value"]);
    let candidate = object(
        &json!({ "operations": list(&text()), "permissions": list(&permission), "why": text() }),
        &["permissions", "why"],
    );
    let denied = object(
        &json!({
            "key": text(), "provider": text(), "holds": list(&text()), "missing": list(&text()), "advice": text(),
            "amended": { "type": "object" },
        }),
        &["key", "provider", "holds", "missing", "advice"],
    );
    let statement =
        object(&json!({ "actions": list(&text()), "resources": list(&text()) }), &["actions", "resources"]);
    let policy = object(
        &json!({
            "statements": list(&statement), "unconfined": list(&text()), "unconfinable": list(&text()),
            "unused": list(&text()), "may_need": list(&list(&text())), "characters": count(),
            "fits_a_session": { "type": "boolean" },
        }),
        &["statements", "characters", "fits_a_session"],
    );
    let answer = shape(
        "keywright/plan-answer/1",
        &json!({
            "provider": text(), "status": { "enum": ["plan", "candidates", "question", "refused"] },
            "operations": list(&text()), "permissions": list(&permission), "templates": list(&template()),
            "resources": list(&resource), "proof": list(&proof), "candidates": list(&candidate),
            "question": text(), "refused": text(), "note": text(), "needs_a_human": list(&text()), "denied": denied,
            "policy": policy,
        }),
        &["provider", "status", "operations", "permissions", "resources", "candidates", "proof"],
    );
    answers([exact, answer])
}

/// Keys, without secrets.
pub(super) fn keys() -> JsonObject {
    let key = object(
        &json!({
            "id": text(), "name": text(), "project": text(), "environment": text(), "provider": text(),
            "template": text(), "state": text(), "created_at": text(),
            "expires_at": { "type": ["string", "null"] }, "placements": list(&text()), "debt": { "type": "boolean" },
        }),
        &["id", "name", "project", "environment", "provider", "state", "placements"],
    );
    answers([shape("keywright/keys/1", &json!({ "keys": list(&key), "left_out": count() }), &["keys"])])
}

/// A proposal that waits for review.
pub(super) fn proposal() -> JsonObject {
    answers([proposal_shape()])
}

fn proposal_shape() -> Value {
    shape(
        "keywright/proposal/1",
        &json!({
            "request": text(), "status": { "enum": ["pending_review", "applied", "rejected"] }, "review": text(),
            "review_url": text(), "match_code": text(), "reasons": list(&text()),
        }),
        &["request", "status"],
    )
}

/// One of the shapes, or a refusal. The root is an object, which the older versions of the protocol ask for.
fn answers<const N: usize>(shapes: [Value; N]) -> JsonObject {
    let mut all = Vec::from(shapes);
    all.push(refusal());
    let mut root = JsonObject::new();
    root.insert("type".to_owned(), json!("object"));
    root.insert("anyOf".to_owned(), Value::Array(all));
    root
}

fn refusal() -> Value {
    shape(
        crate::answer::ERROR_SCHEMA,
        &json!({
            "code": text(), "message": text(), "reasons": list(&text()), "alternatives": list(&text()),
            "hint": text(), "receipt": { "type": "object" },
        }),
        &["code", "message", "reasons", "alternatives"],
    )
}

fn receipt_shape() -> Value {
    let statuses: Vec<&str> = keywright_core::receipt::Status::ALL.iter().map(|s| s.as_str()).collect();
    let permission =
        object(&json!({ "id": text(), "name": text(), "scope": text() }), &["id", "name", "scope"]);
    let placement = object(
        &json!({ "store": text(), "place": text(), "verified": { "type": ["string", "null"] } }),
        &["store", "place"],
    );
    shape(
        keywright_core::receipt::SCHEMA,
        &json!({
            "request": text(), "status": { "enum": statuses }, "key": text(), "version": text(), "name": text(),
            "project": text(), "environment": text(), "provider": text(), "permissions": list(&permission), "resources": list(&json!({ "type": "object" })),
            "expires_at": { "type": ["string", "null"] }, "placements": list(&placement),
            "approvals": object(&json!({ "needed": count(), "given": count() }), &["needed", "given"]),
            "review_url": text(), "match_code": text(), "reasons": list(&text()), "entry": text(),
            "narrowed": object(
                &json!({ "by": text(), "asked_ttl": text(), "given_ttl": text(), "without": list(&text()) }),
                &["by", "asked_ttl", "given_ttl"],
            ),
        }),
        &[
            "request",
            "status",
            "name",
            "project",
            "environment",
            "provider",
            "permissions",
            "resources",
            "placements",
            "approvals",
            "entry",
        ],
    )
}

fn permission_found() -> Value {
    object(
        &json!({
            "provider": text(), "id": text(), "name": text(), "scope": text(), "access": text(),
            "unlocks": count(), "mutating": count(), "escalation": { "type": "boolean" },
        }),
        &["id", "name", "scope", "access"],
    )
}

fn template() -> Value {
    let parameter = object(
        &json!({
            "name": text(), "kind": text(), "required": { "type": "boolean" },
            "allow": { "type": ["array", "null"], "items": text() }, "default": { "type": ["string", "null"] },
        }),
        &["name", "kind", "required"],
    );
    let limits = object(
        &json!({ "ttl_default": text(), "ttl_max": text(), "destinations": list(&text()) }),
        &["ttl_default", "ttl_max", "destinations"],
    );
    object(
        &json!({
            "id": text(), "title": text(), "provider": text(), "tier": text(), "permissions": list(&text()),
            "parameters": list(&parameter), "limits": limits, "unlocks": count(), "mutating": count(),
            "approvals_needed": { "type": ["integer", "null"], "minimum": 0 },
        }),
        &["id", "title", "provider", "tier", "permissions", "parameters", "limits"],
    )
}

/// An object that names its schema.
fn shape(schema: &str, properties: &Value, required: &[&str]) -> Value {
    let mut properties = properties.clone();
    if let Some(properties) = properties.as_object_mut() {
        properties.insert("schema".to_owned(), json!({ "const": schema }));
    }
    let required: Vec<&str> = std::iter::once("schema").chain(required.iter().copied()).collect();
    object(&properties, &required)
}

fn object(properties: &Value, required: &[&str]) -> Value {
    json!({ "type": "object", "properties": properties, "required": required })
}

fn list(item: &Value) -> Value {
    json!({ "type": "array", "items": item })
}

fn text() -> Value {
    json!({ "type": "string" })
}

fn count() -> Value {
    json!({ "type": "integer", "minimum": 0 })
}
