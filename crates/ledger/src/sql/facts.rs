//! Rows that are vouched for by what never changes of them: whose they are, where they lead, what they grant. Whoever may
//! write the ledger's file may edit them, so each carries a MAC over its table and these columns, under a key that comes
//! from the master key. A row whose MAC does not fit is never read as what it says.
//!
//! What changes while the broker works (a state, a time of trying) is not covered: the broker decides again from what is,
//! and the audit log tells what was. Where such a column says nothing that can be read, the row is read as if it said what takes
//! most care: a version lives, a debt was never tried.

use std::fmt;
use std::ops::ControlFlow;

use hmac::{Hmac, Mac as _};
use keywright_core::text::Untrusted;
use sha2::Sha256;
use subtle::ConstantTimeEq as _;

use super::{Row, Tx, Value};
use crate::error::{LedgerError, Result};

/// A MAC over a row's table and some of its columns.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RowMac(pub(crate) [u8; 32]);

impl RowMac {
    /// Each part is preceded by its kind and length, so that no two rows have the same text.
    pub(crate) fn over(mut mac: Hmac<Sha256>, table: &str, values: &[Value]) -> Self {
        push(&mut mac, b't', table.as_bytes());
        for value in values {
            match value {
                Value::Null => push(&mut mac, b'n', &[]),
                Value::Int(number) => push(&mut mac, b'i', &number.to_be_bytes()),
                Value::Text(text) => push(&mut mac, b't', text.as_bytes()),
                Value::Bytes(bytes) => push(&mut mac, b'b', bytes),
            }
        }
        Self(mac.finalize().into_bytes().into())
    }

    /// Whether a column holds it.
    pub(crate) fn is(&self, column: Option<&Value>) -> bool {
        matches!(column, Some(Value::Bytes(found)) if bool::from(self.0.as_slice().ct_eq(found)))
    }
}

impl fmt::Display for RowMac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

fn push(mac: &mut Hmac<Sha256>, kind: u8, bytes: &[u8]) {
    mac.update(&[kind]);
    mac.update(&(bytes.len() as u64).to_be_bytes());
    mac.update(bytes);
}

/// A table whose first columns never change, the id before all others. They are read first, and the MAC last.
pub(crate) struct Facts {
    pub(crate) table: &'static str,
    /// What a row is, in words.
    pub(crate) what: &'static str,
    /// How many columns never change.
    pub(crate) count: usize,
    /// All columns that are read, of a table that goes by `v`.
    pub(crate) columns: &'static str,
}

impl Facts {
    /// The MAC of these facts.
    ///
    /// # Errors
    /// Before the ledger was unlocked.
    pub(crate) fn mac(&self, tx: &Tx<'_>, facts: &[Value]) -> Result<Value> {
        Ok(self.over(tx, facts)?.0.as_slice().into())
    }

    /// The parameters of an insert: the facts, what may change, the MAC.
    ///
    /// # Errors
    /// As [`Facts::mac`].
    pub(crate) fn with<const N: usize>(
        &self,
        tx: &Tx<'_>,
        facts: Vec<Value>,
        rest: [Value; N],
    ) -> Result<Vec<Value>> {
        let mac = self.mac(tx, &facts)?;
        let mut all = facts;
        all.extend(rest);
        all.push(mac);
        Ok(all)
    }

    /// Whether a row is as it was written.
    ///
    /// # Errors
    /// [`LedgerError::Edited`] when it is not.
    pub(crate) fn check(&self, tx: &Tx<'_>, row: &Row) -> Result<()> {
        let values = row.values();
        let facts = values.get(..self.count).unwrap_or(values);
        if self.over(tx, facts)?.is(values.last()) {
            return Ok(());
        }
        let name = Untrusted::capped(row.text(0).unwrap_or("?"), 80);
        Err(LedgerError::Edited { what: self.what, name })
    }

    /// What is said of each row that is not as it was written.
    ///
    /// # Errors
    /// When the table can't be read.
    pub(crate) fn edited(&self, tx: &Tx<'_>, edited: &mut Vec<LedgerError>) -> Result<u64> {
        let sql = format!("SELECT {} FROM {} v", self.columns, self.table);
        let mut rows = 0;
        tx.each(&sql, &[], |row| {
            rows += 1;
            match self.check(tx, &row?) {
                Err(error @ LedgerError::Edited { .. }) => edited.push(error),
                other => other?,
            }
            Ok(ControlFlow::Continue(()))
        })?;
        Ok(rows)
    }

    fn over(&self, tx: &Tx<'_>, facts: &[Value]) -> Result<RowMac> {
        debug_assert_eq!(facts.len(), self.count, "{}", self.table);
        let mac = tx.rows.get().ok_or_else(|| LedgerError::Statement("the ledger is locked".to_owned()))?;
        Ok(RowMac::over(mac.clone(), self.table, facts))
    }
}

impl Tx<'_> {
    /// The rows that are as they were written, and can be read. What is not is said in the broker's own log, and `doctor` finds it:
    /// one edited row must not hide all others.
    pub(crate) fn sound<T>(&self, rows: &[Row], read: fn(&Self, &Row) -> Result<T>) -> Result<Vec<T>> {
        let mut sound = Vec::with_capacity(rows.len());
        for row in rows {
            match read(self, row) {
                Ok(value) => sound.push(value),
                Err(error @ (LedgerError::Edited { .. } | LedgerError::Damaged { .. })) => {
                    tracing::error!(%error, "left out");
                }
                Err(error) => return Err(error),
            }
        }
        Ok(sound)
    }

    /// The first rows of a query (without a limit of its own) that are as they were written, at most `limit`: those that are not
    /// push nothing out.
    pub(crate) fn first_sound<T>(
        &self,
        sql: &str,
        parameters: &[Value],
        limit: u32,
        read: fn(&Self, &Row) -> Result<T>,
    ) -> Result<Vec<T>> {
        let wanted = usize::try_from(limit).unwrap_or(usize::MAX);
        let mut taken = usize::max(wanted, 1);
        loop {
            let rows = self.query(&format!("{sql} LIMIT {taken}"), parameters)?;
            let mut sound = self.sound(&rows, read)?;
            if sound.len() >= wanted || rows.len() < taken {
                sound.truncate(wanted);
                return Ok(sound);
            }
            taken = taken.saturating_mul(8);
        }
    }
}
