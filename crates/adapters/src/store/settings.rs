//! Reading what an operator configured for a store.

use std::path::{Path, PathBuf};
use std::time::Duration;

use keywright_core::secret::Secret;
use keywright_core::span::Span;
use keywright_core::text::Untrusted;

use super::{OPTIONAL, REGISTRY, Registered, StoreConfig, StoreConnectError, TIMEOUT};
use crate::wire::{Authority, CA_FILE, Wire, WireConfig, WireError};

impl StoreConfig {
    /// Refuses what the kind does not know (a misspelt setting must not be ignored) and asks for what it needs.
    pub(super) fn check(
        &self,
        registered: &Registered,
        credential: Option<&Secret>,
    ) -> Result<(), StoreConnectError> {
        let known = |name: &String| registered.settings.iter().any(|(known, _)| known == name);
        if let Some(unknown) = self.extra.keys().find(|name| !known(name)) {
            let names: Vec<&str> = registered.settings.iter().map(|(name, _)| *name).collect();
            let why = if names.is_empty() {
                "is not known; it has none".to_owned()
            } else {
                format!("is not known; it knows: {}", names.join(", "))
            };
            return Err(self.bad(unknown, why));
        }
        if registered.address.is_none() && self.address.is_some() {
            return Err(self.address("takes no `--address`: it is not reached by network".to_owned()));
        }
        match (registered.credential, credential) {
            (None, Some(_)) => Err(self.credential("takes no credential")),
            (Some(what), None) if !what.starts_with(OPTIONAL) => {
                Err(self.credential(format!("needs a credential: {what}")))
            }
            (Some(_), Some(secret)) if secret.is_empty() => Err(self.credential("has an empty credential")),
            _ => Ok(()),
        }
    }

    /// A setting that must be there.
    pub(super) fn required(&self, name: &str, what: &str) -> Result<&str, StoreConnectError> {
        self.setting(name).ok_or_else(|| self.missing(name, what))
    }

    pub(super) fn missing(&self, name: &str, what: &str) -> StoreConnectError {
        self.bad(name, format!("is missing: {what}"))
    }

    /// A setting, if it is there and not empty.
    pub(super) fn setting(&self, name: &str) -> Option<&str> {
        self.extra.get(name).map(String::as_str).filter(|value| !value.is_empty())
    }

    /// A setting that has to fit; `why` says that it does not.
    pub(super) fn fitting(
        &self,
        name: &str,
        fits: impl Fn(&str) -> bool,
        why: &str,
    ) -> Result<Option<String>, StoreConnectError> {
        match self.setting(name) {
            Some(value) if !fits(value) => Err(self.bad(name, why)),
            value => Ok(value.map(str::to_owned)),
        }
    }

    /// A setting that is one of several words.
    pub(super) fn one_of<'a>(
        &self,
        name: &str,
        words: &[&'a str],
    ) -> Result<Option<&'a str>, StoreConnectError> {
        let Some(value) = self.setting(name) else { return Ok(None) };
        let found = words.iter().find(|word| **word == value).copied();
        let known = || words.iter().map(|word| format!("`{word}`")).collect::<Vec<_>>().join(", ");
        found.map(Some).ok_or_else(|| self.bad(name, format!("must be one of {}", known())))
    }

    /// A setting that is a directory.
    pub(super) fn directory(&self, name: &str) -> Result<Option<PathBuf>, StoreConnectError> {
        let is_absolute = |path: &str| Path::new(path).is_absolute();
        Ok(self.fitting(name, is_absolute, "must be an absolute directory")?.map(PathBuf::from))
    }

    /// The wire to the store's address, or to the service's public one.
    pub(super) fn wire(&self, kind: &'static str, public: Option<&str>) -> Result<Wire, StoreConnectError> {
        self.wire_with(kind, public, |_| {})
    }

    /// As [`StoreConfig::wire`], with other bounds than the usual ones.
    pub(super) fn wire_with(
        &self,
        kind: &'static str,
        public: Option<&str>,
        change: impl FnOnce(&mut WireConfig),
    ) -> Result<Wire, StoreConnectError> {
        let address = self.address.as_deref().or(public);
        let registered = REGISTRY.iter().find(|one| one.kind == kind);
        let what = registered.and_then(|one| one.address).unwrap_or_default();
        let address = address.ok_or_else(|| self.address(format!("needs `--address`: {what}")))?;
        let mut config = WireConfig::new(kind, address);
        config.is_given = self.address.is_some();
        config.deadline = self.timeout(config.deadline)?;
        config.authority = Authority::of(registered.map_or(&[], |one| one.settings), self.setting(CA_FILE.0));
        change(&mut config);
        Wire::new(config).map_err(|error| match error {
            WireError::Authority(why) => self.bad(CA_FILE.0, why),
            error => self.address(format!("can't use its `--address`: {error}")),
        })
    }

    /// How long one attempt of a call may take.
    fn timeout(&self, default: Duration) -> Result<Duration, StoreConnectError> {
        let Some(text) = self.setting(TIMEOUT.0) else { return Ok(default) };
        match Span::parse(text) {
            Ok(span) if span.seconds() <= 300 => Ok(Duration::from_secs(span.seconds())),
            _ => Err(self.bad(TIMEOUT.0, "must be a span from `1s` to `5m`")),
        }
    }

    /// The credential that [`StoreConfig::check`] has seen.
    pub(super) fn must(&self, credential: Option<Secret>) -> Result<Secret, StoreConnectError> {
        credential.ok_or_else(|| self.credential("needs a credential"))
    }

    /// A setting that makes no sense.
    pub(super) fn bad(&self, setting: &str, why: impl Into<String>) -> StoreConnectError {
        StoreConnectError::Setting {
            store: self.name.clone(),
            setting: Untrusted::capped(setting, 80),
            why: why.into(),
        }
    }

    fn address(&self, why: String) -> StoreConnectError {
        StoreConnectError::Address { store: self.name.clone(), why }
    }

    fn credential(&self, why: impl Into<String>) -> StoreConnectError {
        StoreConnectError::Credential { store: self.name.clone(), why: why.into() }
    }
}
