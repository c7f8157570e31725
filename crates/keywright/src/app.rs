//! How a command reaches a broker: through its socket when one runs, else by opening the home itself for the time of
//! one command.

use std::cell::RefCell;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use keywright_broker::crash::CrashAt;
use keywright_broker::home::Home;
use keywright_broker::{Broker, Code, Options};
use keywright_core::name::OperatorName;
use keywright_core::secret::Secret;
use keywright_server::answer::Failure;
use keywright_server::call::{Call, Login, OperatorCall, Passed, ReaderLogin};
use keywright_server::dispatch::{Peer, dispatch};
use keywright_server::socket;
use serde_json::Value;
use tokio::sync::{Notify, OnceCell};
use tokio::time::{Instant, sleep};
use zeroize::Zeroizing;

use crate::cli::Globals;
use crate::input::Stdin;
use crate::output::say;
use crate::socket_path::SocketPath;
use crate::{errors, input};

/// How long one command waits until another has done its work on the home.
const TURN: Duration = Duration::from_secs(5);
/// How often a command that works on the home itself looks for what became due meanwhile.
const TICK: Duration = Duration::from_secs(1);
const LOOK_AGAIN: Duration = Duration::from_millis(50);
/// How long a call may take before whoever sits at the terminal learns what it waits for.
const SILENT: Duration = Duration::from_secs(2);
/// The pause before it is said again.
const REMIND: Duration = Duration::from_secs(15);

/// One run of the binary.
pub(crate) struct App {
    /// Which home.
    pub(crate) home: Home,
    /// Whether the home is the platform's own, so that nobody has to name it.
    pub(crate) is_usual_home: bool,
    /// Whether programs read what it prints.
    pub(crate) json: bool,
    /// Whether nobody may be asked.
    pub(crate) no_input: bool,
    /// Which operator, where it was said.
    pub(crate) operator: Option<String>,
    /// What standard input is for in this run.
    pub(crate) stdin: Stdin,
    /// How the home's socket is reached.
    pub(crate) socket: SocketPath,
    pub(crate) passphrase_file: Option<PathBuf>,
    /// What was typed or read in this run; asked for once.
    passphrase: RefCell<Option<Zeroizing<String>>>,
    opened: OnceCell<Arc<Broker>>,
}

impl App {
    /// Reads the options that every command takes.
    pub(crate) fn new(globals: Globals) -> Result<Self, Failure> {
        let usual = usual_home();
        let named = std::env::var_os("KEYWRIGHT_HOME").filter(|home| !home.is_empty()).map(PathBuf::from);
        if let (Some(named), Some(given)) = (&named, &globals.home)
            && std::env::var_os(crate::commands::run::WORD).is_none()
            && std::path::absolute(named).ok() != std::path::absolute(given).ok()
        {
            say(&format!(
                "note: KEYWRIGHT_HOME ({}) counts, and not --home {}",
                named.display(),
                given.display()
            ));
        }
        let root = named.or(globals.home).or_else(|| usual.clone()).ok_or_else(|| {
            Failure::new(
                Code::NotFound,
                "there is no directory for a home: neither HOME nor XDG_DATA_HOME is set",
            )
            .hint("name one with KEYWRIGHT_HOME or --home")
        })?;
        let root = std::path::absolute(&root).map_err(|e| errors::file(&root, &e))?;
        let is_usual_home = usual.as_deref() == Some(&root);
        let home = Home::at(root);
        Ok(Self {
            is_usual_home,
            stdin: Stdin::default(),
            socket: SocketPath::of(&home),
            home,
            json: globals.json,
            no_input: globals.no_input,
            operator: globals.operator,
            passphrase_file: globals.passphrase_file,
            passphrase: RefCell::new(None),
            opened: OnceCell::new(),
        })
    }

    /// Runs an everyday verb: a session that `login` opened is enough. The call is made again when it is not.
    pub(crate) async fn everyday(&self, make: impl Fn() -> OperatorCall) -> Result<Value, Failure> {
        let has_passphrase = self.passphrase_file.is_some() || self.passphrase.borrow().is_some();
        if !has_passphrase && self.operator.is_none() && self.is_serving().await? {
            match self.session_only(make()).await {
                Err(failure)
                    if failure.kind() == Some(Code::Unauthenticated) && self.can_have_passphrase()? => {}
                answered => return answered,
            }
        }
        self.signed(make()).await
    }

