//! Switched, Drained, Disabled -> Undone: somebody ended the successor at the provider while the version before it was still there.
//! That one is in force again, and due to be replaced: the places hold a value that works no more.

use keywright_core::audit::{Deed, Outcome, Stage};
use keywright_core::key::VersionState;
use keywright_core::provider::ProviderError;
use keywright_core::saga::Phase;

use super::{Step, Work};
use crate::broker::Broker;
use crate::record::{of_request, system};

const BECAUSE: &str = "its successor was ended at the provider, and not by this broker: this version is in force again, and due to \
                       be replaced";

impl Broker {
    /// Puts the version before a lost successor in force again. What was switched off is switched on first.
    pub(super) async fn reinstate(&self, work: &Work) -> Step {
        let old = match self.living(work).await {
            Ok(old) => old,
            Err(error) => return Step::Lost(error),
        };
        // While it is only idle it may be off already: the answer to that may have been lost.
        if work.saga.phase != Phase::Switched {
            let provider = match self.outside.provider(&work.key.connection).await {
                Ok(provider) => provider,
                Err(error) => return Step::Later(error),
            };
            if let Some(disabling) = provider.disabling() {
                for one in &old {
                    match disabling.enable(&one.version.provider_key_id).await {
                        // The next look finds that this one is gone as well, and ends the key.
                        Ok(()) | Err(ProviderError::NotFound { .. }) => {}
                        Err(error) => return Step::Later(error.into()),
                    }
                }
            }
        }
        let (request, saga, key) = (work.request.clone(), work.saga.id, work.key.id);
        self.advance(work, Phase::Undone, move |tx| {
            for one in old {
                tx.set_version_state(one.version.id, VersionState::Active)?;
                tx.end_drain(one.version.id)?;
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
}
