//! The nouns as JSON. Lists are `{schema, <nouns>: [...]}`; ids are plain strings; times are RFC 3339 in UTC.

use std::collections::BTreeMap;

use keywright_broker::denied::Denied;
use keywright_broker::find::{self, Found, Planned};
use keywright_broker::guards::CheckedTemplate;
use keywright_broker::log;
use keywright_broker::parent::Renewed;
use keywright_broker::passkey::PasskeyShown;
use keywright_broker::pause::Paused;
use keywright_broker::proposals::Stands;
use keywright_broker::review::Pending;
use keywright_broker::teardown::Teardown;
use keywright_broker::{Broker, DryRun};
use keywright_core::audit::{Entry, EntryId};
use keywright_core::id::RequestId;
use keywright_core::name::{AgentName, OperatorName};
use keywright_core::policy::{CaseResult, Effect};
use keywright_core::provider::ParentHealth;
use keywright_core::receipt::Receipt;
use keywright_ledger::{Agent, AppliedPolicy, AppliedTemplate, Connection, Workload};
use serde_json::{Value, json};

mod keys;

pub use keys::{adopted, keys, spend, trace, unmanaged};

/// Puts a schema on an object that has none.
#[must_use]
pub fn with_schema(schema: &str, mut value: Value) -> Value {
    if let Some(object) = value.as_object_mut() {
        object.insert("schema".to_owned(), json!(schema));
    }
    value
}

/// A proposal, as the agent is told how it stands.
#[must_use]
pub fn proposal(broker: &Broker, request: RequestId, stands: &Stands) -> Value {
    let mut value = json!({ "schema": "keywright/proposal/1", "request": request, "status": stands.state });
    let Some(object) = value.as_object_mut() else { return value };
    if stands.state == "pending" {
        object.insert("status".to_owned(), json!("pending_review"));
        object.insert(
            "review".to_owned(),
            json!(format!("an operator reviews it: keywright review show {request}")),
        );
        object.insert("match_code".to_owned(), json!(request.match_code()));
        if let Some(url) = broker.review_url(request) {
            object.insert("review_url".to_owned(), json!(url));
        }
    }
    if let Some(reason) = &stands.reason {
        object.insert("reasons".to_owned(), json!([reason]));
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
                "added_at": c.added_at.to_string(), "parent_since": c.parent_since().to_string(),
            })
        })
        .collect();
    json!({ "schema": "keywright/providers/1", "providers": all })
}

/// What came of giving a connection another parent credential.
#[must_use]
pub fn renewed(name: &str, renewed: &Renewed) -> Value {
    let mut shown = connection_health(name, &renewed.health);
    if let Some(fields) = shown.as_object_mut() {
        fields.insert("before".to_owned(), json!(renewed.before));
        fields.insert("before_is_gone".to_owned(), json!(renewed.before_is_gone));
        fields.insert("trouble".to_owned(), json!(renewed.trouble));
        fields.insert("notes".to_owned(), json!(renewed.notes));
    }
    shown
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

/// Each template with what is known to be wider of it than its numbers say, where something is.
#[must_use]
pub fn with_wider(mut value: Value, wider: &BTreeMap<String, Vec<String>>) -> Value {
    let mark = |template: &mut Value| {
        let said = template.get("id").and_then(Value::as_str).and_then(|id| wider.get(id));
        if let (Some(said), Some(object)) = (said.filter(|said| !said.is_empty()), template.as_object_mut()) {
            object.insert("wider".to_owned(), json!(said));
        }
    };
    match value.get_mut("templates").and_then(Value::as_array_mut) {
        Some(templates) => templates.iter_mut().for_each(mark),
        None => mark(&mut value),
    }
    value
}

/// Each template that names a connection which is not there, with that.
#[must_use]
pub fn with_unconnected(mut value: Value, said: &BTreeMap<String, String>) -> Value {
    let mark = |template: &mut Value| {
        let why = template.get("id").and_then(Value::as_str).and_then(|id| said.get(id));
        if let (Some(why), Some(object)) = (why, template.as_object_mut()) {
            object.insert("unconnected".to_owned(), json!(why));
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
pub fn agents(agents: &[Agent], paused: impl Fn(&AgentName) -> Option<Paused>) -> Value {
    let all: Vec<Value> = agents
        .iter()
        .map(|a| {
            json!({
                "name": a.name, "added_by": a.added_by, "added_at": a.added_at.to_string(), "paused": paused(&a.name),
            })
        })
        .collect();
    json!({ "schema": "keywright/agents/1", "agents": all })
}

/// What became of the keys of a project or an agent, which `noun` says.
#[must_use]
pub fn teardown(noun: &str, name: &str, torn: &Teardown) -> Value {
    let mut shown = with_schema("keywright/teardown/1", serde_json::to_value(torn).unwrap_or_default());
    if let Some(object) = shown.as_object_mut() {
        object.insert(noun.to_owned(), json!(name));
    }
    shown
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

/// Entries of the audit log.
#[must_use]
pub fn entries(entries: &[Entry]) -> Value {
    json!({ "schema": "keywright/entries/1", "entries": entries })
}

/// Entries that somebody looked for; and from where on to look for more.
#[must_use]
pub fn found_entries(found: &log::Found) -> Value {
    let mut value = entries(&found.entries);
    if let Some(object) = value.as_object_mut() {
        if let Some(older) = found.older {
            object.insert("before".to_owned(), json!(older));
        }
        if let Some(down_to) = found.down_to {
            object.insert("looked_down_to".to_owned(), json!(EntryId(down_to).to_string()));
        }
        if !found.edited.is_empty() {
            let edited: Vec<String> = found.edited.iter().map(ToString::to_string).collect();
            object.insert("edited".to_owned(), json!(edited));
        }
    }
    value
}

/// Something in the inbox.
#[must_use]
pub fn pending(pending: &Pending) -> Value {
    with_schema("keywright/review/1", serde_json::to_value(pending).unwrap_or_default())
}

/// Passkeys, without their keys.
#[must_use]
pub fn passkeys(passkeys: &[PasskeyShown], held: &[PasskeyShown]) -> Value {
    json!({ "schema": "keywright/passkeys/1", "passkeys": passkeys, "held": held })
}

/// Permissions and templates that match some words.
#[must_use]
pub fn found(found: &[Found], templates: &[(AppliedTemplate, Option<u8>)], note: Option<&str>) -> Value {
    let lines: Vec<Value> = templates.iter().map(|(t, approvals)| template_line(t, *approvals)).collect();
    let mut value = json!({ "schema": "keywright/permissions/1", "permissions": found, "templates": lines });
    if let (Some(object), Some(note)) = (value.as_object_mut(), note) {
        object.insert("note".to_owned(), json!(note));
    }
    value
}

/// An answer to plain words or operations, with the templates that would serve: those that open each operation, or, where no
/// operation is known, those that match the words.
#[must_use]
pub fn plain_answer(
    planned: &Planned,
    intent: Option<&str>,
    templates: Vec<(AppliedTemplate, Option<u8>)>,
) -> Value {
    let answer = &planned.answer;
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
    let mut value = plan_answer(planned);
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
pub fn plan_answer(planned: &Planned) -> Value {
    serde_json::to_value(planned).unwrap_or_default()
}
