//! `keywright sandbox`

use std::io::Write as _;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use keywright_broker::Code;
use keywright_sandbox::{Sandbox, SandboxConfig};
use keywright_server::answer::Failure;
use serde_json::json;

use super::serve::Signals;
use crate::app::App;
use crate::errors::{self, Exit};
use crate::input;
use crate::output::{Done, Output, print_json, print_line, say};
use crate::show::facts::Facts;
use crate::show::outside;

/// Run a provider on loopback that enforces permissions for real, to try things out.
///
/// It speaks the part of Cloudflare's API that a key broker needs and keeps everything in memory. It ends with Ctrl-C.
///
/// With `--control` it can be made to misbehave while it runs, over HTTP below the control url (`.../_sandbox`):
///
///   POST   /faults  {"path": "/accounts/*/tokens", "kind": "reply_lost_after_commit"}
///   DELETE /faults  forgets all faults
///   GET    /state   tokens (without their values), faults, the last calls
///   POST   /clock   {"advance_ms": 86400000}
///
/// It asks for no credential; a POST must say `Content-Type: application/json`.
#[derive(clap::Args)]
#[command(verbatim_doc_comment)]
pub(crate) struct Args {
    /// Where to listen; loopback only, port 0 picks a free one.
    #[arg(long, value_name = "127.0.0.1:PORT", default_value = "127.0.0.1:0")]
    listen: SocketAddr,
    /// The file that the parent token is written to; one in a fresh temporary directory without it.
    #[arg(long, value_name = "OUT")]
    token_file: Option<PathBuf>,
    /// Also serve the control path (faults, state, clock) to whoever reaches the port.
    #[arg(long)]
    control: bool,
}

pub(crate) async fn run(app: &App, args: Args) -> Done {
    let signals = Signals::listen()?;
    let config = SandboxConfig { listen: args.listen, control: args.control, ..SandboxConfig::default() };
    let folder = match &args.token_file {
        Some(_) => None,
        None => {
            let made = tempfile::Builder::new().prefix("keywright-sandbox-").tempdir();
            Some(made.map_err(|error| errors::file(&std::env::temp_dir(), &error))?)
        }
    };
    let path = match (&args.token_file, &folder) {
        (Some(path), _) => std::path::absolute(path).map_err(|error| errors::file(path, &error))?,
        (None, Some(folder)) => folder.path().join("parent.token"),
        (None, None) => return Err(Failure::new(Code::Internal, "no place for the token")),
    };
    let mut file = input::fresh_file(&path)?;
    let started = Sandbox::start(config).await.map_err(|error| {
        forget(&path);
        Failure::new(Code::Internal, error.to_string())
    })?;
    let written = writeln!(file, "{}", started.parent_token());
    written.map_err(|error| errors::file(&path, &error))?;
    let announced = announce(app, &started, &path);
    if announced.is_ok() {
        signals.wait().await;
    }
    started.shutdown().await;
    forget(&path);
    announced.map(|()| Output::silent(Exit::Done))
}

fn announce(app: &App, sandbox: &Sandbox, token: &Path) -> Result<(), Failure> {
    let zones: Vec<String> = sandbox.zones().into_iter().map(|zone| zone.name).collect();
    let control = sandbox.control_url();
    if app.json {
        return print_json(&json!({
            "schema": "keywright/sandbox/1", "base_url": sandbox.base_url(), "account": sandbox.account_id(),
            "zones": zones, "token_file": token.display().to_string(),
            "control": control.map(|url| json!({"url": url, "authentication": "none"})),
        }));
    }
    let mut facts = Facts::new()
        .add("base url", sandbox.base_url())
        .add("account", sandbox.account_id())
        .all("zones", zones.iter().map(|zone| outside(zone)))
        .add("token", format!("{} (the parent credential)", token.display()));
    if let Some(url) = control {
        facts = facts.add("control", format!("{url} (no credential; see `keywright sandbox --help`)"));
    }
    print_line(format!("the sandbox runs\n{}", facts.render()).trim_end())?;
    say(&format!(
        "next: keywright provider add cloudflare --name sandbox --account {} --base-url {} --credential-file {}",
        sandbox.account_id(),
        sandbox.base_url(),
        token.display()
    ));
    Ok(())
}

/// The token dies with the sandbox.
fn forget(path: &Path) {
    let _ = std::fs::remove_file(path);
}
