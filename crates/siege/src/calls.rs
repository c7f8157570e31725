//! The system calls that matter, and what can happen at one.

use nix::libc;

/// What a disk writes whole, in bytes.
const SECTOR: u64 = 512;

/// What happens at the call whose turn it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Kind {
    /// The process is killed before the call.
    Kill,
    /// Half of what was to be written is, and then the process is killed. Not where it is a sector or less: that much is
    /// written whole or not at all.
    Torn,
    /// The disk answers that it can't.
    Eio,
    /// The disk answers that it is full.
    Enospc,
    /// Whoever is at the other end of a connection is gone.
    Reset,
}

impl Kind {
    pub(crate) const ALL: [Self; 5] = [Self::Kill, Self::Torn, Self::Eio, Self::Enospc, Self::Reset];

    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Kill => "kill",
            Self::Torn => "torn",
            Self::Eio => "eio",
            Self::Enospc => "enospc",
            Self::Reset => "reset",
        }
    }

    /// Whether the process dies of it.
    pub(crate) fn is_deadly(self) -> bool {
        matches!(self, Self::Kill | Self::Torn)
    }

    /// What the call answers in its place.
    pub(crate) fn errno(self, call: Call) -> i32 {
        match self {
            Self::Enospc => libc::ENOSPC,
            Self::Reset if call.does == Does::Connect => libc::ECONNREFUSED,
            Self::Reset => libc::ECONNRESET,
            Self::Kill | Self::Torn | Self::Eio => libc::EIO,
        }
    }

    /// Whether it can happen at this call, on this, with so many bytes.
    pub(crate) fn fits(self, call: Call, on: &On, length: u64) -> bool {
        use Does::{Connect, Makes, Removes, Send, Size, Sync, Write};
        match (self, on) {
            (_, On::Other) => false,
            (Self::Kill, _) => true,
            (Self::Torn, _) => call.halves && length > SECTOR,
            // A descriptor of which nothing is known may be one that no error ever comes from.
            (_, On::Unknown) => false,
            (Self::Reset, On::Socket) => matches!(call.does, Connect | Send | Write),
            (Self::Eio, On::File(_)) => {
                matches!(call.does, Write | Sync | Size | Makes | Removes)
            }
            (Self::Enospc, On::File(_)) => matches!(call.does, Write | Sync | Size | Makes),
            (Self::Reset, On::File(_)) | (Self::Eio | Self::Enospc, On::Socket) => false,
        }
    }
}

/// What a call works on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum On {
    /// A file or a directory entry, with its name where that is known.
    File(String),
    Socket,
    /// A pipe, an event, a terminal.
    Other,
    /// The kernel does not say.
    Unknown,
}

/// What a call does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Does {
    Write,
    Sync,
    Size,
    /// Makes a directory entry.
    Makes,
    Removes,
    Connect,
    Send,
}

/// How a call says what it works on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Names {
    /// Its first argument is a descriptor.
    Descriptor,
    /// It takes a path.
    Path,
    /// It takes a path, and makes a file if the flags in this argument say so.
    Flags(usize),
}

/// A system call that matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Call {
    pub(crate) number: i64,
    pub(crate) name: &'static str,
    pub(crate) does: Does,
    pub(crate) names: Names,
    /// Its third argument is how much there is to be written, and may be less.
    pub(crate) halves: bool,
}

const fn call(number: i64, name: &'static str, does: Does, names: Names) -> Call {
    let halves = matches!(number, libc::SYS_write | libc::SYS_pwrite64 | libc::SYS_sendto);
    Call { number, name, does, names, halves }
}

use Names::{Descriptor, Flags, Path};

