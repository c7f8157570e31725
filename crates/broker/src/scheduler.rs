//! What has to happen without anybody asking. Rows and ticks: nothing here is lost when the process dies, because
//! nothing here is remembered outside the ledger.

use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt as _;
use futures::future::BoxFuture;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::Interval;

use crate::broker::Broker;
use crate::error::Result;
use crate::lanes::Lanes;
use crate::shared::{Leading, RENEW};

/// How many sagas are worked on at the same time.
pub(crate) const AT_A_TIME: u32 = 32;
/// How often a broker looks for what is due, whether or not it hears of anything.
pub(crate) const TICK: Duration = Duration::from_secs(1);
/// How long others' writes gather before they are looked at: they come in bursts.
const GATHER: Duration = Duration::from_millis(100);
/// How long a broker's own sagas gather that end, before there is a look for more: they end in bursts, too.
const GATHER_OWN: Duration = Duration::from_millis(20);
const PUBLISH: Duration = Duration::from_millis(200);
/// How long a stop waits for what is under way.
const GRACE: Duration = Duration::from_secs(5);
const RECONCILE: Duration = Duration::from_secs(3_600);
const COUNT: Duration = Duration::from_secs(3_600);

/// What there was to begin.
struct BegunWork {
    count: usize,
    /// There is likely more than there was room for.
    is_more: bool,
}

impl Broker {
    /// Does what is due, once: approved requests, rotations, sagas, debts, expired keys, dead values, uncertain attempts, overdue
    /// requests. Returns how much there was. What can't be done keeps nothing else from being done: a debt is paid even
    /// when no mint can begin.
    ///
    /// # Errors
    /// The first trouble that there was, when the ledger can't be read or written.
    pub async fn tick(self: &Arc<Self>) -> Result<usize> {
        self.ledger.catch_up().await?;
        let leading = self.leading().await?;
        let mut sagas = JoinSet::new();
        let begun = self.begin_due(leading.as_ref(), &mut sagas).await;
        while sagas.join_next().await.is_some() {}
        let kept = self.keep_up(leading.as_ref()).await;
        Ok(begun?.count + kept?)
    }

    /// Begins what is due, and has the sagas that are due worked on among `sagas`, as many as there is room for.
    async fn begin_due(
        self: &Arc<Self>,
        leading: Option<&Leading>,
        sagas: &mut JoinSet<()>,
    ) -> Result<BegunWork> {
        let mut parts = vec![self.tell_listening().await.map(|()| 0), self.start_approved().await];
        let mut is_more = false;
        if leading.is_some() && self.doubts_clock().is_none() {
            let rotations = self.rotate_due().await;
            is_more = rotations.as_ref().is_ok_and(|begun| *begun > 0);
            parts.push(rotations);
        }
        let room = self.at_a_time.saturating_sub(u32::try_from(sagas.len()).unwrap_or(self.at_a_time));
        let taken = self.take_due_sagas(room, sagas).await;
        is_more |= taken.as_ref().is_ok_and(|taken| u32::try_from(*taken).is_ok_and(|taken| taken >= room));
        parts.push(taken);
        let count = parts.into_iter().sum::<Result<usize>>()?;
        Ok(BegunWork { count, is_more })
    }

    /// Works on sagas that are due, `room` of them at most. They go on by themselves.
    async fn take_due_sagas(self: &Arc<Self>, room: u32, sagas: &mut JoinSet<()>) -> Result<usize> {
        let due = self.ledger.read(move |tx| tx.sagas_due(room)).await?;
        if due.is_empty() || self.refuse_if_forked().is_err() {
            return Ok(0);
        }
        if !self.ledger.is_shared() {
            // The lease of one that is worked on may have run out, where the machine was asleep meanwhile.
            let free: Vec<_> = due.into_iter().filter(|saga| !self.is_at_work(*saga)).collect();
            let count = free.len();
            for saga in free {
                let broker = Arc::clone(self);
                sagas.spawn(async move { broker.run_saga(saga).await });
            }
            return Ok(count);
        }
        // Others look at the same moment, and see the same ones.
        let (owner, lease) = (self.owner.clone(), self.lease());
        // A lease of its own may have run out, where the machine was asleep meanwhile.
        let own = self.all_at_work();
        let claimed = self.ledger.write(move |tx| tx.claim_due_sagas(&owner, lease, room, &own)).await?;
        let count = claimed.len();
        for saga in claimed {
            let broker = Arc::clone(self);
            sagas.spawn(async move { broker.run_claimed(saga).await });
        }
        Ok(count)
    }

    /// Everything that is due and no saga, one after the other.
    async fn keep_up(self: &Arc<Self>, leading: Option<&Leading>) -> Result<usize> {
        // For the log, where nobody asks.
        let _ = self.files.second_place();
        let mut parts = vec![self.record_late().await];
        if let Some(leading) = leading {
            parts.push(self.renew_due().await);
            if self.doubts_clock().is_none() {
                parts.push(self.end_expired().await);
            }
            parts.push(self.sweep(leading).await);
            parts.push(self.pay_debts().await);
            parts.push(self.clear_places().await);
            if self.doubts_clock().is_none() {
                parts.push(self.expire().await);
            }
        } else if self.pays_at_least() {
            parts.push(self.pay_debts().await);
        }
        parts.into_iter().sum()
    }

    /// Whether this broker may do nothing else: paying a debt twice hurts nobody.
    fn pays_at_least(&self) -> bool {
        self.refuse_if_forked().is_err()
    }

