//! The newest entries of the audit log, which no checkpoint covers yet, in the hands of somebody who may write the home's
//! files while no broker runs.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

use std::fs;
use std::path::Path;
use std::time::Duration;

use keywright_broker::Code;
use keywright_broker::ask::Ask;
use keywright_testkit::{Closed, World, ask};

fn edit(home: &Closed, sql: &str) {
    let ledger = rusqlite::Connection::open(home.ledger()).unwrap();
    ledger.execute_batch(&format!("PRAGMA foreign_keys = OFF; {sql}")).unwrap();
}

fn audit(home: &Closed, name: &str) -> std::path::PathBuf {
    home.ledger().parent().unwrap().join("audit").join(name)
}

fn number(home: &Closed, condition: &str) -> i64 {
    let ledger = rusqlite::Connection::open(home.ledger()).unwrap();
    let sql = format!("SELECT MIN(number) FROM audit_entries WHERE {condition}");
    ledger.query_row(&sql, [], |row| row.get(0)).unwrap()
}

async fn does_nothing(world: &World, what: &str) {
    let refused = world.request(&ask("example.com", "NEW_TOKEN")).await.unwrap_err();
    assert_eq!(refused.code, Code::Conflict, "{what}: {refused}");
    for _ in 0..3 {
        world.broker.tick().await.unwrap();
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert!(world.broker.health().await.unwrap().read_only.is_some(), "{what}");
}

/// A key that two operators approved, made and revoked; all of it after the newest checkpoint.
async fn used() -> (World, String) {
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
async fn an_entry_that_was_written_in_by_hand_is_neither_believed_nor_signed() {
    let world = World::new().await;
    let home = world.closed().await;
    // The last entry once more, with its own text and hash in its own place.
    let ledger = rusqlite::Connection::open(home.ledger()).unwrap();
    let (last, leaf, mac): (i64, Vec<u8>, Vec<u8>) = ledger
        .query_row("SELECT number, leaf, mac FROM audit_entries ORDER BY number DESC LIMIT 1", [], |row| {
            Ok((row.get(0)?, row.get(1)?, row.get(2)?))
        })
        .unwrap();
    let text = String::from_utf8(leaf).unwrap();
    let forged = text.replacen(&format!("\"index\":{last}"), &format!("\"index\":{}", last + 1), 1);
    let forged = forged.replacen(&format!("\"ent_{last}\""), &format!("\"ent_{}\"", last + 1), 1);
    assert_ne!(text, forged, "{text}");
    let hash = keywright_core::audit::Hash::of_leaf(forged.as_bytes());
    ledger
        .execute(
            "INSERT INTO audit_entries SELECT log, number + 1, ?1, ?2, deed, stage, at, request, key_id, ?3 \
             FROM audit_entries WHERE number = ?4",
            rusqlite::params![forged.as_bytes(), hash.as_bytes(), mac, last],
        )
        .unwrap();
    drop(ledger);
    let signed = fs::read(audit(&home, "checkpoint")).unwrap();
    let world = home.opened().await;
    does_nothing(&world, "forged").await;
    assert_eq!(fs::read(world.home.join("audit/checkpoint")).unwrap(), signed);
}

#[tokio::test]
async fn an_entry_that_is_not_found_any_more_is_missed() {
    for hide in ["request = NULL", "deed = 'agent.add'", "stage = 'note'", "request = 'req_other'"] {
        let (world, _) = used().await;
        let home = world.closed().await;
        edit(
            &home,
            &format!("UPDATE audit_entries SET {hide} WHERE deed = 'key.mint' AND stage = 'outcome'"),
        );
        does_nothing(&home.opened().await, hide).await;
    }
}

#[tokio::test]
async fn a_head_that_is_gone_or_made_up_is_no_head() {
    let cut = "DELETE FROM audit_entries WHERE number > (SELECT MAX(number) - 3 FROM audit_entries)";
    let claim = |home: &Closed, size: i64| {
        let head = fs::read_to_string(audit(home, "head")).unwrap();
        let mut lines: Vec<String> = head.lines().map(str::to_owned).collect();
        lines[1] = format!("{size:020}");
        format!("{}\n", lines.join("\n"))
    };
    type Change<'a> = &'a dyn Fn(&Closed);
    let changes: [(&str, Change<'_>); 5] = [
        ("gone", &|home| fs::remove_file(audit(home, "head")).unwrap()),
        ("empty", &|home| fs::write(audit(home, "head"), "").unwrap()),
        ("cut", &|home| edit(home, cut)),
        ("another size", &|home| {
            let text = claim(home, 1);
            fs::write(audit(home, "head"), text).unwrap();
        }),
        ("a checkpoint in its place", &|home| {
            fs::copy(audit(home, "checkpoint"), audit(home, "head")).unwrap();
        }),
    ];
    for (what, change) in changes {
        let world = World::new().await;
        world.request(&ask("example.com", "CF_TOKEN")).await.unwrap();
        let home = world.closed().await;
        change(&home);
        edit(&home, cut);
        does_nothing(&home.opened().await, what).await;
    }
}

#[tokio::test]
async fn a_log_that_is_cut_down_to_its_first_entries_is_lost_with_its_files() {
    for left in [1, 2, 4] {
        let world = World::new().await;
        world.request(&ask("example.com", "CF_TOKEN")).await.unwrap();
        let home = world.closed().await;
        edit(&home, &format!("DELETE FROM audit_entries WHERE number >= {left}; DELETE FROM checkpoints"));
        fs::remove_dir_all(home.ledger().parent().unwrap().join("audit")).unwrap();
        does_nothing(&home.opened().await, "cut down").await;
    }
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
async fn what_was_read_from_a_log_that_was_cut_stays_without_effect_when_it_is_whole_again() {
    let world = World::new().await;
    let ana = world.ana().await;
    world.broker.add_agent(&ana, &"cli".parse().unwrap()).await.unwrap();
    world.broker.remove_agent(&ana, &"cli".parse().unwrap()).await.unwrap();
    drop(ana);
    let home = world.closed().await;
    let mac = |sql: &str| {
        let ledger = rusqlite::Connection::open(home.ledger()).unwrap();
        ledger.query_row(sql, [], |row| row.get::<_, Vec<u8>>(0)).unwrap()
    };
    let digits = |bytes: Vec<u8>| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    let entry = digits(mac("SELECT mac FROM audit_entries WHERE deed = 'agent.remove'"));
    edit(&home, "UPDATE audit_entries SET mac = zeroblob(32) WHERE deed = 'agent.remove'");
    let world = home.opened().await;
    does_nothing(&world, "hidden").await;
    // The log is as it was again; the broker has read it without the removal.
    let restore = format!("UPDATE audit_entries SET mac = x'{entry}' WHERE deed = 'agent.remove'");
    rusqlite::Connection::open(world.home.join("ledger.db")).unwrap().execute_batch(&restore).unwrap();
    let _ = world.broker.publish_audit().await;
    does_nothing(&world, "healed").await;
    let world = world.restart().await;
    assert_eq!(world.broker.health().await.unwrap().read_only, None);
    world.request(&ask("example.com", "NEW_TOKEN")).await.unwrap();
}

#[tokio::test]
async fn a_head_that_is_moved_away_from_under_the_broker_is_put_back() {
    let world = World::new().await;
    let head = world.home.join("audit/head");
    let older = fs::read(&head).unwrap();
    fs::rename(&head, world.home.join("audit/away")).unwrap();
    fs::write(&head, &older).unwrap();
    world.request(&ask("example.com", "CF_TOKEN")).await.unwrap();
    assert_ne!(fs::read(&head).unwrap(), older);
    fs::remove_file(&head).unwrap();
    world.request(&ask("example.com", "NEXT_TOKEN")).await.unwrap();
    let home = world.closed().await;
    assert!(report(home.ledger().parent().unwrap()).is_sound());
}

#[tokio::test]
async fn a_broker_that_only_dies_finds_its_log_as_it_left_it() {
    let mut world = World::new().await;
    for round in 0..4 {
        world.request(&ask("example.com", &format!("KEY_{round}"))).await.unwrap();
        world = world.restart().await;
        assert_eq!(world.broker.health().await.unwrap().read_only, None);
    }
    let report = report(&world.home);
    assert!(report.is_sound(), "{:?}", report.findings);
}

#[tokio::test]
async fn a_head_from_before_a_loss_of_power_is_continued() {
    let world = World::new().await;
    let home = world.closed().await;
    let older = fs::read(audit(&home, "head")).unwrap();
    let world = home.opened().await;
    world.request(&ask("example.com", "CF_TOKEN")).await.unwrap();
    let home = world.closed().await;
    // The ledger was forced to the disk and the head was not.
    fs::write(audit(&home, "head"), older).unwrap();
    let world = home.opened().await;
    assert_eq!(world.broker.health().await.unwrap().read_only, None);
    world.request(&ask("example.com", "NEXT_TOKEN")).await.unwrap();
}

#[tokio::test]
async fn verifying_misses_the_tail_without_a_passphrase() {
    let world = World::new().await;
    world.request(&ask("example.com", "CF_TOKEN")).await.unwrap();
    let home = world.closed().await;
    let root = home.ledger().parent().unwrap().to_owned();
    assert!(report(&root).is_sound());
    edit(&home, "DELETE FROM audit_entries WHERE number = (SELECT MAX(number) FROM audit_entries)");
    let report = report(&root);
    assert!(!report.is_sound());
    assert!(report.first().unwrap().to_string().contains("cut off"), "{:?}", report.findings);
}

fn report(home: &Path) -> keywright_ledger::audit_files::Report {
    keywright_ledger::audit_files::verify(&home.join("audit"), &home.join("ledger.db"), None, None).unwrap()
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
async fn an_entry_of_another_type_leaves_a_broker_that_revokes_and_is_named() {
    for column in ["leaf", "leaf_hash", "mac"] {
        let world = World::new().await;
        world.request(&ask("example.com", "TOKEN")).await.unwrap();
        world.broker.publish_audit().await.unwrap();
        let home = world.closed().await;
        edit(&home, &format!("UPDATE audit_entries SET {column} = CAST({column} AS TEXT) WHERE number = 3"));
        let dir = audit(&home, "");
        let report = keywright_ledger::audit_files::verify(&dir, &home.ledger(), None, None).unwrap();
        assert!(!report.findings.is_empty(), "{column}");
        let world = home.opened().await;
        if column != "leaf" {
            // What an entry says is signed; nothing beside it is gone by. It is named all the same.
            world.request(&ask("example.com", "NEW_TOKEN")).await.unwrap();
            continue;
        }
        does_nothing(&world, column).await;
        let ana = world.ana().await;
        world.broker.revoke(&ana.caller(), "TOKEN", "done").await.unwrap();
        assert!(world.sandbox.live_tokens_named_like("kw-").is_empty(), "{column}");
    }
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

#[tokio::test]
async fn what_is_no_file_in_the_place_of_the_head_keeps_nobody_waiting() {
    let world = World::new().await;
    world.request(&ask("example.com", "TOKEN")).await.unwrap();
    let home = world.closed().await;
    let head = audit(&home, "head");
    fs::remove_file(&head).unwrap();
    let made = std::process::Command::new("mkfifo").arg(&head).status().unwrap();
    assert!(made.success());
    let dir = audit(&home, "");
    let verified = keywright_ledger::audit_files::verify(&dir, &home.ledger(), None, None);
    assert!(verified.unwrap_err().to_string().contains("no file of an audit log"));
    fs::remove_file(&head).unwrap();
    std::os::unix::fs::symlink("/dev/zero", &head).unwrap();
    assert!(keywright_ledger::audit_files::verify(&dir, &home.ledger(), None, None).is_err());
}

#[tokio::test]
async fn an_index_that_leads_elsewhere_is_named() {
    let world = World::new().await;
    let ana = world.ana().await;
    for name in ["ann", "bob"] {
        world.broker.add_agent(&ana, &name.parse().unwrap()).await.unwrap();
    }
    world.request(&ask("example.com", "TOKEN")).await.unwrap();
    assert_eq!(world.broker.soundness().await.unwrap().1, Vec::<String>::new());
    let ledger = rusqlite::Connection::open(world.home.join("ledger.db")).unwrap();
    // An index over another column, under the words of the true one.
    let sql: String = ledger
        .query_row("SELECT sql FROM sqlite_master WHERE name = 'audit_by_key'", [], |row| row.get(0))
        .unwrap();
    let other = sql.replace("key_id", "request");
    assert_ne!(sql, other);
    ledger.execute_batch(&format!("DROP INDEX audit_by_key; {other}; PRAGMA writable_schema = ON")).unwrap();
    ledger.execute("UPDATE sqlite_master SET sql = $1 WHERE name = 'audit_by_key'", [&sql]).unwrap();
    ledger.execute_batch("PRAGMA writable_schema = RESET").unwrap();
    drop(ledger);
    drop(ana);
    let world = world.closed().await.opened().await;
    let (_, edited) = world.broker.soundness().await.unwrap();
    assert!(edited.iter().any(|what| what.contains("does not agree with itself")), "{edited:?}");
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
