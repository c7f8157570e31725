//! Between an approval and the deed somebody changes a row of the ledger's file, at random: nothing is made but exactly what two people
//! signed. `KEYWRIGHT_TEST_CHANGES` says how many changes are tried, `KEYWRIGHT_TEST_SEED` with which ones it begins.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "tests"
)]

use std::time::Duration;

use keywright_broker::approve::Less;
use keywright_broker::ask::Ask;
use keywright_broker::record::Caller;
use keywright_broker::review::Pending;
use keywright_core::plan::Principal;
use keywright_core::receipt::Status;
use keywright_core::secret::Secret;
use keywright_sandbox::{Fault, FaultKind, TokenView};
use keywright_testkit::{Database, World, ask};
use rusqlite::types::Value;

const WAIT: Duration = Duration::from_secs(10);
/// What an approval has to do with. A log that was edited stops the broker for good, which is tried elsewhere.
const TABLES: [&str; 9] = [
    "requests",
    "requests",
    "requests",
    "approvals",
    "approvals",
    "operators",
    "templates",
    "policies",
    "connections",
];

/// Numbers that look random, and are the same each time.
struct Dice(u64);

impl Dice {
    fn next(&mut self, below: usize) -> usize {
        // SplitMix64.
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        usize::try_from((z ^ (z >> 31)) % u64::try_from(below.max(1)).unwrap()).unwrap()
    }
}

/// What somebody changed, and how to take it back.
struct Change {
    what: String,
    table: &'static str,
    column: String,
    row: i64,
    before: Value,
}

fn file(world: &World) -> rusqlite::Connection {
    let ledger = rusqlite::Connection::open(world.home.join("ledger.db")).unwrap();
    ledger.busy_timeout(Duration::from_secs(10)).unwrap();
    ledger.execute_batch("PRAGMA foreign_keys = OFF").unwrap();
    ledger
}

/// Another value in place of one: of the same kind, so that it may be taken for one.
fn other(dice: &mut Dice, before: &Value, elsewhere: Value) -> Value {
    match (dice.next(4), before) {
        (0, _) => elsewhere,
        (1, Value::Integer(number)) => Value::Integer(number + 1 - 2 * i64::try_from(dice.next(2)).unwrap()),
        (1 | 2, Value::Text(text)) => {
            let words = [
                ("DNS Write", "Zone Write"),
                ("production", "dev"),
                ("example.com", "example.net"),
                ("\"ttl\":\"30d\"", "\"ttl\":\"90d\""),
                ("embedded:", "dotenv:"),
                ("ana", "bo"),
                ("bot", "evil"),
                ("pending_approval", "in_progress"),
                ("2", "1"),
                ("permit", "forbid"),
            ];
            let (from, to) = words[dice.next(words.len())];
            let changed = text.replace(from, to);
            Value::Text(if changed == *text { format!("{text} ") } else { changed })
        }
        (_, Value::Blob(bytes)) if !bytes.is_empty() => {
            let mut bytes = bytes.clone();
            let at = dice.next(bytes.len());
            bytes[at] ^= 1 << dice.next(8);
            Value::Blob(bytes)
        }
        (_, Value::Integer(_)) => Value::Integer([0, 1, i64::MAX, -1][dice.next(4)]),
        (_, Value::Null) => elsewhere,
        (_, Value::Text(_)) => Value::Text(String::new()),
        (_, other) => other.clone(),
    }
}

fn change(world: &World, dice: &mut Dice) -> Option<Change> {
    let ledger = file(world);
    let table = TABLES[dice.next(TABLES.len())];
    let columns: Vec<String> = ledger
        .prepare(&format!("SELECT name FROM pragma_table_info('{table}')"))
        .unwrap()
        .query_map([], |row| row.get(0))
        .unwrap()
        .map(Result::unwrap)
        .collect();
    let column = columns[dice.next(columns.len())].clone();
    // Mostly what is newest, which is about the request that waits.
    let rows: Vec<i64> = ledger
        .prepare(&format!("SELECT rowid FROM {table} ORDER BY rowid DESC LIMIT 3"))
        .unwrap()
        .query_map([], |row| row.get(0))
        .unwrap()
        .map(Result::unwrap)
        .collect();
    let row = *rows.get(dice.next(rows.len().min(2)))?;
    let of = |row: i64| {
        ledger.query_row(&format!("SELECT {column} FROM {table} WHERE rowid = ?1"), [row], |row| {
            row.get::<_, Value>(0)
        })
    };
    let before = of(row).unwrap();
    let elsewhere =
        rows.iter().find(|one| **one != row).and_then(|one| of(*one).ok()).unwrap_or(Value::Integer(1));
    let after = other(dice, &before, elsewhere);
    if after == before {
        return None;
    }
    let what = format!("{table}.{column}: {before:?} became {after:?}");
    let sql = format!("UPDATE OR IGNORE {table} SET {column} = ?1 WHERE rowid = ?2");
    // What the schema refuses did not happen.
    let changed = ledger.execute(&sql, rusqlite::params![after, row]).unwrap_or(0);
    (changed == 1).then_some(Change { what, table, column, row, before })
}

fn take_back(world: &World, change: &Change) {
    let (table, column) = (change.table, &change.column);
    let sql = format!("UPDATE OR IGNORE {table} SET {column} = ?1 WHERE rowid = ?2");
    file(world).execute(&sql, rusqlite::params![change.before, change.row]).unwrap();
}

