//! What every provider and every store has to keep, whatever its API: one suite for each joint.

use std::any::Any;
use std::collections::{BTreeMap, BTreeSet};
use std::pin::Pin;

use jiff::{SignedDuration, Timestamp};
use keywright_adapters::provider::kinds;
use keywright_core::grant::{Grant, Permission, Resource};
use keywright_core::id::{KeyId, PlacementId, RequestId, VersionId};
use keywright_core::marker::Marker;
use keywright_core::name::{AgentName, KeyName};
use keywright_core::place::Place;
use keywright_core::plan::{Destination, Plan, Principal};
use keywright_core::policy::{Authorized, Ceiling, Counts, Facts, Policies, Refusal};
use keywright_core::provider::{Evidence, Listing, Minted, Provider, ProviderError, Recovery, Usage};
use keywright_core::secret::Secret;
use keywright_core::span::Span;
use keywright_core::store::{Origin, Presence, Store, StoreError, Write};
use keywright_core::template::{ResolvedTemplate, Template};
use keywright_core::text::Untrusted;

use super::proxy::Proxy;
use super::{faults, store_faults};

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
        let facts = Facts { counts, approvals: &BTreeSet::new() };
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
            unlocks: template.unlocks,
            mutating: template.mutating,
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
    a_whole_life(&make().await).await;
    a_name_may_be_anything(&make().await).await;
    faults::fails_clearly(&make).await;
}

async fn a_whole_life(case: &ProviderCase) {
    let provider = case.provider.as_ref();
    for _ in 0..2 {
        provider.check().await.unwrap();
    }
    let (kind, value) = (case.resolve.0, case.resolve.1.as_str());
    let resolved = provider.resolve(kind, value).await.unwrap();
    assert_eq!(provider.resolve(kind, value).await.unwrap(), resolved);
    let (grant, minted) = case.mint(1).await;
    let minted = minted.unwrap();
    let id = minted.provider_key_id.as_str();
    assert_eq!(case.live(1).await, 1);
    for _ in 0..2 {
        match provider.read_back(id).await {
            Err(ProviderError::Unsupported { .. }) if !case.lists() => {}
            read => assert_eq!(provider.facts().differences(grant.clone(), &read.unwrap()), []),
        }
    }
    // What the facts say that there is, there is.
    assert!(provider.facts().can_mint);
    match provider.facts().evidence {
        Evidence::Exact => assert!(provider.last_used().is_some()),
        Evidence::Counters => assert!(provider.metered().is_some()),
        Evidence::None => assert!(provider.last_used().is_none() && provider.metered().is_none()),
    }
    a_use_is_told(case, &minted).await;
    for _ in 0..2 {
        provider.probe(&minted.secret, id).await.unwrap();
    }
    if !case.lists() {
        // What can't be ended is not said to be gone.
        for _ in 0..2 {
            match provider.revoke(id).await {
                Err(ProviderError::Unsupported { .. }) => assert_eq!(case.live(1).await, 1),
                revoked => assert_eq!((revoked, case.live(1).await), (Ok(()), 0)),
            }
        }
        assert!(matches!(provider.list(Listing::All).await, Err(ProviderError::Unsupported { .. })));
        return;
    }
    for _ in 0..2 {
        let listed = provider.list(Listing::Marked).await.unwrap();
        let own: Vec<_> = listed.iter().filter(|l| l.label.raw().contains(marker(1).as_str())).collect();
        assert_eq!(own.len(), 1, "the marker names exactly one: {listed:?}");
        assert_eq!(own[0].provider_key_id, id);
    }
    if let Some(switch) = provider.disabling() {
        for _ in 0..2 {
            switch.disable(id).await.unwrap();
        }
        for _ in 0..2 {
            switch.enable(id).await.unwrap();
        }
    }
    for _ in 0..2 {
        provider.revoke(id).await.unwrap();
    }
    assert_eq!(case.live(1).await, 0, "it is gone");
}

