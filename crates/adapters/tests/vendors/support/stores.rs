//! What the tests of the network's stores share.

use std::process::{Output, Stdio};
use std::time::Duration;

use keywright_adapters::store::{StoreConfig, connect};
use keywright_core::place::Place;
use keywright_core::plan::Destination;
use keywright_core::secret::Secret;
use keywright_core::store::{Presence, Store, StoreError, VerifyMode, Write};
use tokio::process::Command;

use super::contract::{VALUE, origin};

/// A store of a kind, under the kind's name.
pub fn open(kind: &str, url: &str, credential: &str, extra: &[(&str, &str)]) -> Box<dyn Store> {
    let extra = extra.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    let config = StoreConfig { name: kind.parse().unwrap(), address: Some(url.to_owned()), extra };
    connect(kind, config, Some(Secret::new(credential.to_owned()))).unwrap()
}

/// A place, as it is accepted for the key `IT_TOKEN`.
pub async fn accepted(store: &dyn Store, place: &str) -> Result<Destination, StoreError> {
    let place = Place::parse(&format!("{}:{place}", store.facts().kind)).unwrap();
    store.accept(Destination { place, base: None }, &"IT_TOKEN".parse().unwrap(), None).await
}

/// As [`accepted`], for a place that is one.
pub async fn destination(store: &dyn Store, place: &str) -> Destination {
    accepted(store, place).await.unwrap()
}

/// A place that is none.
pub async fn refuses(store: &dyn Store, place: &str) {
    let refused = accepted(store, place).await;
    assert!(matches!(refused, Err(StoreError::Place { .. })), "{place}: {refused:?}");
}

/// Writes the contract's value where nothing is expected, and verifies it.
pub async fn placed(
    store: &dyn Store,
    place: &str,
    seed: u8,
) -> (Destination, Result<VerifyMode, StoreError>) {
    let destination = destination(store, place).await;
    let outcome = written(store, &destination, seed, VALUE, Presence::Absent).await;
    (destination, outcome)
}

/// Writes a value where this is expected, and verifies it.
pub async fn written(
    store: &dyn Store,
    destination: &Destination,
    seed: u8,
    value: &str,
    expected: Presence,
) -> Result<VerifyMode, StoreError> {
    let (origin, secret) = (origin(seed), Secret::new(value.to_owned()));
    let write = Write { destination, expected, origin: &origin, secret: &secret };
    let written = store.write(&write).await?;
    store.verify(&write, &written).await
}

/// Runs somebody else's program to its end.
pub async fn run(mut command: Command) -> Output {
    let output = command.stdin(Stdio::null()).kill_on_drop(true).output();
    tokio::time::timeout(Duration::from_secs(240), output).await.expect("it ends").unwrap()
}
