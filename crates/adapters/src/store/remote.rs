//! What the stores that are reached by network share: the stamp beside a value, the guard of a write, errors of a place.

use keywright_core::id::PlacementId;
use keywright_core::marker::Marker;
use keywright_core::name::StoreName;
use keywright_core::secret::Secret;
use keywright_core::store::{Change, Origin, Presence, StoreError, Written};
use keywright_core::text::Untrusted;
use serde::{Deserialize, Deserializer};
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;

use crate::names::{hex, is_lower};
use crate::rest::Failure;

/// What stands beside a value where the store has room for it: whose copy it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Stamp {
    pub(super) placement: PlacementId,
    pub(super) marker: Marker,
    /// Over the value ([`check`]), where the store does not tell a value that was changed by hand.
    check: Option<String>,
}

impl Stamp {
    pub(super) fn of(origin: &Origin) -> Self {
        Self { placement: origin.placement, marker: origin.marker.clone(), check: None }
    }

    /// As [`Stamp::of`], good for this value only.
    pub(super) fn over(origin: &Origin, value: &Secret) -> Self {
        Self { check: Some(check(&origin.placement, value)), ..Self::of(origin) }
    }

    /// Whether it was made over this value.
    pub(super) fn covers(&self, value: &Secret) -> bool {
        self.check.as_ref().is_some_and(|own| *own == check(&self.placement, value))
    }

    /// `plc_... kw-...`, and the check if there is one: some 100 characters.
    pub(super) fn text(&self) -> String {
        let Self { placement, marker, check } = self;
        let check = check.as_ref().map(|check| format!(" {check}")).unwrap_or_default();
        format!("{placement} {marker}{check}")
    }

    /// Reads [`Stamp::text`]. Whether the marker is genuine is for the holder of the key to say.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let mut parts = text.split(' ');
        let placement = PlacementId::parse(parts.next()?).ok()?;
        let marker = parts.next().filter(|marker| is_lower(marker, "-", 64))?;
        let marker = Marker::from_ledger(marker.to_owned());
        let check = parts.next().map(str::to_owned);
        parts.next().is_none().then_some(Self { placement, marker, check })
    }

    /// Whether this origin's write left it.
    pub(super) fn is_of(&self, origin: &Origin) -> bool {
        self.placement == origin.placement
    }

    /// What it means for whoever looks at the place.
    pub(super) fn presence(self, store_version: Option<String>) -> Presence {
        Presence::Ours { marker: Some(self.marker), store_version }
    }

    /// As [`Stamp::presence`], where the store has no name for the copy: it is called like its placement.
    pub(super) fn presence_by_placement(self) -> Presence {
        let version = self.placement.to_string();
        self.presence(Some(version))
    }
}

/// The start of a digest over a value, by which a placement knows it again. 32 bits give nothing of a credential away.
pub(super) fn check(placement: &PlacementId, value: &Secret) -> String {
    let mut hash = Sha256::new();
    for part in ["keywright/stamp/1\n", &placement.to_string(), "\n", value.expose_secret()] {
        hash.update(part.as_bytes());
    }
    hex(hash.finalize().iter().take(4))
}

/// The guard: what lies there must be what was expected. Nothing at all is never lost by a write.
pub(super) fn is_permitted(expected: &Presence, seen: &Presence) -> bool {
    match (expected, seen) {
        (_, Presence::Absent) | (Presence::Foreign, Presence::Foreign) => true,
        (
            Presence::Ours { marker, store_version },
            Presence::Ours { marker: seen, store_version: seen_version },
        ) => {
            (marker.is_none() || marker == seen) && (store_version.is_none() || store_version == seen_version)
        }
        _ => false,
    }
}

/// A place of a store, for the errors about it.
#[derive(Clone, Copy)]
pub(super) struct At<'a> {
    pub(super) store: &'a StoreName,
    pub(super) place: &'a str,
}

