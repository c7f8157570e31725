//! Connections to providers, and configured stores.

use std::collections::BTreeMap;

use jiff::Timestamp;
use keywright_core::id::SealedId;
use keywright_core::name::{ConnectionName, Kind, StoreName};

use crate::error::{LedgerError, Result};
use crate::sql::{Facts, Row, Tx, Value, json};

/// One account at a provider, with the parent credential that the broker uses there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Connection {
    /// The name.
    pub name: ConnectionName,
    /// The provider's kind.
    pub kind: Kind,
    /// Where its API is, when not at the usual address.
    pub base_url: Option<String>,
    /// The account at the provider.
    pub account: Option<String>,
    /// What else the adapter wants to know.
    pub extra: BTreeMap<String, String>,
    /// The sealed parent credential.
    pub credential: SealedId,
    /// When it was added.
    pub added_at: Timestamp,
}

/// A secrets manager that keys may go to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfiguredStore {
    /// The name.
    pub name: StoreName,
    /// The store's kind.
    pub kind: Kind,
    /// Where it is.
    pub address: Option<String>,
    /// What else the adapter wants to know.
    pub extra: BTreeMap<String, String>,
    /// The sealed credential, where it needs one.
    pub credential: Option<SealedId>,
    /// When it was added.
    pub added_at: Timestamp,
}

pub(crate) const CONNECTIONS: Facts =
    Facts { table: "connections", what: "connection", count: 7, columns: CONNECTION };
const CONNECTION: &str = "name, kind, base_url, account, extra, credential, added_at, mac";
pub(crate) const STORES: Facts = Facts { table: "stores", what: "store", count: 6, columns: STORE };
const STORE: &str = "name, kind, address, extra, credential, added_at, mac";

impl Connection {
    /// Since when its parent credential is in use here: its id says when it came.
    #[must_use]
    pub fn parent_since(&self) -> Timestamp {
        self.credential.made_at().unwrap_or(self.added_at)
    }

    fn facts(&self) -> Result<Vec<Value>> {
        Ok(vec![
            Value::text(&self.name),
            Value::text(&self.kind),
            Value::maybe(self.base_url.as_deref()),
            Value::maybe(self.account.as_deref()),
            json(&self.extra)?,
            Value::text(self.credential),
            self.added_at.into(),
        ])
    }

    fn read(tx: &Tx<'_>, row: &Row) -> Result<Self> {
        CONNECTIONS.check(tx, row)?;
        Ok(Self {
            name: row.parse(0, "connection name")?,
            kind: row.parse(1, "kind")?,
            base_url: row.maybe_text(2)?.map(str::to_owned),
            account: row.maybe_text(3)?.map(str::to_owned),
            extra: row.json(4, "connection")?,
            credential: row.parse(5, "sealed value id")?,
            added_at: row.time(6)?,
        })
    }
}

impl ConfiguredStore {
    fn read(tx: &Tx<'_>, row: &Row) -> Result<Self> {
        STORES.check(tx, row)?;
        Ok(Self {
            name: row.parse(0, "store name")?,
            kind: row.parse(1, "kind")?,
            address: row.maybe_text(2)?.map(str::to_owned),
            extra: row.json(3, "store")?,
            credential: row.maybe_parse(4, "sealed value id")?,
            added_at: row.time(5)?,
        })
    }
}

