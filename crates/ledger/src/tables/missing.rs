//! Versions that a provider does not find, and those that came back.

use jiff::Timestamp;
use keywright_core::id::VersionId;
use keywright_core::key::Version;
use keywright_core::name::ConnectionName;
use keywright_core::span::Span;

use super::keys::{VERSION, read_version};
use crate::error::{LedgerError, Result};
use crate::sql::{Tx, Value};

impl Tx<'_> {
    /// A version was looked for in vain. It is looked for again when it is missing for `apart`, and so long after each look from then
    /// on. Says since when it is missing.
    ///
    /// # Errors
    /// [`LedgerError::Missing`] where there is no such version.
    pub fn miss_version(&self, version: VersionId, apart: Span) -> Result<Timestamp> {
        let found =
            self.first("SELECT missing_since FROM versions WHERE id = $1", &[Value::text(version)])?;
        let found =
            found.ok_or_else(|| LedgerError::Missing { what: "version", name: version.to_string() })?;
        // One that has not come was written by a clock that was ahead, or by somebody else.
        let since = found.time_if(0).filter(|since| *since <= self.now()).unwrap_or(self.now());
        let next = if apart.after(since) > self.now() { apart.after(since) } else { apart.after(self.now()) };
        let sql = "UPDATE versions SET missing_since = $2, missing_look_at = $3 WHERE id = $1";
        self.execute(sql, &[Value::text(version), since.into(), next.into()])?;
        Ok(since)
    }

    /// A version that is missing could not be looked for, and is to be looked for again.
    ///
    /// # Errors
    /// When the ledger can't be written.
    pub fn look_for_version_later(&self, version: VersionId, apart: Span) -> Result<()> {
        let sql = "UPDATE versions SET missing_look_at = $2 WHERE id = $1 AND missing_since IS NOT NULL";
        self.execute(sql, &[Value::text(version), apart.after(self.now()).into()]).map(drop)
    }

    /// Since when a version is missing, where it is.
    ///
    /// # Errors
    /// When the ledger can't be read.
    pub fn missing_since(&self, version: VersionId) -> Result<Option<Timestamp>> {
        let sql = "SELECT missing_since FROM versions WHERE id = $1";
        self.first(sql, &[Value::text(version)])?.map_or(Ok(None), |row| Ok(row.time_if(0)))
    }

    /// A version was found, or is looked for no more.
    ///
    /// # Errors
    /// When the ledger can't be written.
    pub fn found_version(&self, version: VersionId) -> Result<()> {
        let sql = "UPDATE versions SET missing_since = NULL, missing_look_at = NULL WHERE id = $1 AND missing_since IS NOT NULL";
        self.execute(sql, &[Value::text(version)])?;
        Ok(())
    }

    /// Versions that are to be looked for again by now, at most 100.
    ///
    /// # Errors
    /// When the ledger can't be read.
    pub fn versions_to_look_for(&self) -> Result<Vec<Version>> {
        let sql = format!(
            "SELECT {VERSION} FROM versions v WHERE v.missing_look_at <= $1 AND v.state IN ('active', 'draining') \
             ORDER BY v.missing_look_at"
        );
        self.first_sound(&sql, &[self.now().into()], 100, read_version)
    }

    /// The provider's ids of the versions that should live and are missing.
    ///
    /// # Errors
    /// When the ledger can't be read.
    pub fn versions_missing(&self) -> Result<Vec<String>> {
        let sql = "SELECT provider_key_id FROM versions WHERE missing_look_at IS NOT NULL AND state IN ('active', 'draining')";
        self.query(sql, &[])?.iter().map(|row| Ok(row.text(0)?.to_owned())).collect()
    }

    /// A version that was gone is there again, or not any more. Says whether that is news.
    ///
    /// # Errors
    /// When the ledger can't be written.
    pub fn set_version_back(&self, version: VersionId, is_back: bool) -> Result<bool> {
        let (at, before) = if is_back { (Some(self.now()), "NULL") } else { (None, "NOT NULL") };
        let sql = format!("UPDATE versions SET back_at = $2 WHERE id = $1 AND back_at IS {before}");
        Ok(self.execute(&sql, &[Value::text(version), at.into()])? > 0)
    }

    /// The versions of a connection that came back and wait for somebody's word, with the provider's ids.
    ///
    /// # Errors
    /// When the ledger can't be read.
    pub fn back_of(&self, connection: &ConnectionName) -> Result<Vec<(VersionId, String)>> {
        let sql = "SELECT v.id, v.provider_key_id FROM versions v JOIN keys k ON k.id = v.key_id \
                   WHERE v.back_at IS NOT NULL AND k.connection = $1";
        let rows = self.query(sql, &[Value::text(connection)])?;
        rows.iter().map(|row| Ok((row.parse(0, "version id")?, row.text(1)?.to_owned()))).collect()
    }

    /// How many versions came back that were gone, and wait for somebody's word.
    ///
    /// # Errors
    /// When the ledger can't be read.
    pub fn versions_back(&self) -> Result<u64> {
        let row = self.first("SELECT COUNT(*) FROM versions WHERE back_at IS NOT NULL", &[])?;
        row.map_or(Ok(0), |row| row.count(0))
    }
}
