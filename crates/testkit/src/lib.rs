//! Worlds, clocks and canaries for tests. Nothing in here is a stand-in for something real: the provider is the
//! sandbox over HTTP, the ledger is a file, the broker is the broker.
#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a test that can't set up its world has failed")]

mod canary;
mod clock;
mod world;

pub use canary::{Canaries, encodings};
pub use clock::TestClock;
pub use world::{DNS_EDIT, World, ask};
