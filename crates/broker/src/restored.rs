//! A ledger that is older than what was known of it: somebody put an older copy back, or cut its end off.
//!
//! It is noticed at the start, by the log's files or by the copy of its head in a second place. Until an operator accepts it the
//! broker only revokes and looks: its rows say nothing of what was made, moved or ended since. With the operator's word a new
//! epoch begins, which all markers carry from then on. What carries the marker of an earlier one and is not known here was made
//! in the time that is lost. Somebody may well use it, so it is reported, by each `reconcile`, and an operator says what
//! becomes of it: put under management (`key adopt`), or ended.

use std::sync::{Arc, PoisonError};

use jiff::Timestamp;
use keywright_core::audit::{Deed, Record, Stage};
use keywright_core::id::AttemptId;
use keywright_core::key::{KeyState, VersionState};
use keywright_core::marker::{Epoch, Recognised};
use keywright_core::name::ConnectionName;
use keywright_core::provider::{Listed, Listing};
use keywright_ledger::{AuditFilter, LedgerError, Tx};

use crate::auth::Proven;
use crate::broker::Broker;
use crate::clock::entropy;
use crate::error::{BrokerError, Code, Result};
use crate::sweep::{Orphan, Reconciled, owe_orphan};

/// How many entries are read at a time.
const PAGE: u32 = 1_000;
/// From when on days are counted into epochs, 2026-01-01, and the last one that is: the clock may be wrong.
const DAY_ONE: Timestamp = Timestamp::constant(1_767_225_600, 0);
const LAST_DAY: u16 = 20_000;

/// What becomes of a credential that carries our marker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fate {
    /// It belongs to a key.
    Owned,
    /// It is nobody's, and owed to the revoke queue.
    Owed,
    /// The ledger does not know it, and is not known to be whole.
    Lost,
}

/// A credential of ours of which nobody can say whether it is in use: it was made in a time that a restored ledger knows nothing of,
/// or it was gone and came back.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Lost {
    /// Through which connection it is seen.
    pub connection: String,
    /// The provider's id of it.
    pub provider_key_id: String,
    /// When it was made.
    pub created_at: Option<Timestamp>,
    /// When it was last used.
    pub last_used_at: Option<Timestamp>,
    /// When it ends.
    pub expires_at: Option<Timestamp>,
    /// Whether it works at present.
    pub enabled: bool,
}

impl Lost {
    pub(crate) fn of(connection: &ConnectionName, listed: &Listed) -> Self {
        Self {
            connection: connection.to_string(),
            provider_key_id: listed.provider_key_id.clone(),
            created_at: listed.created_at,
            last_used_at: listed.last_used_at,
            expires_at: listed.expires_at,
            enabled: listed.enabled,
        }
    }
}

impl Broker {
    /// Goes on from a ledger that is older than what was known of it. The epoch is raised, that is on record together with why,
    /// the log's files of before are moved aside, and every connection is looked through for what this ledger does not know.
    ///
    /// # Errors
    /// When nothing is behind, or entries were changed instead of being older ones: that is no copy of an earlier time.
    pub async fn accept_restore(self: &Arc<Self>, operator: &Proven) -> Result<Reconciled> {
        operator.signing()?;
        let forked = self.forked.read().unwrap_or_else(PoisonError::into_inner).clone();
        let Some(because) = forked else {
            self.refuse_if_forked()?;
            let why = "the ledger is not behind anything that is known of it; there is nothing to accept";
            return Err(BrokerError::new(Code::Conflict, why));
        };
        let entries = self.ledger.scan(whole_log).await.map_err(|error| match error {
            LedgerError::NotContinued { why } => BrokerError::new(
                Code::Conflict,
                format!("this is no older copy: entries of the audit log were changed: {why}"),
            )
            .hint("keep a copy of the home as evidence, and restore the ledger from a backup"),
            other => other.into(),
        })?;
        let mut record = Record::new(self.now(), Deed::RestoreAccept, Stage::Note, operator.caller().who());
        record.facts.insert("because".to_owned(), serde_json::json!(because));
        record.facts.insert("entries".to_owned(), serde_json::json!(entries));
        let seen = self.newest_epoch_seen().await?;
        let written = self.ledger.write(move |tx| {
            let epoch = tx.raise_epoch(seen)?;
            record.facts.insert("epoch".to_owned(), serde_json::json!(epoch.0));
            tx.audit(record)
        });
        written.await.map_err(|error: LedgerError| BrokerError::from(error))?;
        self.files.put_aside(self.now())?;
        *self.lost.write().unwrap_or_else(PoisonError::into_inner) = None;
        self.begin_anew().await?;
        let found = self.reconcile().await?;
        for lost in found.lost.clone() {
            self.ledger
                .write(move |tx| tx.audit(of_lost(tx, &lost, Stage::Note)))
                .await
                .map_err(|error: LedgerError| BrokerError::from(error))?;
        }
        Ok(found)
    }

