//! Several requests by one touch: only such as differ in nothing but name, place within the same store, and purpose, which need one
//! approval, and in which there is not much to lose. Each is an approval of its own, over its own plan; one signature covers all.

use std::sync::Arc;
use std::time::Duration;

use keywright_core::approval::{Approval, Assertion, Signed, hashed, together};
use keywright_core::id::{ApprovalId, RequestId};
use keywright_core::name::OperatorName;
use keywright_core::plan::Plan;
use keywright_core::receipt::{Receipt, Status};
use keywright_core::template::Tier;
use keywright_core::verdict::Level;
use keywright_ledger::Request;

use super::check::on_record;
use super::offers::Offer;
use super::{Challenge, Signers, other_offer};
use crate::approve::{Given, Less};
use crate::broker::Broker;
use crate::clock::entropy;
use crate::error::{BrokerError, Code, Result};
use crate::review::Review;

/// More are not approved by one touch: nobody reads them.
/// Fewer than an agent may have waiting, so that no button empties its queue.
pub(crate) const AT_MOST: usize = 10;
/// How far back it is looked for requests that are alike.
const PAST: u32 = 200;
/// Longer lists of places are not read in a row of a table.
const PLACES: usize = 300;

impl Broker {
    /// The requests that wait and this operator may approve together with this one, which is not among them; none where it stands
    /// alone.
    ///
    /// # Errors
    /// When the ledger can't be read.
    pub async fn alike(&self, operator: &OperatorName, request: RequestId) -> Result<Vec<Review>> {
        Ok(self.alike_and_more(operator, request).await?.0)
    }

    /// The same, and how many there are besides, which take another touch.
    ///
    /// # Errors
    /// When the ledger can't be read.
    pub async fn alike_and_more(
        &self,
        operator: &OperatorName,
        request: RequestId,
    ) -> Result<(Vec<Review>, usize)> {
        let read = self.ledger.read(move |tx| {
            let request = tx.request(request)?;
            let asked = tx.requests_of(&request.plan.principal, PAST)?;
            Ok::<_, keywright_ledger::LedgerError>((request, asked))
        });
        let (request, asked) = read.await?;
        let told = self.told_of(&request.plan).await?;
        let (mut found, mut more) = (Vec::new(), 0);
        if self.stands_alone(&request).is_some() || self.needed_now(&request).await? > 1 {
            return Ok((found, more));
        }
        for other in asked {
            let waits = other.status == Status::PendingApproval && other.expires_at > self.now();
            let is_alike = other.id != request.id && differs(&request, &other).is_none();
            if waits && is_alike && self.stands_alone(&other).is_none() {
                // One that they may not approve, or have, would keep them from all of it.
                if self.refuse_approver(&other, operator).await.is_err() || self.needed_now(&other).await? > 1
                {
                    continue;
                }
                if self.told_of(&other.plan).await? != told {
                    continue;
                }
                let review = self.review_of(other).await?;
                if !review.approved_by.iter().any(|name| name == operator.as_str()) {
                    match found.len() + 1 < AT_MOST {
                        true => found.push(review),
                        false => more += 1,
                    }
                }
            }
        }
        Ok((found, more))
    }

    /// Who is told when the key of a plan has a successor.
    async fn told_of(&self, plan: &Plan) -> Result<Vec<String>> {
        let (project, environment, name) =
            (plan.project.clone(), plan.environment.clone(), plan.name.clone());
        let read = self.ledger.read(move |tx| {
            let told = tx.sound_consumers()?.into_iter();
            let told = told.filter(|one| one.uses.covers(&project, &environment, &name));
            Ok::<_, keywright_ledger::LedgerError>(told.map(|one| one.name.to_string()).collect())
        });
        Ok(read.await?)
    }

    /// Why a request is approved for itself only.
    pub(crate) fn stands_alone(&self, request: &Request) -> Option<&'static str> {
        let plan = &request.plan;
        let places: usize = plan.destinations.iter().map(|one| one.place.to_string().chars().count()).sum();
        [
            (plan.rotates.is_some() || plan.adopts.is_some(), "it replaces a key's version"),
            (request.approvals_needed > 1 || plan.tier == Tier::Production, "it is for production"),
            (self.level_of(plan) == Level::High, "there is too much to lose"),
            (places > PLACES, "it goes to too many places"),
        ]
        .into_iter()
        .find_map(|(alone, why)| alone.then_some(why))
    }

    /// Whether two requests can be approved by one touch.
    pub(crate) fn stand_together(&self, one: &Request, other: &Request) -> bool {
        differs(one, other).is_none()
            && self.stands_alone(one).is_none()
            && self.stands_alone(other).is_none()
    }

    /// Whether an approval was signed by the operator that it names, and in a way that is good for this request: one that stands
    /// alone is approved by no touch over several.
    pub(crate) fn vouches(&self, signers: &Signers, request: &Request, approval: &Approval) -> bool {
        let is_one_of_several =
            matches!(&approval.signature, Signed::Passkey(one) if !one.together.is_empty());
        signers.vouch_for(approval) && (!is_one_of_several || self.stands_alone(request).is_none())
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
            let needs_more = self.needed_now(&waiting).await? > 1;
            let told_others = match &first {
                Some(first) => self.told_of(&first.plan).await? != self.told_of(&waiting.plan).await?,
                None => false,
            };
            let why = self
                .stands_alone(&waiting)
                .or_else(|| needs_more.then_some("policy wants more than one person for it"))
                .or_else(|| told_others.then_some("somebody else is told of its successors"))
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

/// In what two requests differ besides what stands in a row for each: name, place within a store, and purpose.
fn differs(one: &Request, other: &Request) -> Option<&'static str> {
    // What a plan has some day is compared as well, unless it is named here.
    let rest = |request: &Request| {
        let mut plan = request.plan.clone();
        (plan.request, plan.name, plan.purpose) =
            (one.plan.request, one.plan.name.clone(), one.plan.purpose.clone());
        plan.destinations.clear();
        plan
    };
    let stores = |request: &Request| -> Vec<_> {
        request.plan.destinations.iter().map(|one| (one.place.store.clone(), one.base.clone())).collect()
    };
    [
        (one.plan.principal != other.plan.principal, "somebody else asks"),
        (one.plan.permissions != other.plan.permissions, "it may do something else"),
        (one.plan.resources != other.plan.resources, "it reaches something else"),
        (stores(one) != stores(other), "it goes to another store, or from another directory"),
        (rest(one) != rest(other), "it is for something else, or lives otherwise"),
        (one.prompt != other.prompt, "another prompt is behind it"),
        (one.claimed != other.claimed, "who asks says something else of itself"),
        (one.policies != other.policies, "other policies decided it"),
    ]
    .into_iter()
    .find_map(|(differs, why)| differs.then_some(why))
}
