//! The sagas, mint and rotation: their runner, and what each phase does.
//!
//! The runner claims the saga, does the step of its phase, and writes the next phase under the fence. Whatever it
//! holds in memory belongs to one claim: a step loads what it needs from the ledger anew (R2, R4).

mod create;
mod drain;
mod keep;
mod late;
mod look;
mod place;
mod prove;
mod reinstate;
mod switch;
mod tell;
mod undo;

pub(crate) use create::sealed_owner;
pub(crate) use drain::class_of;

use std::sync::Arc;

use jiff::Timestamp;
use keywright_core::id::SagaId;
use keywright_core::key::{Attempt, Key, KeyState, Placement, PlacementState, VersionState};
use keywright_core::plan::{Ending, Plan};
use keywright_core::saga::{Phase, SagaKind};
use keywright_core::text::Untrusted;
use keywright_ledger::{LedgerError, Request, Saga, Tx};

use crate::broker::Broker;
use crate::clock::back_off;
use crate::error::{BrokerError, Code};
use crate::record::of_phase;

/// How often a phase before `undo` is tried before the saga gives up and undoes. Undo itself never gives up.
const TRIES: u64 = 6;
/// How often a phase is tried that waits for somebody's approval in a store: about a day.
const TRIES_OF_PEOPLE: u64 = 290;
/// The longest pause between tries of a step, in seconds.
const LONGEST_PAUSE: u64 = 300;
/// How many attempts a saga makes when replies keep getting lost.
const ATTEMPTS: u64 = 5;

/// What a step came to.
pub(crate) enum Step {
    /// The next phase is written; go on.
    Went(Saga),
    /// Not now; try the same phase again later.
    Later(BrokerError),
    /// Somebody else has to do something first; look again later.
    Waits(BrokerError),
    /// Nothing is wrong, and nothing can be done before that.
    Rests(Timestamp, String),
    /// It can't be done; take back what was done.
    GiveUp(BrokerError),
    /// Somebody else works on it, or the ledger can't be written. Leave it to the next claim.
    Lost(BrokerError),
}

/// What every step needs to know. Loaded anew for each step.
#[derive(Clone)]
pub(crate) struct Work {
    pub(crate) saga: Saga,
    pub(crate) request: Request,
    pub(crate) attempt: Attempt,
    pub(crate) key: Key,
    /// A value of the successor may lie in a store already, and the value before it is gone from there: forward is the only
    /// way.
    pub(crate) must_go_on: bool,
    /// The successor was put in force, and somebody ended it at the provider since.
    has_lost_successor: bool,
    /// Somebody whose word counts said that what was replaced may end.
    has_word: bool,
    /// Why somebody wants it to end.
    ends: Option<String>,
}

impl Work {
    pub(crate) fn plan(&self) -> &Plan {
        &self.request.plan
    }

    /// Whether what was replaced ends also where its successor is gone: its key ends, it leaked, or somebody said so.
    fn ends_anyway(&self) -> bool {
        self.key.state != KeyState::Active || self.plan().ending == Some(Ending::Leaked) || self.has_word
    }

    /// What others may change while a step is under way, and the step has to know.
    fn seen(&self) -> (bool, bool) {
        (self.has_lost_successor, self.has_word)
    }
}

impl Broker {
    /// Works on a saga until it is done, has to wait, or belongs to somebody else.
    pub(crate) async fn run_saga(self: &Arc<Self>, id: SagaId) {
        if let Err(error) = self.refuse_if_forked() {
            return trouble(id, &error);
        }
        if self.is_at_work(id) {
            // Its lease may have run out, where the machine was asleep meanwhile; whoever works on it finds out.
            return;
        }
        let (owner, lease) = (self.owner.clone(), self.lease());
        match self.ledger.write(move |tx| tx.claim_saga(id, &owner, lease)).await {
            Ok(Some(saga)) => self.run_claimed(saga).await,
            Ok(None) => {}
            Err(error) => trouble(id, &BrokerError::from(error)),
        }
    }

