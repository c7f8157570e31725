//! Operations to the least permissions that open them all, with the proof.
//!
//! Each operation needs any one of some sets of permissions ([`Catalog::needs`]); the answer is the set that satisfies every
//! operation at the least cost. Costs are compared in this order:
//!
//! 1. permissions with which one slip costs the account (`high-blast`), that make keys (`escalation`), or that the data
//!    understates (`suspicious`): one is chosen only where nothing else opens an operation, and then a human decides;
//! 2. permissions that change something: a read is never answered with a write where a read opens it;
//! 3. permissions that can't be confined to the zone or bucket that the job is about;
//! 4. operations that are unlocked;
//! 5. how wide the scopes are;
//! 6. how many permissions there are.
//!
//! The search is exact. Sets of equal cost are told as ties, and the first by name is the answer. What is not known is an error
//! with the nearest that is known, never a guess.

pub mod measure;
pub mod narrow;
mod reach;
mod search;

use std::collections::HashMap;

use serde::{Serialize, Serializer};

use crate::catalog::{Catalog, split_variant};
use crate::error::CatalogError;
use crate::operation::Operation;
use crate::permission::{Access, Permission};
use search::{Bits, Candidate, Ways, cheapest};

pub(crate) use reach::Reach;

/// The most operations that one job may name.
pub const MOST_OPERATIONS: usize = 64;

/// One operation that a job calls.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Wanted<'a> {
    /// Its id, or `METHOD /path` whatever the parameters are called, with `#variant` where what it needs depends on more
    /// than the path: the phase of a ruleset, the kind of a key.
    pub operation: &'a str,
    /// The job changes something through it, even where a read opens it too (SQL over a query endpoint).
    pub writes: bool,
}

impl<'a> From<&'a str> for Wanted<'a> {
    fn from(operation: &'a str) -> Self {
        Self { operation, writes: false }
    }
}

/// A resource that the job names.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Resource {
    /// Its kind: `zone`, `bucket`, `repo`, `arn` ...
    pub kind: String,
    /// Its name or id.
    pub value: String,
}

/// The least permissions for a job, as JSON the part of a planner answer that stands on data.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Least<'c> {
    /// The provider.
    pub provider: &'static str,
    /// The operations as the catalog spells them, each once, with their variants.
    pub operations: Vec<String>,
    /// The permissions, by name, then by scope. Empty where the operations need none.
    #[serde(serialize_with = "granted")]
    pub permissions: Vec<&'c Permission>,
    /// The resources, as they were named.
    pub resources: Vec<Resource>,
    /// For each permission why it is there, and what it opens besides.
    pub proof: Vec<Proof<'c>>,
    /// How many operations the permissions open together, deprecated ones included.
    pub unlocks: usize,
    /// How many of those change something.
    pub mutating: usize,
    /// Other sets that cost exactly the same.
    #[serde(serialize_with = "granted_sets", skip_serializing_if = "Vec::is_empty")]
    pub ties: Vec<Vec<&'c Permission>>,
    /// Why a human has to decide: permissions that can make keys or cost the account, operations that answer with a
    /// credential. Empty where nobody has to.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub needs_a_human: Vec<String>,
    /// AWS: the statements of a policy, confined to the resources that were named.
    #[serde(rename = "policy", skip_serializing_if = "Option::is_none")]
    pub narrowed: Option<narrow::Narrowed>,
}

/// Why one permission is in the answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Proof<'c> {
    /// The permission's id.
    pub permission: &'static str,
    /// Its name.
    pub name: &'static str,
    /// Its scope.
    pub scope: &'static str,
    /// The operations of the job that nothing else in the answer opens; none where the job names the permission itself.
    pub forced_by: Vec<String>,
    /// How many operations it opens, deprecated ones included.
    pub unlocks: usize,
    /// How many of those change something.
    pub mutating: usize,
    /// How many of those the job does not call.
    #[serde(serialize_with = "counted")]
    pub beyond_the_job: Vec<&'c Operation>,
    /// It reads what people would not expect, and why that is so.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sensitive: Option<&'static str>,
    /// It writes, yet the operations that force it only read: the provider offers no read for them.
    #[serde(skip_serializing_if = "is_false")]
    pub read_needs_write: bool,
}

