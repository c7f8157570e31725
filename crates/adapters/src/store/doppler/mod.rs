//! The store `doppler`: secrets of a project's config.
//!
//! A place is `PROJECT/CONFIG#NAME`; without `#NAME` the name is the key's. Names are upper-case, and none starts with
//! `DOPPLER_`.
//!
//! **Whose value.** A line in the secret's note names the placement and covers the value (`note.rs`), so that a value
//! that was changed by hand is somebody else's. The note is written after the value; if that fails, the value is taken
//! back. After a crash between the two the next try finds a value without a note, and notes it where it is the very one.
//! Notes belong to a name in the whole project: each config has a line of its own, and what people wrote stays.
//!
//! **The guard** is the old value: a change request is carried out only if `originalValue` is what lies there, a real
//! `null` for nothing. With the visibility `restricted` nobody can read values, so the guard is the name, and what is
//! known after a write is that the name is listed.
//!
//! **Approval.** Where a policy makes a change wait, the answer names it instead of the secrets. Once somebody approved it
//! the value lies there without a note, as after a crash.
//!
//! The API's documentation does not show change requests; they are as in the vendor's CLI (`pkg/http/api.go`,
//! `pkg/models/api.go`), and so is what may be sent again: 429, and 5xx without a JSON body.

mod note;

use std::collections::BTreeMap;

use async_trait::async_trait;
use keywright_core::name::{EnvironmentName, KeyName, ProjectName, StoreName};
use keywright_core::place::Place;
use keywright_core::plan::Destination;
use keywright_core::secret::Secret;
use keywright_core::store::{Origin, Presence, Store, StoreError, StoreFacts, VerifyMode, Write, Written};
use keywright_core::text::Untrusted;
use reqwest::Method;
use serde::de::IgnoredAny;
use serde::{Deserialize, Serialize};

use super::remote::{At, Held, Stamp, is_permitted, written};
use super::{StoreConfig, StoreConnectError};
use crate::rest::{Failure, Proof, Rest, Said, body, parse};
use crate::wire::Call;

/// The kind's name.
pub(super) const KIND: &str = "doppler";

/// The names of the settings.
pub(super) const SETTINGS: &[(&str, &str)] =
    &[("visibility", "`masked` (unless set), `unmasked` or `restricted`: nobody can read the value again")];

/// How often a note is written and read again before somebody else's note is left alone.
const TRIES: u32 = 3;

pub(super) static FACTS: StoreFacts = StoreFacts {
    kind: KIND,
    verify: VerifyMode::ReadBack,
    guarded: true,
    versions: false,
    // The vendor's limit is not documented.
    max_value: 32 << 10,
};

/// One configured workplace.
pub(super) struct Doppler {
    name: StoreName,
    token: Secret,
    visibility: &'static str,
    rest: Rest,
}

struct Spot<'a> {
    project: &'a str,
    config: &'a str,
    name: &'a str,
}

/// `GET /v3/configs/config/secrets`, and the answer to a change.
#[derive(Deserialize)]
struct Answer {
    secrets: Option<BTreeMap<String, Entry>>,
    /// What waits for approval.
    #[serde(alias = "changeRequest")]
    change_request: Option<IgnoredAny>,
}

#[derive(Deserialize)]
struct Entry {
    /// Null where the value is restricted.
    raw: Option<Held>,
    /// With references to other secrets filled in.
    computed: Option<Held>,
    note: Option<String>,
}

#[derive(Serialize)]
struct Changes<'a> {
    change_requests: [Change<'a>; 1],
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Change<'a> {
    name: &'a str,
    original_name: Option<&'a str>,
    value: Option<&'a str>,
    /// Left out where it can't be known, null for a secret that does not exist.
    #[serde(skip_serializing_if = "Option::is_none")]
    original_value: Option<Option<&'a str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    visibility: Option<&'static str>,
    should_delete: bool,
}

#[derive(Serialize)]
struct Note<'a> {
    secret: &'a str,
    note: &'a str,
}

#[derive(Deserialize)]
struct Refusal {
    messages: Vec<String>,
}

fn said(body: &[u8]) -> Option<Said> {
    let Refusal { messages } = serde_json::from_slice(body).ok()?;
    Some(Said { code: None, message: messages.join("; ") })
}

impl Entry {
    fn stamp(&self, config: &str) -> Option<Stamp> {
        let stamp = note::stamp(self.note.as_deref().unwrap_or_default(), config)?;
        self.raw.as_ref().is_none_or(|raw| stamp.covers(&raw.0)).then_some(stamp)
    }

