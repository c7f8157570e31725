//! What the shipped catalogs of the other vendors say, against facts that were taken from the vendors' data and documentation
//! independently.
#![allow(clippy::unwrap_used, clippy::print_stderr, reason = "test helpers fail by panicking")]

use std::collections::BTreeSet;

use keywright_catalog::Catalog;

fn catalog(provider: &str) -> &'static Catalog {
    Catalog::for_provider(provider).unwrap()
}

fn escalations(provider: &str) -> BTreeSet<&'static str> {
    catalog(provider).permissions().iter().filter(|one| one.escalation).map(|one| one.id).collect()
}

#[test]
fn github_has_the_operations_of_installations_and_guesses_about_none() {
    let github = catalog("github");
    assert_eq!(github.all_operations().len(), 878);
    let names: BTreeSet<&str> =
        github.permissions().iter().filter_map(|one| Some(one.id.split_once(':')?.0)).collect();
    assert_eq!(names.len(), 78);
    // 787 need one permission; the data does not say whether the others need all of theirs or any one.
    assert_eq!(github.all_operations().iter().filter(|one| !one.unannotated).count(), 787);
    let opens = |permission: &str, operation: &str| {
        let operation = github.operation(operation).unwrap();
        github.accepted(operation).any(|accepted| accepted.id == permission)
    };
    let read = "GET /repos/{owner}/{repo}/contents/{path}";
    assert!(opens("contents:read", read) && opens("contents:write", read) && !opens("issues:read", read));
    let write = "POST /repos/{owner}/{repo}/git/commits";
    assert!(opens("contents:write", write) && !opens("contents:read", write));
    let comment = "POST /repos/{owner}/{repo}/issues/{issue_number}/comments";
    assert!(github.operation(comment).unwrap().unannotated && !opens("issues:write", comment));
}

#[test]
fn what_makes_keys_or_changes_who_may_do_what_is_marked() {
    let github = escalations("github");
    for id in ["administration:write", "workflows:write", "secrets:write", "organization_secrets:read"] {
        assert!(github.contains(id), "{id}");
    }
    assert!(
        catalog("github")
            .permissions()
            .iter()
            .all(|one| { one.escalation || !one.id.starts_with("organization_") })
    );
    assert!(!github.contains("contents:write") && !github.contains("secrets:read"));
    let tailscale = escalations("tailscale");
    for id in ["oauth_keys", "auth_keys", "federated_keys", "api_access_tokens", "policy_file", "all"] {
        assert!(tailscale.contains(id), "{id}");
    }
    assert!(!tailscale.contains("auth-key/join") && !tailscale.contains("devices:core:read"));
    let gitlab = escalations("gitlab");
    for id in ["project/role/owner", "group/role/maintainer", "project/create_runner", "group/self_rotate"] {
        assert!(gitlab.contains(id), "{id}");
    }
    assert!(!gitlab.contains("project/role/developer"));
}

/// Tailscale states no licence for its description, so nothing of it is compiled in; that none of its scopes is missing can be
/// checked where it is at hand.
#[test]
fn every_scope_of_tailscales_operations_is_known() {
    let base = std::env::var_os("KEYWRIGHT_DATA").map_or_else(
        || std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/data"),
        std::path::PathBuf::from,
    );
    let Ok(text) = std::fs::read_to_string(base.join("tailscale-scopes.json")) else {
        eprintln!("SKIPPED: no vendor data; set KEYWRIGHT_DATA to the directory that holds it");
        return;
    };
    // Every quoted word in a list of scopes.
    let mut scopes = BTreeSet::new();
    for list in text.split("\"scopes\":").skip(1) {
        let list = list.split(']').next().unwrap_or_default();
        scopes.extend(list.split('"').skip(1).step_by(2));
    }
    assert_eq!(scopes.len(), 37);
    for scope in scopes {
        assert_eq!(catalog("tailscale").permission(scope, None).unwrap().id, scope);
    }
}
