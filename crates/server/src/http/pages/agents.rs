//! Agents: what each asked for, and what came of it.

use std::sync::Arc;

use axum::extract::{Path, Query, State};
use axum::response::Response;
use keywright_broker::trace::Glance;
use keywright_broker::usable::MayUse;
use keywright_broker::{BrokerError, Code};
use keywright_core::name::AgentName;
use keywright_core::policy::Effect;
use keywright_core::receipt::Status;
use serde::Deserialize;

use super::super::Door;
use super::super::session::Looks;
use super::grants::standing;
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

/// What can be done to it, by a touch.
fn deeds(name: &str, is_there: bool, is_paused: bool) -> Vec<Deed> {
    let deed = |act, label, says, tone, asks, command: String| Deed {
        act,
        field: "agent",
        of: Shown::of(name),
        label: Shown::of(label),
        says,
        tone,
        asks,
        command: Shown::of(command),
    };
    let mut deeds = Vec::new();
    if is_there && is_paused {
        let command = format!("keywright agent resume {name}");
        deeds.push(deed("resume", "Resume", "It may ask again.", Tone::Plain, "", command));
    } else if is_there {
        let command = format!("keywright agent pause {name} --reason TEXT");
        let says = "What it asks for is refused, until somebody resumes it. Its keys live on.";
        deeds.push(deed("pause", "Pause", says, Tone::Warn, "reason", command));
    }
    let command = format!("keywright agent revoke-all {name} --reason TEXT");
    let says = "Every key that it asked for is revoked, what waits is turned down, and it is paused.";
    deeds.push(deed("revoke_all", "Revoke everything", says, Tone::Bad, "reason", command));
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

pub(crate) async fn one(
    State(door): State<Arc<Door>>,
    Looks(operator): Looks,
    Path(name): Path<String>,
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
            Text::of(keywright_broker::review::stands(request.status)).toned(of_status(request.status)),
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
        let said = format!("by {}, {}{why}", paused.by, crate::when::away(paused.at, now));
        facts.push(("paused", Text::of(said).toned(Tone::Bad)));
    }
    facts.push(("spent", spending(done.spent, now)));
    let page = Page::new("agents", format!("agent {name}"), &operator)
        .with(Part::facts(facts))
        .with(super::deeds(&door, &operator, deeds(name.as_str(), is_there, paused.is_some())).await)
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