impl At<'_> {
    fn shown(self) -> Untrusted {
        Untrusted::capped(self.place, 512)
    }

    pub(super) fn bad(self, why: impl Into<String>) -> StoreError {
        StoreError::Place { store: self.store.clone(), place: self.shown(), why: why.into() }
    }

    pub(super) fn conflict(self) -> StoreError {
        StoreError::Conflict { store: self.store.clone(), place: self.shown() }
    }

    pub(super) fn mismatch(self) -> StoreError {
        StoreError::Mismatch { store: self.store.clone(), place: self.shown() }
    }

    pub(super) fn not_safe(self, why: impl Into<String>, hint: &str) -> StoreError {
        let (store, place) = (self.store.clone(), self.shown());
        StoreError::Unsafe { store, place, why: why.into(), hint: hint.to_owned() }
    }

    pub(super) fn missing(self, message: &str) -> StoreError {
        StoreError::Missing { store: self.store.clone(), message: Untrusted::capped(message, 200) }
    }

    pub(super) fn unavailable(self, why: impl Into<String>) -> StoreError {
        StoreError::Unavailable { store: self.store.clone(), why: why.into() }
    }

    pub(super) fn value(self, why: impl Into<String>) -> StoreError {
        StoreError::Value { store: self.store.clone(), why: why.into() }
    }

    pub(super) fn unknown(self, why: impl Into<String>) -> StoreError {
        StoreError::OutcomeUnknown { store: self.store.clone(), why: why.into() }
    }

    /// What a failed write means when what lies there now can't be seen either. A credential that is good for nothing has
    /// written nothing.
    pub(super) fn unseen(self, error: StoreError, why: &Failure) -> StoreError {
        match error {
            StoreError::Unauthorized { .. } if why.is_denied() => error,
            error => self.unknown(format!("{error}, and what lies there now can't be seen")),
        }
    }

    pub(super) fn pending(self, change: Change) -> StoreError {
        StoreError::PendingApproval { store: self.store.clone(), change }
    }
}

/// What a store calls a copy.
pub(super) fn written(store_version: String) -> Written {
    Written { store_version: Some(store_version) }
}

/// A secret's text, in an answer. It never leaves this room, so that it needs no owner but this type.
pub(super) struct Held(pub(super) Secret);

impl Held {
    /// Whether it is that secret, in constant time.
    pub(super) fn is(&self, other: &Secret) -> bool {
        same(self.0.expose_secret(), other.expose_secret())
    }
}

impl<'de> Deserialize<'de> for Held {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer).map(|text| Self(Secret::new(text)))
    }
}

/// Whether two texts are the same, in constant time for texts of one length.
pub(super) fn same(left: &str, right: &str) -> bool {
    bool::from(left.as_bytes().ct_eq(right.as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rest::{Cause, Proof};

    #[test]
    fn a_credential_that_is_good_for_nothing_has_written_nothing() {
        let store = "vault".parse().unwrap();
        let at = At { store: &store, place: "a#b" };
        let message = Untrusted::capped("status 401", 20);
        let denied = StoreError::Unauthorized { store: store.clone(), message: message.clone() };
        let cause = Cause::Denied { status: 401, code: None, message };
        let refused = Failure { cause, proof: Proof::Claimed };
        let broken = Failure::garbled("x".to_owned());
        assert_eq!(at.unseen(denied.clone(), &refused), denied);
        assert!(matches!(at.unseen(denied, &broken), StoreError::OutcomeUnknown { .. }));
        assert!(matches!(at.unseen(at.conflict(), &refused), StoreError::OutcomeUnknown { .. }));
    }

    #[test]
    fn a_stamp_reads_what_it_writes_and_nothing_else() {
        let placement = PlacementId::generate(jiff::Timestamp::UNIX_EPOCH, [7; 10]);
        let marker = Marker::from_ledger("kw-abcd-aab-xyz-123".to_owned());
        let value = Secret::new("a value".to_owned());
        let plain = Stamp { placement, marker, check: None };
        let sealed = Stamp { check: Some(check(&placement, &value)), ..plain.clone() };
        for stamp in [&plain, &sealed] {
            assert_eq!(Stamp::parse(&stamp.text()).as_ref(), Some(stamp));
        }
        assert!(sealed.covers(&value) && !plain.covers(&value));
        assert!(!sealed.covers(&Secret::new("another".to_owned())));
        for bad in ["", "x y", &placement.to_string(), &format!("{placement} KW"), &format!("{placement} ")] {
            assert_eq!(Stamp::parse(bad), None, "{bad}");
        }
    }
}
