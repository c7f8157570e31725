//! Probed -> Placed -> Verified -> Active: the value goes into every store, is looked at again, and is in force.

use std::sync::Arc;

use keywright_core::audit::{Deed, Outcome, Stage};
use keywright_core::channel::Matter;
use keywright_core::id::PlacementId;
use keywright_core::key::{Key, KeyState, Placement, PlacementState, VersionState};
use keywright_core::marker::{Marker, Recognised};
use keywright_core::plan::{Destination, Plan};
use keywright_core::receipt::Status;
use keywright_core::saga::{Phase, SagaKind};
use keywright_core::secret::Secret;
use keywright_core::span::Span;
use keywright_core::store::{Change, Origin, Presence, Standing, Store, StoreError, Write, Written};
use keywright_ledger::LedgerError;

use super::create::sealed_owner;
use super::{Step, Work, later_or_never};
use crate::broker::Broker;
use crate::clock::entropy;
use crate::error::{BrokerError, Code};
use crate::notify::owe_notices;
use crate::record::{fact_of, of_placement, of_request, who};
use crate::rotate::first_due;
use crate::shared::LEASE;
use crate::sight::{occupied, sees};

/// The longest that a write may be under way that was never answered, in seconds: the claim of whoever sent it, and ten
/// minutes on the wire and in the store.
const LONGEST_LIFE: u64 = LEASE + 600;

impl Broker {
    /// Writes each placement that is not written yet.
    pub(super) async fn place(&self, work: &Work) -> Step {
        if let Err(step) = self.place_all(work).await {
            return step;
        }
        let next = self.advance(work, Phase::Placed, |_| Ok(())).await;
        self.crash_at.reached("mint.placed");
        next
    }

    async fn place_all(&self, work: &Work) -> Result<(), Step> {
        let done = [PlacementState::Written, PlacementState::Verified, PlacementState::Replaced];
        let placements = self.placements_of(work).await.map_err(Step::Lost)?;
        for placement in placements.iter().filter(|p| !done.contains(&p.state)) {
            self.place_one(work, placement).await?;
        }
        Ok(())
    }

    /// Whether a plan's places are free, looked at before anything is made. They are looked at again when they are
    /// written.
    pub(crate) async fn refuse_taken(&self, plan: &Plan) -> Result<(), BrokerError> {
        for destination in &plan.destinations {
            let store = self.outside.store(&destination.place.store).await?;
            let presence = store.look(destination).await?;
            self.may_write(plan, destination, &presence, None).await?;
        }
        Ok(())
    }

    async fn place_one(&self, work: &Work, placement: &Placement) -> Result<(), Step> {
        if placement.state == PlacementState::Rejected {
            let (store, change) =
                (placement.destination.place.store.clone(), placement.change.clone().unwrap_or_default());
            return Err(Step::GiveUp(StoreError::Rejected { store, change }.into()));
        }
        let store = self.outside.store(&placement.destination.place.store).await.map_err(Step::Later)?;
        let expected = self.expected(work, &store, placement).await?;
        let secret = self.sealed_copy(work.attempt.id).await.map_err(Step::GiveUp)?;
        let origin = origin(work, placement);
        let write = Write { destination: &placement.destination, expected, origin: &origin, secret: &secret };
        if placement.state == PlacementState::Writing {
            // Whoever sent it may have died before the answer came, or the answer was lost.
            let awaited = store.awaited(&write).await.map_err(|error| later(placement, error))?;
            if let Some(change) = awaited {
                return Err(self.wait_for(work, placement, change).await);
            }
        }
        self.note(work, placement, PlacementState::Writing, None).await?;
        self.crash_at.reached("mint.writing");
        match store.write(&write).await {
            Ok(written) => self.note(work, placement, PlacementState::Written, Some(written)).await,
            Err(StoreError::PendingApproval { change, .. }) => {
                Err(self.wait_for(work, placement, change).await)
            }
            Err(error) => Err(later(placement, error)),
        }
    }

    /// The store has the change, and somebody has to approve it there.
    async fn wait_for(&self, work: &Work, placement: &Placement, change: Change) -> Step {
        let (saga, request, waiting) = (work.saga.clone(), work.request.clone(), placement.clone());
        let awaited = change.clone();
        let noted = self.ledger.write(move |tx| {
            tx.still_ours(&saga)?;
            let mut record = of_placement(tx.now(), &request, &waiting, (PlacementState::Waiting, None));
            record.facts.extend(fact_of(&awaited));
            tx.audit(record)?;
            owe_notices(tx, Matter::Write, &waiting.id.to_string())?;
            tx.await_placement(waiting.id, &awaited)
        });
        match noted.await {
            Ok(()) => waits(placement, change),
            Err(error) => Step::Lost(LedgerError::into(error)),
        }
    }

