//! `keywright mcp` as a child process in each era: the real binary, broker and sandbox, and every byte on record.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

mod mcp_support;

use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use mcp_support::it::{PASSPHRASE, Serving, World};
use mcp_support::{Said, TOOLS, ask, converse, server, with, world};
use serde_json::{Value, json};

const ERAS: [&str; 3] = ["2025-06-18", "2025-11-25", "2026-07-28"];

/// A client without a library, with a server of its own: it sees every byte.
struct Client {
    era: &'static str,
    child: Child,
    input: Option<ChildStdin>,
    output: BufReader<ChildStdout>,
    /// All of standard output.
    said: Vec<u8>,
    stderr: tempfile::NamedTempFile,
    calls: u32,
}

impl Client {
    fn start(mut command: Command, era: &'static str) -> Self {
        let stderr = tempfile::NamedTempFile::new().unwrap();
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(stderr.reopen().unwrap());
        let mut child = command.spawn().unwrap();
        let (input, output) = (child.stdin.take(), BufReader::new(child.stdout.take().unwrap()));
        let mut client = Self { era, child, input, output, said: Vec::new(), stderr, calls: 0 };
        if client.is_stateless() {
            let server = client.request("server/discover", json!({}));
            assert!(server["supportedVersions"].as_array().unwrap().contains(&json!(era)), "{server}");
        } else {
            let who = json!({ "name": "plain-client", "version": "9" });
            let hello = json!({ "protocolVersion": era, "capabilities": {}, "clientInfo": who });
            let server = client.request("initialize", hello);
            assert_eq!(server["protocolVersion"], era, "{server}");
            client.send(&json!({ "jsonrpc": "2.0", "method": "notifications/initialized" }));
        }
        client
    }

    fn is_stateless(&self) -> bool {
        self.era == "2026-07-28"
    }

    fn send(&mut self, message: &Value) {
        writeln!(self.input.as_mut().unwrap(), "{message}").unwrap();
    }

    /// The result of a request that is no protocol error.
    fn request(&mut self, method: &str, mut params: Value) -> Value {
        if self.is_stateless() {
            params["_meta"] = json!({
                "io.modelcontextprotocol/protocolVersion": self.era,
                "io.modelcontextprotocol/clientInfo": { "name": "plain-client", "version": "9" },
                "io.modelcontextprotocol/clientCapabilities": {},
            });
        }
        self.calls += 1;
        let id = self.calls;
        self.send(&json!({ "jsonrpc": "2.0", "id": id, "method": method, "params": params }));
        let before = self.said.len();
        self.output.read_until(b'\n', &mut self.said).unwrap();
        let answer: Value = serde_json::from_slice(&self.said[before..]).expect("an answer");
        assert_eq!((&answer["jsonrpc"], &answer["id"]), (&json!("2.0"), &json!(id)), "{answer}");
        answer["result"].clone()
    }

    fn call(&mut self, tool: &str, given: &Value) -> Said {
        let result = self.request("tools/call", json!({ "name": tool, "arguments": given }));
        assert_eq!(
            result.get("resultType").is_some(),
            self.is_stateless(),
            "each era has its own shape: {result}"
        );
        let texts = result["content"].as_array().unwrap().iter();
        Said {
            is_error: result["isError"] == true,
            structured: result["structuredContent"].clone(),
            texts: texts.map(|block| block["text"].as_str().unwrap().to_owned()).collect(),
        }
    }

    fn tools(&mut self) -> Vec<String> {
        let list = self.request("tools/list", json!({}));
        list["tools"]
            .as_array()
            .unwrap()
            .iter()
            .map(|tool| tool["name"].as_str().unwrap().to_owned())
            .collect()
    }

    /// Ends it as clients do, by closing its standard input: exit code, standard output, standard error.
    fn finish(mut self) -> (i32, Vec<u8>, Vec<u8>) {
        drop(self.input.take());
        let before = self.said.len();
        std::io::Read::read_to_end(&mut self.output, &mut self.said).unwrap();
        assert_eq!(self.said.len(), before, "nothing comes unasked");
        let status = self.child.wait().unwrap();
        (status.code().unwrap_or(-1), self.said, std::fs::read(self.stderr.path()).unwrap())
    }
}

/// Fails when any secret of this world is among the bytes.
fn no_secret_in(world: &World, channel: &str, bytes: &[u8]) {
    let mut secrets = world.with_sandbox(keywright_sandbox::Sandbox::secret_values);
    secrets.push(PASSPHRASE.to_owned());
    for token in std::fs::read_dir(world.home().join("agents")).unwrap().flatten() {
        secrets.push(std::fs::read_to_string(token.path()).unwrap().trim().to_owned());
    }
    let canaries = keywright_testkit::Canaries::new(secrets);
    assert!(canaries.count() >= 4, "the parent's, one that was made, the passphrase, the agent's token");
    canaries.absent_from(channel, bytes);
}

