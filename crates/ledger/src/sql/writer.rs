//! The single writer of a ledger, with group commit: deeds that arrive while a commit is under way share
//! the next one. Each keeps its own savepoint, so one that fails takes nothing of the others with it.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::runtime::RuntimeFlavor;

use super::tail::Heed;
use super::{Begun, Clock, Engine, Log, RowKey, Tail, Tx};
use crate::error::{LedgerError, Result};

/// How many deeds share one commit at most.
const GROUP: usize = 64;
/// How long a group waits at most for deeds that are likely to come: less than a commit takes on most disks.
const GATHER: Duration = Duration::from_micros(100);

/// What a deed does: runs inside the transaction, or is told why there is none. What it returns is called after
/// the commit with the commit's result.
pub(crate) type Deed = Box<dyn FnOnce(std::result::Result<&Tx<'_>, CommitFailed>) -> Done + Send>;

/// A deed that ran. `keep` is false when its part has to be rolled back.
pub(crate) struct Done {
    pub(crate) keep: bool,
    pub(crate) reply: Box<dyn FnOnce(std::result::Result<(), CommitFailed>) + Send>,
}

/// The commit itself failed; every deed of the group gets to know why.
#[derive(Clone)]
pub(crate) enum CommitFailed {
    Locked,
    DiskFull,
    Unreachable(String),
    Unknown,
    Undone,
    Taken,
    TooNew(i64, i64),
    Moved(String),
    Other(String),
}

/// The writing connection, the thread that commits for those who come while it is busy, and the way to both.
pub(crate) struct Writer {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

struct Shared {
    engine: Mutex<Engine>,
    inbox: Mutex<Inbox>,
    came: Condvar,
    clock: Clock,
    rows: Arc<RowKey>,
    // Locked only by whoever holds the connection.
    log: Mutex<Log>,
    /// How many entries of the log are known, and one more; zero where nobody knows.
    known: AtomicU64,
    /// By how many milliseconds this machine's clock was ahead of the database's.
    ahead: AtomicI64,
    machine: Mutex<Clock>,
    /// Told after each commit, before those whose deeds it holds; must be quick.
    after_commit: Box<dyn Fn() + Send + Sync>,
}

#[derive(Default)]
struct Inbox {
    deeds: VecDeque<Deed>,
    /// How many shared the last commit: as many will come again, and soon.
    last_group: usize,
    /// How many deeds the thread sleeps for; zero while it is at work. Whoever comes before they are all there
    /// leaves it asleep: waking it for each would cost more than the deeds.
    awaited: usize,
    is_closed: bool,
}

impl Writer {
    /// Starts the thread.
    pub(crate) fn start(
        engine: Engine,
        clock: Clock,
        rows: Arc<RowKey>,
        after_commit: Box<dyn Fn() + Send + Sync>,
    ) -> Result<Self> {
        let (engine, log) = (Mutex::new(engine), Mutex::default());
        let (inbox, came) = (Mutex::default(), Condvar::new());
        let machine: Mutex<Clock> = Mutex::new(Arc::new(jiff::Timestamp::now));
        let (known, ahead) = (AtomicU64::new(0), AtomicI64::new(0));
        let shared =
            Arc::new(Shared { engine, inbox, came, clock, rows, log, known, ahead, machine, after_commit });
        let of_thread = Arc::clone(&shared);
        let thread = std::thread::Builder::new()
            .name("ledger".to_owned())
            .spawn(move || of_thread.run())
            .map_err(|e| LedgerError::Io(e.to_string()))?;
        Ok(Self { shared, thread: Some(thread) })
    }

    /// Does something with the connection between two commits.
    pub(super) fn with_engine<T>(&self, with: impl FnOnce(&Engine) -> T) -> T {
        with(&lock(&self.shared.engine))
    }

    /// From here on `heed` is told of what others append, from a place in the log on.
    pub(super) fn heed(&self, from: u64, heed: Heed) {
        // Whoever holds the log holds the connection.
        let _engine = lock(&self.shared.engine);
        lock(&self.shared.log).heed(from, heed);
    }

    /// How many entries are known, where the log is followed.
    pub(super) fn known(&self) -> Option<u64> {
        self.shared.known.load(Ordering::Acquire).checked_sub(1)
    }

    /// By how many milliseconds this machine's clock is ahead of the database's.
    pub(super) fn ahead(&self) -> i64 {
        self.shared.ahead.load(Ordering::Relaxed)
    }

    pub(super) fn set_machine(&self, clock: Clock) {
        *lock(&self.shared.machine) = clock;
    }

    /// The connection, when nobody is writing: what it wrote is still in its memory, where other connections read the file.
    pub(super) fn idle(&self) -> Option<MutexGuard<'_, Engine>> {
        self.shared.engine.try_lock().ok().filter(|engine| !engine.is_remote())
    }

    /// Commits a deed: at once on the caller's thread where it may wait for the disk and nobody else is writing,
    /// which saves two changes of thread; otherwise with the next group.
    pub(crate) fn send(&self, deed: Deed) {
        let mut inbox = lock(&self.shared.inbox);
        if inbox.deeds.is_empty()
            && inbox.last_group <= 1
            && may_wait_here()
            && let Ok(engine) = self.shared.engine.try_lock()
        {
            drop(inbox);
            return tokio::task::block_in_place(|| self.shared.commit(&engine, vec![deed]));
        }
        inbox.deeds.push_back(deed);
        let is_complete = inbox.deeds.len() == inbox.awaited;
        drop(inbox);
        if is_complete {
            self.shared.came.notify_one();
        }
    }
}

/// Whether this thread's other tasks can be handed to another thread meanwhile.
pub(super) fn may_wait_here() -> bool {
    let runtime = tokio::runtime::Handle::try_current();
    runtime.is_ok_and(|runtime| runtime.runtime_flavor() == RuntimeFlavor::MultiThread)
}

/// A lock whose holders never leave it half-changed: a deed that panics is caught before it gets here.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Drop for Writer {
    fn drop(&mut self) {
        lock(&self.shared.inbox).is_closed = true;
        self.shared.came.notify_one();
        if let Some(thread) = self.thread.take() {
            // A panic on the writer's thread has already been reported there.
            let _ = thread.join();
        }
    }
}

