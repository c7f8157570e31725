//! The store `pass`: entries of the standard Unix password manager, written by the program `pass` itself.
//!
//! A place is `FOLDER/NAME`, as in `pass show FOLDER/NAME`. An entry has two lines, as its users keep theirs: the value on
//! the first, which is the one that `pass -c` and other readers take, and below it
//! ```text
//! keywright: plc_... kw-... 1f2e3d4c
//! ```
//! which says whose it is ([`super::tag`]). An entry without such a line, or whose first line was changed since, is
//! somebody else's. That this can be told needs the private key: the broker's user must be able to decrypt what it
//! encrypts, and a key with a passphrase needs an agent that knows it.
//!
//! **A write.** `pass insert` may end well and have stored nothing, so that the entry is read again after each. There is no write under a guard: what somebody else inserts
//! between our look and our write is lost, except in the history of a store that git keeps.
//!
//! Programs: `pass` 1.7 and `gpg` 2, from `PATH`. <https://www.passwordstore.org>.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use async_trait::async_trait;
use keywright_core::name::{EnvironmentName, KeyName, ProjectName, StoreName};
use keywright_core::plan::Destination;
use keywright_core::secret::Secret;
use keywright_core::store::{Origin, Presence, Store, StoreError, StoreFacts, VerifyMode, Write, Written};
use keywright_core::text::escaped;
use tokio::sync::Mutex;
use zeroize::Zeroizing;

use super::remote::{At, is_permitted, same, written};
use super::tag::Tag;
use super::{StoreConfig, StoreConnectError};
use crate::child::{Ended, Program};
use crate::names::is_path;

/// The kind's name.
pub(super) const KIND: &str = "pass";

const DIRECTORY: &str = "directory";
const GNUPG: &str = "gnupg";

/// The settings, and what each is.
pub(super) const SETTINGS: &[(&str, &str)] = &[
    (
        DIRECTORY,
        "the password store, an absolute directory; `.password-store` of the broker's user unless set",
    ),
    (GNUPG, "the home of GnuPG, an absolute directory; its own choice unless set"),
];

const LONGEST_PLACE: usize = 200;

/// What the second line starts with.
const LINE: &str = "keywright: ";

pub(super) static FACTS: StoreFacts = StoreFacts {
    kind: KIND,
    verify: VerifyMode::ReadBack,
    guarded: false,
    versions: false,
    max_value: 64 << 10,
    seen: "when the program asks `pass` again",
    settles: 0,
};

/// `pass` has no lock of its own, and its commits to one repository get in each other's way.
static ONE_AT_A_TIME: Mutex<()> = Mutex::const_new(());

/// One configured password store.
pub(super) struct Pass {
    name: StoreName,
    directory: PathBuf,
    pass: Program,
    gpg: Program,
}

/// An entry, decrypted.
struct Entry {
    value: Secret,
    /// None where it is somebody else's.
    tag: Option<Tag>,
}

impl Entry {
    fn read(text: &Secret) -> Self {
        let (value, rest) = text.expose_secret().split_once('\n').unwrap_or((text.expose_secret(), ""));
        let tag = rest.lines().find_map(|line| Tag::parse(line.strip_prefix(LINE)?));
        Self { value: Secret::new(value.to_owned()), tag: tag.filter(|tag| tag.covers(value)) }
    }

    fn is_of(&self, origin: &Origin) -> bool {
        self.tag.as_ref().is_some_and(|tag| tag.is_of(origin))
    }

    fn is_written(&self, write: &Write<'_>) -> bool {
        self.is_of(write.origin) && same(self.value.expose_secret(), write.secret.expose_secret())
    }
}

fn presence(entry: Option<&Entry>) -> Presence {
    match entry {
        None => Presence::Absent,
        Some(Entry { tag: Some(tag), .. }) => tag.presence(),
        Some(_) => Presence::Foreign,
    }
}

