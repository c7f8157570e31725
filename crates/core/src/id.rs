//! Typed ids. Each is a UUIDv7 (RFC 9562) behind a prefix that names what it identifies, so an id that was
//! pasted into the wrong place is refused instead of looked up.

use std::fmt;
use std::str::FromStr;

use jiff::Timestamp;
use sha2::{Digest as _, Sha256};
use uuid::Uuid;

/// The random half of an id: ten bytes from the operating system, handed in by the caller.
pub type IdEntropy = [u8; 10];

/// An id that could not be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{given}` is not {article} id; it should look like `{prefix}0197...`", article = self.noun)]
pub struct IdError {
    given: String,
    prefix: &'static str,
    noun: &'static str,
}

macro_rules! typed_id {
    ($(#[$doc:meta])* $name:ident, $prefix:literal, $noun:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(Uuid);

        impl $name {
            /// What every id of this kind starts with.
            pub const PREFIX: &'static str = $prefix;

            /// Makes an id that sorts by time.
            #[must_use]
            pub fn generate(now: Timestamp, entropy: IdEntropy) -> Self {
                let millis = u64::try_from(now.as_millisecond()).unwrap_or(0);
                Self(uuid::Builder::from_unix_timestamp_millis(millis, &entropy).into_uuid())
            }

            /// Reads `prefix_` and 32 hexadecimal digits.
            ///
            /// # Errors
            /// When the prefix is another one, or the rest is not a UUID.
            pub fn parse(text: &str) -> Result<Self, IdError> {
                let bad = || IdError {
                    given: text.chars().take(80).filter(|c| !c.is_control()).collect(),
                    prefix: Self::PREFIX,
                    noun: $noun,
                };
                let rest = text.strip_prefix(Self::PREFIX).filter(|r| r.len() == 32).ok_or_else(bad)?;
                Uuid::try_parse(rest).map(Self).map_err(|_| bad())
            }

            /// When it was made, to the millisecond.
            #[must_use]
            pub fn made_at(&self) -> Option<Timestamp> {
                let (seconds, nanos) = self.0.get_timestamp()?.to_unix();
                Timestamp::new(i64::try_from(seconds).ok()?, i32::try_from(nanos).ok()?).ok()
            }

            /// The sixteen bytes, for binding other things to this id.
            #[must_use]
            pub fn as_bytes(&self) -> &[u8; 16] {
                self.0.as_bytes()
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}{}", Self::PREFIX, self.0.simple())
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }

        impl FromStr for $name {
            type Err = IdError;
            fn from_str(text: &str) -> Result<Self, IdError> {
                Self::parse(text)
            }
        }

        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
                s.collect_str(self)
            }
        }

        impl<'de> serde::Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
                let text = <std::borrow::Cow<'de, str>>::deserialize(d)?;
                Self::parse(&text).map_err(serde::de::Error::custom)
            }
        }
    };
}

typed_id!(/// One request of an agent or an operator.
    RequestId, "req_", "a request");
typed_id!(/// One managed key; survives rotation.
    KeyId, "key_", "a key");
typed_id!(/// One credential at the provider.
    VersionId, "ver_", "a version");
typed_id!(/// One try to make a version.
    AttemptId, "att_", "an attempt");
typed_id!(/// One durable sequence of steps.
    SagaId, "sag_", "a saga");
typed_id!(/// One copy of a version at a place in a store.
    PlacementId, "plc_", "a placement");
typed_id!(/// One operator's signature over one plan.
    ApprovalId, "apr_", "an approval");
typed_id!(/// One standing grant of an operator.
    GrantId, "grt_", "a grant");
typed_id!(/// One passkey of an operator.
    PasskeyId, "pk_", "a passkey");
typed_id!(/// One debt to a provider: a credential that has to be revoked.
    RevocationId, "rev_", "a revocation");
typed_id!(/// One piece of news for one consumer; the same however often it is told.
    TellingId, "tel_", "a telling");
typed_id!(/// Something that one channel has to tell; the same however often it is tried.
    NoticeId, "ntc_", "a notice");
typed_id!(/// One sealed value in the ledger.
    SealedId, "sea_", "a sealed value");

impl RequestId {
    /// A short code that is shown to whoever asked and to the human, so that both know that they talk about the same request:
    /// `XXX-XXX` of 30 bits. It stays the same when less is approved than was asked for.
    #[must_use]
    pub fn match_code(self) -> String {
        short_code(&Sha256::digest(format!("keywright/match/1\n{self}")), 3)
    }
}

/// The beginning of a digest in two groups of letters and digits, for people to compare: 5 bits each.
#[must_use]
pub fn short_code(digest: &[u8], each: usize) -> String {
    let text = data_encoding::BASE32_NOPAD.encode(digest);
    format!("{}-{}", text.get(..each).unwrap_or_default(), text.get(each..2 * each).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_survives_its_text_and_sorts_by_time() {
        let early = KeyId::generate(Timestamp::from_second(1_000).unwrap(), [9; 10]);
        let late = KeyId::generate(Timestamp::from_second(2_000).unwrap(), [1; 10]);
        assert_eq!(KeyId::parse(&early.to_string()).unwrap(), early);
        assert_eq!(early.made_at(), Some(Timestamp::from_second(1_000).unwrap()));
        assert!(early < late && early.to_string() < late.to_string());
    }

    #[test]
    fn an_id_of_another_kind_is_refused() {
        let key = KeyId::generate(Timestamp::UNIX_EPOCH, [0; 10]);
        let error = RequestId::parse(&key.to_string()).unwrap_err();
        assert!(error.to_string().contains("is not a request id"), "{error}");
        assert!(RequestId::parse("req_\u{1b}[31m").unwrap_err().to_string().chars().all(|c| !c.is_control()));
    }
}
