//! Several brokers on one ledger: what each is allowed to do, and for how long.
//!
//! A saga is leased to the broker that works on it. What has no lease of its own (debts, sweeps, what expires, dead values,
//! counts, rotations that are due) is done by the one that leads. Leases and the lead go by the database's clock, are
//! prolonged while the broker is well, and pass on when it is not. On a file there is one broker, and it leads.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use keywright_core::id::SagaId;
use keywright_core::name::ConnectionName;
use keywright_core::span::Span;
use keywright_ledger::{Clock, Lead, LedgerError, Saga, Tx};

use tokio::sync::Notify;

use crate::broker::Broker;
use crate::error::{BrokerError, Code, Result};

/// How long a claim of a saga lasts where nobody else works on the ledger: longer than the longest step, which is a create,
/// a list to its end, a bounded wait for consistency.
pub(crate) const LEASE: u64 = 300;
/// How long one lasts that others wait for. It is prolonged while somebody works on the saga.
const SHARED_LEASE: u64 = 60;
/// How long the lead lasts, likewise.
const LEAD: u64 = 15;
/// How often both are prolonged.
pub(crate) const RENEW: Duration = Duration::from_secs(4);
/// By how much a machine's clock may be off.
const CLOCK_OFF_MS: u64 = 5_000;
/// The work that one broker does for all.
const UPKEEP: &str = "upkeep";

/// What this broker holds at present.
#[derive(Default)]
pub(crate) struct Held {
    sagas: Mutex<HashMap<SagaId, u64>>,
    lead: Mutex<Option<Lead>>,
    /// Several loops ask at once who leads. Of two that take the lead, the second would be told that somebody has it.
    taking: tokio::sync::Mutex<()>,
    /// The connections whose sagas have all the places that they may have.
    crowded: Mutex<Vec<ConnectionName>>,
    /// Something was begun that waits to be taken up.
    pub(crate) begun: Notify,
    /// There may be rotations to begin: what had been begun was taken up, or others wrote.
    pub(crate) room: Notify,
}

impl Held {
    pub(crate) fn set_crowded(&self, crowded: Vec<ConnectionName>) {
        *lock(&self.crowded) = crowded;
    }

    pub(crate) fn crowded(&self) -> Vec<ConnectionName> {
        lock(&self.crowded).clone()
    }

    fn begin(&self, saga: SagaId, fence: u64) -> AtWork<'_> {
        lock(&self.sagas).insert(saga, fence);
        AtWork { held: self, saga, fence }
    }
}

/// While this is there, the lease of a saga is prolonged.
pub(crate) struct AtWork<'a> {
    held: &'a Held,
    saga: SagaId,
    fence: u64,
}

impl Drop for AtWork<'_> {
    fn drop(&mut self) {
        let mut sagas = lock(&self.held.sagas);
        // Where the lease was lost meanwhile, and the saga claimed again, it is another's.
        if sagas.get(&self.saga) == Some(&self.fence) {
            sagas.remove(&self.saga);
        }
    }
}

/// The right to do what one broker does for all.
#[derive(Clone)]
pub(crate) struct Leading(Option<Lead>);

impl Leading {
    /// In the transaction that writes what came of it: nobody else leads by now.
    pub(crate) fn check(&self, tx: &Tx<'_>) -> std::result::Result<(), LedgerError> {
        self.0.as_ref().map_or(Ok(()), |lead| tx.still_leads(lead))
    }
}

impl Broker {
    /// How long a claim of a saga lasts.
    pub(crate) fn lease(&self) -> Span {
        Span::from_seconds(if self.ledger.is_shared() { SHARED_LEASE } else { LEASE })
    }

