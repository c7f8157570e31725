//! Reads a whole log once, in O(log n) memory, and names its first bad entry.
//!
//! What an attacker may have touched decides what can be told. Signed checkpoints say *whether* the entries before
//! them are as they were. *Which* entry is bad comes from comparing its bytes with the hash stored beside it, from
//! its own index, or, where all of that was rewritten together, from the leaf hashes in the tiles. Where only
//! checkpoints disagree, the span between the last that agrees and the first that doesn't is named.
//!
//! Speed: each leaf is hashed once and one pair is hashed per leaf. The JSON is not parsed; of each entry only the
//! first bytes are read. A caller that finds a fault without an entry may read again with [`Expect::decode`].

use std::ops::ControlFlow;

use crate::audit::checkpoint::{Checkpoint, VerifierKey};
use crate::audit::entry::Entry;
use crate::audit::fault::{Blame, Fault, Head};
use crate::audit::merkle::{Frontier, Hash};

/// One entry as it is stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row<B> {
    /// Where the storage says that it stands, counted from 0.
    pub index: u64,
    /// The leaf.
    pub body: B,
    /// The leaf hash that is stored beside it, where one is.
    pub stored: Option<Hash>,
    /// The leaf hash that the tile files give for this place, where they reach so far.
    pub published: Option<Hash>,
}

/// What a log is held against.
#[derive(Debug, Clone)]
pub struct Expect<'a> {
    /// The key that signs the log's checkpoints.
    pub key: &'a VerifierKey,
    /// The text of the log's newest checkpoint.
    pub current: Option<&'a str>,
    /// The texts of checkpoints that were kept elsewhere.
    pub older: &'a [&'a str],
    /// The size and root that the log claims for itself, without a signature; where it does, it has to fit.
    pub claimed: Option<(u64, Hash)>,
    /// How many leaf hashes the tile files hold, where they are a second source. They are written after the log,
    /// so they never hold more than it does.
    pub tiles: Option<u64>,
    /// Whether every entry is decoded. Off, an entry is only checked to begin and end as one: what stands between
    /// is as it was written if its hash is.
    pub decode: bool,
}

impl<'a> Expect<'a> {
    /// Holds a log against its own checkpoint alone.
    #[must_use]
    pub fn current(key: &'a VerifierKey, checkpoint: &'a str) -> Self {
        Self { key, current: Some(checkpoint), older: &[], claimed: None, tiles: None, decode: false }
    }
}

/// What was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verdict {
    /// How many entries were read and found in their place.
    pub entries: u64,
    /// The root over them.
    pub root: Hash,
    /// How many of them a checkpoint vouches for. The rest was written after the newest one.
    pub covered: u64,
    /// Everything that is wrong, in the order in which it was found; empty for a sound log. Reading stops at the
    /// first entry that can't be what was written, so there is at most one such fault.
    pub faults: Vec<Fault>,
}

impl Verdict {
    /// Whether nothing is wrong.
    #[must_use]
    pub fn is_sound(&self) -> bool {
        self.faults.is_empty()
    }

    /// The fault that says most about the first bad entry. Where no fault is about an entry, the first fault.
    #[must_use]
    pub fn first(&self) -> Option<&Fault> {
        let placed = self.faults.iter().filter_map(|fault| Some((fault.span()?, fault)));
        // The span that ends first holds the first bad entry; of those that end together, the narrowest says most.
        let first = placed.min_by_key(|(span, _)| (span.end, std::cmp::Reverse(span.start)));
        first.map(|(_, fault)| fault).or_else(|| self.faults.first())
    }

    /// The index of the first bad entry, where it can be told.
    #[must_use]
    pub fn first_bad(&self) -> Option<u64> {
        self.first().and_then(Fault::entry)
    }
}

