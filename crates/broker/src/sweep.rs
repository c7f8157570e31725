//! The sweep: credentials at the provider that carry our marker and that nobody owns.
//!
//! "Absent" is provisional. An attempt whose reply was lost is looked for until long after the create could still
//! have taken effect, and every reconcile looks at every marker again. Where nobody can look, because the provider has
//! no list ([`Recovery::Expiry`]), an attempt is uncertain until whatever it made has expired.

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::Timestamp;
use keywright_core::audit::{Deed, Record, Stage};
use keywright_core::id::{AttemptId, IdEntropy, RevocationId};
use keywright_core::key::{Attempt, AttemptOutcome, KeyState, VersionState};
use keywright_core::marker::{Epoch, Recognised};
use keywright_core::name::ConnectionName;
use keywright_core::provider::{Listed, Listing, ProviderError, Recovery};
use keywright_core::span::Span;
use keywright_ledger::{LedgerError, NewRevocation, RenewalPhase, Tx};

use crate::broker::Broker;
use crate::clock::entropy;
use crate::error::{Code, Result};
use crate::missing::{APART, is_back};
use crate::record::system;
use crate::restored::{Fate, Lost, adopted, has_ended};
use crate::shared::Leading;

/// What a reconcile found.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize)]
pub struct Reconciled {
    /// Connections that were read to the end.
    pub connections: Vec<String>,
    /// Connections that could not be read, with the reason.
    pub unreachable: BTreeMap<String, String>,
    /// Credentials with our marker that belong to a living version.
    pub owned: usize,
    /// Credentials with our marker that nobody owns; they are owed to the revoke queue now.
    pub orphans: Vec<String>,
    /// Labels shaped like our markers whose seal does not verify; left alone.
    pub forged: usize,
    /// Their ids.
    pub forged_ids: Vec<String>,
    /// Keys that should live but are not at the provider; those that it knows nothing of are over now.
    pub missing: Vec<String>,
    /// Credentials with our marker from before an older copy of the ledger was restored, which it does not know: somebody may
    /// use them, so an operator says what becomes of them.
    pub lost: Vec<Lost>,
    /// Whether nothing was changed, because the broker only revokes and looks at present.
    pub only_looked: bool,
    /// How many revocations are still owed, after each that is due was tried.
    pub owed: u64,
}

/// Why what counted as gone is owed again.
pub(crate) const TO_END: &str = "it was to end, counted as gone, and is there again";
/// Why a successor is looked for again.
const SEEN_ALIVE: &str = "it was given up, and seen alive";
/// The pause between looks for one uncertain attempt.
const LOOK_AGAIN: u64 = 120;
/// How many lists without it, some time apart, it takes before an attempt is no longer looked for.
const ABSENCES: u64 = 2;

impl Broker {
    /// Compares every connection's credentials with the ledger. Orphans become debts and are paid at once.
    ///
    /// # Errors
    /// When the ledger can't be read or written. A provider that can't be reached is part of the answer.
    pub async fn reconcile(self: &Arc<Self>) -> Result<Reconciled> {
        let only_looked = self.refuse_if_forked().is_err();
        let mut found = Reconciled { only_looked, ..Reconciled::default() };
        if let Err(error) = self.owe_forgotten().await {
            tracing::error!(message = %error.message, "what was owed and is not any more could not be owed again");
        }
        for connection in self.ledger.read(|tx| tx.sound_connections()).await? {
            let before = self.now();
            let of = connection.name.clone();
            let ended = self.ledger.scan(move |tx| tx.adopted_and_ended(&of)).await?;
            // Nothing marks one that was made elsewhere.
            let which = if ended.is_empty() { Listing::Marked } else { Listing::All };
            let listed = match self.outside.provider(&connection.name).await {
                // There is no list, and what is in it ends by itself.
                Ok(provider) if provider.facts().recovery == Recovery::Expiry => continue,
                Ok(provider) => provider.list(which).await.map_err(crate::error::BrokerError::from),
                Err(error) => Err(error),
            };
            match listed {
                Ok(listed) => {
                    let listed = Seen { listed, before, ended };
                    match self.sort_out(&connection.name, listed, &mut found).await {
                        Ok(()) => found.connections.push(connection.name.to_string()),
                        // One provider that answers oddly does not keep the others from being looked at.
                        Err(error) if error.code != Code::Internal => {
                            found.unreachable.insert(connection.name.to_string(), error.message);
                        }
                        Err(error) => return Err(error),
                    }
                }
                Err(error) => drop(found.unreachable.insert(connection.name.to_string(), error.message)),
            }
        }
        self.renew_due().await?;
        // However long they were to be left for: somebody may have put them off.
        let again = |tx: &Tx<'_>| tx.hasten_revocations(APART);
        if let Err(error) = self.ledger.write(again).await {
            let error: LedgerError = error;
            tracing::warn!(%error, "what is owed is tried when it is due");
        }
        self.pay_debts().await?;
        found.owed = self.ledger.read(|tx| tx.revocations_count()).await?;
        Ok(found)
    }

