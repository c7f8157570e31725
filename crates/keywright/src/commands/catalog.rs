//! `keywright catalog`

use keywright_broker::find::find;
use keywright_broker::{BrokerError, Code};
use keywright_catalog::BUILT_IN;
use keywright_server::answer::Failure;
use serde_json::json;

use crate::app::App;
use crate::errors;
use crate::output::{Done, Output};
use crate::show::list::{List, Tone, plain, strong};
use crate::show::outside;

/// Permission data: what providers' permissions are called and what they unlock. Needs neither home nor broker.
#[derive(clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(clap::Subcommand)]
enum Command {
    /// List the providers whose permissions are known.
    List,
    /// Find permissions by words.
    Search {
        /// The words.
        #[arg(required = true)]
        words: Vec<String>,
        /// Only of this provider.
        #[arg(long, value_name = "P")]
        provider: Option<String>,
        /// At most so many (1 to 50).
        #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=50))]
        limit: u32,
    },
    /// The least permissions for operations (not in this version).
    #[command(hide = true)]
    Needs(Rest),
    /// The least permissions for plain words (not in this version).
    #[command(hide = true)]
    Plan(Rest),
    /// Import permission data (not in this version).
    #[command(hide = true)]
    Import(Rest),
}

#[derive(clap::Args)]
struct Rest {
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    _rest: Vec<String>,
}

pub(crate) async fn run(_: &App, args: Args) -> Done {
    match args.command {
        Command::List => list(),
        Command::Search { words, provider, limit } => search(&words.join(" "), provider.as_deref(), limit),
        Command::Needs(_) => {
            Err(errors::unsupported("`catalog needs`").hint("try `keywright catalog search`"))
        }
        Command::Plan(_) => Err(errors::unsupported("`catalog plan`").hint("try `keywright catalog search`")),
        Command::Import(_) => Err(errors::unsupported("`catalog import`")),
    }
}

fn list() -> Done {
    let mut list = List::new(&["provider", "permissions", "operations"]);
    let mut all = Vec::new();
    for built_in in &BUILT_IN {
        let catalog =
            built_in.catalog().map_err(|e| Failure::from(BrokerError::new(Code::Internal, e.to_string())))?;
        let (permissions, operations) = (catalog.permissions().len(), catalog.all_operations().len());
        list.row(vec![
            strong(catalog.provider()),
            plain(permissions.to_string()),
            plain(operations.to_string()),
        ]);
        all.push(json!({
            "provider": catalog.provider(), "permissions": permissions, "operations": operations,
        }));
    }
    Ok(Output::new(json!({ "schema": "keywright/catalogs/1", "catalogs": all }), list.render()))
}

fn search(words: &str, provider: Option<&str>, limit: u32) -> Done {
    let found = find(words, provider, limit)?;
    let mut list = List::new(&["permission", "access", "changes", "scope", "provider"]);
    for permission in &found {
        let tone = if permission.escalation { Tone::Warn } else { Tone::Strong };
        let mark = if permission.escalation { " (can make keys)" } else { "" };
        list.row(vec![
            (format!("{}{mark}", outside(&permission.name)), tone),
            plain(outside(&permission.access)),
            plain(format!("{} of {}", permission.mutating, permission.unlocks)),
            plain(outside(permission.scope.rsplit('.').next().unwrap_or_default())),
            plain(permission.provider.as_str()),
        ]);
    }
    let value = json!({ "schema": "keywright/permissions/1", "permissions": found });
    if found.is_empty() {
        return Ok(Output::new(value, "nothing matches")
            .talk("try other words, as in `dns edit` or `worker script`"));
    }
    Ok(Output::new(value, list.render()))
}
