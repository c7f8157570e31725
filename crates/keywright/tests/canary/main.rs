//! The promise that no secret reaches a model, as tests: the real broker, a real provider over HTTP, the real MCP server.
//! Secrets are planted, every channel is provoked, and all that comes out is searched for them, plain and encoded.
//!
//! | module | what it searches |
//! |---|---|
//! | `search` | the search itself: it finds what is planted, so that the others can fail |
//! | `tools`, `cases`, `paste` | every MCP tool in both eras of the protocol, with good input, bad input, and pasted secrets |
//! | `lines` | what is no MCP, or hardly |
//! | `echo` | a provider that quotes secrets in its errors |
//! | `routes`, `verbs` | the broker's socket: every verb, with an agent's token |
//! | `pages` | every page, as an operator and as nobody, with all that an agent pasted |
//! | `commands` | every command, in words and as JSON |
//! | `talk` | the logs and a panic |
//! | `rest` | the home: the ledger while it is in use and afterwards, the audit log |
//! | `process` | what the system shows of the running programs |
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stderr,
    reason = "a test that can't set up its world has failed"
)]

mod agent;
mod cases;
mod commands;
mod echo;
mod ground;
mod lines;
mod pages;
mod paste;
#[cfg(target_os = "linux")]
mod process;
mod rest;
mod routes;
mod search;
#[path = "../it/support.rs"]
#[allow(dead_code, reason = "each test binary uses its part")]
mod support;
mod talk;
mod tools;
mod verbs;
