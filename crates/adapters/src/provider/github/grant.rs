//! What a grant asks of a token, and whether the token that came out is that one.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use keywright_core::grant::{Permission, Resource};
use keywright_core::provider::ProviderError;
use keywright_core::text::{Untrusted, escaped};
use serde::{Deserialize, Serialize};

use super::{CLOCKS_APART, HOUR, KIND, MOST_REPOSITORIES, PARAMETERS, REPOSITORY};
use crate::provider::secret_text::SecretText;
use crate::provider::{unknown_kind, unsupported};

const METADATA: &str = "metadata:read";

#[derive(Serialize)]
pub(super) struct CreateBody<'a> {
    repositories: &'a [&'a str],
    permissions: &'a BTreeMap<&'a str, &'a str>,
}

#[derive(Deserialize)]
pub(super) struct Created {
    pub(super) token: SecretText,
    pub(super) expires_at: Timestamp,
    permissions: Option<BTreeMap<String, String>>,
    repository_selection: Option<String>,
    repositories: Option<Vec<Repository>>,
}

#[derive(Deserialize)]
pub(super) struct Repository {
    pub(super) full_name: String,
}

/// What a grant asks of a token.
pub(super) struct Asked<'a> {
    owner: &'a str,
    repositories: Vec<&'a str>,
    permissions: BTreeMap<&'a str, &'a str>,
}

impl<'a> Asked<'a> {
    pub(super) fn of(
        permissions: &'a [Permission],
        resources: &'a [Resource],
    ) -> Result<Self, ProviderError> {
        let mut names: BTreeMap<&str, &str> = BTreeMap::new();
        for permission in permissions {
            if permission.scope != "repository" {
                let (name, scope) = (escaped(&permission.name), escaped(&permission.scope));
                let why = format!("`{name}` is of the {scope}: no repository confines it");
                return Err(unsupported(KIND, why));
            }
            let parts = permission.id.split_once(':');
            let (name, level) =
                parts.filter(|(_, level)| matches!(*level, "read" | "write" | "admin")).ok_or_else(|| {
                    unsupported(KIND, format!("`{}` is not a permission", escaped(&permission.id)))
                })?;
            if names.insert(name, level).is_some() {
                return Err(unsupported(
                    KIND,
                    format!("`{name}` at two levels; the higher one has the lower"),
                ));
            }
        }
        let mut repositories = Vec::new();
        let mut owners = BTreeSet::new();
        for resource in resources {
            let (owner, name) = resource
                .id
                .split_once('/')
                .filter(|_| resource.kind == REPOSITORY)
                .ok_or_else(|| unknown_kind(KIND, &resource.kind, PARAMETERS))?;
            owners.insert(owner);
            repositories.push(name);
        }
        match (owners.pop_first(), owners.is_empty(), repositories.len()) {
            (Some(owner), true, 1..=MOST_REPOSITORIES) if !names.is_empty() => {
                Ok(Self { owner, repositories, permissions: names })
            }
            _ => Err(unsupported(
                KIND,
                "a token is for 1 to 500 repositories of one owner, with some permission",
            )),
        }
    }

    pub(super) fn body(&self) -> CreateBody<'_> {
        CreateBody { repositories: &self.repositories, permissions: &self.permissions }
    }

    /// The permissions as the grant has them.
    pub(super) fn permission_ids(&self) -> BTreeSet<String> {
        self.permissions.iter().map(|(name, level)| format!("{name}:{level}")).collect()
    }

    /// In what the token that came out is another one; empty when it is what was asked.
    pub(super) fn differences(&self, created: &Created, end: Timestamp) -> Vec<String> {
        let mut found = Vec::new();
        let asked = self.permission_ids();
        let mut got: BTreeSet<String> =
            created.permissions.iter().flatten().map(|(name, level)| format!("{name}:{level}")).collect();
        if !asked.contains(METADATA) {
            got.remove(METADATA);
        }
        let shown = |what: &str| Untrusted::capped(what, 80).to_string();
        found.extend(got.difference(&asked).map(|extra| format!("it also has `{}`", shown(extra))));
        found.extend(asked.difference(&got).map(|missing| format!("it lacks `{missing}`")));
        let asked: BTreeSet<String> =
            self.repositories.iter().map(|name| format!("{}/{name}", self.owner)).collect();
        let got: BTreeSet<String> = created
            .repositories
            .iter()
            .flatten()
            .map(|repository| repository.full_name.to_ascii_lowercase())
            .collect();
        if created.repository_selection.as_deref() != Some("selected") {
            found.push("it is not confined to selected repositories".to_owned());
        }
        found.extend(got.difference(&asked).map(|extra| format!("it also reaches `{}`", shown(extra))));
        found.extend(asked.difference(&got).map(|missing| format!("it does not reach `{missing}`")));
        let ends = created.expires_at.as_second();
        if ends > Timestamp::now().as_second() + HOUR + CLOCKS_APART || ends + CLOCKS_APART < end.as_second()
        {
            found.push(format!("it ends at {}", created.expires_at));
        }
        found
    }
}
