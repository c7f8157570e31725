//! What a verb can answer besides success: a code that doors translate, a message, and what to do next.

use jiff::Timestamp;
use keywright_core::approval::ApprovalError;
use keywright_core::name::ConnectionName;
use keywright_core::plan::CeilingError;
use keywright_core::provider::ProviderError;
use keywright_core::span::Span;
use keywright_core::store::StoreError;
use keywright_ledger::LedgerError;

/// What kind of failure it is. Doors turn it into exit codes, HTTP statuses and MCP errors.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Code {
    /// The ask is not well formed: a name, a number, a missing parameter.
    InvalidArgument,
    /// There is no such thing.
    NotFound,
    /// Policy or the template's ceiling says no.
    Denied,
    /// Who calls could not be established.
    Unauthenticated,
    /// The caller is known and may not do this.
    Forbidden,
    /// The provider failed or refused.
    Provider,
    /// The store failed or refused.
    Store,
    /// Something else holds this name or this home, or the state moved on.
    Conflict,
    /// Later it may work.
    TryAgain,
    /// This version can't do it.
    Unsupported,
    /// The ledger, the disk, the machine.
    Internal,
}

impl Code {
    /// The word in JSON.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::InvalidArgument => "invalid_argument",
            Self::NotFound => "not_found",
            Self::Denied => "denied",
            Self::Unauthenticated => "unauthenticated",
            Self::Forbidden => "forbidden",
            Self::Provider => "provider_error",
            Self::Store => "store_error",
            Self::Conflict => "conflict",
            Self::TryAgain => "try_again",
            Self::Unsupported => "unsupported",
            Self::Internal => "internal",
        }
    }

    /// Reads the word.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        const ALL: [Code; 11] = [
            Code::InvalidArgument,
            Code::NotFound,
            Code::Denied,
            Code::Unauthenticated,
            Code::Forbidden,
            Code::Provider,
            Code::Store,
            Code::Conflict,
            Code::TryAgain,
            Code::Unsupported,
            Code::Internal,
        ];
        ALL.into_iter().find(|code| code.as_str() == text)
    }
}

/// Why a verb did not succeed. The message never carries a secret: it is made of names, ids and redacted texts.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct BrokerError {
    /// What kind of failure.
    pub code: Code,
    /// What happened.
    pub message: String,
    /// What to do next.
    pub hint: Option<String>,
    /// Why, where there is more than one reason.
    pub reasons: Vec<String>,
    /// What would be allowed instead.
    pub alternatives: Vec<String>,
    /// How long the provider asks to be left alone.
    pub retry_after: Option<Span>,
    /// Whether the same thing may work later: it could not be reached, or was busy.
    pub transient: bool,
    /// Whether a row of the ledger is not as Keywright wrote it: waiting does not mend that.
    pub edited: bool,
    /// Whether the ledger could not be reached: nothing is known of the thing itself.
    pub unreached: bool,
    /// Whether what somebody was shown, and decided on, is not so any more: a page that shows it has nothing left to press.
    pub outdated: bool,
}

impl BrokerError {
    /// A failure with a message.
    #[must_use]
    pub fn new(code: Code, message: impl Into<String>) -> Self {
        Self {
            code,
            message: message.into(),
            hint: None,
            reasons: Vec::new(),
            alternatives: Vec::new(),
            retry_after: None,
            transient: false,
            edited: false,
            unreached: false,
            outdated: false,
        }
    }

    /// What somebody was shown is not so any more.
    #[must_use]
    pub(crate) fn outdated(message: impl Into<String>) -> Self {
        Self { outdated: true, ..Self::new(Code::Conflict, message) }
    }

    /// Says what to do next.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// Says what would be allowed instead.
    #[must_use]
    pub fn alternatives(mut self, alternatives: Vec<String>) -> Self {
        self.alternatives = alternatives;
        self
    }

    /// The moment from which it may be tried again: `pause`, or later where the provider asked for more.
    pub(crate) fn not_before(&self, pause: Timestamp, now: Timestamp) -> Timestamp {
        pause.max(self.retry_after.map_or(now, |span| span.after(now)))
    }

    /// A word or number that could not be read.
    #[must_use]
    pub fn invalid(error: impl std::fmt::Display) -> Self {
        Self::new(Code::InvalidArgument, error.to_string())
    }

    /// What went wrong through this connection: a hint that is about it names it.
    #[must_use]
    pub(crate) fn through(mut self, connection: &ConnectionName) -> Self {
        self.hint =
            self.hint.map(|hint| hint.replace(CHECK, &format!("`keywright provider check {connection}`")));
        self
    }

