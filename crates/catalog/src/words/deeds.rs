//! What is to be done with a thing: the topic's own jobs by their phrases, the rest by their verbs.

use std::collections::BTreeSet;

use super::choose::Standing;
use super::clauses::{acts, begins_with_and};
use super::hear::Heard;
use super::knowledge::{Kind, Knowledge, Topic};
use super::lexicon::is_faint;
use super::stance::changes;

/// A text without a verb that leans so far only looks, and one with a verb that leans so far does not only look.
const LEANS_TO_LOOK: f32 = -0.5;
const LEANS_TO_CHANGE: f32 = 2.5;

/// The deeds that the words call: the topic's own jobs by their phrases, the rest by their verbs.
pub(super) fn deeds(topic: usize, standing: &Standing, heard: &Heard, knowledge: &Knowledge) -> Vec<usize> {
    let Some(known) = knowledge.topics.get(topic) else { return Vec::new() };
    let mut called: Vec<(usize, f32, &BTreeSet<usize>)> =
        standing.deeds.iter().map(|(deed, (worth, words))| (*deed, *worth, words)).collect();
    called.sort_unstable_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
    let mut picked: Vec<usize> = Vec::new();
    // A job that is called by its name, and by nothing else, is what it is.
    let besides = |words: &BTreeSet<usize>| {
        heard.words.iter().enumerate().any(|(at, word)| !word.small && !word.named && !words.contains(&at))
    };
    let more = called.first().is_none_or(|(_, _, words)| besides(words));
    let looks = heard.looks || more && heard.leaning < LEANS_TO_LOOK && !changes(heard);
    let looks = looks && known.deeds.iter().any(|deed| deed.reads);
    let mut spent: BTreeSet<usize> = BTreeSet::new();
    let mut done: BTreeSet<usize> = BTreeSet::new();
    let topic_words: BTreeSet<usize> = standing.nouns.iter().copied().collect();
    for (deed, worth, words) in &called {
        // `get the secret and rotate it`: the second verb is as much asked for.
        let again = words.iter().any(|at| {
            acts(*at, heard)
                && heard.words.get(*at).is_some_and(|word| word.leads && begins_with_and(word.segment, heard))
        });
        let least = if again { 0.12 } else { 0.45 };
        let strong = called.first().is_some_and(|(_, best, _)| *worth >= best * least);
        let fresh = words.iter().any(|at| !spent.contains(at));
        let asks = standing
            .nouns
            .iter()
            .filter_map(|at| heard.words.get(*at))
            .any(|word| heard.segments.get(word.segment).is_some_and(|segment| segment.question));
        let allowed = known.deeds.get(*deed).is_some_and(|deed| deed.reads || !heard.read_only && !asks);
        let reported = words.iter().any(|at| is_reported(*at, heard));
        let acted = words.iter().any(|at| {
            acts(*at, heard) || heard.words.get(*at).is_some_and(|word| word.kinds == [Kind::Read])
        });
        let allowed = allowed && (acted || !looks || known.deeds.get(*deed).is_some_and(|deed| deed.reads));
        let allowed = allowed && (!reported || known.deeds.get(*deed).is_some_and(|deed| deed.reads));
        if strong && fresh && allowed {
            let does = |at: &usize| {
                acts(*at, heard)
                    && heard.words.get(*at).is_some_and(|word| {
                        known
                            .deeds
                            .get(*deed)
                            .is_some_and(|deed| word.kinds.iter().any(|kind| deed.kinds.contains(kind)))
                    })
            };
            if words.iter().any(does) {
                done.insert(*deed);
            }
            picked.push(*deed);
            spent.extend(words.iter());
        }
    }
    let (mut kinds, mut joint) = kinds(standing, heard, &spent, &topic_words);
    let denied = denied(heard);
    if heard.read_only {
        kinds = BTreeSet::from([Kind::Read]);
    }
    if kinds.len() > 1 || picked.is_empty() {
        kinds.retain(|kind| !denied.contains(kind) || denied.len() > 1 && kinds_asked(heard, *kind));
    }
    joint.retain(|kind| kinds.contains(kind));
    // Of a job that changes a thing and one that shows it, both called by its name, `get` means the second.
    if kinds == BTreeSet::from([Kind::Read])
        && let Some((top, most, words)) = called.first()
        && known.deeds.get(*top).is_some_and(|deed| !deed.reads)
        && !words
            .iter()
            .any(|at| heard.words.get(*at).is_some_and(|word| word.kinds.iter().any(|kind| kind.writes())))
        && let Some((shows, _, _)) = called.iter().find(|(deed, worth, _)| {
            known.deeds.get(*deed).is_some_and(|deed| deed.reads) && *worth >= most * 0.4
        })
    {
        picked = vec![*shows];
    }
    if looks && picked.is_empty() {
        kinds.insert(Kind::Read);
    }
    // A verb outweighs what a deed is called: `read the rules` does not edit them.
    if !kinds.is_empty() {
        picked.retain(|deed| {
            known
                .deeds
                .get(*deed)
                .is_none_or(|deed| deed.named || deed.kinds.iter().any(|kind| kinds.contains(kind)))
                || done.contains(deed)
        });
    }
    // A job that deletes is not one without deleting.
    if denied.contains(&Kind::Delete) {
        picked.retain(|deed| {
            known.deeds.get(*deed).is_none_or(|deed| !deed.operations.iter().any(|one| deletes(one)))
        });
    }
    let has_named = picked.iter().any(|deed| known.deeds.get(*deed).is_some_and(|deed| deed.named));
    if picked.is_empty() || !has_named {
        for kind in &kinds {
            add_for(*kind, known, &mut picked, standing, heard.read_only);
        }
    }
    // `create and delete the group`: both, though one of them is a job of its own.
    let said: BTreeSet<Kind> = spent
        .iter()
        .filter_map(|at| heard.words.get(*at))
        .flat_map(|word| word.kinds.iter().copied())
        .collect();
    for kind in joint.difference(&said) {
        add_for(*kind, known, &mut picked, standing, heard.read_only);
    }
    // Something is to be changed, and only jobs with names of their own change it.
    let reads = |deed: &usize| known.deeds.get(*deed).is_some_and(|deed| deed.reads);
    if !kinds.is_empty()
        && kinds.iter().all(|kind| kind.writes())
        && picked.iter().all(reads)
        && !heard.read_only
        && let Some(writes) = known.deeds.iter().position(|deed| !deed.reads)
    {
        picked = vec![writes];
    }
    // Where a verb looks, or what is said is only what may not be done, nothing is changed by default.
    if picked.is_empty() && (looks_only(heard) || !denied.is_empty()) {
        picked.extend(known.deeds.iter().position(|deed| deed.reads));
    }
    if picked.is_empty() && !heard.read_only {
        picked.extend((!known.deeds.is_empty()).then_some(0));
    }
    if picked.is_empty() {
        picked.extend(known.deeds.iter().position(|deed| deed.reads));
    }
    // A verb that changes something, words that lean that way, and none that looks: not only read.
    if picked.iter().all(reads)
        && leans_to_change(heard)
        && !looks
        && denied.is_empty()
        && let Some(writes) = known.deeds.iter().position(|deed| !deed.reads && !deed.named)
    {
        picked.push(writes);
    }
    picked.sort_unstable();
    picked.dedup();
    picked
}

