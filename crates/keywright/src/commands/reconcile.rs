//! `keywright reconcile`

use jiff::Timestamp;
use keywright_server::call::OperatorCall;
use serde_json::Value;

use crate::app::App;
use crate::errors::Exit;
use crate::output::{Done, Output};
use crate::show::facts::Facts;
use crate::show::{count, field, items, joined, number, outside, when};

/// Compare every connection's keys with the ledger; what nobody owns is revoked.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Go on from a ledger that is older than what was known of it: an older copy was put back. Until then the broker only
    /// revokes and looks. Keys that were made since are named, and stay.
    #[arg(long)]
    accept_restore: bool,
    /// End the keys that such a ledger does not know. `key adopt` puts one under management instead.
    #[arg(long, conflicts_with = "accept_restore")]
    revoke_lost: bool,
}

pub(crate) async fn run(app: &App, args: Args) -> Done {
    let found = match args {
        Args { accept_restore: true, .. } => app.signed(OperatorCall::AcceptRestore).await?,
        Args { revoke_lost: true, .. } => app.signed(OperatorCall::RevokeLost).await?,
        Args { .. } => app.everyday(|| OperatorCall::Reconcile).await?,
    };
    let unreachable = found.get("unreachable").and_then(Value::as_object);
    let unreachable: Vec<String> = unreachable
        .into_iter()
        .flatten()
        .map(|(name, why)| format!("{}: {}", outside(name), outside(why.as_str().unwrap_or_default())))
        .collect();
    let is_clean =
        ["orphans", "missing", "forged_ids", "lost"].iter().all(|name| items(&found, name).is_empty());
    let owed = number(&found, "owed");
    let head = match (unreachable.is_empty(), is_clean, owed) {
        (true, true, 0) => "everything is as the ledger says",
        (true, true, _) => "revocations are still owed",
        (true, false, _) => "differences were found",
        (false, ..) => "not every connection could be reached",
    };
    let facts = Facts::new()
        .add("connections", joined(&found, "connections"))
        .add("owned", count(number(&found, "owned"), "key", "keys"))
        .all("orphans", items(&found, "orphans").iter().filter_map(Value::as_str).map(outside))
        .all("missing", items(&found, "missing").iter().filter_map(Value::as_str).map(outside))
        .all("lost", items(&found, "lost").iter().map(lost))
        .all("forged", items(&found, "forged_ids").iter().filter_map(Value::as_str).map(outside))
        .add("still owed", if owed == 0 { String::new() } else { count(owed, "revocation", "revocations") })
        .all("unreachable", unreachable.clone());
    let exit = match (unreachable.is_empty(), owed) {
        (false, _) => Exit::Outside,
        (true, 0) => Exit::Done,
        (true, _) => Exit::Later,
    };
    let text = format!("{head}\n{}", facts.render());
    let only_looked = found.get("only_looked").and_then(Value::as_bool).unwrap_or(false);
    let has_lost = !items(&found, "lost").is_empty();
    let is_forged = !items(&found, "forged_ids").is_empty();
    let output = Output::new(found, text).exit(exit);
    let output = if owed == 0 {
        output
    } else {
        output.talk("the provider has not confirmed all; a running broker tries until it does")
    };
    let output = match (only_looked, has_lost) {
        (true, _) => output.talk(
            "nothing was changed: the ledger is older than what is known of it. If an older copy was put back on purpose: \
             `keywright reconcile --accept-restore`",
        ),
        (false, true) => output.talk(
            "lost: made in a time that this ledger does not know, or gone for a while and there again; and maybe in use. `keywright key adopt CONNECTION ID` puts \
             one under management, `keywright reconcile --revoke-lost` ends them all",
        ),
        (false, false) => output,
    };
    Ok(if is_forged {
        output.talk("forged: named as this home names its keys, and not by it; look at them at the provider")
    } else {
        output
    })
}

/// A key that a restored ledger does not know.
fn lost(one: &Value) -> String {
    let when = |name: &str, what: &str| match field(one, name) {
        at if at.is_empty() => String::new(),
        at => format!(", {what} {}", when::short(&at, Timestamp::now())),
    };
    let off = if one.get("enabled").and_then(Value::as_bool) == Some(false) { ", switched off" } else { "" };
    format!(
        "{} {}{}{}{off}",
        outside(&field(one, "connection")),
        outside(&field(one, "provider_key_id")),
        when("created_at", "made"),
        when("last_used_at", "used")
    )
}
