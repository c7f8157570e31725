//! Whether git would ever commit a file.
//!
//! A repository's own configuration can name commands that git runs (`core.fsmonitor`, hooks, transports of a partial
//! clone). The project directory belongs to whoever wrote it, so git is asked with an empty environment, without
//! the user's and the system's configuration, and with everything switched off that could start a program.

use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use super::trouble::Trouble;

/// How long one question to git may take.
const PATIENCE: Duration = Duration::from_secs(10);
const POLL: Duration = Duration::from_millis(5);

/// Refuses a file that git tracks or would offer to commit. Outside of a work tree everything is fine.
pub(super) fn check(directory: &Path, file: &str) -> Result<(), Trouble> {
    let Some(root) = work_tree(directory) else { return Ok(()) };
    // Behind `./` no name is taken for an option or for pathspec magic.
    let path = format!("./{file}");
    if ask(directory, &["ls-files", "--error-unmatch", "--", &path])? {
        return Err(Trouble::Unsafe {
            why: "git tracks this file".into(),
            hint: format!(
                "run `git rm --cached {file}` in `{}`, commit that, and replace every secret that the file ever held",
                directory.display()
            ),
        });
    }
    // Whether it is tracked is known by now; with the index it would match the name as a pattern against tracked files.
    if ask(directory, &["check-ignore", "-q", "--no-index", "--", &path])? {
        return Ok(());
    }
    Err(Trouble::Unsafe {
        why: "git does not ignore this file".into(),
        hint: format!(
            "add the line `{}` to `{}`",
            pattern(&root, directory, file),
            root.join(".gitignore").display()
        ),
    })
}

/// The nearest directory upwards that has a `.git`.
fn work_tree(directory: &Path) -> Option<PathBuf> {
    directory.ancestors().find(|dir| dir.join(".git").symlink_metadata().is_ok()).map(Path::to_owned)
}

/// Asks a yes-or-no question, answered by exit code 0 or 1.
fn ask(directory: &Path, question: &[&str]) -> Result<bool, Trouble> {
    let status = run(directory, question).map_err(|error| Trouble::Unsafe {
        why: format!("it lies in a git work tree, and git can't be asked about it: {error}"),
        hint: "install git, or use a place outside of the work tree".into(),
    })?;
    match status.code() {
        Some(0) => Ok(true),
        Some(1) => Ok(false),
        code => Err(Trouble::Unsafe {
            why: format!(
                "it lies in a git work tree, and git can't say whether it ignores the file (`git {}` ended with {})",
                question.first().copied().unwrap_or_default(),
                code.map_or_else(|| "a signal".to_owned(), |code| format!("code {code}"))
            ),
            hint: format!("see what `git status` says in `{}`", directory.display()),
        }),
    }
}

fn run(directory: &Path, question: &[&str]) -> std::io::Result<ExitStatus> {
    let mut child = command(directory, question).spawn()?;
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(status);
        }
        if Instant::now() >= deadline {
            child.kill()?;
            child.wait()?;
            return Err(std::io::Error::new(
                std::io::ErrorKind::TimedOut,
                "git did not answer in 10 seconds",
            ));
        }
        std::thread::sleep(POLL);
    }
}

fn command(directory: &Path, question: &[&str]) -> Command {
    let mut git = Command::new("git");
    git.current_dir(directory)
        .env_clear()
        .envs(std::env::var_os("PATH").map(|path| ("PATH", path)))
        .env("LC_ALL", "C")
        .env("GIT_CONFIG_NOSYSTEM", "1")
        .env("GIT_CONFIG_SYSTEM", "/dev/null")
        .env("GIT_CONFIG_GLOBAL", "/dev/null")
        .env("GIT_ATTR_NOSYSTEM", "1")
        .env("GIT_OPTIONAL_LOCKS", "0")
        .env("GIT_TERMINAL_PROMPT", "0")
        .env("GIT_NO_LAZY_FETCH", "1")
        // A list of allowed transports wins over any configuration; this name is none.
        .env("GIT_ALLOW_PROTOCOL", "none")
        .args(["--no-pager"])
        .args([
            "-c",
            "core.fsmonitor=false",
            "-c",
            "core.hooksPath=/dev/null",
            "-c",
            "core.untrackedCache=false",
        ])
        // What the repository's owner keeps outside of it does not travel with the repository.
        .args(["-c", "core.excludesFile=/dev/null", "-c", "core.attributesFile=/dev/null"])
        // `ls-files` must not take a `*` in a name for a pattern; `check-ignore` refuses the option.
        .args((question.first() == Some(&"ls-files")).then_some("--literal-pathspecs"))
        .args(question)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    git
}

/// The line for `.gitignore`: anchored, with git's special characters escaped.
fn pattern(root: &Path, directory: &Path, file: &str) -> String {
    let below = directory.strip_prefix(root).unwrap_or(Path::new("")).join(file);
    let mut line = String::from("/");
    for c in below.to_string_lossy().chars() {
        if "*?[\\ ".contains(c) {
            line.push('\\');
        }
        line.push(c);
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_for_gitignore_is_anchored_and_literal() {
        let root = Path::new("/p");
        assert_eq!(pattern(root, root, ".env"), "/.env");
        assert_eq!(pattern(root, Path::new("/p/a b"), "[x]*.env"), "/a\\ b/\\[x]\\*.env");
    }
}
