//! Whose turn it is to write, and whether a commit took effect.
//!
//! Several processes may write to one database. Each transaction that writes takes a lock for as long as it lasts, so they
//! write one after the other and each sees all that was written before. Whoever holds the lock and is not heard of any more
//! is thrown out by the server ([`THROWN_OUT_AFTER`]).

use std::cell::{Cell, RefCell};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use keywright_core::audit::Hash;

use super::session::Session;
use crate::error::{LedgerError, Result};
use crate::migrations;
use crate::moving;
use crate::seal::random;
use crate::sql::{BUSY_SECONDS, Begun, Row, Value};
use crate::tables::audit::LOG;

/// Advisory locks are numbers that belong to one database. These are `keywrigh` and the one after it, as ASCII.
const WRITER_LOCK: i64 = 0x6b65_7977_7269_6768;
const MIGRATION_LOCK: i64 = WRITER_LOCK + 1;
/// How long a transaction that writes may go without a word, in seconds: others wait for it, and no longer than
/// [`BUSY_SECONDS`].
pub(super) const THROWN_OUT_AFTER: u64 = 3;
/// A fence that nobody moved for so long belongs to a process that is gone.
const FORGOTTEN_AFTER_MS: i64 = 7 * 24 * 3_600 * 1_000;
/// The server's clock, in milliseconds since 1970.
pub(super) const CLOCK: &str = "floor(extract(epoch FROM clock_timestamp()) * 1000)::bigint";

/// One process's part in the writing: a random name, and how many of its transactions were committed. The latter is its
/// fence, a row that each of its transactions moves on by one.
pub(super) struct Claim {
    name: String,
    count: Cell<u64>,
    /// Whether the fence was ever there.
    is_made: Cell<bool>,
    /// Whether the fence was moved by somebody else: from there on nothing is written any more.
    is_taken: Cell<bool>,
    /// The session that the last turns were taken in.
    holder: RefCell<Option<(i64, String)>>,
    /// Whether that session keeps everybody else out.
    is_alone: Cell<bool>,
    /// What the fence is when the commit that nobody knew of took effect.
    doubt: Cell<Option<u64>>,
}

impl Claim {
    pub(super) fn new() -> Result<Self> {
        let name: String = random::<16>()?.iter().map(|byte| format!("{byte:02x}")).collect();
        Ok(Self {
            name,
            count: Cell::new(0),
            is_made: Cell::new(false),
            is_taken: Cell::new(false),
            holder: RefCell::default(),
            is_alone: Cell::new(false),
            doubt: Cell::new(None),
        })
    }

