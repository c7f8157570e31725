//! `keywright workload`

use std::path::PathBuf;

use keywright_broker::Code;
use keywright_core::name::WorkloadName;
use keywright_server::answer::Failure;
use keywright_server::call::OperatorCall;
use serde_json::Value;

use super::token_file::{TokenFile, forget, usual};
use crate::app::App;
use crate::output::{Done, Output};
use crate::show::list::{List, plain, strong};
use crate::show::{field, items, when};

/// Workloads: the programs that may read keys at run time.
#[derive(clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(clap::Subcommand)]
enum Command {
    /// Add a workload; its token goes into a file and is never shown.
    Add {
        /// The workload's name.
        name: String,
        /// Whose keys it may read.
        #[arg(long, value_name = "P")]
        project: String,
        /// Of this environment only.
        #[arg(long, value_name = "E")]
        env: Option<String>,
        /// The file; HOME/workloads/NAME.token without it.
        #[arg(long, value_name = "OUT")]
        token_file: Option<PathBuf>,
    },
    /// List the workloads.
    List,
    /// Remove a workload: its token is worth nothing any more.
    Remove {
        /// Which.
        name: String,
    },
}

pub(crate) async fn run(app: &App, args: Args) -> Done {
    match args.command {
        Command::Add { name, project, env, token_file } => {
            let name = parse(&name)?;
            app.require_home()?;
            let file = TokenFile::create(token_file, usual(&app.home, "workloads", name.as_str()))?;
            let call = OperatorCall::WorkloadAdd { name: name.to_string(), project, environment: env };
            let mut workload = app.signed(call).await?;
            let path = file.take_from(&mut workload)?;
            let next = format!("next: keywright run --token-file {} -- COMMAND", path.display());
            Ok(Output::new(
                workload,
                format!("workload {name} was added; its token is in {}", path.display()),
            )
            .talk(next))
        }
        Command::List => list(app.everyday(|| OperatorCall::WorkloadList).await?),
        Command::Remove { name } => {
            let name = parse(&name)?;
            let workload = app.signed(OperatorCall::WorkloadRemove { name: name.to_string() }).await?;
            forget(&usual(&app.home, "workloads", name.as_str()));
            Ok(Output::new(workload, format!("workload {name} was removed")))
        }
    }
}

fn parse(name: &str) -> Result<WorkloadName, Failure> {
    WorkloadName::parse(name).map_err(|e| Failure::new(Code::InvalidArgument, e.to_string()))
}

fn list(workloads: Value) -> Done {
    let mut list = List::new(&["name", "project", "environment", "added by", "added"]);
    for workload in items(&workloads, "workloads") {
        let environment = field(workload, "environment");
        list.row(vec![
            strong(field(workload, "name")),
            plain(field(workload, "project")),
            plain(if environment.is_empty() { "every".to_owned() } else { environment }),
            plain(field(workload, "added_by")),
            plain(when::short(&field(workload, "added_at"), jiff::Timestamp::now())),
        ]);
    }
    if items(&workloads, "workloads").is_empty() {
        return Ok(
            Output::new(workloads, "no workloads yet").talk("next: keywright workload add NAME --project P")
        );
    }
    let text = list.render();
    Ok(Output::new(workloads, text))
}
