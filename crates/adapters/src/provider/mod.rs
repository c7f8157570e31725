//! Providers: the services that issue keys, one module each.
//!
//! A module reads like its API's documentation and implements [`keywright_core::provider::Provider`]. Adding one means:
//! the module, its line in the registry below, its catalog, its contract tests.
#![allow(
    clippy::needless_pass_by_value,
    reason = "each module's `connect` has the registry's signature: configuration and credential are handed over"
)]

mod anthropic;
mod aws;
mod cloudflare;
mod config;
mod github;
mod gitlab;
mod huggingface;
mod openai;
mod openrouter;
mod parameter;
mod patience;
mod secret_text;
mod sendgrid;
mod tailscale;

use crate::rest::{Failure, Proof};
use keywright_core::grant::{Grant, Permission, Resource};
use keywright_core::plan::Plan;
use keywright_core::provider::{Ended, Evidence, Minted, Provider, ProviderError, ProviderFacts, Recovery};
use keywright_core::secret::Secret;
use keywright_core::span::Span;
use keywright_core::text::{Untrusted, escaped};

use serde_json::{Map, Value};

pub use config::{ConnectError, ConnectionConfig};
pub use parameter::ParameterKind;

/// Every provider that is built in.
const REGISTRY: &[Registered] = &[
    Registered {
        kind: anthropic::KIND,
        connect: anthropic::connect,
        credential: "an admin key of the organisation: `sk-ant-admin...`",
        account: None,
        settings: USUAL_SETTINGS,
        parameters: anthropic::PARAMETERS,
        new_parent: "in the Console, make an admin key (Settings, Admin keys)",
        facts: &anthropic::FACTS,
    },
    Registered {
        kind: cloudflare::KIND,
        connect: cloudflare::connect,
        credential: "a token with `Account API Tokens Write`, and `Zone Read` so that zones can be named",
        account: Some("the account's id, 32 hexadecimal digits; none with `owner=user`"),
        settings: cloudflare::SETTINGS,
        parameters: cloudflare::PARAMETERS,
        new_parent: "in the dashboard, make a token with the same permissions (Manage Account, Account API Tokens)",
        facts: &cloudflare::FACTS,
    },
    Registered {
        kind: openrouter::KIND,
        connect: openrouter::connect,
        credential: "a management key",
        account: Some("the id of the workspace that keys belong to, a UUID"),
        settings: USUAL_SETTINGS,
        parameters: openrouter::PARAMETERS,
        new_parent: "on openrouter.ai, make a management key (Settings, Management keys)",
        facts: &openrouter::FACTS,
    },
    Registered {
        kind: sendgrid::KIND,
        connect: sendgrid::connect,
        credential: "a key that may make keys, with every scope that it shall give",
        account: Some("a subuser's name; the parent's own account when absent"),
        settings: USUAL_SETTINGS,
        parameters: sendgrid::PARAMETERS,
        new_parent: "in SendGrid, make an API key with the same scopes (Settings, API Keys)",
        facts: &sendgrid::FACTS,
    },
    Registered {
        kind: openai::KIND,
        connect: openai::connect,
        credential: "an admin key of the organisation",
        account: Some("the id of the project that keys belong to, as in `proj_abc`"),
        settings: USUAL_SETTINGS,
        parameters: openai::PARAMETERS,
        new_parent: "on platform.openai.com, make an admin key (Organization, Admin keys)",
        facts: &openai::FACTS,
    },
    Registered {
        kind: huggingface::KIND,
        connect: huggingface::connect,
        credential: "a token with `org.serviceAccounts.write`",
        account: Some("the organisation's name, as in `huggingface.co/NAME`"),
        settings: USUAL_SETTINGS,
        parameters: huggingface::PARAMETERS,
        new_parent: "on huggingface.co, make a token with `org.serviceAccounts.write` (Settings, Access Tokens)",
        facts: &huggingface::FACTS,
    },
    Registered {
        kind: github::KIND,
        connect: github::connect,
        credential: "the private key of a GitHub App, in PEM",
        account: None,
        settings: github::SETTINGS,
        parameters: github::PARAMETERS,
        new_parent: "on GitHub, generate another private key (the App's settings, Private keys); an App may have several",
        facts: &github::FACTS,
    },
    Registered {
        kind: gitlab::KIND,
        connect: gitlab::connect,
        credential: "a person's token with the scope `api`, of a Maintainer (projects) or an Owner (groups)",
        account: None,
        settings: gitlab::SETTINGS,
        parameters: gitlab::PARAMETERS,
        new_parent: "in GitLab, make a token with the scope `api` (Preferences, Access tokens); never `rotate`, which ends the old one at once",
        facts: &gitlab::FACTS,
    },
    Registered {
        kind: tailscale::KIND,
        connect: tailscale::connect,
        credential: "the secret of an OAuth client with `auth_keys` or `oauth_keys`, or an API access token",
        account: Some("the tailnet's name; that of the parent when absent"),
        settings: tailscale::SETTINGS,
        parameters: tailscale::PARAMETERS,
        new_parent: "in the admin console, make an OAuth client or an access token with the same scopes (Settings)",
        facts: &tailscale::FACTS,
    },
    Registered {
        kind: aws::KIND,
        connect: |config, parent| Ok(Box::new(aws::Aws::new(&config, &parent)?)),
        credential: crate::aws::CREDENTIAL,
        account: Some("the 12 digits of the account"),
        settings: aws::SETTINGS,
        parameters: aws::PARAMETERS,
        new_parent: "in IAM, make the second access key of the same user, or a fresh temporary credential",
        facts: &aws::FACTS,
    },
];

