//! Sagas: durable, resumable sequences of steps. Here are the phases and the legal ways between them; the
//! runner in the broker may take no other, and the ledger refuses a write that expects another phase.

use crate::key::state;

state!(/// What a saga is for.
SagaKind {
    /// Make a key's first version.
    Mint = "mint",
});

state!(/// Where a mint stands. Each phase was written durably before the next step began.
MintPhase {
    /// Key, attempt and marker are reserved, "will create" is on record. Found here after a crash: the
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
});

impl MintPhase {
    /// Whether the step from this phase to `next` exists.
    #[must_use]
    pub fn may_become(self, next: Self) -> bool {
        use MintPhase as P;
        matches!(
            (self, next),
            // To undo only where a key is there all the same: somebody put the saga back.
            (P::Intent, P::Intent | P::Sealed | P::Undo | P::Undone)
                | (P::Sealed, P::Compared | P::Undo)
                | (P::Compared, P::Probed | P::Undo)
                | (P::Probed, P::Placed | P::Undo)
                | (P::Placed, P::Verified | P::Undo)
                | (P::Verified, P::Active)
                | (P::Undo, P::Undone)
        )
    }

    /// Whether nothing is left to do.
    #[must_use]
    pub fn is_final(self) -> bool {
        matches!(self, Self::Active | Self::Undone)
    }

    /// Whether the attempt can no longer be replaced by another one.
    #[must_use]
    pub fn is_frozen(self) -> bool {
        self != Self::Intent
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_phase_reaches_an_end_and_ends_are_ends() {
        for &phase in MintPhase::ALL {
            let next: Vec<_> = MintPhase::ALL.iter().filter(|n| phase.may_become(**n)).collect();
            assert_eq!(next.is_empty(), phase.is_final(), "{phase}");
            assert_eq!(MintPhase::parse(phase.as_str()), Some(phase));
        }
    }

    #[test]
    fn a_sealed_attempt_only_goes_forward_or_undoes() {
        for &phase in MintPhase::ALL.iter().filter(|p| p.is_frozen()) {
            assert!(!phase.may_become(MintPhase::Intent), "{phase}");
        }
        assert!(
            !MintPhase::Active.may_become(MintPhase::Undo),
            "an active key ends through its own revocation"
        );
    }
}
