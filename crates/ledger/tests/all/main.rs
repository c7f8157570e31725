//! The ledger from outside: one test binary, one file a subject.
#![allow(
    clippy::unwrap_used,
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
mod disk;
mod erasure;
mod guards;
mod keys;
mod operators;
mod requests;
mod revocations;
mod sagas;
mod support;
mod things;
mod vouched;
