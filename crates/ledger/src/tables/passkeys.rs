//! Passkeys: what operators approve with in a browser. A row lets somebody decide, so it is vouched for. How often it was used
//! stands beside that: it changes with each use, and tells of a copied authenticator at best.

use jiff::Timestamp;
use keywright_core::id::PasskeyId;
use keywright_core::name::OperatorName;

use super::vouched::Vouched;
use crate::error::{LedgerError, Result};
use crate::seal::Keyring;
use crate::sql::{Row, RowMac, Tx, Value};

/// A passkey of an operator.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Passkey {
    /// Its id.
    pub id: PasskeyId,
    /// Whose it is.
    pub operator: OperatorName,
    /// What they call it.
    pub label: String,
    /// The origin of the pages at which it was enrolled, and at which alone it is good: `https://keys.example.com`.
    pub origin: String,
    /// The public key and what else its enrolment told, as JSON.
    pub credential: String,
    /// When it was enrolled.
    pub added_at: Timestamp,
    /// What vouches for its row.
    pub mac: RowMac,
    /// How often its authenticator had signed when it was last used; 0 where that does not count.
    pub counter: u32,
    /// When it was last used.
    pub used_at: Option<Timestamp>,
}

const PASSKEYS: Vouched = Vouched {
    table: "passkeys",
    what: "passkey",
    columns: &["name", "operator", "label", "origin", "credential", "added_at", "removed_at"],
};

impl Passkey {
    /// The row, and after it how often it was used.
    fn read(row: &Row, used: &Row, keyring: &Keyring) -> Result<Self> {
        let mac = PASSKEYS.check(row, keyring)?;
        Ok(Self {
            id: row.parse(0, "passkey id")?,
            operator: row.parse(1, "operator name")?,
            label: row.text(2)?.to_owned(),
            origin: row.text(3)?.to_owned(),
            credential: row.text(4)?.to_owned(),
            added_at: row.time(5)?,
            mac,
            counter: u32::try_from(used.int(0)?)
                .map_err(|_| LedgerError::Damaged { what: "counter of a passkey" })?,
            used_at: used.maybe_time(1)?,
        })
    }
}

impl Tx<'_> {
    /// The passkeys of everybody, each row for itself: one that was edited takes no other with it.
    ///
    /// # Errors
    /// When the ledger can't be read.
    pub fn passkeys(&self, keyring: &Keyring) -> Result<Vec<Result<Passkey>>> {
        let rows = self.query(&PASSKEYS.select(""), &[])?;
        let used =
            self.query("SELECT counter, used_at FROM passkeys WHERE removed_at IS NULL ORDER BY name", &[])?;
        Ok(rows.iter().zip(&used).map(|(row, used)| Passkey::read(row, used, keyring)).collect())
    }

    /// Adds a passkey.
    ///
    /// # Errors
    /// When the ledger can't be written.
    pub fn add_passkey(
        &self,
        id: PasskeyId,
        operator: &OperatorName,
        label: &str,
        origin: &str,
        credential: &str,
        keyring: &Keyring,
    ) -> Result<RowMac> {
        let values = vec![
            Value::text(id),
            Value::text(operator),
            label.into(),
            origin.into(),
            credential.into(),
            self.now().into(),
        ];
        PASSKEYS.insert(self, values, keyring)
    }

    /// Removes a passkey.
    ///
    /// # Errors
    /// [`LedgerError::Missing`].
    pub fn remove_passkey(&self, id: PasskeyId, keyring: &Keyring) -> Result<()> {
        PASSKEYS.remove(self, &id.to_string(), keyring)
    }

    /// Writes down that a passkey was used, and how often its authenticator had signed by then.
    ///
    /// # Errors
    /// [`LedgerError::Conflict`] when another use counted as far already: of two authenticators with the same key one is a copy.
    pub fn use_passkey(&self, id: PasskeyId, counter: u32) -> Result<()> {
        // Compared with the column alone: beside a number PostgreSQL takes it for a small one.
        let sql = "UPDATE passkeys SET counter = $2, used_at = $3 WHERE name = $1 AND removed_at IS NULL \
                   AND (counter < $2 OR (counter = 0 AND counter = $2))";
        let changed = self.execute(sql, &[Value::text(id), i64::from(counter).into(), self.now().into()])?;
        if changed == 0 {
            return Err(LedgerError::Conflict { what: "passkey" });
        }
        Ok(())
    }
}
