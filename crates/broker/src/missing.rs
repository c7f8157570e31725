//! Versions that a provider does not find. One answer may be wrong: a replica lags behind, an address moved, a proxy answers. A
//! version counts as gone once it was looked for twice, some time apart, by its id and in the whole list, and was in neither.
//! Until then nothing is ended or made on account of it. One that comes back afterwards is nobody's orphan: somebody may use it,
//! so people say what becomes of it.

use std::collections::{BTreeMap, HashSet};

use jiff::Timestamp;
use keywright_core::audit::{Deed, Stage};
use keywright_core::id::AttemptId;
use keywright_core::key::{AttemptOutcome, Version, VersionState};
use keywright_core::name::ConnectionName;
use keywright_core::provider::{Listing, Provider, ProviderError, Recovery};
use keywright_core::span::Span;
use keywright_ledger::{LedgerError, Tx};

use crate::broker::Broker;
use crate::clock::entropy;
use crate::ended::is_to_end;
use crate::error::{BrokerError, Code, Result};
use crate::inventory::peers_of;
use crate::record::{of_key, system};
use crate::restored::Fate;
use crate::sweep::{Orphan, TO_END, ended_since, owe_orphan};

/// How far the two looks are apart: longer than replicas lag behind each other.
pub(crate) const APART: Span = Span::from_seconds(120);
/// What the log says of a version that is back.
const BACK: &str = "it was gone at the provider, and is there again; nothing was done about it";

/// What came of looking for a version.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Sought {
    /// It is there.
    There,
    /// It was not found; it is looked for again at that time, and nothing is concluded before.
    Missing(Timestamp),
    /// It is gone, and that is on record.
    Gone,
}

impl Sought {
    /// What to tell somebody who wanted something of the version.
    pub(crate) fn words(self, version: &Version) -> BrokerError {
        let number = version.number;
        match self {
            Self::There => BrokerError::new(
                Code::TryAgain,
                format!("the provider did not find version {number}, and then did"),
            )
            .hint("try again in a moment"),
            Self::Missing(until) => BrokerError::new(Code::TryAgain, in_doubt(number, until))
                .hint("try again after that; one such answer may be wrong"),
            Self::Gone => {
                BrokerError::new(Code::NotFound, format!("version {number} is gone at the provider"))
                    .hint("somebody ended it there; that is on record now (`keywright key show`)")
            }
        }
    }
}

/// Why nothing is done about a version just now.
pub(crate) fn in_doubt(number: u64, until: Timestamp) -> String {
    let until = until.strftime("%Y-%m-%dT%H:%M:%SZ");
    format!(
        "the provider does not find version {number}, which should be there; it is looked for again at {until}"
    )
}

impl Broker {
    /// Looks for a version that should live and that a provider said it does not know.
    ///
    /// # Errors
    /// When the provider gives no answer, or the ledger can't be written.
    pub(crate) async fn seek(&self, provider: &dyn Provider, version: &Version) -> Result<Sought> {
        self.seek_knowing(provider, version, None).await
    }

    /// The same where somebody knows already whether it is in the provider's list.
    pub(crate) async fn seek_knowing(
        &self,
        provider: &dyn Provider,
        version: &Version,
        is_listed: Option<bool>,
    ) -> Result<Sought> {
        let id = version.id;
        let is_there = match provider.read_back(&version.provider_key_id).await {
            Ok(_) => true,
            Err(ProviderError::NotFound { .. }) => match is_listed {
                Some(is_listed) => is_listed,
                None => self.is_listed(provider, Some(version.attempt), &version.provider_key_id).await?,
            },
            Err(error) => return Err(error.into()),
        };
        if is_there {
            self.ledger.write(move |tx| tx.found_version(id)).await.map_err(BrokerError::from)?;
            return Ok(Sought::There);
        }
        let missed = self.ledger.write(move |tx| {
            let since = tx.miss_version(id, APART)?;
            Ok::<_, LedgerError>((since, tx.now()))
        });
        let (since, now) = missed.await?;
        let sure_at = APART.after(since);
        // Two looks that a jump of the clock set apart are one.
        if now < sure_at || self.doubts_clock().is_some() {
            tracing::warn!(version = %id, "not found at its provider; it is looked for again");
            return Ok(Sought::Missing(if now < sure_at { sure_at } else { APART.after(now) }));
        }
        self.note_gone(version).await?;
        Ok(Sought::Gone)
    }

    /// Whether a credential is in its provider's list, where there is one.
    pub(crate) async fn is_listed(
        &self,
        provider: &dyn Provider,
        attempt: Option<AttemptId>,
        provider_key_id: &str,
    ) -> Result<bool> {
        if provider.facts().recovery == Recovery::Expiry {
            return Ok(false);
        }
        let made = self.ledger.read(move |tx| attempt.map(|id| tx.attempt(id)).transpose()).await;
        // One that was made elsewhere has no marker.
        let which = match made {
            Ok(Some(attempt)) if attempt.outcome != AttemptOutcome::Adopted => Listing::Marked,
            _ => Listing::All,
        };
        let listed = provider.list(which).await?;
        Ok(listed.iter().any(|one| one.provider_key_id == provider_key_id))
    }

