//! People hear that something waits for them: once, again while nobody decides, later where it is quiet; and of nothing that
//! waits no longer.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stderr,
    reason = "tests"
)]

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp, ToSpan as _};
use keywright_broker::Code;
use keywright_broker::approve::Less;
use keywright_broker::ask::Ask;
use keywright_broker::consumers::{NewConsumer, PATIENCE, Way};
use keywright_broker::notify::{DEAD, NewChannel, quiet};
use keywright_broker::review::Pending;
use keywright_core::audit::Deed;
use keywright_core::channel::{ChannelKind, NoticeState, Rules};
use keywright_core::consumer::Uses;
use keywright_core::plan::Principal;
use keywright_core::receipt::Status;
use keywright_core::secret::Secret;
use keywright_core::span::Span;
use keywright_ledger::{AuditFilter, ConfiguredChannel, OwedNotice};
use keywright_testkit::{DNS_EDIT, Taken, Taker, World, ask};

const WAIT: Duration = Duration::from_secs(20);
const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
const AT_ONCE: Rules =
    Rules { after: None, remind: None, quiet: None, is_urgent: false, with_purpose: false };

fn webhook(name: &str, url: String, rules: Rules) -> NewChannel {
    NewChannel {
        name: name.parse().unwrap(),
        kind: ChannelKind::Webhook,
        settings: BTreeMap::from([("url".to_owned(), url)]),
        rules,
        credential: Some(Secret::new(SECRET.to_owned())),
    }
}

fn secret_address(kind: ChannelKind, url: String, rules: Rules) -> NewChannel {
    let credential = Some(Secret::new(url));
    NewChannel { name: kind.as_str().parse().unwrap(), kind, settings: BTreeMap::new(), rules, credential }
}

async fn add(world: &World, new: NewChannel) {
    let ana = world.ana().await;
    world.broker.add_channel(&ana, new).await.unwrap();
}

/// A request for a production key, which waits for two operators.
async fn waiting(world: &World, name: &str) -> String {
    let ask = Ask { environment: "production".to_owned(), ..ask("example.com", name) };
    let receipt = world.request(&ask).await.unwrap();
    assert_eq!(receipt.status, Status::PendingApproval);
    receipt.request.to_string()
}

async fn reject(world: &World, request: &str) {
    let ana = world.ana().await;
    world.broker.reject(&ana, request, "not now").await.unwrap();
}

/// Lets time pass, and has the broker tell what is due.
async fn pass(world: &World, seconds: i64) {
    world.clock.advance(SignedDuration::from_secs(seconds));
    world.broker.tell_channels().await.unwrap();
}

async fn notices(world: &World, about: &str) -> Vec<OwedNotice> {
    let ledger = keywright_ledger::Ledger::open(&world.location(), world.clock.as_clock()).unwrap();
    keywright_testkit::unlock(&ledger, "ana", &World::passphrase()).await;
    let about = about.to_owned();
    ledger.read(move |tx| tx.notices_about(&about)).await.unwrap()
}

async fn channel(world: &World, name: &str) -> ConfiguredChannel {
    let all = world.broker.channels().await.unwrap();
    all.into_iter().find(|one| one.name.as_str() == name).unwrap()
}

/// The entries about what channels told.
async fn entries(world: &World) -> Vec<keywright_core::audit::Record> {
    let all = world.broker.log(AuditFilter { limit: 1_000, ..AuditFilter::default() }).await.unwrap();
    let records = all.iter().map(|entry| entry.record().clone());
    records.filter(|record| record.deed == Deed::ChannelTell).collect()
}

fn data(message: &Taken) -> serde_json::Value {
    message.json()["data"].clone()
}

