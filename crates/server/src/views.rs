//! The nouns as JSON. Lists are `{schema, <nouns>: [...]}`; ids are plain strings; times are RFC 3339 in UTC.

use keywright_broker::DryRun;
use keywright_broker::denied::Denied;
use keywright_broker::find::{self, Answer, Found};
use keywright_broker::guards::CheckedTemplate;
use keywright_broker::review::Pending;
use keywright_broker::trace::{KeySummary, Trace};
use keywright_core::audit::Entry;
use keywright_core::drain::Verdict;
use keywright_core::id::VersionId;
use keywright_core::key::{Placement, PlacementState, Version};
use keywright_core::name::OperatorName;
use keywright_core::policy::{CaseResult, Effect};
use keywright_core::provider::ParentHealth;
use keywright_core::receipt::Receipt;
use keywright_ledger::{Agent, AppliedPolicy, AppliedTemplate, Connection, Drain, Telling, Workload};
use serde_json::{Value, json};

/// Puts a schema on an object that has none.
#[must_use]
pub fn with_schema(schema: &str, mut value: Value) -> Value {
    if let Some(object) = value.as_object_mut() {
        object.insert("schema".to_owned(), json!(schema));
    }
    value
}

/// A receipt.
#[must_use]
pub fn receipt(receipt: &Receipt) -> Value {
    serde_json::to_value(receipt).unwrap_or_default()
}

/// What would happen, and what policy says to it.
#[must_use]
pub fn dry_run(run: &DryRun) -> Value {
    let (effect, needed) = match run.decision.effect {
        Effect::Allow => ("allow", 0),
        Effect::NeedsApprovals(n) => ("needs_approvals", n),
        Effect::Deny => ("deny", 0),
    };
    json!({
        "schema": "keywright/plan/1",
        "plan": run.plan,
        "digest": run.digest.to_string(),
        "decision": {
            "effect": effect,
            "approvals_needed": needed,
            "policies": run.decision.policies,
            "reasons": run.decision.reasons,
            "alternative": run.alternative,
        },
        "unlocks": run.plan.unlocks,
        "mutating": run.plan.mutating,
    })
}

/// Connections, without their credentials.
#[must_use]
pub fn connections(connections: &[Connection]) -> Value {
    let all: Vec<Value> = connections
        .iter()
        .map(|c| {
            json!({
                "name": c.name, "kind": c.kind, "account": c.account, "base_url": c.base_url,
                "added_at": c.added_at.to_string(),
            })
        })
        .collect();
    json!({ "schema": "keywright/providers/1", "providers": all })
}

/// How a connection is doing.
#[must_use]
pub fn connection_health(name: &str, health: &ParentHealth) -> Value {
    json!({
        "schema": "keywright/provider/1",
        "name": name,
        "usable": true,
        "credential": health.what,
        "expires_at": health.expires_at.map(|at| at.to_string()),
        "keys": health.quota.map(|(used, _)| used),
        "keys_at_most": health.quota.map(|(_, most)| most),
        "warnings": health.warnings,
    })
}

/// A template as lists show it.
fn template_line(applied: &AppliedTemplate, approvals: Option<u8>) -> Value {
    let template = &applied.resolved.template;
    let parameters: Vec<Value> = template
        .parameters
        .iter()
        .map(|(name, p)| {
            let required = p.default.is_none() && !(p.kind.ends_with(".account") && p.allow.is_none());
            json!({ "name": name, "kind": p.kind, "allow": p.allow, "default": p.default, "required": required })
        })
        .collect();
    let names: Vec<&str> = applied.resolved.permissions.iter().map(|p| p.name.as_str()).collect();
    let destinations: Vec<String> = template.limits.destinations.iter().map(ToString::to_string).collect();
    let mut line = json!({
        "id": template.id,
        "title": template.title,
        "provider": template.provider,
        "tier": template.tier,
        "version": applied.version,
        "permissions": names,
        "parameters": parameters,
        "limits": {
            "ttl_default": template.default_ttl().to_string(),
            "ttl_max": template.limits.ttl_max.to_string(),
            "destinations": destinations,
            "ip_allow": template.limits.ip_allow,
            "budget_usd": template.limits.budget_usd,
        },
        "unlocks": applied.resolved.unlocks,
        "mutating": applied.resolved.mutating,
        "needs": template.operations.len(),
    });
    if let (Some(object), Some(needed)) = (line.as_object_mut(), approvals) {
        object.insert("approvals_needed".to_owned(), json!(needed));
    }
    line
}

