//! The other way round: what is missing for an operation, given permissions that are held.

use crate::catalog::Catalog;
use crate::error::CatalogError;
use crate::permission::Permission;

use super::Wanted;

impl Catalog {
    /// The fewest permissions that are missing, so that these operations are open to whoever holds `held`, by id. None where
    /// they are open already.
    ///
    /// # Errors
    /// As [`Catalog::least`]; ids that the catalog does not have hold nothing.
    pub fn missing<'c>(
        &'c self,
        held: &[&str],
        operations: &[&str],
    ) -> Result<Vec<&'c Permission>, CatalogError> {
        let mut missing: Vec<&Permission> = Vec::new();
        for operation in operations {
            let call = self.call(&Wanted::from(*operation))?;
            let lacks = |way: &Vec<usize>| -> Vec<&'c Permission> {
                let is_held =
                    |one: &&Permission| held.contains(&one.id) || missing.iter().any(|m| m.id == one.id);
                self.at(way).into_iter().filter(|one| !is_held(one)).collect()
            };
            let is_open = call.ways.iter().any(|way| lacks(way).is_empty());
            if !is_open {
                // Of this operation alone, by the same order as a whole job.
                let least = self.least(&[Wanted::from(*operation)], &[])?;
                missing.extend(least.permissions.into_iter().filter(|one| !held.contains(&one.id)));
            }
        }
        missing.sort_by_key(|one| (one.name, one.scope));
        missing.dedup_by_key(|one| one.id);
        Ok(missing)
    }

    /// Whether whoever holds these permissions, by id, can call every one of these operations. What is not known is closed.
    #[must_use]
    pub fn opens(&self, held: &[&str], operations: &[&str]) -> bool {
        self.missing(held, operations).is_ok_and(|missing| missing.is_empty())
    }
}

#[cfg(test)]
mod tests {
    use crate::catalog::Catalog;

    #[test]
    fn what_is_missing_is_the_least_that_opens_the_rest() {
        let catalog = Catalog::cloudflare().unwrap();
        let id = |name: &str| catalog.permission(name, Some("zone")).unwrap().id;
        let (list, create) = ("GET /zones/{zone_id}/dns_records", "POST /zones/{zone_id}/dns_records");
        let names = |held: &[&str], operations: &[&str]| -> Vec<&str> {
            catalog.missing(held, operations).unwrap().iter().map(|one| one.name).collect()
        };
        assert_eq!(names(&[], &[list]), ["DNS Read"]);
        assert_eq!(names(&[id("DNS Read")], &[list]), [""; 0]);
        assert_eq!(names(&[id("DNS Read")], &[list, create]), ["DNS Write"]);
        assert!(catalog.opens(&[id("DNS Write")], &[list, create]));
        assert!(!catalog.opens(&[id("DNS Write")], &["POST /nowhere"]), "what is not known is closed");
    }
}
