//! The sealed store in the ledger keeps what every store keeps (`adapters/tests/vendors` for the others): each verb twice
//! as good as once, any text up to the limit, any place up to its length, and nothing of another's overwritten.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

use std::sync::Arc;

use jiff::Timestamp;
use keywright_broker::embedded::{EmbeddedStore, owner_of_value};
use keywright_core::id::{KeyId, PlacementId, VersionId};
use keywright_core::marker::Marker;
use keywright_core::place::Place;
use keywright_core::plan::Destination;
use keywright_core::secret::Secret;
use keywright_core::store::{Origin, Presence, Store, StoreError, VerifyMode, Write, Written};
use keywright_ledger::seal::{Keyring, MasterKey};
use keywright_ledger::{Ledger, LedgerError, Location};
use keywright_testkit::TestClock;

/// A value that no encoding leaves alone.
const VALUE: &str = "Canary_value-0123456789+/=:abcdefghijklm";

/// A ledger with the store over it.
struct House {
    store: EmbeddedStore,
    ledger: Arc<Ledger>,
    keyring: Arc<Keyring>,
    _dir: tempfile::TempDir,
}

fn origin(seed: u8) -> Origin {
    let now = Timestamp::from_second(1_790_000_000).unwrap();
    Origin {
        placement: PlacementId::generate(now, [seed; 10]),
        key: KeyId::generate(now, [1; 10]),
        version: VersionId::generate(now, [seed; 10]),
        marker: Marker::from_ledger(format!("kw-abcd-aab-x-{seed}")),
    }
}

impl House {
    async fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let instance = [0xa7; 16];
        let keyring = Arc::new(MasterKey::generate().unwrap().keyring(instance));
        let location = Location::File(dir.path().join("ledger.db"));
        let ledger = Arc::new(Ledger::open(&location, TestClock::default().as_clock()).unwrap());
        ledger.unlock(&keyring);
        ledger.write(move |tx| tx.set_instance(&instance)).await.map_err(|e: LedgerError| e).unwrap();
        let name = "embedded".parse().unwrap();
        let store = EmbeddedStore::new(name, Arc::clone(&ledger), Arc::clone(&keyring));
        Self { store, ledger, keyring, _dir: dir }
    }

    async fn accept(&self, place: &str) -> Result<Destination, StoreError> {
        let place = Place { store: "embedded".parse().unwrap(), place: place.to_owned() };
        let name = "IT_TOKEN".parse().unwrap();
        self.store.accept(Destination { place, base: Some("/".to_owned()) }, &name, None).await
    }

    async fn put(
        &self,
        at: &Destination,
        seed: u8,
        value: &str,
        expected: Presence,
    ) -> Result<Written, StoreError> {
        let (origin, secret) = (origin(seed), Secret::new(value.to_owned()));
        self.store.write(&Write { destination: at, expected, origin: &origin, secret: &secret }).await
    }

    async fn verify(&self, at: &Destination, seed: u8, value: &str) -> Result<VerifyMode, StoreError> {
        let (origin, secret) = (origin(seed), Secret::new(value.to_owned()));
        let write = Write { destination: at, expected: Presence::Absent, origin: &origin, secret: &secret };
        self.store.verify(&write, &Written { store_version: None }).await
    }

    /// What lies at a place, read past the store.
    async fn read(&self, at: &Destination) -> Option<Secret> {
        let (place, keyring) = (at.place.place.clone(), Arc::clone(&self.keyring));
        let found = self.ledger.read(move |tx| {
            let Some(value) = tx.embedded_current(&place)? else { return Ok(None) };
            keyring.open(&owner_of_value(value.placement), &tx.sealed(value.sealed)?).map(Some)
        });
        found.await.map_err(|error: LedgerError| error).unwrap()
    }

    async fn holds(&self, at: &Destination, value: &str) -> bool {
        let fingerprint = |secret: &Secret| self.keyring.fingerprint(secret);
        let expected = fingerprint(&Secret::new(value.to_owned()));
        self.read(at).await.is_some_and(|found| fingerprint(&found) == expected)
    }

    /// Writes, verifies, reads past the store, and removes.
    async fn passes_through(&self, at: &Destination, seed: u8, value: &str) {
        self.put(at, seed, value, Presence::Absent).await.unwrap();
        assert_eq!(self.verify(at, seed, value).await.unwrap(), self.store.facts().verify);
        assert!(self.holds(at, value).await, "{} bytes", value.len());
        self.store.remove(&origin(seed), at).await.unwrap();
        assert_eq!(self.store.look(at).await.unwrap(), Presence::Absent);
    }
}

