//! What the tests of the vendors share.
#![allow(dead_code, reason = "not every vendor uses all of it")]

pub mod contract;
pub mod faults;
pub mod harm;
pub mod lives;
pub mod openapi;
pub mod opened;
pub mod peers;
pub mod proxy;
pub mod stand_in;
pub mod store_faults;
pub mod stores;

pub use peers::{data, peer};
pub use proxy::{Fault, Proxy};