impl Shared {
    fn run(&self) {
        while self.wait_for_deeds() {
            // Whoever commits on their own thread is waited for first: what comes meanwhile is of this group too.
            let engine = lock(&self.engine);
            let group = self.take_group();
            if !group.is_empty() {
                self.commit(&engine, group);
            }
        }
    }

    /// Waits for deeds. Where many came together last time, their askers are being told just now and most of them
    /// come again: the group waits for them a moment, which costs less than a commit of its own for the first. False when
    /// there will be no more.
    fn wait_for_deeds(&self) -> bool {
        let mut inbox = lock(&self.inbox);
        while inbox.deeds.is_empty() {
            if inbox.is_closed {
                return false;
            }
            inbox.awaited = 1;
            inbox = self.came.wait(inbox).unwrap_or_else(PoisonError::into_inner);
        }
        let expected = inbox.last_group;
        if expected > 1 {
            inbox.awaited = expected;
            let still_few = |inbox: &mut Inbox| inbox.deeds.len() < expected && !inbox.is_closed;
            let waited = self.came.wait_timeout_while(inbox, GATHER, still_few);
            inbox = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        inbox.awaited = 0;
        true
    }

    fn take_group(&self) -> Vec<Deed> {
        let mut inbox = lock(&self.inbox);
        let size = inbox.deeds.len().min(GROUP);
        inbox.last_group = size;
        inbox.deeds.drain(..size).collect()
    }

    fn commit(&self, engine: &Engine, mut group: Vec<Deed>) {
        let log = &mut lock(&self.log);
        let begun = settle(engine, log, &*self.after_commit).and_then(|()| self.begin(engine, log));
        let begun = match begun {
            Ok(begun) => begun,
            Err(error) => return refuse(group, &error.into()),
        };
        if engine.is_remote() {
            // Others may have had their turns first, and more has come meanwhile.
            let inbox = &mut lock(&self.inbox).deeds;
            let more = inbox.len().min(GROUP.saturating_sub(group.len()));
            group.extend(inbox.drain(..more));
        }
        self.run_in(engine, &begun, group, log);
        self.note(log);
    }

    /// Begins a transaction, and takes in what others wrote since the last one.
    fn begin(&self, engine: &Engine, log: &mut Log) -> Result<Begun> {
        let begun = engine.begin_write()?;
        if let Some(at) = begun.at {
            let ahead = (*lock(&self.machine))().as_millisecond() - at.as_millisecond();
            self.ahead.store(ahead, Ordering::Relaxed);
        }
        let caught_up = log.catch_up(engine, &self.rows, &begun);
        if caught_up.is_err() && engine.in_transaction() {
            let _ = engine.rollback();
        }
        self.note(log);
        caught_up.map(|()| begun)
    }

    fn note(&self, log: &Log) {
        self.known.store(log.size().map_or(0, |size| size + 1), Ordering::Release);
    }
}

impl From<CommitFailed> for LedgerError {
    fn from(failed: CommitFailed) -> Self {
        match failed {
            CommitFailed::Locked => Self::Locked { waited_seconds: super::BUSY_SECONDS },
            CommitFailed::DiskFull => Self::DiskFull,
            CommitFailed::Unreachable(why) => Self::Unreachable(why),
            CommitFailed::Unknown => Self::Unknown,
            CommitFailed::Undone => Self::Undone,
            CommitFailed::Taken => Self::Taken,
            CommitFailed::TooNew(found, known) => Self::TooNew { found, known },
            CommitFailed::Moved(note) => Self::Moved { note },
            CommitFailed::Other(why) => Self::Io(why),
        }
    }
}

impl From<LedgerError> for CommitFailed {
    fn from(error: LedgerError) -> Self {
        match error {
            LedgerError::Locked { .. } => Self::Locked,
            LedgerError::DiskFull => Self::DiskFull,
            LedgerError::Unreachable(why) => Self::Unreachable(why),
            LedgerError::Unknown => Self::Unknown,
            LedgerError::Undone => Self::Undone,
            LedgerError::Taken => Self::Taken,
            LedgerError::TooNew { found, known } => Self::TooNew(found, known),
            LedgerError::Moved { note } => Self::Moved(note),
            LedgerError::Io(why) => Self::Other(why),
            other => Self::Other(other.to_string()),
        }
    }
}

impl Shared {
    /// Runs deeds in the transaction that was begun, and commits it.
    fn run_in(&self, engine: &Engine, begun: &Begun, group: Vec<Deed>, log: &mut Log) {
        let tail = Tail::of(log, begun);
        let is_alone = group.len() == 1;
        let mut group = group.into_iter();
        let mut done = Vec::with_capacity(group.len());
        let mut run = || {
            let tx = Tx::of_writer(engine, ((self.clock)(), begun.at), &self.rows, &tail);
            for deed in group.by_ref() {
                if is_alone {
                    // Its own part is the whole.
                    let ran = deed(Ok(&tx));
                    let keep = ran.keep;
                    done.push((ran, Ok(())));
                    if !keep {
                        tail.cut(0);
                    }
                    return if keep { engine.commit_and(tail.len() > 0) } else { engine.rollback() };
                }
                engine.begin_part()?;
                let before = tail.len();
                let ran = deed(Ok(&tx));
                let went_on = ran.keep && engine.has_failed();
                let keep = ran.keep && !went_on;
                done.push((ran, if went_on { Err(CommitFailed::Other(WENT_ON.to_owned())) } else { Ok(()) }));
                if !engine.in_transaction() {
                    // Some errors, a full disk or a lost connection among them, end the whole transaction.
                    return Err(LedgerError::Undone);
                }
                engine.end_part(keep)?;
                if !keep {
                    tail.cut(before);
                }
            }
            engine.commit_and(tail.len() > 0)
        };
        let result = run();
        if result.is_err() && engine.in_transaction() {
            // After a failed commit the engine may or may not have rolled back; the next group must start clean.
            let _ = engine.rollback();
        }
        match &result {
            Ok(()) => {
                // Before anybody is told: what has taken effect outside can't be taken out of the log unseen.
                log.commit(tail);
                // Whoever is told that their deed is done finds it counted.
                (self.after_commit)();
            }
            Err(LedgerError::Unknown) => log.in_doubt = Some(tail),
            Err(_) => {}
        }
        let result = result.map_err(CommitFailed::from);
        if let Err(failed) = &result {
            refuse(group.collect(), failed);
        }
        for (ran, own) in done {
            (ran.reply)(own.and(result.clone()));
        }
    }
}

const WENT_ON: &str = "a statement of the deed failed, and the deed went on";

/// Finds out what became of a commit that nobody knew of, so that what comes next goes on from there.
fn settle(engine: &Engine, log: &mut Log, after_commit: &dyn Fn()) -> Result<()> {
    let Some(tail) = log.in_doubt.take() else { return Ok(()) };
    match engine.took_effect() {
        Ok(true) => {
            log.commit(tail);
            after_commit();
            Ok(())
        }
        Ok(false) => Ok(()),
        Err(error) => {
            log.in_doubt = Some(tail);
            Err(error)
        }
    }
}

/// Tells those whose deeds never ran.
fn refuse(group: Vec<Deed>, failed: &CommitFailed) {
    for deed in group {
        (deed(Err(failed.clone())).reply)(Err(failed.clone()));
    }
}
