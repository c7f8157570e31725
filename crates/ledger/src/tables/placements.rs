//! Placements: the copies of versions, on their way into stores and out of them.

use jiff::Timestamp;
use keywright_core::id::{KeyId, PlacementId};
use keywright_core::key::{Placement, PlacementState};
use keywright_core::name::StoreName;
use keywright_core::place::Place;
use keywright_core::plan::Destination;
use keywright_core::store::{Change, VerifyMode};

use super::none_of;
use crate::error::{LedgerError, Result};
use crate::sql::{Facts, Row, Tx, Value};

pub(crate) const FACTS: Facts = Facts { table: "placements", what: "placement", count: 6, columns: COLUMNS };
const COLUMNS: &str = "id, version, key_id, store, place, base, store_version, verified, state, change, mac";

fn read_placement(tx: &Tx<'_>, row: &Row) -> Result<Placement> {
    FACTS.check(tx, row)?;
    let place = Place { store: row.parse(3, "store name")?, place: row.text(4)?.to_owned() };
    Ok(Placement {
        id: row.parse(0, "placement id")?,
        version: row.parse(1, "version id")?,
        key: row.parse(2, "key id")?,
        destination: Destination { place, base: row.maybe_text(5)?.map(str::to_owned) },
        store_version: row.text_if(6).map(str::to_owned),
        verified: row.text_if(7).and_then(VerifyMode::parse),
        // Something may lie there.
        state: row.state_or(8, PlacementState::parse, PlacementState::Written),
        change: row.text_if(9).and_then(Change::parse),
    })
}

/// The states of placements of which nothing is to be taken back, as SQL.
pub(super) fn nothing_lies() -> String {
    let states = PlacementState::ALL.iter().filter(|state| !state.may_lie());
    states.map(|state| format!("'{state}'")).collect::<Vec<_>>().join(", ")
}

fn unmarked() -> String {
    format!(
        "FROM placements p JOIN versions v ON v.id = p.version WHERE p.ends_at IS NULL AND p.state NOT IN ({}) \
         AND v.state IN ('revoking', 'revoked')",
        nothing_lies()
    )
}