/// Whether a text is after a change, though none of its verbs called one.
fn leans_to_change(heard: &Heard) -> bool {
    let looks = heard
        .words
        .iter()
        .any(|word| !word.negated && word.leads && word.kinds == [Kind::Read] && !is_faint(&word.stem));
    let asks = heard.segments.iter().any(|segment| segment.question);
    heard.leaning > LEANS_TO_CHANGE && changes(heard) && !looks && !asks && !heard.read_only
}

/// Whether the only verbs are those of looking.
fn looks_only(heard: &Heard) -> bool {
    let verbs = || heard.words.iter().enumerate().filter(|(at, word)| !word.negated && acts(*at, heard));
    let reads = heard
        .words
        .iter()
        .any(|word| !word.negated && word.leads && word.kinds == [Kind::Read] && word.stem != "get");
    reads && verbs().all(|(_, word)| word.kinds == [Kind::Read])
}

fn kinds_asked(heard: &Heard, kind: Kind) -> bool {
    heard.words.iter().any(|word| !word.negated && word.kinds == [kind])
}

fn add_for(kind: Kind, known: &Topic, picked: &mut Vec<usize>, standing: &Standing, read_only: bool) {
    let fits = |wanted: Kind| {
        let fitting = known.deeds.iter().enumerate().filter(|(_, deed)| deed.kinds.contains(&wanted));
        fitting
            .max_by(|(a, _), (b, _)| {
                let worth = |deed: &usize| standing.deeds.get(deed).map_or(0.0, |(worth, _)| *worth);
                worth(a).total_cmp(&worth(b)).then(b.cmp(a))
            })
            .map(|(deed, _)| deed)
    };
    if picked.iter().any(|deed| known.deeds.get(*deed).is_some_and(|deed| deed.kinds.contains(&kind))) {
        return;
    }
    let order: &[Kind] = match kind {
        Kind::Read => &[Kind::Read],
        Kind::Create => &[Kind::Create, Kind::Update],
        Kind::Update => &[Kind::Update, Kind::Create],
        Kind::Delete => &[Kind::Delete, Kind::Update],
    };
    if let Some(deed) = order.iter().find_map(|kind| fits(*kind))
        && (!read_only || known.deeds.get(deed).is_some_and(|deed| deed.reads))
    {
        picked.push(deed);
    }
}

