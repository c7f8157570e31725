//! A broker in the foreground that operators ask over its socket.

use keywright_broker::crash::POINTS;

use crate::aftermath::check_embedded;
use crate::by_command::living;
use crate::deeds::die_and_recover;
use crate::dying::Way;
use crate::house::{Destination, House};

fn a_broker_dies_everywhere(to: Destination) {
    let house = House::with_bob();
    for point in POINTS {
        die_and_recover(&house, Way::Broker, point, to);
    }
    if to.is_embedded() {
        check_embedded(&house, &living());
    }
    house.assert_nothing_leaked();
}

#[test]
fn a_broker_that_dies_anywhere_is_followed_by_one_that_finishes_and_the_key_is_in_the_embedded_store() {
    a_broker_dies_everywhere(Destination::Embedded);
}

#[test]
fn a_broker_that_dies_anywhere_is_followed_by_one_that_finishes_and_the_key_is_in_the_file() {
    a_broker_dies_everywhere(Destination::Dotenv);
}

#[test]
fn a_broker_that_dies_anywhere_is_followed_by_one_that_finishes_and_the_key_is_in_both_places() {
    a_broker_dies_everywhere(Destination::Both);
}
