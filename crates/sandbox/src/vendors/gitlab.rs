//! A stand-in for GitLab's REST API: access tokens of projects and groups.
//!
//! The group `acme` (7) with the projects `acme/web` (42) and `acme/api` (43). The parent is a person's token. Tokens end at
//! midnights, and those that were revoked are shown when asked for by number, as at GitLab.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde_json::{Value, json};

use super::Running;
use super::door::{Asked, Told, serve};
use crate::error::SandboxError;
use crate::ids::fresh_value;

const PLACES: [(&str, u64, &str); 3] =
    [("projects", 42, "acme/web"), ("projects", 43, "acme/api"), ("groups", 7, "acme")];
const SCOPES: [&str; 6] =
    ["api", "read_api", "read_repository", "write_repository", "read_registry", "write_registry"];

struct GitLab {
    parent: String,
    tokens: BTreeMap<u64, Token>,
}

struct Token {
    secret: String,
    /// `projects/42`.
    of: String,
    revoked: bool,
    shown: Value,
}

impl Token {
    fn shows_itself(&self) -> Told {
        if self.of == "user" {
            // A fine-grained token was not told that it may look at itself.
            let why = "Access denied: your fine-grained token lacks a permission";
            return (403, Some(json!({"error": "insufficient_granular_scope", "error_description": why})));
        }
        (200, Some(self.shown.clone()))
    }
}

pub(super) async fn start() -> Result<Running, SandboxError> {
    let parent = format!("glpat-{}", fresh_value().map_err(SandboxError::Randomness)?);
    serve(GitLab { parent: parent.clone(), tokens: BTreeMap::new() }, parent, answer).await
}

fn answer(world: &mut GitLab, asked: &Asked) -> Told {
    let bearer = asked.bearer().unwrap_or_default().to_owned();
    let path = asked.segments();
    // Clients know the path of the API; our adapter has it in its base URL.
    let path = path.strip_prefix(&["api", "v4"]).unwrap_or(&path);
    match (asked.method.as_str(), path) {
        ("GET", ["personal_access_tokens", "self"]) => return world.own(&bearer),
        _ if bearer != world.parent => return no(401, "401 Unauthorized"),
        ("POST", ["user", "personal_access_tokens"]) => Some(world.create("user", asked)),
        (method, ["personal_access_tokens", rest @ ..]) => world.tokens_of(method, "user", rest, asked),
        ("GET", [collection, path]) => place(collection, path).map(|(number, path)| {
            let name = if *collection == "groups" { "full_path" } else { "path_with_namespace" };
            (200, Some(json!({"id": number, name: path})))
        }),
        (method, [collection, path, "access_tokens", rest @ ..]) => place(collection, path)
            .and_then(|(number, _)| world.tokens_of(method, &format!("{collection}/{number}"), rest, asked)),
        _ => None,
    }
    .unwrap_or_else(|| no(404, "404 Not found"))
}

impl GitLab {
    /// A token shows itself, and each call with it is a use.
    fn own(&mut self, bearer: &str) -> Told {
        if bearer == self.parent {
            let body = json!({"id": 1, "name": "parent", "scopes": ["api"], "active": true, "revoked": false,
                "user_id": 9, "expires_at": "2099-01-01"});
            return (200, Some(body));
        }
        match self.tokens.values_mut().find(|token| token.secret == bearer && !token.revoked) {
            Some(token) => {
                token.shown["last_used_at"] = json!(Timestamp::now().to_string());
                token.shows_itself()
            }
            None => no(401, "401 Unauthorized"),
        }
    }

