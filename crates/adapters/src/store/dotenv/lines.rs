//! Where the statements of a `.env` file begin and end, for all four readers at once.
//!
//! python-dotenv, npm's dotenv, node and a shell split a file differently as soon as a quote is left open on its
//! line. A line added to such a file could end up inside somebody's quote, so a file is only accepted when its
//! statements are the same for all of them: every line stands for itself, except for `NAME='...` and `NAME="...`
//! whose closing quote is beyond doubt. Everything else is refused with its line number.

use std::ops::Range;

/// One line, or the several lines of one quoted value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Statement {
    /// Its bytes, line end included.
    pub(super) range: Range<usize>,
    pub(super) kind: Kind,
    /// Where a shell sees the words of the line begin.
    pub(super) words: Vec<usize>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Kind {
    Blank,
    Comment,
    /// `NAME=value`, perhaps behind `export`; the value is as written, without blanks around it.
    Assignment {
        name: Range<usize>,
        value: Range<usize>,
    },
    /// `NAME` alone or `NAME: value`, which some readers take for an assignment.
    Mention {
        name: Range<usize>,
    },
    Other,
}

/// A file that its readers don't read alike.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum Unreadable {
    #[error("the file is not UTF-8 text")]
    NotText,
    #[error("line {line} {why}")]
    Line { line: usize, why: &'static str },
}

const OPEN: &str = "opens a quote, an expansion or a continuation that not every reader of .env files closes at the \
                    same place";
const QUOTE_FIRST: &str = "begins with a quote";
const NAMELESS: &str = "begins with `=`, where node stops reading the file";
const SEPARATOR: &str = "holds a character that ends the line for some readers of .env files only";

/// Splits a file.
pub(super) fn statements(text: &str) -> Result<Vec<Statement>, Unreadable> {
    let mut found = Vec::new();
    let (mut at, mut number, mut glued) = (0, 1, false);
    while at < text.len() {
        let rest = text.get(at..).unwrap_or_default();
        let (kind, words, length) =
            statement(rest, glued).map_err(|why| Unreadable::Line { line: number, why })?;
        let taken = rest.get(..length).unwrap_or_default();
        glued = !skipped_by_node(taken, glued) && !taken.contains('=');
        number += taken.matches('\n').count();
        found.push(Statement {
            range: at..at + length,
            kind: shifted(kind, at),
            words: words.into_iter().map(|word| word + at).collect(),
        });
        at += length;
    }
    Ok(found)
}

/// Node skips empty lines and lines that begin with `#` in the first column. Everything else is the start of a name to
/// it, which it looks for up to the next `=`, across lines: a line without one is glued to what follows.
fn skipped_by_node(line: &str, glued: bool) -> bool {
    !glued && (line.starts_with('#') || line.trim_end_matches(['\r', '\n']).is_empty())
}

type Parsed = Result<(Kind, Vec<usize>, usize), &'static str>;

fn statement(rest: &str, glued: bool) -> Parsed {
    let length = rest.find('\n').map_or(rest.len(), |end| end + 1);
    let full = rest.get(..length).unwrap_or_default();
    let full = full.strip_suffix('\n').unwrap_or(full);
    let line = full.strip_suffix('\r').unwrap_or(full);
    if line.contains(['\0', '\r', '\u{2028}', '\u{2029}']) {
        return Err(SEPARATOR);
    }
    let start = line.trim_start_matches([' ', '\t']);
    if start.is_empty() {
        return Ok((Kind::Blank, Vec::new(), length));
    }
    if start.starts_with('#') {
        let safe =
            skipped_by_node(line, glued) || line.split_once('=').is_none_or(|(_, value)| closes_here(value));
        return if safe { Ok((Kind::Comment, Vec::new(), length)) } else { Err(OPEN) };
    }
    if start.trim_start_matches(is_space).starts_with(['\'', '"', '`']) {
        return Err(QUOTE_FIRST);
    }
    if start.starts_with('=') {
        return Err(NAMELESS);
    }
    let kind = head(line);
    let behind_equals = line.split_once('=').is_none_or(|(_, value)| closes_here(value));
    if !behind_equals {
        let Kind::Assignment { name, value } = kind else { return Err(OPEN) };
        // Node knows no blank but the space: behind a tab it does not see the quote.
        let gap = line.split_once('=').map(|(_, value)| value.trim_start_matches(' '));
        if gap.is_none_or(|value| !value.starts_with(['\'', '"'])) {
            return Err(OPEN);
        }
        let length = several_lines(rest, value.start)?;
        let value =
            value.start..value.start + rest.get(value.start..length).unwrap_or_default().trim_end().len();
        return Ok((Kind::Assignment { name: name.clone(), value }, vec![name.start], length));
    }
    let behind_colon = line.split_once(':').is_none_or(|(_, value)| closes_here(value));
    let colon_counts = matches!(kind, Kind::Mention { .. });
    if colon_counts && !behind_colon {
        return Err(OPEN);
    }
    let words = shell_words(full).ok_or(OPEN)?;
    Ok((kind, words, length))
}

