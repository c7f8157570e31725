//! AWS: its actions as permissions. The data says the access level of each; what each is confined to is ours, because
//! the adapter has to know the ARNs. There are no operations: nobody publishes which call needs which action.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Command;

use serde::Deserialize;
use sha2::{Digest as _, Sha256};

use super::CatalogTaskError;
use keywright_catalog::compile::review::{Recorded, ReviewedPermission};
use keywright_catalog::compile::{CompileError, first_line, list, row};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Review {
    provider: String,
    source: Vec<Recorded>,
    scope: Vec<Scope>,
    permission: Vec<ReviewedPermission>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Scope {
    name: String,
    actions: Vec<String>,
}

#[derive(Deserialize)]
pub(super) struct Data {
    services: BTreeMap<String, Service>,
}

#[derive(Deserialize)]
struct Service {
    actions: BTreeMap<String, Action>,
}

#[derive(Deserialize)]
struct Action {
    /// The access level.
    l: String,
}

impl Data {
    /// Reads the compressed file that was reviewed.
    pub(super) fn read(review: &str, data: &Path) -> Result<Self, CatalogTaskError> {
        let review: Review = toml::from_str(review)?;
        let source = source(&review)?;
        let path = data.join(&source.file);
        let file = |source| CatalogTaskError::File { path: path.clone(), source };
        let found = hex::encode(Sha256::digest(std::fs::read(&path).map_err(file)?));
        if found != source.sha256 {
            let recorded = source.sha256.clone();
            return Err(CatalogTaskError::Checksum { holds: "permissions", recorded, found });
        }
        let unpacked = Command::new("gzip").arg("-dc").arg(&path).output().map_err(file)?;
        serde_json::from_slice(&unpacked.stdout)
            .map_err(|source| CatalogTaskError::Vendor { holds: "permissions", source })
    }
}

fn source(review: &Review) -> Result<&Recorded, CatalogTaskError> {
    let none = || CompileError::Unexpected("the review file records no source of permissions".to_owned());
    Ok(review.source.iter().find(|source| source.holds == "permissions").ok_or_else(none)?)
}

pub(super) fn compile(review: &str, data: &Data) -> Result<String, CatalogTaskError> {
    let review: Review = toml::from_str(review)?;
    let source = source(&review)?;
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
    out.push_str("# Compiled by `cargo xtask catalog`; do not edit. Facts only: names and access levels.\n");
    out.push_str("# Only the actions that the shipped templates use, and the best known ones that could give rights away;\n");
    out.push_str("# what is not here can't be named in a template.\n");
    out.push_str("# Columns stand between tabs, lists in a column between `;`, and `-` is none.\n");
    out.push_str("[sources]\n# holds, from, taken, licence, sha256 of the file\n");
    row(&mut out, &[&source.holds, &source.from, &source.taken, &source.licence, &source.sha256])?;
    out.push_str("[permissions]\n# id, name, scope, access, flags, why the flags\n");
    for (action, scope) in scopes {
        let (service, name) = action.split_once(':').unwrap_or((action, ""));
        let known = data.services.get(service).and_then(|service| service.actions.get(name));
        let level = known.ok_or_else(|| CompileError::Stale(action.to_owned()))?.l.as_str();
        let (access, manages) = match level {
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
        if let Some(reviewed) = judged.remove(action) {
            flags.extend(reviewed.flags.iter().filter_map(|flag| flag.word()));
            why = &reviewed.why;
        }
        let flags: Vec<&str> = flags.into_iter().collect();
        row(&mut out, &[action, action, scope, access, &list(&flags)?, why])?;
    }
    out.push_str("[operations]\n");
    match judged.keys().next() {
        Some(stale) => Err(CompileError::Stale((*stale).to_owned()).into()),
        None => Ok(out),
    }
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
    use super::*;

    fn compiled(actions: &str, judged: &str) -> Result<String, CatalogTaskError> {
        let review = format!(
            "provider = \"aws\"\nsource = [{{ holds = \"permissions\", file = \"f\", from = \"x\", taken = \"2026-11\", \
             licence = \"MIT\", sha256 = \"0\" }}]\nscope = [{{ name = \"thing\", actions = [{actions}] }}]\n{judged}"
        );
        let data = r#"{"services": {"iam": {"actions": {
            "PassRole": {"l": "Write", "d": "A vendor's sentence"}, "GetUser": {"l": "Read"},
            "PutUserPolicy": {"l": "Permissions management"}, "TagUser": {"l": "Tagging"}, "Odd": {"l": "Odd"}}}}}"#;
        compile(&review, &serde_json::from_str(data).unwrap())
    }

    #[test]
    fn levels_and_rules_become_access_and_flags() {
        let text = compiled(
            r#""iam:PassRole", "iam:GetUser", "iam:PutUserPolicy", "iam:TagUser""#,
            "permission = [{ name = \"iam:TagUser\", flags = [\"escalation\"], why = \"tags decide here\" }]",
        )
        .unwrap();
        let rows: Vec<&str> = text.lines().filter(|line| line.starts_with("iam:")).collect();
        assert_eq!(
            rows,
            [
                "iam:GetUser\tiam:GetUser\tthing\tread\t-\t-",
                "iam:PassRole\tiam:PassRole\tthing\twrite\tescalation\tit makes keys, or hands rights on",
                "iam:PutUserPolicy\tiam:PutUserPolicy\tthing\twrite\tescalation\tit manages permissions",
                "iam:TagUser\tiam:TagUser\tthing\twrite\tescalation\ttags decide here",
            ]
        );
        assert!(!text.contains("sentence"));
    }

    #[test]
    fn what_the_data_does_not_have_is_refused() {
        let none = "permission = []";
        assert!(matches!(
            compiled(r#""iam:Gone""#, none),
            Err(CatalogTaskError::Compile(CompileError::Stale(_)))
        ));
        assert!(matches!(
            compiled(r#""iam:Odd""#, none),
            Err(CatalogTaskError::Compile(CompileError::Unexpected(_)))
        ));
        assert!(matches!(
            compiled(r#""iam:GetUser", "iam:GetUser""#, none),
            Err(CatalogTaskError::Compile(CompileError::Unexpected(_)))
        ));
        let stale = "permission = [{ name = \"iam:TagUser\", flags = [], why = \"x\" }]";
        assert!(matches!(
            compiled(r#""iam:GetUser""#, stale),
            Err(CatalogTaskError::Compile(CompileError::Stale(_)))
        ));
    }
}
