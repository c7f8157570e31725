//! Canaries: secrets that a test planted, and the search for them in everything that came out.

use keywright_core::redact::{MASK, Redactor};
use keywright_core::secret::Secret;

/// How much is shown on each side of a secret that was found, in characters.
const SHOWN: usize = 200;

/// The forms in which a canary is searched for.
#[must_use]
pub fn encodings(secret: &str) -> Vec<String> {
    keywright_core::redact::encodings(secret).iter().map(|form| form.to_string()).collect()
}

/// A set of secrets to search for, raw and encoded.
pub struct Canaries {
    secrets: Vec<String>,
    search: Redactor,
}

impl Canaries {
    /// Takes the secrets.
    #[must_use]
    pub fn new(secrets: impl IntoIterator<Item = String>) -> Self {
        let secrets: Vec<String> = secrets.into_iter().collect();
        let wrapped: Vec<Secret> = secrets.iter().map(|s| Secret::new(s.clone())).collect();
        Self { secrets, search: Redactor::new(&wrapped) }
    }

    /// How many secrets are searched for.
    #[must_use]
    pub fn count(&self) -> usize {
        self.secrets.len()
    }

    /// Fails when any of the secrets is in the bytes, in any encoding.
    ///
    /// # Panics
    /// With the channel's name and the masked surroundings of the first one, never with the secret.
    pub fn absent_from(&self, channel: &str, bytes: &[u8]) {
        let found = self.surroundings(bytes);
        assert!(found.is_none(), "a secret is in {channel}: {}", found.unwrap_or_default());
    }

    /// What stands around the first secret that is found.
    fn surroundings(&self, bytes: &[u8]) -> Option<String> {
        if !self.search.finds(bytes) {
            return None;
        }
        // What was masked before is no finding.
        let text = String::from_utf8_lossy(bytes).replace(MASK, "[masked]");
        let clean = self.search.clean(&text);
        let (before, after) = clean.split_once(MASK).unwrap_or_default();
        let skipped = before.chars().count().saturating_sub(SHOWN);
        let before: String = before.chars().skip(skipped).collect();
        let after: String = after.chars().take(SHOWN).collect();
        Some(format!("…{before}{MASK}{after}…"))
    }
}
