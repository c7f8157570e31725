//! Sagas, their leases and their fences.
//!
//! A runner claims a saga for a while; every claim counts the fence up, and every phase write names the fence and
//! the phase that it expects. A runner that was paused and wakes up late therefore writes nothing. Leases go by the database's
//! clock. Until when a saga rests that nobody owns goes by the broker's.

use jiff::Timestamp;
use keywright_core::id::{AttemptId, KeyId, RequestId, SagaId};
use keywright_core::name::ConnectionName;
use keywright_core::plan::Digest;
use keywright_core::saga::{Phase, SagaKind};
use keywright_core::span::Span;

use super::{none_of, one_of};
use crate::error::{LedgerError, Result};
use crate::sql::{Facts, Row, Tx, Value, too_far};

/// A saga as its row says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Saga {
    /// Its id.
    pub id: SagaId,
    /// What it is for.
    pub kind: SagaKind,
    /// The request behind it.
    pub request: RequestId,
    /// The key that it works on.
    pub key: KeyId,
    /// Where it stands.
    pub phase: Phase,
    /// The current attempt.
    pub attempt: AttemptId,
    /// The digest of the plan that was authorised.
    pub digest: Digest,
    /// Counts claims.
    pub fence: u64,
    /// How often the present phase was tried.
    pub tries: u64,
    /// What went wrong last.
    pub trouble: Option<String>,
    /// Why somebody wants it to end without its key.
    pub ends: Option<String>,
}

/// A saga about to begin.
#[derive(Debug, Clone)]
pub struct NewSaga {
    /// Its id.
    pub id: SagaId,
    /// What it is for.
    pub kind: SagaKind,
    /// The request behind it.
    pub request: RequestId,
    /// The key that it works on.
    pub key: KeyId,
    /// The first attempt.
    pub attempt: AttemptId,
    /// The digest of the plan that was authorised.
    pub digest: Digest,
}

pub(crate) const FACTS: Facts = Facts { table: "sagas", what: "saga", count: 5, columns: COLUMNS };
/// Not leased. `$1` is the broker's time, by which pauses go, and `$2` the time by which leases go, the database's where several
/// brokers write; `$3` and `$4` are further ahead of each than anything is put off or leased.
const FREE: &str = "(lease_until IS NULL \
     OR lease_until <= CASE WHEN owner IS NULL THEN CAST($1 AS BIGINT) ELSE CAST($2 AS BIGINT) END \
     OR lease_until > CASE WHEN owner IS NULL THEN CAST($3 AS BIGINT) ELSE CAST($4 AS BIGINT) END)";
const COLUMNS: &str = "id, kind, request, key_id, digest, phase, attempt, fence, tries, trouble, ends, mac";

impl Saga {
    fn read(tx: &Tx<'_>, row: &Row) -> Result<Self> {
        FACTS.check(tx, row)?;
        Ok(Self {
            id: row.parse(0, "saga id")?,
            kind: row.state(1, SagaKind::parse)?,
            request: row.parse(2, "request id")?,
            key: row.parse(3, "key id")?,
            digest: Digest::from_hex(row.text(4)?).ok_or(LedgerError::Damaged { what: "plan digest" })?,
            phase: row.state(5, Phase::parse)?,
            attempt: row.parse(6, "attempt id")?,
            fence: row.count(7)?,
            tries: row.count_if(8),
            trouble: row.text_if(9).map(str::to_owned),
            ends: row.text_if(10).map(str::to_owned),
        })
    }
}

/// Sagas that are left out of a look.
#[derive(Debug, Clone, Default)]
pub struct Besides {
    /// These.
    pub sagas: Vec<SagaId>,
    /// All that go through one of these connections.
    pub connections: Vec<ConnectionName>,
}

impl Besides {
    /// The condition, whose parameters are those from `first` on.
    fn condition(&self, first: usize) -> (String, Vec<Value>) {
        let (mut sql, mut values) = none_of("id", &self.sagas, first);
        if !self.connections.is_empty() {
            let (through, connections) = none_of("k.connection", &self.connections, first + values.len());
            // For each that is due, until there are enough: few are, and keys are many.
            sql.push_str(&format!(" AND EXISTS (SELECT 1 FROM keys k WHERE k.id = sagas.key_id{through})"));
            values.extend(connections);
        }
        (sql, values)
    }
}

