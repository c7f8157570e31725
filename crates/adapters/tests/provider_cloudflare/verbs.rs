//! Every verb, and every verb twice.

use jiff::Timestamp;
use keywright_core::marker::Marker;
use keywright_core::provider::{Listing, ProviderError};
use keywright_core::secret::Secret;
use keywright_sandbox::{Fault, FaultKind, SandboxConfig, TokenStatus, Widening};

use crate::world::*;

/// Mints, then calls every other verb twice.
async fn lives_and_dies(world: &World, wish: &Wish) {
    let provider = world.provider.as_ref();
    let plan = wish.authorized();
    let grant = plan.get().grant(Timestamp::now());
    let marker = Marker::from_ledger("kw-test-aaa-1".to_owned());
    let minted = provider.mint(&plan, &grant, &marker).await.unwrap();
    let id = minted.provider_key_id.as_str();
    let (disabling, usage) = (provider.disabling().unwrap(), provider.last_used().unwrap());
    assert_eq!(usage.last_used(id).await.unwrap(), None);
    for _ in 0..2 {
        assert_eq!(grant.differences(&provider.read_back(id).await.unwrap()), []);
        provider.probe(&minted.secret, id).await.unwrap();
        let listed = provider.list(Listing::Marked).await.unwrap();
        assert_eq!(listed.iter().map(|key| key.label.raw()).collect::<Vec<_>>(), ["kw-test-aaa-1"]);
        assert!(listed[0].enabled && listed[0].provider_key_id == id && listed[0].created_at.is_some());
        assert_eq!(listed[0].expires_at.map(|at| at.as_second()), grant.expires_at.map(|at| at.as_second()));
        assert_eq!(provider.list(Listing::All).await.unwrap().len(), 2);
        assert!(usage.last_used(id).await.unwrap().is_some());
    }
    for _ in 0..2 {
        disabling.disable(id).await.unwrap();
        assert_eq!(world.token(id).unwrap().status, TokenStatus::Disabled);
    }
    assert!(provider.probe(&minted.secret, id).await.unwrap_err().to_string().contains("disabled"));
    assert_eq!(grant.differences(&provider.read_back(id).await.unwrap()).len(), 1);
    assert!(!provider.list(Listing::Marked).await.unwrap()[0].enabled);
    for _ in 0..2 {
        disabling.enable(id).await.unwrap();
        assert_eq!(grant.differences(&provider.read_back(id).await.unwrap()), []);
    }
    for _ in 0..2 {
        provider.revoke(id).await.unwrap();
        assert!(world.token(id).is_none());
        assert!(matches!(provider.read_back(id).await, Err(ProviderError::NotFound { .. })));
        assert!(matches!(usage.last_used(id).await, Err(ProviderError::NotFound { .. })));
        assert!(matches!(disabling.disable(id).await, Err(ProviderError::NotFound { .. })));
        assert_eq!(provider.list(Listing::Marked).await.unwrap(), []);
    }
    assert!(matches!(provider.probe(&minted.secret, id).await, Err(ProviderError::Unauthorized { .. })));
}

#[tokio::test]
async fn an_account_key_lives_and_dies() {
    let world = World::start().await;
    let zone = world.provider.resolve("cloudflare.zone", "example.com").await.unwrap();
    let mut wish = Wish::new(&[DNS_WRITE, DNS_READ, KV_WRITE], vec![zone]);
    wish.ip_allow = vec!["127.0.0.0/8".to_owned(), "2001:db8::/32".to_owned()];
    wish.resources = world.provider.confine(&wish.permissions, wish.resources).unwrap();
    assert_eq!(wish.resources.len(), 2);
    lives_and_dies(&world, &wish).await;
}

#[tokio::test]
async fn a_user_key_lives_and_dies() {
    let world = World::of_user().await;
    let mut wish = Wish::new(&[DNS_WRITE, KV_WRITE], vec![world.zone("example.net")]);
    wish.resources = world.provider.confine(&wish.permissions, wish.resources).unwrap();
    lives_and_dies(&world, &wish).await;
}

