//! Worlds, clocks and canaries for tests. What tests stand on is real: the provider is the sandbox over HTTP, the
//! ledger is a file or a database, the broker is the broker. Only benches leave the wire out, with [`AtOnce`].
#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a test that can't set up its world has failed")]

mod at_once;
mod brokers;
mod canary;
mod clock;
mod database;
mod hanging;
pub mod many;
mod server;
mod swallowing;
mod taker;
mod world;

pub use at_once::AtOnce;
pub use brokers::{Brokers, QUICK, Running};
pub use canary::{Canaries, encodings};
pub use clock::TestClock;
pub use database::Database;
pub use hanging::Hanging;
pub use server::Server;
pub use swallowing::Swallowing;
pub use taker::{Answer, Taken, Taker};
pub use world::{CHEAP, Closed, DNS_EDIT, World, ask, unlock};
