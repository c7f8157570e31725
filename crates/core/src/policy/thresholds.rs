//! Thresholds that ask for nobody: a comparison of `context.approvals` with a number that comes out the same for every number of
//! people who can be asked. `>= 0` is an open door that looks like a lock, `>= 4` a door that nobody opens.

use cedar_policy::{ActionConstraint, EntityUid, Policy};
use serde_json::Value;

use super::Action;
use super::decision::MOST_APPROVALS;
use super::vocabulary::VOCABULARY;

/// A comparison that decides nothing.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Empty {
    /// As it reads with `context.approvals` on the left.
    pub(super) operator: &'static str,
    pub(super) number: i64,
    /// Whether it always holds.
    pub(super) always: bool,
}

/// Those of a policy. Cedar's own form of a policy in JSON is what is looked at: each operator is an object with its name.
///
/// # Errors
/// When Cedar can't give it in that form.
pub(super) fn empty(policy: &Policy) -> Result<Vec<Empty>, String> {
    let mut found = Vec::new();
    // Whoever approves is asked with the number that it needs, which is one at least.
    let least = u8::from(is_of_approvers(policy));
    look(&policy.to_json().map_err(|error| error.to_string())?, least, &mut found);
    Ok(found)
}

/// Whether a policy is about nothing but who may approve.
pub(super) fn is_of_approvers(policy: &Policy) -> bool {
    let is_it = |action: &EntityUid| VOCABULARY.action_of(action) == Some(Action::Approve);
    match policy.action_constraint() {
        ActionConstraint::Eq(action) => is_it(&action),
        ActionConstraint::In(actions) => !actions.is_empty() && actions.iter().all(is_it),
        ActionConstraint::Any => false,
    }
}

fn look(node: &Value, least: u8, found: &mut Vec<Empty>) {
    match node {
        Value::Object(fields) => {
            for (name, inner) in fields {
                found.extend(comparison(name, inner, least));
                look(inner, least, found);
            }
        }
        Value::Array(items) => items.iter().for_each(|item| look(item, least, found)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

fn comparison(name: &str, sides: &Value, least: u8) -> Option<Empty> {
    let (left, right) = (sides.get("left")?, sides.get("right")?);
    let (number, is_turned) = match (is_approvals(left), is_approvals(right)) {
        (true, false) => (number(right)?, false),
        (false, true) => (number(left)?, true),
        _ => return None,
    };
    let operator = match (name, is_turned) {
        ("==", _) => "==",
        ("!=", _) => "!=",
        ("<", false) | (">", true) => "<",
        ("<=", false) | (">=", true) => "<=",
        (">", false) | ("<", true) => ">",
        (">=", false) | ("<=", true) => ">=",
        _ => return None,
    };
    let holds = |given: i64| match operator {
        "==" => given == number,
        "!=" => given != number,
        "<" => given < number,
        "<=" => given <= number,
        ">" => given > number,
        _ => given >= number,
    };
    let mut outcomes = (i64::from(least)..=i64::from(MOST_APPROVALS)).map(holds);
    let always = outcomes.next()?;
    outcomes.all(|outcome| outcome == always).then_some(Empty { operator, number, always })
}

fn is_approvals(node: &Value) -> bool {
    let Some(access) = node.get(".") else { return false };
    access.get("attr").and_then(Value::as_str) == Some("approvals")
        && access.pointer("/left/Var").and_then(Value::as_str) == Some("context")
}

fn number(node: &Value) -> Option<i64> {
    match node.get("neg") {
        Some(negated) => number(negated.get("arg")?)?.checked_neg(),
        None => node.get("Value")?.as_i64(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(condition: &str) -> Vec<Empty> {
        let text = format!("permit (principal, action, resource) when {{ {condition} }};");
        empty(&Policy::parse(None, text).unwrap()).unwrap()
    }

    #[test]
    fn whoever_approves_is_asked_with_one_at_least() {
        let of = |condition: &str| {
            let text = format!(
                "forbid (principal, action == Keywright::Action::\"approve\", resource) when {{ {condition} }};"
            );
            empty(&Policy::parse(None, text).unwrap()).unwrap()
        };
        assert!(of("context.approvals >= 1").iter().all(|found| found.always));
        assert_eq!(of("context.approvals >= 1").len(), 1);
        assert!(of("context.approvals == 0").iter().all(|found| !found.always));
        assert_eq!(of("context.approvals == 0").len(), 1);
        assert_eq!(of("context.own && context.approvals == 1"), []);
        let listed = "forbid (principal, action in [Keywright::Action::\"approve\"], resource) when { context.approvals == 0 };";
        assert_eq!(empty(&Policy::parse(None, listed).unwrap()).unwrap().len(), 1);
    }

    #[test]
    fn what_asks_for_nobody_or_for_too_many_is_found_wherever_it_stands() {
        for (condition, operator, number, always) in [
            ("context.approvals >= 0", ">=", 0, true),
            ("context[\"approvals\"] >= 0", ">=", 0, true),
            ("0 <= context.approvals", ">=", 0, true),
            ("context[\"approv\\u{61}ls\"] >= 0", ">=", 0, true),
            ("context.approvals > -1", ">", -1, true),
            ("context.approvals != 7", "!=", 7, true),
            ("context.approvals >= 4", ">=", 4, false),
            ("context.approvals < 0", "<", 0, false),
            ("!(context.approvals < 0)", "<", 0, false),
            ("if context.approvals >= 0 then true else context.ttl_seconds > 3", ">=", 0, true),
        ] {
            assert_eq!(of(condition), [Empty { operator, number, always }], "{condition}");
        }
        for condition in [
            "context.approvals >= 1",
            "context.approvals >= 3",
            "context.approvals == 0",
            "context.approvals < 2",
            "context.approvals != 0",
            "context.keys_active >= 0",
            "context.approvals >= context.keys_active",
        ] {
            assert_eq!(of(condition), [], "{condition}");
        }
    }
}
