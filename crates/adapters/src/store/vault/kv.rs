//! The calls of KV version 2 that a place needs, and what is read from their answers.

use std::collections::BTreeMap;

use jiff::Timestamp;
use keywright_core::id::PlacementId;
use keywright_core::secret::Secret;
use keywright_core::store::Presence;
use reqwest::Method;
use serde::de::IgnoredAny;
use serde::{Deserialize, Serialize};

use super::Vault;
use super::session::Ask;
use crate::rest::{Failure, body, parse};
use crate::store::remote::{Held, Stamp};
use crate::wire::Repeat;

/// What custom metadata calls the origin of a version, before its number.
const CLAIM: &str = "keywright-";

/// Vault's own limit of custom metadata.
pub(super) const LARGEST_CUSTOM: usize = 64;

/// A path below the mount, and the field that holds the value.
pub(super) struct Spot<'a> {
    pub(super) path: &'a str,
    pub(super) field: &'a str,
}

/// A path's metadata: its versions, and whose they are.
#[derive(Default, Deserialize)]
pub(super) struct Entry {
    #[serde(rename = "current_version")]
    pub(super) current: u64,
    #[serde(default, rename = "custom_metadata")]
    custom: Option<BTreeMap<String, String>>,
    #[serde(default)]
    versions: BTreeMap<u64, Version>,
}

#[derive(Deserialize)]
struct Version {
    /// Empty, or a time, which may lie ahead.
    #[serde(default)]
    deletion_time: String,
    #[serde(default)]
    destroyed: bool,
}

#[derive(Deserialize)]
struct Answer<T> {
    data: T,
}

#[derive(Deserialize)]
struct Stored {
    data: Option<BTreeMap<String, Field>>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Field {
    Text(Held),
    Other(IgnoredAny),
}

#[derive(Deserialize)]
struct Subkeys {
    subkeys: Option<BTreeMap<String, IgnoredAny>>,
}

#[derive(Deserialize)]
struct Numbered {
    version: u64,
}

#[derive(Deserialize)]
struct Mounted {
    options: Option<BTreeMap<String, String>>,
}

#[derive(Serialize)]
struct NewVersion<'a> {
    options: Options,
    data: BTreeMap<&'a str, &'a str>,
}

#[derive(Serialize)]
struct Options {
    cas: u64,
}

#[derive(Serialize)]
struct Custom<'a> {
    custom_metadata: &'a BTreeMap<String, String>,
}

#[derive(Serialize)]
struct Versions {
    versions: Vec<u64>,
}

impl Version {
    fn is_gone(&self, now: Timestamp) -> bool {
        let deleted = !self.deletion_time.is_empty();
        // A time that can't be read is taken for one that has passed.
        self.destroyed || (deleted && self.deletion_time.parse::<Timestamp>().map_or(true, |at| at <= now))
    }
}

impl Entry {
    fn claims(&self) -> impl Iterator<Item = (u64, Stamp)> {
        self.custom.iter().flatten().filter_map(|(name, text)| {
            let number = name.strip_prefix(CLAIM)?.parse().ok()?;
            Some((number, Stamp::parse(text)?))
        })
    }

    /// What lies there: the current version decides.
    pub(super) fn presence(&self, now: Timestamp) -> Presence {
        match self.versions.get(&self.current) {
            None => Presence::Absent,
            Some(version) if version.is_gone(now) => Presence::Absent,
            Some(_) => match self.claims().find(|(number, _)| *number == self.current) {
                Some((number, stamp)) => stamp.presence(Some(number.to_string())),
                None => Presence::Foreign,
            },
        }
    }

    /// The versions that this placement wrote.
    pub(super) fn of(&self, placement: PlacementId) -> Vec<u64> {
        self.claims().filter(|(_, stamp)| stamp.placement == placement).map(|(number, _)| number).collect()
    }

    /// Whether this placement wrote what lies there.
    pub(super) fn is_current(&self, placement: PlacementId, now: Timestamp) -> bool {
        matches!(self.presence(now), Presence::Ours { .. }) && self.of(placement).contains(&self.current)
    }

    /// Whether the data of a version is no more.
    pub(super) fn is_gone(&self, number: u64) -> bool {
        self.versions.get(&number).is_none_or(|version| version.destroyed)
    }

    /// Custom metadata with another claim, and without the claims on versions that are no more.
    pub(super) fn claimed(&self, number: u64, stamp: &Stamp) -> BTreeMap<String, String> {
        let mut custom = self.without(|old| !self.versions.contains_key(&old));
        custom.insert(format!("{CLAIM}{number}"), stamp.text());
        custom
    }