    /// The value does not lie there yet: nobody approved the change, or somebody rejected it.
    async fn still_waits(&self, work: &Work, store: &Arc<dyn Store>, placement: &Placement) -> Step {
        let change = placement.change.clone().unwrap_or_default();
        match store.standing(&placement.destination, &change).await {
            Ok(Standing::Closed) => match self.note(work, placement, PlacementState::Rejected, None).await {
                // Loaded anew: whether there is a way back may depend on this very placement.
                Ok(()) => Step::Went(work.saga.clone()),
                Err(step) => step,
            },
            Ok(Standing::Open | Standing::Done | Standing::Untold) => waits(placement, change),
            Err(error) => later(placement, error),
        }
    }

    /// What may lie at the place: nothing, our own earlier write, or the remains of a key of ours that is gone. Where a
    /// change waits for somebody's approval in the store, a second one would only be another to approve.
    async fn expected(
        &self,
        work: &Work,
        store: &Arc<dyn Store>,
        placement: &Placement,
    ) -> Result<Presence, Step> {
        let presence = store.look(&placement.destination).await.map_err(|error| later(placement, error))?;
        let own = Some(&work.attempt.marker);
        let is_own = matches!(&presence, Presence::Ours { marker, .. } if marker.as_ref() == own);
        if presence == Presence::Foreign && self.is_adopted(work, placement).await.map_err(Step::Lost)? {
            return self.over_adopted(work, store, placement).await;
        }
        match (placement.state, &presence) {
            // Either the half of our own write, or somebody's value. The store is asked to write where nothing lies: it sees
            // the value, finishes what is ours, and leaves what is not.
            (PlacementState::Writing | PlacementState::Waiting, Presence::Foreign) => Ok(Presence::Absent),
            (PlacementState::Waiting, _) if !is_own => Err(self.still_waits(work, store, placement).await),
            _ if self.is_before(work, placement, &presence).await.map_err(Step::Lost)? => Ok(presence),
            _ => {
                self.may_write(&work.request.plan, &placement.destination, &presence, own)
                    .await
                    .map_err(Step::GiveUp)?;
                Ok(presence)
            }
        }
    }

    /// Whether what lies at a place is the copy that a rotation is to replace. Where the store can't tell whose value it is, the
    /// ledger can: a place is one key's.
    async fn is_before(
        &self,
        work: &Work,
        placement: &Placement,
        presence: &Presence,
    ) -> Result<bool, BrokerError> {
        let Presence::Ours { marker, .. } = presence else { return Ok(false) };
        if work.saga.kind != SagaKind::Rotate {
            return Ok(false);
        }
        if let Some(marker) = marker {
            return Ok(self.key_of(marker.as_str()).await.is_some_and(|key| key.id == work.key.id));
        }
        let (key, destination, version) = (work.key.id, placement.destination.clone(), placement.version);
        let placements = self.ledger.read(move |tx| tx.placements(key)).await?;
        Ok(placements.iter().any(|p| {
            p.version != version && p.destination == destination && p.state == PlacementState::Verified
        }))
    }

    /// Whether an operator gave a place over to the key, whatever lies there.
    async fn is_adopted(&self, work: &Work, placement: &Placement) -> Result<bool, BrokerError> {
        let (key, destination) = (work.key.id, placement.destination.clone());
        let placements = self.ledger.read(move |tx| tx.placements(key)).await?;
        let is_it = |p: &Placement| p.state == PlacementState::Adopted && p.destination == destination;
        Ok(placements.iter().any(is_it))
    }

    /// Somebody's value lies where the successor's is to lie, and may be written over; or the change that does it waits.
    async fn over_adopted(
        &self,
        work: &Work,
        store: &Arc<dyn Store>,
        placement: &Placement,
    ) -> Result<Presence, Step> {
        if placement.state != PlacementState::Waiting {
            return Ok(Presence::Foreign);
        }
        let change = placement.change.clone().unwrap_or_default();
        match store.standing(&placement.destination, &change).await {
            // What was approved is there now, or half of it.
            Ok(Standing::Done) => Ok(Presence::Foreign),
            _ => Err(self.still_waits(work, store, placement).await),
        }
    }

    pub(crate) async fn may_write(
        &self,
        plan: &Plan,
        destination: &Destination,
        presence: &Presence,
        own: Option<&Marker>,
    ) -> Result<(), BrokerError> {
        match presence {
            Presence::Absent => Ok(()),
            Presence::Ours { marker: Some(marker), .. } if Some(marker) == own => Ok(()),
            Presence::Ours { marker, .. } => {
                let key = match marker {
                    Some(marker) => self.key_of(marker.as_str()).await,
                    None => None,
                };
                may_replace(plan, destination, key.as_ref())
            }
            Presence::Foreign => Err(occupied(&plan.principal, destination)),
        }
    }

