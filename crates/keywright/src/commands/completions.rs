//! `keywright completions`

use clap::CommandFactory as _;
use clap_complete::Shell;
use serde_json::json;

use crate::app::App;
use crate::cli::Cli;
use crate::output::{Done, Output};

/// Print a completion script for a shell.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Which shell.
    shell: Shell,
}

pub(crate) async fn run(_: &App, args: Args) -> Done {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "keywright", &mut script);
    let script = String::from_utf8_lossy(&script).into_owned();
    let shell = args.shell.to_string();
    Ok(Output::new(
        json!({ "schema": "keywright/completions/1", "shell": shell, "script": script }),
        script.clone(),
    ))
}