fn made(world: &World) -> Vec<TokenView> {
    world.sandbox.live_tokens_named_like("kw-")
}

/// Whatever was begun has come to its end, or can't go on.
async fn at_rest(world: &World) {
    for _ in 0..100 {
        let _ = world.broker.tick().await;
        match world.broker.health().await {
            Ok(health) if health.sagas_open > 0 => tokio::time::sleep(Duration::from_millis(5)).await,
            _ => return,
        }
    }
}

#[tokio::test]
async fn nothing_is_made_between_an_approval_and_the_deed_but_what_two_people_signed() {
    if Database::wanted().is_some() {
        return;
    }
    let number = |name: &str, usual: u64| std::env::var(name).map_or(usual, |text| text.parse().unwrap());
    let (changes, seed) = (number("KEYWRIGHT_TEST_CHANGES", 60), number("KEYWRIGHT_TEST_SEED", 1));
    let world = World::new().await;
    let (ana, words) = (world.ana().await, || Secret::new("another passphrase of his".to_owned()));
    let bo = "bo".parse().unwrap();
    world.broker.add_operator(&ana, &bo, words()).await.unwrap();
    let bo = world.broker.operator(Some(&bo), words()).await.unwrap();
    let zone = world.sandbox.zones().into_iter().find(|zone| zone.name == "example.com").unwrap().id;
    let (mut tried, mut went_on, mut turn, mut late) = (0, 0, 0, 0);
    while tried < changes {
        turn += 1;
        let mut dice = Dice(seed.wrapping_mul(1_000_003).wrapping_add(turn));
        let wish = Ask { environment: "production".to_owned(), ..ask("example.com", &format!("K{turn}")) };
        let agent = World::agent(&format!("bot-{}", turn / 50));
        let asked = world.broker.request(&agent, &wish, WAIT).await.unwrap();
        assert_eq!(asked.status, Status::PendingApproval, "{asked:?}");
        let id = asked.request.to_string();
        let Pending::Key(review) = world.broker.review(&id, &Less::default()).await.unwrap() else {
            panic!()
        };
        world.broker.approve(&ana, &id, &review.digest, &Less::default(), WAIT).await.unwrap();
        let before = made(&world);
        // A second person approves what they were shown before; or the change comes after that, while the broker asks once more what
        // would happen now; or nobody approves, and the broker works on.
        let both = turn % 3 != 0;
        let second = async {
            if both {
                // What is edited may keep the answer waiting, so nobody waits for it.
                drop(world.broker.approve(&bo, &id, &review.digest, &Less::default(), Duration::ZERO).await);
            }
            at_rest(&world).await;
        };
        let change = if turn % 3 == 2 {
            let slow = FaultKind::Slow { delay_ms: 300, trickle_ms: 0 };
            let fault = world.sandbox.inject(Fault::on("GET", "/zones", slow).skipping(1)).unwrap();
            let meanwhile = async {
                for _ in 0..400 {
                    if world.sandbox.fault_hits(fault) > 0 {
                        late += 1;
                        break;
                    }
                    tokio::time::sleep(Duration::from_millis(5)).await;
                }
                change(&world, &mut dice)
            };
            let ((), change) = tokio::join!(second, meanwhile);
            world.sandbox.clear_faults();
            change
        } else {
            let change = change(&world, &mut dice);
            second.await;
            change
        };
        let what = change.as_ref().map_or("nothing was changed", |change| change.what.as_str());
        let new: Vec<TokenView> = made(&world)
            .into_iter()
            .filter(|token| before.iter().all(|known| known.id != token.id))
            .collect();
        assert!(new.len() <= 1 && (both || new.is_empty()), "turn {turn}: {what}: {new:?}");
        for token in &new {
            let policies = &token.policies;
            let is_exact = policies.len() == 1
                && policies[0].groups.iter().map(|group| group.name.as_str()).eq(["DNS Write"])
                && policies[0]
                    .resources
                    .as_object()
                    .is_some_and(|all| all.len() == 1 && all.keys().all(|key| key.ends_with(&zone)));
            assert!(is_exact, "turn {turn}: {what}: {policies:?}");
            let lives = token.expires_on.unwrap().as_second() - token.issued_on.as_second();
            assert!((2_591_900..=2_592_100).contains(&lives), "turn {turn}: {what}: it lives for {lives} s");
            went_on += 1;
        }
        if let Some(change) = &change {
            tried += 1;
            take_back(&world, change);
        }
        // Nothing of this turn is left for the next: what waits is turned down, what was begun ends.
        let _ = world.broker.reject(&ana, &id, "the turn is over").await;
        for _ in 0..20 {
            let ana = Caller::plain(Principal::Operator("ana".parse().unwrap()));
            let _ = world.broker.revoke(&ana, &format!("K{turn}"), "the turn is over").await;
            world.clock.advance(jiff::SignedDuration::from_secs(400));
            world.sandbox.advance_clock(Duration::from_secs(400));
            at_rest(&world).await;
            if world.broker.health().await.is_ok_and(|health| health.sagas_open == 0)
                && made(&world).len() == before.len()
            {
                break;
            }
        }
    }
    println!(
        "{tried} changes in {turn} turns, {late} of them after the last approval; in {went_on} the key was made, exactly as it was signed"
    );
    assert!(late > 0, "some changes come between the decision and the deed");
    assert!(went_on > 0, "where nothing that matters was changed, the key is made");
}
