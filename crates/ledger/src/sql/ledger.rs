//! Opening a ledger, and running reads and writes on it.

use std::panic::AssertUnwindSafe;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use jiff::Timestamp;
use tokio::sync::{Semaphore, SemaphorePermit, oneshot, watch};

use super::engine::Engine;
use super::postgres::{Address, Listening, Postgres};
use super::sqlite::Sqlite;
use super::writer::{Done, Writer, may_wait_here};
use super::{Heard, RowKey, Tx};
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
    /// A PostgreSQL database.
    Server(Box<Address>),
}

/// Keywright's own database.
pub struct Ledger {
    // INVARIANT: dropped before the writer. The last connection that closes folds the WAL into the file, and one that
    // only reads can't.
    readers: Mutex<Vec<Engine>>,
    writer: Writer,
    location: Location,
    clock: Clock,
    rows: Arc<RowKey>,
    commits: watch::Receiver<u64>,
    foreign: Option<String>,
    /// A server has so many connections and no more.
    places: Semaphore,
}

/// Hears that other brokers appended to the audit log. That only wakes: a word may get lost, or come for nothing.
pub struct Others(Option<Listening>);

impl Others {
    /// Waits until they did, or may have. On a file there are none.
    pub async fn wrote(&self) {
        match &self.0 {
            Some(listening) => listening.woken().await,
            None => std::future::pending().await,
        }
    }
}

/// How many connections to a file are kept for later.
const MAX_IDLE_READERS: usize = 4;
/// How many read from a server at the same time. All of these are kept: a session costs a server far more than a read.
const MAX_REMOTE_READERS: usize = 8;

impl Ledger {
    /// Opens the ledger and brings its schema up to date. The file is created with mode 0600.
    ///
    /// # Errors
    /// When the file can't be opened, is damaged, is held by another process or was written by a newer Keywright.
    pub fn open(location: &Location, clock: Clock) -> Result<Self> {
        Self::open_where(location, clock, crate::moving::check)
    }

    /// Opens a copy that may not have arrived yet, for whoever moves the ledger: to look at it, and to have it arrive.
    ///
    /// # Errors
    /// As above.
    pub fn open_copy(location: &Location, clock: Clock) -> Result<Self> {
        Self::open_where(location, clock, |engine| match crate::moving::check(engine) {
            Err(LedgerError::Arriving) => Ok(()),
            other => other,
        })
    }

    fn open_where(
        location: &Location,
        clock: Clock,
        check: impl FnOnce(&Engine) -> Result<()>,
    ) -> Result<Self> {
        // What is signed with a time in it has to verify after it was stored, so no time is finer than a column.
        let clock: Clock = Arc::new(move || whole_milliseconds(clock()));
        let engine = location.writing()?;
        migrations::migrate(&engine)?;
        check(&engine)?;
        let foreign = engine.foreign()?;
        let (count, commits) = watch::channel(0u64);
        let tell = Box::new(move || count.send_modify(|n| *n += 1));
        let rows = Arc::new(RowKey::new());
        let writer = Writer::start(engine, Arc::clone(&clock), Arc::clone(&rows), tell)?;
        Ok(Self {
            writer,
            readers: Mutex::new(Vec::new()),
            location: location.clone(),
            clock,
            rows,
            commits,
            foreign,
            places: Semaphore::new(MAX_REMOTE_READERS),
        })
    }

    /// From here on the rows that are vouched for can be read and written; only counts can before. The first key stays.
    pub fn unlock(&self, keyring: &Keyring) {
        self.rows.get_or_init(|| keyring.row_mac());
    }

    /// Makes this the one ledger that writes to its database, until it is dropped or loses its connection. The home's lock
    /// does that for a file; a server's database may be that of other machines too.
    ///
    /// # Errors
    /// [`LedgerError::Locked`] when others write to the database all the while.
    pub async fn claim(&self) -> Result<()> {
        self.writer.with_engine(|engine| may_block(engine.is_remote(), || engine.claim()))
    }

