//! The Merkle tree of RFC 6962, section 2.1, and the part of it that has to be kept in order to grow it.

use std::fmt;
use std::str::FromStr;

/// The largest log: the tile layout has six levels of 256 (C2SP tlog-tiles), so 2^48 entries.
pub const MAX_SIZE: u64 = 1 << 48;

/// What can go wrong with a tree, its proofs and its tiles.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LogError {
    /// More entries than the tile layout can hold.
    #[error("a log of {size} entries is larger than the format allows, which is 2^48")]
    TooLarge {
        /// The size that was asked for.
        size: u64,
    },
    /// The entry or subtree is not in a tree of this size.
    #[error("number {index} is not in a log of {size} entries")]
    Outside {
        /// What was asked for.
        index: u64,
        /// How large the tree is.
        size: u64,
    },
    /// A log can't become smaller.
    #[error("a log can't go from {from} entries to {to}")]
    Shrinks {
        /// The older size.
        from: u64,
        /// The newer size.
        to: u64,
    },
    /// A saved frontier does not fit its size.
    #[error("a tree of {size} entries has {expected} subtrees on its edge, not {found}")]
    Frontier {
        /// The size that was saved.
        size: u64,
        /// The subtrees that a tree of this size has.
        expected: u32,
        /// The subtrees that were saved.
        found: usize,
    },
    /// A proof does not show what it should.
    #[error("the proof does not hold")]
    Proof,
    /// A path that is not a tile's.
    #[error("`{given}` is not a tile's path; it should look like `tile/0/x001/002.p/3`")]
    Path {
        /// The path, shortened and escaped.
        given: String,
    },
    /// A tile whose bytes don't fit its path.
    #[error("`{path}` is damaged: {what}")]
    Tile {
        /// The tile's path.
        path: String,
        /// What is wrong with its bytes.
        what: &'static str,
    },
    /// An entry that does not fit into a bundle.
    #[error("an entry of {len} bytes is longer than a bundle can hold, which is 65535")]
    EntryTooLong {
        /// The entry's length in bytes.
        len: usize,
    },
    /// The caller could not read what the tree needs.
    #[error("can't read the log: {what}")]
    Read {
        /// The caller's own words.
        what: String,
    },
}

/// A SHA-256 hash of a leaf or of a subtree. Not a secret.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Hash([u8; 32]);

impl Hash {
    /// The root of a tree without leaves: the hash of nothing (RFC 6962, 2.1).
    pub const OF_NOTHING: Self = Self(tlog_tiles::EMPTY_HASH.0);

    /// Wraps 32 bytes that are already a hash.
    #[must_use]
    pub fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// Reads a stored hash. `None` unless there are exactly 32 bytes.
    #[must_use]
    pub fn from_slice(bytes: &[u8]) -> Option<Self> {
        bytes.try_into().ok().map(Self)
    }

    /// The 32 bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// `SHA-256(0x00 || leaf)`.
    #[must_use]
    pub fn of_leaf(leaf: &[u8]) -> Self {
        tlog_tiles::record_hash(leaf).into()
    }

    /// `SHA-256(0x01 || left || right)`.
    #[must_use]
    pub fn of_pair(left: Self, right: Self) -> Self {
        tlog_tiles::node_hash(left.into(), right.into()).into()
    }
}

impl From<tlog_tiles::Hash> for Hash {
    fn from(hash: tlog_tiles::Hash) -> Self {
        Self(hash.0)
    }
}

impl From<Hash> for tlog_tiles::Hash {
    fn from(hash: Hash) -> Self {
        Self(hash.0)
    }
}

impl FromStr for Hash {
    type Err = hex::FromHexError;

    /// Reads 64 hexadecimal digits.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut bytes = [0; 32];
        hex::decode_to_slice(text, &mut bytes)?;
        Ok(Self(bytes))
    }
}

impl fmt::Display for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

impl fmt::Debug for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A tree's right edge: the roots of its complete subtrees, largest first. It is all that is needed to append a
/// leaf or to name the root, and it holds at most 48 hashes however large the log is.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Frontier {
    size: u64,
    // INVARIANT: one hash for each bit that is set in `size`, the highest bit first.
    edge: Vec<Hash>,
}

impl Frontier {
    /// The tree without leaves.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes up a tree where [`Frontier::size`] and [`Frontier::edge`] left it.
    ///
    /// # Errors
    /// [`LogError::Frontier`] when the number of hashes does not fit the size, [`LogError::TooLarge`].
    pub fn resume(size: u64, edge: Vec<Hash>) -> Result<Self, LogError> {
        if size > MAX_SIZE {
            return Err(LogError::TooLarge { size });
        }
        let expected = size.count_ones();
        if usize::try_from(expected) != Ok(edge.len()) {
            return Err(LogError::Frontier { size, expected, found: edge.len() });
        }
        Ok(Self { size, edge })
    }

    /// Appends a leaf by its hash. One pair is hashed per leaf on average.
    pub fn push(&mut self, leaf: Hash) {
        let mut hash = leaf;
        // A set bit at the low end is a complete subtree as large as what is in hand: they become one.
        for _ in 0..self.size.trailing_ones() {
            let Some(left) = self.edge.pop() else { break };
            hash = Hash::of_pair(left, hash);
        }
        self.edge.push(hash);
        self.size += 1;
    }

    /// How many leaves there are.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.size
    }

    /// The complete subtrees, largest first, for saving.
    #[must_use]
    pub fn edge(&self) -> &[Hash] {
        &self.edge
    }

    /// The root of the tree as it is now (RFC 6962, 2.1). Does not change the tree.
    #[must_use]
    pub fn root(&self) -> Hash {
        let from_the_right = self.edge.iter().rev().copied();
        from_the_right.reduce(|right, left| Hash::of_pair(left, right)).unwrap_or(Hash::OF_NOTHING)
    }
}

impl Extend<Hash> for Frontier {
    fn extend<I: IntoIterator<Item = Hash>>(&mut self, leaves: I) {
        leaves.into_iter().for_each(|leaf| self.push(leaf));
    }
}

impl FromIterator<Hash> for Frontier {
    fn from_iter<I: IntoIterator<Item = Hash>>(leaves: I) -> Self {
        let mut frontier = Self::new();
        frontier.extend(leaves);
        frontier
    }
}
