//! Identifiers (32 hex digits, as the provider's) and token values (40 characters).

use crate::error::SandboxError;

/// The alphabet of token values: 64 characters, so that six random bits pick one without bias.
const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
/// How long a token value is, in characters. The provider's schema allows 40 to 80.
pub(crate) const VALUE_LENGTH: usize = 40;

/// A source of identifiers. They are labels, not secrets, so a small generator (SplitMix64) is enough; with a seed it
/// gives the same ids in every run.
pub(crate) struct Ids {
    state: u64,
}

impl Ids {
    /// Starts from `seed`, or from the operating system's randomness.
    pub(crate) fn new(seed: Option<u64>) -> Result<Self, SandboxError> {
        let state = match seed {
            Some(seed) => seed,
            None => {
                let mut bytes = [0_u8; 8];
                getrandom::fill(&mut bytes).map_err(SandboxError::Randomness)?;
                u64::from_le_bytes(bytes)
            }
        };
        Ok(Self { state })
    }

    /// The next identifier: 32 lower-case hex digits.
    pub(crate) fn next(&mut self) -> String {
        format!("{:016x}{:016x}", self.word(), self.word())
    }

    fn word(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
}

/// A fresh token value. Always from the operating system, even in a seeded sandbox: a test that plants canaries must not
/// find the same canary in another test's output.
pub(crate) fn fresh_value() -> Result<String, getrandom::Error> {
    let mut bytes = [0_u8; VALUE_LENGTH];
    getrandom::fill(&mut bytes)?;
    Ok(bytes
        .iter()
        .filter_map(|byte| ALPHABET.get(usize::from(byte & 63)))
        .map(|byte| char::from(*byte))
        .collect())
}

/// Whether `text` has the shape of an identifier.
pub(crate) fn is_id(text: &str) -> bool {
    text.len() == 32 && text.bytes().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_gives_the_same_ids_and_never_the_same_value() {
        let (mut one, mut two) = (Ids::new(Some(7)).unwrap(), Ids::new(Some(7)).unwrap());
        for _ in 0..100 {
            let id = one.next();
            assert_eq!(id, two.next());
            assert!(is_id(&id), "{id}");
        }
        let (a, b) = (fresh_value().unwrap(), fresh_value().unwrap());
        assert_eq!(a.len(), VALUE_LENGTH);
        assert_ne!(a, b);
    }
}
