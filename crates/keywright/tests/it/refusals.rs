//! Bad input: each is refused with words that help, and nothing is made.

use std::os::unix::fs::PermissionsExt as _;

use crate::support::{Serving, World, request};

#[test]
fn a_request_that_is_not_as_it_should_be_is_refused_with_words_that_help() {
    let world = World::ready();
    let narrow = "id = \"cloudflare/narrow\"\ntitle = \"Edit one zone\"\nprovider = \"cloudflare\"\ntier = \"standard\"\n\
        permissions = [\"DNS Write\"]\n[parameters.zone]\nkind = \"cloudflare.zone\"\nallow = [\"dev.example.com\"]\n\
        [limits]\nttl_max = \"30d\"\ndestinations = [\"embedded:web/*\"]\n";
    world.ok(&["template", "apply", &world.file("narrow.toml", narrow)]);
    let ask = |template: &'static str, rest: &'static [&'static str]| {
        let start = ["key", "request", template, "--project", "web", "--env", "dev", "--name", "T"];
        [&start[..], rest].concat()
    };
    let (edit, narrow) = ("cloudflare/dns-edit", "cloudflare/narrow");
    let table = [
        (ask("cloudflare/nothing", &[]), 1, "cloudflare/nothing"),
        (ask("nothing", &[]), 2, "provider/job"),
        (ask(edit, &[]), 2, "zone"),
        (ask(edit, &["--param", "zone=example.com", "--param", "color=red"]), 2, "color"),
        (ask(edit, &["--param", "zone=nowhere.example"]), 2, "nowhere.example"),
        (ask(edit, &["--param", "zone=ex\u{430}mple.com"]), 2, "zone"),
        (ask(edit, &["--param", "zone=example.com\u{200b}"]), 2, "zone"),
        (ask(edit, &["--param", "zone"]), 2, "NAME=VALUE"),
        (ask(edit, &["--param", "zone=example.com", "--param", "zone=example.net"]), 2, "twice"),
        (ask(narrow, &["--param", "zone=example.com"]), 3, "zone"),
        (ask(narrow, &["--param", "zone=dev.example.com", "--ttl", "31d"]), 3, "30d"),
        (
            ask(narrow, &["--param", "zone=dev.example.com", "--to", "embedded:other/dev/T"]),
            3,
            "embedded:other/dev/T",
        ),
        (ask(narrow, &["--param", "zone=dev.example.com", "--to", "dotenv:./.env#T"]), 3, "dotenv"),
        (ask(edit, &["--param", "zone=example.com", "--to", "nowhere:x"]), 3, "nowhere"),
        (ask(edit, &["--param", "zone=example.com", "--to", "nowhere"]), 2, "STORE:PLACE"),
        (ask(edit, &["--param", "zone=example.com", "--to", "dotenv:../.env#T"]), 2, ".."),
        (ask(edit, &["--param", "zone=example.com", "--ttl", "soon"]), 2, "30d"),
        (ask(edit, &["--param", "zone=example.com", "--ttl", "0d"]), 2, "0d"),
    ];
    for (args, code, word) in table {
        let ran = world.alice(&args);
        assert_eq!(ran.code, code, "{args:?}: {}{}", ran.out, ran.err);
        assert!(ran.err.starts_with("error: ") && ran.err.contains(word), "{args:?}: {}", ran.err);
        assert!(ran.out.is_empty(), "{args:?}: {}", ran.out);
        let error = world.alice(&[&["--json"], &args[..]].concat()).json();
        assert_eq!(error["schema"], "keywright/error/1", "{args:?}");
    }
    for (name, project, env) in [("1BAD", "web", "dev"), ("T", "we b", "dev"), ("T", "web", "d/v")] {
        let args = ["key", "request", edit, "--project", project, "--env", env, "--name", name];
        world.alice(&[&args[..], &["--param", "zone=example.com"]].concat()).expect(2);
    }
    assert_eq!(world.live_keys(), 0);
    assert!(world.ok(&["key", "list"])["keys"].as_array().unwrap().is_empty());
}

