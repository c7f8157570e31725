//! Entries that are cut off, written in, hidden, or of another type.

use std::fs;

use keywright_testkit::{World, ask};

use crate::home::{audit, does_nothing, edit, report, used};

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
