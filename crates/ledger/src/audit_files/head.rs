//! The head of the log: its size and root as of the newest commit, in a file beside the tiles.
//!
//! ```text
//! keywright/head/1
//! 00000000000000000042                size
//! <64 hexadecimal digits>             root (RFC 6962)
//! <64 hexadecimal digits>             HMAC-SHA-256 over both, under a key of this home
//! ```
//! A checkpoint is signed now and then; the head follows each commit, before anybody is told of it. It is written over in
//! place and not forced to the disk, so it costs no commit: a broker that is killed leaves it as it is, and after a loss
//! of power it is at most older than the ledger. Entries that are cut off, with the broker killed, are missed by it. It has
//! a key of its own kind, because old checkpoints lie about and must not pass for it.

use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::sync::{Mutex, PoisonError};

use hmac::Hmac;
use keywright_core::audit::Hash;
use sha2::Sha256;

use super::disk::Disk;
use crate::error::{LedgerError, Result};
use crate::sql::RowMac;

/// The head's file name.
pub(super) const HEAD: &str = "head";
const KIND: &str = "keywright/head/1";

/// A size and its root, as a file says it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Claimed {
    pub(super) size: u64,
    pub(super) root: Hash,
}

/// Writes and believes heads.
#[derive(Clone)]
pub(super) struct HeadKey(pub(super) Hmac<Sha256>);

impl Claimed {
    /// What a head says, whether or not it is true; none when it is no head.
    pub(super) fn read(text: &[u8]) -> Option<Self> {
        let mut lines = std::str::from_utf8(text).ok()?.lines();
        let (kind, size, root) = (lines.next()?, lines.next()?, lines.next()?);
        (kind == KIND).then_some(())?;
        Some(Self { size: size.parse().ok()?, root: root.parse().ok()? })
    }
}

/// A head in its place, which is written over from there on.
pub(super) struct Kept {
    key: HeadKey,
    disk: Disk,
    file: File,
}

impl Kept {
    /// Puts it in place.
    pub(super) fn put(key: &HeadKey, disk: &Disk, head: Claimed) -> Result<Self> {
        disk.write(HEAD, key.text(head).as_bytes())?;
        Ok(Self { key: key.clone(), disk: disk.clone(), file: disk.open_to_write(HEAD)? })
    }

    /// Writes over it. Where another file lies there now, ours is put back.
    pub(super) fn keep(&mut self, head: Claimed) -> Result<()> {
        if !self.disk.is_at(HEAD, &self.file)? {
            tracing::error!(
                "the head of the audit log was moved away or replaced by somebody else; it is put back"
            );
            *self = Self::put(&self.key, &self.disk, head)?;
            return Ok(());
        }
        let text = self.key.text(head);
        let written = self.file.write_all_at(text.as_bytes(), 0);
        written.map_err(|error| LedgerError::Io(format!("`{HEAD}`: {error}")))
    }
}

impl HeadKey {
    /// The file's text. It is equally long for every size.
    pub(super) fn text(&self, head: Claimed) -> String {
        let Claimed { size, root } = head;
        let values = [size.into(), root.as_bytes().as_slice().into()];
        let mac = RowMac::over(self.0.clone(), HEAD, &values);
        format!("{KIND}\n{size:020}\n{root}\n{mac}\n")
    }

    /// The head that lies there.
    ///
    /// # Errors
    /// [`LedgerError::NotContinued`] when this home did not write it.
    pub(super) fn read(&self, disk: &Disk) -> Result<Option<Claimed>> {
        let Some(bytes) = disk.read(HEAD)? else { return Ok(None) };
        let head = Claimed::read(&bytes).filter(|head| self.is_own(*head, &bytes));
        let not_own = || LedgerError::NotContinued { why: format!("`{HEAD}` was not written by this home") };
        head.map(Some).ok_or_else(not_own)
    }

    /// Puts a head in place and gives what keeps it up to date.
    pub(super) fn keeper(&self, disk: &Disk, head: Claimed) -> Result<impl Fn(Claimed) + Send + use<>> {
        let kept = Mutex::new(Kept::put(self, disk, head)?);
        Ok(move |head| {
            let mut kept = kept.lock().unwrap_or_else(PoisonError::into_inner);
            if let Err(error) = kept.keep(head) {
                tracing::error!(%error, "the head of the audit log can't be written");
            }
        })
    }

    fn is_own(&self, head: Claimed, bytes: &[u8]) -> bool {
        use subtle::ConstantTimeEq as _;
        bool::from(self.text(head).as_bytes().ct_eq(bytes))
    }
}
