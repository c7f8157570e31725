//! Consumers, and what each of them has to be told.

use jiff::Timestamp;
use keywright_core::consumer::{ConsumerKind, TellingState, Uses};
use keywright_core::id::{KeyId, SagaId, SealedId, TellingId};
use keywright_core::name::ConsumerName;
use keywright_core::span::Span;

use crate::error::{LedgerError, Result};
use crate::sql::{Facts, Row, Tx, Value, json};

/// Somebody who is told when a key has a successor.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfiguredConsumer {
    /// The name.
    pub name: ConsumerName,
    /// How it is told.
    pub kind: ConsumerKind,
    /// Of which keys.
    pub uses: Uses,
    /// The words of the command, or the address alone.
    pub target: Vec<String>,
    /// How long it may take.
    pub patience: Span,
    /// What messages are signed with, where they are.
    pub credential: Option<SealedId>,
    /// When it was added.
    pub added_at: Timestamp,
}

/// One piece of news for one consumer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Telling {
    /// Its id, by which the consumer knows that it was told before.
    pub id: TellingId,
    /// The rotation that it is about.
    pub saga: SagaId,
    /// The key.
    pub key: KeyId,
    /// Who has to be told.
    pub consumer: ConsumerName,
    /// When the successor was in force.
    pub at: Timestamp,
    /// How it stands.
    pub state: TellingState,
    /// How often that was tried in vain.
    pub tries: u64,
    /// When it is tried next.
    pub due_at: Timestamp,
    /// When it was told.
    pub told_at: Option<Timestamp>,
    /// What went wrong last.
    pub trouble: Option<String>,
}

pub(crate) const CONSUMERS: Facts =
    Facts { table: "consumers", what: "consumer", count: 9, columns: CONSUMER };
const CONSUMER: &str = "name, kind, project, environment, names, target, patience, credential, added_at, mac";
pub(crate) const TELLINGS: Facts = Facts { table: "tellings", what: "telling", count: 5, columns: TELLING };
const TELLING: &str = "id, saga, key_id, consumer, at, state, tries, due_at, told_at, trouble, mac";

impl ConfiguredConsumer {
    fn read(tx: &Tx<'_>, row: &Row) -> Result<Self> {
        CONSUMERS.check(tx, row)?;
        Ok(Self {
            name: row.parse(0, "consumer name")?,
            kind: row.state(1, ConsumerKind::parse)?,
            uses: Uses {
                project: row.parse(2, "project name")?,
                environment: row.maybe_parse(3, "environment name")?,
                names: row.parse(4, "key pattern")?,
            },
            target: row.json(5, "consumer")?,
            patience: Span::from_seconds(row.count(6)?),
            credential: row.maybe_parse(7, "sealed value id")?,
            added_at: row.time(8)?,
        })
    }
}

impl Telling {
    fn read(tx: &Tx<'_>, row: &Row) -> Result<Self> {
        TELLINGS.check(tx, row)?;
        Ok(Self {
            id: row.parse(0, "telling id")?,
            saga: row.parse(1, "saga id")?,
            key: row.parse(2, "key id")?,
            consumer: row.parse(3, "consumer name")?,
            at: row.time(4)?,
            state: row.state(5, TellingState::parse)?,
            tries: row.count(6)?,
            due_at: row.time(7)?,
            told_at: row.maybe_time(8)?,
            trouble: row.maybe_text(9)?.map(str::to_owned),
        })
    }
}

