//! What each failure of the wire and of the provider means.

use keywright_core::provider::{Listing, ProviderError};
use keywright_core::span::Span;
use keywright_sandbox::{Fault, FaultKind};

use crate::world::*;

const CREATE: &str = "/accounts/*/tokens";

fn class(error: &ProviderError) -> &'static str {
    match error {
        ProviderError::OutcomeUnknown { .. } => "unknown",
        ProviderError::Refused { .. } => "refused",
        ProviderError::Unauthorized { .. } => "unauthorized",
        ProviderError::NotFound { .. } => "not found",
        ProviderError::Throttled { .. } => "throttled",
        ProviderError::Unavailable { .. } => "unavailable",
        ProviderError::Unreachable { .. } => "unreachable",
        ProviderError::Garbled { .. } => "garbled",
        _ => "other",
    }
}

fn status(status: u16) -> FaultKind {
    FaultKind::Status { status, retry_after: None }
}

fn throttled(seconds: u64) -> FaultKind {
    FaultKind::Status { status: 429, retry_after: Some(seconds) }
}

fn slow(delay_ms: u64, trickle_ms: u64) -> FaultKind {
    FaultKind::Slow { delay_ms, trickle_ms }
}

fn elsewhere() -> FaultKind {
    FaultKind::Redirect { location: "http://127.0.0.1:9/stolen".to_owned() }
}

#[tokio::test]
async fn a_create_whose_outcome_is_unknown_is_never_taken_for_a_refusal() {
    // (fault, what it is, whether the token exists afterwards)
    let cases = [
        (FaultKind::ReplyLostBeforeCommit, "unknown", false),
        (FaultKind::ReplyLostAfterCommit, "unknown", true),
        (FaultKind::Hang { commit: false }, "unknown", false),
        (FaultKind::Hang { commit: true }, "unknown", true),
        (slow(5_000, 0), "unknown", true),
        (slow(0, 200), "unknown", true),
        (status(500), "unknown", false),
        (status(503), "unknown", false),
        (FaultKind::ServerErrorAfterCommit, "unknown", true),
        (FaultKind::Garbage, "unknown", true),
        (FaultKind::HugeBody { bytes: 64 << 20 }, "unknown", true),
        (elsewhere(), "unknown", false),
        (FaultKind::EchoSecretInError { commit: true }, "unknown", true),
        (FaultKind::EchoSecretInError { commit: false }, "refused", false),
        (status(400), "refused", false),
        (status(401), "unauthorized", false),
        (status(403), "unauthorized", false),
        (status(404), "not found", false),
        (status(409), "refused", false),
        (status(422), "refused", false),
        (status(429), "throttled", false),
    ];
    for (fault, expected, exists) in cases {
        let world = World::start().await;
        world.sandbox.inject(Fault::on("POST", CREATE, fault.clone())).unwrap();
        let error = world.mint("kw-lost").await.err().unwrap();
        assert_eq!(class(&error), expected, "{fault:?}: {error}");
        assert_eq!(world.count("POST", "/tokens"), 1, "{fault:?} sent once");
        assert_eq!(world.sandbox.live_tokens_named_like("kw-lost").len(), usize::from(exists), "{fault:?}");
        // Recovery: the marker is found, and what it names is revoked.
        let orphans = world.provider.list(Listing::Marked).await.unwrap();
        assert_eq!(orphans.len(), usize::from(exists), "{fault:?}");
        for orphan in orphans {
            world.provider.revoke(&orphan.provider_key_id).await.unwrap();
        }
        assert!(world.sandbox.live_tokens_named_like("kw-").is_empty());
    }
}