const CALLS: &[Call] = &[
    call(libc::SYS_write, "write", Does::Write, Descriptor),
    call(libc::SYS_pwrite64, "pwrite64", Does::Write, Descriptor),
    call(libc::SYS_writev, "writev", Does::Write, Descriptor),
    call(libc::SYS_pwritev, "pwritev", Does::Write, Descriptor),
    call(libc::SYS_pwritev2, "pwritev2", Does::Write, Descriptor),
    call(libc::SYS_copy_file_range, "copy_file_range", Does::Write, Descriptor),
    call(libc::SYS_sendfile, "sendfile", Does::Write, Descriptor),
    call(libc::SYS_fsync, "fsync", Does::Sync, Descriptor),
    call(libc::SYS_fdatasync, "fdatasync", Does::Sync, Descriptor),
    call(libc::SYS_sync_file_range, "sync_file_range", Does::Sync, Descriptor),
    call(libc::SYS_ftruncate, "ftruncate", Does::Size, Descriptor),
    call(libc::SYS_fallocate, "fallocate", Does::Size, Descriptor),
    call(libc::SYS_truncate, "truncate", Does::Size, Path),
    call(libc::SYS_rename, "rename", Does::Makes, Path),
    call(libc::SYS_renameat, "renameat", Does::Makes, Path),
    call(libc::SYS_renameat2, "renameat2", Does::Makes, Path),
    call(libc::SYS_link, "link", Does::Makes, Path),
    call(libc::SYS_linkat, "linkat", Does::Makes, Path),
    call(libc::SYS_symlink, "symlink", Does::Makes, Path),
    call(libc::SYS_symlinkat, "symlinkat", Does::Makes, Path),
    call(libc::SYS_mkdir, "mkdir", Does::Makes, Path),
    call(libc::SYS_mkdirat, "mkdirat", Does::Makes, Path),
    call(libc::SYS_creat, "creat", Does::Makes, Path),
    call(libc::SYS_open, "open", Does::Makes, Flags(1)),
    call(libc::SYS_openat, "openat", Does::Makes, Flags(2)),
    call(libc::SYS_unlink, "unlink", Does::Removes, Path),
    call(libc::SYS_unlinkat, "unlinkat", Does::Removes, Path),
    call(libc::SYS_rmdir, "rmdir", Does::Removes, Path),
    call(libc::SYS_connect, "connect", Does::Connect, Descriptor),
    call(libc::SYS_sendto, "sendto", Does::Send, Descriptor),
    call(libc::SYS_sendmsg, "sendmsg", Does::Send, Descriptor),
    call(libc::SYS_sendmmsg, "sendmmsg", Does::Send, Descriptor),
];

impl Call {
    /// The call of this number, if it matters with these arguments.
    pub(crate) fn that_matters(number: u64, arguments: [u64; 4]) -> Option<Self> {
        let number = i64::try_from(number).ok()?;
        let found = CALLS.iter().find(|call| call.number == number)?;
        if let Flags(place) = found.names {
            let makes = u64::try_from(libc::O_CREAT).ok()?;
            return arguments.get(place).is_some_and(|flags| flags & makes != 0).then_some(*found);
        }
        Some(*found)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_open_that_makes_nothing_does_not_matter() {
        let openat = u64::try_from(libc::SYS_openat).unwrap();
        let makes = u64::try_from(libc::O_CREAT | libc::O_RDWR).unwrap();
        assert!(Call::that_matters(openat, [0, 0, makes, 0]).is_some());
        assert!(Call::that_matters(openat, [0, 0, 0, makes]).is_none());
        assert!(Call::that_matters(u64::try_from(libc::SYS_read).unwrap(), [0; 4]).is_none());
    }

    #[test]
    fn a_disk_fails_at_files_and_a_peer_at_sockets() {
        let write = Call::that_matters(u64::try_from(libc::SYS_write).unwrap(), [0; 4]).unwrap();
        let file = On::File("ledger.db".to_owned());
        let fitting =
            |on: &On| Kind::ALL.into_iter().filter(|kind| kind.fits(write, on, 4_096)).collect::<Vec<_>>();
        assert_eq!(fitting(&file), [Kind::Kill, Kind::Torn, Kind::Eio, Kind::Enospc]);
        assert_eq!(fitting(&On::Socket), [Kind::Kill, Kind::Torn, Kind::Reset]);
        assert_eq!(fitting(&On::Unknown), [Kind::Kill, Kind::Torn]);
        assert!(fitting(&On::Other).is_empty());
        assert!(!Kind::Torn.fits(write, &file, SECTOR));
    }
}
