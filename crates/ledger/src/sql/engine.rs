//! The joint between our statements and the engine that runs them: whatever differs between engines is behind [`Engine`],
//! and nothing else knows that there is more than one.

use std::ops::ControlFlow;

use jiff::Timestamp;
use keywright_core::audit::Hash;

use super::postgres::{Listening, Postgres};
use super::sqlite::Sqlite;
use super::{Row, Value};
use crate::error::Result;

/// What is known at the beginning of a transaction that writes, where others may have written since the one before.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Begun {
    /// The database's clock.
    pub(crate) at: Option<Timestamp>,
    /// How many entries the audit log has.
    pub(crate) size: Option<u64>,
    /// The newest one's hash.
    pub(crate) newest: Option<Hash>,
}

/// A connection to a database.
pub(crate) enum Engine {
    /// To a file.
    Sqlite(Sqlite),
    /// To a server.
    Postgres(Box<Postgres>),
}

impl Engine {
    /// Begins a transaction that writes: no other one writes until it ends.
    pub(crate) fn begin_write(&self) -> Result<Begun> {
        match self {
            Self::Sqlite(sqlite) => sqlite.statement("BEGIN IMMEDIATE").map(|()| Begun::default()),
            Self::Postgres(postgres) => postgres.begin_write(),
        }
    }

    /// Begins a transaction that only reads, on a snapshot.
    pub(crate) fn begin_read(&self) -> Result<()> {
        match self {
            Self::Sqlite(sqlite) => sqlite.statement("BEGIN"),
            Self::Postgres(postgres) => postgres.begin_read(),
        }
    }

    /// Makes the transaction durable.
    pub(crate) fn commit(&self) -> Result<()> {
        self.commit_and(false)
    }

    /// As above; where it `tells`, other processes hear a moment later that there is something new.
    pub(super) fn commit_and(&self, tells: bool) -> Result<()> {
        match self {
            Self::Sqlite(sqlite) => sqlite.statement("COMMIT"),
            Self::Postgres(postgres) => postgres.commit(tells),
        }
    }

    /// Hears of what other processes write, where there may be any.
    pub(super) fn listen(&self) -> Result<Option<Listening>> {
        match self {
            Self::Sqlite(_) => Ok(None),
            Self::Postgres(postgres) => postgres.listen().map(Some),
        }
    }

    /// Ends the transaction as if it had never been.
    pub(super) fn rollback(&self) -> Result<()> {
        match self {
            Self::Sqlite(sqlite) => sqlite.statement("ROLLBACK"),
            Self::Postgres(postgres) => postgres.rollback(),
        }
    }

    /// Begins a part of the transaction that can be taken back for itself.
    pub(super) fn begin_part(&self) -> Result<()> {
        match self {
            Self::Sqlite(sqlite) => sqlite.statement("SAVEPOINT deed"),
            Self::Postgres(postgres) => postgres.begin_part(),
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
            Self::Postgres(postgres) => postgres.end_part(keep),
        }
    }

    /// Whether a transaction is under way. Some errors, a full disk among them, end it.
    pub(super) fn in_transaction(&self) -> bool {
        match self {
            Self::Sqlite(sqlite) => sqlite.in_transaction(),
            Self::Postgres(postgres) => postgres.in_transaction(),
        }
    }

    /// Whether a statement failed after which nothing of the transaction can be kept, but what was before the part that it is
    /// in.
    pub(super) fn has_failed(&self) -> bool {
        match self {
            Self::Sqlite(_) => false,
            Self::Postgres(postgres) => postgres.has_failed(),
        }
    }

    /// Whether it is still connected.
    pub(super) fn is_usable(&self) -> bool {
        match self {
            Self::Sqlite(_) => true,
            Self::Postgres(postgres) => postgres.is_usable(),
        }
    }

    /// Whether what runs on it waits for another machine.
    pub(super) fn is_remote(&self) -> bool {
        matches!(self, Self::Postgres(_))
    }

    /// Keeps all others from writing, where a lock on the home is not enough for that.
    pub(super) fn claim(&self) -> Result<()> {
        match self {
            Self::Sqlite(_) => Ok(()),
            Self::Postgres(postgres) => postgres.claim(),
        }
    }

