//! The copies of keys that end: taken out of their stores, and tried again until nothing of them lies there.

use std::collections::BTreeMap;
use std::sync::Arc;

use keywright_core::channel::Matter;
use keywright_core::id::PlacementId;
use keywright_core::key::{Attempt, Placement, PlacementState};
use keywright_core::name::StoreName;
use keywright_core::plan::Destination;
use keywright_core::store::{Change, Origin, Presence, Standing, Store, StoreError, Write};
use keywright_ledger::{LedgerError, Revocation, Tx};

use crate::broker::Broker;
use crate::error::Result;
use crate::lanes::Lanes;
use crate::notify::owe_notices;
use crate::record::{fact_of, of_copy};

/// The pause between tries to remove a dead value from its store, in seconds.
const CLEAR_AGAIN: i64 = 60;
/// The pause between looks at what waits for people in its store, in seconds.
const PEOPLE_AGAIN: i64 = 300;

impl Broker {
    /// Dead values are taken out of the stores. What can't be removed now is tried again.
    pub(crate) async fn remove_copies(&self, debt: &Revocation) {
        let (Some(key), Some(version)) = (debt.key, debt.version) else { return };
        let Ok(placements) = self.ledger.read(move |tx| tx.placements(key)).await else { return };
        for placement in placements.into_iter().filter(|p| p.version == version && p.state.may_lie()) {
            self.remove_copy(placement).await;
        }
    }

    /// Tries again to remove the copies of versions that are revoked or owed, and looks what became of those that wait for
    /// people.
    pub(crate) async fn clear_places(&self) -> Result<usize> {
        let left = self.left_behind(Vec::new()).await?;
        let count = left.len();
        for placement in left {
            self.remove_copy(placement).await;
        }
        Ok(count)
    }

    /// Begins the same in stores where nobody is at it just now.
    pub(crate) async fn begin_clearing(self: &Arc<Self>, lanes: &mut Lanes<StoreName>) -> Result<usize> {
        let left = self.left_behind(lanes.busy()).await?;
        let count = left.len();
        let mut by_store: BTreeMap<StoreName, Vec<Placement>> = BTreeMap::new();
        for placement in left {
            by_store.entry(placement.destination.place.store.clone()).or_default().push(placement);
        }
        for (store, placements) in by_store {
            let broker = Arc::clone(self);
            lanes.spawn(store, async move {
                for placement in placements {
                    broker.remove_copy(placement).await;
                }
            });
        }
        Ok(count)
    }

    async fn left_behind(&self, besides: Vec<StoreName>) -> Result<Vec<Placement>> {
        let since =
            |seconds| self.now().checked_sub(jiff::SignedDuration::from_secs(seconds)).unwrap_or(self.now());
        let (untried, people) = (since(CLEAR_AGAIN), since(PEOPLE_AGAIN));
        Ok(self.ledger.read(move |tx| tx.placements_left(untried, people, &besides)).await?)
    }

    async fn remove_copy(&self, placement: Placement) {
        let (id, key, version) = (placement.id, placement.key, placement.version);
        let attempt = self.ledger.read(move |tx| {
            let attempt = tx.versions(key)?.into_iter().find(|v| v.id == version).map(|v| v.attempt);
            attempt.map(|a| tx.attempt(a)).transpose()
        });
        let Ok(Some(attempt)) = attempt.await else { return };
        let fate = match self.take_back(&attempt, &placement).await {
            Ok(fate) => Some(fate),
            Err(error) => {
                tracing::warn!(placement = %id, message = %error.message, "a dead value stays in its store for now");
                None
            }
        };
        let written = self.ledger.write(move |tx| {
            let next = fate.as_ref().map(|fate| (fate.state, fate.change.as_ref()));
            if tx.retire_placement(id, next)?
                && let Some(fate) = fate.filter(|fate| {
                    fate.state != placement.state
                        || (fate.change.is_some() && fate.change != placement.change)
                })
            {
                let mut record = of_copy(tx.now(), &tx.key(key)?, &placement, fate.state);
                record.facts.extend(fate.change.as_ref().and_then(fact_of));
                tx.audit(record)?;
                fate.tell(tx, id)?;
            }
            Ok::<_, LedgerError>(())
        });
        if let Err(error) = written.await {
            tracing::warn!(placement = %id, %error, "what became of a dead value is not on record");
        }
    }

