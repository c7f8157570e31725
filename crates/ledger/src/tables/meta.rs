//! The home's own facts: who it is, and in which epoch.

use keywright_core::marker::Epoch;

use crate::error::{LedgerError, Result};
use crate::sql::{Tx, Value};

const INSTANCE: &str = "instance";
const EPOCH: &str = "epoch";
/// A marker has room for fifteen bits.
const LAST_EPOCH: u16 = 0x7fff;

impl Tx<'_> {
    /// The home's random id; absent before `init`.
    ///
    /// # Errors
    /// When the ledger can't be read.
    pub fn instance(&self) -> Result<Option<[u8; 16]>> {
        self.first("SELECT value FROM meta WHERE name = $1", &[INSTANCE.into()])?
            .map(|row| row.array(0))
            .transpose()
    }

    /// Names the home, once.
    ///
    /// # Errors
    /// [`LedgerError::Exists`] when it has a name already.
    pub fn set_instance(&self, instance: &[u8; 16]) -> Result<()> {
        let rows = self.execute(
            "INSERT INTO meta (name, value) VALUES ($1, $2) ON CONFLICT DO NOTHING",
            &[INSTANCE.into(), instance.as_slice().into()],
        )?;
        if rows == 0 {
            return Err(LedgerError::Exists { what: "home", name: hex(instance) });
        }
        self.execute(
            "INSERT INTO meta (name, value) VALUES ($1, $2)",
            &[EPOCH.into(), Value::Bytes(1u16.to_be_bytes().to_vec())],
        )?;
        Ok(())
    }

    /// The epoch that markers carry.
    ///
    /// # Errors
    /// When the ledger can't be read or was never initialised.
    pub fn epoch(&self) -> Result<Epoch> {
        let row = self.first("SELECT value FROM meta WHERE name = $1", &[EPOCH.into()])?;
        row.map(|row| row.array(0).map(|bytes| Epoch(u16::from_be_bytes(bytes))))
            .transpose()?
            .ok_or(LedgerError::Missing { what: "epoch", name: String::new() })
    }

    /// Begins a new epoch, later than this one and than any that was seen elsewhere: what carries the marker of an earlier one may be of a time that this ledger does not know.
    ///
    /// # Errors
    /// When the ledger can't be written, or there are no more epochs.
    pub fn raise_epoch(&self, seen: Epoch) -> Result<Epoch> {
        let next = Epoch(self.epoch()?.max(seen).0.saturating_add(1));
        if next.0 > LAST_EPOCH {
            return Err(LedgerError::Conflict { what: "epoch" });
        }
        self.execute(
            "UPDATE meta SET value = $2 WHERE name = $1",
            &[EPOCH.into(), Value::Bytes(next.0.to_be_bytes().to_vec())],
        )?;
        Ok(next)
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}
