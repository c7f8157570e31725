//! `keywright key adopt`, and the list of the keys that nobody manages.

use jiff::Timestamp;
use keywright_broker::ask::Ask;
use keywright_server::call::OperatorCall;
use serde_json::Value;

use super::key::show;
use crate::app::App;
use crate::errors::Exit;
use crate::input::Setting;
use crate::output::{Done, Output};
use crate::show::list::{List, Tone, plain, strong, toned};
use crate::show::{count, field, items, joined, outside, when};

/// How many permissions of a key a list names.
const NAMED: usize = 3;

#[derive(clap::Args)]
pub(crate) struct Args {
    /// The connection that sees it.
    connection: String,
    /// The provider's id of it, as `key list --unmanaged` shows it.
    id: String,
    /// The project.
    #[arg(long, value_name = "P", default_value = "", hide_default_value = true)]
    project: String,
    /// The environment.
    #[arg(long, value_name = "E", default_value = "", hide_default_value = true)]
    env: String,
    /// The key's name: the variable under which programs read it.
    #[arg(long, default_value = "", hide_default_value = true)]
    name: String,
    /// The template that its successors are made from, as in `cloudflare/dns-edit`; without one it can't be rotated.
    #[arg(long, value_name = "ID", default_value = "", hide_default_value = true)]
    template: String,
    /// A parameter of the template.
    #[arg(long = "param", value_name = "K=V")]
    parameters: Vec<Setting>,
    /// Where its value lies now, and its successor's will: the next rotation writes over it.
    #[arg(long = "to", value_name = "STORE:PLACE")]
    destinations: Vec<String>,
    /// Why; it goes on record.
    #[arg(long, value_name = "T", default_value = "an operator said so")]
    reason: String,
}

pub(crate) async fn run(app: &App, args: Args) -> Done {
    let is_known = args.template.is_empty();
    let ask = Ask {
        template: args.template,
        parameters: super::key::parameters(args.parameters)?,
        project: args.project,
        environment: args.env,
        name: args.name,
        destinations: args.destinations,
        purpose: args.reason,
        cwd: std::env::current_dir().ok().and_then(|path| path.to_str().map(str::to_owned)),
        ..Ask::default()
    };
    let call =
        OperatorCall::KeyAdopt { connection: args.connection, provider_key_id: args.id, ask: Box::new(ask) };
    let adopted = app.signed(call).await?;
    let key = adopted.get("key").cloned().unwrap_or_default();
    let full = format!("{}/{}/{}", field(&key, "project"), field(&key, "environment"), field(&key, "name"));
    let text = show(&adopted);
    let differences: Vec<String> =
        items(&adopted, "differences").iter().filter_map(Value::as_str).map(outside).collect();
    let mut output = Output::new(adopted, text);
    for difference in differences {
        output = output.talk(format!("{}: {difference}", toned("differs", Tone::Warn)));
    }
    Ok(output.talk(if is_known {
        format!("next: `keywright key disable {full}` or `key revoke {full}`; to have it replaced, adopt it with --template")
    } else {
        format!("next: `keywright key rotate {full}` replaces it by a key of the template, and ends it once it is idle")
    }))
}

/// The credentials that nobody manages, the worst first.
pub(crate) async fn unmanaged(app: &App, connection: Option<String>) -> Done {
    let make = || OperatorCall::KeyUnmanaged { connection: connection.clone() };
    let found = app.everyday(make).await?;
    let now = Timestamp::now();
    let mut list = List::new(&["label", "at", "made", "last used", "ends", "may", "risks", "id"]);
    for key in items(&found, "keys") {
        let is_parent = key.get("is_parent").and_then(Value::as_bool).unwrap_or(false);
        let is_off = key.get("enabled").and_then(Value::as_bool) == Some(false);
        let risks = joined(key, "why");
        let tells_use = key.get("tells_use").and_then(Value::as_bool).unwrap_or(false);
        let is_endless = items(key, "risks").iter().any(|risk| risk == "no_expiry");
        let is_marked = key.get("is_marked").and_then(Value::as_bool).unwrap_or(false);
        let risks = match (is_parent, is_off) {
            _ if is_marked => ("another home's, by its name".to_owned(), Tone::Plain),
            (true, _) => ("a connection's own".to_owned(), Tone::Plain),
            (_, true) => (format!("switched off; {risks}").trim_end_matches("; ").to_owned(), Tone::Warn),
            (_, false) if risks.is_empty() => ("none known".to_owned(), Tone::Good),
            _ => (risks, Tone::Bad),
        };
        list.row(vec![
            strong(field(key, "label")),
            plain(field(key, "connection")),
            plain(time(key, "created_at", None, now)),
            plain(time(key, "last_used_at", tells_use.then_some("never"), now)),
            plain(time(key, "expires_at", is_endless.then_some("never"), now)),
            plain(may(key)),
            risks,
            plain(field(key, "provider_key_id")),
        ]);
    }
    let unread: Vec<String> = found
        .get("unread")
        .and_then(Value::as_object)
        .into_iter()
        .flatten()
        .map(|(name, why)| format!("{}: {}", outside(name), outside(why.as_str().unwrap_or_default())))
        .collect();
    let (is_empty, is_read) = (items(&found, "keys").is_empty(), !items(&found, "connections").is_empty());
    let text = match (is_empty, is_read, unread.is_empty()) {
        (false, ..) => list.render(),
        (true, true, _) => "every key of these connections is managed".to_owned(),
        (true, false, true) => "no connections yet".to_owned(),
        (true, false, false) => "nothing could be read".to_owned(),
    };
    let exit = if is_read || unread.is_empty() { Exit::Done } else { Exit::Outside };
    let mut output = Output::new(found, text).exit(exit);
    for one in unread {
        output = output.talk(format!("{}: {one}", toned("not read", Tone::Warn)));
    }
    Ok(if is_empty {
        output
    } else {
        output.talk("next: keywright key adopt CONNECTION ID --project P --env E --name NAME [--template ID]")
    })
}

/// A time; where there is none, what that means, or that nobody knows.
fn time(key: &Value, name: &str, none: Option<&str>, now: Timestamp) -> String {
    match field(key, name) {
        at if at.is_empty() => none.unwrap_or("?").to_owned(),
        at => when::short(&at, now),
    }
}

/// Its permissions, the first few by name.
fn may(key: &Value) -> String {
    let all = items(key, "permissions");
    let mut names: Vec<String> = all.iter().take(NAMED).map(|one| field(one, "name")).collect();
    if let Some(more) = all.len().checked_sub(NAMED).filter(|more| *more > 0) {
        names.push(format!("and {}", count(more as u64, "other", "others")));
    }
    names.join(", ")
}
