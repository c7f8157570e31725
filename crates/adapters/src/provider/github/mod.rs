//! GitHub: tokens of an App's installation. Fine-grained personal tokens can't be made through the API.
//!
//! Follows the REST API reference, `Apps` (`/app/installations/{id}/access_tokens`, `/installation/token`). What is not
//! obvious:
//!
//! * The parent is the App's private key. It never travels: each call of the App carries a JWT that it signed (RS256,
//!   RFC 7519), which holds for ten minutes.
//! * Left out, `permissions` or `repositories` means everything that the App has. Both are always sent, and the answer to
//!   the create says what came out. When that is anything else than what was asked, the token is ended with itself
//!   (`DELETE /installation/token`) and the mint is refused: it is never handed on.
//! * A token has no name and no id, and GitHub lists none. Its id here is made from the time of its end and a digest of it.
//!   Only the token itself can end it or show what it reaches, so those that were made are kept in memory until they end.
//!   After a restart the broker ends a token by its sealed copy ([`EndsItself`]); read back it can't be any more.
//! * A token lives for one hour, no more and no less. A grant may be shorter: then the broker ends the token. Its end is
//!   read back as the one of the grant when GitHub's lies no more than an hour after the create.
//! * Every token also reads metadata (`metadata:read`), asked or not.
//! * A refusal in GitHub's own form is believed, although nothing could show otherwise: what it might hide is a token
//!   that nobody has and that ends within the hour.
//! * Permissions of the organisation apply to all of it. No repository confines them, so no key gets any.

mod grant;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use keywright_core::grant::{Grant, ObservedGrant, Permission, Resource};
use keywright_core::marker::Marker;
use keywright_core::plan::Plan;
use keywright_core::policy::Authorized;
use keywright_core::provider::{
    Ended, EndsItself, Listed, Listing, Minted, ParentHealth, PermissionNow, PermissionsNow, Provider,
    ProviderError, ProviderFacts, Recovery, Whose,
};
use keywright_core::secret::Secret;
use keywright_core::text::{Untrusted, escaped};
use reqwest::Method;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use zeroize::Zeroizing;

use self::grant::{Asked, Created, Repository};
use super::patience::until_known;
use super::{
    ConnectError, ConnectionConfig, PLAIN, PROBE_FOR, ParameterKind, Setting, TIMEOUT, no_such, unknown_kind,
    unsupported,
};
use crate::github::{PACE, PUBLIC, headers, said};
use crate::rest::{self, Cause, Failure, Proof, Rest};
use crate::wire::{CA_FILE, Call};

/// The kind, as in `provider add github`.
pub(super) const KIND: &str = "github";
pub(super) const SETTINGS: &[Setting] = &[
    ("app", APP),
    ("installation", "the number of the installation, in the address of its settings"),
    CA_FILE,
    TIMEOUT,
    PROBE_FOR,
];

const APP: &str =
    "the App's client id, as in `Iv23liAbCdEfGhIjKlMn` or `Iv1.8a61f9b3a7aba766`, in its settings";
const REPOSITORY: &str = "github.repository";
const NEEDS: &str = "the private key of the App, and the installation";
/// The life of a token in seconds, and how far GitHub's clock may be from ours.
const HOUR: i64 = 3_600;
const CLOCKS_APART: i64 = 120;
/// GitHub takes ten minutes at most, by its own clock.
const SIGNED_FOR: i64 = 540;
const SIGNED_BEFORE: i64 = 60;
const MOST_REPOSITORIES: usize = 500;
const PAGE: usize = 100;
const LARGE: usize = 8 << 20;
/// Permissions that an App which mints should not have to give.
const TOO_WIDE: [&str; 5] = ["administration", "secrets", "workflows", "members", "environments"];

pub(super) const PARAMETERS: &[ParameterKind] = &[ParameterKind {
    kind: REPOSITORY,
    scopes: &["repository"],
    from_connection: false,
    help: "one repository of the installation, as `owner/name`",
}];

