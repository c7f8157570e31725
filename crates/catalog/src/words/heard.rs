//! A text, understood: its words in segments, and what is true of the whole.

use super::knowledge::Kind;
use super::resources::Mention;
use crate::solve::Resource;

/// A word of the text.
#[derive(Debug)]
pub(super) struct Word {
    pub(super) stem: String,
    /// Its number in the knowledge, and how sure that is: a mistyped word counts less.
    pub(super) number: Option<usize>,
    pub(super) trust: f32,
    pub(super) segment: usize,
    pub(super) negated: bool,
    /// It is a name, not a word.
    pub(super) named: bool,
    pub(super) kinds: &'static [Kind],
    /// It stands where a verb stands: first, or behind `to` and the like.
    pub(super) leads: bool,
    /// It says nothing about the thing.
    pub(super) small: bool,
    /// It is a verb that is as often a noun, and one that opens a sentence as a verb all the same.
    pub(super) noun_too: bool,
    pub(super) opens: bool,
    /// It was written out: a short form may stand there by chance.
    pub(super) long: bool,
    /// It only says that a key is wanted (`a token for ...`).
    pub(super) meta: bool,
    /// It ends in `s`: several things, not an order.
    pub(super) several: bool,
    /// It stands behind `that` or the like.
    pub(super) after_that: bool,
    /// It ends in `ed`.
    pub(super) done: bool,
    /// It is `owner/name`.
    pub(super) names_repo: bool,
    /// A verb that says how a thing is (`running instances`).
    pub(super) describes: bool,
}

/// A stretch of words that belong together.
#[derive(Debug, Default, Clone)]
pub(super) struct Segment {
    pub(super) sentence: usize,
    /// A reason, a condition or a time.
    pub(super) aside: bool,
    /// Where something comes from or what it goes through.
    pub(super) context: bool,
    /// It stands in brackets.
    pub(super) bracketed: bool,
    /// It stands before a colon, without a verb: what the rest is about.
    pub(super) heading: bool,
    /// A colon follows.
    pub(super) before_colon: bool,
    /// What happens there happens at somebody else's.
    pub(super) elsewhere: bool,
    /// It asks whether or what.
    pub(super) question: bool,
    /// It asks for rights rather than for a job, or gives orders about the rules.
    pub(super) smuggles: bool,
    /// It gives orders about rules, or claims that somebody allowed it.
    pub(super) orders: bool,
    /// It names permissions.
    pub(super) names_permissions: bool,
    /// Its text in lower case, words between single spaces.
    pub(super) text: String,
}

/// A whole text, understood.
#[derive(Debug, Default)]
pub(super) struct Heard {
    pub(super) words: Vec<Word>,
    pub(super) segments: Vec<Segment>,
    pub(super) resources: Vec<Resource>,
    pub(super) mentions: Vec<Mention>,
    pub(super) read_only: bool,
    /// A number tells which one is meant.
    pub(super) has_numbers: bool,
    /// It asks, lists or reports, and does nothing else.
    pub(super) looks: bool,
    /// Whether its words are said where something is looked at (below nothing) or changed (above).
    pub(super) leaning: f32,
    /// A name with letters that look like others.
    pub(super) look_alike: Option<String>,
    /// The text asks for rights beyond a job.
    pub(super) smuggles: bool,
    /// No word of it shows that it is English.
    pub(super) foreign: bool,
    /// Something is only quoted, or somebody else said it.
    pub(super) left_out: bool,
}

impl Heard {
    /// The words of a segment with their positions; they stand together.
    pub(super) fn own(&self, segment: usize) -> impl Iterator<Item = (usize, &Word)> + Clone {
        let from = self.words.partition_point(|word| word.segment < segment);
        let to = self.words.partition_point(|word| word.segment <= segment);
        self.words.iter().enumerate().take(to).skip(from)
    }
}
