//! Spend: what keys used and cost, as their providers count it. A count is kept where it moved, so that what a key cost since
//! some day is the difference of two.

use std::collections::BTreeMap;
use std::time::Duration;

use futures::StreamExt as _;
use jiff::Timestamp;
use keywright_core::id::VersionId;
use keywright_core::key::{Key, KeyState, Version, VersionState};
use keywright_core::name::ConnectionName;
use keywright_core::provider::{Provider, ProviderError, Usage};
use keywright_core::span::Span;
use keywright_ledger::{LedgerError, Revocation, Tx, UsageCount};

use crate::broker::Broker;
use crate::error::{BrokerError, Result};
use crate::missing::Sought;

/// How many keys of a connection are asked about in the same moment.
const AT_A_TIME: usize = 4;
/// How far two counts may lie apart where a broker runs: twice its pace.
const PACE: Span = Span::from_seconds(2 * 3_600);
/// How long a revocation may wait for the last count.
const LAST_COUNT: Duration = Duration::from_secs(2);

/// By what spending is summed up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum By {
    /// One row a key.
    Key,
    /// One row a project.
    Project,
    /// One row an environment of a project.
    Environment,
    /// One row an agent, or an operator, who asked.
    Agent,
    /// One row a purpose, as it was given.
    Purpose,
}

impl By {
    /// Reads the word.
    ///
    /// # Errors
    /// When it is none.
    pub fn parse(text: &str) -> Result<Self> {
        match text {
            "key" => Ok(Self::Key),
            "project" => Ok(Self::Project),
            "environment" => Ok(Self::Environment),
            "agent" => Ok(Self::Agent),
            "purpose" => Ok(Self::Purpose),
            _ => Err(BrokerError::invalid(
                "spending is summed up by key, project, environment, agent or purpose",
            )),
        }
    }
}

/// What was spent.
#[derive(Debug, Clone, Default)]
pub struct Spend {
    /// The rows, the most expensive first.
    pub rows: Vec<Row>,
    /// From when on; everything when absent.
    pub since: Option<Timestamp>,
    /// Living keys that nobody counted: their provider counts nothing by key, or was not asked yet.
    pub unmetered: usize,
    /// The connections whose counts could not be read just now, with the reason; their rows are older.
    pub unread: BTreeMap<ConnectionName, String>,
}

/// One sum.
#[derive(Debug, Clone)]
pub struct Row {
    /// Of what.
    pub name: String,
    /// How many keys are in it.
    pub keys: usize,
    /// What they used.
    pub usage: Usage,
    /// When the oldest of the counts in it was read.
    pub counted_at: Timestamp,
    /// Of how many of them nobody knows the cost, which is missing in the sum.
    pub cost_unknown: usize,
    /// Of how many of them nobody knows the tokens.
    pub tokens_unknown: usize,
    /// Whether something may be missing, because nobody counted at the beginning of the time.
    pub is_partial: bool,
}

/// What keys used in all their lives, as it was counted last.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Spent {
    /// What.
    pub usage: Usage,
    /// When that was counted.
    pub counted_at: Timestamp,
    /// How many keys are in it.
    pub keys: usize,
}

/// What these keys used; `None` where nobody counts them. No provider is asked.
pub(crate) fn spent(tx: &Tx<'_>, keys: &[Key]) -> std::result::Result<Option<Spent>, LedgerError> {
    let mut sum: Option<Spent> = None;
    for key in keys {
        let Some(counted) = counted(tx, key, None)? else { continue };
        sum = Some(match sum {
            None => Spent { usage: counted.usage, counted_at: counted.at, keys: 1 },
            Some(sum) => Spent {
                usage: plus(sum.usage, counted.usage),
                counted_at: sum.counted_at.min(counted.at),
                keys: sum.keys + 1,
            },
        });
    }
    Ok(sum)
}

/// What one key used.
struct Counted {
    usage: Usage,
    at: Timestamp,
    is_partial: bool,
}

