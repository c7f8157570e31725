//! What verifying a home's audit log found.

use std::fmt;
use std::ops::Range;

use keywright_core::audit::{CheckpointError, EntryId, Fault, Hash, Origin};

/// Whose checkpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Held {
    /// The file beside the tiles.
    File,
    /// The log's head, a file that follows each commit.
    Head,
    /// A copy of the head in a second place.
    Witness,
    /// What the broker read when it started.
    Seen,
    /// The newest one in the ledger: the second place.
    Ledger,
    /// The one that somebody kept and handed in.
    Given,
    /// The one that the running broker signed last.
    Broker,
}

/// One thing wrong with the audit log. Entries are named by their place, counted from 0.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Finding {
    /// The key that the checkpoints are checked with is not the right one, or missing.
    #[error("the verifier key {what}")]
    Key {
        /// What is wrong with it.
        what: String,
    },
    /// A checkpoint that can't be believed.
    #[error("{held} can't be believed: {reason}")]
    Checkpoint {
        /// Which.
        held: Held,
        /// Why.
        reason: CheckpointError,
    },
    /// The root is not the one that was signed.
    #[error("entries {since} to {size} (exclusive) are not all as they were when {held} was signed")]
    Root {
        /// Which checkpoint contradicts the ledger.
        held: Held,
        /// Everything before this entry is known to be right.
        since: u64,
        /// The checkpoint's size.
        size: u64,
    },
    /// What reading the rows found.
    #[error(transparent)]
    Log(Fault),
    /// A file that is not what the ledger says it should be.
    #[error("`{path}` {what}")]
    File {
        /// Which, relative to the directory.
        path: String,
        /// The first entry that it concerns, where it holds entries or their hashes.
        entry: Option<u64>,
        /// What is wrong with it.
        what: &'static str,
    },
    /// The ledger's schema is not Keywright's.
    #[error("the ledger was changed outside of Keywright: {what}")]
    Schema {
        /// What there is or what is missing.
        what: String,
    },
    /// What SQLite itself says of the table of entries: an index that leads past some of them, say, so that they are not found.
    #[error("what looks entries up does not agree with the entries: {what}")]
    Index {
        /// In its words.
        what: String,
    },
    /// There are no entries, and yet there is what only recorded deeds lead to.
    #[error(
        "the log has no entries, but the ledger holds {what}: each of them was recorded when it came to be, so the log was emptied"
    )]
    Emptied {
        /// What there is, as in ``rows in `agents` (2)``.
        what: String,
    },
    /// What somebody signed is not what the entry says, or not their signature.
    #[error("a signature of entry {entry} does not verify: {why}")]
    Signature {
        /// Which.
        entry: u64,
        /// Why not.
        why: String,
    },
    /// The columns that entries are searched by lead away from an entry.
    #[error("the ledger's columns beside entry {entry} don't say what the entry says")]
    Columns {
        /// Which.
        entry: u64,
    },
}

/// The result of [`verify`](super::verify).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// The log's name, where a verifier key was found.
    pub log: Option<Origin>,
    /// How many entries were read and found in their place.
    pub entries: u64,
    /// The root over them.
    pub root: Hash,
    /// How many of them a signed checkpoint vouches for.
    pub covered: u64,
    /// Everything that is wrong, in the order in which it was found; empty for a sound log.
    pub findings: Vec<Finding>,
}

impl Report {
    /// Whether nothing is wrong.
    #[must_use]
    pub fn is_sound(&self) -> bool {
        self.findings.is_empty()
    }

    /// How many entries were written after the newest checkpoint. They are only as safe as the disk.
    #[must_use]
    pub fn unsigned(&self) -> u64 {
        self.entries.saturating_sub(self.covered)
    }

    /// The finding that says most about the first bad entry; where none is about an entry, the first finding.
    #[must_use]
    pub fn first(&self) -> Option<&Finding> {
        let placed = self.findings.iter().filter_map(|finding| Some((finding.span()?, finding)));
        // As in core: the span that ends first holds the first bad entry; the narrowest of them says most.
        let first = placed.min_by_key(|(span, _)| (span.end, std::cmp::Reverse(span.start)));
        first.map(|(_, finding)| finding).or_else(|| self.findings.first())
    }

    /// The first bad entry, where it can be told.
    #[must_use]
    pub fn first_bad(&self) -> Option<EntryId> {
        let span = self.first()?.span()?;
        (span.end - span.start == 1).then_some(EntryId(span.start))
    }
}

impl Finding {
    /// Where the first bad entry is: one entry, or the span that it must lie in.
    #[must_use]
    pub fn span(&self) -> Option<Range<u64>> {
        match self {
            Self::Key { .. }
            | Self::Checkpoint { .. }
            | Self::Schema { .. }
            | Self::Index { .. }
            | Self::Emptied { .. } => None,
            Self::Root { since, size, .. } => Some(*since..*size),
            Self::Log(fault) => fault.span(),
            Self::File { entry, .. } => entry.map(|entry| entry..entry.saturating_add(1)),
            Self::Columns { entry } | Self::Signature { entry, .. } => Some(*entry..entry.saturating_add(1)),
        }
    }
}

impl fmt::Display for Held {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::File => "the checkpoint file",
            Self::Seen => "what this broker read when it started",
            Self::Head => "the head file",
            Self::Witness => "the copy of the head in a second place",
            Self::Ledger => "the ledger's own checkpoint",
            Self::Given => "the older checkpoint",
            Self::Broker => "the checkpoint that this broker signed last",
        })
    }
}
