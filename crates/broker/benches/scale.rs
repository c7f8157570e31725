//! Many keys on one broker: `cargo bench -p keywright-broker --bench scale`, with `KEYWRIGHT_SCALE_KEYS` for another number than
//! 100,000 of them.
//!
//! The keys are made by the broker as ever, at a provider that answers at once, from templates with different schedules. With
//! `KEYWRIGHT_SCALE_HOME` the home is kept there, and made only once. With a server from
//! `KEYWRIGHT_POSTGRES_SYNC=on scripts/postgres start DIR` the ledger is on PostgreSQL; a home that is kept is not.
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a bench prints its figures")]

use std::path::Path;
use std::time::{Duration, Instant};

use jiff::SignedDuration;
use keywright_broker::ask::Ask;
use keywright_broker::home::Home;
use keywright_core::span::Span;
use keywright_ledger::{Besides, Ledger, LedgerError, Location, Tx};
use keywright_testkit::{Database, TestClock, World, ask, many, unlock};

/// Ticks in which nothing is due.
const TICKS: usize = 1_000;
/// Looks and claims.
const LOOKS: usize = 1_000;
const CLAIMS: usize = 512;

#[tokio::main]
async fn main() {
    let keys = std::env::var("KEYWRIGHT_SCALE_KEYS").map_or(100_000, |text| text.parse().unwrap());
    let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let home = std::env::var_os("KEYWRIGHT_SCALE_HOME").map_or(dir.path().join("home"), Into::into);
    let database = std::env::var_os("KEYWRIGHT_TEST_POSTGRES").and_then(|_| Database::where_there_is_one());
    let location = match &database {
        None => Location::File(home.join("ledger.db")),
        Some(server) => Location::Server(Box::new(server.url().parse().unwrap())),
    };
    let clock = TestClock::default();
    if !Home::at(&home).exists() {
        many::fill(&home, &location, &clock, keys).await;
    }
    started(&home, &clock).await;
    ticked(&home, &clock).await;
    claimed(&location, &clock).await;
}

/// From the passphrase to a broker that works, and its first answers.
async fn started(home: &Path, clock: &TestClock) {
    let before = resident_mib();
    let start = Instant::now();
    let broker = many::open(home, clock).await;
    let opened = start.elapsed();
    let start = Instant::now();
    let ana = broker.operator(None, World::passphrase()).await.unwrap();
    let passphrase = start.elapsed();
    let health = broker.health().await.unwrap();
    println!("{} keys, {} entries in the log", health.keys_active, health.audit_entries);
    println!(
        "  a start                       {:8.1} ms, {:.1} of them the passphrase",
        millis(opened),
        millis(passphrase)
    );
    for which in ["first", "second"] {
        let start = Instant::now();
        broker.tick().await.unwrap();
        println!("  the {which:<6} tick               {:8.1} ms", millis(start.elapsed()));
    }
    for which in ["first", "second"] {
        let agent = World::agent(&format!("bench-{which}"));
        let name = format!("BENCH_{}", std::process::id());
        let wish =
            Ask { template: format!("cloudflare/dns-edit-{}", many::EVERY[0]), ..ask("example.com", &name) };
        let start = Instant::now();
        let wish = Ask { name: format!("{name}_{which}").to_uppercase(), ..wish };
        broker.request(&agent, &wish, Duration::from_secs(60)).await.unwrap();
        println!("  the {which:<6} mint               {:8.1} ms", millis(start.elapsed()));
    }
    let start = Instant::now();
    let traced = broker.trace("KEY_77").await.unwrap();
    println!("  a key by its name             {:8.1} ms", millis(start.elapsed()));
    let id = traced.key.id.to_string();
    let start = Instant::now();
    broker.revoke(&ana.caller(), &id, "a bench").await.unwrap();
    println!("  a revocation                  {:8.1} ms", millis(start.elapsed()));
    let start = Instant::now();
    broker.health().await.unwrap();
    println!("  `status`                      {:8.1} ms", millis(start.elapsed()));
    println!("  memory                        {before:8.1} MiB before, {:.1} MiB after", resident_mib());
}

