//! Sealing: the key hierarchy, and values at rest.
//!
//! ```text
//! passphrase --Argon2id--> slot keys (one pair an operator): wrap the master key, wrap the signing key
//! master key --HKDF-SHA-256--> seal | marker | fingerprint | token | audit | rows
//! seal key   --XChaCha20-Poly1305--> a data key per value --XChaCha20-Poly1305--> the value
//! ```
//! Every ciphertext is bound to its owner (associated data), so that a value copied to another row does not
//! open. Changing a passphrase wraps the master key anew; no value is encrypted again. Destroying a value is
//! deleting its row, data key included.

use argon2::{Algorithm, Argon2, Params, Version};
use chacha20poly1305::aead::{Aead as _, Payload};
use chacha20poly1305::{KeyInit as _, XChaCha20Poly1305, XNonce};
use hkdf::Hkdf;
use hmac::Hmac;
use keywright_core::marker::{InstanceTag, MarkerKey};
use keywright_core::secret::{Fingerprint, FingerprintKey, Secret};
use sha2::Sha256;
use zeroize::{Zeroize as _, Zeroizing};

use crate::error::{LedgerError, Result};

/// What an operator's passphrase is stretched with. RFC 9106's second recommended set: 64 MiB, 3 passes, 4 lanes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SlotCost {
    /// Memory in KiB.
    pub memory_kib: u32,
    /// Passes over the memory.
    pub passes: u32,
    /// Lanes.
    pub lanes: u32,
}

impl SlotCost {
    /// What new slots get.
    pub const RECOMMENDED: Self = Self { memory_kib: 64 * 1024, passes: 3, lanes: 4 };
}

/// The two keys that one passphrase opens.
pub(crate) struct SlotKeys {
    pub(crate) master: Zeroizing<[u8; 32]>,
    pub(crate) signing: Zeroizing<[u8; 32]>,
}

/// Stretches a passphrase. Takes about a tenth of a second and the memory named in `cost`; run it off the
/// runtime's threads.
pub(crate) fn stretch(passphrase: &Secret, salt: &[u8; 16], cost: SlotCost) -> Result<SlotKeys> {
    let params = Params::new(cost.memory_kib, cost.passes, cost.lanes, Some(32))
        .map_err(|_| LedgerError::Damaged { what: "passphrase slot" })?;
    let mut root = Zeroizing::new([0u8; 32]);
    Argon2::new(Algorithm::Argon2id, Version::V0x13, params)
        .hash_password_into(passphrase.expose_secret().as_bytes(), salt, root.as_mut())
        .map_err(|_| LedgerError::Damaged { what: "passphrase slot" })?;
    Ok(SlotKeys { master: derive(&root, "slot/master"), signing: derive(&root, "slot/signing") })
}

/// The root of everything that is sealed. Lives in memory only while the broker is unlocked.
pub struct MasterKey(Zeroizing<[u8; 32]>);

impl MasterKey {
    /// A fresh one.
    ///
    /// # Errors
    /// When the operating system gives no randomness.
    pub fn generate() -> Result<Self> {
        Ok(Self(random()?))
    }

    pub(crate) fn from_bytes(bytes: Zeroizing<[u8; 32]>) -> Self {
        Self(bytes)
    }

    pub(crate) fn bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// Everything that is derived from it.
    #[must_use]
    pub fn keyring(&self, instance: [u8; 16]) -> Keyring {
        Keyring {
            instance,
            seal: derive(&self.0, "seal/1"),
            token: derive(&self.0, "token/1"),
            audit: derive(&self.0, "audit/1"),
            rows: derive(&self.0, "rows/1"),
            marker: MarkerKey::new(InstanceTag::from_instance(&instance), *derive(&self.0, "marker/1")),
            fingerprint: FingerprintKey::new(*derive(&self.0, "fingerprint/1")),
            master: Self(self.0.clone()),
        }
    }
}

