//! A second opinion on which thing a text is about: every word by itself, wherever it stands, against all that a thing is
//! called by and the identifiers of its operations.
//!
//! Phrases are exact: each of their words has to be there. People say it otherwise. Here a thing gets what each rare
//! word of the text says for it, so that one that explains many more of them shows.

use std::collections::{BTreeMap, HashMap, HashSet};

use super::hear::{Heard, Segment, Word};
use super::knowledge::Knowledge;
use super::shapes::Shapes;
use super::tokens::{camel_parts, stems};
use crate::catalog::Catalog;

/// What a word of a deed's phrase says for the thing, beside one of the thing's own name.
const OF_DEED: f32 = 0.7;

/// What a word of an operation's path or id says.
const IDENTIFIER: f32 = 0.6;

/// What a word gains by standing in many phrases of a thing.
const OFTEN: f32 = 0.4;

/// The most that a verb says about the thing, a verb that is as often a noun, a small word, and a host's name.
const VERB: f32 = 2.5;
const NOUN_TOO: f32 = 3.2;
const SMALL: f32 = 1.5;
const HOST: f32 = 2.4;

/// How much of it counts of a word that stands aside, and of one that is about somebody else's program.
const ASIDE: f32 = 0.6;
const ELSEWHERE: f32 = 0.3;

/// What the rules' score counts beside the words'.
const RULES: f32 = 0.7;

/// How much better another thing has to explain the text to be taken instead.
const CLEARLY: f32 = 1.2;

/// How much of it another thing has to explain to be named beside the plan.
const AS_WELL: f32 = 0.45;

/// Where the next best explains nearly as much, a change is asked about, unless the rules or the words are this clear.
const HARDLY_BETTER: f32 = 1.15;
const SAID_CLEARLY: f32 = 14.0;
const NEARLY_ALL: f32 = 0.9;

/// How much has to be explained where the rules see nothing.
const ENOUGH: f32 = 7.0;

/// What a word says that stands with one thing only.
const MOST: f32 = 4.9;

/// What each word says for each topic.
#[derive(Debug, Default)]
pub(super) struct Opinion {
    /// How rare a word is, and how much it belongs to each topic that has it.
    says: HashMap<String, (f32, Vec<(usize, f32)>)>,
    topics: usize,
    /// The words that phrases have: where one was not heard as such, it only describes.
    phrased: HashSet<String>,
}

impl Opinion {
    pub(super) fn of(knowledge: &Knowledge, shapes: &Shapes, catalog: &Catalog) -> Self {
        let names = knowledge.stems();
        let phrased = names.iter().map(|stem| (*stem).to_owned()).collect();
        let mut weights: Vec<HashMap<&str, (f32, f32)>> = vec![HashMap::new(); knowledge.topics.len()];
        for phrase in &knowledge.phrases {
            let Some(own) = weights.get_mut(phrase.topic) else { continue };
            let says = if phrase.deed.is_some() { OF_DEED } else { 1.0 };
            let says = says / (phrase.words.len().max(1) as f32).sqrt();
            for word in phrase.words.iter().filter_map(|number| names.get(*number)) {
                let known = own.entry(word).or_default();
                *known = (known.0.max(says), known.1 + 1.0);
            }
        }
        let mut says: HashMap<String, Vec<(usize, f32)>> = HashMap::new();
        for (topic, own) in weights.into_iter().enumerate() {
            let mut own: HashMap<String, f32> = own
                .into_iter()
                .map(|(word, (says, often))| (word.to_owned(), says * (1.0 + OFTEN * (1.0 + often).ln())))
                .collect();
            let known = knowledge.topics.get(topic);
            for deed in known.into_iter().flat_map(|topic| &topic.deeds) {
                for operation in shapes.of_deed(deed) {
                    for word in shapes.words_of(&operation, catalog) {
                        let known = own.entry(word).or_default();
                        *known = known.max(IDENTIFIER);
                    }
                }
            }
            for word in stems(known.map_or("", |topic| topic.id)) {
                let known = own.entry(word).or_default();
                *known = known.max(IDENTIFIER);
            }
            for (word, weight) in own {
                says.entry(word).or_default().push((topic, weight));
            }
        }
        let topics = knowledge.topics.len();
        let rarity = |found: usize| (1.0 + topics as f32 / (found as f32 + 0.5)).ln();
        let rare = |list: Vec<(usize, f32)>| (MOST * rarity(list.len()) / rarity(1), list);
        Self { says: says.into_iter().map(|(word, list)| (word, rare(list))).collect(), topics, phrased }
    }

    /// How well each topic explains the text, together with what the rules say.
    pub(super) fn scores(&self, heard: &Heard, by_rules: &BTreeMap<usize, f32>) -> Vec<f32> {
        let mut scores = vec![0.0; self.topics];
        let mut counted: HashSet<&str> = HashSet::new();
        for (word, segment) in self.asked(heard) {
            let Some((rarity, list)) = self.says.get(&word.stem) else { continue };
            if !counted.insert(&word.stem) {
                continue;
            }
            let most = match word.kinds {
                _ if word.small => SMALL,
                _ if matches!(word.stem.as_str(), "ahost" | "apath" | "zon" | "domain") => HOST,
                [] => MOST,
                _ if word.noun_too => NOUN_TOO,
                _ => VERB,
            };
            let aside = segment.context || segment.aside || segment.bracketed;
            let share = if segment.elsewhere {
                ELSEWHERE
            } else if aside {
                ASIDE
            } else {
                1.0
            };
            let says = rarity.min(most) * share;
            for (topic, belongs) in list {
                if let Some(score) = scores.get_mut(*topic) {
                    *score += says * belongs;
                }
            }
        }
        for (topic, by_rules) in by_rules {
            if let Some(score) = scores.get_mut(*topic) {
                *score += by_rules * RULES;
            }
        }
        scores
    }