    /// The newest epoch of any marker that can be seen. This copy may have been put back before, and keys made since carry an
    /// epoch that it does not know of. Those that can't be seen now were made on an earlier day, as far as that helps.
    async fn newest_epoch_seen(&self) -> Result<Epoch> {
        let days = self.now().duration_since(DAY_ONE).as_hours() / 24;
        let mut newest = Epoch(u16::try_from(days).unwrap_or(0).min(LAST_DAY));
        for connection in self.ledger.read(|tx| tx.sound_connections()).await? {
            let Ok(provider) = self.outside.provider(&connection.name).await else { continue };
            let Ok(listed) = provider.list(Listing::Marked).await else { continue };
            for one in listed {
                if let Recognised::Ours { epoch, .. } = self.keyring.markers().recognise(one.label.raw()) {
                    newest = newest.max(epoch);
                }
            }
        }
        Ok(newest)
    }

    /// Ends the keys that a restored ledger does not know.
    ///
    /// # Errors
    /// When the ledger can't be read or written.
    pub async fn revoke_lost(self: &Arc<Self>, operator: &Proven) -> Result<Reconciled> {
        self.refuse_if_forked()?;
        operator.signing()?;
        for lost in self.reconcile().await?.lost {
            let (random, who) = (entropy()?, operator.caller().who());
            let connection: ConnectionName = lost.connection.parse().map_err(BrokerError::invalid)?;
            let written = self.ledger.write(move |tx| {
                tx.audit(Record { who, ..of_lost(tx, &lost, Stage::Intent) })?;
                let orphan = Orphan {
                    connection,
                    provider_key_id: lost.provider_key_id,
                    attempt: None,
                    reason: "nothing in the ledger says what it is for, and an operator wants it ended",
                };
                owe_orphan(tx, orphan, random)
            });
            written.await?;
        }
        self.reconcile().await
    }

    /// Whether a credential carries the marker of an earlier epoch.
    pub(crate) async fn is_of_the_past(&self, listed: &Listed) -> Result<bool> {
        let Recognised::Ours { epoch, .. } = self.keyring.markers().recognise(listed.label.raw()) else {
            return Ok(false);
        };
        Ok(epoch < self.ledger.read(|tx| tx.epoch()).await?)
    }

    /// Whether an attempt is of an earlier epoch and came to nothing that this ledger knows of.
    pub(crate) async fn is_unknown_since(&self, attempt: AttemptId, epoch: Epoch) -> Result<bool> {
        let found = self.ledger.read(move |tx| {
            if epoch >= tx.epoch()? {
                return Ok(false);
            }
            Ok::<_, LedgerError>(tx.version_of(attempt)?.is_none() && tx.renewal(attempt)?.is_none())
        });
        Ok(found.await?)
    }
}

/// How many entries the log has, when each is as this home wrote it and none is missing between them.
fn whole_log(tx: &Tx<'_>) -> std::result::Result<u64, LedgerError> {
    let mut next = 0;
    loop {
        let filter = AuditFilter { from: next, limit: PAGE, ..AuditFilter::default() };
        let page = tx.audit_entries(&filter)?;
        if page.is_empty() {
            return Ok(next);
        }
        for entry in &page {
            if entry.number != next {
                return Err(LedgerError::NotContinued {
                    why: format!("an entry before {} is missing", entry.number),
                });
            }
            tx.check_entry(entry)?;
            next += 1;
        }
    }
}

fn of_lost(tx: &Tx<'_>, lost: &Lost, stage: Stage) -> Record {
    let mut record = Record::new(tx.now(), Deed::KeySweep, stage, crate::record::system());
    record.subject.connection = Some(lost.connection.clone());
    record.facts.insert("provider_key_id".to_owned(), serde_json::json!(lost.provider_key_id));
    record.facts.insert("lost".to_owned(), serde_json::json!(true));
    record
}

/// Whether a credential is a living key's, whatever its marker says: it was put under management.
pub(crate) fn adopted(
    tx: &Tx<'_>,
    connection: &ConnectionName,
    provider_key_id: &str,
) -> std::result::Result<bool, LedgerError> {
    match tx.key_of_credential(connection, provider_key_id) {
        Ok(Some((key, version))) => {
            let attempt = tx.attempt(version.attempt)?;
            let is_adopted = attempt.outcome == keywright_core::key::AttemptOutcome::Adopted;
            Ok(is_adopted && key.state == KeyState::Active && version.state != VersionState::Revoked)
        }
        Ok(None) | Err(LedgerError::Missing { .. } | LedgerError::Edited { .. }) => Ok(false),
        Err(error) => Err(error),
    }
}

/// Whether the ledger itself says that a credential has ended, or is to end.
pub(crate) fn has_ended(
    tx: &Tx<'_>,
    connection: &ConnectionName,
    provider_key_id: &str,
) -> std::result::Result<bool, LedgerError> {
    if tx.is_or_was_owed(connection, provider_key_id)? {
        return Ok(true);
    }
    match tx.key_of_credential(connection, provider_key_id) {
        Ok(Some((_, version))) => Ok(version.state == VersionState::Revoked),
        Ok(None) | Err(LedgerError::Missing { .. } | LedgerError::Edited { .. }) => Ok(false),
        Err(error) => Err(error),
    }
}
