//! The broker's socket, without any program of ours in front of it: every verb that there is, with an agent's token.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::os::unix::net::UnixStream;

use keywright_server::call::{AgentCall, OperatorCall};
use serde_json::{Value, json};

use crate::cases::ask;
use crate::ground::Ground;
use crate::paste::{encoded, mistaken, pasted, plain, texts};
use crate::support::PASSPHRASE;
use crate::verbs::{agents, operators, verbs};

/// A connection to the broker, and all that came back on it.
struct Line {
    stream: UnixStream,
    answers: BufReader<UnixStream>,
    said: Vec<u8>,
}

impl Line {
    fn to(ground: &Ground) -> Self {
        let stream = UnixStream::connect(ground.socket()).unwrap();
        let answers = BufReader::new(stream.try_clone().unwrap());
        Self { stream, answers, said: Vec::new() }
    }

    fn call(&mut self, call: &Value) -> Value {
        self.stream.write_all(format!("{call}\n").as_bytes()).unwrap();
        let before = self.said.len();
        self.answers.read_until(b'\n', &mut self.said).unwrap();
        serde_json::from_slice(&self.said[before..]).expect("an answer")
    }
}

/// What would hand out a token, move a guard rail, or decide.
const WORST: [&str; 6] =
    ["passkey_invite", "agent_add", "workload_add", "operator_add", "policy_apply", "review_approve"];

fn as_agent(token: &str, call: &Value) -> Value {
    json!({ "from": "agent", "token": token, "call": call })
}

fn code(answer: &Value) -> &str {
    answer["error"]["code"].as_str().unwrap_or("none: it went well")
}

/// A request of the agent's that waits, and the key of somebody else.
fn start(ground: &Ground, line: &mut Line, token: &str) -> (String, String) {
    let asked = json!({ "verb": "request_key", "ask": ask("WAITS") });
    let waiting = line.call(&as_agent(token, &asked));
    assert_eq!(waiting["ok"]["status"], "pending_approval", "{waiting}");
    let keys = ground.world.ok(&["key", "list"]);
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    (text(&keys["keys"][0]["id"]), text(&waiting["ok"]["request"]))
}

#[test]
fn an_agents_token_is_good_for_an_agents_verbs_and_for_nothing_else() {
    let ground = Ground::new();
    no_verb_of_an_operator_does_anything(&ground);
    secrets_are_delivered_to_a_workload_only(&ground);
    ground.search_talk();
}

#[test]
fn whatever_an_agent_sends_no_answer_repeats_a_secret() {
    let ground = Ground::new();
    what_is_pasted_into_a_call_does_not_come_back(&ground);
    what_is_no_call_at_all_is_not_quoted(&ground);
    ground.search_talk();
    ground.search_home("while it is in use");
}

fn no_verb_of_an_operator_does_anything(ground: &Ground) {
    let (token, mut line) = (ground.token("agents", "builder"), Line::to(ground));
    let (key, request) = start(ground, &mut line, &token);
    let (before, entries) = standing(&mut line);
    assert_eq!(before["ok"]["health"]["keys_active"], 1, "{before}");
    for verb in verbs::<OperatorCall>() {
        let call = operators(&verb, &key, &request);
        let refused = line.call(&as_agent(&token, &call));
        assert_eq!(code(&refused), "invalid_argument", "{verb}: {refused}");
        let mut logins = vec![
            json!({ "with": "session" }),
            json!({ "with": "passphrase", "operator": "builder", "passphrase": token }),
        ];
        // Stretching a passphrase takes its time, so only what would do most harm is tried as a real operator.
        if WORST.contains(&verb.as_str()) {
            logins.push(json!({ "with": "passphrase", "operator": null, "passphrase": token }));
        }
        for login in logins {
            let refused = line.call(&json!({ "from": "operator", "login": login, "call": call }));
            assert!(["unauthenticated", "not_found"].contains(&code(&refused)), "{verb}: {refused}");
        }
        let mut nobody = line.call(&json!({ "from": "anybody", "call": call, "token": token }));
        without_entries(&mut nobody);
        assert!(nobody["error"].is_object() || nobody == before, "{verb}: {nobody}");
    }
    let (after, now) = standing(&mut line);
    assert_eq!(after, before, "nothing happened, and nothing came into being");
    assert_eq!(now, entries + 1, "but that so many passphrases were wrong");
    ground.search("the socket", &line.said, "unauthenticated");
}

/// How the broker stands, and how many entries the log has.
fn standing(line: &mut Line) -> (Value, u64) {
    let mut status = line.call(&json!({ "from": "anybody" }));
    let entries = without_entries(&mut status);
    (status, entries.unwrap())
}

fn without_entries(status: &mut Value) -> Option<u64> {
    status.pointer_mut("/ok/health")?.as_object_mut()?.remove("audit_entries")?.as_u64()
}

