//! The schema and its history. A migration that was released is never edited; a new one is added.

use keywright_core::text::escaped;
use rusqlite::Connection;

use crate::error::{LedgerError, Result};

/// The version of the first migration. Lower ones were never released, and not all their rows carry MACs.
const FIRST: i64 = 6;
const MIGRATIONS: &[&str] = &[
    include_str!("migrations/0001_house.sql"),
    include_str!("migrations/0002_consumers.sql"),
    include_str!("migrations/0003_holds.sql"),
];

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

/// What the schema has that the migrations did not make, or lacks of what they made: a trigger, a view in place of a table
/// or a constraint of somebody else's would have statements do other things than they say.
pub(crate) fn foreign(connection: &Connection) -> Result<Option<String>> {
    let own = Connection::open_in_memory()?;
    migrate(&own)?;
    let (own, found) = (schema(&own)?, schema(connection)?);
    let unknown = found.iter().find(|item| !own.contains(item)).map(|item| (item, "is not Keywright's"));
    let missing =
        own.iter().find(|item| !found.contains(item)).map(|item| (item, "is missing or was changed"));
    Ok(unknown.or(missing).map(|((kind, name, _), what)| format!("{kind} `{}` {what}", escaped(name))))
}

/// Kind, name and text of everything that is in a schema.
fn schema(connection: &Connection) -> Result<Vec<(String, String, Option<String>)>> {
    // The statistics that SQLite itself may keep are not part of any migration.
    let sql = "SELECT type, name, sql FROM sqlite_schema WHERE NOT (type = 'table' AND name IN ('sqlite_stat1', \
               'sqlite_stat4')) ORDER BY name";
    let mut statement = connection.prepare(sql)?;
    let rows = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?;
    Ok(rows.collect::<rusqlite::Result<_>>()?)
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
