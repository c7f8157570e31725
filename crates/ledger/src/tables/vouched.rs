//! Rows that are vouched for: agents, workloads and operators. Whoever may write the ledger's file may edit them, so each
//! row carries a MAC over its table and all its columns, under a key that comes from the master key. A row whose MAC does
//! not fit is never read as what it says.

use keywright_core::text::Untrusted;

use crate::error::{LedgerError, Result};
use crate::seal::Keyring;
use crate::sql::{Row, RowMac, Tx, Value};

/// A table of such rows. Its first column is the name, which is never used twice; its last is when the row was removed.
pub(crate) struct Vouched {
    pub(crate) table: &'static str,
    /// What a row is, in words.
    pub(crate) what: &'static str,
    /// All columns but the MAC.
    pub(crate) columns: &'static [&'static str],
}

impl Vouched {
    /// The rows that were not removed and fit a condition. The MAC is their last column.
    pub(crate) fn select(&self, condition: &str) -> String {
        format!(
            "SELECT {}, mac FROM {} WHERE removed_at IS NULL{condition} ORDER BY name",
            self.columns.join(", "),
            self.table
        )
    }

    /// The row's MAC, when it is that of its columns.
    ///
    /// # Errors
    /// [`LedgerError::Edited`].
    pub(crate) fn check(&self, row: &Row, keyring: &Keyring) -> Result<RowMac> {
        let (values, _) = row.values().split_at(self.columns.len());
        let mac = self.mac(values, keyring);
        if mac.is(row.values().get(self.columns.len())) {
            return Ok(mac);
        }
        let name = Untrusted::capped(row.text(0).unwrap_or("?"), 80);
        Err(LedgerError::Edited { what: self.what, name })
    }

    /// Adds a row: its values are those of the columns, without `removed_at`.
    ///
    /// # Errors
    /// [`LedgerError::Exists`] for a name that was ever used, [`LedgerError::Alike`] for one that looks like it.
    pub(crate) fn insert(&self, tx: &Tx<'_>, mut values: Vec<Value>, keyring: &Keyring) -> Result<RowMac> {
        let name = values.first().cloned().unwrap_or(Value::Null);
        let sql = format!("SELECT name FROM {} WHERE lower(name) = lower($1)", self.table);
        if let Some(row) = tx.first(&sql, std::slice::from_ref(&name))? {
            let (name, existing) = (text(&name), text(row.values().first().unwrap_or(&Value::Null)));
            return Err(if name == existing {
                LedgerError::Exists { what: self.what, name }
            } else {
                LedgerError::Alike { what: self.what, name, existing }
            });
        }
        values.push(Value::Null);
        let mac = self.mac(&values, keyring);
        values.push(mac.0.as_slice().into());
        let places: Vec<String> = (1..=values.len()).map(|place| format!("${place}")).collect();
        let sql = format!(
            "INSERT INTO {} ({}, mac) VALUES ({}) ON CONFLICT DO NOTHING",
            self.table,
            self.columns.join(", "),
            places.join(", ")
        );
        if tx.execute(&sql, &values)? == 0 {
            return Err(LedgerError::Exists { what: self.what, name: text(&name) });
        }
        Ok(mac)
    }

    /// Changes columns of the row of a name. An edited row may only be removed: nothing else it says would be vouched for.
    ///
    /// # Errors
    /// [`LedgerError::Missing`], [`LedgerError::Edited`].
    pub(crate) fn update(
        &self,
        tx: &Tx<'_>,
        name: &str,
        changes: Vec<(&str, Value)>,
        keyring: &Keyring,
    ) -> Result<RowMac> {
        let missing = || LedgerError::Missing { what: self.what, name: name.to_owned() };
        let row = tx.first(&self.select(" AND name = $1"), &[name.into()])?.ok_or_else(missing)?;
        if !changes.iter().any(|(column, _)| *column == "removed_at") {
            self.check(&row, keyring)?;
        }
        let (values, _) = row.values().split_at(self.columns.len());
        let mut values = values.to_vec();
        for (changed, value) in changes {
            for (column, old) in self.columns.iter().zip(&mut values) {
                if *column == changed {
                    old.clone_from(&value);
                }
            }
        }
        let mac = self.mac(&values, keyring);
        values.push(mac.0.as_slice().into());
        let all = self.columns.iter().copied().chain(["mac"]).enumerate();
        let set: Vec<String> = all.map(|(at, column)| format!("{column} = ${}", at + 1)).collect();
        let sql = format!("UPDATE {} SET {} WHERE name = $1", self.table, set.join(", "));
        tx.execute(&sql, &values)?;
        Ok(mac)
    }

    /// Takes a row out of use.
    ///
    /// # Errors
    /// [`LedgerError::Missing`].
    pub(crate) fn remove(&self, tx: &Tx<'_>, name: &str, keyring: &Keyring) -> Result<()> {
        self.update(tx, name, vec![("removed_at", tx.now().into())], keyring).map(drop)
    }

    fn mac(&self, values: &[Value], keyring: &Keyring) -> RowMac {
        RowMac::over(keyring.row_mac(), self.table, values)
    }
}

fn text(value: &Value) -> String {
    match value {
        Value::Text(text) => keywright_core::text::escaped(text),
        _ => String::new(),
    }
}
