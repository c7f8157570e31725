//! The search, and the proof that it finds what is planted.

use keywright_testkit::Canaries;

/// The characters with which tables and wrapped texts come between the parts of a word.
const LAYOUT: &[u8] = b" \t\r\n|";

/// Looks for secrets in what came out of a channel.
pub(crate) struct Search(Canaries);

impl Search {
    /// For these secrets, and for each half of a long one: a text that was cut may hold a part of one only.
    pub(crate) fn new(secrets: impl IntoIterator<Item = String>) -> Self {
        let mut all = Vec::new();
        for secret in secrets {
            if secret.len() >= 40 && secret.is_ascii() {
                let (one, other) = secret.split_at(secret.len() / 2);
                all.extend([one.to_owned(), other.to_owned()]);
            }
            all.push(secret);
        }
        assert!(all.len() >= 6, "nothing to look for proves nothing");
        Self(Canaries::new(all))
    }

    /// Fails when a secret is in the bytes, also when a line break or a column of a table cuts it, and when the bytes do
    /// not hold the evidence: an empty channel would prove nothing.
    pub(crate) fn absent_from(&self, channel: &str, bytes: &[u8], evidence: &str) {
        let there = evidence.is_empty() || bytes.windows(evidence.len()).any(|w| w == evidence.as_bytes());
        assert!(there, "`{evidence}` is not in {channel}: {}", String::from_utf8_lossy(bytes));
        self.0.absent_from(channel, bytes);
        let joined: Vec<u8> = bytes.iter().copied().filter(|byte| !LAYOUT.contains(byte)).collect();
        self.0.absent_from(channel, &joined);
    }
}

#[cfg(test)]
mod tests {
    use std::panic::{AssertUnwindSafe, catch_unwind};

    use super::*;

    const SECRET: &str = "kw-Canary/7+=ü\"Z9_secret?~";

    /// As other programs encode it, so that the search does not prove itself with its own code.
    const ENCODED: [(&str, &str); 16] = [
        ("plain", "kw-Canary/7+=ü\"Z9_secret?~"),
        ("reversed", "~?terces_9Z\"ü=+7/yranaC-wk"),
        ("base64", "a3ctQ2FuYXJ5LzcrPcO8Ilo5X3NlY3JldD9+"),
        ("base64, one byte later", "YWt3LUNhbmFyeS83Kz3DvCJaOV9zZWNyZXQ/fiBhbmQgbW9yZQ=="),
        ("base64, two bytes later", "YWJrdy1DYW5hcnkvNys9w7wiWjlfc2VjcmV0P34gYW5kIG1vcmU="),
        ("base64 for URLs", "a3ctQ2FuYXJ5LzcrPcO8Ilo5X3NlY3JldD9-"),
        ("base64 for URLs, one byte later", "YWt3LUNhbmFyeS83Kz3DvCJaOV9zZWNyZXQ_fg"),
        ("hexadecimal", "6b772d43616e6172792f372b3dc3bc225a395f7365637265743f7e"),
        ("hexadecimal, upper case", "6B772D43616E6172792F372B3DC3BC225A395F7365637265743F7E"),
        (
            "percent, every byte",
            "%6B%77%2D%43%61%6E%61%72%79%2F%37%2B%3D%C3%BC%22%5A%39%5F%73%65%63%72%65%74%3F%7E",
        ),
        (
            "percent, every byte, lower case",
            "%6b%77%2d%43%61%6e%61%72%79%2f%37%2b%3d%c3%bc%22%5a%39%5f%73%65%63%72%65%74%3f%7e",
        ),
        ("percent, where it has to", "kw-Canary%2F7%2B%3D%C3%BC%22Z9_secret%3F~"),
        (
            "JSON, every character",
            "\\u006b\\u0077\\u002d\\u0043\\u0061\\u006e\\u0061\\u0072\\u0079\\u002f\\u0037\\u002b\\u003d\\u00fc\\u0022\
             \\u005a\\u0039\\u005f\\u0073\\u0065\\u0063\\u0072\\u0065\\u0074\\u003f\\u007e",
        ),
        ("JSON, where it has to", "kw-Canary/7+=ü\\\"Z9_secret?~"),
        (
            "HTML references",
            "&#107;&#119;&#45;&#67;&#97;&#110;&#97;&#114;&#121;&#47;&#55;&#43;&#61;&#252;&#34;&#90;&#57;&#95;&#115;\
             &#101;&#99;&#114;&#101;&#116;&#63;&#126;",
        ),
        ("base64 of the reversed", "fj90ZXJjZXNfOVoiw7w9KzcveXJhbmFDLXdr"),
    ];

    fn search() -> Search {
        let others = (0..5).map(|n| format!("another-secret-{n}"));
        Search::new(others.chain([SECRET.to_owned()]))
    }

    fn finds(search: &Search, text: &str) -> bool {
        catch_unwind(AssertUnwindSafe(|| search.absent_from("a text", text.as_bytes(), ""))).is_err()
    }

    #[test]
    fn a_secret_is_found_in_each_encoding_wherever_it_stands() {
        let search = search();
        for (name, form) in ENCODED {
            let broken: String = form.char_indices().fold(String::new(), |mut text, (at, c)| {
                text.push(c);
                if at == 12 {
                    text.push_str(" |\n | ");
                }
                text
            });
            for text in [form.to_owned(), format!("{{\"message\":\"<{form}>\"}}"), broken] {
                assert!(finds(&search, &text), "{name}: {text}");
            }
        }
        assert!(!finds(&search, "kw-Canary is a bird, and no secret: {\"message\":\"nothing\"}"));
    }

    #[test]
    fn half_a_secret_is_found_too() {
        let long = "Zq3x_9Kd-7Lm2Pw5Rt8Yv1Bn4Cf6Gh0Jk-Sa_EuI";
        let search = Search::new((0..5).map(|n| format!("another-secret-{n}")).chain([long.to_owned()]));
        assert!(finds(&search, &format!("it was cut after {}…", &long[..25])));
        assert!(finds(&search, &format!("… {} is its end", &long[15..])));
    }

    #[test]
    fn a_channel_that_says_nothing_is_not_taken_for_a_clean_one() {
        let silent = || search().absent_from("silence", b"", "evidence");
        assert!(catch_unwind(AssertUnwindSafe(silent)).is_err());
    }
}
