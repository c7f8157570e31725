//! Keys: which there are, and the whole life of one.

use std::sync::Arc;

use axum::extract::{Path, Query, State};
use axum::response::Response;
use jiff::Timestamp;
use keywright_broker::BrokerError;
use keywright_broker::spend::Spent;
use keywright_broker::timeline::{Moment, timeline};
use keywright_broker::trace::{KeySummary, Life, Trace};
use keywright_core::audit::Deed;
use keywright_core::drain::Verdict;
use keywright_core::id::KeyId;
use keywright_core::key::{KeyState, VersionState};
use keywright_core::name::{AgentName, ProjectName};
use keywright_core::plan::Principal;
use keywright_ledger::{KeysSought, Stands};
use serde::Deserialize;

use super::super::Door;
use super::super::session::Looks;
use super::approvals::approval;
use super::parts::{Deed as Doing, Field, Part, Shown, Table, Text, Told, Tone, with_query};
use super::{Page, ROWS, failed};

/// How many moments of a key's life its page tells.
const MOMENTS: usize = 100;

/// From where on, and which, as somebody typed it.
#[derive(Deserialize, Default)]
#[serde(default)]
pub(crate) struct Which {
    after: String,
    q: String,
    state: String,
    project: String,
    agent: String,
}

impl Which {
    /// What is looked for; and what of it can't be read, in words.
    fn sought(&self) -> (KeysSought, Vec<String>) {
        let mut wrong = Vec::new();
        let mut kept = |error: String| wrong.push(error);
        let (project, agent) = (self.project.trim(), self.agent.trim());
        let stands = STATES.iter().find(|(name, ..)| *name == self.state).and_then(|(.., stands)| *stands);
        let project = (!project.is_empty()).then(|| ProjectName::parse(project));
        let agent = (!agent.is_empty()).then(|| AgentName::parse(agent));
        let sought = KeysSought {
            part: self.q.trim().to_owned(),
            stands,
            project: project.and_then(|one| one.map_err(|error| kept(error.to_string())).ok()),
            agent: agent.and_then(|one| one.map_err(|error| kept(error.to_string())).ok()),
            before: KeyId::parse(&self.after).ok(),
        };
        (sought, wrong)
    }

    fn fields(&self) -> Vec<Field> {
        let states = STATES.iter().map(|(name, words, _)| (*name, *words)).collect();
        vec![
            Field::text("q", "find", self.q.trim(), "a part of a name, or an id"),
            Field::choice("state", "state", &self.state, states),
            Field::text("project", "project", self.project.trim(), "web"),
            Field::text("agent", "asked by", self.agent.trim(), "an agent"),
        ]
    }
}

/// What can be asked for, with its words.
const STATES: [(&str, &str, Option<Stands>); 9] = [
    ("", "any", None),
    ("active", "active", Some(Stands::In(KeyState::Active))),
    ("owed", "a revocation is owed", Some(Stands::Owed)),
    ("late", "an old version lives too long", Some(Stands::Late)),
    ("failing", "could not be rotated", Some(Stands::Failing)),
    ("off", "switched off", Some(Stands::Off)),
    ("minting", "being made", Some(Stands::In(KeyState::Minting))),
    ("revoked", "revoked", Some(Stands::In(KeyState::Revoked))),
    ("failed", "failed", Some(Stands::In(KeyState::Failed))),
];

fn tone(state: KeyState) -> Tone {
    match state {
        KeyState::Active => Tone::Good,
        KeyState::Failed => Tone::Bad,
        KeyState::Minting | KeyState::Revoking | KeyState::Revoked => Tone::Plain,
    }
}

fn row(one: &KeySummary, now: Timestamp) -> Vec<Text> {
    let key = &one.key;
    let (state, tone) = match (one.debt, one.disabled_at) {
        (true, _) => ("revocation owed".to_owned(), Tone::Bad),
        (false, Some(_)) => ("switched off".to_owned(), Tone::Warn),
        (false, None) => (key.state.to_string(), tone(key.state)),
    };
    let by = key.agent.as_ref().map_or_else(
        || Text::of("an operator"),
        |name| Text::of(name.as_str()).to(&["agents", name.as_str()]),
    );
    vec![
        Text::of(key.name.as_str()).to(&["keys", &key.id.to_string()]),
        Text::of(format!("{} / {}", key.project, key.environment)),
        Text::of(key.template.to_string()),
        by,
        Text::of(state).toned(tone),
        ends(one, now),
        one.life.as_ref().map_or_else(|| Text::of(""), |life| rotation(life, now)),
        match one.life.as_ref().and_then(|life| life.read_at) {
            Some(at) => Text::at(at, now).within("read ", ""),
            None => Text::of("not read"),
        },
        match one.life.as_ref().and_then(|life| life.used_at) {
            Some(at) => Text::at(at, now),
            None => Text::of(""),
        },
        Text::of(
            one.life
                .as_ref()
                .and_then(|life| life.spent)
                .map_or_else(String::new, |spent| spent.usage.to_string()),
        ),
        Text::at(key.created_at, now),
    ]
}