#[tokio::test]
async fn a_request_that_waits_is_told_once_with_all_that_a_reviewer_sees_first() {
    let world = World::new().await;
    let taker = Taker::always(204);
    add(&world, webhook("ops", taker.url("/hook"), AT_ONCE)).await;
    let request = waiting(&world, "CF_TOKEN").await;
    for _ in 0..3 {
        pass(&world, 120).await;
    }
    let taken = taker.taken();
    assert_eq!(taken.len(), 1, "{taken:?}");
    let Pending::Key(review) = world.broker.review(&request, &Less::default()).await.unwrap() else {
        panic!()
    };
    let body = taken[0].json();
    assert_eq!((&body["type"], &taken[0].line), (&"request.waiting".into(), &"POST /hook".to_owned()));
    // The world's clock runs on while it is moved.
    let waited = &body["data"]["waited_seconds"];
    assert!(waited.as_i64().is_some_and(|seconds| (120..240).contains(&seconds)), "{waited}");
    assert_eq!(
        body["data"],
        serde_json::json!({
            "channel": "ops", "about": request, "reminder": 0, "level": "high", "line": review.verdict.line,
            "facts": {
                "asked_by": "agent bot", "for": "web/production", "key": review.subject, "match_code": review.match_code,
                "approvals": "0 of 2",
            },
            "waited_seconds": waited, "url": null, "command": format!("keywright review show {request}"), "purpose": null,
        })
    );
    let told = &notices(&world, &request).await[0];
    assert_eq!((told.state, told.turn), (NoticeState::Told, 1));
    assert_eq!(taken[0].headers["webhook-id"], told.id.to_string());
    let entries = entries(&world).await;
    assert_eq!(entries.len(), 1);
    assert!(entries[0].result.as_ref().unwrap().ok && entries[0].subject.request == Some(request));
    assert!(channel(&world, "ops").await.told_at.is_some());
    verified_by_a_peer(&taken);
}

/// The library of Standard Webhooks itself says whether the signatures hold.
fn verified_by_a_peer(messages: &[Taken]) {
    const SCRIPT: &str = "import json, sys\nfrom standardwebhooks.webhooks import Webhook\nhook = Webhook(sys.argv[1])\n\
        for m in json.load(sys.stdin):\n    hook.verify(m['body'], m['headers'])\n    print('verified')\n";
    let python = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../.peers/venv/bin/python");
    let mut asks = std::process::Command::new(&python);
    if !asks.args(["-c", "import standardwebhooks"]).output().is_ok_and(|output| output.status.success()) {
        assert!(std::env::var_os("CI").is_none(), "no peer: `scripts/peers` installs it");
        eprintln!("SKIPPED, no standardwebhooks; `scripts/peers` installs it");
        return;
    }
    let mut child = std::process::Command::new(&python)
        .args(["-c", SCRIPT, SECRET])
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let said: Vec<_> =
        messages.iter().map(|m| serde_json::json!({ "body": m.body, "headers": m.headers })).collect();
    serde_json::to_writer(child.stdin.take().unwrap(), &said).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success());
    assert_eq!(String::from_utf8(output.stdout).unwrap().matches("verified").count(), messages.len());
}

#[tokio::test]
async fn what_nobody_decides_is_told_again_and_a_second_person_hears_of_it_later() {
    let world = World::new().await;
    let (first, second) = (Taker::always(200), Taker::always(200));
    let remind = Rules { remind: Some(Span::from_seconds(1_800)), ..AT_ONCE };
    add(&world, webhook("first", first.url("/"), remind)).await;
    let later = Rules { after: Some(Span::from_seconds(900)), ..AT_ONCE };
    add(&world, webhook("second", second.url("/"), later)).await;
    let (slow, quick) = (waiting(&world, "SLOW").await, waiting(&world, "QUICK").await);
    pass(&world, 1).await;
    assert_eq!((first.taken().len(), second.taken().len()), (2, 0));
    reject(&world, &quick).await;
    pass(&world, 900).await;
    // Only what waits still.
    assert_eq!((first.taken().len(), second.taken().len()), (2, 1));
    assert_eq!(data(&second.taken()[0])["about"], slow.as_str());
    pass(&world, 900).await;
    pass(&world, 1_801).await;
    let taken = first.taken();
    let about_slow: Vec<_> = taken.iter().filter(|one| data(one)["about"] == slow.as_str()).collect();
    assert_eq!(taken.len(), 4, "a reminder each half hour, and none of what was decided");
    let numbers: Vec<_> = about_slow.iter().map(|one| data(one)["reminder"].clone()).collect();
    assert_eq!(numbers, [0, 1, 2]);
    let ids: std::collections::BTreeSet<_> = taken.iter().map(|one| &one.headers["webhook-id"]).collect();
    assert_eq!(ids.len(), 4, "a reminder is another message");
    assert_eq!(second.taken().len(), 1);
    reject(&world, &slow).await;
    pass(&world, 86_400).await;
    assert_eq!(first.taken().len(), 4);
    for request in [&slow, &quick] {
        assert!(notices(&world, request).await.iter().all(|one| one.state != NoticeState::Owed));
    }
    assert_eq!(entries(&world).await.len(), 3, "a reminder is no entry");
}

