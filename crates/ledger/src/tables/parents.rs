//! Parent credentials that get a successor: one at a time for each connection.
//!
//! As a saga, each is leased to the broker that works on it, by the database's clock; every claim counts the fence up, and whoever
//! was claimed from meanwhile writes nothing.

use std::collections::BTreeSet;

use jiff::Timestamp;
use keywright_core::id::AttemptId;
use keywright_core::name::ConnectionName;
use keywright_core::provider::Parent;
use keywright_core::span::Span;

use crate::error::{LedgerError, Result};
use crate::sql::{Facts, Row, Tx, Value, json, too_far};

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
    /// Counts claims.
    pub fence: u64,
    /// Since when the successor is in force, by the database's clock.
    pub switched_at: Option<Timestamp>,
    /// Since when nothing is left to be done.
    pub ended_at: Option<Timestamp>,
}

pub(crate) const FACTS: Facts =
    Facts { table: "parents", what: "parent's successor", count: 6, columns: COLUMNS };
const COLUMNS: &str = "id, connection, marker, parent, beside, sent_at, phase, tries, trouble, fence, switched_at, ended_at, \
     mac";
/// Nobody works on it. `$1` is the time by which leases go, and `$2` further ahead of it than anything is leased.
const FREE: &str = "ended_at IS NULL AND (lease_until IS NULL OR lease_until <= $1 OR lease_until > $2)";

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
            tries: row.count_if(7),
            trouble: row.text_if(8).map(str::to_owned),
            fence: row.count(9)?,
            switched_at: row.time_if(10),
            ended_at: row.time_if(11),
        })
    }

    fn facts(&self) -> Result<Vec<Value>> {
        Ok(vec![
            Value::text(self.id),
            Value::text(&self.connection),
            self.marker.as_str().into(),
            self.parent.id.as_str().into(),
            json(&self.parent.beside)?,
            self.sent_at.into(),
        ])
    }
}

