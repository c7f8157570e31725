//! The door: by a passkey, or by the passphrase. And the page at the end of a link, where a passkey is made.

use std::sync::Arc;

use askama::Template;
use axum::extract::{Query, State};
use axum::http::StatusCode;
use axum::response::Response;
use serde::Deserialize;

use super::super::Door;
use super::html;
use super::parts::Shown;
use crate::answer::Failure;

#[derive(Template)]
#[template(path = "door.html")]
struct DoorPage {
    to: Shown,
    origin: Shown,
    error: Shown,
    hint: Shown,
    has_passkeys: bool,
    /// Whether the passkey is asked for without a press: a link to a review was followed, and nothing went wrong yet.
    at_once: bool,
}

#[derive(Template)]
#[template(path = "enrol.html")]
struct EnrolPage {
    origin: Shown,
}

/// Where somebody wanted to go.
#[derive(Deserialize)]
pub(crate) struct To {
    #[serde(default)]
    to: String,
}

/// A path of ours, or the inbox: nothing that leads elsewhere.
pub(crate) fn local(to: &str) -> String {
    let is_path = to.starts_with('/') && !to.starts_with("//");
    let is_plain = to.bytes().all(|b| b.is_ascii_graphic() && !matches!(b, b'\\' | b'"' | b'<' | b'>'));
    if is_path && is_plain && to.len() <= 300 { to.to_owned() } else { "/".to_owned() }
}

pub(crate) async fn page(State(door): State<Arc<Door>>, Query(To { to }): Query<To>) -> Response {
    shown(&door, &to, None).await
}

/// The door once more, with what went wrong.
pub(crate) async fn again(door: &Arc<Door>, to: &str, failure: &Failure) -> Response {
    shown(door, to, Some(failure)).await
}

async fn shown(door: &Arc<Door>, to: &str, failure: Option<&Failure>) -> Response {
    let passkeys = door.broker.passkeys().await.unwrap_or_default();
    let to = local(to);
    let page = DoorPage {
        at_once: to.starts_with("/r/") && failure.is_none(),
        to: Shown::of(to),
        origin: Shown::of(&door.origin),
        error: Shown::of(failure.map(|one| one.message.as_str()).unwrap_or_default()),
        hint: Shown::of(failure.and_then(|one| one.hint.as_deref()).unwrap_or_default()),
        has_passkeys: passkeys.iter().any(|one| one.origin == door.origin),
    };
    html(&page, failure.map_or(StatusCode::OK, super::super::deeds::status))
}

pub(crate) async fn enrol(State(door): State<Arc<Door>>) -> Response {
    html(&EnrolPage { origin: Shown::of(&door.origin) }, StatusCode::OK)
}
