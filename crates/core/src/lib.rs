//! Keywright's nouns and rules.
//!
//! This room is pure: no tokio, sockets, files, SQL, clock or randomness. Time and entropy come in as
//! arguments, so every rule in here can be tested with a table.
//!
//! | module | what it holds |
//! |---|---|
//! | [`id`], [`name`], [`place`], [`span`] | the small types that can't be wrong |
//! | [`secret`], [`text`], [`redact`] | what must not leak, what must not be trusted, what finds a leak |
//! | [`look`] | names that look like others |
//! | [`grant`] | what a key may do, as the provider understands it |
//! | [`template`], [`plan`], [`policy`], [`approval`] | ask, exact effect, decision, human consent |
//! | [`standing`] | consent that was given in advance |
//! | [`key`], [`saga`], [`marker`], [`drain`] | the life of a key, what survives a crash, when a version may end |
//! | [`inventory`] | what lies at a provider besides, and what is wrong with it |
//! | [`audit`] | the log that shows tampering |
//! | [`channel`] | how people hear that something waits for them, and what |
//! | [`consumer`] | who is told when a key has a successor, and what |
//! | [`receipt`] | all that an agent ever gets back |
//! | [`provider`], [`store`] | the two joints to the outside world |

pub mod approval;
pub mod audit;
pub mod channel;
pub mod consumer;
pub mod drain;
pub mod grant;
pub mod id;
pub mod inventory;
pub mod key;
pub mod look;
pub mod marker;
pub mod name;
mod parent;
mod permissions_now;
pub mod place;
pub mod plan;
pub mod policy;
pub mod provider;
pub mod receipt;
pub mod redact;
pub mod saga;
pub mod secret;
pub mod span;
pub mod standing;
pub mod store;
pub mod template;
pub mod text;
mod usage;
pub mod verdict;
