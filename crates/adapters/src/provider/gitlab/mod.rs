//! GitLab: access tokens of projects and of groups.
//!
//! Follows the API reference, `Project access tokens` (`/projects/:id/access_tokens`), `Group access tokens`
//! (`/groups/:id/access_tokens`) and `Personal access tokens` (`.../self`). What is not obvious:
//!
//! * A token is scopes and one role: it may do what both allow. Both are permissions here (`project/read_repository`,
//!   `project/role/reporter`), and a grant has exactly one role.
//! * A token belongs to one project or one group. The connection says for which ones it mints (`projects`, `groups`):
//!   these are the ones that are listed, so that a list is whole.
//! * A token ends at a midnight (UTC), never in between. It is asked to end at the first midnight that is not before the
//!   end of the grant; the broker ends it on time. The exact end stands in the name, behind the marker, and the read-back
//!   compares the two: a token whose date does not fit its name is reported with the end that GitLab enforces.
//! * `rotate` is never used: it kills the old secret at once, and a use of the old one afterwards kills the new one too.
//! * With the setting `mints` at `fine-grained`, keys are fine-grained tokens (`fine.rs`; `POST /user/personal_access_tokens`
//!   with `granular_scopes`, GitLab 19.2) of the parent's own user. They are narrower, and they are that user's: what the
//!   user loses, they lose. A project's or group's token that has such scopes is not understood.
//! * A token of a project or group makes no tokens: the parent is a person's (Maintainer of the projects, Owner of the groups).

mod fine;
mod token;

use std::time::Duration;

use async_trait::async_trait;
use jiff::Timestamp;
use keywright_core::grant::{Grant, ObservedGrant, Permission, Resource};
use keywright_core::marker::Marker;
use keywright_core::plan::Plan;
use keywright_core::policy::Authorized;
use keywright_core::provider::{
    Ended, Evidence, LastUsed, Listed, Listing, Minted, ParentHealth, Provider, ProviderError, ProviderFacts,
};
use keywright_core::secret::Secret;
use keywright_core::span::Span;
use reqwest::Method;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use token::{Id, Owner, Token, UNTIL, asked, end_of, last_day, midnight, observe};

use super::patience::until_known;
use super::secret_text::SecretText;
use super::{
    ConnectError, ConnectionConfig, PLAIN, PROBE_FOR, ParameterKind, Setting, TIMEOUT, about_another,
    another_key, ended, minted, no_such, unauthorized, unknown_kind, unsupported, whole_seconds,
};
use crate::rest::{self, Failure, Rest, Said, after_create};
use crate::wire::{CA_FILE, Call};

/// The kind, as in `provider add gitlab`.
pub(super) const KIND: &str = "gitlab";
pub(super) const SETTINGS: &[Setting] = &[
    ("projects", "the projects that keys are for, as in `acme/web,acme/api`"),
    ("groups", "the groups that keys are for, as in `acme`"),
    (
        "mints",
        "what a key is: `access-tokens` of projects and groups, or `fine-grained` tokens of the parent's user; \
         `access-tokens` unless set",
    ),
    CA_FILE,
    TIMEOUT,
    PROBE_FOR,
];

const BASE_URL: &str = "https://gitlab.com/api/v4";
const NEEDS: &str = "a person's token with the scope `api`, of a Maintainer (projects) or an Owner (groups)";
/// Said of every parent: GitLab has no narrower scope that makes tokens.
const REACHES_ALL: &str = "with the scope `api` it reaches everything that its user does; give it a user of its own, who is a \
                           member of these projects and groups alone";
const PAGE: usize = 100;
const MOST_PAGES: usize = 50;
/// The code of a refusal that a fine-grained token gets for what it was not told that it may do.
const FINE: &str = "insufficient_granular_scope";

pub(super) const PARAMETERS: &[ParameterKind] = &[
    ParameterKind {
        kind: "gitlab.project",
        scopes: &["project"],
        from_connection: false,
        help: "one project of the connection, by its path (`acme/web`) or its number",
    },
    ParameterKind {
        kind: "gitlab.group",
        scopes: &["group"],
        from_connection: false,
        help: "one group of the connection with all its projects, by its path (`acme/platform`) or its number",
    },
];

/// A connection to one GitLab.
struct GitLab {
    rest: Rest,
    parent: Secret,
    reach: Vec<(Owner, String)>,
    is_fine: bool,
    probe_for: Duration,
}

pub(super) static FACTS: ProviderFacts =
    ProviderFacts { kind: KIND, evidence: Evidence::Exact, has_expiry: true, ..PLAIN };

