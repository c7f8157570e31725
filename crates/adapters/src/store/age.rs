//! The store `age`: one file a key, encrypted to the recipients that are configured.
//!
//! A place is the path of a file below the store's root, as in `web/dev/TOKEN.age`. The file holds the value and nothing
//! else, so that `age --decrypt` gives the value; it is binary, 0600, and replaced as a whole. Directories are made.
//!
//! **Whose file.** Beside `TOKEN.age` lies `TOKEN.age.keywright`: the digest of the file that Keywright wrote, its placement
//! and its marker. It is written first, with the old line kept below the new one until the file is there; since a digest
//! speaks of one file only, a crash in between leaves nothing in doubt. A file whose digest it does not know is
//! somebody else's. Both may be committed: neither tells anything to who has no identity.
//!
//! **What is known after a write.** With an identity as the credential, the value itself. Without one, that the file lies
//! there as it was written ([`VerifyMode::StatusOnly`]): nobody here can tell what the recipients read in it.
//!
//! Format: <https://age-encryption.org/v1>, with X25519 recipients (`age1...`).

use std::fs::DirBuilder;
use std::io::Write as _;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use age::x25519::{Identity, Recipient};
use async_trait::async_trait;
use keywright_core::name::{EnvironmentName, KeyName, ProjectName, StoreName};
use keywright_core::plan::Destination;
use keywright_core::secret::Secret;
use keywright_core::store::{Origin, Presence, Store, StoreError, StoreFacts, VerifyMode, Write, Written};
use sha2::{Digest as _, Sha256};

use super::dotenv::blocking::{OwnedWrite, blocking};
use super::dotenv::folder::{Contents, Folder};
use super::dotenv::replace::{Replaced, TRIES, remove, replace};
use super::dotenv::trouble::Trouble;
use super::remote::{At, Held, Stamp, is_permitted, written};
use super::{StoreConfig, StoreConnectError};
use crate::names::{hex, is_path};

/// The kind's name.
pub(super) const KIND: &str = "age";

const ROOT: &str = "root";
const RECIPIENTS: &str = "recipients";

/// The settings, and what each is.
pub(super) const SETTINGS: &[(&str, &str)] = &[
    (ROOT, "an absolute directory of the broker's user; places are below it"),
    (RECIPIENTS, "who can decrypt: `age1...`, with commas between"),
];

/// What the credential is.
pub(super) const CREDENTIAL: &str =
    "optional: an identity, `AGE-SECRET-KEY-1...`, of one of the recipients; values are read back with it";

const ENDING: &str = ".age";

pub(super) static FACTS: StoreFacts = StoreFacts {
    kind: KIND,
    verify: VerifyMode::ReadBack,
    guarded: true,
    versions: false,
    max_value: 512 << 10,
    seen: "when the program decrypts the file again",
    settles: 0,
};

/// One configured directory.
pub(super) struct Age {
    name: StoreName,
    desk: Arc<Desk>,
}

/// What the work on files needs; it blocks.
struct Desk {
    root: PathBuf,
    recipients: Vec<Recipient>,
    identity: Option<Identity>,
}

/// A line beside a file: the digest of what was written there, and by whom.
type Note = (String, Stamp);

fn read_notes(folder: &Folder, file: &str) -> Result<Vec<Note>, Trouble> {
    let Some(contents) = folder.read(&name(file))? else { return Ok(Vec::new()) };
    let text = String::from_utf8_lossy(&contents.bytes);
    let line = |line: &str| {
        let (digest, stamp) = line.split_once(' ')?;
        Some((digest.to_owned(), Stamp::parse(stamp)?))
    };
    Ok(text.lines().filter_map(line).collect())
}

fn write_notes(folder: &Folder, file: &str, notes: &[&Note]) -> Result<(), Trouble> {
    let text: String = notes.iter().map(|(digest, stamp)| format!("{digest} {}\n", stamp.text())).collect();
    match replace(folder, &name(file), text.as_bytes(), folder.seen(&name(file))?)? {
        Replaced::Done => Ok(()),
        Replaced::Overtaken => Err(Trouble::restless()),
    }
}

/// The file of the notes.
fn name(file: &str) -> String {
    format!("{file}.keywright")
}

fn digest(bytes: &[u8]) -> String {
    hex(&Sha256::digest(bytes))
}

/// A file, where there is one, and what is noted beside it.
struct Found {
    contents: Option<Contents>,
    notes: Vec<Note>,
}

impl Found {
    fn read(folder: &Folder, file: &str) -> Result<Self, Trouble> {
        Ok(Self { contents: folder.read(file)?, notes: read_notes(folder, file)? })
    }

    /// The note about the file as it is now.
    fn note(&self) -> Option<&Note> {
        let digest = digest(&self.contents.as_ref()?.bytes);
        self.notes.iter().find(|(known, _)| *known == digest)
    }

    /// Whose the file is.
    fn owner(&self) -> Option<&Stamp> {
        self.note().map(|(_, stamp)| stamp)
    }

