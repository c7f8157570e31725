//! Where the phrases of a knowledge file stand in a text, and how much they say there.

use std::collections::{BTreeMap, HashMap};

use super::clauses::{acts, commands, joined_apart, role, role_of, stands_aside, stands_for, torn};
use super::hear::Heard;
use super::knowledge::{Knowledge, Phrase};

/// What two words say at least that stand together as in a name.
const NAME: f32 = 6.0;

/// What a phrase of the knowledge found in the text.
#[derive(Debug, Clone)]
pub(super) struct Found {
    pub(super) deed: Option<usize>,
    pub(super) weak: bool,
    pub(super) positions: Vec<usize>,
    pub(super) worth: f32,
}

pub(super) fn findings(
    heard: &Heard,
    knowledge: &Knowledge,
    places: &HashMap<usize, Vec<usize>>,
    denied: &HashMap<usize, Vec<usize>>,
) -> BTreeMap<usize, Vec<Found>> {
    let mut candidates: Vec<usize> =
        denied.keys().filter_map(|number| knowledge.phrases_of.get(*number)).flatten().copied().collect();
    candidates.sort_unstable();
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
    if !phrase.words.iter().all(|number| places.contains_key(number)) {
        return None;
    }
    let mut lists: Vec<Vec<usize>> = Vec::with_capacity(phrase.words.len());
    for (place, number) in phrase.words.iter().enumerate() {
        let known = places.get(number)?.iter().copied();
        // `list the rules` names no list.
        let begins = place == 0 && phrase.words.len() > 1;
        // `the running instances` runs none.
        let tells = |at: &usize| {
            !phrase.goes_on
                && phrase.deed.is_some()
                && heard.words.get(*at).is_some_and(|word| word.describes)
        };
        // `merge them` asks for no list of what is merged.
        let orders = |at: &usize| {
            phrase.done == Some(*number)
                && !stands_aside(*at, heard)
                && heard.words.get(*at).is_some_and(|word| word.leads && !word.kinds.is_empty() && !word.done)
        };
        let usable = |at: &usize| {
            !orders(at) && (phrase.deed.is_some() || begins || !commands(*at, heard)) && !tells(at)
        };
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
            let behind = list.partition_point(|place| place < at);
            let around = [behind.checked_sub(1), Some(behind)].into_iter().flatten();
            let nearest =
                around.filter_map(|one| list.get(one)).min_by_key(|place| (place.abs_diff(*at), **place))?;
            positions.push(*nearest);
        }
        let span = positions.iter().max()? - positions.iter().min()? + 1;
        if best.as_ref().is_none_or(|(known, _)| span < *known) {
            best = Some((span, positions));
        }
    }
    let (span, positions) = best?;
    if !phrase.joins && (joined_apart(&positions, heard, knowledge) || torn(&positions, heard, knowledge)) {
        return None;
    }
    let length = positions.len();
    let sentence = |at: &usize| {
        heard.words.get(*at).and_then(|word| heard.segments.get(word.segment)).map(|segment| segment.sentence)
    };
    // What stands before a colon goes with what follows it.
    let headed = |at: &usize| {
        heard
            .words
            .get(*at)
            .and_then(|word| heard.segments.get(word.segment))
            .is_some_and(|segment| segment.before_colon)
    };
    let together = positions.windows(2).all(|pair| match pair {
        [one, other] => {
            let (first, second) = (one.min(other), one.max(other));
            sentence(one) == sentence(other)
                || headed(first) && sentence(first).map(|sentence| sentence + 1) == sentence(second)
        }
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
