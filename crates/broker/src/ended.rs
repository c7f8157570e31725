//! What there is of a key to be ended, and whether a credential that was to be revoked has ended.

use std::collections::HashSet;

use jiff::Timestamp;
use keywright_core::audit::{Deed, Stage};
use keywright_core::id::{AttemptId, KeyId, VersionId};
use keywright_core::key::{Key, Version, VersionState};
use keywright_core::provider::{Ended, Provider, ProviderError, Recovery};
use keywright_core::span::Span;
use keywright_ledger::{AuditFilter, LedgerError, Revocation, Tx};

use crate::broker::Broker;
use crate::error::{BrokerError, Code, Result};
use crate::inventory::peers_of;
use crate::missing::APART;
use crate::pay::LONGEST_PAUSE;
use crate::revoke::GONE;

/// The fact of an entry that names a credential which a provider gave by mistake, and which is somebody else's.
pub(crate) const NOT_OURS: &str = "not_ours";

/// Why a debt is left for a while.
pub(crate) fn look_again(until: Timestamp) -> BrokerError {
    let until = until.strftime("%Y-%m-%dT%H:%M:%SZ");
    let message = format!(
        "the provider knows no such credential, and did not end one: that may be wrong, so it is looked for once more at {until}"
    );
    BrokerError::new(Code::TryAgain, message)
}

impl Broker {
    /// Whether a credential is gone after a provider was told to end it: `None` if so, or the time at which it is looked for once
    /// more. What the provider says that it ended, and then does not know, is gone. Whoever just does not know it may be wrong.
    pub(crate) async fn confirm(
        &self,
        debt: &Revocation,
        provider: &dyn Provider,
        ended: Ended,
    ) -> Result<Option<Timestamp>> {
        if provider.facts().recovery == Recovery::Expiry {
            // Nothing shows it; the answer is all there is.
            return Ok(None);
        }
        let was_missing = self.was_missing(debt).await?;
        // It may have been ended before, by a call whose answer was lost.
        let is_known = match ended {
            Ended::Taken => true,
            Ended::MaybeTaken => debt.missing_since.is_none(),
            Ended::NotFound => debt.sent_at.is_some() && debt.missing_since.is_none(),
        };
        let is_sure = is_known && !was_missing;
        match provider.read_back(&debt.provider_key_id).await {
            Err(ProviderError::NotFound { .. }) => {}
            Ok(_) => return self.is_shown(debt, provider).await,
            // Whoever could not be asked has confirmed nothing.
            Err(error) if error.is_transient() => return Err(error.into()),
            // It can't be seen at all: then the answer is all there is. A reconcile looks again.
            Err(error) => tracing::warn!(%error, "the end of a credential could not be confirmed"),
        }
        if is_sure && ended == Ended::Taken {
            return Ok(None);
        }
        // A first look only has it looked for once more, for which no list is read.
        if is_sure || debt.missing_since.is_some() {
            match self.is_listed(provider, debt.attempt, &debt.provider_key_id).await {
                Ok(true) => return self.is_shown(debt, provider).await,
                Ok(false) if is_sure => return Ok(None),
                Ok(false) => {}
                Err(error) if error.transient => return Err(error),
                Err(error) => tracing::warn!(message = %error.message, "there is no list to look in"),
            }
        }
        let id = debt.id;
        let missed =
            self.ledger.write(move |tx| Ok::<_, LedgerError>((tx.miss_revocation(id)?, tx.now()))).await;
        let (since, now) = missed.map_err(BrokerError::from)?;
        let sure_at = APART.after(since);
        if now < sure_at {
            return Ok(Some(sure_at));
        }
        // Two looks that a jump of the clock set apart are one.
        Ok(self.doubts_clock().map(|_| APART.after(now)))
    }

    /// Whether the provider did not find the version of a debt before it was told to end it.
    async fn was_missing(&self, debt: &Revocation) -> Result<bool> {
        let Some(version) = debt.version else { return Ok(false) };
        let since = self.ledger.read(move |tx| tx.missing_since(version)).await?;
        Ok(since.is_some_and(|since| debt.sent_at.is_none_or(|sent| since < sent)))
    }

    async fn is_shown<T>(&self, debt: &Revocation, provider: &dyn Provider) -> Result<T> {
        if debt.missing_since.is_some() {
            let id = debt.id;
            self.ledger.write(move |tx| tx.found_revocation(id)).await.map_err(BrokerError::from)?;
        }
        let kind = provider.facts().kind;
        let message =
            format!("{kind} took the revocation and shows the credential all the same; it is tried again");
        Err(BrokerError { transient: true, ..BrokerError::new(Code::Provider, message) })
    }

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
    /// Whether it is known to live, as far as the ledger says.
    pub(crate) lives: bool,
}

/// What the log tells of the credentials of a key, by the provider's ids of them.
#[derive(Default)]
struct Told {
    /// What was made or adopted, and did not end since.
    made: Vec<(String, Option<AttemptId>)>,
    /// What a provider confirmed to be gone.
    ended: HashSet<String>,
    /// What the provider said by mistake: it is somebody else's.
    not_ours: HashSet<String>,
}

