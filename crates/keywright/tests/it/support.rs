//! A home, a sandbox, and the binary.

use std::cell::RefCell;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};
use std::sync::Arc;

use keywright_broker::home::Home;
use keywright_core::secret::Secret;
use keywright_ledger::Location;
use keywright_sandbox::{Sandbox, SandboxConfig, ZoneSpec};
use keywright_testkit::{CHEAP, Canaries};
use serde_json::Value;
use tempfile::TempDir;

/// The passphrase of `alice`.
pub(crate) const PASSPHRASE: &str = "four-words-or-more-canary";
/// The passphrase of `bob`.
pub(crate) const BOBS: &str = "another-set-of-words-canary";

/// A home, a sandbox, and everything that the binary ever printed.
pub(crate) struct World {
    dir: TempDir,
    sandbox: RefCell<Option<Sandbox>>,
    runtime: tokio::runtime::Runtime,
    printed: RefCell<Vec<u8>>,
}

/// What one run of the binary came to.
pub(crate) struct Ran {
    pub(crate) code: i32,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl Ran {
    /// Standard output as JSON.
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.out).unwrap_or_else(|e| panic!("{e}: {}{}", self.out, self.err))
    }

    /// Checks the exit code, and shows everything when it is another one.
    pub(crate) fn expect(self, code: i32) -> Self {
        assert_eq!(self.code, code, "stdout: {}\nstderr: {}", self.out, self.err);
        self
    }
}

impl From<Output> for Ran {
    fn from(output: Output) -> Self {
        Self {
            code: output.status.code().unwrap_or(-1),
            out: String::from_utf8_lossy(&output.stdout).into_owned(),
            err: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }
}

/// A command line of the binary that touches nothing of the machine's own.
pub(crate) fn bare() -> Command {
    let mut command = Command::new(assert_cmd::cargo::cargo_bin!("keywright"));
    for name in
        ["KEYWRIGHT_HOME", "KEYWRIGHT_LOG", "KEYWRIGHT_CRASH_AT", "XDG_DATA_HOME", "CREDENTIALS_DIRECTORY"]
    {
        command.env_remove(name);
    }
    command.env("XDG_STATE_HOME", env!("CARGO_TARGET_TMPDIR")).stdin(Stdio::null());
    command
}

impl World {
    /// A sandbox and no home yet.
    pub(crate) fn empty() -> Self {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        let mut config = SandboxConfig::default();
        // One that an e of another alphabet has look like the first.
        config.accounts[0].zones.push(ZoneSpec { id: None, name: "xn--xample-2of.com".to_owned() });
        let sandbox = runtime.block_on(Sandbox::start(config)).unwrap();
        let world = Self {
            dir: tempfile::Builder::new().prefix("kw").tempdir().unwrap(),
            sandbox: RefCell::new(Some(sandbox)),
            runtime,
            printed: RefCell::default(),
        };
        world.secret("pass", PASSPHRASE);
        world.secret("bobs", BOBS);
        world.secret("parent", &world.parent());
        world
    }

    /// A home with a connection and a template in force.
    pub(crate) fn ready() -> Self {
        let world = Self::empty();
        world.init();
        world.connect();
        world.ok(&["template", "apply", "cloudflare/dns-edit"]);
        world
    }

    /// As `keywright init` does it, with a passphrase that takes no time: what a test runs opens it again and again.
    pub(crate) fn init(&self) {
        let location = match keywright_testkit::Database::wanted() {
            Some(database) => Location::Server(Box::new(database.url().parse().unwrap())),
            None => Location::File(self.home().join("ledger.db")),
        };
        let (home, clock) = (Home::at(self.home()).stretching(CHEAP), Arc::new(jiff::Timestamp::now));
        let (name, passphrase) = ("alice".parse().unwrap(), Secret::new(PASSPHRASE.to_owned()));
        drop(self.runtime.block_on(home.init_with(&location, &name, passphrase, clock)).unwrap());
        Home::at(self.home()).set_witness(&self.path("witness")).unwrap();
        self.ok(&["policy", "apply", "--default"]);
    }

