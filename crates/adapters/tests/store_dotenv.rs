//! The store `dotenv` on real files: whose values it overwrites, and what survives.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

mod store_support;

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};

use keywright_adapters::store::{StoreConfig, StoreConnectError, connect};
use keywright_core::name::{EnvironmentName, KeyName, ProjectName, StoreName};
use keywright_core::place::Place;
use keywright_core::secret::Secret;
use keywright_core::store::{Presence, StoreError, VerifyMode, Write, Written};
use store_support::{Project, asked, dotenv, mode, origin, ours, put};

#[tokio::test]
async fn a_key_is_placed_verified_replaced_and_removed() {
    let project = Project::new();
    let before = "# mine\r\nA='x y'\r\n\r\nexport B=1";
    fs::write(project.file(".env"), before).unwrap();
    let destination = project.accept("./.env").await.unwrap();
    assert_eq!(destination.place.to_string(), "dotenv:./.env#TOKEN");
    assert_eq!(destination.base.as_deref(), Some(project.cwd()));
    assert_eq!(project.store.look(&destination).await.unwrap(), Presence::Absent);

    for (seed, value, expected) in [(1, "first", Presence::Absent), (2, "se cond", ours(1))] {
        let (origin, secret) = (origin(seed), Secret::new(value.to_owned()));
        let write = Write { destination: &destination, expected, origin: &origin, secret: &secret };
        let written = project.store.write(&write).await.unwrap();
        assert_eq!(written, Written { store_version: Some(origin.placement.to_string()) });
        assert_eq!(project.store.verify(&write, &written).await.unwrap(), VerifyMode::ReadBack);
        assert_eq!(project.store.look(&destination).await.unwrap(), ours(seed));
    }
    let text = project.text(".env");
    assert!(
        text.starts_with(&format!("{before}\n# keywright: ")) && text.ends_with("\nTOKEN='se cond'\n"),
        "{text}"
    );
    assert!(!text.contains("first"));

    // The older placement is gone already; taking it back must not take the newer one.
    project.store.remove(&origin(1), &destination).await.unwrap();
    assert_eq!(project.text(".env"), text);
    project.store.remove(&origin(2), &destination).await.unwrap();
    project.store.remove(&origin(2), &destination).await.unwrap();
    assert_eq!(project.text(".env"), format!("{before}\n"));
    assert_eq!(leftovers(&project), Vec::<String>::new());
}

#[tokio::test]
async fn a_repeated_write_changes_nothing() {
    let project = Project::new();
    project.put("./.env#T", 1, "value", Presence::Absent).await.unwrap();
    let (text, id) = (project.text(".env"), inode(&project, ".env"));
    project.put("./.env#T", 1, "value", Presence::Absent).await.unwrap();
    assert_eq!((project.text(".env"), inode(&project, ".env")), (text, id));
}

#[tokio::test]
async fn what_is_not_expected_is_never_overwritten() {
    let project = Project::new();
    let table = [
        ("TOKEN=theirs\n", Presence::Absent),
        ("TOKEN=theirs\n", ours(1)),
        ("export TOKEN='theirs'\n", Presence::Absent),
        ("A=1 TOKEN=theirs\n", Presence::Absent),
    ];
    for (text, expected) in table {
        fs::write(project.file(".env"), text).unwrap();
        let error = project.put("./.env#TOKEN", 1, "ours", expected.clone()).await.unwrap_err();
        assert!(matches!(error, StoreError::Conflict { .. }), "{text:?} {expected:?}: {error}");
        assert_eq!(project.text(".env"), text);
    }

    fs::remove_file(project.file(".env")).unwrap();
    project.put("./.env#TOKEN", 1, "one", Presence::Absent).await.unwrap();
    let text = project.text(".env");
    for expected in [Presence::Absent, Presence::Foreign, ours(3)] {
        let error = project.put("./.env#TOKEN", 2, "two", expected).await.unwrap_err();
        assert!(matches!(error, StoreError::Conflict { .. }), "{error}");
    }
    fs::write(project.file(".env"), text.replace("=one", "=edited")).unwrap();
    let error = project.put("./.env#TOKEN", 2, "two", ours(1)).await.unwrap_err();
    assert!(matches!(error, StoreError::Conflict { .. }), "a value changed by hand is not ours: {error}");
}

