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
use keywright_core::secret::Secret;
use keywright_core::store::{Origin, Presence, StoreError, StoreFacts, VerifyMode, Write};
use reqwest::Method;
use serde::{Deserialize, Serialize};

use super::remote::{At, Stamp};
use super::spots::{Put, Seen, Spots};
use super::{StoreConfig, StoreConnectError};
use crate::names::{is_lower, is_plain};
use crate::rest::{Failure, RefusalBody, Rest, Said, body};
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
    seen: "at once: a secret is a new version of the Worker, which is deployed",
    settles: 60,
};

/// The Workers of one account.
pub(super) struct CloudflareWorkers {
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

/// A place, taken apart.
pub(super) struct Spot {
    script: String,
    name: String,
}

/// What the names say about a place.
pub(super) struct Names {
    is_there: bool,
    /// Who says that the secret is theirs, with the note's name.
    notes: Vec<(PlacementId, String)>,
}

impl Seen for Names {
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
    let refusal = RefusalBody::parse(body)?;
    Some(Said { code: Some(refusal.number("/errors/0/code")?), message: refusal.text("/errors/0/message")? })
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
        let script = config.fitting(SCRIPT, is_script, "is not a name of a script")?;
        let rest = Rest::new(config.wire(KIND, Some(PUBLIC))?, [&token], |_| false, said);
        Ok(Self { account, script, rest, token })
    }

    fn path<'a>(&'a self, rest: &[&'a str]) -> Vec<&'a str> {
        let mut path = vec!["accounts", &self.account, "workers", "scripts"];
        path.extend(rest);
        path
    }

    /// `PATCH .../secrets-bulk`: all of it or nothing, and twice the same as once.
    async fn patch(&self, script: &str, patch: &Patch<'_>) -> Result<Put, Failure> {
        let path = self.path(&[script, "secrets-bulk"]);
        let call = Call::again(Method::PATCH, path, &self.token, body(patch)?);
        let call = Call { content_type: "application/merge-patch+json", ..call };
        self.rest.json::<Envelope<serde_json::Value>>(call).await.map(|_| Put::Done(None))
    }
}

fn is_script(name: &str) -> bool {
    is_lower(name, "-_", 255) && !name.starts_with('-')
}

/// A name in JavaScript.
fn is_name(name: &str) -> bool {
    is_plain(name, "_", 200) && !name.starts_with(|c: char| c.is_ascii_digit()) && !name.starts_with(NOTES)
}

#[async_trait]
impl Spots for CloudflareWorkers {
    type Spot = Spot;
    type Seen = Names;

    fn facts(&self) -> &'static StoreFacts {
        &FACTS
    }

    async fn check(&self, store: &StoreName) -> Result<(), StoreError> {
        let path = match &self.script {
            Some(script) => self.path(&[script, "secrets"]),
            None => self.path(&[]),
        };
        let call = Call { max_body: Some(LONGEST_LIST), ..Call::get(path, &self.token) };
        let listed: Result<Envelope<Vec<serde_json::Value>>, Failure> = self.rest.json(call).await;
        let script = self.script.as_deref().unwrap_or_default();
        listed.map(drop).map_err(|failure| self.failed(failure, At { store, place: script }))
    }

    fn default_place(&self, project: &ProjectName, _: &EnvironmentName, name: &KeyName) -> String {
        format!("{}#{name}", self.script.as_deref().unwrap_or(project.as_str()))
    }

    fn spot(&self, at: At<'_>) -> Result<Spot, StoreError> {
        let parts = at.place.split_once('#').filter(|(script, name)| is_script(script) && is_name(name));
        let (script, name) = parts.ok_or_else(|| {
            at.bad(format!(
                "write `SCRIPT#NAME`, where the secret has letters, digits and `_`, and does not start with `{NOTES}`"
            ))
        })?;
        Ok(Spot { script: script.to_owned(), name: name.to_owned() })
    }

    fn refuses(&self, value: &str) -> Option<&'static str> {
        let fits = (1..=FACTS.max_value).contains(&value.len());
        (!fits).then_some("a secret of a Worker has 1 byte to 5 KiB")
    }

    /// `GET .../secrets`: names and types.
    async fn see(&self, spot: &Spot) -> Result<Names, Failure> {
        let call = Call::get(self.path(&[&spot.script, "secrets"]), &self.token);
        let listed: Envelope<Vec<Named>> = self.rest.json(call).await?;
        let mut seen = Names { is_there: false, notes: Vec::new() };
        for Named { name: found } in listed.result {
            match noted(&found) {
                _ if found == spot.name => seen.is_there = true,
                Some((placement, of)) if of == spot.name => seen.notes.push((placement, found)),
                _ => {}
            }
        }
        Ok(seen)
    }

    async fn put(&self, spot: &Spot, seen: &Names, write: &Write<'_>) -> Result<Put, Failure> {
        let (note, stamp) = (note(write.origin.placement, &spot.name), Stamp::of(write.origin).text());
        let text = |name, text| Some(Value { name, kind: "secret_text", text });
        let mut secrets: BTreeMap<&str, _> = seen.notes.iter().map(|(_, old)| (old.as_str(), None)).collect();
        secrets.insert(&spot.name, text(&spot.name, write.secret.expose_secret()));
        secrets.insert(&note, text(&note, &stamp));
        self.patch(&spot.script, &Patch { secrets }).await
    }

    async fn holds(&self, _: &Spot, _: &Names, _: &Secret) -> Result<Option<bool>, Failure> {
        Ok(None)
    }

    async fn take(&self, spot: &Spot, seen: &Names, origin: &Origin) -> Result<Put, Failure> {
        let Some((_, note)) = seen.notes.iter().find(|(placement, _)| *placement == origin.placement) else {
            return Ok(Put::Done(None));
        };
        let mut secrets = BTreeMap::from([(note.as_str(), None)]);
        if seen.is_there && seen.notes.len() == 1 {
            secrets.insert(&spot.name, None);
        }
        self.patch(&spot.script, &Patch { secrets }).await
    }

    /// With the Worker, its secrets went.
    fn is_gone(&self, failure: &Failure) -> bool {
        failure.code() == Some(NO_SCRIPT)
    }

    fn failed(&self, failure: Failure, at: At<'_>) -> StoreError {
        if failure.is_not_found() {
            return at.bad("there is no such Worker in the account, or the token does not reach it");
        }
        failure.of_store(at.store)
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
