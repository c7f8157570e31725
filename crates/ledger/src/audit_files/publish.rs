//! Writing tiles and signing the tree, always as a continuation of what was signed before.

use std::sync::Mutex;

use keywright_core::audit::tile::{Kind, Tile, WIDTH, bundle};
use keywright_core::audit::{Checkpoint, EntryId, Frontier, Hash, VerifierKey};
use zeroize::Zeroizing;

use super::CHECKPOINT;
use super::disk::Disk;
use super::edge::{Edge, belongs, level_of};
use super::head::{Claimed, HeadKey};
use super::report::Held;
use super::second::Second;
use crate::error::{LedgerError, Result};
use crate::sql::Tx;
use crate::tables::audit::{AuditFilter, StoredEntry};

/// The one who signs.
pub(super) struct Publisher {
    pub(super) disk: Disk,
    pub(super) second: Option<Second>,
    pub(super) key: VerifierKey,
    pub(super) seed: Zeroizing<[u8; 32]>,
    pub(super) head: HeadKey,
    pub(super) state: Mutex<State>,
    /// Held while the log begins to be followed.
    pub(super) beginning: tokio::sync::Mutex<()>,
}

/// What is known from the last time.
#[derive(Default)]
pub(super) struct State {
    // INVARIANT: over rows that were proved against a checkpoint, up to the last full tile.
    edge: Edge,
    // What was signed last; none before the first time.
    note: Option<String>,
    // Whether the ledger's writer keeps the head.
    is_followed: bool,
    // What somebody read before the first time and went by; it has to be of the same log.
    seen: Option<Claimed>,
}

/// What came of it.
pub(super) struct Signed {
    pub(super) size: u64,
    /// The note, when the ledger does not have it yet.
    pub(super) to_keep: Option<String>,
    /// The tree, when nobody keeps its head yet.
    pub(super) to_follow: Option<Frontier>,
}

/// What the log has to continue.
struct Head {
    held: Held,
    size: u64,
    root: Hash,
}

impl Head {
    fn of(held: Held, of: u64, root: Hash, size: u64) -> Result<Self> {
        if of > size {
            let why = format!("{held} was made over {of} entries, and the ledger has {size}");
            return Err(LedgerError::NotContinued { why });
        }
        Ok(Self { held, size: of, root })
    }

    fn check(&self, tree: &Frontier) -> Result<()> {
        if tree.root() == self.root {
            return Ok(());
        }
        let why = format!("the first {} entries are not those that {} was made over", self.size, self.held);
        Err(LedgerError::NotContinued { why })
    }
}

