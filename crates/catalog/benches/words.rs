//! What plain words cost: a search over all catalogs and a plan, beside a linear scan of the same names in memory, and what
//! it takes to open the catalogs. Of a plan over 4,000 bytes, the longest text that is read, only the time is shown.
//!
//! `cargo bench -p keywright-catalog --bench words` prints the table, `cargo xtask eval --bench` the scores with it.
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

/// A job over and over, until the text is as long as one may be.
const LONG: &str = "the release job purges the cache and uploads the new build to the bucket. ";

/// As long, and nothing in it comes twice: what a person pastes.
const STORY: [&str; 4] = ["the", "for", "when", "and"];

fn main() {
    let only = std::env::args().skip(1).find(|argument| !argument.starts_with('-'));
    if only.as_deref() == Some("long") {
        plan_long(2_000);
        return;
    }
    if only.as_deref() == Some("first") {
        drop(black_box(plan(WORDS[0].1, Catalog::cloudflare().unwrap())));
        return;
    }
    sizes();
    let catalogs: Vec<&Catalog> = open();
    println!("\n{:<48} {:>22} {:>22}", "", "p50 / p99", "a scan takes as long");
    let scanned = search_all(&catalogs);
    plan_short(scanned);
    plan_long(200);
}

/// What is compiled in.
fn sizes() {
    let packed: usize = every().map(|one| one.packed_size()).sum();
    let text: usize = every().map(|one| one.text().unwrap().len()).sum();
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../catalogs");
    let words: u64 = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap())
        .filter(|entry| entry.path().extension().is_some_and(|end| end == "words"))
        .map(|entry| entry.metadata().unwrap().len())
        .sum();
    println!(
        "compiled in: catalogs {:.2} MB ({:.2} MB of text), words {:.2} MB",
        packed as f64 / 1e6,
        text as f64 / 1e6,
        words as f64 / 1e6
    );
}

/// What whoever asks first waits for. The text of each catalog is unpacked anew.
fn open() -> Vec<&'static Catalog> {
    let cloudflare = every().find(|one| one.provider == "cloudflare").unwrap();
    let text = cloudflare.text().unwrap();
    println!(
        "{:<48} {:>22}",
        "read one catalog (Cloudflare)",
        shown_one(once(|| Catalog::parse(text).unwrap()))
    );
    let first = once(|| plan(WORDS[0].1, Catalog::cloudflare().unwrap()));
    println!("{:<48} {:>22}", "the first plan, with all that it reads", shown_one(first));
    let all = once(|| every().map(|one| one.catalog().unwrap()).collect::<Vec<_>>());
    println!("{:<48} {:>22}", "read all the others, AWS's 20,000 actions too", shown_one(all));
    let catalogs: Vec<&Catalog> = every().map(|one| one.catalog().unwrap()).collect();
    let first = once(|| search(&catalogs, "dns record"));
    println!("{:<48} {:>22}", "the first search, which builds all indexes", shown_one(first));
    catalogs
}

/// Searches, and returns what a linear scan takes.
fn search_all(catalogs: &[&Catalog]) -> Duration {
    let names: Vec<String> = catalogs
        .iter()
        .flat_map(|one| {
            let permissions = one.permissions().iter().map(|one| one.name.to_lowercase());
            let operations =
                one.all_operations().iter().map(|one| format!("{} {}", one.path, one.id).to_lowercase());
            permissions.chain(operations).collect::<Vec<_>>()
        })
        .collect();
    let mut next = WORDS.iter().cycle();
    let scanned = times(200, || scan(&names, next.next().unwrap().1));
    let scan = scanned[scanned.len() / 2];
    row(&format!("linear scan over {} names in memory", names.len()), &scanned, scan);
    let mut next = WORDS.iter().cycle();
    row("search over all catalogs", &times(2_000, || search(catalogs, next.next().unwrap().1)), scan);
    let slowest = WORDS
        .iter()
        .map(|(_, words)| times(200, || search(catalogs, words)))
        .max_by_key(|times| times[times.len() / 2]);
    row("search, the slowest of these questions", &slowest.unwrap(), scan);
    scan
}

fn plan_short(scanned: Duration) {
    for (provider, words) in WORDS {
        black_box(plan(words, Catalog::for_provider(provider).unwrap()));
    }
    let mut next = WORDS.iter().cycle();
    let planned = times(5_000, || {
        let (provider, words) = next.next().unwrap();
        drop(black_box(plan(words, Catalog::for_provider(provider).unwrap())));
    });
    row("plan", &planned, scanned);
}

fn plan_long(runs: usize) {
    let texts =
        [("plan, 4,000 bytes of the same job", LONG.repeat(54)), ("plan, 4,000 bytes of a story", story())];
    for (what, text) in texts {
        let text = &text[..text.len().min(4_000)];
        let planned = times(runs, || drop(black_box(plan(text, Catalog::cloudflare().unwrap()))));
        println!("{what:<48} {:>22}", shown(&planned));
    }
}

/// Words that nobody knows, among some that everybody does.
fn story() -> String {
    let mut text = String::new();
    let mut seed = 7_u32;
    while text.len() < 4_000 {
        let word: String = (0..4 + seed % 7)
            .map(|_| {
                seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                char::from(b'a' + (seed >> 24) as u8 % 26)
            })
            .collect();
        let small = STORY[seed as usize % STORY.len()];
        text.push_str(&format!("{small} {word} "));
        if seed.is_multiple_of(9) {
            text.push_str("records. ");
        }
    }
    text
}

fn row(what: &str, times: &[Duration], scanned: Duration) {
    let ratio = scanned.as_secs_f64() / times[times.len() / 2].as_secs_f64();
    println!("{what:<48} {:>22} {:>22}", shown(times), format!("{ratio:.1} x"));
}

fn once<T>(run: impl FnOnce() -> T) -> Duration {
    let started = Instant::now();
    black_box(run());
    started.elapsed()
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