impl Tx<'_> {
    /// The connections, by name.
    ///
    /// # Errors
    /// When the ledger can't be read.
    pub fn connections(&self) -> Result<Vec<Connection>> {
        let sql = format!("SELECT {CONNECTION} FROM connections ORDER BY name");
        self.query(&sql, &[])?.iter().map(|row| Connection::read(self, row)).collect()
    }

    /// The connections that are as they were added, by name.
    ///
    /// # Errors
    /// When the ledger can't be read.
    pub fn sound_connections(&self) -> Result<Vec<Connection>> {
        let sql = format!("SELECT {CONNECTION} FROM connections ORDER BY name");
        self.sound(&self.query(&sql, &[])?, Connection::read)
    }

    /// One connection.
    ///
    /// # Errors
    /// [`LedgerError::Missing`].
    pub fn connection(&self, name: &ConnectionName) -> Result<Connection> {
        let sql = format!("SELECT {CONNECTION} FROM connections WHERE name = $1");
        let row = self.first(&sql, &[Value::text(name)])?;
        row.map(|row| Connection::read(self, &row))
            .transpose()?
            .ok_or_else(|| LedgerError::Missing { what: "connection", name: name.to_string() })
    }

    /// Removes a connection. Its credential is the caller's to erase.
    ///
    /// # Errors
    /// [`LedgerError::Missing`].
    pub fn remove_connection(&self, name: &ConnectionName) -> Result<()> {
        match self.execute("DELETE FROM connections WHERE name = $1", &[Value::text(name)])? {
            0 => Err(LedgerError::Missing { what: "connection", name: name.to_string() }),
            _ => Ok(()),
        }
    }

    /// Has a connection work with another credential, which was sealed in the same transaction; the one before is
    /// destroyed.
    ///
    /// # Errors
    /// [`LedgerError::Missing`], or [`LedgerError::Conflict`] when it is not as it was read.
    pub fn change_credential(&self, read: &Connection, credential: SealedId) -> Result<Connection> {
        if self.connection(&read.name)? != *read {
            return Err(LedgerError::Conflict { what: "connection" });
        }
        let changed = Connection { credential, ..read.clone() };
        let mac = CONNECTIONS.mac(self, &changed.facts()?)?;
        self.execute(
            "UPDATE connections SET credential = $2, mac = $3 WHERE name = $1",
            &[Value::text(&changed.name), Value::text(credential), mac],
        )?;
        self.erase_one(read.credential)?;
        Ok(changed)
    }

    /// Adds a connection whose credential was sealed in the same transaction.
    ///
    /// # Errors
    /// [`LedgerError::Exists`].
    pub fn add_connection(&self, connection: &Connection) -> Result<()> {
        let rows = self.execute(
            "INSERT INTO connections (name, kind, base_url, account, extra, credential, added_at, mac) \
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8) ON CONFLICT DO NOTHING",
            &CONNECTIONS.with(self, connection.facts()?, [])?,
        )?;
        if rows == 0 {
            return Err(LedgerError::Exists { what: "connection", name: connection.name.to_string() });
        }
        Ok(())
    }

    /// The configured stores whose rows are sound, by name.
    ///
    /// # Errors
    /// When the ledger can't be read.
    pub fn sound_stores(&self) -> Result<Vec<ConfiguredStore>> {
        let sql = format!("SELECT {STORE} FROM stores ORDER BY name");
        self.sound(&self.query(&sql, &[])?, ConfiguredStore::read)
    }

    /// The configured stores, by name.
    ///
    /// # Errors
    /// When the ledger can't be read.
    pub fn stores(&self) -> Result<Vec<ConfiguredStore>> {
        let sql = format!("SELECT {STORE} FROM stores ORDER BY name");
        self.query(&sql, &[])?.iter().map(|row| ConfiguredStore::read(self, row)).collect()
    }

    /// One configured store.
    ///
    /// # Errors
    /// [`LedgerError::Missing`].
    pub fn store(&self, name: &StoreName) -> Result<ConfiguredStore> {
        let sql = format!("SELECT {STORE} FROM stores WHERE name = $1");
        let row = self.first(&sql, &[Value::text(name)])?;
        row.map(|row| ConfiguredStore::read(self, &row))
            .transpose()?
            .ok_or_else(|| LedgerError::Missing { what: "store", name: name.to_string() })
    }

    /// Removes a store. Its credential is the caller's to erase.
    ///
    /// # Errors
    /// [`LedgerError::Missing`].
    pub fn remove_store(&self, name: &StoreName) -> Result<()> {
        match self.execute("DELETE FROM stores WHERE name = $1", &[Value::text(name)])? {
            0 => Err(LedgerError::Missing { what: "store", name: name.to_string() }),
            _ => Ok(()),
        }
    }

    /// Adds a store.
    ///
    /// # Errors
    /// [`LedgerError::Exists`].
    pub fn add_store(&self, store: &ConfiguredStore) -> Result<()> {
        let facts = vec![
            Value::text(&store.name),
            Value::text(&store.kind),
            Value::maybe(store.address.as_deref()),
            json(&store.extra)?,
            Value::maybe(store.credential),
            store.added_at.into(),
        ];
        let rows = self.execute(
            "INSERT INTO stores (name, kind, address, extra, credential, added_at, mac) \
             VALUES ($1, $2, $3, $4, $5, $6, $7) ON CONFLICT DO NOTHING",
            &STORES.with(self, facts, [])?,
        )?;
        if rows == 0 {
            return Err(LedgerError::Exists { what: "store", name: store.name.to_string() });
        }
        Ok(())
    }
}
