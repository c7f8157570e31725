//! One file a noun. The verbs are methods on [`crate::Tx`], so that whatever belongs together shares a transaction.

pub(crate) mod agents;
pub(crate) mod attempts;
pub(crate) mod audit;
pub(crate) mod claims;
pub(crate) mod configured;
pub(crate) mod consumers;
pub(crate) mod drains;
pub(crate) mod embedded;
pub(crate) mod guards;
pub(crate) mod holds;
pub(crate) mod keys;
pub(crate) mod leads;
pub(crate) mod meta;
pub(crate) mod operators;
pub(crate) mod parents;
pub(crate) mod passkeys;
pub(crate) mod placements;
pub(crate) mod requests;
pub(crate) mod revocations;
pub(crate) mod sagas;
pub(crate) mod sealed;
pub(crate) mod soundness;
pub(crate) mod usage;
pub(crate) mod vouched;
