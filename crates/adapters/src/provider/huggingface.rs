//! Hugging Face: tokens of an organisation, each of a service account of its own.
//!
//! Follows the Hub API, `Service accounts` (`/api/organizations/{name}/service-accounts`). What is not obvious:
//!
//! * One service account per key, named by the marker, with one token: two creates. The account comes first, so that
//!   whatever happens afterwards is found by the marker, and ending the account ends its tokens. A key's id is the account's.
//! * The create takes no expiry: the broker ends keys. There is nothing to switch off either.
//! * A permission is the whole organisation's; a token can't be confined to one repository or resource group.
//! * `rotate` is never used: it kills the old token at once.

use std::collections::BTreeSet;
use std::time::Duration;

use async_trait::async_trait;
use jiff::Timestamp;
use keywright_core::grant::{Grant, ObservedGrant, Permission, Resource};
use keywright_core::marker::Marker;
use keywright_core::plan::Plan;
use keywright_core::policy::Authorized;
use keywright_core::provider::{
    Ended, Evidence, LastUsed, Listed, Listing, Minted, ParentHealth, Provider, ProviderError, ProviderFacts,
    Recovery,
};
use keywright_core::secret::Secret;
use keywright_core::span::Span;
use keywright_core::text::Untrusted;
use reqwest::Method;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::patience::until_known;
use super::secret_text::SecretText;
use super::{
    ConnectError, ConnectionConfig, PLAIN, ParameterKind, about_another, check_fits, check_is_confined_to,
    confine_to, ended, minted, no_such, resolve_own, unauthorized, unknown_fields, unsupported,
};
use crate::names::is_plain;
use crate::rest::{self, Failure, Proof, RefusalBody, Rest, Said, after_create};
use crate::wire::Call;

/// The kind, as in `provider add huggingface`.
pub(super) const KIND: &str = "huggingface";

const BASE_URL: &str = "https://huggingface.co";
const NEEDS: &str = "`org.serviceAccounts.write`";
const ORGANISATION: &str = "huggingface.organization";
/// The longest name of a service account.
const LONGEST_NAME: usize = 50;
/// Nobody measured how far `lastUsedAt` lags. A guess on the safe side.
const USE_LAG_SECONDS: u64 = 3_600;

pub(super) const PARAMETERS: &[ParameterKind] = &[ParameterKind {
    kind: ORGANISATION,
    scopes: &["organization"],
    from_connection: true,
    help: "the connection's organisation, by its name in addresses",
}];

/// A connection to one organisation.
struct HuggingFace {
    rest: Rest,
    parent: Secret,
    organisation: String,
    probe_for: Duration,
}

pub(super) static FACTS: ProviderFacts =
    ProviderFacts { kind: KIND, recovery: Recovery::Container, evidence: Evidence::Exact, ..PLAIN };

/// Prepares a connection. The account is the organisation, by its name in addresses.
pub(super) fn connect(config: ConnectionConfig, parent: Secret) -> Result<Box<dyn Provider>, ConnectError> {
    let hint = "the organisation's name, as in `huggingface.co/NAME`";
    let organisation = config.account(KIND, is_name, hint)?;
    let rest = config.rest(KIND, BASE_URL, &parent, is_object, said)?;
    let probe_for = config.probe_for(KIND)?;
    Ok(Box::new(HuggingFace { rest, parent, organisation, probe_for }))
}

/// `{"error": "..."}`.
fn said(body: &[u8]) -> Option<Said> {
    RefusalBody::parse(body)?.text("/error").map(|message| Said { code: None, message })
}

fn is_name(text: &str) -> bool {
    is_plain(text, "-_.", 96) && !text.starts_with(['-', '_', '.'])
}

/// The id of an account or a token.
fn is_object(text: &str) -> bool {
    text.len() == 24 && text.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
}

#[derive(Serialize)]
struct AccountBody<'a> {
    name: &'a str,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct TokenBody<'a> {
    display_name: &'a str,
    permissions: Vec<&'a str>,
}

#[derive(Deserialize)]
struct CreatedAccount {
    #[serde(rename = "_id")]
    id: String,
}

#[derive(Deserialize)]
struct CreatedToken {
    token: SecretText,
}

