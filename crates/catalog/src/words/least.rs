//! The least permissions for operations.

use super::answer::Proof;
use crate::catalog::Catalog;
use crate::permission::Permission;

pub(super) fn permissions<'catalog>(_catalog: &'catalog Catalog, _operations: &[String]) -> Vec<&'catalog Permission> {
    Vec::new()
}

pub(super) fn proof<'catalog>(
    _catalog: &'catalog Catalog,
    _operations: &[String],
    _permissions: &[&'catalog Permission],
) -> Vec<Proof<'catalog>> {
    Vec::new()
}