/// What holds of most: no end, no conditions, no evidence of use; orphans are found by their labels.
const PLAIN: ProviderFacts = ProviderFacts {
    kind: "",
    no_mint: None,
    recovery: Recovery::Label,
    evidence: Evidence::None,
    has_expiry: false,
    counts_lifetime: false,
    has_ip_condition: false,
    has_budget: false,
    longest_late_delivery: Span::from_seconds(600),
};

/// A setting of a connection: its name, and what it is.
pub type Setting = (&'static str, &'static str);

const TIMEOUT: Setting = ("timeout", "how long one attempt of a call may take; `30s` unless set");
const PROBE_FOR: Setting = ("probe_for", "how long a fresh key may take to work; `10s` unless set");
/// Of a provider that has no settings of its own.
const USUAL_SETTINGS: &[Setting] = &[TIMEOUT, PROBE_FOR];

/// The kinds of the providers that are built in.
pub const KINDS: [&str; REGISTRY.len()] = names(REGISTRY);

type Connect = fn(ConnectionConfig, Secret) -> Result<Box<dyn Provider>, ConnectError>;

/// One line of the registry.
struct Registered {
    kind: &'static str,
    connect: Connect,
    /// What the parent credential is.
    credential: &'static str,
    /// How a person makes another one.
    new_parent: &'static str,
    /// What the account is; `None` where a connection has none.
    account: Option<&'static str>,
    /// What [`ConnectionConfig::extra`] may hold.
    settings: &'static [Setting],
    parameters: &'static [ParameterKind],
    facts: &'static ProviderFacts,
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

/// What an operator has to know to connect a provider of a kind.
#[derive(Debug, Clone, Copy)]
pub struct ConnectionKind {
    /// The kind.
    pub kind: &'static str,
    /// What the parent credential is.
    pub credential: &'static str,
    /// What the account is; `None` where a connection has none.
    pub account: Option<&'static str>,
    /// Its settings, and what each is.
    pub settings: &'static [Setting],
}

/// Every kind that is built in.
pub fn connections() -> impl Iterator<Item = ConnectionKind> {
    REGISTRY.iter().map(|one| ConnectionKind {
        kind: one.kind,
        credential: one.credential,
        account: one.account,
        settings: one.settings,
    })
}

/// What a provider can and can't do, known without a connection: what [`Provider::facts`] says on every one, except for how
/// an orphan is found and what evidence of use there is, which may depend on the connection; `None` when the provider is
/// not built in.
#[must_use]
pub fn facts_of(provider_kind: &str) -> Option<&'static ProviderFacts> {
    registered(provider_kind).map(|registered| registered.facts)
}

