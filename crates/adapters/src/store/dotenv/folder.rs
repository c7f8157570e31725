//! The directory of a `.env` file: judged once, then held open, so that nothing that is swapped on the way to it
//! afterwards changes where a secret goes.

use std::fs::{File, Metadata};
use std::io::Read;
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::fs::{Access, AtFlags, FlockOperation, Mode, OFlags, accessat, flock, open, openat};
use rustix::io::Errno;
use zeroize::Zeroizing;

use super::trouble::Trouble;

/// The largest file in bytes.
pub(in crate::store) const LARGEST: u64 = 1 << 20;

/// How long to wait for another writer.
const PATIENCE: Duration = Duration::from_secs(10);
const POLL: Duration = Duration::from_millis(10);

/// A directory that is safe to keep secrets in.
pub(in crate::store) struct Folder {
    pub(in crate::store) path: PathBuf,
    pub(in crate::store) fd: OwnedFd,
}

/// Held while a file is read and replaced. Other Keywright processes wait; editors don't know of it.
pub(in crate::store) struct Lock(#[expect(dead_code, reason = "closing it is what unlocks")] OwnedFd);

/// A file as it was read.
pub(in crate::store) struct Contents {
    pub(in crate::store) bytes: Zeroizing<Vec<u8>>,
    pub(in crate::store) seen: Seen,
}

/// What tells whether a file changed since.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::store) struct Seen {
    id: (u64, u64),
    size: u64,
    changed: (i64, i64, i64, i64),
    pub(in crate::store) mode: u32,
}

impl Folder {
    /// Opens a directory by its real path.
    pub(in crate::store) fn open(path: &Path) -> Result<Self, Trouble> {
        let real = path.canonicalize().map_err(|error| match error.kind() {
            std::io::ErrorKind::NotFound => Trouble::Place("its directory does not exist".into()),
            _ => Trouble::io("can't look at the directory", error),
        })?;
        if real != path {
            return Err(Trouble::Unsafe {
                why: "its directory is reached through a symbolic link".into(),
                hint: format!("write the real path: `{}`", real.display()),
            });
        }
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = File::from(
            open(path, flags, Mode::empty())
                .map_err(|error| Trouble::io("can't open the directory", error))?,
        );
        let opened = file.metadata().map_err(|error| Trouble::io("can't look at the directory", error))?;
        let named =
            path.symlink_metadata().map_err(|error| Trouble::io("can't look at the directory", error))?;
        if (opened.dev(), opened.ino()) != (named.dev(), named.ino()) {
            return Err(Trouble::Unavailable("the directory was swapped for another one just now".into()));
        }
        private(path, &opened)?;
        Ok(Self { path: path.to_owned(), fd: OwnedFd::from(file) })
    }

    /// Whether files can be made in it.
    pub(in crate::store) fn writable(&self) -> Result<(), Trouble> {
        accessat(&self.fd, ".", Access::WRITE_OK | Access::EXEC_OK, AtFlags::empty())
            .map_err(|error| Trouble::io("can't write to the directory", error))
    }

