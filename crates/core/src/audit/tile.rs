//! The log as files: [C2SP tlog-tiles](https://c2sp.org/tlog-tiles).
//!
//! `tile/<L>/<N>` holds 256 hashes of level `8 * L` side by side, `tile/entries/<N>` the 256 leaves below a tile of
//! level 0, each behind its length as two bytes. A tile on the right edge is partial and has `.p/<W>` behind its
//! path. A full tile never changes; a partial one is followed by a wider one under another path.

use std::fmt;
use std::ops::Range;
use std::str::FromStr;

use crate::audit::merkle::{Frontier, Hash, LogError, MAX_SIZE};
use crate::audit::proof::{Nodes, grows};
use crate::text::Untrusted;

/// The hashes, or the entries, of a full tile.
pub const WIDTH: u16 = 256;

/// log2 of [`WIDTH`], as `tlog_tiles` wants it.
const HEIGHT: u8 = 8;

/// The highest level of tiles: six levels of 256 hold 2^48 entries.
const MAX_LEVEL: u8 = 5;

/// What a tile holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// Roots of subtrees of 256^`level` entries; level 0 are the leaf hashes.
    Hashes {
        /// 0 to 5.
        level: u8,
    },
    /// The leaves themselves: an entry bundle.
    Entries,
}

/// One file of the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Tile {
    kind: Kind,
    number: u64,
    // INVARIANT: 1 to 256.
    width: u16,
}

impl Tile {
    /// The files that have to be written when a log grows, in the order in which they may be written: a reader
    /// that finds a tile finds what is below it.
    ///
    /// # Errors
    /// [`LogError::Shrinks`], [`LogError::TooLarge`].
    pub fn grown(from: u64, to: u64) -> Result<Vec<Self>, LogError> {
        grows(from, to)?;
        let mut tiles = Vec::new();
        for tile in tlog_tiles::Tile::new_tiles(HEIGHT, from, to) {
            let width = u16::try_from(tile.width()).unwrap_or(WIDTH);
            let (level, number) = (tile.level(), tile.level_index());
            if level == 0 {
                tiles.push(Self { kind: Kind::Entries, number, width });
            }
            tiles.push(Self { kind: Kind::Hashes { level }, number, width });
        }
        Ok(tiles)
    }

    /// What the tile holds.
    #[must_use]
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// The number of the tile in its level, from the left.
    #[must_use]
    pub fn number(&self) -> u64 {
        self.number
    }

    /// How many hashes or entries it holds: 1 to 256.
    #[must_use]
    pub fn width(&self) -> u16 {
        self.width
    }

    /// Which subtrees of its level, and for an entry bundle which entries, it holds.
    #[must_use]
    pub fn range(&self) -> Range<u64> {
        let start = self.number.saturating_mul(WIDTH.into());
        start..start.saturating_add(self.width.into())
    }

    /// The bytes of a tile of hashes.
    ///
    /// # Errors
    /// What `nodes` answers; [`LogError::Read`] for an entry bundle, whose bytes come from [`bundle`].
    pub fn hashes(&self, nodes: &impl Nodes) -> Result<Vec<u8>, LogError> {
        let Kind::Hashes { level } = self.kind else {
            return Err(LogError::Read { what: format!("`{self}` does not hold hashes") });
        };
        let hashes = nodes.nodes(level * HEIGHT, self.range().start, self.width.into())?;
        if hashes.len() != usize::from(self.width) {
            return Err(LogError::Read { what: format!("not all hashes of `{self}` are there") });
        }
        Ok(hashes.iter().flat_map(Hash::as_bytes).copied().collect())
    }

    /// Reads a tile of hashes back.
    ///
    /// # Errors
    /// [`LogError::Tile`] when the length is not that of the tile.
    pub fn parse_hashes(&self, bytes: &[u8]) -> Result<Vec<Hash>, LogError> {
        let (hashes, rest) = bytes.as_chunks::<32>();
        if self.kind == Kind::Entries || !rest.is_empty() || hashes.len() != usize::from(self.width) {
            return Err(self.damaged("the length does not fit the tile's width"));
        }
        Ok(hashes.iter().copied().map(Hash::from_bytes).collect())
    }

    /// Reads an entry bundle back: one slice a leaf.
    ///
    /// # Errors
    /// [`LogError::Tile`] when the bundle is cut short, or has bytes too many.
    pub fn parse_entries<'b>(&self, bytes: &'b [u8]) -> Result<Vec<&'b [u8]>, LogError> {
        if self.kind != Kind::Entries {
            return Err(self.damaged("this tile does not hold entries"));
        }
        let mut rest = bytes;
        let mut leaves = Vec::with_capacity(self.width.into());
        for _ in 0..self.width {
            let cut = || self.damaged("an entry is cut short");
            let (length, behind) = rest.split_first_chunk::<2>().ok_or_else(cut)?;
            let length = usize::from(u16::from_be_bytes(*length));
            let (leaf, behind) = behind.split_at_checked(length).ok_or_else(cut)?;
            leaves.push(leaf);
            rest = behind;
        }
        if rest.is_empty() { Ok(leaves) } else { Err(self.damaged("there are bytes behind the last entry")) }
    }

    fn damaged(&self, what: &'static str) -> LogError {
        LogError::Tile { path: self.to_string(), what }
    }
}

