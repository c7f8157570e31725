//! Agents: what each asked for, and what came of it.

use std::sync::Arc;

use axum::extract::{Path, State};
use axum::response::Response;
use keywright_core::name::AgentName;
use keywright_core::receipt::Status;

use super::super::Door;
use super::super::session::Looks;
use super::keys::table;
use super::parts::{Part, Table, Text, Tone};
use super::{Page, ROWS, failed};

pub(crate) async fn list(State(door): State<Arc<Door>>, Looks(operator): Looks) -> Response {
    let agents = match door.broker.agents().await {
        Ok(agents) => agents,
        Err(error) => return failed("agents", &operator, error),
    };
    let now = door.broker.now();
    let row = |agent: &keywright_ledger::Agent| {
        vec![
            Text::of(agent.name.as_str()).to(&["agents", agent.name.as_str()]),
            Text::of(agent.added_by.as_str()),
            Text::at(agent.added_at, now),
        ]
    };
    let table = Table {
        header: vec!["agent", "added by", "added"],
        rows: agents.iter().map(row).collect(),
        empty: "No agents yet: `keywright agent add NAME --token-file FILE`.",
    };
    Page::new("agents", "Agents", &operator).with(Part::Table(table)).answer(&door).await
}

pub(super) fn of_status(status: Status) -> Tone {
    match status {
        Status::Active => Tone::Good,
        Status::PendingApproval | Status::InProgress => Tone::Warn,
        Status::Denied | Status::Rejected | Status::Failed => Tone::Bad,
        Status::Expired | Status::Revoked => Tone::Plain,
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
        let (requests, keys) = door.broker.done_by(&name, ROWS).await?;
        Ok::<_, keywright_broker::BrokerError>((name, known, requests, keys))
    };
    let (name, known, requests, keys) = match found.await {
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
        rows: requests.iter().map(row).collect(),
        empty: "It asked for nothing yet.",
    };
    let facts = match known {
        Some(agent) => {
            vec![("added by", Text::of(agent.added_by.as_str())), ("added", Text::at(agent.added_at, now))]
        }
        None => vec![("state", Text::of("removed: its token lets nobody in").toned(Tone::Warn))],
    };
    Page::new("agents", format!("agent {name}"), &operator)
        .with(Part::facts(facts))
        .with(Part::heading("keys that live"))
        .with(Part::Table(table(&keys, now)))
        .with(Part::heading("what it asked for last"))
        .with(Part::Table(asked))
        .answer(&door)
        .await
}
