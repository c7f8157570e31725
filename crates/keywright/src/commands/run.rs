//! `keywright run`

mod watch;

pub(crate) use watch::{WORD, die_if_asked};

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use keywright_broker::Code;
use keywright_core::name::KeyName;
use keywright_server::answer::Failure;
use keywright_server::call::OperatorCall;
use serde_json::{Map, Value};
use zeroize::{Zeroize as _, Zeroizing};

use self::watch::OnRotate;
use crate::app::{App, Wanted};
use crate::errors::{self, Exit};
use crate::harden;
use crate::output::{Done, Output, say};
use crate::show::{field, items, outside};

/// Run a command with a project's keys in its environment.
///
/// Signals are passed on to the command, and its exit is this program's own. While it lives the broker knows what it holds: a
/// version that was replaced does not end before that, and on a rotation it is restarted or signalled as you say. Keys that lie in the embedded store are
/// delivered; every reading is on record. A key of AWS is one document; where there is one such key, its parts are in
/// `AWS_ACCESS_KEY_ID`, `AWS_SECRET_ACCESS_KEY` and `AWS_SESSION_TOKEN` too.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Whose keys; a workload knows its own.
    #[arg(long, value_name = "P")]
    project: Option<String>,
    /// Of which environment; has to be said where the project has keys in several. A workload knows its own.
    #[arg(long, value_name = "E")]
    env: Option<String>,
    /// Only this key; may be given again.
    #[arg(long, value_name = "NAME")]
    only: Vec<String>,
    /// A file that holds a workload's token; without it, an operator's passphrase.
    #[arg(long, value_name = "P", conflicts_with = "passphrase_file")]
    token_file: Option<PathBuf>,
    /// What happens when a key was rotated that the command holds: `ignore` says so on standard error, `restart` ends it and
    /// starts it again, `signal:HUP` (USR1, USR2, TERM, INT) sends it a signal.
    #[arg(long, value_name = "WHAT", default_value = "ignore")]
    on_rotate: OnRotate,
    /// Let the command take this program's place. It can't be heard of: a version that it holds ends by what the provider
    /// knows alone.
    #[arg(long, conflicts_with = "on_rotate")]
    no_watch: bool,
    /// The command and its arguments.
    #[arg(last = true, required = true, value_name = "COMMAND")]
    command: Vec<OsString>,
}

/// What a shell answers for a command that is not there, or is none.
const NOT_FOUND: u8 = 127;
const NOT_EXECUTABLE: u8 = 126;

pub(crate) async fn run(app: &App, args: Args) -> Done {
    // Who is started under a word becomes the program.
    let word = std::env::var(watch::WORD).ok();
    if word.is_none() && !args.no_watch {
        if args.on_rotate == OnRotate::Restart {
            read_again(app, args.token_file.as_deref())?;
        }
        return watch::watch(app, args.on_rotate).await;
    }
    let word = word.filter(|word| !word.is_empty());
    become_it(app, args, word).await
}

/// A program that is started again gets its keys again: nothing here remembers how they were opened.
fn read_again(app: &App, token: Option<&Path>) -> Result<(), Failure> {
    match token.or(app.passphrase_file.as_deref()) {
        Some(path) if path != Path::new("-") => Ok(()),
        _ => Err(errors::usage("`--on-rotate restart` reads the keys again, and can ask nobody then")
            .hint("name a file with --token-file or --passphrase-file")),
    }
}