#[tokio::test]
async fn what_is_quiet_is_told_when_that_ends_and_what_is_high_may_pass() {
    let world = World::new().await;
    let (patient, urgent) = (Taker::always(200), Taker::always(200));
    // From an hour ago until in two hours, by clocks in a zone of another date line.
    let local = |hours: i64| {
        let zone = jiff::tz::TimeZone::get("Pacific/Auckland").unwrap();
        zone.to_datetime(world.broker.now().checked_add(hours.hours()).unwrap()).strftime("%H:%M").to_string()
    };
    let hours = format!("{}-{}", local(-1), local(2));
    let quiet = Some(quiet(&hours, Some("Pacific/Auckland")).unwrap());
    let rules = Rules { quiet, ..AT_ONCE };
    add(&world, webhook("patient", patient.url("/"), rules.clone())).await;
    add(&world, webhook("urgent", urgent.url("/"), Rules { is_urgent: true, ..rules })).await;
    let decided = waiting(&world, "DECIDED").await;
    let high = waiting(&world, "HIGH").await;
    let proposed = world.broker.propose_template(&World::agent("bot"), &other(), "for later").await.unwrap();
    pass(&world, 1).await;
    let about = |taker: &Taker| -> Vec<String> {
        taker.taken().iter().map(|one| data(one)["about"].as_str().unwrap().to_owned()).collect()
    };
    assert!(about(&patient).is_empty());
    assert_eq!(about(&urgent), [decided.clone(), high.clone()]);
    let waits = &notices(&world, &high).await[0];
    assert_eq!((waits.tries, waits.state), (0, NoticeState::Owed));
    reject(&world, &decided).await;
    pass(&world, 3_600).await;
    assert!(about(&patient).is_empty());
    pass(&world, 3_600 + 60).await;
    assert_eq!(about(&patient), [high, proposed.to_string()]);
    assert_eq!(about(&urgent).len(), 3);
}

fn other() -> String {
    DNS_EDIT.replace("cloudflare/dns-edit", "cloudflare/other").replace("dotenv:*", "dotenv:./.env")
}

#[tokio::test]
async fn zones_that_nobody_knows_and_spans_that_make_no_sense_are_refused() {
    let world = World::new().await;
    let ana = world.ana().await;
    let error = quiet("22:00-07:00", Some("Europe/Atlantis")).unwrap_err();
    assert!(error.message.contains("no time zone `Europe/Atlantis`"), "{error}");
    assert!(quiet("22-7", None).is_err());
    // The machine's own.
    let own = quiet("22:00-07:00", None).unwrap();
    assert!(own.zone == "UTC" || jiff::tz::TimeZone::get(&own.zone).is_ok());
    for rules in [
        Rules { after: Some(Span::from_seconds(10)), ..AT_ONCE },
        Rules { remind: Some(Span::from_seconds(40 * 86_400)), ..AT_ONCE },
        Rules { is_urgent: true, ..AT_ONCE },
    ] {
        let refused =
            world.broker.add_channel(&ana, webhook("x", "https://x.example".to_owned(), rules)).await;
        assert_eq!(refused.unwrap_err().code, Code::InvalidArgument);
    }
}

