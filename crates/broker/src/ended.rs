//! What there is of a key to be ended, and whether a credential that was to be revoked has ended.

use keywright_core::audit::{Deed, Stage};
use keywright_core::id::{AttemptId, KeyId, VersionId};
use keywright_core::key::{Version, VersionState};
use keywright_core::provider::{Provider, ProviderError, Recovery};
use keywright_core::span::Span;
use keywright_ledger::{AuditFilter, LedgerError, Revocation, Tx};

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

/// Something that was made for a key.
pub(crate) struct Made {
    pub(crate) provider_key_id: String,
    pub(crate) version: Option<VersionId>,
    pub(crate) attempt: Option<AttemptId>,
}

/// What is to be ended of a key: its versions that live. Rows can be deleted and states edited; so when no version seems to
/// live, it is all that the log says was ever made for it. The provider knows what of it is gone.
pub(crate) fn to_end(tx: &Tx<'_>, key: KeyId) -> std::result::Result<Vec<Made>, LedgerError> {
    let versions = tx.versions(key)?;
    let of_version = |v: &Version| Made {
        provider_key_id: v.provider_key_id.clone(),
        version: Some(v.id),
        attempt: Some(v.attempt),
    };
    let living: Vec<_> =
        versions.iter().filter(|v| v.state != VersionState::Revoked).map(of_version).collect();
    if !living.is_empty() {
        // What was gone at the provider may come back: then it is known that it was to end.
        let connection = tx.key(key)?.connection;
        let mut all = living;
        for gone in versions.iter().filter(|v| v.state == VersionState::Revoked) {
            if !tx.is_or_was_owed(&connection, &gone.provider_key_id)? {
                all.push(of_version(gone));
            }
        }
        return Ok(all);
    }
    let mut made: Vec<_> = versions.iter().map(of_version).collect();
    let filter = AuditFilter { key: Some(key), limit: 10_000, ..AuditFilter::default() };
    for stored in tx.audit_entries(&filter)? {
        if tx.check_entry(&stored).is_err() {
            continue;
        }
        let entry = stored.entry()?;
        let record = entry.record();
        let id = record.facts.get("provider_key_id").and_then(serde_json::Value::as_str);
        let came = matches!(
            (record.deed, record.stage),
            (Deed::KeyMint, Stage::Note) | (Deed::KeyAdopt, Stage::Outcome)
        );
        if let (true, Some(id)) = (came, id)
            && made.iter().all(|known| known.provider_key_id != id)
        {
            let attempt = record.subject.attempt.as_deref().and_then(|id| AttemptId::parse(id).ok());
            made.push(Made { provider_key_id: id.to_owned(), version: None, attempt });
        }
    }
    Ok(made)
}