/// The unlocked keys of one home.
pub struct Keyring {
    instance: [u8; 16],
    seal: Zeroizing<[u8; 32]>,
    token: Zeroizing<[u8; 32]>,
    audit: Zeroizing<[u8; 32]>,
    rows: Zeroizing<[u8; 32]>,
    marker: MarkerKey,
    fingerprint: FingerprintKey,
    master: MasterKey,
}

/// A value as it lies in the ledger.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SealedValue {
    pub(crate) data_key: Vec<u8>,
    pub(crate) value: Vec<u8>,
}

impl Keyring {
    /// Seals a secret for one owner, as in `attempt:att_...`.
    ///
    /// # Errors
    /// When the operating system gives no randomness.
    pub fn seal(&self, owner: &str, secret: &Secret) -> Result<SealedValue> {
        let data_key: Zeroizing<[u8; 32]> = random()?;
        Ok(SealedValue {
            value: encrypt(&data_key, owner, secret.expose_secret().as_bytes())?,
            data_key: encrypt(&self.seal, owner, data_key.as_ref())?,
        })
    }

    /// Opens a sealed value for the owner that it was sealed for.
    ///
    /// # Errors
    /// When it was sealed for somebody else, under another master key, or was changed.
    pub fn open(&self, owner: &str, sealed: &SealedValue) -> Result<Secret> {
        let data_key = decrypt(&self.seal, owner, &sealed.data_key)?;
        let mut key = Zeroizing::new([0u8; 32]);
        if data_key.len() != key.len() {
            return Err(LedgerError::Damaged { what: "sealed value" });
        }
        key.copy_from_slice(&data_key);
        let mut value = decrypt(&key, owner, &sealed.value)?;
        Secret::from_utf8(std::mem::take(&mut *value))
            .map_err(|_| LedgerError::Damaged { what: "sealed value" })
    }

    /// The keyed fingerprint of a secret.
    #[must_use]
    pub fn fingerprint(&self, secret: &Secret) -> Fingerprint {
        secret.fingerprint(&self.fingerprint)
    }

    /// What an access token is stored as.
    #[must_use]
    pub fn token_hash(&self, token: &Secret) -> [u8; 32] {
        let key = FingerprintKey::new(*self.token);
        let mut bytes = [0; 32];
        // A fingerprint prints as exactly 64 hexadecimal digits.
        let hex = token.fingerprint(&key).to_hex();
        for (byte, pair) in bytes.iter_mut().zip(hex.as_bytes().chunks(2)) {
            *byte = std::str::from_utf8(pair).ok().and_then(|p| u8::from_str_radix(p, 16).ok()).unwrap_or(0);
        }
        bytes
    }

    /// Makes and recognises markers.
    #[must_use]
    pub fn markers(&self) -> &MarkerKey {
        &self.marker
    }

    /// The home's random id.
    #[must_use]
    pub fn instance(&self) -> &[u8; 16] {
        &self.instance
    }

    /// The Ed25519 seed that signs checkpoints.
    #[must_use]
    pub fn checkpoint_seed(&self) -> &[u8; 32] {
        &self.audit
    }

    /// Begins the MAC of a row (HMAC-SHA-256, RFC 2104).
    pub(crate) fn row_mac(&self) -> Hmac<Sha256> {
        // A shorter key is padded with zeros to the block's 64 bytes: done here, no length can be refused.
        let mut block = Zeroizing::new([0u8; 64]);
        if let Some((start, _)) = block.split_first_chunk_mut::<32>() {
            *start = *self.rows;
        }
        <Hmac<Sha256> as hmac::KeyInit>::new(&(*block).into())
    }

    /// The master key, to wrap it for another operator.
    #[must_use]
    pub fn master(&self) -> &MasterKey {
        &self.master
    }
}

/// A nonce of 192 random bits, then ciphertext and tag (XChaCha20-Poly1305).
pub(crate) fn encrypt(key: &[u8; 32], bound_to: &str, plain: &[u8]) -> Result<Vec<u8>> {
    let mut out = vec![0u8; 24];
    fill(&mut out)?;
    let nonce: [u8; 24] = out.as_slice().try_into().map_err(|_| LedgerError::Damaged { what: "nonce" })?;
    let payload = Payload { msg: plain, aad: bound_to.as_bytes() };
    let sealed = XChaCha20Poly1305::new(key.into())
        .encrypt(&XNonce::from(nonce), payload)
        .map_err(|_| LedgerError::Damaged { what: "sealed value" })?;
    out.extend_from_slice(&sealed);
    Ok(out)
}

