//! Cloudflare's secrets of Workers: of the scripts `web` and `api`.
//!
//! Below `/-/` it answers to tests, without a credential: what lies in a secret, and one that somebody else puts there.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::Running;
use super::door::{self, Asked, Told};
use crate::error::SandboxError;
use crate::ids::fresh_value;

/// The account.
pub const ACCOUNT: &str = "023e105f4ecef8ad9ca31a8372d0c353";
const SCRIPTS: [&str; 2] = ["web", "api"];

struct Workers {
    token: String,
    /// By script and name.
    secrets: BTreeMap<(String, String), String>,
}

pub(super) async fn start() -> Result<Running, SandboxError> {
    let token = fresh_value().map_err(SandboxError::Randomness)?;
    let state = Workers { token: token.clone(), secrets: BTreeMap::new() };
    door::serve(state, token, answer).await
}

fn told(result: Value) -> Told {
    (200, Some(json!({"result": result, "success": true, "errors": [], "messages": []})))
}

fn refused(status: u16, code: u32, message: &str) -> Told {
    let errors = [json!({"code": code, "message": message})];
    (status, Some(json!({"result": null, "success": false, "errors": errors, "messages": []})))
}

/// A secret as it is shown: without its value.
fn shown(name: &str) -> Value {
    json!({"name": name, "type": "secret_text"})
}

fn answer(state: &mut Workers, asked: &Asked) -> Told {
    let path = asked.segments();
    if let ["-", verb] = path.as_slice() {
        let at = |name: &str| asked.text(name).unwrap_or_default().to_owned();
        let spot = (at("/script"), at("/name"));
        return match *verb {
            "read" => (200, Some(json!({"value": state.secrets.get(&spot)}))),
            _ => {
                state.secrets.insert(spot, at("/value"));
                (200, Some(json!({})))
            }
        };
    }
    if asked.bearer() != Some(state.token.as_str()) {
        return refused(403, 10000, "Authentication error");
    }
    match (asked.method.as_str(), path.as_slice()) {
        ("GET", ["accounts", ACCOUNT, "workers", "scripts"]) => {
            told(SCRIPTS.iter().map(|name| json!({"id": name})).collect())
        }
        (method, ["accounts", ACCOUNT, "workers", "scripts", script, rest @ ..]) => {
            if !SCRIPTS.contains(script) {
                return refused(404, 10007, "This Worker does not exist on your account.");
            }
            state.of_script(method, script, rest, asked)
        }
        _ => refused(404, 7003, "Could not route to that place"),
    }
}

impl Workers {
    fn of_script(&mut self, method: &str, script: &str, rest: &[&str], asked: &Asked) -> Told {
        let spot = |name: &str| (script.to_owned(), name.to_owned());
        match (method, rest) {
            ("GET", ["secrets"]) => {
                let of_script = self.secrets.keys().filter(|(of, _)| of == script);
                told(of_script.map(|(_, name)| shown(name)).collect())
            }
            ("PATCH", ["secrets-bulk"]) => {
                let Some(changes) = asked.body.get("secrets").and_then(Value::as_object) else {
                    return refused(400, 10021, "The body has no secrets");
                };
                // All or nothing.
                let is_fit = |(name, value): (&String, &Value)| {
                    value.is_null()
                        || value["name"] == json!(name)
                            && value["type"] == "secret_text"
                            && value["text"].as_str().is_some_and(|text| text.len() <= 5 << 10)
                };
                if !changes.iter().all(is_fit) {
                    return refused(400, 10021, "A secret has another shape than it must have");
                }
                for (name, value) in changes {
                    match value["text"].as_str() {
                        None => drop(self.secrets.remove(&spot(name))),
                        Some(text) => drop(self.secrets.insert(spot(name), text.to_owned())),
                    }
                }
                let kept = changes.iter().filter(|(_, value)| !value.is_null());
                told(Value::Object(kept.map(|(name, _)| (name.clone(), shown(name))).collect()))
            }
            _ => refused(405, 7001, "Method not allowed"),
        }
    }
}
