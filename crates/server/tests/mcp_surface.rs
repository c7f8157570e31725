//! What every client sees before any broker is asked: the tools, the instructions, and what is wrong with a call.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

mod mcp_support;

use std::collections::BTreeMap;
use std::path::Path;

use mcp_support::{Client, ERAS, without_broker};
use rmcp::service::ServiceError;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};

/// Of the tools (names, descriptions, schemas, annotations) and the instructions, as clients see them. Agents read these
/// words and people approve them, so they change on purpose only: look at the difference, then put the new hash here.
const PINNED: &str = "cdabb18dd045062dd1c92765cc0cada0c574ed74b28a43abe47ce9da38c09e20";

/// The same text for the same JSON, whatever the order of its fields.
fn canonical(value: &Value) -> String {
    match value {
        Value::Object(map) => {
            let sorted: BTreeMap<&String, String> = map.iter().map(|(k, v)| (k, canonical(v))).collect();
            let fields: Vec<String> = sorted.iter().map(|(k, v)| format!("{}:{v}", json!(k))).collect();
            format!("{{{}}}", fields.join(","))
        }
        Value::Array(items) => format!("[{}]", items.iter().map(canonical).collect::<Vec<_>>().join(",")),
        other => other.to_string(),
    }
}

#[tokio::test]
async fn the_tools_and_the_instructions_are_the_pinned_ones_in_every_era() {
    for era in ERAS {
        let (_home, setup) = without_broker();
        let client = Client::connect(setup, era).await;
        client.service.list_tools(None).await.unwrap();
        let tools = client.said.result_with("tools")["tools"].clone();
        let instructions = client.said.result_with("instructions")["instructions"].clone();
        let surface = canonical(&json!({ "tools": tools, "instructions": instructions }));
        let hash: String = Sha256::digest(surface.as_bytes()).iter().map(|b| format!("{b:02x}")).collect();
        let copy = Path::new(env!("CARGO_TARGET_TMPDIR")).join("mcp-surface.json");
        std::fs::write(&copy, &surface).unwrap();
        assert_eq!(hash, PINNED, "in {era}; what clients see now is in {}", copy.display());
    }
}

#[tokio::test]
async fn the_tools_come_in_the_same_order_with_schemas_and_hints() {
    for era in ERAS {
        let (_home, setup) = without_broker();
        let client = Client::connect(setup, era).await;
        let list = client.service.list_tools(None).await.unwrap();
        let hints = |name: &str| {
            let tool = list.tools.iter().find(|tool| tool.name == name).unwrap();
            let hints = tool.annotations.as_ref().unwrap();
            (hints.read_only_hint, hints.destructive_hint, hints.idempotent_hint, hints.open_world_hint)
        };
        let names: Vec<&str> = list.tools.iter().map(|tool| tool.name.as_ref()).collect();
        assert_eq!(
            names,
            [
                "find_permissions",
                "list_templates",
                "plan_key",
                "request_key",
                "check_request",
                "list_keys",
                "rotate_key",
                "revoke_key",
                "propose_template"
            ],
            "{era}"
        );
        for name in ["find_permissions", "list_templates", "plan_key", "check_request", "list_keys"] {
            assert_eq!(hints(name), (Some(true), None, None, Some(true)), "{name}");
        }
        assert_eq!(hints("request_key"), (Some(false), Some(false), Some(true), Some(true)));
        assert_eq!(hints("revoke_key"), (Some(false), Some(true), Some(false), Some(true)));
        for tool in &list.tools {
            assert_eq!(tool.input_schema["type"], "object", "{}", tool.name);
            assert_eq!(tool.input_schema["additionalProperties"], false, "{}", tool.name);
            assert_eq!(tool.output_schema.as_ref().unwrap()["type"], "object", "{}", tool.name);
        }
        let wire = client.said.result_with("tools");
        assert_eq!(
            (&wire["cacheScope"], wire["ttlMs"].as_u64() > Some(0)),
            (&json!("private"), true),
            "{era}"
        );
    }
}

#[tokio::test]
async fn no_tool_says_that_it_reveals_approves_or_edits_policy() {
    let (_home, setup) = without_broker();
    let client = Client::connect(setup, "2026-07-28").await;
    for tool in client.service.list_tools(None).await.unwrap().tools {
        for word in ["approve", "reveal", "secret", "policy", "apply", "unlock", "operator", "export"] {
            assert!(!tool.name.contains(word), "{}", tool.name);
        }
        let schema = serde_json::to_string(&tool.input_schema).unwrap();
        assert!(!schema.contains("passphrase") && !schema.contains("\"approv"), "{}", tool.name);
    }
}

#[tokio::test]
async fn without_a_broker_the_calls_say_what_to_start() {
    for era in ERAS {
        let (_home, setup) = without_broker();
        let client = Client::connect(setup, era).await;
        let refusal = client.refusal("list_templates", json!({})).await;
        assert_eq!(refusal["code"], "try_again", "{era}");
        assert!(refusal["hint"].as_str().unwrap().contains("keywright serve"), "{refusal}");
    }
}

