//! Standard output is data, standard error is talk.

use std::fmt::Write as _;
use std::io::{IsTerminal as _, Write as _};

use keywright_core::text::escaped;
use keywright_server::answer::Failure;
use serde_json::Value;

use crate::errors::Exit;

/// What a command has to say when it went well.
pub(crate) struct Output {
    /// For programs.
    value: Value,
    /// For people; may hold colours, which are taken out where they do not belong.
    text: String,
    /// What to do next.
    talk: Vec<String>,
    exit: Exit,
}

/// How every command ends.
pub(crate) type Done = Result<Output, Failure>;

impl Output {
    /// Data that has a schema, and the same for people.
    pub(crate) fn new(value: Value, text: impl Into<String>) -> Self {
        Self { value, text: text.into(), talk: Vec::new(), exit: Exit::Done }
    }

    /// Nothing: the command has said it all already.
    pub(crate) fn silent(exit: Exit) -> Self {
        Self { value: Value::Null, text: String::new(), talk: Vec::new(), exit }
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
        if json {
            if !self.value.is_null() {
                print_json(&self.value);
            }
            return self.exit;
        }
        if !self.text.is_empty() {
            let mut data = anstream::stdout().lock();
            // A reader that went away (`| head`) is no failure of ours.
            let _ = writeln!(data, "{}", self.text.trim_end());
        }
        for line in &self.talk {
            say(line);
        }
        self.exit
    }
}

/// A line of talk.
pub(crate) fn say(line: &str) {
    let _ = writeln!(anstream::stderr().lock(), "{line}");
}

/// One JSON document: on one line, or indented where a person reads it.
pub(crate) fn print_json(value: &Value) {
    let mut data = std::io::stdout().lock();
    let text =
        if data.is_terminal() { serde_json::to_string_pretty(value) } else { serde_json::to_string(value) };
    let _ = writeln!(data, "{}", unambiguous(&text.unwrap_or_default()));
    let _ = data.flush();
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
    fn json_means_the_same_and_holds_nothing_that_steers_a_terminal() {
        let hostile = "a\u{1b}[2J\u{9b}b\u{202e}c\u{e0041}é\n\u{7f}";
        let value = serde_json::json!({ "schema": "x", "text": hostile });
        let text = unambiguous(&serde_json::to_string(&value).unwrap());
        assert!(text.chars().all(|c| !is_steering(c)), "{text}");
        assert_eq!(serde_json::from_str::<Value>(&text).unwrap(), value);
    }
}
