//! The guard rails in force: templates with what they open, and the policy.

use std::sync::Arc;

use axum::extract::{Path, State};
use axum::response::Response;
use keywright_broker::{BrokerError, Code};
use keywright_core::name::AgentName;
use keywright_core::policy::Effect;
use keywright_core::text::escaped;
use keywright_ledger::AppliedTemplate;

use super::super::Door;
use super::super::session::Looks;
use super::agents::{USABLE, says};
use super::parts::{Part, Shown, Table, Text, Tone};
use super::{Page, failed};

/// So many agents are asked about.
const AGENTS: usize = 50;

fn opens(one: &AppliedTemplate) -> Text {
    match (one.resolved.unlocks, one.resolved.mutating) {
        (0, _) => Text::of("not known").toned(Tone::Warn),
        (all, 0) => Text::of(format!("{all}, all of them read")).toned(Tone::Good),
        (all, mutating) => Text::of(format!("{all}, {mutating} change something")).toned(Tone::Warn),
    }
}

pub(crate) async fn list(State(door): State<Arc<Door>>, Looks(operator): Looks) -> Response {
    let templates = match door.broker.templates().await {
        Ok(templates) => templates,
        Err(error) => return failed("templates", &operator, error),
    };
    let unconnected = match door.broker.unconnected_of(&templates).await {
        Ok(unconnected) => unconnected,
        Err(error) => return failed("templates", &operator, error),
    };
    let now = door.broker.now();
    let row = |one: &AppliedTemplate| {
        let template = &one.resolved.template;
        let id = template.id.as_str();
        let (provider, name) = id.split_once('/').unwrap_or((id, ""));
        let state = match (door.broker.held(id), unconnected.contains_key(id)) {
            (Some(_), _) => Text::of("held").toned(Tone::Bad),
            (None, true) => Text::of("names a connection that is not there").toned(Tone::Warn),
            (None, false) => Text::of("in force").toned(Tone::Good),
        };
        vec![
            Text::of(id).to(&["templates", provider, name]),
            Text::of(&template.title),
            Text::of(template.tier.as_str()),
            opens(one),
            Text::of(format!("at most {}", template.limits.ttl_max)),
            state,
            Text::at(one.applied_at, now),
        ]
    };
    let table = Table {
        header: vec!["template", "what for", "tier", "operations", "lives", "state", "applied"],
        rows: templates.iter().map(row).collect(),
        empty: "No templates are in force: `keywright template apply cloudflare/dns-edit`.",
    };
    Page::new("templates", "Templates", &operator)
        .with(Part::More("/policy".to_owned(), "the policy in force"))
        .with(Part::Table(table))
        .answer(&door, &operator)
        .await
}

pub(crate) async fn one(
    State(door): State<Arc<Door>>,
    Looks(operator): Looks,
    Path((provider, name)): Path<(String, String)>,
) -> Response {
    let id = format!("{provider}/{name}");
    let found = match door.broker.templates().await {
        Ok(all) => all.into_iter().find(|one| one.resolved.template.id.as_str() == id),
        Err(error) => return failed("templates", &operator, error),
    };
    let Some(one) = found else {
        let message = format!("no template `{}` is in force", escaped(&id));
        return failed("templates", &operator, BrokerError::new(Code::NotFound, message));
    };
    let unconnected = match door.broker.unconnected_of(std::slice::from_ref(&one)).await {
        Ok(unconnected) => unconnected,
        Err(error) => return failed("templates", &operator, error),
    };
    let users = match door.broker.used_by(&one, AGENTS).await {
        Ok(users) => users,
        Err(error) => return failed("templates", &operator, error),
    };
    let now = door.broker.now();
    let template = &one.resolved.template;
    let is_held = door.broker.held(&id).is_some();
    let user = |(name, dev, production): &(AgentName, Effect, Effect)| {
        vec![Text::of(name.as_str()).to(&["agents", name.as_str()]), says(*dev), says(*production)]
    };
    let may = Table {
        header: vec!["agent", "in dev", "in production"],
        rows: users.iter().filter(|_| !is_held).map(user).collect(),
        empty: "Nobody at present.",
    };
    let names: Vec<&str> = one.resolved.permissions.iter().map(|one| one.name.as_str()).collect();
    let places: Vec<String> = template.limits.destinations.iter().map(ToString::to_string).collect();
    let mut page = Page::new("templates", &id, &operator).with(Part::facts(vec![
        ("what for", Text::of(&template.title)),
        ("tier", Text::of(template.tier.as_str())),
        ("may", Text::of(names.join(", "))),
        ("operations", opens(&one)),
        ("lives", Text::of(format!("at most {}", template.limits.ttl_max))),
        ("goes to", Text::of(places.join(", "))),
        ("version", Text::of(one.version.to_string())),
        ("applied by", Text::of(one.applied_by.as_str())),
        ("applied", Text::at(one.applied_at, now)),
    ]));
    if let Some(why) = door.broker.held(&id) {
        page = page.with(Part::Note(
            Shown::of(format!("It makes no key until it is applied again: {why}")),
            Tone::Bad,
        ));
    }
    for said in unconnected.values() {
        page = page.with(Part::Note(Shown::of(format!("As things are, {said}.")), Tone::Warn));
    }
    for said in door.broker.wider_of(&one.resolved) {
        page = page.with(Part::Note(Shown::of(said), Tone::Warn));
    }
    page.with(Part::heading("who may ask for it, by policy"))
        .with(Part::Table(may))
        .with(Part::Note(Shown::of(USABLE), Tone::Plain))
        .with(Part::heading("the file"))
        .with(Part::source(&one.source))
        .answer(&door, &operator)
        .await
}

pub(crate) async fn policy(State(door): State<Arc<Door>>, Looks(operator): Looks) -> Response {
    let policy = match door.broker.policy().await {
        Ok(policy) => policy,
        Err(error) => return failed("templates", &operator, error),
    };
    Page::new("templates", "The policy in force", &operator)
        .with(Part::facts(vec![
            ("version", Text::of(policy.version.to_string())),
            ("applied by", Text::of(policy.applied_by.as_str())),
            ("applied", Text::at(policy.applied_at, door.broker.now())),
        ]))
        .with(Part::source(&policy.source))
        .answer(&door, &operator)
        .await
}