fn secrets_are_delivered_to_a_workload_only(ground: &Ground) {
    let (agent, workload) = (ground.token("agents", "builder"), ground.token("workloads", "reader"));
    let read = |login: Value| json!({ "from": "reader", "login": login, "project": "web", "environment": "dev", "only": [] });
    let mut line = Line::to(ground);
    let given = line.call(&read(json!({ "with": "workload", "token": workload })));
    assert_eq!(given["ok"]["variables"]["LIVE"], ground.live(), "this is what the others must not get");
    let mut line = Line::to(ground);
    for login in [
        json!({ "with": "workload", "token": agent }),
        json!({ "with": "operator", "operator": "alice", "passphrase": agent }),
        json!({ "with": "operator", "operator": null, "passphrase": workload }),
        json!({ "with": "workload", "token": "" }),
    ] {
        let refused = line.call(&read(login));
        assert_eq!(code(&refused), "unauthenticated", "{refused}");
    }
    for call in [
        read(json!({ "with": "session" })),
        read(json!({ "with": "agent", "token": agent })),
        json!({ "from": "agent", "token": agent, "login": { "with": "workload", "token": agent }, "only": [] }),
    ] {
        let refused = line.call(&call);
        assert_eq!(code(&refused), "invalid_argument", "{refused}");
    }
    for token in [&workload, PASSPHRASE] {
        let refused = line.call(&as_agent(token, &json!({ "verb": "list_keys" })));
        assert_eq!(code(&refused), "unauthenticated", "{refused}");
    }
    ground.search("the socket", &line.said, "unauthenticated");
}

fn what_is_pasted_into_a_call_does_not_come_back(ground: &Ground) {
    let (token, mut line) = (ground.token("agents", "builder"), Line::to(ground));
    let (key, request) = start(ground, &mut line, &token);
    let (live, found) = (ground.live(), ground.found());
    let mut calls = 0;
    for verb in verbs::<AgentCall>() {
        let good = agents(&verb, &key, &request);
        serde_json::from_value::<AgentCall>(good.clone()).expect("a good call");
        let mut secrets = [texts(&live), plain(&found), plain(&token)].concat();
        if verb == "find_permissions" {
            secrets.extend(encoded(&token));
        }
        for (n, mut call) in
            [pasted(&good, &secrets), mistaken(&good, &live)].concat().into_iter().chain([good]).enumerate()
        {
            if call.pointer("/ask/idempotency_key").is_some_and(|own| own == "SOCKET") {
                call["ask"]["idempotency_key"] = json!(format!("socket-{n}"));
            }
            line.call(&as_agent(&token, &call));
            calls += 1;
        }
    }
    let secrets = [texts(&live), encoded(&live), plain(&found), encoded(&token)].concat();
    // What an agent says about itself goes on record with its requests.
    for (n, claimed) in pasted(&json!({ "client": "c" }), &secrets).into_iter().enumerate() {
        let mut call = agents("request_key", &key, &request);
        call["ask"]["idempotency_key"] = json!(format!("claim-{n}"));
        line.call(&json!({ "from": "agent", "token": token, "claimed": claimed, "call": call }));
    }
    assert!(calls > 500, "{calls}");
    ground.search("the socket", &line.said, "keywright/receipt/1");
}

fn what_is_no_call_at_all_is_not_quoted(ground: &Ground) {
    let (live, token) = (ground.live(), ground.token("agents", "builder"));
    let mut said = Vec::new();
    let long = format!("{{\"from\": \"agent\", \"token\": \"{live}\", {}", live.repeat(40_000));
    for bytes in [
        live.clone().into_bytes(),
        format!("\"{live}\"").into_bytes(),
        format!("{{\"from\": \"{live}\"}}").into_bytes(),
        format!("{{\"from\": \"agent\", \"token\": [\"{live}\"]}}").into_bytes(),
        format!("{{\"from\": \"agent\", \"token\": \"{live}\", \"{live}\": 1}}").into_bytes(),
        format!("{{\"from\": \"agent\", \"token\": \"{token}\", \"call\": {{\"verb\": \"{live}\"}}}}")
            .into_bytes(),
        format!("{{\"from\": \"agent\", \"token\": \"{live}").into_bytes(),
        [live.as_bytes(), &[0xff, 0xfe, 0x00], live.as_bytes()].concat(),
        long.into_bytes(),
    ] {
        let mut stream = UnixStream::connect(ground.socket()).unwrap();
        // The broker may hang up before it has read all of a line that is too long.
        let _ = stream.write_all(&bytes).and_then(|()| stream.write_all(b"\n"));
        let _ = stream.shutdown(std::net::Shutdown::Write);
        let _ = stream.read_to_end(&mut said);
    }
    ground.search("the socket", &said, "the call is not understood");
}