impl Broker {
    /// What keys used and cost, by their providers' counts of this moment.
    ///
    /// # Errors
    /// When the ledger can't be read or written. A provider that can't be asked is part of the answer.
    pub async fn spend(&self, by: By, since: Option<Span>) -> Result<Spend> {
        let unread = self.count_usage().await?;
        let now = self.now();
        let since = since.map(|span| span.before(now));
        let rows = self.ledger.scan(move |tx| {
            let mut sums: BTreeMap<String, Row> = BTreeMap::new();
            let mut unmetered = 0;
            for key in tx.keys(None, None, None, 100_000)? {
                let Some(counted) = counted(tx, &key, since)? else {
                    unmetered += usize::from(key.state == KeyState::Active);
                    continue;
                };
                let name = name(tx, &key, by)?;
                let row = sums.entry(name.clone()).or_insert(Row {
                    name,
                    keys: 0,
                    usage: Usage::default(),
                    counted_at: counted.at,
                    cost_unknown: 0,
                    tokens_unknown: 0,
                    is_partial: false,
                });
                row.keys += 1;
                row.cost_unknown += usize::from(counted.usage.cost_microusd.is_none());
                row.tokens_unknown += usize::from(counted.usage.tokens.is_none());
                row.usage = plus(row.usage, counted.usage);
                row.counted_at = row.counted_at.min(counted.at);
                row.is_partial |= counted.is_partial;
            }
            Ok::<_, LedgerError>((sums, unmetered))
        });
        let (sums, unmetered) = rows.await?;
        let mut rows: Vec<Row> = sums.into_values().collect();
        rows.sort_by_key(|row| std::cmp::Reverse((row.usage.cost_microusd, row.usage.tokens)));
        Ok(Spend { rows, since, unmetered, unread })
    }

    /// What a key used in all its life, as it was counted last; `None` where nobody counts it.
    ///
    /// # Errors
    /// When the ledger can't be read.
    pub async fn spent_by_key(&self, key: &Key) -> Result<Option<Spent>> {
        let key = key.clone();
        Ok(self.ledger.read(move |tx| spent(tx, std::slice::from_ref(&key))).await?)
    }

    /// Asks every provider that counts by key what the living versions used, and keeps it. Returns the connections that could
    /// not be read.
    pub(crate) async fn count_usage(&self) -> Result<BTreeMap<ConnectionName, String>> {
        let mut unread = BTreeMap::new();
        for connection in self.ledger.read(|tx| tx.sound_connections()).await? {
            let provider = match self.outside.provider(&connection.name).await {
                Ok(provider) => provider,
                Err(error) => {
                    unread.insert(connection.name, error.message);
                    continue;
                }
            };
            if provider.metered().is_none() {
                continue;
            }
            let of = connection.name.clone();
            let versions = self.ledger.scan(move |tx| tx.live_versions(&of)).await?;
            let counting = versions.into_iter().map(|version| {
                let provider = std::sync::Arc::clone(&provider);
                async move { self.count(provider.as_ref(), &version).await }
            });
            let counted: Vec<_> = futures::stream::iter(counting).buffer_unordered(AT_A_TIME).collect().await;
            if let Some(error) = counted.into_iter().find_map(std::result::Result::err) {
                unread.insert(connection.name, error.message);
            }
        }
        Ok(unread)
    }

    /// Keeps what a provider counts of a version now, where it counts.
    pub(crate) async fn count(&self, provider: &dyn Provider, version: &Version) -> Result<()> {
        let Some(metered) = provider.metered() else { return Ok(()) };
        let usage = match metered.usage(&version.provider_key_id).await {
            Ok(usage) => usage,
            // Somebody may have ended it at the provider.
            Err(ProviderError::NotFound { .. }) => {
                return match self.seek(provider, version).await? {
                    Sought::Gone => Ok(()),
                    sought => Err(sought.words(version)),
                };
            }
            Err(error) => return Err(error.into()),
        };
        let id = version.id;
        Ok(self.ledger.write(move |tx| tx.count_usage(id, usage)).await?)
    }

    /// What a version used is asked once more, because nobody can afterwards. A moment is spent on it, and no more.
    pub(crate) async fn count_last(&self, debt: &Revocation) {
        let (Some(key), Some(version)) = (debt.key, debt.version) else { return };
        let counting = async {
            let provider = self.outside.provider(&debt.connection).await?;
            if provider.metered().is_none() {
                return Ok(());
            }
            let versions = self.ledger.read(move |tx| tx.versions(key)).await?;
            match versions.iter().find(|known| known.id == version) {
                Some(known) if known.state != VersionState::Revoked => match provider.metered() {
                    Some(metered) => {
                        let (id, usage) = (known.id, metered.usage(&known.provider_key_id).await?);
                        Ok(self.ledger.write(move |tx| tx.count_usage(id, usage)).await?)
                    }
                    None => Ok(()),
                },
                _ => Ok(()),
            }
        };
        match tokio::time::timeout(LAST_COUNT, counting).await {
            Ok(Ok(())) => {}
            Ok(Err(BrokerError { message, .. })) => tracing::debug!(%message, "not counted before it ended"),
            Err(_) => {
                tracing::debug!(revocation = %debt.id, "not counted before it ended: no answer in time")
            }
        }
    }
}

