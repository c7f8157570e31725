//! Anthropic: API keys of an organisation, which can be watched and switched off, and not made.
//!
//! Follows the Admin API reference, `API keys` (`/v1/organizations/api_keys`). What is not obvious:
//!
//! * There is no call that creates a key: people make them in the Console. A mint says so, and names what there is for
//!   programs instead, Workload Identity Federation: the program's own OIDC token is exchanged for one that lives for
//!   minutes, so that there is no secret to keep.
//! * A key belongs to a workspace (or to the default one, which has no id) and may do everything there. That is its only
//!   confinement, and it has no end.
//! * `inactive` can be taken back, `archived` can't: the first is the switch, the second is the end of a key.
//! * The parent is an admin key. It opens nothing but the administration, of all of the organisation.

use std::collections::BTreeSet;
use std::time::Duration;

use async_trait::async_trait;
use jiff::Timestamp;
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
use keywright_core::text::{Untrusted, escaped};
use reqwest::Method;
use serde::{Deserialize, Serialize};

use super::patience::until_known;
use super::{
    ConnectError, ConnectionConfig, PLAIN, ParameterKind, about_another, ended, no_such, unauthorized,
    unknown_kind, unsupported,
};
use crate::rest::{self, Failure, RefusalBody, Rest, Said};
use crate::wire::{Auth, Call};

/// The kind, as in `provider add anthropic`.
pub(super) const KIND: &str = "anthropic";

const BASE_URL: &str = "https://api.anthropic.com";
const WORKSPACE: &str = "anthropic.workspace";
/// The workspace without an id.
const DEFAULT: &str = "default";
/// The only permission: everything, in the workspace.
const ALL: &str = "workspace/all";
const NEEDS: &str = "an admin key";
const ADMIN_KEY: &str = "sk-ant-admin";
const PAGE: usize = 1_000;
const MOST_PAGES: usize = 50;
/// The most days in a page of the report of usage.
const MOST_DAYS: &str = "31";
/// "Typically within five minutes" is what Anthropic says of its report. A guess on the safe side.
const LAG_SECONDS: u64 = 3_600;

pub(super) const PARAMETERS: &[ParameterKind] = &[ParameterKind {
    kind: WORKSPACE,
    scopes: &["workspace"],
    from_connection: false,
    help: "one workspace, by its id (`wrkspc_...`), or `default`",
}];

/// What stands in the place of a mint.
const NO_MINT: &str = "it has no call that makes keys; people make them in the Console. For programs use Workload Identity \
                       Federation: the program's own OIDC token is exchanged for one that lives for minutes";

struct Anthropic {
    rest: Rest,
    parent: Secret,
    probe_for: Duration,
}

pub(super) static FACTS: ProviderFacts =
    ProviderFacts { kind: KIND, no_mint: Some(NO_MINT), evidence: Evidence::Counters, ..PLAIN };

/// Prepares a connection.
pub(super) fn connect(config: ConnectionConfig, parent: Secret) -> Result<Box<dyn Provider>, ConnectError> {
    let rest = config.rest(KIND, BASE_URL, &parent, is_id, said)?;
    let probe_for = config.probe_for(KIND)?;
    Ok(Box::new(Anthropic { rest, parent, probe_for }))
}

/// As `apikey_01Rj2N8SVvo6BePZj99NhmiT`; a key itself has a `-`.
fn is_id(text: &str) -> bool {
    let known = ["apikey_", "wrkspc_", "req_", "user_"].iter().any(|prefix| text.starts_with(prefix));
    known && text.len() <= 60 && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
}

/// `{"type": "error", "error": {"type": "...", "message": "..."}}`.
fn said(body: &[u8]) -> Option<Said> {
    let refusal = RefusalBody::parse(body)?;
    Some(Said { code: Some(refusal.text("/error/type")?), message: refusal.text("/error/message")? })
}

#[derive(Deserialize)]
struct Key {
    id: String,
    name: String,
    status: String,
    workspace_id: Option<String>,
    created_at: Option<Timestamp>,
}

#[derive(Deserialize)]
struct Page {
    data: Vec<Key>,
    has_more: bool,
    last_id: Option<String>,
}

/// A page of the report of usage.
#[derive(Deserialize)]
struct Report {
    data: Vec<Day>,
    has_more: bool,
    next_page: Option<String>,
}

#[derive(Deserialize)]
struct Day {
    results: Vec<Used>,
}

#[derive(Deserialize)]
struct Used {
    /// None for use in the Console.
    api_key_id: Option<String>,
    uncached_input_tokens: u64,
    cache_read_input_tokens: u64,
    cache_creation: CacheCreation,
    output_tokens: u64,
}

