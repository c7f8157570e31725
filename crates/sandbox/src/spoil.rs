//! What the faults of one call add up to.

use crate::fault::{FaultKind, Widening};
use crate::world::Grants;

/// How one call is spoiled.
#[derive(Default)]
pub(crate) struct Spoiling {
    /// Ends it before anything is done.
    pub(crate) before: Option<Before>,
    /// Changes what is done.
    pub(crate) grants: Grants,
    /// Changes the reply after everything is done.
    pub(crate) after: Option<After>,
    /// Delays the reply.
    pub(crate) slow: Slowness,
}

/// An end before the commit.
pub(crate) enum Before {
    Cut,
    Hang,
    Status(u16, Option<u64>),
    Redirect(String),
    Echo,
    Says(String),
}

/// An end after the commit.
pub(crate) enum After {
    Cut,
    Hang,
    ServerError,
    Page,
    Huge(u64),
    Echo,
}

/// A delay of the head, and pauses in the body, in milliseconds.
#[derive(Clone, Copy, Default)]
pub(crate) struct Slowness {
    pub(crate) delay_ms: u64,
    pub(crate) trickle_ms: u64,
}

impl Spoiling {
    /// Adds up the faults, oldest first: the first of each sort wins.
    pub(crate) fn of(faults: &[FaultKind]) -> Self {
        let mut sum = Self::default();
        for fault in faults {
            sum.add(fault);
        }
        sum
    }

    fn add(&mut self, fault: &FaultKind) {
        match fault {
            FaultKind::ReplyLostBeforeCommit => self.before(Before::Cut),
            FaultKind::Status { status, retry_after } => self.before(Before::Status(*status, *retry_after)),
            FaultKind::Redirect { location } => self.before(Before::Redirect(location.clone())),
            FaultKind::Hang { commit: false } => self.before(Before::Hang),
            FaultKind::EchoSecretInError { commit: false } => self.before(Before::Echo),
            FaultKind::Says { message } => self.before(Before::Says(message.clone())),
            FaultKind::ReplyLostAfterCommit => self.after(After::Cut),
            FaultKind::ServerErrorAfterCommit => self.after(After::ServerError),
            FaultKind::Hang { commit: true } => self.after(After::Hang),
            FaultKind::EchoSecretInError { commit: true } => self.after(After::Echo),
            FaultKind::Garbage => self.after(After::Page),
            FaultKind::HugeBody { bytes } => self.after(After::Huge(*bytes)),
            FaultKind::Slow { delay_ms, trickle_ms } => {
                self.slow = Slowness { delay_ms: *delay_ms, trickle_ms: *trickle_ms };
            }
            FaultKind::LaggingList { ms } => self.grants.hide_younger_ms = Some(*ms),
            FaultKind::LaggingVerify { uses } => self.grants.refuse_uses = Some(*uses),
            FaultKind::WiderGrant { grant } => self.grants.widenings.push(*grant),
            FaultKind::DropCondition => self.grants.widenings.push(Widening::DropCondition),
        }
    }

    fn before(&mut self, end: Before) {
        self.before.get_or_insert(end);
    }

    fn after(&mut self, end: After) {
        self.after.get_or_insert(end);
    }
}
