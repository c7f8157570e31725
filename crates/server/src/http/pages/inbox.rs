//! What waits for somebody: the riskiest first.

use std::sync::Arc;

use axum::extract::{Query, RawQuery, State};
use axum::http::StatusCode;
use axum::response::Response;
use jiff::Timestamp;
use keywright_broker::blocks;
use keywright_broker::inbox::Waits;
use keywright_broker::review::Pending;
use keywright_core::verdict::Verdict;
use keywright_ledger::InboxPlace;
use serde::Deserialize;

use super::super::Door;
use super::super::session::Looks;
use super::health::troubles;
use super::parts::{Part, Shown, Table, Text, Tone};
use super::{Page, ROWS, came, failed, html};

/// From where on.
#[derive(Deserialize)]
pub(crate) struct After {
    #[serde(default)]
    after: String,
}

/// `RISK.MILLISECONDS.ID`, as in the link to the next part.
fn place(text: &str) -> Option<InboxPlace> {
    let mut parts = text.splitn(3, '.');
    let risk = parts.next()?.parse().ok()?;
    let created_at = jiff::Timestamp::from_millisecond(parts.next()?.parse().ok()?).ok()?;
    let id = keywright_core::id::RequestId::parse(parts.next()?).ok()?;
    Some(InboxPlace { risk, created_at, id })
}

pub(super) fn toned(verdict: &Verdict) -> Text {
    Text::of(verdict.to_string()).toned(blocks::Tone::from(verdict.level).into())
}

pub(crate) async fn page(
    State(door): State<Arc<Door>>,
    Looks(operator): Looks,
    Query(After { after }): Query<After>,
    RawQuery(query): RawQuery,
) -> Response {
    let inbox = match door.broker.inbox_of(&operator, place(&after), ROWS).await {
        Ok(inbox) => inbox,
        Err(error) => return failed("inbox", &operator, error),
    };
    let now = door.broker.now();
    let (yours, others): (Vec<_>, Vec<_>) = inbox.waiting.iter().partition(|one| one.not_yours.is_none());
    let mut page = Page::new("inbox", "Inbox", &operator);
    page.fresh = true;
    page = came::of(&door, query.as_deref()).await.into_iter().fold(page, Page::with);
    if inbox.all > u64::from(ROWS) {
        page = page
            .with(Part::Note(Shown::of(format!("{} in all, the riskiest first", inbox.all)), Tone::Plain));
    }
    page = page.with(Part::heading("for you")).with(Part::Table(Table {
        header: vec!["verdict", "key", "asked by", "for", "approvals", "code", "asked"],
        rows: yours.into_iter().map(|one| row(one, now)).collect(),
        empty: "Nothing waits for you.",
    }));
    if !others.is_empty() {
        page = page.with(Part::heading("waits for others")).with(Part::Table(Table {
            header: vec!["verdict", "key", "asked by", "for", "approvals", "why", "asked"],
            rows: others.into_iter().map(|one| row(one, now)).collect(),
            empty: "",
        }));
    }
    if let Some(next) = inbox.next {
        let from = format!("/?after={}.{}.{}", next.risk, next.created_at.as_millisecond(), next.id);
        page = page.with(Part::More(from, "more"));
    }
    if after.is_empty() {
        match door.broker.health().await {
            Ok(health) => {
                let troubles = troubles(&health);
                if !troubles.is_empty() {
                    page = page.with(Part::heading("to look after")).with(Part::List(troubles));
                }
            }
            Err(error) => return failed("inbox", &operator, error),
        }
    }
    page.waiting = inbox.yours;
    html(&page, StatusCode::OK)
}

fn row(one: &Waits, now: Timestamp) -> Vec<Text> {
    let last = |code: &str| Text::of(one.not_yours.as_deref().unwrap_or(code));
    match &one.pending {
        Pending::Key(review) => {
            let more = match one.alike {
                0 => String::new(),
                alike => format!(", and {alike} like it"),
            };
            vec![
                toned(&review.verdict).to(&["r", &review.request.to_string()]),
                Text::of(format!("{}{more}", review.subject)).toned(if review.looks {
                    Tone::Bad
                } else {
                    Tone::Plain
                }),
                Text::of(review.plan.principal.to_string()),
                Text::of(format!("{} / {}", review.plan.project, review.plan.environment)),
                Text::of(format!("{} of {}", review.approved_by.len(), review.needed)),
                last(&match one.alike {
                    0 => review.match_code.clone(),
                    1 => format!("{} and 1 more code", review.match_code),
                    alike => format!("{} and {alike} more codes", review.match_code),
                }),
                Text::at(review.created_at, now),
            ]
        }
        Pending::Template(proposed) => vec![
            toned(&proposed.verdict).to(&["r", &proposed.request.to_string()]),
            Text::of(&proposed.template),
            Text::of(format!("agent {}", proposed.agent)),
            Text::of("a template"),
            Text::of("0 of 1"),
            last(&proposed.match_code),
            Text::at(proposed.created_at, now),
        ],
    }
}