/// The templates in force.
#[must_use]
pub fn templates(templates: &[AppliedTemplate]) -> Value {
    let all: Vec<Value> = templates.iter().map(|t| template_line(t, None)).collect();
    json!({ "schema": "keywright/templates/1", "templates": all })
}

/// Each template with what became wider of it since it was applied, where something did.
#[must_use]
pub fn with_held(mut value: Value, held: impl Fn(&str) -> Option<String>) -> Value {
    let mark = |template: &mut Value| {
        let why = template.get("id").and_then(Value::as_str).and_then(&held);
        if let (Some(object), Some(why)) = (template.as_object_mut(), why) {
            object.insert("held".to_owned(), json!(why));
        }
    };
    match value.get_mut("templates").and_then(Value::as_array_mut) {
        Some(templates) => templates.iter_mut().for_each(mark),
        None => mark(&mut value),
    }
    value
}

/// The templates that an agent may use, with the approvals that a plain ask would need.
#[must_use]
pub fn usable(templates: &[(AppliedTemplate, Option<u8>)]) -> Value {
    let all: Vec<Value> = templates.iter().map(|(t, approvals)| template_line(t, *approvals)).collect();
    json!({ "schema": "keywright/templates/1", "templates": all })
}

/// Those of the templates whose id, title or permissions hold any of the words, the best first; all without words.
#[must_use]
pub fn matching(
    templates: Vec<(AppliedTemplate, Option<u8>)>,
    query: Option<&str>,
) -> Vec<(AppliedTemplate, Option<u8>)> {
    let query = query.unwrap_or_default().to_lowercase();
    let words: Vec<&str> = query.split(|c: char| !c.is_alphanumeric()).filter(|w| w.len() > 1).collect();
    if words.is_empty() {
        return templates;
    }
    let score = |t: &AppliedTemplate| {
        let template = &t.resolved.template;
        let mut text = format!("{} {}", template.id, template.title).to_lowercase();
        for permission in &t.resolved.permissions {
            text.push(' ');
            text.push_str(&permission.name.to_lowercase());
        }
        words.iter().filter(|word| text.contains(**word)).count()
    };
    let mut scored: Vec<_> =
        templates.into_iter().map(|t| (score(&t.0), t)).filter(|(s, _)| *s > 0).collect();
    scored.sort_by_key(|(score, _)| std::cmp::Reverse(*score));
    scored.into_iter().take(20).map(|(_, t)| t).collect()
}

/// One template in force, whole.
#[must_use]
pub fn template(applied: &AppliedTemplate) -> Value {
    let mut line = template_line(applied, None);
    if let Some(object) = line.as_object_mut() {
        object.insert("schema".to_owned(), json!("keywright/template/1"));
        object.insert("permissions".to_owned(), json!(applied.resolved.permissions));
        object.insert("operations".to_owned(), json!(applied.resolved.template.operations));
        object.insert("rotation".to_owned(), json!(applied.resolved.template.rotation));
        object.insert("escalation".to_owned(), json!(applied.resolved.escalation));
        object.insert("applied_by".to_owned(), json!(applied.applied_by));
        object.insert("applied_at".to_owned(), json!(applied.applied_at.to_string()));
        object.insert("source".to_owned(), json!(applied.source));
    }
    line
}

