//! Looking through all rows that are vouched for.

use super::{
    attempts, channels, configured, consumers, drains, embedded, grants, guards, holds, keys, parents,
    placements, requests, revocations, sagas, usage,
};
use crate::error::{LedgerError, Result};
use crate::sql::Tx;
use keywright_core::text::Untrusted;

/// What was found.
#[derive(Debug, Default)]
pub struct Soundness {
    /// How many rows were looked at.
    pub rows: u64,
    /// What is said of those that were edited.
    pub edited: Vec<LedgerError>,
}

/// The tables whose rows come to be by deeds that are on record.
const RECORDED: [&str; 13] = [
    "operators",
    "passkeys",
    "agents",
    "grants",
    "workloads",
    "connections",
    "stores",
    "consumers",
    "channels",
    "templates",
    "policies",
    "requests",
    "keys",
];

impl Tx<'_> {
    /// What is in the ledger that only recorded deeds lead to, besides some tables; nothing in a home that was never used.
    pub(crate) fn left_over(&self, besides: &[&str]) -> Result<Option<String>> {
        let mut found = Vec::new();
        for table in RECORDED.iter().filter(|table| !besides.contains(table)) {
            let row = self.first(&format!("SELECT COUNT(*) FROM {table}"), &[])?;
            let count = row.map_or(Ok(0), |row| row.count(0))?;
            if count > 0 {
                found.push(format!("rows in `{table}` ({count})"));
            }
        }
        Ok((!found.is_empty()).then(|| found.join(", ")))
    }

    /// Whether all that ever happened here is that the first operator came: such a home has no files of its log yet.
    pub(crate) fn is_just_made(&self) -> Result<bool> {
        Ok(self.audit_size()? <= 1 && self.left_over(&["operators"])?.is_none())
    }

    /// What somebody else put into the schema or took from it.
    pub(crate) fn foreign(&self) -> Result<Option<String>> {
        self.engine().foreign()
    }

    /// What the engine says of a table of which an index does not agree with its rows.
    pub(crate) fn disagreements_of(&self, table: &'static str) -> Result<Vec<String>> {
        self.engine().disagreements_of(table)
    }

    /// Holds each row against its MAC.
    ///
    /// # Errors
    /// When the ledger can't be read.
    pub fn soundness(&self) -> Result<Soundness> {
        let mut found = Soundness::default();
        for facts in [
            &configured::CONNECTIONS,
            &configured::STORES,
            &consumers::CONSUMERS,
            &consumers::TELLINGS,
            &channels::CHANNELS,
            &channels::NOTICES,
            &guards::PROPOSALS,
            &requests::FACTS,
            &keys::KEYS,
            &attempts::FACTS,
            &keys::VERSIONS,
            &placements::FACTS,
            &embedded::FACTS,
            &sagas::FACTS,
            &drains::FACTS,
            &holds::FACTS,
            &revocations::FACTS,
            &parents::FACTS,
            &usage::FACTS,
            &grants::USES,
        ] {
            found.rows += facts.edited(self, &mut found.edited)?;
        }
        self.misplaced_templates(&mut found.edited)?;
        self.disagreeing_pages(&mut found.edited)?;
        Ok(found)
    }

    /// What the engine itself finds.
    fn disagreeing_pages(&self, edited: &mut Vec<LedgerError>) -> Result<()> {
        let said = self.engine().disagreements()?;
        edited.extend(said.iter().map(|said| LedgerError::Pages(Untrusted::capped(said, 200))));
        Ok(())
    }
}
