//! The provider, the stores, the clock, and the broker's lives. The broker runs on a runtime of its own, on one thread: with that
//! it dies at whatever it waits for.

use std::future::Future;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use keywright_broker::admin::{NewConnection, NewStore};
use keywright_broker::ask::Ask;
use keywright_broker::auth::Proven;
use keywright_broker::home::Home;
use keywright_broker::{Broker, Options};
use keywright_core::secret::Secret;
use keywright_ledger::Location;
use keywright_sandbox::vendors::{self, Running};
use keywright_sandbox::{Fault, FaultKind, Sandbox, SandboxConfig};
use keywright_testkit::{DNS_EDIT, Database, TestClock, World, ask};
use tokio::runtime::Runtime;

use crate::deed::{Moment, SLOTS, Slot};

/// How long a version has to be quiet before it ends.
pub(crate) const QUIET: i64 = 3_600;

/// How long a verb may take, its tasks included.
const PATIENCE: Duration = Duration::from_secs(120);
const ROTATION: &str =
    "[rotation]\nevery = \"20d\"\nquiet_for = \"1h\"\nmax_overlap = \"2d\"\non_unknowable = \"ask\"\n";
const BO: &str = "a second correct horse battery staple";

pub(crate) struct House {
    pub(crate) sandbox: Sandbox,
    pub(crate) clock: TestClock,
    pub(crate) home: PathBuf,
    pub(crate) folder: PathBuf,
    pub(crate) operators: Arc<Vec<Proven>>,
    /// A file as it was before its last change, by slot.
    pub(crate) before: [Option<String>; SLOTS],
    pub(crate) database: Option<Database>,
    pub(crate) asked: u32,
    gate: Running,
    _vault: Running,
    life: Option<Life>,
    /// Where everything runs that outlives the broker.
    around: Runtime,
    _dir: tempfile::TempDir,
}

struct Life {
    broker: Arc<Broker>,
    runtime: Runtime,
}

impl Life {
    fn begin(home: &std::path::Path, clock: &TestClock) -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let options =
            Options { clock: clock.as_clock(), steady: clock.as_steady(), ..Options::at(Home::at(home)) };
        let broker = runtime.block_on(Broker::open(options, World::passphrase()));
        Self { broker: broker.expect("the broker opens its home"), runtime }
    }

    /// Whatever it does ends where it waits; what the ledger is writing just now is written.
    fn end(self) {
        let weak = Arc::downgrade(&self.broker);
        drop(self.runtime);
        drop(self.broker);
        while weak.strong_count() > 0 {
            std::thread::sleep(Duration::from_millis(1));
        }
    }
}

