//! Request: decide, record, and start the mint or wait for humans.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use keywright_core::audit::{self, Deed, Stage};
use keywright_core::channel::Matter;
use keywright_core::id::RequestId;
use keywright_core::key::PlacementState;
use keywright_core::name::OperatorName;
use keywright_core::plan::{Digest, Plan, Principal};
use keywright_core::policy::{Counts, Decision, Effect, Policies, Question};
use keywright_core::receipt::{Receipt, Status};
use keywright_core::span::Span;
use keywright_core::standing::{StandingGrant, approved_by};
use keywright_ledger::{AppliedTemplate, LedgerError, NewRequest, Request, Tx};

use crate::approvers::behind;
use crate::ask::{Ask, LONGEST_PROMPT, LONGEST_PURPOSE, ParsedAsk};
use crate::begin::{NewIds, begin};
use crate::broker::Broker;
use crate::clock::entropy;
use crate::error::{BrokerError, Code, Result};
use crate::grants::{standing_for, use_for};
use crate::limits;
use crate::notify::owe_notices;
use crate::receipt::receipt;
use crate::record::{Caller, decided, of_plan};
use crate::repeat::{join, waiting_for_the_same};
use crate::rotate::still_due;

/// What would happen, without it happening.
#[derive(Debug, Clone)]
pub struct DryRun {
    /// The exact effect.
    pub plan: Plan,
    /// Its digest (of this dry run; a real request has another one).
    pub digest: Digest,
    /// What policy says.
    pub decision: Decision,
    /// What would need fewer approvals, or be allowed at all.
    pub alternative: Option<String>,
}

/// How long a request waits for humans.
const WAITS_FOR: u64 = 24 * 3_600;
/// How many requests of one agent may wait at a time.
const PENDING_AT_MOST: u64 = 20;

/// What an ask repeats, word for word.
enum Earlier {
    /// Nothing.
    None,
    /// The request under its idempotency key.
    Same(RequestId),
    /// A request that waits for humans and asks for exactly the same.
    Twin(RequestId),
}

/// Everything known about a request before it is recorded.
pub(crate) struct Considered {
    pub(crate) plan: Plan,
    pub(crate) digest: Digest,
    pub(crate) counts: Counts,
    pub(crate) question: Question,
    pub(crate) policies: Arc<Policies>,
    pub(crate) decision: Decision,
    pub(crate) alternative: Option<String>,
}

impl Considered {
    /// Decides again in the transaction that records it, when other asks of the principal came in between. It only gets
    /// stricter: what a laxer decision would need was not looked at.
    fn decide_again(&mut self, tx: &Tx<'_>) -> std::result::Result<(), LedgerError> {
        let counts = limits::counts(tx, &self.plan.principal)?;
        if counts == self.counts {
            return Ok(());
        }
        let question = self.question.clone().counting(counts);
        let decision = self.policies.decide(&question);
        if decision.effect > self.decision.effect {
            self.alternative = self.policies.nearest(&question);
            self.decision = decision;
        }
        Ok(())
    }
}

impl Broker {
    /// Decides an ask, puts it on record, and mints the key if it may. Waits at most `wait` for the mint.
    ///
    /// The same ask under the same idempotency key answers the same; another ask under it is a conflict.
    ///
    /// # Errors
    /// When the ask is not well formed, exceeds its template, or can't be resolved. A denial is not an error: it is a
    /// receipt with status `denied`.
    pub async fn request(self: &Arc<Self>, caller: &Caller, ask: &Ask, wait: Duration) -> Result<Receipt> {
        let given = ask;
        let mut ask = given.parse()?;
        let paused = self.paused_since(&caller.principal).await?;
        let earlier = match paused {
            None => self.earlier(&caller.principal, &ask).await?,
            Some(_) => Earlier::None,
        };
        if let Earlier::Same(id) = earlier {
            return self.settle(id, wait).await;
        }
        self.refuse_if_forked()?;
        self.brake(&caller.principal).await?;
        ask.purpose = self.kept(&given.purpose, LONGEST_PURPOSE).await?;
        if let Some(text) = &given.prompt {
            ask.prompt = Some(self.kept(text, LONGEST_PROMPT).await?.raw().to_owned());
        }
        if let Earlier::Twin(waiting) = earlier {
            return self.join_waiting(caller, &ask, waiting, wait).await;
        }
        let id = RequestId::generate(self.now(), entropy()?);
        let considered = match paused {
            Some(refused) => Err(refused),
            None => self.consider(id, &caller.principal, &ask).await,
        };
        let considered = match considered {
            Ok(considered) => considered,
            Err(error) => {
                self.record_refusal(caller, &ask, &error).await?;
                return Err(error);
            }
        };
        match self.record(caller, &ask, considered).await {
            Ok(request) if request.id == id => self.settle(request.id, wait).await,
            Ok(waiting) => self.answer_again(caller, &waiting, wait).await,
            // It was paused in this very moment.
            Err(error) if error.code == Code::Denied => {
                self.record_refusal(caller, &ask, &error).await?;
                Err(error)
            }
            // The same ask may have come twice at the same moment; the other one won.
            Err(error) if error.code == Code::Conflict => {
                match self.earlier(&caller.principal, &ask).await? {
                    Earlier::Same(twin) | Earlier::Twin(twin) => self.settle(twin, wait).await,
                    Earlier::None => Err(error),
                }
            }
            Err(error) => Err(error),
        }
    }

