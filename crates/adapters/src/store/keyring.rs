//! The store `keyring`: the desktop's keyring, through the Secret Service (GNOME Keyring, KWallet, KeePassXC).
//!
//! A place is `SERVICE/USERNAME`, split at the last slash: these are the attributes `service` and `username` by which Python's
//! `keyring get SERVICE USERNAME` and `secret-tool lookup service SERVICE username USERNAME` find it.
//!
//! **Whose it is.** The attribute `keywright` says so ([`super::tag`]). An item without it, or whose secret was changed
//! since, is somebody else's. A newer version is an item of its own, made by one call together with its attributes,
//! before the one in whose place it comes is deleted. There is no write under a guard.
//!
//! **Locked.** A locked collection is never unlocked from here, for that opens a window that nobody may see; it is an error
//! that says so. So is a service that does not answer within [`PATIENCE`].
//!
//! Interface: <https://specifications.freedesktop.org/secret-service/>. Values travel encrypted (Diffie-Hellman) on the bus.

use std::collections::HashMap;
use std::time::Duration;

use async_trait::async_trait;
use keywright_core::name::{EnvironmentName, KeyName, ProjectName, StoreName};
use keywright_core::plan::Destination;
use keywright_core::secret::Secret;
use keywright_core::store::{Origin, Presence, Store, StoreError, StoreFacts, VerifyMode, Write, Written};
use keywright_core::text::Untrusted;
use secret_service::{Collection, EncryptionType, Error, Item, SecretService};

use super::StoreConfig;
use super::remote::{At, Held, is_permitted, written};
use super::tag::Tag;
use crate::names::is_plain;

/// The kind's name.
pub(super) const KIND: &str = "keyring";

const COLLECTION: &str = "collection";
const BUS: &str = "bus";

/// The settings, and what each is.
pub(super) const SETTINGS: &[(&str, &str)] = &[
    (COLLECTION, "the alias of the collection; `default` unless set"),
    (
        BUS,
        "the session bus, as in `unix:path=/run/user/1000/bus`; that of the broker's environment unless set",
    ),
];

/// How long one verb may take in all.
const PATIENCE: Duration = Duration::from_secs(15);

pub(super) static FACTS: StoreFacts = StoreFacts {
    kind: KIND,
    verify: VerifyMode::ReadBack,
    guarded: false,
    versions: false,
    max_value: 64 << 10,
    seen: "when the program asks the keyring again",
    settles: 0,
};

/// One collection.
pub(super) struct Keyring {
    name: StoreName,
    collection: String,
    bus: Option<String>,
}

/// An item at a place.
struct Found<'a> {
    item: Item<'a>,
    value: Held,
    /// None where it is somebody else's.
    tag: Option<Tag>,
    created: u64,
}

impl Found<'_> {
    fn is_of(&self, origin: &Origin) -> bool {
        self.tag.as_ref().is_some_and(|tag| tag.is_of(origin))
    }
}

