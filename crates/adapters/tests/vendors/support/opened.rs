//! What the tests of stores share.

use std::process::Stdio;

use keywright_adapters::store::{StoreConfig, StoreConnectError, connect};
use keywright_core::place::Place;
use keywright_core::plan::Destination;
use keywright_core::secret::Secret;
use keywright_core::store::{Presence, Store, StoreError, VerifyMode, Write};
use keywright_sandbox::vendors;
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt as _;
use tokio::process::Command;

use super::contract::{Limits, Network, StoreCase, keeps_the_stores_contract, origin};

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

/// Asks a stand-in what no vendor tells.
pub async fn ask(base: &str, path: &str, body: Value) -> Value {
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let answer = client.post(format!("{base}/-/{path}")).json(&body).send().await.unwrap();
    assert!(answer.status().is_success(), "{path}: {}", answer.status());
    answer.json().await.unwrap()
}

/// Where in a stand-in a place is, for what no vendor tells: the path below `/-/`, and the body.
pub type Spot = fn(&str, &str) -> (String, Value);

/// A store before its stand-in.
pub struct StandIn {
    pub kind: &'static str,
    pub settings: &'static [(&'static str, &'static str)],
    pub spot: Spot,
}

impl StandIn {
    pub fn open(&self, address: &str, token: &str) -> Box<dyn Store> {
        self.with(address, token, self.settings)
    }

    pub fn with(&self, address: &str, token: &str, settings: &[(&str, &str)]) -> Box<dyn Store> {
        open(self.kind, Some(address), settings, Some(token)).unwrap()
    }

    pub fn at(&self, place: &str) -> Destination {
        at(self.kind, place)
    }

    /// What lies there.
    pub async fn read(&self, base: &str, place: &str) -> Option<String> {
        let (path, body) = (self.spot)("read", place);
        ask(base, &path, body).await["value"].as_str().map(str::to_owned)
    }

    /// Puts a value there as somebody else.
    pub async fn put_foreign(&self, base: &str, place: &str, value: &str) {
        let (path, mut body) = (self.spot)("put", place);
        body["value"] = json!(value);
        ask(base, &path, body).await;
    }

    /// The whole suite; `settings` come on top, `said` is the body of the vendor's own refusal with a status.
    pub async fn keeps_the_contract(
        &'static self,
        settings: &[(&'static str, &'static str)],
        place: &'static str,
        said: fn(u16) -> String,
        limits: &Limits,
    ) {
        let settings: Vec<_> =
            self.settings.iter().chain(settings).chain(&[("timeout", "6s")]).copied().collect();
        keeps_the_stores_contract(async || {
            let running = vendors::start(self.kind).await.unwrap();
            let (reads, writes) = (running.base_url.clone(), running.base_url.clone());
            let (settings, parent) = (settings.clone(), running.parent.clone());
            let open = Box::new(move |url: &str| self.with(url, &parent, &settings));
            let (store, network) = Network::before(&running.base_url, said, open).await;
            StoreCase {
                store,
                network,
                place: place.to_owned(),
                limits: limits.clone(),
                read: Box::new(move |place| {
                    let base = reads.clone();
                    Box::pin(async move { self.read(&base, &place).await })
                }),
                put_foreign: Box::new(move |place, value| {
                    let base = writes.clone();
                    Box::pin(async move { self.put_foreign(&base, &place, &value).await })
                }),
                secrets: vec![running.parent.clone()],
                peer: Box::new(running),
            }
        })
        .await;
    }
}
