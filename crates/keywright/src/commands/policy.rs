//! `keywright policy`

use std::path::{Path, PathBuf};

use keywright_broker::Code;
use keywright_core::policy::{DEFAULT_POLICIES, Policies, run_cases};
use keywright_server::answer::Failure;
use keywright_server::call::OperatorCall;
use keywright_server::views;
use serde_json::{Value, json};

use crate::app::App;
use crate::errors::Exit;
use crate::input;
use crate::output::{Done, Output};
use crate::show::list::{Tone, toned};
use crate::show::{count, field, items, number, outside, when};

/// Policy: which agent may use which template, where, how often, with how many approvals.
#[derive(clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(clap::Subcommand)]
enum Command {
    /// Show the policy in force.
    Show,
    /// Check a Cedar file without applying it; needs neither home nor passphrase.
    Check {
        /// The file.
        file: PathBuf,
    },
    /// Put a policy in force, signed with your key. It replaces the whole one before.
    Apply {
        /// The file.
        #[arg(required_unless_present = "default", conflicts_with = "default")]
        file: Option<PathBuf>,
        /// The default pack instead of a file.
        #[arg(long)]
        default: bool,
    },
    /// Run a file of cases against the policy in force.
    Test {
        /// The cases, as TOML.
        file: PathBuf,
        /// Against this Cedar file instead; needs neither home nor passphrase.
        #[arg(long, value_name = "FILE")]
        policy: Option<PathBuf>,
        /// Against the default pack instead; needs neither home nor passphrase.
        #[arg(long, conflicts_with = "policy")]
        default: bool,
    },
    /// Why a request was decided as it was.
    Explain {
        /// The request's id.
        request: String,
    },
}

pub(crate) async fn run(app: &App, args: Args) -> Done {
    match args.command {
        Command::Show => {
            let policy = app.everyday(|| OperatorCall::PolicyShow).await?;
            let (version, by) = (number(&policy, "version"), field(&policy, "applied_by"));
            let at = when::both(&field(&policy, "applied_at"), jiff::Timestamp::now());
            let source = policy.get("source").and_then(Value::as_str).unwrap_or_default().to_owned();
            // Who redirects it gets a file that can be checked and applied again.
            Ok(Output::source(policy, source).talk(format!("version {version}, applied by {by} at {at}")))
        }
        Command::Check { file } => {
            let count_of = parse(&policy_file(app, &file)?)?.count();
            let value = json!({ "schema": "keywright/policy-check/1", "policies": count_of });
            let all = count(u64::try_from(count_of).unwrap_or(u64::MAX), "policy", "policies");
            let output = Output::new(value, format!("it can be applied: {all}"));
            Ok(match count_of {
                0 => output.talk("warning: it permits nothing, so every request would be denied"),
                _ => output,
            })
        }
        Command::Apply { file, .. } => {
            let source = file.as_deref().map(|file| policy_file(app, file)).transpose()?;
            if let Some(source) = &source {
                parse(source)?;
            }
            let policy = app.signed(OperatorCall::PolicyApply { source }).await?;
            let version = number(&policy, "version");
            Ok(Output::new(policy, format!("the policy is in force (version {version})")))
        }
        Command::Test { file, policy, default } => test(app, &file, policy, default).await,
        Command::Explain { request } => {
            let answer = app.everyday(|| OperatorCall::PolicyExplain { request: request.clone() }).await?;
            let lines: Vec<String> =
                items(&answer, "lines").iter().filter_map(Value::as_str).map(outside).collect();
            Ok(Output::new(answer, lines.join("\n")))
        }
    }
}

fn policy_file(app: &App, file: &Path) -> Result<String, Failure> {
    input::text_file(&app.stdin, file, "the policy")
}

async fn test(app: &App, file: &Path, policy: Option<PathBuf>, default: bool) -> Done {
    let cases = input::text_file(&app.stdin, file, "the cases")?;
    let offline = match policy {
        Some(path) => Some(policy_file(app, &path)?),
        None => default.then(|| DEFAULT_POLICIES.to_owned()),
    };
    let results = match offline {
        None => app.everyday(|| OperatorCall::PolicyTest { cases: cases.clone() }).await?,
        Some(source) => views::policy_test(
            &run_cases(&parse(&source)?, &cases)
                .map_err(|e| Failure::new(Code::InvalidArgument, e.to_string()))?,
        ),
    };
    let mut text = String::new();
    for case in items(&results, "cases") {
        let passed = case.get("passed").and_then(Value::as_bool).unwrap_or(false);
        let word = if passed { toned("pass", Tone::Good) } else { toned("FAIL", Tone::Bad) };
        text.push_str(&format!("{word}  {}\n", field(case, "name")));
        if !passed {
            text.push_str(&format!(
                "      expected {}, got {}\n",
                field(case, "expected"),
                field(case, "got")
            ));
            for reason in items(case, "reasons").iter().filter_map(Value::as_str) {
                text.push_str(&format!("      - {}\n", outside(reason)));
            }
        }
    }
    let (all, failed) = (items(&results, "cases").len() as u64, number(&results, "failed"));
    text.push_str(&format!("{}, {failed} failed", count(all, "case", "cases")));
    Ok(Output::new(results, text).exit(if failed == 0 { Exit::Done } else { Exit::Error }))
}

fn parse(source: &str) -> Result<Policies, Failure> {
    Policies::parse(source).map_err(|error| {
        // Its own lines stay lines; what they quote is made safe when they are printed.
        Failure::new(Code::InvalidArgument, error.to_string())
    })
}
