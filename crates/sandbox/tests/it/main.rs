//! Everything over real HTTP on loopback.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests: a failure here is a failed test"
)]

mod control;
mod data;
mod dns;
mod faults;
mod grants;
mod permissions;
mod shapes;
mod support;
mod tokens;
