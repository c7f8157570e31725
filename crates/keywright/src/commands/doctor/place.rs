//! What `doctor` looks at in the current directory: secrets that are about to escape.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Command, Stdio};

use super::checks::is_there;
use super::{Finding, Verdict};

/// The `.env` file here, if there is one.
pub(super) fn folder() -> Vec<Finding> {
    let path = Path::new(".env");
    if !is_there(path) {
        return vec![Finding::new("dotenv", Verdict::Good, "no .env file lies in this directory")];
    }
    let mut findings = Vec::new();
    if let Ok(meta) = std::fs::symlink_metadata(path) {
        if meta.file_type().is_symlink() {
            findings.push(
                Finding::new(
                    "dotenv-link",
                    Verdict::Warning,
                    "./.env is a link; keys are not written through links",
                )
                .hint("replace it by a file"),
            );
        } else if meta.permissions().mode() & 0o077 != 0 {
            findings.push(
                Finding::new("dotenv-modes", Verdict::Warning, "other users can read ./.env")
                    .hint("chmod 600 .env"),
            );
        }
    }
    match (git(&["ls-files", "--error-unmatch", ".env"]), git(&["check-ignore", "--quiet", ".env"])) {
        (Some(true), _) => findings.push(
            Finding::new(
                "dotenv-git",
                Verdict::Wrong,
                "./.env is tracked by git: what is in it will be shared",
            )
            .hint("git rm --cached .env, ignore it, and replace every key that was in it"),
        ),
        (Some(false), Some(false)) => findings.push(
            Finding::new(
                "dotenv-git",
                Verdict::Warning,
                "git does not ignore ./.env, so the next `git add` takes it",
            )
            .hint("add a line `.env` to .gitignore"),
        ),
        _ => {}
    }
    if findings.is_empty() {
        findings.push(Finding::new(
            "dotenv",
            Verdict::Good,
            "./.env is for you only, and git leaves it alone",
        ));
    }
    findings
}

/// Whether git agrees; `None` where there is no git or no repository. What a repository configures to be run is not.
fn git(arguments: &[&str]) -> Option<bool> {
    let status = Command::new("git")
        .args(["-c", "core.fsmonitor=false", "-c", "core.hooksPath=/dev/null"])
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .ok()?;
    match status.code() {
        Some(0) => Some(true),
        Some(1) => Some(false),
        _ => None,
    }
}
