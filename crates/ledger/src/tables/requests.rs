//! Requests.

use std::collections::BTreeMap;

use jiff::Timestamp;
use keywright_core::id::{KeyId, RequestId};
use keywright_core::key::Key;
use keywright_core::name::AgentName;
use keywright_core::plan::{Digest, Plan, Principal};
use keywright_core::receipt::{Narrowed, Status};
use keywright_core::verdict::{Level, flags, verdict};

use crate::error::{LedgerError, Result};
use crate::sql::{Facts, Row, Tx, Value, json};

/// What an agent or an operator asked, and how it stands.
#[derive(Debug, Clone)]
pub struct Request {
    /// Its id; also stands in the plan.
    pub id: RequestId,
    /// The exact effect.
    pub plan: Plan,
    /// The plan's digest.
    pub digest: Digest,
    /// How it stands.
    pub status: Status,
    /// Distinct operators that have to approve.
    pub approvals_needed: u8,
    /// Why it stands as it does.
    pub reasons: Vec<String>,
    /// The policies that decided.
    pub policies: Vec<String>,
    /// The prompt behind it, scrubbed.
    pub prompt: Option<String>,
    /// What the asker said about itself.
    pub claimed: BTreeMap<String, String>,
    /// The key, once reserved.
    pub key: Option<KeyId>,
    /// The latest audit entry about it.
    pub entry: u64,
    /// When it was asked.
    pub created_at: Timestamp,
    /// When it stops waiting.
    pub expires_at: Timestamp,
    /// What was asked, before anything was resolved: tells a repeated ask from another one under the same
    /// idempotency key.
    pub ask_digest: [u8; 32],
}

/// A request about to be recorded.
pub struct NewRequest<'a> {
    /// As it will stand.
    pub request: &'a Request,
    /// The asker's own key against doubles.
    pub idempotency_key: Option<&'a str>,
}

/// Which requests to list.
#[derive(Debug, Clone, Default)]
pub struct RequestFilter {
    /// Only in this state.
    pub status: Option<Status>,
    /// At most so many, newest first; 0 = 100.
    pub limit: u32,
}

/// How much there is to lose, for the order of the inbox.
fn risk(plan: &Plan) -> i64 {
    match verdict(plan, &flags(plan)).level {
        Level::Low => 0,
        Level::Medium => 1,
        Level::High => 2,
    }
}

pub(crate) const FACTS: Facts = Facts { table: "requests", what: "request", count: 13, columns: COLUMNS };
pub(super) const COLUMNS: &str = "id, principal_kind, principal_name, idempotency_key, ask_digest, plan, digest, approvals_needed, \
                       policies, prompt, claimed, created_at, expires_at, status, reasons, key_id, entry, mac";

impl Request {
    pub(super) fn read(tx: &Tx<'_>, row: &Row) -> Result<Self> {
        FACTS.check(tx, row)?;
        Ok(Self {
            id: row.parse(0, "request id")?,
            ask_digest: row.array(4)?,
            plan: row.json(5, "plan")?,
            digest: Digest::from_hex(row.text(6)?).ok_or(LedgerError::Damaged { what: "plan digest" })?,
            approvals_needed: u8::try_from(row.int(7)?)
                .map_err(|_| LedgerError::Damaged { what: "number of approvals" })?,
            policies: row.json(8, "policies")?,
            prompt: row.maybe_text(9)?.map(str::to_owned),
            claimed: row.json(10, "claims")?,
            created_at: row.time(11)?,
            expires_at: row.time(12)?,
            status: row.state(13, Status::parse)?,
            reasons: row.json(14, "reasons").unwrap_or_default(),
            key: row.text_if(15).and_then(|id| id.parse().ok()),
            entry: row.count_if(16),
        })
    }

    /// What never changes of it, but by [`Tx::narrow_request`].
    fn facts(&self, idempotency_key: Option<&str>) -> Result<Vec<Value>> {
        Ok(vec![
            Value::text(self.id),
            self.plan.principal.kind().into(),
            self.plan.principal.name().into(),
            Value::maybe(idempotency_key),
            self.ask_digest.as_slice().into(),
            json(&self.plan)?,
            Value::text(self.digest),
            i64::from(self.approvals_needed).into(),
            json(&self.policies)?,
            Value::maybe(self.prompt.as_deref()),
            json(&self.claimed)?,
            self.created_at.into(),
            self.expires_at.into(),
        ])
    }
}