    pub(crate) fn connect(&self) {
        self.connect_with(&[]);
    }

    /// As above, with settings of the connection, as in `--set use_lag=1s`.
    pub(crate) fn connect_with(&self, settings: &[&str]) {
        let (url, account) = (self.url(), self.account());
        let parent = self.path("parent");
        let add = [
            "provider",
            "add",
            "cloudflare",
            "--name",
            "cf",
            "--account",
            &account,
            "--base-url",
            &url,
            "--credential-file",
            parent.to_str().unwrap(),
        ];
        self.ok(&[&add, settings].concat());
    }

    pub(crate) fn home(&self) -> PathBuf {
        self.dir.path().join("home")
    }

    #[allow(dead_code, reason = "not every test binary that shares this file asks for it")]
    pub(crate) fn dir(&self) -> &std::path::Path {
        self.dir.path()
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Writes a file.
    pub(crate) fn file(&self, name: &str, text: &str) -> String {
        std::fs::write(self.path(name), text).unwrap();
        self.path(name).to_str().unwrap().to_owned()
    }

    /// Writes a file that only its owner reads.
    pub(crate) fn secret(&self, name: &str, text: &str) -> String {
        let path = self.file(name, &format!("{text}\n"));
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
        path
    }

    pub(crate) fn with_sandbox<T>(&self, ask: impl FnOnce(&Sandbox) -> T) -> T {
        ask(self.sandbox.borrow().as_ref().unwrap())
    }

    /// Ends the sandbox: the provider is gone.
    pub(crate) fn lose_provider(&self) {
        let sandbox = self.sandbox.borrow_mut().take().unwrap();
        self.runtime.block_on(sandbox.shutdown());
    }

    pub(crate) fn url(&self) -> String {
        self.with_sandbox(Sandbox::base_url)
    }

    pub(crate) fn account(&self) -> String {
        self.with_sandbox(|s| s.account_id().to_owned())
    }

    pub(crate) fn parent(&self) -> String {
        self.with_sandbox(|s| s.parent_token().to_owned())
    }

    /// How many keys of ours live at the provider.
    pub(crate) fn live_keys(&self) -> usize {
        self.with_sandbox(|s| s.live_tokens_named_like("kw-").len())
    }

    /// The binary in this home, without a passphrase.
    pub(crate) fn command(&self, args: &[&str]) -> Command {
        let mut command = bare();
        command.env("KEYWRIGHT_HOME", self.home()).current_dir(self.dir.path()).args(args);
        command
    }

    /// Runs it without a passphrase.
    pub(crate) fn plain(&self, args: &[&str]) -> Ran {
        self.keep(self.command(args).output().unwrap())
    }

    /// Runs it as alice.
    pub(crate) fn alice(&self, args: &[&str]) -> Ran {
        self.keep(self.command(&as_operator(args, self.path("pass").to_str().unwrap())).output().unwrap())
    }

    /// Runs it as bob.
    pub(crate) fn bob(&self, args: &[&str]) -> Ran {
        self.keep(self.command(&as_operator(args, self.path("bobs").to_str().unwrap())).output().unwrap())
    }

    /// Runs several command lines, without a passphrase, in one terminal session of their own.
    pub(crate) fn in_one_session(&self, lines: &[&[&str]]) -> Vec<Ran> {
        let session = tempfile::tempdir_in(self.dir.path()).unwrap();
        let mut script = String::new();
        for (line, args) in lines.iter().enumerate() {
            assert!(!args.iter().any(|word| word.contains('\'')), "it would end the quotation");
            let words: String = args.iter().map(|word| format!(" '{word}'")).collect();
            script.push_str(&format!("\"$0\"{words} >{line}.out 2>{line}.err; echo $? >{line}.code\n"));
        }
        let mut command = Command::new("setsid");
        command.args(["--wait", "sh", "-c", &script]).arg(assert_cmd::cargo::cargo_bin!("keywright"));
        command.env("KEYWRIGHT_HOME", self.home()).current_dir(session.path()).stdin(Stdio::null());
        assert!(command.status().unwrap().success());
        let read = |line: usize, what: &str| {
            std::fs::read_to_string(session.path().join(format!("{line}.{what}"))).unwrap()
        };
        (0..lines.len())
            .map(|line| Ran {
                code: read(line, "code").trim().parse().unwrap(),
                out: read(line, "out"),
                err: read(line, "err"),
            })
            .collect()
    }

    /// Runs it as alice with `--json`, and it must go well.
    pub(crate) fn ok(&self, args: &[&str]) -> Value {
        let mut args = args.to_vec();
        args.insert(0, "--json");
        self.alice(&args).expect(0).json()
    }

    /// Asks for a key that policy allows.
    pub(crate) fn key(&self, name: &str) -> Value {
        self.ok(&request(name, "dev", &[]))
    }

    /// Everything that was printed so far must be free of secrets.
    pub(crate) fn assert_nothing_leaked(&self) {
        let mut secrets = self.with_sandbox(Sandbox::secret_values);
        secrets.extend([PASSPHRASE.to_owned(), BOBS.to_owned()]);
        for folder in ["agents", "workloads"] {
            let Ok(tokens) = std::fs::read_dir(self.home().join(folder)) else { continue };
            secrets.extend(
                tokens.map(|t| std::fs::read_to_string(t.unwrap().path()).unwrap().trim().to_owned()),
            );
        }
        let canaries = Canaries::new(secrets);
        canaries.absent_from("what was printed", &self.printed.borrow());
        if let Ok(log) = std::fs::read(self.home().join("broker.log")) {
            canaries.absent_from("the broker's log", &log);
        }
        for entry in std::fs::read_dir(self.home()).unwrap().flatten() {
            if entry.file_type().unwrap().is_file() {
                canaries
                    .absent_from(&entry.path().display().to_string(), &std::fs::read(entry.path()).unwrap());
            }
        }
    }

    fn keep(&self, output: Output) -> Ran {
        let mut printed = self.printed.borrow_mut();
        printed.extend(&output.stdout);
        printed.extend(&output.stderr);
        output.into()
    }
}

/// The words of a request for `example.com`.
pub(crate) fn request<'a>(name: &'a str, env: &'a str, more: &[&'a str]) -> Vec<&'a str> {
    let mut args = vec![
        "key",
        "request",
        "cloudflare/dns-edit",
        "--project",
        "web",
        "--env",
        env,
        "--name",
        name,
        "--param",
        "zone=example.com",
    ];
    args.extend(more);
    args
}

