//! A process under ptrace: the calls that matter are counted over all its threads, and at the Nth something happens.
//!
//! What is traced is started by a shell that waits for a line, so that nothing has to be done between fork and exec.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI32, Ordering};
use std::time::Duration;

use nix::errno::Errno;
use nix::libc;
use nix::sys::ptrace::{self, Options};
use nix::sys::signal::Signal;
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;

use crate::calls::{Call, Kind, Names, On};

const ENTRY: u8 = 1;
const EXIT: u8 = 2;
/// How often a process that is not counted yet is looked at.
const GLANCE: Duration = Duration::from_millis(1);

/// What is to happen, and when.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Order {
    pub(crate) kind: Kind,
    /// At the how-manieth call that it can happen at.
    pub(crate) nth: u32,
}

/// How a traced process ended.
#[derive(Debug)]
pub(crate) struct Ended {
    /// The call at which it happened, and on what; absent when there were not that many.
    pub(crate) struck: Option<String>,
    /// How many calls there were that each kind could have happened at, up to then; in the order of [`Kind::ALL`].
    pub(crate) counted: [u32; Kind::ALL.len()],
    /// Its exit code; absent when it was killed.
    pub(crate) code: Option<i32>,
}

/// A process that is being traced by a thread of its own.
pub(crate) struct Traced {
    tracer: std::thread::JoinHandle<Result<Ended, String>>,
    pid: Arc<AtomicI32>,
    counts: Arc<AtomicBool>,
}

impl Traced {
    /// Starts `command`, whose standard streams go where it says. Without `counts` nothing is counted until
    /// [`Traced::count`].
    pub(crate) fn start(command: &Command, log: &Path, order: Order, counts: bool) -> Result<Self, String> {
        let mut shell = Command::new("sh");
        shell.args(["-c", "read -r go && exec \"$0\" \"$@\" </dev/null"]);
        shell.arg(command.get_program()).args(command.get_args());
        for (name, value) in command.get_envs() {
            match value {
                Some(value) => shell.env(name, value),
                None => shell.env_remove(name),
            };
        }
        if let Some(dir) = command.get_current_dir() {
            shell.current_dir(dir);
        }
        let open = |name: &str| std::fs::File::create(log.join(name)).map_err(|e| e.to_string());
        shell.stdin(Stdio::piped()).stdout(open("out")?).stderr(open("err")?);
        let (pid, counts) = (Arc::new(AtomicI32::new(0)), Arc::new(AtomicBool::new(counts)));
        let (shared, armed) = (Arc::clone(&pid), Arc::clone(&counts));
        let tracer = std::thread::spawn(move || Tracer::new(shell, order, armed, &shared)?.run());
        Ok(Self { tracer, pid, counts })
    }

    /// From now on.
    pub(crate) fn count(&self) {
        self.counts.store(true, Ordering::Release);
    }

    pub(crate) fn is_over(&self) -> bool {
        self.tracer.is_finished()
    }

    /// Ends it.
    pub(crate) fn kill(&self) {
        if let pid @ 1.. = self.pid.load(Ordering::Acquire)
            && !self.is_over()
        {
            nix::sys::signal::kill(Pid::from_raw(pid), Signal::SIGKILL).ok();
        }
    }

    /// How it ended, once it has.
    pub(crate) fn ended(self) -> Result<Ended, String> {
        self.tracer.join().map_err(|_| "the tracer panicked".to_owned())?
    }
}

/// Where a thread is in a call that was chosen.
enum Chosen {
    /// It answers this instead of doing anything.
    Fails(i32),
    /// It did half of it.
    Halved,
}

struct Tracer {
    order: Order,
    leader: Pid,
    /// Counting has begun in each thread.
    is_counting: bool,
    has_begun: bool,
    counts: Arc<AtomicBool>,
    threads: BTreeMap<i32, Option<Chosen>>,
    seen: [u32; Kind::ALL.len()],
    struck: Option<String>,
}

