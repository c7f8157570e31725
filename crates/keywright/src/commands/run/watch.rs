//! `run` beside its program: it holds no value itself, tells the broker that the program lives, and does what was wanted when a
//! value is not in force any more.
//!
//! The program is a child of this process, and so are the keys: a second `keywright run` reads them and is replaced by the
//! program. Signals are passed on, and the program's exit is this process's own.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::path::PathBuf;
use std::process::{ExitStatus, Stdio};
use std::str::FromStr;
use std::time::Duration;

use keywright_broker::{Code, holds};
use keywright_server::answer::Failure;
use keywright_server::call::{Call, Passed};
use keywright_server::socket;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tokio::process::{Child, Command};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep, sleep_until, timeout};

use crate::app::App;
use crate::errors::{self, Exit};
use crate::harden;
use crate::output::{Done, Output, say};
use crate::show::{field, items, number};

/// The variable that tells the second `keywright run` which word its program goes by. The program does not see it.
pub(crate) const WORD: &str = "KEYWRIGHT_HOLD";
/// By which this binary is asked to end as the program did.
const DIE: &str = "die-of-signal";

/// How long a program may take to end before it is started again.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long a start that failed is put off.
const LATER: Duration = Duration::from_secs(30);
/// The pauses between two words with the broker: as it says, and longer while it is away.
const FIRST: Duration = Duration::from_secs(1);
const LONGEST: Duration = Duration::from_secs(30);
/// How long a goodbye may take.
const GOODBYE: Duration = Duration::from_secs(1);

/// What becomes of a program whose value is not in force any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum OnRotate {
    /// It goes on; whoever looks at standard error knows.
    Ignore,
    /// It is ended and started again, with the values that are in force then.
    Restart,
    /// It gets a signal.
    Signal(Signal),
}

/// The signals that a program may be sent: by their names, without `SIG`.
const SIGNALS: [(&str, Signal); 5] = [
    ("HUP", Signal::HUP),
    ("USR1", Signal::USR1),
    ("USR2", Signal::USR2),
    ("TERM", Signal::TERM),
    ("INT", Signal::INT),
];

impl FromStr for OnRotate {
    type Err = &'static str;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let named = |name: &str| SIGNALS.iter().find(|(known, _)| *known == name.trim_start_matches("SIG"));
        match (text, text.strip_prefix("signal:").and_then(named)) {
            ("ignore", _) => Ok(Self::Ignore),
            ("restart", _) => Ok(Self::Restart),
            (_, Some((_, signal))) => Ok(Self::Signal(*signal)),
            _ => Err("write `ignore`, `restart`, or `signal:HUP` (or USR1, USR2, TERM, INT)"),
        }
    }
}

/// How a program came to its end.
enum End {
    By(ExitStatus),
    /// It was ended so that it can be started again.
    Again,
}

/// Runs the program, for as long as it or its successors live.
pub(super) async fn watch(app: &App, on_rotate: OnRotate) -> Done {
    let mut signals = Signals::catch()?;
    // Nothing secret is in this process, and what it starts is to find things as this found them.
    harden::release();
    loop {
        let word = holds::new_word().map_err(Failure::from)?;
        let mut child = myself(&word)?.spawn().map_err(|e| errors::file(&own(), &e))?;
        let (heard, stale) = mpsc::channel(8);
        let talking = tokio::spawn(talk(app.socket.path(), word.clone(), heard));
        let end = beside(&mut child, &mut signals, stale, on_rotate).await;
        talking.abort();
        let over = Call::Hold { word: Passed::new(word), is_over: true };
        // A broker that is away learns it from the kernel, or by the silence.
        let _ = timeout(GOODBYE, socket::call(&app.socket.path(), &over)).await;
        match end? {
            End::Again => say("the program is started again, with the values that are in force now"),
            End::By(status) => return Ok(Output::silent(ended(status))),
        }
    }
}

