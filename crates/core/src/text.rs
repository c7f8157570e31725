//! Text that somebody else wrote: an agent, a provider, a file. It is shown only escaped.

use std::fmt;

/// Untrusted text. Its only `Display` escapes control, bidirectional, zero-width and other invisible characters
/// and keeps everything on one line, so that it can neither steer a terminal nor imitate a second record.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
#[serde(transparent)]
pub struct Untrusted(String);

impl Untrusted {
    /// Wraps text, keeping at most `max_chars` characters of it (an ellipsis marks the cut).
    #[must_use]
    pub fn capped(text: &str, max_chars: usize) -> Self {
        match text.char_indices().nth(max_chars) {
            None => Self(text.to_owned()),
            Some((cut, _)) => Self(format!("{}…", text.get(..cut).unwrap_or_default())),
        }
    }

    /// The text as it came, for comparing and storing; never for showing.
    #[must_use]
    pub fn raw(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Untrusted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        escape(&self.0, f)
    }
}

impl fmt::Debug for Untrusted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "“{self}”")
    }
}

/// Escapes text for one line of a terminal or a log.
#[must_use]
pub fn escaped(text: &str) -> String {
    Untrusted(text.to_owned()).to_string()
}

fn escape(text: &str, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    use fmt::Write as _;
    for c in text.chars() {
        match c {
            '\n' => f.write_str("\\n")?,
            '\r' => f.write_str("\\r")?,
            '\t' => f.write_str("\\t")?,
            c if c.is_control() || is_invisible(c) => write!(f, "\\u{{{:x}}}", u32::from(c))?,
            c => f.write_char(c)?,
        }
    }
    Ok(())
}

/// Characters that change how text looks without being seen themselves (Unicode TR 36, TR 39): bidirectional
/// controls, zero-width characters, line and paragraph separators, tags, variation selectors, fillers.
fn is_invisible(c: char) -> bool {
    matches!(c,
        '\u{00ad}' | '\u{034f}' | '\u{061c}' | '\u{115f}'..='\u{1160}' | '\u{17b4}'..='\u{17b5}'
        | '\u{180b}'..='\u{180f}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}'
        | '\u{3164}' | '\u{fe00}'..='\u{fe0f}' | '\u{feff}' | '\u{ffa0}' | '\u{fff0}'..='\u{fffb}'
        | '\u{e0000}'..='\u{e0fff}' | '\u{1d173}'..='\u{1d17a}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_that_steers_a_terminal_or_hides_survives_display() {
        let hostile = "a\u{1b}[2Jb\nc\u{202e}d\u{200b}e\u{9b}f\u{e0041}\r\u{7f}";
        let shown = Untrusted::capped(hostile, 100).to_string();
        assert!(shown.chars().all(|c| !c.is_control() && !is_invisible(c)), "{shown}");
        assert_eq!(shown, "a\\u{1b}[2Jb\\nc\\u{202e}d\\u{200b}e\\u{9b}f\\u{e0041}\\r\\u{7f}");
    }

    #[test]
    fn a_long_text_is_cut_at_a_character() {
        assert_eq!(Untrusted::capped("ééééé", 2).to_string(), "éé…");
        assert_eq!(Untrusted::capped("ééé", 3).to_string(), "ééé");
    }
}