impl Tx<'_> {
    /// Records a request.
    ///
    /// # Errors
    /// [`LedgerError::Exists`] when the principal used the idempotency key before.
    pub fn add_request(&self, new: &NewRequest<'_>) -> Result<()> {
        let request = new.request;
        let state = [
            Value::text(request.status),
            json(&request.reasons)?,
            Value::maybe(request.key),
            request.entry.into(),
        ];
        let mut row = FACTS.with(self, request.facts(new.idempotency_key)?, state)?;
        row.push(risk(&request.plan).into());
        let rows = self.execute(
            "INSERT INTO requests (id, principal_kind, principal_name, idempotency_key, ask_digest, plan, digest, \
             approvals_needed, policies, prompt, claimed, created_at, expires_at, status, reasons, key_id, entry, mac, risk) \
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19) \
             ON CONFLICT DO NOTHING",
            &row,
        )?;
        if rows == 0 {
            return Err(LedgerError::Exists { what: "request", name: request.id.to_string() });
        }
        Ok(())
    }

    /// One request.
    ///
    /// # Errors
    /// [`LedgerError::Missing`].
    pub fn request(&self, id: RequestId) -> Result<Request> {
        let sql = format!("SELECT {COLUMNS} FROM requests WHERE id = $1");
        let row = self.first(&sql, &[Value::text(id)])?;
        row.map(|row| Request::read(self, &row))
            .transpose()?
            .ok_or_else(|| LedgerError::Missing { what: "request", name: id.to_string() })
    }

    /// The request that a principal made under this idempotency key.
    ///
    /// # Errors
    /// When the ledger can't be read.
    pub fn request_by_idempotency_key(&self, kind: &str, name: &str, key: &str) -> Result<Option<Request>> {
        let sql = format!(
            "SELECT {COLUMNS} FROM requests WHERE (principal_kind = $1 AND principal_name = $2 AND idempotency_key = $3) \
             OR id = (SELECT request FROM request_aliases \
             WHERE principal_kind = $1 AND principal_name = $2 AND idempotency_key = $3)"
        );
        self.first(&sql, &[kind.into(), name.into(), key.into()])?
            .map(|row| Request::read(self, &row))
            .transpose()
    }

    /// Has one more idempotency key mean a request: that of an ask that came to the same.
    ///
    /// # Errors
    /// When the ledger can't be written.
    pub fn add_alias(
        &self,
        kind: &str,
        name: &str,
        key: &str,
        request: RequestId,
        ask: &[u8; 32],
    ) -> Result<()> {
        self.execute(
            "INSERT INTO request_aliases (principal_kind, principal_name, idempotency_key, request, ask_digest) \
             VALUES ($1, $2, $3, $4, $5) ON CONFLICT DO NOTHING",
            &[kind.into(), name.into(), key.into(), Value::text(request), ask.as_slice().into()],
        )?;
        Ok(())
    }

    /// Whether this ask came under an idempotency key to a request that waited already.
    ///
    /// # Errors
    /// When the ledger can't be read.
    pub fn is_alias_of(&self, kind: &str, name: &str, key: &str, ask: &[u8; 32]) -> Result<bool> {
        let sql = "SELECT request FROM request_aliases WHERE principal_kind = $1 AND principal_name = $2 \
                   AND idempotency_key = $3 AND ask_digest = $4";
        Ok(self.first(sql, &[kind.into(), name.into(), key.into(), ask.as_slice().into()])?.is_some())
    }

    /// Requests, newest first.
    ///
    /// # Errors
    /// When the ledger can't be read.
    pub fn requests(&self, filter: &RequestFilter) -> Result<Vec<Request>> {
        let sql = format!(
            "SELECT {COLUMNS} FROM requests WHERE (status = $1 OR $1 IS NULL) ORDER BY created_at DESC, id DESC"
        );
        let limit = if filter.limit == 0 { 100 } else { filter.limit };
        self.first_sound(&sql, &[Value::maybe(filter.status)], limit, Request::read)
    }

    /// The newest requests of a principal, at most `limit`.
    ///
    /// # Errors
    /// When the ledger can't be read.
    pub fn requests_of(&self, principal: &Principal, limit: u32) -> Result<Vec<Request>> {
        let sql = format!(
            "SELECT {COLUMNS} FROM requests WHERE principal_kind = $1 AND principal_name = $2 \
             ORDER BY created_at DESC, id DESC"
        );
        self.first_sound(&sql, &[principal.kind().into(), principal.name().into()], limit, Request::read)
    }

    /// How many requests a principal made from a moment on, up to and without another one.
    ///
    /// # Errors
    /// When the ledger can't be read.
    pub fn requests_between(
        &self,
        kind: &str,
        name: &str,
        from: Timestamp,
        until: Option<Timestamp>,
    ) -> Result<u64> {
        let row = self.first(
            "SELECT COUNT(*) FROM requests WHERE principal_kind = $1 AND principal_name = $2 AND created_at >= $3 \
             AND created_at < $4",
            &[kind.into(), name.into(), from.into(), until.unwrap_or(Timestamp::MAX).into()],
        )?;
        row.map_or(Ok(0), |row| row.count(0))
    }

    /// The rotations of a key that wait for approval.
    ///
    /// # Errors
    /// When the ledger can't be read.
    pub fn rotations_waiting(&self, key: KeyId) -> Result<Vec<Request>> {
        let sql = format!("SELECT {COLUMNS} FROM requests WHERE status = $1 AND plan LIKE $2");
        let like = format!("%\"rotates\":\"{key}\"%");
        let found = self.query(&sql, &[Value::text(Status::PendingApproval), like.as_str().into()])?;
        Ok(self.sound(&found, Request::read)?.into_iter().filter(|r| r.plan.rotates == Some(key)).collect())
    }

    /// How many requests and proposals wait for humans.
    ///
    /// # Errors
    /// When the ledger can't be read.
    pub fn requests_waiting(&self) -> Result<u64> {
        let row = self.first(
            "SELECT (SELECT COUNT(*) FROM requests WHERE status = 'pending_approval') \
             + (SELECT COUNT(*) FROM proposals WHERE state = 'pending')",
            &[],
        )?;
        row.map_or(Ok(0), |row| row.count(0))
    }

    /// How many requests of a principal wait for approval.
    ///
    /// # Errors
    /// When the ledger can't be read.
    pub fn requests_pending(&self, kind: &str, name: &str) -> Result<u64> {
        let row = self.first(
            "SELECT COUNT(*) FROM requests WHERE principal_kind = $1 AND principal_name = $2 \
             AND status = 'pending_approval'",
            &[kind.into(), name.into()],
        )?;
        row.map_or(Ok(0), |row| row.count(0))
    }

    /// What a principal asked and waits for approval, oldest first.
    ///
    /// # Errors
    /// When the ledger can't be read.
    pub fn requests_waiting_of(&self, kind: &str, name: &str) -> Result<Vec<Request>> {
        let sql = format!(
            "SELECT {COLUMNS} FROM requests WHERE principal_kind = $1 AND principal_name = $2 \
             AND status = 'pending_approval' ORDER BY created_at, id"
        );
        self.sound(&self.query(&sql, &[kind.into(), name.into()])?, Request::read)
    }

    /// The request of a principal that waits for approval and asks exactly the same.
    ///
    /// # Errors
    /// When the ledger can't be read.
    pub fn pending_twin(&self, kind: &str, name: &str, ask: &[u8; 32]) -> Result<Option<Request>> {
        let sql = format!(
            "SELECT {COLUMNS} FROM requests WHERE principal_kind = $1 AND principal_name = $2 AND ask_digest = $3 \
             AND status = 'pending_approval' ORDER BY created_at, id LIMIT 1"
        );
        let twin = self.first(&sql, &[kind.into(), name.into(), ask.as_slice().into()])?;
        twin.map(|row| Request::read(self, &row)).transpose()
    }

    /// Moves a request from one state to another.
    ///
    /// # Errors
    /// [`LedgerError::Conflict`] when it is no longer in the expected state.
    pub fn move_request(
        &self,
        id: RequestId,
        from: Status,
        to: Status,
        reasons: &[String],
        entry: u64,
    ) -> Result<()> {
        let rows = self.execute(
            "UPDATE requests SET status = $3, reasons = $4, entry = $5, decided_at = $6 WHERE id = $1 AND status = $2",
            &[Value::text(id), Value::text(from), Value::text(to), json(&reasons)?, entry.into(), self.now().into()],
        )?;
        if rows == 0 { Err(LedgerError::Conflict { what: "the request" }) } else { Ok(()) }
    }

    /// The active requests that a key answers: the one that made it, and those of its rotations.
    ///
    /// # Errors
    /// When the ledger can't be read.
    pub fn requests_of_key(&self, key: KeyId) -> Result<Vec<RequestId>> {
        let sql = "SELECT id FROM requests WHERE key_id = $1 AND status = 'active' ORDER BY created_at, id";
        // What is no id is no request.
        let rows = self.query(sql, &[Value::text(key)])?;
        Ok(rows.iter().filter_map(|row| row.parse(0, "request id").ok()).collect())
    }

    /// The request whose plan a key follows now: of its last rotation or adoption, or the one that made it.
    ///
    /// # Errors
    /// When the ledger can't be read, or a row was edited.
    pub fn request_in_force(&self, key: &Key) -> Result<Request> {
        for id in self.requests_of_key(key.id)?.into_iter().rev() {
            let request = self.request(id)?;
            if request.plan.rotates == Some(key.id) || request.plan.is_adoption() {
                return Ok(request);
            }
        }
        self.request(key.request)
    }

    /// Turns every request of an agent down that still waits for humans.
    ///
    /// # Errors
    /// When the ledger can't be written.
    pub fn reject_requests_of(&self, agent: &AgentName, reason: &str, entry: u64) -> Result<()> {
        self.execute(
            "UPDATE requests SET status = 'rejected', reasons = $2, entry = $3, decided_at = $4 \
             WHERE principal_kind = 'agent' AND principal_name = $1 AND status = 'pending_approval'",
            &[Value::text(agent), json(&[reason])?, entry.into(), self.now().into()],
        )?;
        Ok(())
    }

    /// Ties a request to the key that it leads to.
    ///
    /// # Errors
    /// When the ledger can't be written.
    pub fn set_request_key(&self, id: RequestId, key: KeyId, entry: u64) -> Result<()> {
        let sql = "UPDATE requests SET key_id = $2, entry = $3 WHERE id = $1";
        self.execute(sql, &[Value::text(id), Value::text(key), entry.into()])?;
        Ok(())
    }

    /// Puts a narrower plan in the place of the one that was asked for.
    ///
    /// # Errors
    /// [`LedgerError::Conflict`] when the request no longer waits with the plan of `asked`.
    pub fn narrow_request(
        &self,
        narrowed: &Request,
        asked: Digest,
        told: &Narrowed,
        entry: u64,
    ) -> Result<()> {
        let sql = format!("SELECT {COLUMNS} FROM requests WHERE id = $1");
        let row = self.first(&sql, &[Value::text(narrowed.id)])?;
        let row = row.ok_or(LedgerError::Conflict { what: "the request" })?;
        let known = Request::read(self, &row)?;
        let facts = Request {
            plan: narrowed.plan.clone(),
            digest: narrowed.digest,
            approvals_needed: narrowed.approvals_needed,
            policies: narrowed.policies.clone(),
            ..known
        };
        let mac = FACTS.mac(self, &facts.facts(row.maybe_text(3)?)?)?;
        let rows = self.execute(
            "UPDATE requests SET plan = $3, digest = $4, approvals_needed = $5, reasons = $6, policies = $7, entry = $8, \
             mac = $9, risk = $10, narrowed = $11 WHERE id = $1 AND digest = $2 AND status = 'pending_approval'",
            &[
                Value::text(narrowed.id),
                Value::text(asked),
                json(&narrowed.plan)?,
                Value::text(narrowed.digest),
                i64::from(narrowed.approvals_needed).into(),
                json(&narrowed.reasons)?,
                json(&narrowed.policies)?,
                entry.into(),
                mac,
                risk(&narrowed.plan).into(),
                json(told)?,
            ],
        )?;
        if rows == 0 { Err(LedgerError::Conflict { what: "the request" }) } else { Ok(()) }
    }

    /// What was asked for, where an operator approved less.
    ///
    /// # Errors
    /// When the ledger can't be read.
    pub fn narrowed(&self, id: RequestId) -> Result<Option<Narrowed>> {
        let row = self.first("SELECT narrowed FROM requests WHERE id = $1", &[Value::text(id)])?;
        let text = row.as_ref().map_or(Ok(None), |row| row.maybe_text(0))?;
        // Nothing is decided by it: what can't be read is none.
        Ok(text.and_then(|text| serde_json::from_str(text).ok()))
    }

    /// Requests that wait although as many operators as they need have approved their plans.
    ///
    /// # Errors
    /// When the ledger can't be read.
    pub fn requests_approved(&self) -> Result<Vec<RequestId>> {
        let rows = self.query(
            "SELECT id FROM requests WHERE status = 'pending_approval' AND expires_at > $1 AND approvals_needed > 0 \
             AND approvals_needed <= (SELECT COUNT(*) FROM approvals WHERE approvals.request = requests.id \
             AND approvals.digest = requests.digest AND approvals.voided_at IS NULL) ORDER BY created_at, id LIMIT 100",
            &[self.now().into()],
        )?;
        rows.iter().map(|row| row.parse(0, "request id")).collect()
    }

    /// Requests that have waited for too long.
    ///
    /// # Errors
    /// When the ledger can't be read.
    pub fn requests_overdue(&self) -> Result<Vec<Request>> {
        let sql =
            format!("SELECT {COLUMNS} FROM requests WHERE status = 'pending_approval' AND expires_at <= $1");
        self.first_sound(&sql, &[self.now().into()], 100, Request::read)
    }
}
