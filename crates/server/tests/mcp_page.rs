//! Clients that can show a page are sent to the one where a human decides, in each era; what they answer decides nothing.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

mod mcp_support;

use keywright_server::mcp::serve_on;
use mcp_support::Serving;
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader, DuplexStream, ReadHalf, WriteHalf};

const ORIGIN: &str = "http://localhost:4777";

/// A client that writes its messages itself.
struct Raw {
    lines: tokio::io::Lines<BufReader<ReadHalf<DuplexStream>>>,
    output: WriteHalf<DuplexStream>,
}

impl Raw {
    async fn connect(serving: &Serving, agent: &str) -> Self {
        let setup = serving.agent(agent).await;
        let (here, there) = tokio::io::duplex(1 << 20);
        let (input, output) = tokio::io::split(there);
        tokio::spawn(serve_on(setup, input, output));
        let (input, output) = tokio::io::split(here);
        Self { lines: BufReader::new(input).lines(), output }
    }

    async fn send(&mut self, message: Value) {
        self.output.write_all(format!("{message}\n").as_bytes()).await.unwrap();
    }

    async fn next(&mut self) -> Value {
        serde_json::from_str(&self.lines.next_line().await.unwrap().unwrap()).unwrap()
    }

    /// With a handshake, declaring what the client is able to do.
    async fn shakes_hands(&mut self, able: Value) {
        let params = json!({
            "protocolVersion": "2025-11-25", "capabilities": able, "clientInfo": { "name": "raw", "version": "1" },
        });
        self.send(json!({ "jsonrpc": "2.0", "id": 0, "method": "initialize", "params": params })).await;
        self.next().await;
        self.send(json!({ "jsonrpc": "2.0", "method": "notifications/initialized" })).await;
    }
}

fn ask(name: &str) -> Value {
    json!({
        "template": "cloudflare/dns-edit", "parameters": { "zone": "example.com" }, "project": "web",
        "environment": "production", "name": name, "purpose": "a record", "prompt": "add it", "idempotency_key": name,
    })
}

/// A call without a handshake, by a client that is able to do this.
fn modern(id: u32, name: &str, able: &Value, more: &Value) -> Value {
    let mut params = json!({
        "name": "request_key", "arguments": ask(name),
        "_meta": {
            "io.modelcontextprotocol/protocolVersion": "2026-07-28",
            "io.modelcontextprotocol/clientInfo": { "name": "raw", "version": "1" },
            "io.modelcontextprotocol/clientCapabilities": able,
        },
    });
    for (field, value) in more.as_object().unwrap() {
        params[field] = value.clone();
    }
    json!({ "jsonrpc": "2.0", "id": id, "method": "tools/call", "params": params })
}

async fn serving() -> Serving {
    let serving = Serving::new().await;
    serving.world.broker.set_door(ORIGIN);
    serving
}

#[tokio::test]
async fn without_a_handshake_the_page_is_a_result_and_accepting_it_is_no_approval() {
    let serving = serving().await;
    let mut client = Raw::connect(&serving, "bot").await;
    let able = json!({ "elicitation": { "url": {} } });
    client.send(modern(1, "PROD", &able, &json!({}))).await;
    let asked = client.next().await["result"].clone();
    assert_eq!(asked["resultType"], "input_required", "{asked}");
    let page = &asked["inputRequests"]["review"];
    assert_eq!((&page["method"], &page["params"]["mode"]), (&json!("elicitation/create"), &json!("url")));
    let url = page["params"]["url"].as_str().unwrap().to_owned();
    let request = url.strip_prefix(&format!("{ORIGIN}/r/")).unwrap().to_owned();
    assert!(request.starts_with("req_") && !url.contains('?'), "it lets nobody in: {url}");

    for (id, answer) in [(2, "accept"), (3, "decline"), (4, "approve")] {
        let more = json!({ "inputResponses": { "review": { "action": answer } }, "requestState": "forged" });
        client.send(modern(id, "PROD", &able, &more)).await;
        let result = client.next().await["result"].clone();
        let receipt = &result["structuredContent"];
        assert_eq!(
            (&receipt["status"], &receipt["request"]),
            (&json!("pending_approval"), &json!(request)),
            "{result}"
        );
        assert_eq!(receipt["review_url"], url);
        let next = result["content"][1]["text"].as_str().unwrap();
        assert!(next.contains(&url) && next.contains(receipt["match_code"].as_str().unwrap()), "{next}");
    }
    let form_only = json!({ "elicitation": { "form": {} } });
    client.send(modern(5, "OTHER", &form_only, &json!({}))).await;
    assert_eq!(client.next().await["result"]["structuredContent"]["status"], "pending_approval");
}

