//! `keywright mcp`

use std::path::PathBuf;

use keywright_broker::Code;
use keywright_core::name::AgentName;
use keywright_server::answer::Failure;
use keywright_server::mcp::{Setup, default_token_file, serve};

use crate::app::App;
use crate::errors::Exit;
use crate::output::{Done, Output, say};

/// Serve MCP on standard input and output, for one agent.
///
/// Clients start this themselves; `keywright agent install` puts it into their configuration. Every call goes to
/// the broker of this home, so `keywright serve` has to run. It ends when its standard input does.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Which agent it serves; what the agent may do goes by its token.
    #[arg(long, value_name = "NAME")]
    agent: String,
    /// The file of the agent's token, which only you may read; HOME/agents/NAME.token without it.
    #[arg(long, value_name = "PATH")]
    token_file: Option<PathBuf>,
}

pub(crate) async fn run(app: &App, args: Args) -> Done {
    let agent =
        AgentName::parse(&args.agent).map_err(|e| Failure::new(Code::InvalidArgument, e.to_string()))?;
    // The token's file is named by the home's own path, which is what a person is told when it is missing.
    let token = args.token_file.unwrap_or_else(|| default_token_file(&app.home, &agent));
    let setup = Setup::new(&app.socket.home(), agent, Some(token))?;
    if !app.is_serving().await.unwrap_or(false) {
        say("no broker runs on this home yet; until it does, calls fail: keywright serve");
    }
    serve(setup).await?;
    Ok(Output::silent(Exit::Done))
}
