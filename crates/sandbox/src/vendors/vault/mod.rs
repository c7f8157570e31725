//! Vault and OpenBao: KV version 2, tokens, `AppRole`, policies, namespaces.
//!
//! hvac's own integration suite for KV version 2 runs against it unchanged. Beyond that suite it enforces policies
//! (`path "..." { capabilities = [...] }` with a trailing `*` or `+` segments), lets tokens end, and keeps namespaces
//! apart.

mod auth;
mod kv;
mod policy;

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde_json::{Value, json};

use self::auth::{Role, Token};
use self::kv::Mount;
use self::policy::Rule;
use super::Running;
use super::door::{self, Asked, Told};
use crate::error::SandboxError;
use crate::ids::fresh_value;

/// Everything that it keeps.
pub(super) struct Vault {
    tokens: BTreeMap<String, Token>,
    spaces: BTreeMap<String, Space>,
}

/// One namespace; the root's name is empty.
#[derive(Default)]
struct Space {
    mounts: BTreeMap<String, Mount>,
    policies: BTreeMap<String, Vec<Rule>>,
    roles: BTreeMap<String, Role>,
    approle: bool,
}

/// Starts it with a root token, the mount `secret/` and `AppRole` enabled.
pub(super) async fn start() -> Result<Running, SandboxError> {
    let root = format!("hvs.{}", fresh_value().map_err(SandboxError::Randomness)?);
    let mut vault = Vault { tokens: BTreeMap::new(), spaces: BTreeMap::new() };
    vault.tokens.insert(root.clone(), Token::root());
    let mut space = Space { approle: true, ..Space::default() };
    space.mounts.insert("secret".to_owned(), Mount::default());
    vault.spaces.insert(String::new(), space);
    door::serve(vault, root, answer).await
}

/// A refusal in Vault's form.
fn refused(status: u16, why: &str) -> Told {
    let errors = if why.is_empty() { json!([]) } else { json!([why]) };
    (status, Some(json!({"errors": errors})))
}

/// Success in Vault's form.
fn told(data: Value) -> Told {
    (
        200,
        Some(
            json!({"request_id": "", "lease_id": "", "renewable": false, "lease_duration": 0, "data": data}),
        ),
    )
}

fn denied() -> Told {
    refused(403, "permission denied")
}

fn answer(vault: &mut Vault, asked: &Asked) -> Told {
    let method = match (asked.method.as_str(), asked.query("list")) {
        ("GET", Some("true")) => "LIST",
        ("PUT", _) => "POST",
        (method, _) => method,
    };
    let segments = asked.segments();
    let Some((&"v1", path)) = segments.split_first() else { return refused(404, "") };
    let space = asked.header("x-vault-namespace").unwrap_or_default().trim_matches('/').to_owned();
    let now = Timestamp::now();
    match (method, path) {
        ("GET", ["sys", "health"]) => {
            return (
                200,
                Some(json!({"initialized": true, "sealed": false, "standby": false, "version": "1.15.0"})),
            );
        }
        ("GET", ["sys", "seal-status"]) => {
            return (
                200,
                Some(json!({"type": "shamir", "initialized": true, "sealed": false, "version": "1.15.0"})),
            );
        }
        ("POST", ["auth", "approle", "login"]) => return vault.login(&space, asked, now),
        _ => {}
    }
    let value = asked.header("x-vault-token").or_else(|| asked.bearer()).unwrap_or_default().to_owned();
    let Some(token) = vault.tokens.get(&value).filter(|token| token.lives(now)) else { return denied() };
    if !token.reaches(&space) || !vault.spaces.contains_key(&space) {
        return denied();
    }
    if !vault.may(&value, &space, method, path) {
        return denied();
    }
    match path {
        ["auth", "token", rest @ ..] => vault.token(&value, method, rest, asked, now),
        ["sys", "namespaces", name] if method == "POST" => {
            vault.spaces.insert((*name).to_owned(), Space { approle: true, ..Space::default() });
            (204, None)
        }
        ["sys", rest @ ..] => vault.system(&space, method, rest, asked),
        ["auth", "approle", "role", rest @ ..] => vault.role(&space, method, rest, asked),
        path => {
            let Some(space) = vault.spaces.get_mut(&space) else { return denied() };
            match path.split_first() {
                Some((mount, rest)) => match space.mounts.get_mut(*mount) {
                    Some(mount) => mount.answer(method, rest, asked, now),
                    None => refused(404, "no handler for route"),
                },
                None => refused(404, ""),
            }
        }
    }
}

impl Vault {
    /// Whether a token's policies allow a call.
    fn may(&self, value: &str, space: &str, method: &str, path: &[&str]) -> bool {
        let Some(token) = self.tokens.get(value) else { return false };
        if token.policies.iter().any(|policy| policy == "root") {
            return true;
        }
        // What the policy `default`, which every token has, allows.
        if let ["auth", "token", "lookup-self" | "renew-self" | "revoke-self"]
        | ["sys", "internal", "ui", "mounts", ..]
        | ["sys", "capabilities-self"] = path
        {
            return true;
        }
        let Some(space) = self.spaces.get(space) else { return false };
        let exists = match path {
            [mount, "data" | "metadata", rest @ ..] => {
                space.mounts.get(*mount).is_some_and(|mount| mount.holds(rest))
            }
            _ => true,
        };
        let needed = match method {
            "GET" => "read",
            "LIST" => "list",
            "DELETE" => "delete",
            "PATCH" => "patch",
            _ if exists => "update",
            _ => "create",
        };
        let rules = token.policies.iter().filter_map(|name| space.policies.get(name)).flatten();
        policy::allows(rules, &path.join("/"), needed)
    }

    fn system(&mut self, space: &str, method: &str, path: &[&str], asked: &Asked) -> Told {
        let Some(space) = self.spaces.get_mut(space) else { return denied() };
        match (method, path) {
            ("GET", ["mounts"]) => {
                let mounts: serde_json::Map<String, Value> =
                    space.mounts.keys().map(|name| (format!("{name}/"), kv::described())).collect();
                told(Value::Object(mounts))
            }
            ("GET", ["internal", "ui", "mounts", name]) if space.mounts.contains_key(*name) => {
                let mut mount = kv::described();
                mount["path"] = json!(format!("{name}/"));
                told(mount)
            }
            ("GET", ["internal", "ui", "mounts", ..]) => denied(),
            ("POST", ["mounts", name]) => {
                if space.mounts.contains_key(*name) {
                    return refused(400, &format!("path is already in use at {name}/"));
                }
                space.mounts.insert((*name).to_owned(), Mount::default());
                (204, None)
            }
            ("DELETE", ["mounts", name]) => {
                space.mounts.remove(*name);
                (204, None)
            }
            ("POST", ["auth", "approle"]) => {
                space.approle = true;
                (204, None)
            }
            ("POST", ["policies", "acl", name] | ["policy", name]) => {
                match asked.text("/policy").and_then(policy::parse) {
                    Some(rules) => {
                        space.policies.insert((*name).to_owned(), rules);
                        (204, None)
                    }
                    None => refused(400, "failed to parse policy"),
                }
            }
            _ => refused(404, ""),
        }
    }
}