    async fn sort_out(
        &self,
        connection: &ConnectionName,
        Seen { listed, before, ended }: Seen,
        found: &mut Reconciled,
    ) -> Result<()> {
        let mut seen = Vec::new();
        for credential in listed {
            match self.keyring.markers().recognise(credential.label.raw()) {
                Recognised::Foreign if ended.contains(&credential.provider_key_id) => {
                    seen.push(credential.provider_key_id.clone());
                    match self.came_again(connection, &credential.provider_key_id, before).await? {
                        Fate::Owned => {}
                        Fate::Owed => found.orphans.push(credential.provider_key_id),
                        Fate::Lost => found.lost.push(Lost::of(connection, &credential)),
                    }
                }
                Recognised::Foreign => {}
                Recognised::Forged => {
                    found.forged += 1;
                    found.forged_ids.push(credential.provider_key_id);
                }
                Recognised::Ours { attempt, epoch } => {
                    seen.push(credential.provider_key_id.clone());
                    let id = credential.provider_key_id.clone();
                    if self.is_of_a_parent(connection, attempt, &id, before).await? {
                        continue;
                    }
                    match self.adopt_or_owe(connection, (attempt, epoch), id, before).await? {
                        Fate::Owned => found.owned += 1,
                        Fate::Owed => found.orphans.push(credential.provider_key_id),
                        Fate::Lost => found.lost.push(Lost::of(connection, &credential)),
                    }
                }
            }
        }
        if !found.only_looked {
            self.forget_back(connection, &seen).await?;
        }
        let of = connection.clone();
        let expected = self.ledger.scan(move |tx| tx.live_versions(&of)).await?;
        let provider = self.outside.provider(connection).await?;
        for version in expected.into_iter().filter(|v| !seen.contains(&v.provider_key_id)) {
            // One that was made elsewhere has no marker by which it would be in this list.
            let attempt = version.attempt;
            let made = self.ledger.read(move |tx| tx.attempt(attempt)).await;
            let has_marker = made.is_ok_and(|attempt| attempt.outcome != AttemptOutcome::Adopted);
            if has_marker {
                found.missing.push(version.key.to_string());
            }
            if found.only_looked {
                continue;
            }
            // A list may lag behind, and so may the answer about this very one: it is looked for twice.
            if let Err(ProviderError::NotFound { .. }) = provider.read_back(&version.provider_key_id).await {
                if !has_marker {
                    found.missing.push(version.key.to_string());
                }
                // Of one with a marker the list is known: it is not in it.
                match self.seek_knowing(provider.as_ref(), &version, has_marker.then_some(false)).await {
                    // Its key's row was edited or is gone: `doctor` says so, and the others are looked at all the same.
                    Err(error) if error.edited || error.code == Code::NotFound => {
                        tracing::error!(message = %error.message, "left out");
                    }
                    Err(error) if error.code != Code::Internal => {
                        tracing::warn!(message = %error.message, "it could not be looked for");
                    }
                    sought => drop(sought?),
                }
            }
        }
        Ok(())
    }