    /// Runs a verb that is about the session of this terminal.
    pub(crate) async fn session_only(&self, call: OperatorCall) -> Result<Value, Failure> {
        self.call(&Call::Operator { login: Login::Session, call: Box::new(call) }).await
    }

    /// Runs a verb that takes an operator's passphrase.
    pub(crate) async fn signed(&self, call: OperatorCall) -> Result<Value, Failure> {
        let is_serving = self.is_serving().await?;
        if !is_serving {
            self.require_home()?;
        }
        let changes_keys = changes_keys(&call);
        let login = Login::Passphrase { operator: self.operator.clone(), passphrase: self.passphrase()? };
        let call = Call::Operator { login, call: Box::new(call) };
        let broker = if is_serving { None } else { self.enter().await? };
        let Some(broker) = broker else { return self.call(&call).await };
        let peer = Peer::here();
        let answer = Box::pin(dispatch(broker, &peer, call, None));
        if !changes_keys {
            return patiently("the answer", answer).await;
        }
        patiently("what an earlier command left", self.recover(broker)).await;
        patiently("the answer", Box::pin(self.with_ticks(broker, answer))).await
    }

    /// Does what becomes due while a deed is waited for: a step of it that was put off, with no broker that would take it up.
    async fn with_ticks<T>(&self, broker: &Arc<Broker>, deed: impl Future<Output = T>) -> T {
        let is_over = Notify::new();
        let deed = async {
            let done = deed.await;
            is_over.notify_one();
            done
        };
        let ticks = async {
            loop {
                tokio::select! {
                    () = is_over.notified() => return,
                    () = sleep(TICK) => {}
                }
                self.recover(broker).await;
            }
        };
        let both = async { tokio::join!(deed, ticks).0 };
        // What a tick began is not cut off.
        tokio::select! {
            done = both => done,
            never = broker.hold_on() => match never {},
        }
    }

    /// Reads secrets, as a workload or as an operator.
    pub(crate) async fn read(&self, token: Option<&Path>, wanted: Wanted) -> Result<Value, Failure> {
        let is_serving = self.is_serving().await?;
        let login = match token {
            Some(_) if !is_serving => return Err(errors::no_broker(self.home.root(), "a workload's token")),
            Some(path) => {
                let token = input::secret_file(&self.stdin, path, "the token")?;
                ReaderLogin::Workload { token: passed(&token) }
            }
            None => {
                if !is_serving {
                    self.require_home()?;
                }
                ReaderLogin::Operator { operator: self.operator.clone(), passphrase: self.passphrase()? }
            }
        };
        let Wanted { project, environment, only, word } = wanted;
        let holder = word.map(Passed::new);
        let call = Call::Reader { login, project, environment, only, holder };
        let broker = if is_serving { None } else { self.enter().await? };
        let Some(broker) = broker else { return self.call(&call).await };
        patiently("the answer", dispatch(broker, &Peer::here(), call, None)).await
    }

    /// Calls the broker that runs.
    pub(crate) async fn call(&self, call: &Call) -> Result<Value, Failure> {
        patiently("the broker", socket::call(&self.socket.path(), call)).await
    }

    /// Whether there is a home; an error where the system does not let us look.
    pub(crate) fn has_home(&self) -> Result<bool, Failure> {
        match std::fs::metadata(self.home.ledger()) {
            Ok(_) => Ok(true),
            Err(error) if error.kind() == std::io::ErrorKind::PermissionDenied => {
                Err(errors::foreign_home(self.home.root()))
            }
            Err(_) => Ok(self.home.exists()),
        }
    }

    /// Refuses to go on without a home.
    pub(crate) fn require_home(&self) -> Result<(), Failure> {
        if self.has_home()? { Ok(()) } else { Err(errors::no_home(self.home.root())) }
    }

    /// Whether a broker runs on this home. What we send it is a passphrase, so it has to be our own or root's.
    pub(crate) async fn is_serving(&self) -> Result<bool, Failure> {
        let path = self.socket.path();
        let meta = match std::fs::symlink_metadata(&path) {
            Ok(meta) => meta,
            Err(error) if error.kind() == std::io::ErrorKind::PermissionDenied => {
                return Err(errors::foreign_home(self.home.root()));
            }
            Err(_) => return Ok(false),
        };
        if !socket::is_there(&path).await {
            return Ok(false);
        }
        let own = rustix::process::geteuid().as_raw();
        if meta.uid() != own && meta.uid() != 0 {
            let message = format!("the broker on {} belongs to another user", self.home.root().display());
            return Err(Failure::new(Code::Forbidden, message));
        }
        Ok(true)
    }

