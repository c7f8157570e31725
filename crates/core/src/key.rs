//! Keys, versions, attempts and placements: what the ledger remembers of a credential's life.

use jiff::Timestamp;

use crate::id::{AttemptId, KeyId, PlacementId, RequestId, VersionId};
use crate::marker::Marker;
use crate::name::{AgentName, ConnectionName, EnvironmentName, KeyName, Kind, ProjectName, TemplateId};
use crate::plan::Destination;
use crate::store::{Change, VerifyMode};

macro_rules! state {
    ($(#[$doc:meta])* $name:ident { $($(#[$vdoc:meta])* $variant:ident = $text:literal),+ $(,)? }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum $name { $($(#[$vdoc])* $variant),+ }

        impl $name {
            /// Every state, in order.
            pub const ALL: &'static [Self] = &[$(Self::$variant),+];

            /// The word in the ledger and in JSON.
            #[must_use]
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $text),+ }
            }

            /// Reads the word.
            #[must_use]
            pub fn parse(text: &str) -> Option<Self> {
                match text { $($text => Some(Self::$variant),)+ _ => None }
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(self.as_str())
            }
        }
    };
}
pub(crate) use state;

state!(/// The life of a key.
KeyState {
    /// Its first version is being made.
    Minting = "minting",
    /// A version works and lies where it should.
    Active = "active",
    /// Its versions are being revoked.
    Revoking = "revoking",
    /// The provider confirmed that every version is gone.
    Revoked = "revoked",
    /// No version ever became active.
    Failed = "failed",
});

state!(/// The life of a version.
VersionState {
    /// Exists at the provider, not yet everywhere it should be.
    Minted = "minted",
    /// In use.
    Active = "active",
    /// A successor is in force; it still works until nobody uses it any more.
    Draining = "draining",
    /// A debt: it has to be revoked.
    Revoking = "revoking",
    /// Confirmed gone.
    Revoked = "revoked",
});

state!(/// What is known about one try to make a version. Never deleted, never un-known.
AttemptOutcome {
    /// The intent is durable; nothing was sent.
    Unsent = "unsent",
    /// The create was sent; nothing more is known.
    Sent = "sent",
    /// The provider answered and the answer is sealed.
    Created = "created",
    /// It was found by its marker and revoked.
    Swept = "swept",
    /// Looked for and not found; it is looked for again.
    AbsentSoFar = "absent_so_far",
    /// The provider refused it: nothing was made.
    Refused = "refused",
    /// Nothing was sent: the credential was made elsewhere, and an operator put it under management.
    Adopted = "adopted",
});

impl PlacementState {
    /// Whether a value that was written may still lie there, and is to be taken back when its key ends.
    #[must_use]
    pub fn may_lie(self) -> bool {
        !matches!(
            self,
            Self::Planned | Self::Rejected | Self::Replaced | Self::Removed | Self::Left | Self::Kept
        )
    }

    /// Whether its key ended, and people have to do something in the store before it is gone.
    #[must_use]
    pub fn is_ending_by_people(self) -> bool {
        matches!(self, Self::Leaving | Self::Unwanted)
    }
}

state!(/// A placement's way into a store.
PlacementState {
    /// Decided, not written.
    Planned = "planned",
    /// A write was sent; it may or may not have landed.
    Writing = "writing",
    /// The store has the write, and does it once somebody approved it there.
    Waiting = "waiting",
    /// Somebody rejected the write in the store: nothing of it lies there.
    Rejected = "rejected",
    /// The store took it.
    Written = "written",
    /// It was looked at afterwards and is right.
    Verified = "verified",
    /// Somebody else's value, over which a successor of the key may be written: an operator said that the place is the
    /// key's. It is never taken away.
    Adopted = "adopted",
    /// The successor's value lies there instead.
    Replaced = "replaced",
    /// The store has the removal, and does it once somebody approved it there.
    Leaving = "leaving",
    /// Its key ended while the write waited for approval, and the store still has the write: somebody has to reject it there,
    /// and what lands all the same is taken back.
    Unwanted = "unwanted",
    /// It was taken back.
    Removed = "removed",
    /// It was to be taken back, and what lies there now is not what was written: that was left alone.
    Left = "left",
    /// It was to be taken back, and somebody rejected that in the store: the dead value stays there.
    Kept = "kept",
});

/// A managed credential with an id that survives rotation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Key {
    /// Its id.
    pub id: KeyId,
    /// The variable under which applications read it.
    pub name: KeyName,
    /// Its project.
    pub project: ProjectName,
    /// Its environment.
    pub environment: EnvironmentName,
    /// The provider's kind.
    pub provider: Kind,
    /// The connection that mints its versions.
    pub connection: ConnectionName,
    /// The template it was made from.
    pub template: TemplateId,
    /// The request that it answers.
    pub request: RequestId,
    /// The agent behind it, if it was one.
    pub agent: Option<AgentName>,
    /// Where it stands.
    pub state: KeyState,
    /// When it was reserved.
    pub created_at: Timestamp,
}

/// One credential at the provider.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Version {
    /// Its id.
    pub id: VersionId,
    /// The key that it belongs to.
    pub key: KeyId,
    /// The attempt that made it.
    pub attempt: AttemptId,
    /// Counts from 1 within its key.
    pub number: u64,
    /// The provider's id of it.
    pub provider_key_id: String,
    /// When the provider ends it.
    pub expires_at: Option<Timestamp>,
    /// Where it stands.
    pub state: VersionState,
}

/// One try to make a version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attempt {
    /// Its id, which the marker carries.
    pub id: AttemptId,
    /// The key that it is for.
    pub key: KeyId,
    /// Counts from 1 within its saga.
    pub number: u64,
    /// The name at the provider.
    pub marker: Marker,
    /// The connection that was asked.
    pub connection: ConnectionName,
    /// When the create was sent.
    pub sent_at: Option<Timestamp>,
    /// What is known.
    pub outcome: AttemptOutcome,
    /// The provider's id, once known.
    pub provider_key_id: Option<String>,
    /// The expiry that was asked for.
    pub expires_at: Option<Timestamp>,
}

/// A version's copy at a place in a store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Placement {
    /// Its id.
    pub id: PlacementId,
    /// The version whose copy it is.
    pub version: VersionId,
    /// The key of that version.
    pub key: KeyId,
    /// Where it lies.
    pub destination: Destination,
    /// What the store calls the copy (its version or revision), once written.
    pub store_version: Option<String>,
    /// How it was verified.
    pub verified: Option<VerifyMode>,
    /// Where it stands.
    pub state: PlacementState,
    /// The change that waits, or waited, for somebody's approval in the store.
    pub change: Option<Change>,
}
