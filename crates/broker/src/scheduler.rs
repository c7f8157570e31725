//! What has to happen without anybody asking. Rows and ticks: nothing here is lost when the process dies, because
//! nothing here is remembered outside the ledger.

use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt as _;
use futures::future::BoxFuture;
use tokio::sync::watch;
use tokio::time::Interval;

use keywright_core::name::ConnectionName;
use keywright_ledger::{Besides, LedgerError};

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
        let mut sagas = Lanes::new();
        let mut parts = vec![self.start_approved().await];
        if leading.is_some() {
            parts.push(self.rotate_due().await);
        }
        parts.push(self.begin_due(&mut sagas).await.map(|begun| begun.count));
        while sagas.freed().await {}
        parts.push(self.keep_up(leading.as_ref()).await);
        parts.into_iter().sum()
    }

    /// Has the sagas that are due worked on among `sagas`, as many as there is room for.
    async fn begin_due(self: &Arc<Self>, sagas: &mut Lanes<ConnectionName>) -> Result<BegunWork> {
        self.tell_listening().await?;
        let share = (self.at_a_time - self.at_a_time / 4).max(1);
        let under_way = u32::try_from(sagas.len()).unwrap_or(self.at_a_time);
        let limit = self.at_a_time.saturating_sub(under_way).min(share);
        // Those of one connection don't take all places: where its provider does not answer, the others' go on.
        let crowded = sagas.crowded(usize::try_from(share).unwrap_or(usize::MAX));
        self.held.set_crowded(crowded.clone());
        // There is likely more of what was left out, and room for it with the next that ends.
        let left_out = !crowded.is_empty();
        let count = self.take_due_sagas(limit, crowded, sagas).await?;
        if count > 0 {
            self.held.room.notify_one();
        }
        let is_more = left_out || u32::try_from(count).is_ok_and(|count| count >= limit);
        Ok(BegunWork { count, is_more })
    }

    /// Works on sagas that are due, `limit` of them at most, and none through some connections. They go on by themselves.
    async fn take_due_sagas(
        self: &Arc<Self>,
        limit: u32,
        crowded: Vec<ConnectionName>,
        sagas: &mut Lanes<ConnectionName>,
    ) -> Result<usize> {
        // A lease of its own may have run out, where the machine was asleep meanwhile.
        let besides = Besides { sagas: self.all_at_work(), connections: crowded };
        let look = besides.clone();
        let due = self.ledger.read(move |tx| {
            let due = tx.sagas_due(limit, &look)?;
            tx.connections_of(&due)
        });
        let due = due.await?;
        if due.is_empty() || self.refuse_if_forked().is_err() {
            return Ok(0);
        }
        let count = due.len();
        if !self.ledger.is_shared() {
            for (saga, connection) in due {
                let broker = Arc::clone(self);
                sagas.spawn(connection, async move { broker.run_saga(saga).await });
            }
            return Ok(count);
        }
        // Others look at the same moment, and see the same ones.
        let (owner, lease) = (self.owner.clone(), self.lease());
        let claimed = self.ledger.write(move |tx| {
            let claimed = tx.claim_due_sagas(&owner, lease, limit, &besides)?;
            let ids: Vec<_> = claimed.iter().map(|saga| saga.id).collect();
            Ok::<_, LedgerError>((claimed, tx.connections_of(&ids)?))
        });
        let (claimed, through) = claimed.await?;
        let count = claimed.len();
        for saga in claimed {
            let connection = through.iter().find(|(id, _)| *id == saga.id).map(|(_, name)| name.clone());
            // Nothing refers to a key that is not there; a ledger that was edited might.
            let Some(connection) = connection else { continue };
            let broker = Arc::clone(self);
            sagas.spawn(connection, async move { broker.run_claimed(saga).await });
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
            parts.push(self.seek_due().await);
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
            self.run_notices(stop.clone()),
            // Neither waits for the other, nor for anything above: each asks providers, which may not answer.
            self.run_rotations(stop.clone()),
            self.each_tick("approved requests", stop.clone(), |broker, _| {
                async move {
                    let started = broker.start_approved().await?;
                    if started > 0 {
                        broker.held.begun.notify_one();
                    }
                    Ok(started)
                }
                .boxed()
            }),
            self.each_tick("sweep", stop.clone(), |broker, leading| {
                async move {
                    match leading {
                        Some(leading) => broker.sweep(&leading).await,
                        None => Ok(0),
                    }
                }
                .boxed()
            }),
            self.each_tick("missing", stop.clone(), |broker, leading| {
                async move { if leading.is_some() { broker.seek_due().await } else { Ok(0) } }.boxed()
            }),
            self.each_tick("parents", stop.clone(), |broker, leading| {
                async move { if leading.is_some() { broker.renew_due().await } else { Ok(0) } }.boxed()
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
        let (mut sagas, mut is_more) = (Lanes::new(), false);
        loop {
            tokio::select! {
                () = told(&mut stop) => break,
                _ = tick.tick() => {}
                () = others.wrote() => {
                    tokio::time::sleep(GATHER).await;
                    // It may be a rotation that is due now, or its time.
                    self.held.room.notify_one();
                }
                () = self.held.begun.notified() => {}
                true = sagas.freed(), if is_more => tokio::time::sleep(GATHER_OWN).await,
            }
            sagas.tidy();
            let beginning = async {
                self.ledger.catch_up().await?;
                self.begin_due(&mut sagas).await
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
        sagas.finish(GRACE).await;
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

    /// Begins rotations, whenever there is room for more of them. It asks stores, which may not answer.
    async fn run_rotations(self: &Arc<Self>, mut stop: watch::Receiver<bool>) {
        let mut tick = self.ticks();
        loop {
            tokio::select! {
                () = told(&mut stop) => return,
                _ = tick.tick() => {}
                () = self.held.room.notified() => tokio::time::sleep(GATHER_OWN).await,
            }
            if self.leads_still().is_none() {
                continue;
            }
            tokio::select! {
                begun = self.rotate_due() => {
                    if begun.as_ref().is_ok_and(|begun| *begun > 0) {
                        self.held.begun.notify_one();
                    }
                    report("rotations", begun);
                }
                () = told(&mut stop) => return,
            }
        }
    }

    /// Does something each tick; whether this broker leads is told.
    async fn each_tick(
        self: &Arc<Self>,
        what: &str,
        mut stop: watch::Receiver<bool>,
        work: impl Fn(Arc<Self>, Option<Leading>) -> BoxFuture<'static, Result<usize>>,
    ) {
        let mut tick = self.ticks();
        loop {
            tokio::select! {
                () = told(&mut stop) => return,
                _ = tick.tick() => {}
            }
            let mut working = work(Arc::clone(self), self.leads_still());
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

    /// Tells people what waits for them, each channel in a lane of its own.
    async fn run_notices(self: &Arc<Self>, mut stop: watch::Receiver<bool>) {
        let (mut tick, mut lanes) = (self.ticks(), Lanes::new());
        loop {
            tokio::select! {
                () = told(&mut stop) => break,
                true = lanes.freed() => continue,
                _ = tick.tick() => {}
            }
            if self.leads_still().is_some() {
                report("notices", self.begin_notices(&mut lanes).await);
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
        let mut said = String::new();
        // The same trouble is told once, however often it is met.
        let mut publish = async || {
            let published = self.publish_audit().await;
            let trouble = published.as_ref().err().map(|error| error.message.clone()).unwrap_or_default();
            if trouble != said {
                report("audit", published);
                said = trouble;
            }
        };
        loop {
            tokio::select! {
                () = told(&mut stop) => break,
                // It may say that this ledger is behind.
                () = self.files.second_answered() => publish().await,
                changed = commits.changed() => {
                    if changed.is_err() {
                        break;
                    }
                    // Commits come in bursts; one head covers them all.
                    tokio::time::sleep(PUBLISH).await;
                    publish().await;
                }
            }
        }
        publish().await;
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
