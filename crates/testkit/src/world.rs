//! A whole world: a sandbox provider, a home, a broker with one connection and one template.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use keywright_broker::admin::NewConnection;
use keywright_broker::ask::Ask;
use keywright_broker::auth::Proven;
use keywright_broker::home::Home;
use keywright_broker::record::Caller;
use keywright_broker::{Broker, Options};
use keywright_core::name::{AgentName, OperatorName};
use keywright_core::plan::Principal;
use keywright_core::receipt::Receipt;
use keywright_core::secret::Secret;
use keywright_ledger::seal::SlotCost;
use keywright_ledger::{Ledger, LedgerError, Location};
use keywright_sandbox::{Sandbox, SandboxConfig};

use crate::TestClock;
use crate::database::Database;

/// A template for DNS editing whose zones are constrained.
pub const DNS_EDIT: &str = r#"
id = "cloudflare/dns-edit"
title = "Edit the DNS records of one zone"
provider = "cloudflare"
tier = "standard"
permissions = ["DNS Write"]
operations = ["POST /zones/{zone_id}/dns_records"]
[parameters.zone]
kind = "cloudflare.zone"
allow = ["example.com", "*.example.com"]
[limits]
ttl_default = "30d"
ttl_max = "90d"
destinations = ["embedded:*", "dotenv:*"]
"#;

/// A sandbox provider, a home, and a broker that is connected.
pub struct World {
    /// The provider.
    pub sandbox: Sandbox,
    /// The broker.
    pub broker: Arc<Broker>,
    /// Its time.
    pub clock: TestClock,
    /// Where the home is.
    pub home: PathBuf,
    has_triggers: bool,
    witness: Option<PathBuf>,
    _dir: tempfile::TempDir,
}

pub(crate) const PASSPHRASE: &str = "correct horse battery staple";

/// What the passphrases of tests are stretched with: next to nothing, which nobody should use for anything else. How long
/// it takes is looked at where it is what a test is about.
pub const CHEAP: SlotCost = SlotCost { memory_kib: 64, passes: 1, lanes: 1 };

impl World {
    /// Makes the world: operator `ana`, connection `cf`, template `cloudflare/dns-edit`, the default policy.
    pub async fn new() -> Self {
        Self::with_settings(&[]).await
    }

    /// As below, in a ledger whose triggers run.
    pub async fn with_triggers(settings: &[(&str, &str)]) -> Self {
        Self::make(settings, true, false).await
    }

    /// As above, with settings for the connection, as in `probe_for`.
    pub async fn with_settings(settings: &[(&str, &str)]) -> Self {
        Self::make(settings, false, false).await
    }

    /// As above, with a copy of the audit log's head in a second place.
    pub async fn with_witness() -> Self {
        Self::make(&[], false, true).await
    }

    async fn make(settings: &[(&str, &str)], has_triggers: bool, has_witness: bool) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let home = dir.path().join("home");
        let sandbox = Sandbox::start(SandboxConfig::default()).await.unwrap();
        let clock = TestClock::default();
        let operator = OperatorName::parse("ana").unwrap();
        let server = Database::wanted();
        let location = match &server {
            None => Location::File(home.join("ledger.db")),
            Some(server) => Location::Server(Box::new(server.url().parse().unwrap())),
        };
        let new = Home::at(&home).stretching(CHEAP);
        drop(new.init_with(&location, &operator, passphrase(), clock.as_clock()).await.unwrap());
        let witness = has_witness.then(|| dir.path().join("witness"));
        let broker = open(&home, &clock, has_triggers, witness.clone()).await;
        let world = Self { sandbox, broker, clock, home, has_triggers, witness, _dir: dir };
        let ana = world.ana().await;
        world.broker.apply_default_policy(&ana).await.unwrap();
        world.broker.apply_template(&ana, DNS_EDIT).await.unwrap();
        let new = NewConnection {
            name: "cf".parse().unwrap(),
            kind: "cloudflare".parse().unwrap(),
            base_url: Some(world.sandbox.base_url()),
            account: Some(world.sandbox.account_id().to_owned()),
            extra: settings.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect(),
            credential: Secret::new(world.sandbox.parent_token().to_owned()),
        };
        world.broker.add_connection(&ana, new).await.unwrap();
        world
    }

    /// The operator, with passphrase.
    pub async fn ana(&self) -> Proven {
        self.broker.operator(None, passphrase()).await.unwrap()
    }

    /// An operator's passphrase as a secret.
    #[must_use]
    pub fn passphrase() -> Secret {
        passphrase()
    }

    /// An agent as a caller; no token is needed behind the door.
    #[must_use]
    pub fn agent(name: &str) -> Caller {
        Caller::plain(Principal::Agent(AgentName::parse(name).unwrap()))
    }

    /// Asks as agent `bot` and waits for the outcome.
    pub async fn request(&self, ask: &Ask) -> Result<Receipt, keywright_broker::BrokerError> {
        self.broker.request(&Self::agent("bot"), ask, Duration::from_secs(20)).await
    }

    /// Where the ledger is.
    #[must_use]
    pub fn location(&self) -> Location {
        Home::at(&self.home).location().unwrap()
    }

    /// The broker dies without a word and another one opens the home.
    pub async fn restart(self) -> Self {
        self.closed().await.opened().await
    }

    /// The broker dies without a word; its home is there to be looked at and changed.
    pub async fn closed(self) -> Closed {
        let Self { sandbox, broker, clock, home, has_triggers, witness, _dir } = self;
        // Tasks that still hold the broker end with their sagas; the lock is free once the last one is gone.
        let weak = Arc::downgrade(&broker);
        drop(broker);
        while weak.strong_count() > 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        // It lets go of the home last.
        while Home::at(&home).lock().is_err() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        Closed { sandbox, clock, home, has_triggers, witness, dir: _dir }
    }

    /// Lets an hour pass in steps, and has the broker do what becomes due.
    pub async fn settle(&self) {
        for _ in 0..9 {
            self.clock.advance(jiff::SignedDuration::from_secs(400));
            self.broker.tick().await.unwrap();
        }
    }
}

