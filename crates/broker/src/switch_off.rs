//! Switch off, switch on: a key that is still there and does not work, where its provider has that. Reversible, so it is what
//! to do first about a key that somebody may have got hold of.

use std::sync::Arc;

use keywright_core::audit::{Deed, Outcome, Stage};
use keywright_core::key::{Key, KeyState, Version, VersionState};
use keywright_core::provider::ProviderError;
use keywright_core::saga::Phase;
use keywright_ledger::LedgerError;

use crate::auth::Proven;
use crate::broker::Broker;
use crate::error::{BrokerError, Code, Result};
use crate::missing::Sought;
use crate::record::{Caller, failed, of_key};

/// Which way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Switch {
    /// It works.
    On,
    /// It does not.
    Off,
}

impl Switch {
    fn deed(self) -> Deed {
        match self {
            Self::On => Deed::KeyEnable,
            Self::Off => Deed::KeyDisable,
        }
    }
}

impl Broker {
    /// Switches on again what was switched off: the key, or else the old version of its rotation.
    ///
    /// # Errors
    /// When neither is switched off, or the provider did not switch it on.
    pub async fn enable(self: &Arc<Self>, operator: &Proven, key: &str, reason: &str) -> Result<Key> {
        let id = self.find_key(key).await?;
        let is_off = self.ledger.read(move |tx| tx.disabled_since(id)).await?.is_some();
        let is_resting = self.ledger.read(move |tx| tx.saga_under_way(id)).await?;
        if is_off || is_resting.is_none_or(|saga| saga.phase != Phase::Disabled) {
            return self.switch_key(operator, key, Switch::On, reason).await;
        }
        self.enable_old(operator, key, reason).await
    }

    /// Switches every version of a key that lives off, or the one in force on again. Twice is as good as once.
    ///
    /// # Errors
    /// When there is no such key, it is over, or its provider has no switch; also when the provider did not confirm.
    pub async fn switch_key(&self, operator: &Proven, key: &str, to: Switch, reason: &str) -> Result<Key> {
        // To switch off is what to do at once; to switch on gives something back.
        if to == Switch::On {
            operator.deciding()?;
        }
        let id = self.find_key(key).await?;
        let key = self.ledger.read(move |tx| tx.key(id)).await?;
        if key.state != KeyState::Active {
            let full = format!("{}/{}/{}", key.project, key.environment, key.name);
            return Err(BrokerError::new(Code::Conflict, format!("key `{full}` is {}", key.state))
                .hint("only an active key can be switched off and on"));
        }
        let saga = self.ledger.read(move |tx| tx.saga_under_way(id)).await?;
        if let Some(saga) = saga.filter(|saga| !saga.phase.has_switched()) {
            let made = "a successor of this key is being made";
            let hint = "`keywright key revoke` ends the key and the successor, and needs not wait";
            return Err(match saga.trouble {
                None => BrokerError::new(Code::TryAgain, made).hint(format!("try again in a moment; {hint}")),
                Some(why) => {
                    BrokerError::new(Code::Conflict, format!("{made}, and that waits: {why}")).hint(hint)
                }
            });
        }
        let provider = self.outside.provider(&key.connection).await?;
        let Some(disabling) = provider.disabling() else {
            return Err(BrokerError::new(
                Code::Unsupported,
                format!("{} has no switch for its keys", provider.facts().kind),
            )
            .hint(
                "`keywright key revoke` ends it, `keywright key rotate` replaces it where it has a template",
            ));
        };
        let reason = self.kept(reason, 500).await?;
        let who = Caller::plain(keywright_core::plan::Principal::Operator(operator.name().clone())).who();
        let mut record = of_key(self.now(), to.deed(), Stage::Intent, who, &key);
        record.facts.insert("because".to_owned(), serde_json::json!(reason.raw()));
        let mut ended = record.clone();
        let versions = self.ledger.write(move |tx| {
            tx.audit(record)?;
            // What is on record as off is off: from here on that is not certain any more.
            if to == Switch::On {
                tx.set_disabled(id, false)?;
            }
            // What a rotation switched off before it ends stays off.
            let rested: Vec<_> = tx
                .drains(id)?
                .into_iter()
                .filter(|drain| drain.disabled_at.is_some())
                .map(|d| d.version)
                .collect();
            let mut versions = tx.versions(id)?;
            versions.retain(|v| to == Switch::Off || !rested.contains(&v.id));
            Ok::<_, LedgerError>(versions)
        });
        let versions = versions.await?;
        let mut outcome = Ok(());
        let lives = |v: &&Version| matches!(v.state, VersionState::Active | VersionState::Draining);
        for version in versions.iter().filter(lives) {
            let switched = match to {
                Switch::On => disabling.enable(&version.provider_key_id).await,
                Switch::Off => disabling.disable(&version.provider_key_id).await,
            };
            match switched {
                Ok(()) => {}
                Err(ProviderError::NotFound { .. }) => match self.seek(provider.as_ref(), version).await {
                    // What is gone is off, too, as long as another one is left to be switched.
                    Ok(Sought::Gone) if to == Switch::Off && versions.iter().filter(lives).count() > 1 => {}
                    Ok(sought) => outcome = Err(sought.words(version)),
                    Err(error) => outcome = Err(error),
                },
                Err(error) => outcome = Err(BrokerError::from(error)),
            }
        }
        ended.at = self.now();
        ended.stage = Stage::Outcome;
        ended.result = Some(outcome.as_ref().map_or_else(failed, |()| Outcome::done()));
        let is_off = outcome.is_ok() && to == Switch::Off;
        let written = self.ledger.write(move |tx| {
            if is_off {
                tx.set_disabled(id, true)?;
            }
            tx.audit(ended)?;
            tx.key(id)
        });
        let key = written.await.map_err(|error: LedgerError| BrokerError::from(error))?;
        outcome.map(|()| key)
    }
}
