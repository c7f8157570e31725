//! Request: decide, record, and start the mint or wait for humans.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use keywright_core::audit::{self, Deed, Stage};
use keywright_core::id::{AttemptId, KeyId, RequestId, SagaId};
use keywright_core::key::{Attempt, AttemptOutcome, Key, KeyState};
use keywright_core::name::AgentName;
use keywright_core::plan::{Digest, Plan, Principal};
use keywright_core::policy::{Decision, Effect, Question};
use keywright_core::receipt::{Receipt, Status};
use keywright_core::span::Span;
use keywright_ledger::{AppliedTemplate, LedgerError, NewRequest, NewSaga, Request, Tx};

use crate::ask::{Ask, LONGEST_PROMPT, LONGEST_PURPOSE, ParsedAsk};
use crate::broker::Broker;
use crate::clock::entropy;
use crate::error::{BrokerError, Code, Result};
use crate::receipt::receipt;
use crate::record::{Caller, decided, of_plan, of_request};

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

/// How many asks of one agent are taken within an hour, refused ones included. Policy sets the limit that matters.
const ASKS_AN_HOUR: u64 = 1_000;

/// What an ask repeats.
enum Earlier {
    /// Nothing.
    None,
    /// The request under its idempotency key.
    Same(RequestId),
    /// A request that waits for humans and asks for exactly the same.
    Twin(RequestId),
}

