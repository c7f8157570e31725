//! The ledger in a PostgreSQL database.
//!
//! It lies in a schema of its own, `keywright`. Processes write to it in turns: each transaction takes an advisory lock, and
//! moves on one row of its process (the fence, in `brokers`). After a lost connection the fence tells whether the last commit
//! took effect.

mod address;
mod claim;
mod failure;
mod listen;
mod passfile;
mod schema;
mod session;
mod tls;
mod values;

use std::cell::{Cell, RefCell};
use std::ops::ControlFlow;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use jiff::Timestamp;

pub use address::Address;
use claim::Claim;
use listen::Herald;
pub(super) use listen::Listening;
use session::Session;

use super::{Begun, Row, Value};
use crate::error::{LedgerError, Result};

/// Where our tables are.
pub(super) const SCHEMA: &str = "keywright";
/// How long a lost connection is tried again before somebody is told.
const RECONNECT: Duration = Duration::from_secs(15);

/// A connection to the database, which is made anew when it is lost.
pub(crate) struct Postgres {
    address: Address,
    session: RefCell<Option<Session>>,
    /// Of the one that writes.
    claim: Option<Claim>,
    /// Of the one that writes as well.
    herald: Arc<Herald>,
    told_at: Cell<Option<Instant>>,
}

impl Postgres {
    /// Connects for the one who writes. Nothing is claimed yet.
    pub(super) fn writing(address: &Address) -> Result<Self> {
        let session = Session::open(address)?;
        limit(&session)?;
        let new = Self::reading(address);
        Ok(Self { session: RefCell::new(Some(session)), claim: Some(Claim::new()?), ..new })
    }

    /// To read only; connects when it begins to.
    pub(super) fn reading(address: &Address) -> Self {
        let (session, herald) = (RefCell::new(None), Arc::default());
        Self { address: address.clone(), session, claim: None, herald, told_at: Cell::new(None) }
    }

    /// Makes this the one that writes, until it is closed or loses its connection.
    pub(super) fn claim(&self) -> Result<()> {
        self.connected()?;
        self.with(|session| self.writer()?.hold_alone(session))
    }

    /// Takes part in the writing, in whichever session there is.
    fn enter(&self) -> Result<()> {
        self.connected()?;
        self.with(|session| self.writer()?.enter(session))
    }

    pub(super) fn begin_write(&self) -> Result<Begun> {
        self.again_when_lost(|| {
            self.enter()?;
            self.with(|session| self.writer()?.begin(session))
        })
    }

    pub(super) fn begin_read(&self) -> Result<()> {
        self.again_when_lost(|| {
            self.connected()?;
            self.with(|session| session.begin("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY"))
        })
    }

    /// Hears of what others append to the log, until that is dropped.
    pub(super) fn listen(&self) -> Result<Listening> {
        let own = self.writer()?.name().to_owned();
        Listening::start(self.address.clone(), own, Arc::clone(&self.herald))
    }

    /// Makes the transaction durable, and has others hear of it afterwards where it `tells`. Where the connection is lost
    /// meanwhile, it is looked up whether it is.
    pub(super) fn commit(&self, tells: bool) -> Result<()> {
        let Some(claim) = &self.claim else {
            // Nothing was written.
            return self.with(Session::rollback);
        };
        match self.with(|session| Ok(session.commit()))? {
            Ok(result) => {
                result?;
                claim.committed();
                if tells {
                    self.tell(claim);
                }
                Ok(())
            }
            Err(lost) => {
                claim.in_doubt();
                match self.took_effect() {
                    Ok(true) => Ok(()),
                    Ok(false) => Err(lost),
                    Err(LedgerError::Taken) => Err(LedgerError::Taken),
                    Err(_) => Err(LedgerError::Unknown),
                }
            }
        }
    }

    /// Has the others hear that something was appended: by the session that listens, or, where there is none, on this one without
    /// waiting for the answer. What becomes of it is nothing to the commit.
    fn tell(&self, claim: &Claim) {
        let is_soon = |at: Instant| at.elapsed() < listen::SELDOM;
        if self.herald.appended() || self.told_at.get().is_some_and(is_soon) {
            return;
        }
        self.told_at.set(Some(Instant::now()));
        // A session that is lost is found so by the next statement.
        let _ = self.with(|session| session.send(&listen::tell(claim.name())));
    }

    /// Whether the last commit, of which nobody knew, took effect.
    pub(super) fn took_effect(&self) -> Result<bool> {
        self.again_when_lost(|| self.enter())?;
        let took_effect = self.writer()?.took_effect();
        if took_effect {
            self.herald.appended();
        }
        Ok(took_effect)
    }

    /// The server's clock at this moment.
    pub(super) fn clock(&self) -> Result<Timestamp> {
        let rows = self.query(&format!("SELECT {}", claim::CLOCK), &[])?;
        rows.first().ok_or(LedgerError::Damaged { what: "answer of the server" })?.time(0)
    }

    pub(super) fn rollback(&self) -> Result<()> {
        self.with(Session::rollback)
    }

