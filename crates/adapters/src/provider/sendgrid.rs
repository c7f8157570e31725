//! SendGrid: API keys with scopes, of the account or of one of its subusers.
//!
//! Follows the v3 API reference, `API Keys` (`/v3/api_keys`) and `API Key Permissions` (`/v3/scopes`). What is not
//! obvious:
//!
//! * Left out, `scopes` means full access. It is never left out here, and never empty.
//! * Keys do not expire at SendGrid and can't be switched off: the broker ends them. An ended key may work a little longer.
//! * A key holds marks that are no powers ([`MARKS`]), which SendGrid adds by itself: whether people of the account log in
//!   with a second factor, whether senders have to be verified.
//! * A parent can give only what it has (`GET /v3/scopes`), so it is as wide as everything that it may mint.
//! * There are 100 keys at most; then a create is answered with 403.
//! * Calls for a subuser carry `on-behalf-of`; a key of a subuser carries nothing.

use std::collections::BTreeSet;
use std::time::Duration;

use async_trait::async_trait;
use keywright_core::grant::{Grant, ObservedGrant, Permission, Resource};
use keywright_core::marker::Marker;
use keywright_core::plan::Plan;
use keywright_core::policy::Authorized;
use keywright_core::provider::{
    Ended, Listed, Listing, Minted, ParentHealth, PermissionNow, PermissionsNow, Provider, ProviderError,
    ProviderFacts, Whose,
};
use keywright_core::secret::Secret;
use keywright_core::text::Untrusted;
use reqwest::Method;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::patience::until_known;
use super::secret_text::SecretText;
use super::{
    ConnectError, ConnectionConfig, PLAIN, ParameterKind, about_another, another_key, check_fits,
    check_is_confined_to, confine_to, ended, minted, resolve_own, unauthorized, unknown_fields, unsupported,
};
use crate::rest::{self, Cause, Failure, Proof, Rest, Said, after_create};
use crate::wire::Call;

/// The kind, as in `provider add sendgrid`.
pub(super) const KIND: &str = "sendgrid";

const BASE_URL: &str = "https://api.sendgrid.com";
const ACCOUNT: &str = "sendgrid.account";
/// The id of the account that the parent itself belongs to.
const OWN: &str = "own";
const QUOTA: u64 = 100;
const CREATE: &str = "api_keys.create";
/// What the parent needs to mint, to read back, and to end.
const NEEDED: [&str; 3] = [CREATE, "api_keys.read", "api_keys.delete"];
/// Marks of the account that stand among a key's scopes. The same on every key of it; they open nothing.
const MARKS: [&str; 3] = ["2fa_required", "sender_verification_eligible", "sender_verification_exempt"];
/// Beginnings of scopes that a minting key should not hold.
const TOO_WIDE: [&str; 5] = ["billing.", "teammates.", "subusers.", "user.password.", "sso."];

pub(super) const PARAMETERS: &[ParameterKind] = &[ParameterKind {
    kind: ACCOUNT,
    scopes: &["account"],
    from_connection: true,
    help: "the connection's account: `own`, or the name of the subuser that the connection is for",
}];

/// A connection to one account.
struct SendGrid {
    rest: Rest,
    parent: Secret,
    /// `None` for the parent's own account.
    subuser: Option<String>,
    probe_for: Duration,
}

pub(super) static FACTS: ProviderFacts = ProviderFacts { kind: KIND, ..PLAIN };

/// Prepares a connection. The account is a subuser's name; without one, keys belong to the parent's own account.
pub(super) fn connect(config: ConnectionConfig, parent: Secret) -> Result<Box<dyn Provider>, ConnectError> {
    let subuser = config.account.clone().filter(|account| account != OWN);
    if let Some(name) =
        subuser.as_ref().filter(|name| name.is_empty() || !name.bytes().all(|b| b.is_ascii_graphic()))
    {
        return Err(ConnectError::setting(KIND, "account", name, "the name of a subuser, or `own`"));
    }
    let rest = config.rest(KIND, BASE_URL, &parent, is_words, said)?;
    let probe_for = config.probe_for(KIND)?;
    Ok(Box::new(SendGrid { rest, parent, subuser, probe_for }))
}

/// A part of a scope's name, as long as some are.
fn is_words(run: &str) -> bool {
    run.bytes().all(|b| b.is_ascii_lowercase() || b == b'_')
}

/// `{"errors": [{"message": "...", "field": null}]}`.
fn said(body: &[u8]) -> Option<Said> {
    let refusal: Refusal = serde_json::from_slice(body).ok()?;
    let texts: Vec<String> = refusal.errors.into_iter().take(3).map(RefusalText::text).collect();
    (!texts.is_empty()).then(|| Said { code: None, message: texts.join("; ") })
}

#[derive(Serialize)]
struct CreateBody<'a> {
    name: &'a str,
    scopes: Vec<&'a str>,
}

#[derive(Deserialize)]
struct Created {
    api_key_id: String,
    api_key: SecretText,
}