#[tokio::test]
async fn wrong_arguments_are_tool_errors_that_name_every_field() {
    for era in ERAS {
        let (_home, setup) = without_broker();
        let client = Client::connect(setup, era).await;
        let given = json!({
            "template": 7, "parameters": { "zone": ["example.com"] }, "project": "web", "environment": "dev",
            "name": "X", "purpose": "p", "idempotency_key": "k", "colour": "red",
        });
        let refusal = client.refusal("request_key", given).await;
        assert_eq!(refusal["code"], "invalid_argument", "{era}");
        let reasons: Vec<&str> =
            refusal["reasons"].as_array().unwrap().iter().filter_map(Value::as_str).collect();
        let about = |field: &str| reasons.iter().any(|reason| reason.starts_with(&format!("`{field}`")));
        assert!(["template", "parameters.zone", "prompt", "colour"].into_iter().all(about), "{reasons:?}");
        assert_eq!(reasons.len(), 4, "{reasons:?}");
        let cases = [
            (
                "check_request",
                json!({ "request": "req_x", "wait_seconds": 26 }),
                "`wait_seconds` is more than 25",
            ),
            ("list_keys", json!({ "state": "lost" }), "`state` is one of: "),
            ("plan_key", json!({}), "there is nothing to plan for"),
            ("revoke_key", json!({ "key": "" , "reason": "r" }), "`key` is empty"),
            ("propose_template", json!({ "limits": { "ttl": "1d" } }), "`limits.ttl_max` is missing"),
        ];
        for (tool, given, expected) in cases {
            let refusal = client.refusal(tool, given).await;
            assert_eq!(refusal["code"], "invalid_argument");
            assert!(refusal["message"].as_str().unwrap().contains(expected), "{tool}: {refusal}");
        }
    }
}

#[tokio::test]
async fn a_call_that_is_too_large_is_told_so() {
    let (_home, setup) = without_broker();
    let client = Client::connect(setup, "2025-11-25").await;
    let refusal = client.refusal("list_templates", json!({ "query": "x".repeat(100 * 1024) })).await;
    assert!(refusal["message"].as_str().unwrap().contains("at most 65536 are taken"), "{refusal}");
}

#[tokio::test]
async fn what_is_null_counts_as_left_out_and_an_unknown_tool_is_a_protocol_error() {
    let (_home, setup) = without_broker();
    let client = Client::connect(setup, "2026-07-28").await;
    let refusal = client.refusal("list_keys", json!({ "project": null, "state": null })).await;
    assert_eq!(refusal["code"], "try_again", "it got as far as the socket: {refusal}");
    let Err(ServiceError::McpError(error)) = client.try_call("approve", &json!({})).await else {
        panic!("there is no such tool");
    };
    assert_eq!((error.code.0, error.message.as_ref()), (-32602, "unknown tool: approve"));
}

/// Speaks line by line, as no library would.
async fn converse(lines: &[Value]) -> Vec<Value> {
    let (_home, setup) = without_broker();
    let (here, there) = tokio::io::duplex(64 * 1024);
    let (input, output) = tokio::io::split(there);
    let door = tokio::spawn(keywright_server::mcp::serve_on(setup, input, output));
    let (input, mut output) = tokio::io::split(here);
    let mut answers = BufReader::new(input).lines();
    let mut said = Vec::new();
    for line in lines {
        output.write_all(format!("{line}\n").as_bytes()).await.unwrap();
        if line.get("id").is_some() {
            said.push(serde_json::from_str(&answers.next_line().await.unwrap().unwrap()).unwrap());
        }
    }
    output.shutdown().await.unwrap();
    assert!(answers.next_line().await.unwrap().is_none(), "nothing comes unasked");
    door.await.unwrap().unwrap();
    said
}

fn handshake(version: &str) -> Value {
    json!({
        "jsonrpc": "2.0", "id": 1, "method": "initialize",
        "params": { "protocolVersion": version, "capabilities": {}, "clientInfo": { "name": "raw", "version": "0" } },
    })
}

#[tokio::test]
async fn arguments_that_are_no_object_are_a_tool_error_in_both_eras() {
    let meta = json!({
        "io.modelcontextprotocol/protocolVersion": "2026-07-28",
        "io.modelcontextprotocol/clientInfo": { "name": "raw", "version": "0" },
        "io.modelcontextprotocol/clientCapabilities": {},
    });
    let call = |id: u32, meta: Option<&Value>| {
        let mut params = json!({ "name": "list_keys", "arguments": ["web"] });
        if let Some(meta) = meta {
            params["_meta"] = meta.clone();
        }
        json!({ "jsonrpc": "2.0", "id": id, "method": "tools/call", "params": params })
    };
    let list = json!({ "jsonrpc": "2.0", "id": 1, "method": "tools/list", "params": { "_meta": &meta } });
    let modern = converse(&[list, call(2, Some(&meta))]).await;
    let legacy = converse(&[handshake("2025-11-25"), call(2, None)]).await;
    for answer in [&modern[1], &legacy[1]] {
        assert_eq!(answer["result"]["isError"], true, "{answer}");
        assert_eq!(answer["result"]["structuredContent"]["code"], "invalid_argument");
    }
    assert_eq!(modern[1]["result"]["resultType"], "complete");
    assert!(legacy[1]["result"].get("resultType").is_none());
}

#[tokio::test]
async fn a_client_of_an_older_or_unknown_version_is_offered_one_that_is_spoken() {
    for asked in ["2024-11-05", "2025-03-26", "2026-07-28", "2099-01-01"] {
        let said = converse(&[handshake(asked)]).await;
        assert_eq!(said[0]["result"]["protocolVersion"], "2025-11-25", "{asked}");
    }
    let said = converse(&[handshake("2025-06-18")]).await;
    assert_eq!(said[0]["result"]["protocolVersion"], "2025-06-18");
    let meta = json!({
        "io.modelcontextprotocol/protocolVersion": "2099-01-01",
        "io.modelcontextprotocol/clientInfo": { "name": "raw", "version": "0" },
        "io.modelcontextprotocol/clientCapabilities": {},
    });
    let list = json!({ "jsonrpc": "2.0", "id": 1, "method": "tools/list", "params": { "_meta": meta } });
    assert_eq!(converse(&[list]).await[0]["error"]["code"], -32022);
}
