//! The store `pass` before `pass` and `gpg` themselves, with a key and a store of their own.

use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use keywright_core::store::{Presence, Store, StoreError, VerifyMode};
use tempfile::TempDir;
use tokio::process::Command;

use crate::support::contract::{Limits, StoreCase, VALUE, keeps_the_contract_of_a_local_store, origin};
use crate::support::opened::{at, open, put, run};
use crate::support::peers::programs;

fn path(dir: &Path) -> &str {
    dir.to_str().unwrap()
}

/// A password store with a key of its own. The agent ends with it.
struct Vault {
    dir: TempDir,
}

impl Vault {
    async fn new(algorithm: &str) -> Option<Self> {
        if !programs(&["pass", "gpg", "gpgconf"]) {
            return None;
        }
        let vault = Self { dir: tempfile::tempdir().unwrap() };
        std::fs::create_dir(vault.gnupg()).unwrap();
        std::fs::set_permissions(vault.gnupg(), std::fs::Permissions::from_mode(0o700)).unwrap();
        let mut gpg = vault.command("gpg");
        gpg.args(["--batch", "--passphrase", "", "--quick-gen-key", "it@example.com"]);
        run(gpg.args([algorithm, "default"]), "").await.unwrap();
        run(vault.command("pass").args(["init", "it@example.com"]), "").await.unwrap();
        Some(vault)
    }

    fn gnupg(&self) -> PathBuf {
        self.dir.path().join("g")
    }

    fn store_dir(&self) -> PathBuf {
        self.dir.path().join("s")
    }

    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        command.env("GNUPGHOME", self.gnupg()).env("PASSWORD_STORE_DIR", self.store_dir());
        command.env("HOME", self.dir.path());
        command
    }

    fn open(&self) -> Box<dyn Store> {
        let settings = [("directory", path(&self.store_dir())), ("gnupg", path(&self.gnupg()))]
            .map(|(name, value)| (name, value.to_owned()));
        let settings: Vec<_> = settings.iter().map(|(name, value)| (*name, value.as_str())).collect();
        open("pass", None, &settings, None).unwrap()
    }

    async fn under_git(&self) {
        for arguments in [
            ["init", "--quiet", "."],
            ["config", "user.name", "it"],
            ["config", "user.email", "it@example.com"],
        ] {
            run(self.command("pass").arg("git").args(arguments), "").await.unwrap();
        }
    }

    async fn show(&self, place: &str) -> Option<String> {
        run(self.command("pass").args(["show", place]), "").await
    }

    async fn insert(&self, place: &str, text: &str) {
        run(self.command("pass").args(["insert", "-m", "-f", place]), text).await.unwrap();
    }
}

impl Drop for Vault {
    fn drop(&mut self) {
        let mut end = std::process::Command::new("gpgconf");
        let _ = end.args(["--kill", "all"]).env("GNUPGHOME", self.gnupg()).status();
    }
}

#[tokio::test]
async fn pass_keeps_the_contract() {
    let Some(vault) = Vault::new("default").await.map(Arc::new) else { return };
    vault.under_git().await;
    let (reads, writes) = (Arc::clone(&vault), Arc::clone(&vault));
    let case = StoreCase {
        network: None,
        store: vault.open(),
        place: "web/dev/TOKEN_{}".to_owned(),
        read: Box::new(move |place| {
            let vault = Arc::clone(&reads);
            // As `pass -c` takes it: the first line.
            Box::pin(async move { Some(vault.show(&place).await?.lines().next().unwrap().to_owned()) })
        }),
        put_foreign: Box::new(move |place, value| {
            let vault = Arc::clone(&writes);
            Box::pin(async move { vault.insert(&place, &value).await })
        }),
        limits: Limits::of("web/dev/", 'a', 192, ""),
        secrets: Vec::new(),
        peer: Box::new(vault),
    };
    keeps_the_contract_of_a_local_store(&case).await;
}

