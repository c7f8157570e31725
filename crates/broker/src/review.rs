//! Review: what waits for humans, and how they turn it down. Agents have no way in here, because every verb that
//! decides takes an operator's proof.

use std::cmp::Reverse;

use jiff::Timestamp;
use keywright_core::approval::{Approval, quorum};
use keywright_core::audit::{Deed, Record, Stage, Subject};
use keywright_core::id::RequestId;
use keywright_core::look;
use keywright_core::plan::Plan;
use keywright_core::receipt::{Narrowed, Status};
use keywright_core::text::Untrusted;
use keywright_core::verdict::{Flag, Level, Verdict, flags, verdict};
use keywright_ledger::{InboxPlace, LedgerError, Request, RequestFilter};
use serde::Serialize;

use crate::approve::Less;
use crate::approvers::Approver;
use crate::auth::Proven;
use crate::blocks::{self, Block};
use crate::broker::Broker;
use crate::differs::Difference;
use crate::error::Result;
use crate::passkey::Signers;
use crate::record::of_request;

/// Everything that a human needs to decide about one request.
#[derive(Debug, Clone, Serialize)]
pub struct Review {
    /// The request.
    pub request: RequestId,
    /// How it stands.
    pub status: Status,
    /// What an approval signs.
    pub digest: String,
    /// The code that the agent was shown too.
    pub match_code: String,
    /// The exact effect.
    pub plan: Plan,
    /// Why it needs approval.
    pub reasons: Vec<String>,
    /// The policies that decided.
    pub policies: Vec<String>,
    /// How that is, for people.
    pub stands: &'static str,
    /// The key and what it reaches, by name.
    pub subject: String,
    /// Whether a name in that can be taken for another one.
    pub looks: bool,
    /// What it comes to, in one line.
    pub verdict: Verdict,
    /// What deserves a second look, worst first.
    pub red_flags: Vec<Flag>,
    /// The prompt behind it; somebody else's words.
    pub prompt: Option<Untrusted>,
    /// What the agent said about itself; not verified.
    pub claimed: std::collections::BTreeMap<String, Untrusted>,
    /// Distinct operators that have to approve.
    pub needed: u8,
    /// Who has.
    pub approved_by: Vec<String>,
    /// Who has, and when.
    pub approved: Vec<(String, Timestamp)>,
    /// Who may approve it, and why others may not; lists of requests leave it out.
    #[serde(skip)]
    pub(crate) approvers: Vec<Approver>,
    /// Why nobody can say who may approve it.
    #[serde(skip)]
    pub no_approvers: Option<String>,
    /// What was asked for, where an operator approved less.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub narrowed: Option<Narrowed>,
    /// When it was asked.
    pub created_at: Timestamp,
    /// When it stops waiting.
    pub expires_at: Timestamp,
    /// All of that as people read it; lists of requests leave it out.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub blocks: Vec<Block>,
}

/// Something in the inbox.
#[derive(Debug, Clone, Serialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Pending {
    /// A key that somebody asked for.
    Key(Box<Review>),
    /// A template that an agent proposed.
    Template(Box<Proposed>),
}

/// A template that an agent proposed, beside what it would replace.
#[derive(Debug, Clone, Serialize)]
pub struct Proposed {
    /// The request's id.
    pub request: RequestId,
    /// Who proposed it.
    pub agent: String,
    /// Its id.
    pub template: String,
    /// Why, in the agent's words.
    pub why: Untrusted,
    /// Shown to the agent too.
    pub match_code: String,
    /// `pending`, `applied` or `rejected`.
    pub status: String,
    /// Who decided about it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub decided_by: Option<String>,
    /// Why they turned it down.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<Untrusted>,
    /// The file as proposed.
    pub source: Untrusted,
    /// What it comes to, in one line.
    pub verdict: Verdict,
    /// What deserves a second look, worst first.
    pub red_flags: Vec<String>,
    /// Which version of the template in force it would replace.
    pub replaces: Option<u64>,
    /// What would differ from that.
    pub differs: Vec<Difference>,
    /// Why that is held.
    pub held: Option<String>,
    /// The file that is in force.
    pub in_force: Option<Untrusted>,
    /// When.
    pub created_at: Timestamp,
    /// All of that as people read it; lists of proposals leave it out.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub blocks: Vec<Block>,
}

