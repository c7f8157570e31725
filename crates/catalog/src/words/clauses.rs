//! Where words stand: in the main clause or aside, on one side of an `and` or on two.

use super::hear::{Heard, Segment};
use super::knowledge::Knowledge;
use super::lexicon::joins;

/// Whether words lie in two clauses that each do something to a thing of their own: `compare branches and create a tag`
/// compares no tags, but `list prs and merge the green ones` merges them.
pub(super) fn joined_apart(positions: &[usize], heard: &Heard, knowledge: &Knowledge) -> bool {
    let segment_of = |at: &usize| heard.words.get(*at).map_or(0, |word| word.segment);
    let first = positions.iter().map(segment_of).min().unwrap_or_default();
    let own = |segment: usize| heard.own(segment).map(|(_, word)| word);
    let does = |segment: usize| {
        own(segment).any(|word| {
            word.leads && !word.kinds.is_empty() && (!word.noun_too || word.opens && !word.several)
        })
    };
    positions.iter().map(segment_of).filter(|segment| *segment != first).any(|segment| {
        does(segment)
            && does(first)
            && [segment, first].iter().any(|one| names_more(*one, positions, heard, knowledge))
    })
}

/// Whether words lie on two sides of an `and` behind which something else is named.
pub(super) fn torn(positions: &[usize], heard: &Heard, knowledge: &Knowledge) -> bool {
    let segment_of = |at: &usize| heard.words.get(*at).map_or(0, |word| word.segment);
    let first = positions.iter().map(segment_of).min().unwrap_or_default();
    positions
        .iter()
        .map(segment_of)
        .filter(|segment| *segment != first)
        .any(|segment| begins_with_and(segment, heard) && names_more(segment, positions, heard, knowledge))
}

/// Whether a segment names something besides these words.
fn names_more(segment: usize, positions: &[usize], heard: &Heard, knowledge: &Knowledge) -> bool {
    heard.own(segment).any(|(at, word)| {
        !positions.contains(&at)
            && !word.named
            && !word.small
            && word.number.is_some_and(|number| knowledge.alone.contains(&number))
            && !acts(at, heard)
    })
}

pub(super) fn begins_with_and(segment: usize, heard: &Heard) -> bool {
    heard.own(segment).next().is_some_and(|(_, word)| joins(&word.stem))
}

/// How much the words of a segment count.
pub(super) fn role(segment: &Segment) -> f32 {
    match segment {
        Segment { elsewhere: true, .. } => 0.45,
        Segment { aside: true, .. } => 0.55,
        Segment { context: true, .. } => 0.75,
        Segment { heading: true, .. } => 1.5,
        _ => 1.0,
    }
}

pub(super) fn role_of(positions: &[usize], heard: &Heard) -> f32 {
    let segments = positions
        .iter()
        .filter_map(|at| heard.words.get(*at))
        .filter_map(|word| heard.segments.get(word.segment));
    segments.map(role).fold(1.5, f32::min)
}

pub(super) fn stands_aside(at: usize, heard: &Heard) -> bool {
    heard.words.get(at).and_then(|word| heard.segments.get(word.segment)).is_some_and(|segment| segment.aside)
}

/// Whether a word only says what something is for, or where it comes from.
pub(super) fn stands_for(at: usize, heard: &Heard) -> bool {
    heard
        .words
        .get(at)
        .and_then(|word| heard.segments.get(word.segment))
        .is_some_and(|segment| segment.context || segment.bracketed)
}

pub(super) fn stands_main(at: usize, heard: &Heard) -> bool {
    heard
        .words
        .get(at)
        .and_then(|word| heard.segments.get(word.segment))
        .is_some_and(|segment| !segment.aside && !segment.context && !segment.bracketed && !segment.elsewhere)
}

/// Whether a word that is mostly a noun gives an order here: first, with something behind it.
pub(super) fn commands(at: usize, heard: &Heard) -> bool {
    let Some(word) = heard.words.get(at) else { return false };
    let own = || heard.own(word.segment);
    word.leads
        && !word.several
        && matches!(word.stem.as_str(), "list" | "check" | "report" | "view" | "monitor" | "watch" | "track")
        && own().filter(|(place, _)| *place < at).all(|(_, other)| other.small)
        && own().any(|(place, other)| place > at && !other.small)
}

/// Whether a word does something and names nothing.
pub(super) fn acts(at: usize, heard: &Heard) -> bool {
    heard
        .words
        .get(at)
        .is_some_and(|word| !word.kinds.is_empty() && (!word.noun_too || word.leads && word.opens))
}
