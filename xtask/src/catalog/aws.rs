//! AWS: its actions as permissions, each the operation of its name. The data says the access level of each, the kinds of resources it
//! applies to and what it may call in turn. What an action is confined to is ours where a template may name it, because the
//! adapter has to know the ARNs; every other scope is the data's kind of resource, which no adapter takes.

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;

use super::CatalogTaskError;
use super::inputs::Text;
use keywright_catalog::compile::review::{Recorded, ReviewedPermission};
use keywright_catalog::compile::{CompileError, OPERATIONS, SOURCES, first_line, list, row};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Review {
    provider: String,
    source: Vec<Recorded>,
    scope: Vec<Scope>,
    permission: Vec<ReviewedPermission>,
    #[serde(default)]
    prefix: Vec<Prefix>,
    #[serde(default)]
    call: Vec<Call>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Scope {
    name: String,
    actions: Vec<String>,
}

/// A service whose operations go by another name than its actions.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Prefix {
    operations: String,
    actions: String,
}

/// Operations of the API that need actions of other names.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Call {
    operations: Vec<String>,
    needs: Vec<String>,
}

#[derive(Deserialize)]
struct Data {
    services: BTreeMap<String, Service>,
}

#[derive(Deserialize)]
struct Service {
    actions: BTreeMap<String, Action>,
    #[serde(default)]
    resources: BTreeMap<String, String>,
}

#[derive(Deserialize)]
struct Action {
    /// The access level.
    l: String,
    /// The kinds of resources, `*` behind those that are always needed.
    #[serde(default)]
    r: Vec<String>,
    /// What it may call in turn.
    #[serde(default)]
    dep: Vec<String>,
}

pub(super) fn recorded(review: &str) -> Result<Recorded, CatalogTaskError> {
    let review: Review = toml::from_str(review).map_err(CompileError::from)?;
    let none = || CompileError::Unexpected("the review file records no source of permissions".to_owned());
    Ok(review.source.into_iter().find(|source| source.holds == "permissions").ok_or_else(none)?)
}

/// What is compiled.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Part {
    /// What a template may name: it is searched when nobody says which provider is meant.
    Templates,
    /// Every action: what a plan is made with.
    Everything,
}

