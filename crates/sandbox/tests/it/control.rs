//! The control path.

use keywright_sandbox::{SandboxConfig, serve_forever};
use serde_json::{Value, json};

use super::support::*;

async fn with_control() -> (Bench, String) {
    let bench = Bench::with(SandboxConfig { control: true, ..SandboxConfig::default() }).await;
    let url = bench.sandbox.control_url().unwrap();
    (bench, url)
}

#[tokio::test]
async fn faults_are_injected_seen_and_cleared_over_http() {
    let (bench, url) = with_control().await;
    let faults = format!("{url}/faults");
    let fault = json!({"method": "GET", "path": "/zones", "skip": 1, "count": 2, "kind": "status", "status": 429, "retry_after": 3});
    let reply = bench.send(bench.http.post(&faults).json(&fault)).await;
    assert_eq!((reply.status, &reply.body["id"]), (200, &json!(1)));
    let parent = bench.sandbox.parent_token();
    assert_eq!(bench.get(parent, "/zones").await.status, 200);
    assert_eq!(bench.get(parent, "/zones").await.status, 429);
    let state = bench.send(bench.http.get(format!("{url}/state"))).await.body;
    assert_eq!(state["faults"][0]["hits"], 1);
    assert_eq!(state["faults"][0]["fault"]["kind"], "status");
    assert_eq!(state["faults"][0]["fault"]["count"], 1);
    assert_eq!(bench.send(bench.http.delete(&faults)).await.status, 200);
    assert_eq!(bench.get(parent, "/zones").await.status, 200);
}

#[tokio::test]
async fn every_kind_can_be_written_as_json() {
    let (bench, url) = with_control().await;
    let kinds = [
        json!({"kind": "reply_lost_after_commit"}),
        json!({"kind": "reply_lost_before_commit"}),
        json!({"kind": "status", "status": 500}),
        json!({"kind": "500_after_commit"}),
        json!({"kind": "slow", "delay_ms": 1}),
        json!({"kind": "hang"}),
        json!({"kind": "lagging_list", "ms": 5}),
        json!({"kind": "lagging_verify", "uses": 5}),
        json!({"kind": "echo_secret_in_error", "commit": true}),
        json!({"kind": "says", "message": "<script>\u{1b}[31m"}),
        json!({"kind": "garbage"}),
        json!({"kind": "huge_body", "bytes": 10}),
        json!({"kind": "redirect", "location": "https://elsewhere.example/"}),
        json!({"kind": "wider_grant", "grant": "extra_group"}),
        json!({"kind": "drop_condition"}),
    ];
    for mut fault in kinds {
        fault["path"] = "/nowhere".into();
        let reply = bench.send(bench.http.post(format!("{url}/faults")).json(&fault)).await;
        assert_eq!(reply.status, 200, "{fault} {}", reply.text);
    }
    let names: Vec<String> =
        bench.sandbox.faults().iter().map(|view| format!("{:?}", view.fault.kind)).collect();
    assert_eq!(names.len(), 15);
    for wrong in [
        json!({"kind": "nothing", "path": "/x"}),
        json!({"kind": "garbage"}),
        json!({"kind": "status", "path": "/x", "status": 200}),
    ] {
        let reply = bench.send(bench.http.post(format!("{url}/faults")).json(&wrong)).await;
        assert_eq!(reply.status, 400, "{wrong}");
    }
    let form = bench.http.post(format!("{url}/faults")).header("content-type", "text/plain").body("{}");
    assert_eq!(bench.send(form).await.status, 415, "what a web page can send without asking is refused");
}

#[tokio::test]
async fn the_state_shows_everything_but_secrets() {
    let (bench, url) = with_control().await;
    let token = bench.zone_token(DNS_READ, "example.com").await;
    bench
        .get(&token.value, &format!("/zones/{}/dns_records?name=x", bench.zone("example.com")))
        .await
        .result();
    let state = bench.send(bench.http.get(format!("{url}/state"))).await;
    assert_eq!(state.body["tokens"][2]["id"], token.id.as_str());
    assert_eq!(state.body["tokens"][2]["uses"], 1);
    let last = state.body["calls"].as_array().unwrap().last().unwrap().clone();
    assert_eq!((&last["token"], &last["status"]), (&json!(token.id), &json!(200)));
    assert_eq!(state.body["zones"].as_array().unwrap().len(), 4);
    for value in bench.sandbox.secret_values() {
        assert!(!state.text.contains(&value));
    }
}

#[tokio::test]
async fn the_clock_moves_forward_over_http() {
    let (bench, url) = with_control().await;
    let clock = format!("{url}/clock");
    let before = bench.sandbox.now();
    let reply = bench.send(bench.http.post(&clock).json(&json!({"advance_ms": 86_400_000}))).await;
    assert_eq!(reply.status, 200, "{}", reply.text);
    let now: jiff::Timestamp = reply.body["now"].as_str().unwrap().parse().unwrap();
    assert!(now.duration_since(before) >= jiff::SignedDuration::from_hours(24));
    for wrong in [json!({"advance_ms": -1}), json!({}), json!({"advance_ms": u64::MAX}), json!({"hours": 1})]
    {
        assert_eq!(bench.send(bench.http.post(&clock).json(&wrong)).await.status, 400, "{wrong}");
    }
    let form = bench.http.post(&clock).header("content-type", "text/plain").body("{\"advance_ms\":1}");
    assert_eq!(bench.send(form).await.status, 415);
    assert!(bench.sandbox.now().duration_since(before) < jiff::SignedDuration::from_hours(25));
}

#[tokio::test]
async fn without_control_there_is_no_control_path() {
    let bench = Bench::start().await;
    assert_eq!(bench.sandbox.control_url(), None);
    let root = bench.sandbox.base_url().replace("/client/v4", "");
    for path in ["state", "faults", "clock"] {
        let reply = bench.send(bench.http.get(format!("{root}/_sandbox/{path}"))).await;
        reply.assert_refused(404, 7003);
    }
}

#[tokio::test]
async fn serve_forever_serves_until_it_is_dropped() {
    let (tell, told) = std::sync::mpsc::channel();
    let served = tokio::spawn(serve_forever(SandboxConfig::default(), move |sandbox| {
        tell.send((sandbox.base_url(), sandbox.parent_token().to_owned())).unwrap();
    }));
    let (base, parent) = tokio::task::spawn_blocking(move || told.recv().unwrap()).await.unwrap();
    let http = reqwest::Client::new();
    let response = http.get(format!("{base}/zones")).bearer_auth(&parent).send().await.unwrap();
    let body: Value = serde_json::from_str(&response.text().await.unwrap()).unwrap();
    assert_eq!(body["result"].as_array().unwrap().len(), 4);
    served.abort();
    assert!(served.await.unwrap_err().is_cancelled());
    let gone = async {
        while http.get(format!("{base}/zones")).send().await.is_ok() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(std::time::Duration::from_secs(30), gone).await.expect("the port closes");
}
