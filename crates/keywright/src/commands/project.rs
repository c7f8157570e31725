//! `keywright project`

use keywright_core::text::escaped;
use keywright_server::call::OperatorCall;
use serde_json::Value;

use crate::app::App;
use crate::errors::{self, Exit};
use crate::input;
use crate::output::{Done, Output};
use crate::show::facts::Facts;
use crate::show::{count, items, outside};

/// Projects: what a group of keys belongs to.
#[derive(clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(clap::Subcommand)]
enum Command {
    /// Revoke all keys of a project.
    Teardown {
        /// The project.
        project: String,
        /// Do not ask. Where nobody can be asked, a passphrase file or --no-input says as much.
        #[arg(long, overrides_with = "yes")]
        yes: bool,
    },
}

pub(crate) async fn run(app: &App, args: Args) -> Done {
    let Command::Teardown { project, yes } = args.command;
    let question = format!("revoke every key of project `{}`?", escaped(&project));
    if !input::consents(app, yes, "a teardown", &question)? {
        return Err(errors::declined("the teardown was not agreed to"));
    }
    let torn = app.everyday(|| OperatorCall::ProjectTeardown { project: project.clone() }).await?;
    let none = match torn.get("known_projects") {
        Some(_) => {
            let known = ids(&torn, "known_projects").join(", ");
            let known = if known.is_empty() { "none yet".to_owned() } else { known };
            format!("no key was ever made for project `{}` (projects with keys: {known})", escaped(&project))
        }
        None => "the project has no live keys".to_owned(),
    };
    Ok(outcome(torn, none))
}

/// What became of many keys that ended with one word; `none` says so where there were none.
pub(super) fn outcome(torn: Value, none: String) -> Output {
    let (revoked, owed) = (ids(&torn, "revoked"), ids(&torn, "owed"));
    let head = match (revoked.len(), owed.len()) {
        (0, 0) => none,
        (gone, 0) => format!("{} revoked", count(gone as u64, "key", "keys")),
        (gone, left) => format!("{} revoked, {left} still owed", count(gone as u64, "key", "keys")),
    };
    let exit = if owed.is_empty() { Exit::Done } else { Exit::Later };
    let turned_down = ids(&torn, "turned_down");
    let facts = Facts::new().all("revoked", revoked).all("owed", owed).all("turned down", turned_down);
    let output = Output::new(torn, format!("{head}\n{}", facts.render())).exit(exit);
    match exit {
        Exit::Later => output.talk("the provider has not confirmed all; they are tried again until it does"),
        _ => output,
    }
}

fn ids(torn: &Value, name: &str) -> Vec<String> {
    items(torn, name).iter().filter_map(|id| id.as_str().map(outside)).collect()
}