    /// Whether a marked credential is what a connection lives by, or came of giving it another one: that has a way of its own.
    /// One that was given up, and lives all the same after that, is looked for again.
    async fn is_of_a_parent(
        &self,
        connection: &ConnectionName,
        attempt: AttemptId,
        provider_key_id: &str,
        listed_at: Timestamp,
    ) -> Result<bool> {
        let of = connection.clone();
        let found = self.ledger.read(move |tx| {
            let is_known = match tx.attempt(attempt) {
                Ok(_) | Err(LedgerError::Edited { .. }) => true,
                Err(LedgerError::Missing { .. }) => false,
                Err(error) => return Err(error),
            };
            Ok((is_known, tx.renewal(attempt)?, tx.renewal_of(&of)?.is_some()))
        });
        match found.await? {
            (true, None, _) => Ok(false),
            (_, Some(renewal), is_busy) => {
                let may_change = !is_busy && self.refuse_if_forked().is_ok();
                // What ended in the time to come was edited.
                let is_newer = renewal.ended_at.is_some_and(|at| at >= listed_at && at <= self.now());
                if renewal.phase == RenewalPhase::Failed && may_change && !is_newer {
                    let again =
                        move |tx: &Tx<'_>| tx.move_renewal(&renewal, RenewalPhase::Sent, Some(SEEN_ALIVE));
                    self.ledger.write(again).await?;
                }
                Ok(true)
            }
            (false, None, _) => {
                let own = self.outside.provider(connection).await?.own_key_id().await?;
                Ok(own.as_deref() == Some(provider_key_id))
            }
        }
    }

    /// Whether a marked credential belongs to somebody, or did after it was asked for the list that it is in. If not, it is owed.
    async fn adopt_or_owe(
        &self,
        connection: &ConnectionName,
        (attempt, epoch): (AttemptId, Epoch),
        provider_key_id: String,
        listed_at: Timestamp,
    ) -> Result<Fate> {
        let (connection, random) = (connection.clone(), entropy()?);
        let only_looks = self.refuse_if_forked().is_err();
        // Then this may be an older copy, and what it does not know be in use.
        let is_unread = self.files.is_unread();
        let fate = self.ledger.write(move |tx| {
            let mut known = match tx.attempt(attempt) {
                Ok(known) => Some(known),
                Err(LedgerError::Missing { .. } | LedgerError::Edited { .. }) => None,
                Err(error) => return Err(error),
            };
            match known.as_ref().map(|known| belongs(tx, known, &provider_key_id)) {
                Some(Ok(true)) => return Ok(Fate::Owned),
                None | Some(Ok(false)) => {}
                // What an edited row says of the credential gives it no owner, and one that is gone neither.
                Some(Err(LedgerError::Missing { .. } | LedgerError::Edited { .. })) => known = None,
                Some(Err(error)) => return Err(error),
            }
            if adopted(tx, &connection, &provider_key_id)?
                || ended_since(tx, &connection, &provider_key_id, listed_at)?
            {
                return Ok(Fate::Owned);
            }
            if is_back(tx, &connection, &provider_key_id, !only_looks)? {
                return Ok(Fate::Lost);
            }
            let may_be_lost = (is_unread && known.is_none()) || epoch < tx.epoch()?;
            if only_looks || (may_be_lost && !has_ended(tx, &connection, &provider_key_id)?) {
                return Ok(Fate::Lost);
            }
            let reason = if has_ended(tx, &connection, &provider_key_id)? {
                TO_END
            } else {
                "an orphan: its creation was never completed"
            };
            let orphan = Orphan { connection, provider_key_id, attempt: known, reason };
            owe_orphan(tx, orphan, random)?;
            Ok::<_, LedgerError>(Fate::Owed)
        });
        Ok(fate.await?)
    }

    /// Looks for the attempts whose fate is unknown and whose time has come.
    pub(crate) async fn sweep(&self, leading: &Leading) -> Result<usize> {
        if self.refuse_if_forked().is_err() {
            // What this ledger does not know may be in use.
            return Ok(0);
        }
        let due = self.ledger.read(|tx| tx.attempts_to_sweep()).await?;
        let mut lists: BTreeMap<ConnectionName, Option<(Vec<Listed>, Timestamp)>> = BTreeMap::new();
        for attempt in &due {
            if let Some(late) = self.waits_for_expiry(&attempt.connection).await {
                self.let_expire(attempt, late, leading).await?;
                continue;
            }
            if !lists.contains_key(&attempt.connection) {
                let before = self.now();
                let listed = match self.outside.provider(&attempt.connection).await {
                    Ok(provider) => provider.list(Listing::Marked).await.ok().map(|listed| (listed, before)),
                    Err(_) => None,
                };
                lists.insert(attempt.connection.clone(), listed);
            }
            match lists.get(&attempt.connection) {
                Some(Some(listed)) => self.look(attempt, listed, leading).await?,
                // Nobody looked, so nothing is known that was not known before.
                _ => self.look_again(attempt, leading).await?,
            }
        }
        Ok(due.len())
    }

