//! Standing grants, and which requests they approved. A row approves what nobody looks at, so it is vouched for. How often it
//! was used stands beside that, counted in the transaction that uses it; the audit log knows each use as well.

use jiff::Timestamp;
use keywright_core::approval::Signed;
use keywright_core::id::{GrantId, RequestId};
use keywright_core::name::{AgentName, OperatorName};
use keywright_core::plan::{Digest, Plan};
use keywright_core::span::Span;
use keywright_core::standing::{StandingGrant, approved_by};

use super::approvals::{kept, signed};
use super::vouched::Vouched;
use crate::error::{LedgerError, Result};
use crate::seal::Keyring;
use crate::sql::{Facts, Row, RowMac, Tx, Value, json};

/// A standing grant as the ledger has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GivenGrant {
    /// What was approved.
    pub grant: StandingGrant,
    /// The operator's signature over it, or their passkey's.
    pub signature: Signed,
    /// What vouches for the row.
    pub mac: RowMac,
    /// How often it was used.
    pub used: u64,
    /// When it was used last.
    pub used_at: Option<Timestamp>,
}

/// That a request was approved by a standing grant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GrantUse {
    /// The grant.
    pub grant: GrantId,
    /// Who gave it.
    pub operator: OperatorName,
    /// The plan that it approved.
    pub digest: Digest,
    /// When.
    pub used_at: Timestamp,
}

impl GrantUse {
    /// In words.
    #[must_use]
    pub fn said(&self) -> String {
        approved_by(self.grant, &self.operator)
    }
}

const GRANTS: Vouched = Vouched {
    table: "grants",
    what: "grant",
    columns: &[
        "name",
        "operator",
        "agent",
        "template",
        "template_version",
        "project",
        "environment",
        "parameters",
        "any_parameters",
        "destinations",
        "directory",
        "ttl_max",
        "uses",
        "until",
        "signature",
        "added_at",
        "removed_at",
    ],
};

pub(crate) const USES: Facts = Facts { table: "grant_uses", what: "use of a grant", count: 5, columns: USE };
const USE: &str = "request, grant_id, operator, digest, used_at, mac";

impl GivenGrant {
    /// The row, and after it how often it was used.
    fn read(row: &Row, used: &Row, keyring: &Keyring) -> Result<Self> {
        let mac = GRANTS.check(row, keyring)?;
        Ok(Self {
            grant: StandingGrant {
                id: row.parse(0, "grant id")?,
                operator: row.parse(1, "operator name")?,
                agent: row.parse(2, "agent name")?,
                template: row.parse(3, "template id")?,
                template_version: row.count(4)?,
                project: row.parse(5, "project name")?,
                environment: row.parse(6, "environment name")?,
                parameters: row.json(7, "parameters")?,
                any_parameters: row.int(8)? != 0,
                destinations: row.json(9, "destinations")?,
                directory: row.maybe_text(10)?.map(str::to_owned),
                ttl_max: Span::from_seconds(row.count(11)?),
                uses: row.maybe_count(12)?,
                until: row.time(13)?,
                given_at: row.time(15)?,
            },
            signature: signed(row.bytes(14)?, "signature of a grant")?,
            mac,
            used: used.count(0)?,
            used_at: used.maybe_time(1)?,
        })
    }
}

