//! The store `vault`: KV version 2 of Vault or `OpenBao`, one path a key.
//!
//! A place is `PATH#FIELD` below the mount that is configured (`secret` unless set); without `#FIELD` the field is
//! `value`. `accept` writes the field out. A path belongs to one key: what was there before is never merged.
//!
//! **Who calls.** The credential is a token; with the setting `role_id` it is the SecretID of an `AppRole`. Tokens are
//! renewed (`session.rs`).
//!
//! **Whose value.** Each version that Keywright wrote has an entry `keywright-N` in the path's custom metadata, written
//! after version `N`: its placement and marker. A current version without one is somebody else's. If the entry can't be
//! written, the version is destroyed again. A crash between the two leaves a version that looks like somebody else's.
//!
//! **The guard** is check-and-set with the number of the current version, 0 for a path that never was; a deleted
//! version still counts.
//!
//! **What a policy has to allow**, for places below `agents/` of the mount `secret`; reading data only makes the check
//! after a write a comparison:
//! ```text
//! path "secret/data/agents/*"     { capabilities = ["create", "update"] }
//! path "secret/metadata/agents/*" { capabilities = ["create", "update", "read"] }
//! path "secret/subkeys/agents/*"  { capabilities = ["read"] }
//! path "secret/destroy/agents/*"  { capabilities = ["update"] }
//! ```
//! API: <https://developer.hashicorp.com/vault/api-docs/secret/kv/kv-v2>.

mod kv;
mod session;

use async_trait::async_trait;
use jiff::Timestamp;
use keywright_core::name::{EnvironmentName, KeyName, ProjectName, StoreName};
use keywright_core::place::Place;
use keywright_core::plan::Destination;
use keywright_core::secret::Secret;
use keywright_core::store::{Origin, Presence, Store, StoreError, StoreFacts, VerifyMode, Write, Written};
use serde::Deserialize;
use tokio::sync::Mutex;

use self::kv::{Entry, Spot};
use self::session::{Door, Role, Session};
use super::remote::{At, Stamp, is_permitted, written};
use super::{StoreConfig, StoreConnectError};
use crate::rest::{Cause, Failure, Proof, Rest, Said};
use crate::wire::CA_FILE;

/// The kind's name.
pub(super) const KIND: &str = "vault";

/// The names of the settings.
pub(super) const SETTINGS: &[(&str, &str)] = &[
    ("mount", "where KV version 2 is mounted; `secret` unless set"),
    ("namespace", "the namespace, as in `team/web`"),
    ("role_id", "an AppRole's RoleID; the credential is its SecretID then"),
    ("approle", "where AppRole is mounted below `auth/`; `approle` unless set"),
    CA_FILE,
];

/// The field of a place that names none.
const FIELD: &str = "value";

pub(super) static FACTS: StoreFacts = StoreFacts {
    kind: KIND,
    verify: VerifyMode::ReadBack,
    guarded: true,
    versions: true,
    // An entry of the integrated storage has at most 1 MiB, in which the value may be escaped.
    max_value: 512 << 10,
    seen: "at the next read; a template of Vault Agent, within five minutes as it comes",
    settles: 300,
};

/// One configured mount.
pub(super) struct Vault {
    name: StoreName,
    mount: String,
    door: Door,
}

/// The body of a refusal: `{"errors": ["..."]}`.
#[derive(Deserialize)]
struct Errors {
    errors: Vec<String>,
}

fn said(body: &[u8]) -> Option<Said> {
    let Errors { errors } = serde_json::from_slice(body).ok()?;
    let message = if errors.is_empty() { "there is no such path".to_owned() } else { errors.join("; ") };
    Some(Said { code: None, message })
}

impl Vault {
    /// Reads the configuration.
    ///
    /// # Errors
    /// When the address or a setting makes no sense.
    pub(super) fn new(config: &StoreConfig, credential: Secret) -> Result<Self, StoreConnectError> {
        let path = |name: &str, default: &str| match config.setting(name).unwrap_or(default).trim_matches('/')
        {
            path if is_path(path) => Ok(path.to_owned()),
            _ => Err(config.bad(name, "is not a path like `team/kv`")),
        };
        let (mount, approle) = (path("mount", "secret")?, path("approle", "approle")?);
        let namespace = config.setting("namespace").map(|_| path("namespace", "")).transpose()?;
        let rest = Rest::new(config.wire(KIND, None)?, [&credential], |_| false, said);
        let (role, session) = match config.setting("role_id") {
            Some(role_id) => {
                let role = Role { mount: approle, role_id: role_id.to_owned(), secret_id: credential };
                (Some(role), None)
            }
            None => (None, Some(Session::given(credential))),
        };
        let door = Door { rest, namespace, role, session: Mutex::new(session) };
        Ok(Self { name: config.name.clone(), mount, door })
    }

