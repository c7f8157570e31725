//! The durable record of one deed beside its floors: `cargo bench -p keywright-ledger --bench durable`.
//!
//! The floors are measured in the same run, in turns with our own figures, so that what else the machine does troubles
//! all alike: one `fdatasync` of a file whose blocks are there already, and one row a transaction in plain SQLite
//! (WAL, `synchronous=FULL`). The goals are ratios: an intent at most 1.15 of the plain commit, and 64 deeds at a time
//! at least 15 times the rate of one at a time.
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a bench prints its figures")]

use std::fs::File;
use std::hint::black_box;
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use keywright_core::audit::{
    Decided, Deed, Effect, Entry, Hash, Principal, Record, Stage, Subject, Who, Why,
};
use keywright_ledger::audit_files::{AuditFiles, verify};
use keywright_ledger::seal::{Keyring, MasterKey};
use keywright_ledger::{Ledger, LedgerError, Location};
use rusqlite::Connection;

const ROUNDS: u64 = 10;
const A_ROUND: u64 = 200;
const ASKERS: u64 = 64;
const DEEDS_EACH: u64 = 100;
static NEXT: AtomicU64 = AtomicU64::new(ROUNDS * A_ROUND);

#[tokio::main]
async fn main() {
    // Where the build is, which is on a disk; the system's temporary directory often is not.
    let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let sync = Preallocated::new(&dir.path().join("preallocated"));
    let plain = Plain::new(&dir.path().join("plain.db"));
    let location = Location::File(dir.path().join("ledger.db"));
    let ledger = Arc::new(Ledger::open(&location, Arc::new(Timestamp::now)).unwrap());
    let ring = MasterKey::generate().unwrap().keyring([1; 16]);
    ledger.unlock(&ring);
    // From here on each commit is followed by the log's head, as under a broker.
    AuditFiles::open(&dir.path().join("head"), &ring).unwrap().publish(&ledger).await.unwrap();
    let (mut syncs, mut commits, mut deeds) = (Vec::new(), Vec::new(), Vec::new());
    for round in 0..ROUNDS {
        for number in round * A_ROUND..(round + 1) * A_ROUND {
            syncs.push(time(|| sync.write(number)));
        }
        for number in round * A_ROUND..(round + 1) * A_ROUND {
            let leaf = Entry::new(number, record(number)).to_leaf().unwrap();
            commits.push(time(|| plain.write(&leaf)));
        }
        for number in round * A_ROUND..(round + 1) * A_ROUND {
            let record = record(number);
            let start = Instant::now();
            ledger.write(move |tx| tx.audit(record)).await.unwrap();
            deeds.push(start.elapsed());
        }
    }
    let (sync, commit, deed) = (Figures::of(syncs), Figures::of(commits), Figures::of(deeds));
    println!("one durable record");
    println!("  fdatasync, preallocated    {sync}");
    println!("  plain SQLite, one row      {commit}   {:.2} of the fdatasync", commit.p50 / sync.p50);
    println!(
        "  intent entry               {deed}   {:.2} of plain SQLite (goal: at most 1.15)",
        deed.p50 / commit.p50
    );

    let (mut alone, mut together) = (0.0_f64, 0.0_f64);
    for _ in 0..3 {
        alone = alone.max(rate(&ledger, 1, 1_000).await);
        together = together.max(rate(&ledger, ASKERS, DEEDS_EACH).await);
    }
    println!("deeds a second");
    println!("  one at a time              {alone:8.0}");
    println!(
        "  {ASKERS} at a time              {together:8.0}   {:.1} times (goal: at least 15)",
        together / alone
    );
    the_work_itself(&ledger).await;
    publishing(&dir.path().join("audit"), &dir.path().join("ledger.db"), &ledger, &ring).await;
}

/// What a deed costs besides its commit: a thousand entries in one.
async fn the_work_itself(ledger: &Ledger) {
    let records: Vec<Record> = (0..1_000).map(record).collect();
    let leaves = time(|| {
        for (number, record) in (0..).zip(&records) {
            black_box(Hash::of_leaf(&Entry::new(number, record.clone()).to_leaf().unwrap()));
        }
    });
    let start = Instant::now();
    let inside = ledger.write(move |tx| {
        let start = Instant::now();
        for record in records {
            tx.audit(record)?;
        }
        Ok::<_, LedgerError>(start.elapsed())
    });
    let (inside, all) = (inside.await.unwrap(), start.elapsed());
    println!("a thousand entries in one commit");
    println!("  leaf and its hash          {:8.1} us an entry", micros(leaves) / 1_000.0);
    println!("  leaf, hash, row            {:8.1} us an entry", micros(inside) / 1_000.0);
    println!("  with the commit            {:8.1} us an entry", micros(all) / 1_000.0);
}

