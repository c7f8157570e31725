//! The binary `keywright`: one file per command. It holds words, exit codes and nothing that decides.
//!
//! | module | what it holds |
//! |---|---|
//! | [`cli`] | the options that every command takes, and the list of commands |
//! | [`app`] | how a command reaches a broker: through the socket, or by opening the home itself |
//! | [`input`], [`output`] | how secrets and consent come in, how data and talk go out |
//! | [`errors`] | words and exit codes |
//! | [`socket_path`] | the broker's socket, however long the way to it is |
//! | [`show`] | lists, facts, times, receipts, plans for people |
//! | [`commands`] | the commands |
//! | [`harden`] | what happens before anything else |

mod app;
mod cli;
mod commands;
mod errors;
mod harden;
mod input;
mod output;
mod show;
mod socket_path;

use std::process::ExitCode;
use std::time::Duration;

use clap::Parser as _;
use clap::error::ErrorKind;
use tracing::Level;
use tracing_subscriber::filter::{EnvFilter, FilterExt as _, filter_fn};
use tracing_subscriber::layer::{Layer as _, SubscriberExt as _};

use crate::app::App;
use crate::cli::Cli;
use crate::errors::Exit;

fn main() -> ExitCode {
    harden::process();
    trace();
    if let Some(exit) = commands::demo_program::run_if_asked() {
        return ExitCode::from(exit.code());
    }
    if let Some(exit) = commands::run::die_if_asked() {
        return ExitCode::from(exit.code());
    }
    let exit = match Cli::try_parse() {
        Ok(cli) => start(cli),
        Err(error) => unreadable(&error),
    };
    ExitCode::from(exit.code())
}

fn start(mut cli: Cli) -> Exit {
    // The words of a command of a later version are not told apart yet, so `--json` among them is looked for here.
    let json = asks_for_json();
    cli.globals.json = json;
    let built = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let runtime = match built {
        Ok(runtime) => runtime,
        Err(error) => {
            return errors::report(&errors::file(std::path::Path::new("the runtime"), &error), json);
        }
    };
    let exit = runtime.block_on(async {
        let app = match App::new(cli.globals) {
            Ok(app) => app,
            Err(failure) => return errors::report(&failure, json),
        };
        let done = Box::pin(cli.command.run(&app)).await;
        app.finish().await;
        match done {
            Ok(output) => output.print(json),
            Err(failure) => errors::report(&failure, json),
        }
    });
    // Work in the background is durable; it is not waited for long.
    runtime.shutdown_timeout(Duration::from_secs(2));
    exit
}

/// Help and version are no errors; the rest is, in words or, where `--json` was given, as JSON.
fn unreadable(error: &clap::Error) -> Exit {
    if matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion) {
        return match error.print() {
            Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => {
                errors::tell(&errors::file(std::path::Path::new("standard output"), &error))
            }
            _ => Exit::Done,
        };
    }
    if !asks_for_json() {
        let _ = error.print();
        return Exit::Usage;
    }
    let text = error.render().to_string();
    let message = text.split("\n\n").next().unwrap_or_default().trim_start_matches("error: ").trim();
    let message = if message.is_empty() || error.kind() == ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand
    {
        "a command is missing"
    } else {
        message
    };
    errors::report(&errors::usage(message).hint("`keywright --help` lists the commands"), true)
}

/// Whether `--json` is among the words that are ours.
fn asks_for_json() -> bool {
    std::env::args_os().take_while(|arg| arg != "--").any(|arg| arg == "--json")
}

/// `KEYWRIGHT_LOG` says how much of our own talk is logged. Libraries are heard only when something fails: below that they
/// tell what they carry, whole messages with all that an agent pasted into them.
fn trace() {
    let wanted = std::env::var("KEYWRIGHT_LOG").unwrap_or_default();
    let filter = EnvFilter::try_new(if wanted.is_empty() { "warn" } else { &wanted });
    let filter = filter.unwrap_or_else(|_| EnvFilter::new("warn"));
    let ours = filter_fn(|what| what.target().starts_with("keywright") || *what.level() == Level::ERROR);
    let talk = tracing_subscriber::fmt::layer()
        .with_ansi(std::io::IsTerminal::is_terminal(&std::io::stderr()))
        .with_writer(std::io::stderr)
        // A log that can't be written (a full disk) must not end what it speaks of.
        .log_internal_errors(false)
        .with_filter(filter.and(ours));
    // Only the first one counts, and this is the first one.
    let _ = tracing::subscriber::set_global_default(tracing_subscriber::registry().with(talk));
}
