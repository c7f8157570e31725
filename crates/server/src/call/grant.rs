//! What an operator approves in advance, in their words.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// A standing grant that is to be given.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GrantWish {
    /// Whose requests.
    pub agent: String,
    /// For keys of this template.
    pub template: String,
    /// In this project.
    pub project: String,
    /// In this environment.
    pub environment: String,
    /// The parameters that have to be exactly these.
    #[serde(default)]
    pub parameters: BTreeMap<String, String>,
    /// Whether the others may be whatever the template allows.
    #[serde(default)]
    pub any_parameters: bool,
    /// Where the keys may go, as `STORE:PATTERN`; into the sealed store where nothing is named.
    #[serde(default)]
    pub destinations: Vec<String>,
    /// The directory that relative places start from.
    #[serde(default)]
    pub directory: Option<String>,
    /// How long they may live, as in `12h`; as long as one lives by default when absent.
    #[serde(default)]
    pub ttl_max: Option<String>,
    /// For how many requests; for any number when absent.
    #[serde(default)]
    pub uses: Option<u64>,
    /// For how long, as in `7d`.
    pub lasts: String,
}
