//! Secrets: a type with a short life and few readers.

use zeroize::Zeroizing;

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use subtle::ConstantTimeEq;

/// A credential's text. It is wiped when dropped and offers no way to print, copy, compare or serialise it.
///
/// ```compile_fail
/// let secret = keywright_core::secret::Secret::new("x".to_owned());
/// println!("{secret}");
/// ```
/// ```compile_fail
/// let secret = keywright_core::secret::Secret::new("x".to_owned());
/// println!("{secret:?}");
/// ```
/// ```compile_fail
/// let secret = keywright_core::secret::Secret::new("x".to_owned());
/// let copy = secret.clone();
/// ```
/// ```compile_fail
/// let secret = keywright_core::secret::Secret::new("x".to_owned());
/// serde_json::to_string(&secret).unwrap();
/// ```
pub struct Secret(Zeroizing<String>);

impl Secret {
    /// Takes ownership of the text; the caller must not keep another copy.
    #[must_use]
    pub fn new(text: String) -> Self {
        Self(Zeroizing::new(text))
    }

    /// Reads UTF-8 bytes as a secret.
    ///
    /// # Errors
    /// When the bytes are not UTF-8; they are wiped, and the error does not quote them.
    pub fn from_utf8(bytes: Vec<u8>) -> Result<Self, NotText> {
        match String::from_utf8(bytes) {
            Ok(text) => Ok(Self::new(text)),
            Err(error) => {
                drop(Zeroizing::new(error.into_bytes()));
                Err(NotText)
            }
        }
    }

    /// The text itself. Only adapters, hygiene, the sealing module and the door that hands a secret to a
    /// workload may call this; `cargo xtask tidy` holds the list.
    #[must_use]
    pub fn expose_secret(&self) -> &str {
        &self.0
    }

    /// How many bytes it has.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is nothing in it.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// A keyed fingerprint (HMAC-SHA-256, RFC 2104): the only way to compare two secrets or to name one.
    #[must_use]
    pub fn fingerprint(&self, key: &FingerprintKey) -> Fingerprint {
        let mut mac = keyed(&key.0);
        mac.update(self.0.as_bytes());
        Fingerprint(mac.finalize().into_bytes().into())
    }
}

/// Bytes that should have been text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the secret is not UTF-8 text")]
pub struct NotText;

/// The key of all fingerprints of one home.
pub struct FingerprintKey([u8; 32]);

impl FingerprintKey {
    /// Wraps 32 bytes derived from the master key.
    #[must_use]
    pub fn new(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }
}

impl Drop for FingerprintKey {
    fn drop(&mut self) {
        zeroize::Zeroize::zeroize(&mut self.0);
    }
}

/// A secret's fingerprint: safe to store and to print, useless without the key. Equality is in constant time.
#[derive(Clone, Copy)]
pub struct Fingerprint([u8; 32]);

impl Fingerprint {
    /// The full 64 hexadecimal digits.
    #[must_use]
    pub fn to_hex(&self) -> String {
        hex::encode(self.0)
    }

    /// Reads 64 hexadecimal digits.
    #[must_use]
    pub fn from_hex(text: &str) -> Option<Self> {
        let mut bytes = [0; 32];
        hex::decode_to_slice(text, &mut bytes).ok().map(|()| Self(bytes))
    }
}

impl PartialEq for Fingerprint {
    fn eq(&self, other: &Self) -> bool {
        self.0.ct_eq(&other.0).into()
    }
}

impl Eq for Fingerprint {}

impl std::fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Fingerprint({}..)", self.to_hex().get(..12).unwrap_or_default())
    }
}

/// HMAC-SHA-256 under a 32-byte key. RFC 2104 pads a shorter key with zeros to the block's 64 bytes, so doing
/// it here spares an error path that can't be taken.
pub(crate) fn keyed(key: &[u8; 32]) -> Hmac<Sha256> {
    let mut block = [0; 64];
    if let Some((start, _)) = block.split_first_chunk_mut::<32>() {
        *start = *key;
    }
    let mac = <Hmac<Sha256> as KeyInit>::new(&block.into());
    zeroize::Zeroize::zeroize(&mut block);
    mac
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_secrets_have_equal_fingerprints_only_under_one_key() {
        let (one, two) = (FingerprintKey::new([1; 32]), FingerprintKey::new([2; 32]));
        let secret = || Secret::new("hunter2".to_owned());
        assert_eq!(secret().fingerprint(&one), secret().fingerprint(&one));
        assert_ne!(secret().fingerprint(&one), secret().fingerprint(&two));
        assert_ne!(secret().fingerprint(&one), Secret::new("hunter3".to_owned()).fingerprint(&one));
    }
}
