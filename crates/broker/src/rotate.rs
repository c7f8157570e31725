//! Rotate: a successor in the place of a key's version. The wish is decided like any other ask, as `rotate` on the key; the
//! saga then makes, places and verifies the successor as a mint does, and ends the old version once it is idle.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use keywright_core::audit::{Deed, Stage};
use keywright_core::id::{AttemptId, KeyId, RequestId};
use keywright_core::key::{Key, KeyState, PlacementState};
use keywright_core::plan::{Ending, Plan, Principal};
use keywright_core::policy::{
    Authorized, Ceiling, Counts, Effect, Facts, KeyFacts, Policies, Question, Refusal,
};
use keywright_core::receipt::{Receipt, Status};
use keywright_core::saga::SagaKind;
use keywright_core::store::Presence;
use keywright_core::template::{ResolvedTemplate, Rotation};
use keywright_core::text::Untrusted;
use keywright_ledger::{Besides, LedgerError, Request, Tx};
use sha2::{Digest as _, Sha256};

use crate::ask::{LONGEST_PURPOSE, ParsedAsk};
use crate::auth::Proven;
use crate::broker::Broker;
use crate::clock::entropy;
use crate::error::{BrokerError, Code, Result};
use crate::pace::again_after;
use crate::receipt::in_force;
use crate::record::{Caller, of_key};
use crate::request::{Considered, refuse_unmarked};

/// How many keys begin their rotation in one tick.
const AT_A_TIME: u32 = 32;

impl Broker {
    /// Replaces a key's version by a successor. Returns when the successor is in force, or with what stands in the way; the
    /// old version ends later, once it is idle. A rotation that is under way already answers for itself.
    ///
    /// # Errors
    /// When there is no such key, it has no version that works, or a guard rail is exceeded.
    pub async fn rotate(
        self: &Arc<Self>,
        caller: &Caller,
        key: &str,
        reason: &str,
        wait: Duration,
    ) -> Result<Receipt> {
        self.rotate_ending(caller, key, reason, None, wait).await
    }

    /// As [`Broker::rotate`], with the version before it kept, or ended at once because it leaked.
    ///
    /// # Errors
    /// As there; and when a rotation is under way that ends otherwise.
    pub async fn rotate_as(
        self: &Arc<Self>,
        operator: &Proven,
        caller: &Caller,
        key: &str,
        reason: &str,
        (ending, wait): (Ending, Duration),
    ) -> Result<Receipt> {
        if ending == Ending::Leaked {
            operator.deciding()?;
        }
        self.rotate_ending(caller, key, reason, Some(ending), wait).await
    }

    async fn rotate_ending(
        self: &Arc<Self>,
        caller: &Caller,
        key: &str,
        reason: &str,
        ending: Option<Ending>,
        wait: Duration,
    ) -> Result<Receipt> {
        let key = self.visible_key(&caller.principal, key).await?;
        if let Some(under_way) = self.rotation_under_way(&key).await? {
            return self.join(under_way, ending, wait).await;
        }
        self.refuse_if_forked()?;
        self.may_ask_about(caller, &key, reason).await?;
        match self.begin_rotation(caller, &key, reason, ending).await {
            Ok(request) => self.settle(request.id, wait).await,
            // Somebody else began it in this very moment.
            Err(error) if error.code == Code::Conflict => match self.rotation_under_way(&key).await? {
                Some(under_way) => self.join(under_way, ending, wait).await,
                None => Err(error),
            },
            Err(error) => Err(error),
        }
    }

    /// What a rotation that somebody else began comes to; as long as the old version ends as it was asked for.
    async fn join(
        self: &Arc<Self>,
        under_way: RequestId,
        ending: Option<Ending>,
        wait: Duration,
    ) -> Result<Receipt> {
        let of = self.ledger.read(move |tx| tx.request(under_way)).await?.plan.ending;
        if ending.is_some() && of != ending {
            let message = "a rotation of this key is under way, and was begun without that";
            return Err(BrokerError::new(Code::Conflict, message).hint(
                "once its successor is in force, `keywright key rotate KEY --end-old` ends the old version at once; `keywright \
                 key revoke KEY` ends both now",
            ));
        }
        self.settle(under_way, wait).await
    }