/// Verifies a log whose rows come from an iterator.
///
/// # Errors
/// The first error of the iterator: a log that can't be read is neither sound nor unsound.
pub fn verify_log<B, E>(
    rows: impl IntoIterator<Item = Result<Row<B>, E>>,
    expect: &Expect<'_>,
) -> Result<Verdict, E>
where
    B: AsRef<[u8]>,
{
    let mut verifier = Verifier::new(expect);
    for row in rows {
        if verifier.push(&row?).is_break() {
            break;
        }
    }
    Ok(verifier.finish())
}

/// Verifies a log row by row, for sources that lend their rows.
#[derive(Debug)]
pub struct Verifier {
    tree: Frontier,
    // Ascending by size.
    heads: Vec<(Head, u64, Hash)>,
    // The first of `heads` that the tree has not passed, and its size.
    due: usize,
    due_at: u64,
    covered: u64,
    tiles: Option<u64>,
    decode: bool,
    compare: bool,
    doubt: Option<Doubt>,
    search: Option<Search>,
    stopped: bool,
    faults: Vec<Fault>,
}

/// The tree as the tiles have it, from the first entry on where they differ from the log.
#[derive(Debug)]
struct Doubt {
    entry: u64,
    tree: Frontier,
}

/// An entry that was not in its place and is looked for further on.
#[derive(Debug)]
struct Search {
    entry: u64,
    instead: u64,
    position: u64,
}

impl Verifier {
    /// Opens the checkpoints; one that can't be believed is a fault of its own, and the others still count.
    #[must_use]
    pub fn new(expect: &Expect<'_>) -> Self {
        let mut faults = Vec::new();
        let mut heads = Vec::new();
        let current = expect.current.iter().map(|text| (Head::Current, *text));
        let older = expect.older.iter().enumerate().map(|(at, text)| (Head::Older(at), *text));
        for (head, text) in current.chain(older) {
            match Checkpoint::open(text, expect.key) {
                Ok(checkpoint) => heads.push((head, checkpoint.size(), checkpoint.root())),
                Err(reason) => faults.push(Fault::Checkpoint { head, reason }),
            }
        }
        heads.extend(expect.claimed.map(|(size, root)| (Head::Claimed, size, root)));
        heads.sort_by_key(|(_, size, _)| *size);
        let due_at = heads.first().map_or(u64::MAX, |(_, size, _)| *size);
        Self {
            tree: Frontier::new(),
            heads,
            due: 0,
            due_at,
            covered: 0,
            tiles: expect.tiles,
            decode: expect.decode,
            compare: expect.tiles.is_some(),
            doubt: None,
            search: None,
            stopped: false,
            faults,
        }
    }

    /// Takes the next row. `Break` says that no further row can change the verdict.
    pub fn push<B: AsRef<[u8]>>(&mut self, row: &Row<B>) -> ControlFlow<()> {
        let body = row.body.as_ref();
        if self.stopped {
            return self.look_for(row.index, body);
        }
        let place = self.tree.size();
        if self.due_at == place {
            self.compare_heads();
        }
        if row.index != place {
            return self.misplaced(place, row.index);
        }
        let leaf = Hash::of_leaf(body);
        if row.stored.is_some_and(|stored| stored != leaf) {
            return self.stop(Fault::Altered { entry: place });
        }
        match index_in(body, self.decode) {
            Ok(index) if index == place => {}
            Ok(index) => return self.misplaced(place, index),
            Err(reason) => return self.stop(Fault::Undecodable { entry: place, reason }),
        }
        if self.compare {
            self.compare_tiles(leaf, row.published);
        }
        self.tree.push(leaf);
        ControlFlow::Continue(())
    }

    /// The verdict over the rows so far.
    #[must_use]
    pub fn finish(mut self) -> Verdict {
        if let Some(Search { entry, instead, .. }) = self.search.take() {
            self.faults.push(Fault::Missing { entry, instead });
        }
        if !self.stopped {
            self.compare_heads();
            self.compare_lengths();
        }
        if let Some(Doubt { entry, .. }) = self.doubt.take() {
            self.faults.push(Fault::Differs { entry, blame: Blame::Unknown });
        }
        let entries = self.tree.size();
        Verdict { entries, root: self.tree.root(), covered: self.covered, faults: self.faults }
    }

