//! The stores `1password` and `1password-cli`: items of one vault, through a Connect server (`connect.rs`) or through the
//! vendor's program (`op.rs`).
//!
//! A place is `TITLE#FIELD`; without `#FIELD` the field is `credential`. The vault is a setting. Each key is an item of its
//! own, of the category `API_CREDENTIAL`, so that it is read as `op://VAULT/TITLE/FIELD`.
//!
//! **Whose value.** The item has a field `keywright`, written in the same call as the value, which covers the value, so
//! that one that was changed by hand is somebody else's. Titles are not unique: two items of one title are somebody
//! else's place, whatever they hold, because nobody could read the value by its title. Titles differ by more than case.
//!
//! **The guard.** A create makes another item and overwrites nothing; it is looked at again, and taken back if the title
//! is taken twice. A replacement has no guard of the server: that the item's version moved by one shows afterwards
//! whether somebody came between, whose value is in the item's history.

mod connect;
mod items;
mod op;

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use async_trait::async_trait;
use keywright_core::name::{EnvironmentName, KeyName, ProjectName, StoreName};
use keywright_core::place::Place;
use keywright_core::plan::Destination;
use keywright_core::secret::Secret;
use keywright_core::store::{Origin, Presence, Store, StoreError, StoreFacts, VerifyMode, Write, Written};

use self::connect::Connect;
use self::items::{Item, Items, NewField, is_id};
use self::op::Op;
use super::remote::{At, Held, Stamp, is_permitted, written};
use super::{StoreConfig, StoreConnectError};
use crate::rest::{Failure, Proof, Rest};
use crate::wire::CA_FILE;

/// The name of the kind that goes through a Connect server, and of the one that goes through the program `op`.
pub(super) const KIND: &str = "1password";
pub(super) const CLI_KIND: &str = "1password-cli";

const VAULT: (&str, &str) = ("vault", "the id of the vault: 26 lower-case letters and digits");
const PROGRAM: &str = "program";

/// The settings, and what each is.
pub(super) const SETTINGS: &[(&str, &str)] = &[VAULT, CA_FILE];
pub(super) const CLI_SETTINGS: &[(&str, &str)] =
    &[VAULT, (PROGRAM, "the program `op`, version 2: an absolute path; looked for in `PATH` unless set")];

/// The field of a place that names none.
const FIELD: &str = "credential";
/// The field of the stamp.
const STAMP: &str = "keywright";

pub(super) static FACTS: StoreFacts = StoreFacts {
    kind: KIND,
    verify: VerifyMode::ReadBack,
    guarded: false,
    versions: true,
    // The vendor's limit is not documented.
    max_value: 32 << 10,
    seen: "when the program, or `op run`, reads the item again",
    settles: 0,
};

pub(super) static CLI_FACTS: StoreFacts = StoreFacts { kind: CLI_KIND, ..FACTS };

/// One configured vault.
pub(super) struct OnePassword {
    name: StoreName,
    facts: &'static StoreFacts,
    items: Box<dyn Items>,
}

fn vault(config: &StoreConfig) -> Result<String, StoreConnectError> {
    let vault = config.required(VAULT.0, "the id of the vault")?;
    if is_id(vault) {
        return Ok(vault.to_owned());
    }
    Err(config.bad(VAULT.0, "is an id of 26 lower-case letters and digits, not a name"))
}

struct Spot<'a> {
    title: &'a str,
    field: &'a str,
}

impl Item {
    fn value(&self, spot: &Spot<'_>) -> Option<&Held> {
        self.field(spot.field)?.value.as_ref()
    }

    /// The stamp, if it covers the value.
    fn stamp(&self, spot: &Spot<'_>) -> Option<Stamp> {
        let text = self.field(STAMP)?.value.as_ref()?;
        Stamp::parse(text.0.expose_secret())
            .filter(|stamp| self.value(spot).is_some_and(|value| stamp.covers(&value.0)))
    }

    /// `ID.VERSION`: titles are not unique.
    fn store_version(&self) -> String {
        format!("{}.{}", self.id, self.version)
    }
}

fn presence(items: &[Item], spot: &Spot<'_>) -> Presence {
    match items {
        [] => Presence::Absent,
        [item] => {
            let ours = |stamp: Stamp| stamp.presence(Some(item.store_version()));
            item.stamp(spot).map_or(Presence::Foreign, ours)
        }
        _ => Presence::Foreign,
    }
}

