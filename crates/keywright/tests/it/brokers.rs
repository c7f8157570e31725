//! Three brokers on one database, each a process: stopped for a while, killed and started again, and cut off from the server, at
//! random. Each key that is due is rotated exactly once all the same.
//!
//! `KEYWRIGHT_TEST_ROTATIONS` says how many keys there are (60; 1000 for the long form), `KEYWRIGHT_TEST_SEED` what happens when.

use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant, SystemTime};

use keywright_ledger::audit_files::verify;
use keywright_testkit::{Brokers, Database};

use crate::support::World;

/// The longest that anything is waited for. Nothing is asserted about how long it takes.
const PATIENCE: Duration = Duration::from_secs(900);
/// The same, for a broker that was told to stop.
const STOP: Duration = Duration::from_secs(120);

struct Process {
    child: Child,
    /// Until when it is stopped.
    stopped: Option<Instant>,
}

impl Process {
    fn start(house: &Brokers, home: usize) -> Self {
        let child = Command::new(assert_cmd::cargo::cargo_bin!("keywright"))
            .env("KEYWRIGHT_HOME", house.path(home))
            .args(["serve", "--no-input", "--passphrase-file"])
            .arg(house.passphrase_file())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        Self { child, stopped: None }
    }

    fn signal(&self, name: &str) {
        let pid = self.child.id().to_string();
        assert!(Command::new("kill").args([&format!("-{name}"), &pid]).status().unwrap().success());
    }

