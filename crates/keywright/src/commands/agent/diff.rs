//! What changes between two texts, for people.

use keywright_hygiene::scrub_text;
use owo_colors::OwoColorize as _;

use crate::output::source_lines;

/// How many unchanged lines are shown around a change.
const AROUND: usize = 2;
/// A line that is longer than this is no line that a person wrote.
const LONGEST: usize = 400;

/// The lines that go and the lines that come, with some around them. The file is another program's and may hold
/// secrets, so what looks like one is masked.
pub(super) fn diff(old: &str, new: &str) -> String {
    let (old, new): (Vec<&str>, Vec<&str>) = (old.lines().collect(), new.lines().collect());
    let head = old.iter().zip(&new).take_while(|(a, b)| a == b).count();
    let (old_rest, new_rest) = (old.get(head..).unwrap_or_default(), new.get(head..).unwrap_or_default());
    let tail = old_rest.iter().rev().zip(new_rest.iter().rev()).take_while(|(a, b)| a == b).count();
    let gone = old_rest.get(..old_rest.len() - tail).unwrap_or_default();
    let come = new_rest.get(..new_rest.len() - tail).unwrap_or_default();
    let before = new.get(head.saturating_sub(AROUND)..head).unwrap_or_default();
    let behind = new_rest.iter().skip(new_rest.len() - tail).take(AROUND);
    let mut text = String::new();
    for line in before {
        text.push_str(&source_lines(&shown(line), "  "));
    }
    for line in gone {
        text.push_str(&source_lines(&shown(line), "- ").red().to_string());
    }
    for line in come {
        text.push_str(&source_lines(&shown(line), "+ ").green().to_string());
    }
    for line in behind {
        text.push_str(&source_lines(&shown(line), "  "));
    }
    text
}

fn shown(line: &str) -> String {
    match line.chars().count() {
        0 => " ".to_owned(),
        1..=LONGEST => scrub_text(line),
        length => format!("(a line of {length} characters)"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_changes_is_shown_with_a_little_around_it() {
        let strip = |text: String| anstream::adapter::strip_str(&text).to_string();
        let shown = strip(diff("a\nb\nc\nd\ne\nf\n", "a\nb\nc\nX\nY\ne\nf\n"));
        assert_eq!(shown, "  b\n  c\n- d\n+ X\n+ Y\n  e\n  f\n");
        assert_eq!(strip(diff("", "a\n")), "+ a\n");
        assert_eq!(strip(diff("a\na\n", "a\na\na\n")), "  a\n  a\n+ a\n");
        assert_eq!(strip(diff(&"x".repeat(500), "y")), "- (a line of 500 characters)\n+ y\n");
        let secret = format!("\"k\": \"ghp_{}\"", "a1B2c3D4e5F6".repeat(3));
        assert!(!diff("", &secret).contains("a1B2c3D4e5F6"), "{}", diff("", &secret));
    }
}