    fn presence(&self) -> Presence {
        match (&self.contents, self.owner()) {
            (None, _) => Presence::Absent,
            (Some(_), None) => Presence::Foreign,
            (Some(_), Some(stamp)) => stamp.clone().presence_by_placement(),
        }
    }
}

/// The directory below the root, empty for the root itself, and the file.
fn split(place: &str) -> Result<(&str, &str), Trouble> {
    let (directory, file) = place.rsplit_once('/').unwrap_or(("", place));
    let fits = is_path(place, 400) && file.len() > ENDING.len();
    if fits && file.ends_with(ENDING) {
        return Ok((directory, file));
    }
    Err(Trouble::Place(
        "write a path below the store's root that ends in `.age`, of letters, digits and `-_.@+`, where no part starts \
         with a dot or a dash"
            .into(),
    ))
}

/// A place is below the root, so that the real path of what a link leads to is no place.
fn below_root(trouble: Trouble) -> Trouble {
    match trouble {
        Trouble::Unsafe { why, .. } => {
            let hint = "name a place whose directories are no links, or a store whose root is where it leads";
            Trouble::Unsafe { why, hint: hint.into() }
        }
        other => other,
    }
}

impl Desk {
    /// The directory of a place, held open; `None` where it does not exist.
    fn folder(&self, directory: &str) -> Result<Option<Folder>, Trouble> {
        let root = Folder::open(&self.root)?;
        if directory.is_empty() {
            return Ok(Some(root));
        }
        let path = self.root.join(directory);
        match path.symlink_metadata() {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            _ => Folder::open(&path).map(Some).map_err(below_root),
        }
    }

    fn made(&self, directory: &str) -> Result<Folder, Trouble> {
        if let Some(folder) = self.folder(directory)? {
            return Ok(folder);
        }
        let mut path = self.root.clone();
        for part in Path::new(directory) {
            path.push(part);
            match DirBuilder::new().mode(0o700).create(&path) {
                Err(error) if error.kind() != std::io::ErrorKind::AlreadyExists => {
                    return Err(Trouble::io("can't make a directory", error));
                }
                _ => drop(Folder::open(&path)?),
            }
        }
        Folder::open(&path)
    }

    fn look(&self, place: &str) -> Result<Presence, Trouble> {
        let (directory, file) = split(place)?;
        let Some(folder) = self.folder(directory)? else { return Ok(Presence::Absent) };
        Ok(Found::read(&folder, file)?.presence())
    }

    fn write(&self, place: &str, write: &OwnedWrite) -> Result<(), Trouble> {
        let OwnedWrite { expected, origin, secret } = write;
        let (directory, file) = split(place)?;
        let folder = self.made(directory)?;
        let _lock = folder.lock()?;
        let sealed = self.seal(secret)?;
        for _ in 0..TRIES {
            let found = Found::read(&folder, file)?;
            if found.owner().is_some_and(|owner| owner.is_of(origin)) {
                return Ok(());
            }
            if !is_permitted(expected, &found.presence()) {
                return Err(Trouble::Conflict);
            }
            let ours = (digest(&sealed), Stamp::of(origin));
            let both: Vec<&Note> = std::iter::once(&ours).chain(found.note()).collect();
            write_notes(&folder, file, &both)?;
            let seen = found.contents.map(|contents| contents.seen);
            if replace(&folder, file, &sealed, seen)? == Replaced::Done {
                if let Err(trouble) = write_notes(&folder, file, &[&ours]) {
                    tracing::debug!(?trouble, "a line about the file before is left beside it");
                }
                return Ok(());
            }
        }
        Err(Trouble::restless())
    }

    fn verify(&self, place: &str, write: &OwnedWrite) -> Result<VerifyMode, Trouble> {
        let (directory, file) = split(place)?;
        let folder = self.folder(directory)?.ok_or(Trouble::Mismatch)?;
        let found = Found::read(&folder, file)?;
        if !found.owner().is_some_and(|owner| owner.is_of(&write.origin)) {
            return Err(Trouble::Mismatch);
        }
        let contents = found.contents.ok_or(Trouble::Mismatch)?;
        let Some(identity) = &self.identity else { return Ok(VerifyMode::StatusOnly) };
        let opened = age::decrypt(identity, &contents.bytes).map_err(|_| Trouble::Mismatch)?;
        let opened = Secret::from_utf8(opened).map_err(|_| Trouble::Mismatch)?;
        if Held(opened).is(&write.secret) { Ok(VerifyMode::ReadBack) } else { Err(Trouble::Mismatch) }
    }

    /// Takes the file and its notes away, if this origin's write left the file.
    fn remove(&self, place: &str, origin: &Origin) -> Result<(), Trouble> {
        let (directory, file) = split(place)?;
        let Some(folder) = self.folder(directory)? else { return Ok(()) };
        let _lock = folder.lock()?;
        let found = Found::read(&folder, file)?;
        let owner = match found.contents {
            Some(_) => found.owner(),
            // A write that did not come so far, or a removal that did.
            None => found.notes.first().map(|(_, stamp)| stamp),
        };
        if owner.is_some_and(|owner| owner.is_of(origin)) {
            remove(&folder, &[file, &name(file)])?;
        }
        Ok(())
    }

