//! `keywright demo`

use std::io::IsTerminal as _;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use keywright_broker::Code;
use keywright_sandbox::{Sandbox, SandboxConfig};
use keywright_server::answer::Failure;
use keywright_server::mcp_client::{Client, ToolAnswer};
use owo_colors::OwoColorize as _;
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt as _;
use tokio::process::Command;

use super::serve::Signals;
use crate::app::App;
use crate::errors;
use crate::output::{Done, Output, print_line};
use crate::show::{count, field, items, number};

/// Watch the whole thing work on this machine: no account, no server, nothing left behind.
///
/// A sandbox provider and a broker start in a temporary home. An agent asks over MCP for a DNS key, policy allows it, and
/// the key goes straight into the embedded store. A small program uses it and is refused what the key may not do. A wider
/// ask waits for a human. At the end the audit log verifies.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Serve the review pages there as well, and let you decide about the last ask with a passkey in your browser.
    #[arg(long, value_name = "127.0.0.1:PORT")]
    listen: Option<SocketAddr>,
}

const PASSPHRASE: &str = "a passphrase for the demo only";

/// How long the demo waits for you.
const PATIENCE: Duration = Duration::from_secs(900);
/// The key about which you decide.
const YOURS: &str = "CF_TOKEN_CUSTOMERS";

pub(crate) async fn run(app: &App, args: Args) -> Done {
    let began = std::time::Instant::now();
    let folder = tempfile::Builder::new().prefix("keywright-demo-").tempdir();
    let folder = folder.map_err(|error| errors::file(&std::env::temp_dir(), &error))?;
    let sandbox = Sandbox::start(SandboxConfig::default()).await;
    let sandbox = sandbox.map_err(|error| Failure::new(Code::Internal, error.to_string()))?;
    let stage = Stage::new(folder.path(), &sandbox, (app.json, args.listen))?;
    let mut signals = Signals::listen()?;
    let played = tokio::select! {
        played = stage.play() => played,
        () = signals.next() => Err(Failure::new(Code::TryAgain, "the demo was ended")),
    };
    let took = began.elapsed();
    // Whoever has just approved something wants to see where it stands.
    if played.is_ok() && args.listen.is_some() && !app.json && std::io::stdin().is_terminal() {
        stage.line("look around: the pages are there until you press Enter");
        tokio::select! {
            _ = entered() => {}
            () = signals.next() => {}
        }
    }
    // Whatever happened on the stage, the broker does not stay behind.
    let stopped = stage.keywright(&["stop"], None).await;
    sandbox.shutdown().await;
    let facts = played?;
    stopped?;
    let text = format!(
        "\n{} in {:.1} s. Nothing is left behind.\nYour own first key: `keywright init`, then README.md.",
        "done".green().bold(),
        took.as_secs_f32()
    );
    Ok(Output::new(facts, text))
}

/// Somebody pressed Enter. On a thread of its own, which nobody waits for.
async fn entered() {
    let (pressed, is_pressed) = tokio::sync::oneshot::channel();
    std::thread::spawn(move || {
        let read = std::io::stdin().read_line(&mut String::new());
        let _ = pressed.send(read.is_ok());
    });
    let _ = is_pressed.await;
}

/// Where the demo plays: its own home, passphrase and working directory.
struct Stage<'a> {
    folder: &'a Path,
    program: PathBuf,
    sandbox: &'a Sandbox,
    quiet: bool,
    listen: Option<SocketAddr>,
}

impl<'a> Stage<'a> {
    fn new(
        folder: &'a Path,
        sandbox: &'a Sandbox,
        (quiet, listen): (bool, Option<SocketAddr>),
    ) -> Result<Self, Failure> {
        let program =
            std::env::current_exe().map_err(|error| errors::file(Path::new("keywright"), &error))?;
        let passphrase = folder.join("passphrase");
        std::fs::write(&passphrase, PASSPHRASE).map_err(|error| errors::file(&passphrase, &error))?;
        Ok(Self { folder, program, sandbox, quiet, listen })
    }

    async fn play(&self) -> Result<Value, Failure> {
        self.prepare().await?;
        self.act("2", "an agent asks over MCP, in its own process");
        let agent = Client::start(self.agent()).await?;
        let tools = agent.tools().await?;
        self.line(&format!("its tools: {}", tools.join(", ")));
        let receipt = self.ask_for_dns(&agent).await?;
        let (written, refused) = self.use_the_key().await?;
        let wider = self.ask_for_more(&agent).await?;
        let decided = match self.listen {
            Some(_) => Some(self.ask_you(&agent).await?),
            None => None,
        };
        agent.end().await;
        self.act("5", "the human audits");
        let is_yours = decided.as_ref().is_some_and(|answer| answer.get("status") == Some(&json!("active")));
        let key = if is_yours { YOURS } else { "CF_TOKEN" };
        let trace = self.keywright(&["audit", "trace", key], None).await?;
        self.fact("key", trace.pointer("/key/name"));
        self.fact("asked by", trace.pointer("/asked_by/name"));
        self.fact("because", trace.pointer("/purpose"));
        self.fact("decided by", trace.pointer("/decided_by/0"));
        for moment in items(&trace, "timeline").iter().filter(|it| it.get("signed") == Some(&json!(true))) {
            let (what, who, entry) = (field(moment, "what"), field(moment, "who"), field(moment, "entry"));
            self.line(&format!("{what}: {who}; the signature is in {entry}, and is checked again below"));
            let review = decided.as_ref().and_then(|answer| answer.get("review_url")).and_then(Value::as_str);
            if let Some((origin, _)) = review.and_then(|url| url.split_once("/r/")) {
                self.line(&format!("as a page: {origin}/audit/{entry}"));
            }
        }
        let verified = self.keywright(&["audit", "verify"], None).await?;
        self.line(&format!(
            "audit log: {}, every one verified",
            count(number(&verified, "entries"), "entry", "entries")
        ));
        Ok(json!({
            "schema": "keywright/demo/1", "receipt": receipt, "dns_write": written, "zone_list_refused": refused,
            "wider_ask": wider, "decided": decided, "audit": verified,
        }))
    }

