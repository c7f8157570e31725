//! Paying debts: a credential is ended at its provider, and looked for until it is known to be gone.

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::Timestamp;
use keywright_core::audit::{Deed, Outcome, Record, Stage};
use keywright_core::id::KeyId;
use keywright_core::key::VersionState;
use keywright_core::name::ConnectionName;
use keywright_core::provider::{ProviderError, Recovery};
use keywright_ledger::{LedgerError, Revocation, Tx};

use crate::broker::Broker;
use crate::clock::back_off;
use crate::ended::look_again;
use crate::error::{BrokerError, Result};
use crate::lanes::Lanes;
use crate::owed::close_key;
use crate::record::{failed, of_key, system};
use crate::saga::sealed_owner;

/// The longest pause between tries of a debt, in seconds.
pub(crate) const LONGEST_PAUSE: u64 = 3_600;
/// How many debts are taken up at once.
const AT_ONCE: u32 = 100;

impl Broker {
    /// Tries one debt. Success when the provider says that the credential is gone, or never was.
    pub(crate) async fn pay(&self, debt: &Revocation) {
        self.count_last(debt).await;
        let paid = match self.outside.provider(&debt.connection).await {
            Ok(provider) => {
                if debt.sent_at.is_none() {
                    self.note_sent(debt).await;
                }
                match provider.revoke(&debt.provider_key_id).await {
                    Err(ProviderError::Unsupported { .. })
                        if provider.facts().recovery == Recovery::Expiry =>
                    {
                        self.end_by_itself(debt, provider.as_ref()).await.map(|()| None)
                    }
                    Ok(ended) => self.confirm(debt, provider.as_ref(), ended).await,
                    Err(error) => Err(error.into()),
                }
            }
            Err(error) => Err(error),
        };
        self.crash_at.reached("revoke.confirmed");
        let written = match paid {
            Ok(None) => {
                // Before the debt is settled: whoever dies in between pays it and removes them once more, and what is
                // on record as revoked lies nowhere any more.
                self.remove_copies(debt).await;
                self.settled(debt).await
            }
            Ok(Some(until)) => self.postpone_debt(debt, until, look_again(until)).await,
            Err(error) => {
                let pause = back_off(debt.tries, LONGEST_PAUSE, self.now());
                self.postpone_debt(debt, error.not_before(pause, self.now()), error).await
            }
        };
        if let Err(error) = written {
            tracing::error!(revocation = %debt.id, %error, "the outcome of a revocation could not be put on record");
        }
    }

    /// On record before it is sent: an answer that does not come may be lost with everything else. Where it can't be, the key ends
    /// all the same.
    async fn note_sent(&self, debt: &Revocation) {
        let (id, now) = (debt.id, self.now());
        let written = self.ledger.write(move |tx| tx.send_revocation(id, now));
        if let Err(error) = written.await {
            let error: LedgerError = error;
            tracing::warn!(revocation = %id, %error, "that it is sent could not be put on record");
        }
    }

    async fn postpone_debt(
        &self,
        debt: &Revocation,
        until: Timestamp,
        error: BrokerError,
    ) -> std::result::Result<(), LedgerError> {
        let id = debt.id;
        tracing::warn!(revocation = %id, message = %error.message, tries = debt.tries + 1, "still owed");
        let first = debt.tries == 0;
        let (debt, message) = (debt.clone(), error.message.clone());
        let written = self.ledger.write(move |tx| {
            if first {
                let mut record = of_debt(tx, &debt)?;
                record.result = Some(failed(&error));
                tx.audit(record)?;
            }
            tx.postpone_revocation(id, until, &message)
        });
        written.await
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
}

fn by_connection(due: Vec<Revocation>) -> BTreeMap<ConnectionName, Vec<Revocation>> {
    let mut by_connection: BTreeMap<ConnectionName, Vec<Revocation>> = BTreeMap::new();
    for debt in due {
        by_connection.entry(debt.connection.clone()).or_default().push(debt);
    }
    by_connection
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