/// Waits beside the program.
async fn beside(
    child: &mut Child,
    signals: &mut Signals,
    mut stale: mpsc::Receiver<Vec<Value>>,
    on_rotate: OnRotate,
) -> Result<End, Failure> {
    let pid = child.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw);
    // A process that has ended, and that nobody waited for yet, keeps its number.
    let send = |signal: Signal| pid.map(|pid| kill_process(pid, signal));
    let mut told = BTreeSet::new();
    let (mut trial, mut trial_at, mut kill_at) = (None::<Child>, None::<Instant>, None::<Instant>);
    let mut is_ending = false;
    loop {
        let at = |moment: Option<Instant>| async move {
            match moment {
                Some(moment) => sleep_until(moment).await,
                None => std::future::pending().await,
            }
        };
        let tried = async {
            match trial.as_mut() {
                Some(trial) => trial.wait().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            status = child.wait() => {
                let status = status.map_err(|e| errors::file(&own(), &e))?;
                return Ok(if kill_at.is_some() && !is_ending { End::Again } else { End::By(status) });
            }
            caught = signals.next() => {
                // An interrupt may mean something else to the program, unless it is being ended anyway.
                is_ending |= caught.signal == Signal::TERM || (caught.ends && kill_at.is_some());
                if !caught.is_twice {
                    let _ = send(caught.signal);
                }
            }
            heard = stale.recv() => {
                let Some(heard) = heard else { continue };
                let new: Vec<&Value> =
                    heard.iter().filter(|one| told.insert((field(one, "name"), number(one, "version")))).collect();
                if new.is_empty() {
                    continue;
                }
                let names: Vec<String> = new.iter().map(|one| field(one, "name")).collect();
                say(&news(&names.join(", "), on_rotate));
                match on_rotate {
                    OnRotate::Ignore => {}
                    OnRotate::Signal(signal) => drop(send(signal)),
                    OnRotate::Restart => trial_at = Some(Instant::now()),
                }
            }
            () = at(trial_at) => {
                trial_at = None;
                trial = Some(try_out()?);
            }
            status = tried => {
                trial = None;
                if status.is_ok_and(|status| status.success()) {
                    let _ = send(Signal::TERM);
                    kill_at = Some(Instant::now() + PATIENCE);
                } else {
                    say("the new values can't be read now, so the program goes on with the old ones; this is tried again");
                    trial_at = Some(Instant::now() + LATER);
                }
            }
            () = at(kill_at) => {
                let _ = send(Signal::KILL);
                kill_at = Some(Instant::now() + PATIENCE);
            }
        }
    }
}

fn news(names: &str, on_rotate: OnRotate) -> String {
    let what = match on_rotate {
        OnRotate::Ignore => {
            "the program holds the old value, which works as long as it lives, unless an operator ends it; start it again \
             to give it the new one"
        }
        OnRotate::Signal(_) => "the program holds the old value, and is told by a signal",
        OnRotate::Restart => "the program is about to be started again",
    };
    format!("note: {names} was rotated: {what}")
}

/// Tells the broker again and again that the program lives, and says what it holds that is not in force any more.
async fn talk(path: PathBuf, word: String, heard: mpsc::Sender<Vec<Value>>) {
    let again = Duration::from_secs(holds::AGAIN.seconds());
    let mut pause = FIRST;
    loop {
        sleep(pause).await;
        let call = Call::Hold { word: Passed::new(word.clone()), is_over: false };
        match socket::call(&path, &call).await {
            Ok(standing) => {
                pause = again;
                let stale = items(&standing, "stale").to_vec();
                if !stale.is_empty() && heard.send(stale).await.is_err() {
                    return;
                }
            }
            // It is away, or busy. The program has nothing to do with that.
            Err(_) => pause = (pause * 2).min(LONGEST),
        }
    }
}

fn own() -> PathBuf {
    std::env::current_exe().unwrap_or_else(|_| PathBuf::from("keywright"))
}

/// This very command, as the one that becomes the program.
fn myself(word: &str) -> Result<Command, Failure> {
    let mut command = Command::new(own());
    command.args(std::env::args_os().skip(1)).env(WORD, word);
    Ok(command)
}

/// Reads the keys as the next start will, for a program that does nothing.
fn try_out() -> Result<Child, Failure> {
    let ours: Vec<OsString> = std::env::args_os().skip(1).take_while(|word| word != "--").collect();
    let mut command = Command::new(own());
    // Under no word: nothing holds what this reads.
    command.args(ours).arg("--").arg(own()).arg("--version").env(WORD, "");
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command.spawn().map_err(|e| errors::file(&own(), &e))
}

