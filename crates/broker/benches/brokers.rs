//! What several brokers on one database are worth: `cargo bench -p keywright-broker --bench brokers`.
//!
//! It wants a server from `KEYWRIGHT_POSTGRES_SYNC=on scripts/postgres start DIR`, DIR on a disk. First: how many rotations are done
//! a second by three brokers and by one, at a provider that takes 50 ms for each answer (the goal is at least twice as many).
//! Then: how many audit entries are appended a second by several, which make one chain of them, beside rows that as many
//! connections insert without one, each in a transaction of its own (the goal is at least 0.9).
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a bench prints its figures")]

use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use keywright_broker::{Broker, Options};
use keywright_core::audit::{Deed, Principal, Record, Stage, Who};
use keywright_ledger::audit_files::AuditFiles;
use keywright_ledger::seal::MasterKey;
use keywright_ledger::{Heard, Ledger, LedgerError, Location};
use keywright_sandbox::{Fault, FaultKind};
use keywright_testkit::{Brokers, Database, Running, World};
use tokio::task::JoinSet;

const LATENCY_MS: u64 = 50;
const INSTANCE: [u8; 16] = [7; 16];
const SECONDS: u64 = 4;

#[tokio::main]
async fn main() {
    if Database::where_there_is_one().is_none() {
        return;
    }
    let keys = std::env::var("KEYWRIGHT_BENCH_KEYS").ok().and_then(|keys| keys.parse().ok()).unwrap_or(150);
    println!("rotations of {keys} keys that are due, a provider that takes {LATENCY_MS} ms for an answer");
    // With few at a time it is the provider that is waited for, with many the processors, which all of them share here.
    for at_a_time in [4, 8, 16, 32] {
        let (one, three) = (rotations(1, keys, at_a_time).await, rotations(3, keys, at_a_time).await);
        println!(
            "  {at_a_time:2} at a time   one broker {one:6.1} a second, three {three:6.1}   {:.2} of one (goal: at least 2)",
            three / one
        );
    }
    println!("audit entries appended, {SECONDS} s each");
    for (writers, at_once) in [(1, 1), (3, 1), (3, 16), (3, 64), (8, 64)] {
        let (chained, plain) = (appended(writers, at_once).await, inserted(writers).await);
        println!(
            "  {writers} brokers, {at_once:2} deeds at once in each {chained:8.0} a second; rows without a chain on {writers} \
             connections {plain:8.0}   {:.2} (goal: at least 0.9)",
            chained / plain
        );
    }
}

/// Rotations a second: from when they are due until each successor is in force.
async fn rotations(brokers: usize, keys: usize, at_a_time: u32) -> f64 {
    let house = Brokers::new(Database::where_there_is_one().unwrap(), brokers - 1).await;
    let mut opened = Vec::new();
    for home in 0..brokers {
        let options = Options { at_a_time, ..Options::at(house.home(home)) };
        opened.push(Broker::open(options, World::passphrase()).await.unwrap());
    }
    house.mint(opened.first().unwrap(), keys).await;
    let slow = FaultKind::Slow { delay_ms: LATENCY_MS, trickle_ms: 0 };
    let every = Fault { method: None, path: "/**".to_owned(), skip: 0, count: u32::MAX, kind: slow };
    house.sandbox.inject(every).unwrap();
    house.make_due();
    let after = "('switched', 'drained', 'disabled', 'ending', 'rotated')";
    let switched = format!("SELECT count(*) FROM keywright.sagas WHERE kind = 'rotate' AND phase IN {after}");
    // By a session that is there already: a program of its own for each look would cost as much as a broker.
    let (client, connection) =
        tokio_postgres::connect(&house.database.url(), tokio_postgres::NoTls).await.unwrap();
    tokio::spawn(connection);
    let done = client.prepare(&switched).await.unwrap();
    let (begun, running) = (Instant::now(), Running::start(&opened));
    while client.query_one(&done, &[]).await.unwrap().get::<_, i64>(0) < i64::try_from(keys).unwrap() {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let took = begun.elapsed();
    running.stop().await;
    keys as f64 / took.as_secs_f64()
}

/// Entries a second that `writers` ledgers append to one log, each with `at_once` that wait for their own.
async fn appended(writers: usize, at_once: usize) -> f64 {
    let database = Database::where_there_is_one().unwrap();
    let location = Location::Server(Box::new(database.url().parse().unwrap()));
    let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let ring = MasterKey::generate().unwrap().keyring(INSTANCE);
    let mut ledgers = Vec::new();
    for number in 0..writers {
        let ledger = Arc::new(Ledger::open(&location, Arc::new(Timestamp::now)).unwrap());
        ledger.unlock(&ring);
        let files = AuditFiles::open(&dir.path().join(number.to_string()), &ring).unwrap();
        ledger.heed(0, |heard| assert!(matches!(heard, Heard::Entry(_))));
        files.publish(&ledger).await.unwrap();
        ledgers.push(ledger);
    }
    let (begun, mut tasks) = (Instant::now(), JoinSet::new());
    for ledger in &ledgers {
        for _ in 0..at_once {
            let ledger = Arc::clone(ledger);
            tasks.spawn(async move {
                let mut count = 0u32;
                while begun.elapsed() < Duration::from_secs(SECONDS) {
                    ledger.write(|tx| tx.audit(record())).await.map_err(|e: LedgerError| e).unwrap();
                    count += 1;
                }
                count
            });
        }
    }
    let count: u32 = tasks.join_all().await.into_iter().sum();
    f64::from(count) / begun.elapsed().as_secs_f64()
}

/// Rows a second that as many connections insert, each in a transaction of its own.
async fn inserted(connections: usize) -> f64 {
    let database = Database::where_there_is_one().unwrap();
    database.run(
        "CREATE SCHEMA plain AUTHORIZATION broker; CREATE TABLE plain.log (number BIGSERIAL PRIMARY KEY, text TEXT NOT NULL); \
         ALTER TABLE plain.log OWNER TO broker",
    );
    let (mut tasks, mut clients) = (JoinSet::new(), Vec::new());
    for _ in 0..connections {
        let (client, connection) =
            tokio_postgres::connect(&database.url(), tokio_postgres::NoTls).await.unwrap();
        tokio::spawn(connection);
        client.batch_execute("SET synchronous_commit = on").await.unwrap();
        let insert = client.prepare("INSERT INTO plain.log (text) VALUES ($1)").await.unwrap();
        clients.push((client, insert));
    }
    let begun = Instant::now();
    for (client, insert) in clients {
        tasks.spawn(async move {
            let mut count = 0u32;
            while begun.elapsed() < Duration::from_secs(SECONDS) {
                client.execute(&insert, &[&"x".repeat(1_000)]).await.unwrap();
                count += 1;
            }
            count
        });
    }
    let count: u32 = tasks.join_all().await.into_iter().sum();
    f64::from(count) / begun.elapsed().as_secs_f64()
}

fn record() -> Record {
    let mut record = Record::new(
        Timestamp::now(),
        Deed::RequestDecide,
        Stage::Intent,
        Who::new(Principal::Agent, "builder"),
    );
    // About as long as an entry about a mint.
    record.facts.insert("because".to_owned(), serde_json::json!("x".repeat(700)));
    record
}
