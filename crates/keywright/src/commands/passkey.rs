//! `keywright passkey`

use jiff::Timestamp;
use keywright_server::call::OperatorCall;
use keywright_server::when;
use owo_colors::OwoColorize as _;
use serde_json::Value;

use crate::app::App;
use crate::output::{Done, Output};
use crate::show::list::{List, plain, strong};
use crate::show::{field, items};

/// Passkeys: what you approve with on the review pages.
#[derive(clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(clap::Subcommand)]
enum Command {
    /// Get a code with which your browser enrols a passkey, once, within five minutes.
    ///
    /// It takes your passphrase, and a broker that serves the pages (`serve --listen`). A passkey is good where it was made: at
    /// another port or host you enrol another one.
    Add {
        /// What you call it, as in `laptop`.
        #[arg(long, value_name = "TEXT", default_value = "passkey")]
        name: String,
    },
    /// List the passkeys.
    List,
    /// Remove one; what was approved with it and not used yet counts no more.
    Remove {
        /// Its id, as `list` shows it.
        passkey: String,
    },
}

pub(crate) async fn run(app: &App, args: Args) -> Done {
    match args.command {
        Command::Add { name } => {
            let link = app.signed(OperatorCall::PasskeyInvite { label: name }).await?;
            let text = format!(
                "open this in the browser with which you want to approve, and type the code, within five minutes:\n\n  {}\n  {}",
                field(&link, "url"),
                field(&link, "code").bold()
            );
            Ok(Output::new(link, text)
                .talk("whoever types it first becomes able to approve as you: give it to nobody"))
        }
        Command::List => list(app.everyday(|| OperatorCall::PasskeyList).await?),
        Command::Remove { passkey } => {
            let removed = app.signed(OperatorCall::PasskeyRemove { passkey }).await?;
            let text = format!("passkey {} was removed", field(&removed, "id"));
            Ok(Output::new(removed, text))
        }
    }
}

fn list(passkeys: Value) -> Done {
    let now = Timestamp::now();
    if items(&passkeys, "passkeys").is_empty() {
        return Ok(Output::new(passkeys, "no passkeys yet").talk("next: keywright passkey add"));
    }
    let mut list = List::new(&["passkey", "operator", "name", "good at", "added", "last used"]);
    for one in items(&passkeys, "passkeys") {
        list.row(vec![
            strong(field(one, "id")),
            plain(field(one, "operator")),
            plain(field(one, "name")),
            plain(field(one, "origin")),
            plain(when::short(&field(one, "added_at"), now)),
            plain(match field(one, "used_at").as_str() {
                "" => "never".to_owned(),
                at => when::short(at, now),
            }),
        ]);
    }
    let text = list.render();
    Ok(Output::new(passkeys, text))
}
