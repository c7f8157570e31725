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
use keywright_core::plan::Destination;
use keywright_core::secret::Secret;
use keywright_core::store::{Origin, Presence, Store, StoreError, StoreFacts, VerifyMode, Write, Written};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;

use super::super::{StoreConfig, StoreConnectError};
use super::{Common, KMS_KEY, PREFIX, REGION, no_place, not_written, taken, unfinished};
use crate::rest::Failure;
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

pub(in crate::store) static FACTS: StoreFacts =
    StoreFacts { kind: KIND, verify: VerifyMode::ReadBack, guarded: true, versions: true, max_value: 65_536 };

/// One region's secrets.
pub(in crate::store) struct SecretsManager {
    name: StoreName,
    common: Common,
    window: u64,
}

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
    #[serde(default)]
    secret_string: String,
}

impl Described {
    fn has_our_tag(&self) -> bool {
        self.tags.iter().flatten().any(|tag| (tag.key.as_str(), tag.value.as_str()) == TAG)
    }

    fn with(&self, stage: &str) -> Option<&str> {
        let found = self.version_ids_to_stages.iter().find(|(_, stages)| stages.iter().any(|s| s == stage));
        found.map(|(id, _)| id.as_str())
    }

    fn stages(&self, version: &str) -> &[String] {
        self.version_ids_to_stages.get(version).map_or(&[], Vec::as_slice)
    }

    fn presence(&self) -> Presence {
        let current = self.with(CURRENT);
        match current.and_then(|version| Some((version, marker_of(version)?))) {
            _ if !self.has_our_tag() => Presence::Foreign,
            _ if self.deleted_date.is_some() => Presence::Absent,
            Some((version, marker)) => {
                Presence::Ours { marker: Some(marker), store_version: Some(version.to_owned()) }
            }
            None => Presence::Foreign,
        }
    }
}

/// The id of the version that a placement's write makes: `<marker>-<hash of the placement>`.
fn token(origin: &Origin) -> String {
    let hash = Sha256::digest(origin.placement.as_bytes());
    let hash: String = hash.iter().map(|byte| format!("{byte:02x}")).collect();
    let mut token = format!("{}-{hash}", origin.marker);
    token.truncate(LONGEST_TOKEN);
    token
}

