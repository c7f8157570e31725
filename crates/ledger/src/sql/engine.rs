//! The joint between our statements and the engine that runs them: whatever differs between engines is behind [`Engine`],
//! and nothing else knows that there is more than one.

use std::ops::ControlFlow;

use super::sqlite::Sqlite;
use super::{Row, Value};
use crate::error::Result;

/// A connection to a database.
pub(crate) enum Engine {
    /// To a file.
    Sqlite(Sqlite),
}

impl Engine {
    /// Begins a transaction that writes: no other one writes until it ends.
    pub(super) fn begin_write(&self) -> Result<()> {
        match self {
            Self::Sqlite(sqlite) => sqlite.statement("BEGIN IMMEDIATE"),
        }
    }

    /// Begins a transaction that only reads, on a snapshot.
    pub(super) fn begin_read(&self) -> Result<()> {
        match self {
            Self::Sqlite(sqlite) => sqlite.statement("BEGIN"),
        }
    }

    /// Makes the transaction durable.
    pub(super) fn commit(&self) -> Result<()> {
        match self {
            Self::Sqlite(sqlite) => sqlite.statement("COMMIT"),
        }
    }

    /// Ends the transaction as if it had never been.
    pub(super) fn rollback(&self) -> Result<()> {
        match self {
            Self::Sqlite(sqlite) => sqlite.statement("ROLLBACK"),
        }
    }

    /// Begins a part of the transaction that can be taken back for itself.
    pub(super) fn begin_part(&self) -> Result<()> {
        match self {
            Self::Sqlite(sqlite) => sqlite.statement("SAVEPOINT deed"),
        }
    }

    /// Ends a part, and takes it back unless it is to be kept.
    pub(super) fn end_part(&self, keep: bool) -> Result<()> {
        match self {
            Self::Sqlite(sqlite) => {
                if !keep {
                    sqlite.statement("ROLLBACK TO deed")?;
                }
                sqlite.statement("RELEASE deed")
            }
        }
    }

    /// Whether a transaction is under way. Some errors, a full disk among them, end it.
    pub(super) fn in_transaction(&self) -> bool {
        match self {
            Self::Sqlite(sqlite) => sqlite.in_transaction(),
        }
    }

    /// Runs a statement and says how many rows it changed.
    pub(super) fn execute(&self, sql: &str, parameters: &[Value]) -> Result<u64> {
        match self {
            Self::Sqlite(sqlite) => sqlite.execute(sql, parameters),
        }
    }

    /// Runs a query to its end.
    pub(crate) fn query(&self, sql: &str, parameters: &[Value]) -> Result<Vec<Row>> {
        match self {
            Self::Sqlite(sqlite) => sqlite.query(sql, parameters),
        }
    }

    /// Runs a query and hands over its rows one by one until `visit` has seen enough.
    pub(super) fn each(
        &self,
        sql: &str,
        parameters: &[Value],
        visit: impl FnMut(Result<Row>) -> Result<ControlFlow<()>>,
    ) -> Result<()> {
        match self {
            Self::Sqlite(sqlite) => sqlite.each(sql, parameters, visit),
        }
    }

    /// Runs statements that change the schema, written in the dialect that the engines share, in a transaction of their own.
    pub(crate) fn alter(&self, sql: &str) -> Result<()> {
        match self {
            Self::Sqlite(sqlite) => sqlite.alter(sql),
        }
    }

    /// Whether the table of the schema's version is there.
    pub(crate) fn has_schema(&self) -> Result<bool> {
        match self {
            Self::Sqlite(sqlite) => sqlite.has_schema(),
        }
    }

    /// What the schema has that the migrations did not make, or lacks of what they made.
    pub(crate) fn foreign(&self) -> Result<Option<String>> {
        match self {
            Self::Sqlite(sqlite) => sqlite.foreign(),
        }
    }

    /// Where the engine itself says that what is stored does not agree with itself.
    pub(crate) fn disagreements(&self) -> Result<Vec<String>> {
        match self {
            Self::Sqlite(sqlite) => sqlite.disagreements(),
        }
    }

    /// Takes what was removed out of the engine's own files, as far as it can. False: somebody reads, try again.
    pub(super) fn fold(&self) -> Result<bool> {
        match self {
            Self::Sqlite(sqlite) => sqlite.fold(),
        }
    }

    /// Has triggers run that somebody else wrote. Tests use them for writes that fail.
    pub(super) fn run_triggers(&self) -> Result<()> {
        match self {
            Self::Sqlite(sqlite) => sqlite.run_triggers(),
        }
    }

    /// Whether a column may hold another type than its own: SQLite keeps what it is given.
    pub(crate) fn keeps_any_type(&self) -> bool {
        match self {
            Self::Sqlite(_) => true,
        }
    }
}
