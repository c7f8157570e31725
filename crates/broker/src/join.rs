//! A second home for a ledger that is there: another machine's broker works on it as well.

use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use keywright_core::name::OperatorName;
use keywright_core::secret::Secret;
use keywright_ledger::audit_files::AuditFiles;
use keywright_ledger::{Clock, Ledger, LedgerError, Location};

use crate::broker::unlock;
use crate::error::{BrokerError, Code, Result};
use crate::home::Home;
use crate::rails::Rails;

impl Home {
    /// Makes a home whose ledger is one that other homes have, on a server. The passphrase of one of its operators opens it;
    /// the whole audit log is proved and published here, so that this home is one more that would notice if it changed. When it
    /// fails, nothing is left behind, and nothing is gone that was here before: files of the log that a lost home left are
    /// evidence, and the log has to go on from them.
    ///
    /// # Errors
    /// When there is a home here already or somebody works on it, the ledger is in a file or nobody's, the passphrase opens no
    /// slot, the log is not sound, or does not go on from what lies here.
    pub async fn join(
        &self,
        location: &Location,
        operator: Option<&OperatorName>,
        passphrase: Secret,
        clock: Clock,
    ) -> Result<OperatorName> {
        if self.exists() {
            let message = format!("there is a home at {} already", self.root().display());
            return Err(BrokerError::new(Code::Conflict, message)
                .hint("use it, or name another directory with --home"));
        }
        if matches!(location, Location::File(_)) {
            return Err(BrokerError::invalid("a ledger in a file belongs to one home")
                .hint("move it to a server first: `keywright ledger migrate --to postgres://...`"));
        }
        let mut made = None;
        let joined = self.join_at(location, operator, passphrase, clock, &mut made).await;
        if let (Err(_), Some(made)) = (&joined, made) {
            // The error that matters is the one above.
            let _ = std::fs::remove_dir_all(made);
        }
        joined
    }

    async fn join_at(
        &self,
        location: &Location,
        operator: Option<&OperatorName>,
        passphrase: Secret,
        clock: Clock,
        made: &mut Option<PathBuf>,
    ) -> Result<OperatorName> {
        let ledger = Ledger::open(location, clock)?;
        if ledger.read(|tx| tx.instance()).await.map_err(|error: LedgerError| error)?.is_none() {
            return Err(BrokerError::new(
                Code::Conflict,
                "the database holds no ledger yet; there is nothing to join",
            )
            .hint("`keywright init --ledger URL` makes one"));
        }
        let (slot, keyring, _) = unlock(&ledger, operator, passphrase).await?;
        ledger.unlock(&keyring);
        let operator = slot.vouched(&keyring)?;
        let (rails, read) = Rails::read(&ledger).await?;
        rails.check_row(&operator)?;
        if make(self.root())? {
            *made = Some(self.root().to_owned());
        }
        let _lock = self.lock()?;
        let audit = self.audit();
        let is_audit_made = make(&audit)?;
        if is_audit_made && made.is_none() {
            *made = Some(audit.clone());
        }
        let is_evidence = !is_audit_made && says_something(&audit)?;
        let contradicted = |error: LedgerError| match error {
            LedgerError::NotContinued { why } if is_evidence => contradicted(&audit, &why),
            other => other.into(),
        };
        let files = AuditFiles::open(&audit, &keyring).map_err(contradicted)?;
        if is_evidence && let Some(why) = files.lost(&ledger).await? {
            return Err(contradicted(LedgerError::NotContinued { why }));
        }
        files.seen(&read)?;
        files.publish(&ledger).await.map_err(contradicted)?;
        self.set_location(location)?;
        Ok(operator.name)
    }
}

/// What an earlier home's files of the log say against the log that is to be joined.
fn contradicted(audit: &Path, why: &str) -> BrokerError {
    let audit = audit.display();
    let message =
        format!("{audit} is of a home that was here before, and the log does not go on from it: {why}");
    BrokerError::new(Code::Conflict, message).hint(format!(
        "when the ledger is another one, or a backup that you put back, move {audit} away and join again; otherwise somebody cut or \
         changed the log: keep that directory, it is the evidence"
    ))
}

/// Sees to it that a directory is there, open to its owner only. Whether it was made.
fn make(dir: &Path) -> Result<bool> {
    let io = |e: std::io::Error| BrokerError::new(Code::Internal, format!("{}: {e}", dir.display()));
    let mut builder = std::fs::DirBuilder::new();
    if let Some(above) = dir.parent() {
        builder.recursive(true).mode(0o700).create(above).map_err(io)?;
    }
    let is_made = match builder.recursive(false).create(dir) {
        Ok(()) => true,
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists && dir.is_dir() => false,
        Err(error) => return Err(io(error)),
    };
    std::fs::set_permissions(dir, std::fs::Permissions::from_mode(0o700)).map_err(io)?;
    Ok(is_made)
}

/// Whether files of a log lie there: more than a key, which a join that failed may have left.
fn says_something(dir: &Path) -> Result<bool> {
    let io = |e: std::io::Error| BrokerError::new(Code::Internal, format!("{}: {e}", dir.display()));
    for found in std::fs::read_dir(dir).map_err(io)? {
        if found.map_err(io)?.file_name() != "vkey" {
            return Ok(true);
        }
    }
    Ok(false)
}
