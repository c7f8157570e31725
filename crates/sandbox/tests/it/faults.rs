//! Faults of the wire: what the client sees, and what was done.

use std::time::Duration;

use keywright_sandbox::{Fault, FaultKind, SandboxConfig};
use serde_json::{Value, json};

use super::support::*;

const CREATE: &str = "/accounts/*/tokens";

fn body(bench: &Bench) -> Value {
    json!({"name": "made", "policies": [policy("allow", DNS_READ, zone_resource(&bench.zone("example.com")))]})
}

/// Injects a fault on the next create.
fn on_create(bench: &Bench, kind: FaultKind) {
    bench.sandbox.inject(Fault::on("POST", CREATE, kind)).unwrap();
}

fn made(bench: &Bench) -> usize {
    bench.sandbox.live_tokens_named_like("made").len()
}

#[tokio::test]
async fn a_lost_reply_closes_the_connection_without_a_byte() {
    let bench = Bench::start().await;
    for (kind, expected) in [(FaultKind::ReplyLostAfterCommit, 1), (FaultKind::ReplyLostBeforeCommit, 0)] {
        let before = made(&bench);
        on_create(&bench, kind.clone());
        let create = bench.request("POST", &bench.tokens_path(), bench.sandbox.parent_token());
        let error = create.json(&body(&bench)).send().await.unwrap_err();
        assert!(error.is_request() && !error.is_timeout(), "{error:?}");
        assert_eq!(made(&bench) - before, expected, "{kind:?}");
        let last = bench.sandbox.calls().pop().unwrap();
        assert_eq!((last.status, last.faults.as_slice()), (None, [kind_name(&kind)].as_slice()));
    }
    assert_eq!(bench.ask(body(&bench)).await.status, 200, "the next call is served");
}

fn kind_name(kind: &FaultKind) -> &'static str {
    match kind {
        FaultKind::ReplyLostAfterCommit => "reply_lost_after_commit",
        _ => "reply_lost_before_commit",
    }
}

#[tokio::test]
async fn an_error_status_does_nothing_and_says_when_to_come_back() {
    let bench = Bench::start().await;
    on_create(&bench, FaultKind::Status { status: 429, retry_after: Some(7) });
    let create =
        bench.request("POST", &bench.tokens_path(), bench.sandbox.parent_token()).json(&body(&bench));
    let response = create.send().await.unwrap();
    assert_eq!(response.status(), 429);
    assert_eq!(response.headers()["retry-after"], "7");
    let envelope: Value = serde_json::from_str(&response.text().await.unwrap()).unwrap();
    assert_eq!((&envelope["success"], &envelope["result"]), (&json!(false), &Value::Null));
    on_create(&bench, FaultKind::Status { status: 500, retry_after: None });
    assert_eq!(bench.ask(body(&bench)).await.status, 500);
    assert_eq!(made(&bench), 0);
}

#[tokio::test]
async fn a_500_after_commit_has_done_the_work() {
    let bench = Bench::start().await;
    on_create(&bench, FaultKind::ServerErrorAfterCommit);
    let reply = bench.ask(body(&bench)).await;
    assert_eq!(reply.status, 500);
    assert_eq!(reply.body["result"], Value::Null);
    assert_eq!(made(&bench), 1);
}

#[tokio::test]
async fn faults_skip_count_and_match_the_method() {
    let bench = Bench::start().await;
    let kind = FaultKind::Status { status: 503, retry_after: None };
    let fault = bench.sandbox.inject(Fault::on("POST", CREATE, kind).skipping(2).times(2)).unwrap();
    assert_eq!(bench.get(bench.sandbox.parent_token(), &bench.tokens_path()).await.status, 200);
    let mut statuses = Vec::new();
    for _ in 0..5 {
        statuses.push(bench.ask(body(&bench)).await.status);
    }
    assert_eq!(statuses, [200, 200, 503, 503, 200]);
    assert_eq!(bench.sandbox.fault_hits(fault), 2);
    bench.sandbox.inject(Fault::on("GET", "/**", FaultKind::Garbage).times(9)).unwrap();
    bench.sandbox.clear_faults();
    assert_eq!(bench.get(bench.sandbox.parent_token(), "/zones").await.status, 200);
}

#[tokio::test]
async fn a_slow_answer_arrives_whole() {
    let bench = Bench::start().await;
    on_create(&bench, FaultKind::Slow { delay_ms: 20, trickle_ms: 1 });
    let reply = bench.ask(body(&bench)).await;
    assert_eq!(Made::of(&reply).value.len(), 40);
}

#[tokio::test]
async fn a_slow_answer_outlasts_a_short_timeout_but_the_work_is_done() {
    let bench = Bench::start().await;
    for kind in [
        FaultKind::Slow { delay_ms: 600_000, trickle_ms: 0 },
        FaultKind::Slow { delay_ms: 0, trickle_ms: 600_000 },
        FaultKind::Hang { commit: true },
        FaultKind::Hang { commit: false },
    ] {
        let before = made(&bench);
        on_create(&bench, kind.clone());
        let create =
            bench.request("POST", &bench.tokens_path(), bench.sandbox.parent_token()).json(&body(&bench));
        let outcome = async { create.timeout(Duration::from_millis(300)).send().await?.bytes().await }.await;
        assert!(outcome.unwrap_err().is_timeout(), "{kind:?}");
        let expected = usize::from(kind != FaultKind::Hang { commit: false });
        assert_eq!(made(&bench) - before, expected, "{kind:?}");
    }
}

