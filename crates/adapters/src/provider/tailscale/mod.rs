//! Tailscale: auth keys, or OAuth clients, of one tailnet.
//!
//! Follows the API reference, `Keys` (`/api/v2/tailnet/{tailnet}/keys`, `keyType` `auth` and `client`). What is not obvious:
//!
//! * A connection mints one of the two (setting `mints`): an auth key lets devices join, an OAuth client calls the API. They
//!   need different parents (`auth_keys`, `oauth_keys`), so that one parent for both would be wider than either job.
//! * An auth key always has tags: without them the device would belong to the person who made the key. How a device joins
//!   is its permissions here (`auth-key/join`, and `reusable`, `ephemeral`, `preauthorized`).
//! * An OAuth client has scopes, which are its permissions here; `devices:core` and `auth_keys` reach the devices of its
//!   tags only, and need some. It has no end at Tailscale: the broker ends it.
//! * An auth key ends after a number of seconds that Tailscale counts, 90 days at most.
//! * The description has 50 characters at most: there is room for the marker and for nothing else.
//! * An auth key can't be tried without letting a device join, which may use it up: its probe is that it exists and is
//!   valid. An OAuth client is tried by logging in.
//! * The parent is an OAuth client's secret, which is turned into a token that lives for an hour, or a person's API access
//!   token, which may do everything.

mod key;

use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use keywright_core::grant::{Grant, ObservedGrant, Permission, Resource};
use keywright_core::marker::Marker;
use keywright_core::plan::Plan;
use keywright_core::policy::Authorized;
use keywright_core::provider::{
    Ended, Listed, Listing, Minted, ParentHealth, Provider, ProviderError, ProviderFacts,
};
use keywright_core::secret::Secret;
use keywright_core::text::Untrusted;
use reqwest::Method;
use serde::Deserialize;
use serde_json::{Map, Value};
use url::form_urlencoded::Serializer;

use self::key::{CreateBody, TAGGED, is_over, text, time};
use super::patience::until_known;
use super::secret_text::SecretText;
use super::{
    ConnectError, ConnectionConfig, PLAIN, PROBE_FOR, ParameterKind, Setting, TIMEOUT, about_another, ended,
    minted, no_such, unauthorized, unknown_kind, unsupported,
};
use crate::login::{Login, Logins};
use crate::rest::{self, Failure, RefusalBody, Rest, Said, after_create};
use crate::wire::{Auth, Call};

/// The kind, as in `provider add tailscale`.
pub(super) const KIND: &str = "tailscale";
pub(super) const SETTINGS: &[Setting] = &[
    (
        "mints",
        "what a key is: `auth-keys`, by which devices join, or `oauth-clients`; `auth-keys` unless set",
    ),
    TIMEOUT,
    PROBE_FOR,
];

const BASE_URL: &str = "https://api.tailscale.com/api/v2";
/// The tailnet of the credential.
const OWN: &str = "-";
const TAG: &str = "tailscale.tag";
const ACCOUNT: &str = "tailscale.account";
/// An OAuth client's secret starts so, with the client's id behind.
const CLIENT_SECRET: &str = "tskey-client-";
/// A token that ends within this time is not used any more.
const MARGIN: Duration = Duration::from_secs(60);
const LARGE: usize = 8 << 20;
pub(super) const PARAMETERS: &[ParameterKind] = &[
    ParameterKind {
        kind: TAG,
        scopes: &["tag"],
        from_connection: false,
        help: "one tag of the policy file, as `tag:ci` or `ci`; the parent must own it",
    },
    ParameterKind {
        kind: ACCOUNT,
        scopes: &["account"],
        from_connection: true,
        help: "the connection's tailnet, by its name or `-`",
    },
];

