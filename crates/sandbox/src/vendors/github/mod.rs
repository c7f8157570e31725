//! A stand-in for GitHub's REST API: Actions secrets and variables ([`actions`]), and GitHub Apps ([`app`]).
//!
//! One organisation, `acme`, with the repositories `web`, `api` and `secret-plans`; `web` has the environment `prod`.
//! The kind `github-actions` gives a token for the secrets, the kind `github` the private key of an App that is installed
//! in the organisation.
//!
//! Below `/-/` the world answers to tests, without a credential: what lies in a secret, a secret that somebody else puts
//! there, a new key pair, the tokens that live, and a next token that is wider than asked.

mod actions;
mod app;

use jiff::Timestamp;
use serde_json::{Value, json};

use super::Running;
use super::door::{Asked, Told, serve};
use crate::error::SandboxError;
use crate::ids::fresh_value;

/// The organisation, and its repositories with their ids.
pub(super) use app::{CLIENT_ID, INSTALLATION};

const ORGANISATION: &str = "acme";
const REPOSITORIES: [(&str, u64); 3] = [("web", 101), ("api", 102), ("secret-plans", 103)];
const ENVIRONMENT: &str = "prod";

struct GitHub {
    token: String,
    actions: actions::Actions,
    app: app::App,
}

/// The App: the parent is its private key in PEM.
pub(super) async fn start() -> Result<Running, SandboxError> {
    let world = GitHub::new()?;
    let parent = world.app.pem();
    serve(world, parent, answer).await
}

/// The secrets: the parent is a token.
pub(super) async fn start_store() -> Result<Running, SandboxError> {
    let world = GitHub::new()?;
    let parent = world.token.clone();
    serve(world, parent, answer).await
}

impl GitHub {
    fn new() -> Result<Self, SandboxError> {
        let value = fresh_value().map_err(SandboxError::Randomness)?;
        Ok(Self {
            token: format!("github_pat_{}", value.replace('-', "_")),
            actions: actions::Actions::new(),
            app: app::App::new()?,
        })
    }
}

fn answer(world: &mut GitHub, asked: &Asked) -> Told {
    match asked.segments().as_slice() {
        ["-", rest @ ..] => world.actions.control(rest, asked).or_else(|| world.app.control(rest, asked)),
        ["app", ..] | ["installation", ..] | ["repos", _, _, "installation"] => world.app.answer(asked),
        _ if asked.bearer() != Some(world.token.as_str()) => Some(no(401, "Bad credentials")),
        ["rate_limit"] => Some((200, Some(json!({"resources": {}, "rate": {}})))),
        ["repos", ORGANISATION, name] => {
            repository(name).map(|id| (200, Some(json!({"id": id, "name": name}))))
        }
        path => world.actions.answer(path, asked),
    }
    .unwrap_or_else(|| no(404, "Not Found"))
}

fn repository(name: &str) -> Option<u64> {
    REPOSITORIES.iter().find(|(known, _)| *known == name).map(|(_, id)| *id)
}

fn no(status: u16, message: &str) -> Told {
    let documentation = "https://docs.github.com/rest";
    (
        status,
        Some(json!({"message": message, "documentation_url": documentation, "status": status.to_string()})),
    )
}

/// GitHub's times have whole seconds.
fn now() -> Timestamp {
    Timestamp::from_second(Timestamp::now().as_second()).unwrap_or_default()
}

fn page(asked: &Asked, items: &[Value]) -> Vec<Value> {
    let number = |name, default| asked.query(name).and_then(|text| text.parse().ok()).unwrap_or(default);
    let (size, page): (usize, usize) = (number("per_page", 30), number("page", 1));
    items.iter().skip(page.saturating_sub(1) * size).take(size).cloned().collect()
}
