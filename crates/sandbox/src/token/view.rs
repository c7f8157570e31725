//! What the Rust handle and the control path show of a token: everything but its value.

use jiff::Timestamp;
use serde::Serialize;
use serde_json::Value;

use super::{Owner, Token};
use crate::grant::policy::Effect;

/// A token as the sandbox sees it, without its value.
#[derive(Clone, Debug, Serialize)]
pub struct TokenView {
    /// 32 hex digits.
    pub id: String,
    /// The name that its maker gave it.
    pub name: String,
    /// Who owns it.
    pub owner: TokenOwner,
    /// Its status now.
    pub status: TokenStatus,
    /// What it may do.
    pub policies: Vec<PolicyView>,
    /// The address condition as read back, if any.
    pub condition: Option<Value>,
    /// From when on it works.
    pub not_before: Option<Timestamp>,
    /// When it stops working.
    pub expires_on: Option<Timestamp>,
    /// When it was made.
    pub issued_on: Timestamp,
    /// When it was last changed or rolled.
    pub modified_on: Timestamp,
    /// Its true last use, whatever lag the API shows.
    pub last_used_on: Option<Timestamp>,
    /// How many calls it authenticated.
    pub uses: u64,
}

/// Who owns a token.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum TokenOwner {
    /// The account with this id.
    Account(String),
    /// The sandbox's user.
    User,
}

/// A token's status.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum TokenStatus {
    /// It works (from `not_before` on).
    Active,
    /// It was switched off and can be switched on again.
    Disabled,
    /// Its `expires_on` has passed.
    Expired,
}

/// One policy.
#[derive(Clone, Debug, Serialize)]
pub struct PolicyView {
    /// `allow` or `deny`.
    pub effect: String,
    /// The permission groups.
    pub groups: Vec<GroupView>,
    /// The resources object, as it was written.
    pub resources: Value,
}

/// One permission group.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct GroupView {
    /// 32 hex digits.
    pub id: String,
    /// Its name, which is cosmetic.
    pub name: String,
}

impl TokenView {
    /// A view of `token` at `now`.
    pub(crate) fn of(token: &Token, now: Timestamp) -> Self {
        let policies = token.policies.iter().map(|policy| PolicyView {
            effect: match policy.effect {
                Effect::Allow => "allow".to_owned(),
                Effect::Deny => "deny".to_owned(),
            },
            groups: policy
                .groups
                .iter()
                .map(|group| GroupView { id: group.id.to_owned(), name: group.name.to_owned() })
                .collect(),
            resources: Value::Object(policy.written.clone()),
        });
        Self {
            id: token.id.clone(),
            name: token.name.clone(),
            owner: match &token.owner {
                Owner::Account(id) => TokenOwner::Account(id.clone()),
                Owner::User => TokenOwner::User,
            },
            status: token.status(now),
            policies: policies.collect(),
            condition: token.condition.as_ref().map(crate::grant::cidr::IpCondition::to_json),
            not_before: token.not_before,
            expires_on: token.expires_on,
            issued_on: token.issued_on,
            modified_on: token.modified_on,
            last_used_on: token.uses.last(),
            uses: token.uses.count,
        }
    }
}
