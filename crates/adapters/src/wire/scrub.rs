//! Cleaning what somebody else wrote before it becomes part of an error.

use keywright_core::redact::{MASK, Redactor};
use keywright_core::secret::Secret;
use keywright_core::text::Untrusted;

/// The longest message that is passed on, in characters.
const LONGEST_MESSAGE: usize = 300;
/// A run of token characters from this length on is taken for a credential.
const TOKEN_LIKE: usize = 20;

/// Cleans messages: known secrets first, in all their encodings, then whatever looks like a credential. The second
/// step is for the secret that nobody knows yet: an error may quote the value that the failed call has just made.
pub(crate) struct Scrub {
    redactor: Redactor,
    harmless: fn(&str) -> bool,
}

impl Scrub {
    /// Knows these secrets. `harmless` tells the ids of the provider from its credentials.
    pub(crate) fn new<'a>(secrets: impl IntoIterator<Item = &'a Secret>, harmless: fn(&str) -> bool) -> Self {
        Self { redactor: Redactor::new(secrets), harmless }
    }

    /// The message, fit to be shown and stored.
    pub(crate) fn message(&self, text: &str) -> Untrusted {
        let known = self.redactor.clean(text);
        let pieces = known.split_inclusive(|c: char| !is_token_char(c));
        let clean: String = pieces.map(|piece| self.piece(piece)).collect();
        Untrusted::capped(&clean, LONGEST_MESSAGE)
    }

    fn piece(&self, piece: &str) -> String {
        let run = piece.trim_end_matches(|c| !is_token_char(c));
        if run.len() < TOKEN_LIKE || (self.harmless)(run) {
            return piece.to_owned();
        }
        format!("{MASK}{}", piece.get(run.len()..).unwrap_or_default())
    }
}

/// The characters of credentials and of their encodings: base64, hex, percent, JSON and HTML escapes.
fn is_token_char(c: char) -> bool {
    c.is_ascii_alphanumeric() || "-_~+/=%\\&#;".contains(c)
}

/// What is wrong with JSON, without the quote of it that serde's own message may hold.
pub(crate) fn json_fault(error: &serde_json::Error) -> String {
    let what = match error.classify() {
        serde_json::error::Category::Io => "it can't be read",
        serde_json::error::Category::Syntax => "it is not JSON",
        serde_json::error::Category::Data => "it has another shape than documented",
        serde_json::error::Category::Eof => "it ends too early",
    };
    format!("{what} (line {}, column {})", error.line(), error.column())
}

#[cfg(test)]
mod tests {
    use super::*;
    use keywright_core::redact::encodings;

    const KNOWN: &str = "v1.0-Known_Canary-0123456789abcdefghijklm";
    const UNKNOWN: &str = "Fresh_Canary-zyxwvutsrqponmlkjihgfedcba98";

    fn scrub() -> Scrub {
        Scrub::new([&Secret::new(KNOWN.to_owned())], |run| {
            run.len() == 32 && run.bytes().all(|b| b.is_ascii_hexdigit())
        })
    }

    #[test]
    fn known_and_unknown_secrets_vanish_in_every_encoding() {
        for secret in [KNOWN, UNKNOWN] {
            for form in encodings(secret) {
                let said = scrub().message(&format!("token '{}' is bad, really", form.as_str())).to_string();
                assert!(said.starts_with("token ") && said.ends_with("is bad, really"), "{said}");
                for other in encodings(secret) {
                    assert!(!said.contains(other.as_str()), "{said}");
                }
            }
        }
    }

    #[test]
    fn ordinary_words_and_ids_stay() {
        let said =
            "there is no group `c8fed203ed3043cba015a93ad1616f1f`; see com.cloudflare.api.account.zone";
        assert_eq!(scrub().message(said).to_string(), said);
    }

    #[test]
    fn a_message_is_cut_and_escaped() {
        let said = scrub().message(&format!("\u{1b}[2J{}", "long ".repeat(200))).to_string();
        assert!(said.starts_with("\\u{1b}[2J") && said.ends_with('…'), "{said}");
        assert!(said.chars().count() <= 320, "{}", said.len());
    }

    #[test]
    fn a_json_fault_quotes_nothing() {
        let error = serde_json::from_str::<u32>("\"hunter2\"").unwrap_err();
        assert!(error.to_string().contains("hunter2"));
        assert_eq!(json_fault(&error), "it has another shape than documented (line 1, column 9)");
    }
}
