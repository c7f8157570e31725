//! What a broker does next, as in `broker/src/saga`: read the ledger, have an effect outside, write the ledger under the fence.

use jiff::Timestamp;
use keywright_core::drain::{Observed, Verdict, verdict};
use keywright_core::provider::Evidence;
use keywright_core::saga::{Phase, SagaKind};
use keywright_core::span::Span;

use crate::bug::Bug;
use crate::model::Protocol;
use crate::state::{ATTEMPTS, At, Broker, Id, Life, Outcome, State, Write};

impl Protocol {
    /// Takes the lease. Whatever the broker held is dropped.
    pub(crate) fn claim(&self, state: &mut State, who: usize) -> Option<()> {
        if state.ledger.phase.is_final() {
            return None;
        }
        for broker in &mut state.brokers {
            if let Broker::Works { ours, .. } = broker {
                *ours = false;
            }
        }
        let kept = kept(state, who).filter(|_| self.has(Bug::KeepsSecret));
        state.brokers[who] = Broker::Works { ours: true, at: At::Start, kept };
        Some(())
    }

    /// The next thing that a broker does. Nothing, where it has to wait.
    pub(crate) fn step(&self, state: &mut State, who: usize) -> Option<()> {
        let Broker::Works { at, .. } = state.brokers[who] else { return None };
        match at {
            At::Start => self.start(state, who),
            At::Sent(id) => {
                // The answer that counts is that of a create that took effect.
                if state.provider[id].life == Life::None {
                    return None;
                }
                if let Broker::Works { kept, .. } = &mut state.brokers[who]
                    && self.has(Bug::KeepsSecret)
                {
                    *kept = Some(id);
                }
                go(state, who, At::Has(id))
            }
            At::Has(id) => self.fenced(state, who, |state| {
                state.ledger.outcome[id] = Outcome::Created;
                state.ledger.attempt = id;
                advance(state, Phase::Sealed)
            }),
            At::Lost(id) if self.has(Bug::ResendsAfterLostReply) => send(state, who, id),
            // What is found is owed, by anybody.
            At::Lost(id) if state.is_live(id) && !state.ledger.owed[id] => {
                state.ledger.owed[id] = true;
                state.ledger.outcome[id] = Outcome::Left;
                Some(())
            }
            At::Lost(_) => self.fenced(state, who, |state| self.next_attempt(state)),
            At::Looked(found) => self.write(state, who, found),
            At::Wrote(_) => None,
            At::Written => self.fenced(state, who, |state| match state.ledger.phase {
                Phase::Probed => advance(state, Phase::Placed),
                _ => Some(()),
            }),
        }
    }

    /// The step of the phase.
    fn start(&self, state: &mut State, who: usize) -> Option<()> {
        let ledger = &state.ledger;
        let attempt = ledger.attempt;
        match ledger.phase {
            Phase::Intent => match ledger.outcome[attempt] {
                Outcome::Unsent => {
                    self.fenced(state, who, |state| {
                        state.ledger.outcome[attempt] = match self.has(Bug::RecordsAfterSend) {
                            true => Outcome::Unrecorded,
                            false => Outcome::Sent,
                        };
                        Some(())
                    })?;
                    match state.brokers[who] {
                        Broker::Works { .. } => send(state, who, attempt),
                        Broker::Idle { .. } => Some(()),
                    }
                }
                _ => self.fenced(state, who, |state| self.next_attempt(state)),
            },
            Phase::Sealed => self.reach(state, who, Phase::Compared),
            Phase::Compared if state.is_live(attempt) => self.reach(state, who, Phase::Probed),
            Phase::Compared => self.give_up(state, who),
            Phase::Probed => self.look(state, who),
            Phase::Placed => self.verify(state, who),
            Phase::Verified => self.put_in_force(state, who),
            Phase::Switched if self.is_idle(state) => self.reach(state, who, Phase::Drained),
            Phase::Switched => None,
            Phase::Drained if self.disables => self.disable(state, who),
            Phase::Drained | Phase::Disabled => self.fenced(state, who, |state| {
                if let Some(old) = state.ledger.old {
                    state.ledger.owed[old] = true;
                }
                advance(state, Phase::Ending)
            }),
            Phase::Ending if ledger.old.is_some_and(|old| ledger.owed[old]) => None,
            Phase::Ending => self.reach(state, who, Phase::Rotated),
            Phase::Undo => {
                // Its own value is taken back, and nobody else's.
                state.place = state.place.filter(|id| *id != attempt);
                self.reach(state, who, Phase::Undone)
            }
            Phase::Active | Phase::Undone | Phase::Rotated => None,
        }
    }

    /// The attempt is left to the sweep. What its create makes nobody knows but the marker.
    fn next_attempt(&self, state: &mut State) -> Option<()> {
        let old = state.ledger.attempt;
        if state.ledger.outcome[old] == Outcome::Sent {
            state.ledger.outcome[old] = Outcome::Left;
        }
        if self.has(Bug::ForgetsAttempts) {
            state.ledger.outcome[old] = Outcome::Unrecorded;
        }
        let next = old + 1;
        if next == ATTEMPTS {
            return advance(state, Phase::Undone);
        }
        state.ledger.outcome[next] = Outcome::Unsent;
        advance(state, Phase::Intent)?;
        state.ledger.attempt = next;
        Some(())
    }

