//! Redaction: finds known secrets in text that is about to leave, in the encodings in which they turn up.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD, URL_SAFE_NO_PAD};
use serde_json::Value;
use sha2::{Digest as _, Sha256};
use zeroize::Zeroizing;

use crate::secret::Secret;

/// What a secret is replaced by.
pub const MASK: &str = "[redacted]";

/// Secrets shorter than this are not searched for: they would match everywhere.
pub const SHORTEST: usize = 6;

/// Knows a set of secrets and replaces them, in twelve encodings, by [`MASK`].
///
/// The encodings: plain, reversed, base64 (standard, at each of the three byte offsets; URL-safe), hexadecimal
/// (both cases), percent-encoding (all bytes, and only the reserved ones), JSON escapes (`\u00xx` for every
/// character), JSON string escapes, HTML character references, and base64 of the reversed text.
///
/// It keeps no secret: of each form it keeps the first six bytes, the length, and half of a SHA-256 of the whole. So
/// ten thousand secrets take a few megabytes, and one more is a matter of microseconds.
#[derive(Default)]
pub struct Redactor {
    beginnings: HashSet<[u8; SHORTEST]>,
    lengths: BTreeSet<usize>,
    forms: HashSet<[u8; 16]>,
}

/// A shorter part of a document is an id or a time: without the rest it opens nothing.
const SHORTEST_PART: usize = 32;

/// A shorter part of an address is a word.
const SHORTEST_SEGMENT: usize = 16;

/// Of an address that is a secret by what it ends with: that, and what stands on the lines below it.
fn parts_of_address(text: &str) -> Vec<Zeroizing<String>> {
    let mut lines = text.lines().map(str::trim);
    let address = lines.next().unwrap_or_default();
    let end = address.rsplit('/').next().unwrap_or_default();
    let parts = [address, end].into_iter().chain(lines).filter(|part| part.len() >= SHORTEST_SEGMENT);
    parts.map(|part| Zeroizing::new(part.to_owned())).collect()
}

fn parts(text: &str) -> Vec<Zeroizing<String>> {
    if text.starts_with("https://") || text.starts_with("http://") {
        return parts_of_address(text);
    }
    if !text.starts_with('{') {
        return Vec::new();
    }
    let fields: BTreeMap<String, Value> = serde_json::from_str(text).unwrap_or_default();
    let long = |value: Value| match value {
        Value::String(text) if text.len() >= SHORTEST_PART => Some(Zeroizing::new(text)),
        _ => None,
    };
    fields.into_values().filter_map(long).collect()
}

impl Redactor {
    /// Prepares the search for these secrets.
    #[must_use]
    pub fn new<'a>(secrets: impl IntoIterator<Item = &'a Secret>) -> Self {
        let mut redactor = Self::default();
        secrets.into_iter().for_each(|secret| redactor.add(secret));
        redactor
    }

    /// Searches for one more secret from now on. Of one that is a JSON document (the form that AWS's tools read), each
    /// long part is searched for as well; of an address, what it ends with.
    pub fn add(&mut self, secret: &Secret) {
        self.add_text(secret.expose_secret());
        for part in parts(secret.expose_secret()) {
            self.add_text(&part);
        }
    }

    fn add_text(&mut self, text: &str) {
        for form in encodings(text) {
            let bytes = form.as_bytes();
            let Some(beginning) = bytes.first_chunk() else { continue };
            self.beginnings.insert(*beginning);
            self.lengths.insert(bytes.len());
            self.forms.insert(digest(bytes));
        }
    }

    /// The text with every known secret masked.
    #[must_use]
    pub fn clean(&self, text: &str) -> String {
        let (mut out, mut last) = (String::with_capacity(text.len()), 0);
        while let Some((start, end)) = self.next(text.as_bytes(), last) {
            out.push_str(text.get(last..start).unwrap_or_default());
            out.push_str(MASK);
            last = end;
        }
        out.push_str(text.get(last..).unwrap_or_default());
        out
    }

    /// Whether the bytes hold any known secret.
    #[must_use]
    pub fn finds(&self, bytes: &[u8]) -> bool {
        self.next(bytes, 0).is_some()
    }

    /// Where the first form at or after a place begins and ends; the longest one that begins there. A form is valid
    /// UTF-8, so in a text it begins and ends between characters.
    fn next(&self, bytes: &[u8], from: usize) -> Option<(usize, usize)> {
        let windows = bytes.get(from..)?.windows(SHORTEST);
        windows.zip(from..).find_map(|(window, start)| {
            if !window.first_chunk().is_some_and(|beginning| self.beginnings.contains(beginning)) {
                return None;
            }
            let ends = self.lengths.iter().rev().map(|length| start.saturating_add(*length));
            let is_form =
                |end: &usize| bytes.get(start..*end).is_some_and(|form| self.forms.contains(&digest(form)));
            ends.into_iter().find(is_form).map(|end| (start, end))
        })
    }
}

