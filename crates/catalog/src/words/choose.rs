//! From what was heard to the things and deeds that are meant: the topics that explain the words best, and for each the
//! deeds that its verbs call.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::clauses::{acts, begins_with_and, stands_aside, stands_for, stands_main};
use super::deeds::deeds;
use super::find::{Found, findings};
use super::hear::{Heard, Word};
use super::knowledge::Knowledge;
use super::leaning::leaning;
use super::lexicon::is_faint;

/// A thing that the text is about, and what is to be done with it.
#[derive(Debug, Clone)]
pub(super) struct Chosen {
    pub(super) topic: usize,
    /// Positions in the topic's deeds.
    pub(super) deeds: Vec<usize>,
    pub(super) score: f32,
    /// Where the text first names it.
    pub(super) at: usize,
    /// Only its name was said, none of its jobs.
    pub(super) bare: bool,
    /// How many words name it.
    pub(super) words: usize,
    /// The words that its phrases take.
    pub(super) acts: BTreeSet<usize>,
    /// A whole word names it, spelt as it is spelt.
    pub(super) sure: bool,
}

/// Another topic counts as near when its score comes this close.
const NEAR: f32 = 0.97;

/// How much of the best topic's score another one needs to be asked for beside it.
const BESIDE: f32 = 0.38;

/// Less than this is hardly said at all.
const LEAST: f32 = 1.9;

/// How much of it a thing needs that a verb is said about, to be taken for words with several meanings.
const ENOUGH_WITH_A_VERB: f32 = 0.6;

/// How much of the best topic's score the main clause needs to decide.
const MAIN: f32 = 0.55;

/// How much another topic has to say to be asked for beside the first: about one word that only it has.
const ENOUGH: f32 = 3.4;

/// How a topic fares.
#[derive(Default, Clone)]
pub(super) struct Standing {
    pub(super) worth: BTreeMap<usize, f32>,
    named: bool,
    /// By deed: what its own phrases are worth, and the words they take.
    pub(super) deeds: BTreeMap<usize, (f32, BTreeSet<usize>)>,
    /// Words that name the topic itself.
    pub(super) nouns: BTreeSet<usize>,
}

impl Standing {
    /// What the phrases say that use none of the words that are taken.
    fn of(found: &[Found], taken: &BTreeSet<usize>) -> Self {
        let mut standing = Self::default();
        for one in found.iter().filter(|one| !one.positions.iter().any(|at| taken.contains(at))) {
            standing.named |= !one.weak;
            let share = one.worth / one.positions.len().max(1) as f32;
            for at in &one.positions {
                let known = standing.worth.entry(*at).or_default();
                *known = known.max(share);
            }
            if let Some(deed) = one.deed {
                let own = standing.deeds.entry(deed).or_default();
                own.0 = own.0.max(one.worth);
                own.1.extend(&one.positions);
            }
            if one.deed.is_none() || !one.weak {
                standing.nouns.extend(&one.positions);
            }
        }
        standing
    }

    fn score(&self) -> f32 {
        self.worth.values().sum()
    }
}

/// The topics that the text asks for, best first, and those that came near the first.
#[derive(Debug, Default)]
pub(super) struct Choice {
    pub(super) wanted: Vec<Chosen>,
    pub(super) near: Vec<Chosen>,
    /// Something else fits nearly as well.
    pub(super) doubtful: bool,
    /// What was found of each topic.
    found: BTreeMap<usize, Vec<Found>>,
}

impl Choice {
    /// What the rules say for each topic.
    pub(super) fn scores(&self) -> BTreeMap<usize, f32> {
        self.found
            .iter()
            .map(|(topic, found)| (*topic, Standing::of(found, &BTreeSet::new()).score()))
            .collect()
    }

    /// What is to be done with a topic if it is meant, for which these words speak.
    pub(super) fn meaning(
        &self,
        topic: usize,
        words: &BTreeMap<usize, f32>,
        heard: &Heard,
        knowledge: &Knowledge,
    ) -> Chosen {
        let found = self.found.get(&topic).map_or(&[] as &[Found], Vec::as_slice);
        let mut standing = Standing::of(found, &BTreeSet::new());
        for (at, says) in words {
            standing.worth.entry(*at).or_insert(*says);
            standing.nouns.insert(*at);
        }
        chosen(topic, &standing, heard, knowledge)
    }
}

/// Which words may count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Trust {
    /// Only segments that ask for a job, without the words for the key itself.
    Work,
    /// Only segments that ask for a job.
    Jobs,
    /// Those that ask for too much, too. Never those that give orders about the rules.
    All,
}