async fn publishing(dir: &Path, database: &Path, ledger: &Ledger, ring: &Keyring) {
    let files = AuditFiles::open(dir, ring).unwrap();
    let start = Instant::now();
    let size = files.publish(ledger).await.unwrap();
    println!("publishing and verifying {size} entries");
    println!("  all tiles anew             {:8.1} ms", micros(start.elapsed()) / 1_000.0);
    let start = Instant::now();
    files.publish(ledger).await.unwrap();
    println!("  nothing new                {:8.1} us", micros(start.elapsed()));
    ledger.write(|tx| tx.audit(record(0))).await.unwrap();
    let start = Instant::now();
    files.publish(ledger).await.unwrap();
    println!("  one entry more             {:8.1} us", micros(start.elapsed()));
    let again = AuditFiles::open(dir, ring).unwrap();
    ledger.write(|tx| tx.audit(record(0))).await.unwrap();
    let start = Instant::now();
    again.publish(ledger).await.unwrap();
    println!("  after a start              {:8.1} ms", micros(start.elapsed()) / 1_000.0);
    let start = Instant::now();
    let report = verify(dir, database, None, None).unwrap();
    assert!(report.is_sound());
    println!("  verifying it               {:8.1} ms", micros(start.elapsed()) / 1_000.0);
}

/// How many deeds a second are done when so many ask at a time.
async fn rate(ledger: &Arc<Ledger>, askers: u64, deeds_each: u64) -> f64 {
    let start = Instant::now();
    let tasks: Vec<_> = (0..askers)
        .map(|_| {
            let ledger = Arc::clone(ledger);
            tokio::spawn(async move {
                for _ in 0..deeds_each {
                    // Ids are made in the order of time, whoever asks.
                    let record = record(NEXT.fetch_add(1, Ordering::Relaxed));
                    ledger.write(move |tx| tx.audit(record)).await.unwrap();
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
    let deeds = u32::try_from(askers * deeds_each).unwrap();
    f64::from(deeds) / start.elapsed().as_secs_f64()
}

struct Preallocated(File);

impl Preallocated {
    const BLOCKS: u64 = 4096;

    fn new(path: &Path) -> Self {
        let file = File::create(path).unwrap();
        for block in 0..Self::BLOCKS {
            file.write_all_at(&[0x55; 4096], block * 4096).unwrap();
        }
        file.sync_all().unwrap();
        Self(file)
    }

    fn write(&self, number: u64) {
        let block = [u8::try_from(number % 251).unwrap(); 4096];
        self.0.write_all_at(&block, number % Self::BLOCKS * 4096).unwrap();
        self.0.sync_data().unwrap();
    }
}

struct Plain(Connection);

impl Plain {
    fn new(path: &Path) -> Self {
        let connection = Connection::open(path).unwrap();
        connection.pragma_update(None, "journal_mode", "WAL").unwrap();
        connection.pragma_update(None, "synchronous", "FULL").unwrap();
        connection
            .execute_batch("CREATE TABLE log (number INTEGER PRIMARY KEY, leaf BLOB NOT NULL)")
            .unwrap();
        Self(connection)
    }

    fn write(&self, leaf: &[u8]) {
        let mut insert = self.0.prepare_cached("INSERT INTO log (leaf) VALUES (?1)").unwrap();
        insert.execute([leaf]).unwrap();
    }
}

struct Figures {
    p50: f64,
    p99: f64,
}

impl Figures {
    fn of(mut times: Vec<Duration>) -> Self {
        times.sort_unstable();
        let at = |percent: usize| times.get(times.len() * percent / 100).copied().map_or(0.0, micros);
        Self { p50: at(50), p99: at(99) }
    }
}

impl std::fmt::Display for Figures {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "p50 {:7.1} us   p99 {:7.1} us", self.p50, self.p99)
    }
}

fn time(work: impl FnOnce()) -> Duration {
    let start = Instant::now();
    work();
    start.elapsed()
}

fn micros(time: Duration) -> f64 {
    time.as_secs_f64() * 1e6
}

/// What the log says about a decided request.
fn record(number: u64) -> Record {
    let who = Who::new(Principal::Agent, "builder");
    let mut record = Record::new(Timestamp::now(), Deed::RequestDecide, Stage::Intent, who);
    record.subject = Subject {
        request: Some(format!("req_0197a{number:027x}")),
        key: Some(format!("key_0197a{:027x}", number / 4)),
        template: Some("cloudflare/dns-edit".to_owned()),
        connection: Some("cloudflare".to_owned()),
        project: Some("shop".to_owned()),
        environment: Some("dev".to_owned()),
        name: Some("CF_TOKEN".to_owned()),
        ..Subject::default()
    };
    record.why = Why::new("edit the DNS records of the shop", Some("put the shop behind its new name"));
    record.decision = Some(Decided {
        effect: Effect::Allow,
        approvals_needed: 0,
        approvals_given: 0,
        policies: vec!["sandbox-and-standard".to_owned()],
        reasons: vec!["allowed by `sandbox-and-standard`".to_owned()],
    });
    record.plan_digest = Some("5f".repeat(32));
    record
}
