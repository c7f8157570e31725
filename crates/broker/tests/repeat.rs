//! The same, asked for once more while it waits for humans.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use keywright_broker::ask::Ask;
use keywright_core::audit::{Deed, Entry};
use keywright_core::receipt::{Receipt, Status};
use keywright_ledger::AuditFilter;
use keywright_testkit::{World, ask};

const WAIT: Duration = Duration::from_secs(20);

fn wish(purpose: &str) -> Ask {
    Ask {
        environment: "production".to_owned(),
        purpose: purpose.to_owned(),
        ..ask("example.com", "CF_TOKEN")
    }
}

async fn repeats(world: &World) -> Vec<Entry> {
    let filter = AuditFilter { limit: 1_000, ..AuditFilter::default() };
    let mut log = world.broker.log(filter).await.unwrap();
    log.retain(|entry| entry.record().deed == Deed::RequestRepeat);
    log
}

fn says_so(receipt: &Receipt) -> bool {
    receipt.reasons.iter().any(|why| why.contains("this is that request"))
}

#[tokio::test]
async fn an_ask_that_comes_to_the_same_as_one_that_waits_is_that_one_whatever_it_is_said_to_be_for() {
    let world = World::new().await;
    let first = world.request(&wish("verify our domain")).await.unwrap();
    assert!(first.status == Status::PendingApproval && !says_so(&first), "{first:?}");
    let other = Ask { prompt: Some("do it now".to_owned()), ..wish("renew the certificate") };
    let second = world.request(&other).await.unwrap();
    assert_eq!((second.request, second.status), (first.request, Status::PendingApproval));
    assert_eq!(second.match_code, first.match_code);
    assert!(says_so(&second), "{second:?}");
    assert_eq!(world.broker.inbox().await.unwrap().len(), 1);
    let [repeat] = &repeats(&world).await[..] else { panic!("one entry") };
    let (record, id) = (repeat.record(), first.request.to_string());
    assert_eq!(record.subject.request.as_deref(), Some(id.as_str()));
    assert_eq!(record.why.purpose.as_ref().unwrap().raw(), "renew the certificate");
    assert_eq!(record.why.prompt.as_ref().unwrap().raw(), "do it now");
    assert_eq!(second.entry, repeat.id().to_string());
    // Word for word the same is no different.
    let third = world.request(&wish("verify our domain")).await.unwrap();
    assert!(third.request == first.request && says_so(&third), "{third:?}");
    assert_eq!(repeats(&world).await.len(), 2);
}

#[tokio::test]
async fn what_would_have_another_effect_or_is_anothers_is_a_request_of_its_own() {
    let world = World::new().await;
    let first = world.request(&wish("p")).await.unwrap().request;
    let others = [
        Ask { ttl: Some("5d".to_owned()), ..wish("p") },
        Ask { name: "OTHER".to_owned(), ..wish("p") },
        Ask { parameters: [("zone".to_owned(), "dev.example.com".to_owned())].into(), ..wish("p") },
        Ask { destinations: vec!["embedded:web/production/elsewhere/CF_TOKEN".to_owned()], ..wish("p") },
    ];
    let mut all = BTreeSet::from([first]);
    for other in others {
        if let Ok(receipt) = world.request(&other).await {
            assert_eq!(receipt.status, Status::PendingApproval);
            assert!(all.insert(receipt.request) && !says_so(&receipt), "{other:?}");
        }
    }
    assert!(all.len() >= 4, "{all:?}");
    let by_other = world.broker.request(&World::agent("other"), &wish("p"), WAIT).await.unwrap();
    assert!(!all.contains(&by_other.request));
    // Once it is decided, nothing is there to join.
    world.broker.reject(&world.ana().await, &first.to_string(), "no").await.unwrap();
    let again = world.request(&wish("p")).await.unwrap();
    assert!(again.request != first && again.status == Status::PendingApproval);
    assert!(repeats(&world).await.is_empty());
}

#[tokio::test]
async fn a_key_against_doubles_means_the_request_that_its_ask_joined() {
    let world = World::new().await;
    let first = world.request(&wish("one")).await.unwrap().request;
    let keyed = |purpose: &str| Ask { idempotency_key: Some("again".to_owned()), ..wish(purpose) };
    for _ in 0..2 {
        assert_eq!(world.request(&keyed("two")).await.unwrap().request, first);
    }
    assert_eq!(repeats(&world).await.len(), 1, "the second time it is the same ask");
    let other = Ask { ttl: Some("5d".to_owned()), ..keyed("two") };
    assert_eq!(world.request(&other).await.unwrap_err().code, keywright_broker::Code::Conflict);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_equal_asks_that_come_together_one_waits() {
    let world = World::new().await;
    let asks: Vec<_> = (0..12)
        .map(|number| {
            let (broker, wish) = (Arc::clone(&world.broker), wish(&format!("purpose {number}")));
            tokio::spawn(async move { broker.request(&World::agent("bot"), &wish, WAIT).await })
        })
        .collect();
    let mut ids = BTreeSet::new();
    for asked in asks {
        ids.insert(asked.await.unwrap().unwrap().request);
    }
    assert_eq!((ids.len(), world.broker.inbox().await.unwrap().len()), (1, 1));
    assert_eq!(repeats(&world).await.len(), 11);
}
