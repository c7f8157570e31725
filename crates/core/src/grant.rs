//! Grants: what a credential may do, as the provider understands it.

use std::collections::BTreeSet;
use std::fmt;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::text::Untrusted;

/// One permission of a provider, by its stable id. The name is cosmetic.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Permission {
    /// The provider's id; the only thing that is compared.
    pub id: String,
    /// The provider's name for it.
    pub name: String,
    /// What kind of resource it applies to, in the provider's words.
    pub scope: String,
}

/// One resource of a provider that a permission is confined to.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Resource {
    /// The kind, as in `cloudflare.zone`.
    pub kind: String,
    /// The provider's id of it.
    pub id: String,
    /// What a person calls it, as in `example.com`.
    pub name: String,
}

/// What a credential may do, where, until when and from where. Two grants are compared by ids only.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Grant {
    /// The permissions, sorted by id.
    pub permissions: Vec<Permission>,
    /// The resources that every permission is confined to, sorted.
    pub resources: Vec<Resource>,
    /// When the provider itself ends it; absent only where the provider has no expiry.
    pub expires_at: Option<Timestamp>,
    /// The networks (CIDR) that may use it; empty = any.
    pub ip_allow: Vec<String>,
    /// A cap in US cents that the provider enforces, where it has one.
    pub budget_cents: Option<u64>,
}

/// A way in which a credential differs from what was asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Difference {
    /// It can do something that was not asked.
    ExtraPermission(String),
    /// It lacks something that was asked.
    MissingPermission(String),
    /// It reaches a resource that was not asked.
    ExtraResource(String),
    /// It does not reach a resource that was asked.
    MissingResource(String),
    /// It ends at another time.
    Expiry {
        /// What was asked.
        asked: Option<Timestamp>,
        /// What the provider says.
        got: Option<Timestamp>,
    },
    /// Its network condition is another one.
    IpCondition,
    /// Its budget is another one.
    Budget,
    /// It holds something that this version of Keywright does not understand.
    Unknown(Untrusted),
}

/// What a provider says about a credential when asked: a grant, and whatever did not fit into one.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ObservedGrant {
    /// The ids of the permissions that it allows.
    pub permissions: BTreeSet<String>,
    /// The resources, in the provider's own notation turned into `(kind, id)`.
    pub resources: BTreeSet<(String, String)>,
    /// When it ends.
    pub expires_at: Option<Timestamp>,
    /// Its network condition.
    pub ip_allow: BTreeSet<String>,
    /// Its budget in US cents.
    pub budget_cents: Option<u64>,
    /// Its label, by which it is seen to be the one that was made; `None` where the provider shows none.
    pub label: Option<Untrusted>,
    /// Parts that were not understood. Any of them fails the comparison: unknown data fails closed.
    pub not_understood: Vec<Untrusted>,
}

impl Grant {
    /// Sorts everything, so that equal grants are equal bytes.
    #[must_use]
    pub fn canonical(mut self) -> Self {
        self.permissions.sort();
        self.permissions.dedup_by(|a, b| a.id == b.id);
        self.resources.sort();
        self.resources.dedup_by(|a, b| a.kind == b.kind && a.id == b.id);
        self.ip_allow.sort();
        self.ip_allow.dedup();
        self
    }

