//! Stores in which a place holds one value, and beside it whose it is. What a look, a write and a removal are there stands
//! here once; a store says how its places are read and written ([`Spots`]).

use async_trait::async_trait;
use keywright_core::name::{EnvironmentName, KeyName, ProjectName, StoreName};
use keywright_core::place::Place;
use keywright_core::plan::Destination;
use keywright_core::secret::Secret;
use keywright_core::store::{
    Change, Origin, Presence, Standing, Store, StoreError, StoreFacts, VerifyMode, Write, Written,
};
use keywright_core::text::Untrusted;

use super::remote::{At, is_permitted, written};
use super::{StoreConfig, StoreConnectError};
use crate::rest::{Failure, Proof};

/// A store of such places.
#[async_trait]
pub(super) trait Spots: Send + Sync {
    /// A place, taken apart.
    type Spot: Send + Sync;
    type Seen: Seen;

    /// Whether what is seen may be older than a write that was done; a value that is read back is enough then.
    const LAGS: bool = false;

    /// What says whose a value is, where it is written after the value, as in "its note".
    const CLAIM: &str = "";

    fn facts(&self) -> &'static StoreFacts;

    /// See [`Store::check`]. `store` is what the operator called it.
    async fn check(&self, store: &StoreName) -> Result<(), StoreError>;

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

    /// Makes ready for a write what was seen, or says why nothing may be written over it although it is what was expected.
    async fn ready(&self, _: &Self::Spot, seen: Self::Seen, _: At<'_>) -> Result<Self::Seen, StoreError> {
        Ok(seen)
    }

    /// Writes the value and whose it is over what was seen, so that what was half written is not taken for ours.
    /// [`Put::Unclaimed`] leaves whose it is to [`Spots::claim`].
    async fn put(&self, spot: &Self::Spot, seen: &Self::Seen, write: &Write<'_>) -> Result<Put, Failure>;

    /// Whether the value that was seen is this one; `None` where nobody can read it.
    async fn holds(
        &self,
        spot: &Self::Spot,
        seen: &Self::Seen,
        secret: &Secret,
    ) -> Result<Option<bool>, Failure>;

    /// Whether what was seen is this write's value, of which not all yet says that it is ours; `None` where that can't be
    /// told. Never so where one call writes both.
    fn is_unclaimed(&self, _: &Self::Seen, _: &Write<'_>) -> Option<bool> {
        Some(false)
    }

    /// Says whose the value is that was seen: what the store calls the copy, where it has a name for it.
    async fn claim(&self, _: &Self::Spot, _: &Self::Seen, _: &Write<'_>) -> Result<Option<String>, Failure> {
        Ok(None)
    }

    /// Takes back a value that can't be claimed, because nobody could tell later whose it is. Whether it is gone.
    async fn take_back(&self, _: &Self::Spot, _: &Write<'_>) -> bool {
        false
    }

    /// What is known of a value that can't be read, once it is seen to be ours.
    fn unread(&self) -> VerifyMode {
        VerifyMode::StatusOnly
    }

    /// Takes away what this origin's write left, and nothing else.
    async fn take(&self, spot: &Self::Spot, seen: &Self::Seen, origin: &Origin) -> Result<Put, Failure>;

    /// See [`Store::awaited`].
    async fn awaited(&self, _: &Self::Spot, _: &Write<'_>) -> Result<Option<Change>, Failure> {
        Ok(None)
    }

    /// See [`Store::standing`].
    async fn standing(&self, _: &Self::Spot, _: &Change) -> Result<Standing, Failure> {
        Ok(Standing::Untold)
    }

    /// See [`Store::withdraw`].
    async fn withdraw(&self, _: &Self::Spot, _: &Change) -> Result<Standing, Failure> {
        Ok(Standing::Untold)
    }

    /// Takes what was seen for this origin's, where it is the value that this change was to write and nothing says whose it
    /// is. Never so where one call writes both.
    fn recognise(&self, seen: Self::Seen, _: &Origin, _: &Change) -> Self::Seen {
        seen
    }

    /// Clears what still says whose the value was, once it is gone.
    async fn clear(&self, _: &Self::Spot, _: &Self::Seen) {}

    /// Whether this failure to look says that nothing of ours can be there any more.
    fn is_gone(&self, _: &Failure) -> bool {
        false
    }

    /// What a failure means where nothing was written.
    fn failed(&self, failure: Failure, at: At<'_>) -> StoreError {
        failure.of_store(at.store)
    }

    /// What a failed write means when what lies there now is what lay there before, or can't be seen.
    fn not_written(&self, failure: Failure, at: At<'_>) -> StoreError {
        if failure.is_not_found() { self.failed(failure, at) } else { failure.of_write(at.store) }
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
    Pending(Change),
    /// It says that the value is written; what is there has to be looked at, and claimed.
    Unclaimed,
}

/// A store of such places, as the broker sees it.
struct Spotted<T> {
    name: StoreName,
    store: T,
}

/// Opens a store of such places.
pub(super) fn spotted<T: Spots + 'static>(
    config: &StoreConfig,
    store: T,
) -> Result<Box<dyn Store>, StoreConnectError> {
    Ok(Box::new(Spotted { name: config.name.clone(), store }))
}

impl<T: Spots> Spotted<T> {
    fn at<'a>(&'a self, destination: &'a Destination) -> At<'a> {
        At { store: &self.name, place: &destination.place.place }
    }