    fn tokens_of(&mut self, method: &str, of: &str, rest: &[&str], asked: &Asked) -> Option<Told> {
        match (method, rest) {
            ("POST", []) => Some(self.create(of, asked)),
            ("GET", []) => {
                let number =
                    |name, default| asked.query(name).and_then(|n| n.parse().ok()).unwrap_or(default);
                let (size, page): (usize, usize) = (number("per_page", 20), number("page", 1));
                let active = asked.query("state") == Some("active");
                let all = self.tokens.values().filter(|token| token.of == of && !(active && token.revoked));
                let page: Vec<Value> =
                    all.skip((page - 1) * size).take(size).map(|token| token.shown.clone()).collect();
                Some((200, Some(json!(page))))
            }
            ("GET" | "DELETE", [number]) => {
                let token = self.tokens.get_mut(&number.parse().ok()?).filter(|token| token.of == of)?;
                if method == "GET" {
                    return Some((200, Some(token.shown.clone())));
                }
                if token.revoked {
                    return None;
                }
                token.revoked = true;
                token.shown["revoked"] = json!(true);
                token.shown["active"] = json!(false);
                Some((204, None))
            }
            _ => None,
        }
    }

    fn create(&mut self, of: &str, asked: &Asked) -> Told {
        let scopes = asked.body.get("scopes").and_then(Value::as_array).cloned().unwrap_or_default();
        let known = |scope: &Value| scope.as_str().is_some_and(|scope| SCOPES.contains(&scope));
        let (Some(name), Some(expires_at)) = (asked.text("/name"), asked.text("/expires_at")) else {
            return no(400, "name and expires_at are missing");
        };
        let fine = (of == "user").then(|| granular(&asked.body));
        if fine.as_ref().is_some_and(Option::is_none) || (fine.is_some() && !scopes.is_empty()) {
            return no(400, "granular_scopes is invalid");
        }
        if fine.is_none() && (scopes.is_empty() || !scopes.iter().all(known)) {
            return no(400, "scopes is invalid");
        }
        let day: Option<Timestamp> = format!("{expires_at}T00:00:00Z").parse().ok();
        if day.is_none_or(|day| day <= Timestamp::now()) {
            return no(400, "expires_at is not a date in the future");
        }
        let level = asked.body.get("access_level").and_then(Value::as_u64).unwrap_or(40);
        let Ok(value) = fresh_value() else { return no(500, "no randomness") };
        let id = 1_000 + self.tokens.len() as u64;
        let mut shown = json!({
            "id": id, "name": name, "description": null, "scopes": scopes, "access_level": level,
            "expires_at": expires_at, "created_at": Timestamp::now().to_string(), "last_used_at": null,
            "user_id": 100 + id, "active": true, "revoked": false,
        });
        if let Some(Some(places)) = fine {
            shown["scopes"] = json!(["granular"]);
            shown["access_level"] = Value::Null;
            shown["granular_scopes"] = json!(places);
        }
        let secret = format!("glpat-{value}");
        let mut body = shown.clone();
        body["token"] = json!(secret);
        self.tokens.insert(id, Token { secret, of: of.to_owned(), revoked: false, shown });
        (201, Some(body))
    }
}

/// The scopes of a fine-grained token as GitLab shows them: one place each.
fn granular(body: &Value) -> Option<Vec<Value>> {
    let mut places = Vec::new();
    for scope in body.get("granular_scopes")?.as_array()? {
        let permissions = scope.get("permissions")?.as_array().filter(|all| !all.is_empty())?;
        if scope.get("access")? != "selected_memberships" {
            return None;
        }
        for (ids, id, collection) in
            [("project_ids", "project_id", "projects"), ("group_ids", "group_id", "groups")]
        {
            for number in scope.get(ids).and_then(Value::as_array).into_iter().flatten() {
                place(collection, &number.to_string())?;
                let mut shown = json!({"access": "selected_memberships", "permissions": permissions,
                    "project_id": null, "group_id": null});
                shown[id] = number.clone();
                places.push(shown);
            }
        }
    }
    (!places.is_empty()).then_some(places)
}

/// A project or a group by its number or its path.
fn place(collection: &str, name: &str) -> Option<(u64, &'static str)> {
    let is_it = |(of, number, path): &&(&str, u64, &str)| {
        *of == collection && (*path == name || number.to_string() == name)
    };
    PLACES.iter().find(is_it).map(|(_, number, path)| (*number, *path))
}

fn no(status: u16, message: &str) -> Told {
    (status, Some(json!({"message": message})))
}