impl Catalog {
    /// The least permissions that open every one of these operations. What a job names twice counts once, and the order does not
    /// matter.
    ///
    /// ```
    /// # use keywright_catalog::{Catalog, CatalogError, Wanted};
    /// let job = ["GET /zones/{zone_id}/dns_records", "POST /zones/{zone_id}/purge_cache"].map(Wanted::from);
    /// let least = Catalog::for_provider("cloudflare")?.least(&job, &[])?;
    /// let names: Vec<&str> = least.permissions.iter().map(|one| one.name).collect();
    /// assert_eq!(names, ["Cache Purge", "DNS Read"]);
    /// assert_eq!(least.proof[0].forced_by, ["POST /zones/{zone_id}/purge_cache"]);
    /// # Ok::<(), CatalogError>(())
    /// ```
    ///
    /// `resources` come back in the answer; at AWS they confine the statements of [`Least::narrowed`].
    ///
    /// # Errors
    /// [`CatalogError::UnknownOperation`] for a name that the catalog does not have, [`CatalogError::NotComputable`] where
    /// nothing is known to open an operation, [`CatalogError::VariantNeeded`] where the path alone does not say what is
    /// needed, and [`CatalogError::JobSize`] for no operation, or too many.
    pub fn least<'c>(
        &'c self,
        wanted: &[Wanted<'_>],
        resources: &[Resource],
    ) -> Result<Least<'c>, CatalogError> {
        self.least_beside(wanted, &[], resources)
    }

    /// The same for a job that also names permissions, by id: what no operation of the data opens (a scope of the data plane) can only
    /// be named. They are in the answer, and count as held where an operation needs one of them.
    ///
    /// # Errors
    /// As of [`Self::least`]; [`CatalogError::UnknownPermission`] for an id that the catalog does not have, and
    /// [`CatalogError::JobSize`] only where the job names neither operations nor permissions, or too many.
    pub fn least_beside<'c>(
        &'c self,
        wanted: &[Wanted<'_>],
        named: &[&str],
        resources: &[Resource],
    ) -> Result<Least<'c>, CatalogError> {
        let most = MOST_OPERATIONS;
        if wanted.len() + named.len() == 0 || wanted.len() + named.len() > most {
            return Err(CatalogError::JobSize { most });
        }
        let mut calls = Vec::with_capacity(wanted.len());
        for one in wanted {
            let call = self.call(one)?;
            if !calls.iter().any(|known: &Call<'_>| known.name == call.name && known.ways == call.ways) {
                calls.push(call);
            }
        }
        let named: Vec<usize> = named.iter().map(|id| self.position_by_id(id)).collect::<Result<_, _>>()?;
        let job = Job::of(self, &calls, &named);
        let mut sets = cheapest(&job.candidates, &job.demands)
            .ok_or(CatalogError::JobSize { most })?
            .into_iter()
            .map(|set| job.positions(&set))
            .collect::<Vec<_>>();
        // Positions follow the names, so the first is the first by name.
        sets.sort();
        let mut sets = sets.into_iter();
        let chosen = sets.next().unwrap_or_default();
        let proof: Vec<Proof<'c>> =
            chosen.iter().filter_map(|one| self.proof(*one, &chosen, &calls)).collect();
        let permissions = self.at(&chosen);
        let mut opened: Vec<usize> = chosen.iter().flat_map(|one| self.reach().shown(*one)).collect();
        opened.sort_unstable();
        opened.dedup();
        let mutating =
            opened.iter().filter_map(|at| self.operation_at(*at)).filter(|one| one.mutating).count();
        let needs_a_human = reasons(&permissions, &calls);
        let mut operations = Vec::new();
        for call in &calls {
            if !operations.contains(&call.name) {
                operations.push(call.name.clone());
            }
        }
        Ok(Least {
            provider: self.provider(),
            operations,
            permissions,
            resources: resources.to_vec(),
            proof,
            unlocks: opened.len(),
            mutating,
            ties: sets.map(|set| self.at(&set)).collect(),
            needs_a_human,
            narrowed: narrow::narrowed(self, &chosen, resources),
        })
    }

    /// One wanted operation with the sets of permissions that open it.
    fn call(&self, wanted: &Wanted<'_>) -> Result<Call<'_>, CatalogError> {
        let (name, variant) = split_variant(wanted.operation);
        let operation = self.operation(name)?;
        let depends = || CatalogError::VariantNeeded {
            asked: operation.to_string(),
            variants: self.variants(operation).map(str::to_owned).collect(),
        };
        let needs = match variant {
            Some(variant) if self.variants(operation).next().is_some() => {
                self.variant(operation, variant).ok_or_else(depends)?
            }
            // It has none, so this is the name of nothing.
            Some(_) => self.operation(wanted.operation)?.needs,
            // A change can't be put under every phase at once; what only reads is shown to any of them.
            None if operation.depends => return Err(depends()),
            None => operation.needs,
        };
        let mut ways: Ways = self.sets(needs).map(<[usize]>::to_vec).collect();
        if wanted.writes {
            let changes = |way: &Vec<usize>| self.at(way).iter().any(|one| one.access != Access::Read);
            if ways.iter().any(changes) {
                ways.retain(changes);
            }
        }
        if ways.is_empty() {
            let nearest = self.operations(name, MOST_OPERATIONS);
            let known = nearest.iter().map(|found| found.item).filter(|one| one.needs != 0);
            return Err(CatalogError::NotComputable {
                asked: operation.to_string(),
                unresolved: operation.unresolved().map(str::to_owned).collect(),
                nearest: known.take(3).map(ToString::to_string).collect(),
            });
        }
        let name = match variant {
            Some(variant) => format!("{operation}#{variant}"),
            None => operation.to_string(),
        };
        Ok(Call { name, operation, ways })
    }

    fn at(&self, positions: &[usize]) -> Vec<&Permission> {
        positions.iter().filter_map(|position| self.permissions().get(*position)).collect()
    }

    fn proof(&self, one: usize, chosen: &[usize], calls: &[Call<'_>]) -> Option<Proof<'_>> {
        let permission = self.permissions().get(one)?;
        let without: Vec<usize> = chosen.iter().copied().filter(|other| *other != one).collect();
        let open =
            |call: &Call<'_>| call.ways.iter().any(|way| way.iter().all(|needed| without.contains(needed)));
        let forcing: Vec<&Call<'_>> = calls.iter().filter(|call| !open(call)).collect();
        let opened: Vec<&Operation> =
            self.reach().shown(one).filter_map(|at| self.operation_at(at)).collect();
        let mutating = opened.iter().filter(|operation| operation.mutating).count();
        let unlocks = opened.len();
        let called =
            |operation: &&Operation| calls.iter().any(|call| std::ptr::eq(call.operation, *operation));
        Some(Proof {
            permission: permission.id,
            name: permission.name,
            scope: permission.scope,
            sensitive: permission
                .sensitive
                .then(|| permission.why.unwrap_or("shows what people would not expect")),
            read_needs_write: permission.access == Access::Write
                && !forcing.is_empty()
                && forcing.iter().all(|call| !call.operation.mutating),
            forced_by: forcing.into_iter().map(|call| call.name.clone()).collect(),
            unlocks,
            mutating,
            beyond_the_job: opened.into_iter().filter(|operation| !called(operation)).collect(),
        })
    }
}

/// A wanted operation, found.
#[derive(Debug)]
struct Call<'c> {
    name: String,
    operation: &'c Operation,
    ways: Ways,
}

/// A job as the search sees it: the permissions that could matter, numbered from 0.
struct Job {
    /// Positions in the catalog, sorted.
    permissions: Vec<usize>,
    candidates: Vec<Candidate>,
    demands: Vec<Ways>,
}

impl Job {
    fn of(catalog: &Catalog, calls: &[Call<'_>], named: &[usize]) -> Self {
        let mut permissions: Vec<usize> =
            calls.iter().flat_map(|call| call.ways.iter().flatten()).chain(named).copied().collect();
        permissions.sort_unstable();
        permissions.dedup();
        let confinement = Confinement::of(calls);
        // Where no operation leaves a choice there is nothing to weigh.
        let weighed = calls.iter().any(|call| call.ways.len() > 1);
        let mut bits: HashMap<usize, usize> = HashMap::new();
        let candidates = permissions
            .iter()
            .filter_map(|position| Some((*position, catalog.permissions().get(*position)?)))
            .map(|(position, permission)| {
                let mut reach = Bits::default();
                let mut opened = catalog.reach().judged(position).filter(|_| weighed).peekable();
                // What opens nothing that the data names opens at least something that it does not name.
                let unnamed = opened.peek().is_none().then_some(usize::MAX - position);
                for operation in opened.chain(unnamed) {
                    let next = bits.len();
                    reach.insert(*bits.entry(operation).or_insert(next));
                }
                Candidate {
                    blast: u32::from(permission.high_blast || permission.escalation || permission.suspicious),
                    writes: u32::from(permission.access != Access::Read),
                    unconfined: u32::from(!confinement.holds(permission)),
                    rank: rank(permission),
                    reach,
                }
            })
            .collect();
        let number = |position: &usize| permissions.binary_search(position).unwrap_or_default();
        let demands = calls
            .iter()
            .map(|call| call.ways.iter().map(|way| way.iter().map(number).collect()).collect())
            .chain(named.iter().map(|one| vec![vec![number(one)]]))
            .collect();
        Self { permissions, candidates, demands }
    }

    fn positions(&self, set: &[usize]) -> Vec<usize> {
        set.iter().filter_map(|one| self.permissions.get(*one).copied()).collect()
    }
}

/// What the job is about, where that is one zone or one bucket.
#[derive(Clone, Copy)]
enum Confinement {
    Zone,
    Bucket,
    None,
}

impl Confinement {
    fn of(calls: &[Call<'_>]) -> Self {
        let path = |call: &Call<'_>| call.operation.path;
        if calls.iter().all(|call| path(call).starts_with("/zones/")) {
            Self::Zone
        } else if calls
            .iter()
            .any(|call| path(call).contains("/r2/buckets/{") && path(call).contains("}/objects"))
        {
            Self::Bucket
        } else {
            Self::None
        }
    }

    fn holds(self, permission: &Permission) -> bool {
        match self {
            Self::Zone => permission.scope == "zone",
            Self::Bucket => permission.scope == "bucket",
            Self::None => true,
        }
    }
}

/// How wide a scope is. Among equals an `Admin` is wider.
fn rank(permission: &Permission) -> u32 {
    let scope = match permission.scope {
        "bucket" => 0,
        "account" | "organization" => 4,
        "user" | "enterprise" => 6,
        _ => 2,
    };
    scope + u32::from(permission.name.contains("Admin"))
}

fn reasons(permissions: &[&Permission], calls: &[Call<'_>]) -> Vec<String> {
    let permissions = permissions.iter().filter(|one| one.escalation || one.high_blast).map(|one| {
        let why = one.why.unwrap_or("can make keys or change permissions");
        format!("`{}`: {why}", one.name)
    });
    let credentials = calls
        .iter()
        .filter(|call| call.operation.credential)
        .map(|call| format!("`{}`: its answer is itself a credential", call.name));
    permissions.chain(credentials).collect()
}

#[derive(Serialize)]
struct Granted {
    id: &'static str,
    name: &'static str,
    scope: &'static str,
    access: &'static str,
}

impl Granted {
    fn of(permission: &Permission) -> Self {
        let Permission { id, name, scope, access, .. } = permission;
        Self { id, name, scope, access: access.as_str() }
    }
}

pub(crate) fn granted<S: Serializer>(permissions: &[&Permission], to: S) -> Result<S::Ok, S::Error> {
    to.collect_seq(permissions.iter().map(|one| Granted::of(one)))
}

fn granted_sets<S: Serializer>(sets: &[Vec<&Permission>], to: S) -> Result<S::Ok, S::Error> {
    to.collect_seq(sets.iter().map(|set| set.iter().map(|one| Granted::of(one)).collect::<Vec<_>>()))
}

fn counted<S: Serializer>(operations: &[&Operation], to: S) -> Result<S::Ok, S::Error> {
    to.serialize_u64(operations.len() as u64)
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde's signature")]
fn is_false(value: &bool) -> bool {
    !*value
}
