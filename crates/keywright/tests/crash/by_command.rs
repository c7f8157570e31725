//! One-shot commands that open the home themselves.

use keywright_broker::crash::POINTS;

use crate::aftermath::{End, check, check_embedded};
use crate::deeds::{Deed, die_and_recover, name_of, pending};
use crate::dying::{Way, die, recover};
use crate::house::{Destination, House};
use crate::support::request;

fn a_command_dies_everywhere(to: Destination) {
    let house = House::with_bob();
    for point in POINTS {
        die_and_recover(&house, Way::Command, point, to);
    }
    if to.is_embedded() {
        check_embedded(&house, &living());
    }
    house.assert_nothing_leaked();
}

/// The names of the keys that live in the end.
pub(crate) fn living() -> Vec<String> {
    let lives = |point: &&&str| matches!(Deed::reaching(point), Deed::Mint | Deed::Approve | Deed::Rotate);
    POINTS.iter().filter(lives).map(|point| name_of(point)).collect()
}

#[test]
fn a_command_that_dies_anywhere_is_finished_by_the_next_and_its_key_is_in_the_embedded_store() {
    a_command_dies_everywhere(Destination::Embedded);
}

#[test]
fn a_command_that_dies_anywhere_is_finished_by_the_next_and_its_key_is_in_the_file() {
    a_command_dies_everywhere(Destination::Dotenv);
}

#[test]
fn a_command_that_dies_anywhere_is_finished_by_the_next_and_its_key_is_in_both_places() {
    a_command_dies_everywhere(Destination::Both);
}

#[test]
fn an_approved_mint_that_dies_anywhere_is_finished_and_needs_no_second_approval() {
    let house = House::with_bob();
    for point in POINTS.iter().filter(|point| Deed::reaching(point) == Deed::Mint) {
        let name = name_of(point);
        let id = pending(&house, &name, Destination::Embedded);
        house.run("pass", &["review", "approve", &id, "--yes"]).expect(4);
        die(&house, Way::Command, point, "bobs", &["review", "approve", &id, "--yes"]);
        let _recovered = recover(&house, Way::Command, &name);
        check(&house, &name, Destination::Embedded, End::Active);
    }
}

#[test]
fn one_mint_that_dies_at_every_point_in_turn_ends_with_one_key() {
    let house = House::new();
    let name = "STUBBORN";
    let ask = request(name, "dev", &["--to", "embedded:web/dev/STUBBORN", "--to", "dotenv:./.env#STUBBORN"]);
    let mut points = POINTS.iter().filter(|point| Deed::reaching(point) == Deed::Mint);
    die(&house, Way::Command, points.next().unwrap(), "pass", &ask);
    for point in points {
        // The next command takes up what the one before left, and dies one step further.
        die(&house, Way::Command, point, "pass", &["reconcile"]);
    }
    let _recovered = recover(&house, Way::Command, name);
    check(&house, name, Destination::Both, End::Active);
    check_embedded(&house, &[name.to_owned()]);
    house.assert_nothing_leaked();
}