    fn at<'a>(&'a self, destination: &'a Destination) -> At<'a> {
        At { store: &self.name, place: &destination.place.place }
    }

    fn spot<'a>(&'a self, destination: &'a Destination) -> Result<Spot<'a>, StoreError> {
        let (path, field) =
            destination.place.place.split_once('#').unwrap_or((&destination.place.place, FIELD));
        if !is_path(path) {
            return Err(self.at(destination).bad(
                "write `PATH#FIELD`, with a path of letters, digits and `-_.@~` between single slashes",
            ));
        }
        if field.is_empty() || field.len() > 128 || !field.bytes().all(is_plain) {
            return Err(self.at(destination).bad("the field after `#` has letters, digits and `-_.@~`"));
        }
        Ok(Spot { path, field })
    }

    async fn seen(&self, spot: &Spot<'_>) -> Result<Entry, StoreError> {
        self.entry(spot).await.map_err(|failure| failure.of_store(&self.name))
    }

    /// Notes whose version it is. Where that fails, the version is taken back: nobody could tell later.
    async fn claim(
        &self,
        spot: &Spot<'_>,
        entry: &Entry,
        number: u64,
        origin: &Origin,
    ) -> Result<Written, StoreError> {
        let Err(failure) = self.describe(spot, &entry.claimed(number, &Stamp::of(origin))).await else {
            return Ok(written(number.to_string()));
        };
        let error = failure.of_store(&self.name);
        match self.destroy(spot, vec![number]).await {
            Ok(()) => Err(error),
            Err(_) => Err(StoreError::OutcomeUnknown {
                store: self.name.clone(),
                why: format!("version {number} of `{}` is written, but not whose it is: {error}", spot.path),
            }),
        }
    }

    /// What a failed write means: the version that came after the expected one may be ours all the same.
    async fn settle(
        &self,
        spot: &Spot<'_>,
        write: &Write<'_>,
        cas: u64,
        failure: Failure,
    ) -> Result<Written, StoreError> {
        let at = self.at(write.destination);
        if failure.proof == Proof::NotDone && !failure.is_denied() {
            return Err(failure.of_write(&self.name));
        }
        let mismatched = matches!(&failure.cause, Cause::Refused { status: 400, message, .. }
            if message.raw().contains("did not match"));
        let error = failure.of_write(&self.name);
        let entry = match self.entry(spot).await {
            Ok(entry) => entry,
            Err(unseen) => return Err(at.unseen(error, &unseen)),
        };
        if entry.current == cas {
            return Err(if mismatched { at.conflict() } else { error });
        }
        self.adopt(spot, &entry, write, error).await
    }

    /// Claims the current version if it is this very value that nobody has claimed.
    async fn adopt(
        &self,
        spot: &Spot<'_>,
        entry: &Entry,
        write: &Write<'_>,
        error: StoreError,
    ) -> Result<Written, StoreError> {
        let at = self.at(write.destination);
        if entry.presence(Timestamp::now()) != Presence::Foreign {
            return Err(at.conflict());
        }
        match self.holds(spot, entry.current, write.secret).await {
            Ok(true) => self.claim(spot, entry, entry.current, write.origin).await,
            Ok(false) => Err(at.conflict()),
            Err(_) if matches!(error, StoreError::Conflict { .. }) => Err(error),
            Err(_) => Err(at.unknown(format!(
                "{error}; version {} appeared, and it can't be read to tell whose it is",
                entry.current
            ))),
        }
    }
}

/// Segments of plain characters between single slashes.
fn is_path(path: &str) -> bool {
    let is_segment = |segment: &str| {
        !segment.is_empty() && !matches!(segment, "." | "..") && segment.bytes().all(is_plain)
    };
    path.len() <= 400 && path.split('/').all(is_segment)
}

fn is_plain(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-_.@~".contains(&byte)
}

