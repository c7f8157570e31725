//! How the broker is doing, in numbers; and where its pages are.

use std::sync::PoisonError;

use keywright_core::id::RequestId;
use keywright_core::key::Key;
use keywright_ledger::LedgerError;

use crate::broker::{Broker, told_of};
use crate::derive::all_ambiguous;
use crate::error::Result;
use crate::notify::failing;

/// How many keys that could not be rotated are named.
const NAMED: u32 = 10;

/// What `status` and `doctor` show of the broker itself.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Health {
    /// Keys that live.
    pub keys_active: u64,
    /// Requests and proposals that wait for humans.
    pub requests_pending: u64,
    /// How many of the requests there was much to lose with when they were asked.
    pub requests_high: u64,
    /// Sagas that are under way or waiting to be tried again.
    pub sagas_open: u64,
    /// Credentials that are owed to a provider's revocation.
    pub revocations_owed: u64,
    /// Versions that were replaced and live longer than their template says, because they are used or nobody can know.
    pub drains_late: u64,
    /// Credentials that were gone at their provider, came back, and wait for somebody's word.
    pub versions_back: u64,
    /// Living keys that could not be rotated when they were due.
    pub rotations_failing: u64,
    /// The first of them, with the reason.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub failing: Vec<Failing>,
    /// Consumers that could not be told of a successor so far, and old versions that wait for it.
    pub consumers_untold: u64,
    /// Channels whose last tries to tell somebody failed, and why.
    pub channels_failing: Vec<String>,
    /// Templates of which no key is made, because several connections fit and they do not say which.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub ambiguous: Vec<String>,
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

/// A key that could not be rotated.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Failing {
    /// Its id.
    pub id: String,
    /// Its name: `PROJECT/ENVIRONMENT/NAME`.
    pub key: String,
    /// Why.
    pub why: String,
}

impl From<(Key, Option<String>)> for Failing {
    fn from((key, why): (Key, Option<String>)) -> Self {
        Self {
            id: key.id.to_string(),
            key: format!("{}/{}/{}", key.project, key.environment, key.name),
            why: why.unwrap_or_default(),
        }
    }
}

impl Broker {
    /// How much waits for people.
    ///
    /// # Errors
    /// When the ledger can't be read.
    pub async fn count_waiting(&self) -> Result<u64> {
        Ok(self.ledger.read(|tx| tx.requests_waiting()).await?)
    }

    /// Templates of which no key is made, because several connections fit and they do not say which; a text a provider.
    ///
    /// # Errors
    /// When the ledger can't be read.
    pub async fn ambiguous(&self) -> Result<Vec<String>> {
        Ok(self.ledger.read(all_ambiguous).await?)
    }

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
        let health = self.ledger.scan(|tx| {
            Ok::<_, LedgerError>(Health {
                clock,
                unsigned,
                witness,
                clock_off,
                read_only,
                keys_active: tx.keys_active()?,
                requests_pending: tx.requests_waiting()?,
                requests_high: tx.requests_high()?,
                sagas_open: tx.sagas_open()?,
                revocations_owed: tx.revocations_count()?,
                drains_late: tx.drains_late()?,
                versions_back: tx.versions_back()?,
                rotations_failing: tx.rotations_failing()?,
                failing: tx.keys_failing(NAMED)?.into_iter().map(Failing::from).collect(),
                consumers_untold: tx.tellings_failing()?,
                channels_failing: failing(tx)?,
                ambiguous: all_ambiguous(tx)?,
                parents_renewing: tx.renewals_open()?,
                attempts_uncertain: tx.attempts_uncertain()?,
                audit_entries: tx.audit_size()?,
            })
        });
        Ok(health.await?)
    }

    /// The pages are served there, from now on: an origin, as in `http://localhost:4777`.
    pub fn set_door(&self, origin: &str) {
        // A broker has one door.
        let _ = self.door.set(origin.to_owned());
    }

    /// Where the pages are, as browsers name it.
    #[must_use]
    pub fn door(&self) -> Option<&str> {
        self.door.get().map(String::as_str)
    }

    /// Where a person can look at a request. The address lets nobody in.
    #[must_use]
    pub fn review_url(&self, request: RequestId) -> Option<String> {
        self.door().map(|origin| format!("{origin}/r/{request}"))
    }
}
