//! Stores in which a place holds one value, and beside it whose it is. What a look, a write and a removal are there stands
//! here once; a store says how its places are read and written ([`Spots`]).

use async_trait::async_trait;
use keywright_core::name::{EnvironmentName, KeyName, ProjectName, StoreName};
use keywright_core::place::Place;
use keywright_core::plan::Destination;
use keywright_core::secret::Secret;
use keywright_core::store::{Origin, Presence, Store, StoreError, StoreFacts, VerifyMode, Write, Written};

use super::remote::{At, is_permitted, written};
use crate::rest::Failure;

/// A store of such places.
#[async_trait]
pub(super) trait Spots: Send + Sync {
    /// A place, taken apart.
    type Spot: Send + Sync;
    type Seen: Seen;

    /// Whether what is seen may be older than a write that was done; a value that is read back is enough then.
    const LAGS: bool = false;

    fn name(&self) -> &StoreName;

    fn facts(&self) -> &'static StoreFacts;

    /// See [`Store::check`].
    async fn check(&self) -> Result<(), StoreError>;

    /// See [`Store::default_place`].
    fn default_place(&self, project: &ProjectName, environment: &EnvironmentName, name: &KeyName) -> String;

    /// A place with what may be left out of it: the name of the key, where it has none.
    fn complete(&self, place: String, name: &KeyName) -> String {
        if place.contains('#') { place } else { format!("{place}#{name}") }
    }

