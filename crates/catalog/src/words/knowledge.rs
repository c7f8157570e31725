//! What people call things and which operations their jobs take: one knowledge file per provider, as data.
//!
//! The form is described in `catalogs/README.md`. A file is read on first use; its phrases become lists of word
//! numbers, and every word knows the phrases it stands in.

use std::collections::{BTreeSet, HashMap, HashSet};

use super::bare::{counts, without_verbs};
use super::lexicon::{is_noun_too, is_small, negates, verb};
use super::tokens::{stem, stems};

/// What a deed does to the thing it is done to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Kind {
    Read,
    Create,
    Update,
    Delete,
}

impl Kind {
    pub(super) const ALL: [Self; 4] = [Self::Read, Self::Create, Self::Update, Self::Delete];

    pub(super) fn writes(self) -> bool {
        self != Self::Read
    }
}

/// One deed: the operations that it takes.
#[derive(Debug)]
pub(super) struct Deed {
    /// Which kinds of verb mean it. Empty for one that only its own phrases call.
    pub(super) kinds: Vec<Kind>,
    /// It only looks.
    pub(super) reads: bool,
    /// It is a job of its own, called by its phrases.
    pub(super) named: bool,
    /// What `?` lines call it by.
    pub(super) label: &'static str,
    /// The operations, as the file writes them.
    pub(super) operations: Vec<&'static str>,
}

/// A thing that people have jobs with.
#[derive(Debug)]
pub(super) struct Topic {
    pub(super) id: &'static str,
    pub(super) deeds: Vec<Deed>,
    /// Not one thing but several: `topic.kind` of each that it could mean.
    pub(super) either: Vec<&'static str>,
}

/// Some words that point to a topic, or to one of its deeds.
#[derive(Debug)]
pub(super) struct Phrase {
    pub(super) topic: usize,
    pub(super) deed: Option<usize>,
    pub(super) words: Vec<usize>,
    /// It supports a topic that something else names; alone it names nothing.
    pub(super) weak: bool,
    /// It is about something not being done.
    pub(super) negates: bool,
    /// It says `and` itself.
    pub(super) joins: bool,
    /// Its word such as `merged`: what was done, and is not asked for.
    pub(super) done: Option<usize>,
    /// It has a word such as `running`.
    pub(super) goes_on: bool,
}

/// One provider's knowledge.
#[derive(Debug, Default)]
pub(super) struct Knowledge {
    pub(super) topics: Vec<Topic>,
    pub(super) phrases: Vec<Phrase>,
    /// For each word the phrases of which it is the rarest.
    pub(super) phrases_of: Vec<Vec<usize>>,
    /// Words that name something by themselves.
    pub(super) alone: HashSet<usize>,
    /// Words that mean several things where they are all that is said.
    pub(super) bare: Vec<(BTreeSet<String>, Vec<&'static str>)>,
    /// How much each word says: rare ones more.
    pub(super) weight: Vec<f32>,
    numbers: HashMap<String, usize>,
    /// The spelt-out words by length in letters, for typing slips.
    pub(super) spellings: Vec<Vec<(Vec<char>, usize)>>,
}

/// What short forms stand for: these are mistyped, too.
const LONG_FORMS: &str = "repository repositories certificate certificates organization organisation environment environments configuration \
variable variables parameter parameters database databases message messages image images function functions statistics information permission pictures";

/// What a word says that stands in one topic only.
const MOST: f32 = 4.9;

/// Words longer than this are never mistyped forms of a known one.
const LONGEST_WORD: usize = 24;

impl Knowledge {
    /// Reads a knowledge file. Lines that are not of the form are skipped; a test proves that there are none.
    pub(super) fn parse(text: &'static str) -> Self {
        let mut known = Self::default();
        let mut all = Vec::new();
        for line in text.lines() {
            known.line(line.trim(), &mut all);
        }
        known.index(all);
        known
    }

    /// The number of a stem that the knowledge has.
    pub(super) fn number(&self, stem: &str) -> Option<usize> {
        self.numbers.get(stem).copied()
    }

    /// The stems by their numbers.
    pub(super) fn stems(&self) -> Vec<&str> {
        let mut stems = vec![""; self.numbers.len()];
        for (stem, number) in &self.numbers {
            if let Some(slot) = stems.get_mut(*number) {
                *slot = stem;
            }
        }
        stems
    }

    /// The topic with this id.
    pub(super) fn topic(&self, id: &str) -> Option<usize> {
        self.topics.iter().position(|topic| topic.id == id)
    }

