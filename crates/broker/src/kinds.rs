//! Which kinds of providers and stores are built in, told without a home.

pub use keywright_adapters::provider::{ConnectionKind, KINDS as PROVIDERS, connections};
pub use keywright_adapters::store::{KINDS as STORES, StoreKind, kinds as stores};
