//! What is seen. A page is a list of parts, which one template shows; whatever comes from outside is escaped when a part is made, and
//! once more by the template.

pub(super) mod agents;
mod approvals;
pub(super) mod assets;
pub(super) mod audit;
mod came;
pub(super) mod door;
mod grants;
pub(super) mod health;
pub(super) mod inbox;
pub(super) mod keys;
mod parts;
pub(super) mod passkeys;
pub(super) mod review;
pub(super) mod templates;
mod times;

use std::sync::Arc;

use askama::Template;
use axum::extract::FromRequestParts as _;
use axum::http::request::Parts;
use axum::http::{Method, StatusCode, header};
use axum::response::{Html, IntoResponse as _, Response};
use keywright_broker::Code;
use keywright_core::audit::EntryId;
use keywright_core::name::OperatorName;

use super::Door;
use super::session::Looks;
use crate::answer::Failure;
pub(super) use door::local;
use parts::{Deed, Part, Shown, Tone};

/// How many rows a list has on one page.
const ROWS: u32 = 50;

/// A page of parts.
#[derive(Template)]
#[template(path = "page.html")]
struct Page {
    title: Shown,
    /// Which of the pages it is, for the navigation.
    here: &'static str,
    operator: Shown,
    waiting: u64,
    /// Whether it looks again by itself.
    fresh: bool,
    parts: Vec<Part>,
}

impl Page {
    fn new(here: &'static str, title: impl AsRef<str>, operator: &OperatorName) -> Self {
        Self {
            title: Shown::of(title),
            here,
            operator: Shown::of(operator.as_str()),
            waiting: 0,
            fresh: false,
            parts: Vec::new(),
        }
    }

    fn with(mut self, part: Part) -> Self {
        self.parts.push(match part {
            Part::Table(table) => Part::Table(table.lean()),
            other => other,
        });
        self
    }

    /// The page, with how much waits for whoever looks in its navigation.
    async fn answer(mut self, door: &Arc<Door>, operator: &OperatorName) -> Response {
        self.waiting = door.broker.waits_for(operator).await.unwrap_or(0);
        html(&self, StatusCode::OK)
    }
}

/// Whether an operator has a passkey that is good here.
async fn has_passkey(door: &Door, operator: &OperatorName) -> bool {
    let all = door.broker.passkeys().await.unwrap_or_default();
    all.iter().any(|one| one.operator == *operator && one.origin == door.origin)
}

/// What can be done by a touch, or why it can't be.
async fn deeds(door: &Door, operator: &OperatorName, deeds: Vec<Deed>) -> Part {
    let why_not = if has_passkey(door, operator).await {
        String::new()
    } else {
        format!(
            "You have no passkey at {} yet: `keywright passkey add` makes a link for one. Until then this is for a terminal.",
            door.origin
        )
    };
    Part::Deeds(deeds, Shown::of(why_not))
}

fn html(page: &impl Template, status: StatusCode) -> Response {
    match page.render() {
        Ok(text) => (status, Html(text)).into_response(),
        Err(error) => {
            tracing::error!(%error, "a page could not be made");
            (StatusCode::INTERNAL_SERVER_ERROR, "the page could not be made\n").into_response()
        }
    }
}

/// A page that says what went wrong, with a way back.
fn failed(here: &'static str, operator: &OperatorName, failure: impl Into<Failure>) -> Response {
    let failure: Failure = failure.into();
    let status = super::deeds::status(&failure);
    let title = match failure.kind() {
        Some(Code::NotFound) => "There is nothing here",
        Some(Code::InvalidArgument) => "That can't be read",
        _ => "That did not work",
    };
    let (back, words) = match here {
        "keys" => ("/keys", "to all keys"),
        "agents" => ("/agents", "to all agents"),
        "templates" => ("/templates", "to all templates"),
        "audit" => ("/audit", "to the audit log"),
        "health" => ("/health", "to the health of the broker"),
        "passkeys" => ("/passkeys", "to the passkeys"),
        _ => ("/", "to the inbox"),
    };
    let page = Page::new(here, title, operator)
        .with(Part::Note(Shown::of(&failure.message), Tone::Bad))
        .with(Part::Note(Shown::of(failure.hint.unwrap_or_default()), Tone::Plain))
        .with(Part::More(back.to_owned(), words));
    html(&page, status)
}

/// An answer as whoever is let in should see it: what the router says in bare words becomes a page with a way on.
pub(super) async fn dressed(door: &Arc<Door>, mut asked: Parts, answer: Response) -> Response {
    let is_bare = answer
        .headers()
        .get(header::CONTENT_TYPE)
        .is_none_or(|kind| kind.to_str().is_ok_and(|kind| kind.starts_with("text/plain")));
    if asked.method != Method::GET || !answer.status().is_client_error() || !is_bare {
        return answer;
    }
    let Ok(Looks(operator)) = Looks::from_request_parts(&mut asked, door).await else { return answer };
    let path = keywright_core::text::Untrusted::capped(asked.uri.path(), 200);
    let here = ["keys", "agents", "templates", "audit", "health", "passkeys"];
    let here = here.into_iter().find(|one| asked.uri.path().split('/').nth(1) == Some(one));
    let failure = if answer.status() == StatusCode::NOT_FOUND {
        Failure::new(Code::NotFound, format!("there is no page at {path}"))
    } else {
        Failure::new(Code::InvalidArgument, format!("the address says what {path} can't read"))
    };
    failed(here.unwrap_or("inbox"), &operator, failure)
}

/// A page with a word on what was changed of the entries that it tells.
fn edited(page: Page, entries: &[EntryId]) -> Page {
    let Some(first) = entries.first() else { return page };
    let said = match entries.len() {
        1 => format!(
            "Entry {first} was changed since it was written: what is told of it here is not to be believed."
        ),
        all => format!(
            "{all} entries, {first} among them, were changed since they were written: what is told of them here is not to be believed."
        ),
    };
    page.with(Part::Note(Shown::of(said), Tone::Bad))
        .with(Part::More("/audit?verify=1".to_owned(), "verify the log"))
}
