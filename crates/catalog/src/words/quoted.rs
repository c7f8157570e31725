//! Whose words they are: what a text quotes, or says that a page, a mail or an issue says, asks for nothing. Of a quote
//! only a name is left, and where a title stands it is one.

use super::reported::{said, without_reports};
use super::smuggled::mask_names;
use super::text::PERMISSION;
use crate::catalog::Catalog;

/// Stands before a name that was quoted, and behind it.
pub(super) const NAME: char = '\u{e001}';
pub(super) const NAME_ENDS: char = '\u{e002}';

/// A text without what is only quoted or reported in it.
#[derive(Debug, Default)]
pub(super) struct Own {
    pub(super) text: String,
    /// What somebody else said was left out.
    pub(super) left_out: bool,
    /// What was reported, for whatever it forbids.
    pub(super) reported: String,
}

/// Takes out what is quoted and what is reported.
pub(super) fn own_words(words: &str, catalog: &Catalog) -> Own {
    let mut own = Own::default();
    let plain: String = words
        .chars()
        .filter(|letter| !matches!(*letter, NAME | NAME_ENDS | PERMISSION))
        .map(plain_quote)
        .collect();
    let lines = without_blocks(&plain, &mut own);
    let unquoted = without_quotes(&lines, catalog, &mut own);
    let said = without_reports(&unquoted, &mut own);
    own.text = without_titles(&said);
    own
}

fn plain_quote(letter: char) -> char {
    match letter {
        '\u{201c}' | '\u{201d}' | '\u{201e}' | '\u{201f}' | '\u{ab}' | '\u{bb}' | '\u{ff02}' | '\u{300c}'
        | '\u{300d}' | '\u{300e}' | '\u{300f}' | '\u{2033}' => '"',
        '\u{2018}' | '\u{2019}' | '\u{201a}' | '\u{201b}' | '\u{2039}' | '\u{203a}' | '\u{b4}'
        | '\u{ff07}' => '\'',
        other => other,
    }
}

/// Takes out fenced code, lines that are quoted as mails quote, and pasted JSON.
fn without_blocks(text: &str, own: &mut Own) -> String {
    let mut out = String::with_capacity(text.len());
    for (at, part) in text.split("```").enumerate() {
        if at % 2 == 1 {
            own.left_out = true;
            out.push('\n');
            continue;
        }
        for line in part.split_inclusive('\n') {
            if line.trim_start().starts_with('>') {
                own.left_out = true;
                out.push('\n');
            } else {
                out.push_str(line);
            }
        }
    }
    while let Some((start, end)) = pasted_object(&out) {
        own.left_out = true;
        out.replace_range(start..end, " ; ");
    }
    out
}

/// Where `{"key": ...}` stands.
fn pasted_object(text: &str) -> Option<(usize, usize)> {
    for (start, _) in text.match_indices('{') {
        let mut depth = 0_usize;
        let mut end = text.len();
        for (at, letter) in text.get(start..)?.char_indices() {
            match letter {
                '{' => depth += 1,
                '}' => depth -= 1,
                _ => {}
            }
            if depth == 0 {
                end = start + at + letter.len_utf8();
                break;
            }
        }
        let inside = text.get(start..end)?;
        let pairs = inside.contains("\":") || inside.contains("\" :") || inside.contains("':");
        if pairs {
            return Some((start, end));
        }
    }
    None
}

/// Replaces what stands between quotation marks: by the name that it is, or by a place where a name stood.
fn without_quotes(text: &str, catalog: &Catalog, own: &mut Own) -> String {
    let outside = |text: &str, start: usize, end: usize| {
        let said = |part: Option<&str>| part.is_some_and(|part| part.chars().any(char::is_alphanumeric));
        said(text.get(..start)) || said(text.get(end..))
    };
    let mut out = String::with_capacity(text.len());
    let mut from = 0;
    while let Some((start, inner, end)) = quote(text, from) {
        let before = text.get(from..start).unwrap_or_default();
        let content = text.get(inner..end).unwrap_or_default();
        let closed = text.get(end..).is_some_and(|rest| !rest.is_empty());
        let next = if closed {
            end + text.get(end..).and_then(|rest| rest.chars().next()).map_or(0, char::len_utf8)
        } else {
            end
        };
        out.push_str(before);
        let content = content.trim();
        if !outside(text, start, next) || runs(&out) {
            out.push(' ');
            out.push_str(content);
            out.push(' ');
        } else if content.is_empty() {
            out.push(' ');
        } else if mask_names(content, catalog).contains(PERMISSION) {
            // The name of a permission is one in quotation marks, too.
            out.push(' ');
            out.push(PERMISSION);
        } else {
            let one = !content.contains(char::is_whitespace);
            own.left_out |= !one;
            out.push(' ');
            out.push(NAME);
            if one {
                out.push_str(content.trim_matches(|letter: char| "\"'`".contains(letter)));
            }
            out.push(NAME_ENDS);
            // What was quoted to the end of a sentence ended one.
            if !one && content.ends_with(['.', '!', '?']) {
                out.push('.');
            }
        }
        from = next;
    }
    out.push_str(text.get(from..).unwrap_or_default());
    out
}

