//! The log: what happened, and whether it is as it was signed.

use std::sync::Arc;

use axum::body::{Body, Bytes};
use axum::extract::{Path, Query, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse as _, Redirect, Response};
use futures::stream;
use jiff::Timestamp;
use keywright_broker::entry::{EntryShown, Signing};
use keywright_broker::log::{About, Found, Sought, Typed, moment_of};
use keywright_broker::verify::Verified;
use keywright_broker::{BrokerError, timeline};
use keywright_core::audit::{Deed, Entry, EntryId, Principal, Record};
use serde::Deserialize;

use super::super::Door;
use super::super::session::Looks;
use super::parts::{Field, Part, Shown, Table, Text, Tone, with_query};
use super::{Page, ROWS, failed};

/// Which entries, as somebody typed it.
#[derive(Deserialize, Default)]
#[serde(default)]
pub(crate) struct Which {
    before: String,
    q: String,
    deed: String,
    who: String,
    went: String,
    from: String,
    to: String,
    verify: String,
}

impl Which {
    /// The same in an address.
    fn pairs(&self) -> [(&'static str, &str); 6] {
        [
            ("q", &self.q),
            ("deed", &self.deed),
            ("who", &self.who),
            ("went", &self.went),
            ("from", &self.from),
            ("to", &self.to),
        ]
    }

    /// What is looked for; and what of it can't be read, in words.
    fn sought(&self) -> (Sought, Vec<String>) {
        let mut wrong = Vec::new();
        let said = |text: &str| keywright_core::text::escaped(text);
        let deed = (!self.deed.is_empty()).then(|| self.deed.parse::<Deed>());
        let deed = deed.and_then(|deed| deed.map_err(|error| wrong.push(error.to_string())).ok());
        let mut moment = |text: &str, is_end: bool| {
            let found = (!text.trim().is_empty()).then(|| moment_of(text.trim(), is_end))?;
            if found.is_none() {
                wrong.push(format!("`{}` is no day as in 2026-12-24, and no time", said(text)));
            }
            found
        };
        let (from, to) = (moment(&self.from, false), moment(&self.to, true));
        let went_well = match self.went.as_str() {
            "well" => Some(true),
            "badly" => Some(false),
            _ => None,
        };
        let who = (!self.who.trim().is_empty()).then(|| self.who.trim().to_owned());
        (Sought { about: About::Anything, deed, who, went_well, from, to }, wrong)
    }

    fn fields(&self) -> Vec<Field> {
        let deeds = Deed::ALL.iter().map(|deed| (deed.as_str(), deed.as_str()));
        vec![
            Field::text("q", "find", self.q.trim(), "a key, a request, an entry, a name"),
            Field::text("who", "who", self.who.trim(), "a name, as in alice"),
            Field::choice("deed", "deed", &self.deed, [("", "any")].into_iter().chain(deeds).collect()),
            Field::choice(
                "went",
                "how it went",
                &self.went,
                vec![("", "either way"), ("well", "well"), ("badly", "badly")],
            ),
            Field::text("from", "from", self.from.trim(), "2026-12-24"),
            Field::text("to", "to", self.to.trim(), "2026-12-24"),
        ]
    }
}

/// An entry in one row.
fn entry_row(entry: &Entry, now: Timestamp) -> Vec<Text> {
    let record = entry.record();
    let id = entry.id().to_string();
    let (what, tone) = timeline::told(entry);
    vec![
        Text::at(record.at, now),
        Text::of(what).toned(tone.into()).to(&["audit", &id]),
        about(record),
        who(record),
        timeline::why(record).map_or_else(|| Text::of(""), |why| Text::said(&why)),
        Text::of(&id).to(&["audit", &id]),
    ]
}

/// The key or the request that an entry is about.
fn about(record: &Record) -> Text {
    let subject = &record.subject;
    let name = match (&subject.project, &subject.environment, &subject.name) {
        (Some(project), Some(environment), Some(name)) => format!("{project}/{environment}/{name}"),
        _ => subject.template.clone().unwrap_or_else(|| {
            let what = if subject.key.is_some() { "the key" } else { "the request" };
            what.to_owned()
        }),
    };
    match (&subject.key, &subject.request) {
        (Some(key), _) => Text::of(name).to(&["keys", key]),
        (None, Some(request)) => Text::of(name).to(&["r", request]),
        (None, None) => Text::of(""),
    }
}

fn who(record: &Record) -> Text {
    let signed = if record.signatures.is_empty() { "" } else { ", signed" };
    let name = &record.who.name;
    match record.who.kind {
        Principal::Agent => Text::of(format!("agent {name}{signed}")).to(&["agents", name]),
        Principal::Operator => Text::of(format!("operator {name}{signed}")),
        Principal::Workload => Text::of(format!("workload {name}")),
        Principal::Schedule => Text::of("the schedule"),
        Principal::System => Text::of("the broker"),
    }
}

/// What was typed, with what it is about; or where it leads.
async fn meant(door: &Door, which: &Which) -> Result<(Sought, Vec<String>), Response> {
    let (mut sought, wrong) = which.sought();
    let typed = which.q.trim();
    if typed.is_empty() {
        return Ok((sought, wrong));
    }
    match door.broker.typed(typed).await {
        Ok(Typed::Entry(entry)) => return Err(Redirect::to(&format!("/audit/{entry}")).into_response()),
        Ok(Typed::About(about)) => sought.about = about,
        // Somebody's name, as far as anybody knows.
        Ok(Typed::Name(name)) => sought.who = Some(name),
        Err(error) => return Err(super::super::deeds::refused(error)),
    }
    Ok((sought, wrong))
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
            Ok(Verified { entries, unsigned, findings }) if findings.is_empty() => {
                let text = match unsigned {
                    0 => format!("The log is sound: {entries} entries, each where it was signed."),
                    new => format!(
                        "The log is sound: {entries} entries, each where it was signed; {new} are not signed yet."
                    ),
                };
                page.with(Part::Note(Shown::of(text), Tone::Good))
            }
            Ok(Verified { findings, .. }) => findings.into_iter().take(20).fold(
                page.with(Part::Note(Shown::of("The log was tampered with or damaged."), Tone::Bad)),
                |page, finding| page.with(Part::Note(Shown::of(finding), Tone::Bad)),
            ),
            Err(error) => return failed("audit", &operator, error),
        };
    }
    let (sought, mut wrong) = match meant(&door, &which).await {
        Ok(meant) => meant,
        Err(elsewhere) => return elsewhere,
    };
    let before = which.before.parse::<u64>().ok();
    if before.is_none() && !which.before.is_empty() {
        wrong.push("the address names no place in the log; these are the newest".to_owned());
    }
    let by_name = sought.who.as_deref().filter(|_| which.who.trim().is_empty()).map(str::to_owned);
    // What can't be read finds nothing, rather than everything.
    let found = if wrong.is_empty() || before.is_some() || !which.before.is_empty() {
        door.broker.search_log(sought, before, ROWS).await
    } else {
        Ok(Found { entries: Vec::new(), older: None, down_to: None, edited: Vec::new() })
    };
    let found = match found {
        Ok(found) => found,
        Err(error) => return failed("audit", &operator, error),
    };
    page = page.with(Part::Filters("/audit", which.fields()));
    page = wrong.iter().fold(page, |page, why| page.with(Part::Note(Shown::of(why), Tone::Warn)));
    if let Some(name) = by_name {
        let said = format!(
            "`{}` is no key, request or entry here: this is what somebody of that name did.",
            keywright_core::text::escaped(&name)
        );
        page = page.with(Part::Note(Shown::of(said), Tone::Plain));
    }
    page = super::edited(page, &found.edited);
    page = page.with(Part::Table(Table {
        header: vec!["when", "what", "about", "who", "why", "entry"],
        rows: found.entries.iter().map(|entry| entry_row(entry, now)).collect(),
        empty: "Nothing of that is on record here.",
    }));
    if let Some(down_to) = found.down_to {
        let said =
            format!("So far it was looked down to entry {}; there is more of the log.", EntryId(down_to));
        page = page.with(Part::Note(Shown::of(said), Tone::Plain));
    }
    if let Some(older) = found.older {
        let mut pairs = which.pairs().to_vec();
        let older = older.to_string();
        pairs.push(("before", &older));
        page = page.with(Part::More(with_query("/audit", &pairs), "older"));
    }
    page.with(Part::More("/audit?verify=1".to_owned(), "verify the log"))
        .with(Part::More(
            with_query("/audit/download", &which.pairs()),
            "download what was searched for, all of it (JSON lines, oldest first)",
        ))
        .answer(&door, &operator)
        .await
}