    /// The key of this home that a marker belongs to.
    pub(crate) async fn key_of(&self, marker: &str) -> Option<Key> {
        let Recognised::Ours { attempt, .. } = self.keyring.markers().recognise(marker) else { return None };
        let key = self.ledger.read(move |tx| {
            let attempt = tx.attempt(attempt)?;
            tx.key(attempt.key)
        });
        key.await.ok()
    }

    /// Looks at each placement again, once nothing that was sent before can land any more. What is not there is written again.
    pub(super) async fn verify(&self, work: &Work) -> Step {
        if let Err(step) = self.verify_all(work).await {
            return step;
        }
        let next = self.advance(work, Phase::Verified, |_| Ok(())).await;
        self.crash_at.reached("mint.verified");
        next
    }

    async fn verify_all(&self, work: &Work) -> Result<(), Step> {
        self.place_all(work).await?;
        let placements = self.placements_of(work).await.map_err(Step::Lost)?;
        for placement in placements.iter().filter(|p| p.state == PlacementState::Written) {
            let store = self.outside.store(&placement.destination.place.store).await.map_err(Step::Later)?;
            if !store.facts().guarded {
                self.wait_for_answers(placement).await?;
            }
            self.verify_one(work, &store, placement).await?;
        }
        Ok(())
    }

    /// A store that can't check what it overwrites takes whatever arrives last: the place is looked at when everything that
    /// was sent to it for others, and was never answered, is older than its longest life.
    async fn wait_for_answers(&self, placement: &Placement) -> Result<(), Step> {
        let copy = placement.clone();
        let doubted = self.ledger.read(move |tx| tx.doubted_at(&copy)).await;
        let until = doubted
            .map_err(|error: LedgerError| Step::Lost(error.into()))?
            .map(|at| Span::from_seconds(LONGEST_LIFE).after(self.past(at)))
            .filter(|until| *until > self.now());
        match until {
            None => Ok(()),
            Some(until) => {
                let place = &placement.destination.place;
                let why = format!("an earlier write to `{place}` was never answered and may still land");
                Err(Step::Rests(until, why))
            }
        }
    }

    /// Another value lies where the successor was written, and the value before it is gone: it is written again, as another
    /// copy. A store takes a second write of the same one for a repetition.
    async fn write_again(&self, work: &Work, placement: &Placement) -> Result<(), Step> {
        let random = entropy().map_err(|error| Step::Lost(error.into()))?;
        let (saga, request, gone) = (work.saga.clone(), work.request.clone(), placement.clone());
        let noted = self.ledger.write(move |tx| {
            tx.still_ours(&saga)?;
            tx.audit(of_placement(tx.now(), &request, &gone, (PlacementState::Replaced, None)))?;
            tx.move_placement(gone.id, PlacementState::Replaced, None, None)?;
            tx.add_placement(&Placement {
                id: PlacementId::generate(tx.now(), random),
                store_version: None,
                verified: None,
                state: PlacementState::Planned,
                change: None,
                ..gone
            })
        });
        noted.await.map_err(|error: LedgerError| Step::Lost(error.into()))
    }

    async fn verify_one(
        &self,
        work: &Work,
        store: &Arc<dyn Store>,
        placement: &Placement,
    ) -> Result<(), Step> {
        let secret: Secret = self.sealed_copy(work.attempt.id).await.map_err(Step::GiveUp)?;
        let origin = origin(work, placement);
        let write = Write {
            destination: &placement.destination,
            expected: Presence::Ours {
                marker: Some(origin.marker.clone()),
                store_version: placement.store_version.clone(),
            },
            origin: &origin,
            secret: &secret,
        };
        let written = Written { store_version: placement.store_version.clone() };
        let mode = match store.verify(&write, &written).await {
            Ok(mode) => mode,
            Err(error @ StoreError::Mismatch { .. }) if work.must_go_on => {
                self.write_again(work, placement).await?;
                return Err(Step::Later(error.into()));
            }
            Err(error) => {
                let transient = error.is_transient();
                return Err(later_or_never(error.into(), transient));
            }
        };
        let (saga, request, placement) = (work.saga.clone(), work.request.clone(), placement.clone());
        let noted = self.ledger.write(move |tx| {
            tx.still_ours(&saga)?;
            let now = (PlacementState::Verified, Some(mode));
            tx.audit(of_placement(tx.now(), &request, &placement, now))?;
            tx.move_placement(placement.id, PlacementState::Verified, None, Some(mode))
        });
        noted.await.map_err(|error: LedgerError| Step::Lost(error.into()))
    }

