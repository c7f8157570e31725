//! Keys, their versions and their placements.

use jiff::Timestamp;
use keywright_core::id::{KeyId, PlacementId, VersionId};
use keywright_core::key::{Key, KeyState, Placement, PlacementState, Version, VersionState};
use keywright_core::name::{AgentName, ConnectionName, EnvironmentName, KeyName, ProjectName, StoreName};
use keywright_core::place::Place;
use keywright_core::plan::Destination;
use keywright_core::secret::Fingerprint;
use keywright_core::store::{Change, VerifyMode};

use crate::error::{LedgerError, Result};
use crate::sql::{Facts, Row, Tx, Value};

pub(crate) const KEYS: Facts = Facts { table: "keys", what: "key", count: 10, columns: KEY };
const KEY: &str =
    "id, name, project, environment, provider, connection, template, request, agent, created_at, state, mac";
pub(crate) const VERSIONS: Facts = Facts { table: "versions", what: "version", count: 7, columns: VERSION };
const VERSION: &str =
    "v.id, v.key_id, v.attempt, v.number, v.provider_key_id, v.expires_at, v.fingerprint, v.state, v.mac";
pub(crate) const PLACEMENTS: Facts =
    Facts { table: "placements", what: "placement", count: 6, columns: PLACEMENT };
const PLACEMENT: &str =
    "id, version, key_id, store, place, base, store_version, verified, state, change, mac";

fn read_key(tx: &Tx<'_>, row: &Row) -> Result<Key> {
    KEYS.check(tx, row)?;
    Ok(Key {
        id: row.parse(0, "key id")?,
        name: row.parse(1, "key name")?,
        project: row.parse(2, "project name")?,
        environment: row.parse(3, "environment name")?,
        provider: row.parse(4, "provider")?,
        connection: row.parse(5, "connection name")?,
        template: row.parse(6, "template id")?,
        request: row.parse(7, "request id")?,
        agent: row.maybe_parse(8, "agent name")?,
        created_at: row.time(9)?,
        state: row.state(10, KeyState::parse)?,
    })
}

fn read_version(tx: &Tx<'_>, row: &Row) -> Result<Version> {
    VERSIONS.check(tx, row)?;
    Ok(Version {
        id: row.parse(0, "version id")?,
        key: row.parse(1, "key id")?,
        attempt: row.parse(2, "attempt id")?,
        number: row.count(3)?,
        provider_key_id: row.text(4)?.to_owned(),
        expires_at: row.maybe_time(5)?,
        state: row.state(7, VersionState::parse)?,
    })
}

fn read_placement(tx: &Tx<'_>, row: &Row) -> Result<Placement> {
    PLACEMENTS.check(tx, row)?;
    let place = Place { store: row.parse(3, "store name")?, place: row.text(4)?.to_owned() };
    Ok(Placement {
        id: row.parse(0, "placement id")?,
        version: row.parse(1, "version id")?,
        key: row.parse(2, "key id")?,
        destination: Destination { place, base: row.maybe_text(5)?.map(str::to_owned) },
        store_version: row.maybe_text(6)?.map(str::to_owned),
        verified: row
            .maybe_text(7)?
            .map(|t| VerifyMode::parse(t).ok_or(LedgerError::Damaged { what: "verify mode" }))
            .transpose()?,
        state: row.state(8, PlacementState::parse)?,
        change: row
            .maybe_text(9)?
            .map(|t| Change::parse(t).ok_or(LedgerError::Damaged { what: "change in a store" }))
            .transpose()?,
    })
}

/// The states of placements of which nothing is to be taken back, as SQL.
fn nothing_lies() -> String {
    let states = PlacementState::ALL.iter().filter(|state| !state.may_lie());
    states.map(|state| format!("'{state}'")).collect::<Vec<_>>().join(", ")
}

