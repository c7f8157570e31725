//! The outside world: providers that issue keys, stores that hold them, and the one wire that both dial out through.
//!
//! [`model`] asks a language model of the user's, where they want that. [`consumer`] tells those who use a key that it has a successor, [`channel`]
//! tells people that something waits for them.
//!
//! This is the only room that dials out. It knows neither the ledger nor the broker: an adapter gets a credential and a
//! configuration, and answers the questions of [`keywright_core::provider`] and [`keywright_core::store`].

mod aws;
pub mod channel;
mod child;
pub mod consumer;
mod github;
mod login;
pub mod model;
mod names;
pub mod provider;
mod rest;
pub mod store;
mod wire;
