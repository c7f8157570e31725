//! The mint saga: its runner, and what each phase does.
//!
//! The runner claims the saga, does the step of its phase, and writes the next phase under the fence. Whatever it
//! holds in memory belongs to one claim: a step loads what it needs from the ledger anew (R2, R4).

mod create;
mod place;
mod prove;
mod undo;

pub(crate) use create::sealed_owner;

use std::sync::Arc;

use keywright_core::id::SagaId;
use keywright_core::key::Attempt;
use keywright_core::plan::Plan;
use keywright_core::saga::MintPhase;
use keywright_core::span::Span;
use keywright_core::text::Untrusted;
use keywright_ledger::{LedgerError, Request, Saga};

use crate::broker::Broker;
use crate::clock::back_off;
use crate::error::BrokerError;
use crate::record::of_phase;

/// How long a claim lasts. Longer than the longest step: a create, a list to its end, a bounded wait for consistency.
const LEASE: u64 = 300;
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
    /// It can't be done; take back what was done.
    GiveUp(BrokerError),
    /// Somebody else works on it, or the ledger can't be written. Leave it to the next claim.
    Lost(BrokerError),
}

/// What every step needs to know. Loaded anew for each step.
pub(crate) struct Work {
    pub(crate) saga: Saga,
    pub(crate) request: Request,
    pub(crate) attempt: Attempt,
}

impl Work {
    pub(crate) fn plan(&self) -> &Plan {
        &self.request.plan
    }
}

impl Broker {
    /// Works on a saga until it is done, has to wait, or belongs to somebody else.
    pub(crate) async fn run_saga(self: &Arc<Self>, id: SagaId) {
        if let Err(error) = self.refuse_if_forked() {
            return trouble(id, &error);
        }
        let owner = self.owner.clone();
        let claimed = self.ledger.write(move |tx| tx.claim_saga(id, &owner, lease())).await;
        let mut saga = match claimed {
            Ok(Some(saga)) => saga,
            Ok(None) => return,
            Err(error) => return trouble(id, &BrokerError::from(error)),
        };
        while !saga.phase.is_final() {
            let step = match self.load(&saga).await {
                Ok(work) => self.step(&work).await,
                Err(error) => Step::Lost(error),
            };
            match step {
                Step::Went(next) => saga = next,
                Step::Lost(error) if error.edited && saga.phase != MintPhase::Undo => {
                    match self.give_up(&saga, &error).await {
                        Ok(next) => saga = next,
                        Err(error) => return trouble(id, &error),
                    }
                }
                Step::Lost(error) => return trouble(id, &error),
                Step::Later(error) if saga.phase == MintPhase::Undo || saga.tries < TRIES => {
                    return self.postpone(&saga, &error).await;
                }
                Step::Waits(error) if saga.tries < TRIES_OF_PEOPLE => {
                    return self.postpone(&saga, &error).await;
                }
                Step::Later(error) | Step::Waits(error) | Step::GiveUp(error) => {
                    match self.give_up(&saga, &error).await {
                        Ok(next) => saga = next,
                        Err(error) => return trouble(id, &error),
                    }
                }
            }
        }
    }

    async fn step(&self, work: &Work) -> Step {
        match work.saga.phase {
            MintPhase::Intent => self.create(work).await,
            MintPhase::Sealed => self.compare(work).await,
            MintPhase::Compared => self.probe(work).await,
            MintPhase::Probed => self.place(work).await,
            MintPhase::Placed => self.verify(work).await,
            MintPhase::Verified => self.activate(work).await,
            MintPhase::Undo => self.undo(work).await,
            MintPhase::Active | MintPhase::Undone => Step::Went(work.saga.clone()),
        }
    }

    async fn load(&self, saga: &Saga) -> Result<Work, BrokerError> {
        let saga = saga.clone();
        let work = self.ledger.read(move |tx| {
            let (request, attempt) = (tx.request(saga.request)?, tx.attempt(saga.attempt)?);
            // Each row is as it was written; together they must tell of one mint.
            let of_one = attempt.key == saga.key
                && tx.key(saga.key)?.request == request.id
                && request.digest == saga.digest;
            if !of_one {
                let name = Untrusted::capped(&saga.id.to_string(), 80);
                return Err(LedgerError::Edited { what: "saga", name });
            }
            Ok::<_, LedgerError>(Work { saga, request, attempt })
        });
        Ok(work.await?)
    }

    async fn postpone(&self, saga: &Saga, error: &BrokerError) {
        let until = error.not_before(back_off(saga.tries, LONGEST_PAUSE, self.now()), self.now());
        let asked = error.retry_after.map(|span| span.after(self.now()));
        let (saga, message) = (saga.clone(), error.message.clone());
        tracing::warn!(saga = %saga.id, phase = %saga.phase, %message, "a step has to wait");
        let id = saga.id;
        let written = self.ledger.write(move |tx| tx.postpone_saga(&saga, until, asked, &message)).await;
        if let Err(error) = written {
            trouble(id, &BrokerError::from(error));
        }
    }

    /// Writes the next phase, with a note in the log.
    pub(crate) async fn reach(&self, work: &Work, next: MintPhase) -> Step {
        let (request, attempt) = (work.request.clone(), work.attempt.id);
        self.advance(work, next, move |tx| tx.audit(of_phase(tx.now(), &request, attempt, next)).map(drop))
            .await
    }

    /// Writes the next phase, and whatever `also` writes, in one transaction under the fence.
    pub(crate) async fn advance<F>(&self, work: &Work, next: MintPhase, also: F) -> Step
    where
        F: FnOnce(&keywright_ledger::Tx<'_>) -> Result<(), LedgerError> + Send + 'static,
    {
        let saga = work.saga.clone();
        let written = self.ledger.write(move |tx| {
            tx.still_ours(&saga)?;
            also(tx)?;
            tx.advance_saga(&saga, next, saga.attempt, lease(), saga.trouble.as_deref())
        });
        match written.await {
            Ok(saga) => Step::Went(saga),
            Err(error) => Step::Lost(error.into()),
        }
    }
}

pub(crate) fn lease() -> Span {
    Span::from_seconds(LEASE)
}

/// A transient failure waits, any other gives up.
pub(crate) fn later_or_never(error: BrokerError, transient: bool) -> Step {
    if transient { Step::Later(error) } else { Step::GiveUp(error) }
}

fn trouble(saga: SagaId, error: &BrokerError) {
    tracing::warn!(%saga, message = %error.message, "left to the next claim");
}
