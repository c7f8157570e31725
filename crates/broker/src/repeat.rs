//! An ask that comes to the same as one that waits for humans is that one: they have one thing to read, and not as many as
//! there were asks. What it is said to be for this time goes on record.

use std::sync::Arc;
use std::time::Duration;

use keywright_core::audit::{Deed, EntryId, Stage, Why};
use keywright_core::id::RequestId;
use keywright_core::plan::{Plan, Principal};
use keywright_core::receipt::{Receipt, Status};
use keywright_ledger::{LedgerError, Request, Tx};

use crate::ask::ParsedAsk;
use crate::broker::Broker;
use crate::error::Result;
use crate::record::{Caller, of_request};

impl Broker {
    /// Has an ask be a request that waits already.
    pub(crate) async fn join_waiting(
        self: &Arc<Self>,
        caller: &Caller,
        ask: &ParsedAsk,
        waiting: RequestId,
        wait: Duration,
    ) -> Result<Receipt> {
        let (who, ask) = (caller.clone(), ask.clone());
        let joined = self.ledger.write(move |tx| {
            let waiting = tx.request(waiting)?;
            // It may have been decided in this very moment.
            if waiting.status == Status::PendingApproval {
                join(tx, &who, &ask, waiting)
            } else {
                Ok(waiting)
            }
        });
        self.answer_again(caller, &joined.await?, wait).await
    }

    /// The receipt of a request that waited already when the same was asked for.
    pub(crate) async fn answer_again(
        self: &Arc<Self>,
        caller: &Caller,
        waiting: &Request,
        wait: Duration,
    ) -> Result<Receipt> {
        if let Principal::Agent(agent) = &caller.principal {
            // It makes no request, and an entry of the log all the same.
            self.refusals.count(agent, self.now());
        }
        let mut receipt = self.settle(waiting.id, wait).await?;
        if receipt.status == Status::PendingApproval {
            receipt.entry = EntryId(waiting.entry).to_string();
            receipt.reasons.push(format!(
                "the same was asked for at {} and waits for approval: this is that request, and nothing was added",
                waiting.created_at.strftime("%Y-%m-%dT%H:%M:%SZ")
            ));
        }
        Ok(receipt)
    }
}

/// The request of the same principal that waits and would have the same effect. Rotations and adoptions know their own.
pub(crate) fn waiting_for_the_same(
    tx: &Tx<'_>,
    plan: &Plan,
) -> std::result::Result<Option<Request>, LedgerError> {
    if plan.rotates.is_some() || plan.is_adoption() {
        return Ok(None);
    }
    let mut waiting = tx.requests_waiting_of(plan.principal.kind(), plan.principal.name())?;
    waiting.retain(|one| one.expires_at > tx.now() && one.plan.comes_to_the_same_as(plan));
    Ok(waiting.into_iter().next())
}

/// Puts on record that what waits was asked for once more, and for what. The ask's own key against doubles means that request
/// from here on.
pub(crate) fn join(
    tx: &Tx<'_>,
    caller: &Caller,
    ask: &ParsedAsk,
    mut waiting: Request,
) -> std::result::Result<Request, LedgerError> {
    let mut record = of_request(tx.now(), Deed::RequestRepeat, Stage::Note, caller.who(), &waiting);
    record.why = Why::new(ask.purpose.raw(), ask.prompt.as_deref());
    if let Some(key) = &ask.idempotency_key {
        tx.add_alias(caller.principal.kind(), caller.principal.name(), key, waiting.id, &ask.digest)?;
    }
    waiting.entry = tx.audit(record)?;
    Ok(waiting)
}
