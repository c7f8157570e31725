//! OpenRouter: keys with limits, guardrails, one workspace.
//!
//! It is hard on careless clients: unknown fields are refused, an expiry has to be UTC, and pages are short.

use jiff::Timestamp;
use serde_json::{Value, json};

use super::Running;
use super::door::{self, Asked, Told};
use crate::error::SandboxError;
use crate::ids::Ids;

/// The only workspace.
pub const WORKSPACE: &str = "0df9e665-d932-4740-b2c7-b52af166bc11";
/// Two guardrails, by id and name.
const GUARDRAILS: [(&str, &str); 2] = [
    ("550e8400-e29b-41d4-a716-446655440000", "cheap models"),
    ("550e8400-e29b-41d4-a716-446655440001", "no training"),
];
/// The vendor gives 100 keys in a page.
const PAGE_SIZE: usize = 4;
const FIELDS: [&str; 6] =
    ["name", "limit", "limit_reset", "include_byok_in_limit", "expires_at", "workspace_id"];

struct OpenRouter {
    ids: Ids,
    parent: String,
    keys: Vec<Key>,
}

struct Key {
    secret: String,
    guardrail: Option<String>,
    /// As the API shows it.
    shown: Value,
}

pub(super) async fn start() -> Result<Running, SandboxError> {
    let mut ids = Ids::new(None)?;
    let parent = format!("sk-or-v1-{}{}", ids.next(), ids.next());
    let state = OpenRouter { ids, parent: parent.clone(), keys: Vec::new() };
    door::serve(state, parent, answer).await
}

fn refused(status: u16, why: &str) -> Told {
    (status, Some(json!({"error": {"code": status, "message": why}})))
}

fn data(value: Value) -> Told {
    (200, Some(json!({"data": value})))
}

fn answer(state: &mut OpenRouter, asked: &Asked) -> Told {
    let (method, path) = (asked.method.as_str(), asked.segments());
    let bearer = asked.bearer().unwrap_or_default();
    if (method, path.as_slice()) == ("GET", &["key"]) {
        state.count(bearer);
        return state.own(bearer);
    }
    if bearer != state.parent {
        return refused(401, "a management key is required");
    }
    match (method, path.as_slice()) {
        ("POST", ["keys"]) => state.create(&asked.body),
        ("GET", ["keys"]) => {
            let offset = asked.query("offset").and_then(|text| text.parse().ok()).unwrap_or(0);
            let with_disabled = asked.query("include_disabled") == Some("true");
            let all = state.keys.iter().map(|key| &key.shown);
            let shown = all.filter(|key| with_disabled || key.get("disabled") == Some(&json!(false)));
            data(shown.skip(offset).take(PAGE_SIZE).cloned().collect())
        }
        (_, ["keys", hash]) => state.one(method, hash, &asked.body),
        ("GET", ["workspaces", WORKSPACE]) => data(workspace()),
        ("GET", ["guardrails"]) => page(GUARDRAILS.map(guardrail).to_vec(), asked),
        ("POST", ["guardrails", id, "assignments", "keys"]) => state.assign(id, &asked.body),
        ("GET", ["guardrails", "assignments", "keys"]) => page(state.assignments(), asked),
        _ => refused(404, "not found"),
    }
}

impl OpenRouter {
    /// Looking at oneself costs nothing at the vendor, and 0.25 dollars here, so that there is something to be counted.
    fn count(&mut self, bearer: &str) {
        if let Some(key) = self.keys.iter_mut().find(|key| key.secret == bearer)
            && let Some(usage) = key.shown.get_mut("usage")
        {
            *usage = json!(usage.as_f64().unwrap_or_default() + 0.25);
        }
    }

    fn own(&self, bearer: &str) -> Told {
        let mut shown = if bearer == self.parent {
            key_shape("", &json!({}), "sk-or-v1-par...ent")
        } else {
            let now = Timestamp::now();
            let lives = |key: &&Key| {
                let ends = key.shown.get("expires_at").and_then(Value::as_str).and_then(|at| at.parse().ok());
                key.shown.get("disabled") == Some(&json!(false)) && ends.is_none_or(|at: Timestamp| at > now)
            };
            match self.keys.iter().filter(lives).find(|key| key.secret == bearer) {
                Some(key) => key.shown.clone(),
                None => return refused(401, "User not found."),
            }
        };
        if let Some(fields) = shown.as_object_mut() {
            for hidden in ["hash", "name", "created_at", "updated_at", "workspace_id", "disabled"] {
                fields.remove(hidden);
            }
            for flag in ["is_management_key", "is_provisioning_key"] {
                fields.insert(flag.to_owned(), json!(bearer == self.parent));
            }
            fields.insert("is_free_tier".to_owned(), json!(false));
            let rate = json!({"requests": 1000, "interval": "1h", "note": "deprecated"});
            fields.insert("rate_limit".to_owned(), rate);
        }
        data(shown)
    }