/// A template that was checked, and its version once it was applied.
#[must_use]
pub fn checked(checked: &CheckedTemplate, version: Option<u64>) -> Value {
    json!({
        "schema": "keywright/template-check/1",
        "id": checked.resolved.template.id,
        "title": checked.resolved.template.title,
        "permissions": checked.resolved.permissions,
        "escalation": checked.resolved.escalation,
        "unlocks": checked.resolved.unlocks,
        "mutating": checked.resolved.mutating,
        "needs": checked.resolved.template.operations.len(),
        "narrower": checked.narrower,
        "warnings": checked.warnings,
        "version": version,
    })
}

/// The policy in force.
#[must_use]
pub fn policy(policy: &AppliedPolicy) -> Value {
    json!({
        "schema": "keywright/policy/1",
        "version": policy.version,
        "applied_by": policy.applied_by,
        "applied_at": policy.applied_at.to_string(),
        "source": policy.source,
    })
}

/// How the cases of a policy test went.
#[must_use]
pub fn policy_test(results: &[CaseResult]) -> Value {
    let cases: Vec<Value> = results
        .iter()
        .map(|r| json!({ "name": r.name, "passed": r.passed(), "expected": r.expected.to_string(), "got": r.decision.effect.to_string(), "reasons": r.decision.reasons }))
        .collect();
    let failed = results.iter().filter(|r| !r.passed()).count();
    json!({ "schema": "keywright/policy-test/1", "cases": cases, "failed": failed })
}

/// The operators.
#[must_use]
pub fn operators(operators: &[(OperatorName, jiff::Timestamp)]) -> Value {
    let all: Vec<Value> =
        operators.iter().map(|(name, at)| json!({ "name": name, "added_at": at.to_string() })).collect();
    json!({ "schema": "keywright/operators/1", "operators": all })
}

/// The agents.
#[must_use]
pub fn agents(agents: &[Agent]) -> Value {
    let all: Vec<Value> = agents
        .iter()
        .map(|a| json!({ "name": a.name, "added_by": a.added_by, "added_at": a.added_at.to_string() }))
        .collect();
    json!({ "schema": "keywright/agents/1", "agents": all })
}

/// The workloads.
#[must_use]
pub fn workloads(workloads: &[Workload]) -> Value {
    let all: Vec<Value> = workloads
        .iter()
        .map(|w| {
            json!({
                "name": w.name, "project": w.project, "environment": w.environment,
                "added_by": w.added_by, "added_at": w.added_at.to_string(),
            })
        })
        .collect();
    json!({ "schema": "keywright/workloads/1", "workloads": all })
}

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
        entries,
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
    json!({
        "schema": "keywright/trace/1",
        "key": {
            "id": key.id, "name": key.name, "project": key.project, "environment": key.environment,
            "provider": key.provider, "connection": key.connection, "template": key.template,
            "state": key.state.as_str(), "created_at": key.created_at.to_string(),
        },
        "under_way": saga.as_ref().map(|saga| json!({
            "what": saga.kind.as_str(), "request": saga.request,
            "phase": saga.phase.to_string(), "tries": saga.tries, "trouble": saga.trouble,
        })),
        "reasons": request.reasons,
        "asked_by": request.plan.principal,
        "asked_at": request.created_at.to_string(),
        "purpose": request.plan.purpose.to_string(),
        "prompt": request.prompt.as_deref().map(keywright_core::text::escaped),
        "claimed": request.claimed,
        "decided_by": request.policies,
        "plan_digest": request.digest.to_string(),
        "approvals_needed": request.approvals_needed,
        "approved_by": approvers(entries),
        "permissions": plan.permissions,
        "resources": plan.resources,
        "unlocks": plan.unlocks,
        "mutating": plan.mutating,
        "rotation": plan.rotation, "ending": plan.ending,
        "rotates_at": rotates_at.map(|at| at.to_string()), "rotate_tries": rotate_tries,
        "drains": drains.iter().map(|(drain, judged)| drained(drain, judged.as_ref())).collect::<Vec<_>>(),
        "told": tellings.iter().map(telling).collect::<Vec<_>>(),
        "versions": versions.iter().map(|one| version(one, holders)).collect::<Vec<_>>(),
        "placements": placements.iter().map(placement).collect::<Vec<_>>(),
        "open": open,
        "revocations": debts,
        "entries": entries,
    })
}

