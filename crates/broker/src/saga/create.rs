//! Intent -> Sealed: authorise once more, send the create once, seal the answer.

use std::sync::Arc;

use keywright_core::approval::quorum;
use keywright_core::audit::{Deed, Stage};
use keywright_core::grant::Grant;
use keywright_core::id::{AttemptId, PlacementId, SealedId, VersionId};
use keywright_core::key::{Attempt, AttemptOutcome, Placement, PlacementState, Version, VersionState};
use keywright_core::plan::Plan;
use keywright_core::policy::{Authorized, Ceiling, Facts};
use keywright_core::provider::{Listing, Minted, Provider, ProviderError, Recovery};
use keywright_core::saga::Phase;
use keywright_core::span::Span;
use keywright_ledger::{LedgerError, Tx};

use super::{ATTEMPTS, Step, Work, later_or_never};
use crate::broker::Broker;
use crate::clock::entropy;
use crate::error::{BrokerError, Code, Result};
use crate::limits::counts_besides;
use crate::mask::FINGERPRINT;
use crate::rails::PHASE;
use crate::record::{of_request, system};
use crate::sweep::{Orphan, owe_orphan};

/// When an attempt whose fate is unknown is looked for first.
pub(super) const FIRST_LOOK: u64 = 30;

impl Broker {
    pub(super) async fn create(&self, work: &Work) -> Step {
        // The rows say that nothing was made yet, and the log may know better.
        if let Err(error) = self.stands(&work.request) {
            return Step::GiveUp(error);
        }
        if work.attempt.outcome != AttemptOutcome::Unsent {
            // The create was sent by somebody who then died: the secret is gone. Never send again; start anew and
            // leave the old attempt to the sweep.
            return self
                .next_attempt(work, AttemptOutcome::Sent, "the broker ended before the answer came")
                .await;
        }
        let provider = match self.outside.provider(&work.plan().connection).await {
            Ok(provider) => provider,
            Err(error) => return Step::GiveUp(error),
        };
        let plan = match self.authorise(work).await {
            Ok(plan) => plan,
            Err(error) if self.may_pass(work, &error) => return Step::Later(error),
            Err(error) => return Step::GiveUp(error),
        };
        let grant = plan.get().grant(self.now());
        if let Err(error) = self.mark_sent(work, &grant).await {
            return Step::Lost(error);
        }
        self.crash_at.reached("mint.sent");
        let answer = provider.mint(&plan, &provider.facts().asked(grant.clone()), &work.attempt.marker).await;
        self.crash_at.reached("mint.answered");
        match answer {
            Ok(minted) => self.seal(work, &grant, minted).await,
            Err(error @ ProviderError::OutcomeUnknown { .. }) => {
                tracing::warn!(attempt = %work.attempt.id, %error, "looking for the attempt by its marker");
                match self.look_for(work, &provider).await {
                    Ok(left_as) => self.next_attempt(work, left_as, &error.to_string()).await,
                    Err(error) => Step::Lost(error),
                }
            }
            Err(error) => self.refused(work, &provider, error).await,
        }
    }

    /// Whether what stands in the way may be gone while the request still lives. Nothing was sent yet, so waiting costs
    /// nothing.
    fn may_pass(&self, work: &Work, error: &BrokerError) -> bool {
        error.transient && error.not_before(self.now(), self.now()) < work.request.expires_at
    }

    /// The plan is derived again and compared, and policy decides again with the approvals that there are.
    async fn authorise(&self, work: &Work) -> Result<Authorized<Plan>> {
        let plan = work.plan().clone();
        let granted = self.granted(&work.request).await?;
        let applied = self.applied(&plan.template).await?;
        let now = self.rederive(&plan).await?;
        let digest = now.digest().map_err(|e| BrokerError::new(Code::Internal, e.to_string()))?;
        if digest != work.saga.digest {
            return Err(BrokerError::new(
                Code::Denied,
                "what would happen now is not what was decided: the template, the zone or the connection changed since",
            )
            .hint("ask again"));
        }
        let request = work.request.clone();
        let counts = self.ledger.read(move |tx| counts_besides(tx, &request)).await?;
        let (approvals, signers) = self.approvals(plan.request).await?;
        let vouches = |one: &_| self.vouches(&signers, &work.request, one);
        let mut given = quorum(&approvals, plan.request, &digest, self.now(), vouches);
        given.extend(&granted);
        let (_, policies) = self.policies().await?;
        let ceiling = Ceiling { template: &applied.resolved, version: applied.version };
        let replaces = plan.rotates.map(|_| &work.key);
        let behind = self.behind(&plan).await?;
        let facts = Facts { counts, approvals: &given, behind: &behind };
        crate::rotate::authorize(&policies, plan, ceiling, replaces, &facts)
            .map_err(|refusal| BrokerError::new(Code::Denied, refusal.to_string()))
    }

