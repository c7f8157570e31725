//! The log that shows tampering.
//!
//! Every deed leaves entries. An [`Entry`] becomes a leaf: canonical bytes of at most 65,535. Leaves form a Merkle
//! tree (RFC 6962), a signed [`Checkpoint`] fixes the tree's size and root, and the whole log can be laid out as
//! files that other people's tools read. The formats are C2SP's: [tlog-tiles](https://c2sp.org/tlog-tiles),
//! [tlog-checkpoint](https://c2sp.org/tlog-checkpoint), [signed-note](https://c2sp.org/signed-note).
//!
//! | module | what it holds |
//! |---|---|
//! | [`deed`], [`record`], [`entry`] | what was done, what an entry says about it, and its bytes |
//! | [`merkle`] | hashes and the tree that grows |
//! | [`proof`] | that an entry is in a tree, that one tree continues another |
//! | [`tile`] | the log as files |
//! | [`checkpoint`] | the signed tree head |
//! | [`verify`], [`fault`] | reading a whole log and naming its first bad entry |
//!
//! Whoever holds a checkpoint from an earlier day can tell whether anything before it was changed since, the
//! holder of the signing key included. Entries after the newest checkpoint are only as safe as the disk.

pub mod checkpoint;
pub mod deed;
pub mod entry;
pub mod fault;
pub mod merkle;
pub mod proof;
pub mod record;
pub mod tile;
pub mod verify;

pub use checkpoint::{Checkpoint, CheckpointError, Origin, VerifierKey};
pub use deed::{Deed, Stage};
pub use entry::{Entry, EntryError, EntryId};
pub use fault::{Blame, Fault, Head};
pub use merkle::{Frontier, Hash, LogError};
pub use record::{Decided, Effect, Outcome, Principal, Record, SignatureRecord, Subject, Who, Why};
pub use verify::{Expect, Row, Verdict, Verifier, verify_log};
