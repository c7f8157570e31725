//! The joint to stores (secrets managers). An adapter implements [`Store`].
//!
//! The contract, which the shared contract tests hold every adapter to:
//! * [`Store::write`] never overwrites what Keywright did not put there, unless the expectation says so.
//! * A write is retried with the same [`Write::token`]; it then has no further effect.
//! * What was "stored" is not "in use"; the verify mode says what is known, and no more.

use async_trait::async_trait;

use crate::id::{KeyId, PlacementId, VersionId};
use crate::key::state;
use crate::marker::Marker;
use crate::name::{EnvironmentName, KeyName, ProjectName, StoreName};
use crate::plan::Destination;
use crate::secret::Secret;
use crate::text::Untrusted;

state!(/// What is known about a placement after it was looked at. Kept in the receipt and in the audit entry.
VerifyMode {
    /// The value was read again and compared by keyed fingerprint.
    ReadBack = "read-back",
    /// The store's version moved after our write, and the name is there.
    VersionMoved = "version-moved",
    /// The store answered success; no more is known.
    StatusOnly = "status-only",
});

/// A secrets manager, seen through one configured store.
#[async_trait]
pub trait Store: Send + Sync {
    /// What this store can and can't do.
    fn facts(&self) -> &'static StoreFacts;

    /// Whether it can be reached and written to, as far as that can be told without writing.
    ///
    /// # Errors
    /// What is wrong with it.
    async fn check(&self) -> Result<(), StoreError>;

    /// The place that a key of a project has by default.
    fn default_place(&self, project: &ProjectName, environment: &EnvironmentName, name: &KeyName) -> String;

    /// Checks a destination before anything is made, and turns it into the form that the plan keeps (relative
    /// files become absolute through `cwd`, the asker's directory). Reads only.
    ///
    /// # Errors
    /// When a key could not be placed there, with the reason.
    async fn accept(
        &self,
        destination: Destination,
        name: &KeyName,
        cwd: Option<&str>,
    ) -> Result<Destination, StoreError>;

    /// What lies at the place now.
    ///
    /// # Errors
    /// When it could not be looked at.
    async fn look(&self, destination: &Destination) -> Result<Presence, StoreError>;

    /// Writes the secret under the guard of the expectation.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] when something else lies there; [`StoreError::OutcomeUnknown`] when it may have landed.
    async fn write(&self, write: &Write<'_>) -> Result<Written, StoreError>;

    /// Looks at what was written.
    ///
    /// # Errors
    /// [`StoreError::Mismatch`] when something else lies there.
    async fn verify(&self, write: &Write<'_>, written: &Written) -> Result<VerifyMode, StoreError>;

    /// Takes back what was written, and nothing else. Success when it is already gone.
    ///
    /// # Errors
    /// [`StoreError::PendingApproval`] when somebody has to approve it first: it is asked for, and not to be asked for again.
    /// Any other when it may still lie there.
    async fn remove(&self, origin: &Origin, destination: &Destination) -> Result<(), StoreError>;

    /// A change that this write, begun before, may have left waiting for approval, where the store tells.
    ///
    /// # Errors
    /// When it could not be looked for.
    async fn awaited(&self, _write: &Write<'_>) -> Result<Option<Change>, StoreError> {
        Ok(None)
    }

    /// How a change stands that waited for approval.
    ///
    /// # Errors
    /// When it could not be looked at.
    async fn standing(&self, _destination: &Destination, _change: &Change) -> Result<Standing, StoreError> {
        Ok(Standing::Untold)
    }

    /// Withdraws a change that nobody approved yet, and says how it stands then. What was carried out stays.
    ///
    /// # Errors
    /// When it may still be open.
    async fn withdraw(&self, _destination: &Destination, _change: &Change) -> Result<Standing, StoreError> {
        Ok(Standing::Untold)
    }

    /// Whether what this origin's write left still lies there, also where it came late, as this change, and nothing says yet
    /// whose it is.
    ///
    /// # Errors
    /// When it could not be looked at.
    async fn lies(
        &self,
        origin: &Origin,
        destination: &Destination,
        _change: &Change,
    ) -> Result<bool, StoreError> {
        Ok(match self.look(destination).await? {
            Presence::Ours { marker, .. } => marker.is_none_or(|marker| marker == origin.marker),
            Presence::Absent | Presence::Foreign => false,
        })
    }

    /// As [`Store::remove`], also of what came late, as this change.
    ///
    /// # Errors
    /// As [`Store::remove`].
    async fn remove_late(
        &self,
        origin: &Origin,
        destination: &Destination,
        _change: &Change,
    ) -> Result<(), StoreError> {
        self.remove(origin, destination).await
    }
}

/// A change that a store has, and carries out once somebody approved it there.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Change {
    id: Option<String>,
    check: Option<String>,
}

impl Change {
    /// `id` is what the store calls it, for its API and for people; `check` is by what its adapter knows a value again
    /// that came late. Both are letters, digits, `-` and `_`, at most 64; anything else is left out.
    #[must_use]
    pub fn new(id: Option<&str>, check: Option<&str>) -> Self {
        let kept = |part: Option<&str>| part.filter(|part| is_of_change(part)).map(str::to_owned);
        Self { id: kept(id), check: kept(check) }
    }

