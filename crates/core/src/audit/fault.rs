//! What reading a log can find, each with the first entry that it concerns.

use std::fmt;
use std::ops::Range;

use crate::audit::checkpoint::CheckpointError;

/// Which of the checkpoints that were handed in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Head {
    /// The log's own newest one.
    Current,
    /// One that somebody kept from an earlier time, counted from 0 in the order in which they were handed in.
    Older(usize),
    /// What the log claims for itself, without a signature.
    Claimed,
}

/// Where the log and its tiles differ: which of them the signed checkpoint contradicts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Blame {
    /// The tiles give the signed root, so the entry in the log was changed.
    Log,
    /// The log gives the signed root, so the tile was changed.
    Tiles,
    /// Neither does, or no checkpoint reaches that far.
    Unknown,
}

/// One thing wrong with a log. Entries are named by their index.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// A checkpoint that can't be believed.
    #[error("{head} can't be believed: {reason}")]
    Checkpoint {
        /// Which.
        head: Head,
        /// Why.
        reason: CheckpointError,
    },
    /// There are entries, and no checkpoint was handed in.
    #[error("there is no checkpoint, so nothing shows that the log is whole")]
    NoCheckpoint,
    /// Another entry stands where this one should, and it does not come later either.
    #[error("entry {entry} is missing; entry {instead} stands in its place")]
    Missing {
        /// The entry that should be there.
        entry: u64,
        /// The index of what is there.
        instead: u64,
    },
    /// Another entry stands where this one should, and it comes later.
    #[error("entry {entry} was moved to position {position}; entry {instead} stands in its place")]
    Moved {
        /// The entry that should be there.
        entry: u64,
        /// The index of what is there.
        instead: u64,
        /// Where the entry is, counted from 0.
        position: u64,
    },
    /// The bytes are not those of an entry.
    #[error("entry {entry} can't be read: {reason}")]
    Undecodable {
        /// Which.
        entry: u64,
        /// What is wrong with it.
        reason: String,
    },
    /// The bytes don't have the hash that was stored beside them.
    #[error("entry {entry} was changed: its text does not have its stored hash")]
    Altered {
        /// Which.
        entry: u64,
    },
    /// The log and its tiles have different hashes for an entry.
    #[error("entry {entry} differs between the log and its tiles: {blame}")]
    Differs {
        /// The first such entry.
        entry: u64,
        /// Which of the two was changed.
        blame: Blame,
    },
    /// The root is not the one that was signed.
    #[error("entries {since} to {size} (exclusive) are not all as they were when {head} was signed", since = since, size = size)]
    Root {
        /// Which checkpoint contradicts the log.
        head: Head,
        /// Everything before this entry is known to be right.
        since: u64,
        /// The checkpoint's size.
        size: u64,
    },
    /// The log ends too early.
    #[error("the log was cut off: entry {entry} is missing, and {signed} entries were signed or published")]
    Truncated {
        /// The first entry that is not there.
        entry: u64,
        /// How many there were.
        signed: u64,
    },
    /// The tiles end too early.
    #[error("the tiles were cut off: entry {entry} is missing in them, and {signed} entries were signed")]
    TilesTruncated {
        /// The first entry that is not there.
        entry: u64,
        /// How many there were.
        signed: u64,
    },
}

impl Fault {
    /// Where the first bad entry is: one entry where the fault names it, else the span it must lie in. `None` for
    /// faults of a checkpoint itself.
    #[must_use]
    pub fn span(&self) -> Option<Range<u64>> {
        match self {
            Self::Checkpoint { .. } | Self::NoCheckpoint => None,
            Self::Root { since, size, .. } => Some(*since..*size),
            Self::Missing { entry, .. }
            | Self::Moved { entry, .. }
            | Self::Undecodable { entry, .. }
            | Self::Altered { entry }
            | Self::Differs { entry, .. }
            | Self::Truncated { entry, .. }
            | Self::TilesTruncated { entry, .. } => Some(*entry..entry.saturating_add(1)),
        }
    }

    /// The first bad entry, where the fault pins it to one.
    #[must_use]
    pub fn entry(&self) -> Option<u64> {
        self.span().filter(|span| span.end - span.start == 1).map(|span| span.start)
    }
}

impl fmt::Display for Head {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Current => f.write_str("the log's checkpoint"),
            Self::Older(number) => write!(f, "older checkpoint {}", number + 1),
            Self::Claimed => f.write_str("the log's own head"),
        }
    }
}

impl fmt::Display for Blame {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Log => "the signed root agrees with the tiles, so the log was changed",
            Self::Tiles => "the signed root agrees with the log, so the tile was changed",
            Self::Unknown => "no signed root agrees with either",
        })
    }
}
