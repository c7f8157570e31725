//! Facts about one thing: a label and a text a line, wrapped under itself.

use owo_colors::OwoColorize as _;

use super::width;

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
    pub(super) fn render_at(&self, width: Option<usize>) -> String {
        let label_width = self.lines.iter().map(|(label, _)| label.chars().count()).max().unwrap_or(0);
        let indent = label_width + 4;
        let room = width.map_or(usize::MAX, |width| width.saturating_sub(indent).max(20));
        let mut text = String::new();
        for (number, (label, fact)) in self.lines.iter().enumerate() {
            for (_, title) in self.titles.iter().filter(|(begins, _)| *begins == number) {
                text.push_str(&format!("  {}\n", title.to_uppercase().bold()));
            }
            for (at, line) in fact.split('\n').flat_map(|line| wrapped(line, room)).enumerate() {
                let label = if at == 0 { label.as_str() } else { "" };
                text.push_str(&format!("  {:<label_width$}  {line}\n", label.dimmed()));
            }
        }
        text
    }
}

/// Breaks a line between words; a word that is too long is broken anywhere. Colours are not counted.
pub(crate) fn wrapped(line: &str, room: usize) -> Vec<String> {
    let mut lines = Vec::new();
    let mut current = String::new();
    for word in line.split(' ') {
        let mut word = word.to_owned();
        let needed = shown(&current) + usize::from(!current.is_empty()) + shown(&word);
        if !current.is_empty() && needed > room {
            lines.push(std::mem::take(&mut current));
        }
        while shown(&word) > room {
            let rest = word.split_off(end_of(&word, room));
            lines.push(std::mem::replace(&mut word, rest));
        }
        if !current.is_empty() {
            current.push(' ');
        }
        current.push_str(&word);
    }
    lines.push(current);
    lines
}

/// Where so many characters of a text were seen.
fn end_of(text: &str, room: usize) -> usize {
    let (mut in_colour, mut count) = (false, 0);
    for (at, c) in text.char_indices() {
        match c {
            '\u{1b}' => in_colour = true,
            'm' if in_colour => in_colour = false,
            _ if in_colour => {}
            _ if count == room => return at,
            _ => count += 1,
        }
    }
    text.len()
}

/// How many characters are seen: what `\x1b[..m` says is not.
fn shown(text: &str) -> usize {
    let mut in_colour = false;
    let mut count = 0;
    for c in text.chars() {
        match c {
            '\u{1b}' => in_colour = true,
            'm' if in_colour => in_colour = false,
            _ if in_colour => {}
            _ => count += 1,
        }
    }
    count
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
