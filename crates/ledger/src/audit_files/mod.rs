//! The audit log as files that other tools verify: [C2SP tlog-tiles](https://c2sp.org/tlog-tiles).
//!
//! ```text
//! HOME/audit/tile/0/000          leaf hashes, 256 a tile; further levels above
//! HOME/audit/tile/entries/000    the entries themselves
//! HOME/audit/checkpoint          size and root, signed (C2SP tlog-checkpoint)
//! HOME/audit/head                size and root as of the newest commit, for this home to know its own log again
//! WITNESS/<instance>/head        the same in a second place, where there is one
//! HOME/audit/witness             where that second place is, once a head was kept there
//! HOME/audit/vkey                the key that verifies the signature (C2SP signed-note)
//! ```
//! The rows of the ledger are the log; the files follow from them. [`AuditFiles::publish`] writes what is missing and
//! signs last, and never signs a log that does not continue what was signed before. [`verify`] needs neither the
//! broker nor a passphrase.

mod columns;
mod disk;
mod edge;
mod head;
mod note;
mod publish;
mod report;
mod second;
mod verify;

use std::path::Path;
use std::sync::{Arc, Mutex};

use keywright_core::audit::{Frontier, Origin, VerifierKey};
use zeroize::Zeroizing;

pub use report::{Finding, Held, Report};
pub use second::{Trouble, look_at};
pub use verify::{Signatures, verify, verify_with};

use crate::error::{LedgerError, Result};
use crate::seal::Keyring;
use crate::sql::Ledger;
use disk::Disk;
use head::{Claimed, HEAD, HeadKey};
use publish::Publisher;
use second::Second;

/// The checkpoint's file name.
const CHECKPOINT: &str = "checkpoint";
/// The verifier key's file name.
const VKEY: &str = "vkey";

/// The published side of one home's audit log.
pub struct AuditFiles {
    publisher: Arc<Publisher>,
}

impl AuditFiles {
    /// Opens the directory and puts the verifier key into it. The directory gets mode 0700, its files 0600.
    ///
    /// # Errors
    /// [`LedgerError::NotContinued`] when the directory belongs to another home; [`LedgerError::Io`].
    pub fn open(dir: &Path, keyring: &Keyring) -> Result<Self> {
        Self::open_witnessed(dir, None, keyring)
    }

    /// The same, with a copy of the head in a second place: below `witness`, in a directory that is named by the ledger. Whoever
    /// puts an older copy of the home back, ledger and log together, does not put that back with it.
    ///
    /// # Errors
    /// As above. A second place that can't be used, or does not answer, is no error: see [`AuditFiles::second_place`].
    pub fn open_witnessed(dir: &Path, witness: Option<&Path>, keyring: &Keyring) -> Result<Self> {
        let key = verifier_key(keyring)?;
        let disk = Disk::create(dir)?;
        let line = format!("{key}\n");
        match disk.read(VKEY)? {
            None => disk.write(VKEY, line.as_bytes())?,
            Some(found) if found == line.as_bytes() => {}
            Some(_) => {
                let why = format!("`{VKEY}` is not the key of this home, which is `{key}`");
                return Err(LedgerError::NotContinued { why });
            }
        }
        let seed = Zeroizing::new(*keyring.checkpoint_seed());
        let head = HeadKey(keyring.row_mac());
        let second = witness
            .map(|place| Second::open(place.join(hex(keyring.instance())), head.clone(), disk.clone()));
        Ok(Self {
            publisher: Arc::new(Publisher {
                disk,
                second: second.transpose()?,
                key,
                seed,
                head,
                state: Mutex::default(),
                beginning: tokio::sync::Mutex::default(),
            }),
        })
    }

    /// The key that verifies the checkpoints.
    #[must_use]
    pub fn key(&self) -> &VerifierKey {
        &self.publisher.key
    }

    /// What somebody read of the log and goes by: entry by entry, whose hashes make `tree`. The next
    /// [`AuditFiles::publish`] proves that it is the same log.
    ///
    /// # Errors
    /// [`LedgerError::Closed`] after a panic.
    pub fn seen(&self, tree: &Frontier) -> Result<()> {
        self.publisher.seen(Claimed { size: tree.size(), root: tree.root() })
    }

