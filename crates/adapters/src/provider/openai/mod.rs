//! OpenAI: project keys, each of a service account of its own.
//!
//! Follows the Administration API, `Project service accounts` (`/organization/projects/{project}/service_accounts`) and
//! `Project API keys`. What is not obvious:
//!
//! * One service account per key, named by the marker: the API deletes no key of a service account, only the account. So a
//!   key's id is here the service account's.
//! * The API takes `scopes` for a key, but shows to nobody which it kept, and publishes no list of them. What can't be read
//!   back is not claimed: there is one permission, `member`, which is the whole project, and no scopes are sent.
//! * What confines a key is therefore its project, with the models that it allows and the spend limit that it enforces. All
//!   three are read back; the two are parameters, so that a template says which ones it means, and a project that allows
//!   more does not serve it. Limits of rate are the project's too, model by model: they protect nobody's money, and are
//!   not looked at.
//! * Keys do not expire at OpenAI and can't be switched off: the broker ends them.

mod models;
mod shapes;
mod spending;

use std::collections::BTreeSet;
use std::time::Duration;

use async_trait::async_trait;
use jiff::Timestamp;
use keywright_core::grant::{Grant, ObservedGrant, Permission, Resource};
use keywright_core::marker::Marker;
use keywright_core::plan::Plan;
use keywright_core::policy::Authorized;
use keywright_core::provider::{
    Ended, Evidence, LastUsed, Listed, Listing, Metered, Minted, ParentHealth, Provider, ProviderError,
    ProviderFacts, Recovery, Usage,
};
use keywright_core::secret::Secret;
use keywright_core::span::Span;
use keywright_core::text::Untrusted;
use reqwest::Method;
use serde::de::DeserializeOwned;

use super::patience::until_known;
use super::{
    ConnectError, ConnectionConfig, PLAIN, ParameterKind, check_fits, check_is_whole, confine_to, ended,
    microusd, minted, no_such, unauthorized, unknown_kind, unsupported,
};
use crate::names::is_plain;
use crate::rest::{self, Failure, Rest, Said, after_create, found};
use crate::wire::Call;
use models::Models;
use shapes::{Costs, CreateBody, Created, Deleted, Key, Known, Page, Project, Row, ServiceAccount};
use spending::Spending;

/// The kind, as in `provider add openai`.
pub(super) const KIND: &str = "openai";

const BASE_URL: &str = "https://api.openai.com/v1";
const NEEDS: &str = "an admin key of the organisation";
/// The one permission; see the module.
const MEMBER: &str = "member";
const PROJECT: &str = "openai.project";
const MODELS: &str = "openai.models";
const SPENDING: &str = "openai.spend_limit";
const PAGE_SIZE: &str = "100";
const MOST_PAGES: usize = 200;
/// Nobody measured how far `last_used_at` lags. A guess on the safe side.
const USE_LAG_SECONDS: u64 = 3_600;
/// The costs are those of whole days, and come later. Nobody measured how much.
const COSTS_LAG_SECONDS: u64 = 2 * 86_400;
/// The most days in a page of costs.
const MOST_DAYS: &str = "180";

pub(super) const PARAMETERS: &[ParameterKind] = &[
    ParameterKind {
        kind: PROJECT,
        scopes: &["project"],
        from_connection: true,
        help: "the connection's project, by its id or its exact name",
    },
    ParameterKind {
        kind: MODELS,
        scopes: &["models"],
        from_connection: false,
        help: "the models that the project's allow-list names, separated by commas; `any` where it has none",
    },
    ParameterKind {
        kind: SPENDING,
        scopes: &["spending"],
        from_connection: false,
        help: "the project's monthly spend limit in US dollars, as in `50`; `none` where it enforces none",
    },
];

/// A connection to one project.
struct OpenAi {
    rest: Rest,
    parent: Secret,
    project: String,
    probe_for: Duration,
}

pub(super) static FACTS: ProviderFacts =
    ProviderFacts { kind: KIND, recovery: Recovery::Container, evidence: Evidence::Exact, ..PLAIN };

/// Prepares a connection. The account is the project, by its id.
pub(super) fn connect(config: ConnectionConfig, parent: Secret) -> Result<Box<dyn Provider>, ConnectError> {
    let hint = "the id of the project that keys belong to, as in `proj_abc`";
    let project = config.account(KIND, is_project, hint)?;
    let rest = config.rest(KIND, BASE_URL, &parent, is_project, said)?;
    let probe_for = config.probe_for(KIND)?;
    Ok(Box::new(OpenAi { rest, parent, project, probe_for }))
}

