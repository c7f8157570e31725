//! The Cloudflare adapter over real HTTP against the sandbox, and through a contract proxy that checks every request
//! and answer against the provider's own OpenAPI document.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stderr,
    reason = "tests and their helpers"
)]

mod contract;
mod data_plane;
mod faults;
mod leaks;
mod openapi;
mod parent;
mod prism;
mod resolve;
mod verbs;
mod world;
