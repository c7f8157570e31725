//! When keys are due to be rotated, and which could not be.

use jiff::Timestamp;
use keywright_core::id::KeyId;
use keywright_core::key::Key;
use keywright_core::name::ConnectionName;
use keywright_core::span::Span;

use super::keys::{KEY, read_key};
use super::none_of;
use crate::error::{LedgerError, Result};
use crate::sql::{Tx, Value};

/// A key whose version may be replaced.
const REPLACEABLE: &str = "state = 'active' AND disabled_at IS NULL";
/// The keys with a version of after some time. One of tomorrow was made while the clock was ahead, and so was what stands in
/// `rotate_at`.
const AHEAD: &str = "SELECT key_id FROM versions WHERE state = 'active' AND created_at >";

impl Tx<'_> {
    /// Active keys whose version is due to be replaced, at most `limit`, the longest due first, besides those of some connections.
    ///
    /// # Errors
    /// When the ledger can't be read.
    pub fn keys_to_rotate(&self, limit: u32, besides: &[ConnectionName]) -> Result<Vec<KeyId>> {
        let (others, besides) = none_of("connection", besides, 3);
        let due = format!(
            "SELECT id FROM keys WHERE {REPLACEABLE} AND rotate_at <= $1{others} ORDER BY rotate_at LIMIT $2"
        );
        let with = |from: Value, limit: i64| [&[from, limit.into()], &besides[..]].concat();
        let mut rows = self.query(&due, &with(self.now().into(), i64::from(limit)))?;
        // Apart from the others, because nearly all keys are due later than tomorrow and none is of tomorrow.
        let ahead = format!(
            "SELECT id FROM keys WHERE {REPLACEABLE} AND +rotate_at > $1 AND id IN ({AHEAD} $1){others} ORDER BY +rotate_at LIMIT $2"
        );
        let left = i64::from(limit).saturating_sub_unsigned(rows.len() as u64);
        rows.extend(self.query(&ahead, &with(self.tomorrow(), left))?);
        rows.iter().map(|row| row.parse(0, "key id")).collect()
    }

    /// Whether a key's version is due to be replaced.
    ///
    /// # Errors
    /// When the ledger can't be read.
    pub fn is_to_rotate(&self, id: KeyId) -> Result<bool> {
        let sql = format!(
            "SELECT id FROM keys WHERE {REPLACEABLE} AND (rotate_at <= $1 OR (rotate_at > $2 AND id IN ({AHEAD} $2 \
             AND key_id = $3))) AND id = $3"
        );
        Ok(self.first(&sql, &[self.now().into(), self.tomorrow(), Value::text(id)])?.is_some())
    }

    fn tomorrow(&self) -> Value {
        Span::from_seconds(86_400).after(self.now()).into()
    }

    /// Why the last rotation of a key came to nothing, where it did.
    ///
    /// # Errors
    /// [`LedgerError::Missing`].
    pub fn rotation_trouble(&self, id: KeyId) -> Result<Option<String>> {
        let row = self.first("SELECT rotate_trouble FROM keys WHERE id = $1", &[Value::text(id)])?;
        let row = row.ok_or_else(|| LedgerError::Missing { what: "key", name: id.to_string() })?;
        Ok(row.maybe_text(0)?.map(str::to_owned))
    }

    /// How many living keys could not be rotated when they were due.
    ///
    /// # Errors
    /// When the ledger can't be read.
    pub fn rotations_failing(&self) -> Result<u64> {
        let row = self.first(
            "SELECT COUNT(*) FROM keys WHERE rotate_tries > 0 AND rotate_at IS NOT NULL AND state = 'active'",
            &[],
        )?;
        row.map_or(Ok(0), |row| row.count(0))
    }

    /// The first of those, with the reason.
    ///
    /// # Errors
    /// When the ledger can't be read.
    pub fn keys_failing(&self, limit: u32) -> Result<Vec<(Key, Option<String>)>> {
        let sql = format!(
            "SELECT {KEY} FROM keys WHERE rotate_tries > 0 AND rotate_at IS NOT NULL AND state = 'active' \
             ORDER BY rotate_tries DESC LIMIT $1"
        );
        let keys = self.sound(&self.query(&sql, &[i64::from(limit).into()])?, read_key)?;
        keys.into_iter()
            .map(|key| Ok((self.rotation_trouble(key.id)?, key)))
            .map(|one| one.map(|(why, key)| (key, why)))
            .collect()
    }

    /// The rotation of a key came to nothing; it is tried again at `again`.
    ///
    /// # Errors
    /// When the ledger can't be written.
    pub fn rotation_failed(&self, id: KeyId, again: Option<Timestamp>, tries: u64, why: &str) -> Result<()> {
        self.set_rotation(id, again, tries)?;
        self.execute("UPDATE keys SET rotate_trouble = $2 WHERE id = $1", &[Value::text(id), why.into()])?;
        Ok(())
    }

    /// When a key's version is due to be replaced, and how often that failed since it last went well.
    ///
    /// # Errors
    /// [`LedgerError::Missing`].
    pub fn rotation_of(&self, id: KeyId) -> Result<(Option<Timestamp>, u64)> {
        let row = self.first("SELECT rotate_at, rotate_tries FROM keys WHERE id = $1", &[Value::text(id)])?;
        let row = row.ok_or_else(|| LedgerError::Missing { what: "key", name: id.to_string() })?;
        Ok((row.maybe_time(0)?, row.count(1)?))
    }

    /// Sets when a key's version is due to be replaced, and how often that failed since it last went well.
    ///
    /// # Errors
    /// When the ledger can't be written.
    pub fn set_rotation(&self, id: KeyId, at: Option<Timestamp>, tries: u64) -> Result<()> {
        let sql = "UPDATE keys SET rotate_at = $2, rotate_tries = $3 WHERE id = $1";
        self.execute(sql, &[Value::text(id), at.into(), tries.into()])?;
        Ok(())
    }
}