    fn seal(&self, value: &Secret) -> Result<Vec<u8>, Trouble> {
        let failed = |what: &str| Trouble::Value(format!("it can't be encrypted: {what}"));
        let recipients = self.recipients.iter().map(|recipient| recipient as &dyn age::Recipient);
        let encryptor =
            age::Encryptor::with_recipients(recipients).map_err(|error| failed(&error.to_string()))?;
        let mut sealed = Vec::new();
        let mut writer = encryptor.wrap_output(&mut sealed).map_err(|error| failed(&error.to_string()))?;
        let written = writer.write_all(value.expose_secret().as_bytes());
        written.and_then(|()| writer.finish()).map_err(|error| failed(&error.to_string()))?;
        Ok(sealed)
    }
}

impl Age {
    /// Reads the configuration.
    ///
    /// # Errors
    /// When a setting is missing or makes no sense, or the identity is of none of the recipients.
    pub(super) fn new(config: &StoreConfig, credential: Option<Secret>) -> Result<Self, StoreConnectError> {
        let root =
            config.directory(ROOT)?.ok_or_else(|| config.missing(ROOT, "the directory of the files"))?;
        let listed = config.required(RECIPIENTS, "who can decrypt, as in `age1...`")?;
        let recipients: Vec<Recipient> = listed
            .split(',')
            .map(|text| text.trim().parse())
            .collect::<Result<_, _>>()
            .map_err(|error| config.bad(RECIPIENTS, format!("must be X25519 recipients: {error}")))?;
        let identity = credential.map(|credential| identity(&credential)).transpose();
        let identity = identity
            .map_err(|_| config.bad("credential", "is not an identity as `age-keygen` makes them"))?;
        if identity.as_ref().is_some_and(|identity| !recipients.contains(&identity.to_public())) {
            return Err(config.bad(RECIPIENTS, "do not contain the one of the identity"));
        }
        let desk = Arc::new(Desk { root, recipients, identity });
        Ok(Self { name: config.name.clone(), desk })
    }

    /// Does file work where it may block. `late` is what it means when it does not end in time.
    async fn at_the_desk<T: Send + 'static>(
        &self,
        place: &str,
        late: fn(String) -> Trouble,
        work: impl FnOnce(&Desk, &str) -> Result<T, Trouble> + Send + 'static,
    ) -> Result<T, StoreError> {
        let (desk, of_task) = (Arc::clone(&self.desk), place.to_owned());
        blocking(At { store: &self.name, place }, late, move || work(&desk, &of_task)).await
    }
}

/// Reads an identity: alone, or in a file as `age-keygen` writes it.
fn identity(credential: &Secret) -> Result<Identity, &'static str> {
    let mut lines = credential.expose_secret().lines().map(str::trim);
    let line = lines.find(|line| !line.is_empty() && !line.starts_with('#')).unwrap_or_default();
    line.parse()
}

#[async_trait]
impl Store for Age {
    fn facts(&self) -> &'static StoreFacts {
        &FACTS
    }

    async fn check(&self) -> Result<(), StoreError> {
        let shown = self.desk.root.display().to_string();
        self.at_the_desk(&shown, Trouble::Unavailable, |desk, _| Folder::open(&desk.root)?.writable()).await
    }

    fn default_place(&self, project: &ProjectName, environment: &EnvironmentName, name: &KeyName) -> String {
        format!("{project}/{environment}/{name}{ENDING}")
    }

    async fn accept(
        &self,
        destination: Destination,
        _: &KeyName,
        _: Option<&str>,
    ) -> Result<Destination, StoreError> {
        self.look(&destination).await?;
        Ok(Destination { base: None, ..destination })
    }

    async fn look(&self, destination: &Destination) -> Result<Presence, StoreError> {
        self.at_the_desk(&destination.place.place, Trouble::Unavailable, |desk, place| desk.look(place)).await
    }

    async fn write(&self, write: &Write<'_>) -> Result<Written, StoreError> {
        if !(1..=FACTS.max_value).contains(&write.secret.expose_secret().len()) {
            let at = At { store: &self.name, place: &write.destination.place.place };
            return Err(at.value("a file holds 1 byte to 512 KiB"));
        }
        let owned = OwnedWrite::of(write);
        self.at_the_desk(&write.destination.place.place, Trouble::OutcomeUnknown, move |desk, place| {
            desk.write(place, &owned)
        })
        .await?;
        Ok(written(write.origin.placement.to_string()))
    }

    async fn verify(&self, write: &Write<'_>, _: &Written) -> Result<VerifyMode, StoreError> {
        let owned = OwnedWrite::of(write);
        self.at_the_desk(&write.destination.place.place, Trouble::Unavailable, move |desk, place| {
            desk.verify(place, &owned)
        })
        .await
    }

    async fn remove(&self, origin: &Origin, destination: &Destination) -> Result<(), StoreError> {
        let origin = origin.clone();
        self.at_the_desk(&destination.place.place, Trouble::OutcomeUnknown, move |desk, place| {
            desk.remove(place, &origin)
        })
        .await
    }
}
