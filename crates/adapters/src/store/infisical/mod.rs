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
//! same change again. How it stands nobody tells a machine: every route of `/api/v1/secret-approval-requests` takes a
//! person's login only, so that a request is neither looked for, nor withdrawn, nor seen to be rejected.
//!
//! API: `backend/src/server/routes/v4/secret-router.ts` of the vendor's repository, and beside it
//! `backend/src/ee/routes/v1/secret-approval-request-router.ts`.

mod session;

use async_trait::async_trait;
use keywright_core::name::{EnvironmentName, KeyName, ProjectName, StoreName};
use keywright_core::secret::Secret;
use keywright_core::store::{Change, Origin, Presence, StoreError, StoreFacts, VerifyMode, Write};
use reqwest::Method;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use self::session::Door;
use super::remote::{At, Held, Stamp};
use super::spots::{Put, Seen, Spots};
use super::{StoreConfig, StoreConnectError};
use crate::login::Logins;
use crate::names::{is_plain, is_uuid};
use crate::rest::{Failure, RefusalBody, Rest, Said, body, parse};
use crate::wire::{Auth, CA_FILE, Call};

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
    seen: "at the next read; Infisical’s agent and operator, within a minute or so as they come",
    settles: 60,
};

/// One configured project.
pub(super) struct Infisical {
    project: String,
    door: Door,
}

/// A place, taken apart.
pub(super) struct Spot {
    environment: String,
    /// With a slash in front.
    folder: String,
    name: String,
}

/// What was found at a place.
pub(super) struct Found(Option<Entry>);

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
    approval: Option<Approval>,
}

/// What a person looks for in the list of requests.
#[derive(Deserialize)]
struct Approval {
    #[serde(default)]
    id: Option<String>,
    #[serde(default)]
    slug: Option<String>,
}

/// What a change came to.
enum Changed {
    Done(Entry),
    Waits(Change),
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
fn said(body: &[u8]) -> Option<Said> {
    let refusal = RefusalBody::parse(body)?;
    let message = match refusal.at("/message")? {
        Value::String(text) => text.clone(),
        // The input that was not understood, which may quote a value.
        _ => "the request is not understood".to_owned(),
    };
    Some(Said { code: Some(refusal.number("/statusCode")?), message })
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
}

impl Seen for Found {
    fn presence(&self) -> Presence {
        let Some(entry) = &self.0 else { return Presence::Absent };
        let ours = |stamp: Stamp| stamp.presence(Some(entry.version.to_string()));
        entry.stamp().map_or(Presence::Foreign, ours)
    }

    fn is_of(&self, origin: &Origin) -> bool {
        self.0.as_ref().and_then(Entry::stamp).is_some_and(|stamp| stamp.is_of(origin))
    }
}

impl Infisical {
    /// Reads the configuration.
    ///
    /// # Errors
    /// When the address or a setting makes no sense.
    pub(super) fn new(config: &StoreConfig, secret: Secret) -> Result<Self, StoreConnectError> {
        let client_id = config.required("client_id", "the client id of the machine identity")?.to_owned();
        let project = config.required("project_id", "the id of the project")?.to_owned();
        let rest = Rest::new(config.wire(KIND, Some("https://app.infisical.com"))?, [&secret], is_uuid, said);
        let door = Door { rest, client_id, client_secret: secret, logins: Logins::default() };
        Ok(Self { project, door })
    }

    fn target<'a>(&'a self, spot: &'a Spot) -> Target<'a> {
        Target {
            project_id: &self.project,
            environment: &spot.environment,
            secret_path: &spot.folder,
            r#type: "shared",
        }
    }

    fn path(spot: &Spot) -> Vec<&str> {
        vec!["api", "v4", "secrets", &spot.name]
    }

    async fn read(&self, spot: &Spot, with_value: bool) -> Result<Option<Entry>, Failure> {
        let query = vec![
            ("projectId", self.project.clone()),
            ("environment", spot.environment.clone()),
            ("secretPath", spot.folder.clone()),
            ("type", "shared".to_owned()),
            ("viewSecretValue", with_value.to_string()),
            ("expandSecretReferences", "false".to_owned()),
            ("include_imports", "false".to_owned()),
        ];
        let call = Call { query, ..Call::get(Self::path(spot), Auth::Nobody) };
        match self.door.send(call).await {
            Ok(reply) => match parse::<Answer>(&reply)?.secret {
                Some(entry) => Ok(Some(entry)),
                None => Err(Failure::garbled("it names no secret".to_owned())),
            },
            // A secret that is not there, and one whose folder or environment is not, differ in the message alone.
            Err(failure)
                if failure.is_not_found() && !failure.says("folder") && !failure.says("environment") =>
            {
                Ok(None)
            }
            Err(failure) => Err(failure),
        }
    }

