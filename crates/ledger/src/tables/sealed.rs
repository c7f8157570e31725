//! Sealed values: the only rows that hold secrets.

use std::ops::ControlFlow;

use keywright_core::id::SealedId;

use crate::error::{LedgerError, Result};
use crate::seal::SealedValue;
use crate::sql::{Tx, Value};

impl Tx<'_> {
    /// Keeps a sealed value for its owner.
    ///
    /// # Errors
    /// When the ledger can't be written.
    pub fn put_sealed(&self, id: SealedId, owner: &str, value: &SealedValue) -> Result<()> {
        self.execute(
            "INSERT INTO sealed_values (id, owner, data_key_sealed, value_sealed, created_at) VALUES ($1, $2, $3, $4, $5)",
            &[
                Value::text(id),
                owner.into(),
                value.data_key.as_slice().into(),
                value.value.as_slice().into(),
                self.now().into(),
            ],
        )?;
        Ok(())
    }

    /// The sealed value with this id. It opens for its owner only, whom the caller knows: not the row says whose it is.
    ///
    /// # Errors
    /// [`LedgerError::Missing`] when it was erased.
    pub fn sealed(&self, id: SealedId) -> Result<SealedValue> {
        let row = self.first(
            "SELECT data_key_sealed, value_sealed FROM sealed_values WHERE id = $1",
            &[Value::text(id)],
        )?;
        let row = row.ok_or_else(|| LedgerError::Missing { what: "sealed value", name: id.to_string() })?;
        Ok(SealedValue { data_key: row.bytes(0)?.to_vec(), value: row.bytes(1)?.to_vec() })
    }

    /// The sealed value of an owner that has exactly one.
    ///
    /// # Errors
    /// When the ledger can't be read.
    pub fn sealed_of(&self, owner: &str) -> Result<Option<SealedValue>> {
        let row = self.first(
            "SELECT data_key_sealed, value_sealed FROM sealed_values WHERE owner = $1",
            &[owner.into()],
        )?;
        row.map(|row| Ok(SealedValue { data_key: row.bytes(0)?.to_vec(), value: row.bytes(1)?.to_vec() }))
            .transpose()
    }

    /// Hands over every sealed value with its owner, one at a time.
    ///
    /// # Errors
    /// When the ledger can't be read, or what `visit` says.
    pub fn each_sealed(&self, mut visit: impl FnMut(&str, &SealedValue) -> Result<()>) -> Result<()> {
        self.each("SELECT owner, data_key_sealed, value_sealed FROM sealed_values", &[], |row| {
            let row = row?;
            let value = SealedValue { data_key: row.bytes(1)?.to_vec(), value: row.bytes(2)?.to_vec() };
            visit(row.text(0)?, &value).map(|()| ControlFlow::Continue(()))
        })
    }

    /// Destroys one sealed value, data key included. Nothing happens when it is gone.
    ///
    /// # Errors
    /// When the ledger can't be written.
    pub fn erase_one(&self, id: SealedId) -> Result<()> {
        self.execute("DELETE FROM sealed_values WHERE id = $1", &[Value::text(id)])?;
        Ok(())
    }

    /// Destroys every sealed value of an owner, data keys included. Nothing happens when there is none.
    ///
    /// # Errors
    /// When the ledger can't be written.
    pub fn erase_sealed(&self, owner: &str) -> Result<()> {
        self.execute("DELETE FROM sealed_values WHERE owner = $1", &[owner.into()])?;
        Ok(())
    }
}
