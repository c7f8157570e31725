//! Other people's MCP clients in front of `keywright mcp`: the official ones in Python and in JavaScript. They check every
//! answer against the tool's output schema. Where one is missing the test says so and passes, except in CI.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stderr,
    reason = "tests"
)]

mod mcp_support;

use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use mcp_support::it::{Serving, World};
use mcp_support::{Said, TOOLS, converse, server, world};
use serde_json::{Value, json};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().unwrap()
}

/// A client of other people's, which started a server.
struct Peer {
    child: Child,
    input: Option<ChildStdin>,
    output: BufReader<ChildStdout>,
}

impl Peer {
    /// Starts it and reads what the server lists; nothing where the peer is missing.
    fn start(world: &World, program: &[&Path], mode: &str) -> Option<(Self, Value)> {
        let served = server(world, "builder");
        let mut command = Command::new(program[0]);
        command.args(&program[1..]).arg(mode).arg(served.get_program()).args(served.get_args());
        command
            .env("KEYWRIGHT_HOME", world.home())
            .env("PEERS", root().join(".peers"))
            .current_dir(world.dir());
        let started = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::inherit()).spawn();
        let Ok(mut child) = started else { return missing(program) };
        let (input, mut output) = (child.stdin.take(), BufReader::new(child.stdout.take().unwrap()));
        let mut line = String::new();
        output.read_line(&mut line).unwrap();
        let peer = Self { child, input, output };
        if line.is_empty() {
            let code = peer.wait();
            assert_eq!(code, Some(77), "the peer ended before it listed anything");
            return missing(program);
        }
        Some((peer, serde_json::from_str(&line).unwrap()))
    }

    fn call(&mut self, tool: &str, given: &Value) -> Said {
        let call = json!({ "tool": tool, "arguments": given });
        writeln!(self.input.as_mut().unwrap(), "{call}").unwrap();
        let mut line = String::new();
        self.output.read_line(&mut line).unwrap();
        let said: Value = serde_json::from_str(&line).expect("the peer takes the answer");
        Said {
            is_error: said["is_error"] == true,
            structured: said["structured"].clone(),
            texts: serde_json::from_value(said["texts"].clone()).unwrap(),
        }
    }

    fn wait(mut self) -> Option<i32> {
        drop(self.input.take());
        self.child.wait().unwrap().code()
    }
}

fn missing<T>(program: &[&Path]) -> Option<T> {
    assert!(std::env::var_os("CI").is_none(), "no peer in CI: {}", program[1].display());
    eprintln!("SKIPPED, no peer for {}; `scripts/peers` installs it", program[1].display());
    None
}

/// The same conversation in each of the client's modes; the version is what the client and the server agreed on. A mode
/// may settle it without asking the server who it is.
fn converses(language: &str, program: &[&Path], modes: &[(&str, &str)]) {
    let world = world();
    let _serving = Serving::start(&world);
    for (n, (mode, version)) in modes.iter().enumerate() {
        let Some((mut peer, listed)) = Peer::start(&world, program, mode) else { return };
        assert_eq!(listed["version"], *version, "{language} in mode {mode}");
        assert_eq!(listed["tools"], json!(TOOLS));
        assert_eq!(listed["with_output_schema"], TOOLS.len());
        if !listed["server"].is_null() {
            assert_eq!(listed["server"], "keywright");
            assert!(listed["instructions"].as_str().unwrap().contains("request_key"));
        }
        converse(&world, &format!("CF_{n}"), &mut |tool, given| peer.call(tool, &given));
        assert_eq!(peer.wait(), Some(0), "{language} in mode {mode}");
    }
}

#[test]
fn the_python_client_converses_in_both_eras() {
    let python = root().join(".peers/venv/bin/python");
    let script = root().join("tests/peers/mcp/client.py");
    let modes = [("legacy", "2025-11-25"), ("auto", "2026-07-28"), ("2026-07-28", "2026-07-28")];
    converses("Python", &[&python, &script], &modes);
}

#[test]
fn the_javascript_client_converses_in_both_eras() {
    let script = root().join("tests/peers/mcp/client.mjs");
    let modes = [("legacy", "2025-11-25"), ("auto", "2026-07-28"), ("2026-07-28", "2026-07-28")];
    converses("JavaScript", &[Path::new("node"), &script], &modes);
}
