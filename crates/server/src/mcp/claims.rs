//! What a client says about itself. Recorded as claimed; nothing is decided by it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use keywright_core::name::AgentName;
use keywright_core::text::Untrusted;
use rmcp::RoleServer;
use rmcp::service::RequestContext;

/// How far up it is looked for a repository.
const DEEPEST: usize = 32;
/// The longest claim, in characters.
const LONGEST: usize = 200;

/// Variables that clients set for the programs that they start.
const VARIABLES: [(&str, &str); 3] = [
    ("CLAUDE_CODE_SESSION_ID", "claude_code_session"),
    ("CLAUDECODE", "claude_code"),
    ("AI_AGENT", "ai_agent"),
];

/// Claims that are the same for every call of this process.
#[derive(Debug, Clone)]
pub(super) struct Claims(BTreeMap<String, String>);

impl Claims {
    /// The agent's name as the command line says it, and what the client put into the environment.
    pub(super) fn of_this_process(agent: &AgentName) -> Self {
        let mut claims = BTreeMap::from([("agent".to_owned(), agent.to_string())]);
        for (variable, name) in VARIABLES {
            if let Some(text) = std::env::var(variable).ok().filter(|text| !text.is_empty()) {
                claims.insert(name.to_owned(), capped(&text));
            }
        }
        Self(claims)
    }

    /// With what came along with one call.
    pub(super) fn with(&self, context: &RequestContext<RoleServer>) -> BTreeMap<String, String> {
        let mut claims = self.0.clone();
        if let Some(branch) = std::env::current_dir().ok().and_then(|folder| branch_of(&folder)) {
            claims.insert("branch".to_owned(), capped(&branch));
        }
        if let Some(client) = context.client_info() {
            claims.insert("client".to_owned(), capped(&client.name));
            claims.insert("client_version".to_owned(), capped(&client.version));
        }
        if let Some(trace) = context.meta.get_traceparent().filter(|text| is_traceparent(text)) {
            claims.insert("traceparent".to_owned(), trace.to_owned());
        }
        claims
    }
}

/// The branch that is checked out where this process runs, as git notes it; the commit where none is. No program is run.
fn branch_of(folder: &Path) -> Option<String> {
    let git = folder.ancestors().take(DEEPEST).map(|one| one.join(".git")).find(|git| git.exists())?;
    // In a worktree, and in a submodule, it is a file that says where the folder is.
    let git = match read(&git) {
        Some(text) => folder_named(&git, text.strip_prefix("gitdir:")?.trim()),
        None => git,
    };
    let head = read(&git.join("HEAD"))?;
    let head = head.lines().next()?.trim();
    let branch = head.strip_prefix("ref: refs/heads/");
    let is_commit = [40, 64].contains(&head.len()) && head.bytes().all(|byte| byte.is_ascii_hexdigit());
    let commit = head.get(..12).filter(|_| is_commit);
    branch.or(commit).filter(|text| !text.is_empty()).map(ToOwned::to_owned)
}

fn folder_named(beside: &Path, path: &str) -> PathBuf {
    beside.parent().unwrap_or(beside).join(path)
}

/// The beginning of a file; nothing of a folder, or of what is no text.
fn read(path: &Path) -> Option<String> {
    use std::io::Read as _;
    // What is no file may never end, or never begin.
    std::fs::symlink_metadata(path).ok().filter(std::fs::Metadata::is_file)?;
    let file = std::fs::File::open(path).ok()?;
    let mut text = String::new();
    file.take(4_096).read_to_string(&mut text).ok()?;
    Some(text)
}

fn capped(text: &str) -> String {
    Untrusted::capped(text, LONGEST).raw().to_owned()
}

/// `version-traceid-parentid-flags` in lower-case hex (W3C Trace Context, section 3.2).
fn is_traceparent(text: &str) -> bool {
    let lengths = text.split('-').map(str::len);
    lengths.eq([2, 32, 16, 2]) && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f' | b'-'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_branch_is_read_from_a_repository_a_worktree_or_a_commit() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path();
        let deep = root.join("a/b");
        std::fs::create_dir_all(&deep).unwrap();
        std::fs::create_dir_all(root.join("main/.git/worktrees/w")).unwrap();
        std::fs::write(root.join("main/.git/HEAD"), "ref: refs/heads/feature/dns\n").unwrap();
        assert_eq!(branch_of(&root.join("main")).as_deref(), Some("feature/dns"));
        std::fs::write(root.join("main/.git/worktrees/w/HEAD"), "ref: refs/heads/other\n").unwrap();
        std::fs::write(root.join("a/.git"), "gitdir: ../main/.git/worktrees/w\n").unwrap();
        assert_eq!(branch_of(&deep).as_deref(), Some("other"));
        std::fs::write(root.join("main/.git/HEAD"), "8c1d5e0f7a9b8c1d5e0f7a9b8c1d5e0f7a9b8c1d\n").unwrap();
        assert_eq!(branch_of(&root.join("main")).as_deref(), Some("8c1d5e0f7a9b"));
        for bad in ["", "ref: refs/heads/", "short"] {
            std::fs::write(root.join("main/.git/HEAD"), bad).unwrap();
            assert_eq!(branch_of(&root.join("main")), None, "{bad}");
        }
    }

    #[test]
    fn only_a_well_formed_traceparent_is_taken_along() {
        assert!(is_traceparent("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"));
        for bad in ["", "00-4BF9-x-01", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-more"] {
            assert!(!is_traceparent(bad), "{bad}");
        }
    }
}
