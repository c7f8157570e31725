//! Tokens and `AppRole`.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use super::{Told, Vault, denied, refused, told};
use crate::ids::fresh_value;
use crate::vendors::door::Asked;

/// A token.
pub(super) struct Token {
    pub(super) policies: Vec<String>,
    space: String,
    accessor: String,
    /// Seconds; 0 for a token without an end.
    ttl: i64,
    expires: Option<Timestamp>,
    renewable: bool,
}

/// A role and its SecretIDs.
#[derive(Default)]
pub(super) struct Role {
    role_id: String,
    policies: Vec<String>,
    ttl: i64,
    /// How often a SecretID may be used; 0 for without a limit.
    secret_id_uses: i64,
    /// The uses that are left, by SecretID.
    secret_ids: BTreeMap<String, i64>,
}

impl Token {
    pub(super) fn root() -> Self {
        Self {
            policies: vec!["root".to_owned()],
            space: String::new(),
            accessor: "root".to_owned(),
            ttl: 0,
            expires: None,
            renewable: false,
        }
    }

    fn new(policies: Vec<String>, space: &str, ttl: i64, renewable: bool, now: Timestamp) -> Option<Self> {
        let mut token =
            Self { policies, space: space.to_owned(), accessor: fresh()?, ttl, expires: None, renewable };
        token.renew(ttl, now);
        Some(token)
    }

    fn renew(&mut self, ttl: i64, now: Timestamp) {
        self.expires = (ttl > 0).then(|| now + SignedDuration::from_secs(ttl));
    }

    pub(super) fn lives(&self, now: Timestamp) -> bool {
        self.expires.is_none_or(|end| now < end)
    }

    /// A token works in its own namespace and in those below it.
    pub(super) fn reaches(&self, space: &str) -> bool {
        self.space.is_empty() || self.space == space || space.starts_with(&format!("{}/", self.space))
    }

    fn auth(&self, value: &str) -> Told {
        let auth = json!({
            "client_token": value, "accessor": self.accessor, "policies": self.policies,
            "token_policies": self.policies, "metadata": {}, "lease_duration": self.ttl,
            "renewable": self.renewable, "token_type": "service", "orphan": true,
        });
        (200, Some(json!({"request_id": "", "data": null, "auth": auth})))
    }
}

fn fresh() -> Option<String> {
    fresh_value().ok()
}

fn texts(value: Option<&Value>) -> Vec<String> {
    match value {
        Some(Value::Array(items)) => items.iter().filter_map(|v| v.as_str().map(str::to_owned)).collect(),
        Some(Value::String(text)) => text.split(',').map(|one| one.trim().to_owned()).collect(),
        _ => Vec::new(),
    }
}

/// Seconds, as a number or as `90`, `90s`, `5m`, `2h`.
fn seconds(value: Option<&Value>) -> Option<i64> {
    let text = match value? {
        Value::Number(number) => return number.as_i64(),
        Value::String(text) => text.as_str(),
        _ => return None,
    };
    let (digits, unit) = text.split_at(text.trim_end_matches(|c: char| c.is_ascii_alphabetic()).len());
    let factor = match unit {
        "" | "s" => 1,
        "m" => 60,
        "h" => 3_600,
        _ => return None,
    };
    digits.parse::<i64>().ok()?.checked_mul(factor)
}

impl Vault {
    pub(super) fn login(&mut self, space: &str, asked: &Asked, now: Timestamp) -> Told {
        let (role_id, secret_id) = (asked.text("/role_id"), asked.text("/secret_id").unwrap_or_default());
        let Some(found) = self.spaces.get_mut(space).filter(|space| space.approle) else { return denied() };
        let Some(role) = found.roles.values_mut().find(|role| Some(role.role_id.as_str()) == role_id) else {
            return refused(400, "invalid role or secret ID");
        };
        let Some(left) = role.secret_ids.get_mut(secret_id) else {
            return refused(400, "invalid role or secret ID");
        };
        if *left == 1 {
            role.secret_ids.remove(secret_id);
        } else {
            *left -= 1;
        }
        let (policies, ttl) = (role.policies.clone(), role.ttl);
        self.issue(policies, space, ttl, true, now)
    }

    fn issue(
        &mut self,
        policies: Vec<String>,
        space: &str,
        ttl: i64,
        renewable: bool,
        now: Timestamp,
    ) -> Told {
        let made = fresh().zip(Token::new(policies, space, ttl, renewable, now));
        let Some((value, token)) = made else { return refused(500, "no randomness") };
        let value = format!("hvs.{value}");
        let answer = token.auth(&value);
        self.tokens.insert(value, token);
        answer
    }

    pub(super) fn token(
        &mut self,
        value: &str,
        method: &str,
        path: &[&str],
        asked: &Asked,
        now: Timestamp,
    ) -> Told {
        match (method, path) {
            ("POST", ["create"]) => {
                let policies = texts(asked.body.get("policies"));
                let ttl = seconds(asked.body.get("ttl")).unwrap_or(0);
                let renewable = asked.body.get("renewable").and_then(Value::as_bool).unwrap_or(true);
                self.issue(policies, "", ttl, renewable, now)
            }
            ("GET", ["lookup-self"]) => {
                let Some(token) = self.tokens.get(value) else { return denied() };
                let left = token.expires.map_or(0, |end| end.duration_since(now).as_secs().max(0));
                told(json!({
                    "id": value, "accessor": token.accessor, "policies": token.policies, "ttl": left,
                    "creation_ttl": token.ttl, "renewable": token.renewable, "type": "service",
                }))
            }
            ("POST", ["renew-self"]) => {
                let Some(token) = self.tokens.get_mut(value) else { return denied() };
                if !token.renewable {
                    return refused(400, "lease is not renewable");
                }
                let ttl = token.ttl;
                token.renew(ttl, now);
                token.auth(value)
            }
            ("POST", ["revoke-self"]) => {
                self.tokens.remove(value);
                (204, None)
            }
            ("POST", ["revoke"]) => {
                self.tokens.remove(asked.text("/token").unwrap_or_default());
                (204, None)
            }
            _ => refused(404, ""),
        }
    }

    pub(super) fn role(&mut self, space: &str, method: &str, path: &[&str], asked: &Asked) -> Told {
        let Some(space) = self.spaces.get_mut(space) else { return denied() };
        match (method, path) {
            ("POST", [name]) => {
                let role = space.roles.entry((*name).to_owned()).or_default();
                role.policies = texts(asked.body.get("token_policies"));
                role.ttl = seconds(asked.body.get("token_ttl")).unwrap_or(0);
                role.secret_id_uses = seconds(asked.body.get("secret_id_num_uses")).unwrap_or(0);
                if role.role_id.is_empty() {
                    role.role_id = fresh().unwrap_or_default();
                }
                (204, None)
            }
            ("GET", [name, "role-id"]) => match space.roles.get(*name) {
                Some(role) => told(json!({"role_id": role.role_id})),
                None => refused(404, ""),
            },
            ("POST", [name, "secret-id"]) => {
                let Some(role) = space.roles.get_mut(*name) else { return refused(404, "") };
                let Some((value, accessor)) = fresh().zip(fresh()) else {
                    return refused(500, "no randomness");
                };
                role.secret_ids.insert(value.clone(), role.secret_id_uses);
                told(json!({"secret_id": value, "secret_id_accessor": accessor, "secret_id_ttl": 0}))
            }
            _ => refused(404, ""),
        }
    }
}