    fn presence(&self, config: &str) -> Presence {
        match self.stamp(config) {
            Some(stamp) => {
                let version = stamp.placement.to_string();
                stamp.presence(Some(version))
            }
            None => Presence::Foreign,
        }
    }

    /// Whether the value can be read and is this one.
    fn is(&self, secret: &Secret) -> bool {
        self.raw.as_ref().is_some_and(|raw| raw.is(secret))
    }

    /// What a change of it expects.
    fn original(&self) -> Option<Option<&str>> {
        self.raw.as_ref().map(|raw| Some(raw.0.expose_secret()))
    }
}

impl Doppler {
    /// Reads the configuration.
    ///
    /// # Errors
    /// When the address or a setting makes no sense.
    pub(super) fn new(config: &StoreConfig, token: Secret) -> Result<Self, StoreConnectError> {
        let visibility = match config.setting("visibility") {
            None | Some("masked") => "masked",
            Some("unmasked") => "unmasked",
            Some("restricted") => "restricted",
            Some(_) => return Err(config.bad("visibility", "is `masked`, `unmasked` or `restricted`")),
        };
        let wire = config.wire_with(KIND, Some("https://api.doppler.com"), |wire| {
            wire.retry.is_final =
                |reply| reply.status >= 500 && serde_json::from_slice::<IgnoredAny>(&reply.body).is_ok();
        })?;
        let rest = Rest::new(wire, [&token], |_| false, said);
        Ok(Self { name: config.name.clone(), token, visibility, rest })
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
        let shape = || at.bad("write `PROJECT/CONFIG#NAME`, as in `web/dev#API_TOKEN`");
        let (scope, name) = match (destination.place.place.split_once('#'), key) {
            (Some((scope, name)), _) => (scope, name),
            (None, Some(key)) => (destination.place.place.as_str(), key.as_str()),
            (None, None) => return Err(shape()),
        };
        let (project, config) = scope.split_once('/').ok_or_else(shape)?;
        if !is_slug(project) || !is_slug(config) {
            return Err(shape());
        }
        let upper = |b: u8| b.is_ascii_uppercase() || b.is_ascii_digit() || b == b'_';
        if name.is_empty() || name.len() > 200 || !name.bytes().all(upper) {
            return Err(at.bad("names have upper-case letters, digits and `_`"));
        }
        if name.starts_with("DOPPLER_") || name.starts_with(|c: char| c.is_ascii_digit()) {
            return Err(
                at.bad("a name starts with no digit, and not with `DOPPLER_`, which is Doppler's own")
            );
        }
        Ok(Spot { project, config, name })
    }

    async fn found(&self, spot: &Spot<'_>) -> Result<Option<Entry>, Failure> {
        let mut call = Call::get(vec!["v3", "configs", "config", "secrets"], &self.token);
        call.query = spot.query();
        call.query.push(("secrets", spot.name.to_owned()));
        call.query.push(("include_dynamic_secrets", "false".to_owned()));
        let answer: Answer = self.rest.json(call).await?;
        let secrets = answer.secrets.ok_or_else(|| Failure::garbled("it lists no secrets".to_owned()))?;
        Ok(secrets.into_iter().find(|(name, _)| name == spot.name).map(|(_, entry)| entry))
    }

    async fn seen(&self, spot: &Spot<'_>) -> Result<Option<Entry>, StoreError> {
        self.found(spot).await.map_err(|failure| failure.of_store(&self.name))
    }

    /// Asks for one change. `Ok(false)` means that it waits for approval.
    async fn change(&self, spot: &Spot<'_>, change: Change<'_>) -> Result<bool, Failure> {
        let body = body(&Changes { change_requests: [change] })?;
        let path = vec!["v3", "configs", "config", "secrets"];
        let mut call = Call::once(Method::POST, path, &self.token, body);
        call.query = spot.query();
        let answer: Answer = parse(&self.rest.send(call).await?)?;
        match (answer.secrets, answer.change_request) {
            (None, Some(_)) => Ok(false),
            (Some(_), _) => Ok(true),
            (None, None) => Err(Failure::garbled("it names neither secrets nor a change request".to_owned())),
        }
    }

    async fn set_note(&self, spot: &Spot<'_>, note: &str) -> Result<(), Failure> {
        let body = body(&Note { secret: spot.name, note })?;
        let path = vec!["v3", "projects", "project", "note"];
        let mut call = Call::again(Method::POST, path, &self.token, body);
        call.query.push(("project", spot.project.to_owned()));
        self.rest.send(call).await.map(drop)
    }

