//! The schema and its history. A migration that was released is never edited; a new one is added.

use crate::error::{LedgerError, Result};
use crate::sql::Engine;

/// The version of the first migration. Lower ones were never released, and not all their rows carry MACs.
const FIRST: i64 = 7;
const VERSION: &str = "CREATE TABLE IF NOT EXISTS schema_version (version BIGINT NOT NULL);";
const MIGRATIONS: &[&str] = &[
    include_str!("migrations/0001_house.sql"),
    include_str!("migrations/0002_consumers.sql"),
    include_str!("migrations/0003_holds.sql"),
    include_str!("migrations/0004_parents.sql"),
    include_str!("migrations/0005_brokers.sql"),
    include_str!("migrations/0006_scale.sql"),
    include_str!("migrations/0007_passkeys.sql"),
];

/// Everything that makes up the newest schema, in order.
pub(crate) fn all() -> impl Iterator<Item = &'static str> {
    std::iter::once(VERSION).chain(MIGRATIONS.iter().copied())
}

/// Brings the database to the newest schema, each migration in its own transaction.
pub(crate) fn migrate(engine: &Engine) -> Result<()> {
    if !engine.has_schema()? {
        engine.alter(VERSION)?;
    }
    let found = version(engine)?;
    for (version, migration) in (FIRST..).zip(MIGRATIONS).filter(|(version, _)| *version > found) {
        let mark = format!("INSERT INTO schema_version (version) VALUES ({version});");
        engine.alter(&format!("{migration}\n{mark}"))?;
    }
    Ok(())
}

/// That a database which will only be read has a schema that this program knows.
pub(crate) fn check(engine: &Engine) -> Result<()> {
    if !engine.has_schema()? || version(engine)? == 0 {
        return Err(LedgerError::Corrupt("it has no tables".to_owned()));
    }
    Ok(())
}

/// The schema's version; 0 before the first migration.
fn version(engine: &Engine) -> Result<i64> {
    let rows = engine.query("SELECT COALESCE(MAX(version), 0) FROM schema_version", &[])?;
    let found = rows.first().map_or(Ok(0), |row| row.int(0))?;
    let known = FIRST - 1 + i64::try_from(MIGRATIONS.len()).unwrap_or(i64::MAX - FIRST);
    match found {
        0 => Ok(0),
        older if older < FIRST => Err(LedgerError::TooOld { found }),
        newer if newer > known => Err(LedgerError::TooNew { found, known }),
        found => Ok(found),
    }
}
