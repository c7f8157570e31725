//! The store `vercel`: environment variables of a project.
//!
//! A place is `PROJECT@TARGET#NAME`, where the target is `production`, `preview` or `development`; without `#NAME` the
//! variable is called like the key. What is stored reaches a Deployment only when the next one is made.
//!
//! **Kinds of variables.** With the setting `type` at `encrypted`, values can be read again, and are; at `sensitive`
//! nobody can, and a placement is verified by the vendor's word ([`VerifyMode::StatusOnly`]). Targets called
//! `development` have no sensitive ones.
//!
//! **Whose it is.** The variable's comment says so ([`super::tag`]), and is written by the call that writes the value. A
//! variable without it, or whose value can be read and is another one, is somebody else's. One that covers more
//! targets than ours, or a single branch, is not a place of this store.
//!
//! **The guard.** A new variable is refused where one is already. A value in the place of another one has no guard: what
//! somebody else writes between our look and our write is lost.
//!
//! API: <https://vercel.com/docs/rest-api/projects>, `environment variables`.

use async_trait::async_trait;
use keywright_core::name::{EnvironmentName, KeyName, ProjectName, StoreName};
use keywright_core::secret::Secret;
use keywright_core::store::{Origin, Presence, StoreError, StoreFacts, VerifyMode, Write};
use reqwest::Method;
use serde::{Deserialize, Deserializer, Serialize};

use super::remote::{At, Held};
use super::spots::{Put, Seen, Spots};
use super::tag::Tag;
use super::{StoreConfig, StoreConnectError};
use crate::names::is_plain;
use crate::rest::{Failure, RefusalBody, Rest, Said, body};
use crate::wire::Call;

/// The kind's name.
pub(super) const KIND: &str = "vercel";

const PUBLIC: &str = "https://api.vercel.com";
const TEAM: &str = "team";
/// The target whose variables Vercel hides from some tokens.
const PRODUCTION: &str = "production";
const PROJECT: &str = "project";
const TARGET: &str = "target";
const TYPE: &str = "type";

/// The settings, and what each is.
pub(super) const SETTINGS: &[(&str, &str)] = &[
    (TEAM, "the team's id, `team_...`; the token's own account unless set"),
    (PROJECT, "the project where a key lies by default; the one called like Keywright's unless set"),
    (TARGET, "the target by default; `production` unless set"),
    (TYPE, "`encrypted`, which is read back, or `sensitive`, which nobody reads; `encrypted` unless set"),
];

const TARGETS: [&str; 3] = [PRODUCTION, "preview", "development"];
/// Whether a value can be read again, or not.
const ENCRYPTED: &str = "encrypted";
const SENSITIVE: &str = "sensitive";
/// What a comment of ours starts with.
const COMMENT: &str = "keywright: ";

pub(super) static FACTS: StoreFacts = StoreFacts {
    kind: KIND,
    verify: VerifyMode::ReadBack,
    guarded: false,
    versions: false,
    // All variables of a deployment together.
    max_value: 64 << 10,
    seen: "with the next deployment; one that is there keeps what it was built with",
    settles: 0,
};

static UNREADABLE: StoreFacts = StoreFacts { verify: VerifyMode::StatusOnly, ..FACTS };

/// The projects of one team.
pub(super) struct Vercel {
    team: Option<String>,
    project: Option<String>,
    target: &'static str,
    kind: &'static str,
    rest: Rest,
    token: Secret,
}

/// A place, taken apart.
pub(super) struct Spot {
    project: String,
    target: String,
    name: String,
}

/// A variable as the list shows it.
#[derive(Deserialize)]
struct Listed {
    id: String,
    key: String,
    #[serde(rename = "type")]
    kind: String,
    #[serde(default, deserialize_with = "one_or_several")]
    target: Vec<String>,
    #[serde(default, rename = "gitBranch")]
    branch: Option<String>,
    #[serde(default)]
    comment: Option<String>,
}

/// Targets are a list, or one alone.
fn one_or_several<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<String>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Targets {
        One(String),
        Several(Vec<String>),
    }
    Ok(match Targets::deserialize(deserializer)? {
        Targets::One(one) => vec![one],
        Targets::Several(several) => several,
    })
}

#[derive(Deserialize)]
struct List {
    envs: Vec<Listed>,
    #[serde(default)]
    pagination: Option<Pagination>,
    /// How many variables of production this token is not shown.
    #[serde(default, rename = "hiddenProductionEnvCount")]
    hidden: u64,
}

#[derive(Deserialize)]
struct Pagination {
    #[serde(default)]
    next: Option<serde_json::Value>,
}

/// A variable with its value in plain text.
#[derive(Deserialize)]
struct Shown {
    value: Held,
}

