//! What becomes of keys after they were made: they expire, are ended elsewhere, leave values behind; and what a broker
//! does whose log was cut.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

use std::time::Duration;

use jiff::SignedDuration;
use keywright_broker::Code;
use keywright_broker::ask::Ask;
use keywright_broker::deliver::{Reader, Wanted};
use keywright_core::audit::{Deed, Entry, Stage};
use keywright_core::key::KeyState;
use keywright_core::receipt::{Receipt, Status};
use keywright_ledger::AuditFilter;
use keywright_sandbox::{Fault, FaultKind};
use keywright_testkit::{World, ask};

fn live(world: &World) -> usize {
    world.sandbox.live_tokens_named_like("kw-").len()
}

async fn state(world: &World) -> KeyState {
    world.broker.trace("CF_TOKEN").await.unwrap().key.state
}

/// How a request of the agent stands now.
async fn standing(world: &World, receipt: &Receipt) -> Receipt {
    let (bot, request) = (World::agent("bot").principal, receipt.request.to_string());
    world.broker.check(&bot, &request, Duration::ZERO).await.unwrap()
}

fn in_file(folder: &std::path::Path) -> Ask {
    Ask {
        destinations: vec!["dotenv:./.env#CF_TOKEN".to_owned()],
        cwd: Some(folder.display().to_string()),
        ..ask("example.com", "CF_TOKEN")
    }
}

#[tokio::test]
async fn an_expired_key_is_given_up_and_its_name_is_free_again() {
    let world = World::new().await;
    let brief = Ask { ttl: Some("1h".to_owned()), ..ask("example.com", "CF_TOKEN") };
    world.request(&brief).await.unwrap();
    world.clock.advance(SignedDuration::from_secs(3_601));
    let ana = world.ana().await;
    let wanted = Wanted { project: Some("web".parse().unwrap()), ..Wanted::default() };
    let delivered = world.broker.deliver(&Reader::Operator(&ana), wanted).await.unwrap();
    assert!(delivered.is_empty(), "a dead value is not handed out");
    world.broker.tick().await.unwrap();
    world.broker.tick().await.unwrap();
    assert_eq!(state(&world).await, KeyState::Revoked);
    let again = world.request(&ask("example.com", "CF_TOKEN")).await.unwrap();
    assert_eq!(again.status, Status::Active, "{again:?}");
    assert_eq!(live(&world), 1);
}

#[tokio::test]
async fn a_provider_that_asks_for_an_hour_gets_it_and_the_mint_goes_on_then() {
    let world = World::new().await;
    let busy = FaultKind::Status { status: 429, retry_after: Some(1_800) };
    world.sandbox.inject(Fault::on("POST", "/accounts/*/tokens", busy)).unwrap();
    let agent = World::agent("bot");
    let put_off = world.broker.request(&agent, &ask("example.com", "CF_TOKEN"), Duration::from_secs(1)).await;
    assert_eq!(put_off.unwrap().status, Status::InProgress);
    for _ in 0..8 {
        world.clock.advance(SignedDuration::from_secs(200));
        world.broker.tick().await.unwrap();
    }
    let creates = || world.sandbox.calls().iter().filter(|c| c.method == "POST").count();
    assert_eq!(creates(), 1, "nothing is sent before its time");
    // The connection keeps its own watch, by the machine's clock; another broker stands for the half hour there.
    let world = world.restart().await;
    world.clock.advance(SignedDuration::from_secs(300));
    world.broker.tick().await.unwrap();
    assert_eq!(state(&world).await, KeyState::Active);
}

#[tokio::test]
async fn a_key_lives_for_a_minute_at_least() {
    let world = World::new().await;
    let brief = Ask { ttl: Some("59s".to_owned()), ..ask("example.com", "CF_TOKEN") };
    assert_eq!(world.request(&brief).await.unwrap_err().code, Code::InvalidArgument);
}

#[tokio::test]
async fn a_key_that_somebody_ended_at_the_provider_is_over_here_too() {
    let world = World::new().await;
    world.request(&ask("example.com", "CF_TOKEN")).await.unwrap();
    let sandbox = &world.sandbox;
    let id = &sandbox.live_tokens_named_like("kw-")[0].id;
    assert!(sandbox.delete_token(id));
    let found = world.broker.reconcile().await.unwrap();
    assert_eq!(found.missing.len(), 1);
    world.clock.advance(jiff::SignedDuration::from_secs(121));
    world.broker.tick().await.unwrap();
    assert_eq!(state(&world).await, KeyState::Revoked);
    assert!(world.broker.reconcile().await.unwrap().missing.is_empty());
}

