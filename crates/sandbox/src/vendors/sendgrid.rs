//! SendGrid: API keys with scopes.
//!
//! A create without scopes makes a key that may do everything, as at the vendor, and every key carries marks of the account
//! among its scopes.

use serde_json::{Value, json};

use super::Running;
use super::door::{self, Asked, Told};
use crate::error::SandboxError;
use crate::ids::{Ids, fresh_value};

/// What the parent holds, and so may give.
const HELD: [&str; 14] = [
    "api_keys.create",
    "api_keys.read",
    "api_keys.delete",
    "mail.send",
    "mail.batch.create",
    "templates.read",
    "templates.versions.read",
    "suppression.read",
    "suppression.bounces.read",
    "stats.read",
    "stats.global.read",
    "asm.groups.read",
    "categories.stats.read",
    "email_activity.read",
];
const MARKS: [&str; 2] = ["2fa_required", "sender_verification_eligible"];
const QUOTA: usize = 100;

struct SendGrid {
    ids: Ids,
    parent: String,
    keys: Vec<Key>,
}

struct Key {
    id: String,
    name: String,
    secret: String,
    scopes: Vec<String>,
}

pub(super) async fn start() -> Result<Running, SandboxError> {
    let mut ids = Ids::new(None)?;
    let parent = secret(&ids.next())?;
    let state = SendGrid { ids, parent: parent.clone(), keys: Vec::new() };
    door::serve(state, parent, answer).await
}

fn secret(id: &str) -> Result<String, SandboxError> {
    Ok(format!("SG.{}.{}", short(id), fresh_value().map_err(SandboxError::Randomness)?))
}

fn short(id: &str) -> String {
    id.chars().take(22).collect()
}

fn refused(status: u16, why: &str) -> Told {
    (status, Some(json!({"errors": [{"message": why, "field": null}]})))
}

fn answer(state: &mut SendGrid, asked: &Asked) -> Told {
    let (method, path) = (asked.method.as_str(), asked.segments());
    let bearer = asked.bearer().unwrap_or_default();
    let own = match state.keys.iter().find(|key| key.secret == bearer) {
        Some(key) => key.scopes.clone(),
        None if bearer == state.parent => HELD.iter().map(|scope| (*scope).to_owned()).collect(),
        None => return refused(401, "authorization required"),
    };
    let may = |scope: &str| own.iter().any(|held| held == scope);
    match (method, path.as_slice()) {
        ("GET", ["v3", "scopes"]) => (200, Some(json!({"scopes": own}))),
        ("POST", ["v3", "api_keys"]) if may("api_keys.create") => state.create(&asked.body, &own),
        ("GET", ["v3", "api_keys"]) if may("api_keys.read") => {
            let rows = state.keys.iter().map(|key| json!({"api_key_id": key.id, "name": key.name}));
            (200, Some(json!({"result": rows.collect::<Vec<_>>()})))
        }
        ("GET", ["v3", "api_keys", id]) if may("api_keys.read") => {
            match state.keys.iter().find(|key| key.id == *id) {
                None => refused(404, "key not found"),
                Some(key) => {
                    let shown = json!({"api_key_id": key.id, "name": key.name, "scopes": key.scopes});
                    (200, Some(json!({"result": [shown]})))
                }
            }
        }
        ("DELETE", ["v3", "api_keys", id]) if may("api_keys.delete") => {
            let before = state.keys.len();
            state.keys.retain(|key| key.id != *id);
            if state.keys.len() < before { (204, None) } else { refused(404, "key not found") }
        }
        _ => refused(403, "access forbidden"),
    }
}

impl SendGrid {
    fn create(&mut self, body: &Value, own: &[String]) -> Told {
        let Some(name) = body.get("name").and_then(Value::as_str).filter(|name| !name.is_empty()) else {
            return refused(400, "name is required");
        };
        if self.keys.len() >= QUOTA {
            return refused(403, "Cannot create more than 100 API Keys: the maximum is reached");
        }
        let asked: Option<Vec<String>> = body
            .get("scopes")
            .and_then(Value::as_array)
            .map(|scopes| scopes.iter().filter_map(Value::as_str).map(str::to_owned).collect());
        if asked.iter().flatten().any(|scope| !own.contains(scope)) {
            return refused(403, "access forbidden: a scope that the caller does not hold");
        }
        let mut scopes = asked.unwrap_or_else(|| own.to_vec());
        scopes.extend(MARKS.map(str::to_owned));
        let id = short(&self.ids.next());
        let Ok(secret) = secret(&id) else { return refused(500, "no randomness") };
        let told = json!({"api_key": secret, "api_key_id": id, "name": name, "scopes": scopes});
        self.keys.push(Key { id, name: name.to_owned(), secret, scopes });
        (201, Some(told))
    }
}