    /// For a provider without a list: how late a create may take effect.
    async fn waits_for_expiry(&self, connection: &ConnectionName) -> Option<Span> {
        let provider = self.outside.provider(connection).await.ok()?;
        let facts = provider.facts();
        (facts.recovery == Recovery::Expiry).then_some(facts.longest_late_delivery)
    }

    /// Whatever the attempt made has ended by itself, also when its create took effect late; or it is left until then.
    async fn let_expire(&self, attempt: &Attempt, late: Span, leading: &Leading) -> Result<()> {
        let Some(expires_at) = attempt.expires_at else { return self.look_again(attempt, leading).await };
        let (id, end, leading) = (attempt.id, late.after(expires_at), leading.clone());
        let written = self.ledger.write(move |tx| {
            leading.check(tx)?;
            if tx.now() < end {
                tx.look_for_attempt_at(id, end)
            } else {
                tx.set_attempt(id, AttemptOutcome::AbsentSoFar, None, None)
            }
        });
        Ok(written.await?)
    }

    async fn look(
        &self,
        attempt: &Attempt,
        (listed, before): &(Vec<Listed>, Timestamp),
        leading: &Leading,
    ) -> Result<()> {
        let found: Vec<_> = listed.iter().filter(|l| self.carries_marker_of(l, attempt.id)).collect();
        let mut is_gone = found.is_empty();
        for credential in &found {
            let Recognised::Ours { epoch, .. } = self.keyring.markers().recognise(credential.label.raw())
            else {
                continue;
            };
            let id = credential.provider_key_id.clone();
            let fate = self.adopt_or_owe(&attempt.connection, (attempt.id, epoch), id, *before).await?;
            is_gone |= matches!(fate, Fate::Lost);
        }
        if is_gone {
            self.absent(attempt, leading).await?;
        }
        Ok(())
    }

    /// Whether a credential's label is the marker of this attempt, seal included.
    pub(crate) fn carries_marker_of(&self, credential: &Listed, attempt: AttemptId) -> bool {
        let found = self.keyring.markers().recognise(credential.label.raw());
        matches!(found, Recognised::Ours { attempt: found, .. } if found == attempt)
    }

    /// Looked for and not found: look again until the create can no longer take effect, and at least once more. After
    /// that the regular reconcile is enough, which looks at every marker for ever.
    async fn absent(&self, attempt: &Attempt, leading: &Leading) -> Result<()> {
        let late = match self.outside.provider(&attempt.connection).await {
            Ok(provider) => provider.facts().longest_late_delivery,
            Err(_) => Span::from_seconds(24 * 3_600),
        };
        let (id, sent_at, leading) = (attempt.id, attempt.sent_at, leading.clone());
        let written = self.ledger.write(move |tx| {
            // A list that somebody read long ago says nothing of what came since.
            leading.check(tx)?;
            let absences = tx.attempt_absences(id)? + 1;
            let may_come = match sent_at {
                // The clock was ahead when it was sent: then the looks count, which are some time apart.
                Some(at) if at > tx.now() => absences * LOOK_AGAIN < late.seconds(),
                Some(at) => tx.now() < late.after(at),
                None => false,
            };
            let is_last = !may_come && absences >= ABSENCES;
            let next = Span::from_seconds(LOOK_AGAIN).after(tx.now());
            tx.set_attempt(id, AttemptOutcome::AbsentSoFar, None, (!is_last).then_some(next))
        });
        Ok(written.await?)
    }

    async fn look_again(&self, attempt: &Attempt, leading: &Leading) -> Result<()> {
        let (id, leading) = (attempt.id, leading.clone());
        let written = self.ledger.write(move |tx| {
            leading.check(tx)?;
            tx.look_for_attempt_at(id, Span::from_seconds(LOOK_AGAIN).after(tx.now()))
        });
        Ok(written.await?)
    }
}

/// A connection's list.
struct Seen {
    listed: Vec<Listed>,
    /// When it was asked for.
    before: Timestamp,
    /// Which of the credentials without a marker count as ended.
    ended: Vec<String>,
}