#[tokio::test]
async fn a_value_that_could_not_be_removed_is_tried_again() {
    let world = World::new().await;
    let folder = tempfile::tempdir().unwrap();
    world.request(&in_file(folder.path())).await.unwrap();
    let file = folder.path().join(".env");
    let text = std::fs::read_to_string(&file).unwrap();
    // A folder in the file's place: nothing can be removed from it.
    std::fs::remove_file(&file).unwrap();
    std::fs::create_dir(&file).unwrap();
    let receipt = world.broker.revoke(&World::agent("bot"), "CF_TOKEN", "done").await.unwrap();
    assert_eq!(
        (receipt.status, receipt.placements.len()),
        (Status::Revoked, 1),
        "it still says where it lies"
    );
    std::fs::remove_dir(&file).unwrap();
    std::fs::write(&file, &text).unwrap();
    std::fs::set_permissions(&file, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    world.clock.advance(SignedDuration::from_secs(61));
    world.broker.tick().await.unwrap();
    assert!(!std::fs::read_to_string(&file).unwrap_or_default().contains("CF_TOKEN="));
    assert!(standing(&world, &receipt).await.placements.is_empty());
}

#[tokio::test]
async fn a_place_that_is_taken_or_another_projects_is_refused_before_anything_is_made() {
    let world = World::new().await;
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join(".env"), "CF_TOKEN=mine\n").unwrap();
    let taken = world.request(&in_file(folder.path())).await.unwrap_err();
    assert_eq!(taken.code, Code::Conflict, "{taken}");
    let stolen =
        Ask { destinations: vec!["embedded:other/dev/STOLEN".to_owned()], ..ask("example.com", "CF_TOKEN") };
    assert_eq!(world.request(&stolen).await.unwrap_err().code, Code::Denied);
    assert!(world.sandbox.calls().iter().all(|call| call.method != "POST"), "nothing was made");
}

#[tokio::test]
async fn the_same_ask_waits_once_whatever_its_idempotency_key() {
    let world = World::new().await;
    let wish = |key: &str| Ask {
        environment: "production".to_owned(),
        idempotency_key: Some(key.to_owned()),
        ..ask("example.com", "CF_TOKEN")
    };
    let first = world.request(&wish("a")).await.unwrap();
    let second = world.request(&wish("b")).await.unwrap();
    assert_eq!(first.request, second.request);
    let ana = world.ana().await;
    world.broker.reject(&ana, &first.request.to_string(), "not now").await.unwrap();
    let third = world.request(&wish("b")).await.unwrap();
    assert_eq!(
        (third.request, third.status),
        (first.request, Status::Rejected),
        "each key keeps its meaning"
    );
}

#[tokio::test]
async fn an_agent_has_few_requests_waiting_also_under_ever_new_idempotency_keys() {
    let world = World::new().await;
    let mut codes = Vec::new();
    for number in 0..22 {
        let wish = Ask {
            environment: "production".to_owned(),
            idempotency_key: Some(format!("key-{number}")),
            ..ask("example.com", &format!("CF_{number}"))
        };
        codes.push(world.request(&wish).await.map(|receipt| receipt.status).map_err(|error| error.code));
    }
    assert_eq!(codes.iter().filter(|c| **c == Ok(Status::PendingApproval)).count(), 20);
    assert_eq!(codes.last(), Some(&Err(Code::TryAgain)));
}

#[tokio::test]
async fn what_a_removed_agent_asked_for_is_turned_down() {
    let world = World::new().await;
    let ana = world.ana().await;
    world.broker.add_agent(&ana, &"bot".parse().unwrap()).await.unwrap();
    let wish = Ask { environment: "production".to_owned(), ..ask("example.com", "CF_TOKEN") };
    let pending = world.request(&wish).await.unwrap();
    world.broker.remove_agent(&ana, &"bot".parse().unwrap()).await.unwrap();
    let now = standing(&world, &pending).await;
    assert_eq!(now.status, Status::Rejected);
    assert!(now.reasons[0].contains("removed"), "{:?}", now.reasons);
}

