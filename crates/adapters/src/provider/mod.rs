//! Providers: the services that issue keys, one module each.
//!
//! A module reads like its API's documentation and implements [`keywright_core::provider::Provider`]. Adding one means:
//! the module, its line in the registry below, its catalog, its contract tests.

mod aws;
mod cloudflare;
mod config;
mod parameter;

use keywright_core::grant::Grant;
use keywright_core::plan::Plan;
use keywright_core::provider::{Provider, ProviderError, ProviderFacts};
use keywright_core::secret::Secret;

pub use config::{ConnectError, ConnectionConfig};
pub use parameter::ParameterKind;

/// Every provider that is built in.
static REGISTRY: [Registered; 2] = [
    Registered {
        kind: cloudflare::KIND,
        connect: cloudflare::connect,
        settings: cloudflare::SETTINGS,
        parameters: cloudflare::PARAMETERS,
        facts: cloudflare::facts,
    },
    Registered {
        kind: aws::KIND,
        connect: |config, parent| Ok(Box::new(aws::Aws::new(&config, &parent)?)),
        settings: aws::SETTINGS,
        parameters: aws::PARAMETERS,
        facts: aws::facts,
    },
];

/// The kinds of the providers that are built in.
pub const KINDS: &[&str] = &names(&REGISTRY);

type Connect = fn(ConnectionConfig, Secret) -> Result<Box<dyn Provider>, ConnectError>;

/// One line of the registry.
struct Registered {
    kind: &'static str,
    connect: Connect,
    /// The names that [`ConnectionConfig::extra`] may hold.
    settings: &'static [&'static str],
    parameters: &'static [ParameterKind],
    facts: fn() -> &'static ProviderFacts,
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
    let registered = registered(kind).ok_or_else(|| ConnectError::unknown_kind(kind))?;
    config.check_names(registered.kind, registered.settings)?;
    (registered.connect)(config, parent)
}

/// The kinds of parameters that a template for this provider can have, known without a connection; `None` when the
/// provider is not built in.
#[must_use]
pub fn kinds(provider_kind: &str) -> Option<&'static [ParameterKind]> {
    registered(provider_kind).map(|registered| registered.parameters)
}

/// What a provider can and can't do, known without a connection: what [`Provider::facts`] says on every one, except for how
/// an orphan is found and what evidence of use there is, which may depend on the connection; `None` when the provider is
/// not built in.
#[must_use]
pub fn facts_of(provider_kind: &str) -> Option<&'static ProviderFacts> {
    registered(provider_kind).map(|registered| (registered.facts)())
}

fn registered(kind: &str) -> Option<&'static Registered> {
    REGISTRY.iter().find(|registered| registered.kind == kind)
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
const fn names<const N: usize>(registry: &[Registered; N]) -> [&'static str; N] {
    let mut names = [""; N];
    let mut at = 0;
    while at < N {
        names[at] = registry[at].kind;
        at += 1;
    }
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_kind_that_is_built_in_is_connected() {
        assert_eq!(KINDS, ["cloudflare", "aws"]);
        let error =
            connect("cloudfare", ConnectionConfig::default(), Secret::new("x".to_owned())).err().unwrap();
        assert_eq!(error.to_string(), "there is no provider `cloudfare` (built in: cloudflare, aws)");
    }

    #[test]
    fn every_provider_says_what_its_parameters_and_its_facts_are() {
        for kind in KINDS {
            let parameters = kinds(kind).unwrap();
            assert!(!parameters.is_empty());
            for parameter in parameters {
                assert!(parameter.kind.starts_with(&format!("{kind}.")), "{}", parameter.kind);
                assert!(!parameter.scopes.is_empty() && !parameter.help.is_empty(), "{}", parameter.kind);
                assert!(
                    !parameter.help.contains('\n') && !parameter.help.ends_with('.'),
                    "{}",
                    parameter.help
                );
                assert_eq!(parameters.iter().filter(|other| other.kind == parameter.kind).count(), 1);
            }
            assert_eq!(facts_of(kind).unwrap().kind, *kind);
        }
        assert!(kinds("cloudfare").is_none() && facts_of("cloudfare").is_none());
    }
}
