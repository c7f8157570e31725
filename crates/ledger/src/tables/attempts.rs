//! Attempts: each try to make a version. Never deleted, never un-known.

use jiff::Timestamp;
use keywright_core::id::{AttemptId, SagaId};
use keywright_core::key::{Attempt, AttemptOutcome};
use keywright_core::marker::Marker;

use crate::error::{LedgerError, Result};
use crate::sql::{Facts, Row, Tx, Value};

pub(crate) const FACTS: Facts = Facts { table: "attempts", what: "attempt", count: 6, columns: COLUMNS };
const COLUMNS: &str =
    "id, key_id, saga, number, marker, connection, sent_at, outcome, provider_key_id, expires_at, mac";

fn read(tx: &Tx<'_>, row: &Row) -> Result<Attempt> {
    FACTS.check(tx, row)?;
    Ok(Attempt {
        id: row.parse(0, "attempt id")?,
        key: row.parse(1, "key id")?,
        number: row.count(3)?,
        marker: Marker::from_ledger(row.text(4)?.to_owned()),
        connection: row.parse(5, "connection name")?,
        sent_at: row.time_if(6),
        outcome: row.state_or(7, AttemptOutcome::parse, AttemptOutcome::Created),
        provider_key_id: row.text_if(8).map(str::to_owned),
        expires_at: row.time_if(9),
    })
}

impl Tx<'_> {
    /// Reserves an attempt. Its marker is durable from here on, before anything is sent.
    ///
    /// # Errors
    /// When the ledger can't be written.
    pub fn add_attempt(&self, attempt: &Attempt, saga: SagaId) -> Result<()> {
        let facts = vec![
            Value::text(attempt.id),
            Value::text(attempt.key),
            Value::text(saga),
            attempt.number.into(),
            Value::text(&attempt.marker),
            Value::text(&attempt.connection),
        ];
        self.execute(
            "INSERT INTO attempts (id, key_id, saga, number, marker, connection, outcome, provider_key_id, expires_at, mac) \
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)",
            &FACTS.with(
                self,
                facts,
                [
                    Value::text(attempt.outcome),
                    Value::maybe(attempt.provider_key_id.as_deref()),
                    attempt.expires_at.into(),
                ],
            )?,
        )?;
        Ok(())
    }

    /// One attempt.
    ///
    /// # Errors
    /// [`LedgerError::Missing`].
    pub fn attempt(&self, id: AttemptId) -> Result<Attempt> {
        let sql = format!("SELECT {COLUMNS} FROM attempts WHERE id = $1");
        let row = self.first(&sql, &[Value::text(id)])?;
        row.map(|row| read(self, &row))
            .transpose()?
            .ok_or_else(|| LedgerError::Missing { what: "attempt", name: id.to_string() })
    }

    /// Marks an attempt as sent, with the expiry that is asked for. Only an unsent one can be: one send per attempt.
    ///
    /// # Errors
    /// [`LedgerError::Conflict`] when it was sent before.
    pub fn send_attempt(&self, id: AttemptId, expires_at: Option<Timestamp>) -> Result<()> {
        let rows = self.execute(
            "UPDATE attempts SET outcome = 'sent', sent_at = $2, expires_at = $3 WHERE id = $1 AND outcome = 'unsent'",
            &[Value::text(id), self.now().into(), expires_at.into()],
        )?;
        if rows == 0 { Err(LedgerError::Conflict { what: "the attempt" }) } else { Ok(()) }
    }

    /// Records what became of an attempt. `sweep_at` is when to look for it again, if ever.
    ///
    /// # Errors
    /// When the ledger can't be written.
    pub fn set_attempt(
        &self,
        id: AttemptId,
        outcome: AttemptOutcome,
        provider_key_id: Option<&str>,
        sweep_at: Option<Timestamp>,
    ) -> Result<()> {
        self.execute(
            "UPDATE attempts SET outcome = $2, provider_key_id = COALESCE($3, provider_key_id), sweep_at = $4, \
             absent_seen = absent_seen + CASE WHEN $2 = 'absent_so_far' THEN 1 ELSE 0 END WHERE id = $1",
            &[Value::text(id), Value::text(outcome), Value::maybe(provider_key_id), sweep_at.into()],
        )?;
        Ok(())
    }

    /// Says when to look for an attempt again. What is known of it stays as it is.
    ///
    /// # Errors
    /// When the ledger can't be written.
    pub fn look_for_attempt_at(&self, id: AttemptId, at: Timestamp) -> Result<()> {
        self.execute("UPDATE attempts SET sweep_at = $2 WHERE id = $1", &[Value::text(id), at.into()])?;
        Ok(())
    }

    /// How often an attempt was looked for and not found.
    ///
    /// # Errors
    /// When the ledger can't be read.
    pub fn attempt_absences(&self, id: AttemptId) -> Result<u64> {
        let row = self.first("SELECT absent_seen FROM attempts WHERE id = $1", &[Value::text(id)])?;
        row.map_or(Ok(0), |row| row.count(0))
    }

    /// The attempts to look for now: their create was sent and nobody knows what came of it.
    ///
    /// # Errors
    /// When the ledger can't be read.
    pub fn attempts_to_sweep(&self) -> Result<Vec<Attempt>> {
        let sql = format!(
            "SELECT {COLUMNS} FROM attempts WHERE sweep_at IS NOT NULL AND (sweep_at <= $1 OR sweep_at > $2) \
             ORDER BY sweep_at"
        );
        self.first_sound(&sql, &[self.now().into(), self.too_far().into()], 100, read)
    }

    /// How many attempts still wait for certainty.
    ///
    /// # Errors
    /// When the ledger can't be read.
    pub fn attempts_uncertain(&self) -> Result<u64> {
        let row = self.first("SELECT COUNT(*) FROM attempts WHERE sweep_at IS NOT NULL", &[])?;
        row.map_or(Ok(0), |row| row.count(0))
    }
}