/// The marker within a version's id, when one of our writes made it.
fn marker_of(version: &str) -> Option<Marker> {
    let (marker, _) = version.rsplit_once('-').filter(|(marker, _)| marker.starts_with("kw-"))?;
    Some(Marker::from_ledger(marker.to_owned()))
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
        Ok(Self { name: config.name.clone(), common, window })
    }

    /// All of these may be repeated: the token makes a repeated write one, the rest changes nothing a second time.
    async fn call<T: DeserializeOwned>(&self, operation: &str, body: &impl Serialize) -> Result<T, Failure> {
        self.common.api.send(Repeat::Safe, operation, body).await
    }

    async fn describe(&self, name: &str) -> Result<Option<Described>, Failure> {
        match self.call("DescribeSecret", &json!({ "SecretId": name })).await {
            Ok(described) => Ok(Some(described)),
            Err(failure) if failure.is_not_found() => Ok(None),
            Err(failure) => Err(failure),
        }
    }

    async fn described(&self, name: &str) -> Result<Option<Described>, StoreError> {
        self.describe(name).await.map_err(|failure| failure.of_store(&self.name))
    }

    /// Whether a version of ours is there, in whatever stage.
    async fn has_version(&self, name: &str, token: &str) -> Result<bool, StoreError> {
        let secret = self.described(name).await?;
        Ok(secret.is_some_and(|secret| secret.version_ids_to_stages.contains_key(token)))
    }

    async fn create(&self, name: &str, token: &str, value: &str) -> Result<(), StoreError> {
        let body = CreateSecret {
            name,
            secret_string: value,
            client_request_token: token,
            tags: json!([{ "Key": TAG.0, "Value": TAG.1 }]),
            kms_key_id: self.common.kms_key.as_deref(),
        };
        let made: Result<WrittenVersion, Failure> = self.call("CreateSecret", &body).await;
        match made {
            Ok(made) => self.is_the_one(&made, token),
            Err(failure) if failure.code() == Some("ResourceExistsException") => Err(taken(&self.name, name)),
            Err(failure) => Err(not_written(&self.name, failure, self.has_version(name, token)).await),
        }
    }

    /// Puts the value beside the current one, and then moves the label if it is still where it was.
    async fn replace(
        &self,
        name: &str,
        token: &str,
        value: &str,
        current: Option<&str>,
    ) -> Result<(), StoreError> {
        let pending = PutSecretValue {
            secret_id: name,
            secret_string: value,
            client_request_token: token,
            version_stages: [PENDING],
        };
        let put: WrittenVersion = match self.call("PutSecretValue", &pending).await {
            Ok(put) => put,
            Err(failure) => {
                return Err(not_written(&self.name, failure, self.has_version(name, token)).await);
            }
        };
        self.is_the_one(&put, token)?;
        let mut label = json!({ "SecretId": name, "VersionStage": CURRENT, "MoveToVersionId": token });
        if let (Some(current), Some(fields)) = (current, label.as_object_mut()) {
            fields.insert("RemoveFromVersionId".to_owned(), json!(current));
        }
        if let Err(failure) = self.call::<Value>("UpdateSecretVersionStage", &label).await {
            // Also when the first of two equal calls had moved it and its answer was lost.
            let now = self.described(name).await?;
            match now.as_ref().map(|secret| secret.with(CURRENT)) {
                Some(Some(version)) if version == token => {}
                Some(version) if version == current => return Err(failure.of_write(&self.name)),
                _ => return Err(taken(&self.name, name)),
            }
        }
        self.not_pending(name, token).await
    }

    async fn not_pending(&self, name: &str, token: &str) -> Result<(), StoreError> {
        match self.unlabel(name, PENDING, token).await {
            Ok(()) => Ok(()),
            Err(failure) => Err(unfinished(&self.name, failure)),
        }
    }

    async fn unlabel(&self, name: &str, stage: &str, version: &str) -> Result<(), Failure> {
        let body = json!({ "SecretId": name, "VersionStage": stage, "RemoveFromVersionId": version });
        match self.call::<Value>("UpdateSecretVersionStage", &body).await {
            Err(failure) if failure.code() == Some("InvalidParameterException") => Ok(()),
            other => other.map(drop),
        }
    }

    fn is_the_one(&self, written: &WrittenVersion, token: &str) -> Result<(), StoreError> {
        let why = || "the answer names another version than the one that was written".to_owned();
        if written.version_id == token {
            Ok(())
        } else {
            Err(StoreError::OutcomeUnknown { store: self.name.clone(), why: why() })
        }
    }

    async fn restore(&self, name: &str) -> Result<(), StoreError> {
        let restored = self.call::<Value>("RestoreSecret", &json!({ "SecretId": name })).await;
        restored.map(drop).map_err(|failure| failure.of_store(&self.name))
    }

    async fn adopt(&self, name: &str) -> Result<(), StoreError> {
        let body = json!({ "SecretId": name, "Tags": [{ "Key": TAG.0, "Value": TAG.1 }] });
        match self.call::<Value>("TagResource", &body).await {
            Ok(_) => Ok(()),
            Err(failure) => Err(unfinished(&self.name, failure)),
        }
    }
}

