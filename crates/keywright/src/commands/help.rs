//! `keywright help`

use clap::CommandFactory as _;
use clap::error::ErrorKind;
use keywright_core::text::escaped;
use serde_json::json;

use crate::app::App;
use crate::cli::Cli;
use crate::errors;
use crate::output::{Done, Output};

/// Print the help of a command, or the list of commands.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// The command's words, as in `key request`.
    #[arg(value_name = "COMMAND")]
    words: Vec<String>,
}

pub(crate) async fn run(_: &App, args: Args) -> Done {
    let words = args.words.iter().map(String::as_str);
    let asked = Cli::command().try_get_matches_from(["keywright"].into_iter().chain(words).chain(["--help"]));
    let text = match asked {
        Err(answer) if answer.kind() == ErrorKind::DisplayHelp => answer.render(),
        _ => {
            let unknown = format!("there is no command `{}`", escaped(&args.words.join(" ")));
            return Err(errors::usage(unknown).hint("`keywright help` lists the commands"));
        }
    };
    let value = json!({ "schema": "keywright/help/1", "command": args.words, "text": text.to_string() });
    Ok(Output::new(value, text.ansi().to_string()))
}
