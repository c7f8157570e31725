//! The schema and its history. A migration that was released is never edited; a new one is added.

use rusqlite::Connection;

use crate::error::{LedgerError, Result};

/// The version of the first migration. Lower ones were never released, and their rows carry no MACs.
const FIRST: i64 = 2;
const MIGRATIONS: &[&str] = &[include_str!("migrations/0001_house.sql")];

/// Brings the database to the newest schema, each migration in its own transaction.
pub(crate) fn migrate(connection: &Connection) -> Result<()> {
    connection.execute_batch("CREATE TABLE IF NOT EXISTS schema_version (version BIGINT NOT NULL)")?;
    let found = version(connection)?;
    for (version, migration) in (FIRST..).zip(MIGRATIONS).filter(|(version, _)| *version > found) {
        connection.execute_batch(&format!(
            "BEGIN IMMEDIATE;\n{migration}\nINSERT INTO schema_version (version) VALUES ({version});\nCOMMIT;"
        ))?;
    }
    Ok(())
}

/// That a database which will only be read has a schema that this program knows.
pub(crate) fn check(connection: &Connection) -> Result<()> {
    let sql = "SELECT COUNT(*) FROM sqlite_schema WHERE name = 'schema_version'";
    let tables: i64 = connection.query_row(sql, [], |row| row.get(0))?;
    if tables == 0 || version(connection)? == 0 {
        return Err(LedgerError::Corrupt("it has no tables".to_owned()));
    }
    Ok(())
}

/// The schema's version; 0 before the first migration.
fn version(connection: &Connection) -> Result<i64> {
    let found: i64 =
        connection.query_row("SELECT COALESCE(MAX(version), 0) FROM schema_version", [], |row| row.get(0))?;
    let known = FIRST - 1 + i64::try_from(MIGRATIONS.len()).unwrap_or(i64::MAX - FIRST);
    match found {
        0 => Ok(0),
        older if older < FIRST => Err(LedgerError::TooOld { found }),
        newer if newer > known => Err(LedgerError::TooNew { found, known }),
        found => Ok(found),
    }
}
