//! What there is: the ledger, the provider, a store with one place, a consumer, and brokers with what they hold in memory.

use keywright_core::saga::{Phase, SagaKind};

/// How many attempts a key has, its mint and its rotations together.
pub(crate) const ATTEMPTS: usize = 3;

/// An attempt by its number. It stands for its credential and for its secret, too.
pub(crate) type Id = usize;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct State {
    pub(crate) ledger: Ledger,
    pub(crate) provider: [Credential; ATTEMPTS],
    /// Whose secret lies at the place.
    pub(crate) place: Option<Id>,
    /// Writes that were sent and have not landed: a step that is done again sends another.
    pub(crate) writes: Writes,
    /// The secret that the consumer works with.
    pub(crate) consumer: Option<Id>,
    /// A window of quiet passed since the switch.
    pub(crate) window_passed: bool,
    /// The old version was used in the last window.
    pub(crate) old_used: bool,
    /// In order, because it does not matter which is which.
    pub(crate) brokers: [Broker; 2],
}

/// All that outlives a crash.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Ledger {
    pub(crate) kind: SagaKind,
    pub(crate) phase: Phase,
    pub(crate) attempt: Id,
    pub(crate) outcome: [Outcome; ATTEMPTS],
    /// The saga's placement was written to, or that was begun.
    pub(crate) may_lie: bool,
    /// The version that is handed out.
    pub(crate) in_force: Option<Id>,
    /// The version that a rotation replaced.
    pub(crate) old: Option<Id>,
    /// The revoke queue.
    pub(crate) owed: [bool; ATTEMPTS],
    /// Somebody wrote who no longer had the lease.
    pub(crate) old_fence: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Outcome {
    /// Nothing is on record.
    Unrecorded,
    Unsent,
    Sent,
    /// Sealed: it has a version.
    Created,
    /// Left to the sweep.
    Left,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Credential {
    pub(crate) sends: u8,
    /// A create was sent that has not landed.
    pub(crate) coming: bool,
    pub(crate) life: Life,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Life {
    None,
    Live,
    Off,
    Gone,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Broker {
    /// It holds nothing: as after a crash.
    Idle { kept: Option<Id> },
    /// It has claimed the saga. Whether nobody else did since is what the fence tells; it does not know by itself.
    Works { ours: bool, at: At, kept: Option<Id> },
}

/// Where a broker is within a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum At {
    /// It is to read the ledger.
    Start,
    /// A create is sent, and has no answer yet.
    Sent(Id),
    /// The answer is here, and nowhere else.
    Has(Id),
    /// The answer was lost.
    Lost(Id),
    /// This lay at the place.
    Looked(Option<Id>),
    /// A write is sent, and has no answer yet.
    Wrote(Write),
    /// The store has it.
    Written,
}

/// A secret on its way to the place, and what has to lie there, where the store checks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Write {
    pub(crate) secret: Id,
    pub(crate) expected: Option<Id>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Writes([u8; ATTEMPTS * (ATTEMPTS + 1)]);

impl State {
    /// A mint was decided: its intent is on record, and nothing else happened.
    pub(crate) fn first() -> Self {
        let mut outcome = [Outcome::Unrecorded; ATTEMPTS];
        outcome[0] = Outcome::Unsent;
        Self {
            ledger: Ledger {
                kind: SagaKind::Mint,
                phase: Phase::Intent,
                attempt: 0,
                outcome,
                may_lie: false,
                in_force: None,
                old: None,
                owed: [false; ATTEMPTS],
                old_fence: false,
            },
            provider: [Credential { sends: 0, coming: false, life: Life::None }; ATTEMPTS],
            place: None,
            writes: Writes([0; ATTEMPTS * (ATTEMPTS + 1)]),
            consumer: None,
            window_passed: false,
            old_used: false,
            brokers: [Broker::Idle { kept: None }; 2],
        }
    }

    pub(crate) fn is_live(&self, id: Id) -> bool {
        self.provider[id].life == Life::Live
    }

    /// Nothing is on its way and no broker is at work.
    pub(crate) fn is_quiet(&self) -> bool {
        self.writes.is_empty()
            && self.provider.iter().all(|credential| !credential.coming)
            && self.brokers.iter().all(|broker| matches!(broker, Broker::Idle { .. }))
    }
}

impl Ledger {
    /// A value of the successor may lie in the store already: forward is the only way.
    pub(crate) fn must_go_on(&self) -> bool {
        self.kind == SagaKind::Rotate && (self.may_lie || self.phase.has_switched())
    }
}

impl Writes {
    /// One more of a kind, of which `most` count. Of any other nothing is heard again.
    pub(crate) fn add(&mut self, write: Write, most: u8) {
        let count = &mut self.0[slot(write)];
        *count = (*count + 1).min(most);
    }

    pub(crate) fn remove(&mut self, write: Write) {
        self.0[slot(write)] -= 1;
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.iter().all(|count| *count == 0)
    }

    /// Each kind of which there are some.
    pub(crate) fn iter(&self) -> impl Iterator<Item = Write> {
        let expected = (0..ATTEMPTS).map(Some).chain([None]);
        let all = expected.flat_map(|expected| (0..ATTEMPTS).map(move |secret| Write { secret, expected }));
        all.filter(|write| self.0[slot(*write)] > 0)
    }
}

fn slot(write: Write) -> usize {
    write.secret * (ATTEMPTS + 1) + write.expected.unwrap_or(ATTEMPTS)
}
