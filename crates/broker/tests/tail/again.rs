//! What was used, refused or removed does not come back.

use std::path::Path;
use std::time::Duration;

use keywright_broker::Code;
use keywright_broker::ask::Ask;
use keywright_testkit::{World, ask};

use crate::home::{does_nothing, edit, number, used};

#[tokio::test]
async fn approvals_that_were_used_make_no_second_key_when_the_tail_is_cut_off_with_their_use() {
    let (world, id) = used().await;
    let home = world.closed().await;
    let since = number(&home, &format!("request = '{id}' AND deed = 'key.mint'"));
    edit(
        &home,
        &format!(
            "DELETE FROM audit_entries WHERE number > {since}; UPDATE approvals SET used_at = NULL; \
             UPDATE requests SET status = 'in_progress' WHERE id = '{id}'; UPDATE keys SET state = 'minting'; \
             UPDATE attempts SET outcome = 'unsent', sent_at = NULL; \
             UPDATE sagas SET phase = 'intent', due_at = 1, lease_until = NULL, owner = NULL; \
             DELETE FROM versions; DELETE FROM placements; DELETE FROM revocations"
        ),
    );
    let world = home.opened().await;
    does_nothing(&world, "cut").await;
    assert!(world.sandbox.live_tokens_named_like("kw-").is_empty(), "no second key");
}

/// All that says that the first mint is over, but for the log.
fn put_back(id: &str) -> String {
    format!(
        "UPDATE approvals SET used_at = NULL; UPDATE requests SET status = 'in_progress', key_id = key_id WHERE id = '{id}'; \
         UPDATE keys SET state = 'minting'; UPDATE attempts SET outcome = 'unsent', sent_at = NULL; \
         UPDATE sagas SET phase = 'intent', due_at = 1, lease_until = NULL, owner = NULL, tries = 0; \
         DELETE FROM placements; DELETE FROM revocations"
    )
}