/// Prepares a connection.
pub(super) fn connect(config: ConnectionConfig, parent: Secret) -> Result<Box<dyn Provider>, ConnectError> {
    let mut reach = Vec::new();
    for (owner, setting) in [(Owner::Project, "projects"), (Owner::Group, "groups")] {
        let paths = config.extra.get(setting).map_or("", String::as_str).split(',').map(str::trim);
        for path in paths.filter(|path| !path.is_empty()) {
            if !path.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_./".contains(&b)) {
                return Err(ConnectError::setting(KIND, setting, path, "a path such as `acme/web`"));
            }
            reach.push((owner, path.to_owned()));
        }
    }
    if reach.is_empty() {
        let hint = "the projects, or with `groups` the groups, for which it mints: paths with commas between";
        return Err(ConnectError::Missing { provider: KIND, name: "projects", hint });
    }
    let is_fine = match config.extra.get("mints").map(String::as_str) {
        None | Some("access-tokens") => false,
        Some("fine-grained") => true,
        Some(other) => {
            return Err(ConnectError::setting(KIND, "mints", other, "`access-tokens` or `fine-grained`"));
        }
    };
    let rest = config.rest(KIND, BASE_URL, &parent, |run| run == FINE, said)?;
    let probe_for = config.probe_for(KIND)?;
    Ok(Box::new(GitLab { rest, parent, reach, is_fine, probe_for }))
}

/// `{"message": ...}` with a text or lists of them by field, or `{"error": "...", "error_description": "..."}`.
fn said(body: &[u8]) -> Option<Said> {
    let refusal: Map<String, Value> = serde_json::from_slice(body).ok()?;
    let text = |name: &str| {
        refusal.get(name).map(|value| value.as_str().map_or_else(|| value.to_string(), str::to_owned))
    };
    let code = text("error");
    let message = text("message").or_else(|| text("error_description")).or_else(|| code.clone())?;
    Some(Said { code, message })
}

#[derive(Serialize)]
struct CreateBody<'a> {
    name: &'a str,
    expires_at: &'a str,
    #[serde(flatten)]
    may: May<'a>,
}