impl Tx<'_> {
    /// Records that a successor is about to be made, by `owner`, who has it for `lease`.
    ///
    /// # Errors
    /// [`LedgerError::Exists`] when one is under way for this connection.
    pub fn add_renewal(&self, new: &ParentRenewal, owner: &str, lease: Span) -> Result<()> {
        let until = lease.after(self.common_now()?);
        let state =
            [new.phase.as_str().into(), self.now().into(), new.fence.into(), owner.into(), until.into()];
        let rows = self.execute(
            "INSERT INTO parents (id, connection, marker, parent, beside, sent_at, phase, due_at, fence, owner, \
             lease_until, mac) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12) ON CONFLICT DO NOTHING",
            &FACTS.with(self, new.facts()?, state)?,
        )?;
        match rows {
            0 => Err(LedgerError::Exists {
                what: "successor under way of connection",
                name: new.connection.to_string(),
            }),
            _ => Ok(()),
        }
    }

    /// Claims one for `lease`. None when somebody else works on it, or it is over.
    ///
    /// # Errors
    /// When the ledger can't be written.
    pub fn claim_renewal(&self, id: AttemptId, owner: &str, lease: Span) -> Result<Option<ParentRenewal>> {
        let now = self.common_now()?;
        let rows = self.execute(
            &format!(
                "UPDATE parents SET owner = $3, fence = fence + 1, lease_until = $4 WHERE id = $5 AND {FREE}"
            ),
            &[now.into(), too_far(now).into(), owner.into(), lease.after(now).into(), Value::text(id)],
        )?;
        if rows == 0 { Ok(None) } else { self.renewal(id) }
    }

    /// Prolongs the lease of one that is being worked on.
    ///
    /// # Errors
    /// When the ledger can't be written.
    pub fn keep_renewal(&self, renewal: &ParentRenewal, lease: Span) -> Result<()> {
        let until = lease.after(self.common_now()?);
        self.execute(
            "UPDATE parents SET lease_until = $3 WHERE id = $1 AND fence = $2 AND owner IS NOT NULL",
            &[Value::text(renewal.id), renewal.fence.into(), until.into()],
        )?;
        Ok(())
    }

    /// Frees one. Nothing where somebody else has it by now.
    ///
    /// # Errors
    /// When the ledger can't be written.
    pub fn let_go_renewal(&self, renewal: &ParentRenewal) -> Result<()> {
        self.execute(
            "UPDATE parents SET owner = NULL, lease_until = NULL WHERE id = $1 AND fence = $2",
            &[Value::text(renewal.id), renewal.fence.into()],
        )?;
        Ok(())
    }

    /// Frees what an owner worked on that is known to be dead; where one broker works on a ledger, whoever it was.
    ///
    /// # Errors
    /// When the ledger can't be written.
    pub fn release_renewals(&self, owner: Option<&str>) -> Result<()> {
        let whose = if owner.is_some() { "owner = $1" } else { "(owner = $1 OR owner IS NOT NULL)" };
        let sql =
            format!("UPDATE parents SET owner = NULL, lease_until = NULL WHERE ended_at IS NULL AND {whose}");
        self.execute(&sql, &[Value::maybe(owner)]).map(drop)
    }

    /// Checks, before something is done that can't be taken back, that it is still ours and where it was.
    ///
    /// # Errors
    /// [`LedgerError::Conflict`] when it is not.
    pub fn still_renews(&self, renewal: &ParentRenewal) -> Result<()> {
        let row = self.first(
            "SELECT 1 FROM parents WHERE id = $1 AND phase = $2 AND fence = $3",
            &[Value::text(renewal.id), renewal.phase.as_str().into(), renewal.fence.into()],
        )?;
        row.map(|_| ()).ok_or(LedgerError::Conflict { what: "parent's successor" })
    }

    /// Until when other brokers may still work with the parent before, if a call takes `longest` at most.
    ///
    /// # Errors
    /// When the ledger can't be read.
    pub fn parent_used_until(&self, renewal: &ParentRenewal, longest: Span) -> Result<Option<Timestamp>> {
        let (now, until) = (self.common_now()?, renewal.switched_at.map(|at| longest.after(at)));
        // A clock that went back since tells nothing.
        let latest = longest.after(longest.after(now));
        Ok(until.filter(|until| now < *until && *until <= latest))
    }

    /// Knows that a credential is none that the attempt made: a person gave it in.
    ///
    /// # Errors
    /// [`LedgerError::Conflict`] when somebody else works on it by now.
    pub fn spare(&self, renewal: &ParentRenewal, provider_key_id: &str) -> Result<()> {
        let mut knowing = renewal.clone();
        knowing.parent.beside.insert(provider_key_id.to_owned());
        let mac = FACTS.mac(self, &knowing.facts()?)?;
        let rows = self.execute(
            "UPDATE parents SET beside = $3, mac = $4 WHERE id = $1 AND fence = $2",
            &[Value::text(renewal.id), renewal.fence.into(), json(&knowing.parent.beside)?, mac],
        )?;
        if rows == 0 { Err(LedgerError::Conflict { what: "parent's successor" }) } else { Ok(()) }
    }

    /// What is under way for a connection. A row that was edited is none.
    ///
    /// # Errors
    /// When the ledger can't be read.
    pub fn renewal_of(&self, connection: &ConnectionName) -> Result<Option<ParentRenewal>> {
        let sql = format!("SELECT {COLUMNS} FROM parents WHERE connection = $1 AND ended_at IS NULL");
        Ok(self.first_sound(&sql, &[Value::text(connection)], 1, ParentRenewal::read)?.pop())
    }

    /// One of them, by its attempt. A row that was edited is none.
    ///
    /// # Errors
    /// When the ledger can't be read.
    pub fn renewal(&self, id: AttemptId) -> Result<Option<ParentRenewal>> {
        let sql = format!("SELECT {COLUMNS} FROM parents WHERE id = $1");
        Ok(self.sound(&self.query(&sql, &[Value::text(id)])?, ParentRenewal::read)?.pop())
    }

    /// Those whose next step is due, and that nobody works on.
    ///
    /// # Errors
    /// When the ledger can't be read.
    pub fn renewals_due(&self) -> Result<Vec<ParentRenewal>> {
        let sql = format!(
            "SELECT {COLUMNS} FROM parents WHERE {FREE} AND (due_at <= $3 OR due_at > $4) ORDER BY due_at"
        );
        let now = self.common_now()?;
        let times = [now.into(), too_far(now).into(), self.now().into(), self.too_far().into()];
        self.first_sound(&sql, &times, 100, ParentRenewal::read)
    }

    /// How many are under way.
    ///
    /// # Errors
    /// When the ledger can't be read.
    pub fn renewals_open(&self) -> Result<u64> {
        let row = self.first("SELECT COUNT(*) FROM parents WHERE ended_at IS NULL", &[])?;
        row.map_or(Ok(0), |row| row.count(0))
    }

    /// Moves one to its next phase, under its fence; that is due at once. `why` is what it goes back for.
    ///
    /// # Errors
    /// [`LedgerError::Conflict`] when it is in another phase by now, or somebody else works on it.
    pub fn move_renewal(&self, renewal: &ParentRenewal, to: RenewalPhase, why: Option<&str>) -> Result<()> {
        let from = renewal.phase;
        debug_assert!(from.may_become(to), "{from:?} to {to:?}");
        let ended = to.is_over().then(|| self.now());
        let switched = if to == RenewalPhase::Switched { Some(self.common_now()?) } else { None };
        let free = if to.is_over() { ", owner = NULL, lease_until = NULL" } else { "" };
        let sql = format!(
            "UPDATE parents SET phase = $4, due_at = $5, tries = 0, trouble = $6, ended_at = $7, \
             switched_at = COALESCE(CAST($8 AS BIGINT), switched_at){free} WHERE id = $1 AND phase = $2 AND fence = $3"
        );
        let rows = self.execute(
            &sql,
            &[
                Value::text(renewal.id),
                from.as_str().into(),
                renewal.fence.into(),
                to.as_str().into(),
                self.now().into(),
                Value::maybe(why),
                ended.into(),
                switched.into(),
            ],
        )?;
        match rows {
            0 => Err(LedgerError::Conflict { what: "parent's successor" }),
            _ => Ok(()),
        }
    }

    /// Frees one, notes what stands in the way, and when it is tried again. Nothing where somebody else has it by now.
    ///
    /// # Errors
    /// When the ledger can't be written.
    pub fn postpone_renewal(&self, renewal: &ParentRenewal, until: Timestamp, trouble: &str) -> Result<()> {
        self.execute(
            "UPDATE parents SET owner = NULL, lease_until = NULL, tries = tries + 1, due_at = $3, trouble = $4 \
             WHERE id = $1 AND fence = $2 AND ended_at IS NULL",
            &[Value::text(renewal.id), renewal.fence.into(), until.into(), trouble.into()],
        )?;
        Ok(())
    }
}
