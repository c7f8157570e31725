//! Receipts: all that an agent ever gets back. By type there is no room for a secret: every field is an id, a
//! name or a state, and [`crate::secret::Secret`] can't be serialised.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::grant::{Permission, Resource};
use crate::id::{KeyId, RequestId, VersionId};
use crate::key::state;
use crate::name::{EnvironmentName, KeyName, Kind, ProjectName};
use crate::span::Span;

state!(/// How a request stands.
Status {
    /// The key exists, works and lies where it should.
    Active = "active",
    /// Humans have to approve first.
    PendingApproval = "pending_approval",
    /// Policy says no.
    Denied = "denied",
    /// A human said no.
    Rejected = "rejected",
    /// Nobody decided in time. Not a denial.
    Expired = "expired",
    /// It was allowed but could not be done.
    Failed = "failed",
    /// It is being done.
    InProgress = "in_progress",
    /// The key was revoked since.
    Revoked = "revoked",
});

impl Status {
    /// Whether nothing more will happen by itself.
    #[must_use]
    pub fn is_settled(self) -> bool {
        !matches!(self, Self::PendingApproval | Self::InProgress)
    }
}

impl Serialize for Status {
    fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.serialize_str(self.as_str())
    }
}

impl<'de> Deserialize<'de> for Status {
    fn deserialize<D: serde::Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        let text = <std::borrow::Cow<'de, str>>::deserialize(d)?;
        Self::parse(&text).ok_or_else(|| serde::de::Error::custom("unknown status"))
    }
}

/// The schema that every receipt names.
pub const SCHEMA: &str = "keywright/receipt/1";

/// All that an agent ever gets back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Receipt {
    /// Always [`SCHEMA`].
    pub schema: String,
    /// The request.
    pub request: RequestId,
    /// How it stands.
    pub status: Status,
    /// The key, once reserved.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub key: Option<KeyId>,
    /// Its active version.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub version: Option<VersionId>,
    /// The variable under which applications read it.
    pub name: KeyName,
    /// The project that it is for.
    pub project: ProjectName,
    /// The environment within it.
    pub environment: EnvironmentName,
    /// The provider's kind.
    pub provider: Kind,
    /// What the key may do.
    pub permissions: Vec<Permission>,
    /// What it is confined to.
    pub resources: Vec<Resource>,
    /// When the provider ends it; nothing while no version lives.
    #[serde(default)]
    pub expires_at: Option<Timestamp>,
    /// Where it lies.
    pub placements: Vec<PlacementReceipt>,
    /// How many operators have to approve, and how many have.
    pub approvals: ApprovalsReceipt,
    /// Where humans review it.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub review_url: Option<String>,
    /// Shown on both sides, so that agent and human know that they mean the same plan.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub match_code: Option<String>,
    /// What was asked for, where an operator approved less.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub narrowed: Option<Narrowed>,
    /// Why it stands as it does.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub reasons: Vec<String>,
    /// The audit entry of the latest deed.
    pub entry: String,
}

/// How much less was approved than was asked for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Narrowed {
    /// The operator who approved less.
    pub by: String,
    /// The life that was asked for.
    pub asked_ttl: Span,
    /// The life that was given.
    pub given_ttl: Span,
    /// The names of the permissions that were asked for and not given.
    #[serde(default)]
    pub without: Vec<String>,
}

impl Narrowed {
    /// In words, as in `7d instead of 30d, without DNS Read`.
    #[must_use]
    pub fn words(&self) -> String {
        let life = (self.asked_ttl != self.given_ttl)
            .then(|| format!("{} instead of {}", self.given_ttl, self.asked_ttl));
        let without = (!self.without.is_empty()).then(|| format!("without {}", self.without.join(", ")));
        life.into_iter().chain(without).collect::<Vec<_>>().join(", ")
    }
}

/// One place of a receipt.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlacementReceipt {
    /// The store's name.
    pub store: String,
    /// The place in it.
    pub place: String,
    /// `read-back`, `version-moved`, `status-only`, or absent while it is not verified.
    #[serde(default)]
    pub verified: Option<String>,
}

/// The approvals of a receipt.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct ApprovalsReceipt {
    /// Distinct operators that the policy wants.
    pub needed: u8,
    /// Distinct operators that have approved this very plan.
    pub given: u8,
}
