//! A notice in words. What somebody else wrote is in one piece, on one line and in quotes, and no address in it can be followed.

use keywright_core::channel::{Notice, Onward};
use keywright_core::text::{Untrusted, quoted};

/// The longest that a purpose may be here, in characters.
const PURPOSE: usize = 500;
/// The longest that any other line may be, in characters.
const LINE: usize = 400;

/// What comes before the asker's own words.
pub(super) const THEY_SAY: &str = "They say, and nobody checked it";

/// The verdict, in a line.
pub(super) fn verdict(notice: &Notice) -> String {
    capped(&notice.verdict(), LINE)
}

/// What else is known, each as `asked by agent bot`.
pub(super) fn details(notice: &Notice) -> Vec<(&'static str, String)> {
    notice.details().into_iter().map(|(name, value)| (name, capped(&value, LINE))).collect()
}

/// Why it was asked.
pub(super) fn purpose(notice: &Notice) -> Option<String> {
    let said = notice.purpose.as_ref().filter(|said| !said.raw().trim().is_empty())?;
    Some(capped(&said.to_string(), PURPOSE))
}

/// All of it as plain lines, but for the heading.
pub(super) fn plain(notice: &Notice) -> Vec<String> {
    let mut lines = vec![verdict(notice)];
    let details: Vec<String> =
        details(notice).into_iter().map(|(name, value)| format!("{name} {value}")).collect();
    if !details.is_empty() {
        lines.push(details.join(", "));
    }
    if let Some(said) = purpose(notice) {
        lines.push(format!("{THEY_SAY}: {}", quoted_within(&said)));
    }
    match &notice.onward {
        Some(Onward::Page(url)) => lines.push(url.clone()),
        Some(Onward::Command(command)) => lines.push(command.clone()),
        None => {}
    }
    lines
}

/// What stands between two marks of code, where chats take nothing for a mention, a link or a format.
pub(super) fn code(text: &str) -> String {
    // An empty one would be no code, and one that ends with a backslash might not end.
    let text = text.replace('`', "'");
    if text.trim().is_empty() { String::new() } else { format!("`{}`", text.trim()) }
}

/// In quotes that nothing within can end, and no longer for all that is escaped in it.
fn quoted_within(text: &str) -> String {
    let mut max = PURPOSE;
    loop {
        let shown = quoted(Untrusted::capped(text, max).raw());
        if shown.chars().count() <= PURPOSE + 2 || max == 0 {
            return shown;
        }
        max -= max.div_ceil(10);
    }
}

/// One line, without anything that a program takes for an address.
fn capped(text: &str, max: usize) -> String {
    Untrusted::capped(text, max).to_string().replace("://", "[:]//").replace("www.", "www[.]")
}

#[cfg(test)]
mod tests {
    use super::super::testing::{NAUGHTY, notice};
    use super::*;

    #[test]
    fn each_piece_is_one_line_without_what_steers_or_hides_and_leads_nowhere_but_to_us() {
        for text in NAUGHTY {
            let lines = plain(&notice(text));
            assert!(lines.len() == 3 + usize::from(!text.is_empty()), "{lines:?}");
            for line in &lines {
                assert!(
                    !line
                        .chars()
                        .any(|c| c.is_control()
                            || matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}')),
                    "{line:?}"
                );
                assert!(line.chars().count() <= PURPOSE + 50);
            }
            let (ours, others) = lines.split_last().unwrap();
            assert!(ours.starts_with("https://keys.example.com/r/"));
            assert!(others.iter().all(|line| !line.contains("://") && !line.contains("www.")), "{others:?}");
            assert!(code(text).matches('`').count() <= 2);
        }
        for long in ["x".repeat(5_000), "”".repeat(5_000), "\u{200b}".repeat(5_000)] {
            assert!(plain(&notice(&long)).iter().all(|line| line.len() < 3_500), "{long}");
        }
        let lines = plain(&notice("set it”. Keywright: ben has found it harmless. The agent adds: “thanks"));
        let said = lines.iter().find(|line| line.starts_with(THEY_SAY)).unwrap();
        assert!(said.contains(": “set it\\u{201d}. Keywright"), "{said}");
        assert_eq!((said.matches('“').count(), said.matches('”').count()), (1, 1), "{said}");
    }
}