/// Everything known about a request before it is recorded.
struct Considered {
    plan: Plan,
    digest: Digest,
    decision: Decision,
    alternative: Option<String>,
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
        if let Some(earlier) = self.earlier(&caller.principal, &ask).await? {
            return self.settle(earlier, wait).await;
        }
        self.refuse_if_forked()?;
        self.brake(&caller.principal).await?;
        ask.purpose = self.kept(&given.purpose, LONGEST_PURPOSE).await?;
        if let Some(text) = &given.prompt {
            ask.prompt = Some(self.kept(text, LONGEST_PROMPT).await?.raw().to_owned());
        }
        let id = RequestId::generate(self.now(), entropy()?);
        let considered = match self.consider(id, &caller.principal, &ask).await {
            Ok(considered) => considered,
            Err(error) => {
                self.record_refusal(caller, &ask, &error).await?;
                return Err(error);
            }
        };
        match self.record(caller, &ask, considered).await {
            Ok(request) => self.settle(request.id, wait).await,
            // The same ask may have come twice at the same moment; the other one won.
            Err(error) if error.code == Code::Conflict => {
                match self.earlier(&caller.principal, &ask).await? {
                    Some(twin) => self.settle(twin, wait).await,
                    None => Err(error),
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
        let Considered { plan, digest, decision, alternative } = self.consider(id, principal, &ask).await?;
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
        self.wait_until(id, wait, |request| request.status != first || request.status.is_settled()).await
    }

    /// Waits for a recorded request to leave `in_progress`.
    pub(crate) async fn settle(self: &Arc<Self>, id: RequestId, wait: Duration) -> Result<Receipt> {
        let saga = self.ledger.read(move |tx| tx.saga_of(id)).await?;
        if let Some(saga) = saga.filter(|saga| !saga.phase.is_final()) {
            // Its own task: it goes on when the asker hangs up.
            let (broker, started) = (Arc::clone(self), tokio::time::Instant::now());
            let running = tokio::spawn(async move { broker.run_saga(saga.id).await });
            // As a rule it ends here, and nothing has to be looked at before.
            let _ = tokio::time::timeout(wait, running).await;
            let left = wait.saturating_sub(started.elapsed());
            return self.wait_until(id, left, |request| request.status != Status::InProgress).await;
        }
        self.wait_until(id, wait, |request| request.status != Status::InProgress).await
    }

    async fn wait_until(
        &self,
        id: RequestId,
        wait: Duration,
        done: impl Fn(&Request) -> bool,
    ) -> Result<Receipt> {
        let deadline = tokio::time::Instant::now() + wait;
        let mut commits = self.ledger.commits();
        loop {
            commits.mark_unchanged();
            let (request, receipt) = self
                .ledger
                .read(move |tx| {
                    let request = tx.request(id)?;
                    receipt(tx, &request).map(|receipt| (request, receipt))
                })
                .await?;
            if done(&request) {
                return Ok(receipt);
            }
            if tokio::time::timeout_at(deadline, commits.changed()).await.is_err() {
                return Ok(receipt);
            }
        }
    }

    /// An earlier request that this ask repeats: under the same idempotency key, or still waiting for humans.
    async fn earlier(&self, principal: &Principal, ask: &ParsedAsk) -> Result<Option<RequestId>> {
        let (kind, name) = (principal.kind(), principal.name().to_owned());
        let (key, digest) = (ask.idempotency_key.clone(), ask.digest);
        let is_agent = matches!(principal, Principal::Agent(_));
        let alias = key.clone();
        let found = self.ledger.read(move |tx| {
            if let Some(key) = key {
                match tx.request_by_idempotency_key(kind, &name, &key)? {
                    Some(request) if request.ask_digest == digest => return Ok(Earlier::Same(request.id)),
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
        match (found.await?, alias) {
            (Earlier::None, _) => Ok(None),
            (Earlier::Same(id), _) | (Earlier::Twin(id), None) => Ok(Some(id)),
            // From now on this key means the request that waits already.
            (Earlier::Twin(id), Some(key)) => {
                let name = principal.name().to_owned();
                self.ledger.write(move |tx| tx.add_alias(kind, &name, &key, id)).await?;
                Ok(Some(id))
            }
        }
    }

    /// Nobody fills the ledger by asking: beyond a number that no honest agent reaches, asks are not even recorded.
    async fn brake(&self, principal: &Principal) -> Result<()> {
        let Principal::Agent(agent) = principal else { return Ok(()) };
        if self.counts(principal).await?.requests_last_hour + self.refusals.of(agent, self.now())
            < ASKS_AN_HOUR
        {
            return Ok(());
        }
        let message = format!("this agent has asked {ASKS_AN_HOUR} times within an hour");
        Err(BrokerError::new(Code::TryAgain, message)
            .hint("ask again in an hour, and find out why it asks so often"))
    }

    /// What went beyond a guard rail is on record too: who was talked into asking for it, and by which prompt.
    async fn record_refusal(&self, caller: &Caller, ask: &ParsedAsk, error: &BrokerError) -> Result<()> {
        if error.code != Code::Denied {
            return Ok(());
        }
        if let Principal::Agent(agent) = &caller.principal {
            self.refusals.count(agent, self.now());
        }
        let mut record = audit::Record::new(self.now(), Deed::RequestDecide, Stage::Note, caller.who());
        record.subject = audit::Subject {
            template: Some(ask.template.to_string()),
            project: Some(ask.project.to_string()),
            environment: Some(ask.environment.to_string()),
            name: Some(ask.name.to_string()),
            ..audit::Subject::default()
        };
        record.why = audit::Why::new(ask.purpose.raw(), ask.prompt.as_deref());
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
        Ok(Considered { plan, digest, decision, alternative })
    }

    /// One transaction: the request, its decision on record, and, if it may go ahead, everything that the mint needs.
    async fn record(&self, caller: &Caller, ask: &ParsedAsk, considered: Considered) -> Result<Request> {
        let Considered { plan, digest, decision, alternative } = considered;
        let (needed, effect, status) = match decision.effect {
            Effect::Allow => (0, audit::Effect::Allow, Status::InProgress),
            Effect::NeedsApprovals(n) => (n, audit::Effect::NeedsApprovals, Status::PendingApproval),
            Effect::Deny => (0, audit::Effect::Deny, Status::Denied),
        };
        let mut reasons = decision.reasons.clone();
        reasons.extend(
            alternative.filter(|_| status == Status::Denied).map(|a| format!("allowed instead: {a}")),
        );
        let now = self.now();
        let mut request = Request {
            id: plan.request,
            plan,
            digest,
            status,
            approvals_needed: needed,
            reasons: if status == Status::InProgress { Vec::new() } else { reasons },
            policies: decision.policies.clone(),
            prompt: ask.prompt.clone(),
            claimed: caller.claimed.clone(),
            key: None,
            entry: 0,
            created_at: now,
            expires_at: Span::from_seconds(WAITS_FOR).after(now),
            ask_digest: ask.digest,
        };
        let ids = MintIds::generate(now)?;
        let marker_key = Arc::clone(&self.keyring);
        let who = caller.who();
        let idempotency_key = ask.idempotency_key.clone();
        let written = self.ledger.write(move |tx| {
            let mut record = of_plan(
                tx.now(),
                Deed::RequestDecide,
                Stage::Note,
                who.clone(),
                &request.plan,
                &request.digest.to_string(),
            );
            record.why = audit::Why::new(request.plan.purpose.raw(), request.prompt.as_deref());
            record.decision = Some(decided(effect, needed, 0, &decision.policies, &decision.reasons));
            // Counted where it is added: asks that come together are not all let through.
            let waiting =
                tx.requests_pending(request.plan.principal.kind(), request.plan.principal.name())?;
            let is_agents = matches!(request.plan.principal, Principal::Agent(_));
            if is_agents && request.status == Status::PendingApproval && waiting >= PENDING_AT_MOST {
                return Err(too_many_waiting());
            }
            request.entry = tx.audit(record)?;
            tx.add_request(&NewRequest { request: &request, idempotency_key: idempotency_key.as_deref() })?;
            if request.status == Status::InProgress {
                begin_mint(tx, &mut request, &ids, &marker_key)?;
            }
            Ok::<_, BrokerError>(request)
        });
        let request = written.await?;
        if request.status == Status::InProgress {
            self.crash_at.reached("mint.reserved");
        }
        Ok(request)
    }
}

fn too_many_waiting() -> BrokerError {
    let message = format!("{PENDING_AT_MOST} requests of this agent wait for approval already");
    BrokerError::new(Code::TryAgain, message).hint("wait until some are decided")
}

/// The ids of a mint, made before the transaction that uses them.
pub(crate) struct MintIds {
    key: KeyId,
    attempt: AttemptId,
    saga: SagaId,
}

impl MintIds {
    pub(crate) fn generate(now: Timestamp) -> Result<Self> {
        Ok(Self {
            key: KeyId::generate(now, entropy()?),
            attempt: AttemptId::generate(now, entropy()?),
            saga: SagaId::generate(now, entropy()?),
        })
    }
}

/// Reserves key, attempt and marker, and records the intent: "will create". The saga is due from here on.
pub(crate) fn begin_mint(
    tx: &Tx<'_>,
    request: &mut Request,
    ids: &MintIds,
    keyring: &keywright_ledger::seal::Keyring,
) -> std::result::Result<(), LedgerError> {
    let plan = &request.plan;
    let agent = match &plan.principal {
        Principal::Agent(name) => Some(name.clone()),
        _ => None,
    };
    tx.add_key(&Key {
        id: ids.key,
        name: plan.name.clone(),
        project: plan.project.clone(),
        environment: plan.environment.clone(),
        provider: plan.provider.clone(),
        connection: plan.connection.clone(),
        template: plan.template.clone(),
        request: request.id,
        agent,
        state: KeyState::Minting,
        created_at: tx.now(),
    })?;
    let marker = keyring.markers().marker(tx.epoch()?, ids.attempt);
    tx.add_saga(&NewSaga {
        id: ids.saga,
        request: request.id,
        key: ids.key,
        attempt: ids.attempt,
        digest: request.digest,
    })?;
    tx.add_attempt(
        &Attempt {
            id: ids.attempt,
            key: ids.key,
            number: 1,
            marker: marker.clone(),
            connection: plan.connection.clone(),
            sent_at: None,
            outcome: AttemptOutcome::Unsent,
            provider_key_id: None,
            expires_at: None,
        },
        ids.saga,
    )?;
    request.key = Some(ids.key);
    let who = crate::record::who(&plan.principal);
    let mut record = of_request(tx.now(), Deed::KeyMint, Stage::Intent, who, request);
    record.subject.attempt = Some(ids.attempt.to_string());
    record.subject.saga = Some(ids.saga.to_string());
    record.facts.insert("marker".to_owned(), serde_json::json!(marker.as_str()));
    request.entry = tx.audit(record)?;
    tx.set_request_key(request.id, ids.key, request.entry)
}

/// A template that can make keys and that no operator marked never gets as far as a decision.
fn refuse_unmarked(applied: &AppliedTemplate) -> Result<()> {
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

/// Asks that were refused before they became requests, by agent. In memory: a restart forgets them.
#[derive(Default)]
pub(crate) struct Refusals(Mutex<HashMap<AgentName, (Timestamp, u64)>>);

impl Refusals {
    /// Agents exist by the hand of an operator, so there are few; a map that grew all the same starts anew.
    const AGENTS_AT_MOST: usize = 10_000;

    fn of(&self, agent: &AgentName, now: Timestamp) -> u64 {
        let counted = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        counted.get(agent).filter(|(since, _)| now < an_hour_after(*since)).map_or(0, |(_, count)| *count)
    }

    fn count(&self, agent: &AgentName, now: Timestamp) {
        let mut counted = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if counted.len() >= Self::AGENTS_AT_MOST {
            counted.clear();
        }
        let (since, count) = counted.entry(agent.clone()).or_insert((now, 0));
        if now >= an_hour_after(*since) {
            (*since, *count) = (now, 0);
        }
        *count += 1;
    }
}

fn an_hour_after(at: Timestamp) -> Timestamp {
    Span::from_seconds(3_600).after(at)
}

/// Nobody approved yet.
pub(crate) fn nobody<'a>() -> BTreeSet<&'a keywright_core::name::OperatorName> {
    BTreeSet::new()
}
