//! An MCP client over stdio, as any agent has one. The demo asks through it; it knows nothing of Keywright.

use keywright_broker::Code;
use rmcp::model::CallToolRequestParams;
use rmcp::service::{RoleClient, RunningService};
use rmcp::transport::TokioChildProcess;
use rmcp::{ServiceError, ServiceExt as _};
use serde_json::Value;

use crate::answer::Failure;

/// A running client and the server that it started.
pub struct Client(RunningService<RoleClient, ()>);

/// What a tool answered.
#[derive(Debug, Clone, PartialEq)]
pub struct ToolAnswer {
    /// Whether the tool refused.
    pub is_error: bool,
    /// The structured content.
    pub content: Value,
}

impl Client {
    /// Starts a server as a child process and shakes hands.
    ///
    /// # Errors
    /// When the program can't be started or does not speak MCP.
    pub async fn start(program: tokio::process::Command) -> Result<Self, Failure> {
        let child = TokioChildProcess::new(program).map_err(|e| failed(&e))?;
        Ok(Self(().serve(child).await.map_err(|e| failed(&e))?))
    }

    /// The names of the server's tools.
    ///
    /// # Errors
    /// When the server does not answer.
    pub async fn tools(&self) -> Result<Vec<String>, Failure> {
        let tools = self.0.list_all_tools().await.map_err(|e| failed(&e))?;
        Ok(tools.into_iter().map(|tool| tool.name.into_owned()).collect())
    }

    /// Calls a tool. A refusal is an answer, not an error.
    ///
    /// # Errors
    /// When the arguments are no object, or the server does not answer.
    pub async fn call(&self, tool: &str, arguments: Value) -> Result<ToolAnswer, Failure> {
        let Value::Object(arguments) = arguments else {
            return Err(Failure::new(Code::InvalidArgument, "a tool's arguments are an object"));
        };
        let call = CallToolRequestParams::new(tool.to_owned()).with_arguments(arguments);
        let answer = self.0.call_tool(call).await.map_err(|e: ServiceError| failed(&e))?;
        Ok(ToolAnswer {
            is_error: answer.is_error.unwrap_or(false),
            content: answer.structured_content.unwrap_or_default(),
        })
    }

    /// Ends the conversation and the server.
    pub async fn end(self) {
        // The server is a child that ends with its pipe; there is nothing to do about an error here.
        let _ = self.0.cancel().await;
    }
}

fn failed(error: &impl std::fmt::Display) -> Failure {
    Failure::new(Code::Internal, format!("the MCP conversation broke: {error}"))
}
