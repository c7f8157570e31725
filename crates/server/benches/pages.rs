//! The review pages over a ledger that is full: `cargo bench -p keywright-server --bench pages`, with `KEYWRIGHT_SCALE_KEYS` and
//! `KEYWRIGHT_SCALE_WAITING` for other numbers than 100,000 keys and 10,000 requests that wait. With `KEYWRIGHT_SCALE_HOME` the home is
//! kept there, and made only once.
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::indexing_slicing,
    reason = "a bench prints its figures"
)]

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use keywright_broker::home::Home;
use keywright_broker::review::Pending;
use keywright_ledger::{KeysSought, Location};
use keywright_server::http::{self, Door};
use keywright_testkit::{TestClock, many};
use reqwest::header;
use reqwest::redirect::Policy;
use tokio::sync::watch;

/// How often each page is asked for.
const LOOKS: usize = 200;

#[tokio::main]
async fn main() {
    let number = |name: &str, usual: usize| std::env::var(name).map_or(usual, |text| text.parse().unwrap());
    let (keys, waiting) =
        (number("KEYWRIGHT_SCALE_KEYS", 100_000), number("KEYWRIGHT_SCALE_WAITING", 10_000));
    let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let home: PathBuf = std::env::var_os("KEYWRIGHT_SCALE_HOME").map_or(dir.path().join("home"), Into::into);
    let clock = TestClock::default();
    if !Home::at(&home).exists() {
        many::fill(&home, &Location::File(home.join("ledger.db")), &clock, keys).await;
    }
    let broker = many::open(&home, &clock).await;
    let health = broker.health().await.unwrap();
    let there = usize::try_from(health.requests_pending).unwrap();
    if there < waiting {
        let start = Instant::now();
        many::wait(&broker, waiting - there).await;
        println!("{} requests asked for in {:.1} s", waiting - there, start.elapsed().as_secs_f64());
    }
    let health = broker.health().await.unwrap();
    println!(
        "{} keys, {} requests that wait, {} entries in the log",
        health.keys_active, health.requests_pending, health.audit_entries
    );
    let listeners = http::listen("127.0.0.1:0".parse().unwrap(), false).await.unwrap();
    let origin = format!("http://localhost:{}", listeners[0].local_addr().unwrap().port());
    let door = Door::new(Arc::clone(&broker), &origin).unwrap();
    let (stop, stopped) = watch::channel(false);
    tokio::spawn(http::serve(listeners, door, stopped));
    let client = reqwest::Client::builder().redirect(Policy::none()).build().unwrap();
    let entered = client
        .post(format!("{origin}/door"))
        .header(header::ORIGIN, &origin)
        .header("sec-fetch-site", "same-origin")
        .header(header::CONTENT_TYPE, "application/x-www-form-urlencoded")
        .body("passphrase=correct+horse+battery+staple&to=%2F")
        .send()
        .await
        .unwrap();
    let cookie =
        entered.headers()[header::SET_COOKIE].to_str().unwrap().split(';').next().unwrap().to_owned();
    let inbox = broker.inbox_part(None, 50).await.unwrap();
    let place = inbox.next.unwrap();
    let Pending::Key(first) = &inbox.waiting[0] else { return };
    let key = broker.trace("KEY_77").await.unwrap().key.id;
    let older = broker.keys_part(KeysSought::default(), 50).await.unwrap().last().unwrap().key.id;
    let pages = [
        "/".to_owned(),
        format!("/?after={}.{}.{}", place.risk, place.created_at.as_millisecond(), place.id),
        format!("/r/{}", first.request),
        "/keys".to_owned(),
        format!("/keys?after={older}"),
        "/keys?q=KEY_5".to_owned(),
        "/keys?q=nothing-of-this-name".to_owned(),
        "/keys?state=owed".to_owned(),
        "/keys?agent=asking-0".to_owned(),
        format!("/keys/{key}"),
        "/agents".to_owned(),
        "/agents/asking-0".to_owned(),
        "/templates".to_owned(),
        "/templates/cloudflare/dns-edit-10d".to_owned(),
        "/policy".to_owned(),
        "/audit".to_owned(),
        "/audit?deed=key.mint".to_owned(),
        "/audit?q=KEY_5".to_owned(),
        "/audit?who=ana".to_owned(),
        "/audit?who=nobody-of-this-name".to_owned(),
        "/audit?deed=policy.apply&went=badly".to_owned(),
        "/audit?from=2999-01-01".to_owned(),
        "/audit/ent_12".to_owned(),
        "/health".to_owned(),
        "/passkeys".to_owned(),
    ];
    println!("{LOOKS} looks at each page over loopback, one after the other (goal: p95 under 100 ms)");
    for page in pages {
        let (mut times, mut size, mut status) = (Vec::with_capacity(LOOKS), 0, 0);
        for look in 0..LOOKS {
            let start = Instant::now();
            let answer = client
                .get(format!("{origin}{page}"))
                .header(header::COOKIE, &cookie)
                .header("sec-fetch-site", "same-origin")
                .send()
                .await
                .unwrap();
            status = answer.status().as_u16();
            size = answer.bytes().await.unwrap().len();
            times.push(start.elapsed());
            // One that takes seconds need not be asked for as often.
            if look >= 20 && times.iter().sum::<Duration>() > Duration::from_secs(20) {
                break;
            }
        }
        times.sort_unstable();
        let at = |part: usize| times[(times.len() * part / 100).min(times.len() - 1)].as_secs_f64() * 1e3;
        let shown =
            if page.len() > 34 { format!("{}...", page.chars().take(31).collect::<String>()) } else { page };
        println!(
            "  {shown:<36} {status} {:6.1} kB   p50 {:8.2} ms, p95 {:8.2} ms, p99 {:8.2} ms",
            size as f64 / 1e3,
            at(50),
            at(95),
            at(99)
        );
    }
    stop.send(true).unwrap();
}
