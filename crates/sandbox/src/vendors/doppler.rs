//! Doppler: projects `web` and `api` with the configs `dev`, `stg`, `prd` and `gated`, whose changes wait for approval.
//!
//! Changes are judged as the vendor's CLI expects: each is carried out only if the name and value that it starts from are
//! what lies there, with a real null for nothing; a value that is restricted is not compared.
//!
//! Change requests are listed, shown and closed as the document of the vendor's MCP server has it. For tests there is more
//! below `/_standin`: `approve` and `reject` do so with all that are open, `list` tells them, and `blindfold` has the token
//! see none from now on, as one of a single config does.

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
    requests: Vec<Request>,
    is_blind: bool,
}

/// A change request: one unit with one update.
struct Request {
    key: (String, String, String),
    /// What the value becomes; `None` is gone.
    kept: Option<Kept>,
    standing: Standing,
}

#[derive(Clone, Copy, PartialEq)]
enum Standing {
    Open,
    Applied,
    Rejected,
    Closed,
}

#[derive(Clone)]
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
        requests: Vec::new(),
        is_blind: false,
    };
    door::serve(doppler, token, answer).await
}

fn refused(status: u16, why: &str) -> Told {
    (status, Some(json!({"messages": [why], "success": false})))
}

fn answer(doppler: &mut Doppler, asked: &Asked) -> Told {
    if let ("POST", ["_standin", deed]) = (asked.method.as_str(), asked.segments().as_slice()) {
        return doppler.by_people(deed);
    }
    if asked.bearer() != Some(doppler.token.as_str()) {
        return refused(401, "Invalid Auth token");
    }
    if asked.segments() == ["v3", "me"] {
        let me = json!({"type": "service_account", "name": "keywright", "slug": "00000000", "workplace": {}});
        return (200, Some(me));
    }
    if let ["v3", "workplace", "change_requests", rest @ ..] = asked.segments().as_slice() {
        return doppler.requests(&asked.method, rest, asked);
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

/// What a change request is called.
fn id(at: usize) -> String {
    format!("cr_{}", at + 1)
}

impl Request {
    /// As a list shows it, or by itself; its value where that is to be revealed.
    fn shown(&self, at: usize, updates: bool, reveal: bool) -> Value {
        let (project, config, name) = &self.key;
        let named = |name: &str| json!({"slug": name, "name": name});
        let unit_is = match self.standing {
            Standing::Open | Standing::Closed => "open",
            Standing::Applied => "applied",
            Standing::Rejected => "canceled",
        };
        let mut unit = json!({
            "id": format!("unit_{at}"), "status": unit_is,
            "target": {"project": named(project), "environment": named(config), "config": named(config)},
        });
        if updates {
            let mut update = json!({"name": name, "shouldDelete": self.kept.is_none(), "visType": 0});
            if let Some(kept) = self.kept.as_ref().filter(|_| reveal) {
                update["value"] = json!(kept.value);
            }
            unit["updates"] = json!([update]);
        }
        let status = if self.standing == Standing::Closed { "closed" } else { "open" };
        let by = json!({"slug": "00000000", "type": "ServiceAccount", "name": "keywright", "isActive": true});
        json!({
            "id": id(at), "title": "", "status": status, "createdAt": "2026-01-01T00:00:00.000Z", "createdBy": by,
            "units": [unit], "assigned": [],
        })
    }
}

impl Doppler {
    /// What people do in the dashboard, with all requests that are open.
    fn by_people(&mut self, deed: &str) -> Told {
        for request in self.requests.iter_mut().filter(|request| request.standing == Standing::Open) {
            match deed {
                "approve" => {
                    request.standing = Standing::Applied;
                    match request.kept.clone() {
                        Some(kept) => drop(self.secrets.insert(request.key.clone(), kept)),
                        None => drop(self.secrets.remove(&request.key)),
                    }
                }
                "reject" => request.standing = Standing::Rejected,
                _ => {}
            }
        }
        self.is_blind |= deed == "blindfold";
        match deed {
            "approve" | "reject" | "blindfold" => (204, None),
            "list" => {
                let status =
                    |request: &Request| if request.standing == Standing::Open { "open" } else { "closed" };
                let all = self.requests.iter().enumerate();
                let listed: Vec<Value> =
                    all.map(|(at, r)| json!({"id": id(at), "status": status(r)})).collect();
                (200, Some(json!({"approvals": listed})))
            }
            _ => (404, None),
        }
    }

    fn requests(&mut self, method: &str, path: &[&str], asked: &Asked) -> Told {
        if self.is_blind {
            return refused(403, "You do not have access to change requests.");
        }
        if let ("GET", []) = (method, path) {
            let wanted = |shown: &Value| asked.query("status").is_none_or(|status| shown["status"] == status);
            let number = |name: &str, or| asked.query(name).and_then(|n| n.parse().ok()).unwrap_or(or);
            let (page, per_page) = (number("page", 1_usize).max(1), number("per_page", 20));
            let all =
                self.requests.iter().enumerate().rev().map(|(at, request)| request.shown(at, false, false));
            let listed: Vec<Value> = all.filter(wanted).skip((page - 1) * per_page).take(per_page).collect();
            return (200, Some(json!(listed)));
        }
        let found = path.get(1).and_then(|wanted| (0..self.requests.len()).find(|at| id(*at) == **wanted));
        let Some((at, request)) = found.and_then(|at| Some((at, self.requests.get_mut(at)?))) else {
            return refused(404, "Could not find requested change request");
        };
        match (method, path) {
            ("GET", ["change_request", _]) => {
                let reveal = asked.query("reveal").is_some_and(|reveal| reveal != "false");
                (200, Some(json!({"changeRequest": request.shown(at, true, reveal)})))
            }
            ("POST", ["change_request", _, "close"]) if request.standing == Standing::Open => {
                request.standing = Standing::Closed;
                (200, Some(json!({"success": true})))
            }
            ("POST", ["change_request", _, "close"]) => refused(400, "This change request is not open"),
            _ => refused(404, "Not found"),
        }
    }

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
                let kept = kept.filter(|_| !is_removal);
                self.requests.push(Request { key, kept, standing: Standing::Open });
            }
            let waits = json!({"id": id(self.requests.len() - 1), "status": "open"});
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
