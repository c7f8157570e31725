//! A connection that gets another parent credential, and dies on the way.

use std::collections::BTreeSet;

use keywright_broker::crash::POINTS;
use keywright_ledger::RenewalPhase;

use crate::aftermath::{End, check, is_parent};
use crate::deeds::Deed;
use crate::dying::{Way, die, start_again};
use crate::house::{Destination, House, wait_for};
use crate::support::request;

const ROTATE: &[&str] = &["provider", "rotate-parent", "cf"];

/// The account's tokens that make tokens.
fn parents(house: &House) -> BTreeSet<String> {
    let all = house.world.with_sandbox(|s| s.tokens());
    all.into_iter().filter(is_parent).map(|token| token.id).collect()
}

/// A house with a key that was made by the first parent.
fn lived_in() -> House {
    let house = House::new();
    house.world.ok(&request("KEPT", "dev", &["--to", "embedded:web/dev/KEPT"]));
    house
}

/// One parent lives, the connection works with it, and its keys are as they were.
fn all_is_well(house: &House, before: &BTreeSet<String>, has_moved: bool) {
    house.world.ok(&["provider", "check", "cf"]);
    let after = parents(house);
    assert_eq!(after.len(), 1, "one parent lives: {after:?}");
    assert_eq!(after != *before, has_moved, "{before:?} {after:?}");
    check(house, "KEPT", Destination::Embedded, End::Active);
    house.assert_nothing_leaked();
}

fn a_parent_is_rotated_and_dies_everywhere(way: Way) {
    for point in POINTS.iter().filter(|point| Deed::reaching(point) == Deed::Parent) {
        let house = lived_in();
        let before = parents(&house);
        die(&house, way, point, "pass", ROTATE);
        // Between any two steps there is a parent that works.
        assert!(!parents(&house).is_empty(), "{point}");
        let _recovered = start_again(&house, way);
        // What was never sent is looked for until it could take no effect any more, and the parent stays.
        let rests = (*point == "parent.reserved").then_some(RenewalPhase::Sent);
        wait_for(&format!("all is done that is left after {point}"), || {
            house.run("pass", &["reconcile"]);
            let connection = "cf".parse().unwrap();
            house.read(move |tx| tx.renewal_of(&connection)).map(|renewal| renewal.phase) == rests
        });
        all_is_well(&house, &before, !["parent.reserved", "parent.answered"].contains(point));
    }
}

#[test]
fn a_command_that_dies_while_it_rotates_a_parent_is_finished_by_the_next() {
    a_parent_is_rotated_and_dies_everywhere(Way::Command);
}

#[test]
fn a_broker_that_dies_while_it_rotates_a_parent_is_followed_by_one_that_finishes() {
    a_parent_is_rotated_and_dies_everywhere(Way::Broker);
}

#[test]
fn one_that_dies_at_every_step_in_turn_ends_with_one_parent() {
    let house = lived_in();
    let before = parents(&house);
    die(&house, Way::Command, "parent.sealed", "pass", ROTATE);
    for point in ["parent.proved", "parent.switched", "parent.disabled", "parent.ended"] {
        die(&house, Way::Command, point, "pass", &["reconcile"]);
        assert!(!parents(&house).is_empty(), "{point}");
    }
    house.run("pass", &["reconcile"]).expect(0);
    all_is_well(&house, &before, true);
    // And once more, with nothing in its way.
    let after = parents(&house);
    house.run("pass", ROTATE).expect(0);
    all_is_well(&house, &after, true);
}
