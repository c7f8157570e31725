//! `keywright provider`

use std::collections::BTreeMap;
use std::path::PathBuf;

use jiff::Timestamp;
use keywright_server::answer::Failure;
use keywright_server::call::OperatorCall;
use serde_json::Value;

use super::kinds;
use crate::app::{App, passed};
use crate::errors::Exit;
use crate::input::{self, Setting};
use crate::output::{Done, Output};
use crate::show::facts::Facts;
use crate::show::list::{List, plain, strong};
use crate::show::{count, field, items, number, outside, when};

/// Connections to providers, each with the parent credential that mints keys there.
#[derive(clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(clap::Subcommand)]
enum Command {
    /// Add a connection. The parent credential comes on standard input, at a prompt, or from a file.
    Add(Add),
    /// List the kinds that there are, and what adding one takes; needs neither home nor broker.
    Kinds {
        /// Only this kind.
        kind: Option<String>,
    },
    /// List the connections.
    List,
    /// Try a connection's credential.
    Check {
        /// The connection's name.
        name: String,
    },
    /// Remove a connection and its parent credential; refused while a key that was made through it may live.
    Remove {
        /// The connection's name.
        name: String,
    },
    /// Have the provider make another parent credential, move the connection to it, and end the one before.
    RotateParent {
        /// The connection's name.
        name: String,
    },
    /// Give a connection another parent credential, on standard input, at a prompt, or from a file. The connection, its keys
    /// and templates stay; the credential before it is yours to end at the provider.
    ReplaceParent {
        /// The connection's name.
        name: String,
        /// A file that holds the parent credential; without it, standard input or a prompt.
        #[arg(long, value_name = "PATH")]
        credential_file: Option<PathBuf>,
    },
}

#[derive(clap::Args)]
struct Add {
    /// The provider's kind, as in `cloudflare`; `keywright provider kinds` says what each takes.
    kind: String,
    /// What the connection is called here.
    #[arg(long)]
    name: String,
    /// The account at the provider.
    #[arg(long, value_name = "ID")]
    account: Option<String>,
    /// Where its API is, when not at the usual address; plain http for loopback only.
    #[arg(long, value_name = "URL")]
    base_url: Option<String>,
    /// A file that holds the parent credential; without it, standard input or a prompt.
    #[arg(long, value_name = "PATH")]
    credential_file: Option<PathBuf>,
    /// What else the provider's adapter wants to know; never a secret.
    #[arg(long = "set", value_name = "K=V")]
    settings: Vec<Setting>,
}

pub(crate) async fn run(app: &App, args: Args) -> Done {
    match args.command {
        Command::Add(add) => add_connection(app, add).await,
        Command::Kinds { kind } => kinds::providers(kind.as_deref()),
        Command::List => list(app.everyday(|| OperatorCall::ProviderList).await?),
        Command::Check { name } => {
            let health = app.everyday(|| OperatorCall::ProviderCheck { name: name.clone() }).await?;
            let text = health_text(&health, "works");
            Ok(Output::new(health, text))
        }
        Command::Remove { name } => remove(app, name).await,
        Command::RotateParent { name } => {
            Ok(renewed(app.signed(OperatorCall::ProviderRotateParent { name }).await?, Owed::ByTheBroker))
        }
        Command::ReplaceParent { name, credential_file } => {
            app.require_home()?;
            let credential = input::credential(app, credential_file.as_deref(), "the parent credential")?;
            let call = OperatorCall::ProviderReplaceParent { name, credential: passed(&credential) };
            drop(credential);
            Ok(renewed(app.signed(call).await?, Owed::ByTheOperator))
        }
    }
}

async fn add_connection(app: &App, add: Add) -> Done {
    kinds::check("provider", &add.kind, &keywright_broker::kinds::PROVIDERS)?;
    app.require_home()?;
    let credential = input::credential(app, add.credential_file.as_deref(), "the parent credential")?;
    let settings: BTreeMap<String, String> = add.settings.into_iter().map(Setting::into_pair).collect();
    let call = OperatorCall::ProviderAdd {
        name: add.name,
        kind: add.kind,
        base_url: add.base_url,
        account: add.account,
        extra: settings,
        credential: passed(&credential),
    };
    drop(credential);
    let health = app.signed(call).await.map_err(not_added)?;
    let text = health_text(&health, "is connected");
    Ok(Output::new(health, text).talk("next: keywright template list --pack"))
}

