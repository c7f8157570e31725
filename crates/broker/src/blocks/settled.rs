//! How it ended that a request waited, where nobody approved it: by the log, which has what policy said then and who turned it down.

use keywright_core::audit::Deed;
use keywright_core::id::RequestId;
use keywright_core::receipt::Status;
use keywright_core::text::Untrusted;
use keywright_ledger::{AuditFilter, LedgerError, StoredEntry, Tx};

use super::Lines;

/// Of a request that was turned down, or that nobody decided in time.
#[derive(Debug, Clone, Default)]
pub(super) struct Settled {
    /// What policy said when it was asked.
    policy: Vec<String>,
    /// Who turned it down, and when.
    by: Option<String>,
    /// Why, in their words.
    reason: Option<String>,
    /// It ran out of time.
    expired: Option<String>,
}

impl Settled {
    /// What the log says of it; nothing of one that waits or was approved.
    pub(super) fn of(
        tx: &Tx<'_>,
        request: RequestId,
        status: Status,
    ) -> std::result::Result<Self, LedgerError> {
        let mut settled = Self::default();
        if !matches!(status, Status::Rejected | Status::Expired) {
            return Ok(settled);
        }
        let filter = AuditFilter { request: Some(request), limit: 100, ..AuditFilter::default() };
        let entries: Vec<_> =
            tx.audit_entries(&filter)?.iter().map(StoredEntry::entry).collect::<Result<_, _>>()?;
        for record in entries.iter().map(|entry| entry.record()) {
            let at = record.at.strftime("%Y-%m-%dT%H:%M:%SZ");
            match (record.deed, &record.decision) {
                (Deed::RequestDecide, Some(decided)) => settled.policy.clone_from(&decided.reasons),
                (Deed::RequestReject, _) => {
                    let name = Untrusted::capped(&record.who.name, 64);
                    settled.by = Some(format!("by operator {name}, {at}"));
                    let because = record.facts.get("because").and_then(|why| why.as_str());
                    settled.reason = because.map(str::to_owned);
                }
                (Deed::RequestExpire, _) => {
                    let because = record.facts.get("because").and_then(|why| why.as_str());
                    let because = because.map(|why| Untrusted::capped(why, 300).to_string());
                    let why = because.unwrap_or_else(|| "nobody decided in time".to_owned());
                    settled.expired = Some(format!("{why}, {at}"));
                }
                _ => {}
            }
        }
        Ok(settled)
    }

    /// Why it stands as it does: policy's reasons under `because`, and beside them what a person said.
    pub(super) fn lines(&self, lines: Lines, reasons: &[String]) -> Lines {
        if self.by.is_none() && self.expired.is_none() {
            return lines.plain("because", reasons.iter().cloned());
        }
        lines
            .add("turned down", self.by.clone().unwrap_or_default())
            .said("their reason", self.reason.as_deref().unwrap_or_default())
            .add("expired", self.expired.clone().unwrap_or_default())
            .plain("because", self.policy.iter().cloned())
    }
}
