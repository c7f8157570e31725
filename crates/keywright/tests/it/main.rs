//! The real binary, in a home of its own, against the sandbox over HTTP.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stderr,
    reason = "a test that can't set up its world has failed"
)]

mod brokers;
mod catalog;
mod exits;
mod flow;
mod help;
mod install;
mod json;
mod notify;
mod output;
mod refusals;
mod restore;
mod run;
mod sandbox;
mod serve;
mod server;
mod stdin;
mod support;
mod terminal;
mod vendors;
