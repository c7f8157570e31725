//! Paying debts: a credential is ended at its provider, and looked for until it is known to be gone.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use jiff::Timestamp;
use keywright_core::audit::{Deed, Outcome, Record, Stage};
use keywright_core::id::{KeyId, RevocationId};
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

/// The debts that somebody in this process tries just now, and those that were sent while the ledger could not be written.
#[derive(Debug, Default)]
pub(crate) struct Paying {
    turns: Mutex<HashMap<RevocationId, Arc<tokio::sync::Mutex<()>>>>,
    sent: Mutex<HashMap<RevocationId, Timestamp>>,
}

impl Paying {
    /// Waits until nobody else tries a debt; the right to try it.
    async fn turn(&self, id: RevocationId) -> tokio::sync::OwnedMutexGuard<()> {
        let turn = {
            let mut turns = lock(&self.turns);
            // Those of debts that nobody tries any more.
            turns.retain(|_, turn| Arc::strong_count(turn) > 1);
            Arc::clone(turns.entry(id).or_default())
        };
        turn.lock_owned().await
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Broker {
    /// Tries one debt. Success when the provider says that the credential is gone, or never was. Whoever comes while somebody else
    /// tries it waits, and leaves it at that: the second of two would be told that there is no such credential.
    pub(crate) async fn pay(&self, debt: &Revocation) {
        let _turn = self.paying.turn(debt.id).await;
        let id = debt.id;
        let known = self.ledger.read(move |tx| tx.revocation(id)).await;
        let mut debt = match known {
            // Somebody tried it since it was read.
            Ok(Some(now)) if now.done_at.is_some() || now.tries != debt.tries => return,
            Ok(Some(now)) => now,
            // Where it can't be read, the key ends all the same.
            Ok(None) | Err(_) => debt.clone(),
        };
        debt.sent_at = debt.sent_at.or_else(|| lock(&self.paying.sent).get(&id).copied());
        // What a provider is asked has much to remember.
        Box::pin(self.try_debt(&debt)).await;
    }

    async fn try_debt(&self, debt: &Revocation) {
        self.count_last(debt).await;
        let mut refused = None;
        let paid = match self.outside.provider(&debt.connection).await {
            Ok(provider) => {
                let sent_at = self.now();
                let sent = Revocation { sent_at: self.note_sent(debt, sent_at).await, ..debt.clone() };
                match provider.revoke(&debt.provider_key_id).await {
                    Err(ProviderError::Unsupported { .. })
                        if provider.facts().recovery == Recovery::Expiry =>
                    {
                        self.end_by_itself(debt, provider.as_ref()).await.map(|()| None)
                    }
                    Ok(ended) => self.confirm(&sent, provider.as_ref(), ended).await,
                    Err(error) => {
                        refused = (error.is_not_done() && sent.sent_at.is_none()).then_some(sent_at);
                        Err(error.into())
                    }
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
            Ok(Some(until)) => self.postpone_debt(debt, until, look_again(until), None).await,
            Err(error) => {
                let pause = back_off(debt.tries, LONGEST_PAUSE, self.now());
                self.postpone_debt(debt, error.not_before(pause, self.now()), error, refused).await
            }
        };
        if let Err(error) = written {
            tracing::error!(revocation = %debt.id, %error, "the outcome of a revocation could not be put on record");
        }
    }

    /// On record before it is sent: an answer that does not come may be lost with everything else. Where it can't be, the key ends
    /// all the same, and it is remembered. Says when it was sent before, by anybody.
    async fn note_sent(&self, debt: &Revocation, now: Timestamp) -> Option<Timestamp> {
        if debt.sent_at.is_some() {
            return debt.sent_at;
        }
        let id = debt.id;
        let written: std::result::Result<_, LedgerError> =
            self.ledger.write(move |tx| tx.send_revocation(id, now)).await;
        match written {
            Ok(before) => before,
            Err(error) => {
                tracing::warn!(revocation = %id, %error, "that it is sent could not be put on record");
                lock(&self.paying.sent).insert(id, now);
                None
            }
        }
    }

    async fn postpone_debt(
        &self,
        debt: &Revocation,
        until: Timestamp,
        error: BrokerError,
        refused: Option<Timestamp>,
    ) -> std::result::Result<(), LedgerError> {
        let id = debt.id;
        if refused.is_some() {
            lock(&self.paying.sent).remove(&id);
        }
        tracing::warn!(revocation = %id, message = %error.message, tries = debt.tries + 1, "still owed");
        let first = debt.tries == 0;
        let (debt, message) = (debt.clone(), error.message.clone());
        let written = self.ledger.write(move |tx| {
            if first {
                let mut record = of_debt(tx, &debt)?;
                record.result = Some(failed(&error));
                tx.audit(record)?;
            }
            if let Some(sent_at) = refused {
                tx.unsend_revocation(id, sent_at)?;
            }
            tx.postpone_revocation(id, until, &message)
        });
        written.await
    }

    async fn settled(&self, debt: &Revocation) -> std::result::Result<(), LedgerError> {
        let settling = debt.clone();
        let written: std::result::Result<(), LedgerError> = self
            .ledger
            .write(move |tx| {
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
                    match close_key(tx, key, entry, &settling.reason) {
                        // `doctor` says that it was edited.
                        Err(LedgerError::Edited { .. } | LedgerError::Missing { .. }) => {}
                        closed => closed?,
                    }
                }
                Ok(())
            })
            .await;
        written?;
        lock(&self.paying.sent).remove(&debt.id);
        Ok(())
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
    let mut record = match debt.key.map(|key| tx.key(key)).transpose() {
        Ok(Some(key)) => of_key(tx.now(), Deed::KeyRevoke, Stage::Outcome, system(), &key),
        // What somebody edited keeps no credential alive, and nothing from being put on record.
        Ok(None) | Err(LedgerError::Edited { .. } | LedgerError::Missing { .. }) => {
            Record::new(tx.now(), Deed::KeyRevoke, Stage::Outcome, system())
        }
        Err(error) => return Err(error),
    };
    record.subject.key = debt.key.map(|key| key.to_string());
    record.subject.connection = Some(debt.connection.to_string());
    record.subject.version = debt.version.map(|v| v.to_string());
    record.subject.attempt = debt.attempt.map(|a| a.to_string());
    record.facts.insert("provider_key_id".to_owned(), serde_json::json!(debt.provider_key_id));
    record.facts.insert("because".to_owned(), serde_json::json!(debt.reason));
    Ok(record)
}
