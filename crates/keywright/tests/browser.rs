//! The review pages in a real browser: two people with their authenticators, an agent that asks, and pages that mean harm. What they do
//! is in `tests/pages/flow.mjs`.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "tests"
)]

mod mcp_support;

use std::path::{Path, PathBuf};
use std::process::Command;

use keywright_sandbox::{Fault, FaultKind};
use keywright_server::mcp_client::Client;
use mcp_support::it::{BOBS, Serving, World, bare};
use mcp_support::{server, world};
use serde_json::{Value, json};

/// What an agent writes so that whoever reads it sees, or runs, something else.
const NAUGHTY: &str = "<script>window.hacked = 1</script><img src=x onerror='window.hacked = 1'>\u{202e}\u{200b}\u{1b}[31m \"'>";

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().unwrap()
}

/// Asks as the agent; gives the request's id.
async fn asks(
    agent: &Client,
    name: &str,
    template: &str,
    env: &str,
    purpose: &str,
    ttl: Option<&str>,
) -> Value {
    let mut ask = json!({
        "template": template, "parameters": { "zone": "example.com" }, "project": "web", "environment": env,
        "name": name, "purpose": purpose, "prompt": purpose, "idempotency_key": name,
    });
    if let Some(ttl) = ttl {
        ask["ttl"] = json!(ttl);
    }
    let receipt = agent.call("request_key", ask).await.unwrap().content;
    assert_eq!(receipt["status"], "pending_approval", "{receipt}");
    receipt["request"].clone()
}

/// One of the scripts that drive a browser.
fn script(name: &str) -> Command {
    let mut node = Command::new("node");
    node.arg(root().join("tests/pages").join(name))
        .env("KEYWRIGHT", bare().get_program())
        .env("PEERS", root().join(".peers"));
    node
}

/// What it printed; nothing, said aloud, where there is no browser.
fn played(mut script: Command) -> Option<String> {
    let output = match script.output() {
        Ok(output) if output.status.code() != Some(77) => output,
        _ => {
            assert!(
                std::env::var_os("CI").is_none(),
                "node, playwright-core, axe-core or Chromium is missing"
            );
            eprintln!("SKIPPED: node, playwright-core, axe-core or Chromium is missing");
            return None;
        }
    };
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{out}{err}");
    Some(out.into_owned())
}

#[test]
fn somebody_new_plays_the_demo_to_its_end() {
    if let Some(out) = played(script("demo.mjs")) {
        print!("{out}");
    }
}

#[test]
fn a_terminal_asks_whether_the_browser_shows_the_same_passkey() {
    let world: World = world();
    let (_broker, _ready) = Serving::with(&world, &["--listen", "127.0.0.1:0"]);
    let mut browser = script("compare.mjs");
    browser.env("KEYWRIGHT_HOME", world.home()).env("PASS", world.path("pass"));
    let Some(out) = played(browser) else { return };
    print!("{out}");
    world.assert_nothing_leaked();
}

#[test]
fn every_page_fits_a_desk_and_a_phone() {
    let world: World = world();
    let (_broker, ready) = Serving::with(&world, &["--listen", "127.0.0.1:0"]);
    let origin = ready["pages"].as_str().unwrap().to_owned();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let waiting = runtime.block_on(async {
        let agent = Client::start(server(&world, "builder").into()).await.unwrap();
        let edit = "cloudflare/dns-edit";
        let shop = "Publish the TXT record that proves to the mail provider that the shop's domain is ours";
        let blog = "Point the blog's name at the new host";
        let waiting = json!({
            "shop": asks(&agent, "SHOP_MAIL", edit, "production", shop, None).await,
            "blog": asks(&agent, "BLOG", edit, "shop", blog, None).await,
            "mail": asks(&agent, "BLOG_PREVIEW", edit, "shop", blog, None).await,
            "status": asks(&agent, "STATUS_PAGE", edit, "shop", "Move the status page", None).await,
            "newsletter":
                asks(&agent, "NEWSLETTER", "cloudflare/dns-long", "dev", "Send the newsletter", Some("120d")).await,
            "proposal": agent.call("propose_template", json!({
                "id": "cloudflare/dns-look", "title": "Read the DNS records of one zone", "provider": "cloudflare",
                "tier": "standard", "permissions": ["DNS Read"], "parameters": { "zone": { "kind": "cloudflare.zone" } },
                "limits": { "ttl_max": "7d", "destinations": ["embedded:*"] },
                "why": "To compare the records with the plan before I change any",
            })).await.unwrap().content["request"].clone(),
        });
        agent.end().await;
        waiting
    });
    let mut browser = script("pictures.mjs");
    browser
        .env("KEYWRIGHT_HOME", world.home())
        .env("ORIGIN", origin)
        .env("PASS", world.path("pass"))
        .env("ASKS", waiting.to_string());
    let Some(out) = played(browser) else { return };
    print!("{out}");
    world.assert_nothing_leaked();
}

