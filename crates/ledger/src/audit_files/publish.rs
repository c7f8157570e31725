//! Writing tiles and signing the tree, always as a continuation of what was signed before.

use std::sync::Mutex;

use keywright_core::audit::tile::{Kind, Tile, WIDTH, bundle};
use keywright_core::audit::{Checkpoint, Entry, EntryId, Hash, VerifierKey};
use zeroize::Zeroizing;

use super::CHECKPOINT;
use super::disk::Disk;
use super::edge::{Edge, belongs, level_of};
use super::report::Held;
use crate::error::{LedgerError, Result};
use crate::sql::Tx;
use crate::tables::audit::{AuditFilter, StoredEntry};

/// The one who signs.
pub(super) struct Publisher {
    pub(super) disk: Disk,
    pub(super) key: VerifierKey,
    pub(super) seed: Zeroizing<[u8; 32]>,
    pub(super) state: Mutex<State>,
}

/// What is known from the last time.
#[derive(Default)]
pub(super) struct State {
    // INVARIANT: over rows that were proved against a checkpoint, up to the last full tile.
    edge: Edge,
    // What was signed last; none before the first time.
    note: Option<String>,
}

/// What came of it.
pub(super) struct Signed {
    pub(super) size: u64,
    /// The note, when the ledger does not have it yet.
    pub(super) to_keep: Option<String>,
}

/// A checkpoint of our own.
struct Head {
    held: Held,
    checkpoint: Checkpoint,
}

impl Publisher {
    pub(super) fn publish(&self, tx: &Tx<'_>) -> Result<Signed> {
        // Before anything is read: a snapshot from before another call's end would look like an old copy.
        let mut state = self.state.lock().map_err(|_| LedgerError::Closed)?;
        let size = tx.audit_size()?;
        let on_disk = self.disk.read(CHECKPOINT)?.map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
        let in_ledger = tx.last_checkpoint()?;
        let mut heads = Vec::new();
        for (held, note) in [(Held::File, &on_disk), (Held::Ledger, &in_ledger), (Held::Broker, &state.note)]
        {
            heads.extend(note.as_deref().map(|note| self.head(held, note, size)).transpose()?);
        }
        let signed = heads.iter().map(|head| head.checkpoint.size()).max().unwrap_or(0);
        let is_known = |note: &Option<String>| note.is_some() && *note == state.note;
        if size == 0 || (signed == size && is_known(&on_disk) && is_known(&in_ledger)) {
            return Ok(Signed { size, to_keep: None });
        }
        // Taken out, so that after a failure the next call starts from the beginning.
        let edge = std::mem::take(&mut state.edge);
        let look = edge.size() == 0;
        let (mut edge, is_whole) = self.prove(tx, edge, &heads, signed, look)?;
        if !is_whole {
            tracing::warn!(
                "tiles of the audit log are missing or cut short; they are written again from the ledger"
            );
            edge = Edge::default();
        }
        self.write_tiles(tx, &mut edge, signed, size)?;
        let note = self.sign(size, edge.root()?)?;
        if on_disk.as_ref() != Some(&note) {
            self.disk.write(CHECKPOINT, note.as_bytes())?;
        }
        self.prune(signed, size)?;
        edge.rewind();
        let to_keep = (in_ledger.as_ref() != Some(&note)).then(|| note.clone());
        *state = State { edge, note: Some(note) };
        Ok(Signed { size, to_keep })
    }

    /// Opens a checkpoint that the log has to continue.
    fn head(&self, held: Held, note: &str, size: u64) -> Result<Head> {
        let checkpoint = Checkpoint::open(note, &self.key).map_err(|reason| LedgerError::NotContinued {
            why: format!("{held} can't be believed: {reason}"),
        })?;
        let signed = checkpoint.size();
        if signed > size {
            let why = format!("{held} was signed over {signed} entries, and the ledger has {size}");
            return Err(LedgerError::NotContinued { why });
        }
        Ok(Head { held, checkpoint })
    }

    /// Shows that the rows are those that every checkpoint was signed over, and whether their tiles are on the disk.
    fn prove(
        &self,
        tx: &Tx<'_>,
        mut edge: Edge,
        heads: &[Head],
        signed: u64,
        look: bool,
    ) -> Result<(Edge, bool)> {
        let mut is_whole = true;
        while edge.size() < signed {
            let chunk = Chunk::read(tx, edge.size(), signed)?;
            for entry in &chunk.entries {
                edge.push(entry.leaf_hash);
                for head in heads.iter().filter(|head| head.checkpoint.size() == edge.size()) {
                    if head.checkpoint.root() != edge.root()? {
                        let (held, size) = (head.held, head.checkpoint.size());
                        let why =
                            format!("the first {size} entries are not those that {held} was signed over");
                        return Err(LedgerError::NotContinued { why });
                    }
                }
            }
            if look && is_whole {
                is_whole = self.has_tiles(&chunk, &edge, signed)?;
            }
        }
        edge.rewind();
        Ok((edge, is_whole))
    }

