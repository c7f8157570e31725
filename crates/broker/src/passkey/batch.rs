//! Several requests by one touch: only such as differ in nothing but name, project, place and purpose, and in which there is not much
//! to lose. Each is an approval of its own, over its own plan; one signature covers all of them.

use std::sync::Arc;
use std::time::Duration;

use keywright_core::approval::{Approval, Assertion, Signed, hashed, together};
use keywright_core::id::{ApprovalId, RequestId};
use keywright_core::name::OperatorName;
use keywright_core::plan::Plan;
use keywright_core::receipt::{Receipt, Status};
use keywright_core::verdict::Level;
use keywright_ledger::Request;

use super::check::on_record;
use super::offers::Offer;
use super::{Challenge, other_offer};
use crate::approve::{Given, Less};
use crate::broker::Broker;
use crate::clock::entropy;
use crate::error::{BrokerError, Code, Result};
use crate::review::Review;

/// More are not approved by one touch: nobody reads them.
const AT_MOST: usize = 20;
/// How far back it is looked for requests that are alike.
const PAST: u32 = 200;

impl Broker {
    /// The requests that wait and may be approved together with this one, which is not among them; none where it is one of much to
    /// lose, or a rotation.
    ///
    /// # Errors
    /// When the ledger can't be read.
    pub async fn alike(&self, request: RequestId) -> Result<Vec<Review>> {
        let read = self.ledger.read(move |tx| {
            let request = tx.request(request)?;
            let asked = tx.requests_of(&request.plan.principal, PAST)?;
            Ok::<_, keywright_ledger::LedgerError>((request, asked))
        });
        let (request, asked) = read.await?;
        let mut found = Vec::new();
        if self.stands_alone(&request).is_some() {
            return Ok(found);
        }
        for other in asked {
            let waits = other.status == Status::PendingApproval && other.expires_at > self.now();
            let is_alike = other.id != request.id && differs(&request, &other).is_none();
            if waits && is_alike && self.stands_alone(&other).is_none() && found.len() + 1 < AT_MOST {
                found.push(self.review_of(other).await?);
            }
        }
        Ok(found)
    }

    /// Why a request is approved for itself only.
    fn stands_alone(&self, request: &Request) -> Option<&'static str> {
        let Plan { rotates, adopts, .. } = &request.plan;
        if rotates.is_some() || adopts.is_some() {
            return Some("it replaces a key's version");
        }
        (self.level_of(&request.plan) == Level::High).then_some("there is too much to lose")
    }

    /// What a page has signed so that an operator approves exactly these plans, each as it was shown.
    ///
    /// # Errors
    /// When one of them no longer waits, is not as it was shown, or is not like the others.
    pub async fn offer_approvals(
        &self,
        operator: &OperatorName,
        origin: &str,
        shown: &[(String, String)],
    ) -> Result<Challenge> {
        self.refuse_if_forked()?;
        if shown.is_empty() || shown.len() > AT_MOST {
            return Err(BrokerError::invalid(format!("1 to {AT_MOST} requests are approved by one touch")));
        }
        let mut approvals: Vec<Approval> = Vec::with_capacity(shown.len());
        let mut first: Option<Request> = None;
        for (request, digest) in shown {
            let id = Self::find_request(request)?;
            let (_, waiting) = self.to_approve(operator, id, digest, &Less::default()).await?;
            let why = self
                .stands_alone(&waiting)
                .or_else(|| first.as_ref().and_then(|first| differs(first, &waiting)))
                .or_else(|| approvals.iter().any(|one| one.request == id).then_some("it is there twice"));
            if let Some(why) = why {
                let message = format!("{id} is not approved together with others: {why}");
                return Err(BrokerError::new(Code::Conflict, message).hint("approve it for itself"));
            }
            approvals.push(Approval {
                id: ApprovalId::generate(self.now(), entropy()?),
                request: id,
                operator: operator.clone(),
                digest: waiting.digest,
                given_at: self.now(),
                expires_at: waiting.expires_at,
                signature: Signed::Key([0; 64]),
            });
            first.get_or_insert(waiting);
        }
        let id = ApprovalId::generate(self.now(), entropy()?);
        let challenge = self.challenge(operator, origin, id, &together(&hashes(&approvals))).await?;
        self.waiting.offer(id, Offer::Together(approvals));
        Ok(challenge)
    }

    /// Approves what was offered together, with what the authenticator answered: all of it, or nothing. The offer is used up,
    /// whatever comes of it.
    ///
    /// # Errors
    /// As [`Broker::approve_with_passkey`].
    pub async fn approve_together_with_passkey(
        self: &Arc<Self>,
        operator: &OperatorName,
        id: &str,
        origin: &str,
        assertion: Assertion,
        wait: Duration,
    ) -> Result<Vec<Receipt>> {
        self.refuse_if_forked()?;
        let id = ApprovalId::parse(id).map_err(BrokerError::invalid)?;
        let Offer::Together(approvals) = self.waiting.taken(id)? else { return Err(other_offer()) };
        let assertion = Assertion { together: hashes(&approvals), ..assertion };
        let signers = self.signers().await?;
        let mut used = None;
        let mut given = Vec::with_capacity(approvals.len());
        for mut approval in approvals {
            if approval.operator != *operator {
                return Err(other_offer());
            }
            let message = approval.message();
            let (passkey, counter) = signers.with(operator, &assertion, &message)?;
            if passkey.origin != origin {
                return Err(other_offer());
            }
            used = Some((passkey.id, counter));
            let proof = on_record(operator.as_str(), &passkey.credential, origin, &message, &assertion);
            approval.signature = Signed::Passkey(Box::new(assertion.clone()));
            let digest = approval.digest.to_string();
            let (asked, waiting) =
                self.to_approve(operator, approval.request, &digest, &Less::default()).await?;
            given.push(Given { asked, waiting, approval, proof });
        }
        self.give(given, used, wait).await
    }
}

fn hashes(approvals: &[Approval]) -> Vec<String> {
    approvals.iter().map(|approval| hashed(&approval.message())).collect()
}

/// In what two requests differ that a reviewer has to look at; name, project, place within a store, and purpose are shown for each.
fn differs(one: &Request, other: &Request) -> Option<&'static str> {
    let (a, b) = (&one.plan, &other.plan);
    let stores = |plan: &Plan| {
        plan.destinations.iter().map(|one| one.place.store.clone()).collect::<std::collections::BTreeSet<_>>()
    };
    [
        (a.principal != b.principal, "somebody else asks"),
        (a.template != b.template || a.template_version != b.template_version, "it is of another template"),
        (a.connection != b.connection, "it is made at another connection"),
        (a.environment != b.environment, "it is for another environment"),
        (a.parameters != b.parameters, "its parameters are others"),
        (a.resources != b.resources, "it reaches something else"),
        (a.permissions != b.permissions || a.withheld != b.withheld, "it may do something else"),
        (a.ttl != b.ttl, "it lives longer or shorter"),
        (a.ip_allow != b.ip_allow, "it works from other networks"),
        (a.budget_cents != b.budget_cents, "its budget is another one"),
        (stores(a) != stores(b), "it goes to another store"),
        (one.approvals_needed != other.approvals_needed, "it needs another number of approvals"),
    ]
    .into_iter()
    .find_map(|(differs, why)| differs.then_some(why))
}
