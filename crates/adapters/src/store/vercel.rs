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
use keywright_core::place::Place;
use keywright_core::plan::Destination;
use keywright_core::secret::Secret;
use keywright_core::store::{Origin, Presence, Store, StoreError, StoreFacts, VerifyMode, Write, Written};
use keywright_core::text::Untrusted;
use reqwest::Method;
use serde::{Deserialize, Serialize};

use super::remote::{At, Held, is_permitted, written};
use super::tag::Tag;
use super::{StoreConfig, StoreConnectError};
use crate::rest::{Failure, Rest, Said, body};
use crate::wire::Call;

/// The kind's name.
pub(super) const KIND: &str = "vercel";

const PUBLIC: &str = "https://api.vercel.com";
const TEAM: &str = "team";
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

const TARGETS: [&str; 3] = ["production", "preview", "development"];
/// What a comment of ours starts with.
const COMMENT: &str = "keywright: ";

pub(super) static FACTS: StoreFacts = StoreFacts {
    kind: KIND,
    verify: VerifyMode::ReadBack,
    guarded: false,
    versions: false,
    // All variables of a deployment together.
    max_value: 64 << 10,
};

static SENSITIVE: StoreFacts = StoreFacts { verify: VerifyMode::StatusOnly, ..FACTS };

/// The projects of one team.
pub(super) struct Vercel {
    name: StoreName,
    team: Option<String>,
    project: Option<String>,
    target: String,
    kind: Kind,
    rest: Rest,
    token: Secret,
}

/// Whether a value can be read again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum Kind {
    Encrypted,
    Sensitive,
}

/// A place, taken apart.
#[derive(Clone, Copy)]
struct Spot<'a> {
    project: &'a str,
    target: &'a str,
    name: &'a str,
}

/// A variable as the list shows it.
#[derive(Deserialize)]
struct Listed {
    id: String,
    key: String,
    #[serde(rename = "type")]
    kind: String,
    #[serde(default)]
    target: Targets,
    #[serde(default, rename = "gitBranch")]
    branch: Option<String>,
    #[serde(default)]
    comment: Option<String>,
}

/// One target, or several.
#[derive(Deserialize)]
#[serde(untagged)]
enum Targets {
    One(String),
    Many(Vec<String>),
}

impl Default for Targets {
    fn default() -> Self {
        Self::Many(Vec::new())
    }
}

impl Targets {
    fn has(&self, target: &str) -> bool {
        match self {
            Self::One(one) => one == target,
            Self::Many(many) => many.iter().any(|one| one == target),
        }
    }

    fn is_one(&self) -> bool {
        !matches!(self, Self::Many(many) if many.len() != 1)
    }
}

#[derive(Deserialize)]
struct List {
    envs: Vec<Listed>,
    #[serde(default)]
    pagination: Option<Pagination>,
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
    kind: Kind,
    target: [&'a str; 1],
    comment: &'a str,
}

#[derive(Deserialize)]
struct Created {
    #[serde(default)]
    failed: Vec<serde_json::Value>,
}

/// What was found at a place.
enum Found {
    Nothing,
    Ours {
        id: String,
        tag: Tag,
    },
    Theirs {
        id: String,
        /// Whether replacing it changes nothing but this place.
        is_alone: bool,
    },
}

impl Found {
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
    #[derive(Deserialize)]
    struct Refusal {
        error: Fault,
    }
    #[derive(Deserialize)]
    struct Fault {
        code: String,
        message: String,
    }
    let Refusal { error } = serde_json::from_slice(body).ok()?;
    Some(Said { code: Some(error.code), message: error.message })
}

impl Vercel {
    /// Reads the configuration.
    ///
    /// # Errors
    /// When the address or a setting makes no sense.
    pub(super) fn new(config: &StoreConfig, token: Secret) -> Result<Self, StoreConnectError> {
        let (team, project) = (config.setting(TEAM), config.setting(PROJECT));
        let target = config.setting(TARGET).unwrap_or("production");
        let kind = match config.setting(TYPE) {
            None | Some("encrypted") => Kind::Encrypted,
            Some("sensitive") => Kind::Sensitive,
            Some(_) => return Err(config.bad(TYPE, "must be `encrypted` or `sensitive`")),
        };
        if !TARGETS.contains(&target) {
            return Err(config.bad(TARGET, format!("must be one of: {}", TARGETS.join(", "))));
        }
        if project.is_some_and(|project| !is_project(project)) {
            return Err(config.bad(PROJECT, "is not a name or an id of a project"));
        }
        let rest = Rest::new(config.wire(KIND, Some(PUBLIC))?, [&token], |_| false, said);
        Ok(Self {
            name: config.name.clone(),
            team: team.map(str::to_owned),
            project: project.map(str::to_owned),
            target: target.to_owned(),
            kind,
            rest,
            token,
        })
    }

