//! Rows that somebody edited keep no credential alive, no work from being done, and nobody from deciding: what a column says that
//! no MAC covers, or what can't be read at all, is not what decides.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

use std::time::Duration;

use keywright_broker::ask::Ask;
use keywright_broker::record::Caller;
use keywright_broker::trace::KeyFilter;
use keywright_core::plan::Principal;
use keywright_core::receipt::Status;
use keywright_sandbox::{Fault, FaultKind};
use keywright_testkit::{World, ask};

fn edit(world: &World, sql: &str) {
    let ledger = rusqlite::Connection::open(world.home.join("ledger.db")).unwrap();
    ledger.busy_timeout(Duration::from_secs(10)).unwrap();
    ledger.execute_batch(&format!("PRAGMA foreign_keys = OFF; {sql}")).unwrap();
}

fn state_of(world: &World, name: &str) -> String {
    let ledger = rusqlite::Connection::open(world.home.join("ledger.db")).unwrap();
    ledger.query_row("SELECT state FROM keys WHERE name = $1", [name], |row| row.get(0)).unwrap()
}

fn living(world: &World) -> usize {
    world.sandbox.live_tokens_named_like("kw-").len()
}

fn ana() -> Caller {
    Caller::plain(Principal::Operator("ana".parse().unwrap()))
}

async fn pass(world: &World, seconds: i64) {
    let by = jiff::SignedDuration::from_secs(seconds);
    world.clock.advance(by);
    world.sandbox.advance_clock(by.unsigned_abs());
    world.broker.tick().await.unwrap();
}

/// `CF_TOKEN` lives in its second version, and `OLD_TOKEN` was revoked.
async fn lived_in() -> World {
    let world = World::new().await;
    for name in ["CF_TOKEN", "OLD_TOKEN"] {
        world.request(&ask("example.com", name)).await.unwrap();
    }
    world.broker.revoke(&ana(), "OLD_TOKEN", "done").await.unwrap();
    world.broker.rotate(&ana(), "CF_TOKEN", "it is time", Duration::from_secs(20)).await.unwrap();
    for _ in 0..40 {
        pass(&world, 3_600).await;
    }
    assert_eq!(living(&world), 1, "the version before is gone");
    world
}

/// What makes the rows of a key say that it is over, or nothing at all.
const OF_A_KEY: &[&str] = &[
    "UPDATE versions SET fingerprint = 'x' WHERE number = 1",
    "UPDATE versions SET fingerprint = 'x' WHERE number = 2",
    "UPDATE versions SET fingerprint = 'x'",
    "UPDATE versions SET state = 'zz'",
    "UPDATE keys SET state = 'zz' WHERE name = 'CF_TOKEN'",
    "UPDATE keys SET state = 'zz'; UPDATE versions SET state = -1; UPDATE attempts SET outcome = 'zz'",
    "UPDATE keys SET state = 'revoked'; UPDATE versions SET state = 'revoked'; UPDATE attempts SET outcome = 'absent_so_far'",
    "UPDATE keys SET state = 'failed'; UPDATE versions SET state = 'revoked'; UPDATE attempts SET outcome = 'swept'",
    "DELETE FROM versions; UPDATE keys SET state = 'revoked'",
    "DELETE FROM versions WHERE number = 2",
    "DELETE FROM attempts",
    "UPDATE requests SET status = 'expired', reasons = 7, key_id = 9, entry = 'x'",
    "UPDATE placements SET state = 'zz', verified = 'zz', change = 'zz'",
    "INSERT INTO revocations (id, connection, provider_key_id, key_id, reason, owed_since, tries, mac) \
     SELECT 'rev_' || id, 'cf', id, id, 'x', 0, 0, zeroblob(32) FROM keys",
    "INSERT INTO sagas (id, kind, request, key_id, digest, phase, attempt, fence, due_at, tries, created_at, mac) \
     SELECT 'sag_' || id, 'rotate', request, id, 'x', 'intent', 'x', 0, 1, 0, 9e12, zeroblob(32) FROM keys",
];