#[test]
fn the_whole_conversation_goes_well_in_every_era_and_no_message_or_log_line_holds_a_secret() {
    let world = world();
    let _serving = Serving::start(&world);
    for era in ERAS {
        let mut command = server(&world, "builder");
        command.env("KEYWRIGHT_LOG", "trace");
        let mut client = Client::start(command, era);
        assert_eq!(client.tools(), TOOLS, "{era}");
        let name = format!("CF_{}", era.replace('-', "_"));
        let request = converse(&world, &name, &mut |tool, given| client.call(tool, &given));
        world.alice(&["review", "approve", &request, "--yes"]).expect(0);
        let mut settled = client.call("check_request", &json!({ "request": request, "wait_seconds": 25 }));
        while settled.structured["status"] == "in_progress" {
            settled = client.call("check_request", &json!({ "request": request, "wait_seconds": 25 }));
        }
        assert_eq!(settled.structured["status"], "active", "{settled:?}");
        world.ok(&["key", "revoke", settled.structured["key"].as_str().unwrap()]);

        let (code, said, logged) = client.finish();
        assert_eq!(code, 0, "{}", String::from_utf8_lossy(&logged));
        let logged_all = String::from_utf8_lossy(&logged).contains("tool=request_key");
        assert!(logged_all, "it was told to log all: {}", String::from_utf8_lossy(&logged));
        no_secret_in(&world, "standard output", &said);
        no_secret_in(&world, "the log", &logged);
    }
}

#[test]
fn without_a_broker_the_tools_are_listed_and_once_it_runs_the_calls_go_through() {
    let world = world();
    let mut client = Client::start(server(&world, "builder"), "2025-11-25");
    assert_eq!(client.tools(), TOOLS);
    let refused = client.call("list_templates", &json!({}));
    assert!(refused.is_error);
    assert_eq!(refused.structured["code"], "try_again");
    assert!(refused.structured["hint"].as_str().unwrap().contains("keywright serve"), "{refused:?}");
    let serving = Serving::start(&world);
    assert!(!client.call("list_templates", &json!({})).is_error);
    drop(serving);
    assert!(client.call("list_templates", &json!({})).is_error, "and it outlives the broker");
    let (code, _, talk) = client.finish();
    assert_eq!((code, String::from_utf8(talk).unwrap().contains("keywright serve")), (0, true));
}

#[test]
fn relative_places_start_where_the_client_started_the_server_and_claims_are_recorded() {
    let world = world();
    let _serving = Serving::start(&world);
    let project = world.path("project");
    std::fs::create_dir(&project).unwrap();
    let mut command = server(&world, "builder");
    command
        .current_dir(&project)
        .envs([("CLAUDE_CODE_SESSION_ID", "session-7"), ("AI_AGENT", "claude_code")]);
    let mut client = Client::start(command, "2026-07-28");
    let placed = with(ask("CF_TOKEN"), "destinations", json!(["dotenv:./.env#CF_TOKEN"]));
    let receipt = client.call("request_key", &placed).structured;
    assert_eq!(receipt["status"], "active", "{receipt}");
    let file = std::fs::read_to_string(project.join(".env")).unwrap();
    assert!(file.contains("CF_TOKEN="), "the key is in the client's directory");
    let trace = world.ok(&["audit", "trace", receipt["key"].as_str().unwrap()]);
    let claimed = &trace["claimed"];
    assert_eq!(claimed["claude_code_session"], "session-7", "{claimed}");
    assert_eq!((&claimed["ai_agent"], &claimed["client"]), (&json!("claude_code"), &json!("plain-client")));
    assert_eq!(
        (&claimed["agent"], &trace["prompt"]),
        (&json!("builder"), &json!("please verify our domain"))
    );
    no_secret_in(&world, "standard output", &client.finish().1);
}

#[test]
fn a_token_that_is_open_or_missing_ends_it_before_a_word_on_standard_output() {
    let world = world();
    let token = world.home().join("agents/builder.token");
    std::fs::set_permissions(&token, std::fs::Permissions::from_mode(0o644)).unwrap();
    let open = world.plain(&["mcp", "--agent", "builder"]).expect(5);
    assert!(open.err.contains("chmod 600"), "{}", open.err);
    let missing = world.plain(&["mcp", "--agent", "nobody"]).expect(5);
    assert!(missing.err.contains("keywright agent add nobody"), "{}", missing.err);
    let wrong = world.plain(&["mcp", "--agent", "no/body"]).expect(2);
    for ran in [open, missing, wrong] {
        assert_eq!(ran.out, "");
    }
}

#[test]
fn a_client_that_leaves_at_once_is_no_error() {
    let world = world();
    let ran = world.plain(&["mcp", "--agent", "builder"]).expect(0);
    assert_eq!(ran.out, "");
}
