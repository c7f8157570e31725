//! The shapes on the wire, and what a key as it is read means as a grant.

use std::collections::BTreeSet;

use jiff::Timestamp;
use keywright_core::grant::ObservedGrant;
use keywright_core::text::Untrusted;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::{GUARDRAIL, INFERENCE, RESET, WORKSPACE};
use crate::provider::secret_text::SecretText;

/// The body of `POST /keys`. Nothing in it is optional, whatever the API says.
#[derive(Serialize)]
pub(super) struct CreateBody<'a> {
    pub(super) name: &'a str,
    /// US dollars.
    pub(super) limit: f64,
    pub(super) limit_reset: Option<&'a str>,
    pub(super) include_byok_in_limit: bool,
    pub(super) expires_at: String,
    pub(super) workspace_id: &'a str,
}

#[derive(Serialize)]
pub(super) struct SwitchBody {
    pub(super) disabled: bool,
}

#[derive(Serialize)]
pub(super) struct AssignBody<'a> {
    pub(super) key_hashes: [&'a str; 1],
}

/// The answer to a create.
#[derive(Deserialize)]
pub(super) struct Created {
    pub(super) data: CreatedKey,
    pub(super) key: SecretText,
}

#[derive(Deserialize)]
pub(super) struct CreatedKey {
    pub(super) hash: String,
}

#[derive(Deserialize)]
pub(super) struct Data<T> {
    pub(super) data: T,
}

#[derive(Deserialize)]
pub(super) struct Page<T> {
    pub(super) data: Vec<T>,
    pub(super) total_count: usize,
}

#[derive(Deserialize)]
pub(super) struct Deleted {
    #[serde(default)]
    pub(super) deleted: bool,
}

/// A key as others see it. What has no field here ends up in `rest`.
#[derive(Deserialize)]
pub(super) struct Key {
    pub(super) hash: String,
    pub(super) name: String,
    /// The first and last characters of the secret.
    pub(super) label: String,
    pub(super) disabled: bool,
    pub(super) limit: Option<f64>,
    limit_reset: Option<String>,
    include_byok_in_limit: bool,
    pub(super) expires_at: Option<Timestamp>,
    #[serde(default)]
    pub(super) created_at: String,
    workspace_id: String,
    /// US dollars in all its life, at OpenRouter and with keys of one's own for other vendors.
    #[serde(default)]
    pub(super) usage: Option<f64>,
    #[serde(default)]
    pub(super) byok_usage: Option<f64>,
    #[serde(flatten)]
    rest: Map<String, Value>,
}

/// A key as it sees itself.
#[derive(Deserialize)]
pub(super) struct OwnKey {
    pub(super) label: String,
    pub(super) is_management_key: bool,
    pub(super) expires_at: Option<Timestamp>,
}

#[derive(Deserialize)]
pub(super) struct Workspace {
    pub(super) id: String,
    #[serde(default)]
    pub(super) name: String,
    #[serde(default)]
    pub(super) slug: String,
}

#[derive(Deserialize)]
pub(super) struct Guardrail {
    pub(super) id: String,
    pub(super) name: String,
    pub(super) workspace_id: Option<String>,
    #[serde(default)]
    allowed_models: Option<BTreeSet<String>>,
    #[serde(default)]
    ignored_models: Option<BTreeSet<String>>,
    #[serde(default)]
    allowed_providers: Option<BTreeSet<String>>,
    #[serde(default)]
    ignored_providers: Option<BTreeSet<String>>,
}

impl Guardrail {
    /// Its name and what it allows, as in "cheap models (models: openai/gpt-5-mini; providers: any but x)".
    pub(super) fn described(&self) -> String {
        let joined = |names: &BTreeSet<String>| names.iter().cloned().collect::<Vec<_>>().join(", ");
        let side = |allowed: &Option<BTreeSet<String>>, ignored: &Option<BTreeSet<String>>| {
            let allowed = allowed.as_ref().map_or("any".to_owned(), joined);
            let ignored = ignored.as_ref().filter(|names| !names.is_empty()).map(joined);
            ignored.map_or_else(|| allowed.clone(), |ignored| format!("{allowed} but {ignored}"))
        };
        let models = side(&self.allowed_models, &self.ignored_models);
        let providers = side(&self.allowed_providers, &self.ignored_providers);
        format!("{} (models: {models}; providers: {providers})", self.name)
    }
}