/// Chooses topics and deeds.
pub(super) fn choose(heard: &Heard, knowledge: &Knowledge, trust: Trust) -> Choice {
    let counts = |word: &Word| {
        let segment = heard.segments.get(word.segment);
        let trusted = match trust {
            Trust::Work => !word.meta && segment.is_some_and(|segment| !segment.smuggles),
            Trust::Jobs => segment.is_some_and(|segment| !segment.smuggles),
            Trust::All => segment.is_some_and(|segment| !segment.orders),
        };
        (!word.named || word.names_repo) && trusted
    };
    let mut places: HashMap<usize, Vec<usize>> = HashMap::new();
    let mut denied: HashMap<usize, Vec<usize>> = HashMap::new();
    for (at, word) in heard.words.iter().enumerate().filter(|(_, word)| counts(word)) {
        if let Some(number) = word.number {
            denied.entry(number).or_default().push(at);
            if !word.negated {
                places.entry(number).or_default().push(at);
            }
        }
    }
    let found = findings(heard, knowledge, &places, &denied);
    let mut taken: BTreeSet<usize> = BTreeSet::new();
    let mut choice = Choice::default();
    // What is asked comes before what it depends on, and before what it is for.
    let plain = |topic: usize| knowledge.topics.get(topic).is_some_and(|topic| topic.either.is_empty());
    let asked = |standing: &Standing| standing.nouns.iter().any(|at| !stands_aside(*at, heard));
    let central = |standing: &Standing| {
        standing.nouns.iter().any(|at| !stands_aside(*at, heard) && !stands_for(*at, heard))
    };
    let clear = strongest(&found, &taken, |_, standing| asked(standing) && standing.score() >= ENOUGH);
    let best = clear.or_else(|| strongest(&found, &taken, |_, _| true));
    // What stands in the main clause, and says enough by itself.
    let mains: BTreeMap<usize, Vec<Found>> = found
        .iter()
        .map(|(topic, list)| {
            (
                *topic,
                list.iter()
                    .filter(|one| one.positions.iter().all(|at| stands_main(*at, heard)))
                    .cloned()
                    .collect(),
            )
        })
        .collect();
    let main = strongest(&mains, &taken, |topic, standing| plain(topic) && standing.score() >= ENOUGH * 0.6);
    let best = best.map(|best| match main {
        Some((topic, standing))
            if plain(best.0) && topic != best.0 && standing.score() >= best.1.score() * MAIN =>
        {
            let full = found.get(&topic).map(|list| Standing::of(list, &taken)).unwrap_or(standing);
            (topic, full)
        }
        _ => best,
    });
    let instead = strongest(&found, &taken, |topic, standing| plain(topic) && central(standing));
    let best = best.map(|best| match instead {
        Some(plainer) if !plain(best.0) && !central(&best.1) => plainer,
        Some(plainer)
            if !plain(best.0)
                && plainer.1.score() >= best.1.score() * ENOUGH_WITH_A_VERB
                && says_what(&best.1, heard) =>
        {
            plainer
        }
        _ => best,
    });
    let Some((first, best)) = best else {
        choice.found = found;
        return choice;
    };
    let top = best.score();
    choice.wanted.push(chosen(first, &best, heard, knowledge));
    for (topic, list) in found.iter().filter(|(topic, _)| **topic != first) {
        let standing = Standing::of(list, &taken);
        let same = standing.worth.keys().all(|at| best.worth.contains_key(at));
        if standing.named && same && standing.score() >= top * NEAR {
            choice.near.push(chosen(*topic, &standing, heard, knowledge));
        }
    }
    choice.near.sort_by(|a, b| b.score.total_cmp(&a.score));
    let mut segments: BTreeSet<usize> = BTreeSet::new();
    // A verb may serve two things.
    let occupy = |segments: &mut BTreeSet<usize>, taken: &mut BTreeSet<usize>, standing: &Standing| {
        let things = standing.worth.keys().filter(|at| !acts(**at, heard));
        for at in things {
            taken.insert(*at);
            // A host alone does not say what a clause is about.
            let word = heard.words.get(*at).filter(|word| word.stem != "ahost");
            segments.extend(word.map(|word| word.segment));
        }
    };
    occupy(&mut segments, &mut taken, &best);
    // What stands before a colon is the thing; what follows are its details.
    let details = |at: &usize| {
        let before = heard.words.get(*at).and_then(|word| word.segment.checked_sub(1));
        let sentence = |segment: usize| heard.segments.get(segment).map(|segment| segment.sentence);
        heard.segments.iter().enumerate().any(|(place, segment)| {
            segment.heading
                && best
                    .nouns
                    .iter()
                    .any(|noun| heard.words.get(*noun).is_some_and(|word| word.segment == place))
                && before.is_some_and(|before| {
                    sentence(before + 1) == sentence(place).map(|sentence| sentence + 1)
                })
        })
    };
    // What an `and` brings in is asked for, however little it says.
    let enough = |standing: &Standing| {
        let brought =
            |at: &usize| heard.words.get(*at).is_some_and(|word| begins_with_and(word.segment, heard));
        if standing.nouns.iter().any(brought) { LEAST } else { ENOUGH.min(top * BESIDE).max(LEAST) }
    };
    let sentence = best
        .nouns
        .first()
        .and_then(|at| heard.words.get(*at))
        .and_then(|word| heard.segments.get(word.segment))
        .map(|segment| segment.sentence);
    while choice.wanted.len() < 4 {
        let free: BTreeMap<usize, Vec<Found>> = found
            .iter()
            .map(|(topic, list)| {
                let apart = |at: &usize| {
                    acts(*at, heard)
                        || heard.words.get(*at).is_some_and(|word| !segments.contains(&word.segment))
                };
                (*topic, list.iter().filter(|one| one.positions.iter().all(apart)).cloned().collect())
            })
            .collect();
        let beside = strongest(&free, &taken, |topic, standing| {
            let plain = knowledge.topics.get(topic).is_some_and(|topic| topic.either.is_empty());
            let new = choice.wanted.iter().all(|chosen| chosen.topic != topic);
            let apart =
                |at: &usize| heard.words.get(*at).is_some_and(|word| !segments.contains(&word.segment));
            let asked = standing.nouns.iter().any(|at| !acts(*at, heard) && is_asked(*at, heard, sentence));
            plain
                && new
                && asked
                && !standing.nouns.iter().any(details)
                && standing.nouns.iter().all(|at| acts(*at, heard) || apart(at))
                && standing.score() >= enough(standing)
        });
        let Some((topic, standing)) = beside else { break };
        occupy(&mut segments, &mut taken, &standing);
        let mut beside = chosen(topic, &standing, heard, knowledge);
        if writes_unsaid(&beside, heard, knowledge) {
            let known = knowledge.topics.get(topic);
            let looks = known.and_then(|topic| topic.deeds.iter().position(|deed| deed.reads));
            beside.deeds = looks.map_or(beside.deeds, |deed| vec![deed]);
        }
        choice.wanted.push(beside);
    }
    share(&found, &taken, heard, knowledge, &mut choice);
    choice.found = found;
    choice
}

