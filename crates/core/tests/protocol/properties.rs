//! What holds in every state, and what has to happen in some, so that the rest is not true of nothing.

use keywright_core::saga::{Phase, SagaKind};
use stateright::{Model, Property};

use crate::model::{Action, Protocol};
use crate::state::{ATTEMPTS, At, Broker, Life, Outcome, State};

pub(crate) const ONE_SEND: &str = "at most one send per attempt";
pub(crate) const RECORD: &str = "every live credential is on record";
pub(crate) const GAP: &str = "an active key's place holds a live credential";
pub(crate) const IN_USE: &str = "no credential ends while the consumer works with it";
pub(crate) const OLD_FENCE: &str = "nobody writes under an old fence";
pub(crate) const CLEAN_RUN: &str = "one clean run leaves exactly one live credential";

pub(crate) fn all() -> Vec<Property<Protocol>> {
    vec![
        Property::always(ONE_SEND, |_, state: &State| state.provider.iter().all(|made| made.sends <= 1)),
        Property::always(RECORD, |_, state: &State| {
            (0..ATTEMPTS).all(|id| !state.is_live(id) || state.ledger.outcome[id] != Outcome::Unrecorded)
        }),
        Property::always(GAP, |_, state: &State| {
            state.ledger.in_force.is_none() || state.place.is_some_and(|id| state.is_live(id))
        }),
        Property::always(IN_USE, |_, state: &State| state.consumer.is_none_or(|id| state.is_live(id))),
        Property::always(OLD_FENCE, |_, state: &State| !state.ledger.old_fence),
        Property::always(CLEAN_RUN, |protocol, state: &State| {
            !state.is_quiet() || is_in_order(&clean_run(protocol, *state))
        }),
        Property::sometimes("a second rotation is done", |_, state: &State| {
            state.ledger.phase == Phase::Rotated
                && state.ledger.in_force == Some(2)
                && state.ledger.old == Some(1)
                && state.consumer == Some(2)
        }),
        Property::sometimes("an orphan of a lost reply is gone", |_, state: &State| {
            let gone = |id: usize| {
                state.ledger.outcome[id] == Outcome::Left && state.provider[id].life == Life::Gone
            };
            state.ledger.in_force.is_some() && (0..ATTEMPTS).any(gone)
        }),
        Property::sometimes("a rotation is undone and the key is as it was", |_, state: &State| {
            let ledger = &state.ledger;
            ledger.kind == SagaKind::Rotate
                && ledger.phase == Phase::Undone
                && ledger.outcome[ledger.attempt] == Outcome::Created
        }),
        Property::sometimes("an answer comes to a broker that lost its lease", |_, state: &State| {
            let stale = |broker: &Broker| matches!(broker, Broker::Works { ours: false, at: At::Has(_), .. });
            state.brokers.iter().any(stale)
        }),
        Property::sometimes("a write is on its way when its version was replaced", |_, state: &State| {
            state.ledger.kind == SagaKind::Rotate
                && state.writes.iter().any(|write| Some(write.secret) == state.ledger.in_force)
        }),
    ]
}

/// Nothing goes wrong any more: one broker works until nothing is left to do.
fn clean_run(protocol: &Protocol, mut state: State) -> State {
    let mut actions = Vec::new();
    // Far more steps than any run takes.
    for _ in 0..200 {
        actions.clear();
        protocol.actions(&state, &mut actions);
        let is_at_work = state.brokers.iter().any(|broker| matches!(broker, Broker::Works { .. }));
        let wanted =
            |action: &Action| action.is_clean() && !(is_at_work && matches!(action, Action::Claim(_)));
        let next = actions.iter().filter(|action| wanted(action));
        let Some(after) = next.filter_map(|action| protocol.next_state(&state, *action)).next() else {
            break;
        };
        state = after;
    }
    state
}

fn is_in_order(state: &State) -> bool {
    let lives = |id: &usize| matches!(state.provider[*id].life, Life::Live | Life::Off);
    let live: Vec<usize> = (0..ATTEMPTS).filter(lives).collect();
    let in_force: Vec<usize> = state.ledger.in_force.into_iter().collect();
    state.ledger.phase.is_final() && live == in_force && state.ledger.owed == [false; ATTEMPTS]
}
