//! The agent's token, from its file.

use std::io::Read as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use keywright_broker::Code;
use keywright_core::name::AgentName;
use zeroize::Zeroizing;

use crate::answer::Failure;
use crate::call::Passed;

/// The longest token, in bytes, with whatever whitespace is around it.
const LONGEST: u64 = 1024;

/// A file that holds an agent's token and that only its owner can read. The token itself is read for each call and
/// forgotten after it.
#[derive(Debug, Clone)]
pub(super) struct TokenFile {
    path: PathBuf,
    agent: AgentName,
}

impl TokenFile {
    /// Takes the file, and makes sure that it will do.
    pub(super) fn new(path: PathBuf, agent: &AgentName) -> Result<Self, Failure> {
        let file = Self { path, agent: agent.clone() };
        file.read()?;
        Ok(file)
    }

    /// Reads the token.
    pub(super) fn read(&self) -> Result<Passed, Failure> {
        let shown = self.path.display();
        let mut file = match std::fs::File::open(&self.path) {
            Ok(file) => file,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                return Err(refused(format!("there is no token of agent `{}` at {shown}", self.agent))
                    .hint(self.how_to_get_one()));
            }
            Err(error) => return Err(refused(format!("the token at {shown} can't be read: {error}"))),
        };
        // The mode of what was opened, not of what lies there by now.
        let metadata = file.metadata().map_err(|e| refused(format!("{shown}: {e}")))?;
        if !metadata.is_file() {
            return Err(refused(format!("{shown} is not a file")));
        }
        if metadata.mode() & 0o077 != 0 {
            let mode = metadata.mode() & 0o777;
            return Err(refused(format!("the token at {shown} is open to other users (mode {mode:03o})"))
                .hint(format!("chmod 600 {shown}")));
        }
        let mut text = Zeroizing::new(String::new());
        let read = file.by_ref().take(LONGEST + 1).read_to_string(&mut text);
        let token = text.trim();
        let is_token = !token.is_empty() && token.bytes().all(|b| b.is_ascii_graphic());
        if read.is_err() || text.len() as u64 > LONGEST || !is_token {
            return Err(refused(format!("{shown} holds no token")).hint(self.how_to_get_one()));
        }
        Ok(Passed::new(token.to_owned()))
    }

    fn how_to_get_one(&self) -> String {
        let path: &Path = &self.path;
        format!("have an operator run `keywright agent add {} --token-file {}`", self.agent, path.display())
    }
}

fn refused(message: String) -> Failure {
    Failure::new(Code::Unauthenticated, message)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    fn token_file(content: &str, mode: u32) -> (tempfile::TempDir, Result<TokenFile, Failure>) {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("builder.token");
        std::fs::write(&path, content).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
        (directory, TokenFile::new(path, &AgentName::parse("builder").unwrap()))
    }

    #[test]
    fn a_token_is_read_without_the_line_end() {
        let (_directory, file) = token_file("kwa_abc\n", 0o600);
        let token = file.unwrap().read().unwrap().into_secret();
        assert_eq!(token.expose_secret(), "kwa_abc");
    }

    #[test]
    fn a_token_that_others_can_read_is_refused_with_the_way_out() {
        for mode in [0o640, 0o604, 0o660, 0o601] {
            let (_directory, file) = token_file("kwa_abc", mode);
            let failure = file.unwrap_err();
            assert_eq!(failure.kind(), Some(Code::Unauthenticated), "{mode:o}");
            assert!(failure.hint.unwrap().starts_with("chmod 600 "), "{mode:o}");
            assert!(!failure.message.contains("kwa_abc"));
        }
    }

    #[test]
    fn a_file_without_a_token_is_refused_and_not_quoted() {
        for content in ["", " \n", "two words", "x\u{1b}[2J", &"x".repeat(2_000)] {
            let (_directory, file) = token_file(content, 0o600);
            let failure = file.unwrap_err();
            assert!(failure.message.ends_with("holds no token"), "{failure}");
        }
    }

    #[test]
    fn without_a_file_the_hint_says_who_makes_one() {
        let missing = PathBuf::from("/nonexistent/builder.token");
        let failure = TokenFile::new(missing, &AgentName::parse("builder").unwrap()).unwrap_err();
        assert!(failure.hint.unwrap().contains("keywright agent add builder --token-file"));
    }
}
