//! Who leads, where several brokers write to one database: what has no lease of its own is done by one of them.

use keywright_core::span::Span;

use crate::error::{LedgerError, Result};
use crate::sql::Tx;

/// A broker's lead in some work, under the fence that it was taken with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lead {
    /// In what.
    pub work: &'static str,
    /// Whose.
    pub owner: String,
    /// Counts changes of hands.
    pub fence: u64,
}

impl Tx<'_> {
    /// Whether somebody could take the lead now, where it is taken for `lease` at a time. One that lasts longer than that was
    /// written by a database whose clock was ahead, or by nobody who may, and holds up nobody.
    ///
    /// # Errors
    /// When the ledger can't be read.
    pub fn lead_is_free(&self, work: &str, lease: Span) -> Result<bool> {
        let row = self.first("SELECT expires_at FROM leads WHERE work = $1", &[work.into()])?;
        let until = row.map(|row| row.time(0)).transpose()?;
        let Some(until) = until else { return Ok(true) };
        let now = self.common_now()?;
        Ok(until <= now || until > lease.after(now))
    }

    /// Takes the lead for a while, by the database's clock. None when somebody else has it.
    ///
    /// # Errors
    /// When the ledger can't be written.
    pub fn take_lead(&self, work: &'static str, owner: &str, lease: Span) -> Result<Option<Lead>> {
        let now = self.common_now()?;
        if !self.lead_is_free(work, lease)? {
            return Ok(None);
        }
        let sql = "INSERT INTO leads (work, owner, fence, expires_at) VALUES ($1, $2, 1, $3) ON CONFLICT (work) DO UPDATE \
                   SET owner = $2, fence = leads.fence + 1, expires_at = $3";
        self.execute(sql, &[work.into(), owner.into(), lease.after(now).into()])?;
        let row = self.first("SELECT fence FROM leads WHERE work = $1", &[work.into()])?;
        let row = row.ok_or(LedgerError::Missing { what: "lead", name: work.to_owned() })?;
        Ok(Some(Lead { work, owner: owner.to_owned(), fence: row.count(0)? }))
    }

    /// Keeps the lead for another while.
    ///
    /// # Errors
    /// [`LedgerError::Conflict`] when somebody else has taken it.
    pub fn keep_lead(&self, lead: &Lead, lease: Span) -> Result<()> {
        let until = lease.after(self.common_now()?);
        let sql = "UPDATE leads SET expires_at = $4 WHERE work = $1 AND owner = $2 AND fence = $3";
        let of = [lead.work.into(), lead.owner.as_str().into(), lead.fence.into(), until.into()];
        if self.execute(sql, &of)? == 0 { Err(LedgerError::Conflict { what: "the lead" }) } else { Ok(()) }
    }

    /// Gives up one lead, if it is still this one.
    ///
    /// # Errors
    /// When the ledger can't be written.
    pub fn give_up_lead(&self, lead: &Lead) -> Result<()> {
        let sql = "UPDATE leads SET expires_at = 0 WHERE work = $1 AND owner = $2 AND fence = $3";
        self.execute(sql, &[lead.work.into(), lead.owner.as_str().into(), lead.fence.into()])?;
        Ok(())
    }

    /// Gives up whatever an owner led in, whose process is over.
    ///
    /// # Errors
    /// When the ledger can't be written.
    pub fn give_up_leads(&self, owner: &str) -> Result<()> {
        self.execute("UPDATE leads SET expires_at = 0 WHERE owner = $1", &[owner.into()])?;
        Ok(())
    }

    /// Checks, inside a transaction that writes what came of the work, that nobody else leads by now.
    ///
    /// # Errors
    /// [`LedgerError::Conflict`] when somebody does.
    pub fn still_leads(&self, lead: &Lead) -> Result<()> {
        let sql = "SELECT 1 FROM leads WHERE work = $1 AND owner = $2 AND fence = $3";
        let row = self.first(sql, &[lead.work.into(), lead.owner.as_str().into(), lead.fence.into()])?;
        row.map(|_| ()).ok_or(LedgerError::Conflict { what: "the lead" })
    }
}
