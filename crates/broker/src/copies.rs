//! The copies of keys that end: taken out of their stores, and tried again until nothing of them lies there.

use keywright_core::key::{Placement, PlacementState};
use keywright_core::plan::Destination;
use keywright_core::store::{Origin, Presence};
use keywright_ledger::{LedgerError, Revocation};

use crate::broker::Broker;
use crate::error::Result;
use crate::record::of_copy;

/// The pause between tries to remove a dead value from its store, in seconds.
const CLEAR_AGAIN: i64 = 60;

impl Broker {
    /// Dead values are taken out of the stores. What can't be removed now is tried again.
    pub(crate) async fn remove_copies(&self, debt: &Revocation) {
        let (Some(key), Some(version)) = (debt.key, debt.version) else { return };
        let Ok(placements) = self.ledger.read(move |tx| tx.placements(key)).await else { return };
        for placement in placements.into_iter().filter(|p| p.version == version && p.state.may_lie()) {
            self.remove_copy(placement).await;
        }
    }

    /// Tries again to remove the copies of versions that are revoked or owed.
    pub(crate) async fn clear_places(&self) -> Result<usize> {
        let since =
            self.now().checked_sub(jiff::SignedDuration::from_secs(CLEAR_AGAIN)).unwrap_or(self.now());
        let left = self.ledger.read(move |tx| tx.placements_left(since)).await?;
        let count = left.len();
        for placement in left {
            self.remove_copy(placement).await;
        }
        Ok(count)
    }

    async fn remove_copy(&self, placement: Placement) {
        let (id, key, version) = (placement.id, placement.key, placement.version);
        let marker = self.ledger.read(move |tx| {
            let attempt = tx.versions(key)?.into_iter().find(|v| v.id == version).map(|v| v.attempt);
            attempt.map(|a| tx.attempt(a)).transpose().map(|a| a.map(|a| a.marker))
        });
        let Ok(Some(marker)) = marker.await else { return };
        let origin = Origin { placement: id, key, version, marker };
        let last = match self.take_back(&origin, &placement.destination).await {
            Ok(last) => Some(last),
            Err(error) => {
                tracing::warn!(placement = %id, message = %error.message, "a dead value stays in its store for now");
                None
            }
        };
        let written = self.ledger.write(move |tx| {
            if tx.retire_placement(id, last)?
                && let Some(last) = last
            {
                tx.audit(of_copy(tx.now(), &tx.key(key)?, &placement, last))?;
            }
            Ok::<_, LedgerError>(())
        });
        if let Err(error) = written.await {
            tracing::warn!(placement = %id, %error, "what became of a dead value is not on record");
        }
    }

    /// Takes a value out of its store, and says what became of it: whatever lies there now and is not ours was left alone.
    pub(crate) async fn take_back(
        &self,
        origin: &Origin,
        destination: &Destination,
    ) -> Result<PlacementState> {
        let store = self.outside.store(&destination.place.store).await?;
        store.remove(origin, destination).await?;
        Ok(match store.look(destination).await {
            Ok(Presence::Foreign) => PlacementState::Left,
            // The removal is what counts; a look that fails takes nothing from it.
            Ok(Presence::Absent | Presence::Ours { .. }) | Err(_) => PlacementState::Removed,
        })
    }
}