    /// Custom metadata without the claims on some versions.
    pub(super) fn without(&self, gone: impl Fn(u64) -> bool) -> BTreeMap<String, String> {
        let mut custom = self.custom.clone().unwrap_or_default();
        custom.retain(|name, _| {
            let number = name.strip_prefix(CLAIM).and_then(|number| number.parse().ok());
            number.is_none_or(|number| !gone(number))
        });
        custom
    }
}

impl Vault {
    fn path<'a>(&'a self, part: &'a str, spot: &Spot<'a>) -> Vec<&'a str> {
        self.mount.split('/').chain([part]).chain(spot.path.split('/')).collect()
    }

    /// `GET /{mount}/metadata/{path}`: 404 for what never was; what was deleted still has its numbers.
    pub(super) async fn entry(&self, spot: &Spot<'_>) -> Result<Entry, Failure> {
        match self.door.send(&Ask::get(self.path("metadata", spot))).await {
            Ok(reply) => Ok(parse::<Answer<Entry>>(&reply)?.data),
            Err(failure) if failure.is_not_found() => Ok(Entry::default()),
            Err(failure) => Err(failure),
        }
    }

    /// `POST /{mount}/data/{path}` under check-and-set. The answer is the number of the new version.
    pub(super) async fn put(&self, spot: &Spot<'_>, secret: &Secret, cas: u64) -> Result<u64, Failure> {
        let data = BTreeMap::from([(spot.field, secret.expose_secret())]);
        let body = body(&NewVersion { options: Options { cas }, data })?;
        let reply = self.door.send(&Ask::post(self.path("data", spot), body, Repeat::Never)).await?;
        match parse::<Answer<Numbered>>(&reply)?.data.version {
            version if version == cas + 1 => Ok(version),
            _ => Err(Failure::garbled(
                "the new version has another number than check-and-set asked for".into(),
            )),
        }
    }

    /// Whether a version holds this secret in the field, by reading it.
    pub(super) async fn holds(&self, spot: &Spot<'_>, number: u64, secret: &Secret) -> Result<bool, Failure> {
        let mut ask = Ask::get(self.path("data", spot));
        ask.query.push(("version", number.to_string()));
        let stored = match self.door.send(&ask).await {
            Ok(reply) => parse::<Answer<Stored>>(&reply)?.data.data,
            Err(failure) if failure.is_not_found() => None,
            Err(failure) => return Err(failure),
        };
        let field = stored.as_ref().and_then(|fields| fields.get(spot.field));
        Ok(matches!(field, Some(Field::Text(value)) if value.is(secret)))
    }

    /// `GET /{mount}/subkeys/{path}`: whether a version has the field, without reading any value.
    pub(super) async fn has_field(&self, spot: &Spot<'_>, number: u64) -> Result<bool, Failure> {
        let mut ask = Ask::get(self.path("subkeys", spot));
        ask.query.push(("version", number.to_string()));
        match self.door.send(&ask).await {
            Ok(reply) => {
                let names = parse::<Answer<Subkeys>>(&reply)?.data.subkeys;
                Ok(names.is_some_and(|names| names.contains_key(spot.field)))
            }
            Err(failure) if failure.is_not_found() => Ok(false),
            Err(failure) => Err(failure),
        }
    }

    /// `POST /{mount}/metadata/{path}`: replaces the custom metadata and nothing else.
    pub(super) async fn describe(
        &self,
        spot: &Spot<'_>,
        custom_metadata: &BTreeMap<String, String>,
    ) -> Result<(), Failure> {
        let body = body(&Custom { custom_metadata })?;
        self.door.send(&Ask::post(self.path("metadata", spot), body, Repeat::Safe)).await.map(drop)
    }

    /// `PUT /{mount}/destroy/{path}`: the data of these versions is gone for good.
    pub(super) async fn destroy(&self, spot: &Spot<'_>, versions: Vec<u64>) -> Result<(), Failure> {
        let mut ask = Ask::post(self.path("destroy", spot), body(&Versions { versions })?, Repeat::Safe);
        ask.method = Method::PUT;
        self.door.send(&ask).await.map(drop)
    }

    /// `GET /sys/internal/ui/mounts/{mount}`, which any token may ask that may do anything below the mount: whether it
    /// is KV version 2. Version 1 knows no check-and-set and would overwrite.
    pub(super) async fn is_version_2(&self) -> Result<bool, Failure> {
        let path = ["sys", "internal", "ui", "mounts"].into_iter().chain(self.mount.split('/')).collect();
        let mounted: Answer<Mounted> = parse(&self.door.send(&Ask::get(path)).await?)?;
        Ok(mounted.data.options.is_some_and(|o| o.get("version").is_some_and(|version| version == "2")))
    }
}
