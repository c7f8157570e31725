//! At a terminal: who is asked what, and what an empty line means.

use std::io::Write as _;
use std::process::{Command, Stdio};

use crate::support::{PASSPHRASE, World};

/// Runs a command line on a terminal of its own with the lines typed ahead; the screen and the exit code.
fn at_terminal(world: &World, words: &str, typed: &str) -> (String, i32) {
    let binary = assert_cmd::cargo::cargo_bin!("keywright").display();
    let mut command = Command::new("script");
    command.args(["--quiet", "--return", "--command", &format!("'{binary}' {words}"), "/dev/null"]);
    command.env("KEYWRIGHT_HOME", world.home()).env_remove("KEYWRIGHT_LOG").current_dir(world.dir());
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let mut keyboard = child.stdin.take().unwrap();
    keyboard.write_all(typed.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    drop(keyboard);
    let screen = anstream::adapter::strip_bytes(&output.stdout).into_vec();
    (String::from_utf8_lossy(&screen).into_owned(), output.status.code().unwrap())
}

#[test]
fn prompts_say_what_they_want_and_enter_takes_the_proposal() {
    let world = World::empty();
    let typed = format!("\n{PASSPHRASE}\n{PASSPHRASE}\n");
    let (screen, code) = at_terminal(&world, "init --operator alice", &typed);
    assert_eq!(code, 0, "{screen}");
    assert!(screen.contains("[Y/n]") && screen.contains("new passphrase for operator alice: "), "{screen}");
    let (screen, code) = at_terminal(&world, "--operator alice key list", &format!("{PASSPHRASE}\n"));
    assert!(code == 0 && screen.contains("passphrase of operator alice: "), "{screen}");
}

#[test]
fn a_passphrase_file_does_not_answer_a_question_that_somebody_can_answer() {
    let world = World::empty();
    world.init();
    let teardown = "project teardown web --passphrase-file pass";
    for (more, typed, code, asked) in [
        ("", "n\n", 1, true),
        ("", "\n", 1, true),
        ("", "y\n", 0, true),
        (" --yes", "", 0, false),
        (" --no-input", "", 0, false),
    ] {
        let (screen, ended) = at_terminal(&world, &format!("{teardown}{more}"), typed);
        assert_eq!((ended, screen.contains("[y/N]")), (code, asked), "{more} {typed:?}: {screen}");
    }
}

#[test]
fn whoever_waits_at_a_terminal_learns_for_what() {
    let world = World::empty();
    world.init();
    let lock = world.home();
    let mut holder = Command::new("flock").arg(lock).args(["sleep", "4"]).spawn().unwrap();
    std::thread::sleep(std::time::Duration::from_millis(300));
    let (screen, code) = at_terminal(&world, "key list --passphrase-file pass", "");
    assert!(code == 0 && screen.contains("waiting for another command on this home ..."), "{screen}");
    holder.wait().unwrap();
}
