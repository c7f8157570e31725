//! Google Cloud: API methods, and the permissions that each needs, all of them. A role bundles permissions; what is least is said
//! in permissions, for a role of one's own.
//!
//! The data has no access levels: what a permission does is told by its verb.

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;

use super::inputs::Inputs;
use super::plain::{Call, Plain, operation_rows, permission_rows};
use super::{CatalogTaskError, head};
use keywright_catalog::compile::OPERATIONS;

#[derive(Deserialize)]
struct Vendor {
    methods: BTreeMap<String, Vec<String>>,
}

/// How the verbs of permissions and methods begin that only read.
const READS: [&str; 14] = [
    "aggregatedList",
    "check",
    "count",
    "download",
    "fetch",
    "get",
    "list",
    "lookup",
    "query",
    "read",
    "retrieve",
    "search",
    "test",
    "view",
];

fn reads(name: &str) -> bool {
    let verb = name.rsplit('.').next().unwrap_or(name);
    READS.iter().any(|read| {
        verb.strip_prefix(read).is_some_and(|rest| !rest.starts_with(|next: char| next.is_lowercase()))
    })
}

/// Hands out rights, or acts as somebody else.
fn escalation(permission: &str) -> Option<&'static str> {
    let verb = permission.rsplit('.').next().unwrap_or(permission);
    if verb.starts_with("setIamPolicy") {
        return Some("changes who may do what");
    }
    let acts = ["actAs", "getAccessToken", "getOpenIdToken", "implicitDelegation", "signBlob", "signJwt"];
    let own = permission.starts_with("iam.serviceAccount") && acts.contains(&verb);
    let keys = ["iam.serviceAccountKeys.", "iam.roles.", "apikeys.keys."];
    let makes = ["create", "update", "undelete", "getKeyString"].contains(&verb)
        && keys.iter().any(|start| permission.starts_with(start));
    (own || makes).then_some("makes keys, hands rights on, or acts as somebody else")
}

/// How the data says that a method needs nothing.
fn is_none(permission: &str) -> bool {
    permission == "iam.permissions.none" || permission == "No permissions required."
}

fn way(needed: &[String]) -> BTreeSet<String> {
    needed.iter().filter(|id| !is_none(id)).cloned().collect()
}

pub(super) fn compile(inputs: &Inputs) -> Result<String, CatalogTaskError> {
    let review = inputs.reviewed()?;
    let vendor: Vendor = serde_json::from_str(&inputs.operations.text)
        .map_err(|source| CatalogTaskError::Vendor { holds: "operations", source })?;
    let mut permissions = BTreeMap::new();
    for id in vendor.methods.values().flatten().filter(|id| !is_none(id)) {
        let access = if reads(id) { "read" } else { "write" };
        let plain = Plain { scope: "project".to_owned(), access, escalation: escalation(id) };
        permissions.insert(id.clone(), plain);
    }
    let call = |(id, needed): (&String, &Vec<String>)| Call {
        method: String::new(),
        path: String::new(),
        id: id.clone(),
        tags: Vec::new(),
        mutating: !reads(id),
        ways: if needed.is_empty() { Vec::new() } else { vec![way(needed)] },
    };
    let mut out = head(&review)?;
    permission_rows(&mut out, &review, &permissions)?;
    out.push_str(OPERATIONS);
    operation_rows(&mut out, &review, vendor.methods.iter().map(call).collect())?;
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_verb_tells_what_only_reads() {
        for (name, is_read) in [
            ("storage.objects.get", true),
            ("storage.objects.getIamPolicy", true),
            ("compute.instances.aggregatedList", true),
            ("storage.objects.create", false),
            ("iam.serviceAccounts.setIamPolicy", false),
            ("x.checkin", false),
            ("dns.managedZones.list", true),
        ] {
            assert_eq!(reads(name), is_read, "{name}");
        }
    }

    #[test]
    fn what_hands_rights_on_is_of_the_escalation_class() {
        for (name, is_one) in [
            ("resourcemanager.projects.setIamPolicy", true),
            ("iam.serviceAccounts.actAs", true),
            ("iam.serviceAccountKeys.create", true),
            ("iam.serviceAccountKeys.list", false),
            ("storage.objects.create", false),
        ] {
            assert_eq!(escalation(name).is_some(), is_one, "{name}");
        }
    }
}
