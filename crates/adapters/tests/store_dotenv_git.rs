//! The store `dotenv` inside git work trees, friendly and hostile.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

mod store_support;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;

use keywright_core::store::{Presence, StoreError};
use store_support::Project;

fn unsafe_hint(error: &StoreError) -> &str {
    match error {
        StoreError::Unsafe { hint, .. } => hint,
        other => panic!("{other}"),
    }
}

#[tokio::test]
async fn a_file_that_git_would_commit_is_refused_with_the_line_to_add() {
    let project = Project::with_git("# nothing\n");
    fs::create_dir(project.file("web app")).unwrap();
    for (place, line) in [("./.env", "/.env"), ("./web app/prod.env", "/web\\ app/prod.env")] {
        let error = project.accept(place).await.unwrap_err();
        let hint = unsafe_hint(&error).to_owned();
        let ignore = project.file(".gitignore");
        assert_eq!(hint, format!("add the line `{line}` to `{}`", ignore.display()));
        let error = project.put(&format!("{place}#T"), 1, "value", Presence::Absent).await.unwrap_err();
        assert!(matches!(error, StoreError::Unsafe { .. }), "{error}");
        assert!(!project.file(place).exists());

        // The hint is right: with that line it works.
        fs::write(&ignore, format!("{line}\n")).unwrap();
        project.accept(place).await.unwrap();
        project.put(&format!("{place}#T"), 1, "value", Presence::Absent).await.unwrap();
    }
}

#[tokio::test]
async fn a_tracked_file_is_refused_although_it_is_ignored() {
    let project = Project::with_git(".env\n");
    fs::write(project.file(".env"), "A=1\n").unwrap();
    project.git(&["add", "-f", ".env"]);
    let error = project.accept("./.env").await.unwrap_err();
    assert!(unsafe_hint(&error).contains("git rm --cached .env"), "{error}");
    let error = project.put("./.env#T", 1, "value", Presence::Absent).await.unwrap_err();
    assert!(matches!(error, StoreError::Unsafe { .. }), "{error}");
    assert_eq!(project.text(".env"), "A=1\n");
    project.git(&["rm", "-q", "--cached", ".env"]);
    project.accept("./.env").await.unwrap();
}

#[tokio::test]
async fn a_name_with_special_characters_is_not_a_pattern() {
    let project = Project::with_git("*.env\n!x.env\n");
    fs::write(project.file("x.env"), "A=1\n").unwrap();
    project.git(&["add", "x.env"]);
    project.accept("./[x].env").await.unwrap();
    project.accept("./*.env").await.unwrap();
    project.accept("./x.env").await.unwrap_err();
}

#[tokio::test]
async fn what_only_the_user_ignores_does_not_count() {
    let project = Project::with_git("");
    fs::write(project.file("mine"), ".env\n").unwrap();
    let mine = project.file("mine");
    project.git(&["config", "core.excludesFile", mine.to_str().unwrap()]);
    project.accept("./.env").await.unwrap_err();
}

#[tokio::test]
async fn nothing_of_a_write_is_ever_offered_for_commit() {
    let project = Project::with_git("/.env\n");
    project.put("./.env#T", 1, "value", Presence::Absent).await.unwrap();
    // What a crash in the middle of a write leaves.
    let scratch = project.file(".keywright-tmp");
    fs::create_dir(&scratch).unwrap();
    fs::write(scratch.join(".gitignore"), "*\n").unwrap();
    fs::write(scratch.join("new"), "T=value\n").unwrap();
    project.git(&["add", "-A"]);
    let staged = String::from_utf8(project.git(&["ls-files"]).stdout).unwrap();
    assert_eq!(staged, ".gitignore\n");
}

#[tokio::test]
async fn a_repository_that_git_cannot_read_is_refused() {
    let project = Project::new();
    fs::write(project.file(".git"), "not a repository\n").unwrap();
    let error = project.accept("./.env").await.unwrap_err();
    assert!(matches!(error, StoreError::Unsafe { .. }), "{error}");
}

