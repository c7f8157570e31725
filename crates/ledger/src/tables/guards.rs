//! The guard rails that an operator applied: templates and policies, each version with its signature.

use jiff::Timestamp;
use keywright_core::id::RequestId;
use keywright_core::name::{AgentName, OperatorName, TemplateId};
use keywright_core::template::ResolvedTemplate;
use keywright_core::text::Untrusted;

use crate::error::{LedgerError, Result};
use crate::sql::{Facts, Row, Tx, Value, json};

/// A template in force.
#[derive(Debug, Clone)]
pub struct AppliedTemplate {
    /// Counts up with every apply of this id.
    pub version: u64,
    /// The file as it was.
    pub source: String,
    /// What it means.
    pub resolved: ResolvedTemplate,
    /// Who put it in force.
    pub applied_by: OperatorName,
    /// Their Ed25519 signature over the source.
    pub signature: [u8; 64],
    /// When.
    pub applied_at: Timestamp,
}

/// The policy set in force.
#[derive(Debug, Clone)]
pub struct AppliedPolicy {
    /// Counts up with every apply.
    pub version: u64,
    /// The text as it was.
    pub source: String,
    /// Who put it in force.
    pub applied_by: OperatorName,
    /// Their Ed25519 signature over the source.
    pub signature: [u8; 64],
    /// When.
    pub applied_at: Timestamp,
}

/// A template that an agent proposed. It counts for nothing until an operator applies it.
#[derive(Debug, Clone)]
pub struct Proposal {
    /// Its id, as of a request.
    pub request: RequestId,
    /// Who proposed it.
    pub agent: AgentName,
    /// The template's id.
    pub template: TemplateId,
    /// Its source.
    pub source: String,
    /// Why, in the agent's words.
    pub why: String,
    /// `pending`, `applied` or `rejected`.
    pub state: String,
    /// When.
    pub created_at: Timestamp,
}

const TEMPLATE: &str = "version, source, resolved, applied_by, signature, applied_at, id";
pub(crate) static PROPOSALS: Facts = Facts {
    table: "proposals",
    what: "proposal",
    count: 6,
    columns: "request, agent, template, source, why, created_at, state, mac",
};

impl AppliedTemplate {
    /// The row's digest is on record, but not under which id the row lies.
    fn read(_: &Tx<'_>, row: &Row) -> Result<Self> {
        let (resolved, id): (ResolvedTemplate, _) = (row.json(2, "template")?, row.text(6)?);
        if resolved.template.id.as_str() != id {
            return Err(LedgerError::Edited { what: "template", name: Untrusted::capped(id, 80) });
        }
        Ok(Self {
            version: row.count(0)?,
            source: row.text(1)?.to_owned(),
            resolved,
            applied_by: row.parse(3, "operator name")?,
            signature: row.array(4)?,
            applied_at: row.time(5)?,
        })
    }
}

impl Proposal {
    fn read(tx: &Tx<'_>, row: &Row) -> Result<Self> {
        PROPOSALS.check(tx, row)?;
        Ok(Self {
            request: row.parse(0, "request id")?,
            agent: row.parse(1, "agent name")?,
            template: row.parse(2, "template id")?,
            source: row.text(3)?.to_owned(),
            why: row.text(4)?.to_owned(),
            created_at: row.time(5)?,
            state: row.text(6)?.to_owned(),
        })
    }
}

