//! A home, a sandbox, two operators, an agent and a `.env` file; and the ledger, read from outside.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::process::Output;
use std::time::{Duration, Instant};

use keywright_broker::home::Home;
use keywright_core::audit::{Deed, Principal, Record, Stage, Who};
use keywright_core::key::{Key, Version};
use keywright_core::name::{KeyName, OperatorName};
use keywright_core::secret::Secret;
use keywright_ledger::{Ledger, LedgerError, OperatorKeys, Request, Tx};
use keywright_sandbox::{Fault, FaultKind};
use keywright_testkit::{CHEAP, Canaries, unlock};

use crate::support::{BOBS, PASSPHRASE, Ran, World};

/// What lies in the `.env` file before anything is asked, and stays in it whatever happens.
const BY_HAND: &str = "# by hand\nOTHER='keep me'\n";

/// Where the consumer writes what it is told.
const TOLD: &str = "told";

/// The longest that anything is waited for. Nothing is asserted about how long it takes.
const PATIENCE: Duration = Duration::from_secs(60);

/// The template of the scenarios: as it ships, and with a drain that takes a moment.
const QUICK: &str = r#"
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
destinations = ["embedded:*", "dotenv:*"]
[rotation]
every = "20d"
quiet_for = "1s"
max_overlap = "1d"
"#;

/// A template whose keys may live so long that somebody has to approve an agent's request.
const LONG: &str = r#"
id = "cloudflare/dns-long"
title = "Edit the DNS records of one zone, for long"
provider = "cloudflare"
tier = "standard"
permissions = ["DNS Write"]
[parameters.zone]
kind = "cloudflare.zone"
[limits]
ttl_default = "120d"
ttl_max = "180d"
destinations = ["embedded:*", "dotenv:*"]
"#;

/// Where a key goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Destination {
    Embedded,
    Dotenv,
    Both,
}

impl Destination {
    pub(crate) fn is_embedded(self) -> bool {
        self != Self::Dotenv
    }

    pub(crate) fn is_dotenv(self) -> bool {
        self != Self::Embedded
    }

    /// As `--to` and `destinations` take it.
    pub(crate) fn places(self, env: &str, name: &str) -> Vec<String> {
        let embedded = self.is_embedded().then(|| format!("embedded:web/{env}/{name}"));
        let dotenv = self.is_dotenv().then(|| format!("dotenv:./.env#{name}"));
        embedded.into_iter().chain(dotenv).collect()
    }
}

/// Everything that a scenario happens in.
pub(crate) struct House {
    pub(crate) world: World,
    /// Everything that processes printed which died or were ended.
    overheard: RefCell<Vec<u8>>,
    /// Variables of the `.env` file that somebody else set.
    foreign: RefCell<BTreeMap<String, String>>,
    runtime: tokio::runtime::Runtime,
}