    /// Works on a saga that was claimed just now.
    pub(crate) async fn run_claimed(self: &Arc<Self>, mut saga: Saga) {
        let _at_work = self.at_work(&saga);
        while !saga.phase.is_final() {
            let mut must_go_on = saga.phase.has_switched();
            let mut seen = None;
            let step = match self.load(&saga).await {
                Ok(work) => {
                    must_go_on = work.must_go_on;
                    seen = Some(work.seen());
                    match over(&work) {
                        Some(why) => Step::GiveUp(why),
                        None => self.step(&work).await,
                    }
                }
                Err(error) => Step::Lost(error),
            };
            match step {
                Step::Went(next) => saga = next,
                Step::Lost(error) if error.edited && saga.phase != Phase::Undo && !must_go_on => {
                    match self.give_up(&saga, &error).await {
                        Ok(next) => saga = next,
                        Err(error) => return self.let_go(&saga, &error).await,
                    }
                }
                Step::Lost(error) => return self.let_go(&saga, &error).await,
                // Whatever the step made of it: with no ledger nothing was found out, so nothing is given up for it.
                Step::Later(error) | Step::Waits(error) | Step::GiveUp(error) if error.unreached => {
                    return self.let_go(&saga, &error).await;
                }
                Step::Rests(until, why) => return self.rest(&saga, (until, &why), seen).await,
                Step::Later(error) | Step::Waits(error) | Step::GiveUp(error) if must_go_on => {
                    return self.postpone(&saga, &error).await;
                }
                Step::Later(error) if saga.phase == Phase::Undo || saga.tries < TRIES => {
                    return self.postpone(&saga, &error).await;
                }
                Step::Waits(error) if saga.tries < TRIES_OF_PEOPLE => {
                    return self.postpone(&saga, &error).await;
                }
                Step::Later(error) | Step::Waits(error) | Step::GiveUp(error) => {
                    match self.give_up(&saga, &error).await {
                        Ok(next) => saga = next,
                        Err(error) => return self.let_go(&saga, &error).await,
                    }
                }
            }
        }
    }

    async fn step(&self, work: &Work) -> Step {
        if work.has_lost_successor && work.saga.phase.keeps_old() && !work.ends_anyway() {
            return self.reinstate(work).await;
        }
        match work.saga.phase {
            Phase::Intent => self.create(work).await,
            Phase::Sealed => self.compare(work).await,
            Phase::Compared => self.probe(work).await,
            Phase::Probed => self.place(work).await,
            Phase::Placed => self.verify(work).await,
            Phase::Verified => match work.saga.kind {
                SagaKind::Mint => self.activate(work).await,
                SagaKind::Rotate => self.switch(work).await,
            },
            Phase::Switched => self.drain(work).await,
            Phase::Drained => self.disable(work).await,
            Phase::Disabled => self.rest_disabled(work).await,
            Phase::Ending => self.end(work).await,
            Phase::Undo => self.undo(work).await,
            Phase::Active | Phase::Undone | Phase::Rotated => Step::Went(work.saga.clone()),
        }
    }

    async fn load(&self, saga: &Saga) -> Result<Work, BrokerError> {
        let saga = saga.clone();
        let work = self.ledger.read(move |tx| {
            let (request, attempt) = (tx.request(saga.request)?, tx.attempt(saga.attempt)?);
            let key = tx.key(saga.key)?;
            // Each row is as it was written; together they must tell of one mint, or one rotation.
            let of_key = match saga.kind {
                SagaKind::Mint => request.plan.rotates.is_none() && key.request == request.id,
                SagaKind::Rotate => request.plan.rotates == Some(key.id),
            };
            let of_one = attempt.key == saga.key && of_key && request.digest == saga.digest;
            if !of_one {
                let name = Untrusted::capped(&saga.id.to_string(), 80);
                return Err(LedgerError::Edited { what: "saga", name });
            }
            let version = tx.version_of(attempt.id)?;
            let lives = key.state == KeyState::Active
                && version.as_ref().is_some_and(|version| version.state != VersionState::Revoked);
            let written = match &version {
                Some(version) if saga.kind == SagaKind::Rotate && lives => {
                    let lay = |p: &Placement| p.state.may_lie() || p.state == PlacementState::Replaced;
                    tx.placements(key.id)?.iter().any(|p| p.version == version.id && lay(p))
                }
                _ => false,
            };
            let must_go_on = written || saga.phase.has_switched();
            let has_lost_successor = saga.phase.has_switched() && key.state == KeyState::Active && !lives;
            let has_word = has_word(tx, &saga)?;
            let ends = tx.saga(saga.id)?.ends;
            Ok::<_, LedgerError>(Work {
                saga,
                request,
                attempt,
                key,
                must_go_on,
                has_lost_successor,
                has_word,
                ends,
            })
        });
        Ok(work.await?)
    }

