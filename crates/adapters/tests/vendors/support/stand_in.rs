//! A provider before its stand-in: the suite behind the proxy that fails, and one life through the vendor's own document.

use keywright_adapters::provider::{ConnectionConfig, connect};
use keywright_core::grant::{Grant, Permission, Resource};
use keywright_core::provider::{Listing, Minted, Provider, ProviderError};
use keywright_core::secret::Secret;
use keywright_sandbox::vendors::Running;
use serde_json::Value;

use super::contract::{Count, ProviderCase, Wish, keeps_the_providers_contract, marker};
use super::peers::{Peer, data};
use super::proxy::Proxy;

/// How a vendor's stand-in is asked about.
pub struct Vendor {
    pub kind: &'static str,
    pub account: Option<&'static str>,
    /// What permissions and parameters the tests use.
    pub permissions: &'static [&'static str],
    pub scope: &'static str,
    pub parameters: &'static [(&'static str, &'static str)],
    pub budget_cents: Option<u64>,
    /// The path of the list of keys, below the base URL, and where its rows are.
    pub list: &'static str,
    pub rows: &'static str,
    /// A parameter that names something.
    pub resolve: (&'static str, &'static str),
    /// The body of the vendor's own refusal with a status.
    pub said: fn(u16) -> String,
    /// See [`ProviderCase::believed`].
    pub believed: &'static [&'static str],
    /// The query that leads to the next page, from the rows seen so far.
    pub next: Option<fn(&[Value]) -> String>,
}

impl Vendor {
    pub async fn start(&self) -> Running {
        keywright_sandbox::vendors::start(self.kind).await.unwrap()
    }

    pub fn connect(&self, base_url: &str, parent: &str) -> Box<dyn Provider> {
        let extra = [("probe_for", "1s"), ("timeout", "6s")];
        let config = ConnectionConfig {
            base_url: Some(base_url.to_owned()),
            account: self.account.map(str::to_owned),
            extra: extra.map(|(name, value)| (name.to_owned(), value.to_owned())).into(),
        };
        connect(self.kind, config, Secret::new(parent.to_owned())).unwrap()
    }

    pub fn permissions(&self) -> Vec<Permission> {
        let one = |id: &&str| Permission {
            id: (*id).to_owned(),
            name: (*id).to_owned(),
            scope: self.scope.to_owned(),
        };
        self.permissions.iter().map(one).collect()
    }

    /// What the tests ask for, with its parameters resolved and confined as the broker does it.
    pub async fn wish(&self, provider: &dyn Provider) -> Wish {
        let mut given: Vec<Resource> = Vec::new();
        for (kind, value) in self.parameters {
            given.push(provider.resolve(kind, value).await.unwrap());
        }
        Wish {
            provider: self.kind,
            permissions: self.permissions(),
            resources: provider.confine(&self.permissions(), given).unwrap(),
            ttl: "1h",
            budget_cents: self.budget_cents,
        }
    }

    /// How many keys of a name there are, as the stand-in itself lists them.
    pub fn live(&self, running: &Running) -> Count {
        let (url, parent) = (format!("{}/{}", running.base_url, self.list), running.parent.clone());
        let (pointer, next) = (self.rows, self.next);
        Box::new(move |name| {
            let (url, parent) = (url.clone(), parent.clone());
            Box::pin(async move {
                let mut rows: Vec<Value> = Vec::new();
                loop {
                    let query = next.map_or_else(String::new, |next| next(&rows));
                    let call = reqwest::Client::new().get(format!("{url}?{query}")).bearer_auth(&parent);
                    let page: Value = call.send().await.unwrap().json().await.unwrap();
                    let page = page.pointer(pointer).unwrap().as_array().unwrap().clone();
                    let is_last = next.is_none() || page.is_empty();
                    rows.extend(page);
                    if is_last {
                        return rows.iter().filter(|row| row["name"] == name).count();
                    }
                }
            })
        })
    }

    /// The whole suite; `create` is method and a part of the path.
    pub async fn keeps_the_contract(&self, create: (&'static str, &'static str)) {
        keeps_the_providers_contract(async || {
            let running = self.start().await;
            let proxy = Proxy::start(&running.base_url).await;
            let provider = self.connect(&proxy.url, &running.parent);
            self.case(running, proxy, provider, create).await
        })
        .await;
    }

    /// A case for the suite.
    pub async fn case(
        &self,
        running: Running,
        proxy: Proxy,
        provider: Box<dyn Provider>,
        create: (&'static str, &'static str),
    ) -> ProviderCase {
        ProviderCase {
            wish: self.wish(provider.as_ref()).await,
            proxy,
            provider,
            create,
            live: self.live(&running),
            resolve: (self.resolve.0, self.resolve.1.to_owned()),
            said: self.said,
            secrets: vec![running.parent.clone()],
            believed: self.believed,
            is_slow: false,
            peer: Box::new(running),
        }
    }

    /// One life of a key through Prism: requests and answers fit the vendor's own document. `probes` where the document
    /// knows the call that probes.
    pub async fn fits_the_document(&self, document: &str, probes: bool) {
        let Some(document) = data(document) else { return };
        let running = self.start().await;
        let Some(prism) = Peer::prism_on(&document, Some(&running.base_url)).await else { return };
        let provider = self.connect(&prism.url, &running.parent);
        let provider = provider.as_ref();
        let wish = self.wish(provider).await;
        provider.check().await.unwrap();
        let (grant, minted) = mint(provider, &wish, 1).await;
        let minted = minted.unwrap();
        let id = minted.provider_key_id.as_str();
        assert_eq!(provider.facts().differences(grant.clone(), &provider.read_back(id).await.unwrap()), []);
        if probes {
            provider.probe(&minted.secret, id).await.unwrap();
        }
        assert_eq!(provider.list(Listing::Marked).await.unwrap().len(), 1);
        if let Some(switch) = provider.disabling() {
            switch.disable(id).await.unwrap();
            switch.enable(id).await.unwrap();
        }
        if let Some(last_used) = provider.last_used() {
            last_used.last_used(id).await.unwrap();
        }
        if let Some(metered) = provider.metered() {
            metered.usage(id).await.unwrap();
        }
        provider.revoke(id).await.unwrap();
        assert_eq!((self.live(&running))(marker(1).as_str().to_owned()).await, 0);
        // What no document allows does not get through, or all of this would prove nothing.
        let stranger = reqwest::Client::new().post(format!("{}/{}", prism.url, self.list));
        let answer = stranger.bearer_auth(&running.parent).json(&serde_json::json!({"name": 7})).send().await;
        assert_eq!(answer.unwrap().status(), 422);
    }
}

/// Mints what is wished for under this number's marker.
pub async fn mint(
    provider: &dyn Provider,
    wish: &Wish,
    number: u32,
) -> (Grant, Result<Minted, ProviderError>) {
    let plan = wish.authorized();
    let grant = provider.facts().asked(plan.get().grant(jiff::Timestamp::now()));
    let minted = provider.mint(&plan, &grant, &marker(number)).await;
    (grant, minted)
}