/// When it ends by itself: nothing of one that ended, or that was never made.
fn ends(one: &KeySummary, now: Timestamp) -> Text {
    let version =
        one.version.as_ref().filter(|_| !matches!(one.key.state, KeyState::Failed | KeyState::Revoked));
    match version.map(|version| version.expires_at) {
        None => Text::of(""),
        Some(None) => Text::of("never").toned(Tone::Warn),
        Some(Some(at)) => Text::at(at, now),
    }
}

/// Where its rotation stands.
fn rotation(life: &Life, now: Timestamp) -> Text {
    match life.rotates_at {
        _ if life.is_rotating => Text::of("under way").toned(Tone::Warn),
        Some(_) if life.tries > 0 => Text::of(format!("failed {} times", life.tries)).toned(Tone::Bad),
        Some(at) => Text::at(at, now).within("rotates ", ""),
        None => Text::of("by hand"),
    }
}

pub(super) fn table(keys: &[KeySummary], now: Timestamp) -> Table {
    Table {
        header: vec![
            "key",
            "for",
            "template",
            "asked by",
            "state",
            "expires",
            "rotation",
            "last read",
            "last used",
            "spent",
            "made",
        ],
        rows: keys.iter().map(|one| row(one, now)).collect(),
        empty: "No such keys.",
    }
}

pub(crate) async fn list(
    State(door): State<Arc<Door>>,
    Looks(operator): Looks,
    Query(which): Query<Which>,
) -> Response {
    let (sought, wrong) = which.sought();
    let found = if wrong.is_empty() { door.broker.keys_part(sought, ROWS).await } else { Ok(Vec::new()) };
    let keys = match found {
        Ok(keys) => keys,
        Err(error) => return failed("keys", &operator, error),
    };
    let mut page = Page::new("keys", "Keys", &operator).with(Part::Filters("/keys", which.fields()));
    page = wrong.iter().fold(page, |page, why| page.with(Part::Note(Shown::of(why), Tone::Warn)));
    page = page.with(Part::Table(table(&keys, door.broker.now())));
    if let Some(last) = keys.last().filter(|_| u32::try_from(keys.len()).is_ok_and(|count| count >= ROWS)) {
        let after = last.key.id.to_string();
        let pairs = [
            ("q", which.q.trim()),
            ("state", &which.state),
            ("project", which.project.trim()),
            ("agent", which.agent.trim()),
            ("after", &after),
        ];
        page = page.with(Part::More(with_query("/keys", &pairs), "older"));
    }
    page.answer(&door, &operator).await
}

pub(crate) async fn one(
    State(door): State<Arc<Door>>,
    Looks(operator): Looks,
    Path(key): Path<String>,
) -> Response {
    let caller = Principal::Operator(operator.clone());
    let trace = match door.broker.key(&caller, &key).await {
        Ok(trace) => trace,
        Err(error) => return failed("keys", &operator, error),
    };
    let spent = match door.broker.spent_by_key(&trace.key).await {
        Ok(spent) => spent,
        Err(error) => return failed("keys", &operator, error),
    };
    let approved = match approved(&door, &trace).await {
        Ok(approved) => approved,
        Err(error) => return failed("keys", &operator, error),
    };
    let now = door.broker.now();
    let key = &trace.key;
    let mut page = super::edited(Page::new("keys", key.name.as_str(), &operator), &trace.edited)
        .with(facts(&trace, spent, &approved, now))
        .with(Part::heading("versions"))
        .with(versions(&trace, now))
        .with(Part::heading("places"))
        .with(places(&trace));
    if !trace.drains.is_empty() {
        page = page.with(Part::heading("the old ones")).with(drains(&trace, now));
    }
    let moments = timeline(&trace.entries, &trace.versions);
    let newest = moments.iter().rev().take(MOMENTS).map(|moment| told(moment, now)).collect();
    page = page.with(Part::heading("its life, newest first")).with(Part::Moments(newest));
    page = page.with(Part::More(format!("/audit?q={}", key.id), "every entry about it"));
    let deeds = deeds(&trace);
    if !deeds.is_empty() {
        page = page.with(Part::heading("what you can do")).with(super::deeds(&door, &operator, deeds).await);
    }
    page.answer(&door, &operator).await
}