    /// Deletes what lies there under the guard of its value. `Ok(false)` means that it waits for approval.
    async fn delete(&self, spot: &Spot<'_>, entry: &Entry) -> Result<bool, Failure> {
        let change = Change {
            name: spot.name,
            original_name: Some(spot.name),
            value: entry.original().flatten(),
            original_value: entry.original(),
            visibility: None,
            should_delete: true,
        };
        self.change(spot, change).await
    }

    /// Notes whose value it is. Nothing guards a note, so it is read again. Where it can't be written, the value is
    /// taken back: nobody could tell later.
    async fn claim(&self, spot: &Spot<'_>, write: &Write<'_>) -> Result<Written, StoreError> {
        let stamp = Stamp::over(write.origin, write.secret);
        let mut why = StoreError::Unavailable {
            store: self.name.clone(),
            why: "somebody else keeps writing the secret's note".to_owned(),
        };
        for _ in 0..TRIES {
            let entry = match self.found(spot).await {
                Ok(Some(entry)) => entry,
                Ok(None) => return Err(self.at(write.destination).mismatch()),
                Err(failure) => {
                    why = failure.of_store(&self.name);
                    break;
                }
            };
            if entry.stamp(spot.config).as_ref() == Some(&stamp) {
                return Ok(written(stamp.placement.to_string()));
            }
            let text = note::with(entry.note.as_deref().unwrap_or_default(), spot.config, &stamp);
            if let Err(failure) = self.set_note(spot, &text).await {
                why = about_the_note(failure.of_store(&self.name));
                break;
            }
        }
        let ours = match self.found(spot).await {
            Ok(entry) => entry.filter(|entry| entry.is(write.secret)),
            Err(_) => None,
        };
        match ours {
            Some(entry) if matches!(self.delete(spot, &entry).await, Ok(true)) => Err(why),
            _ => Err(self.at(write.destination).unknown(format!("written, but not whose it is: {why}"))),
        }
    }

    /// What came of a write that was not simply done: what lies there now decides.
    async fn settle(
        &self,
        spot: &Spot<'_>,
        write: &Write<'_>,
        before: &Presence,
        error: StoreError,
    ) -> Result<Written, StoreError> {
        let at = self.at(write.destination);
        let now = match self.found(spot).await {
            Ok(now) => now,
            Err(unseen) => return Err(at.unseen(error, &unseen)),
        };
        match now {
            Some(entry) if entry.is(write.secret) => self.claim(spot, write).await,
            Some(entry) if entry.raw.is_none() => {
                Err(at.unknown(format!("{error}, and the value can't be read to tell whose it is")))
            }
            now if presence(now.as_ref(), spot) == *before => Err(error),
            // It says that it wrote, and keeps another value: what it made of ours, or somebody else's.
            _ if matches!(error, StoreError::Mismatch { .. }) => Err(error),
            _ => Err(at.conflict()),
        }
    }
}

impl Spot<'_> {
    fn query(&self) -> Vec<(&'static str, String)> {
        vec![("project", self.project.to_owned()), ("config", self.config.to_owned())]
    }
}

/// Says that it is the note that could not be written, and not the value.
fn about_the_note(error: StoreError) -> StoreError {
    let said = |why: &dyn std::fmt::Display| {
        format!("its note, which says whose value it is, can't be written: {why}")
    };
    let told = |message: &Untrusted| Untrusted::capped(&said(&message.raw()), 400);
    match error {
        StoreError::Value { store, why } => StoreError::Value { store, why: said(&why) },
        StoreError::Unavailable { store, why } => StoreError::Unavailable { store, why: said(&why) },
        StoreError::Refused { store, message } => StoreError::Refused { store, message: told(&message) },
        StoreError::Missing { store, message } => StoreError::Missing { store, message: told(&message) },
        StoreError::Unauthorized { store, message } => {
            StoreError::Unauthorized { store, message: told(&message) }
        }
        other => other,
    }
}

fn presence(entry: Option<&Entry>, spot: &Spot<'_>) -> Presence {
    entry.map_or(Presence::Absent, |entry| entry.presence(spot.config))
}

fn is_slug(text: &str) -> bool {
    (1..=64).contains(&text.len())
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
}

