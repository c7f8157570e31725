//! What is no MCP, or hardly, on the standard input of `keywright mcp`: with a secret in it, line by line.

use std::io::Write as _;
use std::process::Stdio;
use std::sync::atomic::{AtomicU32, Ordering};

use serde_json::{Value, json};

use crate::ground::Ground;

/// Writes lines to a server of its own and ends it: all that it said, on both of its outputs.
fn tell(ground: &Ground, lines: &[String]) -> (Vec<u8>, Vec<u8>) {
    let mut command = ground.mcp("builder");
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let mut input = child.stdin.take().unwrap();
    let lines = lines.join("\n");
    let writer = std::thread::spawn(move || {
        // A server that has heard enough may be gone.
        let _ = input.write_all(format!("{lines}\n").as_bytes());
    });
    let output = child.wait_with_output().unwrap();
    writer.join().unwrap();
    (output.stdout, output.stderr)
}

fn request(method: &str, params: &Value) -> String {
    static LAST: AtomicU32 = AtomicU32::new(100);
    let id = LAST.fetch_add(1, Ordering::Relaxed);
    json!({ "jsonrpc": "2.0", "id": id, "method": method, "params": params }).to_string()
}

/// Everything that a client could send by mistake, or on purpose. Ids, progress tokens and versions of the protocol are
/// not among it: the protocol says that they come back, and no model writes them.
fn hostile(live: &str) -> Vec<String> {
    let call = |params: Value| request("tools/call", &params);
    let notice = |method: &str, params: Value| {
        json!({ "jsonrpc": "2.0", "method": method, "params": params }).to_string()
    };
    vec![
        live.to_owned(),
        format!(
            "{{\"jsonrpc\": \"2.0\", \"id\": 1, \"method\": \"tools/call\", \"params\": {{\"name\": \"{live}"
        ),
        json!([live]).to_string(),
        json!({ live: live }).to_string(),
        json!({ "jsonrpc": live, "id": 1, "method": "tools/list" }).to_string(),
        json!({ "jsonrpc": "2.0", "id": 1, "result": { "content": live } }).to_string(),
        json!({ "jsonrpc": "2.0", "id": 1, "error": { "code": 1, "message": live } }).to_string(),
        request(live, &json!({})),
        request(&format!("tools/{live}"), &json!({ live: live })),
        request("tools/list", &json!({ "cursor": live })),
        request("resources/read", &json!({ "uri": live })),
        request("prompts/get", &json!({ "name": live, "arguments": { live: live } })),
        request("logging/setLevel", &json!({ "level": live })),
        request(
            "completion/complete",
            &json!({ "ref": { "type": "ref/prompt", "name": live }, "argument": live }),
        ),
        call(json!({ "name": live, "arguments": {} })),
        call(json!({ "name": [live], "arguments": {} })),
        call(json!({ "name": "list_templates", "arguments": live })),
        call(json!({ "name": "list_templates", "arguments": [live] })),
        call(json!({ "name": "list_templates", live: live })),
        call(json!({ "name": "list_templates", "arguments": { "query": live }, "task": { "ttl": live } })),
        call(
            json!({ "name": "list_templates", "arguments": {}, "_meta": { "traceparent": live, live: live } }),
        ),
        notice(live, json!({})),
        notice("notifications/cancelled", json!({ "requestId": 999, "reason": live })),
        notice(&format!("notifications/{live}"), json!({ live: live })),
        call(json!({ "name": "list_templates", "arguments": { "query": live.repeat(130_000) } })),
    ]
}

#[test]
fn what_is_no_mcp_is_not_quoted_before_or_after_the_handshake() {
    let ground = Ground::new();
    let live = ground.live();
    let who = json!({ "name": live, "title": live, "version": live });
    let hello =
        json!({ "protocolVersion": "2025-11-25", "capabilities": { live.clone(): {} }, "clientInfo": who });
    let ready = json!({ "jsonrpc": "2.0", "method": "notifications/initialized" }).to_string();
    let start = vec![request("initialize", &hello), ready];
    let (mut said, mut talk) = tell(&ground, &[start.clone(), hostile(&live)].concat());
    let answers = said.iter().filter(|byte| **byte == b'\n').count();
    assert!(answers > 10, "{answers} of them are answered: {}", String::from_utf8_lossy(&said));
    for first in hostile(&live) {
        let (more, talked) = tell(&ground, &[first]);
        said.extend(more);
        talk.extend(talked);
    }
    ground.search("standard output", &said, "unknown tool");
    ground.search("standard error", &talk, "neither initialised nor named");
    ground.search_talk();
}
