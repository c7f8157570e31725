//! Standard output is data, standard error is talk.

use std::fmt::Write as _;
use std::io::{IsTerminal as _, Write as _};

use keywright_broker::Code;
use keywright_core::text::escaped;
use keywright_server::answer::Failure;
use serde_json::Value;

use crate::errors::{self, Exit};
use crate::show::fit::{chopped, fitted};
use crate::show::{talk_width, width};

/// What a command has to say when it went well.
pub(crate) struct Output {
    /// For programs.
    value: Value,
    /// For people; may hold colours, which are taken out where they do not belong.
    text: String,
    /// Whether the text is somebody's file, which goes out as it came in.
    is_source: bool,
    /// What to do next.
    talk: Vec<String>,
    exit: Exit,
}

/// How every command ends.
pub(crate) type Done = Result<Output, Failure>;

impl Output {
    /// Data that has a schema, and the same for people.
    pub(crate) fn new(value: Value, text: impl Into<String>) -> Self {
        Self { value, text: text.into(), is_source: false, talk: Vec::new(), exit: Exit::Done }
    }

    /// Data that has a schema, and for people a file's text: whoever redirects it gets the file.
    pub(crate) fn source(value: Value, text: impl Into<String>) -> Self {
        Self { is_source: true, ..Self::new(value, text) }
    }

    /// Nothing: the command has said it all already.
    pub(crate) fn silent(exit: Exit) -> Self {
        Self { exit, ..Self::new(Value::Null, "") }
    }

    /// Adds a word of advice, which goes to standard error.
    pub(crate) fn talk(mut self, line: impl Into<String>) -> Self {
        self.talk.push(line.into());
        self
    }

    /// Ends with another exit code.
    pub(crate) fn exit(mut self, exit: Exit) -> Self {
        self.exit = exit;
        self
    }

    /// Prints it.
    pub(crate) fn print(self, json: bool) -> Exit {
        let printed = match (json, self.is_source) {
            (true, _) if self.value.is_null() => Ok(()),
            (true, _) => print_json(&self.value),
            (false, true) => print_source(&self.text),
            (false, false) if self.text.is_empty() => Ok(()),
            (false, false) => print_line(self.text.trim_end()),
        };
        if let Err(failure) = printed {
            return errors::tell(&failure);
        }
        for line in self.talk.iter().filter(|_| !json) {
            say(line);
        }
        self.exit
    }
}

/// A line of data, in colours where they belong. The terminal has nothing to break.
pub(crate) fn print_line(line: &str) -> Result<(), Failure> {
    let line = fitted(line, width());
    let mut data = anstream::stdout().lock();
    arrived(writeln!(data, "{line}").and_then(|()| data.flush()))
}

/// A file's text: as it is, or on a terminal with each line made safe.
fn print_source(text: &str) -> Result<(), Failure> {
    let mut data = std::io::stdout().lock();
    let shown = if data.is_terminal() { source_lines(text, "") } else { text.to_owned() };
    let end = if shown.is_empty() || shown.ends_with('\n') { "" } else { "\n" };
    arrived(write!(data, "{shown}{end}").and_then(|()| data.flush()))
}

/// A file's lines, each made safe and put behind the same indent; tabs stay tabs.
pub(crate) fn source_lines(source: &str, indent: &str) -> String {
    let safe = |line: &str| line.split('\t').map(escaped).collect::<Vec<_>>().join("\t");
    source.lines().map(|line| format!("{indent}{}\n", safe(line))).collect()
}

/// A file's lines as wide as the terminal: what goes on from the line before says so, and looks like no other line.
pub(crate) fn source_block(source: &str, indent: &str, width: Option<usize>) -> String {
    let Some(width) = width else { return source_lines(source, indent) };
    let room = width.saturating_sub(indent.len() + 2).max(1);
    let safe = |line: &str| line.split('\t').map(escaped).collect::<Vec<_>>().join("    ");
    let mut text = String::new();
    for line in source.lines().map(safe) {
        for (at, part) in chopped(&line, room).into_iter().enumerate() {
            text.push_str(&format!("{indent}{}{part}\n", if at == 0 { "" } else { "… " }));
        }
    }
    text
}

/// A reader that went away (`| head`) is no failure of ours; data that is lost otherwise is.
fn arrived(written: std::io::Result<()>) -> Result<(), Failure> {
    match written {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => {
            let message = format!("standard output can't be written: {}", errors::plain(&error));
            Err(Failure::new(Code::Internal, message))
        }
        _ => Ok(()),
    }
}

/// A line of talk.
pub(crate) fn say(line: &str) {
    let line = fitted(line, talk_width());
    let _ = writeln!(anstream::stderr().lock(), "{line}");
}

/// One JSON document: on one line, or indented where a person reads it.
pub(crate) fn print_json(value: &Value) -> Result<(), Failure> {
    let mut data = std::io::stdout().lock();
    let text =
        if data.is_terminal() { serde_json::to_string_pretty(value) } else { serde_json::to_string(value) };
    let text = unambiguous(&text.unwrap_or_default());
    arrived(writeln!(data, "{text}").and_then(|()| data.flush()))
}

/// The same JSON, with whatever steers a terminal or can't be seen written as `\uXXXX`. Such characters stand in
/// strings only, where JSON allows them to be written so; the line breaks of an indented document stay.
fn unambiguous(json: &str) -> String {
    let mut safe = String::with_capacity(json.len());
    let mut units = [0; 2];
    for c in json.chars() {
        if c == '\n' || c.is_ascii_graphic() || c == ' ' || !is_steering(c) {
            safe.push(c);
            continue;
        }
        for unit in c.encode_utf16(&mut units) {
            // Writing to a string can't fail.
            let _ = write!(safe, "\\u{unit:04x}");
        }
    }
    safe
}

fn is_steering(c: char) -> bool {
    let mut bytes = [0; 4];
    let text: &str = c.encode_utf8(&mut bytes);
    escaped(text) != text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_on_a_terminal_keeps_its_tabs_and_steers_nothing() {
        assert_eq!(source_lines("a\tb\n\u{1b}[2J", "  "), "  a\tb\n  \\u{1b}[2J\n");
    }

    #[test]
    fn a_long_line_of_a_file_goes_on_as_none_of_its_own() {
        assert_eq!(
            source_block("# one two\n\tb = 1", "  ", Some(10)),
            "  # one \n  … two\n      b \n  … = 1\n"
        );
        assert_eq!(source_block("# one two\n\tb", "  ", None), "  # one two\n  \tb\n");
    }

    #[test]
    fn json_means_the_same_and_holds_nothing_that_steers_a_terminal() {
        let hostile = "a\u{1b}[2J\u{9b}b\u{202e}c\u{e0041}é\n\u{7f}";
        let value = serde_json::json!({ "schema": "x", "text": hostile });
        let text = unambiguous(&serde_json::to_string(&value).unwrap());
        assert!(text.chars().all(|c| !is_steering(c)), "{text}");
        assert_eq!(serde_json::from_str::<Value>(&text).unwrap(), value);
    }
}