    fn spot(&self, at: At<'_>) -> Result<Self::Spot, StoreError>;

    /// Why a value can't be kept, as in "it is longer than 32 KiB".
    fn refuses(&self, value: &str) -> Option<&'static str>;

    async fn see(&self, spot: &Self::Spot) -> Result<Self::Seen, Failure>;

    /// Why nothing may be written over what was seen, although it is what was expected.
    fn is_fit(&self, _: &Self::Seen, _: At<'_>) -> Result<(), StoreError> {
        Ok(())
    }

    /// Writes the value and whose it is over what was seen, so that what was half written is not taken for ours.
    async fn put(&self, spot: &Self::Spot, seen: &Self::Seen, write: &Write<'_>) -> Result<Put, Failure>;

    /// Whether the value that was seen is this one; `None` where nobody can read it.
    async fn holds(
        &self,
        spot: &Self::Spot,
        seen: &Self::Seen,
        secret: &Secret,
    ) -> Result<Option<bool>, Failure>;

    /// What is known of a value that can't be read, once it is seen to be ours.
    fn unread(&self) -> VerifyMode {
        VerifyMode::StatusOnly
    }

    /// Takes away what this origin's write left, and nothing else.
    async fn take(&self, spot: &Self::Spot, seen: &Self::Seen, origin: &Origin) -> Result<Put, Failure>;

    /// Whether this failure to look says that nothing of ours can be there any more.
    fn is_gone(&self, _: &Failure) -> bool {
        false
    }

    /// What a failure means where nothing was written.
    fn failed(&self, failure: Failure, _: At<'_>) -> StoreError {
        failure.of_store(self.name())
    }

    /// What a failed write means when what lies there now is what lay there before, or can't be seen.
    fn not_written(&self, failure: Failure, at: At<'_>) -> StoreError {
        if failure.is_not_found() { self.failed(failure, at) } else { failure.of_write(self.name()) }
    }
}

/// What was found at a place.
pub(super) trait Seen: Send + Sync {
    fn presence(&self) -> Presence;

    /// Whether this origin's write left it, as it is now.
    fn is_of(&self, origin: &Origin) -> bool;
}

/// What came of a change that did not fail.
pub(super) enum Put {
    /// It is done; what the store calls the copy, where it has a name for it.
    Done(Option<String>),
    /// Somebody has to approve it first.
    Pending,
}

/// A store of such places, as the broker sees it.
pub(super) struct Spotted<T>(pub(super) T);

impl<T: Spots> Spotted<T> {
    fn at<'a>(&'a self, destination: &'a Destination) -> At<'a> {
        At { store: self.0.name(), place: &destination.place.place }
    }

    async fn seen(&self, spot: &T::Spot, at: At<'_>) -> Result<T::Seen, StoreError> {
        self.0.see(spot).await.map_err(|failure| self.0.failed(failure, at))
    }
}

/// What the store calls a copy: by its placement, where it has no name of its own.
fn done(version: Option<String>, origin: &Origin) -> Written {
    written(version.unwrap_or_else(|| origin.placement.to_string()))
}

fn version(presence: Presence) -> Option<String> {
    match presence {
        Presence::Ours { store_version, .. } => store_version,
        Presence::Absent | Presence::Foreign => None,
    }
}

#[async_trait]
impl<T: Spots> Store for Spotted<T> {
    fn facts(&self) -> &'static StoreFacts {
        self.0.facts()
    }

    async fn check(&self) -> Result<(), StoreError> {
        self.0.check().await
    }

    fn default_place(&self, project: &ProjectName, environment: &EnvironmentName, name: &KeyName) -> String {
        self.0.default_place(project, environment, name)
    }

    async fn accept(
        &self,
        destination: Destination,
        name: &KeyName,
        _: Option<&str>,
    ) -> Result<Destination, StoreError> {
        let Place { store, place } = destination.place;
        let place = Place { store, place: self.0.complete(place, name) };
        let accepted = Destination { place, base: None };
        self.0.spot(self.at(&accepted))?;
        Ok(accepted)
    }

    async fn look(&self, destination: &Destination) -> Result<Presence, StoreError> {
        let at = self.at(destination);
        Ok(self.seen(&self.0.spot(at)?, at).await?.presence())
    }

    async fn write(&self, write: &Write<'_>) -> Result<Written, StoreError> {
        let at = self.at(write.destination);
        let spot = self.0.spot(at)?;
        if let Some(why) = self.0.refuses(write.secret.expose_secret()) {
            return Err(at.value(why));
        }
        let seen = self.seen(&spot, at).await?;
        let before = seen.presence();
        if seen.is_of(write.origin) {
            return Ok(done(version(before), write.origin));
        }
        if !is_permitted(write, &before) {
            return Err(at.conflict());
        }
        self.0.is_fit(&seen, at)?;
        let failure = match self.0.put(&spot, &seen, write).await {
            Ok(Put::Done(version)) => return Ok(done(version, write.origin)),
            Ok(Put::Pending) => return Err(at.pending()),
            Err(failure) => failure,
        };
        // Whatever the answer says, it is there or it is not.
        match self.0.see(&spot).await {
            Ok(now) if now.is_of(write.origin) => Ok(done(version(now.presence()), write.origin)),
            Ok(now) if ![Presence::Absent, before].contains(&now.presence()) => Err(at.conflict()),
            Err(unseen) if failure.is_bare_denial() => {
                Err(at.unseen(failure.of_write(self.0.name()), &unseen))
            }
            _ => Err(self.0.not_written(failure, at)),
        }
    }

    async fn verify(&self, write: &Write<'_>, said: &Written) -> Result<VerifyMode, StoreError> {
        let at = self.at(write.destination);
        let spot = self.0.spot(at)?;
        let seen = self.seen(&spot, at).await?;
        let is_ours = seen.is_of(write.origin);
        if !is_ours && !T::LAGS {
            return Err(at.mismatch());
        }
        let holds = self.0.holds(&spot, &seen, write.secret).await;
        let is_same = || said.store_version.is_none() || said.store_version == version(seen.presence());
        match (holds.map_err(|failure| self.0.failed(failure, at))?, self.0.unread()) {
            (Some(true), _) => Ok(VerifyMode::ReadBack),
            (None, mode) if is_ours && (mode == VerifyMode::StatusOnly || is_same()) => Ok(mode),
            _ => Err(at.mismatch()),
        }
    }

    async fn remove(&self, origin: &Origin, destination: &Destination) -> Result<(), StoreError> {
        let at = self.at(destination);
        let spot = self.0.spot(at)?;
        let seen = match self.0.see(&spot).await {
            Ok(seen) => seen,
            Err(failure) if self.0.is_gone(&failure) => return Ok(()),
            Err(failure) => return Err(self.0.failed(failure, at)),
        };
        if !seen.is_of(origin) {
            // What is left of it beside a value that is not ours goes all the same.
            let left = self.0.take(&spot, &seen, origin).await;
            return left.map(drop).map_err(|failure| self.0.not_written(failure, at));
        }
        match self.0.take(&spot, &seen, origin).await {
            Ok(Put::Done(_)) => {}
            Ok(Put::Pending) => return Err(at.pending()),
            Err(failure) if failure.is_not_found() => {}
            Err(failure) => return Err(self.0.not_written(failure, at)),
        }
        // "Done" is what it says; gone is what is not there any more.
        match self.0.see(&spot).await {
            Ok(now) if now.is_of(origin) && !T::LAGS => {
                Err(at.unknown("it says that it is gone, and shows it"))
            }
            Ok(_) => Ok(()),
            Err(failure) if self.0.is_gone(&failure) => Ok(()),
            Err(failure) => Err(self.0.failed(failure, at)),
        }
    }
}