    /// Something that is not there.
    #[must_use]
    pub fn missing(message: impl Into<String>) -> Self {
        Self::new(Code::NotFound, message)
    }
}

/// How a connection is looked at whose name is not known where an error is made.
const CHECK: &str = "`keywright provider check NAME`";

/// The result of every verb.
pub(crate) type Result<T> = std::result::Result<T, BrokerError>;

impl From<LedgerError> for BrokerError {
    fn from(error: LedgerError) -> Self {
        use LedgerError as E;
        let code = match &error {
            E::Locked { .. } | E::Unreachable(_) | E::Unknown | E::Undone => Code::TryAgain,
            E::Address(_) => Code::InvalidArgument,
            E::Taken | E::TooNew { .. } | E::NotEmpty { .. } => Code::Conflict,
            E::Moved { .. } | E::Arriving => Code::Conflict,
            E::Conflict { .. } | E::LastOperator | E::Exists { .. } | E::Alike { .. } => Code::Conflict,
            E::Missing { .. } => Code::NotFound,
            E::WrongPassphrase { .. } | E::Edited { what: "agent" | "workload" | "operator", .. } => {
                Code::Unauthenticated
            }
            E::Edited { .. } => Code::Denied,
            _ => Code::Internal,
        };
        let hint = match &error {
            E::Alike { .. } => Some("choose another name"),
            E::Edited { .. } => Some(crate::rails::EDITED),
            E::Moved { .. } => Some(
                "say `keywright ledger migrate --to` with the place that it was moved to: that finishes a move that was stopped, and \
                 a home that was left behind follows",
            ),
            E::Arriving => Some(
                "say `keywright ledger migrate --to` with this ledger once more, at the home that moves it",
            ),
            E::DiskFull => Some("make room; revocations still go through"),
            _ => None,
        };
        let transient = matches!(code, Code::TryAgain);
        let edited = matches!(error, E::Edited { .. });
        let unreached = transient;
        let outdated = matches!(error, E::Conflict { what: "the request" | "the proposal" });
        Self {
            hint: hint.map(str::to_owned),
            transient,
            edited,
            unreached,
            outdated,
            ..Self::new(code, error.to_string())
        }
    }
}

impl From<ProviderError> for BrokerError {
    fn from(error: ProviderError) -> Self {
        let (code, hint) = match &error {
            ProviderError::Throttled { .. } => {
                (Code::TryAgain, Some("try again in a few minutes".to_owned()))
            }
            ProviderError::NoSuchResource { .. } => (Code::InvalidArgument, None),
            ProviderError::Refused { hint, .. } => (Code::Provider, hint.clone()),
            ProviderError::Unauthorized { .. } => {
                (Code::Provider, Some(format!("look at the connection: {CHECK}")))
            }
            _ => (Code::Provider, None),
        };
        let retry_after = match &error {
            ProviderError::Throttled { retry_after, .. } => *retry_after,
            _ => None,
        };
        let transient = error.is_transient();
        Self { hint, retry_after, transient, ..Self::new(code, error.to_string()) }
    }
}

impl From<StoreError> for BrokerError {
    fn from(error: StoreError) -> Self {
        let (code, hint) = match &error {
            StoreError::Place { .. } => (Code::InvalidArgument, None),
            StoreError::Unsafe { hint, .. } => (Code::Store, Some(hint.clone())),
            StoreError::Missing { .. } => {
                (Code::Store, Some("make it in the store first, or name another place".to_owned()))
            }
            StoreError::Conflict { .. } => {
                (Code::Conflict, Some("choose another place, or remove the value there by hand".to_owned()))
            }
            _ => (Code::Store, None),
        };
        Self { hint, transient: error.is_transient(), ..Self::new(code, error.to_string()) }
    }
}

impl From<CeilingError> for BrokerError {
    fn from(error: CeilingError) -> Self {
        let allowed = match &error {
            CeilingError::Ttl { max, .. } => vec![max.to_string()],
            CeilingError::Destination { allowed, .. } | CeilingError::Parameter { allowed, .. } => {
                allowed.split(", ").filter(|one| !one.is_empty()).map(str::to_owned).collect()
            }
            CeilingError::Permissions(_) | CeilingError::Conditions(_) => Vec::new(),
        };
        let message = error.to_string();
        let reasons = vec![message.clone()];
        Self { reasons, ..Self::new(Code::Denied, message) }
            .hint("stay within the template, or have an operator apply a wider one")
            .alternatives(allowed)
    }
}

impl From<ApprovalError> for BrokerError {
    fn from(error: ApprovalError) -> Self {
        Self::new(Code::Denied, error.to_string())
    }
}
