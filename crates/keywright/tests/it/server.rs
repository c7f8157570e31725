//! The ledger on a PostgreSQL server, through the command line.

use keywright_testkit::Database;

use crate::support::{World, request};

#[test]
fn a_home_moves_to_a_server_and_back_with_its_keys() {
    let Some(database) = Database::where_there_is_one() else { return };
    let world = World::empty();
    world.ok(&["init", "--operator", "alice"]);
    world.connect();
    world.ok(&["template", "apply", "cloudflare/dns-edit"]);
    world.alice(&request("ONE", "dev", &[])).expect(0);
    world.ok(&["serve", "--detach"]);
    world.alice(&["ledger", "migrate", "--to", &database.url()]).expect(7);
    world.ok(&["stop"]);
    let moved = world.ok(&["ledger", "migrate", "--to", &database.url()]);
    assert_eq!(moved["entries"], world.ok(&["audit", "verify"])["entries"]);
    assert!(moved["rows"].as_u64().unwrap() > moved["vouched_for"].as_u64().unwrap());
    assert!(!world.home().join("ledger.db").exists() && world.home().join("ledger.db.moved").exists());
    world.alice(&["ledger", "migrate", "--to", &database.url()]).expect(7);
    world.alice(&request("TWO", "dev", &[])).expect(0);
    world.ok(&["key", "rotate", "web/dev/ONE"]);
    assert!(world.ok(&["audit", "verify"])["entries"].as_u64() > moved["entries"].as_u64());
    assert!(database.run("SELECT count(*) FROM keys").trim() == "2");

    // Another home is not made over it by accident.
    let other = World::empty();
    let refused =
        other.alice(&["init", "--operator", "alice", "--ledger", &database.url(), "--json"]).expect(7);
    assert!(refused.json()["message"].as_str().unwrap().contains("already"), "{}", refused.out);
    assert!(!other.home().join("config.toml").exists());

    let back = world.ok(&["ledger", "migrate", "--to", "sqlite"]);
    assert!(back["rows"].as_u64() > moved["rows"].as_u64());
    world.alice(&request("THREE", "dev", &[])).expect(0);
    assert_eq!(database.run("SELECT count(*) FROM keys").trim(), "2", "the database is as it was left");
    world.ok(&["audit", "verify"]);
}