/// Of several items of ours, which a crash may leave, the newest counts.
fn presence(found: &[Found<'_>]) -> Presence {
    if found.iter().any(|one| one.tag.is_none()) {
        return Presence::Foreign;
    }
    let newest = found.iter().max_by_key(|one| one.created).and_then(|one| one.tag.as_ref());
    newest.map_or(Presence::Absent, Tag::presence)
}

/// Whether nobody on the bus is a keyring.
fn is_unknown(error: &Error) -> bool {
    let named = |name: &str| matches!(name.rsplit('.').next(), Some("ServiceUnknown" | "NameHasNoOwner"));
    match error {
        Error::Unavailable => true,
        Error::Zbus(zbus::Error::MethodError(name, ..)) => named(name.as_str()),
        Error::ZbusFdo(error) => {
            matches!(error, zbus::fdo::Error::ServiceUnknown(_) | zbus::fdo::Error::NameHasNoOwner(_))
        }
        _ => false,
    }
}

/// `SERVICE` and `USERNAME`.
fn split(place: &str) -> Option<(&str, &str)> {
    let is_part = |part: &str| is_plain(part, "-_.@+:/", 400);
    place.rsplit_once('/').filter(|(service, user)| {
        place.len() <= 400 && is_part(service) && is_part(user) && !service.starts_with('/')
    })
}

impl Keyring {
    /// Reads the configuration.
    pub(super) fn new(config: &StoreConfig) -> Self {
        Self {
            name: config.name.clone(),
            collection: config.setting(COLLECTION).unwrap_or("default").to_owned(),
            bus: config.setting(BUS).map(str::to_owned),
        }
    }

    fn at<'a>(&'a self, destination: &'a Destination) -> At<'a> {
        At { store: &self.name, place: &destination.place.place }
    }

    fn spot<'a>(&'a self, destination: &'a Destination) -> Result<(&'a str, &'a str), StoreError> {
        split(&destination.place.place).ok_or_else(|| {
            self.at(destination).bad("write `SERVICE/USERNAME`, of letters, digits and `-_.@+:`")
        })
    }

    fn unavailable(&self, why: impl Into<String>) -> StoreError {
        StoreError::Unavailable { store: self.name.clone(), why: why.into() }
    }

    /// What the service's error means.
    fn failed(&self, error: &Error) -> StoreError {
        let collection = &self.collection;
        self.unavailable(match error {
            Error::Locked => format!("the collection `{collection}` is locked; unlock it, as by logging in"),
            Error::NoResult => format!("the keyring has no collection `{collection}`"),
            error if is_unknown(error) => "no keyring answers on the session bus".to_owned(),
            Error::Prompt | Error::PromptDisconnected => {
                "the keyring asked a question, and nobody answered".to_owned()
            }
            other => format!("the keyring failed: {}", Untrusted::capped(&other.to_string(), 200)),
        })
    }

    async fn in_time<T>(
        &self,
        work: impl Future<Output = Result<T, StoreError>> + Send,
    ) -> Result<T, StoreError> {
        tokio::time::timeout(PATIENCE, work).await.unwrap_or_else(|_| {
            let seconds = PATIENCE.as_secs();
            Err(self.unavailable(format!(
                "the keyring did not answer in {seconds} s; it may be waiting for somebody to unlock it"
            )))
        })
    }

    async fn service(&self) -> Result<SecretService<'_>, StoreError> {
        let absent = |error: zbus::Error| {
            let said = Untrusted::capped(&error.to_string(), 200);
            self.unavailable(format!("the session bus can't be reached, so there is no keyring: {said}"))
        };
        let bus = match &self.bus {
            Some(address) => zbus::connection::Builder::address(address.as_str()),
            None => zbus::connection::Builder::session(),
        };
        let bus = bus.map_err(absent)?.build().await.map_err(absent)?;
        SecretService::connect_with_existing(EncryptionType::Dh, bus)
            .await
            .map_err(|error| self.failed(&error))
    }

    /// The collection, if it is open.
    async fn collection<'a>(&self, service: &'a SecretService<'a>) -> Result<Collection<'a>, StoreError> {
        let failed = |error| self.failed(&error);
        let collection = service.get_collection_by_alias(&self.collection).await.map_err(failed)?;
        if collection.is_locked().await.map_err(failed)? {
            return Err(failed(Error::Locked));
        }
        Ok(collection)
    }

    async fn found<'a>(
        &self,
        collection: &'a Collection<'a>,
        (service, user): (&str, &str),
    ) -> Result<Vec<Found<'a>>, StoreError> {
        let failed = |error| self.failed(&error);
        let place = HashMap::from([("service", service), ("username", user)]);
        let mut found = Vec::new();
        for item in collection.search_items(place).await.map_err(failed)? {
            let attributes = item.get_attributes().await.map_err(failed)?;
            let created = item.get_created().await.map_err(failed)?;
            let value = Secret::from_utf8(item.get_secret().await.map_err(failed)?);
            // What is not text is not ours either.
            let value = Held(value.unwrap_or_else(|_| Secret::new(String::new())));
            let tag = attributes.get(KEYWRIGHT).and_then(|text| Tag::parse(text));
            let tag = tag.filter(|tag| tag.covers(value.0.expose_secret()));
            found.push(Found { item, value, tag, created });
        }
        Ok(found)
    }

    async fn put(&self, write: &Write<'_>) -> Result<Written, StoreError> {
        let (at, spot) = (self.at(write.destination), self.spot(write.destination)?);
        let failed = |error| self.failed(&error);
        let service = self.service().await?;
        let collection = self.collection(&service).await?;
        let before = self.found(&collection, spot).await?;
        let is_done = before.iter().any(|one| one.is_of(write.origin) && one.value.is(write.secret));
        if !is_done {
            if !is_permitted(&write.expected, &presence(&before)) {
                return Err(at.conflict());
            }
            let value = write.secret.expose_secret();
            let tag = Tag::new(write.origin, value).text();
            let attributes = HashMap::from([
                ("service", spot.0),
                ("username", spot.1),
                (KEYWRIGHT, tag.as_str()),
                ("xdg:schema", "org.freedesktop.Secret.Generic"),
            ]);
            let label = format!("{} ({})", spot.1, spot.0);
            // Dropping this future at its deadline does not take back what was sent.
            collection
                .create_item(&label, attributes, value.as_bytes(), false, "text/plain")
                .await
                .map_err(|error| at.unknown(failed(error).to_string()))?;
        }
        for old in before.iter().filter(|one| !one.is_of(write.origin)) {
            if old.tag.is_some() || write.expected == Presence::Foreign {
                old.item.delete().await.map_err(|error| at.unknown(failed(error).to_string()))?;
            }
        }
        Ok(written(write.origin.placement.to_string()))
    }
}

