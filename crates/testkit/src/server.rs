//! A PostgreSQL server of a test's own, for what would disturb all other tests.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::database::Database;

/// What `scripts/postgres` ends with where there is no PostgreSQL.
const NO_SERVER: i32 = 77;

/// A server, which goes when this is dropped.
pub struct Server {
    dir: PathBuf,
    port: String,
}

impl Server {
    /// One, where PostgreSQL is installed; without it a test says that it is skipped, and fails in CI.
    #[must_use]
    #[expect(clippy::print_stderr, reason = "a skip is visible")]
    pub fn where_there_is_one() -> Option<Self> {
        let dir = tempfile::tempdir().unwrap().keep();
        let server = Self::begin(&dir, &[OsStr::new("start"), dir.as_os_str()]);
        if server.is_none() {
            assert!(std::env::var_os("CI").is_none(), "no PostgreSQL in CI");
            eprintln!("SKIPPED: no PostgreSQL (Debian: postgresql, openssl)");
        }
        server
    }

    /// Another one that follows this one: from here on a commit waits until it is there too.
    #[must_use]
    pub fn standby(&self) -> Self {
        let dir = tempfile::tempdir().unwrap().keep();
        let words = ["standby".as_ref(), dir.as_os_str(), self.dir.as_os_str(), self.port.as_ref()];
        Self::begin(&dir, &words).unwrap()
    }

    /// A database on it, which is looked for at the standby too.
    #[must_use]
    pub fn database(&self, standby: &Self) -> Database {
        let places = [self, standby].map(|server| (server.dir.clone(), server.port.clone()));
        Database::on(places.to_vec())
    }

    /// It ends without a word to anybody.
    pub fn crash(&self) {
        self.run("crash");
    }

    /// It begins again after a crash.
    pub fn again(&self) {
        self.run("again");
    }

    /// A standby takes over; a database is here now.
    #[must_use]
    pub fn promote(&self, database: &Database) -> Database {
        self.run("promote");
        let (server, port, name) = (self.dir.clone(), self.port.clone(), database.name.clone());
        Database { server, port, name, standbys: Vec::new() }
    }

    fn run(&self, what: &str) {
        let output = Command::new(script()).arg(what).arg(&self.dir).output().unwrap();
        assert!(output.status.success(), "{what}: {}", String::from_utf8_lossy(&output.stderr));
    }

    /// What `start` and `standby` print is `export NAME=DIR NAME=PORT`.
    fn begin(dir: &Path, words: &[&OsStr]) -> Option<Self> {
        let output = Command::new(script()).args(words).output().unwrap();
        if output.status.code() == Some(NO_SERVER) {
            return None;
        }
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let said = String::from_utf8(output.stdout).unwrap();
        let port = said.trim().rsplit('=').next().unwrap().to_owned();
        Some(Self { dir: dir.to_owned(), port })
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        Command::new(script()).arg("stop").arg(&self.dir).status().ok();
    }
}

fn script() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../scripts/postgres")
}