/// The path, relative to the directory of the log.
impl fmt::Display for Tile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (level, is_data) = match self.kind {
            Kind::Hashes { level } => (level, false),
            Kind::Entries => (0, true),
        };
        // The library writes the older layout, which has the tiles' height in the path and another word for entries.
        let path = tlog_tiles::Tile::new(HEIGHT, level, self.number, self.width.into(), is_data).path();
        match path.strip_prefix("tile/8/data/") {
            Some(rest) => write!(f, "tile/entries/{rest}"),
            None => write!(f, "tile/{}", path.strip_prefix("tile/8/").unwrap_or(&path)),
        }
    }
}

impl FromStr for Tile {
    type Err = LogError;
    fn from_str(path: &str) -> Result<Self, LogError> {
        parse_path(path).ok_or_else(|| LogError::Path { given: Untrusted::capped(path, 80).to_string() })
    }
}

/// The bytes of an entry bundle.
///
/// # Errors
/// [`LogError::EntryTooLong`].
pub fn bundle<'l>(leaves: impl IntoIterator<Item = &'l [u8]>) -> Result<Vec<u8>, LogError> {
    let mut bytes = Vec::new();
    for leaf in leaves {
        let length = u16::try_from(leaf.len()).map_err(|_| LogError::EntryTooLong { len: leaf.len() })?;
        bytes.extend_from_slice(&length.to_be_bytes());
        bytes.extend_from_slice(leaf);
    }
    Ok(bytes)
}

/// A log's hashes, read from its tiles. Every tile that is read is first proved to belong to the tree of `size` and
/// `root`, so a file that somebody changed is an error here and can't spread into newer tiles.
///
/// This is not `tlog_tiles::TileHashReader`, which in version 0.2.0 leaves some tiles unproved: it skips as many
/// tiles as the tree has subtrees on its edge, although several of these can lie in one tile.
#[derive(Debug)]
pub struct TileNodes<F> {
    size: u64,
    read: F,
    // INVARIANT: the partial tiles, by level, and proved: together they give the root.
    edge: Vec<Vec<Hash>>,
}

impl<F: Fn(&Tile) -> Result<Vec<u8>, LogError>> TileNodes<F> {
    /// `read` gives a tile's bytes; `size` and `root` come from a checkpoint that was opened.
    ///
    /// # Errors
    /// [`LogError::TooLarge`]; [`LogError::Tile`] when the partial tiles are not those of the root; what `read`
    /// answers.
    pub fn new(size: u64, root: Hash, read: F) -> Result<Self, LogError> {
        grows(0, size)?;
        let mut edge = Vec::new();
        for level in 0..=MAX_LEVEL {
            let tile = edge_tile(level, size);
            edge.push(tile.map(|tile| tile.parse_hashes(&read(&tile)?)).transpose()?.unwrap_or_default());
        }
        // The binary digits of a partial tile's width are those of the size: its subtrees are the tree's.
        let subtrees = |tile: &Vec<Hash>| tile.iter().copied().collect::<Frontier>().edge().to_vec();
        let subtrees = edge.iter().rev().flat_map(subtrees).collect();
        if Frontier::resume(size, subtrees)?.root() != root {
            let path = edge_tile(0, size).map_or_else(|| "tile".to_owned(), |tile| tile.to_string());
            return Err(LogError::Tile {
                path,
                what: "the tiles on the log's edge don't give the signed root",
            });
        }
        Ok(Self { size, read, edge })
    }

    /// The hashes of the tile `number` of a level, proved.
    fn tile(&self, level: u8, number: u64) -> Result<Vec<Hash>, LogError> {
        if edge_tile(level, self.size).is_some_and(|tile| tile.number == number) {
            return Ok(self.edge.get(usize::from(level)).cloned().unwrap_or_default());
        }
        let tile = Tile { kind: Kind::Hashes { level }, number, width: WIDTH };
        let hashes = tile.parse_hashes(&(self.read)(&tile)?)?;
        // A full tile is one hash of the tile above it, which is proved in the same way, up to the edge.
        let above = self.tile(level + 1, number / u64::from(WIDTH))?;
        let at = usize::try_from(number % u64::from(WIDTH)).unwrap_or(usize::MAX);
        let root = hashes.iter().copied().collect::<Frontier>().root();
        if above.get(at) != Some(&root) {
            return Err(tile.damaged("its hashes are not those of the signed root"));
        }
        Ok(hashes)
    }
}

