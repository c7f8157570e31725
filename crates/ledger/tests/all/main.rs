//! The ledger from outside: one test binary, one file a subject.
//!
//! With `KEYWRIGHT_TEST_LEDGER=postgres` the same tests run on PostgreSQL, all but `disk` and `files`, which are about the file.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stderr,
    unreachable_pub,
    reason = "tests and their helpers"
)]

mod audit_peer;
mod audit_publish;
mod audit_tamper;
mod commits;
#[path = "../../../testkit/src/database.rs"]
mod database;
mod disk;
mod erasure;
mod files;
mod guards;
mod holds;
mod keys;
mod moving;
mod operators;
mod requests;
mod revocations;
mod sagas;
mod server;
mod support;
mod things;
mod turns;
mod vouched;
