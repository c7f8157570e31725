//! What the tests of stores share.

use std::process::Stdio;

use keywright_adapters::store::{StoreConfig, StoreConnectError, connect};
use keywright_core::place::Place;
use keywright_core::plan::Destination;
use keywright_core::secret::Secret;
use keywright_core::store::{Presence, Store, StoreError, VerifyMode, Write};
use tokio::io::AsyncWriteExt as _;
use tokio::process::Command;

use super::contract::origin;

/// A store of this kind, called like it. `address` and `credential` where the kind has them.
pub fn open(
    kind: &str,
    address: Option<&str>,
    settings: &[(&str, &str)],
    credential: Option<&str>,
) -> Result<Box<dyn Store>, StoreConnectError> {
    let extra = settings.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    let address = address.map(str::to_owned);
    let config = StoreConfig { name: kind.parse().unwrap(), address, extra };
    connect(kind, config, credential.map(|text| Secret::new(text.to_owned())))
}

pub fn at(kind: &str, place: &str) -> Destination {
    Destination { place: Place { store: kind.parse().unwrap(), place: place.to_owned() }, base: None }
}

/// Writes and verifies.
pub async fn put(
    store: &dyn Store,
    place: &str,
    seed: u8,
    value: &str,
    expected: Presence,
) -> Result<VerifyMode, StoreError> {
    let destination = at(store.facts().kind, place);
    let (origin, secret) = (origin(seed), Secret::new(value.to_owned()));
    let write = Write { destination: &destination, expected, origin: &origin, secret: &secret };
    let written = store.write(&write).await?;
    store.verify(&write, &written).await
}

/// Runs a program with this input, and gives what it wrote; `None` when it failed.
pub async fn run(command: &mut Command, input: &str) -> Option<String> {
    let mut child =
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let _ = stdin.write_all(input.as_bytes()).await;
    drop(stdin);
    let ended = child.wait_with_output().await.unwrap();
    ended.status.success().then(|| String::from_utf8(ended.stdout).unwrap())
}