#[test]
fn a_template_that_is_not_as_it_should_be_is_refused_before_anything_counts() {
    let world = World::ready();
    let good = "id = \"cloudflare/x\"\ntitle = \"T\"\nprovider = \"cloudflare\"\ntier = \"standard\"\n\
        permissions = [\"DNS Write\"]\n[parameters.zone]\nkind = \"cloudflare.zone\"\n\
        [limits]\nttl_max = \"30d\"\ndestinations = [\"embedded:*\"]\n";
    let table = [
        (good.replace("ttl_max = \"30d\"\n", ""), 2, "ttl_max"),
        (good.replace("destinations = [\"embedded:*\"]\n", ""), 2, "destinations"),
        (good.replace("DNS Write", "DNS Wirte"), 2, "DNS Wirte"),
        (good.replace("DNS Write", "API Tokens Write"), 3, "API Tokens Write"),
        (good.replace("cloudflare/x", "aws/x"), 2, "cloudflare/"),
        (good.replace("tier = ", "teir = "), 2, "teir"),
        ("not toml at all".to_owned(), 2, "template"),
    ];
    world.plain(&["template", "check", &world.file("good.toml", good)]).expect(0);
    for (text, code, word) in table {
        let file = world.file("bad.toml", &text);
        for args in [&["template", "check", &file][..], &["template", "apply", "cloudflare/dns-read", &file]]
        {
            let ran = world.alice(args);
            assert_eq!(ran.code, code, "{text}: {}", ran.err);
            assert!(ran.err.contains(word), "{text}: {}", ran.err);
        }
    }
    let ids = world.ok(&["template", "list"])["templates"].as_array().unwrap().len();
    assert_eq!(ids, 1, "a bad file among good ones: none of them counts");
    world.alice(&["template", "apply", "nothing.toml"]).expect(1);
}

#[test]
fn a_connection_goes_to_https_or_loopback_only() {
    let world = World::empty();
    world.init();
    for url in ["http://example.com/v4", "http://10.0.0.1/v4", "ftp://127.0.0.1/", "not a url"] {
        let args = ["provider", "add", "cloudflare", "--name", "x", "--account", "a", "--base-url", url];
        let ran = world.alice(&[&args[..], &["--credential-file", "parent"]].concat()).expect(2);
        assert!(ran.err.starts_with("error: "), "{url}: {}", ran.err);
    }
    let args = ["provider", "add", "cloudfare", "--name", "x", "--credential-file", "parent"];
    assert!(world.alice(&args).expect(2).err.contains("cloudflare"));
    for (noun, known) in [("provider", "cloudflare"), ("store", "dotenv")] {
        let ran = world.plain(&[noun, "add", "cloudfare", "--name", "x"]).expect(2);
        assert!(
            ran.err.contains("cloudfare") && ran.err.contains(known),
            "before anything is asked: {}",
            ran.err
        );
    }
    world.alice(&["provider", "add", "cloudflare", "--name", "x"]).expect(2);
    world.alice(&["store", "add", "vaullt", "--name", "x", "--credential-file", "parent"]).expect(2);
    assert_eq!(world.alice(&["store", "check", "nowhere"]).code, 2);
}

#[test]
fn a_home_that_others_can_read_is_refused() {
    let world = World::empty();
    world.init();
    std::fs::set_permissions(world.home(), std::fs::Permissions::from_mode(0o755)).unwrap();
    let ran = world.alice(&["key", "list"]).expect(1);
    assert!(ran.err.contains("chmod go-rwx"), "{}", ran.err);
    world.alice(&["serve"]).expect(1);
    let doctor = world.plain(&["doctor", "--json"]).expect(1).json();
    assert!(
        doctor["findings"]
            .as_array()
            .unwrap()
            .iter()
            .any(|f| f["check"] == "home-modes" && f["verdict"] == "wrong")
    );
}

#[test]
fn nothing_secret_is_asked_for_where_there_is_no_home() {
    let world = World::empty();
    for args in [
        &["provider", "add", "cloudflare", "--name", "x"][..],
        &["operator", "add", "bob"],
        &["operator", "passphrase"],
        &["key", "list"],
        &["agent", "add", "x"],
    ] {
        let ran = world.plain(args).expect(1);
        assert!(ran.err.contains("keywright init"), "{args:?}: {}", ran.err);
    }
}