    #[cfg(test)]
    pub(super) fn knows_mark(mark: &str) -> bool {
        matches!(mark, "@" | "=" | "?" | "??" | "*" | "+")
            || deed_mark(mark.split(':').next().unwrap_or_default()).is_some()
    }

    fn line(&mut self, line: &'static str, all: &mut Vec<(usize, Option<usize>, &'static str)>) {
        let Some((mark, rest)) = line.split_once(' ').filter(|(mark, _)| !mark.starts_with('#')) else {
            return;
        };
        let (body, phrases) = rest.split_once(" | ").map_or((rest, ""), |(body, phrases)| (body, phrases));
        let list = |text: &'static str| text.split(';').map(str::trim).filter(|item| !item.is_empty());
        if mark == "@" {
            self.topics.push(Topic { id: body.trim(), deeds: Vec::new(), either: Vec::new() });
            let topic = self.topics.len() - 1;
            all.extend(list(phrases).map(|phrase| (topic, None, phrase)));
            return;
        }
        if mark == "??" {
            let either: Vec<&'static str> = list(body).collect();
            let said = |phrase| -> BTreeSet<String> {
                without_verbs(stems(phrase).into_iter().filter(|stem| counts(stem)).collect())
            };
            let known = list(phrases).map(|phrase| (said(phrase), either.clone()));
            self.bare.extend(known.filter(|(said, _)| !said.is_empty()));
            return;
        }
        let Some(topic) = self.topics.len().checked_sub(1) else { return };
        let Some(last) = self.topics.last_mut() else { return };
        match mark {
            "=" => all.extend(list(rest).map(|phrase| (topic, None, phrase))),
            "?" => last.either.extend(list(body)),
            "*" => {
                for kind in Kind::ALL {
                    let reads = kind == Kind::Read;
                    last.deeds.push(Deed {
                        kinds: vec![kind],
                        reads,
                        named: false,
                        label: "",
                        operations: vec![body.trim()],
                    });
                }
            }
            "+" => {
                for kind in [Kind::Create, Kind::Update, Kind::Delete, Kind::Read] {
                    let reads = kind == Kind::Read;
                    last.deeds.push(Deed {
                        kinds: vec![kind],
                        reads,
                        named: false,
                        label: "",
                        operations: vec![body.trim()],
                    });
                }
            }
            _ => {
                let (mark, label) = mark.split_once(':').unwrap_or((mark, ""));
                let Some((kinds, named)) = deed_mark(mark) else { return };
                let reads = only_looks(mark, body);
                last.deeds.push(Deed { kinds, reads, named, label, operations: list(body).collect() });
                let deed = Some(last.deeds.len() - 1);
                all.extend(list(phrases).map(|phrase| (topic, deed, phrase)));
            }
        }
    }

