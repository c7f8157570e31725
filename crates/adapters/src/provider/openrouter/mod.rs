//! OpenRouter: API keys with a spending limit, within one workspace.
//!
//! Follows the API reference, `API Keys` (`/keys`), `Guardrails` and `Workspaces`. What is not obvious:
//!
//! * A key has no permissions: whoever holds it calls the models of its workspace until its money is spent. So there is
//!   one permission, `inference_key`, confined to the workspace, and to a guardrail (which models, which providers) where a
//!   parameter names one.
//! * Left out, `limit` is no limit and `expires_at` is never, and the expiry can't be changed later. Both are mandatory
//!   here. The limit is for the key's whole life, unless a parameter says that it begins anew (`limit_reset`) each day,
//!   week or month, at midnight UTC, weeks on Monday. It also counts what goes over the account's own keys at model
//!   providers (`include_byok_in_limit`).
//! * A key holds at most one guardrail, which is assigned after the key was made. When that fails, the key is ended
//!   before its secret leaves this module. What it allows is a part of its name in a plan, so that a guardrail that was
//!   changed after the approval is not the one that was approved.
//! * `GET /keys` lists the default workspace unless it is told another one.

mod guardrails;
mod shapes;

use std::collections::BTreeSet;
use std::time::Duration;

use async_trait::async_trait;
use keywright_core::grant::{Grant, ObservedGrant, Permission, Resource};
use keywright_core::marker::Marker;
use keywright_core::plan::Plan;
use keywright_core::policy::Authorized;
use keywright_core::provider::{
    Disable, Ended, Evidence, Listed, Listing, Metered, Minted, ParentHealth, Provider, ProviderError,
    ProviderFacts, Usage,
};
use keywright_core::secret::Secret;
use keywright_core::span::Span;
use keywright_core::text::Untrusted;
use reqwest::Method;

use super::patience::until_known;
use super::{
    ConnectError, ConnectionConfig, PLAIN, ParameterKind, about_another, another_key, check_is_whole,
    confine_to, ended, microusd, minted, no_such, unauthorized, unknown_kind, unsupported, whole_seconds,
};
use crate::names::is_uuid;
use crate::rest::{self, Failure, Rest, Said, after_create};
use crate::wire::Call;
use shapes::{CreateBody, Created, Data, Deleted, Key, OwnKey, SwitchBody, Workspace};

/// The kind, as in `provider add openrouter`.
pub(super) const KIND: &str = "openrouter";

const BASE_URL: &str = "https://openrouter.ai/api/v1";
const NEEDS: &str = "a management key";
/// The one permission; see the module.
const INFERENCE: &str = "inference_key";
const WORKSPACE: &str = "openrouter.workspace";
const GUARDRAIL: &str = "openrouter.guardrail";
const RESET: &str = "openrouter.limit_reset";
const RESETS: [&str; 3] = ["daily", "weekly", "monthly"];
const MOST_PAGES: usize = 200;
/// Nobody measured how far `usage` lags. A guess on the safe side.
const LAG_SECONDS: u64 = 3_600;
/// How often a list is begun again that changed under our hands.
const MOST_STARTS: usize = 4;

pub(super) const PARAMETERS: &[ParameterKind] = &[
    ParameterKind {
        kind: WORKSPACE,
        scopes: &["workspace"],
        from_connection: true,
        help: "the connection's workspace, by its id, its name or its slug",
    },
    ParameterKind {
        kind: GUARDRAIL,
        scopes: &["workspace"],
        from_connection: false,
        help: "a guardrail of the workspace (which models and providers), by its exact name or its id",
    },
    ParameterKind {
        kind: RESET,
        scopes: &["limit"],
        from_connection: false,
        help: "when the budget begins anew: `daily`, `weekly` or `monthly`; without it the budget is for the key's whole life",
    },
];

/// A connection to one workspace.
struct OpenRouter {
    rest: Rest,
    parent: Secret,
    workspace: String,
    probe_for: Duration,
}

pub(super) static FACTS: ProviderFacts =
    ProviderFacts { kind: KIND, evidence: Evidence::Counters, has_expiry: true, has_budget: true, ..PLAIN };