#[tokio::test]
async fn a_key_for_one_r2_bucket_is_what_was_asked() {
    let world = World::start().await;
    for name in ["assets", "eu/assets-2"] {
        let bucket = world.provider.resolve("cloudflare.r2_bucket", name).await.unwrap();
        let wish = Wish::new(&[BUCKET_READ], vec![bucket]);
        assert_eq!(world.differences(&wish, "kw-r2").await, []);
    }
    let keys: Vec<String> = world
        .sandbox
        .tokens()
        .into_iter()
        .skip(2)
        .map(|token| token.policies[0].resources.to_string())
        .collect();
    let account = world.sandbox.account_id();
    assert_eq!(
        keys,
        [
            format!(r#"{{"com.cloudflare.edge.r2.bucket.{account}_default_assets":"*"}}"#),
            format!(r#"{{"com.cloudflare.edge.r2.bucket.{account}_eu_assets-2":"*"}}"#),
        ]
    );
}

#[tokio::test]
async fn a_key_for_all_zones_needs_that_very_resource() {
    let world = World::start().await;
    let account = world.sandbox.account_id().to_owned();
    let every = world.provider.resolve("cloudflare.all_zones", &account).await.unwrap();
    let wish = Wish::new(&[DNS_READ], vec![every, world.zone("example.com")]);
    assert_eq!(world.differences(&wish, "kw-all").await, []);
    let none = world.provider.confine(&wish.permissions, vec![]).unwrap_err();
    assert!(none.to_string().contains("cloudflare.zone"), "{none}");
}

#[tokio::test]
async fn a_key_that_works_elsewhere_only_is_probed_as_far_as_that_goes() {
    let world = World::start().await;
    let mut wish = Wish::new(&[DNS_READ], vec![world.zone("example.com")]);
    wish.ip_allow = vec!["192.0.2.0/24".to_owned()];
    assert_eq!(world.differences(&wish, "kw-one").await, []);
    let minted = world.mint_wish(&wish, "kw-two").await.unwrap();
    world.provider.probe(&minted.secret, &minted.provider_key_id).await.unwrap();
}

#[tokio::test]
async fn a_secret_of_another_key_does_not_pass_the_probe() {
    let world = World::start().await;
    let one = world.mint("kw-one").await.unwrap();
    let two = world.mint("kw-two").await.unwrap();
    let error = world.provider.probe(&one.secret, &two.provider_key_id).await.unwrap_err();
    assert!(matches!(error, ProviderError::Refused { .. }), "no wait makes it right: {error}");
    let nothing = Secret::new("not-a-token-at-all-0123456789".to_owned());
    let error = world.provider.probe(&nothing, &two.provider_key_id).await.unwrap_err();
    assert!(matches!(error, ProviderError::Unauthorized { .. }), "{error}");
}

#[tokio::test]
async fn a_fresh_key_is_given_time_to_work_and_not_for_ever() {
    let world = World::with(SandboxConfig::default(), &[("probe_for", "5s")]).await;
    world
        .sandbox
        .inject(Fault::on("POST", "/accounts/*/tokens", FaultKind::LaggingVerify { uses: 3 }))
        .unwrap();
    let minted = world.mint("kw-late").await.unwrap();
    world.provider.probe(&minted.secret, &minted.provider_key_id).await.unwrap();
    assert_eq!(world.count("GET", "/verify"), 4);

    let world = World::start().await;
    world
        .sandbox
        .inject(Fault::on("POST", "/accounts/*/tokens", FaultKind::LaggingVerify { uses: 999 }))
        .unwrap();
    let minted = world.mint("kw-never").await.unwrap();
    let error = world.provider.probe(&minted.secret, &minted.provider_key_id).await.unwrap_err();
    assert!(matches!(error, ProviderError::Unauthorized { .. }), "{error}");
}

#[tokio::test]
async fn whatever_is_wider_than_asked_is_seen_in_the_read_back() {
    let world = World::start().await;
    let widenings = [Widening::OtherZone, Widening::ExtraGroup, Widening::NoExpiry, Widening::DropCondition];
    for widening in widenings {
        let mut wish = Wish::new(&[DNS_READ], vec![world.zone("example.com")]);
        wish.ip_allow = vec!["127.0.0.0/8".to_owned()];
        let fault = FaultKind::WiderGrant { grant: widening };
        world.sandbox.inject(Fault::on("POST", "/accounts/*/tokens", fault)).unwrap();
        let differences = world.differences(&wish, "kw-wide").await;
        assert_eq!(differences.len(), 1, "{widening:?}: {differences:?}");
        assert_eq!(world.differences(&wish, "kw-exact").await, [], "{widening:?}");
    }
}

#[tokio::test]
async fn switching_off_notices_that_the_token_became_another_one() {
    let world = World::start().await;
    for widening in [Widening::OtherZone, Widening::NoExpiry] {
        let minted = world.mint("kw-x").await.unwrap();
        let fault = FaultKind::WiderGrant { grant: widening };
        world.sandbox.inject(Fault::on("PUT", "/accounts/*/tokens/*", fault)).unwrap();
        let error = world.provider.disabling().unwrap().disable(&minted.provider_key_id).await.unwrap_err();
        assert!(matches!(error, ProviderError::Refused { .. }), "{error}");
    }
}

#[tokio::test]
async fn an_expired_key_counts_as_off_and_stays_off() {
    let world = World::start().await;
    let minted = world.mint("kw-old").await.unwrap();
    world.sandbox.advance_clock(std::time::Duration::from_secs(31 * 86_400));
    let disabling = world.provider.disabling().unwrap();
    disabling.disable(&minted.provider_key_id).await.unwrap();
    assert!(matches!(disabling.enable(&minted.provider_key_id).await, Err(ProviderError::Refused { .. })));
}

#[tokio::test]
async fn a_list_is_read_to_its_end() {
    let world = World::start().await;
    for number in 0..120 {
        let prefix = if number % 2 == 0 { "kw-" } else { "other-" };
        world.mint(&format!("{prefix}{number}")).await.unwrap();
    }
    assert_eq!(world.provider.list(Listing::All).await.unwrap().len(), 121);
    let marked = world.provider.list(Listing::Marked).await.unwrap();
    assert_eq!(marked.len(), 60);
    assert!(marked.iter().all(|key| key.label.raw().starts_with("kw-")));
    // A page that is read while tokens come and go: begun again, not taken for the whole.
    let lag = FaultKind::LaggingList { ms: 3_600_000 };
    world.sandbox.inject(Fault::on("GET", "/accounts/*/tokens", lag.clone()).skipping(1)).unwrap();
    assert_eq!(world.provider.list(Listing::All).await.unwrap().len(), 121);
    // A page that can't be read: an error, not a part.
    world.fault("GET", "/accounts/*/tokens", FaultKind::Garbage);
    assert!(world.provider.list(Listing::All).await.is_err());
    // A list that lags as a whole can't be told from a true one: that is why a sweep looks again.
    world.sandbox.clear_faults();
    world.fault("GET", "/accounts/*/tokens", lag);
    assert_eq!(world.provider.list(Listing::Marked).await.unwrap(), []);
    world.sandbox.clear_faults();
    assert_eq!(world.provider.list(Listing::Marked).await.unwrap().len(), 60);
}

#[tokio::test]
async fn a_key_does_not_slip_through_a_list_when_another_goes_meanwhile() {
    let world = World::with(SandboxConfig::default(), &[("timeout", "30s")]).await;
    let mut ids = Vec::new();
    for number in 0..120 {
        ids.push(world.mint(&format!("kw-{number}")).await.unwrap().provider_key_id);
    }
    // While the first page is under way, one of its keys ends: all later keys move up by one place.
    let slow = FaultKind::Slow { delay_ms: 1_500, trickle_ms: 0 };
    world.sandbox.inject(Fault::on("GET", "/accounts/*/tokens", slow)).unwrap();
    let end_one = async {
        while world.count("GET", "/tokens") == 0 {
            tokio::task::yield_now().await;
        }
        world.provider.revoke(&ids[3]).await.unwrap();
    };
    let (listed, ()) = tokio::join!(world.provider.list(Listing::Marked), end_one);
    let listed: std::collections::BTreeSet<_> =
        listed.unwrap().into_iter().map(|key| key.provider_key_id).collect();
    for (number, id) in ids.iter().enumerate().filter(|(number, _)| *number != 3) {
        assert!(listed.contains(id), "{number}");
    }
}

#[tokio::test]
async fn names_fit_up_to_their_limit() {
    let world = World::start().await;
    let longest = format!("kw-{}", "x".repeat(117));
    let minted = world.mint(&longest).await.unwrap();
    assert_eq!(world.token(&minted.provider_key_id).unwrap().name, longest);
    let error = world.mint(&format!("{longest}y")).await.err().unwrap();
    assert!(matches!(error, ProviderError::Unsupported { .. }), "{error}");
    assert_eq!(world.count("POST", "/tokens"), 1);
}

#[tokio::test]
async fn a_grant_that_is_not_of_its_plan_is_not_minted() {
    let world = World::start().await;
    let plan = Wish::new(&[DNS_READ], vec![world.zone("example.com")]).authorized();
    let grant = widened(plan.get().grant(Timestamp::now()));
    let error =
        world.provider.mint(&plan, &grant, &Marker::from_ledger("kw-x".to_owned())).await.err().unwrap();
    assert!(matches!(error, ProviderError::Unsupported { .. }), "{error}");
    assert_eq!(world.sandbox.calls().len(), 0);
}

#[tokio::test]
async fn what_is_no_token_id_is_never_put_into_a_path() {
    let world = World::start().await;
    for id in ["", "..", "verify", "permission_groups", "a/b", "x".repeat(33).as_str(), "0?x=1"] {
        assert!(matches!(world.provider.revoke(id).await, Err(ProviderError::Unsupported { .. })), "{id}");
        assert!(world.provider.read_back(id).await.is_err(), "{id}");
    }
    assert_eq!(world.sandbox.calls().len(), 0);
}

#[tokio::test]
async fn a_full_account_says_so() {
    let world = World::with(SandboxConfig { account_token_quota: 2, ..SandboxConfig::default() }, &[]).await;
    world.mint("kw-one").await.unwrap();
    let error = world.mint("kw-two").await.err().unwrap();
    assert!(matches!(error, ProviderError::QuotaExhausted { .. }), "{error}");
}

#[tokio::test]
async fn the_facts_are_those_of_the_provider() {
    let world = World::start().await;
    let facts = world.provider.facts();
    assert!(std::ptr::eq(facts, keywright_adapters::provider::facts_of("cloudflare").unwrap()));
    assert_eq!(facts.kind, "cloudflare");
    assert!(facts.has_expiry && facts.has_ip_condition && !facts.has_budget);
    assert_eq!(facts.longest_late_delivery.seconds(), 600);
    assert_eq!(world.provider.last_used().unwrap().lag().seconds(), 3_600);
}