#[tokio::test]
async fn a_foreign_value_is_taken_over_when_a_human_said_so() {
    let project = Project::new();
    fs::write(project.file(".env"), "A=1\nTOKEN=theirs\nB=1\n").unwrap();
    project.put("./.env#TOKEN", 1, "ours", Presence::Foreign).await.unwrap();
    let text = project.text(".env");
    assert!(text.starts_with("A=1\n# keywright: ") && text.ends_with("\nTOKEN=ours\nB=1\n"), "{text}");

    fs::write(project.file(".env"), "TOKEN=1\nTOKEN=2\n").unwrap();
    let error = project.put("./.env#TOKEN", 1, "ours", Presence::Foreign).await.unwrap_err();
    assert!(matches!(error, StoreError::Unsafe { .. }), "{error}");
}

#[tokio::test]
async fn verify_notices_another_value_and_another_placement() {
    let project = Project::new();
    let destination = project.destination("./.env#TOKEN");
    let (first, secret) = (origin(1), Secret::new("value".to_owned()));
    let write =
        Write { destination: &destination, expected: Presence::Absent, origin: &first, secret: &secret };
    let written = Written { store_version: None };
    let mismatch =
        async || matches!(project.store.verify(&write, &written).await, Err(StoreError::Mismatch { .. }));
    assert!(mismatch().await, "nothing was written");
    project.store.write(&write).await.unwrap();
    assert!(!mismatch().await);
    let text = project.text(".env");
    fs::write(project.file(".env"), text.replace("TOKEN=value", "TOKEN=valuf")).unwrap();
    assert!(mismatch().await, "the value was changed");
    fs::write(project.file(".env"), &text).unwrap();
    project.put("./.env#TOKEN", 2, "value", ours(1)).await.unwrap();
    assert!(mismatch().await, "it is another placement's now");
}

#[tokio::test]
async fn a_file_that_others_could_read_is_tightened_even_by_a_repeated_write() {
    let project = Project::new();
    let set = |mode| fs::set_permissions(project.file(".env"), fs::Permissions::from_mode(mode)).unwrap();
    fs::write(project.file(".env"), "A=1\n").unwrap();
    set(0o644);
    project.put("./.env#T", 1, "value", Presence::Absent).await.unwrap();
    assert_eq!(mode(&project.file(".env")), 0o600);
    let text = project.text(".env");
    set(0o664);
    project.put("./.env#T", 1, "value", Presence::Absent).await.unwrap();
    assert_eq!((mode(&project.file(".env")), project.text(".env")), (0o600, text));
    assert_eq!(fs::read_to_string(project.file(".env")).unwrap().matches("T=value").count(), 1);
}

#[tokio::test]
async fn a_file_that_is_no_plain_file_of_ours_is_refused_and_left_alone() {
    let project = Project::new();
    fs::write(project.file("target"), "A=1\n").unwrap();
    symlink(project.file("target"), project.file("link.env")).unwrap();
    symlink("/nonexistent/x", project.file("dangling.env")).unwrap();
    fs::hard_link(project.file("target"), project.file("hard.env")).unwrap();
    fs::create_dir(project.file("dir.env")).unwrap();
    let status = std::process::Command::new("mkfifo").arg(project.file("pipe.env")).status().unwrap();
    assert!(status.success());
    fs::write(project.file("large.env"), "#".repeat((1 << 20) + 1)).unwrap();
    fs::write(project.file("binary.env"), b"A=\xff\n").unwrap();
    fs::write(project.file("open.env"), "A='x\nB=1\n").unwrap();
    for name in ["link", "dangling", "hard", "dir", "pipe", "large", "binary", "open"] {
        let place = format!("./{name}.env#T");
        let error = project.accept(&place).await.unwrap_err();
        assert!(matches!(error, StoreError::Unsafe { .. }), "{name}: {error}");
        let error = project.put(&place, 1, "value", Presence::Absent).await.unwrap_err();
        assert!(matches!(error, StoreError::Unsafe { .. }), "{name}: {error}");
        assert!(project.store.look(&project.destination(&place)).await.is_err(), "{name}");
    }
    assert_eq!(project.text("target"), "A=1\n");
    assert!(!fs::exists("/nonexistent/x").unwrap());
}