/// A connection to one installation of an App.
struct GitHub {
    rest: Rest,
    app: String,
    installation: String,
    key: EncodingKey,
    probe_for: Duration,
    kept: Mutex<BTreeMap<String, Kept>>,
}

/// A token that this process made, while it lives.
#[derive(Clone)]
struct Kept {
    secret: Arc<Secret>,
    permissions: BTreeSet<String>,
    /// The grant's end.
    expires_at: Timestamp,
    /// GitHub's.
    gone_at: Timestamp,
}

pub(super) static FACTS: ProviderFacts =
    ProviderFacts { kind: KIND, recovery: Recovery::Expiry, has_expiry: true, ..PLAIN };

/// Prepares a connection. The parent is the private key in PEM: as the file has it, with `\n` for its line ends, or the
/// whole file in base64.
pub(super) fn connect(
    mut config: ConnectionConfig,
    parent: Secret,
) -> Result<Box<dyn Provider>, ConnectError> {
    let mut must = |name: &'static str, hint: &'static str, is_it: fn(u8) -> bool| {
        let value = config.extra.remove(name).ok_or(ConnectError::Missing { provider: KIND, name, hint })?;
        if (1..=80).contains(&value.len()) && value.bytes().all(is_it) {
            Ok(value)
        } else {
            Err(ConnectError::setting(KIND, name, &value, hint))
        }
    };
    // Those of older Apps have a dot.
    let app = must("app", APP, |b| b.is_ascii_alphanumeric() || b == b'.')?;
    let hint = "the number of the installation, in the address of its settings";
    let installation = must("installation", hint, |b| b.is_ascii_digit())?;
    let no_key = || ConnectError::Missing {
        provider: KIND,
        name: "private key",
        hint: "the App's RSA key in PEM, from BEGIN to END, or that file in base64",
    };
    let pem = pem(&parent).ok_or_else(no_key)?;
    let key = EncodingKey::from_rsa_pem(pem.as_bytes()).map_err(|_| no_key())?;
    let body: String = pem.lines().filter(|line| !line.starts_with("-----")).map(str::trim).collect();
    let rest = config.rest(KIND, PUBLIC, &Secret::new(body), |_| false, said)?;
    let probe_for = config.probe_for(KIND)?;
    let github = GitHub { rest, app, installation, key, probe_for, kept: Mutex::default() };
    github.signed().map_err(|_| no_key())?;
    Ok(Box::new(github))
}

fn pem(parent: &Secret) -> Option<Zeroizing<String>> {
    let text = parent.expose_secret().trim();
    if text.starts_with("-----BEGIN ") {
        return Some(Zeroizing::new(text.replace("\\n", "\n")));
    }
    String::from_utf8(STANDARD.decode(text).ok()?).ok().map(Zeroizing::new)
}

#[derive(Serialize)]
struct Claims<'a> {
    iat: i64,
    exp: i64,
    iss: &'a str,
}

#[derive(Deserialize)]
struct Repositories {
    total_count: usize,
    repositories: Vec<Repository>,
}

#[derive(Deserialize)]
struct App {
    name: String,
}

#[derive(Deserialize)]
struct Installation {
    id: u64,
    repository_selection: String,
    #[serde(default)]
    permissions: BTreeMap<String, String>,
    suspended_at: Option<String>,
}

/// A refused mint, as the broker shall hear it.
fn refused(message: String) -> ProviderError {
    let message = Untrusted::capped(&message, 400);
    ProviderError::Refused { provider: KIND, code: None, message, hint: None }
}

impl GitHub {
    fn told(failure: Failure) -> ProviderError {
        if failure.code() == Some(PACE) {
            return ProviderError::Throttled { provider: KIND, retry_after: None };
        }
        failure.of_provider(KIND, "such installation or token", NEEDS)
    }

