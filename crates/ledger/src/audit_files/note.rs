//! A note beside the log's files: in which second place a copy of the head was kept.
//!
//! A disk that is not mounted looks like a place that was never used. From the first head on, the note tells the two apart. It lies
//! in the home, so an older copy of the home has it as well. Whoever may write there could take it away, as they could the setting.

use std::ffi::OsStr;
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::path::{Path, PathBuf};

use super::disk::Disk;
use super::head::HEAD;
use crate::error::{LedgerError, Result};

/// The note's file name.
const NOTE: &str = "witness";

/// The note of one home.
pub(super) struct Note(Disk);

impl Note {
    /// The one beside the log's files.
    pub(super) fn beside(log: Disk) -> Self {
        Self(log)
    }

    /// Where a head was kept last.
    fn place(&self) -> Result<Option<PathBuf>> {
        let bytes = self.0.read(NOTE)?;
        Ok(bytes.map(|mut line| {
            if line.last() == Some(&b'\n') {
                line.pop();
            }
            PathBuf::from(std::ffi::OsString::from_vec(line))
        }))
    }

    /// Whether a head was kept in a place.
    pub(super) fn names(&self, place: &Path) -> Result<bool> {
        Ok(self.place()?.is_some_and(|noted| noted == place))
    }

    /// A head is kept in a place from now on.
    pub(super) fn write(&self, place: &Path) -> Result<()> {
        if self.names(place)? {
            return Ok(());
        }
        let line = [place.as_os_str(), OsStr::new("\n")].map(OsStr::as_bytes).concat();
        self.0.write(NOTE, &line)
    }

    /// That a head lies in a place where one was kept.
    pub(super) fn check(&self, place: &Path) -> Result<()> {
        if Disk::at(place).length(HEAD)?.is_some() {
            return Ok(());
        }
        Err(LedgerError::Io(format!(
            "{} is missing, and the audit log's head was kept there: is its disk mounted? When it was moved on purpose, say in \
             config.toml where to; when it is gone for good, remove {}",
            place.join(HEAD).display(),
            self.0.path_of(NOTE).display()
        )))
    }

    /// The same for whatever place below a directory the note names.
    pub(super) fn check_below(&self, dir: &Path) -> Result<()> {
        self.place()?.filter(|place| place.starts_with(dir)).map_or(Ok(()), |place| self.check(&place))
    }
}
