//! Parent credentials that get a successor: one at a time for each connection.

use std::collections::BTreeSet;

use jiff::Timestamp;
use keywright_core::id::AttemptId;
use keywright_core::name::ConnectionName;
use keywright_core::provider::Parent;

use crate::error::{LedgerError, Result};
use crate::sql::{Facts, Row, Tx, Value, json};

/// How far it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RenewalPhase {
    /// The create was sent, or is about to be; what it made is not known.
    Sent,
    /// The successor is sealed here and not in force yet.
    Sealed,
    /// The successor is not taken, and has to go.
    Undoing,
    /// The successor is in force; the parent before it has to go.
    Switched,
    /// The parent before it is gone.
    Done,
    /// Nothing changed, and nothing was left behind.
    Failed,
}

/// One try to give a connection another parent credential.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ParentRenewal {
    /// Which attempt: its marker names it.
    pub id: AttemptId,
    /// Of which connection.
    pub connection: ConnectionName,
    /// The successor's name at the provider, or its beginning.
    pub marker: String,
    /// What is replaced, and what stood beside it.
    pub parent: Parent,
    /// Since when a create may have been sent.
    pub sent_at: Timestamp,
    /// How far it is.
    pub phase: RenewalPhase,
    /// How often the next step was tried.
    pub tries: u64,
    /// What stands in its way.
    pub trouble: Option<String>,
}

pub(crate) const FACTS: Facts =
    Facts { table: "parents", what: "parent's successor", count: 6, columns: COLUMNS };
const COLUMNS: &str =
    "id, connection, marker, parent, beside, sent_at, phase, tries, trouble, due_at, ended_at, mac";

impl RenewalPhase {
    const ALL: [Self; 6] =
        [Self::Sent, Self::Sealed, Self::Undoing, Self::Switched, Self::Done, Self::Failed];

    /// The word in the ledger.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Sent => "sent",
            Self::Sealed => "sealed",
            Self::Undoing => "undoing",
            Self::Switched => "switched",
            Self::Done => "done",
            Self::Failed => "failed",
        }
    }

    /// Whether nothing is left to be done.
    #[must_use]
    pub fn is_over(self) -> bool {
        matches!(self, Self::Done | Self::Failed)
    }

    /// Whether this may come next: before the switch it may go back, after it only forward.
    #[must_use]
    pub fn may_become(self, next: Self) -> bool {
        matches!(
            (self, next),
            (Self::Sent, Self::Sealed | Self::Failed)
                | (Self::Sealed, Self::Switched | Self::Undoing)
                | (Self::Undoing, Self::Failed)
                | (Self::Switched, Self::Done)
                // One that was given up was seen alive.
                | (Self::Failed, Self::Sent)
        )
    }
}

impl ParentRenewal {
    fn read(tx: &Tx<'_>, row: &Row) -> Result<Self> {
        FACTS.check(tx, row)?;
        let phase = row.text(6)?;
        let phase = RenewalPhase::ALL.into_iter().find(|known| known.as_str() == phase);
        let beside: BTreeSet<String> = row.json(4, "parent's successor")?;
        Ok(Self {
            id: row.parse(0, "attempt id")?,
            connection: row.parse(1, "connection name")?,
            marker: row.text(2)?.to_owned(),
            parent: Parent { id: row.text(3)?.to_owned(), beside },
            sent_at: row.time(5)?,
            phase: phase.ok_or(LedgerError::Damaged { what: "phase of a parent's successor" })?,
            tries: row.count(7)?,
            trouble: row.maybe_text(8)?.map(str::to_owned),
        })
    }
}

