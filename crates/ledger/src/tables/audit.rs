//! The audit log's rows. An entry is appended in the transaction of the deed that it records.

use std::ops::ControlFlow;

use jiff::Timestamp;
use keywright_core::audit::deed::Stage;
use keywright_core::audit::entry::{Entry, Record};
use keywright_core::audit::{Deed, EntryId, Frontier, Hash};
use keywright_core::id::{KeyId, RequestId};

use crate::error::{LedgerError, Result};
use crate::sql::{Facts, Followed, Row, Tx, Value};

/// The one log. Several brokers on one database append to it in turns.
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
    row: Row,
}

/// What an entry is found by is vouched for too: an entry that is not found has not happened.
static FACTS: Facts = Facts {
    table: "audit_entries",
    what: "audit entry",
    count: 7,
    columns: "v.number, v.leaf_hash, v.deed, v.stage, v.at, v.request, v.key_id, v.leaf, v.mac",
};

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
    /// Only before this place.
    pub before: Option<u64>,
    /// Only of this deed. No index leads to those, so whoever looks for them says between which places.
    pub deed: Option<Deed>,
}

impl StoredEntry {
    /// Reads the entry back.
    ///
    /// # Errors
    /// When the bytes are no entry any more.
    pub fn entry(&self) -> Result<Entry> {
        Entry::from_leaf(&self.leaf).map_err(|e| LedgerError::Audit(e.to_string()))
    }

    /// What does not read back is nothing, which [`Tx::check_entry`] refuses and which no signed tree has.
    fn read(row: Row) -> Result<Self> {
        Ok(Self {
            number: row.count(0)?,
            leaf_hash: Hash::from_bytes(row.array(1).unwrap_or([0; 32])),
            leaf: row.bytes(7).map(<[u8]>::to_vec).unwrap_or_default(),
            row,
        })
    }
}

