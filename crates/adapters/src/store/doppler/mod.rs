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
//! the value lies there without a note, as after a crash. Before a change is asked for again, those that are open are
//! looked through, and one that is not wanted any more is closed (`waits.rs`).
//!
//! What a change is made of, and what may be sent again (429, and 5xx without a JSON body), is as in the vendor's CLI
//! (`pkg/http/api.go`, `pkg/models/api.go`); change requests are as in the document that its MCP server ships.

mod note;
mod waits;

use std::collections::BTreeMap;

use async_trait::async_trait;
use keywright_core::id::PlacementId;
use keywright_core::name::{EnvironmentName, KeyName, ProjectName, StoreName};
use keywright_core::secret::Secret;
use keywright_core::store::{Change, Origin, Presence, Standing, StoreError, StoreFacts, VerifyMode, Write};
use reqwest::Method;
use serde::de::IgnoredAny;
use serde::{Deserialize, Serialize};

use self::waits::Wanted;
use super::remote::{At, Held, Stamp, check};
use super::spots::{Put, Seen, Spots};
use super::{StoreConfig, StoreConnectError};
use crate::names::{is_plain, is_upper};
use crate::rest::{Failure, Rest, Said, body};
use crate::wire::Call;

/// The kind's name.
pub(super) const KIND: &str = "doppler";

const VISIBILITY: &str = "visibility";

/// The names of the settings.
pub(super) const SETTINGS: &[(&str, &str)] =
    &[(VISIBILITY, "`masked` (unless set), `unmasked` or `restricted`: nobody can read the value again")];

/// The path of a config's secrets.
const SECRETS: [&str; 4] = ["v3", "configs", "config", "secrets"];

/// How often a note is written and read again before somebody else's note is left alone.
const TRIES: u32 = 3;

pub(super) static FACTS: StoreFacts = StoreFacts {
    kind: KIND,
    verify: VerifyMode::ReadBack,
    guarded: true,
    versions: false,
    // The vendor's limit is not documented.
    max_value: 32 << 10,
    seen: "at the next read; `doppler run` when it is started again, or at once with `--watch`",
    settles: 0,
};

/// One configured workplace.
pub(super) struct Doppler {
    token: Secret,
    visibility: &'static str,
    rest: Rest,
}

/// A place, taken apart.
pub(super) struct Spot {
    project: String,
    config: String,
    name: String,
}

/// `GET /v3/configs/config/secrets`, and the answer to a change.
#[derive(Deserialize)]
struct Answer {
    secrets: Option<BTreeMap<String, Entry>>,
    /// What waits for approval.
    #[serde(alias = "changeRequest")]
    change_request: Option<Named>,
}