/// Whether a value that starts with a quote ends on its line for every reader: at a quote that no backslash
/// precedes, since some readers take `\'` for a quote inside the value.
fn closes_here(value: &str) -> bool {
    let value = value.trim_start_matches(is_space);
    let Some(quote) = value.chars().next().filter(|c| matches!(c, '\'' | '"' | '`')) else { return true };
    let inside = value.get(1..).unwrap_or_default();
    inside.match_indices(quote).any(|(at, _)| !inside.get(..at).unwrap_or_default().ends_with('\\'))
}

/// The length of a statement whose value begins with a quote at `open` and goes over several lines.
fn several_lines(rest: &str, open: usize) -> Result<usize, &'static str> {
    let mut value = rest.get(open..).unwrap_or_default().chars();
    let quote = value.next().filter(|c| matches!(c, '\'' | '"')).ok_or(OPEN)?;
    let (inside, after) = value.as_str().split_once(quote).ok_or(OPEN)?;
    let expands = quote == '"' && (inside.contains('`') || inside.contains("$(") || inside.contains("${"));
    if inside.ends_with('\\') || expands {
        return Err(OPEN);
    }
    if inside.replace("\r\n", "\n").contains(['\0', '\r', '\u{2028}', '\u{2029}']) {
        return Err(SEPARATOR);
    }
    let line = after.split('\n').next().unwrap_or_default();
    let tail = line.strip_suffix('\r').unwrap_or(line);
    let comment = tail.trim_start_matches([' ', '\t']);
    let harmless = comment.is_empty() || (comment.len() < tail.len() && comment.starts_with('#'));
    if !harmless || tail.contains(['\0', '\r', '\u{2028}', '\u{2029}']) {
        return Err(OPEN);
    }
    let end = rest.len() - after.len() + line.len();
    Ok(if rest.get(end..).is_some_and(|more| more.starts_with('\n')) { end + 1 } else { end })
}

/// What a line begins with, for the most liberal of the readers.
fn head(line: &str) -> Kind {
    let skip = |from: usize| {
        let rest = line.get(from..).unwrap_or_default();
        from + (rest.len() - rest.trim_start_matches(is_space).len())
    };
    let start = skip(0);
    let start = match line.get(start..).and_then(|rest| rest.strip_prefix("export")) {
        Some(rest) if rest.starts_with(is_space) => skip(start + "export".len()),
        _ => start,
    };
    let rest = line.get(start..).unwrap_or_default();
    let length = rest.find(|c: char| !(c.is_alphanumeric() || "_.-".contains(c))).unwrap_or(rest.len());
    let name = start..start + length;
    let after = skip(name.end);
    let next = line.get(after..).unwrap_or_default();
    if name.is_empty() {
        Kind::Other
    } else if next.starts_with('=') {
        let from = skip(after + 1);
        let to = from + line.get(from..).unwrap_or_default().trim_end().len();
        Kind::Assignment { name, value: from..to }
    } else if next.is_empty() || next.starts_with(['#', ':']) {
        Kind::Mention { name }
    } else {
        Kind::Other
    }
}