/// A world whose broker is gone.
pub struct Closed {
    sandbox: Sandbox,
    clock: TestClock,
    home: PathBuf,
    has_triggers: bool,
    witness: Option<PathBuf>,
    dir: tempfile::TempDir,
}

impl Closed {
    /// The ledger's file, whole: nothing is left in its write-ahead log.
    #[must_use]
    pub fn ledger(&self) -> PathBuf {
        self.home.join("ledger.db")
    }

    /// Another broker opens the home.
    pub async fn opened(self) -> World {
        let Self { sandbox, clock, home, has_triggers, witness, dir } = self;
        let broker = open(&home, &clock, has_triggers, witness.clone()).await;
        World { sandbox, broker, clock, home, has_triggers, witness, _dir: dir }
    }

    /// The home's directory.
    #[must_use]
    pub fn home(&self) -> &std::path::Path {
        &self.home
    }

    /// The directory of the second place.
    #[must_use]
    pub fn witness(&self) -> Option<&std::path::Path> {
        self.witness.as_deref()
    }

    /// Takes a copy of the whole home.
    pub fn copy(&self, name: &str) -> PathBuf {
        let copy = self.dir.path().join(name);
        copy_all(&self.home, &copy);
        copy
    }

    /// Puts a copy of the whole home in its place.
    pub fn put_back(&self, copy: &std::path::Path) {
        std::fs::remove_dir_all(&self.home).unwrap();
        copy_all(copy, &self.home);
    }
}

/// An ask for a DNS key of one zone.
#[must_use]
pub fn ask(zone: &str, name: &str) -> Ask {
    Ask {
        template: "cloudflare/dns-edit".to_owned(),
        parameters: BTreeMap::from([("zone".to_owned(), zone.to_owned())]),
        project: "web".to_owned(),
        environment: "dev".to_owned(),
        name: name.to_owned(),
        purpose: "update a TXT record".to_owned(),
        ..Ask::default()
    }
}

/// Unlocks a ledger that a test reads from outside, as the broker does on its start.
pub async fn unlock(ledger: &Ledger, operator: &str, passphrase: &Secret) {
    let name = OperatorName::parse(operator).unwrap();
    let (slot, instance) =
        ledger.read(|tx| Ok::<_, LedgerError>((tx.slot(&name)?, tx.instance()?.unwrap()))).await.unwrap();
    ledger.unlock(&slot.unlock(passphrase).unwrap().master.keyring(instance));
}

fn passphrase() -> Secret {
    Secret::new(PASSPHRASE.to_owned())
}

fn copy_all(from: &std::path::Path, to: &std::path::Path) {
    let copied = std::process::Command::new("cp").arg("-a").arg(from).arg(to).status().unwrap();
    assert!(copied.success());
}

async fn open(
    home: &std::path::Path,
    clock: &TestClock,
    has_triggers: bool,
    witness: Option<PathBuf>,
) -> Arc<Broker> {
    let options = Options {
        clock: clock.as_clock(),
        steady: clock.as_steady(),
        has_triggers,
        witness,
        ..Options::at(Home::at(home))
    };
    Broker::open(options, passphrase()).await.expect("the broker opens its home")
}