    /// The value is loaded anew under the lease, and goes out with what lay at the place. From the look at the fence on the write
    /// counts as sent: a broker that is paused between the two is a write that lands late.
    fn write(&self, state: &mut State, who: usize, expected: Option<Id>) -> Option<()> {
        let secret = self.value(state, who);
        self.fenced(state, who, |state| {
            state.ledger.may_lie = true;
            if let Some(old) = state.ledger.in_force.filter(|_| self.has(Bug::RevokesBeforeVerified)) {
                state.ledger.owed[old] = true;
            }
            Some(())
        })?;
        if matches!(state.brokers[who], Broker::Idle { .. }) {
            return Some(());
        }
        let write = Write { secret, expected };
        // Where the store checks, the second of two that are the same is refused, or changes nothing.
        state.writes.add(write, if self.checks() { 1 } else { 2 });
        go(state, who, At::Wrote(write))
    }

    /// What lies at the place now is what a write has to find there.
    fn look(&self, state: &mut State, who: usize) -> Option<()> {
        let found = state.place.filter(|_| self.checks());
        go(state, who, At::Looked(found))
    }

    /// The place is read back. In a rotation, where the store does not check, only once nothing can land any more: each write that
    /// was sent is answered, or older than its longest life.
    fn verify(&self, state: &mut State, who: usize) -> Option<()> {
        let is_settled = state.writes.is_empty() || self.checks || state.ledger.kind == SagaKind::Mint;
        if !is_settled && !self.has(Bug::DoesNotWaitForWrites) {
            return None;
        }
        if state.place == Some(self.value(state, who)) {
            self.reach(state, who, Phase::Verified)
        } else if self.has(Bug::NeverWritesAgain) {
            None
        } else {
            self.look(state, who)
        }
    }

    fn value(&self, state: &State, who: usize) -> Id {
        kept(state, who).unwrap_or(state.ledger.attempt)
    }

    fn put_in_force(&self, state: &mut State, who: usize) -> Option<()> {
        self.fenced(state, who, |state| {
            let replaced = state.ledger.in_force.replace(state.ledger.attempt);
            match state.ledger.kind {
                SagaKind::Mint => advance(state, Phase::Active),
                SagaKind::Rotate => {
                    state.ledger.old = replaced;
                    (state.window_passed, state.old_used) = (false, false);
                    advance(state, Phase::Switched)
                }
            }
        })
    }

    fn is_idle(&self, state: &State) -> bool {
        let at = |second: i64| Timestamp::from_second(second).unwrap();
        let (quiet_for, lag) = (Span::from_seconds(100), Span::from_seconds(10));
        let looked_at = if state.window_passed { at(1_110) } else { at(1_000) };
        let used_at = if state.old_used { at(1_050) } else { at(900) };
        let observed = Observed::since(at(1_000)).used(looked_at, Some(used_at));
        let judged = verdict(Evidence::Exact, &observed, quiet_for, lag);
        matches!(judged, Verdict::Idle { .. }) || self.has(Bug::DrainsWithoutEvidence)
    }

    /// Switched off first, and on record then.
    fn disable(&self, state: &mut State, who: usize) -> Option<()> {
        match state.ledger.old {
            Some(old) if state.is_live(old) => {
                state.provider[old].life = Life::Off;
                Some(())
            }
            _ => self.reach(state, who, Phase::Disabled),
        }
    }

    /// Something can't be done: back, where there is a way back.
    pub(crate) fn give_up(&self, state: &mut State, who: usize) -> Option<()> {
        let ledger = state.ledger;
        if ledger.must_go_on() || ledger.phase == Phase::Undo || ledger.phase.is_final() {
            return None;
        }
        self.fenced(state, who, |state| {
            if !ledger.phase.is_frozen() {
                if ledger.outcome[ledger.attempt] == Outcome::Sent {
                    state.ledger.outcome[ledger.attempt] = Outcome::Left;
                }
                return advance(state, Phase::Undone);
            }
            state.ledger.owed[ledger.attempt] = true;
            advance(state, Phase::Undo)
        })
    }

    fn reach(&self, state: &mut State, who: usize, next: Phase) -> Option<()> {
        self.fenced(state, who, |state| advance(state, next))
    }

    /// A write to the ledger. A broker that lost its lease finds that out here, and drops what it holds.
    fn fenced(
        &self,
        state: &mut State,
        who: usize,
        write: impl FnOnce(&mut State) -> Option<()>,
    ) -> Option<()> {
        let Broker::Works { ours, kept, .. } = state.brokers[who] else { return None };
        if !ours && !self.has(Bug::WritesWithoutFence) {
            state.brokers[who] = Broker::Idle { kept };
            return Some(());
        }
        write(state)?;
        state.ledger.old_fence |= !ours;
        if state.ledger.phase.is_final() {
            state.brokers[who] = Broker::Idle { kept };
            return Some(());
        }
        go(state, who, At::Start)
    }
}

/// The ledger takes no other step than the house's rules know.
fn advance(state: &mut State, next: Phase) -> Option<()> {
    let ledger = &mut state.ledger;
    if !ledger.phase.may_become(next, ledger.kind) {
        return None;
    }
    ledger.phase = next;
    Some(())
}

/// The one send of an attempt. It may take effect late, or never.
fn send(state: &mut State, who: usize, id: Id) -> Option<()> {
    state.provider[id].sends = (state.provider[id].sends + 1).min(2);
    state.provider[id].coming = true;
    go(state, who, At::Sent(id))
}

fn go(state: &mut State, who: usize, to: At) -> Option<()> {
    if let Broker::Works { at, .. } = &mut state.brokers[who] {
        *at = to;
    }
    Some(())
}

fn kept(state: &State, who: usize) -> Option<Id> {
    match state.brokers[who] {
        Broker::Idle { kept } | Broker::Works { kept, .. } => kept,
    }
}
