//! A home with everything planted in it, and a broker that serves it and tells all that it does.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::Value;

use crate::search::Search;
use crate::support::{BOBS, PASSPHRASE, Ran, Serving, World, request};

/// A world in which every sort of secret exists: the connection's credential, a key that lives, two operators'
/// passphrases, the tokens of an agent and of a workload.
pub(crate) struct Ground {
    pub(crate) world: World,
    serving: Option<Serving>,
    /// Where the pages are, in a world that has some.
    pub(crate) origin: String,
    listens: bool,
}

impl Ground {
    /// Operators `alice` and `bob`, agent `builder`, workload `reader`, a template in force, and the key `LIVE`, served.
    pub(crate) fn new() -> Self {
        Self::made(false)
    }

    /// The same, with the review pages.
    pub(crate) fn with_pages() -> Self {
        Self::made(true)
    }

    fn made(listens: bool) -> Self {
        let world = World::empty();
        world.init();
        let mut ground = Self { world, serving: None, origin: String::new(), listens };
        ground.serve();
        let world = &ground.world;
        ground.connect();
        world.ok(&["template", "apply", "cloudflare/dns-edit"]);
        world.ok(&["operator", "add", "bob", "--new-passphrase-file", world.path("bobs").to_str().unwrap()]);
        world.ok(&["agent", "add", "builder"]);
        world.ok(&["workload", "add", "reader", "--project", "web"]);
        world.key("LIVE");
        ground
    }

    /// Connects to the sandbox, at a pace that no test has to wait for.
    fn connect(&self) {
        let (url, account, parent) = (self.world.url(), self.world.account(), self.world.path("parent"));
        let start = ["provider", "add", "cloudflare", "--name", "cf", "--set", "requests_per_minute=1000000"];
        let start = [&start[..], &["--set", "probe_for=1s"]].concat();
        let rest = ["--account", &account, "--base-url", &url, "--credential-file", parent.to_str().unwrap()];
        self.world.ok(&[&start[..], &rest].concat());
    }

    /// Starts the broker in the foreground; what it says goes to a file.
    pub(crate) fn serve(&mut self) {
        let pass = self.world.path("pass");
        let pages: &[&str] = if self.listens { &["--listen", "127.0.0.1:0"] } else { &[] };
        let start = ["serve", "--json", "--passphrase-file", pass.to_str().unwrap()];
        let mut command = self.world.command(&[&start[..], pages].concat());
        let log = fs::File::options().create(true).append(true).open(self.talk_path()).unwrap();
        command.env("KEYWRIGHT_LOG", "trace").stdout(Stdio::piped()).stderr(log);
        let mut child = command.spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let ready: Value = serde_json::from_str(&line).unwrap_or_else(|_| {
            panic!("{line}{}", fs::read_to_string(self.talk_path()).unwrap());
        });
        assert_eq!(ready["serving"], true, "{ready}");
        self.search("the broker's standard output", line.as_bytes(), "keywright/serve/1");
        ready["pages"].as_str().unwrap_or_default().clone_into(&mut self.origin);
        self.serving = Some(Serving(child));
    }

    /// Ends the broker in order, so that the ledger is closed as it should be.
    pub(crate) fn stop(&mut self) {
        if let Some(mut serving) = self.serving.take() {
            serving.signal("TERM");
            assert!(serving.0.wait().unwrap().success());
        }
    }

    pub(crate) fn pid(&self) -> u32 {
        self.serving.as_ref().unwrap().0.id()
    }

    /// The server of an agent, as clients start it.
    pub(crate) fn mcp(&self, agent: &str) -> Command {
        let mut command = self.world.command(&["mcp", "--agent", agent]);
        for name in ["CLAUDE_CODE_SESSION_ID", "CLAUDECODE", "AI_AGENT"] {
            command.env_remove(name);
        }
        command.env("KEYWRIGHT_LOG", "trace");
        command
    }

    /// The value of the key that lives.
    pub(crate) fn live(&self) -> String {
        self.world.with_sandbox(|sandbox| {
            let tokens = sandbox.live_tokens_named_like("kw-");
            sandbox.secret_of(&tokens[0].id).unwrap()
        })
    }

