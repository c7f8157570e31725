//! What the embedded store holds: sealed values under places, versions kept until they are revoked.

use keywright_core::id::{KeyId, PlacementId, SealedId, VersionId};
use keywright_core::marker::Marker;

use crate::error::Result;
use crate::sql::{Facts, Row, Tx, Value};

/// One version of a value at a place of the embedded store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EmbeddedValue {
    /// `project/environment/NAME`.
    pub place: String,
    /// Counts from 1 at each place.
    pub number: u64,
    /// The placement that wrote it.
    pub placement: PlacementId,
    /// The key.
    pub key: KeyId,
    /// The version.
    pub version: VersionId,
    /// The attempt's marker.
    pub marker: Marker,
    /// The sealed value.
    pub sealed: SealedId,
}

pub(crate) const FACTS: Facts = Facts { table: "embedded_values", what: "value", count: 7, columns: COLUMNS };
const COLUMNS: &str = "place, number, placement, key_id, version, marker, sealed, mac";

impl EmbeddedValue {
    fn read(tx: &Tx<'_>, row: &Row) -> Result<Self> {
        FACTS.check(tx, row)?;
        Ok(Self {
            place: row.text(0)?.to_owned(),
            number: row.count(1)?,
            placement: row.parse(2, "placement id")?,
            key: row.parse(3, "key id")?,
            version: row.parse(4, "version id")?,
            marker: Marker::from_ledger(row.text(5)?.to_owned()),
            sealed: row.parse(6, "sealed value id")?,
        })
    }
}

impl Tx<'_> {
    /// The newest value at a place.
    ///
    /// # Errors
    /// When the ledger can't be read.
    pub fn embedded_current(&self, place: &str) -> Result<Option<EmbeddedValue>> {
        let sql =
            format!("SELECT {COLUMNS} FROM embedded_values WHERE place = $1 ORDER BY number DESC LIMIT 1");
        self.first(&sql, &[place.into()])?.map(|row| EmbeddedValue::read(self, &row)).transpose()
    }

    /// What a placement wrote, if it is still there.
    ///
    /// # Errors
    /// When the ledger can't be read.
    pub fn embedded_of(&self, placement: PlacementId) -> Result<Option<EmbeddedValue>> {
        let sql = format!("SELECT {COLUMNS} FROM embedded_values WHERE placement = $1");
        self.first(&sql, &[Value::text(placement)])?.map(|row| EmbeddedValue::read(self, &row)).transpose()
    }

    /// Adds a value at a place; its sealed form was put in the same transaction.
    ///
    /// # Errors
    /// When the ledger can't be written.
    pub fn add_embedded(&self, value: &EmbeddedValue) -> Result<()> {
        let facts = vec![
            value.place.as_str().into(),
            value.number.into(),
            Value::text(value.placement),
            Value::text(value.key),
            Value::text(value.version),
            Value::text(&value.marker),
            Value::text(value.sealed),
        ];
        self.execute(
            "INSERT INTO embedded_values (place, number, placement, key_id, version, marker, sealed, written_at, mac) \
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)",
            &FACTS.with(self, facts, [self.now().into()])?,
        )?;
        Ok(())
    }

    /// Removes what a placement wrote, sealed form included.
    ///
    /// # Errors
    /// When the ledger can't be written.
    pub fn remove_embedded(&self, placement: PlacementId) -> Result<()> {
        let Some(value) = self.embedded_of(placement)? else { return Ok(()) };
        self.execute("DELETE FROM embedded_values WHERE placement = $1", &[Value::text(placement)])?;
        self.execute("DELETE FROM sealed_values WHERE id = $1", &[Value::text(value.sealed)])?;
        Ok(())
    }
}
