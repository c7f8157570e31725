//! Keys and their versions.

use jiff::Timestamp;
use keywright_core::id::{KeyId, VersionId};
use keywright_core::key::{Key, KeyState, Version, VersionState};
use keywright_core::name::{AgentName, ConnectionName, EnvironmentName, KeyName, ProjectName, StoreName};
use keywright_core::secret::Fingerprint;

use crate::error::{LedgerError, Result};
use crate::sql::{Facts, Row, Tx, Value};

pub(crate) const KEYS: Facts = Facts { table: "keys", what: "key", count: 10, columns: KEY };
pub(super) const KEY: &str =
    "id, name, project, environment, provider, connection, template, request, agent, created_at, state, mac";
pub(crate) const VERSIONS: Facts = Facts { table: "versions", what: "version", count: 7, columns: VERSION };
pub(super) const VERSION: &str =
    "v.id, v.key_id, v.attempt, v.number, v.provider_key_id, v.expires_at, v.fingerprint, v.state, v.mac";

pub(super) fn read_key(tx: &Tx<'_>, row: &Row) -> Result<Key> {
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
        state: row.state_or(10, KeyState::parse, KeyState::Active),
    })
}

pub(super) fn read_version(tx: &Tx<'_>, row: &Row) -> Result<Version> {
    VERSIONS.check(tx, row)?;
    Ok(Version {
        id: row.parse(0, "version id")?,
        key: row.parse(1, "key id")?,
        attempt: row.parse(2, "attempt id")?,
        number: row.count(3)?,
        provider_key_id: row.text(4)?.to_owned(),
        expires_at: row.maybe_time(5)?,
        state: row.state_or(7, VersionState::parse, VersionState::Active),
    })
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

    /// The keys of an agent that live or are being made, newest first, at most `limit`.
    ///
    /// # Errors
    /// When the ledger can't be read.
    pub fn keys_of(&self, agent: &AgentName, limit: u32) -> Result<Vec<Key>> {
        let sql = format!(
            "SELECT {KEY} FROM keys WHERE agent = $1 AND state IN ('minting', 'active') ORDER BY id DESC LIMIT $2"
        );
        self.sound(&self.query(&sql, &[Value::text(agent), i64::from(limit).into()])?, read_key)
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

    /// The keys that an agent asked for and that are not over, newest first.
    ///
    /// # Errors
    /// When the ledger can't be read.
    pub fn keys_of_agent(&self, agent: &AgentName) -> Result<Vec<Key>> {
        let sql = format!(
            "SELECT {KEY} FROM keys WHERE agent = $1 AND state IN ('minting', 'active', 'revoking') \
             ORDER BY created_at DESC, id DESC"
        );
        self.sound(&self.query(&sql, &[Value::text(agent)])?, read_key)
    }

    /// The keys that an agent asked for and that are over, newest first.
    ///
    /// # Errors
    /// When the ledger can't be read.
    pub fn keys_of_agent_over(&self, agent: &AgentName) -> Result<Vec<Key>> {
        let sql = format!(
            "SELECT {KEY} FROM keys WHERE agent = $1 AND state NOT IN ('minting', 'active', 'revoking') \
             ORDER BY created_at DESC, id DESC"
        );
        self.sound(&self.query(&sql, &[Value::text(agent)])?, read_key)
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
            super::placements::nothing_lies()
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
        // What is no state is read as the one that it is moved from when a key is ended.
        let is_none = match from {
            KeyState::Active => " OR state NOT IN ('minting', 'active', 'revoking', 'revoked', 'failed')",
            _ => "",
        };
        let rows = self.execute(
            &format!("UPDATE keys SET state = $3 WHERE id = $1 AND (state = $2{is_none})"),
            &[Value::text(id), Value::text(from), Value::text(to)],
        )?;
        if rows == 0 {
            return Err(LedgerError::Conflict { what: "the key" });
        }
        if matches!(to, KeyState::Revoked | KeyState::Failed) { self.release(id) } else { Ok(()) }
    }

    /// Records a version that the provider made. Of one that was made elsewhere nobody knows the secret, nor its fingerprint.
    ///
    /// # Errors
    /// When the ledger can't be written.
    pub fn add_version(&self, version: &Version, fingerprint: Option<&Fingerprint>) -> Result<()> {
        let facts = vec![
            Value::text(version.id),
            Value::text(version.key),
            Value::text(version.attempt),
            version.number.into(),
            version.provider_key_id.as_str().into(),
            version.expires_at.into(),
            Value::maybe(fingerprint.map(Fingerprint::to_hex)),
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

    /// The versions of a key that are as they were written, oldest first.
    ///
    /// # Errors
    /// When the ledger can't be read.
    pub fn sound_versions(&self, key: KeyId) -> Result<Vec<Version>> {
        let sql = format!("SELECT {VERSION} FROM versions v WHERE key_id = $1 ORDER BY number");
        self.sound(&self.query(&sql, &[Value::text(key)])?, read_version)
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
        let sql = format!(
            "SELECT {KEY} FROM keys WHERE state = 'active' AND id IN (SELECT key_id FROM versions \
             WHERE state <> 'revoked' AND expires_at <= $1) AND NOT EXISTS (SELECT 1 FROM versions v \
             WHERE v.key_id = keys.id AND v.state <> 'revoked' AND (v.expires_at IS NULL OR v.expires_at > $1)) \
             ORDER BY id"
        );
        let keys = self.first_sound(&sql, &[self.now().into()], 100, read_key)?;
        Ok(keys.into_iter().map(|key| key.id).collect())
    }

    /// Since when a key is switched off at the provider; `None` while it is on.
    ///
    /// # Errors
    /// [`LedgerError::Missing`].
    pub fn disabled_since(&self, id: KeyId) -> Result<Option<Timestamp>> {
        let row = self.first("SELECT disabled_at FROM keys WHERE id = $1", &[Value::text(id)])?;
        let row = row.ok_or_else(|| LedgerError::Missing { what: "key", name: id.to_string() })?;
        Ok(row.time_if(0))
    }

    /// Sets whether a key is switched off at the provider.
    ///
    /// # Errors
    /// When the ledger can't be written.
    pub fn set_disabled(&self, id: KeyId, is_off: bool) -> Result<()> {
        let at = is_off.then(|| self.now());
        self.execute("UPDATE keys SET disabled_at = $2 WHERE id = $1", &[Value::text(id), at.into()])?;
        Ok(())
    }

    /// The key that has, or had, a credential of a connection, by the provider's id of it. Where there are several it is the one that
    /// has it, or the newest.
    ///
    /// # Errors
    /// When the ledger can't be read.
    pub fn key_of_credential(
        &self,
        connection: &ConnectionName,
        provider_key_id: &str,
    ) -> Result<Option<(Key, Version)>> {
        let sql = format!(
            "SELECT {VERSION} FROM versions v JOIN keys k ON k.id = v.key_id WHERE k.connection = $1 \
             AND v.provider_key_id = $2 ORDER BY CASE v.state WHEN 'revoked' THEN 1 ELSE 0 END, v.created_at DESC, v.id DESC \
             LIMIT 1"
        );
        let row = self.first(&sql, &[Value::text(connection), provider_key_id.into()])?;
        let version = row.map(|row| read_version(self, &row)).transpose()?;
        version.map(|version| Ok((self.key(version.key)?, version))).transpose()
    }

    /// The provider's ids of every credential of a connection that has a version which is not over.
    ///
    /// # Errors
    /// When the ledger can't be read.
    pub fn credentials_of(&self, connection: &ConnectionName) -> Result<Vec<String>> {
        let sql = "SELECT v.provider_key_id FROM versions v JOIN keys k ON k.id = v.key_id WHERE k.connection = $1 \
                   AND v.state <> 'revoked'";
        let rows = self.query(sql, &[Value::text(connection)])?;
        rows.iter().map(|row| row.text(0).map(str::to_owned)).collect()
    }

    /// The provider's ids of the credentials that were adopted through a connection and count as ended: nothing marks them.
    ///
    /// # Errors
    /// When the ledger can't be read.
    pub fn adopted_and_ended(&self, connection: &ConnectionName) -> Result<Vec<String>> {
        // Of what was made elsewhere nobody knows the secret's fingerprint; that is under the MAC, and how an attempt ended is not.
        let sql = format!(
            "SELECT {VERSION} FROM versions v JOIN keys k ON k.id = v.key_id \
             WHERE k.connection = $1 AND v.state = 'revoked' AND v.fingerprint IS NULL"
        );
        let ended = self.sound(&self.query(&sql, &[Value::text(connection)])?, read_version)?;
        Ok(ended.into_iter().map(|version| version.provider_key_id).collect())
    }

    /// The versions that are being revoked.
    ///
    /// # Errors
    /// When the ledger can't be read.
    pub fn versions_revoking(&self) -> Result<Vec<Version>> {
        let sql = format!("SELECT {VERSION} FROM versions v WHERE v.state = 'revoking' ORDER BY v.id");
        self.sound(&self.query(&sql, &[])?, read_version)
    }

    /// The version that an attempt made.
    ///
    /// # Errors
    /// When the ledger can't be read.
    pub fn version_of(&self, attempt: keywright_core::id::AttemptId) -> Result<Option<Version>> {
        let sql = format!("SELECT {VERSION} FROM versions v WHERE attempt = $1");
        self.first(&sql, &[Value::text(attempt)])?.map(|row| read_version(self, &row)).transpose()
    }

    /// The fingerprint of a version's secret, where that is known.
    ///
    /// # Errors
    /// [`LedgerError::Missing`].
    pub fn fingerprint(&self, version: VersionId) -> Result<Option<Fingerprint>> {
        let sql = format!("SELECT {VERSION} FROM versions v WHERE id = $1");
        let row = self.first(&sql, &[Value::text(version)])?;
        let row = row.ok_or_else(|| LedgerError::Missing { what: "version", name: version.to_string() })?;
        VERSIONS.check(self, &row)?;
        let read = |text| Fingerprint::from_hex(text).ok_or(LedgerError::Damaged { what: "fingerprint" });
        row.maybe_text(6)?.map(read).transpose()
    }

    /// The fingerprints of all versions in hexadecimal digits, the newest first, at most `limit`.
    ///
    /// # Errors
    /// When the ledger can't be read.
    pub fn fingerprints(&self, limit: u32) -> Result<Vec<String>> {
        let sql = "SELECT fingerprint FROM versions WHERE fingerprint IS NOT NULL ORDER BY id DESC LIMIT $1";
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
        if matches!(state, VersionState::Revoking | VersionState::Revoked) {
            // Its copies are looked at from now on, until they are gone.
            let sql = "UPDATE placements SET ends_at = $2 WHERE key_id = (SELECT key_id FROM versions WHERE id = $1) \
                       AND version = $1 AND ends_at IS NULL";
            self.execute(sql, &[Value::text(id), self.now().into()])?;
        }
        Ok(())
    }
}
