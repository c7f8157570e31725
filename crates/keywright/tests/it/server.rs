//! The ledger on a PostgreSQL server, through the command line.

use std::process::Command;
use std::time::{Duration, Instant};

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

    // The file that is kept from the first move is not given up for the next one's.
    let first = std::fs::read(world.home().join("ledger.db.moved")).unwrap();
    let other = Database::where_there_is_one().unwrap();
    let again = world.ok(&["ledger", "migrate", "--to", &other.url()]);
    assert!(again["old"].as_str().unwrap().ends_with("ledger.db.moved-2"), "{again}");
    assert!(std::fs::read(world.home().join("ledger.db.moved")).unwrap() == first);
    assert!(world.home().join("ledger.db.moved-2").exists() && !world.home().join("ledger.db").exists());
}

/// Has a file be one that can't be given another name, where this process may mount.
struct Pinned(std::path::PathBuf);

impl Pinned {
    fn at(path: std::path::PathBuf) -> Option<Self> {
        let mounted = Command::new("mount").args(["--bind"]).args([&path, &path]).output();
        if mounted.is_ok_and(|mounted| mounted.status.success()) {
            return Some(Self(path));
        }
        eprintln!("SKIPPED: this user can't mount");
        None
    }
}

impl Drop for Pinned {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

#[test]
fn a_move_whose_old_file_keeps_its_name_is_done_all_the_same() {
    let Some(database) = Database::where_there_is_one() else { return };
    let world = World::empty();
    world.ok(&["init", "--operator", "alice"]);
    let Some(pinned) = Pinned::at(world.home().join("ledger.db")) else { return };
    let moved = world.ok(&["ledger", "migrate", "--to", &database.url()]);
    assert!(
        moved["not_renamed"].is_string() && moved["old"].as_str().unwrap().ends_with("ledger.db"),
        "{moved}"
    );
    drop(pinned);
    world.ok(&["agent", "add", "builder"]);
    assert_eq!(database.run("SELECT count(*) FROM agents").trim(), "1", "the new one is used");
}

#[test]
fn a_ledger_that_another_home_works_on_is_not_moved_away_from_it() {
    let Some(database) = Database::where_there_is_one() else { return };
    let (one, two) = (World::empty(), World::empty());
    one.ok(&["init", "--operator", "alice", "--ledger", &database.url()]);
    two.ok(&["init", "--join", "--ledger", &database.url()]);
    for world in [&one, &two] {
        world.ok(&["serve", "--detach"]);
    }
    let begun = Instant::now();
    while database.run("SELECT count(*) FROM listeners").trim() != "2" {
        assert!(begun.elapsed() < Duration::from_secs(60), "nobody says that it listens");
        std::thread::sleep(Duration::from_millis(50));
    }
    one.ok(&["stop"]);
    let refused = one.alice(&["ledger", "migrate", "--to", "sqlite", "--json"]).expect(7).json();
    assert!(refused["message"].as_str().unwrap().contains("another home's broker"), "{refused}");
    assert!(!one.home().join("ledger.db").exists());
    one.ok(&["agent", "list"]);
    two.ok(&["stop"]);
    database.run("UPDATE listeners SET until = until - 600000");
    let moved = one.ok(&["ledger", "migrate", "--to", "sqlite"]);
    assert_eq!(moved["other_homes"].as_array().unwrap().len(), 1, "{moved}");
}
