//! `serve`: ready when the socket accepts, gone when it is told to, and quiet about its passphrase.

use std::io::Read as _;
use std::os::unix::fs::PermissionsExt as _;
use std::process::Stdio;
use std::time::{Duration, Instant};

use keywright_testkit::{Database, Swallowing};

use crate::support::{PASSPHRASE, Serving, World};

#[test]
fn every_usual_signal_ends_it_in_order() {
    let world = World::empty();
    world.init();
    for signal in ["TERM", "INT", "HUP"] {
        let mut serving = Serving::start(&world);
        let mode = std::fs::metadata(world.home().join("broker.sock")).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode, 0o600);
        assert_eq!(world.ok(&["status"])["serving"], true);
        serving.signal(signal);
        assert_eq!(serving.0.wait().unwrap().code(), Some(0), "{signal}");
        assert!(!world.home().join("broker.sock").exists(), "{signal}");
    }
    world.plain(&["audit", "verify"]).expect(0);
}

#[test]
fn a_home_may_be_a_long_way_off() {
    let world = World::empty();
    let home = world.path(&"a".repeat(90)).join("b".repeat(40));
    let pass = world.path("pass");
    let run = |args: &[&str]| {
        let mut command = world.command(args);
        command.env("KEYWRIGHT_HOME", &home).args(["--json", "--passphrase-file"]).arg(&pass);
        let output = command.output().unwrap();
        let out = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(output.status.success(), "{args:?}: {out}");
        serde_json::from_str::<serde_json::Value>(&out).unwrap()
    };
    run(&["init", "--operator", "alice"]);
    run(&["serve", "--detach"]);
    assert_eq!(run(&["status"])["home"].as_str(), home.to_str());
    run(&["agent", "add", "a"]);
    assert!(run(&["key", "list"])["keys"].as_array().unwrap().is_empty());
    assert_eq!(run(&["stop"])["stopped"], true);
    assert!(!home.join("broker.sock").exists());
}

#[test]
fn a_broker_that_was_killed_leaves_nothing_in_the_way() {
    let world = World::ready();
    let mut serving = Serving::start(&world);
    serving.0.kill().unwrap();
    serving.0.wait().unwrap();
    assert_eq!(world.plain(&["status", "--json"]).expect(0).json()["serving"], false);
    world.ok(&["key", "list"]);
    let _again = Serving::start(&world);
    assert_eq!(world.ok(&["status"])["serving"], true);
}

#[test]
fn the_passphrase_of_a_broker_in_the_background_is_nowhere_to_be_seen() {
    let world = World::empty();
    world.init();
    let serving = world.ok(&["serve", "--detach"]);
    let pid = serving["pid"].as_u64().unwrap();
    for name in ["cmdline", "environ"] {
        let mut bytes = Vec::new();
        if let Ok(mut file) = std::fs::File::open(format!("/proc/{pid}/{name}")) {
            // Not even its own user may read the environment of a process that is not dumpable.
            let _ = file.read_to_end(&mut bytes);
        }
        assert!(!bytes.windows(PASSPHRASE.len()).any(|w| w == PASSPHRASE.as_bytes()), "{name}");
    }
    let mode = std::fs::metadata(world.home().join("broker.log")).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode, 0o600);
    world.ok(&["stop"]);
}

#[test]
fn a_broker_that_can_not_start_says_why_also_from_the_background() {
    let world = World::empty();
    world.init();
    world.secret("wrong", "wrong horse battery");
    for args in [&["serve"][..], &["serve", "--detach"]] {
        let error = world.plain(&[args, &["--json", "--passphrase-file", "wrong"]].concat()).expect(5).json();
        assert_eq!(error["code"], "unauthenticated", "{args:?}");
        world.plain(&[args, &["--no-input"]].concat()).expect(5);
        let error = world.alice(&[args, &["--listen", "0.0.0.0:0", "--json"]].concat()).expect(2).json();
        assert_eq!(error["code"], "invalid_argument", "{args:?}");
    }
    assert!(!world.home().join("broker.sock").exists());
    assert_eq!(World::empty().alice(&["serve"]).code, 1, "no home, no broker");
}

