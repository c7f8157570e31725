//! How a command reaches a broker: through its socket when one runs, else by opening the home itself for the time of
//! one command.

use std::cell::RefCell;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use keywright_broker::crash::CrashAt;
use keywright_broker::home::Home;
use keywright_broker::{Broker, Code, Options};
use keywright_core::secret::Secret;
use keywright_server::answer::Failure;
use keywright_server::call::{Call, Login, OperatorCall, Passed, ReaderLogin};
use keywright_server::dispatch::{Peer, dispatch};
use keywright_server::socket;
use serde_json::Value;
use tokio::sync::OnceCell;
use zeroize::Zeroizing;

use crate::cli::Globals;
use crate::{errors, input};

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
    passphrase_file: Option<PathBuf>,
    /// What was typed or read in this run; asked for once.
    passphrase: RefCell<Option<Zeroizing<String>>>,
    opened: OnceCell<Arc<Broker>>,
}

impl App {
    /// Reads the options that every command takes.
    pub(crate) fn new(globals: Globals) -> Result<Self, Failure> {
        let usual = usual_home();
        let named = std::env::var_os("KEYWRIGHT_HOME").filter(|home| !home.is_empty()).map(PathBuf::from);
        let root = named.or(globals.home).or_else(|| usual.clone()).ok_or_else(|| {
            Failure::new(
                Code::NotFound,
                "there is no directory for a home: neither HOME nor XDG_DATA_HOME is set",
            )
            .hint("name one with KEYWRIGHT_HOME or --home")
        })?;
        let root = std::path::absolute(&root).map_err(|e| errors::file(&root, &e))?;
        Ok(Self {
            is_usual_home: usual.as_deref() == Some(&root),
            home: Home::at(root),
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
                    if failure.kind() == Some(Code::Unauthenticated) && input::can_prompt(self.no_input) => {}
                answered => return answered,
            }
        }
        self.signed(make()).await
    }

    /// Runs a verb that is about the session of this terminal.
    pub(crate) async fn session_only(&self, call: OperatorCall) -> Result<Value, Failure> {
        let call = Call::Operator { login: Login::Session, call: Box::new(call) };
        socket::call(&self.home.socket(), &call).await
    }

    /// Runs a verb that takes an operator's passphrase.
    pub(crate) async fn signed(&self, call: OperatorCall) -> Result<Value, Failure> {
        let is_serving = self.is_serving().await?;
        if !is_serving && !self.home.exists() {
            return Err(errors::no_home(self.home.root()));
        }
        let changes_keys = changes_keys(&call);
        let login = Login::Passphrase { operator: self.operator.clone(), passphrase: self.passphrase()? };
        let call = Call::Operator { login, call: Box::new(call) };
        if is_serving {
            return socket::call(&self.home.socket(), &call).await;
        }
        let broker = self.open().await?;
        if changes_keys {
            self.recover(broker).await;
        }
        Box::pin(dispatch(broker, &Peer::here(), call, None)).await
    }

    /// Reads secrets, as a workload or as an operator.
    pub(crate) async fn read(&self, token: Option<&Path>, wanted: Wanted) -> Result<Value, Failure> {
        let is_serving = self.is_serving().await?;
        let login = match token {
            Some(_) if !is_serving => return Err(errors::no_broker(self.home.root(), "a workload's token")),
            Some(path) => ReaderLogin::Workload { token: passed(&input::secret_file(path)?) },
            None if !is_serving && !self.home.exists() => return Err(errors::no_home(self.home.root())),
            None => ReaderLogin::Operator { operator: self.operator.clone(), passphrase: self.passphrase()? },
        };
        let Wanted { project, environment, only } = wanted;
        let call = Call::Reader { login, project, environment, only };
        if is_serving {
            return socket::call(&self.home.socket(), &call).await;
        }
        Box::pin(dispatch(self.open().await?, &Peer::here(), call, None)).await
    }

    /// Whether a broker runs on this home. What we send it is a passphrase, so it has to be our own or root's.
    pub(crate) async fn is_serving(&self) -> Result<bool, Failure> {
        let path = self.home.socket();
        let Ok(meta) = std::fs::symlink_metadata(&path) else { return Ok(false) };
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

    /// The operator's passphrase: from the file, as typed before in this run, or typed now.
    pub(crate) fn passphrase(&self) -> Result<Passed, Failure> {
        if let Some(known) = self.passphrase.borrow().as_ref() {
            return Ok(passed(known));
        }
        let read = match &self.passphrase_file {
            Some(path) => input::secret_file(path)?,
            None if input::can_prompt(self.no_input) => {
                let whose = self.operator.as_ref().map_or_else(String::new, |name| format!(" of {name}"));
                input::hidden(&format!("passphrase{}: ", keywright_core::text::escaped(&whose)))?
            }
            None => return Err(errors::needs_passphrase()),
        };
        let passphrase = passed(&read);
        *self.passphrase.borrow_mut() = Some(read);
        Ok(passphrase)
    }

    /// The passphrase of a home that is being made: typed twice when it is typed.
    pub(crate) fn new_passphrase(&self) -> Result<Passed, Failure> {
        if self.passphrase_file.is_none() && input::can_prompt(self.no_input) {
            let typed = input::hidden_twice("new passphrase")?;
            *self.passphrase.borrow_mut() = Some(typed);
        }
        self.passphrase()
    }

    /// Whether the passphrase was named on the command line, as a file.
    pub(crate) fn names_passphrase(&self) -> bool {
        self.passphrase_file.is_some()
    }

    /// Takes a passphrase that came in another way.
    pub(crate) fn with_passphrase(&self, passphrase: Zeroizing<String>) {
        *self.passphrase.borrow_mut() = Some(passphrase);
    }

    /// Opens the home in this process.
    pub(crate) async fn open(&self) -> Result<&Arc<Broker>, Failure> {
        let opened = self.opened.get_or_try_init(|| async {
            let mut options = Options::at(self.home.clone());
            if let Some(point) = std::env::var_os("KEYWRIGHT_CRASH_AT") {
                options.crash_at = CrashAt::point(&point.to_string_lossy())
                    .map_err(|message| Failure::new(Code::InvalidArgument, message))?;
            }
            let passphrase: Secret = self.passphrase()?.into_secret();
            Broker::open(options, passphrase).await.map_err(Failure::from)
        });
        opened.await
    }

    /// What has to happen before a command that worked on the home itself ends.
    pub(crate) async fn finish(&self) {
        let Some(broker) = self.opened.get() else { return };
        if let Err(error) = broker.publish_audit().await {
            tracing::warn!(message = %error.message, "the audit log's files are behind; they catch up next time");
        }
    }

    /// Ends what an earlier command left unfinished: no broker runs that would.
    async fn recover(&self, broker: &Arc<Broker>) {
        let is_idle = broker.health().await.is_ok_and(|health| {
            health.sagas_open == 0 && health.revocations_owed == 0 && health.attempts_uncertain == 0
        });
        if is_idle {
            return;
        }
        if let Err(error) = broker.tick().await {
            tracing::warn!(message = %error.message, "what an earlier command left could not be finished yet");
        }
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
}

/// A copy for the way to the broker, wiped on arrival.
pub(crate) fn passed(text: &str) -> Passed {
    Passed::new(text.to_owned())
}

fn changes_keys(call: &OperatorCall) -> bool {
    matches!(
        call,
        OperatorCall::KeyRequest { dry_run: false, .. }
            | OperatorCall::KeyRevoke { .. }
            | OperatorCall::ProjectTeardown { .. }
            | OperatorCall::ReviewApprove { .. }
            | OperatorCall::Reconcile
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
