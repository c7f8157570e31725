//! What is seen. A page is a list of parts, which one template shows; whatever comes from outside is escaped when a part is made, and
//! once more by the template.

pub(super) mod agents;
pub(super) mod assets;
pub(super) mod audit;
pub(super) mod door;
mod grants;
pub(super) mod health;
pub(super) mod inbox;
pub(super) mod keys;
mod parts;
pub(super) mod passkeys;
pub(super) mod review;
pub(super) mod templates;

use std::sync::Arc;

use askama::Template;
use axum::http::StatusCode;
use axum::response::{Html, IntoResponse as _, Response};
use keywright_core::name::OperatorName;

use super::Door;
use crate::answer::Failure;
pub(super) use door::local;
use parts::{Part, Shown, Tone};

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
    parts: Vec<Part>,
}

impl Page {
    fn new(here: &'static str, title: impl AsRef<str>, operator: &OperatorName) -> Self {
        Self {
            title: Shown::of(title),
            here,
            operator: Shown::of(operator.as_str()),
            waiting: 0,
            parts: Vec::new(),
        }
    }

    fn with(mut self, part: Part) -> Self {
        self.parts.push(part);
        self
    }

    /// The page, with how much waits in its navigation.
    async fn answer(mut self, door: &Arc<Door>) -> Response {
        self.waiting = door.broker.count_waiting().await.unwrap_or(0);
        html(&self, StatusCode::OK)
    }
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

/// A page that says what went wrong.
fn failed(here: &'static str, operator: &OperatorName, failure: impl Into<Failure>) -> Response {
    let failure: Failure = failure.into();
    let status = super::deeds::status(&failure);
    let page = Page::new(here, "that did not work", operator)
        .with(Part::Note(Shown::of(&failure.message), Tone::Bad))
        .with(Part::Note(Shown::of(failure.hint.unwrap_or_default()), Tone::Plain));
    html(&page, status)
}
