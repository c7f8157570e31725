//! The permission groups: id, scope and name of all 308, as compiled facts.
//!
//! Source: the account list of permission groups as snapshotted in the npm package `alchemy` 0.94.0 (Apache-2.0), plus
//! three user-scope groups. Names are cosmetic and seven of them occur twice, so only ids are ever compared.

use std::sync::LazyLock;

use serde_json::{Value, json};

/// One line a group: id, scope, name, separated by tabs.
static TABLE: &str = include_str!("groups.tsv");

static GROUPS: LazyLock<Vec<Group>> = LazyLock::new(|| TABLE.lines().filter_map(Group::parse).collect());

/// A permission group.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Group {
    pub(crate) id: &'static str,
    pub(crate) scope: Scope,
    pub(crate) name: &'static str,
}

/// What kind of resource a group applies to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Scope {
    Account,
    Zone,
    User,
    Bucket,
}

impl Group {
    /// All groups, sorted by name.
    pub(crate) fn all() -> &'static [Self] {
        &GROUPS
    }

    /// The group with this id.
    pub(crate) fn find(id: &str) -> Option<&'static Self> {
        GROUPS.iter().find(|group| group.id == id)
    }

    /// As the permission groups endpoint lists it.
    pub(crate) fn to_json(&self) -> Value {
        json!({"id": self.id, "name": self.name, "scopes": [self.scope.wire_name()]})
    }

    fn parse(line: &'static str) -> Option<Self> {
        let mut fields = line.split('\t');
        let (id, scope, name) = (fields.next()?, fields.next()?, fields.next()?);
        let scope = match scope {
            "account" => Scope::Account,
            "zone" => Scope::Zone,
            "user" => Scope::User,
            "bucket" => Scope::Bucket,
            _ => return None,
        };
        Some(Self { id, scope, name })
    }
}

impl Scope {
    /// The scope as the API writes it.
    pub(crate) fn wire_name(self) -> &'static str {
        match self {
            Self::Account => "com.cloudflare.api.account",
            Self::Zone => "com.cloudflare.api.account.zone",
            Self::User => "com.cloudflare.api.user",
            Self::Bucket => "com.cloudflare.edge.r2.bucket",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn every_line_of_the_table_is_a_group_with_its_own_id() {
        assert_eq!(TABLE.lines().count(), 308);
        assert_eq!(Group::all().len(), 308);
        let ids: BTreeSet<_> = Group::all().iter().map(|group| group.id).collect();
        assert_eq!(ids.len(), 308);
        assert!(ids.iter().all(|id| crate::ids::is_id(id)));
        let count = |scope| Group::all().iter().filter(|group| group.scope == scope).count();
        let counts = [Scope::Account, Scope::Zone, Scope::User, Scope::Bucket].map(count);
        assert_eq!(counts, [217, 86, 3, 2]);
    }
}
