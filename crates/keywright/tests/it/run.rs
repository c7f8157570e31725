//! `run`: the program gets its keys and nothing else of ours.

use std::os::unix::process::ExitStatusExt as _;

use crate::support::{Serving, World, request};

fn run(world: &World, script: &str) -> std::process::Output {
    let pass = world.path("pass");
    let args =
        ["run", "--project", "web", "--passphrase-file", pass.to_str().unwrap(), "--", "sh", "-c", script];
    world.command(&args).env("KEYWRIGHT_LOG", "warn").env("OTHER", "stays").output().unwrap()
}

#[test]
fn exit_codes_and_signals_are_the_programs_own() {
    let world = World::ready();
    world.key("CF_TOKEN");
    for code in [0, 1, 5, 42, 75, 255] {
        assert_eq!(run(&world, &format!("exit {code}")).status.code(), Some(code));
    }
    assert_eq!(run(&world, "kill -TERM $$").status.signal(), Some(15));
    assert_eq!(run(&world, "kill -KILL $$").status.signal(), Some(9));
}

#[test]
fn the_program_takes_the_place_of_ours_so_signals_reach_it() {
    let world = World::ready();
    let pass = world.path("pass");
    let args =
        ["run", "--project", "web", "--passphrase-file", pass.to_str().unwrap(), "--", "sh", "-c", "echo $$"];
    let child = world.command(&args).stdout(std::process::Stdio::piped()).spawn().unwrap();
    let pid = child.id();
    let out = child.wait_with_output().unwrap().stdout;
    assert_eq!(String::from_utf8(out).unwrap().trim(), pid.to_string());
}

#[test]
fn nothing_of_ours_reaches_the_program_but_the_keys() {
    let world = World::ready();
    world.key("CF_TOKEN");
    let out = String::from_utf8(run(&world, "env; umask; ulimit -c; ls -l /proc/self/fd 2>/dev/null").stdout)
        .unwrap();
    assert!(out.contains("CF_TOKEN=") && out.contains("OTHER=stays"), "{out}");
    assert!(!out.contains("KEYWRIGHT_"), "{out}");
    assert!(
        !out.contains(crate::support::PASSPHRASE)
            && !out.contains("ledger.db")
            && !out.contains(world.home().to_str().unwrap()),
        "{out}"
    );
    let own = std::process::Command::new("sh").args(["-c", "umask; ulimit -c"]).output().unwrap().stdout;
    assert!(
        out.contains(&String::from_utf8(own).unwrap()),
        "the caller's umask and core limit are given back: {out}"
    );
}

#[test]
fn a_program_that_is_not_there_answers_as_a_shell_would() {
    let world = World::ready();
    let run = |program: &str| world.alice(&["run", "--project", "web", "--", program]);
    assert_eq!(run("/nowhere/at-all").code, 127);
    let file = world.file("plain-file", "text");
    assert_eq!(run(&file).code, 126);
    let error =
        world.alice(&["run", "--json", "--project", "web", "--", "/nowhere/at-all"]).expect(127).json();
    assert_eq!(
        (error["schema"].as_str(), error["code"].as_str()),
        (Some("keywright/error/1"), Some("not_found"))
    );
}

#[test]
fn a_workload_reads_its_own_project_and_nothing_else() {
    let world = World::ready();
    world.key("CF_TOKEN");
    world.key("OTHER_TOKEN");
    world.ok(&["workload", "add", "web", "--project", "web", "--env", "dev"]);
    world.ok(&["workload", "add", "shop", "--project", "shop", "--token-file", "shop"]);
    let _serving = Serving::start(&world);
    let token = world.home().join("workloads/web.token");
    let token = token.to_str().unwrap();
    let count = "test ${#CF_TOKEN} -gt 30 && test ${#OTHER_TOKEN} -gt 30";
    world.plain(&["run", "--token-file", token, "--", "sh", "-c", count]).expect(0);
    let only = "test ${#CF_TOKEN} -gt 30 && test -z \"$OTHER_TOKEN\"";
    world.plain(&["run", "--token-file", token, "--only", "CF_TOKEN", "--", "sh", "-c", only]).expect(0);
    world.plain(&["run", "--token-file", token, "--only", "MISSING", "--", "true"]).expect(1);
    world.plain(&["run", "--token-file", token, "--project", "shop", "--", "true"]).expect(3);
    world.plain(&["run", "--token-file", token, "--env", "production", "--", "true"]).expect(3);
    let none =
        world.plain(&["run", "--token-file", "shop", "--", "sh", "-c", "test -z \"$CF_TOKEN\""]).expect(0);
    assert!(none.err.contains("without"), "{}", none.err);
    world.ok(&["workload", "remove", "web"]);
    assert!(!std::path::Path::new(token).exists(), "a token that is worth nothing does not lie around");
    world.secret("gone", "kww_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA");
    world.plain(&["run", "--token-file", "gone", "--", "true"]).expect(5);
}

