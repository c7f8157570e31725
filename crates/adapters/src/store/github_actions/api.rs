//! The calls, as this store makes them. GitHub REST API, version 2022-11-28: `Actions / Secrets`, `Actions / Variables`.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use crypto_box::PublicKey;
use crypto_box::aead::OsRng;
use jiff::Timestamp;
use keywright_core::secret::Secret;
use reqwest::Method;
use serde::de::IgnoredAny;
use serde::{Deserialize, Serialize};

use super::note::{Note, Slip};
use super::spot::Spot;
use crate::github::{headers, said};
use crate::rest::{Cause, Failure, Proof, Rest, body};
use crate::wire::{Call, Wire};

const PAGE: usize = 100;
const MOST_PAGES: usize = 50;

/// GitHub's API with the store's token.
pub(super) struct Api {
    rest: Rest,
    token: Secret,
}

/// What GitHub shows of a secret.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct Held {
    pub(super) updated_at: Timestamp,
    /// Of an organisation's secret.
    visibility: Option<String>,
}

/// Who may read an organisation's secret.
#[derive(Debug, Clone, Default, Serialize)]
pub(super) struct Readers {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) visibility: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) selected_repository_ids: Option<Vec<u64>>,
}

/// What tells GitHub's answer from a portal's page.
#[derive(Deserialize)]
struct Limits {
    #[serde(rename = "resources")]
    _resources: IgnoredAny,
}

#[derive(Deserialize)]
struct BoxKey {
    key_id: String,
    key: String,
}

#[derive(Serialize)]
struct Sealed<'a> {
    encrypted_value: String,
    key_id: &'a str,
    #[serde(flatten)]
    readers: &'a Readers,
}

#[derive(Deserialize)]
struct Variable {
    value: String,
    updated_at: Timestamp,
}

#[derive(Serialize)]
struct VariableBody<'a> {
    name: &'a str,
    value: &'a str,
    #[serde(flatten)]
    readers: Readers,
}

#[derive(Deserialize)]
struct Repository {
    id: u64,
}

#[derive(Deserialize)]
struct Repositories {
    total_count: usize,
    repositories: Vec<Repository>,
}

impl Api {
    pub(super) fn new(wire: Wire, token: Secret) -> Self {
        Self { rest: Rest::new(wire, [&token], |_| false, said), token }
    }

    /// `GET .../secrets/{name}`; `None` where there is none.
    pub(super) async fn secret(&self, spot: &Spot) -> Result<Option<Held>, Failure> {
        match self.rest.json(self.get(spot.path(&["secrets", &spot.name]))).await {
            Ok(held) => Ok(Some(held)),
            // A repository that the token does not reach answers the same; its key tells the two apart.
            Err(failure) if failure.is_not_found() => self.reach(spot).await.map(|()| None),
            Err(failure) => Err(failure),
        }
    }

    /// Whether secrets can be read at all there.
    pub(super) async fn reach(&self, spot: &Spot) -> Result<(), Failure> {
        self.box_key(spot).await.map(drop)
    }

    /// `PUT .../secrets/{name}`. The key may have been replaced since it was read (422): then once more with the new one.
    pub(super) async fn put(&self, spot: &Spot, secret: &Secret, readers: &Readers) -> Result<(), Failure> {
        let key = self.box_key(spot).await?;
        match self.put_sealed(spot, secret, &key, readers).await {
            Err(Failure { cause: Cause::Refused { status: 422, code, message }, proof }) => {
                let newer = self.box_key(spot).await?;
                if newer.key_id == key.key_id {
                    return Err(Failure { cause: Cause::Refused { status: 422, code, message }, proof });
                }
                self.put_sealed(spot, secret, &newer, readers).await
            }
            outcome => outcome,
        }
    }

    /// `DELETE .../secrets/{name}`; success when it is gone already.
    pub(super) async fn delete(&self, spot: &Spot) -> Result<(), Failure> {
        self.gone(spot.path(&["secrets", &spot.name])).await
    }

    /// `GET .../variables/{name}`: the note.
    pub(super) async fn note(&self, spot: &Spot) -> Result<Slip, Failure> {
        match self.rest.json::<Variable>(self.get(spot.path(&["variables", &spot.note]))).await {
            Ok(variable) => Ok(Slip::read(&variable.value, variable.updated_at)),
            Err(failure) if failure.is_not_found() => Ok(Slip::Absent),
            Err(failure) => Err(failure),
        }
    }

