//! The store `aws-secrets-manager`: secrets of AWS Secrets Manager in one region (API version 2017-10-17).
//!
//! A place is the name of a secret, as in `web/dev/DB_KEY`; the whole secret is the value.
//!
//! **Whose value.** A secret that Keywright made carries the tag `managed-by = keywright`. The id of a version is the
//! token of the write that made it (`ClientRequestToken`): the attempt's marker and a hash of the placement. So the
//! current version itself says whose copy it is, a repeated write is one write, and a value that somebody put there by
//! hand has another form of id and is left alone.
//!
//! **Guards.** A new name is made by `CreateSecret`, which refuses a name that is taken. A value that takes another's
//! place is put as `AWSPENDING` first; then `AWSCURRENT` moves to it from the version that was expected
//! (`RemoveFromVersionId`), and from no other.
//!
//! **Removing** deletes the secret with a recovery window. Within it the name is free for Keywright only, which restores
//! the secret before it puts a new value there.
//!
//! It needs `secretsmanager:` `DescribeSecret`, `CreateSecret`, `TagResource`, `PutSecretValue`,
//! `UpdateSecretVersionStage`, `DeleteSecret`, `RestoreSecret`, and `GetSecretValue` to read back; without the last one a
//! write is verified by its version.

use std::collections::BTreeMap;

use async_trait::async_trait;
use keywright_core::marker::Marker;
use keywright_core::name::{EnvironmentName, KeyName, ProjectName, StoreName};
use keywright_core::secret::Secret;
use keywright_core::store::{Origin, Presence, StoreError, StoreFacts, VerifyMode, Write};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use super::super::remote::{At, Held};
use super::super::spots::{Put, Seen, Spots};
use super::super::{StoreConfig, StoreConnectError};
use super::{Common, KMS_KEY, PREFIX, REGION};
use crate::names::hex;
use crate::rest::{Failure, found};
use crate::wire::Repeat;

pub(in crate::store) const KIND: &str = "aws-secrets-manager";
const WINDOW: &str = "recovery_days";
pub(in crate::store) const SETTINGS: &[(&str, &str)] = &[
    REGION,
    PREFIX,
    KMS_KEY,
    (WINDOW, "how long a removed secret can be restored: 7 to 30 days, 7 when absent"),
];

/// The mark of a secret that Keywright made.
const TAG: (&str, &str) = ("managed-by", "keywright");
const CURRENT: &str = "AWSCURRENT";
const PENDING: &str = "AWSPENDING";
/// The characters of a name besides letters and digits.
const MARKS: &str = "/_+=.@-";
const LONGEST_NAME: usize = 512;
/// A token has 32 to 64 characters.
const LONGEST_TOKEN: usize = 64;

pub(in crate::store) static FACTS: StoreFacts = StoreFacts {
    kind: KIND,
    verify: VerifyMode::ReadBack,
    guarded: true,
    versions: true,
    max_value: 65_536,
    seen: "at the next read; AWS’s caching clients, within an hour as they come, and the extension for Lambda, within five minutes",
    settles: 3_600,
};

/// One region's secrets.
pub(in crate::store) struct SecretsManager {
    common: Common,
    window: u64,
}

/// What was found at a place.
pub(in crate::store) struct Found(Option<Described>);

