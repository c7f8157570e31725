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
    let wanted: Vec<Wanted<'_>> = operations
        .iter()
        .map(|operation| match operation.strip_prefix('!') {
            Some(operation) => Wanted { operation, writes: true },
            None => Wanted { operation, writes: false },
        })
        .collect();
    catalog.least(&wanted, resources)
}
