//! What the system shows of a running program to others: its arguments, its environment, its memory, its open files.

use std::collections::BTreeSet;
use std::fs;
use std::io::{BufRead as _, Write as _};
use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use rustix::process::geteuid;
use serde_json::json;

use crate::agent::{Agent, ERAS};
use crate::ground::Ground;
use crate::support::{PASSPHRASE, Serving, World};

#[test]
fn nothing_that_the_system_tells_about_our_programs_holds_a_secret() {
    let ground = Ground::new();
    let agent = Agent::start(ground.mcp("builder"), ERAS[1], "canary-client");
    agent.call("list_templates", &json!({})).unwrap();
    for (program, pid) in [("serve", ground.pid()), ("mcp", agent.pid())] {
        let shown = |name: &str| format!("{name} of `keywright {program}`");
        for name in ["cmdline", "comm", "stat", "status", "limits", "mountinfo", "environ"] {
            // What may not be read shows nothing to anybody; the test below says what that has to be.
            let Ok(bytes) = fs::read(format!("/proc/{pid}/{name}")) else { continue };
            let evidence = match name {
                "cmdline" => program,
                "environ" => "KEYWRIGHT_HOME",
                _ => "",
            };
            ground.search(&shown(name), &bytes, evidence);
        }
        let targets = fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten().flatten();
        let targets: Vec<PathBuf> = targets.filter_map(|fd| fs::read_link(fd.path()).ok()).collect();
        ground.search(&shown("open files"), format!("{targets:?}").as_bytes(), "");
        for options in ["-wwfp", "ewwp"] {
            let Ok(ps) = Command::new("ps").arg(options).arg(pid.to_string()).output() else {
                eprintln!("SKIPPED: there is no `ps` here");
                continue;
            };
            ground.search(&shown("ps"), &ps.stdout, program);
        }
        let limits = fs::read_to_string(format!("/proc/{pid}/limits")).unwrap();
        let core = limits.lines().find(|line| line.starts_with("Max core file size")).unwrap();
        assert_eq!(core.split_whitespace().nth(4), Some("0"), "{program} leaves no core: {core}");
    }
    agent.finish();
}

/// What only a process's own user may look at, and we not even let them.
const PRIVATE: [&str; 8] = ["environ", "maps", "mem", "auxv", "exe", "cwd", "root", "fd"];

/// Which of them another process of this user can open.
fn open_to(user: Option<u32>, pid: u32) -> BTreeSet<String> {
    // Nothing is sent to /dev/null: not everywhere may everybody write there, and then nothing would be tried.
    let script = "for f in environ maps mem auxv; do (exec 3</proc/$0/$f) && echo $f; done; \
                  for f in exe cwd root; do to=$(readlink /proc/$0/$f) && echo $f; done; \
                  all=$(ls /proc/$0/fd) && echo fd; true";
    let output = run_as(user, "sh").args(["-c", script, &pid.to_string()]).output().unwrap();
    assert!(output.status.success());
    String::from_utf8(output.stdout).unwrap().lines().map(str::to_owned).collect()
}

fn run_as(user: Option<u32>, program: impl AsRef<std::ffi::OsStr>) -> Command {
    let mut command = Command::new(program);
    if let Some(id) = user {
        command.uid(id).gid(id);
    }
    command
}

/// A plain user for the broker and for whoever attacks it. For root no protection counts, so where the tests run as root
/// everything moves to user 65534, with a copy of the program that this user can reach.
fn plain_user(world: &World) -> Option<(Option<u32>, PathBuf)> {
    let program = assert_cmd::cargo::cargo_bin!("keywright");
    if !geteuid().is_root() {
        return Some((None, program.to_owned()));
    }
    const NOBODY: u32 = 65_534;
    let copy = world.path("keywright");
    fs::copy(program, &copy).unwrap();
    let given = ["", "keywright", "pass"]
        .iter()
        .all(|name| std::os::unix::fs::chown(world.dir().join(name), Some(NOBODY), Some(NOBODY)).is_ok());
    let works =
        given && run_as(Some(NOBODY), &copy).arg("--version").output().is_ok_and(|o| o.status.success());
    works.then_some((Some(NOBODY), copy))
}

#[test]
fn the_same_user_can_not_look_into_our_programs() {
    let world = World::empty();
    let Some((user, program)) = plain_user(&world) else {
        eprintln!("SKIPPED: this is root, for whom no protection counts, and no other user can be had here");
        return;
    };
    let command = |args: &[&str]| {
        let mut command = run_as(user, &program);
        command.args(args).current_dir(world.dir()).env_clear().env("KEYWRIGHT_HOME", world.home());
        command
    };
    let run = |args: &[&str]| {
        let output = command(args).args(["--no-input", "--passphrase-file", "pass"]).output().unwrap();
        assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
    };
    run(&["init", "--operator", "alice"]);
    let plain = Serving(run_as(user, "sleep").arg("60").env("LOOK", PASSPHRASE).spawn().unwrap());
    let mut serve = command(&["serve", "--json", "--passphrase-file", "pass"]);
    let mut serving = Serving(serve.stdout(Stdio::piped()).spawn().unwrap());
    wait_for(&mut serving, "keywright/serve/1");
    run(&["agent", "add", "builder"]);
    let mut mcp = command(&["mcp", "--agent", "builder"]);
    let mut mcp = Serving(mcp.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap());
    let who = json!({ "name": "client", "version": "1" });
    let hello = json!({ "protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": who });
    let hello = json!({ "jsonrpc": "2.0", "id": 1, "method": "initialize", "params": hello });
    writeln!(mcp.0.stdin.as_mut().unwrap(), "{hello}").unwrap();
    wait_for(&mut mcp, "serverInfo");

    // Where Yama is strict, even the memory of a plain process is closed to its siblings.
    let usual: BTreeSet<String> = open_to(user, plain.0.id());
    for name in PRIVATE.into_iter().filter(|name| *name != "mem") {
        assert!(
            usual.contains(name),
            "{name} of a plain process is open, or the attack would prove nothing: {usual:?}"
        );
    }
    assert_eq!(open_to(user, serving.0.id()), BTreeSet::new(), "of the broker");
    assert_eq!(open_to(user, mcp.0.id()), BTreeSet::new(), "of the MCP server");
}

/// A program that has said something is past its first instructions, which are the ones that close its memory.
fn wait_for(program: &mut Serving, word: &str) {
    let mut line = String::new();
    std::io::BufReader::new(program.0.stdout.take().unwrap()).read_line(&mut line).unwrap();
    assert!(line.contains(word), "{line}");
}
