//! What a set of permissions opens: the blast radius of a key.

use crate::operation::Operation;

/// The operations that a set of permissions opens, as far as the provider's data says. Operations without permission
/// data are not in it, and a provider may let a key do more than its data shows (object storage, for one).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Footprint<'catalog> {
    /// How many operations it opens, deprecated ones included.
    pub total: usize,
    /// How many of them change something.
    pub mutating: usize,
    /// How many of them answer with a credential.
    pub credentials: usize,
    operations: Vec<&'catalog Operation>,
}

impl<'catalog> Footprint<'catalog> {
    /// The operations, in the order of the catalog: by path, then by method.
    pub fn operations(&self) -> impl Iterator<Item = &'catalog Operation> + '_ {
        self.operations.iter().copied()
    }

    pub(crate) fn of(operations: Vec<&'catalog Operation>) -> Self {
        let count = |holds: fn(&Operation) -> bool| operations.iter().filter(|one| holds(one)).count();
        Self {
            total: operations.len(),
            mutating: count(|operation| operation.mutating),
            credentials: count(|operation| operation.credential),
            operations,
        }
    }
}
