//! An agent: the official client library in front of the real `keywright mcp`, with every byte on record.

use std::pin::Pin;
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};

use rmcp::model::{
    CallToolRequestParams, ClientCapabilities, ClientConfig, Implementation, ProtocolVersion, Tool,
};
use rmcp::service::RunningService;
use rmcp::{ClientLifecycleMode, ClientServiceExt as _, RoleClient};
use serde_json::Value;
use tokio::io::{AsyncRead, ReadBuf};
use tokio::process::{Child, ChildStdout};
use tokio::runtime::Runtime;

/// The last version of each era: with a handshake, and without state.
pub(crate) const ERAS: [&str; 2] = ["2025-11-25", "2026-07-28"];

/// A client that is connected to a server of its own.
pub(crate) struct Agent {
    runtime: Runtime,
    service: RunningService<RoleClient, ClientConfig>,
    child: Child,
    said: Recording,
    talk: tempfile::NamedTempFile,
}

/// What a server said until it ended.
pub(crate) struct Heard {
    pub(crate) said: Vec<u8>,
    pub(crate) talk: Vec<u8>,
}

impl Agent {
    /// Starts the server and connects in the era of this version, under this client's name.
    pub(crate) fn start(command: Command, era: &str, client: &str) -> Self {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let talk = tempfile::NamedTempFile::new().unwrap();
        let mut command = tokio::process::Command::from(command);
        command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(talk.reopen().unwrap())
            .kill_on_drop(true);
        let said = Recording::default();
        let (service, child) = runtime.block_on(async {
            let mut child = command.spawn().unwrap();
            let version: ProtocolVersion = serde_json::from_value(era.into()).unwrap();
            let mut config =
                ClientConfig::new(ClientCapabilities::default(), Implementation::new(client, client));
            let lifecycle = if version.has_initialize() {
                config.protocol_version = version;
                ClientLifecycleMode::Initialize
            } else {
                ClientLifecycleMode::Discover { preferred_versions: vec![version] }
            };
            let output = Recorded(child.stdout.take().unwrap(), said.clone());
            let streams = (output, child.stdin.take().unwrap());
            (config.serve_with_lifecycle(streams, lifecycle).await.expect("the server answers"), child)
        });
        Self { runtime, service, child, said, talk }
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id().unwrap()
    }

    pub(crate) fn tools(&self) -> Vec<Tool> {
        self.runtime.block_on(self.service.list_all_tools()).unwrap()
    }

    /// Calls a tool: what it answered, or nothing when the answer is a protocol error.
    pub(crate) fn call(&self, tool: &str, arguments: &Value) -> Option<Value> {
        let arguments = arguments.as_object().unwrap().clone();
        let call = CallToolRequestParams::new(tool.to_owned()).with_arguments(arguments);
        self.runtime.block_on(self.service.call_tool(call)).ok()?.structured_content
    }

    /// Ends it as clients do, by closing its standard input.
    pub(crate) fn finish(self) -> Heard {
        let Self { runtime, service, mut child, said, talk } = self;
        runtime.block_on(async {
            service.cancel().await.unwrap();
            assert!(child.wait().await.unwrap().success());
        });
        Heard { said: said.0.lock().unwrap().clone(), talk: std::fs::read(talk.path()).unwrap() }
    }
}

/// What came through a stream.
#[derive(Clone, Default)]
struct Recording(Arc<Mutex<Vec<u8>>>);

/// A stream that is recorded as it is read.
struct Recorded(ChildStdout, Recording);

impl AsyncRead for Recorded {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<std::io::Result<()>> {
        let before = into.filled().len();
        let polled = Pin::new(&mut self.0).poll_read(context, into);
        self.1.0.lock().unwrap().extend_from_slice(&into.filled()[before..]);
        polled
    }
}
