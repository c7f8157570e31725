//! The audit log as the writer follows it. It counts entries by what it wrote and read itself and not by what the
//! database says, and keeps the head of the tree outside of it: whoever takes the newest entries away while no broker runs
//! can't take that back with them. Where several brokers write to one database there is one log all the same: each reads what
//! the others appended before it appends.

use std::cell::{Cell, RefCell};

use keywright_core::audit::{EntryId, Frontier, Hash};

use super::{Begun, Engine, RowKey, Tx};
use crate::error::{LedgerError, Result};
use crate::tables::audit::{AuditFilter, StoredEntry};

/// How many entries are read at a time.
const PAGE: u32 = 1_000;

/// The tree over all entries, and what is told of it after each commit that made it grow.
pub(crate) struct Followed {
    pub(crate) tree: Frontier,
    pub(crate) keep: Box<dyn Fn(u64, Hash) + Send>,
}

/// What somebody else brought into the log.
pub enum Heard<'a> {
    /// An entry, which was vouched for.
    Entry(&'a StoredEntry),
    /// The log does not go on from what was read or written before, for this reason.
    Misfit(String),
}

/// Is told of what others append, in order, before anything is written that comes after it.
pub(crate) type Heed = Box<dyn Fn(Heard<'_>) + Send>;

/// What the writer knows of the log.
#[derive(Default)]
pub(crate) struct Log {
    pub(super) followed: Option<Followed>,
    /// The newest entry's hash, where it is known.
    newest: Option<Hash>,
    /// Who is told of others' entries, and of which one next.
    heed: Option<(u64, Heed)>,
    /// What was appended by a commit of which nobody knows whether it took effect.
    pub(super) in_doubt: Option<Tail>,
}

impl Log {
    pub(super) fn heed(&mut self, from: u64, heed: Heed) {
        self.heed = Some((from, heed));
    }

    /// How many entries are known.
    pub(super) fn size(&self) -> Option<u64> {
        let heeded = self.heed.as_ref().map(|(next, _)| *next);
        self.followed.as_ref().map(|followed| followed.tree.size()).or(heeded)
    }

    /// Takes in what others appended since the last transaction.
    pub(super) fn catch_up(&mut self, engine: &Engine, rows: &RowKey, begun: &Begun) -> Result<()> {
        let Some(size) = begun.size else { return Ok(()) };
        let known = self.size();
        if known.is_some_and(|known| known > size) {
            let why = format!("the ledger has {size} entries, and had {}", known.unwrap_or_default());
            self.misfit(why);
            return Ok(());
        }
        let heeded = self.heed.as_ref().map(|(next, _)| *next);
        let Some(from) = known.into_iter().chain(heeded).min() else { return Ok(()) };
        if from == size {
            if self.newest.is_some() && self.newest != begun.newest {
                self.misfit("the newest entry is not the one that was there before".to_owned());
            }
            return Ok(());
        }
        let tx = Tx::new(engine, jiff::Timestamp::UNIX_EPOCH, rows);
        match self.take_in(&tx, from, size) {
            Err(LedgerError::NotContinued { why }) => {
                self.misfit(why);
                Ok(())
            }
            other => other,
        }
    }

    fn take_in(&mut self, tx: &Tx<'_>, from: u64, size: u64) -> Result<()> {
        // The one before is read too, to see that it is still the one that was there.
        let is_end = self.newest.is_some() && self.size() == Some(from);
        let mut next = if is_end { from.saturating_sub(1) } else { from };
        let mut grown = false;
        while next < size {
            let filter = AuditFilter { from: next, limit: PAGE, ..AuditFilter::default() };
            let page = tx.audit_entries(&filter)?;
            if page.is_empty() {
                return Err(missing(next));
            }
            for entry in &page {
                if entry.number != next {
                    return Err(missing(next));
                }
                if next < from {
                    if self.newest != Some(entry.leaf_hash) {
                        let why = format!("entry `{}` is not the one that was there before", EntryId(next));
                        return Err(LedgerError::NotContinued { why });
                    }
                } else {
                    tx.check_entry(entry)?;
                    grown |= self.push(entry);
                }
                next += 1;
            }
        }
        if let Some(Followed { tree, keep }) = self.followed.as_ref().filter(|_| grown) {
            keep(tree.size(), tree.root());
        }
        Ok(())
    }

    /// Takes in an entry that is vouched for. Says whether the tree grew by it.
    fn push(&mut self, entry: &StoredEntry) -> bool {
        self.newest = Some(entry.leaf_hash);
        if let Some((next, heed)) = self.heed.as_mut().filter(|(next, _)| *next == entry.number) {
            heed(Heard::Entry(entry));
            *next += 1;
        }
        match self.followed.as_mut().filter(|followed| followed.tree.size() == entry.number) {
            Some(followed) => {
                followed.tree.push(entry.leaf_hash);
                true
            }
            None => false,
        }
    }

    fn misfit(&self, why: String) {
        if let Some((_, heed)) = &self.heed {
            heed(Heard::Misfit(why));
        }
    }

    /// What a transaction appended is durable.
    pub(super) fn commit(&mut self, tail: Tail) {
        let end = tail.next();
        if let Some(newest) = tail.added.borrow().last() {
            self.newest = Some(*newest);
        }
        tail.commit(&mut self.followed);
        if let (Some((next, _)), Some(end)) = (&mut self.heed, end) {
            *next = end.max(*next);
        }
    }
}

/// The entries of one transaction, at the end of a log of `base` entries.
pub(crate) struct Tail {
    base: Cell<Option<u64>>,
    added: RefCell<Vec<Hash>>,
    follow: Cell<Option<Followed>>,
}

impl Tail {
    pub(super) fn of(log: &Log, begun: &Begun) -> Self {
        let followed = log.followed.as_ref().map(|followed| followed.tree.size());
        let base = Cell::new(followed.or(begun.size));
        Self { base, added: RefCell::default(), follow: Cell::default() }
    }

    /// The next entry's number, where the log is followed.
    pub(crate) fn next(&self) -> Option<u64> {
        let added = u64::try_from(self.added.borrow().len()).ok()?;
        Some(self.base.get()? + added)
    }

    pub(crate) fn push(&self, leaf: Hash) {
        self.added.borrow_mut().push(leaf);
    }

    /// From here on the log is followed: `followed` holds all entries that this transaction sees.
    pub(crate) fn follow(&self, followed: Followed) {
        self.base.set(Some(followed.tree.size()));
        self.added.borrow_mut().clear();
        self.follow.set(Some(followed));
    }

    pub(super) fn len(&self) -> usize {
        self.added.borrow().len()
    }

    /// A deed was rolled back: what came after `len` never was.
    pub(super) fn cut(&self, len: usize) {
        self.added.borrow_mut().truncate(len);
    }

    /// The transaction is durable.
    fn commit(self, followed: &mut Option<Followed>) {
        let begins = self.follow.into_inner();
        let (begun, added) = (begins.is_some(), self.added.into_inner());
        if begun {
            *followed = begins;
        }
        if let Some(Followed { tree, keep }) = followed
            && (begun || !added.is_empty())
        {
            tree.extend(added);
            keep(tree.size(), tree.root());
        }
    }
}

fn missing(number: u64) -> LedgerError {
    LedgerError::NotContinued { why: format!("entry `{}` is missing from the ledger", EntryId(number)) }
}
