//! What every provider and every store has to keep, whatever its API: one suite for each joint.

use std::collections::{BTreeMap, BTreeSet};
use std::pin::Pin;

use jiff::Timestamp;
use keywright_core::grant::{Grant, Permission, Resource};
use keywright_core::id::{KeyId, PlacementId, RequestId, VersionId};
use keywright_core::marker::Marker;
use keywright_core::name::{AgentName, KeyName};
use keywright_core::place::Place;
use keywright_core::plan::{Destination, Plan, Principal};
use keywright_core::policy::{Authorized, Ceiling, Counts, Facts, Policies};
use keywright_core::provider::{Evidence, Listing, Minted, Provider, ProviderError, Recovery, Usage};
use keywright_core::redact::encodings;
use keywright_core::secret::Secret;
use keywright_core::span::Span;
use keywright_core::store::{Origin, Presence, Store, StoreError, Write};
use keywright_core::template::{ResolvedTemplate, Template};
use keywright_core::text::Untrusted;

use super::proxy::{Fault, Proxy, bad_answers};

/// How many credentials of a marker live at the peer, as the peer itself says.
pub type Count = Box<dyn Fn(String) -> Pin<Box<dyn Future<Output = usize> + Send>> + Send + Sync>;

/// A provider, its peer, and a proxy between them.
pub struct ProviderCase {
    pub proxy: Proxy,
    pub provider: Box<dyn Provider>,
    pub wish: Wish,
    /// Method and a part of the path of the call that creates, in the form of [`super::proxy::Seen::is`].
    pub create: (&'static str, &'static str),
    /// The same of the calls that list, read one, and revoke.
    pub list: (&'static str, &'static str),
    pub read: (&'static str, &'static str),
    pub revoke: (&'static str, &'static str),
    pub live: Count,
    /// What no error may quote: the parent's credential.
    pub secrets: Vec<String>,
}

/// What a key shall do.
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
        policies.authorize(self.plan(&template), ceiling, &facts).unwrap()
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

    async fn live(&self, number: u32) -> usize {
        (self.live)(marker(number).as_str().to_owned()).await
    }

    fn lists(&self) -> bool {
        self.provider.facts().recovery != Recovery::Expiry
    }
}

/// Every verb, twice, and every fault on every verb.
pub async fn keeps_the_providers_contract(case: &ProviderCase) {
    a_whole_life(case).await;
    a_create_is_sent_once_and_never_lost(case).await;
    if case.lists() {
        the_other_verbs_fail_clearly(case).await;
    }
    nothing_is_quoted(case).await;
}