/// The attribute that says whose an item is.
const KEYWRIGHT: &str = "keywright";

#[async_trait]
impl Store for Keyring {
    fn facts(&self) -> &'static StoreFacts {
        &FACTS
    }

    async fn check(&self) -> Result<(), StoreError> {
        self.in_time(async {
            let service = self.service().await?;
            self.collection(&service).await.map(drop)
        })
        .await
    }

    fn default_place(&self, project: &ProjectName, environment: &EnvironmentName, name: &KeyName) -> String {
        format!("{project}/{environment}/{name}")
    }

    async fn accept(
        &self,
        destination: Destination,
        _: &KeyName,
        _: Option<&str>,
    ) -> Result<Destination, StoreError> {
        self.spot(&destination)?;
        Ok(Destination { base: None, ..destination })
    }

    async fn look(&self, destination: &Destination) -> Result<Presence, StoreError> {
        let spot = self.spot(destination)?;
        self.in_time(async {
            let service = self.service().await?;
            let collection = self.collection(&service).await?;
            Ok(presence(&self.found(&collection, spot).await?))
        })
        .await
    }

    async fn write(&self, write: &Write<'_>) -> Result<Written, StoreError> {
        let at = self.at(write.destination);
        if write.secret.is_empty() || write.secret.expose_secret().len() > FACTS.max_value {
            return Err(at.value("an item holds 1 byte to 64 KiB"));
        }
        match tokio::time::timeout(PATIENCE, self.put(write)).await {
            Ok(outcome) => outcome,
            Err(_) => Err(at.unknown(format!("the keyring did not answer in {} s", PATIENCE.as_secs()))),
        }
    }

    async fn verify(&self, write: &Write<'_>, _: &Written) -> Result<VerifyMode, StoreError> {
        let spot = self.spot(write.destination)?;
        self.in_time(async {
            let service = self.service().await?;
            let collection = self.collection(&service).await?;
            match self.found(&collection, spot).await?.as_slice() {
                [one] if one.is_of(write.origin) && one.value.is(write.secret) => Ok(VerifyMode::ReadBack),
                _ => Err(self.at(write.destination).mismatch()),
            }
        })
        .await
    }

    async fn remove(&self, origin: &Origin, destination: &Destination) -> Result<(), StoreError> {
        let spot = self.spot(destination)?;
        self.in_time(async {
            let service = self.service().await?;
            let collection = self.collection(&service).await?;
            for one in self.found(&collection, spot).await?.iter().filter(|one| one.is_of(origin)) {
                one.item.delete().await.map_err(|error| self.failed(&error))?;
            }
            Ok(())
        })
        .await
    }
}
