//! What somebody makes of the ledger's file who may write it: an agent with a shell, say, under the same user.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

use std::time::Duration;

use keywright_broker::ask::Ask;
use keywright_broker::deliver::{Reader, Wanted};
use keywright_broker::{BrokerError, Code};
use keywright_core::receipt::Status;
use keywright_testkit::{World, ask};

/// What changes while the broker works; the rest of each row never does.
const CHANGES: &[(&str, &[&str])] = &[
    ("connections", &[]),
    ("stores", &[]),
    ("consumers", &[]),
    ("channels", &["told_at", "failed_at", "failures", "trouble"]),
    ("notices", &["state", "turn", "tries", "due_at", "failing_since", "told_at", "trouble"]),
    ("tellings", &["state", "tries", "due_at", "told_at", "trouble"]),
    ("proposals", &["state", "decided_by", "reason"]),
    ("requests", &["status", "reasons", "key_id", "entry", "decided_at", "risk", "narrowed"]),
    ("keys", &["state", "rotate_at", "rotate_tries", "rotate_trouble", "disabled_at"]),
    ("attempts", &["sent_at", "outcome", "provider_key_id", "expires_at", "sweep_at", "absent_seen"]),
    ("versions", &["state", "created_at", "missing_since", "missing_look_at", "back_at"]),
    ("placements", &["store_version", "verified", "state", "change", "doubted_at", "updated_at", "ends_at"]),
    ("embedded_values", &["written_at"]),
    (
        "sagas",
        &[
            "phase",
            "attempt",
            "fence",
            "owner",
            "lease_until",
            "due_at",
            "tries",
            "trouble",
            "ends",
            "created_at",
        ],
    ),
    (
        "drains",
        &[
            "looked_at",
            "last_used_at",
            "counted_since",
            "usage_tokens",
            "usage_microusd",
            "grew_at",
            "seen_by_us_at",
            "alerted_at",
            "disabled_at",
            "word",
        ],
    ),
    ("holds", &["seen_at", "seen_by"]),
    // Whoever hides one has it count for nothing; none comes back.
    ("grants", &["removed_at", "used", "used_at"]),
    ("grant_uses", &[]),
    ("revocations", &["due_at", "tries", "trouble", "done_at", "entry", "sent_at", "missing_since"]),
    (
        "parents",
        &["phase", "tries", "trouble", "due_at", "ended_at", "owner", "fence", "lease_until", "switched_at"],
    ),
];

fn file(world: &World) -> rusqlite::Connection {
    let ledger = rusqlite::Connection::open(world.home.join("ledger.db")).unwrap();
    ledger.busy_timeout(Duration::from_secs(10)).unwrap();
    ledger.execute_batch("PRAGMA foreign_keys = OFF").unwrap();
    ledger
}

fn edit(world: &World, sql: &str) {
    file(world).execute_batch(sql).unwrap();
}

fn one(world: &World, sql: &str) -> String {
    file(world).query_row(sql, [], |row| row.get(0)).unwrap()
}

fn outside<T>(result: Result<T, BrokerError>, why: &str) {
    let Err(error) = result else { panic!("believed: {why}") };
    assert!(error.message.contains("outside of Keywright"), "{why}: {error}");
}

/// A world with an age store that holds nothing, an active key `CF_TOKEN`, and one that was revoked.
async fn lived_in() -> World {
    let world = World::new().await;
    world.request(&ask("example.com", "CF_TOKEN")).await.unwrap();
    world.request(&ask("example.com", "OLD_TOKEN")).await.unwrap();
    world.broker.revoke(&World::agent("bot"), "OLD_TOKEN", "done").await.unwrap();
    let proposed = keywright_testkit::DNS_EDIT.replace("cloudflare/dns-edit", "cloudflare/other");
    world.broker.propose_template(&World::agent("bot"), &proposed, "for later").await.unwrap();
    world
}

