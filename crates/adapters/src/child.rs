//! Programs of other people, run for one question each: without a shell, with the least of an environment, with what is
//! secret on standard input only, and no longer than they may take.

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use keywright_core::secret::Secret;
use rustix::process::{Pid, Signal, kill_process_group};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWriteExt as _};
use tokio::process::Command;
use zeroize::Zeroizing;

use crate::wire::Scrub;

/// How long a program may take: enough for a person to type a passphrase into a prompt that it may open.
pub(super) const PATIENCE: Duration = Duration::from_secs(30);
/// The most that is read of an answer, and of a complaint, in bytes.
const LONGEST_ANSWER: u64 = 1 << 20;
const LONGEST_COMPLAINT: u64 = 16 << 10;
/// How much of it is read at a time where more may come than is kept, in bytes.
const CHUNK: u64 = 64 << 10;

/// A program, and the only variables that it sees.
pub(super) struct Program {
    pub(super) name: String,
    pub(super) variables: Vec<(&'static str, OsString)>,
    pub(super) patience: Duration,
    /// Where it runs; where the broker runs, without.
    pub(super) folder: Option<PathBuf>,
    /// What becomes of what it says beyond the limit.
    pub(super) beyond: Beyond,
}

/// What becomes of what a program says beyond the limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Beyond {
    /// It is not read, which ends a program that goes on.
    Unread,
    /// It is read, and what came first is thrown away, in whole lines: half a line may hold half a secret, which nobody
    /// recognises.
    Lost,
}

/// How it ended.
pub(super) struct Ended {
    pub(super) is_good: bool,
    /// `exit status: 1`, `signal: 9 (SIGKILL)`.
    pub(super) how: String,
    pub(super) answer: Zeroizing<Vec<u8>>,
    pub(super) complaint: Zeroizing<Vec<u8>>,
}

/// Ends the program, and whatever it started that did not leave its group.
struct Group(Option<Pid>);

impl Drop for Group {
    fn drop(&mut self) {
        if let Some(group) = self.0 {
            // It may be gone already.
            let _ = kill_process_group(group, Signal::KILL);
        }
    }
}

impl Program {
    /// One that answers questions.
    pub(super) fn asked(name: &str, variables: Vec<(&'static str, OsString)>) -> Self {
        Self { name: name.to_owned(), variables, patience: PATIENCE, folder: None, beyond: Beyond::Unread }
    }

    /// Runs it. No argument may be secret: everybody on the machine sees them.
    pub(super) async fn run(&self, arguments: &[&str], input: &[u8]) -> Result<Ended, String> {
        let name = self.name.as_str();
        let mut command = Command::new(name);
        if let Some(folder) = &self.folder {
            command.current_dir(folder);
        }
        let mut child = command
            .args(arguments)
            .env_clear()
            .envs(self.variables.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0)
            .kill_on_drop(true)
            .spawn()
            .map_err(|error| format!("`{name}` can't be started: {error}"))?;
        let mut group = Group(child.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw));
        let (stdin, stdout, stderr) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
        let feed = async move {
            if let Some(mut stdin) = stdin {
                // A program that does not read is judged by how it ends.
                let _ = stdin.write_all(input).await;
                let _ = stdin.shutdown().await;
            }
        };
        let all = async {
            let answer = read(stdout, LONGEST_ANSWER, self.beyond);
            let complaint = read(stderr, LONGEST_COMPLAINT, self.beyond);
            tokio::join!(feed, answer, complaint, child.wait())
        };
        let ended = tokio::time::timeout(self.patience, all).await;
        let ((), answer, complaint, status) =
            ended.map_err(|_| format!("`{name}` did not end within {} s", self.patience.as_secs()))?;
        let status = status.map_err(|error| format!("`{name}` can't be waited for: {error}"))?;
        group.0 = None;
        Ok(Ended { is_good: status.success(), how: status.to_string(), answer, complaint })
    }
}

impl Ended {
    /// What it complained of, on one line and without the secret.
    pub(super) fn complaint(&self, secret: Option<&Secret>) -> String {
        let text = Zeroizing::new(String::from_utf8_lossy(&self.complaint).into_owned());
        let line = Zeroizing::new(text.split_whitespace().collect::<Vec<_>>().join(" "));
        let said = Scrub::new(secret, |_| false).message(&line).to_string();
        if said.is_empty() { "it does not say why".to_owned() } else { said }
    }
}

/// Reads to the end, or to the limit.
async fn read(pipe: Option<impl AsyncRead + Unpin>, limit: u64, beyond: Beyond) -> Zeroizing<Vec<u8>> {
    let mut bytes = Zeroizing::new(Vec::with_capacity(4096));
    let Some(mut pipe) = pipe else { return bytes };
    // What could be read before an error is judged with how the program ended.
    if beyond == Beyond::Unread {
        let _ = pipe.take(limit).read_to_end(&mut bytes).await;
        return bytes;
    }
    let limit = usize::try_from(limit).unwrap_or(usize::MAX);
    let mut is_cut = false;
    while let Ok(1..) = (&mut pipe).take(CHUNK).read_to_end(&mut bytes).await {
        if let Some(too_many @ 1..) = bytes.len().checked_sub(limit) {
            bytes.drain(..too_many);
            is_cut = true;
        }
    }
    if is_cut {
        let whole = bytes.iter().position(|byte| *byte == b'\n').map_or(bytes.len(), |end| end + 1);
        bytes.drain(..whole);
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell() -> Program {
        let variables = vec![("PATH", std::env::var_os("PATH").unwrap())];
        Program::asked("sh", variables)
    }

    #[tokio::test]
    async fn it_sees_its_input_and_no_more_of_the_environment() {
        let ended = shell().run(&["-c", "cat; env | cut -d= -f1 | sort"], b"in\n").await.unwrap();
        let seen = String::from_utf8(ended.answer.to_vec()).unwrap();
        assert!(ended.is_good);
        assert!(seen.starts_with("in\n") && !seen.contains("HOME") && !seen.contains("CARGO"), "{seen}");
    }

    #[tokio::test]
    async fn a_complaint_does_not_quote_the_secret() {
        let secret = Secret::new("Canary_value".to_owned());
        let ended = shell().run(&["-c", "cat >&2; exit 3"], b"no\nCanary_value\nhere").await.unwrap();
        let said = ended.complaint(Some(&secret));
        assert!(!ended.is_good && said.starts_with("no ") && said.ends_with(" here"), "{said}");
        assert!(!said.contains("Canary"), "{said}");
    }

    #[tokio::test]
    async fn what_does_not_end_is_ended_with_all_that_it_started() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("pid");
        let script = format!("sleep 600 & echo $! > {}; wait", file.display());
        let program = Program { patience: Duration::from_secs(1), ..shell() };
        let error = program.run(&["-c", &script], b"").await.err().unwrap();
        assert_eq!(error, "`sh` did not end within 1 s");
        let pid = std::fs::read_to_string(file).unwrap();
        // Gone, or dead and not collected yet by whoever inherits it.
        let state = || std::fs::read_to_string(format!("/proc/{}/stat", pid.trim()));
        for _ in 0..100 {
            match state() {
                Ok(text) if !text.contains(") Z ") => tokio::time::sleep(Duration::from_millis(50)).await,
                _ => return,
            }
        }
        panic!("it still runs: {:?}", state());
    }

    #[tokio::test]
    async fn a_program_that_is_not_there_is_named() {
        let program = Program::asked("keywright-has-no-such-program", Vec::new());
        let error = program.run(&[], b"").await.err().unwrap();
        assert!(error.starts_with("`keywright-has-no-such-program` can't be started"), "{error}");
    }
}