/// The kinds of the verbs that belong to a topic: those in its own segments, else those around it.
fn kinds(
    standing: &Standing,
    heard: &Heard,
    spent: &BTreeSet<usize>,
    nouns: &BTreeSet<usize>,
) -> (BTreeSet<Kind>, BTreeSet<Kind>) {
    let own: BTreeSet<usize> =
        standing.worth.keys().filter_map(|at| heard.words.get(*at)).map(|word| word.segment).collect();
    let verbs = |segment: usize, faint: bool| {
        let mut kinds = BTreeSet::new();
        // `see who approved it` approves nothing.
        let mut others = false;
        for (at, word) in heard.own(segment) {
            let free = !word.negated && !word.named && !word.meta && !spent.contains(&at);
            let verb = word.leads && word.opens;
            // `get file blame` files nothing.
            let looked_at = faint && is_faint(&word.stem);
            let thing = !looked_at && word.noun_too && !word.opens && !word.leads;
            let noun = thing || nouns.contains(&at) && word.noun_too && !verb;
            others |= matches!(word.stem.as_str(), "who" | "whether" | "what" | "how");
            let faint = faint || begins_list(at, heard);
            if free && (!noun || faint && is_faint(&word.stem)) && (faint || !is_faint(&word.stem)) {
                match word.stem.as_str() {
                    "open" if !word.leads => {}
                    "open" if !opens_anew(at, heard) => {
                        kinds.insert(Kind::Read);
                    }
                    // `the records` record nothing.
                    _ if others || noun && !word.leads => {
                        kinds.extend(word.kinds.iter().copied().filter(|kind| !kind.writes()))
                    }
                    _ => kinds.extend(word.kinds.iter().copied()),
                }
            }
        }
        if heard.segments.get(segment).is_some_and(|segment| segment.question) {
            kinds.retain(|kind| !kind.writes());
        }
        kinds
    };
    let asks = |segment: usize| heard.segments.get(segment).is_some_and(|segment| segment.question);
    let usable = |segment: &usize| {
        heard.segments.get(*segment).is_some_and(|segment| !segment.smuggles && !segment.names_permissions)
    };
    let mut found: BTreeSet<Kind> = BTreeSet::new();
    // What only happens before the job is looked at, not done.
    let only_aside = |segment: &usize| heard.segments.get(*segment).is_some_and(|segment| segment.aside);
    if own.iter().all(only_aside) && heard.segments.len() > own.len() {
        return (BTreeSet::from([Kind::Read]), BTreeSet::new());
    }
    let mut joint: BTreeSet<Kind> = BTreeSet::new();
    for segment in &own {
        let aside = heard.segments.get(*segment).is_some_and(|segment| segment.aside);
        if !aside || own.len() == 1 {
            found.extend(verbs(*segment, false));
        }
        // A verb without an object before, or with a pronoun after: it belongs here.
        if let Some(before) = segment.checked_sub(1).filter(usable)
            && is_bare(before, heard, &own)
        {
            let joins = begins_with_and(*segment, heard);
            let theirs = verbs(before, joins);
            if joins {
                joint.extend(&theirs);
            }
            found.extend(theirs);
        }
        let mut next = segment + 1;
        while next < heard.segments.len()
            && usable(&next)
            && goes_on(*segment, next, heard)
            && is_bare(next, heard, &own)
        {
            let theirs = verbs(next, false);
            if begins_with_and(next, heard) {
                joint.extend(&theirs);
            }
            found.extend(theirs);
            next += 1;
        }
    }
    if found.is_empty() {
        let first = own.first().copied().unwrap_or_default();
        let same = |segment: &usize| {
            let at = |at: usize| heard.segments.get(at).map(|segment| segment.sentence);
            at(*segment) == at(first)
        };
        for segment in (0..first).rev().filter(usable).filter(same) {
            found.extend(verbs(segment, false));
            if !found.is_empty() {
                break;
            }
        }
    }
    if found.is_empty() && spent.is_empty() {
        for segment in &own {
            found.extend(verbs(*segment, true));
        }
    }
    if found.is_empty() && spent.is_empty() && own.iter().any(|segment| asks(*segment)) {
        found.insert(Kind::Read);
    }
    if found.is_empty() && own.len() < heard.segments.len() && spent.is_empty() {
        for segment in (0..heard.segments.len()).filter(usable) {
            let aside = heard.segments.get(segment).is_some_and(|segment| segment.aside);
            if !aside {
                found.extend(verbs(segment, false));
            }
        }
    }
    (found, joint)
}