    /// A JWT of the App, fresh for each call.
    fn signed(&self) -> Result<Secret, Failure> {
        let now = Timestamp::now().as_second();
        let claims = Claims { iat: now - SIGNED_BEFORE, exp: now + SIGNED_FOR, iss: &self.app };
        jsonwebtoken::encode(&Header::new(Algorithm::RS256), &claims, &self.key).map(Secret::new).map_err(
            |_| {
                let why = "the private key does not sign".to_owned();
                Failure { cause: Cause::Unavailable(why), proof: Proof::NotDone }
            },
        )
    }

    async fn as_app<T: serde::de::DeserializeOwned>(&self, path: Vec<&str>) -> Result<T, Failure> {
        let jwt = self.signed()?;
        self.rest.json(Call { headers: headers(), ..Call::get(path, &jwt) }).await
    }

    /// `GET /installation/repositories`, to its end: what a token reaches.
    async fn reach(&self, token: &Secret) -> Result<BTreeSet<String>, Failure> {
        let (mut names, mut count) = (BTreeSet::new(), 0);
        for page in 1..=MOST_REPOSITORIES / PAGE + 1 {
            let query = vec![("per_page", PAGE.to_string()), ("page", page.to_string())];
            let path = vec!["installation", "repositories"];
            let call = Call { query, headers: headers(), max_body: Some(LARGE), ..Call::get(path, token) };
            let found: Repositories = self.rest.json(call).await?;
            count += found.repositories.len();
            let is_last = found.repositories.is_empty();
            names.extend(found.repositories.into_iter().map(|one| one.full_name.to_ascii_lowercase()));
            if count >= found.total_count {
                return Ok(names);
            }
            if is_last {
                break;
            }
        }
        Err(Failure::garbled("its list of repositories is not whole".to_owned()))
    }

    /// `DELETE /installation/token`, with the token itself. GitHub does not know a token that was ended (401).
    async fn end_token(&self, token: &Secret) -> Result<(), Failure> {
        let path = vec!["installation", "token"];
        match self.rest.send(Call { headers: headers(), ..Call::delete(path, token) }).await {
            Ok(reply) if reply.status == 204 => Ok(()),
            Ok(_) => Err(Failure::garbled("an answer with a body".to_owned())),
            Err(failure) if is_unknown_token(&failure) => Ok(()),
            Err(failure) => Err(failure),
        }
    }

    fn kept(&self, id: &str) -> Option<Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner).get(id).cloned()
    }

    fn keep(&self, id: &str, token: Kept) {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Timestamp::now();
        kept.retain(|_, token| token.gone_at > now);
        kept.insert(id.to_owned(), token);
    }

    fn forget(&self, id: &str) {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner).remove(id);
    }

    /// The token that came out, if it is the one that was asked for; else it is ended.
    async fn accept(
        &self,
        created: Created,
        asked: &Asked<'_>,
        end: Timestamp,
    ) -> Result<Minted, ProviderError> {
        let differences = asked.differences(&created, end);
        let secret: Secret = created.token.into();
        if secret.is_empty() {
            let why = "the answer holds no token".to_owned();
            return Err(ProviderError::OutcomeUnknown { provider: KIND, why });
        }
        if !differences.is_empty() {
            let what = format!("it made another token than the one asked for ({})", differences.join("; "));
            return Err(match self.end_token(&secret).await {
                Ok(()) => refused(format!("{what}; that token was ended")),
                Err(failure) => {
                    let why = format!("{what}, and it could not be ended: {}", Self::told(failure));
                    ProviderError::OutcomeUnknown { provider: KIND, why }
                }
            });
        }
        let id = id_of(&secret, created.expires_at);
        let copy = Arc::new(Secret::new(secret.expose_secret().to_owned()));
        let permissions = asked.permission_ids();
        self.keep(&id, Kept { secret: copy, permissions, expires_at: end, gone_at: created.expires_at });
        Ok(Minted { provider_key_id: id, secret })
    }
}

/// What GitHub says to a token that it does not know, or not any more.
fn is_unknown_token(failure: &Failure) -> bool {
    matches!(&failure.cause, Cause::Denied { message, .. } if message.raw().starts_with("Bad credentials"))
        && failure.proof == Proof::NotDone
}

