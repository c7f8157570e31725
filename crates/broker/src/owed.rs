//! What is owed for a key: a debt for each credential of it that may live. Whoever edits a debt to be paid is found out by the
//! version that is still being revoked.

use jiff::Timestamp;
use keywright_core::audit::{Deed, Stage, Who};
use keywright_core::id::{IdEntropy, KeyId, RevocationId};
use keywright_core::key::{Key, KeyState, Version, VersionState};
use keywright_core::receipt::Status;
use keywright_ledger::{LedgerError, NewRevocation, Revocation, Tx};

use crate::broker::Broker;
use crate::clock::entropy;
use crate::ended::{Made, to_end};
use crate::error::Result;
use crate::record::{of_key, system};

impl Broker {
    /// What is being revoked and is owed no more.
    pub(crate) async fn forgotten_debts(&self) -> Result<Vec<Version>> {
        Ok(self.ledger.scan(forgotten).await?)
    }

    /// Owes what is being revoked and is owed no more: its debt was edited, to be paid or never to be tried.
    pub(crate) async fn owe_forgotten(&self) -> Result<Vec<Version>> {
        let forgotten = self.ledger.scan(forgotten).await?;
        if forgotten.is_empty() {
            return Ok(forgotten);
        }
        let written = self.ledger.write(move |tx| {
            // As it stands now.
            let forgotten = self::forgotten(tx)?;
            for version in &forgotten {
                let key = tx.key(version.key)?;
                let mut record = of_key(tx.now(), Deed::KeyRevoke, Stage::Intent, system(), &key);
                record.subject.version = Some(version.id.to_string());
                record.facts.insert("because".to_owned(), serde_json::json!(FORGOTTEN));
                tx.audit(record)?;
                tx.owe_again(&NewRevocation {
                    id: RevocationId::generate(tx.now(), entropy()?),
                    connection: key.connection,
                    provider_key_id: version.provider_key_id.clone(),
                    key: Some(version.key),
                    version: Some(version.id),
                    attempt: Some(version.attempt),
                    reason: FORGOTTEN.to_owned(),
                })?;
            }
            Ok::<_, LedgerError>(forgotten)
        });
        Ok(written.await?)
    }
}

const FORGOTTEN: &str = "its revocation was begun, and was not owed any more: the ledger was edited";

/// The versions that are being revoked, and that nobody would revoke.
fn forgotten(tx: &Tx<'_>) -> std::result::Result<Vec<Version>, LedgerError> {
    let mut forgotten = Vec::new();
    for version in tx.versions_revoking()? {
        let key = match tx.key(version.key) {
            Ok(key) => key,
            // What becomes of it is said by its marker.
            Err(LedgerError::Edited { .. } | LedgerError::Missing { .. }) => continue,
            Err(error) => return Err(error),
        };
        let debt = tx.revocation_of(&key.connection, &version.provider_key_id)?;
        if !debt.is_some_and(|debt| debt.is_open()) {
            forgotten.push(version);
        }
    }
    Ok(forgotten)
}

/// One of several ids that are made with the same random bytes.
fn one_of(mut random: IdEntropy, number: usize) -> IdEntropy {
    if let Some(last) = random.last_mut() {
        *last = last.wrapping_add(u8::try_from(number % 256).unwrap_or(0));
    }
    random
}

/// The intent entry and one debt for each credential of a key that may live, in one transaction. `sent_at` is when they were ended
/// without a debt.
pub(crate) fn owe_all(
    tx: &Tx<'_>,
    key: &Key,
    who: Who,
    reason: &str,
    random: IdEntropy,
    sent_at: Option<Timestamp>,
) -> std::result::Result<(), LedgerError> {
    // A key whose request is active did not fail, whatever its row says.
    let lives = key.state == KeyState::Failed && has_active_request(tx, key)?;
    if key.state == KeyState::Active || lives {
        tx.move_key(key.id, key.state, KeyState::Revoking)?;
    }
    let mut record = of_key(tx.now(), Deed::KeyRevoke, Stage::Intent, who, key);
    record.facts.insert("because".to_owned(), serde_json::json!(reason));
    let entry = tx.audit(record)?;
    // A rotation that waits for approval has nothing to replace any more.
    for request in tx.rotations_waiting(key.id)? {
        let reasons = ["the key that it was to rotate was revoked".to_owned()];
        tx.move_request(request.id, Status::PendingApproval, Status::Expired, &reasons, entry)?;
    }
    // What works on the key has to hear of it.
    if let Some(saga) = tx.saga_under_way(key.id)? {
        match tx.wake_saga(saga.id) {
            Ok(()) | Err(LedgerError::Conflict { .. }) => {}
            Err(error) => return Err(error),
        }
    }
    for (number, made) in to_end(tx, key)?.into_iter().enumerate() {
        let Made { provider_key_id, version, attempt, lives } = made;
        let known = tx.revocation_of(&key.connection, &provider_key_id)?;
        if known.is_some_and(|debt| debt.is_open()) {
            continue;
        }
        if let Some(version) = version {
            tx.set_version_back(version, false)?;
        }
        let id = RevocationId::generate(tx.now(), one_of(random, number));
        let connection = key.connection.clone();
        let (of, reason) = (Some(key.id), reason.to_owned());
        let new = NewRevocation { id, connection, provider_key_id, key: of, version, attempt, reason };
        match version.filter(|_| lives) {
            Some(version) => {
                tx.set_version_state(version, VersionState::Revoking)?;
                tx.owe_again(&new)?;
            }
            // It counts as ended, and is to end as well when it is there all the same.
            None => tx.owe(&new)?,
        }
        // What was ended without a debt is what was known to live.
        if let Some(at) = sent_at.filter(|_| lives) {
            tx.send_revocation(id, at)?;
        }
    }
    Ok(())
}

fn has_active_request(tx: &Tx<'_>, key: &Key) -> std::result::Result<bool, LedgerError> {
    match tx.request(key.request) {
        Ok(request) => Ok(request.status == Status::Active),
        Err(LedgerError::Edited { .. } | LedgerError::Missing { .. } | LedgerError::Damaged { .. }) => {
            Ok(false)
        }
        Err(error) => Err(error),
    }
}

/// When the last version is gone, so is the key, and its request says so.
pub(crate) fn close_key(
    tx: &Tx<'_>,
    id: KeyId,
    entry: u64,
    reason: &str,
) -> std::result::Result<(), LedgerError> {
    let key = tx.key(id)?;
    // One whose row was edited is owed by the log's word.
    let alive = tx.sound_versions(id)?.iter().any(|v| v.state != VersionState::Revoked)
        || tx.revocations_of(id)?.iter().any(Revocation::is_open);
    if alive || key.state != KeyState::Revoking {
        return Ok(());
    }
    tx.move_key(id, KeyState::Revoking, KeyState::Revoked)?;
    // The request that made it, and those of its rotations.
    let mut answered = tx.requests_of_key(id)?;
    answered.retain(|request| *request != key.request);
    answered.push(key.request);
    for request in answered {
        match tx.move_request(
            request,
            Status::Active,
            Status::Revoked,
            &[format!("revoked: {reason}")],
            entry,
        ) {
            // What somebody made of its row keeps nothing from being paid.
            Ok(()) | Err(LedgerError::Conflict { .. }) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}
