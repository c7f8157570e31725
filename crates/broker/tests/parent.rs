//! Another parent credential for a connection: made by the provider, or given by an operator.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use keywright_adapters::provider::{ConnectionConfig, connect};
use keywright_broker::admin::{NewConnection, NewStore};
use keywright_broker::{Broker, BrokerError, Code};
use keywright_core::marker::Marker;
use keywright_core::name::ConnectionName;
use keywright_core::provider::Provider;
use keywright_core::receipt::Status;
use keywright_core::secret::Secret;
use keywright_ledger::Ledger;
use keywright_sandbox::{Fault, FaultKind, TokenOwner, TokenStatus, TokenView, Widening};
use keywright_testkit::{Taker, World, ask};

const MAKES_TOKENS: &str = "5bc3f8b21c554832afc660159ab75fa4";
const CREATE: (&str, &str) = ("POST", "/accounts/*/tokens");

fn cf() -> ConnectionName {
    "cf".parse().unwrap()
}

/// Every token of the account that makes tokens, by id and name.
fn parents(world: &World) -> Vec<(String, String)> {
    let is_parent = |token: &TokenView| {
        let mut groups = token.policies.iter().flat_map(|policy| &policy.groups);
        matches!(token.owner, TokenOwner::Account(_))
            && token.status == TokenStatus::Active
            && groups.any(|group| group.id == MAKES_TOKENS)
    };
    world.sandbox.tokens().into_iter().filter(is_parent).map(|token| (token.id, token.name)).collect()
}

/// The provider as somebody sees it who holds a token.
fn with(world: &World, token: &str) -> Box<dyn Provider> {
    let config = ConnectionConfig {
        base_url: Some(world.sandbox.base_url()),
        account: Some(world.sandbox.account_id().to_owned()),
        ..ConnectionConfig::default()
    };
    connect("cloudflare", config, Secret::new(token.to_owned())).unwrap()
}

fn inject(world: &World, fault: Fault) {
    world.sandbox.inject(fault).unwrap();
}

async fn works(world: &World, name: &str) {
    let receipt = world.request(&ask("example.com", name)).await.unwrap();
    assert_eq!(receipt.status, Status::Active, "{receipt:?}");
}

async fn rotate(world: &World) -> Result<keywright_broker::parent::Renewed, BrokerError> {
    world.broker.rotate_parent(&world.ana().await, &cf()).await
}

async fn open(broker: &Broker) -> u64 {
    broker.health().await.unwrap().parents_renewing
}

#[tokio::test]
async fn the_connection_moves_to_a_parent_like_the_one_before_which_is_gone() {
    let world = World::new().await;
    works(&world, "BEFORE").await;
    let before = parents(&world);
    let renewed = rotate(&world).await.unwrap();
    assert!(renewed.before_is_gone && renewed.before.as_ref() == Some(&before[0].0), "{renewed:?}");
    let after = parents(&world);
    assert_eq!((before.len(), after.len()), (1, 1));
    assert_ne!(before[0].0, after[0].0);
    assert!(after[0].1.starts_with("kw-") && after[0].1.ends_with(&before[0].1), "{after:?}");
    works(&world, "AFTER").await;
    // It is no orphan, however often somebody looks, and what was made by the one before is still ours.
    let found = world.broker.reconcile().await.unwrap();
    assert!(found.orphans.is_empty() && found.missing.is_empty() && found.owned == 2, "{found:?}");
    assert_eq!(parents(&world), after);
    // Again, and the name does not grow.
    assert!(rotate(&world).await.unwrap().before_is_gone);
    let third = parents(&world);
    assert!(third.len() == 1 && third[0].1.len() == after[0].1.len() && third != after, "{third:?}");
    let world = world.restart().await;
    works(&world, "LATER").await;
    world.broker.revoke(&World::agent("bot"), "BEFORE", "done").await.unwrap();
    assert_eq!(open(&world.broker).await, 0);
    assert_eq!(world.broker.soundness().await.unwrap().1, Vec::<String>::new());
}

