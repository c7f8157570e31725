//! What the writer itself appended to the audit log. Once it follows the log, it counts entries by what it wrote and not
//! by what the file says, and keeps the head of the tree outside of the file: whoever takes the newest entries away
//! while no broker runs can't take that back with them.

use std::cell::{Cell, RefCell};

use keywright_core::audit::{Frontier, Hash};

/// The tree over all entries, and what is told of it after each commit that made it grow.
pub(crate) struct Followed {
    pub(crate) tree: Frontier,
    pub(crate) keep: Box<dyn Fn(u64, Hash) + Send>,
}

/// The entries of one transaction, at the end of a log of `base` entries.
pub(crate) struct Tail {
    base: Cell<Option<u64>>,
    added: RefCell<Vec<Hash>>,
    follow: Cell<Option<Followed>>,
}

impl Tail {
    pub(crate) fn of(followed: Option<&Followed>) -> Self {
        let base = Cell::new(followed.map(|followed| followed.tree.size()));
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
    pub(super) fn commit(self, followed: &mut Option<Followed>) {
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
