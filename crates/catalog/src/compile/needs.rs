//! Which permission opens a Cloudflare operation, as people judged it: the vendor's lists name aliases, permissions of other
//! products, dozens of permissions at once, or nothing. What is decided here the solver works with; the vendor's own list
//! stays beside it.

use std::collections::BTreeSet;

use super::cloudflare::Names;
use super::review::{Judged, VendorOperation};
use crate::operation::shape;

/// More alternatives than this mean "anybody of this zone or account", unless the operation is about rulesets.
const ANYBODY: usize = 25;

/// What opens one operation, as judged.
pub(super) struct Needs {
    /// The labels of the permissions of which any one opens it, sorted.
    pub(super) labels: BTreeSet<String>,
    /// Nearly anybody may call it: it says nothing about a permission, and is not counted as unlocked by one.
    pub(super) anybody: bool,
    /// Which set of variants it has.
    pub(super) variants: &'static str,
}

/// Applies the judgements to one operation.
pub(super) fn needs(judged: &Judged, names: &Names<'_>, operation: &VendorOperation) -> Needs {
    let path = operation.path.as_str();
    let shaped = shape(path);
    let listed: BTreeSet<&str> = operation.groups().collect();
    let own = own_lists(path);
    let anybody = listed.len() > ANYBODY && !own;
    let pinned = judged.anybody.iter().find(|one| one.operation == format!("{} {shaped}", operation.method));

    let mut found: BTreeSet<&str> = BTreeSet::new();
    for name in &listed {
        if anybody
            && !pinned.is_some_and(|one| {
                *name == one.permission || written(&one.permission).as_deref() == Some(*name)
            })
        {
            continue;
        }
        let name = match judged.alias.iter().find(|alias| alias.name == *name) {
            Some(alias) => alias.means.as_deref(),
            None => Some(*name),
        };
        let beside = |name: &str| judged.beside.iter().any(|one| one.permission == name && one.drops(path));
        found.extend(name.filter(|name| !beside(name)));
    }
    for product in judged.product.iter().filter(|product| path.contains(product.within.as_str())) {
        let own: BTreeSet<&str> = product.permissions.iter().map(String::as_str).collect();
        found = if product.instead { own } else { &found & &own };
    }
    if let Some(silent) = judged
        .silent
        .iter()
        .filter(|silent| listed.is_empty() || silent.also)
        .find(|silent| silent.covers(&operation.method, &shaped))
    {
        found.extend(silent.permissions.iter().map(String::as_str));
    }
    // A write is full access to its product, whether the vendor's list repeats it or not.
    let closed: BTreeSet<String> = found
        .iter()
        .flat_map(|name| [Some((*name).to_owned()), written(name)].into_iter().flatten())
        .filter_map(|name| names.label(&name, path))
        .collect();
    let variants = match (path.contains("/rulesets"), operation.method.as_str()) {
        (false, _) => "",
        (true, "GET") if path.starts_with("/zones/") => "zone-read",
        (true, "GET") => "account-read",
        (true, _) if path.starts_with("/zones/") => "zone-write",
        (true, _) => "account-write",
    };
    Needs { labels: closed, anybody, variants }
}

/// The rows `(set, variant, labels)` of the ruleset phases.
pub(super) fn phases(
    judged: &Judged,
    names: &Names<'_>,
    gone: &mut Vec<String>,
) -> Vec<(String, String, Vec<String>)> {
    let mut rows = Vec::new();
    for phase in &judged.phase {
        let path = if phase.scope == "zone" { "/zones/" } else { "/accounts/" };
        let label = |level: &str| names.label(&format!("{} {level}", phase.permission), path);
        let (Some(read), Some(write)) = (label("Read"), label("Write")) else {
            gone.push(phase.permission.clone());
            continue;
        };
        for name in &phase.names {
            let set = |level: &str| format!("{}-{level}", phase.scope);
            rows.push((set("read"), name.clone(), vec![read.clone(), write.clone()]));
            rows.push((set("write"), name.clone(), vec![write.clone()]));
        }
    }
    rows.sort();
    rows
}

/// What judgements name that vanished.
pub(super) fn stale(judged: &Judged, names: &Names<'_>, operations: &[VendorOperation]) -> Vec<String> {
    let named: BTreeSet<&str> = operations.iter().flat_map(VendorOperation::groups).collect();
    let known = |name: &str| names.knows(name);
    let permissions = judged
        .alias
        .iter()
        .filter_map(|alias| alias.means.as_ref())
        .chain(judged.beside.iter().map(|beside| &beside.permission))
        .chain(judged.anybody.iter().map(|one| &one.permission))
        .chain(judged.product.iter().flat_map(|product| &product.permissions))
        .chain(judged.silent.iter().flat_map(|silent| &silent.permissions));
    let mut gone: Vec<String> = permissions.filter(|name| !known(name)).cloned().collect();
    gone.extend(judged.alias.iter().map(|a| &a.name).filter(|name| !named.contains(name.as_str())).cloned());
    let shapes: Vec<(&VendorOperation, String)> =
        operations.iter().map(|one| (one, shape(&one.path))).collect();
    let is_there = |name: &str| shapes.iter().any(|(one, shape)| format!("{} {shape}", one.method) == name);
    gone.extend(judged.anybody.iter().map(|one| &one.operation).filter(|name| !is_there(name)).cloned());
    let idle = judged
        .silent
        .iter()
        .filter(|silent| !shapes.iter().any(|(one, shape)| silent.covers(&one.method, shape)));
    gone.extend(idle.map(|silent| silent.under.iter().chain(&silent.exactly).cloned().collect()));
    let idle = judged
        .product
        .iter()
        .filter(|product| !operations.iter().any(|one| one.path.contains(&product.within)));
    gone.extend(idle.map(|product| product.within.clone()));
    gone
}

/// These have long lists that are about phases, not about everybody.
fn own_lists(path: &str) -> bool {
    ["ruleset", "managed_headers", "url_normal"].iter().any(|part| path.contains(part))
}

/// The write beside a read.
fn written(name: &str) -> Option<String> {
    name.strip_suffix(" Read").map(|product| format!("{product} Write"))
}
