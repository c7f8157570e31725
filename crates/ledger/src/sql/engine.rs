//! Opening a ledger, and running reads and writes on it.

use std::panic::AssertUnwindSafe;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use jiff::Timestamp;
use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags};
use tokio::sync::{oneshot, watch};

use super::writer::{Done, Writer, statement};
use super::{BUSY_SECONDS, RowKey, Tx};
use crate::error::{LedgerError, Result};
use crate::migrations;
use crate::seal::Keyring;

/// Where the time comes from; tests hand in their own.
pub type Clock = Arc<dyn Fn() -> Timestamp + Send + Sync>;

/// Where a ledger lives.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Location {
    /// One SQLite file.
    File(PathBuf),
}

/// Keywright's own database.
pub struct Ledger {
    // INVARIANT: dropped before the writer. The last connection that closes folds the WAL into the file, and one that
    // only reads can't.
    readers: Mutex<Vec<Connection>>,
    writer: Writer,
    path: PathBuf,
    clock: Clock,
    rows: Arc<RowKey>,
    commits: watch::Receiver<u64>,
    foreign: Option<String>,
}

const MAX_IDLE_READERS: usize = 4;

impl Ledger {
    /// Opens the ledger and brings its schema up to date. The file is created with mode 0600.
    ///
    /// # Errors
    /// When the file can't be opened, is damaged, is held by another process or was written by a newer Keywright.
    pub fn open(location: &Location, clock: Clock) -> Result<Self> {
        let Location::File(path) = location;
        // What is signed with a time in it has to verify after it was stored, so no time is finer than a column.
        let clock: Clock = Arc::new(move || whole_milliseconds(clock()));
        private_file(path)?;
        let connection = connect(path, false)?;
        connection.pragma_update(None, "journal_mode", "WAL")?;
        migrations::migrate(&connection)?;
        let foreign = migrations::foreign(&connection)?;
        let (count, commits) = watch::channel(0u64);
        let tell = Box::new(move || count.send_modify(|n| *n += 1));
        let rows = Arc::new(RowKey::new());
        let writer = Writer::start(connection, Arc::clone(&clock), Arc::clone(&rows), tell)?;
        Ok(Self {
            writer,
            readers: Mutex::new(Vec::new()),
            path: path.clone(),
            clock,
            rows,
            commits,
            foreign,
        })
    }

    /// From here on the rows that are vouched for can be read and written; only counts can before. The first key stays.
    pub fn unlock(&self, keyring: &Keyring) {
        self.rows.get_or_init(|| keyring.row_mac());
    }

    /// Folds the write-ahead log into the file and empties it, so that what was taken out of the rows does not linger there.
    ///
    /// # Errors
    /// [`LedgerError::Locked`] when somebody reads the ledger all the while.
    pub async fn fold(&self) -> Result<()> {
        let fold = |connection: &Connection| -> Result<bool> {
            Ok(connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| row.get::<_, i64>(0))? == 0)
        };
        for _ in 0..20 {
            if self.writer.with_connection(fold)? {
                return Ok(());
            }
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
        Err(LedgerError::Locked { waited_seconds: 1 })
    }

    /// What somebody else put into the schema or took from it, as of the opening: the ledger is not safe to write to.
    #[must_use]
    pub fn foreign(&self) -> Option<&str> {
        self.foreign.as_deref()
    }