    fn index(&mut self, all: Vec<(usize, Option<usize>, &'static str)>) {
        let mut topics_of: Vec<HashSet<usize>> = Vec::new();
        let mut surfaces: Vec<String> = Vec::new();
        for (topic, deed, text) in all {
            let weak = text.starts_with('~');
            surfaces.extend(text.split(|letter: char| !letter.is_alphanumeric()).map(str::to_lowercase));
            let mut words = Vec::new();
            let mut said = stems(text);
            let negates = said.iter().any(|stem| negates(stem));
            let joins = said.iter().any(|stem| stem == "and");
            let glue = |stem: &String| {
                matches!(
                    stem.as_str(),
                    "to" | "the" | "of" | "a" | "for" | "in" | "from" | "with" | "is" | "on" | "our"
                )
            };
            if said.iter().filter(|stem| !glue(stem)).count() >= 2 {
                // What ends in `to` says where something goes.
                let last = said.len() - 1;
                let mut at = 0;
                said.retain(|stem| {
                    at += 1;
                    !glue(stem) || at - 1 == last && stem == "to"
                });
            }
            for stem in said {
                let next = self.numbers.len();
                let number = *self.numbers.entry(stem).or_insert(next);
                if number == next {
                    topics_of.push(HashSet::new());
                    self.phrases_of.push(Vec::new());
                }
                if let Some(topics) = topics_of.get_mut(number) {
                    topics.insert(topic);
                }
                if !words.contains(&number) {
                    words.push(number);
                }
            }
            for number in &words {
                if let Some(list) = self.phrases_of.get_mut(*number) {
                    list.push(self.phrases.len());
                }
            }
            if let ([only], false, None) = (words.as_slice(), weak, deed) {
                self.alone.insert(*only);
            }
            let goes_on = text.split(' ').any(|word| word.ends_with("ing") || word.ends_with("ed"));
            let is_done = |word: &&str| word.ends_with("ed") && word.len() > 4;
            let done = text.split(' ').find(is_done).and_then(|word| self.number(&stem(word)));
            self.phrases.push(Phrase { topic, deed, words, weak, negates, joins, done, goes_on });
        }
        // A phrase is looked for by its rarest word.
        let often: Vec<usize> = self.phrases_of.iter().map(Vec::len).collect();
        self.phrases_of = vec![Vec::new(); often.len()];
        for (position, phrase) in self.phrases.iter().enumerate() {
            let rarest = phrase.words.iter().min_by_key(|number| often.get(**number));
            if let Some(list) = rarest.and_then(|number| self.phrases_of.get_mut(*number)) {
                list.push(position);
            }
        }
        // As with BM25, scaled so that a word of one topic says the same at every provider.
        let topics = self.topics.len() as f32;
        let says = |topics_with: usize| (1.0 + topics / (topics_with as f32 + 0.5)).ln();
        self.weight = topics_of.iter().map(|found| says(found.len()) / says(1) * MOST).collect();
        // Everyday words and verbs tell things apart less than the things' own names do.
        for (word, number) in &self.numbers {
            let most = if is_small(word) && !is_thing(word) {
                0.8
            } else if !verb(word).is_empty() {
                if is_noun_too(word) { 3.2 } else { 1.8 }
            } else {
                continue;
            };
            if let Some(weight) = self.weight.get_mut(*number) {
                *weight = weight.min(most);
            }
        }
        // A host name alone says little: most jobs name one.
        for (word, says) in [("ahost", 2.4), ("apath", 1.5), ("asecret", 2.0), ("awho", 6.0)] {
            if let Some(weight) = self.number(word).and_then(|number| self.weight.get_mut(number)) {
                *weight = says;
            }
        }
        self.spell(surfaces);
    }

    /// Keeps the words as people write them, for typing slips.
    fn spell(&mut self, mut surfaces: Vec<String>) {
        surfaces.extend(LONG_FORMS.split_ascii_whitespace().map(str::to_owned));
        surfaces.sort_unstable();
        surfaces.dedup();
        self.spellings = vec![Vec::new(); LONGEST_WORD + 1];
        for word in surfaces {
            let letters: Vec<char> = word.chars().collect();
            let number = self.number(&stem(&word));
            if let (Some(list), Some(number)) = (self.spellings.get_mut(letters.len()), number) {
                list.push((letters, number));
            }
        }
    }
}

/// The phrases of a knowledge file that call for a deed, each with whether the deed only looks.
pub(super) fn phrases_by_deed(text: &'static str) -> impl Iterator<Item = (bool, &'static str)> {
    text.lines().filter_map(|line| line.trim().split_once(' ')).flat_map(|(mark, rest)| {
        let mark = mark.split(':').next().unwrap_or_default();
        let deed = deed_mark(mark).filter(|_| !mark.is_empty());
        let (body, phrases) = rest.split_once(" | ").unwrap_or((rest, ""));
        let reads = only_looks(mark, body);
        let list = phrases.split(';').map(|phrase| phrase.trim().trim_start_matches('~'));
        list.filter(move |phrase| deed.is_some() && !phrase.is_empty()).map(move |phrase| (reads, phrase))
    })
}

/// Whether a deed with this mark and these operations only looks.
fn only_looks(mark: &str, operations: &str) -> bool {
    let gets = || operations.split(';').all(|one| one.trim().is_empty() || one.trim().starts_with("GET "));
    mark == "r" || mark == "xr" || !mark.contains(['c', 'u', 'd', 'w']) && gets()
}

/// Small words that are also things people have jobs with.
fn is_thing(stem: &str) -> bool {
    matches!(
        stem,
        "user"
            | "team"
            | "app"
            | "servic"
            | "bot"
            | "script"
            | "token"
            | "key"
            | "api"
            | "job"
            | "agent"
            | "permission"
            | "credential"
            | "cron"
    )
}

/// `r c u d` as verbs mean them, several together (`cu`), `w` for every write; `x` and `xr` are jobs of their own that
/// change something or only look.
fn deed_mark(mark: &str) -> Option<(Vec<Kind>, bool)> {
    if mark == "x" || mark == "xr" {
        return Some((Vec::new(), true));
    }
    let mut kinds = Vec::new();
    for letter in mark.chars() {
        match letter {
            'r' => kinds.push(Kind::Read),
            'c' => kinds.push(Kind::Create),
            'u' => kinds.push(Kind::Update),
            'd' => kinds.push(Kind::Delete),
            'w' => kinds.extend([Kind::Create, Kind::Update, Kind::Delete]),
            _ => return None,
        }
    }
    Some((kinds, false))
}
