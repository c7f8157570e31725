//! What a provider's answer means.

use crate::span::Span;
use crate::text::Untrusted;

/// What a provider's answer means for us. Unknown is an outcome of its own.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ProviderError {
    /// It may have happened: look before anything is tried again.
    #[error("{provider}: it is not known whether the key was made ({why})")]
    OutcomeUnknown {
        /// Which provider.
        provider: &'static str,
        /// What went wrong on the wire.
        why: String,
    },
    /// The provider refused the request as such. Nothing was made.
    #[error("{provider} refused: {message}")]
    Refused {
        /// Which provider.
        provider: &'static str,
        /// Its code, as in `10000`.
        code: Option<String>,
        /// Its message, redacted and escaped.
        message: Untrusted,
        /// What would help.
        hint: Option<String>,
    },
    /// The parent credential does not work, or may not do this.
    #[error("{provider} does not accept the connection's credential: {message}")]
    Unauthorized {
        /// Which provider.
        provider: &'static str,
        /// Its message, redacted and escaped.
        message: Untrusted,
    },
    /// It is not there.
    #[error("{provider} knows no {what}")]
    NotFound {
        /// Which provider.
        provider: &'static str,
        /// What was looked for.
        what: &'static str,
    },
    /// A parameter names nothing that the connection reaches.
    #[error("{provider} has no {kind} `{value}` that this connection reaches{hint}")]
    NoSuchResource {
        /// Which provider.
        provider: &'static str,
        /// The parameter's kind.
        kind: String,
        /// The value.
        value: Untrusted,
        /// Empty, or `; did you mean ...`.
        hint: String,
    },
    /// Too many requests.
    #[error("{provider} asks to slow down{}", for_how_long(retry_after.as_ref()))]
    Throttled {
        /// Which provider.
        provider: &'static str,
        /// For how long.
        retry_after: Option<Span>,
    },
    /// No more keys can be made.
    #[error("{provider} allows no more keys on this connection: {message}")]
    QuotaExhausted {
        /// Which provider.
        provider: &'static str,
        /// Its message.
        message: Untrusted,
    },
    /// It could not be reached, or failed. Nothing was made.
    #[error("{provider} can't be reached or failed: {why}")]
    Unavailable {
        /// Which provider.
        provider: &'static str,
        /// What went wrong.
        why: String,
    },
    /// It could not be reached, or turned everybody away: nothing was done.
    #[error("{provider} can't be reached or failed: {why}")]
    Unreachable {
        /// Which provider.
        provider: &'static str,
        /// What went wrong.
        why: String,
    },
    /// The answer makes no sense.
    #[error("{provider} gave an answer that is not understood: {why}")]
    Garbled {
        /// Which provider.
        provider: &'static str,
        /// What was wrong with it, never a quote of it.
        why: String,
    },
    /// The adapter can't express what was asked.
    #[error("{provider} can't do this: {why}")]
    Unsupported {
        /// Which provider.
        provider: &'static str,
        /// What.
        why: String,
    },
}

fn for_how_long(wait: Option<&Span>) -> String {
    wait.map_or_else(String::new, |wait| format!(", for {wait}"))
}

impl ProviderError {
    /// Whether trying the same thing later can help.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        matches!(
            self,
            Self::Throttled { .. }
                | Self::Unavailable { .. }
                | Self::Unreachable { .. }
                | Self::Garbled { .. }
        )
    }

    /// Whether what the provider was told to do was not done: it said no, or heard nothing.
    #[must_use]
    pub fn is_not_done(&self) -> bool {
        match self {
            Self::Unreachable { .. }
            | Self::Refused { .. }
            | Self::Unauthorized { .. }
            | Self::NotFound { .. }
            | Self::NoSuchResource { .. }
            | Self::Throttled { .. }
            | Self::QuotaExhausted { .. }
            | Self::Unsupported { .. } => true,
            Self::OutcomeUnknown { .. } | Self::Unavailable { .. } | Self::Garbled { .. } => false,
        }
    }
}