#[tokio::test]
async fn a_channel_that_fails_is_tried_again_says_so_and_is_given_up_after_a_day() {
    let world = World::new().await;
    let taker = Taker::answering(|number, _| Some((if number < 9 { 500 } else { 200 }, String::new())));
    add(&world, webhook("ops", taker.url("/"), AT_ONCE)).await;
    let request = waiting(&world, "CF_TOKEN").await;
    // The wire itself tries three times each time.
    for (tries, seconds) in [(1, 1), (2, 10), (3, 30)] {
        pass(&world, seconds).await;
        let owed = &notices(&world, &request).await[0];
        assert_eq!((owed.tries, owed.state), (tries, NoticeState::Owed), "{owed:?}");
        assert_eq!(owed.trouble.as_deref(), Some("it answered 500"));
        assert_eq!(channel(&world, "ops").await.failures, tries);
        let failing = world.broker.health().await.unwrap().channels_failing;
        let expected: &[&str] = if tries >= DEAD { &["channel `ops`: it answered 500"] } else { &[] };
        assert_eq!(failing, expected);
    }
    assert_eq!(entries(&world).await.len(), 1, "the same trouble is one entry");
    pass(&world, 100).await;
    let told = &notices(&world, &request).await[0];
    assert_eq!((told.state, &told.trouble), (NoticeState::Told, &None));
    let now = channel(&world, "ops").await;
    assert_eq!((now.failures, now.trouble.as_deref()), (0, Some("it answered 500")));
    assert!(now.failed_at.is_some() && now.told_at > now.failed_at);
    assert!(world.broker.health().await.unwrap().channels_failing.is_empty());
    // One that never comes back, and a request that waits for longer than it is tried.
    let ana = world.ana().await;
    world.broker.remove_channel(&ana, &"ops".parse().unwrap()).await.unwrap();
    add(&world, webhook("gone", "http://127.0.0.1:9/".to_owned(), AT_ONCE)).await;
    let proposed = world.broker.propose_template(&World::agent("bot"), &other(), "for later").await.unwrap();
    for _ in 0..14 {
        pass(&world, 7_200).await;
    }
    let given_up = &notices(&world, &proposed.to_string()).await[0];
    assert_eq!(given_up.state, NoticeState::GivenUp, "{given_up:?}");
    let entries = entries(&world).await;
    assert_eq!(entries.last().unwrap().facts["given_up"], true);
    assert_eq!(entries.len(), 4, "{entries:?}");
}

#[tokio::test]
async fn one_that_hangs_holds_up_nobody_else() {
    let world = World::new().await;
    let (hangs, well) = (Taker::answering(|_, _| None), Taker::always(200));
    add(&world, secret_address(ChannelKind::Slack, hangs.url("/services/a"), AT_ONCE)).await;
    add(&world, webhook("well", well.url("/"), AT_ONCE)).await;
    let (stop, stopping) = tokio::sync::watch::channel(false);
    let running = tokio::spawn(std::sync::Arc::clone(&world.broker).run_schedule(stopping));
    for name in ["ONE", "TWO"] {
        let request = waiting(&world, name).await;
        let is_told = || well.taken().iter().any(|one| data(one)["about"] == request.as_str());
        while !is_told() || hangs.taken().is_empty() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        // It is with the other one still, for the first time.
        assert_eq!(hangs.taken().len(), 1);
    }
    stop.send(true).unwrap();
    running.await.unwrap();
}

