//! Whether a credential that was to be revoked has ended.

use keywright_core::provider::{Provider, ProviderError, Recovery};
use keywright_core::span::Span;
use keywright_ledger::Revocation;

use crate::broker::Broker;

use crate::error::{BrokerError, Code, Result};
use crate::revoke::LONGEST_PAUSE;

/// A provider that says "ended" is asked whether the credential is still there: only then the debt is paid.
pub(crate) async fn confirmed(provider: &dyn Provider, provider_key_id: &str) -> Result<()> {
    let facts = provider.facts();
    if facts.recovery == Recovery::Expiry {
        // Nothing shows it; the answer is all there is.
        return Ok(());
    }
    match provider.read_back(provider_key_id).await {
        Err(ProviderError::NotFound { .. }) => Ok(()),
        Ok(_) => {
            let kind = facts.kind;
            let message = format!(
                "{kind} took the revocation and shows the credential all the same; it is tried again"
            );
            Err(BrokerError { transient: true, ..BrokerError::new(Code::Provider, message) })
        }
        // Whoever could not be asked has confirmed nothing.
        Err(error) if error.is_transient() => Err(error.into()),
        // It can't be seen at all: then the answer is all there is. A reconcile looks again.
        Err(error) => {
            tracing::warn!(%error, "the end of a credential could not be confirmed");
            Ok(())
        }
    }
}

impl Broker {
    /// A key that the parent can't end: its own secret can, where the provider has that and the copy is still there.
    pub(crate) async fn end_by_itself(&self, debt: &Revocation, provider: &dyn Provider) -> Result<()> {
        if let (Some(ending), Some(attempt)) = (provider.ending_itself(), debt.attempt)
            && let Ok(secret) = self.sealed_copy(attempt).await
        {
            return Ok(ending.end(&secret).await?);
        }
        self.has_expired(debt).await
    }

    /// A key that nobody can end is paid for when it has ended by itself. Until then its copies are taken away, which is
    /// all that can be done.
    async fn has_expired(&self, debt: &Revocation) -> Result<()> {
        let attempt = debt.attempt;
        let known = self.ledger.read(move |tx| attempt.map(|id| tx.attempt(id)).transpose()).await?;
        let end = known.and_then(|attempt| attempt.expires_at);
        let left = end.map_or(LONGEST_PAUSE, |end| {
            u64::try_from(end.as_second().saturating_sub(self.now().as_second())).unwrap_or(0)
        });
        if left == 0 {
            return Ok(());
        }
        self.remove_copies(debt).await;
        let end = end.map_or_else(|| "when it expires".to_owned(), |end| format!("by itself at {end}"));
        let message =
            format!("the provider can't end this key: it ends {end}; its copies are taken away now");
        Err(BrokerError {
            retry_after: Some(Span::from_seconds(left)),
            ..BrokerError::new(Code::Provider, message)
        })
    }
}