/// A connection to one tailnet.
struct Tailscale {
    rest: Rest,
    parent: Arc<Bearer>,
    tailnet: String,
    mints: Mints,
    probe_for: Duration,
    logins: Logins<Bearer>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mints {
    AuthKeys,
    OAuthClients,
}

/// Who calls: the parent itself, or a token that it logged in for.
struct Bearer {
    token: Secret,
    /// Where it is known.
    scope: Option<String>,
}

/// Of auth keys, which is what a connection mints unless it says otherwise.
pub(super) static FACTS: ProviderFacts =
    ProviderFacts { kind: KIND, has_expiry: true, counts_lifetime: true, ..PLAIN };
static FACTS_OF_CLIENTS: ProviderFacts = ProviderFacts { kind: KIND, ..PLAIN };

/// Prepares a connection. The account is the tailnet's name; without one, the tailnet of the parent.
pub(super) fn connect(config: ConnectionConfig, parent: Secret) -> Result<Box<dyn Provider>, ConnectError> {
    let tailnet = config.account.clone().unwrap_or_else(|| OWN.to_owned());
    let mints = match config.extra.get("mints").map(String::as_str) {
        None | Some("auth-keys") => Mints::AuthKeys,
        Some("oauth-clients") => Mints::OAuthClients,
        Some(other) => {
            return Err(ConnectError::setting(KIND, "mints", other, "`auth-keys` or `oauth-clients`"));
        }
    };
    let rest = config.rest(KIND, BASE_URL, &parent, is_id, said)?;
    let probe_for = config.probe_for(KIND)?;
    let parent = Arc::new(Bearer { token: parent, scope: None });
    Ok(Box::new(Tailscale { rest, parent, tailnet, mints, probe_for, logins: Logins::default() }))
}

/// As `kABC123CNTRL`.
fn is_id(text: &str) -> bool {
    (4..=40).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_alphanumeric())
}

/// `{"message": "..."}`.
fn said(body: &[u8]) -> Option<Said> {
    RefusalBody::parse(body)?.text("/message").map(|message| Said { code: None, message })
}

/// Whether a body is the one of a deletion: none, or an object of JSON. A portal's page is neither.
fn says_nothing(body: &[u8]) -> bool {
    body.is_empty() || serde_json::from_slice::<Option<Map<String, Value>>>(body).is_ok()
}

#[derive(Deserialize)]
struct Created {
    id: String,
    key: SecretText,
}

#[derive(Deserialize)]
struct Granted {
    access_token: SecretText,
    expires_in: u64,
    #[serde(default)]
    scope: String,
}

#[derive(Deserialize)]
struct Keys {
    keys: Vec<Map<String, Value>>,
}

impl Tailscale {
    fn needs(&self) -> &'static str {
        match self.mints {
            Mints::AuthKeys => "an OAuth client with the scope `auth_keys` that owns the tags",
            Mints::OAuthClients => "an OAuth client with the scope `oauth_keys`, and what it gives",
        }
    }

    fn told(&self, failure: Failure) -> ProviderError {
        failure.of_provider(KIND, "key", self.needs())
    }

    /// `POST /oauth/token`: the grant `client_credentials` (RFC 6749, 4.4), as a form.
    async fn log_in(&self, secret: &Secret) -> Result<Login<Bearer>, Failure> {
        let text = secret.expose_secret();
        let id = text.strip_prefix(CLIENT_SECRET).and_then(|rest| rest.split('-').next()).unwrap_or_default();
        let form = Serializer::new(String::new())
            .append_pair("client_id", id)
            .append_pair("client_secret", text)
            .append_pair("grant_type", "client_credentials")
            .finish();
        let path = vec!["oauth", "token"];
        let call = Call::again(Method::POST, path, Auth::Nobody, form.into_bytes().into());
        let call = Call { content_type: "application/x-www-form-urlencoded", ..call };
        let Granted { access_token, expires_in, scope } = self.rest.json(call).await?;
        let until = Instant::now() + Duration::from_secs(expires_in.min(3_600)).saturating_sub(MARGIN);
        Ok(Login { given: Bearer { token: access_token.into(), scope: Some(scope) }, until })
    }

    async fn bearer(&self) -> Result<Arc<Bearer>, Failure> {
        if !self.parent.token.expose_secret().starts_with(CLIENT_SECRET) {
            return Ok(Arc::clone(&self.parent));
        }
        self.logins.current(None, self.log_in(&self.parent.token)).await
    }

    fn path<'a>(&'a self, rest: &[&'a str]) -> Vec<&'a str> {
        let mut path = vec!["tailnet", &self.tailnet, "keys"];
        path.extend(rest);
        path
    }

    /// `GET .../keys/{id}`. What was revoked or has ended is shown for a while.
    async fn key(&self, id: &str) -> Result<Map<String, Value>, Failure> {
        let bearer = self.bearer().await?;
        self.rest.json(Call::get(self.path(&[id]), &bearer.token)).await
    }

    async fn live_key(&self, id: &str) -> Result<Map<String, Value>, ProviderError> {
        let key = self.key(id).await.map_err(|failure| self.told(failure))?;
        if text(&key, "id") != Some(id) {
            return Err(about_another(KIND, "key"));
        }
        if is_over(&key) {
            return Err(ProviderError::NotFound { provider: KIND, what: "key" });
        }
        Ok(key)
    }

    async fn create(&self, body: &CreateBody<'_>) -> Result<Created, Failure> {
        let bearer =
            self.bearer().await.map_err(|failure| Failure { proof: rest::Proof::NotDone, ..failure })?;
        self.rest.json(Call::once(Method::POST, self.path(&[]), &bearer.token, rest::body(body)?)).await
    }
}