async fn makes_no_second_key(world: &World, what: &str) {
    for _ in 0..5 {
        world.broker.tick().await.unwrap();
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert!(world.sandbox.live_tokens_named_like("kw-").is_empty(), "{what}");
    let ledger = rusqlite::Connection::open(world.home.join("ledger.db")).unwrap();
    let trouble: String = ledger.query_row("SELECT trouble FROM sagas", [], |row| row.get(0)).unwrap();
    assert!(trouble.contains("came to its end"), "{what}: {trouble}");
}

#[tokio::test]
async fn what_was_approved_is_spent_whatever_the_indexes_find() {
    // Live: what the log says was read when the broker started, and is not looked up in a file again.
    let (world, id) = used().await;
    let ledger = rusqlite::Connection::open(world.home.join("ledger.db")).unwrap();
    ledger
        .execute_batch(&format!(
            "PRAGMA foreign_keys = OFF; DROP INDEX audit_by_request; \
             CREATE INDEX audit_by_request ON audit_entries (request) WHERE request IS NOT NULL AND 0; \
             UPDATE audit_entries SET request = NULL WHERE request = '{id}'; DELETE FROM versions; {}",
            put_back(&id)
        ))
        .unwrap();
    makes_no_second_key(&world, "live").await;
    // Killed, with an index that holds nothing and a schema that says what it always said.
    let (world, id) = used().await;
    let home = world.closed().await;
    edit(
        &home,
        &format!(
            "CREATE TEMP TABLE was AS SELECT sql FROM sqlite_schema WHERE name = 'audit_by_request'; \
             PRAGMA writable_schema = ON; UPDATE sqlite_schema SET sql = sql || ' AND 0' WHERE name = 'audit_by_request'; \
             PRAGMA writable_schema = RESET; REINDEX audit_by_request; PRAGMA writable_schema = ON; \
             UPDATE sqlite_schema SET sql = (SELECT sql FROM was) WHERE name = 'audit_by_request'; \
             PRAGMA writable_schema = RESET; DELETE FROM versions; {}",
            put_back(&id)
        ),
    );
    makes_no_second_key(&home.opened().await, "killed").await;
}

#[tokio::test]
async fn a_key_that_was_made_is_not_made_again_when_the_mint_is_put_back_to_its_start() {
    // With its version: it is revoked. Without: the sweep finds it by its marker.
    for gone in ["", "DELETE FROM versions"] {
        let world = World::new().await;
        let id = world.request(&ask("example.com", "CF_TOKEN")).await.unwrap().request.to_string();
        assert_eq!(world.sandbox.live_tokens_named_like("kw-").len(), 1);
        let home = world.closed().await;
        edit(&home, &format!("{}; UPDATE attempts SET outcome = 'sent'; {gone}", put_back(&id)));
        let world = home.opened().await;
        for _ in 0..5 {
            world.broker.tick().await.unwrap();
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        world.broker.reconcile().await.unwrap();
        assert!(world.sandbox.live_tokens_named_like("kw-").is_empty(), "{gone}");
    }
}

#[tokio::test]
async fn somebody_who_was_just_removed_stays_so() {
    let world = World::new().await;
    let ana = world.ana().await;
    world.broker.add_agent(&ana, &"cli".parse().unwrap()).await.unwrap();
    world.broker.publish_audit().await.unwrap();
    drop(ana);
    let home = world.closed().await;
    let kept: Vec<u8> = rusqlite::Connection::open(home.ledger())
        .unwrap()
        .query_row("SELECT mac FROM agents", [], |row| row.get(0))
        .unwrap();
    let world = home.opened().await;
    world.broker.remove_agent(&world.ana().await, &"cli".parse().unwrap()).await.unwrap();
    let home = world.closed().await;
    let since = number(&home, "deed = 'agent.remove'");
    let mac: String = kept.iter().map(|byte| format!("{byte:02x}")).collect();
    edit(
        &home,
        &format!(
            "DELETE FROM audit_entries WHERE number >= {since}; UPDATE agents SET removed_at = NULL, mac = x'{mac}'"
        ),
    );
    let world = home.opened().await;
    // The row is as it was, and the log does not say otherwise any more: it is the log that is not believed.
    does_nothing(&world, "an agent is back").await;
}

#[tokio::test]
async fn a_removal_whose_entry_was_edited_brings_nobody_back() {
    let world = World::new().await;
    let ana = world.ana().await;
    let cli = "cli".parse().unwrap();
    let token = world.broker.add_agent(&ana, &cli).await.unwrap();
    let path = world.home.join("ledger.db");
    let kept = "CREATE TABLE kept AS SELECT * FROM agents";
    rusqlite::Connection::open(&path).unwrap().execute_batch(kept).unwrap();
    world.broker.remove_agent(&ana, &cli).await.unwrap();
    world.broker.publish_audit().await.unwrap();
    drop(ana);
    let home = world.closed().await;
    for leaf in
        ["CAST(leaf AS TEXT)", "CAST(replace(CAST(leaf AS TEXT), 'agent.remove', 'key.rotate') AS BLOB)"]
    {
        edit(&home, &format!("UPDATE audit_entries SET leaf = {leaf} WHERE deed = 'agent.remove'"));
    }
    edit(&home, "DELETE FROM agents; INSERT INTO agents SELECT * FROM kept; DROP TABLE kept");
    let world = home.opened().await;
    does_nothing(&world, "edited").await;
    let _ = token;
}

#[tokio::test]
async fn a_request_that_was_turned_down_or_whose_asker_was_removed_does_not_come_back() {
    let world = World::new().await;
    let ana = world.ana().await;
    world.broker.add_agent(&ana, &"bot".parse().unwrap()).await.unwrap();
    world.broker.add_agent(&ana, &"gone".parse().unwrap()).await.unwrap();
    let wish = |name: &str| Ask { environment: "production".to_owned(), ..ask("example.com", name) };
    let rejected = world.request(&wish("REJECTED")).await.unwrap();
    world.broker.reject(&ana, &rejected.request.to_string(), "no").await.unwrap();
    let gone = keywright_testkit::World::agent("gone");
    let orphaned = world.broker.request(&gone, &wish("ORPHANED"), Duration::ZERO).await.unwrap();
    world.broker.remove_agent(&ana, &"gone".parse().unwrap()).await.unwrap();
    drop(ana);
    let home = world.closed().await;
    edit(&home, "UPDATE requests SET status = 'pending_approval', reasons = '[]', decided_at = NULL");
    let world = home.opened().await;
    let ana = world.ana().await;
    for (receipt, why) in [(&rejected, "came to its end"), (&orphaned, "was removed")] {
        let id = receipt.request.to_string();
        let ledger = rusqlite::Connection::open(world.home.join("ledger.db")).unwrap();
        let digest: String =
            ledger.query_row("SELECT digest FROM requests WHERE id = $1", [&id], |row| row.get(0)).unwrap();
        let refused = world.broker.approve(&ana, &id, &digest, &<_>::default(), Duration::ZERO).await;
        let refused = refused.unwrap_err();
        assert!(refused.code == Code::Denied && refused.message.contains(why), "{refused}");
    }
    let (_, edited) = world.broker.soundness().await.unwrap();
    assert_eq!(edited.len(), 2, "{edited:?}");
    // One that was not edited is approved as ever.
    let fresh = world.request(&wish("FRESH")).await.unwrap();
    assert_eq!(fresh.status, keywright_core::receipt::Status::PendingApproval);
}

#[tokio::test]
async fn a_connection_or_store_that_was_removed_makes_no_key_when_its_row_is_put_back() {
    let world = World::new().await;
    let ana = world.ana().await;
    let store = |name: &str, root: &Path| keywright_broker::admin::NewStore {
        name: name.parse().unwrap(),
        kind: "dotenv".parse().unwrap(),
        address: None,
        extra: [("root".to_owned(), root.to_str().unwrap().to_owned())].into(),
        credential: None,
    };
    let root = tempfile::tempdir().unwrap();
    world.broker.add_store(&ana, store("files", root.path())).await.unwrap();
    let home = world.home.join("ledger.db");
    let kept = "CREATE TABLE k1 AS SELECT * FROM connections; CREATE TABLE k2 AS SELECT * FROM sealed_values; \
                CREATE TABLE k3 AS SELECT * FROM stores";
    rusqlite::Connection::open(&home).unwrap().execute_batch(kept).unwrap();
    world.broker.remove_connection(&ana, &"cf".parse().unwrap()).await.unwrap();
    world.broker.remove_store(&ana, &"files".parse().unwrap()).await.unwrap();
    drop(ana);
    let home = world.closed().await;
    edit(
        &home,
        "INSERT INTO connections SELECT * FROM k1; INSERT OR IGNORE INTO sealed_values SELECT * FROM k2; \
         INSERT INTO stores SELECT * FROM k3; DROP TABLE k1; DROP TABLE k2; DROP TABLE k3",
    );
    let world = home.opened().await;
    let refused = world.request(&ask("example.com", "TOKEN")).await.unwrap_err();
    assert!(refused.code == Code::Denied && refused.message.contains("connection `cf`"), "{refused}");
    let (_, edited) = world.broker.soundness().await.unwrap();
    assert!(edited.iter().any(|what| what.contains("store `files`")), "{edited:?}");
    // Removed and added again, under the same name, it counts.
    let ana = world.ana().await;
    world.broker.remove_connection(&ana, &"cf".parse().unwrap()).await.unwrap();
    let new = keywright_broker::admin::NewConnection {
        name: "cf".parse().unwrap(),
        kind: "cloudflare".parse().unwrap(),
        base_url: Some(world.sandbox.base_url()),
        account: Some(world.sandbox.account_id().to_owned()),
        extra: std::collections::BTreeMap::new(),
        credential: keywright_core::secret::Secret::new(world.sandbox.parent_token().to_owned()),
    };
    world.broker.add_connection(&ana, new).await.unwrap();
    world.request(&ask("example.com", "TOKEN")).await.unwrap();
    let to_files = Ask {
        destinations: vec![format!("files:{}#OTHER", root.path().join(".env").display())],
        ..ask("example.com", "OTHER")
    };
    let refused = world.request(&to_files).await.unwrap_err();
    assert!(
        !refused.message.is_empty() && world.sandbox.live_tokens_named_like("kw-").len() == 1,
        "{refused}"
    );
}

#[tokio::test]
async fn a_key_whose_rows_say_that_it_is_gone_is_revoked_when_somebody_says_so() {
    for edited in [
        "DELETE FROM placements; DELETE FROM versions",
        "UPDATE versions SET state = 'revoked'",
        "UPDATE keys SET state = 'failed'",
    ] {
        let world = World::new().await;
        world.request(&ask("example.com", "TOKEN")).await.unwrap();
        let ledger = rusqlite::Connection::open(world.home.join("ledger.db")).unwrap();
        ledger.execute_batch(&format!("PRAGMA foreign_keys = OFF; {edited}")).unwrap();
        let ana = world.ana().await;
        let receipt = world.broker.revoke(&ana.caller(), "TOKEN", "done").await.unwrap();
        assert!(world.sandbox.live_tokens_named_like("kw-").is_empty(), "{edited}");
        assert_eq!(receipt.status, keywright_core::receipt::Status::Revoked, "{edited}: {receipt:?}");
    }
}
