//! Cloudflare: API tokens, account-owned and user-owned.
//!
//! Follows the API reference, `Account Owned API Tokens` (`/accounts/{account_id}/tokens`) and `User API Tokens`
//! (`/user/tokens`), as of the OpenAPI document of July 2026. What is not obvious:
//!
//! * A token is policies x permission groups x resources. A group counts only on resources of its own scope, so the
//!   groups of a grant are sorted by scope and each scope becomes one policy ([`ask`]).
//! * The address condition is `request_ip`. Older texts say `request.ip`, and an unknown key might be ignored: the
//!   read-back ([`observe`]) is what proves that the condition is there.
//! * `last_used_on` lags by an unknown time; nobody measured it. One hour is our guess on the safe side.
//! * "Roll" is never used: it kills the old secret at once.

mod api;
mod ask;
mod create;
mod envelope;
mod groups;
mod list;
mod lookalike;
mod observe;
mod owner;
mod parent;
mod probe;
mod renew;
mod resolve;
mod resource;
mod shapes;
mod switch;

use std::num::NonZeroU32;
use std::time::Duration;

use async_trait::async_trait;
use jiff::Timestamp;
use keywright_core::grant::{Grant, ObservedGrant, Permission, Resource};
use keywright_core::marker::Marker;
use keywright_core::plan::Plan;
use keywright_core::policy::Authorized;
use keywright_core::provider::{
    Disable, Ended, Evidence, LastUsed, Listed, Listing, Minted, ParentHealth, PermissionNow, PermissionsNow,
    Provider, ProviderError, ProviderFacts, RenewsParent,
};
use keywright_core::secret::Secret;
use keywright_core::span::Span;
use keywright_core::text::Untrusted;

use super::{ConnectError, ConnectionConfig, PLAIN, PROBE_FOR, Setting, TIMEOUT};
use crate::wire::{Pace, Wire};
use api::Api;
use envelope::About;
use groups::GroupScopes;
use owner::Owner;
use shapes::ListedGroup;

pub(super) use resource::PARAMETERS;

/// The kind, as in `provider add cloudflare`.
pub(super) const KIND: &str = "cloudflare";
pub(super) const SETTINGS: &[Setting] = &[
    ("owner", "who owns the parent and the keys: `account` or `user`; `account` unless set"),
    ("user_id", "with `owner=user`: the user's id, where keys get permissions over the user itself"),
    ("requests_per_minute", "how many calls at most; `200` unless set"),
    ("use_lag", "how far `last_used_on` may lie behind; `1h` unless set"),
    TIMEOUT,
    PROBE_FOR,
];

const BASE_URL: &str = "https://api.cloudflare.com/client/v4";
/// The provider allows 1200 calls in 5 minutes and then blocks for 5 minutes. This rate with this burst stays below,
/// with room for other users of the account.
const CALLS_PER_MINUTE: u32 = 200;
const BURST: u32 = 100;
const USE_LAG_SECONDS: u64 = 3_600;

/// A connection to Cloudflare.
pub(super) struct Cloudflare {
    api: Api,
    owner: Owner,
    /// The account that account resources and zones belong to.
    account: Option<String>,
    /// The user that user resources belong to.
    user: Option<String>,
    probe_for: Duration,
    use_lag: Span,
    scopes: GroupScopes,
}

/// What the API can and can't do, whatever the connection.
pub(super) static FACTS: ProviderFacts = ProviderFacts {
    kind: KIND,
    evidence: Evidence::Exact,
    has_expiry: true,
    has_ip_condition: true,
    ..PLAIN
};

/// Prepares a connection; see [`ConnectionConfig`] for the settings.
pub(super) fn connect(config: ConnectionConfig, parent: Secret) -> Result<Box<dyn Provider>, ConnectError> {
    Ok(Box::new(Cloudflare::new(config, parent)?))
}

impl Cloudflare {
    fn new(mut config: ConnectionConfig, parent: Secret) -> Result<Self, ConnectError> {
        let account = checked_id("account", config.account.take())?;
        let user = checked_id("user_id", config.extra.remove("user_id"))?;
        let owner = match (config.extra.get("owner").map(String::as_str), &account) {
            (Some("user"), _) => Owner::User,
            (None | Some("account"), Some(account)) => Owner::Account(account.clone()),
            (None | Some("account"), None) => {
                let hint = "the account's id, 32 hexadecimal digits in the dashboard's address bar; a user-owned \
                            parent needs `owner=user` instead";
                return Err(ConnectError::Missing { provider: KIND, name: "account", hint });
            }
            (Some(other), _) => {
                return Err(ConnectError::setting(KIND, "owner", other, "`account` or `user`"));
            }
        };
        if parent.is_empty() || !parent.expose_secret().bytes().all(|b| b.is_ascii_graphic()) {
            return Err(ConnectError::Credential { provider: KIND });
        }
        let mut wire = config.wire(KIND, BASE_URL)?;
        wire.pace = Some(pace(&config)?);
        let wire = Wire::new(wire).map_err(|error| ConnectError::wire(KIND, &error))?;
        let probe_for = config.probe_for(KIND)?;
        let use_lag = config.use_lag(KIND, USE_LAG_SECONDS)?;
        Ok(Self {
            api: Api::new(wire, parent),
            owner,
            account,
            user,
            probe_for,
            use_lag,
            scopes: GroupScopes::default(),
        })
    }
}