#[tokio::test]
async fn proposals_and_versions_that_live_too_long_are_told() {
    let world = World::new().await;
    let taker = Taker::always(200);
    let rotation = "[rotation]\nevery = \"20d\"\nquiet_for = \"1h\"\nmax_overlap = \"2h\"\n";
    let ana = world.ana().await;
    world.broker.apply_template(&ana, &format!("{DNS_EDIT}{rotation}")).await.unwrap();
    world.request(&ask("example.com", "CF_TOKEN")).await.unwrap();
    // The old version waits for it.
    let deaf = NewConsumer {
        name: "app".parse().unwrap(),
        uses: Uses { project: "web".parse().unwrap(), environment: None, names: "*".parse().unwrap() },
        way: Way::Command(vec!["/bin/false".to_owned()]),
        patience: PATIENCE,
    };
    world.broker.add_consumer(&ana, deaf).await.unwrap();
    let remind = Rules { remind: Some(Span::from_seconds(60)), with_purpose: true, ..AT_ONCE };
    add(&world, webhook("ops", taker.url("/"), remind)).await;
    let proposed =
        world.broker.propose_template(&World::agent("bot"), &other(), "for \"later\"").await.unwrap();
    pass(&world, 1).await;
    let told = taker.taken()[0].json();
    assert_eq!(told["type"], "proposal.waiting");
    let proposal = world.broker.review(&proposed.to_string(), &Less::default()).await.unwrap();
    let Pending::Template(proposal) = proposal else { panic!() };
    assert_eq!(told["data"]["line"], proposal.verdict.line);
    assert_eq!(
        (&told["data"]["purpose"], &told["data"]["level"]),
        (&"for \"later\"".into(), &"medium".into())
    );
    reject(&world, &proposed.to_string()).await;
    let caller = keywright_broker::record::Caller::plain(Principal::Operator("ana".parse().unwrap()));
    world.broker.rotate(&caller, "CF_TOKEN", "it is time", WAIT).await.unwrap();
    for _ in 0..12 {
        let by = SignedDuration::from_secs(1_200);
        world.clock.advance(by);
        world.sandbox.advance_clock(by.unsigned_abs());
        world.broker.tick().await.unwrap();
    }
    for _ in 0..3 {
        pass(&world, 120).await;
    }
    let late: Vec<_> =
        taker.taken().iter().map(Taken::json).filter(|m| m["type"] == "version.late").collect();
    assert_eq!(late.len(), 1, "it is told once, whatever the reminders are: {:?}", taker.taken());
    assert_eq!(late[0]["data"]["line"], "version 1 of CF_TOKEN was replaced, and still lives");
    let key = world.broker.trace("CF_TOKEN").await.unwrap().key.id;
    assert_eq!(late[0]["data"]["command"], format!("keywright key show {key}"));
}

#[tokio::test]
async fn a_purpose_is_told_where_the_channel_says_so_and_holds_no_secret_no_mention_and_no_link() {
    let world = World::new().await;
    let (plain, open) = (Taker::always(200), Taker::answering(|_, _| Some((200, "ok".to_owned()))));
    add(&world, webhook("plain", plain.url("/"), AT_ONCE)).await;
    let with = Rules { with_purpose: true, ..AT_ONCE };
    add(&world, secret_address(ChannelKind::Slack, open.url("/services/T/B/x"), with.clone())).await;
    add(&world, secret_address(ChannelKind::Discord, open.url("/api/webhooks/1/y"), with.clone())).await;
    add(&world, secret_address(ChannelKind::Ntfy, open.url("/topic"), with)).await;
    let parent = world.sandbox.parent_token().to_owned();
    let purpose = format!("<!channel> @everyone `x` <https://evil.example|Approve> {parent} \u{202e}txt");
    let ask = Ask { environment: "production".to_owned(), purpose, ..ask("example.com", "CF_TOKEN") };
    world.request(&ask).await.unwrap();
    pass(&world, 1).await;
    assert_eq!((plain.taken().len(), open.taken().len()), (1, 3), "{:?}", open.taken());
    assert!(!plain.taken()[0].body.contains("channel>"));
    for message in open.taken() {
        let body = &message.body;
        assert!(body.contains("channel") && body.contains("[redacted]"), "{body}");
        for bad in [parent.as_str(), "https://evil", "\u{202e}"] {
            assert!(!body.contains(bad), "{bad}: {body}");
        }
        // What is a format in both chats; a topic of ntfy knows none.
        assert!(message.line == "POST /" || !body.contains("`x`"), "{body}");
        assert!(!message.line.contains("/services/") || !body.contains("<!channel>"), "{body}");
    }
    let discord = open.taken().into_iter().find(|m| m.line == "POST /api/webhooks/1/y?wait=true").unwrap();
    assert_eq!(discord.json()["allowed_mentions"]["parse"], serde_json::json!([]));
}