#[test]
fn a_home_that_the_system_keeps_from_us_is_not_taken_for_none() {
    let world = World::empty();
    std::fs::create_dir(world.path("closed")).unwrap();
    std::fs::set_permissions(world.path("closed"), std::fs::Permissions::from_mode(0o000)).unwrap();
    if std::fs::read_dir(world.path("closed")).is_ok() {
        // Nothing is closed to root.
        return;
    }
    for args in [&["status"][..], &["key", "list"], &["init", "--yes"], &["serve"]] {
        let home = world.path("closed/home");
        let output = world.command(args).env("KEYWRIGHT_HOME", home).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.code() == Some(1) && said.contains("permission denied"), "{args:?}: {said}");
    }
}

#[test]
fn a_home_has_one_broker() {
    let world = World::empty();
    world.init();
    let _serving = Serving::start(&world);
    // A broker that runs is no command that is soon done, so nothing is waited for.
    let ran = world.alice(&["serve", "--json"]).expect(7);
    assert_eq!(ran.json()["code"], "conflict");
    world.alice(&["serve", "--detach"]).expect(7);
    world.ok(&["key", "list"]);
}

#[test]
fn init_refuses_what_it_can_not_do() {
    let world = World::empty();
    for (url, said) in [
        ("mysql://db/kw", "postgres://"),
        ("postgres://kw:hunter2@localhost/kw", "a password in it"),
        ("postgres://kw@db.example.com/kw?sslmode=disable", "without TLS"),
    ] {
        let ran = world.alice(&["init", "--ledger", url, "--json"]).expect(2);
        assert!(ran.json()["message"].as_str().unwrap().contains(said), "{url}");
        assert!(!ran.out.contains("hunter2") && !ran.err.contains("hunter2"));
    }
    world.alice(&["init", "--ledger", "postgres://kw@127.0.0.1:1/kw"]).expect(75);
    world.alice(&["init", "--operator", "not a name"]).expect(2);
    world.secret("short", "short");
    world.plain(&["init", "--operator", "alice", "--passphrase-file", "short"]).expect(2);
    world.plain(&["init", "--operator", "alice", "--no-input"]).expect(5);
    assert!(!world.home().join("ledger.db").exists(), "nothing is left behind");
    world.init();
    let mode = std::fs::metadata(world.home()).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode, 0o700);
}

#[test]
fn a_passphrase_file_that_others_can_read_is_warned_about() {
    let world = World::empty();
    std::fs::set_permissions(world.path("pass"), std::fs::Permissions::from_mode(0o644)).unwrap();
    assert!(world.alice(&["init", "--operator", "alice"]).expect(0).err.contains("warning: "));
}

#[test]
fn what_is_not_in_this_version_says_so() {
    let world = World::empty();
    let table: [&[&str]; 2] = [&["scan", "."], &["scrub", "."]];
    for args in table {
        for args in [[&["--json"], args].concat(), [args, &["--json"]].concat()] {
            let error = world.plain(&args).expect(1).json();
            assert_eq!(error["code"], "unsupported", "{args:?}");
        }
    }
}

#[test]
fn changing_a_file_in_the_audit_log_is_found_and_named() {
    let world = World::ready();
    let kept = world.path("kept");
    std::fs::copy(world.home().join("audit/checkpoint"), &kept).unwrap();
    world.key("CF_TOKEN");
    world.plain(&["audit", "verify", "--checkpoint", "kept"]).expect(0);
    let tile =
        std::fs::read_dir(world.home().join("audit/tile/entries/000.p")).unwrap().next().unwrap().unwrap();
    let mut bytes = std::fs::read(tile.path()).unwrap();
    let at = bytes.windows(5).position(|w| w == b"alice").unwrap();
    bytes[at] = b'm';
    std::fs::write(tile.path(), bytes).unwrap();
    let report = world.plain(&["audit", "verify", "--json"]).expect(1).json();
    assert_eq!(
        (report["sound"].as_bool(), report["first_bad"].as_str()),
        (Some(false), Some("ent_0")),
        "{report}"
    );
    assert!(world.plain(&["audit", "verify"]).expect(1).out.contains("ent_0"));
}

#[test]
fn a_request_in_a_project_of_hostile_names_shows_them_escaped() {
    let world = World::ready();
    let ran = world.alice(&["key", "show", "\u{1b}[2J\u{202e}x"]);
    assert_eq!(ran.code, 1);
    assert!(!ran.err.contains('\u{1b}') && !ran.err.contains('\u{202e}'), "{}", ran.err);
    let ran = world.alice(&request("\u{1b}[2J", "dev", &[])).expect(2);
    assert!(!ran.err.contains('\u{1b}'), "{}", ran.err);
}
