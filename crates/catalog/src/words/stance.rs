//! How each part of a text is meant: what is denied, what others do, what happens elsewhere, what only asks.

use super::hear::{Heard, Word};
use super::knowledge::Kind;
use super::lexicon::{is_elsewhere, is_faint, negates, undoes_negation};

/// Marks what the text says it does not want.
pub(super) fn deny(heard: &mut Heard) {
    let mut scope: Option<(usize, usize)> = None;
    let count = heard.words.len();
    for at in 0..count {
        let (before, rest) = heard.words.split_at_mut(at);
        let Some((word, after)) = rest.split_first_mut() else { break };
        let next = after.first().map_or("", |next| next.stem.as_str());
        // `with no owner` tells things apart, it does not forbid.
        let apart = word.stem == "no"
            && before.last().is_some_and(|word| matches!(word.stem.as_str(), "with" | "hav" | "ha"))
            || word.stem == "without" && next_is_noun(after) && !writes(before, word.segment);
        if let Some((segment, left)) = scope {
            let carried = word.segment == segment
                || (word.stem == "or" || word.stem == "nor") && word.segment == segment + 1;
            if carried && left > 0 {
                word.negated = true;
                scope = Some((word.segment, left - 1));
            } else {
                scope = None;
            }
        }
        let instead = (word.stem == "instead" && next == "of")
            || (matches!(word.stem.as_str(), "rather" | "other") && next == "than");
        if (negates(&word.stem) && !undoes_negation(next) && !apart) || instead {
            let needless = matches!(next, "need" | "necessari" | "requir" | "want" | "includ");
            if needless && after.get(1).is_none_or(|later| later.segment != word.segment) {
                for earlier in before.iter_mut().rev().take_while(|earlier| earlier.segment == word.segment) {
                    earlier.negated = true;
                }
            }
            scope = Some((word.segment, 7));
        }
    }
}

fn next_is_noun(after: &[Word]) -> bool {
    after.first().is_some_and(|word| word.kinds.is_empty() && !word.small)
}

fn writes(before: &[Word], segment: usize) -> bool {
    let mut own = before.iter().rev().take_while(|word| word.segment == segment);
    own.any(|word| word.kinds.iter().any(|kind| kind.writes()))
}

/// `a read-only deploy key` reads nothing: it says what kind of key it is.
pub(super) fn describe(heard: &mut Heard) {
    for at in 0..heard.words.len() {
        let next = |by: usize| heard.words.get(at + by).map_or("", |word| word.stem.as_str());
        let thing =
            matches!(next(2), "deploi" | "deploy" | "replica" | "user" | "rol" | "role" | "collaborator");
        if next(0) == "read" && next(1) == "onli" && thing {
            for word in heard.words.iter_mut().skip(at).take(2) {
                word.kinds = &[];
                word.number = None;
            }
        }
    }
}

/// Marks segments that are about other programs, and those that ask.
pub(super) fn place(heard: &mut Heard) {
    for (at, segment) in heard.segments.iter_mut().enumerate() {
        let own: Vec<&Word> = heard_own(&heard.words, at).collect();
        let into = |word: &&Word| matches!(word.stem.as_str(), "in" | "to" | "into" | "on" | "for" | "and");
        // `so it can ...` is a purpose, `so it reads ...` is the job.
        if own.first().is_some_and(|word| word.stem == "so") {
            segment.aside = own
                .iter()
                .any(|word| matches!(word.stem.as_str(), "can" | "could" | "that" | "wont" | "doesnt"));
        }
        // `as commit status` says what becomes of it, not when.
        let clause = |word: &&Word| {
            matches!(
                word.stem.as_str(),
                "we" | "i" | "it" | "they" | "soon" | "you" | "long" | "the" | "code"
            ) || word.kinds.iter().any(|kind| kind.writes())
        };
        if own.first().is_some_and(|word| word.stem == "as") && own.len() <= 4 && !own.iter().any(clause) {
            segment.aside = false;
        }
        // `for the whole organisation` says how far it reaches, not what it is for.
        if own.first().is_some_and(|word| word.stem == "for") {
            segment.context = !own.iter().any(|word| {
                matches!(word.stem.as_str(), "org" | "account" | "all" | "whol" | "every" | "each")
            });
        }
        segment.elsewhere = own.iter().enumerate().any(|(place, word)| {
            is_elsewhere(&word.stem)
                && place.checked_sub(1).and_then(|before| own.get(before)).is_none_or(into)
        });
        let begins = |word: &str| {
            matches!(
                word,
                "is" | "are" | "doe" | "do" | "which" | "what" | "who" | "how" | "did" | "was" | "were"
            )
        };
        // `can you purge it?` asks for a deed, `which permission do I need to purge it?` too.
        let requests = own.iter().any(|word| {
            matches!(
                word.stem.as_str(),
                "can"
                    | "could"
                    | "would"
                    | "will"
                    | "pleas"
                    | "need"
                    | "permission"
                    | "token"
                    | "scop"
                    | "key"
                    | "let"
                    | "wer"
            )
        });
        let asks = segment.question || own.first().is_some_and(|word| begins(&word.stem)) || asks_when(&own);
        let whether = own.iter().any(|word| matches!(word.stem.as_str(), "whether" | "ob"));
        segment.question = asks && !requests
            || whether && own.iter().all(|word| !word.kinds.iter().any(|kind| kind.writes()));
    }
}

