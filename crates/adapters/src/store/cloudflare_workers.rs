//! The store `cloudflare-workers`: secrets of a Worker's script.
//!
//! A place is `SCRIPT#NAME`; without `#NAME` the secret is called like the key. A script of a wrangler environment is
//! called `NAME-ENVIRONMENT`. A write deploys a new version of the Worker at once.
//!
//! **What is known of a secret** is its name. Nobody can read the value again, and no time or version shows that it
//! changed, so that a placement is verified by the vendor's word and the name alone ([`VerifyMode::StatusOnly`]).
//!
//! **Whose it is.** A second secret beside it says so by its name, `KEYWRIGHT_plc_..._NAME`; both are written, and taken
//! away, by one call that does all or nothing. A secret without one is somebody else's. **What can't be told:** when
//! somebody gives a secret of ours another value, it still looks like ours, and is replaced or removed as such.
//! There is no write under a guard either. Each key takes two of the Worker's variables.
//!
//! **What the token needs**: `Workers Scripts Write` in the account.
//!
//! API: <https://developers.cloudflare.com/api/resources/workers/subresources/scripts/subresources/secrets>.

use std::collections::BTreeMap;

use async_trait::async_trait;
use keywright_core::id::PlacementId;
use keywright_core::name::{EnvironmentName, KeyName, ProjectName, StoreName};
use keywright_core::place::Place;
use keywright_core::plan::Destination;
use keywright_core::secret::Secret;
use keywright_core::store::{Origin, Presence, Store, StoreError, StoreFacts, VerifyMode, Write, Written};
use reqwest::Method;
use serde::{Deserialize, Serialize};

use super::remote::{At, Stamp, is_permitted, written};
use super::{StoreConfig, StoreConnectError};
use crate::rest::{Failure, Rest, Said, body};
use crate::wire::Call;

/// The kind's name.
pub(super) const KIND: &str = "cloudflare-workers";

const PUBLIC: &str = "https://api.cloudflare.com/client/v4";
const ACCOUNT: &str = "account";
const SCRIPT: &str = "script";

/// The settings, and what each is.
pub(super) const SETTINGS: &[(&str, &str)] = &[
    (ACCOUNT, "the account's id, 32 hexadecimal digits"),
    (SCRIPT, "the script where a key lies by default; the one called like the project unless set"),
];

/// The secrets that say whose another one is start so, and no secret of ours may.
const NOTES: &str = "KEYWRIGHT_";
/// `plc_` and 32 digits.
const ID_LENGTH: usize = 36;
/// Cloudflare's code for a script that does not exist; a token that does not reach it is told otherwise.
const NO_SCRIPT: &str = "10007";
/// A list of all scripts is longer than other answers.
const LONGEST_LIST: usize = 8 << 20;

pub(super) static FACTS: StoreFacts = StoreFacts {
    kind: KIND,
    verify: VerifyMode::StatusOnly,
    guarded: false,
    versions: false,
    max_value: 5 << 10,
};

/// The Workers of one account.
pub(super) struct CloudflareWorkers {
    name: StoreName,
    account: String,
    script: Option<String>,
    rest: Rest,
    token: Secret,
}

/// The envelope of every answer.
#[derive(Deserialize)]
struct Envelope<T> {
    result: T,
}

/// A secret as the list shows it.
#[derive(Deserialize)]
struct Named {
    name: String,
}

#[derive(Serialize)]
struct Value<'a> {
    name: &'a str,
    #[serde(rename = "type")]
    kind: &'static str,
    text: &'a str,
}

/// A merge patch (RFC 7396): `null` removes.
#[derive(Serialize)]
struct Patch<'a> {
    secrets: BTreeMap<&'a str, Option<Value<'a>>>,
}

/// What the names say about a place.
struct Seen {
    is_there: bool,
    /// Who says that the secret is theirs, with the note's name.
    notes: Vec<(PlacementId, String)>,
}

impl Seen {
    fn presence(&self) -> Presence {
        match (self.is_there, self.notes.first()) {
            (false, _) => Presence::Absent,
            (true, None) => Presence::Foreign,
            (true, Some((placement, _))) => {
                Presence::Ours { marker: None, store_version: Some(placement.to_string()) }
            }
        }
    }

    fn is_of(&self, origin: &Origin) -> bool {
        self.is_there && self.notes.iter().any(|(placement, _)| *placement == origin.placement)
    }
}

fn note(placement: PlacementId, name: &str) -> String {
    format!("{NOTES}{placement}_{name}")
}