/// A standing grant, and a key that it approved.
async fn grant(world: &World) {
    let ana = world.ana().await;
    world.broker.add_agent(&ana, &"bot".parse().unwrap()).await.unwrap();
    let new = keywright_broker::grants::NewGrant {
        agent: "bot".parse().unwrap(),
        template: "cloudflare/dns-edit".parse().unwrap(),
        project: "web".parse().unwrap(),
        environment: "lab".parse().unwrap(),
        parameters: [("zone".to_owned(), "example.com".to_owned())].into(),
        any_parameters: false,
        destinations: Vec::new(),
        directory: None,
        ttl_max: None,
        uses: Some(3),
        lasts: "7d".parse().unwrap(),
    };
    world.broker.add_grant(&ana, new).await.unwrap();
    let wish = Ask { environment: "lab".to_owned(), ..ask("example.com", "GRANTED") };
    assert_eq!(world.request(&wish).await.unwrap().status, Status::Active);
}

async fn two_approve(world: &World, name: &str) -> String {
    let ana = world.ana().await;
    let bo = "bo".parse().unwrap();
    let words = || keywright_core::secret::Secret::new("another passphrase".to_owned());
    world.broker.add_operator(&ana, &bo, words()).await.unwrap();
    let bo = world.broker.operator(Some(&bo), words()).await.unwrap();
    let wish = Ask { environment: "production".to_owned(), ..ask("example.com", name) };
    let id = world.request(&wish).await.unwrap().request.to_string();
    let digest = one(world, &format!("SELECT digest FROM requests WHERE id = '{id}'"));
    for operator in [&ana, &bo] {
        let wait = Duration::from_secs(20);
        world.broker.approve(operator, &id, &digest, &<_>::default(), wait).await.unwrap();
    }
    id
}

#[tokio::test]
async fn every_column_that_never_changes_is_held_against_the_rows_mac() {
    let world = lived_in().await;
    grant(&world).await;
    let ana = world.ana().await;
    let store = keywright_broker::admin::NewStore {
        name: "files".parse().unwrap(),
        kind: "dotenv".parse().unwrap(),
        address: None,
        extra: <_>::default(),
        credential: None,
    };
    world.broker.add_store(&ana, store).await.unwrap();
    let consumer = keywright_broker::consumers::NewConsumer {
        name: "app".parse().unwrap(),
        uses: keywright_core::consumer::Uses {
            project: "web".parse().unwrap(),
            environment: None,
            names: "*".parse().unwrap(),
        },
        way: keywright_broker::consumers::Way::Command(vec!["/bin/true".to_owned()]),
        patience: keywright_broker::consumers::PATIENCE,
    };
    world.broker.add_consumer(&ana, consumer).await.unwrap();
    let channel = keywright_broker::notify::NewChannel {
        name: "mail".parse().unwrap(),
        kind: keywright_core::channel::ChannelKind::Email,
        settings: [("server", "smtp://127.0.0.1:9"), ("from", "a@b.example"), ("to", "c@d.example")]
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .into(),
        rules: keywright_core::channel::Rules {
            after: None,
            remind: None,
            quiet: None,
            is_urgent: false,
            with_purpose: false,
        },
        credential: None,
    };
    world.broker.add_channel(&ana, channel).await.unwrap();
    let wish = Ask { environment: "production".to_owned(), ..ask("example.com", "WAITS") };
    world.request(&wish).await.unwrap();
    let holder = keywright_broker::holds::Holder { word: "kwh_x".to_owned(), process: Some((1, 1)) };
    let wanted = Wanted {
        project: Some("web".parse().unwrap()),
        environment: Some("dev".parse().unwrap()),
        holder: Some(holder),
        ..Wanted::default()
    };
    world.broker.deliver(&Reader::Operator(&ana), wanted).await.unwrap();
    let wait = Duration::from_secs(20);
    world.broker.rotate(&World::agent("bot"), "CF_TOKEN", "now", wait).await.unwrap();
    world.broker.rotate_parent(&ana, &"cf".parse().unwrap()).await.unwrap();
    let (rows, edited) = world.broker.soundness().await.unwrap();
    assert!(rows >= 15 && edited.is_empty(), "{rows} {edited:?}");
    for (table, changes) in CHANGES {
        let ledger = file(&world);
        let columns: Vec<(String, String)> = ledger
            .prepare(&format!("SELECT name, type FROM pragma_table_info('{table}')"))
            .unwrap()
            .query_map([], |row| Ok((row.get(0)?, row.get(1)?)))
            .unwrap()
            .map(Result::unwrap)
            .collect();
        assert!(changes.iter().all(|column| columns.iter().any(|(name, _)| name == column)), "{table}");
        for (column, kind) in columns.iter().filter(|(name, _)| !changes.contains(&name.as_str())) {
            let other = match kind.as_str() {
                "BIGINT" => format!("COALESCE({column}, 0) + 1000 * rowid"),
                "BYTEA" => format!("zeroblob(length({column}))"),
                _ => format!("COALESCE({column}, '') || 'x' || rowid"),
            };
            let sql = format!(
                "CREATE TEMP TABLE kept AS SELECT * FROM {table}; UPDATE {table} SET {column} = {other}"
            );
            ledger.execute_batch(&sql).unwrap();
            let (_, edited) = world.broker.soundness().await.unwrap();
            assert!(!edited.is_empty(), "{table}.{column} can be edited");
            let back =
                format!("DELETE FROM {table}; INSERT INTO {table} SELECT * FROM kept; DROP TABLE kept");
            ledger.execute_batch(&back).unwrap();
        }
    }
    assert!(world.broker.soundness().await.unwrap().1.is_empty(), "as it was");
}