#[async_trait]
impl Store for Vault {
    fn facts(&self) -> &'static StoreFacts {
        &FACTS
    }

    async fn check(&self) -> Result<(), StoreError> {
        let told = |failure: Failure| failure.of_store(&self.name);
        self.door.is_alive().await.map_err(told)?;
        if self.is_version_2().await.map_err(told)? {
            return Ok(());
        }
        let why =
            format!("`{}` is not a mount of KV version 2, the one that writes under a guard", self.mount);
        Err(StoreError::Unavailable { store: self.name.clone(), why })
    }

    fn default_place(&self, project: &ProjectName, environment: &EnvironmentName, name: &KeyName) -> String {
        format!("{project}/{environment}/{name}#{FIELD}")
    }

    async fn accept(
        &self,
        destination: Destination,
        _: &KeyName,
        _: Option<&str>,
    ) -> Result<Destination, StoreError> {
        let Spot { path, field } = self.spot(&destination)?;
        let place = format!("{path}#{field}");
        Ok(Destination { place: Place { store: destination.place.store.clone(), place }, base: None })
    }

    async fn look(&self, destination: &Destination) -> Result<Presence, StoreError> {
        let spot = self.spot(destination)?;
        Ok(self.seen(&spot).await?.presence(Timestamp::now()))
    }

    async fn write(&self, write: &Write<'_>) -> Result<Written, StoreError> {
        let (at, spot) = (self.at(write.destination), self.spot(write.destination)?);
        if write.secret.expose_secret().len() > FACTS.max_value {
            return Err(at.value("it is longer than 512 KiB"));
        }
        let (entry, now) = (self.seen(&spot).await?, Timestamp::now());
        if entry.is_current(write.origin.placement, now) {
            return Ok(written(entry.current.to_string()));
        }
        if !is_permitted(&write.expected, &entry.presence(now)) {
            return self.adopt(&spot, &entry, write, at.conflict()).await;
        }
        let cas = entry.current;
        if entry.claimed(cas + 1, &Stamp::of(write.origin)).len() > kv::LARGEST_CUSTOM {
            return Err(at.value("the path's custom metadata is full, so that its origin can't be noted"));
        }
        match self.put(&spot, write.secret, cas).await {
            Ok(number) => self.claim(&spot, &entry, number, write.origin).await,
            Err(failure) => self.settle(&spot, write, cas, failure).await,
        }
    }

    async fn verify(&self, write: &Write<'_>, _: &Written) -> Result<VerifyMode, StoreError> {
        let (at, spot) = (self.at(write.destination), self.spot(write.destination)?);
        let entry = self.seen(&spot).await?;
        if !entry.is_current(write.origin.placement, Timestamp::now()) {
            return Err(at.mismatch());
        }
        let known = |holds: bool, mode| if holds { Ok(mode) } else { Err(at.mismatch()) };
        match self.holds(&spot, entry.current, write.secret).await {
            Ok(holds) => known(holds, VerifyMode::ReadBack),
            Err(failure) if failure.is_denied() => match self.has_field(&spot, entry.current).await {
                Ok(has) => known(has, VerifyMode::VersionMoved),
                Err(failure) if failure.is_denied() => Ok(VerifyMode::StatusOnly),
                Err(failure) => Err(failure.of_store(&self.name)),
            },
            Err(failure) => Err(failure.of_store(&self.name)),
        }
    }

    async fn remove(&self, origin: &Origin, destination: &Destination) -> Result<(), StoreError> {
        let spot = self.spot(destination)?;
        let entry = self.seen(&spot).await?;
        let versions = entry.of(origin.placement);
        if versions.is_empty() {
            return Ok(());
        }
        let told = |failure: Failure| failure.of_store(&self.name);
        self.destroy(&spot, versions.clone()).await.map_err(told)?;
        // "Done" is what it says; gone is what is not there any more. The claim goes last: without it nobody would know
        // whose the version is.
        let left = || Err(self.at(destination).unknown("it says that it is gone, and shows it"));
        let entry = self.seen(&spot).await?;
        if !versions.iter().all(|number| entry.is_gone(*number)) {
            return left();
        }
        self.describe(&spot, &entry.without(|number| versions.contains(&number))).await.map_err(told)?;
        if self.seen(&spot).await?.of(origin.placement).is_empty() { Ok(()) } else { left() }
    }
}
