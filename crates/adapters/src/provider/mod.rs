//! Providers: the services that issue keys, one module each.
//!
//! A module reads like its API's documentation and implements [`keywright_core::provider::Provider`]. Adding one means:
//! the module, its line in the registry below, its catalog, its contract tests.

mod cloudflare;
mod config;

use keywright_core::grant::Grant;
use keywright_core::plan::Plan;
use keywright_core::provider::{Provider, ProviderError};
use keywright_core::secret::Secret;

pub use config::{ConnectError, ConnectionConfig};

/// Every provider that is built in.
const REGISTRY: [Registered; 1] =
    [Registered { kind: cloudflare::KIND, connect: cloudflare::connect, settings: cloudflare::SETTINGS }];

/// The kinds of the providers that are built in.
pub const KINDS: &[&str] = &kinds(&REGISTRY);

type Connect = fn(ConnectionConfig, Secret) -> Result<Box<dyn Provider>, ConnectError>;

/// One line of the registry.
struct Registered {
    kind: &'static str,
    connect: Connect,
    /// The names that [`ConnectionConfig::extra`] may hold.
    settings: &'static [&'static str],
}

/// Prepares a connection to a provider. Checks the configuration, dials nothing yet; `parent` is the credential that
/// mints.
///
/// # Errors
/// When the kind is not built in, or the configuration does not fit it.
pub fn connect(
    kind: &str,
    config: ConnectionConfig,
    parent: Secret,
) -> Result<Box<dyn Provider>, ConnectError> {
    let registered = REGISTRY
        .iter()
        .find(|registered| registered.kind == kind)
        .ok_or_else(|| ConnectError::unknown_kind(kind))?;
    config.check_names(registered.kind, registered.settings)?;
    (registered.connect)(config, parent)
}

/// Refuses a grant that is not the one of the plan that policy allowed. Only the expiry comes from the clock; all the
/// rest must be the plan's, whoever put the two together.
fn check_is_of_plan(provider: &'static str, grant: &Grant, plan: &Plan) -> Result<(), ProviderError> {
    let mut allowed = plan.grant(jiff::Timestamp::UNIX_EPOCH);
    allowed.expires_at = grant.expires_at;
    if plan.provider.as_str() == provider && allowed == grant.clone().canonical() {
        Ok(())
    } else {
        Err(ProviderError::Unsupported { provider, why: "the grant is not the one of the plan".to_owned() })
    }
}

#[expect(
    clippy::indexing_slicing,
    reason = "runs at compile time, where an index that is out of bounds is an error"
)]
const fn kinds<const N: usize>(registry: &[Registered; N]) -> [&'static str; N] {
    let mut kinds = [""; N];
    let mut at = 0;
    while at < N {
        kinds[at] = registry[at].kind;
        at += 1;
    }
    kinds
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_kind_that_is_built_in_is_connected() {
        assert_eq!(KINDS, ["cloudflare"]);
        let error =
            connect("cloudfare", ConnectionConfig::default(), Secret::new("x".to_owned())).err().unwrap();
        assert_eq!(error.to_string(), "there is no provider `cloudfare` (built in: cloudflare)");
    }
}
