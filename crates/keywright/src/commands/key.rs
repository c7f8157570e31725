//! `keywright key`

use std::collections::BTreeMap;

use jiff::Timestamp;
use keywright_broker::ask::Ask;
use keywright_server::answer::Failure;
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
        /// The keys that were made elsewhere and that nobody manages, with what is wrong with them.
        #[arg(long, conflicts_with_all = ["project", "env", "state", "debt", "all"])]
        unmanaged: bool,
        /// Of those, only the ones that this connection sees.
        #[arg(long, value_name = "NAME", requires = "unmanaged")]
        connection: Option<String>,
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
    /// Replace a key's version by a successor, and end the old one once it is idle.
    Rotate(super::rotate::Args),
    /// Switch a key off at its provider, where that can be taken back.
    Disable(Switched),
    /// Switch a key on again.
    Enable(Switched),
    /// Put a key that was made elsewhere under management.
    Adopt(super::adopt::Args),
}

#[derive(clap::Args)]
struct Switched {
    /// Its id, its name, or project/environment/NAME.
    key: String,
    /// Why; it goes on record.
    #[arg(long, value_name = "T", default_value = "an operator said so")]
    reason: String,
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
        Command::List { unmanaged: true, connection, .. } => super::adopt::unmanaged(app, connection).await,
        Command::List { project, env, state, debt, all, .. } => {
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
        Command::Rotate(args) => super::rotate::run(app, args).await,
        Command::Disable(Switched { key, reason }) => {
            let make = || OperatorCall::KeyDisable { key: key.clone(), reason: reason.clone() };
            let trace = app.everyday(make).await?;
            let text = show(&trace);
            Ok(Output::new(trace, text)
                .talk("next: `keywright key enable` takes it back, `keywright key revoke` ends it"))
        }
        Command::Enable(Switched { key, reason }) => {
            let trace = app.signed(OperatorCall::KeyEnable { key, reason }).await?;
            let text = show(&trace);
            Ok(Output::new(trace, text))
        }
        Command::Adopt(args) => super::adopt::run(app, args).await,
    }
}

