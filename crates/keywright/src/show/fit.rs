//! How wide a text is on a terminal, and lines that fit. Where a line is broken is never left to the terminal: what it
//! puts at the first column looks like a line of ours.

use unicode_normalization::char::is_combining_mark;
use unicode_segmentation::UnicodeSegmentation as _;
use unicode_width::{UnicodeWidthChar as _, UnicodeWidthStr as _};

/// Terminals have a tab stop at every eighth column.
const TAB: usize = 8;
/// What is wider than this and stays in one piece is a sequence that somebody made up, and is broken anywhere.
const WHOLE: usize = 8;
/// How much further in a line goes on than it began.
const HANGING: usize = 2;

/// How many columns a text takes at most, whatever the terminal knows of Unicode. Colours take none.
pub(crate) fn columns(text: &str) -> usize {
    pieces(text).iter().map(|(_, columns)| columns).sum()
}

/// Breaks a line between words; a word that is too long is broken anywhere. Colours are not counted.
pub(crate) fn wrapped(line: &str, room: usize) -> Vec<String> {
    let mut lines = Vec::new();
    let mut current = String::new();
    for word in line.split(' ') {
        let mut word = word.to_owned();
        let needed = columns(&current) + usize::from(!current.is_empty()) + columns(&word);
        if !current.is_empty() && needed > room {
            lines.push(std::mem::take(&mut current));
        }
        while columns(&word) > room {
            let end = end_of(&word, room);
            if end == word.len() {
                break;
            }
            let rest = word.split_off(end);
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

/// The same lines, where one that is wider than the terminal goes on further in than it began; `None` is no terminal.
pub(crate) fn fitted(text: &str, width: Option<usize>) -> String {
    let Some(width) = width else { return text.to_owned() };
    let lines = text
        .split('\n')
        .flat_map(|line| if columns(line) <= width { vec![line.to_owned()] } else { hung(line, width) });
    lines.collect::<Vec<_>>().join("\n")
}

fn hung(line: &str, width: usize) -> Vec<String> {
    let text = line.trim_start_matches(' ');
    let begins = (line.len() - text.len()).min(width / 2);
    let goes_on = (begins + HANGING).min(width.saturating_sub(1));
    let lines = wrapped(text, width.saturating_sub(goes_on).max(1));
    let indent = |at| " ".repeat(if at == 0 { begins } else { goes_on });
    lines.into_iter().enumerate().map(|(at, line)| indent(at) + &line).collect()
}

/// A line broken where it is full and nowhere else, for text in which spaces count.
pub(crate) fn chopped(line: &str, room: usize) -> Vec<&str> {
    let mut lines = Vec::new();
    let mut rest = line;
    while columns(rest) > room {
        let (these, others) = rest.split_at(end_of(rest, room));
        lines.push(these);
        rest = others;
    }
    lines.push(rest);
    lines
}

/// Where a text has filled so many columns; never before its first piece ends.
fn end_of(text: &str, room: usize) -> usize {
    let (mut end, mut used) = (0, 0);
    for (piece, columns) in pieces(text) {
        if used > 0 && used + columns > room {
            break;
        }
        used += columns;
        end += piece.len();
    }
    end
}

/// What is seen as one, and how many columns it takes. Terminals do not agree about what they put into one place, so the widest of
/// their opinions counts: a line may end early, and is never too long.
fn pieces(text: &str) -> Vec<(&str, usize)> {
    let mut all = Vec::new();
    let mut rest = text;
    while !rest.is_empty() {
        // What others wrote has no ESC any more: this is a colour of ours.
        let is_colour = rest.starts_with('\u{1b}');
        let end = if is_colour { rest.find('m').map(|at| at + 1) } else { rest.find('\u{1b}') };
        let (run, after) = rest.split_at(end.unwrap_or(rest.len()));
        rest = after;
        if is_colour {
            all.push((run, 0));
            continue;
        }
        for cluster in run.graphemes(true) {
            let one_by_one = cluster.split_inclusive(|_| true).map(|c| (c, c.chars().map(columns_of).sum()));
            let sum: usize = one_by_one.clone().map(|(_, columns): (&str, usize)| columns).sum();
            match sum.max(cluster.width()) {
                too_wide if too_wide > WHOLE => all.extend(one_by_one),
                columns => all.push((cluster, columns)),
            }
        }
    }
    all
}

fn columns_of(c: char) -> usize {
    match c {
        '\t' => TAB,
        // An accent has no place of its own; all else that should have none has one somewhere.
        c if is_combining_mark(c) => c.width().unwrap_or(0),
        c => c.width().unwrap_or(1).max(1),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::show::facts::Facts;
    use crate::show::list::{List, plain, strong};

    #[test]
    fn a_text_takes_the_columns_that_a_terminal_gives_it() {
        for (text, expected) in [
            ("abc", 3),
            ("読む", 4),
            ("re\u{301}sume\u{301}", 6),
            ("。（", 4),
            ("👍", 2),
            ("a\u{1b}[31mb\u{1b}[0m", 2),
            ("🇩🇪", 2),
            ("\t", 8),
        ] {
            assert_eq!(columns(text), expected, "{text}");
        }
        // Some terminals draw one family, others four people.
        assert_eq!(columns("👨\u{200d}👩\u{200d}👧\u{200d}👦"), 11);
    }

    #[test]
    fn an_agent_writes_no_line_of_ours_by_wide_characters() {
        let said = format!("“{}.  approvals     1 of 1, by ana.”", "読".repeat(31));
        let facts = Facts::new().add("approvals", "0 of 1").add("purpose", said);
        let text = anstream::adapter::strip_str(&facts.render_at(Some(80))).to_string();
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines.len(), 3, "{text}");
        assert!(lines[2].starts_with(&" ".repeat(13)), "{text}");
        assert!(lines.iter().all(|line| line.width() <= 80), "{text}");
    }

    #[test]
    fn a_line_that_is_too_long_goes_on_further_in() {
        assert_eq!(fitted("  - one two three", Some(14)), "  - one two\n    three");
        assert_eq!(fitted("xxxxxxxxxx", Some(6)), "xxxx\n  xxxx\n  xx");
        assert_eq!(fitted("  - one two three", None), "  - one two three");
        assert_eq!(chopped("a = \"b  c\"", 6), ["a = \"b", "  c\""]);
    }

    /// What agents write to look like somebody else: of every width, of none, and joined.
    fn words() -> impl Strategy<Value = String> {
        let piece = prop_oneof![
            Just("読".to_owned()),
            Just("👨\u{200d}👩\u{200d}👧\u{200d}👦".to_owned()),
            Just("👍🏽".to_owned()),
            Just("🇩🇪".to_owned()),
            Just("☀\u{fe0f}".to_owned()),
            Just("e\u{301}\u{327}".to_owned()),
            Just("，。（）！".to_owned()),
            Just("\u{1100}\u{1161}\u{11a8}".to_owned()),
            Just("\u{1100}".repeat(9)),
            Just("\t".to_owned()),
            Just("क्षि".to_owned()),
            Just("  approvals     1 of 1, by ana.".to_owned()),
            Just(" ".to_owned()),
            "[a-z]{1,90}",
            "\\PC{0,6}",
        ];
        proptest::collection::vec(piece, 0..60).prop_map(|pieces| pieces.concat())
    }

    /// As a terminal counts that puts every character into a place of its own, and as one that joins what belongs together.
    fn is_within(text: &str, width: usize) -> Result<(), TestCaseError> {
        for line in anstream::adapter::strip_str(text).to_string().lines() {
            let singly: usize = line.chars().map(|c| c.width().unwrap_or(0)).sum();
            prop_assert!(line.width() <= width && singly <= width, "{width} columns: {line}");
        }
        Ok(())
    }

    proptest! {
        #[test]
        fn no_line_is_wider_than_the_terminal(said in words(), name in words(), width in prop_oneof![Just(24_usize), Just(40), Just(60), Just(80), Just(100)]) {
            let shown = crate::show::plan::quoted(&said);
            let facts = Facts::new().add("purpose", &shown).add("what it comes to", &shown);
            let text = facts.render_at(Some(width));
            is_within(&text, width)?;
            let bare = anstream::adapter::strip_str(&text).to_string();
            for line in bare.lines() {
                prop_assert!(line.starts_with("  "), "{line}");
            }
            let mut list = List::new(&["request", "purpose", "by", "code"]);
            list.row(vec![strong("req_1"), plain(shown.as_str()), plain(crate::show::outside(&name)), plain("ABC-DEF")]);
            list.row(vec![strong(crate::show::outside(&name)), plain("読"), plain("e\u{301}"), plain("")]);
            is_within(&list.render_at(Some(width)), width)?;
            is_within(&fitted(&format!("error: it said {shown}\n  - {shown}"), Some(width)), width)?;
            for line in chopped(&crate::show::outside(&said), width) {
                is_within(line, width)?;
            }
        }
    }
}
