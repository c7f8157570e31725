//! What agents can say.

use keywright_broker::ask::Ask;
use serde::{Deserialize, Serialize};

/// What an agent can ask for: the MCP tools, one variant each.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "verb", rename_all = "snake_case", deny_unknown_fields)]
pub enum AgentCall {
    /// Permissions and templates that match some words.
    FindPermissions {
        /// The words.
        query: String,
        /// Only of this provider.
        provider: Option<String>,
        /// At most so many (1 to 50; 10 when absent).
        limit: Option<u32>,
    },
    /// The templates that this agent may use.
    ListTemplates {
        /// Only those that match these words.
        query: Option<String>,
    },
    /// What a request would do, without doing it.
    PlanKey {
        /// What is wanted, in plain words.
        intent: Option<String>,
        /// What the job calls, as `METHOD /path`.
        #[serde(default)]
        operations: Vec<String>,
        /// Only of this provider.
        provider: Option<String>,
        /// The key to which the provider refused the operations.
        #[serde(default)]
        key: Option<String>,
        /// The whole ask, when a template is chosen.
        ask: Option<Box<Ask>>,
    },
    /// Ask for a key.
    RequestKey {
        /// The ask.
        ask: Box<Ask>,
    },
    /// How a request stands.
    CheckRequest {
        /// The request's id.
        request: String,
        /// Wait for a change, at most 25 seconds.
        wait_seconds: Option<u32>,
    },
    /// The agent's own keys, without secrets.
    ListKeys {
        /// Of this project.
        project: Option<String>,
        /// Of this environment.
        environment: Option<String>,
        /// In this state.
        state: Option<String>,
    },
    /// Replace a key by a successor.
    RotateKey {
        /// Its id or name.
        key: String,
        /// Why.
        reason: String,
    },
    /// Revoke one of the agent's own keys.
    RevokeKey {
        /// Its id or name.
        key: String,
        /// Why.
        reason: String,
    },
    /// Propose a template for an operator to review.
    ProposeTemplate {
        /// The template as TOML.
        source: String,
        /// Why it is needed.
        why: String,
    },
}
