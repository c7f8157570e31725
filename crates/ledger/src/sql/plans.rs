//! Whatever a tick or a deed looks for is found by an index, however many keys there are.

use std::cell::RefCell;

use keywright_core::id::{AttemptId, KeyId, RequestId, VersionId};

use super::{Engine, RowKey, Sqlite, Tx, Value};
use crate::AuditFilter;
use crate::error::Result;

thread_local! {
    /// How SQLite goes about each query since the last look.
    static PLANS: RefCell<Vec<String>> = const { RefCell::new(Vec::new()) };
}

/// Keeps what SQLite says of a query.
pub(super) fn explain(engine: &Engine, sql: &str, parameters: &[Value]) -> Result<()> {
    for row in engine.query(&format!("EXPLAIN QUERY PLAN {sql}"), parameters)? {
        let step = row.text(3)?.to_owned();
        PLANS.with_borrow_mut(|plans| plans.push(step));
    }
    Ok(())
}

#[test]
fn what_is_looked_for_often_is_found_without_looking_at_everything() {
    let engine = Engine::Sqlite(Sqlite::in_memory().unwrap());
    crate::migrations::migrate(&engine).unwrap();
    let (now, rows) = (jiff::Timestamp::UNIX_EPOCH, RowKey::new());
    let tx = Tx::new(&engine, now, &rows);
    let (key, request) = (KeyId::generate(now, [1; 10]), RequestId::generate(now, [1; 10]));
    let (attempt, version) = (AttemptId::generate(now, [1; 10]), VersionId::generate(now, [1; 10]));
    let name = "KEY".parse().unwrap();
    type Look<'a> = (&'a str, Box<dyn Fn() -> Result<()> + 'a>);
    let looks: Vec<Look<'_>> = vec![
        ("keys_to_rotate", Box::new(|| tx.keys_to_rotate(1, &[]).map(drop))),
        ("sagas_due", Box::new(|| tx.sagas_due(1, &crate::tables::sagas::Besides::default()).map(drop))),
        ("keys_expired", Box::new(|| tx.keys_expired().map(drop))),
        ("revocations_due", Box::new(|| tx.revocations_due(1, &[]).map(drop))),
        ("placements_left", Box::new(|| tx.placements_left(now, now, &[]).map(drop))),
        ("has_unmarked_copies", Box::new(|| tx.has_unmarked_copies().map(drop))),
        ("attempts_to_sweep", Box::new(|| tx.attempts_to_sweep().map(drop))),
        ("requests_approved", Box::new(|| tx.requests_approved().map(drop))),
        ("requests_overdue", Box::new(|| tx.requests_overdue().map(drop))),
        ("saga_of", Box::new(|| tx.saga_of(request).map(drop))),
        ("saga_under_way", Box::new(|| tx.saga_under_way(key).map(drop))),
        ("revocations_of", Box::new(|| tx.revocations_of(key).map(drop))),
        ("keys_named", Box::new(|| tx.keys_named(&name).map(drop))),
        ("versions", Box::new(|| tx.versions(key).map(drop))),
        ("version_of", Box::new(|| tx.version_of(attempt).map(drop))),
        ("placements", Box::new(|| tx.placements(key).map(drop))),
        ("drains", Box::new(|| tx.drains(key).map(drop))),
        ("tellings", Box::new(|| tx.tellings(key).map(drop))),
        ("holds_of", Box::new(|| tx.holds_of(version).map(drop))),
        ("requests_of_key", Box::new(|| tx.requests_of_key(key).map(drop))),
        ("requests_between", Box::new(|| tx.requests_between("agent", "bot", now, None).map(drop))),
        ("requests_pending", Box::new(|| tx.requests_pending("agent", "bot").map(drop))),
        ("requests_waiting_of", Box::new(|| tx.requests_waiting_of("agent", "bot").map(drop))),
        ("keys_of_agent", Box::new(|| tx.keys_of_agent(&"bot".parse().unwrap()).map(drop))),
        ("grants_of", Box::new(|| tx.grants_of(&"bot".parse().unwrap()).map(drop))),
        ("grant_use", Box::new(|| tx.grant_use(request).map(drop))),
        ("pending_twin", Box::new(|| tx.pending_twin("agent", "bot", &[0; 32]).map(drop))),
        (
            "request_by_idempotency_key",
            Box::new(|| tx.request_by_idempotency_key("agent", "bot", "k").map(drop)),
        ),
        ("requests_inbox", Box::new(|| tx.requests_inbox(None, 50).map(drop))),
        (
            "requests_inbox, further down",
            Box::new(|| {
                let after = crate::InboxPlace { risk: 1, created_at: now, id: request };
                tx.requests_inbox(Some(after), 50).map(drop)
            }),
        ),
        (
            "requests_inbox, backwards",
            Box::new(|| {
                let place = crate::InboxPlace { risk: 1, created_at: now, id: request };
                tx.requests_inbox_before(place, 50)?;
                tx.requests_inbox_last(50).map(drop)
            }),
        ),
        ("inbox_place", Box::new(|| tx.inbox_place(request).map(drop))),
        ("requests_approved_by", Box::new(|| tx.requests_approved_by(&"ana".parse().unwrap()).map(drop))),
        (
            "requests_of",
            Box::new(|| {
                let agent = keywright_core::plan::Principal::Agent("bot".parse().unwrap());
                tx.requests_of(&agent, 50).map(drop)
            }),
        ),
        ("keys_sought", Box::new(|| tx.keys_sought(&crate::KeysSought::default(), 50).map(drop))),
        (
            "keys_sought, those owed",
            Box::new(|| {
                let sought = crate::KeysSought { stands: Some(crate::Stands::Owed), ..Default::default() };
                tx.keys_sought(&sought, 50).map(drop)
            }),
        ),
        (
            "keys_sought, those late",
            Box::new(|| {
                let sought = crate::KeysSought { stands: Some(crate::Stands::Late), ..Default::default() };
                tx.keys_sought(&sought, 50).map(drop)
            }),
        ),
        ("keys_of", Box::new(|| tx.keys_of(&"bot".parse().unwrap(), 50).map(drop))),
        ("rotations_failing", Box::new(|| tx.rotations_failing().map(drop))),
        ("drains_late", Box::new(|| tx.drains_late().map(drop))),
        ("requests_high", Box::new(|| tx.requests_high().map(drop))),
        ("notices_due", Box::new(|| tx.notices_due(1, &[]).map(drop))),
        ("tellings_failing", Box::new(|| tx.tellings_failing().map(drop))),
        ("sagas_open", Box::new(|| tx.sagas_open().map(drop))),
        ("revocations_count", Box::new(|| tx.revocations_count().map(drop))),
        ("attempts_uncertain", Box::new(|| tx.attempts_uncertain().map(drop))),
        ("embedded_current", Box::new(|| tx.embedded_current("p").map(drop))),
        ("audit_at", Box::new(|| tx.audit_at(7).map(drop))),
        ("last_read", Box::new(|| tx.last_read(key).map(drop))),
        ("keys_failing", Box::new(|| tx.keys_failing(10).map(drop))),
        ("sealed_of", Box::new(|| tx.sealed_of("o").map(drop))),
    ];
    // Indexes that hold nothing but what is open.
    let mut open = vec![
        "sagas_due",
        "revocations_due",
        "revocations_owed",
        "attempts_to_sweep",
        "drains_late",
        "notices_due",
        "keys_failing",
        // In the order of ids, and as many as a page has.
        "sqlite_autoindex_keys_1",
    ];
    // What is in force, once at a start.
    open.push("placements_in_force");
    for (what, look) in looks {
        look().unwrap();
        let plan = PLANS.with_borrow_mut(std::mem::take);
        assert!(!plan.is_empty(), "{what} asks nothing");
        for step in plan.iter().filter(|step| step.starts_with("SCAN")) {
            let is_small = open.iter().any(|index| step.ends_with(&format!("INDEX {index}")))
                || step.starts_with("SCAN CONSTANT");
            assert!(is_small, "{what}: {plan:#?}");
        }
        // A state that nearly all come to have is no way to find one of them.
        let asks_for_it = [
            "requests_approved",
            "requests_overdue",
            "requests_inbox",
            "requests_inbox, backwards",
            "requests_high",
        ]
        .contains(&what)
            || what == "requests_approved_by";
        let by_state = plan.iter().any(|step| step.ends_with("(status=?)") || step.ends_with("(state=?)"));
        assert!(asks_for_it || !by_state, "{what}: {plan:#?}");
    }
}