impl Tx<'_> {
    /// Reserves a key. The name must be free in its project and environment.
    ///
    /// # Errors
    /// [`LedgerError::Exists`].
    pub fn add_key(&self, key: &Key) -> Result<()> {
        let facts = vec![
            Value::text(key.id),
            Value::text(&key.name),
            Value::text(&key.project),
            Value::text(&key.environment),
            Value::text(&key.provider),
            Value::text(&key.connection),
            Value::text(&key.template),
            Value::text(key.request),
            Value::maybe(key.agent.as_ref()),
            key.created_at.into(),
        ];
        let rows = self.execute(
            "INSERT INTO keys (id, name, project, environment, provider, connection, template, request, agent, \
             created_at, state, mac) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12) ON CONFLICT DO NOTHING",
            &KEYS.with(self, facts, [Value::text(key.state)])?,
        )?;
        if rows == 0 {
            let name = format!("{}/{}/{}", key.project, key.environment, key.name);
            return Err(LedgerError::Exists { what: "key", name });
        }
        Ok(())
    }

    /// One key.
    ///
    /// # Errors
    /// [`LedgerError::Missing`].
    pub fn key(&self, id: KeyId) -> Result<Key> {
        let sql = format!("SELECT {KEY} FROM keys WHERE id = $1");
        let row = self.first(&sql, &[Value::text(id)])?;
        row.map(|row| read_key(self, &row))
            .transpose()?
            .ok_or_else(|| LedgerError::Missing { what: "key", name: id.to_string() })
    }

    /// Keys, newest first, at most `limit`.
    ///
    /// # Errors
    /// When the ledger can't be read.
    pub fn keys(
        &self,
        project: Option<&ProjectName>,
        environment: Option<&EnvironmentName>,
        state: Option<KeyState>,
        limit: u32,
    ) -> Result<Vec<Key>> {
        let sql = format!(
            "SELECT {KEY} FROM keys WHERE (project = $1 OR $1 IS NULL) AND (environment = $2 OR $2 IS NULL) \
             AND (state = $3 OR $3 IS NULL) ORDER BY created_at DESC, id DESC LIMIT $4"
        );
        let parameters =
            [Value::maybe(project), Value::maybe(environment), Value::maybe(state), i64::from(limit).into()];
        self.sound(&self.query(&sql, &parameters)?, read_key)
    }

    /// The keys of a name, newest first.
    ///
    /// # Errors
    /// When the ledger can't be read.
    pub fn keys_named(&self, name: &KeyName) -> Result<Vec<Key>> {
        let sql =
            format!("SELECT {KEY} FROM keys WHERE name = $1 ORDER BY created_at DESC, id DESC LIMIT 100");
        self.sound(&self.query(&sql, &[Value::text(name)])?, read_key)
    }

    /// How many places of the quota an agent's keys hold, one of them left out: those that live or are being made, and those
    /// that may still live at the provider, because an attempt is uncertain or a revocation is owed.
    ///
    /// # Errors
    /// When the ledger can't be read.
    pub fn places_held(&self, agent: &AgentName, besides: Option<KeyId>) -> Result<u64> {
        // The few open ends come first, so that the many keys that are over are not looked at.
        let row = self.first(
            "SELECT (SELECT COUNT(*) FROM keys WHERE agent = $1 AND state IN ('minting', 'active') \
             AND (id <> $2 OR $2 IS NULL)) + (SELECT COUNT(*) FROM (SELECT key_id FROM attempts \
             WHERE sweep_at IS NOT NULL UNION SELECT key_id FROM revocations WHERE due_at IS NOT NULL) o \
             CROSS JOIN keys k WHERE k.id = o.key_id AND k.agent = $1 AND k.state NOT IN ('minting', 'active') \
             AND (k.id <> $2 OR $2 IS NULL))",
            &[Value::text(agent), Value::maybe(besides)],
        )?;
        row.map_or(Ok(0), |row| row.count(0))
    }

    /// The keys of a connection that live, are being made, or may still live at the provider, newest first, at most 1,000.
    ///
    /// # Errors
    /// When the ledger can't be read.
    pub fn keys_through(&self, connection: &ConnectionName) -> Result<Vec<Key>> {
        let sql = format!(
            "SELECT {KEY} FROM keys WHERE connection = $1 AND (state IN ('minting', 'active', 'revoking') \
             OR id IN (SELECT key_id FROM attempts WHERE sweep_at IS NOT NULL) \
             OR id IN (SELECT key_id FROM revocations WHERE due_at IS NOT NULL)) \
             ORDER BY created_at DESC, id DESC LIMIT 1000"
        );
        self.sound(&self.query(&sql, &[Value::text(connection)])?, read_key)
    }

    /// The keys of which a copy lies in a store, newest first, at most 1,000. A change that nobody wants any more is no copy.
    ///
    /// # Errors
    /// When the ledger can't be read.
    pub fn keys_in_store(&self, store: &StoreName) -> Result<Vec<Key>> {
        let sql = format!(
            "SELECT {KEY} FROM keys WHERE id IN (SELECT key_id FROM placements WHERE store = $1 \
             AND state NOT IN ({}, 'unwanted')) ORDER BY created_at DESC, id DESC LIMIT 1000",
            nothing_lies()
        );
        self.sound(&self.query(&sql, &[Value::text(store)])?, read_key)
    }

    /// How many keys live.
    ///
    /// # Errors
    /// When the ledger can't be read.
    pub fn keys_active(&self) -> Result<u64> {
        let row = self.first("SELECT COUNT(*) FROM keys WHERE state = 'active'", &[])?;
        row.map_or(Ok(0), |row| row.count(0))
    }

    /// Moves a key from one state to another.
    ///
    /// # Errors
    /// [`LedgerError::Conflict`] when it is no longer in the expected state.
    pub fn move_key(&self, id: KeyId, from: KeyState, to: KeyState) -> Result<()> {
        let rows = self.execute(
            "UPDATE keys SET state = $3 WHERE id = $1 AND state = $2",
            &[Value::text(id), Value::text(from), Value::text(to)],
        )?;
        if rows == 0 {
            return Err(LedgerError::Conflict { what: "the key" });
        }
        if matches!(to, KeyState::Revoked | KeyState::Failed) { self.release(id) } else { Ok(()) }
    }

    /// Records a version that the provider made.
    ///
    /// # Errors
    /// When the ledger can't be written.
    pub fn add_version(&self, version: &Version, fingerprint: &Fingerprint) -> Result<()> {
        let facts = vec![
            Value::text(version.id),
            Value::text(version.key),
            Value::text(version.attempt),
            version.number.into(),
            version.provider_key_id.as_str().into(),
            version.expires_at.into(),
            fingerprint.to_hex().as_str().into(),
        ];
        self.execute(
            "INSERT INTO versions (id, key_id, attempt, number, provider_key_id, expires_at, fingerprint, state, \
             created_at, mac) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)",
            &VERSIONS.with(self, facts, [Value::text(version.state), self.now().into()])?,
        )?;
        Ok(())
    }

    /// The versions of a key, oldest first.
    ///
    /// # Errors
    /// When the ledger can't be read.
    pub fn versions(&self, key: KeyId) -> Result<Vec<Version>> {
        let sql = format!("SELECT {VERSION} FROM versions v WHERE key_id = $1 ORDER BY number");
        self.query(&sql, &[Value::text(key)])?.iter().map(|row| read_version(self, row)).collect()
    }

    /// The versions of a connection that should exist at the provider.
    ///
    /// # Errors
    /// When the ledger can't be read.
    pub fn live_versions(&self, connection: &ConnectionName) -> Result<Vec<Version>> {
        let sql = format!(
            "SELECT {VERSION} FROM versions v JOIN keys k ON k.id = v.key_id WHERE k.connection = $1 \
             AND v.state IN ('active', 'draining') ORDER BY v.id"
        );
        self.sound(&self.query(&sql, &[Value::text(connection)])?, read_version)
    }

    /// Active keys whose version has come to its end at the provider, at most 100.
    ///
    /// # Errors
    /// When the ledger can't be read.
    pub fn keys_expired(&self) -> Result<Vec<KeyId>> {
        let sql = "SELECT k.id FROM keys k WHERE k.state = 'active' AND NOT EXISTS (SELECT 1 FROM versions v \
                   WHERE v.key_id = k.id AND v.state <> 'revoked' AND (v.expires_at IS NULL OR v.expires_at > $1)) \
                   ORDER BY k.id LIMIT 100";
        self.query(sql, &[self.now().into()])?.iter().map(|row| row.parse(0, "key id")).collect()
    }

    /// Active keys whose version is due to be replaced, at most `limit`, the longest due first.
    ///
    /// # Errors
    /// When the ledger can't be read.
    pub fn keys_to_rotate(&self, limit: u32) -> Result<Vec<KeyId>> {
        let sql = "SELECT id FROM keys WHERE rotate_at IS NOT NULL AND rotate_at <= $1 AND state = 'active' \
                   ORDER BY rotate_at LIMIT $2";
        let rows = self.query(sql, &[self.now().into(), i64::from(limit).into()])?;
        rows.iter().map(|row| row.parse(0, "key id")).collect()
    }

    /// When a key's version is due to be replaced, and how often that failed since it last went well.
    ///
    /// # Errors
    /// [`LedgerError::Missing`].
    pub fn rotation_of(&self, id: KeyId) -> Result<(Option<Timestamp>, u64)> {
        let row = self.first("SELECT rotate_at, rotate_tries FROM keys WHERE id = $1", &[Value::text(id)])?;
        let row = row.ok_or_else(|| LedgerError::Missing { what: "key", name: id.to_string() })?;
        Ok((row.maybe_time(0)?, row.count(1)?))
    }

    /// Sets when a key's version is due to be replaced, and how often that failed since it last went well.
    ///
    /// # Errors
    /// When the ledger can't be written.
    pub fn set_rotation(&self, id: KeyId, at: Option<Timestamp>, tries: u64) -> Result<()> {
        let sql = "UPDATE keys SET rotate_at = $2, rotate_tries = $3 WHERE id = $1";
        self.execute(sql, &[Value::text(id), at.into(), tries.into()])?;
        Ok(())
    }

    /// The version that an attempt made.
    ///
    /// # Errors
    /// When the ledger can't be read.
    pub fn version_of(&self, attempt: keywright_core::id::AttemptId) -> Result<Option<Version>> {
        let sql = format!("SELECT {VERSION} FROM versions v WHERE attempt = $1");
        self.first(&sql, &[Value::text(attempt)])?.map(|row| read_version(self, &row)).transpose()
    }

    /// The fingerprint of a version's secret.
    ///
    /// # Errors
    /// [`LedgerError::Missing`].
    pub fn fingerprint(&self, version: VersionId) -> Result<Fingerprint> {
        let sql = format!("SELECT {VERSION} FROM versions v WHERE id = $1");
        let row = self.first(&sql, &[Value::text(version)])?;
        let row = row.ok_or_else(|| LedgerError::Missing { what: "version", name: version.to_string() })?;
        VERSIONS.check(self, &row)?;
        Fingerprint::from_hex(row.text(6)?).ok_or(LedgerError::Damaged { what: "fingerprint" })
    }

    /// The fingerprints of all versions in hexadecimal digits, the newest first, at most `limit`.
    ///
    /// # Errors
    /// When the ledger can't be read.
    pub fn fingerprints(&self, limit: u32) -> Result<Vec<String>> {
        let sql = "SELECT fingerprint FROM versions ORDER BY id DESC LIMIT $1";
        let rows = self.query(sql, &[i64::from(limit).into()])?;
        rows.iter().map(|row| row.text(0).map(str::to_owned)).collect()
    }

    /// The keys with a version whose fingerprint begins with these hexadecimal digits.
    ///
    /// # Errors
    /// When the ledger can't be read.
    pub fn keys_by_fingerprint(&self, digits: &str) -> Result<Vec<KeyId>> {
        let end = format!("{digits}g");
        let sql =
            "SELECT DISTINCT key_id FROM versions WHERE fingerprint >= $1 AND fingerprint < $2 LIMIT 10";
        let rows = self.query(sql, &[digits.into(), end.as_str().into()])?;
        rows.iter().map(|row| row.parse(0, "key id")).collect()
    }

    /// Sets a version's state.
    ///
    /// # Errors
    /// When the ledger can't be written.
    pub fn set_version_state(&self, id: VersionId, state: VersionState) -> Result<()> {
        self.execute("UPDATE versions SET state = $2 WHERE id = $1", &[Value::text(id), Value::text(state)])?;
        Ok(())
    }

    /// Records a placement that is about to be written.
    ///
    /// # Errors
    /// When the ledger can't be written.
    pub fn add_placement(&self, placement: &Placement) -> Result<()> {
        let facts = vec![
            Value::text(placement.id),
            Value::text(placement.version),
            Value::text(placement.key),
            Value::text(&placement.destination.place.store),
            placement.destination.place.place.as_str().into(),
            Value::maybe(placement.destination.base.as_deref()),
        ];
        self.execute(
            "INSERT INTO placements (id, version, key_id, store, place, base, state, updated_at, mac) \
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)",
            &PLACEMENTS.with(self, facts, [Value::text(placement.state), self.now().into()])?,
        )?;
        Ok(())
    }

    /// The placements of a key, in a fixed order.
    ///
    /// # Errors
    /// When the ledger can't be read.
    pub fn placements(&self, key: KeyId) -> Result<Vec<Placement>> {
        let sql = format!("SELECT {PLACEMENT} FROM placements WHERE key_id = $1 ORDER BY id");
        self.query(&sql, &[Value::text(key)])?.iter().map(|row| read_placement(self, row)).collect()
    }

    /// Copies of versions that are revoked, or owed by a key that is to end, that may still lie in their stores and were
    /// not tried since a moment, at most 100. Those that wait for people in their stores: not since the other one.
    ///
    /// # Errors
    /// When the ledger can't be read.
    pub fn placements_left(
        &self,
        untried_since: Timestamp,
        people_since: Timestamp,
    ) -> Result<Vec<Placement>> {
        let sql = format!(
            "SELECT {PLACEMENT} FROM placements WHERE (state IN ('leaving', 'unwanted') AND updated_at <= $2) \
             OR (state NOT IN ('leaving', 'unwanted', {}) AND updated_at <= $1 \
             AND version IN (SELECT id FROM versions WHERE state = 'revoked' OR (state = 'revoking' \
             AND key_id IN (SELECT id FROM keys WHERE state = 'revoking')))) ORDER BY updated_at LIMIT 100",
            nothing_lies()
        );
        self.sound(&self.query(&sql, &[untried_since.into(), people_since.into()])?, read_placement)
    }

    /// Writes what became of a copy that was to be taken back: its next state, with the change that the store has of it, or
    /// with `None` only that it was tried. `false` when it has its last state already; two may remove one copy, and the
    /// later one changes nothing.
    ///
    /// # Errors
    /// When the ledger can't be written.
    pub fn retire_placement(
        &self,
        id: PlacementId,
        next: Option<(PlacementState, Option<&Change>)>,
    ) -> Result<bool> {
        let sql = format!(
            "UPDATE placements SET state = COALESCE($2, state), change = COALESCE($3, change), updated_at = $4 \
             WHERE id = $1 AND state NOT IN ({})",
            nothing_lies()
        );
        let (state, change) = next.map_or((None, None), |(state, change)| (Some(state.as_str()), change));
        let values =
            [Value::text(id), Value::maybe(state), Value::maybe(change.map(Change::text)), self.now().into()];
        Ok(self.execute(&sql, &values)? > 0)
    }

    /// Records that a store waits for somebody's approval of a placement's write.
    ///
    /// # Errors
    /// When the ledger can't be written.
    pub fn await_placement(&self, id: PlacementId, change: &Change) -> Result<()> {
        self.execute(
            "UPDATE placements SET state = 'waiting', change = $2, updated_at = $3 WHERE id = $1",
            &[Value::text(id), Value::text(change.text()), self.now().into()],
        )?;
        Ok(())
    }

    /// Gives up the changes that nobody wants any more in a store that goes.
    ///
    /// # Errors
    /// When the ledger can't be written.
    pub fn forget_unwanted(&self, store: &StoreName) -> Result<()> {
        let sql = "UPDATE placements SET state = 'removed' WHERE store = $1 AND state = 'unwanted'";
        self.execute(sql, &[Value::text(store)])?;
        Ok(())
    }

    /// Moves a placement on, with what the store said about it.
    ///
    /// # Errors
    /// When the ledger can't be written.
    pub fn move_placement(
        &self,
        id: PlacementId,
        state: PlacementState,
        store_version: Option<&str>,
        verified: Option<VerifyMode>,
    ) -> Result<()> {
        self.execute(
            "UPDATE placements SET state = $2, store_version = COALESCE($3, store_version), \
             verified = COALESCE($4, verified), updated_at = $5 WHERE id = $1",
            &[
                Value::text(id),
                Value::text(state),
                Value::maybe(store_version),
                Value::maybe(verified),
                self.now().into(),
            ],
        )?;
        Ok(())
    }
}
