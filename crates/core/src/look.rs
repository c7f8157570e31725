//! Names that look like other names (Unicode TR 39): a title, a zone, a place that somebody else wrote.

use std::borrow::Cow;
use std::fmt::Write as _;

use unicode_security::{RestrictionLevel, RestrictionLevelDetection as _, skeleton};

use crate::text::{Untrusted, escaped};

/// The most characters of a text that are told.
const MOST_SHOWN: usize = 120;

/// What a name looks like to a person, whatever its case: names with the same look can be taken for each other.
#[must_use]
pub fn look(name: &str) -> String {
    skeleton(&name.to_lowercase()).collect()
}

/// Why a text may be taken for another one, with the code points that do it; `None` where nothing in it does. It is the case for a
/// word of letters that do not belong together (Latin and Cyrillic), one of foreign letters that all look like ASCII, and a name in
/// punycode.
#[must_use]
pub fn doubt(text: &str) -> Option<String> {
    let doubtful: Vec<&str> = parts(text).filter(|part| is_doubtful(part)).collect();
    if doubtful.is_empty() {
        return None;
    }
    let shown = Untrusted::capped(&spelled(text), MOST_SHOWN);
    if let Some(name) = doubtful.iter().find(|part| is_punycode(part)) {
        let name = Untrusted::capped(name, MOST_SHOWN);
        return Some(format!(
            "`{shown}` has a name in punycode, `{name}`, which is shown as other letters elsewhere"
        ));
    }
    let seen = Untrusted::capped(&imitated(text), MOST_SHOWN);
    Some(format!("`{shown}` has letters that look like others: it could be taken for `{seen}`"))
}

/// A name as it is shown to whoever decides: one that can be taken for another is spelled out, and any other is as it is.
#[must_use]
pub fn shown(name: &str) -> Cow<'_, str> {
    if doubt(name).is_some() { Cow::Owned(spelled(name)) } else { Cow::Borrowed(name) }
}

/// The words of a text, and the labels of names in it.
fn parts(text: &str) -> impl Iterator<Item = &str> {
    text.split(|letter: char| letter.is_whitespace() || ".,:;/@#*?!()[]{}<>\"'`=|".contains(letter))
        .filter(|part| !part.is_empty())
}

fn is_punycode(part: &str) -> bool {
    part.get(..4).is_some_and(|start| start.eq_ignore_ascii_case("xn--"))
}

fn is_doubtful(part: &str) -> bool {
    if part.is_ascii() {
        return is_punycode(part);
    }
    let letters: String = part.chars().filter(|letter| letter.is_alphanumeric()).collect();
    let is_mixed = letters.detect_restriction_level() > RestrictionLevel::ModeratelyRestrictive;
    let imitates = !letters.is_ascii() && letters.chars().all(|letter| as_ascii(letter).is_some());
    is_mixed || imitates
}

/// The ASCII that a letter is or looks like.
fn as_ascii(letter: char) -> Option<String> {
    if letter.is_ascii() {
        return Some(letter.to_string());
    }
    let seen: String = skeleton(letter.encode_utf8(&mut [0; 4])).collect();
    seen.is_ascii().then_some(seen)
}

/// The text in ASCII, with everything else as escaped code points.
#[must_use]
pub fn spelled(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for letter in text.chars() {
        if letter.is_ascii() {
            out.push(letter);
        } else {
            let _ = write!(out, "\\u{{{:x}}}", u32::from(letter));
        }
    }
    out
}

/// The text as it is read: letters that look like ASCII are that.
fn imitated(text: &str) -> String {
    text.chars().map(|letter| as_ascii(letter).unwrap_or_else(|| escaped(&letter.to_string()))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_imitates_another_is_told_with_its_code_points() {
        for (text, told) in [
            (
                "ex\u{430}mple.com",
                Some(
                    "`ex\\u{430}mple.com` has letters that look like others: it could be taken for `example.com`",
                ),
            ),
            ("*.\u{435}xample.com", Some("taken for `*.example.com`")),
            ("\u{441}\u{43e}\u{440}\u{443}.example", Some("taken for `copy.example`")),
            ("Edit the D\u{39d}S records", Some("taken for `Edit the DNS records`")),
            ("\u{ff45}xample.com", Some("`\\u{ff45}xample.com`")),
            ("xn--xample-2of.com", Some("punycode")),
            ("a.XN--p1ai", Some("punycode")),
            // What is written in one script imitates nothing.
            ("example.com", None),
            ("Edit the DNS records \u{2014} of one zone\u{2026}", None),
            ("caf\u{e9} M\u{fc}ller stra\u{df}e", None),
            ("\u{437}\u{430}\u{43f}\u{438}\u{441}\u{44c}", None),
            ("\u{65e5}\u{672c}\u{8a9e} DNS", None),
            ("embedded:*", None),
            ("", None),
        ] {
            let got = doubt(text);
            match told {
                Some(told) => {
                    assert!(got.as_deref().is_some_and(|got| got.contains(told)), "{text}: {got:?}")
                }
                None => assert_eq!(got, None, "{text}"),
            }
        }
    }

    #[test]
    fn what_can_be_taken_for_another_is_shown_spelled_and_the_rest_as_it_is() {
        for (name, as_shown) in [
            ("ex\u{430}mple.com", "ex\\u{430}mple.com"),
            ("embedded:web/dev/\u{ff25}X", "embedded:web/dev/\\u{ff25}X"),
            ("b\u{fc}cher.example", "b\u{fc}cher.example"),
            ("xn--xample-2of.com", "xn--xample-2of.com"),
        ] {
            assert_eq!(shown(name), as_shown);
        }
    }

    #[test]
    fn names_with_one_look_can_be_taken_for_each_other() {
        for (one, other, same) in [
            ("example.com", "examp1e.com", true),
            ("example.com", "ex\u{430}mple.com", true),
            ("cloudflare/dns-edit", "cloudflare/dns-edlt", false),
            ("DNS", "dns", true),
        ] {
            assert_eq!(look(one) == look(other), same, "{one} {other}");
        }
    }
}
