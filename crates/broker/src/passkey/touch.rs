//! What a touch does: whatever was offered under its id.

use std::sync::Arc;
use std::time::Duration;

use keywright_core::approval::Assertion;
use keywright_core::id::ApprovalId;
use keywright_core::name::OperatorName;

use super::acts::Done;
use crate::broker::Broker;
use crate::error::{BrokerError, Result};

impl Broker {
    /// Does what was offered under an id, an approval, a grant or another deed.
    ///
    /// # Errors
    /// As [`Broker::approve_with_passkey`], [`Broker::grant_with_passkey`] and [`Broker::act_with_passkey`].
    pub async fn touched_by(
        self: &Arc<Self>,
        operator: &OperatorName,
        id: &str,
        origin: &str,
        assertion: Assertion,
        wait: Duration,
    ) -> Result<Done> {
        let parsed = ApprovalId::parse(id).map_err(BrokerError::invalid)?;
        if self.waiting.is_approval(parsed) {
            let receipt = self.approve_with_passkey(operator, id, origin, assertion, wait).await?;
            return Ok(Done::Request(receipt.request.to_string()));
        }
        if self.waiting.is_batch(parsed) {
            let receipts = self.approve_together_with_passkey(operator, id, origin, assertion, wait).await?;
            return Ok(Done::Requests(receipts.iter().map(|one| one.request.to_string()).collect()));
        }
        if self.waiting.is_grant(parsed) {
            let grant = self.grant_with_passkey(operator, id, origin, assertion).await?;
            return Ok(Done::Granted(grant.agent.to_string(), grant.id));
        }
        self.act_with_passkey(operator, id, origin, &assertion, wait).await
    }
}
