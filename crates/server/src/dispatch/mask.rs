//! What an agent sends, without the secrets in it.

use keywright_broker::mask::Mask;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::invalid;
use crate::answer::Failure;

/// The same with every secret in its texts masked, the names of fields included. It goes over all texts, whatever they
/// are for, so that a new verb needs no thought.
pub(super) fn masked<T: Serialize + DeserializeOwned>(mask: &Mask, sent: &T) -> Result<T, Failure> {
    let sent = serde_json::to_value(sent).map_err(invalid)?;
    serde_json::from_value(clean(mask, sent)).map_err(invalid)
}

fn clean(mask: &Mask, value: Value) -> Value {
    match value {
        Value::String(text) => Value::String(mask.clean(&text)),
        Value::Array(items) => items.into_iter().map(|item| clean(mask, item)).collect(),
        Value::Object(fields) => {
            fields.into_iter().map(|(name, value)| (mask.clean(&name), clean(mask, value))).collect()
        }
        other => other,
    }
}