/// Whether another verb follows at once: `get put delete`.
fn begins_list(at: usize, heard: &Heard) -> bool {
    let (Some(one), Some(other)) = (heard.words.get(at), heard.words.get(at + 1)) else { return false };
    one.leads
        && one.kinds.len() == 1
        && one.segment == other.segment
        && !other.kinds.is_empty()
        && other.kinds != one.kinds
        && !other.noun_too
}

/// Whether what is opened comes into being by it: a ticket, not a file.
fn opens_anew(at: usize, heard: &Heard) -> bool {
    heard.words.iter().skip(at + 1).take(4).any(|word| {
        matches!(
            word.stem.as_str(),
            "pr" | "pull"
                | "issu"
                | "ticket"
                | "port"
                | "cas"
                | "bug"
                | "tunnel"
                | "session"
                | "discussion"
                | "rfi"
        )
    })
}

/// Whether a segment still speaks of another one: in its sentence, behind its colon, or with a pronoun.
fn goes_on(segment: usize, next: usize, heard: &Heard) -> bool {
    let (Some(one), Some(other)) = (heard.segments.get(segment), heard.segments.get(next)) else {
        return false;
    };
    let pronoun = |word: &&super::hear::Word| {
        matches!(word.stem.as_str(), "it" | "them" | "those" | "thos" | "thes" | "its")
    };
    one.sentence == other.sentence || one.heading || heard.own(next).any(|(_, word)| pronoun(&word))
}

/// Whether a segment has verbs but names nothing itself.
fn is_bare(segment: usize, heard: &Heard, own: &BTreeSet<usize>) -> bool {
    if own.contains(&segment) || heard.segments.get(segment).is_none_or(|segment| segment.aside) {
        return false;
    }
    let mut verbs = 0;
    let mut content = 0;
    for (_, word) in heard.own(segment) {
        if !word.kinds.is_empty() {
            verbs += 1;
        } else if !word.small && !word.named {
            content += 1;
        }
    }
    verbs > 0 && content == 0
}

/// Whether an operation is called after a deletion.
pub(super) fn deletes(operation: &str) -> bool {
    operation.starts_with("DELETE ")
        || operation.contains(":Delete")
        || operation.ends_with(".delete")
        || operation.contains("_delete")
}

/// What is not to be done.
pub(super) fn denied(heard: &Heard) -> BTreeSet<Kind> {
    let negated = heard.words.iter().filter(|word| word.negated);
    negated.flat_map(|word| word.kinds.iter().copied()).filter(|kind| kind.writes()).collect()
}

/// Whether a word tells what somebody did (`who pushed to main`).
fn is_reported(at: usize, heard: &Heard) -> bool {
    let Some(word) = heard.words.get(at) else { return false };
    let before = heard.words.iter().take(at).filter(|other| other.segment == word.segment);
    !word.kinds.is_empty() && before.into_iter().any(|other| other.stem == "who" || other.stem == "awho")
}
