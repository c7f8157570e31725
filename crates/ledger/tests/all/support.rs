//! A home for a test.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use jiff::Timestamp;
use keywright_core::audit::{Decided, Deed, Effect, Principal, Record, Stage, Subject, Who, Why};
use keywright_ledger::audit_files::{AuditFiles, Report, verifier_key, verify};
use keywright_ledger::seal::{Keyring, MasterKey};
use keywright_ledger::{Ledger, LedgerError, Location, Result};
use rusqlite::Connection;
use tempfile::TempDir;

use crate::database::Database;

pub const INSTANCE: [u8; 16] = [0xa7; 16];

/// A directory with a ledger in it, or beside it a ledger on a server where the tests are to run on one, a clock that stands
/// still, and the keys.
pub struct Home {
    pub dir: TempDir,
    pub ring: Keyring,
    pub server: Option<Database>,
    now: Arc<AtomicI64>,
}

/// A ledger as it was.
pub enum Kept {
    File(Vec<u8>),
    Server(Database),
}

impl Home {
    pub fn new() -> Self {
        Self::on(Database::wanted())
    }

    /// One whose ledger lies in a file, or in a database.
    pub fn on(server: Option<Database>) -> Self {
        let ring = MasterKey::generate().unwrap().keyring(INSTANCE);
        let now = Arc::new(AtomicI64::new(1_790_000_000_000));
        let zeroblob = "CREATE FUNCTION public.zeroblob(int) RETURNS bytea LANGUAGE sql \
                        AS $$ SELECT decode(repeat('00', $1), 'hex') $$";
        if let Some(server) = &server {
            server.run(zeroblob);
        }
        Self { dir: tempfile::tempdir().unwrap(), ring, server, now }
    }

    pub fn database(&self) -> PathBuf {
        self.dir.path().join("ledger.db")
    }

    pub fn location(&self) -> Location {
        match &self.server {
            None => Location::File(self.database()),
            Some(server) => Location::Server(Box::new(server.url().parse().unwrap())),
        }
    }

    pub fn audit(&self) -> PathBuf {
        self.dir.path().join("audit")
    }

    /// The path of a published file.
    pub fn file(&self, name: &str) -> PathBuf {
        self.audit().join(name)
    }

    pub fn open(&self) -> Ledger {
        self.try_open().unwrap()
    }

    pub fn try_open(&self) -> Result<Ledger> {
        let now = Arc::clone(&self.now);
        let clock = Arc::new(move || Timestamp::from_millisecond(now.load(Ordering::SeqCst)).unwrap());
        let ledger = Ledger::open(&self.location(), clock)?;
        ledger.unlock(&self.ring);
        Ok(ledger)
    }

    pub fn files(&self) -> AuditFiles {
        AuditFiles::open(&self.audit(), &self.ring).unwrap()
    }

    /// Time passes by this machine's clock alone.
    pub fn pass_here(&self, seconds: i64) {
        self.now.fetch_add(seconds * 1000, Ordering::SeqCst);
    }

    pub fn pass(&self, seconds: i64) {
        self.pass_here(seconds);
        if let Some(server) = &self.server {
            // Leases go by the server's own clock.
            let later = seconds * 1000;
            server.run(&format!(
                "UPDATE sagas SET lease_until = lease_until - {later} WHERE owner IS NOT NULL"
            ));
        }
    }

    /// A connection of somebody who has the file.
    pub fn raw(&self) -> Connection {
        Connection::open(self.database()).unwrap()
    }

    /// Runs SQL of somebody who may write to the ledger.
    pub fn tamper(&self, sql: &str) {
        let Some(server) = &self.server else { return self.raw().execute_batch(sql).unwrap() };
        let shot = "CAST(replace(CAST(leaf AS TEXT), 'shop', 'shot') AS BLOB)";
        server.run(
            &sql.replace(shot, "convert_to(replace(convert_from(leaf, 'UTF8'), 'shop', 'shot'), 'UTF8')"),
        );
    }

