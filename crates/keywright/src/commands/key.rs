//! `keywright key`

use jiff::Timestamp;
use keywright_broker::ask::Ask;
use keywright_server::call::OperatorCall;
use serde_json::Value;

use crate::app::App;
use crate::errors::{self, Exit};
use crate::input::Setting;
use crate::output::{Done, Output};
use crate::show::facts::Facts;
use crate::show::list::{List, Tone, of_state, plain, strong, toned};
use crate::show::plan::{dry_run, said};
use crate::show::receipt::{self, permission, resource};
use crate::show::{count, field, items, joined, number, when};

/// Keys: ask for them, look at them, revoke them.
#[derive(clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(clap::Subcommand)]
enum Command {
    /// Ask for a key by template.
    Request(Request),
    /// List keys, without secrets.
    List {
        /// Of this project.
        #[arg(long, value_name = "P")]
        project: Option<String>,
        /// Of this environment.
        #[arg(long, value_name = "E")]
        env: Option<String>,
        /// In this state: minting, active, revoking, revoked, failed.
        #[arg(long, value_name = "S")]
        state: Option<String>,
        /// Only those that are still owed to a revocation.
        #[arg(long)]
        debt: bool,
        /// Those that were revoked or failed as well.
        #[arg(long)]
        all: bool,
    },
    /// Show one key, without its secret.
    Show {
        /// Its id, its name, or project/environment/NAME.
        key: String,
    },
    /// Revoke one key at its provider.
    Revoke {
        /// Its id, its name, or project/environment/NAME.
        key: String,
        /// Why; it goes on record.
        #[arg(long, value_name = "T", default_value = "an operator said so")]
        reason: String,
    },
    /// Replace a key by a successor (not in this version).
    #[command(hide = true)]
    Rotate {
        /// Its id or name.
        key: String,
    },
    /// Take a key that was made elsewhere under management (not in this version).
    #[command(hide = true)]
    Adopt {
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        _rest: Vec<String>,
    },
}

#[derive(clap::Args)]
struct Request {
    /// The template's id, as in `cloudflare/dns-edit`.
    template: String,
    /// The project.
    #[arg(long, value_name = "P")]
    project: String,
    /// The environment.
    #[arg(long, value_name = "E")]
    env: String,
    /// The key's name: the variable under which programs read it.
    #[arg(long)]
    name: String,
    /// A parameter of the template.
    #[arg(long = "param", value_name = "K=V")]
    parameters: Vec<Setting>,
    /// Where it goes; the project's default place without it.
    #[arg(long = "to", value_name = "STORE:PLACE")]
    destinations: Vec<String>,
    /// How long it lives, as in `30d`; the template's default without it.
    #[arg(long, value_name = "D")]
    ttl: Option<String>,
    /// What it is for; it goes on record.
    #[arg(long, value_name = "T", default_value = "", hide_default_value = true)]
    purpose: String,
    /// Only say what would happen.
    #[arg(long)]
    dry_run: bool,
}

pub(crate) async fn run(app: &App, args: Args) -> Done {
    match args.command {
        Command::Request(request) => ask(app, request).await,
        Command::List { project, env, state, debt, all } => {
            let is_narrow = project.is_some() || env.is_some() || state.is_some() || debt;
            let is_whole = all || state.is_some() || debt;
            let make = || OperatorCall::KeyList {
                project: project.clone(),
                environment: env.clone(),
                state: state.clone(),
                debt,
            };
            list(app.everyday(make).await?, is_narrow, is_whole)
        }
        Command::Show { key } => {
            let trace = app.everyday(|| OperatorCall::KeyShow { key: key.clone() }).await?;
            let text = show(&trace);
            Ok(Output::new(trace, text))
        }
        Command::Revoke { key, reason } => {
            let make = || OperatorCall::KeyRevoke { key: key.clone(), reason: reason.clone() };
            receipt::revoked(app.everyday(make).await?)
        }
        Command::Rotate { .. } => Err(errors::unsupported("rotating a key")
            .hint("request a key under another name, move its consumers, then revoke the old one")),
        Command::Adopt { .. } => Err(errors::unsupported("adopting a key")),
    }
}

async fn ask(app: &App, request: Request) -> Done {
    let mut parameters = std::collections::BTreeMap::new();
    for (name, value) in request.parameters.into_iter().map(Setting::into_pair) {
        if parameters.insert(name.clone(), value).is_some() {
            let name = keywright_core::text::escaped(&name);
            return Err(errors::usage(format!("parameter `{name}` is given twice")));
        }
    }
    let ask = Ask {
        template: request.template,
        parameters,
        project: request.project,
        environment: request.env,
        name: request.name,
        destinations: request.destinations,
        ttl: request.ttl,
        purpose: request.purpose,
        prompt: None,
        idempotency_key: None,
        cwd: std::env::current_dir().ok().and_then(|path| path.to_str().map(str::to_owned)),
    };
    let is_dry = request.dry_run;
    let make = || OperatorCall::KeyRequest { ask: Box::new(ask.clone()), dry_run: is_dry };
    let answer = app.everyday(make).await?;
    if is_dry {
        let exit = match answer.pointer("/decision/effect").and_then(Value::as_str) {
            Some("allow") => Exit::Done,
            Some("deny") => Exit::Denied,
            _ => Exit::Pending,
        };
        let text = dry_run(&answer);
        return Ok(Output::new(answer, text).exit(exit).talk("nothing was made"));
    }
    receipt::done(answer)
}

