//! What a decision costs with 10, 1,000 and 10,000 policies in force, beside Cedar's plain `is_authorized` over the
//! whole set, which is the floor that it is measured against.
//!
//! `cargo bench -p keywright-core --bench policy_decide` prints the table;
//! `cargo bench -p keywright-core --bench policy_decide -- check 1000000` puts so many random questions to random sets,
//! sliced and whole, and fails when one answer differs.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "a bench: it prints, and stops when it can't be set up"
)]

#[path = "../tests/policy_world/mod.rs"]
mod policy_world;

use std::hint::black_box;
use std::time::{Duration, Instant};

use cedar_policy::Authorizer;
use keywright_core::policy::{Effect, Policies};
use policy_world::{
    Random, by_the_whole_set, grown_policies, grown_question, random_policies, random_question, whole,
};

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["check", count] => check(count.parse().unwrap()),
        ["mem", count] => {
            let rss = |what: &str| {
                let statm = std::fs::read_to_string("/proc/self/statm").unwrap();
                let pages: usize = statm.split(' ').nth(1).unwrap().parse().unwrap();
                println!("{what}: {} KiB", pages * 4);
            };
            let count: usize = count.parse().unwrap();
            let text = grown_policies(count);
            rss("text");
            let policies = Policies::parse(&text).unwrap();
            rss("policies");
            drop(policies);
            rss("dropped policies");
        }
        ["loop", count] => {
            let count: usize = count.parse().unwrap();
            let policies = Policies::parse(&grown_policies(count)).unwrap();
            let mut random = Random(7);
            let grants = count - 4;
            let questions: Vec<_> = (0..512).map(|_| grown_question(random.below(grants))).collect();
            let mut next = questions.iter().cycle();
            let prep = times(50_000, || drop(black_box(next.next().unwrap().prepare())));
            println!("prepare {}", shown(&prep));
            let prep = times(50_000, || drop(black_box(next.next().unwrap().prepare().unwrap().request(0))));
            println!("prepare+request {}", shown(&prep));
            let allow = times(300_000, || drop(black_box(policies.decide(next.next().unwrap()))));
            println!("decide {}", shown(&allow));
        }
        _ => measure(),
    }
}

fn measure() {
    println!(
        "{:>8} {:>14} {:>22} {:>22} {:>22}",
        "policies", "load", "whole set p50/p99", "allow p50/p99", "deny p50/p99"
    );
    let mut first: Option<Duration> = None;
    for count in [10, 1_000, 10_000] {
        let text = grown_policies(count);
        let started = Instant::now();
        let policies = Policies::parse(&text).unwrap();
        let load = started.elapsed();
        let grants = count - 4;
        let mut random = Random(7);
        // A fresh question each time, over all grants: facts of the template come built, as the broker keeps them.
        let questions: Vec<_> = (0..512).map(|_| grown_question(random.below(grants))).collect();
        let mut next = questions.iter().cycle();
        let allow = times(20_000, || {
            let decision = policies.decide(black_box(next.next().unwrap()));
            assert_eq!(decision.effect, Effect::Allow);
        });
        // Nothing allows these: four rounds, one for each number of approvals.
        let strangers: Vec<_> =
            (0..512).map(|_| grown_question(grants + 3 + random.below(1_000) * 3)).collect();
        let mut next = strangers.iter().cycle();
        let deny = times(20_000, || drop(black_box(policies.decide(next.next().unwrap()))));
        // Last, because a second set of so many policies leaves a heap of small gaps, in which every allocation of ours
        // would have to look for room; a broker has no such set.
        let set = whole(&text);
        let asked = grown_question(grants / 2);
        let prepared = asked.prepare().unwrap();
        let request = prepared.request(0).unwrap();
        let plain = times(if count > 1_000 { 300 } else { 3_000 }, || {
            black_box(Authorizer::new().is_authorized(&request, &set, prepared.entities()));
        });
        println!("{count:>8} {load:>14.1?} {:>22} {:>22} {:>22}", shown(&plain), shown(&allow), shown(&deny));
        let base = *first.get_or_insert(allow.0);
        println!(
            "         p99 here / p50 at 10: {:.2} (goal: at most 3 at 10,000);  whole set / ours, p50: {:.1}",
            allow.1.as_secs_f64() / base.as_secs_f64(),
            plain.0.as_secs_f64() / allow.0.as_secs_f64()
        );
    }
}

/// The median and the 99th percentile.
fn times(count: usize, mut run: impl FnMut()) -> (Duration, Duration) {
    for _ in 0..count / 10 {
        run();
    }
    let mut all: Vec<Duration> = (0..count)
        .map(|_| {
            let started = Instant::now();
            run();
            started.elapsed()
        })
        .collect();
    all.sort_unstable();
    (all[count / 2], all[count * 99 / 100])
}

fn shown((median, slow): &(Duration, Duration)) -> String {
    format!("{median:.1?} / {slow:.1?}")
}

fn check(count: usize) {
    const A_SET: usize = 1_000;
    let (mut done, mut allowed, mut failed, mut seed) = (0, 0, 0, 1_000_000);
    while done < count {
        seed += 1;
        let mut random = Random(seed);
        let size = 1 + random.below(60);
        let text = random_policies(&mut random, size);
        let policies = Policies::parse(&text).unwrap();
        let set = whole(&text);
        for _ in 0..A_SET.min(count - done) {
            let question = random_question(&mut random);
            let approvals = u8::try_from(random.below(4)).unwrap();
            let ours = policies.answer(&question, approvals).unwrap();
            assert_eq!(ours, by_the_whole_set(&set, &question, approvals), "seed {seed}: {question}\n{text}");
            allowed += usize::from(ours.allowed);
            failed += usize::from(!ours.errors.is_empty());
            done += 1;
        }
    }
    println!(
        "{done} questions, {allowed} allowed, {failed} with a policy that failed: every answer the same"
    );
}
