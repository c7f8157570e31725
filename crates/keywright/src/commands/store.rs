//! `keywright store`

use std::path::PathBuf;

use keywright_broker::kinds::StoreKind;
use keywright_server::call::OperatorCall;
use serde_json::Value;

use super::kinds;
use crate::app::{App, passed};
use crate::input::{self, Setting};
use crate::output::{Done, Output};
use crate::show::list::{List, plain, strong};
use crate::show::{field, items};

/// Stores: the secrets managers that keys are written to.
#[derive(clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(clap::Subcommand)]
enum Command {
    /// Add a store. Where it needs a credential, that comes on standard input, at a prompt, or from a file.
    Add(Add),
    /// List the kinds that there are, and what adding one takes; needs neither home nor broker.
    Kinds {
        /// Only this kind.
        kind: Option<String>,
    },
    /// List the stores; `embedded` and `dotenv` are always there.
    List,
    /// Try whether a store answers.
    Check {
        /// The store's name.
        name: String,
    },
    /// Remove a store and its credential; refused while copies of keys lie in it.
    Remove {
        /// The store's name.
        name: String,
    },
}

#[derive(clap::Args)]
struct Add {
    /// The store's kind, as in `vault`; `keywright store kinds` says what each takes.
    kind: String,
    /// What it is called here: the part of a place before the colon.
    #[arg(long)]
    name: String,
    /// Where it answers.
    #[arg(long, value_name = "URL")]
    address: Option<String>,
    /// A file that holds its credential; without it, standard input or a prompt.
    #[arg(long, value_name = "PATH")]
    credential_file: Option<PathBuf>,
    /// What else the store's adapter wants to know; never a secret.
    #[arg(long = "set", value_name = "K=V")]
    settings: Vec<Setting>,
}

pub(crate) async fn run(app: &App, args: Args) -> Done {
    match args.command {
        Command::Add(add) => add_store(app, add).await,
        Command::Kinds { kind } => kinds::stores(kind.as_deref()),
        Command::List => list(app.everyday(|| OperatorCall::StoreList).await?),
        Command::Check { name } => {
            let store = app.everyday(|| OperatorCall::StoreCheck { name: name.clone() }).await?;
            let name = field(&store, "name");
            let text = format!(
                "{name} works: it answers, and takes its credential (what that may write shows when it does)"
            );
            Ok(Output::new(store, text))
        }
        Command::Remove { name } => {
            let store = app.signed(OperatorCall::StoreRemove { name }).await?;
            let text = format!("store {} was removed", field(&store, "name"));
            Ok(Output::new(store, text))
        }
    }
}

async fn add_store(app: &App, add: Add) -> Done {
    kinds::check("store", &add.kind, &keywright_broker::kinds::STORES)?;
    app.require_home()?;
    let takes_one = |kind: StoreKind| kind.kind == add.kind && kind.needs_credential();
    let needs_none = !keywright_broker::kinds::stores().any(takes_one) && add.credential_file.is_none();
    let credential = if needs_none {
        None
    } else {
        Some(passed(&input::credential(app, add.credential_file.as_deref(), "the store's credential")?))
    };
    let call = OperatorCall::StoreAdd {
        name: add.name,
        kind: add.kind,
        address: add.address,
        extra: add.settings.into_iter().map(Setting::into_pair).collect(),
        credential,
    };
    let store = app.signed(call).await?;
    let name = field(&store, "name");
    Ok(Output::new(store, format!("store {name} is there")).talk(format!(
        "next: let a template put keys there: keywright template apply TEMPLATE --destination '{name}:*'"
    )))
}

fn list(stores: Value) -> Done {
    let mut list = List::new(&["name", "kind", "after a write", "address"]);
    for store in items(&stores, "stores") {
        list.row(vec![
            strong(field(store, "name")),
            plain(field(store, "kind")),
            plain(field(store, "verify")),
            plain(field(store, "address")),
        ]);
    }
    let text = list.render();
    Ok(Output::new(stores, text))
}
