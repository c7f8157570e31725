//! The approvals that requests collected.

use keywright_core::approval::{Approval, Signed};
use keywright_core::id::RequestId;
use keywright_core::name::OperatorName;
use keywright_core::plan::Digest;

use crate::error::{LedgerError, Result};
use crate::sql::{Row, Tx, Value};

impl Tx<'_> {
    /// Records an approval. One operator approves one plan of a request once.
    ///
    /// # Errors
    /// [`LedgerError::Exists`].
    pub fn add_approval(&self, approval: &Approval) -> Result<()> {
        let signature = kept(&approval.signature)?;
        let rows = self.execute(
            "INSERT INTO approvals (id, request, operator, digest, given_at, expires_at, signature) \
             VALUES ($1, $2, $3, $4, $5, $6, $7) ON CONFLICT DO NOTHING",
            &[
                Value::text(approval.id),
                Value::text(approval.request),
                Value::text(&approval.operator),
                Value::text(approval.digest),
                approval.given_at.into(),
                approval.expires_at.into(),
                signature.as_slice().into(),
            ],
        )?;
        if rows == 0 {
            let name = format!("of {} for {}", approval.operator, approval.request);
            return Err(LedgerError::Exists { what: "an approval", name });
        }
        Ok(())
    }

    /// The approvals of a request that were neither used nor voided. A row that is none, because somebody wrote it, approves
    /// nothing and keeps nobody from reading the others.
    ///
    /// # Errors
    /// When the ledger can't be read.
    pub fn approvals(&self, request: RequestId) -> Result<Vec<Approval>> {
        let sql = "SELECT id, request, operator, digest, given_at, expires_at, signature FROM approvals \
                   WHERE request = $1 AND voided_at IS NULL ORDER BY given_at, id";
        let rows = self.query(sql, &[Value::text(request)])?;
        let read = rows.iter().map(read_approval);
        Ok(read
            .filter_map(|one| one.inspect_err(|error| tracing::error!(%request, %error, "left out")).ok())
            .collect())
    }

    /// Takes out what stands in an operator's name for a request and is no approval of theirs, so that it does not stand in
    /// the way of one.
    ///
    /// # Errors
    /// When the ledger can't be read or written.
    pub fn clear_approvals(
        &self,
        request: RequestId,
        operator: &OperatorName,
        is_theirs: impl Fn(&Approval) -> bool,
    ) -> Result<()> {
        let sql = "SELECT id, request, operator, digest, given_at, expires_at, signature FROM approvals \
                   WHERE request = $1 AND operator = $2 AND voided_at IS NULL";
        let of = [Value::text(request), Value::text(operator)];
        let theirs = self
            .query(sql, &of)?
            .into_iter()
            .filter_map(|row| read_approval(&row).ok())
            .filter(is_theirs)
            .map(|approval| Value::text(approval.id));
        let mut parameters = of.to_vec();
        parameters.extend(theirs);
        let kept: Vec<String> = (3..=parameters.len()).map(|number| format!("${number}")).collect();
        // What stands there instead of an id may be nothing, or no text.
        let others = if kept.is_empty() {
            String::new()
        } else {
            format!(" AND (id IS NULL OR id NOT IN ({}))", kept.join(", "))
        };
        let sql = format!(
            "DELETE FROM approvals WHERE request = $1 AND operator = $2 AND voided_at IS NULL{others}"
        );
        self.execute(&sql, &parameters).map(drop)
    }

    /// Uses up the approvals of a request: they were good for this one deed.
    ///
    /// # Errors
    /// When the ledger can't be written.
    pub fn use_approvals(&self, request: RequestId) -> Result<()> {
        self.execute(
            "UPDATE approvals SET used_at = $2 WHERE request = $1 AND used_at IS NULL AND voided_at IS NULL",
            &[Value::text(request), self.now().into()],
        )?;
        Ok(())
    }
}

fn read_approval(row: &Row) -> Result<Approval> {
    Ok(Approval {
        id: row.parse(0, "approval id")?,
        request: row.parse(1, "request id")?,
        operator: row.parse::<OperatorName>(2, "operator name")?,
        digest: Digest::from_hex(row.text(3)?).ok_or(LedgerError::Damaged { what: "plan digest" })?,
        given_at: row.time(4)?,
        expires_at: row.time(5)?,
        signature: signed(row.bytes(6)?, "signature of an approval")?,
    })
}

/// How a signature is kept.
pub(super) fn kept(signature: &Signed) -> Result<Vec<u8>> {
    match signature {
        Signed::Key(signature) => Ok(signature.to_vec()),
        Signed::Passkey(assertion) => {
            serde_json::to_vec(assertion).map_err(|_| LedgerError::Damaged { what: "assertion" })
        }
    }
}

/// Ed25519 is 64 bytes; no assertion is as short as that.
pub(super) fn signed(bytes: &[u8], what: &'static str) -> Result<Signed> {
    match <[u8; 64]>::try_from(bytes) {
        Ok(signature) => Ok(Signed::Key(signature)),
        Err(_) => serde_json::from_slice(bytes)
            .map(|assertion| Signed::Passkey(Box::new(assertion)))
            .map_err(|_| LedgerError::Damaged { what }),
    }
}