/// What `DescribeSecret` says.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Described {
    tags: Option<Vec<Tag>>,
    /// When it is gone; there only while it is in its recovery window.
    deleted_date: Option<Value>,
    #[serde(default)]
    version_ids_to_stages: BTreeMap<String, Vec<String>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Tag {
    key: String,
    #[serde(default)]
    value: String,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct CreateSecret<'a> {
    name: &'a str,
    secret_string: &'a str,
    client_request_token: &'a str,
    tags: Value,
    #[serde(skip_serializing_if = "Option::is_none")]
    kms_key_id: Option<&'a str>,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct PutSecretValue<'a> {
    secret_id: &'a str,
    secret_string: &'a str,
    client_request_token: &'a str,
    version_stages: [&'a str; 1],
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct WrittenVersion {
    version_id: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct ReadValue {
    secret_string: Option<Held>,
}

impl Described {
    fn has_our_tag(&self) -> bool {
        self.tags.iter().flatten().any(|tag| (tag.key.as_str(), tag.value.as_str()) == TAG)
    }

    fn with(&self, stage: &str) -> Option<&str> {
        let found = self.version_ids_to_stages.iter().find(|(_, stages)| stages.iter().any(|s| s == stage));
        found.map(|(id, _)| id.as_str())
    }

    /// Whether a version is in force, and nothing of the way there is left.
    fn is_whole(&self, version: &str) -> bool {
        self.with(CURRENT) == Some(version) && !self.stages(version).iter().any(|stage| stage == PENDING)
    }

    fn stages(&self, version: &str) -> &[String] {
        self.version_ids_to_stages.get(version).map_or(&[], Vec::as_slice)
    }
}

/// The id of the version that a placement's write makes: `<marker>-<hash of the placement>`.
fn token(origin: &Origin) -> String {
    let hash = hex(&Sha256::digest(origin.placement.as_bytes()));
    let mut token = format!("{}-{hash}", origin.marker);
    token.truncate(LONGEST_TOKEN);
    token
}

/// The marker within a version's id, when one of our writes made it.
fn marker_of(version: &str) -> Option<Marker> {
    let (marker, _) = version.rsplit_once('-').filter(|(marker, _)| marker.starts_with("kw-"))?;
    Some(Marker::from_ledger(marker.to_owned()))
}

impl Seen for Found {
    fn presence(&self) -> Presence {
        let Some(secret) = &self.0 else { return Presence::Absent };
        match secret.with(CURRENT).and_then(|version| Some((version, marker_of(version)?))) {
            _ if !secret.has_our_tag() => Presence::Foreign,
            _ if secret.deleted_date.is_some() => Presence::Absent,
            Some((version, marker)) => {
                Presence::Ours { marker: Some(marker), store_version: Some(version.to_owned()) }
            }
            None => Presence::Foreign,
        }
    }

    fn is_of(&self, origin: &Origin) -> bool {
        let token = token(origin);
        self.0.as_ref().is_some_and(|secret| {
            secret.has_our_tag() && secret.deleted_date.is_none() && secret.is_whole(&token)
        })
    }
}

impl SecretsManager {
    pub(in crate::store) fn new(
        config: &StoreConfig,
        credential: Option<&Secret>,
    ) -> Result<Self, StoreConnectError> {
        let window = match config.setting(WINDOW).map(str::parse) {
            None => 7,
            Some(Ok(days @ 7..=30)) => days,
            Some(_) => return Err(config.bad(WINDOW, "is a number of days from 7 to 30")),
        };
        let common = Common::open(config, credential, KIND, "secretsmanager", "secretsmanager")?;
        Ok(Self { common, window })
    }

    /// All of these may be repeated: the token makes a repeated write one, the rest changes nothing a second time.
    async fn call<T: DeserializeOwned>(&self, operation: &str, body: &impl Serialize) -> Result<T, Failure> {
        self.common.api.send(Repeat::Safe, operation, body).await
    }

    async fn described(&self, name: &str) -> Result<Option<Described>, Failure> {
        found(self.call("DescribeSecret", &json!({ "SecretId": name })).await)
    }

    async fn create(&self, name: &str, token: &str, value: &str) -> Result<(), Failure> {
        let body = CreateSecret {
            name,
            secret_string: value,
            client_request_token: token,
            tags: json!([{ "Key": TAG.0, "Value": TAG.1 }]),
            kms_key_id: self.common.kms_key.as_deref(),
        };
        is_the_one(&self.call("CreateSecret", &body).await?, token)
    }

    /// Puts the value beside the current one, and then moves the label if it is still where it was.
    async fn replace(
        &self,
        name: &str,
        token: &str,
        value: &str,
        current: Option<&str>,
    ) -> Result<(), Failure> {
        let pending = PutSecretValue {
            secret_id: name,
            secret_string: value,
            client_request_token: token,
            version_stages: [PENDING],
        };
        is_the_one(&self.call("PutSecretValue", &pending).await?, token)?;
        let mut label = json!({ "SecretId": name, "VersionStage": CURRENT, "MoveToVersionId": token });
        if let (Some(current), Some(fields)) = (current, label.as_object_mut()) {
            fields.insert("RemoveFromVersionId".to_owned(), json!(current));
        }
        self.call::<Value>("UpdateSecretVersionStage", &label).await.map(drop)
    }

    async fn unlabel(&self, name: &str, stage: &str, version: &str) -> Result<(), Failure> {
        let body = json!({ "SecretId": name, "VersionStage": stage, "RemoveFromVersionId": version });
        match self.call::<Value>("UpdateSecretVersionStage", &body).await {
            Err(failure) if failure.code() == Some("InvalidParameterException") => Ok(()),
            other => other.map(drop),
        }
    }
}

fn is_the_one(written: &WrittenVersion, token: &str) -> Result<(), Failure> {
    if written.version_id == token {
        return Ok(());
    }
    Err(Failure::unavailable("the answer names another version than the one that was written"))
}

#[async_trait]
impl Spots for SecretsManager {
    /// The secret's name.
    type Spot = String;
    type Seen = Found;
    const CLAIM: &str = "the label or the tag";

    fn facts(&self) -> &'static StoreFacts {
        &FACTS
    }

    async fn check(&self, store: &StoreName) -> Result<(), StoreError> {
        let described = self.described(&format!("{}keywright-check", self.common.prefix)).await;
        described.map(drop).map_err(|failure| failure.of_store(store))
    }

    fn default_place(&self, project: &ProjectName, environment: &EnvironmentName, name: &KeyName) -> String {
        self.common.default_name(project, environment, name)
    }

    fn complete(&self, place: String, _: &KeyName) -> String {
        place
    }

    fn spot(&self, at: At<'_>) -> Result<String, StoreError> {
        let like_an_arn = at.place.rsplit_once('-').is_some_and(|(_, end)| end.len() == 6);
        let why = self.common.refuses(at.place, LONGEST_NAME, MARKS).or_else(|| {
            like_an_arn.then(|| {
                "a name that ends in `-` and six characters is mistaken for a part of an ARN".to_owned()
            })
        });
        why.map_or_else(|| Ok(at.place.to_owned()), |why| Err(at.bad(why)))
    }

    fn refuses(&self, value: &str) -> Option<&'static str> {
        (value.len() > FACTS.max_value).then_some("it has more than 65536 bytes")
    }

    async fn see(&self, name: &String) -> Result<Found, Failure> {
        self.described(name).await.map(Found)
    }

    /// Restores what was deleted: what is current then is what a write replaces.
    async fn ready(&self, name: &String, seen: Found, at: At<'_>) -> Result<Found, StoreError> {
        if seen.0.as_ref().is_none_or(|secret| secret.deleted_date.is_none()) {
            return Ok(seen);
        }
        let told = |failure: Failure| failure.of_store(at.store);
        self.call::<Value>("RestoreSecret", &json!({ "SecretId": name })).await.map_err(told)?;
        self.see(name).await.map_err(told)
    }

    async fn put(&self, name: &String, seen: &Found, write: &Write<'_>) -> Result<Put, Failure> {
        let (token, value) = (token(write.origin), write.secret.expose_secret());
        let Some(secret) = &seen.0 else {
            self.create(name, &token, value).await?;
            return Ok(Put::Done(Some(token)));
        };
        self.replace(name, &token, value, secret.with(CURRENT)).await?;
        self.claim(name, seen, write).await.map(Put::Done)
    }

    /// Where the version of this write is the current one. It may also be there and not in force.
    fn is_unclaimed(&self, seen: &Found, write: &Write<'_>) -> Option<bool> {
        let (secret, token) = (seen.0.as_ref(), token(write.origin));
        let Some(secret) = secret.filter(|secret| secret.deleted_date.is_none()) else { return Some(false) };
        let is_current = secret.with(CURRENT) == Some(&token);
        (is_current || !secret.version_ids_to_stages.contains_key(&token)).then_some(is_current)
    }

    /// Takes the label of what is to come away, and makes the secret ours.
    async fn claim(&self, name: &String, seen: &Found, write: &Write<'_>) -> Result<Option<String>, Failure> {
        let token = token(write.origin);
        self.unlabel(name, PENDING, &token).await?;
        if !seen.0.as_ref().is_some_and(Described::has_our_tag) {
            let body = json!({ "SecretId": name, "Tags": [{ "Key": TAG.0, "Value": TAG.1 }] });
            self.call::<Value>("TagResource", &body).await?;
        }
        Ok(Some(token))
    }

    async fn holds(&self, name: &String, seen: &Found, secret: &Secret) -> Result<Option<bool>, Failure> {
        // Both named: a version that lost the label is an error and not another value.
        let version = seen.0.as_ref().and_then(|secret| secret.with(CURRENT));
        let body = json!({ "SecretId": name, "VersionId": version, "VersionStage": CURRENT });
        match self.call::<ReadValue>("GetSecretValue", &body).await {
            Ok(read) => Ok(Some(read.secret_string.is_some_and(|value| value.is(secret)))),
            Err(failure) if failure.is_not_found() || failure.code() == Some("InvalidRequestException") => {
                Ok(Some(false))
            }
            Err(failure) if failure.is_denied() => Ok(None),
            Err(failure) => Err(failure),
        }
    }

    fn unread(&self) -> VerifyMode {
        VerifyMode::VersionMoved
    }

    async fn take(&self, name: &String, seen: &Found, origin: &Origin) -> Result<Put, Failure> {
        let (own, token) = (seen.0.as_ref().filter(|secret| secret.has_our_tag()), token(origin));
        let Some(secret) = own.filter(|secret| secret.deleted_date.is_none()) else {
            return Ok(Put::Done(None));
        };
        if secret.with(CURRENT) == Some(&token) {
            let body = json!({ "SecretId": name, "RecoveryWindowInDays": self.window });
            self.call::<Value>("DeleteSecret", &body).await?;
            return Ok(Put::Done(None));
        }
        // A newer value is in force; an older version without labels is one that AWS forgets.
        for stage in secret.stages(&token) {
            self.unlabel(name, stage, &token).await?;
        }
        Ok(Put::Done(None))
    }

    fn not_written(&self, failure: Failure, at: At<'_>) -> StoreError {
        let is_taken = failure.code() == Some("ResourceExistsException");
        if is_taken { at.conflict() } else { failure.of_write(at.store) }
    }
}
