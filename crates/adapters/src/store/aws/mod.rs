//! The stores of AWS, each of one region: Secrets Manager and the parameters of Systems Manager.

pub(super) mod parameters;
pub(super) mod secrets_manager;

use keywright_core::name::{EnvironmentName, KeyName, ProjectName, StoreName};
use keywright_core::secret::Secret;
use keywright_core::store::StoreError;
use keywright_core::text::Untrusted;

use super::{StoreConfig, StoreConnectError};
use crate::aws::{JsonApi, Keys, address, is_region};
use crate::rest::Failure;

/// What the settings of both are.
const REGION: (&str, &str) = ("region", "the region, as in `eu-central-1`");
const PREFIX: (&str, &str) =
    ("prefix", "what every name starts with, as in `keywright/`; other places are refused");
const KMS_KEY: (&str, &str) =
    ("kms_key", "the KMS key that encrypts new values; AWS's own for this service when absent");

/// What both have in common.
struct Common {
    api: JsonApi,
    prefix: String,
    kms_key: Option<String>,
}

impl Common {
    fn open(
        config: &StoreConfig,
        credential: Option<&Secret>,
        kind: &'static str,
        service: &'static str,
        target: &'static str,
    ) -> Result<Self, StoreConnectError> {
        let region = config.required(REGION.0, REGION.1)?;
        if !is_region(region) {
            return Err(config.bad(REGION.0, "is no region; it looks like `eu-central-1`"));
        }
        let keys = credential.and_then(Keys::parse).ok_or_else(|| {
            config.bad("credential", format!("has another form; it is {}", crate::aws::CREDENTIAL))
        })?;
        let wire = config.wire(kind, Some(&address(service, region)))?;
        Ok(Self {
            api: JsonApi::new(wire, &keys, region, service, target),
            prefix: config.setting(PREFIX.0).unwrap_or_default().to_owned(),
            kms_key: config.setting(KMS_KEY.0).map(str::to_owned),
        })
    }

    fn default_name(&self, project: &ProjectName, environment: &EnvironmentName, name: &KeyName) -> String {
        format!("{}{project}/{environment}/{name}", self.prefix)
    }

    /// Why a name is none of this store's.
    fn refuses(&self, name: &str, longest: usize, marks: &str) -> Option<String> {
        let is_plain = |c: char| c.is_ascii_alphanumeric() || marks.contains(c);
        if !name.starts_with(&self.prefix) || name.len() == self.prefix.len() {
            Some(format!("a name here starts with `{}`", self.prefix))
        } else if name.len() > longest || !name.chars().all(is_plain) {
            Some(format!("a name has at most {longest} characters: letters, digits and `{marks}`"))
        } else {
            None
        }
    }
}

/// What a failed write means. A refusal that is not in AWS's own words may hide that the write was done, so that
/// `landed` looks before it is believed.
async fn not_written(
    store: &StoreName,
    failure: Failure,
    landed: impl Future<Output = Result<bool, StoreError>>,
) -> StoreError {
    let is_claim = failure.is_bare_denial();
    let error = failure.of_write(store);
    if !is_claim {
        return error;
    }
    let why = match landed.await {
        // A credential that is good for nothing has written nothing.
        Ok(false) | Err(StoreError::Unauthorized { .. }) => return error,
        Ok(true) => format!("{error}, and yet it is there"),
        Err(unseen) => format!("{error}, and whether that is so can't be seen: {unseen}"),
    };
    StoreError::OutcomeUnknown { store: store.clone(), why }
}

/// What a failure means after the value itself was written: whatever the reason, it is there.
fn unfinished(store: &StoreName, failure: Failure) -> StoreError {
    match failure.of_write(store) {
        error @ StoreError::OutcomeUnknown { .. } => error,
        error => StoreError::OutcomeUnknown {
            store: store.clone(),
            why: format!("{error}, and yet the value is there"),
        },
    }
}

/// The error for a place that is none.
fn no_place(store: &StoreName, place: &str, why: String) -> StoreError {
    StoreError::Place { store: store.clone(), place: Untrusted::capped(place, 200), why }
}

/// The error for a place that is taken.
fn taken(store: &StoreName, place: &str) -> StoreError {
    StoreError::Conflict { store: store.clone(), place: Untrusted::capped(place, 200) }
}

/// The error for a place that holds something else than was written.
fn mismatch(store: &StoreName, place: &str) -> StoreError {
    StoreError::Mismatch { store: store.clone(), place: Untrusted::capped(place, 200) }
}
