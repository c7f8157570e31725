//! What a text says that a page, a mail or an issue says.

use std::collections::HashSet;
use std::sync::OnceLock;

use super::lexicon::holds;
use super::quoted::{NAME, Own};

/// One word of the text and where it stands.
pub(super) struct Said<'a> {
    pub(super) start: usize,
    pub(super) end: usize,
    pub(super) word: String,
    pub(super) raw: &'a str,
}

impl Said<'_> {
    fn ends_sentence(&self) -> bool {
        self.raw.ends_with(['.', ';', '!', '?']) || self.raw.contains('\n')
    }

    fn ends_with_colon(&self) -> bool {
        self.raw.trim_end().ends_with(':')
    }
}

/// The words of a text.
pub(super) fn said(text: &str) -> Vec<Said<'_>> {
    let mut out: Vec<Said<'_>> = Vec::new();
    let mut start = None;
    let ends = text.char_indices().map(Some).chain([None]);
    for one in ends {
        let (at, space) = one.map_or((text.len(), true), |(at, letter)| (at, letter.is_whitespace()));
        match (start, space) {
            (None, false) => start = Some(at),
            (Some(from), true) => {
                // A line's end belongs to its last word.
                let line = text.get(at..).is_some_and(|rest| rest.starts_with(['\n', '\r']));
                let end = if line { at + 1 } else { at };
                let raw = text.get(from..end).unwrap_or_default();
                let word = raw
                    .trim_matches(|letter: char| !letter.is_alphanumeric() && letter != NAME)
                    .to_lowercase();
                out.push(Said { start: from, end: at, word, raw });
                start = None;
            }
            _ => {}
        }
    }
    out
}

/// Things that say something without being the one who asks.
fn is_writing(word: &str) -> bool {
    const WRITINGS: &str = "page pages site website webpage readme docs doc documentation document issue issues ticket tickets comment \
comments mail mails email emails e-mail message messages note notes file files text log logs error article post thread chat reply \
answer response output result results wiki manual handbook guide prompt banner title body description header footer snippet popup tweet \
blog letter pdf review feedback transcript changelog commit html markdown attachment newsletter advisory alert notification todo \
instructions instruction bericht seite nachricht quote quotation excerpt citation";
    let word = word.strip_suffix(".md").or_else(|| word.strip_suffix(".txt")).unwrap_or(word);
    static SET: OnceLock<HashSet<&str>> = OnceLock::new();
    holds(&SET, WRITINGS, word)
}

fn is_saying(word: &str) -> bool {
    matches!(
        word,
        "says"
            | "said"
            | "say"
            | "saying"
            | "states"
            | "stated"
            | "stating"
            | "wrote"
            | "tells"
            | "told"
            | "telling"
            | "claims"
            | "claimed"
            | "claiming"
            | "demands"
            | "demanded"
            | "demanding"
            | "insists"
            | "instructs"
            | "instructed"
            | "instructing"
            | "asks"
            | "asked"
            | "suggests"
            | "suggested"
            | "recommends"
            | "recommended"
            | "urges"
            | "warns"
            | "explains"
            | "sagt"
            | "dit"
    )
}

/// Takes out what pages, mails and issues say.
pub(super) fn without_reports(text: &str, own: &mut Own) -> String {
    let words = said(text);
    let mut cuts: Vec<(usize, usize)> = Vec::new();
    let mut at = 0;
    while at < words.len() {
        let Some((first, from, colon)) = report(&words, at) else {
            at += 1;
            continue;
        };
        let sentence = (from..words.len()).find(|place| words.get(*place).is_some_and(Said::ends_sentence));
        let named = |place: usize| words.get(place).is_some_and(|one| one.raw.starts_with(NAME));
        let last = match colon {
            // Where nothing closes what is reported, nobody knows where it ends.
            Some(colon) if !named(colon + 1) => words.len() - 1,
            Some(colon) => sentence.map_or(colon + 1, |sentence| sentence.max(colon + 1)),
            None => sentence.unwrap_or(words.len() - 1),
        };
        let article = |place: &usize| {
            words
                .get(*place)
                .is_some_and(|one| matches!(one.word.as_str(), "the" | "a" | "an" | "one" | "its"))
        };
        let first = first.checked_sub(1).filter(article).unwrap_or(first);
        let start = words.get(first).map_or(0, |one| one.start);
        let end = words.get(last).map_or(text.len(), |one| one.end);
        cuts.push((start, end));
        at = last + 1;
    }
    let mut out = String::with_capacity(text.len());
    let mut from = 0;
    for (start, end) in cuts {
        own.left_out = true;
        out.push_str(text.get(from..start).unwrap_or_default());
        out.push_str(" ; ");
        own.reported.push_str(text.get(start..end).unwrap_or_default());
        own.reported.push_str(" ; ");
        from = end;
    }
    out.push_str(text.get(from..).unwrap_or_default());
    out
}

/// A report that begins at a word: the first word of it, the one behind which it is said, and the one with its colon.
fn report(words: &[Said<'_>], at: usize) -> Option<(usize, usize, Option<usize>)> {
    let word = words.get(at)?;
    let colon_within = |from: usize, most: usize| {
        for place in from..(from + most).min(words.len()) {
            let one = words.get(place)?;
            if one.ends_with_colon() {
                return Some(place);
            }
            if one.ends_sentence() || one.raw.starts_with(NAME) {
                return None;
            }
        }
        None
    };
    if word.word == "according" && words.get(at + 1).is_some_and(|one| one.word == "to") {
        return Some((at, at, colon_within(at, 8)));
    }
    if !is_writing(&word.word) {
        return None;
    }
    // `the page said`, `a comment in the file that says`.
    let mut verb = None;
    if !word.ends_with_colon() && !word.ends_sentence() {
        for place in at + 1..(at + 7).min(words.len()) {
            let one = words.get(place)?;
            let reads = one.word == "reads" && one.ends_with_colon();
            if is_saying(&one.word) || reads {
                verb = Some(place);
                break;
            }
            if one.ends_sentence() || one.ends_with_colon() {
                break;
            }
        }
    }
    if let Some(verb) = verb {
        let relative = (at + 1..=verb).any(|place| {
            words.get(place).is_some_and(|one| {
                matches!(
                    one.word.as_str(),
                    "that" | "which" | "what" | "saying" | "stating" | "telling" | "claiming"
                )
            })
        });
        let opens = (0..at.min(4)).all(|place| words.get(place).is_some_and(|one| !one.ends_sentence()));
        // What is read has to stay; who speaks goes with what is said.
        let first = if relative || opens && at <= 3 { at + 1 } else { at };
        return Some((first, verb, colon_within(verb, 5)));
    }
    let before = at.checked_sub(1).and_then(|before| words.get(before)).map_or("", |one| one.word.as_str());
    let pointed = matches!(before, "this" | "that" | "following" | "these" | "diese" | "dieser" | "cette");
    if word.ends_with_colon() {
        let told = matches!(before, "from" | "in" | "by" | "of");
        let quoted = words.get(at + 1).is_some_and(|one| one.raw.starts_with(NAME));
        return (pointed || told || quoted).then_some((at + 1, at, Some(at)));
    }
    // `note from website: ...`, `comment in file: ...`.
    let next = words.get(at + 1)?;
    let from = matches!(next.word.as_str(), "from" | "in" | "by" | "on" | "of" | "below" | "above");
    let colon = colon_within(at + 1, 7).filter(|_| from && !word.ends_sentence())?;
    Some((if pointed { at + 1 } else { at }, at, Some(colon)))
}