impl Tracer {
    fn new(
        mut shell: Command,
        order: Order,
        counts: Arc<AtomicBool>,
        pid: &AtomicI32,
    ) -> Result<Self, String> {
        let mut child = shell.spawn().map_err(|e| format!("sh: {e}"))?;
        let leader = Pid::from_raw(i32::try_from(child.id()).map_err(|e| e.to_string())?);
        let options = Options::PTRACE_O_TRACESYSGOOD
            | Options::PTRACE_O_TRACECLONE
            | Options::PTRACE_O_TRACEEXEC
            | Options::PTRACE_O_EXITKILL;
        if let Err(error) = ptrace::seize(leader, options) {
            child.kill().ok();
            child.wait().ok();
            return Err(format!("ptrace: {error}"));
        }
        pid.store(leader.as_raw(), Ordering::Release);
        let mut go = child.stdin.take().ok_or("no standard input")?;
        writeln!(go, "go").map_err(|e| e.to_string())?;
        let threads = BTreeMap::from([(leader.as_raw(), None)]);
        Ok(Self {
            order,
            leader,
            is_counting: false,
            has_begun: false,
            counts,
            threads,
            seen: [0; Kind::ALL.len()],
            struck: None,
        })
    }

    fn run(mut self) -> Result<Ended, String> {
        loop {
            if !self.is_counting && self.has_begun && self.counts.load(Ordering::Acquire) {
                self.begin_counting();
            }
            let mut flags = WaitPidFlag::__WALL | WaitPidFlag::__WNOTHREAD;
            if !self.is_counting {
                flags |= WaitPidFlag::WNOHANG;
            }
            match waitpid(None, Some(flags)) {
                Ok(WaitStatus::StillAlive) => std::thread::sleep(GLANCE),
                Ok(WaitStatus::Exited(pid, code)) => {
                    self.threads.remove(&pid.as_raw());
                    if pid == self.leader {
                        return Ok(Ended { struck: self.struck, counted: self.seen, code: Some(code) });
                    }
                }
                Ok(WaitStatus::Signaled(pid, ..)) => {
                    self.threads.remove(&pid.as_raw());
                    if pid == self.leader {
                        return Ok(Ended { struck: self.struck, counted: self.seen, code: None });
                    }
                }
                Ok(WaitStatus::PtraceEvent(pid, _, event)) => {
                    if event == libc::PTRACE_EVENT_CLONE {
                        if let Ok(new) = ptrace::getevent(pid) {
                            self.threads.entry(i32::try_from(new).unwrap_or(0)).or_insert(None);
                        }
                    } else if event == libc::PTRACE_EVENT_EXEC {
                        self.has_begun = true;
                        self.is_counting = self.counts.load(Ordering::Acquire);
                    }
                    self.threads.entry(pid.as_raw()).or_insert(None);
                    self.resume(pid, None);
                }
                Ok(WaitStatus::PtraceSyscall(pid)) => {
                    self.at_call(pid);
                    self.resume(pid, None);
                }
                Ok(WaitStatus::Stopped(pid, signal)) => self.resume(pid, Some(signal)),
                Ok(WaitStatus::Continued(_)) | Err(Errno::EINTR) => {}
                Err(error) => return Err(format!("waiting for what is traced: {error}")),
            }
        }
    }

    /// Each thread stops once, and is watched from then on.
    fn begin_counting(&mut self) {
        self.is_counting = true;
        for thread in self.threads.keys() {
            // One that stands already, or is gone, comes by itself.
            ptrace::interrupt(Pid::from_raw(*thread)).ok();
        }
    }

    fn resume(&self, pid: Pid, signal: Option<Signal>) {
        let in_a_call = self.threads.get(&pid.as_raw()).is_some_and(Option::is_some);
        let watched = in_a_call || (self.is_counting && self.struck.is_none());
        // Whoever was killed meanwhile is heard of next.
        if watched { ptrace::syscall(pid, signal) } else { ptrace::cont(pid, signal) }.ok();
    }