/// What a token may do: in one of two ways, never in both.
#[derive(Serialize)]
#[serde(untagged)]
enum May<'a> {
    Access { scopes: Vec<&'a str>, access_level: u64 },
    Fine { granular_scopes: Vec<fine::Scope<'a>> },
}

#[derive(Deserialize)]
struct Created {
    id: u64,
    token: SecretText,
}

#[derive(Deserialize)]
struct Place {
    id: u64,
    #[serde(alias = "full_path")]
    path_with_namespace: String,
}

impl GitLab {
    fn told(failure: Failure) -> ProviderError {
        failure.of_provider(KIND, "token", NEEDS)
    }

    /// `GET /projects/:path` or `/groups/:path`: number and path.
    async fn place(&self, owner: Owner, path: &str) -> Result<(u64, String), Failure> {
        let mut call = Call::get(vec![owner.collection(), path], &self.parent);
        if owner == Owner::Group {
            call.query.push(("with_projects", "false".to_owned()));
        }
        let place: Place = self.rest.json(call).await?;
        Ok((place.id, place.path_with_namespace))
    }

    /// `GET .../access_tokens`.
    async fn tokens(&self, owner: Owner, number: &str) -> Result<Vec<Token>, ProviderError> {
        let found = self.tokens_at(&[owner.collection(), number, "access_tokens"]).await;
        found.map_err(|error| match error {
            ProviderError::NotFound { provider, .. } => {
                ProviderError::NotFound { provider, what: owner.word() }
            }
            error => error,
        })
    }

    /// `GET /personal_access_tokens`: those of the parent's own user, unless an administrator's shows all.
    async fn own_tokens(&self) -> Result<Vec<Token>, ProviderError> {
        self.tokens_at(&["personal_access_tokens"]).await
    }

    /// A list, to its end.
    async fn tokens_at(&self, path: &[&str]) -> Result<Vec<Token>, ProviderError> {
        let mut tokens = Vec::new();
        for page in 1..=MOST_PAGES {
            let query = vec![
                ("state", "active".to_owned()),
                ("per_page", PAGE.to_string()),
                ("page", page.to_string()),
            ];
            let call = Call { query, ..Call::get(path.to_vec(), &self.parent) };
            let found: Vec<Token> = self.rest.json(call).await.map_err(Self::told)?;
            // A short page might be one of a smaller size: only an empty one is the end.
            if found.is_empty() {
                return Ok(tokens);
            }
            tokens.extend(found);
        }
        Err(unsupported(KIND, format!("a list of tokens has more than {MOST_PAGES} pages")))
    }

    async fn token(&self, id: Id<'_>) -> Result<Token, ProviderError> {
        let shown: Token = self.rest.json(Call::get(id.path(), &self.parent)).await.map_err(Self::told)?;
        if shown.id.to_string() != id.token {
            return Err(about_another(KIND, "token"));
        }
        // What was revoked is shown for a while.
        if shown.revoked {
            return Err(ProviderError::NotFound { provider: KIND, what: "token" });
        }
        Ok(shown)
    }

    async fn own(&self, secret: &Secret) -> Result<Token, Failure> {
        self.rest.json(Call::get(vec!["personal_access_tokens", "self"], secret)).await
    }
}

#[async_trait]
impl Provider for GitLab {
    fn facts(&self) -> &'static ProviderFacts {
        &FACTS
    }

    async fn check(&self) -> Result<ParentHealth, ProviderError> {
        let own = self.own(&self.parent).await.map_err(Self::told)?;
        if !own.active || !own.scopes.iter().any(|scope| scope == "api") {
            return Err(unauthorized(KIND, "it lacks the scope `api`, so it can't mint"));
        }
        let mut warnings = Vec::new();
        let wide: Vec<&str> =
            own.scopes.iter().map(String::as_str).filter(|s| matches!(*s, "sudo" | "admin_mode")).collect();
        if !wide.is_empty() {
            warnings.push(format!("it can do more than mint: {}; take that away", wide.join(", ")));
        }
        let mut unreached = 0;
        if self.is_fine {
            self.own_tokens().await?;
        }
        for (owner, path) in &self.reach {
            let seen = if self.is_fine {
                self.place(*owner, path).await.map(drop).map_err(Self::told)
            } else {
                self.tokens(*owner, path).await.map(drop)
            };
            match seen {
                Ok(()) => {}
                Err(error) if error.is_transient() => return Err(error),
                Err(error) => {
                    let what = if self.is_fine { "it" } else { "its tokens" };
                    warnings.push(format!("{} `{path}`: {what} can't be seen: {error}", owner.word()));
                    unreached += 1;
                }
            }
        }
        if unreached == self.reach.len() {
            return Err(unauthorized(KIND, &warnings.join("; ")));
        }
        warnings.push(REACHES_ALL.to_owned());
        let expires_at = own.expires_at.as_deref().and_then(midnight);
        if expires_at.is_none() {
            warnings.push("it has no expiry; give it one".to_owned());
        }
        Ok(ParentHealth { what: "personal access token".to_owned(), expires_at, quota: None, warnings })
    }

    async fn resolve(&self, kind: &str, value: &str) -> Result<Resource, ProviderError> {
        let owner = kind.strip_prefix("gitlab.").and_then(Owner::parse);
        let owner = owner.ok_or_else(|| unknown_kind(KIND, kind, PARAMETERS))?;
        let own: Vec<&str> =
            self.reach.iter().filter(|(of, _)| *of == owner).map(|(_, path)| path.as_str()).collect();
        let hint = format!("; the connection mints for: {}", own.join(", "));
        let is_number = value.bytes().all(|b| b.is_ascii_digit());
        if value.is_empty() || !(is_number || own.iter().any(|path| path.eq_ignore_ascii_case(value))) {
            return Err(no_such(KIND, kind, value, hint));
        }
        match self.place(owner, value).await {
            Ok((number, path)) if own.iter().any(|own| own.eq_ignore_ascii_case(&path)) => {
                Ok(Resource { kind: kind.to_owned(), id: number.to_string(), name: path })
            }
            Err(failure) if !failure.is_not_found() => Err(Self::told(failure)),
            _ => Err(no_such(KIND, kind, value, hint)),
        }
    }

    fn confine(
        &self,
        permissions: &[Permission],
        given: Vec<Resource>,
    ) -> Result<Vec<Resource>, ProviderError> {
        if self.is_fine {
            fine::asked(permissions, &given)?;
        } else {
            asked(permissions, &given)?;
        }
        Ok(given)
    }

    async fn mint(
        &self,
        plan: &Authorized<Plan>,
        grant: &Grant,
        marker: &Marker,
    ) -> Result<Minted, ProviderError> {
        super::check_is_of_plan(KIND, grant, plan.get())?;
        let end = grant.expires_at.ok_or_else(|| unsupported(KIND, "a token without an end"))?;
        let (path, of, may) = if self.is_fine {
            let granular_scopes = fine::asked(&grant.permissions, &grant.resources)?;
            (vec!["user", "personal_access_tokens"], "user".to_owned(), May::Fine { granular_scopes })
        } else {
            let asked = asked(&grant.permissions, &grant.resources)?;
            let of = format!("{}:{}", asked.owner.word(), asked.of.id);
            let may = May::Access { scopes: asked.scopes, access_level: asked.access_level };
            (vec![asked.owner.collection(), &asked.of.id, "access_tokens"], of, may)
        };
        let name = &format!("{marker}{UNTIL}{}", whole_seconds(end));
        let body = CreateBody { name, expires_at: &last_day(end), may };
        let body = rest::body(&body).map_err(Self::told)?;
        match self.rest.json::<Created>(Call::once(Method::POST, path, &self.parent, body)).await {
            Ok(Created { id, token }) => minted(KIND, format!("{of}:{id}"), token),
            Err(failure) => Err(after_create(self, failure, marker, NEEDS).await),
        }
    }

    async fn read_back(&self, provider_key_id: &str) -> Result<ObservedGrant, ProviderError> {
        let id = Id::parse(provider_key_id)?;
        let token = self.token(id).await?;
        Ok(match id.of {
            Some((owner, number)) => observe(owner, number.to_owned(), &token),
            None => fine::observe(&token),
        })
    }

    async fn probe(&self, secret: &Secret, provider_key_id: &str) -> Result<(), ProviderError> {
        let id = Id::parse(provider_key_id)?;
        let own = match until_known(self.probe_for, || self.own(secret)).await {
            // A fine-grained token may not look at itself unless it is told so: that it may not shows that it is known.
            Err(failure) if self.is_fine && failure.is_forbidden() && failure.code() == Some(FINE) => {
                return Ok(());
            }
            own => own.map_err(Self::told)?,
        };
        if own.id.to_string() != id.token {
            return Err(another_key(KIND, "the secret belongs to another token"));
        }
        if !own.active {
            return Err(another_key(KIND, "the token is not active"));
        }
        Ok(())
    }

    async fn list(&self, which: Listing) -> Result<Vec<Listed>, ProviderError> {
        let mut listed = if self.is_fine { self.own_listed().await? } else { self.tokens_of_all().await? };
        listed.retain(|row| which.wants(row.label.raw()));
        Ok(listed)
    }

    async fn own_key_id(&self) -> Result<Option<String>, ProviderError> {
        let own = self.own(&self.parent).await.map_err(Self::told)?;
        Ok(self.is_fine.then(|| format!("user:{}", own.id)))
    }

    async fn revoke(&self, provider_key_id: &str) -> Result<Ended, ProviderError> {
        let path = Id::parse(provider_key_id)?.path();
        // A good answer is 204 without a body; any other comes from elsewhere.
        ended(self.rest.send(Call::delete(path, &self.parent)).await, |reply| reply.status == 204, Self::told)
    }

    fn last_used(&self) -> Option<&dyn LastUsed> {
        Some(self)
    }
}

