//! Sealed -> Compared -> Probed: the key is what was asked, and it works.

use std::sync::Arc;

use keywright_core::id::AttemptId;
use keywright_core::key::{Attempt, AttemptOutcome};
use keywright_core::provider::{Listing, Provider, ProviderError, Recovery};
use keywright_core::saga::Phase;
use keywright_core::secret::Secret;
use keywright_ledger::LedgerError;

use super::create::sealed_owner;
use super::{Step, TRIES, Work, later_or_never};
use crate::broker::Broker;
use crate::error::{BrokerError, Code, Result};

impl Broker {
    /// Reads the key back from the provider. Any difference, and anything not understood, gives it up.
    pub(super) async fn compare(&self, work: &Work) -> Step {
        let Some(id) = work.attempt.provider_key_id.as_deref() else { return Step::Lost(damaged()) };
        let provider = match self.outside.provider(&work.attempt.connection).await {
            Ok(provider) => provider,
            Err(error) => return Step::Later(error),
        };
        let observed = match provider.read_back(id).await {
            Ok(observed) => observed,
            // The answer to the create was all that there is to read, and the adapter has compared it.
            Err(ProviderError::Unsupported { .. }) if provider.facts().recovery == Recovery::Expiry => {
                let next = self.advance(work, Phase::Compared, |_| Ok(())).await;
                self.crash_at.reached("mint.compared");
                return next;
            }
            Err(error @ ProviderError::NotFound { .. }) => {
                return self.nowhere(work, &provider, id, error).await;
            }
            Err(error) => {
                let transient = error.is_transient();
                return later_or_never(error.into(), transient);
            }
        };
        let is_ours = observed
            .label
            .as_ref()
            .is_some_and(|label| label.raw().starts_with(work.attempt.marker.as_str()));
        if !is_ours && provider.facts().recovery != Recovery::Expiry {
            return self.disown(work, &provider, "the id of another key than the one that it made").await;
        }
        let mut asked = work.plan().grant(self.now());
        asked.expires_at = work.attempt.expires_at;
        let differences = provider.facts().differences(asked, &observed);
        if differences.is_empty() {
            let next = self.reach(work, Phase::Compared).await;
            self.crash_at.reached("mint.compared");
            return next;
        }
        let list = differences.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ");
        let message = format!("the provider made another key than the one asked for: {list}");
        Step::GiveUp(BrokerError::new(Code::Provider, message))
    }

    /// The provider knows nothing of the id that it gave. Providers are eventually consistent, so what was just made may
    /// not be visible yet; but when it is seen under another id, or not at all in the end, the id was wrong.
    async fn nowhere(
        &self,
        work: &Work,
        provider: &Arc<dyn Provider>,
        id: &str,
        error: ProviderError,
    ) -> Step {
        let can_look = provider.facts().recovery != Recovery::Expiry;
        let elsewhere = can_look
            && provider.list(Listing::Marked).await.is_ok_and(|listed| {
                listed.iter().any(|l| l.provider_key_id != id && self.carries_marker_of(l, work.attempt.id))
            });
        if elsewhere || (can_look && work.saga.tries >= TRIES) {
            return self.disown(work, provider, "an id that leads nowhere").await;
        }
        Step::Later(error.into())
    }

    /// The id that came with the answer is not that of what was made, so nothing is done to it. What the create made is
    /// looked for by its marker, and ended.
    async fn disown(&self, work: &Work, provider: &Arc<dyn Provider>, given: &str) -> Step {
        let why = &format!("the provider gave {given}; the key that it made is looked for by its marker");
        let saga = match self.turn_without_debt(work, why).await {
            Ok(saga) => saga,
            Err(error) => return Step::Lost(error),
        };
        let attempt = Attempt { outcome: AttemptOutcome::Sent, ..work.attempt.clone() };
        let left = Work { saga, attempt, ..work.clone() };
        if let Err(error) = self.look_for(&left, provider).await {
            tracing::warn!(attempt = %left.attempt.id, message = %error.message, "it is looked for later");
        }
        Step::Went(left.saga)
    }

    /// Uses the new key once.
    pub(super) async fn probe(&self, work: &Work) -> Step {
        let Some(id) = work.attempt.provider_key_id.as_deref() else { return Step::Lost(damaged()) };
        let provider = match self.outside.provider(&work.attempt.connection).await {
            Ok(provider) => provider,
            Err(error) => return Step::Later(error),
        };
        let secret = match self.sealed_copy(work.attempt.id).await {
            Ok(secret) => secret,
            Err(error) => return Step::GiveUp(error),
        };
        match provider.probe(&secret, id).await {
            Ok(()) => {
                let next = self.reach(work, Phase::Probed).await;
                self.crash_at.reached("mint.probed");
                next
            }
            Err(error) => {
                let transient = error.is_transient() || matches!(error, ProviderError::OutcomeUnknown { .. });
                later_or_never(error.into(), transient)
            }
        }
    }

    /// Whether only its own secret can end what an attempt made.
    pub(super) async fn ends_itself(&self, attempt: &Attempt) -> bool {
        let provider = self.outside.provider(&attempt.connection).await;
        provider.is_ok_and(|provider| provider.ending_itself().is_some())
    }

    /// The secret, from the ledger and nowhere else (R4).
    pub(crate) async fn sealed_copy(&self, attempt: AttemptId) -> Result<Secret> {
        let owner = sealed_owner(attempt);
        let keyring = std::sync::Arc::clone(&self.keyring);
        let opened = self.ledger.read(move |tx| {
            let sealed = tx.sealed_of(&owner)?.ok_or(LedgerError::Damaged { what: "sealed copy" })?;
            keyring.open(&owner, &sealed)
        });
        Ok(opened.await?)
    }
}

fn damaged() -> BrokerError {
    BrokerError::new(Code::Internal, "the attempt was created but the provider's id of it is not on record")
}