pub(crate) fn decrypt(key: &[u8; 32], bound_to: &str, sealed: &[u8]) -> Result<Zeroizing<Vec<u8>>> {
    let damaged = || LedgerError::Damaged { what: "sealed value" };
    let (nonce, body) = sealed.split_first_chunk::<24>().ok_or_else(damaged)?;
    let payload = Payload { msg: body, aad: bound_to.as_bytes() };
    XChaCha20Poly1305::new(key.into())
        .decrypt(&XNonce::from(*nonce), payload)
        .map(Zeroizing::new)
        .map_err(|_| damaged())
}

/// Random bytes from the operating system.
///
/// # Errors
/// When there are none.
pub fn random<const N: usize>() -> Result<Zeroizing<[u8; N]>> {
    let mut bytes = Zeroizing::new([0u8; N]);
    fill(bytes.as_mut())?;
    Ok(bytes)
}

fn fill(bytes: &mut [u8]) -> Result<()> {
    getrandom::fill(bytes).map_err(|e| LedgerError::Io(format!("no randomness: {e}")))
}

fn derive(key: &[u8; 32], purpose: &str) -> Zeroizing<[u8; 32]> {
    let mut out = Zeroizing::new([0u8; 32]);
    let info = format!("keywright/{purpose}");
    if Hkdf::<Sha256>::new(None, key).expand(info.as_bytes(), out.as_mut()).is_err() {
        // HKDF refuses only outputs longer than 8,160 bytes (RFC 5869); a zero key must never be used.
        out.zeroize();
        std::process::abort();
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    const CHEAP: SlotCost = SlotCost { memory_kib: 64, passes: 1, lanes: 1 };

    fn keyring(seed: u8) -> Keyring {
        MasterKey(Zeroizing::new([seed; 32])).keyring([seed; 16])
    }

    #[test]
    fn a_sealed_value_opens_only_for_its_owner_and_unchanged() {
        let ring = keyring(1);
        let sealed = ring.seal("attempt:a", &Secret::new("s3cret".to_owned())).unwrap();
        assert_eq!(ring.open("attempt:a", &sealed).unwrap().expose_secret(), "s3cret");
        assert!(ring.open("attempt:b", &sealed).is_err());
        assert!(keyring(2).open("attempt:a", &sealed).is_err());
        for part in 0..2 {
            for at in 0..sealed.value.len().min(sealed.data_key.len()) {
                let mut changed = sealed.clone();
                let bytes = if part == 0 { &mut changed.value } else { &mut changed.data_key };
                bytes[at] ^= 1;
                assert!(ring.open("attempt:a", &changed).is_err());
            }
        }
        let again = ring.seal("attempt:a", &Secret::new("s3cret".to_owned())).unwrap();
        assert_ne!(sealed, again, "equal secrets do not look equal");
    }

    #[test]
    fn a_passphrase_gives_the_same_keys_only_with_the_same_salt() {
        let pass = || Secret::new("correct horse".to_owned());
        let one = stretch(&pass(), &[1; 16], CHEAP).unwrap();
        assert_eq!(*one.master, *stretch(&pass(), &[1; 16], CHEAP).unwrap().master);
        assert_ne!(*one.master, *stretch(&pass(), &[2; 16], CHEAP).unwrap().master);
        assert_ne!(*one.master, *one.signing);
    }

    #[test]
    fn token_hashes_are_keyed_and_whole() {
        let token = Secret::new("kwa_x".to_owned());
        assert_ne!(keyring(1).token_hash(&token), keyring(2).token_hash(&token));
        assert!(keyring(1).token_hash(&token).iter().any(|b| *b != 0));
    }
}