#[tokio::test]
async fn a_message_leads_to_the_page_where_there_is_one() {
    let world = World::new().await;
    let taker = Taker::always(200);
    add(&world, webhook("ops", taker.url("/"), AT_ONCE)).await;
    world.broker.set_door("https://keys.example.com");
    world.broker.set_door("https://other.example.com");
    let request = waiting(&world, "CF_TOKEN").await;
    pass(&world, 1).await;
    let told = data(&taker.taken()[0]);
    assert_eq!(told["url"], format!("https://keys.example.com/r/{request}"));
    assert_eq!(told["command"], serde_json::Value::Null);
}

#[tokio::test]
async fn an_address_that_is_a_secret_is_sealed_shown_nowhere_and_gone_with_its_channel() {
    let world = World::new().await;
    let ana = world.ana().await;
    // It answers with what nobody should repeat.
    let taker = Taker::answering(|_, taken| Some((403, format!("no: {}", taken.line))));
    let url = taker.url("/services/T0000000/B0000000/Canary7xQ2mPw9RtKvLz4Yh1");
    add(&world, secret_address(ChannelKind::Slack, url.clone(), AT_ONCE)).await;
    waiting(&world, "CF_TOKEN").await;
    pass(&world, 1).await;
    let tested = world.broker.test_channel(&ana, &"slack".parse().unwrap()).await.unwrap_err();
    assert_eq!(tested.code, Code::Provider);
    let seen = format!(
        "{tested:?} {:?} {:?} {:?}",
        world.broker.channels().await.unwrap(),
        world.broker.health().await.unwrap(),
        entries(&world).await
    );
    assert!(seen.contains("it answered 403") && !seen.contains("Canary7x"), "{seen}");
    // Pasted by an agent, it is masked as well.
    let mask = world.broker.mask(&Secret::new("kwa_x".to_owned())).await.unwrap();
    assert_eq!(mask.clean(&format!("use {url} please")), "use [redacted] please");
    // In a setting it would lie in the clear.
    let mut open = webhook("open", "https://x.example/".to_owned(), AT_ONCE);
    open.settings.insert("url".to_owned(), url);
    let refused = world.broker.add_channel(&ana, open).await.unwrap_err();
    assert!(!format!("{refused:?}").contains("Canary7x"), "{refused:?}");
    let path = world.home.join("ledger.db");
    let count = || -> i64 {
        let ledger = rusqlite::Connection::open(&path).unwrap();
        let sql = "SELECT COUNT(*) FROM sealed_values WHERE owner LIKE 'channel:%'";
        ledger.query_row(sql, [], |row| row.get(0)).unwrap()
    };
    assert_eq!(count(), 1);
    world.broker.remove_channel(&ana, &"slack".parse().unwrap()).await.unwrap();
    assert_eq!(count(), 0);
    let before = taker.taken().len();
    pass(&world, 600).await;
    assert_eq!(taker.taken().len(), before, "nothing is told by one that was removed");
}

#[tokio::test]
async fn a_channel_that_was_changed_taken_out_or_put_back_tells_nobody_and_is_noticed() {
    let world = World::new().await;
    let ana = world.ana().await;
    let (taker, elsewhere) = (Taker::always(200), Taker::always(200));
    add(&world, webhook("ops", taker.url("/"), AT_ONCE)).await;
    let ledger = rusqlite::Connection::open(world.home.join("ledger.db")).unwrap();
    ledger.busy_timeout(Duration::from_secs(10)).unwrap();
    let unsound = || async { world.broker.soundness().await.unwrap().1 };
    assert!(unsound().await.is_empty());
    ledger.execute_batch("CREATE TEMP TABLE kept AS SELECT * FROM channels").unwrap();
    let request = waiting(&world, "ONE").await;
    let (here, there) = (taker.url("/"), elsewhere.url("/"));
    ledger
        .execute_batch(&format!("UPDATE channels SET settings = replace(settings, '{here}', '{there}')"))
        .unwrap();
    pass(&world, 1).await;
    assert!(unsound().await.iter().any(|line| line.contains("channel `ops`")));
    assert!(notices(&world, &request).await[0].trouble.as_ref().unwrap().contains("outside of Keywright"));
    ledger.execute_batch("DELETE FROM channels").unwrap();
    pass(&world, 60).await;
    assert!(unsound().await.iter().any(|line| line.contains("channel `ops` is on record")));
    assert_eq!((taker.taken().len(), elsewhere.taken().len()), (0, 0));
    // As it was: what is owed is told.
    ledger.execute_batch("INSERT INTO channels SELECT * FROM kept").unwrap();
    pass(&world, 600).await;
    assert_eq!(taker.taken().len(), 1);
    world.broker.remove_channel(&ana, &"ops".parse().unwrap()).await.unwrap();
    // What was removed, put back.
    ledger.execute_batch("PRAGMA foreign_keys = OFF; INSERT INTO channels SELECT * FROM kept").unwrap();
    waiting(&world, "TWO").await;
    pass(&world, 60).await;
    let refused = world.broker.test_channel(&ana, &"ops".parse().unwrap()).await.unwrap_err();
    assert!(refused.message.contains("outside of Keywright"), "{refused}");
    assert_eq!(taker.taken().len(), 1);
    // A notice that was pointed at something else is told of nothing.
    assert!(unsound().await.iter().any(|line| line.contains("channel `ops`")));
}

