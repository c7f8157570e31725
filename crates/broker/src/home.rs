//! The home: one directory that holds everything of one installation.
//!
//! ```text
//! HOME/  0700   config.toml   ledger.db (+ -wal, -shm)   broker.sock   audit/
//! ```

use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use keywright_core::audit::Deed;
use keywright_core::name::OperatorName;
use keywright_core::plan::Principal;
use keywright_core::secret::Secret;
use keywright_ledger::seal::{MasterKey, SlotCost, random};
use keywright_ledger::{Clock, Ledger, LedgerError, Location, OperatorKeys};

use crate::admin::vouched;
use crate::error::{BrokerError, Code, Result};
use crate::record::who;

/// The directory of one installation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Home {
    root: PathBuf,
}

/// Held by the one process that works on a home.
#[derive(Debug)]
pub struct HomeLock {
    _file: std::fs::File,
}

impl Home {
    /// The home at a directory, which need not exist yet.
    #[must_use]
    pub fn at(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into() }
    }

    /// The directory.
    #[must_use]
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The ledger's file.
    #[must_use]
    pub fn ledger(&self) -> PathBuf {
        self.root.join("ledger.db")
    }

    /// The broker's socket.
    #[must_use]
    pub fn socket(&self) -> PathBuf {
        self.root.join("broker.sock")
    }

    /// The configuration file.
    #[must_use]
    pub fn config(&self) -> PathBuf {
        self.root.join("config.toml")
    }

    /// The audit log as files.
    #[must_use]
    pub fn audit(&self) -> PathBuf {
        self.root.join("audit")
    }

    /// Whether `init` ran here.
    #[must_use]
    pub fn exists(&self) -> bool {
        self.ledger().exists()
    }

    /// Takes the lock that one process at a time holds.
    ///
    /// # Errors
    /// [`Code::Conflict`] when another process holds it.
    pub fn lock(&self) -> Result<HomeLock> {
        let io =
            |e: std::io::Error| BrokerError::new(Code::Internal, format!("{}: {e}", self.root.display()));
        // The directory itself: a file in it could be removed, and another one locked.
        let file = std::fs::File::open(&self.root).map_err(io)?;
        match rustix::fs::flock(&file, rustix::fs::FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(HomeLock { _file: file }),
            Err(rustix::io::Errno::WOULDBLOCK) => Err(BrokerError::new(
                Code::Conflict,
                format!("another broker or command works on {} right now", self.root.display()),
            )
            .hint(
                "there is one broker per home; stop it with `keywright stop`, or use it through its socket",
            )),
            Err(error) => Err(io(error.into())),
        }
    }

    /// Opens the ledger, which must exist.
    ///
    /// # Errors
    /// When `init` never ran here, or the ledger can't be opened.
    pub fn open_ledger(&self, clock: Clock) -> Result<Ledger> {
        if !self.exists() {
            return Err(BrokerError::missing(format!(
                "there is no Keywright home at {}",
                self.root.display()
            ))
            .hint("make one with `keywright init`, or name another with --home or KEYWRIGHT_HOME"));
        }
        self.refuse_open_modes()?;
        Ok(Ledger::open(&Location::File(self.ledger()), clock)?)
    }

    /// Makes a home: directory, ledger, master key, first operator. Nothing is left behind when it fails.
    ///
    /// # Errors
    /// When there is one already, or the disk or the passphrase is no good.
    pub async fn init(
        &self,
        operator: &OperatorName,
        passphrase: Secret,
        clock: Clock,
    ) -> Result<Arc<Ledger>> {
        if self.exists() {
            return Err(BrokerError::new(
                Code::Conflict,
                format!("there is a home at {} already", self.root.display()),
            )
            .hint("use it, or name another directory with --home"));
        }
        if passphrase.expose_secret().chars().count() < 8 {
            return Err(BrokerError::new(Code::InvalidArgument, "a passphrase has at least 8 characters")
                .hint("several random words make a good one"));
        }
        let io =
            |e: std::io::Error| BrokerError::new(Code::Internal, format!("{}: {e}", self.root.display()));
        std::fs::DirBuilder::new().recursive(true).mode(0o700).create(&self.root).map_err(io)?;
        std::fs::set_permissions(&self.root, std::fs::Permissions::from_mode(0o700)).map_err(io)?;
        let (name, instance) = (operator.clone(), *random::<16>()?);
        let keys = tokio::task::spawn_blocking(move || {
            let master = MasterKey::generate()?;
            let keys = OperatorKeys::seal(&name, &passphrase, &master, None, SlotCost::RECOMMENDED)?;
            Ok::<_, LedgerError>((keys, master.keyring(instance)))
        });
        let (keys, keyring) = keys.await.map_err(|e| BrokerError::new(Code::Internal, e.to_string()))??;
        let ledger = Ledger::open(&Location::File(self.ledger()), clock)?;
        ledger.unlock(&keyring);
        let operator = operator.clone();
        let written = ledger
            .write(move |tx| {
                tx.set_instance(&instance)?;
                let mac = tx.add_operator(&operator, &keys, &keyring)?.to_string();
                let by = who(&Principal::Operator(operator.clone()));
                tx.audit(vouched(tx.now(), Deed::OperatorAdd, by, operator.as_str(), &mac))
            })
            .await;
        if let Err(error) = written {
            drop(ledger);
            for suffix in ["", "-wal", "-shm"] {
                // The error that matters is the one above.
                let _ = std::fs::remove_file(format!("{}{suffix}", self.ledger().display()));
            }
            return Err(LedgerError::into(error));
        }
        Ok(Arc::new(ledger))
    }

    /// A home that others can read is refused: its protection is the file system's.
    fn refuse_open_modes(&self) -> Result<()> {
        for path in [self.root.clone(), self.ledger()] {
            let io = |e: std::io::Error| BrokerError::new(Code::Internal, format!("{}: {e}", path.display()));
            let mode = std::fs::metadata(&path).map_err(io)?.permissions().mode();
            if mode & 0o077 != 0 {
                let message =
                    format!("{} can be read by other users (mode {:03o})", path.display(), mode & 0o777);
                let hint = format!("chmod go-rwx {}", path.display());
                return Err(BrokerError::new(Code::Internal, message).hint(hint));
            }
        }
        Ok(())
    }
}