/// Prepares a connection. The account is the workspace, by its id.
pub(super) fn connect(config: ConnectionConfig, parent: Secret) -> Result<Box<dyn Provider>, ConnectError> {
    let hint =
        "the id of the workspace that keys belong to, a UUID; the management key lists them at `/workspaces`";
    let workspace = config.account(KIND, is_uuid, hint)?;
    let rest = config.rest(KIND, BASE_URL, &parent, is_uuid, said)?;
    let probe_for = config.probe_for(KIND)?;
    Ok(Box::new(OpenRouter { rest, parent, workspace, probe_for }))
}

/// `{"error": {"message": "...", "code": 401}}`.
fn said(body: &[u8]) -> Option<Said> {
    let refusal: shapes::Refusal = serde_json::from_slice(body).ok()?;
    Some(Said { code: refusal.error.code.map(|code| code.to_string()), message: refusal.error.message })
}

impl OpenRouter {
    async fn key(&self, hash: &str) -> Result<Key, ProviderError> {
        let call = Call::get(vec!["keys", hash], &self.parent);
        let key: Data<Key> = self.rest.json(call).await.map_err(told)?;
        if key.data.hash == hash { Ok(key.data) } else { Err(about_another(KIND, "key")) }
    }

    /// What a key says about itself: `GET /key`, sent with it.
    async fn own(&self, secret: &Secret) -> Result<OwnKey, Failure> {
        Ok(self.rest.json::<Data<OwnKey>>(Call::get(vec!["key"], secret)).await?.data)
    }

    /// All keys of the workspace; `None` when keys came or went between two pages. The API gives no total, so each page
    /// begins with the last row of the one before: when that row is another one, some row may have slipped through.
    async fn rows(&self) -> Result<Option<Vec<Key>>, Failure> {
        let mut rows: Vec<Key> = Vec::new();
        for _ in 0..MOST_PAGES {
            let query = vec![
                ("include_disabled", "true".to_owned()),
                ("offset", rows.len().saturating_sub(1).to_string()),
                ("workspace_id", self.workspace.clone()),
            ];
            let call = Call { query, ..Call::get(vec!["keys"], &self.parent) };
            let mut page = self.rest.json::<Data<Vec<Key>>>(call).await?.data;
            if let Some(last) = rows.last() {
                if page.first().is_none_or(|first| first.hash != last.hash) {
                    return Ok(None);
                }
                page.remove(0);
            }
            if page.is_empty() {
                let distinct: BTreeSet<&str> = rows.iter().map(|row| row.hash.as_str()).collect();
                return Ok((distinct.len() == rows.len()).then_some(rows));
            }
            rows.extend(page);
        }
        Err(Failure::garbled(format!("the list of keys has more than {MOST_PAGES} pages")))
    }

    async fn switch(&self, hash: &str, disabled: bool) -> Result<(), ProviderError> {
        let body = rest::body(&SwitchBody { disabled }).map_err(told)?;
        let call = Call::again(Method::PATCH, vec!["keys", hash], &self.parent, body);
        let key: Data<Key> = self.rest.json(call).await.map_err(told)?;
        if key.data.hash == hash && key.data.disabled == disabled {
            Ok(())
        } else {
            Err(told(Failure::garbled("the key is not switched as asked".to_owned())))
        }
    }

