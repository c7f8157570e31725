//! The cheapest sets that satisfy every demand, exactly: branch and bound over a cost of which no part shrinks when a set grows.

use std::collections::BTreeSet;

/// Many times more steps than real jobs take; a job that takes more is refused rather than answered by half.
const STEPS: usize = 20_000;

/// More sets of equal cost are not told: the first ones are.
const TIES: usize = 16;

/// What choosing one permission costs.
#[derive(Debug, Clone, Default)]
pub(super) struct Candidate {
    /// It can cost the account: 0 or 1.
    pub(super) blast: u32,
    /// It changes things: 0 or 1.
    pub(super) writes: u32,
    /// It reaches beyond the named resource: 0 or 1.
    pub(super) unconfined: u32,
    /// How wide its scope is.
    pub(super) rank: u32,
    /// What it unlocks.
    pub(super) reach: Bits,
}

/// One operation: any one of these sets of candidates opens it.
pub(super) type Ways = Vec<Vec<usize>>;

/// What a set costs: compared from the first field to the last.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub(super) struct Cost {
    pub(super) blast: u32,
    pub(super) writes: u32,
    pub(super) unconfined: u32,
    pub(super) unlocked: u32,
    pub(super) rank: u32,
    pub(super) count: u32,
}

/// A set of small numbers.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Bits(Vec<u64>);

impl Bits {
    pub(super) fn insert(&mut self, bit: usize) {
        if self.0.len() <= bit / 64 {
            self.0.resize(bit / 64 + 1, 0);
        }
        if let Some(word) = self.0.get_mut(bit / 64) {
            *word |= 1 << (bit % 64);
        }
    }

    pub(super) fn add(&mut self, other: &Self) {
        if self.0.len() < other.0.len() {
            self.0.resize(other.0.len(), 0);
        }
        for (word, more) in self.0.iter_mut().zip(&other.0) {
            *word |= more;
        }
    }

    fn keep(&mut self, other: &Self) {
        self.0.truncate(other.0.len());
        for (word, kept) in self.0.iter_mut().zip(&other.0) {
            *word &= kept;
        }
    }

    pub(super) fn count(&self) -> u32 {
        self.0.iter().map(|word| word.count_ones()).sum()
    }
}

/// The sets of the least cost, each sorted, in order, the first [`TIES`] of them. `None` where the search would take too long. Without demands the answer is
/// the empty set; with a demand that has no way there is no answer.
pub(super) fn cheapest(candidates: &[Candidate], demands: &[Ways]) -> Option<Vec<Vec<usize>>> {
    let mut demands: Vec<Ways> = demands.to_vec();
    demands.sort();
    demands.dedup();
    let one = |candidate: &usize| candidates.get(*candidate);
    for ways in &mut demands {
        // The cheapest way first: what is found early bounds the rest.
        ways.sort_by_cached_key(|way| cost(candidates, way));
    }
    // An operation with one way decides first.
    demands.sort_by_key(Vec::len);
    // Whatever is chosen for them, the demands from here on unlock at least this.
    let mut certain = vec![Bits::default(); demands.len() + 1];
    for at in (0..demands.len()).rev() {
        let mut common: Option<Bits> = None;
        for way in demands.get(at)? {
            let mut reach = Bits::default();
            way.iter().filter_map(one).for_each(|candidate| reach.add(&candidate.reach));
            match &mut common {
                Some(common) => common.keep(&reach),
                None => common = Some(reach),
            }
        }
        let mut common = common?;
        common.add(certain.get(at + 1)?);
        *certain.get_mut(at)? = common;
    }
    let mut search = Search {
        candidates,
        demands: &demands,
        certain: &certain,
        best: None,
        found: BTreeSet::new(),
        steps: 0,
    };
    search.descend(0, &mut Vec::new(), Cost::default(), &Bits::default());
    (search.steps < STEPS).then(|| search.found.into_iter().collect())
}

/// What a set costs.
pub(super) fn cost(candidates: &[Candidate], set: &[usize]) -> Cost {
    let mut reach = Bits::default();
    let mut sum = Cost::default();
    for candidate in set.iter().filter_map(|one| candidates.get(*one)) {
        sum.add(candidate);
        reach.add(&candidate.reach);
    }
    Cost { unlocked: reach.count(), ..sum }
}

impl Cost {
    fn add(&mut self, candidate: &Candidate) {
        self.blast += candidate.blast;
        self.writes += candidate.writes;
        self.unconfined += candidate.unconfined;
        self.rank += candidate.rank;
        self.count += 1;
    }
}

struct Search<'a> {
    candidates: &'a [Candidate],
    demands: &'a [Ways],
    certain: &'a [Bits],
    best: Option<Cost>,
    found: BTreeSet<Vec<usize>>,
    steps: usize,
}

