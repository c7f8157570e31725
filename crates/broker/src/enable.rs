//! Enable: a version that a rotation replaced, and that was switched off, is missed: it is switched on again, and drains anew.

use std::sync::Arc;

use keywright_core::audit::{Deed, Stage};
use keywright_core::key::{Key, VersionState};
use keywright_core::plan::Principal;
use keywright_core::saga::Phase;
use keywright_ledger::LedgerError;

use crate::auth::Proven;
use crate::broker::Broker;
use crate::error::{BrokerError, Code, Result};
use crate::record::{Caller, of_key};

impl Broker {
    /// Switches on again what a rotation switched off. Its use is watched as if it was seen in use just now; words that it may
    /// end count no more.
    ///
    /// # Errors
    /// When nothing of the key is switched off, or the provider did not switch it on.
    pub async fn enable_old(self: &Arc<Self>, operator: &Proven, key: &str, reason: &str) -> Result<Key> {
        self.refuse_if_forked()?;
        operator.deciding()?;
        let id = self.find_key(key).await?;
        let who = Caller::plain(Principal::Operator(operator.name().clone())).who();
        let reason = self.kept(reason, 500).await?;
        let (owner, lease) = (self.owner.clone(), self.lease());
        // Under a lease of our own: whoever revokes it does not at the same time.
        let claimed = self.ledger.write(move |tx| {
            let key = tx.key(id)?;
            let is_off = tx.saga_under_way(id)?.filter(|saga| saga.phase == Phase::Disabled);
            let saga = is_off.ok_or_else(|| nothing_is_off(&key))?;
            match tx.wake_saga(saga.id) {
                Ok(()) => {}
                Err(LedgerError::Conflict { .. }) => return Err(busy()),
                Err(error) => return Err(error.into()),
            }
            let saga = tx.claim_saga(saga.id, &owner, lease)?.ok_or_else(busy)?;
            let living = tx.versions(id)?.into_iter().filter(|v| v.state == VersionState::Draining);
            Ok::<_, BrokerError>((key, saga, living.collect::<Vec<_>>()))
        });
        let (key, saga, old) = claimed.await?;
        let _at_work = self.at_work(&saga);
        let enabled = async {
            let provider = self.outside.provider(&key.connection).await?;
            let Some(disabling) = provider.disabling() else { return Err(nothing_is_off(&key)) };
            for version in &old {
                disabling.enable(&version.provider_key_id).await?;
            }
            Ok(())
        };
        let enabled: Result<()> = enabled.await;
        let (now, record) = (self.now(), of_key(self.now(), Deed::KeyRotate, Stage::Note, who, &key));
        let freed = saga.clone();
        let written = self.ledger.write(move |tx| {
            let saga = match enabled {
                Err(error) => {
                    // It rests as before, and is still off as far as anybody knows.
                    tx.postpone_saga(&freed, now, None, freed.trouble.as_deref().unwrap_or_default())?;
                    return Err(error);
                }
                Ok(()) => tx.advance_saga(&freed, Phase::Switched, freed.attempt, lease, None)?,
            };
            for version in &old {
                tx.set_drain_disabled(version.id, false)?;
                tx.see_use(version.id)?;
                let mut record = record.clone();
                record.subject.saga = Some(saga.id.to_string());
                record.subject.version = Some(version.id.to_string());
                record.facts.insert("phase".to_owned(), serde_json::json!("enabled"));
                record.facts.insert("because".to_owned(), serde_json::json!(reason.raw()));
                tx.audit(record)?;
            }
            tx.postpone_saga(&saga, now, None, "the old version was switched on again")?;
            Ok::<_, BrokerError>(())
        });
        written.await?;
        self.run_saga(saga.id).await;
        Ok(key)
    }
}

fn nothing_is_off(key: &Key) -> BrokerError {
    let full = format!("{}/{}/{}", key.project, key.environment, key.name);
    BrokerError::new(Code::Conflict, format!("no version of key `{full}` is switched off"))
        .hint(format!("`keywright key show {full}` says how it stands"))
}

fn busy() -> BrokerError {
    BrokerError::new(Code::TryAgain, "the rotation of this key is being worked on just now")
        .hint("try it again")
}
