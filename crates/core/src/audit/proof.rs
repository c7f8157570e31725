//! Proofs: that an entry is in a tree (RFC 6962, 2.1.1), and that one tree continues another (2.1.2).
//!
//! The arithmetic is `tlog_tiles`'. It asserts what it assumes; the functions here check that first, so that
//! nothing from outside can make it panic.

use crate::audit::merkle::{Frontier, Hash, LogError, MAX_SIZE};

/// The longest proof: one hash a level, and one more where a consistency proof starts inside the tree.
const MAX_PROOF: usize = 64;

/// Where the hashes of a tree are read from. Only complete subtrees are ever asked for, so an answer never
/// changes while the log grows.
pub trait Nodes {
    /// The roots of `count` neighbouring subtrees of 2^`level` leaves each; `first` counts subtrees of that
    /// size from the left. Level 0 are the leaf hashes.
    ///
    /// # Errors
    /// [`LogError::Read`] when the hashes can't be had, [`LogError::Outside`] when they don't exist yet.
    fn nodes(&self, level: u8, first: u64, count: usize) -> Result<Vec<Hash>, LogError>;
}

/// A tree of which only the leaf hashes are stored; what is above is computed anew each time.
pub struct LeafNodes<F>(F);

impl<F: Fn(u64, usize) -> Result<Vec<Hash>, LogError>> LeafNodes<F> {
    /// `leaves(first, count)` reads that many stored leaf hashes.
    pub fn new(leaves: F) -> Self {
        Self(leaves)
    }

    fn leaves(&self, first: u64, count: usize) -> Result<Vec<Hash>, LogError> {
        let hashes = (self.0)(first, count)?;
        if hashes.len() == count {
            return Ok(hashes);
        }
        let found = u64::try_from(hashes.len()).unwrap_or(u64::MAX);
        let what = format!("asked for {count} leaf hashes from {first} on, got {found}");
        Err(LogError::Read { what })
    }
}

impl<F: Fn(u64, usize) -> Result<Vec<Hash>, LogError>> Nodes for LeafNodes<F> {
    fn nodes(&self, level: u8, first: u64, count: usize) -> Result<Vec<Hash>, LogError> {
        /// How many leaf hashes are held in memory at once.
        const CHUNK: u64 = 4096;
        if level == 0 {
            return self.leaves(first, count);
        }
        let width = 1u64.checked_shl(level.into()).filter(|w| *w <= MAX_SIZE);
        let width = width.ok_or(LogError::TooLarge { size: u64::MAX })?;
        let mut roots = Vec::with_capacity(count);
        for subtree in (first..).take(count) {
            let start = subtree.checked_mul(width).filter(|s| *s < MAX_SIZE);
            let start = start.ok_or(LogError::TooLarge { size: u64::MAX })?;
            let mut tree = Frontier::new();
            while tree.size() < width {
                let take = usize::try_from(CHUNK.min(width - tree.size())).unwrap_or(0);
                tree.extend(self.leaves(start + tree.size(), take)?);
            }
            roots.push(tree.root());
        }
        Ok(roots)
    }
}

/// The proof that the tree of the first `size` entries holds entry `index`.
///
/// # Errors
/// [`LogError::Outside`] when it can't, else what `nodes` answers.
pub fn prove_inclusion(size: u64, index: u64, nodes: &impl Nodes) -> Result<Vec<Hash>, LogError> {
    in_range(index, size)?;
    let read = |reader: &Reader<'_, _>| tlog_tiles::prove_record(size, index, reader);
    Reader(nodes).run(read)
}

/// Checks that `leaf` is entry `index` of the tree with `size` entries and this `root`.
///
/// # Errors
/// [`LogError::Proof`] when the proof shows anything else, [`LogError::Outside`].
pub fn check_inclusion(
    proof: &[Hash],
    size: u64,
    root: Hash,
    index: u64,
    leaf: Hash,
) -> Result<(), LogError> {
    in_range(index, size)?;
    let proof = bounded(proof)?;
    tlog_tiles::check_record(&proof, size, root.into(), index, leaf.into()).map_err(|_| LogError::Proof)
}

