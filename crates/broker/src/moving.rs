//! Moving a home's ledger to another engine. Nobody else works on the home meanwhile.

use std::path::{Path, PathBuf};

use keywright_core::name::OperatorName;
use keywright_core::secret::Secret;
use keywright_core::span::Span;
use keywright_ledger::audit_files::{AuditFiles, Report, verifier_key, verify};
use keywright_ledger::seal::Keyring;
use keywright_ledger::{Clock, Ledger, LedgerError, Location, Marks, Moved};

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
    /// Why it kept its own name, where it did. It is not used any more all the same.
    pub not_renamed: Option<String>,
    /// Other homes whose brokers worked on the old database, as far as it remembers them: they go on naming it.
    pub others: Vec<String>,
}

/// A broker that runs says so more often. One that was there so lately may still be.
const LATELY: Span = Span::from_seconds(120);

impl Home {
    /// Copies the ledger into an empty one, sees to it that all rows and the audit log are as they were written on both sides,
    /// and has the home use the new one. The old one stays as it is.
    ///
    /// A move that was stopped is done again from its beginning, or gone on with where the old ledger counts no more: said once
    /// more with the same target.
    ///
    /// # Errors
    /// When somebody works on the home or another home's broker on the ledger, the passphrase opens no slot, either ledger is not
    /// sound, or the target is not empty.
    pub async fn move_ledger(
        &self,
        to: &Location,
        operator: Option<&OperatorName>,
        passphrase: Secret,
        clock: Clock,
    ) -> Result<LedgerMoved> {
        let _lock = self.lock_existing()?;
        let from = self.location()?;
        if is_under_way(&from, to)? {
            return self.finish_move(&from, to, operator, passphrase, clock).await;
        }
        let new_file = match to {
            Location::File(path) if !path.exists() => Some(path),
            _ => None,
        };
        let ledger = self.open_ledger(Clock::clone(&clock))?;
        // From here on nobody else writes to it.
        ledger.claim().await?;
        let others = self.others(&ledger).await?;
        let (_, keyring, _) = unlock(&ledger, operator, passphrase).await?;
        let before = self.examined(&ledger, &from, &keyring).await?;
        let heard_by = match to {
            Location::File(_) => None,
            Location::Server(_) => Some(self.broker_name(true)?),
        };
        let done = async {
            let moved = ledger.copy_to(to, heard_by.as_deref()).await?;
            let new = Ledger::open_copy(to, clock)?;
            let after = self.examined(&new, to, &keyring).await?;
            if after.1.root != before.1.root || after.0 != before.0 {
                return Err(BrokerError::new(Code::Internal, "the copy is not what was copied"));
            }
            if let Err(error) = ledger.fold().await {
                // What is not in the file then is in its write-ahead log, which is kept with it.
                tracing::warn!(%error, "somebody else reads the old file");
            }
            // Another home, and a broker that was suspended, know the old database only. A file gets another name instead.
            if let Location::Server(_) = &from {
                self.retire(&ledger, &from, to, &moved).await?;
            }
            Ok(new)
        };
        let new = match done.await {
            Ok(new) => new,
            Err(error) => {
                if let Some(path) = new_file
                    && Marks::of(&from).is_ok_and(|marks| marks.moved.is_none())
                {
                    for suffix in ["", "-wal", "-shm"] {
                        // The error that matters is the one above.
                        let _ = std::fs::remove_file(format!("{}{suffix}", path.display()));
                    }
                }
                return Err(error);
            }
        };
        drop(ledger);
        let (rows, kept, not_renamed) = self.switch_to(&from, to, &new).await?;
        let (vouched, entries) = (before.0, before.1.entries);
        Ok(LedgerMoved { rows, vouched, entries, kept, not_renamed, others })
    }

    /// Has the old database say that everything was moved.
    async fn retire(&self, ledger: &Ledger, from: &Location, to: &Location, moved: &Moved) -> Result<()> {
        let (at, own) = (ledger.now().strftime("%Y-%m-%dT%H:%M:%SZ"), self.broker_name(true)?);
        let to = match to {
            Location::Server(server) => server.url().to_owned(),
            Location::File(_) => {
                format!("the file of the home that moved it, `{}`", keywright_core::text::escaped(&own))
            }
        };
        let Err(error) = ledger.retire(&format!("at {at} to {to}"), moved).await else { return Ok(()) };
        match Marks::of(from) {
            // Only the answer was lost.
            Ok(marks) if marks.moved.is_some() && marks.is_of(moved) => Ok(()),
            Ok(_) if matches!(error, LedgerError::Conflict { .. }) => {
                Err(BrokerError::from(error).hint(
                    "nothing was moved: another home's broker or command wrote to it meanwhile; stop it, and try it again",
                ))
            }
            Ok(_) => Err(error.into()),
            Err(_) => Err(BrokerError::from(error).hint(
                "nobody knows whether everything was moved: `keywright ledger migrate` with the same target finds out, and goes on",
            )),
        }
    }

