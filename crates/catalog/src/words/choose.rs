//! From what was heard to the things and deeds that are meant: the topics that explain the words best, and for each the
//! deeds that its verbs call.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::clauses::{
    begins_with_and, commands, joined_apart, role, role_of, stands_aside, stands_for, stands_main, torn,
};
use super::deeds::deeds;
use super::hear::{Heard, Word};
use super::knowledge::{Knowledge, Phrase};
use super::lexicon::{is_faint, is_noun_too, is_small, opens_as_verb};

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
    /// A whole word names it, spelt as it is spelt.
    pub(super) sure: bool,
}

/// Another topic counts as near when its score comes this close.
const NEAR: f32 = 0.97;

/// How much of the best topic's score another one needs to be asked for beside it.
const BESIDE: f32 = 0.38;

/// What two words say at least that stand together as in a name.
const NAME: f32 = 6.0;

/// Less than this is hardly said at all.
const LEAST: f32 = 1.9;

/// How much of it a thing needs that a verb is said about, to be taken for words with several meanings.
const ENOUGH_WITH_A_VERB: f32 = 0.6;

/// How much of the best topic's score the main clause needs to decide.
const MAIN: f32 = 0.55;

/// How much another topic has to say to be asked for beside the first: about one word that only it has.
const ENOUGH: f32 = 3.4;

/// What a phrase of the knowledge found in the text.
#[derive(Clone)]
struct Found {
    deed: Option<usize>,
    weak: bool,
    positions: Vec<usize>,
    worth: f32,
}

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
        !word.named && trusted
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
    let Some((first, best)) = best else { return choice };
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
            segments.extend(heard.words.get(*at).map(|word| word.segment));
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
    while choice.wanted.len() < 4 {
        let beside = strongest(&found, &taken, |topic, standing| {
            let plain = knowledge.topics.get(topic).is_some_and(|topic| topic.either.is_empty());
            let new = choice.wanted.iter().all(|chosen| chosen.topic != topic);
            let apart =
                |at: &usize| heard.words.get(*at).is_some_and(|word| !segments.contains(&word.segment));
            let asked = standing.nouns.iter().any(|at| !acts(*at, heard) && is_asked(*at, heard));
            plain
                && new
                && asked
                && !standing.nouns.iter().any(details)
                && standing.nouns.iter().all(|at| acts(*at, heard) || apart(at))
                && standing.score() >= enough(standing)
        });
        let Some((topic, standing)) = beside else { break };
        occupy(&mut segments, &mut taken, &standing);
        choice.wanted.push(chosen(topic, &standing, heard, knowledge));
    }
    choice
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
        free && (1..4).contains(&word.kinds.len())
            && (word.leads || !is_noun_too(&word.stem))
            && !is_faint(&word.stem)
    })
}

/// Whether the segment is not the first that says something.
fn choice_is_made(heard: &Heard, segment: usize) -> bool {
    let first = heard.words.first().map(|word| word.segment);
    first.is_some_and(|first| segment >= first)
}

/// Whether a word does something and names nothing.
fn acts(at: usize, heard: &Heard) -> bool {
    heard.words.get(at).is_some_and(|word| {
        !word.kinds.is_empty() && (!is_noun_too(&word.stem) || word.leads && opens_as_verb(&word.stem))
    })
}

/// Whether the word stands where things are asked for, not where they are only mentioned.
fn is_asked(at: usize, heard: &Heard) -> bool {
    let Some(word) = heard.words.get(at) else { return false };
    let Some(segment) = heard.segments.get(word.segment) else { return false };
    if segment.aside
        || segment.context
        || segment.bracketed
        || segment.names_permissions
        || segment.elsewhere
        || segment.question && choice_is_made(heard, word.segment)
    {
        return false;
    }
    let own = heard.words.iter().enumerate().filter(|(_, other)| other.segment == word.segment);
    let verbs = own.clone().any(|(place, other)| place != at && !other.kinds.is_empty() && !other.negated);
    let listed = own.filter(|(_, other)| !is_small(&other.stem)).count() <= 4;
    verbs || listed && !segment.heading
}