impl Pass {
    /// Reads the configuration.
    ///
    /// # Errors
    /// When a directory is not absolute, or there is no home to find the usual one in.
    pub(super) fn new(config: &StoreConfig) -> Result<Self, StoreConnectError> {
        let home = std::env::var_os("HOME").filter(|home| Path::new(home).is_absolute());
        let usual = || home.as_ref().map(|home| Path::new(home).join(".password-store"));
        let directory = config
            .directory(DIRECTORY)?
            .or_else(usual)
            .ok_or_else(|| config.bad(DIRECTORY, "is missing, and the broker's user has no home"))?;
        let mut variables: Vec<(&'static str, OsString)> = Vec::new();
        variables.extend(std::env::var_os("PATH").map(|path| ("PATH", path)));
        variables.extend(home.clone().map(|home| ("HOME", home)));
        variables.extend(config.directory(GNUPG)?.map(|home| ("GNUPGHOME", home.into())));
        let gpg = Program::asked("gpg", variables.clone());
        variables.push(("PASSWORD_STORE_DIR", directory.clone().into()));
        // Without it, gpg asks questions on the terminal that the broker was started from.
        variables.push(("PASSWORD_STORE_GPG_OPTS", "--batch --no-tty".into()));
        let pass = Program::asked("pass", variables);
        Ok(Self { name: config.name.clone(), directory, pass, gpg })
    }

    fn at<'a>(&'a self, destination: &'a Destination) -> At<'a> {
        At { store: &self.name, place: &destination.place.place }
    }

    fn unavailable(&self, why: impl Into<String>) -> StoreError {
        StoreError::Unavailable { store: self.name.clone(), why: escaped(&why.into()) }
    }

    async fn run(&self, arguments: &[&str], input: &[u8]) -> Result<Ended, StoreError> {
        self.pass.run(arguments, input).await.map_err(|why| self.unavailable(why))
    }

    /// The file in which the program keeps an entry. The password store itself may be a link, as many keep theirs; what
    /// is in it may not: nobody can tell from the place where a link leads.
    fn is_there(&self, place: &str) -> Result<bool, StoreError> {
        let at = At { store: &self.name, place };
        let folders = place.match_indices('/').filter_map(|(end, _)| place.get(..end));
        for folder in folders {
            let found = self.directory.join(folder).symlink_metadata();
            if found.is_ok_and(|found| found.is_symlink()) {
                let why =
                    format!("its directory `{folder}` is a symbolic link, which may lead out of the store");
                return Err(at.not_safe(why, "use a place in a directory that is no link"));
            }
        }
        match self.directory.join(format!("{place}.gpg")).symlink_metadata() {
            Ok(found) if found.is_file() => Ok(true),
            Ok(_) => {
                let hint = "remove what lies there, or use another name";
                Err(at.not_safe("its file is not a regular one", hint))
            }
            Err(error)
                if matches!(
                    error.kind(),
                    std::io::ErrorKind::NotFound | std::io::ErrorKind::NotADirectory
                ) =>
            {
                Ok(false)
            }
            Err(error) => Err(self.unavailable(format!("its directory can't be looked at: {error}"))),
        }
    }

    async fn entry(&self, place: &str) -> Result<Option<Entry>, StoreError> {
        if !self.is_there(place)? {
            return Ok(None);
        }
        let mut ended = self.run(&["show", "--", place], b"").await?;
        if !ended.is_good {
            return Err(self.unavailable(format!("an entry can't be decrypted: {}", ended.complaint(None))));
        }
        let text = Secret::from_utf8(std::mem::take(&mut *ended.answer));
        // What is not text is not ours either.
        Ok(Some(text.map_or_else(
            |_| Entry { value: Secret::new(String::new()), tag: None },
            |text| Entry::read(&text),
        )))
    }

    /// Whether the keys of the store can be encrypted to: `pass insert` does not always say so.
    async fn has_recipients(&self) -> Result<(), StoreError> {
        let ids = std::fs::read_to_string(self.directory.join(".gpg-id")).map_err(|error| {
            self.unavailable(format!(
                "`{}` is no password store ({error}); run `pass init` first",
                self.directory.display()
            ))
        })?;
        let ids = ids.lines().filter_map(|line| line.split('#').next()).map(str::trim);
        for id in ids.filter(|id| !id.is_empty()) {
            let listed = self.gpg.run(&["--batch", "--with-colons", "--list-keys", "--", id], b"").await;
            let listed = listed.map_err(|why| self.unavailable(why))?;
            let text = String::from_utf8_lossy(&listed.answer);
            // Field 12 has an upper-case `E` where the key as a whole can be encrypted to.
            let is_fit = |line: &str| {
                line.starts_with("pub:") && line.split(':').nth(11).is_some_and(|may| may.contains('E'))
            };
            if !text.lines().any(is_fit) {
                let why = format!("GnuPG has no key for `{id}` that can be encrypted to");
                return Err(self.unavailable(why));
            }
        }
        Ok(())
    }
}

#[async_trait]
impl Store for Pass {
    fn facts(&self) -> &'static StoreFacts {
        &FACTS
    }