/// A part of the inbox.
#[derive(Debug, Clone)]
pub struct Inbox {
    /// What waits: the riskiest first, and of those that are equal the oldest.
    pub waiting: Vec<Pending>,
    /// Where it goes on, if it does.
    pub next: Option<InboxPlace>,
    /// How much waits in all.
    pub all: u64,
}

/// The riskiest first, and of those that are equal the oldest.
fn place(pending: &Pending) -> (Reverse<Level>, Timestamp) {
    match pending {
        Pending::Key(review) => (Reverse(review.verdict.level), review.created_at),
        Pending::Template(proposed) => (Reverse(proposed.verdict.level), proposed.created_at),
    }
}

/// The key and the first things that it reaches, by name.
#[must_use]
pub fn subject(plan: &Plan) -> String {
    let names: Vec<_> = plan.resources.iter().take(3).map(|one| look::shown(&one.name)).collect();
    let more = if plan.resources.len() > 3 { " and more" } else { "" };
    format!("{} → {}{more}", plan.name, names.join(", "))
}

/// How a request stands, for people.
#[must_use]
pub fn stands(status: Status, needed: u8) -> &'static str {
    match status {
        Status::PendingApproval => "waits for approval",
        // Nobody had to approve it.
        Status::Active if needed == 0 => "the key is in force",
        Status::InProgress if needed == 0 => "the key is being made",
        Status::Active => "approved; the key is in force",
        Status::Denied => "denied by policy",
        Status::Rejected => "turned down",
        Status::Expired => "expired: nobody decided",
        Status::Failed => "failed",
        Status::InProgress => "approved; the key is being made",
        Status::Revoked => "over: the key was revoked",
    }
}

impl Broker {
    /// What waits for humans: the riskiest first, and of those that are equal the oldest.
    ///
    /// # Errors
    /// When the ledger can't be read.
    pub async fn inbox(&self) -> Result<Vec<Pending>> {
        let (requests, proposals) = self
            .ledger
            .scan(|tx| {
                let filter = RequestFilter { status: Some(Status::PendingApproval), limit: 1_000 };
                Ok::<_, LedgerError>((tx.requests(&filter)?, tx.proposals()?))
            })
            .await?;
        let mut reviews = Vec::with_capacity(requests.len());
        for request in requests {
            reviews.push(self.review_of(request).await?);
        }
        let mut inbox: Vec<Pending> = reviews.into_iter().map(|r| Pending::Key(Box::new(r))).collect();
        let templates = if proposals.is_empty() { Vec::new() } else { self.templates().await? };
        for proposal in proposals {
            inbox.push(self.pending_template(proposal, &templates).await?);
        }
        inbox.sort_by_key(place);
        Ok(inbox)
    }

