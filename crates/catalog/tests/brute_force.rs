//! The planner against every subset: thousands of random small jobs over the shipped catalogs, weighed here from the documented order of
//! costs and nothing else.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "test helpers fail by panicking")]

use std::collections::{BTreeMap, BTreeSet};
use std::sync::OnceLock;

use keywright_catalog::{Access, Catalog, Operation, Permission, Wanted};
use proptest::prelude::*;

const PROVIDERS: [&str; 6] = ["cloudflare", "digitalocean", "github", "gitlab", "sendgrid", "tailscale"];

/// More permissions than these make too many subsets.
const MOST_CANDIDATES: usize = 12;

struct World {
    catalog: &'static Catalog,
    solvable: Vec<&'static Operation>,
    /// For each permission, the operations that it is part of opening.
    unlocked: BTreeMap<&'static str, BTreeSet<usize>>,
}

impl World {
    fn of(provider: &str) -> &'static Self {
        static ALL: OnceLock<BTreeMap<&'static str, World>> = OnceLock::new();
        &ALL.get_or_init(|| PROVIDERS.into_iter().map(|provider| (provider, Self::read(provider))).collect())
            [provider]
    }

    fn read(provider: &str) -> Self {
        let catalog = Catalog::for_provider(provider).unwrap();
        let mut unlocked: BTreeMap<&str, BTreeSet<usize>> = BTreeMap::new();
        for (at, operation) in catalog.all_operations().iter().enumerate() {
            if !operation.anybody && !operation.deprecated {
                for one in catalog.needs(operation).flatten() {
                    unlocked.entry(one.id).or_default().insert(at);
                }
            }
        }
        let is_solvable = |one: &&Operation| !one.depends && catalog.needs(one).next().is_some();
        Self { catalog, solvable: catalog.all_operations().iter().filter(is_solvable).collect(), unlocked }
    }

    fn cost(&self, set: &[&Permission], job: &[&Operation]) -> [usize; 6] {
        let count = |holds: &dyn Fn(&Permission) -> bool| set.iter().filter(|one| holds(one)).count();
        let in_a_zone = job.iter().all(|one| one.path.starts_with("/zones/"));
        let in_a_bucket = job.iter().any(|one| one.path.contains("/r2/buckets/{bucket_name}/objects"));
        let confining = match (in_a_zone, in_a_bucket) {
            (true, _) => Some("zone"),
            (_, true) => Some("bucket"),
            _ => None,
        };
        let named: BTreeSet<usize> =
            set.iter().filter_map(|one| self.unlocked.get(one.id)).flatten().copied().collect();
        let rank = |one: &Permission| {
            let scope = match one.scope {
                "bucket" => 0,
                "account" | "organization" => 2,
                "user" | "enterprise" => 3,
                _ => 1,
            };
            scope * 2 + usize::from(one.name.contains("Admin"))
        };
        [
            count(&|one| one.high_blast || one.escalation || one.suspicious),
            count(&|one| one.access != Access::Read),
            count(&|one| confining.is_some_and(|scope| one.scope != scope)),
            named.len() + count(&|one| !self.unlocked.contains_key(one.id)),
            set.iter().map(|one| rank(one)).sum(),
            set.len(),
        ]
    }

    /// The sets of the least cost, of all subsets of the permissions that could matter.
    fn by_brute_force(
        &self,
        job: &[&Operation],
        candidates: &[&'static Permission],
    ) -> BTreeSet<Vec<&'static str>> {
        let mut best = [usize::MAX; 6];
        let mut found = BTreeSet::new();
        for subset in 0..1_usize << candidates.len() {
            let set: Vec<&Permission> = candidates
                .iter()
                .enumerate()
                .filter(|(at, _)| subset >> at & 1 == 1)
                .map(|(_, one)| *one)
                .collect();
            let opens = |operation: &&Operation| {
                self.catalog
                    .needs(operation)
                    .any(|way| way.iter().all(|one| set.iter().any(|held| held.id == one.id)))
            };
            if !job.iter().all(opens) {
                continue;
            }
            let cost = self.cost(&set, job);
            if cost < best {
                best = cost;
                found.clear();
            }
            if cost == best {
                found.insert(ids(set));
            }
        }
        found
    }
}

