//! A provider that quotes its caller's credential, and the key that it has just made, in its errors: on every call that
//! the broker makes there.

use std::collections::BTreeSet;

use keywright_sandbox::{Fault, FaultKind};
use serde_json::{Value, json};

use crate::agent::{Agent, ERAS};
use crate::cases::short;
use crate::ground::Ground;

/// What an operator says that makes the broker call the provider.
const OPERATOR: [&[&str]; 4] = [
    &["provider", "check", "cf"],
    &["provider", "check", "cf", "--json"],
    &["reconcile"],
    &["reconcile", "--json"],
];

/// One life of a key: asked for, looked at, revoked; and what operators do in between.
fn a_life(ground: &Ground, agent: &Agent, name: &str) -> (Vec<Value>, Vec<u8>) {
    let ask = short(name);
    let mut answers = vec![
        agent.call("plan_key", &json!({ "template": ask["template"], "parameters": ask["parameters"] })),
        agent.call("request_key", &ask),
    ];
    let mut printed = Vec::new();
    for ran in ground.logged_in(&OPERATOR) {
        printed.extend(format!("{}{}", ran.out, ran.err).into_bytes());
    }
    let made = answers[1].clone().unwrap();
    if let Some(key) = made["key"].as_str() {
        answers.push(agent.call("revoke_key", &json!({ "key": key, "reason": "the job is done" })));
        answers.push(agent.call("check_request", &json!({ "request": made["request"] })));
    }
    (answers.into_iter().flatten().collect(), printed)
}

/// The calls that the provider got: method and path, with the ids in it left open.
fn calls(ground: &Ground) -> BTreeSet<(String, String)> {
    let is_id = |part: &str| part.len() == 32 && part.bytes().all(|b| b.is_ascii_hexdigit());
    let open = |path: &str| {
        let parts = path.split('/').map(|part| if is_id(part) { "*" } else { part });
        parts.collect::<Vec<_>>().join("/")
    };
    let made = ground.world.with_sandbox(keywright_sandbox::Sandbox::calls);
    made.into_iter().map(|call| (call.method, open(&call.path))).collect()
}

#[test]
fn a_provider_that_quotes_secrets_in_its_errors_is_not_repeated_anywhere() {
    let ground = Ground::new();
    let agent = Agent::start(ground.mcp("builder"), ERAS[1], "canary-client");
    let (answers, mut printed) = a_life(&ground, &agent, "GOOD");
    assert_eq!(answers[1]["status"], "active", "{answers:?}");
    assert_eq!(answers[2]["status"], "revoked", "{answers:?}");
    let paths = calls(&ground);
    // Check, groups, zones, create, read back, verify, list, delete.
    assert!(paths.len() >= 7, "{paths:?}");
    let mut quoted = 0;
    for (n, (method, path)) in paths.iter().enumerate() {
        // What is only read makes no key that could be quoted.
        for commit in if method == "GET" { &[false][..] } else { &[false, true] } {
            let commit = *commit;
            let fault = Fault::on(method, path, FaultKind::EchoSecretInError { commit }).times(1_000);
            let id = ground.world.with_sandbox(|sandbox| sandbox.inject(fault)).unwrap();
            let (answers, more) = a_life(&ground, &agent, &format!("BAD_{n}_{commit}"));
            let hits = ground.world.with_sandbox(|sandbox| sandbox.fault_hits(id));
            assert!(hits > 0, "{method} {path} was not called: {answers:?}");
            ground.world.with_sandbox(keywright_sandbox::Sandbox::clear_faults);
            quoted += answers.iter().filter(|answer| answer.to_string().contains("[redacted]")).count();
            printed.extend(more);
        }
    }
    assert!(quoted >= 4, "errors of the provider arrive at the agent, without the secrets: {quoted}");
    let heard = agent.finish();
    ground.search("standard output", &heard.said, "[redacted]");
    ground.search("the log of `keywright mcp`", &heard.talk, "request_key");
    ground.search("what operators saw", &printed, "[redacted]");
    ground.search_talk();
    ground.search_home("while it is in use");
}
