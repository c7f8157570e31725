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
use std::time::Duration;

use age::x25519::{Identity, Recipient};
use async_trait::async_trait;
use keywright_core::id::PlacementId;
use keywright_core::name::{EnvironmentName, KeyName, ProjectName, StoreName};
use keywright_core::place::Place;
use keywright_core::plan::Destination;
use keywright_core::secret::Secret;
use keywright_core::store::{Origin, Presence, Store, StoreError, StoreFacts, VerifyMode, Write, Written};
use rustix::fs::{AtFlags, fsync, unlinkat};
use rustix::io::Errno;
use sha2::{Digest as _, Sha256};

use super::dotenv::folder::Folder;
use super::dotenv::replace::{Replaced, replace};
use super::dotenv::trouble::Trouble;
use super::remote::{Held, Stamp, is_permitted, written};
use super::{StoreConfig, StoreConnectError};

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

/// How often a write starts anew because another program changed the file in between.
const TRIES: usize = 5;
/// Longer than a disk and the lock together may take.
const DEADLINE: Duration = Duration::from_secs(60);
const ENDING: &str = ".age";

/// The longest name of a directory or a file: file systems take 255 bytes, and what is written first has a longer name.
const LONGEST_PART: usize = 200;

pub(super) static FACTS: StoreFacts = StoreFacts {
    kind: KIND,
    verify: VerifyMode::ReadBack,
    guarded: true,
    versions: false,
    max_value: 512 << 10,
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

/// The lines beside a file: which file was written by whom.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Notes(Vec<(String, Stamp)>);

impl Notes {
    fn read(folder: &Folder, file: &str) -> Result<Self, Trouble> {
        let Some(contents) = folder.read(&name(file))? else { return Ok(Self::default()) };
        let text = String::from_utf8_lossy(&contents.bytes).into_owned();
        let line = |line: &str| {
            let (digest, stamp) = line.split_once(' ')?;
            Some((digest.to_owned(), Stamp::parse(stamp)?))
        };
        Ok(Self(text.lines().filter_map(line).collect()))
    }

    fn write(&self, folder: &Folder, file: &str) -> Result<(), Trouble> {
        let text: String =
            self.0.iter().map(|(digest, stamp)| format!("{digest} {}\n", stamp.text())).collect();
        let seen = folder.seen(&name(file))?;
        match replace(folder, &name(file), text.as_bytes(), seen)? {
            Replaced::Done => Ok(()),
            Replaced::Overtaken => Err(restless()),
        }
    }

    fn of(&self, digest: &str) -> Option<&Stamp> {
        self.0.iter().find(|(known, _)| known == digest).map(|(_, stamp)| stamp)
    }
}

/// The file of the notes.
fn name(file: &str) -> String {
    format!("{file}.keywright")
}

fn digest(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

fn restless() -> Trouble {
    Trouble::Unavailable("another program keeps changing the file".into())
}

fn presence(stamp: Option<&Stamp>) -> Presence {
    let ours = |stamp: &Stamp| stamp.clone().presence(Some(stamp.placement.to_string()));
    stamp.map_or(Presence::Foreign, ours)
}

/// The directory below the root, empty for the root itself, and the file.
fn split(place: &str) -> Result<(&str, &str), Trouble> {
    let is_part = |part: &str| {
        (1..=LONGEST_PART).contains(&part.len())
            && !part.starts_with(['.', '-'])
            && part.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.@+".contains(&b))
    };
    let (directory, file) = place.rsplit_once('/').unwrap_or(("", place));
    let fits = place.len() <= 400 && place.split('/').all(is_part) && file.len() > ENDING.len();
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
        let Some(contents) = folder.read(file)? else { return Ok(Presence::Absent) };
        Ok(presence(Notes::read(&folder, file)?.of(&digest(&contents.bytes))))
    }

    fn write(
        &self,
        place: &str,
        stamp: &Stamp,
        value: &Secret,
        is_permitted: impl Fn(&Presence) -> bool,
    ) -> Result<(), Trouble> {
        let (directory, file) = split(place)?;
        let folder = self.made(directory)?;
        let _lock = folder.lock()?;
        let sealed = self.seal(value)?;
        for _ in 0..TRIES {
            let contents = folder.read(file)?;
            let notes = Notes::read(&folder, file)?;
            let found = contents.as_ref().map(|contents| digest(&contents.bytes));
            let owner = found.as_ref().and_then(|digest| notes.of(digest));
            if owner.is_some_and(|owner| owner.placement == stamp.placement) {
                return Ok(());
            }
            if found.is_some() && !is_permitted(&presence(owner)) {
                return Err(Trouble::Conflict);
            }
            let ours = (digest(&sealed), stamp.clone());
            let kept = found.zip(owner.cloned());
            Notes(std::iter::once(ours.clone()).chain(kept).collect()).write(&folder, file)?;
            if replace(&folder, file, &sealed, contents.map(|contents| contents.seen))? == Replaced::Done {
                if let Err(trouble) = Notes(vec![ours]).write(&folder, file) {
                    tracing::debug!(?trouble, "a line about the file before is left beside it");
                }
                return Ok(());
            }
        }
        Err(restless())
    }

    fn verify(&self, place: &str, placement: PlacementId, value: &Secret) -> Result<VerifyMode, Trouble> {
        let (directory, file) = split(place)?;
        let folder = self.folder(directory)?.ok_or(Trouble::Mismatch)?;
        let contents = folder.read(file)?.ok_or(Trouble::Mismatch)?;
        let notes = Notes::read(&folder, file)?;
        if notes.of(&digest(&contents.bytes)).is_none_or(|stamp| stamp.placement != placement) {
            return Err(Trouble::Mismatch);
        }
        let Some(identity) = &self.identity else { return Ok(VerifyMode::StatusOnly) };
        let opened = age::decrypt(identity, &contents.bytes).map_err(|_| Trouble::Mismatch)?;
        let opened = Secret::from_utf8(opened).map_err(|_| Trouble::Mismatch)?;
        if Held(opened).is(value) { Ok(VerifyMode::ReadBack) } else { Err(Trouble::Mismatch) }
    }

    /// Takes the file and its notes away, if the placement wrote the file.
    fn remove(&self, place: &str, placement: PlacementId) -> Result<(), Trouble> {
        let (directory, file) = split(place)?;
        let Some(folder) = self.folder(directory)? else { return Ok(()) };
        let _lock = folder.lock()?;
        let (contents, notes) = (folder.read(file)?, Notes::read(&folder, file)?);
        let owner = match &contents {
            Some(contents) => notes.of(&digest(&contents.bytes)),
            // A write that did not come so far, or a removal that did.
            None => notes.0.first().map(|(_, stamp)| stamp),
        };
        if owner.is_none_or(|owner| owner.placement != placement) {
            return Ok(());
        }
        for file in [file, &name(file)] {
            match unlinkat(&folder.fd, file, AtFlags::empty()) {
                Ok(()) | Err(Errno::NOENT) => {}
                Err(error) => return Err(Trouble::io("can't remove the file", error)),
            }
        }
        fsync(&folder.fd)
            .map_err(|error| Trouble::OutcomeUnknown(format!("the directory could not be synced: {error}")))
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
        let root = PathBuf::from(config.required(ROOT, "the directory of the files")?);
        if !root.is_absolute() {
            return Err(config.bad(ROOT, "must be an absolute directory"));
        }
        let listed = config.required(RECIPIENTS, "who can decrypt, as in `age1...`")?;
        let recipients: Vec<Recipient> = listed
            .split(',')
            .map(|text| text.trim().parse())
            .collect::<Result<_, _>>()
            .map_err(|error| config.bad(RECIPIENTS, format!("must be X25519 recipients: {error}")))?;
        let identity = credential.map(|credential| identity(&credential)).transpose();
        let identity = identity.map_err(|why| config.bad("credential", why))?;
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
        let task = tokio::task::spawn_blocking(move || work(&desk, &of_task));
        let result = match tokio::time::timeout(DEADLINE, task).await {
            Ok(Ok(result)) => result,
            Ok(Err(error)) => Err(late(format!("the work on the file stopped: {error}"))),
            Err(_) => Err(late(format!("the file did not answer in {} seconds", DEADLINE.as_secs()))),
        };
        result.map_err(|trouble| trouble.at(&self.name, place))
    }
}

/// Reads an identity: alone, or in a file as `age-keygen` writes it.
fn identity(credential: &Secret) -> Result<Identity, String> {
    let mut lines = credential.expose_secret().lines().map(str::trim);
    let line = lines.find(|line| !line.is_empty() && !line.starts_with('#')).unwrap_or_default();
    line.parse().map_err(|_| "is not an identity as `age-keygen` makes them".to_owned())
}

fn copy(secret: &Secret) -> Secret {
    Secret::new(secret.expose_secret().to_owned())
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
        let Place { store, place } = destination.place;
        self.at_the_desk(&place, Trouble::Unavailable, |desk, place| desk.look(place).map(drop)).await?;
        Ok(Destination { place: Place { store, place }, base: None })
    }

    async fn look(&self, destination: &Destination) -> Result<Presence, StoreError> {
        self.at_the_desk(&destination.place.place, Trouble::Unavailable, |desk, place| desk.look(place)).await
    }

    async fn write(&self, write: &Write<'_>) -> Result<Written, StoreError> {
        let value = copy(write.secret);
        if value.is_empty() || value.expose_secret().len() > FACTS.max_value {
            let why = "a file holds 1 byte to 512 KiB".to_owned();
            return Err(StoreError::Value { store: self.name.clone(), why });
        }
        let (stamp, origin, expected) =
            (Stamp::of(write.origin), write.origin.clone(), write.expected.clone());
        let destination = write.destination.clone();
        self.at_the_desk(&write.destination.place.place, Trouble::OutcomeUnknown, move |desk, place| {
            let write = Write { destination: &destination, expected, origin: &origin, secret: &value };
            desk.write(place, &stamp, &value, |seen| is_permitted(&write, seen))
        })
        .await?;
        Ok(written(write.origin.placement.to_string()))
    }

    async fn verify(&self, write: &Write<'_>, _: &Written) -> Result<VerifyMode, StoreError> {
        let (value, placement) = (copy(write.secret), write.origin.placement);
        self.at_the_desk(&write.destination.place.place, Trouble::Unavailable, move |desk, place| {
            desk.verify(place, placement, &value)
        })
        .await
    }

    async fn remove(&self, origin: &Origin, destination: &Destination) -> Result<(), StoreError> {
        let placement = origin.placement;
        self.at_the_desk(&destination.place.place, Trouble::OutcomeUnknown, move |desk, place| {
            desk.remove(place, placement)
        })
        .await
    }
}
