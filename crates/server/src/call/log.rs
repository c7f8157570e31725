//! What an operator looks for in the audit log.

use jiff::Timestamp;
use keywright_core::audit::Deed;
use serde::{Deserialize, Serialize};

/// Which entries; what is absent is not asked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LogWish {
    /// About what: a key's id, name or fingerprint, a request's id, an entry's id.
    #[serde(default)]
    pub about: Option<String>,
    /// Of this deed, as in `key.request`.
    #[serde(default)]
    pub deed: Option<Deed>,
    /// By somebody of this name.
    #[serde(default)]
    pub by: Option<String>,
    /// Whether it went well.
    #[serde(default)]
    pub went_well: Option<bool>,
    /// Not older.
    #[serde(default)]
    pub since: Option<Timestamp>,
    /// Not newer.
    #[serde(default)]
    pub until: Option<Timestamp>,
    /// Before this place of the log.
    #[serde(default)]
    pub before: Option<u64>,
    /// At most so many.
    pub limit: u32,
}
