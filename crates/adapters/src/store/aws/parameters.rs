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
use keywright_core::name::{EnvironmentName, KeyName, ProjectName, StoreName};
use keywright_core::secret::Secret;
use keywright_core::store::{Origin, Presence, StoreError, StoreFacts, VerifyMode, Write};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::super::remote::{At, Held, Stamp};
use super::super::spots::{Put, Seen, Spots};
use super::super::{StoreConfig, StoreConnectError};
use super::{Common, KMS_KEY, PREFIX, REGION};
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
    seen: "at the next read; the extension for Lambda, within five minutes as it comes",
    settles: 300,
};

/// One region's parameters.
pub(in crate::store) struct Parameters {
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
struct PutAnswer {
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
    value: Held,
}

/// What was found at a place.
pub(in crate::store) struct Found(Option<Described>);

/// `Keywright: <placement> <marker> version <number>`
fn description(origin: &Origin, version: u64) -> String {
    format!("{OURS}{} version {version}", Stamp::of(origin).text())
}

impl Described {
    /// Whose the present value is, when it is one that we wrote.
    fn stamp(&self) -> Option<Stamp> {
        let (stamp, number) = self.description.strip_prefix(OURS)?.split_once(" version ")?;
        let stamp = Stamp::parse(stamp)?;
        (number.parse() == Ok(self.version)).then_some(stamp)
    }
}

impl Seen for Found {
    fn presence(&self) -> Presence {
        let Some(described) = &self.0 else { return Presence::Absent };
        let ours = |stamp: Stamp| stamp.presence(Some(described.version.to_string()));
        described.stamp().map_or(Presence::Foreign, ours)
    }

    fn is_of(&self, origin: &Origin) -> bool {
        self.0.as_ref().and_then(Described::stamp).is_some_and(|stamp| stamp.is_of(origin))
    }
}

impl Parameters {
    pub(in crate::store) fn new(
        config: &StoreConfig,
        credential: Option<&Secret>,
    ) -> Result<Self, StoreConnectError> {
        Ok(Self { common: Common::open(config, credential, KIND, "ssm", "AmazonSSM")? })
    }

    async fn described(&self, name: &str) -> Result<Option<Described>, Failure> {
        let mut next: Option<String> = None;
        loop {
            let filter = json!([{ "Key": "Name", "Option": "Equals", "Values": [name] }]);
            let mut body = json!({ "ParameterFilters": filter });
            if let (Some(token), Some(fields)) = (&next, body.as_object_mut()) {
                fields.insert("NextToken".to_owned(), json!(token));
            }
            let list: List = self.common.api.send(Repeat::Safe, "DescribeParameters", &body).await?;
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
}

#[async_trait]
impl Spots for Parameters {
    /// The parameter's name.
    type Spot = String;
    type Seen = Found;
    /// The list of parameters follows.
    const LAGS: bool = true;

    fn facts(&self) -> &'static StoreFacts {
        &FACTS
    }

    async fn check(&self, store: &StoreName) -> Result<(), StoreError> {
        let name = format!("/{}keywright-check", self.common.prefix.trim_start_matches('/'));
        self.described(&name).await.map(drop).map_err(|failure| failure.of_store(store))
    }

    fn default_place(&self, project: &ProjectName, environment: &EnvironmentName, name: &KeyName) -> String {
        let place = self.common.default_name(project, environment, name);
        if place.starts_with('/') { place } else { format!("/{place}") }
    }

    fn complete(&self, place: String, _: &KeyName) -> String {
        place
    }

    fn spot(&self, at: At<'_>) -> Result<String, StoreError> {
        let place = at.place;
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
        why.map_or_else(|| Ok(place.to_owned()), |why| Err(at.bad(why)))
    }

    fn refuses(&self, value: &str) -> Option<&'static str> {
        if value.len() > LONGEST_VALUE {
            return Some("it has more than 4096 bytes");
        }
        value.contains("{{").then_some("it holds `{{`, which is taken for a reference")
    }

    async fn see(&self, name: &String) -> Result<Found, Failure> {
        self.described(name).await.map(Found)
    }

    /// Sent once: a second overwrite would be another version.
    async fn put(&self, name: &String, seen: &Found, write: &Write<'_>) -> Result<Put, Failure> {
        let next = seen.0.as_ref().map_or(0, |now| now.version) + 1;
        let body = PutParameter {
            name,
            value: write.secret.expose_secret(),
            r#type: "SecureString",
            tier: "Standard",
            overwrite: next > 1,
            description: description(write.origin, next),
            key_id: self.common.kms_key.as_deref(),
        };
        let put: PutAnswer = self.common.api.send(Repeat::Never, "PutParameter", &body).await?;
        if put.version == next {
            return Ok(Put::Done(Some(next.to_string())));
        }
        Err(Failure::garbled("somebody else wrote at the same time".to_owned()))
    }

    async fn holds(&self, name: &String, _: &Found, secret: &Secret) -> Result<Option<bool>, Failure> {
        let body = json!({ "Name": name, "WithDecryption": true });
        match self.common.api.send::<Got>(Repeat::Safe, "GetParameter", &body).await {
            Ok(Got { parameter }) => Ok(Some(parameter.value.is(secret))),
            Err(failure) if failure.is_not_found() => Ok(Some(false)),
            Err(failure) if failure.is_denied() => Ok(None),
            Err(failure) => Err(failure),
        }
    }

    fn unread(&self) -> VerifyMode {
        VerifyMode::VersionMoved
    }

    async fn take(&self, name: &String, seen: &Found, origin: &Origin) -> Result<Put, Failure> {
        if seen.is_of(origin) {
            let body = json!({ "Name": name });
            self.common.api.send::<Value>(Repeat::Safe, "DeleteParameter", &body).await?;
        }
        Ok(Put::Done(None))
    }

    fn not_written(&self, failure: Failure, at: At<'_>) -> StoreError {
        if failure.code() == Some("ParameterAlreadyExists") {
            return at.unavailable("it is there, but the list does not show it yet");
        }
        failure.of_write(at.store)
    }
}
