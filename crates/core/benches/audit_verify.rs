//! Verifying a log beside a bare SHA-256 chain over the same bytes: `cargo bench -p keywright-core --bench audit_verify`.
//!
//! The chain is the least that any tamper-evident log must do: `h = SHA-256(h || leaf)` for each leaf. The goal is
//! at least 0.7 of its speed.
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a bench prints its figures")]

use std::convert::Infallible;
use std::hint::black_box;
use std::time::Instant;

use jiff::Timestamp;
use keywright_core::audit::{
    Checkpoint, Decided, Deed, Effect, Entry, Expect, Frontier, Hash, Origin, Outcome, Principal, Record,
    Row, Stage, VerifierKey, Who, Why, verify_log,
};
use sha2::{Digest as _, Sha256};

const ENTRIES: u64 = 200_000;
const ROUNDS: usize = 7;
const SECRET: [u8; 32] = [7; 32];

struct Log {
    leaves: Vec<Vec<u8>>,
    hashes: Vec<Hash>,
    key: VerifierKey,
    checkpoint: String,
}

fn main() {
    for (name, prompt) in [("short entries", None), ("entries with a prompt", Some("word ".repeat(200)))] {
        let log = Log::new(prompt.as_deref());
        let bytes: usize = log.leaves.iter().map(Vec::len).sum();
        let (mut chain, mut plain, mut with_tiles) = (f64::MAX, f64::MAX, f64::MAX);
        // Alternating, best of each: what else the machine does then troubles all alike.
        for _ in 0..ROUNDS {
            chain = chain.min(time(|| log.hash_chain()));
            plain = plain.min(time(|| log.verify(false, false)));
            with_tiles = with_tiles.min(time(|| log.verify(true, false)));
        }
        let decoded = time(|| log.verify(true, true));
        println!("{name}: {} bytes each", bytes / log.leaves.len());
        println!("  bare SHA-256 chain    {chain:7.0} ns/entry");
        for (what, spent) in
            [("verify", plain), ("verify with tiles", with_tiles), ("verify and decode", decoded)]
        {
            println!("  {what:<21} {spent:7.0} ns/entry   {:.2} of the chain's speed", chain / spent);
        }
    }
}

impl Log {
    fn new(prompt: Option<&str>) -> Self {
        let leaves: Vec<Vec<u8>> = (0..ENTRIES).map(|index| leaf(index, prompt)).collect();
        let hashes: Vec<Hash> = leaves.iter().map(|leaf| Hash::of_leaf(leaf)).collect();
        let origin = Origin::of_instance("bench").unwrap();
        let key = VerifierKey::of_signing_key(origin.clone(), &SECRET);
        let root = hashes.iter().copied().collect::<Frontier>().root();
        let checkpoint = Checkpoint::new(origin, ENTRIES, root, Vec::new()).unwrap().sign(&SECRET).unwrap();
        Self { leaves, hashes, key, checkpoint }
    }

    fn hash_chain(&self) {
        let mut link = [0; 32];
        for leaf in &self.leaves {
            link = Sha256::new().chain_update(link).chain_update(leaf).finalize().into();
        }
        black_box(link);
    }

    fn verify(&self, tiles: bool, decode: bool) {
        let current = Expect::current(&self.key, &self.checkpoint);
        let expect = Expect { tiles: tiles.then_some(ENTRIES), decode, ..current };
        let rows = (0..).zip(&self.leaves).zip(&self.hashes).map(|((index, body), hash)| {
            let published = tiles.then_some(*hash);
            Ok::<_, Infallible>(Row { index, body: body.as_slice(), stored: Some(*hash), published })
        });
        let verdict = verify_log(rows, &expect).unwrap();
        assert!(verdict.is_sound() && verdict.covered == ENTRIES);
    }
}

fn leaf(index: u64, prompt: Option<&str>) -> Vec<u8> {
    let at = Timestamp::from_millisecond(1_800_000_000_000 + i64::try_from(index).unwrap()).unwrap();
    let mut who = Who::new(Principal::Agent, "claude-code");
    who.verified.insert("token".to_owned(), "tok_4f2a".to_owned());
    let mut record = Record::new(at, Deed::KeyMint, Stage::Outcome, who);
    record.subject.request = Some(format!("req_{index:032x}"));
    record.subject.key = Some(format!("key_{index:032x}"));
    record.subject.template = Some("cloudflare/dns-edit".to_owned());
    record.subject.project = Some("shop".to_owned());
    record.why = Why::new("publish the new site", prompt);
    let policies = vec!["sandbox-unattended".to_owned()];
    let (approvals_needed, approvals_given, reasons) = (0, 0, Vec::new());
    record.decision =
        Some(Decided { effect: Effect::Allow, approvals_needed, approvals_given, policies, reasons });
    record.plan_digest = Some(format!("{index:064x}"));
    record.result = Some(Outcome::done());
    Entry::new(index, record).to_leaf().unwrap()
}

/// Nanoseconds per entry.
fn time(work: impl FnOnce()) -> f64 {
    let start = Instant::now();
    work();
    #[expect(clippy::cast_precision_loss, reason = "two hundred thousand is exact")]
    let entries = ENTRIES as f64;
    start.elapsed().as_secs_f64() * 1e9 / entries
}
