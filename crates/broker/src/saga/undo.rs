//! Giving up, and Undo -> Undone: placements are taken back, the version is owed to the revoke queue.

use keywright_core::audit::{Deed, Stage};
use keywright_core::id::RevocationId;
use keywright_core::key::{AttemptOutcome, KeyState, VersionState};
use keywright_core::plan::Principal;
use keywright_core::receipt::Status;
use keywright_core::saga::{Phase, SagaKind};
use keywright_core::span::Span;
use keywright_core::text::Untrusted;
use keywright_ledger::{LedgerError, NewRevocation, Request, Saga, Tx};

use super::create::{FIRST_LOOK, sealed_owner};
use super::{Step, Work};
use crate::broker::Broker;
use crate::clock::entropy;
use crate::ended::NOT_OURS;
use crate::error::{BrokerError, Result};
use crate::pace::again_after;
use crate::receipt::in_force;
use crate::record::{fact_of, failed, of_placement, of_request, system};

impl Broker {
    /// Leaves the way forward. Before the seal nothing has to be taken back; after it, the version becomes a debt in
    /// the same transaction that turns the saga round.
    pub(super) async fn give_up(&self, saga: &Saga, error: &BrokerError) -> Result<Saga> {
        let random = entropy()?;
        let (from, error, lease) = (saga.clone(), error.clone(), self.lease());
        let turned = self.ledger.write(move |tx| {
            tx.still_ours(&from)?;
            let request = tx.request(from.request)?;
            let attempt = tx.attempt(from.attempt)?;
            let version = tx.version_of(attempt.id)?;
            // Where there is a key, it is revoked, whatever the phase says.
            if !from.phase.is_frozen() && version.is_none() {
                close(tx, &from, &request, &error)?;
                return tx.advance_saga(&from, Phase::Undone, from.attempt, lease, Some(&error.message));
            }
            if let Some(version) = version {
                tx.set_version_state(version.id, VersionState::Revoking)?;
                tx.owe(&NewRevocation {
                    id: RevocationId::generate(tx.now(), random),
                    connection: attempt.connection,
                    provider_key_id: version.provider_key_id,
                    key: Some(version.key),
                    version: Some(version.id),
                    attempt: Some(attempt.id),
                    reason: error.message.clone(),
                })?;
            }
            let mut record = of_request(tx.now(), Deed::KeyRevoke, Stage::Intent, system(), &request);
            record.subject.attempt = Some(attempt.id.to_string());
            record.facts.insert("because".to_owned(), serde_json::json!(error.message));
            tx.audit(record)?;
            tx.advance_saga(&from, Phase::Undo, from.attempt, lease, Some(&error.message))
        });
        let saga = turned.await?;
        self.rails.spent(saga.request);
        self.crash_at.reached("mint.undo");
        Ok(saga)
    }

    /// As [`Broker::give_up`], for a version whose id is another credential's: it is owed to nobody, and what its attempt made
    /// is uncertain again.
    pub(super) async fn turn_without_debt(&self, work: &Work, why: &str) -> Result<Saga> {
        let (from, attempt, why) = (work.saga.clone(), work.attempt.id, why.to_owned());
        let (lease, given) = (self.lease(), work.attempt.provider_key_id.clone());
        let turned = self.ledger.write(move |tx| {
            tx.still_ours(&from)?;
            let request = tx.request(from.request)?;
            if let Some(version) = tx.version_of(attempt)? {
                tx.set_version_state(version.id, VersionState::Revoked)?;
            }
            let look = Span::from_seconds(FIRST_LOOK).after(tx.now());
            tx.set_attempt(attempt, AttemptOutcome::Sent, None, Some(look))?;
            let mut record = of_request(tx.now(), Deed::KeyRevoke, Stage::Intent, system(), &request);
            record.subject.attempt = Some(attempt.to_string());
            record.facts.insert("because".to_owned(), serde_json::json!(why));
            if let Some(id) = &given {
                record.facts.insert(NOT_OURS.to_owned(), serde_json::json!(id));
            }
            tx.audit(record)?;
            tx.advance_saga(&from, Phase::Undo, from.attempt, lease, Some(&why))
        });
        Ok(turned.await?)
    }