#[tokio::test]
async fn a_lost_answer_leaves_the_parent_and_nothing_beside_it() {
    let world = World::new().await;
    let before = parents(&world);
    for kind in [FaultKind::ReplyLostAfterCommit, FaultKind::ServerErrorAfterCommit] {
        inject(&world, Fault::on(CREATE.0, CREATE.1, kind.clone()).times(1));
        let error = rotate(&world).await.unwrap_err();
        assert_eq!(error.code, Code::Provider, "{kind:?}: {error}");
        assert_eq!(parents(&world), before, "{kind:?}");
        assert_eq!(open(&world.broker).await, 0, "{kind:?}");
    }
    works(&world, "TOKEN").await;
    assert!(rotate(&world).await.unwrap().before_is_gone);
}

#[tokio::test]
async fn what_was_given_up_while_a_list_was_on_its_way_is_not_looked_for_again() {
    let world = World::new().await;
    let before = parents(&world);
    inject(&world, Fault::on(CREATE.0, CREATE.1, FaultKind::ReplyLostAfterCommit).times(1));
    // Nothing that was made can end at first, so that it is in the next list.
    let refused = FaultKind::Status { status: 503, retry_after: None };
    inject(&world, Fault::on("DELETE", "/accounts/*/tokens/*", refused).times(100));
    rotate(&world).await.unwrap_err();
    assert_eq!((open(&world.broker).await, parents(&world).len()), (1, before.len() + 1));
    world.sandbox.clear_faults();
    let lists = || world.sandbox.calls().iter().filter(|call| call.path.ends_with("/tokens")).count();
    let slow = FaultKind::Slow { delay_ms: 1_500, trickle_ms: 0 };
    inject(&world, Fault::on("GET", "/accounts/*/tokens", slow).times(1));
    let earlier = lists();
    let other = async {
        while lists() == earlier {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        world.clock.advance(jiff::SignedDuration::from_secs(61));
        world.broker.reconcile().await.unwrap();
        assert_eq!((open(&world.broker).await, parents(&world)), (0, before.clone()));
    };
    let (late, ()) = tokio::join!(world.broker.reconcile(), other);
    assert_eq!((late.unwrap().orphans.len(), open(&world.broker).await), (0, 0));
    works(&world, "TOKEN").await;
}

#[tokio::test]
async fn a_create_that_never_came_is_looked_for_until_it_can_take_no_effect_any_more() {
    let world = World::new().await;
    let before = parents(&world);
    inject(&world, Fault::on(CREATE.0, CREATE.1, FaultKind::ReplyLostBeforeCommit).times(1));
    let error = rotate(&world).await.unwrap_err();
    assert!(error.hint.is_some() && error.code == Code::Provider, "{error}");
    assert_eq!(open(&world.broker).await, 1);
    world.settle().await;
    assert_eq!(open(&world.broker).await, 0);
    assert_eq!(parents(&world), before);
    assert!(rotate(&world).await.unwrap().before_is_gone);
}

#[tokio::test]
async fn a_refusal_changes_nothing_and_is_told() {
    let world = World::new().await;
    let before = parents(&world);
    let refused = FaultKind::Status { status: 403, retry_after: None };
    inject(&world, Fault::on(CREATE.0, CREATE.1, refused).times(1));
    let error = rotate(&world).await.unwrap_err();
    assert_eq!((error.code, open(&world.broker).await), (Code::Provider, 0), "{error}");
    assert_eq!(parents(&world), before);
}

#[tokio::test]
async fn a_successor_that_differs_is_not_taken() {
    let world = World::new().await;
    let before = parents(&world);
    let wider = FaultKind::WiderGrant { grant: Widening::ExtraGroup };
    inject(&world, Fault::on(CREATE.0, CREATE.1, wider).times(1));
    let error = rotate(&world).await.unwrap_err();
    assert!(error.message.contains("differs from the parent: its policies"), "{error}");
    assert_eq!(parents(&world), before);
    assert_eq!(open(&world.broker).await, 0);
    works(&world, "TOKEN").await;
}

#[tokio::test]
async fn the_parent_before_is_owed_until_the_provider_says_that_it_is_gone() {
    let world = World::new().await;
    let before = parents(&world);
    inject(
        &world,
        Fault::on("DELETE", "/accounts/*/tokens/*", FaultKind::Status { status: 500, retry_after: None })
            .times(50),
    );
    let renewed = rotate(&world).await.unwrap();
    assert!(!renewed.before_is_gone && renewed.trouble.is_some(), "{renewed:?}");
    works(&world, "TOKEN").await;
    assert_eq!(open(&world.broker).await, 1);
    world.sandbox.clear_faults();
    let world = world.restart().await;
    world.settle().await;
    assert_eq!(open(&world.broker).await, 0);
    let after = parents(&world);
    assert!(after.len() == 1 && after != before, "{after:?}");
}

#[tokio::test]
async fn an_operator_gives_another_credential_in() {
    let world = World::new().await;
    works(&world, "TOKEN").await;
    let ana = world.ana().await;
    let same = Secret::new(world.sandbox.parent_token().to_owned());
    let error = world.broker.replace_parent(&ana, &cf(), same).await.unwrap_err();
    assert_eq!(error.code, Code::Conflict, "{error}");
    let error = world.broker.replace_parent(&ana, &cf(), Secret::new("x".repeat(40))).await.unwrap_err();
    assert_eq!(error.code, Code::Provider, "{error}");
    // A key of this home is no parent.
    let key = world.sandbox.live_tokens_named_like("kw-")[0].id.clone();
    let key = Secret::new(world.sandbox.secret_of(&key).unwrap());
    world.broker.replace_parent(&ana, &cf(), key).await.unwrap_err();
    works(&world, "STILL").await;
    let first = with(&world, world.sandbox.parent_token());
    let makes = first.renewing().unwrap();
    let named = Marker::from_ledger("made by hand,".to_owned());
    let made = makes.succeed(&makes.parent().await.unwrap(), &named, Timestamp::now()).await.unwrap();
    let (id, fresh) = (made.provider_key_id, made.secret.expose_secret().to_owned());
    let given = Secret::new(fresh.clone());
    let renewed = world.broker.replace_parent(&ana, &cf(), given).await.unwrap();
    assert!(!renewed.before_is_gone && renewed.before.is_some() && renewed.notes.is_empty(), "{renewed:?}");
    // The one before is the operator's to end; nothing needs it any more.
    with(&world, &fresh).revoke(&renewed.before.unwrap()).await.unwrap();
    let world = world.restart().await;
    works(&world, "AFTER").await;
    world.broker.revoke(&World::agent("bot"), "TOKEN", "done").await.unwrap();
    let left = parents(&world);
    assert!(left.len() == 1 && left[0].0 == id, "{left:?}");
}

#[tokio::test]
async fn what_is_under_way_keeps_the_parent_that_it_works_with() {
    let world = World::new().await;
    inject(
        &world,
        Fault::on(CREATE.0, CREATE.1, FaultKind::Slow { delay_ms: 1_500, trickle_ms: 0 }).times(1),
    );
    let broker = Arc::clone(&world.broker);
    let asking = tokio::spawn(async move {
        broker.request(&World::agent("bot"), &ask("example.com", "SLOW"), Duration::from_secs(20)).await
    });
    tokio::time::sleep(Duration::from_millis(300)).await;
    let renewed = rotate(&world).await.unwrap();
    let receipt = asking.await.unwrap().unwrap();
    assert_eq!(receipt.status, Status::Active, "{receipt:?}");
    assert!(renewed.before_is_gone, "{renewed:?}");
}

#[tokio::test]
async fn where_people_make_them_it_says_how_and_what_takes_them_in() {
    let world = World::new().await;
    let vendor = keywright_sandbox::vendors::start("openrouter").await.unwrap();
    let ana = world.ana().await;
    let name: ConnectionName = "or".parse().unwrap();
    let stand_in = keywright_sandbox::vendors::ALL.iter().find(|one| one.kind == "openrouter").unwrap();
    let new = NewConnection {
        name: name.clone(),
        kind: "openrouter".parse().unwrap(),
        base_url: Some(vendor.base_url.clone()),
        account: stand_in.account.map(str::to_owned),
        extra: <_>::default(),
        credential: Secret::new(vendor.parent.clone()),
    };
    world.broker.add_connection(&ana, new).await.unwrap();
    let error = world.broker.rotate_parent(&ana, &name).await.unwrap_err();
    assert_eq!(error.code, Code::Unsupported, "{error}");
    let hint = error.hint.unwrap();
    assert!(hint.contains("management key") && hint.contains("provider replace-parent or"), "{hint}");
    assert_eq!(open(&world.broker).await, 0);
}

#[tokio::test]
async fn the_parent_before_that_an_operator_goes_back_to_does_not_end() {
    let world = World::new().await;
    let before = parents(&world);
    let refused = FaultKind::Status { status: 500, retry_after: None };
    inject(&world, Fault::on("PUT", "/accounts/*/tokens/*", refused).times(1_000));
    assert!(!rotate(&world).await.unwrap().before_is_gone);
    assert_eq!((parents(&world).len(), open(&world.broker).await), (2, 1));
    let first = Secret::new(world.sandbox.parent_token().to_owned());
    world.broker.replace_parent(&world.ana().await, &cf(), first).await.unwrap();
    assert_eq!(open(&world.broker).await, 0, "its end is not owed any more");
    world.sandbox.clear_faults();
    world.settle().await;
    world.broker.reconcile().await.unwrap();
    assert!(parents(&world).contains(&before[0]), "the connection lives by it");
    works(&world, "TOKEN").await;
    // The one that it was left for is the operator's to end.
    assert_eq!(parents(&world).len(), 2);
    assert!(rotate(&world).await.unwrap().before_is_gone);
}

#[tokio::test]
async fn what_an_operator_gave_while_an_answer_was_lost_is_not_the_attempts() {
    let world = World::new().await;
    let first = with(&world, world.sandbox.parent_token());
    let makes = first.renewing().unwrap();
    let named = Marker::from_ledger("made by hand,".to_owned());
    inject(&world, Fault::on(CREATE.0, CREATE.1, FaultKind::ReplyLostBeforeCommit).times(1));
    rotate(&world).await.unwrap_err();
    let mut given = Vec::new();
    for _ in 0..2 {
        let made = makes.succeed(&makes.parent().await.unwrap(), &named, Timestamp::now()).await.unwrap();
        given.push(made.provider_key_id);
        world.broker.replace_parent(&world.ana().await, &cf(), made.secret).await.unwrap();
    }
    // Also the first of them, which is not in force any more: where there are no labels its time would speak against it.
    let ledger = Ledger::open(&world.location(), world.clock.as_clock()).unwrap();
    keywright_testkit::unlock(&ledger, "ana", &World::passphrase()).await;
    let under_way = ledger.read(|tx| tx.renewal_of(&cf())).await.unwrap().unwrap();
    drop(ledger);
    assert!(given.iter().all(|id| under_way.parent.beside.contains(id)), "{under_way:?}");
    world.settle().await;
    assert_eq!((parents(&world).len(), open(&world.broker).await), (3, 0));
    works(&world, "TOKEN").await;
}

#[tokio::test]
async fn a_parent_that_another_connection_works_with_does_not_end() {
    let world = World::new().await;
    let second = || NewConnection {
        name: "second".parse().unwrap(),
        kind: "cloudflare".parse().unwrap(),
        base_url: Some(world.sandbox.base_url()),
        account: Some(world.sandbox.account_id().to_owned()),
        extra: std::collections::BTreeMap::new(),
        credential: Secret::new(world.sandbox.parent_token().to_owned()),
    };
    world.broker.add_connection(&world.ana().await, second()).await.unwrap();
    let before = parents(&world);
    let refused = rotate(&world).await.unwrap_err();
    assert_eq!(refused.code, Code::Conflict);
    assert!(refused.message.contains("`second`"), "{refused}");
    assert_eq!(parents(&world), before, "nothing was made or ended");
    world.broker.remove_connection(&world.ana().await, &"second".parse().unwrap()).await.unwrap();
    assert!(rotate(&world).await.unwrap().before_is_gone);
}

/// Workers of an account, which take any token.
fn workers() -> Taker {
    Taker::answering(|_, _| {
        let answer = r#"{"result": [], "success": true, "errors": [], "messages": []}"#;
        Some((200, answer.to_owned()))
    })
}

/// Adds a store that works with the first parent credential.
async fn add_workers(world: &World, at: &Taker) {
    add_workers_with(world, at, world.sandbox.parent_token()).await;
}

async fn add_workers_with(world: &World, at: &Taker, credential: &str) {
    let account = ("account".to_owned(), world.sandbox.account_id().to_owned());
    let new = NewStore {
        name: "workers".parse().unwrap(),
        kind: "cloudflare-workers".parse().unwrap(),
        address: Some(at.url("")),
        extra: [account].into(),
        credential: Some(Secret::new(credential.to_owned())),
    };
    world.broker.add_store(&world.ana().await, new).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_parent_that_a_store_works_with_does_not_end() {
    let (world, workers) = (World::new().await, workers());
    add_workers(&world, &workers).await;
    let before = parents(&world);
    let refused = rotate(&world).await.unwrap_err();
    assert_eq!(refused.code, Code::Conflict);
    assert!(refused.message.contains("store `workers`") && refused.hint.is_some(), "{refused}");
    assert_eq!(parents(&world), before, "nothing was made or ended");
    world.broker.remove_store(&world.ana().await, &"workers".parse().unwrap()).await.unwrap();
    assert!(rotate(&world).await.unwrap().before_is_gone);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_parent_before_does_not_end_while_somebody_came_to_work_with_it() {
    let (world, workers) = (World::new().await, workers());
    let before = parents(&world);
    let refused = FaultKind::Status { status: 500, retry_after: None };
    inject(&world, Fault::on("PUT", "/accounts/*/tokens/*", refused).times(1_000));
    assert!(!rotate(&world).await.unwrap().before_is_gone);
    add_workers(&world, &workers).await;
    world.sandbox.clear_faults();
    for _ in 0..2 {
        world.settle().await;
        assert!(parents(&world).contains(&before[0]), "the store works with it");
        assert_eq!(open(&world.broker).await, 1, "it is looked at again");
    }
    let waits = rotate(&world).await.unwrap();
    let trouble = waits.trouble.unwrap();
    assert!(!waits.before_is_gone && trouble.contains("store `workers` works with"), "{trouble}");
    let second = NewConnection {
        name: "second".parse().unwrap(),
        kind: "cloudflare".parse().unwrap(),
        base_url: Some(world.sandbox.base_url()),
        account: Some(world.sandbox.account_id().to_owned()),
        extra: std::collections::BTreeMap::new(),
        credential: Secret::new(world.sandbox.parent_token().to_owned()),
    };
    world.broker.add_connection(&world.ana().await, second).await.unwrap();
    world.broker.remove_store(&world.ana().await, &"workers".parse().unwrap()).await.unwrap();
    let trouble = rotate(&world).await.unwrap().trouble.unwrap();
    assert!(trouble.contains("connection `second` works with"), "{trouble}");
    world.broker.remove_connection(&world.ana().await, &"second".parse().unwrap()).await.unwrap();
    world.settle().await;
    assert_eq!((parents(&world).len(), open(&world.broker).await), (1, 0));
    assert!(!parents(&world).contains(&before[0]));
    let ledger = Ledger::open(&world.location(), world.clock.as_clock()).unwrap();
    let kept = ledger.read(|tx| {
        let mut kept = 0;
        tx.each_sealed(|owner, _| {
            kept += u32::from(owner.starts_with("parent"));
            Ok(())
        })?;
        Ok::<_, keywright_ledger::LedgerError>(kept)
    });
    assert_eq!(kept.await.unwrap(), 0, "nothing is kept of it");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_parent_before_is_switched_on_again_for_somebody_who_came_while_it_was_off() {
    let (world, workers) = (World::new().await, workers());
    let before = parents(&world);
    // The answer to its being switched off is long on its way.
    let slow = FaultKind::Slow { delay_ms: 5_000, trickle_ms: 0 };
    let slow = Fault::on("PUT", "/accounts/*/tokens/*", slow).times(1);
    let slow = world.sandbox.inject(slow).unwrap();
    let (broker, ana) = (Arc::clone(&world.broker), world.ana().await);
    let rotating = tokio::spawn(async move { broker.rotate_parent(&ana, &cf()).await });
    while world.sandbox.fault_hits(slow) == 0 {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    add_workers(&world, &workers).await;
    let renewed = rotating.await.unwrap().unwrap();
    let trouble = renewed.trouble.unwrap();
    assert!(trouble.contains("store `workers` works with"), "{trouble}");
    assert!(parents(&world).contains(&before[0]), "it is on");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_credential_that_says_the_id_of_the_parent_before_keeps_it() {
    let (world, workers) = (World::new().await, workers());
    let before = parents(&world);
    // As an AWS credential does.
    add_workers_with(&world, &workers, &format!("{}:secret", before[0].0)).await;
    let trouble = rotate(&world).await.unwrap().trouble.unwrap();
    assert!(trouble.contains("store `workers` works with"), "{trouble}");
    assert!(parents(&world).contains(&before[0]), "it is on");
    world.broker.remove_store(&world.ana().await, &"workers".parse().unwrap()).await.unwrap();
    assert!(rotate(&world).await.unwrap().before_is_gone);
    assert!(!parents(&world).contains(&before[0]));
}
