//! Standard input: a credential, a passphrase, or somebody else's; one of them at a time.

use std::io::Write as _;
use std::process::Stdio;
use std::time::{Duration, Instant};

use crate::support::{PASSPHRASE, Ran, Serving, World};

/// Runs the binary with a pipe that says something and ends.
fn feed(world: &World, args: &[&str], input: &str) -> Ran {
    let mut command = world.command(args);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    // It may have ended without reading.
    let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
    child.wait_with_output().unwrap().into()
}

#[test]
fn credentials_come_on_standard_input_and_the_passphrase_too() {
    let world = World::empty();
    let init = ["init", "--operator", "alice", "--passphrase-file", "-"];
    feed(&world, &init, &format!("{PASSPHRASE}\n")).expect(0);
    let (url, account, pass) = (world.url(), world.account(), world.path("pass"));
    let start = ["provider", "add", "cloudflare", "--name", "cf", "--account", &account, "--base-url", &url];
    let add = [&start[..], &["--passphrase-file", pass.to_str().unwrap()]].concat();
    feed(&world, &add, "\n").expect(2);
    feed(&world, &add, &format!("{}\n", world.parent())).expect(0);
    world.ok(&["provider", "check", "cf"]);
}

#[test]
fn a_passphrase_may_be_piped_in_without_saying_so() {
    let world = World::empty();
    feed(&world, &["init", "--operator", "alice", "--yes"], PASSPHRASE).expect(0);
    feed(&world, &["key", "list"], &format!("{PASSPHRASE}\n")).expect(0);
    feed(&world, &["key", "list"], "wrong horse battery").expect(5);
    feed(&world, &["key", "list"], "").expect(5);
    feed(&world, &["key", "list", "--no-input"], PASSPHRASE).expect(5);
    let _serving = Serving::start(&world);
    feed(&world, &["key", "list"], PASSPHRASE).expect(0);
    feed(&world, &["agent", "add", "a"], PASSPHRASE).expect(0);
}

#[test]
fn a_pipe_that_stays_silent_holds_nothing_up() {
    let world = World::empty();
    world.init();
    let began = Instant::now();
    let mut command = world.command(&["key", "list"]);
    let mut child = command.stdin(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    let _open = child.stdin.take();
    assert_eq!(child.wait().unwrap().code(), Some(5));
    assert!(began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());
}

#[test]
fn standard_input_serves_one_thing_only() {
    let world = World::empty();
    world.init();
    let table: [(&[&str], &str); 5] = [
        (&["provider", "add", "cloudflare", "--name", "x"], "the parent credential"),
        (
            &["provider", "add", "cloudflare", "--name", "x", "--credential-file", "-"],
            "the parent credential",
        ),
        (&["operator", "add", "bob", "--new-passphrase-file", "-"], "the new passphrase"),
        (&["policy", "apply", "-"], "the policy"),
        (&["template", "apply", "-"], "the template"),
    ];
    let template = include_str!("../../../../templates/cloudflare/dns-edit.toml");
    for (args, what) in table {
        let input = match args[0] {
            "policy" => "forbid(principal, action, resource);",
            "template" => template,
            _ => "a secret of some length",
        };
        let ran = feed(&world, &[args, &["--passphrase-file", "-"]].concat(), input).expect(2);
        assert!(ran.err.contains("standard input can't serve both") && ran.err.contains(what), "{}", ran.err);
        assert!(ran.err.contains("hint: "), "{}", ran.err);
    }
    let ran = feed(&world, &["policy", "apply", "-"], "forbid(principal, action, resource);").expect(5);
    assert!(ran.err.contains("needs an operator's passphrase"), "{}", ran.err);
}