#[derive(Serialize)]
struct Variable<'a> {
    key: &'a str,
    value: &'a str,
    #[serde(rename = "type")]
    kind: &'static str,
    target: [&'a str; 1],
    comment: &'a str,
}

#[derive(Deserialize)]
struct Created {
    #[serde(default)]
    failed: Vec<serde_json::Value>,
}

/// What was found at a place.
pub(super) enum Found {
    Nothing,
    Ours {
        id: String,
        tag: Tag,
        /// Where it can be read.
        value: Option<Held>,
    },
    Theirs {
        id: String,
        /// Whether replacing it changes nothing but this place.
        is_alone: bool,
    },
}

impl Seen for Found {
    fn presence(&self) -> Presence {
        match self {
            Self::Nothing => Presence::Absent,
            Self::Ours { tag, .. } => tag.presence(),
            Self::Theirs { .. } => Presence::Foreign,
        }
    }

    fn is_of(&self, origin: &Origin) -> bool {
        matches!(self, Self::Ours { tag, .. } if tag.is_of(origin))
    }
}

/// Vercel's refusals: `{error: {code, message}}`.
fn said(body: &[u8]) -> Option<Said> {
    let refusal = RefusalBody::parse(body)?;
    Some(Said { code: Some(refusal.text("/error/code")?), message: refusal.text("/error/message")? })
}

impl Vercel {
    /// Reads the configuration.
    ///
    /// # Errors
    /// When the address or a setting makes no sense.
    pub(super) fn new(config: &StoreConfig, token: Secret) -> Result<Self, StoreConnectError> {
        let is_team = |id: &str| id.strip_prefix("team_").is_some_and(|rest| is_plain(rest, "", 64));
        let team = config.fitting(TEAM, is_team, "must be a team's id, `team_...`")?;
        let project = config.fitting(PROJECT, is_project, "is not a name or an id of a project")?;
        let target = config.one_of(TARGET, &TARGETS)?.unwrap_or(PRODUCTION);
        let kind = config.one_of(TYPE, &[ENCRYPTED, SENSITIVE])?.unwrap_or(ENCRYPTED);
        let rest = Rest::new(config.wire(KIND, Some(PUBLIC))?, [&token], |_| false, said);
        Ok(Self { team, project, target, kind, rest, token })
    }

    fn call<'a>(&self, call: Call<'a>) -> Call<'a> {
        let mut query = call.query;
        query.extend(self.team.clone().map(|team| ("teamId", team)));
        Call { query, ..call }
    }

    fn env<'a>(version: &'a str, spot: &'a Spot) -> Vec<&'a str> {
        vec![version, "projects", &spot.project, "env"]
    }
}

fn is_project(name: &str) -> bool {
    is_plain(name, "-_.", 100) && !name.starts_with('.')
}

fn is_name(name: &str) -> bool {
    is_plain(name, "_", 256) && name.starts_with(|c: char| c.is_ascii_alphabetic())
}

#[async_trait]
impl Spots for Vercel {
    type Spot = Spot;
    type Seen = Found;

