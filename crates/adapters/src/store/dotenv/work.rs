//! What the store does with one file. Blocks: it reads, writes, waits for a lock and asks git.

use std::path::{Path, PathBuf};

use keywright_core::id::PlacementId;
use keywright_core::store::{Presence, VerifyMode, Written};

use super::blocking::OwnedWrite;
use super::editor::{Editor, Standing};
use super::folder::{Contents, Folder, LARGEST};
use super::git;
use super::quote::quoted;
use super::replace::{Replaced, TRIES, replace};
use super::spot::Spot;
use super::stamp::Stamp;
use super::trouble::Trouble;
use crate::store::remote::{is_permitted, same};

/// The longest value in bytes: half of what Linux takes for one environment variable.
pub(super) const LONGEST_VALUE: usize = 64 * 1024;

/// One variable in one file.
pub(super) struct Site {
    pub(super) directory: PathBuf,
    pub(super) spot: Spot,
    /// The directory that it must lie in.
    pub(super) root: Option<PathBuf>,
}

/// A write.
pub(super) struct Job {
    pub(super) site: Site,
    pub(super) write: OwnedWrite,
}

/// The real path of the directory that a relative place starts from.
pub(super) fn base(cwd: Option<&str>) -> Result<String, Trouble> {
    let cwd = cwd.map(Path::new).filter(|cwd| cwd.is_absolute()).ok_or_else(|| {
        Trouble::Place(
            "it is relative, and the directory that it starts from is not known; write an absolute path"
                .into(),
        )
    })?;
    let real = cwd.canonicalize().map_err(|error| {
        Trouble::Place(format!("it is relative to `{}`, which can't be entered: {error}", cwd.display()))
    })?;
    real.to_str().map(str::to_owned).ok_or_else(|| Trouble::Place("its directory's name is not UTF-8".into()))
}

impl Site {
    /// Every rule that can be checked before there is a value.
    pub(super) fn accept(&self) -> Result<(), Trouble> {
        let folder = self.folder()?;
        folder.writable()?;
        git::check(&folder.path, &self.spot.file)?;
        let contents = folder.read(&self.spot.file)?;
        Editor::parse(bytes(contents.as_ref()))?;
        Ok(())
    }

    pub(super) fn look(&self) -> Result<Presence, Trouble> {
        if self.is_gone() {
            return Ok(Presence::Absent);
        }
        let contents = self.folder()?.read(&self.spot.file)?;
        let editor = Editor::parse(bytes(contents.as_ref()))?;
        Ok(presence(editor.standing(self.spot.variable.as_str())))
    }

    /// Takes the lines of a placement out. A value without its comment is somebody else's and stays.
    pub(super) fn remove(&self, placement: &PlacementId) -> Result<(), Trouble> {
        if self.is_gone() {
            return Ok(());
        }
        let folder = self.folder()?;
        let _lock = folder.lock()?;
        for _ in 0..TRIES {
            let Some(contents) = folder.read(&self.spot.file)? else { return Ok(()) };
            let editor = Editor::parse(&contents.bytes)?;
            let Some(text) = editor.take(self.spot.variable.as_str(), placement) else { return Ok(()) };
            if replace(&folder, &self.spot.file, text.as_bytes(), Some(contents.seen))? == Replaced::Done {
                return Ok(());
            }
        }
        Err(Trouble::restless())
    }

    /// The directory, held open, if it is a safe one.
    fn folder(&self) -> Result<Folder, Trouble> {
        if let Some(root) = &self.root {
            let root =
                root.canonicalize().map_err(|error| Trouble::io("can't enter the store's root", error))?;
            if !self.directory.starts_with(&root) {
                return Err(Trouble::Place(format!(
                    "it lies outside of the store's root `{}`",
                    root.display()
                )));
            }
        }
        Folder::open(&self.directory)
    }

    fn is_gone(&self) -> bool {
        let found = self.directory.symlink_metadata();
        found.is_err_and(|error| error.kind() == std::io::ErrorKind::NotFound)
    }
}

impl Job {
    pub(super) fn write(&self) -> Result<Written, Trouble> {
        let value = self.write.secret.expose_secret();
        if value.len() > LONGEST_VALUE {
            return Err(Trouble::Value(format!("it is longer than {LONGEST_VALUE} bytes")));
        }
        let quoted = quoted(value)?;
        let Site { spot, .. } = &self.site;
        let stamp = Stamp::new(&self.write.origin, spot.variable.as_str(), value);
        let folder = self.site.folder()?;
        git::check(&folder.path, &spot.file)?;
        let _lock = folder.lock()?;
        for _ in 0..TRIES {
            let contents = folder.read(&spot.file)?;
            let editor = Editor::parse(bytes(contents.as_ref()))?;
            let shared = contents.as_ref().map_or(0, |contents| contents.seen.mode & 0o077);
            if shared == 0 && self.is_written(&editor) {
                return Ok(self.written());
            }
            let seen = presence(editor.standing(spot.variable.as_str()));
            if !self.is_written(&editor) && !is_permitted(&self.write.expected, &seen) {
                return Err(Trouble::Conflict);
            }
            let text = editor.put(spot.variable.as_str(), &stamp, &quoted)?;
            if text.len() as u64 > LARGEST {
                return Err(Trouble::Value("the file would be larger than 1 MiB".into()));
            }
            if replace(&folder, &spot.file, text.as_bytes(), contents.as_ref().map(|c| c.seen))?
                == Replaced::Done
            {
                if shared != 0 {
                    tracing::warn!(
                        directory = %folder.path.display(), file = %spot.file,
                        "others could read this file; it is for its owner alone now (0600)"
                    );
                }
                return Ok(self.written());
            }
        }
        Err(Trouble::restless())
    }

    /// Reads the file again and compares.
    pub(super) fn verify(&self) -> Result<VerifyMode, Trouble> {
        if self.site.is_gone() {
            return Err(Trouble::Mismatch);
        }
        let contents = self.site.folder()?.read(&self.site.spot.file)?;
        let editor = Editor::parse(bytes(contents.as_ref()))?;
        if self.is_written(&editor) { Ok(VerifyMode::ReadBack) } else { Err(Trouble::Mismatch) }
    }

    /// Whether this very write already landed.
    fn is_written(&self, editor: &Editor<'_>) -> bool {
        let variable = self.site.spot.variable.as_str();
        let Standing::Ours(stamp) = editor.standing(variable) else { return false };
        let secret = self.write.secret.expose_secret();
        editor.value(variable).is_some_and(|value| same(value, secret))
            && stamp.placement == self.write.origin.placement
    }

    fn written(&self) -> Written {
        Written { store_version: Some(self.write.origin.placement.to_string()) }
    }
}

fn presence(standing: Standing) -> Presence {
    match standing {
        Standing::Absent => Presence::Absent,
        Standing::Foreign => Presence::Foreign,
        Standing::Ours(stamp) => {
            Presence::Ours { store_version: Some(stamp.placement.to_string()), marker: Some(stamp.marker) }
        }
    }
}

fn bytes(contents: Option<&Contents>) -> &[u8] {
    contents.map_or(&[], |contents| &contents.bytes)
}
