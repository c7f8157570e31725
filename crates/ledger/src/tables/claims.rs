//! Claims: a place belongs to one key that lives or is being made. Some stores can't tell what lies at a place, so it is
//! the ledger that lets no two keys into the same one.

use keywright_core::id::KeyId;
use keywright_core::key::{Key, KeyState};
use keywright_core::plan::Destination;

use crate::error::{LedgerError, Result};
use crate::sql::{Tx, Value};

impl Tx<'_> {
    /// Claims places for a key. When one is another key's, says which and whose, and claims no more; the caller rolls back.
    ///
    /// # Errors
    /// When the ledger can't be written.
    pub fn claim<'d>(
        &self,
        key: KeyId,
        destinations: &'d [Destination],
    ) -> Result<Option<(&'d Destination, Key)>> {
        for destination in destinations {
            if let Some(holder) = self.holder(destination)?
                && holder.id != key
            {
                if matches!(holder.state, KeyState::Minting | KeyState::Active) {
                    return Ok(Some((destination, holder)));
                }
                self.release(holder.id)?;
            }
            let mut place = spot(destination);
            place.push(Value::text(key));
            let sql = "INSERT INTO claims (store, place, base, key_id) VALUES ($1, $2, $3, $4) \
                       ON CONFLICT (store, place, base) DO UPDATE SET key_id = $4";
            self.execute(sql, &place)?;
        }
        Ok(None)
    }

    /// Frees the places of a key.
    ///
    /// # Errors
    /// When the ledger can't be written.
    pub(crate) fn release(&self, key: KeyId) -> Result<()> {
        self.execute("DELETE FROM claims WHERE key_id = $1", &[Value::text(key)])?;
        Ok(())
    }

    fn holder(&self, destination: &Destination) -> Result<Option<Key>> {
        let sql = "SELECT key_id FROM claims WHERE store = $1 AND place = $2 AND base = $3";
        let Some(row) = self.first(sql, &spot(destination))? else { return Ok(None) };
        match self.key(row.parse(0, "key id")?) {
            Ok(key) => Ok(Some(key)),
            Err(LedgerError::Missing { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }
}

fn spot(destination: &Destination) -> Vec<Value> {
    vec![
        Value::text(&destination.place.store),
        destination.place.place.as_str().into(),
        destination.base.as_deref().unwrap_or_default().into(),
    ]
}
