//! `keywright reconcile`

use keywright_server::call::OperatorCall;
use serde_json::Value;

use crate::app::App;
use crate::output::{Done, Output};
use crate::show::facts::Facts;
use crate::show::{count, field, items, joined, number, outside};

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
    let is_clean = items(&found, "orphans").is_empty() && items(&found, "missing").is_empty();
    let head = match (unreachable.is_empty(), is_clean) {
        (true, true) => "everything is as the ledger says",
        (true, false) => "differences were found",
        (false, _) => "not every connection could be reached",
    };
    let facts = Facts::new()
        .add("connections", joined(&found, "connections"))
        .add("owned", count(number(&found, "owned"), "key", "keys"))
        .all("orphans", items(&found, "orphans").iter().filter_map(Value::as_str).map(outside))
        .all("missing", items(&found, "missing").iter().filter_map(Value::as_str).map(outside))
        .add(
            "forged",
            match number(&found, "forged") {
                0 => String::new(),
                _ => field(&found, "forged"),
            },
        )
        .all("unreachable", unreachable.clone());
    let exit = if unreachable.is_empty() { crate::errors::Exit::Done } else { crate::errors::Exit::Outside };
    let text = format!("{head}\n{}", facts.render());
    Ok(Output::new(found, text).exit(exit))
}
