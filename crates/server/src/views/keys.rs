//! Keys as JSON: those that are managed, those that nobody manages, and what they cost.

use std::collections::BTreeMap;

use keywright_broker::adopt::{MAY, ON};
use keywright_broker::inventory::Inventory;
use keywright_broker::spend::Spend;
use keywright_broker::timeline::{Moment, timeline};
use keywright_broker::trace::{KeySummary, Trace};
use keywright_core::audit::{Deed, Entry};
use keywright_core::drain::Verdict;
use keywright_core::id::VersionId;
use keywright_core::key::{Placement, PlacementState, Version};
use keywright_core::name::ConnectionName;
use keywright_core::text::escaped;
use keywright_ledger::{Drain, Telling};
use serde_json::{Map, Value, json};

/// Keys without secrets.
#[must_use]
pub fn keys(keys: &[KeySummary]) -> Value {
    let all: Vec<Value> = keys
        .iter()
        .map(|summary| {
            let key = &summary.key;
            let lies = |p: &&Placement| {
                let gone = [PlacementState::Removed, PlacementState::Left, PlacementState::Rejected];
                p.state != PlacementState::Unwanted && !gone.contains(&p.state)
            };
            let placed: Vec<String> =
                summary.placements.iter().filter(lies).map(|p| p.destination.place.to_string()).collect();
            json!({
                "id": key.id, "name": key.name, "project": key.project, "environment": key.environment,
                "provider": key.provider, "template": key.template, "agent": key.agent,
                "state": key.state.as_str(), "created_at": key.created_at.to_string(),
                "expires_at": summary.version.as_ref().and_then(|v| v.expires_at).map(|at| at.to_string()),
                "placements": placed, "debt": summary.debt,
                "disabled_at": summary.disabled_at.map(|at| at.to_string()),
            })
        })
        .collect();
    json!({ "schema": "keywright/keys/1", "keys": all })
}

/// Everything about one key.
#[must_use]
pub fn trace(trace: &Trace) -> Value {
    let Trace {
        key,
        request,
        plan,
        versions,
        placements,
        open,
        revocations,
        saga,
        drains,
        holders,
        tellings,
        rotates_at,
        rotate_tries,
        rotate_trouble,
        disabled_at,
        entries,
        edited,
    } = trace;
    let debts: Vec<Value> = revocations
        .iter()
        .map(|r| {
            json!({
                "owed_since": r.owed_since.to_string(), "reason": r.reason, "tries": r.tries, "trouble": r.trouble,
                "done_at": r.done_at.map(|at| at.to_string()),
            })
        })
        .collect();
    // Of a key that was made elsewhere the plan says what its successor may.
    let theirs =
        entries.iter().map(Entry::record).rfind(|r| r.deed == Deed::KeyAdopt).filter(|_| plan.is_adoption());
    let fact = |name: &str| theirs.and_then(|record| record.facts.get(name)).cloned();
    let may = fact(MAY).unwrap_or_else(|| json!(plan.permissions));
    let on = fact(ON).unwrap_or_else(|| json!(plan.resources));
    let successor = (plan.is_adoption() && !plan.template.is_of_adopted())
        .then(|| json!({ "permissions": plan.permissions, "resources": plan.resources }));
    json!({
        "schema": "keywright/trace/1",
        "key": {
            "id": key.id, "name": key.name, "project": key.project, "environment": key.environment,
            "provider": key.provider, "connection": key.connection, "template": plan.template,
            "state": key.state.as_str(), "created_at": key.created_at.to_string(),
            "disabled_at": disabled_at.map(|at| at.to_string()),
        },
        "adopted": plan.adopts.as_ref().filter(|_| plan.is_adoption()),
        "under_way": saga.as_ref().map(|saga| json!({
            "what": saga.kind.as_str(), "request": saga.request,
            "phase": saga.phase.to_string(), "tries": saga.tries, "trouble": saga.trouble,
        })),
        "reasons": request.reasons,
        "asked_by": request.plan.principal,
        "asked_at": request.created_at.to_string(),
        "purpose": request.plan.purpose.to_string(),
        "prompt": request.prompt.as_deref().map(escaped),
        "claimed": request.claimed,
        "decided_by": request.policies,
        "plan_digest": request.digest.to_string(),
        "approvals_needed": request.approvals_needed,
        "approved_by": approvers(entries),
        "granted": granted(entries),
        "permissions": may,
        "resources": on,
        "successor": successor,
        "unlocks": plan.unlocks,
        "mutating": plan.mutating,
        "rotation": plan.rotation, "ending": plan.ending,
        "rotates_at": rotates_at.map(|at| at.to_string()), "rotate_tries": rotate_tries,
        "rotate_trouble": rotate_trouble.as_deref().map(escaped),
        "drains": drains.iter().map(|(drain, judged)| drained(drain, judged.as_ref())).collect::<Vec<_>>(),
        "told": tellings.iter().map(telling).collect::<Vec<_>>(),
        "versions": versions.iter().map(|one| version(one, holders)).collect::<Vec<_>>(),
        "placements": placements.iter().map(placement).collect::<Vec<_>>(),
        "open": open,
        "revocations": debts,
        "timeline": timeline(entries, versions).iter().map(moment).collect::<Vec<_>>(),
        "entries": entries, "edited": edited.iter().map(ToString::to_string).collect::<Vec<_>>(),
    })
}

