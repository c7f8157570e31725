//! The schema and its history. A migration that was released is never edited; a new one is added.

use crate::error::{LedgerError, Result};
use crate::sql::Engine;

/// The version of the first migration. Lower ones were never released, and not all their rows carry MACs.
const FIRST: i64 = 7;
/// The version from which on there are fences.
const FENCED: i64 = FIRST + 4;
/// A process that opened the database before does not know what is made of it here, so it writes nothing any more: somebody
/// else's hand is on its fence.
const STOP: &str = "UPDATE brokers SET fence = fence + 1000000;";
const VERSION: &str = "CREATE TABLE IF NOT EXISTS schema_version (version BIGINT NOT NULL);";
const MIGRATIONS: &[&str] = &[
    include_str!("migrations/0001_house.sql"),
    include_str!("migrations/0002_consumers.sql"),
    include_str!("migrations/0003_holds.sql"),
    include_str!("migrations/0004_parents.sql"),
    include_str!("migrations/0005_brokers.sql"),
    include_str!("migrations/0006_scale.sql"),
    include_str!("migrations/0007_passkeys.sql"),
    include_str!("migrations/0008_review.sql"),
    include_str!("migrations/0009_notify.sql"),
    include_str!("migrations/0010_grants.sql"),
    include_str!("migrations/0011_missing.sql"),
    include_str!("migrations/0012_outcomes.sql"),
    include_str!("migrations/0013_debts.sql"),
];

/// Everything that makes up the newest schema, in order.
pub(crate) fn all() -> impl Iterator<Item = &'static str> {
    std::iter::once(VERSION).chain(MIGRATIONS.iter().copied())
}

/// Brings the database to the newest schema, each migration in its own transaction. Whoever wrote to the older one is stopped.
pub(crate) fn migrate(engine: &Engine) -> Result<()> {
    migrate_to(engine, newest())
}

fn migrate_to(engine: &Engine, wanted: i64) -> Result<()> {
    if !engine.has_schema()? {
        engine.alter(VERSION)?;
    }
    let found = version(engine)?;
    let missing = (FIRST..=wanted).zip(MIGRATIONS).filter(|(version, _)| *version > found);
    for (version, migration) in missing {
        let stop = if version > FENCED { STOP } else { "" };
        let mark = format!("INSERT INTO schema_version (version) VALUES ({version});");
        engine.alter(&format!("{stop}\n{migration}\n{mark}"))?;
    }
    Ok(())
}

/// That a database which will only be read has a schema that this program knows.
pub(crate) fn check(engine: &Engine) -> Result<()> {
    if is_made(engine)? { Ok(()) } else { Err(LedgerError::Corrupt("it has no tables".to_owned())) }
}

/// Whether there are tables, of a version that this program knows.
pub(crate) fn is_made(engine: &Engine) -> Result<bool> {
    Ok(engine.has_schema()? && version(engine)? > 0)
}

/// The newest version that this program knows.
fn newest() -> i64 {
    FIRST - 1 + i64::try_from(MIGRATIONS.len()).unwrap_or(i64::MAX - FIRST)
}

/// That this program knows a schema. A newer one came to write to the database meanwhile, where it does not.
pub(crate) fn is_known(found: i64) -> Result<()> {
    let known = newest();
    if found > known { Err(LedgerError::TooNew { found, known }) } else { Ok(()) }
}

/// The schema's version; 0 before the first migration.
fn version(engine: &Engine) -> Result<i64> {
    let rows = engine.query("SELECT COALESCE(MAX(version), 0) FROM schema_version", &[])?;
    let found = rows.first().map_or(Ok(0), |row| row.int(0))?;
    if (1..FIRST).contains(&found) {
        return Err(LedgerError::TooOld { found });
    }
    is_known(found).map(|()| found)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sql::Sqlite;

    #[test]
    fn whoever_wrote_to_an_older_schema_is_stopped_by_a_migration() {
        let engine = Engine::Sqlite(Sqlite::in_memory().unwrap());
        migrate_to(&engine, FENCED).unwrap();
        engine.execute("INSERT INTO brokers (name, fence, seen_at) VALUES ('older', 5, 0)", &[]).unwrap();
        let fence = || engine.query("SELECT fence FROM brokers", &[]).unwrap()[0].int(0).unwrap();
        migrate(&engine).unwrap();
        assert_eq!(version(&engine).unwrap(), newest());
        let stopped = fence();
        assert!(stopped > 1_000_000, "{stopped}");
        migrate(&engine).unwrap();
        assert_eq!(fence(), stopped, "where nothing is to be done, nobody is stopped");
    }
}