    /// Durable before the network is touched: from here on the attempt counts as sent, whatever happens.
    async fn mark_sent(&self, work: &Work, grant: &Grant) -> Result<()> {
        let (saga, attempt, expires_at) = (work.saga.clone(), work.attempt.id, grant.expires_at);
        let written = self.ledger.write(move |tx| {
            tx.still_ours(&saga)?;
            tx.send_attempt(attempt, expires_at)
        });
        Ok(written.await?)
    }

    /// The very next transaction after the provider's answer.
    async fn seal(&self, work: &Work, grant: &Grant, minted: Minted) -> Step {
        if let Err(error) = self.secret_came(&minted.secret).await {
            // Texts that quote it are still masked by its shape; losing the key over this would be worse.
            tracing::warn!(message = %error.message, "the known secrets could not be read");
        }
        let owner = sealed_owner(work.attempt.id);
        let sealed = self.keyring.seal(&owner, &minted.secret);
        let fingerprint = self.keyring.fingerprint(&minted.secret);
        let ids = (|| Ok::<_, LedgerError>((entropy()?, entropy()?)))();
        let ((sealed, ids), placements) = match (sealed, ids, self.planned(work)) {
            (Ok(sealed), Ok(ids), Ok(placements)) => ((sealed, ids), placements),
            (Err(error), ..) | (_, Err(error), _) | (_, _, Err(error)) => return Step::Lost(error.into()),
        };
        let (saga, request, attempt) = (work.saga.clone(), work.request.clone(), work.attempt.clone());
        let expires_at = grant.expires_at;
        let lease = self.lease();
        let written = self.ledger.write(move |tx| {
            tx.still_ours(&saga)?;
            tx.put_sealed(SealedId::generate(tx.now(), ids.0), &owner, &sealed)?;
            tx.set_attempt(attempt.id, AttemptOutcome::Created, Some(&minted.provider_key_id), None)?;
            let version = Version {
                id: VersionId::generate(tx.now(), ids.1),
                key: attempt.key,
                attempt: attempt.id,
                number: tx.versions(attempt.key)?.len() as u64 + 1,
                provider_key_id: minted.provider_key_id.clone(),
                expires_at,
                state: VersionState::Minted,
            };
            tx.add_version(&version, Some(&fingerprint))?;
            for placement in placements {
                tx.add_placement(&Placement { version: version.id, ..placement })?;
            }
            let mut record = of_request(tx.now(), Deed::KeyMint, Stage::Note, system(), &request);
            record.subject.version = Some(version.id.to_string());
            record.subject.attempt = Some(attempt.id.to_string());
            record.facts.insert(PHASE.to_owned(), serde_json::json!(Phase::Sealed.as_str()));
            record.facts.insert("provider_key_id".to_owned(), serde_json::json!(minted.provider_key_id));
            record.facts.insert(FINGERPRINT.to_owned(), serde_json::json!(fingerprint.to_hex()));
            tx.audit(record)?;
            tx.advance_saga(&saga, Phase::Sealed, attempt.id, lease, None)
        });
        match written.await {
            Ok(saga) => {
                self.rails.spent(work.request.id);
                self.crash_at.reached("mint.sealed");
                Step::Went(saga)
            }
            // The answer could not be kept: the attempt stays `sent` and the sweep finds what it made.
            Err(error) => Step::Lost(error.into()),
        }
    }

    fn planned(&self, work: &Work) -> std::result::Result<Vec<Placement>, LedgerError> {
        let now = self.now();
        let destinations = &work.plan().destinations;
        let fresh = || Ok(PlacementId::generate(now, entropy()?));
        let mut ids =
            destinations.iter().map(|_| fresh()).collect::<std::result::Result<Vec<_>, LedgerError>>()?;
        // They are listed by their ids: in the order of the plan.
        ids.sort_unstable();
        ids.into_iter()
            .zip(destinations)
            .map(|(id, destination)| {
                Ok(Placement {
                    id,
                    // Set where the version is made.
                    version: VersionId::generate(now, [0; 10]),
                    key: work.attempt.key,
                    destination: destination.clone(),
                    store_version: None,
                    verified: None,
                    state: PlacementState::Planned,
                    change: None,
                })
            })
            .collect()
    }

    /// Looks for the attempt by its marker. What is found is owed, and revoked at once if the provider lets us. Says
    /// what is known of the attempt when nothing was found.
    pub(super) async fn look_for(&self, work: &Work, provider: &Arc<dyn Provider>) -> Result<AttemptOutcome> {
        if provider.facts().recovery == Recovery::Expiry {
            // Nobody can look; whatever was made ends by itself.
            return Ok(AttemptOutcome::Sent);
        }
        let Ok(listed) = provider.list(Listing::Marked).await else {
            // Nobody has looked. The sweep asks again.
            return Ok(AttemptOutcome::Sent);
        };
        let found: Vec<_> =
            listed.into_iter().filter(|l| self.carries_marker_of(l, work.attempt.id)).collect();
        if let Some(one) = found.first()
            && self.is_of_the_past(one).await?
        {
            // The ledger is a copy from while it was made: since then it may have come into use. A reconcile tells of it.
            return Ok(AttemptOutcome::AbsentSoFar);
        }
        for credential in &found {
            let (orphan, random) = (
                Orphan {
                    connection: work.attempt.connection.clone(),
                    provider_key_id: credential.provider_key_id.clone(),
                    attempt: Some(work.attempt.clone()),
                    reason: "the reply to its creation was lost",
                },
                entropy()?,
            );
            self.ledger.write(move |tx| owe_orphan(tx, orphan, random)).await?;
        }
        if !found.is_empty() {
            self.pay_debts_of(work.attempt.key).await?;
        }
        Ok(AttemptOutcome::AbsentSoFar)
    }

