//! The store `github-actions`: secrets of GitHub Actions.
//!
//! | place | secret of |
//! |---|---|
//! | `OWNER/REPO#NAME` | a repository |
//! | `OWNER/REPO@ENVIRONMENT#NAME` | one of its environments |
//! | `OWNER#NAME` | an organisation |
//!
//! Without `#NAME` the secret is called like the key. Names are upper case, because GitHub makes them so.
//!
//! **What is known of a secret.** Its value can't be read again, by anybody but a workflow. A placement is verified by
//! `updated_at`: our write moved it, and nobody has since ([`VerifyMode::VersionMoved`]). GitHub's clock has whole
//! seconds, so that a change by somebody else in the second of our own goes unseen.
//!
//! **Whose it is.** A variable beside the secret says so ([`note`]); a secret without one, or one that changed since, is
//! somebody else's and stays, unless the expectation of a write is [`Presence::Foreign`]. There is no write under a
//! guard: what somebody else writes between our look and our write is lost.
//!
//! **What the token needs.** Fine-grained or of an App: `Secrets` and `Variables`, read and write; `Environments` for the
//! secrets of environments; the organisation's `Secrets` and `Variables` for its own.
//!
//! **Organisation secrets.** A new one needs the setting `visibility`, because GitHub wants to know who may read it. A
//! later write repeats who may read it at that time, for GitHub clears the selection of repositories otherwise.

mod api;
mod note;
mod spot;

use async_trait::async_trait;
use keywright_core::name::{EnvironmentName, KeyName, ProjectName, StoreName};
use keywright_core::place::Place;
use keywright_core::plan::Destination;
use keywright_core::secret::Secret;
use keywright_core::store::{Origin, Presence, Store, StoreError, StoreFacts, VerifyMode, Write, Written};
use keywright_core::text::Untrusted;

use self::api::{Api, Held, Readers};
use self::note::{Mark, Note, Owner, Slip};
use self::spot::Spot;
use super::{StoreConfig, StoreConnectError};
use crate::github::{PACE, PUBLIC};
use crate::rest::Failure;
use crate::store::remote::At;
use crate::wire::CA_FILE;

/// The kind's name.
pub(super) const KIND: &str = "github-actions";

const VISIBILITY: &str = "visibility";
const SELECTED: &str = "selected_repositories";
const REPOSITORY: &str = "repository";

/// The settings, and what each is.
pub(super) const SETTINGS: &[(&str, &str)] = &[
    (REPOSITORY, "the repository, `OWNER/REPO`, where a key lies by default"),
    (VISIBILITY, "who may read a new organisation secret: `all`, `private` or `selected`"),
    (SELECTED, "with `visibility` `selected`: the names of repositories, with commas between"),
    CA_FILE,
];

pub(super) static FACTS: StoreFacts = StoreFacts {
    kind: KIND,
    verify: VerifyMode::VersionMoved,
    guarded: false,
    versions: false,
    max_value: 48 * 1024,
    seen: "with the next job; one that runs keeps what it began with",
    settles: 0,
};

/// One configured store of GitHub Actions secrets.
pub(super) struct GitHubActions {
    name: StoreName,
    api: Api,
    default: Option<Spot>,
    visibility: Option<Visibility>,
}

/// Who may read a new organisation secret.
enum Visibility {
    All,
    Private,
    /// These repositories, by name.
    Selected(Vec<String>),
}

/// What was found at a place.
struct Seen {
    held: Option<Held>,
    slip: Slip,
}

impl GitHubActions {
    /// Reads the configuration.
    ///
    /// # Errors
    /// When the address or a setting makes no sense.
    pub(super) fn new(config: &StoreConfig, token: Secret) -> Result<Self, StoreConnectError> {
        let default = config.setting(REPOSITORY).map(|text| {
            Spot::parse(&format!("{text}#_"), None)
                .ok()
                .filter(|spot| !spot.is_of_organisation())
                .ok_or_else(|| config.bad(REPOSITORY, "must be `OWNER/REPO`"))
        });
        let selected = config.setting(SELECTED);
        let visibility = match (config.setting(VISIBILITY), selected) {
            (None, None) => None,
            (Some("all"), None) => Some(Visibility::All),
            (Some("private"), None) => Some(Visibility::Private),
            (Some("selected"), Some(names)) => Some(Visibility::Selected(
                names.split(',').map(|name| name.trim().to_owned()).filter(|name| !name.is_empty()).collect(),
            )),
            (Some("selected"), None) => {
                return Err(config.bad(SELECTED, "is missing: which repositories may read it"));
            }
            (_, Some(_)) => return Err(config.bad(SELECTED, "is for `visibility` `selected`")),
            _ => return Err(config.bad(VISIBILITY, "must be `all`, `private` or `selected`")),
        };
        let wire = config.wire(KIND, Some(PUBLIC))?;
        let default = default.transpose()?;
        Ok(Self { name: config.name.clone(), api: Api::new(wire, token), default, visibility })
    }

