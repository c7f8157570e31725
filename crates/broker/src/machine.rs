//! What keeps this machine's part of the promise: whose the home is, who can read it, where it lies, and what protects the process
//! that looks. `doctor` and the page of health say it in the same words.

use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::Path;

use serde::Serialize;

use crate::broker::Broker;

/// How a check went.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// As it should be.
    Good,
    /// Worth knowing.
    Note,
    /// Deserves a look.
    Warning,
    /// Wrong.
    Wrong,
}

/// One finding.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// A word for programs.
    pub check: &'static str,
    /// How it went.
    pub verdict: Verdict,
    /// What was found.
    pub what: String,
    /// What to do about it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
}

impl Finding {
    /// A finding without a hint.
    #[must_use]
    pub fn new(check: &'static str, verdict: Verdict, what: impl Into<String>) -> Self {
        Self { check, verdict, what: what.into(), hint: None }
    }

    /// The same with what to do about it.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }
}

/// Whose the files of a home are, who can read them, and whether the home lies where it is shared.
#[must_use]
pub fn of_home(root: &Path) -> Vec<Finding> {
    let mut findings = Vec::new();
    let own = rustix::process::geteuid().as_raw();
    let paths = [
        "",
        "ledger.db",
        "ledger.db-wal",
        "ledger.db-shm",
        "config.toml",
        "broker.sock",
        "audit",
        "agents",
        "workloads",
    ];
    let mut open = Vec::new();
    for path in paths.iter().map(|name| if name.is_empty() { root.to_owned() } else { root.join(name) }) {
        let Ok(meta) = std::fs::symlink_metadata(&path) else { continue };
        if meta.permissions().mode() & 0o077 != 0 {
            open.push(format!("{} (mode {:03o})", path.display(), meta.permissions().mode() & 0o777));
        }
        if meta.uid() != own {
            let what = format!("{} belongs to user {}, and you are user {own}", path.display(), meta.uid());
            findings.push(Finding::new("home-owner", Verdict::Warning, what));
        }
    }
    findings.push(if open.is_empty() {
        Finding::new("home-modes", Verdict::Good, "other users can't read it")
    } else {
        Finding::new("home-modes", Verdict::Wrong, format!("other users can read {}", open.join(", ")))
            .hint(format!("chmod -R go-rwx {}", root.display()))
    });
    if let Err(error) = rustix::fs::access(root, rustix::fs::Access::WRITE_OK | rustix::fs::Access::EXEC_OK) {
        let what = format!("nothing can be written in {}: {error}", root.display());
        let finding = Finding::new("home-writable", Verdict::Wrong, what);
        findings
            .push(finding.hint("no key can be made or revoked, and nothing be put on record, until it can"));
    }
    if let Some(repository) = root.ancestors().find(|folder| folder.join(".git").exists()) {
        let what = format!("the home lies in the git repository {}", repository.display());
        findings.push(Finding::new("home-place", Verdict::Warning, what).hint("move it out of there"));
    }
    findings
}

/// Whether the process runs as a user for whom nothing is protected.
#[must_use]
pub fn of_user() -> Option<Finding> {
    rustix::process::geteuid().is_root().then(|| {
        let what = "you are root, for whom no protection of files or memory counts";
        Finding::new("root", Verdict::Warning, what).hint("run the broker and the agents as plain users")
    })
}

/// What keeps the memory of this process to itself.
#[must_use]
pub fn of_process() -> Vec<Finding> {
    let memory = match is_undumpable() {
        Some(true) => {
            Finding::new("memory", Verdict::Good, "other processes of yours can't read this program's memory")
        }
        Some(false) => {
            Finding::new("memory", Verdict::Wrong, "other processes of yours can read this program's memory")
        }
        None => Finding::new(
            "memory",
            Verdict::Note,
            "this platform does not say whether other processes of yours can read this program's memory",
        ),
    };
    let core = if leaves_no_core() {
        Finding::new("core", Verdict::Good, "a crash leaves no memory on the disk")
    } else {
        Finding::new("core", Verdict::Warning, "a crash may leave memory on the disk").hint("ulimit -c 0")
    };
    let swap = "memory is not locked in this version, so secrets in use can be swapped out";
    let swap = Finding::new("swap", Verdict::Note, swap).hint("encrypt the swap space, or have none");
    vec![memory, core, swap]
}

/// The second place of the log's head: that there is one, and that it lies elsewhere. Whether it answers is asked elsewhere.
#[must_use]
pub fn of_second_place(root: &Path, config: &Path, place: Option<&Path>) -> Finding {
    match place {
        Some(place) if place.starts_with(root) => {
            let what =
                format!("the copy of the audit log's head in {} lies in the home itself", place.display());
            Finding::new("witness", Verdict::Warning, what).hint("name a place outside of it in config.toml")
        }
        Some(place) => {
            let what = format!("an older copy of the home would be noticed by {}", place.display());
            Finding::new("witness", Verdict::Good, what)
        }
        None => {
            let what = "an older copy of the whole home that is put back would not be noticed: the audit log's head has no copy \
                        in a second place";
            let hint = format!("in {}: [audit] witness = \"/another/place\"", config.display());
            Finding::new("witness", Verdict::Note, what).hint(hint)
        }
    }
}

impl Broker {
    /// What can be said about the machine that this broker runs on, as far as its own process can see it.
    #[must_use]
    pub fn machine(&self) -> Vec<Finding> {
        let home = self.home();
        let mut findings = of_home(home.root());
        findings.push(match home.witness() {
            Ok(place) => of_second_place(home.root(), &home.config(), place.as_deref()),
            Err(error) => Finding::new("witness", Verdict::Wrong, error.message),
        });
        findings.extend(of_user());
        findings.extend(of_process());
        findings
    }
}

/// Whether other processes of this user are kept from this one's memory; `None` where the platform can't tell.
fn is_undumpable() -> Option<bool> {
    #[cfg(target_os = "linux")]
    {
        let behavior = rustix::process::dumpable_behavior().ok()?;
        Some(behavior == rustix::process::DumpableBehavior::NotDumpable)
    }
    #[cfg(not(target_os = "linux"))]
    None
}

/// Whether a crash leaves no file behind.
fn leaves_no_core() -> bool {
    rustix::process::getrlimit(rustix::process::Resource::Core).current == Some(0)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn a_home_that_others_can_read_or_that_lies_in_a_repository_is_told() {
        let dir = tempfile::tempdir().unwrap();
        let home = dir.path().join("home");
        std::fs::create_dir(&home).unwrap();
        let set = |mode| std::fs::set_permissions(&home, std::fs::Permissions::from_mode(mode)).unwrap();
        let verdicts = || -> Vec<(&str, Verdict)> {
            of_home(&home).into_iter().map(|one| (one.check, one.verdict)).collect()
        };
        set(0o700);
        assert_eq!(verdicts(), [("home-modes", Verdict::Good)]);
        set(0o750);
        std::fs::create_dir(dir.path().join(".git")).unwrap();
        assert_eq!(verdicts(), [("home-modes", Verdict::Wrong), ("home-place", Verdict::Warning)]);
    }

    #[test]
    fn a_second_place_in_the_home_is_none() {
        let (root, config) = (Path::new("/h"), Path::new("/h/config.toml"));
        let verdict = |place: Option<&str>| of_second_place(root, config, place.map(Path::new)).verdict;
        assert_eq!(verdict(None), Verdict::Note);
        assert_eq!(verdict(Some("/h/there")), Verdict::Warning);
        assert_eq!(verdict(Some("/elsewhere")), Verdict::Good);
    }
}
