//! Asking for a key, end to end: the sandbox over HTTP, the ledger in a file.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

use keywright_broker::Code;
use keywright_broker::deliver::{Reader, Wanted};
use keywright_core::receipt::Status;
use keywright_ledger::AuditFilter;
use keywright_sandbox::{Fault, FaultKind, Widening};
use keywright_testkit::{World, ask};

#[tokio::test]
async fn an_agent_gets_a_receipt_and_the_key_lies_in_the_store() {
    let world = World::new().await;
    let receipt = world.request(&ask("example.com", "CF_TOKEN")).await.unwrap();
    assert_eq!(receipt.status, Status::Active, "{receipt:?}");
    assert_eq!(receipt.placements.len(), 1);
    assert_eq!(receipt.placements[0].place, "web/dev/CF_TOKEN");
    assert_eq!(receipt.placements[0].verified.as_deref(), Some("read-back"));
    let live = world.sandbox.live_tokens_named_like("kw-");
    assert_eq!(live.len(), 1);
    let ana = world.ana().await;
    let wanted = Wanted { project: Some("web".parse().unwrap()), ..Wanted::default() };
    let delivered = world.broker.deliver(&Reader::Operator(&ana), wanted).await.unwrap();
    assert_eq!(delivered.len(), 1);
    assert_eq!(Some(delivered[0].secret.expose_secret()), world.sandbox.secret_of(&live[0].id).as_deref());
}

#[tokio::test]
async fn each_step_of_a_mint_is_on_record_and_placing_is_a_deed_of_its_own() {
    let world = World::new().await;
    let folder = tempfile::tempdir().unwrap();
    let wish = keywright_broker::ask::Ask {
        destinations: vec!["embedded:web/dev/CF_TOKEN".to_owned(), "dotenv:./.env#CF_TOKEN".to_owned()],
        cwd: Some(folder.path().display().to_string()),
        ..ask("example.com", "CF_TOKEN")
    };
    world.request(&wish).await.unwrap();
    let steps = |trace: &keywright_broker::trace::Trace| {
        let fact = |record: &keywright_core::audit::Record, name: &str| {
            record.facts.get(name).and_then(|fact| fact.as_str().map(str::to_owned)).unwrap_or_default()
        };
        let all = trace.entries.iter().map(keywright_core::audit::Entry::record);
        let all = all.map(|r| {
            let (stage, place) = (serde_json::to_value(r.stage).unwrap(), fact(r, "place"));
            let store = place.split(':').next().unwrap_or_default().to_owned();
            let words =
                [r.deed.as_str(), stage.as_str().unwrap(), &fact(r, "phase"), &store, &fact(r, "verified")];
            words.into_iter().filter(|word| !word.is_empty()).collect::<Vec<_>>().join(" ")
        });
        all.collect::<Vec<_>>()
    };
    let trace = world.broker.trace("CF_TOKEN").await.unwrap();
    let expected = [
        "request.decide note",
        "key.mint intent",
        "key.mint note sealed",
        "key.mint note compared",
        "key.mint note probed",
        "key.place intent writing dotenv",
        "key.place note written dotenv",
        "key.place intent writing embedded",
        "key.place note written embedded",
        "key.place outcome verified dotenv read-back",
        "key.place outcome verified embedded read-back",
        "key.mint outcome",
    ];
    let mut found = steps(&trace);
    // Which of the two places comes first is up to their ids.
    if found[5].ends_with("embedded") {
        found[5..9].rotate_left(2);
        found[9..11].rotate_left(1);
    }
    assert_eq!(found, expected);
    assert!(
        trace.entries.iter().all(|e| !e.record().subject.request.as_deref().unwrap_or_default().is_empty())
    );
}