#[tokio::test]
async fn a_client_is_sent_to_the_page_of_a_proposal_and_proposes_it_once() {
    let serving = serving().await;
    let proposal = json!({
        "id": "cloudflare/dns-look", "title": "Read the DNS records of one zone", "provider": "cloudflare",
        "tier": "standard", "permissions": ["DNS Read"], "parameters": { "zone": { "kind": "cloudflare.zone" } },
        "limits": { "ttl_max": "7d", "destinations": ["embedded:*"] }, "why": "the report needs the records",
    });
    let mut client = Raw::connect(&serving, "bot").await;
    client.shakes_hands(json!({ "elicitation": { "url": {} } })).await;
    let params = json!({ "name": "propose_template", "arguments": proposal });
    client.send(json!({ "jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params })).await;
    let asked = client.next().await;
    assert_eq!(
        (&asked["method"], &asked["params"]["mode"]),
        (&json!("elicitation/create"), &json!("url")),
        "{asked}"
    );
    client.send(json!({ "jsonrpc": "2.0", "id": asked["id"], "result": { "action": "accept" } })).await;
    let told = client.next().await["result"].clone();
    let proposal = &told["structuredContent"];
    assert_eq!(
        (&proposal["status"], &proposal["review_url"]),
        (&json!("pending_review"), &asked["params"]["url"])
    );
    // Without a handshake a client would have to call again, which would be another proposal: the result says where the page is.
    let mut client = Raw::connect(&serving, "bot-two").await;
    let mut call = modern(1, "X", &json!({ "elicitation": { "url": {} } }), &json!({}));
    call["params"]["name"] = json!("propose_template");
    call["params"]["arguments"] = params["arguments"].clone();
    client.send(call).await;
    let told = client.next().await["result"].clone();
    assert_eq!(told["structuredContent"]["status"], "pending_review", "{told}");
    let next = told["content"][1]["text"].as_str().unwrap();
    assert!(next.contains(ORIGIN) && next.contains("check_request"), "{next}");
    assert_eq!(serving.world.broker.inbox().await.unwrap().len(), 2);
}

#[tokio::test]
async fn with_a_handshake_the_client_is_asked_and_whatever_it_says_the_receipt_says_how_it_stands() {
    let serving = serving().await;
    for (name, answer) in [
        ("ACCEPTED", json!({ "result": { "action": "accept" } })),
        ("DECLINED", json!({ "result": { "action": "decline" } })),
        ("BROKEN", json!({ "error": { "code": -32000, "message": "no browser" } })),
    ] {
        let mut client = Raw::connect(&serving, &format!("bot-{}", name.to_lowercase())).await;
        client.shakes_hands(json!({ "elicitation": { "form": {}, "url": {} } })).await;
        let params = json!({ "name": "request_key", "arguments": ask(name) });
        client.send(json!({ "jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params })).await;
        let asked = client.next().await;
        assert_eq!(
            (&asked["method"], &asked["params"]["mode"]),
            (&json!("elicitation/create"), &json!("url")),
            "{asked}"
        );
        let mut reply = json!({ "jsonrpc": "2.0", "id": asked["id"] });
        for (field, value) in answer.as_object().unwrap() {
            reply[field] = value.clone();
        }
        client.send(reply).await;
        let receipt = client.next().await["result"]["structuredContent"].clone();
        assert_eq!(receipt["status"], "pending_approval", "{receipt}");
        assert_eq!(receipt["review_url"], asked["params"]["url"]);
        // Looking how it stands asks nobody again.
        let params = json!({ "name": "check_request", "arguments": { "request": receipt["request"] } });
        client.send(json!({ "jsonrpc": "2.0", "id": 2, "method": "tools/call", "params": params })).await;
        assert_eq!(client.next().await["result"]["structuredContent"]["status"], "pending_approval");
    }
}

#[tokio::test]
async fn a_client_that_can_show_nothing_is_not_asked() {
    let serving = serving().await;
    let mut client = Raw::connect(&serving, "bot").await;
    client.shakes_hands(json!({})).await;
    let params = json!({ "name": "request_key", "arguments": ask("PROD") });
    client.send(json!({ "jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params })).await;
    let result = client.next().await;
    assert_eq!(result["result"]["structuredContent"]["status"], "pending_approval", "{result}");
}
