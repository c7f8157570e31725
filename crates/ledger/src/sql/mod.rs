//! The one place that speaks SQL to a database.
//!
//! Statements are written once, in the dialect that SQLite and PostgreSQL share: `$1` parameters, `BIGINT`,
//! `TEXT` and `BYTEA` columns, `ON CONFLICT`, `RETURNING`. A [`Tx`] hides which engine runs them.

mod engine;
mod facts;
mod row;
mod tail;
mod writer;

pub(crate) use engine::read_only;
pub use engine::{Clock, Ledger, Location};
pub(crate) use facts::Facts;
pub use facts::RowMac;
pub(crate) use row::{Row, Value, json};
pub(crate) use tail::{Followed, Tail};

use std::ops::ControlFlow;

use jiff::Timestamp;

use crate::error::{LedgerError, Result};

/// How long a statement waits for another process's lock.
pub(crate) const BUSY_SECONDS: u64 = 5;

/// One transaction. Everything written through it becomes durable together, or not at all.
pub struct Tx<'c> {
    connection: &'c rusqlite::Connection,
    now: Timestamp,
    rows: &'c RowKey,
    // None where nothing is written.
    tail: Option<&'c Tail>,
}

/// What MACs of rows begin with, once the ledger is unlocked.
pub(crate) type RowKey = std::sync::OnceLock<hmac::Hmac<sha2::Sha256>>;

impl<'c> Tx<'c> {
    pub(crate) fn new(connection: &'c rusqlite::Connection, now: Timestamp, rows: &'c RowKey) -> Self {
        Self { connection, now, rows, tail: None }
    }

    /// A transaction that writes.
    fn of_writer(
        connection: &'c rusqlite::Connection,
        now: Timestamp,
        rows: &'c RowKey,
        tail: &'c Tail,
    ) -> Self {
        Self { tail: Some(tail), ..Self::new(connection, now, rows) }
    }

    /// For what is no statement.
    pub(crate) fn raw(&self) -> &rusqlite::Connection {
        self.connection
    }

    /// What this transaction appended to the audit log.
    pub(crate) fn tail(&self) -> Result<&'c Tail> {
        self.tail.ok_or_else(|| LedgerError::Statement("this transaction only reads".to_owned()))
    }

    /// The database's clock at the start of the transaction.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        self.now
    }

    /// Runs a statement and says how many rows it changed.
    pub(crate) fn execute(&self, sql: &str, parameters: &[Value]) -> Result<u64> {
        // A reading may run on the connection that writes.
        self.tail()?;
        let mut statement = self.connection.prepare_cached(sql)?;
        bind(&mut statement, parameters)?;
        Ok(statement.raw_execute()? as u64)
    }

    /// Runs a query to its end.
    pub(crate) fn query(&self, sql: &str, parameters: &[Value]) -> Result<Vec<Row>> {
        let mut statement = self.connection.prepare_cached(sql)?;
        bind(&mut statement, parameters)?;
        let width = statement.column_count();
        let mut rows = statement.raw_query();
        let mut all = Vec::new();
        while let Some(row) = rows.next()? {
            all.push(Row::read(row, width)?);
        }
        Ok(all)
    }

    /// Runs a query and hands over its rows one by one until `visit` has seen enough, so that memory stays at one row
    /// however long the answer is. A row that can't be read is handed over as its error.
    pub(crate) fn each(
        &self,
        sql: &str,
        parameters: &[Value],
        mut visit: impl FnMut(Result<Row>) -> Result<ControlFlow<()>>,
    ) -> Result<()> {
        let mut statement = self.connection.prepare_cached(sql)?;
        bind(&mut statement, parameters)?;
        let width = statement.column_count();
        let mut rows = statement.raw_query();
        while let Some(row) = rows.next()? {
            if visit(Row::read(row, width))?.is_break() {
                break;
            }
        }
        Ok(())
    }

    /// The first row, if there is one.
    pub(crate) fn first(&self, sql: &str, parameters: &[Value]) -> Result<Option<Row>> {
        Ok(self.query(sql, parameters)?.into_iter().next())
    }
}

/// SQLite takes `$1` as a *named* parameter and numbers names by first appearance; binding by name makes the
/// number mean what it means in PostgreSQL.
fn bind(statement: &mut rusqlite::CachedStatement<'_>, parameters: &[Value]) -> Result<()> {
    for index in 1..=statement.parameter_count() {
        let name =
            statement.parameter_name(index).and_then(|name| name.strip_prefix('$')?.parse::<usize>().ok());
        let value = name.and_then(|number| parameters.get(number.checked_sub(1)?));
        let value = value.ok_or_else(|| LedgerError::Statement(format!("parameter {index} has no value")))?;
        statement.raw_bind_parameter(index, value)?;
    }
    Ok(())
}
