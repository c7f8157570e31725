//! The broker's socket by a path that a socket's address can hold: some 100 bytes, where a directory may be a longer
//! way off.

use std::cell::OnceCell;
use std::fs::File;
use std::os::fd::AsRawFd as _;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use keywright_broker::Code;
use keywright_broker::home::Home;
use keywright_server::answer::Failure;

/// What fits on every platform, in bytes.
const LONGEST: usize = 100;
/// Where Linux names the directories that a process has open.
const OPENED: &str = "/proc/self/fd";

/// How this process reaches a home's socket.
pub(crate) struct SocketPath {
    home: Home,
    /// Open for as long as the short path through it is in use.
    directory: OnceCell<File>,
}

impl SocketPath {
    /// Of this home.
    pub(crate) fn of(home: &Home) -> Self {
        Self { home: home.clone(), directory: OnceCell::new() }
    }

    /// The socket.
    pub(crate) fn path(&self) -> PathBuf {
        self.home().socket()
    }

    /// The home by a short path, where its own is too long. People are shown the long one.
    pub(crate) fn home(&self) -> Home {
        if self.fits() || !can_shorten() {
            return self.home.clone();
        }
        if self.directory.get().is_none()
            && let Ok(directory) = File::open(self.home.root())
        {
            // It was empty a moment ago, and nobody else fills it.
            let _ = self.directory.set(directory);
        }
        self.directory.get().map_or_else(
            || self.home.clone(),
            |directory| Home::at(format!("{OPENED}/{}", directory.as_raw_fd())),
        )
    }

    /// Refuses a home whose broker could never be reached.
    pub(crate) fn refuse_unreachable(&self) -> Result<(), Failure> {
        if self.fits() || can_shorten() {
            return Ok(());
        }
        let message = format!("the path {} is too long for the broker's socket", self.home.root().display());
        Err(Failure::new(Code::InvalidArgument, message)
            .hint("name a home with a shorter path with KEYWRIGHT_HOME or --home"))
    }

    fn fits(&self) -> bool {
        self.home.socket().as_os_str().as_bytes().len() <= LONGEST
    }
}

fn can_shorten() -> bool {
    cfg!(target_os = "linux") && Path::new(OPENED).exists()
}
