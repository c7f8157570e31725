//! Verifying a home's audit log: the rows against their hashes, the tree against every checkpoint at hand, and the
//! files against the rows.

use std::ops::ControlFlow;
use std::path::Path;
use std::str::FromStr as _;

use keywright_core::audit::tile::{Kind, Tile, WIDTH};
use keywright_core::audit::{
    Checkpoint, Entry, Expect, Fault, Hash, Head, LogError, Record, Row as LogRow, Verifier, VerifierKey,
};
use keywright_core::text::escaped;

use super::disk::{Disk, full};
use super::edge::{Edge, belongs};
use super::head::{Claimed, HEAD};
use super::report::{Finding, Held, Report};
use super::{CHECKPOINT, VKEY, columns, origin};
use crate::error::{LedgerError, Result};
use crate::sql::{Location, Row, read_only};
use crate::tables::audit::LOG;

const ROWS: &str = "SELECT number, leaf, leaf_hash, deed, stage, at, request, key_id FROM audit_entries \
                    WHERE log = $1 ORDER BY number";

/// How often files are looked at again that are just being written.
const PATIENCE: u32 = 50;
/// How the signatures of an entry begin, where there are any.
const SIGNED: &[u8] = br#""signatures":[{"#;

/// Verifies the audit log of a home: `dir` is its directory of files, `ledger` its database, which may be in use by a
/// broker. `older` is the text of a checkpoint that somebody kept. `trusted` is the key from [`verifier_key`] where
/// the home is unlocked; without it the file `vkey` is believed.
///
/// Reads each row once, in bounded memory. Blocks; call it off the runtime. What people signed is not looked at, which
/// [`verify_with`] has done.
///
/// # Errors
/// When the database or a file can't be read at all: such a log is neither sound nor unsound.
///
/// [`verifier_key`]: super::verifier_key
pub fn verify(
    dir: &Path,
    ledger: impl Into<Location>,
    older: Option<&str>,
    trusted: Option<&VerifierKey>,
) -> Result<Report> {
    verify_with(dir, ledger, older, trusted, &|_| Ok(()))
}

/// Whether the signatures of an entry verify, or why not, in words. It is given the entries that are signed, and those about whoever
/// signs, in their order.
pub type Signatures<'a> = dyn Fn(&Record) -> std::result::Result<(), String> + 'a;

/// Verifies the audit log of a home as [`verify`] does, and has each entry that somebody signed, or that is about whoever signs, looked at besides.
///
/// # Errors
/// As [`verify`].
pub fn verify_with(
    dir: &Path,
    ledger: impl Into<Location>,
    older: Option<&str>,
    trusted: Option<&VerifierKey>,
    signatures: &Signatures<'_>,
) -> Result<Report> {
    let disk = Disk::at(dir);
    let mut findings = Vec::new();
    let Some(key) = key(&disk, trusted, &mut findings)? else {
        return Ok(Report { log: None, entries: 0, root: Hash::OF_NOTHING, covered: 0, findings });
    };
    // The files first: what was published was in the ledger before, so the snapshot below holds all of it.
    let Files { on_disk, head, mut signed, mut published } = files(&disk, &key)?;
    let claimed = head.as_deref().and_then(Claimed::read).map(|head| (head.size, head.root));
    read_only(&ledger.into(), |tx| {
        findings.extend(tx.foreign()?.map(|what| Finding::Schema { what }));
        let misled = tx.disagreements_of("audit_entries")?.into_iter();
        findings.extend(misled.map(|what| Finding::Index { what: escaped(&what) }));
        findings.extend(tx.entry_of_another_type()?.map(|entry| Finding::Columns { entry }));
        let in_ledger = tx.last_checkpoint()?;
        let instance = tx.instance()?.map(|instance| origin(&instance)).transpose()?;
        if instance.is_some_and(|instance| instance != *key.origin()) {
            findings.push(Finding::Key { what: format!("`{key}` belongs to another home") });
        }
        if on_disk.is_none() && (in_ledger.is_some() || published > 0) {
            let what = "is missing";
            findings.push(Finding::File { path: CHECKPOINT.to_owned(), entry: None, what });
        }
        if on_disk.is_some() && claimed.is_none() {
            let what = if head.is_none() { "is missing" } else { "can't be read" };
            findings.push(Finding::File { path: HEAD.to_owned(), entry: None, what });
        }
        let in_ledger = in_ledger.filter(|note| on_disk.as_ref() != Some(note));
        signed = signed.max(in_ledger.as_deref().map_or(0, |note| size_of(note, &key)));
        published = published.max(signed);
        let others = [(Held::Ledger, in_ledger.as_deref()), (Held::Given, older)];
        let others: Vec<_> = others.into_iter().filter_map(|(held, note)| Some((held, note?))).collect();
        let older: Vec<&str> = others.iter().map(|(_, note)| *note).collect();
        let tiles = (published > 0).then_some(published);
        let expect =
            Expect { key: &key, current: on_disk.as_deref(), older: &older, claimed, tiles, decode: false };
        let mut reader = Reader::new(Verifier::new(&expect), &disk, signatures, signed, published);
        tx.each(ROWS, &[LOG.into()], |row| reader.row(row))?;
        let held = |head| match head {
            Head::Current => Held::File,
            Head::Claimed => Held::Head,
            Head::Older(at) => others.get(at).map_or(Held::Given, |(held, _)| *held),
        };
        let verdict = reader.verifier.finish();
        findings.extend(verdict.faults.into_iter().map(|fault| named(fault, held)));
        findings.append(&mut reader.findings);
        if verdict.entries == 0 && reader.place == 0 {
            findings.extend(tx.left_over(&[])?.map(|what| Finding::Emptied { what }));
        }
        let log = Some(key.origin().clone());
        Ok(Report { log, entries: verdict.entries, root: verdict.root, covered: verdict.covered, findings })
    })
}