    /// Whether a credential was gone and came back, and waits for somebody's word.
    pub(crate) async fn came_back(&self, connection: &ConnectionName, provider_key_id: &str) -> Result<bool> {
        let of = connection.clone();
        let back = self.ledger.read(move |tx| tx.back_of(&of)).await?;
        Ok(back.iter().any(|(_, id)| id == provider_key_id))
    }

    /// What becomes of a credential that was adopted, counts as ended, and is in a list: one that was to end by somebody's word ends,
    /// one that only was not found waits for a word.
    pub(crate) async fn came_again(
        &self,
        connection: &ConnectionName,
        provider_key_id: &str,
        listed_at: Timestamp,
    ) -> Result<Fate> {
        let (connection, id, random) = (connection.clone(), provider_key_id.to_owned(), entropy()?);
        let only_looks = self.refuse_if_forked().is_err();
        let fate = self.ledger.write(move |tx| {
            for peer in peers_of(tx, &connection)? {
                let version = match tx.key_of_credential(&peer, &id) {
                    Ok(known) => known.map(|(_, version)| version),
                    Err(LedgerError::Missing { .. } | LedgerError::Edited { .. }) => None,
                    Err(error) => return Err(error),
                };
                let is_anybodys = version.is_some_and(|version| version.state != VersionState::Revoked);
                if is_anybodys || ended_since(tx, &peer, &id, listed_at)? {
                    return Ok(Fate::Owned);
                }
            }
            if is_back(tx, &connection, &id, !only_looks)? {
                return Ok(Fate::Lost);
            }
            let owed = match tx.key_of_credential(&connection, &id) {
                Ok(Some((key, version))) => {
                    tx.was_owed(&connection, &version)? || is_to_end(tx, &key, &version)?
                }
                // What an edited row says of it gives nobody the word to end it.
                Ok(None) | Err(LedgerError::Missing { .. } | LedgerError::Edited { .. }) => false,
                Err(error) => return Err(error),
            };
            if only_looks || !owed {
                return Ok(Fate::Lost);
            }
            let orphan = Orphan { connection, provider_key_id: id, attempt: None, reason: TO_END };
            owe_orphan(tx, orphan, random)?;
            Ok::<_, LedgerError>(Fate::Owed)
        });
        Ok(fate.await?)
    }

    /// What came back and is not in the list any more is no news any more.
    pub(crate) async fn forget_back(&self, connection: &ConnectionName, seen: &[String]) -> Result<()> {
        let (of, seen) = (connection.clone(), seen.to_vec());
        let written = self.ledger.write(move |tx| {
            for (version, _) in tx.back_of(&of)?.into_iter().filter(|(_, id)| !seen.contains(id)) {
                tx.set_version_back(version, false)?;
            }
            Ok::<_, LedgerError>(())
        });
        Ok(written.await?)
    }

    /// Looks again for what was missing a while ago.
    pub(crate) async fn seek_due(&self) -> Result<usize> {
        if self.refuse_if_forked().is_err() {
            return Ok(0);
        }
        let due = self.ledger.read(|tx| tx.versions_to_look_for()).await?;
        // Where many are missing, their list is read once.
        let mut lists: BTreeMap<ConnectionName, HashSet<String>> = BTreeMap::new();
        for version in &due {
            let (key, id) = (version.key, version.id);
            let sought = async {
                let connection = self.ledger.read(move |tx| tx.key(key)).await?.connection;
                let provider = self.outside.provider(&connection).await?;
                if provider.facts().recovery != Recovery::Expiry && !lists.contains_key(&connection) {
                    let listed = provider.list(Listing::All).await?;
                    let ids = listed.into_iter().map(|one| one.provider_key_id).collect();
                    lists.insert(connection.clone(), ids);
                }
                let is_listed =
                    lists.get(&connection).is_some_and(|ids| ids.contains(&version.provider_key_id));
                self.seek_knowing(provider.as_ref(), version, Some(is_listed)).await
            };
            if let Err(error) = sought.await {
                tracing::warn!(version = %id, message = %error.message, "it could not be looked for");
                // Nobody looked, so this counts for nothing but the time of the next look.
                let again = move |tx: &Tx<'_>| tx.look_for_version_later(id, APART);
                self.ledger.write(again).await.map_err(|error: LedgerError| BrokerError::from(error))?;
            }
        }
        Ok(due.len())
    }
}

/// Whether a credential is a version that was gone, and that nobody here ended. That it is back is on record, once.
pub(crate) fn is_back(
    tx: &Tx<'_>,
    connection: &ConnectionName,
    provider_key_id: &str,
    may_write: bool,
) -> std::result::Result<bool, LedgerError> {
    let (key, version) = match tx.key_of_credential(connection, provider_key_id) {
        Ok(Some(found)) => found,
        Ok(None) | Err(LedgerError::Edited { .. } | LedgerError::Missing { .. }) => return Ok(false),
        Err(error) => return Err(error),
    };
    if version.state != VersionState::Revoked
        || tx.was_owed(connection, &version)?
        || is_to_end(tx, &key, &version)?
    {
        return Ok(false);
    }
    if may_write && tx.set_version_back(version.id, true)? {
        let mut record = of_key(tx.now(), Deed::KeySweep, Stage::Note, system(), &key);
        record.subject.version = Some(version.id.to_string());
        record.facts.insert("because".to_owned(), serde_json::json!(BACK));
        tx.audit(record)?;
    }
    Ok(true)
}
