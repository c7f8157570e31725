//! The commands, one file each. A command reads its words, makes a call, and shapes the answer for people.

pub(crate) mod agent;
pub(crate) mod audit;
pub(crate) mod catalog;
pub(crate) mod completions;
pub(crate) mod doctor;
pub(crate) mod init;
pub(crate) mod key;
pub(crate) mod later;
pub(crate) mod login;
pub(crate) mod operator;
pub(crate) mod policy;
pub(crate) mod project;
pub(crate) mod provider;
pub(crate) mod reconcile;
pub(crate) mod review;
pub(crate) mod run;
pub(crate) mod sandbox;
pub(crate) mod serve;
pub(crate) mod status;
pub(crate) mod stop;
pub(crate) mod store;
pub(crate) mod template;
pub(crate) mod token_file;
pub(crate) mod workload;