/// Everything that was searched for, oldest first, as JSON lines; as it is read, so that it needs no more room than a page.
pub(crate) async fn download(
    State(door): State<Arc<Door>>,
    Looks(operator): Looks,
    Query(which): Query<Which>,
) -> Response {
    let (sought, wrong) = match meant(&door, &which).await {
        Ok(meant) => meant,
        Err(elsewhere) => return elsewhere,
    };
    if let Some(why) = wrong.into_iter().next() {
        return failed("audit", &operator, BrokerError::invalid(why));
    }
    let lines = stream::try_unfold(Some(0), move |from| {
        let (door, sought) = (Arc::clone(&door), sought.clone());
        async move {
            let Some(from) = from else { return Ok(None) };
            let (entries, next) = door
                .broker
                .read_on(sought, from)
                .await
                .map_err(|error| std::io::Error::other(error.message))?;
            let mut lines = String::new();
            for entry in entries {
                lines.push_str(&serde_json::to_string(&entry)?);
                lines.push('\n');
            }
            Ok::<_, std::io::Error>(Some((Bytes::from(lines), next)))
        }
    });
    let headers = [
        (header::CONTENT_TYPE, "application/jsonl"),
        (header::CONTENT_DISPOSITION, "attachment; filename=\"keywright-audit.jsonl\""),
    ];
    (StatusCode::OK, headers, Body::from_stream(lines)).into_response()
}

