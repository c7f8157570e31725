//! The least permissions for the operations that words chose.

use crate::catalog::Catalog;
use crate::error::CatalogError;
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
    catalog.least_beside(&wanted, &granted, resources)
}

/// Splits off the names of permissions. Where a provider calls its scopes after what they do, and lists no operation for
/// one, a knowledge file names the scope itself.
fn named<'a>(catalog: &Catalog, operations: &'a [String]) -> (Vec<&'a str>, Vec<&'a String>) {
    let mut granted = Vec::new();
    let mut rest = Vec::new();
    for operation in operations {
        if matches!(catalog.provider(), "sendgrid" | "github") && catalog.permission_by_id(operation).is_ok()
        {
            granted.push(operation.as_str());
        } else {
            rest.push(operation);
        }
    }
    (granted, rest)
}
