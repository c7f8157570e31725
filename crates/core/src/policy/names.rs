//! Names inside policies: an entity that is named must be one that could exist.

use crate::id::KeyId;
use crate::name::{AgentName, OperatorName, TemplateId, WorkloadName};

/// Whether a policy may be called so: a plain name, so that it can't imitate another in a log.
pub(super) fn is_policy_id(text: &str) -> bool {
    crate::name::StoreName::parse(text).is_ok()
}

/// What is wrong with an entity's name, by its type. Types and actions that don't exist are left to the schema.
pub(super) fn problem(noun: &str, id: &str) -> Option<String> {
    match noun {
        "Agent" => AgentName::parse(id).err().map(|error| error.to_string()),
        "Operator" => OperatorName::parse(id).err().map(|error| error.to_string()),
        "Workload" => WorkloadName::parse(id).err().map(|error| error.to_string()),
        "Template" => TemplateId::parse(id).err().map(|error| error.to_string()),
        "Key" => KeyId::parse(id).err().map(|error| error.to_string()),
        "Schedule" if id != "schedule" => Some("the scheduler's name is `schedule`".to_owned()),
        _ => None,
    }
}