    fn create(&mut self, body: &Value) -> Told {
        let Some(fields) = body.as_object() else { return refused(400, "the body is no object") };
        if let Some(unknown) = fields.keys().find(|name| !FIELDS.contains(&name.as_str())) {
            return refused(400, &format!("unknown field `{unknown}`"));
        }
        if body.get("name").and_then(Value::as_str).is_none_or(str::is_empty) {
            return refused(400, "name is required");
        }
        if body.get("expires_at").and_then(Value::as_str).is_some_and(|at| !at.ends_with('Z')) {
            return refused(400, "expires_at must be UTC");
        }
        let hash = format!("{}{}", self.ids.next(), self.ids.next());
        let secret = format!("sk-or-v1-{}{}", self.ids.next(), self.ids.next());
        let label =
            format!("{}...{}", secret.get(..12).unwrap_or_default(), secret.get(70..).unwrap_or_default());
        let shown = key_shape(&hash, body, &label);
        let told = json!({"data": shown, "key": secret});
        self.keys.push(Key { secret, guardrail: None, shown });
        (201, Some(told))
    }

    fn one(&mut self, method: &str, hash: &str, body: &Value) -> Told {
        let Some(at) = self.keys.iter().position(|key| is(key, hash)) else {
            return refused(404, "key not found");
        };
        if method == "DELETE" {
            self.keys.remove(at);
            return (200, Some(json!({"deleted": true})));
        }
        let Some(key) = self.keys.get_mut(at) else { return refused(404, "key not found") };
        if let ("PATCH", Some(disabled), Some(fields)) =
            (method, body.get("disabled"), key.shown.as_object_mut())
        {
            fields.insert("disabled".to_owned(), disabled.clone());
        }
        data(key.shown.clone())
    }

    fn assign(&mut self, id: &str, body: &Value) -> Told {
        if !GUARDRAILS.iter().any(|(known, _)| *known == id) {
            return refused(404, "guardrail not found");
        }
        let hashes = body.get("key_hashes").and_then(Value::as_array).cloned().unwrap_or_default();
        let mut count = 0;
        for key in &mut self.keys {
            if hashes.iter().filter_map(Value::as_str).any(|hash| is(key, hash)) {
                key.guardrail = Some(id.to_owned());
                count += 1;
            }
        }
        (200, Some(json!({"assigned_count": count})))
    }

    fn assignments(&self) -> Vec<Value> {
        let one = |key: &Key| {
            let guardrail = key.guardrail.as_ref()?;
            Some(json!({
                "id": WORKSPACE, "key_hash": key.shown.get("hash"), "guardrail_id": guardrail,
                "key_name": key.shown.get("name"), "key_label": key.shown.get("label"), "assigned_by": null,
                "created_at": key.shown.get("created_at"),
            }))
        };
        self.keys.iter().filter_map(one).collect()
    }
}

fn is(key: &Key, hash: &str) -> bool {
    key.shown.get("hash").and_then(Value::as_str) == Some(hash)
}

/// A key with what was asked for; what was left out is what makes it wide.
fn key_shape(hash: &str, body: &Value, label: &str) -> Value {
    let asked = |name: &str| body.get(name).cloned().unwrap_or_default();
    json!({
        "hash": hash, "name": asked("name"), "label": label, "disabled": false, "limit": asked("limit"),
        "limit_remaining": asked("limit"), "limit_reset": asked("limit_reset"),
        "include_byok_in_limit": body.get("include_byok_in_limit").cloned().unwrap_or(json!(false)),
        "usage": 0, "usage_daily": 0, "usage_weekly": 0, "usage_monthly": 0, "byok_usage": 0, "byok_usage_daily": 0,
        "byok_usage_weekly": 0, "byok_usage_monthly": 0, "created_at": Timestamp::now().to_string(), "updated_at": null,
        "expires_at": asked("expires_at"), "creator_user_id": null,
        "workspace_id": body.get("workspace_id").cloned().unwrap_or(json!(WORKSPACE)),
    })
}

fn workspace() -> Value {
    json!({
        "id": WORKSPACE, "default_guardrail_id": WORKSPACE, "name": "Production", "slug": "production",
        "description": null, "default_text_model": null, "default_image_model": null, "default_provider_sort": null,
        "is_observability_io_logging_enabled": false, "is_observability_broadcast_enabled": false,
        "is_data_discount_logging_enabled": false, "io_logging_sampling_rate": 1, "io_logging_api_key_ids": null,
        "created_at": "2026-01-01T00:00:00Z", "updated_at": null, "created_by": null,
    })
}

fn guardrail((id, name): (&str, &str)) -> Value {
    json!({
        "id": id, "name": name, "include_byok_in_budgets": true, "created_at": "2026-01-01T00:00:00Z",
        "workspace_id": WORKSPACE, "allowed_models": ["openai/gpt-5-mini"],
    })
}

fn page(all: Vec<Value>, asked: &Asked) -> Told {
    let number =
        |name: &str, default| asked.query(name).and_then(|text| text.parse().ok()).unwrap_or(default);
    let total = all.len();
    let shown: Vec<Value> = all.into_iter().skip(number("offset", 0)).take(number("limit", 50)).collect();
    (200, Some(json!({"data": shown, "total_count": total})))
}