/// `{"error": {"message": "...", "code": "invalid_api_key"}}`.
fn said(body: &[u8]) -> Option<Said> {
    let refusal: shapes::Refusal = serde_json::from_slice(body).ok()?;
    Some(Said { code: refusal.error.code, message: refusal.error.message })
}

fn is_project(text: &str) -> bool {
    text.strip_prefix("proj_").is_some_and(|rest| is_plain(rest, "_-", usize::MAX))
}

fn told(failure: Failure) -> ProviderError {
    failure.of_provider(KIND, "such key", NEEDS)
}

impl OpenAi {
    fn path<'a>(&'a self, below: &[&'a str]) -> Vec<&'a str> {
        [&["organization", "projects", self.project.as_str()], below].concat()
    }

    fn get<'a>(&'a self, below: &[&'a str]) -> Call<'a> {
        Call::get(self.path(below), &self.parent)
    }

    async fn project(&self) -> Result<Project, ProviderError> {
        match self.rest.json::<Project>(self.get(&[])).await {
            Ok(project) if project.id == self.project => Ok(project),
            Err(failure) if !failure.is_not_found() => Err(told(failure)),
            _ => Err(no_such(KIND, PROJECT, &self.project, "")),
        }
    }

    /// A whole list: cursors don't move when rows come and go.
    async fn pages<T: DeserializeOwned + Row>(&self, below: &[&str]) -> Result<Vec<T>, Failure> {
        let mut rows: Vec<T> = Vec::new();
        for _ in 0..MOST_PAGES {
            let mut query = vec![("limit", PAGE_SIZE.to_owned())];
            query.extend(rows.last().map(|row| ("after", row.id().to_owned())));
            let page: Page<T> = self.rest.json(Call { query, ..self.get(below) }).await?;
            let is_empty = page.data.is_empty();
            rows.extend(page.data);
            match (page.has_more, is_empty) {
                (false, _) => return Ok(rows),
                (true, true) => break,
                (true, false) => {}
            }
        }
        Err(Failure::garbled("a list does not come to its end".to_owned()))
    }

    /// The keys of one service account: it has exactly one, unless somebody else gave it more.
    async fn keys_of(&self, account: &str) -> Result<Vec<Key>, ProviderError> {
        let mut keys: Vec<Key> = self.pages(&["api_keys"]).await.map_err(told)?;
        keys.retain(|key| key.owner.service_account.as_ref().is_some_and(|owner| owner.id == account));
        Ok(keys)
    }

    /// `GET /organization/costs`: by day, and to its end.
    async fn cost_of(&self, key: &str, since: i64) -> Result<u64, Failure> {
        let (mut cost, mut page) = (0_u64, None::<String>);
        for _ in 0..MOST_PAGES {
            let mut call = Call::get(vec!["organization", "costs"], &self.parent);
            call.query.extend([
                ("start_time", since.to_string()),
                ("bucket_width", "1d".to_owned()),
                ("group_by", "api_key_id".to_owned()),
                ("api_key_ids", key.to_owned()),
                ("limit", MOST_DAYS.to_owned()),
            ]);
            call.query.extend(page.take().map(|page| ("page", page)));
            let costs: Costs = self.rest.json(call).await?;
            let rows = costs.data.into_iter().flat_map(|bucket| bucket.results);
            for row in rows.filter(|row| row.api_key_id.as_deref() == Some(key)) {
                let amount = microusd(row.amount.value).filter(|_| row.amount.currency == "usd");
                let amount =
                    amount.ok_or_else(|| Failure::garbled("a cost is no amount in US dollars".to_owned()))?;
                cost = cost.saturating_add(amount);
            }
            match (costs.has_more, costs.next_page) {
                (false, _) => return Ok(cost),
                (true, Some(next)) => page = Some(next),
                (true, None) => break,
            }
        }
        Err(Failure::garbled("the costs do not come to their end".to_owned()))
    }

    async fn models(&self) -> Result<Models, ProviderError> {
        let listed = found(self.rest.json(self.get(&["model_permissions"])).await).map_err(told)?;
        Ok(listed.map_or(Models::Any, Models::of))
    }

    async fn spending(&self) -> Result<Spending, ProviderError> {
        let limit = found(self.rest.json(self.get(&["spend_limit"])).await).map_err(told)?;
        limit.as_ref().map_or(Ok(Spending::Unlimited), Spending::of).map_err(told)
    }

    fn resource(&self, name: &str) -> Resource {
        Resource { kind: PROJECT.to_owned(), id: self.project.clone(), name: name.to_owned() }
    }
}

#[async_trait]
impl Provider for OpenAi {
    fn facts(&self) -> &'static ProviderFacts {
        &FACTS
    }

    async fn check(&self) -> Result<ParentHealth, ProviderError> {
        let project = self.project().await?;
        if project.archived_at.is_some() {
            return Err(unauthorized(KIND, "its project is archived, so no keys can be made in it"));
        }
        self.pages::<ServiceAccount>(&["service_accounts"]).await.map_err(told)?;
        let mut warnings = Vec::new();
        if self.models().await? == Models::Any {
            warnings.push("the project has no allow-list of models: its keys call every model".to_owned());
        }
        if self.spending().await? == Spending::Unlimited {
            let why = "the project enforces no spend limit, and keys have none of their own";
            warnings.push(why.to_owned());
        }
        warnings.push("whether it may write is seen at the first key: the API does not say".to_owned());
        let what = "admin key (of the whole organisation: there is no narrower one)".to_owned();
        Ok(ParentHealth { what, expires_at: None, quota: None, warnings })
    }

    async fn resolve(&self, kind: &str, value: &str) -> Result<Resource, ProviderError> {
        match kind {
            PROJECT if value == self.project => Ok(self.resource(value)),
            PROJECT => {
                let name = self.project().await?.name.unwrap_or_default();
                if !value.is_empty() && value == name {
                    Ok(self.resource(value))
                } else {
                    let name = Untrusted::capped(&name, 80);
                    Err(no_such(KIND, kind, value, format_args!("; it is for `{name}`")))
                }
            }
            MODELS => {
                let allowed = self.models().await?;
                if Models::parse(value).is_some_and(|asked| asked == allowed) {
                    Ok(Resource { kind: MODELS.to_owned(), id: allowed.id(), name: allowed.id() })
                } else {
                    let shown = Untrusted::capped(&allowed.id(), 200);
                    let hint =
                        format_args!("; the project allows `{shown}`: change its allow-list or ask for that");
                    Err(no_such(KIND, kind, value, hint))
                }
            }
            SPENDING => {
                let enforced = self.spending().await?;
                if Spending::parse(value) == Some(enforced) {
                    let id = enforced.to_string();
                    return Ok(Resource { kind: SPENDING.to_owned(), name: id.clone(), id });
                }
                let hint =
                    format_args!("; the project's is `{enforced}`: change it at OpenAI or ask for that");
                Err(no_such(KIND, kind, value, hint))
            }
            other => Err(unknown_kind(KIND, other, PARAMETERS)),
        }
    }

    fn confine(
        &self,
        permissions: &[Permission],
        given: Vec<Resource>,
    ) -> Result<Vec<Resource>, ProviderError> {
        let (projects, limits): (Vec<_>, Vec<_>) = given.into_iter().partition(|one| one.kind == PROJECT);
        let mut kinds: Vec<&str> = limits.iter().map(|limit| limit.kind.as_str()).collect();
        kinds.sort_unstable();
        if kinds != [MODELS, SPENDING] {
            let why = "a key needs to be told once which models its project allows, and once which spend limit it has";
            return Err(unsupported(KIND, why));
        }
        let mut confined = confine_to(KIND, "models", self.resource(&self.project), permissions, &projects)?;
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
        if grant.permissions.iter().any(|permission| permission.id != MEMBER) || grant.permissions.is_empty()
        {
            return Err(unsupported(KIND, "a key is a member of its project and nothing else"));
        }
        check_fits(&FACTS, grant)?;
        check_is_whole(KIND, &self.confine(&grant.permissions, grant.resources.clone())?, grant)?;
        let body = CreateBody { name: marker.as_str(), create_service_account_only: false };
        let body = rest::body(&body).map_err(told)?;
        let call = Call::once(Method::POST, self.path(&["service_accounts"]), &self.parent, body);
        match self.rest.json::<Created>(call).await {
            Ok(created) => minted(KIND, created.id, created.api_key.value),
            Err(failure) => Err(after_create(self, failure, marker, NEEDS).await),
        }
    }

    async fn read_back(&self, provider_key_id: &str) -> Result<ObservedGrant, ProviderError> {
        let call = self.get(&["service_accounts", provider_key_id]);
        let account: ServiceAccount = self.rest.json(call).await.map_err(told)?;
        let mut odd = Vec::new();
        if account.id != provider_key_id {
            odd.push("another service account".to_owned());
        }
        if account.role != MEMBER {
            odd.push(format!("role: {}", account.role));
        }
        let keys = self.keys_of(provider_key_id).await?;
        match keys.as_slice() {
            [key] if key.owner_project_access == "active" => {}
            [_] => odd.push("the key's owner has no access to the project".to_owned()),
            several => odd.push(format!("{} keys", several.len())),
        }
        let models = (MODELS.to_owned(), self.models().await?.id());
        let spending = (SPENDING.to_owned(), self.spending().await?.to_string());
        Ok(ObservedGrant {
            permissions: BTreeSet::from([MEMBER.to_owned()]),
            resources: BTreeSet::from([(PROJECT.to_owned(), self.project.clone()), models, spending]),
            not_understood: odd.iter().map(|part| Untrusted::capped(part, 120)).collect(),
            ..ObservedGrant::default()
        }
        .labelled(&account.name))
    }

    /// `GET /models` with the key itself, which costs nothing. That it lacks a scope for this proves that it is known.
    async fn probe(&self, secret: &Secret, _provider_key_id: &str) -> Result<(), ProviderError> {
        let ask = async || match self.rest.json::<Known>(Call::get(vec!["models"], secret)).await {
            Ok(Known { .. }) => Ok(()),
            Err(failure) if failure.is_forbidden() && failure.denies_for("Missing scopes") => Ok(()),
            Err(failure) => Err(failure),
        };
        until_known(self.probe_for, ask).await.map_err(told)
    }

    async fn list(&self, which: Listing) -> Result<Vec<Listed>, ProviderError> {
        let rows: Vec<ServiceAccount> = self.pages(&["service_accounts"]).await.map_err(told)?;
        let listed = |row: ServiceAccount| Listed {
            created_at: Timestamp::from_second(row.created_at).ok(),
            enabled: row.role != "none",
            ..Listed::of(row.id, &row.name)
        };
        Ok(rows.into_iter().filter(|row| which.wants(&row.name)).map(listed).collect())
    }

    async fn revoke(&self, provider_key_id: &str) -> Result<Ended, ProviderError> {
        let call = Call::delete(self.path(&["service_accounts", provider_key_id]), &self.parent);
        ended(self.rest.json::<Deleted>(call).await, |answer| answer.deleted, told)
    }

    fn last_used(&self) -> Option<&dyn LastUsed> {
        Some(self)
    }

    fn metered(&self) -> Option<&dyn Metered> {
        Some(self)
    }
}

#[async_trait]
impl Metered for OpenAi {
    async fn usage(&self, provider_key_id: &str) -> Result<Usage, ProviderError> {
        let account: ServiceAccount =
            self.rest.json(self.get(&["service_accounts", provider_key_id])).await.map_err(told)?;
        let keys = self.keys_of(provider_key_id).await?;
        let mut cost = 0_u64;
        for key in &keys {
            let own = self.cost_of(&key.id, account.created_at).await.map_err(told)?;
            cost = cost.saturating_add(own);
        }
        Ok(Usage { cost_microusd: Some(cost), tokens: None })
    }

    fn lag(&self) -> Span {
        Span::from_seconds(COSTS_LAG_SECONDS)
    }
}

#[async_trait]
impl LastUsed for OpenAi {
    async fn last_used(&self, provider_key_id: &str) -> Result<Option<Timestamp>, ProviderError> {
        let keys = self.keys_of(provider_key_id).await?;
        if keys.is_empty() {
            return Err(ProviderError::NotFound { provider: KIND, what: "such key" });
        }
        let seconds = keys.iter().filter_map(|key| key.last_used_at).max();
        Ok(seconds.and_then(|seconds| Timestamp::from_second(seconds).ok()))
    }

    fn lag(&self) -> Span {
        Span::from_seconds(USE_LAG_SECONDS)
    }
}