impl<F: Fn(&Tile) -> Result<Vec<u8>, LogError>> Nodes for TileNodes<F> {
    fn nodes(&self, level: u8, first: u64, count: usize) -> Result<Vec<Hash>, LogError> {
        let outside = LogError::Outside { index: first, size: self.size };
        let complete = self.size.checked_shr(level.into()).unwrap_or(0);
        if u64::try_from(count)
            .ok()
            .and_then(|count| first.checked_add(count))
            .is_none_or(|end| end > complete)
        {
            return Err(outside);
        }
        let tile_level = (level / HEIGHT).min(MAX_LEVEL);
        let within = level - tile_level * HEIGHT;
        let mut hashes = Vec::with_capacity(count);
        let mut open: Option<(u64, Vec<Hash>)> = None;
        for start in (first..).take(count).map(|number| number << within) {
            let number = start / u64::from(WIDTH);
            let tile = match open.take().filter(|(open, _)| *open == number) {
                Some((_, tile)) => tile,
                None => self.tile(tile_level, number)?,
            };
            let from = usize::try_from(start % u64::from(WIDTH)).unwrap_or(usize::MAX);
            let below = tile.get(from..from.saturating_add(1 << within)).ok_or_else(|| outside.clone())?;
            hashes.push(below.iter().copied().collect::<Frontier>().root());
            open = Some((number, tile));
        }
        Ok(hashes)
    }
}

/// A log that has grown since its tiles were written: what lies within the tiles is read from them, the rest is
/// computed from the newer leaf hashes. Writing the next tiles then costs as much as has been added.
pub struct GrowingNodes<T, L> {
    written: u64,
    tiles: T,
    leaves: L,
}

impl<T: Nodes, L: Nodes> GrowingNodes<T, L> {
    /// `tiles` knows the first `written` entries; `leaves` knows all leaf hashes.
    pub fn new(written: u64, tiles: T, leaves: L) -> Self {
        Self { written, tiles, leaves }
    }

    /// A subtree that reaches beyond the tiles.
    fn newer(&self, level: u8, number: u64) -> Result<Hash, LogError> {
        let Some(below) = level.checked_sub(HEIGHT) else {
            let hashes = self.leaves.nodes(level, number, 1)?;
            let missing = || LogError::Read { what: format!("no hash {number} of level {level}") };
            return hashes.first().copied().ok_or_else(missing);
        };
        // A tile's height further down, most of the hashes are in the tiles again.
        let first = number.checked_mul(WIDTH.into()).filter(|first| *first < MAX_SIZE);
        let first = first.ok_or(LogError::TooLarge { size: u64::MAX })?;
        Ok(self.nodes(below, first, WIDTH.into())?.into_iter().collect::<Frontier>().root())
    }
}

impl<T: Nodes, L: Nodes> Nodes for GrowingNodes<T, L> {
    fn nodes(&self, level: u8, first: u64, count: usize) -> Result<Vec<Hash>, LogError> {
        let in_tiles = self.written.checked_shr(level.into()).unwrap_or(0).saturating_sub(first);
        let in_tiles = usize::try_from(in_tiles).unwrap_or(usize::MAX).min(count);
        let mut hashes = if in_tiles == 0 { Vec::new() } else { self.tiles.nodes(level, first, in_tiles)? };
        let newer = first.saturating_add(u64::try_from(in_tiles).unwrap_or(u64::MAX));
        if level == 0 {
            hashes.extend(self.leaves.nodes(0, newer, count - in_tiles)?);
            return Ok(hashes);
        }
        for number in (newer..).take(count - in_tiles) {
            hashes.push(self.newer(level, number)?);
        }
        Ok(hashes)
    }
}

/// The partial tile at the right edge of a level, if there is one. The highest level has no other tile.
fn edge_tile(level: u8, size: u64) -> Option<Tile> {
    let hashes = size >> (level * HEIGHT);
    let number = if level == MAX_LEVEL { 0 } else { hashes / u64::from(WIDTH) };
    let width = u16::try_from(hashes - number * u64::from(WIDTH)).ok().filter(|width| *width > 0)?;
    Some(Tile { kind: Kind::Hashes { level }, number, width })
}

/// Reads a path with the library after ruling out what makes the library assert: levels and widths out of range.
fn parse_path(path: &str) -> Option<Tile> {
    let (level, rest) = path.strip_prefix("tile/")?.split_once('/')?;
    let kind = match level {
        "entries" => Kind::Entries,
        level => Kind::Hashes { level: level.parse().ok().filter(|l| *l <= MAX_LEVEL)? },
    };
    if let Some((_, width)) = rest.split_once(".p/") {
        width.parse::<u16>().ok().filter(|w| (1..WIDTH).contains(w))?;
    }
    let word = if kind == Kind::Entries { "data" } else { level };
    let tile = tlog_tiles::Tile::from_path(&format!("tile/{HEIGHT}/{word}/{rest}")).ok()?;
    let tile = Tile { kind, number: tile.level_index(), width: u16::try_from(tile.width()).ok()? };
    // INVARIANT: a tile that was read lies within the largest log.
    (tile.range().end <= MAX_SIZE && tile.to_string() == path).then_some(tile)
}