    /// What the store calls it.
    #[must_use]
    pub fn id(&self) -> Option<&str> {
        self.id.as_deref()
    }

    /// By what its adapter knows the value again.
    #[must_use]
    pub fn check(&self) -> Option<&str> {
        self.check.as_deref()
    }

    /// `ID:CHECK`, as the ledger keeps it; both may be empty.
    #[must_use]
    pub fn text(&self) -> String {
        format!("{}:{}", self.id().unwrap_or_default(), self.check().unwrap_or_default())
    }

    /// Reads [`Change::text`].
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let (id, check) = text.split_once(':')?;
        let part = |text: &str| (!text.is_empty()).then(|| text.to_owned());
        let read = Self { id: part(id), check: part(check) };
        let is_sound = [&read.id, &read.check].into_iter().flatten().all(|part| is_of_change(part));
        is_sound.then_some(read)
    }
}

/// As in "the change `cr_1`"; without the name where the store has none.
impl std::fmt::Display for Change {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.id {
            Some(id) => write!(f, "the change `{id}`"),
            None => f.write_str("the change"),
        }
    }
}

fn is_of_change(part: &str) -> bool {
    let fits = |b: u8| b.is_ascii_alphanumeric() || b"-_".contains(&b);
    (1..=64).contains(&part.len()) && part.bytes().all(fits)
}

/// How a change stands that waited for somebody's approval.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// Nobody has decided yet.
    Open,
    /// It was carried out.
    Done,
    /// It was rejected or withdrawn: it is not carried out any more.
    Closed,
    /// The store does not tell, or not with this credential.
    Untold,
}

/// What a store can and can't do.
#[derive(Debug)]
pub struct StoreFacts {
    /// The kind.
    pub kind: &'static str,
    /// The best that can be known after a write.
    pub verify: VerifyMode,
    /// Whether a write can be guarded by what was there before (check-and-set).
    pub guarded: bool,
    /// Whether the store keeps older versions.
    pub versions: bool,
    /// The longest value in bytes.
    pub max_value: usize,
    /// When whoever reads from it sees a new value.
    pub seen: &'static str,
    /// How long the store, or the vendor's own means of reading from it, may hand out the value before it, in seconds. The old
    /// version lives at least as long.
    pub settles: u64,
}

/// What lies at a place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Presence {
    /// Nothing.
    Absent,
    /// Something that Keywright put there.
    Ours {
        /// The version whose copy it is, where the store can tell.
        marker: Option<Marker>,
        /// What the store calls the copy.
        store_version: Option<String>,
    },
    /// Something that somebody else put there.
    Foreign,
}

/// Where a value comes from; written beside it where the store has room for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Origin {
    /// The placement: also the token that makes a repeated write a single one.
    pub placement: PlacementId,
    /// The key.
    pub key: KeyId,
    /// The version.
    pub version: VersionId,
    /// The attempt's marker.
    pub marker: Marker,
}

/// One write.
pub struct Write<'a> {
    /// Where to.
    pub destination: &'a Destination,
    /// What is expected to lie there before.
    pub expected: Presence,
    /// Where it comes from.
    pub origin: &'a Origin,
    /// The value.
    pub secret: &'a Secret,
}