    async fn prepare(&self) -> Result<(), Failure> {
        self.act("1", "an operator sets the guard rails, once");
        self.keywright(&["init", "--operator", "you", "--witness", "none", "--yes"], None).await?;
        let address = self.listen.map(|address| address.to_string());
        let mut serve = vec!["serve", "--detach"];
        serve.extend(address.iter().flat_map(|address| ["--listen", address.as_str()]));
        self.keywright(&serve, None).await?;
        let base = self.sandbox.base_url();
        let account = self.sandbox.account_id();
        let add =
            ["provider", "add", "cloudflare", "--name", "cf", "--account", account, "--base-url", &base];
        self.keywright(&add, Some(self.sandbox.parent_token())).await?;
        self.keywright(&["template", "apply", "cloudflare/dns-edit"], None).await?;
        self.keywright(&["agent", "add", "demo-agent", "--token-file", &self.path("agent.token")], None)
            .await?;
        self.line(
            "home, broker, one connection (the sandbox), template cloudflare/dns-edit, agent demo-agent",
        );
        Ok(())
    }

    async fn ask_for_dns(&self, agent: &Client) -> Result<Value, Failure> {
        let answer = agent.call("request_key", self.ask("dev", "CF_TOKEN")).await?;
        let receipt = expect(answer, "status", "active")?;
        self.line("policy allows it; the key went from the provider straight into the embedded store");
        self.line("all that the agent got back is a receipt:");
        self.fact("status", receipt.get("status"));
        self.fact("may", receipt.pointer("/permissions/0/name"));
        self.fact("on", receipt.pointer("/resources/0/name"));
        self.fact("until", receipt.get("expires_at"));
        self.fact("lies in", receipt.pointer("/placements/0/place"));
        self.fact("on record", receipt.get("entry"));
        Ok(receipt)
    }

