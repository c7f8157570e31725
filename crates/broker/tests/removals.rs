//! Connections and stores that nothing needs any more, and names that are free again.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

use std::collections::BTreeMap;

use keywright_broker::Code;
use keywright_broker::admin::{NewConnection, NewStore};
use keywright_broker::ask::Ask;
use keywright_core::key::PlacementState;
use keywright_core::receipt::Status;
use keywright_core::secret::Secret;
use keywright_ledger::AuditFilter;
use keywright_sandbox::{Fault, FaultKind};
use keywright_testkit::{DNS_EDIT, World, ask};

async fn connect(world: &World, name: &str) {
    let new = NewConnection {
        name: name.parse().unwrap(),
        kind: "cloudflare".parse().unwrap(),
        base_url: Some(world.sandbox.base_url()),
        account: Some(world.sandbox.account_id().to_owned()),
        extra: BTreeMap::new(),
        credential: Secret::new(world.sandbox.parent_token().to_owned()),
    };
    world.broker.add_connection(&world.ana().await, new).await.unwrap();
}

async fn deeds(world: &World) -> Vec<String> {
    let filter = AuditFilter { limit: 1_000, ..AuditFilter::default() };
    world.broker.log(filter).await.unwrap().iter().map(|e| e.record().deed.to_string()).collect()
}

fn cf() -> keywright_core::name::ConnectionName {
    "cf".parse().unwrap()
}

#[tokio::test]
async fn whoever_adds_a_second_connection_hears_which_templates_do_not_say_which() {
    let world = World::new().await;
    let new = NewConnection {
        name: "second".parse().unwrap(),
        kind: "cloudflare".parse().unwrap(),
        base_url: Some(world.sandbox.base_url()),
        account: Some(world.sandbox.account_id().to_owned()),
        extra: BTreeMap::new(),
        credential: Secret::new(world.sandbox.parent_token().to_owned()),
    };
    let health = world.broker.add_connection(&world.ana().await, new).await.unwrap();
    let said = health.warnings.join("; ");
    assert!(
        said.contains("no key is made by `cloudflare/dns-edit`") && said.contains("connection ="),
        "{said}"
    );
    assert_eq!(world.request(&ask("example.com", "A")).await.unwrap_err().code, Code::Conflict);
    // And whoever looks later.
    assert_eq!(world.broker.health().await.unwrap().ambiguous, world.broker.ambiguous().await.unwrap());
    assert!(world.broker.ambiguous().await.unwrap().iter().any(|one| said.contains(one.as_str())));
    world.broker.remove_connection(&world.ana().await, &cf()).await.unwrap();
    assert!(world.broker.ambiguous().await.unwrap().is_empty());
}

#[tokio::test]
async fn what_a_credential_may_not_do_is_said_with_the_name_of_its_connection() {
    let world = World::new().await;
    let denied = FaultKind::Status { status: 403, retry_after: None };
    world.sandbox.inject(Fault::on("GET", "/zones", denied).times(9)).unwrap();
    let refused = world.request(&ask("example.com", "A")).await.unwrap_err();
    assert!(
        refused.hint.as_ref().is_some_and(|hint| hint.contains("`keywright provider check cf`")),
        "{refused:?}"
    );
}

#[tokio::test]
async fn what_waits_for_approval_ends_with_its_connection() {
    let world = World::new().await;
    let ana = world.ana().await;
    let wish = Ask { environment: "production".to_owned(), ..ask("example.com", "PROD") };
    let first = world.request(&wish).await.unwrap();
    assert_eq!(first.status, Status::PendingApproval);
    world.broker.remove_connection(&ana, &cf()).await.unwrap();
    let told = world
        .broker
        .check(&World::agent("bot").principal, &first.request.to_string(), std::time::Duration::ZERO)
        .await
        .unwrap();
    assert_eq!(told.status, Status::Expired);
    assert!(told.reasons[0].contains("connection `cf` was removed"), "{:?}", told.reasons);
    connect(&world, "cf").await;
    let again = world.request(&wish).await.unwrap();
    assert_eq!(again.status, Status::PendingApproval);
    assert_ne!(again.request, first.request, "people see what they approve");
}

#[tokio::test]
async fn a_connection_goes_only_when_no_key_needs_it() {
    let world = World::new().await;
    let ana = world.ana().await;
    world.request(&ask("example.com", "CF_TOKEN")).await.unwrap();
    let refused = world.broker.remove_connection(&ana, &cf()).await.unwrap_err();
    assert_eq!(refused.code, Code::Conflict);
    assert_eq!(refused.reasons, ["web/dev/CF_TOKEN (active)"]);
    // A revocation that is owed needs it, too.
    let down = FaultKind::Status { status: 503, retry_after: None };
    world.sandbox.inject(Fault::on("DELETE", "/accounts/*/tokens/*", down).times(100_000)).unwrap();
    world.broker.revoke(&World::agent("bot"), "CF_TOKEN", "done").await.unwrap();
    let refused = world.broker.remove_connection(&ana, &cf()).await.unwrap_err();
    assert_eq!(refused.reasons, ["web/dev/CF_TOKEN (revoking)"]);
    world.sandbox.clear_faults();
    world.settle().await;
    assert_eq!(world.broker.remove_connection(&ana, &cf()).await.unwrap(), []);
    assert!(world.broker.connections().await.unwrap().is_empty());
    assert!(deeds(&world).await.contains(&"provider.remove".to_owned()));
    let error = world.request(&ask("example.com", "OTHER")).await.unwrap_err();
    assert!(error.message.contains("no connection to provider `cloudflare`"), "{error}");
    assert_eq!(world.broker.remove_connection(&ana, &cf()).await.unwrap_err().code, Code::NotFound);
    connect(&world, "cf").await;
    assert_eq!(world.request(&ask("example.com", "OTHER")).await.unwrap().status, Status::Active);
}

