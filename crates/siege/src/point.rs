//! One crash point: the deed, what happens to it, one restart, and what is left.

use std::collections::BTreeSet;
use std::fs::File;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt as _;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use keywright_broker::home::Home;
use keywright_core::key::{KeyState, VersionState};
use keywright_core::name::KeyName;
use nix::sys::signal::Signal;
use nix::unistd::Pid;

use crate::calls::Kind;
use crate::consumer::{Consumer, Uses, value_in};
use crate::front::{Deed, Front, Way};
use crate::house::House;
use crate::tracer::{Order, Traced};

/// The longest that anything is waited for.
/// A credential whose end nobody saw is looked for once more after two minutes.
const PATIENCE: Duration = Duration::from_secs(210);
/// How long a broker is watched after the deed was answered: it publishes then.
const AFTER: Duration = Duration::from_millis(400);
const GLANCE: Duration = Duration::from_millis(5);

/// What happened at a point, and what was found.
#[derive(Debug, Default)]
pub(crate) struct Found {
    /// The call at which it happened; absent when there were not that many.
    pub(crate) struck: Option<String>,
    /// How many calls there were for each kind.
    pub(crate) counted: [u32; Kind::ALL.len()],
    /// From the restart until everything is settled; of a rotation, until a reconcile says that all is well, which leaves
    /// the drain.
    pub(crate) recovery: Duration,
    pub(crate) uses: Uses,
    /// Keys that live and that nobody knows of.
    pub(crate) orphans: usize,
    /// Keys that are said to live and don't, and values that a consumer could not use.
    pub(crate) gaps: usize,
    /// Creates beyond the attempts on record, and keys with two versions in force.
    pub(crate) doubles: usize,
    pub(crate) audit_is_sound: bool,
    /// Anything else that must not be.
    pub(crate) wrong: Vec<String>,
}

impl Found {
    pub(crate) fn is_clean(&self) -> bool {
        let Self { orphans, gaps, doubles, uses, audit_is_sound, wrong, .. } = self;
        (*orphans, *gaps, *doubles, uses.refused, uses.gaps) == (0, 0, 0, 0, 0)
            && *audit_is_sound
            && wrong.is_empty()
    }
}

/// Tries one point.
pub(crate) fn attempt(house: &House, front: Front, order: Order) -> Found {
    attempt_and(house, front, order, || {})
}

/// The same, with a mishap right before everything is looked at.
pub(crate) fn attempt_and(house: &House, front: Front, order: Order, mishap: impl FnOnce()) -> Found {
    let mut point =
        Point { house, front, order, found: Found::default(), is_said_done: false, is_put_off: false };
    house.reset(front.deed);
    let consumer = Consumer::start(house.api(), house.live().join(".env"), front.deed.used());
    let recovered = point.die().and_then(|()| point.recover());
    mishap();
    if let Err(trouble) = recovered.and_then(|()| point.judge()) {
        point.found.wrong.push(trouble);
    }
    let mut found = point.found;
    found.uses = consumer.stop();
    found
}

struct Point<'a> {
    house: &'a House,
    front: Front,
    order: Order,
    found: Found,
    /// Somebody was told that the deed is done.
    is_said_done: bool,
    /// Somebody was told to try again later: a debt that the broker itself is paying just now is still owed.
    is_put_off: bool,
}

type Outcome<T> = Result<T, String>;

