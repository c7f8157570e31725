//! What waits, as a prompt, `status` and `doctor` show it; and channels, from being added to being told by a broker that runs.

use std::io::Write as _;
use std::process::Stdio;
use std::time::{Duration, Instant};

use keywright_testkit::Taker;

use crate::support::{Ran, Serving, World, request};

/// A command of alice's that gets something on standard input.
fn feed(world: &World, args: &[&str], input: &str) -> Ran {
    let pass = world.path("pass");
    let head = ["--no-input", "--passphrase-file", pass.to_str().unwrap()];
    let mut command = world.command(&[&head[..], args].concat());
    let mut child =
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    // It may have ended without reading.
    let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
    child.wait_with_output().unwrap().into()
}

#[test]
fn a_prompt_shows_what_waits_and_nothing_where_nothing_does() {
    let world = World::empty();
    assert_eq!(world.plain(&["status", "--short"]).expect(0).out, "", "there is no home");
    let world = World::ready();
    let short = || world.plain(&["status", "--short"]).expect(0).out;
    assert_eq!(short(), "", "no broker runs");
    assert!(world.plain(&["status"]).expect(0).out.contains("not serving"));
    let _serving = Serving::start(&world);
    assert_eq!(short(), "");
    world.key("CF_TOKEN");
    assert_eq!(short(), "", "keys that live ask for nobody");
    world.alice(&request("ONE", "production", &[])).expect(4);
    assert_eq!(short(), "1 to review (1 HIGH)\n");
    assert!(world.plain(&["status"]).expect(0).out.contains("1 request, 1 HIGH"));
    let mail = ["--server", "smtp://127.0.0.1:9", "--from", "a@b.example", "--to", "c@d.example"];
    world.ok(&[&["notify", "add", "email", "--name", "m"][..], &mail].concat());
    for tries in 1..=3 {
        assert_eq!(short(), "1 to review (1 HIGH)\n", "{tries}");
        world.alice(&["notify", "test", "m"]).expect(6);
    }
    assert_eq!(short(), "1 to review (1 HIGH), 1 channel fails\n");
    let status = world.plain(&["status"]).expect(0).out;
    assert!(status.contains("channel `m`: no connection"), "{status}");
    let doctor = world.alice(&["doctor", "--json"]).json();
    let found = doctor["findings"].as_array().unwrap().iter().find(|one| one["check"] == "channel").unwrap();
    assert_eq!(found["verdict"], "warning");
    assert!(found["what"].as_str().unwrap().contains("channel `m`"), "{found}");
    let list = world.alice(&["notify", "list"]).expect(0).out;
    assert!(list.contains("no connection"), "{list}");
    let listed = world.ok(&["notify", "list"]);
    assert_eq!(
        (&listed["channels"][0]["works"], &listed["channels"][0]["failures"]),
        (&false.into(), &3.into())
    );
    world.ok(&["notify", "remove", "m"]);
    assert_eq!(short(), "1 to review (1 HIGH)\n");
}

#[test]
fn a_secret_address_comes_on_standard_input_and_a_broker_that_runs_tells_it() {
    let world = World::ready();
    let taker = Taker::answering(|_, _| Some((200, "ok".to_owned())));
    let url = taker.url("/services/T0/B0/xT7dQ2mPw9RtKvLz4Yh1");
    feed(&world, &["notify", "add", "slack", "--name", "team", "--remind", "30m"], &format!("{url}\n"))
        .expect(0);
    feed(&world, &["notify", "add", "slack", "--name", "none"], "").expect(2);
    let home = World::empty();
    home.plain(&["notify", "add", "pager", "--name", "x"]).expect(2);
    let id = world.alice(&request("ONE", "production", &["--json"])).expect(4).json()["request"].clone();
    assert!(taker.taken().is_empty(), "a command that works on the home itself tells nobody");
    let _serving = Serving::start(&world);
    let started = Instant::now();
    while taker.taken().is_empty() {
        assert!(started.elapsed() < Duration::from_secs(60), "nobody was told");
        std::thread::sleep(Duration::from_millis(50));
    }
    let told = &taker.taken()[0];
    assert_eq!(told.line, "POST /services/T0/B0/xT7dQ2mPw9RtKvLz4Yh1");
    assert!(told.body.contains(&format!("keywright review show {}", id.as_str().unwrap())), "{}", told.body);
    let list = world.alice(&["notify", "list"]).expect(0).out;
    assert!(list.contains("again each 30m") && !list.contains("xT7d"), "{list}");
}
