//! What a provider and a store do when nothing fails: a whole life, the names that there may be, the values that fit.

use jiff::{SignedDuration, Timestamp};
use keywright_adapters::provider::kinds;
use keywright_core::name::KeyName;
use keywright_core::place::Place;
use keywright_core::plan::Destination;
use keywright_core::provider::{Evidence, Listing, Minted, ProviderError, Usage};
use keywright_core::secret::Secret;
use keywright_core::store::{Presence, StoreError, Write};

use super::contract::{ProviderCase, StoreCase, VALUE, marker, origin, origin_of};

pub async fn a_whole_life(case: &ProviderCase) {
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
    assert!(provider.facts().no_mint.is_none());
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
                revoked => assert_eq!((revoked.map(drop), case.live(1).await), (Ok(()), 0)),
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
pub async fn a_name_may_be_anything(case: &ProviderCase) {
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

impl StoreCase {
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
}

pub async fn a_stored_life(case: &StoreCase) {
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

pub async fn what_is_foreign_stays(case: &StoreCase) {
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
    // Unless an operator said that the place is ours.
    for _ in 0..2 {
        case.put(&at, 4, VALUE, Presence::Foreign).await.unwrap();
    }
    assert!(matches!(case.store.look(&at).await.unwrap(), Presence::Ours { .. }));
    if let Some(stored) = (case.read)(at.place.place.clone()).await {
        assert_eq!(stored, VALUE);
    }
    case.store.remove(&origin(4), &at).await.unwrap();
    assert_eq!(case.store.look(&at).await.unwrap(), Presence::Absent);
}

pub async fn a_value_is_any_text_up_to_its_limit(case: &StoreCase) {
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

pub async fn a_place_is_as_long_as_it_may_be(case: &StoreCase) {
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
