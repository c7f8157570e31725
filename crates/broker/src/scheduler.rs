//! What has to happen without anybody asking. Rows and ticks: nothing here is lost when the process dies, because
//! nothing here is remembered outside the ledger.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

use crate::broker::Broker;
use crate::error::Result;
use crate::shared::RENEW;

/// How many sagas are worked on at the same time.
const AT_A_TIME: u32 = 32;
/// How often a broker looks for what is due, whether or not it hears of anything.
pub(crate) const TICK: Duration = Duration::from_secs(1);
/// How long others' writes gather before they are looked at: they come in bursts.
const GATHER: Duration = Duration::from_millis(100);
const PUBLISH: Duration = Duration::from_millis(200);
/// How long a stop waits for what is under way.
const GRACE: Duration = Duration::from_secs(5);
const RECONCILE: Duration = Duration::from_secs(3_600);
const COUNT: Duration = Duration::from_secs(3_600);

impl Broker {
    /// Does what is due, once: approved requests, rotations, sagas, debts, expired keys, dead values, uncertain attempts, overdue
    /// requests. Returns how much there was. What can't be done keeps nothing else from being done: a debt is paid even
    /// when no mint can begin.
    ///
    /// # Errors
    /// The first trouble that there was, when the ledger can't be read or written.
    pub async fn tick(self: &Arc<Self>) -> Result<usize> {
        // For the log, where nobody asks.
        let _ = self.files.second_place();
        self.ledger.catch_up().await?;
        let doubts = self.doubts_clock().is_some();
        let leading = self.leading().await?;
        let mut parts = vec![self.tell_listening().await.map(|()| 0), self.start_approved().await];
        if leading.is_some() && !doubts {
            parts.push(self.rotate_due().await);
        }
        parts.push(self.run_due_sagas().await);
        parts.push(self.record_late().await);
        if let Some(leading) = leading {
            parts.push(self.renew_due().await);
            parts.push(self.pay_debts().await);
            parts.push(self.clear_places().await);
            parts.push(self.sweep(&leading).await);
            if !doubts {
                parts.push(self.end_expired().await);
                parts.push(self.expire().await);
            }
        } else if self.refuse_if_forked().is_err() {
            // It may do nothing else, and paying a debt twice hurts nobody.
            parts.push(self.pay_debts().await);
        }
        parts.into_iter().sum()
    }

    async fn run_due_sagas(self: &Arc<Self>) -> Result<usize> {
        let due = self.ledger.read(|tx| tx.sagas_due(AT_A_TIME)).await?;
        let mut running = tokio::task::JoinSet::new();
        let count = if self.ledger.is_shared() {
            if due.is_empty() || self.refuse_if_forked().is_err() {
                return Ok(0);
            }
            // Others look at the same moment, and see the same ones.
            let (owner, lease) = (self.owner.clone(), self.lease());
            let claimed = self.ledger.write(move |tx| tx.claim_due_sagas(&owner, lease, AT_A_TIME)).await?;
            let count = claimed.len();
            for saga in claimed {
                let broker = Arc::clone(self);
                running.spawn(async move { broker.run_claimed(saga).await });
            }
            count
        } else {
            let count = due.len();
            for saga in due {
                let broker = Arc::clone(self);
                running.spawn(async move { broker.run_saga(saga).await });
            }
            count
        };
        while running.join_next().await.is_some() {}
        Ok(count)
    }

    /// Ticks, publishes the audit log and reconciles until told to stop. Each goes at its own pace: a provider that does
    /// not answer holds up no checkpoint.
    pub async fn run_schedule(self: Arc<Self>, stop: watch::Receiver<bool>) {
        tokio::join!(
            self.run_ticks(stop.clone()),
            self.run_reconciles(stop.clone()),
            self.run_counts(stop.clone()),
            self.run_renewals(stop.clone()),
            self.run_publishing(stop)
        );
    }

    async fn run_ticks(self: &Arc<Self>, mut stop: watch::Receiver<bool>) {
        let others = self.ledger.listen();
        let mut tick = tokio::time::interval(self.tick);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = told(&mut stop) => return,
                _ = tick.tick() => {}
                () = others.wrote() => tokio::time::sleep(GATHER).await,
            }
            let ticking = self.tick();
            tokio::pin!(ticking);
            tokio::select! {
                ticked = &mut ticking => report("tick", ticked),
                () = told(&mut stop) => {
                    // What is with a provider just now comes to its end if it can; if not, the next broker picks it up.
                    let _ = tokio::time::timeout(GRACE, ticking).await;
                    return;
                }
            }
        }
    }

    async fn run_reconciles(self: &Arc<Self>, mut stop: watch::Receiver<bool>) {
        let mut reconcile = tokio::time::interval(RECONCILE);
        loop {
            tokio::select! {
                () = told(&mut stop) => return,
                _ = reconcile.tick() => {}
            }
            tokio::select! {
                () = told(&mut stop) => return,
                reconciled = async {
                    if self.leading().await?.is_some() { self.reconcile().await.map(drop) } else { Ok(()) }
                } => report("reconcile", reconciled),
            }
        }
    }

    /// Prolongs what others wait for. On a file there is nobody else.
    async fn run_renewals(&self, mut stop: watch::Receiver<bool>) {
        if !self.ledger.is_shared() {
            return;
        }
        let mut renew = tokio::time::interval(RENEW);
        renew.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = told(&mut stop) => return,
                _ = renew.tick() => report("renew", self.renew().await),
            }
        }
    }

    /// What keys used is counted also while nobody asks, so that spending has a history.
    async fn run_counts(&self, mut stop: watch::Receiver<bool>) {
        let mut count = tokio::time::interval(COUNT);
        loop {
            tokio::select! {
                () = told(&mut stop) => return,
                _ = count.tick() => {}
            }
            tokio::select! {
                () = told(&mut stop) => return,
                counted = async {
                    if self.leading().await?.is_some() { self.count_usage().await.map(drop) } else { Ok(()) }
                } => report("count", counted),
            }
        }
    }

    async fn run_publishing(&self, mut stop: watch::Receiver<bool>) {
        let mut commits = self.ledger.commits();
        loop {
            tokio::select! {
                () = told(&mut stop) => break,
                // It may say that this ledger is behind.
                () = self.files.second_answered() => report("audit", self.publish_audit().await),
                changed = commits.changed() => {
                    if changed.is_err() {
                        break;
                    }
                    // Commits come in bursts; one head covers them all.
                    tokio::time::sleep(PUBLISH).await;
                    report("audit", self.publish_audit().await);
                }
            }
        }
        report("audit", self.publish_audit().await);
    }
}

/// Returns once a stop was asked for. That may have been before anybody listened, so it is looked at, and not only waited for.
pub async fn told(stop: &mut watch::Receiver<bool>) {
    // Whoever could have asked for it is gone: the same.
    let _ = stop.wait_for(|stop| *stop).await;
}

fn report<T>(what: &str, result: Result<T>) {
    if let Err(error) = result {
        tracing::warn!(what, message = %error.message, "the schedule could not do its work; it tries again");
    }
}
