//! Looking through all rows that are vouched for.

use super::{attempts, configured, embedded, guards, keys, requests, revocations, sagas};
use crate::error::{LedgerError, Result};
use crate::sql::Tx;

/// What was found.
#[derive(Debug, Default)]
pub struct Soundness {
    /// How many rows were looked at.
    pub rows: u64,
    /// What is said of those that were edited.
    pub edited: Vec<LedgerError>,
}

impl Tx<'_> {
    /// Holds each row against its MAC.
    ///
    /// # Errors
    /// When the ledger can't be read.
    pub fn soundness(&self) -> Result<Soundness> {
        let mut found = Soundness::default();
        for facts in [
            &configured::CONNECTIONS,
            &configured::STORES,
            &guards::PROPOSALS,
            &requests::FACTS,
            &keys::KEYS,
            &attempts::FACTS,
            &keys::VERSIONS,
            &keys::PLACEMENTS,
            &embedded::FACTS,
            &sagas::FACTS,
            &revocations::FACTS,
        ] {
            found.rows += facts.edited(self, &mut found.edited)?;
        }
        self.misplaced_templates(&mut found.edited)?;
        Ok(found)
    }
}
