//! What every provider and every store has to keep, whatever its API: one suite for each joint.

use std::any::Any;
use std::collections::{BTreeMap, BTreeSet};
use std::pin::Pin;

use jiff::Timestamp;
use keywright_core::grant::{Grant, Permission, Resource};
use keywright_core::id::{KeyId, PlacementId, RequestId, VersionId};
use keywright_core::marker::Marker;
use keywright_core::name::{AgentName, KeyName};
use keywright_core::place::Place;
use keywright_core::plan::{Destination, Plan, Principal};
use keywright_core::policy::{Authorized, Behind, Ceiling, Counts, Facts, Policies, Refusal};
use keywright_core::provider::{Minted, Provider, ProviderError, Recovery};
use keywright_core::secret::Secret;
use keywright_core::span::Span;
use keywright_core::store::{Origin, Presence, Store, StoreError, Write};
use keywright_core::template::{ResolvedTemplate, Template};
use keywright_core::text::Untrusted;

use super::proxy::Proxy;
use super::{faults, lives, store_faults};

/// How many credentials of a marker live at the peer, as the peer itself says.
pub type Count = Box<dyn Fn(String) -> Pin<Box<dyn Future<Output = usize> + Send>> + Send + Sync>;

/// A provider, its peer, and a proxy between them.
pub struct ProviderCase {
    pub proxy: Proxy,
    pub provider: Box<dyn Provider>,
    pub wish: Wish,
    /// Method and a part of the path of the call that creates, in the form of [`super::proxy::Seen::is`].
    pub create: (&'static str, &'static str),
    pub live: Count,
    /// A parameter that names something.
    pub resolve: (&'static str, String),
    /// The body of the vendor's own refusal with a status.
    pub said: fn(u16) -> String,
    /// What no error may quote: the parent's credential.
    pub secrets: Vec<String>,
    /// How the names of calls start whose good status is believed, whatever the body.
    pub believed: &'static [&'static str],
    /// Whether each call takes so long that not every bad answer meets every call.
    pub is_slow: bool,
    /// What has to live as long as the case.
    pub peer: Box<dyn Any + Send + Sync>,
}

/// What a key shall do.
#[derive(Clone)]
pub struct Wish {
    pub provider: &'static str,
    pub permissions: Vec<Permission>,
    pub resources: Vec<Resource>,
    pub ttl: &'static str,
    pub budget_cents: Option<u64>,
}

impl Wish {
    /// The plan, with the proof that a template and a policy allow it.
    pub fn authorized(&self) -> Authorized<Plan> {
        self.judged().unwrap()
    }

    /// As [`Wish::authorized`], unless the policy does not even allow it.
    pub fn judged(&self) -> Result<Authorized<Plan>, Refusal> {
        let budget =
            self.budget_cents.map(|cents| format!("budget_usd = {}.{:02}\n", cents / 100, cents % 100));
        let file = format!(
            "id = \"{0}/test\"\ntitle = \"t\"\nprovider = \"{0}\"\ntier = \"standard\"\npermissions = [\"x\"]\n\
             [limits]\nttl_max = \"{1}\"\ndestinations = [\"embedded:*\"]\n{2}",
            self.provider,
            self.ttl,
            budget.unwrap_or_default()
        );
        let template = ResolvedTemplate {
            template: Template::parse(&file).unwrap(),
            permissions: self.permissions.clone(),
            escalation: Vec::new(),
            unlocks: 1,
            mutating: 0,
        };
        let counts = Counts { keys_active: 0, requests_last_hour: 0 };
        let facts = Facts { counts, approvals: &BTreeSet::new(), behind: &Behind::Nobody };
        let policies = Policies::parse("permit (principal, action, resource);").unwrap();
        let ceiling = Ceiling { template: &template, version: 1 };
        policies.authorize(self.plan(&template), ceiling, &facts)
    }

    fn plan(&self, template: &ResolvedTemplate) -> Plan {
        Plan {
            request: RequestId::generate(Timestamp::UNIX_EPOCH, [1; 10]),
            principal: Principal::Agent(AgentName::parse("builder").unwrap()),
            template: template.template.id.clone(),
            template_version: 1,
            tier: template.template.tier,
            provider: template.template.provider.clone(),
            connection: "it".parse().unwrap(),
            project: "web".parse().unwrap(),
            environment: "dev".parse().unwrap(),
            name: "IT_TOKEN".parse().unwrap(),
            parameters: BTreeMap::new(),
            permissions: self.permissions.clone(),
            escalation: Vec::new(),
            withheld: Vec::new(),
            resources: self.resources.clone(),
            ttl: Span::parse(self.ttl).unwrap(),
            ip_allow: Vec::new(),
            budget_cents: self.budget_cents,
            destinations: vec![Destination {
                place: Place::parse("embedded:web/dev/IT_TOKEN").unwrap(),
                base: None,
            }],
            rotation: None,
            rotates: None,
            adopts: None,
            ending: None,
            unlocks: template.unlocks,
            mutating: template.mutating,
            needs: 0,
            purpose: Untrusted::capped("a test", 10),
        }
    }
}

/// A marker in its real form and length, unlike any other of the test.
pub fn marker(number: u32) -> Marker {
    Marker::from_ledger(format!("kw-abcd-aaa-{number:026}-{:09}", number * 7))
}

impl ProviderCase {
    /// Mints under this number's marker.
    pub async fn mint(&self, number: u32) -> (Grant, Result<Minted, ProviderError>) {
        let plan = self.wish.authorized();
        let grant = self.provider.facts().asked(plan.get().grant(Timestamp::now()));
        let minted = self.provider.mint(&plan, &grant, &marker(number)).await;
        (grant, minted)
    }

