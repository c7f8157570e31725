//! `keywright init`

use std::path::PathBuf;
use std::sync::Arc;

use jiff::Timestamp;
use keywright_broker::Code;
use keywright_core::name::OperatorName;
use keywright_ledger::Location;
use keywright_server::answer::Failure;
use keywright_server::call::OperatorCall;
use serde_json::json;

use crate::app::App;
use crate::errors;
use crate::input;
use crate::output::{Done, Output};
use crate::show::facts::Facts;

/// Make a home: ledger, master key, first operator, default policy.
///
/// The passphrase opens the home and signs what you apply and approve. It can't be recovered. Templates are applied
/// afterwards, one by one: nothing that an agent may ask for is in force before you say so.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Where the ledger lives: in a file of the home (`sqlite`), or in a PostgreSQL database
    /// (`postgres://USER@HOST:PORT/DATABASE`, the password in `~/.pgpass` or a file that `?passfile=/PATH` names).
    #[arg(long, value_name = "URL")]
    ledger: Option<String>,
    /// Where a copy of the audit log's head is kept, outside of the home: an older copy of the home that is put back is
    /// noticed by it. A directory, by default in your state directory (`$XDG_STATE_HOME/keywright`); `none` for none. A home
    /// that joins a ledger has a directory of its own below that.
    #[arg(long, value_name = "DIR")]
    witness: Option<PathBuf>,
    /// Make a home for a ledger that is there, in a PostgreSQL database: its broker works beside those of the other homes. The
    /// passphrase is one of an operator of that ledger.
    #[arg(long, requires = "ledger")]
    join: bool,
    /// Ask nothing but the passphrase.
    #[arg(long, overrides_with = "yes")]
    yes: bool,
}

pub(crate) async fn run(app: &App, args: Args) -> Done {
    let ledger = super::ledger::location(app, args.ledger.as_deref().unwrap_or("sqlite"))?;
    let name = match &app.operator {
        Some(name) => {
            OperatorName::parse(name).map_err(|e| Failure::new(Code::InvalidArgument, e.to_string()))?
        }
        None => OperatorName::parse(&whoami()).map_err(|e| {
            Failure::new(Code::InvalidArgument, e.to_string()).hint("name yourself with --operator NAME")
        })?,
    };
    let root = app.home.root().display().to_string();
    let has_home = app.has_home()?;
    let asks = !args.yes && !app.names_passphrase() && input::can_prompt(app.no_input);
    if has_home {
        return Err(Failure::new(Code::Conflict, format!("there is a home at {root} already"))
            .hint("use it, or name another directory with KEYWRIGHT_HOME or --home"));
    }
    app.socket.refuse_unreachable()?;
    let question = if args.join {
        format!("make a home at {root}, for the ledger that is there?")
    } else {
        format!("make a home at {root}, with operator `{name}`?")
    };
    if asks && !input::agrees(&question, input::Enter::Agrees)? {
        return Err(errors::declined("no home was wanted"));
    }
    let witness = witness(args.witness)?;
    if args.join {
        return join(app, &ledger, root, witness).await;
    }
    let passphrase = app.new_passphrase(&name)?.into_secret();
    drop(app.home.init_with(&ledger, &name, passphrase, Arc::new(Timestamp::now)).await?);
    if let Some(place) = &witness {
        app.home.set_witness(place)?;
    }
    let applied = app.signed(OperatorCall::PolicyApply { source: None }).await.map_err(|failure| {
        failure.hint("the home is there, without a policy: apply one with `keywright policy apply --default`")
    })?;
    let facts = Facts::new()
        .add("home", root.as_str())
        .add("operator", name.as_str())
        .add("witness", witness.as_ref().map(|place| place.display().to_string()).unwrap_or_default())
        .add("policy", "the default pack (keywright policy show)");
    let value = json!({
        "schema": "keywright/init/1", "home": root, "operator": name, "policy_version": applied.get("version"),
        "witness": witness,
    });
    Ok(Output::new(value, format!("a home was made\n{}", facts.render()))
        .talk("next: connect a provider    keywright provider add cloudflare --name NAME --account ID")
        .talk("      pick what may be asked keywright template list --pack, then template apply ID")
        .talk("      let an agent in        keywright agent add NAME")
        .talk("      start the broker       keywright serve --detach"))
}

/// Where the copy of the log's head goes.
fn witness(given: Option<PathBuf>) -> Result<Option<PathBuf>, Failure> {
    match given {
        Some(none) if none.as_os_str() == "none" => Ok(None),
        Some(given) => std::path::absolute(&given).map(Some).map_err(|e| errors::file(&given, &e)),
        None => Ok(usual_state()),
    }
}

/// The platform's directory for what a program keeps of its state.
fn usual_state() -> Option<PathBuf> {
    let variable = |name: &str| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let state = variable("XDG_STATE_HOME").or_else(|| variable("HOME").map(|home| home.join(".local/state")));
    state.map(|state| state.join("keywright"))
}

async fn join(app: &App, ledger: &Location, root: String, witness: Option<PathBuf>) -> Done {
    let invalid = |error: &dyn std::fmt::Display| Failure::new(Code::InvalidArgument, error.to_string());
    let operator = app.operator.as_deref().map(OperatorName::parse).transpose().map_err(|e| invalid(&e))?;
    let passphrase = app.passphrase()?.into_secret();
    let operator = app.home.join(ledger, operator.as_ref(), passphrase, Arc::new(Timestamp::now)).await?;
    // Homes of one ledger would write over each other's head.
    let witness = witness.map(|place| app.home.set_own_witness(&place)).transpose()?;
    let facts = Facts::new()
        .add("home", root.as_str())
        .add("operator", operator.as_str())
        .add("witness", witness.as_ref().map(|place| place.display().to_string()).unwrap_or_default());
    let value = json!({
        "schema": "keywright/init/1", "home": root, "operator": operator, "joined": true, "witness": witness,
    });
    Ok(Output::new(value, format!("a home was made for a ledger that was there\n{}", facts.render()))
        .talk("next: start the broker    keywright serve --detach"))
}

/// The system's name for who calls, made into a name that we take.
fn whoami() -> String {
    let user = std::env::var("USER").or_else(|_| std::env::var("LOGNAME")).unwrap_or_default();
    let slug: String = user
        .chars()
        .map(|c| if c.is_ascii_alphanumeric() || "-_.".contains(c) { c } else { '-' })
        .take(64)
        .collect();
    let slug = slug.trim_start_matches(['-', '_', '.']).to_owned();
    if slug.is_empty() { "owner".to_owned() } else { slug }
}