    fn body<'a>(&'a self, grant: &Grant, marker: &'a Marker) -> Result<CreateBody<'a>, ProviderError> {
        let [permission] = grant.permissions.as_slice() else {
            return Err(unsupported(KIND, "a key does inference and nothing else"));
        };
        if permission.id != INFERENCE || !grant.ip_allow.is_empty() {
            return Err(unsupported(KIND, "a key does inference, from everywhere"));
        }
        let expires_at =
            grant.expires_at.ok_or_else(|| unsupported(KIND, "a key without an expiry is never made"))?;
        let cents = grant.budget_cents.filter(|cents| *cents > 0).ok_or_else(|| {
            unsupported(KIND, "a key without a limit is never made; give the template a `budget_usd`")
        })?;
        let reset = grant.resources.iter().find(|resource| resource.kind == RESET);
        let reset = reset.map(|reset| RESETS.into_iter().find(|known| *known == reset.id));
        if reset == Some(None) {
            return Err(unsupported(KIND, "a limit begins anew daily, weekly or monthly"));
        }
        Ok(CreateBody {
            name: marker.as_str(),
            // Exact up to 90 trillion dollars: 53 bits of cents.
            limit: cents as f64 / 100.0,
            limit_reset: reset.flatten(),
            include_byok_in_limit: true,
            expires_at: whole_seconds(expires_at),
            workspace_id: &self.workspace,
        })
    }
}

fn told(failure: Failure) -> ProviderError {
    failure.of_provider(KIND, "such key", NEEDS)
}

#[async_trait]
impl Provider for OpenRouter {
    fn facts(&self) -> &'static ProviderFacts {
        &FACTS
    }

    async fn check(&self) -> Result<ParentHealth, ProviderError> {
        let own = self.own(&self.parent).await.map_err(told)?;
        if !own.is_management_key {
            return Err(unauthorized(KIND, "it is an ordinary key; only a management key makes keys"));
        }
        let call = Call::get(vec!["workspaces", &self.workspace], &self.parent);
        match self.rest.json::<Data<Workspace>>(call).await {
            Ok(workspace) if workspace.data.id == self.workspace => {}
            Err(failure) if !failure.is_not_found() => return Err(told(failure)),
            _ => return Err(no_such(KIND, WORKSPACE, &self.workspace, "")),
        }
        let mut warnings = Vec::new();
        if own.expires_at.is_none() {
            warnings.push("it has no expiry; give it one".to_owned());
        }
        match self.list(Listing::All).await {
            Ok(_) => {}
            Err(error @ ProviderError::Throttled { .. }) => return Err(error),
            Err(error) => {
                warnings.push(format!("keys can't be listed, so no orphan could be found: {error}"));
            }
        }
        let what = "management key (of every workspace: there is no narrower one)".to_owned();
        Ok(ParentHealth { what, expires_at: own.expires_at, quota: None, warnings })
    }

    async fn resolve(&self, kind: &str, value: &str) -> Result<Resource, ProviderError> {
        match kind {
            WORKSPACE if value == self.workspace => Ok(self.resource(value)),
            WORKSPACE => {
                let call = Call::get(vec!["workspaces", &self.workspace], &self.parent);
                let own = self.rest.json::<Data<Workspace>>(call).await.map_err(told)?.data;
                if own.id == self.workspace
                    && !value.is_empty()
                    && [own.name.as_str(), own.slug.as_str()].contains(&value)
                {
                    Ok(self.resource(value))
                } else {
                    let name = Untrusted::capped(&own.name, 80);
                    Err(no_such(KIND, kind, value, format_args!("; it is for `{name}`")))
                }
            }
            GUARDRAIL => self.guardrail(value).await,
            RESET if RESETS.contains(&value) => {
                Ok(Resource { kind: RESET.to_owned(), id: value.to_owned(), name: value.to_owned() })
            }
            RESET => Err(no_such(KIND, kind, value, format_args!("; it is one of: {}", RESETS.join(", ")))),
            other => Err(unknown_kind(KIND, other, PARAMETERS)),
        }
    }

    fn confine(
        &self,
        permissions: &[Permission],
        given: Vec<Resource>,
    ) -> Result<Vec<Resource>, ProviderError> {
        let (limits, given): (Vec<_>, Vec<_>) =
            given.into_iter().partition(|one| [GUARDRAIL, RESET].contains(&one.kind.as_str()));
        let several = |kind: &str| limits.iter().filter(|one| one.kind == kind).count() > 1;
        if several(GUARDRAIL) || several(RESET) {
            return Err(unsupported(KIND, "a key holds at most one guardrail, and its limit one reset"));
        }
        let own = self.resource(&self.workspace);
        let mut confined = confine_to(KIND, "workspace", own, permissions, &given)?;
        confined.extend(limits);
        Ok(confined)
    }

    async fn mint(
        &self,
        plan: &Authorized<Plan>,
        grant: &Grant,
        marker: &Marker,
    ) -> Result<Minted, ProviderError> {
        super::check_is_of_plan(KIND, grant, plan.get())?;
        check_is_whole(KIND, &self.confine(&grant.permissions, grant.resources.clone())?, grant)?;
        let body = rest::body(&self.body(grant, marker)?).map_err(told)?;
        let call = Call::once(Method::POST, vec!["keys"], &self.parent, body);
        let created: Created = match self.rest.json(call).await {
            Ok(created) => created,
            Err(failure) => return Err(after_create(self, failure, marker, NEEDS).await),
        };
        let minted = minted(KIND, created.data.hash, created.key)?;
        for guardrail in grant.resources.iter().filter(|resource| resource.kind == GUARDRAIL) {
            self.guard(&minted.provider_key_id, &guardrail.id).await?;
        }
        Ok(minted)
    }

    async fn read_back(&self, provider_key_id: &str) -> Result<ObservedGrant, ProviderError> {
        let key = self.key(provider_key_id).await?;
        let guardrails = self.guardrails_of(provider_key_id).await?;
        Ok(shapes::observed(&key, guardrails))
    }

    async fn probe(&self, secret: &Secret, provider_key_id: &str) -> Result<(), ProviderError> {
        let own = until_known(self.probe_for, || self.own(secret)).await.map_err(told)?;
        if own.is_management_key {
            return Err(another_key(KIND, "it is a management key"));
        }
        if own.label != self.key(provider_key_id).await?.label {
            return Err(another_key(KIND, "the secret belongs to a key with another label"));
        }
        Ok(())
    }

    async fn list(&self, which: Listing) -> Result<Vec<Listed>, ProviderError> {
        for _ in 0..MOST_STARTS {
            if let Some(rows) = self.rows().await.map_err(told)? {
                return Ok(rows.into_iter().filter(|row| which.wants(&row.name)).map(listed).collect());
            }
        }
        let why = "the list of keys kept changing while it was read".to_owned();
        Err(ProviderError::Unavailable { provider: KIND, why })
    }

    async fn revoke(&self, provider_key_id: &str) -> Result<Ended, ProviderError> {
        let outcome = self.rest.json(Call::delete(vec!["keys", provider_key_id], &self.parent)).await;
        ended(outcome, |answer: &Deleted| answer.deleted, told)
    }

    fn disabling(&self) -> Option<&dyn Disable> {
        Some(self)
    }

    fn metered(&self) -> Option<&dyn Metered> {
        Some(self)
    }
}

