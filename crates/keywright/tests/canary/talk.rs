//! The logs, told to say all that they know; and what is left to say when the program breaks.

use crate::ground::Ground;
use crate::support::request;

#[test]
fn logs_that_tell_all_tell_no_secret() {
    let mut ground = Ground::new();
    ground.stop();
    commands_that_open_the_home_themselves(&ground);
    a_broker_in_the_background(&ground);
    ground.search_home("after the broker has stopped");
}

fn a_broker_in_the_background(ground: &Ground) {
    let world = &ground.world;
    let pass = world.path("pass");
    let mut command =
        world.command(&["serve", "--detach", "--json", "--passphrase-file", pass.to_str().unwrap()]);
    let started = command.env("KEYWRIGHT_LOG", "trace").output().unwrap();
    assert!(started.status.success(), "{}", String::from_utf8_lossy(&started.stderr));
    ground.search("what starts it", &[started.stdout, started.stderr].concat(), "keywright/serve/1");
    let sentence = format!("use {}, please", ground.live());
    world.ok(&request("MADE", "dev", &["--purpose", &sentence]));
    world.ok(&["key", "revoke", "MADE", "--reason", &sentence]);
    world.alice(&request("T", "dev", &["--param", &format!("color={}", ground.live())])).expect(2);
    world.ok(&["stop"]);
    let log = std::fs::read(world.home().join("broker.log")).unwrap();
    ground.search("broker.log", &log, "label=\"cloudflare\"");
}

fn commands_that_open_the_home_themselves(ground: &Ground) {
    let world = &ground.world;
    let pass = world.path("pass");
    let mut said = Vec::new();
    for args in [
        &["provider", "check", "cf"][..],
        &request("ALONE", "dev", &["--purpose", &format!("use {}", ground.live())]),
        &["key", "revoke", "ALONE"],
        &["reconcile"],
        &["doctor"],
    ] {
        let args = [&["--passphrase-file", pass.to_str().unwrap()], args].concat();
        let output = world.command(&args).env("KEYWRIGHT_LOG", "trace").output().unwrap();
        assert!(output.status.code().is_some(), "{args:?}");
        said.extend([output.stdout, output.stderr].concat());
    }
    ground.search("what they said", &said, "label=\"cloudflare\"");
}
