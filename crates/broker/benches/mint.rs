//! What a whole mint costs besides its provider: `cargo bench -p keywright-broker --bench mint`.
//!
//! The provider answers at once, so what is left is ours: parse, derive, decide, seal, place in the embedded store,
//! verify, and the commits that make each step durable. The floor is that number of commits, each as long as one row a
//! transaction takes in plain SQLite (WAL, `synchronous=FULL`) on the same disk in the same run; the goal is at most
//! twice the floor. A further figure shows the same mint through the adapter and the sandbox, over HTTP on loopback.
//!
//! With a server from `KEYWRIGHT_POSTGRES_SYNC=on scripts/postgres start DIR`, DIR on the same disk, the same is measured with the
//! ledger on PostgreSQL, beside one row a transaction there.
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a bench prints its figures")]

use std::collections::{BTreeMap, HashMap};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use keywright_broker::admin::NewConnection;
use keywright_broker::home::Home;
use keywright_broker::{Broker, Options};
use keywright_core::provider::Provider;
use keywright_core::receipt::Status;
use keywright_core::secret::Secret;
use keywright_ledger::Location;
use keywright_sandbox::{Sandbox, SandboxConfig};
use keywright_testkit::{AtOnce, DNS_EDIT, Database, World, ask};
use rusqlite::Connection;

const ROUNDS: usize = 10;
const A_ROUND: usize = 30;
/// Few enough for the provider's own rate limit, which the adapter keeps.
const THROUGH_HTTP: usize = 2;

#[tokio::main]
async fn main() {
    // Where the build is, which is on a disk; the system's temporary directory often is not.
    let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let sandbox = Sandbox::start(SandboxConfig::default()).await.unwrap();
    let file = |name: &str| Location::File(dir.path().join(name).join("ledger.db"));
    let near = open(&dir.path().join("near"), &file("near"), &sandbox, true).await;
    let far = open(&dir.path().join("far"), &file("far"), &sandbox, false).await;
    let database = std::env::var_os("KEYWRIGHT_TEST_POSTGRES").and_then(|_| Database::where_there_is_one());
    let server = match &database {
        None => None,
        Some(database) => {
            let location = Location::Server(Box::new(database.url().parse().unwrap()));
            let broker = open(&dir.path().join("server"), &location, &sandbox, true).await;
            Some((broker, PlainServer::new(&database.url()).await))
        }
    };
    let plain = Plain::new(&dir.path().join("plain.db"));
    let needed = commits_of_one(&near).await;
    let (mut commits, mut mints, mut through_http) = (Vec::new(), Vec::new(), Vec::new());
    let (mut server_commits, mut server_mints) = (Vec::new(), Vec::new());
    for round in 0..ROUNDS {
        for _ in 0..A_ROUND {
            let start = Instant::now();
            plain.write();
            commits.push(start.elapsed());
        }
        for number in 0..A_ROUND {
            mints.push(mint(&near, &format!("NEAR_{round}_{number}")).await);
        }
        if let Some((broker, plain)) = &server {
            for number in 0..A_ROUND {
                let start = Instant::now();
                plain.write().await;
                server_commits.push(start.elapsed());
                server_mints.push(mint(broker, &format!("SERVER_{round}_{number}")).await);
            }
        }
        for number in 0..THROUGH_HTTP {
            through_http.push(mint(&far, &format!("FAR_{round}_{number}")).await);
        }
    }
    let (commit, mint, through_http) = (p50(commits), p50(mints), p50(through_http));
    let floor = commit * f64::from(needed);
    println!("a whole mint, p50");
    println!("  one plain commit           {commit:8.1} us");
    println!("  the {needed} commits it needs    {floor:8.1} us");
    println!(
        "  at a provider that answers at once {mint:8.1} us   {:.2} of the floor (goal: at most 2)",
        mint / floor
    );
    println!("  through the adapter, sandbox on loopback {through_http:8.1} us");
    if server.is_some() {
        let (commit, on_server) = (p50(server_commits), p50(server_mints));
        let floor = commit * f64::from(needed);
        println!("with the ledger on PostgreSQL, over a socket");
        println!("  one plain commit           {commit:8.1} us");
        println!("  the {needed} commits it needs    {floor:8.1} us");
        println!(
            "  at a provider that answers at once {on_server:8.1} us   {:.2} of the floor",
            on_server / floor
        );
        println!("                                                 {:.2} of SQLite", on_server / mint);
    }
}

/// Asks for one key and waits until it is in force.
async fn mint(broker: &Arc<Broker>, name: &str) -> Duration {
    let start = Instant::now();
    // A name of its own as the agent: nobody reaches a limit.
    let agent = World::agent(&name.to_lowercase().replace('_', "-"));
    let receipt = broker.request(&agent, &ask("example.com", name), Duration::from_secs(20)).await.unwrap();
    assert_eq!(receipt.status, Status::Active);
    start.elapsed()
}

/// How many commits one mint makes when nothing else happens.
async fn commits_of_one(broker: &Arc<Broker>) -> u32 {
    mint(broker, "WARM_UP").await;
    let mut commits = broker.commits();
    let before = *commits.borrow_and_update();
    mint(broker, "COUNTED").await;
    u32::try_from(*commits.borrow_and_update() - before).unwrap()
}

async fn open(path: &Path, ledger: &Location, sandbox: &Sandbox, at_once: bool) -> Arc<Broker> {
    let clock = Arc::new(jiff::Timestamp::now);
    let operator = "ana".parse().unwrap();
    drop(Home::at(path).init_with(ledger, &operator, World::passphrase(), clock).await.unwrap());
    let mut options = Options::at(Home::at(path));
    if at_once {
        let provider: Arc<dyn Provider> = Arc::new(AtOnce::default());
        options.providers = HashMap::from([("cf".parse().unwrap(), provider)]);
    }
    let broker = Broker::open(options, World::passphrase()).await.unwrap();
    let ana = broker.operator(None, World::passphrase()).await.unwrap();
    broker.apply_default_policy(&ana).await.unwrap();
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
    broker
}

struct Plain(Connection);

impl Plain {
    fn new(path: &Path) -> Self {
        let connection = Connection::open(path).unwrap();
        connection.pragma_update(None, "journal_mode", "WAL").unwrap();
        connection.pragma_update(None, "synchronous", "FULL").unwrap();
        connection
            .execute_batch("CREATE TABLE log (number INTEGER PRIMARY KEY, text TEXT NOT NULL)")
            .unwrap();
        Self(connection)
    }

    fn write(&self) {
        let mut insert = self.0.prepare_cached("INSERT INTO log (text) VALUES (?1)").unwrap();
        insert.execute(["x".repeat(1_000)]).unwrap();
    }
}

struct PlainServer(tokio_postgres::Client, tokio_postgres::Statement);

impl PlainServer {
    async fn new(url: &str) -> Self {
        let (client, connection) = tokio_postgres::connect(url, tokio_postgres::NoTls).await.unwrap();
        tokio::spawn(connection);
        client
            .batch_execute("CREATE SCHEMA plain; CREATE TABLE plain.log (text TEXT NOT NULL)")
            .await
            .unwrap();
        let insert = client.prepare("INSERT INTO plain.log (text) VALUES ($1)").await.unwrap();
        Self(client, insert)
    }

    async fn write(&self) {
        self.0.execute(&self.1, &[&"x".repeat(1_000)]).await.unwrap();
    }
}

fn p50(mut times: Vec<Duration>) -> f64 {
    times.sort_unstable();
    times.get(times.len() / 2).map_or(0.0, |time| time.as_secs_f64() * 1e6)
}
