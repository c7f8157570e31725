//! How a connection is configured, and what can be wrong with that.

use std::collections::BTreeMap;
use std::time::Duration;

use keywright_core::secret::Secret;
use keywright_core::span::Span;
use keywright_core::text::Untrusted;

use super::Setting;
use super::patience::PROBE_FOR;
use crate::rest::{ReadRefusal, Rest};
use crate::wire::{Authority, CA_FILE, Wire, WireConfig, WireError};

/// What an operator says about a connection, besides its credential.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ConnectionConfig {
    /// Where the API is; the provider's public one when absent. It may be of a private network, because an operator says so.
    /// Plain http is for loopback only.
    pub base_url: Option<String>,
    /// The account at the provider, by its id there.
    pub account: Option<String>,
    /// What only one kind of provider knows, by name: [`super::connections`] lists it. A name that the kind does not know
    /// is refused.
    pub extra: BTreeMap<String, String>,
}

/// Why a connection can't be prepared.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ConnectError {
    /// No such provider.
    #[error("there is no provider `{kind}` (built in: {known})")]
    UnknownKind {
        /// What was asked for.
        kind: Untrusted,
        /// What there is.
        known: String,
    },
    /// The base URL may not be used, or TLS does not start.
    #[error("{provider} can't be reached this way: {why}")]
    Wire {
        /// Which provider.
        provider: &'static str,
        /// Why.
        why: String,
    },
    /// Something must be given.
    #[error("{provider} needs {}: {hint}", given_as(name))]
    Missing {
        /// Which provider.
        provider: &'static str,
        /// What.
        name: &'static str,
        /// What it is and where it is found.
        hint: &'static str,
    },
    /// Something has another form.
    #[error("`{value}` is no {name} for {provider}: {hint}")]
    Setting {
        /// Which provider.
        provider: &'static str,
        /// Which setting.
        name: &'static str,
        /// Its value.
        value: Untrusted,
        /// What it should look like.
        hint: &'static str,
    },
    /// A setting that this provider does not know.
    #[error("{provider} has no setting `{name}` (it knows: {known})")]
    UnknownSetting {
        /// Which provider.
        provider: &'static str,
        /// What was given.
        name: Untrusted,
        /// What there is.
        known: String,
    },
    /// The credential is empty or holds characters that no header may.
    #[error(
        "the credential for {provider} is empty or not plain text; give the token alone, without `Bearer`"
    )]
    Credential {
        /// Which provider.
        provider: &'static str,
    },
    /// The credential has another form.
    #[error("the credential for {provider} has another form; it is {hint}")]
    CredentialForm {
        /// Which provider.
        provider: &'static str,
        /// What it should look like.
        hint: &'static str,
    },
}

/// How an operator gives it: what is no setting has an option of its own.
fn given_as(name: &str) -> String {
    match name {
        "account" => "`--account`".to_owned(),
        "private key" => "a private key as its credential".to_owned(),
        setting => format!("the setting `{setting}`"),
    }
}

impl ConnectError {
    pub(super) fn unknown_kind(kind: &str) -> Self {
        Self::UnknownKind { kind: Untrusted::capped(kind, 40), known: super::KINDS.join(", ") }
    }

    pub(super) fn wire(provider: &'static str, error: &WireError) -> Self {
        let of = if matches!(error, WireError::Address(_)) { "its `--base-url`: " } else { "" };
        Self::Wire { provider, why: format!("{of}{error}") }
    }

    pub(super) fn setting(
        provider: &'static str,
        name: &'static str,
        value: &str,
        hint: &'static str,
    ) -> Self {
        Self::Setting { provider, name, value: Untrusted::capped(value, 80), hint }
    }
}

impl ConnectionConfig {
    /// Refuses a setting that the provider does not know: a misspelt one must not be ignored.
    pub(super) fn check_names(&self, provider: &'static str, known: &[Setting]) -> Result<(), ConnectError> {
        match self.extra.keys().find(|name| !known.iter().any(|(known, _)| known == name)) {
            None => Ok(()),
            Some(name) => Err(ConnectError::UnknownSetting {
                provider,
                name: Untrusted::capped(name, 40),
                known: known.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(", "),
            }),
        }
    }

    /// The account, which has to be given.
    pub(super) fn account(
        &self,
        provider: &'static str,
        fits: fn(&str) -> bool,
        hint: &'static str,
    ) -> Result<String, ConnectError> {
        match &self.account {
            None => Err(ConnectError::Missing { provider, name: "account", hint }),
            Some(account) if !fits(account) => Err(ConnectError::setting(provider, "account", account, hint)),
            Some(account) => Ok(account.clone()),
        }
    }

    /// A setting that is a span of time.
    pub(super) fn span(
        &self,
        provider: &'static str,
        name: &'static str,
        default: Duration,
    ) -> Result<Duration, ConnectError> {
        let Some(text) = self.extra.get(name) else { return Ok(default) };
        match Span::parse(text) {
            Ok(span) if span.seconds() <= 300 => Ok(Duration::from_secs(span.seconds())),
            _ => Err(ConnectError::setting(provider, name, text, "a span from `1s` to `5m`")),
        }
    }

    /// How far what the provider knows of a key's use may lie behind.
    pub(super) fn use_lag(&self, provider: &'static str, default: u64) -> Result<Span, ConnectError> {
        let Some(text) = self.extra.get("use_lag") else { return Ok(Span::from_seconds(default)) };
        match Span::parse(text) {
            Ok(span) if span.seconds() <= 7 * 86_400 => Ok(span),
            _ => Err(ConnectError::setting(provider, "use_lag", text, "a span from `1s` to `7d`")),
        }
    }

    /// How long a fresh key may take to work.
    pub(super) fn probe_for(&self, provider: &'static str) -> Result<Duration, ConnectError> {
        self.span(provider, "probe_for", PROBE_FOR)
    }

    /// The API behind this connection, as a bearer of `parent` calls it.
    pub(super) fn rest(
        &self,
        provider: &'static str,
        base_url: &str,
        parent: &Secret,
        harmless: fn(&str) -> bool,
        said: ReadRefusal,
    ) -> Result<Rest, ConnectError> {
        if parent.is_empty() || !parent.expose_secret().bytes().all(|b| b.is_ascii_graphic()) {
            return Err(ConnectError::Credential { provider });
        }
        let wire = self.wire(provider, base_url)?;
        let wire = Wire::new(wire).map_err(|error| ConnectError::wire(provider, &error))?;
        Ok(Rest::new(wire, [parent], harmless, said))
    }

    /// How the wire is set up: to the address that was given, or to the provider's public one.
    pub(super) fn wire(&self, provider: &'static str, base_url: &str) -> Result<WireConfig, ConnectError> {
        let mut wire = WireConfig::new(provider, self.base_url.as_deref().unwrap_or(base_url));
        wire.is_given = self.base_url.is_some();
        let known = super::registered(provider).map_or(&[][..], |registered| registered.settings);
        wire.authority = Authority::of(known, self.extra.get(CA_FILE.0).map(String::as_str));
        wire.deadline = self.span(provider, "timeout", wire.deadline)?;
        Ok(wire)
    }
}