impl Publisher {
    pub(super) fn publish(&self, tx: &Tx<'_>) -> Result<Signed> {
        // Before anything is read: a snapshot from before another call's end would look like an old copy.
        let mut state = self.state.lock().map_err(|_| LedgerError::Closed)?;
        let is_followed = state.is_followed;
        let newest = if is_followed { None } else { self.head.read(&self.disk)? };
        // Once, and as late as it comes. One that this home did not write says nothing: whoever could write it could take it away.
        let witness = self.second.as_ref().and_then(Second::said);
        let size = tx.audit_size()?;
        if state.note.is_none() && tx.has_stray_entries()? {
            let why = "the ledger holds entries that have no place in the log".to_owned();
            return Err(LedgerError::NotContinued { why });
        }
        let on_disk = self.disk.read(CHECKPOINT)?.map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
        let in_ledger = tx.last_checkpoint()?;
        let mut heads = Vec::new();
        for (held, note) in [(Held::File, &on_disk), (Held::Broker, &state.note)] {
            heads.extend(note.as_deref().map(|note| self.head(held, note, size)).transpose()?);
        }
        let signed = heads.iter().map(|head| head.size).max().unwrap_or(0);
        // Another broker may have signed further than these files go.
        heads.extend(in_ledger.as_deref().map(|note| self.head(Held::Ledger, note, size)).transpose()?);
        for (held, head) in [(Held::Head, newest), (Held::Witness, witness), (Held::Seen, state.seen)] {
            heads.extend(head.map(|head| Head::of(held, head.size, head.root, size)).transpose()?);
        }
        let is_known = |note: &Option<String>| note.is_some() && *note == state.note;
        let is_old = witness.is_none() && signed == size && is_known(&on_disk) && is_known(&in_ledger);
        if size == 0 || is_old {
            self.proven();
            let to_follow = (size == 0 && !is_followed).then(Frontier::new);
            return Ok(Signed { size, to_keep: None, to_follow });
        }
        // Taken out, so that after a failure the next call starts from the beginning.
        let mut edge = std::mem::take(&mut state.edge);
        if witness.is_some() {
            // It may lie before what was proved already.
            edge = Edge::default();
        }
        let look = edge.size() == 0;
        let (mut edge, is_whole) = self.prove(tx, edge, &heads, signed, look)?;
        if !is_whole {
            tracing::warn!(
                "tiles of the audit log are missing or cut short; they are written again from the ledger"
            );
            edge = Edge::default();
        }
        self.write_tiles(tx, &mut edge, signed, size)?;
        let tree = edge.tree()?;
        let note = self.sign(size, tree.root())?;
        if on_disk.as_ref() != Some(&note) {
            self.disk.write(CHECKPOINT, note.as_bytes())?;
        }
        self.prune(signed, size)?;
        edge.rewind();
        let to_keep = (in_ledger.as_ref() != Some(&note)).then(|| note.clone());
        *state = State { edge, note: Some(note), is_followed, seen: None };
        self.proven();
        Ok(Signed { size, to_keep, to_follow: (!is_followed).then_some(tree) })
    }

    /// The log goes on from whatever the second place said, so that this may be written over.
    fn proven(&self) {
        if let Some(second) = &self.second {
            second.proven();
        }
    }

    /// Nothing is known any more of what was signed, and nobody keeps the head.
    pub(super) fn forget(&self) -> Result<()> {
        *self.state.lock().map_err(|_| LedgerError::Closed)? = State::default();
        Ok(())
    }

    /// Opens a checkpoint that the log has to continue.
    fn head(&self, held: Held, note: &str, size: u64) -> Result<Head> {
        let checkpoint = Checkpoint::open(note, &self.key).map_err(|reason| LedgerError::NotContinued {
            why: format!("{held} can't be believed: {reason}"),
        })?;
        Head::of(held, checkpoint.size(), checkpoint.root(), size)
    }

    /// What has to be of this log as well, the next time.
    pub(super) fn seen(&self, seen: Claimed) -> Result<()> {
        let mut state = self.state.lock().map_err(|_| LedgerError::Closed)?;
        *state = State { seen: Some(seen), is_followed: state.is_followed, ..State::default() };
        Ok(())
    }

    /// The ledger's writer keeps the head from here on.
    pub(super) fn followed(&self) -> Result<()> {
        self.state.lock().map_err(|_| LedgerError::Closed)?.is_followed = true;
        Ok(())
    }

    /// Whether each commit is followed already.
    pub(super) fn is_followed(&self) -> Result<bool> {
        Ok(self.state.lock().map_err(|_| LedgerError::Closed)?.is_followed)
    }

    /// Shows that the rows are those that every head was made over, and whether the tiles of those that were signed are
    /// on the disk. Gives the edge over the latter.
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
                for head in heads.iter().filter(|head| head.size == edge.size()) {
                    head.check(&edge.tree()?)?;
                }
            }
            if look && is_whole {
                is_whole = self.has_tiles(&chunk, &edge, signed)?;
            }
        }
        for head in heads.iter().filter(|head| head.size > signed) {
            let mut tree = edge.tree()?;
            while tree.size() < head.size {
                let chunk = Chunk::read(tx, tree.size(), head.size)?;
                tree.extend(chunk.entries.iter().map(|entry| entry.leaf_hash));
            }
            head.check(&tree)?;
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
            let entry = found.next().filter(|entry| entry.number == number);
            let missing = || LedgerError::NotContinued {
                why: format!("entry `{}` is missing from the ledger", EntryId(number)),
            };
            let entry = entry.ok_or_else(missing)?;
            tx.check_entry(entry)?;
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