/// Reads [`note`].
fn noted(text: &str) -> Option<(PlacementId, &str)> {
    let (id, name) = text.strip_prefix(NOTES)?.split_at_checked(ID_LENGTH)?;
    Some((PlacementId::parse(id).ok()?, name.strip_prefix('_')?))
}

/// Cloudflare's refusals: `{success, errors: [{code, message}]}`.
fn said(body: &[u8]) -> Option<Said> {
    #[derive(Deserialize)]
    struct Refusal {
        errors: Vec<Fault>,
    }
    #[derive(Deserialize)]
    struct Fault {
        code: u64,
        message: String,
    }
    let Refusal { errors } = serde_json::from_slice(body).ok()?;
    let first = errors.into_iter().next()?;
    Some(Said { code: Some(first.code.to_string()), message: first.message })
}

impl CloudflareWorkers {
    /// Reads the configuration.
    ///
    /// # Errors
    /// When the address or a setting makes no sense.
    pub(super) fn new(config: &StoreConfig, token: Secret) -> Result<Self, StoreConnectError> {
        let account = config.required(ACCOUNT, "the id of the account")?.to_owned();
        if account.len() != 32 || !account.bytes().all(|b| b.is_ascii_hexdigit()) {
            return Err(config.bad(ACCOUNT, "must have 32 hexadecimal digits"));
        }
        let script = config.setting(SCRIPT).map(str::to_owned);
        if script.as_ref().is_some_and(|script| !is_script(script)) {
            return Err(config.bad(SCRIPT, "is not a name of a script"));
        }
        let rest = Rest::new(config.wire(KIND, Some(PUBLIC))?, [&token], |_| false, said);
        Ok(Self { name: config.name.clone(), account, script, rest, token })
    }

    fn spot<'a>(&'a self, destination: &'a Destination) -> Result<(&'a str, &'a str), StoreError> {
        let place = &destination.place.place;
        place.split_once('#').filter(|(script, name)| is_script(script) && is_name(name)).ok_or_else(|| {
            self.at(destination).bad(format!(
                "write `SCRIPT#NAME`, where the secret has letters, digits and `_`, and does not start with `{NOTES}`"
            ))
        })
    }

    fn at<'a>(&'a self, destination: &'a Destination) -> At<'a> {
        At { store: &self.name, place: &destination.place.place }
    }

    fn path<'a>(&'a self, rest: &[&'a str]) -> Vec<&'a str> {
        let mut path = vec!["accounts", &self.account, "workers", "scripts"];
        path.extend(rest);
        path
    }

    /// `GET .../secrets`: names and types.
    async fn see(&self, script: &str, name: &str) -> Result<Seen, Failure> {
        let call = Call::get(self.path(&[script, "secrets"]), &self.token);
        let listed: Envelope<Vec<Named>> = self.rest.json(call).await?;
        let mut seen = Seen { is_there: false, notes: Vec::new() };
        for Named { name: found } in listed.result {
            match noted(&found) {
                _ if found == name => seen.is_there = true,
                Some((placement, of)) if of == name => seen.notes.push((placement, found)),
                _ => {}
            }
        }
        Ok(seen)
    }

    /// `PATCH .../secrets-bulk`: all of it or nothing, and twice the same as once.
    async fn patch(&self, script: &str, patch: &Patch<'_>) -> Result<(), Failure> {
        let path = self.path(&[script, "secrets-bulk"]);
        let call = Call::again(Method::PATCH, path, &self.token, body(patch)?);
        let call = Call { content_type: "application/merge-patch+json", ..call };
        self.rest.json::<Envelope<serde_json::Value>>(call).await.map(drop)
    }

    /// What a failure means where nothing was written.
    fn failed(&self, failure: Failure, at: At<'_>) -> StoreError {
        if failure.is_not_found() {
            return at.bad("there is no such Worker in the account, or the token does not reach it");
        }
        failure.of_store(&self.name)
    }
}

fn is_script(name: &str) -> bool {
    (1..=255).contains(&name.len())
        && !name.starts_with('-')
        && name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b"-_".contains(&b))
}

/// A name in JavaScript.
fn is_name(name: &str) -> bool {
    (1..=200).contains(&name.len())
        && !name.starts_with(|c: char| c.is_ascii_digit())
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
        && !name.starts_with(NOTES)
}