    /// A program with the key in its environment: it may write DNS records of its zone and nothing else.
    async fn use_the_key(&self) -> Result<(u64, u64), Failure> {
        self.act("3", "a program uses the key: `keywright run -- program`");
        let zone = self.sandbox.zones().into_iter().find(|zone| zone.name == "example.com");
        let zone = zone.ok_or_else(|| Failure::new(Code::Internal, "the sandbox has no example.com"))?;
        let record = json!({ "type": "TXT", "name": "demo.example.com", "content": "\"hello\"", "ttl": 300 });
        let create = format!("/zones/{}/dns_records", zone.id);
        let written = self.program(["POST", &create, &record.to_string()]).await?;
        self.line(&format!("creates a TXT record on example.com -> {written}"));
        let purge = format!("/zones/{}/purge_cache", zone.id);
        let refused = self.program(["POST", &purge, r#"{"purge_everything":true}"#]).await?;
        self.line(&format!("tries to purge the cache -> {refused}, refused by the provider: the key can't"));
        if written != 200 || refused != 403 {
            return Err(Failure::new(Code::Internal, "the key did not do exactly what it should"));
        }
        Ok((written, refused))
    }

    async fn ask_for_more(&self, agent: &Client) -> Result<Value, Failure> {
        self.act("4", "the agent asks for the same in production");
        let answer = agent.call("request_key", self.ask("production", "CF_TOKEN_PROD")).await?;
        let receipt = expect(answer, "status", "pending_approval")?;
        self.fact("status", receipt.get("status"));
        self.fact("operators needed", receipt.pointer("/approvals/needed"));
        self.fact("match code", receipt.get("match_code"));
        self.line("it waits for humans; no tool of the agent can approve it");
        Ok(receipt)
    }

    /// An ask that one person decides about: you, on the review pages. The agent polls until you have.
    async fn ask_you(&self, agent: &Client) -> Result<Value, Failure> {
        let answer = agent.call("request_key", self.ask("customers", YOURS)).await?;
        let receipt = expect(answer, "status", "pending_approval")?;
        let link = self.keywright(&["passkey", "add", "--name", "demo"], None).await?;
        self.line("one more ask, and it is yours: an environment that no policy knows needs one person.");
        self.line("make a passkey first: open this, and type the code (once, within five minutes):");
        self.fact("passkey", link.get("url"));
        self.fact("code", link.get("code"));
        self.line("then look at what the agent asks for, and approve it with a touch:");
        self.fact("review", receipt.get("review_url"));
        self.fact("match code", receipt.get("match_code"));
        self.line(&format!("(where the page wants a passphrase, it is: {PASSPHRASE})"));
        let request = receipt.get("request").cloned().unwrap_or_default();
        let began = std::time::Instant::now();
        loop {
            tokio::time::sleep(Duration::from_millis(500)).await;
            let answer = agent.call("check_request", json!({ "request": request })).await?.content;
            let status = answer.get("status").and_then(Value::as_str).unwrap_or_default();
            if status != "pending_approval" && status != "in_progress" {
                self.fact("the agent sees", answer.get("status"));
                return Ok(answer);
            }
            if began.elapsed() > PATIENCE {
                return Err(Failure::new(Code::TryAgain, "nobody decided within a quarter of an hour"));
            }
        }
    }

    fn ask(&self, environment: &str, name: &str) -> Value {
        json!({
            "template": "cloudflare/dns-edit", "parameters": { "zone": "example.com" }, "project": "demo",
            "environment": environment, "name": name, "purpose": "set a TXT record",
            "prompt": "please add a TXT record to example.com", "idempotency_key": name,
        })
    }

    fn agent(&self) -> Command {
        let mut command = Command::new(&self.program);
        command.args(["mcp", "--agent", "demo-agent", "--token-file"]).arg(self.folder.join("agent.token"));
        command.env("KEYWRIGHT_HOME", self.folder.join("home")).current_dir(self.folder);
        command
    }

    /// Runs one of our own commands, as a person would, and reads its JSON.
    async fn keywright(&self, arguments: &[&str], stdin: Option<&str>) -> Result<Value, Failure> {
        let mut command = Command::new(&self.program);
        command
            .args(arguments)
            .args(["--json", "--no-input", "--passphrase-file"])
            .arg(self.folder.join("passphrase"));
        command.env("KEYWRIGHT_HOME", self.folder.join("home")).current_dir(self.folder);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let broke = |error: &std::io::Error| errors::file(&self.program, error);
        let mut child = command.spawn().map_err(|error| broke(&error))?;
        if let (Some(mut pipe), Some(text)) = (child.stdin.take(), stdin) {
            pipe.write_all(text.as_bytes()).await.map_err(|error| broke(&error))?;
        }
        let output = child.wait_with_output().await.map_err(|error| broke(&error))?;
        let value: Value = serde_json::from_slice(&output.stdout).unwrap_or_default();
        if output.status.success() {
            return Ok(value);
        }
        let message = value.get("message").and_then(Value::as_str).unwrap_or("it gave no reason");
        Err(Failure::new(Code::Internal, format!("`keywright {}` failed: {message}", arguments.join(" "))))
    }

    /// Runs a program with the key in its environment and returns the provider's status code.
    async fn program(&self, request: [&str; 3]) -> Result<u64, Failure> {
        let mut command = Command::new(&self.program);
        command.args(["run", "--project", "demo", "--env", "dev", "--no-input", "--passphrase-file"]);
        command
            .arg(self.folder.join("passphrase"))
            .arg("--")
            .arg(&self.program)
            .arg(super::demo_program::WORD)
            .args(request);
        command.arg(self.sandbox.base_url()).env("KEYWRIGHT_HOME", self.folder.join("home"));
        let output = command.output().await.map_err(|error| errors::file(&self.program, &error))?;
        let text = String::from_utf8_lossy(&output.stdout);
        text.trim().parse().map_err(|_| {
            let said = String::from_utf8_lossy(&output.stderr);
            let said = keywright_core::text::Untrusted::capped(said.trim(), 300);
            Failure::new(Code::Internal, format!("the program did not run: {said}"))
        })
    }

    fn path(&self, name: &str) -> String {
        self.folder.join(name).display().to_string()
    }

    fn act(&self, number: &str, text: &str) {
        self.print(&format!("\n{} {}", format!("{number}.").cyan().bold(), text.bold()));
    }

    fn line(&self, text: &str) {
        self.print(&format!("   {text}"));
    }

    fn fact(&self, name: &str, value: Option<&Value>) {
        let text = match value {
            Some(Value::String(text)) => keywright_core::text::escaped(text),
            Some(other) => keywright_core::text::escaped(&other.to_string()),
            None => "-".to_owned(),
        };
        self.print(&format!("     {:<17}{}", name.dimmed(), text));
    }

    fn print(&self, line: &str) {
        if !self.quiet {
            // The last line of the demo finds out as well, and decides how it ends.
            let _ = print_line(line);
        }
    }
}

/// The structured content, if a field has the value that the demo is about.
fn expect(answer: ToolAnswer, field: &str, value: &str) -> Result<Value, Failure> {
    if answer.content.get(field).and_then(Value::as_str) == Some(value) {
        return Ok(answer.content);
    }
    let shown = keywright_core::text::Untrusted::capped(&answer.content.to_string(), 400);
    Err(Failure::new(Code::Internal, format!("expected {field} `{value}`, got {shown}")))
}