    /// Keeps everybody else from writing, until the session ends.
    pub(super) fn hold_alone(&self, session: &Session) -> Result<()> {
        self.enter(session)?;
        if self.is_alone.get() {
            return Ok(());
        }
        let begun = Instant::now();
        loop {
            let sql = "SELECT 1 WHERE pg_try_advisory_lock($1)";
            if !session.query(sql, &[WRITER_LOCK.into()])?.is_empty() {
                self.is_alone.set(true);
                return Ok(());
            }
            if begun.elapsed() >= Duration::from_secs(BUSY_SECONDS) {
                return Err(LedgerError::Locked { waited_seconds: BUSY_SECONDS });
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Takes part from this session on. Once it had a turn, no earlier session of ours is at work any more, so what the fence
    /// says is final.
    pub(super) fn enter(&self, session: &Session) -> Result<()> {
        if self.is_taken.get() {
            return Err(LedgerError::Taken);
        }
        if self.holder.borrow().as_ref() == Some(&session.backend) {
            return Ok(());
        }
        // A session of ours that the server has not given up yet: whatever it still does, it must not end later.
        if let Some((process, since)) = &*self.holder.borrow() {
            let sql = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity \
                       WHERE pid = $1::bigint AND backend_start::text = $2";
            session.query(sql, &[(*process).into(), since.as_str().into()])?;
        }
        session.begin(&begin())?;
        let entered = self.look(session);
        match entered {
            Ok(()) => session.commit()??,
            Err(error) => {
                if session.in_transaction() {
                    session.rollback()?;
                }
                return Err(error);
            }
        }
        self.is_made.set(true);
        self.is_alone.set(false);
        *self.holder.borrow_mut() = Some(session.backend.clone());
        Ok(())
    }

    fn look(&self, session: &Session) -> Result<()> {
        refuse_strange(session)?;
        if self.is_made.get() {
            let Some(found) = self.fence(session)? else { return self.make_again(session) };
            if !(self.count.get()..=self.count.get() + 1).contains(&found) {
                return Err(self.taken());
            }
            self.count.set(found);
            return Ok(());
        }
        let forgotten = format!("DELETE FROM brokers WHERE seen_at < {CLOCK} - $1");
        session.execute(&forgotten, &[FORGOTTEN_AFTER_MS.into()])?;
        // It may be there from a try whose answer was lost.
        let sql = format!(
            "INSERT INTO brokers (name, fence, seen_at) VALUES ($1, 0, {CLOCK}) ON CONFLICT (name) DO UPDATE SET fence = 0"
        );
        session.execute(&sql, &[self.name.as_str().into()])?;
        Ok(())
    }

    /// The fence is not there any more: whoever came later took this process for gone, because it wrote nothing for long. It says
    /// only what became of a commit; where none is in doubt, nothing is lost with it.
    fn make_again(&self, session: &Session) -> Result<()> {
        if self.doubt.get().is_some() {
            return Err(self.taken());
        }
        let sql = format!("INSERT INTO brokers (name, fence, seen_at) VALUES ($1, $2, {CLOCK})");
        session.execute(&sql, &[self.name.as_str().into(), self.count.get().into()])?;
        Ok(())
    }

    /// Begins a transaction when it is this process's turn, and moves the fence on in it. All in one exchange, with what
    /// a turn goes by.
    pub(super) fn begin(&self, session: &Session) -> Result<Begun> {
        let newest = "FROM audit_entries WHERE log = $4 ORDER BY number DESC LIMIT 1";
        let sql = format!(
            "UPDATE brokers SET fence = $3, seen_at = {CLOCK} WHERE name = $1 AND fence = $2 \
             RETURNING seen_at, (SELECT number + 1 {newest}), (SELECT leaf_hash {newest}), \
             {STANDING}"
        );
        let (old, new) = (self.count.get(), self.count.get() + 1);
        let parameters = [self.name.as_str().into(), old.into(), new.into(), LOG.into()];
        let begun = match session.begin_with(&begin(), &sql, &parameters)?.first() {
            Some(row) => begun(row),
            None => self.begin_anew(session, &sql, &parameters),
        };
        if begun.is_err() && session.is_usable() {
            session.rollback()?;
        }
        begun
    }

    /// The fence was not as it was left. In the same turn: another's hand on it is one thing, none there at all is another.
    fn begin_anew(&self, session: &Session, sql: &str, parameters: &[Value]) -> Result<Begun> {
        refuse_strange(session)?;
        if self.fence(session)?.is_some() {
            return Err(self.taken());
        }
        self.make_again(session)?;
        session.query(sql, parameters)?.first().map_or_else(|| Err(self.taken()), begun)
    }

    fn fence(&self, session: &Session) -> Result<Option<u64>> {
        let rows =
            session.query("SELECT fence FROM brokers WHERE name = $1", &[self.name.as_str().into()])?;
        rows.first().map(|row| row.count(0)).transpose()
    }

    /// Who writes.
    pub(super) fn name(&self) -> &str {
        &self.name
    }

    pub(super) fn committed(&self) {
        self.count.set(self.count.get() + 1);
    }

    /// The connection was lost while a transaction was committed.
    pub(super) fn in_doubt(&self) {
        self.doubt.set(Some(self.count.get() + 1));
    }

    /// Whether the commit that was in doubt took effect. A new session was entered since.
    pub(super) fn took_effect(&self) -> bool {
        self.doubt.take().is_some_and(|fence| self.count.get() == fence)
    }

    fn taken(&self) -> LedgerError {
        self.is_taken.set(true);
        LedgerError::Taken
    }
}

/// The lock comes in a statement of its own: the one after it sees all that was committed before it was had.
fn begin() -> String {
    format!("BEGIN ISOLATION LEVEL READ COMMITTED; SELECT pg_advisory_xact_lock({WRITER_LOCK})")
}

/// A migration waits for whoever is in the middle of a turn, and for another that begins at the same time.
pub(super) fn turn_of_a_migration() -> String {
    format!("SELECT pg_advisory_xact_lock({MIGRATION_LOCK}); SELECT pg_advisory_xact_lock({WRITER_LOCK})")
}

/// What became of the ledger: the version of its tables, and the note of a move, where it was moved.
const STANDING: &str =
    "(SELECT MAX(version) FROM schema_version), (SELECT value FROM meta WHERE name = 'moved')";

/// That the ledger is still the one that was opened. Each turn asks, because a process that has no fence there, or had none for
/// long, is not stopped by a hand on it. That comes before whose hand is on the fence, because it says what to do.
fn refuse_strange(session: &Session) -> Result<()> {
    let rows = session.query(&format!("SELECT {STANDING}"), &[])?;
    rows.first().map_or(Ok(()), |row| stands(row, 0))
}

/// As above, of a row that has [`STANDING`] from a column on.
fn stands(row: &Row, column: usize) -> Result<()> {
    // A newer Keywright changed the tables while this one was at work: what this one would write to them is not what is read
    // there from now on.
    migrations::is_known(row.maybe_int(column)?.unwrap_or(0))?;
    moving::is_here(row, column + 1)
}

fn begun(row: &Row) -> Result<Begun> {
    let size = row.maybe_count(1)?.unwrap_or(0);
    let newest = if size == 0 { None } else { Some(Hash::from_bytes(row.array(2).unwrap_or([0; 32]))) };
    stands(row, 3)?;
    let at: Timestamp = row.time(0)?;
    Ok(Begun { at: Some(at), size: Some(size), newest })
}
