//! A whole day by hand: without a broker, and again through one.

use crate::support::{World, request};

/// From connecting a provider to tearing the project down. The home is there; a broker may serve it.
fn a_whole_day(world: &World) {
    world.connect();
    assert_eq!(world.ok(&["provider", "list"])["providers"][0]["name"], "cf");
    world.ok(&["template", "apply", "cloudflare/dns-edit", "cloudflare/dns-read"]);
    assert_eq!(world.ok(&["template", "list"])["templates"].as_array().unwrap().len(), 2);
    world.ok(&["agent", "add", "builder"]);
    assert_eq!(world.ok(&["agent", "list"])["agents"][0]["name"], "builder");

    let dry = world.ok(&request("CF_TOKEN", "dev", &["--dry-run"]));
    assert_eq!(dry["decision"]["effect"], "allow");
    assert_eq!(world.live_keys(), 0, "a dry run makes nothing");

    let receipt = world.ok(&request("CF_TOKEN", "dev", &["--purpose", "point names", "--ttl", "7d"]));
    assert_eq!(receipt["status"], "active");
    assert_eq!(receipt["placements"][0]["place"], "web/dev/CF_TOKEN");
    assert_eq!(world.live_keys(), 1);
    assert_eq!(world.ok(&["key", "list"])["keys"][0]["state"], "active");

    let minted = world.with_sandbox(|s| s.secret_of(&s.live_tokens_named_like("kw-")[0].id)).unwrap();
    let pass = world.path("pass");
    let child = ["run", "--project", "web", "--passphrase-file", pass.to_str().unwrap(), "--", "sh", "-c"];
    let ran = world.command(&[&child[..], &["printf %s \"$CF_TOKEN\""]].concat()).output().unwrap();
    assert_eq!(String::from_utf8(ran.stdout).unwrap(), minted, "the child gets what the provider made");

    a_production_key_needs_two(world);

    let found = world.ok(&["reconcile"]);
    assert_eq!((found["owned"].as_u64(), found["orphans"].as_array().unwrap().len()), (Some(2), 0));
    assert_eq!(world.ok(&["key", "revoke", "web/dev/CF_TOKEN", "--reason", "done"])["status"], "revoked");
    let torn = world.ok(&["project", "teardown", "web", "--yes"]);
    assert_eq!((torn["revoked"].as_array().unwrap().len(), torn["owed"].as_array().unwrap().len()), (1, 0));
    assert_eq!(world.live_keys(), 0);

    let trace = world.ok(&["audit", "trace", "web/production/PROD_TOKEN"]);
    assert_eq!(trace["approved_by"], serde_json::json!(["alice", "bob"]));
    let told: Vec<(&str, &str, bool)> = trace["timeline"]
        .as_array()
        .unwrap()
        .iter()
        .map(|it| {
            (it["what"].as_str().unwrap(), it["who"].as_str().unwrap(), it["signed"].as_bool().unwrap())
        })
        .collect();
    assert_eq!(
        told,
        [
            ("asked for; it needs 2 approvals", "operator alice", false),
            ("approved, with their signing key", "operator alice", true),
            ("approved, with their signing key", "operator bob", true),
            ("that is enough; policy lets it", "operator alice", false),
            ("version 1 is made, and sealed", "the broker", false),
            ("version 1 is exactly what was asked", "the broker", false),
            ("version 1 works", "the broker", false),
            ("version 1 lies in embedded:web/production/PROD_TOKEN (read-back)", "the broker", false),
            ("version 1 is in force", "operator alice", false),
            ("it is to be revoked", "operator alice", false),
            ("its copy in embedded:web/production/PROD_TOKEN: removed", "the broker", false),
            ("version 1 is revoked, and confirmed gone", "the broker", false),
        ]
    );
    let log = world.ok(&["audit", "log", "--from", "0", "--limit", "1000"]);
    let deeds: Vec<&str> =
        log["entries"].as_array().unwrap().iter().map(|e| e["deed"].as_str().unwrap()).collect();
    for deed in [
        "policy.apply",
        "provider.add",
        "agent.add",
        "key.mint",
        "secret.read",
        "approval.give",
        "key.revoke",
    ] {
        assert!(deeds.contains(&deed), "{deed} is not in {deeds:?}");
    }
    world.ok(&["audit", "export", "--out", world.path("export").to_str().unwrap()]);
    assert!(world.path("export/checkpoint").exists());
    world.assert_nothing_leaked();
}