/// The keys as people see them: the live ones, unless the whole list was wanted. Programs get every one.
fn list(keys: Value, is_narrow: bool, is_whole: bool) -> Done {
    let now = Timestamp::now();
    let mut list = List::new(&["name", "project", "env", "state", "expires", "template", "id"]);
    let all = items(&keys, "keys");
    let is_over = |key: &&Value| ["revoked", "failed"].contains(&field(key, "state").as_str());
    let (over, live): (Vec<&Value>, Vec<&Value>) = all.iter().partition(is_over);
    let (shown, hidden) = if is_whole { (all.iter().collect(), 0) } else { (live, over.len() as u64) };
    let is_empty = shown.is_empty();
    for key in shown {
        let state = field(key, "state");
        let expires = field(key, "expires_at");
        let is_owed = key.get("debt").and_then(Value::as_bool).unwrap_or(false);
        let is_alive = state == "active";
        list.row(vec![
            strong(field(key, "name")),
            plain(field(key, "project")),
            plain(field(key, "environment")),
            if is_owed { (format!("{state}, owed"), Tone::Bad) } else { (state.clone(), of_state(&state)) },
            plain(if expires.is_empty() || !is_alive { String::new() } else { when::short(&expires, now) }),
            plain(field(key, "template")),
            plain(field(key, "id")),
        ]);
    }
    let rest = format!("{} not shown, revoked or failed: --all shows them", count(hidden, "key", "keys"));
    Ok(match (is_empty, hidden, is_narrow) {
        (true, 0, true) => Output::new(keys, "no such keys"),
        (true, 0, false) => Output::new(keys, "no keys yet").talk(
            "next: keywright key request TEMPLATE --project P --env E --name NAME, or let an agent ask",
        ),
        (true, _, _) => Output::new(keys, "no live keys").talk(rest),
        (false, 0, _) => Output::new(keys, list.render()),
        (false, _, _) => Output::new(keys, list.render()).talk(rest),
    })
}

/// Everything about one key; the audit's trace shows the entries as well.
pub(crate) fn show(trace: &Value) -> String {
    let now = Timestamp::now();
    let key = trace.get("key").cloned().unwrap_or_default();
    let asker = trace.get("asked_by").cloned().unwrap_or_default();
    let state = field(&key, "state");
    let head = format!("{}  {}", toned(&state, of_state(&state)), field(&key, "name"));
    let claimed = trace.get("claimed").and_then(Value::as_object);
    let claimed = claimed.into_iter().flatten().map(|(name, value)| {
        format!(
            "{} = {}",
            crate::show::outside(name),
            crate::show::plan::quoted(value.as_str().unwrap_or_default())
        )
    });
    let is_done = |debt: &&Value| !field(debt, "done_at").is_empty();
    let (done, owed): (Vec<&Value>, Vec<&Value>) = items(trace, "revocations").iter().partition(is_done);
    let facts = Facts::new()
        .add("key", field(&key, "id"))
        .all(
            "because",
            items(trace, "reasons")
                .iter()
                .filter(|_| state == "failed")
                .filter_map(Value::as_str)
                .map(crate::show::outside),
        )
        .add("for", format!("{} / {}", field(&key, "project"), field(&key, "environment")))
        .add("made at", format!("{} ({})", field(&key, "connection"), field(&key, "provider")))
        .add("template", field(&key, "template"))
        .all("may", items(trace, "permissions").iter().map(permission))
        .all("on", items(trace, "resources").iter().map(resource))
        .add("unlocks", crate::show::plan::unlocks(trace))
        .all("version", items(trace, "versions").iter().map(|version| version_text(version, now)))
        .all(
            "lies in",
            items(trace, "placements").iter().map(|placement| {
                format!(
                    "{} ({} {})",
                    field(placement, "place"),
                    field(placement, "state"),
                    field(placement, "verified")
                )
                .replace(" )", ")")
            }),
        )
        .add("under way", trace.get("under_way").map(under_way_text).unwrap_or_default())
        .all("owed", owed.into_iter().map(|debt| owed_text(debt, now)))
        .all("revocation", done.into_iter().map(|debt| confirmed_text(debt, now)))
        .add("asked by", format!("{} {}", field(&asker, "kind"), field(&asker, "name")))
        .add("asked", when::both(&field(trace, "asked_at"), now))
        .all("it says", claimed)
        .add("purpose", said(trace, "purpose"))
        .add("prompt", said(trace, "prompt"))
        .add("decided by", joined(trace, "decided_by"))
        .add("approved by", joined(trace, "approved_by"));
    format!("{head}\n{}", facts.render())
}

/// How far a mint is, or that it is being undone, and what stands in the way.
fn under_way_text(saga: &Value) -> String {
    let (phase, trouble) = (field(saga, "phase"), field(saga, "trouble"));
    let what = match phase.as_str() {
        "" => return String::new(),
        "undo" => "it is being undone".to_owned(),
        reached => format!("it is being made, and has come to `{reached}`"),
    };
    let tries = match number(saga, "tries") {
        0 => String::new(),
        tries => format!(" ({} of this step so far)", count(tries, "try", "tries")),
    };
    if trouble.is_empty() { format!("{what}{tries}") } else { format!("{what}{tries}: {trouble}") }
}

fn version_text(version: &Value, now: Timestamp) -> String {
    let expires = field(version, "expires_at");
    let expires =
        if expires.is_empty() { String::new() } else { format!(", expires {}", when::both(&expires, now)) };
    format!("{} is {}{expires}", number(version, "number"), field(version, "state"))
}

fn owed_text(debt: &Value, now: Timestamp) -> String {
    let since = when::both(&field(debt, "owed_since"), now);
    let trouble = field(debt, "trouble");
    let trouble = if trouble.is_empty() { trouble } else { format!(": {trouble}") };
    format!("a revocation since {since}, {}{trouble}", count(number(debt, "tries"), "try", "tries"))
}

fn confirmed_text(debt: &Value, now: Timestamp) -> String {
    format!("confirmed {}", when::both(&field(debt, "done_at"), now))
}