/// Ends as the program did.
fn ended(status: ExitStatus) -> Exit {
    if let Some(code) = status.code() {
        return Exit::Of(u8::try_from(code).unwrap_or(u8::MAX));
    }
    let signal = status.signal().unwrap_or(0);
    // The handlers of this process are gone in the one that takes its place.
    let error = std::process::Command::new(own()).args([DIE, &signal.to_string()]).exec();
    tracing::debug!(%error, "the program's signal can't be passed on");
    Exit::Of(u8::try_from(128 + signal).unwrap_or(u8::MAX))
}

/// Dies by a signal, if that is what this process was started for.
pub(crate) fn die_if_asked() -> Option<Exit> {
    let mut words = std::env::args_os().skip(1).map_while(|word| word.into_string().ok());
    if words.next().as_deref() != Some(DIE) {
        return None;
    }
    let number: i32 = words.next()?.parse().ok()?;
    if let Some(signal) = Signal::from_named_raw(number) {
        let _ = kill_process(rustix::process::getpid(), signal);
    }
    // It is ignored here, as it was where this process comes from.
    Some(Exit::Of(u8::try_from(128 + number).unwrap_or(u8::MAX)))
}

/// The signals that are passed on.
struct Signals(mpsc::Receiver<Caught>);

/// A signal that came.
struct Caught {
    signal: Signal,
    /// Whether it is usually meant to end a program.
    ends: bool,
    /// Whether the program has got it itself, from the terminal.
    is_twice: bool,
}

/// Where a signal may come from.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Origin {
    /// A terminal sends it to everybody in the foreground.
    Terminal,
    /// Somebody sent it to this process.
    Somebody,
}

impl Signals {
    /// Catches them from now on.
    fn catch() -> Result<Self, Failure> {
        let (caught, next) = mpsc::channel(8);
        for (kind, sent, origin, ends) in [
            (SignalKind::terminate(), Signal::TERM, Origin::Somebody, true),
            (SignalKind::interrupt(), Signal::INT, Origin::Terminal, true),
            (SignalKind::quit(), Signal::QUIT, Origin::Terminal, true),
            (SignalKind::hangup(), Signal::HUP, Origin::Somebody, false),
            (SignalKind::user_defined1(), Signal::USR1, Origin::Somebody, false),
            (SignalKind::user_defined2(), Signal::USR2, Origin::Somebody, false),
            (SignalKind::window_change(), Signal::WINCH, Origin::Terminal, false),
        ] {
            let mut stream = signal(kind).map_err(|error| {
                Failure::new(Code::Internal, format!("signals can't be caught: {}", errors::plain(&error)))
            })?;
            let caught = caught.clone();
            tokio::spawn(async move {
                while stream.recv().await.is_some() {
                    let is_twice = origin == Origin::Terminal && is_in_foreground();
                    if caught.send(Caught { signal: sent, ends, is_twice }).await.is_err() {
                        return;
                    }
                }
            });
        }
        Ok(Self(next))
    }

    async fn next(&mut self) -> Caught {
        match self.0.recv().await {
            Some(caught) => caught,
            None => std::future::pending().await,
        }
    }
}

/// Whether this process and its program are what the terminal's keys speak to.
fn is_in_foreground() -> bool {
    let Ok(terminal) = std::fs::File::open("/dev/tty") else { return false };
    rustix::termios::tcgetpgrp(terminal).is_ok_and(|group| group == rustix::process::getpgrp())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_happens_on_a_rotation_is_one_of_three_words() {
        for (text, wanted) in [
            ("ignore", Some(OnRotate::Ignore)),
            ("restart", Some(OnRotate::Restart)),
            ("signal:HUP", Some(OnRotate::Signal(Signal::HUP))),
            ("signal:SIGUSR2", Some(OnRotate::Signal(Signal::USR2))),
            ("signal:KILL", None),
            ("signal:", None),
            ("HUP", None),
            ("", None),
        ] {
            assert_eq!(text.parse().ok(), wanted, "{text}");
        }
    }
}
