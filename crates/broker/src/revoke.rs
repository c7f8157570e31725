//! Revoke: turn a key's versions into debts, which are paid until the provider confirms.
//!
//! There is no number of tries after which a debt is forgotten. Revocation also goes ahead when it can't be put on
//! record (a full disk, say): the deed matters more than its entry, which follows as soon as it can.

use std::sync::{Arc, PoisonError};

use jiff::Timestamp;
use keywright_core::audit::{Deed, Stage};
use keywright_core::id::{KeyId, RevocationId};
use keywright_core::key::{Key, KeyState, Version, VersionState};
use keywright_core::name::ConnectionName;
use keywright_core::plan::{Ending, Principal};
use keywright_core::policy::{Action, Actor, Behind, Facts, KeyFacts};
use keywright_core::provider::Ended;
use keywright_core::receipt::Receipt;
use keywright_core::saga::{Phase, SagaKind};
use keywright_ledger::{AuditFilter, LedgerError, NewRevocation, Revocation, Tx};

use crate::broker::Broker;
use crate::clock::entropy;
use crate::ended::{Made, to_end};
use crate::error::{BrokerError, Code, Result};
use crate::missing::APART;
use crate::owed::{close_key, owe_all};
use crate::receipt::receipt;
use crate::record::{Caller, of_key, system};
use crate::request::nobody;
use crate::saga::sealed_owner;

/// A revocation that was done and could not be put on record.
pub(crate) struct Unrecorded {
    caller: Caller,
    key: KeyId,
    reason: String,
    /// When the provider took it; none where it knew no such credential.
    sent_at: Option<Timestamp>,
}

impl Broker {
    /// Revokes every version of a key. Returns when the provider confirmed, or with the debt on record when it did
    /// not (yet).
    ///
    /// # Errors
    /// When there is no such key, or policy does not let the caller.
    pub async fn revoke(self: &Arc<Self>, caller: &Caller, key: &str, reason: &str) -> Result<Receipt> {
        let key = self.visible_key(&caller.principal, key).await?;
        self.may(&caller.principal, Action::Revoke, &key).await?;
        let reason = self.kept(reason, 500).await?;
        self.revoke_key(caller, &key, reason.raw()).await?;
        let request = key.request;
        let answer = self.ledger.read(move |tx| {
            let request = tx.request(request)?;
            receipt(tx, &request)
        });
        Ok(answer.await?)
    }

    /// Records the debts of a key and pays them at once, as far as the provider is there.
    pub(crate) async fn revoke_key(self: &Arc<Self>, caller: &Caller, key: &Key, reason: &str) -> Result<()> {
        let of = key.clone();
        if self.ledger.read(move |tx| is_settled(tx, &of)).await? {
            return self.pay_all(key.id).await;
        }
        if key.state == KeyState::Minting {
            return self.end_mint(caller, key, reason).await;
        }
        let (owing, who, why, random) = (key.clone(), caller.who(), reason.to_owned(), entropy()?);
        let sent_at = self.sent_unrecorded(key.id);
        let owed = self.ledger.write(move |tx| owe_all(tx, &owing, who, &why, random, sent_at));
        match owed.await {
            Ok(()) => self.crash_at.reached("revoke.owed"),
            Err(LedgerError::Conflict { .. }) => {}
            Err(error) => return self.revoke_unrecorded(caller, key, reason, error).await,
        }
        self.pay_all(key.id).await
    }

    /// Tries what is owed for a key, now that somebody says so, however long it would be left for.
    async fn pay_all(&self, id: KeyId) -> Result<()> {
        let debts = self.ledger.read(move |tx| tx.revocations_of(id)).await?;
        let now = self.now();
        // A second look right after the first one would see no more.
        let is_due = |debt: &Revocation| {
            debt.done_at.is_none()
                && debt.missing_since.is_none_or(|since| APART.after(since) <= now || now < since)
        };
        for debt in debts.into_iter().filter(is_due) {
            self.pay(&debt).await;
        }
        Ok(())
    }

    /// A key that is still being made, or waits for somebody on its way: what there is of it is taken back.
    async fn end_mint(self: &Arc<Self>, caller: &Caller, key: &Key, reason: &str) -> Result<()> {
        let (ending, who, why) =
            (key.clone(), caller.who(), format!("revoked while it was being made: {reason}"));
        let ended = self.ledger.write(move |tx| {
            let Some(saga) = tx.saga_under_way(ending.id)? else { return Ok(None) };
            let mut record = of_key(tx.now(), Deed::KeyRevoke, Stage::Intent, who, &ending);
            record.facts.insert("because".to_owned(), serde_json::json!(why));
            tx.audit(record)?;
            tx.end_saga(saga.id, &why)?;
            Ok::<_, LedgerError>(Some(saga.id))
        });
        if let Some(saga) = ended.await? {
            self.run_saga(saga).await;
        }
        Ok(())
    }