    /// What a request would do, without recording or doing it.
    ///
    /// # Errors
    /// As [`Broker::request`].
    pub async fn dry_run(&self, principal: &Principal, ask: &Ask) -> Result<DryRun> {
        let ask = ask.parse()?;
        let id = RequestId::generate(self.now(), entropy()?);
        let considered = self.consider(id, principal, &ask).await?;
        let Considered { plan, digest, decision, alternative, .. } = considered;
        Ok(DryRun { plan, digest, decision, alternative })
    }

    /// How a request stands; waits at most `wait` for it to change while it is under way or pending.
    ///
    /// # Errors
    /// When there is no such request, or it is another agent's.
    pub async fn check(&self, principal: &Principal, request: &str, wait: Duration) -> Result<Receipt> {
        let id = Self::find_request(request)?;
        let found = self.ledger.read(move |tx| tx.request(id)).await?;
        if matches!(principal, Principal::Agent(_)) && found.plan.principal != *principal {
            // Another agent's request looks like none at all.
            return Err(BrokerError::missing(format!("there is no request `{id}`")));
        }
        let first = found.status;
        let waited = self.ledger.read(move |tx| waits_for_people(tx, &found)).await?;
        let done = |request: &Request, waits| {
            request.status != first || request.status.is_settled() || (waits && !waited)
        };
        self.wait_until(id, wait, done).await
    }

    /// Waits for a recorded request to leave `in_progress`, or to wait for people in a store: how long they take nobody
    /// knows.
    pub(crate) async fn settle(self: &Arc<Self>, id: RequestId, wait: Duration) -> Result<Receipt> {
        let saga = self.ledger.read(move |tx| tx.saga_of(id)).await?;
        if let Some(saga) = saga.filter(|saga| !saga.phase.is_final()) {
            // Its own task: it goes on when the asker hangs up.
            let (broker, started) = (Arc::clone(self), tokio::time::Instant::now());
            let running = tokio::spawn(async move { broker.run_saga(saga.id).await });
            // As a rule it ends here, and nothing has to be looked at before.
            let _ = tokio::time::timeout(wait, running).await;
            let left = wait.saturating_sub(started.elapsed());
            return self.wait_until(id, left, is_answer).await;
        }
        self.wait_until(id, wait, is_answer).await
    }

    async fn wait_until(
        &self,
        id: RequestId,
        wait: Duration,
        done: impl Fn(&Request, bool) -> bool,
    ) -> Result<Receipt> {
        let deadline = tokio::time::Instant::now() + wait;
        let mut commits = self.ledger.commits();
        loop {
            commits.mark_unchanged();
            let (request, waits, mut receipt) = self
                .ledger
                .read(move |tx| {
                    let request = tx.request(id)?;
                    let waits = waits_for_people(tx, &request)?;
                    receipt(tx, &request).map(|receipt| (request, waits, receipt))
                })
                .await?;
            if receipt.status == Status::PendingApproval {
                receipt.review_url = self.review_url(id);
            }
            if done(&request, waits) {
                return Ok(receipt);
            }
            if tokio::time::timeout_at(deadline, commits.changed()).await.is_err() {
                return Ok(receipt);
            }
        }
    }

    /// An earlier request that this ask repeats: under the same idempotency key, or still waiting for humans.
    async fn earlier(&self, principal: &Principal, ask: &ParsedAsk) -> Result<Earlier> {
        let (kind, name) = (principal.kind(), principal.name().to_owned());
        let (key, digest) = (ask.idempotency_key.clone(), ask.digest);
        let is_agent = matches!(principal, Principal::Agent(_));
        let found = self.ledger.read(move |tx| {
            if let Some(key) = key {
                match tx.request_by_idempotency_key(kind, &name, &key)? {
                    Some(request)
                        if request.ask_digest == digest || tx.is_alias_of(kind, &name, &key, &digest)? =>
                    {
                        return Ok(Earlier::Same(request.id));
                    }
                    Some(request) => {
                        return Err(BrokerError::new(
                            Code::Conflict,
                            format!("the idempotency key was used for another ask before ({})", request.id),
                        )
                        .hint("use a new key for a new ask"));
                    }
                    None => {}
                }
            }
            if let Some(twin) = tx.pending_twin(kind, &name, &digest)? {
                return Ok(Earlier::Twin(twin.id));
            }
            if is_agent && tx.requests_pending(kind, &name)? >= PENDING_AT_MOST {
                return Err(too_many_waiting());
            }
            Ok(Earlier::None)
        });
        found.await
    }

