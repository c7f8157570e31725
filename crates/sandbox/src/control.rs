//! The control path `/_sandbox`: inject faults, move the clock and look at the state over HTTP.
//!
//! | call | body | answer |
//! |---|---|---|
//! | `GET /state` | | accounts, zones, tokens without their values, faults and how far they got, the last calls |
//! | `POST /faults` | a [`Fault`] | `{"id": 1}` |
//! | `DELETE /faults` | | forgets all faults |
//! | `POST /clock` | `{"advance_ms": 60000}` | `{"now": ...}`: tokens expire, lags pass |
//!
//! Only there when the sandbox was started with it. Nothing on it shows a token value. A POST must say that it is JSON,
//! which keeps web pages in a browser on the same machine out: they would have to ask first, and no answer permits them.

use jiff::Timestamp;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::door::{Shared, State};
use crate::fault::Fault;
use crate::token::view::TokenView;

/// How many of the last calls the state shows.
const CALLS_SHOWN: usize = 200;

/// How far the clock moves in one step, at most: a hundred years.
const LONGEST_STEP_MS: u64 = 100 * 366 * 86_400_000;

/// A body of `POST /clock`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Step {
    advance_ms: u64,
}

/// Answers a control call with a status and a JSON body.
pub(crate) fn answer(
    shared: &Shared,
    method: &str,
    path: &str,
    content_type: Option<&str>,
    body: &[u8],
) -> (u16, Value) {
    match (method, path) {
        ("GET", "/state") => (200, snapshot(&shared.lock(), shared.now())),
        ("POST", "/faults") => settled(heard::<Fault>(content_type, body, "a fault").and_then(|fault| {
            let added = shared.lock().faults.add(fault);
            added.map(|id| json!({"id": id})).map_err(|error| (400, error.to_string()))
        })),
        ("DELETE", "/faults") => {
            shared.lock().faults.clear();
            (200, json!({}))
        }
        ("POST", "/clock") => settled(heard::<Step>(content_type, body, "a step").and_then(|step| {
            if step.advance_ms > LONGEST_STEP_MS {
                return Err((400, format!("`advance_ms` is at most {LONGEST_STEP_MS}")));
            }
            shared.advance_clock(step.advance_ms);
            Ok(json!({"now": shared.now()}))
        })),
        _ => (404, json!({"error": "the control path has `state`, `faults` and `clock`"})),
    }
}

/// Reads a body, which must call itself JSON.
fn heard<T: DeserializeOwned>(kind: Option<&str>, body: &[u8], what: &str) -> Result<T, (u16, String)> {
    if !kind.is_some_and(|kind| kind.starts_with("application/json")) {
        return Err((415, format!("{what} is sent as `application/json`")));
    }
    serde_json::from_slice(body).map_err(|error| (400, format!("that is not {what}: {error}")))
}

fn settled(outcome: Result<Value, (u16, String)>) -> (u16, Value) {
    match outcome {
        Ok(value) => (200, value),
        Err((status, error)) => (status, json!({"error": error})),
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