/// `ghs-<second of GitHub's end>-<16 digits of the token's SHA-256>`.
fn id_of(token: &Secret, ends_at: Timestamp) -> String {
    let mut id = format!("ghs-{}-", ends_at.as_second());
    for byte in Sha256::digest(token.expose_secret()).iter().take(8) {
        // Writing to a `String` does not fail.
        write!(id, "{byte:02x}").ok();
    }
    id
}

/// When GitHub ends the token of this id.
fn end_of(id: &str) -> Option<Timestamp> {
    let (second, _) = id.strip_prefix("ghs-")?.split_once('-')?;
    Timestamp::from_second(second.parse().ok()?).ok()
}

#[async_trait]
impl Provider for GitHub {
    fn facts(&self) -> &'static ProviderFacts {
        &FACTS
    }

    async fn check(&self) -> Result<ParentHealth, ProviderError> {
        let app: App = self.as_app(vec!["app"]).await.map_err(Self::told)?;
        let path = vec!["app", "installations", &self.installation];
        let installation: Installation = self.as_app(path).await.map_err(Self::told)?;
        if installation.suspended_at.is_some() {
            return Err(super::unauthorized(KIND, "the installation is suspended"));
        }
        let mut warnings = Vec::new();
        if installation.repository_selection == "all" {
            warnings.push("the App is installed on every repository of the owner; select some".to_owned());
        }
        let is_wide = |name: &&String| TOO_WIDE.contains(&name.as_str()) || name.starts_with("organization_");
        let wide: Vec<String> =
            installation.permissions.keys().filter(is_wide).map(|name| escaped(name)).collect();
        if !wide.is_empty() {
            warnings.push(format!("the App may give {}; take that away from it", wide.join(", ")));
        }
        let what = format!("private key of App `{}`", Untrusted::capped(&app.name, 60));
        Ok(ParentHealth { what, expires_at: None, quota: None, warnings })
    }

    async fn resolve(&self, kind: &str, value: &str) -> Result<Resource, ProviderError> {
        if kind != REPOSITORY {
            return Err(unknown_kind(KIND, kind, PARAMETERS));
        }
        let no = |hint: &str| no_such(KIND, kind, value, hint);
        let is_part = |part: &str| {
            (1..=100).contains(&part.len())
                && part.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b))
                && part.bytes().any(|b| b != b'.')
        };
        let (owner, name) = value
            .split_once('/')
            .filter(|(owner, name)| is_part(owner) && is_part(name))
            .ok_or_else(|| no("; write `owner/name`"))?;
        match self.as_app::<Installation>(vec!["repos", owner, name, "installation"]).await {
            Ok(found) if found.id.to_string() == self.installation => {
                let id = value.to_ascii_lowercase();
                Ok(Resource { kind: kind.to_owned(), name: id.clone(), id })
            }
            Ok(_) => Err(no("; it belongs to another installation of the App")),
            Err(failure) if failure.is_not_found() => {
                Err(no("; there is none, or the App is not installed on it"))
            }
            Err(failure) => Err(Self::told(failure)),
        }
    }

    fn confine(
        &self,
        permissions: &[Permission],
        given: Vec<Resource>,
    ) -> Result<Vec<Resource>, ProviderError> {
        Asked::of(permissions, &given)?;
        Ok(given)
    }

    /// GitHub has no room for the marker.
    async fn mint(
        &self,
        plan: &Authorized<Plan>,
        grant: &Grant,
        _: &Marker,
    ) -> Result<Minted, ProviderError> {
        super::check_is_of_plan(KIND, grant, plan.get())?;
        let asked = Asked::of(&grant.permissions, &grant.resources)?;
        let now = Timestamp::now().as_second();
        let end = grant.expires_at.filter(|end| end.as_second() <= now + HOUR + CLOCKS_APART);
        let end = end.ok_or_else(|| unsupported(KIND, "a token lives for one hour; ask for at most `1h`"))?;
        let jwt = self.signed().map_err(Self::told)?;
        let body = rest::body(&asked.body()).map_err(Self::told)?;
        let path = vec!["app", "installations", &self.installation, "access_tokens"];
        let call = Call { headers: headers(), ..Call::once(Method::POST, path, &jwt, body) };
        match self.rest.json::<Created>(call).await {
            Ok(created) => self.accept(created, &asked, end).await,
            Err(failure) if failure.proof == Proof::Nothing => {
                let why = Self::told(failure).to_string();
                Err(ProviderError::OutcomeUnknown { provider: KIND, why })
            }
            Err(failure) => Err(Self::told(failure)),
        }
    }

    /// What the answer to the create said of the permissions, and what the token reaches now.
    async fn read_back(&self, provider_key_id: &str) -> Result<ObservedGrant, ProviderError> {
        let kept = self.kept(provider_key_id).ok_or_else(|| {
            unsupported(
                KIND,
                "a token shows only to itself, and this process does not have it; ask for a new one",
            )
        })?;
        let reached = self.reach(&kept.secret).await.map_err(|failure| match is_unknown_token(&failure) {
            true => ProviderError::NotFound { provider: KIND, what: "token" },
            false => Self::told(failure),
        })?;
        Ok(ObservedGrant {
            permissions: kept.permissions,
            resources: reached.into_iter().map(|name| (REPOSITORY.to_owned(), name)).collect(),
            expires_at: Some(kept.expires_at),
            ..ObservedGrant::default()
        })
    }

    async fn probe(&self, secret: &Secret, _: &str) -> Result<(), ProviderError> {
        until_known(self.probe_for, || self.reach(secret)).await.map(drop).map_err(Self::told)
    }

    async fn list(&self, _: Listing) -> Result<Vec<Listed>, ProviderError> {
        Err(unsupported(KIND, "it lists no tokens of an installation; each ends within an hour"))
    }

    async fn revoke(&self, provider_key_id: &str) -> Result<Ended, ProviderError> {
        if end_of(provider_key_id).is_some_and(|end| end <= Timestamp::now()) {
            self.forget(provider_key_id);
            return Ok(Ended::Taken);
        }
        let Some(kept) = self.kept(provider_key_id) else {
            let when = end_of(provider_key_id)
                .map_or_else(|| "within the hour".to_owned(), |end| format!("at {end}"));
            let why = format!(
                "only the token itself could end it, and this process does not have it; it ends {when}"
            );
            return Err(unsupported(KIND, why));
        };
        self.end_token(&kept.secret).await.map_err(Self::told)?;
        Ok(Ended::Taken)
    }

    fn ending_itself(&self) -> Option<&dyn EndsItself> {
        Some(self)
    }

    fn permissions_now(&self) -> Option<&dyn PermissionsNow> {
        Some(self)
    }
}