    fn at<'a>(&'a self, destination: &'a Destination) -> At<'a> {
        At { store: &self.name, place: &destination.place.place }
    }

    fn spot<'a>(&'a self, destination: &'a Destination) -> Result<Spot<'a>, StoreError> {
        let at = self.at(destination);
        let parts = destination.place.place.split_once('#').and_then(|(of, name)| {
            let (project, target) = of.split_once('@')?;
            Some(Spot { project, target, name })
        });
        let fits = |spot: &Spot<'_>| {
            is_project(spot.project) && TARGETS.contains(&spot.target) && is_name(spot.name)
        };
        let spot = parts.filter(fits).ok_or_else(|| {
            at.bad(format!("write `PROJECT@TARGET#NAME`, with one of the targets {}", TARGETS.join(", ")))
        })?;
        if self.kind == Kind::Sensitive && spot.target == "development" {
            return Err(at.bad("the target `development` has no sensitive variables"));
        }
        Ok(spot)
    }

    fn call<'a>(&self, call: Call<'a>) -> Call<'a> {
        let mut query = call.query;
        query.extend(self.team.clone().map(|team| ("teamId", team)));
        Call { query, ..call }
    }

    /// `GET /v10/projects/{project}/env`, and the value of what is found where it can be read.
    async fn see(&self, spot: Spot<'_>) -> Result<Found, Failure> {
        let call = Call::get(vec!["v10", "projects", spot.project, "env"], &self.token);
        let List { envs, pagination } = self.rest.json(self.call(call)).await?;
        if pagination.is_some_and(|pagination| pagination.next.is_some_and(|next| !next.is_null())) {
            return Err(Failure::garbled("its list of variables is not whole".to_owned()));
        }
        let is_here =
            |one: &Listed| one.key == spot.name && one.target.has(spot.target) && one.branch.is_none();
        let Some(one) = envs.into_iter().find(is_here) else { return Ok(Found::Nothing) };
        let is_alone = one.target.is_one();
        let tag = one.comment.as_deref().and_then(|text| Tag::parse(text.strip_prefix(COMMENT)?));
        let Some(tag) = tag.filter(|_| is_alone) else {
            return Ok(Found::Theirs { id: one.id, is_alone });
        };
        if one.kind != "sensitive" {
            let value = self.value(spot, &one.id).await?;
            if !tag.covers(value.0.expose_secret()) {
                return Ok(Found::Theirs { id: one.id, is_alone });
            }
        }
        Ok(Found::Ours { id: one.id, tag })
    }

    /// `GET /v1/projects/{project}/env/{id}`: decrypted.
    async fn value(&self, spot: Spot<'_>, id: &str) -> Result<Held, Failure> {
        let call = Call::get(vec!["v1", "projects", spot.project, "env", id], &self.token);
        let Shown { value } = self.rest.json(self.call(call)).await?;
        Ok(value)
    }

    /// `POST /v10/projects/{project}/env` without `upsert`, `PATCH /v9/projects/{project}/env/{id}` over what is there.
    async fn put(&self, spot: Spot<'_>, over: Option<&str>, write: &Write<'_>) -> Result<(), Failure> {
        let value = write.secret.expose_secret();
        let comment = format!("{COMMENT}{}", Tag::new(write.origin, value).text());
        let variable =
            Variable { key: spot.name, value, kind: self.kind, target: [spot.target], comment: &comment };
        let body = body(&variable)?;
        if let Some(id) = over {
            let path = vec!["v9", "projects", spot.project, "env", id];
            let call = Call::again(Method::PATCH, path, &self.token, body);
            return self.rest.json::<serde_json::Value>(self.call(call)).await.map(drop);
        }
        let call = Call::once(Method::POST, vec!["v10", "projects", spot.project, "env"], &self.token, body);
        let Created { failed } = self.rest.json(self.call(call)).await?;
        // A 201 may say that nothing was created.
        if failed.is_empty() {
            return Ok(());
        }
        Err(Failure::garbled("it created nothing, and gives no reason that can be shown".to_owned()))
    }

    fn failed(&self, failure: Failure, at: At<'_>) -> StoreError {
        if failure.is_not_found() {
            return at.bad("there is no such project, or the token does not reach it; is `team` set?");
        }
        failure.of_store(&self.name)
    }
}

fn is_project(name: &str) -> bool {
    (1..=100).contains(&name.len())
        && !name.starts_with('.')
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b))
}

fn is_name(name: &str) -> bool {
    (1..=256).contains(&name.len())
        && name.starts_with(|c: char| c.is_ascii_alphabetic())
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
}

