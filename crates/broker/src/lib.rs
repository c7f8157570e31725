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
//! | `repeat` | what is asked for once more while it waits |
//! | `begin` | the first transaction of a saga |
//! | `limits` | what policy counts, and the brake on asking |
//! | [`review`] | pending requests: show, reject, expire |
//! | [`inbox`] | what waits for one operator, and what is next |
//! | [`blocks`] | what whoever decides reads, the same words at each door |
//! | [`approve`] | pending requests: approve, as asked or with less |
//! | [`inventory`], [`adopt`] | keys that were made elsewhere: what there is, and one put under management |
//! | [`spend`] | what keys used and cost |
//! | [`switch_off`] | a key that is there and does not work for a while |
//! | `enable` | an old version that was switched off and is missed |
//! | `rotate` | the wish for a successor: decided, recorded, begun; and what is due by itself |
//! | `pace` | when what failed is tried again |
//! | `saga` | mint and rotation, step by step, with their undo |
//! | [`revoke`], `copies`, `sweep` | the debts, what lies in stores, and the orphans |
//! | [`teardown`] | many keys with one word: all of a project, or all of an agent |
//! | [`deliver`] | secrets for workloads at run time |
//! | [`holds`] | programs that `run` started, and what they hold |
//! | [`passkey`] | what operators approve with in a browser |
//! | [`grants`] | what operators approve in advance |
//! | [`pause`] | agents that ask for nothing for a while |
//! | `proposals` | templates that agents put forward |
//! | `rails` | the guard rails as operators applied them, whatever the rows say |
//! | [`guards`] | templates and policies: check, apply, test, explain |
//! | [`kinds`] | which kinds of providers and stores are built in |
//! | [`admin`] | connections, stores, agents, operators, workloads |
//! | [`consumers`] | who is told when a key has a successor |
//! | [`notify`] | how people hear that something waits for them |
//! | [`parent`], `renew` | another parent credential for a connection: made by the provider, or given by an operator |
//! | [`restored`] | a ledger that is older than what was known of it |
//! | `remove` | connections and stores that nothing needs any more |
//! | [`trace`], [`log`], [`entry`] | the audit log, read: about one key, searched, one entry |
//! | [`embedded`] | the sealed store in the ledger |
//! | [`find`] | permissions by words and by operations |
//! | [`by_model`] | a job's operations as a model of the user's chooses them |
//! | [`record`] | what goes on record |
//! | [`mask`] | secrets that an agent pasted into a call |
//! | `health`, [`machine`] | how the broker is doing, and what protects it here |
//! | [`crash`] | failpoints |
//! | [`steady`] | a clock that jumps ahead |
//! | `scheduler` | what has to happen without anybody asking |

pub mod admin;
pub mod adopt;
pub mod approve;
mod approvers;
pub mod ask;
pub mod auth;
mod begin;
pub mod blocks;
mod borrowed;
mod broker;
pub mod by_model;
mod clock;
pub mod consumers;
mod copies;
pub mod crash;
pub mod deliver;
pub mod denied;
mod derive;
pub mod differs;
pub mod drift;
pub mod embedded;
mod enable;
mod ended;
pub mod entry;
mod error;
pub mod find;
pub mod grants;
pub mod guards;
mod guesses;
mod health;
pub mod holds;
pub mod home;
pub mod inbox;
pub mod inventory;
mod join;
pub mod kinds;
mod lanes;
mod limits;
pub mod log;
pub mod machine;
pub mod mask;
mod missing;
mod moving;
pub mod notify;
mod outside;
mod owed;
mod pace;
pub mod parent;
pub mod passkey;
pub mod pause;
mod pay;
pub mod proposals;
mod rails;
mod receipt;
pub mod record;
mod remove;
mod renew;
mod repeat;
mod request;
pub mod restored;
pub mod review;
pub mod revoke;
mod rotate;
mod saga;
mod scheduler;
mod shared;
mod sight;
mod soundness;
pub mod spend;
pub mod steady;
mod sweep;
pub mod switch_off;
pub mod teardown;
pub mod timeline;
pub mod trace;
mod unconnected;
pub mod usable;
pub mod verify;
mod whose;
mod wider;

pub use broker::{Broker, Options};
pub use error::{BrokerError, Code};
pub use health::{Failing, Health};
pub use request::DryRun;
pub use scheduler::told;
pub use sweep::Reconciled;