    async fn check(&self) -> Result<(), StoreError> {
        let version = self.run(&["version"], b"").await?;
        if !version.is_good {
            return Err(self.unavailable(format!("`pass` does not work: {}", version.complaint(None))));
        }
        self.has_recipients().await
    }

    fn default_place(&self, project: &ProjectName, environment: &EnvironmentName, name: &KeyName) -> String {
        format!("{project}/{environment}/{name}")
    }

    async fn accept(
        &self,
        destination: Destination,
        _: &KeyName,
        _: Option<&str>,
    ) -> Result<Destination, StoreError> {
        if !is_path(&destination.place.place, LONGEST_PLACE) {
            return Err(self.at(&destination).bad(
                "write `FOLDER/NAME`, of letters, digits and `-_.@+`, where no part starts with a dot or a dash",
            ));
        }
        self.is_there(&destination.place.place)?;
        Ok(Destination { base: None, ..destination })
    }

    async fn look(&self, destination: &Destination) -> Result<Presence, StoreError> {
        Ok(presence(self.entry(&destination.place.place).await?.as_ref()))
    }

    async fn write(&self, write: &Write<'_>) -> Result<Written, StoreError> {
        let (at, place) = (self.at(write.destination), write.destination.place.place.as_str());
        let value = write.secret.expose_secret();
        if value.len() > FACTS.max_value || value.is_empty() || value.contains(['\n', '\r', '\0']) {
            return Err(at.value("an entry's first line holds 1 byte to 64 KiB, and no line end"));
        }
        if !is_path(place, LONGEST_PLACE) {
            return Err(at.bad("it is not `FOLDER/NAME`"));
        }
        let _turn = ONE_AT_A_TIME.lock().await;
        let seen = self.entry(place).await?;
        let done = written(write.origin.placement.to_string());
        if seen.as_ref().is_some_and(|entry| entry.is_written(write)) {
            return Ok(done);
        }
        if !is_permitted(&write.expected, &presence(seen.as_ref())) {
            return Err(at.conflict());
        }
        let text = Zeroizing::new(format!("{value}\n{LINE}{}\n", Tag::new(write.origin, value).text()));
        let inserted = self.pass.run(&["insert", "-m", "-f", "--", place], text.as_bytes()).await;
        let why = match &inserted {
            Ok(ended) => ended.complaint(Some(write.secret)),
            Err(why) => why.clone(),
        };
        match self.entry(place).await {
            Ok(Some(entry)) if entry.is_written(write) => {
                if !inserted.is_ok_and(|ended| ended.is_good) {
                    tracing::warn!(store = %self.name, %why, "`pass` stored the entry, and then failed");
                }
                Ok(done)
            }
            Ok(now) if presence(now.as_ref()) == presence(seen.as_ref()) => {
                Err(self.unavailable(format!("`pass` stored nothing: {why}")))
            }
            Ok(_) => Err(at.conflict()),
            Err(error) => Err(at.unknown(format!("{error}, after `pass` said: {why}"))),
        }
    }

    async fn verify(&self, write: &Write<'_>, _: &Written) -> Result<VerifyMode, StoreError> {
        match self.entry(&write.destination.place.place).await? {
            Some(entry) if entry.is_written(write) => Ok(VerifyMode::ReadBack),
            _ => Err(self.at(write.destination).mismatch()),
        }
    }

    async fn remove(&self, origin: &Origin, destination: &Destination) -> Result<(), StoreError> {
        let place = destination.place.place.as_str();
        let _turn = ONE_AT_A_TIME.lock().await;
        if !self.entry(place).await?.is_some_and(|entry| entry.is_of(origin)) {
            return Ok(());
        }
        let removed = self.run(&["rm", "-f", "--", place], b"").await?;
        if self.is_there(place)? {
            return Err(self.unavailable(format!("`pass` removed nothing: {}", removed.complaint(None))));
        }
        Ok(())
    }
}
