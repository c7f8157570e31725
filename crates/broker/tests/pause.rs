//! Agents that are paused, and those of which everything ends.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

use std::sync::Arc;
use std::time::Duration;

use keywright_broker::approve::Less;
use keywright_broker::ask::Ask;
use keywright_broker::auth::Terminal;
use keywright_broker::review::Pending;
use keywright_broker::{BrokerError, Code};
use keywright_core::audit::{Deed, Effect, Record, Stage};
use keywright_core::name::AgentName;
use keywright_core::receipt::Status;
use keywright_ledger::AuditFilter;
use keywright_sandbox::{Fault, FaultKind};
use keywright_testkit::{Brokers, DNS_EDIT, Database, World, ask};

const WAIT: Duration = Duration::from_secs(20);

fn bot() -> AgentName {
    "bot".parse().unwrap()
}

/// A world with an agent that has a key.
async fn world() -> World {
    let world = World::new().await;
    world.broker.add_agent(&world.ana().await, &bot()).await.unwrap();
    assert_eq!(world.request(&ask("example.com", "CF_TOKEN")).await.unwrap().status, Status::Active);
    world
}

fn production(name: &str) -> Ask {
    Ask { environment: "production".to_owned(), ..ask("example.com", name) }
}

/// What the log says from a place on.
async fn log(world: &World, from: u64) -> Vec<Record> {
    let filter = AuditFilter { from, limit: 1_000, ..AuditFilter::default() };
    world.broker.log(filter).await.unwrap().iter().map(|entry| entry.record().clone()).collect()
}

async fn entries(world: &World) -> u64 {
    world.broker.health().await.unwrap().audit_entries
}

fn is_told<T: std::fmt::Debug>(refused: Result<T, BrokerError>) {
    let error = refused.unwrap_err();
    assert_eq!(error.code, Code::Denied, "{error}");
    for word in ["`bot` is paused", "operator ana", "20", "it asks in circles"] {
        assert!(error.message.contains(word), "{word}: {error}");
    }
    assert!(error.hint.unwrap().contains("agent resume bot"));
}

