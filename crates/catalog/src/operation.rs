//! One operation of a provider's API.

use std::fmt;

use crate::format::items;

/// An API operation and what opens it. Its `Display` is `METHOD /path`, as templates name it.
#[derive(Debug, PartialEq, Eq)]
pub struct Operation {
    /// The HTTP method, in capitals.
    pub method: &'static str,
    /// The path below the API's base, with `{parameters}` as the vendor spells them.
    pub path: &'static str,
    /// The vendor's operation id.
    pub id: &'static str,
    /// It changes something: not a GET, unless reviewed as a pure query.
    pub mutating: bool,
    /// The vendor discourages it.
    pub deprecated: bool,
    /// The vendor does not say what opens it, so nothing may be concluded about it.
    pub unannotated: bool,
    /// So many permissions open it that it says nothing about which one a job needs.
    pub wide: bool,
    /// Its answer is itself a credential: asking for it is an escalation.
    pub credential: bool,
    pub(crate) tags: &'static str,
    pub(crate) unresolved: &'static str,
    /// Which of the catalog's lists of alternatives opens it; the first list is the empty one.
    pub(crate) alternatives: usize,
}

impl Operation {
    /// The vendor's tags, which name the product.
    pub fn tags(&self) -> impl Iterator<Item = &'static str> + use<> {
        items(self.tags)
    }

    /// Permissions that the vendor names for it but for which no id is known. They can't be granted.
    pub fn unresolved(&self) -> impl Iterator<Item = &'static str> + use<> {
        items(self.unresolved)
    }

    /// Whether at least one known permission opens it. Where not, no plan may contain it.
    #[must_use]
    pub fn is_computable(&self) -> bool {
        self.alternatives != 0
    }

    /// Whether `name` names this operation: its id, or `METHOD /path` whatever its parameters are called.
    pub(crate) fn is_called(&self, name: &str) -> bool {
        if name == self.id {
            return true;
        }
        match name.split_once(' ') {
            Some((method, path)) => method == self.method && same_shape(path, self.path),
            None => false,
        }
    }
}

impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.method, self.path)
    }
}

/// The vendor renames path parameters between releases (`{zone_identifier}`, `{zone_id}`); their places stay.
fn same_shape(one: &str, other: &str) -> bool {
    let parameter = |segment: &str| segment.starts_with('{') && segment.ends_with('}');
    let mut ours = one.split('/');
    let mut theirs = other.split('/');
    loop {
        match (ours.next(), theirs.next()) {
            (None, None) => return true,
            (Some(a), Some(b)) if a == b || (parameter(a) && parameter(b)) => {}
            _ => return false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::same_shape;

    #[test]
    fn a_parameter_matches_a_parameter_and_nothing_else() {
        for (one, other, same) in [
            ("/zones/{zone_id}/dns_records", "/zones/{zone_identifier}/dns_records", true),
            ("/zones/{}/dns_records", "/zones/{zone_id}/dns_records", true),
            ("/zones/abc/dns_records", "/zones/{zone_id}/dns_records", false),
            ("/zones/{zone_id}", "/zones/{zone_id}/dns_records", false),
            ("/zones/{zone_id}/", "/zones/{zone_id}", false),
            ("/zones/{zone_id}/{x}", "/zones/{zone_id}/dns_records", false),
        ] {
            assert_eq!(same_shape(one, other), same, "{one} {other}");
        }
    }
}