fn findings(
    heard: &Heard,
    knowledge: &Knowledge,
    places: &HashMap<usize, Vec<usize>>,
    denied: &HashMap<usize, Vec<usize>>,
) -> BTreeMap<usize, Vec<Found>> {
    let mut candidates: BTreeSet<usize> = BTreeSet::new();
    for number in places.keys() {
        candidates.extend(knowledge.phrases_of.get(*number).into_iter().flatten());
    }
    let mut findings: BTreeMap<usize, Vec<Found>> = BTreeMap::new();
    for position in candidates {
        let Some(phrase) = knowledge.phrases.get(position) else { continue };
        // `do not cache` is something to do.
        let places = if phrase.negates { denied } else { places };
        if let Some(found) = find(phrase, heard, knowledge, places) {
            findings.entry(phrase.topic).or_default().push(found);
        }
    }
    findings
}

/// Where a phrase stands in the text: all of its words close together.
fn find(
    phrase: &Phrase,
    heard: &Heard,
    knowledge: &Knowledge,
    places: &HashMap<usize, Vec<usize>>,
) -> Option<Found> {
    let mut lists: Vec<Vec<usize>> = Vec::with_capacity(phrase.words.len());
    for (place, number) in phrase.words.iter().enumerate() {
        let known = places.get(number)?.iter().copied();
        // `list the rules` names no list.
        let begins = place == 0 && phrase.words.len() > 1;
        let usable = |at: &usize| phrase.deed.is_some() || begins || !commands(*at, heard);
        let list: Vec<usize> = known.filter(usable).collect();
        if list.is_empty() {
            return None;
        }
        lists.push(list);
    }
    let anchor = lists.iter().min_by_key(|list| list.len())?;
    let mut best: Option<(usize, Vec<usize>)> = None;
    for at in anchor.iter() {
        let mut positions: Vec<usize> = Vec::with_capacity(lists.len());
        for list in &lists {
            let nearest = list.iter().min_by_key(|place| (place.abs_diff(*at), **place))?;
            positions.push(*nearest);
        }
        let span = positions.iter().max()? - positions.iter().min()? + 1;
        if best.as_ref().is_none_or(|(known, _)| span < *known) {
            best = Some((span, positions));
        }
    }
    let (span, positions) = best?;
    if !phrase.joins && (joined_apart(&positions, heard) || torn(&positions, heard)) {
        return None;
    }
    let length = positions.len();
    let sentence = |at: &usize| {
        heard.words.get(*at).and_then(|word| heard.segments.get(word.segment)).map(|segment| segment.sentence)
    };
    let together = positions.windows(2).all(|pair| match pair {
        [one, other] => sentence(one) == sentence(other),
        _ => true,
    });
    let ordered = positions.windows(2).all(|pair| matches!(pair, [one, other] if one < other));
    let closeness = match span - length {
        0 if ordered => 1.15,
        0 => 1.1,
        1 | 2 if ordered => 1.03,
        1 | 2 => 1.0,
        3 | 4 => 0.75,
        5..=8 => 0.5,
        _ => 0.3,
    };
    if !together {
        return None;
    }
    let within = |at: &usize| heard.words.get(*at).map(|word| word.segment);
    let one_segment =
        positions.windows(2).all(|pair| matches!(pair, [one, other] if within(one) == within(other)));
    // `delete queue` is not what a queue does that deletes.
    let turned = phrase.deed.is_some() && !ordered && positions.first().is_some_and(|at| acts(*at, heard));
    let closeness = if turned { closeness * 0.35 } else { closeness };
    let context = positions.iter().filter(|at| stands_for(**at, heard)).count();
    let closeness = if context > 0 && context < positions.len() { closeness * 0.7 } else { closeness };
    let closeness = match (together, one_segment) {
        (true, true) => closeness,
        (true, false) => closeness * 0.85,
        _ => closeness * 0.7,
    };
    let mut worth = 0.0;
    for at in &positions {
        let word = heard.words.get(*at)?;
        let segment = heard.segments.get(word.segment)?;
        let role = role(segment);
        worth += knowledge.weight.get(word.number?).copied().unwrap_or(0.0) * word.trust * role;
    }
    let whole = 1.0 + 0.2 * (length as f32 - 1.0);
    let weak = if phrase.weak { 0.5 } else { 1.0 };
    // Everyday words that stand together as they do in a name are that name.
    let name = phrase.deed.is_none()
        && length > 1
        && span == length
        && ordered
        && positions.iter().all(|at| !acts(*at, heard));
    let floor = if name { NAME + 1.4 * (length as f32 - 2.0) } else { 0.0 };
    let worth = (worth * closeness * whole * weak).max(floor * weak * role_of(&positions, heard));
    Some(Found { deed: phrase.deed, weak: phrase.weak, positions, worth })
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
        sure,
        bare: standing.deeds.is_empty(),
    }
}
