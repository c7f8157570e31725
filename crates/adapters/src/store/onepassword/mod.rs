//! The store `1password`: items of one vault, through a Connect server.
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
//!
//! API: <https://developer.1password.com/docs/connect/api-reference/>, specification 1.7.1. It wants an id in every field
//! and patches by whole fields.

use async_trait::async_trait;
use keywright_core::name::{EnvironmentName, KeyName, ProjectName, StoreName};
use keywright_core::place::Place;
use keywright_core::plan::Destination;
use keywright_core::secret::Secret;
use keywright_core::store::{Origin, Presence, Store, StoreError, StoreFacts, VerifyMode, Write, Written};
use reqwest::Method;
use serde::de::IgnoredAny;
use serde::{Deserialize, Serialize};

use super::remote::{At, Held, Stamp, is_permitted, written};
use super::{StoreConfig, StoreConnectError};
use crate::rest::{Failure, Proof, Rest, Said, body, parse};
use crate::wire::{CA_FILE, Call};

/// The kind's name.
pub(super) const KIND: &str = "1password";

/// The names of the settings.
pub(super) const SETTINGS: &[(&str, &str)] =
    &[("vault", "the id of the vault: 26 lower-case letters and digits"), CA_FILE];

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
};

/// One configured vault.
pub(super) struct OnePassword {
    name: StoreName,
    token: Secret,
    vault: String,
    rest: Rest,
}

struct Spot<'a> {
    title: &'a str,
    field: &'a str,
}

/// An item of a list, which has no fields.
#[derive(Deserialize)]
struct Listed {
    id: String,
    title: Option<String>,
}

#[derive(Deserialize)]
struct Item {
    id: String,
    version: u64,
    #[serde(default)]
    fields: Vec<Field>,
}

#[derive(Deserialize)]
struct Field {
    id: String,
    label: Option<String>,
    value: Option<Held>,
}

#[derive(Serialize)]
struct NewItem<'a> {
    vault: Id<'a>,
    title: &'a str,
    category: &'static str,
    tags: [&'static str; 1],
    fields: [NewField<'a>; 2],
}

#[derive(Serialize)]
struct Id<'a> {
    id: &'a str,
}

#[derive(Serialize)]
struct NewField<'a> {
    id: &'a str,
    r#type: &'static str,
    label: &'a str,
    value: &'a str,
}

#[derive(Serialize)]
struct Patch<'a> {
    op: &'static str,
    path: String,
    value: NewField<'a>,
}

#[derive(Deserialize)]
struct Refusal {
    status: u16,
    message: String,
}

fn said(body: &[u8]) -> Option<Said> {
    let Refusal { status, message } = serde_json::from_slice(body).ok()?;
    Some(Said { code: Some(status.to_string()), message })
}

impl Item {
    fn field(&self, name: &str) -> Option<&Field> {
        let by_label = |field: &&Field| field.label.as_deref() == Some(name);
        self.fields.iter().find(|field| field.id == name).or_else(|| self.fields.iter().find(by_label))
    }

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
    fn version(&self) -> String {
        format!("{}.{}", self.id, self.version)
    }
}

fn presence(items: &[Item], spot: &Spot<'_>) -> Presence {
    match items {
        [] => Presence::Absent,
        [item] => item.stamp(spot).map_or(Presence::Foreign, |stamp| stamp.presence(Some(item.version()))),
        _ => Presence::Foreign,
    }
}

