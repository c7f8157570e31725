//! The signed tree head: [C2SP tlog-checkpoint](https://c2sp.org/tlog-checkpoint) in a
//! [signed note](https://c2sp.org/signed-note), with Ed25519 (RFC 8032).
//!
//! ```text
//! keywright/home-1
//! 923748
//! nND/nri//U0xuHUrYSy0HtMeal2vzD9V4k/BO79C+QeI=
//!
//! — keywright/home-1 mFnhyk5gvX0T...
//! ```

use std::fmt;
use std::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ed25519_dalek::{Signer as _, SigningKey, VerifyingKey};
use signed_note::{Note, NoteError, StandardVerifier, VerifierList};

use crate::audit::merkle::{Hash, MAX_SIZE};
use crate::text::Untrusted;

/// The first byte of an Ed25519 key in a verifier key (C2SP signed-note).
const ALG_ED25519: u8 = 0x01;

/// The longest checkpoint that is read, in bytes: ours have under 300, and witnesses add a line each.
const MAX_TEXT: usize = 64 * 1024;

/// A checkpoint that could not be written or believed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CheckpointError {
    /// The origin can't be used as a key's name.
    #[error("`{given}` is not a log's name; it should look like `keywright/<instance>`")]
    Origin {
        /// The name, shortened and escaped.
        given: String,
    },
    /// The verifier key can't be read.
    #[error("`{given}` is not a verifier key; it should look like `<name>+<8 hex digits>+<base64>`")]
    Key {
        /// The key, shortened and escaped.
        given: String,
    },
    /// An extension line that would not survive.
    #[error("line {number} of the checkpoint's extensions is empty or has control characters")]
    Extension {
        /// Which line, from 1.
        number: usize,
    },
    /// Not a checkpoint.
    #[error("the checkpoint is malformed: {what}")]
    Malformed {
        /// What is wrong.
        what: &'static str,
    },
    /// It names another log.
    #[error("the checkpoint is for the log `{found}`, not for `{expected}`")]
    OtherLog {
        /// The log that the key belongs to.
        expected: String,
        /// The log that the checkpoint names, shortened and escaped.
        found: String,
    },
    /// Signed by other keys only.
    #[error("the checkpoint is not signed by `{key}`; was it made by another instance?")]
    NotSigned {
        /// The verifier key.
        key: String,
    },
    /// The signature is there and wrong.
    #[error("the checkpoint's signature by `{key}` is not valid: the text was changed")]
    Signature {
        /// The verifier key.
        key: String,
    },
}

/// The name of a log, unique in the world as far as its owner cares: `keywright/<instance>`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Origin(String);

impl Origin {
    /// The log of one instance; letters, digits, `-`, `_` and `.`, at most 64 of them.
    ///
    /// # Errors
    /// [`CheckpointError::Origin`].
    pub fn of_instance(instance: &str) -> Result<Self, CheckpointError> {
        let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
        if instance.is_empty() || instance.len() > 64 || !instance.chars().all(plain) {
            return Err(CheckpointError::Origin { given: shown(instance) });
        }
        Ok(Self(format!("keywright/{instance}")))
    }

    /// Any name that may stand in a signed note: no white space, no `+`, no control characters, at most 255 bytes.
    ///
    /// # Errors
    /// [`CheckpointError::Origin`].
    pub fn parse(name: &str) -> Result<Self, CheckpointError> {
        let allowed =
            name.len() <= 255 && signed_note::is_key_name_valid(name) && !name.contains(char::is_control);
        if allowed { Ok(Self(name.to_owned())) } else { Err(CheckpointError::Origin { given: shown(name) }) }
    }

    /// The name as it stands in the checkpoint.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// What others need to check a log's checkpoints. Its text is the form that C2SP calls `vkey`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VerifierKey {
    origin: Origin,
    key: VerifyingKey,
}

impl VerifierKey {
    /// The public half of the 32 bytes that sign this log.
    #[must_use]
    pub fn of_signing_key(origin: Origin, secret: &[u8; 32]) -> Self {
        Self { origin, key: SigningKey::from_bytes(secret).verifying_key() }
    }

    /// Wraps an Ed25519 public key.
    ///
    /// # Errors
    /// [`CheckpointError::Key`] when the bytes are not a point on the curve.
    pub fn from_bytes(origin: Origin, key: &[u8; 32]) -> Result<Self, CheckpointError> {
        let key = VerifyingKey::from_bytes(key);
        let key = key.map_err(|_| CheckpointError::Key { given: shown(origin.as_str()) })?;
        Ok(Self { origin, key })
    }

    /// The log it belongs to.
    #[must_use]
    pub fn origin(&self) -> &Origin {
        &self.origin
    }

    /// The 32 bytes of the Ed25519 public key.
    #[must_use]
    pub fn to_bytes(&self) -> [u8; 32] {
        self.key.to_bytes()
    }

    fn key_bytes(&self) -> Vec<u8> {
        [&[ALG_ED25519], self.key.as_bytes().as_slice()].concat()
    }

    fn id(&self) -> u32 {
        signed_note::key_id(self.origin.as_str(), &self.key_bytes())
    }
}

impl fmt::Display for VerifierKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}+{:08x}+{}", self.origin.as_str(), self.id(), STANDARD.encode(self.key_bytes()))
    }
}