    /// What went beyond a guard rail is on record too: who was talked into asking for it, and by which prompt.
    async fn record_refusal(&self, caller: &Caller, ask: &ParsedAsk, error: &BrokerError) -> Result<()> {
        if error.code != Code::Denied {
            return Ok(());
        }
        let subject = audit::Subject {
            template: Some(ask.template.to_string()),
            project: Some(ask.project.to_string()),
            environment: Some(ask.environment.to_string()),
            name: Some(ask.name.to_string()),
            ..audit::Subject::default()
        };
        let why = audit::Why::new(ask.purpose.raw(), ask.prompt.as_deref());
        self.note_refused(caller, subject, why, error).await
    }

    /// Puts on record that something was asked for and refused.
    pub(crate) async fn note_refused(
        &self,
        caller: &Caller,
        subject: audit::Subject,
        why: audit::Why,
        error: &BrokerError,
    ) -> Result<()> {
        if let Principal::Agent(agent) = &caller.principal {
            self.refusals.count(agent, self.now());
        }
        let mut record = audit::Record::new(self.now(), Deed::RequestDecide, Stage::Note, caller.who());
        (record.subject, record.why) = (subject, why);
        record.decision = Some(decided(audit::Effect::Deny, 0, 0, &[], std::slice::from_ref(&error.message)));
        self.ledger.write(move |tx| tx.audit(record)).await?;
        Ok(())
    }

    async fn consider(&self, id: RequestId, principal: &Principal, ask: &ParsedAsk) -> Result<Considered> {
        let (plan, applied) = self.derive(id, principal, ask).await?;
        let digest = plan.digest().map_err(|e| BrokerError::new(Code::Internal, e.to_string()))?;
        let counts = self.counts(principal).await?;
        let (_, policies) = self.policies().await?;
        let question = Question::plan(&plan, &applied.resolved, counts);
        let decision = policies.decide(&question);
        if decision.effect != Effect::Deny {
            self.refuse_taken(&plan).await?;
        }
        let alternative = match decision.effect {
            Effect::Allow => None,
            _ => policies.nearest(&question),
        };
        refuse_unmarked(&applied)?;
        Ok(Considered { plan, digest, counts, question, policies, decision, alternative })
    }

    /// One transaction: the request, its decision on record, and, if it may go ahead, everything that the mint needs. Where one
    /// that comes to the same waits already, that is put on record, and it is given instead.
    pub(crate) async fn record(
        &self,
        caller: &Caller,
        ask: &ParsedAsk,
        mut considered: Considered,
    ) -> Result<Request> {
        let ids = NewIds::generate(self.now())?;
        let (marker_key, rails) = (Arc::clone(&self.keyring), Arc::clone(&self.rails));
        let level = self.level_of(&considered.plan);
        let (caller, ask) = (caller.clone(), ask.clone());
        let written = self.ledger.write(move |tx| {
            // It may have been paused since it was looked at.
            rails.pauses().check(&caller.principal)?;
            // Counted where it is added: of asks that come together, as many are let through as the limits allow.
            considered.decide_again(tx)?;
            if let (Principal::Schedule, Some(key)) = (&caller.principal, ask.rotates) {
                still_due(tx, key)?;
            }
            let waits = matches!(considered.decision.effect, Effect::NeedsApprovals(_));
            if let Some(waiting) = if waits { waiting_for_the_same(tx, &considered.plan)? } else { None } {
                return Ok((join(tx, &caller, &ask, waiting)?, None));
            }
            let asked = (level, considered.decision.effect);
            let behind = behind(tx, (&*rails, &*marker_key), &considered.plan)?;
            let (policies, question) = (&considered.policies, &considered.question);
            let may = |operator: &OperatorName| policies.may_approve(question, operator, &behind);
            let (grant, void) = standing_for(tx, (&*rails, &*marker_key), &considered.plan, asked, may)?;
            considered.decision.reasons.extend(void);
            let (mut request, decision) =
                decided_request(tx.now(), &caller, &ask, considered, grant.as_ref());
            let (plan, digest) = (&request.plan, request.digest.to_string());
            let mut record = of_plan(tx.now(), Deed::RequestDecide, Stage::Note, caller.who(), plan, &digest);
            record.why = audit::Why::new(request.plan.purpose.raw(), request.prompt.as_deref());
            record.decision = Some(decision);
            let waiting = tx.requests_pending(plan.principal.kind(), plan.principal.name())?;
            let is_agents = matches!(plan.principal, Principal::Agent(_));
            if is_agents && request.status == Status::PendingApproval && waiting >= PENDING_AT_MOST {
                return Err(too_many_waiting());
            }
            request.entry = tx.audit(record)?;
            let idempotency_key = ask.idempotency_key.as_deref();
            tx.add_request(&NewRequest { request: &request, idempotency_key })?;
            if let Some(grant) = &grant {
                use_for(tx, grant, &request)?;
            }
            match request.status {
                Status::InProgress => begin(tx, &mut request, &ids, &marker_key)?,
                Status::PendingApproval => owe_notices(tx, Matter::Request, &request.id.to_string())?,
                _ => {}
            }
            Ok::<_, BrokerError>((request, grant.map(|grant| grant.id)))
        });
        let (request, grant) = written.await?;
        if let Some(grant) = grant {
            self.rails.uses().used(&grant.to_string(), request.id);
        }
        if request.status == Status::InProgress {
            self.crash_at.reached("mint.reserved");
        }
        Ok(request)
    }
}

