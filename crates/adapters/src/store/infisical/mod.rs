//! The store `infisical`: secrets of one project, by environment and folder.
//!
//! A place is `ENVIRONMENT/FOLDER/...#NAME`, with the environment's slug and folders that exist; without `#NAME` the name
//! is the key's.
//!
//! **Who calls.** A machine identity with universal auth: `client_id` is a setting, the client secret the credential. It
//! logs in once two thirds of the access token's time are over, and once more when the token is not taken.
//!
//! **Whose value.** The secret's metadata has an entry `keywright`, in the same call as the value; it covers the value,
//! so that one that was changed by hand is somebody else's.
//!
//! **The guard.** Creating and updating are different verbs: a create never overwrites. An update has no guard of the
//! server; that the version moved by one shows afterwards whether somebody came between, whose value is in the history.
//!
//! **Values** are trimmed by the server, so one that would change is refused, and so is one with `${`, a reference.
//!
//! **Approval.** 200 may carry `approval` in place of the secret: nothing is written yet. Each further try asks for the
//! same change again.
//!
//! API: `backend/src/server/routes/v4/secret-router.ts` of the vendor's repository.

mod session;

use async_trait::async_trait;
use keywright_core::name::{EnvironmentName, KeyName, ProjectName, StoreName};
use keywright_core::place::Place;
use keywright_core::plan::Destination;
use keywright_core::secret::Secret;
use keywright_core::store::{Origin, Presence, Store, StoreError, StoreFacts, VerifyMode, Write, Written};
use reqwest::Method;
use serde::de::IgnoredAny;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use self::session::Door;
use super::remote::{At, Held, Stamp, is_permitted, written};
use super::{StoreConfig, StoreConnectError};
use crate::rest::{Failure, Proof, Rest, Said, body, parse};
use crate::wire::{Auth, CA_FILE, Call, Repeat};

/// The kind's name.
pub(super) const KIND: &str = "infisical";

/// The names of the settings.
pub(super) const SETTINGS: &[(&str, &str)] = &[
    ("client_id", "the client id of the machine identity"),
    ("project_id", "the id of the project, as in its settings"),
    CA_FILE,
];

/// The key of the metadata's entry.
const ENTRY: &str = "keywright";

pub(super) static FACTS: StoreFacts = StoreFacts {
    kind: KIND,
    verify: VerifyMode::ReadBack,
    guarded: false,
    versions: true,
    // The vendor's limit is not documented.
    max_value: 32 << 10,
};

/// One configured project.
pub(super) struct Infisical {
    name: StoreName,
    project: String,
    door: Door,
}

struct Spot<'a> {
    environment: &'a str,
    /// With a slash in front.
    folder: String,
    name: &'a str,
}

/// What is common to reading, writing and deleting.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Target<'a> {
    project_id: &'a str,
    environment: &'a str,
    secret_path: &'a str,
    r#type: &'static str,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct New<'a> {
    #[serde(flatten)]
    target: Target<'a>,
    secret_value: &'a str,
    secret_metadata: Vec<Meta>,
}

#[derive(Serialize, Deserialize, Clone)]
struct Meta {
    key: String,
    #[serde(default)]
    value: String,
    /// Whether it is encrypted, and whatever else belongs to other people's entries.
    #[serde(flatten)]
    more: Map<String, Value>,
}

#[derive(Deserialize)]
struct Answer {
    secret: Option<Entry>,
    approval: Option<IgnoredAny>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Entry {
    version: u64,
    secret_value: Option<Held>,
    #[serde(default)]
    secret_value_hidden: bool,
    #[serde(default)]
    secret_metadata: Option<Vec<Meta>>,
}

/// `{statusCode, error, message}`.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Refusal {
    status_code: u16,
    message: Message,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Message {
    Text(String),
    Other(IgnoredAny),
}

fn said(body: &[u8]) -> Option<Said> {
    let Refusal { status_code, message } = serde_json::from_slice(body).ok()?;
    let message = match message {
        Message::Text(text) => text,
        // The input that was not understood, which may quote a value.
        Message::Other(_) => "the request is not understood".to_owned(),
    };
    Some(Said { code: Some(status_code.to_string()), message })
}

impl Entry {
    /// The value, unless the identity may not read it.
    fn value(&self) -> Option<&Held> {
        self.secret_value.as_ref().filter(|_| !self.secret_value_hidden)
    }

