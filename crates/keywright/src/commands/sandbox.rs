//! `keywright sandbox`

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Write as _;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use clap::builder::PossibleValuesParser;
use keywright_broker::Code;
use keywright_sandbox::vendors::{self, Joint, Running};
use keywright_sandbox::{Sandbox, SandboxConfig, SandboxError};
use keywright_server::answer::Failure;
use serde_json::json;
use tempfile::TempDir;

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
/// With `--vendor` it is a small stand-in for another provider or store: the calls that Keywright makes, in memory.
///
/// With `--control` it can be made to misbehave while it runs, over HTTP below the control url (`.../_sandbox`):
///
///   POST   /faults  {"path": "/accounts/*/tokens", "kind": "reply_lost_after_commit"}
///   DELETE /faults  forgets all faults
///   GET    /state   tokens (without their values), faults, the last calls
///   POST   /clock   {"advance_ms": 86400000}
///
/// It asks for no credential; a POST must say `Content-Type: application/json`. `path` is below the base path: `*` is one segment,
/// `**` at the end any number. A fault takes `method` (all without it), `skip` (so many calls pass first, 0) and `count` (so many it
/// then hits, 1), and is of a kind, with the kind's own fields:
///
///   reply_lost_before_commit, reply_lost_after_commit, 500_after_commit, garbage, drop_condition
///   status               status (400 to 599), retry_after (seconds; may be left out)
///   slow                 delay_ms, trickle_ms
///   hang                 commit (true or false)
///   echo_secret_in_error commit (true or false)
///   lagging_list         ms (the age from which a token is listed)
///   lagging_verify       uses (how many are refused)
///   huge_body            bytes
///   redirect             location
///   says                 message (status 400 with this, whatever stands in it)
///   wider_grant          grant (other_zone, extra_group, no_expiry, drop_condition)
#[derive(clap::Args)]
#[command(verbatim_doc_comment)]
pub(crate) struct Args {
    /// Stand in for another provider or store, as in `openrouter` or `vault`.
    #[arg(long, value_name = "KIND", value_parser = kinds(), conflicts_with_all = ["listen", "control"])]
    vendor: Option<String>,
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

/// The kinds that there are stand-ins for.
fn kinds() -> PossibleValuesParser {
    vendors::ALL.iter().map(|stand_in| stand_in.kind).collect::<Vec<_>>().into()
}

pub(crate) async fn run(app: &App, args: Args) -> Done {
    let signals = Signals::listen()?;
    let mut token = TokenFile::fresh(args.token_file.as_deref())?;
    if let Some(kind) = args.vendor {
        let started = vendors::start(&kind).await.map_err(|error| failed(&error))?;
        token.write(&started.parent)?;
        announce_vendor(app, &kind, &started, &token.path)?;
        signals.wait().await;
        return Ok(Output::silent(Exit::Done));
    }
    let config = SandboxConfig { listen: args.listen, control: args.control, ..SandboxConfig::default() };
    let started = Sandbox::start(config).await.map_err(|error| failed(&error))?;
    token.write(started.parent_token())?;
    let announced = announce(app, &started, &token.path);
    if announced.is_ok() {
        signals.wait().await;
    }
    started.shutdown().await;
    announced.map(|()| Output::silent(Exit::Done))
}

fn failed(error: &SandboxError) -> Failure {
    Failure::new(Code::Internal, error.to_string())
}

/// The file with the parent credential; it dies with the sandbox.
struct TokenFile {
    path: PathBuf,
    file: File,
    _folder: Option<TempDir>,
}

impl TokenFile {
    /// A file of its user's own that nothing is in yet.
    fn fresh(path: Option<&Path>) -> Result<Self, Failure> {
        let (path, folder) = if let Some(path) = path {
            (std::path::absolute(path).map_err(|error| errors::file(path, &error))?, None)
        } else {
            let made = tempfile::Builder::new().prefix("keywright-sandbox-").tempdir();
            let folder = made.map_err(|error| errors::file(&std::env::temp_dir(), &error))?;
            (folder.path().join("parent.token"), Some(folder))
        };
        Ok(Self { file: input::fresh_file(&path)?, path, _folder: folder })
    }

    fn write(&mut self, token: &str) -> Result<(), Failure> {
        writeln!(self.file, "{}", token.trim_end()).map_err(|error| errors::file(&self.path, &error))
    }
}

impl Drop for TokenFile {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.path);
    }
}

fn announce_vendor(app: &App, kind: &str, vendor: &Running, token: &Path) -> Result<(), Failure> {
    let stand_in = vendors::ALL.iter().find(|stand_in| stand_in.kind == kind);
    let stand_in = stand_in.ok_or_else(|| Failure::new(Code::Internal, "a stand-in that is not listed"))?;
    let settings: BTreeMap<_, _> = stand_in.settings.iter().copied().collect();
    if app.json {
        return print_json(&json!({
            "schema": "keywright/sandbox/1", "vendor": kind, "base_url": vendor.base_url,
            "account": stand_in.account, "settings": settings, "token_file": token.display().to_string(),
        }));
    }
    let facts = Facts::new()
        .add("base url", &vendor.base_url)
        .all("settings", settings.iter().map(|(name, value)| format!("{name}={value}")))
        .add("token", format!("{} (the parent credential)", token.display()));
    print_line(format!("a stand-in for {kind} runs\n{}", facts.render()).trim_end())?;
    let (noun, address) = match stand_in.joint {
        Joint::Provider => ("provider", "--base-url"),
        Joint::Store => ("store", "--address"),
    };
    let account = stand_in.account.map_or_else(String::new, |account| format!(" --account {account}"));
    let settings: String = settings.iter().map(|(name, value)| format!(" --set {name}={value}")).collect();
    say(&format!(
        "next: keywright {noun} add {kind} --name {kind}{account} {address} {}{settings} --credential-file {}",
        vendor.base_url,
        token.display()
    ));
    Ok(())
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

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;
    use keywright_sandbox::Fault;

    #[test]
    fn the_help_names_every_kind_of_fault() {
        #[derive(clap::Parser)]
        struct Line {
            #[command(flatten)]
            _args: super::Args,
        }
        let help = Line::command().render_long_help().to_string();
        let unknown =
            serde_json::from_str::<Fault>(r#"{"path": "/", "kind": "none"}"#).unwrap_err().to_string();
        let kinds: Vec<&str> = unknown.split('`').skip(3).step_by(2).collect();
        assert!(kinds.len() > 10, "{unknown}");
        for kind in kinds {
            assert!(
                help.split(|c: char| c.is_whitespace() || c == ',').any(|word| word == kind),
                "{kind}: {help}"
            );
        }
    }
}
