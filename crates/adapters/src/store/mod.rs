//! The stores, and how a configured one is opened.
//!
//! | kind | module | credential | address | extra settings |
//! |---|---|---|---|---|
//! | `dotenv` | [`dotenv`] | none | none | `root`: an absolute directory; places outside it are refused |
//!
//! The kind `embedded` is not here: it keeps its values in the ledger, which this room never sees, so the broker
//! implements it.

pub mod dotenv;

use std::collections::BTreeMap;

use keywright_core::name::StoreName;
use keywright_core::secret::Secret;
use keywright_core::store::Store;
use keywright_core::text::Untrusted;

/// The kinds that [`connect`] opens.
pub const KINDS: &[&str] = &[dotenv::KIND];

/// What an operator configured for one store.
#[derive(Debug, Clone)]
pub struct StoreConfig {
    /// Its name, the part of a place before the colon.
    pub name: StoreName,
    /// Where it answers, for a store that is reached by network.
    pub address: Option<String>,
    /// Settings of its kind, by name.
    pub extra: BTreeMap<String, String>,
}

/// A store that could not be opened.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StoreConnectError {
    /// No such kind.
    #[error("`{given}` is not a kind of store that is connected to; known kinds: {known}")]
    Kind {
        /// What was given.
        given: Untrusted,
        /// What there is.
        known: String,
    },
    /// A setting that the kind does not have, or one that makes no sense.
    #[error("store `{store}`: setting `{setting}` {why}")]
    Setting {
        /// Which store.
        store: StoreName,
        /// Which setting.
        setting: Untrusted,
        /// What is wrong with it.
        why: &'static str,
    },
    /// A credential is missing, or given where none belongs.
    #[error("store `{store}` {why}")]
    Credential {
        /// Which store.
        store: StoreName,
        /// What is wrong.
        why: &'static str,
    },
}

/// Opens a configured store. Nothing is read or dialled yet; [`Store::check`] does that.
///
/// # Errors
/// When the kind is unknown (`embedded` is the broker's), or the settings or the credential don't fit it.
#[expect(
    clippy::needless_pass_by_value,
    reason = "a credential is handed over, not lent: networked stores keep it"
)]
pub fn connect(
    kind: &str,
    config: StoreConfig,
    credential: Option<Secret>,
) -> Result<Box<dyn Store>, StoreConnectError> {
    match kind {
        dotenv::KIND => Ok(Box::new(dotenv::Dotenv::new(config, credential.as_ref())?)),
        _ => Err(StoreConnectError::Kind { given: Untrusted::capped(kind, 80), known: KINDS.join(", ") }),
    }
}
