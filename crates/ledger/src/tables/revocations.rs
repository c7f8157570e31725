//! The debts: credentials that have to be revoked. A debt stays until the provider confirms; no number of
//! tries ends it.

use jiff::Timestamp;
use keywright_core::id::{AttemptId, KeyId, RevocationId, VersionId};
use keywright_core::key::Version;
use keywright_core::name::ConnectionName;
use keywright_core::span::Span;

use super::none_of;
use crate::error::Result;
use crate::sql::{Facts, Row, Tx, Value};

/// A credential that has to be revoked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Revocation {
    /// Its id.
    pub id: RevocationId,
    /// The connection that can revoke it.
    pub connection: ConnectionName,
    /// The provider's id of it.
    pub provider_key_id: String,
    /// The key that it belongs to, if it is known.
    pub key: Option<KeyId>,
    /// The version, if there is one.
    pub version: Option<VersionId>,
    /// The attempt, if it is known.
    pub attempt: Option<AttemptId>,
    /// Why.
    pub reason: String,
    /// Since when it is owed.
    pub owed_since: Timestamp,
    /// When it is tried next; none when it is done.
    pub due_at: Option<Timestamp>,
    /// How often it was tried.
    pub tries: u64,
    /// What went wrong last.
    pub trouble: Option<String>,
    /// When the provider confirmed.
    pub done_at: Option<Timestamp>,
    /// When the provider was told to end it, where that may have been done.
    pub sent_at: Option<Timestamp>,
    /// Since when the provider, which was to end it, knows no such credential.
    pub missing_since: Option<Timestamp>,
}

impl Revocation {
    /// Whether it will be paid. The row of one that is neither paid nor tried was edited.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.done_at.is_none() && self.due_at.is_some()
    }
}

/// A debt about to be recorded.
#[derive(Debug, Clone)]
pub struct NewRevocation {
    /// Its id.
    pub id: RevocationId,
    /// The connection that can revoke it.
    pub connection: ConnectionName,
    /// The provider's id of it.
    pub provider_key_id: String,
    /// The key that it belongs to, if it is known.
    pub key: Option<KeyId>,
    /// The version, if there is one.
    pub version: Option<VersionId>,
    /// The attempt, if it is known.
    pub attempt: Option<AttemptId>,
    /// Why.
    pub reason: String,
}

pub(crate) const FACTS: Facts =
    Facts { table: "revocations", what: "revocation", count: 8, columns: COLUMNS };
const COLUMNS: &str = "id, connection, provider_key_id, key_id, version, attempt, reason, owed_since, due_at, tries, \
                       trouble, done_at, sent_at, missing_since, mac";

impl Revocation {
    fn read(tx: &Tx<'_>, row: &Row) -> Result<Self> {
        FACTS.check(tx, row)?;
        Ok(Self {
            id: row.parse(0, "revocation id")?,
            connection: row.parse(1, "connection name")?,
            provider_key_id: row.text(2)?.to_owned(),
            key: row.maybe_parse(3, "key id")?,
            version: row.maybe_parse(4, "version id")?,
            attempt: row.maybe_parse(5, "attempt id")?,
            reason: row.text(6)?.to_owned(),
            owed_since: row.time(7)?,
            due_at: row.time_if(8),
            tries: row.count_if(9),
            trouble: row.text_if(10).map(str::to_owned),
            // What is no time settles nothing.
            done_at: row.time_if(11),
            sent_at: row.time_if(12),
            missing_since: row.time_if(13),
        })
    }
}

impl Revocation {
    /// Whether it was settled, and is about another key or version than one that is owed now.
    fn is_of_another(&self, new: &NewRevocation) -> bool {
        self.done_at.is_some() && new.version.is_some() && (self.key, self.version) != (new.key, new.version)
    }
}