    fn at_call(&mut self, pid: Pid) {
        let Ok(info) = ptrace::syscall_info(pid) else { return };
        if info.op == EXIT {
            match self.threads.get_mut(&pid.as_raw()).and_then(Option::take) {
                Some(Chosen::Fails(errno)) => {
                    if let Ok(mut registers) = ptrace::getregs(pid) {
                        registers.rax = i64::from(-errno).cast_unsigned();
                        ptrace::setregs(pid, registers).ok();
                    }
                }
                Some(Chosen::Halved) => self.kill(),
                None => {}
            }
            return;
        }
        if info.op != ENTRY || self.struck.is_some() {
            return;
        }
        let Ok(mut registers) = ptrace::getregs(pid) else { return };
        let arguments = [registers.rdi, registers.rsi, registers.rdx, registers.r10];
        let Some(call) = Call::that_matters(registers.orig_rax, arguments) else { return };
        let on = match call.names {
            Names::Path | Names::Flags(_) => On::File(String::new()),
            Names::Descriptor => of_descriptor(pid, registers.rdi),
        };
        let mut is_turn = false;
        for (kind, seen) in Kind::ALL.into_iter().zip(&mut self.seen) {
            if kind.fits(call, &on, registers.rdx) {
                *seen += 1;
                is_turn |= kind == self.order.kind && *seen == self.order.nth;
            }
        }
        if !is_turn {
            return;
        }
        self.struck = Some(match &on {
            On::File(path) if !path.is_empty() => format!("{} {path}", call.name),
            On::Socket => format!("{} socket", call.name),
            _ => call.name.to_owned(),
        });
        let chosen = match self.order.kind {
            Kind::Kill => return self.kill(),
            Kind::Torn => {
                registers.rdx /= 2;
                Chosen::Halved
            }
            kind => {
                // A call that there is none of does nothing.
                registers.orig_rax = u64::MAX;
                Chosen::Fails(kind.errno(call))
            }
        };
        ptrace::setregs(pid, registers).ok();
        self.threads.insert(pid.as_raw(), Some(chosen));
    }

    fn kill(&self) {
        nix::sys::signal::kill(self.leader, Signal::SIGKILL).ok();
    }
}

fn of_descriptor(pid: Pid, descriptor: u64) -> On {
    match std::fs::read_link(format!("/proc/{pid}/fd/{}", descriptor & 0xffff_ffff)) {
        Ok(target) => {
            let target = target.to_string_lossy();
            if target.starts_with("socket:") {
                On::Socket
            } else if target.starts_with('/')
                && !target.starts_with("/dev/null")
                && !target.starts_with("/dev/pts")
            {
                On::File(target.rsplit('/').next().unwrap_or_default().to_owned())
            } else {
                On::Other
            }
        }
        Err(_) => On::Unknown,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Runs a shell script, and what it wrote to the file `told`.
    fn trace(script: &str, kind: Kind, nth: u32) -> (Ended, String) {
        let dir = tempfile::tempdir().unwrap();
        let mut command = Command::new("bash");
        command.args(["-c", script]).current_dir(dir.path());
        let traced = Traced::start(&command, dir.path(), Order { kind, nth }, true).unwrap();
        let ended = traced.ended().unwrap();
        (ended, std::fs::read_to_string(dir.path().join("told")).unwrap_or_default())
    }

    const THREE: &str = "exec >told; echo one; echo two; echo three";

    /// How many calls a shell makes that does nothing: one that is not well at home looks for its startup files.
    fn before(kind: Kind) -> u32 {
        let counted = trace(":", kind, u32::MAX).0.counted;
        Kind::ALL.into_iter().zip(counted).find(|(each, _)| *each == kind).unwrap().1
    }

    #[test]
    fn a_process_dies_right_before_the_call_that_was_asked_for() {
        let before = before(Kind::Kill);
        let told: Vec<String> = (1..=4).map(|nth| trace(THREE, Kind::Kill, before + nth).1).collect();
        // The first call is what makes the file.
        assert_eq!(told, ["", "", "one\n", "one\ntwo\n"]);
        let (ended, told) = trace(THREE, Kind::Kill, before + 5);
        assert_eq!((ended.struck, ended.counted[0], ended.code), (None, before + 4, Some(0)));
        assert_eq!(told, "one\ntwo\nthree\n");
    }

    #[test]
    fn half_of_a_write_is_written_before_the_process_dies() {
        let long = "exec >told; printf '%0600d' 7; printf '%01000d' 7";
        let (ended, told) = trace(long, Kind::Torn, before(Kind::Torn) + 2);
        assert_eq!((ended.code, told.len()), (None, 600 + 500));
        assert_eq!(ended.struck.as_deref(), Some("write told"));
    }

    #[test]
    fn a_call_that_fails_does_nothing_and_the_process_hears_of_it() {
        let script = "exec >told; echo one; echo two || echo three";
        let (ended, told) = trace(script, Kind::Enospc, before(Kind::Enospc) + 3);
        assert_eq!((ended.code, told.as_str()), (Some(0), "one\nthree\n"));
        let err = trace("exec >told 2>err; echo one; cat err >&1", Kind::Eio, before(Kind::Eio) + 3).1;
        assert!(err.contains("Input/output error"), "{err}");
    }
}