/// `when do the domains expire`: not when something happens, but the question.
fn asks_when(own: &[&Word]) -> bool {
    let mut words = own.iter();
    words.next().is_some_and(|word| matches!(word.stem.as_str(), "when" | "wher" | "why" | "whos"))
        && words.next().is_some_and(|word| {
            matches!(
                word.stem.as_str(),
                "do" | "doe" | "did" | "is" | "are" | "wa" | "was" | "wer" | "were" | "will" | "dont"
            )
        })
}

/// What is there already is not asked for.
pub(super) fn exists(heard: &mut Heard) {
    for at in 1..heard.segments.len() {
        let own = || heard_own(&heard.words, at);
        let there = own().any(|word| word.stem == "exist") && own().any(|word| word.stem == "alreadi");
        if there && !own().any(|word| word.negated || word.stem == "if") {
            for word in heard.words.iter_mut().filter(|word| word.segment == at) {
                word.negated = true;
                word.kinds = &[];
            }
        }
    }
}

/// Words that hand a part of the job to somebody else.
const OTHERS: [&str; 12] = [
    "someone else",
    "somebody else",
    "another team",
    "other team",
    "a human will",
    "human does",
    "i will do",
    "we do that",
    "done elsewhere",
    "by hand",
    "manually",
    "is handled by",
];

/// Segments that are not asked of us: others do it, or they only say that nothing is to be changed.
pub(super) fn set_aside(heard: &mut Heard) {
    let counts: Vec<usize> = (0..heard.segments.len())
        .map(|at| {
            let own = heard_own(&heard.words, at);
            own.filter(|word| !word.small && word.kinds.is_empty()).count()
        })
        .collect();
    for (at, segment) in heard.segments.iter().enumerate() {
        let text = without_kinds(&format!("{} ", segment.text));
        let others = OTHERS.iter().any(|says| text.contains(says));
        let only = SAYS.iter().any(|says| text.contains(says)) && counts.get(at) == Some(&0);
        if others || only && heard.segments.len() > 1 {
            for word in heard.words.iter_mut().filter(|word| word.segment == at) {
                word.negated |= others || word.kinds != [Kind::Read] || only;
                if only {
                    word.kinds = &[];
                }
            }
        }
    }
}

/// Ways to say that nothing may change.
const SAYS: [&str; 48] = [
    " report only",
    " reporting only",
    " terraform plan",
    " tofu plan",
    " pulumi preview",
    " dry run",
    " drift detection",
    " plan only",
    " read only",
    " readonly",
    " view only",
    " just read",
    " just look",
    " just view",
    " just list",
    " only read",
    " only view",
    " only list",
    " only look",
    " no writes",
    " no write ",
    " no changes",
    " no edits",
    " no modifications",
    " nothing changes",
    " without changing",
    " without changes",
    " never write",
    " not write",
    " monitoring only",
    " only monitoring",
    " look only",
    " dont change",
    " not change",
    " not modify",
    " cannot write",
    " dont touch anything",
    " just monitor",
    " only monitor",
    " only see",
    " just see",
    " just check",
    " only check",
    " lecture seule",
    " nur lesen",
    " solo lectura",
    " only get ",
    " viewing only",
];

/// Whether a raw text says that nothing may change.
pub(super) fn forbids_writes(text: &str) -> bool {
    let lower = text.to_lowercase().replace(['\'', '\u{2019}'], "");
    let words = lower.split(|letter: char| !letter.is_alphanumeric()).filter(|word| !word.is_empty());
    let padded = format!(" {} ", words.collect::<Vec<_>>().join(" "));
    SAYS.iter().any(|says| padded.contains(says))
}

/// A text without the things that are called read-only: that is not the job.
fn without_kinds(text: &str) -> String {
    let mut text = text.to_owned();
    for thing in ["deploy key", "replica", "user", "role", "collaborator", "endpoint", "member", "ssh key"] {
        if text.contains(" read only ") {
            text = text.replace(&format!(" read only {thing}"), " ");
        }
    }
    text
}

pub(super) fn says_read_only(heard: &Heard) -> bool {
    let whole: String = heard
        .segments
        .iter()
        .filter(|segment| !segment.smuggles)
        .map(|segment| segment.text.as_str())
        .collect();
    let padded = without_kinds(&format!("{whole} "));
    SAYS.iter().any(|says| padded.contains(says))
}

