//! The audit log's rows. An entry is appended in the transaction of the deed that it records.

use keywright_core::audit::deed::{Deed, Stage};
use keywright_core::audit::entry::{Entry, Record};
use keywright_core::audit::merkle::Hash;
use keywright_core::id::{KeyId, RequestId};

use crate::error::{LedgerError, Result};
use crate::sql::{Row, Tx, Value};

/// The one log of an SQLite ledger. Several brokers on one database will each have their own.
pub(crate) const LOG: &str = "main";

/// An entry as it lies in the ledger.
#[derive(Debug, Clone)]
pub struct StoredEntry {
    /// Its place, counted from 0.
    pub number: u64,
    /// The canonical bytes.
    pub leaf: Vec<u8>,
    /// Their RFC 6962 leaf hash, as computed when it was appended.
    pub leaf_hash: Hash,
}

/// Which entries to read.
#[derive(Debug, Clone, Default)]
pub struct AuditFilter {
    /// Only about this request.
    pub request: Option<RequestId>,
    /// Only about this key.
    pub key: Option<KeyId>,
    /// From this place on.
    pub from: u64,
    /// At most so many.
    pub limit: u32,
    /// The newest first.
    pub newest_first: bool,
}

impl StoredEntry {
    /// Reads the entry back.
    ///
    /// # Errors
    /// When the bytes are no entry any more.
    pub fn entry(&self) -> Result<Entry> {
        Entry::from_leaf(&self.leaf).map_err(|e| LedgerError::Audit(e.to_string()))
    }

    fn read(row: &Row) -> Result<Self> {
        Ok(Self {
            number: row.count(0)?,
            leaf: row.bytes(1)?.to_vec(),
            leaf_hash: Hash::from_bytes(row.array(2)?),
        })
    }
}

impl Tx<'_> {
    /// Appends an entry and says which place it has.
    ///
    /// # Errors
    /// When the entry is too long for the log, or the ledger can't be written.
    pub fn audit(&self, record: Record) -> Result<u64> {
        let number = self.audit_size()?;
        let entry = Entry::new(number, record);
        let leaf = entry.to_leaf().map_err(|e| LedgerError::Audit(e.to_string()))?;
        let record = entry.record();
        let hash = Value::from(Hash::of_leaf(&leaf).as_bytes().as_slice());
        self.execute(
            "INSERT INTO audit_entries (log, number, leaf, leaf_hash, deed, stage, at, request, key_id) \
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)",
            &[
                LOG.into(),
                number.into(),
                leaf.as_slice().into(),
                hash.clone(),
                record.deed.as_str().into(),
                stage(record.stage).into(),
                record.at.into(),
                Value::maybe(record.subject.request.as_deref()),
                Value::maybe(record.subject.key.as_deref()),
            ],
        )?;
        // A trigger that somebody wrote into the file can have an insert do nothing and say nothing.
        let kept = "SELECT 1 FROM audit_entries WHERE log = $1 AND number = $2 AND leaf_hash = $3";
        match self.first(kept, &[LOG.into(), number.into(), hash])? {
            Some(_) => Ok(number),
            None => Err(LedgerError::Audit("the ledger did not keep it: its file was edited".to_owned())),
        }
    }

    /// How many entries there are.
    ///
    /// # Errors
    /// When the ledger can't be read.
    pub fn audit_size(&self) -> Result<u64> {
        // Not MAX(number): SQLite would walk through the whole log for it.
        let sql = "SELECT number + 1 FROM audit_entries WHERE log = $1 ORDER BY number DESC LIMIT 1";
        let row = self.first(sql, &[LOG.into()])?;
        row.map_or(Ok(0), |row| row.count(0))
    }

    /// Entries in order.
    ///
    /// # Errors
    /// When the ledger can't be read.
    pub fn audit_entries(&self, filter: &AuditFilter) -> Result<Vec<StoredEntry>> {
        let order = if filter.newest_first { "DESC" } else { "ASC" };
        let sql = format!(
            "SELECT number, leaf, leaf_hash FROM audit_entries WHERE log = $1 AND number >= $2 \
             AND ($3 IS NULL OR request = $3) AND ($4 IS NULL OR key_id = $4) ORDER BY number {order} LIMIT $5"
        );
        let limit = if filter.limit == 0 { 100 } else { i64::from(filter.limit) };
        let parameters = [
            LOG.into(),
            filter.from.into(),
            Value::maybe(filter.request),
            Value::maybe(filter.key),
            limit.into(),
        ];
        self.query(&sql, &parameters)?.iter().map(StoredEntry::read).collect()
    }

    /// Whether the log knows how the mint of a request ended.
    ///
    /// # Errors
    /// When the ledger can't be read.
    pub fn mint_ended(&self, request: RequestId) -> Result<bool> {
        let sql = "SELECT 1 FROM audit_entries WHERE request = $1 AND deed = $2 AND stage = $3 LIMIT 1";
        let parameters = [Value::text(request), Deed::KeyMint.as_str().into(), stage(Stage::Outcome).into()];
        Ok(self.first(sql, &parameters)?.is_some())
    }

    /// Keeps a signed checkpoint.
    ///
    /// # Errors
    /// When the ledger can't be written.
    pub fn add_checkpoint(&self, size: u64, note: &str) -> Result<()> {
        self.execute(
            "INSERT INTO checkpoints (log, size, note, signed_at) VALUES ($1, $2, $3, $4) ON CONFLICT DO NOTHING",
            &[LOG.into(), size.into(), note.into(), self.now().into()],
        )?;
        Ok(())
    }

    /// The newest signed checkpoint.
    ///
    /// # Errors
    /// When the ledger can't be read.
    pub fn last_checkpoint(&self) -> Result<Option<String>> {
        let row = self
            .first("SELECT note FROM checkpoints WHERE log = $1 ORDER BY size DESC LIMIT 1", &[LOG.into()])?;
        row.map(|row| row.text(0).map(str::to_owned)).transpose()
    }
}

fn stage(stage: Stage) -> &'static str {
    match stage {
        Stage::Intent => "intent",
        Stage::Outcome => "outcome",
        Stage::Note => "note",
    }
}
