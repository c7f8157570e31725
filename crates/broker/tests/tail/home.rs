//! A home, edited while its broker is gone.

use std::path::Path;
use std::time::Duration;

use keywright_broker::Code;
use keywright_broker::ask::Ask;
use keywright_testkit::{Closed, World, ask};

pub(crate) fn edit(home: &Closed, sql: &str) {
    let ledger = rusqlite::Connection::open(home.ledger()).unwrap();
    ledger.execute_batch(&format!("PRAGMA foreign_keys = OFF; {sql}")).unwrap();
}

pub(crate) fn audit(home: &Closed, name: &str) -> std::path::PathBuf {
    home.ledger().parent().unwrap().join("audit").join(name)
}

pub(crate) fn number(home: &Closed, condition: &str) -> i64 {
    let ledger = rusqlite::Connection::open(home.ledger()).unwrap();
    let sql = format!("SELECT MIN(number) FROM audit_entries WHERE {condition}");
    ledger.query_row(&sql, [], |row| row.get(0)).unwrap()
}

pub(crate) async fn does_nothing(world: &World, what: &str) {
    let refused = world.request(&ask("example.com", "NEW_TOKEN")).await.unwrap_err();
    assert_eq!(refused.code, Code::Conflict, "{what}: {refused}");
    for _ in 0..3 {
        world.broker.tick().await.unwrap();
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert!(world.broker.health().await.unwrap().read_only.is_some(), "{what}");
}

/// A key that two operators approved, made and revoked; all of it after the newest checkpoint.
pub(crate) async fn used() -> (World, String) {
    let world = World::new().await;
    let ana = world.ana().await;
    let bo = "bo".parse().unwrap();
    let words = || keywright_core::secret::Secret::new("another passphrase".to_owned());
    world.broker.add_operator(&ana, &bo, words()).await.unwrap();
    let bo = world.broker.operator(Some(&bo), words()).await.unwrap();
    let wish = Ask { environment: "production".to_owned(), ..ask("example.com", "PROD") };
    let id = world.request(&wish).await.unwrap().request.to_string();
    let digest: String = rusqlite::Connection::open(world.home.join("ledger.db"))
        .unwrap()
        .query_row("SELECT digest FROM requests", [], |row| row.get(0))
        .unwrap();
    world.broker.publish_audit().await.unwrap();
    for operator in [&ana, &bo] {
        let wait = Duration::from_secs(20);
        world.broker.approve(operator, &id, &digest, &<_>::default(), wait).await.unwrap();
    }
    world.broker.revoke(&ana.caller(), "PROD", "done").await.unwrap();
    assert!(world.sandbox.live_tokens_named_like("kw-").is_empty());
    (world, id)
}

pub(crate) fn report(home: &Path) -> keywright_ledger::audit_files::Report {
    keywright_ledger::audit_files::verify(&home.join("audit"), &home.join("ledger.db"), None, None).unwrap()
}