pub(super) fn compile(review: &str, data: &Text, part: Part) -> Result<String, CatalogTaskError> {
    let source = recorded(review)?;
    let review: Review = toml::from_str(review).map_err(CompileError::from)?;
    data.checked("permissions", &source.sha256)?;
    let data: Data = serde_json::from_str(&data.text)
        .map_err(|source| CatalogTaskError::Vendor { holds: "permissions", source })?;
    let mut scopes: BTreeMap<&str, &str> = BTreeMap::new();
    for scope in &review.scope {
        for action in &scope.actions {
            if scopes.insert(action, &scope.name).is_some() {
                return Err(CompileError::Unexpected(format!("`{action}` has two scopes")).into());
            }
        }
    }
    let mut judged: BTreeMap<&str, &ReviewedPermission> =
        review.permission.iter().map(|reviewed| (reviewed.name.as_str(), reviewed)).collect();
    let mut out = first_line(&review.provider);
    out.push_str("# Compiled by `cargo xtask catalog`; do not edit. Facts only: names, access levels, kinds of resources.\n");
    out.push_str("# Columns stand between tabs, lists in a column between `;`, and `-` is none.\n");
    out.push_str(SOURCES);
    for holds in ["permissions", "operations"] {
        row(&mut out, &[holds, &source.from, &source.taken, &source.licence, &source.sha256])?;
    }
    if part == Part::Templates {
        out.push_str("# Only what a template may name; every action is in `aws.full.tsv`.\n");
    }
    out.push_str("[resources]\n# kind, how its ARNs are written\n");
    for (service, facts) in data.services.iter().filter(|_| part == Part::Everything) {
        for (kind, form) in &facts.resources {
            row(&mut out, &[&format!("{service}/{kind}"), form])?;
        }
    }
    out.push_str("[prefixes]\n# how operations call a service, how its actions call it\n");
    for prefix in &review.prefix {
        if !data.services.contains_key(&prefix.actions) || data.services.contains_key(&prefix.operations) {
            return Err(CompileError::Stale(prefix.operations.clone()).into());
        }
        row(&mut out, &[&prefix.operations, &prefix.actions])?;
    }
    out.push_str("[actions]\n# action, scope, access, flags, why the flags, kinds of resources, what it may call in turn\n");
    let (mut known, mut written) = (BTreeSet::new(), BTreeSet::new());
    for (service, facts) in &data.services {
        for (name, facts) in &facts.actions {
            let action = format!("{service}:{name}");
            known.insert(action.clone());
            if part == Part::Templates && !scopes.contains_key(action.as_str()) {
                judged.remove(action.as_str());
                continue;
            }
            written.insert(action.clone());
            action_row(
                &mut out,
                &action,
                facts,
                scopes.remove(action.as_str()),
                judged.remove(action.as_str()),
            )?;
        }
    }
    out.push_str(OPERATIONS);
    let mut seen = BTreeSet::new();
    for call in &review.call {
        let gone = call.needs.iter().find(|action| !known.contains(*action));
        let twice = call.operations.iter().find(|operation| {
            !seen.insert(*operation) || (known.contains(*operation) && !call.needs.is_empty())
        });
        if let Some(stale) = gone.or(twice) {
            return Err(CompileError::Stale(stale.clone()).into());
        }
    }
    for call in &review.call {
        let needed = if call.needs.is_empty() { "()".to_owned() } else { call.needs.join("&") };
        let reads = |action: &String| {
            let (service, name) = action.split_once(':').unwrap_or_default();
            let facts = data.services.get(service).and_then(|service| service.actions.get(name));
            facts.is_some_and(|facts| ["Read", "List"].contains(&facts.l.as_str()))
        };
        let flags = if call.needs.iter().all(reads) { "" } else { "mutating" };
        let alone = if call.needs.len() == 1 { needed.as_str() } else { "" };
        for operation in
            call.operations.iter().filter(|_| call.needs.iter().all(|needed| written.contains(needed)))
        {
            row(&mut out, &["", "", operation, "", flags, alone, "", &needed, ""])?;
        }
    }
    match scopes.keys().chain(judged.keys()).next() {
        Some(stale) => Err(CompileError::Stale((*stale).to_owned()).into()),
        None => Ok(out),
    }
}

fn action_row(
    out: &mut String,
    action: &str,
    facts: &Action,
    scope: Option<&str>,
    judged: Option<&ReviewedPermission>,
) -> Result<(), CatalogTaskError> {
    let (access, manages) = match facts.l.as_str() {
        "Read" | "List" => ("read", false),
        "Write" | "Tagging" => ("write", false),
        "Permissions management" => ("write", true),
        other => {
            return Err(CompileError::Unexpected(format!("`{action}` has the level `{other}`")).into());
        }
    };
    let mut flags = BTreeSet::new();
    let mut why = "";
    if manages || gives_rights(action) {
        flags.insert("escalation");
        why = if manages { "it manages permissions" } else { "it makes keys, or hands rights on" };
    }
    if let Some(reviewed) = judged {
        flags.extend(reviewed.flags.iter().filter_map(|flag| flag.word()));
        why = &reviewed.why;
    }
    let service = action.split(':').next().unwrap_or_default();
    let kind = facts.r.iter().find(|kind| kind.ends_with('*')).or_else(|| facts.r.first());
    let by_data = match kind {
        Some(kind) => format!("{service}/{}", kind.trim_end_matches('*').replace(' ', "-")),
        None => "unconfined".to_owned(),
    };
    let flags: Vec<&str> = flags.into_iter().collect();
    let (kinds, dependents) = (list(&facts.r)?, list(&facts.dep)?);
    let scope = scope.unwrap_or(&by_data);
    Ok(row(out, &[action, scope, access, &list(&flags)?, why, &kinds, &dependents])?)
}

/// `iam:*AccessKey*`, `iam:Put*Policy`, `iam:Attach*`, `iam:PassRole`, `sts:AssumeRole`.
fn gives_rights(action: &str) -> bool {
    let Some(name) = action.strip_prefix("iam:") else { return action.starts_with("sts:AssumeRole") };
    name.contains("AccessKey")
        || (name.starts_with("Put") && name.ends_with("Policy"))
        || name.starts_with("Attach")
        || name == "PassRole"
}

