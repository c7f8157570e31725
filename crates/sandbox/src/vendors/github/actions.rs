//! `Actions / Secrets` and `Actions / Variables`: of a repository, an environment, an organisation. Values are sealed for
//! a real key pair, whose private key only this world has.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use crypto_box::SecretKey;
use crypto_box::aead::OsRng;
use jiff::Timestamp;
use serde_json::{Value, json};

use super::super::door::{Asked, Told};
use super::{ENVIRONMENT, ORGANISATION, no, now, page, repository};

/// The path above `secrets` and `variables`, and the name.
type Spot = (String, String);

pub(super) struct Actions {
    key: SecretKey,
    /// Counts the key pairs.
    key_number: u64,
    secrets: BTreeMap<Spot, Held>,
    variables: BTreeMap<Spot, Held>,
}

/// A secret (its sealed text) or a variable (its text).
struct Held {
    value: String,
    created_at: Timestamp,
    updated_at: Timestamp,
    visibility: Option<String>,
    selected: Vec<u64>,
}

impl Actions {
    pub(super) fn new() -> Self {
        Self {
            key: SecretKey::generate(&mut OsRng),
            key_number: 1,
            secrets: BTreeMap::new(),
            variables: BTreeMap::new(),
        }
    }

    pub(super) fn answer(&mut self, path: &[&str], asked: &Asked) -> Option<Told> {
        let (scope, rest) = scope(path)?;
        let method = asked.method.as_str();
        Some(match (method, rest) {
            ("GET", ["secrets", "public-key"]) => {
                let key = STANDARD.encode(self.key.public_key().as_bytes());
                (200, Some(json!({"key_id": self.key_id(), "key": key})))
            }
            ("GET", ["secrets", name]) => {
                (200, Some(shown(&scope, name, self.secrets.get(&spot(&scope, name))?)))
            }
            ("GET", ["secrets", name, "repositories"]) => {
                let held = self.secrets.get(&spot(&scope, name))?;
                let all: Vec<Value> = held.selected.iter().map(|id| json!({"id": id})).collect();
                (200, Some(json!({"total_count": all.len(), "repositories": page(asked, &all)})))
            }
            ("PUT", ["secrets", name]) => self.put_secret(&scope, name, asked),
            ("DELETE", ["secrets", name]) => {
                self.secrets.remove(&spot(&scope, name))?;
                (204, None)
            }
            ("GET", ["variables", name]) => {
                let held = self.variables.get(&spot(&scope, name))?;
                let mut body = shown(&scope, name, held);
                body["value"] = json!(held.value);
                (200, Some(body))
            }
            ("POST", ["variables"]) => {
                let name = asked.text("/name")?.to_owned();
                if self.variables.contains_key(&spot(&scope, &name)) {
                    return Some(no(409, "Already exists - Variable already exists"));
                }
                put(&mut self.variables, &scope, &name, asked.text("/value")?.to_owned(), asked)
                    .map(|_| ())?;
                (201, Some(json!({})))
            }
            ("PATCH", ["variables", name]) => {
                self.variables.get(&spot(&scope, name))?;
                put(&mut self.variables, &scope, name, asked.text("/value")?.to_owned(), asked)?;
                (204, None)
            }
            ("DELETE", ["variables", name]) => {
                self.variables.remove(&spot(&scope, name))?;
                (204, None)
            }
            _ => return None,
        })
    }

