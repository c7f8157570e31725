//! Limits: what policy counts, and the brake on asking. A count that decides whether something is added is taken in the
//! transaction that adds it; before that it is only a forecast.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use jiff::Timestamp;
use keywright_core::name::AgentName;
use keywright_core::plan::Principal;
use keywright_core::policy::Counts;
use keywright_core::span::Span;
use keywright_ledger::{LedgerError, Request, Tx};

use crate::broker::Broker;
use crate::error::{BrokerError, Code, Result};

/// How many asks of one agent are taken within an hour, refused ones included. Policy sets the limit that matters.
const ASKS_AN_HOUR: u64 = 1_000;

/// What a principal has now: its keys, and its requests of the last hour.
pub(crate) fn counts(tx: &Tx<'_>, principal: &Principal) -> std::result::Result<Counts, LedgerError> {
    let keys_active = match principal {
        Principal::Agent(agent) => tx.places_held(agent, None)?,
        _ => 0,
    };
    let (kind, name) = (principal.kind(), principal.name());
    let requests_last_hour = tx.requests_between(kind, name, an_hour_before(tx.now()), None)?;
    Ok(Counts { keys_active, requests_last_hour })
}

/// What a principal has besides this request: its other keys, and the requests that it had made in the hour before. What
/// it asks for later does not count against it, so that a request that was let through stays let through.
pub(crate) fn counts_besides(tx: &Tx<'_>, request: &Request) -> std::result::Result<Counts, LedgerError> {
    let principal = &request.plan.principal;
    let keys_active = match principal {
        Principal::Agent(agent) => tx.places_held(agent, request.key)?,
        _ => 0,
    };
    let (kind, name, at) = (principal.kind(), principal.name(), request.created_at);
    let requests_last_hour = tx.requests_between(kind, name, an_hour_before(at), Some(at))?;
    Ok(Counts { keys_active, requests_last_hour })
}

impl Broker {
    /// What policy counts, as it is at this moment.
    pub(crate) async fn counts(&self, principal: &Principal) -> Result<Counts> {
        let who = principal.clone();
        Ok(self.ledger.read(move |tx| counts(tx, &who)).await?)
    }

    /// Nobody fills the ledger by asking: beyond a number that no honest agent reaches, asks are not even recorded.
    pub(crate) async fn brake(&self, principal: &Principal) -> Result<()> {
        let Principal::Agent(agent) = principal else { return Ok(()) };
        if self.counts(principal).await?.requests_last_hour + self.refusals.of(agent, self.now())
            < ASKS_AN_HOUR
        {
            return Ok(());
        }
        let message = format!("this agent has asked {ASKS_AN_HOUR} times within an hour");
        Err(BrokerError::new(Code::TryAgain, message)
            .hint("ask again in an hour, and find out why it asks so often"))
    }
}

/// Asks that were refused before they became requests, by agent. In memory: a restart forgets them.
#[derive(Default)]
pub(crate) struct Refusals(Mutex<HashMap<AgentName, (Timestamp, u64)>>);

impl Refusals {
    /// Agents exist by the hand of an operator, so there are few; a map that grew all the same starts anew.
    const AGENTS_AT_MOST: usize = 10_000;

    fn of(&self, agent: &AgentName, now: Timestamp) -> u64 {
        let counted = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        counted.get(agent).filter(|(since, _)| now < an_hour_after(*since)).map_or(0, |(_, count)| *count)
    }

    pub(crate) fn count(&self, agent: &AgentName, now: Timestamp) {
        let mut counted = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if counted.len() >= Self::AGENTS_AT_MOST {
            counted.clear();
        }
        let (since, count) = counted.entry(agent.clone()).or_insert((now, 0));
        if now >= an_hour_after(*since) {
            (*since, *count) = (now, 0);
        }
        *count += 1;
    }
}

fn an_hour_after(at: Timestamp) -> Timestamp {
    Span::from_seconds(3_600).after(at)
}

fn an_hour_before(at: Timestamp) -> Timestamp {
    at.checked_sub(jiff::SignedDuration::from_hours(1)).unwrap_or(Timestamp::MIN)
}