/// What the store said about a write.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Written {
    /// What it calls the copy.
    pub store_version: Option<String>,
}

/// What a store's answer means for us.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    /// The place is not one of this store.
    #[error("store `{store}`: `{place}` is not a place here: {why}")]
    Place {
        /// Which store.
        store: StoreName,
        /// What was given.
        place: Untrusted,
        /// What it should look like.
        why: String,
    },
    /// A rule of safe keeping is broken, as in "the file is tracked by git".
    #[error("store `{store}`: `{place}` is not a safe place: {why}")]
    Unsafe {
        /// Which store.
        store: StoreName,
        /// Where.
        place: Untrusted,
        /// Which rule.
        why: String,
        /// What to do.
        hint: String,
    },
    /// Something else lies there.
    #[error("store `{store}`: `{place}` already holds a value that Keywright did not put there")]
    Conflict {
        /// Which store.
        store: StoreName,
        /// Where.
        place: Untrusted,
    },
    /// The value can't be kept there.
    #[error("store `{store}` can't hold this value: {why}")]
    Value {
        /// Which store.
        store: StoreName,
        /// Why; never the value.
        why: String,
    },
    /// What the place is in is not there, as a project or a folder.
    #[error("store `{store}` has no such place: {message}")]
    Missing {
        /// Which store.
        store: StoreName,
        /// Its message, redacted and escaped.
        message: Untrusted,
    },
    /// It does not do this, and says why.
    #[error("store `{store}` refused: {message}")]
    Refused {
        /// Which store.
        store: StoreName,
        /// Its message, redacted and escaped.
        message: Untrusted,
    },
    /// What was read is not what was written.
    #[error("store `{store}`: `{place}` does not hold what was written")]
    Mismatch {
        /// Which store.
        store: StoreName,
        /// Where.
        place: Untrusted,
    },
    /// It has the change, and carries it out once somebody approved it there.
    #[error("store `{store}` waits for somebody's approval of {change}")]
    PendingApproval {
        /// Which store.
        store: StoreName,
        /// Which change.
        change: Change,
    },
    /// It had the change, and somebody rejected it there.
    #[error("store `{store}`: somebody rejected {change} there, so nothing was written")]
    Rejected {
        /// Which store.
        store: StoreName,
        /// Which change.
        change: Change,
    },
    /// The credential does not work, or may not do this.
    #[error("store `{store}` does not accept its credential: {message}")]
    Unauthorized {
        /// Which store.
        store: StoreName,
        /// Its message, redacted and escaped.
        message: Untrusted,
    },
    /// The write may have landed.
    #[error("store `{store}`: it is not known whether the value was written ({why})")]
    OutcomeUnknown {
        /// Which store.
        store: StoreName,
        /// What went wrong on the wire.
        why: String,
    },
    /// It could not be reached, or failed.
    #[error("store `{store}` can't be reached or failed: {why}")]
    Unavailable {
        /// Which store.
        store: StoreName,
        /// What went wrong.
        why: String,
    },
}

impl StoreError {
    /// Whether trying the same thing later can help.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        matches!(self, Self::OutcomeUnknown { .. } | Self::Unavailable { .. } | Self::PendingApproval { .. })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_is_kept_as_its_store_and_its_adapter_know_it() {
        for (id, check) in
            [(Some("cr_1"), Some("00ff")), (Some("0f0a-1b"), None), (None, Some("00ff")), (None, None)]
        {
            let change = Change::new(id, check);
            assert_eq!((change.id(), change.check()), (id, check));
            assert_eq!(Change::parse(&change.text()), Some(change));
        }
        assert_eq!(Change::new(Some("../close"), Some("a b")), Change::default());
        for bad in ["", "cr_1", "a/b:", ":a b", "a:b:c", &format!("{}:", "x".repeat(65))] {
            assert_eq!(Change::parse(bad), None, "{bad}");
        }
        let named = [Change::new(Some("cr_1"), None), Change::default()].map(|change| change.to_string());
        assert_eq!(named, ["the change `cr_1`", "the change"]);
    }
}