/// Something that happened to a key.
fn moment(moment: &Moment) -> Value {
    json!({
        "at": moment.at.to_string(), "what": moment.what, "said": moment.said.as_deref().map(escaped),
        "tone": moment.tone, "who": moment.who, "signed": moment.is_signed, "entry": moment.entry, "times": moment.times,
    })
}

/// A key that has just come under management, with what its successor will differ in.
#[must_use]
pub fn adopted(key: &Trace, differences: &[String]) -> Value {
    let mut value = trace(key);
    if let Some(fields) = value.as_object_mut() {
        let said: Vec<String> = differences.iter().map(|one| escaped(one)).collect();
        fields.insert("differences".to_owned(), json!(said));
    }
    value
}

/// What keys used and cost.
#[must_use]
pub fn spend(by: &str, spend: &Spend) -> Value {
    let rows: Vec<Value> = spend
        .rows
        .iter()
        .map(|row| {
            json!({
                "name": escaped(&row.name), "keys": row.keys, "tokens": row.usage.tokens,
                "cost_microusd": row.usage.cost_microusd, "counted_at": row.counted_at.to_string(),
                "cost_unknown": row.cost_unknown, "tokens_unknown": row.tokens_unknown,
                "is_partial": row.is_partial,
            })
        })
        .collect();
    json!({
        "schema": "keywright/spend/1", "by": by, "since": spend.since.map(|at| at.to_string()), "rows": rows,
        "unmetered": spend.unmetered, "unread": unread(&spend.unread),
    })
}

fn unread(unread: &BTreeMap<ConnectionName, String>) -> Value {
    unread.iter().map(|(name, why)| (name.to_string(), json!(escaped(why)))).collect::<Map<_, _>>().into()
}