#[tokio::test]
async fn a_proposal_is_applied_as_it_was_shown_and_once() {
    let world = World::new().await;
    let ana = world.ana().await;
    let source = keywright_testkit::DNS_EDIT.replace("dns-edit", "dns-look").replace("DNS Write", "DNS Read");
    let source = source.replace("operations = [\"POST /zones/{zone_id}/dns_records\"]\n", "");
    let propose = || async {
        world.broker.propose_template(&World::agent("bot"), &source, "to look").await.unwrap().to_string()
    };
    let (rejected, applied) = (propose().await, propose().await);
    world.broker.reject(&ana, &rejected, "no").await.unwrap();
    let late = world.broker.apply_proposal(&ana, &rejected, &source, 1).await.unwrap_err();
    assert_eq!(late.code, Code::Conflict);
    let other = world.broker.apply_proposal(&ana, &applied, &format!("{source}\n"), 1).await.unwrap_err();
    assert_eq!(other.code, Code::Conflict);
    assert_eq!(world.broker.apply_proposal(&ana, &applied, &source, 1).await.unwrap().1, 1);
    assert_eq!(
        world.broker.apply_proposal(&ana, &applied, &source, 1).await.unwrap_err().code,
        Code::Conflict
    );
    let bot = World::agent("bot").principal;
    let stands = world.broker.proposal_state(&bot, &applied).await.unwrap().unwrap();
    assert_eq!((stands.state.as_str(), stands.by.as_deref(), stands.reason), ("applied", Some("ana"), None));
    let other = world.broker.proposal_state(&World::agent("other").principal, &applied).await.unwrap();
    assert_eq!(other, None);
}

#[tokio::test]
async fn two_operators_can_not_share_a_passphrase() {
    let world = World::new().await;
    let ana = world.ana().await;
    let error =
        world.broker.add_operator(&ana, &"bo".parse().unwrap(), World::passphrase()).await.unwrap_err();
    assert_eq!(error.code, Code::InvalidArgument, "{error}");
}

#[tokio::test]
async fn a_broker_on_an_old_copy_of_its_ledger_revokes_and_does_nothing_else() {
    let world = World::new().await;
    world.request(&ask("example.com", "CF_TOKEN")).await.unwrap();
    world.broker.publish_audit().await.unwrap();
    let world = world.closed().await;
    let copy = std::fs::read(world.ledger()).unwrap();
    let world = world.opened().await;
    world.request(&ask("example.com", "LATER")).await.unwrap();
    world.broker.publish_audit().await.unwrap();
    let world = world.closed().await;
    std::fs::write(world.ledger(), copy).unwrap();
    let world = world.opened().await;
    assert!(world.broker.health().await.unwrap().read_only.is_some());
    let refused = world.request(&ask("example.com", "THIRD")).await.unwrap_err();
    assert_eq!(refused.code, Code::Conflict, "{refused}");
    let ana = world.ana().await;
    let refused = world.broker.apply_template(&ana, keywright_testkit::DNS_EDIT).await.unwrap_err();
    assert_eq!(refused.code, Code::Conflict);
    let revoked = world.broker.revoke(&World::agent("bot"), "CF_TOKEN", "to be safe").await.unwrap();
    assert_eq!(revoked.status, Status::Revoked);
}

#[tokio::test]
async fn a_connection_that_was_edited_in_the_ledgers_file_sends_its_credential_nowhere() {
    let world = World::new().await.closed().await;
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let elsewhere = format!("http://{}/", listener.local_addr().unwrap());
    let ledger = rusqlite::Connection::open(world.ledger()).unwrap();
    ledger.execute("UPDATE connections SET base_url = ?1", [elsewhere]).unwrap();
    drop(ledger);
    let world = world.opened().await;
    let error = world.request(&ask("example.com", "CF_TOKEN")).await.unwrap_err();
    assert!(error.message.contains("connection `cf`"), "{error}");
    world.broker.tick().await.unwrap();
    world.broker.reconcile().await.unwrap();
    assert!(listener.accept().is_err(), "nobody called");
}

#[tokio::test]
async fn requests_that_come_together_do_not_pass_the_bound_together() {
    let world = World::new().await;
    let asks = (0..40).map(|number| {
        let wish = Ask {
            environment: "production".to_owned(),
            idempotency_key: Some(format!("key-{number}")),
            ..ask("example.com", &format!("CF_{number}"))
        };
        let broker = std::sync::Arc::clone(&world.broker);
        tokio::spawn(async move { broker.request(&World::agent("bot"), &wish, Duration::ZERO).await })
    });
    let mut pending = 0;
    for asked in asks.collect::<Vec<_>>() {
        pending += usize::from(asked.await.unwrap().is_ok());
    }
    assert_eq!(pending, 20);
}