fn ids<'a>(set: impl IntoIterator<Item = &'a Permission>) -> Vec<&'static str> {
    let mut ids: Vec<&str> = set.into_iter().map(|one| one.id).collect();
    ids.sort_unstable();
    ids
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_500, max_global_rejects: 20_000, ..ProptestConfig::default() })]

    #[test]
    fn an_answer_is_what_every_subset_comes_to(
        provider in prop::sample::select(PROVIDERS.to_vec()),
        near in any::<prop::sample::Index>(),
        steps in prop::collection::vec((any::<bool>(), any::<prop::sample::Index>()), 1..5),
    ) {
        let world = World::of(provider);
        let all = &world.solvable;
        let near = near.index(all.len());
        let job: Vec<&Operation> = steps
            .iter()
            .map(|(beside, at)| if *beside { all[(near + at.index(10)) % all.len()] } else { all[at.index(all.len())] })
            .collect();
        let mut candidates: Vec<&Permission> =
            job.iter().flat_map(|one| world.catalog.needs(one)).flatten().collect();
        candidates.sort_unstable_by_key(|one| one.id);
        candidates.dedup_by_key(|one| one.id);
        prop_assume!(candidates.len() <= MOST_CANDIDATES);
        let spelt: Vec<String> = job.iter().map(ToString::to_string).collect();
        let wanted: Vec<Wanted<'_>> = spelt.iter().map(|one| Wanted::from(one.as_str())).collect();
        let answer = world.catalog.least(&wanted, &[]).unwrap();
        let sets = std::iter::once(&answer.permissions).chain(&answer.ties);
        let sets: BTreeSet<Vec<&str>> = sets.map(|set| ids(set.iter().copied())).collect();
        prop_assert_eq!(sets, world.by_brute_force(&job, &candidates), "{:?}", spelt);

        // One operation more never makes a job cheaper.
        let fewer = &job[..job.len() - 1];
        if !fewer.is_empty() {
            let less = world.catalog.least(&wanted[..fewer.len()], &[]).unwrap();
            prop_assert!(world.cost(&less.permissions, &job) <= world.cost(&answer.permissions, &job), "{:?}", spelt);
        }
    }
}

/// Without a permission that was chosen, the answer is another one, or there is none.
#[test]
fn an_answer_stands_on_the_data() {
    let shipped = keywright_catalog::BUILT_IN.iter().find(|one| one.provider == "cloudflare").unwrap();
    let jobs: [&[&str]; 4] = [
        &["GET /zones/{zone_id}/dns_records"],
        &["POST /zones/{zone_id}/dns_records"],
        &["GET /accounts/{account_id}/storage/kv/namespaces", "POST /zones/{zone_id}/purge_cache"],
        &["PUT /zones/{zone_id}/rulesets/phases/{ruleset_phase}/entrypoint#http_request_origin"],
    ];
    for job in jobs {
        let wanted: Vec<Wanted<'_>> = job.iter().map(|one| Wanted::from(*one)).collect();
        for chosen in Catalog::cloudflare().unwrap().least(&wanted, &[]).unwrap().permissions {
            let kept = |list: &str| {
                let kept: Vec<&str> = list.split(';').filter(|one| *one != chosen.name).collect();
                if kept.is_empty() { "-".to_owned() } else { kept.join(";") }
            };
            let lines = shipped.text().unwrap().lines().filter(|line| !line.starts_with(chosen.id));
            let without: Vec<String> =
                lines.map(|line| line.split('\t').map(kept).collect::<Vec<_>>().join("\t")).collect();
            let changed = Catalog::read(without.join("\n")).unwrap();
            if let Ok(other) = changed.least(&wanted, &[]) {
                assert!(other.permissions.iter().all(|one| one.id != chosen.id), "{job:?}");
            }
        }
    }
}