/// How a person makes another parent credential for a provider; `None` when it is not built in.
#[must_use]
pub fn new_parent(provider_kind: &str) -> Option<&'static str> {
    registered(provider_kind).map(|registered| registered.new_parent)
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

fn unsupported(provider: &'static str, why: impl Into<String>) -> ProviderError {
    ProviderError::Unsupported { provider, why: why.into() }
}

fn unauthorized(provider: &'static str, why: &str) -> ProviderError {
    ProviderError::Unauthorized { provider, message: Untrusted::capped(why, 200) }
}

/// A probe that contradicts what was asked: no wait makes it right, so the mint ends here.
fn another_key(provider: &'static str, what: &str) -> ProviderError {
    let message = Untrusted::capped(&format!("another key than asked for: {what}"), 200);
    ProviderError::Refused { provider, code: None, message, hint: None }
}

fn no_such(provider: &'static str, kind: &str, value: &str, hint: impl std::fmt::Display) -> ProviderError {
    ProviderError::NoSuchResource {
        provider,
        kind: kind.to_owned(),
        value: Untrusted::capped(value, 120),
        hint: hint.to_string(),
    }
}

/// US dollars as a provider writes them, in millionths. `None` for what is no amount.
fn microusd(dollars: f64) -> Option<u64> {
    // Through decimal digits, as JSON has them; what a float adds beyond a millionth is no money.
    let text = format!("{dollars:.6}");
    let (whole, part) = text.split_once('.')?;
    whole.parse::<u64>().ok()?.checked_mul(1_000_000)?.checked_add(part.parse().ok()?)
}

/// Refuses what a provider can't keep and would leave out, or take for something else.
fn check_fits(facts: &ProviderFacts, grant: &Grant) -> Result<(), ProviderError> {
    let lacks = [
        ("expiry", grant.expires_at.is_some() && !facts.has_expiry),
        ("budgets", grant.budget_cents.is_some() && !facts.has_budget),
        ("network conditions", !grant.ip_allow.is_empty() && !facts.has_ip_condition),
    ];
    match lacks.iter().find(|(_, is_lacking)| *is_lacking) {
        Some((what, _)) => Err(unsupported(facts.kind, format!("a key of it has no {what}"))),
        None => Ok(()),
    }
}

/// An answer that is about another credential than the one that was asked for.
fn about_another(provider: &'static str, what: &str) -> ProviderError {
    let why = format!("it is about another {what} than the one asked for");
    ProviderError::Garbled { provider, why }
}

/// What the end of a credential came to. `says_so` is whether a good answer says that it ended.
fn ended<T>(
    outcome: Result<T, Failure>,
    says_so: impl FnOnce(&T) -> bool,
    told: impl FnOnce(Failure) -> ProviderError,
) -> Result<Ended, ProviderError> {
    match outcome {
        Ok(answer) if says_so(&answer) => Ok(Ended::Taken),
        Ok(_) => Err(told(Failure::garbled("it does not say that the key ended".to_owned()))),
        Err(failure) if failure.is_not_found() => {
            Ok(if failure.proof == Proof::NotDone { Ended::NotFound } else { Ended::MaybeTaken })
        }
        Err(failure) => Err(told(failure)),
    }
}

/// What came out of a create. Without an id or a secret something was made that is good for nothing: it has to be looked
/// for and ended.
fn minted(
    provider: &'static str,
    id: String,
    secret: secret_text::SecretText,
) -> Result<Minted, ProviderError> {
    if id.is_empty() || secret.is_empty() {
        let why = "the answer holds no id or no secret".to_owned();
        return Err(ProviderError::OutcomeUnknown { provider, why });
    }
    Ok(Minted { provider_key_id: id, secret: secret.into() })
}