impl GitLab {
    fn listed(id: String, token: &Token) -> Listed {
        Listed {
            created_at: token.time("created_at"),
            expires_at: end_of(token),
            last_used_at: token.time("last_used_at"),
            enabled: token.active,
            ..Listed::of(id, &token.name)
        }
    }

    async fn own_listed(&self) -> Result<Vec<Listed>, ProviderError> {
        let tokens = self.own_tokens().await?;
        Ok(tokens.iter().map(|token| Self::listed(format!("user:{}", token.id), token)).collect())
    }

    async fn tokens_of_all(&self) -> Result<Vec<Listed>, ProviderError> {
        let mut listed = Vec::new();
        for (owner, path) in &self.reach {
            let (number, _) = self.place(*owner, path).await.map_err(Self::told)?;
            for token in self.tokens(*owner, &number.to_string()).await? {
                listed.push(Self::listed(format!("{}:{number}:{}", owner.word(), token.id), &token));
            }
        }
        Ok(listed)
    }
}

#[async_trait]
impl LastUsed for GitLab {
    async fn last_used(&self, provider_key_id: &str) -> Result<Option<Timestamp>, ProviderError> {
        Ok(self.token(Id::parse(provider_key_id)?).await?.time("last_used_at"))
    }

    /// GitLab updates the time now and then; nobody measured how often. A day is on the safe side.
    fn lag(&self) -> Span {
        Span::from_seconds(86_400)
    }
}
