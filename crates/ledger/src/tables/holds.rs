//! Holds: programs that `run` started, and the versions whose values they were given.

use jiff::Timestamp;
use keywright_core::id::{KeyId, VersionId};
use keywright_core::span::Span;

use crate::error::Result;
use crate::sql::{Facts, Row, Tx, Value};

/// A program that holds a version's value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hold {
    /// The hash of the word by which it speaks for itself.
    pub id: String,
    /// What it holds.
    pub version: VersionId,
    /// Of this key.
    pub key: KeyId,
    /// Its process, and when that began, as the kernel counts; where it was known.
    pub process: Option<(u64, u64)>,
    /// When it was given the value.
    pub began_at: Timestamp,
    /// When it was heard of last.
    pub seen_at: Timestamp,
    /// By which broker, where there may be several: it runs on that one's machine.
    pub seen_by: Option<String>,
}

/// For how long a broker was there to be spoken to: without a gap, as far as it told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Listened {
    /// From when on.
    pub since: Timestamp,
    /// Until when at least.
    pub until: Timestamp,
}

pub(crate) const FACTS: Facts = Facts { table: "holds", what: "hold", count: 6, columns: COLUMNS };
/// A broker that nothing was heard of for so long is gone, as with its fence.
const FORGOTTEN_AFTER: Span = Span::from_seconds(7 * 86_400);
const COLUMNS: &str = "id, version, key_id, process, process_began, began_at, seen_at, seen_by, mac";

impl Hold {
    fn read(tx: &Tx<'_>, row: &Row) -> Result<Self> {
        FACTS.check(tx, row)?;
        Ok(Self {
            id: row.text(0)?.to_owned(),
            version: row.parse(1, "version id")?,
            key: row.parse(2, "key id")?,
            process: row.maybe_count(3)?.zip(row.maybe_count(4)?),
            began_at: row.time(5)?,
            seen_at: row.time(6)?,
            seen_by: row.maybe_text(7)?.map(str::to_owned),
        })
    }
}

