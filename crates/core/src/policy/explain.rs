//! A decision in words, for `policy explain`.

use super::decision::{Decision, Effect, people};
use super::{Question, Subject};
use crate::text::{Untrusted, escaped};

/// The lines that tell what was asked, what came of it and why.
#[must_use]
pub fn explain(decision: &Decision, question: &Question) -> Vec<String> {
    let mut lines = vec![question.to_string()];
    lines.extend(asked(question));
    lines.push(match decision.effect {
        Effect::Allow => "it is allowed".to_owned(),
        Effect::NeedsApprovals(n) => format!("it needs {}", people(n)),
        Effect::Deny => "it is denied".to_owned(),
    });
    lines.extend(decision.reasons.iter().map(|reason| format!("  because {}", escaped(reason))));
    if !decision.policies.is_empty() {
        lines.push(format!("  decided by {}", decision.policies.join(", ")));
    }
    lines
}

fn asked(question: &Question) -> Vec<String> {
    let mut lines = Vec::new();
    if let Subject::Key(key) = &question.subject {
        let agent =
            key.agent.as_ref().map_or_else(|| "no agent".to_owned(), |agent| format!("agent {agent}"));
        lines.push(format!(
            "  made from template `{}` ({} tier) for {agent}",
            key.template,
            key.tier.as_str()
        ));
    }
    if let Some(ask) = &question.ask {
        let places: Vec<_> = ask.destinations.iter().map(ToString::to_string).collect();
        lines.push(format!("  lifetime {}, destinations: {}", ask.ttl, list(&places)));
        let parameters: Vec<_> = ask
            .parameters
            .iter()
            .map(|(name, value)| format!("{}={}", escaped(name), Untrusted::capped(value, 120)))
            .collect();
        lines.push(format!("  parameters: {}", list(&parameters)));
        if let Some(cents) = ask.budget_cents {
            lines.push(format!("  budget: {}.{:02} US dollars", cents / 100, cents % 100));
        }
    }
    lines.push(format!(
        "  active keys: {}, requests in the last hour: {}",
        question.counts.keys_active, question.counts.requests_last_hour
    ));
    lines
}

fn list(items: &[String]) -> String {
    if items.is_empty() { "none".to_owned() } else { items.join(", ") }
}
