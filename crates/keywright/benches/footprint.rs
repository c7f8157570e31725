//! How large the binary is, how fast it starts, and what a broker that waits takes of the memory:
//! `cargo bench -p keywright --bench footprint`.
//!
//! Floors of the same run: `/usr/bin/env true` for a start, and the passphrase function alone for a broker's start,
//! because stretching a passphrase is meant to take its time. The full home holds 10,000 policies, 10,000 keys, and every
//! catalog has been searched.
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a bench prints its figures")]

use std::collections::{BTreeMap, HashMap};
use std::fmt::Write as _;
use std::io::{BufRead as _, BufReader};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use keywright_broker::admin::NewConnection;
use keywright_broker::home::Home;
use keywright_broker::{Broker, Options};
use keywright_core::provider::Provider;
use keywright_core::receipt::Status;
use keywright_core::secret::Secret;
use keywright_sandbox::{Sandbox, SandboxConfig};
use keywright_testkit::{AtOnce, DNS_EDIT, World, ask};

const POLICIES: usize = 10_000;
const KEYS: usize = 10_000;
const AT_A_TIME: usize = 64;

fn main() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let binary = PathBuf::from(env!("CARGO_BIN_EXE_keywright"));
    let pass = dir.path().join("pass");
    std::fs::write(&pass, World::passphrase().expose_secret()).unwrap();
    std::fs::set_permissions(&pass, std::fs::Permissions::from_mode(0o600)).unwrap();

    let size = std::fs::metadata(&binary).unwrap().len();
    println!("the binary");
    println!(
        "  size                       {:8.1} MB (goal: at most 20, stripped)",
        f64::from(u32::try_from(size / 1_000).unwrap()) / 1_000.0
    );
    let floor = p50(60, || run(Command::new("/usr/bin/env").arg("true")));
    println!("a start, p50");
    println!("  /usr/bin/env true          {:8.1} ms", millis(floor));
    for args in [&["--version"][..], &["catalog", "search", "edit a dns record"]] {
        let time = p50(30, || run(Command::new(&binary).args(args).stdout(Stdio::null())));
        let ratio = millis(time) / millis(floor);
        println!(
            "  {:<26} {:8.1} ms   {ratio:.1} of it (goal: first answer within 20 ms)",
            args.join(" "),
            millis(time)
        );
    }

    let empty = dir.path().join("empty");
    runtime.block_on(fill(&empty, 0, 0));
    let full = dir.path().join("full");
    runtime.block_on(fill(&full, POLICIES, KEYS));
    let stretch = p50(5, || unlock(&runtime, &empty));
    println!("a broker: from its start until the socket accepts, and what it takes while it waits");
    println!(
        "  opening a home in process  {:8.1} ms (nearly all of it the passphrase function)",
        millis(stretch)
    );
    for (what, home, goal) in [("an empty home", &empty, 20), ("a full home", &full, 64)] {
        let started = Instant::now();
        let broker = Serving::start(&binary, home, &pass);
        let ready = started.elapsed();
        broker.search(&binary, home, &pass);
        println!(
            "  {what:<16} ready after {:8.1} ms, resident {:6.1} MiB (goal: at most {goal} MiB)",
            millis(ready),
            broker.resident_mib()
        );
    }
}

/// A broker in a process of its own; it ends with the value.
struct Serving(Child);

impl Serving {
    fn start(binary: &Path, home: &Path, pass: &Path) -> Self {
        let mut child = Command::new(binary)
            .args(["serve", "--json", "--passphrase-file"])
            .arg(pass)
            .env("KEYWRIGHT_HOME", home)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        assert!(line.contains("\"serving\":true"), "{line}");
        Self(child)
    }

