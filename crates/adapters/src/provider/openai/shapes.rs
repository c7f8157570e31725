//! The shapes on the wire.

use serde::{Deserialize, Serialize};

use crate::provider::secret_text::SecretText;

/// The body of `POST .../service_accounts`: the answer holds the account's first key.
#[derive(Serialize)]
pub(super) struct CreateBody<'a> {
    pub(super) name: &'a str,
    pub(super) create_service_account_only: bool,
}

#[derive(Deserialize)]
pub(super) struct Created {
    pub(super) id: String,
    pub(super) api_key: CreatedKey,
}

#[derive(Deserialize)]
pub(super) struct CreatedKey {
    pub(super) value: SecretText,
}

#[derive(Deserialize)]
pub(super) struct Page<T> {
    pub(super) data: Vec<T>,
    pub(super) has_more: bool,
}

/// What a list's cursor points at.
pub(super) trait Row {
    fn id(&self) -> &str;
}

#[derive(Deserialize)]
pub(super) struct ServiceAccount {
    pub(super) id: String,
    pub(super) name: String,
    /// `owner`, `member`, or `none`.
    pub(super) role: String,
    /// Seconds since the epoch.
    pub(super) created_at: i64,
}

impl Row for ServiceAccount {
    fn id(&self) -> &str {
        &self.id
    }
}

#[derive(Deserialize)]
pub(super) struct Key {
    pub(super) id: String,
    pub(super) owner: Owner,
    /// `active` or `inactive`.
    pub(super) owner_project_access: String,
    /// Seconds since the epoch.
    pub(super) last_used_at: Option<i64>,
}

impl Row for Key {
    fn id(&self) -> &str {
        &self.id
    }
}

#[derive(Deserialize)]
pub(super) struct Owner {
    pub(super) service_account: Option<OwnerAccount>,
}

#[derive(Deserialize)]
pub(super) struct OwnerAccount {
    pub(super) id: String,
}

#[derive(Deserialize)]
pub(super) struct Project {
    pub(super) id: String,
    pub(super) name: Option<String>,
    pub(super) archived_at: Option<i64>,
}

/// `GET .../spend_limit`.
#[derive(Deserialize)]
pub(super) struct SpendLimit {
    /// In cents.
    pub(super) threshold_amount: u64,
    /// ISO 4217.
    pub(super) currency: String,
    pub(super) interval: String,
    pub(super) enforcement: Enforcement,
}

#[derive(Deserialize)]
pub(super) struct Enforcement {
    /// `inactive` or `enforcing`.
    pub(super) status: String,
}

/// A page of `GET /organization/costs`.
#[derive(Deserialize)]
pub(super) struct Costs {
    pub(super) data: Vec<Bucket>,
    pub(super) has_more: bool,
    pub(super) next_page: Option<String>,
}

/// One day.
#[derive(Deserialize)]
pub(super) struct Bucket {
    pub(super) results: Vec<Cost>,
}

#[derive(Deserialize)]
pub(super) struct Cost {
    pub(super) amount: Amount,
    pub(super) api_key_id: Option<String>,
}

#[derive(Deserialize)]
pub(super) struct Amount {
    pub(super) value: f64,
    /// ISO 4217, in lower case.
    pub(super) currency: String,
}

/// `GET /models`, of which nothing counts but that it is one.
#[derive(Deserialize)]
pub(super) struct Known {
    #[expect(dead_code, reason = "that it is there is what counts")]
    data: Vec<serde::de::IgnoredAny>,
}

#[derive(Deserialize)]
pub(super) struct Deleted {
    pub(super) deleted: bool,
}

#[derive(Deserialize)]
pub(super) struct Refusal {
    pub(super) error: RefusalText,
}

#[derive(Deserialize)]
pub(super) struct RefusalText {
    pub(super) message: String,
    pub(super) code: Option<String>,
}
