//! The embedded store: sealed values in the ledger, versions kept until they are revoked.
//!
//! It keeps the same order as a store far away (write, read back, only then done), and its writes are guarded by
//! the ledger's own transaction.

use std::sync::Arc;

use async_trait::async_trait;
use keywright_core::id::{PlacementId, SealedId};
use keywright_core::name::{EnvironmentName, KeyName, ProjectName, StoreName};
use keywright_core::plan::Destination;
use keywright_core::store::{Origin, Presence, Store, StoreError, StoreFacts, VerifyMode, Write, Written};
use keywright_core::text::Untrusted;
use keywright_ledger::seal::Keyring;
use keywright_ledger::{EmbeddedValue, Ledger, LedgerError};

use crate::clock::entropy;

static FACTS: StoreFacts = StoreFacts {
    kind: crate::outside::EMBEDDED,
    verify: VerifyMode::ReadBack,
    guarded: true,
    versions: true,
    max_value: 64 * 1024,
    seen: "when `keywright run` starts the program again: by itself with `--on-rotate restart`",
    settles: 0,
};

/// Sealed values in the ledger.
pub struct EmbeddedStore {
    name: StoreName,
    ledger: Arc<Ledger>,
    keyring: Arc<Keyring>,
}

impl EmbeddedStore {
    /// The store over a ledger, whose values these keys seal.
    #[must_use]
    pub fn new(name: StoreName, ledger: Arc<Ledger>, keyring: Arc<Keyring>) -> Self {
        Self { name, ledger, keyring }
    }

    fn unavailable(&self, error: &LedgerError) -> StoreError {
        StoreError::Unavailable { store: self.name.clone(), why: error.to_string() }
    }

    fn conflict(&self, place: &str) -> StoreError {
        StoreError::Conflict { store: self.name.clone(), place: Untrusted::capped(place, 200) }
    }
}

#[async_trait]
impl Store for EmbeddedStore {
    fn facts(&self) -> &'static StoreFacts {
        &FACTS
    }

    async fn check(&self) -> Result<(), StoreError> {
        self.ledger.read(|tx| tx.epoch()).await.map(drop).map_err(|e| self.unavailable(&e))
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
        let parts: Vec<&str> = destination.place.place.split('/').collect();
        let sound = match parts.as_slice() {
            [project, environment, name] => {
                ProjectName::parse(project).is_ok()
                    && EnvironmentName::parse(environment).is_ok()
                    && KeyName::parse(name).is_ok()
            }
            _ => false,
        };
        if !sound {
            return Err(StoreError::Place {
                store: self.name.clone(),
                place: Untrusted::capped(&destination.place.place, 200),
                why: "write `embedded:project/environment/NAME`".to_owned(),
            });
        }
        Ok(Destination { place: destination.place, base: None })
    }

    async fn look(&self, destination: &Destination) -> Result<Presence, StoreError> {
        let place = destination.place.place.clone();
        let found = self.ledger.read(move |tx| tx.embedded_current(&place)).await;
        Ok(match found.map_err(|e| self.unavailable(&e))? {
            None => Presence::Absent,
            Some(value) => {
                Presence::Ours { marker: Some(value.marker), store_version: Some(value.number.to_string()) }
            }
        })
    }

    async fn write(&self, write: &Write<'_>) -> Result<Written, StoreError> {
        let place = write.destination.place.place.clone();
        if write.secret.len() > FACTS.max_value {
            let why = format!("it has more than {} bytes", FACTS.max_value);
            return Err(StoreError::Value { store: self.name.clone(), why });
        }
        let placement = write.origin.placement;
        let owner = owner_of_value(placement);
        let sealed = self.keyring.seal(&owner, write.secret).map_err(|e| self.unavailable(&e))?;
        let random = entropy().map_err(|e| self.unavailable(&e))?;
        let expected = match &write.expected {
            Presence::Ours { store_version, .. } => store_version.clone(),
            _ => None,
        };
        let (key, version, marker) = (write.origin.key, write.origin.version, write.origin.marker.clone());
        let at = place.clone();
        let outcome = self.ledger.write(move |tx| {
            if let Some(done) = tx.embedded_of(placement)? {
                return Ok(Some(done.number));
            }
            let current = tx.embedded_current(&at)?.map(|value| value.number);
            if current.map(|n| n.to_string()) != expected {
                return Ok(None);
            }
            let id = SealedId::generate(tx.now(), random);
            let number = current.unwrap_or(0) + 1;
            tx.put_sealed(id, &owner, &sealed)?;
            tx.add_embedded(&EmbeddedValue {
                place: at,
                number,
                placement,
                key,
                version,
                marker,
                sealed: id,
            })?;
            Ok::<_, LedgerError>(Some(number))
        });
        match outcome.await.map_err(|e| self.unavailable(&e))? {
            Some(number) => Ok(Written { store_version: Some(number.to_string()) }),
            None => Err(self.conflict(&place)),
        }
    }

    async fn verify(&self, write: &Write<'_>, _: &Written) -> Result<VerifyMode, StoreError> {
        let placement = write.origin.placement;
        let keyring = Arc::clone(&self.keyring);
        let found = self.ledger.read(move |tx| {
            let Some(value) = tx.embedded_of(placement)? else { return Ok(None) };
            keyring
                .open(&owner_of_value(placement), &tx.sealed(value.sealed)?)
                .map(|secret| Some(keyring.fingerprint(&secret)))
        });
        let found: Option<_> = found.await.map_err(|e: LedgerError| self.unavailable(&e))?;
        if found == Some(self.keyring.fingerprint(write.secret)) {
            return Ok(VerifyMode::ReadBack);
        }
        let place = Untrusted::capped(&write.destination.place.place, 200);
        Err(StoreError::Mismatch { store: self.name.clone(), place })
    }

    async fn remove(&self, origin: &Origin, _: &Destination) -> Result<(), StoreError> {
        let placement = origin.placement;
        self.ledger
            .write(move |tx| tx.remove_embedded(placement))
            .await
            .map_err(|e: LedgerError| self.unavailable(&e))
    }
}

/// What a value is bound to: the placement that wrote it. It opens for nothing else, whatever a row says.
#[must_use]
pub fn owner_of_value(placement: PlacementId) -> String {
    format!("placement:{placement}")
}
