//! The mint saga, the sweep and the debts, step by step: each step twice, each step failing, each write refused.
//!
//! | module | what it holds |
//! |---|---|
//! | `house` | a world whose ledger can be made to refuse a write, and the rest of the saga's life in a few words |
//! | `twice` | what was done and not written down is done again |
//! | `provider`, `stores` | a provider and stores that fail at each step |
//! | `people` | stores in which people approve and reject changes |
//! | `late` | values that land late, or are written over before anybody looked |
//! | `fence` | a saga that somebody else took over |
//! | `sweep` | orphans, forgeries, look-alikes, and keys that come back |
//! | `debts` | revocations, also when nothing can be put on record |
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that can't set up its world has failed"
)]

mod debts;
mod fence;
mod house;
mod late;
mod people;
mod provider;
mod stores;
mod sweep;
mod twice;
