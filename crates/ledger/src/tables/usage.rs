//! Usage: what providers counted of versions, over time. A row is written when the count moved; of the last one it is noted until
//! when it was seen to stand still.

use jiff::Timestamp;
use keywright_core::id::VersionId;
use keywright_core::provider::Usage;

use crate::error::Result;
use crate::sql::{Facts, Row, Tx, Value};

pub(crate) const FACTS: Facts =
    Facts { table: "usage_counts", what: "usage count", count: 4, columns: COLUMNS };
const COLUMNS: &str = "version, at, tokens, cost_microusd, seen_until, mac";

/// What a provider said that a version had used in all, at a moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UsageCount {
    /// When it was seen first.
    pub at: Timestamp,
    /// When it was seen last: until then it did not move.
    pub seen_until: Timestamp,
    /// What.
    pub usage: Usage,
}

fn read(tx: &Tx<'_>, row: &Row) -> Result<UsageCount> {
    FACTS.check(tx, row)?;
    let usage = Usage { tokens: row.maybe_count(2)?, cost_microusd: row.maybe_count(3)? };
    Ok(UsageCount { at: row.time(1)?, seen_until: row.time(4)?, usage })
}

impl Tx<'_> {
    /// Keeps what a provider says that a version used in all. What is known already is not kept twice.
    ///
    /// # Errors
    /// When the ledger can't be written.
    pub fn count_usage(&self, version: VersionId, usage: Usage) -> Result<()> {
        if let Some(last) = self.usage_until(version, Timestamp::MAX)?.filter(|last| last.usage == usage) {
            let sql = "UPDATE usage_counts SET seen_until = $3 WHERE version = $1 AND at = $2";
            self.execute(sql, &[Value::text(version), last.at.into(), self.now().into()])?;
            return Ok(());
        }
        let facts =
            vec![Value::text(version), self.now().into(), usage.tokens.into(), usage.cost_microusd.into()];
        self.execute(
            "INSERT INTO usage_counts (version, at, tokens, cost_microusd, seen_until, mac) \
             VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT DO NOTHING",
            &FACTS.with(self, facts, [self.now().into()])?,
        )?;
        Ok(())
    }

    /// The first count of a version after a moment.
    ///
    /// # Errors
    /// When the ledger can't be read.
    pub fn usage_after(&self, version: VersionId, after: Timestamp) -> Result<Option<UsageCount>> {
        let sql =
            format!("SELECT {COLUMNS} FROM usage_counts WHERE version = $1 AND at > $2 ORDER BY at LIMIT 1");
        self.first(&sql, &[Value::text(version), after.into()])?.map(|row| read(self, &row)).transpose()
    }

    /// The last count of a version up to a moment.
    ///
    /// # Errors
    /// When the ledger can't be read.
    pub fn usage_until(&self, version: VersionId, until: Timestamp) -> Result<Option<UsageCount>> {
        let sql = format!(
            "SELECT {COLUMNS} FROM usage_counts WHERE version = $1 AND at <= $2 ORDER BY at DESC LIMIT 1"
        );
        let row = self.first(&sql, &[Value::text(version), until.into()])?;
        row.map(|row| read(self, &row)).transpose()
    }
}
