//! The command line: the options that every command takes, and the list of commands.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

use crate::app::App;
use crate::commands;
use crate::output::Done;

/// Keywright is a key broker for AI agents: they ask for API keys in plain words and get receipts, never secrets.
///
/// Start with `keywright init`, then `keywright serve --detach`. Exit codes: 0 ok, 1 error, 2 usage, 3 denied by policy,
/// 4 pending approval, 5 authentication needed, 6 provider or store error, 7 conflict, 75 try again.
#[derive(Parser)]
#[command(
    name = "keywright",
    version,
    propagate_version = true,
    max_term_width = 100,
    disable_help_subcommand = true
)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) globals: Globals,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// The options that every command takes.
#[derive(Args)]
pub(crate) struct Globals {
    /// Print JSON on standard output, errors included.
    #[arg(long, global = true, overrides_with = "json", help_heading = "Everywhere")]
    pub(crate) json: bool,
    /// Never ask anything; fail where something is missing.
    #[arg(long, global = true, overrides_with = "no_input", help_heading = "Everywhere")]
    pub(crate) no_input: bool,
    /// The home; the variable KEYWRIGHT_HOME goes before it.
    #[arg(long, value_name = "PATH", global = true, help_heading = "Everywhere")]
    pub(crate) home: Option<PathBuf>,
    /// Which operator you are; without it, whoever the passphrase fits.
    #[arg(long, value_name = "NAME", global = true, help_heading = "Everywhere")]
    pub(crate) operator: Option<String>,
    /// A file that holds the operator's passphrase; `-` is standard input.
    #[arg(long, value_name = "PATH", global = true, help_heading = "Everywhere")]
    pub(crate) passphrase_file: Option<PathBuf>,
}

/// Every command.
#[derive(Subcommand)]
pub(crate) enum Command {
    Init(commands::init::Args),
    Serve(commands::serve::Args),
    Stop(commands::stop::Args),
    Status(commands::status::Args),
    Doctor(commands::doctor::Args),
    Login(commands::login::LoginArgs),
    Logout(commands::login::LogoutArgs),
    Provider(commands::provider::Args),
    Store(commands::store::Args),
    Consumer(commands::consumer::Args),
    Notify(commands::notify::Args),
    Template(commands::template::Args),
    Policy(commands::policy::Args),
    Operator(commands::operator::Args),
    Passkey(commands::passkey::Args),
    Agent(commands::agent::Args),
    Grant(commands::grant::Args),
    Workload(commands::workload::Args),
    Mcp(commands::mcp::Args),
    Catalog(commands::catalog::Args),
    Key(commands::key::Args),
    Project(commands::project::Args),
    Review(commands::review::Args),
    Reconcile(commands::reconcile::Args),
    Spend(commands::spend::Args),
    Run(commands::run::Args),
    Audit(commands::audit::Args),
    Ledger(commands::ledger::Args),
    Sandbox(commands::sandbox::Args),
    Completions(commands::completions::Args),
    Demo(commands::demo::Args),
    Help(commands::help::Args),
    #[command(flatten)]
    Later(commands::later::Command),
}

impl Command {
    /// Runs it.
    pub(crate) async fn run(self, app: &App) -> Done {
        match self {
            Self::Init(args) => commands::init::run(app, args).await,
            Self::Serve(args) => commands::serve::run(app, args).await,
            Self::Stop(args) => commands::stop::run(app, args).await,
            Self::Status(args) => commands::status::run(app, args).await,
            Self::Doctor(args) => commands::doctor::run(app, args).await,
            Self::Login(args) => commands::login::login(app, args).await,
            Self::Logout(args) => commands::login::logout(app, args).await,
            Self::Provider(args) => commands::provider::run(app, args).await,
            Self::Store(args) => commands::store::run(app, args).await,
            Self::Consumer(args) => commands::consumer::run(app, args).await,
            Self::Notify(args) => commands::notify::run(app, args).await,
            Self::Template(args) => commands::template::run(app, args).await,
            Self::Policy(args) => commands::policy::run(app, args).await,
            Self::Operator(args) => commands::operator::run(app, args).await,
            Self::Passkey(args) => commands::passkey::run(app, args).await,
            Self::Agent(args) => commands::agent::run(app, args).await,
            Self::Grant(args) => commands::grant::run(app, args).await,
            Self::Workload(args) => commands::workload::run(app, args).await,
            Self::Mcp(args) => commands::mcp::run(app, args).await,
            Self::Catalog(args) => commands::catalog::run(app, args).await,
            Self::Key(args) => commands::key::run(app, args).await,
            Self::Project(args) => commands::project::run(app, args).await,
            Self::Review(args) => commands::review::run(app, args).await,
            Self::Reconcile(args) => commands::reconcile::run(app, args).await,
            Self::Spend(args) => commands::spend::run(app, args).await,
            Self::Run(args) => Box::pin(commands::run::run(app, args)).await,
            Self::Audit(args) => commands::audit::run(app, args).await,
            Self::Ledger(args) => Box::pin(commands::ledger::run(app, args)).await,
            Self::Sandbox(args) => commands::sandbox::run(app, args).await,
            Self::Demo(args) => Box::pin(commands::demo::run(app, args)).await,
            Self::Help(args) => commands::help::run(app, args).await,
            Self::Completions(args) => commands::completions::run(app, args).await,
            Self::Later(command) => commands::later::run(app, command).await,
        }
    }
}