fn digest(form: &[u8]) -> [u8; 16] {
    let whole = Sha256::digest(form);
    whole.first_chunk().copied().unwrap_or_default()
}

/// The forms in which a secret is searched for. Empty for a secret that is too short to be told from noise.
#[must_use]
pub fn encodings(secret: &str) -> Vec<Zeroizing<String>> {
    if secret.len() < SHORTEST {
        return Vec::new();
    }
    let bytes = secret.as_bytes();
    let reversed = Zeroizing::new(secret.chars().rev().collect::<String>());
    let percent_all: String = bytes.iter().map(|b| format!("%{b:02X}")).collect();
    let percent_reserved: String = bytes
        .iter()
        .map(|b| {
            if b.is_ascii_alphanumeric() || b"-_.~".contains(b) {
                char::from(*b).to_string()
            } else {
                format!("%{b:02X}")
            }
        })
        .collect();
    let unicode: String = secret.encode_utf16().map(|unit| format!("\\u{unit:04x}")).collect();
    let json = serde_json::to_string(secret).unwrap_or_default().trim_matches('"').to_owned();
    let html: String = secret.chars().map(|c| format!("&#{};", u32::from(c))).collect();
    let mut forms = vec![
        secret.to_owned(),
        hex::encode(bytes),
        hex::encode_upper(bytes),
        percent_all.to_ascii_lowercase(),
        percent_all,
        percent_reserved,
        unicode,
        json,
        html,
        STANDARD_NO_PAD.encode(reversed.as_bytes()),
        reversed.as_str().to_owned(),
    ];
    forms.extend(base64_windows(bytes));
    forms.into_iter().filter(|form| form.len() >= SHORTEST).map(Zeroizing::new).collect()
}

/// Base64 of a text depends on where in the encoded stream it begins: at one of three offsets. Of each we take
/// the characters that depend on the secret alone.
fn base64_windows(bytes: &[u8]) -> Vec<String> {
    let mut forms = Vec::new();
    for offset in 0..3usize {
        let mut shifted = vec![0u8; offset];
        shifted.extend_from_slice(bytes);
        let shifted = Zeroizing::new(shifted);
        let usable = shifted.len() / 3 * 4;
        let skip = [0, 2, 3].get(offset).copied().unwrap_or(0);
        for text in [STANDARD.encode(&*shifted), URL_SAFE_NO_PAD.encode(&*shifted)] {
            forms.extend(text.get(skip..usable.min(text.len())).map(str::to_owned));
        }
    }
    forms
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECRET: &str = "kw-Canary/7+=ü\"Z9_secret";

    #[test]
    fn a_secret_is_found_in_every_encoding_and_at_every_base64_offset() {
        let redactor = Redactor::new([&Secret::new(SECRET.to_owned())]);
        for form in encodings(SECRET) {
            let text = format!("before {} after", form.as_str());
            assert_eq!(redactor.clean(&text), format!("before {MASK} after"), "{}", form.as_str());
        }
        for prefix in ["", "a", "ab", "abc", "Bearer "] {
            let encoded = STANDARD.encode(format!("{prefix}{SECRET} and more"));
            assert!(redactor.clean(&encoded).contains(MASK), "{prefix:?}: {encoded}");
        }
        assert_eq!(redactor.clean("nothing here"), "nothing here");
    }

    #[test]
    fn of_a_document_each_long_part_is_found_alone() {
        let document = r#"{"Version":1,"AccessKeyId":"AKIAIOSFODNN7EXAMPLE",
            "SecretAccessKey":"wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"}"#;
        let redactor = Redactor::new([&Secret::new(document.to_owned())]);
        let said = redactor.clean("AKIAIOSFODNN7EXAMPLE: wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY is wrong");
        assert_eq!(said, format!("AKIAIOSFODNN7EXAMPLE: {MASK} is wrong"));
        assert_eq!(redactor.clean(document), MASK);
    }

    #[test]
    fn several_secrets_side_by_side_are_all_masked_and_the_longest_wins() {
        let mut redactor = Redactor::new([&Secret::new("first-secret".to_owned())]);
        assert_eq!(redactor.clean("first-secret-and-more"), format!("{MASK}-and-more"));
        redactor.add(&Secret::new("first-secret-and-more".to_owned()));
        redactor.add(&Secret::new("ünïcode-secret".to_owned()));
        let text = "üfirst-secretfirst-secret-and-moreünïcode-secretü";
        assert_eq!(redactor.clean(text), format!("ü{MASK}{MASK}{MASK}ü"));
        assert!(redactor.finds(text.as_bytes()) && !redactor.finds(b"first-secre"));
    }

    #[test]
    fn short_values_do_not_mask_everything() {
        assert_eq!(Redactor::new([&Secret::new("e".to_owned())]).clean("seen"), "seen");
    }
}
