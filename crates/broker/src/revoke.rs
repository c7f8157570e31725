//! Revoke: turn a key's versions into debts, and pay debts until the provider confirms.
//!
//! There is no number of tries after which a debt is forgotten. Revocation also goes ahead when it can't be put on
//! record (a full disk, say): the deed matters more than its entry, which follows as soon as it can.

use std::collections::BTreeMap;
use std::sync::Arc;

use keywright_core::audit::{Deed, Outcome, Record, Stage, Subject};
use keywright_core::id::{KeyId, RevocationId};
use keywright_core::key::{Key, KeyState, PlacementState, VersionState};
use keywright_core::name::{ConnectionName, ProjectName};
use keywright_core::plan::Principal;
use keywright_core::policy::{Action, Actor, Facts, KeyFacts};
use keywright_core::receipt::{Receipt, Status};
use keywright_core::store::Origin;
use keywright_core::text::Untrusted;
use keywright_ledger::{LedgerError, NewRevocation, Revocation, Tx};

use crate::broker::Broker;
use crate::clock::{back_off, entropy};
use crate::error::{BrokerError, Code, Result};
use crate::receipt::receipt;
use crate::record::{Caller, failed, of_key, system};
use crate::request::nobody;

/// The longest pause between tries of a debt, in seconds.
const LONGEST_PAUSE: u64 = 3_600;

/// What became of a project's keys.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize)]
pub struct Teardown {
    /// Confirmed gone.
    pub revoked: Vec<KeyId>,
    /// Owed: the provider has not confirmed yet, and it is tried again until it does.
    pub owed: Vec<KeyId>,
}

impl Broker {
    /// Revokes every version of a key. Returns when the provider confirmed, or with the debt on record when it did
    /// not (yet).
    ///
    /// # Errors
    /// When there is no such key, or policy does not let the caller.
    pub async fn revoke(self: &Arc<Self>, caller: &Caller, key: &str, reason: &str) -> Result<Receipt> {
        let id = self.find_key(key).await?;
        let key = self.visible_key(&caller.principal, id).await?;
        self.may(&caller.principal, Action::Revoke, &key).await?;
        let reason = self.scrub(Untrusted::capped(reason, 500).raw()).await?;
        self.revoke_key(caller, &key, &reason).await?;
        let request = key.request;
        let answer = self.ledger.read(move |tx| {
            let request = tx.request(request)?;
            receipt(tx, &request)
        });
        Ok(answer.await?)
    }

    /// Revokes every key of a project.
    ///
    /// # Errors
    /// When the ledger can't be read, or policy does not let the caller revoke one of them (none is then).
    pub async fn teardown(self: &Arc<Self>, caller: &Caller, project: &ProjectName) -> Result<Teardown> {
        let of = project.clone();
        let keys = self.ledger.read(move |tx| tx.keys(Some(&of), None, None, 100_000)).await?;
        let live: Vec<Key> = keys.into_iter().filter(|k| !is_over(k.state)).collect();
        for key in &live {
            self.may(&caller.principal, Action::Revoke, key).await?;
        }
        let (who, now) = (caller.who(), self.now());
        let mut record = Record::new(now, Deed::ProjectTeardown, Stage::Intent, who);
        record.subject = Subject { project: Some(project.to_string()), ..Subject::default() };
        let ids: Vec<String> = live.iter().map(|k| k.id.to_string()).collect();
        record.facts.insert("keys".to_owned(), serde_json::json!(ids));
        self.ledger.write(move |tx| tx.audit(record)).await?;
        let mut torn = Teardown::default();
        for key in live {
            self.revoke_key(caller, &key, &format!("project {project} is torn down")).await?;
            let id = key.id;
            let state = self.ledger.read(move |tx| tx.key(id)).await?.state;
            if state == KeyState::Revoked { torn.revoked.push(id) } else { torn.owed.push(id) }
        }
        Ok(torn)
    }

    /// Records the debts of a key and pays them at once, as far as the provider is there.
    pub(crate) async fn revoke_key(self: &Arc<Self>, caller: &Caller, key: &Key, reason: &str) -> Result<()> {
        if is_over(key.state) {
            return Ok(());
        }
        if key.state == KeyState::Minting {
            return Err(BrokerError::new(
                Code::TryAgain,
                format!("key `{}` is being made right now", key.id),
            )
            .hint("wait until it is active or failed"));
        }
        let (owing, who, why, random) = (key.clone(), caller.who(), reason.to_owned(), entropy()?);
        let owed = self.ledger.write(move |tx| owe_all(tx, &owing, who, &why, random));
        match owed.await {
            Ok(()) => self.crash_at.reached("revoke.owed"),
            Err(LedgerError::Conflict { .. }) => {}
            Err(error) => return self.revoke_unrecorded(key, error).await,
        }
        let id = key.id;
        let debts = self.ledger.read(move |tx| tx.revocations_of(id)).await?;
        for debt in debts.into_iter().filter(|d| d.done_at.is_none()) {
            self.pay(&debt).await;
        }
        Ok(())
    }