#[tokio::test]
async fn a_name_that_programs_read_is_refused_in_a_place_too() {
    let world = World::new().await;
    let folder = tempfile::tempdir().unwrap();
    let wish = Ask { destinations: vec!["dotenv:./.env#LD_PRELOAD".to_owned()], ..in_file(folder.path()) };
    assert_eq!(world.request(&wish).await.unwrap_err().code, Code::InvalidArgument);
}

#[tokio::test]
async fn guard_rails_that_were_edited_in_the_ledgers_file_count_for_nothing() {
    let world = World::new().await;
    let edit = |world: &World, sql: &str| {
        let ledger = rusqlite::Connection::open(world.home.join("ledger.db")).unwrap();
        assert_eq!(ledger.execute(sql, []).unwrap(), 1, "{sql}");
    };
    world.request(&ask("example.com", "CF_TOKEN")).await.unwrap();
    let wider = "UPDATE templates SET resolved = replace(resolved, 'example.com', 'example.net')";
    edit(&world, wider);
    let refused = world.request(&ask("example.net", "OTHER")).await.unwrap_err();
    assert_eq!(refused.code, Code::Denied, "live: {refused}");
    let world = world.restart().await;
    assert_eq!(world.request(&ask("example.net", "OTHER")).await.unwrap_err().code, Code::Denied);
    let ana = world.ana().await;
    world.broker.apply_template(&ana, keywright_testkit::DNS_EDIT).await.unwrap();
    world.request(&ask("example.com", "AGAIN")).await.unwrap();
    edit(&world, "UPDATE policies SET source = replace(source, '>= 2', '>= 0')");
    let world = world.restart().await;
    let wish = Ask { environment: "production".to_owned(), ..ask("example.com", "PROD") };
    let refused = world.request(&wish).await.unwrap_err();
    assert!(refused.code == Code::Denied && refused.message.contains("the policy"), "{refused}");
    let ana = world.ana().await.caller();
    let revoked = world.broker.revoke(&ana, "CF_TOKEN", "to be safe").await.unwrap();
    assert_eq!(revoked.status, Status::Revoked, "a human can always end a key");
}

#[tokio::test]
async fn what_was_read_and_what_was_torn_down_has_an_outcome_and_a_trace_shows_the_reads() {
    let world = World::new().await;
    world.request(&ask("example.com", "CF_TOKEN")).await.unwrap();
    world.request(&ask("example.com", "UNREAD")).await.unwrap();
    let (ana, web) = (world.ana().await, "web".parse().unwrap());
    let token = world.broker.add_workload(&ana, &"app".parse().unwrap(), &web, None).await.unwrap();
    let app = world.broker.workload(&token).await.unwrap();
    let wanted = Wanted { only: vec!["CF_TOKEN".parse().unwrap()], ..Wanted::default() };
    world.broker.deliver(&Reader::Workload(&app), wanted).await.unwrap();
    let reads = async |key| {
        let entries = world.broker.trace(key).await.unwrap().entries;
        let of = entries.iter().map(Entry::record).filter(|r| r.deed == Deed::SecretRead);
        of.map(|r| (r.who.name.clone(), r.stage, r.result.as_ref().is_some_and(|r| r.ok))).collect::<Vec<_>>()
    };
    assert_eq!(reads("CF_TOKEN").await, [("app".to_owned(), Stage::Outcome, true)]);
    assert_eq!(reads("UNREAD").await, []);
    let other = Wanted { environment: Some("test".parse().unwrap()), ..Wanted::default() };
    assert!(world.broker.deliver(&Reader::Workload(&app), other).await.unwrap().is_empty());
    world.broker.teardown(&ana.caller(), &web).await.unwrap();
    let log = world.broker.log(AuditFilter { limit: 1_000, ..AuditFilter::default() }).await.unwrap();
    let of = |deed: Deed| log.iter().map(Entry::record).filter(move |r| r.deed == deed);
    for (deed, ended) in [(Deed::SecretRead, 2), (Deed::ProjectTeardown, 1)] {
        let outcomes: Vec<_> = of(deed).filter(|r| r.stage == Stage::Outcome).collect();
        assert_eq!(outcomes.len(), ended, "{deed}: an empty reading has an outcome too");
        assert_eq!(of(deed).filter(|r| r.stage == Stage::Intent).count(), ended, "{deed}");
        assert!(outcomes.iter().all(|r| r.result.as_ref().is_some_and(|r| r.ok)), "{deed}");
    }
    let torn = of(Deed::ProjectTeardown).next_back().unwrap();
    assert_eq!(torn.facts["revoked"].as_array().unwrap().len(), 2);
}
