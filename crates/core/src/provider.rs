//! The joint to providers. An adapter is one module that reads like its API's documentation and implements
//! [`Provider`]; optional abilities are traits of their own.
//!
//! The contract, which the shared contract tests hold every adapter to:
//! * [`Provider::mint`] sends the create at most once per call and never retries it. A lost reply is
//!   [`ProviderError::OutcomeUnknown`], never a refusal.
//! * Every other verb may be called twice with the same effect.
//! * No error carries a secret: messages pass the wire's redaction before they get here.

use async_trait::async_trait;
use jiff::Timestamp;

mod error;

pub use self::error::ProviderError;
pub use crate::parent::{Parent, ParentHealth, RenewsParent, Switched};
pub use crate::permissions_now::{PermissionNow, PermissionsNow, Whose};

use crate::grant::{Difference, Grant, ObservedGrant, Permission, Resource};
use crate::marker::Marker;
use crate::plan::Plan;
use crate::policy::Authorized;
use crate::secret::Secret;
use crate::span::Span;
use crate::text::Untrusted;
pub use crate::usage::Usage;

/// A service that issues keys, seen through one connection.
#[async_trait]
pub trait Provider: Send + Sync {
    /// What this provider can and can't do.
    fn facts(&self) -> &'static ProviderFacts;

    /// Whether the parent credential works and may mint.
    ///
    /// # Errors
    /// What is wrong with it.
    async fn check(&self) -> Result<ParentHealth, ProviderError>;

    /// Turns a parameter into resources: a zone's name into its id.
    ///
    /// # Errors
    /// [`ProviderError::NoSuchResource`] when the connection does not reach it; the kind or the form may also be wrong.
    async fn resolve(&self, kind: &str, value: &str) -> Result<Resource, ProviderError>;

    /// Adds the resources that the permissions need and that no parameter names (an account), and refuses a
    /// permission whose scope none of the resources fits.
    ///
    /// # Errors
    /// When a permission would be left without a resource to confine it to.
    fn confine(
        &self,
        permissions: &[Permission],
        given: Vec<Resource>,
    ) -> Result<Vec<Resource>, ProviderError>;

    /// Creates the credential. Sent once, never resent. Takes the proof that policy allowed the plan.
    ///
    /// # Errors
    /// [`ProviderError::OutcomeUnknown`] when it may exist although no answer came.
    async fn mint(
        &self,
        plan: &Authorized<Plan>,
        grant: &Grant,
        marker: &Marker,
    ) -> Result<Minted, ProviderError>;

    /// What the provider says the credential may do.
    ///
    /// # Errors
    /// [`ProviderError::NotFound`] when it does not exist (any more).
    async fn read_back(&self, provider_key_id: &str) -> Result<ObservedGrant, ProviderError>;

    /// Whether the new secret works. Waits for eventually consistent providers within a bound.
    ///
    /// # Errors
    /// When the provider refuses the secret for longer than the bound.
    async fn probe(&self, secret: &Secret, provider_key_id: &str) -> Result<(), ProviderError>;

    /// Every credential of the connection that carries a label starting with `kw-`, or all of them.
    ///
    /// # Errors
    /// When the list could not be read to its end: a partial list is never returned.
    async fn list(&self, which: Listing) -> Result<Vec<Listed>, ProviderError>;

    /// The parent credential's own id, where it stands in the list: it must not be taken for a key.
    ///
    /// # Errors
    /// When it could not be read.
    async fn own_key_id(&self) -> Result<Option<String>, ProviderError> {
        Ok(None)
    }

    /// Ends the credential, or says that there is none. Both may be wrong: whoever wants to be sure looks.
    ///
    /// # Errors
    /// When it may still live.
    async fn revoke(&self, provider_key_id: &str) -> Result<Ended, ProviderError>;

    /// Reversible switching off, where the provider has it.
    fn disabling(&self) -> Option<&dyn Disable> {
        None
    }

    /// Ending a credential with its own secret, where the parent can't.
    fn ending_itself(&self) -> Option<&dyn EndsItself> {
        None
    }

    /// When a credential was last used, where the provider knows.
    fn last_used(&self) -> Option<&dyn LastUsed> {
        None
    }

    /// What a credential used and cost, where the provider counts it by credential.
    fn metered(&self) -> Option<&dyn Metered> {
        None
    }