#[tokio::test]
async fn each_verb_is_as_good_twice_as_once() {
    let house = House::new().await;
    for _ in 0..2 {
        house.store.check().await.unwrap();
    }
    let at = house.accept("web/dev/IT_TOKEN").await.unwrap();
    assert_eq!(at.base, None, "a directory is no part of a place here");
    assert_eq!(house.accept(&at.place.place).await.unwrap(), at);
    assert_eq!(house.store.look(&at).await.unwrap(), Presence::Absent);
    let written = house.put(&at, 1, VALUE, Presence::Absent).await.unwrap();
    let again = house.put(&at, 1, VALUE, Presence::Absent).await.unwrap();
    assert_eq!(written, again, "a repeated write has no further effect");
    let ours = Presence::Ours { marker: Some(origin(1).marker), store_version: written.store_version };
    for _ in 0..2 {
        assert_eq!(house.verify(&at, 1, VALUE).await.unwrap(), VerifyMode::ReadBack);
        assert_eq!(house.store.look(&at).await.unwrap(), ours);
    }
    // The next version takes its place, under the guard of what lies there.
    let next = house.put(&at, 2, "the next", ours.clone()).await.unwrap();
    assert_eq!(house.put(&at, 2, "the next", ours).await.unwrap(), next);
    assert!(house.holds(&at, "the next").await);
    for (seed, left) in [(1, true), (1, true), (2, false), (2, false)] {
        house.store.remove(&origin(seed), &at).await.unwrap();
        assert_eq!(house.holds(&at, "the next").await, left, "only what it wrote itself goes: {seed}");
    }
    assert_eq!(house.store.look(&at).await.unwrap(), Presence::Absent);
    assert!(house.read(&at).await.is_none());
    for _ in 0..2 {
        let gone = house.verify(&at, 2, "the next").await;
        assert!(matches!(gone, Err(StoreError::Mismatch { .. })), "{gone:?}");
    }
}

#[tokio::test]
async fn what_was_not_expected_is_not_overwritten() {
    let house = House::new().await;
    let at = house.accept("web/dev/IT_TOKEN").await.unwrap();
    house.put(&at, 1, "theirs", Presence::Absent).await.unwrap();
    let first = house.store.look(&at).await.unwrap();
    house.put(&at, 2, "theirs too", first.clone()).await.unwrap();
    for expected in [Presence::Absent, Presence::Foreign, first] {
        let refused = house.put(&at, 3, VALUE, expected).await;
        assert!(matches!(refused, Err(StoreError::Conflict { .. })), "{refused:?}");
    }
    // Nor removed, whatever we are told.
    house.store.remove(&origin(3), &at).await.unwrap();
    assert!(house.holds(&at, "theirs too").await);
    let unseen = house.verify(&at, 3, VALUE).await;
    assert!(matches!(unseen, Err(StoreError::Mismatch { .. })), "{unseen:?}");
    let changed = house.verify(&at, 2, VALUE).await;
    assert!(matches!(changed, Err(StoreError::Mismatch { .. })), "{changed:?}");
}

#[tokio::test]
async fn of_two_writes_at_once_one_lands() {
    let house = House::new().await;
    let at = house.accept("web/dev/IT_TOKEN").await.unwrap();
    let (left, right) = tokio::join!(
        house.put(&at, 1, "left", Presence::Absent),
        house.put(&at, 2, "right", Presence::Absent)
    );
    let (refused, value) = if left.is_ok() { (right, "left") } else { (left, "right") };
    assert!(matches!(refused, Err(StoreError::Conflict { .. })), "{refused:?}");
    assert!(house.holds(&at, value).await);
}

#[tokio::test]
async fn a_value_is_any_text_up_to_its_limit() {
    let house = House::new().await;
    let at = house.accept("web/dev/IT_TOKEN").await.unwrap();
    let most = house.store.facts().max_value;
    house.passes_through(&at, 1, "Gr\u{fc}\u{df}e-\u{65e5}\u{672c}-\u{1f511}-e\u{301}-$`\"\\x\n\0").await;
    house.passes_through(&at, 2, &"x".repeat(most)).await;
    // The limit is one of bytes.
    for too_long in ["x".repeat(most + 1), "\u{fc}".repeat(most / 2 + 1)] {
        let refused = house.put(&at, 3, &too_long, Presence::Absent).await;
        assert!(matches!(refused, Err(StoreError::Value { .. })), "{refused:?}");
    }
    assert_eq!(house.store.look(&at).await.unwrap(), Presence::Absent);
}

#[tokio::test]
async fn a_place_is_three_names_as_long_as_names_may_be() {
    let house = House::new().await;
    let place = |project: usize, environment: usize, name: usize| {
        format!("{}/{}/{}", "p".repeat(project), "e".repeat(environment), "N".repeat(name))
    };
    house.passes_through(&house.accept(&place(64, 64, 128)).await.unwrap(), 1, VALUE).await;
    let long = "x".repeat(10_000);
    let too_long = [place(65, 64, 128), place(64, 65, 128), place(64, 64, 129)];
    let odd = ["", "web", "web/dev", "web/dev/", "web/dev/A/B", "/web/dev/A", "web/../A", "web/dev/\u{fc}"];
    for bad in too_long.iter().map(String::as_str).chain(odd).chain([long.as_str()]) {
        let error = house.accept(bad).await.unwrap_err();
        assert!(matches!(error, StoreError::Place { .. }), "{error:?}");
        assert!(error.to_string().len() < 2_000, "{}", error.to_string().len());
    }
    // What a default place is, is one.
    let [project, environment] = ["web", "dev"];
    let own = house.store.default_place(
        &project.parse().unwrap(),
        &environment.parse().unwrap(),
        &"IT_TOKEN".parse().unwrap(),
    );
    assert_eq!(house.accept(&own).await.unwrap().place.place, "web/dev/IT_TOKEN");
}
