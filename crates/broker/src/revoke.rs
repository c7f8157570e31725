//! Revoke: turn a key's versions into debts, and pay debts until the provider confirms.
//!
//! There is no number of tries after which a debt is forgotten. Revocation also goes ahead when it can't be put on
//! record (a full disk, say): the deed matters more than its entry, which follows as soon as it can.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError};

use keywright_core::audit::{Deed, Outcome, Record, Stage};
use keywright_core::id::{KeyId, RevocationId};
use keywright_core::key::{Key, KeyState, Version, VersionState};
use keywright_core::name::ConnectionName;
use keywright_core::plan::{Ending, Principal};
use keywright_core::policy::{Action, Actor, Behind, Facts, KeyFacts};
use keywright_core::provider::{ProviderError, Recovery};
use keywright_core::receipt::{Receipt, Status};
use keywright_core::saga::{Phase, SagaKind};
use keywright_ledger::{AuditFilter, LedgerError, NewRevocation, Revocation, Tx};

use crate::broker::Broker;
use crate::clock::{back_off, entropy};
use crate::ended::{confirmed, to_end};
use crate::error::{BrokerError, Code, Result};
use crate::lanes::Lanes;
use crate::receipt::receipt;
use crate::record::{Caller, failed, of_key, system};
use crate::request::nobody;
use crate::saga::sealed_owner;

/// The longest pause between tries of a debt, in seconds.
pub(crate) const LONGEST_PAUSE: u64 = 3_600;
/// How many debts are taken up at once.
const AT_ONCE: u32 = 100;

/// A revocation that was done and could not be put on record.
pub(crate) struct Unrecorded {
    caller: Caller,
    key: KeyId,
    reason: String,
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
        let id = key.id;
        let versions = self.ledger.read(move |tx| tx.versions(id)).await?;
        if is_over(key.state) && versions.iter().all(|v| v.state == VersionState::Revoked) {
            return Ok(());
        }
        if key.state == KeyState::Minting {
            return self.end_mint(caller, key, reason).await;
        }
        let (owing, who, why, random) = (key.clone(), caller.who(), reason.to_owned(), entropy()?);
        let owed = self.ledger.write(move |tx| owe_all(tx, &owing, who, &why, random));
        match owed.await {
            Ok(()) => self.crash_at.reached("revoke.owed"),
            Err(LedgerError::Conflict { .. }) => {}
            Err(error) => return self.revoke_unrecorded(caller, key, reason, error).await,
        }
        let id = key.id;
        let debts = self.ledger.read(move |tx| tx.revocations_of(id)).await?;
        for debt in debts.into_iter().filter(|d| d.done_at.is_none()) {
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
        let id = key.id;
        let versions = self.ledger.read(move |tx| tx.versions(id)).await?;
        let provider = self.outside.provider(&key.connection).await?;
        for version in versions.iter().filter(|v| v.state != VersionState::Revoked) {
            provider.revoke(&version.provider_key_id).await?;
        }
        tracing::error!(key = %key.id, %error, "revoked at the provider, but not on record yet");
        let owing = Unrecorded { caller: caller.clone(), key: id, reason: reason.to_owned() };
        let mut unrecorded = self.unrecorded.lock().unwrap_or_else(PoisonError::into_inner);
        if !unrecorded.iter().any(|known| known.key == id) {
            unrecorded.push(owing);
        }
        let message = format!("the key was revoked at the provider, but this is not on record yet: {error}");
        Err(BrokerError::new(BrokerError::from(error).code, message).hint(
            "make the ledger writable again; a running broker then records it by itself, else revoke the key once more",
        ))
    }

