//! The right edge of the tree, tile by tile: all that is needed to write the next tiles, in under 100 KiB however
//! large the log is.

use keywright_core::audit::tile::{Kind, Tile, WIDTH};
use keywright_core::audit::{Frontier, Hash};

use crate::error::{LedgerError, Result};

/// A tree that grows, with the tiles on its edge.
#[derive(Debug, Clone, Default)]
pub(super) struct Edge {
    size: u64,
    // From the leaves up.
    levels: Vec<Level>,
}

/// The tile that is being filled, and the one that was filled last.
#[derive(Debug, Clone, Default)]
struct Level {
    open: Vec<Hash>,
    full: Vec<Hash>,
}

impl Edge {
    pub(super) fn size(&self) -> u64 {
        self.size
    }

    /// Appends a leaf by its hash.
    pub(super) fn push(&mut self, leaf: Hash) {
        self.size += 1;
        let mut hash = leaf;
        for number in 0.. {
            if self.levels.len() == number {
                self.levels.push(Level::default());
            }
            let Some(level) = self.levels.get_mut(number) else { return };
            level.open.push(hash);
            if level.open.len() < usize::from(WIDTH) {
                return;
            }
            // A full tile is one hash of the tile above it.
            level.full = std::mem::take(&mut level.open);
            hash = level.full.iter().copied().collect::<Frontier>().root();
        }
    }

    /// The tree over all leaves.
    pub(super) fn tree(&self) -> Result<Frontier> {
        // A level's open tile has as many hashes as the size's binary digits at its height say, so the subtrees of
        // the open tiles are those of the tree.
        let subtrees = |level: &Level| level.open.iter().copied().collect::<Frontier>().edge().to_vec();
        let edge = self.levels.iter().rev().flat_map(subtrees).collect();
        Frontier::resume(self.size, edge).map_err(|e| LedgerError::Audit(e.to_string()))
    }

    /// The bytes of a tile that the last chunk of leaves filled or reached.
    pub(super) fn tile(&self, tile: &Tile) -> Option<Vec<u8>> {
        let Kind::Hashes { level } = tile.kind() else { return None };
        let level = self.levels.get(usize::from(level))?;
        let hashes = if tile.width() == WIDTH { &level.full } else { &level.open };
        let fits = hashes.len() == usize::from(tile.width());
        fits.then(|| hashes.iter().flat_map(Hash::as_bytes).copied().collect())
    }

    /// Goes back to where the last full tile of leaves ended.
    pub(super) fn rewind(&mut self) {
        if let Some(leaves) = self.levels.first_mut() {
            leaves.open.clear();
        }
        self.size -= self.size % u64::from(WIDTH);
    }
}

/// Whether a log of `size` entries has this tile: it is full, or one of those on the edge.
pub(super) fn belongs(tile: &Tile, size: u64) -> bool {
    let level = level_of(tile);
    let hashes = size >> (8 * level);
    let width = u64::from(WIDTH);
    tile.width() == WIDTH || (tile.number() == hashes / width && u64::from(tile.width()) == hashes % width)
}

/// A tile's level; entries lie beside the leaves' hashes.
pub(super) fn level_of(tile: &Tile) -> u8 {
    match tile.kind() {
        Kind::Entries => 0,
        Kind::Hashes { level } => level,
    }
}

#[cfg(test)]
mod tests {
    use keywright_core::audit::proof::LeafNodes;

    use super::*;

    fn leaf(n: u64) -> Hash {
        Hash::of_leaf(&n.to_be_bytes())
    }

    #[test]
    fn the_edge_has_the_tiles_and_the_root_of_the_tree() {
        let nodes = LeafNodes::new(|first, count| Ok((first..).take(count).map(leaf).collect()));
        let size = 256 * 256 + 256 + 3;
        let (mut edge, mut tree) = (Edge::default(), Frontier::new());
        let mut seen = 0usize;
        for first in (0..size).step_by(256) {
            let end = (first + 256).min(size);
            (first..end).for_each(|n| {
                edge.push(leaf(n));
                tree.push(leaf(n));
            });
            for tile in Tile::grown(first, end).unwrap() {
                if tile.kind() == Kind::Entries || !belongs(&tile, size) {
                    continue;
                }
                assert_eq!(edge.tile(&tile), Some(tile.hashes(&nodes).unwrap()), "{tile}");
                seen += 1;
            }
            assert_eq!(edge.tree().unwrap().root(), tree.root());
        }
        let all = Tile::grown(0, size).unwrap();
        assert_eq!(seen, all.iter().filter(|t| t.kind() != Kind::Entries).count());
        assert!(all.iter().all(|tile| belongs(tile, size)));
        edge.rewind();
        assert_eq!(edge.size(), size - 3);
        (size - 3..size).for_each(|n| edge.push(leaf(n)));
        assert_eq!(edge.tree().unwrap().root(), tree.root());
    }
}
