//! MCP over stdio: the agent's door.
//!
//! One process per client. It holds no state that matters: every call becomes one [`AgentCall`] over the broker's
//! socket, with the agent's token, and the answer is a receipt or a refusal. It speaks both eras of the protocol: the
//! stateless one (2026-07-28, `server/discover`) and the one with a handshake (2025-11-25, 2025-06-18).
//!
//! | module | what it holds |
//! |---|---|
//! | `door` | the server itself: lists the tools, forwards the calls, keeps the bounds |
//! | `tools` | the nine tools: names, descriptions, annotations, schemas; and the server's instructions |
//! | `inputs` | what the tools take, and the call that it becomes |
//! | `proposal` | a template's fields, and the file that they become |
//! | `outputs` | the schemas of what the tools answer |
//! | `check` | arguments against a tool's own input schema |
//! | `outcome` | the broker's answer as a tool result |
//! | `page` | where a human decides, for clients that can show it |
//! | `claims` | what a client says about itself |
//! | `token` | the agent's token, from its file |
//!
//! `rmcp` stays behind this module.
//!
//! [`AgentCall`]: crate::call::AgentCall

mod check;
mod claims;
mod door;
mod inputs;
mod outcome;
mod outputs;
mod page;
mod proposal;
mod token;
mod tools;

use std::path::PathBuf;

use keywright_broker::Code;
use keywright_broker::home::Home;
use keywright_core::name::AgentName;
use rmcp::ServiceExt as _;
use rmcp::transport::async_rw::AsyncRwTransport;
use rmcp::transport::io::stdio_pipes;
use tokio::io::{AsyncRead, AsyncWrite};

use crate::answer::Failure;
use door::Door;
use token::TokenFile;

/// The longest message that is read, in bytes. Far above what a call may hold, so that a call that is too large gets
/// an answer instead of silence.
const LONGEST_MESSAGE: usize = 4 * 1024 * 1024;

/// Who serves, for whom.
#[derive(Debug, Clone)]
pub struct Setup {
    socket: PathBuf,
    agent: AgentName,
    token: TokenFile,
    cwd: Option<String>,
}

impl Setup {
    /// For an agent of a home, with the token in `token_file`, else in `HOME/agents/NAME.token`. Relative places start
    /// from this process's directory.
    ///
    /// # Errors
    /// When the token's file is missing, empty, or open to other users.
    pub fn new(home: &Home, agent: AgentName, token_file: Option<PathBuf>) -> Result<Self, Failure> {
        let path = token_file.unwrap_or_else(|| default_token_file(home, &agent));
        let token = TokenFile::new(path, &agent)?;
        let cwd = std::env::current_dir().ok().and_then(|path| path.into_os_string().into_string().ok());
        Ok(Self { socket: home.socket(), agent, token, cwd })
    }
}

/// Where an agent's token lies unless somebody says otherwise.
#[must_use]
pub fn default_token_file(home: &Home, agent: &AgentName) -> PathBuf {
    home.root().join("agents").join(format!("{agent}.token"))
}

/// Serves MCP on standard input and output until the client closes them. No broker need run: the tools are listed
/// anyway, and calls say what to start.
///
/// # Errors
/// When what comes in is no MCP.
pub async fn serve(setup: Setup) -> Result<(), Failure> {
    let (input, output) = stdio_pipes();
    serve_on(setup, input, output).await
}

/// Serves MCP on any pair of streams: one message a line.
///
/// # Errors
/// As [`serve`].
pub async fn serve_on<R, W>(setup: Setup, input: R, output: W) -> Result<(), Failure>
where
    R: AsyncRead + Send + Unpin + 'static,
    W: AsyncWrite + Send + Unpin + 'static,
{
    use rmcp::service::ServerInitializeError as E;
    let transport = AsyncRwTransport::new(input, output).with_max_line_length(LONGEST_MESSAGE);
    let running = match Door::new(setup).serve(transport).await {
        Ok(running) => running,
        // A client that only looked, and left.
        Err(E::ConnectionClosed(_) | E::Cancelled) => return Ok(()),
        // The library's error holds the whole message.
        Err(E::ExpectedInitializeRequest(_)) => {
            return Err(broken("the client neither initialised nor named a protocol version"));
        }
        Err(error) => return Err(broken(&error.to_string())),
    };
    running.waiting().await.map(drop).map_err(|error| broken(&error.to_string()))
}

fn broken(why: &str) -> Failure {
    Failure::new(Code::Internal, format!("the MCP connection ended: {why}"))
}