#[async_trait]
impl Store for CloudflareWorkers {
    fn facts(&self) -> &'static StoreFacts {
        &FACTS
    }

    async fn check(&self) -> Result<(), StoreError> {
        let path = match &self.script {
            Some(script) => self.path(&[script, "secrets"]),
            None => self.path(&[]),
        };
        let call = Call { max_body: Some(LONGEST_LIST), ..Call::get(path, &self.token) };
        let listed: Result<Envelope<Vec<serde_json::Value>>, Failure> = self.rest.json(call).await;
        let script = self.script.as_deref().unwrap_or_default();
        listed.map(drop).map_err(|failure| self.failed(failure, At { store: &self.name, place: script }))
    }

    fn default_place(&self, project: &ProjectName, _: &EnvironmentName, name: &KeyName) -> String {
        format!("{}#{name}", self.script.as_deref().unwrap_or(project.as_str()))
    }

    async fn accept(
        &self,
        destination: Destination,
        name: &KeyName,
        _: Option<&str>,
    ) -> Result<Destination, StoreError> {
        let Place { store, mut place } = destination.place;
        if !place.contains('#') {
            place = format!("{place}#{name}");
        }
        let accepted = Destination { place: Place { store, place }, base: None };
        self.spot(&accepted)?;
        Ok(accepted)
    }

    async fn look(&self, destination: &Destination) -> Result<Presence, StoreError> {
        let (script, name) = self.spot(destination)?;
        let seen = self.see(script, name).await;
        Ok(seen.map_err(|failure| self.failed(failure, self.at(destination)))?.presence())
    }

    async fn write(&self, write: &Write<'_>) -> Result<Written, StoreError> {
        let (at, (script, name)) = (self.at(write.destination), self.spot(write.destination)?);
        if write.secret.is_empty() || write.secret.expose_secret().len() > FACTS.max_value {
            return Err(at.value("a secret of a Worker has 1 byte to 5 KiB"));
        }
        let seen = self.see(script, name).await.map_err(|failure| self.failed(failure, at))?;
        let done = written(write.origin.placement.to_string());
        if seen.is_of(write.origin) {
            return Ok(done);
        }
        if !is_permitted(write, &seen.presence()) {
            return Err(at.conflict());
        }
        let (note, stamp) = (note(write.origin.placement, name), Stamp::of(write.origin).text());
        let text = |name, text| Some(Value { name, kind: "secret_text", text });
        let mut secrets: BTreeMap<&str, _> = seen.notes.iter().map(|(_, old)| (old.as_str(), None)).collect();
        secrets.insert(name, text(name, write.secret.expose_secret()));
        secrets.insert(&note, text(&note, &stamp));
        let Err(failure) = self.patch(script, &Patch { secrets }).await else { return Ok(done) };
        // Whatever the answer says: where our note is, the value is.
        match self.see(script, name).await {
            Ok(now) if now.is_of(write.origin) => Ok(done),
            Err(unseen) if failure.is_bare_denial() => Err(at.unseen(failure.of_write(&self.name), &unseen)),
            _ => Err(failure.of_write(&self.name)),
        }
    }

    async fn verify(&self, write: &Write<'_>, _: &Written) -> Result<VerifyMode, StoreError> {
        let (at, (script, name)) = (self.at(write.destination), self.spot(write.destination)?);
        let seen = self.see(script, name).await.map_err(|failure| self.failed(failure, at))?;
        if seen.is_of(write.origin) { Ok(VerifyMode::StatusOnly) } else { Err(at.mismatch()) }
    }

    async fn remove(&self, origin: &Origin, destination: &Destination) -> Result<(), StoreError> {
        let (script, name) = self.spot(destination)?;
        let seen = match self.see(script, name).await {
            // With the Worker, its secrets went.
            Err(failure) if failure.code() == Some(NO_SCRIPT) => return Ok(()),
            seen => seen.map_err(|failure| failure.of_store(&self.name))?,
        };
        let Some((_, note)) = seen.notes.iter().find(|(placement, _)| *placement == origin.placement) else {
            return Ok(());
        };
        let mut secrets = BTreeMap::from([(note.as_str(), None)]);
        if seen.is_there && seen.notes.len() == 1 {
            secrets.insert(name, None);
        }
        self.patch(script, &Patch { secrets }).await.map_err(|failure| failure.of_write(&self.name))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_note_names_its_placement_and_its_secret() {
        let placement = PlacementId::generate(jiff::Timestamp::UNIX_EPOCH, [7; 10]);
        let text = note(placement, "API_TOKEN");
        assert_eq!(noted(&text), Some((placement, "API_TOKEN")));
        for other in ["API_TOKEN", "KEYWRIGHT_", "KEYWRIGHT_plc_x_A", &text.replace("_API", "API")] {
            assert_eq!(noted(other), None, "{other}");
        }
        assert!(!is_name(&text) && is_name("API_TOKEN") && !is_name("1A") && !is_name("A-B"));
    }
}