    /// Puts on record what could not be recorded when it was done.
    pub(crate) async fn record_late(&self) -> Result<usize> {
        let waiting = std::mem::take(&mut *self.unrecorded.lock().unwrap_or_else(PoisonError::into_inner));
        let count = waiting.len();
        for late in waiting {
            let (id, random) = (late.key, entropy()?);
            let (who, reason) = (late.caller.who(), late.reason.clone());
            let written = self.ledger.write(move |tx| {
                let key = tx.key(id)?;
                if is_over(key.state) { Ok(()) } else { owe_all(tx, &key, who, &reason, random) }
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
            if is_over(key.state) { Ok(()) } else { owe_all(tx, &key, who, "it expired", random) }
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
            if is_to_end && !tx.is_or_was_owed(&key.connection, &gone.provider_key_id)? {
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

    /// Tries one debt. Success when the provider says that the credential is gone, or never was.
    pub(crate) async fn pay(&self, debt: &Revocation) {
        self.count_last(debt).await;
        let paid = match self.outside.provider(&debt.connection).await {
            Ok(provider) => match provider.revoke(&debt.provider_key_id).await {
                Err(ProviderError::Unsupported { .. }) if provider.facts().recovery == Recovery::Expiry => {
                    self.end_by_itself(debt, provider.as_ref()).await
                }
                Ok(()) => confirmed(provider.as_ref(), &debt.provider_key_id).await,
                Err(error) => Err(error.into()),
            },
            Err(error) => Err(error),
        };
        self.crash_at.reached("revoke.confirmed");
        let written = match paid {
            Ok(()) => {
                // Before the debt is settled: whoever dies in between pays it and removes them once more, and what is
                // on record as revoked lies nowhere any more.
                self.remove_copies(debt).await;
                self.settled(debt).await
            }
            Err(error) => {
                let pause = back_off(debt.tries, LONGEST_PAUSE, self.now());
                let (id, until) = (debt.id, error.not_before(pause, self.now()));
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
            if !tx.settle_revocation(settling.id)? {
                // Two may pay one debt; the first one has put it on record.
                return Ok(());
            }
            if let Some(version) = settling.version {
                tx.set_version_state(version, VersionState::Revoked)?;
                // Not for a copy that nobody asked for: its attempt's key lives.
                if let Some(attempt) = settling.attempt {
                    tx.erase_sealed(&sealed_owner(attempt))?;
                }
            }
            let mut record = of_debt(tx, &settling)?;
            record.result = Some(Outcome::done());
            let entry = tx.audit(record)?;
            if let Some(key) = settling.key {
                close_key(tx, key, entry, &settling.reason)?;
            }
            Ok(())
        });
        written.await
    }

    /// Pays the debts of a key that are due.
    pub(crate) async fn pay_debts_of(&self, key: KeyId) -> Result<()> {
        let (debts, now) = (self.ledger.read(move |tx| tx.revocations_of(key)).await?, self.now());
        for debt in debts.iter().filter(|d| d.due_at.is_some_and(|at| at <= now)) {
            self.pay(debt).await;
        }
        Ok(())
    }

    /// Pays every debt that is due. Each connection's are paid in their order, and no connection waits for another.
    pub(crate) async fn pay_debts(&self) -> Result<usize> {
        let due = self.ledger.read(|tx| tx.revocations_due(AT_ONCE, &[])).await?;
        let count = due.len();
        let paying = by_connection(due).into_values().map(|debts| async move {
            for debt in &debts {
                self.pay(debt).await;
            }
        });
        futures::future::join_all(paying).await;
        Ok(count)
    }

    /// Begins to pay what is due to connections that nobody pays just now.
    pub(crate) async fn begin_debts(self: &Arc<Self>, lanes: &mut Lanes<ConnectionName>) -> Result<usize> {
        let busy = lanes.busy();
        let due = self.ledger.read(move |tx| tx.revocations_due(AT_ONCE, &busy)).await?;
        let count = due.len();
        for (connection, debts) in by_connection(due) {
            let broker = Arc::clone(self);
            lanes.spawn(connection, async move {
                for debt in &debts {
                    broker.pay(debt).await;
                }
            });
        }
        Ok(count)
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

fn by_connection(due: Vec<Revocation>) -> BTreeMap<ConnectionName, Vec<Revocation>> {
    let mut by_connection: BTreeMap<ConnectionName, Vec<Revocation>> = BTreeMap::new();
    for debt in due {
        by_connection.entry(debt.connection.clone()).or_default().push(debt);
    }
    by_connection
}

pub(crate) fn is_over(state: KeyState) -> bool {
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
    // A key whose request is active did not fail, whatever its row says.
    let lives = key.state == KeyState::Failed && tx.request(key.request)?.status == Status::Active;
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
    let owed = tx.revocations_of(key.id)?;
    for (number, made) in to_end(tx, key.id)?.into_iter().enumerate() {
        if owed.iter().any(|debt| debt.done_at.is_none() && debt.provider_key_id == made.provider_key_id) {
            continue;
        }
        if let Some(version) = made.version {
            tx.set_version_state(version, VersionState::Revoking)?;
        }
        let mut bytes = random;
        if let Some(last) = bytes.last_mut() {
            *last = last.wrapping_add(u8::try_from(number % 256).unwrap_or(0));
        }
        tx.owe(&NewRevocation {
            id: RevocationId::generate(tx.now(), bytes),
            connection: key.connection.clone(),
            provider_key_id: made.provider_key_id,
            key: Some(key.id),
            version: made.version,
            attempt: made.attempt,
            reason: reason.to_owned(),
        })?;
    }
    Ok(())
}

/// When the last version is gone, so is the key, and its request says so.
const GONE: &str = "it was ended at the provider, and not by this broker";
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

fn close_key(tx: &Tx<'_>, id: KeyId, entry: u64, reason: &str) -> std::result::Result<(), LedgerError> {
    let key = tx.key(id)?;
    let alive = tx.versions(id)?.iter().any(|v| v.state != VersionState::Revoked);
    if alive || key.state != KeyState::Revoking {
        return Ok(());
    }
    tx.move_key(id, KeyState::Revoking, KeyState::Revoked)?;
    // The request that made it, and those of its rotations.
    let mut answered = tx.requests_of_key(id)?;
    answered.retain(|request| *request != key.request);
    for request in answered {
        tx.move_request(request, Status::Active, Status::Revoked, &[format!("revoked: {reason}")], entry)?;
    }
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
