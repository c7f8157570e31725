//! The operations of a provider by the shape of their path, so that a knowledge file can name a collection and mean
//! the operation that a verb needs there.

use std::collections::HashMap;

use super::knowledge::{Deed, Kind};
use super::opinion::parts;
use crate::catalog::Catalog;

/// Every operation of a catalog by method and shape.
#[derive(Debug)]
pub(super) struct Shapes {
    known: HashMap<String, usize>,
    /// An operation that a permission alone opens: some providers' jobs are best told by the permission.
    by_permission: HashMap<String, String>,
}

impl Shapes {
    pub(super) fn of(catalog: &Catalog) -> Self {
        let mut known = HashMap::new();
        let mut by_permission = HashMap::new();
        for (position, operation) in catalog.all_operations().iter().enumerate() {
            known.entry(format!("{} {}", operation.method, shape(operation.path))).or_insert(position);
            known.entry(operation.id.to_owned()).or_insert(position);
            let mut opened = catalog.accepted(operation);
            if let (Some(permission), None) = (opened.next(), opened.next()) {
                by_permission.entry(permission.name.to_owned()).or_insert_with(|| operation.id.to_owned());
            }
        }
        // At GitHub a knowledge file names a permission where no operation of an installation needs it.
        if catalog.provider() == "github" {
            by_permission.clear();
            return Self { known, by_permission };
        }
        for operation in catalog.all_operations() {
            for permission in catalog.accepted(operation) {
                by_permission.entry(permission.name.to_owned()).or_insert_with(|| operation.id.to_owned());
            }
        }
        Self { known, by_permission }
    }

    /// The operations of a deed, as the catalog can look them up.
    pub(super) fn of_deed(&self, deed: &Deed) -> Vec<String> {
        let kind = deed.kinds.first().copied().unwrap_or(Kind::Read);
        let mut found = Vec::new();
        for written in &deed.operations {
            match written.split_once(' ') {
                Some((method, path)) => found.push(format!("{method} {}", long(path))),
                None if written.contains('/') => found.extend(self.in_collection(&long(written), kind)),
                None if self.known.contains_key(written.split('#').next().unwrap_or_default()) => {
                    found.push((*written).to_owned())
                }
                None => found.push(
                    self.by_permission.get(*written).map_or_else(|| (*written).to_owned(), Clone::clone),
                ),
            }
        }
        found
    }

    /// Whether there is an operation of this shape.
    pub(super) fn has(&self, operation: &str) -> bool {
        self.known.contains_key(operation.split('#').next().unwrap_or_default())
    }

    /// The stems of an operation's path and id.
    pub(super) fn words_of(&self, operation: &str, catalog: &Catalog) -> Vec<String> {
        let bare = operation.split('#').next().unwrap_or_default().trim_start_matches('!');
        let known = self.known.get(bare).and_then(|at| catalog.all_operations().get(*at));
        let path = bare.split(' ').next_back().unwrap_or_default();
        let texts =
            [path].into_iter().chain(known.map(|operation| operation.id)).filter(|text| text.len() > 1);
        let phase = operation.split_once('#').map(|(_, phase)| phase);
        texts.chain(phase).flat_map(parts).collect()
    }

    /// What a verb needs in a collection: the list, the one, or the whole of it.
    fn in_collection(&self, path: &str, kind: Kind) -> Option<String> {
        let attempts: &[(&str, &str)] = match kind {
            Kind::Read => &[("GET", ""), ("GET", "/{}"), ("POST", "")],
            Kind::Create => &[("POST", ""), ("PUT", ""), ("PUT", "/{}"), ("PATCH", ""), ("POST", "/{}")],
            Kind::Update => {
                &[("PATCH", "/{}"), ("PUT", "/{}"), ("PATCH", ""), ("PUT", ""), ("POST", ""), ("POST", "/{}")]
            }
            Kind::Delete => {
                &[("DELETE", "/{}"), ("DELETE", ""), ("PUT", ""), ("PATCH", "/{}"), ("PUT", "/{}")]
            }
        };
        attempts
            .iter()
            .map(|(method, rest)| format!("{method} {path}{rest}"))
            .find(|name| self.known.contains_key(name))
    }
}

/// A path with its parameters emptied.
fn shape(path: &str) -> String {
    let mut out = String::with_capacity(path.len());
    for (at, segment) in path.split('/').enumerate() {
        if at > 0 {
            out.push('/');
        }
        match (segment.find('{'), segment.rfind('}')) {
            (Some(open), Some(close)) => {
                out.push_str(segment.get(..open).unwrap_or_default());
                out.push_str("{}");
                out.push_str(segment.get(close + 1..).unwrap_or_default());
            }
            _ => out.push_str(segment),
        }
    }
    out
}

/// The path that a knowledge file abbreviates: `A`, `Z`, `R`, `O` stand for an account, a zone, a repository, an
/// organisation, and `~name` for the entry point of a ruleset phase.
fn long(path: &str) -> String {
    if let Some((scope, phase)) = path.split_once('~') {
        let base = if scope == "A" { "/accounts/{}" } else { "/zones/{}" };
        return format!("{base}/rulesets/phases/{{}}/entrypoint#{phase}");
    }
    for (short, full) in [("A", "/accounts/{}"), ("Z", "/zones/{}"), ("R", "/repos/{}/{}"), ("O", "/orgs/{}")]
    {
        if let Some(rest) = path.strip_prefix(short).filter(|rest| rest.is_empty() || rest.starts_with('/')) {
            return format!("{full}{rest}");
        }
    }
    path.to_owned()
}