impl Tx<'_> {
    /// Records a placement that is about to be written.
    ///
    /// # Errors
    /// When the ledger can't be written.
    pub fn add_placement(&self, placement: &Placement) -> Result<()> {
        let facts = vec![
            Value::text(placement.id),
            Value::text(placement.version),
            Value::text(placement.key),
            Value::text(&placement.destination.place.store),
            placement.destination.place.place.as_str().into(),
            Value::maybe(placement.destination.base.as_deref()),
        ];
        self.execute(
            "INSERT INTO placements (id, version, key_id, store, place, base, state, updated_at, mac) \
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)",
            &FACTS.with(self, facts, [Value::text(placement.state), self.now().into()])?,
        )?;
        Ok(())
    }

    /// The placements of a key, in a fixed order.
    ///
    /// # Errors
    /// When the ledger can't be read.
    pub fn placements(&self, key: KeyId) -> Result<Vec<Placement>> {
        let sql = format!("SELECT {COLUMNS} FROM placements WHERE key_id = $1 ORDER BY id");
        self.query(&sql, &[Value::text(key)])?.iter().map(|row| read_placement(self, row)).collect()
    }

    /// A placement.
    ///
    /// # Errors
    /// When there is none of this id, or the ledger can't be read.
    pub fn placement(&self, id: PlacementId) -> Result<Placement> {
        let sql = format!("SELECT {COLUMNS} FROM placements WHERE id = $1");
        let row = self.first(&sql, &[Value::text(id)])?;
        let row = row.ok_or_else(|| LedgerError::Missing { what: "placement", name: id.to_string() })?;
        read_placement(self, &row)
    }

    /// Copies of versions that are revoked, or owed by a key that is to end, that may still lie in their stores and were
    /// not tried since a moment, at most 100. Those that wait for people in their stores: not since the other one. Besides
    /// those in some stores.
    ///
    /// # Errors
    /// When the ledger can't be read.
    pub fn placements_left(
        &self,
        untried_since: Timestamp,
        people_since: Timestamp,
        besides: &[StoreName],
    ) -> Result<Vec<Placement>> {
        let (others, besides) = none_of("store", besides, 3);
        let sql = format!(
            "SELECT {COLUMNS} FROM placements WHERE id IN (\
             SELECT id FROM placements WHERE state IN ('leaving', 'unwanted') AND updated_at <= $2{others} \
             UNION ALL SELECT id FROM placements WHERE ends_at IS NOT NULL AND state NOT IN ({}) \
             AND state NOT IN ('leaving', 'unwanted') AND updated_at <= $1{others} \
             AND EXISTS (SELECT 1 FROM versions v JOIN keys k ON k.id = v.key_id WHERE v.id = placements.version \
             AND ((v.state = 'revoked' AND (k.state <> 'active' OR placements.store = 'embedded')) \
             OR (v.state = 'revoking' AND k.state = 'revoking')))) \
             ORDER BY updated_at",
            nothing_lies()
        );
        let mut parameters = vec![untried_since.into(), people_since.into()];
        parameters.extend(besides);
        self.first_sound(&sql, &parameters, 100, read_placement)
    }

    /// Whether there are copies that may still lie in their stores, of versions that are owed or revoked, which nobody looks at:
    /// a broker from before there was a mark for that ended their versions.
    ///
    /// # Errors
    /// When the ledger can't be read.
    pub fn has_unmarked_copies(&self) -> Result<bool> {
        Ok(self.first(&format!("SELECT 1 {} LIMIT 1", unmarked()), &[])?.is_some())
    }

    /// Has those be looked at from now on. How many there were.
    ///
    /// # Errors
    /// When the ledger can't be written.
    pub fn mark_copies(&self) -> Result<u64> {
        let sql = format!("UPDATE placements SET ends_at = $1 WHERE id IN (SELECT p.id {})", unmarked());
        self.execute(&sql, &[self.now().into()])
    }

    /// Writes what became of a copy that was to be taken back: its next state, with the change that the store has of it, or
    /// with `None` only that it was tried. `false` when it has its last state already; two may remove one copy, and the
    /// later one changes nothing.
    ///
    /// # Errors
    /// When the ledger can't be written.
    pub fn retire_placement(
        &self,
        id: PlacementId,
        next: Option<(PlacementState, Option<&Change>)>,
    ) -> Result<bool> {
        let sql = format!(
            "UPDATE placements SET state = COALESCE($2, state), change = COALESCE($3, change), \
             updated_at = $4, doubted_at = CASE WHEN $2 IS NULL THEN $4 WHEN state = 'writing' THEN updated_at \
             ELSE doubted_at END WHERE id = $1 AND state NOT IN ({})",
            nothing_lies()
        );
        let (state, change) = next.map_or((None, None), |(state, change)| (Some(state.as_str()), change));
        let values =
            [Value::text(id), Value::maybe(state), Value::maybe(change.map(Change::text)), self.now().into()];
        Ok(self.execute(&sql, &values)? > 0)
    }

    /// Records that a store waits for somebody's approval of a placement's write.
    ///
    /// # Errors
    /// When the ledger can't be written.
    pub fn await_placement(&self, id: PlacementId, change: &Change) -> Result<()> {
        self.execute(
            "UPDATE placements SET state = 'waiting', change = $2, updated_at = $3 WHERE id = $1",
            &[Value::text(id), Value::text(change.text()), self.now().into()],
        )?;
        Ok(())
    }

    /// The last moment at which something may have been sent to a copy's place, for another copy, that was never answered.
    ///
    /// # Errors
    /// When the ledger can't be read.
    pub fn doubted_at(&self, copy: &Placement) -> Result<Option<Timestamp>> {
        let sql = "SELECT MAX(CASE WHEN state = 'writing' THEN updated_at ELSE doubted_at END) FROM placements \
                   WHERE store = $1 AND place = $2 AND COALESCE(base, '') = $3 AND id <> $4";
        let Destination { place, base } = &copy.destination;
        let values = [
            Value::text(&place.store),
            place.place.as_str().into(),
            base.as_deref().unwrap_or_default().into(),
            Value::text(copy.id),
        ];
        self.query(sql, &values)?.first().map_or(Ok(None), |row| row.maybe_time(0))
    }

    /// Gives up the changes that nobody wants any more in a store that goes.
    ///
    /// # Errors
    /// When the ledger can't be written.
    pub fn forget_unwanted(&self, store: &StoreName) -> Result<()> {
        let sql = "UPDATE placements SET state = 'removed' WHERE store = $1 AND state = 'unwanted'";
        self.execute(sql, &[Value::text(store)])?;
        Ok(())
    }

    /// Moves a placement on, with what the store said about it.
    ///
    /// # Errors
    /// When the ledger can't be written.
    pub fn move_placement(
        &self,
        id: PlacementId,
        state: PlacementState,
        store_version: Option<&str>,
        verified: Option<VerifyMode>,
    ) -> Result<()> {
        self.execute(
            "UPDATE placements SET state = $2, store_version = COALESCE($3, store_version), \
             verified = COALESCE($4, verified), doubted_at = CASE WHEN state = 'writing' AND $2 <> 'written' \
             THEN updated_at ELSE doubted_at END, updated_at = $5 WHERE id = $1",
            &[
                Value::text(id),
                Value::text(state),
                Value::maybe(store_version),
                Value::maybe(verified),
                self.now().into(),
            ],
        )?;
        Ok(())
    }
}