impl House {
    pub(crate) fn new() -> Self {
        let around =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let dir = tempfile::tempdir().unwrap();
        let (home, folder) = (dir.path().join("home"), dir.path().join("app"));
        std::fs::create_dir(&folder).unwrap();
        let clock = TestClock::default();
        let (sandbox, gate, vault) = around.block_on(async {
            let sandbox = Sandbox::start(SandboxConfig::default()).await.unwrap();
            (sandbox, vendors::start("doppler").await.unwrap(), vendors::start("vault").await.unwrap())
        });
        let database = Database::wanted();
        let location = match &database {
            None => Location::File(home.join("ledger.db")),
            Some(server) => Location::Server(Box::new(server.url().parse().unwrap())),
        };
        let ana = "ana".parse().unwrap();
        around.block_on(async {
            let home = Home::at(&home);
            drop(home.init_with(&location, &ana, World::passphrase(), clock.as_clock()).await.unwrap());
        });
        let life = Life::begin(&home, &clock);
        let broker = Arc::clone(&life.broker);
        let operators = life.runtime.block_on(async {
            let ana = broker.operator(None, World::passphrase()).await.unwrap();
            broker.apply_default_policy(&ana).await.unwrap();
            let new = NewConnection {
                name: "cf".parse().unwrap(),
                kind: "cloudflare".parse().unwrap(),
                base_url: Some(sandbox.base_url()),
                account: Some(sandbox.account_id().to_owned()),
                extra: [("probe_for", "1s"), ("requests_per_minute", "1000000")]
                    .map(|(name, value)| (name.to_owned(), value.to_owned()))
                    .into(),
                credential: Secret::new(sandbox.parent_token().to_owned()),
            };
            broker.add_connection(&ana, new).await.unwrap();
            for (name, kind, running) in [("gate", "doppler", &gate), ("vault", "vault", &vault)] {
                let new = NewStore {
                    name: name.parse().unwrap(),
                    kind: kind.parse().unwrap(),
                    address: Some(running.base_url.clone()),
                    extra: std::collections::BTreeMap::new(),
                    credential: Some(Secret::new(running.parent.clone())),
                };
                broker.add_store(&ana, new).await.unwrap();
            }
            let open = DNS_EDIT.replace("\"dotenv:*\"", "\"dotenv:*\", \"gate:*\", \"vault:*\"");
            broker.apply_template(&ana, &format!("{open}{ROTATION}")).await.unwrap();
            broker.add_operator(&ana, &"bo".parse().unwrap(), Secret::new(BO.to_owned())).await.unwrap();
            let bo = broker.operator(Some(&"bo".parse().unwrap()), Secret::new(BO.to_owned())).await.unwrap();
            vec![ana, bo]
        });
        drop(broker);
        Self {
            sandbox,
            clock,
            home,
            folder,
            operators: Arc::new(operators),
            before: Default::default(),
            database,
            asked: 0,
            gate,
            _vault: vault,
            life: Some(life),
            around,
            _dir: dir,
        }
    }

    pub(crate) fn broker(&self) -> Arc<Broker> {
        Arc::clone(&self.life.as_ref().unwrap().broker)
    }

    pub(crate) fn now(&self) -> Timestamp {
        (self.clock.as_clock())()
    }

    /// The ask behind a slot's key. The third is of production, and two have to approve it.
    pub(crate) fn ask(&mut self, slot: Slot) -> Ask {
        self.asked += 1;
        let name = name(slot);
        let environment = environment(slot);
        let embedded = format!("embedded:web/{environment}/{name}");
        let file = format!("dotenv:./{name}.env#{name}");
        let destinations = match slot {
            0 => vec![embedded],
            1 => vec![file, embedded],
            2 => vec![file],
            3 => vec![format!("vault:secret/apps/{}#{name}", name.to_lowercase()), embedded],
            _ => vec![format!("gate:web/gated#{name}"), embedded],
        };
        Ask {
            environment: environment.to_owned(),
            destinations,
            cwd: Some(self.folder.display().to_string()),
            idempotency_key: Some(format!("ask-{}", self.asked)),
            ..ask("example.com", &name)
        }
    }

    pub(crate) fn file(&self, slot: Slot) -> PathBuf {
        self.folder.join(format!("{}.env", name(slot)))
    }

    pub(crate) fn text_of(&self, slot: Slot) -> String {
        std::fs::read_to_string(self.file(slot)).unwrap_or_default()
    }

    pub(crate) fn write_file(&mut self, slot: Slot, text: &str) {
        use std::os::unix::fs::OpenOptionsExt as _;
        self.before[slot] = Some(self.text_of(slot));
        let mut options = std::fs::OpenOptions::new();
        let mut file =
            options.write(true).create(true).truncate(true).mode(0o600).open(self.file(slot)).unwrap();
        std::io::Write::write_all(&mut file, text.as_bytes()).unwrap();
    }

    /// Has the broker do something, to its end, however many tasks that takes.
    pub(crate) fn run<T>(&self, deed: impl Future<Output = T>) -> T {
        self.run_until(deed, std::future::pending()).unwrap()
    }

