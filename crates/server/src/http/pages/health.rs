//! How the broker is doing.

use std::sync::Arc;

use axum::extract::{Query, State};
use axum::response::Response;
use serde::Deserialize;

use super::super::Door;
use super::super::session::Looks;
use super::parts::{Part, Shown, Table, Text, Tone};
use super::{Page, failed};

/// A parent credential that is as old as that, in days, should be replaced.
const OLD_PARENT: i64 = 90;

/// What is looked at only where somebody asks for it.
#[derive(Deserialize)]
pub(crate) struct Which {
    #[serde(default)]
    rows: String,
}

pub(crate) async fn page(
    State(door): State<Arc<Door>>,
    Looks(operator): Looks,
    Query(Which { rows }): Query<Which>,
) -> Response {
    let health = match door.broker.health().await {
        Ok(health) => health,
        Err(error) => return failed("health", &operator, error),
    };
    let mut page = Page::new("health", "Health", &operator);
    let wrong = [
        (&health.read_only, Tone::Bad),
        (&health.clock_off, Tone::Bad),
        (&health.unsigned, Tone::Warn),
        (&health.witness, Tone::Warn),
        (&health.clock, Tone::Warn),
    ];
    let mut is_well = true;
    for (why, tone) in wrong {
        if let Some(why) = why {
            is_well = false;
            page = page.with(Part::Note(Shown::of(why), tone));
        }
    }
    let count = |number: u64, tone: Tone| {
        let text = Text::of(number.to_string());
        if number > 0 { text.toned(tone) } else { text }
    };
    if is_well && health.revocations_owed + health.drains_late + health.rotations_failing == 0 {
        page = page.with(Part::Note(Shown::of("Nothing is wrong."), Tone::Good));
    }
    page = match looked_at_rows(&door, &rows).await {
        Ok(parts) => parts.into_iter().fold(page, Page::with),
        Err(error) => return failed("health", &operator, error),
    };
    let connections = match door.broker.connections().await {
        Ok(connections) => connections,
        Err(error) => return failed("health", &operator, error),
    };
    let now = door.broker.now();
    page = page.with(Part::facts(vec![
        ("active keys", count(health.keys_active, Tone::Plain)),
        ("waiting for people", count(health.requests_pending, Tone::Warn)),
        ("under way", count(health.sagas_open, Tone::Plain)),
        ("revocations owed", count(health.revocations_owed, Tone::Bad)),
        ("old versions that live too long", count(health.drains_late, Tone::Bad)),
        ("keys that could not be rotated", count(health.rotations_failing, Tone::Bad)),
        ("consumers that could not be told", count(health.consumers_untold, Tone::Warn)),
        ("parents being replaced", count(health.parents_renewing, Tone::Plain)),
        ("attempts of which nobody knows", count(health.attempts_uncertain, Tone::Warn)),
        ("entries in the log", count(health.audit_entries, Tone::Plain)),
        ("version", Text::of(env!("CARGO_PKG_VERSION"))),
    ]));
    for why in &health.channels_failing {
        let said = format!("Nobody hears of what waits by {why}");
        page = page.with(Part::Note(Shown::of(said), Tone::Warn));
    }
    if !health.failing.is_empty() {
        let row = |one: &keywright_broker::Failing| {
            vec![Text::of(&one.key).to(&["keys", &one.id]), Text::of(&one.why).toned(Tone::Bad)]
        };
        page = page.with(Part::heading("could not be rotated")).with(Part::Table(Table {
            header: vec!["key", "why"],
            rows: health.failing.iter().map(row).collect(),
            empty: "",
        }));
    }
    let row = |one: &keywright_ledger::Connection| {
        let days = now.duration_since(one.parent_since()).as_hours() / 24;
        let tone = if days >= OLD_PARENT { Tone::Warn } else { Tone::Plain };
        vec![
            Text::of(one.name.as_str()),
            Text::of(one.kind.as_str()),
            Text::at(one.parent_since(), now).toned(tone),
        ]
    };
    page.with(Part::heading("connections"))
        .with(Part::Table(Table {
            header: vec!["connection", "provider", "its parent credential is in use since"],
            rows: connections.iter().map(row).collect(),
            empty: "None yet: `keywright provider add KIND --name NAME`.",
        }))
        .with(Part::Note(Shown::of("`keywright doctor` looks at this machine as well."), Tone::Plain))
        .answer(&door)
        .await
}

/// Whether the rows of the ledger are as Keywright wrote them; a link to that where nobody asked.
async fn looked_at_rows(door: &Door, asked: &str) -> Result<Vec<Part>, keywright_broker::BrokerError> {
    if asked.is_empty() {
        return Ok(vec![Part::More("/health?rows=1".to_owned(), "look at the rows of the ledger")]);
    }
    let (rows, edited) = door.broker.soundness().await?;
    if edited.is_empty() {
        let said = format!("{rows} rows of the ledger are as Keywright wrote them.");
        return Ok(vec![Part::Note(Shown::of(said), Tone::Good)]);
    }
    let shown = edited.iter().take(20).map(|what| Part::Note(Shown::of(what), Tone::Bad));
    let more = edited.len().saturating_sub(20);
    let rest = (more > 0).then(|| Part::Note(Shown::of(format!("and {more} more")), Tone::Bad));
    Ok(shown.chain(rest).collect())
}