    /// What tests ask: `POST /-/read`, `/-/put`, `/-/rotate-key`, with `scope` (the path above `secrets`) and `name`.
    pub(super) fn control(&mut self, path: &[&str], asked: &Asked) -> Option<Told> {
        let of_body = || Some((asked.text("/scope")?.to_owned(), asked.text("/name")?.to_owned()));
        match path {
            ["read"] => {
                let held = self.secrets.get(&of_body()?);
                let value = held.and_then(|held| self.open(&held.value));
                Some((
                    200,
                    Some(json!({
                        "value": value,
                        "sealed": held.map(|held| &held.value),
                        "visibility": held.and_then(|held| held.visibility.clone()),
                        "selected": held.map(|held| &held.selected),
                        "key": STANDARD.encode(self.key.to_bytes()),
                    })),
                ))
            }
            ["put"] => {
                let sealed = self.key.public_key().seal(&mut OsRng, asked.text("/value")?.as_bytes()).ok()?;
                let (scope, name) = of_body()?;
                put(&mut self.secrets, &scope, &name, STANDARD.encode(sealed), asked)?;
                Some((204, None))
            }
            ["rotate-key"] => {
                self.key = SecretKey::generate(&mut OsRng);
                self.key_number += 1;
                Some((204, None))
            }
            _ => None,
        }
    }

    fn key_id(&self) -> String {
        format!("56838967062457{}", self.key_number)
    }

    fn open(&self, sealed: &str) -> Option<String> {
        String::from_utf8(self.key.unseal(&STANDARD.decode(sealed).ok()?).ok()?).ok()
    }

    fn put_secret(&mut self, scope: &str, name: &str, asked: &Asked) -> Told {
        let (Some(value), Some(key_id)) = (asked.text("/encrypted_value"), asked.text("/key_id")) else {
            return no(422, "Invalid request.");
        };
        if key_id != self.key_id() {
            return no(422, "The key_id is not the current one");
        }
        // GitHub can't look into the box either; that it is one shows by its length.
        if STANDARD.decode(value).map_or(0, |sealed| sealed.len()) < 48 {
            return no(422, "encrypted_value is not sealed");
        }
        match put(&mut self.secrets, scope, name, value.to_owned(), asked) {
            Some(true) => (201, Some(json!({}))),
            Some(false) => (204, None),
            None => no(422, "visibility is missing"),
        }
    }
}

/// Stores it; whether it is new. `None` when an organisation's has no visibility. What a write leaves out is cleared.
fn put(
    all: &mut BTreeMap<Spot, Held>,
    scope: &str,
    name: &str,
    value: String,
    asked: &Asked,
) -> Option<bool> {
    let visibility = asked.text("/visibility").map(str::to_owned);
    let before = all.get(&spot(scope, name));
    let is_new = before.is_none();
    if scope.starts_with("orgs/") && is_new && visibility.is_none() {
        return None;
    }
    let selected = asked.body.get("selected_repository_ids").and_then(Value::as_array);
    let held = Held {
        value,
        created_at: before.map_or_else(now, |held| held.created_at),
        updated_at: now(),
        visibility: visibility.or_else(|| before.and_then(|held| held.visibility.clone())),
        selected: selected.into_iter().flatten().filter_map(Value::as_u64).collect(),
    };
    all.insert(spot(scope, name), held);
    Some(is_new)
}

fn spot(scope: &str, name: &str) -> Spot {
    (scope.to_owned(), name.to_ascii_uppercase())
}

/// Splits a path into what is above `secrets` and `variables`, and the rest.
fn scope<'a>(path: &'a [&'a str]) -> Option<(String, &'a [&'a str])> {
    let (above, rest) = match path {
        ["repos", ORGANISATION, name, "environments", ENVIRONMENT, ..] if repository(name).is_some() => {
            path.split_at(5)
        }
        ["repos", ORGANISATION, name, "actions", ..] if repository(name).is_some() => path.split_at(4),
        ["orgs", ORGANISATION, "actions", ..] => path.split_at(3),
        _ => return None,
    };
    Some((above.join("/"), rest))
}

fn shown(scope: &str, name: &str, held: &Held) -> Value {
    let mut body = json!({
        "name": name.to_ascii_uppercase(),
        "created_at": held.created_at.to_string(),
        "updated_at": held.updated_at.to_string(),
    });
    if scope.starts_with("orgs/") {
        body["visibility"] = json!(held.visibility);
    }
    body
}