    pub async fn live(&self, number: u32) -> usize {
        (self.live)(marker(number).as_str().to_owned()).await
    }

    pub fn lists(&self) -> bool {
        self.provider.facts().recovery != Recovery::Expiry
    }
}

/// Every verb, twice, and every bad answer to every call of every verb. `make` gives a case of its own each time: several
/// are at work together.
pub async fn keeps_the_providers_contract(make: impl AsyncFn() -> ProviderCase) {
    lives::a_whole_life(&make().await).await;
    lives::a_name_may_be_anything(&make().await).await;
    faults::fails_clearly(&make).await;
}

/// A store and its peer.
pub struct StoreCase {
    pub store: Box<dyn Store>,
    /// What is between them, where it is a network.
    pub network: Option<Network>,
    /// A place of this store, with `{}` where a number makes it another one.
    pub place: String,
    /// What lies at a place, as somebody else reads it; `None` for nothing, and for what nobody can read.
    pub read: ReadStored,
    /// Puts something there as somebody else would.
    pub put_foreign: PutForeign,
    pub limits: Limits,
    pub secrets: Vec<String>,
    /// What has to live as long as the case.
    pub peer: Box<dyn Any + Send + Sync>,
}

/// How long a place may be.
#[derive(Debug, Clone)]
pub struct Limits {
    /// The longest place that there may be.
    pub longest: String,
    /// One character more.
    pub too_long: String,
    /// Whether a value may be any text, or has to be plain ASCII.
    pub unicode: bool,
}

impl Limits {
    /// A place whose last part has at most so many characters, in front of `tail`.
    pub fn of(head: &str, character: char, most: usize, tail: &str) -> Self {
        let place = |count: usize| format!("{head}{}{tail}", character.to_string().repeat(count));
        Self { longest: place(most), too_long: place(most + 1), unicode: true }
    }
}

/// A proxy before the peer of a store, and how the store is opened through it.
pub struct Network {
    pub proxy: Proxy,
    pub open: Open,
    /// The body of the vendor's own refusal with a status.
    pub said: fn(u16) -> String,
    /// Whether our own wire calls it, and not somebody's program.
    pub is_ours: bool,
}

/// Opens a store at an address.
pub type Open = Box<dyn Fn(&str) -> Box<dyn Store> + Send + Sync>;

impl Network {
    /// The store, and what is between it and `upstream`.
    pub async fn before(
        upstream: &str,
        said: fn(u16) -> String,
        open: Open,
    ) -> (Box<dyn Store>, Option<Self>) {
        let proxy = Proxy::start(upstream).await;
        (open(&proxy.url), Some(Self { proxy, open, said, is_ours: true }))
    }
}

/// Reads a place with the peer's own means.
pub type ReadStored =
    Box<dyn Fn(String) -> Pin<Box<dyn Future<Output = Option<String>> + Send>> + Send + Sync>;
/// Writes to a place with the peer's own means.
pub type PutForeign = Box<dyn Fn(String, String) -> Pin<Box<dyn Future<Output = ()> + Send>> + Send + Sync>;

/// A value that no encoding leaves alone.
pub const VALUE: &str = "Canary_value-0123456789+/=:abcdefghijklm";

pub fn origin(seed: u8) -> Origin {
    origin_of(u32::from(seed))
}

/// As [`origin`], where there are more of them.
pub fn origin_of(seed: u32) -> Origin {
    let now = Timestamp::from_second(1_790_000_000).unwrap();
    let [a, b, c, d] = seed.to_be_bytes();
    let random = [a, b, c, d, d, d, d, d, d, d];
    Origin {
        placement: PlacementId::generate(now, random),
        key: KeyId::generate(now, [1; 10]),
        version: VersionId::generate(now, random),
        marker: marker(seed),
    }
}

impl StoreCase {
    pub async fn destination(&self, number: u32) -> Destination {
        let place = Place { store: self.store_name(), place: self.place.replace("{}", &number.to_string()) };
        let name = KeyName::parse("IT_TOKEN").unwrap();
        self.store.accept(Destination { place, base: None }, &name, None).await.unwrap()
    }

    pub fn store_name(&self) -> keywright_core::name::StoreName {
        self.store.facts().kind.parse().unwrap()
    }

    pub async fn put(
        &self,
        destination: &Destination,
        seed: u32,
        value: &str,
        expected: Presence,
    ) -> Result<keywright_core::store::Written, StoreError> {
        let (origin, secret) = (origin_of(seed), Secret::new(value.to_owned()));
        self.store.write(&Write { destination, expected, origin: &origin, secret: &secret }).await
    }
}

/// Every verb, twice, and every bad answer to every call of every verb. `make` gives a case of its own each time: several
/// are at work together.
pub async fn keeps_the_stores_contract(make: impl AsyncFn() -> StoreCase) {
    keeps_the_contract_of_a_local_store(&make().await).await;
    store_faults::fails_clearly(&make).await;
}

/// As [`keeps_the_stores_contract`], where no network is that could fail.
pub async fn keeps_the_contract_of_a_local_store(case: &StoreCase) {
    for _ in 0..2 {
        case.store.check().await.unwrap();
    }
    lives::a_stored_life(case).await;
    lives::what_is_foreign_stays(case).await;
    lives::a_value_is_any_text_up_to_its_limit(case).await;
    lives::a_place_is_as_long_as_it_may_be(case).await;
}