    fn spot(&self, place: &str, fallback: Option<&KeyName>) -> Result<Spot, StoreError> {
        Spot::parse(place, fallback).map_err(|why| StoreError::Place {
            store: self.name.clone(),
            place: Untrusted::capped(place, 200),
            why,
        })
    }

    async fn see(&self, spot: &Spot) -> Result<Seen, StoreError> {
        let held = self.api.secret(spot).await.map_err(|failure| self.failed(failure, spot))?;
        let slip = self.api.note(spot).await.map_err(|failure| self.failed(failure, spot))?;
        Ok(Seen { held, slip })
    }

    /// What a failure means where nothing was written.
    fn failed(&self, failure: Failure, spot: &Spot) -> StoreError {
        let store = self.name.clone();
        if failure.code() == Some(PACE) {
            return StoreError::Unavailable { store, why: "it asks to slow down".to_owned() };
        }
        if failure.is_not_found() {
            let text = format!("it does not reach `{}`, or there is no such thing", spot.text());
            return StoreError::Unauthorized { store, message: Untrusted::capped(&text, 400) };
        }
        failure.of_store(&self.name)
    }

    /// What a failed write means. Whatever the answer says: when the secret's time moved, it has landed.
    async fn not_written(&self, failure: Failure, spot: &Spot, before: Option<&Held>) -> StoreError {
        let why = || "the answer says that it was not written, yet the secret changed".to_owned();
        match self.api.secret(spot).await {
            Ok(now) if now.as_ref().map(|held| held.updated_at) != before.map(|held| held.updated_at) => {
                StoreError::OutcomeUnknown { store: self.name.clone(), why: why() }
            }
            Err(unseen) if failure.is_bare_denial() => {
                let at = At { store: &self.name, place: &spot.text() };
                at.unseen(failure.of_write(&self.name), &unseen)
            }
            _ if failure.code() == Some(PACE) => self.failed(failure, spot),
            _ => failure.of_write(&self.name),
        }
    }

    /// What a failure after the write means: it has landed, and is not confirmed.
    fn unconfirmed(&self, failure: Failure, spot: &Spot) -> StoreError {
        let why = format!("it was written, but could not be looked at: {}", self.failed(failure, spot));
        StoreError::OutcomeUnknown { store: self.name.clone(), why }
    }

    fn conflict(&self, spot: &Spot) -> StoreError {
        StoreError::Conflict { store: self.name.clone(), place: Untrusted::capped(&spot.text(), 200) }
    }

    async fn readers(&self, spot: &Spot, held: Option<&Held>) -> Result<Readers, StoreError> {
        if !spot.is_of_organisation() {
            return Ok(Readers::default());
        }
        let failed = |failure| self.failed(failure, spot);
        if let Some(held) = held {
            return self.api.readers(spot, held).await.map_err(failed);
        }
        let (visibility, ids) = match &self.visibility {
            Some(Visibility::All) => ("all", None),
            Some(Visibility::Private) => ("private", None),
            Some(Visibility::Selected(names)) => {
                let mut ids = Vec::new();
                for name in names {
                    ids.push(self.api.repository(&spot.owner, name).await.map_err(failed)?);
                }
                ("selected", Some(ids))
            }
            None => return Err(self.needs_visibility(spot)),
        };
        Ok(Readers { visibility: Some(visibility.to_owned()), selected_repository_ids: ids })
    }

    fn needs_visibility(&self, spot: &Spot) -> StoreError {
        StoreError::Place {
            store: self.name.clone(),
            place: Untrusted::capped(&spot.text(), 200),
            why: "a secret of an organisation needs the store's setting `visibility`".to_owned(),
        }
    }
}

