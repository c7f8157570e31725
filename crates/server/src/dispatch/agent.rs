//! What agents can say. The match is over the whole of [`AgentCall`]: a new verb has to be added here by hand.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use keywright_broker::Broker;
use keywright_broker::find::Plain;
use keywright_broker::proposals::Stands;
use keywright_broker::record::Caller;
use keywright_broker::trace::KeyFilter;
use keywright_core::key::KeyState;
use keywright_core::plan::Principal;
use keywright_ledger::Agent;
use serde_json::{Value, json};

use super::{Peer, invalid, read};
use crate::answer::Failure;
use crate::call::AgentCall;
use crate::views;

/// How long a request waits for its mint before it answers `in_progress`.
const MINT_WAIT: Duration = Duration::from_secs(20);
/// The longest wait that a client survives.
const LONGEST_WAIT: u32 = 25;

pub(super) async fn run(
    broker: &Arc<Broker>,
    peer: &Peer,
    agent: Agent,
    claimed: BTreeMap<String, String>,
    call: AgentCall,
) -> Result<Value, Failure> {
    let principal = Principal::Agent(agent.name);
    let caller = Caller { principal: principal.clone(), verified: peer.verified(), claimed };
    match call {
        AgentCall::FindPermissions { query, provider, limit } => {
            let (found, note) =
                broker.find_permissions(&query, provider.as_deref(), limit.unwrap_or(10)).await?;
            let templates = broker.usable_templates(&principal).await?;
            Ok(views::found(&found, &views::matching(templates, Some(&query)), note.as_deref()))
        }
        AgentCall::ListTemplates { query } => {
            let templates = broker.usable_templates(&principal).await?;
            Ok(views::usable(&views::matching(templates, query.as_deref())))
        }
        AgentCall::PlanKey { ask: Some(ask), .. } => {
            Ok(views::dry_run(&broker.dry_run(&principal, &ask).await?))
        }
        AgentCall::PlanKey { intent, operations, provider, key, ask: None } => {
            let denied = match key {
                Some(key) => Some(broker.denied(&principal, &key, &operations).await?),
                None => None,
            };
            let provider = denied.as_ref().map(|denied| denied.provider.clone()).or(provider);
            let plain = Plain { intent, operations, provider };
            let answer = broker.plan_plain(&plain).await?;
            let templates = broker.usable_templates(&principal).await?;
            let mut value = views::plain_answer(&answer, plain.intent.as_deref(), templates);
            if let (Some(object), Some(denied)) = (value.as_object_mut(), denied) {
                object.insert("denied".to_owned(), json!(denied));
            }
            Ok(value)
        }
        AgentCall::RequestKey { ask } => Ok(views::receipt(&broker.request(&caller, &ask, MINT_WAIT).await?)),
        AgentCall::CheckRequest { request, wait_seconds } => {
            if let Some(stands) = broker.proposal_state(&principal, &request).await? {
                return Ok(views::proposal(broker, Broker::find_request(&request)?, &stands));
            }
            let wait = Duration::from_secs(wait_seconds.unwrap_or(0).min(LONGEST_WAIT).into());
            Ok(views::receipt(&broker.check(&principal, &request, wait).await?))
        }
        AgentCall::ListKeys { project, environment, state } => {
            let filter = KeyFilter {
                project: read(project.as_ref())?,
                environment: read(environment.as_ref())?,
                state: state_of(state.as_deref())?,
            };
            Ok(views::keys(&broker.keys(&principal, filter).await?))
        }
        AgentCall::RotateKey { key, reason } => {
            Ok(views::receipt(&broker.rotate(&caller, &key, &reason, MINT_WAIT).await?))
        }
        AgentCall::RevokeKey { key, reason } => {
            Ok(views::receipt(&broker.revoke(&caller, &key, &reason).await?))
        }
        AgentCall::ProposeTemplate { source, why } => {
            let request = broker.propose_template(&caller, &source, &why).await?;
            let waits = Stands { state: "pending".to_owned(), by: None, reason: None };
            Ok(views::proposal(broker, request, &waits))
        }
    }
}

/// A key's state as people write it.
pub(super) fn state_of(text: Option<&str>) -> Result<Option<KeyState>, Failure> {
    match text {
        None => Ok(None),
        Some(text) => KeyState::parse(text).map(Some).ok_or_else(|| {
            let states = KeyState::ALL.iter().map(|s| s.as_str()).collect::<Vec<_>>().join(", ");
            invalid(format!(
                "`{}` is no state of a key; there are {states}",
                keywright_core::text::escaped(text)
            ))
        }),
    }
}