impl Tx<'_> {
    /// A program was given a version's value.
    ///
    /// # Errors
    /// When the ledger can't be written.
    pub fn add_hold(
        &self,
        id: &str,
        version: VersionId,
        key: KeyId,
        process: Option<(u64, u64)>,
        by: Option<&str>,
    ) -> Result<()> {
        let facts = vec![
            id.into(),
            Value::text(version),
            Value::text(key),
            process.map(|(process, _)| process).into(),
            process.map(|(_, began)| began).into(),
            self.now().into(),
        ];
        self.execute(
            "INSERT INTO holds (id, version, key_id, process, process_began, began_at, seen_at, seen_by, mac) \
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9) ON CONFLICT DO NOTHING",
            &FACTS.with(self, facts, [self.now().into(), by.into()])?,
        )?;
        Ok(())
    }

    /// What one program holds.
    ///
    /// # Errors
    /// When the ledger can't be read.
    pub fn hold(&self, id: &str) -> Result<Vec<Hold>> {
        let sql = format!("SELECT {COLUMNS} FROM holds WHERE id = $1 ORDER BY version");
        self.query(&sql, &[id.into()])?.iter().map(|row| Hold::read(self, row)).collect()
    }

    /// Which programs hold a version.
    ///
    /// # Errors
    /// When the ledger can't be read.
    pub fn holds_of(&self, version: VersionId) -> Result<Vec<Hold>> {
        let sql = format!("SELECT {COLUMNS} FROM holds WHERE version = $1 ORDER BY began_at, id");
        self.query(&sql, &[Value::text(version)])?.iter().map(|row| Hold::read(self, row)).collect()
    }

    /// A program was heard of just now, by a broker.
    ///
    /// # Errors
    /// When the ledger can't be written.
    pub fn see_hold(&self, id: &str, by: Option<&str>) -> Result<()> {
        let sql = "UPDATE holds SET seen_at = $2, seen_by = $3 WHERE id = $1";
        self.execute(sql, &[id.into(), self.now().into(), by.into()])?;
        Ok(())
    }

    /// The programs of which no broker is said to have heard are a broker's from here on.
    ///
    /// # Errors
    /// When the ledger can't be written.
    pub fn adopt_holds(&self, broker: &str) -> Result<()> {
        self.execute("UPDATE holds SET seen_by = $1 WHERE seen_by IS NULL", &[broker.into()])?;
        Ok(())
    }

    /// The programs that a broker heard of last and whose process is known.
    ///
    /// # Errors
    /// When the ledger can't be read.
    pub fn holds_seen_by(&self, broker: &str) -> Result<Vec<Hold>> {
        let sql = format!(
            "SELECT {COLUMNS} FROM holds WHERE seen_by = $1 AND process IS NOT NULL ORDER BY began_at, id"
        );
        self.query(&sql, &[broker.into()])?.iter().map(|row| Hold::read(self, row)).collect()
    }

    /// A broker is there to be spoken to, from `since` on without a gap until now. Those that are gone for long are forgotten, but for
    /// those whose programs are still known: what they heard says whether a program lives.
    ///
    /// # Errors
    /// When the ledger can't be written.
    pub fn listened(&self, broker: &str, since: Timestamp) -> Result<()> {
        let sql = "INSERT INTO listeners (name, since, until) VALUES ($1, $2, $3) ON CONFLICT (name) DO UPDATE \
                   SET since = $2, until = $3";
        self.execute(sql, &[broker.into(), since.into(), self.now().into()])?;
        let forgotten = "DELETE FROM listeners WHERE until < $1 \
                         AND NOT EXISTS (SELECT 1 FROM holds WHERE holds.seen_by = listeners.name)";
        self.execute(forgotten, &[before(self, FORGOTTEN_AFTER).into()])?;
        Ok(())
    }

    /// For how long a broker was there to be spoken to, the last time that it was.
    ///
    /// # Errors
    /// When the ledger can't be read.
    pub fn listening(&self, broker: &str) -> Result<Option<Listened>> {
        let row = self.first("SELECT since, until FROM listeners WHERE name = $1", &[broker.into()])?;
        row.map(|row| Ok(Listened { since: row.time(0)?, until: row.time(1)? })).transpose()
    }

    /// All brokers that were there to be spoken to lately, by their names.
    ///
    /// # Errors
    /// When the ledger can't be read.
    pub fn listeners(&self) -> Result<Vec<(String, Listened)>> {
        let rows = self.query("SELECT name, since, until FROM listeners ORDER BY name", &[])?;
        let read =
            |row: &Row| Ok((row.text(0)?.to_owned(), Listened { since: row.time(1)?, until: row.time(2)? }));
        rows.iter().map(read).collect()
    }

    /// A program ended. Until just now it may have used what it held.
    ///
    /// # Errors
    /// When the ledger can't be written.
    pub fn end_hold(&self, id: &str) -> Result<()> {
        self.execute(
            "UPDATE drains SET seen_by_us_at = $2 WHERE version IN (SELECT version FROM holds WHERE id = $1)",
            &[id.into(), self.now().into()],
        )?;
        self.execute("DELETE FROM holds WHERE id = $1", &[id.into()])?;
        Ok(())
    }

    /// Forgets the programs that nothing was heard of for so long.
    ///
    /// # Errors
    /// When the ledger can't be written.
    pub fn forget_holds(&self, silent_for: Span) -> Result<()> {
        self.execute("DELETE FROM holds WHERE seen_at < $1", &[before(self, silent_for).into()])?;
        Ok(())
    }
}

/// A time that is so long ago, in milliseconds since 1970.
fn before(tx: &Tx<'_>, span: Span) -> i64 {
    let span = i64::try_from(span.seconds()).unwrap_or(i64::MAX).saturating_mul(1_000);
    tx.now().as_millisecond().saturating_sub(span)
}