#[test]
fn the_keys_of_tomorrow_are_looked_for_among_versions_and_not_among_all_that_are_due_later() {
    let engine = Engine::Sqlite(Sqlite::in_memory().unwrap());
    crate::migrations::migrate(&engine).unwrap();
    let (now, rows) = (jiff::Timestamp::UNIX_EPOCH, RowKey::new());
    let tx = Tx::new(&engine, now, &rows);
    tx.keys_to_rotate(1, &[]).unwrap();
    let plan = PLANS.with_borrow_mut(std::mem::take);
    let of_keys: Vec<_> = plan.iter().filter(|step| step.starts_with("SEARCH keys ")).collect();
    assert!(of_keys[0].ends_with("INDEX keys_to_rotate (rotate_at<?)"), "{plan:#?}");
    assert!(of_keys[1].ends_with("(id=?)"), "{plan:#?}");
    assert!(plan.iter().any(|step| step.ends_with("INDEX versions_ahead (created_at>?)")), "{plan:#?}");
    tx.is_to_rotate(KeyId::generate(now, [1; 10])).unwrap();
    let plan = PLANS.with_borrow_mut(std::mem::take);
    assert!(
        plan.iter().all(|step| !step.contains("versions_ahead") && !step.contains("rotate_at")),
        "{plan:#?}"
    );
}