/// A request as it was decided, and the decision as the log keeps it.
fn decided_request(
    now: Timestamp,
    caller: &Caller,
    ask: &ParsedAsk,
    considered: Considered,
    grant: Option<&StandingGrant>,
) -> (Request, audit::Decided) {
    let Considered { plan, digest, decision, alternative, counts, .. } = considered;
    let (needed, effect, status) = match decision.effect {
        Effect::Allow => (0, audit::Effect::Allow, Status::InProgress),
        Effect::NeedsApprovals(n) => (n, audit::Effect::NeedsApprovals, Status::PendingApproval),
        Effect::Deny => (0, audit::Effect::Deny, Status::Denied),
    };
    let (status, on_record) = match grant {
        None => (status, decided(effect, needed, 0, &decision.policies, &decision.reasons)),
        Some(grant) => {
            let said = [approved_by(grant.id, &grant.operator)];
            (Status::InProgress, decided(audit::Effect::Allow, needed, 1, &decision.policies, &said))
        }
    };
    let mut reasons = decision.reasons;
    if status == Status::Denied && decision.policies.is_empty() {
        // A limit that is passed makes no policy fit, and no policy says so.
        let Counts { keys_active, requests_last_hour } = counts;
        reasons.push(format!(
            "policies may limit both: {keys_active} of its keys are active, and it asked {requests_last_hour} times in \
             the last hour"
        ));
    }
    reasons.extend(alternative.filter(|_| status == Status::Denied).map(|a| format!("allowed instead: {a}")));
    let request = Request {
        id: plan.request,
        plan,
        digest,
        status,
        approvals_needed: needed,
        reasons: if status == Status::InProgress { Vec::new() } else { reasons },
        policies: decision.policies,
        prompt: ask.prompt.clone(),
        claimed: caller.claimed.clone(),
        key: None,
        entry: 0,
        created_at: now,
        expires_at: Span::from_seconds(WAITS_FOR).after(now),
        ask_digest: ask.digest,
    };
    (request, on_record)
}

fn too_many_waiting() -> BrokerError {
    let message = format!("{PENDING_AT_MOST} requests of this agent wait for approval already");
    BrokerError::new(Code::TryAgain, message).hint("wait until some are decided")
}

/// A template that can make keys and that no operator marked never gets as far as a decision.
pub(crate) fn refuse_unmarked(applied: &AppliedTemplate) -> Result<()> {
    let resolved = &applied.resolved;
    if resolved.escalation.is_empty() || !resolved.template.escalation.is_empty() {
        return Ok(());
    }
    Err(BrokerError::new(
        Code::Denied,
        format!(
            "template `{}` can make keys or change permissions, and no operator marked that",
            resolved.template.id
        ),
    ))
}

/// Whether a request is an answer as it stands: it is settled, or people have to do something first.
fn is_answer(request: &Request, waits: bool) -> bool {
    waits || request.status != Status::InProgress
}

/// Whether what a request is to place waits for somebody's approval in a store.
fn waits_for_people(tx: &Tx<'_>, request: &Request) -> std::result::Result<bool, LedgerError> {
    let under_way = request.status == Status::InProgress;
    let Some(key) = request.key.or(request.plan.rotates).filter(|_| under_way) else { return Ok(false) };
    Ok(tx.placements(key)?.iter().any(|placement| placement.state == PlacementState::Waiting))
}

/// Nobody approved yet.
pub(crate) fn nobody<'a>() -> BTreeSet<&'a keywright_core::name::OperatorName> {
    BTreeSet::new()
}
