//! How those who call prove who they are.

use serde::{Deserialize, Serialize};

use super::Passed;

/// How an operator proves who they are.
#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "with", rename_all = "snake_case", deny_unknown_fields)]
pub enum Login {
    /// By passphrase.
    Passphrase {
        /// Whose; absent = whoever it fits.
        operator: Option<String>,
        /// The passphrase.
        passphrase: Passed,
    },
    /// By the session that `keywright login` opened for this terminal session.
    Session,
}

/// How a reader proves that it may.
#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "with", rename_all = "snake_case", deny_unknown_fields)]
pub enum ReaderLogin {
    /// A workload's token.
    Workload {
        /// The token.
        token: Passed,
    },
    /// An operator's passphrase. A session is not enough to read a secret.
    Operator {
        /// Whose; absent = whoever it fits.
        operator: Option<String>,
        /// The passphrase.
        passphrase: Passed,
    },
}