    fn stamp(&self) -> Option<Stamp> {
        let metadata = self.secret_metadata.iter().flatten();
        let stamp = metadata.filter(|meta| meta.key == ENTRY).find_map(|meta| Stamp::parse(&meta.value))?;
        self.value().is_none_or(|value| stamp.covers(&value.0)).then_some(stamp)
    }

    fn presence(&self) -> Presence {
        match self.stamp() {
            Some(stamp) => stamp.presence(Some(self.version.to_string())),
            None => Presence::Foreign,
        }
    }
}

/// What came of a change.
enum Changed {
    Done(Entry),
    Pending,
}

impl Infisical {
    /// Reads the configuration.
    ///
    /// # Errors
    /// When the address or a setting makes no sense.
    pub(super) fn new(config: &StoreConfig, secret: Secret) -> Result<Self, StoreConnectError> {
        let client_id = config.required("client_id", "the client id of the machine identity")?.to_owned();
        let project = config.required("project_id", "the id of the project")?.to_owned();
        let rest = Rest::new(config.wire(KIND, Some("https://app.infisical.com"))?, [&secret], is_id, said);
        Ok(Self { name: config.name.clone(), project, door: Door::new(rest, client_id, secret) })
    }

    fn at<'a>(&'a self, destination: &'a Destination) -> At<'a> {
        At { store: &self.name, place: &destination.place.place }
    }

