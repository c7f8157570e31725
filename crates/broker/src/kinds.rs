//! Which kinds of providers, stores and channels are built in, told without a home.

pub use keywright_adapters::channel::facts as channel;
pub use keywright_adapters::provider::{ConnectionKind, KINDS as PROVIDERS, connections};
pub use keywright_adapters::store::{KINDS as STORES, StoreKind, kinds as stores};