#[tokio::test]
async fn a_directory_that_is_linked_shared_or_missing_is_refused() {
    let project = Project::new();
    for name in ["real", "open", "open/inner"] {
        fs::create_dir(project.file(name)).unwrap();
    }
    symlink(project.file("real"), project.file("link")).unwrap();
    fs::set_permissions(project.file("open"), fs::Permissions::from_mode(0o777)).unwrap();
    let table =
        [("./link/.env", true), ("./open/.env", true), ("./open/inner/.env", true), ("./none/.env", false)];
    for (place, is_unsafe) in table {
        let error = project.accept(place).await.unwrap_err();
        assert_eq!(matches!(error, StoreError::Unsafe { .. }), is_unsafe, "{place}: {error}");
        assert_eq!(matches!(error, StoreError::Place { .. }), !is_unsafe, "{place}: {error}");
        let error = project.put(&format!("{place}#T"), 1, "value", Presence::Absent).await.unwrap_err();
        assert!(matches!(error, StoreError::Unsafe { .. } | StoreError::Place { .. }), "{error}");
    }
    assert!(!project.file("real/.env").exists());

    // Nothing lies in a directory that is not there.
    let gone = project.destination("./none/.env#T");
    assert_eq!(project.store.look(&gone).await.unwrap(), Presence::Absent);
    project.store.remove(&origin(1), &gone).await.unwrap();
}

#[tokio::test]
async fn a_relative_place_starts_from_the_real_directory_of_the_asker() {
    let project = Project::new();
    fs::create_dir(project.file("real")).unwrap();
    symlink(project.file("real"), project.file("link")).unwrap();
    let name = KeyName::parse("TOKEN").unwrap();
    let link = project.file("link");
    let accepted = project.store.accept(asked(".env"), &name, link.to_str()).await.unwrap();
    assert_eq!(accepted.base.as_deref(), project.file("real").to_str());
    for cwd in [None, Some("relative"), Some("/nonexistent/dir")] {
        let error = project.store.accept(asked(".env"), &name, cwd).await.unwrap_err();
        assert!(matches!(error, StoreError::Place { .. }), "{cwd:?}: {error}");
    }
    let absolute = format!("{}/real/.env#X", project.cwd());
    let accepted = project.store.accept(asked(&absolute), &name, None).await.unwrap();
    assert_eq!((accepted.place.place, accepted.base), (absolute, None));
}

#[tokio::test]
async fn a_root_confines_places_whatever_the_way_to_them() {
    let project = Project::new();
    for name in ["in", "in/deep", "inner"] {
        fs::create_dir(project.file(name)).unwrap();
    }
    let root = project.file("in");
    let store = dotenv(&[("root", root.to_str().unwrap())]).unwrap();
    store.check().await.unwrap();
    let name = KeyName::parse("T").unwrap();
    for (cwd, place, inside) in [
        ("in", "./.env", true),
        ("in", "./deep/.env", true),
        ("", "./in/.env", true),
        ("", "./.env", false),
        ("inner", "./.env", false),
    ] {
        let cwd = project.file(cwd);
        let accepted = store.accept(asked(place), &name, cwd.to_str()).await;
        assert_eq!(accepted.is_ok(), inside, "{cwd:?} {place}");
    }
    let error =
        put(store.as_ref(), &project.destination("./.env#T"), 1, "v", Presence::Absent).await.unwrap_err();
    assert!(matches!(error, StoreError::Place { .. }), "{error}");
}

#[test]
fn a_configuration_that_does_not_fit_is_refused() {
    let config = |address: Option<&str>| StoreConfig {
        name: StoreName::parse("files").unwrap(),
        address: address.map(str::to_owned),
        extra: Default::default(),
    };
    let secret = || Some(Secret::new("s".to_owned()));
    assert!(matches!(connect("embedded", config(None), None), Err(StoreConnectError::Kind { .. })));
    assert!(matches!(connect("dotenv", config(None), secret()), Err(StoreConnectError::Credential { .. })));
    assert!(matches!(connect("dotenv", config(Some("x")), None), Err(StoreConnectError::Address { .. })));
    assert!(matches!(dotenv(&[("root", "rel")]), Err(StoreConnectError::Setting { .. })));
    assert!(matches!(dotenv(&[("colour", "x")]), Err(StoreConnectError::Setting { .. })));
    let store = connect("dotenv", config(None), None).unwrap();
    let place = store.default_place(
        &ProjectName::parse("p").unwrap(),
        &EnvironmentName::parse("dev").unwrap(),
        &KeyName::parse("CF_TOKEN").unwrap(),
    );
    assert_eq!(Place::parse(&format!("files:{place}")).unwrap().place, "./.env#CF_TOKEN");
}

fn inode(project: &Project, name: &str) -> u64 {
    std::os::unix::fs::MetadataExt::ino(&fs::metadata(project.file(name)).unwrap())
}

fn leftovers(project: &Project) -> Vec<String> {
    let names =
        fs::read_dir(&project.path).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    names.filter(|name| name != ".env").collect()
}