    /// Whether the commit that failed with [`LedgerError::Unknown`](crate::LedgerError::Unknown) took effect.
    pub(super) fn took_effect(&self) -> Result<bool> {
        match self {
            Self::Sqlite(_) => Ok(false),
            Self::Postgres(postgres) => postgres.took_effect(),
        }
    }

    /// The database's clock, where that may be another one than this machine's.
    pub(super) fn clock(&self) -> Result<Option<Timestamp>> {
        match self {
            Self::Sqlite(_) => Ok(None),
            Self::Postgres(postgres) => postgres.clock().map(Some),
        }
    }

    /// Runs a statement and says how many rows it changed.
    pub(crate) fn execute(&self, sql: &str, parameters: &[Value]) -> Result<u64> {
        match self {
            Self::Sqlite(sqlite) => sqlite.execute(sql, parameters),
            Self::Postgres(postgres) => postgres.execute(sql, parameters),
        }
    }

    /// Runs a query to its end.
    pub(crate) fn query(&self, sql: &str, parameters: &[Value]) -> Result<Vec<Row>> {
        match self {
            Self::Sqlite(sqlite) => sqlite.query(sql, parameters),
            Self::Postgres(postgres) => postgres.query(sql, parameters),
        }
    }

    /// Runs a query and hands over its rows one by one until `visit` has seen enough.
    pub(crate) fn each(
        &self,
        sql: &str,
        parameters: &[Value],
        visit: impl FnMut(Result<Row>) -> Result<ControlFlow<()>>,
    ) -> Result<()> {
        match self {
            Self::Sqlite(sqlite) => sqlite.each(sql, parameters, visit),
            Self::Postgres(postgres) => postgres.each(sql, parameters, visit),
        }
    }

    /// Runs statements that change the schema, written in the dialect that the engines share, in a transaction of their own.
    pub(crate) fn alter(&self, sql: &str) -> Result<()> {
        match self {
            Self::Sqlite(sqlite) => sqlite.alter(sql),
            Self::Postgres(postgres) => postgres.alter(sql),
        }
    }

    /// Whether the table of the schema's version is there.
    pub(crate) fn has_schema(&self) -> Result<bool> {
        match self {
            Self::Sqlite(sqlite) => sqlite.has_schema(),
            Self::Postgres(postgres) => postgres.has_schema(),
        }
    }

    /// What the schema has that the migrations did not make, or lacks of what they made.
    pub(crate) fn foreign(&self) -> Result<Option<String>> {
        match self {
            Self::Sqlite(sqlite) => sqlite.foreign(),
            Self::Postgres(postgres) => postgres.foreign(),
        }
    }

    /// Where the engine itself says that what is stored does not agree with itself. A server's pages are its own affair
    /// (`pg_amcheck`).
    pub(crate) fn disagreements(&self) -> Result<Vec<String>> {
        match self {
            Self::Sqlite(sqlite) => sqlite.disagreements(),
            Self::Postgres(_) => Ok(Vec::new()),
        }
    }

    /// The same of one table.
    pub(crate) fn disagreements_of(&self, table: &'static str) -> Result<Vec<String>> {
        match self {
            Self::Sqlite(sqlite) => sqlite.disagreements_of(table),
            Self::Postgres(_) => Ok(Vec::new()),
        }
    }

    /// Takes what was removed out of the engine's own files, as far as it can: a server's are out of reach. False: somebody
    /// reads, try again.
    pub(super) fn fold(&self) -> Result<bool> {
        match self {
            Self::Sqlite(sqlite) => sqlite.fold(),
            Self::Postgres(_) => Ok(true),
        }
    }

    /// Has triggers run that somebody else wrote, where they don't anyway. Tests use them for writes that fail.
    pub(super) fn run_triggers(&self) -> Result<()> {
        match self {
            Self::Sqlite(sqlite) => sqlite.run_triggers(),
            Self::Postgres(_) => Ok(()),
        }
    }

    /// Whether a column may hold another type than its own: SQLite keeps what it is given.
    pub(crate) fn keeps_any_type(&self) -> bool {
        match self {
            Self::Sqlite(_) => true,
            Self::Postgres(_) => false,
        }
    }
}