impl House {
    pub(crate) fn new() -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let world = World::empty();
        world.init();
        world.connect_with(&["--set", "use_lag=1s"]);
        let quick = world.file("quick.toml", QUICK);
        world.ok(&["template", "apply", &quick]);
        world.file(".env", BY_HAND);
        let tell = format!("echo $KEYWRIGHT_NAME $KEYWRIGHT_ID >> {}", world.path(TOLD).display());
        world.ok(&["consumer", "add", "app", "--project", "web", "--command", "/bin/sh", "-c", &tell]);
        Self { world, overheard: RefCell::default(), foreign: RefCell::default(), runtime }
    }

    /// As above, with bob as the second operator.
    pub(crate) fn with_bob() -> Self {
        let house = Self::new();
        let bobs = house.world.path("bobs");
        house.world.ok(&["operator", "add", "bob", "--new-passphrase-file", bobs.to_str().unwrap()]);
        hasten(&house.world, &house.runtime, "bob", BOBS);
        house
    }

    /// As [`House::new`], with an agent and a template that needs an approval.
    pub(crate) fn with_agent() -> Self {
        let house = Self::new();
        let long = house.world.file("long.toml", LONG);
        house.world.ok(&["template", "apply", &long]);
        house.world.ok(&["agent", "add", "builder"]);
        house
    }

    /// Reads the ledger. Only after the binary itself opened what a crash left, so that it is the one that recovers it.
    pub(crate) fn read<T: Send + 'static>(
        &self,
        reading: impl FnOnce(&Tx<'_>) -> Result<T, LedgerError> + Send + 'static,
    ) -> T {
        let ledger = open(&self.world);
        self.runtime
            .block_on(async {
                unlock(&ledger, "alice", &Secret::new(PASSPHRASE.to_owned())).await;
                ledger.read(reading).await
            })
            .unwrap()
    }

    /// The newest key of a name, the request behind it, and its versions.
    pub(crate) fn key(&self, name: &str) -> (Key, Request, Vec<Version>) {
        self.find_key(name).unwrap_or_else(|| panic!("there is no key {name}"))
    }

    fn find_key(&self, name: &str) -> Option<(Key, Request, Vec<Version>)> {
        let name = KeyName::parse(name).unwrap();
        self.read(move |tx| {
            let Some(key) = tx.keys_named(&name)?.into_iter().next() else { return Ok(None) };
            let (request, versions) = (tx.request(key.request)?, tx.versions(key.id)?);
            Ok(Some((key, request, versions)))
        })
    }

    /// Waits until a running broker has nothing under way and owes nothing, and the request for this key is settled.
    pub(crate) fn wait_until_settled(&self, name: &str) {
        wait_for(&format!("the broker has done all that is left of {name}"), || {
            let is_idle = self.read(|tx| Ok(tx.sagas_open()? == 0 && tx.revocations_owed()?.is_empty()));
            is_idle && self.find_key(name).is_some_and(|(_, request, _)| request.status.is_settled())
        });
    }

    pub(crate) fn inject(&self, method: &str, path: &str, kind: FaultKind, times: u32) {
        self.world.with_sandbox(|s| s.inject(Fault::on(method, path, kind).times(times))).unwrap();
    }

    /// Somebody sets a variable by hand, under the name of a key.
    pub(crate) fn set_by_hand(&self, name: &str) {
        let value = "set by somebody else".to_owned();
        std::fs::write(self.world.path(".env"), format!("{}{name}='{value}'\n", self.dotenv())).unwrap();
        self.foreign.borrow_mut().insert(name.to_owned(), value);
    }

    /// What somebody set by hand under this name.
    pub(crate) fn by_hand(&self, name: &str) -> Option<String> {
        self.foreign.borrow().get(name).cloned()
    }

    /// The text of the `.env` file.
    pub(crate) fn dotenv(&self) -> String {
        std::fs::read_to_string(self.world.path(".env")).unwrap()
    }

    /// What the consumer was told of a key: the ids of the news, one for each time.
    pub(crate) fn told(&self, name: &str) -> Vec<String> {
        let text = std::fs::read_to_string(self.world.path(TOLD)).unwrap_or_default();
        text.lines()
            .filter_map(|line| line.strip_prefix(name)?.strip_prefix(' '))
            .map(str::to_owned)
            .collect()
    }

    /// The value of a variable in the `.env` file.
    pub(crate) fn dotenv_value(&self, name: &str) -> Option<String> {
        let text = self.dotenv();
        let value = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix('='))?;
        Some(value.trim_matches(['\'', '"']).to_owned())
    }

    /// Whether everything that lay in the `.env` file beforehand still does, and its last line is whole.
    pub(crate) fn dotenv_is_whole(&self) -> bool {
        let text = self.dotenv();
        text.starts_with(BY_HAND) && text.ends_with('\n')
    }

    /// Keeps what was printed, for the search for secrets.
    pub(crate) fn hear(&self, output: &Output) {
        self.overhear(&output.stdout);
        self.overhear(&output.stderr);
    }

    pub(crate) fn overhear(&self, said: &[u8]) {
        self.overheard.borrow_mut().extend(said);
    }

    /// A file for what a process says on standard error; it takes part in the search for secrets.
    pub(crate) fn log(&self) -> std::fs::File {
        std::fs::File::options().create(true).append(true).open(self.world.path("said")).unwrap()
    }

    /// Runs a command of an operator.
    pub(crate) fn run(&self, pass: &str, args: &[&str]) -> Ran {
        let output = self.command(pass, args).output().unwrap();
        self.hear(&output);
        output.into()
    }

    pub(crate) fn command(&self, pass: &str, args: &[&str]) -> std::process::Command {
        self.talking(pass, &[&["--json"], args].concat())
    }

    /// The same in words.
    pub(crate) fn talking(&self, pass: &str, args: &[&str]) -> std::process::Command {
        let pass = self.world.path(pass);
        let head = ["--no-input", "--passphrase-file", pass.to_str().unwrap()];
        self.world.command(&[&head[..], args].concat())
    }

    /// Nothing that was printed and nothing in the home (the ledger, its WAL, the audit log) holds a secret in the
    /// clear.
    pub(crate) fn assert_nothing_leaked(&self) {
        let mut secrets = self.world.with_sandbox(keywright_sandbox::Sandbox::secret_values);
        assert!(secrets.len() > 2, "keys were made");
        secrets.push(PASSPHRASE.to_owned());
        let canaries = Canaries::new(secrets);
        canaries.absent_from("what dying processes printed", &self.overheard.borrow());
        if let Ok(log) = std::fs::read(self.world.path("said")) {
            canaries.absent_from("what brokers said", &log);
        }
        self.world.assert_nothing_leaked();
    }
}

/// Wraps an operator's keys anew at a cost that nobody should use: hundreds of processes start here, and how long the
/// passphrase takes is not what is looked at.
fn hasten(world: &World, runtime: &tokio::runtime::Runtime, name: &str, passphrase: &str) {
    let (name, passphrase): (OperatorName, _) = (name.parse().unwrap(), Secret::new(passphrase.to_owned()));
    let ledger = open(world);
    runtime.block_on(unlock(&ledger, name.as_str(), &passphrase));
    let written = ledger.write(move |tx| {
        let unlocked = tx.slot(&name)?.unlock(&passphrase)?;
        let keys = OperatorKeys::seal(&name, &passphrase, &unlocked.master, Some(&unlocked.signing), CHEAP)?;
        let instance = tx.instance()?.unwrap();
        let mac = tx.rewrap_operator(&name, &keys, &unlocked.master.keyring(instance))?;
        // On record as a change of passphrase, or the row would count for nothing.
        let who = Who::new(Principal::Operator, name.as_str());
        let mut record = Record::new(tx.now(), Deed::PassphraseChange, Stage::Note, who);
        record.subject.name = Some(name.to_string());
        record.facts.insert("digest".to_owned(), mac.to_string().into());
        tx.audit(record).map(drop)
    });
    runtime.block_on(written).unwrap_or_else(|error: LedgerError| panic!("{error}"));
}

fn open(world: &World) -> Ledger {
    let location = Home::at(world.home()).location().unwrap();
    Ledger::open(&location, std::sync::Arc::new(jiff::Timestamp::now)).unwrap()
}

/// Polls until it is so.
pub(crate) fn wait_for(what: &str, mut is_so: impl FnMut() -> bool) {
    let started = Instant::now();
    while !is_so() {
        assert!(started.elapsed() < PATIENCE, "waited in vain until {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}
