//! A policy text, cut into its policies. Each is parsed by itself: the parser's memory then does not grow with the
//! text, and a bound on one policy bounds everything. That bound is needed: Cedar's parser and its trees recurse, and
//! a few kilobytes, such as 50,000 brackets, would end the process by overflowing its stack; a file of policies may
//! come from anywhere.

use std::ops::Range;

/// The most operators, member accesses and brackets in one policy; 250 comparisons joined by `||`.
pub(super) const MOST_OPERATORS: usize = 500;
/// The deepest brackets.
pub(super) const DEEPEST: usize = 32;

/// Cuts the text after every `;` that is not in a string or a comment. What stands behind the last one is a piece of
/// its own when it is more than space and comments. Reads strings and comments as Cedar's lexer does; where that
/// would refuse the text, so does the parser that comes next.
///
/// # Errors
/// The byte offset at which a policy becomes too large.
pub(super) fn statements(text: &str) -> Result<Vec<Range<usize>>, usize> {
    let mut cut = Cut::default();
    let mut word = Word::default();
    let mut chars = text.char_indices().peekable();
    while let Some((at, c)) = chars.next() {
        cut.weight += usize::from(word.ends(text, at, c));
        match c {
            '"' => {
                while let Some((_, inside)) = chars.next() {
                    match inside {
                        '\\' => drop(chars.next()),
                        '"' => break,
                        _ => {}
                    }
                }
            }
            '/' if chars.peek().is_some_and(|(_, next)| *next == '/') => {
                while chars.peek().is_some_and(|(_, inside)| !matches!(inside, '\n' | '\r')) {
                    chars.next();
                }
                continue;
            }
            c if c.is_whitespace() => continue,
            ';' => {
                cut.end(at + 1);
                continue;
            }
            '(' | '[' | '{' => (cut.weight, cut.depth) = (cut.weight + 1, cut.depth + 1),
            ')' | ']' | '}' => cut.depth = cut.depth.saturating_sub(1),
            // Of `&&` and `||` only the second half counts. Comparisons don't chain.
            '&' | '|' if chars.peek().is_some_and(|(_, next)| *next == c) => {}
            '.' | '+' | '-' | '*' | '!' | '&' | '|' | '@' => cut.weight += 1,
            _ => {}
        }
        cut.content = true;
        if cut.weight > MOST_OPERATORS || cut.depth > DEEPEST {
            return Err(at);
        }
    }
    if cut.content {
        cut.end(text.len());
    }
    Ok(cut.done)
}

/// The piece that is being read, and those before it.
#[derive(Default)]
struct Cut {
    start: usize,
    content: bool,
    weight: usize,
    depth: usize,
    done: Vec<Range<usize>>,
}

impl Cut {
    fn end(&mut self, at: usize) {
        let done = std::mem::take(&mut self.done);
        let piece = self.start..at;
        *self = Self { start: at, done, ..Self::default() };
        self.done.push(piece);
    }
}

/// Where the word that is being read began.
#[derive(Default)]
struct Word(Option<usize>);

impl Word {
    /// Whether this character ends an `if`, the one word that nests.
    fn ends(&mut self, text: &str, at: usize, c: char) -> bool {
        let inside = c.is_ascii_alphanumeric() || c == '_';
        match (self.0, inside) {
            (None, true) => self.0 = Some(at),
            (Some(start), false) => {
                self.0 = None;
                return text.get(start..at) == Some("if");
            }
            _ => {}
        }
        false
    }
}