/// A copy of a thing is read off it; so is what goes to a place that the provider does not have.
pub(super) fn carry(heard: &mut Heard, known: impl Fn(&Word) -> bool) {
    for at in 0..heard.words.len() {
        let Some(word) = heard.words.get(at) else { break };
        let carries = matches!(
            word.stem.as_str(),
            "copi" | "mirror" | "ship" | "replicat" | "clon" | "transfer" | "duplicat" | "archiv"
        );
        if !carries || word.negated || word.named {
            continue;
        }
        let sentence = |word: &Word| heard.segments.get(word.segment).map(|segment| segment.sentence);
        let own = |other: &&Word| {
            sentence(other) == sentence(word)
                && (other.segment == word.segment || !other.leads || other.kinds.is_empty())
        };
        let mut behind = heard.words.iter().skip(at + 1).take_while(own);
        let of_it = heard.words.get(at + 1).is_some_and(|next| next.stem == "of");
        let goes = behind.by_ref().any(|other| matches!(other.stem.as_str(), "to" | "into" | "onto"));
        let within = behind.any(known_there(&known));
        if (of_it || goes && !within)
            && let Some(word) = heard.words.get_mut(at)
        {
            word.kinds = &[Kind::Read];
        }
    }
}

fn known_there(known: impl Fn(&Word) -> bool) -> impl Fn(&Word) -> bool {
    move |word| !word.named && known(word)
}

/// Whether a verb of the text changes something.
pub(super) fn changes(heard: &Heard) -> bool {
    let counts = |word: &&Word| {
        let usable =
            |segment: &super::hear::Segment| !segment.smuggles && !segment.aside && !segment.elsewhere;
        !word.negated && !word.named && heard.segments.get(word.segment).is_some_and(usable)
    };
    let writes = |word: &&Word| word.kinds.iter().any(|kind| kind.writes()) && (word.leads || !word.noun_too);
    heard.words.iter().filter(counts).any(|word| writes(&word))
}

/// Whether the text asks, lists or reports, and nothing in it changes anything.
pub(super) fn only_looks(heard: &Heard) -> bool {
    let counts = |word: &&Word| {
        let usable =
            |segment: &super::hear::Segment| !segment.smuggles && !segment.aside && !segment.elsewhere;
        !word.negated && !word.named && heard.segments.get(word.segment).is_some_and(usable)
    };
    if changes(heard) {
        return false;
    }
    // `count the messages` looks, `count` alone is a number.
    let with_article = |word: &Word| {
        let next = heard.words.iter().skip_while(|other| !std::ptr::eq(*other, word)).nth(1);
        matches!(word.stem.as_str(), "count" | "audit" | "report" | "track" | "search" | "scan")
            && next.is_some_and(|next| {
                next.segment == word.segment
                    && matches!(next.stem.as_str(), "the" | "all" | "our" | "my" | "on")
            })
    };
    let reads = |word: &&Word| {
        word.kinds == [Kind::Read] && word.leads && (!is_faint(&word.stem) || with_article(word))
    };
    let first = heard.words.iter().filter(counts).find(|word| !word.small || word.kinds == [Kind::Read]);
    // `number of nodes`, `names of the secrets`.
    let sums_up = first.is_some_and(|word| {
        matches!(
            word.stem.as_str(),
            "nam"
                | "name"
                | "number"
                | "shar"
                | "share"
                | "report"
                | "status"
                | "histori"
                | "count"
                | "list"
                | "total"
                | "siz"
                | "size"
                | "usag"
                | "metric"
                | "sum"
                | "ag"
                | "age"
                | "state"
                | "stat"
        ) && heard
            .words
            .iter()
            .skip_while(|other| !std::ptr::eq(*other, word))
            .nth(1)
            .is_some_and(|next| next.stem == "of")
            || matches!(
                word.stem.as_str(),
                "overview" | "inventori" | "which" | "what" | "who" | "how" | "whom" | "wich"
            )
    });
    // `tokens that expire` are looked up.
    let tells = |word: &&Word| {
        matches!(
            word.stem.as_str(),
            "sheet"
                | "spreadsheet"
                | "excel"
                | "auditor"
                | "unverifi"
                | "unverified"
                | "overdu"
                | "statistic"
                | "usag"
                | "inventori"
                | "overview"
                | "whom"
        ) || word.stem == "expir" && word.after_that
    };
    sums_up
        || heard.words.iter().filter(counts).any(|word| tells(&word))
        || heard.segments.iter().any(|segment| segment.question && !segment.smuggles)
        || heard.words.iter().filter(counts).any(|word| reads(&word))
}

fn heard_own(words: &[Word], segment: usize) -> impl Iterator<Item = &Word> {
    let from = words.partition_point(|word| word.segment < segment);
    words.iter().skip(from).take_while(move |word| word.segment == segment)
}