/// A service account; its tokens are there only when it is read alone.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Account {
    #[serde(rename = "_id")]
    id: String,
    name: String,
    created_at: Option<Timestamp>,
    #[serde(default)]
    access_tokens: Vec<Token>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Token {
    display_name: String,
    last_used_at: Option<Timestamp>,
    expiration: Option<Timestamp>,
    #[serde(default)]
    role: String,
    #[serde(default)]
    permissions: BTreeSet<String>,
    #[serde(flatten)]
    rest: Map<String, Value>,
}

/// What `GET /api/whoami-v2` says to a bearer.
#[derive(Deserialize)]
struct Whoami {
    auth: WhoamiAuth,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct WhoamiAuth {
    access_token: Option<WhoamiToken>,
    expires_at: Option<Timestamp>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct WhoamiToken {
    display_name: String,
    role: String,
    fine_grained: Option<FineGrained>,
}

#[derive(Deserialize)]
struct FineGrained {
    scoped: Vec<Scoped>,
}

#[derive(Deserialize)]
struct Scoped {
    permissions: BTreeSet<String>,
}

fn told(failure: Failure) -> ProviderError {
    failure.of_provider(KIND, "such service account", NEEDS)
}

impl HuggingFace {
    fn path<'a>(&'a self, below: &[&'a str]) -> Vec<&'a str> {
        [&["api", "organizations", self.organisation.as_str(), "service-accounts"], below].concat()
    }

    async fn account(&self, id: &str) -> Result<Account, ProviderError> {
        let account: Account =
            self.rest.json(Call::get(self.path(&[id]), &self.parent)).await.map_err(told)?;
        if account.id == id { Ok(account) } else { Err(about_another(KIND, "account")) }
    }

    async fn whoami(&self, secret: &Secret) -> Result<WhoamiAuth, Failure> {
        Ok(self.rest.json::<Whoami>(Call::get(vec!["api", "whoami-v2"], secret)).await?.auth)
    }

    /// The second create. When it is refused for sure, the account that was made for it is ended, so that nothing is left;
    /// otherwise the account is what is found by the marker.
    async fn token(&self, account: &str, body: TokenBody<'_>) -> Result<Minted, ProviderError> {
        let body = rest::body(&body).map_err(told)?;
        let call = Call::once(Method::POST, self.path(&[account, "tokens"]), &self.parent, body);
        let failure = match self.rest.json::<CreatedToken>(call).await {
            Ok(created) => return minted(KIND, account.to_owned(), created.token),
            Err(failure) => failure,
        };
        let is_open = failure.proof == Proof::Nothing;
        let error = told(failure);
        if !is_open && self.revoke(account).await.is_ok() {
            return Err(error);
        }
        let why = format!("its service account exists, but no token came: {error}");
        Err(ProviderError::OutcomeUnknown { provider: KIND, why })
    }

    fn resource(&self) -> Resource {
        let name = self.organisation.clone();
        Resource { kind: ORGANISATION.to_owned(), id: name.clone(), name }
    }
}

#[async_trait]
impl Provider for HuggingFace {
    fn facts(&self) -> &'static ProviderFacts {
        &FACTS
    }

    async fn check(&self) -> Result<ParentHealth, ProviderError> {
        let auth = self.whoami(&self.parent).await.map_err(told)?;
        let mut warnings = Vec::new();
        match &auth.access_token {
            Some(WhoamiToken { fine_grained: Some(fine), .. }) => {
                let held: BTreeSet<_> = fine.scoped.iter().flat_map(|scoped| &scoped.permissions).collect();
                if !held.iter().any(|held| *held == "org.serviceAccounts.write") {
                    return Err(unauthorized(KIND, "it lacks `org.serviceAccounts.write`, so it can't mint"));
                }
                let more = held.iter().find(|held| !held.starts_with("org.serviceAccounts."));
                warnings.extend(more.map(|more| {
                    format!("it can do more than mint: `{}`; take that away", Untrusted::capped(more, 60))
                }));
            }
            Some(token) => {
                let role = Untrusted::capped(&token.role, 40);
                warnings.push(format!("its role is `{role}`; prefer a fine-grained one with {NEEDS} only"));
            }
            None => warnings.push("it is no access token, so what it may do can't be seen".to_owned()),
        }
        if auth.expires_at.is_none() {
            warnings.push("it has no expiry; give it one".to_owned());
        }
        match self.list(Listing::All).await {
            Ok(_) => {}
            Err(ProviderError::NotFound { .. }) => {
                return Err(no_such(KIND, "organisation", &self.organisation, "; the account is its name"));
            }
            Err(error) => return Err(error),
        }
        let what = "access token".to_owned();
        Ok(ParentHealth { what, expires_at: auth.expires_at, quota: None, warnings })
    }

    async fn resolve(&self, kind: &str, value: &str) -> Result<Resource, ProviderError> {
        resolve_own(KIND, self.resource(), kind, value, PARAMETERS)
    }

    fn confine(
        &self,
        permissions: &[Permission],
        given: Vec<Resource>,
    ) -> Result<Vec<Resource>, ProviderError> {
        confine_to(KIND, "organization", self.resource(), permissions, &given)
    }

    async fn mint(
        &self,
        plan: &Authorized<Plan>,
        grant: &Grant,
        marker: &Marker,
    ) -> Result<Minted, ProviderError> {
        super::check_is_of_plan(KIND, grant, plan.get())?;
        let permissions: Vec<&str> = grant.permissions.iter().map(|one| one.id.as_str()).collect();
        let name = marker.as_str();
        if permissions.is_empty() || name.is_empty() || name.len() > LONGEST_NAME {
            return Err(unsupported(KIND, "a token has permissions, and a name of 1 to 50 characters"));
        }
        check_fits(&FACTS, grant)?;
        check_is_confined_to(KIND, &self.resource(), grant)?;
        let body = rest::body(&AccountBody { name }).map_err(told)?;
        let call = Call::once(Method::POST, self.path(&[]), &self.parent, body);
        let account: CreatedAccount = match self.rest.json(call).await {
            Ok(account) => account,
            Err(failure) => return Err(after_create(self, failure, marker, NEEDS).await),
        };
        self.token(&account.id, TokenBody { display_name: name, permissions }).await
    }

    async fn read_back(&self, provider_key_id: &str) -> Result<ObservedGrant, ProviderError> {
        let account = self.account(provider_key_id).await?;
        let own = self.resource();
        let resources = BTreeSet::from([(own.kind, own.id)]);
        let mut observed = ObservedGrant { resources, ..ObservedGrant::default() }.labelled(&account.name);
        let mut note = |odd: &str| observed.not_understood.push(Untrusted::capped(odd, 120));
        if account.access_tokens.len() != 1 {
            note(&format!("{} tokens", account.access_tokens.len()));
        }
        for token in account.access_tokens {
            if token.role != "fineGrained" {
                note(&format!("role: {}", token.role));
            }
            unknown_fields(&token.rest, &["_id", "createdAt", "last4"]).for_each(&mut note);
            observed.permissions.extend(token.permissions);
            observed.expires_at = token.expiration;
        }
        Ok(observed)
    }

    async fn probe(&self, secret: &Secret, provider_key_id: &str) -> Result<(), ProviderError> {
        let auth = until_known(self.probe_for, || self.whoami(secret)).await.map_err(told)?;
        let own = auth.access_token.map(|token| token.display_name);
        let account = self.account(provider_key_id).await?;
        if account.access_tokens.iter().any(|token| own.as_ref() == Some(&token.display_name)) {
            Ok(())
        } else {
            Err(told(Failure::garbled("the secret belongs to another account".to_owned())))
        }
    }

    async fn list(&self, which: Listing) -> Result<Vec<Listed>, ProviderError> {
        let call = Call::get(self.path(&[]), &self.parent);
        let rows: Vec<Account> = self.rest.json(call).await.map_err(told)?;
        let rows = rows.into_iter().filter(|row| which.wants(&row.name));
        Ok(rows.map(|row| Listed { created_at: row.created_at, ..Listed::of(row.id, &row.name) }).collect())
    }

    async fn revoke(&self, provider_key_id: &str) -> Result<Ended, ProviderError> {
        let outcome = self.rest.send(Call::delete(self.path(&[provider_key_id]), &self.parent)).await;
        ended(outcome, |reply| reply.status == 204, told)
    }

    fn last_used(&self) -> Option<&dyn LastUsed> {
        Some(self)
    }
}

#[async_trait]
impl LastUsed for HuggingFace {
    async fn last_used(&self, provider_key_id: &str) -> Result<Option<Timestamp>, ProviderError> {
        let account = self.account(provider_key_id).await?;
        Ok(account.access_tokens.iter().filter_map(|token| token.last_used_at).max())
    }

    fn lag(&self) -> Span {
        Span::from_seconds(USE_LAG_SECONDS)
    }
}