    async fn postpone(&self, saga: &Saga, error: &BrokerError) {
        let until = error.not_before(back_off(saga.tries, LONGEST_PAUSE, self.now()), self.now());
        let asked = error.retry_after.map(|span| span.after(self.now()));
        let (freed, message) = (saga.clone(), error.message.clone());
        tracing::warn!(saga = %saga.id, phase = %saga.phase, %message, "a step has to wait");
        let written = self.ledger.write(move |tx| tx.postpone_saga(&freed, until, asked, &message)).await;
        if let Err(error) = written {
            self.let_go(saga, &error.into()).await;
        }
    }

    /// Leaves a saga alone until a moment, for a reason that is no trouble.
    /// Whoever changed what the step knew could not wake it, because it was at work: then it is looked at again at once.
    async fn rest(&self, saga: &Saga, (until, why): (Timestamp, &str), seen: Option<(bool, bool)>) {
        let (freed, why) = (saga.clone(), why.to_owned());
        let written = self.ledger.write(move |tx| {
            let is_gone = tx.version_of(freed.attempt)?.is_none_or(|v| v.state == VersionState::Revoked);
            let is_lost =
                freed.phase.has_switched() && tx.key(freed.key)?.state == KeyState::Active && is_gone;
            let is_news = seen.is_some_and(|seen| seen != (is_lost, has_word(tx, &freed).unwrap_or(seen.1)));
            let until = if is_news { tx.now().min(until) } else { until };
            tx.postpone_saga(&freed, until, None, &why)
        });
        let written = written.await;
        if let Err(error) = written {
            self.let_go(saga, &error.into()).await;
        }
    }

    /// A step came to nothing because the ledger could not be read or written. What it knew is dropped, and the saga is free
    /// for the next claim in a moment; where that can't be written either, once the lease has run out.
    async fn let_go(&self, saga: &Saga, error: &BrokerError) {
        trouble(saga.id, error);
        if error.edited {
            return;
        }
        let until = back_off(saga.tries, LONGEST_PAUSE, self.now());
        let (freed, message) = (saga.clone(), error.message.clone());
        let written = self.ledger.write(move |tx| tx.let_go_saga(&freed, until, &message)).await;
        if let Err(error) = written {
            let error: LedgerError = error;
            tracing::warn!(saga = %saga.id, %error, "it stays claimed until its lease has run out");
        }
    }

    /// Writes the next phase, with a note in the log.
    pub(crate) async fn reach(&self, work: &Work, next: Phase) -> Step {
        let (request, attempt) = (work.request.clone(), work.attempt.id);
        self.advance(work, next, move |tx| tx.audit(of_phase(tx.now(), &request, attempt, next)).map(drop))
            .await
    }

    /// Writes the next phase, and whatever `also` writes, in one transaction under the fence.
    pub(crate) async fn advance<F>(&self, work: &Work, next: Phase, also: F) -> Step
    where
        F: FnOnce(&keywright_ledger::Tx<'_>) -> Result<(), LedgerError> + Send + 'static,
    {
        let (saga, lease) = (work.saga.clone(), self.lease());
        let written = self.ledger.write(move |tx| {
            tx.still_ours(&saga)?;
            also(tx)?;
            tx.advance_saga(&saga, next, saga.attempt, lease, saga.trouble.as_deref())
        });
        match written.await {
            Ok(saga) => Step::Went(saga),
            Err(error) => Step::Lost(error.into()),
        }
    }
}

/// Whether somebody said that what a rotation replaced may end, whatever is known of its use.
fn has_word(tx: &Tx<'_>, saga: &Saga) -> Result<bool, LedgerError> {
    Ok(tx.drains(saga.key)?.iter().any(|drain| drain.saga == saga.id && drain.word.is_some()))
}

/// Why a saga has nothing to do any more: somebody ended it; or, of a rotation that has not put its successor in force, its key
/// ended.
fn over(work: &Work) -> Option<BrokerError> {
    if let Some(why) = work.ends.as_ref().filter(|_| !work.must_go_on && work.saga.phase != Phase::Undo) {
        return Some(BrokerError::new(Code::Conflict, why.clone()));
    }
    let under_way = work.saga.kind == SagaKind::Rotate
        && !work.saga.phase.has_switched()
        && work.saga.phase != Phase::Undo;
    (under_way && work.key.state != KeyState::Active).then(|| {
        let message = format!("the key is {} since the rotation began", work.key.state);
        BrokerError::new(Code::Conflict, message)
    })
}

/// A transient failure waits, any other gives up.
pub(crate) fn later_or_never(error: BrokerError, transient: bool) -> Step {
    if transient { Step::Later(error) } else { Step::GiveUp(error) }
}

fn trouble(saga: SagaId, error: &BrokerError) {
    tracing::warn!(%saga, message = %error.message, "left to the next claim");
}