    /// Goes on with a move that was stopped when the old ledger counted no more, or the home named the new one already.
    async fn finish_move(
        &self,
        from: &Location,
        to: &Location,
        operator: Option<&OperatorName>,
        passphrase: Secret,
        clock: Clock,
    ) -> Result<LedgerMoved> {
        self.refuse_open_modes()?;
        let new = Ledger::open_copy(to, clock)?;
        let (_, keyring, _) = unlock(&new, operator, passphrase).await?;
        if !Marks::of(to)?.is_arriving {
            // Other homes went on with it: that their log goes on from what lies here is proved, and published here too.
            new.unlock(&keyring);
            let files = AuditFiles::open(&self.audit(), &keyring)?;
            if let Some(why) = files.lost(&new).await? {
                return Err(LedgerError::NotContinued { why }.into());
            }
            files.publish(&new).await?;
        }
        let (vouched, report) = self.examined(&new, to, &keyring).await?;
        let (rows, kept, not_renamed) = self.switch_to(from, to, &new).await?;
        Ok(LedgerMoved { rows, vouched, entries: report.entries, kept, not_renamed, others: Vec::new() })
    }

    /// The home names the new ledger from here on, which is used then; the old one, where it is a file, gets another name. How many
    /// rows there are, and what became of the file.
    async fn switch_to(
        &self,
        from: &Location,
        to: &Location,
        new: &Ledger,
    ) -> Result<(u64, Option<PathBuf>, Option<String>)> {
        let again = "everything was copied; what is missing is done by `keywright ledger migrate` with the same target";
        self.set_location(to).map_err(|error| error.hint(again))?;
        // A home that names a copy says so, and how to go on; a copy that is used and that no home names would be in the way.
        let rows = new.arrived().await.map_err(|error| BrokerError::from(error).hint(again))?;
        let old = match (from, to) {
            (Location::File(path), Location::Server(_)) => path.clone(),
            // It was named already when the move was stopped.
            (Location::Server(_), Location::Server(_)) if from == to => self.ledger(),
            _ => return Ok((rows, None, None)),
        };
        if !old.exists() {
            return Ok((rows, None, None));
        }
        let kept = free_name(&old);
        // The move is done, whatever becomes of the name.
        Ok(match rename(&old, &kept) {
            Ok(()) => (rows, Some(kept), None),
            Err(error) => (rows, Some(old), Some(error.to_string())),
        })
    }

    /// The other homes whose brokers worked on the ledger, none of them just now.
    async fn others(&self, ledger: &Ledger) -> Result<Vec<String>> {
        if !ledger.is_shared() {
            return Ok(Vec::new());
        }
        let (own, now) = (self.broker_name(true)?, ledger.now());
        let mut others = ledger.read(|tx| tx.listeners()).await.map_err(|error: LedgerError| error)?;
        others.retain(|(name, _)| *name != own);
        if let Some((name, listened)) = others.iter().find(|(_, listened)| LATELY.after(listened.until) > now)
        {
            let message = format!(
                "another home's broker, `{}`, worked on this ledger at {}",
                keywright_core::text::escaped(name),
                listened.until.strftime("%Y-%m-%dT%H:%M:%SZ")
            );
            return Err(BrokerError::new(Code::Conflict, message).hint(
                "it would go on with the old one, and what it writes there would be lost: stop it there with `keywright stop`, and \
                 try again two minutes later",
            ));
        }
        Ok(others.into_iter().map(|(name, _)| name).collect())
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

/// Whether a move from the one to the other was stopped when there was no way back any more.
///
/// # Errors
/// When the ledger is there already or was moved to another place, or a file lies where it would go.
fn is_under_way(from: &Location, to: &Location) -> Result<bool> {
    let there = Marks::of(to);
    if from == to {
        return match there?.is_arriving {
            true => Ok(true),
            false => Err(BrokerError::new(Code::Conflict, "the ledger is there already")),
        };
    }
    let here = Marks::of(from)?;
    if let Some(note) = here.moved.clone() {
        return match there {
            Ok(there) if here.is_of_one_move(&there) => Ok(true),
            Err(error @ LedgerError::Unreachable(_)) => Err(error.into()),
            _ => Err(LedgerError::Moved { note }.into()),
        };
    }
    match to {
        // What a move left that was stopped is made anew.
        Location::File(path)
            if path.exists() && !there.as_ref().is_ok_and(|there| there.is_arriving || !there.is_a_homes) =>
        {
            let message = format!("there is a file {} already", path.display());
            Err(BrokerError::new(Code::Conflict, message).hint("move it away"))
        }
        Location::File(_) => Ok(false),
        Location::Server(_) => there.map(|_| false).map_err(BrokerError::from),
    }
}

/// A name for the old file that nothing has yet: that of an earlier move is kept.
fn free_name(path: &Path) -> PathBuf {
    let first = path.with_extension("db.moved");
    let more = (2u32..).map(|number| path.with_extension(format!("db.moved-{number}")));
    // There are more numbers than files.
    std::iter::once(first).chain(more).find(|name| !name.exists()).unwrap_or_else(|| path.to_owned())
}

/// Gives a ledger's file another name, with what belongs to it; or leaves all as it is.
fn rename(path: &Path, to: &Path) -> std::io::Result<()> {
    std::fs::rename(path, to)?;
    for suffix in ["-wal", "-shm"] {
        let named = |path: &Path| PathBuf::from(format!("{}{suffix}", path.display()));
        match std::fs::rename(named(path), named(to)) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                // What is in the one is nothing without the other.
                std::fs::rename(to, path)?;
                return Err(error);
            }
            _ => {}
        }
    }
    Ok(())
}
