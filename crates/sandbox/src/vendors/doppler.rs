//! Doppler: projects `web` and `api` with the configs `dev`, `stg`, `prd` and `gated`, whose changes wait for approval.
//!
//! Change requests are judged as the vendor's CLI expects: each is carried out only if the name and value that it starts
//! from are what lies there, with a real null for nothing; a value that is restricted is not compared.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::Running;
use super::door::{self, Asked, Told};
use crate::error::SandboxError;
use crate::ids::fresh_value;

const PROJECTS: [&str; 2] = ["web", "api"];
const CONFIGS: [&str; 4] = ["dev", "stg", "prd", "gated"];

struct Doppler {
    token: String,
    /// By project, config and name.
    secrets: BTreeMap<(String, String, String), Kept>,
    /// By project and name: a note is shared by the configs.
    notes: BTreeMap<(String, String), String>,
    /// What waits for approval: where, and what it becomes; `None` is gone.
    waiting: Vec<((String, String, String), Option<Kept>)>,
}

struct Kept {
    value: String,
    visibility: String,
}

/// Starts it with a service account's token.
pub(super) async fn start() -> Result<Running, SandboxError> {
    let token = format!("dp.sa.{}", fresh_value().map_err(SandboxError::Randomness)?);
    let doppler = Doppler {
        token: token.clone(),
        secrets: BTreeMap::new(),
        notes: BTreeMap::new(),
        waiting: Vec::new(),
    };
    door::serve(doppler, token, answer).await
}

fn refused(status: u16, why: &str) -> Told {
    (status, Some(json!({"messages": [why], "success": false})))
}

fn answer(doppler: &mut Doppler, asked: &Asked) -> Told {
    // Somebody approves what waits: for tests.
    if (asked.method.as_str(), asked.segments().as_slice()) == ("POST", &["_standin", "approve"][..]) {
        for (key, kept) in std::mem::take(&mut doppler.waiting) {
            match kept {
                Some(kept) => drop(doppler.secrets.insert(key, kept)),
                None => drop(doppler.secrets.remove(&key)),
            }
        }
        return (204, None);
    }
    if asked.bearer() != Some(doppler.token.as_str()) {
        return refused(401, "Invalid Auth token");
    }
    if asked.segments() == ["v3", "me"] {
        let me = json!({"type": "service_account", "name": "keywright", "slug": "00000000", "workplace": {}});
        return (200, Some(me));
    }
    let project = asked.query("project").unwrap_or_default();
    if !PROJECTS.contains(&project) {
        return refused(404, "Could not find requested project");
    }
    if let ("POST", ["v3", "projects", "project", "note"]) =
        (asked.method.as_str(), asked.segments().as_slice())
    {
        return doppler.note(project, asked);
    }
    let config = asked.query("config").unwrap_or_default();
    if !CONFIGS.contains(&config) {
        return refused(404, "Could not find requested config");
    }
    match (asked.method.as_str(), asked.segments().as_slice()) {
        ("GET", ["v3", "configs", "config", "secrets"]) => {
            let only: Option<Vec<&str>> = asked.query("secrets").map(|names| names.split(',').collect());
            (200, Some(doppler.listed(project, config, only.as_deref())))
        }
        ("GET", ["v3", "configs", "config", "secrets", "names"]) => {
            let names: Vec<&String> = doppler
                .secrets
                .keys()
                .filter(|(p, c, _)| p == project && c == config)
                .map(|(_, _, name)| name)
                .collect();
            (200, Some(json!({"names": names, "success": true})))
        }
        ("POST", ["v3", "configs", "config", "secrets"]) => doppler.change(project, config, asked),
        _ => refused(404, "Not found"),
    }
}

