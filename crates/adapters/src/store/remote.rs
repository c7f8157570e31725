//! What the stores that are reached by network share: the stamp beside a value, the guard of a write, errors of a place.

use keywright_core::id::PlacementId;
use keywright_core::marker::Marker;
use keywright_core::name::StoreName;
use keywright_core::secret::Secret;
use keywright_core::store::{Origin, Presence, StoreError, Write, Written};
use keywright_core::text::Untrusted;
use serde::{Deserialize, Deserializer};
use subtle::ConstantTimeEq as _;

/// What stands beside a value where the store has room for it: whose copy it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Stamp {
    pub(super) placement: PlacementId,
    pub(super) marker: Marker,
}

impl Stamp {
    pub(super) fn of(origin: &Origin) -> Self {
        Self { placement: origin.placement, marker: origin.marker.clone() }
    }

    /// `plc_... kw-...`, some 90 characters.
    pub(super) fn text(&self) -> String {
        format!("{} {}", self.placement, self.marker)
    }

    /// Reads [`Stamp::text`]. Whether the marker is genuine is for the holder of the key to say.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let (placement, marker) = text.split_once(' ')?;
        let is_label = (1..=64).contains(&marker.len())
            && marker.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-');
        Some(Self {
            placement: PlacementId::parse(placement).ok()?,
            marker: is_label.then(|| Marker::from_ledger(marker.to_owned()))?,
        })
    }

    /// What it means for whoever looks at the place.
    pub(super) fn presence(self, store_version: Option<String>) -> Presence {
        Presence::Ours { marker: Some(self.marker), store_version }
    }
}

/// The guard: what lies there must be what was expected. Nothing at all is never lost by a write.
pub(super) fn is_permitted(write: &Write<'_>, seen: &Presence) -> bool {
    match (&write.expected, seen) {
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

    pub(super) fn value(self, why: impl Into<String>) -> StoreError {
        StoreError::Value { store: self.store.clone(), why: why.into() }
    }

    pub(super) fn unknown(self, why: impl Into<String>) -> StoreError {
        StoreError::OutcomeUnknown { store: self.store.clone(), why: why.into() }
    }

    pub(super) fn pending(self) -> StoreError {
        StoreError::PendingApproval { store: self.store.clone() }
    }
}

/// What a store calls a copy.
pub(super) fn written(store_version: impl ToString) -> Written {
    Written { store_version: Some(store_version.to_string()) }
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

    #[test]
    fn a_stamp_reads_what_it_writes_and_nothing_else() {
        let placement = PlacementId::generate(jiff::Timestamp::UNIX_EPOCH, [7; 10]);
        let stamp = Stamp { placement, marker: Marker::from_ledger("kw-abcd-aab-xyz-123".to_owned()) };
        assert_eq!(Stamp::parse(&stamp.text()), Some(stamp.clone()));
        for bad in ["", "x y", &placement.to_string(), &format!("{placement} KW"), &format!("{placement} ")] {
            assert_eq!(Stamp::parse(bad), None, "{bad}");
        }
    }
}