fn checked_id(name: &'static str, value: Option<String>) -> Result<Option<String>, ConnectError> {
    match value {
        Some(value) if !resource::is_id(&value) => {
            Err(ConnectError::setting(KIND, name, &value, "32 lower-case hexadecimal digits"))
        }
        value => Ok(value),
    }
}

fn pace(config: &ConnectionConfig) -> Result<Pace, ConnectError> {
    let name = "requests_per_minute";
    let per_minute = match config.extra.get(name) {
        None => CALLS_PER_MINUTE,
        Some(text) => match text.parse() {
            Ok(number @ 1..=1_000_000) => number,
            _ => return Err(ConnectError::setting(KIND, name, text, "a number from 1 to 1000000")),
        },
    };
    let burst = NonZeroU32::new((per_minute / 2).clamp(1, BURST)).unwrap_or(NonZeroU32::MIN);
    Ok(Pace { burst, interval: Duration::from_secs(60) / per_minute })
}

#[async_trait]
impl Provider for Cloudflare {
    fn facts(&self) -> &'static ProviderFacts {
        &FACTS
    }

    async fn check(&self) -> Result<ParentHealth, ProviderError> {
        self.parent_health().await
    }

    async fn resolve(&self, kind: &str, value: &str) -> Result<Resource, ProviderError> {
        self.resolve_parameter(kind, value).await
    }

    fn confine(
        &self,
        permissions: &[Permission],
        given: Vec<Resource>,
    ) -> Result<Vec<Resource>, ProviderError> {
        ask::confine(permissions, given, &self.owner, self.account.as_deref(), self.user.as_deref())
    }

    async fn mint(
        &self,
        plan: &Authorized<Plan>,
        grant: &Grant,
        marker: &Marker,
    ) -> Result<Minted, ProviderError> {
        super::check_is_of_plan(KIND, grant, plan.get())?;
        self.create(grant, marker).await
    }

    async fn read_back(&self, provider_key_id: &str) -> Result<ObservedGrant, ProviderError> {
        let token = self.token(provider_key_id).await?;
        let scopes = self.scopes.of(self, &token).await?;
        Ok(observe::observe(&token, &scopes))
    }

    async fn probe(&self, secret: &Secret, provider_key_id: &str) -> Result<(), ProviderError> {
        self.wait_until_works(secret, provider_key_id).await
    }

    async fn list(&self, which: Listing) -> Result<Vec<Listed>, ProviderError> {
        self.list_tokens(which).await
    }

    async fn own_key_id(&self) -> Result<Option<String>, ProviderError> {
        Ok(Some(self.verify_parent().await?.id))
    }

    async fn revoke(&self, provider_key_id: &str) -> Result<Ended, ProviderError> {
        let path = self.owner.token(provider_key_id)?;
        self.api.delete(path, "token", self.owner.write_permission()).await
    }

    fn disabling(&self) -> Option<&dyn Disable> {
        Some(self)
    }

    fn last_used(&self) -> Option<&dyn LastUsed> {
        Some(self)
    }

    fn permissions_now(&self) -> Option<&dyn PermissionsNow> {
        Some(self)
    }

    fn renewing(&self) -> Option<&dyn RenewsParent> {
        Some(self)
    }
}

#[async_trait]
impl LastUsed for Cloudflare {
    async fn last_used(&self, provider_key_id: &str) -> Result<Option<Timestamp>, ProviderError> {
        Ok(self.token(provider_key_id).await?.last_used_on)
    }

    fn lag(&self) -> Span {
        self.use_lag
    }
}

#[async_trait]
impl PermissionsNow for Cloudflare {
    /// `GET .../tokens/permission_groups`, which is one page.
    async fn permissions_now(&self) -> Result<Vec<PermissionNow>, ProviderError> {
        let about = About { what: "permission groups", needs: self.owner.read_permission() };
        let path = [self.owner.tokens(), vec!["permission_groups"]].concat();
        let answer = self.api.get::<Vec<ListedGroup>>(path, Vec::new(), about).await?;
        let count = u64::try_from(answer.result.len()).unwrap_or(u64::MAX);
        if answer.total_count.is_some_and(|total| total > count) {
            let why = "its list of permission groups is not whole".to_owned();
            return Err(ProviderError::Garbled { provider: KIND, why });
        }
        let scope = |scope: &String| scope.rsplit('.').next().unwrap_or_default().to_owned();
        let now = |group: ListedGroup| PermissionNow {
            id: group.id,
            name: Untrusted::capped(&group.name, 120),
            scopes: group.scopes.iter().map(scope).collect(),
        };
        Ok(answer.result.into_iter().map(now).collect())
    }
}
