//! A PostgreSQL database for one test, on the server that `scripts/postgres` started.

use std::io::Write as _;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

/// The database. It goes with the server: removing one has the server write all that it has to the disk.
pub struct Database {
    pub(crate) server: PathBuf,
    pub(crate) port: String,
    pub(crate) name: String,
    /// Where else it may be found.
    pub(crate) standbys: Vec<(PathBuf, String)>,
}

impl Database {
    /// One where the tests are to run on PostgreSQL: `KEYWRIGHT_TEST_LEDGER=postgres` says so.
    #[must_use]
    pub fn wanted() -> Option<Self> {
        let wanted = std::env::var("KEYWRIGHT_TEST_LEDGER").is_ok_and(|engine| engine == "postgres");
        wanted.then(|| {
            Self::try_new()
                .expect("KEYWRIGHT_TEST_LEDGER=postgres needs `eval \"$(scripts/postgres start DIR)\"`")
        })
    }

    /// One where there is a server; without one a test says that it is skipped, and fails in CI.
    #[must_use]
    #[expect(clippy::print_stderr, reason = "a skip is visible")]
    pub fn where_there_is_one() -> Option<Self> {
        let database = Self::try_new();
        if database.is_none() {
            assert!(std::env::var_os("CI").is_none(), "no PostgreSQL in CI: `scripts/postgres` starts one");
            eprintln!("SKIPPED: no PostgreSQL; `eval \"$(scripts/postgres start DIR)\"` starts one");
        }
        database
    }

    fn try_new() -> Option<Self> {
        let server = PathBuf::from(std::env::var_os("KEYWRIGHT_TEST_POSTGRES")?);
        let port = std::env::var("KEYWRIGHT_TEST_POSTGRES_PORT").ok()?;
        Some(Self::on(vec![(server, port)]))
    }

    /// One on the first of these servers, which may be found at the others later.
    pub(crate) fn on(mut places: Vec<(PathBuf, String)>) -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let (server, port) = places.remove(0);
        // Processes get numbers again, and what they leave is there until the server goes.
        let since = std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap().as_millis();
        let name = format!("t{}_{}_{since}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let database = Self { server, port, name, standbys: places };
        database.admin(&format!("CREATE DATABASE {} OWNER broker", database.name));
        database
    }

    /// Over the server's socket, as the owner of the database.
    #[must_use]
    pub fn url(&self) -> String {
        let place = |(server, port): &(PathBuf, String)| {
            format!("{}:{port}", server.to_str().unwrap().replace('/', "%2F"))
        };
        let first = place(&(self.server.clone(), self.port.clone()));
        if self.standbys.is_empty() {
            return format!("postgres://broker@{first}/{}", self.name);
        }
        let places: Vec<String> = [first].into_iter().chain(self.standbys.iter().map(place)).collect();
        format!("postgres://broker@{}/{}?target_session_attrs=read-write", places.join(","), self.name)
    }

    /// Over the network, with TLS and a password, believing the authorities in a file of the server's directory.
    #[must_use]
    pub fn tls_url(&self, authorities: &str) -> String {
        let server = self.server.to_str().unwrap();
        format!(
            "postgres://broker@localhost:{}/{}?sslmode=verify-full&sslrootcert={server}/{authorities}&passfile={server}/passfile",
            self.port, self.name
        )
    }

    /// A file of the server's directory.
    #[must_use]
    pub fn file(&self, name: &str) -> PathBuf {
        self.server.join(name)
    }

    /// Runs SQL as somebody who may do anything, and gives what it answers, a row a line.
    pub fn run(&self, sql: &str) -> String {
        self.psql(&self.name, sql)
    }

    /// A copy of the database as it is. Nobody may be connected.
    #[must_use]
    pub fn copy(&self) -> Self {
        let name = format!("{}_copy", self.name);
        let copy = Self { server: self.server.clone(), port: self.port.clone(), name, standbys: Vec::new() };
        copy.become_like(self);
        copy
    }

    /// Makes the database what another one is.
    pub fn become_like(&self, other: &Self) {
        self.admin(&format!("DROP DATABASE IF EXISTS {} WITH (FORCE)", self.name));
        self.end_sessions(other);
        self.admin(&format!("CREATE DATABASE {} TEMPLATE {} OWNER broker", self.name, other.name));
    }

    fn end_sessions(&self, other: &Self) {
        let (sessions, name) = ("FROM pg_stat_activity WHERE datname", &other.name);
        self.admin(&format!("SELECT count(pg_terminate_backend(pid, 5000)) {sessions} = '{name}'"));
    }

    fn admin(&self, sql: &str) -> String {
        self.psql("postgres", sql)
    }

    fn psql(&self, database: &str, sql: &str) -> String {
        let mut psql = Command::new("psql")
            .args(["-qAtX", "-v", "ON_ERROR_STOP=1", "-U", "keywright", "-h"])
            .arg(&self.server)
            .args(["-p", &self.port, "-d", database])
            .env("PGOPTIONS", "-csearch_path=keywright,public -cclient_min_messages=error")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        psql.stdin.take().unwrap().write_all(sql.as_bytes()).unwrap();
        let output = psql.wait_with_output().unwrap();
        assert!(output.status.success(), "{sql}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }
}
