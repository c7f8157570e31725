//! Which kinds of providers and stores are built in, told without a home.

pub use keywright_adapters::provider::KINDS as PROVIDERS;
pub use keywright_adapters::store::{KINDS as STORES, StoreKind, kinds as stores};
