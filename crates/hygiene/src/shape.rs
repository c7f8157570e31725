//! Credentials by their shape: the formats that vendors document, and assignments of long random values.

use std::sync::LazyLock;

use regex::{Captures, Regex};

/// What a credential is replaced by.
pub const MASK: &str = "[redacted]";

/// Our own tokens: an agent's, a workload's.
const OURS: &str = r"kw[aw]_[A-Za-z0-9_\-]{40,}";

/// Vendors' formats. Each pattern matches the whole credential and nothing around it.
const SHAPES: &[&str] = &[
    r"\b(?:AKIA|ASIA)[0-9A-Z]{16}\b",
    r"\bgh[pousr]_[A-Za-z0-9]{36,255}",
    r"\bgithub_pat_[A-Za-z0-9_]{60,255}",
    r"\bglpat-[A-Za-z0-9_\-]{20,}",
    r"\bsk-(?:proj-|ant-|or-)?[A-Za-z0-9_\-]{20,}",
    r"\bSG\.[A-Za-z0-9_\-]{16,}\.[A-Za-z0-9_\-]{16,}",
    r"\b[sr]k_(?:live|test)_[A-Za-z0-9]{16,}",
    r"\bxox[abposr]-[A-Za-z0-9\-]{10,}",
    r"\bhf_[A-Za-z0-9]{30,}",
    r"\btskey-[a-z]+-[A-Za-z0-9\-]{10,}",
    r"\bnpm_[A-Za-z0-9]{36}",
    r"\bpypi-[A-Za-z0-9_\-]{50,}",
    r"\bAIza[A-Za-z0-9_\-]{35}",
    r"\bdop_v1_[a-f0-9]{64}",
    r"\bdp\.(?:pt|st|ct|sa)\.[A-Za-z0-9]{40,}",
    r"\bhvs\.[A-Za-z0-9_\-]{24,}",
    r"\bv1\.0-[a-f0-9]{24}-[a-f0-9]{100,}",
    OURS,
    r"\beyJ[A-Za-z0-9_\-]{10,}\.eyJ[A-Za-z0-9_\-]{10,}\.[A-Za-z0-9_\-]{10,}",
    r"-----BEGIN [A-Z ]*PRIVATE KEY-----[\s\S]*?(?:-----END [A-Z ]*PRIVATE KEY-----|$)",
];

static TOKEN: LazyLock<Option<Regex>> = LazyLock::new(|| Regex::new(OURS).ok());

static SHAPE: LazyLock<Option<Regex>> = LazyLock::new(|| Regex::new(&SHAPES.join("|")).ok());

/// `token = value`, `Authorization: Bearer value`: the value is what is masked.
static ASSIGNED: LazyLock<Option<Regex>> = LazyLock::new(|| {
    Regex::new(
        r#"(?i)((?:api[_-]?key|token|secret|passw(?:or)?d|passphrase|bearer|credential)["']?\s*(?:[:=]|\s)\s*["']?)([A-Za-z0-9_\-+/=.~]{16,})"#,
    )
    .ok()
});

/// `scheme://user:password@host`: the password is what is masked.
static USERINFO: LazyLock<Option<Regex>> =
    LazyLock::new(|| Regex::new(r"([a-z][a-z0-9+.\-]*://[^\s/:@]+:)([^\s/@]{3,})(@)").ok());

/// The text with everything that looks like a credential masked. Linear in the text.
///
/// Ids, digests and names survive: a value is masked by its vendor's format, or because something calls it a token and
/// it looks random.
#[must_use]
pub fn scrub_text(text: &str) -> String {
    let mut clean = text.to_owned();
    if let Some(shape) = SHAPE.as_ref() {
        clean = shape.replace_all(&clean, MASK).into_owned();
    }
    if let Some(assigned) = ASSIGNED.as_ref() {
        clean = assigned
            .replace_all(&clean, |found: &Captures<'_>| {
                let (before, value) = (found.get(1), found.get(2));
                let (before, value) = (before.map_or("", |m| m.as_str()), value.map_or("", |m| m.as_str()));
                if looks_random(value) { format!("{before}{MASK}") } else { format!("{before}{value}") }
            })
            .into_owned();
    }
    if let Some(userinfo) = USERINFO.as_ref() {
        clean = userinfo.replace_all(&clean, format!("${{1}}{MASK}${{3}}")).into_owned();
    }
    clean
}

