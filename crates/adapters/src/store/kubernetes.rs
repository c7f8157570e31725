//! The store `kubernetes`: keys of Secrets, by server-side apply.
//!
//! A place is `NAMESPACE/SECRET/KEY`. Each key is applied by a field manager of its own, `keywright.KEY`, so that the API
//! server keeps the guard: a key that another manager owns is refused (409), and the other keys of the Secret are
//! never touched. A Secret that is not there is made, of type `Opaque`, with the label
//! `app.kubernetes.io/managed-by: keywright`; when its last key is taken away, it goes as well.
//!
//! **Whose it is.** The annotation `keywright.github.io/KEY` says so ([`super::tag`]) and is applied together with the key. A
//! key without it, or whose value was changed since, is somebody else's.
//!
//! **In use** is another matter: variables of a container are read when it starts, files of a volume a while later.
//!
//! **What the token needs** (the credential is one of a service account): `get`, `create`, `patch` and `delete` of `secrets`
//! in the namespaces that it writes to; with `get` of `namespaces`, one that is not there is noticed before a key is made. The API server's certificate must be one that this machine trusts, or
//! of an authority that the setting `ca_file` names.
//!
//! API: <https://kubernetes.io/docs/reference/using-api/server-side-apply/>.

use std::collections::BTreeMap;

use async_trait::async_trait;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use keywright_core::name::{EnvironmentName, KeyName, ProjectName, StoreName};
use keywright_core::secret::Secret;
use keywright_core::store::{Origin, Presence, StoreError, StoreFacts, VerifyMode, Write};
use keywright_core::text::Untrusted;
use reqwest::Method;
use serde::{Deserialize, Serialize};
use serde_json::{Map, json};
use zeroize::Zeroizing;

use super::remote::{At, Held};
use super::spots::{Put, Seen, Spots};
use super::tag::Tag;
use super::{StoreConfig, StoreConnectError};
use crate::names::{is_lower, is_plain};
use crate::rest::{Cause, Failure, RefusalBody, Rest, Said, body, found};
use crate::wire::{CA_FILE, Call};

/// The kind's name.
pub(super) const KIND: &str = "kubernetes";

const NAMESPACE: &str = "namespace";

/// The settings, and what each is.
pub(super) const SETTINGS: &[(&str, &str)] = &[
    (NAMESPACE, "the namespace where a key lies by default; the one called like the project unless set"),
    CA_FILE,
];

const ANNOTATIONS: &str = "keywright.github.io/";
const MANAGED_BY: &str = "app.kubernetes.io/managed-by";
const US: &str = "keywright";

pub(super) static FACTS: StoreFacts = StoreFacts {
    kind: KIND,
    verify: VerifyMode::ReadBack,
    guarded: true,
    versions: false,
    // A Secret has at most 1 MiB, with everything that is in it.
    max_value: 512 << 10,
    seen: "as a volume: within the kubelet’s sync period and cache, a minute or two; as an environment variable, or with `subPath`: when the pod is started again",
    settles: 120,
};

/// The Secrets of one cluster.
pub(super) struct Kubernetes {
    namespace: Option<String>,
    rest: Rest,
    token: Secret,
}

/// A place, taken apart.
pub(super) struct Spot {
    namespace: String,
    secret: String,
    key: String,
}

/// What was found at a place: the Secret, and which key of it is meant.
pub(super) struct Found {
    object: Option<Object>,
    key: String,
}

/// A Secret, as far as this store reads it.
#[derive(Default, Deserialize)]
struct Object {
    metadata: Metadata,
    #[serde(default)]
    data: Option<BTreeMap<String, Held>>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Metadata {
    #[serde(default)]
    resource_version: String,
    #[serde(default)]
    labels: Option<BTreeMap<String, String>>,
    #[serde(default)]
    annotations: Option<BTreeMap<String, String>>,
}

/// What is applied: the whole of what this manager owns.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Applied<'a> {
    api_version: &'static str,
    kind: &'static str,
    metadata: serde_json::Value,
    #[serde(rename = "type", skip_serializing_if = "Option::is_none")]
    of_type: Option<&'static str>,
    data: BTreeMap<&'a str, &'a str>,
}

impl Object {
    /// The value in plain text, where it is text.
    fn value(&self, key: &str) -> Option<Held> {
        let encoded = self.data.as_ref()?.get(key)?;
        let bytes = STANDARD.decode(encoded.0.expose_secret()).ok()?;
        Secret::from_utf8(bytes).ok().map(Held)
    }

    fn has(&self, key: &str) -> bool {
        self.data.as_ref().is_some_and(|data| data.contains_key(key))
    }

    /// Whose the key is; `None` where it is somebody else's.
    fn tag(&self, key: &str) -> Option<Tag> {
        let annotations = self.metadata.annotations.as_ref()?;
        let tag = Tag::parse(annotations.get(&format!("{ANNOTATIONS}{key}"))?)?;
        self.value(key).is_some_and(|value| tag.covers(value.0.expose_secret())).then_some(tag)
    }

    fn is_made_by_us(&self) -> bool {
        let labels = self.metadata.labels.as_ref();
        labels.and_then(|labels| labels.get(MANAGED_BY)).is_some_and(|by| by == US)
    }

