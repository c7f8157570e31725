//! The real binary dies, by `abort`, at every failpoint there is, and one more start puts everything in order.
//!
//! | module | what it holds |
//! |---|---|
//! | `house` | a home, a sandbox, two operators, an agent, a `.env` file; the ledger, read from outside |
//! | `deeds` | for each failpoint, the deed that reaches it |
//! | `dying` | how a process dies, and what is started after it |
//! | `aftermath` | what has to be true afterwards |
//! | `by_command`, `by_broker`, `by_agent` | who does the deed |
//! | `rotating` | a rotation that dies while its successor is made |
//! | `parents` | a connection that gets another parent credential |
//! | `notices` | people who are told that something waits |
//! | `mishaps` | a provider that misbehaves around the crash |
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that can't set up its world has failed"
)]

mod aftermath;
mod by_agent;
mod by_broker;
mod by_command;
mod deeds;
mod dying;
mod house;
mod mishaps;
mod notices;
mod parents;
mod rotating;
#[path = "../it/support.rs"]
#[allow(dead_code, reason = "each test binary uses its part")]
mod support;