/// Whether what is asked for beside the first thing would change something though its clause has no verb that does, and
/// does not lean that way.
fn writes_unsaid(beside: &Chosen, heard: &Heard, knowledge: &Knowledge) -> bool {
    let Some(topic) = knowledge.topics.get(beside.topic) else { return false };
    let writes = beside.deeds.iter().any(|deed| topic.deeds.get(*deed).is_some_and(|deed| !deed.reads));
    let own: BTreeSet<usize> =
        beside.acts.iter().filter_map(|at| heard.words.get(*at)).map(|word| word.segment).collect();
    let said = heard.words.iter().any(|word| {
        own.contains(&word.segment) && !word.negated && word.kinds.iter().any(|kind| kind.writes())
    });
    writes && !said && leaning(heard, |_, word| own.contains(&word.segment)) < 0.5
}

/// Adds what a second verb does with a thing that is taken already: `list the prs and merge the green ones`.
fn share(
    found: &BTreeMap<usize, Vec<Found>>,
    taken: &BTreeSet<usize>,
    heard: &Heard,
    knowledge: &Knowledge,
    choice: &mut Choice,
) {
    let free = |at: usize| {
        let Some(word) = heard.words.get(at) else { return false };
        let main = heard.segments.get(word.segment).is_some_and(|segment| {
            !segment.aside
                && !segment.context
                && !segment.elsewhere
                && !segment.bracketed
                && !segment.question
        });
        let apart =
            taken.iter().all(|thing| heard.words.get(*thing).is_some_and(|one| one.segment != word.segment));
        word.leads && !word.kinds.is_empty() && main && apart && begins_with_and(word.segment, heard)
    };
    // The clause says no more than the verb, or speaks of `them`.
    let refers = |at: usize| {
        let segment = heard.words.get(at).map(|word| word.segment);
        let mut own = heard.words.iter().enumerate().filter(|(_, word)| Some(word.segment) == segment);
        own.clone()
            .any(|(_, word)| matches!(word.stem.as_str(), "it" | "them" | "thos" | "those" | "one" | "ones"))
            || own.all(|(place, word)| place == at || word.small)
    };
    for at in (0..heard.words.len()).filter(|at| free(*at) && refers(*at)) {
        let adds = |one: &&Found| {
            one.positions.contains(&at)
                && !one.weak
                && one.positions.len() > 1
                && one
                    .positions
                    .iter()
                    .all(|place| *place == at || taken.contains(place) || acts(*place, heard))
                && one.positions.iter().any(|place| taken.contains(place))
        };
        let mut best: Option<(usize, &Found)> = None;
        for (topic, list) in found {
            let plain = knowledge.topics.get(*topic).is_some_and(|topic| topic.either.is_empty());
            let new = choice.wanted.iter().all(|chosen| chosen.topic != *topic);
            for one in list.iter().filter(adds).filter(|_| plain && new) {
                if best.is_none_or(|(_, known)| one.worth > known.worth) {
                    best = Some((*topic, one));
                }
            }
        }
        let known = choice.wanted.iter().any(|chosen| chosen.acts.contains(&at));
        if let Some((topic, one)) = best.filter(|_| !known && choice.wanted.len() < 4) {
            let standing = Standing::of(std::slice::from_ref(one), &BTreeSet::new());
            // The verb is spent there.
            let kinds = heard.words.get(at).map_or(&[] as &[_], |word| word.kinds);
            for other in &mut choice.wanted {
                let Some(known) = knowledge.topics.get(other.topic).filter(|_| other.deeds.len() > 1) else {
                    continue;
                };
                other.deeds.retain(|deed| {
                    known
                        .deeds
                        .get(*deed)
                        .is_none_or(|deed| deed.reads || !deed.kinds.iter().any(|kind| kinds.contains(kind)))
                });
            }
            choice.wanted.push(chosen(topic, &standing, heard, knowledge));
        }
    }
}