impl Tx<'_> {
    /// The templates in force, by id.
    ///
    /// # Errors
    /// When the ledger can't be read.
    pub fn templates(&self) -> Result<Vec<AppliedTemplate>> {
        let sql = format!("SELECT {TEMPLATE} FROM templates WHERE retired_at IS NULL ORDER BY id");
        self.sound(&self.query(&sql, &[])?, AppliedTemplate::read)
    }

    /// The template in force under this id.
    ///
    /// # Errors
    /// When the ledger can't be read.
    pub fn template(&self, id: &TemplateId) -> Result<Option<AppliedTemplate>> {
        let sql = format!("SELECT {TEMPLATE} FROM templates WHERE id = $1 AND retired_at IS NULL");
        self.first(&sql, &[Value::text(id)])?.map(|row| AppliedTemplate::read(self, &row)).transpose()
    }

    /// Puts a template in force in place of its earlier version, and says which version it is.
    ///
    /// # Errors
    /// When the ledger can't be written.
    pub fn apply_template(
        &self,
        source: &str,
        resolved: &ResolvedTemplate,
        by: &OperatorName,
        signature: &[u8; 64],
    ) -> Result<u64> {
        let id = &resolved.template.id;
        let row =
            self.first("SELECT COALESCE(MAX(version), 0) FROM templates WHERE id = $1", &[Value::text(id)])?;
        let version = row.map(|row| row.count(0)).transpose()?.unwrap_or(0) + 1;
        self.execute(
            "UPDATE templates SET retired_at = $2 WHERE id = $1 AND retired_at IS NULL",
            &[Value::text(id), self.now().into()],
        )?;
        self.execute(
            "INSERT INTO templates (id, version, source, resolved, applied_by, signature, applied_at) \
             VALUES ($1, $2, $3, $4, $5, $6, $7)",
            &[
                Value::text(id),
                version.into(),
                source.into(),
                json(resolved)?,
                Value::text(by),
                signature.as_slice().into(),
                self.now().into(),
            ],
        )?;
        Ok(version)
    }

    /// What is said of each template in force that lies under another id than its own.
    pub(crate) fn misplaced_templates(&self, edited: &mut Vec<LedgerError>) -> Result<()> {
        let sql = format!("SELECT {TEMPLATE} FROM templates WHERE retired_at IS NULL");
        for row in self.query(&sql, &[])? {
            match AppliedTemplate::read(self, &row) {
                Err(error @ LedgerError::Edited { .. }) => edited.push(error),
                other => drop(other?),
            }
        }
        Ok(())
    }

    /// Which version of the policy is in force; 0 when none is. The text may be large, the number is not.
    ///
    /// # Errors
    /// When the ledger can't be read.
    pub fn policy_version(&self) -> Result<u64> {
        let row = self.first("SELECT COALESCE(MAX(version), 0) FROM policies", &[])?;
        row.map_or(Ok(0), |row| row.count(0))
    }

    /// The policy in force.
    ///
    /// # Errors
    /// When the ledger can't be read, or `init` never ran.
    pub fn policy(&self) -> Result<AppliedPolicy> {
        let sql = "SELECT version, source, applied_by, signature, applied_at FROM policies ORDER BY version DESC LIMIT 1";
        let row = self.first(sql, &[])?;
        let row = row.ok_or(LedgerError::Missing { what: "policy", name: "in force".to_owned() })?;
        Ok(AppliedPolicy {
            version: row.count(0)?,
            source: row.text(1)?.to_owned(),
            applied_by: row.parse(2, "operator name")?,
            signature: row.array(3)?,
            applied_at: row.time(4)?,
        })
    }

    /// Puts a policy in force, and says which version it is.
    ///
    /// # Errors
    /// When the ledger can't be written.
    pub fn apply_policy(&self, source: &str, by: &OperatorName, signature: &[u8; 64]) -> Result<u64> {
        let row = self.first("SELECT COALESCE(MAX(version), 0) FROM policies", &[])?;
        let version = row.map(|row| row.count(0)).transpose()?.unwrap_or(0) + 1;
        self.execute(
            "INSERT INTO policies (version, source, applied_by, signature, applied_at) VALUES ($1, $2, $3, $4, $5)",
            &[version.into(), source.into(), Value::text(by), signature.as_slice().into(), self.now().into()],
        )?;
        Ok(version)
    }

    /// Keeps an agent's proposal for review.
    ///
    /// # Errors
    /// When the ledger can't be written.
    pub fn add_proposal(&self, proposal: &Proposal) -> Result<()> {
        let facts = vec![
            Value::text(proposal.request),
            Value::text(&proposal.agent),
            Value::text(&proposal.template),
            proposal.source.as_str().into(),
            proposal.why.as_str().into(),
            self.now().into(),
        ];
        self.execute(
            "INSERT INTO proposals (request, agent, template, source, why, created_at, state, mac) \
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8)",
            &PROPOSALS.with(self, facts, ["pending".into()])?,
        )?;
        Ok(())
    }

    /// The proposals that wait for an operator, oldest first.
    ///
    /// # Errors
    /// When the ledger can't be read.
    pub fn proposals(&self) -> Result<Vec<Proposal>> {
        let sql = format!(
            "SELECT {} FROM proposals WHERE state = 'pending' ORDER BY created_at, request LIMIT 1000",
            PROPOSALS.columns
        );
        self.sound(&self.query(&sql, &[])?, Proposal::read)
    }

    /// One proposal.
    ///
    /// # Errors
    /// When the ledger can't be read.
    pub fn proposal(&self, id: RequestId) -> Result<Option<Proposal>> {
        let sql = format!("SELECT {} FROM proposals WHERE request = $1", PROPOSALS.columns);
        self.first(&sql, &[Value::text(id)])?.map(|row| Proposal::read(self, &row)).transpose()
    }

    /// Ends a proposal's wait: `applied` or `rejected`; by whom, and why.
    ///
    /// # Errors
    /// [`LedgerError::Conflict`] when it no longer waits.
    pub fn settle_proposal(
        &self,
        id: RequestId,
        state: &str,
        (by, reason): (&str, Option<&str>),
    ) -> Result<()> {
        let sql = "UPDATE proposals SET state = $2, decided_by = $3, reason = $4 WHERE request = $1 AND state = 'pending'";
        match self.execute(sql, &[Value::text(id), state.into(), by.into(), reason.into()])? {
            0 => Err(LedgerError::Conflict { what: "the proposal" }),
            _ => Ok(()),
        }
    }

    /// Who decided about a proposal, and why it was turned down.
    ///
    /// # Errors
    /// When the ledger can't be read.
    pub fn proposal_outcome(&self, id: RequestId) -> Result<(Option<String>, Option<String>)> {
        let row =
            self.first("SELECT decided_by, reason FROM proposals WHERE request = $1", &[Value::text(id)])?;
        let Some(row) = row else { return Ok((None, None)) };
        let text = |column: usize| row.maybe_text(column).map(|text| text.map(str::to_owned));
        Ok((text(0)?, text(1)?))
    }

    /// Turns every proposal of an agent down that still waits.
    ///
    /// # Errors
    /// When the ledger can't be written.
    pub fn reject_proposals_of(&self, agent: &AgentName) -> Result<()> {
        let sql = "UPDATE proposals SET state = 'rejected' WHERE agent = $1 AND state = 'pending'";
        self.execute(sql, &[Value::text(agent)]).map(drop)
    }
}
