//! `keywright operator`

use std::path::PathBuf;

use jiff::Timestamp;
use keywright_server::answer::Failure;
use keywright_server::call::{OperatorCall, Passed};
use serde_json::Value;

use crate::app::{App, passed};
use crate::output::{Done, Output};
use crate::show::list::{List, plain, strong};
use crate::show::{field, items, when};
use crate::{errors, input};

/// Operators: the humans who set policy, approve and administer.
#[derive(clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(clap::Subcommand)]
enum Command {
    /// Add an operator with a passphrase of their own; an existing operator authorises it.
    Add {
        /// The new operator's name.
        name: String,
        /// A file that holds the new operator's passphrase.
        #[arg(long, value_name = "PATH")]
        new_passphrase_file: Option<PathBuf>,
    },
    /// List the operators.
    List,
    /// Remove an operator: their passphrase opens nothing any more.
    Remove {
        /// Whom.
        name: String,
    },
    /// Change your own passphrase.
    Passphrase {
        /// A file that holds the new passphrase.
        #[arg(long, value_name = "PATH")]
        new_passphrase_file: Option<PathBuf>,
    },
}

pub(crate) async fn run(app: &App, args: Args) -> Done {
    match args.command {
        Command::Add { name, new_passphrase_file } => {
            let what = format!("new passphrase for operator {name}");
            let new_passphrase = new_passphrase(app, new_passphrase_file, &what)?;
            let operator = app.signed(OperatorCall::OperatorAdd { name, new_passphrase }).await?;
            let text = format!("operator {} was added", field(&operator, "name"));
            Ok(Output::new(operator, text))
        }
        Command::List => list(app.everyday(|| OperatorCall::OperatorList).await?),
        Command::Remove { name } => {
            let operator = app.signed(OperatorCall::OperatorRemove { name }).await?;
            let text = format!("operator {} was removed", field(&operator, "name"));
            Ok(Output::new(operator, text))
        }
        Command::Passphrase { new_passphrase_file } => {
            let whose =
                app.operator.as_ref().map_or_else(String::new, |name| format!(" for operator {name}"));
            let what = format!("new passphrase{whose}");
            let new_passphrase = new_passphrase(app, new_passphrase_file, &what)?;
            let operator = app.signed(OperatorCall::OperatorPassphrase { new_passphrase }).await?;
            let text = format!("the passphrase of {} was changed", field(&operator, "name"));
            Ok(Output::new(operator, text))
        }
    }
}

fn new_passphrase(app: &App, file: Option<PathBuf>, what: &str) -> Result<Passed, Failure> {
    app.require_home()?;
    match file {
        Some(path) => Ok(passed(&input::secret_file(&app.stdin, &path, "the new passphrase")?)),
        None if input::can_prompt(app.no_input) => {
            Ok(passed(&input::hidden_twice(&keywright_core::text::escaped(what))?))
        }
        None => {
            Err(errors::usage("the new passphrase is missing").hint("name a file with --new-passphrase-file"))
        }
    }
}

fn list(operators: Value) -> Done {
    let mut list = List::new(&["name", "added"]);
    for operator in items(&operators, "operators") {
        list.row(vec![
            strong(field(operator, "name")),
            plain(when::both(&field(operator, "added_at"), Timestamp::now())),
        ]);
    }
    let text = list.render();
    Ok(Output::new(operators, text))
}