#[async_trait]
impl Provider for Tailscale {
    fn facts(&self) -> &'static ProviderFacts {
        match self.mints {
            Mints::AuthKeys => &FACTS,
            Mints::OAuthClients => &FACTS_OF_CLIENTS,
        }
    }

    async fn check(&self) -> Result<ParentHealth, ProviderError> {
        let bearer = self.bearer().await.map_err(|failure| self.told(failure))?;
        let mut warnings = Vec::new();
        let what = match &bearer.scope {
            None => {
                warnings
                    .push("it is a person's and may do everything; make an OAuth client instead".to_owned());
                "API access token"
            }
            Some(scope) => {
                let scopes: Vec<&str> = scope.split_whitespace().collect();
                let wanted = if self.mints == Mints::AuthKeys { "auth_keys" } else { "oauth_keys" };
                if !scopes.is_empty() && !scopes.iter().any(|scope| [wanted, "all"].contains(scope)) {
                    return Err(unauthorized(
                        KIND,
                        &format!("it lacks the scope `{wanted}`, so it can't mint"),
                    ));
                }
                // A client can give another client only what it has itself.
                let more: Vec<&str> = scopes.into_iter().filter(|scope| *scope != wanted).collect();
                if !more.is_empty() && self.mints == Mints::AuthKeys {
                    let more = Untrusted::capped(&more.join(", "), 120);
                    warnings.push(format!("it can do more than mint: {more}; take that away"));
                }
                "OAuth client"
            }
        };
        match self.listed(Listing::Marked).await {
            Ok(_) => {}
            // It may not list, which an OAuth client for minting alone need not. Any other refusal is one.
            Err(failure) if failure.is_forbidden() => {
                let error = self.told(failure);
                warnings.push(format!("keys can't be listed, so no orphan could be found: {error}"));
            }
            Err(failure) if failure.is_not_found() => {
                return Err(no_such(KIND, ACCOUNT, &self.tailnet, "; the account is the tailnet's name"));
            }
            Err(failure) => return Err(self.told(failure)),
        }
        Ok(ParentHealth { what: what.to_owned(), expires_at: None, quota: None, warnings })
    }

    /// Which tags there are stands in the policy file, which a parent that may only mint can't read: Tailscale refuses the
    /// create when the parent does not own the tag.
    async fn resolve(&self, kind: &str, value: &str) -> Result<Resource, ProviderError> {
        let id = match kind {
            ACCOUNT if value == self.tailnet || value == OWN => self.tailnet.clone(),
            ACCOUNT => return Err(no_such(KIND, kind, value, format!("; it is for `{}`", self.tailnet))),
            TAG => {
                let name = value.strip_prefix("tag:").unwrap_or(value);
                let is_name = (1..=50).contains(&name.len())
                    && name.starts_with(|c: char| c.is_ascii_alphabetic())
                    && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
                if !is_name {
                    return Err(no_such(KIND, kind, value, "; a tag has letters, digits and `-`"));
                }
                format!("tag:{name}")
            }
            other => return Err(unknown_kind(KIND, other, PARAMETERS)),
        };
        Ok(Resource { kind: kind.to_owned(), name: id.clone(), id })
    }

    fn confine(
        &self,
        permissions: &[Permission],
        mut given: Vec<Resource>,
    ) -> Result<Vec<Resource>, ProviderError> {
        let is_of_account = |permission: &Permission| !self.is_tagged(&permission.id);
        given.retain(|resource| resource.kind == TAG);
        if permissions.iter().any(is_of_account) {
            let (id, name) = (self.tailnet.clone(), self.tailnet.clone());
            given.push(Resource { kind: ACCOUNT.to_owned(), id, name });
        }
        key::body(self.mints, permissions, &given, None, "")?;
        Ok(given)
    }

    async fn mint(
        &self,
        plan: &Authorized<Plan>,
        grant: &Grant,
        marker: &Marker,
    ) -> Result<Minted, ProviderError> {
        super::check_is_of_plan(KIND, grant, plan.get())?;
        let body =
            key::body(self.mints, &grant.permissions, &grant.resources, grant.expires_at, marker.as_str())?;
        if self.mints == Mints::AuthKeys && body.expiry_seconds.is_none() {
            return Err(unsupported(KIND, "an auth key without an end"));
        }
        match self.create(&body).await {
            Ok(Created { id, key }) => minted(KIND, if is_id(&id) { id } else { String::new() }, key),
            Err(failure) => Err(after_create(self, failure, marker, self.needs()).await),
        }
    }

    async fn read_back(&self, provider_key_id: &str) -> Result<ObservedGrant, ProviderError> {
        Ok(key::observe(&self.tailnet, &self.live_key(provider_key_id).await?))
    }

    async fn probe(&self, secret: &Secret, provider_key_id: &str) -> Result<(), ProviderError> {
        if self.mints == Mints::OAuthClients {
            let login = until_known(self.probe_for, || self.log_in(secret)).await;
            login
                .map_err(|failure| failure.of_provider(KIND, "OAuth client", "nothing but its own secret"))?;
        }
        self.live_key(provider_key_id).await.map(drop)
    }

    async fn list(&self, which: Listing) -> Result<Vec<Listed>, ProviderError> {
        self.listed(which).await.map_err(|failure| self.told(failure))
    }

    /// A secret is `tskey-KIND-ID-SECRET`.
    async fn own_key_id(&self) -> Result<Option<String>, ProviderError> {
        Ok(self.parent.token.expose_secret().split('-').nth(2).map(str::to_owned))
    }

    async fn revoke(&self, provider_key_id: &str) -> Result<Ended, ProviderError> {
        let bearer = self.bearer().await.map_err(|failure| self.told(failure))?;
        let outcome = self.rest.send(Call::delete(self.path(&[provider_key_id]), &bearer.token)).await;
        ended(outcome, |reply| says_nothing(&reply.body), |failure| self.told(failure))
    }
}

impl Tailscale {
    async fn listed(&self, which: Listing) -> Result<Vec<Listed>, Failure> {
        let bearer = self.bearer().await?;
        let query = vec![("all", "true".to_owned())];
        let call = Call { query, max_body: Some(LARGE), ..Call::get(self.path(&[]), &bearer.token) };
        let Keys { keys } = self.rest.json(call).await?;
        let mut listed = Vec::new();
        for mut key in keys {
            let id = text(&key, "id").map(str::to_owned);
            let id = id.ok_or_else(|| Failure::garbled("it lists a key without an id".to_owned()))?;
            // Tailscale may list ids alone.
            if text(&key, "keyType").is_none() {
                key = self.key(&id).await?;
            }
            let label = text(&key, "description").unwrap_or_default();
            if is_over(&key) || !which.wants(label) {
                continue;
            }
            let (created_at, expires_at) = (time(&key, "created"), time(&key, "expires"));
            listed.push(Listed { created_at, expires_at, ..Listed::of(id, label) });
        }
        Ok(listed)
    }

    /// Whether a permission reaches the devices of tags, and nothing else.
    fn is_tagged(&self, id: &str) -> bool {
        self.mints == Mints::AuthKeys || TAGGED.contains(&id)
    }
}