/// Puts the passphrase before a `--`, where options end.
pub(crate) fn as_operator<'a>(args: &[&'a str], file: &'a str) -> Vec<&'a str> {
    let mut all = vec!["--no-input", "--passphrase-file", file];
    all.extend(args);
    all
}

/// A broker in the background of a test; killed when the test ends.
pub(crate) struct Serving(pub(crate) std::process::Child);

impl Serving {
    /// Starts `serve` and waits until it says that it is ready.
    pub(crate) fn start(world: &World) -> Self {
        Self::with(world, &[]).0
    }

    /// As above, with more words; and what it said.
    pub(crate) fn with(world: &World, more: &[&str]) -> (Self, Value) {
        use std::io::BufRead as _;
        let pass = world.path("pass");
        let mut command = world.command(&["serve", "--json", "--passphrase-file", pass.to_str().unwrap()]);
        command.args(more);
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::inherit()).spawn().unwrap();
        let mut line = String::new();
        std::io::BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let ready: Value = serde_json::from_str(&line).unwrap();
        assert_eq!(ready["serving"], true, "{ready}");
        (Self(child), ready)
    }

    pub(crate) fn signal(&self, name: &str) {
        let pid = self.0.id().to_string();
        assert!(Command::new("kill").args([&format!("-{name}"), &pid]).status().unwrap().success());
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