    async fn seen(&self, spot: &T::Spot, at: At<'_>) -> Result<T::Seen, StoreError> {
        self.store.see(spot).await.map_err(|failure| self.store.failed(failure, at))
    }

    /// What came of a write that was not simply done. Whatever the answer says, it is there or it is not.
    async fn settle(
        &self,
        spot: &T::Spot,
        before: Presence,
        write: &Write<'_>,
        said: Result<(), Failure>,
    ) -> Result<Written, StoreError> {
        let at = self.at(write.destination);
        let proof = said.as_ref().err().map(|failure| failure.proof);
        let error = match said {
            // It says that it wrote, and shows another value: what it made of ours, or somebody else's.
            Ok(()) => at.mismatch(),
            Err(failure) => self.store.not_written(failure, at),
        };
        let now = match self.store.see(spot).await {
            Ok(now) => now,
            Err(unseen) if matches!(proof, None | Some(Proof::Claimed)) => {
                return Err(at.unseen(error, &unseen));
            }
            Err(_) => return Err(error),
        };
        if now.is_of(write.origin) {
            return Ok(done(version(now.presence()), write.origin));
        }
        match (self.store.is_unclaimed(&now, write), proof) {
            (Some(true), _) | (None, None) => self.claim(spot, &now, write).await,
            (None, Some(Proof::Nothing | Proof::Claimed)) => {
                Err(at.unknown(format!("{error}, and what lies there does not tell whose it is")))
            }
            (_, Some(_)) if ![Presence::Absent, before].contains(&now.presence()) => Err(at.conflict()),
            _ => Err(error),
        }
    }

    /// What is left of a write beside a value that is not its own goes all the same.
    async fn take_left(
        &self,
        spot: &T::Spot,
        seen: &T::Seen,
        origin: &Origin,
        at: At<'_>,
    ) -> Result<(), StoreError> {
        let taken = self.store.take(spot, seen, origin).await;
        taken.map(drop).map_err(|failure| self.store.not_written(failure, at))
    }

    /// Removes what this origin's write left; also what came late as this change.
    async fn remove_as(
        &self,
        origin: &Origin,
        destination: &Destination,
        late: Option<&Change>,
    ) -> Result<(), StoreError> {
        let at = self.at(destination);
        let spot = self.store.spot(at)?;
        let see = async || {
            let seen = self.store.see(&spot).await?;
            Ok::<_, Failure>(match late {
                Some(change) => self.store.recognise(seen, origin, change),
                None => seen,
            })
        };
        let seen = match see().await {
            Ok(seen) => seen,
            Err(failure) if self.store.is_gone(&failure) => return Ok(()),
            Err(failure) => return Err(self.store.failed(failure, at)),
        };
        if !seen.is_of(origin) {
            return self.take_left(&spot, &seen, origin, at).await;
        }
        let failure = match self.store.take(&spot, &seen, origin).await {
            Ok(Put::Pending(change)) => return Err(at.pending(change)),
            Err(failure) if !failure.is_not_found() => Some(failure),
            Ok(_) | Err(_) => None,
        };
        // "Done" is what it says; gone is what is not there any more.
        match (see().await, failure) {
            (Ok(now), Some(failure)) if now.is_of(origin) || T::LAGS => {
                Err(self.store.not_written(failure, at))
            }
            (Ok(now), None) if now.is_of(origin) && !T::LAGS => {
                Err(at.unknown("it says that it is gone, and shows it"))
            }
            (Ok(now), failure) => {
                if failure.is_some() {
                    self.take_left(&spot, &now, origin, at).await?;
                }
                self.store.clear(&spot, &seen).await;
                Ok(())
            }
            (Err(_), Some(failure)) => Err(self.store.not_written(failure, at)),
            (Err(unseen), None) if self.store.is_gone(&unseen) => Ok(()),
            (Err(unseen), None) => Err(self.store.failed(unseen, at)),
        }
    }

