//! `keywright agent install`: our server goes into a client's configuration, when somebody agrees to the change.

use std::io::Write as _;
use std::path::{Path, PathBuf};

use keywright_broker::Code;
use keywright_core::name::AgentName;
use keywright_server::answer::Failure;
use serde_json::{Value, json};

use super::client::{Client, NAME, Scope};
use super::diff::diff;
use crate::app::App;
use crate::commands::token_file::usual;
use crate::errors;
use crate::input::{self, Enter};
use crate::output::{Done, Output, say};

#[derive(clap::Args)]
pub(super) struct Args {
    /// The client.
    client: Client,
    /// Which agent it is; the client's name without it.
    #[arg(long, value_name = "NAME")]
    agent: Option<String>,
    /// For all your projects, or for the one of the current directory; what is usual for the client without it.
    #[arg(long)]
    scope: Option<Scope>,
    /// The file of its token, where that is not the usual one.
    #[arg(long, value_name = "PATH")]
    token_file: Option<PathBuf>,
    /// Only print what belongs into the file.
    #[arg(long, overrides_with = "dry_run")]
    dry_run: bool,
    /// Do not ask; you know what changes.
    #[arg(long, overrides_with = "yes")]
    yes: bool,
}

/// The longest configuration that is read, in bytes: some clients keep their history in theirs.
const LONGEST: u64 = 64 * 1024 * 1024;

pub(super) fn run(app: &App, args: Args) -> Done {
    let Args { client, agent, scope, token_file, dry_run, yes } = args;
    let agent = super::parse(agent.as_deref().unwrap_or(client.name()))?;
    let scope = scope.unwrap_or(client.usual_scope());
    let file = place(client, scope)?;
    let old = read(&file)?;
    let names_home = !app.is_usual_home || client.names_home(old.as_deref().unwrap_or_default());
    let server = server(app, &agent, token_file, names_home)?;
    let plan = Plan { client, scope, agent, file, snippet: client.snippet(&server), old };
    if dry_run {
        return Ok(plan
            .done("dry_run", false, plan.snippet.clone())
            .talk(format!("this belongs into {}; nothing was written", plan.file.display()))
            .talk(plan.next(app)));
    }
    let before = plan.old.as_deref().unwrap_or_default();
    let after = client.put(before, &server).ok_or_else(|| plan.refused())?;
    if plan.old.as_deref() == Some(after.as_str()) {
        let text = format!("nothing to do: {} has it already", plan.file.display());
        return Ok(plan.done("none", false, text));
    }
    let agreed = yes || {
        say(&format!("{}\n{}", plan.file.display(), diff(before, &after)));
        input::can_prompt(app.no_input) && {
            let agreed = input::agrees("write this?", Enter::Declines)?;
            if !agreed {
                return Err(errors::declined("the change was not agreed to"));
            }
            agreed
        }
    };
    if !agreed {
        return Ok(plan.done("pending", false, plan.snippet.clone()).talk(format!(
            "nothing was written to {}: look at it first, then add --yes",
            plan.file.display()
        )));
    }
    plan.write(&after)?;
    let text =
        format!("{} starts keywright for agent {}: {}", plan.client.name(), plan.agent, plan.file.display());
    let change = if plan.old.is_some() { "changed" } else { "made" };
    Ok(plan.done(change, true, text).talk(plan.next(app)))
}

/// What is to be done, and to which file.
struct Plan {
    client: Client,
    scope: Scope,
    agent: AgentName,
    file: PathBuf,
    snippet: String,
    /// What the file holds; `None` when there is none.
    old: Option<String>,
}

impl Plan {
    fn done(&self, change: &str, written: bool, text: String) -> Output {
        let value = json!({
            "schema": "keywright/agent-install/1", "client": self.client.name(), "agent": self.agent,
            "scope": self.scope.name(), "file": self.file.display().to_string(), "snippet": self.snippet,
            "change": change, "written": written,
        });
        Output::new(value, text)
    }