#[tokio::test]
async fn an_attempt_whose_fate_is_unknown_needs_its_connection() {
    let world = World::new().await;
    let lost = Fault::on("POST", "/accounts/*/tokens", FaultKind::ReplyLostBeforeCommit).times(100_000);
    world.sandbox.inject(lost).unwrap();
    assert_eq!(world.request(&ask("example.com", "CF_TOKEN")).await.unwrap().status, Status::Failed);
    world.sandbox.clear_faults();
    let ana = world.ana().await;
    let refused = world.broker.remove_connection(&ana, &cf()).await.unwrap_err();
    assert_eq!(refused.reasons, ["web/dev/CF_TOKEN (not known to be gone)"]);
    world.settle().await;
    world.broker.remove_connection(&ana, &cf()).await.unwrap();
}

#[tokio::test]
async fn of_several_connections_the_template_says_which() {
    let world = World::new().await;
    let ana = world.ana().await;
    connect(&world, "other").await;
    let error = world.request(&ask("example.com", "CF_TOKEN")).await.unwrap_err();
    assert_eq!(error.code, Code::Conflict);
    assert!(error.message.contains("(`cf`, `other`)") && error.hint.unwrap().contains("connection = "));
    let naming = DNS_EDIT.replace("tier =", "connection = \"other\"\ntier =");
    world.broker.apply_template(&ana, &naming).await.unwrap();
    world.request(&ask("example.com", "CF_TOKEN")).await.unwrap();
    assert_eq!(world.broker.trace("CF_TOKEN").await.unwrap().key.connection.as_str(), "other");
    world.broker.revoke(&World::agent("bot"), "CF_TOKEN", "done").await.unwrap();
    let orphaned = world.broker.remove_connection(&ana, &"other".parse().unwrap()).await.unwrap();
    assert_eq!(orphaned.iter().map(ToString::to_string).collect::<Vec<_>>(), ["cloudflare/dns-edit"]);
    let error = world.request(&ask("example.com", "CF_TOKEN")).await.unwrap_err();
    assert_eq!((error.code, error.alternatives), (Code::NotFound, vec!["cf".to_owned()]));
    world.broker.apply_template(&ana, DNS_EDIT).await.unwrap();
    assert_eq!(world.request(&ask("example.com", "CF_TOKEN")).await.unwrap().status, Status::Active);
}

#[tokio::test]
async fn a_store_goes_only_when_no_copy_lies_in_it() {
    let world = World::new().await;
    let ana = world.ana().await;
    let folder = tempfile::tempdir().unwrap();
    let new = NewStore {
        name: "files".parse().unwrap(),
        kind: "dotenv".parse().unwrap(),
        address: None,
        extra: BTreeMap::new(),
        credential: None,
    };
    world.broker.add_store(&ana, new).await.unwrap();
    let open = DNS_EDIT.replace("\"dotenv:*\"", "\"files:*\"");
    world.broker.apply_template(&ana, &open).await.unwrap();
    let wish = Ask {
        destinations: vec!["files:./.env#CF_TOKEN".to_owned()],
        cwd: Some(folder.path().display().to_string()),
        ..ask("example.com", "CF_TOKEN")
    };
    world.request(&wish).await.unwrap();
    let files = "files".parse().unwrap();
    let refused = world.broker.remove_store(&ana, &files).await.unwrap_err();
    assert_eq!(
        (refused.code, refused.reasons),
        (Code::Conflict, vec!["web/dev/CF_TOKEN (active)".to_owned()])
    );
    world.broker.revoke(&World::agent("bot"), "CF_TOKEN", "done").await.unwrap();
    world.broker.remove_store(&ana, &files).await.unwrap();
    assert!(world.broker.stores().await.unwrap().iter().all(|store| store.name != "files"));
    assert!(deeds(&world).await.contains(&"store.remove".to_owned()));
    let error = world.request(&wish).await.unwrap_err();
    assert!(error.message.contains("there is no store `files`"), "{error}");
    for built_in in ["embedded", "dotenv"] {
        let error = world.broker.remove_store(&ana, &built_in.parse().unwrap()).await.unwrap_err();
        assert_eq!(error.code, Code::Conflict, "{built_in}");
    }
}