    /// Ends the version that a rotation replaced, on an operator's word, whatever is known of its use. What is known goes on
    /// record with the word.
    ///
    /// # Errors
    /// When no version of the key drains.
    pub async fn end_old(self: &Arc<Self>, operator: &Proven, key: &str, reason: &str) -> Result<Key> {
        operator.deciding()?;
        let id = self.find_key(key).await?;
        let who = Caller::plain(Principal::Operator(operator.name().clone())).who();
        let reason = self.kept(reason, 500).await?;
        let name = operator.name().clone();
        let key = self.ledger.write(move |tx| {
            let key = tx.key(id)?;
            let saga = tx
                .saga_under_way(id)?
                .filter(|saga| saga.phase.has_switched())
                .ok_or_else(|| nothing_drains(&key))?;
            let drains: Vec<_> = tx.drains(id)?.into_iter().filter(|drain| drain.saga == saga.id).collect();
            let mut record = of_key(tx.now(), Deed::KeyRotate, Stage::Note, who, &key);
            record.subject.saga = Some(saga.id.to_string());
            record.facts.insert("because".to_owned(), serde_json::json!(reason.raw()));
            record.facts.insert(
                "evidence".to_owned(),
                serde_json::json!(drains.iter().map(|drain| evidence(&drain.observed)).collect::<Vec<_>>()),
            );
            tx.audit(record)?;
            tx.give_word(saga.id, &format!("operator {name}: {}", reason.raw()))?;
            match tx.wake_saga(saga.id) {
                // Somebody looks at it at this very moment, and then sees the word the next time.
                Ok(()) | Err(LedgerError::Conflict { .. }) => Ok(key),
                Err(error) => Err(BrokerError::from(error)),
            }
        });
        let key = key.await?;
        if let Some(saga) = self.ledger.read(move |tx| tx.saga_under_way(id)).await? {
            self.run_saga(saga.id).await;
        }
        Ok(key)
    }

    /// Begins the rotations that are due. One that can't begin is tried again later, and says so in the broker's own log.
    pub(crate) async fn rotate_due(self: &Arc<Self>) -> Result<usize> {
        // That this broker may begin nothing is no failure of the keys.
        if self.refuse_if_forked().is_err() || self.doubts_clock().is_some() {
            return Ok(0);
        }
        let besides = Besides { connections: self.held.crowded(), ..Besides::default() };
        let due = self.ledger.read(move |tx| {
            // What was begun and waits for somebody to take it up is no further for having more beside it.
            let waiting = tx.sagas_not_taken_up(AT_A_TIME, &besides)?;
            tx.keys_to_rotate(AT_A_TIME.saturating_sub(waiting), &besides.connections)
        });
        let due = due.await?;
        let beginning = due.iter().map(|id| self.rotate_one(*id));
        futures::future::join_all(beginning).await.into_iter().collect::<Result<Vec<()>>>()?;
        Ok(due.len())
    }

    async fn rotate_one(self: &Arc<Self>, id: KeyId) -> Result<()> {
        let begun = match (self.refuse_if_forked(), self.ledger.read(move |tx| tx.key(id)).await) {
            (Err(error), _) => Err(error),
            // An edited row; `doctor` says so. The others are rotated all the same.
            (_, Err(error)) => Err(error.into()),
            (Ok(()), Ok(key)) => {
                let schedule = Caller::plain(Principal::Schedule);
                self.begin_rotation(&schedule, &key, "it is due", None).await
            }
        };
        match begun {
            Ok(request) if request.status == Status::InProgress => Ok(()),
            // Whoever approves it begins it; until then nobody is asked again.
            Ok(request) if request.status == Status::PendingApproval => {
                let until = request.expires_at;
                let written = self.ledger.write(move |tx| {
                    let (_, tries) = tx.rotation_of(id)?;
                    tx.set_rotation(id, Some(until), tries)
                });
                Ok(written.await?)
            }
            Ok(request) => {
                tracing::warn!(key = %id, status = %request.status, reasons = ?request.reasons, "its rotation may not begin");
                self.rotation_failed(id, &request.reasons.join("; ")).await
            }
            Err(error) => {
                tracing::warn!(key = %id, message = %error.message, "its rotation can't begin");
                if self.refuse_if_forked().is_err() {
                    return Ok(());
                }
                self.rotation_failed(id, &error.message).await
            }
        }
    }

