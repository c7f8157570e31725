//! The ledger as one SQLite file.

use std::ops::ControlFlow;
use std::path::Path;

use keywright_core::text::escaped;
use rusqlite::config::DbConfig;
use rusqlite::types::{ToSql, ToSqlOutput, ValueRef};
use rusqlite::{Connection, OpenFlags};

use super::{BUSY_SECONDS, Row, Value};
use crate::error::{LedgerError, Result};
use crate::migrations;

/// A connection to the file.
pub(crate) struct Sqlite(Connection);

impl Sqlite {
    /// Opens the file for the one who writes. It is created with mode 0600.
    pub(super) fn writing(path: &Path) -> Result<Self> {
        private_file(path)?;
        let sqlite = Self::connect(path, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
        sqlite.0.pragma_update(None, "journal_mode", "WAL")?;
        Ok(sqlite)
    }

    /// Opens the file without changing it.
    pub(super) fn reading(path: &Path) -> Result<Self> {
        Self::connect(path, OpenFlags::SQLITE_OPEN_READ_ONLY)
    }

    /// A database that nobody else sees.
    pub(crate) fn in_memory() -> Result<Self> {
        Ok(Self(Connection::open_in_memory()?))
    }

    fn connect(path: &Path, mode: OpenFlags) -> Result<Self> {
        let connection = Connection::open_with_flags(path, mode | OpenFlags::SQLITE_OPEN_NO_MUTEX)?;
        connection.busy_timeout(std::time::Duration::from_secs(BUSY_SECONDS))?;
        connection.pragma_update(None, "synchronous", "FULL")?;
        connection.pragma_update(None, "foreign_keys", true)?;
        // Deleted rows are overwritten, so that an erased sealed value does not linger in free pages.
        connection.pragma_update(None, "secure_delete", true)?;
        connection.pragma_update(None, "trusted_schema", false)?;
        // The schema has none; what somebody writes into the file does not run in the broker.
        connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_TRIGGER, false)?;
        connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_VIEW, false)?;
        // A statement is prepared once and not again for other values.
        connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true)?;
        connection.set_prepared_statement_cache_capacity(128);
        Ok(Self(connection))
    }

    /// Runs a statement that is the same each time, prepared once.
    pub(super) fn statement(&self, sql: &str) -> Result<()> {
        self.0.prepare_cached(sql)?.raw_execute()?;
        Ok(())
    }

    pub(super) fn in_transaction(&self) -> bool {
        !self.0.is_autocommit()
    }

    pub(super) fn execute(&self, sql: &str, parameters: &[Value]) -> Result<u64> {
        let mut statement = self.0.prepare_cached(sql)?;
        bind(&mut statement, parameters)?;
        Ok(statement.raw_execute()? as u64)
    }

    pub(super) fn query(&self, sql: &str, parameters: &[Value]) -> Result<Vec<Row>> {
        let mut statement = self.0.prepare_cached(sql)?;
        bind(&mut statement, parameters)?;
        let width = statement.column_count();
        let mut rows = statement.raw_query();
        let mut all = Vec::new();
        while let Some(row) = rows.next()? {
            all.push(read(row, width)?);
        }
        Ok(all)
    }

    pub(super) fn each(
        &self,
        sql: &str,
        parameters: &[Value],
        mut visit: impl FnMut(Result<Row>) -> Result<ControlFlow<()>>,
    ) -> Result<()> {
        let mut statement = self.0.prepare_cached(sql)?;
        bind(&mut statement, parameters)?;
        let width = statement.column_count();
        let mut rows = statement.raw_query();
        while let Some(row) = rows.next()? {
            if visit(read(row, width))?.is_break() {
                break;
            }
        }
        Ok(())
    }

    pub(super) fn alter(&self, sql: &str) -> Result<()> {
        Ok(self.0.execute_batch(&format!("BEGIN IMMEDIATE;\n{sql}\nCOMMIT;"))?)
    }

    pub(super) fn has_schema(&self) -> Result<bool> {
        let sql = "SELECT COUNT(*) FROM sqlite_schema WHERE name = 'schema_version'";
        let tables: i64 = self.0.query_row(sql, [], |row| row.get(0))?;
        Ok(tables > 0)
    }

    /// A trigger, a view in place of a table or a constraint of somebody else's would have statements do other things than
    /// they say.
    pub(super) fn foreign(&self) -> Result<Option<String>> {
        let own = Self::in_memory()?;
        for migration in migrations::all() {
            own.alter(migration)?;
        }
        let (own, found) = (own.schema()?, self.schema()?);
        let unknown = found.iter().find(|item| !own.contains(item)).map(|item| (item, "is not Keywright's"));
        let missing =
            own.iter().find(|item| !found.contains(item)).map(|item| (item, "is missing or was changed"));
        Ok(unknown.or(missing).map(|((kind, name, _), what)| format!("{kind} `{}` {what}", escaped(name))))
    }

    /// Kind, name and text of everything that is in a schema.
    fn schema(&self) -> Result<Vec<(String, String, Option<String>)>> {
        // The statistics that SQLite itself may keep are not part of any migration.
        let sql = "SELECT type, name, sql FROM sqlite_schema WHERE NOT (type = 'table' AND name IN ('sqlite_stat1', \
                   'sqlite_stat4')) ORDER BY name";
        let mut statement = self.0.prepare(sql)?;
        let rows = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?;
        Ok(rows.collect::<rusqlite::Result<_>>()?)
    }

    /// An index that leads to other rows than its table has, a page that two claim.
    pub(super) fn disagreements(&self) -> Result<Vec<String>> {
        let rows = self.query("PRAGMA integrity_check(20)", &[])?;
        let said = rows.iter().map(|row| row.text(0).map(str::to_owned)).collect::<Result<Vec<_>>>()?;
        Ok(said.into_iter().filter(|said| said != "ok").collect())
    }

    /// The same of one table and its indexes.
    pub(super) fn disagreements_of(&self, table: &'static str) -> Result<Vec<String>> {
        let rows = self.query(&format!("PRAGMA integrity_check({table})"), &[])?;
        let said = rows.iter().map(|row| row.text(0).map(str::to_owned)).collect::<Result<Vec<_>>>()?;
        Ok(said.into_iter().filter(|said| said != "ok").take(20).collect())
    }

    /// Folds the write-ahead log into the file and empties it.
    pub(super) fn fold(&self) -> Result<bool> {
        Ok(self.0.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| row.get::<_, i64>(0))? == 0)
    }

    pub(super) fn run_triggers(&self) -> Result<()> {
        self.0.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_TRIGGER, true)?;
        Ok(())
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

