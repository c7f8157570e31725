//! `keywright ledger`

use std::sync::Arc;

use jiff::Timestamp;
use keywright_broker::Code;
use keywright_core::name::OperatorName;
use keywright_ledger::{LedgerError, Location};
use keywright_server::answer::Failure;
use serde_json::json;

use crate::app::App;
use crate::output::{Done, Output};
use crate::show::facts::Facts;
use crate::show::{count, outside};

/// The ledger itself: the database that a home keeps its memory in.
#[derive(clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(clap::Subcommand)]
enum Command {
    /// Move everything into an empty ledger of another engine.
    ///
    /// Each row is copied as it is, and all are checked on both sides, the audit log too, before the home uses the new
    /// one. The old one stays as it was. The broker has to be stopped. A move that was stopped goes on when it is said again.
    Migrate {
        /// Where to: `postgres://USER@HOST:PORT/DATABASE`, or `sqlite` for a file in the home.
        #[arg(long, value_name = "URL")]
        to: String,
    },
}

pub(crate) async fn run(app: &App, args: Args) -> Done {
    let Command::Migrate { to } = args.command;
    app.require_home()?;
    let location = location(app, &to)?;
    if app.is_serving().await? {
        return Err(Failure::new(Code::Conflict, "a broker works on this home").hint("keywright stop"));
    }
    let invalid = |error: &dyn std::fmt::Display| Failure::new(Code::InvalidArgument, error.to_string());
    let operator = app.operator.as_deref().map(OperatorName::parse).transpose().map_err(|e| invalid(&e))?;
    let passphrase = app.passphrase()?.into_secret();
    let moved =
        app.home.move_ledger(&location, operator.as_ref(), passphrase, Arc::new(Timestamp::now)).await?;
    let kept = moved.kept.map(|path| path.display().to_string());
    let value = json!({
        "schema": "keywright/ledger/1", "ledger": named(&location), "rows": moved.rows, "vouched_for": moved.vouched,
        "entries": moved.entries, "old": kept, "not_renamed": moved.not_renamed, "other_homes": moved.others,
    });
    let facts = Facts::new()
        .add("ledger", named(&location))
        .add("copied", count(moved.rows, "row", "rows"))
        .add("audit log", format!("sound on both sides: {}", count(moved.entries, "entry", "entries")))
        .add("old file", kept.clone().unwrap_or_default())
        .add("other homes", moved.others.iter().map(|name| outside(name)).collect::<Vec<_>>().join(", "));
    let output = Output::new(value, format!("the ledger was moved\n{}", facts.render()));
    let output = match moved.not_renamed {
        Some(why) => {
            output.talk(format!("the old file could not be given another name, and lies where it was: {why}"))
        }
        None => output,
    };
    let output = if moved.others.is_empty() {
        output
    } else {
        output.talk(
            "other homes name the old database still: change `[ledger] url` in their config.toml before their brokers start, or \
             remove them",
        )
    };
    Ok(match kept {
        Some(_) => output
            .talk("the old file is not used any more; delete it once you trust the new ledger's backups"),
        None => output
            .talk("the old database is as it was; drop its schema `keywright` once you trust the new ledger"),
    })
}

/// What `--ledger` and `--to` take.
pub(crate) fn location(app: &App, url: &str) -> Result<Location, Failure> {
    if matches!(url, "sqlite" | "sqlite:") {
        return Ok(Location::File(app.home.ledger()));
    }
    let address = url.parse().map_err(|e: LedgerError| Failure::new(Code::InvalidArgument, e.to_string()));
    Ok(Location::Server(Box::new(address?)))
}

fn named(location: &Location) -> String {
    match location {
        Location::File(path) => path.display().to_string(),
        Location::Server(address) => address.url().to_owned(),
    }
}
