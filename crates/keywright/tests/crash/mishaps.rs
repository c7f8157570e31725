//! A provider that misbehaves around the crash.

use keywright_core::key::KeyState;
use keywright_sandbox::{FaultKind, Widening};

use crate::aftermath::{End, check, nothing_astray};
use crate::deeds::name_of;
use crate::dying::{Way, die, recover};
use crate::house::{Destination, House};
use crate::support::request;

const CREATE: (&str, &str) = ("POST", "/accounts/*/tokens");
const LIST: (&str, &str) = ("GET", "/accounts/*/tokens");
const SHOW: (&str, &str) = ("GET", "/accounts/*/tokens/*");
const DELETE: (&str, &str) = ("DELETE", "/accounts/*/tokens/*");

/// Hides everything that these tests make.
const LAG: FaultKind = FaultKind::LaggingList { ms: 3_600_000 };
/// Asks for a pause so long that a call is not repeated by itself, which takes real time.
const DOWN: FaultKind = FaultKind::Status { status: 503, retry_after: Some(3_600) };

fn inject(house: &House, (method, path): (&str, &str), kind: FaultKind, times: u32) {
    house.inject(method, path, kind, times);
}

fn heal(house: &House) {
    house.world.with_sandbox(keywright_sandbox::Sandbox::clear_faults);
}

fn mint_and_die(house: &House, way: Way, point: &str, name: &str) {
    die(house, way, point, "pass", &request(name, "dev", &[]));
}

/// The reply to the first create is lost, and the process dies at `point`; while the provider's list lags, what the
/// first create made can't be seen.
fn a_lost_reply_a_lagging_list_and_a_death(way: Way, lost: &FaultKind, points: &[&str]) {
    let house = House::new();
    for point in points {
        let name = name_of(point);
        inject(&house, CREATE, lost.clone(), 1);
        inject(&house, LIST, LAG, 1_000);
        mint_and_die(&house, way, point, &name);
        let recovered = recover(&house, way, &name);
        assert!(house.world.live_keys() > living(&house), "{point}: an orphan that nobody could see yet");
        heal(&house);
        let found = house.world.ok(&["reconcile"]);
        assert_eq!(found["orphans"].as_array().unwrap().len(), 1, "{point}: {found}");
        check(&house, &name, Destination::Embedded, End::Active);
        drop(recovered);
    }
    house.assert_nothing_leaked();
}

fn living(house: &House) -> usize {
    house.read(|tx| tx.live_versions(&"cf".parse().expect("a connection's name"))).len()
}

#[test]
fn an_orphan_that_a_lagging_list_hides_is_found_by_a_later_reconcile() {
    let lost = FaultKind::ReplyLostAfterCommit;
    a_lost_reply_a_lagging_list_and_a_death(
        Way::Command,
        &lost,
        &["mint.answered", "mint.sealed", "mint.placed"],
    );
}

#[test]
fn an_orphan_of_a_create_that_said_500_is_found_by_a_later_reconcile_of_a_broker() {
    let failed = FaultKind::ServerErrorAfterCommit;
    a_lost_reply_a_lagging_list_and_a_death(Way::Broker, &failed, &["mint.answered", "mint.active"]);
}

#[test]
fn an_orphan_that_was_found_right_away_is_revoked_although_the_process_died_before_it_could() {
    let house = House::new();
    for lost in [FaultKind::ReplyLostAfterCommit, FaultKind::ServerErrorAfterCommit, FaultKind::Garbage] {
        let name = format!("KEY_{}", house.world.live_keys());
        inject(&house, CREATE, lost, 1);
        // The orphan can't be revoked before the process dies.
        inject(&house, DELETE, DOWN, 1_000);
        mint_and_die(&house, Way::Command, "mint.sealed", &name);
        heal(&house);
        recover(&house, Way::Command, &name);
        check(&house, &name, Destination::Embedded, End::Active);
    }
}

#[test]
fn a_process_that_dies_at_every_create_ends_with_a_failed_request_and_without_orphans() {
    let house = House::new();
    let name = "HOPELESS";
    mint_and_die(&house, Way::Command, "mint.answered", name);
    for made in 2..=5 {
        die(&house, Way::Command, "mint.answered", "pass", &["reconcile"]);
        // Each reconcile dies before it lists: the orphans pile up.
        assert_eq!(house.world.live_keys(), made);
    }
    recover(&house, Way::Command, name);
    let (_, request, versions) = house.key(name);
    assert_eq!((request.status.as_str(), versions.len()), ("failed", 0), "{:?}", request.reasons);
    assert_eq!(house.world.live_keys(), 0);
    nothing_astray(&house);
}

