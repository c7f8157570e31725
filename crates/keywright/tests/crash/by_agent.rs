//! A broker that an agent asks over MCP. The agent does not know what became of its call, so it asks the same again.

use std::io::{BufRead as _, BufReader, Write as _};
use std::process::Stdio;

use keywright_broker::crash::POINTS;
use serde_json::{Value, json};

use crate::aftermath::{End, check, check_embedded};
use crate::by_command::living;
use crate::deeds::{Deed, name_of};
use crate::dying::{DyingBroker, Way, recover, recover_rotation, start_and_die};
use crate::house::{Destination, House};

const TO: Destination = Destination::Both;

/// What a tool answered.
struct Told {
    is_error: bool,
    structured: Value,
}

/// One conversation of an agent's client with `keywright mcp`: hello, one call, goodbye.
fn call(house: &House, tool: &str, arguments: &Value) -> Told {
    let mut command = house.world.command(&["mcp", "--agent", "builder"]);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(house.log());
    let mut child = command.spawn().unwrap();
    let mut input = child.stdin.take().unwrap();
    let hello = json!({
        "protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": { "name": "agent", "version": "1" },
    });
    for message in [
        json!({ "jsonrpc": "2.0", "id": 1, "method": "initialize", "params": hello }),
        json!({ "jsonrpc": "2.0", "method": "notifications/initialized" }),
        json!({ "jsonrpc": "2.0", "id": 2, "method": "tools/call", "params": { "name": tool, "arguments": arguments } }),
    ] {
        writeln!(input, "{message}").unwrap();
    }
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let answer = loop {
        let line = lines.next().expect("an answer").unwrap();
        house.overhear(line.as_bytes());
        let message: Value = serde_json::from_str(&line).unwrap();
        if message["id"] == 2 {
            break message["result"].clone();
        }
    };
    drop(input);
    assert!(child.wait().unwrap().success());
    Told { is_error: answer["isError"] == true, structured: answer["structuredContent"].clone() }
}

/// An ask with an idempotency key of its own, and with a longer life where an operator has to approve.
fn ask(name: &str, deed: Deed) -> Value {
    let template = if deed == Deed::Approve { "cloudflare/dns-long" } else { "cloudflare/dns-edit" };
    json!({
        "template": template, "parameters": { "zone": "example.com" }, "project": "web", "environment": "dev",
        "name": name, "destinations": TO.places("dev", name), "purpose": "update a TXT record",
        "prompt": "please verify our domain", "idempotency_key": format!("key-{name}"),
    })
}

/// Calls a tool of a broker that dies at `point`; the agent must not be told that it went well when nobody knows.
fn call_and_die(house: &House, point: &str, tool: &str, arguments: &Value) {
    let broker = DyingBroker::start(house, point);
    let told = call(house, tool, arguments);
    broker.assert_dies();
    if told.is_error {
        assert_eq!(told.structured["code"], "try_again", "{point}: {}", told.structured);
    } else {
        // Between the commit and the death there is time for an answer.
        assert_eq!((point, &told.structured["status"]), ("mint.active", &json!("active")));
    }
}

fn die_and_ask_again(house: &House, point: &str) {
    let (name, deed) = (name_of(point), Deed::reaching(point));
    let asked = ask(&name, deed);
    let end = match deed {
        Deed::Mint => {
            call_and_die(house, point, "request_key", &asked);
            End::Active
        }
        Deed::Undo => {
            // The place was free when the agent asked. While nobody is there to write, somebody else does.
            call_and_die(house, "mint.probed", "request_key", &asked);
            house.set_by_hand(&name);
            start_and_die(house, point);
            End::Failed
        }
        Deed::Approve => {
            let broker = DyingBroker::start(house, point);
            let pending = call(house, "request_key", &asked).structured;
            assert_eq!(pending["status"], "pending_approval", "{pending}");
            let id = pending["request"].as_str().unwrap();
            house.run("pass", &["review", "approve", id, "--yes"]).expect(75);
            broker.assert_dies();
            End::Active
        }
        Deed::Revoke => {
            let broker = DyingBroker::start(house, point);
            let receipt = call(house, "request_key", &asked).structured;
            assert_eq!(receipt["status"], "active", "{receipt}");
            let told = call(house, "revoke_key", &json!({ "key": receipt["key"], "reason": "done" }));
            assert_eq!((told.is_error, &told.structured["code"]), (true, &json!("try_again")));
            broker.assert_dies();
            End::Revoked
        }
        // No agent can ask for that.
        Deed::Parent | Deed::Notify => return,
        Deed::Rotate => {
            let broker = DyingBroker::start(house, point);
            let receipt = call(house, "request_key", &asked).structured;
            assert_eq!(receipt["status"], "active", "{receipt}");
            call(house, "rotate_key", &json!({ "key": receipt["key"], "reason": "it is old" }));
            broker.assert_dies();
            End::Rotated
        }
    };
    let _recovered = match end {
        End::Rotated => recover_rotation(house, Way::Broker, &name),
        _ => recover(house, Way::Broker, &name),
    };
    check(house, &name, TO, end);
    let again = call(house, "request_key", &asked);
    assert!(!again.is_error, "{point}: {}", again.structured);
    let (_, request, _) = house.key(&name);
    assert_eq!(
        again.structured["request"],
        json!(request.id.to_string()),
        "the same ask is the same request"
    );
    assert_eq!(again.structured["status"], json!(request.status.as_str()), "{point}");
    check(house, &name, TO, end);
}

#[test]
fn an_agent_that_asks_the_same_again_after_any_death_gets_the_same_request_and_no_second_key() {
    let house = House::with_agent();
    for point in POINTS {
        die_and_ask_again(&house, point);
    }
    check_embedded(&house, &living());
    house.assert_nothing_leaked();
}
