//! The inbox: the requests that wait for approval, in the order in which people look at them.

use jiff::Timestamp;
use keywright_core::id::RequestId;
use keywright_core::name::OperatorName;

use super::requests::{COLUMNS, Request};
use crate::error::{LedgerError, Result};
use crate::sql::{Row, Tx, Value};

/// A place in the inbox: what comes after it is less to lose, or was asked later.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct InboxPlace {
    /// How much there is to lose, as the row has it.
    pub risk: u8,
    /// When it was asked.
    pub created_at: Timestamp,
    /// Which.
    pub id: RequestId,
}

/// What is read of a request with its place. The MAC is last, whatever else is read.
fn placed() -> String {
    COLUMNS.replace(", mac", ", risk, mac")
}

fn read_placed(tx: &Tx<'_>, row: &Row) -> Result<(InboxPlace, Request)> {
    let request = Request::read(tx, row)?;
    // What is no number counts as most.
    let risk = row.int(17).ok().and_then(|risk| u8::try_from(risk).ok()).unwrap_or(u8::MAX);
    Ok((InboxPlace { risk, created_at: request.created_at, id: request.id }, request))
}

impl Tx<'_> {
    /// What waits for approval: most to lose first, and of those that are equal the oldest; at most `limit`, from after a place on.
    /// Each with its place.
    ///
    /// # Errors
    /// When the ledger can't be read.
    pub fn requests_inbox(
        &self,
        after: Option<InboxPlace>,
        limit: u32,
    ) -> Result<Vec<(InboxPlace, Request)>> {
        let columns = placed();
        let order = "ORDER BY risk DESC, created_at, id";
        let is_in = "status = 'pending_approval'";
        let Some(place) = after else {
            let sql = format!("SELECT {columns} FROM requests WHERE {is_in} {order}");
            return self.first_sound(&sql, &[], limit, read_placed);
        };
        // In two parts, so that each walks the index: the same risk and later, then less.
        let same = format!(
            "SELECT {columns} FROM requests WHERE {is_in} AND risk = $1 AND (created_at, id) > ($2, $3) {order}"
        );
        let less = format!("SELECT {columns} FROM requests WHERE {is_in} AND risk < $1 {order}");
        self.in_two_parts(&same, &less, place, limit)
    }

    fn in_two_parts(
        &self,
        same: &str,
        other: &str,
        place: InboxPlace,
        limit: u32,
    ) -> Result<Vec<(InboxPlace, Request)>> {
        let risk = i64::from(place.risk);
        let of = [risk.into(), place.created_at.into(), Value::text(place.id)];
        let mut found = self.first_sound(same, &of, limit, read_placed)?;
        let left = limit.saturating_sub(u32::try_from(found.len()).unwrap_or(limit));
        if left > 0 {
            found.extend(self.first_sound(other, &[risk.into()], left, read_placed)?);
        }
        Ok(found)
    }

    /// What waits for approval before a place, the nearest first; at most `limit`.
    ///
    /// # Errors
    /// When the ledger can't be read.
    pub fn requests_inbox_before(&self, place: InboxPlace, limit: u32) -> Result<Vec<(InboxPlace, Request)>> {
        let columns = placed();
        let order = "ORDER BY risk, created_at DESC, id DESC";
        let is_in = "status = 'pending_approval'";
        let same = format!(
            "SELECT {columns} FROM requests WHERE {is_in} AND risk = $1 AND (created_at, id) < ($2, $3) {order}"
        );
        let more = format!("SELECT {columns} FROM requests WHERE {is_in} AND risk > $1 {order}");
        self.in_two_parts(&same, &more, place, limit)
    }

    /// What waits for approval, from the end of the inbox on; at most `limit`.
    ///
    /// # Errors
    /// When the ledger can't be read.
    pub fn requests_inbox_last(&self, limit: u32) -> Result<Vec<(InboxPlace, Request)>> {
        let sql = format!(
            "SELECT {} FROM requests WHERE status = 'pending_approval' \
             ORDER BY risk, created_at DESC, id DESC",
            placed()
        );
        self.first_sound(&sql, &[], limit, read_placed)
    }

    /// Where a request stands in the inbox, or would if it waited.
    ///
    /// # Errors
    /// When the ledger can't be read.
    pub fn inbox_place(&self, id: RequestId) -> Result<Option<InboxPlace>> {
        let row = self.first("SELECT risk, created_at FROM requests WHERE id = $1", &[Value::text(id)])?;
        row.map(|row| {
            let risk = u8::try_from(row.int(0)?).map_err(|_| LedgerError::Damaged { what: "risk" })?;
            Ok(InboxPlace { risk, created_at: row.time(1)?, id })
        })
        .transpose()
    }

    /// How many of the requests that wait an operator has approved as they stand.
    ///
    /// # Errors
    /// When the ledger can't be read.
    pub fn requests_approved_by(&self, operator: &OperatorName) -> Result<u64> {
        let row = self.first(
            "SELECT COUNT(*) FROM requests r WHERE r.status = 'pending_approval' AND EXISTS (SELECT 1 FROM approvals a \
             WHERE a.request = r.id AND a.operator = $1 AND a.digest = r.digest AND a.voided_at IS NULL)",
            &[Value::text(operator)],
        )?;
        row.map_or(Ok(0), |row| row.count(0))
    }
}
