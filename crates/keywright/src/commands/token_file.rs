//! The files that tokens are written to: made before the token exists, for the owner only, and taken back when there
//! is no token after all.

use std::fs::File;
use std::io::Write as _;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

use keywright_broker::Code;
use keywright_broker::home::Home;
use keywright_server::answer::Failure;
use serde_json::{Value, json};
use zeroize::Zeroize as _;

use crate::{errors, input};

/// A file that waits for its token.
pub(crate) struct TokenFile {
    path: PathBuf,
    file: Option<File>,
}

impl TokenFile {
    /// Makes the file that was named, or the usual one.
    pub(crate) fn create(named: Option<PathBuf>, usual: PathBuf) -> Result<Self, Failure> {
        if named.is_none()
            && let Some(folder) = usual.parent()
        {
            let made = std::fs::DirBuilder::new().recursive(true).mode(0o700).create(folder);
            made.map_err(|error| errors::file(folder, &error))?;
        }
        let path = named.unwrap_or(usual);
        let path = std::path::absolute(&path).map_err(|error| errors::file(&path, &error))?;
        let file = Some(input::fresh_file(&path)?);
        Ok(Self { path, file })
    }

    /// Moves the token out of an answer into the file; the answer names the file instead.
    pub(crate) fn take_from(mut self, answer: &mut Value) -> Result<PathBuf, Failure> {
        let nothing = || Failure::new(Code::Internal, "the broker answered without a token");
        let fields = answer.as_object_mut().ok_or_else(nothing)?;
        let Some(Value::String(mut token)) = fields.remove("token") else { return Err(nothing()) };
        let written = match self.file.as_mut() {
            Some(file) => writeln!(file, "{token}").and_then(|()| file.sync_all()),
            None => Ok(()),
        };
        token.zeroize();
        written.map_err(|error| errors::file(&self.path, &error))?;
        fields.insert("token_file".to_owned(), json!(self.path.display().to_string()));
        self.file = None;
        Ok(std::mem::take(&mut self.path))
    }
}

impl Drop for TokenFile {
    fn drop(&mut self) {
        if self.file.take().is_some() {
            // We made it, and nothing is in it.
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

/// Where the token of an agent or workload lies when nobody says otherwise. The name was parsed, so it is one
/// component.
pub(crate) fn usual(home: &Home, folder: &str, name: &str) -> PathBuf {
    home.root().join(folder).join(format!("{name}.token"))
}

/// Removes a token that is worth nothing any more, if it lies where it usually does.
pub(crate) fn forget(path: &Path) {
    // Only untidy if it stays.
    let _ = std::fs::remove_file(path);
}
