//! Puts a new text in a file's place: entirely or not at all.
//!
//! The new text is written to a directory `.keywright-tmp` beside the file, synced, and renamed. That directory holds
//! a `.gitignore` of its own that ignores all of it: a `.gitignore` with the line `.env` would not cover a temporary
//! file of another name, and one that a crash left behind could be committed. Whatever a crash leaves is removed by
//! the next write; it never replaced anything.

use std::fs::File;
use std::io::Write;
use std::os::fd::OwnedFd;

use rustix::fs::{AtFlags, Mode, OFlags, fchmod, fsync, mkdirat, openat, renameat, unlinkat};
use rustix::io::Errno;

use super::folder::{Folder, Seen};
use super::trouble::Trouble;

const SCRATCH: &str = ".keywright-tmp";
const IGNORE: &str = ".gitignore";
const NEW: &str = "new";

/// How often a write starts anew because another program saved the file in between.
pub(in crate::store) const TRIES: usize = 5;

/// What became of a replacement.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::store) enum Replaced {
    Done,
    /// Somebody else changed the file since it was read; nothing was written.
    Overtaken,
}

/// Replaces a file, with mode 0600, unless it changed since it was `seen`. The folder's lock must be held.
pub(in crate::store) fn replace(
    folder: &Folder,
    file: &str,
    text: &[u8],
    seen: Option<Seen>,
) -> Result<Replaced, Trouble> {
    sweep(folder).map_err(|error| Trouble::io("can't remove what an earlier write left behind", error))?;
    let scratch = prepare(folder, text).map_err(|error| {
        drop(sweep(folder));
        Trouble::io("can't write the new file", error)
    })?;
    // Editors take no lock. What one of them saved since is noticed up to this moment.
    let now = folder.seen(file);
    if now != Ok(seen) {
        drop(sweep(folder));
        return now.map(|_| Replaced::Overtaken);
    }
    if let Err(error) = renameat(&scratch, NEW, &folder.fd, file) {
        drop(sweep(folder));
        return Err(Trouble::io("can't put the new file in place", error));
    }
    let durable = fsync(&folder.fd);
    if let Err(error) = sweep(folder) {
        tracing::warn!(%error, "an empty directory `{SCRATCH}` was left behind");
    }
    durable.map_err(unsynced)?;
    Ok(Replaced::Done)
}

/// Removes files for good; those that are not there are gone already.
pub(in crate::store) fn remove(folder: &Folder, files: &[&str]) -> Result<(), Trouble> {
    for file in files {
        unlink(&folder.fd, file).map_err(|error| Trouble::io("can't remove the file", error))?;
    }
    fsync(&folder.fd).map_err(unsynced)
}

fn unsynced(error: Errno) -> Trouble {
    Trouble::OutcomeUnknown(format!("the directory could not be synced: {error}"))
}

fn unlink(folder: &OwnedFd, file: &str) -> Result<(), Errno> {
    match unlinkat(folder, file, AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => Ok(()),
        Err(error) => Err(error),
    }
}

fn prepare(folder: &Folder, text: &[u8]) -> std::io::Result<OwnedFd> {
    mkdirat(&folder.fd, SCRATCH, Mode::RWXU)?;
    let scratch = openat(&folder.fd, SCRATCH, directory(), Mode::empty())?;
    create(&scratch, IGNORE, b"*\n")?;
    fsync(&scratch)?;
    create(&scratch, NEW, text)?;
    Ok(scratch)
}

fn create(scratch: &OwnedFd, name: &str, text: &[u8]) -> std::io::Result<()> {
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let private = Mode::RUSR | Mode::WUSR;
    let fd = openat(scratch, name, flags, private)?;
    // The process' umask may have taken bits away.
    fchmod(&fd, private)?;
    let mut file = File::from(fd);
    file.write_all(text)?;
    file.sync_all()
}

/// Removes the scratch directory and the two files that can be in it, nothing else.
fn sweep(folder: &Folder) -> std::io::Result<()> {
    let scratch = match openat(&folder.fd, SCRATCH, directory(), Mode::empty()) {
        Ok(scratch) => scratch,
        Err(Errno::NOENT) => return Ok(()),
        Err(error) => return Err(error.into()),
    };
    for name in [NEW, IGNORE] {
        unlink(&scratch, name)?;
    }
    Ok(unlinkat(&folder.fd, SCRATCH, AtFlags::REMOVEDIR)?)
}

fn directory() -> OFlags {
    OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC
}
