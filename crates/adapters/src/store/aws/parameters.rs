//! The store `aws-ssm`: parameters of AWS Systems Manager in one region (API version 2014-11-06), as `SecureString` of the
//! standard tier.
//!
//! A place is the name of a parameter, as in `/web/dev/DB_KEY`; a name with levels begins with `/`.
//!
//! **Whose value.** `PutParameter` writes the description together with the value. It names the placement, the marker and
//! the number of the version that it belongs to. A value that somebody changed by hand keeps the description but gets the
//! next number, so that it no longer is ours and stays as it is.
//!
//! **Guards.** A new name is written with `Overwrite = false`. Nothing guards an overwrite: if somebody wrote between the
//! look and the write, the number says so, and the write is a conflict.
//!
//! **Removing** deletes the parameter with all of its versions, at once.
//!
//! It needs `ssm:` `DescribeParameters` (for which AWS takes no resource but `*`), `PutParameter`, `DeleteParameter`, and
//! `GetParameter` to read back; without the last one a write is verified by its version. Values with `{{` are refused:
//! AWS takes them for references.

use async_trait::async_trait;
use keywright_core::id::PlacementId;
use keywright_core::marker::Marker;
use keywright_core::name::{EnvironmentName, KeyName, ProjectName, StoreName};
use keywright_core::plan::Destination;
use keywright_core::secret::Secret;
use keywright_core::store::{Origin, Presence, Store, StoreError, StoreFacts, VerifyMode, Write, Written};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use subtle::ConstantTimeEq as _;

use super::super::{StoreConfig, StoreConnectError};
use super::{Common, KMS_KEY, PREFIX, REGION, mismatch, no_place, not_written, taken};
use crate::rest::Failure;
use crate::wire::Repeat;

pub(in crate::store) const KIND: &str = "aws-ssm";
pub(in crate::store) const SETTINGS: &[(&str, &str)] = &[REGION, PREFIX, KMS_KEY];

/// How our descriptions begin.
const OURS: &str = "Keywright: ";
/// The characters of a name besides letters and digits.
const MARKS: &str = "/_.-";
/// The API allows 1011, with the ARN around it.
const LONGEST_NAME: usize = 900;
const MOST_LEVELS: usize = 15;
/// In bytes, of the standard tier.
const LONGEST_VALUE: usize = 4_096;

pub(in crate::store) static FACTS: StoreFacts = StoreFacts {
    kind: KIND,
    verify: VerifyMode::ReadBack,
    guarded: false,
    versions: true,
    max_value: LONGEST_VALUE,
};

