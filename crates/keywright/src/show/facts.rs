//! Facts about one thing: a label and a text a line, wrapped under itself.

use owo_colors::OwoColorize as _;

use super::fit::{columns, wrapped};
use super::width;

/// The narrowest room in which a fact can be read beside its label.
const READABLE: usize = 20;
/// How far in a fact stands below its label where it has no room beside it.
const BELOW: usize = 4;

/// Facts about one thing, in order.
#[derive(Default)]
pub(crate) struct Facts {
    lines: Vec<(String, String)>,
    /// Where a block begins, and what it is about.
    titles: Vec<(usize, String)>,
}

impl Facts {
    /// Nothing yet.
    pub(crate) fn new() -> Self {
        Self::default()
    }

    /// Adds a fact; an empty one is left out.
    pub(crate) fn add(mut self, label: &str, text: impl Into<String>) -> Self {
        let text = text.into();
        if !text.is_empty() {
            self.lines.push((label.to_owned(), text));
        }
        self
    }

    /// What the facts from here on are about.
    pub(crate) fn title(mut self, title: &str) -> Self {
        self.titles.push((self.lines.len(), title.to_owned()));
        self
    }

    /// Adds a line, also one without a label, which goes on from the one before.
    pub(crate) fn line(mut self, label: &str, text: String) -> Self {
        self.lines.push((label.to_owned(), text));
        self
    }

    /// Adds several facts under one label.
    pub(crate) fn all(mut self, label: &str, texts: impl IntoIterator<Item = String>) -> Self {
        for (at, text) in texts.into_iter().enumerate() {
            self.lines.push((if at == 0 { label.to_owned() } else { String::new() }, text));
        }
        self
    }

    /// The text, as wide as the terminal.
    pub(crate) fn render(&self) -> String {
        self.render_at(width())
    }

    /// The text, so wide.
    pub(crate) fn render_at(&self, width: Option<usize>) -> String {
        let label_width = self.lines.iter().map(|(label, _)| columns(label)).max().unwrap_or(0);
        let beside = label_width + 4;
        let is_narrow = width.is_some_and(|width| width < beside + READABLE);
        let indent = if is_narrow { BELOW } else { beside };
        let room = width.map_or(usize::MAX, |width| width.saturating_sub(indent).max(1));
        let mut text = String::new();
        for (number, (label, fact)) in self.lines.iter().enumerate() {
            for (_, title) in self.titles.iter().filter(|(begins, _)| *begins == number) {
                text.push_str(&format!("  {}\n", title.to_uppercase().bold()));
            }
            let mut label = label.as_str();
            if is_narrow && !label.is_empty() {
                for line in wrapped(label, width.unwrap_or(usize::MAX).saturating_sub(2).max(1)) {
                    text.push_str(&format!("  {}\n", line.dimmed()));
                }
            }
            for line in fact.split('\n').flat_map(|line| wrapped(line, room)) {
                if is_narrow {
                    text.push_str(&format!("{:indent$}{line}\n", ""));
                    continue;
                }
                let rest = " ".repeat(label_width.saturating_sub(columns(label)));
                text.push_str(&format!("  {}{rest}  {line}\n", label.dimmed()));
                label = "";
            }
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_facts_wrap_under_themselves_and_nothing_is_lost() {
        let facts = Facts::new()
            .add("name", "one two three four five six")
            .add("empty", "")
            .add("id", "x".repeat(30));
        let text = anstream::adapter::strip_str(&facts.render_at(Some(28))).to_string();
        assert_eq!(
            text,
            "  name  one two three four\n        five six\n  id    xxxxxxxxxxxxxxxxxxxx\n        xxxxxxxxxx\n"
        );
    }

    #[test]
    fn where_there_is_no_room_beside_a_label_its_facts_stand_below_it() {
        let facts = Facts::new().add("what it comes to", "one two three four five");
        let text = anstream::adapter::strip_str(&facts.render_at(Some(24))).to_string();
        assert_eq!(text, "  what it comes to\n    one two three four\n    five\n");
    }

    #[test]
    fn colours_take_no_room() {
        let line = format!("{} b", "a".red());
        assert_eq!(wrapped(&line, 3).len(), 1);
        let long: Vec<String> = wrapped(&"abcdefg".red().to_string(), 3)
            .iter()
            .map(|line| anstream::adapter::strip_str(line).to_string())
            .collect();
        assert_eq!(long, ["abc", "def", "g"]);
    }
}