/// Scores this close are the same; then the later topic is taken, for words with several meanings stand last.
const TIE: f32 = 0.999;

/// The best topic whose words are free and that may be chosen.
fn strongest(
    found: &BTreeMap<usize, Vec<Found>>,
    taken: &BTreeSet<usize>,
    may: impl Fn(usize, &Standing) -> bool,
) -> Option<(usize, Standing)> {
    let mut best: Option<(usize, Standing)> = None;
    for (topic, list) in found {
        let standing = Standing::of(list, taken);
        let better = best.as_ref().is_none_or(|(_, known)| standing.score() > known.score() * TIE);
        if standing.named && better && may(*topic, &standing) {
            best = Some((*topic, standing));
        }
    }
    best
}

/// Whether a verb says what is to be done, besides the words that name the thing.
fn says_what(standing: &Standing, heard: &Heard) -> bool {
    heard.words.iter().enumerate().any(|(at, word)| {
        let free = !word.negated && !word.named && !standing.worth.contains_key(&at);
        free && (1..4).contains(&word.kinds.len()) && (word.leads || !word.noun_too) && !is_faint(&word.stem)
    })
}

/// Whether the segment is not the first that says something.
fn choice_is_made(heard: &Heard, segment: usize) -> bool {
    let first = heard.words.first().map(|word| word.segment);
    first.is_some_and(|first| segment >= first)
}

/// Whether the word stands where things are asked for, not where they are only mentioned.
fn is_asked(at: usize, heard: &Heard, sentence: Option<usize>) -> bool {
    let Some(word) = heard.words.get(at) else { return false };
    let Some(segment) = heard.segments.get(word.segment) else { return false };
    if segment.aside
        || segment.context
        || segment.bracketed
        || segment.names_permissions
        || segment.elsewhere
        || segment.before_colon
        || segment.question && choice_is_made(heard, word.segment)
    {
        return false;
    }
    let own = heard.own(word.segment);
    let verbs = own
        .clone()
        .any(|(place, other)| place != at && !other.kinds.is_empty() && !other.negated && other.leads);
    let listed = own.filter(|(_, other)| !other.small).count() <= 4;
    verbs || listed && !segment.heading && Some(segment.sentence) == sentence
}

fn chosen(topic: usize, standing: &Standing, heard: &Heard, knowledge: &Knowledge) -> Chosen {
    let deeds = deeds(topic, standing, heard, knowledge);
    let whole = |at: &usize| {
        heard.words.get(*at).is_some_and(|word| {
            word.trust >= 1.0
                && (word.long
                    || matches!(
                        word.stem.as_str(),
                        "env" | "var" | "org" | "dns" | "iam" | "acl" | "db" | "sso"
                    ))
        })
    };
    let sure = standing.nouns.iter().any(whole);
    let words = standing.nouns.len();
    Chosen {
        topic,
        deeds,
        score: standing.score(),
        at: standing.nouns.first().copied().unwrap_or_default(),
        words,
        acts: standing.worth.keys().copied().collect(),
        sure,
        bare: standing.deeds.is_empty(),
    }
}