#[async_trait]
impl Store for Vercel {
    fn facts(&self) -> &'static StoreFacts {
        match self.kind {
            Kind::Encrypted => &FACTS,
            Kind::Sensitive => &SENSITIVE,
        }
    }

    async fn check(&self) -> Result<(), StoreError> {
        let call = match &self.project {
            Some(project) => Call::get(vec!["v9", "projects", project], &self.token),
            None => {
                let call = Call::get(vec!["v10", "projects"], &self.token);
                Call { query: vec![("limit", "1".to_owned())], ..call }
            }
        };
        let place = self.project.as_deref().unwrap_or_default();
        let answer = self.rest.json::<serde_json::Value>(self.call(call)).await;
        answer.map(drop).map_err(|failure| self.failed(failure, At { store: &self.name, place }))
    }

    fn default_place(&self, project: &ProjectName, _: &EnvironmentName, name: &KeyName) -> String {
        let project = self.project.as_deref().unwrap_or(project.as_str());
        format!("{project}@{}#{name}", self.target)
    }

    async fn accept(
        &self,
        destination: Destination,
        name: &KeyName,
        _: Option<&str>,
    ) -> Result<Destination, StoreError> {
        let Place { store, mut place } = destination.place;
        if !place.contains('#') {
            place = format!("{place}#{name}");
        }
        let accepted = Destination { place: Place { store, place }, base: None };
        self.spot(&accepted)?;
        Ok(accepted)
    }

    async fn look(&self, destination: &Destination) -> Result<Presence, StoreError> {
        let found = self.see(self.spot(destination)?).await;
        Ok(found.map_err(|failure| self.failed(failure, self.at(destination)))?.presence())
    }

    async fn write(&self, write: &Write<'_>) -> Result<Written, StoreError> {
        let (at, spot) = (self.at(write.destination), self.spot(write.destination)?);
        if write.secret.is_empty() || write.secret.expose_secret().len() > FACTS.max_value {
            return Err(at.value("a variable has 1 byte to 64 KiB"));
        }
        let found = self.see(spot).await.map_err(|failure| self.failed(failure, at))?;
        let done = written(write.origin.placement.to_string());
        if found.is_of(write.origin) {
            return Ok(done);
        }
        if !is_permitted(write, &found.presence()) {
            return Err(at.conflict());
        }
        let over = match &found {
            Found::Nothing => None,
            Found::Theirs { is_alone: false, .. } => {
                return Err(StoreError::Unsafe {
                    store: self.name.clone(),
                    place: Untrusted::capped(at.place, 512),
                    why: "the variable is for other targets as well".to_owned(),
                    hint: "split it at Vercel, one variable a target, or use another name".to_owned(),
                });
            }
            Found::Ours { id, .. } | Found::Theirs { id, .. } => Some(id.as_str()),
        };
        let Err(failure) = self.put(spot, over, write).await else { return Ok(done) };
        // Whatever the answer says, it is there or it is not.
        match self.see(spot).await {
            Ok(now) if now.is_of(write.origin) => Ok(done),
            Err(unseen) if failure.is_bare_denial() => Err(at.unseen(failure.of_write(&self.name), &unseen)),
            Ok(Found::Theirs { .. }) if matches!(found, Found::Nothing) => Err(at.conflict()),
            _ => Err(failure.of_write(&self.name)),
        }
    }

    async fn verify(&self, write: &Write<'_>, _: &Written) -> Result<VerifyMode, StoreError> {
        let (at, spot) = (self.at(write.destination), self.spot(write.destination)?);
        let failed = |failure| self.failed(failure, at);
        match self.see(spot).await.map_err(failed)? {
            Found::Ours { id, tag } if tag.is_of(write.origin) => match self.kind {
                Kind::Sensitive => Ok(VerifyMode::StatusOnly),
                Kind::Encrypted if self.value(spot, &id).await.map_err(failed)?.is(write.secret) => {
                    Ok(VerifyMode::ReadBack)
                }
                Kind::Encrypted => Err(at.mismatch()),
            },
            _ => Err(at.mismatch()),
        }
    }

    async fn remove(&self, origin: &Origin, destination: &Destination) -> Result<(), StoreError> {
        let spot = self.spot(destination)?;
        // A project that is gone and one that the token lost look alike: neither proves that the variable is gone.
        let found = self.see(spot).await.map_err(|failure| self.failed(failure, self.at(destination)))?;
        let Found::Ours { id, .. } = &found else { return Ok(()) };
        if !found.is_of(origin) {
            return Ok(());
        }
        let path = vec!["v9", "projects", spot.project, "env", id];
        match self.rest.send(self.call(Call::delete(path, &self.token))).await {
            Err(failure) if !failure.is_not_found() => Err(failure.of_write(&self.name)),
            _ => Ok(()),
        }
    }
}
