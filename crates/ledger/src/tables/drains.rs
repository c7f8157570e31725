//! Drains: what is known about the use of versions that were replaced, until they end.

use jiff::Timestamp;
use keywright_core::drain::Observed;
use keywright_core::id::{KeyId, SagaId, VersionId};
use keywright_core::key::{Key, Version, VersionState};
use keywright_core::provider::Usage;

use crate::error::Result;
use crate::sql::{Facts, Row, Tx, Value};

/// A version that was replaced, and what was seen of it since.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Drain {
    /// The version.
    pub version: VersionId,
    /// Its key.
    pub key: KeyId,
    /// The rotation that replaced it.
    pub saga: SagaId,
    /// What was seen.
    pub observed: Observed,
    /// When somebody was told that it lives too long.
    pub alerted_at: Option<Timestamp>,
    /// When it was switched off at the provider.
    pub disabled_at: Option<Timestamp>,
    /// Who said that it may end whatever was seen, and why.
    pub word: Option<String>,
}

pub(crate) const FACTS: Facts = Facts { table: "drains", what: "drain", count: 4, columns: COLUMNS };
const COLUMNS: &str = "version, key_id, saga, since, looked_at, last_used_at, counted_since, usage_tokens, usage_microusd, \
                       grew_at, seen_by_us_at, alerted_at, disabled_at, word, mac";

impl Drain {
    fn read(tx: &Tx<'_>, row: &Row) -> Result<Self> {
        FACTS.check(tx, row)?;
        let counted_since = row.maybe_time(6)?;
        let usage = Usage { tokens: row.maybe_count(7)?, cost_microusd: row.maybe_count(8)? };
        Ok(Self {
            version: row.parse(0, "version id")?,
            key: row.parse(1, "key id")?,
            saga: row.parse(2, "saga id")?,
            observed: Observed {
                since: row.time(3)?,
                looked_at: row.maybe_time(4)?,
                last_used_at: row.maybe_time(5)?,
                counted_since,
                usage: counted_since.map(|_| usage),
                grew_at: row.maybe_time(9)?,
                seen_by_us_at: row.maybe_time(10)?,
            },
            alerted_at: row.maybe_time(11)?,
            disabled_at: row.maybe_time(12)?,
            word: row.maybe_text(13)?.map(str::to_owned),
        })
    }
}

impl Tx<'_> {
    /// A version was replaced just now; from here on its use is watched.
    ///
    /// # Errors
    /// When the ledger can't be written.
    pub fn add_drain(&self, version: VersionId, key: KeyId, saga: SagaId) -> Result<()> {
        let facts = vec![Value::text(version), Value::text(key), Value::text(saga), self.now().into()];
        self.execute(
            "INSERT INTO drains (version, key_id, saga, since, mac) VALUES ($1, $2, $3, $4, $5)",
            &FACTS.with(self, facts, [])?,
        )?;
        Ok(())
    }

    /// The drains of a key, those that are over included, oldest first.
    ///
    /// # Errors
    /// When the ledger can't be read.
    pub fn drains(&self, key: KeyId) -> Result<Vec<Drain>> {
        let sql = format!("SELECT {COLUMNS} FROM drains WHERE key_id = $1 ORDER BY since, version");
        self.query(&sql, &[Value::text(key)])?.iter().map(|row| Drain::read(self, row)).collect()
    }

    /// How many versions that were replaced live longer than they should.
    ///
    /// # Errors
    /// When the ledger can't be read.
    pub fn drains_late(&self) -> Result<u64> {
        let sql = "SELECT COUNT(*) FROM drains d WHERE d.alerted_at IS NOT NULL AND EXISTS \
                   (SELECT 1 FROM versions v WHERE v.id = d.version AND v.state = 'draining')";
        self.first(sql, &[])?.map_or(Ok(0), |row| row.count(0))
    }

    /// A version that was replaced and lives longer than it should, and its key; nothing once it does not.
    ///
    /// # Errors
    /// When the ledger can't be read.
    pub fn drain_late(&self, version: VersionId) -> Result<Option<(Key, Version)>> {
        let sql = "SELECT key_id FROM drains WHERE version = $1 AND alerted_at IS NOT NULL";
        let Some(row) = self.first(sql, &[Value::text(version)])? else { return Ok(None) };
        let key: KeyId = row.parse(0, "key id")?;
        let versions = self.versions(key)?.into_iter();
        let late = versions.filter(|one| one.state == VersionState::Draining).find(|one| one.id == version);
        late.map(|version| Ok((self.key(key)?, version))).transpose()
    }

    /// Keeps what was seen of a version. That we saw it in use ourselves is never taken back.
    ///
    /// # Errors
    /// When the ledger can't be written.
    pub fn observe(&self, version: VersionId, observed: &Observed) -> Result<()> {
        let usage = observed.usage.unwrap_or_default();
        self.execute(
            "UPDATE drains SET looked_at = $2, last_used_at = $3, counted_since = $4, usage_tokens = $5, \
             usage_microusd = $6, grew_at = $7, \
             seen_by_us_at = CASE WHEN $8 > COALESCE(seen_by_us_at, 0) THEN $8 ELSE seen_by_us_at END WHERE version = $1",
            &[
                Value::text(version),
                observed.looked_at.into(),
                observed.last_used_at.into(),
                observed.counted_since.into(),
                usage.tokens.into(),
                usage.cost_microusd.into(),
                observed.grew_at.into(),
                observed.seen_by_us_at.into(),
            ],
        )?;
        Ok(())
    }

    /// Notes that somebody was told that a version lives too long. False when that was noted before.
    ///
    /// # Errors
    /// When the ledger can't be written.
    pub fn alert_drain(&self, version: VersionId) -> Result<bool> {
        let sql = "UPDATE drains SET alerted_at = $2 WHERE version = $1 AND alerted_at IS NULL";
        Ok(self.execute(sql, &[Value::text(version), self.now().into()])? > 0)
    }

    /// Notes that a version was switched off just now, or, with `false`, that it is on again and what was said of it no
    /// longer counts.
    ///
    /// # Errors
    /// When the ledger can't be written.
    pub fn set_drain_disabled(&self, version: VersionId, is_off: bool) -> Result<()> {
        let at = is_off.then(|| self.now());
        self.execute(
            "UPDATE drains SET disabled_at = $2, word = CASE WHEN CAST($2 AS BIGINT) IS NULL THEN NULL ELSE word END WHERE version = $1",
            &[Value::text(version), at.into()],
        )?;
        Ok(())
    }

    /// A version was seen in use just now.
    ///
    /// # Errors
    /// When the ledger can't be written.
    pub fn see_use(&self, version: VersionId) -> Result<()> {
        let sql = "UPDATE drains SET seen_by_us_at = $2 WHERE version = $1";
        self.execute(sql, &[Value::text(version), self.now().into()])?;
        Ok(())
    }

    /// A version is in force again; what was seen of it while it drained stays in the log only.
    ///
    /// # Errors
    /// When the ledger can't be written.
    pub fn end_drain(&self, version: VersionId) -> Result<()> {
        self.execute("DELETE FROM drains WHERE version = $1", &[Value::text(version)])?;
        Ok(())
    }

    /// Keeps somebody's word that the replaced versions of a key may end.
    ///
    /// # Errors
    /// When the ledger can't be written.
    pub fn give_word(&self, saga: SagaId, word: &str) -> Result<()> {
        self.execute("UPDATE drains SET word = $2 WHERE saga = $1", &[Value::text(saga), word.into()])?;
        Ok(())
    }
}