    /// Whether the files of these entries are there in their full length. What is in them is for `verify` to say.
    fn has_tiles(&self, chunk: &Chunk, edge: &Edge, signed: u64) -> Result<bool> {
        for tile in chunk.tiles(signed)? {
            let length = u64::try_from(chunk.bytes(&tile, edge)?.len()).ok();
            if self.disk.length(&tile.to_string())? != length {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Writes the tiles from the edge's last full one on. Those that were signed are only completed.
    fn write_tiles(&self, tx: &Tx<'_>, edge: &mut Edge, signed: u64, size: u64) -> Result<()> {
        while edge.size() < size {
            let chunk = Chunk::read(tx, edge.size(), size)?;
            chunk.entries.iter().for_each(|entry| edge.push(entry.leaf_hash));
            for tile in chunk.tiles(size)? {
                let bytes = chunk.bytes(&tile, edge)?;
                let path = tile.to_string();
                let length = u64::try_from(bytes.len()).ok();
                if edge.size() > signed || self.disk.length(&path)? != length {
                    self.disk.write(&path, &bytes)?;
                }
            }
        }
        Ok(())
    }

    fn sign(&self, size: u64, root: Hash) -> Result<String> {
        let checkpoint = Checkpoint::new(self.key.origin().clone(), size, root, Vec::new());
        checkpoint.and_then(|c| c.sign(&self.seed)).map_err(|e| LedgerError::Audit(e.to_string()))
    }

    /// Removes the partial tiles that wider ones replaced. Those of this checkpoint and of the one before stay, for
    /// readers that are under way; where the full tile is there, readers take that one (C2SP tlog-tiles).
    fn prune(&self, before: u64, now: u64) -> Result<()> {
        let open = edge_tiles(now)?;
        for tile in edge_tiles(before)? {
            let wider = open.iter().find(|t| (t.kind(), t.number()) == (tile.kind(), tile.number()));
            match wider {
                Some(wider) => self.disk.prune(&tile, &[tile.width(), wider.width()])?,
                None => self.disk.prune(&tile, &[])?,
            }
        }
        Ok(())
    }
}

/// The entries of a tile, or of as much of it as there is.
struct Chunk {
    first: u64,
    end: u64,
    entries: Vec<StoredEntry>,
}

impl Chunk {
    /// Reads entries from the ledger and checks that each is what it was when it was appended.
    fn read(tx: &Tx<'_>, first: u64, size: u64) -> Result<Self> {
        let end = size.min(first + u64::from(WIDTH));
        let limit = u32::try_from(end - first).unwrap_or(u32::from(WIDTH));
        let entries = tx.audit_entries(&AuditFilter { from: first, limit, ..AuditFilter::default() })?;
        let mut found = entries.iter();
        for number in first..end {
            let refuse =
                |what| LedgerError::NotContinued { why: format!("entry `{}` {what}", EntryId(number)) };
            let entry = found.next().filter(|entry| entry.number == number);
            let entry = entry.ok_or_else(|| refuse("is missing from the ledger"))?;
            let is_right = Hash::of_leaf(&entry.leaf) == entry.leaf_hash;
            if !is_right || Entry::index_of(&entry.leaf) != Some(number) {
                return Err(refuse("was changed in the ledger"));
            }
        }
        Ok(Self { first, end, entries })
    }

    /// The files that these entries fill or reach, as far as a log of `size` entries has them.
    fn tiles(&self, size: u64) -> Result<Vec<Tile>> {
        let mut tiles = Tile::grown(self.first, self.end)?;
        tiles.retain(|tile| belongs(tile, size));
        Ok(tiles)
    }

    fn bytes(&self, tile: &Tile, edge: &Edge) -> Result<Vec<u8>> {
        match tile.kind() {
            Kind::Entries => Ok(bundle(self.entries.iter().map(|entry| entry.leaf.as_slice()))?),
            Kind::Hashes { .. } => {
                edge.tile(tile).ok_or_else(|| LedgerError::Audit(format!("no hashes for `{tile}`")))
            }
        }
    }
}

/// The partial tiles of a log of `size` entries: at most one on each level, and an entry bundle.
fn edge_tiles(size: u64) -> Result<Vec<Tile>> {
    let mut tiles = Vec::new();
    for level in (0..6).take_while(|level| size >> (8 * level) > 0) {
        // The leaf that completed the last hash of this level wrote the level's newest tile.
        let last = (size >> (8 * level)) << (8 * level);
        let reached = Tile::grown(last - 1, last)?;
        tiles.extend(reached.into_iter().filter(|tile| tile.width() < WIDTH && level_of(tile) == level));
    }
    Ok(tiles)
}
