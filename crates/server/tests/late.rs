//! A request expires while its page is open, in a real browser. What it does is in `tests/pages/late.mjs`.
#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stderr, reason = "tests")]

use std::path::Path;
use std::process::Stdio;
use std::sync::Arc;

use keywright_broker::ask::Ask;
use keywright_broker::passkey::Counts;
use keywright_core::receipt::Status;
use keywright_server::http::{self, Door};
use keywright_testkit::{World, ask};
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::process::Command;
use tokio::sync::watch;

#[tokio::test]
async fn a_touch_that_comes_too_late_approves_nothing() {
    let world = World::new().await;
    let listeners = http::listen("127.0.0.1:0".parse().unwrap(), false).await.unwrap();
    let origin = format!("http://localhost:{}", listeners.first().unwrap().local_addr().unwrap().port());
    let door = Door::new(Arc::clone(&world.broker), &origin).unwrap();
    let (stop, stopped) = watch::channel(false);
    tokio::spawn(http::serve(listeners, door, stopped));
    let code = world.broker.invite_passkey(&world.ana().await, "laptop", Counts::AtOnce).await.unwrap();
    let wish = Ask { environment: "elsewhere".to_owned(), ..ask("example.com", "CF_TOKEN") };
    let receipt = world.request(&wish).await.unwrap();
    assert_eq!((receipt.status, receipt.approvals.needed), (Status::PendingApproval, 1));
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().unwrap();
    let browser = Command::new("node")
        .arg(root.join("tests/pages/late.mjs"))
        .env("PEERS", root.join(".peers"))
        .env("ORIGIN", &origin)
        .env("CODE", &code)
        .env("REQUEST", receipt.request.to_string())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn();
    let skipped = |why: &str| {
        assert!(std::env::var_os("CI").is_none(), "{why}");
        eprintln!("SKIPPED: {why}");
    };
    let Ok(mut browser) = browser else { return skipped("there is no node") };
    let mut said = BufReader::new(browser.stdout.take().unwrap()).lines();
    let Some(open) = said.next_line().await.unwrap() else {
        assert_eq!(browser.wait().await.unwrap().code(), Some(77), "the script failed");
        return skipped("playwright-core or Chromium is missing");
    };
    assert_eq!(open, "open");
    // A day and more passes while the page lies there.
    world.clock.advance(jiff::SignedDuration::from_hours(25));
    world.broker.tick().await.unwrap();
    browser.stdin.take().unwrap().write_all(b"go on\n").await.unwrap();
    let mut rest = String::new();
    while let Some(line) = said.next_line().await.unwrap() {
        rest.push_str(&line);
    }
    assert!(browser.wait().await.unwrap().success(), "{rest}");
    assert_eq!(world.sandbox.live_tokens_named_like("kw-").len(), 0);
    let _ = stop.send(true);
}
