//! The store `dotenv` when things go wrong: crashes, rivals, directories that can't be written to.
#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stdout, clippy::print_stderr, reason = "tests")]

mod store_support;

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::sync::Arc;

use keywright_core::plan::Destination;
use keywright_core::store::{Presence, StoreError};
use store_support::{Project, asked, dotenv, origin, put};

const SCRATCH: &str = ".keywright-tmp";

/// The process dies while it writes the new text: the system kills it at the file size that it is limited to.
#[tokio::test]
async fn a_crash_in_the_middle_of_a_write_leaves_the_old_file_and_is_swept_later() {
    let project = Project::with_git("/.env\n");
    let before = format!("{}\nA=1\n", "# padding\n".repeat(4000));
    fs::write(project.file(".env"), &before).unwrap();
    let mut limited = Command::new("/bin/sh");
    limited
        .args(["-c", "ulimit -f 16; ulimit -c 0; exec \"$@\"", "sh"])
        .arg(std::env::current_exe().unwrap());
    let died = output(child(limited, &project.path, "T", "value-of-the-crash"));
    assert_eq!(died.status.signal(), Some(25), "SIGXFSZ: {}", String::from_utf8_lossy(&died.stdout));
    assert_eq!(project.text(".env"), before);
    let left = project.file(SCRATCH).join("new");
    assert!(left.metadata().unwrap().len() > 0, "it died after it began to write");
    assert_eq!(store_support::mode(&left), 0o600);
    assert_eq!(store_support::mode(&project.file(SCRATCH)), 0o700);
    let offered = project.git(&["status", "--porcelain"]).stdout;
    assert_eq!(String::from_utf8(offered).unwrap(), "?? .gitignore\n", "git does not see what was left");

    project.put("./.env#T", 1, "value", Presence::Absent).await.unwrap();
    assert!(!project.file(SCRATCH).exists());
    assert!(project.text(".env").starts_with(&before) && project.text(".env").ends_with("\nT=value\n"));
}