#[test]
fn a_session_is_not_enough_to_read_secrets() {
    let world = World::ready();
    world.key("CF_TOKEN");
    let _serving = Serving::start(&world);
    let pass = world.path("pass");
    let ran = world.in_one_session(&[
        &["login", "--json", "--passphrase-file", pass.to_str().unwrap()],
        &["key", "list", "--no-input"],
        &["run", "--project", "web", "--no-input", "--", "true"],
        &["agent", "add", "x", "--no-input"],
        &["logout", "--json"],
        &["key", "list", "--no-input"],
    ]);
    assert_eq!(ran.iter().map(|ran| ran.code).collect::<Vec<_>>(), [0, 0, 5, 5, 0, 5]);
    for session in [&ran[0], &ran[4]] {
        assert_eq!(session.json()["schema"], "keywright/session/1");
    }
    assert!(!world.home().join("agents/x.token").exists());
}

#[test]
fn a_session_is_good_for_its_own_terminal_only() {
    let world = World::ready();
    let _serving = Serving::start(&world);
    let pass = world.path("pass");
    let login = ["login", "--passphrase-file", pass.to_str().unwrap()];
    assert_eq!(world.in_one_session(&[&login, &["key", "list", "--no-input"]])[1].code, 0);
    assert_eq!(world.in_one_session(&[&["key", "list", "--no-input"]])[0].code, 5);
}

#[test]
fn a_key_whose_name_would_change_what_runs_is_not_put_there() {
    let world = World::ready();
    let ran = world.alice(&request("LD_PRELOAD", "dev", &[])).expect(2);
    assert!(ran.err.contains("LD_PRELOAD"), "{}", ran.err);
    assert_eq!(world.live_keys(), 0);
}

#[test]
fn a_project_without_any_key_is_named_because_it_may_be_a_typing_error() {
    let world = World::ready();
    world.key("CF_TOKEN");
    let ran = world.alice(&["run", "--project", "wbe", "--", "true"]).expect(0);
    assert!(ran.err.contains("`wbe`") && ran.err.contains("web"), "{}", ran.err);
    world.alice(&["run", "--project", "wbe", "--only", "CF_TOKEN", "--", "true"]).expect(1);
}

#[test]
fn the_programs_standard_input_is_not_taken_for_a_passphrase() {
    use std::io::Write as _;
    let world = World::ready();
    let pass = world.path("pass");
    let args = ["run", "--project", "web", "--passphrase-file", pass.to_str().unwrap(), "--", "cat"];
    for (args, code, out) in [(&args[..], 0, "for cat"), (&["run", "--project", "web", "--", "cat"], 5, "")] {
        let mut command = world.command(args);
        command.stdin(std::process::Stdio::piped()).stdout(std::process::Stdio::piped());
        let mut child = command.stderr(std::process::Stdio::piped()).spawn().unwrap();
        child.stdin.take().unwrap().write_all(b"for cat").unwrap();
        let ended = child.wait_with_output().unwrap();
        assert_eq!((ended.status.code(), ended.stdout.as_slice()), (Some(code), out.as_bytes()), "{args:?}");
    }
}

#[test]
fn an_operator_says_which_project() {
    let world = World::ready();
    let ran = world.alice(&["run", "--", "true"]).expect(2);
    assert!(ran.err.contains("--project"), "{}", ran.err);
    world.plain(&["run", "--project", "web"]).expect(2);
}
