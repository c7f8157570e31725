//! The shapes on the wire. They are not the domain's: nothing above this adapter sees them.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::provider::secret_text::SecretText;

/// The body of `POST .../tokens`.
#[derive(Debug, Serialize)]
pub(super) struct CreateBody<'a> {
    pub(super) name: &'a str,
    pub(super) policies: Vec<PolicyBody<'a>>,
    pub(super) expires_on: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) condition: Option<ConditionBody<'a>>,
}

/// One policy to be made. Its `id` is the provider's to give.
#[derive(Debug, Serialize)]
pub(super) struct PolicyBody<'a> {
    pub(super) effect: &'static str,
    pub(super) resources: BTreeMap<String, ResourceBody>,
    pub(super) permission_groups: Vec<GroupBody<'a>>,
}

/// What stands beside a resource: `"*"`, or the resources within it. One policy never mixes the two.
#[derive(Debug, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub(super) enum ResourceBody {
    /// `"*"`.
    Whole(&'static str),
    /// `{"com.cloudflare.api.account.zone.*": "*"}`.
    Within(BTreeMap<&'static str, &'static str>),
}

/// A permission group, by its id.
#[derive(Debug, Clone, Serialize)]
pub(super) struct GroupBody<'a> {
    pub(super) id: &'a str,
}

/// The address condition.
#[derive(Debug, Serialize)]
pub(super) struct ConditionBody<'a> {
    pub(super) request_ip: RequestIpBody<'a>,
}

/// Networks, in CIDR notation.
#[derive(Debug, Serialize)]
pub(super) struct RequestIpBody<'a> {
    #[serde(rename = "in")]
    pub(super) allowed: &'a [String],
}

/// The answer to a create: the only shape that holds a secret. No `Debug`, and no buffering of unknown fields, which
/// would copy the value.
#[derive(Deserialize)]
pub(super) struct CreatedToken {
    pub(super) id: String,
    #[serde(default)]
    pub(super) name: String,
    pub(super) value: SecretText,
}

/// A token as `GET .../tokens/{id}` shows it. What has no field here ends up in `rest`.
#[derive(Debug, Deserialize)]
pub(super) struct Token {
    pub(super) id: String,
    #[serde(default)]
    pub(super) name: String,
    #[serde(default)]
    pub(super) status: String,
    #[serde(default)]
    pub(super) policies: Vec<Policy>,
    pub(super) condition: Option<Value>,
    pub(super) issued_on: Option<Timestamp>,
    pub(super) modified_on: Option<Timestamp>,
    pub(super) not_before: Option<Timestamp>,
    pub(super) expires_on: Option<Timestamp>,
    pub(super) last_used_on: Option<Timestamp>,
    #[serde(flatten)]
    pub(super) rest: Map<String, Value>,
}

/// One policy of a token.
#[derive(Debug, Deserialize)]
pub(super) struct Policy {
    #[serde(default)]
    pub(super) effect: String,
    #[serde(default)]
    pub(super) resources: Map<String, Value>,
    #[serde(default)]
    pub(super) permission_groups: Vec<Group>,
    #[serde(flatten)]
    pub(super) rest: Map<String, Value>,
}

/// A permission group within a policy. Its name is cosmetic.
#[derive(Debug, Deserialize)]
pub(super) struct Group {
    pub(super) id: String,
    #[serde(default)]
    pub(super) name: String,
    #[serde(flatten)]
    pub(super) rest: Map<String, Value>,
}

/// A permission group in the list of all.
#[derive(Debug, Deserialize)]
pub(super) struct ListedGroup {
    pub(super) id: String,
    pub(super) name: String,
    pub(super) scopes: Vec<String>,
}

/// A token in a list: of the unmanaged ones nothing more is asked than this.
#[derive(Debug, Deserialize)]
pub(super) struct TokenRow {
    pub(super) id: String,
    #[serde(default)]
    pub(super) name: String,
    #[serde(default)]
    pub(super) status: String,
    pub(super) issued_on: Option<Timestamp>,
    pub(super) expires_on: Option<Timestamp>,
    pub(super) last_used_on: Option<Timestamp>,
}

/// The answer of `GET .../tokens/verify`.
#[derive(Debug, Deserialize)]
pub(super) struct Verified {
    pub(super) id: String,
    pub(super) status: String,
    pub(super) expires_on: Option<Timestamp>,
}

/// A permission group of the live list.
#[derive(Debug, Deserialize)]
pub(super) struct KnownGroup {
    pub(super) id: String,
    #[serde(default)]
    pub(super) scopes: Vec<String>,
}

/// A zone, an account or a user, as far as names are concerned.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct Named {
    pub(super) id: String,
    #[serde(default)]
    pub(super) name: String,
    /// Of a zone.
    pub(super) account: Option<Box<Named>>,
}