#[tokio::test]
async fn the_same_idempotency_key_answers_the_same_and_another_ask_under_it_is_a_conflict() {
    let world = World::new().await;
    let mut first = ask("example.com", "CF_TOKEN");
    first.idempotency_key = Some("once".to_owned());
    let one = world.request(&first).await.unwrap();
    let two = world.request(&first).await.unwrap();
    assert_eq!(one.request, two.request);
    assert_eq!(world.sandbox.live_tokens_named_like("kw-").len(), 1);
    let mut other = ask("example.com", "OTHER");
    other.idempotency_key = Some("once".to_owned());
    assert_eq!(world.request(&other).await.unwrap_err().code, Code::Conflict);
}

#[tokio::test]
async fn a_wider_key_than_asked_is_revoked_and_the_request_fails() {
    for widening in [Widening::OtherZone, Widening::ExtraGroup, Widening::NoExpiry] {
        let world = World::new().await;
        world
            .sandbox
            .inject(Fault::on("POST", "/accounts/*/tokens", FaultKind::WiderGrant { grant: widening }))
            .unwrap();
        let receipt = world.request(&ask("example.com", "CF_TOKEN")).await.unwrap();
        assert_eq!(receipt.status, Status::Failed, "{widening:?}");
        assert!(receipt.reasons[0].contains("another key than the one asked for"), "{:?}", receipt.reasons);
        world.settle().await;
        assert_eq!(world.sandbox.live_tokens_named_like("kw-").len(), 0, "{widening:?}");
    }
}

#[tokio::test]
async fn a_lost_reply_leads_to_a_search_and_leaves_one_live_key() {
    let world = World::new().await;
    world.sandbox.inject(Fault::on("POST", "/accounts/*/tokens", FaultKind::ReplyLostAfterCommit)).unwrap();
    let receipt = world.request(&ask("example.com", "CF_TOKEN")).await.unwrap();
    assert_eq!(receipt.status, Status::Active, "{receipt:?}");
    world.settle().await;
    assert_eq!(world.sandbox.live_tokens_named_like("kw-").len(), 1);
}

#[tokio::test]
async fn a_reply_lost_before_anything_was_made_is_looked_for_and_ends_well() {
    let world = World::new().await;
    world.sandbox.inject(Fault::on("POST", "/accounts/*/tokens", FaultKind::ReplyLostBeforeCommit)).unwrap();
    let receipt = world.request(&ask("example.com", "CF_TOKEN")).await.unwrap();
    assert_eq!(receipt.status, Status::Active, "{receipt:?}");
    assert_eq!(world.broker.health().await.unwrap().attempts_uncertain, 1);
    world.settle().await;
    assert_eq!(world.sandbox.live_tokens_named_like("kw-").len(), 1);
    assert_eq!(world.broker.health().await.unwrap().attempts_uncertain, 0);
}

/// A way in which an ask is made worse.
type Change = fn(&mut keywright_broker::ask::Ask);

#[tokio::test]
async fn what_the_template_forbids_never_reaches_the_provider() {
    let world = World::new().await;
    let before = world.sandbox.calls().len();
    let cases: [(&str, Change, Code); 8] = [
        ("zone", |a| drop(a.parameters.insert("zone".into(), "evil.com".into())), Code::Denied),
        ("look-alike", |a| drop(a.parameters.insert("zone".into(), "exаmple.com".into())), Code::Denied),
        ("ttl", |a| a.ttl = Some("91d".into()), Code::Denied),
        ("ttl form", |a| a.ttl = Some("soon".into()), Code::InvalidArgument),
        ("destination", |a| a.destinations = vec!["vault:secret/x#Y".into()], Code::Denied),
        ("template", |a| a.template = "cloudflare/dns-edti".into(), Code::NotFound),
        ("parameter", |a| drop(a.parameters.insert("account".into(), "x".into())), Code::InvalidArgument),
        ("missing parameter", |a| a.parameters.clear(), Code::InvalidArgument),
    ];
    for (what, change, code) in cases {
        let mut bad = ask("example.com", "CF_TOKEN");
        change(&mut bad);
        let error = world.request(&bad).await.unwrap_err();
        assert_eq!(error.code, code, "{what}: {error}");
    }
    assert_eq!(world.sandbox.calls().len(), before, "nothing was sent");
    assert!(world.broker.keys(&World::agent("bot").principal, Default::default()).await.unwrap().is_empty());
}

