//! How a broker is doing, for whoever may open its socket.

use std::sync::PoisonError;

use keywright_ledger::LedgerError;
use keywright_ledger::audit_files::Trouble;

use crate::broker::Broker;
use crate::error::Result;
use crate::notify::failing;

/// What `status` and `doctor` show of the broker itself.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Health {
    /// Keys that live.
    pub keys_active: u64,
    /// Requests and proposals that wait for humans.
    pub requests_pending: u64,
    /// How many of the requests there is much to lose with.
    pub requests_high: u64,
    /// Sagas that are under way or waiting to be tried again.
    pub sagas_open: u64,
    /// Credentials that are owed to a provider's revocation.
    pub revocations_owed: u64,
    /// Versions that were replaced and live longer than their template says, because they are used or nobody can know.
    pub drains_late: u64,
    /// Consumers that could not be told of a successor so far, and old versions that wait for it.
    pub consumers_untold: u64,
    /// Channels whose last tries to tell somebody failed, and why.
    pub channels_failing: Vec<String>,
    /// Parent credentials that are being replaced, or whose predecessor is not gone yet.
    pub parents_renewing: u64,
    /// Attempts of which nobody knows yet whether they made a key.
    pub attempts_uncertain: u64,
    /// Entries in the audit log.
    pub audit_entries: u64,
    /// Why the newest entries of the audit log are not signed yet, where that is not only a matter of a moment.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unsigned: Option<String>,
    /// What is wrong with the copy of the audit log's head in a second place.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub witness: Option<String>,
    /// Why nothing is ended or replaced on account of the time, where the clock jumped ahead.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub clock: Option<String>,
    /// Why no keys are made at present although the ledger is as it should be.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub clock_off: Option<String>,
    /// Why only revocations are done at present.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub read_only: Option<String>,
}

impl Broker {
    /// Numbers for `status`.
    ///
    /// # Errors
    /// When the ledger can't be read.
    pub async fn health(&self) -> Result<Health> {
        let forked = || self.forked.read().unwrap_or_else(PoisonError::into_inner).clone();
        let read_only = self.foreign.clone().or_else(forked);
        let unsigned = self.unsigned.read().unwrap_or_else(PoisonError::into_inner).clone();
        let witness = self.files.second_place().map(|trouble| told_of(&trouble));
        let clock = self.doubts_clock();
        let clock_off = self.clock_off();
        let requests_high = self.high_waiting().await?;
        let health = self.ledger.scan(move |tx| {
            Ok::<_, LedgerError>(Health {
                clock,
                unsigned,
                witness,
                clock_off,
                read_only,
                keys_active: tx.keys_active()?,
                requests_pending: tx.requests_waiting()?,
                requests_high,
                sagas_open: tx.sagas_open()?,
                revocations_owed: tx.revocations_count()?,
                drains_late: tx.drains_late()?,
                consumers_untold: tx.tellings_failing()?,
                channels_failing: failing(tx)?,
                parents_renewing: tx.renewals_open()?,
                attempts_uncertain: tx.attempts_uncertain()?,
                audit_entries: tx.audit_size()?,
            })
        });
        Ok(health.await?)
    }
}

/// What is wrong with the second place of the log's head, and what that means.
fn told_of(trouble: &Trouble) -> String {
    let Trouble { place, why, is_unread } = trouble;
    let place = place.display();
    if *is_unread {
        format!(
            "whether this home is an older copy is not known, because {place} can't be read: {why}; until it can, no key that \
             the ledger does not know is ended"
        )
    } else {
        format!("the copy of the audit log's head in {place} is behind: {why}")
    }
}