async fn ask(app: &App, request: Request) -> Done {
    let ask = Ask {
        template: request.template,
        parameters: parameters(request.parameters)?,
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

/// Parameters by name, each given once.
pub(crate) fn parameters(given: Vec<Setting>) -> Result<BTreeMap<String, String>, Failure> {
    let mut parameters = BTreeMap::new();
    for (name, value) in given.into_iter().map(Setting::into_pair) {
        if parameters.insert(name.clone(), value).is_some() {
            let name = keywright_core::text::escaped(&name);
            return Err(errors::usage(format!("parameter `{name}` is given twice")));
        }
    }
    Ok(parameters)
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
            match (is_owed, field(key, "disabled_at").is_empty()) {
                (true, _) => (format!("{state}, owed"), Tone::Bad),
                (false, false) if is_alive => ("switched off".to_owned(), Tone::Warn),
                _ => (state.clone(), of_state(&state)),
            },
            plain(if expires.is_empty() || !is_alive { String::new() } else { when::short(&expires, now) }),
            plain(template_text(key)),
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
        .add("template", template_text(&key))
        .add("adopted", adopted_text(trace))
        .add("switched off", when::both(&field(&key, "disabled_at"), now))
        .all("may", items(trace, "permissions").iter().map(permission))
        .all("on", items(trace, "resources").iter().map(resource))
        .all("successor", successor_text(trace))
        .add("unlocks", crate::show::plan::unlocks(trace))
        .all("version", items(trace, "versions").iter().map(|version| version_text(version, now)))
        .add("rotates", rotates_text(trace, now))
        .all("drain", draining(trace).into_iter().map(|(number, drain)| drain_text(number, drain, now)))
        .all("told", told(trace).into_iter().map(|telling| told_text(telling, now)))
        .all(
            "lies in",
            items(trace, "placements").iter().filter(|placement| is_shown(placement, &state)).map(
                |placement| {
                    format!(
                        "{} ({} {})",
                        field(placement, "place"),
                        field(placement, "state"),
                        field(placement, "verified")
                    )
                    .replace(" )", ")")
                },
            ),
        )
        .all("copies", items(trace, "open").iter().filter_map(Value::as_str).map(crate::show::outside))
        .add("under way", trace.get("under_way").map(under_way_text).unwrap_or_default())
        .all("owed", owed.into_iter().map(|debt| owed_text(debt, now)))
        .all("revocation", done.into_iter().map(|debt| confirmed_text(debt, now)))
        .add("asked by", format!("{} {}", field(&asker, "kind"), field(&asker, "name")))
        .add("asked", when::both(&field(trace, "asked_at"), now))
        .all("it says", claimed)
        .add("purpose", said(trace, "purpose"))
        .add("prompt", said(trace, "prompt"))
        .add("decided by", joined(trace, "decided_by"))
        .add("approved by", joined(trace, "approved_by"))
        .add("granted", field(trace, "granted"));
    format!("{head}\n{}", facts.render())
}

/// Where a key comes from that this broker did not make.
fn adopted_text(trace: &Value) -> String {
    match field(trace, "adopted") {
        id if id.is_empty() => id,
        id => format!("made elsewhere, as {}", crate::show::outside(&id)),
    }
}

/// What a successor of a key that was made elsewhere may do, and on what.
fn successor_text(trace: &Value) -> Vec<String> {
    let successor = trace.get("successor").cloned().unwrap_or_default();
    let may = items(&successor, "permissions").iter().map(permission);
    may.map(|may| format!("may {may}"))
        .chain(items(&successor, "resources").iter().map(|on| format!("on {}", resource(on))))
        .collect()
}

/// The template, where there is one.
fn template_text(key: &Value) -> String {
    match field(key, "template") {
        none if none.ends_with("/adopted") => "none".to_owned(),
        id => id,
    }
}

/// How far a mint is, or that it is being undone, and what stands in the way.
fn under_way_text(saga: &Value) -> String {
    let (phase, trouble) = (field(saga, "phase"), field(saga, "trouble"));
    let what = match (field(saga, "what").as_str(), phase.as_str()) {
        (_, "") => return String::new(),
        (_, "undo") => "it is being undone".to_owned(),
        ("rotate", reached) => format!("it is being rotated, and has come to `{reached}`"),
        (_, reached) => format!("it is being made, and has come to `{reached}`"),
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
    let held = match number(version, "held_by") {
        0 => String::new(),
        programs => {
            format!(", held by {} that `keywright run` started", count(programs, "program", "programs"))
        }
    };
    format!("{} is {}{expires}{held}", number(version, "number"), field(version, "state"))
}

/// Whether a copy still means something: one that a successor's took the place of, or that went with its version, does not
/// while the key lives.
fn is_shown(placement: &Value, key: &str) -> bool {
    let state = field(placement, "state");
    state != "replaced" && !(state == "removed" && key == "active")
}

/// When the version in force is replaced, and by which rules.
fn rotates_text(trace: &Value, now: Timestamp) -> String {
    let rules = trace.get("rotation").cloned().unwrap_or_default();
    let tries = number(trace, "rotate_tries");
    let why = match field(trace, "rotate_trouble") {
        why if why.is_empty() => why,
        why => format!(": {why}"),
    };
    match (field(trace, "rotates_at"), field(&rules, "every")) {
        (at, _) if tries > 0 && at.is_empty() => {
            format!("tried in vain ({}){why}", count(tries, "time", "times"))
        }
        (at, _) if tries > 0 => {
            format!("tried in vain ({}); again {}{why}", count(tries, "time", "times"), when::both(&at, now))
        }
        (at, every) if !at.is_empty() => format!("{}, every {every}", when::both(&at, now)),
        (_, every) if !every.is_empty() => format!("every {every}"),
        _ => String::new(),
    }
}

/// The versions that were replaced and still live, with what was seen of them.
pub(crate) fn draining(trace: &Value) -> Vec<(u64, &Value)> {
    let versions = items(trace, "versions");
    let living = |drain: &Value| {
        let version = versions.iter().find(|v| field(v, "id") == field(drain, "version"))?;
        (field(version, "state") != "revoked").then(|| number(version, "number"))
    };
    items(trace, "drains").iter().filter_map(|drain| living(drain).map(|number| (number, drain))).collect()
}

/// What is known of the use of a version that was replaced.
pub(crate) fn drain_text(version: u64, drain: &Value, now: Timestamp) -> String {
    let at = |name: &str| when::both(&field(drain, name), now);
    let judged = match field(drain, "verdict").as_str() {
        _ if !field(drain, "word").is_empty() => format!("may end: {}", field(drain, "word")),
        "idle" => "is idle".to_owned(),
        "in_use" => {
            format!("is still used: last {}; idle {} if that was it", at("last_sign"), at("idle_at"))
        }
        "quiet_so_far" => format!("is quiet so far; idle {} if it stays so", at("idle_at")),
        _ => "is used or not: the provider has nothing that shows it; `keywright key rotate KEY --end-old` ends it"
            .to_owned(),
    };
    let looked = match field(drain, "looked_at").as_str() {
        "" => "not looked at yet".to_owned(),
        _ => format!("looked at {}", at("looked_at")),
    };
    let late = if field(drain, "alerted_at").is_empty() { "" } else { "; it lives longer than it should" };
    format!("version {version} {judged}; replaced {}, {looked}{late}", at("since"))
}

/// Who was told of the newest successor, or has to be.
pub(crate) fn told(trace: &Value) -> Vec<&Value> {
    let all = items(trace, "told");
    let newest = all.iter().map(|telling| field(telling, "at")).max();
    all.iter().filter(|telling| newest.as_ref() == Some(&field(telling, "at"))).collect()
}

fn told_text(telling: &Value, now: Timestamp) -> String {
    let at = |name: &str| when::both(&field(telling, name), now);
    let consumer = field(telling, "consumer");
    match (field(telling, "state").as_str(), number(telling, "tries")) {
        ("told", _) => format!("{consumer}, {}", at("told_at")),
        ("dropped", _) => format!("{consumer} was removed before it could be told"),
        (_, 0) => format!("{consumer} is about to be"),
        (_, tries) => format!(
            "{consumer} not yet ({}): {}; again {}",
            count(tries, "try", "tries"),
            field(telling, "trouble"),
            at("due_at")
        ),
    }
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