    /// Says whose the value is. Where that can't be written, the value is taken back.
    async fn claim(&self, spot: &T::Spot, seen: &T::Seen, write: &Write<'_>) -> Result<Written, StoreError> {
        let at = self.at(write.destination);
        let failure = match self.store.claim(spot, seen, write).await {
            Ok(version) => return Ok(done(version, write.origin)),
            Err(failure) => failure,
        };
        let error = about(T::CLAIM, failure.of_store(at.store));
        if self.store.take_back(spot, write).await {
            return Err(error);
        }
        Err(at.unknown(format!("written, but not whose it is: {error}")))
    }
}

/// Says that it is not the value that could not be written.
fn about(claim: &str, error: StoreError) -> StoreError {
    let said = |why: &str| format!("{claim}, which says whose value it is, can't be written: {why}");
    let told = |message: &Untrusted| Untrusted::capped(&said(message.raw()), 400);
    match error {
        StoreError::Unavailable { store, why } => StoreError::Unavailable { store, why: said(&why) },
        StoreError::Refused { store, message } => StoreError::Refused { store, message: told(&message) },
        StoreError::Missing { store, message } => StoreError::Missing { store, message: told(&message) },
        StoreError::Unauthorized { store, message } => {
            StoreError::Unauthorized { store, message: told(&message) }
        }
        other => other,
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
        self.store.facts()
    }

    async fn check(&self) -> Result<(), StoreError> {
        self.store.check(&self.name).await
    }

    fn default_place(&self, project: &ProjectName, environment: &EnvironmentName, name: &KeyName) -> String {
        self.store.default_place(project, environment, name)
    }

    async fn accept(
        &self,
        destination: Destination,
        name: &KeyName,
        _: Option<&str>,
    ) -> Result<Destination, StoreError> {
        let Place { store, place } = destination.place;
        let place = Place { store, place: self.store.complete(place, name) };
        let accepted = Destination { place, base: None };
        self.store.spot(self.at(&accepted))?;
        Ok(accepted)
    }

    async fn look(&self, destination: &Destination) -> Result<Presence, StoreError> {
        let at = self.at(destination);
        Ok(self.seen(&self.store.spot(at)?, at).await?.presence())
    }

    async fn write(&self, write: &Write<'_>) -> Result<Written, StoreError> {
        let at = self.at(write.destination);
        let spot = self.store.spot(at)?;
        if let Some(why) = self.store.refuses(write.secret.expose_secret()) {
            return Err(at.value(why));
        }
        let seen = self.seen(&spot, at).await?;
        let before = seen.presence();
        if seen.is_of(write.origin) {
            return Ok(done(version(before), write.origin));
        }
        if !is_permitted(&write.expected, &before) {
            // Our own value, left by a crash before anything said whose it is.
            let is_ours = self.store.is_unclaimed(&seen, write) == Some(true);
            return if is_ours { self.claim(&spot, &seen, write).await } else { Err(at.conflict()) };
        }
        let seen = self.store.ready(&spot, seen, at).await?;
        let before = seen.presence();
        match self.store.put(&spot, &seen, write).await {
            Ok(Put::Done(version)) => Ok(done(version, write.origin)),
            Ok(Put::Pending(change)) => Err(at.pending(change)),
            Ok(Put::Unclaimed) => self.settle(&spot, before, write, Ok(())).await,
            Err(failure) => self.settle(&spot, before, write, Err(failure)).await,
        }
    }

    async fn verify(&self, write: &Write<'_>, said: &Written) -> Result<VerifyMode, StoreError> {
        let at = self.at(write.destination);
        let spot = self.store.spot(at)?;
        let seen = self.seen(&spot, at).await?;
        let is_ours = seen.is_of(write.origin);
        if !is_ours && !T::LAGS {
            return Err(at.mismatch());
        }
        let holds = self.store.holds(&spot, &seen, write.secret).await;
        let is_same = || said.store_version.is_none() || said.store_version == version(seen.presence());
        match (holds.map_err(|failure| self.store.failed(failure, at))?, self.store.unread()) {
            (Some(true), _) => Ok(VerifyMode::ReadBack),
            (None, mode) if is_ours && (mode == VerifyMode::StatusOnly || is_same()) => Ok(mode),
            _ => Err(at.mismatch()),
        }
    }

    async fn remove(&self, origin: &Origin, destination: &Destination) -> Result<(), StoreError> {
        self.remove_as(origin, destination, None).await
    }

    async fn awaited(&self, write: &Write<'_>) -> Result<Option<Change>, StoreError> {
        let at = self.at(write.destination);
        let found = self.store.awaited(&self.store.spot(at)?, write).await;
        found.map_err(|failure| self.store.failed(failure, at))
    }

    async fn standing(&self, destination: &Destination, change: &Change) -> Result<Standing, StoreError> {
        let at = self.at(destination);
        let standing = self.store.standing(&self.store.spot(at)?, change).await;
        standing.map_err(|failure| self.store.failed(failure, at))
    }

    async fn withdraw(&self, destination: &Destination, change: &Change) -> Result<Standing, StoreError> {
        let at = self.at(destination);
        let standing = self.store.withdraw(&self.store.spot(at)?, change).await;
        standing.map_err(|failure| self.store.failed(failure, at))
    }

    async fn lies(
        &self,
        origin: &Origin,
        destination: &Destination,
        change: &Change,
    ) -> Result<bool, StoreError> {
        let at = self.at(destination);
        let spot = self.store.spot(at)?;
        match self.store.see(&spot).await {
            Ok(seen) => Ok(self.store.recognise(seen, origin, change).is_of(origin)),
            Err(failure) if self.store.is_gone(&failure) => Ok(false),
            Err(failure) => Err(self.store.failed(failure, at)),
        }
    }

    async fn remove_late(
        &self,
        origin: &Origin,
        destination: &Destination,
        change: &Change,
    ) -> Result<(), StoreError> {
        self.remove_as(origin, destination, Some(change)).await
    }
}