/// The next quote: where its mark stands, where its text begins, and where that ends.
fn quote(text: &str, from: usize) -> Option<(usize, usize, usize)> {
    let rest = text.get(from..)?;
    for (at, mark) in rest.char_indices().filter(|(_, letter)| matches!(*letter, '"' | '\'' | '`')) {
        let start = from + at;
        let before = text.get(..start).and_then(|before| before.chars().next_back());
        let inner = start + mark.len_utf8();
        let after = text.get(inner..).and_then(|after| after.chars().next());
        let opens = before.is_none_or(|letter| !letter.is_alphanumeric() && letter != NAME_ENDS)
            && after.is_some_and(|letter| !letter.is_whitespace());
        if !opens {
            continue;
        }
        let closing =
            text.get(inner..)?.char_indices().filter(|(_, letter)| *letter == mark).find(|(place, _)| {
                let behind = text.get(inner + place + mark.len_utf8()..).and_then(|rest| rest.chars().next());
                *place > 0 && behind.is_none_or(|letter| !letter.is_alphanumeric())
            });
        match closing {
            Some((place, _)) => return Some((start, inner, inner + place)),
            // What is opened and never closed goes to the end; an apostrophe opens nothing.
            None if mark == '"' => return Some((start, inner, text.len())),
            None => {}
        }
    }
    None
}

/// Whether a command is what follows: `the workflow runs "wrangler deploy"`.
fn runs(before: &str) -> bool {
    let last = before.split_whitespace().next_back().unwrap_or_default();
    let last = last.to_lowercase();
    let whole = matches!(
        last.as_str(),
        "job:" | "task:" | "intent:" | "goal:" | "purpose:" | "permission:" | "permissions:"
    );
    whole
        || matches!(
            last.as_str(),
            "run"
                | "runs"
                | "running"
                | "does"
                | "execute"
                | "executes"
                | "executing"
                | "call"
                | "calls"
                | "calling"
                | "use"
                | "uses"
                | "using"
                | "via"
        )
}

/// Makes a title that stands without quotation marks a name: `issues titled delete repository`.
fn without_titles(text: &str) -> String {
    let words = said(text);
    let mut out = String::with_capacity(text.len());
    let mut from = 0;
    let mut at = 0;
    while let Some(word) = words.get(at) {
        at += 1;
        let whole = matches!(word.word.as_str(), "titled" | "entitled" | "subjected" | "headlined");
        let one = matches!(word.word.as_str(), "named" | "called");
        let ended = word.raw.ends_with([',', '.', ';', ':', '!', '?']) || word.raw.contains('\n');
        if ended || !whole && !one {
            continue;
        }
        let first = at;
        let mut last = at;
        while let Some(next) = words.get(last) {
            let small = matches!(
                next.word.as_str(),
                "in" | "on"
                    | "at"
                    | "from"
                    | "for"
                    | "of"
                    | "to"
                    | "by"
                    | "with"
                    | "the"
                    | "a"
                    | "an"
                    | "via"
                    | "when"
                    | "after"
                    | "before"
                    | "every"
                    | "and"
                    | "or"
            );
            let joins = next.word == "and"
                && words.get(last + 2).is_some_and(|word| {
                    matches!(word.word.as_str(), "it" | "them" | "the" | "a" | "all" | "every" | "each")
                });
            let stops = if one { small } else { matches!(next.word.as_str(), "in" | "on" | "at") || joins };
            if stops || next.raw.starts_with(NAME) {
                break;
            }
            last += 1;
            if one || next.raw.ends_with([',', '.', ';', ':', '!', '?']) || next.raw.contains('\n') {
                break;
            }
        }
        let (Some(begins), Some(ends)) =
            (words.get(first), last.checked_sub(1).and_then(|last| words.get(last)))
        else {
            break;
        };
        if last <= first {
            continue;
        }
        let title = text.get(begins.start..ends.end).unwrap_or_default();
        let core = title.trim_end_matches([',', '.', ';', ':', '!', '?']);
        out.push_str(text.get(from..begins.start).unwrap_or_default());
        out.push(NAME);
        if one {
            out.push_str(core);
        }
        out.push(NAME_ENDS);
        out.push_str(title.get(core.len()..).unwrap_or_default());
        from = ends.end;
        at = last;
    }
    out.push_str(text.get(from..).unwrap_or_default());
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn left(words: &str) -> String {
        let text = own_words(words, Catalog::for_provider("cloudflare").unwrap())
            .text
            .replace(NAME, "<")
            .replace(NAME_ENDS, ">");
        text.split_whitespace().collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn a_quote_is_a_name_or_nothing() {
        for (words, wanted) in [
            ("read bucket \"delete\" now", "read bucket <delete> now"),
            ("read zone \u{201c}purge cache\u{201d} please", "read zone <> please"),
            ("it doesn't read the users' keys", "it doesn't read the users' keys"),
            ("\"purge the cache\"", "purge the cache"),
            ("CI runs `wrangler deploy` daily", "CI runs wrangler deploy daily"),
            ("look at \"delete everything", "look at <>"),
            ("list issues titled merge the thing in acme/web", "list issues titled <> in acme/web"),
            ("the bucket called delete, please", "the bucket called <delete>, please"),
            ("read dns {\"zone\": {\"a\": 1}} of x.com", "read dns ; of x.com"),
            ("read dns\n> purge the cache\nof x.com", "read dns of x.com"),
            ("read dns ```\npurge\n``` of x.com", "read dns of x.com"),
        ] {
            assert_eq!(left(words), wanted, "{words}");
        }
    }

    #[test]
    fn what_a_writing_says_is_left_out() {
        for (words, wanted) in [
            ("read dns. The page said: \"purge\". List zones", "read dns. ; List zones"),
            ("read dns. The page said: purge. List zones", "read dns. ;"),
            ("read dns. The readme says one should purge. List zones", "read dns. ; List zones"),
            ("summarise this mail: delete all", "summarise this mail: ;"),
            ("read dns. note from website: purge", "read dns. ;"),
            ("list the issues that say delete me. And the prs", "list the issues ; And the prs"),
            ("page rule: forward it", "page rule: forward it"),
            ("write comments and close issues", "write comments and close issues"),
        ] {
            assert_eq!(left(words), wanted, "{words}");
        }
    }
}