    /// The next try comes later, each time a little more so, but in time before the version expires.
    async fn rotation_failed(&self, key: KeyId, why: &str) -> Result<()> {
        let (now, why) = (self.now(), Untrusted::capped(why, 500).to_string());
        let written = self.ledger.write(move |tx| {
            let (_, tries) = tx.rotation_of(key)?;
            if !tx.is_to_rotate(key)? {
                // Somebody else began it, or it is done already.
                return Ok(());
            }
            let expires = in_force(tx.versions(key)?.into_iter()).and_then(|version| version.expires_at);
            tx.rotation_failed(key, Some(again_after(tries, expires, now)), tries + 1, &why)
        });
        Ok(written.await?)
    }

    async fn rotation_under_way(&self, key: &Key) -> Result<Option<RequestId>> {
        let id = key.id;
        let saga = self.ledger.read(move |tx| tx.saga_under_way(id)).await?;
        Ok(saga.filter(|saga| saga.kind == SagaKind::Rotate).map(|saga| saga.request))
    }

    async fn begin_rotation(
        self: &Arc<Self>,
        caller: &Caller,
        key: &Key,
        reason: &str,
        ending: Option<Ending>,
    ) -> Result<Request> {
        if key.state != KeyState::Active {
            let full = format!("{}/{}/{}", key.project, key.environment, key.name);
            return Err(BrokerError::new(Code::Conflict, format!("key `{full}` is {}", key.state))
                .hint("only a key that is active has a version to replace; ask for a new one"));
        }
        let id = key.id;
        if ending != Some(Ending::Leaked)
            && self.ledger.read(move |tx| tx.disabled_since(id)).await?.is_some()
        {
            return Err(is_off(key));
        }
        let (principal, digest) = (caller.principal.clone(), digest_of(key.id, ending));
        let waiting =
            self.ledger.read(move |tx| tx.pending_twin(principal.kind(), principal.name(), &digest)).await?;
        if let Some(waiting) = waiting {
            return Ok(waiting);
        }
        let id = RequestId::generate(self.now(), entropy()?);
        let reason = self.kept(reason, LONGEST_PURPOSE).await?;
        let (ask, considered) = self.consider_rotation(id, &caller.principal, key, (reason, ending)).await?;
        self.record(caller, &ask, considered).await
    }

    /// The exact effect of a rotation: what the key was asked with, as the template says it now, and never more than the key
    /// may do already.
    async fn consider_rotation(
        &self,
        id: RequestId,
        principal: &Principal,
        key: &Key,
        (reason, ending): (Untrusted, Option<Ending>),
    ) -> Result<(ParsedAsk, Considered)> {
        let of = key.clone();
        let before = self.ledger.read(move |tx| tx.request_in_force(&of)).await?.plan;
        if before.template.is_of_adopted() {
            let provider = self.outside.provider(&key.connection).await?;
            return Err(no_template(key, &before, provider.facts().no_mint));
        }
        let template = self.applied(&before.template).await?.resolved;
        let ask = successor(key, &before, &template, (reason, ending));
        let (plan, applied) = self.derive(id, principal, &ask).await?;
        refuse_wider(&plan, &before)?;
        let counts = self.counts(principal).await?;
        if plan.adopts.is_some() {
            refuse_unmarked(&applied)?;
        }
        let question = question(&plan, &applied.resolved, Some(key), counts);
        let (_, policies) = self.policies().await?;
        let decision = policies.decide(&question);
        if decision.effect != Effect::Deny {
            self.refuse_lost(&plan, key).await?;
        }
        let alternative = match decision.effect {
            Effect::Allow => None,
            _ => policies.nearest(&question),
        };
        let digest = plan.digest().map_err(|e| BrokerError::new(Code::Internal, e.to_string()))?;
        Ok((ask, Considered { plan, digest, counts, question, policies, decision, alternative }))
    }
}