    /// Has the lease of a saga prolonged for as long as somebody works on it.
    pub(crate) fn at_work(&self, saga: &Saga) -> AtWork<'_> {
        self.held.begin(saga.id, saga.fence)
    }

    /// Whether this process works on a saga just now, however long ago that began.
    pub(crate) fn is_at_work(&self, saga: SagaId) -> bool {
        lock(&self.held.sagas).contains_key(&saga)
    }

    /// The sagas that this process works on just now.
    pub(crate) fn all_at_work(&self) -> Vec<SagaId> {
        lock(&self.held.sagas).keys().copied().collect()
    }

    /// Whether this broker is to do what one does for all. Takes the lead when nobody has it. One that may do nothing at present
    /// leaves it to others.
    pub(crate) async fn leading(&self) -> Result<Option<Leading>> {
        if !self.ledger.is_shared() {
            return Ok(Some(Leading(None)));
        }
        if self.clock_off().is_some() {
            // Whoever writes nothing would never see that it was set right.
            self.ledger.write(|_| Ok::<_, LedgerError>(())).await?;
        }
        if self.refuse_if_forked().is_err() {
            self.give_up_lead().await?;
            return Ok(None);
        }
        let taking = self.held.taking.lock().await;
        let held = lock(&self.held.lead).clone();
        if held.is_some() {
            // Not by a clock of this machine: a process that was stopped for a while does not know that.
            self.keep_lead().await?;
        } else if self.ledger.read(|tx| tx.lead_is_free(UPKEEP, Span::from_seconds(LEAD))).await? {
            let owner = self.owner.clone();
            let taken = self.ledger.write(move |tx| tx.take_lead(UPKEEP, &owner, Span::from_seconds(LEAD)));
            *lock(&self.held.lead) = taken.await?;
        }
        drop(taking);
        // Each turn looks at the clock, and at what others appended.
        if self.refuse_if_forked().is_err() {
            self.give_up_lead().await?;
        }
        Ok(lock(&self.held.lead).clone().map(|lead| Leading(Some(lead))))
    }

    /// The same as far as it is known, for what holds without it: nothing is taken or prolonged.
    pub(crate) fn leads_still(&self) -> Option<Leading> {
        if !self.ledger.is_shared() {
            return Some(Leading(None));
        }
        let held = lock(&self.held.lead).clone();
        held.filter(|_| self.refuse_if_forked().is_ok()).map(|lead| Leading(Some(lead)))
    }

    /// Prolongs what this broker holds: the leases of the sagas that it works on, and its lead.
    pub(crate) async fn renew(&self) -> Result<()> {
        let sagas: Vec<(SagaId, u64)> =
            lock(&self.held.sagas).iter().map(|(id, fence)| (*id, *fence)).collect();
        let lease = self.lease();
        if !sagas.is_empty() {
            self.ledger.write(move |tx| tx.renew_sagas(&sagas, lease)).await?;
        }
        self.keep_lead().await
    }

    /// Prolongs what this broker holds for as long as it is polled, where nothing else does: a command without a broker that
    /// serves.
    pub async fn hold_on(&self) -> std::convert::Infallible {
        loop {
            tokio::time::sleep(RENEW).await;
            if self.ledger.is_shared()
                && let Err(error) = self.renew().await
            {
                tracing::warn!(message = %error.message, "what this command holds could not be prolonged");
            }
        }
    }

    /// Leaves to others what one broker does for all, at once.
    ///
    /// # Errors
    /// When the ledger can't be written; it is theirs soon all the same.
    pub async fn step_down(&self) -> Result<()> {
        let held = lock(&self.held.lead).take();
        let Some(lead) = held else { return Ok(()) };
        Ok(self.ledger.write(move |tx| tx.give_up_lead(&lead)).await?)
    }

    async fn give_up_lead(&self) -> Result<()> {
        let held = lock(&self.held.lead).take();
        let Some(lead) = held else { return Ok(()) };
        tracing::warn!("this broker may do nothing at present; another one leads");
        Ok(self.ledger.write(move |tx| tx.give_up_lead(&lead)).await?)
    }

    async fn keep_lead(&self) -> Result<()> {
        if self.refuse_if_forked().is_err() {
            return self.give_up_lead().await;
        }
        let Some(lead) = lock(&self.held.lead).clone() else { return Ok(()) };
        let kept = lead.clone();
        match self.ledger.write(move |tx| tx.keep_lead(&kept, Span::from_seconds(LEAD))).await {
            Err(LedgerError::Conflict { .. }) => {
                // It may have been taken again since.
                lock(&self.held.lead).take_if(|held| *held == lead);
                Ok(())
            }
            other => Ok(other?),
        }
    }

    /// Takes this machine's time from somewhere else. Tests use it for clocks that are wrong.
    pub fn set_machine_clock(&self, clock: Clock) {
        self.ledger.set_machine_clock(clock);
    }

    /// Why this broker makes no keys at present: times that it writes down would mean something else to the others.
    pub(crate) fn clock_off(&self) -> Option<String> {
        let ahead = self.ledger.clock_ahead();
        (self.ledger.is_shared() && ahead.unsigned_abs() > CLOCK_OFF_MS).then(|| {
            let how = if ahead > 0 { "ahead of" } else { "behind" };
            format!("this machine's clock is {} s {how} the database's", ahead.unsigned_abs().div_ceil(1_000))
        })
    }

    /// Refuses deeds while this machine's clock is off.
    pub(crate) fn refuse_if_clock_off(&self) -> Result<()> {
        self.clock_off().map_or(Ok(()), |why| {
            Err(BrokerError::new(Code::Conflict, format!("no keys are made at present: {why}")).hint(
                "set the clock (NTP) of this machine, or of the database's; it is looked at with each write",
            ))
        })
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_lost_a_saga_ends_nothing_of_whoever_has_it() {
        let held = Held::default();
        let saga = SagaId::generate(jiff::Timestamp::UNIX_EPOCH, [1; 10]);
        let lost = held.begin(saga, 1);
        let has_it = held.begin(saga, 2);
        drop(lost);
        assert_eq!(lock(&held.sagas).get(&saga), Some(&2), "its lease is prolonged on");
        drop(has_it);
        assert!(lock(&held.sagas).is_empty());
    }
}