/// One region's parameters.
pub(in crate::store) struct Parameters {
    name: StoreName,
    common: Common,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct List {
    #[serde(default)]
    parameters: Vec<Described>,
    next_token: Option<String>,
}

/// What `DescribeParameters` says of one.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Described {
    name: String,
    #[serde(default)]
    description: String,
    version: u64,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct PutParameter<'a> {
    name: &'a str,
    value: &'a str,
    r#type: &'a str,
    tier: &'a str,
    overwrite: bool,
    description: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    key_id: Option<&'a str>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Put {
    version: u64,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Got {
    parameter: Parameter,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Parameter {
    version: u64,
    value: String,
}

/// `Keywright: <placement> <marker> version <number>`
fn description(origin: &Origin, version: u64) -> String {
    format!("{OURS}{} {} version {version}", origin.placement, origin.marker)
}

impl Described {
    /// The placement and the marker, when the present value is one that we wrote.
    fn origin(&self) -> Option<(PlacementId, Marker)> {
        let mut words = self.description.strip_prefix(OURS)?.split(' ');
        let (placement, marker) = (words.next()?.parse().ok()?, words.next()?);
        let number: u64 = words.next().filter(|word| *word == "version").and(words.next())?.parse().ok()?;
        (number == self.version).then(|| (placement, Marker::from_ledger(marker.to_owned())))
    }

    fn is_from(&self, origin: &Origin) -> bool {
        self.origin().is_some_and(|(placement, _)| placement == origin.placement)
    }

    fn presence(&self) -> Presence {
        self.origin().map_or(Presence::Foreign, |(_, marker)| Presence::Ours {
            marker: Some(marker),
            store_version: Some(self.version.to_string()),
        })
    }

    fn written(&self) -> Written {
        Written { store_version: Some(self.version.to_string()) }
    }
}

impl Parameters {
    pub(in crate::store) fn new(
        config: &StoreConfig,
        credential: Option<&Secret>,
    ) -> Result<Self, StoreConnectError> {
        Ok(Self {
            name: config.name.clone(),
            common: Common::open(config, credential, KIND, "ssm", "AmazonSSM")?,
        })
    }

    async fn described(&self, name: &str) -> Result<Option<Described>, StoreError> {
        let mut next: Option<String> = None;
        loop {
            let filter = json!([{ "Key": "Name", "Option": "Equals", "Values": [name] }]);
            let mut body = json!({ "ParameterFilters": filter });
            if let (Some(token), Some(fields)) = (&next, body.as_object_mut()) {
                fields.insert("NextToken".to_owned(), json!(token));
            }
            let list: List = self
                .common
                .api
                .send(Repeat::Safe, "DescribeParameters", &body)
                .await
                .map_err(|failure| failure.of_store(&self.name))?;
            let found = list.parameters.into_iter().find(|parameter| parameter.name == name);
            // A page may be empty although another one follows.
            match list
                .next_token
                .filter(|token| found.is_none() && !token.is_empty() && next.as_ref() != Some(token))
            {
                Some(token) => next = Some(token),
                None => return Ok(found),
            }
        }
    }

    /// Sent once: a second overwrite would be another version.
    async fn put(&self, write: &Write<'_>, version: u64) -> Result<u64, Failure> {
        let body = PutParameter {
            name: &write.destination.place.place,
            value: write.secret.expose_secret(),
            r#type: "SecureString",
            tier: "Standard",
            overwrite: version > 1,
            description: description(write.origin, version),
            key_id: self.common.kms_key.as_deref(),
        };
        let put: Put = self.common.api.send(Repeat::Never, "PutParameter", &body).await?;
        Ok(put.version)
    }

    fn refuse_value(&self, value: &str) -> Result<(), StoreError> {
        let why = if value.len() > LONGEST_VALUE {
            format!("it has more than {LONGEST_VALUE} bytes")
        } else if value.contains("{{") {
            "it holds `{{`, which is taken for a reference".to_owned()
        } else {
            return Ok(());
        };
        Err(StoreError::Value { store: self.name.clone(), why })
    }
}

#[async_trait]
impl Store for Parameters {
    fn facts(&self) -> &'static StoreFacts {
        &FACTS
    }

    async fn check(&self) -> Result<(), StoreError> {
        self.described(&format!("/{}keywright-check", self.common.prefix.trim_start_matches('/')))
            .await
            .map(drop)
    }

    fn default_place(&self, project: &ProjectName, environment: &EnvironmentName, name: &KeyName) -> String {
        let place = self.common.default_name(project, environment, name);
        if place.starts_with('/') { place } else { format!("/{place}") }
    }

    async fn accept(
        &self,
        destination: Destination,
        _: &KeyName,
        _: Option<&str>,
    ) -> Result<Destination, StoreError> {
        let place = destination.place.place.as_str();
        let levels: Vec<&str> = place.trim_start_matches('/').split('/').collect();
        let first = levels.first().unwrap_or(&"").to_ascii_lowercase();
        let why = self.common.refuses(place, LONGEST_NAME, MARKS).or_else(|| {
            if place.contains('/') && !place.starts_with('/') {
                Some("a name with levels begins with `/`".to_owned())
            } else if levels.len() > MOST_LEVELS || levels.iter().any(|level| level.is_empty()) {
                Some(format!("a name has at most {MOST_LEVELS} levels, and none is empty"))
            } else {
                let reserved = ["aws", "ssm"].iter().any(|word| first.starts_with(word));
                reserved.then(|| "a name does not begin with `aws` or `ssm`".to_owned())
            }
        });
        match why {
            Some(why) => Err(no_place(&self.name, place, why)),
            None => Ok(Destination { base: None, ..destination }),
        }
    }

    async fn look(&self, destination: &Destination) -> Result<Presence, StoreError> {
        let described = self.described(&destination.place.place).await?;
        Ok(described.map_or(Presence::Absent, |parameter| parameter.presence()))
    }

    async fn write(&self, write: &Write<'_>) -> Result<Written, StoreError> {
        self.refuse_value(write.secret.expose_secret())?;
        let name = write.destination.place.place.as_str();
        let next = match self.described(name).await? {
            None => 1,
            Some(now) if now.is_from(write.origin) => return Ok(now.written()),
            Some(now) => match (now.presence(), &write.expected) {
                (Presence::Foreign, Presence::Foreign) => now.version + 1,
                (
                    Presence::Ours { store_version: now_there, .. },
                    Presence::Ours { store_version: then, .. },
                ) if now_there == *then => now.version + 1,
                _ => return Err(taken(&self.name, name)),
            },
        };
        match self.put(write, next).await {
            Ok(version) if version == next => Ok(Written { store_version: Some(version.to_string()) }),
            // Somebody wrote in between.
            Ok(_) => Err(taken(&self.name, name)),
            Err(failure) if failure.code() == Some("ParameterAlreadyExists") => {
                match self.described(name).await? {
                    Some(now) if now.is_from(write.origin) => Ok(now.written()),
                    Some(_) => Err(taken(&self.name, name)),
                    None => {
                        let why = "it is there, but the list does not show it yet".to_owned();
                        Err(StoreError::Unavailable { store: self.name.clone(), why })
                    }
                }
            }
            Err(failure) => {
                let landed =
                    async { Ok(self.described(name).await?.is_some_and(|now| now.is_from(write.origin))) };
                Err(not_written(&self.name, failure, landed).await)
            }
        }
    }

    async fn verify(&self, write: &Write<'_>, written: &Written) -> Result<VerifyMode, StoreError> {
        let name = write.destination.place.place.as_str();
        let body = json!({ "Name": name, "WithDecryption": true });
        match self.common.api.send::<Got>(Repeat::Safe, "GetParameter", &body).await {
            Ok(Got { parameter }) => {
                let value = Secret::new(parameter.value);
                let same = value.expose_secret().as_bytes().ct_eq(write.secret.expose_secret().as_bytes());
                let is_version =
                    written.store_version.as_ref().is_none_or(|v| *v == parameter.version.to_string());
                if bool::from(same) && is_version {
                    Ok(VerifyMode::ReadBack)
                } else {
                    Err(mismatch(&self.name, name))
                }
            }
            Err(failure) if failure.is_not_found() => Err(mismatch(&self.name, name)),
            Err(failure) if failure.is_denied() => match self.described(name).await? {
                Some(now) if now.is_from(write.origin) => Ok(VerifyMode::VersionMoved),
                _ => Err(mismatch(&self.name, name)),
            },
            Err(failure) => Err(failure.of_store(&self.name)),
        }
    }

    async fn remove(&self, origin: &Origin, destination: &Destination) -> Result<(), StoreError> {
        let name = destination.place.place.as_str();
        match self.described(name).await? {
            Some(now) if now.is_from(origin) => {}
            _ => return Ok(()),
        }
        match self.common.api.send::<Value>(Repeat::Safe, "DeleteParameter", &json!({ "Name": name })).await {
            Ok(_) => Ok(()),
            Err(failure) if failure.is_not_found() => Ok(()),
            Err(failure) => Err(failure.of_write(&self.name)),
        }
    }
}
