//! A channel about to be added.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::Passed;

/// How people shall hear that something waits for them.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NewNotify {
    /// The name.
    pub name: String,
    /// What it goes through.
    pub kind: String,
    /// Where it goes, as far as that is no secret.
    #[serde(default)]
    pub settings: BTreeMap<String, String>,
    /// What is secret of it.
    pub credential: Option<Passed>,
    /// Only what waits still after so long.
    pub after: Option<String>,
    /// Again each so long.
    pub remind: Option<String>,
    /// In which hours it says nothing.
    pub quiet: Option<String>,
    /// Of which time zone.
    pub zone: Option<String>,
    /// Whether what is high may pass that.
    #[serde(default)]
    pub urgent: bool,
    /// Whether it tells why something was asked.
    #[serde(default)]
    pub with_purpose: bool,
}
