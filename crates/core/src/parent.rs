//! The parent credential of a connection: how it is doing, and how it gets a successor.

use std::collections::BTreeSet;

use async_trait::async_trait;
use jiff::Timestamp;

use crate::marker::Marker;
use crate::provider::{Minted, ProviderError};
use crate::secret::Secret;

/// How the parent credential is doing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ParentHealth {
    /// What it is at the provider, as in `account-owned token`.
    pub what: String,
    /// When it expires.
    pub expires_at: Option<Timestamp>,
    /// Keys in existence and the most there may be, where known.
    pub quota: Option<(u64, u64)>,
    /// What an operator should know, as in "it can do more than mint".
    pub warnings: Vec<String>,
}

/// A parent credential, as it is before it gets a successor.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Parent {
    /// The provider's id of it.
    pub id: String,
    /// The ids of what stood beside it already, where a successor can't be told from others by its label.
    pub beside: BTreeSet<String>,
}

/// What became of a credential of this kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Switched {
    /// It is off.
    Off,
    /// This provider can't switch it off.
    Never,
}

/// Making a credential that may do what the parent may, where the provider lets a parent do that. Only an operator's word
/// leads here, never an agent's ask.
#[async_trait]
pub trait RenewsParent: Send + Sync {
    /// The parent, when it can have a successor now.
    ///
    /// # Errors
    /// Why it can't, as in "it is temporary".
    async fn parent(&self) -> Result<Parent, ProviderError>;

    /// The provider's id of the one that this connection lives by.
    ///
    /// # Errors
    /// When it could not be read.
    async fn own(&self) -> Result<String, ProviderError>;

    /// Creates a credential that may do exactly what the parent may, with the lifetime that the parent was given. Sent
    /// once, never resent. The secret has the form of a connection's credential.
    ///
    /// # Errors
    /// [`ProviderError::OutcomeUnknown`] when it may exist although no answer came.
    async fn succeed(
        &self,
        parent: &Parent,
        marker: &Marker,
        now: Timestamp,
    ) -> Result<Minted, ProviderError>;

    /// What an attempt left behind: the credentials that carry its marker, or, where there are no labels, that came to
    /// stand beside the parent since. Never the one that this connection lives by.
    ///
    /// # Errors
    /// When it could not be seen to the end.
    async fn left_by(
        &self,
        parent: &Parent,
        marker: &Marker,
        since: Timestamp,
    ) -> Result<Vec<String>, ProviderError>;

    /// Whether a fresh one works and is the one of this id. Waits within a bound.
    ///
    /// # Errors
    /// When the provider refuses it for longer than the bound.
    async fn tried(&self, secret: &Secret, id: &str) -> Result<(), ProviderError>;

    /// What one may do and the other not, and the other way round; nothing when they are equal.
    ///
    /// # Errors
    /// [`ProviderError::NotFound`] when one of them is not there.
    async fn differences(&self, one: &str, other: &str) -> Result<Vec<String>, ProviderError>;

    /// Switches one off, where that can be taken back.
    ///
    /// # Errors
    /// When it may still work.
    async fn switch_off(&self, id: &str) -> Result<Switched, ProviderError>;

    /// Switches one on again.
    ///
    /// # Errors
    /// When it may still be off.
    async fn switch_on(&self, id: &str) -> Result<(), ProviderError>;

    /// Ends one. Success when it is already gone.
    ///
    /// # Errors
    /// When it may still live.
    async fn end(&self, id: &str) -> Result<(), ProviderError>;

    /// Whether one is gone.
    ///
    /// # Errors
    /// When that could not be seen.
    async fn is_gone(&self, id: &str) -> Result<bool, ProviderError>;
}
