//! The store `keyring` before GNOME Keyring on a bus of its own, and `secret-tool`.

use std::path::PathBuf;
use std::process::Stdio;
use std::sync::Arc;

use keywright_core::store::{Presence, Store, StoreError, VerifyMode};
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::process::{Child, Command};

use crate::support::contract::{Limits, StoreCase, VALUE, keeps_the_contract_of_a_local_store, origin};
use crate::support::opened::{at, open, put, run};
use crate::support::peers::programs;

/// A session bus with a keyring on it that is open.
struct Desktop {
    bus: String,
    _dir: TempDir,
    _bus: Child,
    keyring: Option<Child>,
    home: PathBuf,
}

impl Desktop {
    async fn new() -> Option<Self> {
        if !programs(&["dbus-daemon", "dbus-send", "gnome-keyring-daemon", "secret-tool"]) {
            return None;
        }
        let dir = tempfile::tempdir().unwrap();
        let home = dir.path().to_owned();
        // Without directories of services: it must not start a keyring of its own when it is asked for one.
        let config = dir.path().join("bus.conf");
        let listen = format!("<listen>unix:path={}/bus</listen>", home.display());
        let allow = "<allow send_destination=\"*\"/><allow receive_sender=\"*\"/><allow own=\"*\"/>";
        let text = format!(
            "<busconfig><type>session</type>{listen}<policy context=\"default\">{allow}</policy></busconfig>"
        );
        std::fs::write(&config, text).unwrap();
        let mut daemon = Command::new("dbus-daemon")
            .args(["--nofork", "--print-address=1", "--config-file"])
            .arg(config)
            .env("HOME", &home)
            .env("XDG_RUNTIME_DIR", &home)
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(daemon.stdout.take().unwrap()).lines();
        let bus = lines.next_line().await.unwrap().unwrap();
        Some(Self { bus, _dir: dir, _bus: daemon, keyring: None, home })
    }

    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        command.env("HOME", &self.home).env("XDG_RUNTIME_DIR", &self.home);
        command.env("DBUS_SESSION_BUS_ADDRESS", &self.bus);
        command
    }

    async fn with_keyring(mut self) -> Self {
        let mut daemon = self
            .command("gnome-keyring-daemon")
            .args(["--foreground", "--unlock", "--components=secrets"])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        // An empty password would ask on a screen.
        daemon.stdin.take().unwrap().write_all(b"pw1").await.unwrap();
        self.keyring = Some(daemon);
        let store = self.open(&[]);
        for _ in 0..300 {
            if store.check().await.is_ok() {
                return self;
            }
            tokio::time::sleep(std::time::Duration::from_millis(100)).await;
        }
        panic!("the keyring did not start: {:?}", store.check().await);
    }

    fn open(&self, more: &[(&str, &str)]) -> Box<dyn Store> {
        let settings: Vec<_> = [("bus", self.bus.as_str())].iter().chain(more).copied().collect();
        open("keyring", None, &settings, None).unwrap()
    }
}

fn attributes(place: &str) -> [String; 4] {
    let (service, user) = place.rsplit_once('/').unwrap();
    ["service".to_owned(), service.to_owned(), "username".to_owned(), user.to_owned()]
}

async fn lookup(desktop: &Desktop, place: &str) -> Option<String> {
    run(desktop.command("secret-tool").arg("lookup").args(attributes(place)), "").await
}

async fn store_as_somebody(desktop: &Desktop, place: &str, value: &str) {
    let mut command = desktop.command("secret-tool");
    run(command.args(["store", "--label=theirs"]).args(attributes(place)), value).await.unwrap();
}

#[tokio::test]
async fn the_keyring_keeps_the_contract() {
    let Some(desktop) = Desktop::new().await else { return };
    let desktop = Arc::new(desktop.with_keyring().await);
    let (reads, writes) = (Arc::clone(&desktop), Arc::clone(&desktop));
    let case = StoreCase {
        network: None,
        store: desktop.open(&[]),
        place: "web/dev/TOKEN_{}".to_owned(),
        read: Box::new(move |place| {
            let desktop = Arc::clone(&reads);
            Box::pin(async move { lookup(&desktop, &place).await })
        }),
        put_foreign: Box::new(move |place, value| {
            let desktop = Arc::clone(&writes);
            Box::pin(async move { store_as_somebody(&desktop, &place, &value).await })
        }),
        limits: Limits::of("web/dev/", 'a', 392, ""),
        secrets: Vec::new(),
        peer: Box::new(desktop),
    };
    keeps_the_contract_of_a_local_store(&case).await;
}

#[tokio::test]
async fn a_keyring_that_is_locked_or_absent_says_so() {
    let Some(desktop) = Desktop::new().await else { return };
    let nowhere = open("keyring", None, &[("bus", "unix:path=/nonexistent/bus")], None).unwrap();
    let error = nowhere.check().await.unwrap_err().to_string();
    assert!(error.contains("bus can't be reached"), "{error}");
    let error = desktop.open(&[]).check().await.unwrap_err().to_string();
    assert!(error.contains("no keyring answers"), "{error}");
    let desktop = desktop.with_keyring().await;
    let error = desktop.open(&[("collection", "no-such")]).check().await.unwrap_err().to_string();
    assert!(error.contains("no collection `no-such`"), "{error}");
    let store = desktop.open(&[]);
    let place = "web/TOKEN";
    assert_eq!(put(store.as_ref(), place, 1, VALUE, Presence::Absent).await, Ok(VerifyMode::ReadBack));
    // Somebody else's item of the same name makes the place theirs, and taking it over leaves one.
    store_as_somebody(&desktop, place, "theirs").await;
    assert_eq!(store.look(&at("keyring", place)).await.unwrap(), Presence::Foreign);
    put(store.as_ref(), place, 2, "second", Presence::Foreign).await.unwrap();
    assert_eq!(lookup(&desktop, place).await.as_deref(), Some("second"));
    let mut lock = desktop.command("dbus-send");
    lock.args(["--session", "--print-reply", "--dest=org.freedesktop.secrets", "/org/freedesktop/secrets"]);
    lock.arg("org.freedesktop.Secret.Service.Lock");
    lock.arg("array:objpath:/org/freedesktop/secrets/collection/login");
    run(&mut lock, "").await.unwrap();
    for error in [
        store.check().await.unwrap_err(),
        store.look(&at("keyring", place)).await.unwrap_err(),
        put(store.as_ref(), place, 3, VALUE, Presence::Absent).await.unwrap_err(),
        store.remove(&origin(2), &at("keyring", place)).await.unwrap_err(),
    ] {
        assert!(
            matches!(&error, StoreError::Unavailable { why, .. } if why.contains("is locked")),
            "{error}"
        );
    }
}
