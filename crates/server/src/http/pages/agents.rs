//! Agents: what each asked for, and what came of it.

use std::sync::Arc;

use axum::extract::{Path, Query, State};
use axum::response::Response;
use keywright_broker::log::{About, Sought};
use keywright_broker::trace::Glance;
use keywright_broker::usable::MayUse;
use keywright_broker::{BrokerError, Code};
use keywright_core::audit;
use keywright_core::name::AgentName;
use keywright_core::policy::Effect;
use keywright_core::receipt::Status;
use serde::Deserialize;

use super::super::Door;
use super::super::session::Looks;
use super::grants::{given, standing};
use super::keys::{spending, table};
use super::parts::{Deed, Part, Shown, Table, Text, Tone};
use super::{Page, ROWS, failed};

/// What the table of what an agent may ask for does not say.
pub(super) const USABLE: &str = "What policy says to a plain ask. Other parameters, a longer life or a busy hour may make it say something \
                      else: `keywright policy explain REQUEST` tells why.";

/// From where on.
#[derive(Deserialize)]
pub(crate) struct After {
    #[serde(default)]
    after: String,
}

pub(crate) async fn list(
    State(door): State<Arc<Door>>,
    Looks(operator): Looks,
    Query(After { after }): Query<After>,
) -> Response {
    let mut agents = match door.broker.agents().await {
        Ok(agents) => agents,
        Err(error) => return failed("agents", &operator, error),
    };
    // By name, and those of one page.
    agents.retain(|agent| agent.name.as_str() > after.as_str());
    let rows = usize::try_from(ROWS).unwrap_or(usize::MAX);
    let is_more = agents.len() > rows;
    agents.truncate(rows);
    let names = agents.iter().map(|agent| agent.name.clone()).collect();
    let at_a_glance = match door.broker.at_a_glance(names).await {
        Ok(all) => all,
        Err(error) => return failed("agents", &operator, error),
    };
    let now = door.broker.now();
    let row = |(agent, glance): (&keywright_ledger::Agent, &Glance)| {
        let waits = Text::of(glance.waits.to_string());
        vec![
            Text::of(agent.name.as_str()).to(&["agents", agent.name.as_str()]),
            match door.broker.paused(&agent.name) {
                Some(_) => Text::of("paused").toned(Tone::Bad),
                None => Text::of("may ask").toned(Tone::Good),
            },
            Text::of(&glance.keys),
            if glance.waits > 0 { waits.toned(Tone::Warn) } else { waits },
            Text::of(glance.spent.map_or_else(String::new, |spent| spent.usage.to_string())),
            glance.asked_at.map_or_else(|| Text::of("never"), |at| Text::at(at, now)),
            Text::of(agent.added_by.as_str()),
            Text::at(agent.added_at, now),
        ]
    };
    let table = Table {
        header: vec!["agent", "state", "keys", "waits", "spent", "last asked", "added by", "added"],
        rows: agents.iter().zip(&at_a_glance).map(row).collect(),
        empty: "No agents yet: `keywright agent add NAME --token-file FILE`.",
    };
    let mut page = Page::new("agents", "Agents", &operator).with(Part::Table(table));
    if let Some(last) = agents.last().filter(|_| is_more) {
        page = page.with(Part::More(format!("/agents?after={}", last.name), "more"));
    }
    page.answer(&door, &operator).await
}

pub(super) fn of_status(status: Status) -> Tone {
    match status {
        Status::Active => Tone::Good,
        Status::PendingApproval | Status::InProgress => Tone::Warn,
        Status::Denied | Status::Rejected | Status::Failed => Tone::Bad,
        Status::Expired | Status::Revoked => Tone::Plain,
    }
}

/// What an end of everything would end.
struct Ends {
    keys: usize,
    /// Whether there are more than that.
    is_more: bool,
    waits: usize,
    grants: usize,
}

impl Ends {
    fn says(&self) -> String {
        let more = if self.is_more { "more than " } else { "" };
        let mut all = Vec::new();
        match self.keys {
            0 => {}
            1 => all.push("revokes 1 key that it asked for".to_owned()),
            keys => all.push(format!("revokes {more}{keys} keys that it asked for")),
        }
        match self.waits {
            0 => {}
            1 => all.push("turns down 1 request that waits".to_owned()),
            waits => all.push(format!("turns down {waits} requests that wait")),
        }
        match self.grants {
            0 => {}
            1 => all.push("removes 1 grant".to_owned()),
            grants => all.push(format!("removes {grants} grants")),
        }
        let none = if self.keys == 0 { "No key of it lives. " } else { "" };
        all.push("pauses it".to_owned());
        let says = all.join(", ");
        let (first, rest) = says.split_at(1);
        format!("{none}{}{rest}.", first.to_uppercase())
    }
}

