//! What a template would change that takes the place of another one.

use std::collections::BTreeSet;

use keywright_core::template::{Parameter, ResolvedTemplate, Rotation};
use keywright_core::text::Untrusted;
use serde::Serialize;

/// Where a template says nothing of networks.
pub(crate) const ANY_NETWORK: &str = "any network";
/// The most characters of a value that are told.
const MOST_SHOWN: usize = 300;

/// One thing that differs. What is only before goes, what is only after comes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Difference {
    /// Which part: `permission`, `ttl_max`, `parameter zone` ...
    pub what: String,
    /// As it is in force.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub before: Option<Untrusted>,
    /// As it would be.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub after: Option<Untrusted>,
}

/// What differs, the gravest first: permissions, then what they are confined to, how long, where to.
pub(crate) fn between(before: &ResolvedTemplate, after: &ResolvedTemplate) -> Vec<Difference> {
    let mut found = Vec::new();
    let permissions = |of: &ResolvedTemplate| -> BTreeSet<String> {
        of.permissions.iter().map(|one| format!("{} ({})", one.name, one.scope)).collect()
    };
    several("permission", &permissions(before), &permissions(after), &mut found);
    let keys = |of: &ResolvedTemplate| -> BTreeSet<String> {
        of.permissions
            .iter()
            .filter(|one| of.escalation.contains(&one.id))
            .map(|one| one.name.clone())
            .collect()
    };
    several("can make keys", &keys(before), &keys(after), &mut found);
    let (old, new) = (&before.template, &after.template);
    let names: BTreeSet<&String> = old.parameters.keys().chain(new.parameters.keys()).collect();
    for name in names {
        let said = |one: Option<&Parameter>| one.map(parameter);
        one(
            &format!("parameter {name}"),
            said(old.parameters.get(name)),
            said(new.parameters.get(name)),
            &mut found,
        );
    }
    let mut both =
        |what: &str, before: String, after: String| one(what, Some(before), Some(after), &mut found);
    both("ttl_max", old.limits.ttl_max.to_string(), new.limits.ttl_max.to_string());
    both("ttl_default", old.default_ttl().to_string(), new.default_ttl().to_string());
    both("tier", old.tier.as_str().to_owned(), new.tier.as_str().to_owned());
    both("only from", networks(&old.limits.ip_allow), networks(&new.limits.ip_allow));
    let set = |list: Vec<String>| list.into_iter().collect::<BTreeSet<String>>();
    let places = |of: &ResolvedTemplate| {
        set(of.template.limits.destinations.iter().map(ToString::to_string).collect())
    };
    several("destination", &places(before), &places(after), &mut found);
    let text = |of: Option<String>| of;
    let connection = |of: &ResolvedTemplate| of.template.connection.as_ref().map(ToString::to_string);
    one("connection", text(connection(before)), text(connection(after)), &mut found);
    let budget = |of: &ResolvedTemplate| {
        of.template.limits.budget_usd.map(|usd| format!("{}.{:02} US dollars", usd.0 / 100, usd.0 % 100))
    };
    one("budget", budget(before), budget(after), &mut found);
    let rotation = |of: &ResolvedTemplate| of.template.rotation.as_ref().map(rotation);
    one("rotation", rotation(before), rotation(after), &mut found);
    several("operation", &set(old.operations.clone()), &set(new.operations.clone()), &mut found);
    let unlocks =
        |of: &ResolvedTemplate| format!("{} operations, {} change something", of.unlocks, of.mutating);
    one("unlocks", Some(unlocks(before)), Some(unlocks(after)), &mut found);
    one("title", Some(old.title.clone()), Some(new.title.clone()), &mut found);
    found
}

/// What goes and what comes of a set.
fn several(what: &str, before: &BTreeSet<String>, after: &BTreeSet<String>, found: &mut Vec<Difference>) {
    for gone in before.difference(after) {
        one(what, Some(gone.clone()), None, found);
    }
    for new in after.difference(before) {
        one(what, None, Some(new.clone()), found);
    }
}

fn one(what: &str, before: Option<String>, after: Option<String>, found: &mut Vec<Difference>) {
    if before != after {
        let shown = |text: Option<String>| text.map(|text| Untrusted::capped(&text, MOST_SHOWN));
        found.push(Difference { what: what.to_owned(), before: shown(before), after: shown(after) });
    }
}

fn parameter(of: &Parameter) -> String {
    let allows = match of.allow.as_deref() {
        None => "allows whatever the connection reaches".to_owned(),
        Some([]) => "allows nothing".to_owned(),
        Some(values) => format!("allows {}", values.join(", ")),
    };
    let default = of.default.as_ref().map(|value| format!(", {value} unless said")).unwrap_or_default();
    format!("{}, {allows}{default}", of.kind)
}

fn networks(of: &[String]) -> String {
    if of.is_empty() { ANY_NETWORK.to_owned() } else { of.join(", ") }
}

fn rotation(of: &Rotation) -> String {
    let unknowable = serde_json::to_value(of.on_unknowable).ok();
    let unknowable = unknowable.as_ref().and_then(|word| word.as_str()).unwrap_or_default().to_owned();
    format!(
        "every {}, quiet for {}, at most {} side by side, {unknowable} where nobody can know",
        of.every, of.quiet_for, of.max_overlap
    )
}
