//! The doors. They translate and forward; they decide nothing.
//!
//! | module | what it holds |
//! |---|---|
//! | [`call`] | every call that comes through a door, as types: what an agent can say is one enum, and it has no verb that returns a secret, approves, or edits policy |
//! | [`answer`] | what comes back |
//! | [`dispatch`] | a call, run on a broker |
//! | [`views`] | the nouns as JSON |
//! | [`socket`], `idle` | the local socket: server and client; and connections that say nothing |
//! | [`http`] | the review pages |
//! | [`when`] | times for people |
//! | [`mcp`], [`mcp_client`] | MCP over stdio, forwarding to the socket; and a plain client, for the demo |

pub mod answer;
pub mod call;
pub mod dispatch;
pub mod http;
mod idle;
pub mod mcp;
pub mod mcp_client;
pub mod socket;
pub mod views;
pub mod when;
