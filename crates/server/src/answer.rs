//! What comes back through a door.

use keywright_broker::{BrokerError, Code};
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// The schema that every error names.
pub const ERROR_SCHEMA: &str = "keywright/error/1";

/// What comes back.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Answer {
    /// It went well.
    Ok(Value),
    /// It did not.
    Error(Failure),
}

/// A failure as JSON, on the socket, on standard output with `--json`, and in MCP's tool errors.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// Always [`ERROR_SCHEMA`].
    pub schema: String,
    /// What kind of failure.
    pub code: String,
    /// What happened.
    pub message: String,
    /// What to do next.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub hint: Option<String>,
    /// Why, where there is more than one reason.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub reasons: Vec<String>,
    /// What would be allowed instead.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub alternatives: Vec<String>,
    /// Whether what somebody was shown is not so any more; the pages alone say it.
    #[serde(skip)]
    pub outdated: bool,
}

impl Failure {
    /// A failure that does not come from a broker.
    #[must_use]
    pub fn new(code: Code, message: impl Into<String>) -> Self {
        BrokerError::new(code, message).into()
    }

    /// Says what to do next.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// The kind of failure, if this version knows it.
    #[must_use]
    pub fn kind(&self) -> Option<Code> {
        Code::parse(&self.code)
    }
}

impl From<BrokerError> for Failure {
    fn from(error: BrokerError) -> Self {
        let BrokerError { code, message, hint, reasons, alternatives, outdated, .. } = error;
        Self {
            schema: ERROR_SCHEMA.to_owned(),
            code: code.as_str().to_owned(),
            message,
            hint,
            reasons,
            alternatives,
            outdated,
        }
    }
}

impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Failure {}
