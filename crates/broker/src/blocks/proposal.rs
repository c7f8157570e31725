//! The blocks of a template that an agent proposes.

use keywright_core::text::Untrusted;

use super::{Block, Lines, Title, Tone, permissions, unlocks};
use crate::differs::Difference;
use crate::guards::check_template;
use crate::review::Proposed;

/// The blocks of a proposed template.
pub(crate) fn of_proposal(proposed: &Proposed) -> Vec<Block> {
    let who = Lines::new().add("proposed by", format!("agent {}, by its token", proposed.agent));
    let replaces = proposed.replaces.map(|version| format!("version {version}, which is in force"));
    let same = proposed.replaces.is_some() && proposed.differs.is_empty();
    let mut what = Lines::new()
        .add("template", proposed.template.clone())
        .add("replaces", replaces.unwrap_or_default())
        .all("changes", proposed.differs.iter().map(difference))
        .add("changes", if same { "nothing that is enforced" } else { "" });
    let mut evidence = Lines::new();
    match check_template(proposed.source.raw()) {
        Ok(checked) => {
            let (resolved, template) = (&checked.resolved, &checked.resolved.template);
            let limits = &template.limits;
            what = what
                .add("provider", template.provider.to_string())
                .add("tier", template.tier.as_str())
                .all(
                    "may",
                    permissions(template.provider.as_str(), &resolved.permissions, &resolved.escalation),
                )
                .all("unlocks", [unlocks(resolved.unlocks, resolved.mutating, 0)])
                .plain("asks for", template.parameters.iter().map(|(name, one)| parameter(name, one)))
                .add("lives", format!("at most {}", limits.ttl_max))
                .add(
                    "rotates",
                    template.rotation.as_ref().map(|one| format!("every {}", one.every)).unwrap_or_default(),
                )
                .plain("only from", limits.ip_allow.iter().cloned())
                .plain("goes to", limits.destinations.iter().map(ToString::to_string));
            evidence = evidence
                .all("look at", checked.warnings.iter().map(|one| (one.clone(), Tone::Warn)))
                .plain("narrower", checked.narrower.iter().cloned());
        }
        Err(error) => evidence = evidence.toned("can't be applied", error.message, Tone::Bad),
    }
    let why = Lines::new().said("why", proposed.why.raw());
    let evidence = evidence
        .toned("held", proposed.held.clone().unwrap_or_default(), Tone::Bad)
        .add(
            "decided",
            proposed
                .decided_by
                .as_ref()
                .map(|by| format!("{} by operator {by}", proposed.status))
                .unwrap_or_default(),
        )
        .said("because", proposed.reason.as_ref().map(Untrusted::raw).unwrap_or_default())
        .time("proposed", proposed.created_at);
    [(Title::Who, who), (Title::What, what), (Title::Why, why), (Title::Evidence, evidence)]
        .into_iter()
        .filter_map(|(title, lines)| lines.block(title))
        .collect()
}

/// A parameter with the values that may be asked for.
fn parameter(name: &str, one: &keywright_core::template::Parameter) -> String {
    match &one.allow {
        Some(allowed) => format!("{name} ({}), one of: {}", one.kind, allowed.join(", ")),
        None => format!("{name} ({}), any that the connection reaches", one.kind),
    }
}

/// What goes, what comes, what becomes another.
fn difference(one: &Difference) -> (String, Tone) {
    let what = &one.what;
    match (&one.before, &one.after) {
        (Some(before), Some(after)) => {
            (format!("~ {what}: {} is now {}", before.raw(), after.raw()), Tone::Warn)
        }
        (Some(before), None) => (format!("- {what}: {}", before.raw()), Tone::Good),
        (None, after) => {
            let after = after.as_ref().map(Untrusted::raw).unwrap_or_default();
            (format!("+ {what}: {after}"), Tone::Warn)
        }
    }
}
