//! `keywright agent`

mod client;
mod codex;
mod diff;
mod install;
mod json_text;

use std::path::PathBuf;

use jiff::Timestamp;
use keywright_broker::Code;
use keywright_core::name::AgentName;
use keywright_server::answer::Failure;
use keywright_server::call::OperatorCall;
use serde_json::Value;

use super::project::outcome;
use super::token_file::{TokenFile, forget, usual};
use crate::app::App;
use crate::output::{Done, Output};
use crate::show::list::{List, Tone, plain, strong};
use crate::show::{field, items, when};
use crate::{errors, input};

/// Agents: who may ask.
#[derive(clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(clap::Subcommand)]
enum Command {
    /// Add an agent; its token goes into a file and is never shown.
    Add {
        /// The agent's name.
        name: String,
        /// The file; HOME/agents/NAME.token without it.
        #[arg(long, value_name = "OUT")]
        token_file: Option<PathBuf>,
    },
    /// List the agents.
    List,
    /// Remove an agent: its token is worth nothing any more. Its keys stay until they are revoked.
    Remove {
        /// Which.
        name: String,
    },
    /// Pause an agent: whatever it asks for is refused until it is resumed. Its keys work on, and what waits can be decided.
    Pause {
        /// Which.
        name: String,
        /// Why; the agent reads it.
        #[arg(long, value_name = "T")]
        reason: Option<String>,
    },
    /// Let a paused agent ask again.
    Resume {
        /// Which.
        name: String,
    },
    /// Revoke every key that an agent asked for, pause it, and turn down what waits from it.
    RevokeAll {
        /// Which.
        name: String,
        /// Why; the agent reads it.
        #[arg(long, value_name = "T")]
        reason: String,
        /// Do not ask. Where nobody can be asked, a passphrase file or --no-input says as much.
        #[arg(long, overrides_with = "yes")]
        yes: bool,
    },
    /// Let a client start us: our server goes into its configuration, once you agree to the change.
    Install(install::Args),
}

pub(crate) async fn run(app: &App, args: Args) -> Done {
    match args.command {
        Command::Add { name, token_file } => add(app, &name, token_file).await,
        Command::List => list(app.everyday(|| OperatorCall::AgentList).await?),
        Command::Remove { name } => {
            let name = parse(&name)?;
            let agent = app.signed(OperatorCall::AgentRemove { name: name.to_string() }).await?;
            forget(&usual(&app.home, "agents", name.as_str()));
            Ok(Output::new(agent, format!("agent {name} was removed"))
                .talk("its keys stay until they are revoked: keywright key list"))
        }
        Command::Pause { name, reason } => {
            let name = parse(&name)?;
            let call = || OperatorCall::AgentPause { name: name.to_string(), reason: reason.clone() };
            let agent = app.everyday(call).await?;
            let paused = agent.get("paused").cloned().unwrap_or_default();
            let text = format!("agent {name} is paused, by {}", paused_by(&paused));
            Ok(Output::new(agent, text).talk(format!("next: keywright agent resume {name}")))
        }
        Command::Resume { name } => {
            let name = parse(&name)?;
            let agent = app.signed(OperatorCall::AgentResume { name: name.to_string() }).await?;
            Ok(Output::new(agent, format!("agent {name} may ask again")))
        }
        Command::RevokeAll { name, reason, yes } => {
            let name = parse(&name)?;
            let question = format!("revoke every key of agent `{name}`, and pause it?");
            if !input::consents(app, yes, "ending everything of an agent", &question)? {
                return Err(errors::declined("it was not agreed to"));
            }
            let call = || OperatorCall::AgentRevokeAll { name: name.to_string(), reason: reason.clone() };
            let torn = app.everyday(call).await?;
            Ok(outcome(torn, "the agent has no live keys".to_owned()))
        }
        Command::Install(args) => install::run(app, args),
    }
}

async fn add(app: &App, name: &str, token_file: Option<PathBuf>) -> Done {
    let name = parse(name)?;
    app.require_home()?;
    let file = TokenFile::create(token_file, usual(&app.home, "agents", name.as_str())).map_err(|failure| {
        match failure.kind() {
            Some(Code::Conflict) => failure.hint(
                "there may be an agent of this name already (`keywright agent list`): take another name, or remove that one first; \
                 --token-file names another file",
            ),
            _ => failure,
        }
    })?;
    let mut agent = app.signed(OperatorCall::AgentAdd { name: name.to_string() }).await?;
    let path = file.take_from(&mut agent)?;
    Ok(Output::new(agent, format!("agent {name} was added; its token is in {}", path.display()))
        .talk(format!("next: keywright agent install claude-code --agent {name}")))
}

fn parse(name: &str) -> Result<AgentName, Failure> {
    AgentName::parse(name).map_err(|e| Failure::new(Code::InvalidArgument, e.to_string()))
}

fn list(agents: Value) -> Done {
    let mut list = List::new(&["name", "added by", "added", "paused"]);
    for agent in items(&agents, "agents") {
        list.row(vec![
            strong(field(agent, "name")),
            plain(field(agent, "added_by")),
            plain(when::both(&field(agent, "added_at"), Timestamp::now())),
            (
                agent.get("paused").filter(|one| one.is_object()).map_or_else(String::new, paused_by),
                Tone::Warn,
            ),
        ]);
    }
    if items(&agents, "agents").is_empty() {
        return Ok(Output::new(agents, "no agents yet").talk("next: keywright agent add NAME"));
    }
    let text = list.render();
    Ok(Output::new(agents, text))
}

/// Who paused an agent, when and why.
fn paused_by(paused: &Value) -> String {
    let by = format!("{} {}", field(paused, "by"), when::short(&field(paused, "at"), Timestamp::now()));
    match field(paused, "reason") {
        reason if reason.is_empty() => by,
        reason => format!("{by}: {reason}"),
    }
}