/// Walks through the rows and, beside them, through the files.
struct Reader<'a> {
    verifier: Verifier,
    disk: &'a Disk,
    signatures: &'a Signatures<'a>,
    // How many entries all the files must hold, and how many the tiles of hashes do hold.
    signed: u64,
    published: u64,
    edge: Edge,
    place: u64,
    // Of the current tile, from its first entry on.
    hashes: Vec<Hash>,
    leaves: Option<Vec<Vec<u8>>>,
    // Once a row is not in its place, nothing after it can be compared with the files.
    is_lost: bool,
    has_bad_bundle: bool,
    has_bad_columns: bool,
    findings: Vec<Finding>,
}

impl<'a> Reader<'a> {
    fn new(
        verifier: Verifier,
        disk: &'a Disk,
        signatures: &'a Signatures<'a>,
        signed: u64,
        published: u64,
    ) -> Self {
        Self {
            verifier,
            disk,
            signatures,
            signed,
            published,
            edge: Edge::default(),
            place: 0,
            hashes: Vec::new(),
            leaves: None,
            is_lost: false,
            has_bad_bundle: false,
            has_bad_columns: false,
            findings: Vec::new(),
        }
    }

    fn row(&mut self, row: Result<Row>) -> Result<ControlFlow<()>> {
        let place = self.place;
        self.place += 1;
        let row = match row {
            Ok(row) => row,
            // Not even the types of the columns are right.
            Err(LedgerError::Damaged { .. }) => return Ok(self.verifier.push(&unreadable(place))),
            Err(other) => return Err(other),
        };
        let body = row.bytes(1).or_else(|_| row.text(1).map(str::as_bytes)).unwrap_or_default();
        let index = row.count(0).unwrap_or(u64::MAX);
        // A hash that is none can't be that of the leaf.
        let stored = row.array(2).map_or(Hash::from_bytes([0; 32]), Hash::from_bytes);
        self.is_lost |= index != place || Entry::index_of(body).is_some_and(|index| index != place);
        if !self.is_lost && place.is_multiple_of(u64::from(WIDTH)) {
            self.open_tile(place)?;
        }
        let within = usize::try_from(place % u64::from(WIDTH)).unwrap_or(usize::MAX);
        let published = self.hashes.get(within).copied().filter(|_| !self.is_lost);
        let flow = self.verifier.push(&LogRow { index, body, stored: Some(stored), published });
        if !self.is_lost && flow.is_continue() {
            self.compare(place, within, body, stored, &row)?;
        }
        Ok(flow)
    }