    /// From here on `heed` is told of what other brokers append to the audit log, from entry `from` on and in order: before
    /// anything is written that comes after it, and with [`Ledger::catch_up`].
    pub fn heed(&self, from: u64, heed: impl Fn(Heard<'_>) + Send + 'static) {
        self.writer.heed(from, Box::new(heed));
    }

    /// Takes in what other brokers wrote until now.
    ///
    /// # Errors
    /// When the ledger can't be read, or it is not this broker's turn for too long.
    pub async fn catch_up(&self) -> Result<()> {
        let Some(known) = self.writer.known().filter(|_| self.is_remote()) else { return Ok(()) };
        if self.read(|tx| tx.audit_size()).await? == known {
            return Ok(());
        }
        self.write(|_| Ok(())).await
    }

    /// Listens to other brokers from here on, until what is returned is dropped.
    #[must_use]
    pub fn listen(&self) -> Others {
        let listening = self.writer.with_engine(|engine| may_block(engine.is_remote(), || engine.listen()));
        Others(listening.unwrap_or_else(|error| {
            tracing::warn!(%error, "other brokers are not heard; their work is found a moment later");
            None
        }))
    }

    /// Whether other brokers may write to the same database.
    #[must_use]
    pub fn is_shared(&self) -> bool {
        self.is_remote()
    }

    /// By how many milliseconds this machine's clock was ahead of the database's at the last write.
    #[must_use]
    pub fn clock_ahead(&self) -> i64 {
        self.writer.ahead()
    }

    /// Takes the machine's time from somewhere else. Tests use it for clocks that are wrong.
    pub fn set_machine_clock(&self, clock: Clock) {
        self.writer.set_machine(clock);
    }

    /// Folds the write-ahead log into the file and empties it, so that what was taken out of the rows does not linger there.
    ///
    /// # Errors
    /// [`LedgerError::Locked`] when somebody reads the ledger all the while.
    pub async fn fold(&self) -> Result<()> {
        for _ in 0..20 {
            if self.writer.with_engine(Engine::fold)? {
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
        self.writer.with_engine(Engine::run_triggers)
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
        if let Some(engine) = self.writer.idle() {
            return on_snapshot(&engine, self.now(), &self.rows, reading);
        }
        let _place = self.place().await?;
        may_block(self.is_remote(), || {
            let engine = self.reader()?;
            let result = on_snapshot(&engine, self.now(), &self.rows, reading);
            self.keep_for_later(engine);
            result
        })
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
        let _place = self.place().await?;
        let (idle, location) = (self.idle_reader(), self.location.clone());
        let (now, rows) = (self.now(), Arc::clone(&self.rows));
        let work = move || {
            let engine = idle.map_or_else(|| location.reading(), Ok)?;
            let result = on_snapshot(&engine, now, &rows, reading);
            Ok::<_, E>((engine, result))
        };
        let (engine, result) = tokio::task::spawn_blocking(work).await.map_err(|_| LedgerError::Closed)??;
        self.keep_for_later(engine);
        result
    }

    fn keep_for_later(&self, engine: Engine) {
        if !engine.in_transaction()
            && engine.is_usable()
            && let Ok(mut idle) = self.readers.lock()
            && idle.len() < if self.is_remote() { MAX_REMOTE_READERS } else { MAX_IDLE_READERS }
        {
            idle.push(engine);
        }
    }

    fn reader(&self) -> Result<Engine> {
        self.idle_reader().map_or_else(|| self.location.reading(), Ok)
    }

    fn idle_reader(&self) -> Option<Engine> {
        self.readers.lock().ok().and_then(|mut idle| idle.pop())
    }

    fn is_remote(&self) -> bool {
        matches!(self.location, Location::Server(_))
    }

    /// A place among those that read from a server; a file has enough for all.
    async fn place(&self) -> Result<Option<SemaphorePermit<'_>>> {
        if !self.is_remote() {
            return Ok(None);
        }
        self.places.acquire().await.map(Some).map_err(|_| LedgerError::Closed)
    }
}

/// Runs what may wait for another machine so that this thread's other tasks need not, where there are other threads.
fn may_block<T>(is_remote: bool, run: impl FnOnce() -> T) -> T {
    if is_remote && may_wait_here() { tokio::task::block_in_place(run) } else { run() }
}

impl Location {
    pub(crate) fn writing(&self) -> Result<Engine> {
        match self {
            Self::File(path) => Sqlite::writing(path).map(Engine::Sqlite),
            Self::Server(address) => Postgres::writing(address).map(Box::new).map(Engine::Postgres),
        }
    }

    pub(crate) fn reading(&self) -> Result<Engine> {
        match self {
            Self::File(path) => Sqlite::reading(path).map(Engine::Sqlite),
            Self::Server(address) => Ok(Engine::Postgres(Box::new(Postgres::reading(address)))),
        }
    }
}

impl From<&Path> for Location {
    fn from(file: &Path) -> Self {
        Self::File(file.to_owned())
    }
}

impl From<&PathBuf> for Location {
    fn from(file: &PathBuf) -> Self {
        Self::File(file.clone())
    }
}

fn on_snapshot<T, E: From<LedgerError>>(
    engine: &Engine,
    now: Timestamp,
    rows: &RowKey,
    reading: impl FnOnce(&Tx<'_>) -> std::result::Result<T, E>,
) -> std::result::Result<T, E> {
    /// A reading that panics leaves no transaction behind.
    struct Ended<'a>(&'a Engine);
    impl Drop for Ended<'_> {
        fn drop(&mut self) {
            if self.0.in_transaction() {
                // Nothing was written.
                let _ = self.0.rollback();
            }
        }
    }
    engine.begin_read()?;
    let _ended = Ended(engine);
    let result = reading(&Tx::new(engine, now, rows));
    engine.commit()?;
    result
}

/// Runs a read on one snapshot of a ledger that may be in use, without changing it: no migration, no lock that a broker
/// would wait for.
pub(crate) fn read_only<T>(location: &Location, reading: impl FnOnce(&Tx<'_>) -> Result<T>) -> Result<T> {
    let engine = location.reading()?;
    engine.begin_read()?;
    migrations::check(&engine)?;
    reading(&Tx::new(&engine, Timestamp::UNIX_EPOCH, &RowKey::new()))
}

/// Runs a deed. One that panics is rolled back like one that fails: the writer's thread serves the others too.
fn run<T, E: From<LedgerError>>(
    deed: impl FnOnce(&Tx<'_>) -> std::result::Result<T, E>,
    tx: &Tx<'_>,
) -> std::result::Result<T, E> {
    std::panic::catch_unwind(AssertUnwindSafe(|| deed(tx)))
        .unwrap_or_else(|_| Err(LedgerError::Statement("the deed ended in a panic".to_owned()).into()))
}

fn whole_milliseconds(at: Timestamp) -> Timestamp {
    Timestamp::from_millisecond(at.as_millisecond()).unwrap_or(at)
}