#[derive(Deserialize)]
struct Rows {
    result: Vec<Row>,
}

#[derive(Deserialize)]
struct Row {
    api_key_id: String,
    #[serde(default)]
    name: String,
}

/// A key as `GET /v3/api_keys/{id}` shows it.
#[derive(Deserialize)]
struct Key {
    api_key_id: String,
    scopes: Vec<String>,
    #[serde(flatten)]
    rest: Map<String, Value>,
}

/// The document shows the key in a list of one, the examples of others show it alone.
#[derive(Deserialize)]
#[serde(untagged)]
enum Shown {
    Listed { result: Vec<Key> },
    Alone(Key),
}

#[derive(Deserialize)]
struct Scopes {
    scopes: BTreeSet<String>,
}

#[derive(Deserialize)]
struct Refusal {
    errors: Vec<RefusalText>,
}

#[derive(Deserialize)]
struct RefusalText {
    message: String,
    #[serde(default)]
    field: Option<String>,
}

impl RefusalText {
    fn text(self) -> String {
        match self.field {
            Some(field) => format!("{} ({field})", self.message),
            None => self.message,
        }
    }
}

impl SendGrid {
    /// A call for the connection's account.
    fn of_account<'a>(&self, mut call: Call<'a>) -> Call<'a> {
        call.headers.extend(self.subuser.iter().map(|name| ("on-behalf-of", name.clone())));
        call
    }

    async fn key(&self, id: &str) -> Result<Key, ProviderError> {
        let call = self.of_account(Call::get(vec!["v3", "api_keys", id], &self.parent));
        let shown: Shown = self.rest.json(call).await.map_err(|failure| told(failure, "api_keys.read"))?;
        let key = match shown {
            Shown::Alone(key) => Some(key),
            Shown::Listed { result } => result.into_iter().find(|key| key.api_key_id == id),
        };
        key.filter(|key| key.api_key_id == id).ok_or_else(|| about_another(KIND, "key"))
    }

    /// What the bearer may do.
    async fn scopes(&self, secret: &Secret) -> Result<BTreeSet<String>, Failure> {
        Ok(self.rest.json::<Scopes>(Call::get(vec!["v3", "scopes"], secret)).await?.scopes)
    }

    async fn rows(&self) -> Result<Vec<Row>, ProviderError> {
        let call = self.of_account(Call::get(vec!["v3", "api_keys"], &self.parent));
        let rows: Rows = self.rest.json(call).await.map_err(|failure| told(failure, "api_keys.read"))?;
        Ok(rows.result)
    }

    fn resource(&self) -> Resource {
        let id = self.subuser.as_deref().unwrap_or(OWN);
        Resource { kind: ACCOUNT.to_owned(), id: id.to_owned(), name: id.to_owned() }
    }
}

fn told(failure: Failure, needs: &'static str) -> ProviderError {
    failure.of_provider(KIND, "such key", needs)
}

/// The 403 that means "no more keys"; there is no code for it, so its words have to do.
fn is_about_quota(message: &str) -> bool {
    let message = message.to_ascii_lowercase();
    ["maximum", "limit"].iter().any(|word| message.contains(word))
}

fn powers(scopes: impl IntoIterator<Item = String>) -> BTreeSet<String> {
    scopes.into_iter().filter(|scope| !MARKS.contains(&scope.as_str())).collect()
}