/// A parameter that names nothing is told as that, whatever it is, and nothing odd goes out.
async fn a_name_may_be_anything(case: &ProviderCase) {
    let provider = case.provider.as_ref();
    let unicode = "pr\u{fc}duktion-\u{65e5}\u{672c}-\u{1f511}";
    let long = "x".repeat(10_000);
    for parameter in kinds(provider.facts().kind).unwrap() {
        for value in [unicode, &long, "", "*", "\u{202e}live\u{0}\n"] {
            case.proxy.seen();
            let shown = value.get(..40).unwrap_or(value);
            let error = match provider.resolve(parameter.kind, value).await {
                Err(error) => error,
                Ok(found) => panic!("{} `{shown}`: {found:?}", parameter.kind),
            };
            let is_clear = matches!(
                error,
                ProviderError::NoSuchResource { .. }
                    | ProviderError::NotFound { .. }
                    | ProviderError::Unsupported { .. }
            );
            assert!(is_clear, "{} `{shown}`: {error:?}", parameter.kind);
            let said = error.to_string();
            assert!(said.chars().count() < 800, "{} `{shown}`: {said}", parameter.kind);
            assert!(!said.contains(['\u{202e}', '\n', '\u{0}']), "{} `{shown}`: {said}", parameter.kind);
            for call in case.proxy.seen() {
                assert!(call.path.len() < 2_000, "{} `{shown}`: {}", parameter.kind, call.path.len());
            }
        }
    }
}