/// The credentials that nobody manages.
#[must_use]
pub fn unmanaged(inventory: &Inventory) -> Value {
    let time = |at: Option<jiff::Timestamp>| at.map(|at| at.to_string());
    let keys: Vec<Value> = inventory
        .keys
        .iter()
        .map(|key| {
            let resources = key.grant.iter().flat_map(|grant| &grant.resources);
            let resources: Vec<Value> =
                resources.map(|(kind, id)| json!({ "kind": escaped(kind), "id": escaped(id) })).collect();
            let odd = key.grant.iter().flat_map(|grant| &grant.not_understood);
            json!({
                "connection": key.connection, "provider_key_id": escaped(&key.listed.provider_key_id),
                "label": key.listed.label.to_string(), "enabled": key.listed.enabled,
                "created_at": time(key.listed.created_at), "last_used_at": time(key.listed.last_used_at),
                "expires_at": time(key.listed.expires_at), "permissions": key.permissions, "resources": resources,
                "not_understood": odd.map(ToString::to_string).collect::<Vec<_>>(),
                "risks": key.risks.iter().map(|risk| risk.as_str()).collect::<Vec<_>>(),
                "why": key.risks.iter().map(|risk| risk.words()).collect::<Vec<_>>(),
                "trouble": key.trouble.as_deref().map(escaped), "is_parent": key.is_parent,
                "is_marked": key.is_marked, "tells_use": key.tells_use,
            })
        })
        .collect();
    json!({
        "schema": "keywright/unmanaged/1", "keys": keys, "connections": inventory.connections,
        "unread": unread(&inventory.unread),
    })
}

/// The standing grant by which its request was approved, in words.
fn granted(entries: &[Entry]) -> Option<String> {
    let used = entries.iter().map(Entry::record).find(|record| record.deed == Deed::GrantUse)?;
    used.facts.get("because").and_then(Value::as_str).map(escaped)
}

fn approvers(entries: &[Entry]) -> Vec<String> {
    entries.iter().flat_map(|e| e.record().signatures.iter().map(|s| s.by.clone())).collect()
}

fn version(version: &Version, holders: &[(VersionId, usize)]) -> Value {
    let held_by = holders.iter().find(|(id, _)| *id == version.id).map_or(0, |(_, holders)| *holders);
    json!({
        "held_by": held_by,
        "id": version.id, "number": version.number, "state": version.state.as_str(),
        "provider_key_id": version.provider_key_id, "expires_at": version.expires_at.map(|at| at.to_string()),
    })
}

/// Who was told of a successor, or has to be.
fn telling(telling: &Telling) -> Value {
    json!({
        "consumer": telling.consumer, "id": telling.id, "state": telling.state.as_str(), "tries": telling.tries,
        "told_at": telling.told_at.map(|at| at.to_string()), "due_at": telling.due_at.to_string(),
        "at": telling.at.to_string(), "trouble": telling.trouble.as_deref().map(escaped),
    })
}

/// What is known of the use of a version that was replaced.
fn drained(drain: &Drain, judged: Option<&Verdict>) -> Value {
    let time = |at: Option<jiff::Timestamp>| at.map(|at| at.to_string());
    let seen = &drain.observed;
    let (verdict, idle_at) = match judged {
        Some(Verdict::Idle { .. }) => (Some("idle"), None),
        Some(Verdict::NotYet { last_sign: Some(_), idle_at }) => (Some("in_use"), Some(*idle_at)),
        Some(Verdict::NotYet { last_sign: None, idle_at }) => (Some("quiet_so_far"), Some(*idle_at)),
        Some(Verdict::Unknowable { .. }) => (Some("unknowable"), None),
        None => (None, None),
    };
    json!({
        "version": drain.version, "since": seen.since.to_string(), "verdict": verdict, "idle_at": time(idle_at),
        "looked_at": time(seen.looked_at), "last_used_at": time(seen.last_used_at),
        "last_sign": time(seen.last_sign()), "tokens": seen.usage.and_then(|u| u.tokens),
        "cost_microusd": seen.usage.and_then(|u| u.cost_microusd), "alerted_at": time(drain.alerted_at),
        "disabled_at": time(drain.disabled_at), "word": drain.word.as_deref().map(escaped),
    })
}

fn placement(placement: &Placement) -> Value {
    json!({
        "place": placement.destination.place.to_string(), "base": placement.destination.base,
        "state": placement.state.as_str(), "verified": placement.verified.map(|mode| mode.as_str()),
    })
}
