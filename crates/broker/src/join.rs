//! A second home for a ledger that is there: another machine's broker works on it as well.

use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _};
use std::path::Path;

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
    /// the whole audit log is proved and published here, so that this home is one more that would notice if it changed. Nothing
    /// is left behind when it fails.
    ///
    /// # Errors
    /// When there is a home here already, the ledger is in a file or nobody's, the passphrase opens no slot, or the log is
    /// not sound.
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
        let was_there = self.root().exists();
        let joined = self.join_at(location, operator, passphrase, clock).await;
        if joined.is_err() {
            let left = if was_there { self.audit() } else { self.root().to_owned() };
            // The error that matters is the one above.
            let _ = std::fs::remove_dir_all(left);
        }
        joined
    }

    async fn join_at(
        &self,
        location: &Location,
        operator: Option<&OperatorName>,
        passphrase: Secret,
        clock: Clock,
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
        make(self.root())?;
        let files = AuditFiles::open(&self.audit(), &keyring)?;
        files.seen(&read)?;
        files.publish(&ledger).await?;
        self.set_location(location)?;
        Ok(operator.name)
    }
}

fn make(root: &Path) -> Result<()> {
    let io = |e: std::io::Error| BrokerError::new(Code::Internal, format!("{}: {e}", root.display()));
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(root).map_err(io)?;
    std::fs::set_permissions(root, std::fs::Permissions::from_mode(0o700)).map_err(io)
}
