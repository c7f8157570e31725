//! What happens before anything else: this process holds secrets, so it leaves as little of itself lying around as it
//! can.

use std::io::Write as _;
use std::sync::OnceLock;

use rustix::fs::Mode;
use rustix::process::{Resource, Rlimit};

/// What a program that we start must get back, because it is not ours to restrict.
struct Before {
    umask: Mode,
    core: Rlimit,
}

static BEFORE: OnceLock<Before> = OnceLock::new();

/// No memory dumps, no attaching of debuggers, files for the owner only, panics without their payload.
pub(crate) fn process() {
    #[cfg(target_os = "linux")]
    {
        // Best effort; `doctor` says whether it took.
        let _ = rustix::process::set_dumpable_behavior(rustix::process::DumpableBehavior::NotDumpable);
    }
    let core = rustix::process::getrlimit(Resource::Core);
    let _ = rustix::process::setrlimit(Resource::Core, Rlimit { current: Some(0), maximum: core.maximum });
    let umask = rustix::process::umask(Mode::from_raw_mode(0o077));
    let _ = BEFORE.set(Before { umask, core });
    std::panic::set_hook(Box::new(|info| {
        // A payload may quote a value, and a value may be a secret.
        let mut talk = std::io::stderr().lock();
        let _ = match info.location() {
            Some(at) => writeln!(talk, "error: a bug in keywright, at {}:{}", at.file(), at.line()),
            None => writeln!(talk, "error: a bug in keywright"),
        };
    }));
}

/// Undoes what a program that replaces this one would inherit. The kernel makes it dumpable again by itself.
pub(crate) fn release() {
    if let Some(before) = BEFORE.get() {
        rustix::process::umask(before.umask);
        // It was so before, so it is allowed.
        let _ = rustix::process::setrlimit(Resource::Core, before.core);
    }
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    #[test]
    fn a_panic_says_where_and_never_what() {
        let child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "harden::tests::panics", "--ignored", "--nocapture"])
            .env("RUST_BACKTRACE", "full")
            .output()
            .unwrap();
        let talk =
            String::from_utf8_lossy(&child.stderr).into_owned() + &String::from_utf8_lossy(&child.stdout);
        assert!(talk.contains("error: a bug in keywright, at "), "{talk}");
        for payload in ["canary", "panicked", "stack backtrace"] {
            assert!(!talk.contains(payload), "{talk}");
        }
    }

    #[test]
    #[ignore = "the test above starts it as a process of its own"]
    fn panics() {
        super::process();
        panic!("canary-value");
    }
}