    /// The key is in force: version, key and request move together with the outcome entry, and the sealed copy that
    /// was only in transit is destroyed, unless nothing but it can end the key. (The embedded store keeps its own.)
    pub(super) async fn activate(&self, work: &Work) -> Step {
        let (request, attempt) = (work.request.clone(), work.attempt.clone());
        let ends_itself = self.ends_itself(&attempt).await;
        let next = self.advance(work, Phase::Active, move |tx| {
            let placements = tx.placements(attempt.key)?;
            if let Some(version) = tx.version_of(attempt.id)? {
                tx.set_version_state(version.id, VersionState::Active)?;
            }
            tx.move_key(attempt.key, KeyState::Minting, KeyState::Active)?;
            tx.set_rotation(attempt.key, first_due(&request.plan, attempt.key, attempt.id, tx.now()), 0)?;
            tx.use_approvals(request.id)?;
            if !ends_itself {
                tx.erase_sealed(&sealed_owner(attempt.id))?;
            }
            let mut record =
                of_request(tx.now(), Deed::KeyMint, Stage::Outcome, who(&request.plan.principal), &request);
            record.result = Some(Outcome::done());
            record.subject.attempt = Some(attempt.id.to_string());
            let placed: Vec<_> = placements.iter().map(placed).collect();
            record.facts.insert("placements".to_owned(), serde_json::json!(placed));
            if let Some(expires_at) = attempt.expires_at {
                record.facts.insert("expires_at".to_owned(), serde_json::json!(expires_at.to_string()));
            }
            let entry = tx.audit(record)?;
            tx.move_request(request.id, Status::InProgress, Status::Active, &[], entry)
        });
        let next = next.await;
        self.crash_at.reached("mint.active");
        next
    }

    pub(super) async fn placements_of(&self, work: &Work) -> Result<Vec<Placement>, BrokerError> {
        let attempt = work.attempt.id;
        let placements = self.ledger.read(move |tx| {
            let version = tx.version_of(attempt)?.ok_or(LedgerError::Damaged { what: "version" })?;
            Ok::<_, LedgerError>(
                tx.placements(version.key)?.into_iter().filter(|p| p.version == version.id).collect(),
            )
        });
        Ok(placements.await?)
    }

    async fn note(
        &self,
        work: &Work,
        placement: &Placement,
        state: PlacementState,
        written: Option<Written>,
    ) -> Result<(), Step> {
        let (saga, request, placement) = (work.saga.clone(), work.request.clone(), placement.clone());
        let noted = self.ledger.write(move |tx| {
            tx.still_ours(&saga)?;
            tx.audit(of_placement(tx.now(), &request, &placement, (state, None)))?;
            tx.move_placement(placement.id, state, written.and_then(|w| w.store_version).as_deref(), None)
        });
        noted.await.map_err(|error: LedgerError| Step::Lost(error.into()))
    }
}

fn waits(placement: &Placement, change: Change) -> Step {
    let store = placement.destination.place.store.clone();
    Step::Waits(StoreError::PendingApproval { store, change }.into())
}

/// What a store's failure means for the step. People take longer than a store is down, and whoever waits for them has tried
/// often already.
fn later(placement: &Placement, error: StoreError) -> Step {
    let transient = error.is_transient();
    match placement.state {
        PlacementState::Waiting if transient => Step::Waits(error.into()),
        _ => later_or_never(error.into(), transient),
    }
}

/// Whether the copy of another key may be written over: only what is left of one that no longer lives.
fn may_replace(plan: &Plan, destination: &Destination, key: Option<&Key>) -> Result<(), BrokerError> {
    let place = &destination.place;
    let (message, hint) = match key {
        Some(key) if matches!(key.state, KeyState::Revoked | KeyState::Failed) => return Ok(()),
        Some(key) if !sees(&plan.principal, key) => return Err(occupied(&plan.principal, destination)),
        Some(key) if key.state == KeyState::Revoking => (
            format!("`{place}` holds key {}, whose revocation the provider has not confirmed yet", key.id),
            "it is tried again until it does (`keywright reconcile` tries now), and then the place is free; until then \
             choose another name or place",
        ),
        Some(key) => (
            format!(
                "`{place}` holds key `{}/{}/{}`, which is {}",
                key.project, key.environment, key.name, key.state
            ),
            "choose another place, or revoke that key",
        ),
        None => (
            format!("`{place}` holds a key that Keywright manages, but not in this home"),
            "choose another place, or revoke that key where it was made",
        ),
    };
    Err(BrokerError::new(Code::Conflict, message).hint(hint))
}

/// Where a placement's value comes from.
fn origin(work: &Work, placement: &Placement) -> Origin {
    Origin {
        placement: placement.id,
        key: placement.key,
        version: placement.version,
        marker: work.attempt.marker.clone(),
    }
}

pub(super) fn placed(placement: &Placement) -> serde_json::Value {
    serde_json::json!({
        "place": placement.destination.place.to_string(),
        "verified": placement.verified.map(keywright_core::store::VerifyMode::as_str),
    })
}
