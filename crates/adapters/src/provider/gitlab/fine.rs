//! Fine-grained tokens: what is asked of one, and what is seen of it.
//!
//! A fine-grained token is the parent's own user's, and may do some things in some projects and groups: GitLab calls the
//! permissions *assignable* and keeps them in its source (`config/authz/permission_groups`). They are permissions here as
//! `fine/project/read_repository`. Its `scopes` are `["granular"]`, and its answers name one place each.

use std::collections::{BTreeMap, BTreeSet};

use keywright_core::grant::{ObservedGrant, Permission, Resource};
use keywright_core::provider::ProviderError;
use keywright_core::text::{Untrusted, escaped};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::super::{unknown_kind, unsupported};
use super::token::{Owner, Token, end_of, oddities};
use super::{KIND, PARAMETERS};

/// What ids of permissions start with.
const PREFIX: &str = "fine/";
/// The places that are named, and no others of the user's.
const SELECTED: &str = "selected_memberships";
/// The one scope of such a token.
const GRANULAR: &str = "granular";
const SCOPES: &str = "granular_scopes";

#[derive(Serialize)]
pub(super) struct Scope<'a> {
    access: &'static str,
    permissions: Vec<&'a str>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    project_ids: Vec<u64>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    group_ids: Vec<u64>,
}

/// One place of a token, and what it may do there.
#[derive(Deserialize)]
struct Place {
    access: String,
    permissions: BTreeSet<String>,
    project_id: Option<u64>,
    group_id: Option<u64>,
    #[serde(flatten)]
    rest: Map<String, Value>,
}

/// The scopes of a token with these permissions: those of projects in the projects, those of groups in the groups.
pub(super) fn asked<'a>(
    permissions: &'a [Permission],
    resources: &[Resource],
) -> Result<Vec<Scope<'a>>, ProviderError> {
    let mut scopes = Vec::new();
    for owner in [Owner::Project, Owner::Group] {
        let kind = format!("gitlab.{}", owner.word());
        let ids = resources.iter().filter(|one| one.kind == kind).map(|one| one.id.parse());
        let Ok(ids) = ids.collect::<Result<Vec<u64>, _>>() else {
            return Err(unsupported(KIND, format!("a {} goes by its number", owner.word())));
        };
        let prefix = format!("{PREFIX}{}/", owner.word());
        let own: Vec<&str> = permissions.iter().filter_map(|one| one.id.strip_prefix(&prefix)).collect();
        match (own.is_empty(), ids.is_empty()) {
            (true, true) => continue,
            (false, false) => {}
            (false, true) => {
                return Err(unsupported(KIND, format!("its permissions need a {}", owner.word())));
            }
            (true, false) => {
                let why = format!("no permission of it is for a {}", owner.word());
                return Err(unsupported(KIND, why));
            }
        }
        let (project_ids, group_ids) =
            if owner == Owner::Project { (ids, Vec::new()) } else { (Vec::new(), ids) };
        scopes.push(Scope { access: SELECTED, permissions: own, project_ids, group_ids });
    }
    if let Some(other) = permissions.iter().find(|one| !one.id.starts_with(PREFIX)) {
        let name = escaped(&other.name);
        let why = format!("`{name}` is a scope of access tokens; the connection mints fine-grained ones");
        return Err(unsupported(KIND, why));
    }
    if let Some(other) = resources.iter().find(|one| !one.kind.starts_with("gitlab.")) {
        return Err(unknown_kind(KIND, &other.kind, PARAMETERS));
    }
    if scopes.is_empty() {
        return Err(unsupported(KIND, "a fine-grained token has permissions in projects or groups"));
    }
    Ok(scopes)
}

/// What GitLab says of a token. It may do the same in all places of a kind, or is not understood.
pub(super) fn observe(token: &Token) -> ObservedGrant {
    let mut odd = oddities(token, &[SCOPES]);
    let mut note = |what: String| odd.push(Untrusted::capped(&what, 120));
    if token.scopes != [GRANULAR] {
        note(format!("scopes: {}", token.scopes.join(",")));
    }
    if token.access_level.is_some() {
        note("access_level".to_owned());
    }
    let shown = token.rest.get(SCOPES).cloned().unwrap_or_default();
    let places: Vec<Place> = serde_json::from_value(shown).unwrap_or_else(|_| {
        note(SCOPES.to_owned());
        Vec::new()
    });
    let (mut resources, mut may) = (BTreeSet::new(), BTreeMap::<Owner, BTreeSet<String>>::new());
    for place in places {
        let (owner, id) = match (place.project_id, place.group_id) {
            (Some(id), None) => (Owner::Project, id),
            (None, Some(id)) => (Owner::Group, id),
            _ => {
                note(format!("{SCOPES}: {}", place.access));
                continue;
            }
        };
        if place.access != SELECTED || place.rest.values().any(|value| !value.is_null()) {
            note(format!("{SCOPES}: {}", place.access));
        }
        resources.insert((format!("gitlab.{}", owner.word()), id.to_string()));
        if may.get(&owner).is_some_and(|known| *known != place.permissions) {
            note(format!("other permissions in {} {id}", owner.word()));
        }
        may.entry(owner).or_default().extend(place.permissions);
    }
    let named = |(owner, names): (Owner, BTreeSet<String>)| {
        names.into_iter().map(move |name| format!("{PREFIX}{}/{name}", owner.word()))
    };
    ObservedGrant {
        permissions: may.into_iter().flat_map(named).collect(),
        resources,
        expires_at: end_of(token),
        not_understood: odd,
        ..ObservedGrant::default()
    }
    .labelled(&token.name)
}