#[tokio::test]
async fn a_hostile_repository_runs_nothing() {
    let project = Project::with_git(".env\n");
    let (trap, sprung) = (project.file("trap.sh"), project.file("sprung"));
    fs::write(&trap, format!("#!/bin/sh\necho \"$0 $*\" >> '{}'\n", sprung.display())).unwrap();
    fs::set_permissions(&trap, fs::Permissions::from_mode(0o755)).unwrap();
    let trap = trap.to_str().unwrap();
    fs::create_dir(project.file("hooks")).unwrap();
    for hook in ["post-index-change", "fsmonitor-watchman", "pre-commit", "post-checkout"] {
        fs::copy(trap, project.file("hooks").join(hook)).unwrap();
    }
    fs::write(project.file(".env"), "A=1\n").unwrap();
    fs::write(project.file("tracked"), "x\n").unwrap();
    project.git(&["add", "tracked"]);
    let hooks = project.file("hooks");
    let shell = format!("!{trap}");
    for (setting, value) in [
        ("core.fsmonitor", trap),
        ("core.hooksPath", hooks.to_str().unwrap()),
        ("core.pager", trap),
        ("core.editor", trap),
        ("core.sshCommand", trap),
        ("core.askPass", trap),
        ("alias.check-ignore", shell.as_str()),
        ("alias.ls-files", shell.as_str()),
        ("filter.evil.clean", trap),
        ("filter.evil.smudge", trap),
        ("diff.external", trap),
        ("credential.helper", shell.as_str()),
        ("extensions.partialClone", "origin"),
        ("remote.origin.url", &format!("ext::{trap}")),
        ("remote.origin.promisor", "true"),
        ("protocol.ext.allow", "always"),
        ("remote.origin.uploadpack", trap),
        ("trace2.eventTarget", "1"),
    ] {
        project.git(&["config", setting, value]);
    }
    fs::write(project.file(".gitattributes"), "* filter=evil\n").unwrap();

    // The traps are armed: an ordinary command springs them.
    let _ = fs::remove_file(&sprung);
    project.git(&["status"]);
    assert!(sprung.exists(), "the repository is not hostile");
    fs::remove_file(&sprung).unwrap();

    project.accept("./.env").await.unwrap();
    project.put("./.env#T", 1, "value", Presence::Absent).await.unwrap();
    project.accept("./other.env").await.unwrap_err();
    assert!(!sprung.exists(), "{}", fs::read_to_string(&sprung).unwrap());
}

/// Runs in a process of its own, because it is about that process' environment.
#[test]
fn the_environment_does_not_choose_another_repository() {
    let elsewhere = Project::with_git(".env\n");
    let here = Project::with_git("");
    let child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "child_accepts_in_a_directory", "--ignored", "--nocapture"])
        .env("KEYWRIGHT_TEST_DIR", &here.path)
        .env("GIT_DIR", elsewhere.file(".git"))
        .env("GIT_WORK_TREE", &elsewhere.path)
        .env("GIT_CONFIG_COUNT", "1")
        .env("GIT_CONFIG_KEY_0", "core.excludesFile")
        .env("GIT_CONFIG_VALUE_0", elsewhere.file(".gitignore"))
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&child.stdout).into_owned();
    assert!(child.status.success() && said.contains("git does not ignore this file"), "{said}");
}

#[tokio::test]
#[ignore = "the test above starts it"]
async fn child_accepts_in_a_directory() {
    let Some(directory) = std::env::var_os("KEYWRIGHT_TEST_DIR") else { return };
    let store = store_support::dotenv(&[]).unwrap();
    let name = keywright_core::name::KeyName::parse("T").unwrap();
    let directory = directory.into_string().unwrap();
    let error = store.accept(store_support::asked("./.env"), &name, Some(&directory)).await.unwrap_err();
    println!("{error}");
}