    /// Waits for other writers to this directory.
    pub(in crate::store) fn lock(&self) -> Result<Lock, Trouble> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let fd =
            openat(&self.fd, ".", flags, Mode::empty()).map_err(|error| Trouble::io("can't lock", error))?;
        let deadline = Instant::now() + PATIENCE;
        loop {
            match flock(&fd, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => return Ok(Lock(fd)),
                Err(Errno::WOULDBLOCK | Errno::INTR) if Instant::now() < deadline => std::thread::sleep(POLL),
                Err(Errno::WOULDBLOCK) => {
                    return Err(Trouble::Unavailable(
                        "another program holds the lock of its directory".into(),
                    ));
                }
                Err(error) => return Err(Trouble::io("can't lock the directory", error)),
            }
        }
    }

    /// Reads a file; `None` when there is none.
    pub(in crate::store) fn read(&self, file: &str) -> Result<Option<Contents>, Trouble> {
        let Some((handle, metadata)) = self.look(file)? else { return Ok(None) };
        if !metadata.is_file() {
            return Err(unsafe_file("it is not a regular file", "name a file, or remove what lies there"));
        }
        if metadata.nlink() > 1 {
            return Err(unsafe_file("the file has a second name (a hard link)", "make it a file of its own"));
        }
        if metadata.uid() != rustix::process::geteuid().as_raw() {
            return Err(unsafe_file("the file belongs to another user", "let the broker's user own it"));
        }
        let too_large = || unsafe_file("the file is larger than 1 MiB", "use a file of its own for secrets");
        if metadata.size() > LARGEST {
            return Err(too_large());
        }
        let mut bytes =
            Zeroizing::new(Vec::with_capacity(usize::try_from(metadata.size()).unwrap_or(0) + 64));
        handle
            .take(LARGEST + 1)
            .read_to_end(&mut bytes)
            .map_err(|error| Trouble::io("can't read the file", error))?;
        if bytes.len() as u64 > LARGEST {
            return Err(too_large());
        }
        Ok(Some(Contents { bytes, seen: Seen::new(&metadata) }))
    }

    /// What tells whether a file changed since it was read.
    pub(in crate::store) fn seen(&self, file: &str) -> Result<Option<Seen>, Trouble> {
        Ok(self.look(file)?.map(|(_, metadata)| Seen::new(&metadata)))
    }

    fn look(&self, file: &str) -> Result<Option<(File, Metadata)>, Trouble> {
        // Without O_NONBLOCK a named pipe would keep us waiting for its other end.
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let handle = match openat(&self.fd, file, flags, Mode::empty()) {
            Ok(fd) => File::from(fd),
            Err(Errno::NOENT) => return Ok(None),
            Err(Errno::LOOP | Errno::MLINK) => {
                return Err(unsafe_file("the file is a symbolic link", "name the file that it leads to"));
            }
            Err(Errno::NXIO) => {
                return Err(unsafe_file(
                    "it is not a regular file",
                    "name a file, or remove what lies there",
                ));
            }
            Err(error) => return Err(Trouble::io("can't open the file", error)),
        };
        let metadata = handle.metadata().map_err(|error| Trouble::io("can't look at the file", error))?;
        Ok(Some((handle, metadata)))
    }
}

impl Seen {
    fn new(metadata: &Metadata) -> Self {
        Self {
            id: (metadata.dev(), metadata.ino()),
            size: metadata.size(),
            changed: (metadata.mtime(), metadata.mtime_nsec(), metadata.ctime(), metadata.ctime_nsec()),
            mode: metadata.mode() & 0o7777,
        }
    }
}

/// Nobody else may be able to put something else in the file's place.
fn private(path: &Path, opened: &Metadata) -> Result<(), Trouble> {
    if opened.uid() != rustix::process::geteuid().as_raw() {
        return Err(unsafe_file(
            "its directory belongs to another user than the broker's",
            "use a directory of the broker's user, or another store",
        ));
    }
    if opened.mode() & 0o002 != 0 {
        return Err(unsafe_file(
            "everybody on this machine may write to its directory",
            "run `chmod o-w` on it",
        ));
    }
    for above in path.ancestors().skip(1) {
        let metadata = above
            .symlink_metadata()
            .map_err(|error| Trouble::io("can't look at a directory above", error))?;
        // A sticky directory such as /tmp lets nobody rename what belongs to others.
        if metadata.mode() & 0o002 != 0 && metadata.mode() & 0o1000 == 0 {
            return Err(Trouble::Unsafe {
                why: format!("everybody on this machine may write to `{}` above it", above.display()),
                hint: "run `chmod o-w` on that directory".into(),
            });
        }
    }
    Ok(())
}

fn unsafe_file(why: &str, hint: &str) -> Trouble {
    Trouble::Unsafe { why: why.into(), hint: hint.into() }
}
