//! `keywright consumer`

use std::path::PathBuf;

use keywright_server::call::OperatorCall;
use serde_json::Value;

use crate::app::{App, passed};
use crate::errors;
use crate::input;
use crate::output::{Done, Output};
use crate::show::list::{List, plain, strong};
use crate::show::{field, items, outside};

/// Consumers: who is told when a key has a successor.
#[derive(clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(clap::Subcommand)]
enum Command {
    /// Have a program run, or a signed message sent, whenever a key of a project was rotated.
    ///
    /// No secret is told: whoever is told reads the new value where the key lies. The old version works until everybody
    /// was told. A program runs as the broker's own user, in its home, without a shell; the facts are in its
    /// environment (`KEYWRIGHT_EVENT`, `KEYWRIGHT_NAME`, ...), and nothing else is. A message is signed as in Standard
    /// Webhooks.
    Add(Add),
    /// List the consumers.
    List,
    /// Remove a consumer; no rotation waits for it any more.
    Remove {
        /// The consumer's name.
        name: String,
    },
    /// Tell a consumer of a test, to see whether it can be told.
    Test {
        /// The consumer's name.
        name: String,
    },
}

#[derive(clap::Args)]
struct Add {
    /// What it is called here.
    name: String,
    /// Of keys of this project.
    #[arg(long, value_name = "P")]
    project: String,
    /// Of this environment only.
    #[arg(long, value_name = "E")]
    env: Option<String>,
    /// Of this key only, or of those whose names begin so, as in `CF_*`.
    #[arg(long, value_name = "NAME")]
    only: Option<String>,
    /// How long it may take to be told, at most 2m; 30s without it.
    #[arg(long, value_name = "D")]
    patience: Option<String>,
    /// Send a signed message there; plain http for loopback only.
    #[arg(long, value_name = "URL", conflicts_with = "command", required_unless_present = "command")]
    webhook: Option<String>,
    /// A file that holds what messages are signed with; without it, standard input or a prompt.
    #[arg(long, value_name = "PATH", requires = "webhook")]
    credential_file: Option<PathBuf>,
    /// Run this program, named by its whole path, with these arguments; the last option.
    #[arg(long, value_name = "PROGRAM", num_args = 1.., allow_hyphen_values = true)]
    command: Vec<String>,
}

pub(crate) async fn run(app: &App, args: Args) -> Done {
    match args.command {
        Command::Add(add) => add_consumer(app, add).await,
        Command::List => list(app.everyday(|| OperatorCall::ConsumerList).await?),
        Command::Remove { name } => {
            let removed = app.signed(OperatorCall::ConsumerRemove { name }).await?;
            let text = format!("consumer {} was removed", field(&removed, "name"));
            Ok(Output::new(removed, text))
        }
        Command::Test { name } => {
            let told = app.signed(OperatorCall::ConsumerTest { name }).await?;
            let said = field(&told, "said");
            let said = if said.is_empty() { said } else { format!("; it said: {said}") };
            let text = format!("consumer {} was told{said}", field(&told, "name"));
            Ok(Output::new(told, text))
        }
    }
}

async fn add_consumer(app: &App, add: Add) -> Done {
    app.require_home()?;
    let secret = match (&add.webhook, add.command.is_empty()) {
        (Some(_), true) => {
            let what = "the secret that messages are signed with";
            Some(passed(&input::credential(app, add.credential_file.as_deref(), what)?))
        }
        (None, false) => None,
        _ => return Err(errors::usage("name either --command or --webhook")),
    };
    let call = OperatorCall::ConsumerAdd {
        name: add.name,
        project: add.project,
        environment: add.env,
        names: add.only,
        command: add.command,
        webhook: add.webhook,
        secret,
        patience: add.patience,
    };
    let added = app.signed(call).await?;
    let name = field(&added, "name");
    Ok(Output::new(added, format!("consumer {name} is there"))
        .talk(format!("next: try it with `keywright consumer test {name}`")))
}

fn list(consumers: Value) -> Done {
    let mut list = List::new(&["name", "kind", "project", "env", "keys", "tells"]);
    for one in items(&consumers, "consumers") {
        let mut words: Vec<String> =
            items(one, "target").iter().filter_map(Value::as_str).map(outside).collect();
        if one.get("is_whole").and_then(Value::as_bool) == Some(false) {
            words.push("...".to_owned());
        }
        list.row(vec![
            strong(field(one, "name")),
            plain(field(one, "kind")),
            plain(field(one, "project")),
            plain(field(one, "environment")),
            plain(field(one, "names")),
            plain(words.join(" ")),
        ]);
    }
    if items(&consumers, "consumers").is_empty() {
        return Ok(Output::new(consumers, "no consumers yet").talk(
            "next: keywright consumer add NAME --project P --command /path/to/program, or --webhook https://...",
        ));
    }
    let text = list.render();
    Ok(Output::new(consumers, text))
}
