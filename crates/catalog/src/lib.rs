//! Permission data: what a provider's permissions are called, and which operations each of them opens.
//!
//! This room is pure: the data comes in as text, compiled from vendors' publications by `cargo xtask catalog`, and
//! nothing in here reads a file or a clock. Unknown data fails closed: a name without an id, or an operation
//! without permission data, is an error and never a guess.
//!
//! | module | what it holds |
//! |---|---|
//! | [`catalog`] | a provider's data: look up by id and by name, search |
//! | [`called`] | operations as somebody has them who called one: concrete paths and URLs |
//! | [`naming`] | which provider a text names |
//! | [`permission`], [`operation`] | one line each of the data |
//! | [`footprint`] | what a set of permissions opens |
//! | [`solve`] | operations to the least permissions, with the proof |
//! | [`import`] | a newer publication at run time, and what it changes |
//! | [`words`] | plain words to the operations of a job and its least permissions |
//! | [`compile`] | vendor facts and judgements to a catalog |
//! | [`error`] | what can go wrong, with the nearest names as hints |
//! | [`built_in`], [`templates`] | the catalogs and the template pack that ship |

pub mod built_in;
pub mod called;
pub mod catalog;
pub mod compile;
pub mod error;
pub mod footprint;
mod format;
mod hash;
pub mod import;
pub mod naming;
mod nearest;
pub mod operation;
pub mod permission;
mod search;
pub mod solve;
pub mod templates;
pub mod words;

pub use built_in::BUILT_IN;
pub use called::Called;
pub use catalog::Catalog;
pub use error::CatalogError;
pub use footprint::Footprint;
pub use operation::Operation;
pub use permission::{Access, Permission};
pub use solve::measure::Measured;
pub use solve::{Least, Proof, Resource, Wanted};
