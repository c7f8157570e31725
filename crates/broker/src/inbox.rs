//! An operator's own inbox: what waits for them, what waits for others, and what comes after what they decided.

use keywright_core::id::RequestId;
use keywright_core::name::OperatorName;
use keywright_ledger::{InboxPlace, LedgerError, Request};

use crate::broker::Broker;
use crate::error::Result;
use crate::review::{Pending, Review};

/// Where more waits than that, the number of what waits for one operator is not worked out by asking the policy about each.
const ASKED: u64 = 50;
/// How far it is looked for the next that waits for an operator.
const AHEAD: u32 = 20;

/// Something that waits, as one operator sees it.
#[derive(Debug, Clone)]
pub struct Waits {
    /// What.
    pub pending: Pending,
    /// Why it does not wait for this operator, in words.
    pub not_yours: Option<String>,
    /// How many others are like it and can be approved with the same touch; they are on its page.
    pub alike: usize,
}

/// A part of an operator's inbox.
#[derive(Debug, Clone)]
pub struct OwnInbox {
    /// What waits: the riskiest first, and of those that are equal the oldest.
    pub waiting: Vec<Waits>,
    /// Where it goes on, if it does.
    pub next: Option<InboxPlace>,
    /// How much waits in all, for whomever.
    pub all: u64,
    /// How much of that waits for this operator.
    pub yours: u64,
}

impl Broker {
    /// A part of the inbox as an operator sees it. What is like something before it stands with that.
    ///
    /// # Errors
    /// When the ledger can't be read.
    pub async fn inbox_of(
        &self,
        operator: &OperatorName,
        after: Option<InboxPlace>,
        limit: u32,
    ) -> Result<OwnInbox> {
        let inbox = self.inbox_part(after, limit).await?;
        let mut waiting: Vec<Waits> = Vec::new();
        let mut heads: Vec<(usize, Request)> = Vec::new();
        for pending in inbox.waiting {
            let Pending::Key(review) = &pending else {
                waiting.push(Waits { pending, not_yours: None, alike: 0 });
                continue;
            };
            let id = review.request;
            let request = self.ledger.read(move |tx| tx.request(id)).await?;
            let not_yours = self.not_of(operator, review, &request).await;
            let head = heads.iter().find(|(_, head)| self.stand_together(head, &request));
            match head.map(|(at, _)| *at).filter(|_| not_yours.is_none()) {
                Some(at) => {
                    if let Some(head) = waiting.get_mut(at) {
                        head.alike += 1;
                    }
                }
                None => {
                    if not_yours.is_none() {
                        heads.push((waiting.len(), request));
                    }
                    waiting.push(Waits { pending, not_yours, alike: 0 });
                }
            }
        }
        let is_all = after.is_none() && inbox.next.is_none() && inbox.all <= ASKED;
        let yours = if is_all {
            let own = waiting.iter().filter(|one| one.not_yours.is_none());
            own.map(|one| 1 + one.alike as u64).sum()
        } else {
            self.waits_for(operator).await?
        };
        Ok(OwnInbox { waiting, next: inbox.next, all: inbox.all, yours })
    }

    /// How much waits for an operator: not what they approved already, nor what policy lets others only approve. Where very much
    /// waits, policy is not asked about it.
    ///
    /// # Errors
    /// When the ledger can't be read.
    pub async fn waits_for(&self, operator: &OperatorName) -> Result<u64> {
        let by = operator.clone();
        let (all, given) = self
            .ledger
            .read(move |tx| Ok::<_, LedgerError>((tx.requests_waiting()?, tx.requests_approved_by(&by)?)))
            .await?;
        let left = all.saturating_sub(given);
        if left == 0 || all > ASKED {
            return Ok(left);
        }
        let limit = u32::try_from(ASKED).unwrap_or(u32::MAX);
        let found = self.ledger.read(move |tx| tx.requests_inbox(None, limit)).await?;
        let proposals = all.saturating_sub(found.len() as u64);
        let mut yours = proposals;
        for (_, request) in found {
            yours += u64::from(self.is_for(operator, request).await?);
        }
        Ok(yours)
    }

    /// What waits for an operator before and after a request, in the order of the inbox; templates come last.
    ///
    /// # Errors
    /// When the ledger can't be read.
    pub async fn beside(
        &self,
        operator: &OperatorName,
        request: RequestId,
    ) -> Result<(Option<RequestId>, Option<RequestId>)> {
        let read = self.ledger.read(move |tx| {
            let place = tx.inbox_place(request)?;
            let (before, after) = match place {
                Some(place) => {
                    (tx.requests_inbox_before(place, AHEAD)?, tx.requests_inbox(Some(place), AHEAD)?)
                }
                None => (tx.requests_inbox_last(AHEAD)?, Vec::new()),
            };
            let only = |all: Vec<(InboxPlace, Request)>| all.into_iter().map(|(_, one)| one).collect();
            let proposals: Vec<RequestId> = tx.proposals()?.into_iter().map(|one| one.request).collect();
            Ok::<(bool, Vec<Request>, Vec<Request>, Vec<RequestId>), LedgerError>((
                place.is_some(),
                only(before),
                only(after),
                proposals,
            ))
        });
        let (is_request, before, after, proposals) = read.await?;
        let at = proposals.iter().position(|one| *one == request);
        let among = |at: usize| proposals.get(at).copied();
        // Of a proposal that was decided nobody knows where it stood: the first is next.
        let next_proposal = at.map_or_else(|| among(0), |at| among(at + 1));
        let last_proposal = at.and_then(|at| at.checked_sub(1)).and_then(among);
        let before = if is_request || last_proposal.is_none() { before } else { Vec::new() };
        let previous = match self.first_for(operator, before).await? {
            None if !is_request => last_proposal,
            found => found,
        };
        let next = self.first_for(operator, after).await?.or(next_proposal);
        Ok((previous, next))
    }

    /// What an operator goes on with who decided a request: the next of the inbox, or its first.
    ///
    /// # Errors
    /// When the ledger can't be read.
    pub async fn after(&self, operator: &OperatorName, request: &str) -> Result<Option<RequestId>> {
        let id = Self::find_request(request)?;
        if let (_, Some(next)) = self.beside(operator, id).await? {
            return Ok(Some(next));
        }
        let first = self.ledger.read(|tx| tx.requests_inbox(None, AHEAD)).await?;
        let first = first.into_iter().map(|(_, one)| one).filter(|one| one.id != id).collect();
        self.first_for(operator, first).await
    }

    async fn first_for(&self, operator: &OperatorName, requests: Vec<Request>) -> Result<Option<RequestId>> {
        for request in requests {
            let id = request.id;
            if self.is_for(operator, request).await? {
                return Ok(Some(id));
            }
        }
        Ok(None)
    }

    async fn is_for(&self, operator: &OperatorName, request: Request) -> Result<bool> {
        let review = self.review_of(request.clone()).await?;
        Ok(self.not_of(operator, &review, &request).await.is_none())
    }

    /// Why a request does not wait for an operator.
    async fn not_of(&self, operator: &OperatorName, review: &Review, request: &Request) -> Option<String> {
        if review.approved_by.len() >= usize::from(review.needed) {
            return Some("approved; it waits for the limits of your policy".to_owned());
        }
        if review.approved_by.iter().any(|name| name == operator.as_str()) {
            return Some("you approved it; it needs another operator".to_owned());
        }
        // It can still be turned down; why it can't be approved stands on its page.
        let refused = self.refuse_approver(request, operator).await.err()?;
        (refused.code == crate::Code::Denied).then(|| "policy lets others approve it".to_owned())
    }
}
