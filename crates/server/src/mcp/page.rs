//! The way to the page on which a human decides. A client that can show one is asked to; what it answers is read by nobody: only the
//! page, where the human proves who they are, decides.

use std::time::Duration;

use keywright_core::receipt::Status;
use rmcp::model::{
    CallToolResult, ElicitRequest, ElicitRequestParams, InputRequest, InputRequests, InputRequiredResult,
};
use rmcp::service::RequestContext;
use rmcp::{Peer, RoleServer};
use serde_json::Value;

/// How a proposal stands that waits.
pub(super) const PENDING_REVIEW: &str = "pending_review";
/// The one question.
const REVIEW: &str = "review";
/// How long a client may take to say that it shows the page.
const PATIENCE: Duration = Duration::from_secs(15);

/// A page on which somebody decides about a request.
pub(super) struct Page {
    url: String,
    message: String,
    request: String,
    /// Whether the same call once more is the same request. A proposal that is made again is another one.
    may_call_again: bool,
}

impl Page {
    /// Of a result that waits for a human, where there are pages.
    pub(super) fn of(result: &CallToolResult) -> Option<Self> {
        let receipt = result.structured_content.as_ref()?;
        let word = |name: &str| receipt.get(name).and_then(Value::as_str).filter(|text| !text.is_empty());
        let status = word("status")?;
        // A receipt, or a proposal.
        let waits = Status::parse(status) == Some(Status::PendingApproval) || status == PENDING_REVIEW;
        let (url, request) = (word("review_url").filter(|_| waits)?, word("request")?);
        let code = word("match_code").map_or_else(String::new, |code| format!(" The match code is {code}."));
        let message = format!("A human has to approve this, on the review page, with a passkey.{code}");
        let may_call_again = status != PENDING_REVIEW;
        Some(Self { url: url.to_owned(), message, request: request.to_owned(), may_call_again })
    }

    /// Whether the client may be told to call again; if not, the result says where the page is.
    pub(super) fn may_call_again(&self) -> bool {
        self.may_call_again
    }

    /// For clients without a handshake: the result that has them show the page, and call again.
    pub(super) fn as_result(&self) -> InputRequiredResult {
        let asks = ElicitRequest::new(self.asks(String::new()));
        let asked = InputRequests::from([(REVIEW.to_owned(), InputRequest::Elicitation(asks))]);
        // It is read by nobody: the arguments say which request it is, and the ledger how that stands.
        InputRequiredResult::new(Some(asked), Some(self.request.clone()))
    }

    /// For clients with a handshake: asks them to show the page. Whatever comes of it, the receipt says how the request stands.
    pub(super) async fn ask(&self, peer: &Peer<RoleServer>) {
        let Ok(url) = url::Url::parse(&self.url) else { return };
        let asked =
            peer.elicit_url_with_timeout(self.message.clone(), url, self.request.clone(), Some(PATIENCE));
        if let Err(error) = asked.await {
            tracing::debug!(%error, "the client did not show the page");
        }
    }

    fn asks(&self, elicitation_id: String) -> ElicitRequestParams {
        ElicitRequestParams::UrlElicitationParams {
            meta: None,
            message: self.message.clone(),
            url: self.url.clone(),
            elicitation_id,
        }
    }
}

/// Whether a client said that it can show a page.
pub(super) fn can_show(context: &RequestContext<RoleServer>) -> bool {
    context.client_capabilities().and_then(|able| able.elicitation).is_some_and(|able| able.url.is_some())
}