/// A change request, as the answer to a change names it.
#[derive(Deserialize)]
struct Named {
    #[serde(default)]
    id: Option<String>,
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
    change_requests: [Edit<'a>; 1],
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Edit<'a> {
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

/// What was found at a place, and the config whose line in a note is meant.
pub(super) struct Found {
    entry: Option<Entry>,
    config: String,
    /// Whose value it is, where it came late and nothing says so.
    late: Option<PlacementId>,
}

/// `{messages, success}`.
fn said(body: &[u8]) -> Option<Said> {
    #[derive(Deserialize)]
    struct Refusal {
        messages: Vec<String>,
    }
    let Refusal { messages } = serde_json::from_slice(body).ok()?;
    Some(Said { code: None, message: messages.join("; ") })
}

/// A change, as it is known again.
fn known(id: Option<&str>, placement: PlacementId, value: Option<&Secret>) -> Change {
    Change::new(id, value.map(|value| check(&placement, value)).as_deref())
}

impl Entry {
    fn note(&self) -> &str {
        self.note.as_deref().unwrap_or_default()
    }

    fn stamp(&self, config: &str) -> Option<Stamp> {
        let stamp = note::stamp(self.note(), config)?;
        self.raw.as_ref().is_none_or(|raw| stamp.covers(&raw.0)).then_some(stamp)
    }

    /// What a change of it expects.
    fn original(&self) -> Option<Option<&str>> {
        self.raw.as_ref().map(|raw| Some(raw.0.expose_secret()))
    }
}

impl Found {
    fn stamp(&self) -> Option<Stamp> {
        self.entry.as_ref()?.stamp(&self.config)
    }
}

impl Seen for Found {
    fn presence(&self) -> Presence {
        if self.entry.is_none() {
            return Presence::Absent;
        }
        self.stamp().map_or(Presence::Foreign, Stamp::presence_by_placement)
    }

    fn is_of(&self, origin: &Origin) -> bool {
        self.late == Some(origin.placement) || self.stamp().is_some_and(|stamp| stamp.is_of(origin))
    }
}

impl Doppler {
    /// Reads the configuration.
    ///
    /// # Errors
    /// When the address or a setting makes no sense.
    pub(super) fn new(config: &StoreConfig, token: Secret) -> Result<Self, StoreConnectError> {
        let visibility =
            config.one_of(VISIBILITY, &["masked", "unmasked", "restricted"])?.unwrap_or("masked");
        let wire = config.wire_with(KIND, Some("https://api.doppler.com"), |wire| {
            wire.retry.is_final =
                |reply| reply.status >= 500 && serde_json::from_slice::<IgnoredAny>(&reply.body).is_ok();
        })?;
        let rest = Rest::new(wire, [&token], |_| false, said);
        Ok(Self { token, visibility, rest })
    }

    async fn entry(&self, spot: &Spot) -> Result<Option<Entry>, Failure> {
        let mut call = Call::get(SECRETS.to_vec(), &self.token);
        call.query = spot.query();
        call.query.push(("secrets", spot.name.clone()));
        call.query.push(("include_dynamic_secrets", "false".to_owned()));
        let answer: Answer = self.rest.json(call).await?;
        let mut secrets = answer.secrets.ok_or_else(|| Failure::garbled("it lists no secrets".to_owned()))?;
        Ok(secrets.remove(&spot.name))
    }

    /// Asks for one change, which may wait for approval: of this value, or of its end.
    async fn change(
        &self,
        spot: &Spot,
        edit: Edit<'_>,
        placement: PlacementId,
        value: Option<&Secret>,
    ) -> Result<Put, Failure> {
        let wanted = match value {
            Some(value) if !edit.should_delete => Wanted::Value(value),
            _ => Wanted::Removal,
        };
        let body = body(&Changes { change_requests: [edit] })?;
        let call = Call::once(Method::POST, SECRETS.to_vec(), &self.token, body);
        let answer: Answer = self.rest.json(Call { query: spot.query(), ..call }).await?;
        match (answer.secrets, answer.change_request) {
            (None, Some(Named { id: Some(id) })) => Ok(Put::Pending(known(Some(&id), placement, value))),
            (None, Some(Named { id: None })) => {
                // How the answer names it is not documented.
                let id = self.open_request(spot, &wanted).await.unwrap_or_default();
                Ok(Put::Pending(known(id.as_deref(), placement, value)))
            }
            (Some(_), _) => Ok(Put::Unclaimed),
            (None, None) => Err(Failure::garbled("it names neither secrets nor a change request".to_owned())),
        }
    }

    async fn set_note(&self, spot: &Spot, note: &str) -> Result<(), Failure> {
        let body = body(&Note { secret: &spot.name, note })?;
        let path = vec!["v3", "projects", "project", "note"];
        let call = Call::again(Method::POST, path, &self.token, body);
        let query = vec![("project", spot.project.clone())];
        self.rest.send(Call { query, ..call }).await.map(drop)
    }

    /// Deletes what lies there under the guard of its value, unless that was asked for already and waits.
    async fn delete(&self, spot: &Spot, entry: &Entry, placement: PlacementId) -> Result<Put, Failure> {
        let value = entry.raw.as_ref().map(|raw| &raw.0);
        if let Some(id) = self.open_request(spot, &Wanted::Removal).await? {
            return Ok(Put::Pending(known(Some(&id), placement, value)));
        }
        let edit = Edit {
            name: &spot.name,
            original_name: Some(&spot.name),
            value: entry.original().flatten(),
            original_value: entry.original(),
            visibility: None,
            should_delete: true,
        };
        self.change(spot, edit, placement, value).await
    }
}

impl Spot {
    fn query(&self) -> Vec<(&'static str, String)> {
        vec![("project", self.project.clone()), ("config", self.config.clone())]
    }
}

#[async_trait]
impl Spots for Doppler {
    type Spot = Spot;
    type Seen = Found;
    const CLAIM: &str = "its note";

    fn facts(&self) -> &'static StoreFacts {
        &FACTS
    }

    async fn check(&self, store: &StoreName) -> Result<(), StoreError> {
        // Who the token is; whether it may write shows only when it does.
        let call = Call::get(vec!["v3", "me"], &self.token);
        self.rest.json::<IgnoredAny>(call).await.map(drop).map_err(|failure| failure.of_store(store))
    }

    fn default_place(&self, project: &ProjectName, environment: &EnvironmentName, name: &KeyName) -> String {
        format!("{project}/{environment}#{name}")
    }

    fn spot(&self, at: At<'_>) -> Result<Spot, StoreError> {
        let parts = at.place.split_once('#').and_then(|(scope, name)| Some((scope.split_once('/')?, name)));
        let is_slug = |text: &str| is_plain(text, "-_", 64);
        let ((project, config), name) = parts
            .filter(|((project, config), _)| is_slug(project) && is_slug(config))
            .ok_or_else(|| at.bad("write `PROJECT/CONFIG#NAME`, as in `web/dev#API_TOKEN`"))?;
        if !is_upper(name, "_", 200) {
            return Err(at.bad("names have upper-case letters, digits and `_`"));
        }
        if name.starts_with("DOPPLER_") || name.starts_with(|c: char| c.is_ascii_digit()) {
            return Err(
                at.bad("a name starts with no digit, and not with `DOPPLER_`, which is Doppler's own")
            );
        }
        Ok(Spot { project: project.to_owned(), config: config.to_owned(), name: name.to_owned() })
    }

    fn refuses(&self, value: &str) -> Option<&'static str> {
        if value.len() > FACTS.max_value {
            return Some("it is longer than 32 KiB");
        }
        value.contains("${").then_some("Doppler would take `${` for a reference to another secret")
    }