/// Who ends the credential before.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Owed {
    ByTheBroker,
    ByTheOperator,
}

fn renewed(answer: Value, owed: Owed) -> Output {
    let text = health_text(&answer, "has another parent credential");
    let notes: Vec<String> = items(&answer, "notes").iter().filter_map(Value::as_str).map(outside).collect();
    let before = match outside(&field(&answer, "before")) {
        id if id.is_empty() => "the credential before it".to_owned(),
        id => format!("the credential before it ({id})"),
    };
    let is_gone = answer.get("before_is_gone").and_then(Value::as_bool).unwrap_or(false);
    let trouble = outside(&field(&answer, "trouble"));
    let mut output = Output::new(answer, text);
    for note in notes {
        output = output.talk(format!("note: {note}"));
    }
    match (owed, is_gone) {
        (_, true) => output.talk(format!("{before} is gone")),
        (Owed::ByTheOperator, false) => {
            output.talk(format!("{before} still works at the provider: end it there"))
        }
        (Owed::ByTheBroker, false) => output
            .talk(format!("{before} is not gone yet ({trouble}); the broker tries again until it is"))
            .exit(Exit::Later),
    }
}

async fn remove(app: &App, name: String) -> Done {
    let removed = app.signed(OperatorCall::ProviderRemove { name }).await?;
    let templates: Vec<String> =
        items(&removed, "templates").iter().filter_map(Value::as_str).map(outside).collect();
    let text = format!("connection {} was removed", field(&removed, "name"));
    let output = Output::new(removed, text);
    Ok(if templates.is_empty() {
        output.talk("its parent credential still works at the provider: revoke it there")
    } else {
        output.talk(format!(
            "its parent credential still works at the provider: revoke it there; these templates name the connection and \
             make no keys until they name another: {}",
            templates.join(", ")
        ))
    })
}

/// Advice about a connection is of no use while there is none.
fn not_added(failure: Failure) -> Failure {
    match &failure.hint {
        Some(hint) if hint.contains("provider check") => failure.hint(
            "nothing was added; look at the credential, what it may do, and --account, then add it again",
        ),
        _ => failure,
    }
}

fn list(connections: Value) -> Done {
    let now = Timestamp::now();
    let mut list = List::new(&["name", "kind", "account", "added", "parent since", "address"]);
    for c in items(&connections, "providers") {
        let added = when::short(&field(c, "added_at"), now);
        list.row(vec![
            strong(field(c, "name")),
            plain(field(c, "kind")),
            plain(field(c, "account")),
            plain(added),
            plain(when::short(&field(c, "parent_since"), now)),
            plain(field(c, "base_url")),
        ]);
    }
    if items(&connections, "providers").is_empty() {
        return Ok(Output::new(connections, "no connections yet")
            .talk("next: keywright provider add cloudflare --name NAME --account ID"));
    }
    Ok(Output::new(connections, list.render()))
}

fn health_text(health: &Value, what: &str) -> String {
    let expires = field(health, "expires_at");
    let keys = match (health.get("keys").and_then(Value::as_u64), number(health, "keys_at_most")) {
        (None, _) => String::new(),
        (Some(keys), 0) => count(keys, "key", "keys"),
        (Some(keys), most) => format!("{keys} of at most {most}"),
    };
    let facts = Facts::new()
        .add("credential", field(health, "credential"))
        .add("expires", if expires.is_empty() { expires } else { when::both(&expires, Timestamp::now()) })
        .add("keys there", keys)
        .all("warning", items(health, "warnings").iter().filter_map(Value::as_str).map(outside));
    format!("{} {what}\n{}", field(health, "name"), facts.render())
}
