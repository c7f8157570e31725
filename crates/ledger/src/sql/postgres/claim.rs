//! Who writes, and whether a commit took effect.

use std::cell::{Cell, RefCell};
use std::time::{Duration, Instant};

use super::session::Session;
use crate::error::{LedgerError, Result};
use crate::seal::random;
use crate::sql::{BUSY_SECONDS, Value};

/// Advisory locks are numbers that belong to one database. These are `keywrigh` and the one after it, as ASCII.
const WRITER_LOCK: i64 = 0x6b65_7977_7269_6768;
pub(super) const MIGRATION_LOCK: i64 = WRITER_LOCK + 1;
/// The name of the fence in `meta`.
pub(crate) const FENCE: &str = "writer";

/// One process's claim to write: 16 random bytes that name it, and how many of its transactions were committed. Both
/// together are the fence, a row that each transaction moves on by one.
pub(super) struct Claim {
    name: [u8; 16],
    count: Cell<u64>,
    /// Whether the fence was ever ours.
    is_made: Cell<bool>,
    /// Whether somebody else's fence was found where ours had been: from there on nothing is written any more.
    is_taken: Cell<bool>,
    /// The session that holds the lock.
    holder: RefCell<Option<(i64, String)>>,
    /// What the fence is when the commit that nobody knew of took effect.
    doubt: Cell<Option<u64>>,
}

impl Claim {
    pub(super) fn new() -> Result<Self> {
        Ok(Self {
            name: *random::<16>()?,
            count: Cell::new(0),
            is_made: Cell::new(false),
            is_taken: Cell::new(false),
            holder: RefCell::default(),
            doubt: Cell::new(None),
        })
    }

    /// Holds the lock in this session and looks at the fence. Once the lock is ours, no earlier session of ours is at work any
    /// more, so what the fence says is final.
    pub(super) fn hold(&self, session: &Session) -> Result<()> {
        if self.is_taken.get() {
            return Err(LedgerError::Taken);
        }
        if self.holder.borrow().as_ref() == Some(&session.backend) {
            return Ok(());
        }
        self.lock(session)?;
        let sql = "SELECT value FROM meta WHERE name = $1";
        let found = session.query(sql, &[FENCE.into()])?;
        let found = found.first().map(|row| row.bytes(0)).transpose()?;
        if self.is_made.get() {
            let count = found.and_then(|fence| self.count_in(fence)).ok_or_else(|| {
                self.is_taken.set(true);
                LedgerError::Taken
            })?;
            self.count.set(count);
        } else {
            let sql =
                "INSERT INTO meta (name, value) VALUES ($1, $2) ON CONFLICT (name) DO UPDATE SET value = $2";
            session.execute(sql, &[FENCE.into(), self.fence(0)])?;
            self.count.set(0);
            self.is_made.set(true);
        }
        *self.holder.borrow_mut() = Some(session.backend.clone());
        Ok(())
    }

    fn lock(&self, session: &Session) -> Result<()> {
        let begun = Instant::now();
        loop {
            let sql = "SELECT 1 WHERE pg_try_advisory_lock($1)";
            if !session.query(sql, &[WRITER_LOCK.into()])?.is_empty() {
                return Ok(());
            }
            // A session of ours that the server has not given up yet: whatever it still does, it must not end later.
            if let Some((process, since)) = &*self.holder.borrow() {
                let sql = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity \
                           WHERE pid = $1::bigint AND backend_start::text = $2";
                session.query(sql, &[(*process).into(), since.as_str().into()])?;
            }
            if begun.elapsed() >= Duration::from_secs(BUSY_SECONDS) {
                return Err(LedgerError::Locked { waited_seconds: BUSY_SECONDS });
            }
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// Begins a transaction, and moves the fence on in it.
    pub(super) fn begin(&self, session: &Session) -> Result<()> {
        let sql = "UPDATE meta SET value = $3 WHERE name = $1 AND value = $2";
        let (old, new) = (self.fence(self.count.get()), self.fence(self.count.get() + 1));
        if session.begin_with("BEGIN ISOLATION LEVEL READ COMMITTED", sql, &[FENCE.into(), old, new])? == 1 {
            return Ok(());
        }
        session.rollback()?;
        self.is_taken.set(true);
        Err(LedgerError::Taken)
    }

    pub(super) fn committed(&self) {
        self.count.set(self.count.get() + 1);
    }

    /// The connection was lost while a transaction was committed.
    pub(super) fn in_doubt(&self) {
        self.doubt.set(Some(self.count.get() + 1));
    }

    /// Whether the commit that was in doubt took effect. The claim is held again.
    pub(super) fn took_effect(&self) -> bool {
        self.doubt.take().is_some_and(|fence| self.count.get() == fence)
    }

    fn fence(&self, count: u64) -> Value {
        let mut fence = self.name.to_vec();
        fence.extend(count.to_be_bytes());
        Value::Bytes(fence)
    }

    fn count_in(&self, fence: &[u8]) -> Option<u64> {
        let count = fence.strip_prefix(&self.name)?;
        count.try_into().ok().map(u64::from_be_bytes)
    }
}
