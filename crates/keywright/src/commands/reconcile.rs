//! `keywright reconcile`

use keywright_server::call::OperatorCall;
use serde_json::Value;

use crate::app::App;
use crate::errors::Exit;
use crate::output::{Done, Output};
use crate::show::facts::Facts;
use crate::show::{count, items, joined, number, outside};

/// Compare every connection's keys with the ledger; what nobody owns is revoked.
#[derive(clap::Args)]
pub(crate) struct Args {}

pub(crate) async fn run(app: &App, _: Args) -> Done {
    let found = app.everyday(|| OperatorCall::Reconcile).await?;
    let unreachable = found.get("unreachable").and_then(Value::as_object);
    let unreachable: Vec<String> = unreachable
        .into_iter()
        .flatten()
        .map(|(name, why)| format!("{}: {}", outside(name), outside(why.as_str().unwrap_or_default())))
        .collect();
    let is_clean = ["orphans", "missing", "forged_ids"].iter().all(|name| items(&found, name).is_empty());
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
        .all("forged", items(&found, "forged_ids").iter().filter_map(Value::as_str).map(outside))
        .add("still owed", if owed == 0 { String::new() } else { count(owed, "revocation", "revocations") })
        .all("unreachable", unreachable.clone());
    let exit = match (unreachable.is_empty(), owed) {
        (false, _) => Exit::Outside,
        (true, 0) => Exit::Done,
        (true, _) => Exit::Later,
    };
    let text = format!("{head}\n{}", facts.render());
    let is_forged = !items(&found, "forged_ids").is_empty();
    let output = Output::new(found, text).exit(exit);
    let output = if owed == 0 {
        output
    } else {
        output.talk("the provider has not confirmed all; a running broker tries until it does")
    };
    Ok(if is_forged {
        output.talk("forged: named as this home names its keys, and not by it; look at them at the provider")
    } else {
        output
    })
}
