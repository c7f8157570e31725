//! Switched, Drained, Disabled -> Undone: somebody ended the successor at the provider while the version before it was still there.
//! That one is in force again, and due to be replaced: the places hold a value that works no more.

use jiff::Timestamp;
use keywright_core::audit::{Deed, Outcome, Stage};
use keywright_core::key::{KeyState, VersionState};
use keywright_core::provider::{Provider, ProviderError};
use keywright_core::saga::Phase;
use keywright_ledger::LedgerError;

use super::drain::Old;
use super::{Step, Work};
use crate::broker::Broker;
use crate::error::{BrokerError, Result};
use crate::missing::{APART, Sought, in_doubt};
use crate::record::{of_request, system};
use crate::rotate::rules;

const BECAUSE: &str = "its successor was ended at the provider, and not by this broker: this version is in force again, and due to \
                       be replaced";

/// What there is of a successor at the provider.
enum Successor {
    /// It is there, as far as anybody can say.
    There,
    /// It was not found, and is looked for again at that time; and why nothing is done before, in words.
    Missing(Timestamp, String),
    /// It is gone, and that is on record.
    Gone,
}

impl Broker {
    /// Puts the version before a lost successor in force again. What the rotation switched off is switched on first, unless an
    /// operator switched the key off.
    pub(super) async fn reinstate(&self, work: &Work) -> Step {
        let key = work.key.id;
        let read = self.ledger.read(move |tx| tx.disabled_since(key)).await;
        let (old, off) = match (self.living(work).await, read) {
            (Ok(old), Ok(off)) => (old, off),
            (Err(error), _) => return Step::Lost(error),
            (_, Err(error)) => return Step::Lost(error.into()),
        };
        // While it is only idle it may be off already: the answer to that may have been lost.
        if work.saga.phase != Phase::Switched && off.is_none() {
            match self.switch_on(work, &old).await {
                Ok(()) => {}
                Err(error) if error.transient => return Step::Later(error),
                // The parent may not: what matters is the successor, which is made at once.
                Err(error) => tracing::error!(%key, message = %error.message, "the version before stays off"),
            }
        }
        let (request, saga) = (work.request.clone(), work.saga.id);
        self.advance(work, Phase::Undone, move |tx| {
            let (now, versions) = (tx.key(key)?, tx.versions(key)?);
            if now.state != KeyState::Active || tx.disabled_since(key)? != off {
                // Somebody ended it, or switched it off, since this step began.
                return Err(LedgerError::Conflict { what: "the key" });
            }
            for one in old {
                let state = versions.iter().find(|version| version.id == one.version.id).map(|v| v.state);
                tx.end_drain(one.version.id)?;
                if state != Some(VersionState::Draining) {
                    continue;
                }
                tx.set_version_state(one.version.id, VersionState::Active)?;
                let mut record = of_request(tx.now(), Deed::KeyRotate, Stage::Note, system(), &request);
                record.subject.saga = Some(saga.to_string());
                record.subject.version = Some(one.version.id.to_string());
                record.facts.insert("phase".to_owned(), serde_json::json!(Phase::Undone.as_str()));
                record.facts.insert("because".to_owned(), serde_json::json!(BECAUSE));
                tx.audit(record)?;
            }
            tx.set_rotation(key, Some(tx.now()), 0)?;
            let mut record = of_request(tx.now(), Deed::KeyRotate, Stage::Outcome, system(), &request);
            record.subject.saga = Some(saga.to_string());
            record.result = Some(Outcome::done());
            tx.audit(record).map(drop)
        })
        .await
    }

    /// Whether the successor still exists, asked anew: while it does not, what it replaced is all that works. Where nobody can
    /// say, the end of the old version goes on as before.
    async fn has_successor(&self, work: &Work, provider: &dyn Provider) -> Result<Successor> {
        let attempt = work.attempt.id;
        let Some(successor) = self.ledger.read(move |tx| tx.version_of(attempt)).await? else {
            return Ok(Successor::There);
        };
        if successor.state == VersionState::Revoked {
            return Ok(Successor::Gone);
        }
        match provider.read_back(&successor.provider_key_id).await {
            Err(ProviderError::NotFound { .. }) => Ok(match self.seek(provider, &successor).await? {
                Sought::There => Successor::There,
                Sought::Gone => Successor::Gone,
                Sought::Missing(until) => Successor::Missing(until, in_doubt(successor.number, until)),
            }),
            Err(error) if error.is_transient() => Err(error.into()),
            answer => {
                let id = successor.id;
                let is_missing = self.ledger.read(move |tx| tx.missing_since(id)).await?.is_some();
                match answer {
                    _ if !is_missing => Ok(Successor::There),
                    // Whatever was said before.
                    Ok(_) => {
                        let found = self.ledger.write(move |tx| tx.found_version(id)).await;
                        found.map_err(|error: LedgerError| BrokerError::from(error))?;
                        Ok(Successor::There)
                    }
                    // Nobody can say now, and it was not found before.
                    Err(_) => {
                        let until = APART.after(self.now());
                        Ok(Successor::Missing(until, in_doubt(successor.number, until)))
                    }
                }
            }
        }
    }

    /// Right before a version is switched off or ended: what there is to do instead while its successor is not there. `None` where
    /// it may go on.
    pub(super) async fn instead(&self, work: &Work, provider: &dyn Provider, old: &[Old]) -> Option<Step> {
        match self.has_successor(work, provider).await {
            Ok(_) if work.ends_anyway() => None,
            Ok(Successor::There) => None,
            Ok(Successor::Missing(until, why)) => {
                for one in old {
                    if let Err(error) = self.alert_when_late(work, one, &rules(work.plan()), &why).await {
                        return Some(Step::Lost(error));
                    }
                }
                Some(Step::Rests(until, why))
            }
            Ok(Successor::Gone) => Some(self.reinstate(work).await),
            Err(error) if work.ends_anyway() => {
                tracing::debug!(message = %error.message, "the successor was not looked at");
                None
            }
            Err(error) => Some(Step::Later(error)),
        }
    }

    async fn switch_on(&self, work: &Work, old: &[Old]) -> Result<()> {
        let provider = self.outside.provider(&work.key.connection).await?;
        let Some(disabling) = provider.disabling() else { return Ok(()) };
        for one in old {
            match disabling.enable(&one.version.provider_key_id).await {
                // The next look finds that this one is gone as well, and ends the key.
                Ok(()) | Err(ProviderError::NotFound { .. }) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }
}
