//! The control path `/_sandbox`: inject faults and look at the state over HTTP.
//!
//! Only there when the sandbox was started with it. Nothing on it shows a token value. A POST must say that it is JSON,
//! which keeps web pages in a browser on the same machine out: they would have to ask first, and no answer permits them.

use jiff::Timestamp;
use serde_json::{Value, json};

use crate::door::State;
use crate::fault::Fault;
use crate::token::view::TokenView;

/// How many of the last calls the state shows.
const CALLS_SHOWN: usize = 200;

/// Answers a control call with a status and a JSON body.
pub(crate) fn answer(
    state: &mut State,
    method: &str,
    path: &str,
    content_type: Option<&str>,
    body: &[u8],
    now: Timestamp,
) -> (u16, Value) {
    match (method, path) {
        ("GET", "/state") => (200, snapshot(state, now)),
        ("POST", "/faults") => {
            let is_json = content_type.is_some_and(|kind| kind.starts_with("application/json"));
            if !is_json {
                return (415, json!({"error": "a fault is sent as `application/json`"}));
            }
            match serde_json::from_slice::<Fault>(body) {
                Err(error) => (400, json!({"error": format!("that is not a fault: {error}")})),
                Ok(fault) => match state.faults.add(fault) {
                    Ok(id) => (200, json!({"id": id})),
                    Err(error) => (400, json!({"error": error.to_string()})),
                },
            }
        }
        ("DELETE", "/faults") => {
            state.faults.clear();
            (200, json!({}))
        }
        _ => (404, json!({"error": "the control path has `state` and `faults`"})),
    }
}

fn snapshot(state: &State, now: Timestamp) -> Value {
    let world = &state.world;
    let accounts: Vec<Value> =
        world.accounts.iter().map(|account| json!({"id": account.id, "name": account.name})).collect();
    let tokens: Vec<TokenView> = world.tokens.iter().map(|token| TokenView::of(token, now)).collect();
    let mut calls: Vec<_> = state.calls.iter().rev().take(CALLS_SHOWN).collect();
    calls.reverse();
    json!({
        "schema": "keywright/sandbox-state/1",
        "now": now,
        "accounts": accounts,
        "user": world.user,
        "zones": world.zone_views(),
        "tokens": tokens,
        "faults": state.faults.views(),
        "calls": calls,
    })
}
