//! The audit log, verified while the broker runs, and once for all who ask at the same time: it reads the whole log.

use std::sync::{Arc, PoisonError};
use std::time::Instant;

use keywright_ledger::LedgerError;
use keywright_ledger::audit_files::verify_with;

use crate::broker::Broker;
use crate::error::{BrokerError, Code, Result};
use crate::passkey::signed_by_whom_it_says;

/// What verifying the audit log found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verified {
    /// How many entries there are.
    pub entries: u64,
    /// How many of them no signed head covers yet.
    pub unsigned: u64,
    /// What is wrong, in words; nothing where the log is sound.
    pub findings: Vec<String>,
}

/// The last time it was verified: since when, and what was found.
pub(crate) type Verifying = Arc<tokio::sync::Mutex<Option<(Instant, Verified)>>>;

impl Broker {
    /// Holds the audit log's files against the ledger and their signatures, by this home's own key, and what operators signed
    /// against what the entries say.
    ///
    /// # Errors
    /// When it can't be read.
    pub async fn verify_audit(&self) -> Result<Verified> {
        let asked = Instant::now();
        let mut last = Arc::clone(&self.verifying).lock_owned().await;
        // What began since somebody asked is as good for them.
        if let Some((began, verified)) = last.as_ref().filter(|(began, _)| *began >= asked) {
            tracing::debug!(ago = ?began.elapsed(), "the log was verified for somebody else meanwhile");
            return Ok(verified.clone());
        }
        let (dir, location) = (self.home().audit(), self.home().location()?);
        // Whoever changed the files could have changed the key beside them.
        let key = self.files.key().clone();
        // What this broker read before and the files no longer say.
        let forked = self.forked.read().unwrap_or_else(PoisonError::into_inner).clone();
        let forked = forked.map(|why| format!("it does not go on from what this broker knows: {why}"));
        // Whoever asked may be gone before it is done; the next one waits for it all the same.
        let work = move || -> std::result::Result<Verified, LedgerError> {
            let began = Instant::now();
            let report = verify_with(&dir, location, None, Some(&key), &signed_by_whom_it_says())?;
            let found = report.findings.iter().map(ToString::to_string);
            let mut findings: Vec<String> = forked.into_iter().chain(found).collect();
            if findings.is_empty() && !report.is_sound() {
                findings.push("it is not sound".to_owned());
            }
            let verified = Verified { entries: report.entries, unsigned: report.unsigned(), findings };
            *last = Some((began, verified.clone()));
            Ok(verified)
        };
        let internal = |error: &dyn std::fmt::Display| BrokerError::new(Code::Internal, error.to_string());
        let verified = tokio::task::spawn_blocking(work).await.map_err(|error| internal(&error))?;
        verified.map_err(|error| internal(&error))
    }
}
