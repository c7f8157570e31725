//! The least permissions for the operations that words chose.

use crate::catalog::Catalog;
use crate::error::CatalogError;
use crate::permission::Permission;
use crate::solve::{Least, Resource, Wanted};

/// Solves operations as knowledge files write them: one that begins with `!` is called to change something.
pub(super) fn of<'catalog>(
    catalog: &'catalog Catalog,
    operations: &[String],
    resources: &[Resource],
) -> Result<Least<'catalog>, CatalogError> {
    let (granted, operations) = named(catalog, operations);
    let wanted: Vec<Wanted<'_>> = operations
        .iter()
        .map(|operation| match operation.strip_prefix('!') {
            Some(operation) => Wanted { operation, writes: true },
            None => Wanted { operation, writes: false },
        })
        .collect();
    if granted.is_empty() {
        return catalog.least(&wanted, resources);
    }
    let mut least = if wanted.is_empty() {
        let provider = catalog.provider();
        let (proof, ties, needs_a_human) = (Vec::new(), Vec::new(), Vec::new());
        Least {
            provider,
            operations: Vec::new(),
            permissions: Vec::new(),
            resources: resources.to_vec(),
            proof,
            ties,
            needs_a_human,
        }
    } else {
        catalog.least(&wanted, resources)?
    };
    for permission in granted {
        if permission.escalation || permission.high_blast {
            let why = permission.why.unwrap_or("can make keys or change permissions");
            least.needs_a_human.push(format!("`{}`: {why}", permission.name));
        }
        if !least.permissions.contains(&permission) {
            least.permissions.push(permission);
        }
    }
    least.permissions.sort_by_key(|permission| (permission.name, permission.scope));
    Ok(least)
}

/// Splits off the names of permissions. Where a provider calls its scopes after what they do, and lists no operation for
/// one, a knowledge file names the scope itself.
fn named<'catalog, 'a>(
    catalog: &'catalog Catalog,
    operations: &'a [String],
) -> (Vec<&'catalog Permission>, Vec<&'a String>) {
    let mut granted = Vec::new();
    let mut rest = Vec::new();
    for operation in operations {
        let scope =
            (catalog.provider() == "sendgrid").then(|| catalog.permission_by_id(operation).ok()).flatten();
        match scope {
            Some(permission) => granted.push(permission),
            None => rest.push(operation),
        }
    }
    (granted, rest)
}
