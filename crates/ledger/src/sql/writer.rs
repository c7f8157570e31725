//! The single writer of an SQLite ledger, with group commit: deeds that arrive while a commit is under way share
//! the next one. Each keeps its own savepoint, so one that fails takes nothing of the others with it.

use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::JoinHandle;

use rusqlite::Connection;

use super::{Clock, Tx};
use crate::error::{LedgerError, Result};

/// How many deeds share one commit at most.
const GROUP: usize = 64;

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
    Other(String),
}

/// The writer's thread and the way to it.
pub(crate) struct Writer {
    deeds: Option<Sender<Deed>>,
    thread: Option<JoinHandle<()>>,
}

impl Writer {
    /// Starts the thread. `after_commit` is told after each commit, on this thread; it must be quick.
    pub(crate) fn start(
        connection: Connection,
        clock: Clock,
        after_commit: Box<dyn Fn() + Send>,
    ) -> Result<Self> {
        let (deeds, inbox) = channel::<Deed>();
        let thread = std::thread::Builder::new()
            .name("ledger".to_owned())
            .spawn(move || run(&connection, &inbox, &clock, &after_commit))
            .map_err(|e| LedgerError::Io(e.to_string()))?;
        Ok(Self { deeds: Some(deeds), thread: Some(thread) })
    }

    /// Queues a deed.
    pub(crate) fn send(&self, deed: Deed) -> Result<()> {
        self.deeds.as_ref().and_then(|deeds| deeds.send(deed).ok()).ok_or(LedgerError::Closed)
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        drop(self.deeds.take());
        if let Some(thread) = self.thread.take() {
            // A panic on the writer's thread has already been reported there.
            let _ = thread.join();
        }
    }
}

impl From<CommitFailed> for LedgerError {
    fn from(failed: CommitFailed) -> Self {
        match failed {
            CommitFailed::Locked => Self::Locked { waited_seconds: super::BUSY_SECONDS },
            CommitFailed::DiskFull => Self::DiskFull,
            CommitFailed::Other(why) => Self::Io(why),
        }
    }
}

impl From<LedgerError> for CommitFailed {
    fn from(error: LedgerError) -> Self {
        match error {
            LedgerError::Locked { .. } => Self::Locked,
            LedgerError::DiskFull => Self::DiskFull,
            other => Self::Other(other.to_string()),
        }
    }
}

fn run(connection: &Connection, inbox: &Receiver<Deed>, clock: &Clock, after_commit: &(dyn Fn() + Send)) {
    while let Ok(first) = inbox.recv() {
        let mut group = vec![first];
        while group.len() < GROUP {
            match inbox.try_recv() {
                Ok(deed) => group.push(deed),
                Err(_) => break,
            }
        }
        commit(connection, group, clock);
        after_commit();
    }
}

fn commit(connection: &Connection, group: Vec<Deed>, clock: &Clock) {
    let is_alone = group.len() == 1;
    let mut group = group.into_iter();
    let mut done = Vec::with_capacity(group.len());
    let result = statement(connection, "BEGIN IMMEDIATE").and_then(|()| {
        let tx = Tx::new(connection, clock());
        for deed in group.by_ref() {
            if is_alone {
                // Its own part is the whole.
                let ran = deed(Ok(&tx));
                let keep = ran.keep;
                done.push(ran);
                return statement(connection, if keep { "COMMIT" } else { "ROLLBACK" });
            }
            statement(connection, "SAVEPOINT deed")?;
            let ran = deed(Ok(&tx));
            let keep = ran.keep;
            done.push(ran);
            if connection.is_autocommit() {
                // Some errors, a full disk among them, end the whole transaction.
                let why = "a deed in the same commit could not be written, and nothing of it was kept";
                return Err(LedgerError::Io(why.to_owned()));
            }
            if !keep {
                statement(connection, "ROLLBACK TO deed")?;
            }
            statement(connection, "RELEASE deed")?;
        }
        statement(connection, "COMMIT")
    });
    if result.is_err() && !connection.is_autocommit() {
        // After a failed commit SQLite may or may not have rolled back; the next group must start clean.
        let _ = statement(connection, "ROLLBACK");
    }
    let result = result.map_err(CommitFailed::from);
    if let Err(failed) = &result {
        done.extend(group.map(|deed| deed(Err(failed.clone()))));
    }
    for ran in done {
        (ran.reply)(result.clone());
    }
}

/// Runs a statement that is the same each time, prepared once.
pub(super) fn statement(connection: &Connection, sql: &str) -> Result<()> {
    connection.prepare_cached(sql)?.raw_execute()?;
    Ok(())
}
