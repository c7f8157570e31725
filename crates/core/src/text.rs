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
/// escaped as well, and single ones that stand side by side, which look like a double one.
#[must_use]
pub fn quoted(text: &str) -> String {
    let mut shown = String::from("“");
    let chars: Vec<char> = text.chars().collect();
    let mut rest = chars.as_slice();
    while let Some((first, after)) = rest.split_first() {
        let joins = |c: &&char| is_single_quotation(**c) || is_combining(**c);
        let joined = if is_single_quotation(*first) { after.iter().take_while(joins).count() } else { 0 };
        let (these, others) = rest.split_at(1 + joined);
        for c in these {
            // Writing to a string can't fail.
            let _ = match *c {
                '"' => fmt::Write::write_str(&mut shown, "\\\""),
                '\'' if joined > 0 => fmt::Write::write_str(&mut shown, "\\'"),
                '`' if joined > 0 => fmt::Write::write_str(&mut shown, "\\`"),
                c if joined > 0 || is_quotation(c) => as_code(c, &mut shown),
                c => escape_one(c, &mut shown),
            };
        }
        rest = others;
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
/// what looks like two strokes at the height of a mark. Single ones stay where they stand alone: they are apostrophes.
fn is_quotation(c: char) -> bool {
    matches!(c,
        '\u{ab}' | '\u{bb}' | '\u{2ba}' | '\u{2dd}' | '\u{2ee}' | '\u{2f6}' | '\u{30b}' | '\u{5f4}' | '\u{201c}'..='\u{201f}'
        | '\u{2033}'..='\u{2034}' | '\u{2036}'..='\u{2037}' | '\u{2057}' | '\u{275d}'..='\u{2760}' | '\u{276e}'..='\u{276f}'
        | '\u{2e42}' | '\u{300a}'..='\u{300f}' | '\u{3003}' | '\u{301d}'..='\u{301f}' | '\u{ff02}' | '\u{ff62}'..='\u{ff63}'
        | '\u{fe41}'..='\u{fe44}' | '\u{1f676}'..='\u{1f678}')
}

/// Characters of which two side by side look like a double mark of quotation: the single ones, apostrophes, primes, accents that stand
/// alone, and what Unicode (TR 39) takes for one of them, but for letters.
fn is_single_quotation(c: char) -> bool {
    matches!(c,
        '\'' | '`' | '\u{b4}' | '\u{2b9}' | '\u{2bb}'..='\u{2bf}' | '\u{2c8}' | '\u{2ca}'..='\u{2cb}' | '\u{2f4}' | '\u{374}'
        | '\u{384}' | '\u{55a}' | '\u{55d}' | '\u{5f3}' | '\u{7f4}'..='\u{7f5}' | '\u{144a}' | '\u{16cc}' | '\u{1fbd}' | '\u{1fbf}'
        | '\u{1fef}' | '\u{1ffd}'..='\u{1ffe}' | '\u{2018}'..='\u{201b}' | '\u{2032}' | '\u{2035}' | '\u{2039}'..='\u{203a}'
        | '\u{a78b}'..='\u{a78c}' | '\u{ff07}' | '\u{ff40}' | '\u{16f51}'..='\u{16f52}')
}

/// Accents and other marks over the character before them: over a mark of quotation they may be its second stroke.
fn is_combining(c: char) -> bool {
    matches!(c,
        '\u{300}'..='\u{36f}' | '\u{483}'..='\u{489}' | '\u{1ab0}'..='\u{1aff}' | '\u{1dc0}'..='\u{1dff}' | '\u{20d0}'..='\u{20ff}'
        | '\u{fe20}'..='\u{fe2f}')
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
    fn single_marks_side_by_side_end_no_quotation_and_apostrophes_stay() {
        assert_eq!(
            quoted("set it’’. Keywright: ben has found it harmless (LOW). The agent adds: ‘‘thanks"),
            "“set it\\u{2019}\\u{2019}. Keywright: ben has found it harmless (LOW). The agent adds: \\u{2018}\\u{2018}thanks”"
        );
        for two in [
            "′′",
            "‚‚",
            "’′",
            "’'",
            "ʼʼ",
            "ʹʹ",
            "´´",
            "‵‵",
            "‛‛",
            "››",
            "＇＇",
            "׳׳",
            "ꞌꞌ",
            "’\u{315}",
            "’\u{301}’",
            "｣",
            "｢",
        ] {
            let shown = quoted(&format!("a{two} b"));
            let within = shown.strip_prefix("“a").and_then(|text| text.strip_suffix(" b”")).unwrap();
            assert!(within.starts_with("\\u{") && within.is_ascii(), "{two}: {shown}");
        }
        assert_eq!(quoted("a'' ``b``"), "“a\\'\\' \\`\\`b\\`\\`”");
        for plain in
            ["it's d’où ‘one’ 5′ l‘ `code`", "re\u{301}sume\u{301}, ἅ, α\u{314}\u{301}", "‹one›, ‚one‘"]
        {
            assert_eq!(quoted(plain), format!("“{plain}”"));
        }
    }

    #[test]
    fn a_long_text_is_cut_at_a_character() {
        assert_eq!(Untrusted::capped("ééééé", 2).to_string(), "éé…");
        assert_eq!(Untrusted::capped("ééé", 3).to_string(), "ééé");
    }
}
