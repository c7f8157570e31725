//! Infisical: one project with the environments `dev`, `staging`, `prod` and `gated`, whose changes wait for approval,
//! and `blind`, whose values nobody may read; the folder `/web` is beside the root.
//!
//! It trims values as the server does, and tells a create from an update. The current API (v4) writes; the older one (v3,
//! `raw`), which the vendor's own client uses, reads. Approval requests are for people who logged in: the identity's token
//! is refused. For tests there is more below `/_standin`: `approve` and `reject` do so with all requests that are open,
//! `list` tells them, and `expire` ends every session.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::Running;
use super::door::{self, Asked, Told};
use crate::error::SandboxError;
use crate::ids::fresh_value;

/// The only project.
pub const PROJECT: &str = "0f0a1b2c-1111-4222-8333-444455556666";
/// The only machine identity.
pub const CLIENT_ID: &str = "9b8a7c6d-1111-4222-8333-444455556666";

const ENVIRONMENTS: [&str; 5] = ["dev", "staging", "prod", "gated", "blind"];
const FOLDERS: [&str; 2] = ["/", "/web"];

struct Infisical {
    client_secret: String,
    tokens: Vec<String>,
    /// By environment, folder and name.
    secrets: BTreeMap<(String, String, String), Kept>,
    requests: Vec<Request>,
}

/// An approval request.
struct Request {
    key: (String, String, String),
    /// What the secret becomes; `None` is gone.
    kept: Option<Kept>,
    standing: &'static str,
}

#[derive(Clone)]
struct Kept {
    value: String,
    version: u64,
    metadata: Value,
}

/// Starts it; the credential is the identity's client secret.
pub(super) async fn start() -> Result<Running, SandboxError> {
    let client_secret = fresh_value().map_err(SandboxError::Randomness)?;
    let state = Infisical {
        client_secret: client_secret.clone(),
        tokens: Vec::new(),
        secrets: BTreeMap::new(),
        requests: Vec::new(),
    };
    door::serve(state, client_secret, answer).await
}

fn refused(status: u16, error: &str, message: &str) -> Told {
    (status, Some(json!({"reqId": "req-1", "statusCode": status, "error": error, "message": message})))
}

fn answer(state: &mut Infisical, asked: &Asked) -> Told {
    match (asked.method.as_str(), asked.segments().as_slice()) {
        ("POST", ["api", "v1", "auth", "universal-auth", "login"]) => state.login(asked),
        ("POST", ["_standin", deed]) => state.by_people(deed),
        (_, ["api", "v1", "secret-approval-requests", ..]) => {
            refused(403, "ForbiddenError", "You are not allowed to access this resource")
        }
        (method, ["api", "v4", "secrets", name]) => state.secret(method, name, asked, "projectId"),
        ("GET", ["api", "v3", "secrets", "raw", name]) => state.secret("GET", name, asked, "workspaceId"),
        _ => refused(404, "NotFound", "Route not found"),
    }
}

fn approval(number: usize, standing: &str) -> Value {
    let status = if standing == "open" { "open" } else { "closed" };
    json!({
        "id": format!("7c6d5e4f-1111-4222-8333-{number:012}"), "slug": format!("request-{number}"),
        "status": status, "hasMerged": standing == "merged",
    })
}

impl Infisical {
    /// What people do in the dashboard, with all requests that are open; and a session that ends.
    fn by_people(&mut self, deed: &str) -> Told {
        for request in self.requests.iter_mut().filter(|request| request.standing == "open") {
            match deed {
                "approve" => {
                    request.standing = "merged";
                    match request.kept.clone() {
                        Some(kept) => drop(self.secrets.insert(request.key.clone(), kept)),
                        None => drop(self.secrets.remove(&request.key)),
                    }
                }
                "reject" => request.standing = "rejected",
                _ => {}
            }
        }
        match deed {
            "approve" | "reject" => (204, None),
            "expire" => {
                self.tokens.clear();
                (204, None)
            }
            "list" => {
                let all = self.requests.iter().enumerate();
                let shown = all.map(|(at, request)| approval(at + 1, request.standing));
                (200, Some(json!({"approvals": shown.collect::<Vec<_>>()})))
            }
            _ => (404, None),
        }
    }