#[derive(Deserialize)]
pub(super) struct Assigned {}

#[derive(Deserialize)]
pub(super) struct Assignment {
    pub(super) key_hash: String,
    pub(super) guardrail_id: String,
}

#[derive(Deserialize)]
pub(super) struct Refusal {
    pub(super) error: RefusalText,
}

#[derive(Deserialize)]
pub(super) struct RefusalText {
    /// The document has a number here. Nothing hangs on it, so that any other form is a refusal as well.
    #[serde(default)]
    pub(super) code: Option<Value>,
    pub(super) message: String,
}

/// Fields that say nothing about what a key may do.
fn is_cosmetic(field: &str) -> bool {
    let counters = field.starts_with("usage") || field.starts_with("byok_usage");
    counters || ["limit_remaining", "updated_at", "creator_user_id"].contains(&field)
}

/// Reads a key. Whatever this adapter would not have written is not understood.
pub(super) fn observed(key: &Key, guardrails: Vec<String>) -> ObservedGrant {
    let mut odd: Vec<String> = key
        .rest
        .iter()
        .filter(|(name, value)| !value.is_null() && !is_cosmetic(name))
        .map(|(name, _)| name.clone())
        .collect();
    if key.disabled {
        odd.push("disabled".to_owned());
    }
    if !key.include_byok_in_limit {
        odd.push("include_byok_in_limit: false".to_owned());
    }
    let budget_cents = key.limit.and_then(cents);
    if key.limit.is_some() && budget_cents.is_none() {
        odd.push("limit".to_owned());
    }
    let workspace = (WORKSPACE.to_owned(), key.workspace_id.clone());
    let guardrails = guardrails.into_iter().map(|id| (GUARDRAIL.to_owned(), id));
    let reset = key.limit_reset.iter().map(|reset| (RESET.to_owned(), reset.clone()));
    ObservedGrant {
        permissions: BTreeSet::from([INFERENCE.to_owned()]),
        resources: guardrails.chain(reset).chain([workspace]).collect(),
        expires_at: key.expires_at,
        budget_cents,
        not_understood: odd.iter().map(|part| Untrusted::capped(part, 120)).collect(),
        ..ObservedGrant::default()
    }
    .labelled(&key.name)
}

/// Dollars in whole cents; `None` when they are not whole.
fn cents(dollars: f64) -> Option<u64> {
    let cents = (dollars * 100.0).round();
    let is_whole = (dollars * 100.0 - cents).abs() < 1e-6 && (0.0..1e15).contains(&cents);
    is_whole.then_some(cents as u64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn good() -> Value {
        json!({
            "hash": "h", "name": "kw-x", "label": "sk-or-v1-abc...def", "disabled": false, "limit": 2.5,
            "limit_remaining": 2.5, "limit_reset": null, "include_byok_in_limit": true, "usage": 0, "byok_usage_daily": 0,
            "created_at": "2026-11-24T10:00:00Z", "updated_at": null, "creator_user_id": "user_1",
            "expires_at": "2026-12-24T10:00:00Z", "workspace_id": "w",
        })
    }

    fn read(key: Value) -> ObservedGrant {
        observed(&serde_json::from_value(key).unwrap(), Vec::new())
    }

    #[test]
    fn what_this_adapter_writes_is_understood() {
        let read = read(good());
        assert_eq!(read.not_understood, []);
        assert_eq!(read.budget_cents, Some(250));
        assert_eq!(read.resources, BTreeSet::from([(WORKSPACE.to_owned(), "w".to_owned())]));
        assert_eq!(read.expires_at, "2026-12-24T10:00:00Z".parse().ok());
    }

    #[test]
    fn whatever_else_a_key_may_hold_is_not_understood() {
        for (field, value) in [
            ("disabled", json!(true)),
            ("include_byok_in_limit", json!(false)),
            ("limit", json!(0.001)),
            ("limit", json!(-1)),
            ("may_make_keys", json!(true)),
        ] {
            let mut key = good();
            key[field] = value;
            assert_ne!(read(key).not_understood, [], "{field}");
        }
        let mut key = good();
        key["limit_reset"] = json!("daily");
        let daily = (RESET.to_owned(), "daily".to_owned());
        assert!(read(key).resources.contains(&daily), "a limit that begins anew is another one");
        let mut key = good();
        key["limit"] = Value::Null;
        assert_eq!(read(key).budget_cents, None, "no limit is not the limit that was asked for");
    }
}
