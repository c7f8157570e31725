//! A broker that dies after people were told, and before that is on record: they are told again, under the same id, and nothing is
//! lost.

use keywright_core::channel::NoticeState;
use keywright_testkit::{Taken, Taker};

use crate::deeds::pending;
use crate::dying::{Way, start_again, start_and_die};
use crate::house::{Destination, House, wait_for};
use crate::support::request;

const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

#[test]
fn a_broker_that_dies_after_it_told_tells_again_under_the_same_id() {
    let house = House::with_bob();
    let taker = Taker::always(204);
    let secret = house.world.secret("hook", SECRET);
    let url = taker.url("/hook");
    house.world.ok(&[
        "notify",
        "add",
        "webhook",
        "--name",
        "ops",
        "--url",
        &url,
        "--credential-file",
        &secret,
    ]);
    house.world.ok(&request("KEPT", "dev", &["--to", "embedded:web/dev/KEPT"]));
    // A command owes it; a broker that runs tells it.
    let id = pending(&house, "TOLD", Destination::Embedded);
    assert!(taker.taken().is_empty());
    start_and_die(&house, "notify.sent");
    assert_eq!(taker.taken().len(), 1, "it was told before it died");
    let state = |id: &str| {
        let id = id.to_owned();
        house.read(move |tx| tx.notices_about(&id)).remove(0).state
    };
    let _recovered = start_again(&house, Way::Broker);
    wait_for("it is told again", || state(&id) == NoticeState::Told);
    let ids: Vec<String> =
        taker.taken().iter().map(|one: &Taken| one.headers["webhook-id"].clone()).collect();
    assert_eq!(ids.len(), 2);
    assert!(ids[0].starts_with("ntc_") && ids[0] == ids[1], "{ids:?}");
    assert!(taker.taken().iter().all(|one| one.json()["data"]["about"] == id.as_str()));
    house.assert_nothing_leaked();
}
