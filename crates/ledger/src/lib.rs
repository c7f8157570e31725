//! Keywright's memory: the only room with SQL.
//!
//! | module | what it holds |
//! |---|---|
//! | [`Ledger`], [`Tx`] | opening, reading, writing; deeds that come together share a commit |
//! | [`seal`] | the key hierarchy and values at rest |
//! | `tables` | one file a noun: the verbs on a [`Tx`] |
//! | [`audit_files`] | the audit log as files that other tools verify |
//!
//! Everything that belongs together is written in one transaction, the audit entry included.

pub mod audit_files;
mod error;
mod migrations;
mod moving;
pub mod seal;
mod sql;
mod tables;

pub use error::{LedgerError, Result};
pub use moving::{Marks, Moved};
pub use sql::{Address, Clock, Heard, Ledger, Location, Others, RowMac, Tx};
pub use tables::{
    agents::{Agent, Workload},
    audit::{AuditFilter, StoredEntry},
    channels::{ConfiguredChannel, OwedNotice},
    configured::{ConfiguredStore, Connection},
    consumers::{ConfiguredConsumer, Telling},
    drains::Drain,
    embedded::EmbeddedValue,
    grants::{GivenGrant, GrantUse},
    guards::{AppliedPolicy, AppliedTemplate, Proposal},
    holds::{Hold, Listened},
    inbox::InboxPlace,
    key_list::{KeysSought, Stands},
    leads::Lead,
    operators::{Operator, OperatorKeys, Slot, Unlocked},
    parents::{ParentRenewal, RenewalPhase},
    passkeys::Passkey,
    requests::{NewRequest, Request, RequestFilter},
    revocations::{NewRevocation, Revocation},
    sagas::{Besides, NewSaga, Saga},
    soundness::Soundness,
    usage::UsageCount,
};
