//! Moving a home's ledger to another engine. Nobody else works on the home meanwhile.

use std::path::PathBuf;

use keywright_core::name::OperatorName;
use keywright_core::secret::Secret;
use keywright_ledger::audit_files::{Report, verifier_key, verify};
use keywright_ledger::seal::Keyring;
use keywright_ledger::{Clock, Ledger, LedgerError, Location};

use crate::broker::unlock;
use crate::error::{BrokerError, Code, Result};
use crate::home::Home;

/// What became of it.
#[derive(Debug)]
pub struct LedgerMoved {
    /// How many rows were copied.
    pub rows: u64,
    /// How many of them are vouched for, and are as they were written.
    pub vouched: u64,
    /// How many entries the audit log has, before and after.
    pub entries: u64,
    /// The file that the ledger was in, where it was one: it is kept under another name.
    pub kept: Option<PathBuf>,
}

impl Home {
    /// Copies the ledger into an empty one, sees to it that all rows and the audit log are as they were written on both sides,
    /// and has the home use the new one. The old one stays as it is.
    ///
    /// # Errors
    /// When somebody works on the home, the passphrase opens no slot, either ledger is not sound, or the target is not empty.
    pub async fn move_ledger(
        &self,
        to: &Location,
        operator: Option<&OperatorName>,
        passphrase: Secret,
        clock: Clock,
    ) -> Result<LedgerMoved> {
        let _lock = self.lock_existing()?;
        let from = self.location()?;
        if from == *to {
            return Err(BrokerError::new(Code::Conflict, "the ledger is there already"));
        }
        let new_file = match to {
            Location::File(path) if path.exists() => {
                let message = format!("there is a file {} already", path.display());
                return Err(BrokerError::new(Code::Conflict, message).hint("move it away"));
            }
            Location::File(path) => Some(path.clone()),
            Location::Server(_) => None,
        };
        let ledger = self.open_ledger(Clock::clone(&clock))?;
        ledger.claim().await?;
        let (_, keyring, _) = unlock(&ledger, operator, passphrase).await?;
        let before = self.examined(&ledger, &from, &keyring).await?;
        let done = async {
            let moved = ledger.copy_to(to).await?;
            let new = Ledger::open(to, clock)?;
            let after = self.examined(&new, to, &keyring).await?;
            if after.1.root != before.1.root || after.0 != before.0 {
                return Err(BrokerError::new(Code::Internal, "the copy is not what was copied"));
            }
            Ok(moved)
        };
        let moved = match (done.await, new_file) {
            (Ok(moved), _) => moved,
            (Err(error), Some(path)) => {
                for suffix in ["", "-wal", "-shm"] {
                    // The error that matters is the one above.
                    let _ = std::fs::remove_file(format!("{}{suffix}", path.display()));
                }
                return Err(error);
            }
            (Err(error), None) => return Err(error),
        };
        drop(ledger);
        self.set_location(to)?;
        let kept = match &from {
            Location::File(path) => {
                let kept = path.with_extension("db.moved");
                let io =
                    |e: std::io::Error| BrokerError::new(Code::Internal, format!("{}: {e}", path.display()));
                std::fs::rename(path, &kept).map_err(io)?;
                Some(kept)
            }
            Location::Server(_) => None,
        };
        Ok(LedgerMoved { rows: moved.rows, vouched: before.0, entries: before.1.entries, kept })
    }

    /// How many rows are vouched for, and the audit log's report, where all is sound.
    async fn examined(
        &self,
        ledger: &Ledger,
        location: &Location,
        keyring: &Keyring,
    ) -> Result<(u64, Report)> {
        ledger.unlock(keyring);
        let unsound = |what: &str| {
            BrokerError::new(
                Code::Conflict,
                format!("the ledger is not sound, and nothing was moved: {what}"),
            )
            .hint("keywright doctor")
        };
        if let Some(what) = ledger.foreign() {
            return Err(unsound(what));
        }
        let found = ledger.scan(|tx| tx.soundness()).await?;
        if let Some(edited) = found.edited.first() {
            return Err(unsound(&edited.to_string()));
        }
        let (dir, location, key) = (self.audit(), location.clone(), verifier_key(keyring)?);
        let verified = tokio::task::spawn_blocking(move || verify(&dir, location, None, Some(&key)));
        let report = verified.await.map_err(|_| BrokerError::from(LedgerError::Closed))??;
        match report.first() {
            Some(finding) => Err(unsound(&finding.to_string())),
            None => Ok((found.rows, report)),
        }
    }
}
