//! One operation of a provider's API.

use std::fmt;

use crate::format::items;

/// An API operation and what opens it. Its `Display` is `METHOD /path`, as templates name it, or its id
/// where it has no path.
#[derive(Debug, PartialEq, Eq)]
pub struct Operation {
    /// The HTTP method, in capitals; empty where the provider's operations only have names.
    pub method: &'static str,
    /// The path below the API's base, with `{parameters}` as the vendor spells them; empty where there is none.
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
    /// Nearly anybody of the zone or account may call it: it is not counted as unlocked by a permission.
    pub anybody: bool,
    /// What it needs depends on which of its variants is called, so it can't be asked for without one.
    pub depends: bool,
    pub(crate) tags: &'static str,
    pub(crate) unresolved: &'static str,
    /// Which of the catalog's lists of alternatives opens it; the first list is the empty one.
    pub(crate) alternatives: usize,
    /// Which of the catalog's needs it has, as judged; the first is: nothing is known to open it.
    pub(crate) needs: usize,
    /// Which set of variants it has; `-` for none.
    pub(crate) variants: &'static str,
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

    /// An operation about which nothing but its id is known.
    pub(crate) fn called(id: &'static str) -> Self {
        Self {
            method: "",
            path: "",
            id,
            mutating: false,
            deprecated: false,
            unannotated: false,
            wide: false,
            credential: false,
            anybody: false,
            depends: false,
            tags: "-",
            unresolved: "-",
            alternatives: 0,
            needs: 0,
            variants: "-",
        }
    }

    /// `METHOD /path` with `{}` for each parameter.
    pub(crate) fn shape(&self) -> String {
        shape(&self.to_string())
    }
}

impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.method.is_empty() { f.write_str(self.id) } else { write!(f, "{} {}", self.method, self.path) }
    }
}

/// A name with `{}` for each path parameter: the vendor renames them between releases (`{zone_identifier}`, `{zone_id}`); their
/// places stay.
pub(crate) fn shape(name: &str) -> String {
    let mut out = String::with_capacity(name.len());
    let mut rest = name;
    while let Some((before, after)) = rest.split_once('{') {
        let Some((_, after)) = after.split_once('}') else { break };
        out.push_str(before);
        out.push_str("{}");
        rest = after;
    }
    out.push_str(rest);
    out
}

#[cfg(test)]
mod tests {
    use super::shape;

    #[test]
    fn a_parameter_matches_a_parameter_and_nothing_else() {
        for (one, other, same) in [
            ("/zones/{zone_id}/dns_records", "/zones/{zone_identifier}/dns_records", true),
            ("/zones/{}/dns_records", "/zones/{zone_id}/dns_records", true),
            ("/scans/{}.png", "/scans/{scan_id}.png", true),
            ("/scans/{}.png", "/scans/{scan_id}", false),
            ("/scans/{open", "/scans/{}", false),
            ("/zones/abc/dns_records", "/zones/{zone_id}/dns_records", false),
            ("/zones/{zone_id}", "/zones/{zone_id}/dns_records", false),
            ("/zones/{zone_id}/", "/zones/{zone_id}", false),
            ("/zones/{zone_id}/{x}", "/zones/{zone_id}/dns_records", false),
        ] {
            assert_eq!(shape(one) == shape(other), same, "{one} {other}");
        }
    }
}