#[test]
fn the_entries_about_a_key_or_a_request_are_found_without_reading_the_log() {
    let engine = Engine::Sqlite(Sqlite::in_memory().unwrap());
    crate::migrations::migrate(&engine).unwrap();
    let (now, rows) = (jiff::Timestamp::UNIX_EPOCH, RowKey::new());
    let tx = Tx::new(&engine, now, &rows);
    let of_key = AuditFilter { key: Some(KeyId::generate(now, [1; 10])), ..AuditFilter::default() };
    let of_request =
        AuditFilter { request: Some(RequestId::generate(now, [1; 10])), ..AuditFilter::default() };
    for (filter, index) in [(of_key, "audit_by_key"), (of_request, "audit_by_request")] {
        for newest_first in [false, true] {
            tx.audit_entries(&AuditFilter { newest_first, ..filter.clone() }).unwrap();
            let plan = PLANS.with_borrow_mut(std::mem::take);
            assert!(plan.iter().any(|step| step.contains(&format!("INDEX {index} "))), "{plan:#?}");
        }
    }
}

#[test]
fn a_row_is_deleted_without_looking_through_those_that_may_refer_to_it() {
    // Both engines look for the rows that refer to one that goes, and no plan of a statement says how.
    let losing = [
        "sealed_values",
        "embedded_values",
        "consumers",
        "connections",
        "stores",
        "holds",
        "claims",
        "channels",
    ];
    let few = ["connections", "stores", "consumers", "channels"];
    let engine = Engine::Sqlite(Sqlite::in_memory().unwrap());
    crate::migrations::migrate(&engine).unwrap();
    let references = "SELECT m.name, f.\"table\", f.\"from\" FROM sqlite_schema m JOIN pragma_foreign_key_list(m.name) f \
                      WHERE m.type = 'table'";
    let first_columns = "SELECT m.name, c.name FROM sqlite_schema m JOIN pragma_index_list(m.name) i \
                         JOIN pragma_index_info(i.name) c ON c.seqno = 0 WHERE m.type = 'table' AND i.partial = 0";
    let indexed = engine.query(first_columns, &[]).unwrap();
    let mut looked_at = 0;
    for reference in engine.query(references, &[]).unwrap() {
        let (table, to, column) =
            (reference.text(0).unwrap(), reference.text(1).unwrap(), reference.text(2).unwrap());
        if losing.contains(&to) && !few.contains(&table) {
            looked_at += 1;
            let found =
                indexed.iter().any(|row| (row.text(0).unwrap(), row.text(1).unwrap()) == (table, column));
            assert!(found, "each row that goes out of `{to}` reads all of `{table}` for its `{column}`");
        }
    }
    assert_ne!(looked_at, 0, "nothing refers to what is deleted");
}