    fn next(&self, app: &App) -> String {
        if usual(&app.home, "agents", self.agent.as_str()).exists() {
            format!("next: start {} again, so that it reads the file", self.client.name())
        } else {
            format!("the agent must exist: keywright agent add {}", self.agent)
        }
    }

    fn refused(&self) -> Failure {
        let what = if self.client == Client::Codex {
            "is not TOML of the usual form"
        } else {
            "has comments, or is not plain JSON of the usual form"
        };
        let message = format!("{} {what}; it was left as it is", self.file.display());
        Failure::new(Code::Conflict, message)
            .hint(format!("add this to it by hand:\n{}", self.snippet.trim_end()))
    }

    /// Puts the whole file in place at once, so that nobody ever reads half of it.
    fn write(&self, text: &str) -> Result<(), Failure> {
        let io = |error: std::io::Error| errors::file(&self.file, &error);
        // Of a link, what it points to is replaced; the link stays.
        let target = std::fs::canonicalize(&self.file).unwrap_or_else(|_| self.file.clone());
        let folder = target.parent().unwrap_or(Path::new("."));
        std::fs::create_dir_all(folder).map_err(io)?;
        let mut fresh = tempfile::NamedTempFile::new_in(folder).map_err(io)?;
        fresh.write_all(text.as_bytes()).map_err(io)?;
        if let Ok(meta) = std::fs::metadata(&target) {
            fresh.as_file().set_permissions(meta.permissions()).map_err(io)?;
        }
        fresh.as_file().sync_all().map_err(io)?;
        if read(&self.file)? != self.old {
            let message = format!("{} was changed by somebody else meanwhile", self.file.display());
            return Err(Failure::new(Code::TryAgain, message).hint("close the client, then try again"));
        }
        fresh.persist(&target).map_err(|error| io(error.error))?;
        Ok(())
    }
}

fn place(client: Client, scope: Scope) -> Result<PathBuf, Failure> {
    let project = std::env::current_dir().map_err(|error| errors::file(Path::new("."), &error))?;
    let home = std::env::var_os("HOME").map(PathBuf::from).filter(|home| home.is_absolute());
    let home = match (home, scope) {
        (Some(home), _) => home,
        (None, Scope::Project) => project.clone(),
        (None, Scope::User) => {
            return Err(Failure::new(Code::NotFound, "HOME is not set, so the client's file is not known"));
        }
    };
    client.path(scope, &home, &project).ok_or_else(|| {
        errors::usage(format!("{} has no file for a project", client.name())).hint("use --scope user")
    })
}

/// What a file holds; `None` when there is none.
fn read(file: &Path) -> Result<Option<String>, Failure> {
    match std::fs::metadata(file) {
        Ok(meta) if meta.len() > LONGEST => {
            let message = format!("{} is too long for a configuration", file.display());
            return Err(Failure::new(Code::InvalidArgument, message));
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        _ => {}
    }
    std::fs::read_to_string(file).map(Some).map_err(|error| errors::file(file, &error))
}

/// How a client starts us. The token stays in its own file.
fn server(app: &App, agent: &AgentName, token: Option<PathBuf>, names_home: bool) -> Result<Value, Failure> {
    let own = std::env::current_exe().map_err(|error| errors::file(Path::new(NAME), &error))?;
    let mut args = vec!["mcp".to_owned(), "--agent".to_owned(), agent.to_string()];
    if let Some(path) = token {
        let path = std::path::absolute(&path).map_err(|error| errors::file(&path, &error))?;
        args.extend(["--token-file".to_owned(), path.display().to_string()]);
    }
    let mut server = json!({ "command": own.display().to_string(), "args": args });
    if names_home && let Some(fields) = server.as_object_mut() {
        fields.insert("env".to_owned(), json!({ "KEYWRIGHT_HOME": app.home.root().display().to_string() }));
    }
    Ok(server)
}