    /// The value of a key that lies in a `.env` file only, where an agent can find it; the broker keeps no copy.
    pub(crate) fn found(&self) -> String {
        self.world.ok(&request("FOUND", "dev", &["--to", "dotenv:./.env#FOUND"]));
        let file = fs::read_to_string(self.world.path(".env")).unwrap();
        let line = file.lines().find_map(|line| line.strip_prefix("FOUND=")).unwrap();
        line.trim_matches(['"', '\'']).to_owned()
    }

    pub(crate) fn token(&self, folder: &str, name: &str) -> String {
        let path = self.world.home().join(folder).join(format!("{name}.token"));
        fs::read_to_string(path).unwrap().trim().to_owned()
    }

    pub(crate) fn socket(&self) -> PathBuf {
        self.world.home().join("broker.sock")
    }

    /// Everything that the broker said so far.
    pub(crate) fn talk(&self) -> Vec<u8> {
        fs::read(self.talk_path()).unwrap()
    }

    /// Runs commands in one terminal session in which alice is logged in.
    pub(crate) fn logged_in(&self, lines: &[&[&str]]) -> Vec<Ran> {
        let pass = self.world.path("pass");
        let login = ["login", "--no-input", "--passphrase-file", pass.to_str().unwrap()];
        let mut ran = self.world.in_one_session(&[&[&login[..]], lines].concat());
        let login = ran.remove(0).expect(0);
        self.search("login", login.out.as_bytes(), "alice");
        ran
    }

    /// Every secret that there is.
    pub(crate) fn secrets(&self) -> Vec<String> {
        let mut secrets = self.world.with_sandbox(keywright_sandbox::Sandbox::secret_values);
        secrets.extend([PASSPHRASE.to_owned(), BOBS.to_owned()]);
        for folder in ["agents", "workloads"] {
            for token in fs::read_dir(self.world.home().join(folder)).into_iter().flatten() {
                secrets.push(fs::read_to_string(token.unwrap().path()).unwrap().trim().to_owned());
            }
        }
        secrets
    }

    /// The search for all of them.
    pub(crate) fn canaries(&self) -> Search {
        Search::new(self.secrets())
    }

    /// Fails when a secret is in the bytes, or when the bytes do not hold what shows that they are the right ones.
    pub(crate) fn search(&self, channel: &str, bytes: &[u8], evidence: &str) {
        self.canaries().absent_from(channel, bytes, evidence);
    }

    /// Searches what the broker said so far; the provider was called at least once.
    pub(crate) fn search_talk(&self) {
        self.search("the broker's log", &self.talk(), "label=\"cloudflare\"");
    }

    /// Searches every file of the home. A token's own file may hold that token and nothing else.
    pub(crate) fn search_home(&self, when: &str) {
        let secrets = self.secrets();
        let search = Search::new(secrets.clone());
        let mut files = Vec::new();
        walk(&self.world.home(), &mut files);
        for path in &files {
            let bytes = match fs::read(path) {
                Ok(bytes) => bytes,
                // A part of the audit log that a newer one has taken the place of.
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => continue,
                Err(error) => panic!("{}: {error}", path.display()),
            };
            let shown = path.strip_prefix(self.world.home()).unwrap().display();
            let channel = format!("{shown} {when}");
            if path.extension().is_some_and(|extension| extension == "token") {
                let own = String::from_utf8(bytes.clone()).unwrap().trim().to_owned();
                let others = secrets.iter().filter(|secret| **secret != own).cloned();
                Search::new(others).absent_from(&channel, &bytes, "kw");
            } else {
                search.absent_from(&channel, &bytes, "");
            }
        }
        let named = |name: &str| files.iter().any(|path| path.ends_with(name));
        assert!(named("ledger.db") && named("audit/checkpoint"), "{files:?}");
    }

    fn talk_path(&self) -> PathBuf {
        self.world.path("broker.talk")
    }
}

/// Every file of a folder and of those in it.
pub(crate) fn walk(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap().flatten() {
        let kind = entry.file_type().unwrap();
        if kind.is_dir() {
            walk(&entry.path(), found);
        } else if kind.is_file() {
            found.push(entry.path());
        }
    }
}
