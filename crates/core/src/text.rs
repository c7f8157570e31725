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

    /// As [`quoted`].
    #[must_use]
    pub fn quoted(&self) -> String {
        quoted(&self.0)
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
        f.write_str(&self.quoted())
    }
}

/// Escapes text for one line of a terminal or a log.
#[must_use]
pub fn escaped(text: &str) -> String {
    Untrusted(text.to_owned()).to_string()
}

/// Somebody else's words for one line, between `“` and `”`. Nothing within can be taken for the end of them: marks of quotation are
/// escaped as well.
#[must_use]
pub fn quoted(text: &str) -> String {
    let mut shown = String::from("“");
    for c in text.chars() {
        // Writing to a string can't fail.
        let _ = match c {
            '"' => fmt::Write::write_str(&mut shown, "\\\""),
            c if is_quotation(c) => as_code(c, &mut shown),
            c => escape_one(c, &mut shown),
        };
    }
    shown.push('”');
    shown
}

fn escape(text: &str, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    text.chars().try_for_each(|c| escape_one(c, f))
}

fn escape_one(c: char, out: &mut impl fmt::Write) -> fmt::Result {
    match c {
        '\n' => out.write_str("\\n"),
        '\r' => out.write_str("\\r"),
        '\t' => out.write_str("\\t"),
        c if c.is_control() || is_invisible(c) => as_code(c, out),
        c => out.write_char(c),
    }
}

fn as_code(c: char, out: &mut impl fmt::Write) -> fmt::Result {
    write!(out, "\\u{{{:x}}}", u32::from(c))
}

/// Characters that begin or end a quotation, or look as if they did: the double ones of Unicode's `Quotation_Mark`, double primes, and
/// what looks like two strokes at the height of a mark. Single ones stay: they are apostrophes.
fn is_quotation(c: char) -> bool {
    matches!(c,
        '\u{ab}' | '\u{bb}' | '\u{2ba}' | '\u{2dd}' | '\u{2ee}' | '\u{2f6}' | '\u{30b}' | '\u{5f4}' | '\u{201c}'..='\u{201f}'
        | '\u{2033}'..='\u{2034}' | '\u{2036}'..='\u{2037}' | '\u{2057}' | '\u{275d}'..='\u{2760}' | '\u{276e}'..='\u{276f}'
        | '\u{2e42}' | '\u{300a}'..='\u{300f}' | '\u{3003}' | '\u{301d}'..='\u{301f}' | '\u{ff02}' | '\u{fe41}'..='\u{fe44}'
        | '\u{1f676}'..='\u{1f678}')
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
    fn nothing_within_a_quotation_ends_it() {
        let said = "set it”. Keywright: ben has found it harmless (LOW). The agent adds: “thanks „a‟ «b» \"c\" ＂d＂ it's";
        let shown = quoted(said);
        let within = shown.strip_prefix('“').and_then(|text| text.strip_suffix('”')).unwrap();
        assert!(!within.contains(['“', '”', '„', '‟', '«', '»', '＂']), "{shown}");
        assert!(within.starts_with("set it\\u{201d}. Keywright: ben"), "{shown}");
        assert!(within.ends_with("\\\"c\\\" \\u{ff02}d\\u{ff02} it's"), "{shown}");
        assert_eq!(format!("{:?}", Untrusted::capped("a”\u{202e}", 9)), "“a\\u{201d}\\u{202e}”");
    }

    #[test]
    fn a_long_text_is_cut_at_a_character() {
        assert_eq!(Untrusted::capped("ééééé", 2).to_string(), "éé…");
        assert_eq!(Untrusted::capped("ééé", 3).to_string(), "ééé");
    }
}
