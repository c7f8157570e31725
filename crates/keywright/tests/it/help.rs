//! Help: every command has one, and none has a flag that would take a secret.

use std::collections::BTreeSet;

use crate::support::bare;

/// Every command that help lists, the leaves only, as words.
pub(crate) fn leaves() -> Vec<Vec<String>> {
    let mut found = Vec::new();
    walk(&mut Vec::new(), &mut found);
    found
}

fn walk(path: &mut Vec<String>, found: &mut Vec<Vec<String>>) {
    let subcommands = subcommands(&help(path));
    if subcommands.is_empty() {
        found.push(path.clone());
    }
    for name in subcommands {
        path.push(name);
        walk(path, found);
        path.pop();
    }
}

fn help(path: &[String]) -> String {
    let output = bare().args(path).arg("-h").output().unwrap();
    assert!(output.status.success(), "{path:?}");
    String::from_utf8(output.stdout).unwrap()
}

fn subcommands(help: &str) -> Vec<String> {
    let section = help.split("Commands:\n").nth(1).unwrap_or_default();
    let lines = section.lines().take_while(|line| !line.is_empty());
    lines
        .filter(|l| l.starts_with("  ") && !l.starts_with("   "))
        .map(|l| l.split_whitespace().next().unwrap().to_owned())
        .collect()
}

#[test]
fn every_command_and_every_option_says_what_it_is_for() {
    let all = leaves();
    assert!(all.len() > 40, "{all:?}");
    for path in &all {
        let help = help(path);
        let about = help.lines().next().unwrap_or_default();
        assert!(about.split_whitespace().count() >= 3 && !about.starts_with("Usage"), "{path:?}: {help}");
        let options = help.lines().map(str::trim_end).filter(|l| l.trim_start().starts_with('-'));
        let next: Vec<&str> = help.lines().collect();
        for option in options {
            let at = next.iter().position(|l| l.trim_end() == option).unwrap();
            let explained = option.trim_start().contains("  ")
                || next.get(at + 1).is_some_and(|l| l.starts_with("          ") && !l.trim().is_empty());
            assert!(explained, "{path:?}: {option}");
        }
    }
}

#[test]
fn no_option_takes_a_secret() {
    let mut seen = BTreeSet::new();
    for path in leaves() {
        for word in help(&path).split_whitespace().filter(|w| w.starts_with("--")) {
            seen.insert(word.trim_end_matches([',', '.', ']', ')', '`']).trim_start_matches('[').to_owned());
        }
    }
    for option in &seen {
        let is_about_secrets =
            ["pass", "secret", "token", "credential", "key"].iter().any(|w| option.contains(w));
        assert!(!is_about_secrets || option.ends_with("-file"), "{option} looks as if it took a secret");
    }
    assert!(seen.contains("--passphrase-file") && seen.contains("--credential-file"));
}

#[test]
fn completions_are_there_for_every_shell() {
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let output = bare().args(["completions", shell]).env("HOME", "/nonexistent").output().unwrap();
        let script = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(output.status.success() && script.contains("keywright"), "{shell}");
        assert!(!script.contains("demo-program"), "{shell}: nobody types that");
    }
    assert_eq!(bare().args(["completions", "tcsh"]).output().unwrap().status.code(), Some(2));
}

#[test]
fn help_takes_the_words_of_a_command() {
    for path in [&[][..], &["key"], &["key", "request"]] {
        let by_word = bare().arg("help").args(path).output().unwrap();
        let by_option = bare().args(path).arg("--help").output().unwrap();
        assert!(by_word.status.success(), "{path:?}");
        assert_eq!(
            String::from_utf8_lossy(&by_word.stdout).trim_end(),
            String::from_utf8_lossy(&by_option.stdout).trim_end(),
            "{path:?}"
        );
    }
    assert_eq!(bare().args(["help", "key", "frobnicate"]).output().unwrap().status.code(), Some(2));
    let typo = bare().arg("demo-programm").output().unwrap();
    assert!(!String::from_utf8_lossy(&typo.stderr).contains("'demo-program'"));
    let request = bare().args(["key", "request", "-h"]).output().unwrap();
    assert!(!String::from_utf8_lossy(&request.stdout).contains("default: \"\""));
}

#[test]
fn a_pipe_gets_no_colours() {
    for args in [&["catalog", "search", "dns"][..], &["--help"], &["key", "list", "--no-input"]] {
        let output = bare().args(args).env("HOME", "/nonexistent").output().unwrap();
        assert!(!output.stdout.contains(&0x1b) && !output.stderr.contains(&0x1b), "{args:?}");
    }
}
