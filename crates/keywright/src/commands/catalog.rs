//! `keywright catalog`

use keywright_broker::by_model::{Chooser, plan_by_model};
use keywright_broker::drift::{Widening, Wider, mark};
use keywright_broker::find::{Plain, Planned, find, makes_keys, plan_of};
use std::path::{Path, PathBuf};

use keywright_broker::{BrokerError, Code};
use keywright_catalog::Catalog;
use keywright_catalog::built_in::every;
use keywright_catalog::import::{Changed, Drift, Publication, cloudflare};
use keywright_core::secret::Secret;
use keywright_server::answer::Failure;
use keywright_server::call::OperatorCall;
use keywright_server::views;
use serde_json::json;
use sha2::{Digest as _, Sha256};

use crate::app::App;
use crate::errors::Exit;
use crate::input;
use crate::output::{Done, Output};
use crate::show::answer;
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
    /// Find the least permissions for operations, with their proof.
    Needs {
        /// What the job calls, as `METHOD /path` or `METHOD URL`, or by the vendor's own name, as in `s3:GetObject`.
        #[arg(required = true, value_name = "OPERATION")]
        operations: Vec<String>,
        /// At this provider; at the one that knows the operations when absent.
        #[arg(long, value_name = "P")]
        provider: Option<String>,
        /// The provider refused them to this key: say what it lacks, and which request would do.
        #[arg(long, value_name = "KEY", conflicts_with = "provider")]
        refused_to: Option<String>,
    },
    /// Find the least permissions for a job in plain words, with their proof. Offline, and without a model unless one is named.
    Plan {
        /// What the job does, as in "add a TXT record for example.com".
        #[arg(required = true)]
        words: Vec<String>,
        /// At this provider; at the one that the words are about when absent.
        #[arg(long, value_name = "P")]
        provider: Option<String>,
        /// Let this model choose among the provider's operations; the permissions for its choice are computed as ever.
        #[arg(long, value_name = "NAME", requires = "model_url", requires = "provider")]
        model: Option<String>,
        /// Where the model is: what comes before `/chat/completions`, as in `http://127.0.0.1:11434/v1`.
        #[arg(long, value_name = "URL", requires = "model")]
        model_url: Option<String>,
        /// What the model's endpoint wants to be shown, from a file; `-` is standard input.
        #[arg(long, value_name = "FILE", requires = "model")]
        model_credential_file: Option<PathBuf>,
    },
    /// Hold the catalog against the permissions that a connection's provider has now.
    Refresh {
        /// The connection.
        connection: String,
    },
    /// Hold a newer publication of a provider against the catalog that ships: what became wider, what is gone. In a home, templates
    /// that grant more than when they were applied are held until an operator applies them again.
    Import {
        /// The vendor's OpenAPI description, as JSON; `-` is standard input.
        file: PathBuf,
        /// Whose it is.
        #[arg(long, value_name = "P", default_value = "cloudflare", value_parser = ["cloudflare"])]
        provider: String,
        /// The vendor's answer to a list of its permissions, as JSON; without it the permissions are those that ship.
        #[arg(long, value_name = "FILE")]
        groups: Option<PathBuf>,
        /// Which publication it is, for the record; the file's name unless said.
        #[arg(long, value_name = "TEXT")]
        from: Option<String>,
    },
}

pub(crate) async fn run(app: &App, args: Args) -> Done {
    match args.command {
        Command::List => list(),
        Command::Search { words, provider, limit } => search(&words.join(" "), provider.as_deref(), limit),
        Command::Needs { operations, refused_to: Some(key), .. } => {
            let make = || OperatorCall::KeyDenied { key: key.clone(), operations: operations.clone() };
            let denied = app.everyday(make).await?;
            let text = answer::denied(&denied);
            Ok(Output::new(denied, text))
        }
        Command::Needs { operations, provider, refused_to: None } => {
            plan(&Plain { operations, provider, ..Plain::default() })
        }
        Command::Plan { words, provider, model: Some(name), model_url, model_credential_file } => {
            let read = |path: &Path| input::secret_file(&app.stdin, path, "the model's credential");
            let credential = model_credential_file.as_deref().map(read).transpose()?;
            let credential = credential.map(|text| Secret::new(text.trim().to_owned()));
            let chooser = Chooser { base_url: model_url.unwrap_or_default(), name, credential };
            let plain = Plain { intent: Some(words.join(" ")), provider, ..Plain::default() };
            Ok(planned(&plan_by_model(&plain, chooser).await?))
        }
        Command::Plan { words, provider, .. } => {
            plan(&Plain { intent: Some(words.join(" ")), provider, ..Plain::default() })
        }
        Command::Refresh { connection } => {
            let listed =
                app.everyday(|| OperatorCall::CatalogRefresh { connection: connection.clone() }).await?;
            let text = answer::refresh(&listed);
            Ok(Output::new(listed, text))
        }
        Command::Import { file, provider, groups, from } => {
            import(app, &file, &provider, groups.as_deref(), from).await
        }
    }
}

