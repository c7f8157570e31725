//! The store `age` before `age` itself.

use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::Path;

use keywright_core::name::KeyName;
use keywright_core::store::{Presence, StoreError, VerifyMode};
use tempfile::TempDir;
use tokio::process::Command;

use crate::support::contract::{Limits, StoreCase, VALUE, keeps_the_contract_of_a_local_store, origin};
use crate::support::opened::{at, open, put, run};
use crate::support::peers::programs;

fn path(dir: &Path) -> &str {
    dir.to_str().unwrap()
}

/// A directory, and an identity that `age-keygen` made.
async fn age() -> Option<(TempDir, String, String)> {
    if !programs(&["age", "age-keygen"]) {
        return None;
    }
    let dir = tempfile::tempdir().unwrap();
    let file = run(&mut Command::new("age-keygen"), "").await.unwrap();
    std::fs::write(dir.path().join("identity"), &file).unwrap();
    std::fs::create_dir(dir.path().join("root")).unwrap();
    let recipient = file.lines().find_map(|line| line.strip_prefix("# public key: ")).unwrap().to_owned();
    Some((dir, file, recipient))
}

#[tokio::test]
async fn age_keeps_the_contract() {
    let Some((dir, identity, recipient)) = age().await else { return };
    let root = dir.path().join("root");
    let settings = [("root", path(&root)), ("recipients", recipient.as_str())];
    let (key, files) = (dir.path().join("identity"), root.clone());
    let (others, to) = (root.clone(), recipient.clone());
    let case = StoreCase {
        network: None,
        store: open("age", None, &settings, Some(&identity)).unwrap(),
        place: "web/dev/TOKEN_{}.age".to_owned(),
        read: Box::new(move |place| {
            let (key, file) = (key.clone(), files.join(place));
            Box::pin(async move { run(Command::new("age").arg("-d").arg("-i").arg(key).arg(file), "").await })
        }),
        put_foreign: Box::new(move |place, value| {
            let (to, file) = (to.clone(), others.join(place));
            Box::pin(async move {
                std::fs::create_dir_all(file.parent().unwrap()).unwrap();
                run(Command::new("age").arg("-r").arg(to).arg("-o").arg(file), &value).await.unwrap();
            })
        }),
        limits: Limits::of("web/dev/", 'a', 196, ".age"),
        secrets: vec![identity],
        peer: Box::new(dir),
    };
    keeps_the_contract_of_a_local_store(&case).await;
}

#[tokio::test]
async fn age_without_an_identity_knows_that_the_file_is_the_one_it_wrote() {
    let Some((dir, identity, recipient)) = age().await else { return };
    let root = dir.path().join("root");
    let settings = [("root", path(&root)), ("recipients", recipient.as_str())];
    let store = open("age", None, &settings, None).unwrap();
    store.check().await.unwrap();
    let place = "web/TOKEN.age";
    assert_eq!(put(store.as_ref(), place, 1, VALUE, Presence::Absent).await, Ok(VerifyMode::StatusOnly));
    let file = root.join(place);
    assert_eq!(file.metadata().unwrap().permissions().mode() & 0o777, 0o600);
    let (ours, notes) = (std::fs::read(&file).unwrap(), root.join("web/TOKEN.age.keywright"));
    assert!(!String::from_utf8_lossy(&ours).contains(VALUE));
    // A crash between the notes and the file: the old file is still known as what it is.
    let first = std::fs::read_to_string(&notes).unwrap();
    let present = store.look(&at("age", place)).await.unwrap();
    put(store.as_ref(), place, 2, "second", present).await.unwrap();
    let second = std::fs::read_to_string(&notes).unwrap();
    assert_eq!(second.lines().count(), 1);
    std::fs::write(&file, &ours).unwrap();
    assert_eq!(store.look(&at("age", place)).await.unwrap(), Presence::Foreign);
    std::fs::write(&notes, format!("{second}{first}")).unwrap();
    let present = store.look(&at("age", place)).await.unwrap();
    assert!(matches!(&present, Presence::Ours { marker: Some(marker), .. } if *marker == origin(1).marker));
    put(store.as_ref(), place, 2, "second", present).await.unwrap();
    // What somebody put in its place stays.
    std::fs::write(&file, "theirs").unwrap();
    store.remove(&origin(2), &at("age", place)).await.unwrap();
    assert_eq!(std::fs::read(&file).unwrap(), b"theirs");
    // Links lead elsewhere.
    symlink(dir.path().join("identity"), root.join("link.age")).unwrap();
    symlink(dir.path(), root.join("up")).unwrap();
    for place in ["link.age", "up/TOKEN.age"] {
        let refused = put(store.as_ref(), place, 3, VALUE, Presence::Absent).await;
        assert!(matches!(refused, Err(StoreError::Unsafe { .. })), "{place}: {refused:?}");
    }
    let name = KeyName::parse("IT_TOKEN").unwrap();
    for place in ["../x.age", "/x.age", "x", ".age", "a/.git/x.age", "-x.age"] {
        let refused = store.accept(at("age", place), &name, None).await;
        assert!(matches!(refused, Err(StoreError::Place { .. })), "{place}: {refused:?}");
    }
    // A stranger's identity reads nothing of it.
    let stranger = age().await.unwrap();
    for (settings, credential, says) in [
        (settings, Some(stranger.1.as_str()), "do not contain"),
        (settings, Some("AGE-SECRET-KEY-1X"), "not an identity"),
        ([("root", "here"), settings[1]], None, "absolute"),
        ([settings[0], ("recipients", "ssh-rsa AAAA")], Some(identity.as_str()), "X25519"),
    ] {
        let error = open("age", None, &settings, credential).err().unwrap().to_string();
        assert!(error.contains(says) && !error.contains("SECRET"), "{error}");
    }
}