impl ToSql for Value {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(ToSqlOutput::Borrowed(match self {
            Self::Null => ValueRef::Null,
            Self::Int(number) => ValueRef::Integer(*number),
            Self::Text(text) => ValueRef::Text(text.as_bytes()),
            Self::Bytes(bytes) => ValueRef::Blob(bytes),
        }))
    }
}

fn read(row: &rusqlite::Row<'_>, width: usize) -> Result<Row> {
    let mut values = Vec::with_capacity(width);
    for column in 0..width {
        values.push(match row.get_ref(column)? {
            ValueRef::Null => Value::Null,
            ValueRef::Integer(number) => Value::Int(number),
            // What we never write is kept as bytes: whoever wants that column learns that it is damaged, and a row that
            // is vouched for that it was edited. Nobody else has to.
            ValueRef::Text(text) => match String::from_utf8(text.to_vec()) {
                Ok(text) => Value::Text(text),
                Err(error) => Value::Bytes(error.into_bytes()),
            },
            ValueRef::Blob(bytes) => Value::Bytes(bytes.to_vec()),
            ValueRef::Real(number) => Value::Bytes(number.to_be_bytes().to_vec()),
        });
    }
    Ok(Row::of(values))
}

impl From<rusqlite::Error> for LedgerError {
    fn from(error: rusqlite::Error) -> Self {
        use rusqlite::ErrorCode as Code;
        match error.sqlite_error_code() {
            Some(Code::DatabaseBusy | Code::DatabaseLocked) => Self::Locked { waited_seconds: BUSY_SECONDS },
            Some(Code::DiskFull) => Self::DiskFull,
            Some(Code::DatabaseCorrupt | Code::NotADatabase) => Self::Corrupt(error.to_string()),
            Some(Code::SystemIoFailure | Code::ReadOnly | Code::CannotOpen | Code::PermissionDenied) => {
                Self::Io(error.to_string())
            }
            _ => Self::Statement(error.to_string()),
        }
    }
}

fn private_file(path: &Path) -> Result<()> {
    use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
    let io = |e: std::io::Error| LedgerError::Io(format!("{}: {e}", path.display()));
    let file = std::fs::OpenOptions::new().create(true).append(true).mode(0o600).open(path).map_err(io)?;
    file.set_permissions(std::fs::Permissions::from_mode(0o600)).map_err(io)
}
