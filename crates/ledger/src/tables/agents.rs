//! Agents and workloads: known by a token of which only a keyed hash is kept.

use jiff::Timestamp;
use keywright_core::name::{AgentName, EnvironmentName, OperatorName, ProjectName, WorkloadName};

use crate::error::{LedgerError, Result};
use crate::sql::{Row, Tx, Value};

/// A principal that asks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Agent {
    /// The name.
    pub name: AgentName,
    /// Who added it.
    pub added_by: OperatorName,
    /// When.
    pub added_at: Timestamp,
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
}

const AGENT: &str = "name, added_by, added_at";
const WORKLOAD: &str = "name, project, environment, added_by, added_at";

impl Agent {
    fn read(row: &Row) -> Result<Self> {
        Ok(Self {
            name: row.parse(0, "agent name")?,
            added_by: row.parse(1, "operator name")?,
            added_at: row.time(2)?,
        })
    }
}

impl Workload {
    fn read(row: &Row) -> Result<Self> {
        Ok(Self {
            name: row.parse(0, "workload name")?,
            project: row.parse(1, "project name")?,
            environment: row.maybe_parse(2, "environment name")?,
            added_by: row.parse(3, "operator name")?,
            added_at: row.time(4)?,
        })
    }
}

impl Tx<'_> {
    /// The agents, by name.
    ///
    /// # Errors
    /// When the ledger can't be read.
    pub fn agents(&self) -> Result<Vec<Agent>> {
        let sql = format!("SELECT {AGENT} FROM agents WHERE removed_at IS NULL ORDER BY name");
        self.query(&sql, &[])?.iter().map(Agent::read).collect()
    }

    /// The agent whose token has this hash.
    ///
    /// # Errors
    /// When the ledger can't be read.
    pub fn agent_by_token(&self, hash: &[u8; 32]) -> Result<Option<Agent>> {
        let sql = format!("SELECT {AGENT} FROM agents WHERE token_hash = $1 AND removed_at IS NULL");
        self.first(&sql, &[hash.as_slice().into()])?.map(|row| Agent::read(&row)).transpose()
    }

    /// Adds an agent. A name that was ever used stays taken, so that the audit log keeps its meaning.
    ///
    /// # Errors
    /// [`LedgerError::Exists`].
    pub fn add_agent(&self, name: &AgentName, token_hash: &[u8; 32], by: &OperatorName) -> Result<()> {
        let rows = self.execute(
            "INSERT INTO agents (name, token_hash, added_by, added_at) VALUES ($1, $2, $3, $4) ON CONFLICT DO NOTHING",
            &[Value::text(name), token_hash.as_slice().into(), Value::text(by), self.now().into()],
        )?;
        if rows == 0 {
            return Err(LedgerError::Exists { what: "agent", name: name.to_string() });
        }
        Ok(())
    }

    /// Removes an agent; its token is worth nothing from then on.
    ///
    /// # Errors
    /// [`LedgerError::Missing`].
    pub fn remove_agent(&self, name: &AgentName) -> Result<()> {
        let rows = self.execute(
            "UPDATE agents SET removed_at = $2 WHERE name = $1 AND removed_at IS NULL",
            &[Value::text(name), self.now().into()],
        )?;
        if rows == 0 {
            return Err(LedgerError::Missing { what: "agent", name: name.to_string() });
        }
        Ok(())
    }

    /// The workloads, by name.
    ///
    /// # Errors
    /// When the ledger can't be read.
    pub fn workloads(&self) -> Result<Vec<Workload>> {
        let sql = format!("SELECT {WORKLOAD} FROM workloads WHERE removed_at IS NULL ORDER BY name");
        self.query(&sql, &[])?.iter().map(Workload::read).collect()
    }

    /// The workload whose token has this hash.
    ///
    /// # Errors
    /// When the ledger can't be read.
    pub fn workload_by_token(&self, hash: &[u8; 32]) -> Result<Option<Workload>> {
        let sql = format!("SELECT {WORKLOAD} FROM workloads WHERE token_hash = $1 AND removed_at IS NULL");
        self.first(&sql, &[hash.as_slice().into()])?.map(|row| Workload::read(&row)).transpose()
    }

    /// Adds a workload.
    ///
    /// # Errors
    /// [`LedgerError::Exists`].
    pub fn add_workload(
        &self,
        name: &WorkloadName,
        token_hash: &[u8; 32],
        project: &ProjectName,
        environment: Option<&EnvironmentName>,
        by: &OperatorName,
    ) -> Result<()> {
        let rows = self.execute(
            "INSERT INTO workloads (name, token_hash, project, environment, added_by, added_at) \
             VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT DO NOTHING",
            &[
                Value::text(name),
                token_hash.as_slice().into(),
                Value::text(project),
                Value::maybe(environment),
                Value::text(by),
                self.now().into(),
            ],
        )?;
        if rows == 0 {
            return Err(LedgerError::Exists { what: "workload", name: name.to_string() });
        }
        Ok(())
    }

    /// Removes a workload; its token is worth nothing from then on.
    ///
    /// # Errors
    /// [`LedgerError::Missing`].
    pub fn remove_workload(&self, name: &WorkloadName) -> Result<()> {
        let rows = self.execute(
            "UPDATE workloads SET removed_at = $2 WHERE name = $1 AND removed_at IS NULL",
            &[Value::text(name), self.now().into()],
        )?;
        if rows == 0 {
            return Err(LedgerError::Missing { what: "workload", name: name.to_string() });
        }
        Ok(())
    }
}