    /// Whether nothing of anybody else's would go with it.
    fn is_an_empty_one_of_ours(&self) -> bool {
        self.is_made_by_us() && self.data.as_ref().is_none_or(BTreeMap::is_empty)
    }
}

impl Seen for Found {
    fn presence(&self) -> Presence {
        let Some(object) = self.object.as_ref().filter(|object| object.has(&self.key)) else {
            return Presence::Absent;
        };
        object.tag(&self.key).map_or(Presence::Foreign, |tag| tag.presence())
    }

    fn is_of(&self, origin: &Origin) -> bool {
        let tag = self.object.as_ref().and_then(|object| object.tag(&self.key));
        tag.is_some_and(|tag| tag.is_of(origin))
    }
}

/// The body of a refusal: a `Status`.
fn said(body: &[u8]) -> Option<Said> {
    let status = RefusalBody::parse(body).filter(|body| body.text("/kind").as_deref() == Some("Status"))?;
    Some(Said { code: status.text("/reason"), message: status.text("/message")? })
}

impl Kubernetes {
    /// Reads the configuration.
    ///
    /// # Errors
    /// When the address or a setting makes no sense.
    pub(super) fn new(config: &StoreConfig, token: Secret) -> Result<Self, StoreConnectError> {
        let namespace =
            config.fitting(NAMESPACE, |name| is_label(name, 63), "is not a name of a namespace")?;
        let rest = Rest::new(config.wire(KIND, None)?, [&token], |_| false, said);
        Ok(Self { namespace, rest, token })
    }

    fn path(spot: &Spot) -> Vec<&str> {
        vec!["api", "v1", "namespaces", &spot.namespace, "secrets", &spot.secret]
    }

    /// `GET /api/v1/namespaces/{namespace}/secrets/{name}`.
    async fn object(&self, spot: &Spot) -> Result<Option<Object>, Failure> {
        found(self.rest.json(Call::get(Self::path(spot), &self.token)).await)
    }

    /// `PATCH` with `application/apply-patch+yaml`, of which JSON is a part: this key with its annotation, or without
    /// `value` neither. The version is the guard against whatever changed since it was seen.
    async fn apply(
        &self,
        spot: &Spot,
        seen: Option<&Object>,
        value: Option<(&Secret, &Origin)>,
        by_force: bool,
    ) -> Result<(), Failure> {
        let mut metadata = Map::new();
        metadata.insert("name".to_owned(), json!(spot.secret));
        metadata.insert("namespace".to_owned(), json!(spot.namespace));
        if let Some(seen) = seen {
            metadata.insert("resourceVersion".to_owned(), json!(seen.metadata.resource_version));
        }
        let is_new = seen.is_none();
        // What a manager applied and applies no more is taken away.
        if seen.is_none_or(Object::is_made_by_us) {
            metadata.insert("labels".to_owned(), json!({MANAGED_BY: US}));
        }
        let encoded = value.map(|(secret, _)| Zeroizing::new(STANDARD.encode(secret.expose_secret())));
        let data = encoded.iter().map(|encoded| (spot.key.as_str(), encoded.as_str())).collect();
        if let Some((secret, origin)) = value {
            let tag = Tag::new(origin, secret.expose_secret());
            metadata
                .insert("annotations".to_owned(), json!({format!("{ANNOTATIONS}{}", spot.key): tag.text()}));
        }
        let of_type = is_new.then_some("Opaque");
        let applied = Applied { api_version: "v1", kind: "Secret", metadata: metadata.into(), of_type, data };
        let mut query = vec![("fieldManager", format!("{US}.{}", spot.key))];
        if by_force {
            query.push(("force", "true".to_owned()));
        }
        let call = Call::again(Method::PATCH, Self::path(spot), &self.token, body(&applied)?);
        let call = Call { query, content_type: "application/apply-patch+yaml", ..call };
        self.rest.json::<Object>(call).await.map(drop)
    }

    /// Takes away what this store made, when nothing is in it any more. The version keeps what came since.
    async fn sweep(&self, spot: &Spot) -> Result<(), Failure> {
        let Some(object) = self.object(spot).await?.filter(Object::is_an_empty_one_of_ours) else {
            return Ok(());
        };
        let options = json!({
            "apiVersion": "v1", "kind": "DeleteOptions",
            "preconditions": {"resourceVersion": object.metadata.resource_version},
        });
        let call = Call { body: Some(body(&options)?), ..Call::delete(Self::path(spot), &self.token) };
        match self.rest.send(call).await {
            Err(failure) if !failure.is_not_found() && !is_conflict(&failure) => Err(failure),
            _ => Ok(()),
        }
    }
}

/// Another manager owns the key, or something changed since it was seen.
fn is_conflict(failure: &Failure) -> bool {
    matches!(&failure.cause, Cause::Refused { status: 409, .. })
}

fn is_label(name: &str, longest: usize) -> bool {
    is_lower(name, "-", longest) && !name.starts_with('-') && !name.ends_with('-')
}

