//! Verified -> Switched: the successor lies everywhere and is in force; the version before it begins to drain.

use keywright_core::audit::{Deed, Outcome, Stage};
use keywright_core::id::TellingId;
use keywright_core::key::{KeyState, PlacementState, VersionState};
use keywright_core::plan::Ending;
use keywright_core::receipt::Status;
use keywright_core::saga::Phase;
use keywright_ledger::LedgerError;

use super::create::sealed_owner;
use super::place::placed;
use super::{Step, Work};
use crate::broker::Broker;
use crate::clock::entropy;
use crate::outside::EMBEDDED;
use crate::record::{of_request, system};

impl Broker {
    /// One transaction: whoever reads the key from here on reads the successor, and the version before it still works.
    pub(super) async fn switch(&self, work: &Work) -> Step {
        let (request, attempt, saga) = (work.request.clone(), work.attempt.clone(), work.saga.clone());
        let ends_itself = self.ends_itself(&attempt).await;
        let next = self.advance(work, Phase::Switched, move |tx| {
            let key = tx.key(attempt.key)?;
            if key.state != KeyState::Active {
                return Err(LedgerError::Conflict { what: "the key" });
            }
            let versions = tx.versions(key.id)?;
            let successor = versions
                .iter()
                .find(|version| version.attempt == attempt.id)
                .ok_or(LedgerError::Damaged { what: "version" })?;
            let placements = tx.placements(key.id)?;
            let (new, old): (Vec<_>, Vec<_>) = placements.iter().partition(|p| p.version == successor.id);
            tx.set_version_state(successor.id, VersionState::Active)?;
            for version in versions.iter().filter(|v| v.state == VersionState::Active && v.id != successor.id)
            {
                tx.set_version_state(version.id, VersionState::Draining)?;
                tx.add_drain(version.id, key.id, saga.id)?;
            }
            // However often it was tried before.
            tx.set_rotation(key.id, None, 0)?;
            for consumer in tx.sound_consumers()? {
                if consumer.uses.covers(&key.project, &key.environment, &key.name) {
                    let id = TellingId::generate(tx.now(), entropy()?);
                    tx.add_telling(id, saga.id, key.id, &consumer.name)?;
                }
            }
            // One that was switched off because it leaked is on again: it is another credential now.
            if request.plan.ending == Some(Ending::Leaked) {
                tx.set_disabled(key.id, false)?;
            }
            // The embedded store keeps both; elsewhere the successor's value took the place of the one before it.
            for copy in old.iter().filter(|p| {
                p.state.may_lie()
                    && p.destination.place.store.as_str() != EMBEDDED
                    && new.iter().any(|n| n.destination == p.destination)
            }) {
                tx.move_placement(copy.id, PlacementState::Replaced, None, None)?;
            }
            tx.use_approvals(request.id)?;
            if !ends_itself {
                tx.erase_sealed(&sealed_owner(attempt.id))?;
            }
            let mut record = of_request(tx.now(), Deed::KeyMint, Stage::Outcome, system(), &request);
            record.result = Some(Outcome::done());
            record.subject.attempt = Some(attempt.id.to_string());
            record.subject.version = Some(successor.id.to_string());
            let lies = new.iter().filter(|p| p.state != PlacementState::Replaced);
            let places: Vec<_> = lies.map(|p| placed(p)).collect();
            record.facts.insert("placements".to_owned(), serde_json::json!(places));
            if let Some(expires_at) = attempt.expires_at {
                record.facts.insert("expires_at".to_owned(), serde_json::json!(expires_at.to_string()));
            }
            tx.audit(record)?;
            let mut record = of_request(tx.now(), Deed::KeyRotate, Stage::Note, system(), &request);
            record.subject.saga = Some(saga.id.to_string());
            record.subject.version = Some(successor.id.to_string());
            record.facts.insert("phase".to_owned(), serde_json::json!(Phase::Switched.as_str()));
            let entry = tx.audit(record)?;
            tx.move_request(request.id, Status::InProgress, Status::Active, &[], entry)
        });
        let next = next.await;
        self.crash_at.reached("rotate.switched");
        next
    }
}