impl Broker {
    /// Whether a successor's value can be written: each place is there, and holds the key's value or none. Looked at before
    /// anything is made, because from the first write on there is no way back.
    async fn refuse_lost(&self, plan: &Plan, key: &Key) -> Result<()> {
        let id = key.id;
        let placements = self.ledger.read(move |tx| tx.placements(id)).await?;
        let adopted: Vec<_> = placements
            .into_iter()
            .filter(|p| p.state == PlacementState::Adopted)
            .map(|p| p.destination)
            .collect();
        for destination in &plan.destinations {
            let store = self.outside.store(&destination.place.store).await?;
            let presence = store.look(destination).await?;
            let is_own = match &presence {
                // Where the store can't tell whose it is, the ledger can: a place is one key's.
                Presence::Ours { marker: None, .. } => true,
                Presence::Ours { marker: Some(marker), .. } => {
                    self.key_of(marker.as_str()).await.is_some_and(|found| found.id == key.id)
                }
                Presence::Foreign => adopted.contains(destination),
                Presence::Absent => false,
            };
            if !is_own {
                self.may_write(plan, destination, &presence, None).await?;
            }
        }
        Ok(())
    }

    /// The key whose version a plan replaces, if it does.
    pub(crate) async fn replaced(&self, plan: &Plan) -> Result<Option<Key>> {
        let Some(key) = plan.rotates else { return Ok(None) };
        Ok(Some(self.ledger.read(move |tx| tx.key(key)).await?))
    }
}

/// What policy is asked about a plan: of a new key, or of a successor. The first successor of a key that was made elsewhere
/// is a new key: nobody has decided yet that there may be one.
pub(crate) fn question(
    plan: &Plan,
    template: &ResolvedTemplate,
    replaces: Option<&Key>,
    counts: Counts,
) -> Question {
    match replaces.filter(|_| plan.adopts.is_none()) {
        None => Question::plan(plan, template, counts),
        Some(key) => {
            Question::rotate(plan.principal.clone(), KeyFacts::of(key, template), Some(plan), counts)
        }
    }
}

/// The proof that a plan may happen: of a new key, or of a successor.
pub(crate) fn authorize(
    policies: &Policies,
    plan: Plan,
    ceiling: Ceiling<'_>,
    replaces: Option<&Key>,
    facts: &Facts<'_>,
) -> std::result::Result<Authorized<Plan>, Refusal> {
    match replaces.filter(|_| plan.adopts.is_none()) {
        None => policies.authorize(plan, ceiling, facts),
        Some(key) => policies.authorize_rotation(plan, ceiling, &KeyFacts::of(key, ceiling.template), facts),
    }
}

/// The ask behind a successor: the same as the one behind the key, without what the template has come to grant since.
fn successor(
    key: &Key,
    before: &Plan,
    template: &ResolvedTemplate,
    (reason, ending): (Untrusted, Option<Ending>),
) -> ParsedAsk {
    let had: BTreeSet<&str> = before.permissions.iter().map(|p| p.id.as_str()).collect();
    let grants = template.permissions.iter().map(|p| p.id.as_str());
    ParsedAsk {
        through: Some(key.connection.clone()),
        template: before.template.clone(),
        parameters: before.parameters.clone(),
        project: before.project.clone(),
        environment: before.environment.clone(),
        name: before.name.clone(),
        destinations: before.destinations.iter().map(|d| d.place.clone()).collect(),
        ttl: Some(before.ttl.min(template.template.limits.ttl_max)),
        purpose: reason,
        prompt: None,
        idempotency_key: None,
        cwd: before.destinations.iter().find_map(|d| d.base.clone()),
        withheld: grants.filter(|id| !had.contains(id)).map(str::to_owned).collect(),
        rotates: Some(key.id),
        adopts: before.adopts.clone().filter(|_| before.rotates.is_none()),
        ending,
        digest: digest_of(key.id, ending),
    }
}

/// A key that was made elsewhere, and of which no template says what a successor may do.
fn no_template(key: &Key, plan: &Plan, no_mint: Option<&str>) -> BrokerError {
    let full = format!("{}/{}/{}", key.project, key.environment, key.name);
    if let Some(instead) = no_mint {
        let message = format!("no successor of key `{full}` can be made: {instead}");
        return BrokerError::new(Code::Conflict, message).hint(format!(
            "make one by hand, put it where this one lies, and end this one: `keywright key revoke {full}`"
        ));
    }
    let message = format!("key `{full}` was made elsewhere, and no template says what its successor may do");
    BrokerError::new(Code::Conflict, message).hint(format!(
        "adopt it once more, with `--template`: `keywright key adopt {} {} --template ID`",
        plan.connection,
        plan.adopts.as_deref().unwrap_or("ID")
    ))
}