    /// Compares what was asked with what the provider made of it. Nothing in the list means: exactly what was
    /// asked. Expiry is compared to the second, the resolution of the providers.
    #[must_use]
    pub fn differences(&self, observed: &ObservedGrant) -> Vec<Difference> {
        let mut found = Vec::new();
        let asked: BTreeSet<String> = self.permissions.iter().map(|p| p.id.clone()).collect();
        let reach: BTreeSet<_> = self.resources.iter().map(|r| (r.kind.clone(), r.id.clone())).collect();
        found.extend(observed.permissions.difference(&asked).cloned().map(Difference::ExtraPermission));
        found.extend(asked.difference(&observed.permissions).cloned().map(Difference::MissingPermission));
        let show = |(kind, id): &(String, String)| format!("{kind} {id}");
        found.extend(observed.resources.difference(&reach).map(show).map(Difference::ExtraResource));
        found.extend(reach.difference(&observed.resources).map(show).map(Difference::MissingResource));
        let second = |at: Option<Timestamp>| at.map(Timestamp::as_second);
        if second(self.expires_at) != second(observed.expires_at) {
            found.push(Difference::Expiry { asked: self.expires_at, got: observed.expires_at });
        }
        if self.ip_allow.iter().cloned().collect::<BTreeSet<_>>() != observed.ip_allow {
            found.push(Difference::IpCondition);
        }
        if self.budget_cents != observed.budget_cents {
            found.push(Difference::Budget);
        }
        found.extend(observed.not_understood.iter().cloned().map(Difference::Unknown));
        found
    }
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let time = |at: &Option<Timestamp>| at.map_or_else(|| "never".to_owned(), |at| at.to_string());
        match self {
            Self::ExtraPermission(id) => write!(f, "it also has permission `{}`", crate::text::escaped(id)),
            Self::MissingPermission(id) => write!(f, "it lacks permission `{id}`"),
            Self::ExtraResource(what) => write!(f, "it also reaches `{}`", crate::text::escaped(what)),
            Self::MissingResource(what) => write!(f, "it does not reach `{what}`"),
            Self::Expiry { asked, got } => write!(f, "it expires {}, not {}", time(got), time(asked)),
            Self::IpCondition => f.write_str("its network condition is not the one asked for"),
            Self::Budget => f.write_str("its budget is not the one asked for"),
            Self::Unknown(what) => write!(f, "it has a part that is not understood: `{what}`"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked() -> Grant {
        Grant {
            permissions: vec![Permission { id: "p1".into(), name: "DNS Write".into(), scope: "zone".into() }],
            resources: vec![Resource {
                kind: "cloudflare.zone".into(),
                id: "z1".into(),
                name: "example.com".into(),
            }],
            expires_at: Some(Timestamp::from_second(1_000).unwrap()),
            ip_allow: vec!["192.0.2.0/24".into()],
            budget_cents: None,
        }
    }

    fn observed() -> ObservedGrant {
        ObservedGrant {
            label: None,
            permissions: ["p1".to_owned()].into(),
            resources: [("cloudflare.zone".to_owned(), "z1".to_owned())].into(),
            expires_at: Some(Timestamp::from_millisecond(1_000_400).unwrap()),
            ip_allow: ["192.0.2.0/24".to_owned()].into(),
            budget_cents: None,
            not_understood: Vec::new(),
        }
    }

    #[test]
    fn exactly_what_was_asked_has_no_difference() {
        assert_eq!(asked().differences(&observed()), []);
    }

    #[test]
    fn every_kind_of_deviation_is_named() {
        let mutations: [(&str, fn(&mut ObservedGrant)); 9] = [
            ("extra permission", |o| o.permissions.extend(["p2".to_owned()])),
            ("missing permission", |o| o.permissions.clear()),
            ("extra resource", |o| o.resources.extend([("cloudflare.zone".to_owned(), "z2".to_owned())])),
            ("missing resource", |o| o.resources.clear()),
            ("no expiry", |o| o.expires_at = None),
            ("later expiry", |o| o.expires_at = Timestamp::from_second(2_000).ok()),
            ("dropped condition", |o| o.ip_allow.clear()),
            ("budget", |o| o.budget_cents = Some(1)),
            ("unknown part", |o| o.not_understood.push(Untrusted::capped("effect: maybe", 40))),
        ];
        for (what, mutate) in mutations {
            let mut changed = observed();
            mutate(&mut changed);
            assert_eq!(asked().differences(&changed).len(), 1, "{what}");
        }
    }
}
