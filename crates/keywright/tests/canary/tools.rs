//! Every tool that is listed, in both eras of the protocol: whatever an agent sends, no byte that comes back holds a
//! secret, and none that is kept.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::agent::{Agent, ERAS};
use crate::cases::{About, ask, forgotten, good, short};
use crate::ground::Ground;
use crate::paste::{encoded, mistaken, naughty, pasted, plain, texts};

#[test]
fn no_tool_answers_with_a_secret_whatever_it_is_given() {
    let ground = Ground::new();
    ground.world.ok(&["agent", "add", "mason"]);
    let (live, found) = (ground.live(), ground.found());
    let (own, other) = (ground.token("agents", "mason"), ground.token("workloads", "reader"));
    let rounds = [
        [texts(&live), encoded(&live), plain(&found)].concat(),
        [plain(&found), naughty(&found), plain(&own), plain(&other), plain(&ground.world.parent())].concat(),
    ];
    for (n, era) in ERAS.into_iter().enumerate() {
        let agent = Agent::start(ground.mcp(["builder", "mason"][n]), era, "canary-client");
        let about = start(&agent, n);
        let mut answered: BTreeMap<String, usize> = BTreeMap::new();
        for tool in agent.tools() {
            let (name, inputs) = (tool.name.as_ref(), good(&tool.name, &about));
            let schema = Value::Object(tool.input_schema.as_ref().clone());
            assert_eq!(forgotten(&schema, &inputs), Vec::<String>::new(), "{name} has fields without a case");
            let mut calls = Vec::new();
            for input in &inputs {
                calls.extend(pasted(input, &rounds[n]));
                calls.extend(mistaken(input, [&live, &found][n]));
            }
            // Last, because a key can be revoked once.
            calls.extend(inputs);
            for (number, call) in calls.iter_mut().enumerate() {
                renew(name, call, &format!("{era}-{number}"));
                *answered.entry(name.to_owned()).or_default() +=
                    usize::from(agent.call(name, call).is_some());
            }
            assert!(answered[name] >= calls.len() - 5, "{name}: {} of {}", answered[name], calls.len());
        }
        assert!(agent.call(&live, &json!({})).is_none(), "there is no such tool");
        let heard = agent.finish();
        ground.search("standard output", &heard.said, "keywright/receipt/1");
        ground.search("the log of `keywright mcp`", &heard.talk, "request_key");
    }
    ground.search_home("while it is in use");
    ground.search_talk();
}

/// A key that lives and a request that waits, both the agent's own.
fn start(agent: &Agent, n: usize) -> About {
    let made = agent.call("request_key", &short(&format!("OWN_{n}"))).unwrap();
    assert_eq!(made["status"], "active", "{made}");
    let waiting = agent.call("request_key", &ask(&format!("WAITS_{n}"))).unwrap();
    assert_eq!(waiting["status"], "pending_approval", "{waiting}");
    let id = |value: &Value| value.as_str().unwrap().to_owned();
    About { key: id(&made["key"]), request: id(&waiting["request"]) }
}

/// Each ask is one of its own, unless it is about the idempotency key itself.
fn renew(tool: &str, call: &mut Value, number: &str) {
    if tool == "request_key" && call["idempotency_key"] == "ASKED" {
        call["idempotency_key"] = json!(number);
    }
}