fn a_production_key_needs_two(world: &World) {
    let bobs = world.path("bobs");
    world.ok(&["operator", "add", "bob", "--new-passphrase-file", bobs.to_str().unwrap()]);
    let purpose = "for the \u{1b}[31mshop\u{202e}";
    let asked = request("PROD_TOKEN", "production", &["--purpose", purpose, "--json"]);
    let pending = world.alice(&asked).expect(4).json();
    let (id, code) = (pending["request"].as_str().unwrap(), pending["match_code"].as_str().unwrap());
    assert_eq!(world.alice(&["review"]).expect(0).out.matches(id).count(), 1);

    let shown = world.alice(&["review", "show", id]).expect(0).out;
    for word in [code, "production", "DNS Write", "example.com", "embedded:web/production/PROD_TOKEN"] {
        assert!(shown.contains(word), "{word} is not in {shown}");
    }
    assert!(
        shown.contains("“for the \\u{1b}[31mshop\\u{202e}”"),
        "untrusted words are quoted and escaped: {shown}"
    );
    assert!(!shown.contains('\u{1b}') && !shown.contains('\u{202e}'));

    assert_eq!(
        world.alice(&["review", "approve", id, "--json"]).expect(4).json()["approvals"]["given"],
        1,
        "who names a passphrase file where nobody can be asked has agreed by that"
    );
    world.alice(&["review", "approve", id, "--yes"]).expect(7);
    let made = world.bob(&["review", "approve", id, "--yes", "--json"]).expect(0);
    assert_eq!(made.json()["status"], "active");
    assert!(made.err.contains(code), "the plan is shown before it is approved: {}", made.err);
}

#[test]
fn a_whole_day_without_a_broker() {
    let world = World::empty();
    world.init();
    a_whole_day(&world);
    world.plain(&["audit", "verify"]).expect(0);
}

#[test]
fn a_whole_day_through_a_broker_in_the_background() {
    let world = World::empty();
    world.init();
    let serving = world.ok(&["serve", "--detach"]);
    assert!(world.home().join("broker.sock").exists());
    let status = world.plain(&["status", "--json"]).expect(0).json();
    assert_eq!(status["serving"], true);
    a_whole_day(&world);
    assert_eq!(world.plain(&["stop", "--json"]).expect(0).json()["stopped"], true);
    assert!(!world.home().join("broker.sock").exists());
    let pid = serving["pid"].as_u64().unwrap();
    assert!(is_gone(pid), "process {pid} is still there");
    world.plain(&["audit", "verify"]).expect(0);
    assert_eq!(world.ok(&["stop"])["stopped"], false, "stopping twice is fine");
}

#[test]
fn a_rejected_request_says_so_and_makes_nothing() {
    let world = World::ready();
    let pending = world.alice(&request("P", "production", &["--json"])).expect(4).json();
    let id = pending["request"].as_str().unwrap();
    world.ok(&["review", "reject", id, "--reason", "not today"]);
    world.alice(&["review", "approve", id, "--yes"]).expect(7);
    assert!(world.ok(&["review", "list"])["requests"].as_array().unwrap().is_empty());
    let again = world.ok(&["review", "show", id]);
    assert_eq!(
        (again["status"].as_str(), again["reasons"][0].as_str()),
        (Some("rejected"), Some("not today"))
    );
    assert_eq!(world.live_keys(), 0);
}

#[test]
fn a_mint_that_died_is_finished_by_the_next_command() {
    let world = World::ready();
    let pass = world.path("pass");
    let mut args = request("CF_TOKEN", "dev", &["--passphrase-file", pass.to_str().unwrap()]);
    args.push("--json");
    let died = world.command(&args).env("KEYWRIGHT_CRASH_AT", "mint.sealed").output().unwrap();
    assert_eq!(died.status.code(), None, "it dies without an exit code");
    world.ok(&["reconcile"]);
    let keys = world.ok(&["key", "list"]);
    assert_eq!(keys["keys"].as_array().unwrap().len(), 1);
    assert_eq!(keys["keys"][0]["state"], "active");
    assert_eq!(world.live_keys(), 1);
    world.plain(&["audit", "verify"]).expect(0);
}

#[test]
fn a_key_can_go_into_a_dotenv_file_of_the_directory() {
    let world = World::ready();
    std::fs::create_dir(world.path("app")).unwrap();
    let pass = world.path("pass");
    let args = request("CF_TOKEN", "dev", &["--to", "dotenv:./.env#CF_TOKEN", "--passphrase-file"]);
    let args = [&args[..], &[pass.to_str().unwrap()]].concat();
    let ran = world.command(&args).current_dir(world.path("app")).output().unwrap();
    assert!(ran.status.success(), "{}", String::from_utf8_lossy(&ran.stderr));
    let text = std::fs::read_to_string(world.path("app/.env")).unwrap();
    let minted = world.with_sandbox(|s| s.secret_of(&s.live_tokens_named_like("kw-")[0].id)).unwrap();
    assert!(text.contains(&minted), "the file of the directory in which it was asked holds the key");
    world.ok(&["key", "revoke", "CF_TOKEN"]);
    assert!(!std::fs::read_to_string(world.path("app/.env")).unwrap_or_default().contains(&minted));
}

fn is_gone(pid: u64) -> bool {
    let status = std::process::Command::new("kill").args(["-0", &pid.to_string()]).output().unwrap();
    // A zombie of ours does not count as running.
    let state = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    !status.status.success() || state.contains(") Z ")
}