impl FromStr for VerifierKey {
    type Err = CheckpointError;
    fn from_str(text: &str) -> Result<Self, CheckpointError> {
        let bad = || CheckpointError::Key { given: shown(text) };
        // The library checks the form and that the id belongs to name and key.
        StandardVerifier::new(text).map_err(|_| bad())?;
        let (name, rest) = text.split_once('+').ok_or_else(bad)?;
        let (_, key) = rest.split_once('+').ok_or_else(bad)?;
        let bytes = STANDARD.decode(key).map_err(|_| bad())?;
        let key = bytes.strip_prefix(&[ALG_ED25519]).and_then(|key| key.try_into().ok()).ok_or_else(bad)?;
        Self::from_bytes(Origin::parse(name)?, key)
    }
}

/// Lets the note library verify with this crate's Ed25519, and strictly: no weak keys, no second valid form.
impl signed_note::Verifier for VerifierKey {
    fn name(&self) -> &str {
        self.origin.as_str()
    }

    fn key_id(&self) -> u32 {
        self.id()
    }

    fn verify(&self, text: &[u8], signature: &[u8]) -> bool {
        ed25519_dalek::Signature::from_slice(signature)
            .is_ok_and(|signature| self.key.verify_strict(text, &signature).is_ok())
    }
}

/// The size and the root of a log at one moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checkpoint {
    origin: Origin,
    size: u64,
    root: Hash,
    extensions: Vec<String>,
}

impl Checkpoint {
    /// States that the log `origin` had `size` entries under `root`. Extensions are further lines of text, whose
    /// meaning C2SP leaves to the log.
    ///
    /// # Errors
    /// [`CheckpointError::Extension`]; [`CheckpointError::Malformed`] for a size above 2^48.
    pub fn new(
        origin: Origin,
        size: u64,
        root: Hash,
        extensions: Vec<String>,
    ) -> Result<Self, CheckpointError> {
        if size > MAX_SIZE {
            return Err(CheckpointError::Malformed { what: "the size is above 2^48" });
        }
        for (at, line) in extensions.iter().enumerate() {
            if line.is_empty() || line.contains(char::is_control) {
                return Err(CheckpointError::Extension { number: at + 1 });
            }
        }
        Ok(Self { origin, size, root, extensions })
    }

    /// The signed note, ready to be written to a file. The key is the 32-byte Ed25519 seed; the copy that is made
    /// of it here is wiped.
    ///
    /// # Errors
    /// [`CheckpointError::Malformed`], which [`Checkpoint::new`] rules out.
    pub fn sign(&self, secret: &[u8; 32]) -> Result<String, CheckpointError> {
        let malformed = |what| CheckpointError::Malformed { what };
        let signer = SigningKey::from_bytes(secret);
        let key = VerifierKey { origin: self.origin.clone(), key: signer.verifying_key() };
        let text = self.text()?;
        let signature = signer.sign(&text).to_bytes().to_vec();
        let signature = signed_note::Signature::new(self.origin.0.clone(), key.id(), signature)
            .map_err(|_| malformed("the origin can't name a key"))?;
        let note = Note::new(&text, &[signature]).map_err(|_| malformed("the text can't be signed"))?;
        String::from_utf8(note.to_bytes()).map_err(|_| malformed("the text is not UTF-8"))
    }

    /// Reads a signed note and believes it only if `key` signed it and it names the key's own log. Signatures by
    /// others (witnesses) are passed over.
    ///
    /// # Errors
    /// Each other variant of [`CheckpointError`] that a text from outside can cause.
    pub fn open(text: &str, key: &VerifierKey) -> Result<Self, CheckpointError> {
        let malformed = |what| CheckpointError::Malformed { what };
        if text.len() > MAX_TEXT {
            return Err(malformed("it is longer than 64 KiB"));
        }
        let note = Note::from_bytes(text.as_bytes()).map_err(|_| malformed("it is not a signed note"))?;
        note.verify(&VerifierList::new(vec![Box::new(key.clone())])).map_err(|error| match error {
            NoteError::UnverifiedNote => CheckpointError::NotSigned { key: key.to_string() },
            _ => CheckpointError::Signature { key: key.to_string() },
        })?;
        let inner = tlog_tiles::Checkpoint::from_bytes(note.text())
            .map_err(|_| malformed("origin, size or root can't be read"))?;
        if inner.origin() != key.origin.as_str() {
            let (expected, found) = (key.origin.0.clone(), shown(inner.origin()));
            return Err(CheckpointError::OtherLog { expected, found });
        }
        let extensions = inner.extension().lines().map(str::to_owned).collect();
        Self::new(key.origin.clone(), inner.size(), (*inner.hash()).into(), extensions)
    }

    /// The log it is about.
    #[must_use]
    pub fn origin(&self) -> &Origin {
        &self.origin
    }

    /// How many entries it covers.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.size
    }

    /// The root of the tree of these entries.
    #[must_use]
    pub fn root(&self) -> Hash {
        self.root
    }

    /// The extension lines.
    #[must_use]
    pub fn extensions(&self) -> &[String] {
        &self.extensions
    }

    fn text(&self) -> Result<Vec<u8>, CheckpointError> {
        let extension: String = self.extensions.iter().flat_map(|line| [line.as_str(), "\n"]).collect();
        tlog_tiles::Checkpoint::new(self.origin.as_str(), self.size, self.root.into(), &extension)
            .map(|checkpoint| checkpoint.to_bytes())
            .map_err(|_| CheckpointError::Malformed { what: "the extensions can't be written" })
    }
}

fn shown(text: &str) -> String {
    Untrusted::capped(text, 80).to_string()
}
