//! Agents and workloads: known by a token of which only a keyed hash is kept.

use jiff::Timestamp;
use keywright_core::name::{AgentName, EnvironmentName, OperatorName, ProjectName, WorkloadName};

use super::vouched::Vouched;
use crate::error::Result;
use crate::seal::Keyring;
use crate::sql::{Row, RowMac, Tx, Value};

/// A principal that asks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Agent {
    /// The name.
    pub name: AgentName,
    /// Who added it.
    pub added_by: OperatorName,
    /// When.
    pub added_at: Timestamp,
    /// What vouches for its row.
    pub mac: RowMac,
}

/// A program that reads keys at run time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Workload {
    /// The name.
    pub name: WorkloadName,
    /// The project whose keys it may read.
    pub project: ProjectName,
    /// The environment, or any.
    pub environment: Option<EnvironmentName>,
    /// Who added it.
    pub added_by: OperatorName,
    /// When.
    pub added_at: Timestamp,
    /// What vouches for its row.
    pub mac: RowMac,
}

const AGENTS: Vouched = Vouched {
    table: "agents",
    what: "agent",
    columns: &["name", "token_hash", "added_by", "added_at", "removed_at"],
};

const WORKLOADS: Vouched = Vouched {
    table: "workloads",
    what: "workload",
    columns: &["name", "token_hash", "project", "environment", "added_by", "added_at", "removed_at"],
};

impl Agent {
    fn read(row: &Row, keyring: &Keyring) -> Result<Self> {
        let mac = AGENTS.check(row, keyring)?;
        Ok(Self {
            name: row.parse(0, "agent name")?,
            added_by: row.parse(2, "operator name")?,
            added_at: row.time(3)?,
            mac,
        })
    }
}

impl Workload {
    fn read(row: &Row, keyring: &Keyring) -> Result<Self> {
        let mac = WORKLOADS.check(row, keyring)?;
        Ok(Self {
            name: row.parse(0, "workload name")?,
            project: row.parse(2, "project name")?,
            environment: row.maybe_parse(3, "environment name")?,
            added_by: row.parse(4, "operator name")?,
            added_at: row.time(5)?,
            mac,
        })
    }
}

impl Tx<'_> {
    /// The agents, by name, each row for itself: one that was edited takes no other with it.
    ///
    /// # Errors
    /// When the ledger can't be read.
    pub fn agents(&self, keyring: &Keyring) -> Result<Vec<Result<Agent>>> {
        let rows = self.query(&AGENTS.select(""), &[])?;
        Ok(rows.iter().map(|row| Agent::read(row, keyring)).collect())
    }

    /// The agent of this name; `None` where there is none, or it was removed.
    ///
    /// # Errors
    /// [`LedgerError::Edited`](crate::LedgerError::Edited), or when the ledger can't be read.
    pub fn agent(&self, name: &AgentName, keyring: &Keyring) -> Result<Option<Agent>> {
        let row = self.first(&AGENTS.select(" AND name = $1"), &[Value::text(name)])?;
        row.map(|row| Agent::read(&row, keyring)).transpose()
    }

    /// The agent whose token has this hash.
    ///
    /// # Errors
    /// [`LedgerError::Edited`](crate::LedgerError::Edited), or when the ledger can't be read.
    pub fn agent_by_token(&self, hash: &[u8; 32], keyring: &Keyring) -> Result<Option<Agent>> {
        let row = self.first(&AGENTS.select(" AND token_hash = $1"), &[hash.as_slice().into()])?;
        row.map(|row| Agent::read(&row, keyring)).transpose()
    }

    /// Whether there is an agent of this name that was not removed, whatever else its row says.
    ///
    /// # Errors
    /// When the ledger can't be read.
    pub fn has_agent(&self, name: &AgentName) -> Result<bool> {
        let sql = "SELECT name FROM agents WHERE name = $1 AND removed_at IS NULL";
        Ok(self.first(sql, &[Value::text(name)])?.is_some())
    }

    /// Adds an agent. A name that was ever used stays taken, so that the audit log keeps its meaning.
    ///
    /// # Errors
    /// [`LedgerError::Exists`](crate::LedgerError::Exists), [`LedgerError::Alike`](crate::LedgerError::Alike).
    pub fn add_agent(
        &self,
        name: &AgentName,
        token_hash: &[u8; 32],
        by: &OperatorName,
        keyring: &Keyring,
    ) -> Result<RowMac> {
        let values =
            vec![Value::text(name), token_hash.as_slice().into(), Value::text(by), self.now().into()];
        AGENTS.insert(self, values, keyring)
    }

    /// Removes an agent; its token is worth nothing from then on.
    ///
    /// # Errors
    /// [`LedgerError::Missing`](crate::LedgerError::Missing).
    pub fn remove_agent(&self, name: &AgentName, keyring: &Keyring) -> Result<()> {
        AGENTS.remove(self, name.as_str(), keyring)
    }

    /// The workloads, by name, each row for itself: one that was edited takes no other with it.
    ///
    /// # Errors
    /// When the ledger can't be read.
    pub fn workloads(&self, keyring: &Keyring) -> Result<Vec<Result<Workload>>> {
        let rows = self.query(&WORKLOADS.select(""), &[])?;
        Ok(rows.iter().map(|row| Workload::read(row, keyring)).collect())
    }

    /// The workload whose token has this hash.
    ///
    /// # Errors
    /// [`LedgerError::Edited`](crate::LedgerError::Edited), or when the ledger can't be read.
    pub fn workload_by_token(&self, hash: &[u8; 32], keyring: &Keyring) -> Result<Option<Workload>> {
        let row = self.first(&WORKLOADS.select(" AND token_hash = $1"), &[hash.as_slice().into()])?;
        row.map(|row| Workload::read(&row, keyring)).transpose()
    }

    /// Adds a workload.
    ///
    /// # Errors
    /// [`LedgerError::Exists`](crate::LedgerError::Exists), [`LedgerError::Alike`](crate::LedgerError::Alike).
    pub fn add_workload(
        &self,
        name: &WorkloadName,
        token_hash: &[u8; 32],
        project: &ProjectName,
        environment: Option<&EnvironmentName>,
        by: &OperatorName,
        keyring: &Keyring,
    ) -> Result<RowMac> {
        let values = vec![
            Value::text(name),
            token_hash.as_slice().into(),
            Value::text(project),
            Value::maybe(environment),
            Value::text(by),
            self.now().into(),
        ];
        WORKLOADS.insert(self, values, keyring)
    }

    /// Removes a workload; its token is worth nothing from then on.
    ///
    /// # Errors
    /// [`LedgerError::Missing`](crate::LedgerError::Missing).
    pub fn remove_workload(&self, name: &WorkloadName, keyring: &Keyring) -> Result<()> {
        WORKLOADS.remove(self, name.as_str(), keyring)
    }
}
