//! A home with keys in it, a provider of its own, and the way back to how it was.

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::Arc;

use keywright_broker::home::Home;
use keywright_core::audit::{Deed as Audited, Principal, Record, Stage, Who};
use keywright_core::name::OperatorName;
use keywright_core::secret::Secret;
use keywright_ledger::seal::SlotCost;
use keywright_ledger::{Ledger, LedgerError, OperatorKeys, Tx};
use keywright_sandbox::{KeptTokens, Sandbox, SandboxConfig};
use keywright_testkit::{Database, unlock};
use tempfile::TempDir;

use crate::consumer::Api;
use crate::front::{Deed, Engine, mint};

const PASSPHRASE: &str = "four-words-or-more";
/// Memory, where there is some: what is looked at is processes that die, not a disk that is slow.
const MEMORY: &str = "/dev/shm";

const TEMPLATE: &str = r#"
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

/// How the house is before a deed.
struct Kept {
    files: PathBuf,
    tokens: KeptTokens,
    database: Option<Database>,
    /// How many attempts were on record.
    attempts: usize,
}

/// The house of one worker.
pub(crate) struct House {
    pub(crate) sandbox: Sandbox,
    pub(crate) runtime: tokio::runtime::Runtime,
    binary: PathBuf,
    database: Option<Database>,
    /// Two keys that live.
    quiet: Option<Kept>,
    /// And a mint that died after the provider answered.
    interrupted: Option<Kept>,
    dir: TempDir,
}

impl House {
    pub(crate) fn new(binary: &Path, engine: Engine) -> Self {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let sandbox = runtime.block_on(Sandbox::start(SandboxConfig::default())).unwrap();
        let mut builder = tempfile::Builder::new();
        builder.prefix("kw");
        let dir =
            if Path::new(MEMORY).is_dir() { builder.tempdir_in(MEMORY) } else { builder.tempdir() }.unwrap();
        let database = (engine == Engine::Postgres).then(|| Database::where_there_is_one().unwrap());
        let mut house = Self {
            sandbox,
            runtime,
            binary: binary.to_owned(),
            database,
            quiet: None,
            interrupted: None,
            dir,
        };
        house.build();
        house
    }

    fn build(&mut self) {
        std::fs::create_dir(self.live()).unwrap();
        self.secret("pass", PASSPHRASE);
        self.secret("parent", self.sandbox.parent_token());
        std::fs::write(self.live().join(".env"), "# by hand\nOTHER='keep me'\n").unwrap();
        let url = self.database.as_ref().map(Database::url);
        let ledger = url.as_deref().map_or(vec![], |url| vec!["--ledger", url]);
        // The home is put back to what it was for each point, which a second place would notice.
        self.ok(&[&["init", "--operator", "alice", "--witness", "none"], ledger.as_slice()].concat());
        self.hasten();
        let (base, account) = (self.sandbox.base_url(), self.sandbox.account_id());
        let parent = self.path("parent");
        let add =
            ["provider", "add", "cloudflare", "--name", "cf", "--account", account, "--base-url", &base];
        let set = ["--credential-file", parent.to_str().unwrap(), "--set", "use_lag=1s"];
        self.ok(&[&add[..], &set].concat());
        std::fs::write(self.path("template.toml"), TEMPLATE).unwrap();
        self.ok(&["template", "apply", self.path("template.toml").to_str().unwrap()]);
        for name in ["BYSTANDER", "OLD"] {
            let (sealed, file) = (format!("embedded:web/dev/{name}"), format!("dotenv:./.env#{name}"));
            self.ok_words(&mint(name, &[&sealed, &file]));
        }
        self.quiet = Some(self.keep("quiet", None));
        let words = mint("INTERRUPTED", &["embedded:web/dev/INTERRUPTED", "dotenv:./.env#INTERRUPTED"]);
        let mut dies = self.operator(&words);
        let died = dies.env("KEYWRIGHT_CRASH_AT", "mint.answered").output().unwrap();
        assert_eq!(died.status.code(), None, "{}", String::from_utf8_lossy(&died.stderr));
        self.interrupted = Some(self.keep("interrupted", self.quiet.as_ref()));
    }

    fn keep(&self, name: &str, before: Option<&Kept>) -> Kept {
        let files = self.path(name);
        copy(&self.live(), &files);
        let database = self.database.as_ref().map(|database| match before {
            None => database.copy(),
            Some(Kept { database: Some(before), .. }) => {
                let another = before.copy();
                another.become_like(database);
                another
            }
            Some(_) => unreachable!("a house has one kind of ledger"),
        });
        // What died is not looked at: whoever recovers it is the binary.
        let attempts = before.map_or_else(|| self.attempts(), |before| before.attempts);
        Kept { files, tokens: self.sandbox.keep_tokens(), database, attempts }
    }

    /// Makes everything as it was before the deed.
    pub(crate) fn reset(&self, deed: Deed) {
        let kept = self.kept(deed);
        std::fs::remove_dir_all(self.live()).unwrap();
        copy(&kept.files, &self.live());
        self.sandbox.put_back_tokens(&kept.tokens);
        if let (Some(database), Some(kept)) = (&self.database, &kept.database) {
            database.become_like(kept);
        }
    }

    /// What the siege has to notice: keys are at the provider as they were before the deed, and the audit log's head is cut.
    pub(crate) fn spoil(&self, deed: Deed) {
        self.sandbox.put_back_tokens(&self.kept(deed).tokens);
        std::fs::write(self.live().join("home/audit/head"), "cut").unwrap();
    }

    fn kept(&self, deed: Deed) -> &Kept {
        let kept = if deed == Deed::Reconcile { &self.interrupted } else { &self.quiet };
        kept.as_ref().expect("the house was built")
    }