pub(crate) async fn one(
    State(door): State<Arc<Door>>,
    Looks(operator): Looks,
    Path(entry): Path<String>,
) -> Response {
    let found = async {
        let id: EntryId = entry.parse().map_err(BrokerError::invalid)?;
        door.broker.entry(id).await
    };
    let shown = match found.await {
        Ok(shown) => shown,
        Err(error) => return failed("audit", &operator, error),
    };
    let now = door.broker.now();
    let mut page = Page::new("audit", format!("entry {}", shown.entry.id()), &operator);
    page = page.with(Part::facts(facts(&shown, now)));
    for (why, words) in [
        (&shown.edited, "the ledger's row of it is not as Keywright wrote it"),
        (&shown.unsound, "what was signed does not hold"),
    ] {
        if let Some(why) = why {
            page = page.with(Part::Note(Shown::of(format!("{words}: {why}")), Tone::Bad));
        }
    }
    for signature in &shown.signatures {
        page = page.with(Part::heading("signed")).with(Part::facts(signed(signature)));
        page = page.with(Part::source(&signature.text));
    }
    let index = shown.entry.index();
    if let Some(before) = index.checked_sub(1) {
        page = page.with(Part::More(format!("/audit/{}", EntryId(before)), "the entry before"));
    }
    page.with(Part::More(format!("/audit/{}", EntryId(index + 1)), "the entry after"))
        .with(Part::More("/audit?verify=1".to_owned(), "verify the whole log"))
        .with(Part::heading("as it stands in the log"))
        .with(Part::source(&pretty(&shown.raw)))
        .answer(&door, &operator)
        .await
}

/// Its bytes with line ends, so that it can be read.
fn pretty(raw: &str) -> String {
    let value = serde_json::from_str::<serde_json::Value>(raw);
    value.and_then(|value| serde_json::to_string_pretty(&value)).unwrap_or_else(|_| raw.to_owned())
}

