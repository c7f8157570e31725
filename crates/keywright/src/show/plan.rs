//! Plans for people: everything that will happen, and nothing that an agent wrote without quotes around it.

use owo_colors::OwoColorize as _;
use serde_json::Value;

use super::facts::Facts;
use super::receipt::{permission, resource};
use super::{count, field, items, joined, number, outside};

/// What is shown of somebody else's words, in characters; what is left out is counted, outside of the quotation.
pub(crate) const SAID: usize = 2_000;

/// The facts of a plan.
pub(crate) fn facts(plan: &Value) -> Facts {
    let principal = plan.get("principal").cloned().unwrap_or_default();
    let parameters = plan.get("parameters").and_then(Value::as_object);
    let parameters = parameters
        .into_iter()
        .flatten()
        .map(|(name, value)| format!("{} = {}", outside(name), quoted(value.as_str().unwrap_or_default())));
    let budget = plan.get("budget_cents").and_then(Value::as_u64);
    let rotation = plan.get("rotation").filter(|rotation| !rotation.is_null());
    Facts::new()
        .add("key", field(plan, "name").bold().to_string())
        .add("asked by", format!("{} {}", field(&principal, "kind"), field(&principal, "name")))
        .add("for", format!("{} / {}", field(plan, "project"), field(plan, "environment")))
        .add(
            "template",
            format!(
                "{} (version {}, {})",
                field(plan, "template"),
                number(plan, "template_version"),
                field(plan, "tier")
            ),
        )
        .add("made at", format!("{} ({})", field(plan, "connection"), field(plan, "provider")))
        .all("may", items(plan, "permissions").iter().map(permission))
        .add("left out", joined(plan, "withheld"))
        .all("on", items(plan, "resources").iter().map(resource))
        .all("asked for", parameters)
        .add("unlocks", unlocks(plan))
        .add("lives", field(plan, "ttl"))
        .all("goes to", items(plan, "destinations").iter().map(destination))
        .add("only from", joined(plan, "ip_allow"))
        .add(
            "budget",
            budget.map_or_else(String::new, |cents| format!("{}.{:02} US dollars", cents / 100, cents % 100)),
        )
        .add(
            "rotates",
            rotation.map_or_else(String::new, |rotation| format!("every {}", field(rotation, "every"))),
        )
        .add(
            "the old one",
            match (field(plan, "rotates").as_str(), field(plan, "ending").as_str()) {
                ("", _) => String::new(),
                (key, "kept") => {
                    format!("({key}) is kept until an operator ends it, or the next rotation is due")
                }
                (key, "leaked") => {
                    format!("({key}) leaked: it ends as soon as the new one is in force, used or not")
                }
                (key, _) => format!("({key}) is replaced, and ends once nobody uses it"),
            },
        )
        .add("purpose", said(plan, "purpose"))
}

/// Somebody else's words, in quotes that nothing within can end, with whatever steers a terminal escaped.
pub(crate) fn quoted(text: &str) -> String {
    quoted_of(text, SAID)
}

/// The same, of any length.
pub(crate) fn quoted_of(text: &str, most: usize) -> String {
    let shown: String = text.chars().take(most).collect();
    match text.chars().count().saturating_sub(most) {
        0 => keywright_core::text::quoted(&shown),
        left_out => format!("{} … {left_out} more characters", keywright_core::text::quoted(&shown)),
    }
}

/// A field that holds somebody else's words.
pub(crate) fn said(value: &Value, name: &str) -> String {
    value.get(name).and_then(Value::as_str).filter(|text| !text.is_empty()).map_or_else(String::new, quoted)
}

/// A dry run: the plan and what policy says to it.
pub(crate) fn dry_run(run: &Value) -> String {
    let plan = run.get("plan").cloned().unwrap_or_default();
    let decision = run.get("decision").cloned().unwrap_or_default();
    let verdict = match field(&decision, "effect").as_str() {
        "allow" => "would be made".green().to_string(),
        "deny" => "would be denied".red().to_string(),
        _ => {
            let needed = number(&decision, "approvals_needed");
            format!("would need {}", count(needed, "approval", "approvals")).yellow().to_string()
        }
    };
    let facts = facts(&plan)
        .all("because", items(&decision, "reasons").iter().filter_map(Value::as_str).map(outside))
        .add("instead", field(&decision, "alternative"));
    format!("{verdict}\n{}", facts.render())
}

fn destination(destination: &Value) -> String {
    let place = destination.get("place").cloned().unwrap_or_default();
    let place = format!("{}:{}", field(&place, "store"), field(&place, "place"));
    match field(destination, "base") {
        base if base.is_empty() => place,
        base => format!("{place} (from {base})"),
    }
}

/// What a template or plan reaches, in operations of the vendor's API.
pub(crate) fn unlocks(of: &Value) -> String {
    let (all, mutating) = (number(of, "unlocks"), number(of, "mutating"));
    if all == 0 {
        return "not known: the vendor does not say which operations each permission allows".to_owned();
    }
    let needs = match number(of, "needs") {
        0 => String::new(),
        needs => format!("; the job needs {needs}"),
    };
    format!("{}, {mutating} of them change something{needs}", count(all, "operation", "operations"))
}
