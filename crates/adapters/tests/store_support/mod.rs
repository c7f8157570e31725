//! What the tests of the stores share.
#![allow(
    dead_code,
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stderr,
    unreachable_pub,
    reason = "helpers of tests; not every test uses all of them"
)]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use jiff::Timestamp;
use keywright_adapters::store::{StoreConfig, connect};
use keywright_core::id::{KeyId, PlacementId, VersionId};
use keywright_core::marker::Marker;
use keywright_core::name::{KeyName, StoreName};
use keywright_core::place::Place;
use keywright_core::plan::Destination;
use keywright_core::secret::Secret;
use keywright_core::store::{Origin, Presence, Store, StoreError, Write, Written};

/// A project directory and the store that writes to it.
pub struct Project {
    _directory: tempfile::TempDir,
    pub path: PathBuf,
    pub store: Box<dyn Store>,
}

impl Project {
    pub fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().canonicalize().unwrap();
        Self { _directory: directory, path, store: dotenv(&[]).unwrap() }
    }

    /// A project that is a git repository with this `.gitignore`.
    pub fn with_git(ignore: &str) -> Self {
        let project = Self::new();
        project.git(&["init", "-q"]);
        fs::write(project.path.join(".gitignore"), ignore).unwrap();
        project
    }

    pub fn git(&self, arguments: &[&str]) -> std::process::Output {
        Command::new("git")
            .current_dir(&self.path)
            .args(["-c", "user.name=t", "-c", "user.email=t@example.com"])
            .args(arguments)
            .output()
            .unwrap()
    }

    pub fn file(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    pub fn text(&self, name: &str) -> String {
        fs::read_to_string(self.file(name)).unwrap()
    }

    pub fn cwd(&self) -> &str {
        self.path.to_str().unwrap()
    }

    /// Accepts a place as an agent in this directory would ask for it.
    pub async fn accept(&self, place: &str) -> Result<Destination, StoreError> {
        self.store.accept(asked(place), &KeyName::parse("TOKEN").unwrap(), Some(self.cwd())).await
    }

    /// The destination of a place, without asking whether it is a good one.
    pub fn destination(&self, place: &str) -> Destination {
        Destination { base: Some(self.cwd().to_owned()), ..asked(place) }
    }

    pub async fn put(
        &self,
        place: &str,
        seed: u8,
        value: &str,
        expected: Presence,
    ) -> Result<Written, StoreError> {
        put(self.store.as_ref(), &self.destination(place), seed, value, expected).await
    }
}

pub fn dotenv(
    extra: &[(&str, &str)],
) -> Result<Box<dyn Store>, keywright_adapters::store::StoreConnectError> {
    let extra: BTreeMap<_, _> = extra.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
    connect("dotenv", StoreConfig { name: StoreName::parse("dotenv").unwrap(), address: None, extra }, None)
}

pub fn asked(place: &str) -> Destination {
    let place = Place { store: StoreName::parse("dotenv").unwrap(), place: place.to_owned() };
    Destination { place, base: None }
}

pub async fn put(
    store: &dyn Store,
    destination: &Destination,
    seed: u8,
    value: &str,
    expected: Presence,
) -> Result<Written, StoreError> {
    let (origin, secret) = (origin(seed), Secret::new(value.to_owned()));
    store.write(&Write { destination, expected, origin: &origin, secret: &secret }).await
}

pub fn origin(seed: u8) -> Origin {
    let now = Timestamp::from_second(1_790_000_000).unwrap();
    Origin {
        placement: PlacementId::generate(now, [seed; 10]),
        key: KeyId::generate(now, [1; 10]),
        version: VersionId::generate(now, [seed; 10]),
        marker: Marker::from_ledger(format!("kw-test-aaa-{seed}")),
    }
}

/// What `look` says about a copy of this origin.
pub fn ours(seed: u8) -> Presence {
    let origin = origin(seed);
    Presence::Ours { marker: Some(origin.marker), store_version: Some(origin.placement.to_string()) }
}

pub fn mode(path: &Path) -> u32 {
    use std::os::unix::fs::PermissionsExt;
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

/// The directory with other people's programs, which the test set-up fills; says so and gives `None` where it
/// did not, except in CI, where nothing may be left out.
pub fn peers() -> Option<PathBuf> {
    let peers = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../.peers");
    let python = peers.join("venv/bin/python");
    if python.exists() && peers.join("node_modules/dotenv").exists() {
        return Some(peers.canonicalize().unwrap());
    }
    assert!(std::env::var_os("CI").is_none(), "the readers of .env files are not installed in `.peers`");
    eprintln!("SKIPPED: the readers of .env files are not installed in `.peers`");
    None
}
