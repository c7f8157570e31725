//! One file a noun. The verbs are methods on [`crate::Tx`], so that whatever belongs together shares a transaction.

use crate::sql::Value;

pub(crate) mod agents;
mod approvals;
pub(crate) mod attempts;
pub(crate) mod audit;
pub(crate) mod channels;
pub(crate) mod claims;
pub(crate) mod configured;
pub(crate) mod consumers;
pub(crate) mod drains;
pub(crate) mod embedded;
pub(crate) mod grants;
pub(crate) mod guards;
pub(crate) mod holds;
pub(crate) mod inbox;
pub(crate) mod key_list;
pub(crate) mod keys;
pub(crate) mod leads;
pub(crate) mod meta;
mod missing;
pub(crate) mod operators;
pub(crate) mod parents;
pub(crate) mod passkeys;
pub(crate) mod placements;
pub(crate) mod requests;
pub(crate) mod revocations;
mod rotations;
pub(crate) mod sagas;
pub(crate) mod sealed;
pub(crate) mod soundness;
pub(crate) mod usage;
pub(crate) mod vouched;

/// The condition that a column has one of some values, which are the parameters from `first` on.
fn one_of<T: std::fmt::Display>(column: &str, values: &[T], first: usize) -> (String, Vec<Value>) {
    let places: Vec<String> = (first..first + values.len()).map(|place| format!("${place}")).collect();
    (format!(" AND {column} IN ({})", places.join(", ")), values.iter().map(Value::text).collect())
}

/// The condition that a column has none of some values, which are the parameters from `first` on; nothing where there are none.
fn none_of<T: std::fmt::Display>(column: &str, values: &[T], first: usize) -> (String, Vec<Value>) {
    if values.is_empty() {
        return (String::new(), Vec::new());
    }
    let places: Vec<String> = (first..first + values.len()).map(|place| format!("${place}")).collect();
    (format!(" AND {column} NOT IN ({})", places.join(", ")), values.iter().map(Value::text).collect())
}
