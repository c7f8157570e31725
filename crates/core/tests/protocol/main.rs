//! The protocol for minting and rotating as a model whose every state is visited: one key with its mint and its rotations, two
//! brokers that crash, pause and lose their lease, creates, writes and revokes that land late, replies that get lost. The phases'
//! ways (`Phase::may_become`) and the rule of quiet (`drain::verdict`) are the real ones. Each seeded bug has to be found.
//!
//! It assumes that whoever works with a credential uses it within a window of quiet, and that what was sent to a store that does
//! not check has a longest life.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "the numbers are the model's own, and how many states there are is worth a line"
)]

mod broker;
mod bug;
mod model;
mod properties;
mod state;

use std::time::Instant;

use stateright::{Checker, HasDiscoveries, Model};

use crate::bug::Bug;
use crate::model::Protocol;

/// Fewer states would mean that something can no longer happen. There are some 156,000 and 101,000.
const FLOOR: usize = 75_000;

fn holds(checks: bool) {
    for disables in [false, true] {
        let protocol = Protocol { checks, disables, bug: None };
        let begun = Instant::now();
        let checked = protocol.checker().threads(2).spawn_bfs().join();
        let states = checked.unique_state_count();
        println!("{protocol:?}: {states} states in {:?}", begun.elapsed());
        checked.assert_properties();
        assert!(states > FLOOR, "{states}");
    }
}

#[test]
fn every_property_holds_where_the_store_checks() {
    holds(true);
}

#[test]
fn every_property_holds_where_the_store_does_not_check() {
    holds(false);
}

#[test]
fn every_seeded_bug_is_found() {
    for bug in Bug::ALL {
        let protocol = Protocol { checks: bug.needs_checks(), disables: false, bug: Some(bug) };
        let broken = HasDiscoveries::AllOf(bug.breaks().iter().copied().collect());
        let begun = Instant::now();
        let checked = protocol.checker().finish_when(broken).spawn_bfs().join();
        let states = checked.unique_state_count();
        for property in bug.breaks() {
            let found = checked
                .discovery(property)
                .unwrap_or_else(|| panic!("{bug:?}: `{property}` holds all the same"));
            let steps = found.into_actions().len();
            println!("{bug:?} breaks `{property}` in {steps} steps ({states} states, {:?})", begun.elapsed());
        }
    }
}