#[tokio::test]
async fn what_was_refused_is_on_record_with_the_prompt_behind_it() {
    let world = World::new().await;
    let mut bad = ask("evil.com", "CF_TOKEN");
    bad.prompt = Some("a page said: use evil.com".to_owned());
    world.request(&bad).await.unwrap_err();
    let newest = AuditFilter { newest_first: true, limit: 1, ..AuditFilter::default() };
    let entry = world.broker.log(newest).await.unwrap().remove(0);
    let record = entry.record();
    assert_eq!((record.deed.as_str(), record.who.name.as_str()), ("request.decide", "bot"));
    assert_eq!(record.why.prompt.as_ref().unwrap().raw(), "a page said: use evil.com");
    let decision = record.decision.as_ref().unwrap();
    assert!(decision.reasons[0].contains("evil.com"), "{:?}", decision.reasons);
}

#[tokio::test]
async fn an_agent_that_never_stops_asking_is_stopped() {
    let world = World::new().await;
    let bad = ask("evil.com", "CF_TOKEN");
    let mut codes = Vec::new();
    for _ in 0..1_001 {
        codes.push(world.request(&bad).await.unwrap_err().code);
    }
    assert_eq!(codes.iter().filter(|code| **code == Code::Denied).count(), 1_000);
    assert_eq!(codes.last(), Some(&Code::TryAgain));
    let entries = world.broker.health().await.unwrap().audit_entries;
    world.request(&bad).await.unwrap_err();
    assert_eq!(world.broker.health().await.unwrap().audit_entries, entries);
    world.clock.advance(jiff::SignedDuration::from_secs(3_601));
    assert_eq!(world.request(&bad).await.unwrap_err().code, Code::Denied);
}

#[tokio::test]
async fn a_revoked_key_is_gone_at_the_provider_and_from_the_store() {
    let world = World::new().await;
    world.request(&ask("example.com", "CF_TOKEN")).await.unwrap();
    let agent = World::agent("bot");
    let other = World::agent("other");
    assert_eq!(world.broker.revoke(&other, "CF_TOKEN", "not mine").await.unwrap_err().code, Code::NotFound);
    let receipt = world.broker.revoke(&agent, "CF_TOKEN", "done").await.unwrap();
    assert_eq!(receipt.status, Status::Revoked);
    assert_eq!(world.sandbox.live_tokens_named_like("kw-").len(), 0);
    let again = world.request(&ask("example.com", "CF_TOKEN")).await.unwrap();
    assert_eq!(again.status, Status::Active, "the name is free again: {again:?}");
}

#[tokio::test]
async fn a_revocation_is_owed_until_the_provider_confirms() {
    let world = World::new().await;
    world.request(&ask("example.com", "CF_TOKEN")).await.unwrap();
    let down = FaultKind::Status { status: 500, retry_after: None };
    let fault = Fault::on("DELETE", "/accounts/*/tokens/*", down).times(1_000);
    world.sandbox.inject(fault).unwrap();
    let receipt = world.broker.revoke(&World::agent("bot"), "CF_TOKEN", "leaked").await.unwrap();
    assert_eq!(receipt.status, Status::InProgress, "not confirmed yet");
    assert!(receipt.reasons[0].contains("owed"), "{:?}", receipt.reasons);
    assert_eq!(world.broker.health().await.unwrap().revocations_owed, 1);
    for _ in 0..8 {
        world.clock.advance(jiff::SignedDuration::from_hours(2));
        world.broker.tick().await.unwrap();
    }
    assert_eq!(
        world.broker.health().await.unwrap().revocations_owed,
        1,
        "eight failures later it is still owed"
    );
    world.sandbox.clear_faults();
    world.clock.advance(jiff::SignedDuration::from_hours(2));
    world.broker.tick().await.unwrap();
    assert_eq!(world.broker.health().await.unwrap().revocations_owed, 0);
    assert_eq!(world.sandbox.live_tokens_named_like("kw-").len(), 0);
}
