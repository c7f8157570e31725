//! Sagas: durable, resumable sequences of steps. Here are the phases and the legal ways between them; the
//! runner in the broker may take no other, and the ledger refuses a write that expects another phase.

use crate::key::state;

state!(/// What a saga is for.
SagaKind {
    /// Make a key's first version.
    Mint = "mint",
    /// Replace a key's version by a successor.
    Rotate = "rotate",
});

state!(/// Where a saga stands. Each phase was written durably before the next step began. Both kinds begin with the same phases,
/// up to `verified`; a mint then ends, and a rotation still has to end the version that was replaced.
Phase {
    /// Attempt and marker are reserved, "will create" is on record. Found here after a crash: the
    /// secret is gone, so a new attempt starts and the old one is left to the sweep.
    Intent = "intent",
    /// The provider's answer is sealed. The attempt is frozen: only forward, or undo.
    Sealed = "sealed",
    /// The key was read back and is exactly what was asked.
    Compared = "compared",
    /// The new key works.
    Probed = "probed",
    /// Every placement was written.
    Placed = "placed",
    /// Every placement was verified.
    Verified = "verified",
    /// Done: the key is active, the outcome is on record, the sealed copy erased unless it is a placement.
    Active = "active",
    /// Something failed after the seal: placements are being taken back, the version is owed to the revoke queue.
    Undo = "undo",
    /// Undone: nothing of it is left but its record and, maybe, a debt in the revoke queue.
    Undone = "undone",
    /// The successor is in force. The version before it still works and is watched until it is idle.
    Switched = "switched",
    /// The old version is idle, or somebody whose word counts said that it may end; which, is on record.
    Drained = "drained",
    /// The old version is switched off at the provider, where that can be taken back, and rests for a while.
    Disabled = "disabled",
    /// The old version is owed to the revoke queue.
    Ending = "ending",
    /// Done: the provider confirmed that the old version is gone.
    Rotated = "rotated",
});

impl Phase {
    /// Whether the step from this phase to `next` exists in a saga of this kind.
    #[must_use]
    pub fn may_become(self, next: Self, kind: SagaKind) -> bool {
        use Phase as P;
        match (self, next) {
            // To undo only where a key is there all the same: somebody put the saga back.
            (P::Intent, P::Intent | P::Sealed | P::Undo | P::Undone)
            | (P::Sealed, P::Compared | P::Undo)
            | (P::Compared, P::Probed | P::Undo)
            | (P::Probed, P::Placed | P::Undo)
            | (P::Placed, P::Verified | P::Undo)
            | (P::Verified, P::Undo)
            | (P::Undo, P::Undone) => true,
            (P::Verified, P::Active) => kind == SagaKind::Mint,
            // Once the successor is in force, nothing takes it back; what was switched off can be switched on again. To undone only
            // where somebody ended the successor at the provider: the version before it is in force again.
            (P::Verified, P::Switched)
            | (P::Switched, P::Drained | P::Undone)
            | (P::Drained, P::Disabled | P::Ending | P::Undone)
            | (P::Disabled, P::Switched | P::Ending | P::Undone)
            | (P::Ending, P::Rotated) => kind == SagaKind::Rotate,
            _ => false,
        }
    }

    /// Whether nothing is left to do.
    #[must_use]
    pub fn is_final(self) -> bool {
        matches!(self, Self::Active | Self::Undone | Self::Rotated)
    }

    /// Whether the attempt can no longer be replaced by another one.
    #[must_use]
    pub fn is_frozen(self) -> bool {
        self != Self::Intent
    }

    /// Whether the version that a rotation replaced is still there, and nothing is owed of it.
    #[must_use]
    pub fn keeps_old(self) -> bool {
        matches!(self, Self::Switched | Self::Drained | Self::Disabled)
    }

    /// Whether a rotation has put its successor in force.
    #[must_use]
    pub fn has_switched(self) -> bool {
        matches!(self, Self::Switched | Self::Drained | Self::Disabled | Self::Ending | Self::Rotated)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn next(phase: Phase, kind: SagaKind) -> Vec<Phase> {
        Phase::ALL.iter().copied().filter(|next| phase.may_become(*next, kind)).collect()
    }

    /// The phases that a saga of a kind can come to.
    fn reached(kind: SagaKind) -> Vec<Phase> {
        let mut reached = vec![Phase::Intent];
        let mut at = 0;
        while let Some(&phase) = reached.get(at) {
            let new: Vec<_> = next(phase, kind).into_iter().filter(|next| !reached.contains(next)).collect();
            reached.extend(new);
            at += 1;
        }
        reached
    }

    #[test]
    fn every_phase_leads_to_an_end_and_ends_are_ends() {
        for &kind in SagaKind::ALL {
            for phase in reached(kind) {
                assert_eq!(next(phase, kind).is_empty(), phase.is_final(), "{kind}: {phase}");
            }
        }
        for &phase in Phase::ALL {
            assert_eq!(Phase::parse(phase.as_str()), Some(phase));
        }
    }

    #[test]
    fn a_mint_never_drains_and_a_rotation_never_ends_as_a_mint() {
        assert!(reached(SagaKind::Mint).iter().all(|phase| !phase.has_switched()));
        assert!(!reached(SagaKind::Rotate).contains(&Phase::Active));
    }

    #[test]
    fn a_sealed_attempt_only_goes_forward_or_undoes() {
        for &kind in SagaKind::ALL {
            for &phase in Phase::ALL.iter().filter(|p| p.is_frozen()) {
                assert!(!phase.may_become(Phase::Intent, kind), "{kind}: {phase}");
            }
        }
        assert!(
            !Phase::Active.may_become(Phase::Undo, SagaKind::Mint),
            "an active key ends through its own revocation"
        );
        for &phase in Phase::ALL.iter().filter(|p| p.has_switched()) {
            assert!(!phase.may_become(Phase::Undo, SagaKind::Rotate), "{phase}: the successor is in force");
        }
    }
}