/// Reads the keys, and has the command take this program's place.
async fn become_it(app: &App, args: Args, word: Option<String>) -> Done {
    // Standard input is the command's, unless the passphrase or the token was said to come from there.
    app.stdin.leave();
    let asked_for = args.project.clone().filter(|_| args.token_file.is_none() && args.only.is_empty());
    let wanted = Wanted { project: args.project, environment: args.env, only: args.only, word };
    let mut answer = app.read(args.token_file.as_deref(), wanted).await?;
    let variables = match answer.get_mut("variables").map(Value::take) {
        Some(Value::Object(variables)) => variables,
        _ => return Err(Failure::new(Code::Internal, "the broker answered without keys")),
    };
    if variables.is_empty() {
        say(&no_keys(app, asked_for.as_deref()).await);
    }
    // This program is about to be replaced, so what it owes to the log it pays now.
    app.finish().await;
    let Some((program, arguments)) = args.command.split_first() else {
        return Err(errors::usage("the command is missing"));
    };
    let mut command = Command::new(program);
    command.args(arguments);
    prepare(&mut command, variables)?;
    harden::release();
    let error = command.exec();
    // Still here: it could not be started.
    let exit = Exit::Of(match error.kind() {
        std::io::ErrorKind::NotFound => NOT_FOUND,
        _ => NOT_EXECUTABLE,
    });
    let failure = errors::file(std::path::Path::new(&outside(&program.to_string_lossy())), &error);
    if !app.json {
        errors::tell(&failure);
    }
    Ok(Output::new(serde_json::to_value(&failure).unwrap_or_default(), "").exit(exit))
}

/// Why the program gets no keys. A name with a typing error looks like a project without keys, so it is said which.
async fn no_keys(app: &App, project: Option<&str>) -> String {
    let lies_elsewhere =
        "note: no key lies in the embedded store for this; the command runs without".to_owned();
    let Some(project) = project else { return lies_elsewhere };
    let list = OperatorCall::KeyList { project: None, environment: None, state: None, debt: false };
    // A note is not worth a failure.
    let Ok(keys) = app.signed(list).await else { return lies_elsewhere };
    let projects: BTreeSet<String> = items(&keys, "keys").iter().map(|key| field(key, "project")).collect();
    if projects.contains(project) {
        return lies_elsewhere;
    }
    let known = match projects.len() {
        0 => "no project has one".to_owned(),
        _ => format!("these have: {}", projects.into_iter().collect::<Vec<_>>().join(", ")),
    };
    format!("note: project `{}` has no key at all ({known}); the command runs without", outside(project))
}

/// Puts the keys into the environment and takes what is ours out of it.
fn prepare(command: &mut Command, variables: Map<String, Value>) -> Result<(), Failure> {
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("KEYWRIGHT_") {
            command.env_remove(name);
        }
    }
    let mut for_aws = Vec::new();
    for (name, value) in variables {
        // The broker makes no key of such a name; what it answers is looked at all the same.
        if KeyName::parse(&name).map_or(true, |name| name.is_reserved()) {
            let message = format!("a key is named `{}`, which would change what runs", outside(&name));
            return Err(Failure::new(Code::Conflict, message)
                .hint("leave it out with --only, or give it another name"));
        }
        let Value::String(value) = value else { continue };
        let value = Zeroizing::new(value);
        for_aws.extend(AwsKeys::read(&value));
        command.env(name, value.as_str());
    }
    match for_aws.as_slice() {
        [] => {}
        [keys] => keys.put_into(command),
        _ => say(
            "note: several keys of AWS are delivered, so AWS_ACCESS_KEY_ID is not set; choose one with --only",
        ),
    }
    Ok(())
}

/// A key of AWS is one document, as a `credential_process` prints it; programs want it in three variables.
#[derive(serde::Deserialize)]
#[serde(rename_all = "PascalCase")]
struct AwsKeys {
    version: u8,
    access_key_id: String,
    secret_access_key: String,
    session_token: Option<String>,
}

impl AwsKeys {
    fn read(value: &str) -> Option<Self> {
        serde_json::from_str::<Self>(value).ok().filter(|keys| keys.version == 1)
    }

    fn put_into(&self, command: &mut Command) {
        command.env("AWS_ACCESS_KEY_ID", &self.access_key_id);
        command.env("AWS_SECRET_ACCESS_KEY", &self.secret_access_key);
        match &self.session_token {
            Some(token) => command.env("AWS_SESSION_TOKEN", token),
            // One of another key would be sent along.
            None => command.env_remove("AWS_SESSION_TOKEN"),
        };
    }
}

impl Drop for AwsKeys {
    fn drop(&mut self) {
        self.secret_access_key.zeroize();
        self.session_token.zeroize();
    }
}