    /// The operator's passphrase: from the file, as typed before in this run, piped in, or typed now.
    pub(crate) fn passphrase(&self) -> Result<Passed, Failure> {
        if let Some(known) = self.passphrase.borrow().as_ref() {
            return Ok(passed(known));
        }
        let read = match &self.passphrase_file {
            Some(path) => input::secret_file(&self.stdin, path, "the passphrase")?,
            None => match self.piped_passphrase()? {
                Some(piped) => piped,
                None if input::can_prompt(self.no_input) => input::hidden(&self.whose_passphrase())?,
                None => return Err(errors::needs_passphrase()),
            },
        };
        let passphrase = passed(&read);
        *self.passphrase.borrow_mut() = Some(read);
        Ok(passphrase)
    }

    /// The passphrase of a home that is being made, for its first operator: typed twice when it is typed.
    pub(crate) fn new_passphrase(&self, operator: &OperatorName) -> Result<Passed, Failure> {
        if self.passphrase_file.is_none()
            && !self.can_have_piped_passphrase()?
            && input::can_prompt(self.no_input)
        {
            let typed = input::hidden_twice(&format!("new passphrase for operator {operator}"))?;
            *self.passphrase.borrow_mut() = Some(typed);
        }
        self.passphrase()
    }

    /// Whether a passphrase was piped in, or somebody can be asked for it.
    fn can_have_passphrase(&self) -> Result<bool, Failure> {
        Ok(self.can_have_piped_passphrase()? || input::can_prompt(self.no_input))
    }

    fn can_have_piped_passphrase(&self) -> Result<bool, Failure> {
        if self.passphrase.borrow().is_none() {
            let piped = self.piped_passphrase()?;
            *self.passphrase.borrow_mut() = piped;
        }
        Ok(self.passphrase.borrow().is_some())
    }

    fn piped_passphrase(&self) -> Result<Option<Zeroizing<String>>, Failure> {
        if self.no_input { Ok(None) } else { self.stdin.piped_passphrase() }
    }

    fn whose_passphrase(&self) -> String {
        match &self.operator {
            Some(name) => format!("passphrase of operator {}: ", keywright_core::text::escaped(name)),
            None => "passphrase of an operator: ".to_owned(),
        }
    }

    /// Asks for the passphrase before anything is shown or asked, so that nobody types it where a question is answered.
    pub(crate) async fn passphrase_first(&self) -> Result<(), Failure> {
        if !self.is_serving().await? {
            self.require_home()?;
        }
        self.passphrase().map(drop)
    }

    /// Whether the passphrase was named on the command line, as a file.
    pub(crate) fn names_passphrase(&self) -> bool {
        self.passphrase_file.is_some()
    }

    /// Takes a passphrase that came in another way.
    pub(crate) fn with_passphrase(&self, passphrase: Zeroizing<String>) {
        *self.passphrase.borrow_mut() = Some(passphrase);
    }

    /// Opens the home in this process, as soon as no other works on it. `None` when a broker has taken it meanwhile.
    pub(crate) async fn enter(&self) -> Result<Option<&Arc<Broker>>, Failure> {
        // Asked for first, so that nobody waits for somebody who types.
        self.passphrase()?;
        let began = Instant::now();
        let mut has_told = false;
        loop {
            match self.open().await {
                // Another conflict, as with a ledger that was moved, does not pass.
                Err((_, true)) => {}
                opened => return opened.map(Some).map_err(|(failure, _)| failure),
            }
            if self.is_serving().await? {
                return Ok(None);
            }
            if began.elapsed() > TURN {
                return Err(errors::busy(self.home.root()));
            }
            if began.elapsed() > SILENT && !has_told {
                say_at_terminal("another command on this home");
                has_told = true;
            }
            sleep(LOOK_AGAIN).await;
        }
    }