impl Search<'_> {
    fn descend(&mut self, mut at: usize, chosen: &mut Vec<usize>, sum: Cost, reach: &Bits) {
        self.steps += 1;
        if self.steps >= STEPS {
            return;
        }
        let met = |ways: &Ways| ways.iter().any(|way| way.iter().all(|one| chosen.contains(one)));
        while self.demands.get(at).is_some_and(met) {
            at += 1;
        }
        let mut unlocked = reach.clone();
        if let Some(certain) = self.certain.get(at) {
            unlocked.add(certain);
        }
        let least = Cost { unlocked: unlocked.count(), ..sum };
        if self.best.is_some_and(|best| least > best) {
            return;
        }
        let Some(ways) = self.demands.get(at) else {
            if self.best != Some(least) {
                self.best = Some(least);
                self.found.clear();
            }
            let mut set = chosen.clone();
            set.sort_unstable();
            self.found.insert(set);
            if self.found.len() > TIES {
                self.found.pop_last();
            }
            return;
        };
        for way in ways {
            let before = chosen.len();
            let (mut sum, mut reach) = (sum, reach.clone());
            for one in way {
                if !chosen.contains(one)
                    && let Some(candidate) = self.candidates.get(*one)
                {
                    chosen.push(*one);
                    sum.add(candidate);
                    reach.add(&candidate.reach);
                }
            }
            self.descend(at + 1, chosen, sum, &reach);
            chosen.truncate(before);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Every subset of the candidates, weighed: what the search must come to.
    fn by_brute_force(candidates: &[Candidate], demands: &[Ways]) -> Vec<Vec<usize>> {
        let mut best: Option<Cost> = None;
        let mut found = Vec::new();
        for subset in 0..1_u32 << candidates.len() {
            let set: Vec<usize> = (0..candidates.len()).filter(|one| subset >> one & 1 == 1).collect();
            if !demands.iter().all(|ways| ways.iter().any(|way| way.iter().all(|one| set.contains(one)))) {
                continue;
            }
            let cost = cost(candidates, &set);
            if best.is_none_or(|best| cost < best) {
                best = Some(cost);
                found.clear();
            }
            if best == Some(cost) {
                found.push(set);
            }
        }
        found.sort();
        found.truncate(TIES);
        found
    }

    fn candidate() -> impl Strategy<Value = Candidate> {
        let reach = prop::collection::vec(0_usize..40, 1..12);
        (0..10_u32, 0..2_u32, 0..3_u32, 0..4_u32, reach).prop_map(|(blast, writes, wide, rank, reach)| {
            let mut bits = Bits::default();
            reach.into_iter().for_each(|bit| bits.insert(bit));
            Candidate { blast: blast / 9, writes, unconfined: wide / 2, rank, reach: bits }
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(3_000))]

        #[test]
        fn the_search_finds_what_brute_force_finds(
            candidates in prop::collection::vec(candidate(), 1..9),
            demands in prop::collection::vec(prop::collection::vec(prop::collection::btree_set(0_usize..8, 1..3), 1..5), 0..6),
        ) {
            let known = |one: usize| one % candidates.len();
            let demands: Vec<Ways> = demands
                .into_iter()
                .map(|ways| ways.into_iter().map(|way| way.into_iter().map(known).collect::<BTreeSet<_>>().into_iter().collect()).collect())
                .collect();
            let found = cheapest(&candidates, &demands).unwrap();
            prop_assert_eq!(&found, &by_brute_force(&candidates, &demands));
            let mut turned = demands.clone();
            turned.reverse();
            turned.iter_mut().for_each(|ways| ways.reverse());
            turned.extend(demands);
            prop_assert_eq!(cheapest(&candidates, &turned).unwrap(), found, "order and repeats do not matter");
        }
    }

    #[test]
    fn a_demand_that_nothing_meets_has_no_answer_and_no_demand_needs_nothing() {
        assert_eq!(cheapest(&[], &[Vec::new()]), None);
        assert_eq!(cheapest(&[], &[]), Some(vec![Vec::new()]));
        assert_eq!(cheapest(&[], &[vec![Vec::new()]]), Some(vec![Vec::new()]));
    }

    #[test]
    fn a_search_without_end_is_given_up() {
        // Sixty operations, each opened by one of three permissions of its own that weigh the same.
        let candidates: Vec<Candidate> = (0..180)
            .map(|at| {
                let mut reach = Bits::default();
                reach.insert(at);
                Candidate { reach, ..Candidate::default() }
            })
            .collect();
        let demands: Vec<Ways> = (0..60).map(|at| (0..3).map(|way| vec![at * 3 + way]).collect()).collect();
        assert_eq!(cheapest(&candidates, &demands), None);
    }
}
