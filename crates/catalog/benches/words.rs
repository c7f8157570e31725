//! What plain words cost: a search over all catalogs, beside a linear scan of the same names in memory, and a plan.
//!
//! `cargo bench -p keywright-catalog --bench words` prints the table.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "a bench: it prints, and stops when it can't be set up"
)]

use std::hint::black_box;
use std::time::{Duration, Instant};

use keywright_catalog::Catalog;
use keywright_catalog::built_in::every;
use keywright_catalog::words::plan;

/// What people say, some of it long, some of it wrong.
const WORDS: [(&str, &str); 12] = [
    ("cloudflare", "flush the cdn of example.com after each release"),
    ("cloudflare", "publish a worker with wrangler and its routes"),
    ("cloudflare", "certbot needs a txt record, then it goes away again"),
    (
        "cloudflare",
        "we moved the shop to another host and want the old addresses to lead there, a few hundred of them",
    ),
    ("cloudflare", "chekc the certifcates that expire soon"),
    ("github", "open a pull request with bumped dependencies, label it and ask for a review"),
    ("github", "read workflow logs when the nightly build is red"),
    ("aws", "sync the built site to s3 and invalidate cloudfront"),
    ("aws", "start the dev boxes in the morning and stop them at night, nothing else"),
    ("digitalocean", "kubeconfig of the cluster in ci"),
    ("tailscale", "ephemeral keys for runners"),
    ("sendgrid", "list bounced addresses and delete the old ones"),
];

fn main() {
    let catalogs: Vec<&Catalog> = every().map(|one| one.catalog().unwrap()).collect();
    let entries: usize =
        catalogs.iter().map(|one| one.permissions().len() + one.all_operations().len()).sum();
    let names: Vec<String> = catalogs
        .iter()
        .flat_map(|one| {
            let permissions = one.permissions().iter().map(|one| one.name.to_lowercase());
            let operations =
                one.all_operations().iter().map(|one| format!("{} {}", one.path, one.id).to_lowercase());
            permissions.chain(operations).collect::<Vec<_>>()
        })
        .collect();
    let first = |run: &dyn Fn()| {
        let started = Instant::now();
        run();
        started.elapsed()
    };
    println!("{entries} entries in {} catalogs", catalogs.len());
    let build = first(&|| search(&catalogs, "dns record"));
    println!("the first search, which builds the indexes      {}", shown_one(build));
    let first_plan = first(&|| drop(black_box(plan(WORDS[0].1, Catalog::cloudflare().unwrap()))));
    println!("the first plan, which reads the knowledge file  {}", shown_one(first_plan));
    println!("{:<40} {:>22}", "", "p50/p99");
    let mut next = WORDS.iter().cycle();
    let searched = times(2_000, || search(&catalogs, next.next().unwrap().1));
    println!("{:<40} {:>22}", "search over all catalogs", shown(&searched));
    let slowest = WORDS
        .iter()
        .map(|(_, words)| times(200, || search(&catalogs, words)))
        .max_by_key(|times| times[times.len() / 2]);
    println!(
        "{:<40} {:>22}",
        "the slowest of these questions",
        slowest.map(|times| shown(&times)).unwrap_or_default()
    );
    let mut next = WORDS.iter().cycle();
    let scanned = times(200, || scan(&names, next.next().unwrap().1));
    println!("{:<40} {:>22}", "linear scan over the same entries", shown(&scanned));
    for (provider, words) in WORDS {
        black_box(plan(words, Catalog::for_provider(provider).unwrap()));
    }
    let mut next = WORDS.iter().cycle();
    let planned = times(5_000, || {
        let (provider, words) = next.next().unwrap();
        drop(black_box(plan(words, Catalog::for_provider(provider).unwrap())));
    });
    println!("{:<40} {:>22}", "plan", shown(&planned));
    let long = "the release job purges the cache and uploads the new build to the bucket. ".repeat(50);
    let planned = times(100, || drop(black_box(plan(&long, Catalog::cloudflare().unwrap()))));
    println!("{:<40} {:>22}", "plan, the longest text that is read", shown(&planned));
}

fn search(catalogs: &[&Catalog], words: &str) {
    for catalog in catalogs {
        black_box(catalog.search(words, 10));
        black_box(catalog.operations(words, 10));
    }
}

/// How many of the words each name has, as somebody would count without an index.
fn scan(names: &[String], words: &str) {
    let words: Vec<String> = words.split_whitespace().map(str::to_lowercase).collect();
    let mut best: Vec<(usize, usize)> = names
        .iter()
        .map(|name| words.iter().filter(|word| name.contains(word.as_str())).count())
        .enumerate()
        .map(|(at, count)| (count, at))
        .filter(|(count, _)| *count > 0)
        .collect();
    best.sort_unstable_by(|a, b| b.cmp(a));
    best.truncate(10);
    black_box(best);
}

fn times(runs: usize, mut run: impl FnMut()) -> Vec<Duration> {
    for _ in 0..runs / 10 {
        run();
    }
    let mut times: Vec<Duration> = (0..runs)
        .map(|_| {
            let started = Instant::now();
            run();
            started.elapsed()
        })
        .collect();
    times.sort_unstable();
    times
}

fn shown(times: &[Duration]) -> String {
    let at = |percent: usize| shown_one(times[(times.len() - 1) * percent / 100]);
    format!("{} / {}", at(50), at(99))
}

fn shown_one(time: Duration) -> String {
    format!("{:.1} us", time.as_secs_f64() * 1e6)
}