    /// Does what is due, publishes the audit log and reconciles until told to stop. Each goes at its own pace: a provider that does
    /// not answer holds up no checkpoint.
    pub async fn run_schedule(self: Arc<Self>, stop: watch::Receiver<bool>) {
        tokio::join!(
            self.run_work(stop.clone()),
            self.run_upkeep(stop.clone()),
            self.run_debts(stop.clone()),
            self.run_places(stop.clone()),
            // Neither waits for the other, nor for anything above: each asks providers, which may not answer.
            self.each_tick("sweep", stop.clone(), |broker, leading| {
                async move { broker.sweep(&leading).await }.boxed()
            }),
            self.each_tick("parents", stop.clone(), |broker, _| {
                async move { broker.renew_due().await }.boxed()
            }),
            self.run_reconciles(stop.clone()),
            self.run_counts(stop.clone()),
            self.run_renewals(stop.clone()),
            self.run_publishing(stop.clone()),
            self.learn_secrets(stop),
        );
    }

    /// Gathers what the secrets of this home are recognised by. With many keys it takes seconds, which nobody's first call has to
    /// wait for.
    async fn learn_secrets(&self, mut stop: watch::Receiver<bool>) {
        tokio::select! {
            () = told(&mut stop) => {}
            known = self.known() => report("mask", known),
        }
    }

    /// Begins what is due. A saga that takes long, because its provider does, holds up no other.
    async fn run_work(self: &Arc<Self>, mut stop: watch::Receiver<bool>) {
        let others = self.ledger.listen();
        let mut tick = self.ticks();
        let (mut sagas, mut is_more) = (JoinSet::new(), false);
        loop {
            tokio::select! {
                () = told(&mut stop) => break,
                _ = tick.tick() => {}
                () = others.wrote() => tokio::time::sleep(GATHER).await,
                Some(_) = sagas.join_next(), if is_more => tokio::time::sleep(GATHER_OWN).await,
            }
            while sagas.try_join_next().is_some() {}
            let beginning = async {
                self.ledger.catch_up().await?;
                let leading = self.leads_still();
                self.begin_due(leading.as_ref(), &mut sagas).await
            };
            tokio::select! {
                begun = beginning => {
                    is_more = begun.as_ref().is_ok_and(|begun| begun.is_more);
                    report("work", begun);
                }
                () = told(&mut stop) => break,
            }
        }
        // What is with a provider just now comes to its end if it can; if not, the next broker picks it up.
        let _ = tokio::time::timeout(GRACE, async { while sagas.join_next().await.is_some() {} }).await;
    }

    /// What asks nobody outside: the lead, what is overdue, what could not be recorded.
    async fn run_upkeep(self: &Arc<Self>, mut stop: watch::Receiver<bool>) {
        let mut tick = self.ticks();
        loop {
            tokio::select! {
                () = told(&mut stop) => return,
                _ = tick.tick() => {}
            }
            let keeping = async {
                self.ledger.catch_up().await?;
                // For the log, where nobody asks.
                let _ = self.files.second_place();
                let mut parts = vec![self.record_late().await];
                if self.leading().await?.is_some() && self.doubts_clock().is_none() {
                    parts.push(self.end_expired().await);
                    parts.push(self.expire().await);
                }
                parts.into_iter().sum::<Result<usize>>()
            };
            tokio::pin!(keeping);
            tokio::select! {
                kept = &mut keeping => report("upkeep", kept),
                () = told(&mut stop) => {
                    let _ = tokio::time::timeout(GRACE, keeping).await;
                    return;
                }
            }
        }
    }

    /// Does something each tick, for as long as this broker leads.
    async fn each_tick(
        self: &Arc<Self>,
        what: &str,
        mut stop: watch::Receiver<bool>,
        work: impl Fn(Arc<Self>, Leading) -> BoxFuture<'static, Result<usize>>,
    ) {
        let mut tick = self.ticks();
        loop {
            tokio::select! {
                () = told(&mut stop) => return,
                _ = tick.tick() => {}
            }
            let Some(leading) = self.leads_still() else { continue };
            let mut working = work(Arc::clone(self), leading);
            tokio::select! {
                done = &mut working => report(what, done),
                () = told(&mut stop) => {
                    let _ = tokio::time::timeout(GRACE, working).await;
                    return;
                }
            }
        }
    }

    /// Pays debts, those of each connection in a lane of its own.
    async fn run_debts(self: &Arc<Self>, mut stop: watch::Receiver<bool>) {
        let (mut tick, mut lanes) = (self.ticks(), Lanes::new());
        loop {
            tokio::select! {
                () = told(&mut stop) => break,
                true = lanes.freed() => continue,
                _ = tick.tick() => {}
            }
            if self.leads_still().is_some() || self.pays_at_least() {
                report("debts", self.begin_debts(&mut lanes).await);
            }
        }
        lanes.finish(GRACE).await;
    }

    /// Takes dead values out of stores, those of each store in a lane of its own.
    async fn run_places(self: &Arc<Self>, mut stop: watch::Receiver<bool>) {
        let (mut tick, mut lanes) = (self.ticks(), Lanes::new());
        loop {
            tokio::select! {
                () = told(&mut stop) => break,
                true = lanes.freed() => continue,
                _ = tick.tick() => {}
            }
            if self.leads_still().is_some() {
                report("places", self.begin_clearing(&mut lanes).await);
            }
        }
        lanes.finish(GRACE).await;
    }

    fn ticks(&self) -> Interval {
        let mut tick = tokio::time::interval(self.tick);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        tick
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
