//! `keywright grant`

use jiff::Timestamp;
use keywright_server::call::{GrantWish, OperatorCall};
use serde_json::Value;

use super::key::parameters;
use crate::app::App;
use crate::input::Setting;
use crate::output::{Done, Output};
use crate::show::facts::Facts;
use crate::show::list::{List, Tone, plain, strong};
use crate::show::{field, items, number, outside, when};

/// Standing grants: requests that an operator approves in advance.
///
/// A grant stands for the approval of the one operator who gave it, for requests of one agent for one template in one
/// place. It counts for nothing where policy wants more operators, where the verdict is HIGH, and in production.
#[derive(clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(clap::Subcommand)]
enum Command {
    /// Approve a class of an agent's requests in advance, for at most 90 days.
    ///
    /// It is for the template as it is now: one that is applied anew needs another grant. Keys may go into the sealed store, and
    /// live as long as one does by default, unless --to and --ttl say something else that the template allows. What waits
    /// already is decided as before.
    Add(Add),
    /// List the grants, and which of them count for nothing any more.
    List,
    /// Remove a grant. Keys that were made by it stay.
    Remove {
        /// Its id.
        grant: String,
    },
}

#[derive(clap::Args)]
struct Add {
    /// Whose requests.
    #[arg(long, value_name = "NAME")]
    agent: String,
    /// For keys of this template.
    #[arg(long, value_name = "T")]
    template: String,
    /// In this project.
    #[arg(long, value_name = "P")]
    project: String,
    /// In this environment.
    #[arg(long, value_name = "E")]
    env: String,
    /// For how long, as in `7d`.
    #[arg(long = "for", value_name = "D")]
    lasts: String,
    /// Where the keys may go, as `STORE:PATTERN` with `*` for any text; may be given again. Without it: into the sealed store
    /// only. Relative places start from this directory.
    #[arg(long = "to", value_name = "PATTERN", num_args = 1..)]
    destinations: Vec<String>,
    /// How long the keys may live, as in `12h`. Without it: as long as one of the template lives when nobody says anything else.
    #[arg(long, value_name = "D")]
    ttl: Option<String>,
    /// For so many requests only.
    #[arg(long, value_name = "N")]
    uses: Option<u64>,
    /// A parameter that has to be exactly this; may be given again.
    #[arg(long = "param", alias = "parameters", value_name = "K=V", num_args = 1..)]
    parameters: Vec<Setting>,
    /// The parameters that are not named may be whatever the template allows.
    #[arg(long, overrides_with = "any_parameters")]
    any_parameters: bool,
}

pub(crate) async fn run(app: &App, args: Args) -> Done {
    match args.command {
        Command::Add(add) => {
            let wish = GrantWish {
                agent: add.agent,
                template: add.template,
                project: add.project,
                environment: add.env,
                parameters: parameters(add.parameters)?,
                any_parameters: add.any_parameters,
                destinations: add.destinations,
                directory: std::env::current_dir().ok().and_then(|path| path.to_str().map(str::to_owned)),
                ttl_max: add.ttl,
                uses: add.uses,
                lasts: add.lasts,
            };
            let grant = app.signed(OperatorCall::GrantAdd(Box::new(wish))).await?;
            let text = format!("grant {} counts\n{}", field(&grant, "id"), facts(&grant).render());
            let next = format!(
                "next: keywright grant list; it ends with keywright grant remove {}",
                field(&grant, "id")
            );
            Ok(Output::new(grant, text).talk(next))
        }
        Command::List => list(app.everyday(|| OperatorCall::GrantList).await?),
        Command::Remove { grant } => {
            let removed = app.everyday(|| OperatorCall::GrantRemove { grant: grant.clone() }).await?;
            let text = format!("grant {} was removed", field(&removed, "id"));
            Ok(Output::new(removed, text).talk("keys that were made by it stay: keywright key list"))
        }
    }
}

fn facts(grant: &Value) -> Facts {
    let uses = grant.get("uses").and_then(Value::as_u64);
    Facts::new()
        .add("agent", field(grant, "agent"))
        .add(
            "template",
            format!("{}, version {}", field(grant, "template"), number(grant, "template_version")),
        )
        .add("in", format!("{}/{}", field(grant, "project"), field(grant, "environment")))
        .add("parameters", with(grant))
        .add("goes to", places(grant))
        .add("lives", format!("at most {}", field(grant, "ttl_max")))
        .add("uses", uses.map_or_else(|| "any number".to_owned(), |uses| uses.to_string()))
        .add("until", when::both(&field(grant, "until"), Timestamp::now()))
}

/// The parameters that it names, and whether others may be anything.
fn with(grant: &Value) -> String {
    let named = grant.get("parameters").and_then(Value::as_object).into_iter().flatten();
    let mut said: Vec<String> = named
        .map(|(name, value)| format!("{}={}", outside(name), outside(value.as_str().unwrap_or_default())))
        .collect();
    if grant.get("any_parameters").and_then(Value::as_bool) == Some(true) {
        said.push(if said.is_empty() { "any" } else { "any others" }.to_owned());
    }
    said.join(", ")
}

/// Where its keys may go, and from which directory on.
fn places(grant: &Value) -> String {
    let all: Vec<String> =
        items(grant, "destinations").iter().filter_map(Value::as_str).map(outside).collect();
    match field(grant, "directory") {
        directory if directory.is_empty() => all.join(", "),
        directory => format!("{} (from {directory})", all.join(", ")),
    }
}

fn list(grants: Value) -> Done {
    let now = Timestamp::now();
    let mut list = List::new(&[
        "grant",
        "agent",
        "template",
        "in",
        "parameters",
        "goes to",
        "lives",
        "used",
        "until",
        "by",
        "counts",
    ]);
    for one in items(&grants, "grants") {
        let used = number(one, "used");
        let used = match one.get("uses").and_then(Value::as_u64) {
            Some(uses) => format!("{used} of {uses}"),
            None => used.to_string(),
        };
        let counts = match field(one, "void") {
            void if void.is_empty() => ("yes".to_owned(), Tone::Good),
            void => (format!("no: {void}"), Tone::Warn),
        };
        list.row(vec![
            strong(field(one, "id")),
            plain(field(one, "agent")),
            plain(field(one, "template")),
            plain(format!("{}/{}", field(one, "project"), field(one, "environment"))),
            plain(with(one)),
            plain(places(one)),
            plain(field(one, "ttl_max")),
            plain(used),
            plain(when::short(&field(one, "until"), now)),
            plain(field(one, "operator")),
            counts,
        ]);
    }
    if items(&grants, "grants").is_empty() {
        return Ok(Output::new(grants, "no standing grants").talk(
            "next: keywright grant add --agent NAME --template T --project P --env E --for 7d --param K=V",
        ));
    }
    let text = list.render();
    Ok(Output::new(grants, text))
}