    /// Opens the home in this process. Beside a failure: whether another process works on it just now.
    async fn open(&self) -> Result<&Arc<Broker>, (Failure, bool)> {
        let opened = self.opened.get_or_try_init(|| async {
            let firm = |failure: Failure| (failure, false);
            let options = self.options().map_err(firm)?;
            let passphrase: Secret = self.passphrase().map_err(firm)?.into_secret();
            Broker::open(options, passphrase).await.map_err(|error| {
                let is_busy = error.code == Code::Conflict && error.transient;
                (error.into(), is_busy)
            })
        });
        opened.await
    }

    fn options(&self) -> Result<Options, Failure> {
        let mut options = Options { witness: self.home.witness()?, ..Options::at(self.home.clone()) };
        if let Some(point) = std::env::var_os("KEYWRIGHT_CRASH_AT") {
            options.crash_at = CrashAt::point(&point.to_string_lossy())
                .map_err(|message| Failure::new(Code::InvalidArgument, message))?;
        }
        Ok(options)
    }

    /// Does what is due, where this command works on the home itself; a broker that runs does it without us.
    pub(crate) async fn tick(&self) {
        if let Some(broker) = self.opened.get() {
            self.recover(broker).await;
        }
    }

    /// What has to happen before a command that worked on the home itself ends.
    pub(crate) async fn finish(&self) {
        let Some(broker) = self.opened.get() else { return };
        if let Err(error) = broker.step_down().await {
            tracing::warn!(message = %error.message, "other brokers wait for what this command led");
        }
        if let Err(error) = broker.publish_audit().await {
            tracing::warn!(message = %error.message, "the audit log's files are behind; they catch up next time");
        }
    }

    /// Ends what an earlier command left unfinished: no broker runs that would. Costs nothing when there is nothing.
    async fn recover(&self, broker: &Arc<Broker>) {
        if let Err(error) = broker.tick().await {
            tracing::warn!(message = %error.message, "what an earlier command left could not be finished yet");
        }
    }
}

/// Waits for what may take a while, and says for what, and for how long by now, where somebody waits with us.
async fn patiently<T>(what: &str, work: impl Future<Output = T>) -> T {
    let mut work = pin!(Box::pin(work));
    let (began, mut pause) = (Instant::now(), SILENT);
    loop {
        tokio::select! {
            done = &mut work => return done,
            () = sleep(pause) => {}
        }
        let seconds = began.elapsed().as_secs();
        match pause {
            SILENT => say_at_terminal(what),
            _ => say_at_terminal(&format!("{what} ({seconds} s; a provider or store may be slow or down)")),
        }
        pause = REMIND;
    }
}

fn say_at_terminal(what: &str) {
    if std::io::IsTerminal::is_terminal(&std::io::stderr()) {
        say(&format!("waiting for {what} ..."));
    }
}

/// Which secrets `run` wants.
pub(crate) struct Wanted {
    /// Of this project; a workload's own when absent.
    pub(crate) project: Option<String>,
    /// Of this environment.
    pub(crate) environment: Option<String>,
    /// Only these names; empty = all.
    pub(crate) only: Vec<String>,
    /// The word by which the program will speak.
    pub(crate) word: Option<String>,
}

/// A copy for the way to the broker, wiped on arrival.
pub(crate) fn passed(text: &str) -> Passed {
    Passed::new(text.to_owned())
}

fn changes_keys(call: &OperatorCall) -> bool {
    matches!(
        call,
        OperatorCall::KeyRequest { dry_run: false, .. }
            | OperatorCall::KeyRotate { .. }
            | OperatorCall::KeyEndOld { .. }
            | OperatorCall::KeyAdopt { .. }
            | OperatorCall::KeyDisable { .. }
            | OperatorCall::KeyEnable { .. }
            | OperatorCall::KeyRevoke { .. }
            | OperatorCall::ProjectTeardown { .. }
            | OperatorCall::AgentRevokeAll { .. }
            | OperatorCall::ReviewApprove { .. }
            | OperatorCall::ProviderRotateParent { .. }
            | OperatorCall::Reconcile
            | OperatorCall::RevokeLost
    )
}

/// The platform's directory for a program's data.
fn usual_home() -> Option<PathBuf> {
    let variable = |name: &str| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let home = variable("HOME");
    if cfg!(target_os = "macos") {
        return home.map(|home| home.join("Library/Application Support/keywright"));
    }
    let data = variable("XDG_DATA_HOME").or_else(|| home.map(|home| home.join(".local/share")));
    data.map(|data| data.join("keywright"))
}
