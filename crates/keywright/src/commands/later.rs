//! Commands that are part of the interface and not of this version. They say so, instead of being unknown.

use crate::app::App;
use crate::errors;
use crate::output::Done;

#[derive(clap::Subcommand)]
pub(crate) enum Command {
    /// Look for secrets that escaped (not in this version).
    #[command(hide = true)]
    Scan(Rest),
    /// Take escaped secrets out of files (not in this version).
    #[command(hide = true)]
    Scrub(Rest),
}

#[derive(clap::Args)]
pub(crate) struct Rest {
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    _rest: Vec<String>,
}

pub(crate) async fn run(_: &App, command: Command) -> Done {
    Err(errors::unsupported(match command {
        Command::Scan(_) => "`scan`",
        Command::Scrub(_) => "`scrub`",
    }))
}
