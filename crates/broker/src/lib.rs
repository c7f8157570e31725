//! The verbs: request, approve, mint, revoke, reconcile, deliver.
//!
//! Every verb opens the same way: who, what, decision, intent entry. Only then does it act, and the outcome is
//! on record before it returns.
//!
//! | module | what it does |
//! |---|---|
//! | [`home`] | the directory of one installation: made once, locked by one broker at a time |
//! | `moving` | a home's ledger, from one engine to another |
//! | [`Broker`] | an unlocked home: the ledger, the keys, the adapters |
//! | [`auth`] | who calls: operator, agent, workload |
//! | [`ask`], `derive` | what is asked, parsed; and its exact effect, the plan |
//! | `request` | decide, record, and start the mint or wait for humans |
//! | `begin` | the first transaction of a saga |
//! | `limits` | what policy counts, and the brake on asking |
//! | [`review`] | pending requests: show, reject, expire |
//! | [`approve`] | pending requests: approve, as asked or with less |
//! | `rotate` | the wish for a successor: decided, recorded, begun; and what is due by itself |
//! | `saga` | mint and rotation, step by step, with their undo |
//! | [`revoke`], `copies`, `sweep` | the debts, what lies in stores, and the orphans |
//! | [`deliver`] | secrets for workloads at run time |
//! | `proposals` | templates that agents put forward |
//! | `rails` | the guard rails as operators applied them, whatever the rows say |
//! | [`guards`] | templates and policies: check, apply, test, explain |
//! | [`kinds`] | which kinds of providers and stores are built in |
//! | [`admin`] | connections, stores, agents, operators, workloads |
//! | `remove` | connections and stores that nothing needs any more |
//! | [`trace`] | the audit log, read |
//! | [`embedded`] | the sealed store in the ledger |
//! | [`find`] | permissions by words and by operations |
//! | [`record`] | what goes on record |
//! | [`mask`] | secrets that an agent pasted into a call |
//! | [`crash`] | failpoints |
//! | `scheduler` | what has to happen without anybody asking |

pub mod admin;
pub mod approve;
pub mod ask;
pub mod auth;
mod begin;
mod broker;
mod clock;
mod copies;
pub mod crash;
pub mod deliver;
pub mod denied;
mod derive;
pub mod drift;
pub mod embedded;
mod ended;
mod error;
pub mod find;
pub mod guards;
pub mod home;
pub mod kinds;
mod limits;
pub mod mask;
mod moving;
mod outside;
mod proposals;
mod rails;
mod receipt;
pub mod record;
mod remove;
mod request;
pub mod review;
pub mod revoke;
mod rotate;
mod saga;
mod scheduler;
mod soundness;
mod sweep;
pub mod trace;

pub use broker::{Broker, Health, Options};
pub use error::{BrokerError, Code};
pub use request::DryRun;
pub use sweep::Reconciled;