impl Tx<'_> {
    /// The standing grants of everybody, each row for itself: one that was edited takes no other with it.
    ///
    /// # Errors
    /// When the ledger can't be read.
    pub fn grants(&self, keyring: &Keyring) -> Result<Vec<Result<GivenGrant>>> {
        self.grants_where("", &[], keyring)
    }

    /// Those that are about an agent's request, as far as the rows say.
    ///
    /// # Errors
    /// When the ledger can't be read.
    pub fn grants_for(
        &self,
        agent: &AgentName,
        plan: &Plan,
        keyring: &Keyring,
    ) -> Result<Vec<Result<GivenGrant>>> {
        let about = " AND agent = $1 AND template = $2 AND project = $3 AND environment = $4";
        let values = [
            Value::text(agent),
            Value::text(&plan.template),
            Value::text(&plan.project),
            Value::text(&plan.environment),
        ];
        self.grants_where(about, &values, keyring)
    }

    /// One that was not removed.
    ///
    /// # Errors
    /// [`LedgerError::Edited`], or when the ledger can't be read.
    pub fn grant(&self, id: GrantId, keyring: &Keyring) -> Result<Option<GivenGrant>> {
        self.grants_where(" AND name = $1", &[Value::text(id)], keyring)?.pop().transpose()
    }

    /// The ids of an agent's, whatever else their rows say.
    ///
    /// # Errors
    /// When the ledger can't be read.
    pub fn grants_of(&self, agent: &AgentName) -> Result<Vec<GrantId>> {
        let sql = "SELECT name FROM grants WHERE agent = $1 AND removed_at IS NULL ORDER BY name";
        self.query(sql, &[Value::text(agent)])?.iter().map(|row| row.parse(0, "grant id")).collect()
    }

    fn grants_where(
        &self,
        condition: &str,
        values: &[Value],
        keyring: &Keyring,
    ) -> Result<Vec<Result<GivenGrant>>> {
        let rows = self.query(&GRANTS.select(condition), values)?;
        let used =
            format!("SELECT used, used_at FROM grants WHERE removed_at IS NULL{condition} ORDER BY name");
        let used = self.query(&used, values)?;
        Ok(rows.iter().zip(&used).map(|(row, used)| GivenGrant::read(row, used, keyring)).collect())
    }

    /// Adds one.
    ///
    /// # Errors
    /// When the ledger can't be written.
    pub fn add_grant(&self, grant: &StandingGrant, signature: &Signed, keyring: &Keyring) -> Result<RowMac> {
        let values = vec![
            Value::text(grant.id),
            Value::text(&grant.operator),
            Value::text(&grant.agent),
            Value::text(&grant.template),
            grant.template_version.into(),
            Value::text(&grant.project),
            Value::text(&grant.environment),
            json(&grant.parameters)?,
            i64::from(grant.any_parameters).into(),
            json(&grant.destinations)?,
            grant.directory.as_deref().map_or(Value::Null, Value::from),
            grant.ttl_max.seconds().into(),
            grant.uses.into(),
            grant.until.into(),
            kept(signature)?.as_slice().into(),
            grant.given_at.into(),
        ];
        GRANTS.insert(self, values, keyring)
    }

    /// Removes one.
    ///
    /// # Errors
    /// [`LedgerError::Missing`].
    pub fn remove_grant(&self, id: GrantId, keyring: &Keyring) -> Result<()> {
        GRANTS.remove(self, &id.to_string(), keyring)
    }

    /// Uses one up by one, for a request.
    ///
    /// # Errors
    /// [`LedgerError::Conflict`] when it has no use left.
    pub fn use_grant(&self, grant: &StandingGrant, request: RequestId, digest: Digest) -> Result<GrantUse> {
        let sql = "UPDATE grants SET used = used + 1, used_at = $2 WHERE name = $1 AND removed_at IS NULL \
                   AND (uses IS NULL OR used < uses)";
        if self.execute(sql, &[Value::text(grant.id), self.now().into()])? == 0 {
            return Err(LedgerError::Conflict { what: "the grant" });
        }
        let facts = vec![
            Value::text(request),
            Value::text(grant.id),
            Value::text(&grant.operator),
            Value::text(digest),
            self.now().into(),
        ];
        self.execute(
            "INSERT INTO grant_uses (request, grant_id, operator, digest, used_at, mac) VALUES ($1, $2, $3, $4, $5, $6)",
            &USES.with(self, facts, [])?,
        )?;
        Ok(GrantUse { grant: grant.id, operator: grant.operator.clone(), digest, used_at: self.now() })
    }

    /// By which standing grant a request was approved, if by one.
    ///
    /// # Errors
    /// [`LedgerError::Edited`], or when the ledger can't be read.
    pub fn grant_use(&self, request: RequestId) -> Result<Option<GrantUse>> {
        let sql = format!("SELECT {USE} FROM grant_uses WHERE request = $1");
        let Some(row) = self.first(&sql, &[Value::text(request)])? else { return Ok(None) };
        USES.check(self, &row)?;
        Ok(Some(GrantUse {
            grant: row.parse(1, "grant id")?,
            operator: row.parse(2, "operator name")?,
            digest: Digest::from_hex(row.text(3)?).ok_or(LedgerError::Damaged { what: "plan digest" })?,
            used_at: row.time(4)?,
        }))
    }
}