#[async_trait]
impl Store for GitHubActions {
    fn facts(&self) -> &'static StoreFacts {
        &FACTS
    }

    async fn check(&self) -> Result<(), StoreError> {
        match &self.default {
            Some(spot) => {
                let reached = self.api.reach(spot).await;
                reached.map_err(|failure| self.failed(failure, spot))
            }
            None => self.api.is_known().await.map_err(|failure| failure.of_store(&self.name)),
        }
    }

    fn default_place(&self, _: &ProjectName, _: &EnvironmentName, name: &KeyName) -> String {
        match &self.default {
            Some(spot) => spot.text().trim_end_matches('_').to_owned() + name.as_str(),
            // Not a place: `accept` says what one looks like.
            None => format!("#{name}"),
        }
    }

    async fn accept(
        &self,
        destination: Destination,
        name: &KeyName,
        _: Option<&str>,
    ) -> Result<Destination, StoreError> {
        let Place { store, place } = destination.place;
        let spot = self.spot(&place, Some(name))?;
        if spot.is_of_organisation() && self.visibility.is_none() {
            return Err(self.needs_visibility(&spot));
        }
        Ok(Destination { place: Place { store, place: spot.text() }, base: None })
    }

    async fn look(&self, destination: &Destination) -> Result<Presence, StoreError> {
        let spot = self.spot(&destination.place.place, None)?;
        let seen = self.see(&spot).await?;
        Ok(match (seen.slip.owner(seen.changed_at()), seen.changed_at()) {
            (Owner::Ours { mark, .. }, Some(at)) => mark.presence(at),
            (Owner::Nobody, _) => Presence::Absent,
            _ => Presence::Foreign,
        })
    }

    async fn write(&self, write: &Write<'_>) -> Result<Written, StoreError> {
        let spot = self.spot(&write.destination.place.place, None)?;
        let length = write.secret.expose_secret().len();
        if length > FACTS.max_value {
            let why = format!("a secret has at most {} bytes, this one has {length}", FACTS.max_value);
            return Err(StoreError::Value { store: self.name.clone(), why });
        }
        let seen = self.see(&spot).await?;
        if matches!(seen.slip, Slip::Theirs) {
            return Err(StoreError::Unsafe {
                store: self.name.clone(),
                place: Untrusted::capped(&spot.text(), 200),
                why: format!("the variable `{}` is taken, and this store keeps its notes there", spot.note),
                hint: "take the variable away, or choose another name".to_owned(),
            });
        }
        let current = match (seen.slip.owner(seen.changed_at()), seen.changed_at()) {
            (Owner::Ours { mark, confirmed: true }, Some(at)) if mark.is_of(write.origin) => {
                return Ok(written(at));
            }
            (Owner::Ours { mark, .. }, Some(at))
                if mark.is_of(write.origin) || mark.presence(at) == write.expected =>
            {
                Some(mark.at(at))
            }
            (Owner::Nobody, _) => None,
            (Owner::Somebody, _) if write.expected == Presence::Foreign => None,
            _ => return Err(self.conflict(&spot)),
        };
        let readers = self.readers(&spot, seen.held.as_ref()).await?;
        let next = Mark::of(write.origin);
        let note = Note::new(current, Some(next.clone()));
        self.api.put_note(&spot, &note).await.map_err(|failure| self.failed(failure, &spot))?;
        if let Err(failure) = self.api.put(&spot, write.secret, &readers).await {
            return Err(self.not_written(failure, &spot, seen.held.as_ref()).await);
        }
        let held = self.api.secret(&spot).await.map_err(|failure| self.unconfirmed(failure, &spot))?;
        let Some(Held { updated_at, .. }) = held else {
            let why = "it was written, but is not there".to_owned();
            return Err(StoreError::OutcomeUnknown { store: self.name.clone(), why });
        };
        let note = Note::new(Some(next.at(updated_at)), None);
        self.api.put_note(&spot, &note).await.map_err(|failure| self.unconfirmed(failure, &spot))?;
        Ok(written(updated_at))
    }

    async fn verify(&self, write: &Write<'_>, said: &Written) -> Result<VerifyMode, StoreError> {
        let spot = self.spot(&write.destination.place.place, None)?;
        let seen = self.see(&spot).await?;
        let is_ours = matches!(seen.slip.owner(seen.changed_at()),
            Owner::Ours { mark, confirmed: true } if mark.is_of(write.origin));
        let is_same = said.store_version.is_none() || seen.changed_at().map(written).as_ref() == Some(said);
        if is_ours && is_same {
            return Ok(VerifyMode::VersionMoved);
        }
        let place = Untrusted::capped(&spot.text(), 200);
        Err(StoreError::Mismatch { store: self.name.clone(), place })
    }

    async fn remove(&self, origin: &Origin, destination: &Destination) -> Result<(), StoreError> {
        let spot = self.spot(&destination.place.place, None)?;
        let seen = self.see(&spot).await?;
        let failed = |failure: Failure| match self.failed(failure, &spot) {
            StoreError::Unavailable { store, why } => StoreError::OutcomeUnknown { store, why },
            error => error,
        };
        let owner = seen.slip.owner(seen.changed_at());
        let Slip::Ours { note, .. } = &seen.slip else { return Ok(()) };
        match owner {
            Owner::Ours { mark, .. } if mark.is_of(origin) => {
                self.api.delete(&spot).await.map_err(failed)?;
                // "Done" is what it says; gone is what is not there any more. The note goes last: without it nobody would
                // know whose the secret is.
                if self.see(&spot).await?.held.is_some() {
                    let why = "it says that the secret is gone, and shows it".to_owned();
                    return Err(StoreError::OutcomeUnknown { store: self.name.clone(), why });
                }
                self.api.delete_note(&spot).await.map_err(failed)
            }
            // Another version's, while ours did not come about.
            Owner::Ours { .. } if note.expects(origin) => match note.without_next() {
                Some(note) => self.api.put_note(&spot, &note).await.map_err(failed),
                None => Ok(()),
            },
            Owner::Nobody | Owner::Somebody if note.names(origin) => {
                self.api.delete_note(&spot).await.map_err(failed)
            }
            _ => Ok(()),
        }
    }
}

impl Seen {
    fn changed_at(&self) -> Option<jiff::Timestamp> {
        self.held.as_ref().map(|held| held.updated_at)
    }
}

fn written(at: jiff::Timestamp) -> Written {
    Written { store_version: Some(at.to_string()) }
}
