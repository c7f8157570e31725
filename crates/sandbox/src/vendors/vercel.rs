//! Vercel's environment variables: of the projects `web` and `api` of one team.
//!
//! A list shows values in the vendor's own cipher; a sensitive one is shown nowhere. Below `/-/` it answers to tests, without a credential: what
//! lies in a variable, and one that somebody else makes, or changes, or spreads over more targets.

use serde_json::{Value, json};

use super::Running;
use super::door::{self, Asked, Told};
use crate::error::SandboxError;
use crate::ids::{Ids, fresh_value};

/// The team.
pub const TEAM: &str = "team_0123456789abcdef";
const PROJECTS: [&str; 2] = ["web", "api"];

struct Vercel {
    token: String,
    ids: Ids,
    variables: Vec<Variable>,
}

struct Variable {
    project: String,
    value: String,
    /// Everything but the value.
    shown: Value,
}

pub(super) async fn start() -> Result<Running, SandboxError> {
    let token = fresh_value().map_err(SandboxError::Randomness)?;
    let state = Vercel { token: token.clone(), ids: Ids::new(None)?, variables: Vec::new() };
    door::serve(state, token, answer).await
}

fn refused(status: u16, code: &str, message: &str) -> Told {
    (status, Some(json!({"error": {"code": code, "message": message}})))
}

fn answer(state: &mut Vercel, asked: &Asked) -> Told {
    let path = asked.segments();
    if let ["-", verb] = path.as_slice() {
        return state.control(verb, asked);
    }
    if asked.bearer() != Some(state.token.as_str()) {
        return refused(403, "forbidden", "The request is missing an authentication token");
    }
    if asked.query("teamId") != Some(TEAM) {
        return refused(404, "not_found", "Project not found.");
    }
    match (asked.method.as_str(), path.as_slice()) {
        ("GET", ["v10", "projects"]) => (200, Some(json!({"projects": [{"id": "prj_1", "name": "web"}]}))),
        (_, [_, "projects", project, ..]) if !PROJECTS.contains(project) => {
            refused(404, "not_found", "Project not found.")
        }
        ("GET", ["v9", "projects", project]) => (200, Some(json!({"id": "prj_1", "name": project}))),
        (method, [version, "projects", project, "env", rest @ ..]) => {
            state.of_project(method, version, project, rest, asked)
        }
        _ => refused(404, "not_found", "The page could not be found"),
    }
}

impl Variable {
    /// As a list shows it: the value is there in the vendor's own cipher, and a sensitive one as nothing.
    fn sealed(&self) -> Value {
        let mut shown = self.shown.clone();
        shown["value"] = json!(if shown["type"] == "sensitive" { "" } else { "eyJ2IjoidjIiLCJjIjoiIn0=" });
        shown
    }
}

impl Vercel {
    fn of_project(
        &mut self,
        method: &str,
        version: &str,
        project: &str,
        rest: &[&str],
        asked: &Asked,
    ) -> Told {
        match (method, version, rest) {
            ("GET", "v10", []) => {
                let of_project = self.variables.iter().filter(|one| one.project == project);
                let envs: Vec<Value> = of_project.map(Variable::sealed).collect();
                (200, Some(json!({"envs": envs, "hiddenProductionEnvCount": 0})))
            }
            ("POST", "v10", []) => self.create(project, &asked.body),
            (_, _, [id]) => {
                let is_it = |one: &Variable| one.project == project && one.shown["id"] == json!(id);
                let Some(at) = self.variables.iter().position(is_it) else {
                    return refused(404, "not_found", "The environment variable was not found");
                };
                if method == "DELETE" {
                    return (200, Some(self.variables.remove(at).shown));
                }
                let Some(one) = self.variables.get_mut(at) else { return refused(500, "internal", "gone") };
                match (method, version) {
                    ("GET", "v1") => {
                        let mut shown = one.shown.clone();
                        let is_sensitive = shown["type"] == "sensitive";
                        shown["value"] = json!(if is_sensitive { "" } else { &one.value });
                        (200, Some(shown))
                    }
                    ("PATCH", "v9") => {
                        change(one, &asked.body);
                        (200, Some(one.shown.clone()))
                    }
                    _ => refused(405, "method_not_allowed", "Method not allowed"),
                }
            }
            _ => refused(405, "method_not_allowed", "Method not allowed"),
        }
    }

    fn create(&mut self, project: &str, body: &Value) -> Told {
        let is_sensitive = body["type"] == "sensitive";
        if !(body["key"].is_string() && body["value"].is_string() && body["target"].is_array()) {
            return refused(400, "bad_request", "Invalid request: should have required properties");
        }
        let targets = |value: &Value| value.as_array().cloned().unwrap_or_default();
        let wanted = targets(&body["target"]);
        if is_sensitive && wanted.contains(&json!("development")) {
            return refused(400, "bad_request", "Sensitive variables can't target development");
        }
        let meets = |one: &Variable| {
            one.project == project
                && one.shown["key"] == body["key"]
                && targets(&one.shown["target"]).iter().any(|target| wanted.contains(target))
        };
        if self.variables.iter().any(meets) {
            return refused(403, "ENV_CONFLICT", "A variable with this name exists for the target");
        }
        let mut made = Variable {
            project: project.to_owned(),
            value: String::new(),
            shown: json!({"id": self.ids.next(), "gitBranch": null, "comment": null, "securityIssues": []}),
        };
        change(&mut made, body);
        let shown = made.shown.clone();
        self.variables.push(made);
        (201, Some(json!({"created": shown, "failed": []})))
    }

    fn control(&mut self, verb: &str, asked: &Asked) -> Told {
        let body = &asked.body;
        let project = asked.text("/project").unwrap_or_default();
        let is_it = |one: &Variable| {
            one.project == project
                && one.shown["key"] == body["key"]
                && one.shown["target"].as_array().is_some_and(|targets| targets.contains(&body["in"]))
        };
        match (verb, self.variables.iter_mut().find(|one| is_it(one))) {
            ("read", found) => (200, Some(json!({"value": found.map(|one| one.value.clone())}))),
            (_, Some(one)) => {
                change(one, body);
                (200, Some(json!({})))
            }
            (_, None) => self.create(project, body),
        }
    }
}

fn change(one: &mut Variable, body: &Value) {
    for field in ["key", "type", "target", "comment"] {
        if let Some(value) = body.get(field) {
            one.shown[field] = value.clone();
        }
    }
    if let Some(value) = body["value"].as_str() {
        value.clone_into(&mut one.value);
    }
}