    fn spot<'a>(
        &'a self,
        destination: &'a Destination,
        key: Option<&'a KeyName>,
    ) -> Result<Spot<'a>, StoreError> {
        let at = self.at(destination);
        let shape =
            || at.bad("write `ENVIRONMENT/FOLDER#NAME`, as in `dev#API_TOKEN` or `prod/web#API_TOKEN`");
        let (scope, name) = match (destination.place.place.split_once('#'), key) {
            (Some((scope, name)), _) => (scope, name),
            (None, Some(key)) => (destination.place.place.as_str(), key.as_str()),
            (None, None) => return Err(shape()),
        };
        let (environment, folder) = scope.split_once('/').unwrap_or((scope, ""));
        let folders = if folder.is_empty() { Vec::new() } else { folder.split('/').collect() };
        let is_scope = [environment].iter().chain(&folders).all(|part| is_plain(part, b"-_", 64));
        if !is_scope || scope.ends_with('/') || !is_plain(name, b"-_.", 255) {
            return Err(shape());
        }
        Ok(Spot { environment, folder: format!("/{folder}"), name })
    }

    fn target<'a>(&'a self, spot: &'a Spot<'a>) -> Target<'a> {
        Target {
            project_id: &self.project,
            environment: spot.environment,
            secret_path: &spot.folder,
            r#type: "shared",
        }
    }

    /// What lies there, with its value where the identity may read it.
    async fn found(&self, spot: &Spot<'_>) -> Result<Option<Entry>, Failure> {
        match self.read(spot, true).await {
            Err(failure) if failure.is_denied_as(403) => self.read(spot, false).await,
            outcome => outcome,
        }
    }

    async fn read(&self, spot: &Spot<'_>, with_value: bool) -> Result<Option<Entry>, Failure> {
        let query = [
            ("projectId", self.project.as_str()),
            ("environment", spot.environment),
            ("secretPath", &spot.folder),
            ("type", "shared"),
            ("viewSecretValue", if with_value { "true" } else { "false" }),
            ("expandSecretReferences", "false"),
            ("include_imports", "false"),
        ];
        let outcome = self
            .door
            .send(|| {
                let mut call = Call::get(vec!["api", "v4", "secrets", spot.name], Auth::Nobody);
                call.query = query.iter().map(|(name, value)| (*name, (*value).to_owned())).collect();
                call
            })
            .await;
        match outcome {
            Ok(reply) => match parse::<Answer>(&reply)?.secret {
                Some(entry) => Ok(Some(entry)),
                None => Err(Failure::garbled("it names no secret".to_owned())),
            },
            Err(failure) if failure.is_not_found() => Ok(None),
            Err(failure) => Err(failure),
        }
    }

    async fn seen(&self, spot: &Spot<'_>) -> Result<Option<Entry>, StoreError> {
        self.found(spot).await.map_err(|failure| failure.of_store(&self.name))
    }

    async fn change(
        &self,
        spot: &Spot<'_>,
        method: Method,
        repeat: Repeat,
        content: &impl Serialize,
    ) -> Result<Changed, Failure> {
        let bytes = body(content)?;
        let path = || vec!["api", "v4", "secrets", spot.name];
        let reply = self
            .door
            .send(|| match repeat {
                Repeat::Never => Call::once(method.clone(), path(), Auth::Nobody, bytes.clone()),
                Repeat::Safe => Call::again(method.clone(), path(), Auth::Nobody, bytes.clone()),
            })
            .await?;
        match parse::<Answer>(&reply)? {
            Answer { approval: Some(_), .. } => Ok(Changed::Pending),
            Answer { secret: Some(entry), .. } => Ok(Changed::Done(entry)),
            Answer { .. } => Err(Failure::garbled("it names neither a secret nor an approval".to_owned())),
        }
    }

    /// What came of a write that was not simply done: the stamp is in the same call as the value, so it tells.
    async fn settle(
        &self,
        spot: &Spot<'_>,
        write: &Write<'_>,
        before: &Presence,
        failure: Failure,
    ) -> Result<Written, StoreError> {
        let at = self.at(write.destination);
        if failure.proof == Proof::NotDone && !failure.is_denied() {
            return Err(failure.of_write(&self.name));
        }
        let error = failure.of_write(&self.name);
        let now = match self.found(spot).await {
            Ok(now) => now,
            Err(unseen) => return Err(at.unseen(error, &unseen)),
        };
        match now {
            Some(entry) if entry.stamp() == Some(Stamp::over(write.origin, write.secret)) => {
                Ok(written(entry.version.to_string()))
            }
            now if now.as_ref().map_or(Presence::Absent, Entry::presence) == *before => Err(error),
            _ => Err(at.conflict()),
        }
    }
}

/// What the server makes of a value: trimmed, with one newline at the end kept.
fn trimmed(value: &str) -> (&str, bool) {
    (value.trim(), value.ends_with('\n'))
}

fn is_plain(text: &str, more: &[u8], longest: usize) -> bool {
    (1..=longest).contains(&text.len())
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || more.contains(&b))
}

/// Ids are UUIDs.
fn is_id(run: &str) -> bool {
    run.len() == 36 && run.bytes().all(|b| b.is_ascii_hexdigit() || b == b'-')
}