    /// How many attempts there are on record beside those that there were before the deed. The one that was interrupted
    /// counts as one: its create was before.
    pub(crate) fn attempts_since(&self, deed: Deed) -> usize {
        let before = self.kept(deed).attempts + usize::from(deed == Deed::Reconcile);
        self.attempts().saturating_sub(before)
    }

    fn attempts(&self) -> usize {
        let filter =
            keywright_ledger::AuditFilter { limit: 1_000, ..keywright_ledger::AuditFilter::default() };
        self.read(move |tx| {
            let mut count = 0;
            for entry in tx.audit_entries(&filter)? {
                let entry = entry.entry()?;
                let record = entry.record();
                let is_attempt = matches!(record.deed, Audited::KeyMint | Audited::KeyRotate);
                count += usize::from(is_attempt && record.stage == Stage::Intent);
            }
            Ok(count)
        })
        .unwrap()
    }

    /// Where the deeds happen.
    pub(crate) fn live(&self) -> PathBuf {
        self.path("live")
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Where keys are used.
    pub(crate) fn api(&self) -> Api {
        let url = self.sandbox.base_url();
        let (host, base) = url.trim_start_matches("http://").split_once('/').unwrap();
        let zone = self.sandbox.zones().into_iter().find(|zone| zone.name == "example.com").unwrap();
        Api { address: host.parse().unwrap(), path: format!("/{base}/zones/{}/dns_records", zone.id) }
    }

    /// The binary in this home, as nobody.
    pub(crate) fn command(&self, words: &[String]) -> Command {
        let mut command = Command::new(&self.binary);
        for name in ["KEYWRIGHT_LOG", "KEYWRIGHT_CRASH_AT", "XDG_DATA_HOME", "CREDENTIALS_DIRECTORY"] {
            command.env_remove(name);
        }
        command.env("KEYWRIGHT_HOME", self.live().join("home")).current_dir(self.live()).args(words);
        command.stdin(Stdio::null());
        command
    }

    /// As an operator.
    pub(crate) fn operator(&self, words: &[String]) -> Command {
        let pass = self.path("pass").to_string_lossy().into_owned();
        let head = ["--no-input".to_owned(), "--passphrase-file".to_owned(), pass];
        self.command(&[&head[..], words].concat())
    }

    fn ok(&self, words: &[&str]) {
        self.ok_words(&words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>());
    }

    fn ok_words(&self, words: &[String]) {
        let Output { status, stdout, stderr } = self.operator(words).output().unwrap();
        let said = [stdout, stderr].concat();
        assert!(status.success(), "{words:?}: {}", String::from_utf8_lossy(&said));
    }

    fn secret(&self, name: &str, text: &str) {
        std::fs::write(self.path(name), format!("{text}\n")).unwrap();
        std::fs::set_permissions(self.path(name), std::fs::Permissions::from_mode(0o600)).unwrap();
    }

    /// Reads the ledger, after the binary itself opened what a crash left.
    pub(crate) fn read<T: Send + 'static>(
        &self,
        reading: impl FnOnce(&Tx<'_>) -> Result<T, LedgerError> + Send + 'static,
    ) -> Result<T, LedgerError> {
        let ledger = self.ledger();
        self.runtime.block_on(async {
            unlock(&ledger, "alice", &Secret::new(PASSPHRASE.to_owned())).await;
            ledger.read(reading).await
        })
    }

    fn ledger(&self) -> Ledger {
        let location = Home::at(self.live().join("home")).location().unwrap();
        Ledger::open(&location, Arc::new(jiff::Timestamp::now)).unwrap()
    }

    /// Wraps the operator's keys anew at a cost that nobody should use: thousands of processes start here, and how long a
    /// passphrase takes is not what is looked at.
    fn hasten(&self) {
        let cheap = SlotCost { memory_kib: 64, passes: 1, lanes: 1 };
        let (name, passphrase): (OperatorName, _) =
            ("alice".parse().unwrap(), Secret::new(PASSPHRASE.to_owned()));
        let ledger = self.ledger();
        self.runtime.block_on(unlock(&ledger, name.as_str(), &passphrase));
        let of = name.clone();
        let slot = self.runtime.block_on(ledger.read(move |tx| tx.slot(&of))).unwrap();
        // Not in the transaction: it takes long, and a server ends one in which nothing happens.
        let unlocked = slot.unlock(&passphrase).unwrap();
        let keys =
            OperatorKeys::seal(&name, &passphrase, &unlocked.master, Some(&unlocked.signing), cheap).unwrap();
        let written = ledger.write(move |tx| {
            let instance = tx.instance()?.ok_or(LedgerError::Damaged { what: "instance" })?;
            let mac = tx.rewrap_operator(&name, &keys, &unlocked.master.keyring(instance))?;
            // On record as a change of passphrase, or the row would count for nothing.
            let who = Who::new(Principal::Operator, name.as_str());
            let mut record = Record::new(tx.now(), Audited::PassphraseChange, Stage::Note, who);
            record.subject.name = Some(name.to_string());
            record.facts.insert("digest".to_owned(), mac.to_string().into());
            tx.audit(record).map(drop)
        });
        self.runtime.block_on(written).unwrap_or_else(|error: LedgerError| panic!("{error}"));
    }
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    std::fs::set_permissions(to, std::fs::metadata(from).unwrap().permissions()).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let (kind, to) = (entry.file_type().unwrap(), to.join(entry.file_name()));
        if kind.is_dir() {
            copy(&entry.path(), &to);
        } else if kind.is_file() {
            std::fs::copy(entry.path(), to).unwrap();
        }
    }
}