impl Tx<'_> {
    /// Begins a saga: due at once, owned by nobody.
    ///
    /// # Errors
    /// When the ledger can't be written; [`LedgerError::Exists`] for a second rotation of one key.
    pub fn add_saga(&self, new: &NewSaga) -> Result<()> {
        let facts = vec![
            Value::text(new.id),
            Value::text(new.kind),
            Value::text(new.request),
            Value::text(new.key),
            Value::text(new.digest),
        ];
        let state = [Value::text(Phase::Intent), Value::text(new.attempt), self.now().into()];
        let rows = self.execute(
            "INSERT INTO sagas (id, kind, request, key_id, digest, phase, attempt, fence, due_at, tries, created_at, mac) \
             VALUES ($1, $2, $3, $4, $5, $6, $7, 0, $8, 0, $8, $9) ON CONFLICT DO NOTHING",
            &FACTS.with(self, facts, state)?,
        )?;
        if rows == 0 {
            return Err(LedgerError::Exists { what: "saga under way for key", name: new.key.to_string() });
        }
        Ok(())
    }

    /// One saga.
    ///
    /// # Errors
    /// [`LedgerError::Missing`].
    pub fn saga(&self, id: SagaId) -> Result<Saga> {
        let sql = format!("SELECT {COLUMNS} FROM sagas WHERE id = $1");
        let row = self.first(&sql, &[Value::text(id)])?;
        row.map(|row| Saga::read(self, &row))
            .transpose()?
            .ok_or_else(|| LedgerError::Missing { what: "saga", name: id.to_string() })
    }

    /// The saga of a request, if it has begun.
    ///
    /// # Errors
    /// When the ledger can't be read.
    pub fn saga_of(&self, request: RequestId) -> Result<Option<Saga>> {
        let sql = format!(
            "SELECT {COLUMNS} FROM sagas WHERE request = $1 ORDER BY created_at DESC, id DESC LIMIT 1"
        );
        self.first(&sql, &[Value::text(request)])?.map(|row| Saga::read(self, &row)).transpose()
    }

    /// The saga of a key that is not done, if there is one.
    ///
    /// # Errors
    /// When the ledger can't be read.
    pub fn saga_under_way(&self, key: KeyId) -> Result<Option<Saga>> {
        let sql = format!(
            "SELECT {COLUMNS} FROM sagas WHERE key_id = $1 AND due_at IS NOT NULL ORDER BY created_at DESC, id DESC"
        );
        Ok(self.first_sound(&sql, &[Value::text(key)], 1, Saga::read)?.pop())
    }

    /// The sagas that somebody should work on now: due, and not leased to a living owner; besides some.
    ///
    /// # Errors
    /// When the ledger can't be read.
    pub fn sagas_due(&self, limit: u32, besides: &Besides) -> Result<Vec<SagaId>> {
        let (others, besides) = besides.condition(5);
        let sql = format!(
            "SELECT {COLUMNS} FROM sagas WHERE (due_at <= $1 OR due_at > $3) AND {FREE}{others} ORDER BY due_at, id"
        );
        let parameters = [&self.times()?[..], &besides].concat();
        let due = self.first_sound(&sql, &parameters, limit, Saga::read)?;
        Ok(due.into_iter().map(|saga| saga.id).collect())
    }

    /// Through which connection each of some sagas goes.
    ///
    /// # Errors
    /// When the ledger can't be read.
    pub fn connections_of(&self, sagas: &[SagaId]) -> Result<Vec<(SagaId, ConnectionName)>> {
        let sql = "SELECT k.connection FROM sagas s JOIN keys k ON k.id = s.key_id WHERE s.id = $1";
        let mut all = Vec::with_capacity(sagas.len());
        for saga in sagas {
            if let Some(row) = self.first(sql, &[Value::text(saga)])? {
                all.push((*saga, row.parse(0, "connection name")?));
            }
        }
        Ok(all)
    }

    /// How many sagas were begun that nobody took up yet, `limit` of them at most, besides some.
    ///
    /// # Errors
    /// When the ledger can't be read.
    pub fn sagas_not_taken_up(&self, limit: u32, besides: &Besides) -> Result<u32> {
        let (others, besides) = besides.condition(6);
        let sql = format!(
            "SELECT id FROM sagas WHERE (due_at <= $1 OR due_at > $3) AND {FREE} AND fence = 0{others} LIMIT $5"
        );
        let rows = self.query(&sql, &[&self.times()?[..], &[i64::from(limit).into()], &besides].concat())?;
        Ok(u32::try_from(rows.len()).unwrap_or(limit))
    }

    /// See [`FREE`].
    fn times(&self) -> Result<[Value; 4]> {
        let (now, common) = (self.now(), self.common_now()?);
        Ok([now.into(), common.into(), too_far(now).into(), too_far(common).into()])
    }

    /// Claims sagas that are due, besides some, the oldest first, so that brokers that look at the same time don't claim the same ones.
    ///
    /// # Errors
    /// When the ledger can't be written.
    pub fn claim_due_sagas(
        &self,
        owner: &str,
        lease: Span,
        limit: u32,
        besides: &Besides,
    ) -> Result<Vec<Saga>> {
        self.tail()?;
        // Rows that are none are not claimed, and push nothing out.
        let due = self.sagas_due(limit, besides)?;
        if due.is_empty() {
            return Ok(Vec::new());
        }
        let (these, ids) = one_of("id", &due, 7);
        let sql = format!(
            "UPDATE sagas SET owner = $5, fence = fence + 1, lease_until = $6 \
             WHERE (due_at <= $1 OR due_at > $3) AND {FREE}{these} RETURNING {COLUMNS}"
        );
        let until = lease.after(self.common_now()?);
        let parameters = [&self.times()?[..], &[owner.into(), until.into()], &ids].concat();
        let rows = self.query(&sql, &parameters)?;
        self.sound(&rows, Saga::read)
    }

    /// Prolongs the leases of sagas that are being worked on, each under the fence that it was claimed with.
    ///
    /// # Errors
    /// When the ledger can't be written.
    pub fn renew_sagas(&self, held: &[(SagaId, u64)], lease: Span) -> Result<()> {
        let until = lease.after(self.common_now()?);
        for (id, fence) in held {
            let sql = "UPDATE sagas SET lease_until = $3 WHERE id = $1 AND fence = $2 AND owner IS NOT NULL \
                       AND due_at IS NOT NULL";
            self.execute(sql, &[Value::text(id), (*fence).into(), until.into()])?;
        }
        Ok(())
    }

    /// Claims a saga for `lease`, by the database's clock. None when somebody else has it, it is done, or it was put off
    /// and its time has not come.
    ///
    /// # Errors
    /// When the ledger can't be written.
    pub fn claim_saga(&self, id: SagaId, owner: &str, lease: Span) -> Result<Option<Saga>> {
        let until = lease.after(self.common_now()?);
        let rows = self.execute(
            &format!(
                "UPDATE sagas SET owner = $6, fence = fence + 1, lease_until = $7 \
                 WHERE id = $5 AND (due_at <= $1 OR due_at > $3) AND {FREE}"
            ),
            &[&self.times()?[..], &[Value::text(id), owner.into(), until.into()]].concat(),
        )?;
        if rows == 0 { Ok(None) } else { self.saga(id).map(Some) }
    }

    /// Moves a saga to its next phase under the fence, and prolongs the lease. `trouble` says why it goes that way.
    ///
    /// # Errors
    /// [`LedgerError::Conflict`] when it is in another phase, or was claimed by somebody else since.
    pub fn advance_saga(
        &self,
        saga: &Saga,
        next: Phase,
        attempt: AttemptId,
        lease: Span,
        trouble: Option<&str>,
    ) -> Result<Saga> {
        if !saga.phase.may_become(next, saga.kind) {
            return Err(LedgerError::Conflict { what: "the saga (there is no such step)" });
        }
        let due = if next.is_final() { Value::Null } else { self.now().into() };
        let lease_until = if next.is_final() { Value::Null } else { lease.after(self.common_now()?).into() };
        let rows = self.execute(
            "UPDATE sagas SET phase = $4, attempt = $5, due_at = $6, lease_until = $7, tries = 0, trouble = $8 \
             WHERE id = $1 AND phase = $2 AND fence = $3",
            &[
                Value::text(saga.id),
                Value::text(saga.phase),
                saga.fence.into(),
                Value::text(next),
                Value::text(attempt),
                due,
                lease_until,
                Value::maybe(trouble),
            ],
        )?;
        if rows == 0 {
            return Err(LedgerError::Conflict { what: "the saga" });
        }
        self.saga(saga.id)
    }

    /// Checks, inside a transaction that writes something else, that the saga is still ours.
    ///
    /// # Errors
    /// [`LedgerError::Conflict`] when it is not.
    pub fn still_ours(&self, saga: &Saga) -> Result<()> {
        let row = self.first(
            "SELECT 1 FROM sagas WHERE id = $1 AND phase = $2 AND fence = $3",
            &[Value::text(saga.id), Value::text(saga.phase), saga.fence.into()],
        )?;
        row.map(|_| ()).ok_or(LedgerError::Conflict { what: "the saga" })
    }

    /// Puts a saga off: frees it, notes the trouble, and says when to try the phase again. What somebody else asked for,
    /// `asked`, is a lease that nobody owns: it outlasts the broker.
    ///
    /// # Errors
    /// [`LedgerError::Conflict`] when it is no longer ours.
    pub fn postpone_saga(
        &self,
        saga: &Saga,
        until: Timestamp,
        asked: Option<Timestamp>,
        trouble: &str,
    ) -> Result<()> {
        let rows = self.execute(
            "UPDATE sagas SET owner = NULL, lease_until = $6, due_at = $4, tries = tries + 1, trouble = $5 \
             WHERE id = $1 AND phase = $2 AND fence = $3",
            &[
                Value::text(saga.id),
                Value::text(saga.phase),
                saga.fence.into(),
                until.into(),
                trouble.into(),
                asked.into(),
            ],
        )?;
        if rows == 0 { Err(LedgerError::Conflict { what: "the saga" }) } else { Ok(()) }
    }

    /// Frees a saga whose step was lost, in whatever phase it is by now, until a moment. Nothing where it is done or somebody
    /// else's.
    ///
    /// # Errors
    /// When the ledger can't be written.
    pub fn let_go_saga(&self, saga: &Saga, until: Timestamp, trouble: &str) -> Result<()> {
        self.execute(
            "UPDATE sagas SET owner = NULL, lease_until = NULL, due_at = $3, tries = tries + 1, trouble = $4 \
             WHERE id = $1 AND fence = $2 AND due_at IS NOT NULL",
            &[Value::text(saga.id), saga.fence.into(), until.into(), trouble.into()],
        )?;
        Ok(())
    }

    /// Has a saga that is not done end without its key, as soon as somebody looks at it.
    ///
    /// # Errors
    /// When the ledger can't be written.
    pub fn end_saga(&self, id: SagaId, why: &str) -> Result<()> {
        // Whoever works on it sees it at the next step. A pause that somebody asked for is no reason to let it be.
        self.execute(
            "UPDATE sagas SET ends = COALESCE(ends, $2), due_at = CASE WHEN owner IS NULL THEN $3 ELSE due_at END, \
             lease_until = CASE WHEN owner IS NULL THEN NULL ELSE lease_until END WHERE id = $1 AND due_at IS NOT NULL",
            &[Value::text(id), why.into(), self.now().into()],
        )?;
        Ok(())
    }

    /// Has a saga looked at now that rests.
    ///
    /// # Errors
    /// [`LedgerError::Conflict`] when it is being worked on, or over.
    pub fn wake_saga(&self, saga: SagaId) -> Result<()> {
        let sql = "UPDATE sagas SET due_at = $2 WHERE id = $1 AND due_at IS NOT NULL AND owner IS NULL";
        match self.execute(sql, &[Value::text(saga), self.now().into()])? {
            0 => Err(LedgerError::Conflict { what: "the saga" }),
            _ => Ok(()),
        }
    }

    /// Makes every saga due of an owner that is known to be dead: on start, whatever this broker, `owner`, claimed in its
    /// last life; where one broker works on a ledger, whoever claimed it. A pause that a provider asked for is kept, because
    /// the provider did not die.
    ///
    /// # Errors
    /// When the ledger can't be written.
    pub fn release_sagas(&self, owner: Option<&str>) -> Result<u64> {
        let whose = if owner.is_some() { "owner = $2" } else { "owner = $2 OR owner IS NOT NULL" };
        let sql = format!(
            "UPDATE sagas SET owner = NULL, lease_until = NULL, due_at = $1 \
             WHERE due_at IS NOT NULL AND ({whose} OR lease_until IS NULL)"
        );
        self.execute(&sql, &[self.now().into(), Value::maybe(owner)])
    }

    /// How many sagas are not done.
    ///
    /// # Errors
    /// When the ledger can't be read.
    pub fn sagas_open(&self) -> Result<u64> {
        let row = self.first("SELECT COUNT(*) FROM sagas WHERE due_at IS NOT NULL", &[])?;
        row.map_or(Ok(0), |row| row.count(0))
    }
}