    /// The ledger can't be written: the key dies all the same, and the message says what is not on record.
    async fn revoke_unrecorded(&self, key: &Key, error: LedgerError) -> Result<()> {
        let id = key.id;
        let versions = self.ledger.read(move |tx| tx.versions(id)).await?;
        let provider = self.outside.provider(&key.connection).await?;
        for version in versions.iter().filter(|v| v.state != VersionState::Revoked) {
            provider.revoke(&version.provider_key_id).await?;
        }
        tracing::error!(key = %key.id, %error, "revoked at the provider, but it could not be put on record");
        Err(BrokerError::new(
            Code::Internal,
            format!("the key was revoked at the provider, but this could not be put on record: {error}"),
        )
        .hint("make the ledger writable again, then run `keywright key revoke` once more to record it"))
    }

    /// Tries one debt. Success when the provider says that the credential is gone, or never was.
    pub(crate) async fn pay(&self, debt: &Revocation) {
        let paid = match self.outside.provider(&debt.connection).await {
            Ok(provider) => provider.revoke(&debt.provider_key_id).await.map_err(BrokerError::from),
            Err(error) => Err(error),
        };
        self.crash_at.reached("revoke.confirmed");
        let written = match paid {
            Ok(()) => self.settled(debt).await,
            Err(error) => {
                let (id, until) = (debt.id, back_off(debt.tries, LONGEST_PAUSE, self.now()));
                tracing::warn!(revocation = %id, message = %error.message, tries = debt.tries + 1, "still owed");
                let first = debt.tries == 0;
                let (debt, message) = (debt.clone(), error.message.clone());
                let noted = self.ledger.write(move |tx| {
                    if first {
                        let mut record = of_debt(tx, &debt)?;
                        record.result = Some(failed(&error));
                        tx.audit(record)?;
                    }
                    tx.postpone_revocation(id, until, &message)
                });
                noted.await.map_err(|e: LedgerError| e)
            }
        };
        if let Err(error) = written {
            tracing::error!(revocation = %debt.id, %error, "the outcome of a revocation could not be put on record");
        }
    }

    async fn settled(&self, debt: &Revocation) -> std::result::Result<(), LedgerError> {
        let settling = debt.clone();
        let written = self.ledger.write(move |tx| {
            tx.settle_revocation(settling.id)?;
            if let Some(version) = settling.version {
                tx.set_version_state(version, VersionState::Revoked)?;
            }
            let mut record = of_debt(tx, &settling)?;
            record.result = Some(Outcome::done());
            let entry = tx.audit(record)?;
            if let Some(key) = settling.key {
                close_key(tx, key, entry, &settling.reason)?;
            }
            Ok::<_, LedgerError>(())
        });
        written.await?;
        self.remove_copies(debt).await;
        Ok(())
    }

    /// Dead values are taken out of the stores. Not being able to is only untidy, so it is logged and left.
    async fn remove_copies(&self, debt: &Revocation) {
        let (Some(key), Some(version)) = (debt.key, debt.version) else { return };
        let found = self.ledger.read(move |tx| {
            let attempt = tx.versions(key)?.into_iter().find(|v| v.id == version).map(|v| v.attempt);
            let marker = attempt.map(|a| tx.attempt(a)).transpose()?.map(|a| a.marker);
            Ok::<_, LedgerError>((tx.placements(key)?, marker))
        });
        let Ok((placements, Some(marker))) = found.await else { return };
        for placement in
            placements.into_iter().filter(|p| p.version == version && p.state != PlacementState::Removed)
        {
            let origin = Origin { placement: placement.id, key, version, marker: marker.clone() };
            let removed = match self.outside.store(&placement.destination.place.store).await {
                Ok(store) => store.remove(&origin, &placement.destination).await.map_err(BrokerError::from),
                Err(error) => Err(error),
            };
            match removed {
                Ok(()) => {
                    let id = placement.id;
                    let moved = self
                        .ledger
                        .write(move |tx| tx.move_placement(id, PlacementState::Removed, None, None));
                    if let Err(error) = moved.await {
                        tracing::warn!(placement = %placement.id, %error, "removed, but not on record");
                    }
                }
                Err(error) => {
                    tracing::warn!(placement = %placement.id, message = %error.message, "a dead value stays in its store");
                }
            }
        }
    }