/// What the scheduler costs while nothing is due, and whether it keeps anything.
async fn ticked(home: &Path, clock: &TestClock) {
    let broker = many::open(home, clock).await;
    broker.tick().await.unwrap();
    let before = resident_mib();
    let mut times = Vec::with_capacity(TICKS);
    for _ in 0..TICKS {
        let start = Instant::now();
        broker.tick().await.unwrap();
        times.push(start.elapsed());
    }
    println!("a tick with nothing due          {}", figures(times));
    println!(
        "  memory                        {before:8.1} MiB before, {:.1} MiB after {TICKS} ticks",
        resident_mib()
    );
    // The shortest schedule comes due: keys are rotated, until enough of them drain.
    clock.advance(SignedDuration::from_hours(24 * 11));
    let start = Instant::now();
    let mut rotated = 0;
    while rotated < CLAIMS as u64 {
        broker.tick().await.unwrap();
        rotated = broker.health().await.unwrap().sagas_open;
    }
    println!(
        "rotations up to their drain      {:8.1} a second",
        rotated as f64 / start.elapsed().as_secs_f64()
    );
}

/// The queries behind a tick, while much is due.
async fn claimed(location: &Location, clock: &TestClock) {
    let ledger = Ledger::open(location, clock.as_clock()).unwrap();
    ledger.claim().await.unwrap();
    unlock(&ledger, "ana", &World::passphrase()).await;
    // What drains is due again, and of the schedules that are left some are.
    clock.advance(SignedDuration::from_hours(24 * 9));
    let looks: [(&str, fn(&Tx<'_>) -> Result<usize, LedgerError>); 7] = [
        ("keys due for rotation", |tx| Ok(tx.keys_to_rotate(32, &[])?.len())),
        ("sagas due", |tx| Ok(tx.sagas_due(32, &Besides::default())?.len())),
        ("keys that expired", |tx| Ok(tx.keys_expired()?.len())),
        ("debts due", |tx| Ok(tx.revocations_due(100, &[])?.len())),
        ("dead copies", |tx| Ok(tx.placements_left(tx.now(), tx.now(), &[])?.len())),
        ("attempts to look for", |tx| Ok(tx.attempts_to_sweep()?.len())),
        ("requests", |tx| Ok(tx.requests_approved()?.len() + tx.requests_overdue()?.len())),
    ];
    println!("looking for what is due");
    for (what, look) in looks {
        let (mut times, mut found) = (Vec::with_capacity(LOOKS), 0);
        for _ in 0..LOOKS {
            let start = Instant::now();
            found = ledger.read(look).await.unwrap();
            times.push(start.elapsed());
        }
        println!("  {what:<22} {found:4} found   {}", figures(times));
    }
    let mut times = Vec::with_capacity(CLAIMS);
    while times.len() < CLAIMS {
        let due = ledger.read(|tx| tx.sagas_due(32, &Besides::default())).await.unwrap();
        assert!(!due.is_empty(), "too few sagas are under way");
        for saga in due {
            let start = Instant::now();
            let claimed = ledger.write(move |tx| tx.claim_saga(saga, "bench", Span::from_seconds(300))).await;
            let claimed: Option<_> = claimed.map_err(|error: LedgerError| error).unwrap();
            times.push(start.elapsed());
            assert!(claimed.is_some());
        }
    }
    println!("  a claim, with its commit            {} (goal: p99 under 5 ms)", figures(times));
}

fn figures(mut times: Vec<Duration>) -> String {
    times.sort_unstable();
    let at = |part: usize| times.get(times.len() * part / 100).copied().map_or(0.0, millis);
    format!("p50 {:8.3} ms, p99 {:8.3} ms", at(50), at(99))
}

fn millis(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

fn resident_mib() -> f64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<f64>().unwrap() / 1_024.0
}