#[async_trait]
impl Store for Doppler {
    fn facts(&self) -> &'static StoreFacts {
        &FACTS
    }

    async fn check(&self) -> Result<(), StoreError> {
        // Who the token is; whether it may write shows only when it does.
        let call = Call::get(vec!["v3", "me"], &self.token);
        self.rest.json::<IgnoredAny>(call).await.map(drop).map_err(|failure| failure.of_store(&self.name))
    }

    fn default_place(&self, project: &ProjectName, environment: &EnvironmentName, name: &KeyName) -> String {
        format!("{project}/{environment}#{name}")
    }

    async fn accept(
        &self,
        destination: Destination,
        name: &KeyName,
        _: Option<&str>,
    ) -> Result<Destination, StoreError> {
        let Spot { project, config, name } = self.spot(&destination, Some(name))?;
        let place = format!("{project}/{config}#{name}");
        Ok(Destination { place: Place { store: destination.place.store.clone(), place }, base: None })
    }

    async fn look(&self, destination: &Destination) -> Result<Presence, StoreError> {
        let spot = self.spot(destination, None)?;
        Ok(presence(self.seen(&spot).await?.as_ref(), &spot))
    }

    async fn write(&self, write: &Write<'_>) -> Result<Written, StoreError> {
        let (at, spot) = (self.at(write.destination), self.spot(write.destination, None)?);
        let value = write.secret.expose_secret();
        if value.len() > FACTS.max_value {
            return Err(at.value("it is longer than 32 KiB"));
        }
        if value.contains("${") {
            return Err(at.value("Doppler would take `${` for a reference to another secret"));
        }
        let entry = self.seen(&spot).await?;
        let before = presence(entry.as_ref(), &spot);
        let stamp = entry.as_ref().and_then(|entry| entry.stamp(spot.config));
        if stamp.is_some_and(|stamp| stamp == Stamp::over(write.origin, write.secret)) {
            return Ok(written(write.origin.placement.to_string()));
        }
        if !is_permitted(write, &before) {
            return match entry {
                // Our own value, whose note was never written.
                Some(entry) if before == Presence::Foreign && entry.is(write.secret) => {
                    self.claim(&spot, write).await
                }
                _ => Err(at.conflict()),
            };
        }
        let change = Change {
            name: spot.name,
            original_name: entry.as_ref().map(|_| spot.name),
            value: Some(value),
            original_value: entry.as_ref().map_or(Some(None), Entry::original),
            visibility: Some(self.visibility),
            should_delete: false,
        };
        match self.change(&spot, change).await {
            Ok(true) if self.visibility == "restricted" => self.claim(&spot, write).await,
            // Success, but the change may have been left out: the guard's answer is not documented.
            Ok(true) => self.settle(&spot, write, &before, at.mismatch()).await,
            Ok(false) => Err(at.pending()),
            Err(failure) if failure.proof == Proof::NotDone && !failure.is_denied() => {
                Err(failure.of_write(&self.name))
            }
            Err(failure) => self.settle(&spot, write, &before, failure.of_write(&self.name)).await,
        }
    }

    async fn verify(&self, write: &Write<'_>, _: &Written) -> Result<VerifyMode, StoreError> {
        let (at, spot) = (self.at(write.destination), self.spot(write.destination, None)?);
        let Some(entry) = self.seen(&spot).await? else { return Err(at.mismatch()) };
        if entry.stamp(spot.config).is_none_or(|stamp| stamp != Stamp::over(write.origin, write.secret)) {
            return Err(at.mismatch());
        }
        match (&entry.raw, &entry.computed) {
            (None, _) => Ok(VerifyMode::StatusOnly),
            (Some(raw), Some(computed)) if raw.is(write.secret) && computed.is(write.secret) => {
                Ok(VerifyMode::ReadBack)
            }
            _ => Err(at.mismatch()),
        }
    }

    async fn remove(&self, origin: &Origin, destination: &Destination) -> Result<(), StoreError> {
        let (at, spot) = (self.at(destination), self.spot(destination, None)?);
        let Some(entry) = self.seen(&spot).await? else { return Ok(()) };
        if entry.stamp(spot.config).is_none_or(|stamp| stamp.placement != origin.placement) {
            return Ok(());
        }
        let outcome = self.delete(&spot, &entry).await;
        if matches!(outcome, Ok(false)) {
            return Err(at.pending());
        }
        let left = self.seen(&spot).await?;
        if left
            .as_ref()
            .and_then(|entry| entry.stamp(spot.config))
            .is_some_and(|s| s.placement == origin.placement)
        {
            return Err(outcome.err().map_or_else(
                || StoreError::Unavailable {
                    store: self.name.clone(),
                    why: "it says that the secret is deleted, but it is still there".to_owned(),
                },
                |failure| failure.of_store(&self.name),
            ));
        }
        // The line is about a value that is gone. A note without its secret may be gone as well.
        let note = note::without(entry.note.as_deref().unwrap_or_default(), spot.config);
        if let Err(failure) = self.set_note(&spot, &note).await {
            tracing::debug!(cause = ?failure.cause, "the note of a deleted secret stays");
        }
        Ok(())
    }
}