#[derive(Deserialize)]
struct CacheCreation {
    ephemeral_1h_input_tokens: u64,
    ephemeral_5m_input_tokens: u64,
}

impl Used {
    fn tokens(&self) -> u64 {
        let cached = [
            self.cache_read_input_tokens,
            self.cache_creation.ephemeral_1h_input_tokens,
            self.cache_creation.ephemeral_5m_input_tokens,
        ];
        let plain = [self.uncached_input_tokens, self.output_tokens];
        plain.into_iter().chain(cached).fold(0, u64::saturating_add)
    }
}

#[derive(Serialize)]
struct Status {
    status: &'static str,
}

impl Anthropic {
    fn told(failure: Failure) -> ProviderError {
        failure.of_provider(KIND, "API key", NEEDS)
    }

    fn call<'a>(call: Call<'a>) -> Call<'a> {
        Call { headers: vec![("anthropic-version", "2023-06-01".to_owned())], ..call }
    }

    fn admin(&self) -> Auth<'_> {
        Auth::Header("x-api-key", &self.parent)
    }

    /// `GET /v1/organizations/api_keys/{id}`.
    async fn key(&self, id: &str) -> Result<Key, ProviderError> {
        let path = vec!["v1", "organizations", "api_keys", id];
        let key: Key = self.rest.json(Self::call(Call::get(path, self.admin()))).await.map_err(Self::told)?;
        if key.id == id { Ok(key) } else { Err(about_another(KIND, "key")) }
    }

    /// `POST /v1/organizations/api_keys/{id}`: twice is as good as once.
    async fn set(&self, id: &str, status: &'static str) -> Result<(), Failure> {
        let path = vec!["v1", "organizations", "api_keys", id];
        let call = Call::again(Method::POST, path, self.admin(), rest::body(&Status { status })?);
        let key: Key = self.rest.json(Self::call(call)).await?;
        if key.status == status {
            Ok(())
        } else {
            Err(Failure::garbled("the key has another status than it was given".to_owned()))
        }
    }

    async fn keys(&self) -> Result<Vec<Key>, ProviderError> {
        let (mut keys, mut after) = (Vec::new(), None::<String>);
        for _ in 0..MOST_PAGES {
            let mut call = Call::get(vec!["v1", "organizations", "api_keys"], self.admin());
            call.query.push(("limit", PAGE.to_string()));
            call.query.extend(after.take().map(|id| ("after_id", id)));
            call.max_body = Some(8 << 20);
            let page: Page = self.rest.json(Self::call(call)).await.map_err(Self::told)?;
            keys.extend(page.data);
            match (page.has_more, page.last_id) {
                (false, _) => return Ok(keys),
                (true, Some(last)) => after = Some(last),
                (true, None) => break,
            }
        }
        Err(Self::told(Failure::garbled("its list of keys does not end".to_owned())))
    }
}