/// Who approved it: when, and with what.
async fn approved(door: &Door, trace: &Trace) -> Result<Vec<Text>, BrokerError> {
    let mut all = Vec::new();
    for entry in trace.entries.iter().filter(|entry| entry.record().deed == Deed::ApprovalGive) {
        all.push(approval(door, entry).await?);
    }
    Ok(all)
}

/// Something that happened to it.
fn told(moment: &Moment, now: Timestamp) -> Told {
    let times = if moment.times > 1 { format!(", {} times in a row", moment.times) } else { String::new() };
    let signed = if moment.is_signed { ", signed" } else { "" };
    Told {
        at: Text::at(moment.at, now),
        what: Text::of(format!("{}{times}", moment.what)).toned(moment.tone.into()),
        said: moment.said.as_deref().map_or_else(|| Shown::of(""), Shown::said),
        who: Shown::of(format!("{}{signed}", moment.who)),
        entry: Text::of(&moment.entry).to(&["audit", &moment.entry]),
    }
}

/// What was spent, and when that was counted.
pub(super) fn spending(spent: Option<Spent>, now: Timestamp) -> Text {
    let Some(spent) = spent else { return Text::of("not counted by its provider") };
    Text::at(spent.counted_at, now).within(format!("{} (counted ", spent.usage), ")")
}

fn facts(trace: &Trace, spent: Option<Spent>, approved: &[Text], now: Timestamp) -> Part {
    let (key, plan) = (&trace.key, &trace.plan);
    let named = |names: Vec<&str>| names.join(", ");
    let state =
        if trace.disabled_at.is_some() { "active, switched off".to_owned() } else { key.state.to_string() };
    let owed = trace.revocations.iter().filter(|one| one.done_at.is_none()).count();
    let by = match &trace.request.plan.principal {
        Principal::Agent(name) => Text::of(format!("agent {name}")).to(&["agents", name.as_str()]),
        other => Text::of(other.to_string()),
    };
    let rotates = trace.rotates_at.map_or_else(|| Text::of(""), |at| Text::at(at, now));
    let approvals = approved.iter().enumerate();
    let approvals = approvals.map(|(at, one)| (if at == 0 { "approved by" } else { "" }, one.clone()));
    let mut facts = vec![
        (
            "state",
            Text::of(state).toned(if trace.disabled_at.is_some() { Tone::Warn } else { tone(key.state) }),
        ),
        (
            "owed",
            Text::of(if owed > 0 { format!("{owed} revocations") } else { String::new() }).toned(Tone::Bad),
        ),
        ("for", Text::of(format!("{} / {}", key.project, key.environment))),
        ("made at", Text::of(format!("{} ({})", key.connection, key.provider))),
        ("template", Text::of(format!("{} (version {})", plan.template, plan.template_version))),
        ("may", Text::of(named(plan.permissions.iter().map(|one| one.name.as_str()).collect()))),
        ("on", Text::of(named(plan.resources.iter().map(|one| one.name.as_str()).collect()))),
        ("asked by", by),
        ("asked", Text::at(trace.request.created_at, now).to(&["r", &trace.request.id.to_string()])),
        ("why", Text { text: Shown::said(trace.request.plan.purpose.raw()), ..Text::of("") }),
        ("decided by", Text::of(trace.request.policies.join(", "))),
        ("rotates", rotates),
        ("spent", spending(spent, now)),
        ("cap", Text::of(plan.budget_cents.map_or_else(String::new, dollars))),
        (
            "under way",
            Text::of(
                trace
                    .saga
                    .as_ref()
                    .map(|saga| format!("{}: {}", saga.kind.as_str(), saga.phase))
                    .unwrap_or_default(),
            )
            .toned(Tone::Warn),
        ),
        ("open", Text::of(trace.open.join("; ")).toned(Tone::Warn)),
        ("id", Text::of(key.id.to_string())),
    ];
    let place = facts.iter().position(|(label, _)| *label == "decided by").map_or(0, |at| at + 1);
    facts.splice(place..place, approvals);
    Part::facts(facts)
}

fn versions(trace: &Trace, now: Timestamp) -> Part {
    let row = |version: &keywright_core::key::Version| {
        let tone = match version.state {
            VersionState::Active => Tone::Good,
            VersionState::Draining => Tone::Warn,
            _ => Tone::Plain,
        };
        let holders = trace.holders.iter().find(|(id, _)| *id == version.id).map_or(0, |(_, count)| *count);
        vec![
            Text::of(version.number.to_string()),
            Text::of(version.state.to_string()).toned(tone),
            version.expires_at.map_or_else(|| Text::of("never"), |at| Text::at(at, now)),
            Text::of(if holders > 0 { holders.to_string() } else { String::new() }),
            Text::of(&version.provider_key_id),
        ]
    };
    Part::Table(Table {
        header: vec!["version", "state", "expires", "programs", "the provider's id"],
        rows: trace.versions.iter().rev().map(row).collect(),
        empty: "None was made yet.",
    })
}