#[test]
fn passphrases_that_fit_nobody_are_on_record_and_named_nowhere() {
    let world = World::empty();
    world.init();
    world.secret("wrong", "wrong horse battery");
    world.ok(&["serve", "--detach"]);
    let entries = || {
        let log = world.ok(&["audit", "log", "--limit", "100"]);
        let all = log["entries"].as_array().unwrap().clone();
        all.into_iter().filter(|entry| entry["deed"] == "session.refuse").collect::<Vec<_>>()
    };
    let guess = || world.plain(&["key", "list", "--json", "--passphrase-file", "wrong"]).expect(5);
    for _ in 0..4 {
        guess();
    }
    assert_eq!(entries(), Vec::<serde_json::Value>::new(), "somebody mistypes");
    for _ in 0..4 {
        guess();
    }
    let told = entries();
    assert_eq!(told.len(), 1, "{told:?}");
    assert_eq!(told[0]["facts"]["tries"], 5, "{told:?}");
    assert!(!told[0].to_string().contains("horse"), "{told:?}");
    // They are found by what is asked about them.
    let of_deed = world.ok(&["audit", "log", "--deed", "session.refuse", "--failed"]);
    assert_eq!(of_deed["entries"], serde_json::json!(told), "{of_deed}");
    let id = told[0]["id"].as_str().unwrap();
    assert_eq!(world.ok(&["audit", "log", "--about", id])["entries"], serde_json::json!(told));
    for other in [&["--by", "nobody"][..], &["--until", "2020-02-02"], &["--before", "0", "--failed"]] {
        let found = world.ok(&[&["audit", "log"], other].concat());
        assert_eq!(found["entries"], serde_json::json!([]), "{other:?}");
    }
    let deeds = world.ok(&["audit", "log", "--by", "alice", "--since", "2020-02-02", "--limit", "1"]);
    assert!(deeds["before"].is_u64(), "there are older ones: {deeds}");
    assert_eq!(
        world.alice(&["audit", "log", "--about", "web/dev/NONE", "--json"]).expect(1).json()["code"],
        "not_found"
    );
    world.alice(&["audit", "log", "--deed", "nothing"]).expect(2);
    world.alice(&["audit", "log", "--from", "1", "--failed"]).expect(2);
    world.ok(&["audit", "verify"]);
    world.ok(&["stop"]);
}

