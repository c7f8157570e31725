//! Secrets on their way through the socket.

use std::fmt;

use keywright_core::secret::Secret;
use serde::{Deserialize, Serialize};
use zeroize::{Zeroize as _, Zeroizing};

/// A secret on its way through the socket, which only its owner's processes can open. It prints as nothing and is
/// wiped when dropped.
pub struct Passed(Zeroizing<String>);

impl Passed {
    /// Takes a secret along.
    #[must_use]
    pub fn new(text: String) -> Self {
        Self(Zeroizing::new(text))
    }

    /// A word that opens nothing.
    #[must_use]
    pub fn into_word(mut self) -> String {
        std::mem::take(&mut *self.0)
    }

    /// What it is at the other end.
    #[must_use]
    pub fn into_secret(mut self) -> Secret {
        Secret::new(std::mem::take(&mut *self.0))
    }
}

impl fmt::Debug for Passed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Passed(..)")
    }
}

impl Serialize for Passed {
    fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.serialize_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for Passed {
    fn deserialize<D: serde::Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        String::deserialize(d).map(Self::new)
    }
}

impl Drop for Passed {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}