fn places(trace: &Trace) -> Part {
    let row = |one: &keywright_core::key::Placement| {
        let number =
            trace.versions.iter().find(|version| version.id == one.version).map(|version| version.number);
        vec![
            Text::of(one.destination.place.to_string()),
            Text::of(number.map(|number| number.to_string()).unwrap_or_default()),
            Text::of(one.state.as_str()),
            Text::of(one.verified.map(|how| how.as_str()).unwrap_or_default()),
        ]
    };
    Part::Table(Table {
        header: vec!["place", "version", "state", "verified"],
        rows: trace.placements.iter().rev().map(row).collect(),
        empty: "It lies nowhere.",
    })
}

fn drains(trace: &Trace, now: Timestamp) -> Part {
    let row = |(drain, judged): &(keywright_ledger::Drain, Option<Verdict>)| {
        let number =
            trace.versions.iter().find(|version| version.id == drain.version).map(|version| version.number);
        let seen = drain.observed.last_used_at;
        vec![
            Text::of(number.map(|number| number.to_string()).unwrap_or_default()),
            Text::at(drain.observed.since, now),
            seen.map_or_else(|| Text::of("not seen"), |at| Text::at(at, now)),
            judged.map_or_else(|| Text::of("the provider can't be asked"), |verdict| follows(verdict, now)),
            Text::of(drain.word.as_deref().unwrap_or_default()),
        ]
    };
    Part::Table(Table {
        header: vec!["version", "replaced", "last used", "what follows", "an operator's word"],
        rows: trace.drains.iter().map(row).collect(),
        empty: "",
    })
}

/// What follows from what was seen of an old version.
fn follows(verdict: Verdict, now: Timestamp) -> Text {
    match verdict {
        Verdict::Idle { .. } => Text::of("idle: it may end").toned(Tone::Good),
        Verdict::NotYet { last_sign: Some(_), idle_at } => {
            Text::at(idle_at, now).within("in use; idle ", " at the earliest").toned(Tone::Warn)
        }
        Verdict::NotYet { last_sign: None, idle_at } => {
            Text::at(idle_at, now).within("quiet so far; idle ", " at the earliest")
        }
        Verdict::Unknowable { .. } => Text::of("nobody can know whether it is used").toned(Tone::Warn),
    }
}

fn dollars(cents: u64) -> String {
    format!("{}.{:02} US dollars, kept by the provider", cents / 100, cents % 100)
}

/// What can be done to it now, by a touch.
fn deeds(trace: &Trace) -> Vec<Doing> {
    let id = trace.key.id.to_string();
    let deed = |act, label, says: &str, tone, command: String| Doing {
        act,
        field: "key",
        of: Shown::of(&id),
        label: Shown::of(label),
        says: Shown::of(says),
        tone,
        asks: "reason",
        command: Shown::of(command),
    };
    let mut deeds = Vec::new();
    if trace.key.state != KeyState::Active {
        return deeds;
    }
    let switched = trace.saga.as_ref().is_some_and(|saga| saga.phase.has_switched());
    if trace.disabled_at.is_some() {
        let command = format!("keywright key enable {id} --reason TEXT");
        deeds.push(deed("enable", "Switch on", "Lets it work again, at once.", Tone::Plain, command));
    } else {
        let command = format!("keywright key rotate {id}");
        let says = "Makes a successor and places it; the old one ends once nobody uses it.";
        deeds.push(deed("rotate", "Rotate", says, Tone::Plain, command));
        let command = format!("keywright key rotate {id} --leaked --reason TEXT");
        let says = "Makes a successor; the old one ends as soon as that is in force, used or not.";
        deeds.push(deed("rotate_leaked", "Replace: it leaked", says, Tone::Bad, command));
        let command = format!("keywright key disable {id} --reason TEXT");
        let says = "Stops it from working; it can be switched on again. Not every provider has that.";
        deeds.push(deed("disable", "Switch off", says, Tone::Warn, command));
    }
    if switched {
        let command = format!("keywright key rotate {id} --end-old --reason TEXT");
        let says = "Ends the version before now, whoever uses it.";
        deeds.push(deed("end_old", "End the old one", says, Tone::Bad, command));
    }
    let command = format!("keywright key revoke {id} --reason TEXT");
    deeds.push(deed("revoke", "Revoke", "Ends it for good, whoever uses it.", Tone::Bad, command));
    deeds
}