    fn run_until<T>(&self, deed: impl Future<Output = T>, end: impl Future<Output = ()>) -> Option<T> {
        let life = self.life.as_ref().unwrap();
        life.runtime.block_on(async {
            let whole = async {
                let done = deed.await;
                // Each task of the broker holds it.
                let patience = tokio::time::Instant::now() + PATIENCE;
                while Arc::strong_count(&life.broker) > 1 {
                    assert!(tokio::time::Instant::now() < patience, "the broker does not come to rest");
                    tokio::time::sleep(Duration::from_millis(1)).await;
                }
                done
            };
            tokio::select! { biased; () = end => None, done = whole => Some(done) }
        })
    }

    /// Has the broker do something until it dies, and another one opens its home. The answer, if it came first.
    pub(crate) fn run_and_die<T>(&mut self, deed: impl Future<Output = T>, moment: Moment) -> Option<T> {
        let done = match moment {
            Moment::Commits(most) => {
                let mut commits = self.life.as_ref().unwrap().broker.commits();
                let first = *commits.borrow_and_update();
                let reached = async move {
                    while *commits.borrow_and_update() - first < most {
                        if commits.changed().await.is_err() {
                            std::future::pending::<()>().await;
                        }
                    }
                };
                self.run_until(deed, reached)
            }
            Moment::Call { nth, took_effect } => {
                let hang = Fault {
                    method: None,
                    ..Fault::on("GET", "/**", FaultKind::Hang { commit: took_effect })
                };
                let id = self.sandbox.inject(hang.skipping(nth)).unwrap();
                let reached = async {
                    while self.sandbox.fault_hits(id) == 0 {
                        tokio::time::sleep(Duration::from_millis(1)).await;
                    }
                };
                let done = self.run_until(deed, reached);
                let others: Vec<_> =
                    self.sandbox.faults().into_iter().filter(|f| f.id != id && f.fault.count > 0).collect();
                self.sandbox.clear_faults();
                for other in others {
                    self.sandbox.inject(other.fault).unwrap();
                }
                done
            }
        };
        self.restart();
        done
    }

    pub(crate) fn restart(&mut self) {
        self.life.take().unwrap().end();
        self.life = Some(Life::begin(&self.home, &self.clock));
    }

    /// Time passes, for the provider as for the broker.
    pub(crate) fn pass(&self, seconds: i64) {
        let by = SignedDuration::from_secs(seconds);
        self.clock.advance(by);
        self.sandbox.advance_clock(by.unsigned_abs());
    }

    /// A call that the keys are for; whether the provider let it through.
    pub(crate) fn call(&self, secret: &str) -> bool {
        let zone = self.sandbox.zones()[0].id.clone();
        let url = format!("{}/zones/{zone}/dns_records", self.sandbox.base_url());
        let name = format!("n{}.example.com", self.sandbox.calls().last().map_or(0, |call| call.number));
        let body = serde_json::json!({ "type": "TXT", "name": name, "content": "\"here\"", "ttl": 60 });
        self.around.block_on(async {
            let sent = reqwest::Client::new().post(url).bearer_auth(secret).json(&body).send().await.unwrap();
            sent.status().is_success()
        })
    }

    pub(crate) fn people(&self, approve: bool) {
        let deed = if approve { "approve" } else { "reject" };
        let url = format!("{}/_standin/{deed}", self.gate.base_url);
        self.around.block_on(async { reqwest::Client::new().post(url).send().await.unwrap() });
    }
}

impl Drop for House {
    fn drop(&mut self) {
        if let Some(life) = self.life.take() {
            life.end();
        }
    }
}

pub(crate) fn name(slot: Slot) -> String {
    format!("KEY_{slot}")
}

pub(crate) fn environment(slot: Slot) -> &'static str {
    if slot == 2 { "production" } else { "dev" }
}

/// As operators name it.
pub(crate) fn full(slot: Slot) -> String {
    format!("web/{}/{}", environment(slot), name(slot))
}

/// Whether a copy lies in a file.
pub(crate) fn has_file(slot: Slot) -> bool {
    matches!(slot, 1 | 2)
}

/// Whether a copy lies in the embedded store.
pub(crate) fn is_embedded(slot: Slot) -> bool {
    slot != 2
}
