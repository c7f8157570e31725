//! Receipts for people.

use jiff::Timestamp;
use keywright_core::receipt::{Narrowed, Status};
use keywright_server::answer::Failure;
use serde_json::Value;

use super::facts::Facts;
use super::list::{Tone, of_state, toned};
use super::{field, items, number, outside, when};
use crate::errors::Exit;
use crate::output::{Done, Output};

/// A receipt as the end of a command: its status decides the exit code.
pub(crate) fn done(receipt: Value) -> Done {
    let status = field(&receipt, "status");
    let exit = Status::parse(&status).map_or(Exit::Error, Exit::from);
    let request = field(&receipt, "request");
    let approvals = receipt.get("approvals").cloned().unwrap_or_default();
    let text = text(&receipt);
    let output = Output::new(receipt, text).exit(exit);
    Ok(match status.as_str() {
        "pending_approval" if number(&approvals, "given") > 0 => {
            output.talk(format!("next: another operator approves it: keywright review approve {request}"))
        }
        "pending_approval" => {
            output.talk(format!("next: an operator reads it: keywright review show {request}"))
        }
        "in_progress" => output.talk("next: it goes on in the background; look with keywright key list"),
        "failed" => {
            output.talk("next: fix the cause, then ask again; whatever was made for it is revoked, or looked for until it is")
        }
        "expired" => output.talk("next: ask again if it is still needed"),
        _ => output,
    })
}

/// A receipt after a revocation: while it still says `active`, the provider has not confirmed.
pub(crate) fn revoked(receipt: Value) -> Result<Output, Failure> {
    if field(&receipt, "status") != "active" {
        return done(receipt);
    }
    let text = text(&receipt);
    let owed = "the provider has not confirmed yet; it is owed, and tried again until it does";
    Ok(Output::new(receipt, text).exit(Exit::Later).talk(owed).talk("next: keywright key list --debt"))
}

/// The receipt in words.
fn text(receipt: &Value) -> String {
    let now = Timestamp::now();
    let status = field(receipt, "status");
    let head = format!("{}  {}", toned(&status, of_state(&status)), field(receipt, "name"));
    let approvals = receipt.get("approvals").cloned().unwrap_or_default();
    let needed = number(&approvals, "needed");
    let approvals = match needed {
        0 => String::new(),
        _ => format!("{} of {needed} given", number(&approvals, "given")),
    };
    let expires = field(receipt, "expires_at");
    let is_there = ["active", "in_progress"].contains(&status.as_str());
    let facts = Facts::new()
        .add("key", field(receipt, "key"))
        .add("provider", field(receipt, "provider"))
        .add("less", narrowed(receipt))
        .all("may", items(receipt, "permissions").iter().map(permission))
        .all("on", items(receipt, "resources").iter().map(resource))
        .add("expires", if expires.is_empty() { expires } else { when::both(&expires, now) })
        .all(if is_there { "lies in" } else { "goes to" }, items(receipt, "placements").iter().map(placement))
        .add("approvals", approvals)
        .add("match code", field(receipt, "match_code"))
        .add("review at", field(receipt, "review_url"))
        .all("because", items(receipt, "reasons").iter().filter_map(Value::as_str).map(outside))
        .add("request", field(receipt, "request"))
        .add("entry", field(receipt, "entry"));
    format!("{head}\n{}", facts.render())
}

/// How much less was approved than was asked for.
fn narrowed(receipt: &Value) -> String {
    let read = |less: &Value| serde_json::from_value::<Narrowed>(less.clone()).ok();
    let Some(less) = receipt.get("narrowed").and_then(read) else { return String::new() };
    toned(&outside(&format!("operator {} approved {}", less.by, less.words())), Tone::Good)
}

/// `DNS Write (zone)`.
pub(crate) fn permission(permission: &Value) -> String {
    let scope = field(permission, "scope");
    let scope = scope.rsplit('.').next().unwrap_or_default();
    if scope.is_empty() {
        field(permission, "name")
    } else {
        format!("{} ({scope})", field(permission, "name"))
    }
}

/// `example.com (cloudflare.zone)`.
pub(crate) fn resource(resource: &Value) -> String {
    let name = match field(resource, "name") {
        empty if empty.is_empty() => field(resource, "id"),
        name => name,
    };
    format!("{name} ({})", field(resource, "kind"))
}

fn placement(placement: &Value) -> String {
    let place = format!("{}:{}", field(placement, "store"), field(placement, "place"));
    match field(placement, "verified").as_str() {
        "" => place,
        how => format!("{place} ({how})"),
    }
}
