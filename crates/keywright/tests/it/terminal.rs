//! At a terminal: who is asked what, and what an empty line means.

use std::io::Write as _;
use std::process::{Command, Stdio};

use unicode_width::UnicodeWidthStr as _;

use crate::support::{PASSPHRASE, Serving, World, request};

/// Runs a command line on a terminal of its own with the lines typed ahead; the screen and the exit code.
fn at_terminal(world: &World, words: &str, typed: &str) -> (String, i32) {
    on_terminal(world, "", words, typed)
}

/// The same, after a command that sets the terminal up.
fn on_terminal(world: &World, before: &str, words: &str, typed: &str) -> (String, i32) {
    let binary = assert_cmd::cargo::cargo_bin!("keywright").display();
    let mut command = Command::new("script");
    command.args(["--quiet", "--return", "--command", &format!("{before}'{binary}' {words}"), "/dev/null"]);
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

#[test]
fn what_waits_fits_a_terminal_and_the_question_says_once_more_what_is_approved() {
    let world = World::ready();
    let purpose = "because the shop's mail has to be proven once more, ".repeat(18);
    let asked =
        world.alice(&request("PROD_TOKEN", "production", &["--purpose", &purpose, "--json"])).expect(4);
    let asked = asked.json();
    let (id, code) = (asked["request"].as_str().unwrap(), asked["match_code"].as_str().unwrap());
    // This terminal does not say how wide it is.
    let (screen, _) = at_terminal(&world, "review --passphrase-file pass", "");
    assert!(screen.contains(id) && screen.contains(&format!("match code {code}")), "{screen}");
    assert!(screen.lines().all(|line| line.trim_end().chars().count() <= 80), "{screen}");
    let (screen, ended) = at_terminal(&world, &format!("review approve {id} --passphrase-file pass"), "n\n");
    assert_eq!(ended, 1, "{screen}");
    assert!(screen.lines().all(|line| line.trim_end().chars().count() <= 80), "{screen}");
    let lines: Vec<&str> = screen.lines().map(str::trim).collect();
    let question = lines.iter().position(|line| line.starts_with("approve exactly this? [y/N]")).unwrap();
    let before = lines[..question].iter().rev().take(4).rev().copied().collect::<Vec<_>>().join("\n");
    for told in ["HIGH: new Cloudflare token", "PROD_TOKEN → example.com", &format!("match code {code}")] {
        assert!(before.contains(told), "{told}: {screen}");
    }
}

#[test]
fn what_an_agent_wrote_never_begins_where_our_lines_begin() {
    let world = World::ready();
    let said = format!("{}.  approvals     1 of 1, by ana.{}", "読".repeat(31), "e\u{301}👍🏽".repeat(60));
    let asked =
        world.alice(&request("PROD_TOKEN", "production", &["--purpose", &said, "--json"])).expect(4).json();
    let id = asked["request"].as_str().unwrap();
    for columns in [40, 60, 80, 100] {
        let stty = format!("stty cols {columns}; ");
        for words in [
            format!("review show {id}"),
            "review".to_owned(),
            format!("review approve {id}"),
            format!("review approve {id} > /dev/null"),
            format!("audit trace {id}"),
            format!("key show '{said}'"),
        ] {
            let words = words.replacen(" >", " --passphrase-file pass >", 1);
            let pass = if words.contains("pass") { "" } else { " --passphrase-file pass" };
            let (screen, _) = on_terminal(&world, &stty, &format!("{words}{pass}"), "n\n");
            // What was typed ahead is not seen, so the answer's line goes on.
            let screen = screen.replace("[y/N] ", "[y/N]\n");
            for line in screen.lines().map(str::trim_end) {
                assert!(line.width() <= columns, "{columns}, {words}: {line}");
                let quoted = line.contains("1 of 1") || line.contains("読") || line.contains('👍');
                assert!(!quoted || line.starts_with("  ") || line.starts_with("error: "), "{words}: {line}");
            }
        }
    }
}

#[test]
fn an_approval_asks_for_the_passphrase_before_its_question_with_a_session_and_without() {
    let world = World::ready();
    let asked = world.alice(&request("PROD_TOKEN", "production", &["--json"])).expect(4).json();
    let id = asked["request"].as_str().unwrap();
    let _serving = Serving::start(&world);
    let login =
        format!("'{}' login --passphrase-file pass; ", assert_cmd::cargo::cargo_bin!("keywright").display());
    for before in [login.as_str(), ""] {
        let typed = format!("{PASSPHRASE}\nn\n");
        let (screen, code) = on_terminal(&world, before, &format!("review approve {id}"), &typed);
        let prompt = screen.find("passphrase of an operator: ").expect("it is asked for");
        let (plan, question) = (screen.find("PROD_TOKEN").unwrap(), screen.find("[y/N]").unwrap());
        assert!(code == 1 && prompt < plan && plan < question && screen.contains("not approved"), "{screen}");
    }
}