    fn go_on(&mut self) {
        if self.stopped.take().is_some() {
            self.signal("CONT");
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Numbers that are the same for the same seed (xorshift64).
struct Dice(u64);

impl Dice {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % limit
    }
}

fn number(variable: &str) -> Option<u64> {
    std::env::var(variable).ok()?.parse().ok()
}

#[test]
fn brokers_that_are_stopped_killed_and_cut_off_rotate_each_key_that_is_due_once() {
    let Some(database) = Database::where_there_is_one() else { return };
    let keys = usize::try_from(number("KEYWRIGHT_TEST_ROTATIONS").unwrap_or(60)).unwrap();
    let now = SystemTime::UNIX_EPOCH.elapsed().unwrap().as_millis();
    let seed = number("KEYWRIGHT_TEST_SEED").unwrap_or(u64::try_from(now).unwrap());
    eprintln!("KEYWRIGHT_TEST_SEED={seed}");
    let mut dice = Dice(seed | 1);
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let house = runtime.block_on(async {
        let house = Brokers::new(database, 2).await;
        let broker = house.open(0).await;
        house.mint(&broker, keys).await;
        house
    });
    house.make_due();
    let mut processes: Vec<Process> = (0..house.homes()).map(|home| Process::start(&house, home)).collect();
    let begun = Instant::now();
    let (mut stopped, mut killed, mut cut_off) = (0, 0, 0);
    while house.rotated() < keys {
        assert!(begun.elapsed() < PATIENCE * 4, "seed {seed}: {} of {keys} are done", house.rotated());
        std::thread::sleep(Duration::from_millis(300 + dice.below(900)));
        let home = usize::try_from(dice.below(3)).unwrap();
        for process in &mut processes {
            if process.stopped.is_some_and(|until| until <= Instant::now()) {
                process.go_on();
            }
        }
        // What could not begin because a connection was lost is tried again in minutes; here, now.
        house.database.run("UPDATE keys SET rotate_at = 0 WHERE rotate_at IS NOT NULL AND rotate_tries > 0");
        match dice.below(8) {
            // Long enough for the server to throw it out, and sometimes for its lead to pass on.
            0 | 1 if processes[home].stopped.is_none() => {
                processes[home].signal("STOP");
                processes[home].stopped =
                    Some(Instant::now() + Duration::from_millis(500 + dice.below(20_000)));
                stopped += 1;
            }
            2 => {
                let _ = processes[home].child.kill();
                let _ = processes[home].child.wait();
                processes[home] = Process::start(&house, home);
                killed += 1;
            }
            3 => {
                house.database.run(
                    "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity \
                     WHERE datname = current_database() AND pid <> pg_backend_pid()",
                );
                cut_off += 1;
            }
            _ => {}
        }
        for (home, process) in processes.iter_mut().enumerate() {
            if let Some(ended) = process.child.try_wait().unwrap() {
                // One that is cut off while it starts gives up, as a service manager has it start again.
                eprintln!("home {home} ended by itself: {ended}");
                *process = Process::start(&house, home);
            }
        }
    }
    eprintln!("{stopped} stopped, {killed} killed, {cut_off} times cut off, {:?}", begun.elapsed());
    for (home, mut process) in processes.into_iter().enumerate() {
        process.go_on();
        process.signal("TERM");
        let told = Instant::now();
        while process.child.try_wait().unwrap().is_none() {
            assert!(told.elapsed() < STOP, "seed {seed}: home {home} does not stop");
            std::thread::sleep(Duration::from_millis(20));
        }
    }
    runtime.block_on(async {
        for home in 0..house.homes() {
            let broker = house.open(home).await;
            let found = broker.reconcile().await.unwrap();
            assert!(
                found.unreachable.is_empty() && found.missing.is_empty() && found.forged == 0,
                "{found:?}"
            );
            assert!(home == 0 || found.orphans.is_empty(), "seed {seed}: {found:?}");
            broker.publish_audit().await.unwrap();
        }
    });
    house.assert_each_rotated_once(keys);
    for home in 0..house.homes() {
        let report = verify(&house.home(home).audit(), house.location(), None, None).unwrap();
        assert!(report.is_sound(), "seed {seed}, home {home}: {:?}", report.findings);
    }
}

#[test]
fn a_second_home_joins_a_ledger_that_is_there() {
    let Some(database) = Database::where_there_is_one() else { return };
    let (one, two) = (World::empty(), World::empty());
    // Both are told the same place for the copy of the log's head.
    let place = one.path("witness");
    let witness = ["--witness", place.to_str().unwrap()];
    one.ok(&[&["init", "--operator", "alice", "--ledger", &database.url()], &witness[..]].concat());
    one.ok(&["serve", "--detach"]);
    one.ok(&["agent", "add", "builder"]);
    let refused =
        two.alice(&["init", "--operator", "alice", "--ledger", &database.url(), "--json"]).expect(7);
    assert!(refused.out.contains("--join"), "{}", refused.out);
    assert!(!two.home().join("config.toml").exists());
    let joined = two.ok(&[&["init", "--join", "--ledger", &database.url()], &witness[..]].concat());
    assert_eq!((joined["operator"].as_str(), joined["joined"].as_bool()), (Some("alice"), Some(true)));
    two.ok(&["serve", "--detach"]);
    assert!(two.ok(&["agent", "list"]).to_string().contains("builder"), "what was added there is known here");
    two.ok(&["agent", "remove", "builder"]);
    assert!(!one.ok(&["agent", "list"]).to_string().contains("builder"));
    let own = std::path::PathBuf::from(joined["witness"].as_str().unwrap());
    assert!(own.starts_with(&place) && own != place, "{joined}");
    for world in [&one, &two] {
        let said = world.plain(&["--json", "doctor"]).json();
        let all = said["findings"].as_array().unwrap();
        let witness = all.iter().find(|one| one["check"] == "witness").unwrap();
        assert_eq!(witness["verdict"], "good", "{said}");
    }
    for world in [&one, &two] {
        world.ok(&["stop"]);
        world.ok(&["audit", "verify"]);
    }
    let instance = |dir: &std::path::Path| {
        let mut all = std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
        all.find(|path| *path != own).unwrap()
    };
    for (world, dir) in [(&one, instance(&place)), (&two, instance(&own))] {
        let (first, second) = (world.home().join("audit/head"), dir.join("head"));
        assert_eq!(std::fs::read(first).unwrap(), std::fs::read(&second).unwrap(), "{}", second.display());
    }
}
