//! Several brokers, each with a home of its own, on one database.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use keywright_broker::admin::NewConnection;
use keywright_broker::ask::Ask;
use keywright_broker::home::Home;
use keywright_broker::{Broker, Options};
use keywright_core::receipt::Status;
use keywright_core::secret::Secret;
use keywright_ledger::Location;
use keywright_sandbox::{Sandbox, SandboxConfig};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;

use crate::database::Database;
use crate::world::{PASSPHRASE, World, ask};

/// A template whose keys are rotated, and whose old versions end a moment after nobody uses them.
pub const QUICK: &str = r#"
id = "cloudflare/dns-edit"
title = "Edit the DNS records of one zone"
provider = "cloudflare"
tier = "standard"
permissions = ["DNS Write"]
[parameters.zone]
kind = "cloudflare.zone"
[limits]
ttl_default = "30d"
ttl_max = "90d"
destinations = ["embedded:*"]
[rotation]
every = "20d"
quiet_for = "1s"
max_overlap = "1d"
"#;

/// Homes whose ledger is one database, and a provider.
pub struct Brokers {
    /// The provider.
    pub sandbox: Sandbox,
    /// The ledger.
    pub database: Database,
    dir: tempfile::TempDir,
    homes: usize,
}

impl Brokers {
    /// A provider, a database, a home that made its ledger and `others` that joined it. No broker runs.
    pub async fn new(database: Database, others: usize) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let config = SandboxConfig { account_token_quota: 100_000, ..SandboxConfig::default() };
        let sandbox = Sandbox::start(config).await.unwrap();
        let mut brokers = Self { sandbox, database, dir, homes: 1 };
        let location = brokers.location();
        let operator = "ana".parse().unwrap();
        let clock = || Arc::new(Timestamp::now);
        drop(brokers.home(0).init_with(&location, &operator, World::passphrase(), clock()).await.unwrap());
        let first = brokers.open(0).await;
        let ana = first.operator(None, World::passphrase()).await.unwrap();
        first.apply_default_policy(&ana).await.unwrap();
        first.apply_template(&ana, QUICK).await.unwrap();
        let new = NewConnection {
            name: "cf".parse().unwrap(),
            kind: "cloudflare".parse().unwrap(),
            base_url: Some(brokers.sandbox.base_url()),
            account: Some(brokers.sandbox.account_id().to_owned()),
            extra: BTreeMap::from([
                ("use_lag".to_owned(), "1s".to_owned()),
                ("requests_per_minute".to_owned(), "60000".to_owned()),
            ]),
            credential: Secret::new(brokers.sandbox.parent_token().to_owned()),
        };
        first.add_connection(&ana, new).await.unwrap();
        for _ in 0..others {
            let home = brokers.home(brokers.homes);
            home.join(&location, None, World::passphrase(), clock()).await.unwrap();
            brokers.homes += 1;
        }
        brokers
    }

    /// One of the homes.
    #[must_use]
    pub fn home(&self, number: usize) -> Home {
        Home::at(self.path(number))
    }

    /// Its directory.
    #[must_use]
    pub fn path(&self, number: usize) -> PathBuf {
        self.dir.path().join(format!("home{number}"))
    }

    /// A file with the operator's passphrase.
    #[must_use]
    pub fn passphrase_file(&self) -> PathBuf {
        let path = self.dir.path().join("passphrase");
        std::fs::write(&path, PASSPHRASE).unwrap();
        std::fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
        path
    }

    /// How many homes there are.
    #[must_use]
    pub fn homes(&self) -> usize {
        self.homes
    }

    /// Where the ledger is.
    #[must_use]
    pub fn location(&self) -> Location {
        Location::Server(Box::new(self.database.url().parse().unwrap()))
    }

    /// A broker on one of the homes.
    pub async fn open(&self, home: usize) -> Arc<Broker> {
        Broker::open(Options::at(self.home(home)), World::passphrase()).await.unwrap()
    }

    /// Makes keys, each for an agent of its own, so that no limit is reached.
    pub async fn mint(&self, broker: &Arc<Broker>, keys: usize) {
        let at_once = Arc::new(Semaphore::new(16));
        let mut mints = JoinSet::new();
        for number in 0..keys {
            let (broker, at_once) = (Arc::clone(broker), Arc::clone(&at_once));
            mints.spawn(async move {
                let _place = at_once.acquire().await.unwrap();
                let agent = World::agent(&format!("agent-{number}"));
                let ask: Ask = ask("example.com", &format!("KEY_{number}"));
                let receipt = broker.request(&agent, &ask, Duration::from_secs(60)).await.unwrap();
                assert_eq!(receipt.status, Status::Active, "{receipt:?}");
            });
        }
        mints.join_all().await;
    }

    /// Has all keys be due for their rotation.
    pub fn make_due(&self) {
        self.database.run("UPDATE keys SET rotate_at = 0");
    }

    /// A number that the database answers.
    #[must_use]
    pub fn count(&self, sql: &str) -> usize {
        self.database.run(sql).trim().parse().unwrap()
    }

    /// How many rotations are done.
    #[must_use]
    pub fn rotated(&self) -> usize {
        self.count("SELECT count(*) FROM sagas WHERE kind = 'rotate' AND phase = 'rotated'")
    }

    /// That each of `keys` keys was rotated exactly once and has one live credential, and that nothing else lives.
    pub fn assert_each_rotated_once(&self, keys: usize) {
        let of = |sql: &str| self.count(&format!("SELECT count(*) FROM {sql}"));
        assert_eq!(self.rotated(), keys);
        let ended = "SELECT phase, count(*), max(trouble) FROM sagas WHERE kind = 'rotate' GROUP BY phase";
        let begun = of("sagas WHERE kind = 'rotate'");
        assert_eq!(begun, keys, "no rotation was begun twice: {}", self.database.run(ended));
        assert_eq!(of("(SELECT key_id FROM versions WHERE state = 'active' GROUP BY key_id) k"), keys);
        assert_eq!(of("versions WHERE state = 'active'"), keys, "each key has one version in force");
        assert_eq!(of("versions WHERE state <> 'revoked'"), keys, "and the one before is gone");
        let mut live: Vec<String> =
            self.sandbox.live_tokens_named_like("kw-").into_iter().map(|token| token.id).collect();
        let owned = self.database.run("SELECT provider_key_id FROM versions WHERE state = 'active'");
        let mut owned: Vec<String> = owned.lines().map(str::to_owned).collect();
        live.sort_unstable();
        owned.sort_unstable();
        assert_eq!(live, owned, "what lives at the provider is what the ledger knows");
    }
}

/// Brokers that do what is due until they are told to stop.
pub struct Running {
    stop: watch::Sender<bool>,
    tasks: Vec<tokio::task::JoinHandle<()>>,
}

impl Running {
    /// Starts the schedules.
    #[must_use]
    pub fn start(brokers: &[Arc<Broker>]) -> Self {
        let (stop, stopped) = watch::channel(false);
        let tasks =
            brokers.iter().map(|broker| tokio::spawn(Arc::clone(broker).run_schedule(stopped.clone())));
        Self { tasks: tasks.collect(), stop }
    }

    /// Ends them.
    pub async fn stop(self) {
        let _ = self.stop.send(true);
        for task in self.tasks {
            task.await.unwrap();
        }
    }
}
