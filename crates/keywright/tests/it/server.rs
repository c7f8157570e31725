//! The ledger on a PostgreSQL server, through the command line.

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use keywright_testkit::Database;

use crate::support::{World, as_operator, request};

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

/// Moves a home's ledger with a process that is killed once it is `so_far`, and before the home names the new one.
fn dies_on_the_way(world: &World, to: &str, so_far: impl Fn() -> bool) {
    // A pipe that nobody reads from lies where the new configuration is to be written.
    let pipe = world.home().join("config.new");
    assert!(Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    let pass = world.path("pass");
    let args = as_operator(&["ledger", "migrate", "--to", to], pass.to_str().unwrap());
    let mut mover = world.command(&args).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let begun = Instant::now();
    while !so_far() {
        assert!(begun.elapsed() < Duration::from_secs(60), "it did not come so far");
        assert!(mover.try_wait().unwrap().is_none(), "it ended before");
        std::thread::sleep(Duration::from_millis(20));
    }
    mover.kill().unwrap();
    mover.wait().unwrap();
    std::fs::remove_file(&pipe).unwrap();
}

/// Whether a database says something of a move.
fn is_marked(database: &Database, mark: &str) -> bool {
    let has_tables = "SELECT count(*) FROM pg_tables WHERE schemaname = 'keywright' AND tablename = 'meta'";
    database.run(has_tables).trim() == "1"
        && database.run(&format!("SELECT count(*) FROM meta WHERE name = '{mark}'")).trim() == "1"
}

/// That a home can't use its ledger, and is told that the move is to be gone on with.
fn is_stuck(world: &World, words: &str) {
    let stuck = world.alice(&["agent", "list", "--json"]).expect(7).json();
    assert!(stuck["message"].as_str().unwrap().contains(words), "{stuck}");
    assert!(stuck["hint"].as_str().unwrap().contains("keywright ledger migrate --to"), "{stuck}");
}

#[test]
fn a_move_from_a_server_that_died_when_the_old_ledger_counted_no_more_is_finished_by_saying_it_again() {
    let Some(database) = Database::where_there_is_one() else { return };
    let (world, elsewhere) = (World::empty(), Database::where_there_is_one().unwrap());
    world.ok(&["init", "--operator", "alice", "--ledger", &database.url()]);
    world.ok(&["agent", "add", "builder"]);
    dies_on_the_way(&world, "sqlite", || is_marked(&database, "moved"));
    is_stuck(&world, "was moved");
    // To that place and to no other one.
    world.alice(&["ledger", "migrate", "--to", &elsewhere.url()]).expect(7);
    let moved = world.ok(&["ledger", "migrate", "--to", "sqlite"]);
    assert!(moved["rows"].as_u64().unwrap() > moved["vouched_for"].as_u64().unwrap(), "{moved}");
    assert_eq!(moved["entries"], world.ok(&["audit", "verify"])["entries"]);
    assert!(world.alice(&["agent", "list"]).expect(0).out.contains("builder"));
    world.ok(&["agent", "add", "tester"]);
    world.alice(&["ledger", "migrate", "--to", "sqlite"]).expect(7);

    // The same with a server to go to.
    world.ok(&["ledger", "migrate", "--to", &elsewhere.url()]);
    let third = Database::where_there_is_one().unwrap();
    dies_on_the_way(&world, &third.url(), || is_marked(&elsewhere, "moved"));
    is_stuck(&world, "was moved");
    world.ok(&["ledger", "migrate", "--to", &third.url()]);
    assert!(world.alice(&["agent", "list"]).expect(0).out.contains("tester"));
    world.ok(&["audit", "verify"]);
}

#[test]
fn a_move_that_died_before_the_home_named_the_new_ledger_is_begun_again() {
    let Some(database) = Database::where_there_is_one() else { return };
    let (world, other) = (World::empty(), World::empty());
    world.ok(&["init", "--operator", "alice"]);
    dies_on_the_way(&world, &database.url(), || is_marked(&database, "arriving"));
    // The home goes on with the old one, and nobody begins with the copy.
    world.ok(&["agent", "add", "builder"]);
    let refused = other.alice(&["init", "--join", "--ledger", &database.url(), "--json"]).expect(7).json();
    assert!(refused["message"].as_str().unwrap().contains("was not finished"), "{refused}");
    world.ok(&["ledger", "migrate", "--to", &database.url()]);
    assert_eq!(database.run("SELECT count(*) FROM agents").trim(), "1", "it was copied anew");
    world.ok(&["agent", "add", "tester"]);

    // As it is where the home names it, and it did not come to be used.
    let (file, kept) = (world.home().join("ledger.db"), world.home().join("ledger.db.moved"));
    database.run("INSERT INTO meta (name, value) VALUES ('arriving', '')");
    std::fs::rename(&kept, &file).unwrap();
    is_stuck(&world, "was not finished");
    let moved = world.ok(&["ledger", "migrate", "--to", &database.url()]);
    assert!(moved["old"].as_str().unwrap().ends_with("ledger.db.moved"), "{moved}");
    assert!(kept.exists() && !file.exists() && !is_marked(&database, "arriving"));
    assert!(world.alice(&["agent", "list"]).expect(0).out.contains("tester"));

    // A copy in a file, that is left.
    dies_on_the_way(&world, "sqlite", || file.exists());
    if is_marked(&database, "moved") {
        is_stuck(&world, "was moved");
    } else {
        world.ok(&["agent", "list"]);
    }
    world.ok(&["ledger", "migrate", "--to", "sqlite"]);
    assert!(world.alice(&["agent", "list"]).expect(0).out.contains("tester"));
}

#[test]
fn a_home_that_was_left_behind_follows_with_the_same_command() {
    let Some(database) = Database::where_there_is_one() else { return };
    let (one, two) = (World::empty(), World::empty());
    one.ok(&["init", "--operator", "alice", "--ledger", &database.url()]);
    two.ok(&["init", "--join", "--ledger", &database.url()]);
    let new = Database::where_there_is_one().unwrap();
    one.ok(&["ledger", "migrate", "--to", &new.url()]);
    one.ok(&["agent", "add", "builder"]);
    is_stuck(&two, "was moved");
    two.ok(&["ledger", "migrate", "--to", &new.url()]);
    assert!(two.alice(&["agent", "list"]).expect(0).out.contains("builder"));
    two.ok(&["audit", "verify"]);
}