#[tokio::test]
async fn as_many_wait_high_as_the_inbox_says() {
    let world = World::new().await;
    waiting(&world, "ONE").await;
    let long = "id = \"cloudflare/dns-long\"\ntitle = \"T\"\nprovider = \"cloudflare\"\ntier = \"standard\"\n\
        permissions = [\"DNS Write\"]\n[parameters.zone]\nkind = \"cloudflare.zone\"\n[limits]\nttl_default = \"120d\"\n\
        ttl_max = \"180d\"\ndestinations = [\"embedded:*\", \"dotenv:*\"]\n";
    let ana = world.ana().await;
    world.broker.apply_template(&ana, long).await.unwrap();
    let ask = Ask { template: "cloudflare/dns-long".to_owned(), ..ask("example.com", "LONG") };
    assert_eq!(world.request(&ask).await.unwrap().status, Status::PendingApproval);
    let health = world.broker.health().await.unwrap();
    assert_eq!((health.requests_pending, health.requests_high), (2, 1));
    // A place whose name is not what it looks like.
    let folder = tempfile::tempdir().unwrap();
    let ask = Ask {
        destinations: vec!["dotenv:./l\u{43e}cal.env#X".to_owned()],
        cwd: Some(folder.path().display().to_string()),
        name: "X".to_owned(),
        ..ask
    };
    assert_eq!(world.request(&ask).await.unwrap().status, Status::PendingApproval);
    let health = world.broker.health().await.unwrap();
    assert_eq!((health.requests_pending, health.requests_high), (3, 2));
    let inbox = world.broker.inbox().await.unwrap();
    let high = inbox.iter().filter(|one| serde_json::to_value(one).unwrap()["verdict"]["level"] == "high");
    assert_eq!(high.count() as u64, health.requests_high);
}

#[tokio::test]
async fn nothing_is_told_of_what_began_to_wait_before_the_channel_was_there_and_a_test_says_who_asked() {
    let world = World::new().await;
    waiting(&world, "BEFORE").await;
    let taker = Taker::always(200);
    add(&world, webhook("ops", taker.url("/"), AT_ONCE)).await;
    pass(&world, 60).await;
    assert!(taker.taken().is_empty());
    let ana = world.ana().await;
    world.broker.test_channel(&ana, &"ops".parse().unwrap()).await.unwrap();
    let told = taker.taken()[0].json();
    assert_eq!(
        (&told["type"], &told["data"]["facts"]["asked_by"]),
        (&"channel.test".into(), &"operator ana".into())
    );
    let now: Timestamp = told["timestamp"].as_str().unwrap().parse().unwrap();
    assert!(now <= world.broker.now());
    let missing = world.broker.test_channel(&ana, &"none".parse().unwrap()).await.unwrap_err();
    assert_eq!(missing.code, Code::NotFound);
    let twice = world.broker.add_channel(&ana, webhook("ops", taker.url("/"), AT_ONCE)).await.unwrap_err();
    assert_eq!(twice.code, Code::Conflict);
}