    /// Why nothing shows whether the log is whole, when that is so: it has entries, and the file that they were signed in is
    /// gone. [`AuditFiles::publish`] would sign whatever is left.
    ///
    /// # Errors
    /// [`LedgerError::Io`], or when the ledger can't be read.
    pub async fn lost(&self, ledger: &Ledger) -> Result<Option<String>> {
        let (size, is_new) =
            ledger.read(|tx| Ok::<_, LedgerError>((tx.audit_size()?, tx.is_just_made()?))).await?;
        for name in [CHECKPOINT, HEAD] {
            if !is_new && self.publisher.disk.read(name)?.is_none() {
                let why = format!(
                    "`{name}` is gone, so that nothing shows whether the {size} entries are all of them"
                );
                return Ok(Some(why));
            }
        }
        Ok(None)
    }

    /// Brings the files up to the ledger's size, signs the tree, and says how many entries are signed now. Writes
    /// nothing when nothing was added. After a crash between any two writes the next call completes the work.
    ///
    /// The first call reads the whole log once, to see that it continues what was signed; later calls read what was
    /// added. From the first call on, each commit of `ledger` is followed by the log's head.
    ///
    /// # Errors
    /// [`LedgerError::NotContinued`] when the ledger is shorter than a checkpoint of its own, or has other entries: an
    /// old copy was restored, or entries were changed. Nothing is signed or overwritten then. [`LedgerError::Io`].
    pub async fn publish(&self, ledger: &Ledger) -> Result<u64> {
        let publisher = Arc::clone(&self.publisher);
        let signed = ledger.scan(move |tx| publisher.publish(tx)).await?;
        // One at a time: of two that begin together, the first one follows the log.
        let beginning = self.publisher.beginning.lock().await;
        if let Some(tree) = signed.to_follow
            && !self.publisher.is_followed()?
        {
            let head = Claimed { size: tree.size(), root: tree.root() };
            let first = self.publisher.head.keeper(&self.publisher.disk, head)?;
            let second = self.publisher.second.as_ref().map(Second::keeper);
            let keep = move |size, root| {
                first(Claimed { size, root });
                if let Some(second) = &second {
                    second(Claimed { size, root });
                }
            };
            ledger.write(move |tx| tx.follow(tree, Box::new(keep))).await?;
            self.publisher.followed()?;
        }
        drop(beginning);
        if let Some(note) = signed.to_keep {
            ledger.write(move |tx| tx.add_checkpoint(signed.size, &note)).await?;
        }
        Ok(signed.size)
    }
}

impl AuditFiles {
    /// Moves everything out of the way that says what the log was before: the files of the log, and the copy of its head. What
    /// is left of it counts from the next [`AuditFiles::publish`] on.
    ///
    /// # Errors
    /// [`LedgerError::Io`]. A second place that does not answer is moved out of the way when it does; a start before that
    /// finds what lay there.
    pub fn put_aside(&self, at: jiff::Timestamp) -> Result<()> {
        let Publisher { disk, second, key, .. } = self.publisher.as_ref();
        let since = at.strftime("%Y%m%dT%H%M%SZ");
        if let Some(second) = second {
            second.put_aside(format!("{HEAD}-before-{since}"));
        }
        disk.put_aside(&format!("audit-before-{since}"))?;
        disk.write(VKEY, format!("{key}\n").as_bytes())?;
        self.publisher.forget()
    }

    /// What is wrong with the second place of the log's head, if anything is. It is said in the broker's own log as well, once.
    #[must_use]
    pub fn second_place(&self) -> Option<Trouble> {
        self.publisher.second.as_ref().and_then(Second::trouble)
    }

    /// Whether nobody knows yet what the second place holds: until it was read, an older copy of the home would look like a
    /// home that is as it was left.
    #[must_use]
    pub fn is_unread(&self) -> bool {
        self.publisher.second.as_ref().is_some_and(Second::is_unread)
    }

    /// Waits until a second place that had not answered does: the next [`AuditFiles::publish`] goes by what it holds.
    pub async fn second_answered(&self) {
        match &self.publisher.second {
            Some(second) => second.answered().await,
            None => std::future::pending().await,
        }
    }
}

/// The key that verifies a home's checkpoints, derived from the home's own keys: what [`verify`] is given to notice
/// that the file `vkey` was swapped.
///
/// # Errors
/// Never in practice: an instance's id makes a valid name.
pub fn verifier_key(keyring: &Keyring) -> Result<VerifierKey> {
    let origin = origin(keyring.instance())?;
    Ok(VerifierKey::of_signing_key(origin, keyring.checkpoint_seed()))
}

/// `keywright/<instance in hexadecimal digits>`.
fn origin(instance: &[u8; 16]) -> Result<Origin> {
    Origin::of_instance(&hex(instance)).map_err(|e| LedgerError::Audit(e.to_string()))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