/// What tells the wish to rotate a key from other asks.
fn digest_of(key: KeyId, ending: Option<Ending>) -> [u8; 32] {
    let ending = ending.map(|ending| format!("\n{}", ending.as_str())).unwrap_or_default();
    Sha256::digest(format!("keywright/rotate/1\n{key}{ending}")).into()
}

/// A rotation renews; it is no way to a key that may do more.
fn refuse_wider(plan: &Plan, before: &Plan) -> Result<()> {
    let networks: BTreeSet<&String> = before.ip_allow.iter().collect();
    let cap = before.budget_cents.unwrap_or(u64::MAX);
    let wider = [
        (plan.connection != before.connection, "is made at another connection"),
        (plan.destinations != before.destinations, "goes to other places"),
        (!plan.resources.iter().all(|r| before.resources.contains(r)), "reaches other resources"),
        (!plan.permissions.iter().all(|p| before.permissions.contains(p)), "may do more"),
        (
            !networks.is_empty()
                && (plan.ip_allow.is_empty() || !plan.ip_allow.iter().all(|n| networks.contains(n))),
            "works from more networks",
        ),
        (plan.budget_cents.unwrap_or(u64::MAX) > cap, "may spend more"),
    ];
    match wider.into_iter().find(|(is_wider, _)| *is_wider) {
        None => Ok(()),
        Some((_, what)) => Err(BrokerError::new(
            Code::Denied,
            format!("the successor of this key {what} than the key itself"),
        )
        .hint("a rotation renews what there is; ask for a new key, and revoke this one")),
    }
}

/// When a key's rotation is due that begins its life now; none where only people rotate it.
pub(crate) fn first_due(plan: &Plan, key: KeyId, attempt: AttemptId, now: Timestamp) -> Option<Timestamp> {
    let rotation = plan.rotation.as_ref()?;
    Some(rotation.due(now, plan.ttl, spread(key, attempt)))
}

/// A number that is another one for each version of each key.
fn spread(key: KeyId, attempt: AttemptId) -> u64 {
    let hash = Sha256::digest(format!("{key} {attempt}"));
    hash.iter().take(8).fold(0, |number, byte| number << 8 | u64::from(*byte))
}

/// That a rotation which the schedule begins is due in the transaction that begins it: another broker may have rotated the
/// key since this one looked.
pub(crate) fn still_due(tx: &Tx<'_>, key: KeyId) -> Result<()> {
    if tx.is_to_rotate(key)? {
        return Ok(());
    }
    Err(BrokerError::new(Code::Conflict, format!("a rotation of key {key} is not due any more")))
}

/// How a plan's key is rotated.
pub(crate) fn rules(plan: &Plan) -> Rotation {
    plan.rotation.clone().unwrap_or(Rotation::BY_HAND)
}

/// What was seen of a version, for the log.
pub(crate) fn evidence(observed: &keywright_core::drain::Observed) -> serde_json::Value {
    let time = |at: Option<Timestamp>| at.map(|at| at.to_string());
    serde_json::json!({
        "since": observed.since.to_string(),
        "looked_at": time(observed.looked_at),
        "last_used_at": time(observed.last_used_at),
        "counted_since": time(observed.counted_since),
        "tokens": observed.usage.and_then(|usage| usage.tokens),
        "cost_microusd": observed.usage.and_then(|usage| usage.cost_microusd),
        "last_sign": time(observed.last_sign()),
    })
}

/// A key that somebody switched off gets no successor that works; but for one that leaked, whose successor is meant to.
pub(crate) fn is_off(key: &Key) -> BrokerError {
    let full = format!("{}/{}/{}", key.project, key.environment, key.name);
    BrokerError::new(Code::Conflict, format!("key `{full}` is switched off")).hint(format!(
        "if it leaked: `keywright key rotate {full} --leaked` replaces it as it is; otherwise `keywright key enable {full}` \
         switches it on again, and `keywright key revoke {full}` ends it"
    ))
}

fn nothing_drains(key: &Key) -> BrokerError {
    let full = format!("{}/{}/{}", key.project, key.environment, key.name);
    BrokerError::new(Code::Conflict, format!("no version of key `{full}` waits to be ended"))
        .hint(format!("`keywright key show {full}` says how it stands"))
}