/// The field of the value, and that of the stamp.
fn fields<'a>(
    ids: (&'a str, &'a str),
    spot: &Spot<'a>,
    secret: &'a Secret,
    stamp: &'a str,
) -> [NewField<'a>; 2] {
    [
        NewField { id: ids.0, r#type: "CONCEALED", label: spot.field, value: secret.expose_secret() },
        NewField { id: ids.1, r#type: "STRING", label: STAMP, value: stamp },
    ]
}

impl OnePassword {
    /// Reads the configuration.
    ///
    /// # Errors
    /// When the address or a setting makes no sense.
    pub(super) fn new(config: &StoreConfig, token: Secret) -> Result<Self, StoreConnectError> {
        let vault = config.required("vault", "the id of the vault")?.to_owned();
        if !is_id(&vault) {
            return Err(config.bad("vault", "is an id of 26 lower-case letters and digits, not a name"));
        }
        let rest = Rest::new(config.wire(KIND, None)?, [&token], is_id, said);
        Ok(Self { name: config.name.clone(), token, vault, rest })
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

    fn items(&self) -> Vec<&str> {
        vec!["v1", "vaults", &self.vault, "items"]
    }

    fn item<'a>(&'a self, id: &'a str) -> Vec<&'a str> {
        vec!["v1", "vaults", &self.vault, "items", id]
    }

    /// Every item of the title, whatever its case.
    async fn found(&self, spot: &Spot<'_>) -> Result<Vec<Item>, Failure> {
        let mut call = Call::get(self.items(), &self.token);
        call.query.push(("filter", format!("title eq \"{}\"", spot.title)));
        let listed: Vec<Listed> = self.rest.json(call).await?;
        let same = |item: &Listed| {
            item.title.as_deref().is_some_and(|title| title.eq_ignore_ascii_case(spot.title))
                && is_id(&item.id)
        };
        let mut items = Vec::new();
        for item in listed.iter().filter(|item| same(item)) {
            match self.rest.json(Call::get(self.item(&item.id), &self.token)).await {
                Ok(item) => items.push(item),
                Err(failure) if failure.is_not_found() => {}
                Err(failure) => return Err(failure),
            }
        }
        Ok(items)
    }

    async fn seen(&self, spot: &Spot<'_>) -> Result<Vec<Item>, StoreError> {
        self.found(spot).await.map_err(|failure| failure.of_store(&self.name))
    }

    async fn create(&self, spot: &Spot<'_>, secret: &Secret, stamp: &str) -> Result<Item, Failure> {
        let item = NewItem {
            vault: Id { id: &self.vault },
            title: spot.title,
            category: "API_CREDENTIAL",
            tags: [STAMP],
            fields: fields((spot.field, STAMP), spot, secret, stamp),
        };
        let call = Call::once(Method::POST, self.items(), &self.token, body(&item)?);
        parse(&self.rest.send(call).await?)
    }

    /// Replaces both fields in one call.
    async fn replace(
        &self,
        old: &Item,
        spot: &Spot<'_>,
        secret: &Secret,
        stamp: &str,
    ) -> Result<Item, Failure> {
        let known = |name| old.field(name).map(|field| field.id.as_str());
        let (value, whose) = (known(spot.field), known(STAMP));
        let ids = (value.unwrap_or(spot.field), whose.unwrap_or(STAMP));
        let mut known = [value, whose].into_iter();
        let patches = fields(ids, spot, secret, stamp).map(|value| match known.next().flatten() {
            Some(id) => Patch { op: "replace", path: format!("/fields/{id}"), value },
            None => Patch { op: "add", path: "/fields".to_owned(), value },
        });
        let call = Call::once(Method::PATCH, self.item(&old.id), &self.token, body(&patches)?);
        parse(&self.rest.send(call).await?)
    }

    async fn delete(&self, id: &str) -> Result<(), Failure> {
        match self.rest.send(Call::delete(self.item(id), &self.token)).await {
            Ok(_) => Ok(()),
            Err(failure) if failure.is_not_found() => Ok(()),
            Err(failure) => Err(failure),
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
        let items = match (self.found(spot).await, failed.as_ref()) {
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
            ([item], [], _) => Ok(written(item.version())),
            ([], _, Some(error)) if presence(&items, spot) == *before => Err(error),
            ([], _, _) => Err(at.conflict()),
            _ => {
                for item in ours {
                    self.delete(&item.id).await.map_err(|failure| {
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

fn is_id(text: &str) -> bool {
    text.len() == 26 && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit())
}

#[async_trait]
impl Store for OnePassword {
    fn facts(&self) -> &'static StoreFacts {
        &FACTS
    }

    async fn check(&self) -> Result<(), StoreError> {
        // The token's scope; whether it may write there shows only when it does.
        let call = Call::get(vec!["v1", "vaults", &self.vault], &self.token);
        self.rest.json::<IgnoredAny>(call).await.map(drop).map_err(|failure| failure.of_store(&self.name))
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
            return Ok(written(item.version()));
        }
        let before = presence(&items, &spot);
        if !is_permitted(write, &before) {
            return Err(at.conflict());
        }
        let outcome = match items.as_slice() {
            [] => self.create(&spot, write.secret, &stamp.text()).await,
            [old] => self.replace(old, &spot, write.secret, &stamp.text()).await,
            _ => return Err(at.conflict()),
        };
        match outcome {
            Ok(new) => {
                if items.first().is_some_and(|old| new.version != old.version + 1) {
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
        for item in self.seen(&spot).await? {
            if item.stamp(&spot).is_some_and(|stamp| stamp.placement == origin.placement) {
                self.delete(&item.id).await.map_err(|failure| failure.of_store(&self.name))?;
            }
        }
        Ok(())
    }
}