#[test]
fn a_mint_that_died_waits_for_a_provider_that_is_down_when_it_is_taken_up_again() {
    let house = House::new();
    for (point, path, code) in [("mint.sealed", SHOW, 0), ("mint.answered", LIST, 6)] {
        let name = name_of(point);
        mint_and_die(&house, Way::Command, point, &name);
        inject(&house, path, DOWN, 1_000);
        // A provider whose keys could not be listed is told; one that can't show a key is only waited for.
        house.run("pass", &["reconcile"]).expect(code);
        heal(&house);
        recover(&house, Way::Command, &name);
        check(&house, &name, Destination::Embedded, End::Active);
    }
}

#[test]
fn a_revocation_outlives_deaths_and_refusals_until_the_provider_confirms() {
    let house = House::new();
    for (name, fault) in [("REFUSED", DOWN), ("LOST", FaultKind::ReplyLostBeforeCommit)] {
        house.world.ok(&request(name, "dev", &[]));
        inject(&house, DELETE, fault, 1_000);
        // It dies after the provider failed, then while it tries again.
        die(&house, Way::Command, "revoke.confirmed", "pass", &["key", "revoke", name]);
        die(&house, Way::Command, "revoke.confirmed", "pass", &["reconcile"]);
        let owed = house.world.ok(&["key", "list", "--debt"]);
        assert_eq!(owed["keys"][0]["name"], name, "the debt is there for all to see: {owed}");
        assert_eq!(house.world.live_keys(), 1, "and the key lives");
        heal(&house);
        recover(&house, Way::Command, name);
        check(&house, name, Destination::Embedded, End::Revoked);
    }
    house.world.ok(&request("GONE", "dev", &[]));
    inject(&house, DELETE, FaultKind::ReplyLostAfterCommit, 1_000);
    die(&house, Way::Command, "revoke.confirmed", "pass", &["key", "revoke", "GONE"]);
    heal(&house);
    recover(&house, Way::Command, "GONE");
    check(&house, "GONE", Destination::Embedded, End::Revoked);
}

#[test]
fn a_key_that_is_wider_than_asked_is_revoked_however_often_the_process_dies_on_the_way() {
    let house = House::new();
    let name = "WIDER";
    inject(&house, CREATE, FaultKind::WiderGrant { grant: Widening::OtherZone }, 1);
    inject(&house, DELETE, DOWN, 1_000);
    mint_and_die(&house, Way::Command, "mint.undo", name);
    die(&house, Way::Command, "revoke.confirmed", "pass", &["reconcile"]);
    assert_eq!(house.world.live_keys(), 1, "it could not be revoked yet");
    heal(&house);
    recover(&house, Way::Command, name);
    check(&house, name, Destination::Embedded, End::Failed);
}

#[test]
fn a_command_revokes_although_the_disk_takes_nothing_and_the_next_one_puts_it_on_record() {
    let house = House::new();
    house.world.ok(&request("KEY", "dev", &[]));
    // Room for the files that SQLite shares between processes, not for a transaction (POSIX: blocks of 512 bytes).
    let script = "trap '' XFSZ; ulimit -f 64; exec \"$0\" \"$@\"";
    let revoke = house.command("pass", &["key", "revoke", "KEY"]);
    let mut full = std::process::Command::new("sh");
    full.args(["-c", script]).arg(revoke.get_program()).args(revoke.get_args());
    full.env("KEYWRIGHT_HOME", house.world.home());
    let output = full.output().unwrap();
    house.hear(&output);
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(said.contains("not on record yet"), "{said}");
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert_eq!(house.world.live_keys(), 0, "the deed matters more than its entry");
    // Nothing tells the next one that the first had it ended, so it believes the provider's "no such key" only after a second look.
    let again = house.run("pass", &["key", "revoke", "KEY"]);
    assert_eq!((again.code, &again.json()["status"]), (75, &"in_progress".into()), "{}", again.out);
    let debt = house.read(|tx| Ok(tx.revocations_owed()?.pop())).unwrap();
    assert!(debt.missing_since.is_some(), "{debt:?}");
    assert_eq!(house.key("KEY").0.state, KeyState::Revoking);
}