    pub(super) fn begin_part(&self) -> Result<()> {
        self.with(|session| session.send("SAVEPOINT deed"))
    }

    pub(super) fn end_part(&self, keep: bool) -> Result<()> {
        self.with(|session| {
            if keep {
                return session.send("RELEASE deed");
            }
            session.back_to("ROLLBACK TO deed; RELEASE deed")
        })
    }

    pub(super) fn in_transaction(&self) -> bool {
        self.session.borrow().as_ref().is_some_and(Session::in_transaction)
    }

    pub(super) fn has_failed(&self) -> bool {
        self.session.borrow().as_ref().is_some_and(Session::has_failed)
    }

    pub(super) fn is_usable(&self) -> bool {
        self.session.borrow().as_ref().is_some_and(Session::is_usable)
    }

    pub(super) fn execute(&self, sql: &str, parameters: &[Value]) -> Result<u64> {
        self.with(|session| session.execute(sql, parameters))
    }

    pub(super) fn query(&self, sql: &str, parameters: &[Value]) -> Result<Vec<Row>> {
        self.with(|session| session.query(sql, parameters))
    }

    pub(super) fn each(
        &self,
        sql: &str,
        parameters: &[Value],
        visit: impl FnMut(Result<Row>) -> Result<ControlFlow<()>>,
    ) -> Result<()> {
        self.with(|session| session.each(sql, parameters, visit))
    }

    /// One process after the other: two brokers that begin at once do not both make the tables. And in a turn of its own, in which
    /// nobody is in the middle of writing to what is altered.
    pub(super) fn alter(&self, sql: &str) -> Result<()> {
        let count = format!("SELECT COUNT(*) FROM pg_namespace WHERE nspname = '{SCHEMA}'");
        self.with(|session| {
            let is_there = session.query(&count, &[])?.first().map_or(Ok(0), |row| row.int(0))? > 0;
            // The right to make one is wanted even where there is one already.
            let schema = if is_there { String::new() } else { format!("CREATE SCHEMA {SCHEMA};") };
            let turn = claim::turn_of_a_migration();
            let sql = schema::dialect(sql);
            let altered = session.batch(&format!("BEGIN; {turn}; {schema} {sql}; COMMIT"));
            altered.inspect_err(|_| {
                let _ = session.batch("ROLLBACK");
            })
        })
    }

    pub(super) fn has_schema(&self) -> Result<bool> {
        let sql = "SELECT COUNT(*) FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace \
                   WHERE n.nspname = $1 AND c.relname = 'schema_version'";
        let rows = self.query(&sql.replace("$1", &format!("'{SCHEMA}'")), &[])?;
        rows.first().map_or(Ok(false), |row| Ok(row.int(0)? > 0))
    }

    pub(super) fn foreign(&self) -> Result<Option<String>> {
        // On a session of its own, because this one may be reading. It is the same for all of a process.
        static OWN: Mutex<Option<(Address, Arc<Vec<(String, String, String)>>)>> = Mutex::new(None);
        let mut known = OWN.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let own = match known.as_ref().filter(|(address, _)| *address == self.address) {
            Some((_, own)) => Arc::clone(own),
            None => {
                let own = Arc::new(schema::own(&Session::open(&self.address)?)?);
                *known = Some((self.address.clone(), Arc::clone(&own)));
                own
            }
        };
        drop(known);
        self.with(|session| schema::foreign(&own, session))
    }

    fn writer(&self) -> Result<&Claim> {
        self.claim.as_ref().ok_or_else(|| LedgerError::Statement("this connection only reads".to_owned()))
    }

    fn with<T>(&self, run: impl FnOnce(&Session) -> Result<T>) -> Result<T> {
        let session = self.session.borrow();
        let lost = || LedgerError::Unreachable("the connection was lost".to_owned());
        run(session.as_ref().ok_or_else(lost)?)
    }

    /// Sees to it that there is a session, for as long as it may still come.
    fn connected(&self) -> Result<()> {
        if self.is_usable() {
            return Ok(());
        }
        *self.session.borrow_mut() = None;
        let (begun, mut pause) = (Instant::now(), Duration::from_millis(50));
        loop {
            match Session::connect(&self.address) {
                Ok(session) => {
                    if self.claim.is_some() {
                        limit(&session)?;
                    }
                    *self.session.borrow_mut() = Some(session);
                    return Ok(());
                }
                Err((_, true)) if begun.elapsed() < RECONNECT => std::thread::sleep(pause),
                Err((error, _)) => return Err(error),
            }
            pause = (pause * 2).min(Duration::from_secs(2));
        }
    }

    /// Runs what changes nothing yet; once more where the connection turns out to be gone.
    fn again_when_lost<T>(&self, run: impl Fn() -> Result<T>) -> Result<T> {
        match run() {
            Err(LedgerError::Unreachable(_)) if !self.is_usable() => run(),
            other => other,
        }
    }
}

/// Has the server end a session that writes and is not heard of within a transaction: the others wait for it.
fn limit(session: &Session) -> Result<()> {
    session.batch(&format!("SET idle_in_transaction_session_timeout = '{}s'", claim::THROWN_OUT_AFTER))
}