    /// Holds what lies beside a row against it. The row itself has its hash.
    fn compare(&mut self, place: u64, within: usize, body: &[u8], leaf: Hash, row: &Row) -> Result<()> {
        // Few are signed, and a field of that name is nowhere else outside of a string, where the marks are escaped.
        let is_signed = || body.windows(SIGNED.len()).any(|part| part == SIGNED);
        if (is_about_signers(row) || is_signed())
            && let Ok(entry) = Entry::from_leaf(body)
            && let Err(why) = (self.signatures)(entry.record())
        {
            self.findings.push(Finding::Signature { entry: place, why });
        }
        if !self.has_bad_columns && !columns::agree(body, row, 3) {
            self.has_bad_columns = true;
            self.findings.push(Finding::Columns { entry: place });
        }
        let bundled = self.leaves.as_ref().and_then(|leaves| leaves.get(within));
        if bundled.is_some_and(|bundled| bundled != body) && !self.has_bad_bundle {
            self.has_bad_bundle = true;
            let path = tile_at(place, self.signed, Kind::Entries)?.map(|tile| tile.to_string());
            let what = "has another text than the ledger for its entry";
            self.findings.push(Finding::File { path: path.unwrap_or_default(), entry: Some(place), what });
        }
        self.edge.push(leaf);
        let size = self.edge.size();
        if size == self.signed || (size < self.signed && size.is_multiple_of(u64::from(WIDTH))) {
            self.compare_upper(place - place % u64::from(WIDTH), size)?;
        }
        Ok(())
    }

    /// Reads the two files that hold the entries from `first` on.
    fn open_tile(&mut self, first: u64) -> Result<()> {
        (self.hashes, self.leaves) = (Vec::new(), None);
        if let Some(tile) = tile_at(first, self.published, Kind::Hashes { level: 0 })? {
            let read = |tile: &Tile, bytes: &[u8]| tile.parse_hashes(bytes);
            self.hashes = self.read_tile(&tile, Some(first), read)?.unwrap_or_default();
        }
        if let Some(tile) = tile_at(first, self.signed, Kind::Entries)? {
            let read = |tile: &Tile, bytes: &[u8]| {
                Ok(tile.parse_entries(bytes)?.into_iter().map(<[u8]>::to_vec).collect())
            };
            self.leaves = self.read_tile(&tile, Some(first), read)?;
        }
        Ok(())
    }

    /// Compares the tiles above the leaves that the last chunk filled or reached.
    fn compare_upper(&mut self, first: u64, end: u64) -> Result<()> {
        for tile in Tile::grown(first, end)? {
            if matches!(tile.kind(), Kind::Entries | Kind::Hashes { level: 0 })
                || !belongs(&tile, self.signed)
            {
                continue;
            }
            let read = |tile: &Tile, bytes: &[u8]| tile.parse_hashes(bytes);
            let found = self.read_tile(&tile, None, read)?;
            let found =
                found.map(|hashes| hashes.iter().flat_map(Hash::as_bytes).copied().collect::<Vec<u8>>());
            if found.is_some() && found != self.edge.tile(&tile) {
                let what = "does not follow from the ledger's entries";
                self.findings.push(Finding::File { path: tile.to_string(), entry: None, what });
            }
        }
        Ok(())
    }

    /// Reads as much of a tile as was published. A partial one may have been replaced by a wider one meanwhile.
    fn read_tile<T: PartialEq>(
        &mut self,
        tile: &Tile,
        entry: Option<u64>,
        parse: impl Fn(&Tile, &[u8]) -> std::result::Result<Vec<T>, LogError>,
    ) -> Result<Option<Vec<T>>> {
        let widths = self.disk.partial_widths(tile)?;
        let partials = |narrowest: u16| {
            let wide = widths.iter().filter(move |width| **width > narrowest);
            wide.map(|width| format!("{}.p/{width}", full(tile)))
        };
        let mut paths = vec![tile.to_string()];
        if tile.width() < WIDTH {
            paths.push(full(tile));
            paths.extend(partials(tile.width()));
        }
        let mut what = "is missing";
        for path in paths {
            let Some(bytes) = self.disk.read(&path)? else { continue };
            let stored = Tile::from_str(&path)?;
            if let Ok(mut found) = parse(&stored, &bytes) {
                let others = partials(0).filter(|other| *other != path).collect();
                self.compare_copies(others, &found, entry, &parse)?;
                found.truncate(tile.width().into());
                return Ok(Some(found));
            }
            what = "is damaged: its length or form is not that of a tile";
            break;
        }
        self.findings.push(Finding::File { path: tile.to_string(), entry, what });
        Ok(None)
    }

    /// Holds the partial tiles that still lie beside a tile against it: a reader may take any of them.
    fn compare_copies<T: PartialEq>(
        &mut self,
        paths: Vec<String>,
        tile: &[T],
        entry: Option<u64>,
        parse: impl Fn(&Tile, &[u8]) -> std::result::Result<Vec<T>, LogError>,
    ) -> Result<()> {
        for path in paths {
            // Not there any more: a broker that runs has just tidied up.
            let Some(bytes) = self.disk.read(&path)? else { continue };
            let (at, what) = match parse(&Tile::from_str(&path)?, &bytes) {
                Err(_) => (0, "is damaged: its length or form is not that of a tile"),
                Ok(copy) => match copy.iter().zip(tile).position(|(copied, own)| copied != own) {
                    None => continue,
                    Some(at) => (at, "differs from the tile that replaced it"),
                },
            };
            let entry = entry.map(|first| first + u64::try_from(at).unwrap_or(0));
            self.findings.push(Finding::File { path, entry, what });
        }
        Ok(())
    }
}