    /// Takes a value out of its store, and says what became of it: whatever lies there now and is not ours was left alone.
    /// What waits for people in the store is asked for once, and after that looked at.
    pub(crate) async fn take_back(&self, attempt: &Attempt, placement: &Placement) -> Result<Fate> {
        let Placement { destination, change, .. } = placement;
        // It was never this broker's value.
        if placement.state == PlacementState::Adopted {
            return Ok(Fate::of(PlacementState::Left));
        }
        let store = self.outside.store(&destination.place.store).await?;
        let origin = Origin {
            placement: placement.id,
            key: placement.key,
            version: placement.version,
            marker: attempt.marker.clone(),
        };
        let known = change.clone().unwrap_or_default();
        let waits = match placement.state {
            PlacementState::Waiting | PlacementState::Unwanted => Some(known.clone()),
            PlacementState::Writing => self.sent(store.as_ref(), attempt, &origin, destination).await?,
            PlacementState::Leaving if store.lies(&origin, destination, &known).await? => {
                match store.standing(destination, &known).await? {
                    Standing::Open | Standing::Untold => return Ok(Fate::of(PlacementState::Leaving)),
                    Standing::Closed => return Ok(Fate::of(PlacementState::Kept)),
                    // It was removed, and lies there once more.
                    Standing::Done => None,
                }
            }
            _ => None,
        };
        let standing = match &waits {
            Some(change) => store.withdraw(destination, change).await?,
            None => Standing::Closed,
        };
        // What was approved meanwhile lies there, or will.
        let change = waits.as_ref().unwrap_or(&known);
        match store.remove_late(&origin, destination, change).await {
            Ok(()) => {}
            Err(StoreError::PendingApproval { change, .. }) => {
                return Ok(Fate { state: PlacementState::Leaving, change: Some(change) });
            }
            Err(error) => return Err(error.into()),
        }
        match (waits, standing) {
            (Some(change), Standing::Open | Standing::Untold) => {
                return Ok(Fate { state: PlacementState::Unwanted, change: Some(change) });
            }
            (Some(_), Standing::Closed) => return Ok(Fate::of(PlacementState::Removed)),
            _ => {}
        }
        Ok(Fate::of(match store.look(destination).await {
            Ok(Presence::Foreign) => PlacementState::Left,
            // The removal is what counts; a look that fails takes nothing from it.
            Ok(Presence::Absent | Presence::Ours { .. }) | Err(_) => PlacementState::Removed,
        }))
    }

    /// A change that a write left waiting whose answer never came, or came to a broker that died.
    async fn sent(
        &self,
        store: &dyn Store,
        attempt: &Attempt,
        origin: &Origin,
        destination: &Destination,
    ) -> Result<Option<Change>> {
        let Ok(secret) = self.sealed_copy(attempt.id).await else { return Ok(None) };
        let write = Write { destination, expected: Presence::Absent, origin, secret: &secret };
        Ok(store.awaited(&write).await?)
    }
}

/// What became of a copy that was taken back.
pub(crate) struct Fate {
    pub(crate) state: PlacementState,
    /// The change that the store has of it, where there is one.
    pub(crate) change: Option<Change>,
}

impl Fate {
    fn of(state: PlacementState) -> Self {
        Self { state, change: None }
    }

    /// Where people have to decide something in the store, they hear of it.
    pub(crate) fn tell(&self, tx: &Tx<'_>, copy: PlacementId) -> std::result::Result<(), LedgerError> {
        if self.state.is_ending_by_people() {
            // Of another change of the same copy they hear anew.
            let change = self.change.as_ref().map(|change| format!("/{}", change.text())).unwrap_or_default();
            owe_notices(tx, Matter::Removal, &format!("{copy}{change}"))?;
        }
        Ok(())
    }
}
