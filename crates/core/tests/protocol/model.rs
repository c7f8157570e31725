//! What can happen, in any order: steps of brokers, crashes, lost leases and replies, and whatever comes late.

use keywright_core::saga::{Phase, SagaKind};
use stateright::{Model, Property};

use crate::bug::Bug;
use crate::properties;
use crate::state::{ATTEMPTS, At, Broker, Id, Life, Outcome, State, Write};

/// The protocol, between a store and a provider of some kind.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Protocol {
    /// The store checks what lies at the place before it writes.
    pub(crate) checks: bool,
    /// The provider can switch a credential off.
    pub(crate) disables: bool,
    pub(crate) bug: Option<Bug>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Action {
    /// A create takes effect, soon or late.
    CreateLands(Id),
    /// A write takes effect, or is refused by a store that checks. Whoever waits for the answer gets it.
    WriteLands(Write),
    /// A broker does the next thing.
    Step(usize),
    /// A broker takes the lease, because nobody has it or whoever had it was silent for too long.
    Claim(usize),
    /// The consumer reads the place.
    Read,
    /// A window of quiet passes: whoever works with a credential has used it.
    Window,
    /// A list of the provider's credentials shows one that is nobody's.
    Sweep(Id),
    /// A revoke that is owed takes effect.
    RevokeLands(Id),
    /// The provider says that a credential is gone.
    Confirm(Id),
    /// From here on, what need not happen.
    Rotate,
    GiveUp(usize),
    ReplyLost(usize),
    CreateDies(Id),
    WriteDies(Write),
    Crash(usize),
}

impl Action {
    /// Whether it happens in a run in which nothing goes wrong and nothing new is begun.
    pub(crate) fn is_clean(self) -> bool {
        !matches!(
            self,
            Self::Rotate
                | Self::GiveUp(_)
                | Self::ReplyLost(_)
                | Self::CreateDies(_)
                | Self::WriteDies(_)
                | Self::Crash(_)
        )
    }
}

impl Model for Protocol {
    type State = State;
    type Action = Action;

    fn init_states(&self) -> Vec<State> {
        vec![State::first()]
    }

    fn actions(&self, state: &State, actions: &mut Vec<Action>) {
        for (id, credential) in state.provider.iter().enumerate() {
            if credential.coming {
                actions.extend([Action::CreateLands(id), Action::CreateDies(id)]);
            }
            let owed = state.ledger.owed[id];
            match credential.life {
                Life::Live | Life::Off if owed => actions.push(Action::RevokeLands(id)),
                Life::Gone if owed => actions.push(Action::Confirm(id)),
                Life::Live if self.is_orphan(state, id) => actions.push(Action::Sweep(id)),
                _ => {}
            }
        }
        for write in state.writes.iter() {
            actions.extend([Action::WriteLands(write), Action::WriteDies(write)]);
        }
        if state.ledger.in_force.is_some() && state.consumer != state.place {
            actions.push(Action::Read);
        }
        if state.ledger.phase == Phase::Switched {
            actions.push(Action::Window);
        }
        if state.ledger.phase.is_final() && state.ledger.in_force.is_some() {
            actions.push(Action::Rotate);
        }
        for (who, broker) in state.brokers.iter().enumerate() {
            match broker {
                Broker::Idle { .. } => actions.push(Action::Claim(who)),
                Broker::Works { at, .. } => actions.extend(
                    [Action::Step(who), Action::Crash(who)]
                        .into_iter()
                        .chain((*at == At::Start).then_some(Action::GiveUp(who)))
                        .chain(matches!(at, At::Sent(_) | At::Wrote(_)).then_some(Action::ReplyLost(who))),
                ),
            }
        }
    }

    fn next_state(&self, before: &State, action: Action) -> Option<State> {
        let mut state = *before;
        match action {
            Action::CreateLands(id) => {
                state.provider[id].coming = false;
                state.provider[id].life = Life::Live;
            }
            Action::CreateDies(id) => state.provider[id].coming = false,
            Action::WriteLands(write) => self.land(&mut state, write),
            Action::WriteDies(write) => state.writes.remove(write),
            Action::Read => {
                state.consumer = state.place;
                state.old_used |= state.consumer.is_some() && state.consumer == state.ledger.old;
            }
            Action::Window => {
                state.window_passed = true;
                state.old_used = state.consumer == state.ledger.old;
            }
            Action::Sweep(id) => sweep(&mut state, id),
            Action::RevokeLands(id) => state.provider[id].life = Life::Gone,
            Action::Confirm(id) => state.ledger.owed[id] = false,
            Action::Rotate => begin(&mut state)?,
            Action::Claim(who) => self.claim(&mut state, who)?,
            Action::Step(who) => self.step(&mut state, who)?,
            Action::GiveUp(who) => self.give_up(&mut state, who)?,
            Action::ReplyLost(who) => reply_lost(&mut state, who),
            Action::Crash(who) => state.brokers[who] = Broker::Idle { kept: None },
        }
        state.brokers.sort_unstable();
        (state != *before).then_some(state)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        properties::all()
    }
}

impl Protocol {
    pub(crate) fn has(&self, bug: Bug) -> bool {
        self.bug == Some(bug)
    }

    /// Whether a write says what it expects, and the store holds it to that.
    pub(crate) fn checks(&self) -> bool {
        self.checks && !self.has(Bug::LeavesOutCheckAndSet)
    }

    /// Whether a credential is nobody's: no version's, and no create's that may be under way at this very moment.
    fn is_orphan(&self, state: &State, id: Id) -> bool {
        let ledger = &state.ledger;
        match ledger.outcome[id] {
            Outcome::Created => false,
            Outcome::Sent if ledger.attempt == id && !ledger.phase.is_final() => {
                self.has(Bug::SweepsUnderWay)
            }
            _ => true,
        }
    }

    fn land(&self, state: &mut State, write: Write) {
        state.writes.remove(write);
        let fits = !self.checks() || state.place == write.expected;
        if fits {
            state.place = Some(write.secret);
        }
        for broker in &mut state.brokers {
            match broker {
                Broker::Works { at, .. } if *at == At::Wrote(write) && fits => *at = At::Written,
                Broker::Works { at, kept, .. } if *at == At::Wrote(write) => {
                    *broker = Broker::Idle { kept: *kept };
                }
                _ => {}
            }
        }
    }
}

/// A credential of nobody's is owed.
fn sweep(state: &mut State, id: Id) {
    state.ledger.owed[id] = true;
    if state.ledger.outcome[id] != Outcome::Created {
        state.ledger.outcome[id] = Outcome::Left;
    }
}

/// A rotation is decided: its intent is on record.
fn begin(state: &mut State) -> Option<()> {
    let ledger = &mut state.ledger;
    let next = ledger.attempt + 1;
    if next == ATTEMPTS {
        return None;
    }
    ledger.kind = SagaKind::Rotate;
    ledger.phase = Phase::Intent;
    ledger.attempt = next;
    ledger.outcome[next] = Outcome::Unsent;
    ledger.may_lie = false;
    ledger.old = None;
    Some(())
}

fn reply_lost(state: &mut State, who: usize) {
    match &mut state.brokers[who] {
        Broker::Works { at: at @ At::Sent(_), .. } => {
            if let At::Sent(id) = *at {
                *at = At::Lost(id);
            }
        }
        broker @ Broker::Works { .. } => {
            if let Broker::Works { kept, .. } = *broker {
                *broker = Broker::Idle { kept };
            }
        }
        Broker::Idle { .. } => {}
    }
}
