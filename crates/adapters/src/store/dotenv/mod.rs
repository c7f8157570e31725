//! The store `dotenv`: variables in `.env` files.
//!
//! A place is `PATH#VARIABLE`; without `#VARIABLE` the variable is the key's name. A relative path starts from the
//! asker's directory, which [`Store::accept`] writes into the destination, so that what is approved is one file.
//! `accept` also brings the place into the one way of writing it (`.env` becomes `./.env#NAME`).
//!
//! **Which files.** `.env`, `.env.*` and `*.env`, at most 1 MiB of UTF-8 text, a regular file with one name, owned by
//! the broker's user, in a directory of the same user that is reached without symbolic links and that not everybody
//! may write to. Inside a git work tree the file must be ignored by the repository and not tracked. The file is 0600
//! after every write, whatever it was before (a trace says so when others could read it).
//!
//! **Whose value.** A comment above the assignment names the placement; without it, or once the value was changed by
//! hand, the value is somebody else's and stays as it is, unless the expectation of a write is
//! [`Presence::Foreign`]. A missing variable is always written: nothing is lost by that.
//!
//! **How a value is written** so that python-dotenv, npm's dotenv, `node --env-file` and a shell read the same is
//! in `quote.rs`; which files can be edited safely at all is in `lines.rs`. A value that can't be written so, or a
//! file that these four would not read alike, is refused.

pub(super) mod blocking;
mod editor;
pub(super) mod folder;
mod git;
mod lines;
mod quote;
pub(super) mod replace;
mod spot;
mod stamp;
#[cfg(test)]
mod testing;
pub(super) mod trouble;
mod work;

use std::path::PathBuf;

use async_trait::async_trait;
use keywright_core::name::{EnvironmentName, KeyName, ProjectName, StoreName};
use keywright_core::place::Place;
use keywright_core::plan::Destination;
use keywright_core::store::{Origin, Presence, Store, StoreError, StoreFacts, VerifyMode, Write, Written};

use self::blocking::{OwnedWrite, blocking};
use self::folder::Folder;
use self::spot::Spot;
use self::trouble::Trouble;
use self::work::{Job, Site};
use super::remote::At;
use super::{StoreConfig, StoreConnectError};

/// The kind's name.
pub const KIND: &str = "dotenv";

/// The setting that confines places to a directory.
const ROOT: &str = "root";

pub(super) static FACTS: StoreFacts = StoreFacts {
    kind: KIND,
    verify: VerifyMode::ReadBack,
    guarded: true,
    versions: false,
    max_value: work::LONGEST_VALUE,
    seen: "when the program reads the file again: at its next start",
    settles: 0,
};

/// One configured store of `.env` files.
#[derive(Debug)]
pub struct Dotenv {
    name: StoreName,
    root: Option<PathBuf>,
}

impl Dotenv {
    /// Reads the configuration.
    ///
    /// # Errors
    /// When `root` is not an absolute path.
    pub(super) fn new(config: &StoreConfig) -> Result<Self, StoreConnectError> {
        Ok(Self { name: config.name.clone(), root: config.directory(ROOT)? })
    }

    /// The file behind a destination that went through [`Store::accept`].
    fn site(&self, destination: &Destination) -> Result<Site, StoreError> {
        let found = Spot::parse(&destination.place.place, None).and_then(|spot| {
            Ok(Site {
                directory: spot.directory(destination.base.as_deref())?,
                spot,
                root: self.root.clone(),
            })
        });
        found.map_err(|trouble| trouble.at(&self.name, &destination.place.place))
    }

    fn at<'a>(&'a self, destination: &'a Destination) -> At<'a> {
        At { store: &self.name, place: &destination.place.place }
    }

    fn job(&self, write: &Write<'_>) -> Result<Job, StoreError> {
        Ok(Job { site: self.site(write.destination)?, write: OwnedWrite::of(write) })
    }
}

#[async_trait]
impl Store for Dotenv {
    fn facts(&self) -> &'static StoreFacts {
        &FACTS
    }

    async fn check(&self) -> Result<(), StoreError> {
        let Some(root) = self.root.clone() else { return Ok(()) };
        let at = At { store: &self.name, place: &root.display().to_string() };
        blocking(at, Trouble::Unavailable, move || Folder::open(&root)?.writable()).await
    }

    fn default_place(&self, _: &ProjectName, _: &EnvironmentName, name: &KeyName) -> String {
        format!("./.env#{name}")
    }

    async fn accept(
        &self,
        destination: Destination,
        name: &KeyName,
        cwd: Option<&str>,
    ) -> Result<Destination, StoreError> {
        let (root, name, cwd) = (self.root.clone(), name.clone(), cwd.map(str::to_owned));
        let place = destination.place.place.clone();
        let Destination { place: Place { store, place: asked }, base } = destination;
        blocking(At { store: &self.name, place: &place }, Trouble::Unavailable, move || {
            let spot = Spot::parse(&asked, Some(&name))?;
            let base = if spot.is_relative() { Some(work::base(base.or(cwd).as_deref())?) } else { None };
            let accepted = Destination { place: Place { store, place: spot.text() }, base };
            let site = Site { directory: spot.directory(accepted.base.as_deref())?, spot, root };
            site.accept()?;
            Ok(accepted)
        })
        .await
    }

    async fn look(&self, destination: &Destination) -> Result<Presence, StoreError> {
        let site = self.site(destination)?;
        blocking(self.at(destination), Trouble::Unavailable, move || site.look()).await
    }

    async fn write(&self, write: &Write<'_>) -> Result<Written, StoreError> {
        let job = self.job(write)?;
        blocking(self.at(write.destination), Trouble::OutcomeUnknown, move || job.write()).await
    }

    async fn verify(&self, write: &Write<'_>, _: &Written) -> Result<VerifyMode, StoreError> {
        let job = self.job(write)?;
        blocking(self.at(write.destination), Trouble::Unavailable, move || job.verify()).await
    }

    async fn remove(&self, origin: &Origin, destination: &Destination) -> Result<(), StoreError> {
        let site = self.site(destination)?;
        let placement = origin.placement;
        blocking(self.at(destination), Trouble::OutcomeUnknown, move || site.remove(&placement)).await
    }
}