#[async_trait]
impl Store for SecretsManager {
    fn facts(&self) -> &'static StoreFacts {
        &FACTS
    }

    async fn check(&self) -> Result<(), StoreError> {
        self.described(&format!("{}keywright-check", self.common.prefix)).await.map(drop)
    }

    fn default_place(&self, project: &ProjectName, environment: &EnvironmentName, name: &KeyName) -> String {
        self.common.default_name(project, environment, name)
    }

    async fn accept(
        &self,
        destination: Destination,
        _: &KeyName,
        _: Option<&str>,
    ) -> Result<Destination, StoreError> {
        let place = &destination.place.place;
        let like_an_arn = place.rsplit_once('-').is_some_and(|(_, end)| end.len() == 6);
        let why = self.common.refuses(place, LONGEST_NAME, MARKS).or_else(|| {
            like_an_arn.then(|| {
                "a name that ends in `-` and six characters is mistaken for a part of an ARN".to_owned()
            })
        });
        match why {
            Some(why) => Err(no_place(&self.name, place, why)),
            None => Ok(Destination { base: None, ..destination }),
        }
    }

    async fn look(&self, destination: &Destination) -> Result<Presence, StoreError> {
        let described = self.described(&destination.place.place).await?;
        Ok(described.map_or(Presence::Absent, |secret| secret.presence()))
    }

    async fn write(&self, write: &Write<'_>) -> Result<Written, StoreError> {
        let (name, token) = (write.destination.place.place.as_str(), token(write.origin));
        let value = write.secret.expose_secret();
        if value.len() > FACTS.max_value {
            let why = format!("it has more than {} bytes", FACTS.max_value);
            return Err(StoreError::Value { store: self.name.clone(), why });
        }
        let written = Written { store_version: Some(token.clone()) };
        let Some(secret) = self.described(name).await? else {
            self.create(name, &token, value).await?;
            return Ok(written);
        };
        let current = secret.with(CURRENT);
        match (secret.presence(), &write.expected) {
            (Presence::Absent, _) => {
                self.restore(name).await?;
                self.replace(name, &token, value, current).await?;
            }
            (Presence::Ours { .. }, _) if current == Some(&token) => {
                if secret.stages(&token).iter().any(|stage| stage == PENDING) {
                    self.not_pending(name, &token).await?;
                }
            }
            (Presence::Ours { store_version: now, .. }, Presence::Ours { store_version: then, .. })
                if now == *then =>
            {
                self.replace(name, &token, value, current).await?;
            }
            (Presence::Foreign, Presence::Foreign) => {
                self.replace(name, &token, value, current).await?;
                self.adopt(name).await?;
            }
            _ => return Err(taken(&self.name, name)),
        }
        Ok(written)
    }

    async fn verify(&self, write: &Write<'_>, _: &Written) -> Result<VerifyMode, StoreError> {
        let (name, token) = (write.destination.place.place.as_str(), token(write.origin));
        let mismatch = || super::mismatch(&self.name, name);
        // Both named: a version that lost the label is an error and not another value.
        let body = json!({ "SecretId": name, "VersionId": token, "VersionStage": CURRENT });
        match self.call::<ReadValue>("GetSecretValue", &body).await {
            Ok(read) => {
                let value = Secret::new(read.secret_string);
                let same = value.expose_secret().as_bytes().ct_eq(write.secret.expose_secret().as_bytes());
                if bool::from(same) { Ok(VerifyMode::ReadBack) } else { Err(mismatch()) }
            }
            Err(failure) if failure.is_not_found() || failure.code() == Some("InvalidRequestException") => {
                Err(mismatch())
            }
            Err(failure) if failure.is_denied() => match self.described(name).await? {
                Some(secret) if secret.with(CURRENT) == Some(&token) => Ok(VerifyMode::VersionMoved),
                _ => Err(mismatch()),
            },
            Err(failure) => Err(failure.of_store(&self.name)),
        }
    }

    async fn remove(&self, origin: &Origin, destination: &Destination) -> Result<(), StoreError> {
        let (name, token) = (destination.place.place.as_str(), token(origin));
        let Some(secret) = self.described(name).await? else { return Ok(()) };
        if secret.deleted_date.is_some() || !secret.has_our_tag() {
            return Ok(());
        }
        let done = |failure: Failure| failure.of_write(&self.name);
        if secret.with(CURRENT) != Some(&token) {
            // A newer value is in force; an older version without labels is one that AWS forgets.
            for stage in secret.stages(&token) {
                self.unlabel(name, stage, &token).await.map_err(done)?;
            }
            return Ok(());
        }
        let body = json!({ "SecretId": name, "RecoveryWindowInDays": self.window });
        match self.call::<Value>("DeleteSecret", &body).await {
            Ok(_) => Ok(()),
            Err(failure) => match self.described(name).await? {
                // The first of two equal calls had done it.
                None => Ok(()),
                Some(secret) if secret.deleted_date.is_some() => Ok(()),
                Some(_) => Err(done(failure)),
            },
        }
    }
}
