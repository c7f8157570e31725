//! A stand-in for Anthropic's Admin API: API keys that people made, to be listed and switched.

use serde_json::{Value, json};

use super::Running;
use super::door::{Asked, Told, serve};
use crate::error::SandboxError;
use crate::ids::fresh_value;

struct Anthropic {
    parent: String,
    keys: Vec<Value>,
}

pub(super) async fn start() -> Result<Running, SandboxError> {
    let parent = format!("sk-ant-admin01-{}", fresh_value().map_err(SandboxError::Randomness)?);
    let key = |number: u32, workspace: Value| {
        json!({"id": format!("apikey_{number:04}"), "type": "api_key", "name": format!("key {number}"),
            "status": "active", "workspace_id": workspace, "partial_key_hint": "sk-ant-api03-R2D...igAA",
            "created_at": "2026-10-30T23:58:27.427722Z", "created_by": {"id": "user_01", "type": "user"}})
    };
    let keys = vec![key(1, json!("wrkspc_01")), key(2, Value::Null), key(3, json!("wrkspc_01"))];
    serve(Anthropic { parent: parent.clone(), keys }, parent, answer).await
}

fn answer(world: &mut Anthropic, asked: &Asked) -> Told {
    if asked.header("x-api-key") != Some(world.parent.as_str()) {
        return no(401, "authentication_error", "invalid x-api-key");
    }
    if asked.header("anthropic-version").is_none() {
        return no(400, "invalid_request_error", "anthropic-version: header is required");
    }
    match (asked.method.as_str(), asked.segments().as_slice()) {
        ("GET", ["v1", "organizations", "api_keys"]) => world.page(asked),
        ("GET", ["v1", "organizations", "api_keys", id]) => match world.key(id) {
            Some(key) => (200, Some(key.clone())),
            None => no(404, "not_found_error", "API key not found"),
        },
        ("GET", ["v1", "organizations", "usage_report", "messages"]) => usage(asked),
        ("POST", ["v1", "organizations", "api_keys", id]) => {
            let status = asked.text("/status").unwrap_or_default().to_owned();
            match world.key(id) {
                None => no(404, "not_found_error", "API key not found"),
                Some(_) if !["active", "inactive", "archived"].contains(&status.as_str()) => {
                    no(400, "invalid_request_error", "status: unknown")
                }
                Some(key) if key["status"] == "archived" && status != "archived" => {
                    no(400, "invalid_request_error", "an archived key stays archived")
                }
                Some(key) => {
                    key["status"] = json!(status);
                    (200, Some(key.clone()))
                }
            }
        }
        _ => no(404, "not_found_error", "Not found"),
    }
}

impl Anthropic {
    fn key(&mut self, id: &str) -> Option<&mut Value> {
        self.keys.iter_mut().find(|key| key["id"] == id)
    }

    /// Two keys a page, whatever is asked: a client that trusts its own limit misses the third.
    fn page(&self, asked: &Asked) -> Told {
        let start = asked
            .query("after_id")
            .and_then(|id| self.keys.iter().position(|key| key["id"] == id))
            .map_or(0, |at| at + 1);
        let page: Vec<&Value> = self.keys.iter().skip(start).take(2).collect();
        let last = page.last().map(|key| key["id"].clone());
        let has_more = start + page.len() < self.keys.len();
        (200, Some(json!({"data": page, "has_more": has_more, "last_id": last})))
    }
}

/// Two days, one a page, each with a row of the key that is asked for and one of the Console.
fn usage(asked: &Asked) -> Told {
    if asked.query("starting_at").is_none() {
        return no(400, "invalid_request_error", "starting_at: Field required");
    }
    let row = |key: Value| {
        json!({"api_key_id": key, "uncached_input_tokens": 1_000, "cache_read_input_tokens": 200,
            "cache_creation": {"ephemeral_1h_input_tokens": 30, "ephemeral_5m_input_tokens": 4}, "output_tokens": 500,
            "server_tool_use": {"web_search_requests": 0}, "model": null, "service_tier": null, "workspace_id": null,
            "context_window": null})
    };
    let is_first = asked.query("page").is_none();
    let day = json!({"starting_at": "2026-11-01T00:00:00Z", "ending_at": "2026-11-02T00:00:00Z",
        "results": [row(json!(asked.query("api_key_ids[]"))), row(Value::Null)]});
    let next = is_first.then_some("page_2");
    (200, Some(json!({"data": [day], "has_more": is_first, "next_page": next})))
}

fn no(status: u16, kind: &str, message: &str) -> Told {
    (status, Some(json!({"type": "error", "error": {"type": kind, "message": message}})))
}