/// A credential that was seen at the provider and that nobody owns.
pub(crate) struct Orphan {
    pub(crate) connection: ConnectionName,
    pub(crate) provider_key_id: String,
    /// The attempt that its marker names, if the ledger knows it.
    pub(crate) attempt: Option<Attempt>,
    pub(crate) reason: &'static str,
}

/// Whether a credential was ended after the list was asked for that it is in: the list is older than the ledger.
pub(crate) fn ended_since(
    tx: &Tx<'_>,
    connection: &ConnectionName,
    provider_key_id: &str,
    listed_at: Timestamp,
) -> std::result::Result<bool, LedgerError> {
    let debt = tx.revocation_of(connection, provider_key_id)?;
    let mut done_at: Vec<_> = debt.and_then(|debt| debt.done_at).into_iter().collect();
    match tx.key_of_credential(connection, provider_key_id) {
        Ok(Some((key, _))) => {
            let of_it =
                tx.revocations_of(key.id)?.into_iter().filter(|one| one.provider_key_id == provider_key_id);
            done_at.extend(of_it.filter_map(|one| one.done_at));
        }
        // An orphan belongs to none, and what an edited row says of the credential says nothing.
        Ok(None) | Err(LedgerError::Edited { .. } | LedgerError::Missing { .. }) => {}
        Err(error) => return Err(error),
    }
    // What was paid in the time to come was edited.
    let now = tx.now();
    Ok(done_at.into_iter().any(|done_at| done_at >= listed_at && done_at <= now))
}

/// Puts an orphan on record and owes it, also when it was owed and settled before: it has been seen since. The sweep
/// need not look for its attempt any more; one that made a version has made another key besides, and stays what it is.
pub(crate) fn owe_orphan(
    tx: &Tx<'_>,
    orphan: Orphan,
    random: IdEntropy,
) -> std::result::Result<(), LedgerError> {
    let Orphan { connection, provider_key_id, attempt, reason } = orphan;
    let is_settled = |a: &Attempt| matches!(a.outcome, AttemptOutcome::Swept | AttemptOutcome::Created);
    if let Some(attempt) = attempt.as_ref().filter(|a| !is_settled(a)) {
        tx.set_attempt(attempt.id, AttemptOutcome::Swept, Some(&provider_key_id), None)?;
    }
    let mut record = Record::new(tx.now(), Deed::KeySweep, Stage::Intent, system());
    record.subject.connection = Some(connection.to_string());
    record.subject.attempt = attempt.as_ref().map(|a| a.id.to_string());
    record.subject.key = attempt.as_ref().map(|a| a.key.to_string());
    record.facts.insert("provider_key_id".to_owned(), serde_json::json!(provider_key_id));
    tx.audit(record)?;
    if let Ok(Some((_, version))) = tx.key_of_credential(&connection, &provider_key_id) {
        tx.set_version_back(version.id, false)?;
    }
    tx.reopen_revocation(&connection, &provider_key_id)?;
    tx.owe(&NewRevocation {
        id: RevocationId::generate(tx.now(), random),
        connection,
        provider_key_id,
        key: attempt.as_ref().map(|a| a.key),
        version: None,
        attempt: attempt.map(|a| a.id),
        reason: reason.to_owned(),
    })
}

/// A credential belongs to its attempt's version while that lives or is being revoked, or to a mint under way.
fn belongs(tx: &Tx<'_>, attempt: &Attempt, provider_key_id: &str) -> std::result::Result<bool, LedgerError> {
    let key = tx.key(attempt.key)?;
    if let Some(version) = tx.version_of(attempt.id)? {
        let is_over = match (version.state, key.state) {
            (VersionState::Revoked, _) | (_, KeyState::Revoked) => true,
            // What failed has no version but one that is being revoked.
            (VersionState::Revoking, KeyState::Failed) => false,
            (_, KeyState::Failed) => true,
            _ => false,
        };
        return Ok(version.provider_key_id == provider_key_id && !is_over);
    }
    let saga = tx.saga_under_way(key.id)?;
    // The create may be under way at this very moment.
    Ok(attempt.outcome == AttemptOutcome::Sent && saga.is_some_and(|saga| saga.attempt == attempt.id))
}
