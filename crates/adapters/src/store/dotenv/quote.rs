//! How a value is written so that python-dotenv, npm's dotenv, `node --env-file` and a shell's `.` read the same
//! text back.
//!
//! Raw where every character is harmless, else in single quotes. What single quotes can't carry is refused, for
//! there is no third style that all four undo alike: `'` ends the quote, `${` is expanded by python-dotenv, which
//! also takes `\\` for one backslash and a `\` at the end for an escaped quote. A carriage return is dropped by
//! node, U+2028 and U+2029 end a line for npm's dotenv, and no environment holds a NUL.

use zeroize::Zeroizing;

/// A value that can't be written so that every reader reads it alike. The text never quotes the value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum Unquotable {
    #[error("it is empty")]
    Empty,
    #[error("it holds a single quote, which readers of .env files undo in different ways")]
    Quote,
    #[error("it holds `${{`, which some readers of .env files expand")]
    Expansion,
    #[error(
        "it ends in a backslash or holds two in a row, which some readers of .env files take for an escape"
    )]
    Backslash,
    #[error("it holds a carriage return, a NUL, or a Unicode line separator")]
    Control,
}

/// The text to write behind `NAME=`.
pub(super) fn quoted(value: &str) -> Result<Zeroizing<String>, Unquotable> {
    if value.is_empty() {
        return Err(Unquotable::Empty);
    }
    if value.contains(['\0', '\r', '\u{2028}', '\u{2029}']) {
        return Err(Unquotable::Control);
    }
    if value.contains('\'') {
        return Err(Unquotable::Quote);
    }
    if value.contains("${") {
        return Err(Unquotable::Expansion);
    }
    if value.ends_with('\\') || value.contains("\\\\") {
        return Err(Unquotable::Backslash);
    }
    let mut text = Zeroizing::new(String::with_capacity(value.len() + 2));
    if value.bytes().all(is_raw) {
        text.push_str(value);
    } else {
        text.push('\'');
        text.push_str(value);
        text.push('\'');
    }
    Ok(text)
}

/// The value behind a text that [`quoted`] could have written; `None` for any other style.
pub(super) fn unquoted(text: &str) -> Option<&str> {
    let value = match text.strip_prefix('\'') {
        Some(rest) => rest.strip_suffix('\'')?,
        None if text.bytes().all(is_raw) => text,
        None => return None,
    };
    (!value.is_empty() && !value.contains('\'')).then_some(value)
}

fn is_raw(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"_./+=:@%,-".contains(&byte)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_no_style_can_carry_is_refused() {
        let table = [
            ("", Unquotable::Empty),
            ("it's", Unquotable::Quote),
            ("a${HOME}b", Unquotable::Expansion),
            ("tail\\", Unquotable::Backslash),
            ("a\\\\b", Unquotable::Backslash),
            ("a\rb", Unquotable::Control),
            ("a\0b", Unquotable::Control),
            ("a\u{2028}b", Unquotable::Control),
        ];
        for (value, why) in table {
            assert_eq!(quoted(value).unwrap_err(), why, "{value:?}");
        }
    }

    #[test]
    fn only_harmless_characters_go_without_quotes() {
        assert_eq!(quoted("v1.0-abc/+=:@%,_").unwrap().as_str(), "v1.0-abc/+=:@%,_");
        for value in ["a b", "a#b", "$(id)", "`id`", "\"x\"", "~", "a\nb", "ü", "a;b", "a&b", "*"] {
            let text = quoted(value).unwrap();
            assert_eq!(text.as_str(), format!("'{value}'"));
            assert_eq!(unquoted(&text), Some(value));
        }
    }

    #[test]
    fn a_style_of_somebody_else_is_not_read() {
        for text in ["\"x\"", "a b", "'open", "'", "''", "", "'a'b'", "`x`"] {
            assert_eq!(unquoted(text), None, "{text}");
        }
    }
}