    /// The permissions that there are now, where the provider lists them.
    fn permissions_now(&self) -> Option<&dyn PermissionsNow> {
        None
    }

    /// A successor for the parent credential, where a parent can make one.
    fn renewing(&self) -> Option<&dyn RenewsParent> {
        None
    }
}

/// Reversible switching off.
#[async_trait]
pub trait Disable: Send + Sync {
    /// Switches the credential off; it still exists.
    ///
    /// # Errors
    /// When it may still work.
    async fn disable(&self, provider_key_id: &str) -> Result<(), ProviderError>;

    /// Switches it on again.
    ///
    /// # Errors
    /// When it may still be off.
    async fn enable(&self, provider_key_id: &str) -> Result<(), ProviderError>;
}

/// A credential that only its own secret can end: the broker keeps a sealed copy of it until then.
#[async_trait]
pub trait EndsItself: Send + Sync {
    /// Ends the credential. Success when it is already gone.
    ///
    /// # Errors
    /// When it may still live.
    async fn end(&self, secret: &Secret) -> Result<(), ProviderError>;
}

/// Per-key timestamps of use.
#[async_trait]
pub trait LastUsed: Send + Sync {
    /// The last use that the provider knows of.
    ///
    /// # Errors
    /// When it could not be read.
    async fn last_used(&self, provider_key_id: &str) -> Result<Option<Timestamp>, ProviderError>;

    /// How far the answer may lag behind.
    fn lag(&self) -> Span;
}

/// Usage or cost per key.
#[async_trait]
pub trait Metered: Send + Sync {
    /// What was counted since the credential was made.
    ///
    /// # Errors
    /// When it could not be read to its end: a part of it is never returned.
    async fn usage(&self, provider_key_id: &str) -> Result<Usage, ProviderError>;

    /// How far the answer may lag behind.
    fn lag(&self) -> Span;
}

/// What a provider can and can't do: facts about its API, not about a connection.
#[derive(Debug)]
pub struct ProviderFacts {
    /// The kind.
    pub kind: &'static str,
    /// Why it can't make keys, and what there is instead, where people make them; `None` where it has a call that does.
    pub no_mint: Option<&'static str>,
    /// How an orphan is found after a lost reply.
    pub recovery: Recovery,
    /// What evidence of use there is.
    pub evidence: Evidence,
    /// Whether the provider ends keys by itself.
    pub has_expiry: bool,
    /// Whether it takes a lifetime in place of an end, and counts it from when the call arrives, by its own clock.
    pub counts_lifetime: bool,
    /// Whether the provider can confine a key to networks.
    pub has_ip_condition: bool,
    /// Whether the provider can cap spending per key.
    pub has_budget: bool,
    /// How long a create that was sent may still take effect.
    pub longest_late_delivery: Span,
}

impl ProviderFacts {
    /// The grant as this provider can keep it: where it has no expiry of its own, none is asked for and none is read
    /// back, and the key ends because the broker revokes it.
    #[must_use]
    pub fn asked(&self, mut grant: Grant) -> Grant {
        if !self.has_expiry {
            grant.expires_at = None;
        }
        grant
    }

    /// Compares what was asked with what the provider made of it, as far as it can keep it ([`ProviderFacts::asked`]).
    /// Where it counts lifetimes, its end may be off by two minutes; at the very second the broker ends the key anyway.
    #[must_use]
    pub fn differences(&self, asked: Grant, observed: &ObservedGrant) -> Vec<Difference> {
        let mut asked = self.asked(asked);
        if let (true, Some(end), Some(got)) = (self.counts_lifetime, asked.expires_at, observed.expires_at)
            && end.as_second().abs_diff(got.as_second()) <= CLOCKS_APART
        {
            asked.expires_at = Some(got);
        }
        asked.differences(observed)
    }
}

/// How many seconds the clock of a provider and ours may differ, together with the time that a call takes.
const CLOCKS_APART: u64 = 120;