/// Entries of the audit log.
#[must_use]
pub fn entries(entries: &[Entry]) -> Value {
    json!({ "schema": "keywright/entries/1", "entries": entries })
}

/// Something in the inbox.
#[must_use]
pub fn pending(pending: &Pending) -> Value {
    with_schema("keywright/review/1", serde_json::to_value(pending).unwrap_or_default())
}

/// Permissions and templates that match some words.
#[must_use]
pub fn found(found: &[Found], templates: &[(AppliedTemplate, Option<u8>)]) -> Value {
    let lines: Vec<Value> = templates.iter().map(|(t, approvals)| template_line(t, *approvals)).collect();
    json!({ "schema": "keywright/permissions/1", "permissions": found, "templates": lines })
}

/// An answer to plain words or operations, with the templates that would serve: those that open each operation, or, where no
/// operation is known, those that match the words.
#[must_use]
pub fn plain_answer(
    answer: &Answer<'_>,
    intent: Option<&str>,
    templates: Vec<(AppliedTemplate, Option<u8>)>,
) -> Value {
    let serving: Vec<_> = if answer.operations.is_empty() {
        matching(templates, intent)
    } else {
        let opens = |t: &AppliedTemplate| {
            let held: Vec<&str> = t.resolved.permissions.iter().map(|p| p.id.as_str()).collect();
            t.resolved.template.provider.as_str() == answer.provider
                && find::opens(answer.provider, &held, &answer.operations)
        };
        let mut serving: Vec<_> = templates.into_iter().filter(|(t, _)| opens(t)).collect();
        // The narrowest first.
        serving.sort_by_key(|(t, _)| (t.resolved.mutating, t.resolved.unlocks));
        serving
    };
    let serving: Vec<Value> =
        serving.iter().take(20).map(|(t, approvals)| template_line(t, *approvals)).collect();
    let mut value = plan_answer(answer);
    if let Some(object) = value.as_object_mut() {
        object.insert("templates".to_owned(), json!(serving));
    }
    value
}

/// What a provider lists now, against the catalog.
#[must_use]
pub fn refreshed(connection: &str, listed: &keywright_broker::drift::Listed) -> Value {
    let mut value =
        with_schema("keywright/catalog-refresh/1", serde_json::to_value(listed).unwrap_or_default());
    if let Some(object) = value.as_object_mut() {
        object.insert("connection".to_owned(), json!(connection));
    }
    value
}

/// What a key lacks for some operations.
#[must_use]
pub fn denied(denied: &Denied) -> Value {
    with_schema("keywright/denied/1", serde_json::to_value(denied).unwrap_or_default())
}

/// An answer to plain words or operations.
#[must_use]
pub fn plan_answer(answer: &Answer<'_>) -> Value {
    serde_json::to_value(answer).unwrap_or_default()
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
        "disabled_at": time(drain.disabled_at), "word": drain.word.as_deref().map(keywright_core::text::escaped),
    })
}

/// Who was told of a successor, or has to be.
fn telling(telling: &Telling) -> Value {
    json!({
        "consumer": telling.consumer, "id": telling.id, "state": telling.state.as_str(), "tries": telling.tries,
        "told_at": telling.told_at.map(|at| at.to_string()), "due_at": telling.due_at.to_string(),
        "at": telling.at.to_string(),
        "trouble": telling.trouble.as_deref().map(keywright_core::text::escaped),
    })
}

fn placement(placement: &Placement) -> Value {
    json!({
        "place": placement.destination.place.to_string(), "base": placement.destination.base,
        "state": placement.state.as_str(), "verified": placement.verified.map(|mode| mode.as_str()),
    })
}