#[tokio::test]
async fn shutdown_ends_a_hanging_call() {
    let Bench { sandbox, http } = Bench::start().await;
    sandbox.inject(Fault::on("GET", "/zones", FaultKind::Hang { commit: false })).unwrap();
    let url = format!("{}/zones", sandbox.base_url());
    let hanging = tokio::spawn(http.get(url.clone()).send());
    while sandbox.calls().is_empty() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    sandbox.shutdown().await;
    let error = hanging.await.unwrap().unwrap_err();
    assert!(!error.is_timeout(), "{error:?}");
    assert!(http.get(url).send().await.unwrap_err().is_connect());
}

#[tokio::test]
async fn a_lagging_list_leaves_out_young_tokens() {
    let bench = Bench::start().await;
    let parent = bench.sandbox.parent_token();
    bench.sandbox.advance_clock(Duration::from_secs(3600));
    bench.ask(body(&bench)).await.result();
    let listed = async || {
        let reply = bench.get(parent, &bench.tokens_path()).await;
        reply.result().as_array().unwrap().len()
    };
    let lag = FaultKind::LaggingList { ms: 60_000 };
    bench.sandbox.inject(Fault::on("GET", CREATE, lag.clone()).times(2)).unwrap();
    assert_eq!(
        [listed().await, listed().await, listed().await],
        [1, 1, 2],
        "by calls: hidden from two lists"
    );
    bench.sandbox.inject(Fault::on("GET", CREATE, lag).times(100)).unwrap();
    assert_eq!(listed().await, 1);
    bench.sandbox.advance_clock(Duration::from_secs(61));
    assert_eq!(listed().await, 2, "by time: old enough");
}

#[tokio::test]
async fn an_error_can_quote_the_secrets_it_saw() {
    let bench = Bench::start().await;
    let parent = bench.sandbox.parent_token();
    on_create(&bench, FaultKind::EchoSecretInError { commit: false });
    let reply = bench.ask(body(&bench)).await;
    reply.assert_refused(400, 1001);
    assert!(reply.text.contains(parent));
    assert_eq!(made(&bench), 0);
    on_create(&bench, FaultKind::EchoSecretInError { commit: true });
    let reply = bench.ask(body(&bench)).await;
    reply.assert_refused(400, 1001);
    let orphan = &bench.sandbox.live_tokens_named_like("made")[0];
    let value = bench.sandbox.secret_of(&orphan.id).unwrap();
    assert!(reply.text.contains(parent) && reply.text.contains(&value));
}

#[tokio::test]
async fn an_error_can_say_anything_at_any_length() {
    let bench = Bench::start().await;
    let message =
        format!("<script>x</script>\u{1b}[31m\u{202e}\u{200b}\u{0}\r\n{}the end", "x".repeat(100_000));
    on_create(&bench, FaultKind::Says { message: message.clone() });
    let reply = bench.ask(body(&bench)).await;
    reply.assert_refused(400, 1001);
    assert_eq!(reply.body["errors"][0]["message"], message.as_str());
    assert_eq!(made(&bench), 0);
}

#[tokio::test]
async fn garbage_huge_bodies_and_redirects_look_like_nothing_expected() {
    let bench = Bench::start().await;
    on_create(&bench, FaultKind::Garbage);
    let reply = bench.ask(body(&bench)).await;
    assert_eq!((reply.status, &reply.body), (200, &Value::Null), "{}", reply.text);
    on_create(&bench, FaultKind::HugeBody { bytes: 3_000_000 });
    let reply = bench.ask(body(&bench)).await;
    assert!(reply.text.len() > 3_000_000);
    assert_eq!(reply.body["result"].as_str().unwrap().len(), 3_000_000, "it is valid JSON all the same");
    assert_eq!(made(&bench), 2, "both did the work");
    on_create(&bench, FaultKind::Redirect { location: "https://elsewhere.example/".to_owned() });
    let create =
        bench.request("POST", &bench.tokens_path(), bench.sandbox.parent_token()).json(&body(&bench));
    let response = create.send().await.unwrap();
    assert_eq!(response.status(), 302);
    assert_eq!(response.headers()["location"], "https://elsewhere.example/");
    assert_eq!(made(&bench), 2, "a redirect did nothing");
}

#[tokio::test]
async fn faults_combine() {
    let bench = Bench::start().await;
    on_create(&bench, FaultKind::LaggingVerify { uses: 1 });
    on_create(&bench, FaultKind::ReplyLostAfterCommit);
    let create =
        bench.request("POST", &bench.tokens_path(), bench.sandbox.parent_token()).json(&body(&bench));
    assert!(create.send().await.is_err());
    let orphan = bench.sandbox.live_tokens_named_like("made").remove(0);
    let value = bench.sandbox.secret_of(&orphan.id).unwrap();
    let verify = format!("{}/verify", bench.tokens_path());
    bench.get(&value, &verify).await.assert_refused(401, 1000);
    assert_eq!(bench.get(&value, &verify).await.status, 200);
}

#[tokio::test]
async fn bodies_and_the_call_log_are_bounded() {
    let config = SandboxConfig { call_log: 5, body_limit: 10_000, ..SandboxConfig::default() };
    let bench = Bench::with(config).await;
    for _ in 0..8 {
        bench.get(bench.sandbox.parent_token(), "/zones").await.result();
    }
    let numbers: Vec<u64> = bench.sandbox.calls().iter().map(|call| call.number).collect();
    assert_eq!(numbers, [4, 5, 6, 7, 8]);
    let mut long = body(&bench);
    long["padding"] = "x".repeat(10_000).into();
    bench.ask(long).await.assert_refused(413, 1013);
    assert_eq!(made(&bench), 0);
}
