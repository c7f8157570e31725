//! How the broker is doing.

use std::sync::Arc;

use axum::extract::{Query, State};
use axum::response::Response;
use jiff::Timestamp;
use keywright_broker::Health;
use keywright_broker::machine::{Finding, Verdict};
use serde::Deserialize;

use super::super::Door;
use super::super::session::Looks;
use super::parts::{Part, Shown, Table, Text, Tone};
use super::{Page, failed};

/// A parent credential that is as old as that, in days, should be replaced.
const OLD_PARENT: i64 = 90;

/// Where the keys are of which something is owed, late, failing.
const OWED: &str = "/keys?state=owed";
const LATE: &str = "/keys?state=late";
const FAILING: &str = "/keys?state=failing";

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
    let connections = match door.broker.connections().await {
        Ok(connections) => connections,
        Err(error) => return failed("health", &operator, error),
    };
    let now = door.broker.now();
    let mut page = Page::new("health", "Health", &operator);
    let mut wrong = troubles(&health);
    wrong.extend(connections.iter().filter(|one| is_old(one, now)).map(|one| {
        let before = format!("the parent credential of {} is in use since ", one.name);
        let after = format!(": `keywright provider rotate-parent {}`", one.name);
        Text::at(one.parent_since(), now).within(before, after).toned(Tone::Warn)
    }));
    let machine = door.broker.machine();
    wrong.extend(machine.iter().filter(|one| one.verdict == Verdict::Wrong).map(finding));
    let looks = machine.iter().filter(|one| one.verdict == Verdict::Warning).count();
    page = page.with(match (wrong.is_empty(), looks) {
        (true, 0) => Part::Note(Shown::of("Nothing is wrong."), Tone::Good),
        (true, 1) => Part::Note(Shown::of("Nothing is wrong. One thing below deserves a look."), Tone::Warn),
        (true, looks) => Part::Note(
            Shown::of(format!("Nothing is wrong. {looks} things below deserve a look.")),
            Tone::Warn,
        ),
        (false, _) => Part::List(wrong),
    });
    let count = |number: u64, tone: Tone, href: &str| {
        let text = Text::of(number.to_string()).leads(href);
        if number > 0 { text.toned(tone) } else { text }
    };
    page = match looked_at_rows(&door, &rows).await {
        Ok(parts) => parts.into_iter().fold(page, Page::with),
        Err(error) => return failed("health", &operator, error),
    };
    page = page.with(Part::facts(vec![
        ("active keys", count(health.keys_active, Tone::Plain, "/keys?state=active")),
        ("waiting for people", count(health.requests_pending, Tone::Warn, "/")),
        ("under way", count(health.sagas_open, Tone::Plain, "")),
        ("revocations owed", count(health.revocations_owed, Tone::Bad, OWED)),
        ("old versions that live too long", count(health.drains_late, Tone::Bad, LATE)),
        ("credentials that were gone and are back", count(health.versions_back, Tone::Bad, "")),
        ("keys that could not be rotated", count(health.rotations_failing, Tone::Bad, FAILING)),
        ("consumers that could not be told", count(health.consumers_untold, Tone::Warn, "")),
        ("parents being replaced", count(health.parents_renewing, Tone::Plain, "")),
        ("attempts of which nobody knows", count(health.attempts_uncertain, Tone::Warn, "")),
        ("entries in the log", count(health.audit_entries, Tone::Plain, "/audit")),
        ("version", Text::of(env!("CARGO_PKG_VERSION"))),
    ]));
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
        let tone = if is_old(one, now) { Tone::Warn } else { Tone::Plain };
        vec![
            Text::of(one.name.as_str()),
            Text::of(one.kind.as_str()),
            Text::at(one.parent_since(), now).toned(tone),
        ]
    };
    page = page.with(Part::heading("this machine")).with(Part::List(machine.iter().map(finding).collect()));
    page.with(Part::heading("connections"))
        .with(Part::Table(Table {
            header: vec!["connection", "provider", "its parent credential is in use since"],
            rows: connections.iter().map(row).collect(),
            empty: "None yet: `keywright provider add KIND --name NAME`.",
        }))
        .with(Part::Note(
            Shown::of("`keywright doctor` looks at your terminal and directory as well."),
            Tone::Plain,
        ))
        .answer(&door, &operator)
        .await
}

/// Everything that is wrong or has to be looked after, the worst first, each with where it can be looked at.
pub(super) fn troubles(health: &Health) -> Vec<Text> {
    let said =
        |why: &Option<String>, tone: Tone| why.as_ref().map(|why| Text::of(why).leads("/health").toned(tone));
    let counted = |number: u64, one: &str, several: &str, tone: Tone, href: &str| {
        let words = if number == 1 { format!("1 {one}") } else { format!("{number} {several}") };
        (number > 0).then(|| Text::of(words).leads(href).toned(tone))
    };
    let (bad, warn) = (Tone::Bad, Tone::Warn);
    let mut all: Vec<Text> = [
        said(&health.read_only, bad),
        said(&health.clock_off, bad),
        counted(health.revocations_owed, "revocation is owed", "revocations are owed", bad, OWED),
        counted(
            health.drains_late,
            "old version lives longer than it should",
            "old versions live longer than they should",
            bad,
            LATE,
        ),
        counted(
            health.versions_back,
            "credential was gone at its provider and is there again: `keywright reconcile` names it",
            "credentials were gone at their provider and are there again: `keywright reconcile` names them",
            bad,
            "/health",
        ),
        counted(
            health.rotations_failing,
            "key could not be rotated",
            "keys could not be rotated",
            bad,
            FAILING,
        ),
        said(&health.unsigned, warn),
        said(&health.witness, warn),
        said(&health.clock, warn),
        counted(
            health.consumers_untold,
            "consumer could not be told of a successor",
            "consumers could not be told of a successor",
            warn,
            "/health",
        ),
        counted(
            health.attempts_uncertain,
            "attempt may have made a key; it is looked for",
            "attempts may have made a key; they are looked for",
            warn,
            "/health",
        ),
    ]
    .into_iter()
    .flatten()
    .collect();
    all.extend(health.ambiguous.iter().map(|why| Text::of(why).leads("/templates").toned(warn)));
    all.extend(
        health
            .channels_failing
            .iter()
            .map(|why| Text::of(format!("nobody hears of what waits by {why}")).leads("/health").toned(warn)),
    );
    all
}

/// What was found out about this machine, as `doctor` says it.
fn finding(one: &Finding) -> Text {
    let hint = one.hint.as_ref().map(|hint| format!(" ({hint})")).unwrap_or_default();
    let tone = match one.verdict {
        Verdict::Good => Tone::Good,
        Verdict::Note => Tone::Plain,
        Verdict::Warning => Tone::Warn,
        Verdict::Wrong => Tone::Bad,
    };
    Text::of(format!("{}{hint}", one.what)).toned(tone)
}

/// Whether a connection's parent credential should be replaced.
fn is_old(one: &keywright_ledger::Connection, now: Timestamp) -> bool {
    now.duration_since(one.parent_since()).as_hours() / 24 >= OLD_PARENT
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
