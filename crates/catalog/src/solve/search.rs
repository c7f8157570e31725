//! The cheapest sets that satisfy every demand, exactly: branch and bound over a cost of which no part shrinks when a set grows.

use std::collections::BTreeSet;

/// More steps than any real job takes; a job that takes more is refused rather than answered by half.
const STEPS: usize = 400_000;

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

/// All sets of the least cost, each sorted, in order. `None` where the search would take too long. Without demands the answer is
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