/// The levels of a permission, each of which holds those before it.
const LEVELS: [&str; 3] = ["read", "write", "admin"];

#[async_trait]
impl PermissionsNow for GitHub {
    /// `GET /app/installations/{id}`: what the App may do in it, which is all that its tokens can have.
    async fn permissions_now(&self) -> Result<Vec<PermissionNow>, ProviderError> {
        let path = vec!["app", "installations", &self.installation];
        let installation: Installation = self.as_app(path).await.map_err(Self::told)?;
        let mut now = Vec::new();
        for (name, level) in installation.permissions {
            let most = LEVELS.iter().position(|known| *known == level).ok_or_else(|| {
                let why = format!("`{}` is no level of a permission", Untrusted::capped(&level, 40));
                ProviderError::Garbled { provider: KIND, why }
            })?;
            now.extend(LEVELS.iter().take(most + 1).map(|level| {
                let id = format!("{name}:{level}");
                PermissionNow { name: Untrusted::capped(&id, 120), id, scopes: Vec::new() }
            }));
        }
        Ok(now)
    }

    fn of(&self) -> Whose {
        Whose::Parent
    }
}

#[async_trait]
impl EndsItself for GitHub {
    async fn end(&self, secret: &Secret) -> Result<(), ProviderError> {
        self.end_token(secret).await.map_err(Self::told)
    }
}
