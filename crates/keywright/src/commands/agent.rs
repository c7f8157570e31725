//! `keywright agent`

use std::path::PathBuf;

use clap::ValueEnum;
use jiff::Timestamp;
use keywright_broker::Code;
use keywright_core::name::AgentName;
use keywright_server::answer::Failure;
use keywright_server::call::OperatorCall;
use serde_json::{Value, json};

use super::token_file::{TokenFile, forget, usual};
use crate::app::App;
use crate::output::{Done, Output};
use crate::show::list::{List, plain, strong};
use crate::show::{field, items, when};

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
    /// Print what a client's configuration needs; no file is touched.
    Install {
        /// The client.
        client: Client,
        /// Which agent it is.
        #[arg(long, value_name = "NAME")]
        agent: Option<String>,
        /// The file of its token, where that is not the usual one.
        #[arg(long, value_name = "PATH")]
        token_file: Option<PathBuf>,
        /// What it does anyway in this version.
        #[arg(long)]
        dry_run: bool,
    },
}

/// The clients whose configuration is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Client {
    ClaudeCode,
    Cursor,
    Vscode,
    Codex,
    Windsurf,
    Zed,
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
        Command::Install { client, agent, token_file, .. } => {
            install(app, client, agent.as_deref(), token_file)
        }
    }
}

async fn add(app: &App, name: &str, token_file: Option<PathBuf>) -> Done {
    let name = parse(name)?;
    app.require_home()?;
    let file = TokenFile::create(token_file, usual(&app.home, "agents", name.as_str()))?;
    let mut agent = app.signed(OperatorCall::AgentAdd { name: name.to_string() }).await?;
    let path = file.take_from(&mut agent)?;
    Ok(Output::new(agent, format!("agent {name} was added; its token is in {}", path.display()))
        .talk(format!("next: keywright agent install claude-code --agent {name}")))
}

fn parse(name: &str) -> Result<AgentName, Failure> {
    AgentName::parse(name).map_err(|e| Failure::new(Code::InvalidArgument, e.to_string()))
}

fn list(agents: Value) -> Done {
    let mut list = List::new(&["name", "added by", "added"]);
    for agent in items(&agents, "agents") {
        list.row(vec![
            strong(field(agent, "name")),
            plain(field(agent, "added_by")),
            plain(when::both(&field(agent, "added_at"), Timestamp::now())),
        ]);
    }
    if items(&agents, "agents").is_empty() {
        return Ok(Output::new(agents, "no agents yet").talk("next: keywright agent add NAME"));
    }
    let text = list.render();
    Ok(Output::new(agents, text))
}

fn install(app: &App, client: Client, agent: Option<&str>, token_file: Option<PathBuf>) -> Done {
    let name = parse(agent.unwrap_or(client_name(client)))?;
    let mut args = vec!["mcp".to_owned(), "--agent".to_owned(), name.to_string()];
    if let Some(path) = token_file {
        let path = std::path::absolute(&path).map_err(|error| crate::errors::file(&path, &error))?;
        args.extend(["--token-file".to_owned(), path.display().to_string()]);
    }
    let mut server = json!({ "command": "keywright", "args": args });
    if !app.is_usual_home
        && let Some(fields) = server.as_object_mut()
    {
        fields.insert("env".to_owned(), json!({ "KEYWRIGHT_HOME": app.home.root().display().to_string() }));
    }
    let (file, snippet) = shape(client, &server);
    let value = json!({
        "schema": "keywright/agent-install/1", "client": client_name(client), "agent": name, "file": file,
        "snippet": snippet, "written": false,
    });
    Ok(Output::new(value, snippet)
        .talk(format!("put this into {file}; this version touches no file of another program itself"))
        .talk(format!("the agent must exist: keywright agent add {name}")))
}

fn client_name(client: Client) -> &'static str {
    match client {
        Client::ClaudeCode => "claude-code",
        Client::Cursor => "cursor",
        Client::Vscode => "vscode",
        Client::Codex => "codex",
        Client::Windsurf => "windsurf",
        Client::Zed => "zed",
    }
}

/// The file, and what belongs into it. No secret is in there: the token stays in its own file.
fn shape(client: Client, server: &Value) -> (&'static str, String) {
    let (file, key) = match client {
        Client::ClaudeCode => (".mcp.json (in the project)", "mcpServers"),
        Client::Cursor => (".cursor/mcp.json (in the project, or in your home directory)", "mcpServers"),
        Client::Vscode => (".vscode/mcp.json (in the project)", "servers"),
        Client::Windsurf => ("~/.codeium/windsurf/mcp_config.json", "mcpServers"),
        Client::Zed => ("~/.config/zed/settings.json", "context_servers"),
        Client::Codex => return ("~/.codex/config.toml", codex(server)),
    };
    let snippet = serde_json::to_string_pretty(&json!({ key: { "keywright": server } }));
    (file, snippet.unwrap_or_default())
}

fn codex(server: &Value) -> String {
    let mut table = toml_edit::Table::new();
    let mut args = toml_edit::Array::new();
    args.extend(items(server, "args").iter().filter_map(Value::as_str));
    table.insert("command", toml_edit::value("keywright"));
    table.insert("args", toml_edit::value(args));
    if let Some(home) = server.pointer("/env/KEYWRIGHT_HOME").and_then(Value::as_str) {
        let mut env = toml_edit::InlineTable::new();
        env.insert("KEYWRIGHT_HOME", home.into());
        table.insert("env", toml_edit::value(env));
    }
    let mut servers = toml_edit::Table::new();
    servers.set_implicit(true);
    servers.insert("keywright", toml_edit::Item::Table(table));
    let mut document = toml_edit::DocumentMut::new();
    document.insert("mcp_servers", toml_edit::Item::Table(servers));
    document.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_client_gets_its_own_shape() {
        let server = json!({ "command": "keywright", "args": ["mcp", "--agent", "a"] });
        for client in Client::value_variants() {
            let (_, snippet) = shape(*client, &server);
            let key = match client {
                Client::Vscode => "servers",
                Client::Zed => "context_servers",
                Client::Codex => {
                    assert_eq!(
                        snippet,
                        "[mcp_servers.keywright]\ncommand = \"keywright\"\nargs = [\"mcp\", \"--agent\", \"a\"]\n"
                    );
                    continue;
                }
                _ => "mcpServers",
            };
            let json: Value = serde_json::from_str(&snippet).unwrap();
            assert_eq!(json[key]["keywright"], server, "{client:?}");
        }
    }
}