#[cfg(test)]
mod tests {
    use sha2::{Digest as _, Sha256};

    use super::*;

    const FACTS: &str = r#"{"services": {"iam": {"resources": {"user": "arn:${Partition}:iam::${Account}:user/${Name}"},
        "actions": {
        "PassRole": {"l": "Write", "d": "A vendor's sentence"}, "GetUser": {"l": "Read", "r": ["role", "user*"]},
        "PutUserPolicy": {"l": "Permissions management"}, "TagUser": {"l": "Tagging", "dep": ["iam:GetUser"]}}},
        "states": {"actions": {"Start": {"l": "Write"}}}}}"#;

    fn compiled(facts: &str, rest: &str) -> Result<String, CatalogTaskError> {
        let sum = hex::encode(Sha256::digest(facts));
        let review = format!(
            "provider = \"aws\"\nsource = [{{ holds = \"permissions\", file = \"f\", from = \"x\", taken = \"2026-11\", \
             licence = \"MIT\", sha256 = \"{sum}\" }}]\n{rest}"
        );
        compile(&review, &facts.to_owned().into(), Part::Everything)
    }

    #[test]
    fn levels_rules_and_reviews_become_actions_and_calls() {
        let text = compiled(
            FACTS,
            "scope = [{ name = \"thing\", actions = [\"iam:TagUser\"] }]\n\
             permission = [{ name = \"iam:TagUser\", flags = [\"escalation\"], why = \"tags decide here\" }]\n\
             prefix = [{ operations = \"stepfunctions\", actions = \"states\" }]\n\
             call = [{ operations = [\"iam:Begin\"], needs = [\"iam:GetUser\", \"states:Start\"] }, \
             { operations = [\"iam:WhoAmI\"], needs = [] }]",
        )
        .unwrap();
        let rows: Vec<&str> =
            text.split_once("[resources]").unwrap().1.lines().filter(|line| line.contains('\t')).collect();
        assert_eq!(
            rows,
            [
                "iam/user\tarn:${Partition}:iam::${Account}:user/${Name}",
                "stepfunctions\tstates",
                "iam:GetUser\tiam/user\tread\t-\t-\trole;user*\t-",
                "iam:PassRole\tunconfined\twrite\tescalation\tit makes keys, or hands rights on\t-\t-",
                "iam:PutUserPolicy\tunconfined\twrite\tescalation\tit manages permissions\t-\t-",
                "iam:TagUser\tthing\twrite\tescalation\ttags decide here\t-\tiam:GetUser",
                "states:Start\tunconfined\twrite\t-\t-\t-\t-",
                "-\t-\tiam:Begin\t-\tmutating\t-\t-\tiam:GetUser&states:Start\t-",
                "-\t-\tiam:WhoAmI\t-\t-\t-\t-\t()\t-",
            ]
        );
        assert!(!text.contains("sentence"));
    }

    #[test]
    fn what_the_data_does_not_have_is_refused() {
        let with = |scope: &str, permission: &str, rest: &str| {
            compiled(FACTS, &format!("scope = [{scope}]\npermission = [{permission}]\n{rest}"))
        };
        assert!(with("", "", "").is_ok());
        let gone = "{ name = \"thing\", actions = [\"iam:Gone\"] }";
        let twice = "{ name = \"thing\", actions = [\"iam:GetUser\", \"iam:GetUser\"] }";
        for scope in [gone, twice] {
            assert!(with(scope, "", "").is_err(), "{scope}");
        }
        assert!(with("", "{ name = \"iam:Gone\", flags = [], why = \"x\" }", "").is_err());
        for rest in [
            "prefix = [{ operations = \"x\", actions = \"gone\" }]",
            "prefix = [{ operations = \"iam\", actions = \"states\" }]",
            "call = [{ operations = [\"iam:X\"], needs = [\"iam:Gone\"] }]",
            "call = [{ operations = [\"iam:GetUser\"], needs = [\"iam:PassRole\"] }]",
        ] {
            assert!(with("", "", rest).is_err(), "{rest}");
        }
        assert!(compiled(&FACTS.replace("Tagging", "Odd"), "scope = []\npermission = []").is_err());
    }
}