    /// Pays every debt that is due. Each connection's are paid in their order, and no connection waits for another.
    pub(crate) async fn pay_debts(&self) -> Result<usize> {
        let due = self.ledger.read(|tx| tx.revocations_due(100)).await?;
        let count = due.len();
        let mut by_connection: BTreeMap<ConnectionName, Vec<Revocation>> = BTreeMap::new();
        for debt in due {
            by_connection.entry(debt.connection.clone()).or_default().push(debt);
        }
        let paying = by_connection.into_values().map(|debts| async move {
            for debt in &debts {
                self.pay(debt).await;
            }
        });
        futures::future::join_all(paying).await;
        Ok(count)
    }

    /// A key that the principal may know of. An agent knows its own only.
    pub(crate) async fn visible_key(&self, principal: &Principal, id: KeyId) -> Result<Key> {
        let key = self.ledger.read(move |tx| tx.key(id)).await?;
        match principal {
            Principal::Agent(name) if key.agent.as_ref() != Some(name) => {
                Err(BrokerError::missing(format!("there is no key `{id}`")))
            }
            _ => Ok(key),
        }
    }

    /// Asks policy about a verb on a key.
    pub(crate) async fn may(&self, principal: &Principal, action: Action, key: &Key) -> Result<()> {
        let template = self.template_of(key).await?;
        let counts = self.counts(principal).await?;
        let (_, policies) = self.policies().await?;
        let nobody = nobody();
        let facts = Facts { counts, approvals: &nobody };
        policies
            .authorize_key_action(
                Actor::from(principal.clone()),
                action,
                &KeyFacts::of(key, &template),
                &facts,
            )
            .map(drop)
            .map_err(|refusal| BrokerError::new(Code::Denied, refusal.to_string()))
    }
}

fn is_over(state: KeyState) -> bool {
    matches!(state, KeyState::Revoked | KeyState::Failed)
}

/// The intent entry and one debt per living version, in one transaction.
fn owe_all(
    tx: &Tx<'_>,
    key: &Key,
    who: keywright_core::audit::Who,
    reason: &str,
    random: keywright_core::id::IdEntropy,
) -> std::result::Result<(), LedgerError> {
    if key.state == KeyState::Active {
        tx.move_key(key.id, KeyState::Active, KeyState::Revoking)?;
    }
    let mut record = of_key(tx.now(), Deed::KeyRevoke, Stage::Intent, who, key);
    record.facts.insert("because".to_owned(), serde_json::json!(reason));
    tx.audit(record)?;
    for (number, version) in tx.versions(key.id)?.into_iter().enumerate() {
        if version.state == VersionState::Revoked {
            continue;
        }
        tx.set_version_state(version.id, VersionState::Revoking)?;
        let mut bytes = random;
        if let Some(last) = bytes.last_mut() {
            *last = last.wrapping_add(u8::try_from(number % 256).unwrap_or(0));
        }
        tx.owe(&NewRevocation {
            id: RevocationId::generate(tx.now(), bytes),
            connection: key.connection.clone(),
            provider_key_id: version.provider_key_id,
            key: Some(key.id),
            version: Some(version.id),
            attempt: Some(version.attempt),
            reason: reason.to_owned(),
        })?;
    }
    Ok(())
}

/// When the last version is gone, so is the key, and its request says so.
fn close_key(tx: &Tx<'_>, id: KeyId, entry: u64, reason: &str) -> std::result::Result<(), LedgerError> {
    let key = tx.key(id)?;
    let alive = tx.versions(id)?.iter().any(|v| v.state != VersionState::Revoked);
    if alive || key.state != KeyState::Revoking {
        return Ok(());
    }
    tx.move_key(id, KeyState::Revoking, KeyState::Revoked)?;
    tx.move_request(key.request, Status::Active, Status::Revoked, &[format!("revoked: {reason}")], entry)
}

fn of_debt(tx: &Tx<'_>, debt: &Revocation) -> std::result::Result<Record, LedgerError> {
    let mut record = match debt.key {
        Some(key) => of_key(tx.now(), Deed::KeyRevoke, Stage::Outcome, system(), &tx.key(key)?),
        None => Record::new(tx.now(), Deed::KeyRevoke, Stage::Outcome, system()),
    };
    record.subject.connection = Some(debt.connection.to_string());
    record.subject.version = debt.version.map(|v| v.to_string());
    record.subject.attempt = debt.attempt.map(|a| a.to_string());
    record.facts.insert("provider_key_id".to_owned(), serde_json::json!(debt.provider_key_id));
    record.facts.insert("because".to_owned(), serde_json::json!(debt.reason));
    Ok(record)
}