impl Doppler {
    fn listed(&self, project: &str, config: &str, only: Option<&[&str]>) -> Value {
        let wanted = |name: &str| only.is_none_or(|only| only.contains(&name));
        let mut secrets = Map::new();
        for ((p, c, name), kept) in &self.secrets {
            if p == project && c == config && wanted(name) {
                let shown = (kept.visibility != "restricted").then_some(&kept.value);
                let note = self.notes.get(&(project.to_owned(), name.clone()));
                let one = json!({
                    "raw": shown, "computed": shown, "note": note.map(String::as_str).unwrap_or_default(),
                    "rawVisibility": kept.visibility, "computedVisibility": kept.visibility,
                    "rawValueType": {"type": "string"}, "computedValueType": {"type": "string"},
                });
                secrets.insert(name.clone(), one);
            }
        }
        json!({"secrets": secrets, "success": true})
    }

    fn note(&mut self, project: &str, asked: &Asked) -> Told {
        let (Some(secret), Some(note)) = (asked.text("/secret"), asked.text("/note")) else {
            return refused(400, "A secret and its note are needed");
        };
        if !self.secrets.keys().any(|(p, _, name)| p == project && name == secret) {
            return refused(404, "Could not find requested secret");
        }
        self.notes.insert((project.to_owned(), secret.to_owned()), note.to_owned());
        (200, Some(json!({"secret": secret, "note": note})))
    }

    fn change(&mut self, project: &str, config: &str, asked: &Asked) -> Told {
        let mut named = Vec::new();
        if let Some(plain) = asked.body.get("secrets").and_then(Value::as_object) {
            for (name, value) in plain {
                let key = (project.to_owned(), config.to_owned(), name.clone());
                let value = value.as_str().unwrap_or_default().to_owned();
                self.secrets.insert(key, Kept { value, visibility: "masked".to_owned() });
                named.push(name.as_str());
            }
            return (200, Some(self.listed(project, config, Some(&named))));
        }
        let Some(changes) = asked.body.get("change_requests").and_then(Value::as_array) else {
            return refused(400, "Secrets or change requests are needed");
        };
        if config == "gated" {
            for change in changes {
                let text = |name: &str| change.get(name).and_then(Value::as_str).map(str::to_owned);
                let key = (project.to_owned(), config.to_owned(), text("name").unwrap_or_default());
                let kept = text("value").map(|value| Kept {
                    value,
                    visibility: text("visibility").unwrap_or("masked".to_owned()),
                });
                let is_removal = change.get("shouldDelete") == Some(&Value::Bool(true));
                self.waiting.push((key, kept.filter(|_| !is_removal)));
            }
            let waits = json!({"id": format!("cr_{}", self.waiting.len()), "status": "pending"});
            return (200, Some(json!({"change_request": waits, "success": true})));
        }
        for change in changes {
            let text = |name: &str| change.get(name).and_then(Value::as_str);
            let Some(name) = text("name").filter(|name| !name.starts_with("DOPPLER_")) else {
                return refused(400, "This name can't be set");
            };
            let key = (project.to_owned(), config.to_owned(), name.to_owned());
            let kept = self.secrets.get(&key);
            let starts_from = match (kept, change.get("originalName"), change.get("originalValue")) {
                (None, Some(Value::Null), Some(Value::Null)) => true,
                (Some(_), Some(Value::String(old)), None) => old == name,
                (Some(kept), Some(Value::String(old)), Some(Value::String(value))) => {
                    old == name && (kept.visibility == "restricted" || *value == kept.value)
                }
                _ => false,
            };
            if !starts_from {
                return refused(409, "The secret has changed since it was read");
            }
            if change.get("shouldDelete") == Some(&Value::Bool(true)) {
                self.secrets.remove(&key);
                continue;
            }
            let Some(value) = text("value") else { return refused(400, "A value is needed") };
            let visibility = text("visibility").unwrap_or("masked").to_owned();
            self.secrets.insert(key, Kept { value: value.to_owned(), visibility });
            named.push(name);
        }
        (200, Some(self.listed(project, config, Some(&named))))
    }
}