    /// The ledger can't be written: the key dies all the same. What is not on record is remembered until it is.
    async fn revoke_unrecorded(
        &self,
        caller: &Caller,
        key: &Key,
        reason: &str,
        error: LedgerError,
    ) -> Result<()> {
        let (id, of) = (key.id, key.clone());
        let made = self.ledger.read(move |tx| to_end(tx, &of)).await?;
        let told = self.tell_to_end(&key.connection, &made).await;
        let is_taken = matches!(told, Ok(true));
        let owing = Unrecorded {
            caller: caller.clone(),
            key: id,
            reason: reason.to_owned(),
            sent_at: is_taken.then(|| self.now()),
        };
        {
            let mut unrecorded = self.unrecorded.lock().unwrap_or_else(PoisonError::into_inner);
            if !unrecorded.iter().any(|known| known.key == id) {
                unrecorded.push(owing);
            }
        }
        if let Err(failure) = told {
            tracing::error!(key = %id, %error, message = %failure.message, "neither revoked nor on record yet");
            let message = format!(
                "the key could not be revoked ({}), nor can that it is to end be put on record: {error}",
                failure.message
            );
            return Err(BrokerError::new(BrokerError::from(error).code, message).hint(
                "make the ledger writable again; a running broker then revokes it by itself, else revoke the key once more",
            ));
        }
        tracing::error!(key = %id, %error, "revoked at the provider, but not on record yet");
        let message = format!("the key was revoked at the provider, but this is not on record yet: {error}");
        Err(BrokerError::new(BrokerError::from(error).code, message).hint(
            "make the ledger writable again; a running broker then records it by itself, else revoke the key once more",
        ))
    }

    /// Tells a provider to end what was made, all of it whatever becomes of one; whether it knew all of them.
    async fn tell_to_end(&self, connection: &ConnectionName, made: &[Made]) -> Result<bool> {
        let provider = self.outside.provider(connection).await?;
        let (mut is_taken, mut failed) = (true, None);
        for one in made {
            match provider.revoke(&one.provider_key_id).await {
                Ok(ended) => is_taken &= !one.lives || ended != Ended::NotFound,
                Err(error) => drop(failed.get_or_insert(error)),
            }
        }
        failed.map_or(Ok(is_taken), |error| Err(error.into()))
    }

    /// When a key was ended without a record of it.
    fn sent_unrecorded(&self, key: KeyId) -> Option<Timestamp> {
        let unrecorded = self.unrecorded.lock().unwrap_or_else(PoisonError::into_inner);
        unrecorded.iter().find(|known| known.key == key)?.sent_at
    }

    /// Puts on record what could not be recorded when it was done.
    pub(crate) async fn record_late(&self) -> Result<usize> {
        let waiting = std::mem::take(&mut *self.unrecorded.lock().unwrap_or_else(PoisonError::into_inner));
        let count = waiting.len();
        for late in waiting {
            let (id, random) = (late.key, entropy()?);
            let (who, reason, sent_at) = (late.caller.who(), late.reason.clone(), late.sent_at);
            let written = self.ledger.write(move |tx| {
                let key = tx.key(id)?;
                if is_over(key.state) { Ok(()) } else { owe_all(tx, &key, who, &reason, random, sent_at) }
            });
            // Somebody else may have revoked it meanwhile; then it is on record.
            if let Err(error) = written.await
                && !matches!(error, LedgerError::Conflict { .. })
            {
                tracing::error!(key = %id, %error, "still not on record");
                self.unrecorded.lock().unwrap_or_else(PoisonError::into_inner).push(late);
            }
        }
        Ok(count)
    }

    /// Gives keys up that have come to their end at the provider: their names are free again, and their dead values
    /// leave the stores.
    pub(crate) async fn end_expired(self: &Arc<Self>) -> Result<usize> {
        let expired = self.ledger.scan(|tx| tx.keys_expired()).await?;
        let schedule = Caller::plain(Principal::Schedule);
        let mut trouble = None;
        for id in &expired {
            // What is owed for one is paid with the other debts; one whose row was edited does not spare the others.
            if let Err(error) = self.owe_expired(&schedule, *id).await {
                tracing::error!(key = %id, message = %error.message, "an expired key could not be ended");
                trouble.get_or_insert(error);
            }
        }
        trouble.map_or(Ok(expired.len()), Err)
    }

    async fn owe_expired(&self, schedule: &Caller, id: KeyId) -> Result<()> {
        let (who, random) = (schedule.who(), entropy()?);
        let written = self.ledger.write(move |tx| {
            let key = tx.key(id)?;
            if is_over(key.state) { Ok(()) } else { owe_all(tx, &key, who, "it expired", random, None) }
        });
        match written.await {
            Err(LedgerError::Conflict { .. }) => Ok(()),
            written => Ok(written?),
        }
    }