    /// The present attempt is left as it is, to be looked for; a new one starts.
    async fn next_attempt(&self, work: &Work, left_as: AttemptOutcome, why: &str) -> Step {
        if work.attempt.number >= ATTEMPTS {
            let (saga, old) = (work.saga.clone(), work.attempt.id);
            let written = self.ledger.write(move |tx| {
                tx.still_ours(&saga)?;
                leave(tx, old, left_as)
            });
            let message = format!(
                "after {ATTEMPTS} attempts it is not known of any whether it made a key; the last: {why}"
            );
            return match written.await {
                Ok(()) => Step::GiveUp(BrokerError::new(Code::Provider, message)),
                Err(error) => Step::Lost(LedgerError::into(error)),
            };
        }
        let random = match entropy() {
            Ok(random) => random,
            Err(error) => return Step::Lost(error.into()),
        };
        let (saga, request, old, keyring) =
            (work.saga.clone(), work.request.clone(), work.attempt.clone(), Arc::clone(&self.keyring));
        let lease = self.lease();
        let written = self.ledger.write(move |tx| {
            tx.still_ours(&saga)?;
            leave(tx, old.id, left_as)?;
            let id = AttemptId::generate(tx.now(), random);
            let marker = keyring.markers().marker(tx.epoch()?, id);
            let attempt = Attempt {
                id,
                number: old.number + 1,
                marker: marker.clone(),
                sent_at: None,
                outcome: AttemptOutcome::Unsent,
                provider_key_id: None,
                expires_at: None,
                ..old
            };
            tx.add_attempt(&attempt, saga.id)?;
            let mut record = of_request(tx.now(), Deed::KeyMint, Stage::Intent, system(), &request);
            record.subject.attempt = Some(id.to_string());
            record.facts.insert("marker".to_owned(), serde_json::json!(marker.as_str()));
            record.facts.insert("attempt_number".to_owned(), serde_json::json!(attempt.number));
            tx.audit(record)?;
            tx.advance_saga(&saga, Phase::Intent, id, lease, None)
        });
        match written.await {
            Ok(saga) => Step::Went(saga),
            Err(error) => Step::Lost(error.into()),
        }
    }

    /// The provider says that nothing was made, and later it may work or never. It is looked for all the same: whoever said
    /// so may not be the one who makes keys (a gateway, say). Where nobody can look now, the sweep does.
    async fn refused(&self, work: &Work, provider: &Arc<dyn Provider>, error: ProviderError) -> Step {
        // What was never sent, or was refused here, made nothing.
        let was_heard = !matches!(
            error,
            ProviderError::Unavailable { .. }
                | ProviderError::Unreachable { .. }
                | ProviderError::Unsupported { .. }
        );
        let looked =
            if was_heard { self.look_for(work, provider).await } else { Ok(AttemptOutcome::Refused) };
        let looked = match looked {
            Ok(looked) => looked,
            Err(error) => return Step::Lost(error),
        };
        // A parent that is refused altogether would be looked with for ever, and could not be replaced meanwhile.
        let can_look = provider.facts().recovery != Recovery::Expiry
            && !matches!(error, ProviderError::Unauthorized { .. });
        let (saga, attempt) = (work.saga.clone(), work.attempt.id);
        let written = self.ledger.write(move |tx| {
            tx.still_ours(&saga)?;
            let look = (can_look && looked == AttemptOutcome::Sent)
                .then(|| Span::from_seconds(FIRST_LOOK).after(tx.now()));
            tx.set_attempt(attempt, AttemptOutcome::Refused, None, look)
        });
        match written.await {
            // The attempt was marked as sent, so a new one has to take its place.
            Ok(()) if error.is_transient() => later_or_never(error.into(), work.attempt.number < ATTEMPTS),
            Ok(()) => Step::GiveUp(error.into()),
            Err(error) => Step::Lost(LedgerError::into(error)),
        }
    }
}

/// Leaves an attempt to the sweep. What is certain stays as it is.
fn leave(tx: &Tx<'_>, attempt: AttemptId, left_as: AttemptOutcome) -> std::result::Result<(), LedgerError> {
    if tx.attempt(attempt)?.outcome != AttemptOutcome::Sent {
        return Ok(());
    }
    tx.set_attempt(attempt, left_as, None, Some(Span::from_seconds(FIRST_LOOK).after(tx.now())))
}

/// What an attempt's sealed copy is bound to.
pub(crate) fn sealed_owner(attempt: AttemptId) -> String {
    format!("attempt:{attempt}")
}