fn is_subdomain(name: &str) -> bool {
    name.len() <= 253 && name.split('.').all(|label| is_label(label, 253))
}

/// A key of a Secret that is the name of an annotation as well.
fn is_key(key: &str) -> bool {
    let marks = ['-', '_', '.'];
    is_plain(key, "-_.", 63) && !key.starts_with(marks) && !key.ends_with(marks)
}

#[async_trait]
impl Spots for Kubernetes {
    type Spot = Spot;
    type Seen = Found;

    fn facts(&self) -> &'static StoreFacts {
        &FACTS
    }

    async fn check(&self, store: &StoreName) -> Result<(), StoreError> {
        // Whoever is known may ask what they are allowed to do, and the answer changes nothing.
        let asked = json!({
            "apiVersion": "authorization.k8s.io/v1", "kind": "SelfSubjectAccessReview",
            "spec": {"resourceAttributes": {
                "namespace": self.namespace, "verb": "patch", "resource": "secrets",
            }},
        });
        let told = |failure: Failure| failure.of_store(store);
        let path = vec!["apis", "authorization.k8s.io", "v1", "selfsubjectaccessreviews"];
        let call = Call::again(Method::POST, path, &self.token, body(&asked).map_err(told)?);
        let answer: serde_json::Value = self.rest.json(call).await.map_err(told)?;
        // Without a namespace the question is about all of them, and one may be enough.
        if self.namespace.is_some() && answer.pointer("/status/allowed") != Some(&json!(true)) {
            let namespace = self.namespace.as_deref().unwrap_or_default();
            let message = Untrusted::capped(&format!("it may not `patch` secrets in `{namespace}`"), 200);
            return Err(StoreError::Unauthorized { store: store.clone(), message });
        }
        Ok(())
    }

    fn default_place(&self, project: &ProjectName, environment: &EnvironmentName, name: &KeyName) -> String {
        let namespace = self.namespace.as_deref().unwrap_or(project.as_str());
        format!("{namespace}/{project}-{environment}/{name}")
    }

    fn complete(&self, place: String, _: &KeyName) -> String {
        place
    }

    fn spot(&self, at: At<'_>) -> Result<Spot, StoreError> {
        let parts: Vec<&str> = at.place.split('/').collect();
        match parts.as_slice() {
            [namespace, secret, key] if is_label(namespace, 63) && is_subdomain(secret) && is_key(key) => {
                let (namespace, secret) = ((*namespace).to_owned(), (*secret).to_owned());
                Ok(Spot { namespace, secret, key: (*key).to_owned() })
            }
            _ => Err(at.bad(
                "write `NAMESPACE/SECRET/KEY`: the first two of lower-case letters, digits and `-`, the key at most 63 \
                 letters, digits and `-_.`",
            )),
        }
    }

    fn refuses(&self, value: &str) -> Option<&'static str> {
        (value.len() > FACTS.max_value).then_some("it is longer than 512 KiB")
    }

    async fn see(&self, spot: &Spot) -> Result<Found, Failure> {
        let object = self.object(spot).await?;
        if object.is_none() {
            // A Secret that is not there and one in a namespace that is not there are told alike. A token that may not see
            // namespaces learns it when it writes.
            let call = Call::get(vec!["api", "v1", "namespaces", &spot.namespace], &self.token);
            match self.rest.json::<serde::de::IgnoredAny>(call).await {
                Err(failure) if failure.is_not_found() => return Err(failure),
                _ => {}
            }
        }
        Ok(Found { object, key: spot.key.clone() })
    }

    fn is_gone(&self, failure: &Failure) -> bool {
        failure.is_not_found()
    }

    async fn put(&self, spot: &Spot, seen: &Found, write: &Write<'_>) -> Result<Put, Failure> {
        let by_force = write.expected == Presence::Foreign && seen.presence() == Presence::Foreign;
        let value = Some((write.secret, write.origin));
        self.apply(spot, seen.object.as_ref(), value, by_force).await?;
        Ok(Put::Done(None))
    }

    async fn holds(&self, spot: &Spot, seen: &Found, secret: &Secret) -> Result<Option<bool>, Failure> {
        let value = seen.object.as_ref().and_then(|object| object.value(&spot.key));
        Ok(Some(value.is_some_and(|value| value.is(secret))))
    }

    async fn take(&self, spot: &Spot, seen: &Found, origin: &Origin) -> Result<Put, Failure> {
        if seen.is_of(origin) {
            self.apply(spot, seen.object.as_ref(), None, false).await?;
        }
        self.sweep(spot).await?;
        Ok(Put::Done(None))
    }

    fn failed(&self, failure: Failure, at: At<'_>) -> StoreError {
        if failure.is_not_found() {
            return at.missing("there is no such namespace");
        }
        failure.of_store(at.store)
    }

    fn not_written(&self, failure: Failure, at: At<'_>) -> StoreError {
        // Something else of the Secret changed in between, or another manager holds the name of the key.
        if is_conflict(&failure) {
            return at.unavailable("the Secret changed meanwhile, or another field manager owns the key");
        }
        if failure.is_not_found() { self.failed(failure, at) } else { failure.of_write(at.store) }
    }
}