impl OnePassword {
    /// Reads the configuration, for a Connect server.
    ///
    /// # Errors
    /// When the address or a setting makes no sense.
    pub(super) fn connect(config: &StoreConfig, token: Secret) -> Result<Self, StoreConnectError> {
        let vault = vault(config)?;
        let rest = Rest::new(config.wire(KIND, None)?, [&token], is_id, connect::said);
        Ok(Self { name: config.name.clone(), facts: &FACTS, items: Box::new(Connect { rest, token, vault }) })
    }

    /// Reads the configuration, for the program `op`.
    ///
    /// # Errors
    /// When a setting makes no sense.
    pub(super) fn program(config: &StoreConfig, token: Secret) -> Result<Self, StoreConnectError> {
        let vault = vault(config)?;
        let program = config.setting(PROGRAM).unwrap_or("op");
        if program != "op" {
            if !Path::new(program).is_absolute() {
                return Err(config.bad(PROGRAM, "must be an absolute path"));
            }
            // It is given the token and every value.
            let found = std::fs::metadata(program);
            if found.is_ok_and(|found| found.permissions().mode() & 0o022 != 0) {
                return Err(
                    config.bad(PROGRAM, "names a program that others may change; take that right away")
                );
            }
        }
        let items = Op { program: program.to_owned(), token, vault };
        Ok(Self { name: config.name.clone(), facts: &CLI_FACTS, items: Box::new(items) })
    }

    fn at<'a>(&'a self, destination: &'a Destination) -> At<'a> {
        At { store: &self.name, place: &destination.place.place }
    }

    fn spot<'a>(&'a self, destination: &'a Destination) -> Result<Spot<'a>, StoreError> {
        let (title, field) =
            destination.place.place.split_once('#').unwrap_or((&destination.place.place, FIELD));
        if !is_plain(title) || !is_plain(field) {
            return Err(self.at(destination).bad("write `TITLE#FIELD`, of letters, digits and `-_.`"));
        }
        if field.eq_ignore_ascii_case(STAMP) {
            return Err(self.at(destination).bad("the field `keywright` says whose value it is"));
        }
        Ok(Spot { title, field })
    }

    async fn seen(&self, spot: &Spot<'_>) -> Result<Vec<Item>, StoreError> {
        self.items.titled(spot.title).await.map_err(|failure| failure.of_store(&self.name))
    }

    /// One more item, or both fields of the old one.
    async fn put(
        &self,
        old: Option<&Item>,
        spot: &Spot<'_>,
        secret: &Secret,
        stamp: &str,
    ) -> Result<Item, Failure> {
        let known = |name: &'_ str| {
            old.and_then(|old| old.field(name)).map_or_else(|| name.to_owned(), |field| field.id.clone())
        };
        let (value, whose) = (known(spot.field), known(STAMP));
        let fields = [NewField::concealed(&value, spot.field, secret), NewField::plain(&whose, STAMP, stamp)];
        match old {
            None => self.items.create(spot.title, fields).await,
            Some(old) => self.items.replace(old, fields).await,
        }
    }

    /// What lies there after a create or a replacement. Two items of one title are no good: ours goes again.
    async fn confirm(
        &self,
        spot: &Spot<'_>,
        write: &Write<'_>,
        before: &Presence,
        failed: Option<StoreError>,
    ) -> Result<Written, StoreError> {
        let at = self.at(write.destination);
        let items = match (self.items.titled(spot.title).await, failed.as_ref()) {
            (Ok(items), _) => items,
            (Err(unseen), Some(error)) => return Err(at.unseen(error.clone(), &unseen)),
            (Err(_), None) => {
                return Err(at.unknown("it is written, and what lies there now can't be seen"));
            }
        };
        let stamp = Stamp::over(write.origin, write.secret);
        let (ours, others): (Vec<_>, Vec<_>) =
            items.iter().partition(|item| item.stamp(spot).as_ref() == Some(&stamp));
        match (ours.as_slice(), others.as_slice(), failed) {
            ([item], [], _) => Ok(written(item.store_version())),
            ([], _, Some(error)) if presence(&items, spot) == *before => Err(error),
            ([], _, None) if [Presence::Absent, before.clone()].contains(&presence(&items, spot)) => {
                Err(at.unknown("it says that it is written, and does not show it"))
            }
            ([], _, _) => Err(at.conflict()),
            _ => {
                for item in ours {
                    self.items.delete(&item.id).await.map_err(|failure| {
                        at.unknown(format!("the title is taken twice: {}", failure.of_store(&self.name)))
                    })?;
                }
                Err(at.conflict())
            }
        }
    }
}