/// The provider classes of PROTOCOL: what to do when a create was sent and the reply was lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Recovery {
    /// P1: an idempotency key returns the secret again.
    Replay,
    /// P2: a settable label and a list.
    Label,
    /// P3: a list without labels; mints are serialised.
    Difference,
    /// P4: one fresh container per attempt.
    Container,
    /// P5: neither; only the provider's expiry ends an orphan. [`Provider::list`] is [`ProviderError::Unsupported`].
    /// Where nothing can be read back or revoked either, so are [`Provider::read_back`] and [`Provider::revoke`], and
    /// [`Provider::mint`] itself compares the answer with what was asked; one that does not fit is
    /// [`ProviderError::OutcomeUnknown`].
    Expiry,
}

/// What evidence of use a provider has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Evidence {
    /// A last-used time per key.
    Exact,
    /// Usage or cost per key.
    Counters,
    /// None.
    None,
}

/// A fresh credential.
pub struct Minted {
    /// The provider's id of it.
    pub provider_key_id: String,
    /// The secret; shown once.
    pub secret: Secret,
}

/// What a provider said when it was to end a credential.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// It ended it.
    Taken,
    /// It knows no such credential by now, and was told before to end it: it may have done so without an answer.
    MaybeTaken,
    /// It knows no such credential.
    NotFound,
}

/// Which credentials to list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Listing {
    /// Those whose label starts like a marker.
    Marked,
    /// Every one that the connection sees.
    All,
}

impl Listing {
    /// Whether a credential with this label is asked for.
    #[must_use]
    pub fn wants(self, label: &str) -> bool {
        self == Self::All || label.starts_with(MARKED)
    }
}

/// How a label starts that is a marker.
const MARKED: &str = "kw-";
/// The most characters of a label that are kept: more than a marker has.
const LONGEST_LABEL: usize = 200;

/// A credential as the provider lists it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed {
    /// The provider's id of it.
    pub provider_key_id: String,
    /// Its label.
    pub label: Untrusted,
    /// When it was made.
    pub created_at: Option<Timestamp>,
    /// When it ends.
    pub expires_at: Option<Timestamp>,
    /// When it was last used.
    pub last_used_at: Option<Timestamp>,
    /// Whether it works at present.
    pub enabled: bool,
}

impl ObservedGrant {
    /// With the label that the provider shows.
    #[must_use]
    pub fn labelled(self, label: &str) -> Self {
        Self { label: Some(Untrusted::capped(label, LONGEST_LABEL)), ..self }
    }
}

impl Listed {
    /// One that works, of which no more is known.
    #[must_use]
    pub fn of(provider_key_id: String, label: &str) -> Self {
        Self {
            provider_key_id,
            label: Untrusted::capped(label, LONGEST_LABEL),
            created_at: None,
            expires_at: None,
            last_used_at: None,
            enabled: true,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn only_a_provider_that_counts_lifetimes_may_end_a_key_a_little_off() {
        let facts = |has_expiry, counts_lifetime| ProviderFacts {
            kind: "it",
            no_mint: None,
            recovery: Recovery::Label,
            evidence: Evidence::None,
            has_expiry,
            counts_lifetime,
            has_ip_condition: false,
            has_budget: false,
            longest_late_delivery: Span::from_seconds(1),
        };
        let asked = |end: Option<i64>| Grant {
            permissions: Vec::new(),
            resources: Vec::new(),
            expires_at: end.map(|second| Timestamp::from_second(second).unwrap()),
            ip_allow: Vec::new(),
            budget_cents: None,
        };
        let observed = |end: Option<i64>| ObservedGrant {
            label: None,
            permissions: BTreeSet::new(),
            resources: BTreeSet::new(),
            expires_at: end.map(|second| Timestamp::from_second(second).unwrap()),
            ip_allow: BTreeSet::new(),
            budget_cents: None,
            not_understood: Vec::new(),
        };
        for (has_expiry, counts_lifetime, end, got, same) in [
            (true, false, Some(1_000), Some(1_000), true),
            (true, false, Some(1_000), Some(1_001), false),
            (true, true, Some(1_000), Some(1_120), true),
            (true, true, Some(1_000), Some(880), true),
            (true, true, Some(1_000), Some(1_121), false),
            (true, true, Some(1_000), None, false),
            (false, false, Some(1_000), None, true),
            (false, false, Some(1_000), Some(1_000), false),
        ] {
            let found = facts(has_expiry, counts_lifetime).differences(asked(end), &observed(got));
            assert_eq!(found.is_empty(), same, "{end:?} {got:?}: {found:?}");
        }
    }
}