/// A parameter of a kind that the provider does not have; a template with one is refused earlier.
fn unknown_kind(provider: &'static str, kind: &str, known: &[ParameterKind]) -> ProviderError {
    let known = known.iter().map(|known| format!("`{}`", known.kind)).collect::<Vec<_>>().join(", ");
    unsupported(provider, format!("it has no parameters of kind `{}` (it has: {known})", escaped(kind)))
}

/// A parameter of the kind that has one value in this connection: what its keys are of.
fn resolve_own(
    provider: &'static str,
    own: Resource,
    kind: &str,
    value: &str,
    known: &[ParameterKind],
) -> Result<Resource, ProviderError> {
    if kind != own.kind {
        return Err(unknown_kind(provider, kind, known));
    }
    if value == own.id {
        return Ok(own);
    }
    Err(no_such(provider, kind, value, format_args!("; it is for `{}`", own.id)))
}

/// The fields of an answer that say something and are not known.
fn unknown_fields<'a>(fields: &'a Map<String, Value>, known: &'a [&str]) -> impl Iterator<Item = &'a str> {
    let odd = fields.iter().filter(|(name, value)| !value.is_null() && !known.contains(&name.as_str()));
    odd.map(|(name, _)| name.as_str())
}

/// Confines permissions of one scope to the one resource that is the connection's own, and refuses any other permission
/// or resource: the key would look confined and not be.
fn confine_to(
    provider: &'static str,
    scope: &str,
    own: Resource,
    permissions: &[Permission],
    given: &[Resource],
) -> Result<Vec<Resource>, ProviderError> {
    if let Some(other) = permissions.iter().find(|permission| permission.scope != scope) {
        let name = escaped(&other.name);
        return Err(unsupported(
            provider,
            format!("`{name}` applies to no {scope}, so nothing would confine it"),
        ));
    }
    match given.iter().find(|given| given.kind != own.kind || given.id != own.id) {
        Some(other) => {
            let (kind, name) = (escaped(&other.kind), escaped(&other.name));
            Err(unsupported(provider, format!("it can't confine a key to {kind} `{name}`")))
        }
        None => Ok(vec![own]),
    }
}

/// Refuses a grant that is not confined to the one resource that the connection's keys reach: the key would be.
fn check_is_confined_to(provider: &'static str, own: &Resource, grant: &Grant) -> Result<(), ProviderError> {
    match grant.resources.as_slice() {
        [one] if one.kind == own.kind && one.id == own.id => Ok(()),
        _ => Err(unsupported(
            provider,
            format!("a key of it is for {} `{}`, and for nothing else", own.kind, own.id),
        )),
    }
}

/// Refuses a grant that leaves out what `confine` puts there.
fn check_is_whole(provider: &'static str, confined: &[Resource], grant: &Grant) -> Result<(), ProviderError> {
    if confined.len() == grant.resources.len() {
        return Ok(());
    }
    Err(unsupported(provider, "a key of it is confined by more than the grant names"))
}

/// A time as every provider takes it: UTC, whole seconds.
fn whole_seconds(at: jiff::Timestamp) -> String {
    at.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

#[expect(
    clippy::indexing_slicing,
    reason = "runs at compile time, where an index that is out of bounds is an error"
)]
const fn names<const N: usize>(registry: &[Registered]) -> [&'static str; N] {
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
        assert_eq!(
            KINDS,
            [
                "anthropic",
                "cloudflare",
                "openrouter",
                "sendgrid",
                "openai",
                "huggingface",
                "github",
                "gitlab",
                "tailscale",
                "aws"
            ]
        );
        let error =
            connect("cloudfare", ConnectionConfig::default(), Secret::new("x".to_owned())).err().unwrap();
        assert_eq!(
            error.to_string(),
            "there is no provider `cloudfare` (built in: anthropic, cloudflare, openrouter, sendgrid, openai, \
             huggingface, github, gitlab, tailscale, aws)"
        );
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
            assert_eq!(facts_of(kind).unwrap().kind, kind);
        }
        assert!(kinds("cloudfare").is_none() && facts_of("cloudfare").is_none());
    }
}
