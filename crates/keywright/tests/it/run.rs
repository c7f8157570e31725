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
fn without_a_watch_the_program_takes_the_place_of_ours() {
    let world = World::ready();
    let pass = world.path("pass");
    let args = [
        "run",
        "--project",
        "web",
        "--no-watch",
        "--passphrase-file",
        pass.to_str().unwrap(),
        "--",
        "sh",
        "-c",
        "echo $$",
    ];
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

#[test]
fn an_operator_says_which_environment_where_there_are_keys_in_several() {
    let world = World::ready();
    world.key("CF_TOKEN");
    world.alice(&["run", "--project", "web", "--", "sh", "-c", "test -n \"$CF_TOKEN\""]).expect(0);
    world.ok(&request("OTHER_TOKEN", "preview", &[]));
    let ran = world.alice(&["run", "--project", "web", "--", "true"]).expect(2);
    assert!(ran.err.contains("`dev`, `preview`") && ran.err.contains("--env"), "{}", ran.err);
    // Of what is named there is one.
    world.alice(&["run", "--project", "web", "--only", "CF_TOKEN", "--", "true"]).expect(0);
    let only = "test -n \"$CF_TOKEN\" && test -z \"$OTHER_TOKEN\"";
    world.alice(&["run", "--project", "web", "--env", "dev", "--", "sh", "-c", only]).expect(0);
    // A workload was registered for what it reads: here for all of the project.
    world.ok(&["workload", "add", "web", "--project", "web"]);
    let _serving = Serving::start(&world);
    let token = world.home().join("workloads/web.token");
    let both = "test -n \"$CF_TOKEN\" && test -n \"$OTHER_TOKEN\"";
    world.plain(&["run", "--token-file", token.to_str().unwrap(), "--", "sh", "-c", both]).expect(0);
}

/// A program that `run` starts; what is said beside it is kept.
fn holder(world: &World, said: &str, script: &str, more: &[&str]) -> std::process::Child {
    let pass = world.path("pass");
    let head = ["run", "--project", "web", "--passphrase-file", pass.to_str().unwrap()];
    let args = [&head[..], more, &["--", "sh", "-c", script]].concat();
    let mut command = world.command(&args);
    command.stderr(std::fs::File::create(world.path(said)).unwrap()).spawn().unwrap()
}

fn wait_for(what: &str, mut is_so: impl FnMut() -> bool) {
    let started = std::time::Instant::now();
    while !is_so() {
        assert!(started.elapsed() < std::time::Duration::from_secs(60), "waited in vain until {what}");
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
}

fn signal(child: &std::process::Child, name: &str) {
    let pid = child.id().to_string();
    assert!(std::process::Command::new("kill").args([&format!("-{name}"), &pid]).status().unwrap().success());
}

fn lines(world: &World, name: &str) -> Vec<String> {
    std::fs::read_to_string(world.path(name)).unwrap_or_default().lines().map(str::to_owned).collect()
}

fn versions(world: &World) -> Vec<(String, u64)> {
    let shown = world.ok(&["key", "show", "CF_TOKEN"]);
    let versions = shown["versions"].as_array().unwrap();
    versions
        .iter()
        .map(|v| (v["state"].as_str().unwrap().to_owned(), v["held_by"].as_u64().unwrap()))
        .collect()
}

/// Writes a line of which only the end of the value is seen, for each start.
const STARTED: &str = "echo started $$ $(printf %s \"$CF_TOKEN\" | cksum) >> started; ";
const WAIT: &str = "while :; do sleep 0.1; done";

#[test]
fn a_signal_to_ours_reaches_the_program_and_its_end_is_ours() {
    let world = World::ready();
    world.key("CF_TOKEN");
    let script = format!("trap 'echo usr1 >> got' USR1; trap 'exit 7' TERM; {STARTED}{WAIT}");
    let mut child = holder(&world, "said", &script, &[]);
    wait_for("it runs", || !lines(&world, "started").is_empty());
    signal(&child, "USR1");
    wait_for("the signal is there", || lines(&world, "got") == ["usr1"]);
    signal(&child, "TERM");
    assert_eq!(child.wait().unwrap().code(), Some(7));
}

#[test]
fn a_program_is_known_of_while_it_lives_and_goes_on_with_a_note_when_its_key_is_rotated() {
    let world = World::ready();
    world.key("CF_TOKEN");
    let _serving = Serving::start(&world);
    let mut child = holder(&world, "said", &format!("trap 'exit 0' TERM; {STARTED}{WAIT}"), &[]);
    wait_for("it runs", || !lines(&world, "started").is_empty());
    assert_eq!(versions(&world), [("active".to_owned(), 1)]);
    world.ok(&["key", "rotate", "CF_TOKEN"]);
    assert_eq!(versions(&world), [("draining".to_owned(), 1), ("active".to_owned(), 0)]);
    let notes = || lines(&world, "said").iter().filter(|line| line.contains("CF_TOKEN was rotated")).count();
    wait_for("it is said", || notes() > 0);
    assert_eq!(lines(&world, "started").len(), 1);
    signal(&child, "TERM");
    assert_eq!(child.wait().unwrap().code(), Some(0));
    assert_eq!(notes(), 1);
    assert_eq!(versions(&world), [("draining".to_owned(), 0), ("active".to_owned(), 0)]);
}

#[test]
fn a_program_is_restarted_with_the_new_value_or_signalled_as_was_wanted() {
    let world = World::ready();
    world.key("CF_TOKEN");
    let _serving = Serving::start(&world);
    let restarted = holder(
        &world,
        "said-1",
        &format!("trap 'exit 3' TERM; {STARTED}{WAIT}"),
        &["--on-rotate", "restart"],
    );
    let hup = "trap 'echo hup >> hups' HUP; trap 'exit 4' TERM; echo x > up; ";
    let signalled = holder(&world, "said-2", &format!("{hup}{WAIT}"), &["--on-rotate", "signal:HUP"]);
    wait_for("both run", || !lines(&world, "started").is_empty() && !lines(&world, "up").is_empty());
    world.ok(&["key", "rotate", "CF_TOKEN"]);
    wait_for("one has started again", || lines(&world, "started").len() == 2);
    wait_for("the other was signalled", || !lines(&world, "hups").is_empty());
    let values: Vec<String> =
        lines(&world, "started").iter().map(|line| line.split(' ').nth(2).unwrap().to_owned()).collect();
    assert_ne!(values[0], values[1], "the new value");
    wait_for("the old one is let go", || {
        versions(&world) == [("draining".to_owned(), 1), ("active".to_owned(), 1)]
    });
    signal(&restarted, "TERM");
    signal(&signalled, "TERM");
    let ended = [restarted, signalled].map(|mut child| child.wait().unwrap().code());
    assert_eq!(ended, [Some(3), Some(4)]);
    assert_eq!(lines(&world, "hups").len(), 1, "once a rotation");
    assert_eq!(lines(&world, "started").len(), 2);
    for said in ["said-1", "said-2"].map(|name| lines(&world, name).join("\n")) {
        assert!(said.contains("CF_TOKEN was rotated"), "{said}");
        for secret in world.with_sandbox(keywright_sandbox::Sandbox::secret_values) {
            assert!(!said.contains(&secret));
        }
    }
}

#[test]
fn a_broker_that_is_away_ends_no_program_and_hears_of_it_when_it_is_back() {
    let world = World::ready();
    world.key("CF_TOKEN");
    let mut serving = Serving::start(&world);
    let mut child =
        holder(&world, "said", &format!("trap 'exit 9' TERM; {STARTED}{WAIT}"), &["--on-rotate", "restart"]);
    wait_for("it runs", || !lines(&world, "started").is_empty());
    serving.0.kill().unwrap();
    serving.0.wait().unwrap();
    // Without a broker the home is opened by each command; what the program holds is known all the same.
    assert_eq!(versions(&world), [("active".to_owned(), 1)]);
    let pass = world.path("pass");
    let rotate = ["key", "rotate", "CF_TOKEN", "--json", "--passphrase-file", pass.to_str().unwrap()];
    world.command(&rotate).output().unwrap();
    assert!(child.try_wait().unwrap().is_none());
    assert_eq!(versions(&world), [("draining".to_owned(), 1), ("active".to_owned(), 0)]);
    let _serving = Serving::start(&world);
    wait_for("it has started again", || lines(&world, "started").len() == 2);
    signal(&child, "TERM");
    assert_eq!(child.wait().unwrap().code(), Some(9));
}

#[test]
fn a_restart_that_could_ask_nobody_is_refused() {
    let world = World::ready();
    let args = ["run", "--project", "web", "--on-rotate", "restart", "--", "true"];
    let ran = world.plain(&args).expect(2);
    assert!(ran.err.contains("--token-file"), "{}", ran.err);
    world.plain(&["run", "--project", "web", "--on-rotate", "explode", "--", "true"]).expect(2);
    world.plain(&["run", "--project", "web", "--no-watch", "--on-rotate", "ignore", "--", "true"]).expect(2);
}