#[tokio::test]
async fn a_refusal_is_believed_only_after_a_look_for_the_marker() {
    let world = World::start().await;
    let lists = || world.count("GET", "/tokens");
    // Turned away at the door: nobody has to look.
    for at_the_door in [401, 403, 404] {
        world.sandbox.inject(Fault::on("POST", CREATE, status(at_the_door))).unwrap();
        world.mint("kw-door").await.err().unwrap();
    }
    assert_eq!(lists(), 0);
    // An ordinary refusal keeps its words.
    world.sandbox.inject(Fault::on("POST", CREATE, status(400))).unwrap();
    let error = world.mint("kw-wrong").await.err().unwrap();
    assert_eq!(error.to_string(), "cloudflare refused: injected fault (code 10500)");
    assert_eq!(lists(), 1);
    // One that lies is found out, and says nothing of what it quotes.
    world.sandbox.inject(Fault::on("POST", CREATE, FaultKind::EchoSecretInError { commit: true })).unwrap();
    let error = world.mint("kw-liar").await.err().unwrap();
    assert_eq!((class(&error), lists()), ("unknown", 2));
    assert!(error.to_string().contains("with this attempt's marker exists"), "{error}");
    for secret in world.sandbox.secret_values() {
        assert!(!format!("{error} {error:?}").contains(&secret), "{error}");
    }
    // Another attempt's token is no sign of this one's.
    world.sandbox.inject(Fault::on("POST", CREATE, status(400))).unwrap();
    assert_eq!(class(&world.mint("kw-honest").await.err().unwrap()), "refused");
    // Who can't look does not know.
    world.sandbox.inject(Fault::on("POST", CREATE, status(422))).unwrap();
    world.fault("GET", CREATE, status(500));
    let error = world.mint("kw-blind").await.err().unwrap();
    assert_eq!(class(&error), "unknown");
    assert!(error.to_string().contains("injected fault") && error.to_string().contains("can't be seen"));
}

#[tokio::test]
async fn a_create_that_was_never_sent_says_so() {
    let world = World::start().await;
    let World { sandbox, provider } = world;
    let (wish, url) =
        (Wish::new(&[DNS_READ], vec![resource("cloudflare.zone", &"0".repeat(32))]), sandbox.base_url());
    sandbox.shutdown().await;
    let plan = wish.authorized();
    let grant = plan.get().grant(jiff::Timestamp::now());
    let marker = keywright_core::marker::Marker::from_ledger("kw-x".to_owned());
    let error = provider.mint(&plan, &grant, &marker).await.err().unwrap();
    assert_eq!(class(&error), "unreachable", "{error}");
    assert!(!error.to_string().contains(&url), "{error}");
}

#[tokio::test]
async fn a_throttled_create_says_for_how_long_and_closes_the_connection() {
    let world = World::start().await;
    let id = world.mint("kw-old").await.unwrap().provider_key_id;
    world.fault("POST", CREATE, throttled(300));
    let error = world.mint("kw-x").await.err().unwrap();
    let exactly = |seconds| ProviderError::Throttled {
        provider: "cloudflare",
        retry_after: Some(Span::from_seconds(seconds)),
    };
    assert_eq!(error, exactly(300));
    // Nothing goes out before the time is over: neither another create, nor anything else but what ends a key.
    let calls = world.sandbox.calls().len();
    let mut errors = vec![
        world.mint("kw-y").await.err().unwrap(),
        world.provider.resolve("cloudflare.zone", "example.com").await.unwrap_err(),
        world.provider.list(Listing::Marked).await.unwrap_err(),
        world.provider.read_back(&id).await.unwrap_err(),
        world.provider.disabling().unwrap().disable(&id).await.unwrap_err(),
    ];
    errors.dedup();
    assert!(errors.iter().all(|error| (290..=300).any(|left| *error == exactly(left))), "{errors:?}");
    assert_eq!(world.sandbox.calls().len(), calls);
    world.provider.revoke(&id).await.unwrap();
    assert_eq!(world.sandbox.calls().len(), calls + 1);
}

#[tokio::test]
async fn a_create_after_a_short_retry_after_waits_for_its_end() {
    let world = World::start().await;
    world.sandbox.inject(Fault::on("POST", CREATE, throttled(2))).unwrap();
    world.mint("kw-x").await.err().unwrap();
    let asked = std::time::Instant::now();
    world.mint("kw-y").await.unwrap();
    assert!(asked.elapsed() >= std::time::Duration::from_millis(1_900), "{:?}", asked.elapsed());
    assert_eq!(world.count("POST", "/tokens"), 2);
}

