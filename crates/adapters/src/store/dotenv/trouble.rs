//! What goes wrong inside, before it is told which store and place it was.

use keywright_core::name::StoreName;
use keywright_core::store::StoreError;
use keywright_core::text::{Untrusted, escaped};

use super::editor::Tangled;
use super::lines::Unreadable;
use super::quote::Unquotable;

/// Everything that can go wrong with one place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::store) enum Trouble {
    Place(String),
    Unsafe {
        why: String,
        hint: String,
    },
    Conflict,
    Value(String),
    Mismatch,
    Unavailable(String),
    /// The new file may or may not survive a power cut.
    OutcomeUnknown(String),
}

impl Trouble {
    /// A failed call to the operating system. What a second try can't mend is not called unavailable.
    pub(in crate::store) fn io(doing: &str, error: impl Into<std::io::Error>) -> Self {
        use std::io::ErrorKind;
        let error = error.into();
        let why = format!("{doing}: {error}");
        match error.kind() {
            ErrorKind::PermissionDenied | ErrorKind::ReadOnlyFilesystem => {
                Self::Unsafe { why, hint: "let the broker's user own the file and its directory".into() }
            }
            _ => Self::Unavailable(why),
        }
    }

    /// Each time that it was read, somebody else had written it since.
    pub(in crate::store) fn restless() -> Self {
        Self::Unavailable("another program keeps changing the file".into())
    }

    pub(in crate::store) fn at(self, store: &StoreName, place: &str) -> StoreError {
        let store = store.clone();
        let place = Untrusted::capped(place, 512);
        // Paths are in these texts, and whoever made a directory chose its name.
        match self {
            Self::Place(why) => StoreError::Place { store, place, why: escaped(&why) },
            Self::Unsafe { why, hint } => {
                StoreError::Unsafe { store, place, why: escaped(&why), hint: escaped(&hint) }
            }
            Self::Conflict => StoreError::Conflict { store, place },
            Self::Value(why) => StoreError::Value { store, why },
            Self::Mismatch => StoreError::Mismatch { store, place },
            Self::Unavailable(why) => StoreError::Unavailable { store, why: escaped(&why) },
            Self::OutcomeUnknown(why) => StoreError::OutcomeUnknown { store, why },
        }
    }
}

impl From<Unreadable> for Trouble {
    fn from(error: Unreadable) -> Self {
        Self::Unsafe {
            why: error.to_string(),
            hint: "write that line so that every reader of .env files reads it alike, as in `NAME=\"value\"`"
                .into(),
        }
    }
}

impl From<Tangled> for Trouble {
    fn from(error: Tangled) -> Self {
        Self::Unsafe {
            why: error.to_string(),
            hint: "leave a single line `NAME=value` of it, or none".into(),
        }
    }
}

impl From<Unquotable> for Trouble {
    fn from(error: Unquotable) -> Self {
        Self::Value(error.to_string())
    }
}