/// What can be done to it, by a touch.
fn deeds(name: &str, is_there: bool, is_paused: bool, ends: &Ends) -> Vec<Deed> {
    let deed = |act, label, says: &str, tone, asks, command: String| Deed {
        act,
        field: "agent",
        of: Shown::of(name),
        label: Shown::of(label),
        says: Shown::of(says),
        tone,
        asks,
        command: Shown::of(command),
    };
    let mut deeds = Vec::new();
    if is_there && is_paused {
        let command = format!("keywright agent resume {name}");
        deeds.push(deed("resume", "Resume", "Lets it ask again.", Tone::Plain, "", command));
    } else if is_there {
        let command = format!("keywright agent pause {name} --reason TEXT");
        let says = "Refuses what it asks for, until somebody resumes it. Its keys live on.";
        deeds.push(deed("pause", "Pause", says, Tone::Warn, "reason", command));
    }
    let command = format!("keywright agent revoke-all {name} --reason TEXT");
    let says = ends.says();
    deeds.push(deed("revoke_all", "Revoke everything", &says, Tone::Bad, "reason", command));
    deeds
}

/// What policy says to an ask.
pub(super) fn says(effect: Effect) -> Text {
    match effect {
        Effect::Allow => Text::of("at once").toned(Tone::Good),
        Effect::NeedsApprovals(1) => Text::of("after 1 approval").toned(Tone::Warn),
        Effect::NeedsApprovals(needed) => Text::of(format!("after {needed} approvals")).toned(Tone::Warn),
        Effect::Deny => Text::of("no"),
    }
}

/// What policy lets it ask for.
fn usable(may: &[MayUse]) -> Table {
    let row = |one: &MayUse| {
        let template = &one.template.template;
        let (provider, name) = template.id.as_str().split_once('/').unwrap_or((template.id.as_str(), ""));
        let names: Vec<&str> = one.template.permissions.iter().map(|one| one.name.as_str()).collect();
        vec![
            Text::of(template.id.as_str()).to(&["templates", provider, name]),
            Text::of(names.join(", ")),
            says(one.dev),
            says(one.production),
        ]
    };
    Table {
        header: vec!["template", "may", "in dev", "in production"],
        rows: may.iter().map(row).collect(),
        empty: "Nothing: no template is in force that policy lets it ask for.",
    }
}

/// What is older is not what the page was led here by.
const JUST_NOW: jiff::SignedDuration = jiff::SignedDuration::from_mins(10);

/// What was done before the page.
#[derive(Deserialize)]
pub(crate) struct Came {
    #[serde(default)]
    ended: String,
    #[serde(default)]
    granted: String,
}

/// What the last end of everything of an agent came to, as the log has it.
async fn what_ended(door: &Door, name: &AgentName) -> Option<Vec<Part>> {
    let sought = Sought {
        about: About::Anything,
        deed: Some(audit::Deed::AgentRevokeAll),
        who: None,
        went_well: None,
        from: None,
        to: None,
    };
    let found = door.broker.search_log(sought, None, 20).await.ok()?;
    let is_it = |entry: &&audit::Entry| {
        let record = entry.record();
        record.stage == audit::Stage::Outcome
            && record.subject.name.as_deref() == Some(name.as_str())
            && door.broker.now().duration_since(record.at) < JUST_NOW
            && !found.edited.contains(&entry.id())
    };
    let entry = found.entries.iter().find(is_it)?;
    let record = entry.record();
    let count = |fact: &str| record.facts.get(fact).and_then(|all| all.as_array()).map_or(0, Vec::len);
    let (revoked, owed, turned_down) = (count("revoked"), count("owed"), count("turned_down"));
    let counted = |count: usize, noun: &str| format!("{count} {noun}{}", if count == 1 { "" } else { "s" });
    let mut said = format!("{} revoked, and confirmed gone", counted(revoked, "key"));
    if owed > 0 {
        said.push_str(&format!(
            "; {} owed: it is tried until the provider confirms",
            counted(owed, "revocation")
        ));
    }
    said.push_str(&format!("; {} turned down", counted(turned_down, "request")));
    if door.broker.paused(name).is_some() {
        said.push_str("; the agent is paused");
    }
    let is_well = owed == 0 && record.result.as_ref().is_some_and(|outcome| outcome.ok);
    let tone = if is_well { Tone::Good } else { Tone::Warn };
    Some(vec![
        Part::Note(Shown::of(said), tone),
        Part::More(super::parts::path(&["audit", &entry.id().to_string()]), "its entry in the log"),
    ])
}