impl Tx<'_> {
    /// Appends an entry and says which place it has.
    ///
    /// # Errors
    /// When the entry is too long for the log, or the ledger can't be written.
    pub fn audit(&self, record: Record) -> Result<u64> {
        let tail = self.tail()?;
        let number = tail.next().map_or_else(|| self.audit_size(), Ok)?;
        let entry = Entry::new(number, record);
        let leaf = entry.to_leaf().map_err(|e| LedgerError::Audit(e.to_string()))?;
        let record = entry.record();
        let hash = Hash::of_leaf(&leaf);
        let facts = vec![
            number.into(),
            hash.as_bytes().as_slice().into(),
            record.deed.as_str().into(),
            stage(record.stage).into(),
            record.at.into(),
            Value::maybe(record.subject.request.as_deref()),
            Value::maybe(record.subject.key.as_deref()),
        ];
        let kept = self.execute(
            "INSERT INTO audit_entries (number, leaf_hash, deed, stage, at, request, key_id, log, leaf, mac) \
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)",
            &FACTS.with(self, facts, [LOG.into(), leaf.as_slice().into()])?,
        )?;
        if kept != 1 {
            return Err(LedgerError::Audit("the ledger did not keep it: its file was edited".to_owned()));
        }
        tail.push(hash);
        Ok(number)
    }

    /// That an entry is as this home wrote it, in the place where it wrote it. Whoever may write the ledger's file can
    /// append entries, and put the broker up to sign them.
    ///
    /// # Errors
    /// [`LedgerError::NotContinued`] when it is not.
    pub fn check_entry(&self, entry: &StoredEntry) -> Result<()> {
        let StoredEntry { number, leaf, leaf_hash, row } = entry;
        let refuse = |what| LedgerError::NotContinued { why: format!("entry `{}` {what}", EntryId(*number)) };
        if Hash::of_leaf(leaf) != *leaf_hash || Entry::index_of(leaf) != Some(*number) {
            return Err(refuse("was changed in the ledger"));
        }
        match FACTS.check(self, row) {
            Err(LedgerError::Edited { .. }) => Err(refuse("was not written by this home")),
            other => other,
        }
    }

    /// From here on every commit tells `keep` the log's size and root. `tree` is the log as it was proved; what was
    /// appended since is read.
    ///
    /// # Errors
    /// When the ledger can't be read.
    pub(crate) fn follow(&self, mut tree: Frontier, keep: Box<dyn Fn(u64, Hash) + Send>) -> Result<()> {
        let sql =
            "SELECT number, leaf_hash FROM audit_entries WHERE log = $1 AND number >= $2 ORDER BY number";
        self.each(sql, &[LOG.into(), tree.size().into()], |row| {
            let row = row?;
            if row.count(0)? != tree.size() {
                let why = format!("entry `{}` is missing from the ledger", EntryId(tree.size()));
                return Err(LedgerError::NotContinued { why });
            }
            tree.push(Hash::from_bytes(row.array(1).unwrap_or([0; 32])));
            Ok(ControlFlow::Continue(()))
        })?;
        self.tail()?.follow(Followed { tree, keep });
        Ok(())
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
        let limit = if filter.limit == 0 { 100 } else { i64::from(filter.limit) };
        let mut parameters = vec![LOG.into(), filter.from.into(), limit.into()];
        // What is not asked for is not in the statement: with it, no index would be used and the whole log be read.
        let mut only = String::new();
        let asked = [
            ("request", Value::maybe(filter.request)),
            ("key_id", Value::maybe(filter.key)),
            ("deed", Value::maybe(filter.deed)),
        ];
        for (column, value) in asked.into_iter().filter(|(_, value)| !matches!(value, Value::Null)) {
            parameters.push(value);
            only.push_str(&format!(" AND {column} = ${}", parameters.len()));
        }
        if let Some(before) = filter.before {
            parameters.push(before.into());
            only.push_str(&format!(" AND number < ${}", parameters.len()));
        }
        let sql = format!(
            "SELECT {} FROM audit_entries v WHERE log = $1 AND number >= $2{only} ORDER BY number {order} LIMIT $3",
            FACTS.columns
        );
        self.query(&sql, &parameters)?.into_iter().map(StoredEntry::read).collect()
    }

    /// The place of the first entry that is not older than a moment, or how many there are. Entries stand in the order of their
    /// times, as far as the clock kept it.
    ///
    /// # Errors
    /// When the ledger can't be read.
    pub fn audit_since(&self, at: Timestamp) -> Result<u64> {
        let (mut low, mut high) = (0, self.audit_size()?);
        while low < high {
            let middle = low + (high - low) / 2;
            if self.audit_at(middle)?.is_some_and(|there| there < at) {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        Ok(low)
    }

    /// When the first entry from a place on was written.
    pub(crate) fn audit_at(&self, number: u64) -> Result<Option<Timestamp>> {
        let sql = "SELECT at FROM audit_entries WHERE log = $1 AND number >= $2 ORDER BY number LIMIT 1";
        self.first(sql, &[LOG.into(), number.into()])?.map(|row| row.time(0)).transpose()
    }

    /// When a key's secret was handed to a program last, as the log has it.
    ///
    /// # Errors
    /// When the ledger can't be read.
    pub fn last_read(&self, key: KeyId) -> Result<Option<Timestamp>> {
        let sql = "SELECT MAX(at) FROM audit_entries WHERE log = $1 AND key_id = $2 AND deed = $3";
        let of = [LOG.into(), Value::text(key), Deed::SecretRead.as_str().into()];
        self.first(sql, &of)?.map_or(Ok(None), |row| row.maybe_time(0))
    }

    /// The first entry whose bytes lie there as text or numbers, where columns may hold what is not of their type.
    pub(crate) fn entry_of_another_type(&self) -> Result<Option<u64>> {
        if !self.engine().keeps_any_type() {
            return Ok(None);
        }
        let sql = "SELECT number FROM audit_entries WHERE log = $1 AND (typeof(leaf) <> 'blob' \
                   OR typeof(leaf_hash) <> 'blob' OR typeof(mac) <> 'blob') ORDER BY number LIMIT 1";
        self.first(sql, &[LOG.into()])?.map(|row| row.count(0)).transpose()
    }

    /// Whether there are entries that no reader of the log comes to.
    pub(crate) fn has_stray_entries(&self) -> Result<bool> {
        let sql = "SELECT 1 WHERE EXISTS (SELECT 1 FROM audit_entries WHERE number < 0) \
                   OR EXISTS (SELECT 1 FROM audit_entries WHERE log < $1 OR log > $1)";
        Ok(self.first(sql, &[LOG.into()])?.is_some())
    }

    /// Keeps a signed checkpoint, and no older one: it would sign for a log that is cut off there.
    ///
    /// # Errors
    /// When the ledger can't be written.
    pub fn add_checkpoint(&self, size: u64, note: &str) -> Result<()> {
        self.execute("DELETE FROM checkpoints WHERE log = $1 AND size < $2", &[LOG.into(), size.into()])?;
        let newer = "SELECT 1 FROM checkpoints WHERE log = $1 AND size > $2 LIMIT 1";
        if self.first(newer, &[LOG.into(), size.into()])?.is_some() {
            return Ok(());
        }
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