/// The proof that the tree of the first `size` entries continues the tree of the first `older` entries.
///
/// # Errors
/// [`LogError::Shrinks`] when it can't, else what `nodes` answers.
pub fn prove_consistency(size: u64, older: u64, nodes: &impl Nodes) -> Result<Vec<Hash>, LogError> {
    grows(older, size)?;
    if older == 0 {
        return Ok(Vec::new());
    }
    Reader(nodes).run(|reader| tlog_tiles::prove_tree(size, older, reader))
}

/// Checks that the tree of `size` and `root` begins with all entries of the tree of `older` and `older_root`.
///
/// # Errors
/// [`LogError::Proof`] when the proof shows anything else, [`LogError::Shrinks`].
pub fn check_consistency(
    proof: &[Hash],
    size: u64,
    root: Hash,
    older: u64,
    older_root: Hash,
) -> Result<(), LogError> {
    grows(older, size)?;
    if older == 0 {
        // RFC 6962 leaves this case out; every tree continues the empty one, and there is nothing to send.
        let holds = proof.is_empty() && older_root == Hash::OF_NOTHING;
        return if holds { Ok(()) } else { Err(LogError::Proof) };
    }
    let proof = bounded(proof)?;
    tlog_tiles::check_tree(&proof, size, root.into(), older, older_root.into()).map_err(|_| LogError::Proof)
}

fn in_range(index: u64, size: u64) -> Result<(), LogError> {
    if size > MAX_SIZE {
        return Err(LogError::TooLarge { size });
    }
    if index < size { Ok(()) } else { Err(LogError::Outside { index, size }) }
}

/// That a log may go from one size to the other.
pub(crate) fn grows(from: u64, to: u64) -> Result<(), LogError> {
    if to > MAX_SIZE {
        return Err(LogError::TooLarge { size: to });
    }
    if from <= to { Ok(()) } else { Err(LogError::Shrinks { from, to }) }
}

fn bounded(proof: &[Hash]) -> Result<Vec<tlog_tiles::Hash>, LogError> {
    // The library copies the proof at every level of the tree, so a proof of any length would be a burden.
    if proof.len() > MAX_PROOF {
        return Err(LogError::Proof);
    }
    Ok(proof.iter().map(|hash| (*hash).into()).collect())
}

/// Lends [`Nodes`] to `tlog_tiles`, which numbers all hashes of a tree in one line.
struct Reader<'a, N>(&'a N);

impl<N: Nodes> Reader<'_, N> {
    fn run<F>(&self, proof: F) -> Result<Vec<Hash>, LogError>
    where
        F: FnOnce(&Self) -> Result<Vec<tlog_tiles::Hash>, tlog_tiles::Error>,
    {
        let hashes = proof(self).map_err(from_library)?;
        Ok(hashes.into_iter().map(Hash::from).collect())
    }
}

impl<N: Nodes> tlog_tiles::HashReader for Reader<'_, N> {
    fn read_hashes(&self, indexes: &[u64]) -> Result<Vec<tlog_tiles::Hash>, tlog_tiles::Error> {
        let mut hashes = Vec::with_capacity(indexes.len());
        for stored in indexes {
            let (level, number) = tlog_tiles::split_stored_hash_index(*stored);
            let read = self.0.nodes(level, number, 1).map_err(to_library)?;
            // The library asserts that each question has its answer.
            let missing = || tlog_tiles::Error::InvalidInput("no hash came back".to_owned());
            let hash = read.first().ok_or_else(missing)?;
            hashes.push((*hash).into());
        }
        Ok(hashes)
    }
}

/// The library's error type has no room for a reader's own failure but this one's text.
fn to_library(error: LogError) -> tlog_tiles::Error {
    match error {
        LogError::Read { what } => tlog_tiles::Error::InvalidInput(what),
        other => tlog_tiles::Error::InvalidInput(other.to_string()),
    }
}

fn from_library(error: tlog_tiles::Error) -> LogError {
    match error {
        tlog_tiles::Error::InvalidInput(what) => LogError::Read { what },
        other => LogError::Read { what: other.to_string() },
    }
}
