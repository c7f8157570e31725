//! Each exit code, from the outside.

use crate::support::{World, request};

#[test]
fn one_is_for_what_is_not_there() {
    let world = World::empty();
    let error = world.alice(&["key", "list", "--json"]).expect(1).json();
    assert_eq!(
        (error["schema"].as_str(), error["code"].as_str()),
        (Some("keywright/error/1"), Some("not_found"))
    );
    world.init();
    world.alice(&["key", "show", "NOTHING"]).expect(1);
    world.alice(&["provider", "check", "nothing"]).expect(1);
    world.alice(&["template", "show", "cloudflare/nothing"]).expect(1);
}

#[test]
fn two_is_for_words_that_can_not_be_read() {
    let world = World::empty();
    let usage = world.plain(&["key", "request", "--json"]).expect(2).json();
    assert_eq!(
        (usage["schema"].as_str(), usage["code"].as_str()),
        (Some("keywright/error/1"), Some("usage"))
    );
    let plain = world.plain(&["key", "request"]).expect(2);
    assert!(plain.out.is_empty() && plain.err.contains("--project"));
    assert_eq!(world.plain(&["--json", "frobnicate"]).expect(2).json()["code"], "usage");
    assert_eq!(world.plain(&["--json"]).expect(2).json()["code"], "usage");
    world.plain(&["status", "--json", "--json", "--no-input", "--no-input"]).expect(0).json();
    world.plain(&["--json", "status", "--json"]).expect(0).json();
    assert!(world.plain(&["project", "teardown", "web"]).expect(2).err.contains("agreed"));
}

#[test]
fn three_is_for_what_is_not_allowed() {
    let world = World::ready();
    let error = world.alice(&request("CF_TOKEN", "dev", &["--ttl", "91d", "--json"])).expect(3).json();
    assert_eq!(error["code"], "denied");
    world.file("deny.cedar", "forbid(principal, action, resource);");
    world.ok(&["policy", "apply", world.path("deny.cedar").to_str().unwrap()]);
    let receipt = world.alice(&request("CF_TOKEN", "dev", &["--json"])).expect(3).json();
    assert_eq!(receipt["status"], "denied");
    assert_eq!(world.live_keys(), 0);
}

#[test]
fn four_is_for_what_waits_for_approval() {
    let world = World::ready();
    let receipt = world.alice(&request("CF_TOKEN", "production", &["--json"])).expect(4).json();
    assert_eq!(
        (receipt["status"].as_str(), receipt["approvals"]["needed"].as_u64()),
        (Some("pending_approval"), Some(2))
    );
}

#[test]
fn a_dry_run_ends_as_the_real_one_would() {
    let world = World::ready();
    world.alice(&request("T", "dev", &["--dry-run"])).expect(0);
    world.alice(&request("T", "production", &["--dry-run"])).expect(4);
    world.file("deny.cedar", "forbid(principal, action, resource);");
    world.ok(&["policy", "apply", world.path("deny.cedar").to_str().unwrap()]);
    let dry = world.alice(&request("T", "dev", &["--dry-run", "--json"])).expect(3).json();
    assert_eq!(dry["decision"]["effect"], "deny");
    assert_eq!(world.live_keys(), 0);
}

#[test]
fn five_is_for_who_did_not_prove_themselves() {
    let world = World::empty();
    world.init();
    world.secret("wrong", "wrong horse battery");
    for args in
        [&["key", "list", "--no-input"][..], &["key", "list", "--passphrase-file", "wrong"], &["stop"]]
    {
        let ran = world.plain(args);
        if args[0] == "stop" {
            ran.expect(0);
        } else {
            let ran = ran.expect(5);
            assert!(ran.err.starts_with("error: ") && ran.out.is_empty(), "{}", ran.err);
        }
    }
    let error = world.alice(&["--operator", "bob", "key", "list", "--json"]);
    assert_eq!(error.code, 1, "there is no bob: {}", error.out);
}

#[test]
fn six_is_for_a_provider_that_fails() {
    let world = World::ready();
    world.secret("bad", "0123456789012345678901234567890123456789");
    let (url, account) = (world.url(), world.account());
    let add = [
        "provider",
        "add",
        "cloudflare",
        "--name",
        "bad",
        "--account",
        &account,
        "--base-url",
        &url,
        "--json",
    ];
    let error = world.alice(&[&add[..], &["--credential-file", "bad"]].concat()).expect(6).json();
    assert_eq!(error["code"], "provider_error");
    let hint = error["hint"].as_str().unwrap_or_default();
    assert!(!hint.contains("provider check"), "there is no such connection to look at: {hint}");
    assert_eq!(world.ok(&["provider", "list"])["providers"].as_array().unwrap().len(), 1, "nothing is kept");
    world.lose_provider();
    world.alice(&["provider", "check", "cf"]).expect(6);
}

#[test]
fn seven_is_for_what_is_in_the_way() {
    let world = World::ready();
    world.alice(&["init", "--operator", "alice"]).expect(7);
    world.ok(&["agent", "add", "builder", "--token-file", "one"]);
    world.alice(&["agent", "add", "builder", "--token-file", "two"]).expect(7);
    assert!(!world.path("two").exists(), "a file that got no token is taken back");
    world.alice(&["agent", "add", "other", "--token-file", "one"]).expect(7);
    assert_eq!(world.ok(&["agent", "list"])["agents"].as_array().unwrap().len(), 1);
    world.key("CF_TOKEN");
    world.alice(&request("CF_TOKEN", "dev", &["--ttl", "1d"])).expect(7);
}

#[test]
fn two_commands_at_once_take_turns() {
    let world = World::empty();
    world.init();
    let lock = world.home();
    let hold = |seconds: &str| {
        let mut command = std::process::Command::new("flock");
        let holder =
            command.arg("--no-fork").arg(&lock).args(["sh", "-c", &format!("echo; exec sleep {seconds}")]);
        let mut holder = holder.stdout(std::process::Stdio::piped()).spawn().unwrap();
        std::io::Read::read_exact(holder.stdout.as_mut().unwrap(), &mut [0]).unwrap();
        holder
    };
    let mut short = hold("1");
    world.ok(&["key", "list"]);
    short.wait().unwrap();
    let mut long = hold("30");
    let error = world.alice(&["key", "list", "--json"]).expect(75).json();
    assert!(error["hint"].as_str().unwrap().contains("keywright serve"), "{error}");
    long.kill().unwrap();
    long.wait().unwrap();
}

#[test]
fn seventy_five_is_for_later() {
    let world = World::ready();
    world.ok(&["workload", "add", "web", "--project", "web", "--token-file", "token"]);
    let ran = world.plain(&["run", "--token-file", "token", "--", "true"]).expect(75);
    assert!(ran.err.contains("keywright serve"), "{}", ran.err);
    world.alice(&["login"]).expect(75);
    world.key("CF_TOKEN");
    world.lose_provider();
    let owed = world.alice(&["key", "revoke", "CF_TOKEN"]).expect(75);
    assert!(owed.err.contains("owed"), "{}", owed.err);
    assert_eq!(world.ok(&["key", "list", "--debt"])["keys"].as_array().unwrap().len(), 1);
}
