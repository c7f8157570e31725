//! The one place that speaks SQL to a database.
//!
//! Statements are written once, in the dialect that SQLite and PostgreSQL share: `$1` parameters, `BIGINT`,
//! `TEXT` and `BYTEA` columns, `ON CONFLICT`. A parameter first
//! appears where its type can be seen: `status = $1 OR $1 IS NULL`, not the other way round. A [`Tx`] hides which [`Engine`] runs them.

mod engine;
mod facts;
mod ledger;
#[cfg(test)]
mod plans;
mod postgres;
mod row;
mod sqlite;
mod tail;
mod writer;

pub(crate) use engine::{Begun, Engine};
pub(crate) use facts::Facts;
pub use facts::RowMac;
pub(crate) use ledger::read_only;
pub use ledger::{Clock, Ledger, Location, Others};
pub use postgres::Address;
pub(crate) use row::{Row, Value, json};
pub(crate) use sqlite::Sqlite;
pub use tail::Heard;
pub(crate) use tail::{Followed, Log, Tail};

use std::ops::ControlFlow;

use jiff::Timestamp;

use crate::error::{LedgerError, Result};

/// How long a statement waits for another process's lock.
pub(crate) const BUSY_SECONDS: u64 = 5;

/// One transaction. Everything written through it becomes durable together, or not at all.
pub struct Tx<'c> {
    engine: &'c Engine,
    now: Timestamp,
    /// The database's clock, where it was told with the beginning.
    at: Option<Timestamp>,
    rows: &'c RowKey,
    // None where nothing is written.
    tail: Option<&'c Tail>,
}

/// What MACs of rows begin with, once the ledger is unlocked.
pub(crate) type RowKey = std::sync::OnceLock<hmac::Hmac<sha2::Sha256>>;

/// See [`Tx::too_far`].
const TOO_FAR: keywright_core::span::Span = keywright_core::span::Span::from_seconds(7 * 86_400);

/// See [`Tx::too_far`], of any clock.
pub(crate) fn too_far(at: Timestamp) -> Timestamp {
    TOO_FAR.after(at)
}

impl<'c> Tx<'c> {
    pub(crate) fn new(engine: &'c Engine, now: Timestamp, rows: &'c RowKey) -> Self {
        Self { engine, now, at: None, rows, tail: None }
    }

    /// A transaction that writes.
    fn of_writer(
        engine: &'c Engine,
        (now, at): (Timestamp, Option<Timestamp>),
        rows: &'c RowKey,
        tail: &'c Tail,
    ) -> Self {
        Self { at, tail: Some(tail), ..Self::new(engine, now, rows) }
    }

    /// For what is no statement.
    pub(crate) fn engine(&self) -> &Engine {
        self.engine
    }

    /// What this transaction appended to the audit log.
    pub(crate) fn tail(&self) -> Result<&'c Tail> {
        self.tail.ok_or_else(|| LedgerError::Statement("this transaction only reads".to_owned()))
    }

    /// The broker's clock at the start of the transaction.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        self.now
    }

    /// Further ahead than anything is ever put off or leased: what is due only then was written by a clock that was ahead and
    /// has gone back since, and is due now.
    #[must_use]
    pub(crate) fn too_far(&self) -> Timestamp {
        too_far(self.now)
    }

    /// The clock that leases go by: the database's, where several brokers write to one.
    pub(crate) fn common_now(&self) -> Result<Timestamp> {
        match self.at {
            Some(at) => Ok(at),
            None => Ok(self.engine.clock()?.unwrap_or(self.now)),
        }
    }

    /// Runs a statement and says how many rows it changed.
    pub(crate) fn execute(&self, sql: &str, parameters: &[Value]) -> Result<u64> {
        // A reading may run on the connection that writes.
        self.tail()?;
        self.engine.execute(sql, parameters)
    }

    /// Runs a query to its end.
    pub(crate) fn query(&self, sql: &str, parameters: &[Value]) -> Result<Vec<Row>> {
        #[cfg(test)]
        plans::explain(self.engine, sql, parameters)?;
        self.engine.query(sql, parameters)
    }

    /// Runs a query and hands over its rows one by one until `visit` has seen enough, so that memory stays at one row
    /// however long the answer is. A row that can't be read is handed over as its error. `visit` runs no statement.
    pub(crate) fn each(
        &self,
        sql: &str,
        parameters: &[Value],
        visit: impl FnMut(Result<Row>) -> Result<ControlFlow<()>>,
    ) -> Result<()> {
        self.engine.each(sql, parameters, visit)
    }

    /// The first row, if there is one.
    pub(crate) fn first(&self, sql: &str, parameters: &[Value]) -> Result<Option<Row>> {
        Ok(self.query(sql, parameters)?.into_iter().next())
    }
}