/// What a provider may answer that means harm, in 100 kB.
fn hostile() -> String {
    let harm = "<script>window.hacked = 1</script><img src=x onerror='window.hacked = 1'></dd></dl><h1>approved by Keywright</h1>\
                \u{1b}[2J\u{1b}[31m\u{202e}\u{200b}\u{2066}\r\n\u{0}\u{9b}31m";
    format!("{harm}{}{harm}", "x".repeat(100_000))
}

#[test]
fn what_a_provider_answers_runs_nothing_and_steers_nothing() {
    let world: World = world();
    let (_broker, ready) = Serving::with(&world, &["--listen", "127.0.0.1:0"]);
    let origin = ready["pages"].as_str().unwrap().to_owned();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let asked = runtime.block_on(async {
        let agent = Client::start(server(&world, "builder").into()).await.unwrap();
        let asked = asks(&agent, "HOSTILE", "cloudflare/dns-edit", "elsewhere", "a record", None).await;
        agent.end().await;
        asked
    });
    let fault = Fault::on("POST", "/accounts/*/tokens", FaultKind::Says { message: hostile() });
    world.with_sandbox(|sandbox| sandbox.inject(fault.times(100))).unwrap();
    let mut browser = script("hostile.mjs");
    browser
        .env("KEYWRIGHT_HOME", world.home())
        .env("ORIGIN", origin)
        .env("PASS", world.path("pass"))
        .env("ASKED", asked.as_str().unwrap());
    let Some(out) = played(browser) else { return };
    print!("{out}");
    let hits = world.with_sandbox(keywright_sandbox::Sandbox::faults).iter().map(|one| one.hits).sum::<u32>();
    assert!(hits > 0, "the provider said it");
    world.assert_nothing_leaked();
}

#[test]
fn people_approve_with_a_touch_and_nobody_else_does_anything() {
    let world: World = world();
    world.secret("bobs", BOBS);
    world.ok(&["operator", "add", "bob", "--new-passphrase-file", "bobs"]);
    let (_broker, ready) = Serving::with(&world, &["--listen", "127.0.0.1:0"]);
    let origin = ready["pages"].as_str().unwrap().to_owned();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let waiting = runtime.block_on(async {
        let agent = Client::start(server(&world, "builder").into()).await.unwrap();
        let (edit, long) = ("cloudflare/dns-edit", "cloudflare/dns-long");
        let waiting = json!({
            "two": asks(&agent, "TWO", edit, "production", "a record", None).await,
            "less": asks(&agent, "LESS", long, "dev", "a record", Some("120d")).await,
            "rejected": asks(&agent, "REJECTED", long, "dev", "a record", Some("121d")).await,
            "late": asks(&agent, "LATE", long, "dev", "a record", Some("122d")).await,
            "alike": asks(&agent, "ALIKE", edit, "elsewhere", "a record for each", None).await,
            "other": asks(&agent, "OTHER", edit, "elsewhere", "a record for each", None).await,
            "third": asks(&agent, "THIRD", edit, "elsewhere", "a record for each", None).await,
            "odd": asks(&agent, "ODD", long, "dev", "a record", Some("123d")).await,
            "fresh": asks(&agent, "FRESH", long, "dev", "a record", Some("124d")).await,
            "imitation": agent.call("request_key", json!({
                "template": edit, "parameters": { "zone": "xn--xample-2of.com" }, "project": "web", "environment": "lab",
                "name": "IMITATION", "purpose": "a record", "prompt": "a record", "idempotency_key": "IMITATION",
            })).await.unwrap().content["request"].clone(),
            "naughty": asks(&agent, "NAUGHTY", edit, "production", NAUGHTY, None).await,
            "proposal": agent.call("propose_template", json!({
                "id": "cloudflare/dns-look", "title": "Look at DNS <script>", "provider": "cloudflare", "tier": "standard",
                "permissions": ["DNS Read"], "parameters": { "zone": { "kind": "cloudflare.zone" } },
                "limits": { "ttl_max": "7d", "destinations": ["embedded:*"] }, "why": NAUGHTY,
            })).await.unwrap().content["request"].clone(),
        });
        agent.end().await;
        waiting
    });
    let mut browser = script("flow.mjs");
    browser
        .env("KEYWRIGHT_HOME", world.home())
        .env("ORIGIN", origin)
        .env("PASS", world.path("pass"))
        .env("BOBS", world.path("bobs"))
        .env("ASKS", waiting.to_string());
    let Some(out) = played(browser) else { return };
    print!("{out}");

    let verified = world.ok(&["audit", "verify"]);
    assert_eq!(verified["sound"], true, "{verified}");
    // What was approved by touch stands in the log, with what anybody can check again.
    let log = world.alice(&["audit", "export"]).expect(0).out;
    let touched =
        |deed: &str| log.lines().filter(|line| line.contains(deed) && line.contains("\"webauthn\"")).count();
    assert_eq!(touched("\"approval.give\""), 5, "{out}");
    assert_eq!(touched("\"request.reject\""), 2, "{out}");
    assert_eq!((touched("\"template.apply\""), touched("\"agent.resume\"")), (1, 1));
    assert_eq!(touched("\"grant.add\""), 1);
    assert_eq!(touched("\"operator.touch\""), 4, "a grant that was removed, a pause, and two revocations");
    world.assert_nothing_leaked();
}
