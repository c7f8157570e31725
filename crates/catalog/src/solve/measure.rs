//! Permissions that somebody granted, held against the least for the job: what `template check` tells.

use std::collections::BTreeSet;

use serde::Serialize;

use super::{Least, Resource, Wanted, counted, granted as granted_json};
use crate::catalog::Catalog;
use crate::error::CatalogError;
use crate::operation::Operation;
use crate::permission::Permission;

/// What granted permissions are, against the least for the operations of a job.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Measured<'c> {
    /// The granted permissions are the least, or cost the same.
    pub is_least: bool,
    /// Operations of the job that the granted permissions do not open.
    pub unopened: Vec<String>,
    /// Granted permissions that can each be left out without closing an operation.
    #[serde(serialize_with = "granted_json")]
    pub superfluous: Vec<&'c Permission>,
    /// Operations that the granted permissions open and the least would not.
    #[serde(serialize_with = "counted")]
    pub beyond_the_least: Vec<&'c Operation>,
    /// The least.
    pub least: Least<'c>,
}

impl Catalog {
    /// Holds granted permissions, by id, against the least for a job.
    ///
    /// # Errors
    /// As of [`Self::least`], and [`CatalogError::UnknownPermission`] for an id that the catalog does not have.
    pub fn measure<'c>(
        &'c self,
        granted: &[&str],
        wanted: &[Wanted<'_>],
        resources: &[Resource],
    ) -> Result<Measured<'c>, CatalogError> {
        let least = self.least(wanted, resources)?;
        let granted: BTreeSet<usize> =
            granted.iter().map(|id| self.position_by_id(id)).collect::<Result<_, _>>()?;
        let calls = wanted.iter().map(|one| self.call(one)).collect::<Result<Vec<_>, _>>()?;
        let open = |held: &BTreeSet<usize>, ways: &[Vec<usize>]| {
            ways.iter().any(|way| way.iter().all(|one| held.contains(one)))
        };
        let closed = calls.iter().filter(|call| !open(&granted, &call.ways));
        let unopened: Vec<String> = closed.map(|call| call.name.clone()).collect();
        let is_superfluous = |one: &&usize| {
            let mut without = granted.clone();
            without.remove(*one);
            calls.iter().filter(|call| open(&granted, &call.ways)).all(|call| open(&without, &call.ways))
        };
        let superfluous =
            granted.iter().filter(is_superfluous).filter_map(|one| self.permissions().get(*one)).collect();
        let opened = |held: &BTreeSet<usize>| -> BTreeSet<usize> {
            held.iter().flat_map(|one| self.reach().shown(*one)).collect()
        };
        let ids: BTreeSet<&str> =
            granted.iter().filter_map(|one| self.permissions().get(*one)).map(|one| one.id).collect();
        let is_least = std::iter::once(&least.permissions)
            .chain(&least.ties)
            .any(|set| set.iter().map(|one| one.id).collect::<BTreeSet<_>>() == ids);
        let needed: BTreeSet<usize> =
            least.permissions.iter().map(|one| self.position_by_id(one.id)).collect::<Result<_, _>>()?;
        let beyond = opened(&granted);
        let beyond_the_least =
            beyond.difference(&opened(&needed)).filter_map(|at| self.operation_at(*at)).collect();
        Ok(Measured { is_least, unopened, superfluous, beyond_the_least, least })
    }
}