    fn login(&mut self, asked: &Asked) -> Told {
        let given = (asked.text("/clientId"), asked.text("/clientSecret"));
        if given != (Some(CLIENT_ID), Some(self.client_secret.as_str())) {
            return refused(401, "UnauthorizedError", "Invalid credentials");
        }
        let Ok(token) = fresh_value() else { return refused(500, "InternalServerError", "no randomness") };
        self.tokens.push(token.clone());
        let granted = json!({
            "accessToken": token, "expiresIn": 2_592_000, "accessTokenMaxTTL": 2_592_000, "tokenType": "Bearer",
        });
        (200, Some(granted))
    }

    fn secret(&mut self, method: &str, name: &str, asked: &Asked, project: &str) -> Told {
        if !asked.bearer().is_some_and(|token| self.tokens.iter().any(|known| known == token)) {
            return refused(401, "UnauthorizedError", "You are not allowed to access this resource");
        }
        let pick = |name: &str| {
            let value = if method == "GET" { asked.query(name) } else { asked.text(&format!("/{name}")) };
            value.unwrap_or_default().to_owned()
        };
        if pick(project) != PROJECT {
            return refused(403, "PermissionDenied", "You are not a member of this project");
        }
        let (environment, folder) = (pick("environment"), pick("secretPath"));
        let folder = if folder.is_empty() { "/".to_owned() } else { folder };
        if !ENVIRONMENTS.contains(&environment.as_str()) || !FOLDERS.contains(&folder.as_str()) {
            return refused(404, "NotFound", "Folder not found");
        }
        let key = (environment.clone(), folder, name.to_owned());
        if method != "GET" && environment == "gated" {
            let metadata = asked.body.get("secretMetadata").cloned().unwrap_or(json!([]));
            let kept = asked.text("/secretValue").map(|value| Kept {
                value: value.trim().to_owned(),
                version: self.secrets.get(&key).map_or(1, |old| old.version + 1),
                metadata,
            });
            let kept = kept.filter(|_| method != "DELETE");
            self.requests.push(Request { key, kept, standing: "open" });
            return (200, Some(json!({"approval": approval(self.requests.len(), "open")})));
        }
        let hidden = environment == "blind" || asked.query("viewSecretValue") == Some("false");
        if environment == "blind" && method == "GET" && asked.query("viewSecretValue") != Some("false") {
            return refused(403, "PermissionDenied", "You are not allowed to read this value");
        }
        match (method, self.secrets.get(&key)) {
            ("GET", Some(kept)) => shown(&key, kept, hidden),
            ("POST", Some(_)) => refused(400, "BadRequest", "Secret already exist"),
            ("POST", None) | ("PATCH", Some(_)) => {
                let Some(value) = asked.text("/secretValue") else {
                    return (
                        422,
                        Some(json!({"statusCode": 422, "error": "ValidationFailure", "message": []})),
                    );
                };
                let end = if value.ends_with('\n') { "\n" } else { "" };
                let value = format!("{}{end}", value.trim());
                let old = self.secrets.get(&key);
                let metadata = asked.body.get("secretMetadata").cloned();
                let kept = Kept {
                    value,
                    version: old.map_or(1, |old| old.version + 1),
                    metadata: metadata.or_else(|| old.map(|old| old.metadata.clone())).unwrap_or(json!([])),
                };
                let answer = shown(&key, &kept, hidden);
                self.secrets.insert(key, kept);
                answer
            }
            ("DELETE", Some(kept)) => {
                let answer = shown(&key, kept, hidden);
                self.secrets.remove(&key);
                answer
            }
            _ => refused(404, "NotFound", "Secret not found"),
        }
    }
}

fn shown((environment, folder, name): &(String, String, String), kept: &Kept, hidden: bool) -> Told {
    let value = if hidden { "<hidden-by-infisical>" } else { &kept.value };
    let secret = json!({
        "id": format!("{environment}{folder}{name}"), "workspace": PROJECT, "environment": environment,
        "version": kept.version, "type": "shared", "secretKey": name, "secretValue": value,
        "secretValueHidden": hidden, "secretComment": "", "secretPath": folder, "secretMetadata": kept.metadata,
    });
    (200, Some(json!({"secret": secret})))
}
