//! Texts that say no more than a name, or a verb and a name.

use std::collections::{BTreeSet, HashSet};
use std::sync::OnceLock;

use super::clauses::acts;
use super::hear::Heard;
use super::knowledge::Kind;
use super::lexicon::{holds, is_small};

/// The words that name something, without verbs that go with anything and without words that tell nothing apart.
pub(super) fn content(heard: &Heard, with_keys: bool) -> BTreeSet<String> {
    let asked = |segment: usize| {
        heard.segments.get(segment).is_some_and(|segment| !segment.smuggles && !segment.names_permissions)
    };
    let words = heard.words.iter().enumerate().filter(|(_, word)| asked(word.segment) && !word.negated);
    let said = words.filter(|(_, word)| counts(&word.stem) && (with_keys || !is_key(&word.stem)));
    let all = said
        .map(|(at, word)| {
            // The `turn` of `turn keys` turns nothing.
            let noun = !word.leads && goes_with_anything(&word.stem) && !acts(at, heard);
            if word.named || word.describes || noun { format!("~{}", word.stem) } else { word.stem.clone() }
        })
        .collect();
    without_verbs(all)
}

/// Some words without verbs that go with anything, unless they are all there is.
pub(super) fn without_verbs(said: BTreeSet<String>) -> BTreeSet<String> {
    if said.iter().all(|stem| goes_with_anything(stem)) {
        said
    } else {
        said.into_iter().filter(|stem| !goes_with_anything(stem)).collect()
    }
}

fn goes_with_anything(stem: &str) -> bool {
    const VERBS: &str = "creat mak add new list show see view get read fetch updat chang edit modifi set delet remov upload download run manag send write use us giv check look access handl put pull configur turn enabl disabl find stor sav let start";
    static SET: OnceLock<HashSet<&str>> = OnceLock::new();
    holds(&SET, VERBS, stem)
}

/// Whether something is done.
pub(super) fn does(heard: &Heard) -> bool {
    heard.words.iter().enumerate().any(|(at, word)| word.trust >= 1.0 && acts(at, heard))
}

/// Whether a word tells things apart.
pub(super) fn counts(stem: &str) -> bool {
    const TELLING: &str = "custom job dev app prod production nightli weekli daili hourli cron automat user team servic script stag test compani key token credential who how when which what two most everi all each";
    static TELL: OnceLock<HashSet<&str>> = OnceLock::new();
    holds(&TELL, TELLING, stem) || !is_small(stem) && !is_filler(stem)
}

fn is_key(stem: &str) -> bool {
    matches!(stem, "token" | "key" | "credential")
}

/// The marks of the verbs that are said.
pub(super) fn marks(heard: &Heard) -> Vec<&'static str> {
    let mut marks = Vec::new();
    for word in heard.words.iter().filter(|word| !word.negated && !word.several) {
        for kind in word.kinds {
            let mark = match kind {
                Kind::Read => "r",
                Kind::Create => "c",
                Kind::Update => "u",
                Kind::Delete => "d",
            };
            if !marks.contains(&mark) {
                marks.push(mark);
            }
        }
    }
    marks
}

fn is_filler(stem: &str) -> bool {
    matches!(
        stem,
        "old"
            | "new"
            | "latest"
            | "current"
            | "existing"
            | "colleagu"
            | "person"
            | "customer"
            | "employee"
            | "pleas"
            | "please"
            | "stuff"
            | "site"
            | "websit"
            | "project"
            | "everything"
            | "whol"
            | "alway"
            | "last"
            | "next"
            | "first"
            | "properli"
            | "nice"
            | "fast"
            | "asap"
            | "urgent"
            | "quickli"
    )
}

/// Whether the words only name a thing, or ask for a key to it (`a droplet token`).
pub(super) fn only_names(heard: &Heard) -> bool {
    let content = heard.words.iter().filter(|word| !word.small && !word.named);
    // `access` is as often a product.
    let last = heard.words.last().map(|word| word.stem.as_str());
    let key = |word: &super::hear::Word| match word.stem.as_str() {
        "token" | "key" | "permission" | "credential" => true,
        "access" => last == Some("access"),
        _ => false,
    };
    let asks =
        heard.segments.iter().any(|segment| segment.question) || heard.words.iter().any(|word| word.negated);
    content.filter(|word| !key(word)).count() <= 2 && !asks && !says_something(heard)
}

/// Whether hardly more than a name is said.
pub(super) fn is_bare(heard: &Heard) -> bool {
    !heard.has_numbers
        && heard.words.len() <= 4
        && heard.words.iter().all(|word| !word.named && word.stem != "ahost")
}

/// Whether the words ask for a key.
pub(super) fn asks_for_key(heard: &Heard) -> bool {
    let key = |stem: &str| matches!(stem, "token" | "key" | "permission" | "credential" | "access");
    heard.words.iter().any(|word| key(&word.stem))
}

/// Whether the words say or ask what is done, and do not only name a thing.
pub(super) fn says_something(heard: &Heard) -> bool {
    heard.words.iter().any(|word| {
        !word.negated
            && (!word.kinds.is_empty()
                || matches!(word.stem.as_str(), "how" | "what" | "which" | "who" | "whether"))
    })
}

/// Whether a text asks for what it names (`total tls please`).
pub(super) fn wants(heard: &Heard) -> bool {
    let asking = |stem: &str| matches!(stem, "pleas" | "want" | "need" | "wir" | "brauch" | "let");
    heard.words.iter().any(|word| asking(&word.stem))
}

/// Whether a text begins with an order whose verb is as often a noun: `issue a cert`, `set the flag`.
pub(super) fn orders(heard: &Heard) -> bool {
    heard.words.iter().enumerate().any(|(at, word)| {
        let article = |next: &super::hear::Word| {
            next.segment == word.segment
                && matches!(next.stem.as_str(), "a" | "an" | "the" | "our" | "my" | "all" | "new" | "custom")
        };
        word.leads
            && !word.several
            && !word.negated
            && !word.kinds.is_empty()
            && heard.words.get(at + 1).is_some_and(article)
    })
}

/// Whether a text says anything besides these words that is understood.
pub(super) fn says_more(heard: &Heard, names: &BTreeSet<usize>) -> bool {
    // `/old -> /new`
    if heard.words.iter().filter(|word| word.named && word.stem == "path").count() > 1 {
        return true;
    }
    let how = |stem: &str| matches!(stem, "with" | "into" | "against" | "via" | "must" | "should");
    heard.words.iter().enumerate().filter(|(_, word)| !word.named && !word.negated).any(|(at, word)| {
        let host = matches!(word.stem.as_str(), "ahost" | "apath");
        let known = word.number.is_some() && !names.contains(&at) && !host;
        how(&word.stem) || known && !is_small(&word.stem) && !is_filler(&word.stem)
    })
}

/// Whether these words only name a host: what is done there is not said.
pub(super) fn only_hosts(heard: &Heard, names: &BTreeSet<usize>) -> bool {
    let mut own = names.iter().filter_map(|at| heard.words.get(*at));
    own.all(|word| matches!(word.stem.as_str(), "ahost" | "apath") || is_small(&word.stem))
}