/// The text with our own tokens masked and all else as it is: fit for names, which [`scrub_text`] could take for something
/// that they are not.
#[must_use]
pub fn scrub_tokens(text: &str) -> String {
    match TOKEN.as_ref() {
        Some(token) => token.replace_all(text, MASK).into_owned(),
        None => text.to_owned(),
    }
}

/// Letters and digits mixed, without the rhythm of words: a sentence does not look like this, an id of ours is told by
/// its prefix.
fn looks_random(value: &str) -> bool {
    const PREFIXES: [&str; 10] =
        ["key_", "ver_", "req_", "att_", "sag_", "plc_", "apr_", "rev_", "ent_", "kw-"];
    let digits = value.bytes().filter(u8::is_ascii_digit).count();
    let letters = value.bytes().filter(u8::is_ascii_alphabetic).count();
    digits >= 2 && letters >= 2 && !PREFIXES.iter().any(|prefix| value.starts_with(prefix))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_vendors_hand_out_is_masked() {
        let long = "a1B2c3D4e5F6g7H8i9J0k1L2m3N4o5P6q7R8s9T0";
        let planted = [
            "AKIAIOSFODNN7EXAMPLE".to_owned(),
            format!("ghp_{}", &long[..36]),
            format!("github_pat_{long}{long}"),
            format!("glpat-{}", &long[..20]),
            format!("sk-{long}"),
            format!("sk-proj-{long}"),
            format!("sk-ant-{long}"),
            format!("sk-or-v1-{long}"),
            format!("SG.{}.{long}", &long[..22]),
            format!("sk_live_{}", &long[..24]),
            format!("xoxb-{}", &long[..24]),
            format!("hf_{}", &long[..34]),
            format!("tskey-auth-{}", &long[..24]),
            format!("npm_{}", &long[..36]),
            format!("AIza{}", &long[..35]),
            format!("kwa_{long}abc"),
            format!("eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0In0.{}", &long[..20]),
            "-----BEGIN PRIVATE KEY-----\nMIIEvQ\n-----END PRIVATE KEY-----".to_owned(),
        ];
        for secret in planted {
            let clean = scrub_text(&format!("use {secret} for it"));
            assert_eq!(clean, format!("use {MASK} for it"));
        }
    }

    #[test]
    fn in_names_only_our_own_tokens_are_masked() {
        let token = format!("kww_{}", "a1B2-3D4_".repeat(5));
        assert_eq!(scrub_tokens(&format!("web_{token}")), format!("web_{MASK}"));
        for name in ["sk-a-project-of-2024-with-a-long-name", "token:9f8e7d6c5b4a39281706", "kwa_short"] {
            assert_eq!(scrub_tokens(name), name);
        }
    }

    #[test]
    fn assigned_values_and_passwords_in_urls_are_masked() {
        let value = "x9Yk3LmQ8vT2rB7nC4wD1sF6gH0jK5pZ8aE2uI3o";
        for (text, clean) in [
            (format!("CF_API_TOKEN={value}"), format!("CF_API_TOKEN={MASK}")),
            (format!("\"password\": \"{value}\""), format!("\"password\": \"{MASK}\"")),
            (format!("Authorization: Bearer {value}"), format!("Authorization: Bearer {MASK}")),
            ("postgres://app:hunter22@db/x".to_owned(), format!("postgres://app:{MASK}@db/x")),
        ] {
            assert_eq!(scrub_text(&text), clean);
        }
    }

    #[test]
    fn what_is_no_credential_survives() {
        for text in [
            "please add a TXT record to example.com for the token endpoint",
            "commit 9ee1ba8c0f5d4f3a8b7c6d5e4f3a2b1c0d9e8f7a",
            "zone 023e105f4ecef8ad9ca31a8372d0c353",
            "request req_0197b0c8a1d27d3e8f90a1b2c3d4e5f6 and key key_0197b0c8a1d27d3e8f90a1b2c3d4e5f6",
            "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
            "0197b0c8-a1d2-7d3e-8f90-a1b2c3d4e5f6",
            "kw-abcd-aae-mzxw6ytboi4dcnjvgi2tmnrygm-a1b2c3d4e",
            "the secret is configured elsewhere, see docs/secrets.md",
        ] {
            assert_eq!(scrub_text(text), text);
        }
    }
}