    /// Revokes the version, as far as the provider lets us at once, and takes back what was placed. Never gives up: what
    /// was written may be used by somebody.
    pub(super) async fn undo(&self, work: &Work) -> Step {
        // The debt is on record. It is paid here and not only in the next tick, because a command that works on the
        // home itself ends with the saga.
        if let Err(error) = self.pay_debts_of(work.attempt.key).await {
            return Step::Lost(error);
        }
        let placements = match self.placements_of(work).await {
            Ok(placements) => placements,
            Err(error) => return Step::Lost(error),
        };
        for placement in placements {
            // For people nobody waits here: what they leave undone is looked at for as long as it takes.
            if !placement.state.may_lie() || placement.state.is_ending_by_people() {
                continue;
            }
            let fate = match self.take_back(&work.attempt, &placement).await {
                Ok(fate) => fate,
                Err(error) => return Step::Later(error),
            };
            let (saga, request) = (work.saga.clone(), work.request.clone());
            let removed = self.ledger.write(move |tx| {
                tx.still_ours(&saga)?;
                if tx.retire_placement(placement.id, Some((fate.state, fate.change.as_ref())))? {
                    let mut record = of_placement(tx.now(), &request, &placement, (fate.state, None));
                    record.facts.extend(fate.change.as_ref().and_then(fact_of));
                    tx.audit(record)?;
                    fate.tell(tx, placement.id)?;
                }
                Ok(())
            });
            if let Err(error) = removed.await {
                return Step::Lost(LedgerError::into(error));
            }
        }
        let (saga, request) = (work.saga.clone(), work.request.clone());
        let why = saga.trouble.clone().unwrap_or_default();
        let ends_itself = self.ends_itself(&work.attempt).await;
        self.advance(work, Phase::Undone, move |tx| {
            if !ends_itself {
                // Where nothing else could end the key, it goes when the debt is paid.
                tx.erase_sealed(&sealed_owner(saga.attempt))?;
            }
            close(tx, &saga, &request, &BrokerError::new(crate::error::Code::Provider, why))
        })
        .await
    }
}

/// The request has failed, the key never was.
fn close(
    tx: &Tx<'_>,
    saga: &Saga,
    request: &Request,
    error: &BrokerError,
) -> std::result::Result<(), LedgerError> {
    match saga.kind {
        SagaKind::Mint => tx.move_key(saga.key, KeyState::Minting, KeyState::Failed)?,
        SagaKind::Rotate => keep_key(tx, saga, request, error)?,
    }
    let mut record = of_request(tx.now(), Deed::KeyMint, Stage::Outcome, system(), request);
    record.subject.attempt = Some(saga.attempt.to_string());
    record.result = Some(failed(error));
    let entry = tx.audit(record)?;
    let ends = tx.saga(saga.id)?.ends;
    let (status, because) = match &ends {
        Some(why) => (Status::Revoked, why),
        None => (Status::Failed, &error.message),
    };
    let mut reasons = vec![Untrusted::capped(because, 500).to_string()];
    reasons.extend(error.hint.clone());
    tx.move_request(request.id, Status::InProgress, status, &reasons, entry)
}

/// The key stays as it was, with the version that it had; its rotation is tried again later.
fn keep_key(
    tx: &Tx<'_>,
    saga: &Saga,
    request: &Request,
    error: &BrokerError,
) -> std::result::Result<(), LedgerError> {
    let (_, tries) = tx.rotation_of(saga.key)?;
    let expires = in_force(tx.versions(saga.key)?.into_iter()).and_then(|version| version.expires_at);
    // One that the schedule began is not over: a key that only people rotate is replaced by it as well, once somebody ended its
    // version at the provider.
    let goes_on = request.plan.rotation.is_some() || request.plan.principal == Principal::Schedule;
    let again = goes_on.then(|| again_after(tries, expires, tx.now()));
    tx.rotation_failed(saga.key, again, tries + 1, &Untrusted::capped(&error.message, 500).to_string())?;
    let mut record = of_request(tx.now(), Deed::KeyRotate, Stage::Outcome, system(), request);
    record.subject.saga = Some(saga.id.to_string());
    record.result = Some(failed(error));
    tx.audit(record).map(drop)
}