#[async_trait]
impl Metered for OpenRouter {
    async fn usage(&self, provider_key_id: &str) -> Result<Usage, ProviderError> {
        let key = self.key(provider_key_id).await?;
        let amounts = [key.usage, key.byok_usage].map(|dollars| dollars.and_then(microusd));
        let [Some(usage), Some(others)] = amounts else {
            return Err(told(Failure::garbled("what the key used is no amount".to_owned())));
        };
        Ok(Usage { cost_microusd: Some(usage.saturating_add(others)), tokens: None })
    }

    fn lag(&self) -> Span {
        Span::from_seconds(LAG_SECONDS)
    }
}

#[async_trait]
impl Disable for OpenRouter {
    async fn disable(&self, provider_key_id: &str) -> Result<(), ProviderError> {
        self.switch(provider_key_id, true).await
    }

    async fn enable(&self, provider_key_id: &str) -> Result<(), ProviderError> {
        self.switch(provider_key_id, false).await
    }
}

impl OpenRouter {
    fn resource(&self, name: &str) -> Resource {
        Resource { kind: WORKSPACE.to_owned(), id: self.workspace.clone(), name: name.to_owned() }
    }
}

fn listed(key: Key) -> Listed {
    Listed {
        created_at: key.created_at.parse().ok(),
        expires_at: key.expires_at,
        enabled: !key.disabled,
        ..Listed::of(key.hash, &key.name)
    }
}