    /// The words of the text that speak for a topic, and how much.
    pub(super) fn words_for(&self, topic: usize, heard: &Heard) -> BTreeMap<usize, f32> {
        let words = heard.words.iter().enumerate().filter(|(_, word)| {
            !word.negated && !word.named && !word.meta && !word.small && word.kinds.is_empty()
        });
        words
            .filter_map(|(at, word)| {
                let (rarity, list) = self.says.get(&word.stem)?;
                list.iter().find(|(known, _)| *known == topic).map(|(_, belongs)| (at, rarity * belongs))
            })
            .collect()
    }

    /// Another topic that explains the text far better than those that the rules chose.
    pub(super) fn instead(
        &self,
        scores: &[f32],
        heard: &Heard,
        knowledge: &Knowledge,
        chosen: &[usize],
    ) -> Option<usize> {
        let plain = |topic: usize| knowledge.topics.get(topic).is_some_and(|topic| topic.either.is_empty());
        let at = |topic: usize| scores.get(topic).copied().unwrap_or_default();
        let best =
            (0..scores.len()).filter(|topic| plain(*topic)).max_by(|a, b| at(*a).total_cmp(&at(*b)))?;
        let now = chosen.iter().map(|topic| at(*topic)).fold(0.0, f32::max);
        let clear = if chosen.is_empty() {
            at(best) >= ENOUGH && self.words_for(best, heard).len() > 1 && !says_anything(heard)
        } else {
            at(best) > now * CLEARLY
        };
        let more = chosen.is_empty()
            || self.asked(heard).any(|(word, _)| {
                let stands = |topic: usize| {
                    self.says
                        .get(&word.stem)
                        .is_some_and(|(_, list)| list.iter().any(|(known, _)| *known == topic))
                };
                !word.small && stands(best) && !chosen.iter().any(|topic| stands(*topic))
            });
        (clear && more && !chosen.contains(&best) && chosen.iter().all(|topic| plain(*topic))).then_some(best)
    }

    /// Whether another topic explains the text nearly as well, and neither the rules nor the words speak clearly for the
    /// chosen ones.
    pub(super) fn doubts(
        &self,
        scores: &[f32],
        heard: &Heard,
        by_rules: &BTreeMap<usize, f32>,
        chosen: &[usize],
    ) -> bool {
        let at = |topic: usize| scores.get(topic).copied().unwrap_or_default();
        let best = |topics: &mut dyn Iterator<Item = usize>| topics.map(at).fold(0.0, f32::max);
        let own = best(&mut chosen.iter().copied());
        let other = best(&mut (0..scores.len()).filter(|topic| !chosen.contains(topic)));
        let said = chosen.iter().filter_map(|topic| by_rules.get(topic)).copied().fold(0.0, f32::max);
        let (mut all, mut explained) = (0.0, 0.0);
        for (word, _) in self.asked(heard).filter(|(word, _)| !word.small && word.kinds.is_empty()) {
            let Some((rarity, list)) = self.says.get(&word.stem) else { continue };
            let belongs =
                list.iter().filter(|(topic, _)| chosen.contains(topic)).map(|(_, belongs)| *belongs);
            all += rarity;
            explained += rarity * belongs.fold(0.0, f32::max).min(1.0);
        }
        own < other * HARDLY_BETTER && said < SAID_CLEARLY && explained < all * NEARLY_ALL
    }

    /// The words that ask for something.
    fn asked<'a>(&'a self, heard: &'a Heard) -> impl Iterator<Item = (&'a Word, &'a Segment)> {
        let words = heard.words.iter().filter(|word| !word.negated && !word.named && !word.meta);
        words
            .filter(|word| word.number.is_some() || !self.phrased.contains(&word.stem))
            .filter_map(|word| heard.segments.get(word.segment).map(|segment| (word, segment)))
            .filter(|(_, segment)| !segment.smuggles)
    }

    /// What else the text may be about, the best first.
    pub(super) fn others(&self, scores: &[f32], knowledge: &Knowledge, chosen: &[usize]) -> Vec<usize> {
        let at = |topic: usize| scores.get(topic).copied().unwrap_or_default();
        let least = chosen.iter().map(|topic| at(*topic)).fold(0.0, f32::max) * AS_WELL;
        let plain = |topic: &usize| knowledge.topics.get(*topic).is_some_and(|topic| topic.either.is_empty());
        let mut others: Vec<usize> = (0..scores.len())
            .filter(|topic| !chosen.contains(topic) && least > 0.0 && at(*topic) >= least)
            .filter(plain)
            .collect();
        others.sort_by(|a, b| at(*b).total_cmp(&at(*a)));
        others.truncate(4);
        others
    }
}

/// Whether a text wants anything at all, whatever it is.
fn says_anything(heard: &Heard) -> bool {
    let any = |stem: &str| matches!(stem, "whatev" | "whatever" | "anyth" | "everyth");
    heard.words.iter().any(|word| any(&word.stem))
}

/// The stems of an identifier's parts.
pub(super) fn parts(text: &str) -> impl Iterator<Item = String> + '_ {
    text.split(|letter: char| !letter.is_alphanumeric()).flat_map(camel_parts).flat_map(stems)
}