/// Where a shell sees words begin on a line; `None` when the line leaves something open.
fn shell_words(line: &str) -> Option<Vec<usize>> {
    let mut words = Vec::new();
    let mut open = Open::default();
    let mut fresh = true;
    let mut chars = line.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '#' if fresh => break,
            ' ' | '\t' | ';' | '&' | '|' => fresh = true,
            '(' | ')' => {
                open.count(c);
                fresh = true;
            }
            '\\' => {
                chars.next()?;
                fresh = false;
            }
            '\'' => {
                chars.by_ref().find(|(_, c)| *c == '\'')?;
                fresh = false;
            }
            '"' => {
                loop {
                    match chars.next()?.1 {
                        '\\' => drop(chars.next()?),
                        '"' => break,
                        inner => open.count(inner),
                    }
                }
                fresh = false;
            }
            _ => {
                open.count(c);
                if fresh {
                    words.push(at);
                }
                fresh = false;
            }
        }
    }
    (open.none() && !line.contains("<<")).then_some(words)
}

/// Brackets and backticks that a shell would look for on the next line. Counted without regard to nesting, which
/// refuses more than a shell would, never less.
#[derive(Default)]
struct Open {
    parens: i32,
    braces: i32,
    backticks: u32,
}

impl Open {
    fn count(&mut self, c: char) {
        match c {
            '(' => self.parens += 1,
            ')' => self.parens -= 1,
            '{' => self.braces += 1,
            '}' => self.braces -= 1,
            '`' => self.backticks += 1,
            _ => {}
        }
    }

    fn none(&self) -> bool {
        self.parens == 0 && self.braces == 0 && self.backticks.is_multiple_of(2)
    }
}

fn shifted(kind: Kind, by: usize) -> Kind {
    let shift = |range: Range<usize>| range.start + by..range.end + by;
    match kind {
        Kind::Assignment { name, value } => Kind::Assignment { name: shift(name), value: shift(value) },
        Kind::Mention { name } => Kind::Mention { name: shift(name) },
        other => other,
    }
}

fn is_space(c: char) -> bool {
    c.is_whitespace() || c == '\u{feff}'
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kinds(text: &str) -> Vec<(String, &'static str)> {
        let word = |kind: &Kind| match kind {
            Kind::Blank => "blank",
            Kind::Comment => "comment",
            Kind::Assignment { .. } => "assignment",
            Kind::Mention { .. } => "mention",
            Kind::Other => "other",
        };
        statements(text).unwrap().iter().map(|s| (text[s.range.clone()].to_owned(), word(&s.kind))).collect()
    }

    #[test]
    fn a_file_is_split_into_what_its_readers_see() {
        let text =
            "# it's\n\nA=1\r\nexport B = 'x # y' # it's\nC=\"two\nlines\" \nD: 4\nE\nset -a\nF='a\n\nb'";
        let expected = [
            ("# it's\n", "comment"),
            ("\n", "blank"),
            ("A=1\r\n", "assignment"),
            ("export B = 'x # y' # it's\n", "assignment"),
            ("C=\"two\nlines\" \n", "assignment"),
            ("D: 4\n", "mention"),
            ("E\n", "mention"),
            ("set -a\n", "other"),
            ("F='a\n\nb'", "assignment"),
        ];
        let expected: Vec<_> = expected.map(|(text, kind)| (text.to_owned(), kind)).into();
        assert_eq!(kinds(text), expected);
    }

    #[test]
    fn a_file_whose_readers_disagree_is_refused_at_its_line() {
        for bad in [
            "A=it's\n",
            "A='open\nB=1\n",
            "A=\"open\nB=1\n",
            "A=`date\nB=1`\n",
            "A='a\\'\nB='x'\n",
            "A=\"a\\\"\nB=1\"\n",
            "A=a\\\nB=1\n",
            "'A'=1\n",
            "A=\n'B'=1\n",
            "A='x\ny' z\n",
            "A=$(echo\nB=1)\n",
            "A=a\rB=1\n",
            "A=a\u{2028}B=1\n",
            "cat <<EOF\nB=1\nEOF\n",
            "A: 'x\nB=1'\n",
            "set -a\n# x='\nB='1'\n",
            " \n# x='\nB='1'\n",
            " # x='\nB='1'\n",
            "A=\"x\n$(id)\"\n",
            "A=x#it's\n",
            "A=\0\n",
            " =x\n",
            "A=\t'two\nlines'\n",
        ] {
            let error = statements(&format!("FIRST=1\n{bad}")).unwrap_err();
            assert!(matches!(error, Unreadable::Line { line: 2 | 3, .. }), "{bad:?}: {error:?}");
        }
    }
}