#[tokio::test]
async fn a_paused_agent_is_refused_with_who_when_and_why_until_it_is_resumed() {
    let world = world().await;
    let (agent, terminal) = (World::agent("bot"), Terminal { uid: 1, session: 1, began: 1 });
    let waiting = world.request(&production("PROD")).await.unwrap();
    assert_eq!(waiting.status, Status::PendingApproval);
    world.broker.open_session(&world.ana().await, terminal).await.unwrap();
    let session = world.broker.session(terminal).await.unwrap();
    let paused = world.broker.pause_agent(&session, &bot(), Some("it asks in circles")).await.unwrap();
    assert_eq!((paused.by.as_str(), paused.reason.as_deref()), ("ana", Some("it asks in circles")));
    assert_eq!(world.broker.paused(&bot()), Some(paused.clone()));
    let before = entries(&world).await;
    is_told(world.request(&ask("example.com", "MORE")).await);
    is_told(world.request(&production("PROD")).await);
    is_told(world.broker.rotate(&agent, "CF_TOKEN", "it is old", WAIT).await);
    is_told(world.broker.propose_template(&agent, DNS_EDIT, "for later").await);
    let refused = log(&world, before).await;
    assert_eq!(refused.len(), 4, "{refused:?}");
    for record in &refused {
        let decision = record.decision.as_ref().unwrap();
        assert_eq!((record.deed, decision.effect), (Deed::RequestDecide, Effect::Deny), "{record:?}");
        assert!(decision.reasons[0].contains("is paused"), "{record:?}");
        assert!(record.why.purpose.is_some(), "{record:?}");
    }
    // To pause it once more changes nothing, and who did it first stays on record.
    let again = world.broker.pause_agent(&session, &bot(), Some("another reason")).await.unwrap();
    assert_eq!((again, entries(&world).await), (paused, before + 4));

    let world = world.restart().await;
    is_told(world.request(&ask("example.com", "MORE")).await);
    // What it has works on and can be given up, and what waits from it is there to be decided.
    let revoked = world.broker.revoke(&agent, "CF_TOKEN", "done").await.unwrap();
    assert_eq!(revoked.status, Status::Revoked);
    let inbox = world.broker.inbox().await.unwrap();
    assert!(matches!(&inbox[..], [Pending::Key(review)] if review.request == waiting.request));
    let id = waiting.request.to_string();
    world.broker.check(&agent.principal, &id, Duration::ZERO).await.unwrap();
    let ana = world.ana().await;
    let Pending::Key(review) = world.broker.review(&id, &Less::default()).await.unwrap() else { panic!() };
    world.broker.approve(&ana, &id, &review.digest, &Less::default(), WAIT).await.unwrap();

    world.broker.open_session(&ana, terminal).await.unwrap();
    let session = world.broker.session(terminal).await.unwrap();
    let refused = world.broker.resume_agent(&session, &bot()).await.unwrap_err();
    assert_eq!(refused.code, Code::Unauthenticated, "a session is not enough: {refused}");
    is_told(world.request(&ask("example.com", "MORE")).await);
    world.broker.resume_agent(&ana, &bot()).await.unwrap();
    assert_eq!(world.request(&ask("example.com", "MORE")).await.unwrap().status, Status::Active);
    let refused = world.broker.resume_agent(&ana, &bot()).await.unwrap_err();
    assert_eq!(refused.code, Code::Conflict, "{refused}");
    let world = world.restart().await;
    assert_eq!(world.broker.paused(&bot()), None);
    assert_eq!(world.request(&ask("example.com", "LAST")).await.unwrap().status, Status::Active);
    let nobody = world.broker.pause_agent(&world.ana().await, &"nobody".parse().unwrap(), None).await;
    assert_eq!(nobody.unwrap_err().code, Code::NotFound);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_asks_that_come_while_an_agent_is_paused_none_is_let_through_after_it() {
    let world = world().await;
    let ana = world.ana().await;
    let asks: Vec<_> = (0..12)
        .map(|number| {
            let broker = Arc::clone(&world.broker);
            let wish = ask("example.com", &format!("CF_{number}"));
            tokio::spawn(async move { broker.request(&World::agent("bot"), &wish, WAIT).await })
        })
        .collect();
    world.broker.pause_agent(&ana, &bot(), None).await.unwrap();
    for asked in asks {
        match asked.await.unwrap() {
            Ok(receipt) => assert_eq!(receipt.status, Status::Active),
            Err(error) => assert_eq!(error.code, Code::Denied, "{error}"),
        }
    }
    let all = log(&world, 0).await;
    let paused = all.iter().position(|record| record.deed == Deed::AgentPause).unwrap();
    let allowed = |record: &Record| {
        record.deed == Deed::RequestDecide
            && record.decision.as_ref().is_some_and(|decision| decision.effect != Effect::Deny)
    };
    assert_eq!(all[paused..].iter().filter(|record| allowed(record)).count(), 0);
}

#[tokio::test]
async fn no_edit_of_the_ledgers_file_resumes_an_agent() {
    let world = world().await;
    let edit = |world: &World, sql: &str| {
        rusqlite::Connection::open(world.home.join("ledger.db")).unwrap().execute_batch(sql).unwrap();
    };
    edit(&world, "CREATE TABLE kept AS SELECT * FROM agents");
    world.broker.pause_agent(&world.ana().await, &bot(), None).await.unwrap();
    edit(&world, "DELETE FROM agents; INSERT INTO agents SELECT * FROM kept; DROP TABLE kept");
    assert_eq!(world.request(&ask("example.com", "A")).await.unwrap_err().code, Code::Denied);
    let world = world.restart().await;
    assert_eq!(world.request(&ask("example.com", "A")).await.unwrap_err().code, Code::Denied, "restarted");
    // Without the entry the log is another one than was signed, and nothing at all is made.
    let leaf = "CAST(replace(CAST(leaf AS TEXT), 'agent.pause', 'agent.other') AS BLOB)";
    edit(&world, &format!("UPDATE audit_entries SET leaf = {leaf} WHERE deed = 'agent.pause'"));
    let world = world.restart().await;
    world.request(&ask("example.com", "A")).await.unwrap_err();
    assert_eq!(world.sandbox.live_tokens_named_like("kw-").len(), 1);
}

#[tokio::test]
async fn everything_of_an_agent_ends_with_one_word() {
    let world = world().await;
    let (ana, wait) = (world.ana().await, WAIT);
    assert_eq!(world.request(&ask("example.com", "SECOND")).await.unwrap().status, Status::Active);
    let others = world.broker.request(&World::agent("other"), &ask("example.com", "OTHERS"), wait).await;
    assert_eq!(others.unwrap().status, Status::Active);
    let waiting = world.request(&production("PROD")).await.unwrap().request;
    let proposal = DNS_EDIT.replace("cloudflare/dns-edit", "cloudflare/other");
    let proposed = world.broker.propose_template(&World::agent("bot"), &proposal, "later").await.unwrap();
    let by_agent = world.broker.revoke_all_of(&World::agent("bot"), &bot(), "mine").await.unwrap_err();
    assert_eq!(by_agent.code, Code::Forbidden);
    let before = entries(&world).await;

    let torn = world.broker.revoke_all_of(&ana.caller(), &bot(), "its host was taken over").await.unwrap();
    assert_eq!((torn.revoked.len(), torn.owed.len()), (2, 0), "{torn:?}");
    assert_eq!(torn.turned_down, [waiting, proposed]);
    assert_eq!(world.sandbox.live_tokens_named_like("kw-").len(), 1, "the other agent's");
    let refused = world.request(&ask("example.com", "MORE")).await.unwrap_err();
    assert!(refused.message.contains("its host was taken over"), "{refused}");
    let agent = World::agent("bot").principal;
    let stands = world.broker.check(&agent, &waiting.to_string(), Duration::ZERO).await.unwrap();
    assert_eq!(
        (stands.status, &stands.reasons[..]),
        (Status::Rejected, &["its host was taken over".to_owned()][..])
    );
    let stands = world.broker.proposal_state(&agent, &proposed.to_string()).await.unwrap();
    let stands = stands.unwrap();
    assert_eq!(
        (stands.state.as_str(), stands.reason.as_deref()),
        ("rejected", Some("its host was taken over"))
    );
    let said = log(&world, before).await;
    let of = |deed: Deed| said.iter().filter(move |record| record.deed == deed);
    assert_eq!((of(Deed::AgentPause).count(), of(Deed::RequestReject).count()), (1, 2));
    let [intent, outcome] = of(Deed::AgentRevokeAll).collect::<Vec<_>>()[..] else { panic!("{said:?}") };
    assert_eq!((intent.stage, outcome.stage), (Stage::Intent, Stage::Outcome));
    assert_eq!(outcome.facts["revoked"].as_array().unwrap().len(), 2);

    let nobody = "nobody".parse().unwrap();
    let missing = world.broker.revoke_all_of(&ana.caller(), &nobody, "x").await.unwrap_err();
    assert_eq!(missing.code, Code::NotFound);
}

#[tokio::test]
async fn what_a_removed_agent_left_ends_too_and_what_the_provider_does_not_confirm_is_owed() {
    let world = world().await;
    let ana = world.ana().await;
    world.broker.remove_agent(&ana, &bot()).await.unwrap();
    let fault = FaultKind::Status { status: 503, retry_after: None };
    world.sandbox.inject(Fault::on("DELETE", "/accounts/*/tokens/*", fault).times(100)).unwrap();
    let torn = world.broker.revoke_all_of(&ana.caller(), &bot(), "it is gone").await.unwrap();
    assert_eq!((torn.revoked.len(), torn.owed.len()), (0, 1), "{torn:?}");
    assert_eq!(world.broker.paused(&bot()), None, "nobody is left to pause");
}

#[tokio::test]
async fn whom_one_broker_paused_the_others_refuse() {
    let Some(database) = Database::where_there_is_one() else { return };
    let house = Brokers::new(database, 1).await;
    let (one, other) = (house.open(0).await, house.open(1).await);
    let ana = one.operator(None, World::passphrase()).await.unwrap();
    one.add_agent(&ana, &bot()).await.unwrap();
    let ask_at_other =
        async |name| other.request(&World::agent("bot"), &ask("example.com", name), WAIT).await;
    assert_eq!(ask_at_other("A").await.unwrap().status, Status::Active);
    one.pause_agent(&ana, &bot(), Some("it asks in circles")).await.unwrap();
    is_told(ask_at_other("B").await);
    let ana = other.operator(None, World::passphrase()).await.unwrap();
    other.resume_agent(&ana, &bot()).await.unwrap();
    assert_eq!(ask_at_other("B").await.unwrap().status, Status::Active);
    assert_eq!(
        one.request(&World::agent("bot"), &ask("example.com", "C"), WAIT).await.unwrap().status,
        Status::Active
    );
}