    /// A part of the inbox, as a page has it: proposals stand before the first request.
    ///
    /// # Errors
    /// When the ledger can't be read.
    pub async fn inbox_part(&self, after: Option<InboxPlace>, limit: u32) -> Result<Inbox> {
        let (mut found, proposals, all, approvals) = self
            .ledger
            .scan(move |tx| {
                let found = tx.requests_inbox(after, limit.saturating_add(1))?;
                let proposals = if after.is_none() { tx.proposals()? } else { Vec::new() };
                let mut approvals = Vec::new();
                for (_, request) in &found {
                    approvals.push(tx.approvals(request.id)?);
                }
                Ok::<_, LedgerError>((found, proposals, tx.requests_waiting()?, approvals))
            })
            .await?;
        let is_more = found.len() > usize::try_from(limit).unwrap_or(usize::MAX);
        if is_more {
            found.pop();
        }
        let next = found.last().map(|(place, _)| *place).filter(|_| is_more);
        let templates = if proposals.is_empty() { Vec::new() } else { self.templates().await? };
        let mut waiting = Vec::new();
        for proposal in proposals {
            waiting.push(self.pending_template(proposal, &templates).await?);
        }
        let signers = self.signers().await?;
        for ((_, request), approvals) in found.into_iter().zip(approvals) {
            waiting.push(Pending::Key(Box::new(self.review_with(request, &approvals, &signers))));
        }
        // Proposals stand among the requests of this part, by the same order.
        waiting.sort_by_key(place);
        Ok(Inbox { waiting, next, all })
    }

    /// One request, whole; or, with `less`, what would be approved instead.
    ///
    /// # Errors
    /// When there is none of this id, or `less` is no less.
    pub async fn review(&self, request: &str, less: &Less) -> Result<Pending> {
        let id = Self::find_request(request)?;
        let (found, proposal) =
            self.ledger.read(move |tx| Ok::<_, LedgerError>((tx.request(id), tx.proposal(id)?))).await?;
        match (found, proposal) {
            (Ok(request), _) => {
                let request = self.narrowed(request, less).await?;
                let mut review = self.review_of(request.clone()).await?;
                if request.status == Status::PendingApproval {
                    if let Ok(needed) = self.needed_now(&request).await {
                        review.needed = needed;
                    }
                    // Where policy can't be asked it can still be turned down.
                    (review.approvers, review.no_approvers) = match self.approvers(&request).await {
                        Ok(approvers) => (approvers, None),
                        Err(error) => (Vec::new(), Some(error.message)),
                    };
                    // Whoever may not approve it has not, as far as policy goes.
                    let counts = |name: &str| {
                        review.approvers.iter().any(|one| one.name.as_str() == name && one.refused.is_none())
                    };
                    review.approved_by.retain(|name| counts(name));
                    review.approved.retain(|(name, _)| counts(name));
                }
                review.narrowed = self.ledger.read(move |tx| tx.narrowed(id)).await?;
                review.blocks = self.blocks_of(&review, &request).await?;
                Ok(Pending::Key(Box::new(review)))
            }
            (Err(_), Some(proposal)) => {
                let pending = self.pending_template(proposal, &self.templates().await?).await?;
                Ok(match pending {
                    Pending::Template(mut proposed) => {
                        let (by, reason) = self.ledger.read(move |tx| tx.proposal_outcome(id)).await?;
                        proposed.decided_by = by;
                        proposed.reason = reason.map(|text| Untrusted::capped(&text, 500));
                        proposed.blocks =
                            blocks::of_proposal(&proposed, self.unconnected_in(proposed.source.raw()).await?);
                        Pending::Template(proposed)
                    }
                    key @ Pending::Key(_) => key,
                })
            }
            (Err(error), None) => Err(error.into()),
        }
    }

    /// Turns a request or a proposal down.
    ///
    /// # Errors
    /// When it no longer waits.
    pub async fn reject(&self, operator: &Proven, request: &str, reason: &str) -> Result<()> {
        let signed = operator.deciding()?;
        let id = Self::find_request(request)?;
        let reason = self.kept(reason, 500).await?.raw().to_owned();
        let (who, by) = (operator.caller().who(), operator.name().to_string());
        let written = self.ledger.write(move |tx| {
            if tx.proposal(id)?.is_some() {
                let mut record = Record::new(tx.now(), Deed::RequestReject, Stage::Note, who);
                record.subject = Subject { request: Some(id.to_string()), ..Subject::default() };
                record.facts.insert("because".to_owned(), serde_json::json!(reason));
                record.signatures.extend(signed);
                tx.audit(record)?;
                return tx.settle_proposal(id, "rejected", (&by, Some(&reason)));
            }
            let request = tx.request(id)?;
            let mut record = of_request(tx.now(), Deed::RequestReject, Stage::Note, who, &request);
            record.facts.insert("because".to_owned(), serde_json::json!(reason));
            record.signatures.extend(signed);
            let entry = tx.audit(record)?;
            tx.move_request(id, Status::PendingApproval, Status::Rejected, &[reason], entry)
        });
        written.await?;
        self.rails.spent(id);
        Ok(())
    }

