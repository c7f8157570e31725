//! The log: what happened, and whether it is as it was signed.

use std::sync::Arc;

use axum::extract::{Query, State};
use axum::http::header;
use axum::response::{IntoResponse as _, Response};
use jiff::Timestamp;
use keywright_core::audit::{Effect, Entry, Principal, Stage};
use keywright_core::id::{KeyId, RequestId};
use keywright_core::text::Untrusted;
use keywright_ledger::AuditFilter;
use serde::Deserialize;

use super::super::Door;
use super::super::session::Looks;
use super::parts::{Part, Shown, Table, Text, Tone};
use super::{Page, ROWS, failed};

/// The most entries of a download.
const MOST: u32 = 10_000;

/// Which entries.
#[derive(Deserialize)]
pub(crate) struct Which {
    #[serde(default)]
    before: Option<u64>,
    #[serde(default)]
    q: String,
    #[serde(default)]
    verify: String,
}

/// An entry in one row.
pub(super) fn entry_row(entry: &Entry, now: Timestamp) -> Vec<Text> {
    let record = entry.record();
    let subject = &record.subject;
    let about = subject.key.as_deref().map(|key| ["keys", key]).or_else(|| {
        let request = subject.request.as_deref()?;
        Some(["r", request])
    });
    let deed = record.deed.as_str();
    let what = match (&record.decision, record.stage) {
        (Some(decided), _) => format!("{deed}: {}", effect(decided.effect)),
        (None, Stage::Intent) => format!("{deed} begins"),
        (None, Stage::Outcome | Stage::Note) => deed.to_owned(),
    };
    let what = about.map_or_else(|| Text::of(&what), |path| Text::of(&what).to(&path));
    let signed = if record.signatures.is_empty() { "" } else { ", signed" };
    let (went, tone) = match &record.result {
        None => (String::new(), Tone::Plain),
        Some(outcome) if outcome.ok => ("done".to_owned(), Tone::Good),
        Some(outcome) => {
            let message = outcome.message.as_ref().map(Untrusted::raw);
            (message.or(outcome.code.as_deref()).unwrap_or("failed").to_owned(), Tone::Bad)
        }
    };
    vec![
        Text::at(record.at, now),
        what,
        Text::of(format!("{} {}{signed}", kind(record.who.kind), record.who.name)),
        Text::of(went).toned(tone),
        Text::of(entry.id().to_string()),
    ]
}

fn effect(effect: Effect) -> &'static str {
    match effect {
        Effect::Allow => "allowed",
        Effect::NeedsApprovals => "needs approvals",
        Effect::Deny => "denied",
    }
}

fn kind(kind: Principal) -> &'static str {
    match kind {
        Principal::Agent => "agent",
        Principal::Operator => "operator",
        Principal::Workload => "workload",
        Principal::Schedule => "schedule",
        Principal::System => "system",
    }
}

fn filter(which: &Which) -> AuditFilter {
    let mut filter = AuditFilter { limit: ROWS, newest_first: true, ..AuditFilter::default() };
    filter.key = KeyId::parse(&which.q).ok();
    filter.request = RequestId::parse(&which.q).ok();
    filter
}

pub(crate) async fn page(
    State(door): State<Arc<Door>>,
    Looks(operator): Looks,
    Query(which): Query<Which>,
) -> Response {
    let now = door.broker.now();
    let mut page = Page::new("audit", "Audit log", &operator);
    if which.verify == "1" {
        page = match door.broker.verify_audit().await {
            Ok((entries, findings)) if findings.is_empty() => {
                let text = format!("The log is sound: {entries} entries, each where it was signed.");
                page.with(Part::Note(Shown::of(text), Tone::Good))
            }
            Ok((_, findings)) => findings.into_iter().take(20).fold(
                page.with(Part::Note(Shown::of("The log was tampered with or damaged."), Tone::Bad)),
                |page, finding| page.with(Part::Note(Shown::of(finding), Tone::Bad)),
            ),
            Err(error) => return failed("audit", &operator, error),
        };
    }
    let mut filter = filter(&which);
    if !which.q.is_empty() && filter.key.is_none() && filter.request.is_none() {
        match door.broker.trace(&which.q).await {
            Ok(trace) => filter.key = Some(trace.key.id),
            Err(error) => return failed("audit", &operator, error),
        }
    }
    filter.before = which.before;
    let entries = match door.broker.log(filter).await {
        Ok(entries) => entries,
        Err(error) => return failed("audit", &operator, error),
    };
    let table = Table {
        header: vec!["when", "what", "who", "how it went", "entry"],
        rows: entries.iter().map(|entry| entry_row(entry, now)).collect(),
        empty: "Nothing is on record.",
    };
    page = page
        .with(Part::Search(
            "/audit",
            Shown::of(&which.q),
            "a key's name or id, a request's id, a fingerprint",
        ))
        .with(Part::More("/audit?verify=1".to_owned(), "verify the log"))
        .with(Part::More("/audit/download".to_owned(), "download the newest entries (JSON lines)"))
        .with(Part::Table(table));
    let last = entries.last().map(Entry::index).filter(|index| *index > 0);
    if let Some(index) = last.filter(|_| u32::try_from(entries.len()).is_ok_and(|count| count >= ROWS)) {
        let q: String = url::form_urlencoded::byte_serialize(which.q.as_bytes()).collect();
        page = page.with(Part::More(format!("/audit?before={index}&q={q}"), "older"));
    }
    page.answer(&door).await
}

/// The newest entries, as JSON lines.
pub(crate) async fn download(State(door): State<Arc<Door>>, Looks(operator): Looks) -> Response {
    let filter = AuditFilter { limit: MOST, newest_first: true, ..AuditFilter::default() };
    match door.broker.log(filter).await {
        Ok(entries) => {
            let mut lines = String::new();
            for entry in entries.iter().rev() {
                lines.push_str(&serde_json::to_string(entry).unwrap_or_default());
                lines.push('\n');
            }
            let headers = [
                (header::CONTENT_TYPE, "application/jsonl"),
                (header::CONTENT_DISPOSITION, "attachment; filename=\"keywright-audit.jsonl\""),
            ];
            (headers, lines).into_response()
        }
        Err(error) => failed("audit", &operator, error),
    }
}
