//! A client of each era in front of the real door, with everything that the door says on record.
#![allow(dead_code, reason = "each test binary uses its part")]

use std::path::Path;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};

use keywright_broker::home::Home;
use keywright_core::name::AgentName;
use keywright_server::mcp::{Setup, default_token_file, serve_on};
use keywright_server::socket;
use keywright_testkit::World;
use rmcp::model::{
    CallToolRequestParams, CallToolResult, ClientCapabilities, ClientConfig, Implementation, ProtocolVersion,
};
use rmcp::service::{RunningService, ServiceError};
use rmcp::{ClientLifecycleMode, ClientServiceExt as _, RoleClient};
use serde_json::Value;
use tokio::io::{AsyncRead, ReadBuf};
use tokio::sync::watch;

/// Every version that the door speaks.
pub(crate) const ERAS: [&str; 3] = ["2025-06-18", "2025-11-25", "2026-07-28"];

/// What came through a stream.
#[derive(Clone, Default)]
pub(crate) struct Recording(Arc<Mutex<Vec<u8>>>);

impl Recording {
    pub(crate) fn bytes(&self) -> Vec<u8> {
        self.0.lock().unwrap().clone()
    }

    /// Every message, in order.
    pub(crate) fn messages(&self) -> Vec<Value> {
        let bytes = self.bytes();
        let lines = bytes.split(|b| *b == b'\n').filter(|line| !line.is_empty());
        lines.map(|line| serde_json::from_slice(line).expect("a line is a message")).collect()
    }

    /// The result of the first message that has one with this field.
    pub(crate) fn result_with(&self, field: &str) -> Value {
        let found = self.messages().into_iter().find(|m| m["result"].get(field).is_some());
        found.expect("there is such a result")["result"].clone()
    }
}

/// A stream that is recorded as it is read.
struct Recorded<R>(R, Recording);

impl<R: AsyncRead + Unpin> AsyncRead for Recorded<R> {
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

/// A client that is connected.
pub(crate) struct Client {
    pub(crate) service: RunningService<RoleClient, ClientConfig>,
    pub(crate) said: Recording,
}

impl Client {
    /// Connects to a door of its own, in the era of this version.
    pub(crate) async fn connect(setup: Setup, version: &str) -> Self {
        let (here, there) = tokio::io::duplex(1024 * 1024);
        let (input, output) = tokio::io::split(there);
        tokio::spawn(serve_on(setup, input, output));
        let (input, output) = tokio::io::split(here);
        let said = Recording::default();
        let version: ProtocolVersion = serde_json::from_value(version.into()).unwrap();
        let mut config =
            ClientConfig::new(ClientCapabilities::default(), Implementation::new("test-client", "1.2.3"));
        let lifecycle = if version.has_initialize() {
            config.protocol_version = version;
            ClientLifecycleMode::Initialize
        } else {
            ClientLifecycleMode::Discover { preferred_versions: vec![version] }
        };
        let streams = (Recorded(input, said.clone()), output);
        let service = config.serve_with_lifecycle(streams, lifecycle).await.expect("the door opens");
        Self { service, said }
    }

    /// Calls a tool.
    pub(crate) async fn try_call(
        &self,
        tool: &str,
        arguments: &Value,
    ) -> Result<CallToolResult, ServiceError> {
        let arguments = arguments.as_object().unwrap().clone();
        self.service.call_tool(CallToolRequestParams::new(tool.to_owned()).with_arguments(arguments)).await
    }

    /// Calls a tool that has an answer.
    pub(crate) async fn call(&self, tool: &str, arguments: Value) -> Value {
        let result = self.try_call(tool, &arguments).await.unwrap();
        assert_eq!(result.is_error, Some(false), "{tool} {arguments}: {:?}", result.structured_content);
        said_twice(&result)
    }

    /// Calls a tool that refuses.
    pub(crate) async fn refusal(&self, tool: &str, arguments: Value) -> Value {
        let result = self.try_call(tool, &arguments).await.unwrap();
        assert_eq!(result.is_error, Some(true), "{tool} {arguments}: {:?}", result.structured_content);
        let said = said_twice(&result);
        for field in ["code", "message", "reasons", "alternatives"] {
            assert!(said.get(field).is_some(), "{field} in {said}");
        }
        said
    }
}

/// The structure, which the text says as well.
fn said_twice(result: &CallToolResult) -> Value {
    let text = &result.content[0].as_text().unwrap().text;
    let said = result.structured_content.clone().unwrap();
    assert_eq!(serde_json::from_str::<Value>(text).unwrap(), said);
    said
}

/// A broker that serves its socket, until dropped.
pub(crate) struct Serving {
    pub(crate) world: World,
    stop: watch::Sender<bool>,
}

impl Serving {
    pub(crate) async fn new() -> Self {
        let world = World::new().await;
        let listener = socket::listen(world.broker.home().socket().as_path()).unwrap();
        let (stop, _) = watch::channel(false);
        tokio::spawn(socket::serve(listener, Arc::clone(&world.broker), stop.clone()));
        Self { world, stop }
    }

    /// Adds an agent, with its token where the door looks for it.
    pub(crate) async fn agent(&self, name: &str) -> Setup {
        let name = AgentName::parse(name).unwrap();
        let home = self.world.broker.home();
        let token = self.world.broker.add_agent(&self.world.ana().await, &name).await.unwrap();
        write_token(&default_token_file(home, &name), token.expose_secret());
        Setup::new(home, name, None).unwrap()
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        let _ = self.stop.send(true);
    }
}

/// A door of a home where no broker runs.
pub(crate) fn without_broker() -> (tempfile::TempDir, Setup) {
    let directory = tempfile::tempdir().unwrap();
    let (home, name) = (Home::at(directory.path()), AgentName::parse("builder").unwrap());
    write_token(&default_token_file(&home, &name), "kwa_nobody");
    let setup = Setup::new(&home, name, None).unwrap();
    (directory, setup)
}

fn write_token(path: &Path, token: &str) {
    use std::os::unix::fs::PermissionsExt as _;
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(path, token).unwrap();
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600)).unwrap();
}