    /// Asks for a change, which may wait for approval.
    async fn change(
        &self,
        spot: &Spot,
        method: Method,
        content: &impl Serialize,
    ) -> Result<Changed, Failure> {
        let call = Call::once(method, Self::path(spot), Auth::Nobody, body(content)?);
        let reply = self.door.send(call).await?;
        match parse::<Answer>(&reply)? {
            Answer { approval: Some(Approval { id, slug }), .. } => {
                // Lists show the slug.
                Ok(Changed::Waits(Change::new(slug.as_deref().or(id.as_deref()), None)))
            }
            Answer { secret: Some(entry), .. } => Ok(Changed::Done(entry)),
            Answer { .. } => Err(Failure::garbled("it names neither a secret nor an approval".to_owned())),
        }
    }
}

/// What the server makes of a value: trimmed, with one newline at the end kept.
fn trimmed(value: &str) -> (&str, bool) {
    (value.trim(), value.ends_with('\n'))
}

#[async_trait]
impl Spots for Infisical {
    type Spot = Spot;
    type Seen = Found;

    fn facts(&self) -> &'static StoreFacts {
        &FACTS
    }

    async fn check(&self, store: &StoreName) -> Result<(), StoreError> {
        // What the identity may do shows only where it does it: permissions go by environment and folder.
        self.door.log_in_again().await.map_err(|failure| failure.of_store(store))
    }

    fn default_place(&self, _: &ProjectName, environment: &EnvironmentName, name: &KeyName) -> String {
        format!("{environment}#{name}")
    }

    fn spot(&self, at: At<'_>) -> Result<Spot, StoreError> {
        let shape =
            || at.bad("write `ENVIRONMENT/FOLDER#NAME`, as in `dev#API_TOKEN` or `prod/web#API_TOKEN`");
        let (scope, name) = at.place.split_once('#').ok_or_else(shape)?;
        let (environment, folder) = scope.split_once('/').unwrap_or((scope, ""));
        let folders = if folder.is_empty() { Vec::new() } else { folder.split('/').collect() };
        let is_scope = [environment].iter().chain(&folders).all(|part| is_plain(part, "-_", 64));
        if !is_scope || scope.ends_with('/') || !is_plain(name, "-_.", 255) {
            return Err(shape());
        }
        let (environment, name) = (environment.to_owned(), name.to_owned());
        Ok(Spot { environment, folder: format!("/{folder}"), name })
    }

    fn refuses(&self, value: &str) -> Option<&'static str> {
        let (core, newline) = trimmed(value);
        if value.len() > FACTS.max_value {
            return Some("it is longer than 32 KiB");
        }
        if value.len() != core.len() + usize::from(newline) || !value.starts_with(core) {
            return Some("Infisical would trim the white space around it");
        }
        value.contains("${").then_some("Infisical would take `${` for a reference to another secret")
    }

    /// With its value, where the identity may read it.
    async fn see(&self, spot: &Spot) -> Result<Found, Failure> {
        match self.read(spot, true).await {
            Err(failure) if failure.is_denied_as(403) => self.read(spot, false).await.map(Found),
            outcome => outcome.map(Found),
        }
    }

    fn is_gone(&self, failure: &Failure) -> bool {
        failure.is_not_found()
    }

    async fn put(&self, spot: &Spot, seen: &Found, write: &Write<'_>) -> Result<Put, Failure> {
        let value = write.secret.expose_secret();
        let others = seen.0.iter().flat_map(|entry| entry.secret_metadata.iter().flatten());
        let mut secret_metadata: Vec<Meta> = others.filter(|meta| meta.key != ENTRY).cloned().collect();
        let stamp = Stamp::over(write.origin, write.secret).text();
        secret_metadata.push(Meta { key: ENTRY.to_owned(), value: stamp, more: Map::new() });
        let new = New { target: self.target(spot), secret_value: value, secret_metadata };
        let method = if seen.0.is_some() { Method::PATCH } else { Method::POST };
        let entry = match self.change(spot, method, &new).await? {
            Changed::Done(entry) => entry,
            Changed::Waits(change) => return Ok(Put::Pending(change)),
        };
        if seen.0.as_ref().is_some_and(|old| entry.version != old.version + 1) {
            let place = write.destination.place.place.as_str();
            tracing::warn!(place, "somebody else changed the secret at the same time");
        }
        Ok(Put::Done(Some(entry.version.to_string())))
    }

    async fn holds(&self, _: &Spot, seen: &Found, secret: &Secret) -> Result<Option<bool>, Failure> {
        Ok(seen.0.as_ref().and_then(Entry::value).map(|value| value.is(secret)))
    }

    fn unread(&self) -> VerifyMode {
        VerifyMode::VersionMoved
    }

    async fn take(&self, spot: &Spot, seen: &Found, origin: &Origin) -> Result<Put, Failure> {
        if !seen.is_of(origin) {
            return Ok(Put::Done(None));
        }
        // Where it has to be approved, a second call would be a second request.
        Ok(match self.change(spot, Method::DELETE, &self.target(spot)).await? {
            Changed::Done(_) => Put::Done(None),
            Changed::Waits(change) => Put::Pending(change),
        })
    }
}
