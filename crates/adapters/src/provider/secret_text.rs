//! The secret in an answer.

use std::fmt;

use keywright_core::secret::Secret;
use serde::Deserialize;
use serde::de::{Deserializer, Visitor};

/// A string that goes straight from the wiped body into a [`Secret`]. The shape that holds it has no `Debug`, and buffers
/// no unknown fields, which would copy the value.
pub(super) struct SecretText(Secret);

impl SecretText {
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl From<SecretText> for Secret {
    fn from(text: SecretText) -> Self {
        text.0
    }
}

impl<'de> Deserialize<'de> for SecretText {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Reader;
        impl Visitor<'_> for Reader {
            type Value = SecretText;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("text")
            }

            fn visit_str<E>(self, text: &str) -> Result<SecretText, E> {
                Ok(SecretText(Secret::new(text.to_owned())))
            }
        }
        deserializer.deserialize_str(Reader)
    }
}
