//! Words as they were meant: typing slips against the words that a provider's knowledge and the verbs have.

use std::sync::OnceLock;

use super::knowledge::Knowledge;
use super::lexicon::{is_elsewhere, is_small, verb};
use super::tokens::slips;

/// Verbs that people mistype.
const OFTEN: [&str; 40] = [
    "create",
    "delete",
    "update",
    "upload",
    "download",
    "change",
    "enable",
    "disable",
    "remove",
    "configure",
    "publish",
    "deploy",
    "restart",
    "fetch",
    "insert",
    "modify",
    "destroy",
    "invalidate",
    "rotate",
    "schedule",
    "trigger",
    "monitor",
    "list",
    "show",
    "view",
    "turn",
    "send",
    "read",
    "write",
    "purge",
    "clone",
    "allow",
    "block",
    "revoke",
    "invoke",
    "resize",
    "export",
    "import",
    "access",
    "manage",
];

/// The word as the knowledge or the verbs have it, and how sure that is: a typing slip counts less.
pub(super) fn known_as(lower: &str, stem: String, knowledge: &Knowledge) -> (String, Option<usize>, f32) {
    if let Some(number) = knowledge.number(&stem) {
        return (stem, Some(number), 1.0);
    }
    let letters: Vec<char> = lower.chars().collect();
    if !verb(&stem).is_empty() || is_small(&stem) || is_elsewhere(&stem) || letters.len() < 3 {
        return (stem, None, 1.0);
    }
    let mut best: Option<(usize, usize, &[char])> = None;
    for list in (letters.len() - 2..letters.len() + 3).filter_map(|length| knowledge.spellings.get(length)) {
        // The lists are in order, and no slip is forgiven in the first letter.
        let from = list.partition_point(|(word, _)| word.first() < letters.first());
        let same = list.iter().skip(from).take_while(|(word, _)| word.first() == letters.first());
        for (theirs, number) in same {
            if let Some(distance) = slips(&letters, theirs).map(|slips| cost(slips, &letters, theirs))
                && best.is_none_or(|(closest, _, _)| distance < closest)
            {
                best = Some((distance, *number, theirs));
            }
        }
    }
    static VERBS: OnceLock<Vec<Vec<char>>> = OnceLock::new();
    let verbs = VERBS.get_or_init(|| OFTEN.iter().map(|word| word.chars().collect()).collect());
    for (word, theirs) in OFTEN.iter().zip(verbs) {
        if let Some(distance) = slips(&letters, theirs).map(|slips| cost(slips, &letters, theirs))
            && best.is_none_or(|(closest, _, _)| distance < closest)
        {
            let meant = super::tokens::stem(word);
            let number = knowledge.number(&meant);
            return (meant, number, 0.8);
        }
    }
    match best {
        Some((_, number, theirs)) => {
            (super::tokens::stem(&theirs.iter().collect::<String>()), Some(number), 0.8)
        }
        None => (stem, None, 1.0),
    }
}

/// Among equal slips another letter is the rarest: people leave out, double and swap.
fn cost(slips: usize, one: &[char], other: &[char]) -> usize {
    let sorted = |word: &[char]| {
        let mut letters = word.to_vec();
        letters.sort_unstable();
        letters
    };
    2 * slips + usize::from(one.len() == other.len() && sorted(one) != sorted(other))
}