/// The record in words.
fn facts(shown: &EntryShown, now: Timestamp) -> Vec<(&'static str, Text)> {
    let record = shown.entry.record();
    let maybe = |text: Option<&str>| Text::of(text.unwrap_or_default());
    let all = |map: &std::collections::BTreeMap<String, String>| {
        let pairs: Vec<String> = map.iter().map(|(name, value)| format!("{name} {value}")).collect();
        Text::of(pairs.join(", "))
    };
    let claimed: Vec<String> =
        record.who.claimed.iter().map(|(name, value)| format!("{name} = {}", value.raw())).collect();
    let said = |text: &str| if text.is_empty() { Text::of("") } else { Text::all_said(text) };
    let decided = record.decision.as_ref();
    let signed = match (shown.signatures.len(), &shown.unsound) {
        (0, _) => Text::of("by nobody; what the broker does of its own accord is signed with the log only"),
        (_, None) => {
            Text::of("it checks out: it verifies, and is over what this entry says").toned(Tone::Good)
        }
        (_, Some(_)) => Text::of("it does not hold").toned(Tone::Bad),
    };
    vec![
        ("what", Text::of(&shown.what).toned(shown.tone.into())),
        ("in the log", Text::of(format!("{} ({})", record.deed, stage(record)))),
        ("when", Text::both(&record.at.to_string(), now)),
        ("who", who(record)),
        ("known by", all(&record.who.verified)),
        ("it says", said(&claimed.join(", "))),
        ("about", about(record)),
        (
            "request",
            record.subject.request.as_ref().map_or_else(|| Text::of(""), |id| Text::of(id).to(&["r", id])),
        ),
        ("template", maybe(record.subject.template.as_deref())),
        ("connection", maybe(record.subject.connection.as_deref())),
        ("why", said(shown.said.as_deref().unwrap_or_default())),
        ("purpose", said(record.why.purpose.as_ref().map(|text| text.raw()).unwrap_or_default())),
        ("prompt", said(record.why.prompt.as_ref().map(|text| text.raw()).unwrap_or_default())),
        ("policies", Text::of(decided.map(|one| one.policies.join(", ")).unwrap_or_default())),
        ("because", Text::of(decided.map(|one| one.reasons.join("; ")).unwrap_or_default())),
        ("plan", maybe(record.plan_digest.as_deref())),
        ("signed", signed),
    ]
}

fn stage(record: &Record) -> &'static str {
    match record.stage {
        keywright_core::audit::Stage::Intent => "about to be done",
        keywright_core::audit::Stage::Outcome => "how it went",
        keywright_core::audit::Stage::Note => "a fact",
    }
}

/// Who signed, with what, and whether that holds.
fn signed(one: &Signing) -> Vec<(&'static str, Text)> {
    // A passkey that lets somebody in is asked without a name.
    let by = if one.by == "*" { "whoever the passkey is of" } else { &one.by };
    let verified = match one.is_verified {
        Some(true) => Text::of("yes: a PIN, a fingerprint or a face").toned(Tone::Good),
        Some(false) => Text::of("no").toned(Tone::Bad),
        None => Text::of(""),
    };
    let name = match (&one.passkey, one.is_verified) {
        (Some(name), _) => Text::of(name),
        (None, Some(_)) => Text::of("one that counts no more").toned(Tone::Warn),
        (None, None) => Text::of(""),
    };
    let checks = match &one.wrong {
        None => Text::of("yes, with the public key that stands in the entry").toned(Tone::Good),
        Some(why) => Text::of(format!("no: {why}")).toned(Tone::Bad),
    };
    let together = if one.together > 1 {
        Text::of(format!("{} requests by the same touch", one.together))
    } else {
        Text::of("")
    };
    vec![
        ("by", Text::of(by)),
        ("with", Text::of(&one.with)),
        ("passkey", name),
        ("at", Text::of(one.origin.as_deref().unwrap_or_default())),
        ("user verified", verified),
        ("counter", Text::of(one.counter.map(|count| count.to_string()).unwrap_or_default())),
        ("covers", together),
        ("verifies", checks),
        ("signed was", Text::of("exactly the text below")),
    ]
}