#[tokio::test]
async fn pass_shows_what_somebody_changed_as_theirs() {
    let Some(vault) = Vault::new("default").await else { return };
    let store = vault.open();
    let place = "web/dev/TOKEN";
    assert_eq!(put(store.as_ref(), place, 1, VALUE, Presence::Absent).await, Ok(VerifyMode::ReadBack));
    let text = vault.show(place).await.unwrap();
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!((lines.len(), lines[0]), (2, VALUE));
    assert!(lines[1].starts_with("keywright: plc_"), "{text}");
    let file = vault.store_dir().join(format!("{place}.gpg"));
    assert_eq!(file.metadata().unwrap().permissions().mode() & 0o777, 0o600);
    // A line more is nobody's business; another first line makes it theirs.
    vault.insert(place, &format!("{text}user: me\n")).await;
    assert!(matches!(store.look(&at("pass", place)).await.unwrap(), Presence::Ours { .. }));
    vault.insert(place, &text.replace(VALUE, "mine")).await;
    assert_eq!(store.look(&at("pass", place)).await.unwrap(), Presence::Foreign);
    let refused = put(store.as_ref(), place, 1, VALUE, Presence::Absent).await;
    assert!(matches!(refused, Err(StoreError::Conflict { .. })), "{refused:?}");
    store.remove(&origin(1), &at("pass", place)).await.unwrap();
    assert_eq!(vault.show(place).await.unwrap().lines().next(), Some("mine"));
    put(store.as_ref(), place, 2, VALUE, Presence::Foreign).await.unwrap();
    for value in ["", "two\nlines"] {
        let refused = put(store.as_ref(), "web/other", 3, value, Presence::Absent).await;
        assert!(matches!(refused, Err(StoreError::Value { .. })), "{refused:?}");
    }
}

#[tokio::test]
async fn pass_does_not_follow_a_directory_out_of_the_store() {
    let Some(vault) = Vault::new("default").await else { return };
    let store = vault.open();
    let elsewhere = vault.dir.path().join("elsewhere");
    std::fs::create_dir_all(elsewhere.join("deep")).unwrap();
    std::fs::create_dir(vault.store_dir().join("real")).unwrap();
    for link in ["symd", "real/symd"] {
        symlink(&elsewhere, vault.store_dir().join(link)).unwrap();
    }
    let name = "TOKEN".parse().unwrap();
    for place in ["symd/k", "symd/deep/k", "symd/new/k", "real/symd/k"] {
        let accepted = store.accept(at("pass", place), &name, None).await;
        let looked = store.look(&at("pass", place)).await;
        let written = put(store.as_ref(), place, 1, VALUE, Presence::Absent).await;
        assert!(matches!(&accepted, Err(StoreError::Unsafe { .. })), "{place}: {accepted:?}");
        assert!(matches!(&looked, Err(StoreError::Unsafe { .. })), "{place}: {looked:?}");
        assert!(matches!(&written, Err(StoreError::Unsafe { .. })), "{place}: {written:?}");
    }
    assert_eq!(std::fs::read_dir(&elsewhere).unwrap().count(), 1, "nothing came there");
    assert_eq!(std::fs::read_dir(elsewhere.join("deep")).unwrap().count(), 0);
    put(store.as_ref(), "real/k", 2, VALUE, Presence::Absent).await.unwrap();
}

#[tokio::test]
async fn pass_that_stores_nothing_is_noticed() {
    // A key that signs only: `pass` may end well all the same.
    let Some(vault) = Vault::new("ed25519").await else { return };
    let store = vault.open();
    let error = store.check().await.unwrap_err().to_string();
    assert!(error.contains("no key for `it@example.com`"), "{error}");
    let refused = put(store.as_ref(), "web/dev/TOKEN", 1, VALUE, Presence::Absent).await.unwrap_err();
    assert!(matches!(refused, StoreError::Unavailable { .. }), "{refused}");
    assert!(
        refused.to_string().contains("stored nothing") && !refused.to_string().contains(VALUE),
        "{refused}"
    );
    assert_eq!(store.look(&at("pass", "web/dev/TOKEN")).await.unwrap(), Presence::Absent);
    // The private key is gone: what lies there can't be told.
    let file = vault.store_dir().join("locked.gpg");
    std::fs::write(&file, "not a message").unwrap();
    let error = store.look(&at("pass", "locked")).await.unwrap_err();
    assert!(matches!(&error, StoreError::Unavailable { why, .. } if why.contains("decrypted")), "{error}");
    let link = vault.store_dir().join("link.gpg");
    symlink(&file, link).unwrap();
    let error = store.look(&at("pass", "link")).await.unwrap_err();
    assert!(matches!(error, StoreError::Unsafe { .. }), "{error}");
}