impl Tx<'_> {
    /// Records that a successor is about to be made.
    ///
    /// # Errors
    /// [`LedgerError::Exists`] when one is under way for this connection.
    pub fn add_renewal(&self, new: &ParentRenewal) -> Result<()> {
        let facts = vec![
            Value::text(new.id),
            Value::text(&new.connection),
            new.marker.as_str().into(),
            new.parent.id.as_str().into(),
            json(&new.parent.beside)?,
            new.sent_at.into(),
        ];
        let rows = self.execute(
            "INSERT INTO parents (id, connection, marker, parent, beside, sent_at, phase, due_at, mac) \
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9) ON CONFLICT DO NOTHING",
            &FACTS.with(self, facts, [new.phase.as_str().into(), self.now().into()])?,
        )?;
        match rows {
            0 => Err(LedgerError::Exists {
                what: "successor under way of connection",
                name: new.connection.to_string(),
            }),
            _ => Ok(()),
        }
    }

    /// What is under way for a connection.
    ///
    /// # Errors
    /// When the ledger can't be read.
    pub fn renewal_of(&self, connection: &ConnectionName) -> Result<Option<ParentRenewal>> {
        let sql = format!("SELECT {COLUMNS} FROM parents WHERE connection = $1 AND ended_at IS NULL");
        let row = self.first(&sql, &[Value::text(connection)])?;
        row.map(|row| ParentRenewal::read(self, &row)).transpose()
    }

    /// One of them, by its attempt.
    ///
    /// # Errors
    /// When the ledger can't be read.
    pub fn renewal(&self, id: AttemptId) -> Result<Option<ParentRenewal>> {
        let sql = format!("SELECT {COLUMNS} FROM parents WHERE id = $1");
        let row = self.first(&sql, &[Value::text(id)])?;
        row.map(|row| ParentRenewal::read(self, &row)).transpose()
    }

    /// Those whose next step is due.
    ///
    /// # Errors
    /// When the ledger can't be read.
    pub fn renewals_due(&self) -> Result<Vec<ParentRenewal>> {
        let sql = format!(
            "SELECT {COLUMNS} FROM parents WHERE ended_at IS NULL AND (due_at <= $1 OR due_at > $2) \
             ORDER BY due_at LIMIT 100"
        );
        self.sound(&self.query(&sql, &[self.now().into(), self.too_far().into()])?, ParentRenewal::read)
    }

    /// How many are under way.
    ///
    /// # Errors
    /// When the ledger can't be read.
    pub fn renewals_open(&self) -> Result<u64> {
        let row = self.first("SELECT COUNT(*) FROM parents WHERE ended_at IS NULL", &[])?;
        row.map_or(Ok(0), |row| row.count(0))
    }

    /// Moves one to its next phase, which is due at once; `why` is what it goes back for.
    ///
    /// # Errors
    /// [`LedgerError::Conflict`] when it is in another phase by now.
    pub fn move_renewal(
        &self,
        id: AttemptId,
        from: RenewalPhase,
        to: RenewalPhase,
        why: Option<&str>,
    ) -> Result<()> {
        debug_assert!(from.may_become(to), "{from:?} to {to:?}");
        let ended = to.is_over().then(|| self.now());
        let rows = self.execute(
            "UPDATE parents SET phase = $3, due_at = $4, tries = 0, trouble = $6, ended_at = $5 \
             WHERE id = $1 AND phase = $2",
            &[
                Value::text(id),
                from.as_str().into(),
                to.as_str().into(),
                self.now().into(),
                ended.map_or(Value::Null, Value::from),
                Value::maybe(why),
            ],
        )?;
        match rows {
            0 => Err(LedgerError::Conflict { what: "parent's successor" }),
            _ => Ok(()),
        }
    }

    /// Notes what stands in the way, and when it is tried again.
    ///
    /// # Errors
    /// When the ledger can't be written.
    pub fn postpone_renewal(&self, id: AttemptId, until: Timestamp, trouble: &str) -> Result<()> {
        self.execute(
            "UPDATE parents SET tries = tries + 1, due_at = $2, trouble = $3 WHERE id = $1 AND ended_at IS NULL",
            &[Value::text(id), until.into(), trouble.into()],
        )?;
        Ok(())
    }
}