/// What a key's versions used since some moment; `None` where nobody ever counted it.
fn counted(
    tx: &Tx<'_>,
    key: &Key,
    since: Option<Timestamp>,
) -> std::result::Result<Option<Counted>, LedgerError> {
    let mut sum: Option<Counted> = None;
    for version in tx.versions(key.id)? {
        let Some(last) = tx.usage_until(version.id, Timestamp::MAX)? else { continue };
        let attempt = tx.attempt(version.attempt)?;
        let (before, is_partial) = match since {
            None => (Usage::default(), false),
            // It began afterwards, so everything is since then.
            Some(since) if attempt.sent_at.is_some_and(|at| at >= since) => (Usage::default(), false),
            Some(since) => before(tx, version.id, since)?,
        };
        let used = minus(last.usage, before);
        sum = Some(match sum {
            None => Counted { usage: used, at: last.seen_until, is_partial },
            Some(sum) => Counted {
                usage: plus(sum.usage, used),
                // The version in force is the one that is still counted.
                at: sum.at.max(last.seen_until),
                is_partial: sum.is_partial || is_partial,
            },
        });
    }
    Ok(sum)
}

/// What a version had used at a moment, and whether that is only known too high, so that what it used since is too low. Within
/// the usual pace of counting a count stands for its whole time.
fn before(
    tx: &Tx<'_>,
    version: VersionId,
    since: Timestamp,
) -> std::result::Result<(Usage, bool), LedgerError> {
    let (known, next) = (tx.usage_until(version, since)?, tx.usage_after(version, since)?);
    let first_after = |next: &UsageCount, seen: Timestamp| next.at <= PACE.after(seen);
    Ok(match (known, next) {
        (Some(known), None) => (known.usage, known.seen_until < since),
        (Some(known), Some(next)) if known.seen_until >= since || first_after(&next, known.seen_until) => {
            (known.usage, false)
        }
        (_, Some(next)) => (next.usage, true),
        (None, None) => (Usage::default(), true),
    })
}

fn name(tx: &Tx<'_>, key: &Key, by: By) -> std::result::Result<String, LedgerError> {
    Ok(match by {
        By::Key => format!("{}/{}/{}", key.project, key.environment, key.name),
        By::Project => key.project.to_string(),
        By::Environment => format!("{}/{}", key.project, key.environment),
        By::Agent => tx.request(key.request)?.plan.principal.to_string(),
        By::Purpose => tx.request(key.request)?.plan.purpose.to_string(),
    })
}

fn plus(one: Usage, two: Usage) -> Usage {
    let sum = |one: Option<u64>, two: Option<u64>| match (one, two) {
        (None, other) | (other, None) => other,
        (Some(one), Some(two)) => Some(one.saturating_add(two)),
    };
    Usage { cost_microusd: sum(one.cost_microusd, two.cost_microusd), tokens: sum(one.tokens, two.tokens) }
}

/// A count that went back, which providers correct, is nothing and not less than nothing.
fn minus(all: Usage, before: Usage) -> Usage {
    let left = |all: Option<u64>, before: Option<u64>| all.map(|all| all.saturating_sub(before.unwrap_or(0)));
    Usage {
        cost_microusd: left(all.cost_microusd, before.cost_microusd),
        tokens: left(all.tokens, before.tokens),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_provider_does_not_count_stays_unknown_and_nothing_becomes_negative() {
        let usage = |cost, tokens| Usage { cost_microusd: cost, tokens };
        assert_eq!(plus(usage(Some(1), None), usage(Some(2), None)), usage(Some(3), None));
        assert_eq!(plus(usage(None, Some(4)), usage(Some(2), Some(1))), usage(Some(2), Some(5)));
        assert_eq!(minus(usage(Some(5), None), usage(Some(2), Some(9))), usage(Some(3), None));
        assert_eq!(minus(usage(Some(1), Some(1)), usage(Some(2), Some(1))), usage(Some(0), Some(0)));
    }
}