    fn facts(&self) -> &'static StoreFacts {
        if self.kind == SENSITIVE { &UNREADABLE } else { &FACTS }
    }

    async fn check(&self, store: &StoreName) -> Result<(), StoreError> {
        let call = match &self.project {
            Some(project) => Call::get(vec!["v9", "projects", project], &self.token),
            None => {
                let call = Call::get(vec!["v10", "projects"], &self.token);
                Call { query: vec![("limit", "1".to_owned())], ..call }
            }
        };
        let place = self.project.as_deref().unwrap_or_default();
        let answer = self.rest.json::<serde_json::Value>(self.call(call)).await;
        answer.map(drop).map_err(|failure| self.failed(failure, At { store, place }))
    }

    fn default_place(&self, project: &ProjectName, _: &EnvironmentName, name: &KeyName) -> String {
        let project = self.project.as_deref().unwrap_or(project.as_str());
        format!("{project}@{}#{name}", self.target)
    }

    fn spot(&self, at: At<'_>) -> Result<Spot, StoreError> {
        let parts = at.place.split_once('#').and_then(|(of, name)| Some((of.split_once('@')?, name)));
        let ((project, target), name) = parts
            .filter(|((project, target), name)| {
                is_project(project) && TARGETS.contains(target) && is_name(name)
            })
            .ok_or_else(|| {
                at.bad(format!("write `PROJECT@TARGET#NAME`, with one of the targets {}", TARGETS.join(", ")))
            })?;
        if self.kind == SENSITIVE && target == "development" {
            return Err(at.bad("the target `development` has no sensitive variables"));
        }
        Ok(Spot { project: project.to_owned(), target: target.to_owned(), name: name.to_owned() })
    }

    fn refuses(&self, value: &str) -> Option<&'static str> {
        let fits = (1..=FACTS.max_value).contains(&value.len());
        (!fits).then_some("a variable has 1 byte to 64 KiB")
    }

    /// `GET /v10/projects/{project}/env`, and `GET /v1/projects/{project}/env/{id}` for the value where it can be read.
    async fn see(&self, spot: &Spot) -> Result<Found, Failure> {
        let call = Call::get(Self::env("v10", spot), &self.token);
        let List { envs, pagination, hidden } = self.rest.json(self.call(call)).await?;
        if pagination.is_some_and(|pagination| pagination.next.is_some_and(|next| !next.is_null())) {
            return Err(Failure::garbled("its list of variables is not whole".to_owned()));
        }
        let is_here =
            |one: &Listed| one.key == spot.name && one.target.contains(&spot.target) && one.branch.is_none();
        let Some(one) = envs.into_iter().find(is_here) else {
            // What is hidden is not gone.
            return if hidden > 0 && spot.target == PRODUCTION {
                Err(Failure::garbled(format!("{hidden} variables of production are hidden from this token")))
            } else {
                Ok(Found::Nothing)
            };
        };
        let (id, is_alone) = (one.id, one.target.len() == 1);
        let tag = one.comment.as_deref().and_then(|text| Tag::parse(text.strip_prefix(COMMENT)?));
        let Some(tag) = tag.filter(|_| is_alone) else { return Ok(Found::Theirs { id, is_alone }) };
        if one.kind == SENSITIVE {
            return Ok(Found::Ours { id, tag, value: None });
        }
        let call = Call::get([Self::env("v1", spot), vec![&id]].concat(), &self.token);
        let Shown { value } = self.rest.json(self.call(call)).await?;
        if tag.covers(value.0.expose_secret()) {
            return Ok(Found::Ours { id, tag, value: Some(value) });
        }
        Ok(Found::Theirs { id, is_alone })
    }

    async fn ready(&self, _: &Spot, seen: Found, at: At<'_>) -> Result<Found, StoreError> {
        if !matches!(seen, Found::Theirs { is_alone: false, .. }) {
            return Ok(seen);
        }
        let hint = "split it at Vercel, one variable a target, or use another name";
        Err(at.not_safe("the variable is for other targets as well", hint))
    }

    /// `POST /v10/projects/{project}/env` without `upsert`, `PATCH /v9/projects/{project}/env/{id}` over what is there.
    async fn put(&self, spot: &Spot, seen: &Found, write: &Write<'_>) -> Result<Put, Failure> {
        let value = write.secret.expose_secret();
        let comment = format!("{COMMENT}{}", Tag::new(write.origin, value).text());
        let target = [spot.target.as_str()];
        let body = body(&Variable { key: &spot.name, value, kind: self.kind, target, comment: &comment })?;
        if let Found::Ours { id, .. } | Found::Theirs { id, .. } = seen {
            let path = [Self::env("v9", spot), vec![id]].concat();
            let call = Call::again(Method::PATCH, path, &self.token, body);
            self.rest.json::<serde_json::Value>(self.call(call)).await?;
            return Ok(Put::Done(None));
        }
        let call = Call::once(Method::POST, Self::env("v10", spot), &self.token, body);
        let Created { failed } = self.rest.json(self.call(call)).await?;
        // A 201 may say that nothing was created.
        if failed.is_empty() {
            return Ok(Put::Done(None));
        }
        Err(Failure::garbled("it created nothing, and gives no reason that can be shown".to_owned()))
    }

    async fn holds(&self, _: &Spot, seen: &Found, secret: &Secret) -> Result<Option<bool>, Failure> {
        Ok(match seen {
            Found::Ours { value, .. } => value.as_ref().map(|value| value.is(secret)),
            _ => Some(false),
        })
    }

    async fn take(&self, spot: &Spot, seen: &Found, origin: &Origin) -> Result<Put, Failure> {
        if let Found::Ours { id, tag, .. } = seen
            && tag.is_of(origin)
        {
            let path = [Self::env("v9", spot), vec![id]].concat();
            self.rest.send(self.call(Call::delete(path, &self.token))).await?;
        }
        Ok(Put::Done(None))
    }

    /// A project that is gone and one that the token lost look alike.
    fn failed(&self, failure: Failure, at: At<'_>) -> StoreError {
        if failure.is_not_found() {
            return at.bad("there is no such project, or the token does not reach it; is `team` set?");
        }
        failure.of_store(at.store)
    }
}
