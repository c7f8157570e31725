//! The server goes away under three brokers: it crashes and comes back, and then it crashes for good and its standby takes over.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

use std::time::{Duration, Instant};

use keywright_ledger::audit_files::verify;
use keywright_testkit::{Brokers, Running, Server};

const KEYS: usize = 30;
/// The longest that anything is waited for. Nothing is asserted about how long it takes.
const PATIENCE: Duration = Duration::from_secs(400);

/// Waits until so many rotations are done, the server being there.
async fn rotated(house: &Brokers, wanted: usize) {
    let begun = Instant::now();
    while house.rotated() < wanted {
        assert!(begun.elapsed() < PATIENCE, "{} of {wanted} are done", house.rotated());
        // What could not begin because the server was away is tried again in minutes; here, now.
        house.database.run("UPDATE keys SET rotate_at = 0 WHERE rotate_at IS NOT NULL AND rotate_tries > 0");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_crashes_and_one_that_its_standby_replaces_cost_no_rotation_and_no_key() {
    let Some(first) = Server::where_there_is_one() else { return };
    let standby = first.standby();
    let mut house = Brokers::new(first.database(&standby), 2).await;
    let mut brokers = Vec::new();
    for home in 0..house.homes() {
        brokers.push(house.open(home).await);
    }
    house.mint(brokers.first().unwrap(), KEYS).await;
    house.make_due();
    let running = Running::start(&brokers);

    rotated(&house, KEYS / 6).await;
    first.crash();
    assert!(house.sandbox.live_tokens_named_like("kw-").len() >= KEYS);
    first.again();
    rotated(&house, KEYS / 2).await;
    first.crash();
    house.database = standby.promote(&house.database);
    rotated(&house, KEYS).await;
    running.stop().await;
    drop(brokers);

    for home in 0..house.homes() {
        let broker = house.open(home).await;
        let found = broker.reconcile().await.unwrap();
        assert!(found.unreachable.is_empty() && found.missing.is_empty() && found.forged == 0, "{found:?}");
        let health = broker.health().await.unwrap();
        assert_eq!(health.read_only, None);
        drop(broker);
        let report = verify(&house.home(home).audit(), house.location(), None, None).unwrap();
        assert!(report.is_sound(), "{:?}", report.findings);
    }
    house.assert_each_rotated_once(KEYS);
}