impl Tx<'_> {
    /// The consumers, by name.
    ///
    /// # Errors
    /// When the ledger can't be read, or one of them was edited.
    pub fn consumers(&self) -> Result<Vec<ConfiguredConsumer>> {
        let sql = format!("SELECT {CONSUMER} FROM consumers ORDER BY name");
        self.query(&sql, &[])?.iter().map(|row| ConfiguredConsumer::read(self, row)).collect()
    }

    /// The consumers that are as they were added, by name.
    ///
    /// # Errors
    /// When the ledger can't be read.
    pub fn sound_consumers(&self) -> Result<Vec<ConfiguredConsumer>> {
        let sql = format!("SELECT {CONSUMER} FROM consumers ORDER BY name");
        self.sound(&self.query(&sql, &[])?, ConfiguredConsumer::read)
    }

    /// One consumer.
    ///
    /// # Errors
    /// [`LedgerError::Missing`].
    pub fn consumer(&self, name: &ConsumerName) -> Result<ConfiguredConsumer> {
        let sql = format!("SELECT {CONSUMER} FROM consumers WHERE name = $1");
        let row = self.first(&sql, &[Value::text(name)])?;
        row.map(|row| ConfiguredConsumer::read(self, &row))
            .transpose()?
            .ok_or_else(|| LedgerError::Missing { what: "consumer", name: name.to_string() })
    }

    /// Adds a consumer, whose credential was sealed in the same transaction where it has one.
    ///
    /// # Errors
    /// [`LedgerError::Exists`].
    pub fn add_consumer(&self, consumer: &ConfiguredConsumer) -> Result<()> {
        let facts = vec![
            Value::text(&consumer.name),
            Value::text(consumer.kind),
            Value::text(&consumer.uses.project),
            Value::maybe(consumer.uses.environment.as_ref()),
            Value::text(&consumer.uses.names),
            json(&consumer.target)?,
            consumer.patience.seconds().into(),
            Value::maybe(consumer.credential),
            consumer.added_at.into(),
        ];
        let rows = self.execute(
            "INSERT INTO consumers (name, kind, project, environment, names, target, patience, credential, added_at, mac) \
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10) ON CONFLICT DO NOTHING",
            &CONSUMERS.with(self, facts, [])?,
        )?;
        if rows == 0 {
            return Err(LedgerError::Exists { what: "consumer", name: consumer.name.to_string() });
        }
        Ok(())
    }

    /// Removes a consumer, and what it was not told yet. Its credential is the caller's to erase.
    ///
    /// # Errors
    /// [`LedgerError::Missing`].
    pub fn remove_consumer(&self, name: &ConsumerName) -> Result<()> {
        if self.execute("DELETE FROM consumers WHERE name = $1", &[Value::text(name)])? == 0 {
            return Err(LedgerError::Missing { what: "consumer", name: name.to_string() });
        }
        self.execute(
            "UPDATE tellings SET state = $2 WHERE consumer = $1 AND state = $3",
            &[Value::text(name), Value::text(TellingState::Dropped), Value::text(TellingState::Owed)],
        )?;
        Ok(())
    }

    /// A consumer has to be told of a rotation, from now on.
    ///
    /// # Errors
    /// When the ledger can't be written.
    pub fn add_telling(
        &self,
        id: TellingId,
        saga: SagaId,
        key: KeyId,
        consumer: &ConsumerName,
    ) -> Result<()> {
        let facts = vec![
            Value::text(id),
            Value::text(saga),
            Value::text(key),
            Value::text(consumer),
            self.now().into(),
        ];
        let rest = [Value::text(TellingState::Owed), self.now().into()];
        self.execute(
            "INSERT INTO tellings (id, saga, key_id, consumer, at, state, tries, due_at, mac) \
             VALUES ($1, $2, $3, $4, $5, $6, 0, $7, $8)",
            &TELLINGS.with(self, facts, rest)?,
        )?;
        Ok(())
    }

    /// What was to be told about a key, oldest first.
    ///
    /// # Errors
    /// When the ledger can't be read.
    pub fn tellings(&self, key: KeyId) -> Result<Vec<Telling>> {
        let sql = format!("SELECT {TELLING} FROM tellings WHERE key_id = $1 ORDER BY at, consumer");
        self.query(&sql, &[Value::text(key)])?.iter().map(|row| Telling::read(self, row)).collect()
    }

    /// How many pieces of news could not be told so far.
    ///
    /// # Errors
    /// When the ledger can't be read.
    pub fn tellings_failing(&self) -> Result<u64> {
        let sql = "SELECT COUNT(*) FROM sagas s CROSS JOIN tellings t WHERE s.due_at IS NOT NULL AND t.saga = s.id \
                   AND t.state = $1 AND t.tries > 0";
        self.first(sql, &[Value::text(TellingState::Owed)])?.map_or(Ok(0), |row| row.count(0))
    }

    /// A consumer was told.
    ///
    /// # Errors
    /// When the ledger can't be written.
    pub fn told(&self, id: TellingId) -> Result<()> {
        self.execute(
            "UPDATE tellings SET state = $2, told_at = $3, trouble = NULL WHERE id = $1",
            &[Value::text(id), Value::text(TellingState::Told), self.now().into()],
        )?;
        Ok(())
    }

    /// A consumer could not be told; it is tried again at `due_at`.
    ///
    /// # Errors
    /// When the ledger can't be written.
    pub fn not_told(&self, id: TellingId, due_at: Timestamp, trouble: &str) -> Result<()> {
        self.execute(
            "UPDATE tellings SET tries = tries + 1, due_at = $2, trouble = $3 WHERE id = $1",
            &[Value::text(id), due_at.into(), trouble.into()],
        )?;
        Ok(())
    }
}
