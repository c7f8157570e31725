//! A rotation that dies where the successor is made: the same steps as of a mint, with a version that is in use meanwhile.

use keywright_broker::crash::POINTS;

use crate::aftermath::check_embedded;
use crate::deeds::{Deed, name_of, rotate};
use crate::dying::Way;
use crate::house::{Destination, House};
use crate::support::request;

fn a_rotation_dies_where_its_successor_is_made(way: Way) {
    let house = House::new();
    // `mint.active` is the end of a mint only.
    let points =
        POINTS.iter().filter(|point| Deed::reaching(point) == Deed::Mint && **point != "mint.active");
    let mut names = Vec::new();
    for point in points {
        let name = name_of(point);
        let places = Destination::Both.places("dev", &name);
        let to: Vec<&str> = places.iter().flat_map(|place| ["--to", place.as_str()]).collect();
        house.world.ok(&request(&name, "dev", &to));
        rotate(&house, way, point, &name, Destination::Both);
        names.push(name);
    }
    check_embedded(&house, &names);
    house.assert_nothing_leaked();
}

#[test]
fn a_command_that_dies_while_it_rotates_is_finished_by_the_next() {
    a_rotation_dies_where_its_successor_is_made(Way::Command);
}

#[test]
fn a_broker_that_dies_while_it_rotates_is_followed_by_one_that_finishes() {
    a_rotation_dies_where_its_successor_is_made(Way::Broker);
}