/// A key that was never used says so; its own use is told, and the use of another key is not.
async fn a_use_is_told(case: &ProviderCase, minted: &Minted) {
    let (provider, id) = (case.provider.as_ref(), minted.provider_key_id.as_str());
    let (last_used, metered) = (provider.last_used(), provider.metered());
    if last_used.is_none() && metered.is_none() {
        return;
    }
    let total = async |id: &str| {
        let usage = match metered {
            Some(metered) => metered.usage(id).await.unwrap(),
            None => Usage::default(),
        };
        usage.cost_microusd.or(usage.tokens)
    };
    let before = total(id).await;
    let other = case.mint(2).await.1.unwrap();
    provider.probe(&other.secret, &other.provider_key_id).await.unwrap();
    if let Some(last_used) = last_used {
        for _ in 0..2 {
            assert_eq!(last_used.last_used(id).await.unwrap(), None, "nobody used it");
        }
    }
    assert_eq!(total(id).await, before, "a use of another key is none of this one");
    let since = Timestamp::now() - SignedDuration::from_secs(60);
    provider.probe(&minted.secret, id).await.unwrap();
    if let Some(last_used) = last_used {
        let used = last_used.last_used(id).await.unwrap();
        assert!(used.is_some_and(|used| used >= since), "{used:?}");
        assert_eq!(last_used.last_used(id).await.unwrap(), used);
    }
    if metered.is_some() {
        let after = total(id).await;
        assert!(before < after, "a use is counted: {before:?}, {after:?}");
        assert_eq!(total(id).await, after);
    }
    provider.revoke(&other.provider_key_id).await.unwrap();
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

    fn store_name(&self) -> keywright_core::name::StoreName {
        self.store.facts().kind.parse().unwrap()
    }

    /// Writes, verifies, reads with the peer's own means, and removes.
    async fn passes_through(&self, at: &Destination, seed: u32, value: &str) {
        let written = self.put(at, seed, value, Presence::Absent).await.unwrap();
        let (origin, secret) = (origin_of(seed), Secret::new(value.to_owned()));
        let write = Write { destination: at, expected: Presence::Absent, origin: &origin, secret: &secret };
        assert_eq!(self.store.verify(&write, &written).await.unwrap(), self.store.facts().verify);
        if let Some(stored) = (self.read)(at.place.place.clone()).await {
            assert!(stored == value, "{} bytes of {}", stored.len(), value.len());
        }
        self.store.remove(&origin, at).await.unwrap();
        assert_eq!(self.store.look(at).await.unwrap(), Presence::Absent);
    }

    /// Nothing was sent, where that can be seen.
    fn sent_nothing(&self) -> bool {
        self.network.as_ref().is_none_or(|network| network.proxy.seen().is_empty())
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
    a_stored_life(case).await;
    what_is_foreign_stays(case).await;
    a_value_is_any_text_up_to_its_limit(case).await;
    a_place_is_as_long_as_it_may_be(case).await;
}

async fn a_stored_life(case: &StoreCase) {
    let at = case.destination(1).await;
    assert_eq!(case.store.look(&at).await.unwrap(), Presence::Absent);
    let (first, secret) = (origin(1), Secret::new(VALUE.to_owned()));
    let write = Write { destination: &at, expected: Presence::Absent, origin: &first, secret: &secret };
    let written = case.store.write(&write).await.unwrap();
    let again = case.store.write(&write).await.unwrap();
    assert_eq!(written, again, "a repeated write has no further effect");
    assert_eq!(case.store.verify(&write, &written).await.unwrap(), case.store.facts().verify);
    if let Some(stored) = (case.read)(at.place.place.clone()).await {
        assert_eq!(stored, VALUE);
    }
    let present = case.store.look(&at).await.unwrap();
    assert!(matches!(present, Presence::Ours { .. }), "{present:?}");
    // The next version takes its place, under the guard of what lies there.
    let next = format!("{VALUE}-next");
    let written = case.put(&at, 2, &next, present).await.unwrap();
    let (second, secret) = (origin(2), Secret::new(next.clone()));
    let write = Write { destination: &at, expected: Presence::Absent, origin: &second, secret: &secret };
    case.store.verify(&write, &written).await.unwrap();
    // What the old version left is not there to be removed any more.
    case.store.remove(&first, &at).await.unwrap();
    assert_ne!(case.store.look(&at).await.unwrap(), Presence::Absent, "the newer version stays");
    for _ in 0..2 {
        case.store.remove(&second, &at).await.unwrap();
    }
    assert_eq!(case.store.look(&at).await.unwrap(), Presence::Absent);
    assert_eq!((case.read)(at.place.place.clone()).await, None);
}

async fn what_is_foreign_stays(case: &StoreCase) {
    let at = case.destination(2).await;
    (case.put_foreign)(at.place.place.clone(), "theirs".to_owned()).await;
    assert_eq!(case.store.look(&at).await.unwrap(), Presence::Foreign);
    let refused = case.put(&at, 3, VALUE, Presence::Absent).await;
    assert!(matches!(refused, Err(StoreError::Conflict { .. })), "{refused:?}");
    // Not ours to remove, whatever we are told.
    let _ = case.store.remove(&origin(3), &at).await;
    if let Some(stored) = (case.read)(at.place.place.clone()).await {
        assert_eq!(stored, "theirs");
    }
    assert_eq!(case.store.look(&at).await.unwrap(), Presence::Foreign);
}

async fn a_value_is_any_text_up_to_its_limit(case: &StoreCase) {
    let at = case.destination(3).await;
    let unicode = "Gr\u{fc}\u{df}e-\u{65e5}\u{672c}-\u{1f511}-e\u{301}-$`\"\\x";
    if case.limits.unicode {
        case.passes_through(&at, 30, unicode).await;
    } else {
        let refused = case.put(&at, 30, unicode, Presence::Absent).await;
        assert!(matches!(refused, Err(StoreError::Value { .. })), "{refused:?}");
    }
    let most = case.store.facts().max_value;
    case.passes_through(&at, 31, &"x".repeat(most)).await;
    case.sent_nothing();
    let refused = case.put(&at, 32, &"x".repeat(most + 1), Presence::Absent).await;
    assert!(matches!(refused, Err(StoreError::Value { .. })), "{refused:?}");
    assert!(case.sent_nothing(), "a value that is too long is not sent");
    assert_eq!(case.store.look(&at).await.unwrap(), Presence::Absent);
    // The limit is one of bytes.
    let wide = "\u{fc}".repeat(most / 2 + 1);
    let refused = case.put(&at, 33, &wide, Presence::Absent).await;
    assert!(matches!(refused, Err(StoreError::Value { .. })), "{refused:?}");
}

async fn a_place_is_as_long_as_it_may_be(case: &StoreCase) {
    let name = KeyName::parse("IT_TOKEN").unwrap();
    let accept = async |place: &str| {
        let place = Place { store: case.store_name(), place: place.to_owned() };
        case.store.accept(Destination { place, base: None }, &name, None).await
    };
    let at = accept(&case.limits.longest).await.unwrap();
    case.passes_through(&at, 40, VALUE).await;
    case.sent_nothing();
    for bad in [case.limits.too_long.clone(), case.place.replace("{}", "\u{fc}\u{65e5}"), "x".repeat(10_000)]
    {
        let error = accept(&bad).await.unwrap_err();
        assert!(matches!(error, StoreError::Place { .. }), "{error:?}");
        assert!(error.to_string().len() < 2_000, "{}", error.to_string().len());
    }
    assert!(case.sent_nothing(), "a place that is none is not asked for");
}