#[async_trait]
impl Provider for SendGrid {
    fn facts(&self) -> &'static ProviderFacts {
        &FACTS
    }

    async fn check(&self) -> Result<ParentHealth, ProviderError> {
        let held = self.scopes(&self.parent).await.map_err(|failure| told(failure, "an active key"))?;
        let missing: Vec<_> = NEEDED.into_iter().filter(|scope| !held.contains(*scope)).collect();
        if !missing.is_empty() {
            return Err(unauthorized(KIND, &format!("it lacks `{}`", missing.join("`, `"))));
        }
        let mut warnings = Vec::new();
        let mut wide = held.iter().filter(|scope| TOO_WIDE.iter().any(|wide| scope.starts_with(wide)));
        if let Some(first) = wide.next() {
            let (first, more) = (Untrusted::capped(first, 60), wide.count());
            let tail = if more > 0 { format!(" and {more} more of this kind") } else { String::new() };
            warnings.push(format!("it can do more than mint: `{first}`{tail}; take that away"));
        }
        let count = u64::try_from(self.rows().await?.len()).unwrap_or(u64::MAX);
        if count * 10 >= QUOTA * 9 {
            warnings.push(format!("{count} of {QUOTA} keys exist"));
        }
        let what = match &self.subuser {
            None => "API key of the account".to_owned(),
            Some(name) => format!("API key that acts for the subuser `{}`", Untrusted::capped(name, 60)),
        };
        Ok(ParentHealth { what, expires_at: None, quota: Some((count, QUOTA)), warnings })
    }

    async fn resolve(&self, kind: &str, value: &str) -> Result<Resource, ProviderError> {
        resolve_own(KIND, self.resource(), kind, value, PARAMETERS)
    }

    fn confine(
        &self,
        permissions: &[Permission],
        given: Vec<Resource>,
    ) -> Result<Vec<Resource>, ProviderError> {
        confine_to(KIND, "account", self.resource(), permissions, &given)
    }

    async fn mint(
        &self,
        plan: &Authorized<Plan>,
        grant: &Grant,
        marker: &Marker,
    ) -> Result<Minted, ProviderError> {
        super::check_is_of_plan(KIND, grant, plan.get())?;
        let scopes: Vec<&str> = grant.permissions.iter().map(|permission| permission.id.as_str()).collect();
        if scopes.is_empty() || scopes.contains(&"") {
            return Err(unsupported(
                KIND,
                "a key without scopes would have full access, so it is never made",
            ));
        }
        check_fits(&FACTS, grant)?;
        check_is_confined_to(KIND, &self.resource(), grant)?;
        let body = rest::body(&CreateBody { name: marker.as_str(), scopes }).map_err(|f| told(f, CREATE))?;
        let call = self.of_account(Call::once(Method::POST, vec!["v3", "api_keys"], &self.parent, body));
        match self.rest.json::<Created>(call).await {
            Ok(created) => minted(KIND, created.api_key_id, created.api_key),
            Err(Failure { cause: Cause::Denied { message, .. }, proof: Proof::NotDone })
                if is_about_quota(message.raw()) =>
            {
                Err(ProviderError::QuotaExhausted { provider: KIND, message })
            }
            Err(failure) => {
                Err(after_create(self, failure, marker, "`api_keys.create`, and every scope that it gives")
                    .await)
            }
        }
    }

    async fn read_back(&self, provider_key_id: &str) -> Result<ObservedGrant, ProviderError> {
        let key = self.key(provider_key_id).await?;
        let own = self.resource();
        let odd = unknown_fields(&key.rest, &["name"]).map(|name| Untrusted::capped(name, 120)).collect();
        Ok(ObservedGrant {
            not_understood: odd,
            permissions: powers(key.scopes),
            resources: BTreeSet::from([(own.kind, own.id)]),
            ..ObservedGrant::default()
        }
        .labelled(key.rest.get("name").and_then(Value::as_str).unwrap_or_default()))
    }

    /// The key says itself what it may do: that has to be what its parent sees.
    async fn probe(&self, secret: &Secret, provider_key_id: &str) -> Result<(), ProviderError> {
        let own = until_known(self.probe_for, || self.scopes(secret))
            .await
            .map_err(|f| told(f, "an active key"))?;
        let (own, asked) = (powers(own), powers(self.key(provider_key_id).await?.scopes));
        let list = |scopes: Vec<&String>| {
            let shown = scopes.iter().take(3).map(|scope| format!("`{}`", Untrusted::capped(scope, 60)));
            shown.collect::<Vec<_>>().join(", ")
        };
        let (more, fewer) =
            (own.difference(&asked).collect::<Vec<_>>(), asked.difference(&own).collect::<Vec<_>>());
        match (more.is_empty(), fewer.is_empty()) {
            (true, true) => Ok(()),
            (false, _) => Err(another_key(KIND, &format!("it also has {}", list(more)))),
            (true, false) => Err(another_key(KIND, &format!("it lacks {}", list(fewer)))),
        }
    }

    async fn list(&self, which: Listing) -> Result<Vec<Listed>, ProviderError> {
        let rows = self.rows().await?.into_iter().filter(|row| which.wants(&row.name));
        Ok(rows.map(|row| Listed::of(row.api_key_id, &row.name)).collect())
    }

    /// A key is `SG.ID.SECRET`.
    async fn own_key_id(&self) -> Result<Option<String>, ProviderError> {
        Ok(self.parent.expose_secret().split('.').nth(1).map(str::to_owned))
    }

    async fn revoke(&self, provider_key_id: &str) -> Result<Ended, ProviderError> {
        let call = self.of_account(Call::delete(vec!["v3", "api_keys", provider_key_id], &self.parent));
        let told = |failure| told(failure, "api_keys.delete");
        ended(self.rest.send(call).await, |reply| reply.status == 204, told)
    }

    fn permissions_now(&self) -> Option<&dyn PermissionsNow> {
        Some(self)
    }
}

#[async_trait]
impl PermissionsNow for SendGrid {
    /// `GET /v3/scopes`: what the parent has, which is all that it can give.
    async fn permissions_now(&self) -> Result<Vec<PermissionNow>, ProviderError> {
        let held = self.scopes(&self.parent).await.map_err(|failure| told(failure, "an active key"))?;
        let now = |scope: String| PermissionNow {
            name: Untrusted::capped(&scope, 120),
            id: scope,
            scopes: Vec::new(),
        };
        Ok(powers(held).into_iter().map(now).collect())
    }

    fn of(&self) -> Whose {
        Whose::Parent
    }
}