#[async_trait]
impl Store for Infisical {
    fn facts(&self) -> &'static StoreFacts {
        &FACTS
    }

    async fn check(&self) -> Result<(), StoreError> {
        // What the identity may do shows only where it does it: permissions go by environment and folder.
        self.door.log_in_again().await.map_err(|failure| failure.of_store(&self.name))
    }

    fn default_place(&self, _: &ProjectName, environment: &EnvironmentName, name: &KeyName) -> String {
        format!("{environment}#{name}")
    }

    async fn accept(
        &self,
        destination: Destination,
        name: &KeyName,
        _: Option<&str>,
    ) -> Result<Destination, StoreError> {
        let Spot { environment, folder, name } = self.spot(&destination, Some(name))?;
        let folder = if folder == "/" { "" } else { &folder };
        let place = format!("{environment}{folder}#{name}");
        Ok(Destination { place: Place { store: destination.place.store.clone(), place }, base: None })
    }

    async fn look(&self, destination: &Destination) -> Result<Presence, StoreError> {
        let spot = self.spot(destination, None)?;
        Ok(self.seen(&spot).await?.as_ref().map_or(Presence::Absent, Entry::presence))
    }

    async fn write(&self, write: &Write<'_>) -> Result<Written, StoreError> {
        let (at, spot) = (self.at(write.destination), self.spot(write.destination, None)?);
        let value = write.secret.expose_secret();
        if value.len() > FACTS.max_value {
            return Err(at.value("it is longer than 32 KiB"));
        }
        let (core, newline) = trimmed(value);
        if value.len() != core.len() + usize::from(newline) || !value.starts_with(core) {
            return Err(at.value("Infisical would trim the white space around it"));
        }
        if value.contains("${") {
            return Err(at.value("Infisical would take `${` for a reference to another secret"));
        }
        let stamp = Stamp::over(write.origin, write.secret);
        let entry = self.seen(&spot).await?;
        if let Some(entry) = entry.as_ref().filter(|entry| entry.stamp().as_ref() == Some(&stamp)) {
            return Ok(written(entry.version.to_string()));
        }
        let before = entry.as_ref().map_or(Presence::Absent, Entry::presence);
        if !is_permitted(write, &before) {
            return Err(at.conflict());
        }
        let (method, old) = entry.map_or((Method::POST, None), |entry| (Method::PATCH, Some(entry)));
        let others = old.iter().flat_map(|entry| entry.secret_metadata.iter().flatten());
        let mut secret_metadata: Vec<Meta> = others.filter(|meta| meta.key != ENTRY).cloned().collect();
        secret_metadata.push(Meta { key: ENTRY.to_owned(), value: stamp.text(), more: Map::new() });
        let new = New { target: self.target(&spot), secret_value: value, secret_metadata };
        match self.change(&spot, method, Repeat::Never, &new).await {
            Ok(Changed::Done(entry)) => {
                if old.is_some_and(|old| entry.version != old.version + 1) {
                    tracing::warn!(place = at.place, "somebody else changed the secret at the same time");
                }
                Ok(written(entry.version.to_string()))
            }
            Ok(Changed::Pending) => Err(at.pending()),
            Err(failure) => self.settle(&spot, write, &before, failure).await,
        }
    }

    async fn verify(&self, write: &Write<'_>, done: &Written) -> Result<VerifyMode, StoreError> {
        let (at, spot) = (self.at(write.destination), self.spot(write.destination, None)?);
        let Some(entry) = self.seen(&spot).await? else { return Err(at.mismatch()) };
        if entry.stamp() != Some(Stamp::over(write.origin, write.secret)) {
            return Err(at.mismatch());
        }
        match entry.value() {
            Some(value) if value.is(write.secret) => Ok(VerifyMode::ReadBack),
            Some(_) => Err(at.mismatch()),
            None if done.store_version == Some(entry.version.to_string()) => Ok(VerifyMode::VersionMoved),
            None => Err(at.mismatch()),
        }
    }

    async fn remove(&self, origin: &Origin, destination: &Destination) -> Result<(), StoreError> {
        let (at, spot) = (self.at(destination), self.spot(destination, None)?);
        let Some(entry) = self.seen(&spot).await? else { return Ok(()) };
        if entry.stamp().is_none_or(|stamp| stamp.placement != origin.placement) {
            return Ok(());
        }
        match self.change(&spot, Method::DELETE, Repeat::Safe, &self.target(&spot)).await {
            Ok(Changed::Done(_)) => Ok(()),
            Ok(Changed::Pending) => Err(at.pending()),
            Err(failure) if failure.is_not_found() => Ok(()),
            Err(failure) => Err(failure.of_store(&self.name)),
        }
    }
}