/// Whether an entry is about operators or their passkeys. A column that says something else is a finding of its own.
fn is_about_signers(row: &Row) -> bool {
    const SIGNED: [&str; 2] = ["approval.give", "grant.add"];
    row.text(3).is_ok_and(|deed| {
        deed.starts_with("operator.") || deed.starts_with("passkey.") || SIGNED.contains(&deed)
    })
}

/// The key to check signatures with; none when there is none that can be used.
fn key(
    disk: &Disk,
    trusted: Option<&VerifierKey>,
    findings: &mut Vec<Finding>,
) -> Result<Option<VerifierKey>> {
    let found = disk.read(VKEY)?;
    let found = found.map(|bytes| String::from_utf8_lossy(&bytes).trim_end().parse::<VerifierKey>());
    let what = match (&found, trusted) {
        (Some(Ok(found)), Some(trusted)) if found != trusted => {
            Some(format!("in `{VKEY}` was swapped: it is `{found}`, and this home's own is `{trusted}`"))
        }
        (Some(Ok(_)), _) => None,
        (Some(Err(reason)), _) => Some(format!("in `{VKEY}` can't be read: {reason}")),
        (None, _) => Some(format!("is missing: there is no file `{VKEY}`")),
    };
    findings.extend(what.map(|what| Finding::Key { what }));
    Ok(trusted.cloned().or_else(|| found.and_then(std::result::Result::ok)))
}

/// What lies beside the ledger.
struct Files {
    on_disk: Option<String>,
    head: Option<Vec<u8>>,
    signed: u64,
    published: u64,
}

/// Reads them. The first publication of a home writes tiles, then the checkpoint, then the head: whoever looks in between waits
/// for what is still to come.
fn files(disk: &Disk, key: &VerifierKey) -> Result<Files> {
    let mut looks = 0;
    loop {
        let on_disk = disk.read(CHECKPOINT)?.map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
        let head = disk.read(HEAD)?;
        let signed = on_disk.as_deref().map_or(0, |note| size_of(note, key));
        let published = published(disk, signed)?;
        let is_whole = if on_disk.is_some() { head.is_some() } else { published == 0 };
        looks += 1;
        if is_whole || looks > PATIENCE {
            return Ok(Files { on_disk, head, signed, published });
        }
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
}

/// How many entries the files hold, `signed` of them at least. Tiles are written before the checkpoint, so there may
/// be more; all of them come from entries that were durable.
fn published(disk: &Disk, signed: u64) -> Result<u64> {
    let width = u64::from(WIDTH);
    let mut size = signed;
    loop {
        let first = size - size % width;
        let Some(tile) = tile_at(first, first + width, Kind::Hashes { level: 0 })? else { return Ok(size) };
        if disk.length(&tile.to_string())?.is_some() {
            size = first + width;
            continue;
        }
        let widest = disk.partial_widths(&tile)?.into_iter().max().unwrap_or(0);
        return Ok(size.max(first + u64::from(widest)));
    }
}

/// The file of one kind that holds an entry, in a log of `size` entries.
fn tile_at(entry: u64, size: u64, kind: Kind) -> Result<Option<Tile>> {
    let first = entry - entry % u64::from(WIDTH);
    let end = size.min(first + u64::from(WIDTH));
    if end <= first {
        return Ok(None);
    }
    Ok(Tile::grown(first, end)?.into_iter().find(|tile| tile.kind() == kind))
}

fn size_of(note: &str, key: &VerifierKey) -> u64 {
    Checkpoint::open(note, key).map_or(0, |checkpoint| checkpoint.size())
}

fn unreadable(place: u64) -> LogRow<&'static [u8]> {
    LogRow { index: place, body: &[], stored: Some(Hash::from_bytes([0; 32])), published: None }
}

fn named(fault: Fault, held: impl Fn(Head) -> Held) -> Finding {
    match fault {
        Fault::Checkpoint { head, reason } => Finding::Checkpoint { held: held(head), reason },
        Fault::Root { head, since, size } => Finding::Root { held: held(head), since, size },
        other => Finding::Log(other),
    }
}
