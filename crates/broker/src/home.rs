//! The home: one directory that holds everything of one installation.
//!
//! ```text
//! HOME/  0700   config.toml   ledger.db (+ -wal, -shm)   broker.sock   audit/
//! ```
//! Where the ledger is on a server, `config.toml` says which, and there is no `ledger.db`.

use std::io::Write as _;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use keywright_core::name::OperatorName;
use keywright_core::plan::Principal;
use keywright_core::secret::Secret;
use keywright_ledger::seal::{MasterKey, SlotCost, random};
use keywright_ledger::{Clock, Ledger, LedgerError, Location, OperatorKeys};

use crate::admin::of_operator;
use crate::error::{BrokerError, Code, Result};
use crate::record::who;

/// The directory of one installation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Home {
    root: PathBuf,
    /// What the first operator's passphrase is stretched with.
    cost: SlotCost,
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
        Self { root: root.into(), cost: SlotCost::RECOMMENDED }
    }

    /// The same, whose first operator's passphrase is stretched at another cost. For tests, which make hundreds of homes; each
    /// slot keeps what it was made with.
    #[must_use]
    pub fn stretching(self, cost: SlotCost) -> Self {
        Self { cost, ..self }
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

    /// Where the ledger is: where `config.toml` says, or in the home's file.
    ///
    /// # Errors
    /// When `config.toml` can't be read or names no database.
    pub fn location(&self) -> Result<Location> {
        match self.settings()?.get("ledger").and_then(|ledger| ledger.get("url")) {
            None => Ok(Location::File(self.ledger())),
            Some(url) => {
                let url = url.as_str().ok_or_else(|| self.bad_setting(&"`ledger.url` is no text"))?;
                let address = url.parse().map_err(|error| self.bad_setting(&error))?;
                Ok(Location::Server(Box::new(address)))
            }
        }
    }

    /// Where a copy of the audit log's head is kept, outside of the home, if anywhere.
    ///
    /// # Errors
    /// When `config.toml` can't be read or names no such place.
    pub fn witness(&self) -> Result<Option<PathBuf>> {
        match self.settings()?.get("audit").and_then(|audit| audit.get("witness")) {
            None => Ok(None),
            Some(path) => match path.as_str().map(PathBuf::from).filter(|path| path.is_absolute()) {
                Some(path) => Ok(Some(path)),
                None => Err(self.bad_setting(&"`audit.witness` is no absolute path")),
            },
        }
    }

    /// Has the home use another ledger from here on.
    ///
    /// # Errors
    /// When `config.toml` can't be read or written.
    pub fn set_location(&self, location: &Location) -> Result<()> {
        let url = match location {
            Location::File(_) => None,
            Location::Server(address) => Some(("url", address.url())),
        };
        self.set("ledger", url)
    }

    /// Has the home keep a copy of the audit log's head there.
    ///
    /// # Errors
    /// When `config.toml` can't be read or written, or the path is no text.
    pub fn set_witness(&self, place: &Path) -> Result<()> {
        let place = place.to_str().ok_or_else(|| self.bad_setting(&"a path is no text"))?;
        self.set("audit", Some(("witness", place)))
    }

    /// The same for one of several homes of one ledger: in a directory of its own, because other homes may be told the same place.
    /// Gives that directory.
    ///
    /// # Errors
    /// As above.
    pub fn set_own_witness(&self, place: &Path) -> Result<PathBuf> {
        let own = place.join(self.broker_name(true)?);
        self.set_witness(&own)?;
        Ok(own)
    }

    fn settings(&self) -> Result<toml::Table> {
        match std::fs::read_to_string(self.config()) {
            Ok(text) => toml::from_str(&text).map_err(|error| self.bad_setting(&error.message())),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(toml::Table::new()),
            Err(error) => Err(self.bad_setting(&error)),
        }
    }

    fn bad_setting(&self, why: &dyn std::fmt::Display) -> BrokerError {
        BrokerError::new(Code::InvalidArgument, format!("{}: {why}", self.config().display()))
    }

    /// Writes a table of `config.toml`, or takes it out; the others stay.
    fn set(&self, name: &str, setting: Option<(&str, &str)>) -> Result<()> {
        let path = self.config();
        let io =
            |error: std::io::Error| BrokerError::new(Code::Internal, format!("{}: {error}", path.display()));
        let mut settings = self.settings()?;
        match setting {
            None => drop(settings.remove(name)),
            Some((key, value)) => {
                let table = toml::Table::from_iter([(key.to_owned(), value.into())]);
                settings.insert(name.to_owned(), toml::Value::Table(table));
            }
        }
        // The old one or the new one, whatever happens in between.
        let fresh = path.with_extension("new");
        let mut options = std::fs::OpenOptions::new();
        let mut file =
            options.write(true).create(true).truncate(true).mode(0o600).open(&fresh).map_err(io)?;
        file.write_all(settings.to_string().as_bytes()).and_then(|()| file.sync_all()).map_err(io)?;
        std::fs::rename(&fresh, &path).map_err(io)?;
        std::fs::File::open(&self.root).and_then(|root| root.sync_all()).map_err(io)
    }

    /// Whether `init` ran here.
    #[must_use]
    pub fn exists(&self) -> bool {
        self.ledger().exists() || !matches!(self.location(), Ok(Location::File(_)))
    }

    /// What this home's broker goes by among those that share a ledger: the same in each of its lives, and no other home's.
    ///
    /// # Errors
    /// When the home can't be read or written.
    pub(crate) fn broker_name(&self, is_shared: bool) -> Result<String> {
        if !is_shared {
            return Ok(format!("broker-{}", std::process::id()));
        }
        let path = self.root.join("broker");
        let io = |e: std::io::Error| BrokerError::new(Code::Internal, format!("{}: {e}", path.display()));
        match std::fs::read_to_string(&path) {
            Ok(name) if !name.trim().is_empty() => return Ok(name.trim().to_owned()),
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(io(error)),
            _ => {}
        }
        let digits: String = random::<6>()?.iter().map(|byte| format!("{byte:02x}")).collect();
        let name = format!("broker-{digits}");
        std::fs::write(&path, format!("{name}\n")).map_err(io)?;
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).map_err(io)?;
        Ok(name)
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
            Err(rustix::io::Errno::WOULDBLOCK) => {
                let message = format!("another broker or command works on {} right now", self.root.display());
                let busy = BrokerError { transient: true, ..BrokerError::new(Code::Conflict, message) };
                Err(busy.hint(
                    "there is one broker per home; stop it with `keywright stop`, or use it through its socket",
                ))
            }
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
        Ok(Ledger::open(&self.location()?, clock)?)
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
        self.init_with(&Location::File(self.ledger()), operator, passphrase, clock).await
    }

    /// The same with the ledger somewhere else.
    ///
    /// # Errors
    /// As above, or when the server can't be reached or its database holds a ledger already.
    pub async fn init_with(
        &self,
        location: &Location,
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
        let (name, instance, cost) = (operator.clone(), *random::<16>()?, self.cost);
        let keys = tokio::task::spawn_blocking(move || {
            let master = MasterKey::generate()?;
            let keys = OperatorKeys::seal(&name, &passphrase, &master, None, cost)?;
            Ok::<_, LedgerError>((keys, master.keyring(instance)))
        });
        let (keys, keyring) = keys.await.map_err(|e| BrokerError::new(Code::Internal, e.to_string()))??;
        let ledger = Ledger::open(location, clock)?;
        ledger.unlock(&keyring);
        let operator = operator.clone();
        let written = ledger
            .write(move |tx| {
                tx.set_instance(&instance)?;
                let mac = tx.add_operator(&operator, &keys, &keyring)?.to_string();
                let by = who(&Principal::Operator(operator.clone()));
                tx.audit(of_operator(tx.now(), by, &operator, &keys, &mac))
            })
            .await;
        if let (Err(LedgerError::Exists { what: "home", .. }), Location::Server(_)) = (&written, location) {
            return Err(BrokerError::new(Code::Conflict, "the database holds the ledger of a home already")
                .hint(
                    "name an empty database; or have this be one more home of that ledger: `keywright init --join --ledger URL`",
                ));
        }
        if let Err(error) = written {
            drop(ledger);
            for suffix in ["", "-wal", "-shm"] {
                // The error that matters is the one above.
                let _ = std::fs::remove_file(format!("{}{suffix}", self.ledger().display()));
            }
            return Err(LedgerError::into(error));
        }
        if matches!(location, Location::Server(_)) {
            self.set_location(location)?;
        }
        Ok(Arc::new(ledger))
    }

    /// A home that others can read is refused: its protection is the file system's.
    pub(crate) fn refuse_open_modes(&self) -> Result<()> {
        for path in [self.root.clone(), self.ledger(), self.config()].iter().filter(|path| path.exists()) {
            let io = |e: std::io::Error| BrokerError::new(Code::Internal, format!("{}: {e}", path.display()));
            let mode = std::fs::metadata(path).map_err(io)?.permissions().mode();
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
