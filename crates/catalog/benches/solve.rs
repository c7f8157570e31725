//! What it costs to open a catalog and to find the least permissions for a job, each beside a floor of the same run: splitting the
//! text of the catalog into its columns, and looking the job's operations up without weighing anything.
//!
//! `cargo bench -p keywright-catalog --bench solve` prints the tables.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "a bench: it prints, and stops when it can't be set up"
)]

use std::hint::black_box;
use std::time::{Duration, Instant};

use keywright_catalog::built_in::every;
use keywright_catalog::{Catalog, Wanted};

fn main() {
    load();
    solve();
}

fn load() {
    println!(
        "{:>14} {:>9} {:>9} {:>10} {:>10} {:>10} {:>7}",
        "catalog", "packed", "text", "unpack", "read", "split", "ratio"
    );
    let mut all = [Duration::ZERO; 2];
    let mut size = 0;
    for built_in in every() {
        // The first time is the one that counts: whoever asks waits for it.
        let unpack = once(|| built_in.text().unwrap());
        let text = built_in.text().unwrap();
        let read = once(|| built_in.catalog().unwrap());
        let again = median(9, || Catalog::parse(text).unwrap());
        let split = median(9, || {
            text.lines().map(|line| line.split('\t').map(str::len).sum::<usize>()).sum::<usize>()
        });
        let ratio = again.as_secs_f64() / split.as_secs_f64();
        all[0] += unpack;
        all[1] += read;
        size += built_in.packed_size();
        println!(
            "{:>14} {:>7} B {:>7} B {:>10.1?} {:>10.1?} {:>10.1?} {:>6.1}x",
            built_in.provider,
            built_in.packed_size(),
            text.len(),
            unpack,
            read,
            split,
            ratio
        );
    }
    println!("{:>14} {size:>7} B {:>9} {:>10.1?} {:>10.1?}", "all", "", all[0], all[1]);
}

fn solve() {
    println!(
        "\n{:>14} {:>10} {:>10} {:>22} {:>22} {:>7}",
        "catalog", "operations", "first", "least p50/p99", "look-up p50/p99", "ratio"
    );
    for provider in ["cloudflare", "github", "aws", "digitalocean", "gcp"] {
        let catalog = Catalog::for_provider(provider).unwrap();
        let known: Vec<String> = catalog
            .all_operations()
            .iter()
            .filter(|operation| !operation.depends && catalog.needs(operation).next().is_some())
            .map(|operation| operation.id.to_owned())
            .collect();
        let mut random = Random(7);
        let first = once(|| catalog.least(&[Wanted::from(known[0].as_str())], &[]).unwrap());
        for count in [1, 4, 12] {
            // Half of the jobs stay within one product: neighbours in the catalog.
            let jobs: Vec<Vec<Wanted<'_>>> = (0..2_000)
                .map(|at| {
                    let near = random.below(known.len());
                    let one = |step: usize, random: &mut Random| {
                        if at % 2 == 0 { (near + step * 3) % known.len() } else { random.below(known.len()) }
                    };
                    (0..count).map(|step| Wanted::from(known[one(step, &mut random)].as_str())).collect()
                })
                .collect();
            let least = each(&jobs, |job| {
                black_box(catalog.least(job, &[]).unwrap());
            });
            let look_up = each(&jobs, |job| {
                for wanted in job {
                    black_box(catalog.operation(wanted.operation).unwrap());
                }
            });
            println!(
                "{provider:>14} {count:>10} {first:>10.1?} {:>22} {:>22} {:>6.1}x",
                shown(&least),
                shown(&look_up),
                least[least.len() / 2].as_secs_f64() / look_up[look_up.len() / 2].as_secs_f64()
            );
        }
    }
}

fn once<T>(deed: impl FnOnce() -> T) -> Duration {
    let started = Instant::now();
    black_box(deed());
    started.elapsed()
}

fn median<T>(count: usize, deed: impl Fn() -> T) -> Duration {
    let mut times: Vec<Duration> = (0..count).map(|_| once(&deed)).collect();
    times.sort();
    times[count / 2]
}

fn each<T>(jobs: &[T], deed: impl Fn(&T)) -> Vec<Duration> {
    let mut times: Vec<Duration> = jobs.iter().map(|job| once(|| deed(job))).collect();
    times.sort();
    times
}

fn shown(times: &[Duration]) -> String {
    format!("{:.1?}/{:.1?}", times[times.len() / 2], times[times.len() * 99 / 100])
}

/// A small generator of random numbers: the same jobs in each run.
struct Random(u64);

impl Random {
    fn below(&mut self, most: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % most as u64).unwrap()
    }
}