    async fn see(&self, spot: &Spot) -> Result<Found, Failure> {
        Ok(Found { entry: self.entry(spot).await?, config: spot.config.clone(), late: None })
    }

    /// Success is not all: the change may have been left out, for the guard's answer is not documented.
    async fn put(&self, spot: &Spot, seen: &Found, write: &Write<'_>) -> Result<Put, Failure> {
        let old = seen.entry.as_ref();
        let edit = Edit {
            name: &spot.name,
            original_name: old.map(|_| spot.name.as_str()),
            value: Some(write.secret.expose_secret()),
            original_value: old.map_or(Some(None), Entry::original),
            visibility: Some(self.visibility),
            should_delete: false,
        };
        self.change(spot, edit, write.origin.placement, Some(write.secret)).await
    }

    fn is_unclaimed(&self, seen: &Found, write: &Write<'_>) -> Option<bool> {
        let Some(entry) = &seen.entry else { return Some(false) };
        let is_same = entry.raw.as_ref()?.is(write.secret);
        Some(is_same && seen.stamp().is_none())
    }

    /// Nothing guards a note, so it is read again.
    async fn claim(&self, spot: &Spot, _: &Found, write: &Write<'_>) -> Result<Option<String>, Failure> {
        let stamp = Stamp::over(write.origin, write.secret);
        for _ in 0..TRIES {
            let entry = self.entry(spot).await?;
            let entry = entry.ok_or_else(|| Failure::unavailable("the secret is gone again"))?;
            if entry.stamp(&spot.config).as_ref() == Some(&stamp) {
                return Ok(None);
            }
            self.set_note(spot, &note::with(entry.note(), &spot.config, &stamp)).await?;
        }
        Err(Failure::unavailable("somebody else keeps writing it"))
    }

    async fn take_back(&self, spot: &Spot, write: &Write<'_>) -> bool {
        match self.entry(spot).await {
            Ok(Some(entry)) if entry.raw.as_ref().is_some_and(|raw| raw.is(write.secret)) => {
                matches!(self.delete(spot, &entry, write.origin.placement).await, Ok(Put::Unclaimed))
            }
            _ => false,
        }
    }

    async fn holds(&self, _: &Spot, seen: &Found, secret: &Secret) -> Result<Option<bool>, Failure> {
        let Some(entry) = &seen.entry else { return Ok(Some(false)) };
        let is = |value: &Option<Held>| value.as_ref().is_some_and(|value| value.is(secret));
        Ok(entry.raw.as_ref().map(|_| is(&entry.raw) && is(&entry.computed)))
    }

    async fn take(&self, spot: &Spot, seen: &Found, origin: &Origin) -> Result<Put, Failure> {
        match &seen.entry {
            Some(entry) if seen.is_of(origin) => self.delete(spot, entry, origin.placement).await,
            _ => Ok(Put::Done(None)),
        }
    }

    async fn awaited(&self, spot: &Spot, write: &Write<'_>) -> Result<Option<Change>, Failure> {
        let id = self.open_request(spot, &Wanted::Value(write.secret)).await?;
        Ok(id.map(|id| known(Some(&id), write.origin.placement, Some(write.secret))))
    }

    async fn standing(&self, spot: &Spot, change: &Change) -> Result<Standing, Failure> {
        self.standing_of(spot, change).await
    }

    async fn withdraw(&self, spot: &Spot, change: &Change) -> Result<Standing, Failure> {
        self.close(spot, change).await
    }

    /// A value that was approved lies there without a note.
    fn recognise(&self, seen: Found, origin: &Origin, change: &Change) -> Found {
        let raw = seen.entry.as_ref().and_then(|entry| entry.raw.as_ref());
        let is_late = seen.stamp().is_none()
            && raw.is_some_and(|raw| Some(check(&origin.placement, &raw.0).as_str()) == change.check());
        Found { late: is_late.then_some(origin.placement), ..seen }
    }

    /// The line is about a value that is gone. A note without its secret may be gone as well.
    async fn clear(&self, spot: &Spot, seen: &Found) {
        let note = seen.entry.as_ref().map(Entry::note).unwrap_or_default();
        if let Err(failure) = self.set_note(spot, &note::without(note, &spot.config)).await {
            tracing::debug!(cause = ?failure.cause, "the note of a deleted secret stays");
        }
    }
}
