//! Agents: what each asked for, and what came of it.

use std::sync::Arc;

use axum::extract::{Path, Query, State};
use axum::response::Response;
use keywright_core::name::AgentName;
use keywright_core::receipt::Status;
use serde::Deserialize;

use super::super::Door;
use super::super::session::Looks;
use super::grants::standing;
use super::keys::{spending, table};
use super::parts::{Deed, Part, Shown, Table, Text, Tone};
use super::{Page, ROWS, failed};

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
    let now = door.broker.now();
    let row = |agent: &keywright_ledger::Agent| {
        vec![
            Text::of(agent.name.as_str()).to(&["agents", agent.name.as_str()]),
            match door.broker.paused(&agent.name) {
                Some(_) => Text::of("paused").toned(Tone::Bad),
                None => Text::of("may ask").toned(Tone::Good),
            },
            Text::of(agent.added_by.as_str()),
            Text::at(agent.added_at, now),
        ]
    };
    let table = Table {
        header: vec!["agent", "state", "added by", "added"],
        rows: agents.iter().map(row).collect(),
        empty: "No agents yet: `keywright agent add NAME --token-file FILE`.",
    };
    let mut page = Page::new("agents", "Agents", &operator).with(Part::Table(table));
    if let Some(last) = agents.last().filter(|_| is_more) {
        page = page.with(Part::More(format!("/agents?after={}", last.name), "more"));
    }
    page.answer(&door).await
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
        label,
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
        Ok::<_, keywright_broker::BrokerError>((name, known, done, grants))
    };
    let (name, known, done, grants) = match found.await {
        Ok(found) => found,
        Err(error) => return failed("agents", &operator, error),
    };
    let now = door.broker.now();
    let row = |request: &keywright_ledger::Request| {
        vec![
            Text::of(request.plan.name.as_str()).to(&["r", &request.id.to_string()]),
            Text::of(request.plan.template.to_string()),
            Text::of(format!("{} / {}", request.plan.project, request.plan.environment)),
            Text::of(request.status.to_string()).toned(of_status(request.status)),
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
    let [approved, how_it_ends] = standing(&grants, now);
    Page::new("agents", format!("agent {name}"), &operator)
        .with(Part::facts(facts))
        .with(Part::Deeds(deeds(name.as_str(), is_there, paused.is_some())))
        .with(Part::heading("keys that live"))
        .with(Part::Table(table(&done.keys, now)))
        .with(Part::heading("approved in advance"))
        .with(approved)
        .with(how_it_ends)
        .with(Part::heading("what it asked for last"))
        .with(Part::Table(asked))
        .answer(&door)
        .await
}