impl Told {
    fn of(tx: &Tx<'_>, key: KeyId) -> std::result::Result<Self, LedgerError> {
        let filter =
            AuditFilter { key: Some(key), limit: 10_000, newest_first: true, ..AuditFilter::default() };
        let mut told = Self::default();
        for stored in tx.audit_entries(&filter)? {
            if tx.check_entry(&stored).is_err() {
                continue;
            }
            let entry = stored.entry()?;
            let record = entry.record();
            let fact = |name: &str| record.facts.get(name).and_then(serde_json::Value::as_str);
            told.not_ours.extend(fact(NOT_OURS).map(str::to_owned));
            let Some(id) = fact("provider_key_id") else { continue };
            match (record.deed, record.stage) {
                (Deed::KeyRevoke, Stage::Outcome) if record.result.as_ref().is_some_and(|went| went.ok) => {
                    told.ended.insert(id.to_owned());
                }
                // The newest come first: what ended before did so in another life.
                (Deed::KeyMint, Stage::Note) | (Deed::KeyAdopt, Stage::Outcome)
                    if !told.ended.contains(id) =>
                {
                    let attempt = record.subject.attempt.as_deref().and_then(|id| AttemptId::parse(id).ok());
                    told.made.push((id.to_owned(), attempt));
                }
                _ => {}
            }
        }
        Ok(told)
    }
}

/// What is to be ended of a key: its versions that live, those that somebody else ended, which may come back, and whatever else the
/// log says was ever made for it and not ended. Rows can be deleted and states edited; the provider knows what of it is gone.
pub(crate) fn to_end(tx: &Tx<'_>, key: &Key) -> std::result::Result<Vec<Made>, LedgerError> {
    let of_version = |v: &Version, lives| Made {
        provider_key_id: v.provider_key_id.clone(),
        version: Some(v.id),
        attempt: Some(v.attempt),
        lives,
    };
    let (versions, told) = (tx.sound_versions(key.id)?, Told::of(tx, key.id)?);
    let mut made = Vec::new();
    for version in &versions {
        let lives = version.state != VersionState::Revoked;
        if lives || is_left(tx, key, &told, version)? {
            made.push(of_version(version, lives));
        }
    }
    for (id, attempt) in told.made {
        if !told.not_ours.contains(&id)
            && made.iter().all(|known| known.provider_key_id != id)
            && versions.iter().all(|known| known.provider_key_id != id)
        {
            made.push(Made { provider_key_id: id, version: None, attempt, lives: false });
        }
    }
    Ok(made)
}

/// Whether somebody said that a version is to end, as the log has it, and it was not noted since that somebody else ended it. The
/// row of a debt can be deleted, and with it what was said.
pub(crate) fn is_to_end(tx: &Tx<'_>, key: &Key, version: &Version) -> std::result::Result<bool, LedgerError> {
    let filter = AuditFilter {
        key: Some(key.id),
        deed: Some(Deed::KeyRevoke),
        newest_first: true,
        limit: 10_000,
        ..AuditFilter::default()
    };
    let id = version.id.to_string();
    for stored in tx.audit_entries(&filter)? {
        if tx.check_entry(&stored).is_err() {
            continue;
        }
        let entry = stored.entry()?;
        let record = entry.record();
        let of = record.subject.version.as_deref();
        // What undoes an attempt says nothing of the others.
        let is_of_all = of.is_none() && record.subject.attempt.is_none();
        let because = record.facts.get("because").and_then(serde_json::Value::as_str);
        match record.stage {
            Stage::Intent if of == Some(id.as_str()) || is_of_all => return Ok(true),
            Stage::Note if of == Some(id.as_str()) && because == Some(GONE) => return Ok(false),
            Stage::Intent | Stage::Note | Stage::Outcome => {}
        }
    }
    Ok(false)
}

/// Whether a version is over and was not ended here, as the log has it: somebody else ended it, and nobody here would end it if it
/// came back. What its rows say of that can be edited.
fn is_left(tx: &Tx<'_>, key: &Key, told: &Told, version: &Version) -> std::result::Result<bool, LedgerError> {
    let id = &version.provider_key_id;
    Ok(!told.ended.contains(id) && !told.not_ours.contains(id) && !has_another(tx, key, version)?)
}

/// Whether the credential of a version that is over belongs to another one by now: it came back and was adopted.
fn has_another(tx: &Tx<'_>, key: &Key, version: &Version) -> std::result::Result<bool, LedgerError> {
    for peer in peers_of(tx, &key.connection)? {
        match tx.key_of_credential(&peer, &version.provider_key_id) {
            Ok(Some((_, known))) if known.state != VersionState::Revoked => return Ok(true),
            Ok(_) | Err(LedgerError::Missing { .. } | LedgerError::Edited { .. }) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(false)
}
