//! 1Password Connect: one vault, its items, and patches of whole fields, as in specification 1.7.1.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::Running;
use super::door::{self, Asked, Told};
use crate::error::SandboxError;
use crate::ids::fresh_value;

/// The only vault.
pub const VAULT: &str = "ionaiwtdvgclrixbt6ztpqcxnq";

const CATEGORIES: [&str; 4] = ["LOGIN", "PASSWORD", "API_CREDENTIAL", "SECURE_NOTE"];
const TYPES: [&str; 8] = ["STRING", "EMAIL", "CONCEALED", "URL", "TOTP", "DATE", "MONTH_YEAR", "MENU"];

struct Connect {
    token: String,
    items: BTreeMap<String, Value>,
    made: u32,
}

/// Starts it; the credential is the server's token.
pub(super) async fn start() -> Result<Running, SandboxError> {
    let token = format!("eyJ.{}", fresh_value().map_err(SandboxError::Randomness)?);
    door::serve(Connect { token: token.clone(), items: BTreeMap::new(), made: 0 }, token, answer).await
}

fn refused(status: u16, message: &str) -> Told {
    (status, Some(json!({"status": status, "message": message})))
}

fn answer(state: &mut Connect, asked: &Asked) -> Told {
    if asked.bearer() != Some(state.token.as_str()) {
        return refused(401, "Invalid token signature");
    }
    let vault = || json!({"id": VAULT, "name": "Agents", "attributeVersion": 1, "contentVersion": 1, "type": "USER_CREATED"});
    let segments = asked.segments();
    let rest = match segments.as_slice() {
        ["v1", "vaults"] => return (200, Some(json!([vault()]))),
        ["v1", "vaults", id, ..] if *id != VAULT => return refused(403, "vault is not in scope"),
        ["v1", "vaults", _] => return (200, Some(vault())),
        ["v1", "vaults", _, "items", rest @ ..] => rest,
        _ => return refused(404, "not found"),
    };
    match (asked.method.as_str(), rest) {
        ("GET", []) => state.list(asked.query("filter")),
        ("POST", []) => state.create(&asked.body),
        ("GET", [id]) => match state.items.get(*id) {
            Some(item) => (200, Some(item.clone())),
            None => refused(404, "item not found"),
        },
        ("PATCH", [id]) => state.patch(id, &asked.body),
        ("DELETE", [id]) => match state.items.remove(*id) {
            Some(_) => (204, None),
            None => refused(404, "item not found"),
        },
        _ => refused(405, "method not allowed"),
    }
}

impl Connect {
    fn list(&self, filter: Option<&str>) -> Told {
        let wanted = filter.and_then(|filter| filter.strip_prefix("title eq \"")?.strip_suffix('"'));
        let title = |item: &Value| item.get("title").and_then(Value::as_str).unwrap_or_default().to_owned();
        let listed: Vec<Value> = self
            .items
            .values()
            .filter(|item| wanted.is_none_or(|wanted| title(item) == wanted))
            .map(|item| {
                let mut item = item.clone();
                if let Some(item) = item.as_object_mut() {
                    item.remove("fields");
                }
                item
            })
            .collect();
        (200, Some(Value::Array(listed)))
    }

    fn create(&mut self, body: &Value) -> Told {
        let text = |at: &str| body.pointer(at).and_then(Value::as_str);
        if text("/vault/id") != Some(VAULT) {
            return refused(400, "The item's vault is another one");
        }
        if !text("/category").is_some_and(|category| CATEGORIES.contains(&category)) {
            return refused(400, "Invalid item category");
        }
        let fields = body.get("fields").and_then(Value::as_array).cloned().unwrap_or_default();
        if !fields.iter().all(is_field) {
            return refused(400, "Invalid field: an id and a type are needed");
        }
        self.made += 1;
        let id = format!("{:0>26}", self.made);
        let mut item = body.clone();
        item["id"] = json!(id);
        item["version"] = json!(1);
        self.items.insert(id, item.clone());
        (200, Some(item))
    }

    fn patch(&mut self, id: &str, body: &Value) -> Told {
        let Some(item) = self.items.get(id) else { return refused(404, "item not found") };
        let mut changed = item.clone();
        let Some(patches) = body.as_array() else { return refused(400, "Invalid patch") };
        for patch in patches {
            let op = patch.get("op").and_then(Value::as_str).unwrap_or_default();
            let path = patch.get("path").and_then(Value::as_str).unwrap_or_default();
            let parts: Vec<&str> = path.split('/').collect();
            let Some(fields) = changed.get_mut("fields").and_then(Value::as_array_mut) else {
                return refused(400, "The item has no fields");
            };
            let named = |field: &Value, id: &str| field.get("id").and_then(Value::as_str) == Some(id);
            let value = patch.get("value").cloned().unwrap_or_default();
            match (op, parts.as_slice()) {
                ("replace", ["", "fields", id]) if is_field(&value) => {
                    match fields.iter_mut().find(|field| named(field, id)) {
                        Some(field) => *field = value,
                        None => return refused(400, "The item has no such field"),
                    }
                }
                ("add", ["", "fields"]) if is_field(&value) => fields.push(value),
                ("remove", ["", "fields", id]) => fields.retain(|field| !named(field, id)),
                _ => return refused(400, "Invalid patch"),
            }
        }
        let version = changed.get("version").and_then(Value::as_u64).unwrap_or(0);
        changed["version"] = json!(version + 1);
        self.items.insert(id.to_owned(), changed.clone());
        (200, Some(changed))
    }
}

fn is_field(field: &Value) -> bool {
    let text = |name: &str| field.get(name).and_then(Value::as_str);
    text("id").is_some_and(|id| !id.is_empty()) && text("type").is_some_and(|kind| TYPES.contains(&kind))
}