    /// Has it list its keys and decide one request, so that whatever it loads when first needed is loaded.
    fn search(&self, binary: &Path, home: &Path, pass: &Path) {
        let request = "key request cloudflare/dns-edit --project web --env dev --name ONE_MORE --param zone=example.com --dry-run";
        for line in ["key list --json", request] {
            let mut command = Command::new(binary);
            command.args(line.split(' ')).arg("--passphrase-file").arg(pass).env("KEYWRIGHT_HOME", home);
            // The provider of the full home is gone; that the ask was decided about is all that counts.
            let _ = command.stdout(Stdio::null()).stderr(Stdio::null()).status().unwrap();
        }
    }

    fn resident_mib(&self) -> f64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.0.id())).unwrap();
        let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
        line.split_whitespace().nth(1).unwrap().parse::<f64>().unwrap() / 1_024.0
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Makes a home with so many policies and keys.
async fn fill(path: &Path, policies: usize, keys: usize) {
    let sandbox = Sandbox::start(SandboxConfig::default()).await.unwrap();
    let operator = "ana".parse().unwrap();
    drop(Home::at(path).init(&operator, World::passphrase(), Arc::new(jiff::Timestamp::now)).await.unwrap());
    let mut options = Options::at(Home::at(path));
    let provider: Arc<dyn Provider> = Arc::new(AtOnce::default());
    options.providers = HashMap::from([("cf".parse().unwrap(), provider)]);
    let broker = Broker::open(options, World::passphrase()).await.unwrap();
    let ana = broker.operator(None, World::passphrase()).await.unwrap();
    broker.apply_policy(&ana, &text_of(policies)).await.unwrap();
    broker.apply_template(&ana, DNS_EDIT).await.unwrap();
    let new = NewConnection {
        name: "cf".parse().unwrap(),
        kind: "cloudflare".parse().unwrap(),
        base_url: Some(sandbox.base_url()),
        account: Some(sandbox.account_id().to_owned()),
        extra: BTreeMap::new(),
        credential: Secret::new(sandbox.parent_token().to_owned()),
    };
    broker.add_connection(&ana, new).await.unwrap();
    let mut next = 0;
    while next < keys {
        let group: Vec<_> = (next..keys.min(next + AT_A_TIME)).map(|number| mint(&broker, number)).collect();
        next += group.len();
        for task in group {
            task.await.unwrap();
        }
    }
    broker.publish_audit().await.unwrap();
}

fn mint(broker: &Arc<Broker>, number: usize) -> tokio::task::JoinHandle<()> {
    let broker = Arc::clone(broker);
    tokio::spawn(async move {
        let agent = World::agent(&format!("agent-{number}"));
        let wish = ask("example.com", &format!("KEY_{number}"));
        let receipt = broker.request(&agent, &wish, Duration::from_secs(60)).await.unwrap();
        assert_eq!(receipt.status, Status::Active);
    })
}

/// Policies as they grow in a team: one a job, and a rule for all.
fn text_of(policies: usize) -> String {
    let mut text = "permit (principal, action, resource);\n".to_owned();
    for number in 0..policies {
        writeln!(
            text,
            "@id(\"grant-{number}\") permit (principal == Keywright::Agent::\"agent-{}\", action == \
             Keywright::Action::\"mint\", resource == Keywright::Template::\"cf/job-{}\") when {{ context.ttl_seconds <= 7776000 }};",
            number % 100,
            number / 3
        )
        .unwrap();
    }
    text
}

fn unlock(runtime: &tokio::runtime::Runtime, home: &Path) {
    drop(runtime.block_on(Broker::open(Options::at(Home::at(home)), World::passphrase())).unwrap());
}

fn run(command: &mut Command) {
    assert!(command.status().unwrap().success());
}

fn p50(times: usize, mut work: impl FnMut()) -> Duration {
    let mut all: Vec<Duration> = (0..times)
        .map(|_| {
            let start = Instant::now();
            work();
            start.elapsed()
        })
        .collect();
    all.sort_unstable();
    all.get(times / 2).copied().unwrap_or_default()
}

fn millis(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}