#[tokio::test]
async fn a_key_ends_when_an_operator_says_so_whatever_its_rows_say() {
    for damage in OF_A_KEY {
        let world = lived_in().await;
        edit(&world, damage);
        let revoked = world.broker.revoke(&ana(), "CF_TOKEN", "it leaked").await;
        assert_eq!(living(&world), 0, "{damage}: {revoked:?}");
        assert!(revoked.is_ok(), "{damage}: {revoked:?}");
        // What is gone already, and counts as alive, is looked for twice.
        pass(&world, 121).await;
        let state = state_of(&world, "CF_TOKEN");
        assert_eq!(state, "revoked", "{damage}");
    }
}

#[tokio::test]
async fn everything_of_an_agent_ends_whatever_the_rows_of_one_key_say() {
    for damage in OF_A_KEY {
        let world = lived_in().await;
        world.request(&ask("example.com", "OTHER_TOKEN")).await.unwrap();
        edit(&world, damage);
        let torn = world.broker.teardown(&ana(), &"web".parse().unwrap()).await;
        assert_eq!(living(&world), 0, "{damage}: {torn:?}");
    }
}

/// What makes the rows of one thing unreadable, beside which others wait for work.
const BESIDE: &[&str] = &[
    "",
    "UPDATE revocations SET tries = -1",
    "UPDATE revocations SET tries = 'zz', due_at = 'zz', sent_at = 'zz', missing_since = 'zz', trouble = 7",
    "UPDATE revocations SET done_at = 'zz'",
    "UPDATE versions SET state = 'zz', missing_since = 'zz', back_at = 'zz'",
    "UPDATE keys SET disabled_at = 'zz', rotate_at = 'zz', rotate_tries = 'zz', rotate_trouble = 7",
    "UPDATE attempts SET outcome = 'zz', sent_at = 'zz', expires_at = 'zz', provider_key_id = 7",
    "UPDATE requests SET reasons = 'zz', key_id = 'zz', entry = 'zz', risk = 'zz'",
    "UPDATE requests SET entry = -1, risk = 1e300",
    "UPDATE placements SET state = 'zz', verified = 'zz', change = 'zz', store_version = 7",
    "INSERT INTO parents (id, connection, marker, parent, beside, sent_at, phase, due_at, fence, tries, mac) \
     VALUES ('x', 'cf', 'x', 'x', 'x', 1, 'sent', 1, 0, 0, zeroblob(32))",
    "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 60) \
     INSERT INTO sagas (id, kind, request, key_id, digest, phase, attempt, fence, due_at, tries, created_at, mac) \
     SELECT CASE i WHEN 1 THEN 'x' ELSE printf('sag_%032x', i) END, 'mint', 'req' || i, 'key' || i, 'x', 'intent', 'x', 0, 1, 0, 1, \
     zeroblob(32) FROM n",
];

#[tokio::test]
async fn what_cannot_be_read_of_some_rows_keeps_nothing_else_from_being_done() {
    for damage in BESIDE {
        let world = lived_in().await;
        // Something is owed, something waits for a human.
        let down = FaultKind::Status { status: 503, retry_after: None };
        let delete = Fault::on("DELETE", "/accounts/*/tokens/*", down);
        world.sandbox.inject(delete.times(100_000)).unwrap();
        world.request(&ask("example.com", "OWED_TOKEN")).await.unwrap();
        world.broker.revoke(&ana(), "OWED_TOKEN", "it leaked").await.unwrap();
        let waiting = Ask { environment: "production".to_owned(), ..ask("example.com", "WAITS") };
        let waits = world.request(&waiting).await.unwrap();
        assert_eq!(waits.status, Status::PendingApproval);
        // And the version before of a rotation waits for quiet.
        world.broker.rotate(&ana(), "CF_TOKEN", "once more", Duration::from_secs(20)).await.unwrap();
        assert_eq!(living(&world), 3);
        edit(&world, damage);
        world.sandbox.clear_faults();
        world.broker.reconcile().await.unwrap_or_else(|error| panic!("{damage}: {error}"));
        let inbox = world.broker.inbox().await.unwrap_or_else(|error| panic!("{damage}: {error}"));
        assert_eq!(inbox.len(), 1, "{damage}");
        let keys = world.broker.keys(&ana().principal, KeyFilter::default()).await;
        assert!(keys.is_ok_and(|keys| keys.len() >= 3), "{damage}");
        for _ in 0..40 {
            pass(&world, 3_601).await;
        }
        assert_eq!(living(&world), 1, "{damage}: the debt is paid, and the rotation over");
    }
}
