//! How deep one policy may be. Cedar's parser and its trees recurse, and a text of a few kilobytes, such as 50,000
//! brackets, would end the process by overflowing its stack; a file of policies may come from anywhere.

/// The most operators, member accesses and brackets in one policy: 250 comparisons joined by `||`.
pub(super) const MOST_OPERATORS: usize = 500;
/// The deepest brackets.
pub(super) const DEEPEST: usize = 32;

/// The byte offset at which a policy of the text becomes too large, if one does. Reads strings and comments as
/// Cedar's lexer does; where that would refuse the text, so does the parser that comes next.
pub(super) fn too_heavy(text: &str) -> Option<usize> {
    let (mut weight, mut depth) = (0_usize, 0_usize);
    let mut chars = text.char_indices().peekable();
    let mut word = Word::default();
    while let Some((at, c)) = chars.next() {
        weight += usize::from(word.ends(text, at, c));
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
            }
            ';' => (weight, depth) = (0, 0),
            '(' | '[' | '{' => (weight, depth) = (weight + 1, depth + 1),
            ')' | ']' | '}' => depth = depth.saturating_sub(1),
            // Of `&&` and `||` only the second half counts. Comparisons don't chain.
            '&' | '|' if chars.peek().is_some_and(|(_, next)| *next == c) => {}
            '.' | '+' | '-' | '*' | '!' | '&' | '|' | '@' => weight += 1,
            _ => {}
        }
        if weight > MOST_OPERATORS || depth > DEEPEST {
            return Some(at);
        }
    }
    None
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
