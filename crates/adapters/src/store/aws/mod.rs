//! The stores of AWS, each of one region: Secrets Manager and the parameters of Systems Manager.

pub(super) mod parameters;
pub(super) mod secrets_manager;

use keywright_core::name::{EnvironmentName, KeyName, ProjectName};
use keywright_core::secret::Secret;

use super::{StoreConfig, StoreConnectError};
use crate::aws::{JsonApi, Keys, address, is_region};

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
