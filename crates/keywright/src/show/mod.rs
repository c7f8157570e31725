//! How nouns look to people. Whatever came from outside goes through [`outside`] first.

pub(crate) mod answer;
pub(crate) use keywright_server::when;

pub(crate) mod facts;
pub(crate) mod fit;
pub(crate) mod list;
pub(crate) mod moments;
pub(crate) mod plan;
pub(crate) mod receipt;

use keywright_core::text::{Untrusted, escaped};
use serde_json::Value;

/// As wide as a terminal is that does not say it.
const USUAL: usize = 80;

/// How wide the terminal is that data goes to; a pipe has no width.
pub(crate) fn width() -> Option<usize> {
    width_of(&std::io::stdout())
}

/// How wide the terminal is that talk goes to.
pub(crate) fn talk_width() -> Option<usize> {
    width_of(&std::io::stderr())
}

fn width_of(stream: &(impl std::io::IsTerminal + std::os::fd::AsFd)) -> Option<usize> {
    if !stream.is_terminal() {
        return None;
    }
    let columns = rustix::termios::tcgetwinsize(stream).map_or(0, |size| size.ws_col);
    Some(if columns > 0 { usize::from(columns) } else { USUAL })
}

/// Text from outside, made safe to show, at most 2,000 characters of it.
pub(crate) fn outside(text: &str) -> String {
    Untrusted::capped(text, 2_000).to_string()
}

/// A field as text: empty when absent.
pub(crate) fn field(value: &Value, name: &str) -> String {
    match value.get(name) {
        None | Some(Value::Null) => String::new(),
        Some(Value::String(text)) => outside(text),
        Some(other) => escaped(&other.to_string()),
    }
}

/// A list field; empty when absent.
pub(crate) fn items<'v>(value: &'v Value, name: &str) -> &'v [Value] {
    value.get(name).and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

/// A list field of texts, joined.
pub(crate) fn joined(value: &Value, name: &str) -> String {
    let texts = items(value, name).iter().filter_map(Value::as_str);
    texts.map(outside).collect::<Vec<_>>().join(", ")
}

/// A number field; 0 when absent.
pub(crate) fn number(value: &Value, name: &str) -> u64 {
    value.get(name).and_then(Value::as_u64).unwrap_or(0)
}

/// `1 key`, `2 keys`.
pub(crate) fn count(number: u64, one: &str, many: &str) -> String {
    format!("{number} {}", if number == 1 { one } else { many })
}