impl Tx<'_> {
    /// Records a debt, due at once. The same credential is owed only once, unless it belongs to another version by now.
    ///
    /// # Errors
    /// When the ledger can't be written.
    pub fn owe(&self, new: &NewRevocation) -> Result<()> {
        let facts = vec![
            Value::text(new.id),
            Value::text(&new.connection),
            new.provider_key_id.as_str().into(),
            Value::maybe(new.key),
            Value::maybe(new.version),
            Value::maybe(new.attempt),
            new.reason.as_str().into(),
            self.now().into(),
        ];
        let known = self.revocation_of(&new.connection, &new.provider_key_id)?;
        if known.as_ref().is_some_and(|known| known.done_at.is_none()) {
            // Also where what stands there is no time.
            let sql = "UPDATE revocations SET done_at = NULL WHERE connection = $1 AND provider_key_id = $2";
            self.execute(sql, &[Value::text(&new.connection), new.provider_key_id.as_str().into()])?;
        }
        if known.is_none_or(|known| known.is_of_another(new)) {
            // A row that somebody else put in the place of a debt must not keep the debt away, nor what was paid for a version
            // before this one.
            let sql = "DELETE FROM revocations WHERE connection = $1 AND provider_key_id = $2";
            self.execute(sql, &[Value::text(&new.connection), new.provider_key_id.as_str().into()])?;
        }
        self.execute(
            "INSERT INTO revocations (id, connection, provider_key_id, key_id, version, attempt, reason, owed_since, \
             due_at, tries, mac) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $8, 0, $9) \
             ON CONFLICT (connection, provider_key_id) DO UPDATE SET due_at = $8 WHERE revocations.done_at IS NULL",
            &FACTS.with(self, facts, [])?,
        )?;
        Ok(())
    }

    /// As [`Tx::owe`], also where it was settled before: it is not over.
    ///
    /// # Errors
    /// When the ledger can't be written.
    pub fn owe_again(&self, new: &NewRevocation) -> Result<()> {
        self.owe(new)?;
        self.reopen(&new.connection, &new.provider_key_id, None)
    }

    /// The debt of a credential, settled or not. A row that was edited is none.
    ///
    /// # Errors
    /// When the ledger can't be read.
    pub fn revocation_of(
        &self,
        connection: &ConnectionName,
        provider_key_id: &str,
    ) -> Result<Option<Revocation>> {
        let sql = format!("SELECT {COLUMNS} FROM revocations WHERE connection = $1 AND provider_key_id = $2");
        let rows = self.query(&sql, &[Value::text(connection), provider_key_id.into()])?;
        Ok(self.sound(&rows, Revocation::read)?.pop())
    }

    /// A debt, settled or not. A row that was edited is none.
    ///
    /// # Errors
    /// When the ledger can't be read.
    pub fn revocation(&self, id: RevocationId) -> Result<Option<Revocation>> {
        let sql = format!("SELECT {COLUMNS} FROM revocations WHERE id = $1");
        Ok(self.sound(&self.query(&sql, &[Value::text(id)])?, Revocation::read)?.pop())
    }

    /// The debts to try now, besides those of some connections.
    ///
    /// # Errors
    /// When the ledger can't be read.
    pub fn revocations_due(&self, limit: u32, besides: &[ConnectionName]) -> Result<Vec<Revocation>> {
        let (others, besides) = none_of("connection", besides, 3);
        let sql = format!(
            "SELECT {COLUMNS} FROM revocations WHERE due_at IS NOT NULL AND (due_at <= $1 OR due_at > $2){others} \
             ORDER BY due_at"
        );
        let mut parameters = vec![self.now().into(), self.too_far().into()];
        parameters.extend(besides);
        self.first_sound(&sql, &parameters, limit, Revocation::read)
    }

    /// The debts that are still owed, oldest first, at most 1,000.
    ///
    /// # Errors
    /// When the ledger can't be read.
    pub fn revocations_owed(&self) -> Result<Vec<Revocation>> {
        let sql = format!("SELECT {COLUMNS} FROM revocations WHERE done_at IS NULL ORDER BY owed_since, id");
        self.first_sound(&sql, &[], 1_000, Revocation::read)
    }

    /// Whether a credential is owed, or was and is settled.
    ///
    /// # Errors
    /// When the ledger can't be read.
    pub fn is_or_was_owed(&self, connection: &ConnectionName, provider_key_id: &str) -> Result<bool> {
        Ok(self.revocation_of(connection, provider_key_id)?.is_some())
    }

    /// Whether a version is owed, or was and is settled; what was paid for a version with the same credential before it does not
    /// count.
    ///
    /// # Errors
    /// When the ledger can't be read.
    pub fn was_owed(&self, connection: &ConnectionName, version: &Version) -> Result<bool> {
        let debt = self.revocation_of(connection, &version.provider_key_id)?;
        Ok(debt.is_some_and(|debt| debt.version.is_none_or(|of| of == version.id)))
    }

    /// How many debts are still owed.
    ///
    /// # Errors
    /// When the ledger can't be read.
    pub fn revocations_count(&self) -> Result<u64> {
        let row = self.first("SELECT COUNT(*) FROM revocations WHERE done_at IS NULL", &[])?;
        row.map_or(Ok(0), |row| row.count(0))
    }

    /// How many debts are still owed through a connection.
    ///
    /// # Errors
    /// When the ledger can't be read.
    pub fn revocations_through(&self, connection: &ConnectionName) -> Result<u64> {
        let sql = "SELECT COUNT(*) FROM revocations WHERE connection = $1 AND done_at IS NULL";
        self.first(sql, &[Value::text(connection)])?.map_or(Ok(0), |row| row.count(0))
    }

    /// The debts of a key, settled ones included. A row that was edited is none.
    ///
    /// # Errors
    /// When the ledger can't be read.
    pub fn revocations_of(&self, key: KeyId) -> Result<Vec<Revocation>> {
        let sql = format!("SELECT {COLUMNS} FROM revocations WHERE key_id = $1 ORDER BY owed_since, id");
        self.sound(&self.query(&sql, &[Value::text(key)])?, Revocation::read)
    }

    /// Notes that a try failed and when the next one comes.
    ///
    /// # Errors
    /// When the ledger can't be written.
    pub fn postpone_revocation(&self, id: RevocationId, until: Timestamp, trouble: &str) -> Result<()> {
        self.execute(
            "UPDATE revocations SET tries = tries + 1, due_at = $2, trouble = $3 WHERE id = $1 AND done_at IS NULL",
            &[Value::text(id), until.into(), trouble.into()],
        )?;
        Ok(())
    }

    /// Has every debt that is owed tried now, but those whose credential was just looked for in vain: the second look comes so much
    /// after the first one.
    ///
    /// # Errors
    /// When the ledger can't be written.
    pub fn hasten_revocations(&self, apart: Span) -> Result<()> {
        let now = self.now();
        let sql = "UPDATE revocations SET due_at = $1 WHERE done_at IS NULL AND (due_at IS NULL OR due_at > $1) \
                   AND (missing_since IS NULL OR missing_since <= $2 OR missing_since > $1)";
        self.execute(sql, &[now.into(), apart.before(now).into()]).map(drop)
    }

    /// Settles a debt: the provider confirmed. False when it was settled before.
    ///
    /// # Errors
    /// When the ledger can't be written.
    pub fn settle_revocation(&self, id: RevocationId) -> Result<bool> {
        // As it is read: what is no time settles nothing.
        if self.revocation(id)?.is_none_or(|debt| debt.done_at.is_some()) {
            return Ok(false);
        }
        let sql = "UPDATE revocations SET done_at = $2, due_at = NULL, trouble = NULL, tries = tries + 1 WHERE id = $1";
        Ok(self.execute(sql, &[Value::text(id), self.now().into()])? > 0)
    }

    /// Owes a credential again whose debt was settled: it was seen since. Nothing happens when it is owed anyway.
    ///
    /// # Errors
    /// When the ledger can't be written.
    pub fn reopen_revocation(&self, connection: &ConnectionName, provider_key_id: &str) -> Result<()> {
        self.reopen(connection, provider_key_id, Some("it was seen after its revocation was confirmed"))
    }

    fn reopen(
        &self,
        connection: &ConnectionName,
        provider_key_id: &str,
        trouble: Option<&str>,
    ) -> Result<()> {
        self.execute(
            "UPDATE revocations SET done_at = NULL, due_at = $3, trouble = $4, sent_at = NULL, missing_since = NULL \
             WHERE connection = $1 AND provider_key_id = $2 AND done_at IS NOT NULL",
            &[Value::text(connection), provider_key_id.into(), self.now().into(), Value::maybe(trouble)],
        )?;
        Ok(())
    }

    /// The provider is told to end it, and may do so without an answer. Says when it was told before.
    ///
    /// # Errors
    /// When the ledger can't be written.
    pub fn send_revocation(&self, id: RevocationId, at: Timestamp) -> Result<Option<Timestamp>> {
        let before = self.revocation(id)?.and_then(|debt| debt.sent_at);
        let sql = "UPDATE revocations SET sent_at = $2 WHERE id = $1 AND sent_at IS NULL AND done_at IS NULL";
        self.execute(sql, &[Value::text(id), at.into()])?;
        Ok(before)
    }

    /// The provider was told to end it at that moment, and refused: it did not.
    ///
    /// # Errors
    /// When the ledger can't be written.
    pub fn unsend_revocation(&self, id: RevocationId, at: Timestamp) -> Result<()> {
        let sql = "UPDATE revocations SET sent_at = NULL WHERE id = $1 AND sent_at = $2";
        self.execute(sql, &[Value::text(id), at.into()]).map(drop)
    }

    /// The provider knows no such credential, and did not end it. Says since when.
    ///
    /// # Errors
    /// When the ledger can't be written.
    pub fn miss_revocation(&self, id: RevocationId) -> Result<Timestamp> {
        let row = self.first("SELECT missing_since FROM revocations WHERE id = $1", &[Value::text(id)])?;
        let since = row.and_then(|row| row.time_if(0));
        // One that has not come was written by a clock that was ahead, or by somebody else.
        let since = since.filter(|since| *since <= self.now()).unwrap_or(self.now());
        let sql = "UPDATE revocations SET missing_since = $2, sent_at = NULL WHERE id = $1";
        self.execute(sql, &[Value::text(id), since.into()])?;
        Ok(since)
    }

    /// The provider shows it.
    ///
    /// # Errors
    /// When the ledger can't be written.
    pub fn found_revocation(&self, id: RevocationId) -> Result<()> {
        let sql = "UPDATE revocations SET missing_since = NULL WHERE id = $1 AND missing_since IS NOT NULL";
        self.execute(sql, &[Value::text(id)]).map(drop)
    }
}