    /// Ends the wait of requests that nobody decided in time. An expired request is not a denied one.
    pub(crate) async fn expire(&self) -> Result<usize> {
        let overdue = self.ledger.read(|tx| tx.requests_overdue()).await?;
        let count = overdue.len();
        for request in overdue {
            let written = self.ledger.write(move |tx| {
                let who = crate::record::system();
                let record = of_request(tx.now(), Deed::RequestExpire, Stage::Note, who, &request);
                let entry = tx.audit(record)?;
                let reason = "nobody decided in time; ask again if it is still needed".to_owned();
                tx.move_request(request.id, Status::PendingApproval, Status::Expired, &[reason], entry)
            });
            match written.await {
                // Somebody decided at the last moment.
                Ok(()) | Err(LedgerError::Conflict { .. }) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(count)
    }

    pub(crate) async fn review_of(&self, request: Request) -> Result<Review> {
        let (approvals, signers) = self.approvals(request.id).await?;
        Ok(self.review_with(request, &approvals, &signers))
    }

    fn review_with(&self, request: Request, approvals: &[Approval], signers: &Signers) -> Review {
        let id = request.id;
        let vouches = |one: &Approval| self.vouches(signers, &request, one);
        let approved_by: std::collections::BTreeSet<_> =
            quorum(approvals, id, &request.digest, self.now(), vouches).into_iter().cloned().collect();
        let approved = approvals.iter().filter(|one| {
            approved_by.contains(&one.operator) && one.is_for(id, &request.digest, self.now()).is_ok()
        });
        let mut approved: Vec<(String, Timestamp)> =
            approved.map(|one| (one.operator.to_string(), one.given_at)).collect();
        approved.sort_by_key(|(_, at)| *at);
        let red_flags = self.red_flags(&request.plan);
        Review {
            request: id,
            status: request.status,
            stands: stands(request.status, request.approvals_needed),
            subject: subject(&request.plan),
            looks: request.plan.resources.iter().any(|one| look::doubt(&one.name).is_some()),
            digest: request.digest.to_string(),
            match_code: id.match_code(),
            verdict: verdict(&request.plan, &red_flags),
            red_flags,
            approved_by: approved_by.iter().map(ToString::to_string).collect(),
            approved,
            plan: request.plan,
            reasons: request.reasons,
            policies: request.policies,
            prompt: request.prompt.map(|text| Untrusted::capped(&text, 8_000)),
            claimed: request.claimed.into_iter().map(|(k, v)| (k, Untrusted::capped(&v, 200))).collect(),
            needed: request.approvals_needed,
            approvers: Vec::new(),
            no_approvers: None,
            narrowed: None,
            created_at: request.created_at,
            expires_at: request.expires_at,
            blocks: Vec::new(),
        }
    }
}

impl Broker {
    /// What deserves a second look: what the plan itself shows, what became wider since, what looks like something else.
    pub(crate) fn red_flags(&self, plan: &Plan) -> Vec<Flag> {
        let mut flags = flags(plan);
        let ids: Vec<&str> = plan.permissions.iter().map(|p| p.id.as_str()).collect();
        let wider = self.rails.wider().of(plan.provider.as_str(), &ids);
        flags.extend(wider.into_iter().map(Flag::Wider));
        flags.sort_by_key(|flag| Reverse(flag.level()));
        flags
    }
}