#[tokio::test]
async fn something_else_of_the_scratch_directorys_name_is_not_removed() {
    let project = Project::new();
    fs::create_dir(project.file(SCRATCH)).unwrap();
    fs::write(project.file(SCRATCH).join("precious"), "x").unwrap();
    let error = project.put("./.env#T", 1, "value", Presence::Absent).await.unwrap_err();
    assert!(matches!(error, StoreError::Unavailable { .. }), "{error}");
    assert!(project.file(SCRATCH).join("precious").exists() && !project.file(".env").exists());

    fs::remove_dir_all(project.file(SCRATCH)).unwrap();
    fs::create_dir(project.file("other")).unwrap();
    fs::write(project.file("other").join("new"), "x").unwrap();
    std::os::unix::fs::symlink("other", project.file(SCRATCH)).unwrap();
    project.put("./.env#T", 1, "value", Presence::Absent).await.unwrap_err();
    assert_eq!(project.text("other/new"), "x");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn concurrent_writers_of_one_process_lose_nothing() {
    let project = Arc::new(Project::new());
    fs::write(project.file(".env"), "A=1\n").unwrap();
    let writers = (0..24u8).map(|at| {
        let project = Arc::clone(&project);
        tokio::spawn(async move {
            let place = format!("./.env#T{at}");
            project.put(&place, at, &format!("v{at}"), Presence::Absent).await.unwrap();
            if at % 3 == 0 {
                project.store.remove(&origin(at), &project.destination(&place)).await.unwrap();
            }
        })
    });
    for writer in writers.collect::<Vec<_>>() {
        writer.await.unwrap();
    }
    let text = project.text(".env");
    for at in 0..24u8 {
        let expected = usize::from(at % 3 != 0);
        assert_eq!(text.matches(&format!("\nT{at}=v{at}\n")).count(), expected, "T{at}");
    }
}

#[test]
fn concurrent_writers_of_several_processes_lose_nothing() {
    let project = Project::new();
    let exe = std::env::current_exe().unwrap();
    let start = |at: u8| child(Command::new(&exe), &project.path, &format!("T{at}"), &format!("v{at}"));
    for writer in (0..8u8).map(start).collect::<Vec<_>>() {
        let output = output(writer);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
    }
    let text = project.text(".env");
    for at in 0..8u8 {
        assert_eq!(text.matches(&format!("\nT{at}=v{at}\n")).count(), 1, "T{at}: {text}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_writers_of_one_variable_never_both_win() {
    let project = Arc::new(Project::new());
    let race = |seed: u8| {
        let project = Arc::clone(&project);
        tokio::spawn(
            async move { project.put("./.env#T", seed, &format!("v{seed}"), Presence::Absent).await },
        )
    };
    let (one, two) = (race(1), race(2));
    let (one, two) = (one.await.unwrap(), two.await.unwrap());
    assert!(one.is_ok() != two.is_ok(), "{one:?} {two:?}");
    let winner = if one.is_ok() { "\nT=v1\n" } else { "\nT=v2\n" };
    assert!(project.text(".env").ends_with(winner));
}

/// Root may write everywhere, so this runs as somebody else where the tests run as root.
#[test]
fn a_directory_that_cannot_be_written_to_is_refused_before_anything_is_made() {
    let project = Project::new();
    let exe = project.file("test-program");
    fs::copy(std::env::current_exe().unwrap(), &exe).unwrap();
    let folder = project.file("folder");
    fs::create_dir(&folder).unwrap();
    let mut command = Command::new(&exe);
    if rustix::process::geteuid().is_root() {
        chown(&folder, Some(65534), Some(65534)).unwrap();
        fs::set_permissions(&project.path, fs::Permissions::from_mode(0o755)).unwrap();
        command.uid(65534).gid(65534);
    }
    fs::set_permissions(&folder, fs::Permissions::from_mode(0o500)).unwrap();
    let output = output(child(command, &folder, "T", "value"));
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(!output.status.success() && said.contains("can't write to the directory"), "{said}");
    assert_eq!(fs::read_dir(&folder).unwrap().count(), 0);

    // The same with a file of another user in a directory of one's own.
    fs::set_permissions(&folder, fs::Permissions::from_mode(0o700)).unwrap();
    if rustix::process::geteuid().is_root() {
        fs::write(folder.join(".env"), "A=1\n").unwrap();
        let mut command = Command::new(&exe);
        command.uid(65534).gid(65534);
        let output = self::output(child(command, &folder, "T", "value"));
        let said = String::from_utf8_lossy(&output.stdout);
        assert!(!output.status.success() && said.contains("belongs to another user"), "{said}");
        assert_eq!(fs::read_to_string(folder.join(".env")).unwrap(), "A=1\n");
    }
}

fn child(mut command: Command, directory: &Path, variable: &str, value: &str) -> Child {
    command
        .args(["--exact", "child_writes", "--ignored", "--nocapture"])
        .env("KEYWRIGHT_TEST_DIR", directory)
        .env("KEYWRIGHT_TEST_VARIABLE", variable)
        .env("KEYWRIGHT_TEST_VALUE", value)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

fn output(child: Child) -> Output {
    child.wait_with_output().unwrap()
}

#[tokio::test]
#[ignore = "the tests above start it as processes of their own"]
async fn child_writes() {
    let read = |name: &str| std::env::var(format!("KEYWRIGHT_TEST_{name}"));
    let (Ok(directory), Ok(variable), Ok(value)) = (read("DIR"), read("VARIABLE"), read("VALUE")) else {
        return;
    };
    let store = dotenv(&[]).unwrap();
    let place = asked(&format!("./.env#{variable}"));
    let name = keywright_core::name::KeyName::parse("UNUSED").unwrap();
    let result = match store.accept(place, &name, Some(&directory)).await {
        Ok(Destination { place, base }) => {
            put(store.as_ref(), &Destination { place, base }, 1, &value, Presence::Absent).await.map(drop)
        }
        Err(error) => Err(error),
    };
    if let Err(error) = result {
        println!("{error}");
        panic!("{error}");
    }
}