#[async_trait]
impl Provider for Anthropic {
    fn facts(&self) -> &'static ProviderFacts {
        &FACTS
    }

    async fn check(&self) -> Result<ParentHealth, ProviderError> {
        if !self.parent.expose_secret().starts_with(ADMIN_KEY) {
            return Err(unauthorized(KIND, "it is not an admin key (`sk-ant-admin...`)"));
        }
        self.keys().await?;
        let warnings = vec!["it can't mint: Anthropic has no call that makes keys".to_owned()];
        Ok(ParentHealth { what: "admin key".to_owned(), expires_at: None, quota: None, warnings })
    }

    async fn resolve(&self, kind: &str, value: &str) -> Result<Resource, ProviderError> {
        if kind != WORKSPACE {
            return Err(unknown_kind(KIND, kind, PARAMETERS));
        }
        if value != DEFAULT && !(value.starts_with("wrkspc_") && is_id(value)) {
            return Err(no_such(KIND, kind, value, "; write its id, `wrkspc_...`, or `default`"));
        }
        Ok(Resource { kind: kind.to_owned(), id: value.to_owned(), name: value.to_owned() })
    }

    fn confine(
        &self,
        permissions: &[Permission],
        given: Vec<Resource>,
    ) -> Result<Vec<Resource>, ProviderError> {
        match permissions.iter().find(|permission| permission.id != ALL) {
            Some(other) => Err(unsupported(KIND, format!("it has no `{}`", escaped(&other.name)))),
            None if given.len() == 1 => Ok(given),
            None => Err(unsupported(KIND, "a key belongs to one workspace")),
        }
    }

    async fn mint(&self, _: &Authorized<Plan>, _: &Grant, _: &Marker) -> Result<Minted, ProviderError> {
        Err(unsupported(KIND, NO_MINT))
    }

    async fn read_back(&self, provider_key_id: &str) -> Result<ObservedGrant, ProviderError> {
        let key = self.key(provider_key_id).await?;
        if key.status == "archived" {
            return Err(ProviderError::NotFound { provider: KIND, what: "API key" });
        }
        let mut not_understood = Vec::new();
        if key.status != "active" {
            not_understood.push(Untrusted::capped(&format!("status: {}", key.status), 80));
        }
        let workspace = key.workspace_id.unwrap_or_else(|| DEFAULT.to_owned());
        Ok(ObservedGrant {
            permissions: BTreeSet::from([ALL.to_owned()]),
            resources: BTreeSet::from([(WORKSPACE.to_owned(), workspace)]),
            not_understood,
            ..ObservedGrant::default()
        }
        .labelled(&key.name))
    }

    /// `GET /v1/models` with the key: it costs nothing.
    async fn probe(&self, secret: &Secret, _: &str) -> Result<(), ProviderError> {
        let ask = || async {
            let call = Call::get(vec!["v1", "models"], Auth::Header("x-api-key", secret));
            self.rest.send(Self::call(call)).await.map(drop)
        };
        let answer = until_known(self.probe_for, ask).await;
        answer.map_err(|failure| failure.of_provider(KIND, "API key", "nothing but an active key"))
    }

    async fn list(&self, which: Listing) -> Result<Vec<Listed>, ProviderError> {
        let is_asked = |key: &Key| key.status != "archived" && which.wants(&key.name);
        let listed = |key: Key| Listed {
            enabled: key.status == "active",
            created_at: key.created_at,
            ..Listed::of(key.id, &key.name)
        };
        Ok(self.keys().await?.into_iter().filter(is_asked).map(listed).collect())
    }

    async fn revoke(&self, provider_key_id: &str) -> Result<Ended, ProviderError> {
        ended(self.set(provider_key_id, "archived").await, |()| true, Self::told)
    }

    fn disabling(&self) -> Option<&dyn Disable> {
        Some(self)
    }

    fn metered(&self) -> Option<&dyn Metered> {
        Some(self)
    }
}

/// `GET /v1/organizations/usage_report/messages`. It tells no cost by key.
#[async_trait]
impl Metered for Anthropic {
    async fn usage(&self, provider_key_id: &str) -> Result<Usage, ProviderError> {
        let key = self.key(provider_key_id).await?;
        let since = key.created_at.ok_or_else(|| {
            Self::told(Failure::garbled("it does not say when the key was made".to_owned()))
        })?;
        let (mut tokens, mut next) = (0_u64, None::<String>);
        for _ in 0..MOST_PAGES {
            let path = vec!["v1", "organizations", "usage_report", "messages"];
            let mut call = Call::get(path, self.admin());
            call.query.extend([
                ("starting_at", format!("{}T00:00:00Z", jiff::tz::Offset::UTC.to_datetime(since).date())),
                ("bucket_width", "1d".to_owned()),
                ("group_by[]", "api_key_id".to_owned()),
                ("api_key_ids[]", provider_key_id.to_owned()),
                ("limit", MOST_DAYS.to_owned()),
            ]);
            call.query.extend(next.take().map(|page| ("page", page)));
            let report: Report = self.rest.json(Self::call(call)).await.map_err(Self::told)?;
            let rows = report.data.into_iter().flat_map(|day| day.results);
            let own = rows.filter(|row| row.api_key_id.as_deref() == Some(provider_key_id));
            tokens = own.map(|row| row.tokens()).fold(tokens, u64::saturating_add);
            match (report.has_more, report.next_page) {
                (false, _) => return Ok(Usage { cost_microusd: None, tokens: Some(tokens) }),
                (true, Some(page)) => next = Some(page),
                (true, None) => break,
            }
        }
        Err(Self::told(Failure::garbled("its report of usage does not end".to_owned())))
    }

    fn lag(&self) -> Span {
        Span::from_seconds(LAG_SECONDS)
    }
}

#[async_trait]
impl Disable for Anthropic {
    async fn disable(&self, provider_key_id: &str) -> Result<(), ProviderError> {
        self.set(provider_key_id, "inactive").await.map_err(Self::told)
    }

    async fn enable(&self, provider_key_id: &str) -> Result<(), ProviderError> {
        self.set(provider_key_id, "active").await.map_err(Self::told)
    }
}