    /// Triggers that somebody else wrote into the file run from here on. Tests use them for writes that fail.
    ///
    /// # Errors
    /// When SQLite refuses.
    pub fn run_triggers(&self) -> Result<()> {
        self.writer.with_connection(|connection| {
            connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_TRIGGER, true)?;
            Ok(())
        })
    }

    /// The ledger's time, in whole milliseconds.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        (self.clock)()
    }

    /// Counts commits; whoever follows the audit log wakes up on it.
    #[must_use]
    pub fn commits(&self) -> watch::Receiver<u64> {
        self.commits.clone()
    }

    /// Runs `deed` in a transaction that is durable when this returns. Deeds that run at the same time share a
    /// commit.
    ///
    /// # Errors
    /// What the deed returned (its part is rolled back), or why the commit failed (everything is).
    pub async fn write<T, E, F>(&self, deed: F) -> std::result::Result<T, E>
    where
        T: Send + 'static,
        E: From<LedgerError> + Send + 'static,
        F: FnOnce(&Tx<'_>) -> std::result::Result<T, E> + Send + 'static,
    {
        let (reply, answer) = oneshot::channel();
        self.writer.send(Box::new(move |tx| {
            let result = tx.map_err(|failed| LedgerError::from(failed).into()).and_then(|tx| run(deed, tx));
            Done {
                keep: result.is_ok(),
                reply: Box::new(move |commit| {
                    let result = match (result, commit) {
                        (Ok(value), Ok(())) => Ok(value),
                        (Err(error), _) => Err(error),
                        (Ok(_), Err(failed)) => Err(LedgerError::from(failed).into()),
                    };
                    // The asker may have given up; the deed is done all the same.
                    let _ = reply.send(result);
                }),
            }
        }));
        answer.await.unwrap_or_else(|_| Err(LedgerError::Closed.into()))
    }

    /// Runs a read of a few rows on a snapshot, on the caller's thread: what is a few microseconds of work is not worth
    /// two changes of thread. What may be long belongs into [`Ledger::scan`].
    ///
    /// # Errors
    /// What the reading returned, or that the file can't be read.
    pub async fn read<T, E, F>(&self, reading: F) -> std::result::Result<T, E>
    where
        E: From<LedgerError>,
        F: FnOnce(&Tx<'_>) -> std::result::Result<T, E>,
    {
        if let Some(connection) = self.writer.idle() {
            return on_snapshot(&connection, self.now(), &self.rows, reading);
        }
        let connection = self.reader()?;
        let result = on_snapshot(&connection, self.now(), &self.rows, reading);
        self.keep_for_later(connection);
        result
    }

    /// Runs a read whose length depends on how much there is, on a snapshot, on a thread where that holds up nobody.
    ///
    /// # Errors
    /// What the reading returned, or that the file can't be read.
    pub async fn scan<T, E, F>(&self, reading: F) -> std::result::Result<T, E>
    where
        T: Send + 'static,
        E: From<LedgerError> + Send + 'static,
        F: FnOnce(&Tx<'_>) -> std::result::Result<T, E> + Send + 'static,
    {
        let connection = self.reader()?;
        let (now, rows) = (self.now(), Arc::clone(&self.rows));
        let work = move || {
            let result = on_snapshot(&connection, now, &rows, reading);
            (connection, result)
        };
        let (connection, result) =
            tokio::task::spawn_blocking(work).await.map_err(|_| LedgerError::Closed)?;
        self.keep_for_later(connection);
        result
    }

    fn keep_for_later(&self, connection: Connection) {
        if connection.is_autocommit()
            && let Ok(mut idle) = self.readers.lock()
            && idle.len() < MAX_IDLE_READERS
        {
            idle.push(connection);
        }
    }

    fn reader(&self) -> Result<Connection> {
        let idle = self.readers.lock().ok().and_then(|mut idle| idle.pop());
        idle.map_or_else(|| connect(&self.path, true), Ok)
    }
}

fn on_snapshot<T, E: From<LedgerError>>(
    connection: &Connection,
    now: Timestamp,
    rows: &RowKey,
    reading: impl FnOnce(&Tx<'_>) -> std::result::Result<T, E>,
) -> std::result::Result<T, E> {
    /// A reading that panics leaves no transaction behind.
    struct Ended<'a>(&'a Connection);
    impl Drop for Ended<'_> {
        fn drop(&mut self) {
            if !self.0.is_autocommit() {
                // Nothing was written.
                let _ = statement(self.0, "ROLLBACK");
            }
        }
    }
    statement(connection, "BEGIN")?;
    let _ended = Ended(connection);
    let result = reading(&Tx::new(connection, now, rows));
    statement(connection, "COMMIT")?;
    result
}

/// Runs a read on one snapshot of a ledger that may be in use, without changing the file: no migration, no lock that
/// a broker would wait for.
pub(crate) fn read_only<T>(path: &Path, reading: impl FnOnce(&Tx<'_>) -> Result<T>) -> Result<T> {
    let connection = connect(path, true)?;
    connection.execute_batch("BEGIN")?;
    migrations::check(&connection)?;
    reading(&Tx::new(&connection, Timestamp::UNIX_EPOCH, &RowKey::new()))
}

/// Runs a deed. One that panics is rolled back like one that fails: the writer's thread serves the others too.
fn run<T, E: From<LedgerError>>(
    deed: impl FnOnce(&Tx<'_>) -> std::result::Result<T, E>,
    tx: &Tx<'_>,
) -> std::result::Result<T, E> {
    std::panic::catch_unwind(AssertUnwindSafe(|| deed(tx)))
        .unwrap_or_else(|_| Err(LedgerError::Statement("the deed ended in a panic".to_owned()).into()))
}

fn connect(path: &Path, read_only: bool) -> Result<Connection> {
    let mode = if read_only { OpenFlags::SQLITE_OPEN_READ_ONLY } else { OpenFlags::SQLITE_OPEN_READ_WRITE };
    let connection = Connection::open_with_flags(path, mode | OpenFlags::SQLITE_OPEN_NO_MUTEX)?;
    connection.busy_timeout(std::time::Duration::from_secs(BUSY_SECONDS))?;
    connection.pragma_update(None, "synchronous", "FULL")?;
    connection.pragma_update(None, "foreign_keys", true)?;
    // Deleted rows are overwritten, so that an erased sealed value does not linger in free pages.
    connection.pragma_update(None, "secure_delete", true)?;
    connection.pragma_update(None, "trusted_schema", false)?;
    // The schema has none; what somebody writes into the file does not run in the broker.
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_TRIGGER, false)?;
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_VIEW, false)?;
    // A statement is prepared once and not again for other values.
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true)?;
    connection.set_prepared_statement_cache_capacity(128);
    Ok(connection)
}

fn whole_milliseconds(at: Timestamp) -> Timestamp {
    Timestamp::from_millisecond(at.as_millisecond()).unwrap_or(at)
}

fn private_file(path: &Path) -> Result<()> {
    use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
    let io = |e: std::io::Error| LedgerError::Io(format!("{}: {e}", path.display()));
    let file = std::fs::OpenOptions::new().create(true).append(true).mode(0o600).open(path).map_err(io)?;
    file.set_permissions(std::fs::Permissions::from_mode(0o600)).map_err(io)
}