fn is_plain(text: &str) -> bool {
    (1..=200).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b))
}

#[async_trait]
impl Store for OnePassword {
    fn facts(&self) -> &'static StoreFacts {
        self.facts
    }

    async fn check(&self) -> Result<(), StoreError> {
        self.items.check().await.map_err(|failure| failure.of_store(&self.name))
    }

    fn default_place(&self, project: &ProjectName, environment: &EnvironmentName, name: &KeyName) -> String {
        format!("{project}-{environment}-{name}#{FIELD}")
    }

    async fn accept(
        &self,
        destination: Destination,
        _: &KeyName,
        _: Option<&str>,
    ) -> Result<Destination, StoreError> {
        let Spot { title, field } = self.spot(&destination)?;
        let place = format!("{title}#{field}");
        Ok(Destination { place: Place { store: destination.place.store.clone(), place }, base: None })
    }

    async fn look(&self, destination: &Destination) -> Result<Presence, StoreError> {
        let spot = self.spot(destination)?;
        Ok(presence(&self.seen(&spot).await?, &spot))
    }

    async fn write(&self, write: &Write<'_>) -> Result<Written, StoreError> {
        let (at, spot) = (self.at(write.destination), self.spot(write.destination)?);
        if write.secret.expose_secret().len() > FACTS.max_value {
            return Err(at.value("it is longer than 32 KiB"));
        }
        let items = self.seen(&spot).await?;
        let stamp = Stamp::over(write.origin, write.secret);
        if let [item] = items.as_slice()
            && item.stamp(&spot).as_ref() == Some(&stamp)
        {
            return Ok(written(item.store_version()));
        }
        let before = presence(&items, &spot);
        if !is_permitted(&write.expected, &before) {
            return Err(at.conflict());
        }
        let old = match items.as_slice() {
            [] => None,
            [old] => Some(old),
            _ => return Err(at.conflict()),
        };
        match self.put(old, &spot, write.secret, &stamp.text()).await {
            Ok(new) => {
                if old.is_some_and(|old| new.version != old.version + 1) {
                    tracing::warn!(place = at.place, "somebody else changed the item at the same time");
                }
                self.confirm(&spot, write, &before, None).await
            }
            Err(failure) if failure.proof == Proof::NotDone && !failure.is_denied() => {
                Err(failure.of_write(&self.name))
            }
            Err(failure) => self.confirm(&spot, write, &before, Some(failure.of_write(&self.name))).await,
        }
    }

    async fn verify(&self, write: &Write<'_>, _: &Written) -> Result<VerifyMode, StoreError> {
        let (at, spot) = (self.at(write.destination), self.spot(write.destination)?);
        match self.seen(&spot).await?.as_slice() {
            [item]
                if item.stamp(&spot) == Some(Stamp::over(write.origin, write.secret))
                    && item.value(&spot).is_some_and(|value| value.is(write.secret)) =>
            {
                Ok(VerifyMode::ReadBack)
            }
            _ => Err(at.mismatch()),
        }
    }

    async fn remove(&self, origin: &Origin, destination: &Destination) -> Result<(), StoreError> {
        let spot = self.spot(destination)?;
        let is_ours =
            |item: &&Item| item.stamp(&spot).is_some_and(|stamp| stamp.placement == origin.placement);
        let told = |failure: Failure| failure.of_store(&self.name);
        for item in self.seen(&spot).await?.iter().filter(is_ours) {
            let own = [spot.field, STAMP].map(|name| item.field(name).map(|field| field.id.as_str()));
            if item.has_other_than(own) {
                // What a person put beside the value is theirs.
                let own: Vec<&str> = own.into_iter().flatten().collect();
                self.items.empty(item, &own).await.map_err(told)?;
            } else {
                self.items.delete(&item.id).await.map_err(told)?;
            }
        }
        // "Done" is what it says; gone is what is not there any more.
        if self.seen(&spot).await?.iter().any(|item| is_ours(&item)) {
            return Err(self.at(destination).unknown("it says that the item is gone, and shows it"));
        }
        Ok(())
    }
}
