//! What waits for somebody: the riskiest first.

use std::sync::Arc;

use axum::extract::{Query, State};
use axum::response::Response;
use keywright_broker::blocks;
use keywright_broker::review::Pending;
use keywright_core::verdict::Verdict;
use keywright_ledger::InboxPlace;
use serde::Deserialize;

use super::super::Door;
use super::super::session::Looks;
use super::parts::{Part, Shown, Table, Text, Tone};
use super::{Page, ROWS, failed};

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
) -> Response {
    let inbox = match door.broker.inbox_part(place(&after), ROWS).await {
        Ok(inbox) => inbox,
        Err(error) => return failed("inbox", &operator, error),
    };
    let now = door.broker.now();
    let row = |pending: &Pending| match pending {
        Pending::Key(review) => vec![
            toned(&review.verdict).to(&["r", &review.request.to_string()]),
            Text { text: super::review::subject(&review.plan), ..Text::of("") },
            Text::of(review.plan.principal.to_string()),
            Text::of(format!("{} / {}", review.plan.project, review.plan.environment)),
            Text::of(format!("{} of {}", review.approved_by.len(), review.needed)),
            Text::of(&review.match_code),
            Text::at(review.created_at, now),
        ],
        Pending::Template(proposed) => vec![
            toned(&proposed.verdict).to(&["r", &proposed.request.to_string()]),
            Text::of(&proposed.template),
            Text::of(format!("agent {}", proposed.agent)),
            Text::of("a template"),
            Text::of("0 of 1"),
            Text::of(""),
            Text::at(proposed.created_at, now),
        ],
    };
    let table = Table {
        header: vec!["what it comes to", "key", "asked by", "for", "approvals", "code", "asked"],
        rows: inbox.waiting.iter().map(row).collect(),
        empty: "Nothing waits for you.",
    };
    let mut page = Page::new("inbox", "Inbox", &operator);
    if inbox.all > u64::from(ROWS) {
        page = page
            .with(Part::Note(Shown::of(format!("{} in all, the riskiest first", inbox.all)), Tone::Plain));
    }
    page = page.with(Part::Table(table));
    if let Some(next) = inbox.next {
        let from = format!("/?after={}.{}.{}", next.risk, next.created_at.as_millisecond(), next.id);
        page = page.with(Part::More(from, "more"));
    }
    page.answer(&door).await
}