#[tokio::test]
async fn reading_is_tried_again_and_then_fails_for_what_it_is() {
    let world = World::start().await;
    let id = world.mint("kw-x").await.unwrap().provider_key_id;
    world.provider.read_back(&id).await.unwrap();
    let path = "/accounts/*/tokens/*";
    for fault in [
        status(500),
        throttled(0),
        FaultKind::ReplyLostBeforeCommit,
        FaultKind::ReplyLostAfterCommit,
        FaultKind::ServerErrorAfterCommit,
    ] {
        world.sandbox.inject(Fault::on("GET", path, fault.clone()).times(2)).unwrap();
        assert!(world.provider.read_back(&id).await.is_ok(), "{fault:?} twice");
    }
    for (fault, expected) in [
        (status(500), "unavailable"),
        (throttled(0), "throttled"),
        (FaultKind::ReplyLostAfterCommit, "unavailable"),
        (FaultKind::Hang { commit: true }, "unavailable"),
        (slow(5_000, 0), "unavailable"),
        (slow(0, 200), "unavailable"),
        (FaultKind::Garbage, "garbled"),
        (FaultKind::HugeBody { bytes: 64 << 20 }, "garbled"),
        (elsewhere(), "garbled"),
        (status(401), "unauthorized"),
        (status(403), "unauthorized"),
        (status(404), "not found"),
        (status(400), "refused"),
        // The last one: it closes the connection.
        (throttled(300), "throttled"),
    ] {
        world.sandbox.clear_faults();
        world.fault("GET", path, fault.clone());
        let error = world.provider.read_back(&id).await.unwrap_err();
        assert_eq!(class(&error), expected, "{fault:?}: {error}");
        let error = world.provider.last_used().unwrap().last_used(&id).await.unwrap_err();
        assert_eq!(class(&error), expected, "{fault:?}: {error}");
    }
}

#[tokio::test]
async fn a_revoke_succeeds_only_when_the_key_is_gone() {
    let path = "/accounts/*/tokens/*";
    let cases = [
        (FaultKind::ReplyLostAfterCommit, true),
        (FaultKind::ServerErrorAfterCommit, true),
        (throttled(0), true),
        (FaultKind::ReplyLostBeforeCommit, true),
        (FaultKind::Hang { commit: false }, false),
        (FaultKind::Garbage, false),
        (throttled(300), false),
        (elsewhere(), false),
        (status(403), false),
    ];
    for (fault, confirmed) in cases {
        let world = World::start().await;
        let id = world.mint("kw-x").await.unwrap().provider_key_id;
        world.sandbox.inject(Fault::on("DELETE", path, fault.clone())).unwrap();
        let outcome = world.provider.revoke(&id).await;
        assert_eq!(outcome.is_ok(), confirmed, "{fault:?}: {outcome:?}");
        assert!(!confirmed || world.token(&id).is_none(), "{fault:?}");
        // On a fresh connection: a long `Retry-After` has closed the other one.
        let fresh =
            connect_account(&world.sandbox, &world.sandbox.base_url(), world.sandbox.parent_token(), &[]);
        fresh.revoke(&id).await.unwrap();
        assert!(world.token(&id).is_none(), "{fault:?}");
    }
}

#[tokio::test]
async fn a_path_of_another_account_is_no_proof_that_a_key_is_gone() {
    // The provider answers 404 for a path that it can't route; a token there may live on.
    let world = World::start().await;
    let id = world.mint("kw-x").await.unwrap().provider_key_id;
    let base = world.sandbox.base_url().replace("/client/v4", "/client/v5");
    let lost = connect_account(&world.sandbox, &base, world.sandbox.parent_token(), &[]);
    assert_eq!(class(&lost.revoke(&id).await.unwrap_err()), "refused");
    assert!(world.token(&id).is_some());
}

#[tokio::test]
async fn switching_off_reports_what_it_does_not_know() {
    let path = "/accounts/*/tokens/*";
    for fault in [
        FaultKind::ReplyLostBeforeCommit,
        FaultKind::ReplyLostAfterCommit,
        FaultKind::ServerErrorAfterCommit,
        FaultKind::Hang { commit: true },
        FaultKind::Garbage,
        elsewhere(),
        status(403),
    ] {
        let world = World::start().await;
        let id = world.mint("kw-x").await.unwrap().provider_key_id;
        world.sandbox.inject(Fault::on("PUT", path, fault.clone())).unwrap();
        let disabling = world.provider.disabling().unwrap();
        assert!(disabling.disable(&id).await.is_err(), "{fault:?}");
        assert_eq!(world.sandbox.calls().iter().filter(|call| call.method == "PUT").count(), 1, "{fault:?}");
        disabling.disable(&id).await.unwrap();
    }
}