    /// A version that should live is gone at the provider, which was asked for this very one: somebody ended it there. That
    /// ends its key, unless another version of it works, or is being made.
    pub(crate) async fn note_gone(&self, gone: &Version) -> Result<()> {
        let (gone, random) = ((gone.key, gone.id), entropy()?);
        let written = self.ledger.write(move |tx| {
            let (key, versions) = (tx.key(gone.0)?, tx.versions(gone.0)?);
            // As it stands now: it was looked for a while ago.
            let living = |v: &&Version| v.id == gone.1 && v.state != VersionState::Revoked;
            let Some(gone) = versions.iter().find(living) else { return Ok(()) };
            let mut record = of_key(tx.now(), Deed::KeyRevoke, Stage::Note, system(), &key);
            record.subject.version = Some(gone.id.to_string());
            let under_way = tx.saga_under_way(key.id)?.filter(|saga| saga.kind == SagaKind::Rotate);
            let is_being_replaced = key.state == KeyState::Active
                && gone.state == VersionState::Active
                && under_way
                    .as_ref()
                    .is_some_and(|saga| !saga.phase.has_switched() && saga.phase != Phase::Undo);
            if is_being_replaced {
                // What comes of its successor is seen when this one is looked for the next time.
                if !is_on_record(tx, key.id, &gone.id.to_string(), REPLACED_SOON)? {
                    record.facts.insert("because".to_owned(), serde_json::json!(REPLACED_SOON));
                    tx.audit(record)?;
                }
                return Ok(());
            }
            // What leaked, or was to end by an operator's word, ends also if it comes back: that is owed, and the provider says
            // that it is paid.
            let leaked = match &under_way {
                Some(saga) => tx.request(saga.request)?.plan.ending == Some(Ending::Leaked),
                None => false,
            };
            let has_word =
                tx.drains(key.id)?.iter().any(|drain| drain.version == gone.id && drain.word.is_some());
            let is_to_end = key.state != KeyState::Active
                || (gone.state == VersionState::Draining && (leaked || has_word));
            if is_to_end && !tx.was_owed(&key.connection, gone)? {
                tx.owe(&NewRevocation {
                    id: RevocationId::generate(tx.now(), random),
                    connection: key.connection.clone(),
                    provider_key_id: gone.provider_key_id.clone(),
                    key: Some(key.id),
                    version: Some(gone.id),
                    attempt: Some(gone.attempt),
                    reason: GONE.to_owned(),
                })?;
            }
            tx.set_version_state(gone.id, VersionState::Revoked)?;
            // It is in doubt no more.
            tx.found_version(gone.id)?;
            tx.erase_sealed(&sealed_owner(gone.attempt))?;
            let works = |v: &Version| matches!(v.state, VersionState::Active | VersionState::Draining);
            let is_over = !versions.iter().any(|v| v.id != gone.id && works(v));
            if key.state == KeyState::Active && is_over {
                tx.move_key(key.id, KeyState::Active, KeyState::Revoking)?;
            }
            record.facts.insert("because".to_owned(), serde_json::json!(GONE));
            let entry = tx.audit(record)?;
            close_key(tx, key.id, entry, GONE)?;
            match under_way.map(|saga| tx.wake_saga(saga.id)) {
                // Somebody is at it, and looks once more before it rests.
                Some(Err(LedgerError::Conflict { .. })) | None => Ok(()),
                Some(woken) => woken,
            }
        });
        Ok(written.await?)
    }

    /// Asks policy about a verb on a key.
    pub(crate) async fn may(&self, principal: &Principal, action: Action, key: &Key) -> Result<()> {
        let template = match (self.template_of(key).await, principal, action) {
            (Ok(template), ..) => template,
            // A human can always end a key, also one that has no template.
            (Err(_), Principal::Operator(_), Action::Revoke) => return Ok(()),
            (Err(error), ..) => return Err(error),
        };
        let counts = self.counts(principal).await?;
        let policies = match (self.policies().await, principal, action) {
            (Ok((_, policies)), ..) => policies,
            // Whatever became of the policy: a human can always end a key.
            (Err(_), Principal::Operator(_), Action::Revoke) => return Ok(()),
            (Err(error), ..) => return Err(error),
        };
        let nobody = nobody();
        let facts = Facts { counts, approvals: &nobody, behind: &Behind::Nobody };
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

pub(crate) fn is_over(state: KeyState) -> bool {
    matches!(state, KeyState::Revoked | KeyState::Failed)
}

/// Whether a key is over, and all that it had was ended by this broker, as the log has it. What somebody else ended may come back.
pub(crate) fn is_settled(tx: &Tx<'_>, key: &Key) -> std::result::Result<bool, LedgerError> {
    if !is_over(key.state) {
        return Ok(false);
    }
    Ok(to_end(tx, key)?.is_empty())
}

pub(crate) const GONE: &str = "it was ended at the provider, and not by this broker";
const REPLACED_SOON: &str =
    "it was ended at the provider, and not by this broker; its successor is being made";

/// Whether the log tells this of a version of a key.
fn is_on_record(
    tx: &Tx<'_>,
    key: KeyId,
    version: &str,
    because: &str,
) -> std::result::Result<bool, LedgerError> {
    let filter = AuditFilter { key: Some(key), limit: 10_000, ..AuditFilter::default() };
    for stored in tx.audit_entries(&filter)? {
        let entry = stored.entry()?;
        let record = entry.record();
        let is_it = record.subject.version.as_deref() == Some(version);
        if is_it && record.facts.get("because").and_then(serde_json::Value::as_str) == Some(because) {
            return Ok(true);
        }
    }
    Ok(false)
}