#[tokio::test]
async fn a_name_is_taken_while_its_key_lives_and_free_when_it_has_ended() {
    let world = World::new().await;
    let bot = World::agent("bot");
    let first = world.request(&ask("example.com", "CF_TOKEN")).await.unwrap();
    // The same name in the file, where no place is in the way.
    let folder = tempfile::tempdir().unwrap();
    let elsewhere = Ask {
        destinations: vec!["dotenv:./.env#CF_TOKEN".to_owned()],
        cwd: Some(folder.path().display().to_string()),
        ..ask("example.com", "CF_TOKEN")
    };
    let taken = world.request(&elsewhere).await.unwrap_err();
    assert_eq!(taken.code, Code::Conflict);
    assert!(
        taken.message.contains("lives already") && taken.message.contains(&first.key.unwrap().to_string())
    );
    assert!(taken.hint.unwrap().contains("keywright key revoke web/dev/CF_TOKEN"));
    let place = world.request(&ask("example.com", "CF_TOKEN")).await.unwrap_err();
    assert!(place.message.contains("holds key `web/dev/CF_TOKEN`, which is active"), "{place}");
    world.broker.revoke(&bot, "CF_TOKEN", "done").await.unwrap();
    assert_eq!(world.request(&ask("example.com", "CF_TOKEN")).await.unwrap().status, Status::Active);
    let ana = world.ana().await;
    world.broker.teardown(&ana.caller(), &"web".parse().unwrap()).await.unwrap();
    assert_eq!(world.request(&ask("example.com", "CF_TOKEN")).await.unwrap().status, Status::Active);
}

#[tokio::test]
async fn what_a_person_put_in_the_place_of_a_copy_is_left_and_the_receipt_says_so() {
    let world = World::new().await;
    let dir = tempfile::tempdir().unwrap();
    let wish = Ask {
        destinations: vec!["dotenv:./.env#CF_TOKEN".to_owned()],
        cwd: Some(dir.path().to_str().unwrap().to_owned()),
        ..ask("example.com", "CF_TOKEN")
    };
    assert_eq!(world.request(&wish).await.unwrap().status, Status::Active);
    let file = dir.path().join(".env");
    std::fs::write(&file, "CF_TOKEN='by hand'\n").unwrap();
    let bot = World::agent("bot");
    let receipt = world.broker.revoke(&bot, "CF_TOKEN", "done").await.unwrap();
    assert_eq!(receipt.status, Status::Revoked);
    let says = receipt.reasons.iter().any(|reason| reason.contains("is not what was written there"));
    assert!(says && receipt.placements.is_empty(), "{receipt:?}");
    assert_eq!(std::fs::read_to_string(&file).unwrap(), "CF_TOKEN='by hand'\n");
    let states: Vec<PlacementState> =
        world.broker.trace("CF_TOKEN").await.unwrap().placements.iter().map(|p| p.state).collect();
    assert_eq!(states, [PlacementState::Left]);
    // On record, and not tried again.
    let filter = AuditFilter { limit: 1_000, ..AuditFilter::default() };
    let left = || async {
        let log = world.broker.log(filter.clone()).await.unwrap();
        log.iter().filter(|e| e.record().facts.get("phase").is_some_and(|phase| phase == "left")).count()
    };
    assert_eq!(left().await, 1);
    world.settle().await;
    assert_eq!(left().await, 1);
    // Nothing lies there that would need the store.
    let again = Ask { destinations: Vec::new(), ..wish };
    assert_eq!(world.request(&again).await.unwrap().status, Status::Active);
}

#[tokio::test]
async fn a_connection_whose_parent_is_refused_can_be_replaced_at_once() {
    let world = World::new().await;
    let denied = FaultKind::Status { status: 403, retry_after: None };
    for (method, path) in [("POST", "/accounts/*/tokens"), ("GET", "/accounts/*/tokens")] {
        world.sandbox.inject(Fault::on(method, path, denied.clone()).times(100_000)).unwrap();
    }
    assert_eq!(world.request(&ask("example.com", "CF_TOKEN")).await.unwrap().status, Status::Failed);
    world.broker.remove_connection(&world.ana().await, &cf()).await.unwrap();
}

#[tokio::test]
async fn a_copy_whose_version_an_older_broker_ended_is_taken_out_after_the_next_start() {
    let world = World::new().await;
    world.request(&ask("example.com", "CF_TOKEN")).await.unwrap();
    world.broker.revoke(&World::agent("bot"), "CF_TOKEN", "done").await.unwrap();
    world.settle().await;
    let home = world.closed().await;
    // As a program leaves it that knows nothing of the mark, and could not reach the store.
    let ledger = rusqlite::Connection::open(home.ledger()).unwrap();
    let left = ledger.execute("UPDATE placements SET state = 'written', ends_at = NULL", []).unwrap();
    assert_eq!(left, 1);
    drop(ledger);
    let world = home.opened().await;
    world.settle().await;
    let copies = world.broker.trace("CF_TOKEN").await.unwrap().placements;
    assert!(copies.iter().all(|copy| !copy.state.may_lie()), "{copies:?}");
}