fn list() -> Done {
    let mut list = List::new(&["provider", "permissions", "operations", "makes keys"]);
    let mut providers: Vec<&str> = every().map(|built_in| built_in.provider).collect();
    providers.sort_unstable();
    providers.dedup();
    let mut all = Vec::new();
    for kind in providers {
        let catalog = Catalog::for_provider(kind)
            .map_err(|e| Failure::from(BrokerError::new(Code::Internal, e.to_string())))?;
        let (permissions, operations) = (catalog.permissions().len(), catalog.all_operations().len());
        let makes_keys = makes_keys(kind);
        let makes = if makes_keys { "yes" } else { "no: for plans only" };
        list.row(vec![
            strong(kind),
            plain(permissions.to_string()),
            plain(operations.to_string()),
            plain(makes.to_owned()),
        ]);
        all.push(json!({
            "provider": kind, "permissions": permissions, "operations": operations, "makes_keys": makes_keys,
        }));
    }
    Ok(Output::new(json!({ "schema": "keywright/catalogs/1", "catalogs": all }), list.render()))
}

fn plan(plain: &Plain) -> Done {
    Ok(planned(&plan_of(plain)?))
}

fn planned(planned: &Planned) -> Output {
    let value = views::plan_answer(planned);
    let text = answer::answer(&value);
    let exit = if value.get("status") == Some(&json!("refused")) { Exit::Error } else { Exit::Done };
    Output::new(value, text).exit(exit)
}

/// The longest publication that is read, in MiB.
const LONGEST: u64 = 64;

async fn import(app: &App, file: &Path, provider: &str, groups: Option<&Path>, from: Option<String>) -> Done {
    let text = input::text_of_at_most(&app.stdin, file, "the publication", LONGEST)?;
    let groups = groups.map(|path| input::text_file(&app.stdin, path, "the permissions")).transpose()?;
    let invalid = |error: String| Failure::new(Code::InvalidArgument, error);
    let sha256: String = Sha256::digest(text.as_bytes()).iter().map(|byte| format!("{byte:02x}")).collect();
    let named =
        || file.file_name().map_or("standard input".to_owned(), |name| name.to_string_lossy().into_owned());
    let publication = Publication {
        from: from.unwrap_or_else(named),
        taken: jiff::Timestamp::now().strftime("%Y-%m-%d").to_string(),
        sha256: sha256.clone(),
    };
    let imported =
        cloudflare(&text, groups.as_deref(), &publication).map_err(|error| invalid(error.to_string()))?;
    let shipped = Catalog::for_provider(provider).map_err(|error| invalid(error.to_string()))?;
    let drift = Drift::between(shipped, &imported.catalog);
    let wider = |one: &Changed| Wider {
        permission: one.permission.clone(),
        name: one.name.clone(),
        operations: one.operations.len(),
        mutating: one.mutating,
        mark: mark(one.operations.iter().map(String::as_str)),
    };
    let mut value = json!({
        "schema": "keywright/catalog-import/1", "provider": provider, "from": publication.from, "sha256": sha256,
        "permissions": imported.catalog.permissions().len(), "operations": imported.catalog.all_operations().len(),
        "drift": drift, "stale": imported.stale, "held": {},
    });
    if app.has_home()? {
        let kind = provider.parse().map_err(|_| invalid(format!("`{provider}` is not a kind")))?;
        let widened = drift.widened.iter().map(wider).collect();
        let widening = Widening { provider: kind, from: publication.from, sha256, widened };
        let answer = app.signed(OperatorCall::CatalogImport { widening }).await?;
        if let (Some(object), Some(held)) = (value.as_object_mut(), answer.get("held")) {
            object.insert("held".to_owned(), held.clone());
        }
    }
    let text = answer::import(&value);
    Ok(Output::new(value, text).talk("keys are planned and made by the catalog that ships with this version"))
}

fn search(words: &str, provider: Option<&str>, limit: u32) -> Done {
    let (found, note) = find(words, provider, limit)?;
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
    let mut value = json!({ "schema": "keywright/permissions/1", "permissions": found });
    if let (Some(object), Some(note)) = (value.as_object_mut(), &note) {
        object.insert("note".to_owned(), json!(note));
    }
    if found.is_empty() {
        return Ok(Output::new(value, "nothing matches")
            .talk("try other words, as in `dns edit` or `worker script`"));
    }
    let output = Output::new(value, list.render());
    Ok(match note {
        Some(note) => output.talk(outside(&note)),
        None => output,
    })
}