    /// Holds the tree against every checkpoint of its present size.
    fn compare_heads(&mut self) {
        let size = self.tree.size();
        while let Some((head, _, root)) = self.heads.get(self.due).filter(|(_, due, _)| *due <= size) {
            self.due += 1;
            let agrees = *root == self.tree.root();
            let since = self.covered;
            if !agrees {
                self.faults.push(Fault::Root { head: *head, since, size });
            }
            // What nobody signed does not tell who is right.
            let doubt = self.doubt.as_ref().filter(|_| *head != Head::Claimed);
            let settled = doubt.and_then(|doubt| match agrees {
                true => Some((doubt.entry, Blame::Tiles)),
                false => (doubt.tree.root() == *root).then_some((doubt.entry, Blame::Log)),
            });
            if agrees && *head != Head::Claimed {
                self.covered = size;
            }
            if let Some((entry, blame)) = settled {
                self.faults.push(Fault::Differs { entry, blame });
                self.doubt = None;
                self.compare = false;
            }
        }
        self.due_at = self.heads.get(self.due).map_or(u64::MAX, |(_, due, _)| *due);
    }

    /// Notes the first entry where the tiles have another hash. From there on both trees grow, so that the next
    /// checkpoint can tell which one is right.
    fn compare_tiles(&mut self, leaf: Hash, published: Option<Hash>) {
        match (&mut self.doubt, published) {
            (None, Some(hash)) if hash != leaf => {
                let mut doubt = Doubt { entry: self.tree.size(), tree: self.tree.clone() };
                doubt.tree.push(hash);
                self.doubt = Some(doubt);
            }
            (Some(doubt), published) => doubt.tree.push(published.unwrap_or(leaf)),
            (None, _) => {}
        }
    }

    /// What is missing at the end, once all rows were in their places.
    fn compare_lengths(&mut self) {
        let entries = self.tree.size();
        let signed =
            self.heads.iter().filter(|(head, ..)| *head != Head::Claimed).map(|(_, size, _)| *size).max();
        let claimed = self.heads.last().map(|(_, size, _)| *size);
        let known = claimed.max(self.tiles).unwrap_or(0);
        if known > entries {
            self.faults.push(Fault::Truncated { entry: entries, signed: known });
        }
        if let (Some(tiles), Some(signed)) = (self.tiles, signed)
            && tiles < signed
        {
            self.faults.push(Fault::TilesTruncated { entry: tiles, signed });
        }
        if signed.is_none() && self.faults.is_empty() && entries > 0 {
            self.faults.push(Fault::NoCheckpoint);
        }
    }

    fn stop(&mut self, fault: Fault) -> ControlFlow<()> {
        self.faults.push(fault);
        self.stopped = true;
        ControlFlow::Break(())
    }

    /// Another entry stands at `place`. Whether the right one is gone or only moved shows further on.
    fn misplaced(&mut self, place: u64, instead: u64) -> ControlFlow<()> {
        self.stopped = true;
        self.search = Some(Search { entry: place, instead, position: place });
        ControlFlow::Continue(())
    }

    fn look_for(&mut self, index: u64, body: &[u8]) -> ControlFlow<()> {
        let Some(search) = &mut self.search else { return ControlFlow::Break(()) };
        search.position += 1;
        if index != search.entry && Entry::index_of(body) != Some(search.entry) {
            return ControlFlow::Continue(());
        }
        let Search { entry, instead, position } = *search;
        self.search = None;
        self.stop(Fault::Moved { entry, instead, position })
    }
}

/// The index that a leaf states, or why it is none.
fn index_in(body: &[u8], decode: bool) -> Result<u64, String> {
    match Entry::index_of(body) {
        Some(index) if !decode => Ok(index),
        // Also where the fast way failed: it only knows the form that this version writes.
        _ => Entry::from_leaf(body).map(|entry| entry.index()).map_err(|error| error.to_string()),
    }
}
