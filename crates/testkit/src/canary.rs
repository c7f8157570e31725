//! Canaries: secrets that a test planted, and the search for them in everything that came out.

use keywright_core::redact::Redactor;
use keywright_core::secret::Secret;

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
    /// With the channel's name, never with the secret.
    pub fn absent_from(&self, channel: &str, bytes: &[u8]) {
        assert!(!self.search.finds(bytes), "a secret is in {channel}");
    }
}
