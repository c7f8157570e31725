//! Ways to get the protocol wrong. Each is a few lines of the model, and each has to be found.

use crate::properties::{CLEAN_RUN, GAP, IN_USE, OLD_FENCE, ONE_SEND, RECORD};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Bug {
    /// A create whose reply was lost is sent again.
    ResendsAfterLostReply,
    /// The attempt is put on record when its answer came.
    RecordsAfterSend,
    /// An attempt that was given up is taken off the record.
    ForgetsAttempts,
    /// The old version is owed to the revoke queue as soon as the successor is written.
    RevokesBeforeVerified,
    /// The old version may end right after the switch.
    DrainsWithoutEvidence,
    /// What a broker writes is written whoever has the lease.
    WritesWithoutFence,
    /// The sweep takes a create that is under way for an orphan.
    SweepsUnderWay,
    /// A secret outlives the lease in memory, and is written as the version that is current then.
    KeepsSecret,
    /// A store without check-and-set is not given the time that an older write may take.
    DoesNotWaitForWrites,
    /// A successor that was written over before it was verified is not written again.
    NeverWritesAgain,
    /// A store that could check is not asked to, and is not waited for either.
    LeavesOutCheckAndSet,
}

impl Bug {
    pub(crate) const ALL: [Self; 11] = [
        Self::ResendsAfterLostReply,
        Self::RecordsAfterSend,
        Self::ForgetsAttempts,
        Self::RevokesBeforeVerified,
        Self::DrainsWithoutEvidence,
        Self::WritesWithoutFence,
        Self::SweepsUnderWay,
        Self::KeepsSecret,
        Self::DoesNotWaitForWrites,
        Self::NeverWritesAgain,
        Self::LeavesOutCheckAndSet,
    ];

    /// What it breaks, at least.
    pub(crate) fn breaks(self) -> &'static [&'static str] {
        match self {
            Self::ResendsAfterLostReply => &[ONE_SEND],
            Self::RecordsAfterSend | Self::ForgetsAttempts => &[RECORD],
            Self::DrainsWithoutEvidence => &[IN_USE],
            Self::WritesWithoutFence => &[OLD_FENCE, ONE_SEND, GAP],
            Self::NeverWritesAgain => &[CLEAN_RUN],
            Self::SweepsUnderWay => &[GAP, CLEAN_RUN],
            Self::RevokesBeforeVerified
            | Self::KeepsSecret
            | Self::DoesNotWaitForWrites
            | Self::LeavesOutCheckAndSet => &[GAP, IN_USE],
        }
    }

    /// Whether it takes a store that checks to show, or one that does not.
    pub(crate) fn needs_checks(self) -> bool {
        !matches!(self, Self::DoesNotWaitForWrites | Self::NeverWritesAgain)
    }
}