impl Point<'_> {
    /// The deed, in a process that it happens to.
    fn die(&mut self) -> Outcome<()> {
        let log = self.house.path("");
        let deed = self.house.operator(&self.front.deed.words());
        let ended = match self.front.way {
            Way::Command => {
                let traced = Traced::start(&deed, &log, self.order, true)?;
                let in_time = until(|| traced.is_over());
                traced.kill();
                let ended = traced.ended()?;
                self.is_said_done = ended.code == Some(0);
                if !in_time {
                    return Err(format!("the command hung, struck at {:?}", ended.struck));
                }
                ended
            }
            Way::Broker => {
                let serve = self.house.operator(&["serve".to_owned(), "--json".to_owned()]);
                // What is to be taken up is taken up at the start.
                let from_the_start = self.front.deed == Deed::Reconcile;
                let traced = Traced::start(&serve, &log, self.order, from_the_start)?;
                let mut hung = !until(|| traced.is_over() || self.is_serving());
                if !traced.is_over() {
                    traced.count();
                    let mut client = self.start(deed, "client")?;
                    let mut code = None;
                    hung |= !until(|| {
                        code = code.or_else(|| client.try_wait().ok().flatten());
                        code.is_some()
                    });
                    client.kill().ok();
                    client.wait().ok();
                    self.is_said_done = code.is_some_and(|status| status.success());
                    let is_later = code.is_some_and(|status| status.code() == Some(75));
                    self.is_put_off = is_later && self.front.deed == Deed::Reconcile;
                    let told = Instant::now();
                    while told.elapsed() < AFTER && !traced.is_over() {
                        std::thread::sleep(GLANCE);
                    }
                }
                traced.kill();
                let ended = traced.ended()?;
                if hung {
                    return Err(format!("the broker or its client hung, struck at {:?}", ended.struck));
                }
                ended
            }
        };
        self.found.counted = ended.counted;
        self.found.struck = ended.struck;
        if self.found.struck.is_none() && !self.is_said_done && !self.is_put_off {
            return Err(format!("nothing happened to the deed, and it failed: {}", self.said()));
        }
        Ok(())
    }

    /// One restart, and one clean run.
    fn recover(&mut self) -> Outcome<()> {
        let began = Instant::now();
        // The first that comes may be a program that reads its keys.
        let reads_first = self.order.nth % 4 == 1;
        if reads_first {
            self.read_sealed()?;
        }
        let mut broker = match self.front.way {
            Way::Command => None,
            Way::Broker => {
                let serve = self.house.operator(&["serve".to_owned(), "--json".to_owned()]);
                let mut broker = self.start(serve, "")?;
                let mut is_dead = false;
                until(|| {
                    is_dead = !matches!(broker.try_wait(), Ok(None));
                    is_dead || self.is_serving()
                });
                if is_dead || !self.is_serving() {
                    broker.kill().ok();
                    broker.wait().ok();
                    return Err(format!("no broker starts: {}", self.said()));
                }
                Some(broker)
            }
        };
        let mut settled = self.reconcile();
        self.found.recovery = began.elapsed();
        settled = settled.and_then(|()| self.settle());
        if self.front.way == Way::Broker {
            // What a step gave up while the first one looked, the sweep finds later by itself.
            settled = settled.and_then(|()| self.reconcile());
        }
        if self.front.deed != Deed::Rotate {
            // The drain of a rotation takes its time with or without a death.
            self.found.recovery = began.elapsed();
        }
        if settled.is_ok() && !reads_first {
            self.read_sealed().unwrap_or_else(|trouble| self.found.wrong.push(trouble));
        }
        if let Some(broker) = &mut broker {
            let pid = Pid::from_raw(i32::try_from(broker.id()).unwrap_or(0));
            nix::sys::signal::kill(pid, Signal::SIGTERM).ok();
            let ends = until(|| !matches!(broker.try_wait(), Ok(None)));
            broker.kill().ok();
            let status = broker.wait().map_err(|e| e.to_string())?;
            if !ends || !status.success() {
                self.found.wrong.push(format!("the broker does not stop as it should: {status}"));
            }
        }
        settled
    }

    /// A reconcile that says that all is well. A debt that a broker itself is paying just now is still owed.
    fn reconcile(&self) -> Outcome<()> {
        let mut said = String::new();
        let mut broken = false;
        let done = until(|| {
            let ran = self.house.operator(&["reconcile".to_owned()]).output();
            let Ok(ran) = ran else { return false };
            said = String::from_utf8_lossy(&[ran.stdout, ran.stderr].concat()).into_owned();
            broken = !matches!(ran.status.code(), Some(0 | 75));
            broken || ran.status.success()
        });
        if done && !broken { Ok(()) } else { Err(format!("reconcile does not get through: {said}")) }
    }

    /// Until nothing is under way and nothing is owed.
    fn settle(&self) -> Outcome<()> {
        let mut last = Ok(());
        let done = until(|| {
            let idle = self.house.read(|tx| Ok(tx.sagas_open()? == 0 && tx.revocations_owed()?.is_empty()));
            match idle {
                Ok(true) => return true,
                Ok(false) => {}
                Err(error) => {
                    last = Err(error.to_string());
                    return true;
                }
            }
            std::thread::sleep(Duration::from_millis(100));
            if self.front.way == Way::Command {
                last = self.reconcile();
            }
            last.is_err()
        });
        last.and(if done { Ok(()) } else { Err("something is under way, and goes on being so".to_owned()) })
    }

    /// What `run` hands to a program works at the provider.
    fn read_sealed(&mut self) -> Outcome<()> {
        let words = ["run", "--project", "web", "--no-watch", "--", "env"].map(str::to_owned);
        let ran = self.house.operator(&words).output().map_err(|e| e.to_string())?;
        if !ran.status.success() {
            return Err(format!("run: {}", String::from_utf8_lossy(&ran.stderr)));
        }
        let told = String::from_utf8_lossy(&ran.stdout);
        let names: &[&str] =
            if self.front.deed == Deed::Revoke { &["BYSTANDER"] } else { &["BYSTANDER", "OLD"] };
        for name in names {
            let taken = value_in(&told, name).map(|value| self.house.api().takes(&value));
            if !matches!(taken, Some(Ok(true))) {
                self.found.gaps += 1;
                self.found.wrong.push(format!("what `run` hands out as {name} does not work: {taken:?}"));
            }
        }
        Ok(())
    }

    /// What lives at the provider is what the ledger says, and the deed is done or was never begun.
    fn judge(&mut self) -> Outcome<()> {
        let name = KeyName::parse(self.front.deed.key()).map_err(|e| e.to_string())?;
        let connection = "cf".parse().map_err(|_| "a connection's name".to_owned())?;
        // What was ended at the provider while the disk was full is on no record, but missed; that it is gone is believed two
        // minutes later, which nobody waits for here.
        let missing: BTreeSet<String> =
            self.house.read(|tx| tx.versions_missing()).map_err(|e| e.to_string())?.into_iter().collect();
        let read = self.house.read(move |tx| {
            let owned = tx.live_versions(&connection)?;
            let Some(key) = tx.keys_named(&name)?.into_iter().next() else { return Ok((owned, None)) };
            let (versions, reasons) = (tx.versions(key.id)?, tx.request(key.request)?.reasons);
            Ok((owned, Some((key, versions, reasons))))
        });
        let (owned, key) = read.map_err(|e| e.to_string())?;
        let owned: BTreeSet<String> = owned.into_iter().map(|version| version.provider_key_id).collect();
        let tokens = self.house.sandbox.live_tokens_named_like("kw-");
        let markers: BTreeSet<&String> = tokens.iter().map(|token| &token.name).collect();
        self.found.doubles += tokens.len() - markers.len();
        let living: BTreeSet<String> = tokens.iter().map(|token| token.id.clone()).collect();
        self.found.orphans = living.difference(&owned).count();
        self.found.gaps += owned.difference(&living).filter(|id| !missing.contains(*id)).count();

        let calls = self.house.sandbox.calls();
        let creates = calls.iter().filter(|call| {
            call.method == "POST" && call.path.ends_with("/tokens") && call.status == Some(200)
        });
        self.found.doubles += creates.count().saturating_sub(self.house.attempts_since(self.front.deed));

        let in_force: Vec<_> = key.iter().flat_map(|(_, versions, _)| versions).collect();
        let active = in_force.iter().filter(|version| version.state == VersionState::Active).count();
        self.found.doubles += active.saturating_sub(1);
        let state = key.as_ref().map(|(key, ..)| key.state);
        let reasons = key.as_ref().map(|(.., reasons)| reasons);
        let is_done = match self.front.deed {
            Deed::MintSealed | Deed::MintEnv | Deed::Reconcile => {
                state == Some(KeyState::Active) && active == 1
            }
            Deed::Rotate => active == 1 && in_force.len() > 1,
            Deed::Revoke => state == Some(KeyState::Revoked) && active == 0,
        };
        // A mint whose disk or wire failed may have failed for good, with words; what died is taken up to its end.
        let may_fail = !self.order.kind.is_deadly();
        let is_as_before = match self.front.deed {
            Deed::MintSealed | Deed::MintEnv => {
                state.is_none() || (may_fail && state == Some(KeyState::Failed) && active == 0)
            }
            Deed::Rotate | Deed::Revoke => state == Some(KeyState::Active) && active == 1,
            Deed::Reconcile => may_fail && state == Some(KeyState::Failed),
        };
        if !is_done && !is_as_before {
            self.found.wrong.push(format!("the key is {state:?} with {active} versions in force"));
        }
        // A reconcile says how the keys stand, not how a mint ended that it took up on the way.
        let is_another = self.front.deed == Deed::Reconcile && is_as_before;
        if self.is_said_done && !is_done && !is_another {
            self.found.wrong.push(format!("it was told as done, and the key is {state:?}: {reasons:?}"));
        }
        self.judge_file(&in_force)?;
        let verified = self.house.command(&["audit", "verify"].map(str::to_owned)).output();
        let verified = verified.map_err(|e| e.to_string())?;
        self.found.audit_is_sound = verified.status.success();
        if !self.found.audit_is_sound {
            self.found.wrong.push(String::from_utf8_lossy(&verified.stderr).into_owned());
        }
        Ok(())
    }

    /// The `.env` file is whole, and holds what is in force or nothing of ours. A dead value that could not be removed at once
    /// is on the list of what is removed later.
    fn judge_file(&mut self, versions: &[&keywright_core::key::Version]) -> Outcome<()> {
        let text = std::fs::read_to_string(self.house.live().join(".env")).map_err(|e| e.to_string())?;
        if !text.starts_with("# by hand\nOTHER='keep me'\n") || !text.ends_with('\n') {
            self.found.wrong.push("the file is not whole".to_owned());
        }
        if self.front.deed == Deed::MintSealed {
            return Ok(());
        }
        let active = versions.iter().find(|version| version.state == VersionState::Active);
        let value = active.and_then(|version| self.house.sandbox.secret_of(&version.provider_key_id));
        let lies = value_in(&text, self.front.deed.key());
        let left = self.house.read(|tx| Ok(!tx.placements_left(tx.now(), tx.now(), &[])?.is_empty()));
        let missing = self.house.read(|tx| tx.versions_missing()).map_err(|e| e.to_string())?;
        let is_missing = active.is_some_and(|version| missing.contains(&version.provider_key_id));
        let is_dead = value.is_none() && (is_missing || left.map_err(|e| e.to_string())?);
        if lies != value && !is_dead {
            self.found.wrong.push("the file holds something else than what is in force".to_owned());
        }
        Ok(())
    }

    fn start(&self, mut command: std::process::Command, name: &str) -> Outcome<Child> {
        let open = |stream: &str| {
            let name = if name.is_empty() { stream.to_owned() } else { format!("{name}.{stream}") };
            File::create(self.house.path(&name)).map_err(|e| e.to_string())
        };
        command.stdin(Stdio::null()).stdout(open("out")?).stderr(open("err")?);
        command.process_group(0);
        command.spawn().map_err(|e| e.to_string())
    }

    /// The broker accepts. What it says of that may be what could not be written.
    fn is_serving(&self) -> bool {
        UnixStream::connect(Home::at(self.house.live().join("home")).socket()).is_ok()
    }

    /// The last that was said.
    fn said(&self) -> String {
        let read = |name: &str| std::fs::read_to_string(self.house.path(name)).unwrap_or_default();
        ["out", "err", "client.out", "client.err"].map(read).join(" | ")
    }
}

/// Waits until it is so; whether it became so in time.
fn until(mut is_so: impl FnMut() -> bool) -> bool {
    let began = Instant::now();
    while !is_so() {
        if began.elapsed() > PATIENCE {
            return false;
        }
        std::thread::sleep(GLANCE);
    }
    true
}