pub(crate) async fn one(
    State(door): State<Arc<Door>>,
    Looks(operator): Looks,
    Path(name): Path<String>,
    Query(Came { ended, granted }): Query<Came>,
) -> Response {
    let found = async {
        let name: AgentName = name.parse().map_err(keywright_broker::BrokerError::invalid)?;
        let known = door.broker.agents().await?.into_iter().find(|agent| agent.name == name);
        let done = door.broker.done_by(&name, ROWS).await?;
        let mut grants = door.broker.grants().await?;
        grants.retain(|one| one.grant.agent == name);
        let may = if known.is_some() { door.broker.may_use(&name).await? } else { Vec::new() };
        Ok::<_, keywright_broker::BrokerError>((name, known, done, grants, may))
    };
    let (name, known, done, grants, may) = match found.await {
        Ok(found) => found,
        Err(error) => return failed("agents", &operator, error),
    };
    let left_nothing = done.requests.is_empty() && done.keys.is_empty() && grants.is_empty();
    if known.is_none() && left_nothing && door.broker.paused(&name).is_none() {
        let message = format!("there is no agent `{name}`, and none is known to have been");
        return failed("agents", &operator, BrokerError::new(Code::NotFound, message));
    }
    let now = door.broker.now();
    let row = |request: &keywright_ledger::Request| {
        vec![
            Text::of(request.plan.name.as_str()).to(&["r", &request.id.to_string()]),
            Text::of(request.plan.template.to_string()),
            Text::of(format!("{} / {}", request.plan.project, request.plan.environment)),
            Text::of(keywright_broker::review::stands(request.status, request.approvals_needed))
                .toned(of_status(request.status)),
            Text::at(request.created_at, now),
        ]
    };
    let asked = Table {
        header: vec!["asked for", "template", "for", "came to", "when"],
        rows: done.requests.iter().map(row).collect(),
        empty: "It asked for nothing yet.",
    };
    let (paused, is_there) = (door.broker.paused(&name), known.is_some());
    let mut facts = match known {
        Some(agent) => {
            vec![("added by", Text::of(agent.added_by.as_str())), ("added", Text::at(agent.added_at, now))]
        }
        None => vec![("state", Text::of("removed: its token lets nobody in").toned(Tone::Warn))],
    };
    if let Some(paused) = &paused {
        let why = paused.reason.as_deref().map_or_else(String::new, |why| format!(": {why}"));
        let said = Text::at(paused.at, now).within(format!("by {}, ", paused.by), why);
        facts.push(("paused", said.toned(Tone::Bad)));
    }
    facts.push(("spent", spending(done.spent, now)));
    let rows = usize::try_from(ROWS).unwrap_or(usize::MAX);
    let ends = Ends {
        keys: done.keys.len(),
        is_more: done.keys.len() >= rows,
        waits: usize::try_from(done.waits).unwrap_or(usize::MAX),
        grants: grants.len(),
    };
    let mut came = Vec::new();
    if !ended.is_empty() {
        came = what_ended(&door, &name).await.unwrap_or_default();
    }
    if let Some(one) = grants.iter().find(|one| one.grant.id.to_string() == granted) {
        came.push(Part::Note(Shown::of(given(&one.grant, now)), Tone::Good));
    }
    let page = Page::new("agents", format!("agent {name}"), &operator);
    let page = came
        .into_iter()
        .fold(page, Page::with)
        .with(Part::facts(facts))
        .with(super::deeds(&door, &operator, deeds(name.as_str(), is_there, paused.is_some(), &ends)).await)
        .with(Part::heading("keys that live"))
        .with(Part::Table(table(&done.keys, now)))
        .with(Part::heading("may ask for, by policy"))
        .with(Part::Table(usable(&may)))
        .with(Part::Note(Shown::of(USABLE), Tone::Plain))
        .with(Part::heading("approved in advance"));
    let approved = standing(&door, &operator, &grants).await;
    approved
        .into_iter()
        .fold(page, Page::with)
        .with(Part::heading("what it asked for last"))
        .with(Part::Table(asked))
        .answer(&door, &operator)
        .await
}