    /// What one column is in the rows of an answer, one a line.
    pub fn values(&self, sql: &str) -> Vec<String> {
        if let Some(server) = &self.server {
            return server.run(sql).lines().map(str::to_owned).collect();
        }
        let raw = self.raw();
        let mut statement = raw.prepare(sql).unwrap();
        let text = |row: &rusqlite::Row<'_>| {
            Ok(match row.get_ref(0)? {
                rusqlite::types::ValueRef::Null => String::new(),
                rusqlite::types::ValueRef::Integer(number) => number.to_string(),
                other => String::from_utf8(other.as_bytes()?.to_vec()).unwrap(),
            })
        };
        statement.query_map([], text).unwrap().map(std::result::Result::unwrap).collect()
    }

    /// Bytes as the engine writes them in a statement.
    pub fn literal(&self, bytes: &[u8]) -> String {
        let digits: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        if self.server.is_some() { format!("'\\x{digits}'::bytea") } else { format!("x'{digits}'") }
    }

    /// The ledger as it is. Nobody has it open.
    pub fn kept(&self) -> Kept {
        match &self.server {
            None => Kept::File(fs::read(self.database()).unwrap()),
            Some(server) => Kept::Server(server.copy()),
        }
    }

    /// Makes the ledger what it was.
    pub fn put_back(&self, kept: &Kept) {
        match (kept, &self.server) {
            (Kept::File(bytes), _) => fs::write(self.database(), bytes).unwrap(),
            (Kept::Server(copy), Some(server)) => server.become_like(copy),
            (Kept::Server(_), None) => panic!("a server's ledger can't be put into a file"),
        }
    }

    pub fn verify(&self) -> Report {
        verify(&self.audit(), self.location(), None, None).unwrap()
    }

    pub fn verify_with(&self, older: &str) -> Report {
        verify(&self.audit(), self.location(), Some(older), None).unwrap()
    }

    pub fn verify_trusted(&self) -> Report {
        let key = verifier_key(&self.ring).unwrap();
        verify(&self.audit(), self.location(), None, Some(&key)).unwrap()
    }

    /// A home whose log was signed at each of the sizes; entries after the last one stay unsigned. The ledger is
    /// closed again. Gives the signed checkpoints.
    pub async fn with_log(signed: &[u64], size: u64) -> (Self, Vec<String>) {
        Self::with_log_on(Self::new(), signed, size).await
    }

    /// The same in a home that is there already.
    pub async fn with_log_on(home: Self, signed: &[u64], size: u64) -> (Self, Vec<String>) {
        let ledger = home.open();
        ledger.write(|tx| tx.set_instance(&INSTANCE)).await.unwrap();
        let files = home.files();
        let mut notes = Vec::new();
        for end in signed {
            grow(&ledger, *end).await;
            assert_eq!(files.publish(&ledger).await.unwrap(), *end);
            notes.push(std::fs::read_to_string(home.file("checkpoint")).unwrap());
        }
        grow(&ledger, size).await;
        (home, notes)
    }
}

/// Appends entries until there are `size`.
pub async fn grow(ledger: &Ledger, size: u64) {
    ledger
        .write(move |tx| {
            for number in tx.audit_size()?..size {
                tx.audit(record(number))?;
            }
            Ok::<_, LedgerError>(())
        })
        .await
        .unwrap();
}

/// What the log says about a decided request.
pub fn record(number: u64) -> Record {
    let at = Timestamp::from_second(1_790_000_000 + i64::try_from(number).unwrap()).unwrap();
    let mut record =
        Record::new(at, Deed::RequestDecide, Stage::Intent, Who::new(Principal::Agent, "builder"));
    record.subject = Subject {
        request: Some(format!("req_{number:032x}")),
        key: Some(format!("key_{:032x}", number % 7)),
        template: Some("cloudflare/dns-edit".to_owned()),
        project: Some("shop".to_owned()),
        environment: Some("dev".to_owned()),
        name: Some("CF_TOKEN".to_owned()),
        ..Subject::default()
    };
    record.why = Why::new("edit the DNS records of the shop", Some("put the shop behind its new name"));
    record.decision = Some(Decided {
        effect: Effect::Allow,
        approvals_needed: 0,
        approvals_given: 0,
        policies: vec!["sandbox-and-standard".to_owned()],
        reasons: vec!["allowed by `sandbox-and-standard`".to_owned()],
    });
    record.plan_digest = Some("5f".repeat(32));
    record
}

/// Changes one byte of a file.
pub fn flip(path: &Path, at: usize) {
    let mut bytes = std::fs::read(path).unwrap();
    bytes[at] ^= 1;
    std::fs::write(path, bytes).unwrap();
}
