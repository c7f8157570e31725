//! Which way words lean: whether people say them where something is looked at, or where something is changed.
//!
//! The knowledge files of all providers hold thousands of phrases that call for a deed. How often a word stands in those
//! that only look, and in those that change something, tells what a text is after that has no verb (`sizes`, `every`,
//! `which` look; `into`, `must`, `via` do).

use std::collections::{HashMap, HashSet};
use std::sync::OnceLock;

use super::BOOKS;
use super::hear::{Heard, Word};
use super::knowledge::{Kind, phrases_by_deed};
use super::tokens::stems;

/// What a word is held to have been said besides, in phrases: rare words say little.
const DOUBT: f32 = 2.0;

/// For each word the logarithm of how much more often it changes something than not.
fn leanings() -> &'static HashMap<String, f32> {
    static KNOWN: OnceLock<HashMap<String, f32>> = OnceLock::new();
    KNOWN.get_or_init(|| {
        let mut counts: HashMap<String, [f32; 2]> = HashMap::new();
        let mut all = [0.0_f32; 2];
        for (reads, phrase) in BOOKS.iter().flat_map(|book| phrases_by_deed(book.text)) {
            let which = usize::from(!reads);
            let said: HashSet<String> = stems(phrase).into_iter().collect();
            let count = |counts: &mut [f32; 2]| {
                if let Some(count) = counts.get_mut(which) {
                    *count += 1.0;
                }
            };
            count(&mut all);
            for stem in said {
                count(counts.entry(stem).or_default());
            }
        }
        let [looks, changes] = all;
        let share = |count: f32, of: f32| {
            ((count + DOUBT * of / (looks + changes).max(1.0)) / (of + DOUBT)).max(f32::MIN_POSITIVE).ln()
        };
        counts
            .into_iter()
            .map(|(stem, [read, write])| (stem, share(write, changes) - share(read, looks)))
            .collect()
    })
}

/// What a verb that no list has leans at least, to be taken for one that makes something.
const A_VERB: f32 = 1.5;

/// Takes words for verbs that no list has: they stand where a verb stands, a thing follows, and phrases that change
/// something have them (`and leaves a review`).
pub(super) fn learn(heard: &mut Heard) {
    for at in 0..heard.words.len() {
        let Some(word) = heard.words.get(at) else { break };
        let unknown = word.leads && word.kinds.is_empty() && !word.small && !word.named && !word.describes;
        let follows = heard.words.get(at + 1).filter(|next| next.segment == word.segment);
        let thing = follows.is_some_and(|next| {
            matches!(
                next.stem.as_str(),
                "a" | "an" | "the" | "it" | "its" | "them" | "our" | "my" | "thi" | "thes" | "new"
            )
        });
        let leans = leanings().get(&word.stem).is_some_and(|leans| *leans > A_VERB);
        if unknown
            && !word.negated
            && thing
            && leans
            && let Some(word) = heard.words.get_mut(at)
        {
            word.kinds = &[Kind::Create];
        }
    }
}

/// Which way the words of a text lean that may count: below nothing they look, above they change something.
pub(super) fn leaning(heard: &Heard, counts: impl Fn(usize, &Word) -> bool) -> f32 {
    let known = leanings();
    let mut counted: HashSet<&str> = HashSet::new();
    let words = heard.words.iter().enumerate();
    let said = words.filter(|(at, word)| !word.negated && !word.named && !word.meta && counts(*at, word));
    let asked =
        said.filter(|(_, word)| heard.segments.get(word.segment).is_some_and(|segment| !segment.smuggles));
    asked
        .filter(|(_, word)| counted.insert(&word.stem))
        .map(|(_, word)| known.get(&word.stem).copied().unwrap_or_default())
        .sum()
}