    /// `PATCH .../variables/{name}`, else `POST .../variables`. Nobody but this store needs an organisation's note.
    pub(super) async fn put_note(&self, spot: &Spot, note: &Note) -> Result<(), Failure> {
        let value = serde_json::to_string(note)
            .map_err(|_| Failure::garbled("a note can't be written as JSON".to_owned()))?;
        let readers = if spot.is_of_organisation() {
            Readers { visibility: Some("selected".to_owned()), selected_repository_ids: Some(Vec::new()) }
        } else {
            Readers::default()
        };
        let written = VariableBody { name: &spot.note, value: &value, readers };
        let patch = || async {
            let path = spot.path(&["variables", &spot.note]);
            self.send(Call::again(Method::PATCH, path, &self.token, body(&written)?)).await
        };
        match patch().await {
            Err(failure) if failure.is_not_found() => {}
            outcome => return outcome,
        }
        let path = spot.path(&["variables"]);
        match self.send(Call::again(Method::POST, path, &self.token, body(&written)?)).await {
            // Made by a call whose answer was lost.
            Err(Failure { cause: Cause::Refused { status: 409, .. }, .. }) => patch().await,
            outcome => outcome,
        }
    }

    /// `DELETE .../variables/{name}`.
    pub(super) async fn delete_note(&self, spot: &Spot) -> Result<(), Failure> {
        self.gone(spot.path(&["variables", &spot.note])).await
    }

    /// Who may read the organisation's secret now. A write that does not repeat it would clear the selection.
    pub(super) async fn readers(&self, spot: &Spot, held: &Held) -> Result<Readers, Failure> {
        let visibility = held.visibility.clone();
        if visibility.as_deref() != Some("selected") {
            return Ok(Readers { visibility, selected_repository_ids: None });
        }
        let mut ids = Vec::new();
        for page in 1..=MOST_PAGES {
            let path = spot.path(&["secrets", &spot.name, "repositories"]);
            let query = vec![("per_page", PAGE.to_string()), ("page", page.to_string())];
            let found: Repositories = self.rest.json(Call { query, ..self.get(path) }).await?;
            let is_last = found.repositories.is_empty();
            ids.extend(found.repositories.into_iter().map(|repository| repository.id));
            if ids.len() == found.total_count {
                return Ok(Readers { visibility, selected_repository_ids: Some(ids) });
            }
            if is_last {
                break;
            }
        }
        Err(Failure::garbled("its list of selected repositories is not whole".to_owned()))
    }

    /// `GET /repos/{owner}/{repo}`: the id.
    pub(super) async fn repository(&self, owner: &str, name: &str) -> Result<u64, Failure> {
        let found: Repository = self.rest.json(self.get(vec!["repos", owner, name])).await?;
        Ok(found.id)
    }

    /// Whether the token is known at all: this call needs no permission and does not count.
    pub(super) async fn is_known(&self) -> Result<(), Failure> {
        self.rest.json::<Limits>(self.get(vec!["rate_limit"])).await.map(drop)
    }

    async fn box_key(&self, spot: &Spot) -> Result<BoxKey, Failure> {
        self.rest.json(self.get(spot.path(&["secrets", "public-key"]))).await
    }

    async fn put_sealed(
        &self,
        spot: &Spot,
        secret: &Secret,
        key: &BoxKey,
        readers: &Readers,
    ) -> Result<(), Failure> {
        let sealed = Sealed { encrypted_value: seal(secret, &key.key)?, key_id: &key.key_id, readers };
        let path = spot.path(&["secrets", &spot.name]);
        self.send(Call::again(Method::PUT, path, &self.token, body(&sealed)?)).await
    }

    async fn gone(&self, path: Vec<&str>) -> Result<(), Failure> {
        match self.send(Call::delete(path, &self.token)).await {
            Err(failure) if failure.is_not_found() => Ok(()),
            outcome => outcome,
        }
    }

    /// Sends what changes something. 201 and 204 are GitHub's only good answers to that; any other comes from elsewhere.
    async fn send(&self, call: Call<'_>) -> Result<(), Failure> {
        match self.rest.send(Call { headers: headers(), ..call }).await?.status {
            201 | 204 => Ok(()),
            status => Err(Failure::garbled(format!("status {status} to a change"))),
        }
    }

    fn get<'a>(&'a self, path: Vec<&'a str>) -> Call<'a> {
        Call { headers: headers(), ..Call::get(path, &self.token) }
    }
}

/// libsodium's sealed box (`crypto_box_seal`) in base64: only the holder of the private key opens it.
fn seal(secret: &Secret, key: &str) -> Result<String, Failure> {
    let bad = |why: &str| Failure { cause: Cause::Garbled(why.to_owned()), proof: Proof::NotDone };
    let key = STANDARD.decode(key).map_err(|_| bad("its public key is not base64"))?;
    let key: [u8; 32] = key.try_into().map_err(|_| bad("its public key has not 32 bytes"))?;
    let sealed = PublicKey::from(key).seal(&mut OsRng, secret.expose_secret().as_bytes());
    Ok(STANDARD.encode(sealed.map_err(|_| bad("the value can't be sealed"))?))
}