#[test]
fn a_service_manager_hands_the_passphrase_over_as_a_credential() {
    let world = World::empty();
    world.init();
    std::fs::create_dir(world.path("credentials")).unwrap();
    world.secret("credentials/keywright-passphrase", PASSPHRASE);
    let mut command = world.command(&["serve", "--json", "--no-input"]);
    command.env("CREDENTIALS_DIRECTORY", world.path("credentials")).stdout(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let mut line = [0; 40];
    child.stdout.as_mut().unwrap().read_exact(&mut line).unwrap();
    assert!(String::from_utf8_lossy(&line).contains("keywright/serve/1"));
    drop(Serving(child));
}

#[test]
fn a_sandbox_by_hand_can_be_connected_to_and_takes_its_token_away() {
    use std::io::BufRead as _;
    let world = World::empty();
    world.init();
    let mut command = world.command(&["sandbox", "--json", "--token-file", "sandbox.token"]);
    let mut sandbox = Serving(command.stdout(Stdio::piped()).spawn().unwrap());
    let mut line = String::new();
    std::io::BufReader::new(sandbox.0.stdout.take().unwrap()).read_line(&mut line).unwrap();
    let told: serde_json::Value = serde_json::from_str(&line).unwrap();
    let mode = std::fs::metadata(world.path("sandbox.token")).unwrap().permissions().mode() & 0o777;
    assert_eq!((told["schema"].as_str(), mode), (Some("keywright/sandbox/1"), 0o600));
    let token = std::fs::read_to_string(world.path("sandbox.token")).unwrap();
    assert!(!line.contains(token.trim()), "the token is never printed");
    world.ok(&[
        "provider",
        "add",
        "cloudflare",
        "--name",
        "sb",
        "--account",
        told["account"].as_str().unwrap(),
        "--base-url",
        told["base_url"].as_str().unwrap(),
        "--credential-file",
        "sandbox.token",
    ]);
    sandbox.signal("INT");
    assert_eq!(sandbox.0.wait().unwrap().code(), Some(0));
    assert!(!world.path("sandbox.token").exists());
}

#[test]
fn a_broker_that_only_revokes_says_so_wherever_one_looks() {
    let world = World::ready();
    std::fs::remove_file(world.home().join("audit/head")).unwrap();
    let _serving = Serving::start(&world);
    let status = world.plain(&["status"]).expect(0).out;
    assert!(status.contains("only revokes") && status.contains("`head` is gone"), "{status}");
    assert!(world.plain(&["status", "--short"]).expect(0).out.contains("only revokes"));
    let doctor = world.plain(&["doctor"]).expect(1).out;
    assert!(doctor.contains("the broker only revokes"), "{doctor}");
    world.alice(&["audit", "accept"]).expect(0);
    let status = world.plain(&["status"]).expect(0).out;
    assert!(!status.contains("only revokes"), "{status}");
}

/// Waits until a process has ended, for as long as nobody would wait for a stop.
fn ended(serving: &mut Serving) -> Option<i32> {
    let begun = Instant::now();
    loop {
        if let Some(status) = serving.0.try_wait().unwrap() {
            return status.code();
        }
        assert!(begun.elapsed() < Duration::from_secs(45), "it does not end");
        std::thread::sleep(Duration::from_millis(50));
    }
}

#[test]
fn a_broker_whose_ledger_does_not_answer_stops_all_the_same() {
    let Some(database) = Database::where_there_is_one() else { return };
    let way = Swallowing::before(&database);
    let world = World::empty();
    world.ok(&["init", "--operator", "alice", "--ledger", &way.url()]);
    let mut serving = Serving::start(&world);
    world.ok(&["agent", "add", "builder"]);
    way.swallow(true);
    serving.signal("TERM");
    assert_eq!(ended(&mut serving), Some(75));
    assert!(!world.home().join("broker.sock").exists());
    // Also one that was starting.
    let (pass, met) = (world.path("pass"), way.met());
    let mut command = world.command(&["serve", "--json", "--passphrase-file", pass.to_str().unwrap()]);
    let mut serving = Serving(command.stdout(Stdio::piped()).spawn().unwrap());
    while way.met() == met {
        std::thread::sleep(Duration::from_millis(20));
    }
    serving.signal("TERM");
    ended(&mut serving);
    // It left nothing in the way.
    way.swallow(false);
    let mut serving = Serving::start(&world);
    assert!(world.ok(&["agent", "list"]).to_string().contains("builder"));
    serving.signal("TERM");
    assert_eq!(ended(&mut serving), Some(0));
    world.ok(&["audit", "verify"]);
}

#[test]
fn what_was_asked_of_a_suspended_broker_and_given_up_is_not_done_later() {
    let world = World::ready();
    let broker = Serving::start(&world);
    broker.signal("STOP");
    let mut asking = world.command(&["stop"]).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    std::thread::sleep(std::time::Duration::from_millis(700));
    asking.kill().unwrap();
    asking.wait().unwrap();
    broker.signal("CONT");
    for _ in 0..5 {
        let status = world.ok(&["status"]);
        assert_eq!(status["serving"], true, "{status}");
    }
}