#[tokio::test]
async fn a_place_that_was_changed_gets_no_secret_and_the_key_is_revoked() {
    // The trigger stands in for somebody who is quick enough.
    let world = World::with_triggers(&[]).await;
    let folder = tempfile::tempdir().unwrap();
    let elsewhere = folder.path().join("live.env");
    let place = elsewhere.to_str().unwrap();
    edit(
        &world,
        &format!(
            "CREATE TRIGGER thief AFTER INSERT ON placements BEGIN UPDATE placements \
             SET store = 'dotenv', place = '{place}#X' WHERE id = NEW.id; END"
        ),
    );
    let wish = ask("example.com", "CF_TOKEN");
    let asked = world.broker.request(&World::agent("bot"), &wish, Duration::from_secs(5)).await;
    outside(asked, "a place that nobody decided");
    assert!(!elsewhere.exists());
    for _ in 0..100 {
        if world.sandbox.live_tokens_named_like("kw-").is_empty() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("the key lives on");
}

#[tokio::test]
async fn a_value_opens_for_its_own_placement_only() {
    let world = lived_in().await;
    let ana = world.ana().await;
    let web = "web".parse().unwrap();
    let token = world.broker.add_workload(&ana, &"app".parse().unwrap(), &web, None).await.unwrap();
    let app = world.broker.workload(&token).await.unwrap();
    let read = async || world.broker.deliver(&Reader::Workload(&app), Wanted::default()).await;
    assert_eq!(read().await.unwrap().len(), 1);
    let sealed = one(&world, "SELECT sealed FROM embedded_values");
    edit(&world, "UPDATE embedded_values SET sealed = (SELECT credential FROM connections)");
    outside(read().await, "the parent credential in the place of the key");
    edit(&world, &format!("UPDATE embedded_values SET sealed = '{sealed}'"));
    // The same without touching a row that is vouched for.
    edit(
        &world,
        "UPDATE sealed_values SET (owner, data_key_sealed, value_sealed) = (SELECT owner, data_key_sealed, value_sealed \
         FROM sealed_values WHERE id = (SELECT credential FROM connections)) \
         WHERE id = (SELECT sealed FROM embedded_values)",
    );
    assert!(read().await.is_err(), "the parent credential under the id of the key's value");
}

#[tokio::test]
async fn a_key_that_was_moved_to_another_project_is_delivered_to_nobody() {
    let world = lived_in().await;
    let ana = world.ana().await;
    let evil = "evil".parse().unwrap();
    let token = world.broker.add_workload(&ana, &"app".parse().unwrap(), &evil, None).await.unwrap();
    let app = world.broker.workload(&token).await.unwrap();
    edit(&world, "UPDATE keys SET project = 'evil', agent = 'mallory'");
    let read = world.broker.deliver(&Reader::Workload(&app), Wanted::default()).await;
    assert!(read.is_ok_and(|read| read.is_empty()));
    let revoked = world.broker.revoke(&World::agent("mallory"), "CF_TOKEN", "mine now").await;
    assert_eq!(revoked.unwrap_err().code, Code::NotFound);
}

#[tokio::test]
async fn a_store_that_was_written_into_the_ledger_is_none() {
    let world = World::new().await;
    let folder = tempfile::tempdir().unwrap();
    let extra = format!("{{\"root\":\"{}\"}}", folder.path().display());
    edit(
        &world,
        &format!(
            "INSERT INTO stores (name, kind, extra, added_at, mac) VALUES ('dotenv', 'dotenv', '{extra}', 0, zeroblob(32))"
        ),
    );
    outside(world.broker.stores().await, "a row that shadows a store of every home");
    edit(&world, "UPDATE stores SET name = 'vlt'");
    outside(world.broker.stores().await, "a row of a store that nobody added");
}

#[tokio::test]
async fn a_plan_that_was_changed_after_it_was_asked_is_neither_shown_nor_approved() {
    let world = World::new().await;
    let wish = Ask { environment: "production".to_owned(), ..ask("example.com", "PROD") };
    let id = world.request(&wish).await.unwrap().request.to_string();
    let other = world.sandbox.zones().iter().find(|zone| zone.name != "example.com").unwrap().id.clone();
    let zone = world.sandbox.zones().iter().find(|zone| zone.name == "example.com").unwrap().id.clone();
    edit(&world, &format!("UPDATE requests SET plan = replace(plan, '{zone}', '{other}')"));
    outside(world.broker.review(&id, &<_>::default()).await, "another zone");
    let digest = one(&world, "SELECT digest FROM requests");
    let ana = world.ana().await;
    let given = world.broker.approve(&ana, &id, &digest, &<_>::default(), Duration::ZERO).await;
    outside(given, "an approval of another zone");
}

#[tokio::test]
async fn rows_that_are_no_approvals_hide_no_request_and_keep_nobody_from_approving() {
    let world = World::new().await;
    let wish = Ask { environment: "production".to_owned(), ..ask("example.com", "PROD") };
    let id = world.request(&wish).await.unwrap().request.to_string();
    let digest = one(&world, "SELECT digest FROM requests");
    // One that can't be read, and one that reads well and is of nobody.
    for (at, (operator, signature)) in
        [("ana", "07".repeat(64)), ("bo", "00".to_owned())].into_iter().enumerate()
    {
        let junk = format!(
            "INSERT INTO approvals (id, request, operator, digest, given_at, expires_at, signature) SELECT \
             'apr_0197000000007000800000000000000{at}', id, '{operator}', digest, created_at, expires_at, x'{signature}' \
             FROM requests WHERE id = '{id}'"
        );
        edit(&world, &junk);
    }
    // And one whose id is none; there is one place for each operator.
    edit(&world, "UPDATE approvals SET id = x'6162' WHERE operator = 'ana'");
    let inbox = world.broker.inbox_part(None, 10).await.unwrap();
    assert_eq!(inbox.waiting.len(), 1);
    let ana = world.ana().await;
    let given = world.broker.approve(&ana, &id, &digest, &<_>::default(), Duration::ZERO).await.unwrap();
    assert_eq!((given.status, given.approvals.given), (Status::PendingApproval, 1));
    let again = world.broker.approve(&ana, &id, &digest, &<_>::default(), Duration::ZERO).await;
    assert_eq!(again.unwrap_err().code, Code::Conflict, "hers counts once");
}

#[tokio::test]
async fn approvals_that_were_used_make_no_second_key() {
    let world = World::new().await;
    let id = two_approve(&world, "PROD").await;
    let ana = world.ana().await;
    assert_eq!(world.sandbox.live_tokens_named_like("kw-").len(), 1);
    world.broker.revoke(&ana.caller(), "PROD", "done").await.unwrap();
    assert!(world.sandbox.live_tokens_named_like("kw-").is_empty());
    drop(ana);
    // All that says that it is over is put back to how it was before the create.
    edit(
        &world,
        &format!(
            "UPDATE approvals SET used_at = NULL; UPDATE requests SET status = 'in_progress' WHERE id = '{id}'; \
             UPDATE keys SET state = 'minting'; UPDATE attempts SET outcome = 'unsent', sent_at = NULL; \
             UPDATE sagas SET phase = 'intent', due_at = 1, lease_until = NULL, owner = NULL; \
             DELETE FROM versions; DELETE FROM placements; DELETE FROM revocations"
        ),
    );
    let world = world.restart().await;
    for _ in 0..3 {
        world.broker.tick().await.unwrap();
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    assert!(world.sandbox.live_tokens_named_like("kw-").is_empty(), "no second key");
}

#[tokio::test]
async fn a_version_that_names_another_credential_revokes_nothing() {
    let world = lived_in().await;
    let all = world.sandbox.live_tokens_named_like("");
    let parent = &all.iter().find(|token| !token.name.starts_with("kw-")).unwrap().id;
    edit(&world, &format!("UPDATE versions SET provider_key_id = '{parent}' WHERE state = 'active'"));
    let revoked = world.broker.revoke(&World::agent("bot"), "CF_TOKEN", "done").await.unwrap();
    assert_eq!((revoked.status, living(&world)), (Status::Revoked, 0), "what the log says was made for it");
    world.broker.check_connection(&"cf".parse().unwrap()).await.unwrap();
}

#[tokio::test]
async fn a_debt_that_was_forged_as_paid_is_owed_all_the_same() {
    let world = lived_in().await;
    edit(
        &world,
        "INSERT INTO revocations (id, connection, provider_key_id, reason, owed_since, tries, done_at, mac) \
         SELECT 'rev_00000000000000000000000000000001', 'cf', provider_key_id, 'x', 0, 0, 1, zeroblob(32) \
         FROM versions WHERE state = 'active'",
    );
    let revoked = world.broker.revoke(&World::agent("bot"), "CF_TOKEN", "done").await.unwrap();
    assert_eq!(revoked.status, Status::Revoked);
    assert!(world.sandbox.live_tokens_named_like("kw-").is_empty());
}

#[tokio::test]
async fn a_key_that_is_said_to_be_revoked_and_lives_is_revoked() {
    let world = lived_in().await;
    edit(&world, "UPDATE keys SET state = 'revoked'");
    let found = world.broker.reconcile().await.unwrap();
    assert_eq!((found.owned, found.orphans.len()), (0, 1));
    assert!(world.sandbox.live_tokens_named_like("kw-").is_empty());
}

#[tokio::test]
async fn a_log_whose_files_are_gone_is_signed_again_only_once_an_operator_accepts_it() {
    let world = lived_in().await.closed().await;
    let home = world.ledger().parent().unwrap().to_owned();
    let cut = rusqlite::Connection::open(world.ledger()).unwrap();
    cut.execute_batch(
        "DELETE FROM audit_entries WHERE number > (SELECT MAX(number) - 3 FROM audit_entries); DELETE FROM checkpoints",
    )
    .unwrap();
    drop(cut);
    std::fs::remove_dir_all(home.join("audit")).unwrap();
    let world = world.opened().await;
    let refused = world.request(&ask("example.com", "NEW_TOKEN")).await.unwrap_err();
    assert_eq!(refused.code, Code::Conflict, "{refused}");
    assert!(refused.hint.as_ref().unwrap().contains("audit accept"), "{refused:?}");
    let ana = world.ana().await;
    world.broker.accept_audit(&ana).await.unwrap();
    world.request(&ask("example.com", "NEW_TOKEN")).await.unwrap();
    let again = world.broker.accept_audit(&ana).await.unwrap_err();
    assert_eq!(again.code, Code::Conflict, "there is nothing to accept");
}

#[tokio::test]
async fn a_key_whose_row_is_gone_or_edited_is_revoked_and_reconciling_goes_on() {
    for damage in
        ["DELETE FROM keys WHERE state = 'active'", "UPDATE keys SET project = 'evil' WHERE state = 'active'"]
    {
        let world = lived_in().await;
        edit(&world, damage);
        let found = world.broker.reconcile().await.unwrap();
        assert_eq!((found.owned, found.orphans.len()), (0, 1), "{damage}");
        assert!(world.sandbox.live_tokens_named_like("kw-").is_empty(), "{damage}");
        assert_eq!(world.broker.reconcile().await.unwrap().orphans.len(), 0, "{damage}");
    }
}

#[tokio::test]
async fn what_is_written_into_the_schema_does_not_run_and_is_named_at_the_next_start() {
    for (what, sql) in [
        ("`thief`", "CREATE TRIGGER thief BEFORE INSERT ON audit_entries BEGIN SELECT RAISE(IGNORE); END"),
        ("`seen`", "CREATE VIEW seen AS SELECT * FROM keys"),
        ("`spare`", "CREATE TABLE spare (name TEXT)"),
        ("`one_key`", "CREATE UNIQUE INDEX one_key ON keys (name)"),
    ] {
        let world = World::new().await;
        edit(&world, sql);
        let receipt = world.request(&ask("example.com", "CF_TOKEN")).await.unwrap();
        assert_eq!(receipt.status, Status::Active, "{what}");
        let before = world.broker.health().await.unwrap().audit_entries;
        assert_eq!(one(&world, "SELECT CAST(COUNT(*) AS TEXT) FROM audit_entries"), before.to_string());
        let world = world.restart().await;
        let refused = world.request(&ask("example.com", "NEW_TOKEN")).await.unwrap_err();
        assert!(
            refused.message.contains(what) && refused.message.contains("outside of Keywright"),
            "{refused}"
        );
        assert!(world.broker.health().await.unwrap().read_only.unwrap().contains(what));
        let revoked = world.broker.revoke(&World::agent("bot"), "CF_TOKEN", "done").await.unwrap();
        assert_eq!(revoked.status, Status::Revoked, "{what}");
    }
    let world = World::new().await;
    edit(&world, "DROP INDEX audit_by_key");
    let world = world.restart().await;
    let refused = world.request(&ask("example.com", "CF_TOKEN")).await.unwrap_err();
    assert!(refused.message.contains("`audit_by_key` is missing"), "{refused}");
}

#[tokio::test]
async fn a_template_under_another_id_is_none() {
    let world = World::new().await;
    let copied = "INSERT INTO templates SELECT 'cloudflare/zone-read', version, source, resolved, applied_by, signature, \
                  applied_at, retired_at FROM templates";
    edit(&world, copied);
    let wish = Ask { template: "cloudflare/zone-read".to_owned(), ..ask("example.com", "CF_TOKEN") };
    outside(world.request(&wish).await, "a template that was not applied under this id");
    let (_, edited) = world.broker.soundness().await.unwrap();
    assert!(edited.iter().any(|line| line.contains("template `cloudflare/zone-read`")), "{edited:?}");
    assert_eq!(world.broker.templates().await.unwrap().len(), 1);
}

#[tokio::test]
async fn a_proposal_that_was_changed_is_neither_shown_nor_applied() {
    let world = lived_in().await;
    let ana = world.ana().await;
    edit(&world, "UPDATE proposals SET source = replace(source, 'DNS Write', 'Zone Write')");
    let id = one(&world, "SELECT request FROM proposals");
    outside(world.broker.review(&id, &<_>::default()).await, "another source");
    let applied =
        world.broker.apply_proposal(&ana, &id, &one(&world, "SELECT source FROM proposals"), 1).await;
    outside(applied, "another source");
}

#[tokio::test]
async fn nothing_is_done_while_the_ledger_keeps_no_audit_entries() {
    let world = World::with_triggers(&[]).await;
    edit(&world, "CREATE TRIGGER silent BEFORE INSERT ON audit_entries BEGIN SELECT RAISE(IGNORE); END");
    assert!(world.request(&ask("example.com", "CF_TOKEN")).await.is_err());
    assert!(world.sandbox.live_tokens_named_like("kw-").is_empty());
}

#[tokio::test]
async fn a_debt_that_was_edited_to_be_paid_is_owed_again() {
    let edits = ["done_at = 1, due_at = NULL", "done_at = 200000000000000, due_at = NULL", "due_at = NULL"];
    for (edited, by_word) in edits.into_iter().flat_map(|edited| [(edited, false), (edited, true)]) {
        let world = lived_in().await;
        let down = keywright_sandbox::FaultKind::Status { status: 500, retry_after: None };
        let fault = keywright_sandbox::Fault::on("DELETE", "/accounts/*/tokens/*", down);
        world.sandbox.inject(fault.times(1_000)).unwrap();
        let bot = World::agent("bot");
        let owed = world.broker.revoke(&bot, "CF_TOKEN", "it leaked").await.unwrap();
        assert_eq!(owed.status, Status::InProgress);
        edit(&world, &format!("UPDATE revocations SET {edited} WHERE done_at IS NULL"));
        world.sandbox.clear_faults();
        if by_word {
            world.broker.revoke(&bot, "CF_TOKEN", "it leaked").await.unwrap();
        } else {
            world.broker.reconcile().await.unwrap();
        }
        assert!(world.sandbox.live_tokens_named_like("kw-").is_empty(), "{edited} {by_word}");
        let trace = world.broker.trace("CF_TOKEN").await.unwrap();
        assert_eq!(trace.key.state, keywright_core::key::KeyState::Revoked, "{edited} {by_word}");
    }
}

#[tokio::test]
async fn what_ended_with_its_connection_and_is_said_to_wait_is_not_made_through_another_of_its_name() {
    let world = World::new().await;
    let ana = world.ana().await;
    let wish = Ask { environment: "production".to_owned(), ..ask("example.com", "PROD") };
    let id = world.request(&wish).await.unwrap().request.to_string();
    let name = "cf".parse().unwrap();
    world.broker.remove_connection(&ana, &name).await.unwrap();
    world.clock.advance(jiff::SignedDuration::from_secs(60));
    let new = keywright_broker::admin::NewConnection {
        name,
        kind: "cloudflare".parse().unwrap(),
        base_url: Some(world.sandbox.base_url()),
        account: Some(world.sandbox.account_id().to_owned()),
        extra: std::collections::BTreeMap::new(),
        credential: keywright_core::secret::Secret::new(world.sandbox.parent_token().to_owned()),
    };
    world.broker.add_connection(&ana, new).await.unwrap();
    edit(&world, "UPDATE requests SET status = 'pending_approval'");
    let bo = "bo".parse().unwrap();
    let words = || keywright_core::secret::Secret::new("another passphrase".to_owned());
    world.broker.add_operator(&ana, &bo, words()).await.unwrap();
    let bo = world.broker.operator(Some(&bo), words()).await.unwrap();
    let digest = one(&world, &format!("SELECT digest FROM requests WHERE id = '{id}'"));
    world.broker.approve(&ana, &id, &digest, &<_>::default(), Duration::ZERO).await.unwrap();
    let refused = world.broker.approve(&bo, &id, &digest, &<_>::default(), Duration::from_secs(20)).await;
    let said = refused.map_or_else(|error| error.to_string(), |receipt| format!("{receipt:?}"));
    assert!(said.contains("was added anew since this was asked for"), "{said}");
    assert_eq!(living(&world), 0);
}

/// `CF_TOKEN` is revoked, and the provider is down.
async fn owed() -> World {
    let world = lived_in().await;
    let down = keywright_sandbox::FaultKind::Status { status: 503, retry_after: None };
    let fault = keywright_sandbox::Fault::on("DELETE", "/accounts/*/tokens/*", down);
    world.sandbox.inject(fault.times(100_000)).unwrap();
    let owed = world.broker.revoke(&World::agent("bot"), "CF_TOKEN", "it leaked").await.unwrap();
    assert_eq!(owed.status, Status::InProgress);
    world
}

fn living(world: &World) -> usize {
    world.sandbox.live_tokens_named_like("kw-").len()
}

async fn pass(world: &World, seconds: i64) {
    let by = jiff::SignedDuration::from_secs(seconds);
    world.clock.advance(by);
    world.sandbox.advance_clock(by.unsigned_abs());
    world.broker.tick().await.unwrap();
}

#[tokio::test]
async fn what_somebody_said_is_to_end_ends_though_its_debt_was_taken_out() {
    let world = owed().await;
    edit(
        &world,
        "DELETE FROM revocations WHERE done_at IS NULL; UPDATE versions SET state = 'revoked'; UPDATE keys SET state = 'revoked'",
    );
    world.sandbox.clear_faults();
    let found = world.broker.reconcile().await.unwrap();
    assert_eq!((found.lost.len(), found.orphans.len(), living(&world)), (0, 1, 0), "{found:?}");
}

#[tokio::test]
async fn a_version_that_is_said_to_be_over_and_was_never_to_end_is_left_alone() {
    let world = lived_in().await;
    edit(&world, "UPDATE versions SET state = 'revoked'");
    let found = world.broker.reconcile().await.unwrap();
    assert_eq!((found.lost.len(), found.orphans.len(), living(&world)), (1, 0, 1), "{found:?}");
}

#[tokio::test]
async fn a_debt_is_paid_once_though_its_keys_row_was_edited_and_is_not_tried_without_a_pause() {
    let world = owed().await;
    edit(&world, "UPDATE keys SET project = 'evil' WHERE state = 'revoking'");
    let calls = || world.sandbox.calls().iter().filter(|call| call.method == "DELETE").count();
    let before = calls();
    for _ in 0..20 {
        pass(&world, 1).await;
    }
    let tried = calls() - before;
    assert!(
        tried < 40,
        "each try is up to three calls, and each pause is longer than the one before: {tried}"
    );
    world.sandbox.clear_faults();
    pass(&world, 3_601).await;
    let after = calls();
    pass(&world, 3_601).await;
    assert_eq!((living(&world), calls()), (0, after), "it is paid, and that is on record");
}

#[tokio::test]
async fn rows_that_are_no_debts_keep_none_from_being_paid() {
    let world = owed().await;
    world.sandbox.clear_faults();
    edit(
        &world,
        "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 150) \
         INSERT INTO revocations (id, connection, provider_key_id, reason, owed_since, due_at, tries, mac) \
         SELECT printf('rev_%032d', i), 'cf', 'junk' || i, 'x', 0, 1, 0, zeroblob(32) FROM n",
    );
    pass(&world, 3_601).await;
    assert_eq!(living(&world), 0);
}

#[tokio::test]
async fn a_debt_that_was_put_off_is_tried_by_the_next_reconcile() {
    let world = owed().await;
    world.sandbox.clear_faults();
    edit(&world, "UPDATE revocations SET due_at = due_at + 6 * 86400000 WHERE done_at IS NULL");
    pass(&world, 60).await;
    assert_eq!(living(&world), 1, "or nothing is shown");
    world.broker.reconcile().await.unwrap();
    assert_eq!(living(&world), 0);
}

#[tokio::test]
async fn a_forged_debt_ends_nothing_that_was_gone_and_is_back() {
    let world = World::new().await;
    world.request(&ask("example.com", "CF_TOKEN")).await.unwrap();
    let id = world.sandbox.live_tokens_named_like("kw-")[0].id.clone();
    let unknown = keywright_sandbox::FaultKind::Status { status: 404, retry_after: None };
    let lags = keywright_sandbox::FaultKind::LaggingList { ms: u64::MAX / 4 };
    for (path, kind) in [("/accounts/*/tokens/*", unknown), ("/accounts/*/tokens", lags)] {
        world.sandbox.inject(keywright_sandbox::Fault::on("GET", path, kind).times(100_000)).unwrap();
    }
    world.broker.reconcile().await.unwrap();
    let by = jiff::SignedDuration::from_secs(121);
    world.clock.advance(by);
    world.sandbox.advance_clock(by.unsigned_abs());
    world.broker.tick().await.unwrap();
    assert_eq!(one(&world, "SELECT state FROM versions"), "revoked");
    world.sandbox.clear_faults();
    edit(
        &world,
        &format!(
            "INSERT INTO revocations (id, connection, provider_key_id, reason, owed_since, tries, done_at, mac) \
             VALUES ('rev_00000000000000000000000000000001', 'cf', '{id}', 'x', 0, 0, 1, zeroblob(32))"
        ),
    );
    let found = world.broker.reconcile().await.unwrap();
    assert_eq!((found.lost.len(), found.orphans.len()), (1, 0), "{found:?}");
    assert_eq!(world.sandbox.live_tokens_named_like("kw-").len(), 1, "somebody may use it");
}
