//! What only tells which thing is meant: a relative clause, a participle behind a noun, a verb that names an event. It does
//! nothing itself: `list the objects that were uploaded` uploads none.

use super::grammar::is_doer;
use super::hear::{Heard, Word};
use super::knowledge::Kind;
use super::lexicon::{is_noun_too, is_small, verb, verb_first};

/// Takes the deeds out of words that only describe.
pub(super) fn describe(heard: &mut Heard) {
    let mut describing: Vec<usize> = Vec::new();
    let mut naming: Vec<usize> = Vec::new();
    for at in 0..heard.words.len() {
        let Some(word) = heard.words.get(at) else { break };
        if word.named || word.leads && first_in_segment(at, heard) {
            continue;
        }
        let does = !word.kinds.is_empty() || word.describes;
        if does && is_history(at, heard) {
            describing.push(at);
        } else if does && (is_event(at, heard) || is_looked_at(at, heard) || is_called(at, heard)) {
            naming.push(at);
        }
        if let Some(command) = relative_clause(at, heard) {
            set_apart(at, command, heard);
        }
    }
    for at in describing {
        if let Some(word) = heard.words.get_mut(at) {
            word.kinds = &[];
            word.describes = true;
        }
    }
    for at in naming {
        if let Some(word) = heard.words.get_mut(at) {
            word.kinds = &[];
        }
    }
}

/// What a clause does, and what it does that to, is not asked for; where something lies is still said.
fn set_apart(at: usize, command: usize, heard: &mut Heard) {
    let segment = heard.words.get(at).map(|word| word.segment);
    if let Some(word) = heard.words.get_mut(command) {
        word.kinds = verb(&word.stem);
    }
    let mut object = false;
    for word in heard.words.iter_mut().skip(at + 1).take_while(|word| Some(word.segment) == segment) {
        if !verb(&word.stem).is_empty() || !verb_first(&word.stem).is_empty() {
            word.kinds = &[];
            word.describes = true;
            object = true;
        } else if matches!(word.stem.as_str(), "in" | "into" | "to" | "from" | "on" | "at" | "of") {
            object = false;
        } else if object {
            word.number = None;
        }
    }
}

fn first_in_segment(at: usize, heard: &Heard) -> bool {
    let segment = |at: usize| heard.words.get(at).map(|word| word.segment);
    at.checked_sub(1).is_none_or(|before| segment(before) != segment(at))
}

/// The words before one in its segment, the nearest first.
fn before(at: usize, heard: &Heard) -> impl Iterator<Item = &Word> {
    let segment = heard.words.get(at).map(|word| word.segment);
    heard.words.iter().take(at).rev().take_while(move |word| Some(word.segment) == segment)
}

/// `that were uploaded`, `how many were created`, `which scripts are deployed`.
fn is_history(at: usize, heard: &Heard) -> bool {
    let Some(word) = heard.words.get(at) else { return false };
    let participle = word.done
        || matches!(word.stem.as_str(), "put" | "sent" | "built" | "made" | "written" | "set" | "run");
    let mut earlier = before(at, heard);
    let Some(helper) =
        earlier.find(|word| !matches!(word.stem.as_str(), "alreadi" | "just" | "recentli" | "ever" | "last"))
    else {
        return false;
    };
    match helper.stem.as_str() {
        "wa" | "was" | "wer" | "were" | "been" | "got" => participle,
        "is" | "are" | "get" | "gets" => participle && earlier.any(|word| asks_which(&word.stem)),
        _ => false,
    }
}

fn asks_which(stem: &str) -> bool {
    matches!(stem, "that" | "which" | "how" | "what" | "who" | "whether" | "when")
}

/// `triggered by push`: what happens, not what to do.
fn is_event(at: usize, heard: &Heard) -> bool {
    let Some(word) = heard.words.get(at) else { return false };
    let gerund = word.describes;
    let mut earlier = before(at, heard);
    let after = |stem: &str| matches!(stem, "by" | "per" | "on" | "upon");
    !gerund
        && earlier.next().is_some_and(|word| after(&word.stem))
        && heard
            .words
            .get(at + 1)
            .is_none_or(|next| next.segment != word.segment || is_small(&next.stem) || next.named)
}

/// `monitor uploads`, `count the deploys`: several of them are looked at.
fn is_looked_at(at: usize, heard: &Heard) -> bool {
    let Some(word) = heard.words.get(at).filter(|word| word.several) else { return false };
    // `preview deployments: ...` looks at none.
    if heard.segments.get(word.segment).is_some_and(|segment| segment.before_colon) {
        return false;
    }
    let mut earlier = before(at, heard);
    word.kinds.iter().any(|kind| kind.writes())
        && earlier
            .find(|word| !is_small(&word.stem))
            .is_some_and(|word| word.leads && word.kinds == [Kind::Read])
}

/// `the queue orders`: what it is called.
fn is_called(at: usize, heard: &Heard) -> bool {
    let Some(word) = heard.words.get(at).filter(|word| word.several) else { return false };
    let ends =
        heard.words.get(at + 1).is_none_or(|next| next.segment != word.segment || is_small(&next.stem));
    ends && before(at, heard).next().is_some_and(|word| {
        matches!(
            word.stem.as_str(),
            "queu" | "queue" | "bucket" | "tabl" | "topic" | "stream" | "db" | "repo"
        )
    })
}

/// The verb of the sentence, where a clause says which one is meant: `invoke the function that deletes`, `the parameter that
/// terraform puts there`. What a script does that is asked for is the job.
fn relative_clause(at: usize, heard: &Heard) -> Option<usize> {
    heard.words.get(at).filter(|word| matches!(word.stem.as_str(), "that" | "which" | "who"))?;
    let antecedent = before(at, heard).next()?;
    let doer = is_doer(&antecedent.stem) && antecedent.stem != "user";
    if doer || is_small(&antecedent.stem) && !antecedent.named {
        return None;
    }
    let segment = heard.words.get(at).map(|word| word.segment);
    let own = || heard.words.iter().enumerate().filter(|(_, word)| Some(word.segment) == segment);
    let acts = own().any(|(place, word)| place > at && !verb(&word.stem).is_empty());
    let command = own().find(|(place, word)| {
        *place < at
            && word.leads
            && !word.negated
            && !verb(&word.stem).is_empty()
            && !asks(word)
            && !is_noun_alone(word)
    });
    command.map(|(place, _)| place).filter(|_| acts)
}

/// Whether what is made or wanted does the job itself: `build a worker that purges the cache`.
fn asks(word: &Word) -> bool {
    const ASKING: &str = "need want giv build writ creat mak deploy set setup hav run";
    ASKING.split_ascii_whitespace().any(|one| one == word.stem)
}

fn is_noun_alone(word: &Word) -> bool {
    word.several && is_noun_too(&word.stem)
}
