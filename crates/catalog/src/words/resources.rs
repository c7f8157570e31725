//! Which of the named things the job is about: not those that are excluded, or that another job was about.

use super::heard::Heard;
use super::lexicon::joins;
use crate::solve::Resource;

/// A thing that the text names, and the word that it stands for.
#[derive(Debug, Clone)]
pub(super) struct Mention {
    pub(super) at: usize,
    pub(super) resource: Resource,
    /// Only a mail address names it.
    pub(super) by_mail: bool,
}

/// The things that the job is about, each once, in the order of the text.
pub(super) fn kept(heard: &Heard) -> Vec<Resource> {
    let apart: Vec<usize> = compared(heard);
    let counts = |mention: &&Mention| {
        let word = heard.words.get(mention.at);
        !mention.by_mail && word.is_none_or(|word| !word.negated && !apart.contains(&word.segment))
    };
    let mut found: Vec<Resource> = Vec::new();
    for mention in &heard.mentions {
        let same = |other: &Mention| other.resource.kind == mention.resource.kind;
        // What is excluded without anything else being named still says where: less is meant there, not everywhere.
        let else_named = heard.mentions.iter().filter(counts).any(same);
        if (counts(&mention) || !else_named) && !found.contains(&mention.resource) {
            found.push(mention.resource.clone());
        }
    }
    found
}

/// The segments that only compare: `like we did for evil.com`.
fn compared(heard: &Heard) -> Vec<usize> {
    let mut apart = Vec::new();
    let mut sentence = None;
    for (at, segment) in heard.segments.iter().enumerate() {
        let text = format!("{} ", segment.text);
        let first = text.split_whitespace().next().unwrap_or_default();
        let compares = matches!(first, "like" | "unlike" | "besides")
            || [
                " same as ",
                " as we did ",
                " as with ",
                " as on ",
                " as for ",
                " as before ",
                " other than ",
                " apart from ",
            ]
            .iter()
            .any(|says| text.contains(says));
        if compares {
            sentence = Some(segment.sentence);
        } else if joins(first) || sentence.is_some_and(|sentence| sentence != segment.sentence) {
            sentence = None;
        }
        if sentence.is_some() {
            apart.push(at);
        }
    }
    apart
}
