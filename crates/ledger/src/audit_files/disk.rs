//! Files that are there whole or not at all.

use std::fs::{self, DirBuilder, File, OpenOptions, Permissions};
use std::io::{self, ErrorKind, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use keywright_core::audit::tile::{Tile, WIDTH};
use rustix::fs::OFlags;

use crate::error::{LedgerError, Result};

/// The directory of one log. Names are relative to it.
#[derive(Debug, Clone)]
pub(super) struct Disk(PathBuf);

impl Disk {
    /// A directory that is only read.
    pub(super) fn at(dir: &Path) -> Self {
        Self(dir.to_owned())
    }

    /// The directory, made where it is not there, open to its owner only.
    pub(super) fn create(dir: &Path) -> Result<Self> {
        private_dir(dir).map_err(|e| failed(dir, &e))?;
        fs::set_permissions(dir, Permissions::from_mode(0o700)).map_err(|e| failed(dir, &e))?;
        Ok(Self::at(dir))
    }

    /// Where a file is.
    pub(super) fn path_of(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    /// A file's bytes; none when it is not there.
    pub(super) fn read(&self, name: &str) -> Result<Option<Vec<u8>>> {
        let path = self.0.join(name);
        match read_regular(&path) {
            Ok(bytes) => Ok(Some(bytes)),
            Err(e) if is_absent(&e) => Ok(None),
            Err(e) => Err(failed(&path, &e)),
        }
    }

    /// A file's length; none when it is not there.
    pub(super) fn length(&self, name: &str) -> Result<Option<u64>> {
        let path = self.0.join(name);
        match fs::metadata(&path) {
            Ok(found) => Ok(Some(found.len())),
            Err(e) if is_absent(&e) => Ok(None),
            Err(e) => Err(failed(&path, &e)),
        }
    }

    /// Puts a file in place: after a crash there is the old one or the new one. Durable when this returns.
    pub(super) fn write(&self, name: &str, bytes: &[u8]) -> Result<()> {
        let path = self.0.join(name);
        replace(&path, bytes).map_err(|e| failed(&path, &e))
    }

    /// Opens a file that is there, to write over it in place.
    pub(super) fn open_to_write(&self, name: &str) -> Result<File> {
        let path = self.0.join(name);
        OpenOptions::new().write(true).open(&path).map_err(|e| failed(&path, &e))
    }

    /// Whether it is this file that lies there.
    pub(super) fn is_at(&self, name: &str, file: &File) -> Result<bool> {
        let path = self.0.join(name);
        let open = file.metadata().map_err(|e| failed(&path, &e))?;
        match fs::symlink_metadata(&path) {
            Ok(found) => Ok((found.dev(), found.ino()) == (open.dev(), open.ino())),
            Err(e) if is_absent(&e) => Ok(false),
            Err(e) => Err(failed(&path, &e)),
        }
    }

    /// Moves the whole directory out of the way, under another name beside it, and makes a new one.
    pub(super) fn put_aside(&self, name: &str) -> Result<()> {
        let aside = self.0.with_file_name(name);
        fs::rename(&self.0, &aside).or_else(absent_is_fine).map_err(|e| failed(&self.0, &e))?;
        Self::create(&self.0).map(drop)
    }

    /// Gives a file another name in the same place.
    pub(super) fn rename(&self, from: &str, to: &str) -> Result<()> {
        let path = self.0.join(from);
        fs::rename(&path, self.0.join(to)).or_else(absent_is_fine).map_err(|e| failed(&path, &e))
    }

    /// The widths of the partial tiles with a tile's number, in no order.
    pub(super) fn partial_widths(&self, tile: &Tile) -> Result<Vec<u16>> {
        let path = self.0.join(partials(tile));
        let entries = match fs::read_dir(&path) {
            Ok(entries) => entries,
            Err(e) if is_absent(&e) => return Ok(Vec::new()),
            Err(e) => return Err(failed(&path, &e)),
        };
        let mut widths = Vec::new();
        for entry in entries {
            let name = entry.map_err(|e| failed(&path, &e))?.file_name();
            widths.extend(name.to_str().and_then(|w| w.parse::<u16>().ok()).filter(|w| *w < WIDTH));
        }
        Ok(widths)
    }

    /// Removes the partial tiles with a tile's number, but for some widths.
    pub(super) fn prune(&self, tile: &Tile, keep: &[u16]) -> Result<()> {
        let directory = self.0.join(partials(tile));
        for width in self.partial_widths(tile)? {
            if !keep.contains(&width) {
                let path = directory.join(width.to_string());
                fs::remove_file(&path).or_else(absent_is_fine).map_err(|e| failed(&path, &e))?;
            }
        }
        // Fails while anything is left in it, which is as it should be.
        let _ = fs::remove_dir(&directory);
        Ok(())
    }
}

/// The longest file that is read: a full bundle holds 256 entries, each behind two bytes of length.
const LONGEST: u64 = 256 * (2 + (1 << 16));

/// What lies there may be somebody else's: a pipe would keep us waiting, and a link may lead to a file without an end.
fn read_regular(path: &Path) -> io::Result<Vec<u8>> {
    let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let mut open = OpenOptions::new();
    open.read(true).custom_flags(i32::try_from(flags.bits()).unwrap_or_default());
    let file = open.open(path)?;
    let found = file.metadata()?;
    if !found.is_file() || found.len() > LONGEST {
        return Err(io::Error::new(ErrorKind::InvalidData, "this is no file of an audit log"));
    }
    let mut bytes = Vec::new();
    file.take(LONGEST).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// The path of a tile's full form.
pub(super) fn full(tile: &Tile) -> String {
    let path = tile.to_string();
    path.split_once(".p/").map_or_else(|| path.clone(), |(full, _)| full.to_owned())
}

fn partials(tile: &Tile) -> String {
    format!("{}.p", full(tile))
}

fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let directory = path.parent().ok_or(ErrorKind::InvalidInput)?;
    private_dir(directory)?;
    let mut name = path.file_name().ok_or(ErrorKind::InvalidInput)?.to_owned();
    name.push(".new");
    // Under a fixed name, so that what a crash left behind is written over the next time.
    let fresh = path.with_file_name(name);
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&fresh)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(&fresh, path)?;
    File::open(directory)?.sync_all()
}

fn private_dir(path: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(path)
}

fn is_absent(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory)
}

fn absent_is_fine(error: io::Error) -> io::Result<()> {
    if is_absent(&error) { Ok(()) } else { Err(error) }
}

fn failed(path: &Path, error: &io::Error) -> LedgerError {
    match error.kind() {
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded => LedgerError::DiskFull,
        _ => LedgerError::Io(format!("{}: {error}", path.display())),
    }
}