async fn a_whole_life(case: &ProviderCase) {
    let provider = case.provider.as_ref();
    provider.check().await.unwrap();
    let (grant, minted) = case.mint(1).await;
    let minted = minted.unwrap();
    let id = minted.provider_key_id.as_str();
    assert_eq!(case.live(1).await, 1);
    for _ in 0..2 {
        match provider.read_back(id).await {
            Err(ProviderError::Unsupported { .. }) if !case.lists() => {}
            read => assert_eq!(provider.facts().differences(grant.clone(), &read.unwrap()), []),
        }
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
    let listed = provider.list(Listing::Marked).await.unwrap();
    let own: Vec<_> = listed.iter().filter(|l| l.label.raw().contains(marker(1).as_str())).collect();
    assert_eq!(own.len(), 1, "the marker names exactly one: {listed:?}");
    assert_eq!(own[0].provider_key_id, id);
    if let Some(switch) = provider.disabling() {
        for _ in 0..2 {
            switch.disable(id).await.unwrap();
        }
        for _ in 0..2 {
            switch.enable(id).await.unwrap();
        }
    }
    if let Some(last_used) = provider.last_used() {
        last_used.last_used(id).await.unwrap();
    }
    // What the facts say that there is, there is.
    assert!(provider.facts().no_mint.is_none());
    match provider.facts().evidence {
        Evidence::Exact => assert!(provider.last_used().is_some()),
        Evidence::Counters => assert!(provider.metered().is_some()),
        Evidence::None => {}
    }
    if let Some(metered) = provider.metered() {
        let before = metered.usage(id).await.unwrap();
        provider.probe(&minted.secret, id).await.unwrap();
        let after = metered.usage(id).await.unwrap();
        let total = |usage: Usage| usage.cost_microusd.or(usage.tokens).unwrap();
        assert!(total(before) < total(after), "a use is counted: {before:?}, {after:?}");
        // A use of another key is not.
        let other = case.mint(2).await.1.unwrap();
        assert!(total(metered.usage(&other.provider_key_id).await.unwrap()) < total(after));
        provider.revoke(&other.provider_key_id).await.unwrap();
    }
    for _ in 0..2 {
        provider.revoke(id).await.unwrap();
    }
    assert_eq!(case.live(1).await, 0, "it is gone");
}

async fn a_create_is_sent_once_and_never_lost(case: &ProviderCase) {
    let (method, path) = case.create;
    for (number, (what, fault)) in (100..).zip(bad_answers()) {
        case.proxy.seen();
        case.proxy.next(method, path, fault);
        let (_, minted) = case.mint(number).await;
        let error = minted.err().unwrap_or_else(|| panic!("{what}: a key came out"));
        assert_eq!(case.proxy.unmet(), 0, "{what}: the create was sent");
        let creates = case.proxy.seen();
        let creates = creates.iter().filter(|call| call.is(method, path)).count();
        assert_eq!(creates, 1, "{what}: sent once");
        wait_out(case).await;
        let exists = case.live(number).await > 0;
        if exists {
            assert!(matches!(error, ProviderError::OutcomeUnknown { .. }), "{what}: {error}");
            if case.lists() {
                let listed = case.provider.list(Listing::Marked).await.unwrap();
                let orphan = listed.iter().find(|l| l.label.raw().contains(marker(number).as_str())).unwrap();
                case.provider.revoke(&orphan.provider_key_id).await.unwrap();
                assert_eq!(case.live(number).await, 0, "{what}: the orphan is gone");
            }
        }
    }
}

/// A provider that asked to wait is not called; nobody wants to wait that long here.
async fn wait_out(case: &ProviderCase) {
    while let Err(ProviderError::Throttled { retry_after: Some(wait), .. }) = case.provider.check().await {
        tokio::time::sleep(std::time::Duration::from_secs(wait.seconds().min(10))).await;
    }
}

async fn the_other_verbs_fail_clearly(case: &ProviderCase) {
    let provider = case.provider.as_ref();
    let (_, minted) = case.mint(200).await;
    let minted = minted.unwrap();
    let id = minted.provider_key_id.as_str();
    for (what, fault) in bad_answers().into_iter().filter(|(what, _)| !what.starts_with("429")) {
        // A safe call is repeated, so that one fault may be no failure at all.
        let often = |(method, path): (&str, &str)| {
            for _ in 0..5 {
                case.proxy.next(method, path, fault.clone());
            }
        };
        often(case.list);
        assert!(provider.list(Listing::Marked).await.is_err(), "{what}: a list is whole or an error");
        case.proxy.unmet();
        often(case.read);
        assert!(provider.read_back(id).await.is_err(), "{what}: a grant is read or not");
        case.proxy.unmet();
        often(case.revoke);
        let revoked = provider.revoke(id).await;
        case.proxy.unmet();
        assert!(revoked.is_err() || case.live(200).await == 0, "{what}: revoked means gone");
    }
    provider.revoke(id).await.unwrap();
    assert_eq!(case.live(200).await, 0);
}

async fn nothing_is_quoted(case: &ProviderCase) {
    let provider = case.provider.as_ref();
    let (_, minted) = case.mint(300).await;
    let minted = minted.unwrap();
    let id = minted.provider_key_id.as_str();
    let mut secrets = case.secrets.clone();
    secrets.push(minted.secret.expose_secret().to_owned());
    let mut said = String::new();
    for status in [400, 401, 403, 404, 409, 422, 500] {
        let mut say = |error: Option<ProviderError>| said.push_str(&format!("{error:?} {}\n", shown(&error)));
        let echo = |(method, path): (&str, &str)| {
            for _ in 0..5 {
                case.proxy.next(method, path, Fault::Echo { status });
            }
        };
        echo(case.create);
        let (_, bad) = case.mint(300 + u32::from(status)).await;
        match bad {
            Ok(minted) => panic!("{status}: a key came out: {}", minted.provider_key_id),
            Err(error) => say(Some(error)),
        }
        case.proxy.unmet();
        if case.lists() {
            echo(case.list);
            say(provider.list(Listing::All).await.err());
            case.proxy.unmet();
        }
        echo(case.read);
        say(provider.read_back(id).await.err());
        case.proxy.unmet();
    }
    assert!(said.len() > 500, "there were errors: {said}");
    for secret in secrets {
        for form in encodings(&secret) {
            assert!(!said.contains(form.as_str()), "an error quotes a secret");
        }
    }
    if case.lists() {
        provider.revoke(id).await.unwrap();
    }
}

fn shown(error: &Option<ProviderError>) -> String {
    error.as_ref().map(ToString::to_string).unwrap_or_default()
}

/// A store, its peer, and a proxy between them (none where no network is).
pub struct StoreCase {
    pub proxy: Option<Proxy>,
    pub store: Box<dyn Store>,
    /// A place of this store, with `{}` where a number makes it another one.
    pub place: &'static str,
    /// Method and a part of the path of the call that writes.
    pub write: (&'static str, &'static str),
    /// What lies at a place, as somebody else reads it; `None` for nothing, and for what nobody can read.
    pub read: ReadStored,
    /// Puts something there as somebody else would.
    pub put_foreign: PutForeign,
    pub secrets: Vec<String>,
}

/// Reads a place with the peer's own means.
pub type ReadStored =
    Box<dyn Fn(String) -> Pin<Box<dyn Future<Output = Option<String>> + Send>> + Send + Sync>;
/// Writes to a place with the peer's own means.
pub type PutForeign = Box<dyn Fn(String, String) -> Pin<Box<dyn Future<Output = ()> + Send>> + Send + Sync>;

/// A value that no encoding leaves alone.
pub const VALUE: &str = "Canary_value-0123456789+/=:abcdefghijklm";

pub fn origin(seed: u8) -> Origin {
    let now = Timestamp::from_second(1_790_000_000).unwrap();
    Origin {
        placement: PlacementId::generate(now, [seed; 10]),
        key: KeyId::generate(now, [1; 10]),
        version: VersionId::generate(now, [seed; 10]),
        marker: marker(u32::from(seed)),
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

    async fn put(
        &self,
        destination: &Destination,
        seed: u8,
        value: &str,
        expected: Presence,
    ) -> Result<keywright_core::store::Written, StoreError> {
        let (origin, secret) = (origin(seed), Secret::new(value.to_owned()));
        self.store.write(&Write { destination, expected, origin: &origin, secret: &secret }).await
    }
}

/// Every verb, twice, and every fault on the write.
pub async fn keeps_the_stores_contract(case: &StoreCase) {
    case.store.check().await.unwrap();
    a_stored_life(case).await;
    what_is_foreign_stays(case).await;
    if case.proxy.is_some() {
        a_write_that_fails_is_never_taken_for_done(case).await;
    }
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

async fn a_write_that_fails_is_never_taken_for_done(case: &StoreCase) {
    let proxy = case.proxy.as_ref().unwrap();
    let (method, path) = case.write;
    let echo = [400, 403, 500].map(|status| ("echo", Fault::Echo { status }));
    let mut said = String::new();
    for (number, (what, fault)) in (10_u8..).zip(bad_answers().into_iter().chain(echo)) {
        let at = case.destination(u32::from(number)).await;
        for _ in 0..5 {
            proxy.next(method, path, fault.clone());
        }
        let outcome = case.put(&at, number, VALUE, Presence::Absent).await;
        let met = 5 - proxy.unmet();
        assert!(met > 0, "{what}: the write was sent");
        if let Err(error) = &outcome {
            said.push_str(&format!("{error} {error:?}\n"));
            let landed = (case.read)(at.place.place.clone()).await.is_some();
            assert!(!landed || error.is_transient(), "{what}: it landed, yet {error}");
        }
        // The same write again, without the fault, comes to the same end.
        let mut written = case.put(&at, number, VALUE, Presence::Absent).await;
        for _ in 0..20 {
            if written.as_ref().is_err_and(StoreError::is_transient) {
                tokio::time::sleep(std::time::Duration::from_millis(500)).await;
                written = case.put(&at, number, VALUE, Presence::Absent).await;
            }
        }
        let written = written.unwrap_or_else(|error| panic!("{what}, then nothing: {error}"));
        let (origin, secret) = (origin(number), Secret::new(VALUE.to_owned()));
        let write = Write { destination: &at, expected: Presence::Absent, origin: &origin, secret: &secret };
        case.store.verify(&write, &written).await.unwrap();
        case.store.remove(&origin, &at).await.unwrap();
    }
    let own = VALUE.to_owned();
    for secret in case.secrets.iter().chain([&own]) {
        for form in encodings(secret) {
            assert!(!said.contains(form.as_str()), "an error quotes a secret: {said}");
        }
    }
}
